package log

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"baton/platform/vfs"
)

// Snapshot is the part of the log before one position, as files that somebody
// may read or link while the log is written to. It holds the file of the
// segment that the position cuts, if it cuts one, open from the beginning:
// whatever takes that file's place later, the bytes before the position stay
// readable. The other files are complete and may be opened one by one: a file
// that is put in the place of one of them holds the same positions.
//
// What a reader relies on:
//
//   - Frames before a committed position are never replaced, so no removal of
//     a suffix reaches the bytes it reads.
//   - A complete segment file is never changed while a committed frame follows
//     it (SnapshotFile.Fixed): another may only be renamed into its place.
//
// Close it after use.
type Snapshot struct {
	// Position is the end of the snapshot: where the frame after it begins.
	Position uint64
	// Index and Term are those of the last entry before Position.
	Index, Term uint64
	// SegmentBytes is the most bytes of frames in one segment of this log.
	SegmentBytes int64
	// Files are the segments, ascending and without gaps from position 0 to
	// Position.
	Files []SnapshotFile

	fs   vfs.FS
	part vfs.File // the last of Files if it is not Whole
}

// SnapshotFile is one segment of a snapshot.
type SnapshotFile struct {
	Name       string // in the log's directory
	Path       string
	Base, End  uint64 // the positions it holds, End at most the snapshot's
	FirstIndex uint64
	// Whole tells that all of the segment belongs to the snapshot. Of another
	// only the header and the frames before End count.
	Whole bool
	// Fixed tells that the file's bytes do not change any more.
	Fixed bool
}

// Snapshot returns the log before position at, which must be the end of a
// committed and applied frame. A segment that was rewritten to hold less is
// taken as a whole; it holds only committed frames, so Position may come out
// later than at.
func (l *Log) Snapshot(at uint64) (*Snapshot, error) {
	if at == 0 {
		return nil, errors.New("snapshot of the log: it holds no entry yet")
	}
	if end := l.End(); at > end {
		return nil, fmt.Errorf("snapshot of the log at %d: %w, it ends at %d", at, ErrOutOfRange, end)
	}
	s := &Snapshot{Position: at, SegmentBytes: l.opts.SegmentBytes, fs: l.fs}
	for _, info := range l.Segments() {
		if info.Base >= s.Position {
			break
		}
		f := SnapshotFile{
			Name: path.Base(info.Path), Path: info.Path, Base: info.Base, End: info.End, FirstIndex: info.FirstIndex,
			Whole: info.Closed && info.End <= s.Position, Fixed: info.Closed && info.End < s.Position,
		}
		if !f.Whole {
			whole, err := s.hold(&f)
			if err != nil {
				return nil, fmt.Errorf("snapshot of the log at %d: %w", at, err)
			}
			if whole {
				f.Whole, s.Position = true, f.End
			} else {
				f.End = s.Position
			}
		}
		s.Files = append(s.Files, f)
	}
	last, err := l.PrevFrame(s.Position)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot of the log at %d: read the entry before it: %w", at, err), s.Close())
	}
	s.Index, s.Term = last.Index, last.Term
	return s, nil
}

// hold opens the segment that the position cuts. It reports whether the file
// must be taken as a whole, because it is not in the form in which frames are
// written, and then does not keep it open.
func (s *Snapshot) hold(f *SnapshotFile) (whole bool, err error) {
	file, err := s.fs.OpenFile(f.Path, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	plain, err := isPlainSegment(file)
	if err != nil || !plain {
		return err == nil, errors.Join(err, file.Close())
	}
	s.part = file
	return false, nil
}

// isPlainSegment reports whether frames stand in the file one after the other
// at their positions.
func isPlainSegment(f io.ReaderAt) (bool, error) {
	var b [segmentHeaderBytes]byte
	if _, err := f.ReadAt(b[:], 0); err != nil && err != io.EOF {
		return false, err
	}
	return string(b[:len(segmentMagic)]) == segmentMagic, nil
}

// Open opens the i-th file for reading and tells how many of its bytes belong
// to the snapshot, and when the file was changed last (zero: not known). The
// caller closes it.
func (s *Snapshot) Open(i int) (file io.ReaderAt, size int64, changed time.Time, closeFile func() error, err error) {
	f := &s.Files[i]
	if !f.Whole {
		return s.part, segmentHeaderBytes + int64(f.End-f.Base), time.Time{}, func() error { return nil }, nil
	}
	// Asked first: if another file takes the name in between, the time is older
	// than what is read, which costs a needless copy later and no more.
	if info, err := s.fs.Stat(f.Path); err == nil {
		changed = info.ModTime()
	}
	opened, err := s.fs.OpenFile(f.Path, os.O_RDONLY, 0)
	if err != nil {
		return nil, 0, time.Time{}, nil, err
	}
	size, err = SegmentFileBytes(opened, f.Base, f.End)
	if err != nil {
		return nil, 0, time.Time{}, nil, errors.Join(fmt.Errorf("%s: %w", f.Path, err), opened.Close())
	}
	return opened, size, changed, opened.Close, nil
}

// SegmentFileBytes returns how many bytes of the file of a complete segment
// with the positions [base, end) count: those of its frames and the header,
// or, in a form that is not the one in which frames are written, all.
func SegmentFileBytes(f vfs.File, base, end uint64) (int64, error) {
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	plain, err := isPlainSegment(f)
	if err != nil || !plain {
		return size, err
	}
	want := segmentHeaderBytes + int64(end-base)
	if size < want {
		return 0, fmt.Errorf("the file has %d bytes, its frames take %d", size, want)
	}
	return want, nil
}

// Close releases what the snapshot holds.
func (s *Snapshot) Close() error {
	if s.part == nil {
		return nil
	}
	part := s.part
	s.part = nil
	return part.Close()
}
