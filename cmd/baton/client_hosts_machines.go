package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// providerCommand shows, adds and removes access to providers.
func providerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "provider", Short: "Show access to providers that make machines; add and remove it", Args: cobra.NoArgs}
	open := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		var list api.ProviderAccountList
		if err := c.call(cmd.Context(), "GET", "/provider-accounts", nil, &list); err != nil {
			return failure(err)
		}
		return c.showAccounts(list)
	}
	cmd.AddCommand(providerAddCommand(), providerRemoveCommand(), providerOptionsCommand())
	return cmd
}

func (c *client) showAccounts(list api.ProviderAccountList) error {
	if c.json {
		return c.writeJSON(list)
	}
	rows := [][]string{{"ACCOUNT", "PROVIDER", "BY", "SINCE", "ENDPOINT"}}
	for _, a := range list.Accounts {
		rows = append(rows, []string{a.Name, a.Kind, a.By, a.At.Local().Format("2006-01-02 15:04"), orDash(a.Endpoint)})
	}
	return table(c.out, rows...)
}

func providerAddCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "add NAME", Short: "Keep access to a provider; its API token is read from standard input", Args: cobra.ExactArgs(1)}
	open := clientFlags(cmd)
	kind := cmd.Flags().String("kind", "hetzner", "which provider")
	endpoint := cmd.Flags().String("endpoint", "", "address of its API, by default its own")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4<<10)).ReadString('\n')
		token := strings.TrimSpace(line)
		if token == "" || err != nil && !errors.Is(err, io.EOF) {
			return errors.New("there is no token on standard input: pipe it in, so that it stands in no history")
		}
		var list api.ProviderAccountList
		if err := c.call(cmd.Context(), "POST", "/provider-accounts", api.ProviderAccountRequest{Name: args[0], Kind: *kind, Token: token, Endpoint: *endpoint}, &list); err != nil {
			return failure(err)
		}
		return c.showAccounts(list)
	}
	return cmd
}

func providerRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "remove NAME", Short: "Forget access to a provider", Args: cobra.ExactArgs(1)}
	open := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		var list api.ProviderAccountList
		if err := c.call(cmd.Context(), "DELETE", "/provider-accounts/"+segment(args[0]), nil, &list); err != nil {
			return failure(err)
		}
		return c.showAccounts(list)
	}
	return cmd
}

func providerOptionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "options NAME", Short: "Show the locations and sizes machines can be made of", Args: cobra.ExactArgs(1)}
	open := clientFlags(cmd)
	location := cmd.Flags().String("location", "", "only what there is at this location")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		var o api.ProviderOptions
		if err := c.call(cmd.Context(), "GET", "/provider-accounts/"+segment(args[0])+"/options?location="+segment(*location), nil, &o); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(o)
		}
		rows := [][]string{{"LOCATION", "CITY", "COUNTRY"}}
		for _, l := range o.Locations {
			rows = append(rows, []string{l.Name, l.Title, l.Country})
		}
		if err := table(c.out, rows...); err != nil {
			return err
		}
		fmt.Fprintln(c.out)
		rows = [][]string{{"SIZE", "CORES", "MEMORY", "DISK", "ARCH", "A MONTH"}}
		for _, z := range o.Sizes {
			rows = append(rows, []string{z.Name, fmt.Sprint(z.Cores), fmt.Sprintf("%d GiB", z.MemoryBytes>>30), fmt.Sprintf("%d GiB", z.DiskBytes>>30), z.Arch, orDash(z.MonthlyPrice)})
		}
		return table(c.out, rows...)
	}
	return cmd
}

