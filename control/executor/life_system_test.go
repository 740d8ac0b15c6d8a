package executor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/access"
	"baton/control/agent"
	"baton/control/agent/hub"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/engine/redis/redistest"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/monitor"
	"baton/control/operation"
	"baton/control/plan"
	"baton/platform/identity"
	"baton/platform/seal"
	"baton/test/fleet"
)

// site is a control plane with real agents and servers, all on loopback.
type site struct {
	t      *testing.T
	ctx    context.Context
	hub    *hub.Hub
	j      *journal.Memory
	inv    *inventory.Inventory
	mon    *monitor.Monitor
	exec   *executor.Executor
	agents []string // ids
	dirs   []string // of the agents
	logs   *canary
}

// canary keeps everything that is logged, to look for passwords in it.
type canary struct {
	mu   sync.Mutex
	text strings.Builder
}

func (c *canary) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func newSite(t *testing.T, hosts int) *site {
	t.Helper()
	redistest.Binary(t)
	ctx, cancel := context.WithCancel(context.Background())
	s := &site{t: t, ctx: ctx, j: journal.NewMemory(time.Now), logs: &canary{}}
	var sink io.Writer = s.logs
	if os.Getenv("BATON_TEST_LOG") != "" {
		sink = io.MultiWriter(s.logs, os.Stderr)
	}
	log := slog.New(slog.NewTextHandler(sink, nil))
	dir := t.TempDir()
	ca, err := identity.OpenCA(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	tokens := access.New(s.j, time.Now)
	go func() { _ = s.j.Follow(ctx, 0, tokens.Take, nil) }()
	if s.hub, err = hub.New(hub.Options{CA: ca, Tokens: tokens, Logger: log}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.hub.Serve(ln) }()
	var wg sync.WaitGroup
	first, err := fleet.FreePorts(1) // other tests look for ports at the same time
	if err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		secret, _, err := tokens.Issue(hub.PurposeAgent)
		if err != nil {
			t.Fatal(err)
		}
		d := filepath.Join(dir, fmt.Sprintf("host-%d", i+1))
		token := identity.JoinToken{Address: ln.Addr().String(), CAFingerprint: ca.Fingerprint(), Secret: secret}.String()
		if err := agent.Join(ctx, d, token, fmt.Sprintf("host-%d", i+1)); err != nil {
			t.Fatal(err)
		}
		a, err := agent.Open(agent.Options{Dir: d, Drivers: []engine.Driver{redis.New()}, Version: "test", Logger: log, FirstPort: first[0]})
		if err != nil {
			t.Fatal(err)
		}
		wg.Add(1)
		go func() { defer wg.Done(); _ = a.Run(ctx); a.Close() }()
		s.agents, s.dirs = append(s.agents, a.ID()), append(s.dirs, d)
	}
	s.inv = inventory.New(s.j, log)
	go func() { _ = s.inv.Run(ctx) }()
	<-s.inv.Ready()
	s.mon = monitor.New(monitor.Options{Reports: s.hub, Inventory: s.inv, Now: time.Now})
	go func() { _ = s.mon.Run(ctx) }()
	box, err := seal.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	s.exec = executor.New(executor.Options{Journal: s.j, Inventory: s.inv, Agents: s.hub, Facts: s.mon, Audit: audit.NewLog(s.j), Term: 1, Log: log, Now: time.Now, Secrets: box})
	s.exec.Start(ctx)
	t.Cleanup(func() {
		for id, r := range s.hub.Reports() { // servers outlive their agents
			for _, p := range r.Processes {
				_, _ = s.hub.Order(context.Background(), id, agent.Order{Timeout: 20 * time.Second, Action: engine.Action{Name: agent.ActionProcessStop, Args: map[string]string{"name": p.Name, "graceMs": "1", "remove": "true"}}})
			}
		}
		cancel()
		s.exec.Wait()
		wg.Wait()
		s.hub.Close()
	})
	s.eventually("the agents report the programs they have", func() bool {
		n := 0
		for _, r := range s.hub.Reports() {
			if len(r.Programs) > 0 {
				n++
			}
		}
		return n == hosts
	})
	return s
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	redistest.Eventually(s.t, 60*time.Second, what, ok)
}

