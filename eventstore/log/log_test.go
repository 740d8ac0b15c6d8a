package log

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"baton/eventstore/stream"
	"baton/platform/vfs"
)

func errorsIs(err, target error) bool { return errors.Is(err, target) }

func TestEmptyLog(t *testing.T) {
	l := openLog(t, testOptions(vfs.NewMem(), 4096))
	checkReads(t, l, rand.New(rand.NewSource(1)), nil)
	if term, err := l.Term(0); term != 0 || err != nil {
		t.Fatalf("term of entry 0: %d, %v", term, err)
	}
	if _, err := l.Term(1); err != raft.ErrUnavailable {
		t.Fatalf("term of entry 1: %v", err)
	}
	if _, err := l.Entries(1, 2, 100); err != raft.ErrUnavailable {
		t.Fatalf("entries: %v", err)
	}
	if _, err := l.FrameContaining(0); !errors.Is(err, ErrOutOfRange) {
		t.Fatalf("frame containing 0: %v", err)
	}
	if err := l.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrOutOfRange) {
		t.Fatalf("read: %v", err)
	}
	want := []SegmentInfo{{Path: "/node/log/00000000000000000000.seg"}}
	if d := cmp.Diff(want, l.Segments()); d != "" {
		t.Fatal(d)
	}
	must(t, l.Close())
}

