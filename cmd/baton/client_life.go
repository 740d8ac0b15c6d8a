package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// answer prints v as JSON where that is wanted, and tells whether it did.
func (c *client) answer(v any) (bool, error) {
	if !c.json {
		return false, nil
	}
	return true, c.writeJSON(v)
}

// run sends a request that begins an operation and follows it, unless not.
func (c *client) run(ctx context.Context, method, path string, in any, wait bool) error {
	var started api.OperationStarted
	if err := c.call(ctx, method, path, in, &started); err != nil {
		return c.refusal(err)
	}
	return c.followOperation(ctx, started.OperationID, wait)
}

func (c *client) followOperation(ctx context.Context, id string, wait bool) error {
	if !wait {
		if done, err := c.answer(api.OperationStarted{OperationID: id}); done {
			return err
		}
		fmt.Fprintf(c.out, "Operation %s; follow it with: baton op watch %s\n", id, id)
		return nil
	}
	if !c.json {
		fmt.Fprintf(c.out, "Operation %s\n", id)
	}
	return c.watch(ctx, id)
}

// refusal prints every reason of a plan that was refused.
func (c *client) refusal(err error) error {
	var p *api.Problem
	if errors.As(err, &p) && !c.json {
		for _, r := range p.Refusals {
			fmt.Fprintf(c.out, "refused: %s (%s); %s\n", r.Title, r.Detail, orDash(r.Fix))
		}
	}
	return failure(err)
}

func enginesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "engines", Short: "What can be made, and on which hosts", Args: cobra.NoArgs}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var list api.EngineList
		if err := c.call(cmd.Context(), "GET", "/engines", nil, &list); err != nil {
			return failure(err)
		}
		if done, err := c.answer(list); done {
			return err
		}
		rows := [][]string{{"ENGINE", "VERSION", "AGENTS"}}
		for _, e := range list.Engines {
			for _, v := range e.Versions {
				rows = append(rows, []string{e.Engine, v.Version, strings.Join(v.Hosts, ", ")})
			}
		}
		return table(c.out, rows...)
	}
	return cmd
}

// nodeArgument reads NAME@AGENT[:PORT].
func nodeArgument(s string) (api.NewNodeRequest, error) {
	name, rest, ok := strings.Cut(s, "@")
	n := api.NewNodeRequest{Name: name, Agent: rest}
	if agent, port, has := strings.Cut(rest, ":"); has {
		p, err := strconv.Atoi(port)
		if err != nil {
			return n, fmt.Errorf("node %q: the port is not a number; write NAME@AGENT:PORT", s)
		}
		n.Agent, n.Port = agent, p
	}
	if !ok || name == "" || n.Agent == "" {
		return n, fmt.Errorf("node %q: write NAME@AGENT or NAME@AGENT:PORT; baton hosts lists the agents", s)
	}
	return n, nil
}

func createCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "create CLUSTER NAME@AGENT[:PORT]...", Short: "Make a cluster; its first node begins as primary", Args: cobra.MinimumNArgs(2)}
	connect := clientFlags(cmd)
	var r api.CreateRequest
	f := cmd.Flags()
	f.StringVar(&r.Engine, "engine", "redis", "engine")
	f.StringVar(&r.Version, "version", "", "version, by default the one the hosts agree on")
	f.Int64Var(&r.MemoryBytes, "memory-bytes", 0, "limit of each server, 0 none")
	f.StringVar(&r.Durability, "durability", "async", "async, or sync: writes are taken only with replicas in step")
	f.IntVar(&r.SyncReplicas, "sync-replicas", 0, "how many, with sync")
	f.StringVar(&r.Failover, "failover", "", "off, no-loss or bounded-loss")
	f.StringSliceVar(&r.AllowCIDRs, "allow", nil, "networks clients may come from")
	f.BoolVar(&r.DeletionProtection, "protect", false, "protect it from deletion")
	f.StringVar(&r.Reason, "reason", "", "why, for the audit")
	wait := f.Bool("wait", true, "follow the operation to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		r.Name = args[0]
		for _, a := range args[1:] {
			n, err := nodeArgument(a)
			if err != nil {
				return err
			}
			r.Nodes = append(r.Nodes, n)
		}
		var made api.CreateAccepted
		if err := c.call(cmd.Context(), "POST", "/clusters", r, &made); err != nil {
			return c.refusal(err)
		}
		if c.json && !*wait {
			return c.writeJSON(made)
		}
		if c.json { // the password is nowhere else: beside the operation's JSON it goes to standard error
			fmt.Fprintf(cmd.ErrOrStderr(), "user %s password %s\n", made.Credentials.User, made.Credentials.Password)
		} else {
			fmt.Fprintf(c.out, "User %s, password %s   (shown only now)\n", made.Credentials.User, made.Credentials.Password)
			for _, w := range made.Warnings {
				fmt.Fprintln(c.out, "Note: "+w)
			}
		}
		return c.followOperation(cmd.Context(), made.OperationID, *wait)
	}
	return cmd
}

// passwordVariable may hold a database password: the command line can be read
// by other users of the machine.
const passwordVariable = "BATON_DB_PASSWORD"

func adoptCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "adopt CLUSTER HOST:PORT AGENT", Short: "Take over a primary and its replicas as they run",
		Long: "Take over a primary and its replicas as they run. The password of the servers is read from " + passwordVariable + ".", Args: cobra.ExactArgs(3)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	user := f.String("user", "", "user of the servers")
	dry := f.Bool("dry-run", false, "show what would be adopted; change nothing")
	reason := f.String("reason", "", "why, for the audit")
	wait := f.Bool("wait", true, "follow the operation to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		r := api.AdoptRequest{Name: args[0], Primary: args[1], Agent: args[2], User: *user, Password: os.Getenv(passwordVariable), Reason: *reason}
		if !*dry {
			return c.run(cmd.Context(), "POST", "/clusters/adopt", r, *wait)
		}
		var p api.AdoptPreview
		if err := c.call(cmd.Context(), "POST", "/clusters/adopt/preview", r, &p); err != nil {
			return failure(err)
		}
		if done, err := c.answer(p); done {
			return err
		}
		rows := [][]string{{"ADDRESS", "ROLE", "VERSION", "LAG BYTES", "WATCHED BY"}}
		for _, n := range p.Nodes {
			rows = append(rows, []string{n.Address, n.Role, orDash(n.Version), fmt.Sprint(int64(n.LagBytes)), n.Agent})
		}
		if err := table(c.out, rows...); err != nil {
			return err
		}
		for _, r := range p.Refusals {
			fmt.Fprintf(c.out, "refused: %s (%s); %s\n", r.Title, r.Detail, orDash(r.Fix))
		}
		if len(p.Refusals) > 0 {
			return &exitError{exitRefused, errors.New("it would be refused")}
		}
		return nil
	}
	return cmd
}

func addNodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "add-node CLUSTER NAME@AGENT[:PORT]", Short: "Add a replica; it is promotable when it holds everything", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	priority := f.Int("priority", 100, "0 (never automatically) to 1000")
	reason := f.String("reason", "", "why, for the audit")
	wait := f.Bool("wait", true, "follow the operation to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		n, err := nodeArgument(args[1])
		if err != nil {
			return err
		}
		n.Priority = priority
		return c.run(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/nodes", api.AddNodeRequest{NewNodeRequest: n, Reason: *reason}, *wait)
	}
	return cmd
}

func removeNodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "remove-node CLUSTER NODE", Short: "Take a replica out of a cluster", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	confirm := f.String("confirm", "", "the node's name again, instead of typing it")
	wipe := f.Bool("wipe", false, "remove its data too")
	reason := f.String("reason", "", "why, for the audit")
	overrides := f.StringSlice("override", nil, "refusals that shall not stand in the way")
	wait := f.Bool("wait", true, "follow the operation to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var d api.ClusterDetail
		if err := c.call(cmd.Context(), "GET", "/clusters/"+segment(args[0]), nil, &d); err != nil {
			return failure(err)
		}
		typed, err := typedName(cmd.InOrStdin(), c.out, *confirm, args[1])
		if err != nil {
			return err
		}
		return c.run(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/nodes/"+segment(args[1])+"/remove",
			api.RemoveRequest{TypedName: typed, Generation: d.Generation, Wipe: *wipe, Reason: *reason, Overrides: *overrides}, *wait)
	}
	return cmd
}

func deleteCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "delete CLUSTER", Short: "Delete a cluster", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	confirm := f.String("confirm", "", "the cluster's name again, instead of typing it")
	wipe := f.Bool("wipe", false, "remove the data too")
	reason := f.String("reason", "", "why, for the audit")
	wait := f.Bool("wait", true, "follow the operation to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		typed, err := typedName(cmd.InOrStdin(), c.out, *confirm, args[0])
		if err != nil {
			return err
		}
		return c.run(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/delete", api.DeleteRequest{TypedName: typed, Wipe: *wipe, Reason: *reason}, *wait)
	}
	return cmd
}

func resyncCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "resync CLUSTER NODE", Short: "Bring a replica in step again: from its offset, else by a full copy", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	reason := cmd.Flags().String("reason", "", "why, for the audit")
	overrides := cmd.Flags().StringSlice("override", nil, "refusals that shall not stand in the way")
	wait := cmd.Flags().Bool("wait", true, "follow the operation to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		return c.run(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/nodes/"+segment(args[1])+"/resync", api.ResyncRequest{Reason: *reason, Overrides: *overrides}, *wait)
	}
	return cmd
}

func maintenanceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "maintenance CLUSTER NODE MINUTES", Short: "Promote nothing to a node for a while; 0 ends it", Args: cobra.ExactArgs(3)}
	connect := clientFlags(cmd)
	reason := cmd.Flags().String("reason", "", "why, for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		minutes, err := strconv.Atoi(args[2])
		if err != nil {
			return fmt.Errorf("%q is not a number of minutes", args[2])
		}
		return c.node(cmd.Context(), "POST", args[0], args[1], "maintenance", api.MaintenanceRequest{Minutes: minutes, Reason: *reason})
	}
	return cmd
}

// node sends a change of a node and shows what it then may become.
func (c *client) node(ctx context.Context, method, cluster, node, what string, in any) error {
	var n api.Node
	if err := c.call(ctx, method, "/clusters/"+segment(cluster)+"/nodes/"+segment(node)+"/"+what, in, &n); err != nil {
		return failure(err)
	}
	if done, err := c.answer(n); done {
		return err
	}
	fmt.Fprintf(c.out, "%s: priority %d. Promotable: %s\n", n.Name, n.Priority, n.Promotable.Reason)
	return nil
}

func tagCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tag CLUSTER NODE", Short: "Say what a node may become; what is not given falls back to the default", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	var r api.TagsRequest
	f := cmd.Flags()
	priority := f.Int("priority", 100, "0 (never automatically) to 1000")
	f.BoolVar(&r.NoFailover, "nofailover", false, "never promote it automatically")
	f.BoolVar(&r.Never, "never", false, "do not promote it even by hand")
	f.BoolVar(&r.NoSync, "nosync", false, "it does not count for synchronous durability")
	f.BoolVar(&r.NoBackup, "nobackup", false, "take no backup on it")
	days := f.Int("days", 0, "fall back to the default after so many days, 1 to 365; 0: never")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		r.Priority = priority
		if *days > 0 {
			until := time.Now().AddDate(0, 0, *days)
			r.Expires = &until
		}
		return c.node(cmd.Context(), "PUT", args[0], args[1], "tags", r)
	}
	return cmd
}
