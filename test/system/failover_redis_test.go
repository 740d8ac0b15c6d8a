package system

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/access"
	"baton/control/agent"
	"baton/control/agent/guard"
	"baton/control/agent/hub"
	"baton/control/agent/supervise"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/keeper"
	"baton/control/lease"
	"baton/control/monitor"
	"baton/control/operation"
	"baton/platform/identity"
	"baton/test/fleet"
)

// failoverSite is a control plane in this process over three hosts: each is an agent
// of the real binary, with its guardian and its real server.
type failoverSite struct {
	t        *testing.T
	dir      string
	server   string
	password string
	tokens   *access.Store
	ca       *identity.CA
	addr     string
	hub      *hub.Hub
	inv      *inventory.Inventory
	mon      *monitor.Monitor
	keeper   *keeper.Keeper
	hosts    []*failoverHost
	log      *failoverLog
}

type failoverHost struct {
	s    *failoverSite
	name string
	port int
	dir  string
	cmd  *exec.Cmd
	c    *goredis.Client
}

const failoverCluster = "f"

// failoverWithin bounds each wait of a machine that does much else.
const failoverWithin = 3 * time.Minute

func startSite(t *testing.T) *failoverSite {
	t.Helper()
	server, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed (Debian: apt-get install redis-server); nothing of this test was run")
	}
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	s := &failoverSite{t: t, dir: t.TempDir(), server: server, password: "pa55 \"word", log: &failoverLog{}}
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the control plane:\n%s", s.log.String())
		}
	})
	if s.ca, err = identity.OpenCA(filepath.Join(s.dir, "ca")); err != nil {
		t.Fatal(err)
	}
	j := journal.NewMemory(time.Now)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	s.tokens = access.New(j, time.Now)
	s.inv = inventory.New(j, logger)
	memory := keeper.NewMemory()
	s.inv.Observe(memory.Take)
	go func() { _ = j.Follow(ctx, 0, s.tokens.Take, nil) }()
	go func() { _ = s.inv.Run(ctx) }()
	<-s.inv.Ready()
	if s.hub, err = hub.New(hub.Options{CA: s.ca, Tokens: s.tokens, Logger: logger, Hosts: []string{"127.0.0.1"}}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	go func() { _ = s.hub.Serve(ln) }()
	t.Cleanup(s.hub.Close)
	s.mon = monitor.New(monitor.Options{Reports: s.hub, Inventory: s.inv, Now: time.Now})
	go func() { _ = s.mon.Run(ctx) }()
	log := audit.NewLog(j)
	exec := executor.New(executor.Options{Journal: j, Inventory: s.inv, Agents: s.hub, Facts: s.mon, Audit: log, Term: 1, Log: logger, Now: time.Now})
	s.keeper = keeper.New(keeper.Options{Hub: s.hub, Inventory: s.inv, Memory: memory, Facts: s.mon.Facts, Operations: exec, Journal: j, Audit: log,
		Log: logger, Now: time.Now, Boot: guard.Now})
	exec.Leases = s.keeper
	s.hub.SetLeases(s.keeper)
	exec.Start(ctx)
	t.Cleanup(func() { stop(); exec.Wait() })
	go func() { _ = s.keeper.Lead(ctx, 1) }()
	ports, err := fleet.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range ports {
		h := &failoverHost{s: s, name: fmt.Sprintf("f-%d", i+1), port: p, dir: filepath.Join(s.dir, fmt.Sprintf("h%d", i+1))}
		h.c = goredis.NewClient(&goredis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", p), Password: s.password, Protocol: 2, DisableIdentity: true,
			MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: 2 * time.Second, PoolSize: 4})
		t.Cleanup(func() { h.c.Close() })
		s.hosts = append(s.hosts, h)
		t.Cleanup(h.end)
		h.start(binary)
	}
	s.found()
	return s
}

