package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"baton/control/agent/guard"
	"baton/control/agent/supervise"
	"baton/control/engine"
	"baton/control/lease"
	agentpb "baton/gen/agent"

	"golang.org/x/sys/unix"
)

const (
	// fenceTime bounds one try to hold writes; the engine is on this host.
	fenceTime = 400 * time.Millisecond
	// killTime bounds ending an engine by force.
	killTime = 3 * time.Second
	// hungAfter is how long an engine may leave its own agent without any
	// answer before it is taken for dead and ended. Long commands block an
	// engine for seconds; a failover costs more.
	hungAfter = 10 * time.Second
	// softMost is the longest hold an engine takes at once.
	softMost = time.Minute
)

// guardEvery is how often a guardian is looked for while there is something to
// guard: one ends that had nothing to do for long, while an engine was stopped.
const guardEvery = 2 * time.Second

// leaseRun drives one Holder: it carries its effects out and tells it what
// came of them.
type leaseRun struct {
	l  *leases
	in engine.Instance

	mu     sync.Mutex
	h      *lease.Holder
	busy   map[lease.Effect]bool
	file   *os.File
	last   guard.State
	why    string // of a release
	silent time.Duration
	gone   bool          // the run is over
	looked time.Duration // for a guardian
	roster uint64        // number of the roster in use
	peers  []Peer        // agents beside it
}

func newLeaseRun(l *leases, in engine.Instance, t LeaseTerms) (*leaseRun, error) {
	if err := os.MkdirAll(guard.Dir(l.a.opt.Dir), 0o700); err != nil {
		return nil, err
	}
	path := guard.File(l.a.opt.Dir, in.Cluster, in.Node)
	was, known := guard.Read(path)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	r := &leaseRun{l: l, in: in, busy: map[lease.Effect]bool{}, file: f}
	r.h = lease.NewHolder(in.Cluster, in.Node, t.Generation, t.TTL)
	if known && was.Generation <= t.Generation && was.Good > 0 {
		r.h = lease.Resume(in.Cluster, in.Node, t.Generation, was.TTL, was.Good)
	}
	r.follow(t)
	if in.Process != "" {
		if _, _, running := l.a.super.Running(in.Process); !running {
			r.h.EngineEnded()
			r.why = "its engine does not run"
		}
	}
	return r, nil
}

func (r *leaseRun) close() { r.file.Close() }

func (r *leaseRun) loop(ctx context.Context) {
	tick := time.NewTicker(leaseTick)
	defer tick.Stop()
	defer r.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !r.step(ctx) {
			return
		}
	}
}

// step does what is due; false when the run is over.
func (r *leaseRun) step(ctx context.Context) bool {
	role, up, age := r.seen()
	now := guard.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return false
	}
	if role == engine.RoleReplica && up {
		if r.h.Held > now { // it was demoted while fenced: it takes no writes by itself now
			r.h.Lifted()
			go r.let(ctx)
		}
		if alone, _ := r.h.Alone(); alone {
			r.free()
		}
		if t, ok := r.l.record(r.in.Cluster); !ok || t.Holder != r.in.Node {
			r.end()
			go r.l.back(r.in)
			return false
		}
		// On record as the holder and not yet, or not any more, a primary.
		r.afresh()
		r.save()
		return true
	}
	if up || r.h.Stage == lease.Ended || r.h.Stage == lease.Returning {
		r.silent = 0
	} else if r.silent == 0 {
		r.silent = now - min(age, hungAfter/2)
	} else if now-r.silent > hungAfter && r.h.Enrolled && !r.busy[lease.HardFence] {
		r.why = fmt.Sprintf("its engine did not answer for %s and was ended", hungAfter)
		r.effect(ctx, lease.HardFence, now)
	}
	for _, e := range r.h.Tick(now) {
		r.effect(ctx, e, now)
	}
	r.save()
	if r.last.Deadline != 0 && now-r.looked >= guardEvery {
		r.looked = now
		go r.l.guard()
	}
	return true
}

