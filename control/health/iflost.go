package health

import (
	"fmt"
	"strings"

	"baton/control/engine"
)

// Outlook is what the loss of one node would mean for a cluster that elects its
// leader by itself.
type Outlook struct {
	Sentence string
	Next     string // the node that would lead, "" where that is open or nobody would
	Loss     string // which acknowledged writes would be lost, in words
}

// IfLost says what the loss of a node of an event store would mean now: its
// voters elect among themselves, and a write was acknowledged when a majority
// had it.
func IfLost(s *Snapshot, node string) Outlook {
	var voters, clones int
	var others, best []*Node // voters that would answer; those of them with the highest priority
	for i := range s.Nodes {
		n := &s.Nodes[i]
		switch {
		case n.Role() == engine.RoleClone && n.Name != node:
			clones++
		case !n.Voter():
		default:
			voters++
			if n.Up() && n.Name != node {
				others = append(others, n)
			}
		}
	}
	lost := s.Node(node)
	needed := voters/2 + 1
	o := Outlook{Loss: "nothing: an acknowledged write is on the disks of a majority"}
	switch {
	case lost == nil || !lost.Voter():
		o.Sentence = node + " copies and does not vote: writes go on, and no role changes"
		return o
	case len(others) < needed:
		o.Sentence = fmt.Sprintf("Writes would stop: %d of %d voters would answer and %d are needed", len(others), voters, needed)
		return o
	}
	after := ""
	if clones > 0 {
		after = fmt.Sprintf("; a clone takes the vote of %s when it stays away", node)
	}
	if p := s.Primary(); p == nil || p.Name != node {
		o.Sentence = fmt.Sprintf("Writes go on: %d of %d voters would answer and %d are needed%s", len(others), voters, needed, after)
		if p != nil {
			o.Next = p.Name
		}
		return o
	}
	for _, n := range others {
		switch {
		case len(best) == 0 || n.Priority > best[0].Priority:
			best = []*Node{n}
		case n.Priority == best[0].Priority:
			best = append(best, n)
		}
	}
	if len(best) == 1 {
		o.Next = best[0].Name
	}
	o.Sentence = fmt.Sprintf("%s would elect a leader among themselves within moments, preferring %s%s", names(others), strings.ReplaceAll(names(best), ", ", " or "), after)
	return o
}
