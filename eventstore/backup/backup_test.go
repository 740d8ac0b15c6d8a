package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/eventstore/membership"
	"baton/eventstore/node"
)

// Goal: backups taken while clients write, into one directory again and again,
// hold every event that was acknowledged before; after the loss of the node the
// last of them makes a new cluster with the same positions and revisions.
// Method: a live writer with segments of 64 KiB; take, write on, take, destroy,
// restore, compare; write, restart, compare again.
func TestBackupUnderLoadIsRestored(t *testing.T) {
	for _, how := range []string{"linked", "copied"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			data, dir := filepath.Join(root, "n1"), filepath.Join(root, "backup")
			n := startNode(t, data, nil)
			w := &writes{}
			stop := w.live(t, n)
			o := Options{Version: "1.0-test"}
			if how == "linked" {
				o.Link = os.Link
			}
			var m *Manifest
			var acknowledged int
			var at uint64
			for round := range 3 {
				want := w.count() + 300
				eventually(t, "clients write", func() error {
					if w.count() < want {
						return fmt.Errorf("%d of %d", w.count(), want)
					}
					return nil
				})
				acknowledged = w.count()
				var p Progress
				o.Progress = func(now Progress) { p = now }
				var err error
				if m, err = Take(t.Context(), n, dir, o); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if m.Position <= at || p.Files != len(m.Files) || p.Done != p.Files || p.DoneBytes != int64(m.Position) {
					t.Errorf("round %d: position %d after %d, progress %+v of %d files", round, m.Position, at, p, len(m.Files))
				}
				if round > 0 && p.Kept == 0 {
					t.Errorf("round %d stored everything again: %+v", round, p)
				}
				if linked := p.Linked > 0; linked != (how == "linked") {
					t.Errorf("round %d: %+v", round, p)
				}
				at = m.Position
			}
			// Everything acknowledged before a backup began is in it.
			stop()
			n.Stop()
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}

			report, err := Verify(t.Context(), dir, VerifyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			restored, err := Restore(t.Context(), dir, data, RestoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if restored.Events != report.Events || restored.Streams != report.Streams || restored.Position != m.Position || restored.ClusterID == m.ClusterID {
				t.Errorf("verified %+v, restored %+v of cluster %s", report, restored, m.ClusterID)
			}
			again := startNode(t, data, nil)
			view := again.View()
			if view.ClusterID != restored.ClusterID || view.ClusterName != "shop" || view.Self != restored.Member || len(view.Members) != 1 {
				t.Errorf("view %+v, restored %+v", view, restored)
			}
			compared := w.compare(t, again, m.Position)
			if compared < acknowledged || uint64(compared) > report.Events {
				t.Errorf("%d events compared; %d were acknowledged before the backup, it has %d", compared, acknowledged, report.Events)
			}
			t.Logf("%d events acknowledged before the backup, %d compared, %d streams, %d files", acknowledged, compared, report.Streams, len(m.Files))
			w.forget(m.Position)
			w.must(t, again, "live-0-0", 20, 20<<10)
			eventually(t, "the node's own name is in the roster", func() error {
				if self := again.Self(); self.PeerAddress == "" {
					return fmt.Errorf("%+v", self)
				}
				return nil
			})
			again.Stop()
			w.compare(t, startNode(t, data, nil), 1<<62)
		})
	}
}

