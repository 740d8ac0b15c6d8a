package stream

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// modelStream is what the naive model knows of a stream: everything.
type modelStream struct {
	events     [][16]byte // by revision
	meta       []string   // documents by revision
	tombstoned bool
}

func (m *modelStream) soft() bool {
	if m.tombstoned || len(m.meta) == 0 {
		return false
	}
	return ParseMetadata([]byte(MetadataType), true, []byte(m.meta[len(m.meta)-1])).SoftDeleted()
}

// model judges commands one after the other, as if nothing were ever in flight.
type model struct {
	streams map[string]*modelStream
}

func (m *model) get(name string) *modelStream {
	if m.streams[name] == nil {
		m.streams[name] = &modelStream{}
	}
	return m.streams[name]
}

// fits is the expectation table of the store's specification.
func (m *model) fits(name string, e Expected) bool {
	s := m.get(OriginalOf(name))
	if IsMetaStream(name) {
		last := Expected(len(s.meta) - 1)
		return e == Any || e == NoStream && last < 0 || e == Exists && last >= 0 || e >= 0 && e == last
	}
	last := Expected(len(s.events) - 1)
	switch e {
	case Any:
		return true
	case NoStream:
		return last < 0 || s.soft()
	case Exists:
		return (last >= 0 || len(s.meta) > 0) && !s.soft()
	}
	return e == last
}

// all and part: how many of the ids stand in the stream from revision from on.
func (s *modelStream) stored(from int, ids [][16]byte) (all, part bool) {
	n := 0
	for n < len(ids) && from+n < len(s.events) && s.events[from+n] == ids[n] {
		n++
	}
	return n == len(ids) && n > 0, n > 0
}

// anywhere: the ids are found among all events of the stream.
func (s *modelStream) anywhere(ids [][16]byte) (all, part bool, last int) {
	n := 0
	for _, id := range ids {
		i := slices.Index(s.events, id)
		if i < 0 {
			break
		}
		last = i
		n++
	}
	return n == len(ids) && n > 0, n > 0, last
}

type verdict struct {
	kind     OutcomeKind
	repeated bool
	last     int64
}

func (m *model) append(name string, e Expected, ids [][16]byte) verdict {
	s := m.get(name)
	last := int64(len(s.events) - 1)
	switch {
	case s.tombstoned:
		return verdict{StreamDeleted, false, 0}
	case e == Any || e == Exists:
		if all, part, at := s.anywhere(ids); all {
			return verdict{Done, true, int64(at)}
		} else if part {
			return verdict{Conflict, false, last}
		}
	case int64(e) < last:
		if all, part := s.stored(int(e)+1, ids); all {
			return verdict{Done, true, int64(e) + int64(len(ids))}
		} else if part {
			return verdict{Conflict, false, last}
		}
	}
	if !m.fits(name, e) {
		return verdict{Conflict, false, last}
	}
	if s.soft() {
		s.meta = append(s.meta, string(revivedDocument([]byte(s.meta[len(s.meta)-1]), last+1)))
	}
	s.events = append(s.events, ids...)
	return verdict{Done, false, last + int64(len(ids))}
}

