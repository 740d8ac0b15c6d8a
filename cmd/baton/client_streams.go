package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"baton/control/api"
)

// storeCommand is a command about an event store.
func storeCommand(use, short string, args cobra.PositionalArgs, run func(c *client, cmd *cobra.Command, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		return run(c, cmd, args)
	}
	return cmd
}

// ofStore is the address of something of an event store.
func ofStore(cluster, what string, query ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			q.Set(query[i], query[i+1])
		}
	}
	path := "/clusters/" + segment(cluster) + "/" + what
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return path
}

// done sends a change whose answer is one sentence.
func (c *client) done(cmd *cobra.Command, path string, in any) error {
	var d api.Done
	if err := c.call(cmd.Context(), "POST", path, in, &d); err != nil {
		return c.refusal(err)
	}
	if printed, err := c.answer(d); printed {
		return err
	}
	fmt.Fprintln(c.out, d.Sentence)
	return nil
}

// confirmed adds --confirm and --reason, and returns what reads them.
func confirmed(cmd *cobra.Command, what string) func(c *client, name string) (typed, reason string, err error) {
	confirm := cmd.Flags().String("confirm", "", what+" again, instead of typing it")
	reason := cmd.Flags().String("reason", "", "why, for the audit")
	return func(c *client, name string) (string, string, error) {
		typed, err := typedName(cmd.InOrStdin(), c.out, *confirm, name)
		return typed, *reason, err
	}
}

func streamsCommand() *cobra.Command {
	var system *bool
	cmd := storeCommand("streams CLUSTER", "Show the streams of an event store that changed last; read, append to and delete streams", cobra.ExactArgs(1), func(c *client, cmd *cobra.Command, args []string) error {
		var list api.StreamList
		if err := c.call(cmd.Context(), "GET", ofStore(args[0], "streams", "system", strconv.FormatBool(*system)), nil, &list); err != nil {
			return failure(err)
		}
		if printed, err := c.answer(list); printed {
			return err
		}
		rows := [][]string{{"STREAM", "REVISION", "LAST EVENT", "CHANGED", "AMONG THE NEWEST"}}
		for _, s := range list.Streams {
			rows = append(rows, []string{s.Name, fmt.Sprint(int64(s.Revision)), s.Type, agoText(&s.At), strconv.Itoa(s.Events)})
		}
		return table(c.out, rows...)
	})
	system = cmd.Flags().Bool("system", false, "also streams whose names begin with $ (needs the role operator)")
	cmd.AddCommand(streamsReadCommand(), streamsAppendCommand(), streamsDeleteCommand())
	return cmd
}

func streamsReadCommand() *cobra.Command {
	var from *string
	var limit *int
	var oldest, links *bool
	cmd := storeCommand("read CLUSTER STREAM", "Show events of a stream, newest first", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		order := "newest"
		if *oldest {
			order = "oldest"
		}
		var page api.StreamPage
		if err := c.call(cmd.Context(), "GET", ofStore(args[0], "streams/events", "stream", args[1], "from", *from, "order", order, "limit", strconv.Itoa(*limit), "links", strconv.FormatBool(*links)), nil, &page); err != nil {
			return failure(err)
		}
		if printed, err := c.answer(page); printed {
			return err
		}
		if !page.Exists {
			fmt.Fprintln(c.out, "There is no such stream.")
			return nil
		}
		for _, e := range page.Events {
			at := ""
			if e.Link != nil {
				at = fmt.Sprintf("%d -> ", int64(e.Link.Revision))
			}
			fmt.Fprintf(c.out, "%s%d@%s  %s  %s  %s\n  %s\n", at, int64(e.Revision), e.Stream, e.Type, e.At.Local().Format(time.DateTime), e.ID, shownText(&e.Data))
		}
		return nil
	})
	f := cmd.Flags()
	from = f.String("from", "", "revision to begin at, by default the newest, or with --oldest the first")
	limit = f.Int("limit", 25, "events, at most 100")
	oldest = f.Bool("oldest", false, "oldest first")
	links = f.Bool("links", true, "show what links lead to")
	return cmd
}

