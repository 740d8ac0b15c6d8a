package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"baton/control/agent/guard"
	"baton/control/engine"
)

// TestADemotedEngineIsNotEndedForALeaseOfBefore: an agent dies after its primary
// was demoted and before it told the guardian. The next one sees that the engine
// is a replica and calls the guardian off; the node owes nothing any more.
func TestADemotedEngineIsNotEndedForALeaseOfBefore(t *testing.T) {
	dir := t.TempDir()
	in := engine.Instance{Cluster: "c", Node: "a", Engine: engine.Redis, Host: "127.0.0.1", Port: 1}
	w := &watched{in: in, latest: &engine.Observation{Up: true, Role: engine.RoleReplica, At: time.Now()}}
	a := &Agent{opt: Options{Dir: dir}, log: slog.New(slog.DiscardHandler), instances: map[string]*watched{in.Key(): w}}
	l, err := openLeases(a)
	if err != nil {
		t.Fatal(err)
	}
	a.leases = l
	l.records["c"] = &leaseRecord{LeaseTerms: LeaseTerms{Cluster: "c", Generation: 3, Holder: "b", TTL: 5 * time.Second}, Owes: map[string]bool{"a": true}}
	if err := os.MkdirAll(guard.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	path := guard.File(dir, "c", "a")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	now := guard.Now()
	if err := guard.Write(f, guard.State{Generation: 2, Deadline: now + time.Hour, Good: now, TTL: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	l.begin(ctx)
	tick, limit := time.NewTicker(time.Millisecond), time.NewTimer(time.Minute)
	defer tick.Stop()
	defer limit.Stop()
	for {
		s, ok := guard.Read(path)
		l.mu.Lock()
		owes, runs := l.records["c"].Owes["a"], len(l.runs)
		l.mu.Unlock()
		if ok && s.Deadline == 0 && !owes && runs == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("after a minute: state %+v %v, owes %v, %d runs", s, ok, owes, runs)
		}
	}
}

// stuck is an engine that nothing can be asked of.
type stuck struct{ engine.Driver }

func (stuck) Do(context.Context, engine.Instance, engine.Action) (engine.Result, error) {
	return engine.Result{}, &engine.ActionError{Code: engine.CodeUnreachable}
}

// TestAGuardianIsStartedAgain: a guardian ends that has had nothing to guard for
// long, as while an engine was kept stopped; when there is something again, one
// is started.
func TestAGuardianIsStartedAgain(t *testing.T) {
	dir := t.TempDir()
	sign := filepath.Join(t.TempDir(), "started")
	in := engine.Instance{Cluster: "c", Node: "a", Engine: engine.Redis, Host: "127.0.0.1", Port: 1}
	w := &watched{in: in, latest: &engine.Observation{Up: true, Role: engine.RolePrimary, At: time.Now()}}
	a := &Agent{opt: Options{Dir: dir, Guardian: []string{"/bin/touch", sign}}, log: slog.New(slog.DiscardHandler), instances: map[string]*watched{in.Key(): w},
		drivers: map[string]engine.Driver{engine.Redis: stuck{}}}
	l, err := openLeases(a)
	if err != nil {
		t.Fatal(err)
	}
	a.leases = l
	l.records["c"] = &leaseRecord{LeaseTerms: LeaseTerms{Cluster: "c", Generation: 2, Holder: "a", TTL: time.Minute}}
	if err := os.MkdirAll(guard.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(guard.File(dir, "c", "a"))
	if err != nil {
		t.Fatal(err)
	}
	now := guard.Now()
	if err := guard.Write(f, guard.State{Generation: 2, Deadline: now + time.Minute, Good: now, TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	l.begin(ctx)
	tick, limit := time.NewTicker(time.Millisecond), time.NewTimer(30*time.Second) // before the lease is over
	defer tick.Stop()
	defer limit.Stop()
	for starts := 0; starts < 2; { // touch ends at once
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("a guardian was started %d times", starts)
		}
		if os.Remove(sign) == nil {
			starts++
		}
	}
}
