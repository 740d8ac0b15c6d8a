package log

import (
	"fmt"
	"sort"

	"go.etcd.io/raft/v3"
)

const (
	// anchorBytes is the distance between anchors: how far a look-up walks,
	// and one read.
	anchorBytes = 32 << 10
	// maxAnchored bounds the closed segments whose anchors are in memory, at
	// 48 KiB each.
	maxAnchored = 256
)

// anchor remembers where one frame is.
type anchor struct{ pos, index, term uint64 }

// anchorTable holds anchors of one segment about every anchorBytes, by
// position, beginning with its first frame. It is replaced, not changed.
type anchorTable struct{ list []anchor }

// wantsAnchor reports whether the frame at pos gets an anchor, given those
// about to be added.
func (s *segment) wantsAnchor(pos uint64, added []anchor) bool {
	if len(added) == 0 {
		added = s.anchors.Load().list
	}
	return len(added) == 0 || pos-added[len(added)-1].pos >= anchorBytes
}

// addAnchors publishes anchors after those there are. Readers of the former
// table see only its length of the shared array.
func (s *segment) addAnchors(added []anchor) {
	if len(added) > 0 {
		s.anchors.Store(&anchorTable{append(s.anchors.Load().list, added...)})
	}
}

// setAnchors makes those of list before pos the segment's anchors. They are
// copied, so that later additions do not write where readers look.
func (s *segment) setAnchors(list []anchor, pos uint64) {
	n := sort.Search(len(list), func(i int) bool { return list[i].pos >= pos })
	s.anchors.Store(&anchorTable{append([]anchor(nil), list[:n]...)})
}

// anchorsOf returns the anchors of a segment readable up to limit, building
// them by walking a closed segment's frame headers if they are not in memory.
func (l *Log) anchorsOf(s *segment, limit uint64) ([]anchor, error) {
	if t := s.anchors.Load(); t != nil {
		return t.list, nil
	}
	var list []anchor
	w := window{seg: s, limit: limit, chunk: scanBytes}
	for pos := s.base; pos < limit; {
		h, err := w.header(pos)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 || pos-list[len(list)-1].pos >= anchorBytes {
			list = append(list, anchor{pos: pos, index: h.index, term: h.term})
		}
		pos += h.size()
	}
	s.anchors.Store(&anchorTable{list})
	l.rememberAnchored(s)
	return list, nil
}

// rememberAnchored counts a closed segment whose anchors are in memory and
// forgets the oldest ones over the bound.
func (l *Log) rememberAnchored(s *segment) {
	l.anchorsMu.Lock()
	defer l.anchorsMu.Unlock()
	for _, have := range l.anchored {
		if have == s {
			return
		}
	}
	l.anchored = append(l.anchored, s)
	if len(l.anchored) > maxAnchored {
		l.anchored[0].anchors.Store(nil)
		l.anchored = append(l.anchored[:0], l.anchored[1:]...)
	}
}

// forgetAnchored drops a segment that is written again, or gone, from the
// count.
func (l *Log) forgetAnchored(s *segment) {
	l.anchorsMu.Lock()
	defer l.anchorsMu.Unlock()
	for i, have := range l.anchored {
		if have == s {
			l.anchored = append(l.anchored[:i], l.anchored[i+1:]...)
			return
		}
	}
}

// locateIndex finds the frame of an index that is in the log.
func (l *Log) locateIndex(index uint64) (located, error) {
	return retry(l, func() (located, error) {
		l.mu.RLock()
		if index == 0 || index > l.lastIndex {
			l.mu.RUnlock()
			return located{}, raft.ErrUnavailable
		}
		i := sort.Search(len(l.segs), func(i int) bool {
			return l.segs[i].base >= l.end.Load() || l.segs[i].header.firstIndex > index
		}) - 1
		s, limit := l.segs[max(i, 0)], l.end.Load()
		if i+1 < len(l.segs) {
			limit = min(limit, l.segs[i+1].base)
		}
		l.mu.RUnlock()
		at, err := l.walk(s, limit, func(a anchor) bool { return a.index > index },
			func(_ uint64, h frameHeader) bool { return h.index >= index })
		if err == nil && at.h.index != index {
			err = s.corrupt(at.pos, fmt.Sprintf("entry %d stands where %d is due", at.h.index, index))
		}
		return at, err
	})
}

