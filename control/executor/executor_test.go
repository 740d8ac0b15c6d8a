package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// plane is one life of a control plane over a world and a journal.
type plane struct {
	w      *world
	j      *journal.Memory
	inv    *inventory.Inventory
	exec   *Executor
	cancel context.CancelFunc
	ctx    context.Context
}

var term uint64
var termMu sync.Mutex

func nextTerm() uint64 {
	termMu.Lock()
	defer termMu.Unlock()
	term++
	return term
}

// Facts implements Facts over the world and the inventory.
func (p *plane) Facts(id string) (plan.Facts, bool) {
	c, ok := p.inv.Cluster(id)
	f := p.w.facts(c.Running, c.Generation)
	return f, ok
}

// Fresh implements Facts.
func (p *plane) Fresh(_ context.Context, id string, _ time.Time) plan.Facts {
	f, _ := p.Facts(id)
	return f
}

func testLog() *slog.Logger {
	if os.Getenv("BATON_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

func start(t *testing.T, w *world, j *journal.Memory) *plane {
	return startWith(t, w, j, func(*plane) {})
}

// startWith calls prepare before unfinished operations are resumed.
func startWith(t *testing.T, w *world, j *journal.Memory, prepare func(*plane)) *plane {
	t.Helper()
	p := &plane{w: w, j: j, inv: inventory.New(j, testLog())}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go func() { _ = p.inv.Run(p.ctx) }()
	<-p.inv.Ready()
	if _, ok := p.inv.Cluster("c"); !ok {
		s := inventory.Spec{ID: "c", Name: "c", Engine: w.eng}
		for _, n := range []string{"a", "b", "s", "x"} {
			if w.nodes[n] != nil {
				s.Members = append(s.Members, inventory.Member{Name: n, Address: w.nodes[n].addr, Priority: 100})
			}
		}
		if err := p.inv.Register(p.ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	p.exec = New(Options{Journal: j, Inventory: p.inv, Agents: w, Facts: p, Audit: audit.NewLog(j), Term: nextTerm(), Log: testLog(),
		Now: time.Now, Patience: 5 * time.Second, Backoff: time.Millisecond, Sweep: 50 * time.Millisecond, Guard: 10 * time.Millisecond})
	prepare(p)
	p.exec.Start(p.ctx)
	t.Cleanup(p.stop)
	return p
}

func (p *plane) stop() {
	p.cancel()
	p.exec.Wait()
}

func (p *plane) request(node string) Request {
	pl, err := p.exec.Plan("c", node)
	if err != nil {
		panic(err)
	}
	return Request{Cluster: "c", Node: node, TypedName: node, ReportHash: pl.Report.Hash, Generation: pl.Generation,
		Who: audit.Who{Name: "ann", Role: "operator", Source: "api", IP: "127.0.0.1"}}
}

// end waits until the operation is over.
func (p *plane) end(t *testing.T, id string) operation.Operation {
	t.Helper()
	notices, cancel := p.inv.Watch(64)
	defer cancel()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	for {
		if o, ok := p.inv.Operation(id); ok && o.State.Final() {
			return o
		}
		select {
		case <-notices:
		case <-deadline.C:
			o, _ := p.inv.Operation(id)
			t.Fatalf("operation did not end: %s past=%v steps=%+v\nlast orders: %v", o.State, o.Past, o.Steps, p.w.seen[max(0, len(p.w.seen)-12):])
		}
	}
}

func (p *plane) promote(t *testing.T, node string) operation.Operation {
	t.Helper()
	id, err := p.exec.Promote(p.ctx, p.request(node))
	if err != nil {
		t.Fatal(err)
	}
	return p.end(t, id)
}

func (w *world) mustHold(t *testing.T) {
	t.Helper()
	if err := w.check(); err != nil {
		t.Error(err)
	}
	w.mu.Lock()
	before := len(w.acked)
	w.mu.Unlock()
	if !w.soon(func() bool { return len(w.acked) > before }) {
		t.Error("no write is taken any more")
	}
}

// TestPromotion: the roles change, nothing acknowledged is lost, the others
// follow by partial resync, everything is journalled, and between the pause
// and the promotion stands one append.
func TestPromotion(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	j := journal.NewMemory(time.Now)
	p := start(t, w, j)
	appends := 0
	stalled := false
	w.onOrder = func(_ *world, o agent.Order) {
		switch o.Action.Name {
		case engine.PauseWrites:
			stalled = true
		case engine.Promote:
			stalled = false
		}
	}
	j.Before = func(string, []journal.Event) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if stalled {
			appends++
		}
		return nil
	}
	o := p.promote(t, "b")
	w.mustHold(t)
	if o.State != operation.StateDone || o.Candidate != "b" || o.Generation != 1 || !o.Past {
		t.Errorf("ended %s with %s in generation %d: %s", o.State, o.Candidate, o.Generation, o.Outcome)
	}
	if appends != 1 {
		t.Errorf("%d appends while writes wait", appends)
	}
	for _, s := range o.Steps {
		if s.State != operation.StepDone {
			t.Errorf("step %s is %s: %s", s.ID, s.State, s.Detail)
		}
	}
	if o.Proof == nil || o.Proof.Lost == nil || *o.Proof.Lost != 0 || *o.Proof.Acked == 0 || o.Proof.PositionOld != o.Proof.PositionNew {
		t.Errorf("proof %+v", o.Proof)
	}
	if o.Stall == nil || o.Stall.AgentMs == nil || *o.Stall.AgentMs <= 0 || *o.Stall.ProbeMs != 4.2 {
		t.Errorf("stall %+v", o.Stall)
	}
	w.mu.Lock()
	for _, n := range w.nodes {
		if n.persisted != n.role || n.fullSyncs != 0 {
			t.Errorf("%s: persisted %s, role %s, %d full syncs", n.name, n.persisted, n.role, n.fullSyncs)
		}
	}
	w.mu.Unlock()
	records := audits(t, p, 1)
	if r := records[0]; r.Outcome != audit.Done || r.Change.To != "b" || r.Change.UndoUntil == nil || len(r.Change.Report.Checks) == 0 || len(r.Change.Rejected) != 2 {
		t.Errorf("audit %+v", r)
	}
	if n, bad := p.inv.VerifyAudit("c"); n != 1 || bad != -1 {
		t.Errorf("chain of %d breaks at %d", n, bad)
	}

	// And back: the same operation with the roles exchanged.
	_, node, err := p.exec.UndoTarget(o.Operation)
	if err != nil || node != "a" {
		t.Fatalf("undo to %q: %v", node, err)
	}
	r := p.request("a")
	r.UndoOf = o.Operation
	id, err := p.exec.Promote(p.ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if back := p.end(t, id); back.State != operation.StateDone || back.Kind != operation.SwitchBack || back.Candidate != "a" || back.Generation != 2 {
		t.Errorf("switch back: %s %s to %s in %d: %s", back.Kind, back.State, back.Candidate, back.Generation, back.Outcome)
	}
	w.mustHold(t)
	if _, _, err := p.exec.UndoTarget(o.Operation); !errors.Is(err, ErrUndo) {
		t.Errorf("an operation is switched back twice: %v", err)
	}
}

// audits waits for n records and returns them, newest first.
func audits(t *testing.T, p *plane, n int) []audit.Record {
	t.Helper()
	var records []audit.Record
	eventually(t, "audit records", func() bool {
		records, _ = p.inv.Audit("c", 0, 1000)
		return len(records) >= n
	})
	if len(records) != n {
		t.Fatalf("%d audit records, want %d", len(records), n)
	}
	return records
}

// TestRefusals: each wrong request is refused by its own error, and no order
// reaches an agent.
func TestRefusals(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	p := start(t, w, journal.NewMemory(time.Now))
	if err := p.inv.Register(p.ctx, inventory.Spec{ID: "other", Engine: engine.Redis, Members: []inventory.Member{{Name: "z"}}}); err != nil {
		t.Fatal(err)
	}
	good := p.request("b")
	with := func(f func(*Request)) Request { r := good; f(&r); return r }
	var stale *StaleError
	var refused *RefusedError
	var unknown *UnknownNodeError
	for name, c := range map[string]struct {
		r  Request
		is func(error) bool
	}{
		"wrong typed name":  {with(func(r *Request) { r.TypedName = "B" }), func(err error) bool { return errors.Is(err, ErrTypedName) }},
		"empty typed name":  {with(func(r *Request) { r.TypedName = "" }), func(err error) bool { return errors.Is(err, ErrTypedName) }},
		"stale hash":        {with(func(r *Request) { r.ReportHash = "0" }), func(err error) bool { return errors.As(err, &stale) && stale.Fresh.Hash == good.ReportHash }},
		"another's hash":    {with(func(r *Request) { r.Node, r.TypedName = "s", "s" }), func(err error) bool { return errors.As(err, &stale) }},
		"wrong generation":  {with(func(r *Request) { r.Generation = 7 }), func(err error) bool { return errors.As(err, &stale) }},
		"unknown cluster":   {with(func(r *Request) { r.Cluster = "nope" }), func(err error) bool { return errors.Is(err, ErrUnknownCluster) }},
		"unknown node":      {with(func(r *Request) { r.Node, r.TypedName = "q", "q" }), func(err error) bool { return errors.As(err, &unknown) && unknown.Other == "" }},
		"another cluster's": {with(func(r *Request) { r.Node, r.TypedName = "z", "z" }), func(err error) bool { return errors.As(err, &unknown) && unknown.Other == "other" }},
		"primary already": {p.request("a"), func(err error) bool {
			return errors.As(err, &refused) && strings.Contains(err.Error(), "primary already")
		}},
	} {
		if _, err := p.exec.Promote(p.ctx, c.r); !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.mu.Lock()
	w.nodes["b"].up = false
	w.mu.Unlock()
	if _, err := p.exec.Promote(p.ctx, good); !errors.As(err, &stale) {
		t.Errorf("a node that went down since the report: %v", err)
	}
	if _, err := p.exec.Promote(p.ctx, p.request("b")); !errors.As(err, &refused) {
		t.Errorf("a node that is down: %v", err)
	}
	if len(w.seen) != 0 {
		t.Errorf("orders were sent: %v", w.seen)
	}
	if c, _ := p.inv.Cluster("c"); c.Generation != 0 || c.Running != "" {
		t.Errorf("cluster changed: %+v", c)
	}
}

// TestTwoAtOnce: of many that press the button together one wins and the
// others are told which operation runs.
func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	p := start(t, w, journal.NewMemory(time.Now))
	rb, rs := p.request("b"), p.request("s")
	type answer struct {
		id  string
		err error
	}
	answers := make(chan answer, 8)
	for i := range 8 {
		r := rb
		if i%2 == 1 {
			r = rs
		}
		go func() {
			id, err := p.exec.Promote(p.ctx, r)
			answers <- answer{id, err}
		}()
	}
	won := ""
	var named []string
	for range 8 {
		a := <-answers
		var running *RunningError
		var stale *StaleError
		switch {
		case a.err == nil && won == "":
			won = a.id
		case errors.As(a.err, &running):
			named = append(named, running.Operation)
		case errors.As(a.err, &stale): // it came after the first had ended
		default:
			t.Errorf("answer %q, %v", a.id, a.err)
		}
	}
	for _, n := range named {
		if n != won {
			t.Errorf("refused naming %s, %s won", n, won)
		}
	}
	if o := p.end(t, won); o.State != operation.StateDone {
		t.Errorf("ended %s: %s", o.State, o.Outcome)
	}
	w.mustHold(t)
}

// TestFailures: what happens when something breaks at a given moment.
func TestFailures(t *testing.T) {
	on := func(action, node string, f func(w *world)) func(*world, agent.Order) {
		done := false
		return func(w *world, o agent.Order) {
			if o.Action.Name == action && o.Node == node && !done {
				done = true
				f(w)
			}
		}
	}
	kill := func(n string) func(*world) { return func(w *world) { w.nodes[n].up = false } }
	for _, c := range []struct {
		name      string
		on        func(*world, agent.Order)
		state     operation.State
		candidate string
		primary   string
		gen       uint64
		says      string
	}{
		{"candidate_dies_before_pause", on(engine.PauseWrites, "a", kill("b")), operation.StateRolledBack, "b", "a", 0, "does not answer"},
		{"candidate_freezes_before_pause", on(engine.PauseWrites, "a", func(w *world) { w.nodes["b"].frozen = true; w.nodes["b"].data = nil }), operation.StateRolledBack, "b", "a", 0, "did not reach"},
		{"a_writer_ignores_the_pause", on(engine.PauseWrites, "a", func(w *world) { w.nodes["a"].leaks = true }), operation.StateRolledBack, "b", "a", 0, "still moves"},
		{"candidate_dies_at_promotion", on(engine.Promote, "b", kill("b")), operation.StateDone, "s", "s", 2, "chosen instead of b"},
		{"candidate_and_sibling_die", on(engine.Promote, "b", func(w *world) { kill("b")(w); kill("s")(w) }), operation.StateRolledBack, "a", "a", 2, "Returned to a"},
		{"sibling_is_behind_then_old_returns", on(engine.Promote, "b", func(w *world) { kill("b")(w); w.nodes["s"].frozen = true; w.nodes["s"].data = w.nodes["s"].data[:1] }), operation.StateRolledBack, "a", "a", 2, "Returned to a"},
		{"candidates_agent_is_lost_before_promotion", on(engine.Promote, "b", func(w *world) { w.nodes["b"].linked = false; kill("b")(w) }), operation.StateDone, "s", "s", 2, "chosen instead of b"},
		{"candidate_takes_a_write_and_dies_before_it_answers", func() func(*world, agent.Order) {
			n := 0
			return func(w *world, o agent.Order) {
				b := w.nodes["b"]
				switch {
				case o.Action.Name == engine.Promote && o.Node == "b" && n == 0:
					n, b.dies = 1, true
				case n > 0 && !b.up:
					if n++; n == 8 { // its agent starts it again, in its role on file
						b.up, b.role = true, engine.RoleReplica
					}
				}
			}
		}(), operation.StateDone, "b", "b", 1, "b is the primary"},
		{"old_primary_dies_in_the_pause", on(engine.Demote, "a", kill("a")), operation.StateDone, "b", "b", 1, "a follows it"},
		{"old_primary_restarts_in_the_pause", on(engine.Demote, "a", func(w *world) {
			a := w.nodes["a"] // back as a primary without the pause, with writes of its own
			a.pausedUntil, a.replid = time.Time{}, "r-restarted"
			w.write()
		}), operation.StateDone, "b", "b", 1, "a follows it"},
		{"old_primary_restarts_and_the_candidate_cannot_follow", on(engine.Demote, "a", func(w *world) {
			a := w.nodes["a"]
			a.pausedUntil, a.replid = time.Time{}, "r-restarted"
			w.nodes["b"].frozen = true
			w.write()
		}), operation.StateRolledBack, "a", "a", 2, "Returned to a"},
		{"sibling_dies_at_repoint", on(engine.Repoint, "s", kill("s")), operation.StateDone, "b", "b", 1, "Needs attention"},
		{"old_primarys_agent_comes_back", func() func(*world, agent.Order) {
			n := 0
			return func(w *world, o agent.Order) {
				if o.Node == "a" && o.Action.Name == engine.Demote {
					n++
					w.nodes["a"].linked = n > 5
				} else if o.Node == "a" && n > 0 && n <= 5 {
					n++
				}
			}
		}(), operation.StateDone, "b", "b", 1, "b is the primary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "a", "b", "s")
			p := start(t, w, journal.NewMemory(time.Now))
			w.onOrder = c.on
			o := p.promote(t, "b")
			if o.State != c.state || o.Candidate != c.candidate || o.Generation != c.gen || !strings.Contains(o.Outcome, c.says) {
				t.Errorf("ended %s with %s in generation %d: %s", o.State, o.Candidate, o.Generation, o.Outcome)
			}
			w.mu.Lock()
			got := w.primary()
			w.mu.Unlock()
			if got == nil || got.name != c.primary {
				t.Errorf("primary is %+v, want %s", got, c.primary)
			}
			w.mu.Lock()
			for _, n := range w.nodes { // who was killed stays away
				if !n.up {
					n.role = engine.RoleReplica
				}
				if n.leaks {
					n.leaks = false
				}
			}
			w.mu.Unlock()
			w.mustHold(t)
			audits(t, p, 1)
		})
	}
}

// TestSuperseded: an agent that has heard a newer control plane refuses, and
// this one stops without touching anything more.
func TestSuperseded(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	p := start(t, w, journal.NewMemory(time.Now))
	w.onOrder = func(w *world, o agent.Order) {
		if o.Action.Name == engine.PauseWrites {
			w.nodes["a"].fence = agent.Fence{Generation: 99}
		}
	}
	id, err := p.exec.Promote(p.ctx, p.request("b"))
	if err != nil {
		t.Fatal(err)
	}
	p.exec.wgWait(t)
	if o, _ := p.inv.Operation(id); o.State != operation.StateRunning {
		t.Errorf("operation is %s: %s", o.State, o.Outcome)
	}
	if last := w.seen[len(w.seen)-1]; last != engine.PauseWrites+" a" {
		t.Errorf("went on to %s", last)
	}
}

// wgWait waits until nothing is driven.
func (e *Executor) wgWait(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is driven any more", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.driving) == 0
	})
}

// eventually polls a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(time.Millisecond), time.NewTimer(2*time.Minute)
	defer tick.Stop()
	defer limit.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("never: %s", what)
		}
	}
}

