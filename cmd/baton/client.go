package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// Exit codes of the client commands, beside 0 done and 1 anything else.
const (
	exitRefused    = 2 // refused by checks
	exitRolledBack = 3
	exitHuman      = 4 // needs a human
	exitConflict   = 5 // another operation runs, or the report is out of date
)

// client talks to a control plane. Its methods answer *api.Problem for what
// the control plane refused.
type client struct {
	server, token string   // server is the one in use
	servers       []string // all that may be asked
	json          bool
	http          *http.Client
	out           io.Writer
}

// clientFlags gives a command the flags that every client command has.
func clientFlags(cmd *cobra.Command) func() (*client, error) {
	server := cmd.Flags().String("server", "", "control plane, several nodes with commas between (default $BATON_SERVER, else http://"+defaultControlListen+")")
	tokenFile := cmd.Flags().String("token-file", "", "file with the API token (default $BATON_TOKEN, else baton-data/cli-token)")
	output := cmd.Flags().StringP("output", "o", "table", "table or json")
	return func() (*client, error) {
		if *server == "" {
			*server = os.Getenv("BATON_SERVER")
		}
		c := &client{servers: serverList(*server), http: &http.Client{}, out: cmd.OutOrStdout()}
		c.server = c.servers[0]
		switch *output {
		case "table":
		case "json":
			c.json = true
		default:
			return nil, fmt.Errorf("output %q: give table or json", *output)
		}
		var err error
		c.token, err = findToken(*tokenFile)
		return c, err
	}
}

// findToken looks where the token may be, in the order of how explicit it is.
func findToken(file string) (string, error) {
	if file == "" {
		if t := os.Getenv("BATON_TOKEN"); t != "" {
			return t, nil
		}
	}
	files := []string{file}
	if file == "" {
		files = []string{filepath.Join("baton-data", "cli-token"), filepath.Join("baton-data", "control", "cli-token")}
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			return strings.TrimSpace(string(b)), nil
		} else if file != "" {
			return "", fmt.Errorf("read the API token: %w", err)
		}
	}
	return "", errors.New("no API token: set BATON_TOKEN, or give --token-file DATA/cli-token of the control plane")
}

func (c *client) request(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	res, err := c.anywhere(func(server string) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, method, server+api.Prefix+path, bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", server, err)
		}
		if in == nil {
			req.Body, req.ContentLength = http.NoBody, 0
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		req.Header.Set("Content-Type", "application/json")
		return req, nil
	})
	if err != nil {
		return nil, fmt.Errorf("no answer from the control plane at %s; is it running? (%w)", c.server, errors.Unwrap(err))
	}
	if res.StatusCode < 400 {
		return res, nil
	}
	defer res.Body.Close()
	p := &api.Problem{}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(p); err != nil || p.Title == "" {
		return nil, fmt.Errorf("%s answered %s, not as a Baton control plane does", c.server, res.Status)
	}
	return nil, p
}

// call sends a request and decodes the answer into out.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	res, err := c.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(io.LimitReader(res.Body, 64<<20)).Decode(out)
}

// segment escapes a name for a path.
func segment(s string) string { return url.PathEscape(s) }

// follow delivers an operation each time it changes, until it is over or ctx
// ends. It reconnects where it left off.
func (c *client) follow(ctx context.Context, id string, on func(*api.Operation)) (*api.Operation, error) {
	last := ""
	for tries := 0; ; tries++ {
		o, err := c.followOnce(ctx, id, &last, on)
		var p *api.Problem
		if o != nil || errors.As(err, &p) || ctx.Err() != nil || tries == 10 {
			return o, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (c *client) followOnce(ctx context.Context, id string, last *string, on func(*api.Operation)) (*api.Operation, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := c.request(ctx, "GET", "/events?operation="+url.QueryEscape(id), nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 64<<10), 16<<20)
	name := ""
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			name = value
		case "id":
			*last = value
		case "data":
			if name != "operation" {
				continue
			}
			var o api.Operation
			if err := json.Unmarshal([]byte(value), &o); err != nil {
				return nil, fmt.Errorf("read the operation: %w", err)
			}
			if o.ID != id {
				continue
			}
			on(&o)
			if final(&o) {
				return &o, nil
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("the control plane ended the stream: %w", err)
	}
	return nil, errors.New("the control plane ended the stream")
}

func final(o *api.Operation) bool {
	return o.State == "done" || o.State == "rolled-back" || o.State == "needs-human"
}

// failure turns a refusal into one line with the next step, and its exit code.
func failure(err error) error {
	var p *api.Problem
	if !errors.As(err, &p) {
		return err
	}
	text := p.Title
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if p.Fix != "" {
		text += "; " + p.Fix
	}
	code := 1
	switch p.Code {
	case api.CodeRefused:
		code = exitRefused
	case api.CodeRunning, api.CodeStaleReport, api.CodeUndoGone:
		code = exitConflict
	}
	return &exitError{code: code, err: errors.New(text)}
}

// writeJSON is what -o json prints.
func (c *client) writeJSON(v any) error {
	enc := json.NewEncoder(c.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
