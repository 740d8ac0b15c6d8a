package system

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"baton/control/engine"
	"baton/control/engine/redis/redistest"
	"baton/control/plan"
	"baton/test/fleet"
)

// planeSite is a control plane, an agent and three Redis servers, each a process of its own. The control plane can be
// told to kill itself at a moment of an operation (cmd/baton: fault.go).
type planeSite struct {
	upSite
	fault string // file that names the moment
	last  string // id of the operation before
	agent *exec.Cmd
}

var joinToken = regexp.MustCompile(`--join (\S+)`)

// startPlane starts all of it and waits until the cluster is healthy. The control plane takes it over from the
// agent's reports.
func startPlane(t *testing.T) *planeSite {
	t.Helper()
	redistest.Binary(t)
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := fleet.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &planeSite{fault: filepath.Join(dir, "fault")}
	s.upSite = upSite{t: t, binary: binary, data: filepath.Join(dir, "control"), listen: fmt.Sprintf("127.0.0.1:%d", ports[0]), agents: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	var instances []engine.Instance
	for _, server := range redistest.ClusterIn(t, 3, filepath.Join(dir, "redis")) {
		in := server.Instance
		in.Cluster = "cache"
		instances = append(instances, in)
		s.redis = append(s.redis, redisNode{Name: in.Node, Port: in.Port, c: redis.NewClient(&redis.Options{Addr: in.Address(), Password: redistest.Password, Protocol: 2,
			MaxRetries: -1, DialTimeout: 2 * time.Second, ReadTimeout: 8 * time.Second, PoolSize: 64, DisableIdentity: true})})
	}
	out := s.startControl()
	t.Cleanup(s.kill)
	token := joinToken.FindStringSubmatch(out)
	if token == nil {
		t.Fatalf("the control plane printed no join token:\n%s", out)
	}
	agentDir := filepath.Join(dir, "agent")
	b, err := json.Marshal(instances)
	if err == nil {
		if err = os.MkdirAll(agentDir, 0o700); err == nil {
			err = os.WriteFile(filepath.Join(agentDir, "instances.json"), b, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	s.agent = exec.Command(binary, "agent", "--data", agentDir, "--name", "host-1")
	s.agent.Env = append(os.Environ(), "BATON_JOIN_TOKEN="+token[1])
	s.agent.Stdout, s.agent.Stderr = s.log("agent"), s.log("agent")
	s.agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.agent.Process.Kill(); _ = s.agent.Wait() })
	s.healthy()
	return s
}

// log is a file beside the data for a process's output, shown when the test fails.
func (s *planeSite) log(name string) *os.File {
	path := filepath.Join(filepath.Dir(s.data), name+".log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		f.Close()
		if b, err := os.ReadFile(path); err == nil && s.t.Failed() {
			s.t.Logf("%s:\n%s", path, b[max(0, len(b)-3000):])
		}
	})
	return f
}

// startControl starts the control plane and returns what it printed.
func (s *planeSite) startControl() string {
	s.t.Helper()
	s.cmd = exec.Command(s.binary, "control", "--data", s.data, "--listen", s.listen, "--agent-listen", s.agents)
	s.cmd.Env = append(os.Environ(), "BATON_FAULT_FILE="+s.fault)
	s.cmd.Stderr = s.log("control")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	printed := make(chan string, 1)
	go func() {
		text, ready := "", false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			text += lines.Text() + "\n"
			if strings.HasPrefix(lines.Text(), "Commands") && !ready {
				ready = true
				printed <- text
			}
		}
		if !ready {
			printed <- ""
		}
	}()
	select {
	case text := <-printed:
		if text == "" {
			s.t.Fatal("the control plane ended")
		}
		if s.token == "" {
			b, err := os.ReadFile(filepath.Join(s.data, "cli-token"))
			if err != nil {
				s.t.Fatal(err)
			}
			s.token = strings.TrimSpace(string(b))
		}
		return text
	case <-time.After(startWithin):
		s.t.Fatalf("the control plane is not ready after %s", startWithin)
	}
	return ""
}

