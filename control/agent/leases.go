package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"baton/control/agent/guard"
	"baton/control/engine"
	"baton/control/lease"
	agentpb "baton/gen/agent"
	"baton/platform/identity"

	"google.golang.org/grpc"
)

// leaseTick is how often each lease is looked at; well below the times it has.
const leaseTick = 25 * time.Millisecond

// leases are the agent's ends of the leases on its host, and what is on record
// about the clusters that are kept by leases. Its lock is never held while the
// supervisor or a driver is called: both may be waiting for it.
type leases struct {
	a *Agent

	mu      sync.Mutex
	records map[string]*leaseRecord // by cluster; persisted
	runs    map[string]*leaseRun    // by instance
	out     chan<- *agentpb.FromAgent
	pauses  map[string]time.Duration // by instance: until when an operation holds writes

	// whole tells of a server that its own disk has all it acknowledged, as it
	// was last seen; back that it was so when it ended, and that it has followed
	// nobody since.
	whole, backWhole map[string]bool

	promises *promises // given to others
	peers    *peers
}

// leaseRecord is what is on record about one cluster, and what this host knows
// of its own nodes.
type leaseRecord struct {
	LeaseTerms
	// HadKeys tells that the node was seen with data; Durable that its engine
	// keeps them over a crash of its process, but for what its file was not yet
	// given; Lossless that it acknowledges nothing before that.
	HadKeys  map[string]bool `json:"HadKeys,omitempty"`
	Durable  map[string]bool `json:"Durable,omitempty"`
	Lossless map[string]bool `json:"Lossless,omitempty"`
	// Owes tells that the node was the holder and has not been a replica since:
	// what only it holds must be saved before it becomes one.
	Owes map[string]bool `json:"Owes,omitempty"`
}

// HeldBack begins the reason of a process that its agent keeps stopped until
// the control plane says what it is to be.
const HeldBack = "kept stopped: "

func (a *Agent) leasesFile() string { return filepath.Join(a.opt.Dir, "leases.json") }

func openLeases(a *Agent) (*leases, error) {
	l := &leases{a: a, whole: map[string]bool{}, backWhole: map[string]bool{}, records: map[string]*leaseRecord{}, runs: map[string]*leaseRun{}, pauses: map[string]time.Duration{}, peers: &peers{a: a, conns: map[string]*grpc.ClientConn{}}}
	var err error
	if l.promises, err = openPromises(a); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(a.leasesFile())
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	var list []*leaseRecord
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("read leases in %s: %w", a.leasesFile(), err)
	}
	for _, r := range list {
		l.records[r.Cluster] = r
	}
	return l, nil
}

// store writes the records; l.mu is held.
func (l *leases) store() error {
	list := make([]*leaseRecord, 0, len(l.records))
	for _, r := range l.records {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *leaseRecord) int { return strings.Compare(a.Cluster, b.Cluster) })
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(l.a.leasesFile(), b, 0o600)
}

// begin starts the ends that this host has.
func (l *leases) begin(ctx context.Context) {
	if err := l.peers.serve(ctx); err != nil {
		l.a.log.Warn("other agents cannot ask this one for promises; primaries elsewhere stop writes when no control node answers", "err", err)
	}
	for _, in := range l.a.known() {
		l.ensure(ctx, in)
		l.resume(ctx, in)
	}
}

// resume sees the end of a lease through that an agent before this one had not:
// the guardian would end an engine that was demoted in time.
func (l *leases) resume(ctx context.Context, in engine.Instance) {
	was, known := guard.Read(guard.File(l.a.opt.Dir, in.Cluster, in.Node))
	l.mu.Lock()
	rec := l.records[in.Cluster]
	if !known || was.Deadline == 0 || rec == nil || rec.Holder == in.Node || l.runs[in.Key()] != nil {
		l.mu.Unlock()
		return
	}
	terms := rec.LeaseTerms
	l.mu.Unlock()
	terms.Generation, terms.Holder = was.Generation, in.Node
	l.begun(ctx, in, terms)
}

// known are the instances, sorted.
func (a *Agent) known() []engine.Instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]engine.Instance, 0, len(a.instances))
	for _, w := range a.instances {
		out = append(out, w.in)
	}
	slices.SortFunc(out, func(x, y engine.Instance) int { return strings.Compare(x.Key(), y.Key()) })
	return out
}

