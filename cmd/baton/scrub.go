package main

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/eventstore/scrub"
)

// scrubCommand reads one node's log for damage.
func scrubCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Read an event-store node's log for damage, and mend it from the other nodes",
		Long: "Every node reads its whole log for damage once a day (--scrub-hours) and mends what it finds with the frames of\n" +
			"the other nodes, while it serves. This shows how that stands, or begins a reading now.",
	}
	cmd.AddCommand(scrubStart(), scrubStatus())
	return cmd
}

func scrubStart() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{Use: "start", Short: "Begin a reading now", Args: cobra.NoArgs,
		Example: "  baton scrub start --node http://127.0.0.1:2113 --wait"}
	node, output := nodeFlags(cmd), storeOutput(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "return when it has ended; 1 is the exit code if something is damaged then")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, asJSON, err := nodeAndOutput(node, output)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		var reply scrub.Status
		if err := c.call(ctx, "POST", "/admin/scrub", nil, &reply); err != nil {
			return err
		}
		if wait {
			if reply, err = waitScrub(ctx, c, reply); err != nil {
				return err
			}
		}
		if err := showScrub(cmd.OutOrStdout(), reply, asJSON); err != nil {
			return err
		}
		if wait && len(reply.Damaged) > 0 {
			return fmt.Errorf("%d files of the log are damaged and not mended", len(reply.Damaged))
		}
		return nil
	}
	return cmd
}

// scrubPoll is how often a waiting command looks.
const scrubPoll = 200 * time.Millisecond

func waitScrub(ctx context.Context, c *nodeClient, s scrub.Status) (scrub.Status, error) {
	poll := time.NewTicker(scrubPoll)
	defer poll.Stop()
	for s.Running {
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-poll.C:
		}
		s = scrub.Status{}
		if err := c.call(ctx, "GET", "/admin/scrub", nil, &s); err != nil {
			return s, err
		}
	}
	return s, nil
}

func scrubStatus() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show what is known of the log's bytes", Args: cobra.NoArgs}
	node, output := nodeFlags(cmd), storeOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, asJSON, err := nodeAndOutput(node, output)
		if err != nil {
			return err
		}
		var reply scrub.Status
		if err := c.call(cmd.Context(), "GET", "/admin/scrub", nil, &reply); err != nil {
			return err
		}
		return showScrub(cmd.OutOrStdout(), reply, asJSON)
	}
	return cmd
}

func showScrub(out io.Writer, s scrub.Status, asJSON bool) error {
	if asJSON {
		return printJSON(out, s)
	}
	line := "the log was not read through since the node started"
	switch {
	case s.Running:
		line = fmt.Sprintf("the log is being read: %d of %d segments so far", s.Segments, s.Total)
	case s.Rounds > 0:
		line = fmt.Sprintf("the log was read through at %s: %d of %d segments", s.Ended.Local().Format(time.DateTime), s.Segments, s.Total)
	}
	line += fmt.Sprintf("; %d segments damaged now, %d since the start, %d frames mended\n", len(s.Damaged), s.Found, s.Frames)
	for _, d := range s.Damaged {
		line += fmt.Sprintf("  damaged: %s at position %d: %s", d.File, d.Position, d.Reason)
		if d.Trouble != "" {
			line += fmt.Sprintf("; not mended after %d tries: %s", d.Tries, d.Trouble)
		}
		line += "\n"
	}
	for _, m := range s.Mended {
		line += fmt.Sprintf("  mended: %s at %s, %d frames from %v\n", m.File, m.At.Local().Format(time.DateTime), m.Frames, m.From)
	}
	_, err := io.WriteString(out, line)
	return err
}
