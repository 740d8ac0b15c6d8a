package scavenge

import (
	"context"
	"errors"
	"fmt"
	"io"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/stream"
)

const (
	// maxHeads bounds the heads that are remembered while a segment is judged,
	// at about 250 bytes each.
	maxHeads = 50_000
	// maxRows bounds the rows of the index gathered before they are removed.
	maxRows = 20_000
	// normalEntry is the type of the entries that hold records.
	normalEntry = 0
)

// Point is what a scavenge is measured at: an event in [PointsStream].
type Point struct {
	Position  uint64 `json:"position,string"` // nothing at or after it is removed
	Number    int64  `json:"number"`          // its revision in the stream of points
	Time      int64  `json:"time,string"`     // when it was made, in 100 ns ticks since the Unix epoch
	Threshold int    `json:"threshold"`       // see Options
}

// Heads is what is needed of index.Heads.
type Heads interface {
	// Peek returns the applied head of a stream.
	Peek(stream string) (stream.Head, error)
}

// Mark is what is needed of the watermark.
type Mark interface {
	Applied() uint64
	Wait(ctx context.Context, beyond uint64) error
	Rejected(pos uint64) bool
}

// Store scavenges segments of one node's log. It belongs to one goroutine.
type Store struct {
	Log   *log.Log
	Index index.Index
	Heads Heads
	Mark  Mark
	// Pace is called with the bytes read and written since the last call; it may
	// wait, and its error ends the work. nil: no bound.
	Pace func(bytes int) error
}

// Removed tells what was taken out of one segment.
type Removed struct {
	Events        int   // removed
	Rows          int   // of the index, removed
	Before, After int64 // bytes of the file
}

// Eligible lists the segments that a scavenge with the point may touch, from the
// one that holds position from on: closed, wholly before the point, and with an
// applied entry after them.
func (s *Store) Eligible(p Point, from uint64) []log.SegmentInfo {
	var out []log.SegmentInfo
	applied := s.Mark.Applied()
	for _, info := range s.Log.Segments() {
		if info.Closed && info.End > from && info.End <= p.Position && info.End < applied {
			out = append(out, info)
		}
	}
	return out
}

// Segment removes from one eligible segment what may go. It is left as it is if
// twice the number of events that would go is not more than the point's threshold.
func (s *Store) Segment(info log.SegmentInfo, p Point) (Removed, error) {
	j := &judge{store: s, point: p, heads: map[string]stream.Head{}}
	sum := Removed{Before: info.FileBytes, After: info.FileBytes}
	removable, removed, err := j.weigh(info)
	if err != nil {
		return sum, fmt.Errorf("judge the segment at %d: %w", info.Base, err)
	}
	if removable > 0 && 2*removable > p.Threshold {
		done, err := s.Log.Rewrite(info.Base, s.Mark.Applied(), func(f log.Frame) (bool, error) {
			if f.Type != normalEntry {
				return false, nil
			}
			took, err := stream.Remove(f.Data, f.Pos+log.FrameHeaderBytes, j.gone)
			sum.Events += took.Events
			return took.Events > 0, errors.Join(err, j.err)
		}, s.Pace)
		if err != nil {
			sum.Events = 0
			return sum, fmt.Errorf("scavenge the segment at %d: %w", info.Base, err)
		}
		sum.Before, sum.After = done.Before, done.After
		removed = true
	}
	if !removed {
		return sum, nil
	}
	if sum.Rows, err = s.prune(info); err != nil {
		return sum, fmt.Errorf("remove rows of the segment at %d: %w", info.Base, err)
	}
	return sum, nil
}

// judge decides on the events of one segment.
type judge struct {
	store *Store
	point Point
	heads map[string]stream.Head // bounded by maxHeads
	err   error                  // the first of gone, which then keeps everything
}

// gone is a stream.Gone.
func (j *judge) gone(r stream.Record, e stream.EventView) bool {
	if j.err != nil || r.Position(e) >= j.point.Position {
		return false
	}
	if j.store.Mark.Rejected(r.Pos()) {
		return true // an event that never came to be
	}
	name := r.Write(e.Write()).Stream
	h, ok := j.heads[string(name)]
	if !ok {
		if len(j.heads) >= maxHeads {
			clear(j.heads)
		}
		var err error
		if h, err = j.store.Heads.Peek(string(name)); err != nil {
			j.err = err
			return false
		}
		j.heads[string(name)] = h
	}
	return h.Removable(r.Revision(e), r.Created(), j.point.Time)
}

// weigh counts the events of a segment that may go; removed tells whether some
// went earlier.
func (j *judge) weigh(info log.SegmentInfo) (removable int, removed bool, err error) {
	err = j.store.records(info, func(r stream.Record) error {
		evs := r.AllEvents()
		for evs.Next() {
			if e := evs.Event(); e.Removed() {
				removed = true
			} else if j.gone(r, e) {
				removable++
			}
		}
		return errors.Join(evs.Err(), j.err)
	})
	return removable, removed, err
}

// records calls do for every record of a segment.
func (s *Store) records(info log.SegmentInfo, do func(stream.Record) error) error {
	scan := s.Log.Scan(info.Base)
	paced := 0
	for scan.Pos() < info.End {
		f, err := scan.Next()
		if err == io.EOF {
			return fmt.Errorf("the log ends at %d, inside a closed segment", scan.Pos())
		}
		if err != nil {
			return err
		}
		if paced += int(f.Size); paced >= paceBytes {
			if err := s.pace(paced); err != nil {
				return err
			}
			paced = 0
		}
		if f.Type != normalEntry {
			continue
		}
		it := stream.NewRecords(f.Data, f.Pos+log.FrameHeaderBytes)
		for it.Next() {
			if err := do(it.Record()); err != nil {
				return err
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
	}
	return s.pace(paced)
}

// paceBytes is how much is read between two looks at the pace.
const paceBytes = 1 << 20

func (s *Store) pace(bytes int) error {
	if s.Pace == nil {
		return nil
	}
	return s.Pace(bytes)
}

// prune removes the rows of the index for the writes of a segment of which no
// event is left.
func (s *Store) prune(info log.SegmentInfo) (int, error) {
	var rows []index.Row
	var names stream.Interner
	var left []uint32 // events still there, for each write of a record
	total := 0
	flush := func() error {
		n, err := s.Index.Prune(rows)
		total += n
		rows = rows[:0]
		return err
	}
	err := s.records(info, func(r stream.Record) error {
		if r.Kind() == stream.KindAdmin || s.Mark.Rejected(r.Pos()) {
			return nil
		}
		left = append(left[:0], make([]uint32, r.NumWrites())...)
		evs := r.Events()
		for evs.Next() {
			left[evs.Event().Write()]++
		}
		if err := evs.Err(); err != nil {
			return err
		}
		for i, n := range left {
			if w := r.Write(i); n == 0 && w.Count > 0 {
				rows = append(rows, index.Row{Stream: names.String(w.Stream), First: w.First, Count: w.Count, Pos: r.Pos(), Len: uint32(r.Size())})
			}
		}
		if len(rows) >= maxRows {
			return flush()
		}
		return nil
	})
	if err != nil {
		return total, err
	}
	return total, flush()
}
