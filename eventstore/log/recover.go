package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"

	"baton/platform/vfs"
)

// Recovery has to tell a torn tail, which a crash leaves and which must be cut
// off, from damage to acknowledged frames, which must never be.
//
// What a crash can leave. Frames are written by one writer, one write at a
// time, each durable before the next begins; the area ahead of the write is
// zeros, durably, but for the trailer of the write before (24 bytes at the
// place where the new write begins). So after a crash all frames before the
// start S of the last write are intact, and of that write any subset of
// 512-byte sectors is there. The others hold what they held before: zeros, or
// at S the old trailer. In particular valid frames, and the new trailer, may
// stand after a missing sector.
//
// The decision. Let P be the position of the first bad frame. Evidence is a
// valid frame header or trailer after P (inside the data of a frame with a
// valid header does not count: that is user data). Checksums cover the
// position, and stale frames cannot be there (see invariants 1 and 3), so
// evidence was put there by a write at this place.
//
//	no evidence                              torn: nothing after P was finished
//	a trailer says: last write began after P damage: P was durable before that
//	a sector before the evidence, at or
//	after P, holds what it held before       torn: that sector is missing
//	otherwise                                damage: no crash leaves this
//
// Why a crash is never taken for damage: P is in the last write, so a trailer
// with a later start cannot exist; P is bad because one of its sectors is
// missing; evidence lies after the frame (or after the header, if that is what
// is missing) and so after the missing sector.
//
// Why damage is not taken for a torn tail: a damaged frame of an earlier write
// is caught by the trailer, whatever the damage. For one of the very last
// write, or if in addition the power failed during a later write, the missing
// sector is the only criterion: a flipped bit is damage, except in a frame that
// holds a whole aligned sector of zeros itself. Start and stop write a trailer
// that declares everything before it durable, which leaves that exception only
// for the last write before a crash.

// fileName of the record that a cut is under way; see cut.go.
const cutName = "cut"

// recover brings the directory to a clean state and fills in the log's fields.
func (l *Log) recover() error {
	if err := l.finishCut(); err != nil {
		return err
	}
	bases, err := l.listSegments()
	if err != nil {
		return err
	}
	if len(bases) == 0 {
		seg, err := l.prep.take(0)
		if err != nil {
			return err
		}
		l.segs = []*segment{seg}
		return nil
	}
	if bases[0] != 0 {
		return &CorruptionError{File: path.Join(l.dir, segmentName(0)), Reason: "the first segment is missing"}
	}
	if err := l.openClosed(bases); err != nil {
		return err
	}
	return l.openLast(bases)
}

// listSegments returns the bases of the segment files, ascending, and removes
// what an interrupted preparation left.
func (l *Log) listSegments() ([]uint64, error) {
	names, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var bases []uint64
	for _, name := range names { // sorted, and the digits are of one length
		if base, ok := parseSegmentName(name); ok {
			bases = append(bases, base)
		}
		if name == prepareName {
			if err := l.fs.Remove(path.Join(l.dir, name)); err != nil {
				return nil, err
			}
		}
	}
	// A process that was killed may have left names that are not durable yet.
	return bases, l.fs.SyncDir(l.dir)
}

