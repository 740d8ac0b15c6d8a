package redis_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/engine/redis/redistest"
)

// TestJudgements on the server's own flags, and that judging carries nothing out
// even inside MULTI.
func TestJudgements(t *testing.T) {
	s := redistest.Cluster(t, 1)[0]
	c, err := redis.New().Console(s.Instance)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for line, want := range map[string]engine.CommandClass{
		"get k": engine.CommandRead, "HGETALL k": engine.CommandRead, "scan 0": engine.CommandRead, "info": engine.CommandRead, "config get *": engine.CommandRead, "eval_ro x 0": engine.CommandRead,
		"client list": engine.CommandRead, "acl whoami": engine.CommandRead, "nonsense": engine.CommandRead, "keys *": engine.CommandRead, "memory usage k": engine.CommandRead,
		"set k v": engine.CommandWrite, "del k": engine.CommandWrite, "eval x 0": engine.CommandWrite, "publish c m": engine.CommandWrite, "getex k persist": engine.CommandWrite,
		"sort k": engine.CommandWrite, "script flush": engine.CommandWrite, "function flush": engine.CommandWrite, "xgroup create s g $": engine.CommandWrite, "getdel k": engine.CommandWrite,
		"flushall": engine.CommandAdmin, "config set save ''": engine.CommandAdmin, "debug sleep 1": engine.CommandAdmin, "shutdown": engine.CommandAdmin, "bgsave": engine.CommandAdmin,
		"client kill 1": engine.CommandAdmin, "slowlog reset": engine.CommandAdmin, "latency reset": engine.CommandAdmin, "module load /x": engine.CommandAdmin, "acl setuser x": engine.CommandAdmin,
		"client no-evict on": engine.CommandAdmin, "cluster reset": engine.CommandAdmin, "swapdb 0 1": engine.CommandAdmin,
		"replicaof no one": engine.CommandRefused, "SLAVEOF a 1": engine.CommandRefused, "failover": engine.CommandRefused, "client pause 1": engine.CommandRefused, "CLIENT UNPAUSE": engine.CommandRefused,
		"monitor": engine.CommandRefused, "subscribe x": engine.CommandRefused, "psync ? -1": engine.CommandRefused, "config set save '' masterauth x": engine.CommandRefused, "acl deluser baton": engine.CommandRefused,
	} {
		words, err := c.Words(line)
		if err != nil {
			t.Fatal(err)
		}
		j, err := c.Judge(ctx, words)
		if err != nil || j.Class != want || (j.Class == engine.CommandRefused) != (j.Why != "" && j.Instead != "") {
			t.Errorf("%s: %+v %v, want %s", line, j, err, want)
		}
	}
	for line, want := range map[string]string{"set k geheim": "SET k (and 1 value)", "mset a 1 b 2": "MSET a b (and 2 values)", "del a b c": "DEL a b c", "auth u p": "AUTH (and 2 values)",
		"config set save x": "CONFIG set save (and 1 value)", "flushall": "FLUSHALL"} {
		words, _ := c.Words(line)
		if j, err := c.Judge(ctx, words); err != nil || j.Summary != want {
			t.Errorf("%s: %q %v, want %q", line, j.Summary, err, want)
		}
	}
	run := func(words ...string) string {
		t.Helper()
		out, err := c.Run(ctx, words)
		if err != nil {
			t.Fatalf("%v: %v", words, err)
		}
		return out
	}
	run("MULTI")
	if j, err := c.Judge(ctx, []string{"lpush", "l", "1"}); err != nil || j.Class != engine.CommandWrite {
		t.Errorf("inside MULTI: %+v %v", j, err)
	}
	run("LPUSH", "l", "1")
	if out := run("EXEC"); out != "1) (integer) 1" {
		t.Errorf("EXEC: %q", out)
	}
	if role, err := c.Role(ctx); err != nil || role != engine.RolePrimary {
		t.Errorf("role: %s %v", role, err)
	}
	// What is cut off closes the connection; the next command makes another.
	short, stop := context.WithCancel(ctx)
	waits := make(chan error, 1)
	go func() { _, err := c.Run(short, []string{"BLPOP", "nothing", "0"}); waits <- err }()
	redistest.Eventually(t, time.Minute, "it waits", func() bool {
		return strings.Contains(s.Client().Do(ctx, "CLIENT", "LIST").String(), "cmd=blpop")
	})
	stop()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Errorf("a cut off command: %v", err)
	}
	if out := run("PING"); out != "PONG" {
		t.Errorf("after it: %q", out)
	}
	s.Kill()
	if _, err := c.Run(ctx, []string{"PING"}); err == nil {
		t.Error("a dead server answered")
	}
	if _, err := c.Run(ctx, []string{"PING"}); engine.CodeOf(err) != engine.CodeUnreachable {
		t.Errorf("a dead server: %v", err)
	}
}
