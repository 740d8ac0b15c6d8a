// Package keeper keeps the leases of primaries, watches for their loss, and
// begins the failovers that package failover decides on. It also brings former
// primaries back as replicas, saving what only they hold.
//
// It runs on the control node that leads. Leases live in its memory: a new
// leader assumes that each was renewed at the moment it began to lead, and so
// names no other holder before what the former one granted is surely over.
//
// A Keeper may be used from many goroutines.
package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/failover"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/lease"
	"baton/control/operation"
	"baton/control/plan"
)

// Hub is the link to the agents; *hub.Hub is one.
type Hub interface {
	Terms(agentID string, t agent.LeaseTerms) error
	Order(ctx context.Context, agentID string, o agent.Order) (agent.Result, error)
	Locate(cluster, node string) (agentID string, ok bool)
	Connected(agentID string) bool
}

// Operations begins failovers; *executor.Executor is one.
type Operations interface {
	Submit(ctx context.Context, s executor.Submission) (string, error)
}

// Options of a Keeper. All but Confirm, Look and Boot are required.
type Options struct {
	Hub        Hub
	Inventory  *inventory.Inventory
	Memory     *Memory
	Facts      func(cluster string) (plan.Facts, bool)
	Operations Operations
	Journal    journal.Journal
	Audit      *audit.Log
	Log        *slog.Logger
	Now        func() time.Time
	// Boot is the boot clock, see package lease.
	Boot func() time.Duration
	// Confirm proves to a majority that this node still leads, with a round that
	// began after the call; nil: there is no other.
	Confirm func(ctx context.Context) error
	// Reports are the agents' last reports by id, for promises between agents;
	// nil: no primary is kept by them.
	Reports func() map[string]agent.Report
	// ControlNodes is how many control nodes there are; nil: enough.
	ControlNodes func() int
	// Look is how often clusters are looked at; DefaultLook when 0.
	Look time.Duration
}

// DefaultLook is how often clusters are looked at without being asked to: what
// agents say is acted on at once.
const DefaultLook = 200 * time.Millisecond

const (
	// termsEvery is how often agents are told what is on record.
	termsEvery = time.Second
	// confirmTime bounds the proof of leadership for one renewal: later it is
	// worth nothing to the agent.
	confirmTime = time.Second
	// samplesKept is how many positions of a primary are kept: half a minute.
	samplesKept = 60
	// orderSlack is added to a lease that was given by order, not by grant: an
	// order may take effect this much later than it was sent.
	orderSlack = 3 * time.Second
)

// Keeper is the keeper of leases. Make it with New.
type Keeper struct {
	Options
	wake chan struct{}

	mu       sync.Mutex
	leading  bool
	term     uint64
	table    *lease.Table
	clusters map[string]*watched
	rosters  uint64 // told since this control node leads
}

// watched is what the keeper holds of one cluster in memory.
type watched struct {
	generation uint64
	holder     string
	guarded    bool
	ended      *ended
	restartAt  time.Time // when starting the engine again was ordered; zero: not
	samples    []sample
	told       time.Time // when the agents were told last
	toldWhat   uint64
	said       failover.Decision // the last decision that was recorded
	now        failover.Decision // the last decision
	expired    bool              // the end of this generation's lease was recorded
	wasGranted bool
	enrolling  bool
	rejoining  map[string]time.Time // by node: when it was tried last
	submitting bool
	roster     roster
	recording  bool // a change of who may be promoted is being recorded
	bar        *barring
	unbarred   time.Time // when promises were last allowed again
}

// ended is what the holder's agent said when its engine had ended.
type ended struct {
	generation            uint64
	restartable, lossless bool
	why                   string
}

type sample struct {
	failover.Sample
	aof int64
}

