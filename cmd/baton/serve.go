package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/eventstore/admin"
	"baton/eventstore/backup"
	"baton/eventstore/membership"
	"baton/eventstore/node"
	"baton/eventstore/rpc"
	"baton/eventstore/subscriptions"
	"baton/eventstore/users"
	"baton/platform/config"
	"baton/platform/vfs"
)

const (
	// handOverTimeout bounds how long a stopping leader waits for its successor.
	handOverTimeout = 3 * time.Second
	// drainTimeout bounds how long running calls may take to finish.
	drainTimeout = 3 * time.Second
	// gcPercent lets the small heap of a node grow further than by default before it is collected: under load a collection costs more than the memory.
	gcPercent = 200
	// readyPoll is how often the start-up line looks whether the node is ready.
	readyPoll = 20 * time.Millisecond
)

// serveCommand runs one event-store node. Its options come in three forms, so that cobra's own flags stay out of it.
func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "serve [options]",
		Short:              "Run one event-store node",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
				fmt.Fprint(cmd.OutOrStdout(), serveHelp())
				return nil
			}
			settings, err := config.LoadNode(args, os.Environ(), os.ReadFile)
			if err != nil {
				return err
			}
			if settings.Bool("what-if") {
				for _, notice := range settings.Notices {
					fmt.Fprintln(cmd.ErrOrStderr(), "notice: "+notice)
				}
				fmt.Fprint(cmd.OutOrStdout(), settings.WhatIf())
				return nil
			}
			return serve(cmd.Context(), settings)
		},
	}
}

func serveHelp() string {
	return "Run one event-store node.\n\nUsage: baton serve [options]\n\n" +
		"Every option has three forms: --node-priority 5, NodePriority: 5 in the YAML file named by --config,\n" +
		"and BATON_NODE_PRIORITY=5 (or KURRENTDB_, EVENTSTORE_) in the environment. The command line wins over\n" +
		"the environment, that over the file, that over the default.\n\nOptions:\n" + config.Usage(config.NodeOptions)
}

// serve runs the node until a signal, a request to stop or a fatal error. Nothing is written before everything that can be checked was checked.
func serve(ctx context.Context, settings *config.Settings) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger := newLogger(settings.String("log-level"), settings.String("log-format"))
	for _, notice := range settings.Notices {
		logger.Warn(notice)
	}
	secured, err := loadNodeTLS(settings, logger)
	if err != nil {
		return err
	}
	listener, err := listen(settings.String("node-ip"), settings.Int("node-port"), "node-port")
	if err != nil {
		return err
	}
	defer listener.Close()
	cfg, cleanUp, err := nodeConfig(settings, listener.Addr(), secured, logger)
	if err != nil {
		return err
	}
	defer cleanUp()

	if cfg.Tracer, err = startTracer(ctx, settings, &cfg, logger); err != nil {
		return err
	}
	defer stopTracer(cfg.Tracer)

	n, err := node.Start(cfg)
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("%w: stop it, or give this node a directory of its own with --db", err)
	}
	if err != nil {
		return fmt.Errorf("the node cannot start in %s: %w; mend that, or choose another --db", cfg.Dir, err)
	}
	defer n.Stop()

	stop := make(chan struct{}, 1)
	shutdown := func() {
		select {
		case stop <- struct{}{}:
		default:
		}
	}
	access := nodeAccess(settings, n, secured, logger)
	groups := subscriptions.Start(subscriptions.Options{Node: n, Logger: logger})
	defer groups.Stop()
	programs := startProjections(settings, n, access, logger)
	defer programs.Stop()
	server := rpc.New(rpc.Options{
		Backend: n, Access: access, Subscriptions: groups, Projections: programs, Shutdown: shutdown, Tracer: cfg.Tracer, Logger: logger,
		MaxAppendBytes: int(settings.Int("max-append-size")), MaxEventBytes: int(settings.Int("max-append-event-size")),
		WriteTimeout:      millis(settings, "write-timeout-ms"),
		KeepAliveInterval: millis(settings, "keep-alive-interval"), KeepAliveTimeout: millis(settings, "keep-alive-timeout"),
	})
	backups := backup.NewRunner(n, []string{cfg.Dir, cfg.IndexDir}, version, logger)
	defer backups.Close()
	var options []admin.Option
	for _, s := range settings.All() {
		options = append(options, admin.Option{Name: config.YAMLName(s.Option.Name), Value: s.Shown(), Source: s.Source})
	}
	port := rpc.NewPort(rpc.PortOptions{
		Listener: listener, TLS: secured.Server(), RPC: server, Logger: logger,
		HTTP: admin.Handler(admin.Options{Node: n, Services: server, Access: access, Shutdown: shutdown, Backups: backups, Version: version, Options: options, Logger: logger}),
	})
	served := make(chan error, 1)
	go func() { served <- port.Serve() }()

	watched, unwatch := context.WithCancel(ctx)
	defer unwatch()
	if secured != nil {
		go secured.Watch(watched, hangUps(watched))
	}

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	logger.Info("node started", "clients", cfg.ClientHost+":"+strconv.Itoa(cfg.ClientPort), "peers", cfg.PeerListen, "data", cfg.Dir, "clusterSize", cfg.ClusterSize)
	go announce(n, cfg, served, stop)

	var fatal error
	select {
	case <-ctx.Done():
	case s := <-signals:
		logger.Info("stopping", "signal", s.String())
	case <-stop:
		logger.Info("stopping by request")
	case fatal = <-served:
		if fatal == nil {
			fatal = errors.New("the client port closed")
		}
	case fatal = <-n.Done():
		if fatal != nil {
			fatal = fmt.Errorf("the node stopped: %w", fatal)
		}
	}
	go func() { // a second signal does not wait
		<-signals
		os.Exit(1)
	}()
	if fatal == nil {
		handOver(n, logger)
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	port.Stop(drain)
	backups.Close()
	groups.Stop()
	programs.Stop()
	n.Stop()
	logger.Info("node stopped")
	return fatal
}