// ensure begins the end of a lease for an instance that is on record as its
// holder and has none yet.
func (l *leases) ensure(ctx context.Context, in engine.Instance) {
	l.mu.Lock()
	rec := l.records[in.Cluster]
	run := l.runs[in.Key()]
	if rec == nil || rec.Holder != in.Node {
		l.mu.Unlock()
		return
	}
	terms := rec.LeaseTerms
	l.mu.Unlock()
	if run != nil {
		run.mu.Lock()
		run.follow(terms)
		run.mu.Unlock()
		return
	}
	l.begun(ctx, in, terms)
}

// begun begins the end of a lease, unless there is one.
func (l *leases) begun(ctx context.Context, in engine.Instance, terms LeaseTerms) {
	run, err := newLeaseRun(l, in, terms)
	if err != nil {
		l.a.log.Error("a lease cannot be kept; the primary is not fenced by this agent", "cluster", in.Cluster, "node", in.Node, "err", err)
		return
	}
	l.mu.Lock()
	if l.runs[in.Key()] != nil {
		l.mu.Unlock()
		run.close()
		return
	}
	l.runs[in.Key()] = run
	l.mu.Unlock()
	l.guard()
	go run.loop(ctx)
}

// guard starts a guardian unless one lives.
func (l *leases) guard() {
	if err := guard.Start(l.a.opt.Guardian, l.a.opt.Dir); err != nil {
		l.a.log.Warn("leases are kept without a guardian", "err", err)
	}
}

// terms takes in what is on record, on disk before it counts.
func (l *leases) terms(t LeaseTerms) {
	l.mu.Lock()
	rec := l.records[t.Cluster]
	if rec != nil && t.Generation < rec.Generation {
		l.mu.Unlock()
		return
	}
	if rec != nil {
		t.asBefore(rec)
		t.Peers = withKnown(t.Peers, rec.Peers)
	}
	if t.TTL == 0 {
		if rec != nil {
			delete(l.records, t.Cluster)
			if err := l.store(); err != nil {
				l.a.log.Error("the end of a lease is not stored", "cluster", t.Cluster, "err", err)
			}
		}
		var end []*leaseRun
		for key, run := range l.runs {
			if run.in.Cluster == t.Cluster {
				delete(l.runs, key)
				end = append(end, run)
			}
		}
		l.mu.Unlock()
		for _, run := range end {
			run.abandon()
		}
		return
	}
	changed := rec == nil || rec.Generation != t.Generation || rec.Holder != t.Holder || rec.HolderAddress != t.HolderAddress ||
		rec.TTL != t.TTL || rec.Mode != t.Mode || !slices.Equal(rec.Promotable, t.Promotable) || rec.Roster != t.Roster || rec.HolderAgent != t.HolderAgent ||
		!slices.Equal(rec.Peers, t.Peers)
	if changed {
		next := &leaseRecord{LeaseTerms: t, HadKeys: map[string]bool{}, Durable: map[string]bool{}, Lossless: map[string]bool{}, Owes: map[string]bool{}}
		if rec != nil {
			next.HadKeys, next.Durable, next.Lossless = rec.HadKeys, rec.Durable, rec.Lossless
			for n, owes := range rec.Owes {
				next.Owes[n] = owes
			}
			if rec.Holder != t.Holder && l.runs[t.Cluster+"/"+rec.Holder] != nil {
				next.Owes[rec.Holder] = true
			}
			delete(next.Owes, t.Holder)
		}
		l.records[t.Cluster] = next
		if err := l.store(); err != nil {
			l.a.log.Error("what is on record of a lease is not stored", "cluster", t.Cluster, "err", err)
			if rec != nil {
				l.records[t.Cluster] = rec
			} else {
				delete(l.records, t.Cluster)
			}
		}
	}
	l.mu.Unlock()
	l.a.mu.Lock()
	ctx := l.a.ctx
	l.a.mu.Unlock()
	if ctx == nil {
		return
	}
	for _, in := range l.a.known() {
		if in.Cluster == t.Cluster {
			l.ensure(ctx, in)
		}
	}
}

