package index

import "baton/eventstore/stream"

// AppendRows appends to dst the rows of an accepted record: one for each write
// with events. names keeps the strings.
func AppendRows(dst []Row, r stream.Record, names *stream.Interner) []Row {
	if r.Kind() == stream.KindAdmin {
		return dst
	}
	for i := range r.NumWrites() {
		w := r.Write(i)
		if w.Count > 0 {
			dst = append(dst, Row{names.String(w.Stream), w.First, w.Count, r.Pos(), uint32(r.Size())})
		}
	}
	return dst
}
