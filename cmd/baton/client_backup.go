package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func sizeText(n int64) string {
	v := api.Int64(n)
	return bytesText(&v)
}

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "backup CLUSTER", Short: "Take a backup now: on the best node that does not lead, encrypted, checksummed", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	var in api.BackupRequest
	f.StringVar(&in.Node, "node", "", "take it on this node")
	f.StringVar(&in.Target, "target", "", "put it there instead of where the cluster's settings say")
	f.StringVar(&in.Reason, "reason", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		return c.run(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/backups", in, true)
	}
	return cmd
}

func backupsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "backups [CLUSTER]", Short: "List backups: which, how large, verified when and how", Args: cobra.MaximumNArgs(1)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return c.backupOverview(cmd)
		}
		var d api.ClusterBackups
		if err := c.call(cmd.Context(), "GET", "/clusters/"+segment(args[0])+"/backups", nil, &d); err != nil {
			return failure(err)
		}
		if done, err := c.answer(d); done {
			return err
		}
		fmt.Fprintln(c.out, d.Sentence)
		if d.Target != "" {
			fmt.Fprintf(c.out, "Target %s: %s; schedule %s, keeps %d\n", d.Target, orDash(d.TargetWhere), orDash(d.Schedule), d.Keep)
		}
		if d.LastDrill != nil {
			fmt.Fprintf(c.out, "Last restore drill %s: %s\n", agoText(&d.LastDrill.At), d.LastDrill.Sentence)
		}
		holds := "KEYS"
		if len(d.Backups) > 0 && d.Backups[0].Position != "" {
			holds = "EVENTS"
		}
		rows := [][]string{{"BACKUP", "OF", "NODE", "STATE", "SIZE", holds, "CHECKED", "FOUND"}}
		for _, b := range d.Backups {
			keys, state := "-", b.State
			if b.Keys != nil {
				keys = fmt.Sprint(*b.Keys)
			}
			if b.Damaged {
				state = "DAMAGED"
			}
			found := b.VerifiedHow
			if found == "" {
				found = b.Why
			}
			rows = append(rows, []string{b.ID, b.At.Local().Format("2006-01-02 15:04:05"), b.Node, state, sizeText(b.Bytes), keys, agoText(b.VerifiedAt), orDash(found)})
		}
		return table(c.out, rows...)
	}
	return cmd
}

func (c *client) backupOverview(cmd *cobra.Command) error {
	var list api.BackupOverviews
	if err := c.call(cmd.Context(), "GET", "/backups", nil, &list); err != nil {
		return failure(err)
	}
	if done, err := c.answer(list); done {
		return err
	}
	rows := [][]string{{"CLUSTER", "BACKUPS", "SIZE", "NEWEST", "NEWEST VERIFIED"}}
	for _, o := range list.Clusters {
		name := o.Cluster
		if o.Gone {
			name += " (gone)"
		}
		rows = append(rows, []string{name, fmt.Sprint(o.Count), sizeText(o.Bytes), agoText(o.Newest), agoText(o.Verified)})
	}
	return table(c.out, rows...)
}

func verifyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "verify CLUSTER BACKUP", Short: "Prove a backup: restore it on trial, apart from everything else", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	var in api.ReasonRequest
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		if err := c.run(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/backups/"+segment(args[1])+"/verify", in, true); err != nil {
			return err
		}
		return c.foundGood(cmd, args[0], args[1])
	}
	return cmd
}

// foundGood is an error when the last check of a backup found it damaged.
func (c *client) foundGood(cmd *cobra.Command, cluster, id string) error {
	var d api.ClusterBackups
	if err := c.call(cmd.Context(), "GET", "/clusters/"+segment(cluster)+"/backups", nil, &d); err != nil {
		return failure(err)
	}
	for _, b := range d.Backups {
		if (b.ID == id || id == "" && d.LastDrill != nil && b.ID == d.LastDrill.Backup) && b.Damaged {
			return &exitError{exitHuman, fmt.Errorf("backup %s cannot be restored: %s", b.ID, b.VerifiedHow)}
		}
	}
	return nil
}

func drillCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "drill CLUSTER", Short: "Restore the newest backup on trial and measure how long it takes", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	var in api.ReasonRequest
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		if err := c.run(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/drill", in, true); err != nil {
			return err
		}
		return c.foundGood(cmd, args[0], "")
	}
	return cmd
}

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "restore CLUSTER BACKUP --beside NAME | --in-place --confirm CLUSTER", Short: "Restore a backup: beside, into a new cluster, or in place", Args: cobra.ExactArgs(2),
		Long: "Restores a backup. Beside makes a new cluster of one node, which starts with the data of the backup; the old one is\n" +
			"not touched. A backup of an event store founds a new cluster that goes on from its log, with the accounts in it.\n" +
			"In place replaces the data of the cluster itself; event stores are not restored in place, because their readers\n" +
			"keep positions that would then belong to other events."}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	var in api.RestoreRequest
	f.StringVar(&in.Name, "beside", "", "make a new cluster of this name; the old one need not exist any more")
	f.StringVar(&in.Agent, "host", "", "agent that makes the new cluster's node; default: the one that took the backup")
	place := f.Bool("in-place", false, "replace the cluster's data; it is backed up and kept first (needs the role admin)")
	f.StringVar(&in.TypedName, "confirm", "", "the cluster's name again, for --in-place, instead of typing it")
	f.StringVar(&in.Reason, "reason", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		switch {
		case *place == (in.Name != ""):
			return errors.New("give either --beside NAME or --in-place")
		case *place:
			in.Mode = "in-place"
			if !c.json {
				fmt.Fprintf(c.out, "All data of cluster %s is replaced by backup %s. What was written since leaves the cluster; it is kept in a backup and a directory.\n", args[0], args[1])
			}
			if in.TypedName, err = typedName(cmd.InOrStdin(), c.out, in.TypedName, args[0]); err != nil {
				return err
			}
		default:
			in.Mode, in.TypedName = "beside", ""
		}
		var accepted api.RestoreAccepted
		if err := c.call(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/backups/"+segment(args[1])+"/restore", in, &accepted); err != nil {
			return c.refusal(err)
		}
		if k := accepted.Credentials; k != nil && !c.json {
			fmt.Fprintf(c.out, "User %s of the new cluster, password (shown once): %s\n", k.User, k.Password)
		}
		return c.followOperation(cmd.Context(), accepted.OperationID, true)
	}
	return cmd
}

func targetsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "targets", Short: "Places for backups: list, add, remove", Args: cobra.NoArgs}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var list api.BackupTargets
		if err := c.call(cmd.Context(), "GET", "/backup-targets", nil, &list); err != nil {
			return failure(err)
		}
		if done, err := c.answer(list); done {
			return err
		}
		rows := [][]string{{"TARGET", "KIND", "WHERE", "HEALTHY", "WHY", "CLUSTERS"}}
		for _, t := range list.Targets {
			healthy := "not checked"
			if t.Healthy != nil {
				healthy = map[bool]string{true: "yes", false: "NO"}[*t.Healthy]
			}
			rows = append(rows, []string{t.Name, t.Kind, t.Location, healthy, t.Why, orDash(strings.Join(t.Clusters, ", "))})
		}
		return table(c.out, rows...)
	}
	cmd.AddCommand(addTargetCommand(), removeTargetCommand())
	return cmd
}

func addTargetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "add NAME", Short: "Make or change a place for backups: --directory, or --endpoint and --bucket", Args: cobra.ExactArgs(1),
		Long: "Make or change a place for backups. A directory is one on the host of the agent that takes a backup; hosts\n" +
			"share it only when it is a mount they share. The secret key of a store is read from BATON_S3_SECRET_KEY or\n" +
			"--secret-key-file, never from the command line."}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	var in api.BackupTargetRequest
	f.StringVar(&in.Path, "directory", "", "absolute path")
	f.StringVar(&in.Endpoint, "endpoint", "", "host or host:port of an S3-compatible store")
	f.StringVar(&in.Bucket, "bucket", "", "bucket of the store")
	f.StringVar(&in.Region, "region", "", "region of the bucket")
	f.StringVar(&in.Prefix, "prefix", "", "put before every name in the bucket")
	f.StringVar(&in.AccessKey, "access-key", os.Getenv("BATON_S3_ACCESS_KEY"), "access key (default $BATON_S3_ACCESS_KEY)")
	secretFile := f.String("secret-key-file", "", "file with the secret key (default $BATON_S3_SECRET_KEY)")
	caFile := f.String("ca-file", "", "PEM file of an authority beside the system's")
	f.BoolVar(&in.PlainHTTP, "plain-http", false, "without TLS; only for a store on this machine")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		in.Name, in.Kind = args[0], "s3"
		if in.Path != "" {
			in.Kind = "directory"
		} else if in.SecretKey = os.Getenv("BATON_S3_SECRET_KEY"); *secretFile != "" {
			if in.SecretKey, err = readSmall(*secretFile); err != nil {
				return err
			}
		}
		if *caFile != "" {
			if in.CA, err = readSmall(*caFile); err != nil {
				return err
			}
		}
		var t api.BackupTarget
		if err := c.call(cmd.Context(), "POST", "/backup-targets", in, &t); err != nil {
			return failure(err)
		}
		if done, err := c.answer(t); done {
			return err
		}
		fmt.Fprintf(c.out, "Target %s: %s. %s\n", t.Name, t.Location, t.Why)
		return nil
	}
	return cmd
}

func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return strings.TrimSpace(string(b)), err
}

func removeTargetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "remove NAME", Short: "Forget a place for backups; what is in it stays", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var done api.Done
		if err := c.call(cmd.Context(), "DELETE", "/backup-targets/"+segment(args[0]), nil, &done); err != nil {
			return failure(err)
		}
		if printed, err := c.answer(done); printed {
			return err
		}
		fmt.Fprintln(c.out, done.Sentence)
		return nil
	}
	return cmd
}
