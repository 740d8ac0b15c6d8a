package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/control/access"
	"baton/control/agent"
	"baton/control/agent/hub"
	"baton/control/api"
	"baton/control/audit"
	"baton/control/backup"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/keeper"
	"baton/control/leader"
	"baton/control/monitor"
	"baton/control/provider"
	"baton/control/provider/machines"
	"baton/control/proxy/feed"
	"baton/control/terminal"
	"baton/platform/auth"
	"baton/platform/identity"
	"baton/platform/seal"
	"baton/web"
)

// controlConfig is all a control plane needs to run.
type controlConfig struct {
	Data        string // directory of the journal, certificate authority and tokens
	Listen      string // host:port of API and dashboard; port 0 picks one
	AgentListen string // host:port for agents and other control nodes; port 0 picks one
	// AgentAdvertise is host:port they dial; the bound address when "".
	AgentAdvertise string
	// PeerListen is host:port of the journal for other control nodes; "" picks a
	// port of this machine only and keeps it. PeerAdvertise is what they dial.
	PeerListen, PeerAdvertise string
	// Name of this control node among several; the host's when "".
	Name string
	// Join is the one-use token with which a further control node joins.
	Join string
	// TLSCert and TLSKey are PEM files for API and dashboard. Without them the
	// address must be of this machine only.
	TLSCert, TLSKey string
	Logger          *slog.Logger
}

// controlPlane is a running control node. The parts that `baton up` needs are
// fields.
type controlPlane struct {
	Inventory *inventory.Inventory
	Hub       *hub.Hub
	CA        *identity.CA
	API       *api.Server
	// URL of the dashboard, without a slash at its end.
	URL string
	// AgentAddress is host:port that agents dial.
	AgentAddress string
	// SetupLink makes the first user; "" when there is one already.
	SetupLink string
	// TokenFile holds the API token the client commands use.
	TokenFile string

	endpoints *feed.Feed
	machines  *machines.Store
	terminals *terminal.Manager

	name     string
	data     string
	settings controlSettings
	log      *slog.Logger
	journal  *nodeJournal
	roster   *leader.Roster
	access   *access.Store
	elector  *leader.Elector
	mirror   *monitor.Mirror
	keeper   *keeper.Keeper
	memory   *keeper.Memory
	ops      opsParts
	secrets  *seal.Box
	backups  *backup.Catalog
	peers    *peerLinks
	exec     *executor.Executor
	server   *http.Server
	cancel   context.CancelFunc
	threads  sync.WaitGroup
	failed   chan error
}

// startTime bounds how long the parts of the control plane may take to start.
const startTime = 60 * time.Second

// findLeaderTime bounds how long one of several control nodes waits at its
// start for the others; without them it serves what it has.
const findLeaderTime = 10 * time.Second

// startControl starts a control node. Alone it returns when API and agents are
// served and unfinished operations are resumed; one of several returns when a
// leader is known, or none was found in good time.
func startControl(ctx context.Context, cfg controlConfig) (*controlPlane, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.TLSCert == "" && !loopbackAddress(cfg.Listen) {
		return nil, fmt.Errorf("listen address %s is reachable from other machines and there is no TLS: give --tls-certificate and --tls-key, or listen on 127.0.0.1", cfg.Listen)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	c := &controlPlane{log: cfg.Logger, data: cfg.Data, failed: make(chan error, 4)}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	if err := c.start(ctx, run, cfg); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *controlPlane) start(ctx, run context.Context, cfg controlConfig) error {
	limit, done := context.WithTimeout(ctx, startTime)
	defer done()
	if err := c.settle(limit, cfg); err != nil {
		return err
	}
	token, err := c.openIdentity(cfg)
	if err != nil {
		return err
	}
	// Addresses first: a port in use must be told before anything else runs.
	agents, err := net.Listen("tcp", cfg.AgentListen)
	if err != nil {
		return fmt.Errorf("listen for agents (--agent-listen): %w", err)
	}
	web, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		agents.Close()
		return fmt.Errorf("listen for API and dashboard (--listen): %w", err)
	}
	if err := c.openMemory(limit, run, cfg); err != nil {
		agents.Close()
		web.Close()
		return err
	}
	if c.AgentAddress = cfg.AgentAdvertise; c.AgentAddress == "" {
		c.AgentAddress = agents.Addr().String()
	}
	if err := c.listenToAgents(run, agents); err != nil {
		agents.Close()
		web.Close()
		return err
	}
	c.decide(run)
	c.serve(run, web, cfg, token)
	c.thread(run, "take part in elections", c.elector.Run)
	c.thread(run, "tell the others of this node", func(run context.Context) error { c.announce(run); return nil })
	if err := c.awaitLeader(limit); err != nil {
		return err
	}
	if _, acts := c.elector.Acting(); acts { // only then this node has read whether there is a user
		if t := c.API.NewSetupToken(); t != "" {
			c.SetupLink = c.URL + "/setup#token=" + t
		}
	}
	return nil
}

