package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/control/access"
	"baton/control/agent"
	"baton/control/agent/hub"
	"baton/control/agent/supervise"
	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/engine/redis/redistest"
	"baton/control/journal"
	"baton/platform/identity"
)

// The test binary is also the agent process: killing it is killing a real
// process, and what it supervised must go on.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BATON_TEST_AGENT_DIR"); dir != "" {
		runAgent(dir)
		return
	}
	os.Exit(m.Run())
}

func runAgent(dir string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	a, err := agent.Open(agent.Options{Dir: dir, Drivers: []engine.Driver{redis.New()}, Version: "test", Logger: log})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer a.Close()
	_ = a.Run(ctx)
}

// world is a hub with one agent process.
type world struct {
	t      *testing.T
	hub    *hub.Hub
	ca     *identity.CA
	tokens *access.Store
	addr   string
	dir    string // agent's
	id     string
	cmd    *exec.Cmd
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	ca, err := identity.OpenCA(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	j := journal.NewMemory(time.Now)
	tokens := access.New(j, time.Now)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() { _ = j.Follow(ctx, 0, tokens.Take, nil) }()
	h, err := hub.New(hub.Options{CA: ca, Tokens: tokens, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go h.Serve(ln)
	t.Cleanup(h.Close)
	return &world{t: t, hub: h, ca: ca, tokens: tokens, addr: ln.Addr().String(), dir: filepath.Join(dir, "agent")}
}

func (w *world) token() string {
	w.t.Helper()
	s, _, err := w.tokens.Issue(hub.PurposeAgent)
	if err != nil {
		w.t.Fatal(err)
	}
	return identity.JoinToken{Address: w.addr, CAFingerprint: w.ca.Fingerprint(), Secret: s}.String()
}

func (w *world) join() *world {
	w.t.Helper()
	if err := agent.Join(context.Background(), w.dir, w.token(), "host-1"); err != nil {
		w.t.Fatal(err)
	}
	w.startAgent()
	return w
}

func (w *world) startAgent() {
	w.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "BATON_TEST_AGENT_DIR="+w.dir)
	log, err := os.OpenFile(filepath.Join(w.dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.cmd = cmd
	w.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		if w.t.Failed() {
			b, _ := os.ReadFile(filepath.Join(w.dir, "agent.log"))
			w.t.Logf("agent's log:\n%s", b)
		}
	})
	redistest.Eventually(w.t, 15*time.Second, "the agent reports from its new process", func() bool {
		for id, r := range w.hub.Reports() {
			if w.hub.Connected(id) && r.PID == cmd.Process.Pid {
				w.id = id
				return true
			}
		}
		return false
	})
}

func (w *world) killAgent() {
	w.t.Helper()
	w.cmd.Process.Kill()
	w.cmd.Wait()
	redistest.Eventually(w.t, 10*time.Second, "the hub notices", func() bool { return !w.hub.Connected(w.id) })
}

func (w *world) order(o agent.Order) (agent.Result, error) {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	return w.hub.Order(context.Background(), w.id, o)
}

// must carries an order out and fails the test on any refusal.
func (w *world) must(cluster, node string, gen uint64, name string, kv ...string) map[string]string {
	w.t.Helper()
	r, err := w.order(agent.Order{Cluster: cluster, Node: node, Generation: gen, Term: 1, Action: action(name, kv...)})
	if err != nil || !r.OK() {
		w.t.Fatalf("%s on %s: %+v, %v", name, node, r, err)
	}
	return r.Values
}

func action(name string, kv ...string) engine.Action {
	a := engine.Action{Name: name, Args: map[string]string{}}
	for i := 0; i+1 < len(kv); i += 2 {
		a.Args[kv[i]] = kv[i+1]
	}
	return a
}

func (w *world) put(in engine.Instance) {
	w.t.Helper()
	b, _ := json.Marshal(in)
	w.must("", "", 0, agent.ActionInstancePut, "instance", string(b))
}

func (w *world) process(name string) engine.ProcessState {
	for _, p := range w.hub.Reports()[w.id].Processes {
		if p.Name == name {
			return p
		}
	}
	return engine.ProcessState{}
}

func TestJoinTokenWorksOnceAndOnlyWithItsAuthority(t *testing.T) {
	w := newWorld(t)
	tok := w.token()
	if err := agent.Join(context.Background(), w.dir, tok, "host-1"); err != nil {
		t.Fatal(err)
	}
	if err := agent.Join(context.Background(), filepath.Join(t.TempDir(), "b"), tok, "host-2"); err == nil || !strings.Contains(err.Error(), "already used") {
		t.Errorf("a token was used twice: %v", err)
	}
	if err := agent.Join(context.Background(), w.dir, w.token(), "host-1"); err == nil {
		t.Error("a joined directory joined again")
	}
	// The server of another authority is refused before the secret is sent.
	parsed, err := identity.ParseToken(w.token())
	if err != nil {
		t.Fatal(err)
	}
	parsed.CAFingerprint = strings.Repeat("0", 64)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := agent.Join(ctx, filepath.Join(t.TempDir(), "c"), parsed.String(), "host-3"); err == nil {
		t.Error("a server of another authority was trusted")
	}
	if err := w.tokens.Redeem(parsed.Secret, hub.PurposeAgent); err != nil {
		t.Errorf("the secret was used up by a join that did not trust the server: %v", err)
	}
	for _, f := range []string{"agent.key", "agent.crt", "agent.json"} {
		st, err := os.Stat(filepath.Join(w.dir, f))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, st, err)
		}
	}
}

