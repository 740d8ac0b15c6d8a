package scavenge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/platform/vfs"
)

// Goal: whatever is written and whenever the power fails, after a scavenge each
// reader sees exactly what the rules leave, at the positions and revisions of
// before, and a store rebuilt from the scavenged log is the same store. Method: a
// random history of appends to one and to several streams, metadata, both kinds of
// deletes, records that apply refuses, flushes, restarts, power cuts in the middle
// of scavenges; after each scavenge every way of reading is compared with a model
// that never forgets.
func TestScavengeAgainstModel(t *testing.T) {
	sum := map[string]int{}
	var before, after int64
	const seeds = 4
	for seed := range uint64(seeds) {
		w := newWorld(t, seed)
		for range 170 {
			w.step()
		}
		w.scavenge()
		w.check()
		w.rebuild()
		for k, n := range w.done {
			sum[k] += n
		}
		for _, s := range w.log.Segments() {
			if s.Sparse {
				before, after = before+int64(s.End-s.Base), after+s.FileBytes
			}
		}
		if err := w.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d histories: %v; scavenged segments of %d bytes take %d", seeds, sum, before, after)
	for _, what := range []string{"scavenge", "power cut in a scavenge", "restart", "record refused", "removed event", "removed row", "rebuild",
		"tombstone", "soft delete", "segment ended", "stream scavenged and written again"} {
		if sum[what] == 0 {
			t.Errorf("never happened: %s", what)
		}
	}
	if after*10 > before*7 {
		t.Errorf("scavenged segments of %d bytes take %d", before, after)
	}
}

func (w *world) step() {
	w.now += int64(w.rng.IntN(5e7))
	switch p := w.rng.IntN(100); {
	case p < 50:
		var cmds []*stream.Command
		for range 1 + w.rng.IntN(4) {
			cmds = append(cmds, w.appendCommand())
		}
		w.command(cmds...)
	case p < 68:
		w.command(w.metaCommand())
	case p < 72:
		cmd, err := stream.NewDelete(w.name(), stream.Any)
		w.must(err)
		w.done["soft delete"]++
		w.command(cmd)
	case p < 73:
		cmd, err := stream.NewTombstone(w.name(), stream.Any)
		w.must(err)
		w.done["tombstone"]++
		w.command(cmd)
	case p < 78 && len(w.stale) > 0:
		// A record that was accepted once stands in the log again.
		from := w.log.End()
		w.append(append([]byte(nil), w.stale[w.rng.IntN(len(w.stale))]...))
		w.learn(from, nil)
	case p < 81:
		w.flush()
	case p < 84:
		w.done["segment ended"]++
		w.command(stream.NewSegmentMark())
	case p < 90:
		w.restart()
	case p < 97:
		w.scavenge()
		w.check()
	default:
		w.rebuild()
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) appendCommand() *stream.Command {
	write := func() stream.Write {
		wr := stream.Write{Stream: w.name(), Expected: stream.Any}
		for range 1 + w.rng.IntN(4) {
			wr.Events = append(wr.Events, w.newEvent("happened", false, w.data()))
		}
		for _, e := range w.of[wr.Stream] {
			if e.gone {
				w.done["stream scavenged and written again"]++
				break
			}
		}
		return wr
	}
	if w.rng.IntN(3) > 0 {
		cmd, err := stream.NewAppend(stream.Limits{}, write())
		w.must(err)
		return cmd
	}
	var writes []stream.Write
	for range 1 + w.rng.IntN(3) {
		writes = append(writes, write())
	}
	cmd, err := stream.NewMultiAppend(stream.Limits{}, writes, nil)
	w.must(err)
	return cmd
}

func (w *world) metaCommand() *stream.Command {
	name := w.name()
	var doc string
	switch w.rng.IntN(5) {
	case 0:
		doc = fmt.Sprintf(`{"$maxCount":%d}`, 1+w.rng.IntN(12))
	case 1:
		doc = fmt.Sprintf(`{"$tb":%d}`, w.rng.IntN(40))
	case 2:
		doc = fmt.Sprintf(`{"$maxAge":%d}`, 1+w.rng.IntN(300))
	case 3:
		doc = fmt.Sprintf(`{"$maxCount":%d,"$maxAge":%d}`, 1+w.rng.IntN(30), 1+w.rng.IntN(300))
	default:
		doc = `{"mine":1}`
	}
	typ := stream.MetadataType
	if w.rng.IntN(10) == 0 {
		typ, doc = "other", "not metadata"
	}
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: stream.MetaStream(name), Expected: stream.Any,
		Events: []stream.Event{w.newEvent(typ, true, []byte(doc))}})
	w.must(err)
	return cmd
}

// restart ends the process cleanly or not, and the power with it or not.
func (w *world) restart() {
	w.done["restart"]++
	ix := w.index.(*index.Memory).Crash()
	switch w.rng.IntN(3) {
	case 0:
		w.must(w.log.Close())
	case 1:
		w.disk = w.disk.PowerCut()
	default:
		w.disk = w.disk.Clone()
	}
	w.must(w.open(ix))
}

