package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func promoteCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "promote CLUSTER NODE", Short: "Make a node the primary: report, plan, typed name, execution, proof", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	dry := f.Bool("dry-run", false, "show report and plan; change nothing")
	confirm := f.String("confirm", "", "the node's name again, instead of typing it")
	reason := f.String("reason", "", "why, for the audit")
	override := f.StringSlice("override", nil, "overridable checks that shall not stand in the way")
	at := f.String("at", "", "start then instead of now, like 2026-01-31T02:00:00Z; it is checked again at that time")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		cluster, node := args[0], args[1]
		var when *time.Time
		if *at != "" {
			t, err := time.Parse(time.RFC3339, *at)
			if err != nil {
				return fmt.Errorf("--at %q: give a time like 2026-01-31T02:00:00Z", *at)
			}
			when = &t
		}
		var p api.Plan
		promotions := "/clusters/" + segment(cluster) + "/promotions"
		err = c.call(cmd.Context(), "POST", "/clusters/"+segment(cluster)+"/plan", api.PlanRequest{Node: node, Overrides: *override}, &p)
		if err != nil {
			if *confirm == "" || *dry {
				return failure(err)
			}
			// A confirmed attempt reaches the server in any case: it is the
			// server that refuses it and puts it into the audit.
			return c.begin(cmd.Context(), promotions, api.PromotionRequest{Node: node, TypedName: *confirm, Reason: *reason})
		}
		if !c.json || *dry || p.Refused && *confirm == "" {
			if err := c.showPlan(&p); err != nil {
				return err
			}
		}
		if p.Refused && (*dry || *confirm == "") {
			return refusedPlan(&p)
		}
		if *dry {
			return nil
		}
		typed, err := typedName(cmd.InOrStdin(), c.out, *confirm, node)
		if err != nil {
			return err
		}
		return c.begin(cmd.Context(), promotions, api.PromotionRequest{Node: node, TypedName: typed,
			ReportHash: p.Report.Hash, Generation: p.Generation, Reason: *reason, Overrides: *override, At: when})
	}
	return cmd
}

func undoCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "undo OPERATION", Short: "Switch a promotion back: the same operation with the roles exchanged", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	confirm := cmd.Flags().String("confirm", "", "name of the node that becomes primary again, instead of typing it")
	reason := cmd.Flags().String("reason", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var o api.Operation
		if err := c.call(cmd.Context(), "GET", "/operations/"+segment(args[0]), nil, &o); err != nil {
			return failure(err)
		}
		if o.Undo == nil || !o.Undo.Available {
			why := "it is " + o.State
			if o.Undo != nil {
				why = o.Undo.Why
			}
			return &exitError{exitConflict, fmt.Errorf("operation %s cannot be switched back: %s", o.ID, why)}
		}
		node := o.Undo.Node
		var p api.Plan
		if err := c.call(cmd.Context(), "POST", "/clusters/"+segment(o.Cluster)+"/plan", api.PlanRequest{Node: node}, &p); err != nil {
			return failure(err)
		}
		if !c.json || p.Refused {
			if err := c.showPlan(&p); err != nil {
				return err
			}
		}
		if p.Refused && *confirm == "" {
			return refusedPlan(&p)
		}
		typed, err := typedName(cmd.InOrStdin(), c.out, *confirm, node)
		if err != nil {
			return err
		}
		return c.begin(cmd.Context(), "/operations/"+segment(o.ID)+"/undo", api.UndoRequest{TypedName: typed, ReportHash: p.Report.Hash, Generation: p.Generation, Reason: *reason})
	}
	return cmd
}

func operationCommand() *cobra.Command {
	op := &cobra.Command{Use: "op", Short: "Look at operations"}
	cmd := &cobra.Command{Use: "watch OPERATION", Short: "Follow an operation to its end", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var o api.Operation
		if err := c.call(cmd.Context(), "GET", "/operations/"+segment(args[0]), nil, &o); err != nil {
			return failure(err)
		}
		return c.watch(cmd.Context(), args[0])
	}
	op.AddCommand(cmd, cancelOperationCommand())
	return op
}

// refusedPlan is a plan that will not run, as an error with its exit code.
func refusedPlan(p *api.Plan) error {
	r, code := p.Refusals[0], exitRefused
	if r.Code == "operation.running" {
		code = exitConflict
	}
	return &exitError{code, fmt.Errorf("refused by checks: %s; %s", r.Title, orDash(r.Fix))}
}

