package feed

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/health"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
	"baton/control/proxy"
)

// world is a feed over a journal in memory, with agents that take what they
// are sent and a cluster c of a (primary), b and s.
type world struct {
	t   *testing.T
	f   *Feed
	inv *inventory.Inventory
	j   journal.Journal

	mu      sync.Mutex
	snap    health.Snapshot
	reports map[string]agent.Report
	away    map[string]bool // agents without a link
	refuse  map[string]bool // agents that refuse
	sent    []sentRoute
}

type sentRoute struct {
	agent string
	route proxy.Route
}

func (w *world) Snapshot(cluster string) (health.Snapshot, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.snap
	s.Nodes = slices.Clone(w.snap.Nodes)
	return s, cluster == w.snap.Cluster
}

func (w *world) Reports() map[string]agent.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]agent.Report{}
	for id, r := range w.reports {
		out[id] = r
	}
	return out
}

func (w *world) Connected(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.away[id]
}

func (w *world) Order(_ context.Context, id string, o agent.Order) (agent.Result, error) {
	var r proxy.Route
	err := json.Unmarshal([]byte(o.Action.Args["route"]), &r)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || o.Action.Name != agent.ActionProxyRoute || o.Cluster != r.Cluster || o.Generation != r.Generation || o.Term != r.Term || o.Timeout <= 0 {
		w.t.Errorf("order %+v with route %+v: %v", o, r, err)
	}
	if w.refuse[id] {
		return agent.Result{Code: engine.CodeFailed, Detail: "the port is in use"}, nil
	}
	w.sent = append(w.sent, sentRoute{id, r})
	return agent.Result{}, nil
}

// take returns what was sent since the last call.
func (w *world) take() []sentRoute {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.sent
	w.sent = nil
	return out
}

