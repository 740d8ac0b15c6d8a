package leader

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Roles of a control node in Status.
const (
	RoleLeader   = "leader"   // it acts, or is about to
	RoleFollower = "follower" // it copies the journal and passes requests on
	RoleUnknown  = "unknown"  // this node does not know
)

// Status is what one control node knows of all.
type Status struct {
	Self string
	// Acting tells whether this node acts, in Term.
	Acting bool
	// Leader is the node that acts, "" when none is known; Address is where it is
	// dialed, URL where people find its page.
	Leader, Address, URL string
	// Term is that of the newest claim.
	Term uint64
	// Needed is the majority, Alive the voters this node hears from.
	Needed, Alive int
	// Majority tells whether this node belongs to a majority that has a leader.
	Majority bool
	// Contact is when this node last knew a leader.
	Contact  time.Time
	Nodes    []NodeStatus // sorted by name
	Sentence string
}

// NodeStatus is one control node.
type NodeStatus struct {
	Member
	Role     string
	Up, Self bool
	LagBytes uint64
}

// Acting returns the term while this node acts.
func (e *Elector) Acting() (term uint64, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.term, e.term > 0
}

// Status returns what this node knows now.
func (e *Elector) Status() Status {
	view := e.Node.View()
	e.mu.Lock()
	e.look()
	s := Status{Self: e.Name, Acting: e.term > 0, Term: e.Roster.Claim().Term, Needed: view.Needed, Alive: view.Alive, Majority: view.Leader != "", Contact: e.contact, Leader: e.leader}
	e.mu.Unlock()
	if m, ok := e.Roster.Member(s.Leader); ok {
		s.Address, s.URL = m.Agents, m.URL
	}
	known := map[string]bool{}
	for _, n := range view.Nodes {
		m, _ := e.Roster.Member(n.Name)
		m.Name = n.Name
		if m.Peer == "" {
			m.Peer = n.Peer
		}
		known[n.Name] = true
		ns := NodeStatus{Member: m, Role: RoleUnknown, Up: n.Alive || n.Self, Self: n.Self, LagBytes: n.LagBytes}
		switch {
		case n.Name == s.Leader:
			ns.Role = RoleLeader
		case s.Majority && ns.Up:
			ns.Role = RoleFollower
		}
		s.Nodes = append(s.Nodes, ns)
	}
	for _, m := range e.Roster.Members() {
		if !known[m.Name] && m.Name == e.Name {
			s.Nodes = append(s.Nodes, NodeStatus{Member: m, Role: RoleUnknown, Up: true, Self: true})
		}
	}
	s.Sentence = sentence(&s, e.Now())
	return s
}

func sentence(s *Status, now time.Time) string {
	var down []string
	for _, n := range s.Nodes {
		if !n.Up {
			down = append(down, n.Name)
		}
	}
	switch {
	case !s.Majority:
		return fmt.Sprintf("This node cannot see a majority; showing data from %s ago. Nothing can be changed here until it can.", ago(now.Sub(s.Contact)))
	case s.Leader == "":
		return "A control node is taking over; changes are possible again in a moment."
	case s.Alive < s.Needed:
		return fmt.Sprintf("%s leads; this node has not heard from the others yet.", s.Leader)
	case len(s.Nodes) <= 1:
		return "One control node; databases go on without it, and nothing is promoted while it is away."
	}
	spare := s.Alive - s.Needed
	text := fmt.Sprintf("%s leads; %d of %d control nodes are up", s.Leader, len(s.Nodes)-len(down), len(s.Nodes))
	if len(down) > 0 {
		text += " (" + strings.Join(down, ", ") + " cannot be reached)"
	}
	switch {
	case spare > 1:
		return text + fmt.Sprintf(". %d more may fail.", spare)
	case spare == 1:
		return text + ". One more may fail."
	}
	return text + ". None may fail: without a majority nothing is changed."
}

func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "less than 1 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d h", int(d.Hours()))
}

// Await returns the status once a leader acts, at the latest when ctx ends.
func (e *Elector) Await(ctx context.Context) Status {
	for {
		e.mu.Lock()
		moved := e.moved
		e.mu.Unlock()
		s := e.Status()
		if s.Leader != "" {
			return s
		}
		select {
		case <-ctx.Done():
			return s
		case <-moved:
		}
	}
}
