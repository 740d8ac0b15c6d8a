package log

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"path"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/vfs"
)

// clearSome zeros stretches of about half of the entries, as a scavenge does,
// and remembers in model what they hold now. The choice depends on the index
// only, so that an edit that is done again does the same.
func clearSome(model []*raftpb.Entry) Edit {
	return func(f Frame) (bool, error) {
		rng := rand.New(rand.NewSource(int64(f.Index)))
		if rng.Intn(2) == 0 || len(f.Data) < 4 {
			return false, nil
		}
		lo := rng.Intn(len(f.Data) / 2)
		clear(f.Data[lo : lo+len(f.Data)/2])
		if model != nil {
			model[f.Index-1] = entry(f.Index, f.Term, bytes.Clone(f.Data))
		}
		return true, nil
	}
}

// filled opens a log and appends n entries of random data.
func filled(t testing.TB, o Options, rng *rand.Rand, n int) (*Log, []*raftpb.Entry) {
	t.Helper()
	l := openLog(t, o)
	var model []*raftpb.Entry
	for i := range uint64(n) {
		e := entry(i+1, 1+i/40, randomData(rng, 3000))
		must(t, l.Append([]*raftpb.Entry{e}))
		model = append(model, e)
	}
	return l, model
}

// Goal: a rewritten segment reads, by every way of reading, as the frames that
// the edit left, at their positions; before and after a restart; and takes less
// room. Method: random logs, every closed segment rewritten, twice.
func TestRewrittenSegmentsReadAsEdited(t *testing.T) {
	for seed := range int64(6) {
		rng := rand.New(rand.NewSource(seed))
		o := testOptions(vfs.NewMem(), 40<<10)
		l, model := filled(t, o, rng, 150)
		var before, after int64
		for round := range 2 {
			for _, s := range l.Segments() {
				if !s.Closed || s.End >= l.End() {
					continue
				}
				r, err := l.Rewrite(s.Base, l.End(), clearSome(model), func(int) error { return nil })
				must(t, err)
				if r.Before != s.FileBytes {
					t.Fatalf("segment at %d had %d bytes, told %d", s.Base, s.FileBytes, r.Before)
				}
				if round == 0 {
					before += r.Before
				} else {
					after += r.After
				}
			}
			checkReads(t, l, rng, model)
		}
		if before == 0 || after*10 > before*9 {
			t.Fatalf("seed %d: %d bytes became %d", seed, before, after)
		}
		if seed == 0 {
			t.Logf("%d bytes of files became %d", before, after)
		}
		must(t, l.Close())
		l = openLog(t, o)
		checkReads(t, l, rng, model)
		sparse := 0
		for _, s := range l.Segments() {
			if s.Sparse {
				sparse++
				b, err := vfs.ReadFile(o.FS, s.Path)
				must(t, err)
				if int64(len(b)) != s.FileBytes {
					t.Fatalf("%s has %d bytes, told %d", s.Path, len(b), s.FileBytes)
				}
			}
		}
		if sparse < 2 {
			t.Fatalf("%d sparse segments", sparse)
		}
		must(t, l.Append(entries(uint64(len(model))+1, 3, 9, 100)))
		must(t, l.Close())
	}
}

