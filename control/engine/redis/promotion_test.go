package redis_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/engine/redis/redistest"
	"baton/test/fleet"

	goredis "github.com/redis/go-redis/v9"
)

// timeout bounds a call by d, or half a minute if that is longer: a busy
// machine is slow, not wrong.
func timeout(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	d = max(d, 30*time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func act(name string, kv ...string) engine.Action {
	a := engine.Action{Name: name, Args: map[string]string{}}
	for i := 0; i+1 < len(kv); i += 2 {
		a.Args[kv[i]] = kv[i+1]
	}
	return a
}

func newDriver(t *testing.T) *redis.Driver {
	d := redis.New()
	t.Cleanup(func() { d.Close() })
	return d
}

func instances(servers []*redistest.Server) []engine.Instance {
	var out []engine.Instance
	for _, s := range servers {
		out = append(out, s.Instance)
	}
	return out
}

// writer is a closed-loop client of its own kind: it knows nothing of the probe.
type writer struct {
	clients []*goredis.Client
	acked   []string
	gap     fleet.Gap // the longest
	last    time.Time
}

// run pushes numbers until ctx ends, asking the next server whenever one refuses.
func (w *writer) run(ctx context.Context) {
	at := 0
	for ctx.Err() == nil {
		value := fmt.Sprint(len(w.acked))
		wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 50*time.Millisecond)
		err := w.clients[at].SAdd(wctx, "written", value).Err()
		cancel()
		if err != nil {
			at = (at + 1) % len(w.clients)
			continue
		}
		now := time.Now()
		if !w.last.IsZero() && now.Sub(w.last) > w.gap.Length() {
			w.gap = fleet.Gap{From: w.last, To: now}
		}
		w.last, w.acked = now, append(w.acked, value)
	}
}

func TestThirtyPromotionsLoseNothingAndResyncPartially(t *testing.T) {
	redistest.Binary(t)
	servers := redistest.Cluster(t, 3)
	all := instances(servers)
	d := newDriver(t)
	for _, in := range all {
		if _, err := d.Observe(timeout(t, 5*time.Second), in); err != nil {
			t.Fatal(err)
		}
	}
	w := &writer{}
	for _, s := range servers {
		w.clients = append(w.clients, s.Client())
	}
	fullBefore := 0
	for _, s := range servers {
		fullBefore += s.Number("stats", "sync_full")
	}
	var gaps []fleet.Gap
	machine, err := fleet.WatchMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Stop()
	for i := range 30 {
		from, to := all[i%3], all[(i+1)%3]
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		w.gap, w.last = fleet.Gap{}, time.Time{}
		go func() { defer close(done); w.run(ctx) }()
		if _, err := switchover(timeout(t, 20*time.Second), d, all, from, to); err != nil {
			stop()
			<-done
			t.Fatalf("promotion %d: %v", i, err)
		}
		stop()
		<-done
		gaps = append(gaps, w.gap)
	}
	line, ok := machine.Judge(gaps, 20*time.Millisecond, time.Second)
	fmt.Printf("=> Redis driver, 30 promotions, %d writes acknowledged: %s\n", len(w.acked), line)
	if !ok {
		t.Errorf("the gaps are beyond their limits: %s", line)
	}
	redistest.Eventually(t, 5*time.Second, "all acknowledged writes are on every server", func() bool {
		for _, s := range servers {
			if n, err := s.Client().SCard(context.Background(), "written").Result(); err != nil || int(n) < len(w.acked) {
				return false
			}
		}
		return true
	})
	for _, s := range servers {
		have := s.Client().SMIsMember(context.Background(), "written", toAny(w.acked)...).Val()
		if len(have) != len(w.acked) || slices.Contains(have, false) {
			t.Errorf("%s lacks acknowledged writes", s.Instance.Node)
		}
	}
	fullAfter := 0
	for _, s := range servers {
		fullAfter += s.Number("stats", "sync_full")
	}
	if fullAfter != fullBefore {
		t.Errorf("%d full synchronizations, want none", fullAfter-fullBefore)
	}
}

func toAny(s []string) []any {
	out := make([]any, len(s))
	for i := range s {
		out[i] = s[i]
	}
	return out
}

func TestTwoServersSwitchWithoutAnotherReplica(t *testing.T) {
	redistest.Binary(t)
	servers := redistest.Cluster(t, 2)
	all := instances(servers)
	d := newDriver(t)
	for i := range 4 {
		if _, err := switchover(timeout(t, 20*time.Second), d, all, all[i%2], all[(i+1)%2]); err != nil {
			t.Fatalf("switch %d: %v", i, err)
		}
		ctx := timeout(t, 5*time.Second)
		if err := servers[(i+1)%2].Client().Set(ctx, "k", i, 0).Err(); err != nil {
			t.Fatalf("write after switch %d: %v", i, err)
		}
	}
}

func TestWrongReplicationPasswordIsFoundByARealLogin(t *testing.T) {
	redistest.Binary(t)
	servers := redistest.Cluster(t, 2)
	a, b := servers[0], servers[1]
	d := newDriver(t)
	if _, err := d.Do(timeout(t, 5*time.Second), a.Instance, act(engine.CheckAuth, "addr", b.Instance.Address())); err != nil {
		t.Fatalf("with the right password: %v", err)
	}
	if err := a.Client().ConfigSet(context.Background(), "masterauth", "other").Err(); err != nil {
		t.Fatal(err)
	}
	_, err := d.Do(timeout(t, 5*time.Second), a.Instance, act(engine.CheckAuth, "addr", b.Instance.Address()))
	if engine.CodeOf(err) != engine.CodeAuth {
		t.Errorf("with a wrong masterauth: %v", err)
	}
	o, err := d.Observe(timeout(t, 5*time.Second), a.Instance)
	if err != nil || o.Facts.Reach[b.Instance.Address()].OK {
		t.Errorf("the standing report still says that the login works: %+v, %v", o.Facts.Reach, err)
	}
	// A user that may log in but not replicate.
	bc := b.Client()
	if err := bc.Do(context.Background(), "ACL", "SETUSER", "weak", "on", ">pw", "+ping", "+replconf").Err(); err != nil {
		t.Fatal(err)
	}
	ac := a.Client()
	ac.ConfigSet(context.Background(), "masteruser", "weak")
	ac.ConfigSet(context.Background(), "masterauth", "pw")
	_, err = d.Do(timeout(t, 5*time.Second), a.Instance, act(engine.CheckAuth, "addr", b.Instance.Address()))
	if engine.CodeOf(err) != engine.CodeAuth || !strings.Contains(err.Error(), "PSYNC") {
		t.Errorf("with a user without PSYNC: %v", err)
	}
	if n := b.Number("stats", "sync_full"); n != 0 {
		t.Errorf("checking the login began %d synchronizations", n)
	}
	// The agent's own login is told apart from the replication's.
	in := b.Instance
	in.Auth.Password = "nonsense"
	if o, err := d.Observe(timeout(t, 5*time.Second), in); err != nil || o.Up || !strings.Contains(o.Err, "login") {
		t.Errorf("with a wrong agent password: %+v, %v", o, err)
	}
	if _, err := d.Do(timeout(t, 5*time.Second), in, act(engine.Promote)); engine.CodeOf(err) != engine.CodeAuth {
		t.Errorf("an action with a wrong agent password: %v", err)
	}
}

func TestFrozenCandidateEndsTheWaitInTimeAndWritesGoOn(t *testing.T) {
	redistest.Binary(t)
	servers := redistest.Cluster(t, 3)
	a, b := servers[0], servers[1]
	d := newDriver(t)
	do := func(in engine.Instance, action engine.Action) (engine.Result, error) {
		return d.Do(timeout(t, 5*time.Second), in, action)
	}
	b.Signal(syscall.SIGSTOP)
	defer b.Signal(syscall.SIGCONT)
	client := a.Client()
	if err := client.Set(context.Background(), "k", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := do(a.Instance, act(engine.PauseWrites, "ms", "60000")); err != nil {
		t.Fatal(err)
	}
	off, err := do(a.Instance, act(engine.ReadOffset))
	if err != nil || off.Values["stable"] != "true" {
		t.Fatalf("offset: %v, %v", off, err)
	}
	begun := time.Now()
	_, err = do(b.Instance, act(engine.WaitOffset, "offset", off.Values["offset"], "replid", off.Values["replid"], "deadlineMs", "300"))
	if code := engine.CodeOf(err); code != engine.CodeTimeout && code != engine.CodeUnreachable {
		t.Errorf("waiting for a frozen candidate: %v", err)
	}
	if took := time.Since(begun); took > 15*time.Second { // its own bound is 300 ms
		t.Errorf("the wait took %s", took)
	}
	if _, err := do(a.Instance, act(engine.UnpauseWrites)); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(timeout(t, time.Second), "k", 2, 0).Err(); err != nil {
		t.Errorf("writes do not go on: %v", err)
	}
}

func TestWaitOffsetTellsHistoriesApart(t *testing.T) {
	redistest.Binary(t)
	servers := redistest.Cluster(t, 2)
	b := servers[1]
	d := newDriver(t)
	// The primary takes writes once it has counted its replica as a good one.
	redistest.Eventually(t, 5*time.Second, "a write is taken", func() bool {
		return servers[0].Client().Set(context.Background(), "k", "v", 0).Err() == nil
	})
	redistest.Eventually(t, 5*time.Second, "the write has arrived", func() bool { return b.Number("replication", "slave_repl_offset") > 30 })
	off, err := d.Do(timeout(t, 5*time.Second), b.Instance, act(engine.ReadOffset))
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Do(timeout(t, 5*time.Second), b.Instance, act(engine.WaitOffset, "offset", off.Values["offset"], "replid", strings.Repeat("0", 40), "deadlineMs", "5000"))
	if engine.CodeOf(err) != engine.CodeHistory {
		t.Errorf("another history: %v", err)
	}
	_, err = d.Do(timeout(t, 5*time.Second), b.Instance, act(engine.WaitOffset, "offset", "1", "replid", off.Values["replid"], "deadlineMs", "5000"))
	if engine.CodeOf(err) != engine.CodeHistory {
		t.Errorf("a candidate beyond the wanted offset: %v", err)
	}
	for why, at := range map[string][2]string{"of another history": {strings.Repeat("1", 40), "1"}, "that lacks what it held": {off.Values["replid"], "1000000"}} {
		if _, err := d.Do(timeout(t, 5*time.Second), b.Instance, act(engine.Promote, "history", at[0], "offset", at[1])); engine.CodeOf(err) != engine.CodeHistory {
			t.Errorf("promoting a candidate %s: %v", why, err)
		}
	}
	if _, err := d.Do(timeout(t, 5*time.Second), servers[0].Instance, act(engine.Repoint, "addr", b.Instance.Address())); engine.CodeOf(err) != engine.CodeRefused {
		t.Errorf("re-pointing a primary: %v", err)
	}
	if _, err := d.Do(timeout(t, 5*time.Second), b.Instance, act(engine.Demote, "addr", b.Instance.Address())); engine.CodeOf(err) != engine.CodeBadAction {
		t.Errorf("following itself: %v", err)
	}
	if _, err := d.Do(timeout(t, 5*time.Second), servers[0].Instance, act(engine.VerifyRole, "role", "primary", "syncFull", "77")); engine.CodeOf(err) != engine.CodeRefused {
		t.Errorf("another count of full synchronizations: %v", err)
	}
}

func TestRolesSurviveARestartOfEverything(t *testing.T) {
	redistest.Binary(t)
	servers := redistest.Cluster(t, 3)
	all := instances(servers)
	d := newDriver(t)
	if _, err := switchover(timeout(t, 20*time.Second), d, all, all[0], all[2]); err != nil {
		t.Fatal(err)
	}
	// A fresh replica's file counts once its first rewrite is done.
	redistest.Eventually(t, 15*time.Second, "no server rewrites its file", func() bool {
		for _, s := range servers {
			if s.Number("persistence", "aof_rewrite_in_progress") != 0 || s.Number("persistence", "aof_rewrite_scheduled") != 0 {
				return false
			}
		}
		return true
	})
	if err := servers[2].Client().Set(context.Background(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		s.Kill()
	}
	for _, s := range servers {
		s.Start()
	}
	redistest.Eventually(t, 15*time.Second, "the roles are as they were", func() bool {
		return servers[2].Info("replication")["role"] == "master" && servers[2].Number("replication", "connected_slaves") == 2 &&
			servers[0].Info("replication")["master_link_status"] == "up"
	})
	if v := servers[0].Client().Get(context.Background(), "k").Val(); v != "v" {
		t.Errorf("the value after the restart: %q", v)
	}
}

func TestConfigurationFileRefusesValuesThatEscape(t *testing.T) {
	for _, bad := range []string{"a\nrequirepass x", "a\x00b", "a\rb"} {
		if text, err := (redis.Config{Host: "127.0.0.1", Port: 1, Dir: "/tmp", Password: bad}).File(); err == nil {
			t.Errorf("password %q was written as %q", bad, text)
		}
	}
	text, err := (redis.Config{Host: "127.0.0.1", Port: 1, Dir: "/a b", Password: `x" y\`}).File()
	if err != nil || !strings.Contains(string(text), `requirepass "x\" y\\"`) || !strings.Contains(string(text), `dir "/a b"`) {
		t.Errorf("quoting: %v\n%s", err, text)
	}
}
