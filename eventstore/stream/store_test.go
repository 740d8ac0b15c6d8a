package stream

import (
	"encoding/binary"
	"testing"
)

// store is a log of one node in memory: heads by Apply, entries of one record.
type store struct {
	t     testing.TB
	heads map[string]Head
	seq   *Sequencer
	app   Applier
	end   uint64
	now   int64
	// events by stream, as applied
	events map[string][]storedEvent
	queue  []queued
}

type storedEvent struct {
	rev  int64
	id   [16]byte
	pos  uint64
	typ  string
	data string
}

type queued struct {
	id  uint64
	rec []byte
}

func newStore(t testing.TB) *store {
	s := &store{t: t, heads: map[string]Head{}, end: 100, events: map[string][]storedEvent{}}
	s.seq = NewSequencer(s, SequencerOptions{RecentIDs: 64})
	return s
}

func (s *store) Head(name string) (Head, error) {
	if h, ok := s.heads[name]; ok {
		return h, nil
	}
	return NoHead, nil
}

func (s *store) EventIDs(name string, from int64, n int, f func(int64, [16]byte, uint64) bool) error {
	for _, e := range s.events[name] {
		if e.rev >= from && n > 0 {
			n--
			if !f(e.rev, e.id, e.pos) {
				return nil
			}
		}
	}
	return nil
}

// submit sequences a command and queues what is admitted.
func (s *store) submit(c *Command) Verdict {
	s.t.Helper()
	s.now++
	v, err := s.seq.Sequence(c, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	if v.Kind == Admit {
		s.queue = append(s.queue, queued{v.ID, append([]byte(nil), v.Record...)})
	}
	return v
}

// applyNext applies the oldest queued record, which must be accepted.
func (s *store) applyNext() Outcome {
	s.t.Helper()
	q := s.queue[0]
	s.queue = s.queue[1:]
	return s.apply(q.id, q.rec)
}

func (s *store) apply(id uint64, b []byte) Outcome {
	s.t.Helper()
	r, err := ParseRecord(b, s.end)
	if err != nil {
		s.t.Fatal(err)
	}
	s.end += uint64(len(b))
	out, changes, err := s.app.Apply(r, s)
	if err != nil {
		s.t.Fatal(err)
	}
	out = out.Clone()
	if out.Kind == Done {
		for _, c := range changes {
			s.heads[c.Stream] = c.Head
		}
		it := r.Events()
		for it.Next() {
			e := it.Event()
			name := string(r.Write(e.Write()).Stream)
			s.events[name] = append(s.events[name], storedEvent{
				r.Revision(e), e.ID(), r.Position(e), string(e.Type()), string(e.Data())})
		}
		if it.Err() != nil {
			s.t.Fatal(it.Err())
		}
	}
	s.seq.Applied(id, r, out)
	return out
}

// do runs a command to its end.
func (s *store) do(c *Command) Outcome {
	s.t.Helper()
	for range 3 {
		v := s.submit(c)
		switch v.Kind {
		case Admit:
			for len(s.queue) > 1 {
				s.applyNext()
			}
			return s.applyNext()
		case Answer:
			for len(s.queue) > 0 {
				s.applyNext()
			}
			return v.Outcome
		case Attach:
			for len(s.queue) > 0 {
				id := s.queue[0].id
				if out := s.applyNext(); id == v.InFlight {
					return v.Attached(out)
				}
			}
			s.t.Fatal("attached to a command that is not in flight")
		case CheckStored:
			out, again, err := v.Stored.Resolve(s)
			if err != nil {
				s.t.Fatal(err)
			}
			if !again {
				return out
			}
		}
	}
	s.t.Fatal("no end")
	return Outcome{}
}

func id(n uint64) (u [16]byte) {
	binary.BigEndian.PutUint64(u[8:], n)
	return u
}

// events makes events with the given ids.
func events(ids ...uint64) []Event {
	var out []Event
	for _, n := range ids {
		out = append(out, Event{ID: id(n), Type: "t", JSON: true, Data: []byte(`{"a":1}`), Metadata: []byte("m")})
	}
	return out
}

func mustAppend(t testing.TB, name string, e Expected, ids ...uint64) *Command {
	t.Helper()
	c, err := NewAppend(Limits{}, Write{Stream: name, Expected: e, Events: events(ids...)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustMeta(t testing.TB, name string, e Expected, n uint64, doc string) *Command {
	t.Helper()
	c, err := NewAppend(Limits{}, Write{Stream: MetaStream(name), Expected: e,
		Events: []Event{{ID: id(n), Type: MetadataType, JSON: true, Data: []byte(doc)}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must(t testing.TB) func(c *Command, err error) *Command {
	return func(c *Command, err error) *Command {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}
