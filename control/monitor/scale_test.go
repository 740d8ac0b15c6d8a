package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
)

// many is a monitor of clusters of one node each, all reported.
func many(t *testing.T, clusters int) *Monitor {
	t.Helper()
	h := &fakeHub{reports: map[string]agent.Report{}, ch: make(chan agent.Report), connected: true}
	j := journal.NewMemory(time.Now)
	inv := inventory.New(j, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = inv.Run(ctx) }()
	<-inv.Ready()
	m := New(Options{Reports: h, Inventory: inv, Now: time.Now})
	for i := range clusters {
		id := fmt.Sprintf("c%d", i)
		e, err := inventory.Spec{ID: id, Engine: engine.Redis, Members: []inventory.Member{{Name: "a", Address: "127.0.0.1:1"}}}.Event()
		if err == nil {
			_, err = j.Append(ctx, inventory.Stream(id), journal.NoStream, e)
		}
		if err != nil {
			t.Fatal(err)
		}
		m.take(oneOf(id))
	}
	if err := inv.Wait(ctx, inventory.Stream(fmt.Sprintf("c%d", clusters-1)), 0); err != nil {
		t.Fatal(err)
	}
	return m
}

func oneOf(cluster string) agent.Report {
	now := time.Now()
	return agent.Report{Agent: "host-" + cluster, At: now, ReceivedAt: now, Instances: []agent.InstanceReport{{Cluster: cluster, Node: "a", Address: "127.0.0.1:1",
		Observation: &engine.Observation{At: now, Up: true, Role: engine.RolePrimary}}}}
}

// quickest is the least time that any of several rounds of f took: what the
// machine did meanwhile is not in it.
func quickest(f func()) time.Duration {
	least := time.Hour
	for range 40 {
		began := time.Now()
		for range 25 {
			f()
		}
		least = min(least, time.Since(began))
	}
	return least
}

// TestOneClusterCostsTheSameBesideThousands: looking at one cluster and taking
// one report in must not go over all others. Over all, they would cost four
// hundred times as much here; ten times is allowed.
func TestOneClusterCostsTheSameBesideThousands(t *testing.T) {
	few, thousands := many(t, 5), many(t, 2000)
	for what, f := range map[string]func(*Monitor){
		"a look":   func(m *Monitor) { m.Snapshot("c1") },
		"a report": func(m *Monitor) { m.take(oneOf("c1")) },
	} {
		alone, beside := quickest(func() { f(few) }), quickest(func() { f(thousands) })
		t.Logf("%s: %v among 5 clusters, %v among 2000", what, alone/25, beside/25)
		if beside > 10*alone {
			t.Errorf("%s takes %v among 2000 clusters, %v among 5", what, beside/25, alone/25)
		}
	}
}

// TestNodesThatAreNotReportedAnyMore: what an agent was told to forget is
// forgotten, and not what another agent reports by now.
func TestNodesThatAreNotReportedAnyMore(t *testing.T) {
	m, _, now := setup(t)
	both := report(*now, *now, engine.RolePrimary, true, 1)
	second := both.Instances[0]
	second.Node = "b"
	both.Instances = append(both.Instances, second)
	m.take(both)
	other := report(*now, *now, engine.RoleReplica, true, 1)
	other.Agent = "y"
	m.take(other) // node a has moved to another agent
	gone := both
	gone.Instances = nil
	m.take(gone)
	s, _ := m.Snapshot("c")
	if a, b := s.Node("a"), s.Node("b"); a.Agent != "y" || a.Role() != engine.RoleReplica || b.Seen != nil {
		t.Errorf("a: %+v, b: %+v", a, b)
	}
	other.Instances = nil
	m.take(other)
	if s, _ := m.Snapshot("c"); s.Node("a").Seen != nil || len(m.clusters) != 0 {
		t.Errorf("kept: %+v", m.clusters)
	}
}
