package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"

	"baton/platform/vfs"
)

// Removing a suffix changes bytes that recovery takes for acknowledged, in
// many sectors and several files, so it must not stop half-way. The steps:
//
//  1. The removed entries are saved (lost.go), durably.
//  2. The file "cut" is written, atomically and durably: position, checksum.
//     From here on the removal has happened: recovery begins by doing the
//     next steps again, and they give the same result however often and
//     however far they are done.
//  3. Segments that begin at or after the position are removed, for position 0
//     all but the first. In the last one left everything from the position on
//     becomes zeros, to the full length of a segment, and is synced. So no
//     removed frame is left anywhere, and the segment is again one being
//     written even if it had been closed.
//  4. The trailer is written at the new end.
//  5. "cut" is removed and the directory synced, before anything is appended:
//     a stale "cut" would remove new frames.
//
// Readers are told first: the end is lowered and Log.cuts raised before a byte
// changes.

const (
	cutName  = "cut"
	cutMagic = "BTNCUT1\n"
	cutBytes = 20 // magic, CRC32C of the position's bytes, u64 position
)

// removeFrom removes the entries from index on, which is in the log, because
// entries of newTerm take their place.
func (l *Log) removeFrom(index, newTerm uint64) error {
	pos, err := l.PositionOf(index)
	if err != nil {
		return err
	}
	first, err := l.NextFrame(pos)
	if err != nil {
		return err
	}
	term, err := l.Term(index - 1)
	if err != nil {
		return err
	}
	size, err := l.prevSizeAt(pos)
	if err != nil {
		return err
	}
	saved, err := l.saveLost(first, newTerm)
	if err != nil {
		return fmt.Errorf("save entries that are replaced: %w", err)
	}
	l.logger.Warn("entries that no quorum had are replaced by the leader's",
		"first", index, "last", l.lastIndex, "firstTerm", first.Term, "newTerm", newTerm, "position", pos, "savedTo", saved)
	if err := writeCut(l.fs, l.dir, pos); err != nil {
		return err
	}
	l.prep.wait() // applyCut removes what was prepared

	keep := len(l.segs)
	for keep > 1 && l.segs[keep-1].base >= pos {
		keep--
	}
	last, removed := l.segs[keep-1], append([]*segment(nil), l.segs[keep:]...)
	anchors, err := l.anchorsOf(last, pos)
	if err != nil {
		return err
	}
	l.forgetAnchored(last)

	l.mu.Lock()
	l.cuts.Add(1)
	l.segs = append([]*segment(nil), l.segs[:keep]...)
	l.tail.removeFrom(index)
	l.lastIndex, l.lastTerm, l.lastSize = index-1, term, size
	l.end.Store(pos)
	last.setAnchors(anchors, pos)
	l.mu.Unlock()

	for _, s := range removed {
		l.forgetAnchored(s)
		if err := s.file.Close(); err != nil {
			return err
		}
	}
	last.headed = pos > last.base
	return l.applyCut(pos)
}

func writeCut(fsys vfs.FS, dir string, pos uint64) error {
	b := make([]byte, cutBytes)
	copy(b, cutMagic)
	binary.LittleEndian.PutUint64(b[12:], pos)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
	return vfs.WriteFileAtomic(fsys, path.Join(dir, cutName), b, 0o640)
}

func parseCut(b []byte) (pos uint64, ok bool) {
	if len(b) != cutBytes || string(b[:8]) != cutMagic ||
		binary.LittleEndian.Uint32(b[8:]) != crc32.Checksum(b[12:], castagnoli) {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[12:]), true
}

// finishCut completes a cut that a crash interrupted.
func (l *Log) finishCut() error {
	name := path.Join(l.dir, cutName)
	b, err := vfs.ReadFile(l.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pos, ok := parseCut(b)
	if !ok {
		return &CorruptionError{File: name, Reason: "the record of a removal under way is not valid"}
	}
	// The name may be there without being durable yet.
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	l.logger.Warn("finish removing the end of the log", "position", pos)
	return l.applyCut(pos)
}

// applyCut does steps 3 to 5.
func (l *Log) applyCut(pos uint64) error {
	bases, err := l.listSegments()
	if err != nil {
		return err
	}
	for len(bases) > 1 && bases[len(bases)-1] >= pos {
		if err := l.removeSegment(bases[len(bases)-1]); err != nil {
			return err
		}
		bases = bases[:len(bases)-1]
	}
	if len(bases) == 0 || bases[len(bases)-1] > pos {
		return &CorruptionError{File: path.Join(l.dir, cutName), Pos: pos, Reason: "no segment holds the position of a removal under way"}
	}
	s, err := l.openWritable(bases[len(bases)-1])
	if err != nil {
		return err
	}
	err = l.cutSegment(s, pos)
	if cerr := s.file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("cut segment %s at %d: %w", s.path, pos, err)
	}
	if err := l.fs.Remove(path.Join(l.dir, cutName)); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// cutSegment makes everything from pos on zeros, to the full length.
func (l *Log) cutSegment(s *segment, pos uint64) error {
	size, err := s.file.Size()
	if err != nil {
		return err
	}
	from := s.offset(pos)
	if pos == s.base {
		from = 0 // the header goes with the first frame
	}
	if size < from {
		return s.corrupt(pos, "the file is too short")
	}
	// A second handle, so that the zeros are synced once and not write by write.
	f, err := l.fs.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err = writeZeros(f, from, max(size, filledBytes(l.opts.SegmentBytes))); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	s.headed = pos > s.base
	return s.seal(pos)
}
