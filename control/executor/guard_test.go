package executor

import (
	"context"
	"strings"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/mend"
	"baton/control/operation"
)

// due is what the guard would do about the cluster as it is.
func due(p *plane) []mend.Correction {
	c, _ := p.inv.Cluster("c")
	s := &mend.State{}
	for range 2 {
		f, _ := p.Facts("c")
		mf := p.exec.mendFacts(&c, &f)
		if d := mend.Decide(&mf, s); len(d) > 0 {
			return d
		}
	}
	return nil
}

// corrections counts the events of corrections in the cluster's stream.
func corrections(t *testing.T, j *journal.Memory) (n int) {
	t.Helper()
	page, err := j.Read(context.Background(), inventory.Stream("c"), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page {
		if r.Type == roleCorrection {
			n++
		}
	}
	return n
}

// TestAChainIsUndone: the candidate dies while it is promoted, another takes its
// place, and it comes back following the old primary, which follows the new
// one. It is pointed to the present primary without anybody's help; that is
// journalled before it is ordered, audited, and its role is in its file.
func TestAChainIsUndone(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	j := journal.NewMemory(time.Now)
	p := start(t, w, j)
	w.mu.Lock()
	w.nodes["a"].persisted = engine.RolePrimary
	w.onOrder = func(w *world, o agent.Order) {
		if o.Action.Name == engine.Promote && o.Node == "b" {
			w.nodes["b"].up = false
		}
		if o.Step == "guard" && o.Action.Name == engine.Repoint && corrections(t, j) == 0 {
			t.Error("ordered before it was journalled")
		}
	}
	w.mu.Unlock()
	o := p.promote(t, "b")
	if o.State != operation.StateDone || o.Candidate != "s" || !strings.Contains(o.Outcome, "Needs attention") {
		t.Fatalf("%s: %s", o.State, o.Outcome)
	}
	w.mu.Lock()
	b := w.nodes["b"]
	b.up, b.role, b.of, b.persisted = true, engine.RoleReplica, w.nodes["a"].addr, ""
	w.mu.Unlock()
	eventually(t, "b follows s", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return b.of == w.nodes["s"].addr && b.persisted == engine.RoleReplica
	})
	if r := audits(t, p, 2); r[0].Source != "auto" || r[0].Node != "b" || r[0].Outcome != audit.Done || !strings.HasPrefix(r[0].What, "pointed b to s") {
		t.Errorf("%+v", r[0])
	}
	if n := corrections(t, j); n != 1 {
		t.Errorf("%d corrections are journalled", n)
	}
	w.mustHold(t)
}

// TestCorrectionsGiveWay: nothing is corrected while an operation holds the
// cluster, in maintenance, or when the journal does not take it; a correction
// decided before an operation began conflicts with its request.
func TestCorrectionsGiveWay(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	j := journal.NewMemory(time.Now)
	p := start(t, w, j)
	if o := p.promote(t, "b"); o.State != operation.StateDone {
		t.Fatalf("ended %s", o.State)
	}
	c, _ := p.inv.Cluster("c")
	chain := func(to string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.nodes["s"].of = w.nodes[to].addr
	}
	policy := c.Policy
	policy.MaintenanceUntil = time.Now().Add(time.Hour)
	if err := p.inv.PutSettings(p.ctx, "c", inventory.Settings{Policy: &policy, At: time.Now()}, audit.Who{Name: "ann"}, "maintenance", -1); err != nil {
		t.Fatal(err)
	}
	chain("a")
	if d := due(p); len(d) != 0 {
		t.Errorf("in maintenance: %+v", d)
	}
	if n := corrections(t, j); n != 0 {
		t.Errorf("%d corrections in maintenance", n)
	}
	stale := []mend.Correction{{Kind: mend.Repoint, Node: "s", Addr: w.nodes["b"].addr}}
	if err := p.exec.recordCorrections(p.ctx, &c, stale); err == nil {
		t.Error("a correction of an older revision is taken")
	}
	policy.MaintenanceUntil = time.Time{}
	if err := p.inv.PutSettings(p.ctx, "c", inventory.Settings{Policy: &policy, At: time.Now()}, audit.Who{Name: "ann"}, "maintenance ended", -1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "s follows b", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.nodes["s"].of == w.nodes["b"].addr
	})
	w.mustHold(t)
}
