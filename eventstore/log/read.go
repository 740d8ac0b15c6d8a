package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// window reads one segment through a buffer.
type window struct {
	seg   *segment
	limit uint64 // position up to which the segment may be read
	chunk int    // bytes read at a time, more where one frame is longer
	// fresh makes every fill use a new buffer, so that slices stay valid.
	fresh bool
	buf   []byte
	lo    uint64 // position of buf[0]
}

// bytes returns n bytes at pos, valid until the next fill unless w.fresh.
func (w *window) bytes(pos uint64, n int) ([]byte, error) {
	if pos >= w.lo && pos+uint64(n) <= w.lo+uint64(len(w.buf)) {
		return w.buf[pos-w.lo:][:n:n], nil
	}
	if pos+uint64(n) > w.limit {
		return nil, w.seg.corrupt(pos, fmt.Sprintf("%d bytes are due, the segment ends after %d", n, w.limit-pos))
	}
	fill := int(min(uint64(max(n, w.chunk)), w.limit-pos))
	if w.fresh || cap(w.buf) < fill {
		w.buf = make([]byte, fill)
	}
	w.buf, w.lo = w.buf[:fill], pos
	if err := w.seg.readAt(w.buf, pos); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[:n:n], nil
}

// header returns the verified header of the frame at pos.
func (w *window) header(pos uint64) (frameHeader, error) {
	b, err := w.bytes(pos, FrameHeaderBytes)
	if err != nil {
		return frameHeader{}, err
	}
	h, ok := parseHeader(b, pos)
	if !ok {
		return frameHeader{}, w.seg.corrupt(pos, "the frame header's checksum is wrong")
	}
	return h, nil
}

// frame returns the verified frame at pos.
func (w *window) frame(pos uint64) (Frame, error) {
	h, err := w.header(pos)
	if err != nil {
		return Frame{}, err
	}
	b, err := w.bytes(pos, int(h.size()))
	if err != nil {
		return Frame{}, err
	}
	data := b[FrameHeaderBytes:]
	if crc32.Checksum(data, castagnoli) != h.dataCRC {
		return Frame{}, w.seg.corrupt(pos, fmt.Sprintf("the data of entry %d does not match its checksum", h.index))
	}
	return h.frame(pos, data), nil
}

// Entries returns the entries [lo, hi), at least one, and no more than fit
// into maxSize bytes of their protobuf encoding. Those of the tail cache are
// the very entries given to Append. Entries must not be changed; the slice is
// the caller's. raft.ErrUnavailable if the log does not reach hi-1,
// raft.ErrCompacted for lo 0.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo == 0 {
		return nil, raft.ErrCompacted
	}
	var out []*raftpb.Entry
	var size uint64
	// take reports whether e fits, and appends it if so.
	take := func(e *raftpb.Entry) bool {
		n := encodedSize(e)
		if len(out) > 0 && (size > maxSize || n > maxSize-size) {
			return false
		}
		size += n
		out = append(out, e)
		return true
	}
	from := lo
	for {
		l.mu.RLock()
		if hi > l.lastIndex+1 {
			l.mu.RUnlock()
			return nil, raft.ErrUnavailable
		}
		upTo := hi
		if first, ok := l.tail.firstIndex(); ok && first < hi {
			upTo = first
			if from >= first {
				live := l.tail.live()[from-first : hi-first]
				if out == nil {
					out = make([]*raftpb.Entry, 0, len(live))
				}
				for _, c := range live {
					if !take(c.e) {
						break
					}
				}
				l.mu.RUnlock()
				return out, nil
			}
		}
		l.mu.RUnlock()
		if from >= hi {
			return out, nil
		}
		var full bool
		var err error
		if from, full, err = l.readEntries(from, upTo, maxSize, take); err != nil {
			return nil, l.doubt(err)
		}
		if full || from >= hi {
			return out, nil
		}
	}
}

// readEntries reads entries [lo, hi) from disk until take refuses one, and
// returns the index it came to.
func (l *Log) readEntries(lo, hi, maxSize uint64, take func(*raftpb.Entry) bool) (next uint64, full bool, err error) {
	cuts := l.cuts.Load()
	pos, err := l.PositionOf(lo)
	if err != nil {
		return lo, false, err
	}
	s := &Scanner{l: l, pos: pos, uncached: true}
	s.win.fresh = true
	s.win.chunk = int(min(maxSize, (hi-lo)*1024, scanBytes-4096)) + 4096
	for next = lo; next < hi; next++ {
		f, err := s.Next()
		if err != nil {
			if cuts != l.cuts.Load() {
				return next, false, raft.ErrUnavailable
			}
			return next, false, err
		}
		if f.Index != next {
			if cuts != l.cuts.Load() {
				return next, false, raft.ErrUnavailable
			}
			return next, false, s.win.seg.corrupt(f.Pos, fmt.Sprintf("entry %d stands where %d is due", f.Index, next))
		}
		if !take(newEntry(f)) {
			return next, true, nil
		}
	}
	return next, false, nil
}

// newEntry makes an entry of a frame, in one allocation. It aliases f.Data.
func newEntry(f Frame) *raftpb.Entry {
	v := &struct {
		e           raftpb.Entry
		term, index uint64
		typ         raftpb.EntryType
	}{term: f.Term, index: f.Index, typ: f.Type}
	v.e.Term, v.e.Index, v.e.Type, v.e.Data = &v.term, &v.index, &v.typ, f.Data
	return &v.e
}

