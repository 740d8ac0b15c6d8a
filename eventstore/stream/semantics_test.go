package stream

import (
	"math"
	"strings"
	"testing"
)

// prepared is a stream in one of the states of the expectation table, with its
// last revision.
type prepared struct {
	name  string
	setup func(s *store)
	last  int64
	tomb  bool
}

const base = "s"

func states(t *testing.T) []prepared {
	m := must(t)
	two := func(s *store) { s.do(mustAppend(t, base, Any, 1, 2, 3)) }
	return []prepared{
		{"never existed", func(*store) {}, -1, false},
		{"exists", two, 2, false},
		{"only metadata", func(s *store) { s.do(mustMeta(t, base, Any, 90, `{"x":1}`)) }, -1, false},
		{"soft-deleted", func(s *store) { two(s); s.do(m(NewDelete(base, Any))) }, 2, false},
		{"tombstoned", func(s *store) { two(s); s.do(m(NewTombstone(base, Any))) }, 2, true},
	}
}

// Goal: every cell of the append expectation table, with nothing in flight and
// with the state itself still in flight. Method: fresh store, one append.
func TestAppendExpectation(t *testing.T) {
	const conflict, deleted = -10, -20
	// first revision written, or one of the two constants; by state.
	table := map[Expected][5]int64{
		Any:      {0, 3, 0, 3, deleted},
		NoStream: {0, conflict, 0, 3, deleted},
		Exists:   {conflict, 3, 0, conflict, deleted},
		2:        {conflict, 3, conflict, 3, deleted},
		1:        {conflict, conflict, conflict, conflict, deleted},
		7:        {conflict, conflict, conflict, conflict, deleted},
	}
	for e, row := range table {
		for i, st := range states(t) {
			s := newStore(t)
			st.setup(s)
			out := s.do(mustAppend(t, base, e, 50, 51))
			name := st.name
			switch row[i] {
			case conflict:
				if out.Kind != Conflict || out.Writes[0].Actual != st.last || out.Writes[0].Expected != e {
					t.Errorf("%s, expected %d: %+v, want conflict with %d", name, e, out, st.last)
				}
			case deleted:
				if out.Kind != StreamDeleted {
					t.Errorf("%s, expected %d: %+v, want stream deleted", name, e, out)
				}
			default:
				if out.Kind != Done || out.Writes[0].First != row[i] || out.Writes[0].Last != row[i]+1 || out.Repeated {
					t.Errorf("%s, expected %d: %+v, want first %d", name, e, out, row[i])
				}
				evs := s.events[base]
				if got := evs[len(evs)-1]; !out.HasPosition || got.pos != out.Position || got.rev != row[i]+1 {
					t.Errorf("%s, expected %d: position %d, last event %+v", name, e, out.Position, got)
				}
				if h := s.heads[base]; h.SoftDeleted() {
					t.Errorf("%s, expected %d: still deleted", name, e)
				}
			}
		}
	}
}

func TestAppendOfNoEvents(t *testing.T) {
	for _, st := range states(t) {
		s := newStore(t)
		st.setup(s)
		before := len(s.events[base])
		out := s.do(mustAppend(t, base, Any))
		if st.tomb {
			if out.Kind != StreamDeleted {
				t.Errorf("%s: %+v", st.name, out)
			}
			continue
		}
		if out.Kind != Done || out.Writes[0].Last != st.last || out.HasPosition || len(s.events[base]) != before {
			t.Errorf("%s: %+v", st.name, out)
		}
		if s.heads[base].SoftDeleted() {
			t.Errorf("%s: not revived", st.name)
		}
	}
	s := newStore(t)
	s.do(mustAppend(t, base, Any, 1, 2))
	if out := s.do(mustAppend(t, base, 0)); out.Kind != Conflict {
		t.Errorf("no events, wrong revision: %+v", out)
	}
}

