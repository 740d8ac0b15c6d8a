package executor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/failover"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// noLeases is the keeper of clusters that have none: it lists what is saved.
type noLeases struct {
	mu   sync.Mutex
	list []Saved
	seen int
}

func (*noLeases) Managed(string) bool                         { return false }
func (*noLeases) Bar(string, uint64)                          {}
func (*noLeases) Unbar(string, uint64)                        {}
func (*noLeases) Free(string, uint64) (bool, time.Duration)   { return true, 0 }
func (*noLeases) Owed(string) map[string]bool                 { return nil }
func (*noLeases) Failover(string) (f failover.Facts, ok bool) { return f, false }
func (l *noLeases) Saw(*inventory.Cluster, *plan.Facts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen++
}
func (l *noLeases) Kept(_ context.Context, s Saved) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, s)
	return nil
}

// force begins a forced promotion of b as a person would; off is whether the old
// primary is said to be switched off.
func (p *plane) force(t *testing.T, off bool) operation.Operation {
	t.Helper()
	id, err := p.exec.Submit(p.ctx, Submission{Cluster: "c", Kind: operation.ForcedPromotion, Node: "b", Who: audit.Who{Name: "ann", Role: "admin"},
		Build: func(pf *plan.Facts) (plan.Plan, error) {
			f := failover.Facts{Snapshot: pf.Snapshot, Primary: "a", Generation: pf.Generation, Connected: pf.Connected, Quorum: true}
			pl := failover.Plan(&f, failover.Asked(&f, "b", true), true, "b")
			if off {
				pl.Args[failover.ArgOff] = "a"
			}
			return pl, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return p.end(t, id)
}

// TestForcedWithoutALease: without a lease the old primary is ended by its agent,
// or said to be off by a person whom nothing contradicts; else nobody is
// promoted, and what was ended is started again.
func TestForcedWithoutALease(t *testing.T) {
	gone := func(w *world) { n := w.nodes["a"]; n.up, n.linked = false, false }
	for _, tt := range []struct {
		name string
		set  func(w *world)
		off  bool
		done bool
		says string
	}{
		{"its agent ends it", func(*world) {}, false, true, "b took over from a"},
		{"its host is gone and nobody says that it is off", gone, false, false, "--old-primary-is-off a"},
		{"its host is gone and somebody says so", gone, true, true, "ann said at 2"},
		{"it is said to be off and is cut off from us only", func(w *world) { w.nodes["a"].linked = false }, true, false, "a is not switched off: the host of b reaches it"},
		{"it is said to be off and nobody can look", func(w *world) {
			gone(w)
			w.before = func(o agent.Order) error {
				if o.Action.Name == engine.CheckAuth {
					return errors.New("lost")
				}
				return nil
			}
		}, true, false, "no host could look whether a is switched off"},
		{"it is ended, and then nobody can be read", func(w *world) {
			w.onOrder = func(w *world, o agent.Order) {
				if o.Action.Name == agent.ActionProcessStop {
					w.nodes["b"].linked, w.nodes["s"].linked = false, false
				}
			}
		}, false, false, "nobody can be promoted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "a", "b", "s")
			p := startWith(t, w, journal.NewMemory(time.Now), func(p *plane) { p.exec.Leases = &noLeases{} })
			w.mu.Lock()
			was := w.nodes["a"].up
			tt.set(w)
			was = was && w.nodes["a"].up
			w.mu.Unlock()
			o := p.force(t, tt.off)
			if !strings.Contains(o.Outcome, tt.says) || (o.State == operation.StateDone) != tt.done || !tt.done && o.State != operation.StateRolledBack {
				t.Errorf("%s: %s", o.State, o.Outcome)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			want := w.nodes["a"]
			if tt.done {
				want = w.nodes["b"]
			}
			if got := w.primary(); was || tt.done {
				if got != want {
					t.Errorf("the primary is %+v", got)
				}
			} else if got != nil || slices.Contains(w.seen, engine.Promote+" b") {
				t.Errorf("somebody was promoted: %+v", got)
			}
		})
	}
}

// TestTheOldPrimaryComesBack: the machine that was said to be off comes back with
// its server as a primary: it is demoted without anybody's help, what it took is
// saved first, and the file is listed with where it is and why.
func TestTheOldPrimaryComesBack(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	leases := &noLeases{}
	p := startWith(t, w, journal.NewMemory(time.Now), func(p *plane) { p.exec.Leases = leases })
	w.mu.Lock()
	a := w.nodes["a"]
	a.up, a.linked = false, false
	w.mu.Unlock()
	o := p.force(t, true)
	if o.State != operation.StateDone || o.Generation != 1 {
		t.Fatalf("%s: %s", o.State, o.Outcome)
	}
	if s, _ := o.Step(failover.StepFence); !strings.Contains(s.Detail, "ann said at ") || !strings.Contains(s.Detail, "b, s reached nothing at "+a.addr) {
		t.Errorf("the step says %q", s.Detail)
	}
	w.mu.Lock()
	a.up, a.linked = true, true // as it was: a primary
	w.mu.Unlock()
	eventually(t, "a follows b", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return a.role == engine.RoleReplica && a.of == w.nodes["b"].addr && len(a.kept) > 0
	})
	eventually(t, "the file is listed", func() bool {
		leases.mu.Lock()
		defer leases.mu.Unlock()
		return len(leases.list) > 0
	})
	leases.mu.Lock()
	defer leases.mu.Unlock()
	if s := leases.list[0]; s.Cluster != "c" || s.Node != "a" || s.Generation != 1 || s.Path != "/lost-writes-a" || s.Operation == "" ||
		s.Why != "everything a held when it came back as a primary beside b" || leases.seen == 0 {
		t.Errorf("%+v, looked at %d times", s, leases.seen)
	}
}
