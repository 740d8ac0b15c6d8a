package reader

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/log"
	"baton/eventstore/stream"
)

const many = math.MaxUint64

// page reads a stream and compares.
func (n *node) page(what string, q StreamQuery, want ...string) {
	n.t.Helper()
	got, st, err := n.stream(q)
	if err != nil || st.NotFound || !slices.Equal(got, want) {
		n.t.Errorf("%s: %q %+v %v, want %q", what, got, st, err, want)
	}
}

// Goal: the rows of the reading table for one stream, over records of several
// entries, of one entry, and of several events.
func TestStreamPages(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.events("s", "a", "b"), n.events("o", "x"), n.events("s", "c"))
	n.entry(n.events("s", "d"))
	n.entry(n.command(stream.NewMultiAppend(stream.Limits{}, []stream.Write{
		{Stream: "s", Expected: stream.Any, Events: []stream.Event{{ID: newID(), Type: "t", Data: []byte("e")}}},
		{Stream: "o", Expected: stream.Any, Events: []stream.Event{{ID: newID(), Type: "t", Data: []byte("y")}}},
		{Stream: "s", Expected: stream.Any, Events: []stream.Event{{ID: newID(), Type: "t", Data: []byte("f")}}},
	}, nil)))
	s := func(q StreamQuery) StreamQuery { q.Stream = "s"; return q }
	all := []string{"s/0 a", "s/1 b", "s/2 c", "s/3 d", "s/4 e", "s/5 f"}
	rev := slices.Clone(all)
	slices.Reverse(rev)
	n.page("from start", s(StreamQuery{FromStart: true, Count: many}), all...)
	n.page("from 0", s(StreamQuery{Count: many}), all...)
	n.page("inclusive", s(StreamQuery{From: 3, Count: many}), all[3:]...)
	n.page("in the middle of a record", s(StreamQuery{From: 1, Count: 2}), all[1:3]...)
	n.page("count 0", s(StreamQuery{Count: 0}))
	n.page("count 1", s(StreamQuery{Count: 1}), all[0])
	n.page("past the end", s(StreamQuery{From: 6, Count: many}))
	n.page("forwards from the end", s(StreamQuery{FromEnd: true, Count: many}))
	n.page("backwards from the end", s(StreamQuery{FromEnd: true, Backwards: true, Count: many}), rev...)
	n.page("backwards from 4", s(StreamQuery{From: 4, Backwards: true, Count: 3}), rev[1:4]...)
	n.page("backwards beyond the end", s(StreamQuery{From: 1000, Backwards: true, Count: 1}), rev[0])
	n.page("backwards from the start", s(StreamQuery{FromStart: true, Backwards: true, Count: many}), all[0])
	n.page("the other stream", StreamQuery{Stream: "o", Count: many}, "o/0 x", "o/1 y")
	if _, st, err := n.stream(StreamQuery{Stream: "never", Count: many}); err != nil || !st.NotFound {
		t.Errorf("never written: %+v %v", st, err)
	}
	if _, st, _ := n.stream(s(StreamQuery{Count: many})); st.First != 0 || st.Last != 5 {
		t.Errorf("status %+v", st)
	}
}

func TestStreamTruncation(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.events("s", "a", "b", "c"))
	n.entry(n.events("s", "d"))
	start := StreamQuery{Stream: "s", FromStart: true, Count: many}
	back := StreamQuery{Stream: "s", FromEnd: true, Backwards: true, Count: many}

	n.entry(n.meta("s", `{"$tb":2}`))
	n.page("$tb", start, "s/2 c", "s/3 d")
	n.page("$tb backwards", back, "s/3 d", "s/2 c")
	n.page("below the first", StreamQuery{Stream: "s", From: 1, Count: 1}, "s/2 c")
	n.page("backwards below the first", StreamQuery{Stream: "s", From: 1, Backwards: true, Count: 9})
	n.entry(n.meta("s", `{"$maxCount":1}`))
	n.page("$maxCount", start, "s/3 d")
	n.page("$maxCount backwards", back, "s/3 d")
	n.entry(n.meta("s", `{"$tb":100}`))
	n.page("everything truncated", start)
	n.page("everything truncated, backwards", back)
	n.entry(n.meta("s", `{"$maxCount":0,"$tb":-4,"$maxAge":"x"}`))
	n.page("values without effect", start, "s/0 a", "s/1 b", "s/2 c", "s/3 d")
	n.entry(n.meta("s", `not json`))
	n.page("invalid metadata", start, "s/0 a", "s/1 b", "s/2 c", "s/3 d")
	n.page("metadata stream keeps the last", StreamQuery{Stream: "$$s", FromStart: true, Count: many}, "$$s/4 not json")

	n.entry(n.meta("s", `{"$maxAge":10}`))
	n.now += 5 * 1e7
	n.entry(n.events("s", "e"))
	n.now += 6 * 1e7
	n.page("$maxAge", start, "s/4 e")
	n.page("$maxAge backwards", back, "s/4 e")
	n.now += 100 * 1e7
	n.page("all too old", start)
	n.page("all too old, backwards", back)
	for range 300 {
		n.entry(n.events("s", "f"))
	}
	n.now += 9 * 1e7
	n.entry(n.events("s", "g"))
	if got, _, _ := n.stream(start); len(got) != 301 {
		t.Errorf("young events among many: %d", len(got))
	}
	n.now += 2 * 1e7
	n.page("the young tail", start, "s/305 g")
}

