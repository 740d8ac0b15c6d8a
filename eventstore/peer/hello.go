package peer

import (
	"fmt"

	"baton/eventstore/membership"
)

// protocolVersion is raised when the frames change in a way that old nodes
// cannot read.
const protocolVersion = 1

// Hello opens a connection.
type Hello struct {
	Protocol  int                 `json:"protocol"`
	ClusterID string              `json:"clusterId,omitempty"` // "" before the cluster is founded or joined
	From      membership.MemberID `json:"from"`
	FromAddr  string              `json:"fromAddr"`     // peer address of the dialer
	To        membership.MemberID `json:"to,omitempty"` // who is expected; none when only the address is known
}

// Welcome answers a Hello.
type Welcome struct {
	Protocol  int                 `json:"protocol"`
	ClusterID string              `json:"clusterId,omitempty"`
	Self      membership.MemberID `json:"self"`
	// Refused says why the connection is not wanted; "" when it is.
	Refused string `json:"refused,omitempty"`
	// Removed: the dialer was removed from the cluster for good.
	Removed bool `json:"removed,omitempty"`
}

// RefusedError: the other node does not want the connection.
type RefusedError struct {
	Address string
	Welcome Welcome
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("node at %s refuses the connection: %s", e.Address, e.Welcome.Refused)
}

// Judge answers a hello on behalf of a node.
func Judge(h Hello, self membership.MemberID, clusterID string, removed bool) Welcome {
	w := Welcome{Protocol: protocolVersion, ClusterID: clusterID, Self: self}
	switch {
	case h.Protocol != protocolVersion:
		w.Refused = fmt.Sprintf("it speaks peer protocol %d, this node %d", h.Protocol, protocolVersion)
	case h.From == 0:
		w.Refused = "it does not say who it is"
	case h.From == self:
		w.Refused = "it has the same id as this node: one of the two data directories is a copy"
	case h.To != 0 && h.To != self:
		w.Refused = fmt.Sprintf("this address belongs to member %s now, not to %s", self, h.To)
	case removed:
		w.Refused, w.Removed = "it was removed from the cluster", true
	case h.ClusterID != "" && clusterID != "" && h.ClusterID != clusterID:
		w.Refused = fmt.Sprintf("it belongs to cluster %s, this node to %s", h.ClusterID, clusterID)
	}
	return w
}