// primaries are the servers that say they are primary.
func (s *planeSite) primaries(ctx context.Context, among []redisNode) (out []redisNode) {
	for i := range among {
		role, err := among[i].c.Do(ctx, "ROLE").Slice()
		if err == nil && len(role) > 0 && role[0] == "master" {
			out = append(out, among[i])
		}
	}
	return out
}

// watchPrimaries looks for two primaries at one time until stop is called, which returns how often it looked and how
// often it saw them. Servers cannot be asked at one time: of two that said so one after the other, one may have been
// demoted in between. Only if both say so again after that were there two at once.
func (s *planeSite) watchPrimaries() (stop func() (looks, two int)) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	looks, two := 0, 0
	done.Go(func() {
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			looks++
			if first := s.primaries(ctx, s.redis); len(first) > 1 && len(s.primaries(ctx, first)) > 1 {
				two++
			}
		}
	})
	return func() (int, int) { cancel(); done.Wait(); return looks, two }
}

// promotionSteps are the steps of a Redis promotion that act; commit-generation only is journalled.
var promotionSteps = []string{plan.StepStartProbe, plan.StepCheck, plan.StepPause, plan.StepWait, plan.StepCommit, plan.StepDemote,
	plan.StepPromote, plan.StepRepoint, plan.StepKick, plan.StepPersist, plan.StepVerify, plan.StepStopProbe}

// faultPoints are the moments the control plane is killed at: after each step acted, and after each append. Steps that
// share an append share its moments.
func faultPoints() []string {
	var out []string
	for _, s := range promotionSteps {
		switch s {
		case plan.StepWait, plan.StepPromote, plan.StepRepoint, plan.StepKick: // journalled with the step before
		case plan.StepCommit: // and its own outcome, and the intents of all up to kick-clients
			out = append(out, "after-intent:"+s)
			continue
		case plan.StepDemote: // intent: as above
		default:
			out = append(out, "after-intent:"+s)
		}
		out = append(out, "after-act:"+s)
	}
	return append(out, "after-end")
}

// Goal: wherever the control plane dies in a promotion, the next one leads it to its end: done or taken back, never two
// primaries, nothing acknowledged lost.
// Method: kill -9 of the real process, by itself at a named moment, once for each moment that differs: after the intent
// of each step, after its action, after its outcome was journalled. A writer and a watcher of the roles run meanwhile.
func TestControlPlaneKilledAtEachStep(t *testing.T) {
	t.Parallel()
	points := faultPoints()
	if testing.Short() {
		points = points[:4]
	}
	const sites = 2 // each has half of the moments; they mostly wait
	var mu sync.Mutex
	states, intents, acts, outcomes := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	kills, acked, looks, two := 0, 0, 0, 0
	t.Run("sites", func(t *testing.T) {
		for n := range sites {
			t.Run(fmt.Sprint(n+1), func(t *testing.T) {
				t.Parallel()
				s := startPlane(t)
				primary := s.healthy()
				w := s.writer("k")
				stop := s.watchPrimaries()
				for i := n; i < len(points); i += sites {
					next := s.redis[(slices.IndexFunc(s.redis, func(n redisNode) bool { return n.Name == primary })+1)%len(s.redis)].Name
					o, hit := s.killedAt(points[i], next)
					want := primary
					if o.State == "done" {
						want = next
					}
					if o.State != "done" && o.State != "rolled-back" {
						t.Errorf("killed %s: %s: %s", points[i], o.State, o.Outcome)
					}
					s.checkRoles(want)
					if primary = s.healthy(); primary != want {
						t.Errorf("killed %s: ended %s and the primary is %s", points[i], o.State, primary)
					}
					mu.Lock()
					kills++
					states[o.State]++
					for _, h := range hit {
						switch moment, step, _ := strings.Cut(h, ":"); moment {
						case "after-intent":
							intents[step]++
						case "after-act":
							acts[step]++
						case "after-outcome":
							outcomes[step]++
						}
					}
					mu.Unlock()
				}
				w.end()
				l, m := stop()
				s.checkData(w)
				mu.Lock()
				acked, looks, two = acked+len(w.acked), looks+l, two+m
				mu.Unlock()
				var page struct{ Chain struct{ OK bool } }
				if _, err := s.call("GET", "/clusters/cache/audit", nil, &page); err != nil || !page.Chain.OK {
					t.Errorf("audit chain: %+v %v", page, err)
				}
			})
		}
	})
	var counts []string
	for _, step := range promotionSteps {
		counts = append(counts, fmt.Sprintf("%s %d/%d/%d", step, intents[step], acts[step], outcomes[step]))
		if !testing.Short() && !t.Failed() && (intents[step] == 0 || outcomes[step] == 0 || acts[step] == 0 && step != plan.StepCommit) {
			t.Errorf("%s: killed %d times after its intent, %d after its action, %d after its outcome", step, intents[step], acts[step], outcomes[step])
		}
	}
	if two > 0 {
		t.Errorf("two primaries at one time were seen %d times", two)
	}
	fmt.Printf("=> | kill -9 of the control plane, %d times | ended %v | two primaries at once: %d in %d looks | %d acknowledged, all read back from 3 nodes |\n", kills, states, two, looks, acked)
	fmt.Printf("=> | times killed by step, after intent/action/outcome | %s |\n", strings.Join(counts, ", "))
}

