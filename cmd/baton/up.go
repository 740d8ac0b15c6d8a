package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"baton/control/agent"
	"baton/control/agent/guard"
	"baton/control/agent/supervise"
	"baton/control/demo"
	"baton/platform/identity"
)

const (
	// agentStartTime bounds how long this machine's agent may take to connect.
	agentStartTime = 20 * time.Second
	// demoStopTime bounds the end of the demo's databases.
	demoStopTime = 30 * time.Second
	// guardianTime bounds waiting for the end of a guardian without work; it
	// looks every 50 ms.
	guardianTime = 5 * time.Second
	// upAgent names the agent among the processes `baton up` supervises.
	upAgent = "agent"
	// maxUpLogBytes of <data>/up.log; beyond it one older file is kept.
	maxUpLogBytes = 16 << 20
)

type upOptions struct {
	data, listen, agentListen string
	demo, keep                bool
}

// upCommand runs everything on this machine.
func upCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run control plane, agent and dashboard on this machine, with --demo also two demo clusters",
		Long: "Run control plane, agent and dashboard on this machine.\n\n" +
			"--demo adds an event store of five nodes and, where redis-server is installed, Redis with two replicas, each under a\n" +
			"light load. Started again on the same data directory it finds what runs already. Ctrl-C ends all of it,\n" +
			"the demo's databases too; with --keep they go on running and the next start adopts them.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return up(ctx, stop, o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.demo, "demo", false, "also start demo clusters with a light load")
	f.BoolVar(&o.keep, "keep", false, "leave the demo's databases running at the end")
	f.StringVar(&o.data, "data", "./baton-data", "data directory")
	f.StringVar(&o.listen, "listen", defaultControlListen, "address of API and dashboard")
	f.StringVar(&o.agentListen, "agent-listen", defaultAgentListen, "address agents dial")
	return cmd
}

// up runs until ctx ends or a part fails. What was started is ended in the
// opposite order: writers, demo databases, agent, control plane.
func up(ctx context.Context, stopSignals func(), o upOptions, out io.Writer) (err error) {
	if o.data, err = filepath.Abs(o.data); err != nil {
		return err
	}
	unlock, err := lockData(o.data)
	if err != nil {
		return err
	}
	defer unlock()
	log, closeLog, err := upLog(o.data)
	if err != nil {
		return err
	}
	defer closeLog()

	c, err := startControl(ctx, controlConfig{Data: filepath.Join(o.data, "control"), Listen: o.listen, AgentListen: o.agentListen, Logger: log})
	if err != nil {
		return err
	}
	defer c.Close()
	token, err := upTokenFile(o.data, c.TokenFile)
	if err != nil {
		return err
	}
	id, stopAgent, err := upStartAgent(ctx, c, o.data, log)
	if err != nil {
		return err
	}
	defer stopAgent()

	var d *demo.Demo
	if o.demo {
		if d, err = upStartDemo(ctx, c, o.data, id); err != nil {
			return err
		}
		if err = c.demoBackups(ctx, o.data); err != nil {
			return errors.Join(err, stopDemo(d, out))
		}
		if o.keep {
			defer func() { err = errors.Join(err, leaveDemo(d)) }()
		} else {
			defer func() { err = errors.Join(err, stopDemo(d, out)) }()
		}
		writers, stopWriters := context.WithCancel(context.Background())
		defer stopWriters()
		runDemoWriters(writers, d, log)
	}
	sayUp(out, c, d, o, token)

	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "\nStopping; press Ctrl-C again to leave at once.")
	case err = <-c.Failed():
	case err = <-c.journal.node.Done():
		err = fmt.Errorf("the journal stopped: %w", err)
	}
	stopSignals() // from here a second Ctrl-C ends the process
	return err
}

// lockData keeps a second `baton up` off the directory.
func lockData(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "up.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another `baton up` uses %s: stop it, or give another --data", dir)
	}
	return func() { f.Close() }, nil
}

// upTokenFile puts the client commands' token where they look for it without
// being told.
func upTokenFile(data, from string) (string, error) {
	b, err := os.ReadFile(from)
	if err != nil {
		return "", fmt.Errorf("read the commands' token: %w", err)
	}
	path := filepath.Join(data, "cli-token")
	return path, identity.WriteFile(path, b, 0o600)
}

