package reader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"baton/eventstore/log"
	"baton/eventstore/stream"
)

// endPosition stands for the end of the log in a request.
const endPosition = math.MaxUint64

// normalEntry is the type of the entries that hold records; others change the
// membership.
const normalEntry = 0

// AllQuery asks for events of all streams, in log order.
type AllQuery struct {
	From         uint64 // position of an event; forwards inclusive, backwards exclusive
	FromStart    bool
	FromEnd      bool
	Backwards    bool
	Count        uint64  // at most so many matching events
	Filter       *Filter // nil: every event
	ResolveLinks bool
	Allow        Allow // of events and of the targets of links
}

// All calls yield for the events that the query asks for, as far as this node
// had applied the log when the call began. Truncation and soft deletes do not
// matter here. Beside the errors of disk, context and yield there is
// ErrInvalidPosition.
func (r *Reader) All(ctx context.Context, q AllQuery, yield func(*Event) error) error {
	from := q.From
	switch {
	case q.FromStart:
		from = 0
	case q.FromEnd:
		from = endPosition
	}
	start, err := r.locate(ctx, from)
	if err != nil {
		return err
	}
	if q.Count == 0 || !q.Backwards && from == endPosition || q.Backwards && from == 0 {
		return nil
	}
	w := walker{r: r, filter: q.Filter, resolve: q.ResolveLinks, allow: q.Allow, left: q.Count, yield: yield, mem: borrow()}
	defer w.release()
	if q.Backwards {
		if from == endPosition {
			from = start
		}
		return w.backward(ctx, from, start)
	}
	limit := r.mark.Applied()
	w.scan = r.log.Scan(start)
	w.skip = from
	_, err = w.forward(ctx, limit)
	return err
}

// locate checks a position and returns where the frame that holds it begins. 0
// is the start of the log, endPosition the watermark.
func (r *Reader) locate(ctx context.Context, pos uint64) (frame uint64, err error) {
	switch pos {
	case 0:
		return 0, nil
	case endPosition:
		return r.mark.Applied(), nil
	}
	if r.mark.Applied() <= pos {
		wait, cancel := context.WithTimeout(ctx, r.opts.AheadWait)
		defer cancel()
		if err := r.mark.Wait(wait, pos); err != nil {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return 0, fmt.Errorf("%w: %d is beyond the end of the log", ErrInvalidPosition, pos)
		}
	}
	f, err := r.log.FrameContaining(pos)
	if err != nil {
		if errors.Is(err, log.ErrOutOfRange) {
			return 0, fmt.Errorf("%w: %d is beyond the end of the log", ErrInvalidPosition, pos)
		}
		return 0, fmt.Errorf("read position %d: %w", pos, err)
	}
	found := false
	// An event that was removed by a scavenge still has its position: who stands
	// there goes on behind it.
	err = r.eventsOf(f, stream.Record.AllEvents, func(rec stream.Record, v stream.EventView) bool {
		found = rec.Position(v) == pos
		return rec.Position(v) < pos
	})
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("%w: %d is not the position of an event", ErrInvalidPosition, pos)
	}
	return f.Pos, nil
}

// events calls f for every visible event of a frame until it returns false.
func (r *Reader) events(f log.Frame, do func(stream.Record, stream.EventView) bool) error {
	return r.eventsOf(f, stream.Record.Events, do)
}

