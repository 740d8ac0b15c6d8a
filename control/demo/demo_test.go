package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/agent/supervise"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/operation"
	"baton/control/plan"
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
	if err != nil || len(with.Redis) != 3 || !with.RedisMade || with.RedisReadWrite == 0 {
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

// machine is an agent, the records of clusters and the operation that makes
// them, as far as the demonstration knows them.
type machine struct {
	t *testing.T

	mu       sync.Mutex
	refusals int // orders that find no link
	orders   []engine.Action
	clusters map[string]inventory.Cluster
	asked    []executor.RequestCreate
	state    operation.State // of the operation that made Redis
	notFound int             // creations that find no program yet
	primary  string
	leased   bool
}

func newMachine(t *testing.T) *machine {
	return &machine{t: t, clusters: map[string]inventory.Cluster{}, state: operation.StateDone}
}

func (m *machine) options(dir string) Options {
	return Options{Dir: dir, Binary: "/opt/baton", RedisServer: "/usr/bin/redis-server", Agent: "here", Order: m.order, Clusters: m, Create: m.create,
		Primary: func(string) string { m.mu.Lock(); defer m.mu.Unlock(); return m.primary },
		Leased:  func(string) bool { m.mu.Lock(); defer m.mu.Unlock(); return m.leased }}
}

func (m *machine) order(_ context.Context, o agent.Order) (agent.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refusals > 0 {
		m.refusals--
		return agent.Result{}, agent.ErrNotConnected
	}
	if spec := o.Action.Arg("spec"); spec != "" {
		var s supervise.Spec
		if err := json.Unmarshal([]byte(spec), &s); err != nil || s.Check() != nil {
			m.t.Errorf("spec %s: %v, %v", spec, err, s.Check())
		}
		if strings.Contains(strings.Join(s.Args, " ")+strings.Join(s.Env, " "), "pass") {
			m.t.Errorf("a secret in the arguments of %s", s.Name)
		}
	}
	m.orders = append(m.orders, o.Action)
	return agent.Result{}, nil
}

func (m *machine) Register(_ context.Context, s inventory.Spec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clusters[s.ID] = inventory.Cluster{Spec: s, ShouldBe: s.Primary}
	return nil
}

func (m *machine) Cluster(id string) (inventory.Cluster, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.clusters[id]
	return c, ok
}

func (m *machine) Operation(id string) (operation.Operation, bool) {
	return operation.Operation{State: m.state}, id == "made"
}

func (m *machine) PutPolicyAt(_ context.Context, id string, p inventory.Policy, _ audit.Who, seen int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[id]
	if c.SettingsRevision != seen {
		return inventory.ErrMoved
	}
	c.Policy = p
	c.SettingsRevision++
	m.clusters[id] = c
	m.leased = p.Failover != inventory.FailoverOff
	return nil
}

func (m *machine) create(_ context.Context, q executor.RequestCreate) (string, executor.Credentials, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.notFound > 0 {
		m.notFound--
		return "", executor.Credentials{}, &executor.RefusedError{Plan: plan.Plan{Refusals: []plan.Refusal{{Title: "not installed"}}}}
	}
	m.asked = append(m.asked, q)
	s := inventory.Spec{ID: q.Name, Name: q.Name, Engine: q.Engine, Primary: q.Nodes[0].Name, Policy: q.Policy, Made: &inventory.Made{}}
	for _, n := range q.Nodes {
		s.Members = append(s.Members, inventory.Member{Name: n.Name, Agent: n.Agent, Address: fmt.Sprintf("127.0.0.1:%d", n.Port)})
	}
	m.clusters[q.Name] = inventory.Cluster{Spec: s, ShouldBe: s.Primary}
	m.primary, m.leased = s.Primary, true
	return "made", executor.Credentials{User: "app", Password: "shown once"}, nil
}

// done are the orders of one kind, and forgets all.
func (m *machine) done(action, arg string) (values []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.orders {
		if a.Name == action {
			values = append(values, a.Arg(arg))
		}
	}
	m.orders = nil
	slices.Sort(values)
	return values
}

func (m *machine) failover() string {
	c, _ := m.Cluster(RedisID)
	return c.Policy.Failover
}

// Goal: the Redis cluster is made like any other, at the first start only; it is stopped without a failover, and a
// later start brings its servers back in the roles on record and turns failover on again when the primary answers.
func TestRedisIsMadeOnceAndComesBackInItsRoles(t *testing.T) {
	m, dir := newMachine(t), t.TempDir()
	m.notFound, m.refusals = 2, 3
	d, err := Start(t.Context(), m.options(dir))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.done(agent.ActionProcessStart, "spec")); n != 5 {
		t.Errorf("%d processes of the event store were started", n)
	}
	if len(m.asked) != 1 || m.asked[0].Name != RedisID || len(m.asked[0].Nodes) != 3 || m.asked[0].Nodes[0].Agent != "here" || m.failover() != inventory.FailoverBoundedLoss {
		t.Fatalf("asked to make %+v", m.asked)
	}
	if len(d.Lines) != 2 || len(d.EventStore()) != 5 || len(d.Redis()) != 3 {
		t.Errorf("demo %+v", d)
	}
	if in := d.Redis()[0]; in.Auth.User != "app" || in.Auth.Password != "shown once" {
		t.Errorf("clients connect with %+v", in)
	}

	m.mu.Lock()
	c := m.clusters[RedisID] // meanwhile: another primary, and a node somebody added
	c.ShouldBe = "cache-2"
	c.Members = append(c.Members, inventory.Member{Name: "cache-4", Agent: "here", Address: "127.0.0.1:7000"}, inventory.Member{Name: "cache-5", Agent: "there", Address: "10.0.0.1:7000"})
	m.clusters[RedisID] = c
	m.mu.Unlock()
	if err := d.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.done(agent.ActionProcessStop, "name"); len(got) != 9 || got[3] != "cache--cache-4" || slices.Contains(got, "cache--cache-5") {
		t.Errorf("stopped %v", got)
	}
	if m.failover() != inventory.FailoverOff || m.leased {
		t.Errorf("stopped with failover %s, leased %v", m.failover(), m.leased)
	}

	m.mu.Lock()
	m.primary = ""
	m.mu.Unlock()
	d, err = Start(t.Context(), m.options(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.asked) != 1 || len(d.Redis()) != 3 || d.Redis()[0].Auth.Password != "shown once" {
		t.Errorf("a second start: %d creations, clients %+v", len(m.asked), d.Redis())
	}
	c, _ = m.Cluster(RedisID)
	_, port, _ := net.SplitHostPort(c.Members[1].Address)
	follow := fmt.Sprintf(`["--replicaof","127.0.0.1","%s"]`, port)
	if got := m.done(agent.ActionProcessResume, "args"); !slices.Equal(got, []string{follow, follow, follow, `["--replicaof","no","one"]`}) {
		t.Errorf("started again with %v", got)
	}
	if m.failover() != inventory.FailoverOff {
		t.Error("failover is on before the primary answers")
	}
	m.mu.Lock()
	m.primary = "cache-2"
	m.mu.Unlock()
	for limit := time.Now().Add(time.Minute); m.failover() != inventory.FailoverBoundedLoss; runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatal("failover was not turned on again")
		}
	}
	if err := d.Leave(t.Context()); err != nil || m.failover() != inventory.FailoverOff {
		t.Errorf("left with failover %s: %v", m.failover(), err)
	}
}