// rebuild throws the index away and applies the log from its beginning.
func (w *world) rebuild() {
	w.done["rebuild"]++
	w.must(w.log.Close())
	w.must(w.open(nil))
	w.check()
}

// scavenge runs a scavenge to its end, through a power cut now and then, and
// takes out of the model what must be gone then.
func (w *world) scavenge() {
	w.done["scavenge"]++
	p := Point{Position: w.applied, Time: w.now}
	if w.rng.IntN(4) == 0 && len(w.all) > 0 {
		p.Position = w.all[w.rng.IntN(len(w.all))].position
	}
	cut := w.rng.IntN(3) == 0
	for {
		if cut {
			w.disk.CutPowerAt(1 + w.rng.IntN(60))
		}
		err := w.pass(p)
		if err == nil {
			w.disk.CutPowerAt(0)
			return
		}
		if !errors.Is(err, vfs.ErrPowerCut) {
			w.t.Fatal(err)
		}
		w.done["power cut in a scavenge"]++
		cut = w.rng.IntN(3) == 0
		ix := w.index.(*index.Memory).Crash()
		w.disk = w.disk.PowerCut()
		w.must(w.open(ix))
	}
}

func (w *world) pass(p Point) error {
	store := w.store()
	for _, info := range store.Eligible(p, 0) {
		did, err := store.Segment(info, p)
		if err != nil {
			return err
		}
		w.done["removed event"] += did.Events
		w.done["removed row"] += did.Rows
		for _, e := range w.all {
			if e.position >= info.Base && e.position < info.End && e.position < p.Position && w.head(e.stream).Removable(e.revision, e.created, p.Time) {
				e.gone = true
			}
		}
	}
	return nil
}

// check reads everything in every way.
func (w *world) check() {
	w.t.Helper()
	ctx := context.Background()
	for name, evs := range w.of {
		if evs[len(evs)-1].gone {
			w.t.Fatalf("the last event of %s is gone", name)
		}
		got, err := w.heads.Peek(name)
		want := w.head(name)
		if err != nil || got.Last != want.Last || got.MetaLast != want.MetaLast || got.Tombstoned != want.Tombstoned ||
			got.Meta.FirstReadable(got.Last) != want.Meta.FirstReadable(want.Last) || got.SoftDeleted() != want.SoftDeleted() {
			w.t.Fatalf("head of %s: %+v (%+v), %v; want %+v (%+v)", name, got, got.Meta, err, want, want.Meta)
		}
		w.checkStream(ctx, name, want)
	}
	var want []*event
	for _, e := range w.all {
		if !e.gone {
			want = append(want, e)
		}
	}
	at := 0
	one := func(step int) func(*reader.Event) error {
		return func(e *reader.Event) error {
			if at < 0 || at >= len(want) {
				return fmt.Errorf("more events than there are: %s %d", e.Stream, e.Revision)
			}
			if x := want[at]; e.Position != x.position || e.Stream != x.stream || e.Revision != x.revision || e.ID != x.id || e.Created != x.created {
				return fmt.Errorf("$all has %d@%s at %d, want %d@%s at %d", e.Revision, e.Stream, e.Position, x.revision, x.stream, x.position)
			}
			at += step
			return nil
		}
	}
	w.must(w.r.All(ctx, reader.AllQuery{FromStart: true, Count: math.MaxUint64}, one(1)))
	if at != len(want) {
		w.t.Fatalf("$all has %d events, want %d", at, len(want))
	}
	at--
	w.must(w.r.All(ctx, reader.AllQuery{FromEnd: true, Backwards: true, Count: math.MaxUint64}, one(-1)))
	if at != -1 {
		w.t.Fatalf("$all backwards misses %d events", at+1)
	}
	// A subscription goes on behind any event, gone or not.
	if len(w.all) > 0 {
		from := w.all[w.rng.IntN(len(w.all))]
		for at = 0; at < len(want) && want[at].position <= from.position; {
			at++
		}
		err := w.r.SubscribeAll(ctx, reader.AllSubscription{From: from.position}, &until{one: one(1)})
		if !errors.Is(err, errCaughtUp) || at != len(want) {
			w.t.Fatalf("subscription behind %d (gone: %v): %v, %d events are missing", from.position, from.gone, err, len(want)-at)
		}
	}
}

var errCaughtUp = errors.New("caught up")

// until is a subscription's handler that ends it when it has caught up.
type until struct{ one func(*reader.Event) error }

func (u *until) Event(e *reader.Event) error { return u.one(e) }
func (*until) Checkpoint(uint64) error       { return nil }
func (*until) CaughtUp(int64, uint64) error  { return errCaughtUp }

