package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"baton/control/agent/fence"
	"baton/control/agent/supervise"
	"baton/control/engine"
	"baton/control/provider"
	"baton/control/proxy"
	"baton/platform/identity"

	"golang.org/x/sys/unix"
)

// Options of an agent.
type Options struct {
	Dir     string // the agent's own state, made 0700
	Drivers []engine.Driver
	Named   provider.Named // facts a person gave about the host
	Version string
	Logger  *slog.Logger // nil: slog.Default()
	// Proxy serves endpoints here; nil: this agent serves none.
	Proxy *proxy.Server
	// EngineDirs are searched for the engines' programs; nil: DefaultEngineDirs.
	EngineDirs []string
	// Advertise is the host other machines reach servers made here at; "": the
	// address this machine's way to the control plane begins with.
	Advertise string
	// FirstPort is where the search for a free port of a new server begins; 6379
	// when 0.
	FirstPort int
	// Guardian is the program, with its first arguments, that ends primaries
	// when this agent cannot; it is given the agent's directory. nil: none.
	Guardian []string
	// Baton is the path of the program baton, which proves backups of event
	// stores and serves what is restored of them; "": not on this host.
	Baton string
	// NoOSTerminal refuses OS shells on this host, whoever asks.
	NoOSTerminal bool
	// Supervisor is what carries databases: supervise.KindAuto, KindChild ("" is
	// the same) or KindSystemd, reached as Systemd says.
	Supervisor string
	Systemd    supervise.Systemd
}

// Agent is a joined agent. Make it with Open.
type Agent struct {
	opt     Options
	log     *slog.Logger
	me      member
	lock    *os.File
	fences  *fence.Store
	super   *supervise.Supervisor
	local   *provider.Local
	drivers map[string]engine.Driver
	orders  *orders
	probes  *probes
	disks   *disks
	jobs    backupJobs // on backups
	leases  *leases
	roles   *roles
	limits  *hostLimits

	terminals terminals // attached to the link

	mu        sync.Mutex
	instances map[string]*watched // by key
	programs  []engine.Program    // found on this host
	ctx       context.Context     // of Run; instances are watched under it
	term      uint64              // highest of a control node that welcomed us; of the link's goroutine
	sequence  uint64
	offered   map[int]offer // ports named lately, which nobody listens on yet
}

// Open opens the agent's directory, adopts the processes it left running and
// starts those that should run. Only one agent may have a directory open.
func Open(o Options) (*Agent, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	me, err := loadMember(o.Dir)
	if err != nil {
		return nil, err
	}
	if o.Advertise == "" {
		o.Advertise = hostTowards(me.Address)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	if o.Named.Name == "" {
		o.Named.Name = me.Name
	}
	a := &Agent{opt: o, log: o.Logger, me: me, lock: lock, local: provider.NewLocal(o.Named),
		drivers: map[string]engine.Driver{}, instances: map[string]*watched{}, disks: newDisks()}
	for _, d := range o.Drivers {
		a.drivers[d.Engine()] = d
	}
	a.orders, a.probes = newOrders(), newProbes()
	if a.fences, err = fence.Open(filepath.Join(o.Dir, "fences")); err != nil {
		lock.Close()
		return nil, err
	}
	// What is on record about roles comes before anything is started.
	if err := a.loadInstances(); err != nil {
		lock.Close()
		return nil, err
	}
	if a.leases, err = openLeases(a); err != nil {
		lock.Close()
		return nil, err
	}
	if a.roles, err = openRoles(o.Dir, o.Logger); err != nil {
		lock.Close()
		return nil, fmt.Errorf("read roles.json: %w", err)
	}
	if a.limits, err = a.openLimits(); err != nil {
		lock.Close()
		return nil, err
	}
	if a.super, err = supervise.OpenWith(supervise.Options{Dir: o.Dir, Log: o.Logger, Gate: a.leases.gate, OnEnd: a.leases.ended,
		Kind: o.Supervisor, Systemd: o.Systemd}); err != nil {
		lock.Close()
		return nil, err
	}
	return a, nil
}

// ID is the id the control plane knows the agent by.
func (a *Agent) ID() string { return a.me.ID }

// Close ends the agent. Processes it supervises go on running.
func (a *Agent) Close() {
	a.jobs.stop("")
	a.super.Close()
	a.roles.close()
	_ = a.fences.Close()
	for _, d := range a.drivers {
		_ = d.Close()
	}
	a.lock.Close()
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the agent's directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another agent uses %s; stop it first", dir)
	}
	return f, nil
}

// Run watches the instances and keeps the link to the control plane until ctx
// ends. It returns nil then.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	a.ctx = ctx
	for _, w := range a.instances {
		w.begin(ctx, a)
	}
	a.mu.Unlock()
	a.leases.begin(ctx)
	a.sweepScratch()
	go a.housekeeping(ctx)
	go a.lookForPrograms(ctx)
	a.keepLink(ctx)
	a.probes.stopAll()
	return nil
}

func (a *Agent) housekeeping(ctx context.Context) {
	logs, disks := time.NewTicker(time.Minute), time.NewTicker(diskInterval)
	defer logs.Stop()
	defer disks.Stop()
	a.disks.measure(a.dirs())
	for {
		select {
		case <-ctx.Done():
			return
		case <-logs.C:
			a.super.RotateLogs()
		case <-disks.C:
			a.disks.measure(a.dirs())
		}
	}
}

// watched is one instance under observation.
type watched struct {
	in     engine.Instance
	cancel context.CancelFunc // nil when not watched yet
	look   chan struct{}      // asks for an observation now

	mu     sync.Mutex
	latest *engine.Observation
	pid    int // of an engine that something else started
	ticks  uint64
}

