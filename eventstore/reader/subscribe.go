package reader

import (
	"context"
	"math"

	"baton/eventstore/stream"
)

// Handler receives a subscription. An error of any method ends it and is
// returned as it is. Methods may block: that delays this subscription only.
type Handler interface {
	Event(*Event) error
	// Checkpoint comes only with a filter: every event up to and including the
	// one at pos was examined. Positions never decrease.
	Checkpoint(pos uint64) error
	// CaughtUp comes each time the subscription turns from catching up to live.
	// For one stream, rev is the revision after which it waits (-1: none). For
	// all streams, pos is the position of the last event examined.
	CaughtUp(rev int64, pos uint64) error
}

// Flusher is a Handler that gathers what it receives: Flush is called whenever
// everything visible was delivered and the subscription is about to wait.
type Flusher interface {
	Flush() error
}

// flush lets a handler that gathers pass on what it has.
func flush(h Handler) error {
	if f, ok := h.(Flusher); ok {
		return f.Flush()
	}
	return nil
}

// StreamSubscription names a stream and the revision AFTER which to begin.
type StreamSubscription struct {
	Stream       string
	From         int64 // exclusive
	FromStart    bool  // from the first event
	FromEnd      bool  // only what comes after now
	ResolveLinks bool
	// Allow is asked for the targets of links, and whether the stream may still be read.
	Allow Allow
}

// AllSubscription names the position AFTER which to begin.
type AllSubscription struct {
	From      uint64 // exclusive; the position of an event
	FromStart bool
	FromEnd   bool // only what comes after now
	// Near begins with the first event after From also when no event stands at
	// From; without it such a position is ErrInvalidPosition.
	Near         bool
	Filter       *Filter
	ResolveLinks bool
	Allow        Allow // of events and of the targets of links
}

// liveBacklog is how many events a live subscription may find waiting and still
// count as live. More than that, and it says again when it has caught up.
const liveBacklog = 4096

// SubscribeStream delivers a stream's events until ctx ends or the handler
// fails. The caller sends its confirmation first. When the stream is tombstoned
// the `$streamDeleted` event is delivered and the error is ErrStreamDeleted; on
// a stream tombstoned before, the error comes at once. ErrForbidden says that
// Allow does not let the stream be read any more.
func (r *Reader) SubscribeStream(ctx context.Context, q StreamSubscription, h Handler) error {
	changed, stop := r.heads.Watch(q.Stream)
	defer stop()
	head, err := r.heads.Head(q.Stream)
	if err != nil {
		return err
	}
	if head.Tombstoned {
		return ErrStreamDeleted
	}
	next := q.From
	if next < math.MaxInt64 {
		next++
	}
	switch {
	case q.FromStart:
		next = 0
	case q.FromEnd:
		next = head.Last + 1
	}
	d := delivery{r: r, resolve: q.ResolveLinks, allow: q.Allow, left: math.MaxUint64, yield: h.Event}
	for live := false; ; {
		if q.Allow != nil && !q.Allow(q.Stream, 0) {
			return ErrForbidden
		}
		d.oldest = r.oldest(head.Meta)
		d.seen = 0
		from := max(next, head.Meta.FirstReadable(head.Last))
		if from <= head.Last {
			d.mem = borrow()
			err := d.forward(ctx, q.Stream, from, head.Last)
			d.release()
			if err != nil {
				return err
			}
			if head.Tombstoned {
				return ErrStreamDeleted
			}
			next = head.Last + 1
		}
		if d.seen > liveBacklog {
			live = false
		}
		last := head.Last
		if head, err = r.heads.Head(q.Stream); err != nil {
			return err
		}
		if head.Last != last {
			continue
		}
		if !live {
			live = true
			rev := min(next-1, head.Last)
			if head.SoftDeleted() {
				rev = -1
			}
			if err := h.CaughtUp(rev, 0); err != nil {
				return err
			}
		}
		if err := flush(h); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
		if head, err = r.heads.Head(q.Stream); err != nil {
			return err
		}
	}
}

// SubscribeAll delivers events of all streams until ctx ends or the handler
// fails. The caller sends its confirmation first.
func (r *Reader) SubscribeAll(ctx context.Context, q AllSubscription, h Handler) error {
	from := q.From
	switch {
	case q.FromStart:
		from = 0
	case q.FromEnd:
		from = endPosition
	}
	locate := r.locate
	if q.Near {
		locate = r.near
	}
	start, err := locate(ctx, from)
	if err != nil {
		return err
	}
	s := allSubscription{h: h, filter: q.Filter, last: from}
	w := walker{r: r, filter: q.Filter, resolve: q.ResolveLinks, allow: q.Allow, left: math.MaxUint64, yield: h.Event, examined: s.examined}
	w.scan = r.log.Scan(start)
	if from == endPosition {
		if s.last, err = r.lastPosition(ctx, start); err != nil {
			return err
		}
	} else {
		w.skip = from + 1
	}
	for live := false; ; {
		s.seen = 0
		limit := r.mark.Applied()
		w.mem = borrow()
		_, err := w.forward(ctx, limit)
		w.release()
		if err != nil {
			return err
		}
		if s.seen > liveBacklog {
			live = false
		}
		if r.mark.Applied() > limit {
			continue
		}
		if !live {
			live = true
			if err := s.catchUpEnds(); err != nil {
				return err
			}
			if err := h.CaughtUp(-1, s.last); err != nil {
				return err
			}
			// Catching up may have read the disk through a big buffer; what
			// comes now is in the log's cache.
			w.scan = r.log.Scan(w.scan.Pos())
		}
		if err := flush(h); err != nil {
			return err
		}
		if err := r.mark.Wait(ctx, limit); err != nil {
			return err
		}
	}
}

// allSubscription counts what a subscription to all streams examined.
type allSubscription struct {
	h      Handler
	filter *Filter
	last   uint64 // position of the last event examined, or where it began
	seen   uint64 // events examined since the count was reset
	since  uint64 // events examined since the last checkpoint
}

func (s *allSubscription) examined(pos uint64) error {
	s.last = pos
	s.seen++
	if s.filter == nil {
		return nil
	}
	if s.since++; s.since < s.filter.interval {
		return nil
	}
	s.since = 0
	return s.h.Checkpoint(pos)
}

// catchUpEnds gives a filtered subscription the checkpoint due then.
func (s *allSubscription) catchUpEnds() error {
	if s.filter == nil {
		return nil
	}
	s.since = 0
	return s.h.Checkpoint(s.last)
}

var _ stream.IDSource = (*Reader)(nil)
