package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/test/fleet"
)

// cluster is a number of nodes in this process, linked over loopback.
type cluster struct {
	t     testing.TB
	size  int
	dirs  []string
	addrs []string
	nodes []*Node
	tune  func(i int, c *Config)
}

func newCluster(t *testing.T, size, count int, tune func(i int, c *Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, size: size, nodes: make([]*Node, count), tune: tune}
	for i := range count {
		c.dirs = append(c.dirs, filepath.Join(t.TempDir(), fmt.Sprintf("n%d", i)))
		c.addrs = append(c.addrs, freeAddress(t))
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	return c
}

func freeAddress(t testing.TB) string {
	t.Helper()
	ports, err := fleet.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0])
}

func (c *cluster) start(i int) {
	c.t.Helper()
	cfg := Config{
		Dir: c.dirs[i], Name: fmt.Sprintf("n%d", i), ClusterSize: c.size, PeerListen: c.addrs[i],
		ClientHost: "127.0.0.1", ClientPort: 20000 + i, Settle: 300 * time.Millisecond, CatchUpFor: 100 * time.Millisecond,
		SegmentBytes: 1 << 20, PeerSeeds: c.addrs, Logger: testLogger(c.t, i),
	}
	if c.tune != nil {
		c.tune(i, &cfg)
	}
	var err error
	eventually(c.t, "the node's address is free", func() error {
		c.nodes[i], err = Start(cfg)
		return err
	})
}

func testLogger(t testing.TB, i int) *slog.Logger {
	if os.Getenv("BATON_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("test", t.Name(), "node", i)
}

func (c *cluster) startAll() {
	c.t.Helper()
	for i := range c.nodes {
		c.start(i)
	}
}

func (c *cluster) stop(i int) {
	if c.nodes[i] != nil {
		c.nodes[i].Stop()
		c.nodes[i] = nil
	}
}

// kill ends a node without handing over.
func (c *cluster) kill(i int) {
	n := c.nodes[i]
	c.nodes[i] = nil
	n.stopWith(nil)
	<-n.stopped
}

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-poll.C
	}
}

// throughout checks again and again, for d, that something stays as it is.
func throughout(d time.Duration, check func()) {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for until := time.Now().Add(d); time.Now().Before(until); {
		check()
		<-poll.C
	}
}

func (c *cluster) leader() int {
	for i, n := range c.nodes {
		if n != nil && n.Self().State == membership.StateLeader {
			return i
		}
	}
	return -1
}

func (c *cluster) waitLeader() int {
	c.t.Helper()
	leader := -1
	eventually(c.t, "a leader", func() error {
		if leader = c.leader(); leader < 0 {
			return errors.New("none")
		}
		return nil
	})
	return leader
}

// roles waits until the running nodes agree on so many voters and clones.
func (c *cluster) roles(voters, clones int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d voters and %d clones", voters, clones), func() error {
		for i, n := range c.nodes {
			if n == nil {
				continue
			}
			v, k := 0, 0
			view := n.View()
			for _, m := range view.Members {
				switch m.Role {
				case membership.RoleLeader, membership.RoleFollower:
					v++
				case membership.RoleClone:
					k++
				}
			}
			if v != voters || k != clones || view.Leader == 0 {
				return fmt.Errorf("node %d sees %d voters, %d clones, leader %q, pending %+v", i, v, k, view.Leader, view.Pending)
			}
		}
		return nil
	})
}

func event(i int) stream.Event {
	e := stream.Event{Type: "tested", Data: []byte(fmt.Sprintf("event %d", i))}
	e.ID = [16]byte(randomUUID())
	return e
}

func appendCommand(t testing.TB, name string, expected stream.Expected, events ...stream.Event) *stream.Command {
	t.Helper()
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: name, Expected: expected, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

// write appends one event through node i, repeating while the outcome is not known.
func (c *cluster) write(i int, name string, number int) {
	c.t.Helper()
	e := event(number)
	eventually(c.t, "an append", func() error {
		outcome, err := c.nodes[i].Append(context.Background(), appendCommand(c.t, name, stream.Any, e), false)
		if err != nil {
			return err
		}
		if outcome.Kind != stream.Done {
			return fmt.Errorf("outcome %+v", outcome)
		}
		return nil
	})
}

// holds waits until node i reads at least count events of the stream.
func (c *cluster) holds(i int, name string, count int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("node %d reads %d events of %s", i, count, name), func() error {
		read := 0
		_, err := c.nodes[i].Reader().Stream(context.Background(), reader.StreamQuery{Stream: name, FromStart: true, Count: 1 << 30},
			func(*reader.Event) error { read++; return nil })
		if err != nil {
			return err
		}
		if read < count {
			return fmt.Errorf("%d", read)
		}
		return nil
	})
}

func (c *cluster) byName(name string) int {
	for i, n := range c.nodes {
		if n != nil && n.cfg.Name == name {
			return i
		}
	}
	return -1
}

func TestSingleNodeFoundsItselfAndKeepsWritesOverRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 1, func(_ int, cfg *Config) { cfg.PeerSeeds = nil })
	c.start(0)
	c.waitLeader()
	for i := range 20 {
		c.write(0, "orders", i)
	}
	c.holds(0, "orders", 20)
	c.stop(0)
	c.start(0)
	c.waitLeader()
	c.holds(0, "orders", 20)
	c.write(0, "orders", 20)
	c.holds(0, "orders", 21)
	c.kill(0)
	c.start(0)
	c.waitLeader()
	c.holds(0, "orders", 21)
}

func TestThreeNodesFormOneCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, nil)
	c.startAll()
	c.roles(3, 0)
	for i := range 30 {
		c.write(i%3, "orders", i)
	}
	for i := range 3 {
		c.holds(i, "orders", 30)
	}
}

func TestThirdNodeLaterBecomesVoter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, nil)
	c.start(2)
	c.start(0)
	c.roles(2, 0)
	c.write(0, "orders", 0)
	c.start(1)
	c.roles(3, 0)
	c.holds(1, "orders", 1)
	for i := range 3 {
		if got, want := c.nodes[i].View().ClusterID, c.nodes[0].View().ClusterID; got != want || got == "" {
			t.Errorf("node %d is in cluster %q, node 0 in %q", i, got, want)
		}
	}
}

// Each node that takes a write shows it to the next read, although the leader
// acknowledged it before this node knew. A stalled machine may hold one back.
func TestWriteIsVisibleOnTheNodeThatTookIt(t *testing.T) {
	t.Parallel()
	const writes = 60
	c := newCluster(t, 3, 4, nil)
	c.startAll()
	c.roles(3, 1)
	hidden := 0
	for i := range writes {
		n := c.nodes[i%4]
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		outcome, err := n.Append(ctx, appendCommand(t, fmt.Sprintf("own-%d", i), stream.NoStream, event(i)), false)
		cancel()
		if err != nil {
			t.Fatalf("write %d through node %d: %v", i, i%4, err)
		}
		if n.machine.Watermark().Applied() <= outcome.Position {
			hidden++
		}
	}
	if hidden > writes/10 {
		t.Errorf("%d of %d writes were not visible on the node that took them", hidden, writes)
	}
}

func TestFiveNodesAreThreeVotersAndTwoClones(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 5, nil)
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() { c.start(i) })
	}
	all.Wait()
	c.roles(3, 2)
	for i := range 10 {
		c.write(i%5, "orders", i)
	}
	for i := range 5 {
		c.holds(i, "orders", 10)
	}
}
