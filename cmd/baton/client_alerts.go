package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func alertsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "alerts", Short: "Show what somebody must know; acknowledge it", Args: cobra.NoArgs}
	connect := clientFlags(cmd)
	all := cmd.Flags().Bool("all", false, "also those that resolved lately")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var list api.AlertList
		if err := c.call(cmd.Context(), "GET", "/alerts", nil, &list); err != nil {
			return failure(err)
		}
		if !*all {
			open := []api.Alert{}
			for _, a := range list.Alerts {
				if a.State != "resolved" {
					open = append(open, a)
				}
			}
			list.Alerts = open
		}
		if c.json {
			return c.writeJSON(list)
		}
		if len(list.Alerts) == 0 {
			fmt.Fprintln(c.out, "No alerts.")
			return nil
		}
		rows := [][]string{{"ALERT", "SEVERITY", "STATE", "SINCE", "WHAT", "WHAT TO DO"}}
		for _, a := range list.Alerts {
			state := a.State
			if a.AcknowledgedBy != nil {
				state += " by " + *a.AcknowledgedBy
			}
			rows = append(rows, []string{a.ID, a.Severity, state, agoText(&a.Since), a.Sentence, orDash(a.Fix)})
		}
		return table(c.out, rows...)
	}
	ack := &cobra.Command{Use: "acknowledge ALERT", Short: "Say that you have seen an alert: it is not told again", Args: cobra.ExactArgs(1)}
	connectAck := clientFlags(ack)
	minutes := ack.Flags().Int("minutes", 0, "for so long; 0: until it resolves")
	note := ack.Flags().String("note", "", "what you do about it")
	ack.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connectAck()
		if err != nil {
			return err
		}
		var a api.Alert
		if err := c.call(cmd.Context(), "POST", "/alerts/"+segment(args[0])+"/acknowledge", api.AcknowledgeRequest{Minutes: *minutes, Note: *note}, &a); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(a)
		}
		fmt.Fprintf(c.out, "Acknowledged: %s\n", a.Sentence)
		return nil
	}
	test := &cobra.Command{Use: "test", Short: "Send a test message to everybody who is told of alerts", Args: cobra.NoArgs}
	connectTest := clientFlags(test)
	test.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connectTest()
		if err != nil {
			return err
		}
		var r api.TestResult
		if err := c.call(cmd.Context(), "POST", "/notifications/test", nil, &r); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(r)
		}
		failed := 0
		for _, d := range r.Deliveries {
			if d.OK {
				fmt.Fprintf(c.out, "delivered  %s\n", d.Channel)
				continue
			}
			failed++
			fmt.Fprintf(c.out, "failed     %s: %s\n", d.Channel, d.Error)
		}
		if failed > 0 {
			return fmt.Errorf("%d of %d channels did not take it", failed, len(r.Deliveries))
		}
		return nil
	}
	cmd.AddCommand(ack, test)
	return cmd
}