// New returns a keeper that leads nothing yet.
func New(o Options) *Keeper {
	if o.Look == 0 {
		o.Look = DefaultLook
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{Options: o, wake: make(chan struct{}, 1), table: lease.NewTable(), clusters: map[string]*watched{}}
}

// Lead keeps leases in a term until ctx ends; it returns nil then.
func (k *Keeper) Lead(ctx context.Context, term uint64) error {
	k.mu.Lock()
	// What a former leader granted is not known: everything is assumed to be held.
	k.leading, k.term, k.table, k.clusters = true, term, lease.NewTable(), map[string]*watched{}
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.leading = false
		k.mu.Unlock()
	}()
	tick := time.NewTicker(k.Look)
	defer tick.Stop()
	for {
		for _, c := range k.Inventory.Clusters() {
			if c.Engine == engine.Redis && ctx.Err() == nil {
				k.look(ctx, &c)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-k.wake:
		}
	}
}

// poke has the clusters looked at now.
func (k *Keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// managed tells whether a cluster is kept by leases.
func managed(c *inventory.Cluster) bool {
	return c.Engine == engine.Redis && c.Policy.Failover != "" && c.Policy.Failover != inventory.FailoverOff && c.ShouldBe != ""
}

func ttlOf(c *inventory.Cluster) time.Duration {
	return time.Duration(c.Policy.LeaseTTLMs) * time.Millisecond
}

// record brings the table to what the inventory says. k.mu is held.
func (k *Keeper) record(c *inventory.Cluster) *watched {
	w := k.clusters[c.ID]
	if w == nil {
		w = &watched{rejoining: map[string]time.Time{}, bar: &barring{}}
		k.clusters[c.ID] = w
	}
	if !managed(c) {
		k.table.Forget(c.ID)
		w.generation, w.holder, w.ended = 0, "", nil
		return w
	}
	if w.generation != c.Generation || w.holder != c.ShouldBe {
		w.generation, w.holder = c.Generation, c.ShouldBe
		w.ended, w.restartAt, w.expired, w.guarded, w.wasGranted = nil, time.Time{}, false, false, false
		w.roster = roster{}
	}
	k.table.Expect(c.ID, c.Generation, c.ShouldBe, ttlOf(c), k.Boot())
	return w
}

// Renew answers a renewal; see hub.Leases.
func (k *Keeper) Renew(agentID string, r agent.LeaseRenewal) agent.LeaseAnswer {
	out := agent.LeaseAnswer{Cluster: r.Cluster, Node: r.Node, Generation: r.Generation, Number: r.Number, Code: "not-leading"}
	if k.Confirm != nil {
		ctx, cancel := context.WithTimeout(context.Background(), confirmTime)
		err := k.Confirm(ctx)
		cancel()
		if err != nil {
			return out
		}
	}
	c, ok := k.Inventory.Cluster(r.Cluster)
	if !ok || !managed(&c) {
		out.Code = lease.NotManaged
		return out
	}
	if id, ok := k.Hub.Locate(r.Cluster, r.Node); !ok || id != agentID {
		out.Code = lease.NotManaged // not the agent beside this node
		return out
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.leading {
		return out
	}
	w := k.record(&c)
	a := k.table.Renew(r.Cluster, r.Generation, r.Node, k.Boot())
	if a.Code == lease.IsReleased && k.restarts(&c) {
		k.table.Reinstate(r.Cluster, r.Generation, k.Boot())
		a = k.table.Renew(r.Cluster, r.Generation, r.Node, k.Boot())
	}
	out.Granted, out.Code, out.TTL = a.Granted, a.Code, a.TTL
	if !a.Granted {
		return out
	}
	w.guarded, w.wasGranted = r.Guarded, true
	k.acknowledged(&c, w, r)
	if w.ended != nil && w.ended.generation == r.Generation {
		w.ended = nil
	}
	if m := k.Memory.of(r.Cluster).enrolled; r.Holding && !w.enrolling && (m.Generation != r.Generation || m.Node != r.Node) {
		w.enrolling = true
		go k.enroll(r)
	}
	return out
}

// restarts tells whether an operation that does not move the primary runs: it
// may have stopped the engine to start it again. k.mu is held.
func (k *Keeper) restarts(c *inventory.Cluster) bool {
	if c.Running == "" {
		return false
	}
	o, ok := k.Inventory.Operation(c.Running)
	return ok && !operation.Moves(o.Kind)
}

func (k *Keeper) enroll(r agent.LeaseRenewal) {
	err := k.append(r.Cluster, eventEnrolled, enrolled{Generation: r.Generation, Node: r.Node, At: k.Now()})
	if err != nil {
		k.Log.Warn("it is not recorded that an agent holds its lease", "cluster", r.Cluster, "node", r.Node, "err", err)
	}
	k.mu.Lock()
	if w := k.clusters[r.Cluster]; w != nil {
		w.enrolling = false
	}
	k.mu.Unlock()
}

// Release takes in that a node takes no writes any more; see hub.Leases.
func (k *Keeper) Release(agentID string, r agent.LeaseRelease) {
	if id, ok := k.Hub.Locate(r.Cluster, r.Node); !ok || id != agentID {
		return
	}
	c, ok := k.Inventory.Cluster(r.Cluster)
	if !ok {
		return
	}
	k.mu.Lock()
	if k.leading {
		w := k.record(&c)
		k.table.Release(r.Cluster, r.Generation, r.Node, r.Why)
		if w.generation == r.Generation && w.holder == r.Node {
			if w.ended == nil {
				k.Log.Warn("a primary's engine has ended", "cluster", r.Cluster, "node", r.Node, "why", r.Why, "restartable", r.Restartable, "lossless", r.Lossless)
			}
			w.ended = &ended{generation: r.Generation, restartable: r.Restartable, lossless: r.Lossless, why: r.Why}
		}
	}
	k.mu.Unlock()
	k.poke()
}

// Managed implements executor.Leases.
func (k *Keeper) Managed(cluster string) bool {
	c, ok := k.Inventory.Cluster(cluster)
	return ok && managed(&c)
}

// Bar implements executor.Leases.
func (k *Keeper) Bar(cluster string, generation uint64) {
	k.with(cluster, func(c *inventory.Cluster) {
		k.table.Bar(cluster, generation)
		_, _ = k.stopped(c, generation) // begins to bar promises
	})
}

// Unbar implements executor.Leases.
func (k *Keeper) Unbar(cluster string, generation uint64) {
	k.with(cluster, func(*inventory.Cluster) { k.table.Unbar(cluster, generation) })
}

// Free implements executor.Leases.
func (k *Keeper) Free(cluster string, generation uint64) (free bool, within time.Duration) {
	k.with(cluster, func(c *inventory.Cluster) {
		free, within = k.table.Free(cluster, generation, k.Boot())
		if stopped, more := k.stopped(c, generation); !stopped {
			free, within = false, max(within, more)
		}
	})
	return free, within
}

// Owed implements executor.Leases.
func (k *Keeper) Owed(cluster string) map[string]bool {
	c, ok := k.Inventory.Cluster(cluster)
	if !ok || len(c.Operations) == 0 {
		return nil
	}
	out := map[string]bool{}
	for node := range k.owed(&c) {
		out[node] = true
	}
	return out
}

func (k *Keeper) with(cluster string, f func(c *inventory.Cluster)) {
	c, ok := k.Inventory.Cluster(cluster)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leading {
		k.record(&c)
		f(&c)
	}
}

// append records an event of this package and returns when the memory has it.
func (k *Keeper) append(cluster, kind string, v any) error {
	return k.appendAt(cluster, journal.Any, kind, v)
}

// appendAt appends only where the stream ends at a revision.
func (k *Keeper) appendAt(cluster string, expected int64, kind string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), appendTime)
	defer cancel()
	rev, err := k.Journal.Append(ctx, stream(cluster), expected, journal.Event{Type: kind, Data: b})
	if err != nil {
		return err
	}
	return k.Inventory.Wait(ctx, stream(cluster), rev)
}

const appendTime = 10 * time.Second

// audit records what was done by itself; an attempt, not an operation.
func (k *Keeper) audit(c *inventory.Cluster, node, what, outcome, detail string) {
	k.auditBy(audit.Who{Name: "baton", Source: "auto"}, c.ID, node, what, outcome, detail)
}

func (k *Keeper) auditBy(who audit.Who, cluster, node, what, outcome, detail string) {
	ctx, cancel := context.WithTimeout(context.Background(), appendTime)
	defer cancel()
	r := audit.Record{ID: newID(), At: k.Now(), Who: who, What: what, Cluster: cluster, Node: node, Outcome: outcome, Detail: detail}
	if _, err := k.Audit.Append(ctx, r); err != nil && !errors.Is(err, context.Canceled) {
		k.Log.Error("attempt could not be audited", "what", what, "err", err)
	}
}
