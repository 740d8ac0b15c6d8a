package log

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sort"
)

// Rewriting replaces the file of a closed segment by a sparse one (sparse.go)
// in which the data of some entries has changed, without changing its length.
// Index, term, type, length and position of every entry stay.
//
//  1. The new file is written under the name rewriteName, synced, and read back
//     through the checks that every reader makes.
//  2. It is renamed to the segment's name and the directory is synced. A crash
//     leaves the old or the new file under that name, each of them whole; what
//     has the name of step 1 is removed by the next start.
//  3. Readers that come later use the new file. Those that are in the middle of
//     the old one go on in it: it has no name any more, and the operating system
//     frees it when the last of them lets go.
//
// Only a segment behind which a committed entry stands may be rewritten: nothing
// in it can be replaced by raft, and it is never the one being written.

// rewriteName is the new file on its way.
const rewriteName = "rewrite.tmp"

// Errors of Rewrite that callers branch on.
var (
	// ErrNotRewritable: the segment is being written, or entries in it might
	// still be replaced.
	ErrNotRewritable = errors.New("the segment cannot be rewritten yet")
	// ErrRewriting: another rewrite is under way.
	ErrRewriting = errors.New("another segment is being rewritten")
)

// Edit may change f.Data in place, keeping its length, and reports whether it
// did.
type Edit func(f Frame) (changed bool, err error)

// Rewritten tells what a rewrite did.
type Rewritten struct {
	Changed       int   // entries
	Before, After int64 // bytes of the file; equal if nothing changed
}

// Rewrite replaces the file of the segment with the given base by one in which
// edit has changed entries. committed is a position before which no entry can be
// replaced any more. Nothing is replaced if edit changes nothing. pace is called
// with the bytes read or written since it was called last; it may wait, and its
// error ends the rewrite; nil: nobody is asked. The old file stays in place
// after any error but one of the last two steps (rename, sync of the directory).
//
// One rewrite at a time; any goroutine, beside appends and reads.
func (l *Log) Rewrite(base, committed uint64, edit Edit, pace func(bytes int) error) (Rewritten, error) {
	if !l.rewriting.TryLock() {
		return Rewritten{}, ErrRewriting
	}
	defer l.rewriting.Unlock()
	if pace == nil {
		pace = func(int) error { return nil }
	}
	old, end, err := l.rewritable(base, committed)
	if err != nil {
		return Rewritten{}, err
	}
	before := segmentHeaderBytes + int64(end-base)
	if old.sparse != nil {
		before = old.sparse.fileBytes
	}
	tmp := path.Join(l.dir, rewriteName)
	changed, err := l.writeRewritten(tmp, old, end, edit, pace)
	if err == nil && changed > 0 {
		err = l.readBack(tmp, old, end, pace)
	}
	if err != nil || changed == 0 {
		if rerr := l.fs.Remove(tmp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		if err != nil {
			return Rewritten{}, fmt.Errorf("rewrite %s: %w", old.path, err)
		}
		return Rewritten{Before: before, After: before}, nil
	}
	after, err := l.putInPlace(tmp, old, end)
	if err != nil {
		return Rewritten{}, fmt.Errorf("put the new %s in place: %w", old.path, err)
	}
	return Rewritten{Changed: changed, Before: before, After: after}, nil
}

// rewritable returns the closed segment with the base and where it ends.
func (l *Log) rewritable(base, committed uint64) (*segment, uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].base >= base })
	if i == len(l.segs) || l.segs[i].base != base {
		return nil, 0, fmt.Errorf("%w: no segment begins at %d", ErrOutOfRange, base)
	}
	if i+1 == len(l.segs) || l.segs[i+1].base >= min(committed, l.End()) {
		return nil, 0, fmt.Errorf("%w: position %d", ErrNotRewritable, base)
	}
	return l.segs[i], l.segs[i+1].base, nil
}