// typedName is what the person typed. The server compares it: here it is only
// asked for.
func typedName(in io.Reader, out io.Writer, confirm, node string) (string, error) {
	if confirm != "" {
		return confirm, nil
	}
	f, ok := in.(*os.File)
	if ok {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return "", fmt.Errorf("not confirmed: give --confirm %s", node)
		}
	}
	fmt.Fprintf(out, "\nType the node's name to go on: ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(out)
		return "", errors.New("not confirmed; nothing was changed")
	}
	return strings.TrimSpace(line), nil
}

func (c *client) showPlan(p *api.Plan) error {
	if c.json {
		return c.writeJSON(p)
	}
	fmt.Fprintf(c.out, "Promotable: %s\n", p.Report.Reason)
	var notable []api.Check
	for _, ch := range p.Report.Checks {
		if ch.Verdict != "pass" {
			notable = append(notable, ch)
		}
	}
	fmt.Fprintf(c.out, "%d checks, %d to look at\n", len(p.Report.Checks), len(notable))
	if len(notable) > 0 {
		if err := printChecks(c.out, notable); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.out)
	rows := [][]string{{"", "STEP", "ON", "COMMAND"}}
	for i, st := range p.Steps {
		title := st.Title
		if st.PointOfNoReturn {
			title += "  <- point of no return"
		}
		rows = append(rows, []string{fmt.Sprint(i + 1), title, st.Node, st.Command})
	}
	if err := table(c.out, rows...); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "\nWrites wait about %.0f ms (at most %.0f ms, else it is rolled back). May lose: %s.\n", p.ExpectedStallMs, p.StallBudgetMs, p.PossibleLoss)
	return nil
}

// begin sends the request and follows the operation.
func (c *client) begin(ctx context.Context, path string, in any) error {
	var accepted api.PromotionAccepted
	if err := c.call(ctx, "POST", path, in, &accepted); err != nil {
		var p *api.Problem
		if errors.As(err, &p) && p.Code == api.CodeRefused && len(p.Refusals) > 0 && !c.json {
			for _, r := range p.Refusals {
				fmt.Fprintf(c.out, "refused: %s; %s\n", r.Title, orDash(r.Fix))
			}
		}
		return failure(err)
	}
	switch {
	case accepted.OperationID == "" && c.json:
		return c.writeJSON(accepted)
	case accepted.ApprovalID != "":
		fmt.Fprintf(c.out, "\nIt waits for a second person, at most 15 minutes: baton approve %s\n", accepted.ApprovalID)
		return nil
	case accepted.ScheduleID != "":
		fmt.Fprintf(c.out, "\nScheduled as %s\n", accepted.ScheduleID)
		return nil
	}
	if !c.json {
		fmt.Fprintf(c.out, "\nOperation %s\n", accepted.OperationID)
	}
	return c.watch(ctx, accepted.OperationID)
}

// watch prints each step as it ends, then the result.
func (c *client) watch(ctx context.Context, id string) error {
	told := map[string]bool{}
	live := &progress{}
	if !c.json {
		live = startProgress(c.out)
	}
	o, err := c.follow(ctx, id, func(o *api.Operation) {
		if c.json {
			return
		}
		live.show(o)
		for i, st := range o.Steps {
			key := st.ID + st.State
			if told[key] || st.State == "pending" || st.State == "running" || st.State == "skipped" {
				continue
			}
			told[key] = true
			line := fmt.Sprintf("  %2d %-8s %s", i+1, st.State, st.Title)
			if st.Detail != "" {
				line += ": " + st.Detail
			}
			live.say(line)
		}
	})
	if !c.json {
		live.end()
	}
	if err != nil {
		return failure(err)
	}
	if c.json {
		if err := c.writeJSON(o); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.out, "\n%s: %s\n", o.State, o.Outcome)
		if o.Stall != nil {
			fmt.Fprintf(c.out, "Writes waited: %s by the probe, %s by the agents\n", msText(o.Stall.ProbeMs), msText(o.Stall.AgentMs))
		}
		if o.Proof != nil {
			fmt.Fprintf(c.out, "Proof: %s\n", o.Proof.Sentence)
		}
		if o.Undo != nil && o.Undo.Available {
			fmt.Fprintf(c.out, "Switch back until %s: baton undo %s\n", o.Undo.Until.Local().Format("2006-01-02 15:04"), o.ID)
		}
	}
	switch o.State {
	case "rolled-back":
		return &exitError{exitRolledBack, fmt.Errorf("rolled back: %s", o.Outcome)}
	case "needs-human":
		return &exitError{exitHuman, fmt.Errorf("needs a human: %s", o.Outcome)}
	}
	return nil
}
