package reader

import (
	"context"
	"fmt"
	"math"

	"baton/eventstore/index"
	"baton/eventstore/stream"
)

const (
	lastRevision = math.MaxInt64

	// rowsPerLookup is how many rows one look into the index fetches; rows of
	// single events are 48 bytes, so a batch is some KiB.
	rowsPerLookup = 128
	// spanBytes is how much of the log is read at once for neighbouring
	// records, gapBytes how far apart neighbours may stand: reading 4 KiB too
	// much costs less than another system call.
	spanBytes = 256 << 10
	gapBytes  = 4 << 10
)

// rowRef is a row and which side of the request it serves.
type rowRef struct{ index.Row }

// holds reports whether event v, of revision rev, of the row's record is one of
// the row's events.
func (w rowRef) holds(r stream.Record, v stream.EventView, rev int64) bool {
	if rev < w.First || rev > w.Last() {
		return false
	}
	return r.NumWrites() == 1 || string(r.Write(v.Write()).Stream) == w.Stream
}

// rowReader walks the records of one stream in either direction. Records are
// valid until the next call of next.
type rowReader struct {
	r         *Reader
	name      string
	at        int64 // next revision wanted
	end       int64 // last revision wanted
	backwards bool
	batch     int // rows wanted with the next look
	mem       *scratch
	rows      []index.Row // in mem
	used      int
	buf       []byte // in mem
	bufPos    uint64 // position of buf[0]
	done      bool
}

// rows begins a walk from revision from to revision to, both inclusive. Records
// are read into mem.
func (r *Reader) rows(mem *scratch, name string, from, to int64, backwards bool) rowReader {
	return rowReader{r: r, name: name, at: from, end: to, backwards: backwards, batch: 8, mem: mem, rows: mem.rows[:0]}
}

// next returns the next record and the row through which it was found.
func (it *rowReader) next(ctx context.Context) (stream.Record, rowRef, bool, error) {
	if it.used == len(it.rows) {
		if err := it.look(); err != nil || len(it.rows) == 0 {
			return stream.Record{}, rowRef{}, false, err
		}
	}
	row := it.rows[it.used]
	if !it.backwards && row.First > it.end || it.backwards && row.Last() < it.end {
		it.done = true
		it.rows, it.used = nil, 0
		return stream.Record{}, rowRef{}, false, nil
	}
	if err := it.r.applied(ctx, row.Pos); err != nil {
		return stream.Record{}, rowRef{}, false, err
	}
	b, err := it.bytes(row)
	if err != nil {
		return stream.Record{}, rowRef{}, false, fmt.Errorf("read stream %q revision %d: %w", it.name, row.First, err)
	}
	rec, err := stream.ParseRecord(b, row.Pos)
	if err != nil {
		it.r.log.Doubt(row.Pos, err.Error())
		return stream.Record{}, rowRef{}, false, fmt.Errorf("read stream %q revision %d: %w", it.name, row.First, err)
	}
	it.used++
	return rec, rowRef{row}, true, nil
}

// look fetches the next rows from the index; none at the end.
func (it *rowReader) look() error {
	it.rows, it.used = it.rows[:0], 0
	if it.done {
		return nil
	}
	var err error
	if it.backwards {
		it.rows, err = it.r.index.Backward(it.rows, it.name, it.at, it.batch)
	} else {
		it.rows, err = it.r.index.Forward(it.rows, it.name, it.at, it.batch)
	}
	if err != nil {
		return fmt.Errorf("read stream %q: %w", it.name, err)
	}
	it.mem.rows = it.rows
	n := len(it.rows)
	if n < it.batch {
		it.done = true
	}
	if n > 0 {
		last := it.rows[n-1]
		if it.backwards {
			it.at = last.First - 1
			it.done = it.done || it.at < 0
		} else {
			it.at = last.Last() + 1
			it.done = it.done || it.at < 0 // beyond the tombstone
		}
	}
	it.batch = rowsPerLookup
	return nil
}

// bytes returns the row's record, reading those of the following rows with it
// when they stand close by.
func (it *rowReader) bytes(row index.Row) ([]byte, error) {
	if b := it.inBuf(row); b != nil {
		return b, nil
	}
	lo, hi := row.Pos, row.Pos+uint64(row.Len)
	for _, o := range it.rows[it.used+1:] {
		end := o.Pos + uint64(o.Len)
		if o.Pos > hi+gapBytes || end+gapBytes < lo || max(hi, end)-min(lo, o.Pos) > spanBytes {
			break
		}
		lo, hi = min(lo, o.Pos), max(hi, end)
	}
	if err := it.read(lo, hi); err != nil {
		if lo == row.Pos && hi == row.Pos+uint64(row.Len) {
			return nil, err
		}
		// Neighbours may stand in different segments.
		if err := it.read(row.Pos, row.Pos+uint64(row.Len)); err != nil {
			return nil, err
		}
	}
	return it.inBuf(row), nil
}

func (it *rowReader) read(lo, hi uint64) error {
	n := int(hi - lo)
	if cap(it.mem.buf) < n {
		it.mem.buf = make([]byte, n)
	}
	it.buf, it.bufPos = it.mem.buf[:n], lo
	if err := it.r.log.ReadAt(it.buf, lo); err != nil {
		it.buf = it.buf[:0]
		return err
	}
	return nil
}

func (it *rowReader) inBuf(row index.Row) []byte {
	end := row.Pos + uint64(row.Len)
	if len(it.buf) == 0 || row.Pos < it.bufPos || end > it.bufPos+uint64(len(it.buf)) {
		return nil
	}
	return it.buf[row.Pos-it.bufPos : end-it.bufPos]
}
