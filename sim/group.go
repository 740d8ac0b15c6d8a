package sim

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

// Streams of the simulated persistent subscription.
const (
	groupSource     = "shared-0"
	groupCheckpoint = "$persistentsubscription-shared-0::g-checkpoint"
	groupParked     = "$persistentsubscription-shared-0::g-parked"
)

// Times and sizes of it.
const (
	groupEvery    = 25 * time.Millisecond
	groupTimeout  = 400 * time.Millisecond
	groupThink    = 60 * time.Millisecond
	groupSlots    = 6
	groupReadMost = 20
)

var groupSettings = subscription.Settings{
	MessageTimeout: groupTimeout, MaxRetryCount: 3, CheckpointAfter: 200 * time.Millisecond, MinCheckpointCount: 1, MaxCheckpointCount: 16,
	LiveBuffer: 10, HistoryBuffer: 40, ReadBatch: 10, Strategy: subscription.RoundRobin,
}

// crowd is the consumers of one persistent subscription, and what they know: which events were handled, whoever led meanwhile. It checks P7 for groups:
// no checkpoint passes an event that was neither acknowledged nor parked, and at the end every event was.
type crowd struct {
	c       *cluster
	handled map[int64]bool // by revision of the source; looked up only
	got     map[int64]int
	ids     uint64
}

// hosted is the group on the node that leads, in one term of one life.
type hosted struct {
	n         *node
	life      int
	term      uint64
	state     *subscription.Group
	consumers []*subscription.Consumer
	revision  int64 // of the checkpoint stream
	parks     []subscription.Parking
	parking   bool
}

// groupTick lets the node's group live for a moment.
func (n *node) groupTick(life int) {
	if n.life != life {
		return
	}
	n.c.w.after(groupEvery, func() { n.groupTick(life) })
	if n.paused {
		return
	}
	s := n.core.Status()
	if !s.Serving {
		n.group = nil
		return
	}
	if n.group == nil || n.group.term != s.Term {
		if n.group = n.hostGroup(s.Term); n.group == nil {
			return
		}
	}
	h := n.group
	h.state.SetNow(n.c.w.now)
	if n.c.w.chance(0.01) && !n.c.calm {
		c := h.consumers[n.c.w.rng.IntN(len(h.consumers))]
		h.leave(c)
	}
	h.read()
	h.state.Tick()
	h.perform()
	n.step()
}

// hostGroup reads where the group stands, as the log of this node has it.
func (n *node) hostGroup(term uint64) *hosted {
	h := &hosted{n: n, life: n.life, term: term, revision: -1}
	from := subscription.Beginning
	_, err := n.reader.Stream(context.Background(), reader.StreamQuery{Stream: groupCheckpoint, FromEnd: true, Backwards: true, Count: 1}, func(e *reader.Event) error {
		at, err := strconv.ParseInt(string(e.Data()), 10, 64)
		h.revision, from = e.Revision, subscription.Point(at)
		return err
	})
	if err != nil {
		if !n.damage.hurt { // else it is tried again
			n.c.check.fail("P9", "node %d cannot read the group's checkpoint: %v", n.at+1, err)
		}
		return nil
	}
	n.c.crowd.passes(from, "is loaded")
	h.state = subscription.New(groupSettings, from, from, n.c.w.now)
	for range 2 {
		h.join()
	}
	n.c.count("group loaded")
	n.c.w.trace.note(n.c.w.now, "group loaded", uint64(n.at)+1, term, uint64(from+1))
	return h
}

func (h *hosted) join() {
	c, err := h.state.Connect(groupSlots, nil)
	if err != nil {
		panic(err)
	}
	h.consumers = append(h.consumers, c)
}

// leave takes a consumer away; another comes in its place.
func (h *hosted) leave(c *subscription.Consumer) {
	h.state.Disconnect(c)
	for i := range h.consumers {
		if h.consumers[i] == c {
			h.consumers = append(h.consumers[:i], h.consumers[i+1:]...)
			break
		}
	}
	h.join()
	h.n.c.count("consumer left")
}

// alive says whether the group still is the node's.
func (h *hosted) alive() bool { return h.n.group == h && h.n.life == h.life }

// read takes what the node has applied of the source.
func (h *hosted) read() {
	most := min(h.state.Room(), groupReadMost)
	if most == 0 {
		return
	}
	_, err := h.n.reader.Stream(context.Background(), reader.StreamQuery{Stream: groupSource, From: int64(h.state.At()) + 1, Count: uint64(most)}, func(e *reader.Event) error {
		h.state.Read(&subscription.Message{ID: e.ID, At: subscription.Point(e.Revision), Bytes: len(e.Data())})
		return nil
	})
	if err != nil && !h.n.damage.hurt {
		h.n.c.check.fail("P9", "node %d cannot read the group's events: %v", h.n.at+1, err)
	}
}