// TestEventStore: leadership goes to a follower, to a clone, and stays when
// the candidate cannot win.
func TestEventStore(t *testing.T) {
	for _, c := range []struct {
		name  string
		role  engine.Role
		setup func(*world)
		state operation.State
		gen   uint64
	}{
		{"follower", engine.RoleReplica, nil, operation.StateDone, 1},
		{"clone", engine.RoleClone, nil, operation.StateDone, 1},
		{"follower_that_cannot_win", engine.RoleReplica, func(w *world) { w.nodes["b"].frozen = true }, operation.StateRolledBack, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "a", "b", "s", "x")
			w.mu.Lock()
			w.eng, w.term = engine.EventStore, 3
			w.nodes["b"].role = c.role
			if c.setup != nil {
				c.setup(w)
			}
			w.mu.Unlock()
			p := start(t, w, journal.NewMemory(time.Now))
			o := p.promote(t, "b")
			if o.State != c.state || o.Generation != c.gen {
				t.Errorf("ended %s in generation %d: %s", o.State, o.Generation, o.Outcome)
			}
			hasClone := false
			for _, s := range o.Steps {
				hasClone = hasClone || s.ID == plan.StepPromoteClone
			}
			if hasClone != (c.role == engine.RoleClone) {
				t.Errorf("clone step in plan: %v", hasClone)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			want := map[operation.State]string{operation.StateDone: "b", operation.StateRolledBack: "a"}[c.state]
			if pr := w.primary(); pr == nil || pr.name != want {
				t.Errorf("leader %+v", pr)
			}
			if c.state == operation.StateDone && (o.Stall == nil || *o.Stall.AgentMs != 3.5) {
				t.Errorf("stall %+v", o.Stall)
			}
		})
	}
}

