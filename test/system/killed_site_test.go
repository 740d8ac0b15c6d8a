package system

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/agent"
	"baton/control/agent/guard"
	"baton/test/fleet"
)

// killedSite is a control node, three hosts with an agent and a Redis server
// each, and a cluster that people made through the API, with a lease. Every
// process is of the real binary; each that ends is started again at once, as a
// service manager does. The control plane can be told to kill any of them at a
// moment of an operation (cmd/baton: fault.go).
type killedSite struct {
	upSite
	fault   string
	control *keptProcess
	hosts   []*killedHost
}

type killedHost struct {
	s     *killedSite
	node  string
	dir   string
	token string // to join with, once
	agent *keptProcess
	c     *goredis.Client
}

// keptProcess is started again whenever it ends, until stop.
type keptProcess struct {
	mu      sync.Mutex
	make    func() *exec.Cmd
	cmd     *exec.Cmd
	frozen  chan struct{} // while not nil nothing is started; closed by thaw
	stopped bool
	done    chan struct{}
}

func keep(t *testing.T, start func() *exec.Cmd) *keptProcess {
	t.Helper()
	k := &keptProcess{make: start, done: make(chan struct{})}
	if err := k.start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(k.done)
		for {
			_ = k.cmd.Wait() // only this goroutine sets cmd from here on
			k.mu.Lock()
			wait := k.frozen
			k.mu.Unlock()
			if wait != nil {
				<-wait
			}
			if err := k.start(); err != nil {
				return
			}
		}
	}()
	return k
}

func (k *keptProcess) start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return os.ErrProcessDone
	}
	// No parent-death signal: it would come when the thread that starts it ends.
	cmd := k.make()
	if err := cmd.Start(); err != nil {
		return err
	}
	k.cmd = cmd
	return nil
}

// freeze keeps it from being started again until thaw or stop.
func (k *keptProcess) freeze() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = make(chan struct{})
}

func (k *keptProcess) thaw() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.frozen != nil {
		close(k.frozen)
		k.frozen = nil
	}
}

func (k *keptProcess) pid() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cmd.Process.Pid
}

func (k *keptProcess) stop() {
	k.mu.Lock()
	k.stopped = true
	cmd := k.cmd
	k.mu.Unlock()
	_ = cmd.Process.Kill()
	k.thaw()
	<-k.done
}

// startKilled starts all of it and makes the cluster.
func startKilled(t *testing.T) *killedSite {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed (Debian: apt-get install redis-server); nothing of this test was run")
	}
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := fleet.FreePorts(5)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &killedSite{fault: filepath.Join(dir, "fault")}
	s.upSite = upSite{t: t, binary: binary, data: filepath.Join(dir, "control"), listen: fmt.Sprintf("127.0.0.1:%d", ports[0]), agents: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	s.control = keep(t, func() *exec.Cmd {
		c := exec.Command(binary, "control", "--data", s.data, "--listen", s.listen, "--agent-listen", s.agents)
		c.Env = append(os.Environ(), "BATON_FAULT_FILE="+s.fault)
		c.Stderr = s.logFile("control")
		return c
	})
	t.Cleanup(s.control.stop)
	s.awaitIn("the control plane answers", func() (bool, string) {
		b, err := os.ReadFile(filepath.Join(s.data, "cli-token"))
		if err != nil {
			return false, err.Error()
		}
		s.token = strings.TrimSpace(string(b))
		_, err = s.call("GET", "/clusters", nil, &json.RawMessage{})
		return err == nil, fmt.Sprint(err)
	})
	for i := range 3 {
		h := &killedHost{s: s, node: fmt.Sprintf("c-%d", i+1), dir: filepath.Join(dir, fmt.Sprintf("h%d", i+1))}
		var token struct{ Token string }
		if _, err := s.call("POST", "/hosts/join-token", map[string]string{}, &token); err != nil {
			t.Fatal(err)
		}
		h.token = token.Token
		h.agent = keep(t, func() *exec.Cmd {
			c := exec.Command(binary, "agent", "--data", h.dir, "--name", "host-"+h.node, "--advertise", "127.0.0.1")
			c.Env = append(os.Environ(), "BATON_JOIN_TOKEN=")
			if !agent.Joined(h.dir) {
				c.Env = append(os.Environ(), "BATON_JOIN_TOKEN="+h.token)
			}
			c.Stdout, c.Stderr = s.logFile(h.node), s.logFile(h.node)
			return c
		})
		t.Cleanup(h.end)
		s.hosts = append(s.hosts, h)
	}
	s.found(ports[2:])
	return s
}

// logFile is where a process's output goes; its end is shown when the test fails.
func (s *killedSite) logFile(name string) *os.File {
	path := filepath.Join(filepath.Dir(s.data), name+".log")
	_, err := os.Stat(path)
	first := err != nil
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil
	}
	if first {
		s.t.Cleanup(func() {
			if b, err := os.ReadFile(path); err == nil && s.t.Failed() {
				s.t.Logf("%s:\n%s", name, b[max(0, len(b)-9000):])
			}
		})
	}
	return f // ends with the process that has it and this test
}

func (s *killedSite) awaitIn(what string, ok func() (bool, string)) {
	s.t.Helper()
	if err := fleet.Await(endsWithin, what, ok); err != nil {
		s.t.Fatal(err)
	}
}