// seen is what the last look at the engine found, and how old it is.
func (r *leaseRun) seen() (role engine.Role, up bool, age time.Duration) {
	w := r.l.a.find(r.in.Cluster, r.in.Node)
	if w == nil {
		return "", false, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest == nil {
		return "", true, 0 // not looked at yet
	}
	return w.latest.Role, w.latest.Up, time.Since(w.latest.At)
}

// end gives the run up; r.mu is held.
func (r *leaseRun) end() {
	r.gone = true
	r.last = guard.State{Generation: r.h.Generation}
	_ = guard.Write(r.file, r.last)
	r.l.mu.Lock()
	if r.l.runs[r.in.Key()] == r {
		delete(r.l.runs, r.in.Key())
	}
	r.l.mu.Unlock()
}

// abandon ends the run because the cluster has no lease any more, and lets
// writes go.
func (r *leaseRun) abandon() {
	r.mu.Lock()
	held := r.h.Held > guard.Now()
	r.gone = true
	_ = guard.Write(r.file, guard.State{Generation: r.h.Generation})
	r.mu.Unlock()
	if held {
		r.let(context.Background())
	}
}

// save tells the guardian and the next agent; r.mu is held.
func (r *leaseRun) save() {
	s := guard.State{Generation: r.h.Generation, Deadline: r.h.HardDeadline(), TTL: r.h.Terms.TTL}
	if r.h.Enrolled {
		s.Good = r.h.Good
	}
	s.PID, s.Ticks = r.process()
	if s == r.last {
		return
	}
	if err := guard.Write(r.file, s); err != nil {
		r.l.a.log.Error("the state of a lease is not written", "cluster", r.in.Cluster, "node", r.in.Node, "err", err)
		return
	}
	r.last = s
}

// process is the engine's process, also when something else started it.
func (r *leaseRun) process() (pid int, ticks uint64) {
	if r.in.Process != "" {
		if pid, ticks, ok := r.l.a.super.Running(r.in.Process); ok {
			return pid, ticks
		}
		return 0, 0
	}
	if w := r.l.a.find(r.in.Cluster, r.in.Node); w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.pid, w.ticks
	}
	return 0, 0
}

// effect begins one effect, once at a time; r.mu is held.
func (r *leaseRun) effect(ctx context.Context, e lease.Effect, now time.Duration) {
	switch e {
	case lease.SendRenewal:
		r.l.send(&agentpb.FromAgent{Message: &agentpb.FromAgent_LeaseRenewal{LeaseRenewal: &agentpb.LeaseRenewal{
			Cluster: r.in.Cluster, Generation: r.h.Generation, Node: r.in.Node, Number: r.h.Renewal(),
			Holding: r.h.Enrolled, Guarded: guard.Alive(r.l.a.opt.Dir), Roster: r.roster}}})
		return
	case lease.AskPromises:
		r.ask()
		return
	case lease.FreePromises:
		r.free()
		return
	case lease.SendRelease:
		r.release()
		return
	}
	if r.busy[e] {
		return
	}
	r.busy[e] = true
	soft := min(r.h.SoftFor(now), softMost)
	go func() {
		switch e {
		case lease.SoftFence:
			r.hold(ctx, soft)
		case lease.LiftFence:
			if r.let(ctx) {
				r.mu.Lock()
				r.h.Lifted()
				r.mu.Unlock()
			}
		case lease.HardFence:
			r.kill(ctx)
		case lease.StartEngine:
			r.start()
		}
		r.mu.Lock()
		r.busy[e] = false
		r.mu.Unlock()
	}()
}

// release says that no writes are taken here; only where nothing else starts
// the engine again. r.mu is held.
func (r *leaseRun) release() {
	if r.in.Process == "" {
		return
	}
	_, durable, lossless := r.l.facts(r.in)
	restartable := durable && r.empty() == ""
	r.l.send(&agentpb.FromAgent{Message: &agentpb.FromAgent_LeaseRelease{LeaseRelease: &agentpb.LeaseRelease{
		Cluster: r.in.Cluster, Generation: r.h.Generation, Node: r.in.Node, Why: r.why,
		Restartable: restartable, Lossless: restartable && lossless}}})
}

func (r *leaseRun) hold(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, fenceTime)
	defer cancel()
	began := guard.Now()
	_, err := r.l.a.drivers[r.in.Engine].Do(ctx, r.in, engine.Action{Name: engine.PauseWrites,
		Args: map[string]string{"ms": fmt.Sprint(d.Milliseconds())}})
	if err != nil {
		r.l.a.log.Warn("writes could not be held after the lease was lost", "cluster", r.in.Cluster, "node", r.in.Node, "err", err)
		return
	}
	r.mu.Lock()
	first := r.h.Stage == lease.Fencing
	r.h.Fenced(began + d)
	r.save()
	r.mu.Unlock()
	if first {
		r.l.a.log.Warn("the lease was lost: writes are held", "cluster", r.in.Cluster, "node", r.in.Node)
	}
}