func (w *watched) begin(ctx context.Context, a *Agent) {
	d := a.drivers[w.in.Engine]
	if w.cancel != nil || d == nil {
		return
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(ReportInterval)
		defer tick.Stop()
		for {
			o, err := d.Observe(ctx, w.in)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				o = engine.Observation{At: time.Now(), Cluster: w.in.Cluster, Node: w.in.Node, Engine: w.in.Engine,
					Role: engine.RoleUnknown, LagBytes: -1, LagSeconds: -1, LinkSilenceSeconds: -1, WritesPerSecond: -1, Err: err.Error()}
			}
			w.mu.Lock()
			w.latest = &o
			w.mu.Unlock()
			a.noted(w, &o)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			case <-w.look:
			}
		}
	}()
}

func (w *watched) lookNow() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

func (a *Agent) instancesFile() string { return filepath.Join(a.opt.Dir, "instances.json") }

func (a *Agent) loadInstances() error {
	b, err := os.ReadFile(a.instancesFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read instances: %w", err)
	}
	var list []engine.Instance
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("read instances in %s: %w", a.instancesFile(), err)
	}
	for _, in := range list {
		a.instances[in.Key()] = &watched{in: in, look: make(chan struct{}, 1)}
	}
	return nil
}

// storeInstances writes all instances; a.mu is held.
func (a *Agent) storeInstances() error {
	list := make([]engine.Instance, 0, len(a.instances))
	for _, w := range a.instances {
		list = append(list, w.in)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Key() < list[j].Key() })
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(a.instancesFile(), b, 0o600)
}

// putInstance begins to watch an instance, or replaces what is known of it.
func (a *Agent) putInstance(in engine.Instance) error {
	switch {
	case !namePattern.MatchString(in.Cluster) || !namePattern.MatchString(in.Node):
		return &engine.ActionError{Code: engine.CodeBadAction, Detail: fmt.Sprintf("instance %q has no usable name", in.Key())}
	case a.drivers[in.Engine] == nil:
		return &engine.ActionError{Code: engine.CodeBadAction, Detail: fmt.Sprintf("this agent has no driver for engine %q", in.Engine)}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.instances[in.Key()]
	w := &watched{in: in, look: make(chan struct{}, 1)}
	a.instances[in.Key()] = w
	if err := a.storeInstances(); err != nil {
		if old != nil {
			a.instances[in.Key()] = old
		} else {
			delete(a.instances, in.Key())
		}
		return err
	}
	if old != nil && old.cancel != nil {
		old.cancel()
	}
	if a.ctx != nil {
		w.begin(a.ctx, a)
		go a.leases.ensure(a.ctx, in)
	}
	return nil
}

func (a *Agent) removeInstance(cluster, node string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := cluster + "/" + node
	w := a.instances[key]
	if w == nil {
		return nil
	}
	delete(a.instances, key)
	if err := a.storeInstances(); err != nil {
		a.instances[key] = w
		return err
	}
	if w.cancel != nil {
		w.cancel()
	}
	a.roles.set(w.in.Process, "")
	a.drivers[w.in.Engine].Forget(w.in)
	return nil
}

// find returns the instance, or with node "" any instance of the cluster (the
// first by name).
func (a *Agent) find(cluster, node string) *watched {
	a.mu.Lock()
	defer a.mu.Unlock()
	if node != "" {
		return a.instances[cluster+"/"+node]
	}
	var best *watched
	for key, w := range a.instances {
		if strings.HasPrefix(key, cluster+"/") && (best == nil || key < best.in.Key()) {
			best = w
		}
	}
	return best
}

// ownVolume stands for the volume of the agent's directory; its parent, which
// is written to for measuring, is the agent's own.
func (a *Agent) ownVolume() string { return filepath.Join(a.opt.Dir, "processes") }

func (a *Agent) dirs() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, w := range a.instances {
		if w.in.Dir != "" {
			out = append(out, w.in.Dir)
		}
	}
	return append(out, a.ownVolume())
}

// report builds the next report.
func (a *Agent) report() Report {
	r := Report{Agent: a.me.ID, Version: a.opt.Version, PID: os.Getpid(), Host: a.local.Read(), Processes: a.super.States(), Fences: a.fences.All(),
		Disk: a.disks.facts(a.ownVolume()), Supervision: a.super.Kind()}
	r.Name, r.At = r.Host.Name, r.Host.Clock
	r.Endpoints, r.Limits = a.endpoints(), a.limits.all()
	r.PeerAddress, r.Promises, r.Rosters = a.leases.peers.at(), a.leases.promises.states(), a.leases.rosters()
	byName := map[string]*engine.ProcessState{}
	for i := range r.Processes {
		byName[r.Processes[i].Name] = &r.Processes[i]
	}
	a.mu.Lock()
	a.sequence++
	r.Sequence, r.Programs = a.sequence, a.programs
	r.Leases = a.leases.states()
	for _, w := range a.instances {
		ir := InstanceReport{Cluster: w.in.Cluster, Node: w.in.Node, Engine: w.in.Engine, Address: w.in.Address(), Process: w.in.Process, ProcessInfo: byName[w.in.Process]}
		w.mu.Lock()
		ir.Observation = w.latest
		w.mu.Unlock()
		if w.in.Dir != "" {
			ir.Disk = a.disks.facts(w.in.Dir)
		}
		r.Instances = append(r.Instances, ir)
	}
	a.mu.Unlock()
	sort.Slice(r.Instances, func(i, j int) bool {
		x, y := r.Instances[i], r.Instances[j]
		return x.Cluster+"/"+x.Node < y.Cluster+"/"+y.Node
	})
	return r
}