func TestOrdersAreFencedBoundAndNotRepeated(t *testing.T) {
	w := newWorld(t).join()
	fenced := func(gen, term uint64) agent.Result {
		t.Helper()
		r, err := w.order(agent.Order{Cluster: "c1", Generation: gen, Term: term, Action: action(agent.ActionFence)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := fenced(3, 2); !r.OK() {
		t.Fatalf("first order: %+v", r)
	}
	if r := fenced(2, 9); r.Code != agent.CodeStale {
		t.Errorf("an older generation: %+v", r)
	}
	if r := fenced(3, 1); r.Code != agent.CodeStale {
		t.Errorf("an older term: %+v", r)
	}
	if r := fenced(3, 2); !r.OK() {
		t.Errorf("the same pair again: %+v", r)
	}
	w.killAgent()
	if _, err := w.order(agent.Order{Action: action(agent.ActionPing)}); !errors.Is(err, agent.ErrNotConnected) {
		t.Errorf("order to a dead agent: %v", err)
	}
	w.startAgent()
	if r := fenced(2, 9); r.Code != agent.CodeStale || !strings.Contains(r.Detail, "generation 3") {
		t.Errorf("an older generation after the agent's restart: %+v", r)
	}

	// The same id is answered with the first result.
	first, err := w.order(agent.Order{ID: "same", Action: action(agent.ActionPing)})
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.order(agent.Order{ID: "same", Action: action(agent.ActionPing)})
	if err != nil || second.Values["time"] != first.Values["time"] {
		t.Errorf("a repeated order was done again: %v, %v, %v", first, second, err)
	}
	for _, o := range []agent.Order{
		{Cluster: "c1", Generation: 3, Term: 2, Node: "nobody", Action: action(engine.Promote)},
		{Cluster: "c1", Generation: 3, Term: 2, Action: action(engine.ProbeStop, "id", "none")},
		{Action: action(agent.ActionInstancePut, "instance", "{")},
		{Action: action(agent.ActionProcessStart, "spec", `{"name":"x","path":"relative","dir":"/tmp"}`)},
		{Action: action("no-such-action")},
	} {
		if r, err := w.order(o); err != nil || r.OK() || r.Detail == "" {
			t.Errorf("%s was said to be done: %+v, %v", o.Action.Name, r, err)
		}
	}
	if _, err := w.hub.Order(context.Background(), w.id, agent.Order{Action: action(agent.ActionPing)}); err == nil {
		t.Error("an order without a timeout was sent")
	}

	// An agent that stands still for longer than the order's time refuses it.
	if err := w.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, 5*time.Second, "the agent stands still", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.cmd.Process.Pid))
		return strings.Contains(string(b), ") T ")
	})
	_, err = w.order(agent.Order{ID: "late", Timeout: 300 * time.Millisecond, Action: action(agent.ActionPing)})
	if !errors.Is(err, agent.ErrOutcomeUnknown) {
		t.Errorf("order to a frozen agent: %v", err)
	}
	w.cmd.Process.Signal(syscall.SIGCONT)
	redistest.Eventually(t, 10*time.Second, "the thawed agent answers again", func() bool {
		r, err := w.order(agent.Order{Timeout: 10 * time.Second, Action: action(agent.ActionPing)})
		return err == nil && r.OK()
	})
	if r, err := w.order(agent.Order{ID: "late", Action: action(agent.ActionPing)}); err == nil && r.OK() {
		t.Errorf("an order that came after its deadline was done: %+v", r)
	}
}