// promoting has it on record, on disk, that a node is the holder of the order's
// generation: were its engine restarted before the control plane says so, it
// would follow the primary before it and throw its own writes away. The disk
// works while the engine is promoted; wait for the channel before answering.
func (l *leases) promoting(o Order, in engine.Instance) <-chan struct{} {
	done := make(chan struct{})
	l.mu.Lock()
	rec := l.records[in.Cluster]
	if o.Action.Name != engine.Promote || rec == nil || o.Generation < rec.Generation || o.Generation == rec.Generation && rec.Holder == in.Node {
		l.mu.Unlock()
		close(done)
		return done
	}
	t := rec.LeaseTerms
	l.mu.Unlock()
	t.Generation, t.Holder, t.HolderAddress = o.Generation, in.Node, in.Address()
	// Whom it may ask is of its own generation, and is told by the control plane.
	t.HolderAgent, t.Mode, t.Promotable, t.Roster, t.Peers = l.a.me.ID, "", nil, 0, nil
	go func() {
		defer close(done)
		l.terms(t)
	}()
	return done
}

func (l *leases) run(key string) *leaseRun {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[key]
}

func (l *leases) answer(m LeaseAnswer) {
	if run := l.run(m.Cluster + "/" + m.Node); run != nil {
		run.answered(m)
	}
}

// connected gives messages a way out; nil when the link is gone.
func (l *leases) connected(out chan<- *agentpb.FromAgent) {
	l.mu.Lock()
	l.out = out
	l.mu.Unlock()
}

// send never waits: a renewal that is held up is worth nothing.
func (l *leases) send(m *agentpb.FromAgent) {
	l.mu.Lock()
	out := l.out
	l.mu.Unlock()
	if out == nil {
		return
	}
	select {
	case out <- m:
	default:
	}
}

