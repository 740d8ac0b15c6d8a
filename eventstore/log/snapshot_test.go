package log

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"testing"

	"baton/platform/vfs"
)

// Goal: at every frame's end a snapshot's files, put into a directory of their
// own, are the log up to there; what is appended, rolled or cut off behind it
// meanwhile changes none of the bytes.
func TestSnapshotIsTheLogUpToAPosition(t *testing.T) {
	fsys := vfs.NewMem()
	l := openLog(t, testOptions(fsys, 1000))
	model := entries(1, 20, 1, 150)
	must(t, l.Append(model))
	committed := l.End()
	must(t, l.Append(entries(21, 3, 1, 150))) // not committed: to be replaced
	for at, n := uint64(0), uint64(1); at < committed; n++ {
		f, err := l.NextFrame(at)
		must(t, err)
		at = f.End()
		s, err := l.Snapshot(at)
		must(t, err)
		if s.Position != at || s.Index != n || s.Term != 1 || s.SegmentBytes != 1000 {
			t.Fatalf("snapshot at %d: %+v", at, s)
		}
		if n == 20 { // the file that is cut is written on, and what is not committed replaced
			must(t, l.Append(entries(21, 1, 2, 400)))
			must(t, l.Append(entries(22, 10, 2, 150)))
		}
		copied := vfs.NewMem()
		must(t, copied.MkdirAll("/node/log", 0o750))
		next := uint64(0)
		for i, f := range s.Files {
			if f.Base != next || f.Fixed && !f.Whole || f.Fixed != (f.Whole && f.End < at) {
				t.Fatalf("snapshot at %d: file %+v after %d", at, f, next)
			}
			next = f.End
			from, size, _, done, err := s.Open(i)
			must(t, err)
			b := make([]byte, size)
			if _, err := from.ReadAt(b, 0); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			must(t, done())
			must(t, vfs.WriteFileAtomic(copied, "/node/log/"+f.Name, b, 0o640))
		}
		must(t, s.Close())
		if next != at {
			t.Fatalf("snapshot at %d ends at %d", at, next)
		}
		c := openLog(t, testOptions(copied, 1000))
		if c.End() != at {
			t.Fatalf("the copy of %d ends at %d", at, c.End())
		}
		checkReads(t, c, rand.New(rand.NewSource(1)), model[:n])
		must(t, c.Close())
	}
	must(t, l.Close())
}

func TestSnapshotRefuses(t *testing.T) {
	l := openLog(t, testOptions(vfs.NewMem(), 1000))
	if _, err := l.Snapshot(0); err == nil {
		t.Error("a snapshot of nothing")
	}
	must(t, l.Append(entries(1, 3, 1, 100)))
	if _, err := l.Snapshot(l.End() + 1); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("beyond the end: %v", err)
	}
	if _, err := l.Snapshot(l.End() - 1); err == nil {
		t.Error("inside a frame")
	}
	must(t, l.Close())
}

// A complete segment that becomes the last again is longer than what counts.
func TestOnlyTheFramesOfASegmentCount(t *testing.T) {
	fsys := vfs.NewMem()
	l := openLog(t, testOptions(fsys, 1000))
	must(t, l.Append(entries(1, 12, 1, 150)))
	var first SegmentInfo
	for _, s := range l.Segments() {
		if s.Closed {
			first = s
			break
		}
	}
	s, err := l.Snapshot(first.End)
	must(t, err)
	if len(s.Files) != 1 || !s.Files[0].Whole || s.Files[0].Fixed {
		t.Fatalf("%+v", s.Files)
	}
	before, err := vfs.ReadFile(fsys, first.Path)
	must(t, err)
	must(t, l.Append(entries(first.LastIndex+1, 1, 2, 50))) // all behind it is replaced
	from, size, _, done, err := s.Open(0)
	must(t, err)
	b := make([]byte, size)
	if _, err := from.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	must(t, done())
	if !bytes.Equal(b, before) {
		t.Errorf("%d bytes count, %d did before", len(b), len(before))
	}
	must(t, s.Close())
	must(t, l.Close())
}