func TestRewriteRefusesWhatMayStillChange(t *testing.T) {
	o := testOptions(vfs.NewMem(), 40<<10)
	l, model := filled(t, o, rand.New(rand.NewSource(1)), 150)
	segs := l.Segments()
	for _, c := range []struct{ base, committed uint64 }{
		{segs[len(segs)-1].Base, l.End()}, // being written
		{segs[1].Base, segs[1].End},       // nothing committed after it
		{segs[1].Base, segs[1].Base},
	} {
		if _, err := l.Rewrite(c.base, c.committed, clearSome(model), nil); !errors.Is(err, ErrNotRewritable) {
			t.Fatalf("segment at %d with %d committed: %v", c.base, c.committed, err)
		}
	}
	if _, err := l.Rewrite(segs[1].Base+1, l.End(), clearSome(model), nil); !errors.Is(err, ErrOutOfRange) {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if _, err := l.Rewrite(segs[1].Base, l.End(), clearSome(nil), func(int) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	r, err := l.Rewrite(segs[1].Base, l.End(), func(Frame) (bool, error) { return false, nil }, nil)
	must(t, err)
	if r.Changed != 0 || l.Segments()[1].Sparse {
		t.Fatalf("nothing to do: %+v", r)
	}
	names, err := o.FS.ReadDir(o.Dir)
	must(t, err)
	for _, n := range names {
		if n == rewriteName {
			t.Fatal("a rewrite that did not happen left its file")
		}
	}
	checkReads(t, l, rand.New(rand.NewSource(1)), model)
	must(t, l.Close())
}

// Goal: a power cut at any step of a rewrite leaves the old segment or the new
// one, whole, and a log that can be appended to. Method: the power fails at the
// n-th change of the disk, for every n until the rewrite gets through.
func TestPowerCutDuringRewriteLeavesOldOrNew(t *testing.T) {
	sawOld, sawNew := 0, 0
	const tries = 8 // at each step: what survives of un-synced changes is drawn
	for try := 0; ; try++ {
		n := 1 + try/tries
		rng := rand.New(rand.NewSource(int64(try)))
		disk := vfs.NewMem()
		o := testOptions(disk, 40<<10)
		l, old := filled(t, o, rand.New(rand.NewSource(4)), 100)
		target := l.Segments()[1]
		edited := append([]*raftpb.Entry(nil), old...)
		disk.CutPowerAt(n)
		_, err := l.Rewrite(target.Base, l.End(), clearSome(edited), nil)
		if err == nil {
			if sawOld < 5 || sawNew < 1 {
				t.Fatalf("%d steps; found the old segment %d times and the new one %d times", n, sawOld, sawNew)
			}
			t.Logf("%d steps; found the old segment %d times and the new one %d times", n, sawOld, sawNew)
			return
		}
		if !errors.Is(err, vfs.ErrPowerCut) {
			t.Fatal(err)
		}
		if rng.Intn(2) == 0 {
			o.FS = disk.PowerCut()
		} else {
			o.FS = disk.Crash(rng)
		}
		l = openLog(t, o)
		want := old
		if l.Segments()[1].Sparse {
			want = edited
			sawNew++
		} else {
			sawOld++
		}
		// A rewrite that did not finish may have left edits in the model behind
		// where it stopped: only a finished file is compared with it.
		checkReads(t, l, rng, want)
		_, err = l.Rewrite(target.Base, l.End(), clearSome(nil), nil)
		must(t, err)
		must(t, l.Append(entries(101, 2, 9, 10)))
		must(t, l.Close())
	}
}

// Goal: a disk that refuses a step makes the rewrite fail and nothing else.
func TestFailedStepOfRewriteKeepsTheOldSegment(t *testing.T) {
	boom := errors.New("boom")
	for n := 1; ; n++ {
		left, armed := n, false
		var mu sync.Mutex
		fsys := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if !armed || op.Kind == vfs.OpRemove || op.Kind == vfs.OpClose {
				return nil
			}
			if left--; left == 0 {
				return boom
			}
			return nil
		})
		o := testOptions(fsys, 40<<10)
		l, model := filled(t, o, rand.New(rand.NewSource(4)), 100)
		mu.Lock()
		armed = true
		mu.Unlock()
		edited := append([]*raftpb.Entry(nil), model...)
		_, err := l.Rewrite(l.Segments()[1].Base, l.End(), clearSome(edited), nil)
		mu.Lock()
		armed = false
		mu.Unlock()
		if err == nil {
			checkReads(t, l, rand.New(rand.NewSource(1)), edited)
			must(t, l.Close())
			if n < 12 {
				t.Fatalf("only %d steps", n)
			}
			return
		}
		if !errors.Is(err, boom) {
			t.Fatal(err)
		}
		checkReads(t, l, rand.New(rand.NewSource(1)), model)
		must(t, l.Append(entries(101, 2, 9, 10)))
		must(t, l.Close())
	}
}

// Goal: damage to a sparse segment is reported and never read as data. Method:
// each of a sample of bits of the file is flipped.
func TestDamagedSparseSegmentIsReported(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(disk, 40<<10)
	l, model := filled(t, o, rand.New(rand.NewSource(4)), 100)
	target := l.Segments()[1]
	_, err := l.Rewrite(target.Base, l.End(), clearSome(model), nil)
	must(t, err)
	must(t, l.Close())
	name := target.Path
	whole, err := vfs.ReadFile(disk, name)
	must(t, err)
	bits := int64(len(whole)) * 8
	for bit := int64(0); bit < bits; bit += 1 + bits/400 {
		hurt := disk.Clone()
		must(t, hurt.FlipBit(name, bit))
		o.FS = hurt
		l, err := Open(o)
		if err == nil {
			_, err = content(l)
			must(t, l.Close())
		}
		var damage *CorruptionError
		if !errors.As(err, &damage) {
			t.Fatalf("bit %d of %d flipped: %v", bit, bits, err)
		}
	}
	for _, size := range []int64{0, 10, 64, 100, int64(len(whole)) - 1} {
		hurt := disk.Clone()
		f, err := hurt.OpenFile(name, 2, 0)
		must(t, err)
		must(t, f.Truncate(size))
		must(t, f.Sync())
		must(t, f.Close())
		o.FS = hurt
		if _, err := Open(o); err == nil {
			t.Fatalf("a file of %d instead of %d bytes is not noticed", size, len(whole))
		}
	}
}

