package log

import (
	"errors"
	"io"
	"math/rand"
	"os"
	"strings"
	"syscall"
	"testing"

	"baton/platform/vfs"
)

// Goal: P10. Whatever operation of an Append fails, the log accepts nothing
// more, also when the disk would work again, and a new start finds everything
// acknowledged. Method: every operation in turn, each kind of error.
func TestFailedOperationIsPermanent(t *testing.T) {
	faults := map[string]error{
		"i/o error":   syscall.EIO,
		"disk full":   syscall.ENOSPC,
		"short write": vfs.ShortWrite{N: 700, Err: io.ErrShortWrite},
	}
	for name, fault := range faults {
		for at := 1; ; at++ {
			mem := vfs.NewMem()
			armed, seen := 0, 0
			var hit vfs.Op
			fsys := vfs.NewFault(mem, func(op vfs.Op) error {
				mutating := op.Kind == vfs.OpWrite || op.Kind == vfs.OpSync || op.Kind == vfs.OpTruncate ||
					op.Kind == vfs.OpSyncDir || op.Kind == vfs.OpRename || op.Kind == vfs.OpOpen && op.Flag&os.O_CREATE != 0
				if !mutating || armed == 0 {
					return nil
				}
				if seen++; seen != armed {
					return nil
				}
				hit = op
				return fault
			})
			l := openLog(t, testOptions(fsys, 2000))
			acked := entries(1, 10, 1, 300)
			must(t, l.Append(acked))
			armed = at
			// A conflict and two new segments: every kind of step.
			err := l.Append(entries(9, 10, 2, 400))
			if hit.Kind == "" {
				if at < 15 {
					t.Fatalf("only %d operations", at)
				}
				must(t, err)
				break
			}
			if !errors.Is(err, ErrFailed) {
				t.Fatalf("%s at %s %s: %v", name, hit.Kind, hit.Name, err)
			}
			again := l.Append(entries(9, 1, 3, 10))
			if !errors.Is(again, ErrFailed) {
				t.Fatalf("%s at %s %s: the next append: %v", name, hit.Kind, hit.Name, again)
			}
			must(t, l.Close())
			for _, after := range []*vfs.Mem{mem.PowerCut(), mem.Crash(rand.New(rand.NewSource(int64(at)))), mem.Clone()} {
				l := openLog(t, testOptions(after, 2000))
				got, err := content(l)
				must(t, err)
				if len(got) < 8 {
					t.Fatalf("%s at %s %s: %d entries left", name, hit.Kind, hit.Name, len(got))
				}
				must(t, sameEntries(got[:8], acked[:8]))
				must(t, l.Close())
			}
		}
	}
}

// A failed preparation in the background is tried again when the segment is
// needed, and only then stops the log.
func TestFailedPreparationIsTriedAgain(t *testing.T) {
	fail := make(chan error, 1)
	fsys := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, prepareName) {
			select {
			case err := <-fail:
				return err
			default:
			}
		}
		return nil
	})
	o := testOptions(fsys, 2000)
	o.Background = true
	l := openLog(t, o)
	fail <- syscall.ENOSPC
	must(t, l.Append(entries(1, 4, 1, 300)))
	must(t, l.Append(entries(5, 4, 1, 300)))
	if len(fail) != 0 {
		t.Fatal("nothing failed")
	}
	checkReads(t, l, rand.New(rand.NewSource(1)), entries(1, 8, 1, 300))
	must(t, l.Close())
}

// A read error is an error of that read, no damage and no end.
func TestReadErrorIsPassedOn(t *testing.T) {
	broken := false
	fsys := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if broken && op.Kind == vfs.OpRead {
			return syscall.EIO
		}
		return nil
	})
	o := testOptions(fsys, 2000)
	o.CacheBytes = 1
	l := openLog(t, o)
	must(t, l.Append(entries(1, 10, 1, 300)))
	broken = true
	_, errEntries := l.Entries(1, 5, 1000)
	_, errScan := l.Scan(0).Next()
	errRead := l.ReadAt(make([]byte, 10), 0)
	for _, err := range []error{errEntries, errScan, errRead} {
		if _, damaged := errors.AsType[*CorruptionError](err); damaged || !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v, want the i/o error", err)
		}
	}
	must(t, l.Close())
	if _, err := Open(o); !errors.Is(err, syscall.EIO) {
		t.Fatalf("open: %v", err)
	}
}

// Goal: after a write that failed, the operating system may show data that is
// not on the disk, and syncs succeed. A new start writes it again before it
// counts, both frames and vote.
func TestFailedWriteIsWrittenAgainByTheNextStart(t *testing.T) {
	mem := vfs.NewMem()
	fail := false
	fsys := vfs.NewFault(mem, func(op vfs.Op) error {
		if fail && op.Kind == vfs.OpWrite {
			return vfs.ShortWrite{N: op.Len, Err: syscall.EIO}
		}
		return nil
	})
	o := testOptions(fsys, 1<<20)
	s, err := OpenState(fsys, o.Dir)
	must(t, err)
	must(t, s.Save(1, 1))
	l := openLog(t, o)
	must(t, l.Append(entries(1, 10, 1, 1000)))
	from := int64(l.End()) + segmentHeaderBytes
	fail = true
	if err := l.Append(entries(11, 10, 1, 1000)); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := s.Save(2, 2); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	must(t, l.Close())

	var frames, state bool
	end := from
	o.FS = vfs.NewFault(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, segmentSuffix) && op.Offset <= from && op.Offset+int64(op.Len) > from {
			frames, end = true, op.Offset+int64(op.Len)
		}
		if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, stateName) {
			state = true
		}
		return nil
	})
	l = openLog(t, o)
	if last, _ := l.LastIndex(); last != 20 || !frames || end < segmentHeaderBytes+int64(l.End()) {
		t.Fatalf("%d entries; written again: %v, to byte %d of %d", last, frames, end, l.End()+segmentHeaderBytes)
	}
	must(t, l.Close())
	s, err = OpenState(o.FS, o.Dir)
	must(t, err)
	wantState(t, s, 2, 2, 0)
	if !state {
		t.Fatal("the vote was not written again")
	}
}