// Goal: whatever commands come, and however many are in flight when they are
// judged: the verdict is the model's, which knows no flight (so there are no
// false conflicts); what the sequencer admits, apply accepts with the revisions
// the sequencer foresaw; after Reset everything in flight is forgotten.
// Method: random commands over a few streams and few ids, applied with random
// delay; the model applies at once, or on Reset is set back to what was applied.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStore(t)
		s.seq = NewSequencer(s, SequencerOptions{RecentIDs: 256}) // more than a run makes
		m := &model{streams: map[string]*modelStream{}}
		type pending struct {
			id   uint64
			want verdict
			what string
		}
		var flights []pending
		nextID := uint64(1)
		applyOne := func() {
			p := flights[0]
			flights = flights[1:]
			out := s.applyNext()
			if out.Kind != p.want.kind || out.Writes[0].Last != p.want.last {
				rt.Fatalf("%s applied: %+v, want %+v", p.what, out, p.want)
			}
		}
		reset := func() {
			s.seq.Reset()
			s.queue, flights = nil, nil
			m.streams = map[string]*modelStream{}
			for name, evs := range s.events {
				ms := m.get(OriginalOf(name))
				for _, e := range evs {
					switch {
					case IsMetaStream(name):
						ms.meta = append(ms.meta, e.data)
					case e.typ == TombstoneType:
						ms.tombstoned = true
					default:
						ms.events = append(ms.events, e.id)
					}
				}
			}
		}
		names := []string{"a", "b", "c"}
		expectations := []Expected{Any, NoStream, Exists, 0, 1, 2, 3, 5, 8}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "stream")
			e := rapid.SampledFrom(expectations).Draw(rt, "expected")
			ms := m.get(name)
			if rapid.Bool().Draw(rt, "at the head") {
				e = Expected(len(ms.events) - 1)
			}
			var c *Command
			var want verdict
			var what string
			switch k := rapid.IntRange(0, 19).Draw(rt, "what"); {
			case k < 12: // append, some ids old
				var ids [][16]byte
				for range rapid.IntRange(0, 3).Draw(rt, "events") {
					if len(ms.events) > 0 && rapid.IntRange(0, 2).Draw(rt, "old") == 0 {
						at := rapid.IntRange(0, len(ms.events)-1).Draw(rt, "which")
						ids = append(ids, ms.events[at])
						if e >= 0 || e == NoStream {
							e = Expected(at - len(ids))
							if e < 0 {
								e = NoStream
							}
						}
					} else {
						ids = append(ids, id(nextID))
						nextID++
					}
				}
				// An id twice in a stream makes "where it stands" ambiguous.
				if hasTwice(ids) || e < 0 && e != NoStream && e != Any && e != Exists {
					continue
				}
				if newTwice(ms, ids, m, name, e) {
					continue
				}
				c = must(t)(NewAppend(Limits{}, Write{Stream: name, Expected: e, Events: withIDs(ids)}))
				what = fmt.Sprintf("append %s expected %d ids %x", name, e, ids)
				want = m.append(name, e, ids)
			case k < 14: // metadata
				doc := rapid.SampledFrom([]string{`{"$tb":9223372036854775807}`, `{"x":1}`, `{"$maxCount":3}`}).Draw(rt, "doc")
				e = rapid.SampledFrom([]Expected{Any, Exists, NoStream, 0, 1}).Draw(rt, "expected")
				c = mustMeta(t, name, e, nextID, doc)
				nextID++
				what = fmt.Sprintf("metadata %s expected %d %s", name, e, doc)
				last := int64(len(ms.meta) - 1)
				switch {
				case ms.tombstoned:
					want = verdict{StreamDeleted, false, 0}
				case !m.fits("$$"+name, e):
					want = verdict{Conflict, false, last}
				default:
					want = verdict{Done, false, last + 1}
					revive := ms.soft()
					ms.meta = append(ms.meta, doc)
					if revive {
						ms.meta = append(ms.meta, string(revivedDocument([]byte(doc), int64(len(ms.events)))))
					}
				}
			case k < 16: // soft delete
				c = must(t)(NewDelete(name, e))
				what = fmt.Sprintf("delete %s expected %d", name, e)
				last := int64(len(ms.events) - 1)
				switch {
				case ms.tombstoned:
					want = verdict{StreamDeleted, false, 0}
				case len(ms.events)+len(ms.meta) == 0 || !m.fits(name, e):
					want = verdict{Conflict, false, last}
				default:
					want = verdict{Done, false, last}
					ms.meta = append(ms.meta, softDeleteDocument)
				}
			case k == 16: // tombstone
				c = must(t)(NewTombstone(name, e))
				what = fmt.Sprintf("tombstone %s expected %d", name, e)
				switch {
				case ms.tombstoned:
					want = verdict{StreamDeleted, false, 0}
				case !m.fits(name, e):
					want = verdict{Conflict, false, int64(len(ms.events) - 1)}
				default:
					want = verdict{Done, false, TombstoneRevision}
					ms.tombstoned = true
				}
			case k == 17:
				reset()
				continue
			default:
				for len(flights) > 0 && rapid.Bool().Draw(rt, "apply") {
					applyOne()
				}
				continue
			}
			var got Outcome
			for asked := 0; ; asked++ {
				v := s.submit(c)
				if v.Kind == CheckStored {
					out, again, err := v.Stored.Resolve(s)
					if err != nil || asked > 0 {
						rt.Fatalf("%s: asked again, %v", what, err)
					}
					if again {
						continue
					}
					got = out
				}
				switch v.Kind {
				case Admit:
					if want.kind != Done || want.repeated {
						rt.Fatalf("%s: admitted, want %+v", what, want)
					}
					flights = append(flights, pending{v.ID, want, what})
				case Answer:
					got = v.Outcome
					if v.After != 0 && (len(flights) == 0 || v.After < flights[0].id || v.After > flights[len(flights)-1].id) {
						rt.Fatalf("%s: to be answered after %d, which is not in flight", what, v.After)
					}
				case Attach:
					for v.InFlight >= flights[0].id {
						last := v.InFlight == flights[0].id
						q := s.queue[0]
						p := flights[0]
						s.queue, flights = s.queue[1:], flights[1:]
						out := s.apply(q.id, q.rec)
						if out.Kind != p.want.kind {
							rt.Fatalf("%s applied: %+v", p.what, out)
						}
						if last {
							got = v.Attached(out)
							break
						}
					}
				}
				if v.Kind != Admit {
					check(rt, what, got, want, s, c)
				}
				break
			}
		}
		for len(flights) > 0 {
			applyOne()
		}
		for _, name := range names {
			ms, h := m.get(name), s.heads[name]
			if _, ok := s.heads[name]; !ok {
				h = NoHead
			}
			wantLast := int64(len(ms.events) - 1)
			if ms.tombstoned {
				wantLast = TombstoneRevision
			}
			if h.Last != wantLast || h.Tombstoned != ms.tombstoned || h.MetaLast != int64(len(ms.meta)-1) || h.SoftDeleted() != ms.soft() {
				rt.Fatalf("head of %s: %+v, model %+v", name, h, ms)
			}
			if len(ms.meta) > 0 && !ms.tombstoned && string(h.Meta.Raw) != ms.meta[len(ms.meta)-1] {
				rt.Fatalf("metadata of %s: %s, model %s", name, h.Meta.Raw, ms.meta[len(ms.meta)-1])
			}
		}
		if s.seq.InFlight() != 0 || len(s.seq.overlay) != 0 {
			rt.Fatalf("%d in flight, overlay %v", s.seq.InFlight(), s.seq.overlay)
		}
	})
}

