// Package journal is the control plane's memory: streams of events that are
// only ever appended to. What is in the journal happened; everything else
// (inventory, running operations, audit) is read out of it.
//
// The expected revision of an append is the control plane's only lock: of two
// writers that read the same revision, one append is refused.
//
// Memory keeps the streams in this process, for tests. The durable journal is
// an adapter over an embedded event-store node, made where the program is
// wired. Both pass the suite in journaltest.
package journal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Expected revisions with a meaning of their own.
const (
	NoStream int64 = -1 // the stream must not exist
	Any      int64 = -2 // no check
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("the journal is closed")

// ConflictError says that the stream is not where the writer thought.
// Nothing was written.
type ConflictError struct {
	Stream   string
	Expected int64
	Actual   int64 // revision of the last event, NoStream when there is none
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("stream %s is at revision %d, not %d", e.Stream, e.Actual, e.Expected)
}

// Event is something that happened. Data is JSON.
type Event struct {
	Type string
	Data []byte
}

// Recorded is an event with its place in the journal.
type Recorded struct {
	Stream   string
	Revision int64  // from 0, without gaps within the stream
	Position uint64 // grows over all streams; never 0
	At       time.Time
	Event
}

// Journal appends to, reads and follows streams. All methods may be called
// from several goroutines.
type Journal interface {
	// Append writes all events or none and returns the revision of the last
	// one once they are durable. A stream at another revision than expected
	// yields *ConflictError. Any other error leaves the outcome unknown: read
	// the stream before deciding.
	Append(ctx context.Context, stream string, expected int64, events ...Event) (int64, error)
	// Read returns at most max events of a stream, from revision from on; none
	// when the stream does not exist or ends before from.
	Read(ctx context.Context, stream string, from int64, max int) ([]Recorded, error)
	// Follow calls on for every event of every stream after the event at
	// position after (0: from the start), in order, as they are appended, without polling. It
	// calls caughtUp once, when everything that was there at the call has been
	// delivered. It returns on's error, ctx's error, or what broke the journal.
	Follow(ctx context.Context, after uint64, on func(Recorded) error, caughtUp func()) error
}
