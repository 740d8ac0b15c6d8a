package log

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func entry(index, term uint64, data []byte) *raftpb.Entry {
	return &raftpb.Entry{
		Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: data,
	}
}

// entries makes n entries of one term from first on, whose data tells index
// and term.
func entries(first uint64, n int, term uint64, size int) []*raftpb.Entry {
	var out []*raftpb.Entry
	for i := range uint64(n) {
		data := bytes.Repeat([]byte(fmt.Sprintf("entry %d of term %d. ", first+i, term)), size/16+1)[:size]
		out = append(out, entry(first+i, term, data))
	}
	return out
}

// randomData draws sizes from none to several sectors, now and then with
// stretches of zeros.
func randomData(rng *rand.Rand, most int) []byte {
	n := 0
	switch rng.Intn(4) {
	case 0:
		n = rng.Intn(8)
	case 1:
		n = rng.Intn(100)
	default:
		n = rng.Intn(most)
	}
	if n == 0 {
		return nil
	}
	data := make([]byte, n)
	rng.Read(data)
	if rng.Intn(8) == 0 {
		clear(data[rng.Intn(n):])
	}
	return data
}

func testOptions(fsys vfs.FS, segmentBytes int64) Options {
	return Options{FS: fsys, Dir: "/node/log", SegmentBytes: segmentBytes, CacheBytes: 2 << 10}
}

func openLog(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	must(t, err)
	return l
}

// sameEntries compares two runs of entries, taking nil and empty data for the
// same.
func sameEntries(a, b []*raftpb.Entry) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d entries, want %d", len(a), len(b))
	}
	for i := range a {
		if a[i].GetIndex() != b[i].GetIndex() || a[i].GetTerm() != b[i].GetTerm() ||
			a[i].GetType() != b[i].GetType() || !bytes.Equal(a[i].Data, b[i].Data) {
			return fmt.Errorf("entry %d of term %d (%d bytes), want %d of term %d (%d bytes)",
				a[i].GetIndex(), a[i].GetTerm(), len(a[i].Data), b[i].GetIndex(), b[i].GetTerm(), len(b[i].Data))
		}
	}
	return nil
}

// content reads the whole log from disk.
func content(l *Log) ([]*raftpb.Entry, error) {
	s := l.Scan(0)
	s.uncached = true
	var out []*raftpb.Entry
	for {
		f, err := s.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, entry(f.Index, f.Term, bytes.Clone(f.Data)))
		out[len(out)-1].Type = f.Type.Enum()
	}
}

// checkReads compares every way of reading with the model: what the log should
// hold, from entry 1 on.
func checkReads(t testing.TB, l *Log, rng *rand.Rand, model []*raftpb.Entry) {
	t.Helper()
	all, err := content(l)
	must(t, err)
	must(t, sameEntries(all, model))
	last, _ := l.LastIndex()
	if last != uint64(len(model)) {
		t.Fatalf("last index %d, want %d", last, len(model))
	}
	pos := uint64(0)
	positions := make([]uint64, len(model)+1)
	for i, e := range model {
		positions[i] = pos
		pos += FrameHeaderBytes + uint64(len(e.Data))
	}
	positions[len(model)] = pos
	if l.End() != pos {
		t.Fatalf("end %d, want %d", l.End(), pos)
	}
	if _, err := l.NextFrame(pos); err != io.EOF {
		t.Fatalf("frame at the end: %v, want EOF", err)
	}
	if _, err := l.PrevFrame(0); err != io.EOF {
		t.Fatalf("frame before the first: %v, want EOF", err)
	}
	if len(model) == 0 {
		return
	}
	for range 20 {
		i := rng.Intn(len(model))
		e, at := model[i], positions[i]
		index := uint64(i + 1)
		if p, err := l.PositionOf(index); err != nil || p != at {
			t.Fatalf("position of %d: %d, %v; want %d", index, p, err, at)
		}
		if term, err := l.Term(index); err != nil || term != e.GetTerm() {
			t.Fatalf("term of %d: %d, %v; want %d", index, term, err, e.GetTerm())
		}
		size := positions[i+1] - at
		inside := at + uint64(rng.Int63n(int64(size)))
		for what, get := range map[string]func() (Frame, error){
			"next":       func() (Frame, error) { return l.NextFrame(at) },
			"prev":       func() (Frame, error) { return l.PrevFrame(at + size) },
			"containing": func() (Frame, error) { return l.FrameContaining(inside) },
			"scan":       func() (Frame, error) { return l.Scan(at).Next() },
		} {
			f, err := get()
			if err != nil || f.Pos != at || f.Index != index || f.Term != e.GetTerm() || f.Size != size || !bytes.Equal(f.Data, e.Data) {
				t.Fatalf("%s frame of entry %d at %d: %+v, %v", what, index, at, f, err)
			}
		}
		if inside != at {
			if _, err := l.NextFrame(inside); !errorsIs(err, ErrNotAFrame) {
				t.Fatalf("frame inside a frame: %v", err)
			}
		}
		if n := len(e.Data); n > 0 {
			lo := rng.Intn(n)
			got := make([]byte, 1+rng.Intn(n-lo))
			must(t, l.ReadAt(got, at+FrameHeaderBytes+uint64(lo)))
			if !bytes.Equal(got, e.Data[lo:lo+len(got)]) {
				t.Fatalf("bytes %d of entry %d differ", lo, index)
			}
		}
		lo := index
		hi := lo + 1 + uint64(rng.Intn(len(model)-i))
		maxSize := uint64(rng.Intn(6000))
		if rng.Intn(2) == 0 {
			maxSize = ^uint64(0)
		}
		got, err := l.Entries(lo, hi, maxSize)
		must(t, err)
		must(t, sameEntries(got, limitModel(model[lo-1:hi-1], maxSize)))
	}
}

func limitModel(ents []*raftpb.Entry, maxSize uint64) []*raftpb.Entry {
	size := uint64(0)
	for i, e := range ents {
		n := encodedSize(newEntry(Frame{Index: e.GetIndex(), Term: e.GetTerm(), Type: e.GetType(), Data: emptyToNil(e.Data)}))
		if size += n; i > 0 && size > maxSize {
			return ents[:i]
		}
	}
	return ents
}

func emptyToNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
