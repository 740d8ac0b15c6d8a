package main

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func settingsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "settings CLUSTER", Short: "Show or change what was decided about a cluster, with what follows from it", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	f.String("durability", "", "async or sync")
	f.Int("sync-replicas", 0, "replicas in step for a write to be taken")
	f.String("failover", "", "off, no-loss or bounded-loss")
	f.Int64("max-loss-bytes", 0, "of a failover with bounded loss")
	f.Int("max-loss-seconds", 0, "of a failover with bounded loss")
	f.Int("lease-ms", 0, "length of the primary's lease, 3000 to 60000")
	f.Int("cool-down", 0, "seconds after an automatic failover without another")
	f.String("mode", "", "strict, failsafe or auto")
	f.Bool("restart-first", false, "try a restart of a primary that crashed before failing over")
	f.Bool("approval", false, "a second person approves planned promotions")
	f.Bool("protect", false, "protect the cluster from deletion")
	f.StringSlice("allow", nil, "networks clients may come from")
	f.StringSlice("override", nil, "refusals that shall not count: networks.caller, networks.clients")
	f.String("backup-schedule", "", `"@every 24h" or five cron fields`)
	f.Int("backup-keep", 0, "backups kept")
	f.String("backup-target", "", "where backups go")
	f.String("drill-schedule", "", "when a restore is drilled")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		path := "/clusters/" + segment(args[0]) + "/settings"
		var out api.Settings
		if r, changes := settingsRequest(cmd); changes {
			if err := c.call(cmd.Context(), "PUT", path, r, &out); err != nil {
				return c.refusal(err)
			}
			if out.OperationID != nil {
				return c.followOperation(cmd.Context(), *out.OperationID, true)
			}
		} else if err := c.call(cmd.Context(), "GET", path, nil, &out); err != nil {
			return failure(err)
		}
		if done, err := c.answer(out); done {
			return err
		}
		return c.showSettings(&out)
	}
	return cmd
}

// settingsRequest holds what was given on the command line.
func settingsRequest(cmd *cobra.Command) (r api.PolicyRequest, changes bool) {
	f := cmd.Flags()
	given := func(name string) bool { changes = changes || f.Changed(name); return f.Changed(name) }
	text := func(name string, into **string) {
		if given(name) {
			v, _ := f.GetString(name)
			*into = &v
		}
	}
	number := func(name string, into **int) {
		if given(name) {
			v, _ := f.GetInt(name)
			*into = &v
		}
	}
	flag := func(name string, into **bool) {
		if given(name) {
			v, _ := f.GetBool(name)
			*into = &v
		}
	}
	text("durability", &r.Durability)
	number("sync-replicas", &r.SyncReplicas)
	text("failover", &r.Failover)
	if given("max-loss-bytes") {
		v, _ := f.GetInt64("max-loss-bytes")
		r.MaxLossBytes = &v
	}
	number("max-loss-seconds", &r.MaxLossAgeSeconds)
	number("lease-ms", &r.LeaseTTLMs)
	number("cool-down", &r.CoolDownSeconds)
	text("mode", &r.Mode)
	flag("restart-first", &r.RestartFirst)
	flag("approval", &r.Approval)
	flag("protect", &r.DeletionProtection)
	if given("allow") {
		v, _ := f.GetStringSlice("allow")
		r.AllowCIDRs = &v
	}
	r.Overrides, _ = f.GetStringSlice("override")
	text("backup-schedule", &r.BackupSchedule)
	number("backup-keep", &r.BackupKeep)
	text("backup-target", &r.BackupTarget)
	text("drill-schedule", &r.DrillSchedule)
	return r, changes
}

func (c *client) showSettings(s *api.Settings) error {
	p := s.Policy
	rows := [][]string{{"SETTING", "VALUE"}, {"durability", fmt.Sprintf("%s, %d replicas in step", p.Durability, p.SyncReplicas)},
		{"failover", fmt.Sprintf("%s, at most %d bytes and %d s lost", p.Failover, p.MaxLossBytes, p.MaxLossAgeSeconds)},
		{"lease", fmt.Sprintf("%d ms, mode %s, cool-down %d s", p.LeaseTTLMs, p.Mode, p.CoolDownSeconds)},
		{"approval", fmt.Sprint(p.Approval)}, {"deletion protection", fmt.Sprint(p.DeletionProtection)}, {"networks", orDash(strings.Join(p.AllowCIDRs, ", "))},
		{"backups", orDash(p.BackupSchedule)}, {"drills", orDash(p.DrillSchedule)}}
	if err := table(c.out, rows...); err != nil {
		return err
	}
	fmt.Fprintln(c.out)
	for _, line := range append(s.Consequences, s.Warnings...) {
		fmt.Fprintln(c.out, line)
	}
	for _, l := range s.Limits {
		fmt.Fprintf(c.out, "Direct connections on %s: limits %s", l.Host, l.State)
		if l.Why != "" {
			fmt.Fprintf(c.out, ": %s", l.Why)
		}
		fmt.Fprintln(c.out)
	}
	fmt.Fprintln(c.out, "If the primary dies: "+s.IfPrimaryDies)
	return nil
}

func paramsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "params CLUSTER [NAME=VALUE...]", Short: "Show or change the engine's parameters", Args: cobra.MinimumNArgs(1)}
	connect := clientFlags(cmd)
	reason := cmd.Flags().String("reason", "", "why, for the audit")
	wait := cmd.Flags().Bool("wait", true, "follow the operation to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		path := "/clusters/" + segment(args[0]) + "/parameters"
		if len(args) > 1 {
			r := api.ParametersRequest{Values: map[string]string{}, Reason: *reason}
			for _, a := range args[1:] {
				name, v, ok := strings.Cut(a, "=")
				if !ok {
					return fmt.Errorf("%q: write NAME=VALUE", a)
				}
				r.Values[name] = v
			}
			return c.run(cmd.Context(), "PUT", path, r, *wait)
		}
		var list api.ParameterList
		if err := c.call(cmd.Context(), "GET", path, nil, &list); err != nil {
			return failure(err)
		}
		if done, err := c.answer(list); done {
			return err
		}
		rows := [][]string{{"PARAMETER", "VALUE", "DEFAULT", "NEXT START", "MEANING"}}
		for _, p := range list.Parameters {
			next := "-"
			if p.Pending != nil {
				next = *p.Pending
			} else if p.NeedsRestart {
				next = "needs a restart"
			}
			rows = append(rows, []string{p.Name, orDash(p.Value), orDash(p.Default), next, p.Description})
		}
		return table(c.out, rows...)
	}
	return cmd
}

func databaseUsersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "db-users CLUSTER", Short: "The users of a database: show, make, give a new password, remove", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var list api.DatabaseUserList
		if err := c.call(cmd.Context(), "GET", "/clusters/"+segment(args[0])+"/users", nil, &list); err != nil {
			return failure(err)
		}
		if done, err := c.answer(list); done {
			return err
		}
		rows := [][]string{{"USER", "ACCESS", "SINCE"}}
		for _, u := range list.Users {
			rows = append(rows, []string{u.Name, u.ACL, u.At.Local().Format("2006-01-02 15:04")})
		}
		sort.Slice(rows[1:], func(i, j int) bool { return rows[i+1][0] < rows[j+1][0] })
		return table(c.out, rows...)
	}
	access := "readwrite"
	add := databaseUser("add CLUSTER USER", "Make a user; its password is shown once", func(ctx context.Context, c *client, cluster, user string) error {
		return c.password(ctx, "/clusters/"+segment(cluster)+"/users", api.DatabaseUserRequest{Name: user, Access: access})
	})
	add.Flags().StringVar(&access, "access", access, "read, readwrite or admin")
	rotate := databaseUser("rotate CLUSTER USER", "Give a user a new password, shown once", func(ctx context.Context, c *client, cluster, user string) error {
		return c.password(ctx, "/clusters/"+segment(cluster)+"/users/"+segment(user)+"/rotate", nil)
	})
	drop := databaseUser("remove CLUSTER USER", "Remove a user and close its connections", func(ctx context.Context, c *client, cluster, user string) error {
		var done api.OperationStarted
		if err := c.call(ctx, "DELETE", "/clusters/"+segment(cluster)+"/users/"+segment(user), nil, &done); err != nil {
			return c.refusal(err)
		}
		if yes, err := c.answer(done); yes {
			return err
		}
		fmt.Fprintf(c.out, "Removed %s from every node.\n", user)
		return nil
	})
	cmd.AddCommand(add, rotate, drop)
	return cmd
}

func databaseUser(use, short string, do func(context.Context, *client, string, string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		return do(cmd.Context(), c, args[0], args[1])
	}
	return cmd
}

// password sends a request whose answer is a password.
func (c *client) password(ctx context.Context, path string, in any) error {
	var p api.DatabasePassword
	if err := c.call(ctx, "POST", path, in, &p); err != nil {
		return c.refusal(err)
	}
	if done, err := c.answer(p); done {
		return err
	}
	fmt.Fprintf(c.out, "User %s, password %s   (shown only now)\n", p.Name, p.Password)
	return nil
}
