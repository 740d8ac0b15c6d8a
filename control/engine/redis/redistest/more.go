package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/engine/redis"
)

// Follower starts a server that copies from another one.
func Follower(t testing.TB, of *Server) *Server {
	t.Helper()
	p := engine.Peer{Host: of.Config.Host, Port: of.Config.Port}
	c := redis.Config{Host: "127.0.0.1", Port: FreePort(t), Dir: filepath.Join(t.TempDir(), "follower"), Password: Password, ReplicaOf: &p}
	s := &Server{t: t, Config: c, Instance: engine.Instance{Cluster: "test", Node: "follower", Engine: engine.Redis,
		Host: c.Host, Port: c.Port, Dir: c.Dir, Auth: engine.Auth{Password: Password}}}
	s.Start()
	Eventually(t, 60*time.Second, "the follower attached", func() bool { return s.Info("replication")["master_link_status"] == "up" })
	return s
}

// Sentinel starts a Sentinel that watches a server, until the test ends.
func Sentinel(t testing.TB, of *Server) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor m %s %d 1\nsentinel auth-pass m %q\n", FreePort(t), dir, of.Config.Host, of.Config.Port, Password)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(Binary(t), file, "--sentinel")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // kill ends groups
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
}
