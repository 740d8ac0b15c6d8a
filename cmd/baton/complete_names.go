package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// finder finds proposals for a word of a use line: what to insert, a tab, and what it is.
type finder = func(ctx context.Context, c *client, cluster string) ([]string, error)

// namesUnder are words that mean something of their own under one command, by
// that command's path without the program: "db-users USER".
var namesUnder = map[string]finder{
	"targets remove NAME": func(ctx context.Context, c *client, _ string) ([]string, error) {
		var list api.BackupTargets
		err := c.call(ctx, "GET", "/backup-targets", nil, &list)
		return each(list.Targets, func(t api.BackupTarget) (string, string) { return t.Name, t.Location }), err
	},
	"hosts provider remove NAME":  providerNames,
	"hosts provider options NAME": providerNames,
	"hosts machines delete ID": func(ctx context.Context, c *client, _ string) ([]string, error) {
		var list api.MachineList
		err := c.call(ctx, "GET", "/machines", nil, &list)
		return each(list.Machines, func(m api.MachineView) (string, string) { return m.ID, m.Name + ", " + m.State }), err
	},
	"hosts remove HOST":        hostNames,
	"db-users rotate USER":     databaseUserNames,
	"db-users remove USER":     databaseUserNames,
	"db-users add USER":        nil, // a new name
	"store-users add LOGIN":    nil,
	"store-users groups GROUP": nil,
}

// moreNames are those of [names] that few commands need.
var moreNames = map[string]finder{
	"AGENT": hostNames,
	"BACKUP": func(ctx context.Context, c *client, cluster string) ([]string, error) {
		var list api.ClusterBackups
		err := c.call(ctx, "GET", "/clusters/"+segment(cluster)+"/backups", nil, &list)
		return each(list.Backups, func(b api.Backup) (string, string) {
			return b.ID, b.At.Local().Format("2006-01-02 15:04") + ", " + b.State
		}), err
	},
	"SESSION": func(ctx context.Context, c *client, _ string) ([]string, error) {
		var list api.TerminalSessions
		err := c.call(ctx, "GET", "/terminal/sessions?limit=50", nil, &list)
		return each(list.Sessions, func(s api.TerminalSession) (string, string) {
			return s.ID, s.Who + " on " + s.Node + ", " + s.BeganAt.Local().Format("2006-01-02 15:04")
		}), err
	},
	"STREAM": func(ctx context.Context, c *client, cluster string) ([]string, error) {
		var list api.StreamList
		err := c.call(ctx, "GET", ofStore(cluster, "streams"), nil, &list)
		return each(list.Streams, func(s api.StreamRow) (string, string) { return s.Name, s.Type }), err
	},
	"GROUP": func(ctx context.Context, c *client, cluster string) ([]string, error) {
		var list api.SubscriptionList
		err := c.call(ctx, "GET", ofStore(cluster, "subscriptions"), nil, &list)
		return each(list.Subscriptions, func(s api.Subscription) (string, string) { return s.Group, "of " + s.Stream + ", " + s.State }), err
	},
	"PROJECTION": func(ctx context.Context, c *client, cluster string) ([]string, error) {
		var list api.ProjectionList
		err := c.call(ctx, "GET", ofStore(cluster, "projections"), nil, &list)
		return each(list.Projections, func(p api.Projection) (string, string) { return p.Name, p.State }), err
	},
	"LOGIN": func(ctx context.Context, c *client, cluster string) ([]string, error) {
		var list api.StoreUserList
		err := c.call(ctx, "GET", ofStore(cluster, "store-users"), nil, &list)
		return each(list.Users, func(u api.StoreUser) (string, string) { return u.Login, u.FullName }), err
	},
}

func databaseUserNames(ctx context.Context, c *client, cluster string) ([]string, error) {
	var list api.DatabaseUserList
	err := c.call(ctx, "GET", "/clusters/"+segment(cluster)+"/users", nil, &list)
	return each(list.Users, func(u api.DatabaseUser) (string, string) { return u.Name, u.ACL }), err
}

func hostNames(ctx context.Context, c *client, _ string) ([]string, error) {
	var list api.HostList
	err := c.call(ctx, "GET", "/hosts", nil, &list)
	return each(list.Hosts, func(h api.Host) (string, string) { return h.ID, h.Name }), err
}

func providerNames(ctx context.Context, c *client, _ string) ([]string, error) {
	var list api.ProviderAccountList
	err := c.call(ctx, "GET", "/provider-accounts", nil, &list)
	return each(list.Accounts, func(a api.ProviderAccount) (string, string) { return a.Name, a.Kind }), err
}

// each words a list as proposals.
func each[T any](list []T, say func(T) (name, what string)) (out []string) {
	for _, x := range list {
		name, what := say(x)
		out = append(out, name+"\t"+what)
	}
	return out
}

// finderOf finds what a word of a command's use line stands for; nil: nothing is proposed.
func finderOf(cmd *cobra.Command, word string) finder {
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	if find, ok := namesUnder[path+" "+word]; ok {
		return find
	}
	if find, ok := moreNames[word]; ok {
		return find
	}
	return names[word]
}

// flagValues are the values of flags that take one of a few, by the flag's name,
// or by the command's path and it where commands differ.
var flagValues = map[string][]string{
	"output":          {"table", "json"}, // or text, see below
	"role":            {"viewer", "auditor", "operator", "approver", "admin"},
	"access":          {"read", "readwrite", "admin"},
	"durability":      {"async", "sync"},
	"failover":        {"off", "no-loss", "bounded-loss"},
	"settings mode":   {"strict", "failsafe", "auto"},
	"mode":            {"continuous", "transient"},
	"strategy":        {"RoundRobin", "DispatchToSingle", "Pinned", "PinnedByCorrelation"},
	"filter-by":       {"stream", "type"},
	"export":          {"csv", "json"},
	"import output":   {"json"},
	"outcome":         {"done", "refused", "cancelled", "rolled-back", "failed", "running"},
	"mail-encryption": {"starttls", "implicit", "none"},
}

// completeFlags proposes the values of flags that take one of a few.
func completeFlags(cmd *cobra.Command) {
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	for name, values := range flagValues {
		command, flag, ok := strings.Cut(name, " ")
		if !ok {
			flag = name
		} else if command != path {
			continue
		}
		f := cmd.Flags().Lookup(flag)
		if f == nil || !ok && flagValues[path+" "+flag] != nil {
			continue
		}
		if flag == "output" && f.DefValue == "text" {
			values = []string{"text", "json"}
		}
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // or the command has its own
	}
}
