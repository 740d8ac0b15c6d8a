package index

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"baton/eventstore/stream"
)

// recordLog is a log of records without frames.
type recordLog struct {
	mu   sync.Mutex
	data []byte
	err  error
}

func (l *recordLog) ReadAt(p []byte, pos uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if copy(p, l.data[pos:]) != len(p) {
		return errors.New("beyond the end")
	}
	return nil
}

// bundle is a log, index and heads with a sequencer before them.
type bundle struct {
	t     *testing.T
	log   *recordLog
	ix    *Memory
	heads *Heads
	seq   *stream.Sequencer
	names stream.Interner
	id    byte
}

func newBundle(t *testing.T, max int) *bundle {
	b := &bundle{t: t, log: &recordLog{}, ix: NewMemory()}
	b.heads = NewHeads(b.ix, b.log, max)
	b.seq = stream.NewSequencer(b.heads, stream.SequencerOptions{})
	return b
}

func (b *bundle) do(c *stream.Command, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	v, err := b.seq.Sequence(c, 1)
	if err != nil || v.Kind != stream.Admit {
		b.t.Fatalf("%+v %v", v, err)
	}
	b.log.mu.Lock()
	pos := uint64(len(b.log.data))
	b.log.data = append(b.log.data, v.Record...)
	b.log.mu.Unlock()
	rec, err := stream.ParseRecord(v.Record, pos)
	if err != nil {
		b.t.Fatal(err)
	}
	out, changes, err := stream.Apply(rec, b.heads)
	if err != nil || out.Kind != stream.Done {
		b.t.Fatalf("%+v %v", out, err)
	}
	b.ix.Add(AppendRows(nil, rec, &b.names))
	b.heads.Update(changes)
	b.seq.Applied(v.ID, rec, out)
}

func (b *bundle) append(name string, n int) {
	b.t.Helper()
	w := stream.Write{Stream: name, Expected: stream.Any}
	for range n {
		b.id++
		w.Events = append(w.Events, stream.Event{ID: [16]byte{b.id, byte(len(b.log.data)), byte(len(b.log.data) >> 8)}, Type: "t"})
	}
	b.do(stream.NewAppend(stream.Limits{}, w))
}

func (b *bundle) meta(name, doc string) {
	b.t.Helper()
	b.do(stream.NewAppend(stream.Limits{}, stream.Write{Stream: "$$" + name, Expected: stream.Any,
		Events: []stream.Event{{ID: [16]byte{1, byte(len(b.log.data)), byte(len(b.log.data) >> 8)}, Type: stream.MetadataType, JSON: true, Data: []byte(doc)}}}))
}

func text(h stream.Head) string {
	raw := ""
	if h.Meta != nil {
		raw = string(h.Meta.Raw)
	}
	return fmt.Sprintf("%d %d %v %s", h.Last, h.MetaLast, h.Tombstoned, raw)
}

// Goal: a head loaded from index and log equals the one that apply computed.
func TestLoadedHeadEqualsAppliedHead(t *testing.T) {
	b := newBundle(t, 0)
	b.append("plain", 3)
	b.append("meta", 1)
	b.meta("meta", `{"$maxCount":2}`)
	b.meta("onlymeta", `{"a":1}`)
	b.meta("badmeta", `nonsense`)
	b.append("deleted", 2)
	b.do(stream.NewDelete("deleted", stream.Any))
	b.append("revived", 2)
	b.do(stream.NewDelete("revived", stream.Any))
	b.append("revived", 1)
	b.append("twice", 2)
	b.do(stream.NewDelete("twice", stream.Any))
	b.meta("twice", `{"mine":1}`) // one record with two writes to $$twice
	b.append("tomb", 2)
	b.meta("tomb", `{"$maxCount":2}`)
	b.do(stream.NewTombstone("tomb", stream.Any))
	fresh := NewHeads(b.ix, b.log, 0)
	for name, want := range map[string]string{
		"plain": "2 -1 false ", "meta": `0 0 false {"$maxCount":2}`, "onlymeta": `-1 0 false {"a":1}`, "badmeta": "-1 0 false ",
		"deleted": `1 0 false {"$tb":9223372036854775807}`, "revived": `2 1 false {"$tb":2}`, "twice": `1 2 false {"$tb":2,"mine":1}`,
		"tomb": fmt.Sprintf("%d 0 true ", math.MaxInt64), "never": "-1 -1 false ",
	} {
		applied, err := b.heads.Head(name)
		if err != nil || text(applied) != want {
			t.Errorf("applied %s: %s %v, want %s", name, text(applied), err, want)
		}
		loaded, err := fresh.Head(name)
		if err != nil || text(loaded) != want {
			t.Errorf("loaded %s: %s %v, want %s", name, text(loaded), err, want)
		}
	}
	for name, want := range map[string]int64{"$$meta": 0, "$$twice": 2, "$$plain": -1, "$$$$x": -1} {
		if h, err := fresh.Head(name); err != nil || h.Last != want || h.MetaLast != -1 {
			t.Errorf("%s: %+v %v", name, h, err)
		}
	}
	if h, _ := fresh.Head("$$tomb"); !h.Tombstoned {
		t.Errorf("$$tomb: %+v", h)
	}
}