func TestRevivalRewritesMetadata(t *testing.T) {
	s := newStore(t)
	s.do(mustAppend(t, base, Any, 1, 2, 3))
	s.do(mustMeta(t, base, Any, 9, `{"$tb":9223372036854775807,"$maxCount":10,"mine":{"a":[1]}}`))
	if !s.heads[base].SoftDeleted() {
		t.Fatal("$tb at its maximum must delete")
	}
	out := s.do(mustAppend(t, base, Any, 4))
	h := s.heads[base]
	if out.Writes[0].First != 3 || h.Meta.TruncateBefore != 3 || h.Meta.MaxCount != 10 || h.MetaLast != 1 ||
		!strings.Contains(string(h.Meta.Raw), `"mine":{"a":[1]}`) {
		t.Errorf("%+v %+v %s", out, h, h.Meta.Raw)
	}
	if len(out.Writes) != 1 {
		t.Errorf("the leader's own write must not show: %+v", out.Writes)
	}
	// By writing metadata: the client's document with $tb set to the next number.
	s.do(must(t)(NewDelete(base, Any)))
	out = s.do(mustMeta(t, base, Any, 10, `{"$tb":1,"k":2}`))
	h = s.heads[base]
	if out.Kind != Done || out.Writes[0].Last != 3 || h.MetaLast != 4 || h.Meta.TruncateBefore != 4 || string(h.Meta.Raw) != `{"$tb":4,"k":2}` {
		t.Errorf("%+v %+v %s", out, h, h.Meta.Raw)
	}
}

func TestSoftDelete(t *testing.T) {
	const conflict, deleted = -10, -20
	table := map[Expected][5]int64{
		Any:      {conflict, 0, 1, 1, deleted},
		NoStream: {conflict, conflict, 1, 1, deleted},
		Exists:   {conflict, 0, 1, conflict, deleted},
		2:        {conflict, 0, conflict, 1, deleted},
		0:        {conflict, conflict, conflict, conflict, deleted},
	}
	for e, row := range table {
		for i, st := range states(t) {
			s := newStore(t)
			st.setup(s)
			out := s.do(must(t)(NewDelete(base, e)))
			switch row[i] {
			case conflict:
				if out.Kind != Conflict || out.Writes[0].Actual != st.last || out.Writes[0].Stream != base {
					t.Errorf("%s, expected %d: %+v", st.name, e, out)
				}
			case deleted:
				if out.Kind != StreamDeleted {
					t.Errorf("%s, expected %d: %+v", st.name, e, out)
				}
			default:
				ms := s.events["$$"+base]
				last := ms[len(ms)-1]
				if out.Kind != Done || out.Position != last.pos || last.rev != row[i] || last.data != softDeleteDocument {
					t.Errorf("%s, expected %d: %+v, stored %+v", st.name, e, out, last)
				}
				if h := s.heads[base]; !h.SoftDeleted() || h.Last != st.last {
					t.Errorf("%s, expected %d: head %+v", st.name, e, h)
				}
			}
		}
	}
}

func TestTombstone(t *testing.T) {
	for e, row := range map[Expected][5]OutcomeKind{
		Any:      {Done, Done, Done, Done, StreamDeleted},
		NoStream: {Done, Conflict, Done, Done, StreamDeleted},
		Exists:   {Conflict, Done, Done, Conflict, StreamDeleted},
		2:        {Conflict, Done, Conflict, Done, StreamDeleted},
		1:        {Conflict, Conflict, Conflict, Conflict, StreamDeleted},
	} {
		for i, st := range states(t) {
			s := newStore(t)
			st.setup(s)
			out := s.do(must(t)(NewTombstone(base, e)))
			if out.Kind != row[i] {
				t.Errorf("%s, expected %d: %+v, want %v", st.name, e, out, row[i])
			}
			if out.Kind != Done {
				continue
			}
			evs := s.events[base]
			last := evs[len(evs)-1]
			if last.rev != math.MaxInt64 || last.typ != TombstoneType || last.pos != out.Position || last.id == [16]byte{} {
				t.Errorf("%s: stored %+v, outcome %+v", st.name, last, out)
			}
			for what, c := range map[string]*Command{
				"append": mustAppend(t, base, Any, 77), "metadata": mustMeta(t, base, Any, 78, "{}"),
				"delete": must(t)(NewDelete(base, Any)), "tombstone": must(t)(NewTombstone(base, Any)),
				"no events": mustAppend(t, base, Any),
			} {
				if got := s.do(c); got.Kind != StreamDeleted {
					t.Errorf("%s after a tombstone: %+v", what, got)
				}
			}
		}
	}
}

