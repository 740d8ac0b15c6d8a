package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"baton/control/agent/supervise"
	"baton/control/backup/container"
	"baton/control/backup/grant"
	"baton/control/backup/target"
	"baton/control/backup/target/targettest"
	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/engine/redis/redistest"
)

// bench is an agent without a link, and one real server beside it.
type bench struct {
	t   *testing.T
	a   *Agent
	srv *redistest.Server
	key []byte
	to  target.Config
}

func newBench(t *testing.T, to target.Config) *bench {
	t.Helper()
	srv := redistest.Cluster(t, 1)[0]
	d := redis.New()
	ctx, cancel := context.WithCancel(context.Background())
	a := &Agent{opt: Options{Dir: t.TempDir()}, log: slog.New(slog.DiscardHandler), drivers: map[string]engine.Driver{engine.Redis: d},
		instances: map[string]*watched{}, ctx: ctx}
	var err error
	if a.super, err = supervise.Open(a.opt.Dir, a.log); err != nil {
		t.Fatal(err)
	}
	a.instances["test/r1"] = &watched{in: srv.Instance, look: make(chan struct{}, 1)}
	t.Cleanup(func() { cancel(); a.jobs.stop(""); a.super.Close(); d.Close() })
	if to.Kind == "" {
		to = target.Config{Kind: target.KindDirectory, Path: filepath.Join(t.TempDir(), "backups")}
	}
	return &bench{t: t, a: a, srv: srv, key: container.NewKey(), to: to}
}

// order sends one order with a fresh grant.
func (b *bench) order(action, id string, args ...string) (map[string]string, error) {
	b.t.Helper()
	v, err := backupKey(b.t.Context(), b.a, Order{})
	if err != nil {
		b.t.Fatal(err)
	}
	sealed, err := grant.Seal(v["public"], GrantPurpose(action, "test", id), grant.Grant{Target: b.to, Key: b.key, SealedKey: "sealed"})
	if err != nil {
		b.t.Fatal(err)
	}
	o := Order{Cluster: "test", Node: "r1", Action: engine.Action{Name: action, Args: map[string]string{"id": id, "grant": sealed, "job": action + id}}}
	for i := 0; i < len(args); i += 2 {
		o.Action.Args[args[i]] = args[i+1]
	}
	return backupActions[action](b.t.Context(), b.a, o)
}

// job begins a job and waits for its end.
func (b *bench) job(action, id string, args ...string) (map[string]string, error) {
	b.t.Helper()
	if _, err := b.order(action, id, args...); err != nil {
		return nil, err
	}
	return b.wait(action + id)
}

func (b *bench) wait(job string) (map[string]string, error) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		v, err := backupWait(b.t.Context(), b.a, Order{Action: engine.Action{Args: map[string]string{"job": job, "waitMs": "5000"}}})
		if err != nil || v["state"] == "done" {
			return v, err
		}
	}
	b.t.Fatalf("job %s does not end", job)
	return nil, nil
}

func (b *bench) fill(keys int) {
	b.t.Helper()
	c := b.srv.Client()
	pipe := c.Pipeline()
	for i := range keys {
		pipe.Set(b.t.Context(), fmt.Sprintf("k:%d", i), strings.Repeat(strconv.Itoa(i), 20), 0)
	}
	pipe.Do(b.t.Context(), "SELECT", 5)
	pipe.HSet(b.t.Context(), "hash", "a", 1)
	pipe.Set(b.t.Context(), "short-lived", "x", time.Millisecond) // its time is over before anybody looks
	pipe.Do(b.t.Context(), "SELECT", 0)
	if _, err := pipe.Exec(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// write writes all the time until the test ends.
func (b *bench) write() {
	c := b.srv.Client()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var n atomic.Int64
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = c.Set(ctx, fmt.Sprintf("live:%d", n.Add(1)), "x", 0).Err()
		}
	}()
	redistest.Eventually(b.t, 30*time.Second, "the writer writes", func() bool { return n.Load() > 20 })
	b.t.Cleanup(func() { cancel(); <-done })
}

func (b *bench) objects() []target.Object {
	b.t.Helper()
	tg, err := target.Open(b.to)
	if err != nil {
		b.t.Fatal(err)
	}
	list, err := tg.List(b.t.Context(), "")
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// Goal: while clients write, a backup is taken whose counts are exactly what a
// server loads from it; scratch servers and files are gone afterwards.
func TestBackupUnderWritesIsTakenAndVerified(t *testing.T) {
	for name, to := range map[string]func() target.Config{
		"directory": func() target.Config { return target.Config{} },
		"S3":        func() target.Config { return targettest.NewS3(t, true).Config },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, to())
			b.fill(500)
			b.write()
			v, err := b.job(ActionBackupTake, "b-1")
			if err != nil {
				t.Fatal(err)
			}
			m, err := container.DecodeManifest([]byte(v["manifest"]), "test", "b-1")
			if err != nil {
				t.Fatal(err)
			}
			if !m.Counted || m.Keys["0"] < 520 || m.Keys["5"] < 1 || m.Bytes <= m.PlainBytes || m.EngineVersion == "" {
				t.Errorf("manifest %+v", m)
			}
			if list := b.objects(); len(list) != 2 || list[0].Bytes != m.Bytes {
				t.Errorf("objects %v; the file has %d bytes", list, m.Bytes)
			}
			if r, err := b.order(ActionBackupRead, "b-1"); err != nil || r["manifest"] != v["manifest"] {
				t.Errorf("the manifest in the target: %v, %v", r, err)
			}
			if v, err = b.job(ActionBackupVerify, "b-1"); err != nil {
				t.Fatal(err)
			}
			if want := strconv.FormatInt(m.TotalKeys(), 10); v["keys"] != want || !strings.Contains(v["how"], "as many as were saved") || !strings.Contains(v["how"], "check-rdb") {
				t.Errorf("verified %v, want %s keys", v, want)
			}
			if left, err := os.ReadDir(b.a.scratchRoot()); err != nil || len(left) != 0 {
				t.Errorf("scratch directories left: %v, %v", left, err)
			}
			if _, err := b.order(ActionBackupDiscard, "b-1"); err != nil {
				t.Error(err)
			}
			if list := b.objects(); len(list) != 0 {
				t.Errorf("after the removal: %v", list)
			}
		})
	}
}

