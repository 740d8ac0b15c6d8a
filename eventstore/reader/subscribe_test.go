package reader

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"baton/eventstore/log"
	"baton/eventstore/stream"
)

// tape records what a subscription delivers.
type tape struct {
	mu     sync.Mutex
	lines  []string
	grown  chan struct{}
	done   chan error
	pauses int // calls of Flush
	// hold, if set, is received from before each event.
	hold chan struct{}
}

func (p *tape) add(format string, args ...any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, fmt.Sprintf(format, args...))
	select {
	case p.grown <- struct{}{}:
	default:
	}
	return nil
}

func (p *tape) Event(e *Event) error {
	if p.hold != nil {
		<-p.hold
	}
	return p.add("%s", text(e))
}
func (p *tape) Checkpoint(pos uint64) error          { return p.add("checkpoint %d", pos) }
func (p *tape) CaughtUp(rev int64, pos uint64) error { return p.add("caught up %d %d", rev, pos) }

func (p *tape) Flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pauses++
	return nil
}

// await waits until the tape holds want, and nothing else.
func (p *tape) await(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		p.mu.Lock()
		got := slices.Clone(p.lines)
		p.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("got %q, want %q", got, want)
		}
		select {
		case <-p.grown:
		case <-deadline:
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// awaitPauses waits until Flush was called n times.
func (p *tape) awaitPauses(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		p.mu.Lock()
		got := p.pauses
		p.mu.Unlock()
		if got >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("flushed %d times, want %d", got, n)
		}
		runtime.Gosched()
	}
}

func play(t *testing.T, run func(ctx context.Context, h Handler) error) (*tape, context.CancelFunc) {
	p := &tape{grown: make(chan struct{}, 1), done: make(chan error, 1)}
	return start(t, p, run)
}

func start(t *testing.T, p *tape, run func(ctx context.Context, h Handler) error) (*tape, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { p.done <- run(ctx, p) }()
	t.Cleanup(cancel)
	return p, cancel
}

func (n *node) follow(t *testing.T, q StreamSubscription) (*tape, context.CancelFunc) {
	return play(t, func(ctx context.Context, h Handler) error { return n.r.SubscribeStream(ctx, q, h) })
}

func (n *node) followAll(t *testing.T, q AllSubscription) (*tape, context.CancelFunc) {
	return play(t, func(ctx context.Context, h Handler) error { return n.r.SubscribeAll(ctx, q, h) })
}

func ended(t *testing.T, p *tape, want error) {
	t.Helper()
	select {
	case err := <-p.done:
		if !errors.Is(err, want) {
			t.Errorf("ended with %v, want %v", err, want)
		}
	case <-time.After(time.Minute):
		t.Error("subscription does not end")
	}
}

func TestSubscribeStream(t *testing.T) {
	n := newNode(t, log.Options{})
	before, _ := n.follow(t, StreamSubscription{Stream: "s", FromStart: true})
	before.await(t, "caught up -1 0")
	n.entry(n.events("s", "a", "b"))
	before.await(t, "caught up -1 0", "s/0 a", "s/1 b")
	n.entry(n.events("other", "x"), n.events("s", "c"))
	before.await(t, "caught up -1 0", "s/0 a", "s/1 b", "s/2 c")
	before.awaitPauses(t, 3) // before each wait, so that gathered events go out

	exclusive, _ := n.follow(t, StreamSubscription{Stream: "s", From: 0})
	exclusive.await(t, "s/1 b", "s/2 c", "caught up 2 0")
	end, stop := n.follow(t, StreamSubscription{Stream: "s", FromEnd: true})
	end.await(t, "caught up 2 0")
	beyond, _ := n.follow(t, StreamSubscription{Stream: "s", From: 3})
	beyond.await(t, "caught up 2 0")
	n.entry(n.events("s", "d"))
	n.entry(n.events("s", "e"))
	end.await(t, "caught up 2 0", "s/3 d", "s/4 e")
	beyond.await(t, "caught up 2 0", "s/4 e")
	stop()
	ended(t, end, context.Canceled)
}

func TestSubscribeToDeletedStreams(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.events("s", "a", "b"))
	p, _ := n.follow(t, StreamSubscription{Stream: "s", From: 0})
	p.await(t, "s/1 b", "caught up 1 0")
	// Soft delete: nothing; what comes after a revival is delivered.
	n.entry(n.command(stream.NewDelete("s", stream.Any)))
	n.entry(n.events("s", "c"))
	p.await(t, "s/1 b", "caught up 1 0", "s/2 c")
	n.entry(n.command(stream.NewDelete("s", stream.Any)))
	late, _ := n.follow(t, StreamSubscription{Stream: "s", FromStart: true})
	late.await(t, "caught up -1 0")
	n.entry(n.events("s", "d"))
	late.await(t, "caught up -1 0", "s/3 d")
	// A tombstone is delivered and ends it.
	n.entry(n.command(stream.NewTombstone("s", stream.Any)))
	late.await(t, "caught up -1 0", "s/3 d", "s/9223372036854775807 ")
	ended(t, late, ErrStreamDeleted)
	ended(t, p, ErrStreamDeleted)
	after, _ := n.follow(t, StreamSubscription{Stream: "s", FromStart: true})
	ended(t, after, ErrStreamDeleted)
	after.await(t)
}

func TestSubscribeSkipsTruncated(t *testing.T) {
	n := newNode(t, log.Options{})
	n.entry(n.events("s", "a", "b", "c", "d"))
	n.entry(n.meta("s", `{"$maxCount":2}`))
	p, _ := n.follow(t, StreamSubscription{Stream: "s", FromStart: true})
	p.await(t, "s/2 c", "s/3 d", "caught up 3 0")
	n.entry(n.typed("l", stream.LinkType, "0@s", "3@s"))
	links, _ := n.follow(t, StreamSubscription{Stream: "l", FromStart: true, ResolveLinks: true})
	links.await(t, "l/0 0@s unresolved", "s/3 d via l/1 3@s", "caught up 1 0")
}