// encodedSize is proto.Size of an entry without unknown fields.
func encodedSize(e *raftpb.Entry) uint64 {
	n := 0
	var b [binary.MaxVarintLen64]byte
	if e.Type != nil {
		n += 1 + binary.PutUvarint(b[:], uint64(*e.Type))
	}
	if e.Term != nil {
		n += 1 + binary.PutUvarint(b[:], *e.Term)
	}
	if e.Index != nil {
		n += 1 + binary.PutUvarint(b[:], *e.Index)
	}
	if e.Data != nil {
		n += 1 + binary.PutUvarint(b[:], uint64(len(e.Data))) + len(e.Data)
	}
	return uint64(n)
}

// PositionOf returns where the frame of an entry begins. raft.ErrUnavailable
// if there is no such entry.
func (l *Log) PositionOf(index uint64) (uint64, error) {
	l.mu.RLock()
	c, ok := l.tail.get(index)
	l.mu.RUnlock()
	if ok {
		return c.pos, nil
	}
	at, err := l.locateIndex(index)
	if err != nil {
		return 0, fmt.Errorf("position of entry %d: %w", index, l.doubt(err))
	}
	return at.pos, nil
}

// ReadAt fills p with the bytes at pos. They must lie in one segment and
// before End, else ErrOutOfRange. The bytes are not verified: the caller checks
// the record's own checksum.
func (l *Log) ReadAt(p []byte, pos uint64) error {
	if l.readCached(p, pos) {
		return nil
	}
	for {
		cuts := l.cuts.Load()
		err := l.readDisk(p, pos)
		if cuts == l.cuts.Load() {
			return err
		}
	}
}

func (l *Log) readDisk(p []byte, pos uint64) error {
	s, limit, err := l.segmentAt(pos)
	if err != nil {
		return err
	}
	if pos+uint64(len(p)) > limit {
		return fmt.Errorf("%w: %d bytes at %d reach beyond %d", ErrOutOfRange, len(p), pos, limit)
	}
	return s.readAt(p, pos)
}

// readCached serves a range that lies in the data of one cached entry.
func (l *Log) readCached(p []byte, pos uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	live := l.tail.from(pos)
	if len(live) == 0 || pos < live[0].pos+FrameHeaderBytes {
		return false
	}
	in := pos - live[0].pos - FrameHeaderBytes
	if in+uint64(len(p)) > uint64(len(live[0].e.Data)) {
		return false
	}
	copy(p, live[0].e.Data[in:])
	return true
}

// FrameContaining returns the frame whose bytes include pos. ErrOutOfRange at
// or beyond End.
func (l *Log) FrameContaining(pos uint64) (Frame, error) {
	if f, ok := l.cachedFrame(pos); ok {
		return f, nil
	}
	at, err := l.locatePos(pos)
	if err != nil {
		return Frame{}, l.doubt(err)
	}
	f, err := l.readFrame(at.pos)
	return f, l.doubt(err)
}

// NextFrame returns the frame that begins at pos: io.EOF at End,
// ErrOutOfRange beyond it, ErrNotAFrame inside a frame.
func (l *Log) NextFrame(pos uint64) (Frame, error) {
	if f, ok := l.cachedFrame(pos); ok && f.Pos == pos {
		return f, nil
	}
	if pos == l.End() {
		return Frame{}, io.EOF
	}
	f, err := l.readFrame(pos)
	if err != nil {
		return Frame{}, l.doubt(l.explain(pos, err))
	}
	return f, nil
}

// PrevFrame returns the frame that ends at pos: io.EOF at 0, ErrOutOfRange
// beyond End, ErrNotAFrame inside a frame.
func (l *Log) PrevFrame(pos uint64) (Frame, error) {
	if pos == 0 {
		return Frame{}, io.EOF
	}
	if f, ok := l.cachedFrame(pos - 1); ok && f.End() == pos {
		return f, nil
	}
	size, err := retry(l, func() (uint64, error) { return l.sizeBefore(pos) })
	if err != nil {
		return Frame{}, l.doubt(l.explain(pos, err))
	}
	f, err := l.readFrame(pos - size)
	return f, l.doubt(err)
}

// sizeBefore returns the size of the frame that ends at pos > 0.
func (l *Log) sizeBefore(pos uint64) (uint64, error) {
	l.mu.RLock()
	if pos == l.End() {
		defer l.mu.RUnlock()
		return uint64(l.lastSize), nil
	}
	l.mu.RUnlock()
	s, limit, err := l.segmentAt(pos)
	if err != nil {
		return 0, err
	}
	if pos == s.base {
		return uint64(s.header.prevSize), nil
	}
	w := window{seg: s, limit: limit, chunk: FrameHeaderBytes}
	h, err := w.header(pos)
	if err != nil {
		return 0, err
	}
	return uint64(h.prevSize), nil
}

// explain turns damage found at pos into ErrNotAFrame if no frame begins
// there.
func (l *Log) explain(pos uint64, err error) error {
	if _, ok := errors.AsType[*CorruptionError](err); !ok {
		return err
	}
	if at, lerr := l.locatePos(pos); lerr == nil && at.pos != pos {
		return fmt.Errorf("%w: %d is inside the frame at %d", ErrNotAFrame, pos, at.pos)
	}
	return err
}

func (l *Log) cachedFrame(pos uint64) (Frame, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if live := l.tail.from(pos); len(live) > 0 {
		return live[0].frame(), true
	}
	return Frame{}, false
}

// readFrame reads the frame at pos from disk.
func (l *Log) readFrame(pos uint64) (Frame, error) {
	return retry(l, func() (Frame, error) {
		s, limit, err := l.segmentAt(pos)
		if err != nil {
			return Frame{}, err
		}
		w := window{seg: s, limit: limit, chunk: 4096}
		return w.frame(pos)
	})
}
