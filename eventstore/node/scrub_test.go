package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"baton/eventstore/log"
	"baton/eventstore/stream"
)

// filled starts a cluster of three with several segments on every node.
func filledCluster(t *testing.T, count int) (c *cluster, events int) {
	t.Helper()
	c = newCluster(t, 3, count, func(_ int, c *Config) { c.CacheBytes = 100 << 10 })
	for i := range 3 {
		c.start(i)
	}
	leader := c.waitLeader()
	c.roles(3, 0)
	for ; len(c.nodes[leader].Segments()) < 4; events += 50 {
		c.writeLarge(leader, events, 50)
	}
	for i := range 3 {
		c.holds(i, "large", events)
	}
	return c, events
}

// writeLarge appends events of 16 KiB to the stream "large".
func (c *cluster) writeLarge(i, from, count int) {
	c.t.Helper()
	for at := range count {
		e := event(from + at)
		e.Data = fmt.Appendf(nil, `{"n":%d,"fill":%q}`, from+at, strings.Repeat("x", 16<<10))
		eventually(c.t, "an append", func() error {
			outcome, err := c.nodes[i].Append(context.Background(), appendCommand(c.t, "large", stream.Any, e), false)
			if err == nil && outcome.Kind != stream.Done {
				err = fmt.Errorf("outcome %+v", outcome)
			}
			return err
		})
	}
}

// damageFile overwrites bytes in the middle of a segment's file and returns what it held.
func damageFile(t *testing.T, s log.SegmentInfo, at int64) (before []byte) {
	t.Helper()
	before, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("damage! damage! damage!"), at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return before
}

// sameFile compares the part of a file that a segment held then.
func sameFile(s log.SegmentInfo, want []byte) error {
	path := s.Path
	now, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(now[:s.FileBytes], want[:s.FileBytes]) {
		err = fmt.Errorf("%s is not what it was", path)
	}
	return err
}

// Goal: P9 on a running node. A round finds damage in closed segments and in the
// one being written, on leader and followers, and the files come back byte for byte.
func TestARoundMendsDamageFromOtherNodes(t *testing.T) {
	t.Parallel()
	c, events := filledCluster(t, 3)
	for i := range c.nodes {
		segments := c.nodes[i].Segments()
		wholes := map[log.SegmentInfo][]byte{}
		for _, s := range []log.SegmentInfo{segments[0], segments[2], segments[len(segments)-1]} {
			wholes[s] = damageFile(t, s, s.FileBytes/2)
		}
		if !c.nodes[i].Scrubber().Start() {
			t.Fatal("a round was running")
		}
		eventually(t, "the files are whole", func() error {
			if s := c.nodes[i].Scrubber().Status(); s.Found != 3 || len(s.Damaged) > 0 || s.Running {
				return fmt.Errorf("%+v", s)
			}
			for s, want := range wholes {
				if err := sameFile(s, want); err != nil {
					return err
				}
			}
			return nil
		})
		s := c.nodes[i].Scrubber().Status()
		if len(s.Mended) != 3 || s.Frames == 0 || s.Mended[0].From[0] == c.nodes[i].cfg.Name || c.nodes[i].Self().Damage != "" {
			t.Errorf("status %+v", s)
		}
		c.holds(i, "large", events)
	}
}

// Goal: a leader that finds its log damaged while a new node copies it goes on,
// mends itself and gives the new node everything; nobody asked for a round.
func TestALateJoinerGetsWhatWasDamagedOnTheLeader(t *testing.T) {
	t.Parallel()
	c, events := filledCluster(t, 4)
	leader := c.waitLeader()
	n := c.nodes[leader]
	s := n.Segments()[1]
	whole := damageFile(t, s, s.FileBytes/2)
	c.start(3)
	eventually(t, "the new node has everything", func() error {
		select {
		case err := <-n.Done():
			t.Fatalf("the damaged node ended: %v", err)
		default:
		}
		if c.nodes[3].machine.Watermark().Applied() < n.Segments()[2].Base {
			return errors.New("not yet")
		}
		return nil
	})
	c.holds(3, "large", events)
	if err := sameFile(s, whole); err != nil {
		t.Error(err)
	}
	if s := n.Scrubber().Status(); s.Rounds != 0 || len(s.Mended) != 1 {
		t.Errorf("status %+v", s)
	}
}