// edit changes the world under its lock.
func (w *world) edit(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func newWorld(ctx context.Context, t *testing.T) *world {
	t.Helper()
	w := &world{t: t, j: journal.NewMemory(time.Now), away: map[string]bool{}, refuse: map[string]bool{}}
	w.inv = inventory.New(w.j, slog.New(slog.DiscardHandler))
	w.f = New(Options{Journal: w.j, Inventory: w.inv, Agents: w, Reports: w, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	w.f.Seen = w
	w.inv.Observe(w.f.Take)
	go func() { _ = w.inv.Run(ctx) }()
	<-w.inv.Ready()
	spec := inventory.Spec{ID: "c", Engine: engine.Redis, Primary: "a"}
	beside := agent.Report{Agent: "host", Name: "host-1", Endpoints: &agent.EndpointsReport{}}
	w.snap = health.Snapshot{Cluster: "c", Engine: engine.Redis}
	for _, n := range []string{"a", "b", "s"} {
		spec.Members = append(spec.Members, inventory.Member{Name: n, Address: n + ":1", Priority: 100})
		role := engine.RoleReplica
		if n == "a" {
			role = engine.RolePrimary
		}
		w.snap.Nodes = append(w.snap.Nodes, health.Node{Name: n, Address: n + ":1", Agent: "host",
			Seen: &engine.Observation{Up: true, Role: role, LinkUp: true}})
		beside.Instances = append(beside.Instances, agent.InstanceReport{Cluster: "c", Node: n})
	}
	w.reports = map[string]agent.Report{"host": beside}
	if err := w.inv.Register(ctx, spec); err != nil {
		t.Fatal(err)
	}
	return w
}

// happen appends events of operations to the cluster's stream.
func (w *world) happen(ctx context.Context, events ...operation.Event) {
	w.t.Helper()
	for _, e := range events {
		kind, data, err := operation.Encode(e)
		if err != nil {
			w.t.Fatal(err)
		}
		rev, err := w.j.Append(ctx, inventory.Stream("c"), journal.Any, journal.Event{Type: kind, Data: data})
		if err == nil {
			err = w.inv.Wait(ctx, inventory.Stream("c"), rev)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// begun is an operation that moves the primary from a to b.
func begun(kind string) []operation.Event {
	p := plan.Plan{Cluster: "c", Kind: kind, Node: "b", From: "a", Engine: engine.Redis, Steps: []plan.Step{{ID: plan.StepCommit, PointOfNoReturn: true}}}
	return []operation.Event{operation.Requested{Operation: "op", Kind: kind, Plan: p}, operation.StepStarted{Operation: "op", Step: plan.StepCommit}}
}

// route asks for the route with the settings of the test.
func (w *world) route() (proxy.Route, bool) {
	c, _ := w.inv.Cluster("c")
	return w.f.Route(&Settings{Cluster: "c", Enabled: true, Host: "127.0.0.1", ReadWritePort: 1, MaxLagBytes: 100}, &c)
}

// TestSettingsOfEndpoints: what was decided is journaled and read again; what
// nobody could serve, or would take another's port, is refused by its field.
func TestSettingsOfEndpoints(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := newWorld(ctx, t)
	good := Settings{Cluster: "c", Enabled: true, Host: "127.0.0.1", ReadWritePort: 7000, ReadOnlyPort: 7001, By: "ann"}
	if _, ok := w.f.Settings("c"); ok {
		t.Error("somebody decided")
	}
	if err := w.f.Put(ctx, good); err != nil {
		t.Fatal(err)
	}
	if s, ok := w.f.Settings("c"); !ok || s.ReadWritePort != 7000 || s.MaxLagBytes != DefaultMaxLagBytes || s.By != "ann" {
		t.Errorf("%+v %v", s, ok)
	}
	for field, change := range map[string]func(*Settings){
		"host":          func(s *Settings) { s.Host = "db.example" },
		"readOnlyPort":  func(s *Settings) { s.ReadOnlyPort = s.ReadWritePort },
		"readWritePort": func(s *Settings) { s.ReadWritePort, s.ReadOnlyPort = 0, 0 },
		"maxLagBytes":   func(s *Settings) { s.MaxLagBytes = -1 },
	} {
		bad := good
		change(&bad)
		var refused *SettingError
		if err := w.f.Put(ctx, bad); !errors.As(err, &refused) || refused.Field != field || refused.Fix == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, port := range []int{-1, 65536} {
		bad := good
		bad.ReadOnlyPort = port
		if w.f.Put(ctx, bad) == nil {
			t.Errorf("port %d is taken", port)
		}
	}
	other := Settings{Cluster: "d", Enabled: true, Host: "127.0.0.1", ReadWritePort: 7002, ReadOnlyPort: 7000}
	var refused *SettingError
	if err := w.f.Put(ctx, other); !errors.As(err, &refused) || refused.Field != "readOnlyPort" {
		t.Errorf("another cluster's port: %v", err)
	}
	other.Enabled = false // one that is not served takes no port
	if err := w.f.Put(ctx, other); err != nil {
		t.Error(err)
	}
	if err := w.f.Put(ctx, good); err != nil {
		t.Errorf("the same once more: %v", err)
	}
	// Another process reads the same from the journal, and passes over what it
	// cannot read.
	if _, err := w.j.Append(ctx, Stream, journal.Any, journal.Event{Type: EndpointChanged, Data: []byte("{")}, journal.Event{Type: "later", Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	again := newFeedOf(w)
	all, err := w.j.Read(ctx, Stream, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		again.Take(e)
	}
	if s, ok := again.Settings("c"); !ok || s.ReadOnlyPort != 7001 {
		t.Errorf("%+v %v", s, ok)
	}
}

func newFeedOf(w *world) *Feed {
	return New(Options{Journal: w.j, Inventory: w.inv, Agents: w, Reports: w, Log: slog.New(slog.DiscardHandler), Now: time.Now})
}

// TestRoutes: where an endpoint is to forward, in every phase of a move.
func TestRoutes(t *testing.T) {
	role := func(w *world, node string, r engine.Role) {
		for i := range w.snap.Nodes {
			if n := &w.snap.Nodes[i]; n.Name == node {
				n.Seen.Role = r
			}
		}
	}
	for name, c := range map[string]struct {
		do      func(ctx context.Context, w *world)
		primary string // "" with due: none, and Why says so
		due     bool
	}{
		"the primary on record": {func(context.Context, *world) {}, "a", true},
		"moved by hand": {func(_ context.Context, w *world) {
			role(w, "a", engine.RoleReplica)
			role(w, "b", engine.RolePrimary)
		}, "b", true},
		"two primaries, the one on record counts": {func(_ context.Context, w *world) { role(w, "b", engine.RolePrimary) }, "a", true},
		"the one on record is down": {func(_ context.Context, w *world) {
			w.snap.Nodes[0].Seen = &engine.Observation{}
			role(w, "b", engine.RolePrimary)
		}, "a", true},
		"a promotion before its point":                {func(ctx context.Context, w *world) { w.happen(ctx, begun(operation.Promotion)[0]) }, "a", true},
		"a failover before its point":                 {func(ctx context.Context, w *world) { w.happen(ctx, begun(operation.Failover)[0]) }, "", false},
		"a forced promotion before its point":         {func(ctx context.Context, w *world) { w.happen(ctx, begun(operation.ForcedPromotion)[0]) }, "", false},
		"past its point and nobody told of the move":  {past(operation.Promotion, nil), "", false},
		"past its point and seen to be primary":       {past(operation.Promotion, func(w *world) { role(w, "a", engine.RoleReplica); role(w, "b", engine.RolePrimary) }), "b", true},
		"told of the move":                            {past(operation.Promotion, func(w *world) { w.f.Moved("c", 1, "b") }), "b", true},
		"told of a move of an older generation":       {past(operation.Promotion, func(w *world) { w.f.Moved("c", 0, "s") }), "", false},
		"past its point, brought back to the old one": {past(operation.Promotion, func(w *world) { w.f.Moved("c", 1, "a") }), "a", true},
		"an operation that moves nothing":             {func(ctx context.Context, w *world) { w.happen(ctx, begun(operation.Backup)[0]) }, "a", true},
		"nobody":                                      {func(_ context.Context, w *world) { w.snap.Nodes = nil }, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := newWorld(ctx, t)
			c.do(ctx, w)
			r, due := w.route()
			if due != c.due || due && (r.Primary.Node != c.primary || c.primary == "" && r.Why == "") {
				t.Errorf("due %v, %+v", due, r)
			}
			if err := r.Check(); due && err != nil {
				t.Error(err)
			}
			if r.TTLMs != 0 {
				t.Errorf("a cluster without automatic failover has routes for %d ms", r.TTLMs)
			}
		})
	}
}

// past commits generation 1, with b as its primary, and then does more.
func past(kind string, more func(*world)) func(context.Context, *world) {
	return func(ctx context.Context, w *world) {
		w.happen(ctx, append(begun(kind), operation.Committed{Operation: "op", Generation: 1, Node: "b"})...)
		if more != nil {
			more(w)
		}
	}
}

// TestReplicasInARoute: only those that follow, are known to be near, and are
// not being worked on, are fit to be read from; a lease bounds the route.
func TestReplicasInARoute(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := newWorld(ctx, t)
	until := time.Now().Add(time.Hour)
	for _, c := range []struct {
		what    string
		change  func(*health.Node)
		healthy bool
	}{
		{"in step", func(*health.Node) {}, true},
		{"behind, which the endpoint judges itself", func(n *health.Node) { n.Seen.LagBytes = 1 << 40 }, true},
		{"of unknown lag", func(n *health.Node) { n.Seen.LagBytes = -1 }, false},
		{"without its link", func(n *health.Node) { n.Seen.LinkUp = false }, false},
		{"down", func(n *health.Node) { n.Seen.Up = false }, false},
		{"not seen lately", func(n *health.Node) { n.SeenAge = time.Hour }, false},
		{"in maintenance", func(n *health.Node) { n.Maintenance = &until }, false},
	} {
		w.snap.Nodes[1].Seen, w.snap.Nodes[1].SeenAge, w.snap.Nodes[1].Maintenance = &engine.Observation{Up: true, Role: engine.RoleReplica, LinkUp: true}, 0, nil
		c.change(&w.snap.Nodes[1])
		r, _ := w.route()
		if len(r.Replicas) != 2 || r.Replicas[0].Node != "b" || r.Replicas[0].Healthy != c.healthy || !r.Replicas[1].Healthy {
			t.Errorf("%s: %+v", c.what, r.Replicas)
		}
	}
	spec := inventory.Spec{ID: "c", Engine: engine.Redis, Primary: "a", Policy: inventory.DefaultPolicy()}
	spec.Policy.Failover, spec.Policy.LeaseTTLMs = inventory.FailoverNoLoss, 5000
	if err := w.inv.Register(ctx, spec); err != nil {
		t.Fatal(err)
	}
	if r, _ := w.route(); r.TTLMs <= 0 || r.TTLMs+sendTime.Milliseconds() > 5000 {
		t.Errorf("a route holds for %d ms, and the lease for 5000", r.TTLMs)
	}
	w.snap.Nodes[0].Seen.Role, w.snap.Nodes[1].Seen.Role = engine.RoleReplica, engine.RolePrimary
	if r, _ := w.route(); r.Primary.Node != "a" {
		t.Errorf("with leases what was moved by hand is forwarded to: %+v", r.Primary)
	}
}

// TestWhoServes: the agents beside the nodes, or those of baton proxy, or
// those that were named; only with a link.
func TestWhoServes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := newWorld(ctx, t)
	w.reports["old"] = agent.Report{Agent: "old", Name: "old", Instances: w.reports["host"].Instances} // can serve none
	w.reports["elsewhere"] = agent.Report{Agent: "elsewhere", Name: "host-9", Endpoints: &agent.EndpointsReport{}}
	s := Settings{Cluster: "c", Enabled: true, Host: "127.0.0.1", ReadWritePort: 7000}
	serving := func(want ...string) {
		t.Helper()
		if err := w.f.Put(ctx, s); err != nil {
			t.Fatal(err)
		}
		if got := w.f.Serving("c"); !slices.Equal(got, want) {
			t.Errorf("served by %v, want %v", got, want)
		}
	}
	if got := w.f.Serving("c"); len(got) != 0 {
		t.Errorf("served by %v before anybody decided", got)
	}
	serving("host")
	w.reports["p1"] = agent.Report{Agent: "p1", Name: "proxy-1", Endpoints: &agent.EndpointsReport{Only: true}}
	w.reports["p2"] = agent.Report{Agent: "p2", Name: "proxy-2", Endpoints: &agent.EndpointsReport{Only: true}}
	serving("p1", "p2")
	w.away["p1"] = true
	serving("p2")
	w.away["p2"] = true
	serving("host")
	s.On = []string{"host-9", "p1"} // by name and by id
	serving("elsewhere")
	w.away["p1"] = false
	serving("elsewhere", "p1")
	s.Enabled = false
	serving()
}

// TestRoutesAreSentAndConfirmed: a route is sent at once, again when it
// changes, and each second as a confirmation; what was refused is sent again;
// one that is not served any more is closed.
func TestRoutesAreSentAndConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newWorld(ctx, t)
		s := Settings{Cluster: "c", Enabled: true, Host: "127.0.0.1", ReadWritePort: 7000, MaxLagBytes: 100}
		if err := w.f.Put(ctx, s); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = w.f.Run(ctx, 7); close(ended) }()
		defer func() { cancel(); <-ended; synctest.Wait() }()
		synctest.Wait()
		first := w.take()
		if len(first) != 1 || first[0].agent != "host" || first[0].route.Primary.Node != "a" || first[0].route.Term != 7 || first[0].route.Version == 0 {
			t.Fatalf("sent %+v", first)
		}
		wait := func(d time.Duration) []sentRoute {
			<-time.After(d) // of the bubble's clock
			synctest.Wait()
			return w.take()
		}
		if again := wait(confirmEvery - 2*lookEvery); len(again) != 0 {
			t.Errorf("sent %d times more within a moment", len(again))
		}
		confirmed := wait(3 * lookEvery)
		if len(confirmed) != 1 || confirmed[0].route.Version <= first[0].route.Version {
			t.Fatalf("confirmed %+v", confirmed)
		}
		w.edit(func() { w.snap.Nodes[1].Seen.LagBytes = 99 }) // lag that changes nothing
		if more := wait(lookEvery); len(more) != 0 {
			t.Errorf("a lag of 99 bytes is told at once: %+v", more)
		}
		w.edit(func() { w.snap.Nodes[1].Seen.LagBytes = 101 })
		if more := wait(2 * lookEvery); len(more) != 1 || more[0].route.Replicas[0].LagBytes != 101 {
			t.Errorf("a replica too far behind is not told: %+v", more)
		}
		w.edit(func() { w.refuse["host"], w.snap.Nodes[1].Seen.LinkUp = true, false })
		wait(2 * lookEvery)
		w.edit(func() { w.refuse["host"] = false })
		if more := wait(2 * lookEvery); len(more) == 0 || more[0].route.Replicas[0].Healthy {
			t.Errorf("a refused route is not sent again: %+v", more)
		}
		// An operation's word goes out without waiting for the next look.
		w.happen(ctx, append(begun(operation.Promotion), operation.Committed{Operation: "op", Generation: 1, Node: "b"})...)
		synctest.Wait()
		w.take()
		w.f.Moved("c", 1, "b")
		synctest.Wait()
		if more := w.take(); len(more) != 1 || more[0].route.Primary.Node != "b" || more[0].route.Generation != 1 {
			t.Errorf("a move was told %+v", more)
		}
		// Closed, where it is still served.
		s.Enabled = false
		if err := w.f.Put(ctx, s); err != nil {
			t.Fatal(err)
		}
		if more := wait(lookEvery); len(more) != 0 {
			t.Errorf("closed where nobody serves it: %+v", more)
		}
		w.edit(func() { w.reports["host"].Endpoints.Serving = []proxy.Status{{Cluster: "c"}} })
		if more := wait(2 * lookEvery); len(more) != 1 || more[0].route.Enabled {
			t.Errorf("not closed: %+v", more)
		}
		w.edit(func() { w.away["host"] = true })
		wait(lookEvery)
		if more := wait(2 * confirmEvery); len(more) != 0 {
			t.Errorf("sent without a link: %+v", more)
		}
	})
}

// TestStateOverAllThatServe: clients are added up, the worst state is shown,
// and old reports do not count.
func TestStateOverAllThatServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := newWorld(ctx, t)
	now := time.Now()
	report := func(id string, at time.Time, st proxy.Status) {
		w.reports[id] = agent.Report{Agent: id, ReceivedAt: at, Endpoints: &agent.EndpointsReport{Serving: []proxy.Status{{Cluster: "other"}, st}}}
	}
	if _, ok := w.f.State("c"); ok {
		t.Error("nobody serves it")
	}
	report("p1", now, proxy.Status{Cluster: "c", State: proxy.Closed, Why: "nothing confirms it", Clients: 2, HeldNow: 1, LastSwitchMs: 12})
	report("p2", now, proxy.Status{Cluster: "c", State: proxy.Forwarding, Clients: 3, LastSwitchMs: 3})
	report("p3", now.Add(-time.Hour), proxy.Status{Cluster: "c", State: proxy.Holding, Clients: 100})
	st, ok := w.f.State("c")
	if !ok || st.State != proxy.Closed || st.Why == "" || st.Clients != 5 || st.HeldNow != 1 || st.LastSwitchMs != 12 || !slices.Equal(st.Agents, []string{"p1", "p2"}) {
		t.Errorf("%+v %v", st, ok)
	}
}
