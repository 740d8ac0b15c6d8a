package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

const (
	// readAgainAfter is the pause after a group's source could not be read.
	readAgainAfter = time.Second
	// noDeadline stands for a timer that is not set.
	noDeadline = time.Duration(1<<63 - 1)
)

// group is one group that runs. Its lock guards the state; effects are performed under it, in the order the state gave them, and none of them blocks.
type group struct {
	t      *term
	key    Key
	entry  entry
	match  *matcher
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	state     *subscription.Group
	roomy     *sync.Cond // there may be room for events, or the group is closed
	closed    bool
	reason    string // of the end
	fault     string // why the source cannot be read; empty while it can
	consumers map[*Consumer]struct{}
	timer     *time.Timer
	armed     time.Duration // when the timer fires, in the service's time
	from      subscription.Point
	began     time.Time
	measured  measured

	// checkpoints: the stream's revision as this group knows it, and whether its metadata was set.
	revision stream.Expected
	bounded  bool

	parks   []subscription.Parking // to be written
	writing bool                   // a goroutine writes them
	parked  *sync.Cond             // some were written
	parkSeq uint64                 // parkings asked for
	parkEnd uint64                 // parkings ended

	// Counts since this node leads.
	nacked, tired, replays uint64
}

// open reads where a group stands.
func (t *term) open(e entry) (*group, error) {
	g := &group{t: t, key: e.key(), entry: e, armed: noDeadline, consumers: map[*Consumer]struct{}{}, began: time.Now(), revision: stream.NoStream}
	g.roomy, g.parked = sync.NewCond(&g.mu), sync.NewCond(&g.mu)
	g.ctx, g.cancel = context.WithCancel(t.ctx)
	settings := e.settings()
	if err := settings.Check(); err != nil {
		g.fault = err.Error()
	}
	var err error
	if g.match, err = e.filter().compile(); err != nil {
		g.fault = err.Error()
	}
	from, checkpointed := subscription.Beginning, subscription.Beginning
	switch {
	case e.StartsAfter != nil:
		from = subscription.Point(*e.StartsAfter)
	case e.StartFrom == -1 || e.StartPosition == "C:-1/P:-1":
		if from, err = t.endOf(t.ctx, e.Stream); err != nil {
			return nil, err
		}
	case e.Stream == stream.AllStream:
		pos, err := ParsePosition(e.StartPosition)
		if err != nil {
			g.fault = err.Error()
		}
		from = subscription.Point(pos) - 1
	default:
		from = subscription.Point(e.StartFrom) - 1
	}
	name := g.key.checkpointStream()
	rev, data, err := t.last(t.ctx, name)
	if err != nil {
		return nil, err
	}
	if rev >= 0 {
		at, err := parsePlace(g.key, data)
		if err != nil {
			return nil, fmt.Errorf("the checkpoint in %q, revision %d: %w", name, rev, err)
		}
		g.revision, from, checkpointed = stream.Expected(rev), at, at
	}
	rev, _, err = t.last(t.ctx, stream.MetaStream(name))
	if err != nil {
		return nil, err
	}
	g.bounded = rev >= 0 && g.revision >= 0
	g.from = from
	g.state = subscription.New(settings, from, checkpointed, t.s.now())
	return g, nil
}

// run begins to read.
func (g *group) run() {
	g.timer = time.AfterFunc(time.Hour, g.due)
	g.timer.Stop()
	if g.fault != "" {
		g.t.s.logger.Error("a persistent subscription cannot run with its settings", "group", g.key.String(), "error", g.fault)
		return
	}
	g.spawn(g.read)
}

// spawn runs f as long as the group; close waits for nobody, the term's end does.
func (g *group) spawn(f func()) {
	g.t.wg.Add(1)
	g.wg.Add(1)
	go func() {
		defer g.t.wg.Done()
		defer g.wg.Done()
		f()
	}()
}

// close ends the group for everybody: from here on nothing is delivered, parked or remembered. What is being written ends by itself; see wait.
func (g *group) close(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.closed, g.reason = true, reason
	if g.timer != nil {
		g.timer.Stop()
	}
	for c := range g.consumers {
		c.end(&DroppedError{g.key, reason})
	}
	g.cancel()
	g.roomy.Broadcast()
	g.parked.Broadcast()
}

// finish waits until nothing of a closed group is being written and writes its last checkpoint. Failing is harmless: events are delivered again.
func (g *group) finish(ctx context.Context) {
	g.wg.Wait()
	g.mu.Lock()
	at, ok := g.state.Final()
	g.mu.Unlock()
	if ok {
		if err := g.writeCheckpoint(ctx, at); err != nil {
			g.t.s.logger.Warn("a last checkpoint was not written", "group", g.key.String(), "error", err)
		}
	}
}

// do lets something happen to the state. It reports false when the group has ended.
func (g *group) do(f func(*subscription.Group)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.state.SetNow(g.t.s.now())
	f(g.state)
	g.perform()
	return true
}

