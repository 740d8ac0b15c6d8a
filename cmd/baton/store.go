package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/eventstore/backup"
	"baton/eventstore/membership"
)

// nodePasswordVariable holds the password for a node's HTTP routes: arguments
// can be read by every user of a machine.
const nodePasswordVariable = "BATON_NODE_PASSWORD"

// dataCommand works with the data of event-store nodes themselves, without a
// control plane.
func dataCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Work with event-store nodes: back one up, prove and restore a backup, see why elections were lost"}
	cmd.AddCommand(storeBackup(), storeStatus(), storeShow(), storeVerify(), storeRestore(), storeElections())
	return cmd
}

// nodeClient talks to one node's HTTP routes.
type nodeClient struct {
	base           string
	user, password string
	http           *http.Client
}

// nodeFlags gives a command the flags that name a node.
func nodeFlags(cmd *cobra.Command) func() (*nodeClient, error) {
	f := cmd.Flags()
	address := f.String("node", "https://localhost:2113", "the node's address; http:// for an insecure one")
	user := f.String("user", "admin", "who asks; the password is read from "+nodePasswordVariable)
	ca := f.String("ca", "", "file with the certificates that the node's is to be checked with (those of the system)")
	return func() (*nodeClient, error) {
		u, err := url.Parse(*address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("--node %q is not the address of a node: give https://HOST:2113", *address)
		}
		c := &nodeClient{base: u.Scheme + "://" + u.Host, user: *user, password: os.Getenv(nodePasswordVariable), http: &http.Client{Timeout: time.Minute}}
		if *ca == "" {
			return c, nil
		}
		pem, err := os.ReadFile(*ca)
		if err != nil {
			return nil, fmt.Errorf("read --ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca %s holds no certificate", *ca)
		}
		c.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
		return c, nil
	}
}

// call asks a route and decodes the answer. A refusal is *membership.Refusal.
func (c *nodeClient) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.password != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("no answer from the node at %s: %w", c.base, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	if res.StatusCode >= 300 {
		var refusal membership.Refusal
		if json.Unmarshal(data, &refusal) != nil || refusal.Title == "" {
			return fmt.Errorf("%s answered %s, not as an event-store node does", c.base, res.Status)
		}
		return refused(&refusal)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	return nil
}

// refused words a refusal for the command line.
func refused(err error) error {
	refusal, ok := errors.AsType[*membership.Refusal](err)
	if !ok {
		return err
	}
	return &exitError{exitRefused, fmt.Errorf("%w\n  %s", refusal, refusal.Fix)}
}

// storeOutput adds -o.
func storeOutput(cmd *cobra.Command) func() (asJSON bool, err error) {
	output := cmd.Flags().StringP("output", "o", "text", "text or json")
	return func() (bool, error) {
		if *output != "text" && *output != "json" {
			return false, fmt.Errorf("output %q: give text or json", *output)
		}
		return *output == "json", nil
	}
}

func storeBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup --to DIR", Short: "Back a running node up to a directory on its host",
		Long: "Backs a running node up to a directory on its host, while it goes on serving. A directory that holds an earlier\n" +
			"backup of the same cluster is brought up to date: only what is new is stored. An interrupted backup is no backup;\n" +
			"the same command goes on where it was. Files on the same file system are linked, not copied; put backups on\n" +
			"another disk, or copy them there.",
		Example: "  baton store backup --node http://127.0.0.1:2113 --to /srv/backups/shop\n" +
			"  baton store verify /srv/backups/shop",
		Args: cobra.NoArgs,
	}
	node, output := nodeFlags(cmd), storeOutput(cmd)
	var q backup.Request
	var limit int64
	f := cmd.Flags()
	f.StringVar(&q.Directory, "to", "", "the directory, on the node's host")
	f.BoolVar(&q.Copy, "copy", false, "copy every file, also where it could be linked")
	f.Int64Var(&limit, "limit", 0, "read at most so many megabytes in a second (no bound)")
	_ = cmd.MarkFlagRequired("to")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asJSON, err := output()
		if err != nil {
			return err
		}
		c, err := node()
		if err != nil {
			return err
		}
		q.BytesPerSecond = limit * 1_000_000
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		var s backup.Status
		if err := c.call(ctx, http.MethodPost, "/admin/backup", q, &s); err != nil {
			return err
		}
		return c.watchBackup(ctx, cmd, &s, asJSON)
	}
	return cmd
}

