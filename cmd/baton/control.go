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

	"baton/control/agent"
	"baton/control/agent/hub"
	"baton/control/api"
	"baton/control/audit"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/monitor"
	"baton/platform/auth"
	"baton/platform/identity"
	"baton/web"
)

// controlConfig is all a control plane needs to run.
type controlConfig struct {
	Data        string // directory of the journal, certificate authority and tokens
	Listen      string // host:port of API and dashboard; port 0 picks one
	AgentListen string // host:port for agents; port 0 picks one
	// TLSCert and TLSKey are PEM files for API and dashboard. Without them the
	// address must be of this machine only.
	TLSCert, TLSKey string
	Logger          *slog.Logger
}

// controlPlane is a running control plane. The parts that `baton up` needs are
// fields.
type controlPlane struct {
	Inventory *inventory.Inventory
	Hub       *hub.Hub
	CA        *identity.CA
	Tokens    *identity.Tokens
	API       *api.Server
	// URL of the dashboard, without a slash at its end.
	URL string
	// AgentAddress is host:port that agents dial.
	AgentAddress string
	// SetupLink makes the first user; "" when there is one already.
	SetupLink string
	// TokenFile holds the API token the client commands use.
	TokenFile string

	log     *slog.Logger
	journal *nodeJournal
	exec    *executor.Executor
	server  *http.Server
	cancel  context.CancelFunc
	threads sync.WaitGroup
	failed  chan error
}

// startTime bounds how long the parts of the control plane may take to start.
const startTime = 60 * time.Second

// startControl starts a control plane and returns when API and agents are
// served and unfinished operations are resumed.
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
	c := &controlPlane{log: cfg.Logger, failed: make(chan error, 4)}
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
	if c.journal, err = openJournal(limit, filepath.Join(cfg.Data, "journal"), c.log.With("component", "journal")); err != nil {
		agents.Close()
		web.Close()
		return err
	}
	number, err := term(limit, c.journal, time.Now())
	if err != nil {
		return fmt.Errorf("journal the start: %w", err)
	}
	c.Inventory = inventory.New(c.journal, c.log)
	c.thread(run, "follow the journal", c.Inventory.Run)
	select {
	case <-c.Inventory.Ready():
	case <-limit.Done():
		return fmt.Errorf("read the journal: %w", limit.Err())
	}
	c.AgentAddress = agents.Addr().String()
	host, _, _ := net.SplitHostPort(c.AgentAddress)
	if c.Hub, err = hub.New(hub.Options{CA: c.CA, Tokens: c.Tokens, Logger: c.log, Hosts: []string{host, "127.0.0.1", "localhost"}}); err != nil {
		agents.Close()
		return err
	}
	c.thread(run, "serve agents", func(context.Context) error { return c.Hub.Serve(agents) })
	c.decide(run, number)
	c.serve(run, web, cfg, token)
	return nil
}

// openIdentity opens the certificate authority and the tokens, and returns the
// client commands' API token.
func (c *controlPlane) openIdentity(cfg controlConfig) (token string, err error) {
	if c.CA, err = identity.OpenCA(filepath.Join(cfg.Data, "ca")); err != nil {
		return "", fmt.Errorf("open the certificate authority: %w", err)
	}
	if c.Tokens, err = identity.OpenTokens(filepath.Join(cfg.Data, "join-tokens.json")); err != nil {
		return "", err
	}
	c.TokenFile = filepath.Join(cfg.Data, "cli-token")
	b, err := os.ReadFile(c.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		token = auth.NewSecret()
		return token, identity.WriteFile(c.TokenFile, []byte(token+"\n"), 0o600)
	}
	return strings.TrimSpace(string(b)), err
}

// decide starts what watches and what acts.
func (c *controlPlane) decide(run context.Context, number uint64) {
	mon := monitor.New(monitor.Options{Reports: c.Hub, Inventory: c.Inventory, Now: time.Now,
		Running: func(id string) string {
			o, _ := c.Inventory.Operation(id)
			return executor.Sentence(&o)
		}})
	c.thread(run, "watch", mon.Run)
	log := audit.NewLog(c.journal)
	c.exec = executor.New(executor.Options{Journal: c.journal, Inventory: c.Inventory, Agents: c.Hub, Facts: mon, Audit: log,
		Term: number, Log: c.log.With("component", "executor"), Now: time.Now, Fault: faultPoint()})
	c.API = api.New(api.Options{Inventory: c.Inventory, Monitor: mon, Executor: c.exec, Audit: log, Version: version, Commit: commit(), Log: c.log})
	// Unfinished operations need their agents; those connect within moments,
	// and orders are tried until they do.
	c.exec.Start(run)
	c.thread(run, "adopt", c.adopt)
}

func (c *controlPlane) serve(run context.Context, ln net.Listener, cfg controlConfig, token string) {
	scheme := "http"
	c.API.Secure = cfg.TLSCert != ""
	if c.API.Secure {
		scheme = "https"
	}
	c.API.Tokens = []api.APIToken{{Name: "cli", Role: api.RoleOperator, Hash: auth.HashSecret(token), Source: "cli"}}
	c.API.SetDashboard(web.Handler())
	c.URL = scheme + "://" + ln.Addr().String()
	if t := c.API.NewSetupToken(); t != "" {
		c.SetupLink = c.URL + "/setup#token=" + t
	}
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
	if c.exec != nil {
		c.exec.Wait()
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
			if _, ok := c.Inventory.Cluster(id); ok {
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

// JoinToken makes a one-use token for an agent.
func (c *controlPlane) JoinToken() (string, error) {
	secret, err := c.Tokens.Issue(hub.PurposeAgent)
	if err != nil {
		return "", err
	}
	return identity.JoinToken{Address: c.AgentAddress, CAFingerprint: c.CA.Fingerprint(), Secret: secret}.String(), nil
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

// controlCommand runs a control plane until a signal.
func controlCommand() *cobra.Command {
	var cfg controlConfig
	cmd := &cobra.Command{
		Use:   "control",
		Short: "Run the control plane: API, dashboard, and the end of the agents' links",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			c, err := startControl(ctx, cfg)
			if err != nil {
				return err
			}
			defer c.Close()
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "Dashboard   %s\n", c.URL)
			if c.SetupLink != "" {
				fmt.Fprintf(out, "First user  %s   (works once)\n", c.SetupLink)
			}
			token, err := c.JoinToken()
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "Add a host  baton agent --join %s   (works once, 15 minutes)\n", token)
			fmt.Fprintf(out, "Commands    BATON_SERVER=%s BATON_TOKEN=$(cat %s) baton clusters\n", c.URL, c.TokenFile)
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
	f.StringVar(&cfg.AgentListen, "agent-listen", defaultAgentListen, "address agents dial")
	f.StringVar(&cfg.TLSCert, "tls-certificate", "", "certificate of API and dashboard (PEM file)")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "its key (PEM file)")
	return cmd
}
