package reader

import (
	"context"
	"fmt"

	"baton/eventstore/stream"
)

// StreamQuery asks for events of one stream.
type StreamQuery struct {
	Stream    string
	From      int64 // inclusive revision; ignored with FromStart or FromEnd
	FromStart bool  // from the first readable event; backwards: revision 0 only
	FromEnd   bool  // forwards: nothing; backwards: from the last event
	Backwards bool
	Count     uint64 // at most so many events; 0 = none
	// ResolveLinks gives the target of each link event instead of the link.
	ResolveLinks bool
	// Allow is asked for the targets of links; the stream itself is the caller's to judge.
	Allow Allow
}

// StreamStatus tells about a stream beside its events.
type StreamStatus struct {
	NotFound    bool  // never existed, or soft-deleted
	Deleted     bool  // tombstoned; the error is ErrStreamDeleted then
	First, Last int64 // readable revisions ($maxAge left aside); First > Last if none is
}

// Stream calls yield for the events of a stream that the query asks for and
// that truncation ($tb, $maxCount, $maxAge) leaves readable. An error of yield
// ends the read and is returned as it is. Beside those of the disk and the
// context the error can be ErrStreamDeleted.
func (r *Reader) Stream(ctx context.Context, q StreamQuery, yield func(*Event) error) (StreamStatus, error) {
	head, err := r.heads.Head(q.Stream)
	if err != nil {
		return StreamStatus{}, err
	}
	st := StreamStatus{First: head.Meta.FirstReadable(head.Last), Last: head.Last}
	if head.Tombstoned {
		return StreamStatus{Deleted: true, First: 0, Last: -1}, ErrStreamDeleted
	}
	if head.Last < 0 || head.SoftDeleted() {
		return StreamStatus{NotFound: true, First: 0, Last: -1}, nil
	}
	from, to := q.From, st.Last
	switch {
	case q.FromEnd && !q.Backwards:
		return st, nil
	case q.FromStart:
		from = 0
	case q.FromEnd:
		from = st.Last
	}
	if q.Backwards {
		from, to = min(from, st.Last), st.First
		if from < to {
			return st, nil
		}
	} else {
		from = max(from, st.First)
		if from > to {
			return st, nil
		}
	}
	if q.Count == 0 {
		return st, nil
	}
	d := delivery{r: r, resolve: q.ResolveLinks, allow: q.Allow, oldest: r.oldest(head.Meta), left: q.Count, yield: yield, mem: borrow()}
	defer d.release()
	if !q.Backwards && d.oldest > 0 {
		if from, err = r.firstYoung(ctx, d.mem, q.Stream, from, to, d.oldest); err != nil {
			return st, err
		}
	}
	if q.Backwards {
		return st, d.backward(ctx, q.Stream, from, to)
	}
	return st, d.forward(ctx, q.Stream, from, to)
}

// delivery hands the events of one stream to yield.
type delivery struct {
	r       *Reader
	resolve bool
	allow   Allow  // of the targets of links
	oldest  int64  // creation time below which events are hidden
	left    uint64 // events still wanted
	yield   func(*Event) error
	seen    uint64 // events looked at
	mem     *scratch
	target  *scratch // of the target of a link; nil until there is one
}

func (d *delivery) release() {
	d.mem.release()
	d.target.release()
	d.mem, d.target = nil, nil
}

// one hands out one event; more is false when enough were.
func (d *delivery) one(ctx context.Context, rec stream.Record, v stream.EventView) (more bool, err error) {
	out := d.mem.fill(rec, v)
	if d.resolve && out.Type == stream.LinkType {
		if out, err = d.r.resolve(ctx, out, &d.target, d.allow); err != nil {
			return false, err
		}
	}
	if err := d.yield(out); err != nil {
		return false, err
	}
	d.left--
	return d.left > 0, nil
}

// forward delivers revisions from..to.
func (d *delivery) forward(ctx context.Context, name string, from, to int64) error {
	it := d.r.rows(d.mem, name, from, to, false)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		rec, row, ok, err := it.next(ctx)
		if err != nil || !ok {
			return err
		}
		old := rec.Created() < d.oldest && rec.Kind() != stream.KindTombstone
		evs := rec.Events()
		for evs.Next() {
			v := evs.Event()
			rev := rec.Revision(v)
			if rev < from || rev > to || !row.holds(rec, v, rev) {
				continue
			}
			d.seen++
			if old {
				continue
			}
			if more, err := d.one(ctx, rec, v); err != nil || !more {
				return err
			}
		}
		if err := evs.Err(); err != nil {
			return fmt.Errorf("read stream %q: %w", name, err)
		}
	}
}

// backward delivers revisions from down to to. It stops at the first event
// hidden by age: those before it are older.
func (d *delivery) backward(ctx context.Context, name string, from, to int64) error {
	it := d.r.rows(d.mem, name, from, to, true)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		rec, row, ok, err := it.next(ctx)
		if err != nil || !ok || rec.Created() < d.oldest {
			return err
		}
		d.mem.views = d.mem.views[:0]
		evs := rec.Events()
		for evs.Next() {
			v := evs.Event()
			if rev := rec.Revision(v); rev >= to && rev <= from && row.holds(rec, v, rev) {
				d.mem.views = append(d.mem.views, v)
			}
		}
		if err := evs.Err(); err != nil {
			return fmt.Errorf("read stream %q: %w", name, err)
		}
		for i := len(d.mem.views) - 1; i >= 0; i-- {
			if more, err := d.one(ctx, rec, d.mem.views[i]); err != nil || !more {
				return err
			}
		}
	}
}

// firstYoung narrows the start of a forward read down to about the first event
// that is young enough. Creation times grow along a stream as far as leaders'
// clocks agree; every event is still judged by its own.
func (r *Reader) firstYoung(ctx context.Context, mem *scratch, name string, from, to, oldest int64) (int64, error) {
	// Below this many revisions a scan is as good.
	const enough = 64
	for to-from > enough {
		mid := from + (to-from)/2
		it := r.rows(mem, name, mid, mid, false)
		it.batch = 1
		rec, row, ok, err := it.next(ctx)
		if err != nil {
			return 0, err
		}
		switch {
		case !ok:
			from = min(mid+1, to) // scavenged, and with it what came before
		case rec.Created() >= oldest:
			to = mid
		default:
			from = min(row.Last()+1, to)
		}
	}
	return from, nil
}

// resolve returns the target of a link with Link set, the link itself with
// Unresolved set if the target cannot be read or is not allowed, or the event as it is if its
// data does not name an event. The target lives in *mem, borrowed if nil.
func (r *Reader) resolve(ctx context.Context, link *Event, mem **scratch, allow Allow) (*Event, error) {
	name, rev, ok := linkTarget(link.data)
	if !ok {
		return link, nil
	}
	if allow != nil && !allow(name, rev) {
		link.Unresolved = true
		return link, nil
	}
	head, err := r.heads.Head(name)
	if err != nil {
		return nil, err
	}
	var target *Event
	if !head.Tombstoned && !head.SoftDeleted() && rev <= head.Last && rev >= head.Meta.FirstReadable(head.Last) {
		if *mem == nil {
			*mem = borrow()
		}
		d := delivery{r: r, oldest: r.oldest(head.Meta), left: 1, mem: *mem, yield: func(e *Event) error {
			target = e
			return nil
		}}
		if err := d.forward(ctx, name, rev, rev); err != nil {
			return nil, err
		}
	}
	if target == nil {
		link.Unresolved = true
		return link, nil
	}
	target.Link = link
	return target, nil
}
