package main

import (
	"context"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/control/agent/guard"
	"baton/control/audit"
	"baton/control/keeper"
	"baton/control/monitor"
)

// wireKeeper makes what keeps leases and begins failovers; it acts once this
// control node leads.
func (c *controlPlane) wireKeeper(mon *monitor.Monitor, log *audit.Log) {
	c.keeper = keeper.New(keeper.Options{Hub: c.Hub, Inventory: c.Inventory, Memory: c.memory, Facts: mon.Facts, Operations: c.exec,
		Journal: leaderJournal{c.journal}, Audit: log, Log: c.log.With("component", "keeper"), Now: time.Now, Boot: guard.Now, Confirm: c.elector.Confirm,
		Reports: c.Hub.Reports, ControlNodes: func() int { return max(1, len(c.roster.Members())) }})
	c.exec.Leases = c.keeper
	c.Hub.SetLeases(c.keeper)
}

// guardCommand is the guardian that agents start; people have no use for it.
func guardCommand() *cobra.Command {
	return &cobra.Command{Use: "guard DIRECTORY", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "End primaries whose agent cannot (agents start this)",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			signal.Ignore(syscall.SIGHUP)
			return guard.Run(ctx, args[0], slog.New(slog.NewTextHandler(io.Discard, nil)))
		}}
}
