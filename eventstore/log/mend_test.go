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

// sourceOf gives what another log has committed, and counts.
func sourceOf(l *Log, upTo uint64) Source {
	return func(pos uint64) ([]byte, error) { return l.Frames(pos, upTo, 8<<10) }
}

// harm damages a file in one of the ways disks do.
func harm(t testing.TB, rng *rand.Rand, fsys *vfs.Mem, name string, bytes int64) string {
	t.Helper()
	switch rng.Intn(3) {
	case 0:
		bit := rng.Int63n(bytes * 8)
		must(t, fsys.FlipBit(name, bit))
		return fmt.Sprintf("bit %d", bit)
	case 1:
		lo := rng.Int63n(bytes)
		n := min(1+rng.Int63n(3000), bytes-lo)
		overwrite(t, fsys, name, lo, make([]byte, n))
		return fmt.Sprintf("zeros at %d, %d bytes", lo, n)
	}
	lo := rng.Int63n(bytes)
	junk := make([]byte, min(1+rng.Int63n(3000), bytes-lo))
	rng.Read(junk)
	overwrite(t, fsys, name, lo, junk)
	return fmt.Sprintf("junk at %d, %d bytes", lo, len(junk))
}

func overwrite(t testing.TB, fsys vfs.FS, name string, at int64, b []byte) {
	t.Helper()
	f, err := fsys.OpenFile(name, 2 /* O_RDWR */, 0)
	must(t, err)
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Sync(), f.Close()))
}

// twins are two logs with the same entries.
func twins(t testing.TB, rng *rand.Rand, segmentBytes int64, n int) (a, b *Log, fsA *vfs.Mem, model []*raftpb.Entry) {
	t.Helper()
	fsA = vfs.NewMem()
	a, b = openLog(t, testOptions(fsA, segmentBytes)), openLog(t, testOptions(vfs.NewMem(), segmentBytes))
	for i := range uint64(n) {
		e := entry(i+1, 1+i/40, randomData(rng, 3000))
		must(t, a.Append([]*raftpb.Entry{e}))
		must(t, b.Append([]*raftpb.Entry{e}))
		model = append(model, e)
	}
	return a, b, fsA, model
}

// Goal: P9. Whatever happens to the bytes of a segment of a running node, Verify
// tells, Mend restores the very bytes from another node, and nothing else is
// touched; readers see the entries throughout or an error, never others.
func TestDamageIsFoundAndMended(t *testing.T) {
	kinds := map[string]int{}
	for seed := range int64(300) {
		rng := rand.New(rand.NewSource(seed))
		a, b, fsA, model := twins(t, rng, 20<<10, 60)
		if rng.Intn(3) == 0 { // a scavenged node: its files are sparse
			for _, s := range a.Segments() {
				if s.Closed && s.End < a.End() {
					_, err := a.Rewrite(s.Base, a.End(), clearSome(model), nil)
					must(t, err)
				}
			}
			kinds["sparse"]++
		}
		segs := a.Segments()
		i := rng.Intn(len(segs))
		s := segs[i]
		before, err := vfs.ReadFile(fsA, s.Path)
		must(t, err)
		for range 1 + rng.Intn(3) {
			what := harm(t, rng, fsA, s.Path, s.FileBytes)
			kinds[what[:4]]++
		}
		after, err := vfs.ReadFile(fsA, s.Path)
		must(t, err)
		if bytes.Equal(before, after) {
			continue // zeros over zeros
		}
		var damage *CorruptionError
		if err := a.Verify(s.Base, a.End(), nil); !errors.As(err, &damage) || damage.File != s.Path {
			t.Fatalf("seed %d: Verify says %v of a damaged segment %+v", seed, err, s)
		}
		for _, other := range segs {
			if err := a.Verify(other.Base, a.End(), nil); other.Base != s.Base && err != nil {
				t.Fatalf("seed %d: Verify says %v of a sound segment", seed, err)
			}
		}
		mended, err := a.Mend(s.Base, a.End(), sourceOf(b, b.End()), nil)
		must(t, err)
		if mended.Frames == 0 && !mended.Header {
			t.Fatalf("seed %d: nothing mended: %+v", seed, mended)
		}
		must(t, a.Verify(s.Base, a.End(), nil))
		if !s.Sparse {
			now, err := vfs.ReadFile(fsA, s.Path)
			must(t, err)
			if !bytes.Equal(now[:s.FileBytes], before[:s.FileBytes]) {
				t.Fatalf("seed %d: the mended file is not what it was", seed)
			}
			got, err := content(a)
			must(t, err)
			if !kindsSparse(segs) {
				must(t, sameEntries(got, model))
			}
		}
		if again, err := a.Mend(s.Base, a.End(), func(pos uint64) ([]byte, error) {
			return nil, fmt.Errorf("asked for %d", pos)
		}, nil); err != nil || again != (Mended{}) {
			t.Fatalf("seed %d: mended twice: %+v, %v", seed, again, err)
		}
		must(t, a.Append(entries(61, 20, 9, 900)))
		must(t, a.Close())
		a = openLog(t, testOptions(fsA, 20<<10))
		if last, _ := a.LastIndex(); last != 80 {
			t.Fatalf("seed %d: %d entries after a restart", seed, last)
		}
	}
	for _, kind := range []string{"sparse", "bit ", "zero", "junk"} {
		if kinds[kind] == 0 {
			t.Errorf("no case of %q", kind)
		}
	}
}

