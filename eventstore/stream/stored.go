package stream

// IDSource reads the ids of stored events. reader.Reader implements it.
type IDSource interface {
	// EventIDs calls f for up to n events of the stream from revision from on,
	// truncated ones included, until f returns false.
	EventIDs(stream string, from int64, n int, f func(revision int64, id [16]byte, position uint64) bool) error
}

// StoredCheck compares the events of a command with the events that stand in
// its streams since long: the way to recognize a repeat that memory has
// forgotten. It never holds for revisions in flight.
type StoredCheck struct {
	cmd    *Command
	writes []storedWrite
	result Outcome // of a repeat, as far as known
	refuse Outcome
}

type storedWrite struct {
	write  int
	stream string
	from   int64
	n      int
	fits   bool // the command may be admitted if this is not a repeat
}

// checkStored prepares a StoredCheck. ok is false when the answer is a conflict
// whatever is stored.
func (s *Sequencer) checkStored(c *Command, js []judged, after uint64) (v Verdict, ok bool) {
	k := &StoredCheck{cmd: c, result: Outcome{Kind: Done, Repeated: true, HasPosition: true}}
	for i := range js {
		j := &js[i]
		w := unchanged(c.names[i], j.expected, j.view.last)
		switch {
		case j.count == 0:
		case j.match == matchAll:
			if j.last.w.inflight != 0 {
				return Verdict{}, false
			}
			w.First, w.Last = j.first.revision(), j.last.revision()
			k.result.Position = max(k.result.Position, j.last.w.pos+uint64(j.last.offset))
		default:
			first := int64(j.expected) + 1
			if first+int64(j.count)-1 > j.view.last {
				return Verdict{}, false // a part at best
			}
			w.First, w.Last = first, first+int64(j.count)-1
			k.writes = append(k.writes, storedWrite{i, c.names[i], first, int(j.count), j.ok})
		}
		k.result.Writes = append(k.result.Writes, w)
	}
	for i := range js {
		js[i].ok = false
	}
	k.refuse = s.refuse(c, js, after).Outcome
	return Verdict{Kind: CheckStored, After: after, Stored: k}, true
}

// Resolve compares. If again is false the outcome is the answer, under the
// conditions of an Answer. If again is true the events are new and the command
// fits: give it to Sequence once more, which will not ask the same question.
// The error is that of src.
func (k *StoredCheck) Resolve(src IDSource) (out Outcome, again bool, err error) {
	result := k.result.Clone()
	all, part, fits := true, false, true
	for _, w := range k.writes {
		n, position := 0, uint64(0)
		want := k.cmd.ids(w.write)
		err := src.EventIDs(w.stream, w.from, w.n, func(rev int64, id [16]byte, pos uint64) bool {
			if rev != w.from+int64(n) || id != want() {
				return false
			}
			n++
			position = pos
			return n < w.n
		})
		if err != nil {
			return Outcome{}, false, err
		}
		all = all && n == w.n
		part = part || n > 0 && n < w.n
		fits = fits && w.fits
		result.Position = max(result.Position, position)
	}
	switch {
	case all:
		return result, false, nil
	case fits && !part:
		k.cmd.fresh = true
		return Outcome{}, true, nil
	}
	return k.refuse, false, nil
}

// ids returns a function that gives the event ids of write i one by one.
func (c *Command) ids(i int) func() [16]byte {
	it := c.rec.Events()
	return func() [16]byte {
		for it.Next() {
			if e := it.Event(); e.Write() == i {
				return e.ID()
			}
		}
		return [16]byte{}
	}
}