// gate keeps engines in the role of our record: a node that is not the holder
// starts as the holder's replica, whatever its own file says, and the holder
// itself starts only when the control plane says so.
func (l *leases) gate(process string) (extra []string, ok bool, why string) {
	in, found := l.a.byProcess(process)
	if !found || in.Engine != engine.Redis {
		return nil, true, ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	rec := l.records[in.Cluster]
	if rec == nil {
		return l.a.roles.arguments(process), true, ""
	}
	if rec.Holder == in.Node {
		return nil, false, HeldBack + "it was the primary; the control plane says what it is to be"
	}
	if rec.Owes[in.Node] {
		return nil, false, HeldBack + "it was the primary before; what only it holds is saved first"
	}
	host, port, err := net.SplitHostPort(rec.HolderAddress)
	if err != nil {
		return nil, false, HeldBack + "where the primary is, is not known"
	}
	return []string{"--replicaof", host, port}, true, ""
}

func (a *Agent) byProcess(name string) (engine.Instance, bool) {
	for _, in := range a.known() {
		if in.Process == name {
			return in, true
		}
	}
	return engine.Instance{}, false
}

// ended is told of each process that ended.
func (l *leases) ended(process string) {
	in, ok := l.a.byProcess(process)
	if !ok {
		return
	}
	l.mu.Lock()
	l.backWhole[in.Key()] = l.whole[in.Key()]
	l.mu.Unlock()
	if run := l.run(in.Key()); run != nil {
		run.engineEnded("its engine ended by itself")
	}
	if w := l.a.find(in.Cluster, in.Node); w != nil {
		w.lookNow()
	}
}

// returning makes an order to start a process, which this agent keeps stopped
// as a primary, start it with the next grant. done is false when the order is
// to be carried out as usual.
func (l *leases) returning(process string) (done bool) {
	in, ok := l.a.byProcess(process)
	if !ok {
		return false
	}
	run := l.run(in.Key())
	return run != nil && run.wanted()
}

// permit refuses orders that would let a fenced primary's writes go, and holds
// those up that would break a promise.
func (l *leases) permit(ctx context.Context, o Order, in engine.Instance) error {
	run := l.run(in.Key())
	switch o.Action.Name {
	case engine.Promote:
		return l.promises.waitFor(ctx, in.Cluster, in.Node, o.Generation)
	case engine.PauseWrites:
		if ms, err := strconv.ParseInt(o.Action.Arg("ms"), 10, 64); err == nil {
			l.mu.Lock()
			l.pauses[in.Key()] = guard.Now() + time.Duration(ms)*time.Millisecond
			l.mu.Unlock()
		}
	case engine.UnpauseWrites:
		if run != nil && run.fenced() {
			return &engine.ActionError{Code: engine.CodeRefused, Detail: in.Node + " has lost its lease: its writes stay held until the lease is granted again"}
		}
		l.mu.Lock()
		delete(l.pauses, in.Key())
		l.mu.Unlock()
	}
	return nil
}

// noted keeps what an observation says about restarting the engine.
func (l *leases) noted(in engine.Instance, o *engine.Observation) {
	if !o.Up || in.Engine != engine.Redis {
		return
	}
	keys := o.Details["keys"] != ""
	// While its file is written anew, after a full copy of a primary above all, a
	// server may start from the file before: with nothing that came since.
	durable := o.Facts.Settings["appendonly"] == "yes" && o.Details["aofRewrite"] == ""
	lossless := durable && o.Facts.Settings["appendfsync"] == "always"
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.Facts.Settings != nil {
		l.whole[in.Key()] = lossless
	}
	if o.Role == engine.RoleReplica && o.LinkUp {
		delete(l.backWhole, in.Key())
	}
	rec := l.records[in.Cluster]
	if rec == nil || o.Facts.Settings == nil || rec.HadKeys[in.Node] == keys && rec.Durable[in.Node] == durable && rec.Lossless[in.Node] == lossless {
		return
	}
	if rec.Lossless == nil { // stored by a version before
		rec.Lossless = map[string]bool{}
	}
	rec.HadKeys[in.Node], rec.Durable[in.Node], rec.Lossless[in.Node] = keys, durable, lossless
	if err := l.store(); err != nil {
		l.a.log.Warn("what is known of a node is not stored", "cluster", in.Cluster, "node", in.Node, "err", err)
	}
}

// back says that a node is a replica now.
func (l *leases) back(in engine.Instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rec := l.records[in.Cluster]
	if rec == nil || !rec.Owes[in.Node] {
		return
	}
	delete(rec.Owes, in.Node)
	if err := l.store(); err != nil {
		l.a.log.Warn("that a node is back is not stored", "cluster", in.Cluster, "node", in.Node, "err", err)
	}
}

// cameBackWhole tells that a server which ended was started again with all it
// had acknowledged, and has followed nobody since.
func (l *leases) cameBackWhole(in engine.Instance) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.backWhole[in.Key()]
}

func (l *leases) facts(in engine.Instance) (hadKeys, durable, lossless bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rec := l.records[in.Cluster]; rec != nil {
		return rec.HadKeys[in.Node], rec.Durable[in.Node], rec.Lossless[in.Node]
	}
	return false, false, false
}

// holderAddress is where the primary on record is.
func (l *leases) record(cluster string) (LeaseTerms, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rec := l.records[cluster]; rec != nil {
		return rec.LeaseTerms, true
	}
	return LeaseTerms{}, false
}

// LeaseState is the agent's end of a lease, in a report.
type LeaseState struct {
	Cluster    string      `json:"cluster"`
	Node       string      `json:"node"`
	Generation uint64      `json:"generation,string"`
	Stage      lease.Stage `json:"stage"`
	Sentence   string      `json:"sentence"`
	Guarded    bool        `json:"guarded"`
	// AloneSince is since when writes go on by promises of the other agents.
	AloneSince time.Time `json:"aloneSince,omitzero"`
}

// states are the ends of leases on this host, for the report.
func (l *leases) states() []LeaseState {
	l.mu.Lock()
	runs := make([]*leaseRun, 0, len(l.runs))
	for _, r := range l.runs {
		runs = append(runs, r)
	}
	l.mu.Unlock()
	var out []LeaseState
	for _, r := range runs {
		out = append(out, r.state())
	}
	slices.SortFunc(out, func(a, b LeaseState) int { return strings.Compare(a.Cluster+"/"+a.Node, b.Cluster+"/"+b.Node) })
	return out
}
