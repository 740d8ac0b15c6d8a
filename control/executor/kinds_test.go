package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// A kind of operation for these tests: it makes a thing at each of three
// agents, the last beyond the point of no return where the plan marks it.
const testKind = "test-kind"

// things is the procedure. hold, when not nil, is waited for before the second
// thing is made; fail makes a step fail.
func things(resumes bool, hold <-chan struct{}, fail map[string]bool) kind {
	at := func(node string) step {
		order := func(ctx context.Context, r *run, action string) error {
			return r.again(ctx, func() error {
				_, err := r.orderAgent(ctx, "agent-"+node, action, orderTimeout, "thing", r.op.Plan.Arg("thing"))
				return err
			})
		}
		return step{id: "make-" + node, do: func(ctx context.Context, r *run) (outcome, error) {
			if node == "b" && hold != nil {
				select {
				case <-hold:
				case <-ctx.Done():
					return outcome{}, ctx.Err()
				}
			}
			if fail[node] {
				return outcome{}, errors.New("it cannot be made")
			}
			return outcome{detail: "made", values: map[string]string{"made": "yes"}}, order(ctx, r, makeThing)
		}, undo: func(ctx context.Context, r *run) (string, error) {
			return "dropped", order(ctx, r, dropThing)
		}}
	}
	return kind{procedure: procedure{at("a"), at("b"), at("s")}, resumes: resumes, yields: true,
		outcome: func(r *run) string { return "Made: " + r.value("make-a", "made") }}
}

func submission(past bool) Submission {
	return Submission{Cluster: "c", Kind: testKind, Who: audit.Who{Name: "ann", Role: "admin", Source: "cli"}, Reason: "because",
		Build: func(f *plan.Facts) (plan.Plan, error) {
			return plan.Plan{Engine: f.Engine, Title: "make a thing everywhere", Args: map[string]string{"thing": "t"}, Steps: []plan.Step{
				{ID: "make-a", Title: "Make it at a"}, {ID: "make-b", Title: "Make it at b"}, {ID: "make-s", Title: "Make it at s", PointOfNoReturn: past}}}, nil
		}}
}

// withKind starts a control plane that knows the kind.
func withKind(t *testing.T, w *world, j *journal.Memory, k kind) *plane {
	return startWith(t, w, j, func(p *plane) { p.exec.kinds[kindKey{testKind, ""}] = k })
}

