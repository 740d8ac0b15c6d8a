package projections

import (
	"time"

	"baton/eventstore/projection"
)

// maxBatchBytes bounds what one append of a projection holds, beside what a single event makes it write.
const maxBatchBytes = 4 << 20

// batch is what is to be written together. It is guarded by the run's lock until it is taken, and then belongs to the writer.
type batch struct {
	emitted []emission          // in order
	dirty   map[string]struct{} // partitions whose state changed
	results map[string]struct{} // partitions whose result changed
	bytes   int                 // of all that
	handled int                 // events
	began   time.Time           // when the first of them was handled
	chain   *chain              // the longest of what they came of
	at      place               // after the last event looked at; set when taken
	// states and what else is written, as they were when the batch was taken.
	states []stateWrite
	root   []byte
	shared []byte
	done   bool
}

// emission is an event a projection wrote, with the signature in the metadata.
type emission struct {
	projection.Emitted
	id [16]byte // zero: any
}

// stateWrite is a partition's state, and its result, in a batch.
type stateWrite struct {
	name          string
	state, result []byte
	part          *partition
	created       bool // it is the first
	store, tell   bool // the state is written; the result is
}

// touch notes that a partition has another state or result.
func touch(set *map[string]struct{}, name string) (first bool) {
	if _, there := (*set)[name]; there {
		return false
	}
	if *set == nil {
		*set = map[string]struct{}{}
	}
	(*set)[name] = struct{}{}
	return true
}

// urgent says that somebody may wait for what is in it.
func (b *batch) urgent() bool { return len(b.emitted) > 0 || len(b.results) > 0 }

func (b *batch) full(c *Config) bool {
	return len(b.emitted) >= c.MaxWriteBatchLength || len(b.dirty) >= c.MaxWriteBatchLength || b.bytes >= maxBatchBytes
}
