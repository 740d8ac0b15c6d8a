package health

import (
	"fmt"
	"strings"
	"time"

	"baton/control/engine"
)

// Level says how far a cluster is from losing service or data.
type Level string

// Levels. Down: no writes possible. At risk: the next loss of a node stops
// writes, or two primaries are seen. Degraded: something is wrong and a loss
// is still survived. Unknown: nobody has looked lately.
const (
	Healthy  Level = "healthy"
	Degraded Level = "degraded"
	AtRisk   Level = "at-risk"
	Down     Level = "down"
	Unknown  Level = "unknown"
)

// Severity orders levels for lists: the worst first.
func (l Level) Severity() int {
	switch l {
	case AtRisk:
		return 1
	case Unknown:
		return 2
	case Degraded:
		return 3
	case Healthy:
		return 4
	}
	return 0
}

// LagDegradedBytes is the lag from which a replica no longer counts as in step.
const LagDegradedBytes = 64 << 20

// Verdict is a level with the one sentence shown.
type Verdict struct {
	Level    Level
	Sentence string
}

// Judge says how the cluster is.
func Judge(s *Snapshot) Verdict {
	if len(s.Nodes) == 0 {
		return Verdict{Unknown, "Unknown: the cluster has no nodes yet"}
	}
	var unseen []*Node
	newest := time.Duration(-1)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if !n.Fresh() {
			unseen = append(unseen, n)
		}
		if n.Seen != nil && (newest < 0 || n.SeenAge < newest) {
			newest = n.SeenAge
		}
	}
	if len(unseen) == len(s.Nodes) {
		if newest < 0 {
			return Verdict{Unknown, "Unknown: no agent has reported on this cluster yet"}
		}
		if f := s.Failsafe; f != nil && !f.Seen {
			return Verdict{Unknown, fmt.Sprintf("Unknown: nothing was heard for %d s and %s", int(newest.Seconds()), f.Sentence())}
		}
		return Verdict{Unknown, fmt.Sprintf("Unknown: no agent has reported for %d s", int(newest.Seconds()))}
	}
	if s.Engine == engine.EventStore {
		return judgeQuorum(s, unseen)
	}
	return s.Failsafe.under(s, judgeAsync(s, unseen))
}

// judgeQuorum judges a consensus engine: what matters is how many voters may
// still go before a majority is missing.
func judgeQuorum(s *Snapshot, unseen []*Node) Verdict {
	var voters, away, bad []*Node
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Voter() {
			voters = append(voters, n)
			if !n.Up() {
				away = append(away, n)
			}
		}
		if n.Down() || n.Up() && n.Role() != engine.RolePrimary && !inStep(n) {
			bad = append(bad, n)
		}
	}
	needed := len(voters)/2 + 1
	alive := len(voters) - len(away)
	if p := s.Primaries(); s.Primary() == nil && len(p) > 1 {
		return Verdict{AtRisk, fmt.Sprintf("Observers disagree: %s each say they lead in term %d", names(p), p[0].Seen.Term)}
	}
	if s.Primary() == nil {
		switch {
		case len(voters) == 0:
			return Verdict{Down, "Down: no node leads and no voter is known"}
		case alive < needed:
			return Verdict{Down, fmt.Sprintf("Down: %d of %d voters answer and %d are needed; missing: %s", alive, len(voters), needed, names(away))}
		}
		return Verdict{Down, fmt.Sprintf("Down: no leader at the moment; %d of %d voters answer, an election should follow", alive, len(voters))}
	}
	spare := alive - needed
	switch {
	case len(voters) == 1:
		return Verdict{Degraded, "Runs on one voter: losing it stops the cluster"}
	case spare <= 0:
		return Verdict{AtRisk, fmt.Sprintf("At risk: %s away; losing one more voter stops writes (none would be lost)", isAre(away))}
	case len(away) > 0 && len(unseen) > 0 && allIn(away, unseen):
		return Verdict{Degraded, fmt.Sprintf("Degraded: nothing is known of %s; can still lose %s without losing a write", names(away), count(spare, "node"))}
	case len(away) > 0:
		return Verdict{Degraded, fmt.Sprintf("Degraded: %s away; can still lose %s without losing a write", isAre(away), count(spare, "node"))}
	case len(bad) > 0 || len(unseen) > 0:
		return Verdict{Degraded, fmt.Sprintf("Degraded: %s not in step; can lose %s without losing a write", isAre(append(bad, unseen...)), count(spare, "node"))}
	}
	return Verdict{Healthy, fmt.Sprintf("Healthy: can lose %s without losing a write", count(spare, "node"))}
}

