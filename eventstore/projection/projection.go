package projection

import "time"

// Source says which events a projection is fed. Exactly one of All, Streams and Categories is given.
type Source struct {
	// All: every event of the log.
	All bool
	// Streams are names, at least one, in the order the script gives; none twice.
	Streams []string
	// Categories are what stands before the first "-" of a stream's name; an event belongs to stream "$ce-CATEGORY".
	Categories []string
	// EventTypes are the types with a handler; empty: every type ($any).
	EventTypes []string
	// Links: events are also fed where a link to them stands ($includeLinks).
	Links bool
	// DeletedNotices: the projection handles $deleted, the end of a stream.
	DeletedNotices bool
}

// Definition is what a projection wants of those who run it.
type Definition struct {
	Source
	// PerStream: one state for each stream (foreachStream); the partition is the stream's name.
	PerStream bool
	// CustomPartitions: one state for each value of the script's own function (partitionBy).
	CustomPartitions bool
	// BiState: next to the state of each partition there is one that all partitions share.
	BiState bool
	// ResultStream is where results are written instead of the usual name; empty: the usual name.
	ResultStream string
	// PartitionResultPattern is the same for results of partitions, with "{0}" for the partition; empty: the usual name.
	PartitionResultPattern string
	// Results: results are written as events (outputState, transformBy, filterBy, outputTo).
	Results bool
	// Reorder: events of several streams are to be fed in the order of the log, waiting ReorderLagMs milliseconds for stragglers.
	Reorder      bool
	ReorderLagMs int
}

// Partitioned says whether there is more than one state.
func (d Definition) Partitioned() bool { return d.PerStream || d.CustomPartitions }

// Event is what a projection is fed. The bytes belong to the caller; a projection keeps none of them after a call.
type Event struct {
	// Stream and Revision are the event's own, not those of a link to it.
	Stream   string
	Revision int64
	Type     string
	ID       string // a UUID as text
	Position int64  // commit position in the log
	Created  time.Time
	// JSON: Data was written as JSON. It need not be valid.
	JSON           bool
	Data, Metadata []byte
	// LinkMetadata is the metadata of the link the event was read through; nil without one.
	LinkMetadata []byte
	// Category is what stands before the first "-" of Stream; empty without one.
	Category string
}

// Emitted is one event to be written.
type Emitted struct {
	Stream, Type   string
	Data, Metadata []byte
	JSON           bool
	// Link: Type is "$>" and Data is "revision@stream".
	Link bool
}

// Outcome is what follows from one event.
type Outcome struct {
	// State and Shared are JSON; nil: null. Shared is given only by projections with two states.
	State, Shared []byte
	// Result is JSON, after transformBy, filterBy and outputTo; nil: there is none.
	Result []byte
	// Handled: a handler ran. Otherwise nothing else is set but the state that was given.
	Handled bool
	// Emitted are in the order the script emitted them.
	Emitted []Emitted
}

// Projection is one compiled projection. It belongs to one goroutine at a time. Errors are of type [*Fault]; after one a projection can be used again, and stands
// where it stood before the call.
type Projection interface {
	// Definition is the same at every call.
	Definition() Definition
	// Partition is the state an event belongs to: "" of a projection that has only one. Not ok: the event belongs to none and is not to be handled.
	Partition(e Event) (partition string, ok bool, err error)
	// Handle feeds an event. state and shared are what the last Outcome of the partition, or of any partition, gave; nil: there is none yet, and the
	// script's own beginning ($init, $initShared) comes first.
	Handle(partition string, state, shared []byte, e Event) (Outcome, error)
	// Result is what the transformations make of a state; nil: none. shared is as for Handle; only projections with two states look at it.
	Result(state, shared []byte) ([]byte, error)
	// Close lets go of what the projection holds. It may be called twice.
	Close()
}