// Goal: a node whose log does not open for damage is mended by the nodes its seeds
// name before it starts; alone it refuses, naming file and reason, and changes nothing.
func TestADamagedLogIsMendedBeforeTheStart(t *testing.T) {
	t.Parallel()
	c, events := filledCluster(t, 3)
	victim := (c.waitLeader() + 1) % 3
	segments := c.nodes[victim].Segments()
	for _, stopped := range []struct {
		name string
		s    log.SegmentInfo
		at   int64
	}{
		{"a frame of the segment being written", segments[len(segments)-1], segments[len(segments)-1].FileBytes / 2},
		{"the header of a closed segment", segments[1], 10},
	} {
		c.stop(victim)
		whole := damageFile(t, stopped.s, stopped.at)

		alone := Config{Dir: c.dirs[victim], Name: "alone", ClusterSize: 3, PeerListen: freeAddress(t), SegmentBytes: 1 << 20}
		_, err := Start(alone)
		if damage, ok := errors.AsType[*log.CorruptionError](err); !ok || damage.File != stopped.s.Path || !strings.Contains(err.Error(), "no seeds are configured") {
			t.Fatalf("%s, alone: %v", stopped.name, err)
		}
		c.start(victim)
		c.holds(victim, "large", events)
		got, err := os.ReadFile(stopped.s.Path)
		if err != nil {
			t.Fatal(err)
		}
		if n := int(stopped.s.FileBytes); !bytes.Equal(got[:n], whole[:n]) {
			t.Errorf("%s: the file is not what it was", stopped.name)
		}
		c.roles(3, 0)
	}
}

// Goal: what is damaged and cannot be mended is told to everybody, keeps the node
// from being promoted, and is mended when another node comes back.
func TestDamageThatNobodyCanMendIsTold(t *testing.T) {
	t.Parallel()
	c, _ := filledCluster(t, 3)
	leader := c.waitLeader()
	n := c.nodes[leader]
	s := n.Segments()[0]
	var wholes [][]byte
	for i := range c.nodes { // the same frames everywhere: nobody can give them
		wholes = append(wholes, damageFile(t, c.nodes[i].Segments()[0], s.FileBytes/2))
	}
	n.Scrubber().Start()
	eventually(t, "the damage is known everywhere", func() error {
		for i := range c.nodes {
			view := c.nodes[i].View()
			for _, m := range view.Members {
				if m.Damage == "" || m.Promotable || m.ID != view.Leader && !strings.Contains(m.Why, "is not whole") {
					return fmt.Errorf("n%d sees %+v", i, m)
				}
			}
		}
		return nil
	})
	if status := n.Scrubber().Status(); len(status.Damaged) != 1 || status.Damaged[0].Trouble == "" || status.Damaged[0].Tries == 0 {
		t.Errorf("status %+v", status)
	}
	c.write(leader, "goes-on", 0)
	other := (leader + 1) % 3
	if err := os.WriteFile(c.nodes[other].Segments()[0].Path, wholes[other], 0o600); err != nil { // somebody restored a copy
		t.Fatal(err)
	}
	c.nodes[other].Scrubber().Retry()
	eventually(t, "all are whole", func() error {
		for i := range c.nodes {
			if s := c.nodes[i].Scrubber().Status(); len(s.Damaged) > 0 {
				return fmt.Errorf("n%d: %+v", i, s)
			}
			if err := sameFile(c.nodes[i].Segments()[0], wholes[i]); err != nil {
				return err
			}
			c.nodes[i].Scrubber().Retry()
		}
		return nil
	})
}
