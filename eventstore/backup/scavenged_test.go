package backup

import (
	"crypto/rand"
	"math"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/node"
	"baton/eventstore/reader"
	"baton/eventstore/scavenge"
	"baton/eventstore/stream"
	"baton/platform/vfs"
)

// seen is one event as a reader of all streams gets it.
type seen struct {
	stream   string
	revision int64
	position uint64
	data     string
}

func readAll(t *testing.T, n *node.Node, before uint64) (out []seen) {
	t.Helper()
	err := n.Reader().All(t.Context(), reader.AllQuery{FromStart: true, Count: math.MaxUint64}, func(e *reader.Event) error {
		if e.Position < before {
			out = append(out, seen{e.Stream, e.Revision, e.Position, string(e.Data())})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Goal: a backup that is brought up to date after a scavenge gets smaller with
// the log, and what is restored from it shows the same events; backups taken
// while segments are being rewritten are whole. Method: linked and copied files,
// a stream with $maxCount, backups before, during and after two scavenges.
func TestBackupOfAScavengedNode(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	n := startNode(t, filepath.Join(root, "n1"), func(c *node.Config) { c.CacheBytes = 16 << 10 })
	w := &writes{}
	meta := stream.Event{Type: stream.MetadataType, JSON: true, Data: []byte(`{"$maxCount":5}`)}
	_, _ = rand.Read(meta.ID[:])
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: "$$bounded", Expected: stream.Any, Events: []stream.Event{meta}})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := n.Append(t.Context(), cmd, false); err != nil || out.Kind != stream.Done {
		t.Fatal(out, err)
	}
	fill := func() {
		w.must(t, n, "bounded", 40, 10<<10)
		w.must(t, n, "kept", 10, 10<<10)
	}
	take := func(dir string, o Options) *Manifest {
		t.Helper()
		m, err := Take(t.Context(), n, filepath.Join(root, dir), o)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	ways := map[string]Options{"linked": {Link: os.Link}, "copied": {}}
	fill()
	before := map[string]*Manifest{}
	for dir, o := range ways {
		before[dir] = take(dir, o)
	}
	for range 2 {
		fill()
		if _, started, err := n.Scavenger().Start(scavenge.Options{Threads: 1}); err != nil || !started {
			t.Fatal(started, err)
		}
		for range 4 {
			take("during", ways["linked"])
		}
		if err := n.Scavenger().Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, _ := n.Scavenger().Status(); s.Result != scavenge.Success || s.Rewritten == 0 {
			t.Fatalf("%+v", s)
		}
	}
	if _, err := Verify(t.Context(), filepath.Join(root, "during"), VerifyOptions{}); err != nil {
		t.Fatal(err)
	}
	for dir, o := range ways {
		m := take(dir, o)
		if m.Bytes() > int64(m.Position)/2 {
			t.Errorf("%s: %d bytes for %d of log", dir, m.Bytes(), m.Position)
		}
		t.Logf("%s: %d bytes of %d to position %d; before the scavenge %d of %d", dir, m.Bytes(), m.Position, m.Position, before[dir].Bytes(), before[dir].Position)
		if _, err := Verify(t.Context(), filepath.Join(root, dir), VerifyOptions{}); err != nil {
			t.Fatal(err)
		}
		data := filepath.Join(root, "from-"+dir)
		restored, err := Restore(t.Context(), filepath.Join(root, dir), data, RestoreOptions{})
		if err != nil {
			t.Fatal(err)
		}
		again := startNode(t, data, nil)
		want, got := readAll(t, n, m.Position), readAll(t, again, m.Position)
		if len(want) != len(got) || len(got) == 0 {
			t.Fatalf("%s: %d events, restored %d", dir, len(want), len(got))
		}
		for i := range want {
			if want[i] != got[i] {
				t.Fatalf("%s: event %d is %s@%d at %d, restored %s@%d at %d", dir, i, want[i].stream, want[i].revision, want[i].position, got[i].stream, got[i].revision, got[i].position)
			}
		}
		if restored.Events < uint64(len(got)) {
			t.Errorf("%s: %d events counted, %d read", dir, restored.Events, len(got))
		}
	}
}

// Goal: a backup that ends with a rewritten segment, which nothing follows in
// it, is whole. Method: a log without a node, of which one closed segment was
// rewritten, up to that segment's end.
func TestBackupThatEndsWithARewrittenSegment(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMem()
	l, err := log.Open(log.Options{FS: fsys, Dir: "/log", SegmentBytes: testSegment})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range uint64(30) {
		index, term, data := i+1, uint64(3), make([]byte, 8<<10)
		_, _ = rand.Read(data)
		if err := l.Append([]*raftpb.Entry{{Index: &index, Term: &term, Data: data}}); err != nil {
			t.Fatal(err)
		}
	}
	segments := l.Segments()
	last := segments[len(segments)-2]
	edit := func(f log.Frame) (bool, error) {
		clear(f.Data[100:8000])
		return true, nil
	}
	if r, err := l.Rewrite(last.Base, l.End(), edit, nil); err != nil || r.After >= r.Before {
		t.Fatal(r, err)
	}
	source := &still{l, last.End, membership.View{ClusterID: "c", ClusterSize: 1}}
	m, err := Take(t.Context(), source, "/backup", Options{FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	if f := m.Files[len(m.Files)-1]; m.Position != last.End || !f.Whole || f.Bytes > testSegment/2 {
		t.Errorf("position %d, last file %+v", m.Position, f)
	}
	if got := wholeAt(t, fsys, 0); got != last.End {
		t.Errorf("it reaches %d", got)
	}
}
