package system

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"baton/control/demo"
	"baton/test/fleet"
)

// upSite is `baton up --demo` as a process of its own, its API, and the Redis
// servers it started.
type upSite struct {
	t      *testing.T
	binary string
	data   string
	listen string
	agents string
	cmd    *exec.Cmd
	token  string
	redis  []redisNode
}

type redisNode struct {
	Name string `json:"name"`
	Port int    `json:"port"`
	c    *redis.Client
}

// quiet keeps the Redis client from printing every refused connection: servers
// are killed here on purpose.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quiet{}) }

// startUp starts everything on this machine and waits until the Redis cluster
// is healthy. Without redis-server the test is skipped with that reason.
func startUp(t *testing.T) *upSite {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed (Debian: apt-get install redis-server); nothing of this test was run")
	}
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := fleet.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	s := &upSite{t: t, binary: binary, data: t.TempDir(), listen: fmt.Sprintf("127.0.0.1:%d", ports[0]), agents: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	watchedRedis(t, s.data)
	s.start("--keep")
	t.Cleanup(func() {
		// The last run is one without --keep, which ends the databases too.
		s.kill()
		s.start()
		s.stop()
	})
	b, err := os.ReadFile(filepath.Join(s.data, "cli-token"))
	if err != nil {
		t.Fatal(err)
	}
	s.token = strings.TrimSpace(string(b))
	var layout struct {
		Redis         []redisNode `json:"redis"`
		RedisPassword string      `json:"redisPassword"`
	}
	if b, err = os.ReadFile(filepath.Join(s.data, "demo", "layout.json")); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &layout); err != nil {
		t.Fatal(err)
	}
	for _, n := range layout.Redis {
		n.c = redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", n.Port), Password: layout.RedisPassword, Protocol: 2,
			MaxRetries: -1, DialTimeout: 2 * time.Second, ReadTimeout: 8 * time.Second, PoolSize: 64, DisableIdentity: true})
		s.redis = append(s.redis, n)
	}
	s.healthy()
	return s
}

// watchedRedis lays the demo out with Redis servers that Baton only watches and promotes: one password, no lease, no
// failover by itself.
func watchedRedis(t *testing.T, data string) {
	t.Helper()
	ports, err := fleet.FreePorts(5)
	if err != nil {
		t.Fatal(err)
	}
	var l demo.Layout
	for i := range 3 {
		l.Redis = append(l.Redis, demo.RedisNode{Name: fmt.Sprintf("cache-%d", i+1), Port: ports[i]})
	}
	l.RedisPassword, l.RedisReadWrite, l.RedisReadOnly = "for-everybody-in-this-test", ports[3], ports[4]
	b, err := json.Marshal(l)
	if err == nil {
		err = os.MkdirAll(filepath.Join(data, "demo"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "demo", "layout.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *upSite) start(extra ...string) {
	s.t.Helper()
	args := append([]string{"up", "--demo", "--data", s.data, "--listen", s.listen, "--agent-listen", s.agents}, extra...)
	s.cmd = exec.Command(s.binary, args...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	var stderr bytes.Buffer
	s.cmd.Stderr = &stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "Ctrl-C") {
				ready <- true
			}
		}
		ready <- false
	}()
	select {
	case ok := <-ready:
		if !ok {
			s.t.Fatalf("baton up ended: %s", stderr.String())
		}
	case <-time.After(startWithin):
		s.t.Fatalf("baton is not ready after %s", startWithin)
	}
}

func (s *upSite) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *upSite) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(startWithin):
		s.t.Error("baton up does not stop")
		_ = s.cmd.Process.Kill()
		<-done
	}
}

func (s *upSite) call(method, path string, in, out any) (int, error) {
	var body io.Reader
	if in != nil {
		b, _ := json.Marshal(in)
		body = bytes.NewReader(b)
	}
	req, _ := http.NewRequest(method, "http://"+s.listen+"/api/v1"+path, body)
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	if res.StatusCode >= 300 {
		return res.StatusCode, fmt.Errorf("%s %s: %s", method, path, b)
	}
	return res.StatusCode, json.Unmarshal(b, out)
}

type clusterView struct {
	Verdict struct{ Level, Sentence string }
	Primary *struct{ Node string }
}

