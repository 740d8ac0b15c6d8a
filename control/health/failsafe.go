package health

import (
	"fmt"
	"time"
)

// Failsafe is how a primary goes on while no control node answers its agent:
// every other agent promises to promote nobody. See docs/adr/0045.
type Failsafe struct {
	Node string // the primary
	// Seen tells that its agent said so. Otherwise it is what the record permits
	// while no control node leads: no agent reports then.
	Seen bool
	// For is how long it has been so, or how long nothing has been heard.
	For time.Duration
}

// Sentence says what holds, and what ends it.
func (f *Failsafe) Sentence() string {
	if f.Seen {
		return fmt.Sprintf("%s hears no control node and takes writes, for %d s now, only because every other agent promises to promote nobody; when one of them falls silent, writes stop", f.Node, int(f.For.Seconds()))
	}
	return fmt.Sprintf("no control node leads; %s may take writes as long as every other agent promises to promote nobody, and nobody is promoted meanwhile", f.Node)
}

// under lays failsafe over a verdict that was made of observations: the next
// loss of a node stops writes, whatever the replicas could do otherwise. What is
// worse stays.
func (f *Failsafe) under(s *Snapshot, v Verdict) Verdict {
	p := s.Primary()
	if f == nil || !f.Seen || p == nil || p.Name != f.Node || v.Level == Down || len(s.Primaries()) > 1 {
		return v
	}
	return Verdict{AtRisk, "At risk: " + f.Sentence()}
}
