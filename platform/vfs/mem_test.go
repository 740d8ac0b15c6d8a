package vfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestPowerCutDropsWhatWasNotSynced(t *testing.T) {
	m := NewMem()
	must(t, WriteFileAtomic(m, "/kept", []byte("kept"), 0o644))
	f := create(t, m, "/kept", 0)
	_, err := f.WriteAt([]byte("LOST"), 0)
	must(t, err)
	g := create(t, m, "/unnamed", O_DSYNC)
	_, err = g.WriteAt([]byte("data without a durable name"), 0)
	must(t, err)

	after := m.PowerCut()
	got, err := ReadFile(after, "/kept")
	must(t, err)
	if string(got) != "kept" {
		t.Fatalf("un-synced write survived: %q", got)
	}
	if _, err := after.Stat("/unnamed"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("un-synced name survived: %v", err)
	}
	if got, err := ReadFile(m.Clone(), "/kept"); err != nil || string(got) != "LOST" {
		t.Fatalf("a killed process lost its write: %q, %v", got, err)
	}
}

func TestSyncedWritesSurviveEveryCrash(t *testing.T) {
	m := NewMem()
	must(t, WriteFileAtomic(m, "/f", make([]byte, 5000), 0o644))
	loose := create(t, m, "/f", 0)
	durable := create(t, m, "/f", O_DSYNC)
	_, err := loose.WriteAt(bytes.Repeat([]byte{1}, 5000), 0) // stays pending
	must(t, err)
	_, err = durable.WriteAt(bytes.Repeat([]byte{2}, 1000), 700)
	must(t, err)
	for seed := range int64(200) {
		got, err := ReadFile(m.Crash(rand.New(rand.NewSource(seed))), "/f")
		must(t, err)
		if !bytes.Equal(got[700:1700], bytes.Repeat([]byte{2}, 1000)) {
			t.Fatalf("seed %d: a write through O_DSYNC was lost", seed)
		}
	}
}

// A crash leaves whole sectors, old or new, and all mixtures occur.
func TestCrashTearsAtSectors(t *testing.T) {
	m := NewMem()
	must(t, WriteFileAtomic(m, "/f", bytes.Repeat([]byte{1}, 4096), 0o644))
	f := create(t, m, "/f", 0)
	_, err := f.WriteAt(bytes.Repeat([]byte{2}, 3000), 300)
	must(t, err)
	seen := map[string]bool{}
	for seed := range int64(400) {
		rng := rand.New(rand.NewSource(seed))
		got, err := ReadFile(m.Crash(rng), "/f")
		must(t, err)
		again, err := ReadFile(m.Crash(rand.New(rand.NewSource(seed))), "/f")
		must(t, err)
		if !bytes.Equal(got, again) {
			t.Fatalf("seed %d: two crashes with one seed differ", seed)
		}
		var shape strings.Builder
		for lo := 0; lo < 4096; lo += SectorBytes {
			a, b := max(lo, 300), min(lo+SectorBytes, 3300)
			if a >= b {
				continue
			}
			if n := bytes.Count(got[a:b], []byte{2}); n != 0 && n != b-a {
				t.Fatalf("seed %d: sector at %d is a mixture", seed, lo)
			}
			shape.WriteByte('0' + got[a])
		}
		seen[shape.String()] = true
	}
	if len(seen) < 50 {
		t.Fatalf("only %d different outcomes", len(seen))
	}
}

func TestCutPowerAtStopsEverything(t *testing.T) {
	m := NewMem()
	f := create(t, m, "/f", O_DSYNC)
	must(t, m.SyncDir("/"))
	m.CutPowerAt(2)
	_, err := f.WriteAt([]byte("a"), 0)
	must(t, err)
	_, err = f.WriteAt([]byte("b"), 0)
	wantErr(t, err, ErrPowerCut)
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, ErrPowerCut)
	wantErr(t, m.SyncDir("/"), ErrPowerCut)
	outcomes := map[string]bool{}
	for seed := range int64(50) {
		got, err := ReadFile(m.Crash(rand.New(rand.NewSource(seed))), "/f")
		must(t, err)
		outcomes[string(got)] = true
	}
	if !outcomes["a"] || !outcomes["b"] || len(outcomes) != 2 {
		t.Fatalf("outcomes %v, want a and b", outcomes)
	}
}

func TestRenameSurvivesWhollyOrNot(t *testing.T) {
	m := NewMem()
	must(t, WriteFileAtomic(m, "/a", []byte("x"), 0o644))
	must(t, m.Rename("/a", "/b"))
	for seed := range int64(50) {
		names, err := m.Crash(rand.New(rand.NewSource(seed))).ReadDir("/")
		must(t, err)
		if len(names) != 1 {
			t.Fatalf("seed %d: names %v", seed, names)
		}
	}
}

func TestFlipBit(t *testing.T) {
	m := NewMem()
	must(t, WriteFileAtomic(m, "/f", []byte{0, 0}, 0o644))
	must(t, m.FlipBit("/f", 9))
	for _, fsys := range []*Mem{m, m.PowerCut(), m.Clone()} {
		got, err := ReadFile(fsys, "/f")
		must(t, err)
		if !bytes.Equal(got, []byte{0, 2}) {
			t.Fatalf("content %v", got)
		}
	}
}

func TestLargeSparseFileTakesNoMemory(t *testing.T) {
	m := NewMem()
	f := create(t, m, "/f", 0)
	zeros := make([]byte, 1<<20)
	for i := range int64(64) {
		_, err := f.WriteAt(zeros, i<<20)
		must(t, err)
	}
	must(t, f.Sync())
	n := m.find("/f")
	if len(n.data.pages) != 0 || n.data.size != 64<<20 {
		t.Fatalf("%d pages for %d bytes of zeros", len(n.data.pages), n.data.size)
	}
}

func TestFaultInjects(t *testing.T) {
	var arm OpKind
	inject := error(syscall.EIO)
	m := NewMem()
	fsys := NewFault(m, func(op Op) error {
		if op.Kind == arm {
			return inject
		}
		return nil
	})
	f := create(t, fsys, "/f", 0)
	arm = OpSync
	wantErr(t, f.Sync(), syscall.EIO)
	arm = OpWrite
	_, err := f.WriteAt([]byte("abc"), 0)
	wantErr(t, err, syscall.EIO)
	inject = ShortWrite{N: 2}
	n, err := f.WriteAt([]byte("abc"), 0)
	if n != 2 {
		t.Fatalf("short write of %d bytes", n)
	}
	wantErr(t, err, io.ErrShortWrite)
	arm = ""
	got, err := ReadFile(fsys, "/f")
	must(t, err)
	if string(got) != "ab" {
		t.Fatalf("content %q", got)
	}
	inject = syscall.ENOSPC
	for kind, do := range map[OpKind]func() error{
		OpSyncDir: func() error { return fsys.SyncDir("/") },
		OpRename:  func() error { return fsys.Rename("/f", "/g") },
		OpRemove:  func() error { return fsys.Remove("/f") },
		OpMkdir:   func() error { return fsys.MkdirAll("/d", 0o755) },
		OpOpen:    func() error { _, err := fsys.OpenFile("/f", os.O_RDONLY, 0); return err },
		OpLock:    func() error { _, err := fsys.Lock("/l"); return err },
	} {
		arm = kind
		wantErr(t, do(), syscall.ENOSPC)
	}
}
