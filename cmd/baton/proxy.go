package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/control/agent"
	"baton/control/api"
	"baton/control/proxy"
	"baton/control/proxy/feed"
)

// proxyStopTime is how long requests under way may still be answered when the
// process that serves them ends.
const proxyStopTime = 5 * time.Second

// proxyCommand serves clusters' endpoints in a process of its own.
func proxyCommand() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Serve the clusters' endpoints: ports that follow the primary and the replicas",
		Long: "Serve the endpoints of all clusters that have one (baton endpoint CLUSTER --enable). The first start joins a control\n" +
			"plane with a one-use token, like an agent. While a proxy is connected it serves instead of the agents beside the\n" +
			"databases. It goes on forwarding while the control plane is away.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			if o.join == "" {
				o.join = os.Getenv(joinTokenVariable)
			}
			return runProxy(ctx, o, newLogger(o.logLevel, "text"))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.join, "join", "", "one-use join token (or set "+joinTokenVariable+")")
	f.StringVar(&o.dir, "data", "./baton-proxy", "directory of the proxy's own state")
	f.StringVar(&o.name, "name", "", "name of this proxy, by default the host name and -proxy")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func runProxy(ctx context.Context, o agentOptions, log *slog.Logger) error {
	name := o.name
	if name == "" {
		name = hostName("") + "-proxy"
	}
	switch joined := agent.Joined(o.dir); {
	case joined && o.join != "":
		log.Info("this proxy has joined already; the token is not used", "data", o.dir)
	case !joined && o.join == "":
		return errors.New("this proxy has not joined a control plane: give --join TOKEN (an admin makes one; baton up prints one)")
	case !joined:
		if err := agent.Join(ctx, o.dir, o.join, name); err != nil {
			return err
		}
	}
	p, stop := newProxy(log)
	defer stop()
	a, err := agent.Open(agent.Options{Dir: o.dir, Version: version, Logger: log, Proxy: p})
	if err != nil {
		return fmt.Errorf("start the proxy: %w", err)
	}
	defer a.Close()
	log.Info("proxy started", "agent", a.ID(), "data", o.dir, "pid", os.Getpid())
	return a.Run(ctx)
}

// newProxy makes what serves endpoints in this process; stop ends it, giving
// requests under way a moment.
func newProxy(log *slog.Logger) (p *proxy.Server, stop func()) {
	p = proxy.New(proxy.Options{Log: log.With("component", "proxy")})
	return p, func() {
		ctx, cancel := context.WithTimeout(context.Background(), proxyStopTime)
		defer cancel()
		p.Close(ctx)
	}
}

// openEndpoints makes the feed, before the inventory follows the journal.
func (c *controlPlane) openEndpoints() {
	c.endpoints = feed.New(feed.Options{Journal: leaderJournal{c.journal}, Inventory: c.Inventory, Agents: c.Hub, Log: c.log.With("component", "endpoints"), Now: time.Now})
	c.Inventory.Observe(c.endpoints.Take)
}

// wireEndpoints gives the feed what it needs to see.
func (c *controlPlane) wireEndpoints(o *api.Options) {
	c.endpoints.Agents, c.endpoints.Reports, c.endpoints.Seen = c.Hub, c.mirror, o.Monitor
	o.Endpoints = c.endpoints
}

// demoEndpoint opens the demo's endpoint unless somebody decided about it.
func (c *controlPlane) demoEndpoint(ctx context.Context, cluster string, readWrite, readOnly int) error {
	if _, ok := c.endpoints.Settings(cluster); ok {
		return nil
	}
	return c.endpoints.Put(ctx, feed.Settings{Cluster: cluster, Enabled: true, Host: "127.0.0.1", ReadWritePort: readWrite, ReadOnlyPort: readOnly,
		By: "baton", At: time.Now()})
}
