// Package health turns what was observed about a cluster into a verdict with
// one sentence. It is pure: the same facts give the same verdict.
//
// Unknown is said as unknown: a node without a fresh observation counts
// neither as up nor as down, and observers that disagree are shown as
// disagreeing.
package health

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"baton/control/engine"
)

// StaleAfter is the age from which an observation no longer tells how a node
// is. Agents report every 500 ms, so ten reports were missed.
const StaleAfter = 5 * time.Second

// Node is what is known about one member of a cluster.
type Node struct {
	Name    string
	Agent   string // the agent that observes it, "" when none was ever heard
	Address string // host:port for clients
	// Priority is ours: 0..1000, higher is preferred, 0 never automatically.
	Priority int
	// Never is set for nodes that may not be promoted even by hand.
	Never bool
	// NoFailover is set for nodes promoted only by hand, with a reason; NoSync
	// and NoBackup for those that do not count for synchronous durability and
	// that no backup is taken on.
	NoFailover, NoSync, NoBackup bool
	// Maintenance is until when nothing is promoted to the node; nil: not in it.
	Maintenance *time.Time
	Location    string
	Provider    string

	// ReportAge is the time since the agent's last report; negative: never.
	ReportAge time.Duration
	// Seen is the newest observation, nil when there never was one.
	Seen *engine.Observation
	// SeenAge is the age of Seen on the control plane's clock.
	SeenAge time.Duration
	// LastRole is the role of the last observation in which the node was up.
	LastRole engine.Role
	Host     *engine.HostFacts
	Disk     *engine.DiskFacts
	Process  *engine.ProcessState
}

// Fresh tells whether the newest observation still says how the node is.
func (n *Node) Fresh() bool { return n.Seen != nil && n.SeenAge <= StaleAfter }

// Up tells whether the node is freshly seen and answers.
func (n *Node) Up() bool { return n.Fresh() && n.Seen.Up }

// Down tells whether the node is freshly seen and does not answer.
func (n *Node) Down() bool { return n.Fresh() && !n.Seen.Up }

// InMaintenance tells whether the node is in maintenance at a moment.
func (n *Node) InMaintenance(now time.Time) bool {
	return n.Maintenance != nil && now.Before(*n.Maintenance)
}

// Role is the present role, RoleUnknown when it is not freshly known.
func (n *Node) Role() engine.Role {
	if !n.Up() || n.Seen.Role == "" {
		return engine.RoleUnknown
	}
	return n.Seen.Role
}

// Snapshot is one cluster at one moment.
type Snapshot struct {
	Now     time.Time
	Cluster string
	Engine  string
	Nodes   []Node // sorted by name
	// Failsafe tells that the primary takes writes by promises of the other
	// agents, without the control plane; nil: not, as far as is known.
	Failsafe *Failsafe
}

// Node returns the named node or nil.
func (s *Snapshot) Node(name string) *Node {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

// Primaries returns the nodes that say they are primary, highest term first.
func (s *Snapshot) Primaries() []*Node {
	var out []*Node
	for i := range s.Nodes {
		if s.Nodes[i].Role() == engine.RolePrimary {
			out = append(out, &s.Nodes[i])
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Seen.Term > out[j].Seen.Term })
	return out
}

// Primary returns the one primary, or nil when there is none or more than one
// claims the role. In a consensus engine a claim of an older term is a node
// that has not heard yet, not a second leader.
func (s *Snapshot) Primary() *Node {
	p := s.Primaries()
	switch {
	case len(p) == 1:
		return p[0]
	case len(p) > 1 && s.Engine == engine.EventStore && p[0].Seen.Term > p[1].Seen.Term:
		return p[0]
	}
	return nil
}

// Voter tells whether a node counts for the quorum of an event store, by its
// present or, while it is away, its last role.
func (n *Node) Voter() bool {
	r := n.Role()
	if r == engine.RoleUnknown {
		r = n.LastRole
	}
	return r == engine.RolePrimary || r == engine.RoleReplica
}

func names(nodes []*Node) string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Name
	}
	return strings.Join(out, ", ")
}

// count writes "1 node", "2 nodes".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
