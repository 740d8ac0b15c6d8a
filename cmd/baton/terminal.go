package main

import (
	"context"
	"path/filepath"
	"time"

	"baton/control/agent"
	"baton/control/agent/hub"
	"baton/control/audit"
	"baton/control/terminal"
)

// openTerminals makes what carries people's terminals, before the inventory
// follows the journal.
func (c *controlPlane) openTerminals(data string) (err error) {
	log := audit.NewLog(leaderJournal{c.journal})
	c.terminals, err = terminal.New(terminal.Options{Journal: leaderJournal{c.journal}, Agents: terminalAgents{c}, Dir: filepath.Join(data, "terminals"), Name: c.name,
		Now: time.Now, Log: c.log.With("component", "terminals"), Secrets: c.secrets,
		Role:  func(cluster, node string) terminal.NodeRole { return c.API.NodeRole(cluster, node) },
		Audit: func(ctx context.Context, r audit.Record) error { _, err := log.Append(ctx, r); return err }})
	if err != nil {
		return err
	}
	c.Inventory.Observe(c.terminals.Take)
	return nil
}

// terminalAgents reach agents once there is a hub.
type terminalAgents struct{ c *controlPlane }

// Locate finds the agent that reports the node.
func (t terminalAgents) Locate(cluster, node string) (string, bool) {
	return t.c.Hub.Locate(cluster, node)
}

// OpenTerminal asks that agent for a terminal.
func (t terminalAgents) OpenTerminal(ctx context.Context, id string, r agent.TerminalRequest) (*hub.Terminal, error) {
	return t.c.Hub.OpenTerminal(ctx, id, r)
}
