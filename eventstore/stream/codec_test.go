package stream

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// decodeBody reads a body as a protobuf client would.
func decodeBody(t *testing.T, b []byte) (meta map[string]string, custom, data []byte) {
	t.Helper()
	meta = map[string]string{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || typ != protowire.BytesType {
			t.Fatalf("tag %d %d", num, typ)
		}
		v, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			t.Fatal("bytes")
		}
		b = b[n+m:]
		switch num {
		case 6:
			var kv [3]string
			for len(v) > 0 {
				k, _, n := protowire.ConsumeTag(v)
				s, m := protowire.ConsumeString(v[n:])
				if n < 0 || m < 0 {
					t.Fatal("entry")
				}
				kv[k], v = s, v[n+m:]
			}
			meta[kv[1]] = kv[2]
		case 7:
			custom = v
		case 8:
			data = v
		default:
			t.Fatalf("field %d", num)
		}
	}
	return meta, custom, data
}

func TestBodyIsTheWireForm(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 70_000)
	for _, e := range []Event{
		{ID: id(1), Type: "t", JSON: true, Data: []byte("{}"), Metadata: []byte("m")},
		{ID: id(2), Type: strings.Repeat("long", 100), Data: big},
		{ID: id(3), Type: "ünï", Metadata: big},
		{ID: id(4), Type: strings.Repeat("z", 20_000), JSON: true},
	} {
		c := must(t)(NewAppend(Limits{}, Write{Stream: "s", Expected: Any, Events: []Event{e}}))
		parsed, err := ParseCommand(bytes.Clone(c.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		it := parsed.rec.Events()
		if !it.Next() {
			t.Fatal(it.Err())
		}
		v := it.Event()
		meta, custom, data := decodeBody(t, v.Body())
		ct := "application/octet-stream"
		if e.JSON {
			ct = "application/json"
		}
		if meta["type"] != e.Type || meta["content-type"] != ct || !bytes.Equal(custom, e.Metadata) || !bytes.Equal(data, e.Data) {
			t.Errorf("%.20s: %v", e.Type, meta)
		}
		if string(v.Type()) != e.Type || v.JSON() != e.JSON || !bytes.Equal(v.Data(), e.Data) ||
			!bytes.Equal(v.Metadata(), e.Metadata) || v.ID() != e.ID {
			t.Errorf("%.20s: accessors differ", e.Type)
		}
	}
}

func TestBuildersRefuse(t *testing.T) {
	ev := events(1)
	for what, err := range map[string]error{
		"empty":         second(NewAppend(Limits{}, Write{Stream: "", Expected: Any, Events: ev})),
		"$$":            second(NewAppend(Limits{}, Write{Stream: "$$", Expected: Any, Events: ev})),
		"$all":          second(NewAppend(Limits{}, Write{Stream: "$all", Expected: Any, Events: ev})),
		"meta of meta":  second(NewAppend(Limits{}, Write{Stream: "$$$$x", Expected: Any, Events: ev})),
		"not UTF-8":     second(NewAppend(Limits{}, Write{Stream: "a\xff", Expected: Any, Events: ev})),
		"long":          second(NewAppend(Limits{}, Write{Stream: strings.Repeat("a", MaxNameBytes+1), Expected: Any})),
		"expected -3":   second(NewAppend(Limits{}, Write{Stream: "s", Expected: -3, Events: ev})),
		"type":          second(NewAppend(Limits{}, Write{Stream: "s", Expected: Any, Events: []Event{{}}})),
		"type UTF-8":    second(NewAppend(Limits{}, Write{Stream: "s", Expected: Any, Events: []Event{{Type: "\xff"}}})),
		"delete $all":   second(NewDelete("$all", Any)),
		"delete $$s":    second(NewDelete("$$s", Any)),
		"tombstone $$s": second(NewTombstone("$$s", Any)),
		"no writes":     second(NewMultiAppend(Limits{}, nil, nil)),
		"check any":     second(NewMultiAppend(Limits{}, []Write{{Stream: "s", Expected: Any, Events: ev}}, []Check{{"s", Any}})),
		"two checks":    second(NewMultiAppend(Limits{}, []Write{{Stream: "s", Expected: Any, Events: ev}}, []Check{{"s", 1}, {"s", 2}})),
		"two expected":  second(NewMultiAppend(Limits{}, []Write{{Stream: "s", Expected: 1, Events: ev}, {Stream: "s", Expected: 2, Events: ev}}, nil)),
	} {
		var re *RequestError
		if !errors.As(err, &re) || re.Reason == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	var le *LimitError
	_, err := NewAppend(Limits{MaxEventBytes: 10}, Write{Stream: "s", Expected: Any, Events: []Event{{ID: id(7), Type: "t", Data: make([]byte, 10)}}})
	if !errors.As(err, &le) || le.Whole || le.Size != 11 || le.Max != 10 || le.EventID != id(7) {
		t.Errorf("%v", err)
	}
	_, err = NewAppend(Limits{MaxAppendBytes: 20}, Write{Stream: "s", Expected: Any, Events: events(1, 2, 3)})
	if !errors.As(err, &le) || !le.Whole || le.Max != 20 {
		t.Errorf("%v", err)
	}
	if _, err := NewAppend(Limits{MaxEventBytes: 11}, Write{Stream: "$$$all", Expected: Any, Events: []Event{{Type: "t", Data: make([]byte, 10)}}}); err != nil {
		t.Errorf("metadata of $all, at the limit: %v", err)
	}
}

func second(_ *Command, err error) error { return err }

func TestAdminPassesThrough(t *testing.T) {
	s := newStore(t)
	for _, payload := range [][]byte{nil, []byte("members")} {
		v := s.submit(must(t)(NewAdmin(9, payload)))
		r, err := ParseRecord(s.queue[0].rec, 0)
		if err != nil {
			t.Fatal(err)
		}
		k, p := r.Admin()
		if out := s.applyNext(); v.Kind != Admit || out.Kind != Done || k != 9 || !bytes.Equal(p, payload) {
			t.Errorf("%+v %d %q", out, k, p)
		}
	}
}

// Goal: a flipped bit anywhere in a record is noticed.
func TestDamageIsNoticed(t *testing.T) {
	c := mustAppend(t, "s", 3, 1, 2)
	for i := range c.Bytes() {
		b := bytes.Clone(c.Bytes())
		b[i] ^= 1 << (i % 8)
		if _, err := ParseRecord(b, 0); !errors.Is(err, ErrMalformed) {
			t.Errorf("bit flipped in byte %d: %v", i, err)
		}
	}
}

// Goal: apply refuses what does not fit and changes nothing.
func TestApplyIsTheJudge(t *testing.T) {
	s := newStore(t)
	s.do(mustAppend(t, "s", Any, 1))
	v := s.submit(mustAppend(t, "s", 0, 2))
	stale := bytes.Clone(v.Record)
	s.seq.Reset()
	s.queue = nil
	s.do(mustAppend(t, "s", Any, 3))
	if out := s.apply(0, stale); out.Kind != Conflict || out.Writes[0].Actual != 1 {
		t.Errorf("overtaken: %+v", out)
	}
	// A soft delete in between does not move the revision; it must count too.
	v = s.submit(mustAppend(t, "s", 1, 4))
	stale = bytes.Clone(v.Record)
	s.seq.Reset()
	s.queue = nil
	s.do(must(t)(NewDelete("s", Any)))
	if out := s.apply(0, stale); out.Kind != Conflict {
		t.Errorf("deleted since: %+v", out)
	}
	// A failed check.
	m := must(t)(NewMultiAppend(Limits{}, []Write{{Stream: "w", Expected: Any, Events: events(9)}}, []Check{{"c", NoStream}}))
	v = s.submit(m)
	stale = bytes.Clone(v.Record)
	s.seq.Reset()
	s.queue = nil
	s.do(mustAppend(t, "c", Any, 10))
	if out := s.apply(0, stale); out.Kind != Conflict || len(s.events["w"]) != 0 {
		t.Errorf("check failed since: %+v", out)
	}
	v = s.submit(mustAppend(t, "c", Any, 11))
	stale = bytes.Clone(v.Record)
	s.seq.Reset()
	s.queue = nil
	s.do(must(t)(NewTombstone("c", Any)))
	if out := s.apply(0, stale); out.Kind != StreamDeleted {
		t.Errorf("tombstoned since: %+v", out)
	}
}

func TestAppliedOutOfOrderPanics(t *testing.T) {
	s := newStore(t)
	s.submit(mustAppend(t, "s", Any, 1))
	s.submit(mustAppend(t, "s", Any, 2))
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	r, _ := ParseRecord(s.queue[1].rec, 0)
	s.seq.Applied(s.queue[1].id, r, Outcome{Kind: Done})
}

// Goal: the window of ids is exact within its bound and forgets beyond it.
// Method: compare with a list of the last ids.
func TestRecentWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	r := newRecent(64)
	type known struct {
		stream string
		id     [16]byte
		rev    int64
	}
	var list []known
	next := map[string]int64{}
	for step := range 5000 {
		name := string(rune('a' + rng.IntN(5)))
		n := 1 + rng.IntN(4)
		w := r.begin(name, next[name], uint32(n), uint64(step), 0)
		for i := range n {
			v := id(rng.Uint64())
			r.put(w, uint32(i), v, uint32(i))
			list = append(list, known{name, v, next[name] + int64(i)})
		}
		next[name] += int64(n)
		if rng.IntN(10) == 0 { // taken back, as by Reset
			r.forget(w)
			list = list[:len(list)-n]
			next[name] -= int64(n)
			// Places stay used: what the window remembers shrinks by them.
			r.tail = max(r.tail, r.head-min(r.head, 64))
			continue
		}
		for back, k := range list[max(0, len(list)-30):] {
			_ = back
			f, ok := r.find(k.stream, hashOf(k.stream), k.id)
			if !ok && len(list) > 0 {
				// Only what was pushed out may be missing.
				if r.head-r.tail < 40 {
					t.Fatalf("step %d: %v is missing", step, k)
				}
				continue
			}
			if f.revision() != k.rev {
				t.Fatalf("step %d: revision %d, want %d", step, f.revision(), k.rev)
			}
		}
		if len(list) > 64 {
			old := list[len(list)-65]
			if _, ok := r.find(old.stream, hashOf(old.stream), old.id); ok && r.head-r.tail > 64 {
				t.Fatalf("step %d: window too big", step)
			}
		}
		if _, ok := r.find("z", hashOf("z"), list[len(list)-1].id); ok {
			t.Fatal("found in another stream")
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range []*Command{
		mustAppend(f, "s", Any, 1, 2), mustMeta(f, "s", Any, 3, `{"$tb":1}`),
	} {
		f.Add(bytes.Clone(c.Bytes()))
	}
	d, _ := NewDelete("s", Any)
	f.Add(bytes.Clone(d.Bytes()))
	a, _ := NewAdmin(1, []byte("payload"))
	f.Add(bytes.Clone(a.Bytes()))
	m, _ := NewMultiAppend(Limits{}, []Write{{"a", Any, events(1)}, {"b", 2, events(2, 3)}}, []Check{{"c", Exists}})
	f.Add(bytes.Clone(m.Bytes()))
	f.Fuzz(func(t *testing.T, b []byte) {
		// As it comes, and with checksums made right so that what lies behind
		// them is reached.
		for range 2 {
			if c, err := ParseCommand(bytes.Clone(b)); err == nil {
				st := newStore(t)
				st.do(c)
			}
			if r, err := ParseRecord(b, 7); err == nil {
				_, _, _ = Apply(r, newStore(t))
				_, _ = r.Admin()
			}
			it := NewRecords(b, 7)
			for it.Next() {
				evs := it.Record().Events()
				for evs.Next() {
					e := evs.Event()
					_, _, _, _ = e.Type(), e.Data(), e.Metadata(), e.Body()
					_ = it.Record().Revision(e)
				}
			}
			if len(b) < headerSize {
				return
			}
			b = bytes.Clone(b)
			putU32(b, offSize, uint32(len(b)))
			b[offFormat] = recordFormat
			if h := u32(b, offHeadSize); h < headerSize || int(h) > len(b) {
				return
			}
			sealBody(b)
			sealHead(b)
		}
	})
}

func TestInterner(t *testing.T) {
	var in Interner
	b := []byte("name")
	first := in.String(b)
	b[0] = 'f'
	if first != "name" || in.String([]byte("name")) != "name" || in.String(b) != "fame" || in.String(nil) != "" {
		t.Error("wrong text")
	}
	if n := testing.AllocsPerRun(100, func() { in.String(b) }); n != 0 {
		t.Errorf("%v allocations for a string seen before", n)
	}
	for i := range 5000 {
		want := strings.Repeat("x", i%300) + string(rune('a'+i%26))
		if got := in.String([]byte(want)); got != want {
			t.Fatalf("%q for %q", got, want)
		}
	}
}
