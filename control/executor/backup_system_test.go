package executor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/backup"
	"baton/control/backup/target"
	"baton/control/backup/target/targettest"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
	"baton/platform/seal"
)

// keepBackups gives a site a catalog of backups and one target.
func (s *site) keepBackups(cfg target.Config) *backup.Catalog {
	s.t.Helper()
	box, err := seal.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		s.t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]int64{}
	wait := func(ctx context.Context, stream string, rev int64) error {
		s.eventually("the catalog follows", func() bool { mu.Lock(); defer mu.Unlock(); at, ok := seen[stream]; return ok && at >= rev })
		return ctx.Err()
	}
	c := backup.New(backup.Options{Journal: s.j, Wait: wait, Secrets: box, Log: slog.New(slog.NewTextHandler(s.logs, nil)), Now: time.Now})
	go func() {
		_ = s.j.Follow(s.ctx, 0, func(r journal.Recorded) error {
			c.Take(r)
			mu.Lock()
			defer mu.Unlock()
			seen[r.Stream] = r.Revision
			return nil
		}, nil)
	}()
	s.exec.Backups = c
	if h, err := s.exec.PutTarget(s.ctx, "main", cfg, ann); err != nil || !h.OK {
		// Without a cluster no host could look at it yet.
		if err != nil || !strings.Contains(h.Why, "no agent") {
			s.t.Fatalf("target: %+v, %v", h, err)
		}
	}
	return c
}

// everyType writes keys of all types, some with a time of their own.
func everyType(t *testing.T, c *goredis.Client, prefix string) {
	t.Helper()
	do := func(args ...any) {
		t.Helper()
		if err := c.Do(t.Context(), args...).Err(); err != nil && !errors.Is(err, goredis.Nil) {
			t.Fatalf("%v: %v", args, err)
		}
	}
	for i := range 200 {
		do("SET", fmt.Sprintf("%sstring:%d", prefix, i), strings.Repeat(fmt.Sprint(i), i%50))
		do("HSET", prefix+"hash", fmt.Sprint(i), i)
		do("RPUSH", prefix+"list", i, "x\x00\r\n\"")
		do("SADD", prefix+"set", fmt.Sprint("m", i))
		do("ZADD", prefix+"zset", float64(i)/7, fmt.Sprint("m", i))
		do("XADD", prefix+"stream", fmt.Sprintf("%d-1", i+1), "f", i)
	}
	do("SADD", prefix+"ints", 1, 2, 3)
	do("SET", prefix+"expiring", "x", "PX", 3_600_000)
	do("HSET", prefix+"expiring hash", "a", 1)
	do("PEXPIREAT", prefix+"expiring hash", time.Now().Add(2*time.Hour).UnixMilli())
	do("XGROUP", "CREATE", prefix+"stream", "readers", "5-1")
	do("SET", prefix+"\x00binary\xff", "\x00\xff")
}

