package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"baton/control/api"
	"baton/control/terminal"
	"baton/control/terminal/cast"
)

// terminalCommand opens a terminal on a node.
func terminalCommand() *cobra.Command {
	var adm, osShell, write bool
	cmd := &cobra.Command{
		Use:   "terminal CLUSTER NODE",
		Short: "Open a terminal on a node: the engine's shell, reading unless you ask for more",
		Long: "Open a terminal on a node, through its agent: no port is opened. It is the engine's shell, which only reads; with\n" +
			"--write commands may change data, with --admin also the server (admins), with --os it is a shell of the host (admins).\n" +
			"Everything shown is recorded; commands that change something are audited before they are carried out. While the node's\n" +
			"role changes the permission to write is suspended. What is piped in is run and the terminal left.",
		Example: "  baton terminal cache r2\n  echo 'INFO replication' | baton terminal cache r1\n  baton terminal sessions",
		Args:    cobra.ExactArgs(2),
	}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&write, "write", false, "commands may change data")
	f.BoolVar(&adm, "admin", false, "commands may change data and the server")
	f.BoolVar(&osShell, "os", false, "a shell of the node's host, as the agent's user")
	confirm := f.String("confirm", "", "the node's name again, instead of typing it, where the node is the primary")
	reason := f.String("reason", "", "why; the audit keeps it")
	cmd.MarkFlagsMutuallyExclusive("write", "admin", "os")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		r := api.TicketRequest{Cluster: args[0], Node: args[1], Kind: "engine", Write: write, TypedName: *confirm, Reason: *reason}
		switch {
		case adm:
			r.Kind = "admin"
		case osShell:
			r.Kind = "os"
		}
		t, err := c.ticket(cmd, r)
		if err != nil {
			return failure(err)
		}
		return c.terminal(cmd.Context(), t, cmd.InOrStdin())
	}
	cmd.AddCommand(terminalSessionsCommand(), terminalEndCommand(), terminalReplayCommand(), terminalSettingsCommand())
	return cmd
}

// ticket asks for a ticket, and for the node's name where it must be typed.
func (c *client) ticket(cmd *cobra.Command, r api.TicketRequest) (t api.Ticket, err error) {
	r.Columns, r.Rows = terminalSize()
	err = c.call(cmd.Context(), "POST", "/terminal/tickets", r, &t)
	var p *api.Problem
	if errors.As(err, &p) && p.Code == api.CodeTypedName && r.TypedName == "" {
		fmt.Fprintln(c.out, p.Detail+".")
		if r.TypedName, err = typedName(cmd.InOrStdin(), c.out, "", r.Node); err != nil {
			return t, err
		}
		err = c.call(cmd.Context(), "POST", "/terminal/tickets", r, &t)
	}
	return t, err
}

func terminalSize() (columns, rows int) {
	columns, rows, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || columns < 2 || rows < 1 {
		return 80, 24
	}
	return min(columns, 1000), min(rows, 1000)
}

// terminal carries a terminal until it ends.
func (c *client) terminal(ctx context.Context, t api.Ticket, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, c.server+api.Prefix+"/terminal?ticket="+url.QueryEscape(t.Ticket), &websocket.DialOptions{
		HTTPClient: c.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token}}, Subprotocols: []string{"baton-terminal.v1"}})
	if err != nil {
		p := &api.Problem{}
		if res != nil && res.Body != nil && json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(p) == nil && p.Title != "" {
			return failure(p)
		}
		return fmt.Errorf("the terminal could not be opened at %s: %w", c.server, err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	stdin, person := in.(*os.File)
	person = person && term.IsTerminal(int(stdin.Fd()))
	if person {
		old, err := term.MakeRaw(int(stdin.Fd()))
		if err != nil {
			return fmt.Errorf("prepare the terminal: %w", err)
		}
		defer func() { _ = term.Restore(int(stdin.Fd()), old) }()
		go c.sendSizes(ctx, conn)
	}
	go typeIn(ctx, conn, in, person)
	return c.showTerminal(ctx, conn, person)
}

// sendSizes tells each new size of the window.
func (c *client) sendSizes(ctx context.Context, conn *websocket.Conn) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			columns, rows := terminalSize()
			if writeText(ctx, conn, map[string]any{"type": "size", "columns": columns, "rows": rows}) != nil {
				return
			}
		}
	}
}