// writeRewritten writes the new file, durably, and counts the changed entries.
func (l *Log) writeRewritten(tmp string, old *segment, end uint64, edit Edit, pace func(int) error) (changed int, err error) {
	f, err := l.fs.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	out := newSparseWriter(f, old.header, end-old.base)
	win := window{seg: old, limit: end, chunk: scanBytes} // its buffer is ours to change
	var frame []byte
	paced := 0
	for pos := old.base; pos < end; {
		h, err := win.header(pos)
		if err != nil {
			return changed, err
		}
		entry, err := win.frame(pos)
		if err != nil {
			return changed, err
		}
		size := len(entry.Data)
		did, err := edit(entry)
		if err != nil {
			return changed, fmt.Errorf("entry %d: %w", entry.Index, err)
		}
		if did {
			changed++
		}
		frame = appendFrame(frame[:0], pos, entry.Term, entry.Index, entry.Type, h.prevSize, entry.Data[:size])
		if err := out.add(frame); err != nil {
			return changed, err
		}
		if cap(frame) > 2*scanBytes {
			frame = nil
		}
		pos += entry.Size
		if paced += int(entry.Size); paced >= scanBytes {
			if err := pace(paced); err != nil {
				return changed, err
			}
			paced = 0
		}
	}
	if changed == 0 {
		return 0, nil
	}
	if err := out.finish(); err != nil {
		return changed, err
	}
	return changed, pace(paced + int(out.at))
}

// readBack reads the new file as any reader would.
func (l *Log) readBack(tmp string, old *segment, end uint64, pace func(int) error) error {
	s, err := openSegmentFile(l.fs, tmp, old.base)
	if err != nil {
		return err
	}
	defer s.file.Close()
	if err := s.readHeader(); err != nil {
		return err
	}
	if s.sparse == nil || s.header != old.header {
		return s.corrupt(old.base, "the header is not what was written")
	}
	if err := s.checkSparse(end); err != nil {
		return err
	}
	was, now := window{seg: old, limit: end, chunk: scanBytes}, window{seg: s, limit: end, chunk: scanBytes}
	paced := 0
	for pos := old.base; pos < end; {
		a, err := was.header(pos)
		if err != nil {
			return err
		}
		if _, err := now.frame(pos); err != nil {
			return err
		}
		b, err := now.header(pos)
		if err != nil {
			return err
		}
		a.dataCRC = b.dataCRC // all that may differ
		if a != b {
			return s.corrupt(pos, fmt.Sprintf("the frame is not that of entry %d", a.index))
		}
		pos += a.size()
		if paced += int(a.size()); paced >= scanBytes {
			if err := pace(paced); err != nil {
				return err
			}
			paced = 0
		}
	}
	return pace(paced)
}

// putInPlace gives the new file the segment's name and shows it to readers.
func (l *Log) putInPlace(tmp string, old *segment, end uint64) (after int64, err error) {
	if err := l.fs.Rename(tmp, old.path); err != nil {
		return 0, err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return 0, err
	}
	s, err := openSegment(l.fs, l.dir, old.base)
	if err != nil {
		return 0, err
	}
	if err := s.readHeader(); err != nil {
		return 0, errors.Join(err, s.file.Close())
	}
	if !s.headed || s.header != old.header {
		return 0, errors.Join(s.corrupt(old.base, "the header is not what was written"), s.file.Close())
	}
	s.anchors.Store(old.anchors.Load())
	l.mu.Lock()
	// The append thread looks at the newest segments without the lock; this one
	// is not among them, and the list itself stays.
	i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].base >= old.base })
	if i == len(l.segs) || l.segs[i] != old {
		l.mu.Unlock()
		return 0, errors.Join(fmt.Errorf("the segment at %d changed meanwhile", old.base), s.file.Close())
	}
	l.segs[i] = s
	l.tail.removeBefore(end)
	l.mu.Unlock()
	l.forgetAnchored(old)
	if s.anchors.Load() != nil {
		l.rememberAnchored(s)
	}
	if s.sparse == nil {
		return s.offset(end), nil
	}
	return s.sparse.fileBytes, nil
}