// healthy waits until the cluster is and returns its primary.
func (s *upSite) healthy() string {
	s.t.Helper()
	var c clusterView
	err := fleet.Await(rolesWithin, "a healthy Redis cluster", func() (bool, string) {
		c = clusterView{}
		_, err := s.call("GET", "/clusters/cache", nil, &c)
		return err == nil && c.Verdict.Level == "healthy" && c.Primary != nil, fmt.Sprintf("%+v %v", c, err)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return c.Primary.Node
}

type operationView struct {
	ID, State, Outcome, Node string
	PastPointOfNoReturn      bool
	Steps                    []struct {
		ID, State, Detail  string
		StartedAt, EndedAt time.Time
	}
	Stall *struct{ ProbeMs, AgentMs *float64 }
	Proof *struct {
		Acked, ReadBack, Lost *string
		Sentence              string
	}
}

// promote asks for a promotion as a person would: plan, then confirm.
func (s *upSite) promote(node string) string { return s.promoteIn("cache", node) }

func (s *upSite) promoteIn(cluster, node string) string {
	s.t.Helper()
	var id string
	err := fleet.Await(endsWithin, "an accepted promotion of "+node, func() (bool, string) {
		var err error
		id, err = s.tryPromote(cluster, node)
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// tryPromote asks once.
func (s *upSite) tryPromote(cluster, node string) (id string, err error) {
	var p struct {
		Report     struct{ Hash, Reason string }
		Generation string
	}
	if _, err := s.call("POST", "/clusters/"+cluster+"/plan", map[string]any{"node": node}, &p); err != nil {
		return "", err
	}
	var a struct{ OperationID string }
	_, err = s.call("POST", "/clusters/"+cluster+"/promotions", map[string]any{"node": node, "typedName": node, "reportHash": p.Report.Hash, "generation": p.Generation, "reason": "test"}, &a)
	if err != nil {
		err = fmt.Errorf("%w (%s)", err, p.Report.Reason)
	}
	return a.OperationID, err
}

func (s *upSite) end(id string, limit time.Duration) operationView {
	s.t.Helper()
	var o operationView
	err := fleet.Await(limit, "the end of "+id, func() (bool, string) {
		o = operationView{}
		_, err := s.call("GET", "/operations/"+id, nil, &o)
		return err == nil && (o.State == "done" || o.State == "rolled-back" || o.State == "needs-human"), fmt.Sprintf("%s %v %v", o.State, o.Steps, err)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// info reads fields of INFO replication and stats.
func (n *redisNode) info() map[string]string {
	out := map[string]string{}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, section := range []string{"replication", "stats"} {
		for _, l := range strings.Split(n.c.Info(ctx, section).Val(), "\r\n") {
			if k, v, ok := strings.Cut(l, ":"); ok {
				out[k] = v
			}
		}
	}
	return out
}

// startWithin bounds start and end of the program on a busy machine.
const startWithin = 3 * time.Minute

// endsWithin bounds an operation.
const endsWithin = 3 * time.Minute

// rolesWithin bounds how long roles may take to settle: an agent waits up to
// half a minute before it starts a server again that ended several times in a
// row.
const rolesWithin = 3 * time.Minute

// checkRoles demands one primary and that both others follow it with their
// links up; it returns the full synchronizations served by all.
func (s *upSite) checkRoles(want string) (fullSyncs int) {
	s.t.Helper()
	err := fleet.Await(rolesWithin, "roles after the operation", func() (bool, string) {
		fullSyncs = 0
		primaries, following := 0, 0
		port := ""
		infos := map[string]map[string]string{}
		for i := range s.redis {
			n := &s.redis[i]
			infos[n.Name] = n.info()
			if infos[n.Name]["role"] == "master" {
				primaries++
				if n.Name == want || want == "" {
					port = strconv.Itoa(n.Port)
				}
			}
			f, _ := strconv.Atoi(infos[n.Name]["sync_full"])
			fullSyncs += f
		}
		for _, in := range infos {
			if in["role"] == "slave" && in["master_port"] == port && in["master_link_status"] == "up" {
				following++
			}
		}
		seen := ""
		for _, n := range s.redis {
			in := infos[n.Name]
			seen += fmt.Sprintf(" %s(%d): %s of %s link %s;", n.Name, n.Port, in["role"], in["master_port"], in["master_link_status"])
		}
		return primaries == 1 && port != "" && following == len(s.redis)-1, fmt.Sprintf("%d primaries, %d follow %s:%s", primaries, following, want, seen)
	})
	if err != nil {
		s.t.Error(err)
	}
	return fullSyncs
}

// redisWriter is one closed-loop writer that finds the primary by asking every
// node for its role, about one write a millisecond. Each value is a key of its
// own, so that everything acknowledged can be read back.
type redisWriter struct {
	s       *upSite
	name    string
	stop    chan struct{}
	done    sync.WaitGroup
	mu      sync.Mutex
	acked   []int64
	last    time.Time
	longest fleet.Gap
}

func (s *upSite) writer(name string) *redisWriter {
	w := &redisWriter{s: s, name: name, stop: make(chan struct{})}
	w.done.Add(1)
	go w.run()
	return w
}

func (w *redisWriter) run() {
	defer w.done.Done()
	primary := -1
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	ctx := context.Background()
	for seq := int64(1); ; {
		select {
		case <-w.stop:
			return
		default:
		}
		if primary < 0 {
			for i := range w.s.redis {
				role, err := w.s.redis[i].c.Do(ctx, "ROLE").Slice()
				if err == nil && len(role) > 0 && role[0] == "master" {
					primary = i
					break
				}
			}
			if primary < 0 {
				continue
			}
		}
		if err := w.s.redis[primary].c.Set(ctx, fmt.Sprintf("%s:%d", w.name, seq), seq, 0).Err(); err != nil {
			primary = -1
			continue
		}
		now := time.Now()
		w.mu.Lock()
		w.acked = append(w.acked, seq)
		if !w.last.IsZero() && now.Sub(w.last) > w.longest.Length() {
			w.longest = fleet.Gap{From: w.last, To: now}
		}
		w.last = now
		w.mu.Unlock()
		seq++
		<-pace.C
	}
}

// gap returns the longest time between two acknowledged writes since the last
// call.
func (w *redisWriter) gap() fleet.Gap {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.longest
	w.longest = fleet.Gap{}
	return g
}

// readBack counts acknowledged writes that a node does not hold.
func (w *redisWriter) readBack(n *redisNode) (missing int, err error) {
	w.mu.Lock()
	acked := slices.Clone(w.acked)
	w.mu.Unlock()
	for len(acked) > 0 {
		batch := acked[:min(len(acked), 500)]
		acked = acked[len(batch):]
		keys := make([]string, len(batch))
		for i, seq := range batch {
			keys[i] = fmt.Sprintf("%s:%d", w.name, seq)
		}
		vals, err := n.c.MGet(context.Background(), keys...).Result()
		if err != nil {
			return missing, err
		}
		for i, v := range vals {
			if v != strconv.FormatInt(batch[i], 10) {
				missing++
			}
		}
	}
	return missing, nil
}

func (w *redisWriter) end() {
	close(w.stop)
	w.done.Wait()
}

// checkData demands every acknowledged write on every node.
func (s *upSite) checkData(writers ...*redisWriter) {
	s.t.Helper()
	total := 0
	for _, w := range writers {
		total += len(w.acked)
		for i := range s.redis {
			n := &s.redis[i]
			err := fleet.Await(endsWithin, "all writes on "+n.Name, func() (bool, string) {
				m, err := w.readBack(n)
				return m == 0 && err == nil, fmt.Sprintf("%d of %d acknowledged writes of %s are missing on %s (%v)", m, len(w.acked), w.name, n.Name, err)
			})
			if err != nil {
				s.t.Error(err)
			}
		}
	}
	s.t.Logf("%d acknowledged writes read back from %d nodes", total, len(s.redis))
}

func quantiles(d []float64) string {
	slices.Sort(d)
	if len(d) == 0 {
		return "none"
	}
	return fmt.Sprintf("median %.1f ms, max %.1f ms", d[len(d)/2], d[len(d)-1])
}

// Limits of the writer's gap in a Redis promotion, and how long the machine must
// have stood still meanwhile to excuse one that was taken back.
const (
	redisMedian        = 20 * time.Millisecond
	redisLongest       = 500 * time.Millisecond
	stallThatRollsBack = 500 * time.Millisecond
)

// TestRedisPromotions: thirty promotions through the API under a writer. Each
// ends done with the right roles, both replicas attached by partial resync, and
// nothing acknowledged is lost. The gaps are printed.
func TestRedisPromotions(t *testing.T) {
	count := 30
	if testing.Short() {
		count = 5
	}
	s := startUp(t)
	primary := s.healthy()
	machine, err := fleet.WatchMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Stop()
	w := s.writer("w")
	var gaps []fleet.Gap
	var probes, agents []float64
	again := 0
	ends := map[string][]float64{}
	var from time.Time
	fulls := s.checkRoles(primary)
	for i := range count {
		next := s.redis[(slices.IndexFunc(s.redis, func(n redisNode) bool { return n.Name == primary })+1+i%2)%len(s.redis)].Name
		w.gap()
		began := time.Now()
		o := s.end(s.promote(next), endsWithin)
		for o.State == "rolled-back" && machine.Stalled(fleet.Gap{From: began, To: time.Now()}) > stallThatRollsBack {
			// Nothing was moved, as it must be when a machine stands still while writes wait.
			again++
			t.Logf("promotion %d is repeated: %s", i, o.Outcome)
			s.healthy()
			w.gap()
			began = time.Now()
			o = s.end(s.promote(next), endsWithin)
		}
		gap := w.gap()
		if o.State != "done" || o.Proof == nil || o.Proof.Lost == nil || *o.Proof.Lost != "0" {
			t.Errorf("promotion %d to %s: %s: %s, proof %+v", i, next, o.State, o.Outcome, o.Proof)
		}
		if got := s.checkRoles(next); got != fulls {
			t.Errorf("promotion %d: %d full synchronizations", i, got-fulls)
			fulls = got
		}
		gaps = append(gaps, gap)
		if o.Stall != nil && o.Stall.ProbeMs != nil && o.Stall.AgentMs != nil {
			probes = append(probes, *o.Stall.ProbeMs)
			agents = append(agents, *o.Stall.AgentMs)
		}
		for _, st := range o.Steps {
			if st.ID == "pause-writes" {
				from = st.StartedAt
			}
			if !from.IsZero() {
				ends[st.ID] = append(ends[st.ID], float64(st.EndedAt.Sub(from).Microseconds())/1000)
			}
		}
		from = time.Time{}
		primary = next
	}
	w.end()
	s.checkData(w)
	for _, st := range []string{"pause-writes", "wait-offset", "commit-generation", "demote-old", "promote", "repoint", "kick-clients"} {
		t.Logf("%-18s ends after %s", st, quantiles(ends[st]))
	}
	line, ok := machine.Judge(gaps, redisMedian, redisLongest)
	fmt.Printf("=> | promotion of a Redis replica, 1 writer, %d times | %s | probe: %s; agents: %s; %d repeated because the machine stood still | %d acknowledged, all read back from 3 nodes |\n",
		count, line, quantiles(probes), quantiles(agents), again, len(w.acked))
	if !ok {
		t.Errorf("writes stood still for too long: %s", line)
	}
	if len(probes) != count {
		t.Errorf("%d of %d promotions have both measurements", len(probes), count)
	}
}

// TestEventStorePromotions: leadership moves through the API to followers and
// to clones in turn, under the demo's writer. Each ends done with what the
// probe wrote read back, and the cluster keeps three voters and two clones.
func TestEventStorePromotions(t *testing.T) {
	count := 10
	if testing.Short() {
		count = 3
	}
	s := startUp(t)
	machine, err := fleet.WatchMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Stop()
	var probes, agents []float64
	again := 0
	for i := 0; i < count; i++ {
		want := []string{"follower", "clone"}[i%2]
		var d struct {
			Nodes []struct {
				Name, Role string
				Promotable struct {
					OK     bool
					Reason string
				}
			}
		}
		target := ""
		err := fleet.Await(rolesWithin, "a "+want+" that may be promoted", func() (bool, string) {
			d.Nodes = nil
			if _, err := s.call("GET", "/clusters/demo", nil, &d); err != nil {
				return false, err.Error()
			}
			roles := map[string]int{}
			target = ""
			for _, n := range d.Nodes {
				roles[n.Role]++
				if n.Role == want && n.Promotable.OK {
					target = n.Name
				}
			}
			return target != "" && roles["leader"] == 1 && roles["follower"] == 2 && roles["clone"] == 2, fmt.Sprintf("%+v", d.Nodes)
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		o := s.end(s.promoteIn("demo", target), endsWithin)
		if o.State == "rolled-back" && again < 2*count && machine.Stalled(fleet.Gap{From: began, To: time.Now()}) > electionWait {
			// An election of a machine that stood still came in between; nothing was moved by the operation.
			t.Logf("promotion %d is repeated: %s", i, o.Outcome)
			again, i = again+1, i-1
			continue
		}
		if o.State != "done" || o.Proof == nil || o.Proof.Lost == nil || *o.Proof.Lost != "0" {
			t.Errorf("promotion %d of the %s %s: %s: %s, proof %+v", i, want, target, o.State, o.Outcome, o.Proof)
		}
		if o.Stall != nil && o.Stall.ProbeMs != nil && o.Stall.AgentMs != nil {
			probes = append(probes, *o.Stall.ProbeMs)
			agents = append(agents, *o.Stall.AgentMs)
		}
	}
	fmt.Printf("=> | promotion in the event store through the control plane, %d times | probe: %s; agents: %s; %d repeated because the machine stood still |\n", count, quantiles(probes), quantiles(agents), again)
	if len(probes) != count {
		t.Errorf("%d of %d promotions have both measurements", len(probes), count)
	}
}

// pid is a node's process as its agent reports it; 0 while it is not known.
func (s *upSite) pid(node string) int {
	var d struct {
		Nodes []struct {
			Name string
			PID  *int
		}
	}
	if _, err := s.call("GET", "/clusters/cache", nil, &d); err != nil {
		return 0
	}
	for _, n := range d.Nodes {
		if n.Name == node && n.PID != nil {
			return *n.PID
		}
	}
	return 0
}

// TestServersKilledMeanwhile: the old primary's or the candidate's server is
// killed at moments spread over a promotion; its agent starts it again. Each
// operation ends, never with two primaries, and nothing acknowledged is lost.
func TestServersKilledMeanwhile(t *testing.T) {
	t.Parallel()
	rounds := 8
	if testing.Short() {
		rounds = 4
	}
	s := startUp(t)
	primary := s.healthy()
	// With everysec a killed server may lose what it acknowledged while its own
	// file was being synced: Redis's rule, which no promotion can mend.
	for i := range s.redis {
		c := s.redis[i].c
		if err := errors.Join(c.ConfigSet(t.Context(), "appendfsync", "always").Err(), c.ConfigRewrite(t.Context()).Err()); err != nil {
			t.Fatal(err)
		}
	}
	w := s.writer("s")
	states := map[string]int{}
	for i := range rounds {
		next := s.redis[(slices.IndexFunc(s.redis, func(n redisNode) bool { return n.Name == primary })+1)%len(s.redis)].Name
		victim := []string{primary, next}[i%2]
		pid := 0
		if err := fleet.Await(rolesWithin, "the process of "+victim, func() (bool, string) {
			pid = s.pid(victim)
			return pid != 0, "none is reported"
		}); err != nil {
			t.Fatal(err)
		}
		id := s.promote(next)
		delay := time.Duration(i*i)*time.Millisecond + time.Duration(rand.IntN(4_000))*time.Microsecond
		<-time.After(delay)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		o := s.end(id, endsWithin)
		states[strings.Join([]string{o.State, "with", []string{"old primary", "candidate"}[i%2], "killed"}, " ")]++
		if o.State == "needs-human" {
			t.Errorf("%s killed after %v: %s", victim, delay, o.Outcome)
		}
		t.Logf("%s killed after %v: %s: %s", victim, delay, o.State, o.Outcome)
		s.checkRoles("")
		primary = s.healthy()
	}
	w.end()
	s.checkData(w)
	fmt.Printf("=> | kill -9 of a Redis server during its promotion, %d times | %v | %d acknowledged, all read back from 3 nodes |\n", rounds, states, len(w.acked))
}
