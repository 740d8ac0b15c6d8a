package main

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func failoverCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "failover CLUSTER [NODE]", Short: "Fail over by hand, when the primary is gone",
		Long: "Fail over by hand, when the primary is gone and automatic failover does not act. Without NODE the replica that is\n" +
			"furthest along takes over. With --accept-loss the policy's bound on loss does not count and a primary that still\n" +
			"answers is ended; what only it holds is saved when it returns. That needs an admin.\n\n" +
			"In a cluster without leases nothing tells that a primary whose agent cannot be reached takes no writes. Switch its\n" +
			"machine off, see that it stays off, and say so with its name: --old-primary-is-off NAME. The audit keeps who said so.\n" +
			"It is refused while a host of the cluster still reaches it. If it was not true, writes that it takes meanwhile are\n" +
			"saved and discarded when it comes back.",
		Args: cobra.RangeArgs(1, 2)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	accept := f.Bool("accept-loss", false, "accept that writes may be lost (a forced promotion)")
	off := f.String("old-primary-is-off", "", "with --accept-loss: the name of the old primary, whose machine you switched off")
	confirm := f.String("confirm", "", "the node's name again, or the cluster's without NODE, instead of typing it")
	reason := f.String("reason", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		r := api.FailoverRequest{AcceptLoss: *accept, OldPrimaryIsOff: *off, Reason: *reason}
		want := args[0]
		if len(args) == 2 {
			r.Node, want = args[1], args[1]
		}
		if r.TypedName, err = typedName(cmd.InOrStdin(), c.out, *confirm, want); err != nil {
			return err
		}
		return c.begin(cmd.Context(), "/clusters/"+segment(args[0])+"/failover", r)
	}
	return cmd
}

func pauseCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "pause CLUSTER", Short: "Turn automatic failover of a cluster off for a while", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	length := cmd.Flags().Duration("for", time.Hour, "how long, 1m to 168h; 0 ends the pause")
	reason := cmd.Flags().String("reason", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *length < 0 || *length > 0 && *length < time.Minute {
			return errors.New("a pause lasts at least a minute; --for 0 ends it")
		}
		c, err := connect()
		if err != nil {
			return err
		}
		var v api.FailoverView
		in := api.PauseRequest{Minutes: int(math.Ceil(length.Minutes())), Reason: *reason}
		if err := c.call(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/failover/pause", in, &v); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(v)
		}
		if v.SuspendedUntil == nil {
			fmt.Fprintf(c.out, "Automatic failover of %s is not paused (policy: %s)\n", args[0], v.Mode)
		} else {
			fmt.Fprintf(c.out, "Automatic failover of %s is paused until %s\n", args[0], v.SuspendedUntil.Local().Format("2006-01-02 15:04:05"))
		}
		return nil
	}
	return cmd
}

func acknowledgeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "acknowledge CLUSTER", Short: "Acknowledge the last automatic failover, which ends the cool-down", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var v api.FailoverView
		if err := c.call(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/failover/acknowledge", struct{}{}, &v); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(v)
		}
		fmt.Fprintf(c.out, "Acknowledged; %s\n", v.Sentence)
		return nil
	}
	return cmd
}

func whatIfCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "what-if CLUSTER NODE", Short: "What would happen if a node died now", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var v api.WhatIf
		if err := c.call(cmd.Context(), "GET", "/clusters/"+segment(args[0])+"/what-if?node="+url.QueryEscape(args[1]), nil, &v); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(v)
		}
		fmt.Fprintln(c.out, v.Sentence)
		for i, s := range v.Steps {
			fmt.Fprintf(c.out, "  %2d %s\n", i+1, s)
		}
		return nil
	}
	return cmd
}

func lostWritesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "lost-writes CLUSTER", Short: "What was saved of nodes that held writes alone",
		Long: "What was saved of former primaries before they became replicas, of second primaries before they were demoted, and of\n" +
			"replicas that held more than the primary they follow now. It is kept until somebody removes it: --remove ID takes one\n" +
			"away for good, which needs an admin and the node's name.",
		Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	remove := cmd.Flags().String("remove", "", "the id of what is removed for good")
	confirm := cmd.Flags().String("confirm", "", "with --remove: the node's name, instead of typing it")
	reason := cmd.Flags().String("reason", "", "with --remove: why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var v api.LostWrites
		path := "/clusters/" + segment(args[0]) + "/lost-writes"
		if err := c.call(cmd.Context(), "GET", path, nil, &v); err != nil {
			return failure(err)
		}
		if *remove != "" {
			node := *confirm // the server says that there is no such bundle
			for _, b := range v.Bundles {
				if b.ID == *remove {
					node = b.Node
				}
			}
			typed, err := typedName(cmd.InOrStdin(), c.out, *confirm, node)
			if err != nil {
				return err
			}
			v = api.LostWrites{}
			if err := c.call(cmd.Context(), "POST", path+"/"+segment(*remove)+"/remove", api.RemoveLostWritesRequest{TypedName: typed, Reason: *reason}, &v); err != nil {
				return failure(err)
			}
		}
		if c.json {
			return c.writeJSON(v)
		}
		if len(v.Bundles) == 0 {
			fmt.Fprintln(c.out, "Nothing is kept that a node held alone")
			return nil
		}
		rows := [][]string{{"ID", "NODE", "GENERATION", "AT", "SIZE", "HOST", "FILE"}}
		for _, b := range v.Bundles {
			size := api.Int64(b.Bytes)
			rows = append(rows, []string{b.ID, b.Node, fmt.Sprint(int64(b.Generation)), b.At.Local().Format("2006-01-02 15:04:05"), bytesText(&size), orDash(b.Host), strings.TrimSpace(b.Path)})
		}
		return table(c.out, rows...)
	}
	return cmd
}