// openClosed opens all segments but the last and checks that they follow each
// other. Their frames are verified when they are read.
func (l *Log) openClosed(bases []uint64) error {
	for i, base := range bases[:len(bases)-1] {
		s, err := openSegment(l.fs, l.dir, base)
		if err != nil {
			return err
		}
		l.segs = append(l.segs, s)
		if err := s.readHeader(); err != nil {
			return err
		}
		if !s.headed {
			return &CorruptionError{File: s.path, Pos: base, Reason: "the segment's header is not valid"}
		}
		if i > 0 {
			if p := l.segs[i-1].header; s.header.firstIndex <= p.firstIndex || s.header.prevTerm < p.prevTerm {
				return &CorruptionError{File: s.path, Pos: base, Reason: "the segment does not follow the one before"}
			}
		}
		size, err := s.file.Size()
		if err != nil {
			return err
		}
		want := s.offset(bases[i+1])
		if size < want {
			return s.corrupt(base+uint64(max(size-segmentHeaderBytes, 0)), "the file is too short, or the next segment's file is missing")
		}
		if size > want {
			// The power failed after the next segment was begun and before this
			// file's new length was durable.
			if err := closeSegment(s, bases[i+1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// openLast recovers the last segment. One without a single frame is removed:
// where the next frame goes depends on its size and on the segment before,
// which then becomes the last again.
func (l *Log) openLast(bases []uint64) error {
	base := bases[len(bases)-1]
	durableTo := uint64(0) // all before it was durable when the next file was made
	var empty []uint64     // descending
	for {
		s, err := openSegment(l.fs, l.dir, base)
		if err != nil {
			return err
		}
		r := recovery{l: l, s: s, durableTo: durableTo}
		if err := r.run(); err != nil {
			return errors.Join(err, s.file.Close())
		}
		if r.last.index > 0 || base == 0 {
			l.segs = append(l.segs, s)
			// Only now is it certain that nothing is damaged.
			for _, b := range empty {
				if err := l.removeSegment(b); err != nil {
					return err
				}
			}
			return l.adopt(&r)
		}
		if err := s.file.Close(); err != nil {
			return err
		}
		empty, durableTo = append(empty, base), base
		before := l.segs[len(l.segs)-1]
		l.segs = l.segs[:len(l.segs)-1]
		base = before.base
		if err := before.file.Close(); err != nil {
			return err
		}
	}
}

func (l *Log) removeSegment(base uint64) error {
	if err := l.fs.Remove(path.Join(l.dir, segmentName(base))); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// adopt makes the recovered segment, the last in l.segs, the one being written.
func (l *Log) adopt(r *recovery) error {
	s := r.s
	if n := len(l.segs); n > 1 {
		if p := l.segs[n-2].header; s.header.firstIndex <= p.firstIndex || s.header.prevTerm < p.prevTerm {
			return &CorruptionError{File: s.path, Pos: s.base, Reason: "the segment does not follow the one before"}
		}
	} else if h := s.header; s.headed && (h.firstIndex != 1 || h.prevSize != 0 || h.prevTerm != 0) {
		return &CorruptionError{File: s.path, Pos: s.base, Reason: "the first segment does not begin with entry 1"}
	}
	if err := r.makeClean(); err != nil {
		return err
	}
	s.anchors.Store(&anchorTable{r.anchors})
	l.lastIndex, l.lastTerm, l.lastSize = r.last.index, r.last.term, 0
	if r.last.index > 0 {
		l.lastSize = uint32(r.last.size())
	}
	l.end.Store(r.end)
	return nil
}

// recovery is the state of recovering the last segment.
type recovery struct {
	l         *Log
	s         *segment
	durableTo uint64 // frames before it are known to be durable
	size      int64  // of the file

	end     uint64      // of the last good frame; where the log will end
	last    frameHeader // of the last good frame; index 0: none
	anchors []anchor
	used    int64 // file offset after the last byte that is not zero
}

// run reads the segment and decides where it ends. It changes nothing.
func (r *recovery) run() error {
	var err error
	if r.size, err = r.s.file.Size(); err != nil {
		return err
	}
	r.end = r.s.base
	if err := r.s.readHeader(); err != nil {
		return err
	}
	if r.s.headed {
		if err := r.scan(); err != nil {
			return err
		}
	}
	if err := r.findUsed(); err != nil {
		return err
	}
	if err := r.judge(); err != nil {
		return err
	}
	if r.end < r.durableTo {
		return r.s.corrupt(r.end, "frames are missing before the next segment")
	}
	if r.end == r.s.base {
		r.s.headed = false
		r.s.header = segmentHeader{}
	}
	return nil
}

// scan walks over the good frames.
func (r *recovery) scan() error {
	s := r.s
	limit := s.base + uint64(max(r.size-segmentHeaderBytes, 0))
	w := window{seg: s, limit: limit, chunk: scanBytes}
	next, term, prevSize := s.header.firstIndex, s.header.prevTerm, s.header.prevSize
	for r.end+FrameHeaderBytes <= limit {
		f, err := w.frame(r.end)
		if err != nil {
			if _, damaged := errors.AsType[*CorruptionError](err); damaged {
				return nil // to be judged
			}
			return err
		}
		h, _ := w.header(r.end) // from the buffer
		if h.index != next || h.term < term || h.prevSize != prevSize {
			return s.corrupt(r.end, fmt.Sprintf("the frame of entry %d, term %d, does not follow entry %d, term %d",
				h.index, h.term, next-1, term))
		}
		if len(r.anchors) == 0 || r.end-r.anchors[len(r.anchors)-1].pos >= anchorBytes {
			r.anchors = append(r.anchors, anchor{pos: r.end, index: h.index, term: h.term})
		}
		next, term, prevSize = h.index+1, h.term, uint32(f.Size)
		r.last = h
		r.end += f.Size
	}
	return nil
}

// startOffset is where the bytes to be judged begin in the file.
func (r *recovery) startOffset() int64 {
	if !r.s.headed {
		return 0
	}
	return r.s.offset(r.end)
}

// findUsed finds the end of what is not zeros.
func (r *recovery) findUsed() error {
	start := r.startOffset()
	r.used = start
	buf := make([]byte, min(scanBytes, max(r.size-start, 0)))
	for hi := r.size; hi > start; {
		lo := max(start, hi-int64(len(buf)))
		b := buf[:hi-lo]
		if _, err := r.s.file.ReadAt(b, lo); err != nil && err != io.EOF {
			return fmt.Errorf("read %s: %w", r.s.path, err)
		}
		if kept := bytes.TrimRight(b, "\x00"); len(kept) > 0 {
			r.used = lo + int64(len(kept))
			return nil
		}
		hi = lo
	}
	return nil
}

// judge decides between a torn tail, which r.end then cuts off, and damage.
func (r *recovery) judge() error {
	start := r.startOffset()
	if r.used == start {
		return nil // zeros only
	}
	rest := make([]byte, r.used-start+trailerBytes) // a trailer may end in zeros
	if n, err := r.s.file.ReadAt(rest, start); err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", r.s.path, err)
	} else if n < len(rest) {
		clear(rest[n:])
	}
	// A segment without a header begins with frames behind where that would be.
	skip := 0
	if !r.s.headed {
		skip = segmentHeaderBytes
	}
	if len(rest) < skip+trailerBytes {
		return nil
	}
	if _, ok := parseTrailer(rest[skip:], r.end); ok && r.s.headed {
		if r.used <= start+trailerBytes {
			return nil // the usual clean end
		}
		// The frames of a later write are behind the old trailer: its first
		// sector is missing. The search below sees them and the missing sector.
	}
	first, lastStart := r.evidence(rest, skip)
	if first < 0 {
		return nil
	}
	bad := "the frame after it is there"
	switch {
	case lastStart > r.end:
		bad = fmt.Sprintf("it was durable before the last write, which began at position %d", lastStart)
	case r.end < r.durableTo:
		bad = "it was durable before the next segment was begun"
	case r.missingSector(rest, start, first):
		return nil
	}
	what := "the frame"
	if !r.s.headed {
		what = "the segment's header"
	}
	return r.s.corrupt(r.end, what+" is not valid, and "+bad)
}

// evidence searches rest, whose byte skip is at position r.end, for valid frame
// headers and trailers behind the bad frame. first is the offset in rest of the
// first, -1 if there is none; lastStart is the latest start a trailer tells.
func (r *recovery) evidence(rest []byte, skip int) (first int, lastStart uint64) {
	first = -1
	at := skip + 1
	if !r.s.headed {
		at = skip // the frame itself was written together with the header
	} else if len(rest) >= skip+FrameHeaderBytes {
		if h, ok := parseHeader(rest[skip:], r.end); ok {
			at = skip + int(h.size())
		}
	}
	for at < len(rest) {
		pos := r.end + uint64(at-skip)
		b := rest[at:]
		if len(b) >= FrameHeaderBytes && b[FrameHeaderBytes-1] == frameMarker {
			if h, ok := parseHeader(b, pos); ok {
				if first < 0 {
					first = at
				}
				at += int(h.size())
				continue
			}
		}
		if len(b) >= trailerBytes && b[0] == trailerMagic[0] {
			if start, ok := parseTrailer(b, pos); ok {
				if first < 0 {
					first = at
				}
				lastStart = max(lastStart, start)
			}
		}
		at++
	}
	return first, lastStart
}

// missingSector reports whether one of the sectors wholly before rest[upTo]
// holds, from rest[0] on, what it held before the last write, if that began at
// rest[0] or before. start is the file offset of rest[0].
func (r *recovery) missingSector(rest []byte, start int64, upTo int) bool {
	for lo := 0; ; {
		sectorEnd := (start+int64(lo))/vfs.SectorBytes*vfs.SectorBytes + vfs.SectorBytes
		hi := int(sectorEnd - start)
		if hi > upTo {
			return false
		}
		if allZero(rest[lo:hi]) {
			return true
		}
		if lo < trailerBytes && r.s.headed && r.oldTrailer(rest, lo, hi) {
			return true
		}
		lo = hi
	}
}

// oldTrailer reports whether rest[lo:hi], one sector, may be (a part of) the
// trailer of the write before, which stood at r.end, and zeros.
func (r *recovery) oldTrailer(rest []byte, lo, hi int) bool {
	if !allZero(rest[min(trailerBytes, hi):hi]) {
		return false
	}
	if lo == 0 && hi >= trailerBytes {
		_, ok := parseTrailer(rest, r.end)
		return ok
	}
	if lo > 0 {
		return true // its second part, in a sector of its own
	}
	known := make([]byte, 0, trailerBytes)
	known = append(known, trailerMagic...)
	known = append(known, rest[4:8]...) // depends on where that write began
	known = binary.LittleEndian.AppendUint64(known, r.end)
	n := min(hi, len(known))
	return bytes.Equal(rest[:n], known[:n])
}

func allZero(b []byte) bool { return len(bytes.TrimRight(b, "\x00")) == 0 }

// makeClean makes everything the log keeps durable, and what follows zeros.
func (r *recovery) makeClean() error {
	s := r.s
	// A process that was killed during a write leaves frames that are complete
	// for readers and not yet on the disk.
	if err := s.file.Sync(); err != nil {
		return err
	}
	start := r.startOffset()
	trailer, sealed, err := r.trailer()
	if err != nil {
		return err
	}
	if r.used > start && !(trailer && r.used <= start+trailerBytes) {
		r.l.logger.Warn("cut a torn tail off the log", "file", s.path, "position", r.end, "bytes", r.used-start)
		if err := writeZeros(s.file, start, r.used); err != nil {
			return err
		}
		sealed = false
	}
	// A segment that had been closed, or that was made for a smaller
	// SegmentBytes, is filled up.
	if want := filledBytes(r.l.opts.SegmentBytes); r.size < want {
		if err := writeZeros(s.file, max(r.size, start), want); err != nil {
			return err
		}
	}
	if sealed {
		return nil
	}
	return s.seal(r.end)
}

// trailer reports whether a trailer stands at the end, and whether it says
// that everything before it is durable.
func (r *recovery) trailer() (ok, sealed bool, err error) {
	if !r.s.headed {
		return false, false, nil
	}
	var b [trailerBytes]byte
	if _, err := r.s.file.ReadAt(b[:], r.s.offset(r.end)); err == io.EOF {
		return false, false, nil
	} else if err != nil {
		return false, false, fmt.Errorf("read %s: %w", r.s.path, err)
	}
	start, ok := parseTrailer(b[:], r.end)
	return ok, ok && start == r.end, nil
}