// start starts the host's agent.
func (h *failoverHost) start(binary string) {
	h.s.t.Helper()
	h.cmd = exec.Command(binary, "agent", "--data", h.dir, "--name", "host-"+h.name)
	h.cmd.Env = append(os.Environ(), "BATON_JOIN_TOKEN=")
	if !agent.Joined(h.dir) {
		secret, _, err := h.s.tokens.Issue(hub.PurposeAgent)
		if err != nil {
			h.s.t.Fatal(err)
		}
		h.cmd.Env = append(os.Environ(), "BATON_JOIN_TOKEN="+identity.JoinToken{Address: h.s.addr, CAFingerprint: h.s.ca.Fingerprint(), Secret: secret}.String())
	}
	out, err := os.OpenFile(h.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.s.t.Fatal(err)
	}
	defer out.Close()
	h.cmd.Stdout, h.cmd.Stderr = out, out
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.cmd.Start(); err != nil {
		h.s.t.Fatal(err)
	}
	h.s.await("the agent of "+h.name+" reports", func() (bool, string) {
		_, ok := h.agent()
		return ok, ""
	})
}

// agent is the host's agent's id.
func (h *failoverHost) agent() (string, bool) {
	for id, r := range h.s.hub.Reports() {
		if r.PID == h.cmd.Process.Pid && h.s.hub.Connected(id) {
			return id, true
		}
	}
	return "", false
}

// pid is the engine's or, from another file, the guardian's.
func (h *failoverHost) pid() int {
	b, err := os.ReadFile(filepath.Join(h.dir, "processes", h.name+".pid.json"))
	if err != nil {
		return 0
	}
	var run struct {
		PID int `json:"pid"`
	}
	_ = json.Unmarshal(b, &run)
	return run.PID
}

