package subscription

import (
	"slices"
	"time"
)

// Consumer is one connected consumer.
type Consumer struct {
	// Slots is how many events it may hold unacknowledged, 1 to MaxSlots.
	Slots int
	// Host is the caller's own.
	Host any

	inFlight int
	backlog  int // sent by the group and not yet by its host
	total    int64
	gone     bool
	buckets  int // of pinned strategies
	times    times
}

// room says whether the consumer can take an event. What its host could not send yet counts too: a consumer that reads nothing gets nothing more, also
// when its events were taken back from it.
func (c *Consumer) room() bool { return c.inFlight < c.Slots && c.backlog < c.Slots }

// Connect adds a consumer. The error is ErrFull.
func (g *Group) Connect(slots int, host any) (*Consumer, error) {
	if g.settings.MaxSubscribers > 0 && len(g.consumers) >= g.settings.MaxSubscribers {
		return nil, ErrFull
	}
	c := &Consumer{Slots: min(max(slots, 1), MaxSlots), Host: host}
	if g.settings.ExtraStatistics {
		c.times.keep = true
	}
	g.consumers = append(g.consumers, c)
	if g.pins != nil {
		g.pins.joined(c, g.consumers)
	}
	g.dispatch()
	return c, nil
}

// Disconnect removes a consumer. What it holds is sent to others, in the order it was sent to it.
func (g *Group) Disconnect(c *Consumer) {
	i := slices.Index(g.consumers, c)
	if i < 0 {
		return
	}
	g.consumers = slices.Delete(g.consumers, i, i+1)
	if g.turn > i {
		g.turn--
	}
	c.gone = true
	for m := g.flight.first; m != nil; {
		next := m.next
		if m.consumer == c {
			g.back(m)
		}
		m = next
	}
	if g.pins != nil {
		g.pins.left(c, g.consumers)
	}
	g.dispatch()
	g.checkpoint()
}

// Sent notes that the consumer's host has passed on n deliveries.
func (g *Group) Sent(c *Consumer, n int) {
	c.backlog = max(c.backlog-n, 0)
	if !c.gone {
		g.dispatch()
	}
}

// dispatch sends what waits to those who have room: first what was sent before, then what is new.
func (g *Group) dispatch() {
	if len(g.consumers) == 0 {
		return
	}
	for _, l := range []*line{&g.retries, &g.queue} {
		for m := l.first; m != nil; {
			next := m.next
			c, some := g.choose(m)
			if !some {
				return
			}
			if c != nil {
				g.send(m, c)
			}
			m = next
		}
	}
}

// choose picks the consumer for an event; nil if that one has no room. some is false when nobody has any.
func (g *Group) choose(m *Message) (c *Consumer, some bool) {
	switch g.settings.Strategy {
	case DispatchToSingle:
		for _, c := range g.consumers {
			if c.room() {
				return c, true
			}
		}
		return nil, false
	case Pinned, PinnedByCorrelation:
		if c := g.pins.holder(m.bucket); c != nil && c.room() {
			return c, true
		}
		return nil, slices.ContainsFunc(g.consumers, (*Consumer).room)
	}
	for range g.consumers {
		if g.turn >= len(g.consumers) {
			g.turn = 0
		}
		c := g.consumers[g.turn]
		g.turn++
		if c.room() {
			return c, true
		}
	}
	return nil, false
}

func (g *Group) send(m *Message, c *Consumer) {
	m.leave()
	m.state, m.consumer, m.sentAt, m.due = inFlight, c, g.now, 0
	if g.settings.MessageTimeout > 0 {
		m.due = g.now + g.settings.MessageTimeout
	}
	g.flight.push(m)
	c.inFlight++
	c.backlog++
	c.total++
	g.total++
	if g.pins != nil {
		g.pins.sent(m.bucket, c)
	}
	g.out.Deliver = append(g.out.Deliver, Delivery{c, m, m.retries})
}

// keptTimes bounds the times kept of one consumer.
const keptTimes = 512

// times are those a consumer took for its last events.
type times struct {
	keep bool
	list []time.Duration
	next int
}

func (c *Consumer) took(d time.Duration) {
	t := &c.times
	switch {
	case !t.keep:
	case len(t.list) < keptTimes:
		t.list = append(t.list, d)
	default:
		t.list[t.next] = d
		t.next = (t.next + 1) % keptTimes
	}
}