// let lets writes go, but not those an operation holds.
func (r *leaseRun) let(ctx context.Context) bool {
	r.l.mu.Lock()
	until := r.l.pauses[r.in.Key()]
	r.l.mu.Unlock()
	if until > guard.Now() {
		return false // tried again until that is over
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTime)
	defer cancel()
	_, err := r.l.a.drivers[r.in.Engine].Do(ctx, r.in, engine.Action{Name: engine.UnpauseWrites})
	if err != nil {
		r.l.a.log.Warn("writes could not be let go; they go on by themselves within a minute", "cluster", r.in.Cluster, "node", r.in.Node, "err", err)
		return false
	}
	return true
}

// kill ends the engine by force and keeps it ended where this agent started it.
func (r *leaseRun) kill(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	r.l.a.log.Warn("the primary is ended by force: its lease is lost", "cluster", r.in.Cluster, "node", r.in.Node)
	if r.in.Process != "" {
		if err := r.l.a.super.Kill(ctx, r.in.Process); err != nil {
			r.l.a.log.Error("the primary could not be ended", "cluster", r.in.Cluster, "node", r.in.Node, "err", err)
			return
		}
		r.engineEnded("its lease was lost and its engine was ended")
		return
	}
	r.mu.Lock()
	pid, ticks := r.process()
	r.mu.Unlock()
	if pid > 1 && supervise.Alive(pid, ticks) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// engineEnded says so to the lease and, at once, to the control plane.
func (r *leaseRun) engineEnded(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return
	}
	if r.why == "" || r.h.Stage != lease.Ended {
		if r.why == "" || why != "its engine ended by itself" {
			r.why = why
		}
	}
	r.h.EngineEnded()
	for _, e := range r.h.Tick(guard.Now()) {
		if e == lease.SendRelease {
			r.release()
		}
	}
	r.save()
}

// wanted makes a stopped engine come back with the next grant.
func (r *leaseRun) wanted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.h.Stage != lease.Ended {
		return false
	}
	r.h.Return()
	return true
}

func (r *leaseRun) start() {
	fail := func(err error) {
		r.l.a.log.Error("the primary is not started again", "cluster", r.in.Cluster, "node", r.in.Node, "err", err)
		r.mu.Lock()
		r.why = "its engine could not be started again: " + err.Error()
		r.mu.Unlock()
		r.engineEnded(r.why)
	}
	if why := r.empty(); why != "" {
		fail(fmt.Errorf("%s", why))
		return
	}
	if _, _, err := r.l.a.super.Resume(r.in.Process, []string{"--replicaof", "no", "one"}); err != nil {
		fail(err)
		return
	}
	r.mu.Lock()
	r.why, r.silent = "", 0
	r.save()
	r.mu.Unlock()
}

// empty says why a former primary must not start as primary: it held data and
// there are none on disk. "" when it may.
func (r *leaseRun) empty() string {
	had, _, _ := r.l.facts(r.in)
	if !had || r.in.Dir == "" {
		return ""
	}
	for _, pattern := range []string{"*.rdb", "*.aof", "appendonlydir/*.aof", "appendonlydir/*.rdb"} {
		files, _ := filepath.Glob(filepath.Join(r.in.Dir, pattern))
		for _, f := range files {
			if st, err := os.Stat(f); err == nil && st.Size() > 0 {
				return ""
			}
		}
	}
	return r.in.Node + " held data and has none on disk: it is not started as an empty primary"
}

func (r *leaseRun) answered(m LeaseAnswer) {
	now := guard.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone || m.Generation != r.h.Generation {
		return
	}
	was := r.h.Stage
	var effects []lease.Effect
	if m.Granted {
		effects = r.h.Granted(m.Number, m.TTL, now)
	} else {
		effects = r.h.Refused(m.Code, now)
	}
	for _, e := range effects {
		r.effect(context.Background(), e, now)
	}
	r.save()
	if was != r.h.Stage {
		r.l.a.log.Info("lease", "cluster", r.in.Cluster, "node", r.in.Node, "generation", r.h.Generation, "stage", r.h.Stage, "answer", m.Code)
	}
}

func (r *leaseRun) fenced() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := guard.Now()
	switch r.h.Stage {
	case lease.Fencing, lease.FencedSoft:
		role, up, _ := r.seen()
		return !(up && role == engine.RoleReplica)
	}
	return r.h.Held > now
}

func (r *leaseRun) state() LeaseState {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := guard.Now()
	return LeaseState{Cluster: r.in.Cluster, Node: r.in.Node, Generation: r.h.Generation, Stage: r.h.Stage,
		Sentence: r.h.Sentence(now), Guarded: guard.Alive(r.l.a.opt.Dir), AloneSince: r.aloneSince(now)}
}