// Goal: a backup taken on a follower becomes a cluster of three: the restored
// node leads, two empty ones join it as clones, are promoted, and hold
// everything when the restored one is gone.
func TestBackupOfAFollowerBecomesAClusterOfThree(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	form := func(prefix string, prepare func(dir string)) []*node.Node {
		addresses := peerAddresses(t, 3)
		nodes := make([]*node.Node, 3)
		done := make(chan int, 3)
		for i := range nodes {
			dir := filepath.Join(root, fmt.Sprintf("%s%d", prefix, i))
			start := func() {
				defer func() { done <- i }()
				nodes[i] = startNode(t, dir, func(c *node.Config) { c.ClusterSize, c.PeerListen, c.PeerSeeds = 3, addresses[i], addresses })
			}
			if i == 0 && prepare != nil { // it serves before empty nodes could found a cluster without it
				prepare(dir)
				start()
				continue
			}
			go start()
		}
		for range nodes {
			<-done
		}
		eventually(t, "three voters", func() error {
			if v := nodes[0].View(); v.Quorum.Voters != 3 || v.Quorum.Alive != 3 || v.Leader == 0 {
				return fmt.Errorf("%+v", v)
			}
			return nil
		})
		return nodes
	}
	nodes := form("a", nil)
	w := &writes{}
	w.must(t, nodes[0], "orders", 50, 5<<10)
	var follower *node.Node
	for _, n := range nodes {
		if n.Self().Role == membership.RoleFollower {
			follower = n
		}
	}
	dir := filepath.Join(root, "backup")
	m := &Manifest{}
	eventually(t, "a backup with everything", func() (err error) {
		if m, err = Take(t.Context(), follower, dir, Options{}); err == nil && m.Position <= w.by["orders"][49].position {
			err = errors.New("the follower has not applied everything")
		}
		return err
	})
	if m.Node.Role != membership.RoleFollower || len(m.Members) != 3 || m.ClusterSize != 3 {
		t.Errorf("manifest %+v", m)
	}
	for _, n := range nodes {
		n.Stop()
	}
	restored := form("b", func(dataDir string) {
		if _, err := Restore(t.Context(), dir, dataDir, RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	w.must(t, restored[1], "orders", 5, 100)
	restored[0].Stop()
	for _, n := range restored[1:] {
		eventually(t, "the others go on", func() error {
			if v := n.View(); v.Leader == 0 || v.Leader == restored[0].ID() || v.ClusterID == m.ClusterID {
				return fmt.Errorf("%+v", v)
			}
			return nil
		})
	}
	w.must(t, restored[2], "orders", 5, 100)
	for _, n := range restored[1:] {
		eventually(t, "everything is there", func() error {
			if w.compareQuiet(t, n) != 60 {
				return errors.New("not yet")
			}
			return nil
		})
	}
}

// Goal: what must be refused is refused before anything is changed.
func TestRefusals(t *testing.T) {
	t.Parallel()
	source, w := stillSource(t, 20, 10<<10)
	root := t.TempDir()
	dir := filepath.Join(root, "backup")
	if _, err := ReadManifest(vfsOS, root); true {
		refusedWith(t, err, CodeNoBackup)
	}
	if _, err := Take(t.Context(), source, dir, Options{}); err != nil {
		t.Fatal(err)
	}
	other := *source
	other.view.ClusterID = "another"
	_, err := Take(t.Context(), &other, dir, Options{})
	refusedWith(t, err, CodeOtherCluster)

	older := *source
	older.at = w.by["orders"][5].position // inside a frame's data: its frame begins before
	if f, err := source.log.FrameContaining(older.at); err != nil {
		t.Fatal(err)
	} else {
		older.at = f.End()
	}
	_, err = Take(t.Context(), &older, dir, Options{})
	refusedWith(t, err, CodeOlder)

	foreign := filepath.Join(root, "foreign")
	if err := os.MkdirAll(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(foreign, "photos.zip"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Take(t.Context(), source, foreign, Options{})
	refusedWith(t, err, CodeDirectory)
	_, err = Restore(t.Context(), dir, foreign, RestoreOptions{})
	refusedWith(t, err, CodeNotEmpty)
	_, err = Restore(t.Context(), dir, filepath.Join(root, "even"), RestoreOptions{ClusterSize: 4})
	refusedWith(t, err, membership.CodeBadSize)
	if _, err := os.Stat(filepath.Join(root, "even")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused restore made a directory: %v", err)
	}
	lock, err := vfsOS.Lock(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Take(t.Context(), source, dir, Options{})
	refusedWith(t, err, CodeBusy)
	_ = lock.Close()
	if _, err := Verify(t.Context(), dir, VerifyOptions{}); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// Goal: a restore that was interrupted leaves a directory with which no node
// starts, and begins again.
func TestInterruptedRestoreBeginsAgain(t *testing.T) {
	t.Parallel()
	source, w := stillSource(t, 20, 10<<10)
	root := t.TempDir()
	dir, data := filepath.Join(root, "backup"), filepath.Join(root, "n1")
	if _, err := Take(t.Context(), source, dir, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"copy and compare", "apply every entry"} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Restore(ctx, dir, data, RestoreOptions{Progress: func(now string, _, _ int64) {
			if strings.HasPrefix(now, what) {
				cancel()
			}
		}})
		if what == "apply every entry" && err == nil {
			continue // it was all in one piece and the cancellation came too late
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := node.Start(node.Config{Dir: data, PeerListen: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "not completed") {
			t.Fatalf("a node on half a restore: %v", err)
		}
		cancel()
	}
	if _, err := os.Stat(filepath.Join(data, node.RestoringFile)); err == nil {
		if _, err := Restore(t.Context(), dir, data, RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.compare(t, startNode(t, data, nil), 1<<62); got != 20 {
		t.Errorf("%d of 20", got)
	}
}
