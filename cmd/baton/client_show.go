package main

import (
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// table writes rows in columns.
func table(w io.Writer, rows ...[]string) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func bytesText(n *api.Int64) string {
	switch {
	case n == nil:
		return "unknown"
	case *n >= 10<<20:
		return fmt.Sprintf("%d MiB", *n>>20)
	case *n >= 10<<10:
		return fmt.Sprintf("%d KiB", *n>>10)
	}
	return fmt.Sprintf("%d B", *n)
}

func msText(f *float64) string {
	if f == nil {
		return "-"
	}
	return strconv.FormatFloat(*f, 'f', 1, 64) + " ms"
}

func agoText(t *time.Time) string {
	if t == nil {
		return "never"
	}
	d := time.Since(*t)
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s ago", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s ago", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min ago", d.Minutes())
	}
	return t.Local().Format("2006-01-02 15:04")
}

func clustersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "clusters", Short: "List clusters, worst first", Args: cobra.NoArgs}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var list api.ClusterList
		if err := c.call(cmd.Context(), "GET", "/clusters", nil, &list); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(list)
		}
		if len(list.Clusters) == 0 {
			fmt.Fprintln(c.out, "No clusters yet. Add a host with baton agent, or start the demo: baton up --demo")
			return nil
		}
		rows := [][]string{{"CLUSTER", "ENGINE", "PRIMARY", "UP", "LAG", "WRITES/S", "VERDICT"}}
		for _, s := range list.Clusters {
			primary, writes := "-", "-"
			if s.Primary != nil {
				primary = s.Primary.Node
			}
			if s.WritesPerSecond != nil {
				writes = fmt.Sprintf("%.0f", *s.WritesPerSecond)
			}
			rows = append(rows, []string{s.ID, strings.TrimSpace(s.Engine + " " + s.Version), primary, fmt.Sprintf("%d/%d", s.MembersUp, s.MembersTotal),
				bytesText(s.WorstLagBytes), writes, s.Verdict.Sentence})
		}
		return table(c.out, rows...)
	}
	return cmd
}

func nodesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "nodes CLUSTER", Short: "List a cluster's nodes and whether each may be promoted", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var d api.ClusterDetail
		if err := c.call(cmd.Context(), "GET", "/clusters/"+segment(args[0]), nil, &d); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(d.Nodes)
		}
		fmt.Fprintln(c.out, d.Verdict.Sentence)
		rows := [][]string{{"NODE", "ROLE", "STATUS", "LAG", "ADDRESS", "SEEN", "PROMOTABLE"}}
		for _, n := range d.Nodes {
			role := n.Role
			if n.ShouldBe != nil {
				role += " (should be " + *n.ShouldBe + ")"
			}
			rows = append(rows, []string{n.Name, role, n.Status.Level, bytesText(n.LagBytes), n.Address, agoText(n.LastUpdate), n.Promotable.Reason})
		}
		return table(c.out, rows...)
	}
	return cmd
}

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "explain CLUSTER NODE", Short: "Say why a node may or may not be promoted, check by check", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var r api.Report
		if err := c.call(cmd.Context(), "GET", "/clusters/"+segment(args[0])+"/nodes/"+segment(args[1])+"/report", nil, &r); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(r)
		}
		fmt.Fprintf(c.out, "Promotable: %s\n", r.Reason)
		return printChecks(c.out, r.Checks)
	}
	return cmd
}

// severity orders checks: what stands in the way first.
var severity = map[string]int{"refuse": 0, "unknown": 1, "warn": 2, "pass": 3}

func printChecks(w io.Writer, checks []api.Check) error {
	list := append([]api.Check(nil), checks...)
	sort.SliceStable(list, func(i, j int) bool { return severity[list[i].Verdict] < severity[list[j].Verdict] })
	rows := [][]string{{"VERDICT", "CHECK", "OF", "MEASURED", "WARN AT", "REFUSE AT", "WHY", "FIX"}}
	for _, ch := range list {
		rows = append(rows, []string{strings.ToUpper(ch.Verdict), ch.ID, ch.Subject, strings.TrimSpace(ch.Measured + " " + ch.Unit), orDash(ch.WarnAt), orDash(ch.RefuseAt), ch.Why, orDash(ch.Fix)})
	}
	return table(w, rows...)
}
