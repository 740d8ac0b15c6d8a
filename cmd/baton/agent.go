package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"baton/control/agent"
	"baton/control/agent/supervise"
	"baton/control/engine"
	"baton/control/engine/eventstore"
	"baton/control/engine/redis"
	"baton/control/provider"
)

// joinTokenVariable may hold the join token instead of the command line, where
// other users of the machine could read it.
const joinTokenVariable = "BATON_JOIN_TOKEN"

// agentCommand runs the agent of this host.
func agentCommand() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run this host's agent: it starts, watches and commands the databases here",
		Long: "Run this host's agent. The first start joins a control plane with a one-use token (baton up prints one,\n" +
			"valid for 15 minutes); later starts need none. Stopping or killing the agent leaves databases running.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			if o.join == "" {
				o.join = os.Getenv(joinTokenVariable)
			}
			return runAgent(ctx, o, newLogger(o.logLevel, "text"))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.join, "join", "", "one-use join token (or set "+joinTokenVariable+")")
	f.StringVar(&o.dir, "data", "./baton-agent", "directory of the agent's own state")
	f.StringVar(&o.name, "name", "", "name of this host, by default its host name")
	f.StringVar(&o.named.Location, "location", "", "where this host stands, by default what the machine says")
	f.StringVar(&o.named.Provider, "provider", "", "who provides this host, by default what the machine says")
	f.StringSliceVar(&o.engineDirs, "engine-dir", nil, "directories with the engines' server programs, by default the system's")
	f.StringVar(&o.advertise, "advertise", "", "address other machines reach servers made here at, by default this machine's towards the control plane")
	f.StringVar(&o.supervisor, "supervisor", supervise.KindAuto, "what carries databases: child, systemd, or auto (systemd where it started this agent)")
	f.StringVar(&o.systemd.Systemctl, "systemctl", "", "program that commands systemd, by default the system's")
	f.StringVar(&o.systemd.UnitDir, "unit-dir", "", "directory for the units of databases, by default /run/systemd/system")
	f.BoolVar(&o.noOSTerminal, "no-os-terminal", false, "refuse OS shells on this host, whoever asks")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	cmd.AddCommand(agentJoinCommand(), agentInstallCommand())
	return cmd
}

type agentOptions struct {
	join, dir, name, logLevel string
	noOSTerminal              bool
	named                     provider.Named
	engineDirs                []string
	advertise, supervisor     string
	systemd                   supervise.Systemd
}

// runAgent joins when needed and runs until ctx ends.
func runAgent(ctx context.Context, o agentOptions, log *slog.Logger) error {
	name := hostName(o.name)
	switch joined := agent.Joined(o.dir); {
	case joined && o.join != "":
		log.Info("this agent has joined already; the token is not used", "data", o.dir)
	case !joined && o.join == "":
		return errors.New("this agent has not joined a control plane: give --join TOKEN (an admin makes one; baton up prints one)")
	case !joined:
		if err := agent.Join(ctx, o.dir, o.join, name); err != nil {
			return err
		}
	}
	var guardian []string // ends primaries should this agent not be able to
	self, err := os.Executable()
	if err == nil {
		guardian = []string{self, "guard"}
	}
	endpoints, stopEndpoints := newProxy(log)
	defer stopEndpoints()
	a, err := agent.Open(agent.Options{Dir: o.dir, Named: o.named, Version: version, Logger: log, EngineDirs: o.engineDirs, Advertise: o.advertise, Guardian: guardian, Proxy: endpoints, NoOSTerminal: o.noOSTerminal,
		Supervisor: o.supervisor, Systemd: o.systemd, Baton: self,
		Drivers: []engine.Driver{redis.New(), eventstore.New()}})
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	defer a.Close()
	log.Info("agent started", "agent", a.ID(), "data", o.dir, "pid", os.Getpid())
	return a.Run(ctx)
}

// hostName is the given name, or the machine's in the form names have: lower
// case, digits and dashes, beginning with a letter.
func hostName(given string) string {
	if given != "" {
		return given
	}
	h, _ := os.Hostname()
	h, _, _ = strings.Cut(strings.ToLower(h), ".")
	h = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, h)
	if h == "" || h[0] < 'a' || h[0] > 'z' {
		h = "host-" + h
	}
	return strings.TrimRight(h[:min(len(h), 63)], "-")
}
