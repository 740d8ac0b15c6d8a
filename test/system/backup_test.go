package system

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"baton/test/fleet"
)

// Goal: a cluster of which nothing is left comes back from a backup that was taken while it was written to, with every
// event acknowledged before, at its revision, on three nodes that take writes.
// Method: three processes under 10 writers; the command takes a backup of the leader twice into one directory and
// proves it; kill -9 of all, their data removed; the command restores it for the first node, two empty nodes join.
func TestClusterIsRestoredFromABackup(t *testing.T) {
	t.Parallel()
	f := startFleet(t, fleet.Options{Nodes: 3}, 2, 0)
	l := startLoad(t, f, 10)
	dir := filepath.Join(t.TempDir(), "backup")
	store := func(out any, args ...string) {
		t.Helper()
		cmd := exec.Command(f.Binary, append([]string{"store"}, append(args, "-o", "json")...)...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}
		cmd.Stderr = os.Stderr
		b, err := cmd.Output()
		if err != nil {
			t.Fatalf("baton store %v: %v\n%s", args, err, b)
		}
		if err := json.Unmarshal(b, out); err != nil {
			t.Fatalf("baton store %v: %v\n%s", args, err, b)
		}
	}
	type taken struct {
		State    string `json:"state"`
		Position string `json:"position"`
		Files    int    `json:"files"`
	}
	var first, second taken
	var before []int // acknowledged before the second backup, by writer
	for _, s := range []*taken{&first, &second} {
		l.flow(t)
		leader := inRole(t, f, "Leader")
		before = before[:0]
		l.mu.Lock()
		for _, w := range l.writer {
			before = append(before, len(w.acked))
		}
		l.mu.Unlock()
		store(s, "backup", "--node", "http://"+leader.Address(), "--to", dir)
		l.flow(t)
	}
	if first.State != "done" || second.State != "done" || first.Position == second.Position {
		t.Fatalf("backups %+v and %+v", first, second)
	}
	for _, n := range f.Nodes {
		n.Kill()
	}
	l.cancel()
	l.wg.Wait()
	for _, n := range f.Nodes {
		if err := os.RemoveAll(n.Dir); err != nil {
			t.Fatal(err)
		}
	}

	var proven, restored struct {
		Position  string `json:"position"`
		Events    int    `json:"events"`
		Streams   int    `json:"streams"`
		TookMs    int    `json:"tookMs"`
		ClusterID string `json:"clusterId"`
	}
	store(&proven, "verify", dir)
	if proven.Position != second.Position || proven.Streams < len(l.writer) {
		t.Errorf("proven %+v, taken %+v", proven, second)
	}
	store(&restored, "restore", dir, "--db", f.Nodes[0].Dir)
	if restored.Events != proven.Events || restored.Position != proven.Position || restored.ClusterID == "" {
		t.Errorf("restored %+v, proven %+v", restored, proven)
	}
	// The restored node first: empty ones that do not find it would found a cluster of their own.
	if err := f.Nodes[0].Start(); err != nil {
		t.Fatal(err)
	}
	inRole(t, f, "Leader")
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AwaitSamePosition(formWithin); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for i, n := range f.Nodes {
		compared = 0
		for j, w := range l.writer {
			got, err := readStream(l.conns[i], w.stream)
			if err != nil {
				t.Fatalf("%s: read %s: %v", n.Name, w.stream, err)
			}
			if len(got) < before[j] {
				t.Errorf("%s has %d events of %s, %d were acknowledged before the backup", n.Name, len(got), w.stream, before[j])
			}
			for r, id := range got[:min(len(got), len(w.acked))] {
				if id != w.acked[r] {
					t.Fatalf("%s: %s@%d is not the event that was acknowledged", n.Name, w.stream, r)
				}
				compared++
			}
		}
	}
	sum := 0
	for _, n := range before {
		sum += n
	}
	fmt.Printf("=> backup and restore of a cluster: %d acknowledged before it, %d compared on each of 3 nodes; restored in %d ms\n", sum, compared, restored.TookMs)
	again := startLoad(t, f, 5)
	again.flow(t)
	again.verify(t)
}