// settle finds out which control node this is, and joins the others when asked.
func (c *controlPlane) settle(ctx context.Context, cfg controlConfig) (err error) {
	if c.settings, err = loadControlSettings(cfg.Data); err != nil {
		return err
	}
	switch {
	case c.settings.Name != "" && cfg.Name != "" && c.settings.Name != cfg.Name:
		return fmt.Errorf("this is control node %s: its name stays; leave --name out", c.settings.Name)
	case c.settings.Name != "":
	case cfg.Name != "" && !inventory.ValidName(cfg.Name):
		return fmt.Errorf("control node name %q: %w", cfg.Name, inventory.ErrName)
	default:
		c.settings.Name = hostName(cfg.Name)
	}
	if cfg.Join != "" && c.settings.Joined {
		c.log.Info("this control node has joined already; the token is not used")
	} else if cfg.Join != "" {
		if c.settings, err = joinControl(ctx, cfg.Data, cfg.Join, c.settings.Name); err != nil {
			return err
		}
	}
	c.name = c.settings.Name
	return nil
}

// openMemory opens the journal and reads it.
func (c *controlPlane) openMemory(limit, run context.Context, cfg controlConfig) error {
	server, client, err := c.CA.PeerConfigs(c.name)
	if err != nil {
		return fmt.Errorf("make this control node's certificate: %w", err)
	}
	o := journalOptions{dir: filepath.Join(cfg.Data, "journal"), name: c.name, listen: cfg.PeerListen, advertise: cfg.PeerAdvertise,
		joined: c.settings.Joined, peers: c.settings.Peers, server: server, client: client, log: c.log.With("component", "journal")}
	if o.listen == "" {
		o.listen = keptAddress(c.settings.PeerListen)
	}
	if c.journal, err = openJournal(o); err != nil {
		return err
	}
	if cfg.PeerListen == "" {
		c.settings.PeerListen = c.journal.node.PeerAddress()
	}
	if err := c.settings.save(cfg.Data); err != nil {
		return err
	}
	c.peers = newPeerLinks(client)
	c.roster, c.access = leader.NewRoster(), access.New(c.journal, time.Now)
	c.Inventory = inventory.New(c.journal, c.log)
	c.openEndpoints()
	c.openMachines()
	c.memory = keeper.NewMemory()
	c.Inventory.Observe(c.memory.Take)
	box, err := openBox(cfg.Data)
	if err != nil {
		return err
	}
	c.secrets = box
	if err := c.openOps(cfg.Data, box); err != nil {
		return err
	}
	c.openBackups()
	if err := c.openTerminals(cfg.Data); err != nil {
		return err
	}
	c.thread(run, "follow the journal", c.Inventory.Run)
	ready := make(chan struct{})
	c.thread(run, "follow claims and access", func(run context.Context) error {
		return c.journal.Follow(run, 0, func(r journal.Recorded) error {
			for _, err := range []error{c.roster.Take(r), c.access.Take(r)} {
				if err != nil {
					c.log.Error("journal event is skipped", "err", err)
				}
			}
			return nil
		}, func() { close(ready) })
	})
	for _, ready := range []<-chan struct{}{c.Inventory.Ready(), ready} {
		select {
		case <-ready:
		case <-limit.Done():
			return fmt.Errorf("read the journal: %w", limit.Err())
		}
	}
	return nil
}

// keptAddress is the address chosen at an earlier start when it is still free,
// else one of this machine.
func keptAddress(kept string) string {
	if kept != "" {
		if l, err := net.Listen("tcp", kept); err == nil {
			l.Close()
			return kept
		}
	}
	return "127.0.0.1:0"
}

func (c *controlPlane) listenToAgents(run context.Context, ln net.Listener) (err error) {
	host, _, _ := net.SplitHostPort(c.AgentAddress)
	c.Hub, err = hub.New(hub.Options{CA: c.CA, Tokens: c.access, Logger: c.log, Hosts: []string{host, "127.0.0.1", "localhost"}, Standby: true,
		OnJoin: func(id, name, addr string) error {
			return c.access.JoinHost(access.Host{Agent: id, Name: name, Addr: addr})
		},
		Revoked: c.access.Revoked, Addresses: c.roster.Addresses, Leader: c.leaderAddress, Shared: c.shared, Peer: c.peers.take})
	if err != nil {
		return err
	}
	c.mirror = monitor.NewMirror(c.Hub, time.Now)
	c.thread(run, "serve agents", func(context.Context) error { return c.Hub.Serve(ln) })
	return nil
}

