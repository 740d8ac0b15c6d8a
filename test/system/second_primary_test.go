package system

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"baton/control/engine/redis/redistest"
	"baton/test/fleet"
)

// TestWhatASecondPrimaryTookIsSaved: after a promotion the former primary is
// made a primary again behind Baton's back and takes writes that nobody else
// has, twice in the same generation. Each time it is brought back as a replica
// by itself, and each time what it took is in a file that a server loads.
func TestWhatASecondPrimaryTookIsSaved(t *testing.T) {
	t.Parallel()
	redistest.Binary(t)
	s := startOneControlNode(t)
	s.startAgent(s.nodes[0])
	former := s.healthy()
	next := s.redis[(s.index(former)+1)%len(s.redis)].Name
	for range 5 { // taken back, moving nothing, while a machine stands still
		if o := s.end(s.promote(next), endsWithin); o.State == "done" {
			break
		}
	}
	s.checkRoles(next)
	old, primary := s.redis[s.index(former)], s.redis[s.index(next)]
	ctx := context.Background()
	for i := range 2 {
		key := fmt.Sprintf("only-here-%d", i)
		if err := fleet.Await(endsWithin, former+" follows "+next, func() (bool, string) {
			in := old.info()
			return in["role"] == "slave" && in["master_port"] == strconv.Itoa(primary.Port) && in["master_link_status"] == "up", fmt.Sprint(in)
		}); err != nil {
			t.Fatal(err)
		}
		// In one transaction: it must have the write before it can be demoted. A write is queued on a replica only where
		// replicas may be written to.
		if err := old.c.ConfigSet(ctx, "replica-read-only", "no").Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := old.c.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Do(ctx, "REPLICAOF", "NO", "ONE")
			p.Set(ctx, key, "taken", 0)
			p.ConfigSet(ctx, "replica-read-only", "yes")
			return nil
		}); err != nil {
			t.Fatalf("the second primary took no write: %v", err)
		}
		if err := fleet.Await(endsWithin, former+" is a replica again", func() (bool, string) {
			in := old.info()
			return in["role"] == "slave" && in["master_port"] == strconv.Itoa(primary.Port) && in["master_link_status"] == "up", fmt.Sprint(in)
		}); err != nil {
			t.Fatal(err)
		}
		if n := old.c.Exists(ctx, key).Val(); n != 0 {
			t.Fatalf("%s still holds %s, which the primary does not", former, key)
		}
		saved := filepath.Join(s.data, "agent", "lost-writes", "*.rdb")
		if err := fleet.Await(endsWithin, key+" in what was saved", func() (bool, string) {
			files, _ := filepath.Glob(saved)
			return slices.ContainsFunc(files, func(f string) bool { return holds(t, f, key) }), fmt.Sprint(files)
		}); err != nil {
			t.Error(err)
		}
	}
	s.checkRoles(next)
	var page struct {
		Rows []struct{ What, Outcome, Detail, Node string }
	}
	if _, err := s.call("GET", "/clusters/cache/audit?limit=50", nil, &page); err != nil {
		t.Fatal(err)
	}
	demoted := 0
	for _, r := range page.Rows {
		if r.Node == former && r.Outcome == "done" && filepath.Base(r.Detail) != r.Detail {
			demoted++
		}
	}
	if demoted < 2 {
		t.Errorf("the audit tells of %d files with what %s took: %+v", demoted, former, page.Rows)
	}
}

func (s *upSite) index(node string) int {
	i := slices.IndexFunc(s.redis, func(n redisNode) bool { return n.Name == node })
	if i < 0 {
		s.t.Fatalf("there is no node %s", node)
	}
	return i
}

// holds loads a snapshot into a server of its own and looks for a key.
func holds(t *testing.T, file, key string) bool {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "loaded")
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(dir, "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	to.Close()
	port := redistest.FreePort(t)
	cmd := exec.Command(redistest.Binary(t), "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	c := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), Protocol: 2, MaxRetries: -1, DisableIdentity: true, ReadTimeout: 8 * time.Second})
	defer c.Close()
	var n int64
	if err := fleet.Await(endsWithin, "the snapshot is loaded", func() (bool, string) {
		n, err = c.Exists(context.Background(), key).Result()
		return err == nil, fmt.Sprint(err)
	}); err != nil {
		t.Fatal(err)
	}
	return n == 1
}