func (w *world) made() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, is := range w.things {
		if is {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// TestAnyKind: an operation that is no promotion runs to its end, leaves
// primary and generation as they are, and is audited with its own sentence.
func TestAnyKind(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	p := withKind(t, w, journal.NewMemory(time.Now), things(true, nil, nil))
	id, err := p.exec.Submit(p.ctx, submission(true))
	if err != nil {
		t.Fatal(err)
	}
	o := p.end(t, id)
	if o.State != operation.StateDone || o.Outcome != "Made: yes" || o.Generation != 0 || !o.Past || len(w.made()) != 3 {
		t.Errorf("ended %s, generation %d, past %v, made %v: %s", o.State, o.Generation, o.Past, w.made(), o.Outcome)
	}
	if _, ok := o.UndoUntil(); ok || o.Stall != nil || o.Proof != nil {
		t.Errorf("it has what only promotions have: %+v %+v", o.Stall, o.Proof)
	}
	r := audits(t, p, 1)
	if r[0].What != "make a thing everywhere" || r[0].Outcome != audit.Done || r[0].Change.Kind != testKind || r[0].Change.To != "" || r[0].Change.Reason != "because" {
		t.Errorf("audit %+v", r[0])
	}
	if c, _ := p.inv.Cluster("c"); c.Running != "" || c.LastChange != nil || len(c.Stalls) > 0 {
		t.Errorf("cluster %+v", c)
	}
	w.mustHold(t)
}

// TestAnyKindFails: before the marked step everything is taken back, from it
// on a human is asked.
func TestAnyKindFails(t *testing.T) {
	for node, want := range map[string]operation.State{"a": operation.StateRolledBack, "b": operation.StateRolledBack, "s": operation.StateNeedsHuman} {
		w := newWorld(t, "a", "b", "s")
		p := withKind(t, w, journal.NewMemory(time.Now), things(true, nil, map[string]bool{node: true}))
		id, err := p.exec.Submit(p.ctx, submission(true))
		if err != nil {
			t.Fatal(err)
		}
		o := p.end(t, id)
		if left := len(w.made()); o.State != want || want == operation.StateRolledBack && left != 0 || want == operation.StateNeedsHuman && left != 2 {
			t.Errorf("%s fails: ended %s with %v: %s", node, o.State, w.made(), o.Outcome)
		}
		if !strings.Contains(o.Outcome, "it cannot be made") {
			t.Errorf("%s fails: %s", node, o.Outcome)
		}
	}
}

// TestAnyKindKilledAtEveryMoment: as for promotions. Where every step may be
// repeated the next control plane goes on, else it takes back; nothing is ever
// left half done.
func TestAnyKindKilledAtEveryMoment(t *testing.T) {
	for _, resumes := range []bool{true, false} {
		t.Run(fmt.Sprintf("resumes_%v", resumes), func(t *testing.T) {
			t.Parallel()
			states := map[operation.State]int{}
			at := 1
			for ; at < 100; at++ {
				state, reached := anyKindKilledAt(t, at, resumes)
				states[state]++
				if !reached || t.Failed() {
					break
				}
			}
			t.Logf("%d moments: %v", at-1, states)
			if states[operation.StateDone] < 5 || !resumes && states[operation.StateRolledBack] < 5 || resumes && states[operation.StateRolledBack] > 0 {
				t.Errorf("moments %d: %v", at, states)
			}
		})
	}
}

func anyKindKilledAt(t *testing.T, at int, resumes bool) (operation.State, bool) {
	w := newWorld(t, "a", "b", "s")
	j := journal.NewMemory(time.Now)
	p := withKind(t, w, j, things(resumes, nil, nil))
	k := &killer{at: at, kill: p.cancel}
	w.before = func(o agent.Order) error { return k.moment("before order " + o.Action.Name) }
	w.after = func(o agent.Order) error { return k.moment("after order " + o.Action.Name) }
	j.Before = func(_ string, e []journal.Event) error { return k.moment(fmt.Sprint("before append of ", kinds(e))) }
	j.After = func(_ string, e []journal.Event) error { return k.moment(fmt.Sprint("after append of ", kinds(e))) }
	if _, err := p.exec.Submit(p.ctx, submission(true)); err == nil {
		p.exec.wgWait(t)
	}
	p.stop()
	w.before, w.after, j.Before, j.After = nil, nil, nil, nil
	p = withKind(t, w, j, things(resumes, nil, nil))
	p.exec.wgWait(t)
	state := operation.StateNone
	if c, _ := p.inv.Cluster("c"); len(c.Operations) > 0 {
		o := p.end(t, c.Operations[0])
		state = o.State
		audits(t, p, 1)
		if o.Generation != 0 {
			t.Errorf("moment %d (%s): generation %d", at, k.where, o.Generation)
		}
	}
	want := 0
	if state == operation.StateDone {
		want = 3
	}
	if made := w.made(); len(made) != want || state == operation.StateNeedsHuman {
		t.Errorf("moment %d (%s): ended %q with %v", at, k.where, state, made)
	}
	w.mustHold(t)
	return state, k.where != ""
}

// TestGivesWay: a failover does not wait for a long operation; that is taken
// back first. A promotion asked for by a person waits.
func TestGivesWay(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	hold := make(chan struct{})
	k := things(true, hold, nil)
	p := startWith(t, w, journal.NewMemory(time.Now), func(p *plane) {
		p.exec.kinds[kindKey{testKind, ""}] = k
		p.exec.kinds[kindKey{operation.Failover, engine.Redis}] = things(true, nil, nil)
	})
	long, err := p.exec.Submit(p.ctx, submission(true))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has begun", func() bool { return len(w.made()) == 1 })
	var running *RunningError
	if _, err := p.exec.Promote(p.ctx, Request{Cluster: "c", Node: "b", TypedName: "b"}); !errors.As(err, &running) || running.Operation != long {
		t.Errorf("promotion: %v", err)
	}
	if _, err := p.exec.Submit(p.ctx, submission(true)); !errors.As(err, &running) {
		t.Errorf("a second one: %v", err)
	}
	s := submission(false)
	s.Kind = operation.Failover
	id, err := p.exec.Submit(p.ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if o := p.end(t, long); o.State != operation.StateRolledBack || !strings.Contains(o.Outcome, "gave way") {
		t.Errorf("the long one ended %s: %s", o.State, o.Outcome)
	}
	if o := p.end(t, id); o.State != operation.StateDone {
		t.Errorf("the failover ended %s: %s", o.State, o.Outcome)
	}
	audits(t, p, 2)
}

// TestSubmitRefuses: each is refused and nothing is journalled.
func TestSubmitRefuses(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	j := journal.NewMemory(time.Now)
	p := withKind(t, w, j, things(true, nil, nil))
	seen, other := uint64(7), errors.New("no such host")
	spec, err := inventory.Spec{ID: "c", Name: "c", Engine: engine.Redis}.Event()
	if err != nil {
		t.Fatal(err)
	}
	var stale *StaleError
	var refused *RefusedError
	before := p.inv.Revision(inventory.Stream("c"))
	for name, c := range map[string]struct {
		change func(*Submission)
		want   func(error) bool
	}{
		"unknown cluster":  {func(s *Submission) { s.Cluster = "d" }, func(err error) bool { return errors.Is(err, ErrUnknownCluster) }},
		"wrong name typed": {func(s *Submission) { s.WantTyped, s.TypedName = "c", "с" /* Cyrillic */ }, func(err error) bool { return errors.Is(err, ErrTypedName) }},
		"stale generation": {func(s *Submission) { s.Generation = &seen }, func(err error) bool { return errors.As(err, &stale) }},
		"unknown kind":     {func(s *Submission) { s.Kind = "dance" }, func(err error) bool { return err != nil }},
		"exists already":   {func(s *Submission) { s.With = []journal.Event{spec} }, func(err error) bool { return errors.Is(err, ErrClusterExists) }},
		"homoglyph":        {func(s *Submission) { s.Cluster, s.With = "сache", []journal.Event{spec} }, func(err error) bool { return errors.Is(err, inventory.ErrName) }},
		"build fails": {func(s *Submission) {
			s.Build = func(*plan.Facts) (plan.Plan, error) { return plan.Plan{}, other }
		}, func(err error) bool { return errors.Is(err, other) }},
		"plan refuses": {func(s *Submission) {
			s.Build = func(*plan.Facts) (p plan.Plan, err error) { p.Refuse("x", "no", "because", "later"); return p, nil }
		}, func(err error) bool { return errors.As(err, &refused) }},
		"unknown step": {func(s *Submission) {
			s.Build = func(f *plan.Facts) (plan.Plan, error) {
				return plan.Plan{Engine: f.Engine, Steps: []plan.Step{{ID: "dance"}}}, nil
			}
		}, func(err error) bool { return err != nil }},
	} {
		s := submission(true)
		c.change(&s)
		if _, err := p.exec.Submit(p.ctx, s); !c.want(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := p.inv.Revision(inventory.Stream("c")); after != before || len(w.made()) > 0 {
		t.Errorf("something changed: revision %d, was %d; made %v", after, before, w.made())
	}
}

// TestRegistersWithRequest: a new cluster is registered in the very append of
// the request, and goes with it when it is taken back.
func TestRegistersWithRequest(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	fail := map[string]bool{"b": true}
	k := things(true, nil, fail)
	k.closing = func(r *run, state operation.State) ([]journal.Event, error) {
		if state == operation.StateRolledBack {
			return []journal.Event{inventory.RemovedEvent()}, nil
		}
		return nil, nil
	}
	p := withKind(t, w, journal.NewMemory(time.Now), k)
	for _, again := range []bool{false, true} {
		spec, _ := inventory.Spec{ID: "new", Name: "new", Engine: engine.Redis}.Event()
		s := submission(true)
		s.Cluster, s.With = "new", []journal.Event{spec}
		id, err := p.exec.Submit(p.ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		o := p.end(t, id)
		_, there := p.inv.Cluster("new")
		if there != again || again != (o.State == operation.StateDone) {
			t.Errorf("ended %s and the cluster is there: %v", o.State, there)
		}
		fail["b"] = false // the name may be used again
	}
}