func (h *failoverHost) guardian() int {
	b, err := os.ReadFile(filepath.Join(guard.Dir(h.dir), "guardian.lock"))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// signalTo reaches what the test started, by its number.
func signalTo(pid int, sig syscall.Signal) {
	if pid > 1 {
		_ = syscall.Kill(pid, sig)
	}
}

func (h *failoverHost) end() {
	for _, pid := range []int{h.cmd.Process.Pid, h.guardian(), h.pid()} {
		signalTo(pid, syscall.SIGKILL)
	}
	_ = h.cmd.Wait()
	if h.s.t.Failed() {
		b, _ := os.ReadFile(h.dir + ".log")
		h.s.t.Logf("log of the agent of %s:\n%s", h.name, b[max(0, len(b)-6000):])
	}
}

// die ends everything on the host at once.
func (h *failoverHost) die() {
	for _, pid := range []int{h.cmd.Process.Pid, h.guardian(), h.pid()} {
		signalTo(pid, syscall.SIGKILL)
	}
	_ = h.cmd.Wait()
}

func (s *failoverSite) await(what string, ok func() (bool, string)) {
	s.t.Helper()
	if err := fleet.Await(failoverWithin, what, ok); err != nil {
		s.t.Fatal(err)
	}
}

// found makes the cluster: servers, instances, registration with a policy.
func (s *failoverSite) found() {
	s.t.Helper()
	var peers []engine.Peer
	spec := inventory.Spec{ID: failoverCluster, Name: failoverCluster, Engine: engine.Redis, Primary: s.hosts[0].name, Policy: inventory.DefaultPolicy()}
	spec.Policy.Failover, spec.Policy.Durability, spec.Policy.SyncReplicas, spec.Policy.CoolDownSeconds = inventory.FailoverNoLoss, inventory.DurabilitySync, 1, 0
	for _, h := range s.hosts {
		peers = append(peers, engine.Peer{Node: h.name, Host: "127.0.0.1", Port: h.port})
		spec.Members = append(spec.Members, inventory.Member{Name: h.name, Address: fmt.Sprintf("127.0.0.1:%d", h.port), Priority: 100})
	}
	order := func(h *failoverHost, name, arg string, v any) {
		s.t.Helper()
		id, ok := h.agent()
		if !ok {
			s.t.Fatalf("the agent of %s has no link", h.name)
		}
		b, _ := json.Marshal(v)
		r, err := s.hub.Order(context.Background(), id, agent.Order{Timeout: 30 * time.Second, Action: engine.Action{Name: name, Args: map[string]string{arg: string(b)}}})
		if err != nil || !r.OK() {
			s.t.Fatalf("%s on %s: %v %+v", name, h.name, err, r)
		}
	}
	for i, h := range s.hosts {
		data := filepath.Join(h.dir, "data")
		c := redis.Config{Host: "127.0.0.1", Port: h.port, Dir: data, Password: s.password, MinReplicas: 1}
		if i > 0 {
			c.ReplicaOf = &peers[0]
		}
		file, err := c.File()
		if err != nil {
			s.t.Fatal(err)
		}
		order(h, agent.ActionProcessStart, "spec", supervise.Spec{Name: h.name, Path: s.server, Dir: data, Env: []string{"PATH=/usr/bin:/bin"},
			Args: []string{"redis.conf"}, Files: []supervise.File{{Name: "redis.conf", Data: file}}})
		order(h, agent.ActionInstancePut, "instance", engine.Instance{Cluster: failoverCluster, Node: h.name, Engine: engine.Redis, Host: "127.0.0.1", Port: h.port,
			Dir: data, Process: h.name, Peers: peers, Auth: engine.Auth{Password: s.password}})
	}
	ctx, cancel := context.WithTimeout(context.Background(), failoverWithin)
	defer cancel()
	if err := s.inv.Register(ctx, spec); err != nil {
		s.t.Fatal(err)
	}
	s.ready()
}

// ready waits until the cluster is whole, guarded and could fail over, and
// returns its primary.
//
// A writer never rests, so that a replica is seen a few kilobytes behind by
// chance: waiting for two that are level at the same look took half a minute.
func (s *failoverSite) ready() *failoverHost {
	s.t.Helper()
	var p *failoverHost
	s.await("a whole cluster whose lease is held", func() (bool, string) {
		f, ok := s.keeper.Failover(failoverCluster)
		if !ok || f.Lease.State != lease.Held || !f.Enrolled || !f.Guarded || f.Running != "" {
			return false, fmt.Sprintf("lease %+v enrolled %v guarded %v running %q", f.Lease, f.Enrolled, f.Guarded, f.Running)
		}
		attached := 0
		for i := range f.Nodes {
			n := &f.Nodes[i]
			if n.Up() && n.Role() == engine.RoleReplica && n.Seen.LinkUp && n.Seen.LagBytes >= 0 && n.Seen.LagBytes < 64<<10 {
				attached++
			}
			if n.Name == f.Primary && n.Up() && n.Role() == engine.RolePrimary {
				attached++
			}
		}
		for _, h := range s.hosts {
			if h.name == f.Primary {
				p = h
			}
		}
		return attached == len(s.hosts) && p != nil && len(f.Samples) > 0, fmt.Sprintf("%d of %d in place", attached, len(s.hosts))
	})
	return p
}

// lastOperation is the newest operation of the cluster.
func (s *failoverSite) lastOperation() (operation.Operation, bool) {
	c, _ := s.inv.Cluster(failoverCluster)
	if len(c.Operations) == 0 {
		return operation.Operation{}, false
	}
	return s.inv.Operation(c.Operations[len(c.Operations)-1])
}

// failoverWriter writes one number after the other to whichever server says it is
// primary, each confirmed by a replica before it counts.
type failoverWriter struct {
	s    *failoverSite
	mu   sync.Mutex
	acks []failoverAck
	stop chan struct{}
	done chan struct{}
}

type failoverAck struct {
	n    int
	node string
	at   time.Time
}

func (s *failoverSite) write() *failoverWriter {
	w := &failoverWriter{s: s, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	s.await("the writer writes", func() (bool, string) { return w.count() > 20, "" })
	return w
}

func (w *failoverWriter) run() {
	defer close(w.done)
	ctx := context.Background()
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	var conn *goredis.Conn
	node := ""
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for n := 0; ; n++ {
		for {
			select {
			case <-w.stop:
				return
			default:
			}
			if conn == nil {
				conn, node = w.find(ctx)
				if conn == nil {
					<-pace.C
					continue
				}
			}
			err := conn.Set(ctx, "w:"+strconv.Itoa(n), n, 0).Err()
			var confirmed int64
			if err == nil {
				confirmed, err = conn.Wait(ctx, 1, 500*time.Millisecond).Result()
			}
			if err == nil && confirmed >= 1 {
				break
			}
			conn.Close()
			conn = nil
		}
		w.mu.Lock()
		w.acks = append(w.acks, failoverAck{n, node, time.Now()})
		w.mu.Unlock()
	}
}

func (w *failoverWriter) find(ctx context.Context) (*goredis.Conn, string) {
	for _, h := range w.s.hosts {
		c := h.c.Conn()
		quick, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		role, err := c.Do(quick, "ROLE").Slice()
		cancel()
		if err == nil && len(role) > 0 && role[0] == "master" {
			return c, h.name
		}
		c.Close()
	}
	return nil, ""
}

func (w *failoverWriter) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

// firstOn is the first acknowledgement by a node other than from, after a moment.
func (w *failoverWriter) firstNotOn(from string, after time.Time) (failoverAck, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.acks {
		if a.node != from && a.at.After(after) {
			return a, true
		}
	}
	return failoverAck{}, false
}

// back is the first acknowledgement after everything that took writes had
// ended: of the new primary, or where the same engine was started again, its
// own. One reply may still have been on its way, hence several are waited for.
func (w *failoverWriter) back(from string, after time.Time) (failoverAck, bool) {
	if a, ok := w.firstNotOn(from, after); ok {
		return a, true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, a := range w.acks {
		if a.at.After(after) && i+5 < len(w.acks) {
			return w.acks[i+1], true
		}
	}
	return failoverAck{}, false
}

// gap is the longest time between two acknowledgements since a moment.
func (w *failoverWriter) gap(since time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var longest time.Duration
	for i := 1; i < len(w.acks); i++ {
		if w.acks[i].at.After(since) {
			longest = max(longest, w.acks[i].at.Sub(w.acks[i-1].at))
		}
	}
	return longest
}

// readBack ends the writer and finds every acknowledged number on the primary.
func (w *failoverWriter) readBack(p *failoverHost) (acked, lost int) {
	close(w.stop)
	<-w.done
	ctx := context.Background()
	for i := 0; i < len(w.acks); i += 500 {
		part := w.acks[i:min(i+500, len(w.acks))]
		keys := make([]string, len(part))
		for k, a := range part {
			keys[k] = "w:" + strconv.Itoa(a.n)
		}
		got, err := p.c.MGet(ctx, keys...).Result()
		if err != nil {
			w.s.t.Fatal(err)
		}
		for k, v := range got {
			if v != strconv.Itoa(part[k].n) {
				lost++
				w.s.t.Errorf("write %d, acknowledged by %s at %s, reads back %v on %s", part[k].n, part[k].node, part[k].at.Format("05.000"), v, p.name)
			}
		}
	}
	return len(w.acks), lost
}

// stubborn are clients that keep writing to one server, waiting as long as it
// takes for each answer; ended when the server ends their connection.
type stubbornClients struct {
	mu   sync.Mutex
	last time.Time // of the last acknowledged write
	n    int
	wg   sync.WaitGroup
}

func (h *failoverHost) stubborn(clients int) *stubbornClients {
	b := &stubbornClients{}
	for i := range clients {
		c := goredis.NewClient(&goredis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", h.port), Password: h.s.password, Protocol: 2, DisableIdentity: true,
			MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: failoverWithin, PoolSize: 1})
		b.wg.Add(1)
		go func() {
			defer b.wg.Done()
			defer c.Close()
			ctx := context.Background()
			conn := c.Conn()
			defer conn.Close()
			for n := 0; conn.Set(ctx, fmt.Sprintf("stubborn:%d", i), n, 0).Err() == nil; n++ {
				b.mu.Lock()
				b.last, b.n = time.Now(), b.n+1
				b.mu.Unlock()
			}
		}()
	}
	h.s.await("stubborn clients write", func() (bool, string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.n > clients, ""
	})
	return b
}

// TestRedisFailsOverByItself: the primary's engine is killed beside a live
// agent, then everything on its failoverHost, then both are frozen for six seconds.
// Each time the furthest replica takes over, nothing that a replica confirmed
// is lost, the old primary acknowledges nothing after the new one's first
// write, and it returns as a replica by itself.
func TestRedisFailsOverByItself(t *testing.T) {
	t.Parallel()
	s := startSite(t)
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	w := s.write()

	// On a machine that stands still for seconds a replica may not be read in
	// time; then the same engine is started again, which loses nothing either.
	takenOver := func(name string, old *failoverHost, began time.Time) failoverAck {
		t.Helper()
		dead := time.Now() // the signals are sent
		s.await("writes are taken again after "+name, func() (bool, string) {
			_, ok := w.back(old.name, dead)
			st, _ := s.keeper.Status(failoverCluster)
			return ok, fmt.Sprintf("%+v", st.Decision)
		})
		first, _ := w.back(old.name, dead)
		if o, ok := s.lastOperation(); first.node != old.name && (!ok || o.Kind != operation.Failover) {
			t.Fatalf("%s: the last operation is %+v", name, o)
		}
		defer func() {
			if first.node == old.name {
				fmt.Printf("failover: %s: %s was started again in place\n", name, old.name)
			}
		}()
		fmt.Printf("failover: %-38s writes back after %6.0f ms on %s; longest gap %6.0f ms\n", name, first.at.Sub(began).Seconds()*1000, first.node, w.gap(began).Seconds()*1000)
		return first
	}

	old := s.ready()
	began := time.Now()
	signalTo(old.pid(), syscall.SIGKILL)
	takenOver("engine killed, agent alive", old, began)

	old = s.ready() // the old primary is back as a replica
	began = time.Now()
	old.die()
	takenOver("everything on the host killed", old, began)
	old.start(binary)

	old = s.ready()
	b := old.stubborn(6)
	began = time.Now()
	engine, agentPID := old.pid(), old.cmd.Process.Pid
	signalTo(agentPID, syscall.SIGSTOP)
	signalTo(engine, syscall.SIGSTOP)
	thaw := time.AfterFunc(6*time.Second, func() {
		signalTo(engine, syscall.SIGCONT)
		signalTo(agentPID, syscall.SIGCONT)
	})
	defer thaw.Stop()
	first := takenOver("engine and agent frozen for 6 s", old, began)
	p := s.ready()
	b.wg.Wait() // the old primary ended their connections
	if first.node != old.name && b.last.After(first.at) {
		t.Errorf("%s acknowledged a write at %s, after %s acknowledged its first at %s", old.name, b.last.Format("05.000"), first.node, first.at.Format("05.000"))
	}
	fmt.Printf("failover: the old primary's last of %d acknowledged writes came %.0f ms before the new one's first\n", b.n, first.at.Sub(b.last).Seconds()*1000)

	acked, lost := w.readBack(p)
	fmt.Printf("failover: %d writes confirmed by a replica, %d lost; bundles of former primaries: %d\n", acked, lost, len(s.keeper.Bundles(failoverCluster)))
	for _, bundle := range s.keeper.Bundles(failoverCluster) {
		if st, err := os.Stat(bundle.Path); err != nil || st.Size() == 0 || st.Size() != bundle.Bytes {
			t.Errorf("bundle %+v: %v", bundle, err)
		}
	}
	if c, _ := s.inv.Cluster(failoverCluster); c.Generation > 0 && len(s.keeper.Bundles(failoverCluster)) == 0 {
		t.Error("no former primary's writes were saved")
	}
	if _, bad := s.inv.VerifyAudit(failoverCluster); bad >= 0 {
		t.Errorf("record %d of the audit does not fit", bad)
	}
}

// failoverLog is written from many goroutines.
type failoverLog struct {
	mu sync.Mutex
	b  strings.Builder
}

var _ io.Writer = (*failoverLog)(nil)

func (l *failoverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *failoverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