func (r *Reader) eventsOf(f log.Frame, which func(stream.Record) stream.Events, do func(stream.Record, stream.EventView) bool) error {
	if f.Type != normalEntry || len(f.Data) == 0 {
		return nil
	}
	recs := stream.NewRecords(f.Data, f.Pos+log.FrameHeaderBytes)
	for recs.Next() {
		rec := recs.Record()
		if rec.NumEvents() == 0 || r.mark.Rejected(rec.Pos()) {
			continue
		}
		evs := which(rec)
		for evs.Next() {
			if !do(rec, evs.Event()) {
				return nil
			}
		}
		if err := evs.Err(); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
	if err := recs.Err(); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// walker hands the events of all streams to yield.
type walker struct {
	r       *Reader
	filter  *Filter
	resolve bool
	allow   Allow
	left    uint64 // events still wanted
	yield   func(*Event) error
	// examined is called after each event looked at; nil = not.
	examined func(pos uint64) error
	scan     *log.Scanner
	skip     uint64 // events before this position are passed over
	mem      *scratch
	target   *scratch // of the target of a link; nil until there is one
}

func (w *walker) release() {
	w.mem.release()
	w.target.release()
	w.mem, w.target = nil, nil
}

// allowed asks whether the reader may see an event.
func (w *walker) allowed(rec stream.Record, v stream.EventView) bool {
	return w.allow == nil || w.allow(w.mem.names.String(rec.Write(v.Write()).Stream), rec.Revision(v))
}

// visit judges one event and hands it out; more is false when enough were.
func (w *walker) visit(ctx context.Context, rec stream.Record, v stream.EventView) (more bool, err error) {
	if w.filter.matches(rec, v) && w.allowed(rec, v) {
		out := w.mem.fill(rec, v)
		if w.resolve && out.Type == stream.LinkType {
			if out, err = w.r.resolve(ctx, out, &w.target, w.allow); err != nil {
				return false, err
			}
		}
		if err := w.yield(out); err != nil {
			return false, err
		}
		if w.left--; w.left == 0 {
			return false, nil
		}
	}
	if w.examined != nil {
		if err := w.examined(rec.Position(v)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// forward visits the events up to limit, the end of a frame. more is false when
// enough were handed out.
func (w *walker) forward(ctx context.Context, limit uint64) (more bool, err error) {
	more = true
	for more && w.scan.Pos() < limit {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		f, err := w.scan.Next()
		if err == io.EOF {
			return more, nil
		}
		if err != nil {
			return false, fmt.Errorf("read log: %w", err)
		}
		var inner error
		err = w.r.events(f, func(rec stream.Record, v stream.EventView) bool {
			if rec.Position(v) < w.skip {
				return true
			}
			more, inner = w.visit(ctx, rec, v)
			return more
		})
		if inner != nil {
			return false, inner
		}
		if err != nil {
			return false, err
		}
	}
	return more, nil
}

// backward visits the events before position before. start is the beginning of
// the frame that holds before, or before itself at the end of the log.
func (w *walker) backward(ctx context.Context, before, start uint64) error {
	type seen struct {
		rec stream.Record
		v   stream.EventView
	}
	var found []seen
	deliver := func(f log.Frame) (bool, error) {
		found = found[:0]
		err := w.r.events(f, func(rec stream.Record, v stream.EventView) bool {
			if rec.Position(v) < before {
				found = append(found, seen{rec, v})
				return true
			}
			return false
		})
		if err != nil {
			return false, err
		}
		for i := len(found) - 1; i >= 0; i-- {
			if more, err := w.visit(ctx, found[i].rec, found[i].v); err != nil || !more {
				return false, err
			}
		}
		return true, nil
	}
	if start < before {
		f, err := w.r.log.FrameContaining(start)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if more, err := deliver(f); err != nil || !more {
			return err
		}
	}
	for pos := start; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := w.r.log.PrevFrame(pos)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if more, err := deliver(f); err != nil || !more {
			return err
		}
		pos = f.Pos
	}
}

// lastPosition is the position of the last visible event before limit, the end
// of a frame; 0 if there is none.
func (r *Reader) lastPosition(ctx context.Context, limit uint64) (pos uint64, err error) {
	w := walker{r: r, left: 1, mem: borrow(), yield: func(e *Event) error {
		pos = e.Position
		return nil
	}}
	defer w.release()
	err = w.backward(ctx, limit, limit)
	return pos, err
}