func TestRefusedEntriesDoNoHarm(t *testing.T) {
	l := openLog(t, testOptions(vfs.NewMem(), 4096))
	must(t, l.Append(entries(1, 3, 2, 50)))
	for name, ents := range map[string][]*raftpb.Entry{
		"gap":            entries(5, 1, 2, 10),
		"index 0":        entries(0, 1, 2, 10),
		"term 0":         entries(4, 1, 0, 10),
		"older term":     entries(4, 1, 1, 10),
		"not in a row":   {entry(4, 2, nil), entry(6, 2, nil)},
		"terms decrease": {entry(4, 3, nil), entry(5, 2, nil)},
	} {
		if err := l.Append(ents); err == nil || errors.Is(err, ErrFailed) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	must(t, l.Append(entries(4, 3, 2, 50)))
	checkReads(t, l, rand.New(rand.NewSource(1)), entries(1, 6, 2, 50))
	must(t, l.Close())
	if err := l.Append(entries(7, 1, 2, 50)); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	fsys := vfs.NewMem()
	l := openLog(t, testOptions(fsys, 4096))
	if _, err := Open(testOptions(fsys, 4096)); !errors.Is(err, vfs.ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	must(t, l.Close())
	must(t, openLog(t, testOptions(fsys, 4096)).Close())
}

// Entries of every size go to segments by one rule, and a frame longer than a
// segment gets one of its own.
func TestSegmentsAreCutByTheRule(t *testing.T) {
	l := openLog(t, testOptions(vfs.NewMem(), 1000))
	sizes := []int{100, 820, 0, 5000, 10, 960, 1, 959, 1}
	var model []*raftpb.Entry
	for i, n := range sizes {
		model = append(model, entries(uint64(i+1), 1, 1, n)...)
	}
	must(t, l.Append(model))
	var got []string
	for _, s := range l.Segments() {
		got = append(got, fmt.Sprintf("%d..%d entries %d..%d %v", s.Base, s.End, s.FirstIndex, s.LastIndex, s.Closed))
	}
	want := []string{
		"0..1000 entries 1..2 true",
		"1000..1040 entries 3..3 true",
		"1040..6080 entries 4..4 true",
		"6080..6130 entries 5..5 true",
		"6130..7130 entries 6..6 true",
		"7130..7171 entries 7..7 true",
		"7171..8170 entries 8..8 true",
		"8170..8211 entries 9..9 false",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	checkReads(t, l, rand.New(rand.NewSource(1)), model)
	// A range must lie in one segment.
	if err := l.ReadAt(make([]byte, 100), 950); !errors.Is(err, ErrOutOfRange) {
		t.Fatalf("read across segments: %v", err)
	}
	must(t, l.Close())
}

// fileBytes returns what must be equal on all nodes: closed files whole, the
// last up to the end of its frames.
func fileBytes(t testing.TB, fsys vfs.FS, l *Log) map[string][]byte {
	files := map[string][]byte{}
	for _, s := range l.Segments() {
		b, err := vfs.ReadFile(fsys, s.Path)
		must(t, err)
		if !s.Closed && s.End > 0 {
			b = b[:segmentHeaderBytes+s.End-s.Base]
		} else if s.Closed && uint64(len(b)) != segmentHeaderBytes+s.End-s.Base {
			t.Fatalf("closed segment %s has %d bytes for %d..%d", s.Path, len(b), s.Base, s.End)
		}
		files[path.Base(s.Path)] = b
	}
	return files
}

// Goal: an entry that asks for it begins a segment, whatever batch brings it, and
// one that only looks alike does not.
func TestMarkedEntriesBeginSegments(t *testing.T) {
	mark := stream.NewSegmentMark().Bytes()
	one := append(entries(1, 2, 1, 60), entry(3, 1, mark), entry(4, 1, mark))
	one = append(one, entries(5, 1, 1, 60)...)
	one = append(one, entry(6, 1, append(bytes.Repeat([]byte{7}, 40), mark...)), entry(7, 1, append(bytes.Clone(mark), 1, 2, 3)))
	change := entry(8, 1, mark)
	change.Type = raftpb.EntryConfChangeV2.Enum()
	one = append(one, change)
	for _, batch := range []int{1, 3, len(one)} {
		l := openLog(t, testOptions(vfs.NewMem(), 1000))
		for rest := one; len(rest) > 0; rest = rest[min(batch, len(rest)):] {
			must(t, l.Append(rest[:min(batch, len(rest))]))
		}
		var got []string
		for _, s := range l.Segments() {
			got = append(got, fmt.Sprintf("entries %d..%d %v", s.FirstIndex, s.LastIndex, s.Closed))
		}
		if d := cmp.Diff([]string{"entries 1..2 true", "entries 3..3 true", "entries 4..6 true", "entries 7..8 false"}, got); d != "" {
			t.Fatalf("in batches of %d: %s", batch, d)
		}
		checkReads(t, l, rand.New(rand.NewSource(1)), one)
		must(t, l.Close())
	}
	// As the first entry of all it has nothing to end.
	l := openLog(t, testOptions(vfs.NewMem(), 1000))
	must(t, l.Append([]*raftpb.Entry{entry(1, 1, mark)}))
	if s := l.Segments(); len(s) != 1 || s[0].LastIndex != 1 {
		t.Fatalf("%+v", s)
	}
	must(t, l.Close())
}

// Goal: what batches, restarts and conflicts a node went through leaves no
// trace in its segment files.
func TestSegmentFilesDependOnEntriesOnly(t *testing.T) {
	for seed := range int64(30) {
		rng := rand.New(rand.NewSource(seed))
		var model []*raftpb.Entry
		for i := range uint64(100) {
			data := randomData(rng, 900)
			if rng.Intn(15) == 0 {
				data = stream.NewSegmentMark().Bytes()
			}
			model = append(model, entry(i+1, 1+i/20, data))
		}
		plain := vfs.NewMem()
		a := openLog(t, testOptions(plain, 3000))
		must(t, a.Append(model))

		bumpy := vfs.NewMem()
		b := openLog(t, testOptions(bumpy, 3000))
		for at := 0; at < len(model); {
			n := min(1+rng.Intn(15), len(model)-at)
			if rng.Intn(3) == 0 { // a leader that loses
				must(t, b.Append(entries(uint64(at+1), 1+rng.Intn(30), model[at].GetTerm()-0, rng.Intn(900))))
				// The same term with other data cannot happen; go to a new term.
				last, _ := b.LastIndex()
				must(t, b.Append(entries(last+1, 1, 50, 10)))
				must(t, rewind(b, uint64(at+1)))
			}
			must(t, b.Append(model[at:at+n]))
			at += n
			if rng.Intn(4) == 0 {
				must(t, b.Close())
				b = openLog(t, testOptions(bumpy, 3000))
			}
		}
		if d := cmp.Diff(fileBytes(t, plain, a), fileBytes(t, bumpy, b)); d != "" {
			t.Fatalf("seed %d: files differ: %.300s", seed, d)
		}
	}
}

// rewind removes the entries from index on.
func rewind(l *Log, index uint64) error { return l.removeFrom(index, 99) }

func TestConflictSavesWhatIsRemoved(t *testing.T) {
	fsys := vfs.NewMem()
	o := testOptions(fsys, 2000)
	l := openLog(t, o)
	old := entries(1, 20, 1, 300)
	must(t, l.Append(old))
	// Entries 15 and 16 are there already; 17 is in conflict.
	must(t, l.Append(append(entries(15, 2, 1, 300), entries(17, 1, 2, 10)...)))
	model := append(old[:16:16], entries(17, 1, 2, 10)...)
	checkReads(t, l, rand.New(rand.NewSource(1)), model)

	data, err := vfs.ReadFile(fsys, path.Join(o.Dir, "lost-writes/terms-1-1-entries-17-20.lost"))
	must(t, err)
	lost, err := DecodeLostWrites(data)
	must(t, err)
	if lost.FirstIndex != 17 || lost.LastIndex != 20 || lost.FirstTerm != 1 || lost.ReplacedByTerm != 2 {
		t.Fatalf("%+v", lost)
	}
	for i, f := range lost.Frames {
		if !bytes.Equal(f.Data, old[16+i].Data) {
			t.Fatalf("lost entry %d differs", f.Index)
		}
	}
	for i := range data { // any damage is noticed
		bad := bytes.Clone(data)
		bad[i] ^= 4
		if v, err := DecodeLostWrites(bad); err == nil && cmp.Equal(v.Frames, lost.Frames) == false {
			t.Fatalf("damage at byte %d passed", i)
		}
	}
	// Nothing but empty entries: nobody's write is lost, no file.
	must(t, l.Append([]*raftpb.Entry{entry(18, 3, nil)}))
	must(t, l.Append([]*raftpb.Entry{entry(18, 4, nil)}))
	// The same range again gets a name of its own.
	must(t, l.Append(entries(17, 4, 5, 30)))
	must(t, l.Append(entries(17, 4, 6, 30)))
	must(t, l.removeFrom(17, 7))
	must(t, l.Append(entries(17, 4, 6, 31)))
	must(t, l.removeFrom(17, 7))
	names, err := fsys.ReadDir(path.Join(o.Dir, "lost-writes"))
	must(t, err)
	want := []string{
		"terms-1-1-entries-17-20.lost", "terms-2-4-entries-17-18.lost", "terms-5-5-entries-17-20.lost",
		"terms-6-6-entries-17-20-2.lost", "terms-6-6-entries-17-20.lost",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Fatal(d)
	}
	must(t, l.Close())
}

// Removing everything, up to and across every segment boundary, and going on.
func TestConflictAtEveryPosition(t *testing.T) {
	for keep := range 30 {
		for _, closedCold := range []bool{false, true} {
			fsys := vfs.NewMem()
			o := testOptions(fsys, 1000)
			l := openLog(t, o)
			old := entries(1, 30, 1, 210) // four to a segment
			must(t, l.Append(old))
			if closedCold { // no anchors, no cache
				must(t, l.Close())
				l = openLog(t, o)
			}
			next := entries(uint64(keep+1), 12, 2, 400)
			must(t, l.Append(next))
			model := append(old[:keep:keep], next...)
			checkReads(t, l, rand.New(rand.NewSource(1)), model)
			must(t, l.Close())
			l = openLog(t, o)
			checkReads(t, l, rand.New(rand.NewSource(1)), model)
			must(t, l.Close())
		}
	}
}

// The log behaves as raft's own in-memory storage.
func TestAgreesWithMemoryStorage(t *testing.T) {
	for seed := range int64(20) {
		rng := rand.New(rand.NewSource(seed))
		l := openLog(t, testOptions(vfs.NewMem(), 2500))
		ms := raft.NewMemoryStorage()
		last, term := uint64(0), uint64(1)
		for range 60 {
			first := last + 1
			if last > 0 && rng.Intn(4) == 0 {
				first = 1 + uint64(rng.Int63n(int64(last)))
				term++
			}
			var batch []*raftpb.Entry
			for i := range uint64(1 + rng.Intn(10)) {
				batch = append(batch, entry(first+i, term, randomData(rng, 700)))
			}
			last = batch[len(batch)-1].GetIndex()
			must(t, l.Append(batch))
			must(t, ms.Append(batch))
			for range 10 {
				lo := 1 + uint64(rng.Int63n(int64(last)))
				hi := lo + 1 + uint64(rng.Int63n(int64(last-lo+1)))
				size := uint64(rng.Intn(5000))
				want, err := ms.Entries(lo, hi, size)
				must(t, err)
				got, err := l.Entries(lo, hi, size)
				must(t, err)
				must(t, sameEntries(got, want))
				a, _ := ms.Term(lo)
				b, err := l.Term(lo)
				must(t, err)
				if a != b {
					t.Fatalf("term of %d: %d, want %d", lo, b, a)
				}
			}
		}
		must(t, l.Close())
	}
}

func TestEncodedSizeIsProtobufs(t *testing.T) {
	for _, e := range []*raftpb.Entry{
		{}, entry(1, 1, nil), entry(300, 1<<40, []byte("x")), entry(1<<63, 127, make([]byte, 300)),
		{Type: raftpb.EntryConfChangeV2.Enum(), Data: []byte{}},
	} {
		if got, want := encodedSize(e), uint64(proto.Size(e)); got != want {
			t.Errorf("%v: %d, want %d", e, got, want)
		}
	}
}

// A scanner that met the end goes on where it was when more is appended.
func TestScannerFollowsTheEnd(t *testing.T) {
	for _, uncached := range []bool{false, true} {
		l := openLog(t, testOptions(vfs.NewMem(), 1000))
		s := l.Scan(0)
		s.uncached = uncached
		next := uint64(1)
		for round := range 50 {
			n := round%7 + 1
			must(t, l.Append(entries(next, n, 1, 90*(round%5))))
			for range n {
				f, err := s.Next()
				must(t, err)
				if f.Index != next {
					t.Fatalf("entry %d, want %d", f.Index, next)
				}
				next++
			}
			if _, err := s.Next(); err != io.EOF {
				t.Fatalf("at the end: %v", err)
			}
		}
		must(t, l.Close())
	}
}

// Frames come from the cache as from disk, and the cache keeps to its bound.
func TestCacheIsBounded(t *testing.T) {
	o := testOptions(vfs.NewMem(), 1<<20)
	o.CacheBytes = 10 << 10
	l := openLog(t, o)
	for i := range uint64(500) {
		must(t, l.Append(entries(i+1, 1, 1, 100)))
		if l.tail.bytes > o.CacheBytes {
			t.Fatalf("the cache holds %d bytes", l.tail.bytes)
		}
	}
	if len(l.tail.live()) != int(o.CacheBytes/cachedBytes(entry(1, 1, make([]byte, 100)))) {
		t.Fatalf("the cache holds %d entries", len(l.tail.live()))
	}
	must(t, l.Append(entries(501, 1, 1, 1<<20)))
	if got := len(l.tail.live()); got != 1 {
		t.Fatalf("%d entries beside one over the bound", got)
	}
	must(t, l.Close())
}

func TestOpenLogWithSegmentMissing(t *testing.T) {
	for i, want := range []string{"first segment is missing", "too short, or the next", "too short, or the next"} {
		fsys := vfs.NewMem()
		o := testOptions(fsys, 1000)
		l := openLog(t, o)
		must(t, l.Append(entries(1, 20, 1, 210)))
		victim := l.Segments()[i].Path
		before := len(l.Segments())
		must(t, l.Close())
		must(t, fsys.Remove(victim))
		_, err := Open(o)
		var damage *CorruptionError
		if !errors.As(err, &damage) || !strings.Contains(damage.Reason, want) {
			t.Fatalf("segment %d missing: %v", i, err)
		}
		names, _ := fsys.ReadDir(o.Dir)
		left := 0
		for _, n := range names {
			if strings.HasSuffix(n, segmentSuffix) {
				left++
			}
		}
		if left != before-1 {
			t.Fatalf("%d segment files left of %d", left, before-1)
		}
	}
}
