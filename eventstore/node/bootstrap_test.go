package node

import (
	"testing"
	"time"
)

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
