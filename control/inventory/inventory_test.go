package inventory

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"baton/control/audit"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

func open(t *testing.T, j journal.Journal) *Inventory {
	t.Helper()
	v := New(j, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = v.Run(ctx) }()
	<-v.Ready()
	return v
}

// put appends operation events to a cluster's stream and waits for them.
func put(t *testing.T, v *Inventory, j journal.Journal, cluster string, events ...operation.Event) {
	t.Helper()
	for _, e := range events {
		kind, data, err := operation.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		rev, err := j.Append(context.Background(), Stream(cluster), journal.Any, journal.Event{Type: kind, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Wait(context.Background(), Stream(cluster), rev); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRebuiltEqualsLive: an inventory that followed and one that reads
// everything afterwards know the same: clusters, generation, lock, operations,
// audit, users.
func TestRebuiltEqualsLive(t *testing.T) {
	ctx := context.Background()
	j := journal.NewMemory(time.Now)
	v := open(t, j)
	if err := v.Register(ctx, Spec{ID: "c", Engine: "redis", Primary: "a", Members: []Member{{Name: "a"}, {Name: "b"}}}); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	req := operation.Requested{Operation: "op-1", Kind: operation.Promotion, Requester: "ann", At: at,
		Plan: plan.Plan{Cluster: "c", Node: "b", From: "a", Steps: []plan.Step{{ID: "pause"}}}}
	put(t, v, j, "c", req)
	if c, _ := v.Cluster("c"); c.Running != "op-1" || c.Revision != 1 || len(v.Unfinished()) != 1 {
		t.Errorf("%+v", c)
	}
	put(t, v, j, "c", operation.StepStarted{Operation: "op-1", Step: "pause"}, operation.Committed{Operation: "op-1", Node: "b", Generation: 1})
	if c, _ := v.Cluster("c"); c.Generation != 1 || c.ShouldBe != "b" {
		t.Errorf("%+v", c)
	}
	ms := 7.5
	put(t, v, j, "c", operation.Finished{Operation: "op-1", State: operation.StateDone, Stall: &operation.Stall{ProbeMs: &ms}, At: at})
	if len(v.Unaudited()) != 1 {
		t.Error("the ended operation counts as audited")
	}
	log := audit.NewLog(j)
	for i := range 5 {
		rec := audit.Record{Cluster: "c", What: "tried", Outcome: audit.Refused, At: at}
		if i == 4 {
			rec.Change = &audit.Change{Operation: "op-1", Steps: []operation.StepRecord{{State: operation.StepDone}}, Stall: &operation.Stall{ProbeMs: &ms}}
		}
		if _, err := log.Append(ctx, rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.PutUser(ctx, User{Name: "ann", Role: "admin"}, true); err != nil {
		t.Fatal(err)
	}
	var conflict *journal.ConflictError
	if err := v.PutUser(ctx, User{Name: "eve", Role: "admin"}, true); !errors.As(err, &conflict) {
		t.Errorf("a second first user: %v", err)
	}
	if err := v.Wait(ctx, audit.Stream("c"), 4); err != nil {
		t.Fatal(err)
	}
	for name, inv := range map[string]*Inventory{"live": v, "rebuilt": open(t, j)} {
		c, ok := inv.Cluster("c")
		if !ok || c.Running != "" || c.Generation != 1 || c.ShouldBe != "b" || c.LastChange == nil || len(c.Stalls) != 1 || c.Stalls[0] != 7500*time.Microsecond || c.Revision != 4 {
			t.Errorf("%s: %+v", name, c)
		}
		if o, ok := inv.Operation("op-1"); !ok || o.State != operation.StateDone || len(inv.Unfinished()) != 0 {
			t.Errorf("%s: %+v", name, o)
		}
		if n, bad := inv.VerifyAudit("c"); n != 5 || bad != -1 || len(inv.Unaudited()) != 0 {
			t.Errorf("%s: chain of %d breaks at %d", name, n, bad)
		}
		first, next := inv.Audit("c", 0, 2)
		second, last := inv.Audit("c", next, 10)
		if len(first) != 2 || first[0].Change == nil || len(second) != 3 || last != 0 {
			t.Errorf("%s: pages of %d and %d, next %d, %d", name, len(first), len(second), next, last)
		}
		if u, ok := inv.User("ann"); !ok || u.Role != "admin" || inv.Users() != 1 {
			t.Errorf("%s: %+v", name, u)
		}
		if got := inv.OperationsSince(0); len(got) != 1 || len(inv.OperationsSince(inv.Position())) != 0 {
			t.Errorf("%s: %d operations", name, len(got))
		}
		if got := inv.AuditSince("c", 0); len(got) != 5 {
			t.Errorf("%s: %d records", name, len(got))
		}
	}
}

// TestRegister: names are checked, what is known already is not written again,
// a removed cluster is gone.
func TestRegister(t *testing.T) {
	ctx := context.Background()
	j := journal.NewMemory(time.Now)
	v := open(t, j)
	for _, id := range []string{"", "C", "1c", "c/../d", "c d", "c\n"} {
		if err := v.Register(ctx, Spec{ID: id}); !errors.Is(err, ErrName) {
			t.Errorf("cluster %q: %v", id, err)
		}
	}
	if err := v.Register(ctx, Spec{ID: "c", Members: []Member{{Name: "A;"}}}); !errors.Is(err, ErrName) {
		t.Errorf("node: %v", err)
	}
	s := Spec{ID: "c", Name: "c", Engine: "redis", Members: []Member{{Name: "a", Address: "h:1"}}}
	for range 3 {
		if err := v.Register(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	s.Members[0].Address = "h:2"
	if err := v.Register(ctx, s); err != nil {
		t.Fatal(err)
	}
	if c, _ := v.Cluster("c"); c.Revision != 1 || c.Members[0].Address != "h:2" {
		t.Errorf("%+v", c)
	}
	if err := v.Remove(ctx, "c"); err != nil || len(v.Clusters()) != 0 {
		t.Errorf("removal: %v, %d clusters", err, len(v.Clusters()))
	}
}

// TestDamagedEvent: one event that does not decode is skipped, the rest is
// read.
func TestDamagedEvent(t *testing.T) {
	j := journal.NewMemory(time.Now)
	ctx := context.Background()
	for _, e := range []journal.Event{{Type: ClusterRegistered, Data: []byte(`{"id":`)}, {Type: "step-started", Data: []byte(`{"operation":"x"}`)},
		{Type: ClusterRegistered, Data: []byte(`{"id":"c","name":"c"}`)}} {
		if _, err := j.Append(ctx, Stream("c"), journal.Any, e); err != nil {
			t.Fatal(err)
		}
	}
	if c, ok := open(t, j).Cluster("c"); !ok || c.Revision != 2 {
		t.Errorf("%+v", c)
	}
}

// TestEventsOfOthersMoveTheRevision: an event that means nothing to the
// inventory still moves its stream, and with it the revision that the next
// request is decided on.
func TestEventsOfOthersMoveTheRevision(t *testing.T) {
	ctx := context.Background()
	j := journal.NewMemory(time.Now)
	v := open(t, j)
	if err := v.Register(ctx, Spec{ID: "c", Engine: "redis", Primary: "a", Members: []Member{{Name: "a"}, {Name: "b"}}}); err != nil {
		t.Fatal(err)
	}
	rev, err := j.Append(ctx, Stream("c"), journal.Any, journal.Event{Type: "of-a-later-version", Data: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Wait(ctx, Stream("c"), rev); err != nil {
		t.Fatal(err)
	}
	if c, _ := v.Cluster("c"); c.Revision != rev {
		t.Errorf("the stream is at %d, the cluster at %d", rev, c.Revision)
	}
}