// shownText is what an event holds on one line.
func shownText(t *api.EventText) string {
	switch {
	case t.Bytes == 0:
		return "(empty)"
	case t.Base64:
		return fmt.Sprintf("%d bytes, base64: %s", t.Bytes, t.Text)
	}
	return strings.Join(strings.Fields(t.Text), " ")
}

func streamsAppendCommand() *cobra.Command {
	var reason *string
	cmd := storeCommand("append CLUSTER STREAM TYPE JSON", "Append one event, to try something; JSON may be - for standard input", cobra.ExactArgs(4), func(c *client, cmd *cobra.Command, args []string) error {
		data := args[3]
		if data == "-" {
			b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), api.MaxBodyBytes))
			if err != nil {
				return fmt.Errorf("read the event: %w", err)
			}
			data = string(b)
		}
		var done api.Appended
		if err := c.call(cmd.Context(), "POST", ofStore(args[0], "streams/events"), api.AppendRequest{Stream: args[1], Type: args[2], Data: data, Reason: *reason}, &done); err != nil {
			return c.refusal(err)
		}
		if printed, err := c.answer(done); printed {
			return err
		}
		fmt.Fprintf(c.out, "Appended as revision %d of %s.\n", int64(done.Revision), args[1])
		return nil
	})
	reason = cmd.Flags().String("reason", "", "why, for the audit")
	return cmd
}

func streamsDeleteCommand() *cobra.Command {
	var given func(*client, string) (string, string, error)
	cmd := storeCommand("delete CLUSTER STREAM", "Delete a stream; it may be written to again (needs the role admin)", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		typed, reason, err := given(c, args[1])
		if err != nil {
			return err
		}
		return c.done(cmd, ofStore(args[0], "streams/delete"), api.StreamDeletion{Stream: args[1], TypedName: typed, Reason: reason})
	})
	given = confirmed(cmd, "the stream's name")
	return cmd
}

func storeLoginCommand() *cobra.Command {
	var user, caFile *string
	var forget *bool
	cmd := storeCommand("store-login CLUSTER", "Show or set as whom Baton signs in to an event store", cobra.ExactArgs(1), func(c *client, cmd *cobra.Command, args []string) error {
		path, method := ofStore(args[0], "store-login"), "GET"
		var in any
		switch {
		case *forget && *user != "":
			return errors.New("give either --user or --forget")
		case *forget:
			method = "DELETE"
		case *user != "":
			r := api.StoreLoginRequest{User: *user}
			var err error
			if r.Password, err = storePassword(cmd.InOrStdin()); err != nil {
				return err
			}
			if *caFile != "" {
				b, err := os.ReadFile(*caFile)
				if err != nil {
					return fmt.Errorf("read the certificate authority: %w", err)
				}
				r.CA = string(b)
			}
			method, in = "PUT", r
		}
		var l api.StoreLogin
		if err := c.call(cmd.Context(), method, path, in, &l); err != nil {
			return c.refusal(err)
		}
		if printed, err := c.answer(l); printed {
			return err
		}
		fmt.Fprintln(c.out, l.Sentence+".")
		if len(l.Missed) > 0 {
			fmt.Fprintf(c.out, "The agents beside %s do not answer; they are told once they do.\n", strings.Join(l.Missed, ", "))
		}
		return nil
	})
	cmd.Long = cmd.Short + ".\n\nWith --user the password is read from " + passwordVariable + ", else from the first line of standard input. It is tried on every node and kept sealed."
	f := cmd.Flags()
	user = f.String("user", "", "account of the event store, a member of $admins (needs the role admin)")
	caFile = f.String("ca-file", "", "certificate authority of the nodes, PEM")
	forget = f.Bool("forget", false, "take the login away")
	return cmd
}

// storePassword reads a password that must not stand on the command line.
func storePassword(in io.Reader) (string, error) {
	if p := os.Getenv(passwordVariable); p != "" {
		return p, nil
	}
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(os.Stderr, "Password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(os.Stderr)
		if err == nil && len(b) == 0 {
			err = errors.New("no password was given")
		}
		return string(b), err
	}
	line, err := bufio.NewReader(io.LimitReader(in, 2048)).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", fmt.Errorf("no password: set %s, or write it to standard input (%v)", passwordVariable, err)
	}
	return line, nil
}