// machinesCommand shows and deletes machines that were asked for.
func machinesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "machines", Short: "Show the machines that were asked for at providers; delete them", Args: cobra.NoArgs}
	open := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		var list api.MachineList
		if err := c.call(cmd.Context(), "GET", "/machines", nil, &list); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(list)
		}
		rows := [][]string{{"MACHINE", "ID", "STATE", "ACCOUNT", "SIZE", "LOCATION", "ADDRESS", "WHY"}}
		for _, m := range list.Machines {
			rows = append(rows, []string{m.Name, m.ID, m.State, m.Account, m.Size, m.Location, orDash(m.Address), orDash(m.Why)})
		}
		return table(c.out, rows...)
	}
	cmd.AddCommand(machineDeleteCommand())
	return cmd
}

func hostCreateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "create NAME", Short: "Make a machine at a provider; its agent joins by itself", Args: cobra.ExactArgs(1)}
	open := clientFlags(cmd)
	var r api.MachineRequest
	f := cmd.Flags()
	f.StringVar(&r.Account, "account", "", "provider account, see baton hosts provider")
	f.StringVar(&r.Location, "location", "", "where it stands")
	f.StringVar(&r.Size, "size", "", "kind of machine, see baton hosts provider options")
	f.StringVar(&r.Image, "image", "", "what it is made from, by default Debian")
	f.StringVar(&r.Program, "program", "", "URL it fetches this program from, by default the control plane's")
	wait := f.Bool("wait", true, "follow it until its agent has joined")
	for _, name := range []string{"account", "location", "size"} {
		_ = cmd.MarkFlagRequired(name)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		r.Name = args[0]
		var task api.HostTaskAccepted
		if err := c.call(cmd.Context(), "POST", "/hosts/create", r, &task); err != nil {
			return failure(err)
		}
		return c.followMachine(cmd.Context(), task.TaskID, *wait)
	}
	return cmd
}

func machineDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "delete ID", Short: "Delete a machine without databases, and its disk, at its provider", Args: cobra.ExactArgs(1)}
	open := clientFlags(cmd)
	confirm := cmd.Flags().String("confirm", "", "the machine's name, instead of typing it")
	wait := cmd.Flags().Bool("wait", true, "follow it to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		m, err := c.machine(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		typed, err := typedName(cmd.InOrStdin(), c.out, *confirm, m.Name)
		if err != nil {
			return err
		}
		var task api.HostTaskAccepted
		if err := c.call(cmd.Context(), "POST", "/machines/"+segment(args[0])+"/delete", api.MachineDeletion{TypedName: typed}, &task); err != nil {
			return failure(err)
		}
		return c.followMachine(cmd.Context(), task.TaskID, *wait)
	}
	return cmd
}

func (c *client) machine(ctx context.Context, id string) (api.MachineView, error) {
	var list api.MachineList
	if err := c.call(ctx, "GET", "/machines", nil, &list); err != nil {
		return api.MachineView{}, failure(err)
	}
	for _, m := range list.Machines {
		if m.ID == id {
			return m, nil
		}
	}
	return api.MachineView{}, fmt.Errorf("there is no machine %s; baton hosts machines shows them", id)
}

// machineLook is how often a machine is looked at while it is followed.
const machineLook = 2 * time.Second

// followMachine prints steps as they begin, until the machine is ready, failed
// or deleted.
func (c *client) followMachine(ctx context.Context, id string, wait bool) error {
	shown := 0
	tick := time.NewTicker(machineLook)
	defer tick.Stop()
	for {
		m, err := c.machine(ctx, id)
		if err != nil {
			return err
		}
		for ; shown < len(m.Steps) && !c.json; shown++ {
			fmt.Fprintf(c.out, "%s  %s: %s\n", m.Steps[shown].At.Local().Format("15:04:05"), m.Steps[shown].Step, m.Steps[shown].Detail)
		}
		over := m.State == "ready" || m.State == "failed" || m.State == "deleted"
		switch {
		case over && m.State == "failed":
			return &exitError{4, fmt.Errorf("%s: %s", m.Name, m.Why)}
		case (over || !wait) && c.json:
			return c.writeJSON(m)
		case over || !wait:
			fmt.Fprintf(c.out, "%s (%s) is %s\n", m.Name, m.ID, m.State)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
