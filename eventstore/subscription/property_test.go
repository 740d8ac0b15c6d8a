package subscription

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// world drives a Group with a random schedule and checks after every step what must hold. Nothing in it looks into the future: what the group wants done
// is done later, in any order, or fails.
type world struct {
	t    *testing.T
	seed uint64
	r    *rand.Rand
	g    *Group
	s    Settings

	now       time.Duration
	next      Point
	events    map[[16]byte][]Point // of the source, by id: several places if ids repeat
	handled   map[Point]bool       // acknowledged, skipped, or parked and written
	delivered map[Point]int
	consumers []*Consumer
	held      map[*Consumer][]*Message // as the consumers believe
	parks     []Parking
	writing   []Point // checkpoint under way
	wrote     Point
	parked    []*Message // the parked stream from firstParked on
	firstPark int
	replayTo  int // reading position of a replay
	replayEnd int
	replaying bool
	truncate  *Point
	skipped   map[Point]bool
	retries   map[*Message]int
}

func id(n uint64) (out [16]byte) {
	binary.BigEndian.PutUint64(out[8:], n)
	return out
}

func newWorld(t *testing.T, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	strategies := []Strategy{RoundRobin, DispatchToSingle, Pinned, PinnedByCorrelation}
	s := Settings{
		MessageTimeout: []time.Duration{0, time.Second, 5 * time.Second}[r.IntN(3)], MaxRetryCount: r.IntN(4), CheckpointAfter: time.Duration(r.IntN(3)) * time.Second,
		MinCheckpointCount: r.IntN(6), MaxCheckpointCount: 1 + r.IntN(20), MaxSubscribers: r.IntN(4), ReadBatch: 1, HistoryBuffer: 2 + r.IntN(30),
		LiveBuffer: 10, Strategy: strategies[r.IntN(len(strategies))], ExtraStatistics: r.IntN(2) == 0,
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, seed: seed, r: r, s: s, g: New(s, Beginning, Beginning, 0), wrote: Beginning, events: map[[16]byte][]Point{}, handled: map[Point]bool{},
		delivered: map[Point]int{}, held: map[*Consumer][]*Message{}, skipped: map[Point]bool{}, retries: map[*Message]int{}}
	return w
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d (%+v): %s", w.seed, w.s, fmt.Sprintf(format, args...))
}

// perform takes the effects and checks each.
func (w *world) perform() {
	e := w.g.Take()
	for _, d := range e.Deliver {
		m := d.Message
		if d.Retries < w.retries[m] {
			w.fail("event %d was sent with %d retries after %d", m.At, d.Retries, w.retries[m])
		}
		w.retries[m] = d.Retries
		if !m.replayed {
			w.delivered[m.At]++
			if w.handled[m.At] {
				w.fail("event %d was sent after it was handled", m.At)
			}
		}
		w.held[d.Consumer] = append(w.held[d.Consumer], m)
	}
	w.parks = append(w.parks, e.Park...)
	if e.HasCheckpoint {
		w.checkpoint(e.Checkpoint)
		w.writing = append(w.writing, e.Checkpoint)
		if len(w.writing) > 1 {
			w.fail("two checkpoints at a time")
		}
	}
	if e.HasTruncate {
		at := e.Truncate
		if w.truncate != nil {
			w.fail("two truncations at a time")
		}
		w.truncate = &at
	}
	w.g.Recycle(e)
	w.check()
}

// checkpoint checks that everything up to a place is handled.
func (w *world) checkpoint(at Point) {
	if at < w.wrote {
		w.fail("the checkpoint moves back from %d to %d", w.wrote, at)
	}
	if at >= w.next {
		w.fail("the checkpoint %d is beyond what was read, %d", at, w.next-1)
	}
	for p := Point(0); p <= at; p++ {
		if !w.handled[p] && !w.skipped[p] {
			w.fail("the checkpoint %d passes event %d, which is not handled", at, p)
		}
	}
}