// Goal: the table of retries. Each case is asked with the original applied and
// with it in flight, and again after memory has forgotten it.
func TestRepeat(t *testing.T) {
	for _, mode := range []string{"applied", "in flight", "forgotten"} {
		first := func() *store {
			s := newStore(t)
			s.do(mustAppend(t, base, NoStream, 1, 2))
			v := s.submit(mustAppend(t, base, 1, 3, 4, 5))
			if mode != "in flight" {
				s.applyNext()
			}
			if mode == "forgotten" {
				for n := range uint64(100) {
					s.do(mustAppend(t, "other", Any, 1000+n))
				}
			}
			if v.Kind != Admit {
				t.Fatalf("%+v", v)
			}
			return s
		}
		check := func(what string, out Outcome, kind OutcomeKind, repeated bool, firstRev, lastRev int64) {
			t.Helper()
			if out.Kind != kind || out.Repeated != repeated {
				t.Errorf("%s, %s: %+v", mode, what, out)
				return
			}
			if w := out.Writes[0]; kind == Done && (w.First != firstRev || w.Last != lastRev) {
				t.Errorf("%s, %s: %+v, want %d-%d", mode, what, w, firstRev, lastRev)
			}
			if kind == Conflict && out.Writes[0].Actual != 4 {
				t.Errorf("%s, %s: %+v", mode, what, out.Writes[0])
			}
		}
		known := mode != "forgotten"
		s := first()
		out := s.do(mustAppend(t, base, 1, 3, 4, 5))
		check("exact", out, Done, true, 2, 4)
		if evs := s.events[base]; out.Position != evs[4].pos {
			t.Errorf("%s: position %d, original %d", mode, out.Position, evs[4].pos)
		}
		check("no stream", first().do(mustAppend(t, base, NoStream, 1, 2)), Done, true, 0, 1)
		check("no stream, over two appends", first().do(mustAppend(t, base, NoStream, 1, 2, 3, 4, 5)), Done, true, 0, 4)
		check("no stream, other events", first().do(mustAppend(t, base, NoStream, 7)), Conflict, false, 0, 0)
		check("exact, first known, rest new", first().do(mustAppend(t, base, 1, 3, 7)), Conflict, false, 0, 0)
		check("exact, beyond the end", first().do(mustAppend(t, base, 1, 3, 4, 5, 6)), Conflict, false, 0, 0)
		check("exact, first new", first().do(mustAppend(t, base, 1, 7, 4)), Conflict, false, 0, 0)
		if known {
			check("any", first().do(mustAppend(t, base, Any, 3, 4, 5)), Done, true, 2, 4)
			check("exists", first().do(mustAppend(t, base, Exists, 3, 4, 5)), Done, true, 2, 4)
			check("any, a part", first().do(mustAppend(t, base, Any, 2, 3)), Done, true, 1, 2)
			check("any, first known, rest new", first().do(mustAppend(t, base, Any, 5, 6)), Conflict, false, 0, 0)
			check("any, first new, later known", first().do(mustAppend(t, base, Any, 6, 5)), Done, false, 5, 6)
		} else {
			check("any, forgotten", first().do(mustAppend(t, base, Any, 3)), Done, false, 5, 5)
		}
		check("the same ids in another stream", first().do(mustAppend(t, "elsewhere", Any, 3, 4, 5)), Done, false, 0, 2)
		// Deleted meanwhile: a repeat is still one, new events revive.
		s = first()
		s.do(must(t)(NewDelete(base, Any)))
		check("no stream, deleted since", s.do(mustAppend(t, base, NoStream, 1, 2)), Done, true, 0, 1)
		check("no stream, deleted since, new events", s.do(mustAppend(t, base, NoStream, 8, 9)), Done, false, 5, 6)
	}
}