func TestDeletedStreams(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.events("s", "a", "b"))
	n.entry(n.command(stream.NewDelete("s", stream.Any)))
	q := StreamQuery{Stream: "s", FromStart: true, Count: many}
	if got, st, err := n.stream(q); err != nil || !st.NotFound || len(got) != 0 {
		t.Errorf("soft-deleted: %q %+v %v", got, st, err)
	}
	n.entry(n.events("s", "c"))
	n.page("revived", q, "s/2 c")
	n.page("metadata of a revived stream", StreamQuery{Stream: "$$s", Count: many}, `$$s/1 {"$tb":2}`)
	n.entry(n.command(stream.NewTombstone("s", stream.Any)))
	for _, name := range []string{"s", "$$s"} {
		if got, st, err := n.stream(StreamQuery{Stream: name, Count: many}); !errors.Is(err, ErrStreamDeleted) || !st.Deleted || len(got) != 0 {
			t.Errorf("tombstoned %s: %q %+v %v", name, got, st, err)
		}
	}
	got, _, err := n.all(AllQuery{FromStart: true, Count: many})
	want := []string{"s/0 a", "s/1 b", `$$s/0 {"$tb":9223372036854775807}`, "s/2 c", `$$s/1 {"$tb":2}`, "s/9223372036854775807 "}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("all: %q %v", got, err)
	}
	n.entry(n.meta("only", `{"a":1}`))
	if _, st, err := n.stream(StreamQuery{Stream: "only", Count: many}); err != nil || !st.NotFound {
		t.Errorf("only metadata: %+v %v", st, err)
	}
}

func TestAllPages(t *testing.T) {
	n := newNode(t, log.Options{SegmentBytes: 4 << 10})
	n.raw(raftpb.EntryNormal, nil, nil, true) // the leader's empty entry
	var want []string
	for i := range 40 {
		n.entry(n.events("a", "1", "2"), n.events("b", "3"))
		want = append(want, "a/"+num(2*i)+" 1", "a/"+num(2*i+1)+" 2", "b/"+num(i)+" 3")
		if i%7 == 0 {
			n.raw(raftpb.EntryConfChangeV2, []byte("change"), nil, true)
		}
	}
	texts, pos, err := n.all(AllQuery{FromStart: true, Count: many})
	if err != nil || !slices.Equal(texts, want) || !slices.IsSorted(pos) || pos[0] == 0 {
		t.Fatalf("forwards: %d events, %v", len(texts), err)
	}
	back, bpos, err := n.all(AllQuery{FromEnd: true, Backwards: true, Count: many})
	slices.Reverse(back)
	slices.Reverse(bpos)
	if err != nil || !slices.Equal(back, want) || !slices.Equal(bpos, pos) {
		t.Fatalf("backwards: %d events, %v", len(back), err)
	}
	for i, p := range pos {
		if got, _, err := n.all(AllQuery{From: p, Count: 2}); err != nil || !slices.Equal(got, want[i:min(i+2, len(want))]) {
			t.Fatalf("from %d: %q %v", p, got, err)
		}
		got, _, err := n.all(AllQuery{From: p, Backwards: true, Count: 2})
		slices.Reverse(got)
		if err != nil || !slices.Equal(got, want[max(0, i-2):i]) {
			t.Fatalf("before %d: %q %v", p, got, err)
		}
		for _, bad := range []uint64{p - 1, p + 1} {
			for _, backwards := range []bool{false, true} {
				if _, _, err := n.all(AllQuery{From: bad, Backwards: backwards, Count: 1}); !errors.Is(err, ErrInvalidPosition) {
					t.Fatalf("position %d: %v", bad, err)
				}
			}
		}
	}
	for what, q := range map[string]AllQuery{
		"forwards from the end": {FromEnd: true, Count: many}, "backwards from the start": {FromStart: true, Backwards: true, Count: many},
		"forwards from max": {From: math.MaxUint64, Count: many}, "backwards from 0": {Backwards: true, Count: many}, "count 0": {FromStart: true},
	} {
		if got, _, err := n.all(q); err != nil || len(got) != 0 {
			t.Errorf("%s: %d events, %v", what, len(got), err)
		}
	}
	if got, _, err := n.all(AllQuery{From: math.MaxUint64, Backwards: true, Count: 1}); err != nil || got[0] != want[len(want)-1] {
		t.Errorf("backwards from max: %q %v", got, err)
	}
	if _, _, err := n.all(AllQuery{From: n.log.End() + 1000, Count: 1}); !errors.Is(err, ErrInvalidPosition) {
		t.Errorf("beyond the end: %v", err)
	}
}

