// Package redistest starts real Redis servers for tests, as child processes
// on free loopback ports, and ends them with the test.
package redistest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/test/fleet"

	goredis "github.com/redis/go-redis/v9"
)

// Password of every server started here; awkward on purpose.
const Password = `p"a s's\wo#rd`

// Binary is redis-server's path. The test is skipped, saying so, where there is none.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed (Debian: apt-get install redis-server); nothing of this test was run")
	}
	return path
}

// Server is one running server.
type Server struct {
	Instance engine.Instance
	Config   redis.Config
	t        testing.TB
	cmd      *exec.Cmd
}

// FreePort is a loopback port on which nothing listens and which no other test gets, in this process or another, while
// this one lives.
func FreePort(t testing.TB) int {
	t.Helper()
	ports, err := fleet.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

// Cluster starts one primary ("r1") and n-1 replicas ("r2", ...) and waits until all
// links are up. Instances know each other as peers.
func Cluster(t testing.TB, n int) []*Server {
	t.Helper()
	return ClusterIn(t, n, t.TempDir())
}

// ClusterIn is Cluster with its data under dir.
func ClusterIn(t testing.TB, n int, dir string) []*Server {
	t.Helper()
	var servers []*Server
	var peers []engine.Peer
	for i := range n {
		name := fmt.Sprintf("r%d", i+1)
		c := redis.Config{Host: "127.0.0.1", Port: FreePort(t), Dir: filepath.Join(dir, name), Password: Password, MinReplicas: min(n-1, 1)}
		if i > 0 {
			c.ReplicaOf = &peers[0]
		}
		peers = append(peers, engine.Peer{Node: name, Host: c.Host, Port: c.Port})
		s := &Server{t: t, Config: c, Instance: engine.Instance{Cluster: "test", Node: name, Engine: engine.Redis,
			Host: c.Host, Port: c.Port, Dir: c.Dir, Auth: engine.Auth{Password: Password}}}
		s.Start()
		servers = append(servers, s)
	}
	for i, s := range servers {
		s.Instance.Peers = peers
		if i > 0 {
			Eventually(t, 15*time.Second, "replica "+s.Instance.Node+" attached", func() bool {
				return s.Info("replication")["master_link_status"] == "up"
			})
		}
	}
	return servers
}

// File is the server's configuration file.
func (s *Server) File() string { return filepath.Join(s.Config.Dir, "redis.conf") }

// Start starts the server, with its configuration file when it has one already,
// and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	bin := Binary(s.t)
	if err := os.MkdirAll(s.Config.Dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if _, err := os.Stat(s.File()); err != nil {
		text, err := s.Config.File()
		if err == nil {
			err = os.WriteFile(s.File(), text, 0o600)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.cmd = exec.Command(bin, s.File())
	log, err := os.OpenFile(filepath.Join(s.Config.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// A group of its own: a child that saves must end with the server, else it writes into a directory that is removed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	log.Close()
	cmd := s.cmd
	s.t.Cleanup(func() { kill(cmd) })
	Eventually(s.t, 10*time.Second, s.Instance.Node+" answers", func() bool { return s.Info("server") != nil })
}

// Kill ends the server at once and waits for its end.
func (s *Server) Kill() { kill(s.cmd) }

// Signal sends a signal (SIGSTOP, SIGCONT) to the server.
func (s *Server) Signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func kill(cmd *exec.Cmd) {
	if cmd.Process != nil && cmd.ProcessState == nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Process.Kill() // if it has no group of its own
		_ = cmd.Wait()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range 10_000 { // its children are gone a moment later
			if syscall.Kill(-cmd.Process.Pid, 0) != nil {
				return
			}
			<-tick.C
		}
	}
}

// Client is a new client of the server, closed with the test.
func (s *Server) Client() *goredis.Client { return s.ClientFor(s.t) }

// ClientFor is Client for a server that something else started.
func (s *Server) ClientFor(t testing.TB) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: s.Instance.Address(), Password: Password, Protocol: 2,
		DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, DialTimeout: 5 * time.Second})
	t.Cleanup(func() { c.Close() })
	return c
}

// Info is a section of INFO, nil when the server does not answer.
func (s *Server) Info(section string) map[string]string {
	c := goredis.NewClient(&goredis.Options{Addr: s.Instance.Address(), Password: Password, Protocol: 2,
		DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, DialTimeout: 5 * time.Second, PoolSize: 1})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	text, err := c.Info(ctx, section).Result()
	if err != nil {
		return nil
	}
	return redis.ParseInfo(text)
}

// Number is a field of INFO as a number, -1 when it is missing.
func (s *Server) Number(section, field string) int {
	n, err := strconv.Atoi(s.Info(section)[field])
	if err != nil {
		return -1
	}
	return n
}

// Eventually polls until ok holds and fails the test, naming what was waited
// for, when it does not within the limit, or a minute if that is longer: a busy
// machine is slow, not wrong.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	limit = max(limit, time.Minute)
	deadline, tick := time.Now().Add(limit), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", limit, what)
		}
		<-tick.C
	}
}
