package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/agent/supervise"
	"baton/control/engine"
	"baton/control/inventory"
)

func TestLayoutIsChosenOnceAvoidsTakenPortsAndIsPrivate(t *testing.T) {
	// Whether or not something else holds 2113 now, it is taken from here on.
	if ln, err := net.Listen("tcp", "127.0.0.1:2113"); err == nil {
		defer ln.Close()
	}
	dir := filepath.Join(t.TempDir(), "demo")
	l, err := load(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Redis) != 0 || len(l.EventStore) != 5 || l.EventStore[0].Port == 2113 {
		t.Fatalf("layout %+v", l)
	}
	with, err := load(dir, true) // Redis was installed meanwhile
	if err != nil || len(with.Redis) != 3 || len(with.RedisPassword) < 40 {
		t.Fatalf("layout with Redis %+v, %v", with, err)
	}
	again, err := load(dir, true)
	a, _ := json.Marshal(with)
	b, _ := json.Marshal(again)
	if err != nil || string(a) != string(b) {
		t.Errorf("a second start chose anew: %s, %s, %v", a, b, err)
	}
	seen := map[int]bool{}
	for _, n := range with.EventStore {
		if seen[n.Port] || seen[n.PeerPort] || n.Port == n.PeerPort {
			t.Errorf("a port is used twice: %+v", with)
		}
		seen[n.Port], seen[n.PeerPort] = true, true
	}
	if st, err := os.Stat(filepath.Join(dir, "layout.json")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("layout file: %v, %v", st, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "layout.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(dir, true); err == nil {
		t.Error("a damaged layout was replaced")
	}
}

func TestStartGoesThroughTheAgentAndWaitsForItsLink(t *testing.T) {
	var mu sync.Mutex
	var actions []string
	var registered []inventory.Spec
	refusals := 3
	d, err := Start(context.Background(), Options{Dir: t.TempDir(), Binary: "/opt/baton", RedisServer: "/usr/bin/redis-server",
		Order: func(_ context.Context, o agent.Order) (agent.Result, error) {
			mu.Lock()
			defer mu.Unlock()
			if refusals > 0 {
				refusals--
				return agent.Result{}, agent.ErrNotConnected
			}
			if spec := o.Action.Arg("spec"); spec != "" {
				var s supervise.Spec
				if err := json.Unmarshal([]byte(spec), &s); err != nil || s.Check() != nil {
					t.Errorf("spec %s: %v, %v", spec, err, s.Check())
				}
				if strings.Contains(strings.Join(s.Args, " ")+strings.Join(s.Env, " "), "pass") {
					t.Errorf("a secret in the arguments of %s", s.Name)
				}
			}
			actions = append(actions, o.Action.Name)
			return agent.Result{}, nil
		},
		Register: func(_ context.Context, s inventory.Spec) error {
			registered = append(registered, s)
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(actions); n != 16 || len(registered) != 2 || registered[1].Primary != "cache-1" {
		t.Errorf("%d orders %v, registered %+v", n, actions, registered)
	}
	if len(d.Lines) != 2 || len(d.Instances(EventStoreID)) != 5 || d.Instances("other") != nil {
		t.Errorf("demo %+v", d)
	}
	for _, in := range d.Instances(RedisID) {
		if in.Auth.Password == "" || len(in.Peers) != 3 {
			t.Errorf("instance %+v", in)
		}
	}
	actions = nil
	if err := d.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(actions)
	if len(actions) != 8 || actions[0] != agent.ActionProcessStop || actions[7] != agent.ActionProcessStop {
		t.Errorf("stop orders %v", actions)
	}
}

func TestStartSaysWhatFailedAndWhatIsMissing(t *testing.T) {
	register := func(context.Context, inventory.Spec) error { return nil }
	_, err := Start(context.Background(), Options{Dir: t.TempDir(), Binary: "/opt/baton", Register: register,
		Order: func(context.Context, agent.Order) (agent.Result, error) {
			return agent.Result{Code: engine.CodeFailed, Detail: "no such file"}, nil
		}})
	if err == nil || !strings.Contains(err.Error(), "no such file") || !strings.Contains(err.Error(), EventStoreID) {
		t.Errorf("got %v", err)
	}
	d, err := Start(context.Background(), Options{Dir: t.TempDir(), Binary: "/opt/baton", Register: register,
		Order: func(context.Context, agent.Order) (agent.Result, error) { return agent.Result{}, nil }})
	if err != nil || !slices.Contains(d.Lines, NoRedis) {
		t.Errorf("without Redis: %v, %v", d, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = Start(ctx, Options{Dir: t.TempDir(), Binary: "/opt/baton", Register: register,
		Order: func(context.Context, agent.Order) (agent.Result, error) {
			return agent.Result{}, fmt.Errorf("order: %w", agent.ErrNotConnected)
		}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with an agent that never connects: %v", err)
	}
}
