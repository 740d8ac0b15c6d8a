package scavenge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"baton/eventstore/log"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

// The segment being written cannot be rewritten. A scavenge that finds something
// to remove in it therefore has it end first, by a mark in the log that ends it at
// the same place on every node, and before its point: so what was deleted before a
// scavenge is removed by it, however small the log is. The mark costs a segment
// file; a scavenge with nothing to gain sets none.

// worthBytes is how much of what the server notes for itself (streams that begin
// with "$": checkpoints, links, histories) must be removable to end a segment for
// it. There is always some, and every scavenge would end one. Events of other
// streams count from the first.
const worthBytes = 8 << 20

// worthEnding says whether the segment being written holds enough that may go. p
// is a point at what is applied.
func (s *Store) worthEnding(p Point) (bool, error) {
	all := s.Log.Segments()
	last := all[len(all)-1]
	if last.End = min(last.End, s.Mark.Applied(), p.Position); last.End <= last.Base {
		return false, nil
	}
	j := &judge{store: s, point: p, heads: map[string]stream.Head{}}
	removable, own, bytes := 0, 0, 0
	err := s.records(last, func(r stream.Record) error {
		evs := r.AllEvents()
		for evs.Next() {
			e := evs.Event()
			if e.Removed() || !j.gone(r, e) {
				continue
			}
			removable++
			if strings.HasPrefix(string(r.Write(e.Write()).Stream), "$") {
				own++
				bytes += len(e.Body())
			}
		}
		return errors.Join(evs.Err(), j.err)
	})
	if err != nil {
		return false, fmt.Errorf("judge the segment being written, at %d: %w", last.Base, err)
	}
	return (removable > own || bytes >= worthBytes) && 2*removable > p.Threshold, nil
}

// endSegment has the segment being written end if that is worth it. A read-only
// replica, which appends nothing, leaves it to the others.
func (s *Scavenger) endSegment(ctx context.Context, store *Store, threshold int) error {
	worth, err := store.worthEnding(Point{Position: math.MaxInt64, Time: s.cfg.Clock.Now().UnixNano() / 100, Threshold: threshold})
	if err != nil || !worth {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pointTimeout)
	defer cancel()
	return s.mark(ctx)
}

// mark begins a new segment on every node, and returns when this one has it.
func (s *Scavenger) mark(ctx context.Context) error {
	outcome, err := s.cfg.Append(ctx, stream.NewSegmentMark(), false)
	var elsewhere *replica.NotLeaderError
	switch {
	case errors.As(err, &elsewhere):
		return nil
	case err != nil:
		return fmt.Errorf("end the segment being written: %w", err)
	}
	if err := s.cfg.Mark.Wait(ctx, outcome.Record); err != nil {
		return fmt.Errorf("this node did not see the end of the segment at position %d in time: %w", outcome.Record, err)
	}
	return nil
}

// segmentOf is the segment that holds a position.
func segmentOf(l *log.Log, position uint64) (info log.SegmentInfo) {
	for _, s := range l.Segments() {
		if s.Base <= position {
			info = s
		}
	}
	return info
}
