package stream

import (
	"math"
	"strings"
)

// Expected is the state that a request demands of a stream: a revision (>= 0)
// or one of the constants below. The numbers are those of the client protocol.
type Expected int64

const (
	// NoStream demands that the stream has no events.
	NoStream Expected = -1
	// Any demands nothing.
	Any Expected = -2
	// Exists demands that the stream has events (or at least metadata) and is
	// not deleted.
	Exists Expected = -4
	// SoftDeleted demands that the stream is soft-deleted. Only in a [Check].
	SoftDeleted Expected = -5
	// Tombstoned demands that the stream is tombstoned. Only in a [Check].
	Tombstoned Expected = -6
)

// States reported in [Violation.Actual] and [WriteOutcome.Actual] beside
// revisions (>= 0).
const (
	// ActualNoStream: the stream has no events.
	ActualNoStream int64 = -1
	// ActualSoftDeleted: the stream is soft-deleted. Only in a [Violation].
	ActualSoftDeleted int64 = -5
	// ActualTombstoned: the stream is tombstoned. Only in a [Violation].
	ActualTombstoned int64 = -6
)

// TombstoneRevision is the revision of the event that tombstones a stream.
const TombstoneRevision int64 = math.MaxInt64

// Event types and names with a meaning of their own.
const (
	// MetadataType is the type of an event that holds stream metadata.
	MetadataType = "$metadata"
	// TombstoneType is the type of the event that tombstones a stream.
	TombstoneType = "$streamDeleted"
	// LinkType is the type of an event whose data names another event,
	// "<revision>@<stream>".
	LinkType = "$>"
	// AllStream is the name of the pseudo stream of all events.
	AllStream = "$all"
	// metaPrefix begins the name of a metadata stream.
	metaPrefix = "$$"
)

// MetaStream names the metadata stream of the given stream.
func MetaStream(stream string) string { return metaPrefix + stream }

// IsMetaStream reports whether the name is that of a metadata stream.
func IsMetaStream(stream string) bool { return strings.HasPrefix(stream, metaPrefix) }

// OriginalOf names the stream that a metadata stream describes. It returns the
// name itself when that is not a metadata stream.
func OriginalOf(stream string) string { return strings.TrimPrefix(stream, metaPrefix) }

// Event is one event as proposed by a client.
type Event struct {
	ID       [16]byte
	Type     string // any UTF-8 text
	JSON     bool   // content type application/json, else application/octet-stream
	Data     []byte // opaque
	Metadata []byte // opaque
}

// Write is a number of events (also none) for one stream.
type Write struct {
	Stream   string
	Expected Expected // a revision, NoStream, Any or Exists
	Events   []Event
}

// Check demands a state of a stream without writing to it, or of a stream that
// the same command writes.
type Check struct {
	Stream   string
	Expected Expected // anything but Any
}

// Head is what must be known of a stream to judge a request to it.
type Head struct {
	// Last is the revision of the last event, -1 if there is none,
	// TombstoneRevision if the stream is tombstoned.
	Last int64
	// MetaLast is the revision of the last event of the metadata stream, -1 if
	// there is none. Always -1 for a metadata stream itself.
	MetaLast int64
	// Tombstoned says that the stream (or for a metadata stream: the stream it
	// describes) was tombstoned: nothing can be read or written any more.
	Tombstoned bool
	// Meta is the metadata in force; nil means none. Immutable once in a head.
	// All its methods accept nil.
	Meta *Metadata
}

// NoHead is the head of a stream that never existed.
var NoHead = Head{Last: -1, MetaLast: -1}

// SoftDeleted reports whether the stream is soft-deleted.
func (h Head) SoftDeleted() bool { return !h.Tombstoned && h.Meta.SoftDeleted() }

// HeadSource gives the applied head of a stream. A stream that never existed
// has [NoHead]. Errors are those of the disk.
type HeadSource interface {
	Head(stream string) (Head, error)
}

// HeadChange is the new head of a stream after a record was applied.
type HeadChange struct {
	Stream string
	Head   Head
}

// OutcomeKind says how a request ended.
type OutcomeKind uint8

const (
	// Done: written, or repeated, or nothing was to be written.
	Done OutcomeKind = iota + 1
	// Conflict: a stream is not in the expected state.
	Conflict
	// StreamDeleted: a stream is tombstoned.
	StreamDeleted
	// BadRequest: the request cannot be carried out in any state.
	BadRequest
)

func (k OutcomeKind) String() string {
	switch k {
	case Done:
		return "done"
	case Conflict:
		return "conflict"
	case StreamDeleted:
		return "stream deleted"
	case BadRequest:
		return "bad request"
	}
	return "unknown"
}

// WriteOutcome tells what became of one write.
type WriteOutcome struct {
	Stream   string
	Expected Expected
	// First and Last are the revisions of the written events. When nothing was
	// written Last is the current revision (-1: no stream), First is Last+1.
	First, Last int64
	// Actual is the last revision found, -1 for none. On Conflict it is what
	// the client must be told.
	Actual int64
}

// Violation is one unmet expectation of a command over several streams.
type Violation struct {
	// Index counts checks first, in request order, then the writes whose
	// stream has no check.
	Index    int
	Stream   string
	Expected Expected
	Actual   int64 // a revision or one of the Actual constants
}

// Outcome is the verdict on one command.
type Outcome struct {
	Kind OutcomeKind
	// Writes has one element for each write of the command, in its order. For
	// a delete the one element names the deleted stream.
	Writes []WriteOutcome
	// Violations lists all unmet expectations, in order of Index, when a
	// command of several streams or with checks is refused.
	Violations []Violation
	// Position is the log position of the last event of the command.
	Position    uint64
	HasPosition bool // false when the command has no events
	// Repeated: the events were there already, nothing was written.
	Repeated bool
	// Record is the log position of the applied record.
	Record uint64
	// Reason is a sentence for the client on BadRequest.
	Reason string
}

// Clone returns a copy that shares no memory with o.
func (o Outcome) Clone() Outcome {
	o.Writes = append([]WriteOutcome(nil), o.Writes...)
	o.Violations = append([]Violation(nil), o.Violations...)
	return o
}