func TestADeletedRedisClusterStaysDeletedAndOneThatWasTakenBackIsMadeAgain(t *testing.T) {
	m, dir := newMachine(t), t.TempDir()
	if _, err := Start(t.Context(), m.options(dir)); err != nil {
		t.Fatal(err)
	}
	delete(m.clusters, RedisID)
	d, err := Start(t.Context(), m.options(dir))
	if err != nil || len(m.asked) != 1 || d.Redis() != nil || !strings.Contains(d.Lines[1], "deleted") {
		t.Errorf("after a deletion: %v, %d creations, %v", err, len(m.asked), d.Lines)
	}
	m.state = operation.StateRolledBack
	if _, err = Start(t.Context(), m.options(dir)); err != nil || len(m.asked) != 2 {
		t.Errorf("after a creation that was taken back: %v, %d creations", err, len(m.asked))
	}
}

func TestALayoutOfWatchedServersIsStartedAsItWas(t *testing.T) {
	m, dir := newMachine(t), t.TempDir()
	l := Layout{Redis: []RedisNode{{"cache-1", 7001}, {"cache-2", 7002}}, RedisPassword: "of everybody", RedisReadWrite: 7003, RedisReadOnly: 7004}
	if err := l.save(dir); err != nil {
		t.Fatal(err)
	}
	d, err := Start(t.Context(), m.options(dir))
	if err != nil {
		t.Fatal(err)
	}
	c, _ := m.Cluster(RedisID)
	if len(m.asked) != 0 || c.Made != nil || c.ShouldBe != "cache-1" || len(d.Redis()) != 2 || d.Redis()[0].Auth.User != "" {
		t.Errorf("%d creations, cluster %+v, clients %+v", len(m.asked), c.Spec, d.Redis())
	}
	if err := d.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.done(agent.ActionProcessStop, "name"); len(got) != 7 {
		t.Errorf("stopped %v", got)
	}
}

func TestStartSaysWhatFailedAndWhatIsMissing(t *testing.T) {
	m := newMachine(t)
	o := m.options(t.TempDir())
	o.RedisServer = ""
	o.Order = func(context.Context, agent.Order) (agent.Result, error) {
		return agent.Result{Code: engine.CodeFailed, Detail: "no such file"}, nil
	}
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no such file") || !strings.Contains(err.Error(), EventStoreID) {
		t.Errorf("got %v", err)
	}
	o.Order = m.order
	if d, err := Start(t.Context(), o); err != nil || !slices.Contains(d.Lines, NoRedis) {
		t.Errorf("without Redis: %v, %v", d, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	o.Order = func(context.Context, agent.Order) (agent.Result, error) {
		return agent.Result{}, fmt.Errorf("order: %w", agent.ErrNotConnected)
	}
	if _, err := Start(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with an agent that never connects: %v", err)
	}
}