// openIdentity opens the certificate authority and returns the client commands'
// API token.
func (c *controlPlane) openIdentity(cfg controlConfig) (token string, err error) {
	if c.CA, err = identity.OpenCA(filepath.Join(cfg.Data, "ca")); err != nil {
		return "", fmt.Errorf("open the certificate authority: %w", err)
	}
	c.TokenFile = filepath.Join(cfg.Data, "cli-token")
	b, err := os.ReadFile(c.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		token = auth.NewSecret()
		return token, identity.WriteFile(c.TokenFile, []byte(token+"\n"), 0o600)
	}
	return strings.TrimSpace(string(b)), err
}

// decide makes what watches and what acts. On every control node the first
// runs; what acts is started by lead, on the one that leads.
func (c *controlPlane) decide(run context.Context) {
	mon := monitor.New(monitor.Options{Reports: c.mirror, Inventory: c.Inventory, Now: time.Now,
		Journal: func() (bool, string) { s := c.elector.Status(); return s.Majority, s.Sentence },
		Running: func(id string) string {
			o, _ := c.Inventory.Operation(id)
			return executor.Sentence(&o)
		},
		Promises: c.memory.Promises})
	c.elector = leader.New(leader.Options{Node: electorNode{c.journal.node}, Roster: c.roster, Journal: leaderJournal{c.journal}, Name: c.name,
		CaughtUp: func(ctx context.Context, rev int64) error { return c.Inventory.Wait(ctx, leader.Stream, rev) },
		Act:      c.lead, Now: time.Now, Log: c.log.With("component", "leader")})
	c.thread(run, "watch", mon.Run)
	log := audit.NewLog(leaderJournal{c.journal})
	c.exec = executor.New(executor.Options{Journal: leaderJournal{c.journal}, Inventory: c.Inventory, Agents: c.Hub, Facts: mon, Audit: log, Endpoints: c.endpoints, Secrets: c.secrets, Reports: c.Hub.Reports,
		Log: c.log.With("component", "executor"), Now: time.Now, Fault: faultPoint()})
	c.wireKeeper(mon, log)
	options := api.Options{Inventory: c.Inventory, Monitor: mon, Executor: c.exec, Audit: log, Version: version, Commit: commit(), Log: c.log,
		Sessions: c.access, Setup: c.access, Machines: c.access, Links: c.Hub, Leadership: c.elector, Peers: c.peers, Mirror: c.mirror, Control: c, Installer: provider.Shell{}, Keeper: c.keeper}
	c.wireOps(run, &options, mon)
	c.wireBackups(&options)
	c.wireEndpoints(&options)
	c.wireMachines(&options)
	options.Terminals = c.terminals
	c.API = api.New(options)
	c.thread(run, "serve control nodes", func(run context.Context) error { return c.peers.serve(run, c.API.ForPeers(), c.log) })
	c.thread(run, "copy what the leader sees", c.copyReports)
}

// lead starts everything that orders, decides or schedules: only one control
// node does at a time. It goes on until ctx ends; wait returns when all of it
// has ended. What is started here stops at once with ctx.
func (c *controlPlane) lead(ctx context.Context, term uint64) (wait func()) {
	var all sync.WaitGroup
	act := func(what string, f func(context.Context) error) {
		all.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				c.failed <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	c.mirror.Detach()
	c.Hub.Lead(term)
	act("keep leases", func(ctx context.Context) error { return c.keeper.Lead(ctx, term) })
	// Unfinished operations need their agents; those connect within moments,
	// and orders are tried until they do.
	c.exec.Lead(ctx, term)
	act("adopt", c.adopt)
	c.leadOps(act)
	c.leadBackups(act)
	act("make machines", c.machines.Run)
	act("close terminals nobody carries", c.terminals.Sweep)
	act("tell endpoints where to forward", func(ctx context.Context) error { return c.endpoints.Run(ctx, term) })
	act("grow", c.grow)
	return func() {
		c.Hub.Standby()
		c.exec.Wait()
		all.Wait()
	}
}

func (c *controlPlane) serve(run context.Context, ln net.Listener, cfg controlConfig, token string) {
	scheme := "http"
	c.API.Secure = cfg.TLSCert != ""
	if c.API.Secure {
		scheme = "https"
	}
	c.API.Tokens = []api.APIToken{{Name: "cli", Role: api.RoleAdmin, Hash: auth.HashSecret(token), Source: "cli"}}
	c.API.SetDashboard(web.Handler())
	c.URL = scheme + "://" + ln.Addr().String()
	c.server = &http.Server{Handler: c.API, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 60 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return run }, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug)}
	c.thread(run, "serve the API", func(context.Context) error {
		var err error
		if c.API.Secure {
			err = c.server.ServeTLS(ln, cfg.TLSCert, cfg.TLSKey)
		} else {
			err = c.server.Serve(ln)
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
}

// thread runs f until it ends; an error that is not the end of run is fatal to
// the control plane.
func (c *controlPlane) thread(run context.Context, what string, f func(context.Context) error) {
	c.threads.Add(1)
	go func() {
		defer c.threads.Done()
		if err := f(run); err != nil && run.Err() == nil {
			c.failed <- fmt.Errorf("%s: %w", what, err)
		}
	}()
}

// Failed delivers what the control plane cannot go on without.
func (c *controlPlane) Failed() <-chan error { return c.failed }

// Close stops everything; databases and agents go on.
func (c *controlPlane) Close() {
	c.cancel()
	if c.server != nil {
		ctx, done := context.WithTimeout(context.Background(), 2*time.Second)
		if err := c.server.Shutdown(ctx); err != nil {
			c.server.Close()
		}
		done()
	}
	if c.Hub != nil {
		c.Hub.Close()
	}
	c.threads.Wait()
	if c.journal != nil {
		c.journal.node.Stop()
	}
}

// adoptAfter is how long a cluster must have been reported before it is
// registered by itself: whoever made it has the first word.
const adoptAfter = 3 * time.Second

// adopt registers clusters that agents report and nobody registered.
func (c *controlPlane) adopt(run context.Context) error {
	first := map[string]time.Time{}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-run.Done():
			return nil
		case <-tick.C:
		}
		for id, spec := range reported(c.Hub.Reports()) {
			if _, ok := c.Inventory.Cluster(id); ok || c.Inventory.Removed(id) {
				continue
			}
			if first[id].IsZero() {
				first[id] = time.Now()
			}
			if time.Since(first[id]) < adoptAfter {
				continue
			}
			if err := c.Inventory.Register(run, spec); err != nil {
				c.log.Warn("a reported cluster could not be registered", "cluster", id, "err", err)
			}
		}
	}
}