func num(i int) string {
	return strings.TrimSpace(string(appendInt(nil, i)))
}

func appendInt(b []byte, i int) []byte {
	if i >= 10 {
		b = appendInt(b, i/10)
	}
	return append(b, byte('0'+i%10))
}

// Goal: nothing beyond the watermark and nothing rejected is ever seen.
func TestVisibility(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.events("s", "a"))
	// A record stamped over a state that is not there any more.
	stale := n.events("s", "stale")
	v, err := n.seq.Sequence(stale, 1)
	if err != nil {
		t.Fatal(err)
	}
	record := slices.Clone(v.Record)
	n.seq.Reset()
	n.entry(n.events("s", "b"))
	if outs := n.raw(raftpb.EntryNormal, record, nil, true); outs[0].Kind != stream.Conflict {
		t.Fatalf("stale record: %+v", outs[0])
	}
	n.entry(n.events("s", "c"))
	_, pos, _ := n.all(AllQuery{FromStart: true, Count: many})
	got, _, err := n.all(AllQuery{FromStart: true, Count: many})
	if want := []string{"s/0 a", "s/1 b", "s/2 c"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("all: %q %v", got, err)
	}
	n.page("stream", StreamQuery{Stream: "s", Count: many}, "s/0 a", "s/1 b", "s/2 c")
	rejectedEvent := pos[1]
	for p := range n.rejected {
		r, _ := stream.ParseRecord(record, p)
		it := r.Events()
		it.Next()
		rejectedEvent = r.Position(it.Event())
	}
	if _, _, err := n.all(AllQuery{From: rejectedEvent, Count: 1}); !errors.Is(err, ErrInvalidPosition) {
		t.Errorf("position of a rejected event: %v", err)
	}
	// Appended but not applied.
	w := n.events("s", "d")
	v, _ = n.seq.Sequence(w, 1)
	n.raw(raftpb.EntryNormal, v.Record, []uint64{v.ID}, false)
	if got, _, _ := n.all(AllQuery{FromStart: true, Count: many}); len(got) != 3 {
		t.Errorf("beyond the watermark: %q", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := n.r.Stream(ctx, StreamQuery{Stream: "s", From: 3, Count: 1}, func(*Event) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("stream beyond the watermark must wait for it: %v", err)
	}
	n.publish()
	n.page("stream after", StreamQuery{Stream: "s", From: 3, Count: many}, "s/3 d")
}

func TestFilter(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.typed("orders-1", "placed", "1"), n.typed("$sys", "$other", "2"))
	n.entry(n.typed("orders-2", "paid", "3"), n.typed("users-1", "placed", "4"))
	read := func(s FilterSpec) []string {
		s.CheckpointMultiplier = 1
		f, err := NewFilter(s)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := n.all(AllQuery{FromStart: true, Count: many, Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, c := range []struct {
		spec FilterSpec
		want string
	}{
		{FilterSpec{Prefixes: []string{"orders-"}}, "orders-1/0 1,orders-2/0 3"},
		{FilterSpec{Prefixes: []string{"Orders-"}}, ""},
		{FilterSpec{Prefixes: []string{"users", "$"}}, "$sys/0 2,users-1/0 4"},
		{FilterSpec{Regex: "s-1$"}, "orders-1/0 1,users-1/0 4"},
		{FilterSpec{ByType: true, Regex: `^[^\$].*`}, "orders-1/0 1,orders-2/0 3,users-1/0 4"},
		{FilterSpec{ByType: true, Prefixes: []string{"p"}}, "orders-1/0 1,orders-2/0 3,users-1/0 4"},
		{FilterSpec{ByType: true, Prefixes: []string{"paid"}}, "orders-2/0 3"},
	} {
		if got := strings.Join(read(c.spec), ","); got != c.want {
			t.Errorf("%+v: %q, want %q", c.spec, got, c.want)
		}
	}
	f, _ := NewFilter(FilterSpec{ByType: true, Prefixes: []string{"placed"}, CheckpointMultiplier: 3})
	if got, _, _ := n.all(AllQuery{FromEnd: true, Backwards: true, Count: 1, Filter: f}); len(got) != 1 || got[0] != "users-1/0 4" {
		t.Errorf("backwards, count of matching events: %q", got)
	}
	if f.Interval() != 96 {
		t.Errorf("interval %d", f.Interval())
	}
	for _, bad := range []FilterSpec{
		{Prefixes: []string{"a"}},
		{CheckpointMultiplier: 1},
		{CheckpointMultiplier: 1, Regex: "("},
		{CheckpointMultiplier: 1, Regex: "(?=a)"},
		{CheckpointMultiplier: 1, Regex: "a", Prefixes: []string{"a"}},
		{CheckpointMultiplier: 1, Regex: strings.Repeat("a", 5000)},
	} {
		if _, err := NewFilter(bad); !errors.Is(err, ErrInvalidFilter) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestLinks(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.events("s", "a", "b"), n.events("gone", "x"), n.events("cut", "y", "z"))
	n.entry(n.typed("l", stream.LinkType, "1@s", "0@gone", "0@cut", "7@s", "0@never", "nonsense", "x@s", "-1@s", "0@l", "0@a@b"))
	n.entry(n.command(stream.NewDelete("gone", stream.Any)), n.meta("cut", `{"$tb":1}`))
	want := []string{
		"s/1 b via l/0 1@s", "l/1 0@gone unresolved", "l/2 0@cut unresolved", "l/3 7@s unresolved",
		"l/4 0@never unresolved", "l/5 nonsense", "l/6 x@s", "l/7 -1@s", "l/0 1@s via l/8 0@l", "l/9 0@a@b unresolved",
	}
	n.page("resolved", StreamQuery{Stream: "l", Count: many, ResolveLinks: true}, want...)
	plain, _, _ := n.stream(StreamQuery{Stream: "l", Count: 2})
	if !slices.Equal(plain, []string{"l/0 1@s", "l/1 0@gone"}) {
		t.Errorf("not resolved: %q", plain)
	}
	got, _, err := n.all(AllQuery{FromStart: true, Count: many, ResolveLinks: true})
	if err != nil || !slices.Equal(got[5:15], want) {
		t.Errorf("all: %q %v", got, err)
	}
	n.entry(n.command(stream.NewTombstone("s", stream.Any)))
	n.page("target tombstoned", StreamQuery{Stream: "l", Count: 1, ResolveLinks: true}, "l/0 1@s unresolved")
	// The filter looks at the link, not at its target.
	f, _ := NewFilter(FilterSpec{Prefixes: []string{"l"}, CheckpointMultiplier: 1})
	if got, _, _ := n.all(AllQuery{FromStart: true, Count: many, Filter: f, ResolveLinks: true}); len(got) != 10 {
		t.Errorf("filtered links: %q", got)
	}
}

func TestYieldErrorEndsTheRead(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.events("s", "a", "b", "c"))
	stop := errors.New("enough")
	for what, read := range map[string]func(func(*Event) error) error{
		"stream": func(y func(*Event) error) error {
			_, err := n.r.Stream(t.Context(), StreamQuery{Stream: "s", Count: many}, y)
			return err
		},
		"backwards": func(y func(*Event) error) error {
			_, err := n.r.Stream(t.Context(), StreamQuery{Stream: "s", FromEnd: true, Backwards: true, Count: many}, y)
			return err
		},
		"all": func(y func(*Event) error) error {
			return n.r.All(t.Context(), AllQuery{FromStart: true, Count: many}, y)
		},
	} {
		calls := 0
		if err := read(func(*Event) error { calls++; return stop }); err != stop || calls != 1 {
			t.Errorf("%s: %v after %d calls", what, err, calls)
		}
	}
}

func TestEventIDs(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.events("s", "a", "b", "c"))
	n.entry(n.events("s", "d"))
	n.entry(n.meta("s", `{"$tb":3}`))
	var revs []int64
	err := n.r.EventIDs("s", 1, 10, func(rev int64, id [16]byte, pos uint64) bool {
		revs = append(revs, rev)
		return rev < 2
	})
	if err != nil || !slices.Equal(revs, []int64{1, 2}) {
		t.Errorf("%v %v", revs, err)
	}
}
