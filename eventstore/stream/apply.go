package stream

// Applier decides on committed records. It keeps memory from call to call:
// results are valid until the next call ([Outcome.Clone] keeps one). The zero
// value is ready; not safe for concurrent use.
type Applier struct {
	work   workSet
	names  Interner
	writes []WriteOutcome
	docs   []*Metadata
}

// Apply decides on the next record of the log. heads gives the state after the
// record before it.
//
// The record is accepted if and only if every revision stamped by the leader is
// still the next one of its stream, no stream is tombstoned, and no metadata
// changed since: a verdict that depends on nothing but record and heads.
// Then the outcome is Done and changes has the new head of each stream touched
// (never of a metadata stream: its head is part of the head of the stream it
// describes). Otherwise changes is empty and nothing of the record may become
// visible. The error is that of heads, or ErrMalformed.
func (a *Applier) Apply(r Record, heads HeadSource) (Outcome, []HeadChange, error) {
	if r.Kind() == KindAdmin {
		return Outcome{Kind: Done, Record: r.Pos()}, nil, nil
	}
	return a.run(r, heads, false, nil)
}

// Apply decides on one record; see [Applier.Apply].
func Apply(r Record, heads HeadSource) (Outcome, []HeadChange, error) {
	var a Applier
	return a.Apply(r, heads)
}

// run walks the record over working copies of the heads. With stamp it writes
// into the record what each step finds; without, it compares and stops at the
// first difference. Leader and followers thus share every rule: a record
// stamped over some heads is accepted over the same heads.
func (a *Applier) run(r Record, heads HeadSource, stamp bool, docs []*Metadata) (Outcome, []HeadChange, error) {
	a.work.reset()
	kind := r.Kind()
	for i := range r.NumChecks() {
		c := r.checkEntry(i)
		h, meta, err := a.working(r.Check(i).Stream, heads)
		if err != nil {
			return Outcome{}, nil, err
		}
		last, metaLast := h.seen(meta)
		if stamp {
			putI64(c, offCheckLast, last)
			putI64(c, offCheckMetaLast, metaLast)
		} else if i64(c, offCheckLast) != last || i64(c, offCheckMetaLast) != metaLast {
			return a.refused(r, heads)
		}
	}
	if docs == nil && hasMetaWrite(r) {
		var err error
		if docs, err = a.readDocs(r); err != nil {
			return Outcome{}, nil, err
		}
	}
	a.writes = a.writes[:0]
	for i := range r.NumWrites() {
		w := r.writeEntry(i)
		v := r.Write(i)
		h, meta, err := a.working(v.Stream, heads)
		if err != nil {
			return Outcome{}, nil, err
		}
		last, metaLast := h.seen(meta)
		if stamp {
			putI64(w, offWriteNext, last+1)
			putI64(w, offWriteMetaLast, metaLast)
		} else if h.Tombstoned || i64(w, offWriteNext) != last+1 || i64(w, offWriteMetaLast) != metaLast {
			return a.refused(r, heads)
		}
		if !v.System {
			a.writes = append(a.writes, WriteOutcome{
				Stream: a.names.String(v.Stream), Expected: v.Expected,
				First: last + 1, Last: last + int64(v.Count), Actual: last,
			})
		}
		switch {
		case kind == KindTombstone:
			*h = Head{Last: TombstoneRevision, MetaLast: h.MetaLast, Tombstoned: true}
			o := &a.writes[len(a.writes)-1]
			o.First, o.Last = TombstoneRevision, TombstoneRevision
		case v.Count == 0:
		case meta:
			h.MetaLast += int64(v.Count)
			h.Meta = docs[i]
		default:
			h.Last += int64(v.Count)
		}
	}
	if kind == KindDelete {
		a.writes[0] = deleteOutcome(a.names.String(r.Check(0).Stream), r.Check(0).Expected, i64(r.checkEntry(0), offCheckLast))
	}
	out := Outcome{Kind: Done, Writes: a.writes, Record: r.Pos()}
	out.Position, out.HasPosition = r.LastPosition()
	if !out.HasPosition {
		out.Position = 0
	}
	return out, a.work.changes, nil
}

func deleteOutcome(stream string, e Expected, last int64) WriteOutcome {
	return WriteOutcome{Stream: stream, Expected: e, First: last + 1, Last: last, Actual: last}
}

