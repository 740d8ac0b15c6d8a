package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/stream"
)

// Goal (P3): a node that lost its term and vote does not start beside its log.
func TestNodeThatForgotItsVoteDoesNotStart(t *testing.T) {
	c := newCluster(t, 1, 1, nil)
	c.start(0)
	c.waitLeader()
	c.write(0, "s", 1)
	c.stop(0)
	if err := os.Remove(filepath.Join(c.dirs[0], stateFile)); err != nil {
		t.Fatal(err)
	}
	n, err := Start(Config{Dir: c.dirs[0], ClusterSize: 1, PeerListen: c.addrs[0]})
	if err == nil {
		n.Stop()
		t.Fatal("it started without term and vote")
	}
	if !strings.Contains(err.Error(), "term and vote") {
		t.Errorf("the error is %v", err)
	}
}

// Goal: no request of a peer, however incomplete, ends the process.
func TestIncompleteRequestsAreRefused(t *testing.T) {
	c := newCluster(t, 1, 1, nil)
	c.start(0)
	c.waitLeader()
	for kind := range uint8(10) {
		for _, payload := range []string{"", "null", "{}", "[]", `{"kind":"add"}`, `{"kind":"remove"}`, `{"kind":"promote"}`, `{"value":null}`} {
			if _, err := c.nodes[0].answerRequest(context.Background(), 7, kind, []byte(payload)); err != nil {
				t.Logf("request %d %q: %v", kind, payload, err)
			}
		}
	}
	c.write(0, "s", 1)
}

// Goal: a command that is in the log when its node stops may be committed by the
// others: it is answered as unknown, not as refused.
func TestCommandInFlightAtAStopIsUnknown(t *testing.T) {
	c := newCluster(t, 3, 3, func(_ int, cfg *Config) { cfg.WriteTimeout = 20 * time.Second })
	c.startAll()
	leader := c.waitLeader()
	c.roles(3, 0)
	n := c.nodes[leader]
	for i := range c.nodes {
		if i != leader {
			c.kill(i)
		}
	}
	end := n.storage.Log.End()
	answered := make(chan error, 1)
	go func() {
		_, err := n.Append(context.Background(), appendCommand(t, "s", stream.Any, event(1)), false)
		answered <- err
	}()
	eventually(t, "the command is in the log", func() error {
		if n.storage.Log.End() == end {
			return errors.New("it is not")
		}
		return nil
	})
	c.kill(leader)
	if err := <-answered; !errors.Is(err, ErrTimeout) {
		t.Errorf("it was answered with %v", err)
	}
}

// Goal: a node set up with another's address does not drive that one out.
func TestAddressOfALivingMemberIsNotGivenAway(t *testing.T) {
	c := newCluster(t, 1, 2, nil)
	c.startAll()
	c.roles(1, 1)
	leader := c.nodes[c.waitLeader()]
	for i, n := range c.nodes {
		stranger := membership.Member{ID: membership.MemberID(100 + i), Name: "stranger", PeerAddr: n.peerAddr}
		reply := leader.join(context.Background(), stranger)
		if member, ok := leader.machine.Roster().Find(n.identity.ID); reply.Admitted || !ok || member.PeerAddr != n.peerAddr {
			t.Errorf("node %d: reply %+v, member %+v", i, reply, member)
		}
	}
}