// contents are all keys with a prefix, as type, time of end, and value.
func contents(t *testing.T, c *goredis.Client, prefix string) map[string]string {
	t.Helper()
	ctx := t.Context()
	out := map[string]string{}
	keys, err := c.Keys(ctx, prefix+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if strings.HasPrefix(k, "__baton") {
			continue // of a verification; it ends by itself
		}
		kind, err := c.Type(ctx, k).Result()
		if err != nil {
			t.Fatal(err)
		}
		var v any
		switch kind {
		case "string":
			v, err = c.Get(ctx, k).Result()
		case "hash":
			v, err = c.HGetAll(ctx, k).Result()
		case "list":
			v, err = c.LRange(ctx, k, 0, -1).Result()
		case "set":
			var m []string
			m, err = c.SMembers(ctx, k).Result()
			slices.Sort(m)
			v = m
		case "zset":
			v, err = c.ZRangeWithScores(ctx, k, 0, -1).Result()
		case "stream":
			var entries []goredis.XMessage
			if entries, err = c.XRange(ctx, k, "-", "+").Result(); err == nil {
				var groups []goredis.XInfoGroup
				groups, err = c.XInfoGroups(ctx, k).Result()
				v = fmt.Sprint(entries, groups)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		ends, err := c.Do(ctx, "PEXPIRETIME", k).Int64()
		if err != nil {
			t.Fatal(err)
		}
		out[k] = fmt.Sprintf("%s %d %v", kind, ends, v)
	}
	return out
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	t.Errorf("%s: %d keys, want %d", what, len(got), len(want))
	for k := range want {
		if got[k] != want[k] {
			t.Errorf("%q: %.100q, want %.100q", k, got[k], want[k])
			return
		}
	}
}

func (s *site) cluster(name string, nodes ...plan.NewNode) executor.Credentials {
	s.t.Helper()
	id, c, err := s.exec.Create(s.ctx, executor.RequestCreate{NewCluster: plan.NewCluster{Name: name, Engine: engine.Redis, Nodes: nodes}, Policy: inventory.DefaultPolicy(), Who: ann})
	s.ends(id, err, operation.StateDone)
	return c
}

// begin repeats a request while checks refuse it: on a busy machine a report
// may be late, and then nothing is known of a node.
func (s *site) begin(f func() (string, error)) (id string, err error) {
	s.t.Helper()
	s.eventually("the request is not refused", func() bool {
		var refused *executor.RefusedError
		id, err = f()
		return !errors.As(err, &refused)
	})
	return id, err
}

// Goal: a backup is taken under writes to an S3-compatible store, verified, its cluster
// destroyed, and everything is back in a new cluster, key by key. No secret of
// it is in journal or log.
func TestBackupOutlivesItsCluster(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	store := targettest.NewS3(t, true)
	cat := s.keepBackups(store.Config)
	app := s.cluster("shop", s.node(0, "a"), s.node(1, "b"))
	everyType(t, s.client(s.address("shop", "a"), app), "t:")
	want := contents(t, s.client(s.address("shop", "a"), app), "t:")
	w := s.write("shop", app)
	s.eventually("writes are acknowledged", func() bool { return w.count() > 50 })

	if _, err := s.exec.Backup(s.ctx, executor.RequestBackup{Cluster: "shop", Who: ann}); !errors.Is(err, executor.ErrNoTarget) {
		t.Errorf("without a target: %v", err)
	}
	before := w.count()
	w.mu.Lock()
	last := fmt.Sprintf("w:%d", w.acked[before-1])
	w.mu.Unlock()
	replica := s.client(s.address("shop", "b"), app)
	s.eventually("the replica has what was acknowledged", func() bool { return replica.Exists(s.ctx, last).Val() == 1 })
	id, err := s.begin(func() (string, error) {
		return s.exec.Backup(s.ctx, executor.RequestBackup{Cluster: "shop", Target: "main", Node: "b", Who: ann})
	})
	o := s.ends(id, err, operation.StateDone)
	b := cat.Backups("shop")[0]
	if b.State != backup.StateDone || b.Node != "b" || b.Manifest.Primary || b.Manifest.TotalKeys() < int64(len(want)) || !strings.Contains(o.Outcome, b.ID) {
		t.Errorf("backup %+v: %s", b, o.Outcome)
	}
	close(w.stop)
	<-w.done

	id, err = s.exec.TryBackup(s.ctx, executor.RequestTry{Cluster: "shop", Who: ann}) // a drill
	s.ends(id, err, operation.StateDone)
	if at, ok := cat.NewestVerified("shop"); !ok || !at.Equal(b.Manifest.Created) || cat.LastDrill("shop") == nil || !cat.LastDrill("shop").OK {
		t.Errorf("verified of %v %v, drill %+v", at, ok, cat.LastDrill("shop"))
	}
	if err := s.exec.DeleteBackup(s.ctx, "shop", b.ID, ann); !errors.Is(err, executor.ErrLastVerified) {
		t.Errorf("the newest verified backup was deleted: %v", err)
	}

	id, err = s.exec.Delete(s.ctx, executor.RequestNode{Cluster: "shop", TypedName: "shop", Wipe: true, Who: ann})
	s.ends(id, err, operation.StateDone)
	if _, ok := s.inv.Cluster("shop"); ok {
		t.Fatal("the cluster is still there")
	}
	var again executor.Credentials
	id, err = s.begin(func() (id string, err error) {
		id, again, err = s.exec.RestoreBeside(s.ctx, executor.RequestRestore{Cluster: "shop", Backup: b.ID, Name: "shop-again", Who: ann})
		return id, err
	})
	o = s.ends(id, err, operation.StateDone)
	c := s.client(s.address("shop-again", "shop-again-1"), again)
	same(t, "restored", contents(t, c, "t:"), want)
	found := 0
	for _, n := range w.acked[:before] {
		if c.Exists(s.ctx, fmt.Sprintf("w:%d", n)).Val() == 1 {
			found++
		}
	}
	if found != before {
		t.Errorf("%d of %d writes on the replica before the backup are there: %s", found, before, o.Outcome)
	}
	if err := c.Set(s.ctx, "new", 1, 0).Err(); err != nil {
		t.Errorf("a write to the restored cluster: %v", err)
	}
	s.logs.mu.Lock()
	defer s.logs.mu.Unlock()
	for _, secret := range []string{store.Config.SecretKey, app.Password, again.Password} {
		if strings.Contains(s.logs.text.String(), secret) {
			t.Error("a secret is in the log")
		}
		_ = s.j.Follow(cancelled(), 0, func(r journal.Recorded) error {
			if strings.Contains(string(r.Data), secret) {
				t.Errorf("a secret is in %s", r.Stream)
			}
			return nil
		}, nil)
	}
}

// cancelled ends soon: for reading what is there.
func cancelled() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// Goal: in place the cluster holds exactly the backup, replicas too, under a
// new generation; what was there before is in a backup and in a directory. A
// damaged backup is named and changes nothing.
func TestRestoreInPlace(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	dir := filepath.Join(t.TempDir(), "backups")
	cat := s.keepBackups(target.Config{Kind: target.KindDirectory, Path: dir})
	app := s.cluster("shop", s.node(0, "a"), s.node(1, "b"), s.node(1, "c"))
	primary := s.client(s.address("shop", "a"), app)
	everyType(t, primary, "t:")
	want := contents(t, primary, "t:")
	id, err := s.begin(func() (string, error) {
		return s.exec.Backup(s.ctx, executor.RequestBackup{Cluster: "shop", Target: "main", Who: ann})
	})
	s.ends(id, err, operation.StateDone)
	b := cat.Backups("shop")[0]
	for i := range 100 {
		primary.Del(s.ctx, fmt.Sprintf("t:string:%d", i))
		primary.Set(s.ctx, fmt.Sprintf("later:%d", i), i, 0)
	}
	changed := contents(t, primary, "")

	q := executor.RequestRestore{Cluster: "shop", Backup: b.ID, TypedName: "shoq", Who: ann}
	if _, err := s.exec.RestoreInPlace(s.ctx, q); !errors.Is(err, executor.ErrTypedName) {
		t.Errorf("with a wrong name: %v", err)
	}
	q.TypedName = "shop"

	// One byte of the file changed: nothing happens to the cluster.
	path := filepath.Join(dir, "shop", b.ID+".baton")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := slices.Clone(good)
	bad[len(bad)-100] ^= 1
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	id, err = s.exec.TryBackup(s.ctx, executor.RequestTry{Cluster: "shop", Backup: b.ID, Who: ann})
	if o := s.ends(id, err, operation.StateDone); !strings.Contains(o.Outcome, b.ID+" CANNOT be restored") || !strings.Contains(o.Outcome, "chunk 1 of 1") {
		t.Errorf("a damaged backup: %s", o.Outcome)
	}
	if _, ok := cat.NewestVerified("shop"); ok {
		t.Error("a damaged backup counts as verified")
	}
	id, err = s.begin(func() (string, error) { return s.exec.RestoreInPlace(s.ctx, q) })
	s.ends(id, err, operation.StateRolledBack)
	same(t, "after a restore that was refused", contents(t, primary, ""), changed)
	if err := primary.Set(s.ctx, "later:0", 0, 0).Err(); err != nil {
		t.Errorf("writes are held after the roll-back: %v", err)
	}

	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := s.inv.Cluster("shop")
	id, err = s.begin(func() (string, error) { return s.exec.RestoreInPlace(s.ctx, q) })
	o := s.ends(id, err, operation.StateDone)
	for _, n := range []string{"a", "b", "c"} {
		c := s.client(s.address("shop", n), app)
		same(t, "on "+n, contents(t, c, "t:"), want)
		if left := c.Keys(s.ctx, "later:*").Val(); len(left) != 0 {
			t.Errorf("%s still has %d later keys", n, len(left))
		}
	}
	after, _ := s.inv.Cluster("shop")
	if after.Generation != before.Generation+1 || after.ShouldBe != "a" {
		t.Errorf("generation %d, was %d; primary %s", after.Generation, before.Generation, after.ShouldBe)
	}
	if err := s.client(s.address("shop", "a"), app).Set(s.ctx, "new", 1, 0).Err(); err != nil {
		t.Errorf("a write after the restore: %v", err)
	}
	// The safety backup has what was there before.
	safety := o.Plan.Arg(plan.ArgSafety)
	var creds executor.Credentials
	id, err = s.begin(func() (id string, err error) {
		id, creds, err = s.exec.RestoreBeside(s.ctx, executor.RequestRestore{Cluster: "shop", Backup: safety, Name: "before", Who: ann})
		return id, err
	})
	s.ends(id, err, operation.StateDone)
	same(t, "the safety backup", contents(t, s.client(s.address("before", "before-1"), creds), ""), changed)
	kept, err := filepath.Glob(filepath.Join(s.dirs[0], "servers", "*.before-*", "*"))
	if err != nil || len(kept) == 0 {
		t.Errorf("the old data is not kept: %v, %v", kept, err)
	}
}

// Goal: a store that goes away in the middle leaves no listed backup, and what
// remained is cleaned with the next one; retention removes the oldest.
func TestFailedBackupIsNoBackup(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	store := targettest.NewS3(t, false)
	cat := s.keepBackups(store.Config)
	s.cluster("shop", s.node(0, "a"))
	p := inventory.DefaultPolicy()
	p.BackupTarget, p.BackupKeep = "main", 2
	if err := s.inv.PutPolicy(s.ctx, "shop", p, ann); err != nil {
		t.Fatal(err)
	}
	store.Refuse.Store(true)
	take := func() (string, error) {
		return s.begin(func() (string, error) {
			return s.exec.Backup(s.ctx, executor.RequestBackup{Cluster: "shop", Who: ann})
		})
	}
	id, err := take()
	s.ends(id, err, operation.StateRolledBack)
	if b := cat.Backups("shop")[0]; b.State != backup.StateFailed || b.There() || b.Why == "" {
		t.Errorf("%+v", b)
	}
	if h := s.exec.CheckTarget(s.ctx, "main"); h.OK || h.Why == "" {
		t.Errorf("a store that is away is healthy: %+v", h)
	}
	store.Refuse.Store(false)
	if h := s.exec.CheckTarget(s.ctx, "main"); !h.OK {
		t.Errorf("a store that is back: %+v", h)
	}
	for range 3 {
		id, err := take()
		s.ends(id, err, operation.StateDone)
	}
	states := ""
	for _, b := range cat.Backups("shop") {
		states += " " + b.State
		if b.State == backup.StateFailed && b.Remains {
			t.Error("the remains of a failed backup are still there")
		}
	}
	if states != " done done expired failed" {
		t.Errorf("newest first:%s", states)
	}
	tg, err := target.Open(store.Config)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := tg.List(s.ctx, ""); err != nil || len(list) != 4 {
		t.Errorf("objects in the store: %v, %v", list, err)
	}
	if err := s.exec.RemoveTarget(s.ctx, "main", ann); !errors.Is(err, backup.ErrTargetUsed) {
		t.Errorf("a target in use was removed: %v", err)
	}
}