// killedAt promotes a node, lets the control plane kill itself at the point, starts it again and returns how the
// operation ended, and the names of the moment.
func (s *planeSite) killedAt(point, node string) (o operationView, hit []string) {
	s.t.Helper()
	if err := os.WriteFile(s.fault, []byte(point), 0o600); err != nil {
		s.t.Fatal(err)
	}
	died := make(chan struct{})
	cmd := s.cmd
	go func() { _ = cmd.Wait(); close(died) }()
	id := s.ask("cache", node, died)
	var over time.Time // since when the operation is known to be taken back
	if err := fleet.Await(2*endsWithin, "the control plane reaches "+point, func() (bool, string) {
		select {
		case <-died:
			return true, ""
		default:
		}
		var o operationView
		switch _, err := s.call("GET", "/operations/"+id, nil, &o); {
		case err != nil || o.State != "rolled-back":
		case over.IsZero():
			over = time.Now()
		case time.Since(over) > 5*time.Second: // before the moment came, for a machine that stood still: once more
			s.last, over = id, time.Time{}
			id = s.ask("cache", node, died)
		}
		return false, o.State + " " + o.Outcome
	}); err != nil {
		s.t.Fatal(err)
	}
	b, err := os.ReadFile(s.fault + ".hit")
	if err != nil {
		s.t.Fatalf("the control plane ended before %s: %v", point, err)
	}
	_ = os.Remove(s.fault + ".hit")
	s.startControl()
	if id == "" { // it died before it could answer
		id = s.newest()
	}
	s.last = id
	return s.end(id, endsWithin), strings.Fields(string(b))
}

// ask is promote for a control plane that may die before it answers: then the id is "".
func (s *planeSite) ask(cluster, node string, died <-chan struct{}) (id string) {
	s.t.Helper()
	err := fleet.Await(endsWithin, "an accepted promotion of "+node, func() (bool, string) {
		var err error
		id, err = s.tryPromote(cluster, node)
		select {
		case <-died:
			return true, ""
		default:
		}
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// newest is the id of the operation that was asked for last.
func (s *planeSite) newest() string {
	s.t.Helper()
	var d struct {
		Activity []struct{ OperationID *string }
	}
	id := ""
	err := fleet.Await(endsWithin, "the operation", func() (bool, string) {
		_, err := s.call("GET", "/clusters/cache", nil, &d)
		if err == nil && len(d.Activity) > 0 && d.Activity[0].OperationID != nil {
			id = *d.Activity[0].OperationID
		}
		return id != "" && id != s.last, fmt.Sprintf("%s %v", id, err)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}