// ends waits for an operation and demands its state.
func (s *site) ends(id string, err error, want operation.State) operation.Operation {
	s.t.Helper()
	if err != nil {
		var refused *executor.RefusedError
		if errors.As(err, &refused) {
			s.t.Fatalf("refused: %+v", refused.Plan.Refusals)
		}
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.ctx, 3*time.Minute)
	defer cancel()
	o := s.exec.Await(ctx, id)
	if o.State != want {
		for _, st := range o.Steps {
			s.t.Logf("  %s %s: %s", st.State, st.ID, st.Detail)
		}
		s.t.Fatalf("%s ended %q, not %q: %s", o.Kind, o.State, want, o.Outcome)
	}
	return o
}

// passing are refusals that a stalled machine may bring and that go by
// themselves: reports came late.
var passing = map[string]bool{"primary.known": true, "engine.up": true, "sync.busy": true, "host": true}

// does begins an operation, again while only lateness stands against it, and
// waits for its end.
func (s *site) does(want operation.State, begin func() (string, error)) operation.Operation {
	s.t.Helper()
	var id string
	var err error
	s.eventually("the operation begins", func() bool {
		id, err = begin()
		var refused *executor.RefusedError
		if !errors.As(err, &refused) {
			return true
		}
		for _, r := range refused.Plan.Refusals {
			if !passing[r.Code] {
				return true
			}
		}
		return false
	})
	return s.ends(id, err, want)
}

// eventuallyRefusedBy is refusedBy for requests that ask hosts, which a stalled
// machine answers late.
func (s *site) eventuallyRefusedBy(code string, ask func() error) {
	s.t.Helper()
	s.eventually("a refusal by "+code, func() bool {
		var refused *executor.RefusedError
		if !errors.As(ask(), &refused) {
			return false
		}
		for _, r := range refused.Plan.Refusals {
			if r.Code == code && r.Title != "" && r.Fix != "" {
				return true
			}
		}
		return false
	})
}

// refusedBy demands that an error carries a refusal of a code.
func (s *site) refusedBy(code string, err error) {
	s.t.Helper()
	var refused *executor.RefusedError
	if !errors.As(err, &refused) {
		s.t.Errorf("wanted a refusal by %s: %v", code, err)
		return
	}
	for _, r := range refused.Plan.Refusals {
		if r.Code == code && r.Title != "" && r.Fix != "" {
			return
		}
	}
	s.t.Errorf("no refusal by %s in %+v", code, refused.Plan.Refusals)
}

func (s *site) node(i int, name string) plan.NewNode {
	return plan.NewNode{Name: name, Agent: s.agents[i], Priority: 100}
}

func (s *site) address(cluster, node string) string {
	c, _ := s.inv.Cluster(cluster)
	m, _ := c.Member(node)
	return m.Address
}

var ann = audit.Who{Name: "ann", Role: "admin", Source: "cli"}

// writer writes counted values to whatever is primary and remembers what was
// acknowledged.
type writer struct {
	stop  chan struct{}
	done  chan struct{}
	mu    sync.Mutex
	acked []int
}