// supervisedRedis starts a Redis server as a process of the agent.
func (w *world) supervisedRedis(node string) (engine.Instance, int) {
	w.t.Helper()
	bin := redistest.Binary(w.t)
	c := redis.Config{Host: "127.0.0.1", Port: redistest.FreePort(w.t), Dir: filepath.Join(w.t.TempDir(), node), Password: redistest.Password}
	text, err := c.File()
	if err != nil {
		w.t.Fatal(err)
	}
	spec, _ := json.Marshal(supervise.Spec{Name: node, Path: bin, Args: []string{"redis.conf"}, Dir: c.Dir,
		Files: []supervise.File{{Name: "redis.conf", Data: text}}, StopGrace: 5 * time.Second})
	v := w.must("", "", 0, agent.ActionProcessStart, "spec", string(spec))
	pid, _ := strconv.Atoi(v["pid"])
	w.t.Cleanup(func() { syscall.Kill(-pid, syscall.SIGKILL) })
	in := engine.Instance{Cluster: "c1", Node: node, Engine: engine.Redis, Host: c.Host, Port: c.Port, Dir: c.Dir,
		Auth: engine.Auth{Password: redistest.Password}, Process: node}
	w.put(in)
	return in, pid
}

func TestKillingTheAgentLeavesDatabasesRunningAndTheNextAdoptsThem(t *testing.T) {
	w := newWorld(t).join()
	in, pid := w.supervisedRedis("db1")
	client := (&redistest.Server{Instance: in}).ClientFor(t)
	redistest.Eventually(t, 10*time.Second, "the database answers", func() bool { return client.Ping(context.Background()).Err() == nil })
	if err := client.Set(context.Background(), "kept", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if sid, err := syscall.Getpgid(pid); err != nil || sid != pid {
		t.Errorf("the database is not in a session of its own: group %d, %v", sid, err)
	}
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if strings.Contains(string(cmdline), redistest.Password) {
		t.Error("the password stands in the process's arguments")
	}
	if st, err := os.Stat(filepath.Join(in.Dir, "redis.conf")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("configuration file: %v, %v", st, err)
	}

	w.killAgent()
	if got, err := client.Get(context.Background(), "kept").Result(); err != nil || got != "1" {
		t.Fatalf("the database did not go on without its agent: %q, %v", got, err)
	}
	w.startAgent()
	redistest.Eventually(t, 10*time.Second, "the new agent reports the same process as adopted", func() bool {
		p := w.process("db1")
		return p.PID == pid && p.Adopted && p.State == supervise.StateRunning
	})
	redistest.Eventually(t, 10*time.Second, "the new agent observes it", func() bool {
		for _, r := range w.hub.Reports()[w.id].Instances {
			if r.Node == "db1" && r.Observation != nil && r.Observation.Role == engine.RolePrimary && r.Disk != nil && r.Disk.FsyncP99Ms != nil {
				return r.ProcessInfo != nil && r.ProcessInfo.PID == pid
			}
		}
		return false
	})
	if v := w.must("", "", 0, agent.ActionProcessStart, "spec", w.spec("db1")); v["alreadyDone"] != "true" || v["pid"] != strconv.Itoa(pid) {
		t.Errorf("an adopted process was started again: %v", v)
	}

	// A crash of an adopted database is noticed and mended.
	syscall.Kill(pid, syscall.SIGKILL)
	redistest.Eventually(t, 10*time.Second, "the database is started again", func() bool {
		p := w.process("db1")
		return p.State == supervise.StateRunning && p.PID != pid && p.PID != 0
	})
	redistest.Eventually(t, 10*time.Second, "it has its data", func() bool {
		return client.Get(context.Background(), "kept").Val() == "1"
	})
	second := w.process("db1").PID
	t.Cleanup(func() { syscall.Kill(-second, syscall.SIGKILL) })
	w.must("", "", 0, agent.ActionProcessStop, "name", "db1")
	if err := syscall.Kill(second, 0); err == nil {
		t.Error("a stopped process still runs")
	}
	w.killAgent()
	w.startAgent()
	redistest.Eventually(t, 5*time.Second, "it stays stopped over an agent's restart", func() bool {
		return w.process("db1").State == supervise.StateStopped
	})
}

// spec is the stored spec of a process.
func (w *world) spec(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "processes", name+".spec.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	var r struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		w.t.Fatal(err)
	}
	return string(r.Spec)
}

