package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "audit [CLUSTER]", Short: "Show who did what, newest first (CLUSTER \"system\": sign-ins and users)",
		Long: "Show who did what, newest first (CLUSTER \"system\": sign-ins and users).\n\n" +
			"--verify reads every record from the journal and checks that none was changed, taken out or put in; exit code 1 when one was.\n" +
			"--export writes the records as they are stored, as CSV or as JSON with one record a line.",
		Args: cobra.MaximumNArgs(1)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	verify := f.Bool("verify", false, "check the hash chains of all clusters; exit code 1 when one breaks")
	limit := f.Int("limit", 50, "at most so many rows")
	export := f.String("export", "", "write all records as csv or json")
	file := f.String("file", "-", "where --export writes; - is standard output")
	from := f.String("from", "", "with --export: not older, like 2026-01-31T12:00:00Z")
	to := f.String("to", "", "with --export: older")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		cluster := ""
		if len(args) == 1 {
			cluster = args[0]
		}
		switch {
		case *export != "":
			return c.exportAudit(cmd, url.Values{"format": {*export}, "cluster": {cluster}, "from": {*from}, "to": {*to}}, *file)
		case *verify:
			return c.verifyAudit(cmd)
		case cluster == "":
			return c.showActivity(cmd, url.Values{"limit": {strconv.Itoa(*limit)}})
		}
		var page api.AuditPage
		if err := c.call(cmd.Context(), "GET", fmt.Sprintf("/clusters/%s/audit?limit=%d", segment(cluster), *limit), nil, &page); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(page)
		}
		return printAudit(c.out, page.Rows, false)
	}
	return cmd
}

func (c *client) verifyAudit(cmd *cobra.Command) error {
	var v api.AuditVerification
	if err := c.call(cmd.Context(), "GET", "/audit/verify", nil, &v); err != nil {
		return failure(err)
	}
	if c.json {
		if err := c.writeJSON(v); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(c.out, v.Sentence)
	}
	if !v.OK {
		return errors.New("the audit was tampered with: " + v.Sentence)
	}
	return nil
}

// exportAudit writes what the control plane streams. A file that was not
// written whole is removed.
func (c *client) exportAudit(cmd *cobra.Command, q url.Values, file string) (err error) {
	for k := range q {
		if q.Get(k) == "" {
			q.Del(k)
		}
	}
	res, err := c.request(cmd.Context(), "GET", "/audit/export?"+q.Encode(), nil)
	if err != nil {
		return failure(err)
	}
	defer res.Body.Close()
	out := c.out
	if file != "-" {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		defer func() {
			if cerr := f.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				os.Remove(file)
			}
		}()
		out = f
	}
	if _, err = io.Copy(out, res.Body); err != nil {
		return fmt.Errorf("the export broke off; nothing of it counts: %w", err)
	}
	return nil
}

func activityCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "activity", Short: "Show who did what on all clusters, newest first; refused and cancelled attempts too", Args: cobra.NoArgs}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	limit := f.Int("limit", 50, "at most so many rows")
	filters := map[string]*string{
		"cluster": f.String("cluster", "", "only of one cluster"),
		"who":     f.String("who", "", "only by one person or token"),
		"outcome": f.String("outcome", "", "done, refused, cancelled, rolled-back, failed or running"),
		"kind":    f.String("kind", "", "promotion, backup, sign-in, people, alert ..."),
		"from":    f.String("from", "", "not older, like 2026-01-31T12:00:00Z"),
		"to":      f.String("to", "", "older"),
		"before":  f.String("before", "", "read on: the next of the page before"),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		q := url.Values{"limit": {strconv.Itoa(*limit)}}
		for name, v := range filters {
			if *v != "" {
				q.Set(name, *v)
			}
		}
		return c.showActivity(cmd, q)
	}
	_ = cmd.RegisterFlagCompletionFunc("cluster", completeFlag(clusterNames))
	return cmd
}

func (c *client) showActivity(cmd *cobra.Command, q url.Values) error {
	var page api.ActivityPage
	if err := c.call(cmd.Context(), "GET", "/activity?"+q.Encode(), nil, &page); err != nil {
		return failure(err)
	}
	if c.json {
		return c.writeJSON(page)
	}
	if len(page.Rows) == 0 {
		fmt.Fprintln(c.out, "Nothing was done that fits.")
		return nil
	}
	if err := printAudit(c.out, page.Rows, true); err != nil {
		return err
	}
	if page.Next != "" {
		fmt.Fprintf(c.out, "\nMore: baton activity --before %s\n", page.Next)
	}
	return nil
}

func printAudit(w io.Writer, all []api.AuditRow, clusters bool) error {
	head := []string{"WHEN", "WHO", "WHAT", "OUTCOME", "STALL", "OPERATION", "DETAIL"}
	if clusters {
		head = append([]string{"CLUSTER"}, head...)
	}
	rows := [][]string{head}
	for _, r := range all {
		op := "-"
		if r.OperationID != nil {
			op = *r.OperationID
		}
		row := []string{r.At.Local().Format("2006-01-02 15:04:05"), r.Who + " (" + orDash(r.Role) + ", " + r.Source + ")", r.What, r.Outcome, msText(r.StallMs), op, orDash(r.Detail)}
		if clusters {
			row = append([]string{r.Cluster}, row...)
		}
		rows = append(rows, row)
	}
	return table(w, rows...)
}

func incidentCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "incident CLUSTER OPERATION", Short: "Tell everything around one operation in order of time: steps, alerts, roles, what was seen", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var in api.Incident
		if err := c.call(cmd.Context(), "GET", "/clusters/"+segment(args[0])+"/incidents/"+segment(args[1]), nil, &in); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(in)
		}
		fmt.Fprintf(c.out, "%s\n%s to %s\n\n", in.Title, in.From.Local().Format(time.DateTime), in.To.Local().Format(time.DateTime))
		rows := [][]string{}
		for _, e := range in.Entries {
			rows = append(rows, []string{e.At.Local().Format("15:04:05.000"), e.Kind, e.Sentence})
		}
		return table(c.out, rows...)
	}
	return cmd
}