func kindsSparse(segs []SegmentInfo) bool {
	for _, s := range segs {
		if s.Sparse {
			return true
		}
	}
	return false
}

// Goal: a log that Open refuses for its damage is mended while it is stopped, and
// opens then with every entry it had; Open's own judgement of torn tails stays.
func TestStoppedLogIsMended(t *testing.T) {
	refused, last := 0, 0
	for seed := range int64(400) {
		rng := rand.New(rand.NewSource(seed))
		fsA := vfs.NewMem()
		a, b := openLog(t, testOptions(fsA, 20<<10)), openLog(t, testOptions(vfs.NewMem(), 20<<10))
		var model []*raftpb.Entry
		for len(model) < 60 {
			batch := solid(rng, uint64(len(model)+1), 1+rng.Intn(4), 1500)
			must(t, a.Append(batch))
			must(t, b.Append(batch))
			model = append(model, batch...)
		}
		more := solid(rng, uint64(len(model)+1), 5, 500) // the other went on meanwhile
		segs := a.Segments()
		if rng.Intn(2) == 0 {
			must(t, a.Close())
		} else {
			fsA = fsA.PowerCut()
		}
		must(t, b.Append(more))
		s := segs[rng.Intn(len(segs))]
		what := harm(t, rng, fsA, s.Path, s.FileBytes)
		o := testOptions(fsA, 20<<10)
		_, err := Open(o)
		var damage *CorruptionError
		if err == nil {
			continue // found when it is read: the test above
		}
		if !errors.As(err, &damage) {
			t.Fatalf("seed %d, %s: %v", seed, what, err)
		}
		refused++
		if !s.Closed {
			last++
		}
		mended, err := MendStopped(o, damage, sourceOf(b, b.End()))
		if err != nil {
			t.Fatalf("seed %d, %s of %s: %v", seed, what, s.Path, err)
		}
		a, err = Open(o)
		if err != nil {
			t.Fatalf("seed %d, %s of %s, mended %+v: %v", seed, what, s.Path, mended, err)
		}
		got, err := content(a)
		if err != nil && s.Closed { // a frame of the same segment that Open does not read
			_, err = a.Mend(s.Base, a.End(), sourceOf(b, b.End()), nil)
			must(t, err)
			got, err = content(a)
		}
		must(t, err)
		if err := sameEntries(got, model); err != nil {
			t.Fatalf("seed %d, %s of %s, mended %+v: %v", seed, what, s.Path, mended, err)
		}
	}
	t.Logf("%d logs refused, %d for their last segment", refused, last)
	if refused < 50 || last < 20 {
		t.Errorf("too few cases")
	}
}

