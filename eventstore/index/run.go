package index

import "sort"

// run holds rows in memory, by stream. Rows of a stream are in order of First.
// Appending to it is the writer's business, under the owner's lock; slices
// handed out by rows stay valid and unchanged, because rows are only appended.
type run struct {
	streams map[string]*rowList
	lists   []rowList // room for the next new streams
	count   int
	bytes   int64 // approximate memory
}

// memRow is a Row without its stream.
type memRow struct {
	first int64
	pos   uint64
	count uint32
	len   uint32
}

func (m memRow) last() int64 { return m.first + int64(m.count) - 1 }

func (m memRow) row(stream string) Row {
	return Row{Stream: stream, First: m.first, Count: m.count, Pos: m.pos, Len: m.len}
}

// rowList keeps the first row in place: most streams get few rows per run.
type rowList struct {
	stream string
	rows   []memRow
	one    [1]memRow
}

const (
	memRowBytes  = 24
	rowListBytes = 120 // list, map entry and name header
	// listsAtOnce is how many lists are allocated together.
	listsAtOnce = 64
)

// newRun makes an empty run with room for about as many streams.
func newRun(streams int) *run { return &run{streams: make(map[string]*rowList, streams)} }

func (r *run) newList(stream string) *rowList {
	if len(r.lists) == 0 {
		r.lists = make([]rowList, listsAtOnce)
	}
	l := &r.lists[0]
	r.lists = r.lists[1:]
	l.stream = stream
	l.rows = l.one[:0]
	r.streams[stream] = l
	r.bytes += rowListBytes + int64(len(stream))
	return l
}

func (r *run) add(rows []Row) {
	for i := range rows {
		row := &rows[i]
		l := r.streams[row.Stream]
		if l == nil {
			l = r.newList(row.Stream)
		}
		l.rows = append(l.rows, memRow{row.First, row.Pos, row.Count, row.Len})
		r.bytes += memRowBytes
	}
	r.count += len(rows)
}

// rows returns the rows of a stream; nil run and unknown stream give none.
func (r *run) rows(stream string) []memRow {
	if r == nil {
		return nil
	}
	if l := r.streams[stream]; l != nil {
		return l.rows
	}
	return nil
}

// layers are the rows of one stream in memory, older layer first; what lies
// below them (on disk) is older still.
type layers [2][]memRow

// newest returns the row with the highest revision.
func (ls *layers) newest() (memRow, bool) {
	for i := len(ls) - 1; i >= 0; i-- {
		if n := len(ls[i]); n > 0 {
			return ls[i][n-1], true
		}
	}
	return memRow{}, false
}

// covers reports whether some row begins at or before rev, so that nothing
// older than the layers matters for what follows rev.
func (ls *layers) covers(rev int64) bool {
	for _, rows := range ls {
		if len(rows) > 0 {
			return rows[0].first <= rev
		}
	}
	return false
}

// forward appends rows with last >= rev in ascending order, until dst has limit
// elements. after is the revision up to which rows are in dst already.
func (ls *layers) forward(dst []Row, stream string, rev int64, limit int) []Row {
	for _, rows := range ls {
		i := sort.Search(len(rows), func(i int) bool { return rows[i].last() >= rev })
		for ; i < len(rows) && len(dst) < limit; i++ {
			dst = append(dst, rows[i].row(stream))
		}
	}
	return dst
}

// backward appends rows with first <= rev in descending order, until dst has
// limit elements.
func (ls *layers) backward(dst []Row, stream string, rev int64, limit int) []Row {
	for k := len(ls) - 1; k >= 0; k-- {
		rows := ls[k]
		i := sort.Search(len(rows), func(i int) bool { return rows[i].first > rev }) - 1
		for ; i >= 0 && len(dst) < limit; i-- {
			dst = append(dst, rows[i].row(stream))
		}
	}
	return dst
}

// ranger is what At, Next and Prev are made of.
type ranger interface {
	Forward(dst []Row, stream string, rev int64, max int) ([]Row, error)
	Backward(dst []Row, stream string, rev int64, max int) ([]Row, error)
}

func at(x ranger, stream string, rev int64) (Row, bool, error) {
	var buf [1]Row
	rows, err := x.Forward(buf[:0], stream, rev, 1)
	if err != nil || len(rows) == 0 || rows[0].First > rev {
		return Row{}, false, err
	}
	return rows[0], true, nil
}

func next(x ranger, stream string, rev int64) (Row, bool, error) {
	var buf [2]Row
	rows, err := x.Forward(buf[:0], stream, rev, 2)
	for _, r := range rows {
		if r.First > rev {
			return r, true, err
		}
	}
	return Row{}, false, err
}

func prev(x ranger, stream string, rev int64) (Row, bool, error) {
	var buf [2]Row
	rows, err := x.Backward(buf[:0], stream, rev, 2)
	for _, r := range rows {
		if r.Last() < rev {
			return r, true, err
		}
	}
	return Row{}, false, err
}