func (s *site) write(cluster string, c executor.Credentials) *writer {
	w := &writer{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		clients := map[string]*goredis.Client{}
		defer func() {
			for _, cl := range clients {
				cl.Close()
			}
		}()
		for i := 0; ; i++ {
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
			in, _ := s.inv.Cluster(cluster)
			for _, m := range in.Members {
				if clients[m.Address] == nil {
					clients[m.Address] = goredis.NewClient(&goredis.Options{Addr: m.Address, Username: c.User, Password: c.Password, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
				}
				if clients[m.Address].Set(context.Background(), fmt.Sprintf("w:%d", i), i, 0).Err() == nil {
					w.mu.Lock()
					w.acked = append(w.acked, i)
					w.mu.Unlock()
					break
				}
			}
		}
	}()
	return w
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// client is a connection to one node as a database user.
func (s *site) client(addr string, c executor.Credentials) *goredis.Client {
	cl := goredis.NewClient(&goredis.Options{Addr: addr, Username: c.User, Password: c.Password, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	s.t.Cleanup(func() { cl.Close() })
	return cl
}

// TestClusterLife leads a Redis cluster through its life under a live writer:
// made on three hosts, a node added, a replica resynchronized, parameters and
// users changed, the durability raised, a node removed, deleted. Every
// acknowledged write is read back from every node, and no password is found in
// journal, audit or log.
func TestClusterLife(t *testing.T) {
	s := newSite(t, 3)
	policy := inventory.DefaultPolicy()
	policy.DeletionProtection = true
	q := executor.RequestCreate{NewCluster: plan.NewCluster{Name: "shop", Engine: engine.Redis, Nodes: []plan.NewNode{s.node(0, "a"), s.node(1, "b"), s.node(0, "s")}, MemoryBytes: 64 << 20},
		Policy: policy, Who: ann}
	var app executor.Credentials
	s.does(operation.StateDone, func() (id string, err error) {
		id, app, err = s.exec.Create(s.ctx, q)
		return id, err
	})
	if _, _, err := s.exec.Create(s.ctx, q); !errors.Is(err, executor.ErrClusterExists) {
		t.Errorf("made twice: %v", err)
	}
	w := s.write("shop", app)
	s.eventually("writes are acknowledged", func() bool { return w.count() > 100 })

	s.does(operation.StateDone, func() (string, error) {
		return s.exec.AddNode(s.ctx, executor.RequestNode{Cluster: "shop", Node: s.node(2, "d"), Who: ann})
	})
	_, err := s.exec.AddNode(s.ctx, executor.RequestNode{Cluster: "shop", Node: s.node(2, "d"), Who: ann})
	s.refusedBy("name.twice", err)

	if o := s.does(operation.StateDone, func() (string, error) {
		return s.exec.Resync(s.ctx, executor.RequestNode{Cluster: "shop", Node: plan.NewNode{Name: "b"}, Who: ann})
	}); !strings.Contains(o.Outcome, "from its offset") {
		t.Errorf("resync: %s", o.Outcome)
	}
	_, err = s.exec.Resync(s.ctx, executor.RequestNode{Cluster: "shop", Node: plan.NewNode{Name: "a"}, Who: ann})
	s.refusedBy("primary", err)

	s.does(operation.StateDone, func() (string, error) {
		return s.exec.SetParameters(s.ctx, executor.RequestParameters{Cluster: "shop", Values: map[string]string{"maxclients": "500"}, Former: map[string]string{"maxclients": "10000"},
			Restart: map[string]string{"databases": "32"}, Who: ann})
	})
	for _, n := range []string{"a", "b", "s", "d"} {
		v, err := s.exec.ReadParameters(s.ctx, "shop", n)
		if err != nil || v["maxclients"] != "500" || v["databases"] != "16" {
			t.Errorf("parameters of %s: %v %v", n, v, err)
		}
	}

	var bob, again executor.Credentials
	s.does(operation.StateDone, func() (id string, err error) {
		id, bob, err = s.exec.PutUser(s.ctx, "shop", "bob", engine.AccessRead, false, ann)
		return id, err
	})
	for _, n := range []string{"a", "d"} {
		c := s.client(s.address("shop", n), bob)
		if err := c.Get(s.ctx, "w:1").Err(); err != nil && !errors.Is(err, goredis.Nil) {
			t.Errorf("bob reads %s: %v", n, err)
		}
		if err := c.Set(s.ctx, "x", 1, 0).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("bob writes %s: %v", n, err)
		}
	}
	s.does(operation.StateDone, func() (id string, err error) {
		id, again, err = s.exec.PutUser(s.ctx, "shop", "bob", "", true, ann)
		return id, err
	})
	if err := s.client(s.address("shop", "d"), bob).Ping(s.ctx).Err(); err == nil {
		t.Error("bob's former password still works")
	}
	if err := s.client(s.address("shop", "d"), again).Ping(s.ctx).Err(); err != nil {
		t.Errorf("bob's new password: %v", err)
	}

	policy.DeletionProtection, policy.Durability, policy.SyncReplicas = false, inventory.DurabilitySync, 2
	s.does(operation.StateDone, func() (string, error) {
		return s.exec.SetPolicy(s.ctx, "shop", policy, -1, ann)
	})
	if c, _ := s.inv.Cluster("shop"); c.Policy.SyncReplicas != 2 {
		t.Errorf("policy %+v", c.Policy)
	}

	remove := executor.RequestNode{Cluster: "shop", Node: plan.NewNode{Name: "d"}, TypedName: "d", Wipe: true, Who: ann}
	bad := remove
	bad.TypedName = "shop"
	if _, err := s.exec.RemoveNode(s.ctx, bad); !errors.Is(err, executor.ErrTypedName) {
		t.Errorf("removed with a wrong name: %v", err)
	}
	bad.Node.Name, bad.TypedName = "a", "a"
	_, err = s.exec.RemoveNode(s.ctx, bad)
	s.refusedBy("primary", err)
	s.does(operation.StateDone, func() (string, error) {
		return s.exec.RemoveNode(s.ctx, remove)
	})
	bad.Node.Name, bad.TypedName = "b", "b" // two must be in step
	s.eventually("the removed node is not seen any more", func() bool { f, _ := s.mon.Facts("shop"); return f.Node("d") == nil })
	_, err = s.exec.RemoveNode(s.ctx, bad)
	s.refusedBy("sync.quorum", err)
	if _, err := os.Stat(filepath.Join(s.dirs[2], "servers", "shop--d")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the removed node's directory: %v", err)
	}

	close(w.stop)
	<-w.done
	s.readBack("shop", app, w)
	s.noSecrets(app, bob, again)

	_, err = s.exec.Delete(s.ctx, executor.RequestNode{Cluster: "shop", TypedName: "Shop", Who: ann})
	if !errors.Is(err, executor.ErrTypedName) {
		t.Errorf("deleted with a wrong name: %v", err)
	}
	s.does(operation.StateDone, func() (string, error) {
		return s.exec.Delete(s.ctx, executor.RequestNode{Cluster: "shop", TypedName: "shop", Wipe: true, Who: ann})
	})
	if _, there := s.inv.Cluster("shop"); there || !s.inv.Removed("shop") {
		t.Error("the cluster is still in the inventory")
	}
	s.eventually("no process is left", func() bool {
		for _, r := range s.hub.Reports() {
			if len(r.Processes) > 0 || len(r.Instances) > 0 {
				return false
			}
		}
		return true
	})
}

// readBack demands every acknowledged write on every node.
func (s *site) readBack(cluster string, c executor.Credentials, w *writer) {
	s.t.Helper()
	in, _ := s.inv.Cluster(cluster)
	for _, m := range in.Members {
		cl := s.client(m.Address, c)
		missing := -1
		s.eventually("every acknowledged write is on "+m.Name, func() bool {
			for from := 0; from < len(w.acked); from += 500 {
				chunk := w.acked[from:min(from+500, len(w.acked))]
				keys := make([]string, len(chunk))
				for i, n := range chunk {
					keys[i] = "w:" + strconv.Itoa(n)
				}
				v, err := cl.MGet(s.ctx, keys...).Result()
				if err != nil {
					return false
				}
				for i := range v {
					if v[i] != strconv.Itoa(chunk[i]) {
						missing = chunk[i]
						return false
					}
				}
			}
			return true
		})
		_ = missing
	}
	s.t.Logf("%d acknowledged writes are on each of %d nodes", len(w.acked), len(in.Members))
}

// noSecrets looks for passwords in everything the control plane keeps or says.
func (s *site) noSecrets(people ...executor.Credentials) {
	s.t.Helper()
	var all strings.Builder
	for _, stream := range []string{inventory.Stream("shop"), audit.Stream("shop")} {
		page, err := s.j.Read(s.ctx, stream, 0, 10000)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range page {
			all.Write(r.Data)
		}
	}
	s.logs.mu.Lock()
	all.WriteString(s.logs.text.String())
	s.logs.mu.Unlock()
	conf, err := os.ReadFile(filepath.Join(s.dirs[0], "servers", "shop--a", "redis.conf"))
	if err != nil {
		s.t.Fatal(err)
	}
	secrets := map[string]string{}
	for _, p := range people {
		secrets[p.Password] = p.User
	}
	for line := range strings.Lines(string(conf)) {
		if v, ok := strings.CutPrefix(line, "masterauth "); ok {
			secrets[strings.Trim(strings.TrimSpace(v), `"`)] = "Baton's own"
		}
	}
	if len(secrets) != len(people)+1 {
		s.t.Fatalf("%d secrets", len(secrets))
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		b, _ := os.ReadFile(p)
		all.Write(b)
	}
	for secret, who := range secrets {
		if len(secret) != 64 {
			s.t.Errorf("%s's password has %d characters", who, len(secret))
		}
		if strings.Contains(all.String(), secret) {
			s.t.Errorf("%s's password stands in journal, audit, log or a process' arguments", who)
		}
	}
}

// TestCreateRefused: each bad request is refused before anything is made.
func TestCreateRefused(t *testing.T) {
	s := newSite(t, 1)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for code, change := range map[string]func(*executor.RequestCreate){
		"name":        func(q *executor.RequestCreate) { q.Name = "саche" /* Cyrillic */ },
		"name.twice":  func(q *executor.RequestCreate) { q.Nodes[1].Name = "a" },
		"engine":      func(q *executor.RequestCreate) { q.Engine = "postgres" },
		"nodes":       func(q *executor.RequestCreate) { q.Nodes = nil },
		"host":        func(q *executor.RequestCreate) { q.Nodes[1].Agent = "nobody" },
		"host.taken":  func(q *executor.RequestCreate) { q.Nodes[1].Port = busy.Addr().(*net.TCPAddr).Port },
		"version":     func(q *executor.RequestCreate) { q.Version = "99.0.0" },
		"memory":      func(q *executor.RequestCreate) { q.MemoryBytes = 5 },
		"memory.host": func(q *executor.RequestCreate) { q.MemoryBytes = plan.MaxMemoryBytes },
		"sync": func(q *executor.RequestCreate) {
			q.Policy.Durability, q.Policy.SyncReplicas = inventory.DurabilitySync, 2
		},
		"priority": func(q *executor.RequestCreate) { q.Nodes[0].Priority = 1001 },
	} {
		q := executor.RequestCreate{NewCluster: plan.NewCluster{Name: "c", Engine: engine.Redis, Nodes: []plan.NewNode{s.node(0, "a"), s.node(0, "b")}}, Policy: inventory.DefaultPolicy(), Who: ann}
		change(&q)
		s.eventuallyRefusedBy(code, func() error { _, _, err := s.exec.Create(s.ctx, q); return err })
	}
	if list := s.inv.Clusters(); len(list) > 0 || len(s.hub.Reports()[s.agents[0]].Processes) > 0 {
		t.Errorf("something was made: %v", list)
	}
}

// TestAdopt: a primary with its replica is adopted as it runs and can be
// promoted; Sentinel, a wrong password and a chain are refused.
func TestAdopt(t *testing.T) {
	s := newSite(t, 1)
	servers := redistest.Cluster(t, 2)
	q := executor.RequestAdopt{Name: "old", Primary: servers[0].Instance.Address(), Agent: s.agents[0], Password: redistest.Password, Who: ann}
	bad := q
	bad.Password = "wrong"
	s.eventuallyRefusedBy("auth", func() error { _, err := s.exec.Adopt(s.ctx, bad); return err })
	bad.Password = "with\nline\x00"
	s.eventuallyRefusedBy("auth", func() error { _, err := s.exec.Adopt(s.ctx, bad); return err })
	bad = q
	bad.Primary = servers[1].Instance.Address()
	s.eventuallyRefusedBy("primary", func() error { _, err := s.exec.Adopt(s.ctx, bad); return err })
	bad.Primary = "127.0.0.1:1"
	s.eventuallyRefusedBy("unreachable", func() error { _, err := s.exec.Adopt(s.ctx, bad); return err })

	chained := redistest.Follower(t, servers[1])
	s.eventuallyRefusedBy("chain", func() error { _, err := s.exec.Adopt(s.ctx, q); return err })
	chained.Kill()
	s.eventually("the chain is gone", func() bool { return servers[1].Number("replication", "connected_slaves") == 0 })

	s.does(operation.StateDone, func() (string, error) { return s.exec.Adopt(s.ctx, q) })
	s.eventually("the replica may be promoted", func() bool {
		f, _ := s.mon.Facts("old")
		r := plan.Evaluate(&f, "old-2")
		return r.Promotable
	})
	s.eventually("it is promoted", func() bool { // taken back, or a verdict changed meanwhile, on a stalled machine
		p, err := s.exec.Plan("old", "old-2")
		if err != nil {
			t.Fatal(err)
		}
		id, err := s.exec.Promote(s.ctx, executor.Request{Cluster: "old", Node: "old-2", TypedName: "old-2", ReportHash: p.Report.Hash, Generation: p.Generation, Who: ann})
		return err == nil && s.exec.Await(s.ctx, id).State == operation.StateDone
	})
	_, err := s.exec.AddNode(s.ctx, executor.RequestNode{Cluster: "old", Node: s.node(0, "x"), Who: ann})
	s.refusedBy("made", err)
	s.does(operation.StateDone, func() (string, error) {
		return s.exec.Delete(s.ctx, executor.RequestNode{Cluster: "old", TypedName: "old", Who: ann})
	})
	if servers[1].Info("server") == nil {
		t.Error("deleting an adopted cluster ended its server")
	}

	redistest.Sentinel(t, servers[1])
	q.Primary = servers[1].Instance.Address()
	s.eventually("the Sentinel is seen", func() bool {
		_, p := s.exec.Look(s.ctx, q)
		for _, r := range p.Refusals {
			if r.Code == "manager.foreign" {
				return true
			}
		}
		return false
	})
	s.eventuallyRefusedBy("manager.foreign", func() error { _, err := s.exec.Adopt(s.ctx, q); return err })
}
