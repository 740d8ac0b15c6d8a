package executor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/engine/redis/redistest"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/operation"
	"baton/control/plan"
)

// TestRollingRestart: a parameter that only a start brings is in force on every
// server afterwards, every server was started once, and no acknowledged write of
// a live writer is lost. Without a node to take over nothing is begun.
func TestRollingRestart(t *testing.T) {
	s := newSite(t, 2)
	q := executor.RequestCreate{NewCluster: plan.NewCluster{Name: "shop", Engine: engine.Redis, Nodes: []plan.NewNode{s.node(0, "a"), s.node(1, "b"), s.node(0, "c")}, MemoryBytes: 64 << 20},
		Policy: inventory.DefaultPolicy(), Who: ann}
	var app executor.Credentials
	s.does(operation.StateDone, func() (id string, err error) {
		id, app, err = s.exec.Create(s.ctx, q)
		return id, err
	})
	w := s.write("shop", app)
	s.eventually("writes are acknowledged", func() bool { return w.count() > 100 })
	s.does(operation.StateDone, func() (string, error) {
		return s.exec.SetParameters(s.ctx, executor.RequestParameters{Cluster: "shop", Restart: map[string]string{"databases": "32"}, Who: ann})
	})
	before := pids(s)
	ask := executor.RequestRestart{Cluster: "shop", TypedName: "Shop", Who: ann}
	s.eventually("a wrong name is refused", func() bool { // as soon as nothing else runs
		_, err := s.exec.RollingRestart(s.ctx, ask)
		return errors.Is(err, executor.ErrTypedName)
	})
	ask.TypedName = "shop"
	var o operation.Operation
	redistest.Eventually(t, 4*time.Minute, "it is done", func() bool { // a busy machine is refused, or too slow before the point of no return
		id, err := s.exec.RollingRestart(s.ctx, ask)
		var refused *executor.RefusedError
		var running *executor.RunningError
		switch {
		case errors.As(err, &refused):
			for _, r := range refused.Plan.Refusals {
				ask.Overrides = append(ask.Overrides, r.Code)
			}
			return false
		case errors.As(err, &running):
			return false
		case err != nil:
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(s.ctx, 3*time.Minute)
		defer cancel()
		o = s.exec.Await(ctx, id)
		if o.State == operation.StateRolledBack && !o.Past {
			t.Logf("once more: %s", o.Outcome)
			return false
		}
		return true
	})
	s.ends(o.Operation, nil, operation.StateDone)
	if o.Candidate == "a" || !strings.Contains(o.Outcome, "every server") && !strings.Contains(o.Outcome, "Every server") {
		t.Errorf("%s is primary: %s", o.Candidate, o.Outcome)
	}
	after := pids(s)
	for _, n := range []string{"a", "b", "c"} {
		got, err := s.client(s.address("shop", n), executor.Credentials{User: app.User, Password: app.Password}).Do(s.ctx, "SELECT", 31).Result()
		if err != nil {
			t.Errorf("%s has not 32 databases: %v, %v", n, got, err)
		}
		if after["shop--"+n] == before["shop--"+n] {
			t.Errorf("%s was not restarted", n)
		}
	}
	if c, _ := s.inv.Cluster("shop"); c.ShouldBe != o.Candidate {
		t.Errorf("on record %s is primary, not %s", c.ShouldBe, o.Candidate)
	}
	n := w.count()
	s.eventually("writes go on", func() bool { return w.count() > n+10 })
	close(w.stop)
	<-w.done
	s.readBack("shop", app, w)
}

// pids are the processes of all servers, by name.
func pids(s *site) map[string]int {
	out := map[string]int{}
	s.eventually("every server runs", func() bool {
		n := 0
		for _, r := range s.hub.Reports() {
			for _, p := range r.Processes {
				if out[p.Name] = p.PID; p.PID != 0 {
					n++
				}
			}
		}
		return n == 3
	})
	return out
}
