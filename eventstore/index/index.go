// Package index maps (stream, revision) to the log position of the record that
// holds the event, and keeps the heads of streams.
//
// The index is derived: everything in it can be computed from the log again.
// It has no write-ahead log of its own. Rows added since the last [Index.Flush]
// are lost in a crash; the opaque meta stored with the last flush tells the
// owner from where to replay.
//
// Concurrency: one goroutine (the apply thread) calls Add, Flush and
// FlushBehind, one other may call Prune; any number of goroutines may read
// meanwhile.
package index

// Row says that the record at log position Pos holds events First..First+Count-1
// of a stream. There is one row for each stream of each record, not for each
// event. A tombstone is a row with First = math.MaxInt64 and Count = 1.
type Row struct {
	Stream string
	First  int64
	Count  uint32 // >= 1
	Pos    uint64 // log position of the record
	Len    uint32 // bytes of the record
}

// Last is the last revision of the row.
func (r Row) Last() int64 { return r.First + int64(r.Count) - 1 }

// Index is the derived index of one node. Rows of one stream are added with
// growing First and never overlap.
type Index interface {
	// Add makes rows visible, all at once. It keeps the Stream strings.
	Add(rows []Row)
	// Last returns the row with the highest revision of the stream.
	Last(stream string) (Row, bool, error)
	// At returns the row that holds revision rev.
	At(stream string, rev int64) (Row, bool, error)
	// Next returns the first row with First > rev.
	Next(stream string, rev int64) (Row, bool, error)
	// Prev returns the last row with Last() < rev.
	Prev(stream string, rev int64) (Row, bool, error)
	// Forward appends to dst up to max rows in ascending order, beginning with
	// the row that holds rev, else the first one after it.
	Forward(dst []Row, stream string, rev int64, max int) ([]Row, error)
	// Backward appends to dst up to max rows in descending order, beginning
	// with the row that holds rev, else the last one before it.
	Backward(dst []Row, stream string, rev int64, max int) ([]Row, error)
	// Prune removes those of the rows that are stored (by an earlier flush) and
	// are not the last stored row of their stream: the heads of streams, as of the
	// last flush and as of any later record, are then still to be found. It
	// returns how many rows were removed. One goroutine at a time, beside others.
	Prune(rows []Row) (int, error)
	// ShouldFlush reports that enough rows gathered for a FlushBehind.
	ShouldFlush() bool
	// FlushBehind starts to store all rows so far together with meta, and
	// returns at once; it waits only while an earlier flush is still running.
	// An error is that of an earlier flush in the background.
	FlushBehind(meta []byte) error
	// Flush stores all rows so far together with meta, atomically, and returns
	// when they are durable.
	Flush(meta []byte) error
	// Meta returns what the last completed flush stored, nil if none did.
	Meta() ([]byte, error)
	// Close waits for a running flush and releases everything. Rows since the
	// last flush are lost.
	Close() error
}
