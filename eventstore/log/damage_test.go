package log

import (
	"errors"
	"math/rand"
	"path"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/vfs"
)

// solid makes entries without sectors of zeros in them.
func solid(rng *rand.Rand, first uint64, n int, most int) []*raftpb.Entry {
	var out []*raftpb.Entry
	for i := range uint64(n) {
		data := make([]byte, rng.Intn(most))
		rng.Read(data)
		out = append(out, entry(first+i, 1, data))
	}
	return out
}

// Goal: P9. One flipped bit in an acknowledged frame or in a segment's header
// is always reported, at open or at read, whether the log was closed or not;
// nothing acknowledged is silently cut off.
func TestFlippedBitIsReported(t *testing.T) {
	for seed := range int64(400) {
		rng := rand.New(rand.NewSource(seed))
		fsys := vfs.NewMem()
		o := testOptions(fsys, 4000)
		l := openLog(t, o)
		next := uint64(1)
		for range 1 + rng.Intn(8) {
			b := solid(rng, next, 1+rng.Intn(6), 1200)
			must(t, l.Append(b))
			next += uint64(len(b))
		}
		segs := l.Segments()
		if rng.Intn(2) == 0 {
			must(t, l.Close())
		} else {
			fsys = fsys.PowerCut()
			o.FS = fsys
		}
		s := segs[rng.Intn(len(segs))]
		bits := int64(segmentHeaderBytes+s.End-s.Base) * 8
		bit := rng.Int63n(bits)
		must(t, fsys.FlipBit(s.Path, bit))
		before, err := vfs.ReadFile(fsys, s.Path)
		must(t, err)

		l, err = Open(o)
		if err == nil {
			_, err = content(l)
		}
		var damage *CorruptionError
		if !errors.As(err, &damage) {
			t.Fatalf("seed %d: bit %d of %d in %s (closed %v): %v", seed, bit, bits, s.Path, s.Closed, err)
		}
		if damage.File != s.Path {
			t.Fatalf("seed %d: reported %s, damaged %s", seed, damage.File, s.Path)
		}
		after, err := vfs.ReadFile(fsys, s.Path)
		must(t, err)
		if string(after[:segmentHeaderBytes+s.End-s.Base]) != string(before[:segmentHeaderBytes+s.End-s.Base]) {
			t.Fatalf("seed %d: the damaged file was changed", seed)
		}
	}
}

// A flipped bit in the trailer, which holds nobody's data, is no reason to
// refuse.
func TestFlippedBitInTrailerIsHarmless(t *testing.T) {
	for bit := range int64(trailerBytes * 8) {
		fsys := vfs.NewMem()
		o := testOptions(fsys, 4000)
		l := openLog(t, o)
		model := entries(1, 5, 1, 100)
		must(t, l.Append(model))
		at := segmentHeaderBytes + int64(l.End())
		if bit%2 == 0 {
			must(t, l.Close())
		}
		fsys = fsys.PowerCut()
		o.FS = fsys
		must(t, fsys.FlipBit(path.Join(o.Dir, segmentName(0)), at*8+bit))
		l = openLog(t, o)
		checkReads(t, l, rand.New(rand.NewSource(bit)), model)
		must(t, l.Close())
	}
}

