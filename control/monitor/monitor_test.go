package monitor

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/health"
	"baton/control/inventory"
	"baton/control/journal"
)

// fakeHub hands out what a test puts in.
type fakeHub struct {
	mu        sync.Mutex
	reports   map[string]agent.Report
	ch        chan agent.Report
	connected bool
}

func (h *fakeHub) Reports() map[string]agent.Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]agent.Report{}
	for k, v := range h.reports {
		out[k] = v
	}
	return out
}
func (h *fakeHub) Subscribe(int) (<-chan agent.Report, func()) { return h.ch, func() {} }
func (h *fakeHub) Connected(string) bool                       { return h.connected }

func setup(t *testing.T) (*Monitor, *fakeHub, *time.Time) {
	now := time.Unix(1000, 0)
	h := &fakeHub{reports: map[string]agent.Report{}, ch: make(chan agent.Report), connected: true}
	inv := inventory.New(journal.NewMemory(time.Now), slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = inv.Run(ctx) }()
	<-inv.Ready()
	if err := inv.Register(ctx, inventory.Spec{ID: "c", Engine: engine.Redis, Members: []inventory.Member{
		{Name: "a", Address: "127.0.0.1:1", Priority: 100}, {Name: "b", Address: "127.0.0.1:2", Priority: 100}}}); err != nil {
		t.Fatal(err)
	}
	return New(Options{Reports: h, Inventory: inv, Now: func() time.Time { return now }}), h, &now
}

func report(at, received time.Time, role engine.Role, up bool, writes float64) agent.Report {
	in := agent.InstanceReport{Cluster: "c", Node: "a", Address: "127.0.0.1:1",
		Observation: &engine.Observation{At: at, Up: up, Role: role, WritesPerSecond: writes, Priority: 50}}
	return agent.Report{Agent: "x", Name: "host", At: at, ReceivedAt: received, Host: engine.HostFacts{Location: "here"}, Instances: []agent.InstanceReport{in}}
}

// TestAges: ages are on our clock, however wrong the agent's is; a node never
// reported is unknown; the last role outlives the node.
func TestAges(t *testing.T) {
	m, _, now := setup(t)
	wrong := time.Unix(999999, 0) // the agent's clock
	m.take(report(wrong, *now, engine.RolePrimary, true, 7))
	*now = now.Add(3 * time.Second)
	s, ok := m.Snapshot("c")
	if !ok || len(s.Nodes) != 2 {
		t.Fatalf("%+v", s)
	}
	a, b := s.Node("a"), s.Node("b")
	if a.SeenAge != 3*time.Second || !a.Up() || a.Role() != engine.RolePrimary || a.Location != "here" || a.Priority != 50 {
		t.Errorf("a: %+v", a)
	}
	if b.Seen != nil || b.ReportAge >= 0 || b.Fresh() {
		t.Errorf("b: %+v", b)
	}
	if w, ok := Writes(&s); !ok || w != 7 {
		t.Errorf("writes %v %v", w, ok)
	}
	*now = now.Add(10 * time.Second)
	s, _ = m.Snapshot("c")
	if s.Node("a").Fresh() || s.Primary() != nil {
		t.Error("an old observation still counts")
	}
	m.take(report(*now, *now, engine.RoleUnknown, false, -1))
	s, _ = m.Snapshot("c")
	if n := s.Node("a"); n.LastRole != engine.RolePrimary || !n.Down() {
		t.Errorf("a: %+v", n)
	}
	if v := health.Judge(&s); v.Level != health.Down {
		t.Errorf("verdict %+v", v)
	}
	if _, ok := m.Snapshot("nope"); ok {
		t.Error("an unknown cluster is known")
	}
}

// TestHistory: one value per second, the last minute only.
func TestHistory(t *testing.T) {
	m, _, now := setup(t)
	for i := range 70 {
		m.take(report(*now, *now, engine.RolePrimary, true, float64(i)))
		m.record()
		m.record()
		*now = now.Add(time.Second)
	}
	h := m.History("c")
	if len(h) != HistorySeconds || h[0] != 10 || h[59] != 69 {
		t.Errorf("%d values, %v", len(h), h)
	}
}

// TestFresh waits for a look that began after the moment, and gives up with
// its context.
func TestFresh(t *testing.T) {
	m, h, now := setup(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() { _ = m.Run(ctx) }()
	h.ch <- report(*now, *now, engine.RoleReplica, true, 0)
	h.ch <- report(*now, *now, engine.RoleReplica, true, 0) // taken off once the one before is taken in
	done := make(chan engine.Role)
	go func() {
		f := m.Fresh(ctx, "c", *now)
		done <- f.Node("a").Role()
	}()
	h.ch <- report(*now, *now, engine.RoleReplica, true, 0)
	select {
	case r := <-done:
		t.Fatalf("returned %s without a fresh look", r)
	case h.ch <- report(now.Add(time.Millisecond), now.Add(time.Millisecond), engine.RolePrimary, true, 0):
	}
	if r := <-done; r != engine.RolePrimary {
		t.Errorf("role %s", r)
	}
	short, stop := context.WithCancel(ctx)
	stop()
	if f := m.Fresh(short, "c", now.Add(time.Hour)); f.Cluster != "c" {
		t.Errorf("facts %+v", f)
	}
}