// Goal: a copy of a log that ends with a sparse segment can be written to.
func TestLogThatEndsWithSparseSegmentGoesOn(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(disk, 40<<10)
	rng := rand.New(rand.NewSource(4))
	l, model := filled(t, o, rng, 100)
	segs := l.Segments()
	target := segs[1]
	_, err := l.Rewrite(target.Base, l.End(), clearSome(model), nil)
	must(t, err)
	must(t, l.Close())
	for _, s := range segs[2:] {
		must(t, disk.Remove(s.Path))
	}
	must(t, disk.SyncDir(o.Dir))
	model = model[:target.LastIndex]
	for n := 1; ; n++ { // also when the power fails meanwhile
		hurt := disk.Clone()
		hurt.CutPowerAt(n)
		o.FS = hurt
		l, err := Open(o)
		if errors.Is(err, vfs.ErrPowerCut) {
			o.FS = hurt.Crash(rng)
			l = openLog(t, o)
		} else {
			must(t, err)
			hurt.CutPowerAt(0)
		}
		checkReads(t, l, rng, model)
		more := entries(uint64(len(model))+1, 30, 9, 2000)
		must(t, l.Append(more))
		checkReads(t, l, rng, append(append([]*raftpb.Entry(nil), model...), more...))
		must(t, l.Close())
		if err == nil {
			return
		}
	}
}

// Goal: who reads or appends while a segment is replaced notices nothing.
// Method: readers compare positions, indexes and terms in a loop.
func TestReadersGoOnWhileSegmentIsReplaced(t *testing.T) {
	o := testOptions(vfs.OS(), 40<<10)
	o.Dir = path.Join(t.TempDir(), "log")
	l, _ := filled(t, o, rand.New(rand.NewSource(4)), 150)
	end := l.End()
	segs := l.Segments()
	stop := make(chan struct{})
	errs := make(chan error, 4)
	var group sync.WaitGroup
	for i := range 3 {
		group.Add(1)
		go func() {
			defer group.Done()
			rng := rand.New(rand.NewSource(int64(i)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := l.Scan(0)
				for index := uint64(1); s.Pos() < end; index++ {
					f, err := s.Next()
					if err != nil || f.Index != index {
						errs <- fmt.Errorf("entry %d: %+v, %w", index, f, err)
						return
					}
				}
				index := 1 + uint64(rng.Intn(150))
				if got, err := l.Entries(index, index+1, 1<<20); err != nil || got[0].GetIndex() != index {
					errs <- fmt.Errorf("entry %d: %v, %w", index, got, err)
					return
				}
			}
		}()
	}
	for next := uint64(151); next < 181; next++ {
		must(t, l.Append(entries(next, 1, 9, 100)))
		s := segs[next%uint64(len(segs)-1)]
		if _, err := l.Rewrite(s.Base, end, clearSome(nil), nil); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	group.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	must(t, l.Close())
}

func FuzzSparseBlock(f *testing.F) {
	f.Add([]byte("data"), []byte("\x00\x00\x00\x00"))
	f.Add(append(make([]byte, 100), 1, 0, 0, 1), []byte{})
	f.Fuzz(func(t *testing.T, data, raw []byte) {
		if len(data) > sparseBlockBytes {
			return
		}
		got := bytes.Repeat([]byte{7}, len(data))
		if b := appendBlock(nil, 5, data); len(data) > 0 {
			if err := decodeBlock(got, 5, b); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%x became %x: %v", data, got, err)
			}
			if decodeBlock(got, 6, b) == nil {
				t.Fatal("a block passes for another")
			}
		}
		// Runs that nobody wrote, under a checksum that is right.
		forged := append([]byte{0, 0, 0, 0}, raw...)
		sum := blockSum(1, raw)
		forged[0], forged[1], forged[2], forged[3] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		_ = decodeBlock(make([]byte, 300), 1, forged)
		if len(raw) >= segmentHeaderBytes {
			if _, s, ok := parseSparseHeader(raw); ok && (s.block == 0 || s.blocks() == 0) {
				t.Fatalf("%+v", s)
			}
		}
	})
}