// A lost sector in an earlier write is damage although a crash during a later
// write could look alike, because the trailer tells where that began; after a
// clean stop this holds for the last write too.
func TestZeroedSectorIsReported(t *testing.T) {
	for _, closed := range []bool{false, true} {
		for sector := range int64(12) {
			fsys := vfs.NewMem()
			o := testOptions(fsys, 1<<16)
			l := openLog(t, o)
			rng := rand.New(rand.NewSource(sector))
			must(t, l.Append([]*raftpb.Entry{entry(1, 1, noise(rng, 3000)), entry(2, 1, noise(rng, 3300))}))
			end := int64(l.End())
			if closed {
				must(t, l.Close())
			} else {
				must(t, l.Append([]*raftpb.Entry{entry(3, 1, noise(rng, 600))}))
				fsys = fsys.PowerCut()
				o.FS = fsys
			}
			if (sector+1)*512 > segmentHeaderBytes+end {
				t.Fatal("the sector is not in the first write")
			}
			f, err := fsys.OpenFile(path.Join(o.Dir, segmentName(0)), 2|vfs.O_DSYNC, 0)
			must(t, err)
			_, err = f.WriteAt(make([]byte, 512), sector*512)
			must(t, err)
			var damage *CorruptionError
			if _, err := Open(o); !errors.As(err, &damage) {
				t.Fatalf("closed %v, sector %d: %v", closed, sector, err)
			}
		}
	}
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	rng.Read(b)
	return b
}

// Two faults at once: a bit of an acknowledged frame flips, and the power
// fails during a later write.
func TestFlippedBitUnderATornTailIsReported(t *testing.T) {
	torn := 0
	for seed := range int64(400) {
		rng := rand.New(rand.NewSource(seed))
		fsys := vfs.NewMem()
		o := testOptions(fsys, 1<<16)
		l := openLog(t, o)
		must(t, l.Append(solid(rng, 1, 8, 1200)))
		end := l.End()
		fsys.CutPowerAt(1)
		if err := l.Append(solid(rng, 9, 8, 1200)); !errors.Is(err, vfs.ErrPowerCut) {
			t.Fatal(err)
		}
		fsys = fsys.Crash(rng)
		o.FS = fsys
		bit := rng.Int63n(int64(segmentHeaderBytes+end) * 8)
		must(t, fsys.FlipBit(path.Join(o.Dir, segmentName(0)), bit))
		_, err := Open(o)
		var damage *CorruptionError
		if !errors.As(err, &damage) {
			// Only if the crash took every later frame and the old trailer away,
			// and the damaged frame is the last, nothing is left to tell.
			l := openLog(t, Options{FS: fsys.Clone(), Dir: o.Dir, SegmentBytes: o.SegmentBytes})
			if last, _ := l.LastIndex(); last < 7 {
				t.Fatalf("seed %d: bit %d: only %d entries, err %v", seed, bit, last, err)
			}
			torn++
		}
	}
	if torn > 40 {
		t.Fatalf("%d of 400 not reported", torn)
	}
	t.Logf("%d of 400 not reported", torn)
}

// Goal: the file of a next segment, still empty, proves that the one before was
// durable; damage there is not cut off as a torn tail, however often one tries.
func TestDamageBeforeAnEmptySegmentIsReported(t *testing.T) {
	tried := 0
	for step := 1; step < 20; step++ {
		fsys := vfs.NewMem()
		o := testOptions(fsys, 2000)
		l := openLog(t, o)
		rng := rand.New(rand.NewSource(int64(step)))
		must(t, l.Append([]*raftpb.Entry{entry(1, 1, noise(rng, 900)), entry(2, 1, noise(rng, 900))}))
		end := l.End()
		fsys.CutPowerAt(step)
		if l.Append([]*raftpb.Entry{entry(3, 1, noise(rng, 900))}) == nil {
			break
		}
		fsys = fsys.PowerCut()
		o.FS = fsys
		next := path.Join(o.Dir, segmentName(end))
		if _, err := fsys.Stat(next); err != nil {
			continue
		}
		tried++
		must(t, fsys.FlipBit(path.Join(o.Dir, segmentName(0)), int64(segmentHeaderBytes+end-10)*8))
		for range 2 {
			var damage *CorruptionError
			if _, err := Open(o); !errors.As(err, &damage) {
				t.Fatalf("step %d: %v", step, err)
			}
			_, err := fsys.Stat(next)
			must(t, err)
		}
	}
	if tried == 0 {
		t.Fatal("no crash left an empty segment")
	}
}