// TestPlansMatchProcedures: every step a plan can have is one the procedure
// knows, in the same order, with one point of no return.
func TestPlansMatchProcedures(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	for _, eng := range []string{engine.Redis, engine.EventStore} {
		w.mu.Lock()
		w.eng = eng
		w.nodes["b"].role = engine.RoleClone
		w.mu.Unlock()
		f := w.facts("", 0)
		pl := plan.Promote(&f, "b")
		var steps, known []string
		for _, s := range pl.Steps {
			steps = append(steps, s.ID)
			if s.PointOfNoReturn != (s.ID == plan.StepCommit) || s.Undo == "" || s.Title == "" || s.Command == "" || s.Timeout <= 0 {
				t.Errorf("step %+v", s)
			}
		}
		for _, s := range kindTable()[kindKey{operation.Promotion, eng}].procedure {
			known = append(known, s.id)
		}
		if fmt.Sprint(steps) != fmt.Sprint(known) {
			t.Errorf("%s: plan %v, procedure %v", eng, steps, known)
		}
	}
	if _, err := json.Marshal(plan.Plan{}); err != nil {
		t.Error(err)
	}
}

// TestLostAnswer: the journal takes the request and its answer is lost. Nobody
// may go on with it on a guess: it is picked up and taken back.
func TestLostAnswer(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	j := journal.NewMemory(time.Now)
	p := start(t, w, j)
	lost := errors.New("timeout")
	j.After = func(_ string, e []journal.Event) error {
		if e[0].Type == "operation-requested" {
			return lost
		}
		return nil
	}
	if _, err := p.exec.Promote(p.ctx, p.request("b")); !errors.Is(err, lost) {
		t.Fatalf("promotion: %v", err)
	}
	var c inventory.Cluster
	eventually(t, "the request is there", func() bool {
		c, _ = p.inv.Cluster("c")
		return len(c.Operations) == 1
	})
	if o := p.end(t, c.Operations[0]); o.State != operation.StateRolledBack {
		t.Errorf("ended %s: %s", o.State, o.Outcome)
	}
	w.mustHold(t)
	audits(t, p, 1)
}