// perform carries the effects out. mu is held.
func (g *group) perform() {
	e := g.state.Take()
	for i := range e.Deliver {
		d := &e.Deliver[i]
		d.Consumer.Host.(*Consumer).push(d)
	}
	if len(e.Park) > 0 {
		g.parks = append(g.parks, e.Park...)
		g.parkSeq += uint64(len(e.Park))
		for i := range e.Park {
			if e.Park[i].Tired {
				g.tired++
			} else {
				g.nacked++
			}
		}
		if !g.writing {
			g.writing = true
			g.spawn(g.writeParks)
		}
	}
	if e.HasCheckpoint {
		at := e.Checkpoint
		g.spawn(func() {
			// It ends also when the group is closed meanwhile: who comes next must know the stream's revision.
			err := g.writeCheckpoint(g.t.ctx, at)
			if err != nil && g.ctx.Err() == nil {
				g.t.s.logger.Warn("a checkpoint was not written; a later one will be", "group", g.key.String(), "error", err)
			}
			g.do(func(s *subscription.Group) { s.CheckpointDone(err == nil) })
		})
	}
	if e.HasTruncate {
		before := e.Truncate
		g.spawn(func() {
			if err := g.truncate(g.ctx, int64(before)); err != nil && g.ctx.Err() == nil {
				g.t.s.logger.Warn("replayed events are still parked: the parked stream was not truncated", "group", g.key.String(), "error", err)
			}
			g.do(func(s *subscription.Group) { s.ReplayDone() })
		})
	}
	g.state.Recycle(e)
	if g.state.Room() > 0 {
		g.roomy.Broadcast()
	}
	g.arm()
}

// arm sets the timer to the next deadline. mu is held.
func (g *group) arm() {
	at, ok := g.state.Deadline()
	if !ok {
		at = noDeadline
	}
	if at >= g.armed {
		return // it fires early enough, finds nothing due, and is set again
	}
	g.armed = at
	g.timer.Reset(max(at-g.t.s.now(), 0))
}

func (g *group) due() {
	g.do(func(s *subscription.Group) {
		g.armed = noDeadline
		s.Tick()
	})
}

// read follows the source until the group ends.
func (g *group) read() {
	for {
		err := g.follow()
		if g.ctx.Err() != nil {
			return
		}
		if errors.Is(err, reader.ErrStreamDeleted) {
			<-g.ctx.Done() // nothing can come any more
			return
		}
		g.t.s.logger.Error("a persistent subscription cannot read its events", "group", g.key.String(), "error", err)
		g.mu.Lock()
		g.fault = err.Error()
		for c := range g.consumers {
			g.leave(c)
			c.end(&DroppedError{g.key, "its events cannot be read: " + err.Error()})
		}
		g.mu.Unlock()
		pause := time.NewTimer(readAgainAfter)
		select {
		case <-pause.C:
		case <-g.ctx.Done():
			pause.Stop()
			return
		}
		g.mu.Lock()
		g.fault = ""
		g.from = g.state.At()
		g.mu.Unlock()
	}
}

func (g *group) follow() error {
	r := g.t.s.node.Reader()
	if g.key.Stream == stream.AllStream {
		q := reader.AllSubscription{From: uint64(max(g.from, 0)), FromStart: g.from < 0, Near: true, ResolveLinks: g.entry.ResolveLinkTos}
		return r.SubscribeAll(g.ctx, q, allSource{g})
	}
	q := reader.StreamSubscription{Stream: g.key.Stream, From: int64(g.from), FromStart: g.from < 0, ResolveLinks: g.entry.ResolveLinkTos}
	return r.SubscribeStream(g.ctx, q, streamSource{g})
}

// streamSource takes the events of a stream.
type streamSource struct{ *group }

func (s streamSource) Event(e *reader.Event) error {
	return s.take(e, subscription.Point(e.Original().Revision))
}

func (s streamSource) Checkpoint(uint64) error { return nil }

// CaughtUp passes what truncation leaves out.
func (s streamSource) CaughtUp(rev int64, _ uint64) error {
	s.do(func(g *subscription.Group) { g.Examined(subscription.Point(rev), false) })
	return nil
}

// allSource takes the events of all streams.
type allSource struct{ *group }

func (s allSource) Event(e *reader.Event) error {
	at, name, kind := subscription.Point(e.Original().Position), e.Original().Stream, e.Original().Type
	own := ofAllGroups(name)
	if own || !s.match.matches(name, kind) {
		s.do(func(g *subscription.Group) { g.Examined(at, !own) })
		return nil
	}
	return s.take(e, at)
}

func (s allSource) Checkpoint(uint64) error { return nil }

func (s allSource) CaughtUp(_ int64, pos uint64) error {
	s.do(func(g *subscription.Group) { g.Examined(subscription.Point(pos), false) })
	return nil
}

// take gives an event to the state, waiting for room.
func (g *group) take(e *reader.Event, at subscription.Point) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.await() {
		return context.Canceled
	}
	if at <= g.state.At() {
		return nil
	}
	m := g.message(e, at)
	g.state.SetNow(g.t.s.now())
	g.state.Read(m)
	g.perform()
	return nil
}

// await waits for room; false when the group has ended. mu is held.
func (g *group) await() bool {
	for !g.closed && g.state.Room() == 0 {
		g.roomy.Wait()
	}
	return !g.closed
}