// engine is the number of the host's server's process; 0 when none runs.
func (h *killedHost) engine() int {
	files, _ := filepath.Glob(filepath.Join(h.dir, "processes", "*.pid.json"))
	for _, f := range files {
		var run struct {
			PID int `json:"pid"`
		}
		if b, err := os.ReadFile(f); err == nil && json.Unmarshal(b, &run) == nil && run.PID > 1 && syscall.Kill(run.PID, 0) == nil {
			return run.PID
		}
	}
	return 0
}

// guardian is the number of the process that ends the engine when the agent
// cannot; 0 when none runs.
func (h *killedHost) guardian() (pid int) {
	if b, err := os.ReadFile(filepath.Join(guard.Dir(h.dir), "guardian.lock")); err == nil {
		_, _ = fmt.Sscan(string(b), &pid)
	}
	return pid
}

// end ends what runs on the host: the agent, its guardian, its server.
func (h *killedHost) end() {
	h.agent.stop()
	signalTo(h.guardian(), syscall.SIGKILL)
	signalTo(h.engine(), syscall.SIGKILL)
}

// found makes the cluster as a person would, and waits until it is whole.
func (s *killedSite) found(ports []int) {
	s.t.Helper()
	var nodes []map[string]any
	for i, h := range s.hosts {
		nodes = append(nodes, map[string]any{"name": h.node, "agent": "host-" + h.node, "port": ports[i]})
	}
	s.awaitIn("three hosts with Redis", func() (bool, string) {
		var e struct {
			Engines []struct {
				Engine   string
				Versions []struct{ Hosts []string }
			}
		}
		_, err := s.call("GET", "/engines", nil, &e)
		hosts := 0
		for _, en := range e.Engines {
			for _, v := range en.Versions {
				if en.Engine == "redis" {
					hosts = max(hosts, len(v.Hosts))
				}
			}
		}
		return hosts == len(s.hosts), fmt.Sprintf("%+v %v", e, err)
	})
	var made struct {
		OperationID string
		Credentials struct{ User, Password string }
	}
	s.awaitIn("an accepted creation", func() (bool, string) {
		code, err := s.call("POST", "/clusters", map[string]any{"name": "cache", "engine": "redis", "nodes": nodes, "durability": "sync", "syncReplicas": 1, "failover": "no-loss"}, &made)
		return err == nil || code == http.StatusAccepted, fmt.Sprint(err)
	})
	if o := s.end(made.OperationID, endsWithin); o.State != "done" {
		s.t.Fatalf("the cluster is not made: %s: %s", o.State, o.Outcome)
	}
	s.awaitIn("the cluster's settings", func() (bool, string) {
		_, err := s.call("PUT", "/clusters/cache/settings", map[string]any{"coolDownSeconds": 0}, &json.RawMessage{})
		return err == nil, fmt.Sprint(err)
	})
	for i, h := range s.hosts {
		h.c = goredis.NewClient(&goredis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", ports[i]), Username: made.Credentials.User, Password: made.Credentials.Password,
			Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: 2 * time.Second, PoolSize: 8})
		s.t.Cleanup(func() { h.c.Close() })
		s.redis = append(s.redis, redisNode{Name: h.node, Port: ports[i], c: h.c})

	}
	s.whole()
	// A primary that nobody can follow at once is started again by itself only if
	// its own disk has all it acknowledged.
	var change struct{ OperationID string }
	s.awaitIn("an accepted change of parameters", func() (bool, string) {
		_, err := s.call("PUT", "/clusters/cache/parameters", map[string]any{"values": map[string]string{"appendfsync": "always"}}, &change)
		return change.OperationID != "", fmt.Sprint(err)
	})
	if o := s.end(change.OperationID, endsWithin); o.State != "done" {
		s.t.Fatalf("the servers do not sync each write: %s: %s", o.State, o.Outcome)
	}
	s.whole()
}

// killedView is what the API says of the cluster.
type killedView struct {
	Verdict          struct{ Level, Sentence string }
	Generation       string
	RunningOperation *string
	Primary          *struct{ Node string }
	Lease            *struct {
		Holder, State string
		Guarded       bool
	}
	Failover *struct{ Decision, Sentence string }
}

// whole waits until the cluster is healthy, everybody follows its primary, the
// lease is held and the primary's death would be dealt with; it returns the
// primary.
func (s *killedSite) whole() *killedHost {
	s.t.Helper()
	var p *killedHost
	s.awaitIn("a whole cluster that would fail over", func() (bool, string) {
		var v killedView
		_, err := s.call("GET", "/clusters/cache", nil, &v)
		if err != nil || v.Verdict.Level != "healthy" || v.Primary == nil || v.Lease == nil || v.Lease.State != "held" || !v.Lease.Guarded || v.Lease.Holder != v.Primary.Node {
			return false, fmt.Sprintf("%+v lease %+v failover %+v %v", v, v.Lease, v.Failover, err)
		}
		var what struct{ Sentence, Next string }
		if _, err := s.call("GET", "/clusters/cache/what-if?node="+v.Primary.Node, nil, &what); err != nil || what.Next == "" {
			return false, fmt.Sprintf("%+v %v", what, err)
		}
		p = s.host(v.Primary.Node)
		return p != nil, "the primary is " + v.Primary.Node
	})
	s.checkRoles(p.node)
	return p
}

func (s *killedSite) host(node string) *killedHost {
	for _, h := range s.hosts {
		if h.node == node {
			return h
		}
	}
	return nil
}