// TestLostAudit: an audit record the journal did not take is written later,
// once.
func TestLostAudit(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	j := journal.NewMemory(time.Now)
	p := start(t, w, j)
	failures := 1
	j.Before = func(stream string, _ []journal.Event) error {
		if stream == audit.Stream("c") && failures > 0 {
			failures--
			return errors.New("disk is busy")
		}
		return nil
	}
	if o := p.promote(t, "b"); o.State != operation.StateDone {
		t.Fatalf("ended %s", o.State)
	}
	if r := audits(t, p, 1); r[0].Outcome != audit.Done || failures != 0 {
		t.Errorf("%+v", r[0])
	}
}

// TestClientGone: the person's connection ends right after the request; the
// operation goes on.
func TestClientGone(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	p := start(t, w, journal.NewMemory(time.Now))
	gone, cancel := context.WithCancel(context.Background())
	r := p.request("b")
	cancel()
	id, err := p.exec.Promote(gone, r)
	if err != nil {
		t.Fatal(err)
	}
	if o := p.end(t, id); o.State != operation.StateDone {
		t.Errorf("ended %s: %s", o.State, o.Outcome)
	}
}

// TestSecondPrimary: a deposed primary that comes back as a primary is demoted
// and that is audited; a primary moved by hand is left alone.
func TestSecondPrimary(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	p := start(t, w, journal.NewMemory(time.Now))
	if o := p.promote(t, "b"); o.State != operation.StateDone {
		t.Fatalf("ended %s", o.State)
	}
	role := func(n string) engine.Role {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.nodes[n].role
	}
	w.mu.Lock()
	w.nodes["a"].role, w.nodes["a"].of = engine.RolePrimary, ""
	held := len(w.nodes["a"].data)
	w.mu.Unlock()
	eventually(t, "a is demoted", func() bool { return role("a") == engine.RoleReplica })
	if r := audits(t, p, 2); r[0].Source != "auto" || r[0].Node != "a" || r[0].Outcome != audit.Done {
		t.Errorf("%+v", r[0])
	}
	w.mu.Lock()
	if w.nodes["a"].of != w.nodes["b"].addr || w.nodes["a"].persisted != engine.RoleReplica || len(w.nodes["a"].kept) < held {
		t.Errorf("a: %+v", w.nodes["a"])
	}
	w.mu.Unlock()
	// It comes back as a replica itself and nobody is primary.
	w.mu.Lock()
	w.nodes["b"].role, w.nodes["b"].of = engine.RoleReplica, w.nodes["a"].addr
	w.mu.Unlock()
	eventually(t, "b is promoted again", func() bool { return role("b") == engine.RolePrimary })
	if r := audits(t, p, 3); r[0].Node != "b" || r[0].Outcome != audit.Done {
		t.Errorf("%+v", r[0])
	}
	// It comes back with less than the others: that is for a human.
	w.mu.Lock()
	b := w.nodes["b"]
	for _, n := range w.nodes {
		n.frozen = true // else the others would soon hold as little
	}
	b.role, b.of, b.data = engine.RoleReplica, w.nodes["a"].addr, b.data[:1]
	w.mu.Unlock()
	if d := due(p); len(d) != 0 {
		t.Errorf("a server that lost its data: %+v", d)
	}
	w.mu.Lock()
	// Somebody moved it to s by hand: s is primary, b is not.
	w.nodes["s"].role, w.nodes["s"].of = engine.RolePrimary, ""
	w.nodes["b"].role, w.nodes["b"].of = engine.RoleReplica, w.nodes["s"].addr
	n := len(w.seen)
	w.mu.Unlock()
	if d := due(p); len(d) != 0 {
		t.Errorf("somebody else is primary: %+v", d)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) != n {
		t.Errorf("orders %v", w.seen[n:])
	}
}
