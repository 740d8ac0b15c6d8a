package stream

// view is what a request sees of one stream: its own head, or the metadata part
// of the head when the stream is a metadata stream.
type view struct {
	last       int64
	soft       bool // soft-deleted
	tombstoned bool
	known      bool // has events or metadata
}

func viewOf(h Head, meta bool) view {
	if meta {
		return view{last: h.MetaLast, tombstoned: h.Tombstoned, known: h.MetaLast >= 0}
	}
	return view{last: h.Last, soft: h.SoftDeleted(), tombstoned: h.Tombstoned, known: h.Last >= 0 || h.MetaLast >= 0}
}

// meets reports whether the stream is as expected, repeats left aside, and if
// not which state to report to a client that understands all states. written
// says that the command writes to the stream and does not only check it.
//
// It is the table of append expectations and the matrix of consistency checks
// in one; they agree wherever both apply.
func (v view) meets(e Expected, written bool) (ok bool, actual int64) {
	if v.tombstoned {
		ok = !written && (e == NoStream || e == Tombstoned)
		return ok, ActualTombstoned
	}
	switch e {
	case Any:
		return true, v.last
	case NoStream:
		return v.soft || v.last < 0, v.last
	case Exists:
		if v.soft {
			return false, ActualSoftDeleted
		}
		return v.known, v.last
	case SoftDeleted:
		return v.soft, v.last
	case Tombstoned:
		if v.soft {
			return false, ActualSoftDeleted
		}
		return false, v.last
	}
	return int64(e) == v.last, v.last
}