const (
	// backupPoll is how often a running backup is asked about.
	backupPoll = 200 * time.Millisecond
	// backupLines is how often its progress is written.
	backupLines = 5 * time.Second
)

func (c *nodeClient) watchBackup(ctx context.Context, cmd *cobra.Command, s *backup.Status, asJSON bool) error {
	tick := time.NewTicker(backupPoll)
	defer tick.Stop()
	said := time.Now()
	for s.State == backup.StateRunning {
		select {
		case <-tick.C:
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := c.call(end, http.MethodDelete, "/admin/backup", nil, s); err != nil {
				return fmt.Errorf("interrupted, and the node could not be told: %w", err)
			}
			continue
		}
		if err := c.call(ctx, http.MethodGet, "/admin/backup", nil, s); err != nil && ctx.Err() == nil {
			return err
		}
		if s.State == backup.StateRunning && time.Since(said) >= backupLines {
			said = time.Now()
			fmt.Fprintln(cmd.ErrOrStderr(), backupLine(s))
		}
	}
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), s); err != nil {
			return err
		}
	}
	switch s.State {
	case backup.StateDone:
		if !asJSON {
			fmt.Fprintf(cmd.OutOrStdout(), "Backed up to position %d in %s: %d files, %s; %d kept from before, %d linked, %d copied. It took %s.\nProve it with: baton store verify %s\n",
				s.Position, s.Directory, s.Files, sizeText(s.Bytes), s.Kept, s.Linked, s.Files-s.Kept-s.Linked, s.EndedAt.Sub(s.StartedAt).Round(time.Millisecond), s.Directory)
		}
		return nil
	case backup.StateCanceled:
		return fmt.Errorf("the backup was ended before it was complete; the same command goes on where it was, and a backup that was there before is as it was")
	}
	if s.Refusal != nil {
		return refused(s.Refusal)
	}
	return fmt.Errorf("the backup failed: %s; a backup that was there before is as it was", s.Error)
}

func backupLine(s *backup.Status) string {
	if s.Checking {
		return "reading back what was stored"
	}
	return fmt.Sprintf("%5.1f %%  %d of %d files, %s", 100*float64(s.DoneBytes)/float64(max(s.Bytes, 1)), s.Done, s.Files, sizeText(s.DoneBytes))
}

func printJSON(out io.Writer, value any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

func storeStatus() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show a node's last backup, or how far the running one is", Args: cobra.NoArgs}
	node, output := nodeFlags(cmd), storeOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asJSON, err := output()
		if err != nil {
			return err
		}
		c, err := node()
		if err != nil {
			return err
		}
		var s backup.Status
		if err := c.call(cmd.Context(), http.MethodGet, "/admin/backup", nil, &s); err != nil {
			return err
		}
		switch {
		case asJSON:
			return printJSON(cmd.OutOrStdout(), s)
		case s.State == backup.StateNone:
			fmt.Fprintln(cmd.OutOrStdout(), "No backup was taken since the node started.")
		case s.State == backup.StateRunning:
			fmt.Fprintf(cmd.OutOrStdout(), "running to %s: %s\n", s.Directory, strings.TrimSpace(backupLine(&s)))
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s: position %d in %s\n", s.State, s.EndedAt.Local().Format("2006-01-02 15:04:05"), s.Position, s.Directory)
			if s.Refusal != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%v\n  %s\n", s.Refusal, s.Refusal.Fix)
			} else if s.Error != "" {
				fmt.Fprintln(cmd.OutOrStdout(), s.Error)
			}
		}
		return nil
	}
	return cmd
}

func storeShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show DIR", Short: "Show what a backup is, as its manifest says", Args: cobra.ExactArgs(1)}
	output := storeOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := output()
		if err != nil {
			return err
		}
		m, err := backup.ReadManifest(nil, args[0])
		if err != nil {
			return refused(err)
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), m)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "cluster   %s %s, %d voters wanted\nmembers   %s\ntaken     %s on %s (%s), version %s\nholds     up to position %d, entry %d, term %d\nfiles     %d, %s\n",
			m.ClusterID, m.ClusterName, m.ClusterSize, strings.Join(m.Members, ", "), m.TakenAt.Local().Format("2006-01-02 15:04:05 MST"), m.Node.Name, m.Node.Role, m.Version,
			m.Position, m.Index, m.Term, len(m.Files), sizeText(m.Bytes()))
		return nil
	}
	return cmd
}

func storeVerify() *cobra.Command {
	cmd := &cobra.Command{Use: "verify DIR", Short: "Prove a backup: read every byte and apply every entry, apart from everything else", Args: cobra.ExactArgs(1)}
	output := storeOutput(cmd)
	var o backup.VerifyOptions
	cmd.Flags().StringVar(&o.Scratch, "scratch", "", "directory for an index that is built and removed (among the temporary files)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := output()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		o.Progress = said(cmd.ErrOrStderr())
		r, err := backup.Verify(ctx, args[0], o)
		if err != nil {
			return refused(err)
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), r)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "The backup is whole: %d events in %d streams, up to position %d (entry %d). %d files, %s, read and applied in %s.\n",
			r.Events, r.Streams, r.Position, r.Index, r.Files, sizeText(r.Bytes), time.Duration(r.TookMs)*time.Millisecond)
		return nil
	}
	return cmd
}

// said writes now and then how far something is.
func said(out io.Writer) func(what string, done, of int64) {
	last := time.Now()
	return func(what string, done, of int64) {
		if time.Since(last) >= backupLines {
			last = time.Now()
			fmt.Fprintf(out, "%s: %5.1f %%\n", what, 100*float64(done)/float64(max(of, 1)))
		}
	}
}

func storeRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore DIR --db DATA", Short: "Make a new cluster of a backup, in an empty data directory",
		Long: "Makes an empty directory the data directory of the first node of a new cluster that goes on from the backup.\n" +
			"The cluster gets an id of its own, and nodes of the one that was backed up stay apart from it. Start the node with\n" +
			"'baton serve --db DATA' first; once it serves, other nodes with empty directories join it as they join any cluster,\n" +
			"copy everything and are promoted until there are as many voters as the cluster wants.",
		Example: "  baton store restore /srv/backups/shop --db /var/lib/baton/node --cluster-size 3",
		Args:    cobra.ExactArgs(1),
	}
	output := storeOutput(cmd)
	var o backup.RestoreOptions
	var data string
	f := cmd.Flags()
	f.StringVar(&data, "db", "", "the data directory, empty or missing")
	f.IntVar(&o.ClusterSize, "cluster-size", 0, "voters the new cluster wants: 1, 3, 5, 7 or 9 (as in the backup)")
	f.StringVar(&o.ClusterName, "cluster-name", "", "its name (as in the backup)")
	_ = cmd.MarkFlagRequired("db")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := output()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		if data, err = filepath.Abs(data); err != nil {
			return err
		}
		o.Progress = said(cmd.ErrOrStderr())
		r, err := backup.Restore(ctx, args[0], data, o)
		if errors.Is(err, context.Canceled) {
			return fmt.Errorf("interrupted; no node starts in %s as it is. Run the same command again, it begins anew", data)
		}
		if err != nil {
			return refused(err)
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), r)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Restored into %s: %d events in %d streams, up to position %d, as cluster %s.\nStart it with: baton serve --db %s\n",
			data, r.Events, r.Streams, r.Position, r.ClusterID, data)
		return nil
	}
	return cmd
}
