package subscriptions

import (
	"context"
	"sync"
	"time"

	"baton/eventstore/reader"
	"baton/eventstore/subscription"
)

// ConsumerInfo says who a consumer is.
type ConsumerInfo struct {
	From       string // network address
	User       string
	Connection string // the name the client gave its connection
	Slots      int    // events it may hold unacknowledged; 0: DefaultSlots
}

// Delivery is one event for a consumer.
type Delivery struct {
	// Event is complete but for Data and Metadata; it may be kept and must not be changed: others may have it too.
	Event   *reader.Event
	Retries int
}

// Consumer is one consumer's call. Next and Sent belong to one goroutine, Ack and Nack to one other; Close ends both.
type Consumer struct {
	g     *group
	info  ConsumerInfo
	state *subscription.Consumer
	began time.Time
	measured

	mu    sync.Mutex
	queue []Delivery
	ready chan struct{} // something is in queue
	ended chan struct{} // closed when cause is set
	cause error
}

// Connect joins a group. Errors: *NotFoundError, ErrFull, *FailedError, and those of requests to a leader.
func (s *Service) Connect(ctx context.Context, k Key, info ConsumerInfo) (*Consumer, error) {
	t, err := s.leading(ctx)
	if err != nil {
		return nil, err
	}
	g := t.find(k)
	if g == nil {
		return nil, &NotFoundError{k}
	}
	if info.Slots == 0 {
		info.Slots = subscription.DefaultSlots
	}
	c := &Consumer{g: g, info: info, began: time.Now(), ready: make(chan struct{}, 1), ended: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return nil, &DroppedError{k, g.reason}
	case g.fault != "":
		return nil, &FailedError{k, "its events cannot be read: " + g.fault}
	}
	g.state.SetNow(s.now())
	if c.state, err = g.state.Connect(info.Slots, c); err != nil {
		return nil, err
	}
	g.consumers[c] = struct{}{}
	g.perform()
	return c, nil
}

// push adds a delivery; the group's lock is held.
func (c *Consumer) push(d *subscription.Delivery) {
	c.mu.Lock()
	c.queue = append(c.queue, Delivery{d.Message.Payload.(*reader.Event), d.Retries})
	c.mu.Unlock()
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// end makes Next return the cause.
func (c *Consumer) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
		close(c.ended)
	}
}

// Next waits for deliveries and returns those there are, in order, using the memory of into. The error is *DroppedError or the context's.
func (c *Consumer) Next(ctx context.Context, into []Delivery) ([]Delivery, error) {
	for {
		c.mu.Lock()
		if c.cause != nil {
			defer c.mu.Unlock()
			return nil, c.cause
		}
		if len(c.queue) > 0 {
			list := c.queue
			c.queue = into[:0]
			c.mu.Unlock()
			return list, nil
		}
		c.mu.Unlock()
		select {
		case <-c.ready:
		case <-c.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Sent notes that the client was sent n deliveries: only then it is sent more.
func (c *Consumer) Sent(n int) {
	c.g.do(func(s *subscription.Group) { s.Sent(c.state, n) })
}

// Ack notes that events were handled. Unknown ids are ignored.
func (c *Consumer) Ack(ids ...[16]byte) {
	c.g.do(func(s *subscription.Group) { s.Ack(c.state, ids...) })
}

// Nack notes that events were refused. Unknown ids are ignored.
func (c *Consumer) Nack(action subscription.Action, reason string, ids ...[16]byte) {
	c.g.do(func(s *subscription.Group) { s.Nack(c.state, action, reason, ids...) })
}

// Close leaves the group: what was not acknowledged goes to others.
func (c *Consumer) Close() {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	c.g.leave(c)
	c.end(context.Canceled)
}

// leave removes a consumer. mu is held.
func (g *group) leave(c *Consumer) {
	if _, here := g.consumers[c]; !here {
		return
	}
	delete(g.consumers, c)
	if g.closed {
		return
	}
	g.state.SetNow(g.t.s.now())
	g.state.Disconnect(c.state)
	g.perform()
}
