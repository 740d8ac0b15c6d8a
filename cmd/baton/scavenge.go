package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/eventstore/scavenge"
)

// scavengeCommand takes out of one node's log what nobody can read any more.
func scavengeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scavenge",
		Short: "Take out of an event-store node's log what nobody can read any more",
		Long: "Removes events that are truncated, too old or of deleted streams from the files of one node, while it serves.\n" +
			"Positions and revisions stay as they are. Each node is scavenged by itself: one after the other.",
	}
	cmd.AddCommand(scavengeStart(), scavengeStatus(), scavengeStop())
	return cmd
}

// scavengeReply is what the node's routes answer.
type scavengeReply struct {
	scavenge.Status
	Link  string `json:"scavengeLink"`
	State string `json:"scavengeResult"` // also Started, which no Status says
}

func scavengeStart() *cobra.Command {
	var o scavenge.Options
	var wait bool
	cmd := &cobra.Command{Use: "start", Short: "Begin a scavenge, or go on with one that was stopped", Args: cobra.NoArgs,
		Example: "  baton scavenge start --node http://127.0.0.1:2113 --throttle-percent 50 --wait"}
	node, output := nodeFlags(cmd), storeOutput(cmd)
	f := cmd.Flags()
	f.IntVar(&o.Threshold, "threshold", 0, "rewrite a segment when twice the number of its events that may go is more than this")
	f.IntVar(&o.ThrottlePercent, "throttle-percent", 100, "how much of the allowed rate of reading and writing is used, 1 to 100")
	f.IntVar(&o.StartFrom, "start-from", 0, "number of the first segment to look at")
	f.BoolVar(&wait, "wait", false, "return when it has ended; 1 is the exit code if it did not succeed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, asJSON, err := nodeAndOutput(node, output)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		query := url.Values{"threads": {"1"}, "threshold": {strconv.Itoa(o.Threshold)}, "throttlePercent": {strconv.Itoa(o.ThrottlePercent)},
			"startFromChunk": {strconv.Itoa(o.StartFrom)}}
		var reply scavengeReply
		if err := c.call(ctx, "POST", "/admin/scavenge?"+query.Encode(), nil, &reply); err != nil {
			return err
		}
		if !wait {
			return showScavenge(cmd.OutOrStdout(), reply, asJSON)
		}
		return watchScavenge(ctx, cmd.OutOrStdout(), c, reply.ID, asJSON)
	}
	return cmd
}

// watchEvery is how often a scavenge that is waited for is looked at.
const watchEvery = 500 * time.Millisecond

func watchScavenge(ctx context.Context, out io.Writer, c *nodeClient, id string, asJSON bool) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		var reply scavengeReply
		if err := c.call(ctx, "GET", "/admin/scavenge/last", nil, &reply); err != nil {
			return err
		}
		if reply.ID != id {
			return fmt.Errorf("another scavenge, %s, has begun meanwhile", reply.ID)
		}
		if reply.State != string(scavenge.InProgress) {
			if err := showScavenge(out, reply, asJSON); err != nil || reply.State == string(scavenge.Success) {
				return err
			}
			return fmt.Errorf("the scavenge ended as %s: %s", reply.State, reply.Error)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("scavenge %s goes on; baton scavenge stop ends it", id)
		}
	}
}

func scavengeStatus() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Tell how the running or last scavenge stands", Args: cobra.NoArgs}
	node, output := nodeFlags(cmd), storeOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askScavenge(cmd, node, output, "GET", "/admin/scavenge/last")
	}
	return cmd
}

func scavengeStop() *cobra.Command {
	cmd := &cobra.Command{Use: "stop", Short: "End the running scavenge; the next start goes on where it was", Args: cobra.NoArgs}
	node, output := nodeFlags(cmd), storeOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askScavenge(cmd, node, output, "DELETE", "/admin/scavenge/current")
	}
	return cmd
}

func askScavenge(cmd *cobra.Command, node func() (*nodeClient, error), output func() (bool, error), method, path string) error {
	c, asJSON, err := nodeAndOutput(node, output)
	if err != nil {
		return err
	}
	var reply scavengeReply
	if err := c.call(cmd.Context(), method, path, nil, &reply); err != nil {
		return err
	}
	return showScavenge(cmd.OutOrStdout(), reply, asJSON)
}

func nodeAndOutput(node func() (*nodeClient, error), output func() (bool, error)) (*nodeClient, bool, error) {
	asJSON, err := output()
	if err != nil {
		return nil, false, err
	}
	c, err := node()
	return c, asJSON, err
}

func showScavenge(out io.Writer, r scavengeReply, asJSON bool) error {
	if asJSON {
		return printJSON(out, r)
	}
	line := fmt.Sprintf("scavenge %s: %s", r.ID, r.State)
	if r.Point != nil {
		line += fmt.Sprintf("; %d of %d segments looked at, %d rewritten, %d events and %d index rows removed, %d bytes saved",
			r.Segments, r.Total, r.Rewritten, r.Events, r.Rows, r.Saved)
	}
	if r.Error != "" {
		line += "\n  " + r.Error
	}
	_, err := fmt.Fprintln(out, line)
	return err
}