func TestMultiMatrix(t *testing.T) {
	type cell struct {
		checked, written int64 // actual state reported; 99 = fine
	}
	const fine, none = 99, 98
	table := map[Expected][4]cell{
		2:           {{fine, fine}, {-1, -1}, {fine, fine}, {-6, -6}},
		1:           {{2, 2}, {-1, -1}, {2, 2}, {-6, -6}},
		NoStream:    {{2, 2}, {fine, fine}, {fine, fine}, {fine, -6}},
		Any:         {{none, fine}, {none, fine}, {none, fine}, {none, -6}},
		Exists:      {{fine, fine}, {-1, -1}, {-5, -5}, {-6, -6}},
		SoftDeleted: {{2, none}, {-1, none}, {fine, none}, {-6, none}},
		Tombstoned:  {{2, none}, {-1, none}, {-5, none}, {fine, none}},
	}
	all := states(t)
	sts := []prepared{all[1], all[0], all[3], all[4]}
	for e, row := range table {
		for i, st := range sts {
			for _, mode := range []string{"checked", "written", "written with check"} {
				s := newStore(t)
				st.setup(s)
				ws := []Write{{Stream: "w", Expected: Any, Events: events(60)}}
				var cs []Check
				want := row[i].written
				switch mode {
				case "checked":
					want = row[i].checked
					cs = []Check{{base, e}}
				case "written":
					ws = append(ws, Write{Stream: base, Expected: e, Events: events(61)})
				case "written with check":
					cs = []Check{{base, e}}
					ws = append(ws, Write{Stream: base, Expected: Any, Events: events(61)})
					if want == none {
						if want = row[i].checked; st.tomb {
							want = -6
						}
					}
				}
				if want == none || e == Any && cs != nil {
					continue
				}
				out := s.do(must(t)(NewMultiAppend(Limits{}, ws, cs)))
				if want == fine {
					if out.Kind != Done || len(s.events["w"]) != 1 {
						t.Errorf("%s, %s, expected %d: %+v", st.name, mode, e, out)
					}
					continue
				}
				index := 1
				if cs != nil {
					index = 0
				}
				kind := Conflict
				if want == -6 {
					kind = StreamDeleted
				}
				if len(out.Violations) != 1 || out.Kind != kind || out.Violations[0] != (Violation{index, base, e, want}) &&
					!(want == -6 && mode == "written with check") || len(s.events["w"]) != 0 {
					t.Errorf("%s, %s, expected %d: %+v, want %d at %d", st.name, mode, e, out, want, index)
				}
			}
		}
	}
}

func TestMultiReportsAllViolations(t *testing.T) {
	s := newStore(t)
	s.do(mustAppend(t, "a", Any, 1))
	s.do(mustAppend(t, "b", Any, 2))
	out := s.do(must(t)(NewMultiAppend(Limits{}, []Write{
		{Stream: "a", Expected: Any, Events: events(10)},
		{Stream: "x", Expected: Exists, Events: events(11)},
		{Stream: "b", Expected: 5, Events: events(12)},
	}, []Check{{"a", 3}, {"c", Exists}})))
	want := []Violation{{0, "a", 3, 0}, {1, "c", Exists, -1}, {2, "x", Exists, -1}, {3, "b", 5, 0}}
	if out.Kind != Conflict || len(out.Violations) != len(want) {
		t.Fatalf("%+v", out)
	}
	for i := range want {
		if out.Violations[i] != want[i] {
			t.Errorf("violation %d: %+v, want %+v", i, out.Violations[i], want[i])
		}
	}
}