func (h *hosted) perform() {
	e := h.state.Take()
	for _, d := range e.Deliver {
		h.send(d)
	}
	h.parks = append(h.parks, e.Park...)
	if e.HasCheckpoint {
		h.write(e.Checkpoint)
	}
	h.state.Recycle(e)
	h.park()
}

// send carries a delivery to its consumer, which answers after a while, or never.
func (h *hosted) send(d subscription.Delivery) {
	w, crowd := h.n.c.w, h.n.c.crowd
	at, id, consumer := int64(d.Message.At), d.Message.ID, d.Consumer
	h.state.Sent(consumer, 1)
	there := endpoint(len(h.n.c.nodes) + len(h.n.c.clients))
	h.n.c.net.send(h.n.at, there, func() {
		if crowd.got[at]++; crowd.got[at] > 1 {
			h.n.c.count("event delivered again")
		}
		if !h.n.c.calm && w.chance(0.1) {
			return // the consumer fails at it: no answer
		}
		park := !h.n.c.calm && w.chance(0.05)
		w.after(w.between(0, groupThink), func() {
			if !park {
				crowd.handled[at] = true
			}
			h.n.c.net.send(there, h.n.at, func() {
				h.n.deliver(func() {
					if !h.alive() {
						return
					}
					h.state.SetNow(w.now)
					if park {
						h.state.Nack(consumer, subscription.ActionPark, "simulated", id)
					} else {
						h.state.Ack(consumer, id)
					}
					h.perform()
				})
			})
		})
	})
}

// passes checks that everything up to a checkpoint was handled.
func (c *crowd) passes(at subscription.Point, what string) {
	for rev := int64(0); rev <= int64(at); rev++ {
		if !c.handled[rev] {
			c.c.check.fail("P7", "a checkpoint at %d %s, but event %d of %s was neither acknowledged nor parked", at, what, rev, groupSource)
			return
		}
	}
}

func (c *crowd) newID() (id [16]byte) {
	c.ids++
	binary.BigEndian.PutUint64(id[:8], 1<<60)
	binary.BigEndian.PutUint64(id[8:], c.ids)
	return id
}

func (h *hosted) append(w stream.Write, answer func(p *replica.Proposal)) {
	cmd, err := stream.NewAppend(stream.Limits{}, w)
	if err != nil {
		panic(err)
	}
	h.n.submit(cmd, func(p *replica.Proposal) {
		if h.alive() {
			answer(p)
		}
	})
}

// write proposes a checkpoint at the revision this term knows.
func (h *hosted) write(at subscription.Point) {
	crowd := h.n.c.crowd
	crowd.passes(at, "is written")
	h.append(stream.Write{Stream: groupCheckpoint, Expected: stream.Expected(h.revision), Events: []stream.Event{
		{ID: crowd.newID(), Type: "$SubscriptionCheckpoint", Data: strconv.AppendInt(nil, int64(at), 10)}}}, func(p *replica.Proposal) {
		ok := p.Err == nil && p.Outcome.Kind == stream.Done
		if ok {
			h.revision = p.Outcome.Writes[0].Last
			h.n.c.count("checkpoint of a group")
		} else if p.Err == nil {
			h.n.c.check.fail("P7", "node %d leads term %d and is refused its checkpoint at revision %d: somebody of another term wrote", h.n.at+1, h.term, h.revision+1)
		}
		h.state.SetNow(h.n.c.w.now)
		h.state.CheckpointDone(ok)
		h.perform()
	})
}

// park writes one link at a time.
func (h *hosted) park() {
	if h.parking || len(h.parks) == 0 {
		return
	}
	h.parking = true
	p := h.parks[0]
	h.parks = h.parks[1:]
	at := int64(p.Message.At)
	h.append(stream.Write{Stream: groupParked, Expected: stream.Any, Events: []stream.Event{
		{ID: h.n.c.crowd.newID(), Type: stream.LinkType, Data: fmt.Appendf(nil, "%d@%s", at, groupSource)}}}, func(r *replica.Proposal) {
		ok := r.Err == nil && r.Outcome.Kind == stream.Done
		if ok {
			h.n.c.crowd.handled[at] = true
			h.n.c.count("event parked")
		}
		h.parking = false
		h.state.SetNow(h.n.c.w.now)
		h.state.Parked(p.Message, ok)
		h.perform()
	})
}

// rested says that the group has handled everything and wrote it down.
func (c *crowd) rested() bool {
	n := c.c.leader()
	if n == nil || n.group == nil {
		return false
	}
	st := n.group.state.Stats()
	_, unwritten := n.group.state.Final()
	return st.Outstanding == 0 && int(st.Read) == len(c.c.check.streams[groupSource])-1 && !unwritten
}

// final checks that no event was skipped.
func (c *crowd) final() {
	for rev := range int64(len(c.c.check.streams[groupSource])) {
		if !c.handled[rev] || c.got[rev] == 0 {
			c.c.check.fail("P7", "event %d of %s was never handled by the group's consumers", rev, groupSource)
			return
		}
	}
}