// upLog is the log file; errors are shown on standard error too.
func upLog(dir string) (*slog.Logger, func(), error) {
	path := filepath.Join(dir, "up.log")
	if st, err := os.Stat(path); err == nil && st.Size() > maxUpLogBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, nil, fmt.Errorf("rotate the log: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	h := slog.NewMultiHandler(slog.NewTextHandler(f, nil), slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	return slog.New(h), func() { f.Close() }, nil
}

// upStartAgent joins this machine's agent on the first start, runs it as a
// process of its own and waits until it has connected. An agent that a killed
// `baton up` left behind is replaced; databases do not notice.
func upStartAgent(ctx context.Context, c *controlPlane, data string, log *slog.Logger) (id string, stop func(), err error) {
	fail := func(err error) (string, func(), error) { return "", nil, err }
	dir := filepath.Join(data, "agent")
	if !agent.Joined(dir) {
		token, err := c.JoinToken()
		if err != nil {
			return fail(err)
		}
		if err := agent.Join(ctx, dir, token, hostName("")); err != nil {
			return fail(fmt.Errorf("join this machine's agent: %w", err))
		}
	} else if err := agent.SetAddress(dir, c.AgentAddress); err != nil {
		return fail(err)
	}
	if id, _, err = agent.IdentityOf(dir); err != nil {
		return fail(err)
	}
	binary, err := os.Executable()
	if err != nil {
		return fail(fmt.Errorf("find the program's own file: %w", err))
	}
	super, err := supervise.Open(filepath.Join(data, "up"), log)
	if err != nil {
		return fail(err)
	}
	end := func() error { return super.Stop(context.Background(), upAgent, 5*time.Second, true) }
	if err := end(); err != nil && !errors.Is(err, supervise.ErrUnknown) {
		return fail(fmt.Errorf("replace the agent that still runs: %w", err))
	}
	_, _, err = super.Start(supervise.Spec{Name: upAgent, Path: binary, Dir: data, Args: []string{"agent", "--data", dir, "--supervisor", supervise.KindChild},
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + os.Getenv("HOME")}, StopGrace: 5 * time.Second})
	if err != nil {
		return fail(err)
	}
	stop = func() {
		if err := end(); err != nil {
			log.Error("stop the agent", "err", err)
		}
		super.Close()
		// What it guarded was given up or ended with the demo. Where a primary of
		// another cluster still has a lease it stays, and ends that in time.
		limit, cancel := context.WithTimeout(context.Background(), guardianTime)
		defer cancel()
		if _, err := guard.Dismiss(limit, dir); err != nil {
			log.Error("end the guardian", "err", err)
		}
	}
	tick, limit := time.NewTicker(10*time.Millisecond), time.NewTimer(agentStartTime)
	defer tick.Stop()
	defer limit.Stop()
	for !c.Hub.Connected(id) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			stop()
			return fail(ctx.Err())
		case <-limit.C:
			stop()
			return fail(fmt.Errorf("this machine's agent did not connect within %s; see %s", agentStartTime, filepath.Join(data, "up", "logs", upAgent+".log")))
		}
	}
	return id, stop, nil
}

func upStartDemo(ctx context.Context, c *controlPlane, data, agentID string) (*demo.Demo, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the program's own file: %w", err)
	}
	return demo.Start(ctx, demo.Options{Dir: filepath.Join(data, "demo"), Binary: binary, RedisServer: demo.RedisServer(), Agent: agentID,
		Order: func(ctx context.Context, o agent.Order) (agent.Result, error) {
			return c.Hub.Order(ctx, agentID, o)
		},
		Clusters: c.Inventory, Create: c.exec.Create, Endpoint: c.demoEndpoint,
		Primary: func(cluster string) string {
			if f, ok := c.exec.Facts.Facts(cluster); ok && f.Primary() != nil {
				return f.Primary().Name
			}
			return ""
		},
		Leased: func(cluster string) bool {
			return slices.ContainsFunc(c.Hub.Reports()[agentID].Leases, func(l agent.LeaseState) bool { return l.Cluster == cluster })
		},
		Log: c.log.With("component", "demo")})
}

// leaveDemo lets the demo's databases go on without control plane.
func leaveDemo(d *demo.Demo) error {
	ctx, cancel := context.WithTimeout(context.Background(), demoStopTime)
	defer cancel()
	return d.Leave(ctx)
}

func stopDemo(d *demo.Demo, out io.Writer) error {
	fmt.Fprintln(out, "Stopping the demo's databases (--keep would leave them running).")
	ctx, cancel := context.WithTimeout(context.Background(), demoStopTime)
	defer cancel()
	if err := d.Stop(ctx); err != nil {
		return fmt.Errorf("stop the demo's databases: %w", err)
	}
	return nil
}

// sayUp tells what was started and where to go.
func sayUp(out io.Writer, c *controlPlane, d *demo.Demo, o upOptions, tokenFile string) {
	fmt.Fprintf(out, "\nBaton is up. Data and logs are in %s\n\n", o.data)
	fmt.Fprintf(out, "  Dashboard   %s\n", c.URL)
	if c.SetupLink != "" {
		fmt.Fprintf(out, "  Set up      %s   (makes the first user, works once)\n", c.SetupLink)
	}
	if d != nil {
		for i, line := range d.Lines {
			label := "Demo"
			if i > 0 {
				label = strings.Repeat(" ", len(label))
			}
			fmt.Fprintf(out, "  %s        %s\n", label, line)
		}
	}
	fmt.Fprintf(out, "  Commands    %s\n\n", exampleCommand(c.URL, tokenFile))
	switch {
	case d == nil:
		fmt.Fprintln(out, "Ctrl-C stops control plane and agent; databases go on running.")
	case o.keep:
		fmt.Fprintln(out, "Ctrl-C stops control plane, agent and load; the demo's databases go on running.")
	default:
		fmt.Fprintln(out, "Ctrl-C stops all of it, the demo's databases too.")
	}
}

// exampleCommand is a client command as it works from this directory: without
// any option where everything is at its default.
func exampleCommand(url, tokenFile string) string {
	command := "baton clusters"
	if url != "http://"+defaultControlListen {
		command += " --server " + url
	}
	if standard, err := filepath.Abs(filepath.Join("baton-data", "cli-token")); err != nil || standard != tokenFile {
		command += " --token-file " + tokenFile
	}
	return command
}