func writeText(ctx context.Context, conn *websocket.Conn, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return conn.Write(ctx, websocket.MessageText, b)
}

// typeIn sends what is typed. At the end of what was piped in it leaves.
func typeIn(ctx context.Context, conn *websocket.Conn, in io.Reader, person bool) {
	const ctrlD = 4
	buf := make([]byte, 16<<10)
	last := byte('\n')
	for {
		n, err := in.Read(buf)
		if n > 0 {
			p := buf[:n]
			last = p[n-1]
			if !person {
				p = bytes.ReplaceAll(p, []byte("\n"), []byte("\r"))
			}
			if conn.Write(ctx, websocket.MessageBinary, p) != nil {
				return
			}
		}
		if err != nil {
			end := []byte{ctrlD}
			if last != '\n' && last != '\r' {
				end = []byte{'\r', ctrlD}
			}
			_ = conn.Write(ctx, websocket.MessageBinary, end) // or it has ended
			return
		}
	}
}

// showTerminal shows what comes until the end.
func (c *client) showTerminal(ctx context.Context, conn *websocket.Conn, person bool) error {
	newline := "\n"
	if person {
		newline = "\r\n"
	}
	hostShell := false
	for {
		kind, p, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("the connection to the control plane at %s ended: %w", c.server, err)
		}
		if kind == websocket.MessageBinary {
			if _, err := c.out.Write(p); err != nil {
				return err
			}
			_ = writeText(ctx, conn, map[string]any{"type": "shown", "bytes": len(p)}) // Read tells when it is gone
			continue
		}
		var n terminal.Notice
		if json.Unmarshal(p, &n) != nil {
			continue
		}
		switch n.Type {
		case terminal.NoticeHello:
			hostShell = n.Kind == "os"
		case terminal.NoticeWarning:
			fmt.Fprint(c.out, newline+n.Text+newline)
		case terminal.NoticeMode:
			if hostShell { // the engine's shell says it itself
				fmt.Fprint(c.out, newline+"["+n.Text+"]"+newline)
			}
		case terminal.NoticeEnd:
			if n.Text == "left" {
				return nil
			}
			fmt.Fprint(c.out, newline)
			return errors.New("the terminal ended: " + n.Text)
		}
	}
}

func terminalSessionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sessions [CLUSTER]", Short: "List terminals that are open, and those before", Args: cobra.MaximumNArgs(1)}
	connect := clientFlags(cmd)
	open := cmd.Flags().Bool("open", false, "only those that are open")
	limit := cmd.Flags().Int("limit", 50, "at most so many, 1 to 500")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		q := url.Values{"limit": {strconv.Itoa(*limit)}}
		if len(args) == 1 {
			q.Set("cluster", args[0])
		}
		var list api.TerminalSessions
		if err := c.call(cmd.Context(), "GET", "/terminal/sessions?"+q.Encode(), nil, &list); err != nil {
			return failure(err)
		}
		if *open {
			kept := list.Sessions[:0]
			for _, s := range list.Sessions {
				if s.EndedAt == nil {
					kept = append(kept, s)
				}
			}
			list.Sessions = kept
		}
		if c.json {
			return c.writeJSON(list)
		}
		return c.showSessions(&list)
	}
	return cmd
}