func TestSubscribeAll(t *testing.T) {
	n := newNode(t, log.Options{})
	empty, _ := n.followAll(t, AllSubscription{FromStart: true})
	empty.await(t, "caught up -1 0")
	n.entry(n.events("s", "a"), n.events("o", "x", "y"))
	empty.await(t, "caught up -1 0", "s/0 a", "o/0 x", "o/1 y")
	_, pos, _ := n.all(AllQuery{FromStart: true, Count: many})
	p, _ := n.followAll(t, AllSubscription{From: pos[0]})
	p.await(t, "o/0 x", "o/1 y", fmt.Sprintf("caught up -1 %d", pos[2]))
	end, stop := n.followAll(t, AllSubscription{FromEnd: true})
	end.await(t, fmt.Sprintf("caught up -1 %d", pos[2]))
	n.entry(n.events("s", "b"))
	end.await(t, fmt.Sprintf("caught up -1 %d", pos[2]), "s/1 b")
	stop()
	ended(t, end, context.Canceled)
	bad, _ := n.followAll(t, AllSubscription{From: pos[1] + 1})
	ended(t, bad, ErrInvalidPosition)
	// A position that this node gets to know while the subscription waits.
	n.r.opts.AheadWait = 10 * time.Second
	v, _ := n.seq.Sequence(n.events("s", "c"), 1)
	n.raw(0, v.Record, []uint64{v.ID}, false)
	ahead, _ := n.followAll(t, AllSubscription{From: lastEvent(t, n, v.Record)})
	n.publish()
	n.entry(n.events("s", "d"))
	deadline := time.After(time.Minute)
	for seen := false; !seen; {
		ahead.mu.Lock()
		seen = slices.Contains(ahead.lines, "s/3 d") && !slices.Contains(ahead.lines, "s/2 c")
		ahead.mu.Unlock()
		select {
		case <-ahead.grown:
		case <-deadline:
			t.Fatalf("%q", ahead.lines)
		default:
		}
	}
}

// lastEvent is the position of the only event of the last record in the log.
func lastEvent(t *testing.T, n *node, record []byte) uint64 {
	r, err := stream.ParseRecord(record, n.log.End()-uint64(len(record)))
	if err != nil {
		t.Fatal(err)
	}
	pos, ok := r.LastPosition()
	if !ok {
		t.Fatal("no event")
	}
	return pos
}

// Goal: checkpoints of a filtered subscription: one per interval of examined
// events, one when catch-up ends, never decreasing.
func TestCheckpoints(t *testing.T) {
	n := newNode(t, log.Options{})
	for range 5 {
		n.entry(n.events("s", "a"), n.events("o", "x"))
	}
	_, pos, _ := n.all(AllQuery{FromStart: true, Count: many})
	f, err := NewFilter(FilterSpec{Prefixes: []string{"s"}, Window: 2, CheckpointMultiplier: 2})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := n.followAll(t, AllSubscription{FromStart: true, Filter: f})
	want := []string{
		"s/0 a", "s/1 a", fmt.Sprintf("checkpoint %d", pos[3]),
		"s/2 a", "s/3 a", fmt.Sprintf("checkpoint %d", pos[7]),
		"s/4 a", fmt.Sprintf("checkpoint %d", pos[9]), fmt.Sprintf("caught up -1 %d", pos[9]),
	}
	p.await(t, want...)
	// Live: events that do not match advance it too.
	n.entry(n.events("o", "1", "2", "3", "4"))
	_, pos, _ = n.all(AllQuery{FromStart: true, Count: many})
	p.await(t, append(want, fmt.Sprintf("checkpoint %d", pos[13]))...)
	p.awaitPauses(t, 2)
}

// Goal: no event is lost, repeated or reordered where catching up and live meet,
// however slow the consumer is; and a slow one holds up nobody.
func TestJoinOfCatchUpAndLive(t *testing.T) {
	const events = 400
	n := newNode(t, log.Options{SegmentBytes: 16 << 10, CacheBytes: 8 << 10})
	slow := &tape{grown: make(chan struct{}, 1), done: make(chan error, 1), hold: make(chan struct{})}
	start(t, slow, func(ctx context.Context, h Handler) error {
		return n.r.SubscribeAll(ctx, AllSubscription{FromStart: true}, h)
	})
	var quick []*tape
	for i := range events {
		n.entry(n.events("s", num(i)))
		if i%100 == 0 {
			p, _ := n.followAll(t, AllSubscription{FromStart: true})
			q, _ := n.follow(t, StreamSubscription{Stream: "s", FromStart: true})
			quick = append(quick, p, q)
		}
	}
	check := func(p *tape) {
		t.Helper()
		deadline := time.After(time.Minute)
		for {
			p.mu.Lock()
			var got []string
			for _, l := range p.lines {
				if l[0] == 's' {
					got = append(got, l)
				}
			}
			p.mu.Unlock()
			for i, l := range got {
				if want := fmt.Sprintf("s/%d %d", i, i); l != want {
					t.Fatalf("event %d is %q", i, l)
				}
			}
			if len(got) == events {
				return
			}
			select {
			case <-p.grown:
			case <-deadline:
				t.Fatalf("%d events", len(got))
			}
		}
	}
	for _, p := range quick {
		check(p)
	}
	close(slow.hold)
	check(slow)
}
