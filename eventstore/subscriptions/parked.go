package subscriptions

import (
	"bytes"
	"context"
	"math"
	"strconv"

	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

// NoLimit as a stop stands for everything parked now.
const NoLimit int64 = math.MaxInt64

// replayPage is how many parked events one read takes.
const replayPage = 100

// Replay delivers the parked events below stop, a revision of the parked stream, again. It returns once that has begun. Errors: *NotFoundError,
// *FailedError (a replay runs), and those of requests to a leader.
func (s *Service) Replay(ctx context.Context, k Key, stop int64) error {
	g, first, stop, err := s.beginReplay(ctx, k, stop)
	if err != nil || g == nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return &DroppedError{k, g.reason}
	}
	g.replays++
	g.spawn(func() {
		err := g.replay(first, stop)
		if err != nil && g.ctx.Err() == nil {
			g.t.s.logger.Warn("parked events could not be read; all stay parked", "group", k.String(), "error", err)
		}
		g.do(func(s *subscription.Group) { s.ReplayEnd(err == nil) })
	})
	return nil
}

// TruncateParked forgets the parked events below stop.
func (s *Service) TruncateParked(ctx context.Context, k Key, stop int64) error {
	g, _, stop, err := s.beginReplay(ctx, k, stop)
	if err != nil || g == nil {
		return err
	}
	err = g.truncate(ctx, stop)
	g.do(func(s *subscription.Group) { s.ReplayDone() })
	return err
}

// beginReplay claims a group's parked events from first to stop. g is nil when there are none.
func (s *Service) beginReplay(ctx context.Context, k Key, stop int64) (g *group, first, end int64, err error) {
	if stop < 0 {
		return nil, 0, 0, &RequestError{"the place to stop at must not be negative; it is " + strconv.FormatInt(stop, 10)}
	}
	t, err := s.leading(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	if g = t.find(k); g == nil {
		return nil, 0, 0, &NotFoundError{k}
	}
	if err := g.parksWritten(ctx); err != nil {
		return nil, 0, 0, err
	}
	first, last, err := g.parkedRange(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	if end = last + 1; stop < end {
		end = stop
	}
	running := false
	alive := g.do(func(s *subscription.Group) {
		switch {
		case s.Replaying():
			running = true
		case first < end:
			_ = s.BeginReplay(subscription.Point(end)) // nothing runs
		}
	})
	switch {
	case !alive:
		return nil, 0, 0, &DroppedError{k, "the group was changed meanwhile"}
	case running:
		return nil, 0, 0, &FailedError{k, subscription.ErrReplaying.Error()}
	case first >= end:
		return nil, 0, 0, nil
	}
	return g, first, end, nil
}

// parksWritten waits until what consumers had parked before the call is written, or came to nothing.
func (g *group) parksWritten(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		g.mu.Lock()
		g.parked.Broadcast()
		g.mu.Unlock()
	})
	defer stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	for want := g.parkSeq; g.parkEnd < want && !g.closed; {
		if err := ctx.Err(); err != nil {
			return err
		}
		g.parked.Wait()
	}
	return nil
}

// replay gives the parked events from first to stop to the state, as there is room.
func (g *group) replay(first, stop int64) error {
	r := g.t.s.node.Reader()
	for first < stop {
		next := first
		_, err := r.Stream(g.ctx, reader.StreamQuery{Stream: g.key.ParkedStream(), From: first, Count: replayPage, ResolveLinks: true}, func(e *reader.Event) error {
			link := e.Original()
			next = link.Revision + 1
			if link.Revision >= stop {
				return nil
			}
			return g.takeParked(e, link)
		})
		if err != nil {
			return err
		}
		if next == first {
			return nil // nothing is there any more
		}
		first = next
	}
	return nil
}

func (g *group) takeParked(e, link *reader.Event) error {
	m := g.message(e, subscription.Point(link.Revision))
	m.ID = link.ID
	if g.entry.ResolveLinkTos && e.Link != nil && e.Type == stream.LinkType {
		if target := g.follow2(e); target != nil {
			target.Link = m.Payload.(*reader.Event).Link
			m.Payload, m.Bytes = target, size(target)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.await() {
		return context.Canceled
	}
	g.state.SetNow(g.t.s.now())
	g.state.ReplayRead(m)
	g.perform()
	return nil
}

// follow2 reads the target of a link that was parked itself; nil if it cannot be read.
func (g *group) follow2(link *reader.Event) *reader.Event {
	number, name, ok := bytes.Cut(link.Data(), []byte("@"))
	rev, err := strconv.ParseInt(string(number), 10, 64)
	if !ok || err != nil || rev < 0 {
		return nil
	}
	var target *reader.Event
	_, err = g.t.s.node.Reader().Stream(g.ctx, reader.StreamQuery{Stream: string(name), From: rev, Count: 1}, func(e *reader.Event) error {
		if e.Revision == rev {
			target = keep(e)
		}
		return nil
	})
	if err != nil {
		return nil
	}
	return target
}
