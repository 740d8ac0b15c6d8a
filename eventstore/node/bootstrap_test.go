package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"baton/eventstore/membership"
)

// Goal: empty nodes that were told only to join found nothing of their own while
// the one that has data is away, and join it when it comes. Method: two of three
// named nodes, a majority, meet; then the third, a cluster by itself, is started.
func TestNodesThatOnlyJoinWaitForTheOneWithData(t *testing.T) {
	c := newCluster(t, 1, 3, func(i int, cfg *Config) {
		if cfg.JoinOnly = i > 0; i == 0 {
			cfg.PeerSeeds = nil
		}
	})
	c.start(1)
	c.start(2)
	for i := 1; i < 3; i++ {
		eventually(t, "it has met the other and waits", func() error {
			b := c.nodes[i].boot
			b.mu.Lock()
			other := b.known[c.addrs[3-i]]
			met := other != nil && other.met
			b.mu.Unlock()
			if why := c.nodes[i].View().Waiting; !met || !strings.Contains(why, "told only to join") {
				return fmt.Errorf("met: %v, %q", met, why)
			}
			return nil
		})
		if reply, err := c.nodes[i].prepare(ballotRequest{Ballot: membership.Ballot{Round: 1, Proposer: 7}}); err != nil || reply.OK {
			t.Errorf("node %d takes part in a founding: %+v %v", i, reply, err)
		}
	}
	c.start(0)
	c.roles(1, 2)
}

// Goal: a node that waits long for a cluster tells each reason once and then rarely.
func TestReasonsToWaitAreLoggedRarely(t *testing.T) {
	b := newBootstrapState()
	at := time.Unix(1000, 0)
	lines := 0
	for range 2 * int(complainInterval/bootstrapEvery) {
		for _, why := range []string{"a cluster exists: asking to join it", "asked n1 to join: it has no leader"} {
			if b.complain(why, at) {
				lines++
			}
		}
		at = at.Add(bootstrapEvery)
	}
	if lines != 4 {
		t.Errorf("%d lines in two intervals of two reasons, want 4", lines)
	}
	for i := range 10 * maxComplaints {
		b.complain(time.Duration(i).String(), at)
	}
	if len(b.complained) > maxComplaints {
		t.Errorf("%d reasons are remembered", len(b.complained))
	}
}
