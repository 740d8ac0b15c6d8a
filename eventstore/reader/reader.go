// Package reader serves events from the log: pages of a stream or of all
// streams in both directions, and catch-up subscriptions.
package reader

import (
	"context"
	"errors"
	"time"

	"baton/eventstore/index"
	"baton/eventstore/stream"
)

var (
	// ErrStreamDeleted: the stream is tombstoned.
	ErrStreamDeleted = errors.New("stream is deleted")
	// ErrInvalidPosition: a position is not that of an event.
	ErrInvalidPosition = errors.New("invalid position")
	// ErrInvalidFilter: a filter cannot be used; the wrapping error says why.
	ErrInvalidFilter = errors.New("invalid filter")
)

// Event is one event as stored. All memory but the strings belongs to the
// reader and is valid until the yield or handler call returns.
type Event struct {
	ID       [16]byte
	Stream   string
	Revision int64
	Position uint64 // commit and prepare position
	Created  int64  // 100 ns ticks since the Unix epoch
	Type     string
	JSON     bool
	// Body is the wire form of fields 6 (type, content-type), 7 and 8 of
	// RecordedEvent; the "created" entry of field 6 is not in it.
	Body []byte
	// Link is the link event through which this event was found, nil without.
	Link *Event
	// Unresolved: this event is a link and its target cannot be read; only the
	// link is to be sent. Set only when links are resolved.
	Unresolved bool

	data, meta []byte
}

func (e *Event) Data() []byte     { return e.data }
func (e *Event) Metadata() []byte { return e.meta }

// Original is the event that stands in the read stream: the link, if any.
func (e *Event) Original() *Event {
	if e.Link != nil {
		return e.Link
	}
	return e
}

// Watermark tells which part of the log is applied.
type Watermark interface {
	// Applied is a log position; events of frames ending at or before it are visible.
	Applied() uint64
	// Wait returns nil once Applied() > beyond, or the context's error.
	Wait(ctx context.Context, beyond uint64) error
	// Rejected reports whether the record at pos was refused by apply.
	Rejected(pos uint64) bool
}

// Heads is what the reader needs of index.Heads.
type Heads interface {
	stream.HeadSource
	Watch(stream string) (changed <-chan struct{}, stop func())
}

// Options of a reader.
type Options struct {
	Now func() time.Time // for $maxAge; default time.Now
}

type Reader struct{}

// StreamQuery asks for events of one stream.
type StreamQuery struct {
	Stream       string
	From         int64 // inclusive; ignored with FromStart or FromEnd
	FromStart    bool
	FromEnd      bool
	Backwards    bool
	Count        uint64 // at most so many events; 0 = none
	ResolveLinks bool
}

// StreamStatus tells about a stream beside its events.
type StreamStatus struct {
	NotFound    bool  // never existed, or soft-deleted
	Deleted     bool  // tombstoned; the error is ErrStreamDeleted then
	First, Last int64 // readable revisions, -1 if none
}

// AllQuery asks for events of all streams.
type AllQuery struct {
	From         uint64 // position; forwards inclusive, backwards exclusive
	FromStart    bool
	FromEnd      bool
	Backwards    bool
	Count        uint64
	Filter       *Filter
	ResolveLinks bool
}

// FilterSpec is a filter as a client sends it.
type FilterSpec struct {
	ByType               bool     // on the event type, else on the stream name
	Prefixes             []string // any of them; or
	Regex                string
	Window               uint32 // examined events per page; 0 = 32
	CheckpointMultiplier uint32 // checkpoint every Window * so many examined events; 0 refused for subscriptions
}

// Filter is a checked FilterSpec.
type Filter struct{}

func NewFilter(s FilterSpec) (*Filter, error) { panic("soon") }

// New builds a reader. log is *log.Log.
func New(log Log, ix index.Index, heads Heads, w Watermark, opts Options) *Reader { panic("soon") }

// Log is what the reader needs of the log.
type Log interface {
	ReadAt(p []byte, pos uint64) error
}

func (r *Reader) Stream(ctx context.Context, q StreamQuery, yield func(*Event) error) (StreamStatus, error) {
	panic("soon")
}
func (r *Reader) All(ctx context.Context, q AllQuery, yield func(*Event) error) error { panic("soon") }

// EventIDs implements stream.IDSource.
func (r *Reader) EventIDs(name string, from int64, n int, f func(rev int64, id [16]byte, pos uint64) bool) error {
	panic("soon")
}

// Handler receives a subscription. An error from any method ends it.
type Handler interface {
	Event(*Event) error
	// Checkpoint comes only with a filter: every event up to pos was examined.
	Checkpoint(pos uint64) error
	// CaughtUp comes each time everything visible was delivered. On a stream
	// rev is the last revision seen (-1: none), on all streams pos the position.
	CaughtUp(rev int64, pos uint64) error
}

// StreamSubscription: From is exclusive.
type StreamSubscription struct {
	Stream       string
	From         int64
	FromStart    bool
	FromEnd      bool
	ResolveLinks bool
}

// AllSubscription: From is exclusive.
type AllSubscription struct {
	From         uint64
	FromStart    bool
	FromEnd      bool
	Filter       *Filter
	ResolveLinks bool
}

// SubscribeStream runs until ctx ends or the handler fails. The confirmation is the caller's to send first.
func (r *Reader) SubscribeStream(ctx context.Context, q StreamSubscription, h Handler) error {
	panic("soon")
}
func (r *Reader) SubscribeAll(ctx context.Context, q AllSubscription, h Handler) error { panic("soon") }