// locatePos finds the frame that contains a position.
func (l *Log) locatePos(pos uint64) (located, error) {
	return retry(l, func() (located, error) {
		s, limit, err := l.segmentAt(pos)
		if err != nil {
			return located{}, err
		}
		return l.walk(s, limit, func(a anchor) bool { return a.pos > pos },
			func(at uint64, h frameHeader) bool { return pos < at+h.size() })
	})
}

// walk goes from the last anchor that is not past over the frame headers until
// found.
func (l *Log) walk(s *segment, limit uint64, past func(anchor) bool, found func(uint64, frameHeader) bool) (located, error) {
	anchors, err := l.anchorsOf(s, limit)
	if err != nil {
		return located{}, err
	}
	at := s.base
	if i := sort.Search(len(anchors), func(i int) bool { return past(anchors[i]) }); i > 0 {
		at = anchors[i-1].pos
	}
	w := window{seg: s, limit: limit, chunk: anchorBytes}
	for at < limit {
		h, err := w.header(at)
		if err != nil {
			return located{}, err
		}
		if found(at, h) {
			return located{at, h}, nil
		}
		at += h.size()
	}
	return located{}, s.corrupt(at, "a frame reaches beyond the segment's end")
}

// located is where a look-up found a frame.
type located struct {
	pos uint64
	h   frameHeader
}

// retry repeats a read that failed while the log's end was cut off: it may have
// looked at bytes that were going away, or read ahead into them, or found a
// file shorter than it had been.
func retry[T any](l *Log, read func() (T, error)) (T, error) {
	for {
		cuts := l.cuts.Load()
		v, err := read()
		if err == nil || cuts == l.cuts.Load() {
			return v, err
		}
	}
}

// Term returns the term of the entry with an index, 0 for index 0, and
// raft.ErrUnavailable beyond the last entry.
func (l *Log) Term(index uint64) (uint64, error) {
	if index == 0 {
		return 0, nil
	}
	if term, err, ok := l.knownTerm(index); ok {
		return term, err
	}
	at, err := l.locateIndex(index)
	if err != nil {
		return 0, fmt.Errorf("term of entry %d: %w", index, l.doubt(err))
	}
	return at.h.term, nil
}

// knownTerm answers without the disk where it can. Terms never decrease, so
// between two frames of one term all frames have it.
func (l *Log) knownTerm(index uint64) (term uint64, err error, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case index > l.lastIndex:
		return 0, raft.ErrUnavailable, true
	case index == l.lastIndex:
		return l.lastTerm, nil, true
	}
	if c, ok := l.tail.get(index); ok {
		return c.e.GetTerm(), nil, true
	}
	// The first segment that begins after index, if any, and the one before.
	i := sort.Search(len(l.segs), func(i int) bool {
		return l.segs[i].base >= l.end.Load() || l.segs[i].header.firstIndex > index
	})
	if i == 0 {
		return 0, nil, false
	}
	after := l.lastTerm
	if i < len(l.segs) && l.segs[i].base < l.end.Load() {
		after = l.segs[i].header.prevTerm
		if index == l.segs[i].header.firstIndex-1 {
			return after, nil, true
		}
	}
	if l.segs[i-1].header.prevTerm == after {
		return after, nil, true
	}
	t := l.segs[i-1].anchors.Load()
	if t == nil {
		return 0, nil, false
	}
	j := sort.Search(len(t.list), func(j int) bool { return t.list[j].index > index })
	if j == 0 {
		return 0, nil, false
	}
	if j < len(t.list) && t.list[j].index <= l.lastIndex {
		after = t.list[j].term
	}
	before := t.list[j-1]
	return before.term, nil, before.term == after || before.index == index
}
