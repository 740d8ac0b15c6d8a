package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// hostsCommand shows and changes the machines with an agent.
func hostsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "hosts", Short: "Show the machines with an agent; add and remove them", Args: cobra.NoArgs}
	open := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		var list api.HostList
		if err := c.call(cmd.Context(), "GET", "/hosts", nil, &list); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(list)
		}
		w := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "HOST\tAGENT\tSTATE\tPROVIDER\tLOCATION\tCORES\tMEMORY\tDATABASES\tVERSION")
		for _, h := range list.Hosts {
			state := "away"
			switch {
			case h.Connected:
				state = "connected"
			case h.LastReport != nil:
				state = "away since " + time.Since(*h.LastReport).Round(time.Second).String()
			}
			var nodes []string
			for _, in := range h.Instances {
				nodes = append(nodes, in.Cluster+"/"+in.Node)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%.1f GiB\t%s\t%s\n", h.Name, h.ID, state, h.Provider, h.Location, h.Cores,
				float64(h.MemoryBytes)/(1<<30), strings.Join(nodes, " "), h.Version)
		}
		return w.Flush()
	}
	cmd.AddCommand(hostTokenCommand(), hostSSHCommand(), hostRemoveCommand(), hostCreateCommand(), machinesCommand(), providerCommand())
	return cmd
}

func hostTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token [NAME]", Short: "Make a one-use token with which a machine's agent joins", Args: cobra.MaximumNArgs(1)}
	open := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		return c.makeToken(cmd, "/hosts/join-token", api.HostTokenRequest{Name: strings.Join(args, "")})
	}
	return cmd
}

// makeToken prints the command that a new token makes possible.
func (c *client) makeToken(cmd *cobra.Command, path string, in any) error {
	var t api.ControlToken
	if err := c.call(cmd.Context(), "POST", path, in, &t); err != nil {
		return failure(err)
	}
	if c.json {
		return c.writeJSON(t)
	}
	fmt.Fprintf(c.out, "%s\n", t.Command)
	fmt.Fprintf(cmd.ErrOrStderr(), "Works once, until %s.\n", t.ExpiresAt.Local().Format("15:04"))
	return nil
}

func hostRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "remove HOST", Short: "Forget a machine without databases and revoke its agent's certificate", Args: cobra.ExactArgs(1)}
	open := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		var list api.HostList
		if err := c.call(cmd.Context(), "DELETE", "/hosts/"+segment(args[0]), nil, &list); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(list)
		}
		fmt.Fprintf(c.out, "%s is removed; its agent's certificate is not taken any more.\n", args[0])
		return nil
	}
	return cmd
}

// controlStatusCommand shows the control plane's own nodes.
func controlStatusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show the control nodes, who leads, and what may fail", Args: cobra.NoArgs}
	open := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		var v api.ControlState
		if err := c.call(cmd.Context(), "GET", "/control", nil, &v); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(v)
		}
		fmt.Fprintln(c.out, v.Sentence)
		w := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "NODE\tROLE\tSTATE\tBEHIND\tADDRESS\tPAGE\tVERSION")
		for _, n := range v.Nodes {
			state, name := "up", n.Name
			if !n.Up {
				state = "away"
			}
			if n.Self {
				name += " *"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d B\t%s\t%s\t%s\n", name, n.Role, state, n.LagBytes, n.Address, n.URL, n.Version)
		}
		return w.Flush()
	}
	return cmd
}

func controlTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make a one-use token with which one more control node joins (needs the role admin)", Args: cobra.NoArgs}
	open := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		return c.makeToken(cmd, "/control/join-token", nil)
	}
	return cmd
}

func controlRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "remove NAME", Short: "Take a control node that is down out for good (needs the role admin)", Args: cobra.ExactArgs(1)}
	open := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		var v api.ControlState
		if err := c.call(cmd.Context(), "DELETE", "/control/"+segment(args[0]), nil, &v); err != nil {
			return failure(err)
		}
		fmt.Fprintf(c.out, "%s is removed. It holds the authority's key: wipe its data directory.\n%s\n", args[0], v.Sentence)
		return nil
	}
	return cmd
}
