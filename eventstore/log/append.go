package log

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/stream"
)

// flushBytes bounds one write, and with it the memory for assembling it. A
// batch that is longer takes several.
const flushBytes = 4 << 20

// Append makes ents the end of the log and returns when they are durable. ents
// are consecutive and begin at most one after the last entry. Where the log
// already has entries from ents[0] on, they are replaced, as raft demands:
// what is removed is saved to Options.LostWritesDir first. Entries are kept in
// memory and must not be changed afterwards.
//
// Only the append thread calls it. After an error that wraps ErrFailed the log
// accepts nothing more and the process must exit. Entries that do not fit the
// log (a gap, an oversized one) are refused without that.
func (l *Log) Append(ents []*raftpb.Entry) error {
	if l.failure != nil {
		return l.failed()
	}
	if l.closed {
		return ErrClosed
	}
	if len(ents) == 0 {
		return nil
	}
	if err := l.check(ents); err != nil {
		return err
	}
	if first := ents[0].GetIndex(); first <= l.lastIndex {
		// Entries that are there already, in the same term, are the same.
		kept := 0
		for kept < len(ents) && ents[kept].GetIndex() <= l.lastIndex {
			term, err := l.Term(ents[kept].GetIndex())
			if err != nil {
				return l.fail(fmt.Errorf("compare with entry %d: %w", ents[kept].GetIndex(), err))
			}
			if term != ents[kept].GetTerm() {
				break
			}
			kept++
		}
		if next := first + uint64(kept); next <= l.lastIndex {
			if err := l.removeFrom(next, ents[len(ents)-1].GetTerm()); err != nil {
				return l.fail(fmt.Errorf("replace entries from %d on: %w", next, err))
			}
		}
		ents = ents[kept:]
		if len(ents) == 0 {
			return nil
		}
	}
	if err := l.write(ents); err != nil {
		return l.fail(err)
	}
	return nil
}

// check refuses entries that raft would never give.
func (l *Log) check(ents []*raftpb.Entry) error {
	first := ents[0].GetIndex()
	if first == 0 || first > l.lastIndex+1 {
		return fmt.Errorf("append entry %d to a log that ends with %d", first, l.lastIndex)
	}
	term := uint64(0)
	for i, e := range ents {
		switch {
		case e.GetIndex() != first+uint64(i):
			return fmt.Errorf("append entry %d where %d is due", e.GetIndex(), first+uint64(i))
		case e.GetTerm() < term || e.GetTerm() == 0:
			return fmt.Errorf("append entry %d of term %d after term %d", e.GetIndex(), e.GetTerm(), term)
		case len(e.Data) > MaxDataBytes:
			return fmt.Errorf("append entry %d of %d bytes, at most %d are possible", e.GetIndex(), len(e.Data), MaxDataBytes)
		}
		term = e.GetTerm()
	}
	if first == l.lastIndex+1 && ents[0].GetTerm() < l.lastTerm {
		return fmt.Errorf("append entry %d of term %d after term %d", first, ents[0].GetTerm(), l.lastTerm)
	}
	return nil
}

// write appends entries at the end and publishes them when all are durable.
// Readers see nothing of them before.
func (l *Log) write(ents []*raftpb.Entry) error {
	pos, prevSize, prevTerm := l.End(), l.lastSize, l.lastTerm
	flushed := pos // everything before is written
	seg := l.active()
	l.buf = l.buf[:0]
	added := l.added[:0] // of the segment being written
	for _, e := range ents {
		size := FrameHeaderBytes + uint64(len(e.Data))
		full := pos > seg.base && (pos-seg.base+size > uint64(l.opts.SegmentBytes) || beginsSegment(e))
		if len(l.buf) > 0 && (full || len(l.buf)+int(size) > flushBytes) {
			if err := l.flush(seg, flushed, pos); err != nil {
				return err
			}
			flushed = pos
		}
		if full || pos == 0 {
			h := segmentHeader{base: pos, firstIndex: e.GetIndex(), prevTerm: prevTerm, prevSize: prevSize}
			if full {
				seg.addAnchors(added)
				added = added[:0]
				var err error
				if seg, err = l.roll(seg, h); err != nil {
					return err
				}
			} else {
				l.mu.Lock()
				seg.header = h
				l.mu.Unlock()
			}
			l.buf = appendSegmentHeader(l.buf, h)
		}
		if seg.wantsAnchor(pos, added) {
			added = append(added, anchor{pos: pos, index: e.GetIndex(), term: e.GetTerm()})
		}
		l.buf = appendFrame(l.buf, pos, e.GetTerm(), e.GetIndex(), e.GetType(), prevSize, e.Data)
		pos += size
		prevSize, prevTerm = uint32(size), e.GetTerm()
	}
	if err := l.flush(seg, flushed, pos); err != nil {
		return err
	}
	if cap(l.buf) > 2*flushBytes {
		l.buf = nil
	}
	seg.addAnchors(added)
	l.added = added

	l.mu.Lock()
	at := l.end.Load()
	for _, e := range ents {
		l.tail.add(e, at)
		at += FrameHeaderBytes + uint64(len(e.Data))
	}
	l.lastIndex, l.lastTerm, l.lastSize = ents[len(ents)-1].GetIndex(), prevTerm, prevSize
	l.end.Store(pos)
	l.mu.Unlock()

	if pos-seg.base > uint64(l.opts.SegmentBytes)/2 {
		l.prep.start()
	}
	return nil
}

// beginsSegment says whether an entry asks for a segment of its own on, whatever
// the size of the one before. It depends on the entry only, as every cut does.
func beginsSegment(e *raftpb.Entry) bool {
	return e.GetType() == raftpb.EntryNormal && stream.BeginsSegment(e.Data)
}

// flush writes the assembled frames [from, to) with their trailer, durably.
func (l *Log) flush(seg *segment, from, to uint64) error {
	offset := seg.offset(from)
	if !seg.headed {
		offset = 0 // the buffer begins with the segment's header
	}
	l.buf = appendTrailer(l.buf, from, to)
	if _, err := seg.file.WriteAt(l.buf, offset); err != nil {
		return fmt.Errorf("write %d bytes at %d of %s: %w", len(l.buf), offset, seg.path, err)
	}
	seg.headed = true
	l.buf = l.buf[:0]
	return nil
}

// roll closes a segment, all of whose frames are durable, and begins the next
// with header h, which the next write brings.
func (l *Log) roll(old *segment, h segmentHeader) (*segment, error) {
	if err := closeSegment(old, h.base); err != nil {
		return nil, err
	}
	seg, err := l.prep.take(h.base)
	if err != nil {
		return nil, err
	}
	seg.header = h
	l.mu.Lock()
	l.segs = append(l.segs, seg)
	l.mu.Unlock()
	l.rememberAnchored(old)
	return seg, nil
}

// closeSegment cuts the trailer and the zeros after the last frame off, so
// that the file's bytes depend on its entries only.
func closeSegment(s *segment, end uint64) error {
	if err := s.file.Truncate(s.offset(end)); err != nil {
		return fmt.Errorf("close segment %s: %w", s.path, err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("close segment %s: %w", s.path, err)
	}
	return nil
}