// checkStream compares both directions of a stream with what the rules, and
// scavenges so far, leave.
func (w *world) checkStream(ctx context.Context, name string, h stream.Head) {
	w.t.Helper()
	var want []*event
	if !h.Tombstoned && !h.SoftDeleted() {
		for _, e := range w.of[name] {
			hidden := e.revision < h.Meta.FirstReadable(h.Last) ||
				h.Meta != nil && h.Meta.MaxAgeSeconds > 0 && e.created < w.now/1e7*1e7+w.now%1e7-h.Meta.MaxAgeSeconds*1e7
			if !hidden && !e.gone {
				want = append(want, e)
			}
		}
	}
	for _, backwards := range []bool{false, true} {
		var got []string
		_, err := w.r.Stream(ctx, reader.StreamQuery{Stream: name, FromStart: !backwards, FromEnd: backwards, Backwards: backwards, Count: math.MaxUint64},
			func(e *reader.Event) error {
				got = append(got, fmt.Sprintf("%d at %d %x", e.Revision, e.Position, e.ID))
				return nil
			})
		if h.Tombstoned != errors.Is(err, reader.ErrStreamDeleted) || err != nil && !h.Tombstoned {
			w.t.Fatalf("read %s: %v", name, err)
		}
		if len(got) != len(want) {
			w.t.Fatalf("%s (backwards %v) has %d events, want %d; head %+v %+v", name, backwards, len(got), len(want), h, h.Meta)
		}
		for i, e := range want {
			at := i
			if backwards {
				at = len(want) - 1 - i
			}
			if text := fmt.Sprintf("%d at %d %x", e.revision, e.position, e.id); got[at] != text {
				w.t.Fatalf("%s: %s, want %s", name, got[at], text)
			}
		}
	}
}

// Goal: a segment is ended when something goes that users wrote, or much of what
// the server notes, and not otherwise.
func TestWhatIsWorthEndingASegment(t *testing.T) {
	w := newWorld(t, 1)
	worth := func(threshold int) bool {
		t.Helper()
		ok, err := w.store().worthEnding(Point{Position: math.MaxInt64, Time: w.now, Threshold: threshold})
		w.must(err)
		return ok
	}
	write := func(name string, n int) {
		var evs []stream.Event
		for range n {
			evs = append(evs, w.newEvent("happened", false, []byte("something")))
		}
		cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: name, Expected: stream.Any, Events: evs})
		w.must(err)
		w.command(cmd)
	}
	remove := func(name string) {
		cmd, err := stream.NewDelete(name, stream.Any)
		w.must(err)
		w.command(cmd)
	}
	if worth(0) {
		t.Fatal("an empty log")
	}
	write("a", 6)
	write("$own", 5)
	if remove("$own"); worth(0) {
		t.Error("only a few notes of the server may go")
	}
	if remove("a"); !worth(0) || worth(100) {
		t.Error("five events of a user may go, and four of the server")
	}
	w.command(stream.NewSegmentMark())
	if worth(0) {
		t.Error("nothing that may go is left in the segment being written")
	}
	w.scavenge()
	if all := w.log.Segments(); len(all) != 2 || !all[0].Sparse {
		t.Errorf("%+v", all)
	}
	write("b", 2)
	w.now += 100
	if worth(0) {
		t.Error("nothing of it is deleted")
	}
}

// Goal: a segment with less to remove than the threshold wants is left alone.
func TestThresholdLeavesLightSegments(t *testing.T) {
	w := newWorld(t, 1)
	for range 120 {
		w.command(w.appendCommand())
	}
	for i := range 9 {
		cmd, err := stream.NewDelete(fmt.Sprintf("s%d", i), stream.Any)
		w.must(err)
		w.command(cmd)
	}
	store := w.store()
	info := store.Eligible(Point{Position: w.applied}, 0)[0]
	did, err := store.Segment(info, Point{Position: w.applied, Time: w.now, Threshold: 1 << 20})
	if err != nil || did.Events > 0 || w.log.Segments()[0].Sparse {
		t.Fatalf("%+v, %v", did, err)
	}
	for _, threshold := range []int{0, -1, 2} {
		did, err = store.Segment(info, Point{Position: w.applied, Time: w.now, Threshold: threshold})
		if err != nil || (did.Events > 0) != (threshold == 0) {
			t.Fatalf("threshold %d: %+v, %v", threshold, did, err)
		}
	}
	if s := w.log.Segments()[0]; !s.Sparse || s.FileBytes*2 > info.FileBytes {
		t.Fatalf("%+v, before %d bytes", s, info.FileBytes)
	}
}

// Goal: a disk or an index that fails ends the scavenge with its reason.
func TestUnreadableHeadEndsTheScavenge(t *testing.T) {
	w := newWorld(t, 1)
	for range 120 {
		w.command(w.appendCommand())
	}
	store := w.store()
	boom := errors.New("boom")
	store.Heads = brokenHeads{boom}
	info := store.Eligible(Point{Position: w.applied}, 0)[0]
	if _, err := store.Segment(info, Point{Position: w.applied}); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if _, err := store.Segment(w.log.Segments()[len(w.log.Segments())-1], Point{Position: w.applied}); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	store.Heads = w.heads
	if _, err := w.log.Rewrite(w.log.Segments()[len(w.log.Segments())-1].Base, w.applied, nil, nil); !errors.Is(err, log.ErrNotRewritable) {
		t.Fatal(err)
	}
}

type brokenHeads struct{ err error }

func (b brokenHeads) Peek(string) (stream.Head, error) { return stream.Head{}, b.err }