func (c *client) showSessions(list *api.TerminalSessions) error {
	if len(list.Sessions) == 0 {
		fmt.Fprintln(c.out, "There was no terminal yet. Open one: baton terminal CLUSTER NODE")
		return nil
	}
	rows := [][]string{{"SESSION", "NODE", "KIND", "WHO", "BEGAN", "LASTED", "COMMANDS", "CHANGES", "STATE"}}
	for _, s := range list.Sessions {
		kind, state, end := s.Kind, "open", time.Now()
		if s.Write && s.Kind == "engine" {
			kind = "engine, writes"
		}
		if s.EndedAt != nil {
			state, end = s.Why, *s.EndedAt
		}
		rows = append(rows, []string{s.ID, s.Cluster + "/" + s.Node, kind, s.Who, s.BeganAt.Local().Format("2006-01-02 15:04:05"), end.Sub(s.BeganAt).Round(time.Second).String(),
			strconv.Itoa(s.Commands), strconv.Itoa(s.Changes), state})
	}
	return table(c.out, rows...)
}

func terminalEndCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "end SESSION", Short: "End an open terminal: your own, for admins any", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	reason := cmd.Flags().String("reason", "", "why; its person is told")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var s api.TerminalSession
		if err := c.call(cmd.Context(), "POST", "/terminal/sessions/"+segment(args[0])+"/end", api.EndTerminal{Reason: *reason}, &s); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(s)
		}
		fmt.Fprintf(c.out, "Ended the terminal of %s on %s of %s.\n", s.Who, s.Node, s.Cluster)
		return nil
	}
	return cmd
}

func terminalReplayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay SESSION",
		Short: "Show what a terminal showed",
		Long: "Show what a terminal showed, as fast as it was, but with no wait longer than --max-wait. Recordings are asciicast v2:\n" +
			"with --raw the file itself is written, for any player of that format.",
		Args: cobra.ExactArgs(1),
	}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	speed := f.Float64("speed", 1, "so many times as fast; 0 without any wait")
	most := f.Duration("max-wait", 2*time.Second, "no longer than this between two outputs")
	raw := f.Bool("raw", false, "write the recording as it is kept")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
		defer stop()
		res, err := c.request(ctx, "GET", "/terminal/recordings/"+segment(args[0]), nil)
		if err != nil {
			return failure(err)
		}
		defer res.Body.Close()
		if *raw || c.json {
			_, err := io.Copy(c.out, res.Body)
			return err
		}
		return replay(ctx, c.out, res.Body, *speed, *most)
	}
	return cmd
}

// replay writes a recording's output in its time.
func replay(ctx context.Context, out io.Writer, recording io.Reader, speed float64, most time.Duration) error {
	var last time.Duration
	_, err := cast.Read(recording, func(e cast.Event) error {
		if wait := min(time.Duration(float64(e.At-last)/max(speed, 1e-9)), most); speed > 0 && wait > 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		last = e.At
		if e.Kind != cast.Output {
			return nil
		}
		_, err := io.WriteString(out, e.Text)
		return err
	})
	fmt.Fprint(out, "\x1b[0m\n")
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func terminalSettingsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "settings", Short: "Show or change the limits of terminals", Args: cobra.NoArgs}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	idle := f.Duration("idle", 0, "end a terminal after so long without a key pressed, 1m to 8h")
	osAllowed := f.Bool("os", true, "shells of hosts may be opened")
	keep := f.Int("keep-days", 0, "keep recordings so many days")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var s api.TerminalSettings
		if err := c.call(cmd.Context(), "GET", "/terminal/settings", nil, &s); err != nil {
			return failure(err)
		}
		before := s
		if f.Changed("idle") {
			s.IdleMinutes = int(idle.Round(time.Minute) / time.Minute)
		}
		if f.Changed("os") {
			s.OSAllowed = *osAllowed
		}
		if f.Changed("keep-days") {
			s.KeepDays = *keep
		}
		if s != before {
			if err := c.call(cmd.Context(), "PUT", "/terminal/settings", s, &s); err != nil {
				return failure(err)
			}
		}
		if c.json {
			return c.writeJSON(s)
		}
		allowed := map[bool]string{true: "allowed", false: "not allowed"}[s.OSAllowed]
		return table(c.out, []string{"ENDS AFTER", fmt.Sprintf("%d idle minutes", s.IdleMinutes)}, []string{"OS SHELLS", allowed}, []string{"RECORDINGS KEPT", fmt.Sprintf("%d days, at most 1 GiB", s.KeepDays)})
	}
	return cmd
}
