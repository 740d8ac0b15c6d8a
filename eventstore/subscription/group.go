package subscription

import (
	"errors"
	"time"
)

// Errors of a group.
var (
	// ErrFull: the group has all the consumers its settings allow.
	ErrFull = errors.New("the group has as many consumers as its settings allow")
	// ErrReplaying: parked events are being replayed or truncated.
	ErrReplaying = errors.New("parked events are being replayed or truncated already")
)

// Action is what a consumer wants done with an event it refuses.
type Action uint8

// The actions of the client protocol, in its numbers.
const (
	ActionUnknown Action = 0 // the server decides: as Retry
	ActionPark    Action = 1
	ActionRetry   Action = 2
	ActionSkip    Action = 3
	ActionStop    Action = 4 // counts as handled; the consumer ends the call itself
)

// Delivery is one event to be sent to a consumer.
type Delivery struct {
	Consumer *Consumer
	Message  *Message
	Retries  int
}

// Parking is one event to be written to the parked stream. [Group.Parked] tells how it went.
type Parking struct {
	Message *Message
	Reason  string
	Tired   bool // it was sent as often as the settings allow; else a consumer asked for it
}

// Effects are what a group wants done. The slices are the group's again after [Group.Recycle].
type Effects struct {
	Deliver []Delivery
	Park    []Parking
	// Checkpoint is to be written if HasCheckpoint; [Group.CheckpointDone] tells how it went. There is one at a time.
	Checkpoint    Point
	HasCheckpoint bool
	// Truncate: every parked event below it was replayed and handled. [Group.ReplayDone] tells that the parked stream was truncated, or not.
	Truncate    Point
	HasTruncate bool
}

// Group is the state of one consumer group on the node that leads.
type Group struct {
	settings Settings
	now      time.Duration
	out      Effects
	spare    Effects

	queue   line // read and to be sent
	retries line // to be sent before the queue
	flight  line // with consumers, soonest due first
	order   ledger
	byID    map[[16]byte]*Message
	parking int
	behind  int
	bytes   int

	consumers []*Consumer
	turn      int // of RoundRobin: whose it is
	pins      *pins

	read         Point // last place read or examined
	checkpointed Point
	handled      int // since the last checkpoint
	writing      bool
	writingAt    Point
	writingCount int
	wroteAt      time.Duration
	pausedUntil  time.Duration

	replay replay
	total  int64 // deliveries
}

// New returns a group without consumers that has read, and handled, everything up to from. now is as of [Group.SetNow].
func New(s Settings, from Point, checkpointed Point, now time.Duration) *Group {
	g := &Group{settings: s, now: now, wroteAt: now, read: from, checkpointed: checkpointed, byID: map[[16]byte]*Message{}}
	if s.Strategy.pins() {
		g.pins = &pins{}
	}
	return g
}

// SetNow tells the time of what comes next; it never goes back.
func (g *Group) SetNow(now time.Duration) { g.now = max(g.now, now) }

// Take returns the effects since the last call.
func (g *Group) Take() Effects {
	e := g.out
	g.out, g.spare = g.spare, Effects{}
	return e
}

// Recycle gives the memory of effects back.
func (g *Group) Recycle(e Effects) {
	clear(e.Deliver)
	clear(e.Park)
	g.spare = Effects{Deliver: e.Deliver[:0], Park: e.Park[:0]}
}

// Room is how many more events the group takes now; 0 means: wait until something was handled.
func (g *Group) Room() int {
	if g.bytes >= maxBytes {
		return 0
	}
	return max(g.settings.HistoryBuffer-g.queue.count-g.retries.count-g.parking-g.behind, 0)
}

// At is the last place read or examined.
func (g *Group) At() Point { return g.read }

// Read takes the next event of the source. Events come in order, each once.
func (g *Group) Read(m *Message) {
	if m.At <= g.read {
		panic("subscription: an event was read out of order")
	}
	m.before = g.read
	g.read = m.At
	g.order.push(m)
	g.add(m)
	g.dispatch()
}

// Examined notes that the group passed a place without an event for it. Places that count bring the next checkpoint nearer.
func (g *Group) Examined(at Point, counts bool) {
	if at <= g.read {
		return
	}
	g.read = at
	if counts {
		g.handled++
	}
	g.checkpoint()
}