// Goal: what a source gives goes in only if it belongs there; else nothing changes.
func TestForeignFramesAreRefused(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	a, b, fsA, _ := twins(t, rng, 20<<10, 60)
	stranger, _ := filled(t, testOptions(vfs.NewMem(), 20<<10), rand.New(rand.NewSource(7)), 60)
	for _, s := range []SegmentInfo{a.Segments()[0], a.Segments()[len(a.Segments())-1]} {
		first, err := b.NextFrame(s.Base)
		must(t, err)
		damaged, err := b.NextFrame(first.End())
		must(t, err)
		must(t, fsA.FlipBit(s.Path, 8*(segmentHeaderBytes+int64(damaged.Pos-s.Base)+3)))
		before, err := vfs.ReadFile(fsA, s.Path)
		must(t, err)
		good, err := b.Frames(damaged.Pos, b.End(), 1)
		must(t, err)
		elsewhere, err := b.Frames(damaged.End(), b.End(), 1)
		must(t, err)
		rewound := appendFrame(nil, damaged.Pos, damaged.Term, damaged.Index+1, damaged.Type, uint32(first.Size), damaged.Data)
		longer := appendFrame(nil, damaged.Pos, damaged.Term, damaged.Index, damaged.Type, uint32(first.Size), make([]byte, 64<<10))
		other, err := b.Frames(damaged.Pos, b.End(), 1)
		must(t, err)
		other[len(other)-1] ^= 1
		for name, give := range map[string][]byte{
			"nothing": nil, "half": good[:len(good)/2], "of another position": elsewhere, "of another index": rewound,
			"longer than the segment": longer, "damaged itself": other,
		} {
			_, err := a.Mend(s.Base, a.End(), func(uint64) ([]byte, error) { return give, nil }, nil)
			if !errors.Is(err, ErrForeign) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := a.Mend(s.Base, a.End(), sourceOf(stranger, stranger.End()), nil); err == nil {
			t.Error("a stranger's frame was taken")
		}
		if _, err := a.Mend(s.Base, a.End(), func(uint64) ([]byte, error) { return nil, errors.New("no node answers") }, nil); err == nil {
			t.Error("mended by nobody")
		}
		after, err := vfs.ReadFile(fsA, s.Path)
		must(t, err)
		if !bytes.Equal(before, after) {
			t.Error("a refused frame changed the file")
		}
		if _, err := fsA.Stat(path.Join(a.dir, rewriteName)); err == nil {
			t.Error("a new file is left")
		}
		_, err = a.Mend(s.Base, a.End(), func(uint64) ([]byte, error) { return good, nil }, nil)
		must(t, err)
		must(t, a.Verify(s.Base, a.End(), nil))
	}
	if s := a.Segments()[0]; s.Closed {
		must(t, fsA.FlipBit(s.Path, 8*100))
		if _, err := a.Mend(s.Base, s.End, sourceOf(b, b.End()), nil); !errors.Is(err, ErrNotRewritable) {
			t.Errorf("a segment that might be written again: %v", err)
		}
	}
}

// Goal: a power cut at any moment of mending leaves a log that opens or is refused
// for the same damage, and can be mended then.
func TestPowerCutWhileMending(t *testing.T) {
	for _, which := range []int{0, -1} {
		for cut := 1; ; cut++ {
			rng := rand.New(rand.NewSource(3))
			a, b, fsA, model := twins(t, rng, 20<<10, 60)
			segs := a.Segments()
			s := segs[(which+len(segs))%len(segs)]
			must(t, fsA.FlipBit(s.Path, 8*(segmentHeaderBytes+40)))
			must(t, fsA.FlipBit(s.Path, 8*int64(s.FileBytes-30)))
			fsA.CutPowerAt(cut)
			_, err := a.Mend(s.Base, a.End(), sourceOf(b, b.End()), nil)
			if err == nil {
				if cut < 2 {
					t.Fatal("no power cut happened")
				}
				break
			}
			fsA = fsA.Crash(rng)
			o := testOptions(fsA, 20<<10)
			a, err = Open(o)
			var damage *CorruptionError
			if errors.As(err, &damage) {
				_, err = MendStopped(o, damage, sourceOf(b, b.End()))
				must(t, err)
				a, err = Open(o)
			}
			must(t, err)
			_, err = a.Mend(s.Base, a.End(), sourceOf(b, b.End()), nil)
			must(t, err)
			got, err := content(a)
			must(t, err)
			if err := sameEntries(got, model); err != nil {
				t.Fatalf("segment %d, cut %d: %v", which, cut, err)
			}
		}
	}
}

// Goal: readers and the writer go on while segments are mended, and damage that a
// reader meets is told.
func TestMendBesideReadersAndAppends(t *testing.T) {
	rng := rand.New(rand.NewSource(5))
	var told sync.Map
	a, b, fsA, model := twins(t, rng, 20<<10, 60)
	a.opts.Suspect = func(e *CorruptionError) { told.Store(e.File, true) }
	s := a.Segments()[1]
	must(t, fsA.FlipBit(s.Path, 8*(segmentHeaderBytes+50)))
	if _, err := content(a); err == nil {
		t.Fatal("damage was not seen")
	}
	if _, ok := told.Load(s.Path); !ok {
		t.Fatal("damage was not told")
	}
	stop := make(chan struct{})
	var threads sync.WaitGroup
	threads.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, _ = content(a)
		}
	})
	threads.Go(func() {
		for i := range uint64(200) {
			e := entries(61+i, 1, 9, 300)
			if err := errors.Join(a.Append(e), b.Append(e)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	upTo := a.End()
	for range 100 {
		all := a.Segments()
		s := all[rng.Intn(len(all))]
		if end := min(s.End, upTo); end > s.Base && (s.End < upTo || !s.Closed) {
			must(t, fsA.FlipBit(s.Path, 8*(segmentHeaderBytes+rng.Int63n(int64(end-s.Base)))))
			if _, err := a.Mend(s.Base, upTo, sourceOf(b, upTo), nil); err != nil && !errors.Is(err, ErrNotRewritable) {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	threads.Wait()
	for _, s := range a.Segments() {
		_, err := a.Mend(s.Base, a.End(), sourceOf(b, b.End()), nil)
		must(t, err)
		must(t, a.Verify(s.Base, a.End(), nil))
	}
	got, err := content(a)
	must(t, err)
	must(t, sameEntries(got[:60], model))
}