// hangUps delivers a value for each SIGHUP: certificates are to be loaded anew.
func hangUps(ctx context.Context) <-chan struct{} {
	signals, out := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-signals:
				select {
				case out <- struct{}{}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// announce prints one line once the node serves.
func announce(n *node.Node, cfg node.Config, served <-chan error, stop <-chan struct{}) {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for range tick.C {
		if ready, _ := n.Ready(); ready {
			self := n.Self()
			fmt.Printf("ready: %s is %s, clients %s, peers %s, data %s\n", self.Name, self.Role, self.ClientAddress, self.PeerAddress, cfg.Dir)
			return
		}
	}
}

// handOver gives leadership away before the node stops, if it leads and there is somebody to take it.
func handOver(n *node.Node, logger *slog.Logger) {
	view := n.View()
	self := view.Find(view.Self)
	if self == nil || self.Role != membership.RoleLeader || view.Quorum.Voters < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	if err := n.Resign(ctx); err != nil {
		logger.Warn("leadership was not handed over before the stop", "error", err)
	}
}

func newLogger(level, format string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

func millis(s *config.Settings, name string) time.Duration {
	return time.Duration(s.Int(name)) * time.Millisecond
}

// listen binds a port, or says in one line why it cannot.
func listen(host string, port int64, option string) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.FormatInt(port, 10))
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use by another program: stop it, or choose another --%s", address, option)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is not an address of this machine: choose another --%s", address, map[string]string{"node-port": "node-ip", "replication-port": "replication-ip"}[option])
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s may not be opened by this user: choose a --%s above 1023", address, option)
	}
	return nil, fmt.Errorf("%s cannot be opened: %w", address, err)
}

// nodeAccess builds the access rules; nil on an insecure node.
func nodeAccess(s *config.Settings, n *node.Node, secured *node.TLS, logger *slog.Logger) *rpc.Access {
	if s.Bool("insecure") {
		if !isLoopbackHost(s.String("node-ip")) || !isLoopbackHost(s.String("replication-ip")) {
			logger.Warn("INSECURE: this node listens beyond this machine without TLS and without authentication; everybody who reaches it can read and destroy its data",
				"nodeIp", s.String("node-ip"), "replicationIp", s.String("replication-ip"))
		}
		return nil
	}
	return rpc.NewAccess(rpc.AccessOptions{
		Node: n, First: users.First{AdminPassword: s.String("default-admin-password"), OpsPassword: s.String("default-ops-password")},
		Certificate: secured.User, AnonymousStreams: s.Bool("allow-anonymous-stream-access"), AnonymousStats: s.Bool("allow-anonymous-endpoint-access"),
		AnonymousGossip: s.Bool("override-anonymous-endpoint-access-for-gossip"), Logger: logger,
	})
}

func isLoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