func check(rt *rapid.T, what string, got Outcome, want verdict, s *store, c *Command) {
	rt.Helper()
	if got.Kind != want.kind || got.Repeated != want.repeated {
		rt.Fatalf("%s: %+v, want %+v", what, got, want)
	}
	w := got.Writes[0]
	switch {
	case want.kind == Conflict && w.Actual != want.last, want.repeated && w.Last != want.last:
		rt.Fatalf("%s: %+v, want %+v", what, got, want)
	case want.repeated:
		// The position is that of the last event of the original.
		ids := c.ids(0)
		var last [16]byte
		for range c.rec.NumEvents() {
			last = ids()
		}
		for _, e := range s.events[w.Stream] {
			if e.id == last && e.pos != got.Position {
				rt.Fatalf("%s: position %d, original at %d", what, got.Position, e.pos)
			}
		}
	}
}

func withIDs(ids [][16]byte) []Event {
	var out []Event
	for _, id := range ids {
		out = append(out, Event{ID: id, Type: "t", Data: []byte("d")})
	}
	return out
}

func hasTwice(ids [][16]byte) bool {
	for i := range ids {
		if slices.Contains(ids[:i], ids[i]) {
			return true
		}
	}
	return false
}

// newTwice: the append would be written although an id of it stands in the
// stream already (first new, later known; or an exact expectation at the head).
func newTwice(ms *modelStream, ids [][16]byte, m *model, name string, e Expected) bool {
	old := 0
	for _, id := range ids {
		if slices.Contains(ms.events, id) {
			old++
		}
	}
	if old == 0 {
		return false
	}
	copyOf := &model{streams: map[string]*modelStream{name: {slices.Clone(ms.events), slices.Clone(ms.meta), ms.tombstoned}}}
	v := copyOf.append(name, e, ids)
	return v.kind == Done && !v.repeated
}
