package reader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/stream"
)

// Errors callers branch on.
var (
	// ErrStreamDeleted: the stream is tombstoned.
	ErrStreamDeleted = errors.New("stream is deleted")
	// ErrInvalidPosition: a position is not that of an event that can be read.
	ErrInvalidPosition = errors.New("invalid position")
	// ErrInvalidFilter: a filter cannot be used; the wrapping error says why.
	ErrInvalidFilter = errors.New("invalid filter")
)

// Watermark tells which part of the log is applied on this node.
type Watermark interface {
	// Applied is the end of the last applied frame. The index and the heads
	// show at least everything before it.
	Applied() uint64
	// Wait returns nil once Applied() > beyond, else the context's error.
	Wait(ctx context.Context, beyond uint64) error
	// Rejected reports whether apply refused the record at pos.
	Rejected(pos uint64) bool
}

// Heads is what the reader needs of index.Heads.
type Heads interface {
	stream.HeadSource
	Watch(stream string) (changed <-chan struct{}, stop func())
}

// Options of a reader. Zero fields mean defaults.
type Options struct {
	// Now is the clock that $maxAge is measured with; default time.Now.
	Now func() time.Time
	// AheadWait is how long a request for a position that this node has not
	// applied yet waits for it before it is an invalid position: a client may
	// have learned the position from a node that is ahead. Default 1 s.
	AheadWait time.Duration
}

// Reader reads one node's log.
type Reader struct {
	log   *log.Log
	index index.Index
	heads Heads
	mark  Watermark
	opts  Options
}

// New returns a reader over one node's log and what is derived from it.
func New(l *log.Log, ix index.Index, heads Heads, mark Watermark, opts Options) *Reader {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.AheadWait <= 0 {
		opts.AheadWait = time.Second
	}
	return &Reader{log: l, index: ix, heads: heads, mark: mark, opts: opts}
}

// oldest is the creation time below which $maxAge hides events, in ticks;
// math.MinInt64-like small when there is no $maxAge.
func (r *Reader) oldest(m *stream.Metadata) int64 {
	if m == nil || m.MaxAgeSeconds <= 0 {
		return -1 << 63
	}
	const ticks = 10_000_000 // per second
	now := r.opts.Now()
	nowTicks := now.Unix()*ticks + int64(now.Nanosecond()/100)
	if m.MaxAgeSeconds > nowTicks/ticks {
		return -1 << 63
	}
	return nowTicks - m.MaxAgeSeconds*ticks
}

// applied waits until everything up to beyond is applied. Rows and heads are
// visible a moment before the watermark moves over them; waiting that moment
// keeps reads of a stream, reads of all streams and subscriptions consistent.
func (r *Reader) applied(ctx context.Context, beyond uint64) error {
	if r.mark.Applied() > beyond {
		return nil
	}
	return r.mark.Wait(ctx, beyond)
}

// EventIDs implements stream.IDSource. Truncated events are included.
func (r *Reader) EventIDs(name string, from int64, n int, f func(rev int64, id [16]byte, pos uint64) bool) error {
	if n <= 0 {
		return nil
	}
	mem := borrow()
	defer mem.release()
	it := r.rows(mem, name, from, lastRevision, false)
	for n > 0 {
		rec, row, ok, err := it.next(context.Background())
		if err != nil || !ok {
			return err
		}
		evs := rec.Events()
		for evs.Next() && n > 0 {
			v := evs.Event()
			rev := rec.Revision(v)
			if !row.holds(rec, v, rev) || rev < from {
				continue
			}
			n--
			if !f(rev, v.ID(), rec.Position(v)) {
				return nil
			}
		}
		if err := evs.Err(); err != nil {
			return fmt.Errorf("read stream %q: %w", name, err)
		}
	}
	return nil
}