// Goal: a stored file of which one byte changed, or that was cut, is named by
// its check, with the place; with another key too.
func TestDamagedBackupIsNamed(t *testing.T) {
	b := newBench(t, target.Config{})
	b.fill(100)
	if _, err := b.job(ActionBackupTake, "b-1"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.to.Path, "test", "b-1.baton")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte(nil), good...)
	changed[len(changed)-30] ^= 1
	for want, data := range map[string][]byte{"chunk 1 of 1": changed, "ends too early": good[:len(good)-1], "not a backup file": []byte("REDIS0011 something else"), "": nil} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b.a.jobs.byID = nil // the same job again
		_, err := b.job(ActionBackupVerify, "b-1")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "b-1") {
			t.Errorf("want %q and the backup's name: %v", want, err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	b.key = container.NewKey()
	b.a.jobs.byID = nil
	if _, err := b.job(ActionBackupVerify, "b-1"); err == nil {
		t.Error("another key opened it")
	}
}

// Goal: an upload that fails or is ended leaves no backup and no remains.
func TestUploadThatBreaksLeavesNothing(t *testing.T) {
	s := targettest.NewS3(t, false)
	b := newBench(t, s.Config)
	b.fill(100)
	s.Refuse.Store(true)
	began, err := b.order(ActionBackupTake, "b-1")
	if err != nil {
		t.Fatal(began, err)
	}
	redistest.Eventually(t, time.Minute, "the upload begins", func() bool {
		v, err := backupWait(t.Context(), b.a, Order{Action: engine.Action{Args: map[string]string{"job": ActionBackupTake + "b-1", "waitMs": "10"}}})
		return err != nil || v["phase"] == "encrypt and store"
	})
	b.a.jobs.stop("b-1")
	s.Refuse.Store(false)
	if _, err := b.wait(ActionBackupTake + "b-1"); err == nil {
		t.Error("an ended upload is no backup")
	}
	if list := b.objects(); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
}

// Goal: the agent was killed in the middle: the file without a manifest is no
// backup, and a later backup removes it once it is old.
func TestFileWithoutManifestIsRemovedLater(t *testing.T) {
	now := time.Now()
	list := []target.Object{{Name: "c/b-1.baton", Changed: now.Add(-25 * time.Hour)}, {Name: "c/b-2.baton", Changed: now.Add(-25 * time.Hour)}, {Name: "c/b-2.json"},
		{Name: "c/b-3.baton", Changed: now.Add(-time.Hour)}, {Name: "c/other.baton", Changed: now.Add(-25 * time.Hour)}, {Name: "d/b-4.baton", Changed: now.Add(-25 * time.Hour)}}
	if got := orphans(list, "c", now); fmt.Sprint(got) != "[b-1]" {
		t.Errorf("removed: %v", got)
	}
}

// Goal: orders with a grant of another purpose, twice the same grant, a bad
// name or an unknown job are refused.
func TestOrdersWithoutARightGrantAreRefused(t *testing.T) {
	b := newBench(t, target.Config{})
	v, err := backupKey(t.Context(), b.a, Order{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := grant.Seal(v["public"], GrantPurpose(ActionBackupVerify, "test", "b-1"), grant.Grant{Target: b.to, Key: b.key})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"b-1", "../x", ""} {
		o := Order{Cluster: "test", Node: "r1", Action: engine.Action{Name: ActionBackupDiscard, Args: map[string]string{"id": id, "grant": sealed}}}
		if _, err := backupDiscard(t.Context(), b.a, o); err == nil {
			t.Errorf("id %q: a grant for a check removed a backup", id)
		}
	}
	if _, err := b.a.waitFor("no such job"); engine.CodeOf(err) != CodeUnknownJob {
		t.Errorf("unknown job: %v", err)
	}
}

func (a *Agent) waitFor(job string) (map[string]string, error) {
	return backupWait(context.Background(), a, Order{Action: engine.Action{Args: map[string]string{"job": job, "waitMs": "1"}}})
}

// Goal: no save is begun when memory or disk would not suffice.
func TestSaveWithoutRoomIsRefused(t *testing.T) {
	err := room(map[string]string{"usedMemoryBytes": strconv.FormatInt(1<<55, 10), "dir": t.TempDir()})
	var ae *engine.ActionError
	if !errors.As(err, &ae) || ae.Code != engine.CodeRefused || ae.Fix == "" {
		t.Errorf("%v", err)
	}
	if err := room(map[string]string{"usedMemoryBytes": "1000000", "dir": t.TempDir()}); err != nil {
		t.Errorf("a small server: %v", err)
	}
}