func (g *Group) add(m *Message) {
	g.bytes += m.Bytes + messageBytes
	if g.pins != nil {
		m.bucket = bucketOf(m.Key)
	}
	if first := g.byID[m.ID]; first != nil {
		// Two at a time could not be told apart when one is acknowledged.
		for first.later != nil {
			first = first.later
		}
		first.later = m
		m.state = behind
		g.behind++
		return
	}
	g.byID[m.ID] = m
	m.state = waiting
	if m.replayed {
		g.retries.push(m)
	} else {
		g.queue.push(m)
	}
}

// Ack notes that a consumer handled events. An event that was sent again meanwhile is handled as well; unknown ids are ignored.
func (g *Group) Ack(c *Consumer, ids ...[16]byte) {
	for _, id := range ids {
		m := g.byID[id]
		if m == nil || m.state != inFlight && (m.state != waiting || m.retries == 0) {
			continue
		}
		if m.consumer == c && c != nil {
			c.took(g.now - m.sentAt)
		}
		g.done(m)
	}
	g.dispatch()
	g.checkpoint()
}

// Nack notes that a consumer refuses events it holds. Events it does not hold any more are ignored.
func (g *Group) Nack(c *Consumer, action Action, reason string, ids ...[16]byte) {
	for _, id := range ids {
		m := g.byID[id]
		if m == nil || m.state != inFlight || m.consumer != c {
			continue
		}
		switch action {
		case ActionPark:
			g.park(m, reason, false)
		case ActionSkip, ActionStop:
			g.done(m)
		default:
			g.again(m, reason)
		}
	}
	g.dispatch()
	g.checkpoint()
}

// Tick lets what is due happen: see [Group.Deadline].
func (g *Group) Tick() {
	for m := g.flight.first; m != nil && m.due > 0 && m.due <= g.now; m = g.flight.first {
		g.again(m, "the consumer did not answer in time")
	}
	g.dispatch()
	g.checkpoint()
}

// Deadline is when Tick is to be called next; ok is false while nothing waits for time to pass.
func (g *Group) Deadline() (at time.Duration, ok bool) {
	if m := g.flight.first; m != nil && m.due > 0 {
		at, ok = m.due, true
	}
	if due, waits := g.checkpointDue(); waits && (!ok || due < at) {
		at, ok = due, true
	}
	return at, ok
}

// again sends an event once more, or parks it when that was done often enough.
func (g *Group) again(m *Message, reason string) {
	if m.retries >= g.settings.MaxRetryCount {
		if reason == "" {
			reason = "it was sent again as often as the settings allow"
		}
		g.park(m, reason, true)
		return
	}
	g.back(m)
}

// back returns an event from its consumer to those to be sent.
func (g *Group) back(m *Message) {
	g.release(m)
	m.retries++
	m.state = waiting
	g.retries.push(m)
}

func (g *Group) park(m *Message, reason string, tired bool) {
	g.release(m)
	m.state = parking
	g.parking++
	g.out.Park = append(g.out.Park, Parking{m, reason, tired})
}

// Parked tells that the parking of an event was written, or could not be: then it is sent again.
func (g *Group) Parked(m *Message, ok bool) {
	if m.state != parking {
		panic("subscription: an event was parked twice")
	}
	g.parking--
	if ok {
		g.done(m)
	} else {
		m.state = waiting
		m.retries = max(m.retries, 1)
		g.retries.push(m)
	}
	g.dispatch()
	g.checkpoint()
}

// release takes an event from its consumer.
func (g *Group) release(m *Message) {
	m.leave()
	if c := m.consumer; c != nil {
		c.inFlight--
		m.consumer = nil
		if g.pins != nil {
			g.pins.released(m.bucket)
		}
	}
}

// done ends an event: it is not outstanding any more.
func (g *Group) done(m *Message) {
	g.release(m)
	m.state = handled
	g.bytes -= m.Bytes + messageBytes
	if m.replayed {
		g.replay.left--
		g.replayed()
	} else {
		g.order.remove(m)
		g.handled++
	}
	if m.later == nil {
		delete(g.byID, m.ID)
		return
	}
	next := m.later
	m.later = nil
	g.byID[m.ID] = next
	g.behind--
	next.state = waiting
	g.retries.push(next)
}
