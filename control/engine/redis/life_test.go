package redis_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/engine/redis/redistest"
)

func server(password string) engine.NewServer {
	return engine.NewServer{Cluster: "c", Node: "n", Engine: engine.Redis, Host: "127.0.0.1", Port: 6379, Login: engine.Auth{User: engine.LoginUser, Password: password},
		Users: []engine.NewUser{{Name: "app", Access: engine.AccessReadWrite, Hash: redis.Hash("x")}}}
}

// TestMakeEscapes: awkward passwords and directories arrive in a real server
// as they are; what cannot be one word of a file is refused.
func TestMakeEscapes(t *testing.T) {
	bin := redistest.Binary(t)
	password := `a"b'c\d $(touch x) ;#é`
	dir := filepath.Join(t.TempDir(), `with "quotes' and $(id)`)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := server(password)
	s.Port, s.Parameters = redistest.FreePort(t), map[string]string{"maxclients": "77", "databases": "20"}
	files, args, err := redis.New().Make(s, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		if f.Name == "users.acl" && strings.Contains(string(f.Data), password) {
			t.Error("the users' file holds the password in clear")
		}
	}
	if strings.Contains(strings.Join(args, " "), password) {
		t.Error("the arguments hold the password")
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir = dir
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	c := goredis.NewClient(&goredis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", s.Port), Username: engine.LoginUser, Password: password, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	defer c.Close()
	redistest.Eventually(t, 30*time.Second, "the server answers", func() bool { return c.Ping(t.Context()).Err() == nil })
	for name, want := range map[string]string{"masterauth": password, "dir": dir, "maxclients": "77", "databases": "20"} {
		if v, err := c.ConfigGet(t.Context(), name).Result(); err != nil || v[name] != want {
			t.Errorf("%s is %q, want %q (%v)", name, v[name], want, err)
		}
	}
	if err := c.ConfigRewrite(t.Context()).Err(); err != nil {
		t.Errorf("rewrite: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err == nil {
		t.Error("a password was run as a command")
	}
	plain := goredis.NewClient(&goredis.Options{Addr: c.Options().Addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	defer plain.Close()
	if err := plain.Ping(t.Context()).Err(); err == nil {
		t.Error("nobody's login is accepted")
	}
}

// TestMakeRefuses: line breaks, NUL, foreign parameters, bad users.
func TestMakeRefuses(t *testing.T) {
	for name, change := range map[string]func(*engine.NewServer){
		"newline in password":  func(s *engine.NewServer) { s.Login.Password = "a\nrequirepass x" },
		"NUL in password":      func(s *engine.NewServer) { s.Login.Password = "a\x00b" },
		"foreign parameter":    func(s *engine.NewServer) { s.Parameters = map[string]string{"dir": "/etc"} },
		"newline in parameter": func(s *engine.NewServer) { s.Parameters = map[string]string{"timeout": "0\nsave 1 1"} },
		"user with a space":    func(s *engine.NewServer) { s.Users[0].Name = "a on nopass" },
		"the default user":     func(s *engine.NewServer) { s.Users[0].Name = "default" },
		"hash with rules":      func(s *engine.NewServer) { s.Users[0].Hash = redis.Hash("x") + " +@all" },
		"unknown access":       func(s *engine.NewServer) { s.Users[0].Access = "root" },
		"primary without port": func(s *engine.NewServer) { s.ReplicaOf = "host" },
	} {
		s := server("good")
		change(&s)
		if _, _, err := redis.New().Make(s, "/tmp/x"); err == nil {
			t.Errorf("%s is not refused", name)
		}
	}
}

// TestParameters: only what is listed may be set, to what it may be.
func TestParameters(t *testing.T) {
	for _, p := range redis.Parameters {
		if err := redis.CheckParameter(p.Name, p.Default); err != nil {
			t.Errorf("the default is refused: %v", err)
		}
	}
	for _, bad := range [][2]string{{"requirepass", "x"}, {"dir", "/"}, {"replicaof", "h 1"}, {"hz", "0"}, {"hz", "ten"}, {"maxmemory-policy", "none"}, {"notify-keyspace-events", "K\n"}, {"timeout", "-1"}, {"", ""}} {
		if redis.CheckParameter(bad[0], bad[1]) == nil {
			t.Errorf("%q may be %q", bad[0], bad[1])
		}
	}
}

// TestVersionOf reads Redis' and Valkey's own words.
func TestVersionOf(t *testing.T) {
	d := redis.New()
	for text, want := range map[string]string{
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=x\n": "7.0.15",
		"Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc bits=64 build=y\n":       "valkey-8.0.1",
		"redis-cli 7.0.15": "", "": "", "Redis server v=7": "",
	} {
		if got, ok := d.VersionOf(text); got != want || ok != (want != "") {
			t.Errorf("%q: %q", text, got)
		}
	}
}
