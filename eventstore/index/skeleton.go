package index

import (
	"log/slog"

	"baton/eventstore/stream"
)

// NewMemory returns an index without a disk.
func NewMemory() *Memory { panic("soon") }

// Memory is an Index in memory, for simulation.
type Memory struct{ Index }

// PebbleOptions says how to open a Pebble index.
type PebbleOptions struct {
	Dir        string
	Logger     *slog.Logger
	FlushRows  int   // default 200,000
	FlushBytes int64 // default 16 MiB
	CacheBytes int64 // block cache, default 32 MiB
}

// Pebble is an Index on disk.
type Pebble struct{ Index }

// OpenPebble opens or creates the index in opts.Dir.
func OpenPebble(opts PebbleOptions) (*Pebble, error) { panic("soon") }

// AppendRows appends to dst the rows of an accepted record.
func AppendRows(dst []Row, r stream.Record) []Row { panic("soon") }

// LogReader is the part of the log that Heads needs to read metadata.
type LogReader interface {
	ReadAt(p []byte, pos uint64) error
}

// Heads is a bounded cache of stream heads over an Index and the log. Safe for
// concurrent use; implements stream.HeadSource.
type Heads struct{}

// NewHeads; max is the number of heads kept, 0 = default.
func NewHeads(ix Index, log LogReader, max int) *Heads { panic("soon") }

func (h *Heads) Head(name string) (stream.Head, error) { panic("soon") }

// Update takes the changes of applied records, after Index.Add of their rows.
func (h *Heads) Update(changes []stream.HeadChange) {}

// Watch returns a channel that gets a value after each change of the stream.
func (h *Heads) Watch(name string) (changed <-chan struct{}, stop func()) { panic("soon") }