// judgeAsync judges an engine with one primary and asynchronous replicas.
func judgeAsync(s *Snapshot, unseen []*Node) Verdict {
	primaries := s.Primaries()
	if len(primaries) > 1 {
		return Verdict{AtRisk, fmt.Sprintf("Two primaries are seen: %s; writes may go to both", names(primaries))}
	}
	var ready, bad []*Node
	for i := range s.Nodes {
		n := &s.Nodes[i]
		switch {
		case n.Role() == engine.RolePrimary || !n.Fresh():
		case n.Up() && inStep(n):
			ready = append(ready, n)
		default:
			bad = append(bad, n)
		}
	}
	if len(primaries) == 0 {
		hint := "none of the nodes seen accepts writes"
		if len(unseen) > 0 {
			hint += "; nothing is known of " + names(unseen)
		}
		return Verdict{Down, "Down: there is no primary; " + hint}
	}
	p := primaries[0]
	if need := p.Seen.Facts.SyncNeeded; need != nil && int64(len(ready)) < *need {
		return Verdict{Down, fmt.Sprintf("Down: %s wants %s in step before it takes writes and has %d", p.Name, count(int(*need), "replica"), len(ready))}
	}
	trouble := append(bad, unseen...)
	switch {
	case len(s.Nodes) == 1:
		return Verdict{AtRisk, fmt.Sprintf("At risk: %s has no replica; losing it loses the data", p.Name)}
	case len(ready) == 0:
		return Verdict{AtRisk, fmt.Sprintf("At risk: no replica is in step with %s (%s)", p.Name, names(trouble))}
	case len(trouble) > 0:
		return Verdict{Degraded, fmt.Sprintf("Degraded: %s not in step, %s%s; %s", isAre(trouble), countAre(len(ready), "other replica"), needed(p), lastMoment)}
	}
	return Verdict{Healthy, fmt.Sprintf("Healthy: %s in step%s; %s", countAre(len(ready), "replica"), needed(p), lastMoment)}
}

// lastMoment is what holds of asynchronous replicas however many are in step,
// and also where some must be in step for a write to be taken: the primary
// acknowledges before they have it.
const lastMoment = "writes of the last moment may be on the primary alone"

// needed says of how many of them the primary makes its taking of writes depend.
func needed(p *Node) string {
	if need := p.Seen.Facts.SyncNeeded; need != nil && *need > 0 {
		return fmt.Sprintf(", of which writes need %d", *need)
	}
	return ""
}

// inStep tells whether a node that is up copies from the primary with a lag
// that is known and small.
func inStep(n *Node) bool {
	o := n.Seen
	return o.LinkUp && o.LagBytes >= 0 && o.LagBytes <= LagDegradedBytes && o.Role != engine.RoleUnknown
}

func allIn(part, whole []*Node) bool {
	for _, p := range part {
		found := false
		for _, w := range whole {
			found = found || p == w
		}
		if !found {
			return false
		}
	}
	return true
}

func isAre(nodes []*Node) string {
	if len(nodes) == 1 {
		return nodes[0].Name + " is"
	}
	return names(nodes) + " are"
}

func countAre(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " is"
	}
	return fmt.Sprintf("%d %ss are", n, noun)
}

// Status is how one node is.
type Status struct {
	Level    string // up, degraded, down, unknown
	Sentence string
}

// StatusOf says how a node is and who says so.
func StatusOf(n *Node) Status {
	switch {
	case n.Seen == nil && n.Agent == "":
		return Status{"unknown", "No agent watches this node"}
	case n.Seen == nil:
		return Status{"unknown", fmt.Sprintf("The agent on %s has not reported on it yet", place(n))}
	case !n.Fresh():
		return Status{"unknown", fmt.Sprintf("Last seen %d s ago by the agent on %s", int(n.SeenAge.Seconds()), place(n))}
	case !n.Seen.Up:
		s := "Does not answer"
		if n.Seen.Err != "" {
			s += ": " + strings.TrimSuffix(n.Seen.Err, ".")
		}
		if p := n.Process; p != nil && p.State != "running" && p.State != "" {
			s += "; its process is " + p.State
		}
		return Status{"down", s}
	case n.Seen.Role == engine.RoleUnknown || n.Seen.Role == "":
		return Status{"degraded", "Answers, but between roles" + state(n)}
	case n.Seen.Role != engine.RolePrimary && !n.Seen.LinkUp:
		return Status{"degraded", "Answers, but the replication link is down" + state(n)}
	case n.Seen.Role != engine.RolePrimary && n.Seen.LagBytes > LagDegradedBytes:
		return Status{"degraded", fmt.Sprintf("Copies, %d MiB behind", n.Seen.LagBytes>>20)}
	case n.Seen.Role == engine.RolePrimary:
		return Status{"up", "Takes writes"}
	case n.Seen.LagBytes < 0:
		return Status{"degraded", "Copies from the primary; how far it is behind is not known"}
	case n.Seen.LagBytes == 0:
		return Status{"up", "Copies from the primary, in step"}
	}
	return Status{"up", fmt.Sprintf("Copies from the primary, %d bytes behind", n.Seen.LagBytes)}
}

// place is where a node's agent runs, as people call it.
func place(n *Node) string {
	if n.Host != nil && n.Host.Name != "" {
		return n.Host.Name
	}
	return n.Agent
}

func state(n *Node) string {
	if n.Seen.State == "" {
		return ""
	}
	return " (" + n.Seen.State + ")"
}