// reported are the clusters in agents' reports.
func reported(reports map[string]agent.Report) map[string]inventory.Spec {
	out := map[string]inventory.Spec{}
	for _, r := range reports {
		for _, in := range r.Instances {
			s := out[in.Cluster]
			s.ID, s.Name, s.Engine = in.Cluster, in.Cluster, in.Engine
			s.Members = append(s.Members, inventory.Member{Name: in.Node, Address: in.Address, Priority: 100})
			out[in.Cluster] = s
		}
	}
	return out
}

func loopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Addresses the control plane uses by default.
const (
	defaultControlListen = "127.0.0.1:8400"
	defaultAgentListen   = "127.0.0.1:8401"
)

// controlCommand runs a control node until a signal.
func controlCommand() *cobra.Command {
	var cfg controlConfig
	cmd := &cobra.Command{
		Use:   "control",
		Short: "Run the control plane: API, dashboard, and the end of the agents' links",
		Long: "Run one node of the control plane: API, dashboard, and the end of the agents' links.\n\n" +
			"One node is enough to begin with. For high availability run three, on machines of their own: give the first a --name\n" +
			"and addresses the others reach (--peer-listen, --agent-listen); it prints a one-use token, with which the next joins\n" +
			"(--join). With the third, one of them may fail. Any node serves the page; the one that leads acts.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if cfg.Join == "" {
				cfg.Join = os.Getenv(joinTokenVariable)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			c, err := startControl(ctx, cfg)
			if err != nil {
				return err
			}
			defer c.Close()
			c.sayControl(cmd.OutOrStdout(), cfg.Name != "" || c.settings.Joined)
			select {
			case <-ctx.Done():
				return nil
			case err := <-c.Failed():
				return err
			case err := <-c.journal.node.Done():
				return fmt.Errorf("the journal stopped: %w", err)
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Data, "data", "./baton-data/control", "data directory")
	f.StringVar(&cfg.Listen, "listen", defaultControlListen, "address of API and dashboard")
	f.StringVar(&cfg.AgentListen, "agent-listen", defaultAgentListen, "address agents and other control nodes dial")
	f.StringVar(&cfg.AgentAdvertise, "agent-advertise", "", "the same as others see it, by default what it listens on")
	f.StringVar(&cfg.Name, "name", "", "name of this control node among several, by default the host's")
	f.StringVar(&cfg.PeerListen, "peer-listen", "", "address of the journal for other control nodes, by default a port of this machine only")
	f.StringVar(&cfg.PeerAdvertise, "peer-advertise", "", "the same as others see it, by default what it listens on")
	f.StringVar(&cfg.Join, "join", "", "one-use token to join other control nodes (or set "+joinTokenVariable+")")
	f.StringVar(&cfg.TLSCert, "tls-certificate", "", "certificate of API and dashboard (PEM file)")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "its key (PEM file)")
	cmd.AddCommand(controlStatusCommand(), controlTokenCommand(), controlRemoveCommand())
	return cmd
}
