package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"baton/eventstore/reader"
	"baton/eventstore/scavenge"
	"baton/eventstore/stream"
)

// seenEvent is what two nodes must agree on.
type seenEvent struct {
	stream   string
	revision int64
	position uint64
	typ      string
}

// readAll reads everything that a node shows before a position.
func readAll(t *testing.T, n *Node, before uint64) []seenEvent {
	t.Helper()
	var out []seenEvent
	err := n.Reader().All(context.Background(), reader.AllQuery{FromStart: true, Count: math.MaxUint64}, func(e *reader.Event) error {
		if e.Position < before {
			out = append(out, seenEvent{e.Stream, e.Revision, e.Position, e.Type})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readRevisions(t *testing.T, n *Node, name string) []int64 {
	t.Helper()
	var out []int64
	_, err := n.Reader().Stream(context.Background(), reader.StreamQuery{Stream: name, FromStart: true, Count: math.MaxUint64}, func(e *reader.Event) error {
		out = append(out, e.Revision)
		return nil
	})
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return out
}

func logBytes(n *Node) (bytes int64) {
	for _, s := range n.Segments() {
		bytes += s.FileBytes
	}
	return bytes
}

// manyEvents appends n events of 500 bytes in one command.
func (c *cluster) manyEvents(i int, name string, n int) {
	c.t.Helper()
	var events []stream.Event
	for k := range n {
		e := event(k)
		e.Data = bytes.Repeat([]byte{byte(k), 7}, 250)
		events = append(events, e)
	}
	c.must(i, appendCommand(c.t, name, stream.Any, events...))
}

func (c *cluster) must(i int, cmd *stream.Command) {
	c.t.Helper()
	eventually(c.t, "an append", func() error {
		outcome, err := c.nodes[i].Append(context.Background(), cmd, false)
		if err == nil && outcome.Kind != stream.Done {
			err = fmt.Errorf("outcome %+v", outcome)
		}
		return err
	})
}

// scavenge runs one on a node to its end.
func (c *cluster) scavenge(i int) scavenge.Status {
	c.t.Helper()
	id, started, err := c.nodes[i].Scavenger().Start(scavenge.Options{Threads: 1})
	if err != nil || !started {
		c.t.Fatal(id, started, err)
	}
	if err := c.nodes[i].Scavenger().Wait(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	status, _ := c.nodes[i].Scavenger().Status()
	if status.ID != id || status.Result != scavenge.Success {
		c.t.Fatalf("%+v", status)
	}
	return status
}

// collector takes a subscription's events until one of a type comes.
type collector struct {
	until string
	got   []int64
}

var errEnough = errors.New("enough")

func (c *collector) Event(e *reader.Event) error {
	c.got = append(c.got, e.Revision)
	if e.Type == c.until {
		return errEnough
	}
	return nil
}
func (*collector) Checkpoint(uint64) error      { return nil }
func (*collector) CaughtUp(int64, uint64) error { return nil }

// Goal: nodes that were scavenged serve on, and feed a node that was away and one
// that is new; all show the same events at the same positions, before and after
// the index was built again; the files are smaller. Method: three voters and a
// fourth that joins late, segments of 64 KiB, streams with $maxCount and deletes,
// a subscription that runs across.
func TestScavengedNodesServeAndFeedOthers(t *testing.T) {
	c := newCluster(t, 3, 4, func(_ int, cfg *Config) { cfg.SegmentBytes, cfg.CacheBytes = 64<<10, 16<<10 })
	for i := range 3 {
		c.start(i)
	}
	leader := c.waitLeader()
	c.roles(3, 0)
	meta := stream.Event{Type: stream.MetadataType, JSON: true, Data: []byte(`{"$maxCount":5}`)}
	meta.ID = [16]byte(randomUUID())
	c.must(leader, appendCommand(t, "$$bounded", stream.Any, meta))
	c.manyEvents(leader, "bounded", 60)
	c.manyEvents(leader, "kept", 40)

	away := (leader + 1) % 3
	c.stop(away)
	for range 4 {
		c.manyEvents(leader, "bounded", 60)
		c.manyEvents(leader, "deleted", 60)
		c.manyEvents(leader, "kept", 20)
	}
	for _, kind := range []func(string, stream.Expected) (*stream.Command, error){stream.NewDelete, stream.NewTombstone} {
		cmd, err := kind("deleted", stream.Any)
		if err != nil {
			t.Fatal(err)
		}
		c.must(leader, cmd)
	}
	c.manyEvents(leader, "kept", 130) // so that what stands before is in closed segments

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	across := &collector{until: "last"}
	ended := make(chan error, 1)
	go func() {
		ended <- c.nodes[leader].Reader().SubscribeStream(ctx, reader.StreamSubscription{Stream: "kept", FromStart: true}, across)
	}()

	before := readAll(t, c.nodes[leader], math.MaxUint64)
	was := logBytes(c.nodes[leader])
	status := c.scavenge(leader)
	other := 3 - leader - away
	c.scavenge(other)
	t.Logf("log files of %d bytes became %d; %d events removed, %d index rows, %d of %d segments rewritten",
		was, logBytes(c.nodes[leader]), status.Events, status.Rows, status.Rewritten, status.Segments)
	if status.Events < 250 || status.Saved*3 < was {
		t.Fatalf("%+v, of %d bytes", status, was)
	}

	c.start(away)
	c.start(3)
	c.roles(3, 1)
	last := event(1)
	last.Type = "last"
	c.must(leader, appendCommand(t, "kept", stream.Any, last))
	if err := <-ended; !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if len(across.got) != 251 || !slices.IsSorted(across.got) {
		t.Fatalf("the subscription got %d events", len(across.got))
	}
	end := c.nodes[leader].machine.Watermark().Applied()
	left := readAll(t, c.nodes[leader], end)
	if len(left) >= len(before) {
		t.Fatalf("%d events before, %d now", len(before), len(left))
	}
	for i := range c.nodes {
		eventually(t, "the node has caught up", func() error {
			if applied := c.nodes[i].machine.Watermark().Applied(); applied < end {
				return fmt.Errorf("it is at %d of %d", applied, end)
			}
			return nil
		})
	}
	check := func(i int) {
		t.Helper()
		n := c.nodes[i]
		if got := readRevisions(t, n, "kept"); len(got) != 251 || got[250] != 250 {
			t.Fatalf("node %d has %d events of the stream that was kept", i, len(got))
		}
		if got := readRevisions(t, n, "bounded"); !slices.Equal(got, []int64{295, 296, 297, 298, 299}) {
			t.Fatalf("node %d: %v", i, got)
		}
		if _, err := n.Reader().Stream(context.Background(), reader.StreamQuery{Stream: "deleted", FromStart: true, Count: 1}, nil); !errors.Is(err, reader.ErrStreamDeleted) {
			t.Fatalf("node %d: %v", i, err)
		}
		for _, e := range readAll(t, n, end) {
			if at, found := slices.BinarySearchFunc(before, e.position, func(b seenEvent, p uint64) int {
				switch {
				case b.position < p:
					return -1
				case b.position > p:
					return 1
				}
				return 0
			}); found && before[at] != e {
				t.Fatalf("node %d: %+v became %+v", i, before[at], e)
			}
		}
	}
	for i := range c.nodes {
		check(i)
	}
	// Who was fed by a scavenged leader has what the leader has left.
	if got := readAll(t, c.nodes[3], end); !slices.Equal(got, left) {
		t.Fatalf("the new node shows %d events, the leader %d", len(got), len(left))
	}

	// Without its index a node comes to the same state.
	c.stop(other)
	if err := os.RemoveAll(filepath.Join(c.dirs[other], "index")); err != nil {
		t.Fatal(err)
	}
	c.start(other)
	eventually(t, "the node has applied the log again", func() error {
		if applied := c.nodes[other].machine.Watermark().Applied(); applied < end {
			return fmt.Errorf("it is at %d of %d", applied, end)
		}
		return nil
	})
	check(other)
	// The numbering goes on.
	c.manyEvents(leader, "bounded", 1)
	if got := readRevisions(t, c.nodes[leader], "bounded"); !slices.Equal(got, []int64{296, 297, 298, 299, 300}) {
		t.Fatal(got)
	}
	history := readRevisions(t, c.nodes[leader], "$scavenges-"+status.ID)
	if len(history) != status.Rewritten+2 {
		t.Fatalf("the history of the scavenge has %d events for %d segments", len(history), status.Rewritten)
	}
}

// Goal: a scavenge can be stopped, goes on where it was when it is started again,
// and by itself after a restart of the process. Method: a throttle of one percent,
// at which the whole takes seconds and is caught running.
func TestScavengeStopsAndGoesOn(t *testing.T) {
	c := newCluster(t, 1, 1, func(_ int, cfg *Config) { cfg.SegmentBytes, cfg.CacheBytes = 64<<10, 16<<10 })
	c.start(0)
	c.waitLeader()
	for range 30 {
		c.manyEvents(0, "deleted", 120)
	}
	cmd, err := stream.NewDelete("deleted", stream.Any)
	if err != nil {
		t.Fatal(err)
	}
	c.must(0, cmd)
	c.manyEvents(0, "kept", 130)
	slow := scavenge.Options{Threads: 1, ThrottlePercent: 1}
	s := c.nodes[0].Scavenger()
	first, started, err := s.Start(slow)
	if err != nil || !started {
		t.Fatal(first, started, err)
	}
	if again, started, err := s.Start(slow); err != nil || started || again != first {
		t.Fatal("a second one beside it:", again, started, err)
	}
	eventually(t, "a segment is done", func() error {
		if now, _ := s.Status(); now.Segments == 0 {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	if id, err := s.Stop(t.Context(), first); err != nil || id != first {
		t.Fatal(id, err)
	}
	stopped, _ := s.Status()
	if stopped.Result != scavenge.Stopped || stopped.Segments == stopped.Total {
		t.Fatalf("%+v", stopped)
	}
	second, _, err := s.Start(scavenge.Options{Threads: 1, ThrottlePercent: 5})
	if err != nil || second == first {
		t.Fatal(second, err)
	}
	if now, _ := s.Status(); now.Point.Position != stopped.Point.Position || now.Next < stopped.Next {
		t.Fatalf("stopped at %+v, goes on at %+v", stopped, now)
	}
	c.kill(0)
	c.start(0)
	s = c.nodes[0].Scavenger()
	eventually(t, "it goes on by itself and ends", func() error {
		if now, _ := s.Status(); now.ID != second || now.Result != scavenge.Success {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	if bytes, logical := logBytes(c.nodes[0]), c.nodes[0].machine.Watermark().Applied(); bytes*2 > int64(logical) {
		t.Fatalf("a log of %d bytes takes %d", logical, bytes)
	}
	if got := readRevisions(t, c.nodes[0], "kept"); len(got) != 130 {
		t.Fatal(len(got))
	}
}

// Goal: what is deleted before a scavenge is removed by it, however small the log
// is, and a scavenge that finds nothing does not cut the log up. Method: three
// nodes whose log is one segment of which little is used; a stream is deleted, the
// nodes are scavenged one after the other, and their files searched.
func TestScavengeOfASmallLogRemovesWhatWasDeleted(t *testing.T) {
	c := newCluster(t, 3, 3, func(_ int, cfg *Config) { cfg.SegmentBytes = 1 << 20 })
	for i := range c.nodes {
		c.start(i)
	}
	leader := c.waitLeader()
	c.roles(3, 0)
	secret := func(i int) stream.Event {
		e := event(i)
		e.Data = fmt.Appendf(nil, "a secret of somebody, part %d", i)
		return e
	}
	c.must(leader, appendCommand(t, "gone", stream.Any, secret(0), secret(1), secret(2)))
	c.must(leader, appendCommand(t, "cut", stream.Any, secret(3), secret(4)))
	c.manyEvents(leader, "kept", 5)
	tombstone, err := stream.NewTombstone("gone", stream.Any)
	if err != nil {
		t.Fatal(err)
	}
	c.must(leader, tombstone)
	remove, err := stream.NewDelete("cut", stream.Any)
	if err != nil {
		t.Fatal(err)
	}
	c.must(leader, remove)
	for i := range c.nodes {
		at := (leader + 1 + i) % 3 // a follower is the first: it has the leader end the segment
		status := c.scavenge(at)
		if status.Events < 4 || status.Rewritten != 1 {
			t.Fatalf("node %d: %+v", at, status)
		}
	}
	bases := func(i int) (all []uint64) {
		for _, s := range c.nodes[i].Segments() {
			all = append(all, s.Base)
		}
		return all
	}
	for i := range c.nodes {
		if got := bases(i); len(got) != 2 || !slices.Equal(got, bases(leader)) {
			t.Fatalf("segments of node %d begin at %v, of the leader at %v", i, got, bases(leader))
		}
		file, err := os.ReadFile(c.nodes[i].Segments()[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		for part, want := range []bool{false, false, false, false, true} { // the last event of a stream that was not tombstoned stays
			if got := bytes.Contains(file, secret(part).Data); got != want {
				t.Errorf("node %d: part %d is in the file: %v, want %v", i, part, got, want)
			}
		}
		if got := readRevisions(t, c.nodes[i], "kept"); len(got) != 5 {
			t.Errorf("node %d: %v", i, got)
		}
	}
	c.scavenge(leader)
	if got := bases(leader); len(got) != 2 {
		t.Errorf("a scavenge with nothing to do left segments that begin at %v", got)
	}
}

// Goal: a redacted event keeps its place and loses its content, here and after a
// restart; what stands beside it does not change; what cannot be redacted says so.
func TestRedactedEventKeepsItsPlace(t *testing.T) {
	c := newCluster(t, 1, 1, func(_ int, cfg *Config) { cfg.SegmentBytes, cfg.CacheBytes = 64<<10, 16<<10 })
	c.start(0)
	c.waitLeader()
	secret := event(1)
	secret.Data, secret.Metadata = []byte("a secret of somebody"), []byte("and more of it")
	c.must(0, appendCommand(t, "s", stream.Any, event(0), secret, event(2)))
	s := c.nodes[0].Scavenger()
	c.manyEvents(0, "kept", 3)
	for name, want := range map[string]error{"none": scavenge.ErrNoEvent, "$settings": scavenge.ErrSystemStream} {
		if _, err := s.Redact(t.Context(), name, 1); !errors.Is(err, want) {
			t.Fatal(name, err)
		}
	}
	if _, err := s.Redact(t.Context(), "s", 3); !errors.Is(err, scavenge.ErrNoEvent) {
		t.Fatal(err)
	}
	before := readAll(t, c.nodes[0], math.MaxUint64)
	for range 2 {
		if _, err := s.Redact(t.Context(), "s", 1); err != nil {
			t.Fatal(err)
		}
		var data, meta [][]byte
		_, err := c.nodes[0].Reader().Stream(t.Context(), reader.StreamQuery{Stream: "s", FromStart: true, Count: 9}, func(e *reader.Event) error {
			data, meta = append(data, bytes.Clone(e.Data())), append(meta, bytes.Clone(e.Metadata()))
			return nil
		})
		if err != nil || len(data) != 3 || string(data[0]) != "event 0" || string(data[2]) != "event 2" ||
			!bytes.Equal(data[1], make([]byte, len(secret.Data))) || !bytes.Equal(meta[1], make([]byte, len(secret.Metadata))) {
			t.Fatalf("%q %q %v", data, meta, err)
		}
		if after := readAll(t, c.nodes[0], math.MaxUint64); !slices.Equal(before, after) {
			t.Fatal("another event changed")
		}
		segment, err := os.ReadFile(c.nodes[0].Segments()[0].Path)
		if err != nil || bytes.Contains(segment, []byte("secret of")) || bytes.Contains(segment, []byte("more of it")) {
			t.Fatal("the content is still in the file", err)
		}
		c.stop(0)
		c.start(0)
		c.waitLeader()
		s = c.nodes[0].Scavenger()
	}
}
