package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"baton/test/fleet"
)

// proxyProcess is `baton proxy` as a process of its own.
type proxyProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *proxyProcess) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *proxyProcess) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// startProxy starts it; token "" is that of one which has joined.
func (s *upSite) startProxy(dir, token string) *proxyProcess {
	s.t.Helper()
	p := &proxyProcess{t: s.t}
	p.cmd = exec.Command(s.binary, "proxy", "--data", dir, "--name", "edge")
	if token != "" {
		p.cmd.Args = append(p.cmd.Args, "--join", token)
	}
	p.cmd.Env = append(os.Environ(), "BATON_JOIN_TOKEN=")
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if s.t.Failed() {
			s.t.Logf("proxy:\n%s", p.output())
		}
	})
	return p
}

// refusedProxy runs one that must end by itself and returns what it said.
func (s *upSite) refusedProxy(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"proxy"}, args...)...)
	cmd.Env = append(os.Environ(), "BATON_JOIN_TOKEN=")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		s.t.Errorf("baton proxy %v: %v: %s", args, err, out)
	}
	return string(out)
}

// servedBy waits until the endpoint forwards and exactly one host serves it:
// the proxy, or any other.
func (s *upSite) servedBy(proxy bool) {
	s.t.Helper()
	if err := fleet.Await(rolesWithin, fmt.Sprintf("an endpoint served by the proxy: %v", proxy), func() (bool, string) {
		var hosts struct {
			Hosts []struct{ ID, Name string }
		}
		var e struct {
			State, Why string
			Agents     []string
		}
		if _, err := s.call("GET", "/hosts", nil, &hosts); err != nil {
			return false, err.Error()
		}
		if _, err := s.call("GET", "/clusters/cache/endpoint", nil, &e); err != nil {
			return false, err.Error()
		}
		edge := slices.IndexFunc(hosts.Hosts, func(h struct{ ID, Name string }) bool { return h.Name == "edge" })
		is := edge >= 0 && slices.Equal(e.Agents, []string{hosts.Hosts[edge].ID})
		return is == proxy && len(e.Agents) > 0 && e.State == "forwarding", fmt.Sprintf("%+v of %+v", e, hosts)
	}); err != nil {
		s.t.Fatal(err)
	}
}

// TestProxyOfItsOwn: `baton proxy` joins with a token that works once, serves
// instead of the agents beside the databases, carries its clients over a
// promotion without an error, ends when it is asked to, gives the endpoint
// back to the agents, and serves again without a token.
func TestProxyOfItsOwn(t *testing.T) {
	t.Parallel()
	s := startUp(t)
	var layout struct {
		RedisPassword  string `json:"redisPassword"`
		RedisReadWrite int    `json:"redisReadWrite"`
	}
	b, err := os.ReadFile(filepath.Join(s.data, "demo", "layout.json"))
	if err == nil {
		err = json.Unmarshal(b, &layout)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.servedBy(false)
	if said := s.refusedProxy("--data", filepath.Join(t.TempDir(), "none")); !strings.Contains(said, "--join") {
		t.Errorf("without a token: %s", said)
	}
	var token struct{ Token string }
	if _, err := s.call("POST", "/hosts/join-token", map[string]any{}, &token); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "proxy")
	p := s.startProxy(dir, token.Token)
	s.servedBy(true)
	if said := s.refusedProxy("--data", filepath.Join(t.TempDir(), "second"), "--join", token.Token); !strings.Contains(said, "already used") {
		t.Errorf("a token used twice: %s", said)
	}

	e := &endpointClients{address: fmt.Sprintf("127.0.0.1:%d", layout.RedisReadWrite), password: layout.RedisPassword, stop: make(chan struct{}), acked: map[string]int64{}}
	ctx := context.Background()
	c := e.client(t, 2)
	e.run("resp2", func(n int64) error { return c.Set(ctx, fmt.Sprintf("resp2:%d", n), n, 0).Err() })
	var o operationView
	for range 5 { // taken back, moving nothing, while a machine stands still
		primary := s.healthy()
		i := slices.IndexFunc(s.redis, func(n redisNode) bool { return n.Name != primary })
		if o = s.end(s.promote(s.redis[i].Name), endsWithin); o.State != "rolled-back" {
			break
		}
	}
	if o.State != "done" {
		t.Errorf("the promotion ended %s: %s", o.State, o.Outcome)
	}
	var counts struct {
		Counters struct{ Requests int64 }
	}
	if err := fleet.Await(rolesWithin, "requests through the proxy", func() (bool, string) {
		_, err := s.call("GET", "/clusters/cache/endpoint", nil, &counts)
		return err == nil && counts.Counters.Requests > 0, fmt.Sprint(counts, err)
	}); err != nil {
		t.Error(err)
	}
	close(e.stop)
	e.done.Wait()
	for _, err := range e.errs {
		t.Error(err)
	}
	acked := e.acked["resp2"]

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("asked to end: %v", err)
	}
	s.servedBy(false)
	s.startProxy(dir, "")
	s.servedBy(true)
	if err := fleet.Await(rolesWithin, "the last acknowledged write", func() (bool, string) {
		c := redis.NewClient(&redis.Options{Addr: e.address, Password: e.password, Protocol: 2, MaxRetries: -1, DisableIdentity: true, ReadTimeout: 10 * time.Second})
		defer c.Close()
		got, err := c.Get(ctx, fmt.Sprintf("resp2:%d", acked)).Int64()
		return err == nil && got == acked, fmt.Sprint(got, err)
	}); err != nil {
		t.Error(err)
	}
}