// refused is the outcome of a record that does not fit the heads.
func (a *Applier) refused(r Record, heads HeadSource) (Outcome, []HeadChange, error) {
	out := Outcome{Kind: Conflict, Record: r.Pos()}
	a.writes = a.writes[:0]
	one := func(name []byte, e Expected) error {
		h, err := headOf(a.names.String(name), heads)
		if err != nil {
			return err
		}
		if h.Tombstoned {
			out.Kind = StreamDeleted
		}
		a.writes = append(a.writes, WriteOutcome{
			Stream: a.names.String(name), Expected: e, First: h.Last + 1, Last: h.Last, Actual: h.Last})
		return nil
	}
	if r.Kind() == KindDelete {
		c := r.Check(0)
		if err := one(c.Stream, c.Expected); err != nil {
			return Outcome{}, nil, err
		}
	} else {
		for i := range r.NumWrites() {
			w := r.Write(i)
			if w.System {
				continue
			}
			if err := one(w.Stream, w.Expected); err != nil {
				return Outcome{}, nil, err
			}
		}
	}
	out.Writes = a.writes
	return out, nil, nil
}

// working returns the working head of the stream, or for a metadata stream
// (meta is true then) of the stream it describes.
func (a *Applier) working(name []byte, heads HeadSource) (h *Head, meta bool, err error) {
	if len(name) >= 2 && name[0] == '$' && name[1] == '$' {
		meta, name = true, name[2:]
	}
	h, err = a.work.head(a.names.String(name), heads)
	return h, meta, err
}

// seen gives the two numbers that the leader stamps: the last revision, and the
// last revision of the metadata stream. A metadata stream has no metadata.
func (h *Head) seen(meta bool) (last, metaLast int64) {
	if meta {
		return h.MetaLast, -1
	}
	return h.Last, h.MetaLast
}

// headOf is the head of any stream, metadata streams included.
func headOf(name string, heads HeadSource) (Head, error) {
	h, err := heads.Head(OriginalOf(name))
	if err != nil || !IsMetaStream(name) {
		return h, err
	}
	return h.OfMetaStream(), nil
}

// OfMetaStream turns the head of a stream into that of its metadata stream.
func (h Head) OfMetaStream() Head {
	return Head{Last: h.MetaLast, MetaLast: -1, Tombstoned: h.Tombstoned, Meta: metaOfMeta}
}

func hasMetaWrite(r Record) bool {
	for i := range r.NumWrites() {
		w := r.writeEntry(i)
		name := r.b[u32(w, offWriteName):]
		if u16(w, offWriteNameLen) > 2 && name[0] == '$' && name[1] == '$' {
			return true
		}
	}
	return false
}

// readDocs finds for each write to a metadata stream what its last event sets.
func (a *Applier) readDocs(r Record) ([]*Metadata, error) {
	a.docs = a.docs[:0]
	for range r.NumWrites() {
		a.docs = append(a.docs, nil)
	}
	it := r.Events()
	for it.Next() {
		e := it.Event()
		w := r.Write(e.Write())
		if e.Ordinal()+1 == w.Count && len(w.Stream) > 2 && string(w.Stream[:2]) == metaPrefix {
			a.docs[e.Write()] = ParseMetadata(e.Type(), e.JSON(), e.Data())
		}
	}
	return a.docs, it.Err()
}

// workSet holds the heads of the streams of one record while it is walked.
type workSet struct {
	changes []HeadChange
	at      map[string]int // used beyond linearSearch streams
}

// linearSearch is the number of streams up to which a scan beats a map.
const linearSearch = 12

func (s *workSet) reset() {
	s.changes = s.changes[:0]
	if len(s.at) > 0 {
		clear(s.at)
	}
}

// head returns the working copy; the pointer is valid until the next call.
func (s *workSet) head(stream string, heads HeadSource) (*Head, error) {
	if len(s.at) > 0 {
		if i, ok := s.at[stream]; ok {
			return &s.changes[i].Head, nil
		}
	} else {
		for i := range s.changes {
			if s.changes[i].Stream == stream {
				return &s.changes[i].Head, nil
			}
		}
	}
	h, err := heads.Head(stream)
	if err != nil {
		return nil, err
	}
	s.changes = append(s.changes, HeadChange{stream, h})
	n := len(s.changes)
	if n > linearSearch {
		if s.at == nil {
			s.at = make(map[string]int)
		}
		if n == linearSearch+1 {
			for i := range s.changes {
				s.at[s.changes[i].Stream] = i
			}
		}
		s.at[stream] = n - 1
	}
	return &s.changes[n-1].Head, nil
}