// check compares the group's books with themselves.
func (w *world) check() {
	g := w.g
	st := g.Stats()
	bytes, inOrder := 0, 0
	var last Point = -2
	for m := g.order.oldest; m != nil; m = m.newer {
		inOrder++
		if m.At <= last {
			w.fail("the ledger is out of order at %d", m.At)
		}
		last = m.At
		if m.state == handled {
			w.fail("event %d is handled and outstanding", m.At)
		}
	}
	count := 0
	for _, l := range []*line{&g.queue, &g.retries, &g.flight} {
		n := 0
		for m := l.first; m != nil; m = m.next {
			n++
			bytes += m.Bytes + messageBytes
			if (l == &g.flight) != (m.state == inFlight) || (m.consumer != nil) != (m.state == inFlight) {
				w.fail("event %d is in the wrong line", m.At)
			}
		}
		if n != l.count {
			w.fail("a line of %d counts %d", n, l.count)
		}
		count += n
	}
	if st.Outstanding != count+g.parking+g.behind || inOrder > st.Outstanding {
		w.fail("%d are outstanding, %d are in lines, %d being parked, %d behind, %d in the ledger", st.Outstanding, count, g.parking, g.behind, inOrder)
	}
	if st.Outstanding == 0 && g.bytes != 0 || g.bytes < bytes {
		w.fail("%d bytes are counted, there are %d", g.bytes, bytes)
	}
	slots := 0
	for _, c := range g.consumers {
		n := 0
		for m := g.flight.first; m != nil; m = m.next {
			if m.consumer == c {
				n++
			}
		}
		if n != c.inFlight || n > c.Slots || c.backlog > c.Slots {
			w.fail("a consumer of %d slots holds %d, counts %d, backlog %d", c.Slots, n, c.inFlight, c.backlog)
		}
		slots += c.Slots
	}
	if w.s.MaxSubscribers > 0 && len(g.consumers) > w.s.MaxSubscribers {
		w.fail("%d consumers", len(g.consumers))
	}
	if g.pins != nil {
		busy := map[int]*Consumer{}
		for m := g.flight.first; m != nil; m = m.next {
			if other := busy[m.bucket]; other != nil && other != m.consumer {
				w.fail("bucket %d is with two consumers", m.bucket)
			}
			busy[m.bucket] = m.consumer
		}
	}
	// Nobody waits who could be served: a stall would show here.
	if g.pins == nil && g.queue.count+g.retries.count > 0 {
		for _, c := range g.consumers {
			if c.room() {
				w.fail("%d events wait although a consumer has room", g.queue.count+g.retries.count)
			}
		}
	}
}

func (w *world) message(at Point, n uint64) *Message {
	return &Message{ID: id(n), At: at, Key: fmt.Sprintf("k%d", w.r.IntN(5)), Bytes: w.r.IntN(2000)}
}

// step makes one thing happen. calm steps only bring things to their end.
func (w *world) step(calm bool) {
	g := w.g
	g.SetNow(w.now)
	most := 14
	if calm {
		most = 9
	}
	switch w.r.IntN(most) {
	case 0: // a consumer answers
		if c := w.someone(); c != nil && len(w.held[c]) > 0 {
			w.answer(c, calm)
		}
	case 1:
		if c := w.someone(); c != nil && c.backlog > 0 {
			g.Sent(c, 1+w.r.IntN(c.backlog))
		}
	case 2: // a parking ends
		if len(w.parks) > 0 {
			p := w.parks[0]
			w.parks = w.parks[1:]
			ok := calm || w.r.IntN(3) > 0
			if ok {
				w.parked = append(w.parked, p.Message)
				if !p.Message.replayed {
					w.handled[p.Message.At] = true
				}
			}
			g.Parked(p.Message, ok)
		}
	case 3: // a checkpoint ends
		if len(w.writing) > 0 {
			at := w.writing[0]
			w.writing = nil
			ok := calm || w.r.IntN(3) > 0
			if ok {
				w.wrote = at
			}
			g.CheckpointDone(ok)
		}
	case 4:
		w.now += time.Duration(w.r.IntN(700)) * time.Millisecond
		g.SetNow(w.now)
		g.Tick()
		if due, ok := g.Deadline(); ok && due <= w.now && len(w.writing) == 0 {
			w.fail("after a tick at %v the deadline is %v", w.now, due)
		}
	case 5:
		if w.truncate != nil {
			if calm || w.r.IntN(3) > 0 {
				w.firstPark = int(*w.truncate)
			}
			w.truncate, w.replaying = nil, false
			g.ReplayDone()
		}
	case 6: // a replay goes on
		if w.replaying && w.truncate == nil && w.replayTo < w.replayEnd && g.Room() > 0 {
			m := w.message(Point(w.replayTo), uint64(1<<40+w.replayTo))
			w.replayTo++
			g.ReplayRead(m)
			if w.replayTo == w.replayEnd {
				g.ReplayEnd(true)
			}
		}
	case 7, 8: // events come
		if g.Room() == 0 || calm && w.next > enough {
			break
		}
		at := w.next
		w.next++
		if w.r.IntN(6) == 0 {
			w.skipped[at] = true
			g.Examined(at, w.r.IntN(2) == 0)
			break
		}
		n := uint64(at)
		if w.r.IntN(10) == 0 && at > 0 { // an id that was there before
			n = uint64(w.r.IntN(int(at)))
		}
		m := w.message(at, n)
		w.events[m.ID] = append(w.events[m.ID], at)
		g.Read(m)
	case 9:
		c, err := g.Connect(1+w.r.IntN(4), nil)
		if full := w.s.MaxSubscribers > 0 && len(w.consumers) >= w.s.MaxSubscribers; full != (err != nil) {
			w.fail("connect with %d consumers: %v", len(w.consumers), err)
		}
		if err == nil {
			w.consumers = append(w.consumers, c)
		}
	case 10:
		if c := w.someone(); c != nil {
			g.Disconnect(c)
			w.consumers = without(w.consumers, c)
			if w.r.IntN(2) == 0 {
				delete(w.held, c) // else it answers late, from beyond
			}
		}
	case 11:
		if err := g.BeginReplay(Point(len(w.parked))); (err != nil) != w.replaying {
			w.fail("a replay while another runs (%v): %v", w.replaying, err)
		} else if err == nil {
			w.replaying, w.replayTo, w.replayEnd = true, w.firstPark, len(w.parked)
			if w.replayTo >= w.replayEnd {
				g.ReplayEnd(true)
				if w.replayEnd == 0 {
					w.replaying = false
				}
			}
		}
	case 12: // somebody acknowledges nonsense
		g.Ack(w.someone(), id(1<<50), id(uint64(w.r.IntN(400))^1<<45))
	case 13: // an answer from a consumer that lost the event, or is gone
		for c, list := range w.held {
			if len(list) > 0 {
				w.answerWith(c, list[0], ActionRetry, false)
				break
			}
		}
	}
	w.perform()
}

