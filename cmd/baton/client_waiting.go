package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func approveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "approve [WAITING]", Short: "Let a promotion go on that somebody else asked for; without an id list what waits", Args: cobra.MaximumNArgs(1)}
	connect := clientFlags(cmd)
	reject := cmd.Flags().Bool("reject", false, "refuse it instead")
	note := cmd.Flags().String("note", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			var list api.Approvals
			if err := c.call(cmd.Context(), "GET", "/approvals", nil, &list); err != nil {
				return failure(err)
			}
			if c.json {
				return c.writeJSON(list)
			}
			return printWaiting(c, list.Approvals)
		}
		verb := "approve"
		if *reject {
			verb = "reject"
		}
		var w api.Waiting
		if err := c.call(cmd.Context(), "POST", "/approvals/"+segment(args[0])+"/"+verb, api.ApprovalAnswer{Note: *note}, &w); err != nil {
			return failure(err)
		}
		if w.OperationID != nil {
			if !c.json {
				fmt.Fprintf(c.out, "Approved; operation %s\n", *w.OperationID)
			}
			return c.watch(cmd.Context(), *w.OperationID)
		}
		if c.json {
			return c.writeJSON(w)
		}
		fmt.Fprintf(c.out, "%s: %s\n", w.ID, w.State)
		return nil
	}
	return cmd
}

func schedulesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "schedules CLUSTER", Short: "List promotions that wait for their time, or cancel one", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	cancel := cmd.Flags().String("cancel", "", "cancel the one of this id")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		path := "/clusters/" + segment(args[0]) + "/schedules"
		if *cancel != "" {
			var w api.Waiting
			if err := c.call(cmd.Context(), "DELETE", path+"/"+segment(*cancel), nil, &w); err != nil {
				return failure(err)
			}
			if c.json {
				return c.writeJSON(w)
			}
			fmt.Fprintf(c.out, "Cancelled the promotion of %s.\n", w.Node)
			return nil
		}
		var list api.Schedules
		if err := c.call(cmd.Context(), "GET", path, nil, &list); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(list)
		}
		return printWaiting(c, list.Schedules)
	}
	return cmd
}

func printWaiting(c *client, all []api.Waiting) error {
	if len(all) == 0 {
		fmt.Fprintln(c.out, "Nothing waits.")
		return nil
	}
	rows := [][]string{{"ID", "CLUSTER", "NODE", "STATE", "AT", "ASKED BY", "WHY"}}
	for _, w := range all {
		at := "when approved"
		if w.At != nil {
			at = w.At.Local().Format("2006-01-02 15:04:05")
		}
		why := w.Why
		if why == "" {
			why = w.Reason
		}
		rows = append(rows, []string{w.ID, w.Cluster, w.Node, w.State, at, w.Requester, orDash(why)})
	}
	return table(c.out, rows...)
}

// cancelOperationCommand is `op cancel`.
func cancelOperationCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cancel OPERATION", Short: "Have an operation taken back, up to its point of no return", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	reason := cmd.Flags().String("reason", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var o api.Operation
		if err := c.call(cmd.Context(), "POST", "/operations/"+segment(args[0])+"/cancel", api.CancelRequest{Reason: *reason}, &o); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(o)
		}
		fmt.Fprintf(c.out, "%s is being taken back: %s\n", o.ID, orDash(o.Outcome))
		return nil
	}
	return cmd
}
