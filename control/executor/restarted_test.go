package executor

import (
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/journal"
	"baton/control/operation"
)

// TestACandidateThatCameBackWithLess: the candidate's server is started again
// between the moment it held everything and its promotion, and lacks the last
// writes. It does not become the primary; one that holds them does.
func TestACandidateThatCameBackWithLess(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	w.onOrder = func(w *world, o agent.Order) {
		if b := w.nodes["b"]; o.Action.Name == engine.Promote && o.Node == "b" {
			b.data, b.replid, b.frozen = b.data[:len(b.data)/2], "r-restarted", false
		}
	}
	p := start(t, w, journal.NewMemory(time.Now))
	o := p.promote(t, "b")
	if o.State != operation.StateDone || o.Candidate == "b" {
		t.Errorf("ended %s with %s: %s", o.State, o.Candidate, o.Outcome)
	}
	w.mustHold(t)
}