func without(list []*Consumer, c *Consumer) (out []*Consumer) {
	for _, o := range list {
		if o != c {
			out = append(out, o)
		}
	}
	return out
}

func (w *world) someone() *Consumer {
	if len(w.consumers) == 0 {
		return nil
	}
	return w.consumers[w.r.IntN(len(w.consumers))]
}

func (w *world) answer(c *Consumer, calm bool) {
	list := w.held[c]
	i := w.r.IntN(len(list))
	m := list[i]
	w.held[c] = append(append([]*Message(nil), list[:i]...), list[i+1:]...)
	action, ack := Action(w.r.IntN(5)), w.r.IntN(2) == 0
	if calm {
		ack = true
	}
	w.answerWith(c, m, action, ack)
}

// answerWith gives an answer and notes what it must mean: only an event that is outstanding and was sent can be handled by it.
func (w *world) answerWith(c *Consumer, m *Message, action Action, ack bool) {
	before := w.g.byID[m.ID]
	sent := before != nil && (before.state == inFlight || before.state == waiting && before.retries > 0)
	if ack {
		if sent && !before.replayed {
			w.handled[before.At] = true
		}
		w.g.Ack(c, m.ID)
		return
	}
	holds := before != nil && before.state == inFlight && before.consumer == c
	if holds && !before.replayed && (action == ActionSkip || action == ActionStop) {
		w.handled[before.At] = true
	}
	w.g.Nack(c, action, "because", m.ID)
}

// enough is how many events a life reads at least.
const enough = 150

// Goal: under any schedule no event is skipped, the checkpoint never passes what is not handled, what is held is bounded, and nobody waits in vain.
// Method: random schedules with failing writes, late answers, repeated ids, replays and consumers that come and go; then calm, after which all is handled.
func TestAnySchedule(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		w := newWorld(t, seed)
		for range 300 {
			w.step(false)
		}
		for len(w.consumers) > 0 { // calm begins with consumers that answer
			c := w.consumers[0]
			w.g.Disconnect(c)
			w.consumers = w.consumers[1:]
			w.perform()
		}
		w.held = map[*Consumer][]*Message{}
		c, err := w.g.Connect(3, nil)
		if err != nil {
			w.fail("connect: %v", err)
		}
		w.consumers = append(w.consumers, c)
		w.perform()
		for i := 0; ; i++ {
			w.step(true)
			st := w.g.Stats()
			if st.Outstanding == 0 && w.next > enough && len(w.parks) == 0 && !w.replaying {
				break
			}
			if i > 200_000 {
				w.fail("does not come to rest: %+v", st)
			}
		}
		for p := Point(0); p < w.next; p++ {
			if !w.skipped[p] && !w.handled[p] {
				w.fail("event %d was never handled", p)
			}
			if !w.skipped[p] && w.delivered[p] == 0 {
				w.fail("event %d was never delivered", p)
			}
		}
		if at, _ := w.g.Final(); at != w.next-1 {
			w.fail("everything is handled, the last checkpoint is %d of %d", at, w.next-1)
		}
	}
}