// TestPromotionThroughTheLink runs a whole planned promotion as orders, with the
// probe, several times back and forth, and checks what it proves and how long
// writes stood still.
func TestPromotionThroughTheLink(t *testing.T) {
	w := newWorld(t).join()
	servers := redistest.Cluster(t, 3)
	byNode := map[string]engine.Instance{}
	for _, s := range servers {
		in := s.Instance
		in.Cluster = "c1"
		byNode[in.Node] = in
		w.put(in)
	}
	redistest.Eventually(t, 10*time.Second, "all three are observed", func() bool {
		n := 0
		for _, r := range w.hub.Reports()[w.id].Instances {
			if r.Observation != nil && r.Observation.Up {
				n++
			}
		}
		return n == 3
	})
	from, to := "r1", "r2"
	for round := range 6 {
		gen := uint64(round + 1)
		id := fmt.Sprint("p", round)
		a, b := byNode[from], byNode[to]
		w.must("c1", "", gen, engine.ProbeStart, "id", id)
		w.must("c1", from, gen, engine.CheckAuth, "addr", b.Address())
		w.must("c1", from, gen, engine.PauseWrites, "ms", "30000")
		off := w.must("c1", from, gen, engine.ReadOffset)
		if off["stable"] != "true" {
			t.Fatalf("offset moves during the pause: %v", off)
		}
		w.must("c1", to, gen, engine.WaitOffset, "offset", off["offset"], "replid", off["replid"], "deadlineMs", "20000")
		w.must("c1", "", gen+1, agent.ActionFence)
		w.must("c1", from, gen+1, engine.Demote, "addr", b.Address())
		promoted := w.must("c1", to, gen+1, engine.Promote)
		for _, node := range []string{"r1", "r2", "r3"} {
			if node != to {
				w.must("c1", node, gen+1, engine.Repoint, "addr", b.Address())
			}
		}
		w.must("c1", from, gen+1, engine.UnpauseWrites)
		w.must("c1", from, gen+1, engine.KickClients)
		for _, node := range []string{"r1", "r2", "r3"} {
			w.must("c1", node, gen+1, engine.Persist)
		}
		for _, node := range []string{"r1", "r2", "r3"} {
			if node != to {
				w.must("c1", node, gen+1, engine.VerifyRole, "role", "replica", "addr", b.Address(), "waitMs", "20000")
			}
		}
		w.must("c1", to, gen+1, engine.VerifyRole, "role", "primary", "replicas", "2", "syncFull", promoted["syncFull"], "waitMs", "20000")
		seq := fmt.Sprint(round)
		w.must("c1", to, gen+1, engine.ProbeWrite, "seq", seq)
		w.must("c1", from, gen+1, engine.ProbeRead, "seq", seq, "waitMs", "20000")
		v := w.must("c1", "", gen+1, engine.ProbeStop, "id", id)
		t.Logf("round %d: acked %s, lost %s, longest gap %s ms, longest wait %s ms", round, v["acked"], v["lost"], v["longestGapMs"], v["longestWaitMs"])
		if v["lost"] != "0" || v["complete"] != "true" || v["readFrom"] != b.Address() {
			t.Fatalf("the probe's proof: %v", v)
		}
		again := w.must("c1", "", gen+1, engine.ProbeStop, "id", id)
		if again["acked"] != v["acked"] {
			t.Errorf("a repeated stop reports differently: %v", again)
		}
		if r, err := w.order(agent.Order{Cluster: "c1", Node: from, Generation: gen, Term: 99, Action: action(engine.Promote)}); err != nil || r.Code != agent.CodeStale {
			t.Errorf("an order of the generation before: %+v, %v", r, err)
		}
		if a.Address() == b.Address() {
			t.Fatal("the test is wrong")
		}
		from, to = to, from
	}
	client := servers[0].Client()
	if keys, err := client.Keys(context.Background(), "__baton:probe:*").Result(); err != nil || len(keys) != 0 {
		t.Errorf("probe keys are left: %v, %v", keys, err)
	}
}