func TestHeadsAreBounded(t *testing.T) {
	b := newBundle(t, 10)
	for i := range 100 {
		b.append(fmt.Sprint("s", i), 1)
		b.append("hot", 1)
	}
	if n := len(b.heads.heads); n != 10 || len(b.heads.ring) != 10 {
		t.Errorf("%d heads, ring of %d", n, len(b.heads.ring))
	}
	if b.heads.heads["hot"] == nil {
		t.Error("the stream used all the time was evicted")
	}
	for i := range 100 {
		if h, err := b.heads.Head(fmt.Sprint("s", i)); err != nil || h.Last != 0 {
			t.Errorf("s%d: %+v %v", i, h, err)
		}
	}
}

// stallingIndex lets a test change the stream while its head is being loaded.
type stallingIndex struct {
	*Memory
	stall func(name string)
}

func (s *stallingIndex) Last(name string) (Row, bool, error) {
	r, ok, err := s.Memory.Last(name)
	s.stall(name)
	return r, ok, err
}

// Goal: a head loaded before an update and finished after it is not kept.
func TestLoadOvertakenByUpdate(t *testing.T) {
	b := newBundle(t, 2)
	b.append("s", 1)
	overtaken := false
	ix := &stallingIndex{Memory: b.ix}
	heads := NewHeads(ix, b.log, 2)
	ix.stall = func(name string) {
		if name == "s" && !overtaken {
			overtaken = true
			heads.Update([]stream.HeadChange{{Stream: "s", Head: stream.Head{Last: 7, MetaLast: -1}}})
			// And evicted again at once.
			heads.Update([]stream.HeadChange{{Stream: "x"}, {Stream: "y"}, {Stream: "z"}, {Stream: "w"}})
		}
	}
	if h, err := heads.Head("s"); err != nil || h.Last != 0 {
		t.Fatalf("%+v %v", h, err)
	}
	if c := heads.heads["s"]; c != nil && c.head.Last != 7 {
		t.Errorf("stale head kept: %+v", c.head)
	}
	if len(heads.loading) != 0 {
		t.Errorf("%d loads registered", len(heads.loading))
	}
}

func TestHeadsWatch(t *testing.T) {
	b := newBundle(t, 0)
	ch, stop := b.heads.Watch("$$s")
	other, stopOther := b.heads.Watch("other")
	defer stopOther()
	b.append("s", 1)
	b.meta("s", "{}")
	select {
	case <-ch:
	default:
		t.Error("no sign of the change")
	}
	select {
	case <-other:
		t.Error("a sign for another stream")
	default:
	}
	stop()
	b.append("s", 1)
	select {
	case <-ch:
		t.Error("a sign after stop")
	default:
	}
	if len(b.heads.watch) != 1 {
		t.Errorf("%d streams watched", len(b.heads.watch))
	}
}

func TestHeadsReportLogErrors(t *testing.T) {
	b := newBundle(t, 0)
	b.meta("s", "{}")
	fresh := NewHeads(b.ix, b.log, 0)
	b.log.err = errors.New("disk")
	if _, err := fresh.Head("s"); !errors.Is(err, b.log.err) {
		t.Errorf("%v", err)
	}
	b.log.err = nil
	b.log.data[20] ^= 1
	if _, err := fresh.Head("s"); !errors.Is(err, stream.ErrMalformed) {
		t.Errorf("%v", err)
	}
}
