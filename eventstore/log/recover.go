package log

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// recover brings the directory to a clean state and fills in the log's fields.
// What it takes for a torn tail, and why, stands in torn.go.
func (l *Log) recover() error {
	if err := l.finishCut(); err != nil {
		return err
	}
	if err := l.fs.Remove(path.Join(l.dir, rewriteName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
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
		if s.sparse != nil {
			if err := s.checkSparse(bases[i+1]); err != nil {
				return err
			}
			continue
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
		s, err := l.openWritable(base)
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

// openWritable opens a segment that is to be the last.
func (l *Log) openWritable(base uint64) (*segment, error) {
	s, err := openSegment(l.fs, l.dir, base)
	if err != nil {
		return nil, err
	}
	if err := s.readHeader(); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	if s.sparse == nil {
		return s, nil
	}
	if err := errors.Join(l.expand(s), s.file.Close()); err != nil {
		return nil, err
	}
	return openSegment(l.fs, l.dir, base)
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

// makeClean makes everything the log keeps durable, and what follows zeros.
func (r *recovery) makeClean() error {
	s := r.s
	// A process that was killed during a write leaves frames that are complete
	// for readers and not yet on the disk.
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := r.rewrite(); err != nil {
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

// rewrite writes again, in place, what the last write may have written. After a
// failed write the operating system may hold its data as if it were on the
// disk, and later syncs then succeed without writing it. The last write is one
// frame, or several of at most flushBytes.
func (r *recovery) rewrite() error {
	_, sealed, err := r.trailer()
	if err != nil || sealed || !r.s.headed {
		return err
	}
	to := r.s.offset(r.end)
	from := max(0, to-max(flushBytes, int64(r.last.size())))
	if from < segmentHeaderBytes {
		from = 0
	}
	b := make([]byte, to-from)
	if _, err := r.s.file.ReadAt(b, from); err != nil {
		return fmt.Errorf("read %s: %w", r.s.path, err)
	}
	if _, err := r.s.file.WriteAt(b, from); err != nil {
		return fmt.Errorf("write the end of %s again: %w", r.s.path, err)
	}
	return nil
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