func TestMultiRepeat(t *testing.T) {
	ws := func() []Write {
		return []Write{
			{Stream: "a", Expected: NoStream, Events: events(1)},
			{Stream: "b", Expected: Any, Events: events(2)},
			{Stream: "a", Expected: Any, Events: events(3)},
		}
	}
	s := newStore(t)
	out := s.do(must(t)(NewMultiAppend(Limits{}, ws(), []Check{{"gate", NoStream}})))
	if out.Kind != Done || len(out.Writes) != 2 || out.Writes[0].Last != 1 || out.Writes[1].Last != 0 {
		t.Fatalf("%+v", out)
	}
	if a, b := s.events["a"], s.events["b"]; !(a[0].pos < b[0].pos && b[0].pos < a[1].pos && out.Position == a[1].pos) {
		t.Errorf("order in the log: a %+v b %+v", a, b)
	}
	s.do(mustAppend(t, "gate", Any, 7)) // the check would fail now
	again := s.do(must(t)(NewMultiAppend(Limits{}, ws(), []Check{{"gate", NoStream}})))
	if again.Kind != Done || !again.Repeated || again.Position != out.Position || again.Writes[0].Last != 1 {
		t.Errorf("repeat: %+v", again)
	}
	mixed := s.do(must(t)(NewMultiAppend(Limits{}, []Write{
		{Stream: "a", Expected: Any, Events: events(1, 3)}, {Stream: "new", Expected: Any, Events: events(9)}}, nil)))
	if mixed.Kind != Conflict || len(mixed.Violations) != 1 || mixed.Violations[0] != (Violation{0, "a", Any, 1}) {
		t.Errorf("mixture: %+v", mixed)
	}
}

// Goal: what was in flight when leadership was lost is no longer known: its
// repeat is a new write, by id as by revision.
func TestResetForgetsWhatWasInFlight(t *testing.T) {
	for _, e := range []Expected{Any, NoStream, 0} {
		s := newStore(t)
		if e == 0 {
			s.do(mustAppend(t, base, Any, 9))
		}
		s.submit(mustAppend(t, base, e, 1, 2))
		if v := s.submit(mustAppend(t, base, e, 1, 2)); v.Kind != Attach {
			t.Fatalf("repeat of what is in flight: %+v", v)
		}
		s.seq.Reset()
		s.queue = nil
		if out := s.do(mustAppend(t, base, e, 1, 2)); out.Kind != Done || out.Repeated {
			t.Errorf("expected %d: %+v", e, out)
		}
		if s.seq.InFlight() != 0 {
			t.Errorf("%d in flight", s.seq.InFlight())
		}
	}
}

// Goal: a record that apply refuses although it was admitted does no more harm
// than that: what was in flight behind it is judged by apply, and the sequencer
// works on from the applied state.
func TestRefusalOfAnAdmittedRecord(t *testing.T) {
	s := newStore(t)
	s.submit(mustAppend(t, base, Any, 1))
	s.submit(mustAppend(t, base, Any, 2))
	s.submit(mustAppend(t, "other", Any, 3))
	s.heads[base] = Head{Last: 5, MetaLast: -1} // what nobody could foresee
	for i, want := range []OutcomeKind{Conflict, Conflict, Done} {
		if out := s.applyNext(); out.Kind != want {
			t.Errorf("record %d: %+v", i, out)
		}
	}
	if out := s.do(mustAppend(t, base, 5, 1)); out.Kind != Done || out.Writes[0].Last != 6 {
		t.Errorf("afterwards: %+v", out)
	}
	if out := s.do(mustAppend(t, "other", Any, 3)); !out.Repeated {
		t.Errorf("repeat of what was applied after the refusal: %+v", out)
	}
}
