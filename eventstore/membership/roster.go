package membership

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Roster is the replicated description of the cluster: what every node holds
// after applying the same log prefix. Who votes is raft's own configuration
// and travels beside it.
type Roster struct {
	ClusterID   string   `json:"clusterId"`
	ClusterName string   `json:"clusterName"`
	ClusterSize int      `json:"clusterSize"` // voters wanted
	Members     []Member `json:"members"`     // sorted by ID
	// Removed holds ids that were members once; they never come back.
	Removed []MemberID `json:"removed,omitempty"` // sorted
	// Named is the member last promoted by name; priority leaves it in place
	// for a while. Zero when a resignation came later.
	Named MemberID `json:"named,omitempty"`
	// Resigned is the member that last gave leadership up; priority does not
	// choose it for a while.
	Resigned MemberID `json:"resigned,omitempty"`
	// Founded says that all entries of the founding have been applied.
	Founded bool `json:"founded,omitempty"`
}

// Change is one replicated change of the roster. It travels in the context of
// a raft configuration change or as an administrative record, so that it takes
// effect at the same log index on every node. Nil fields change nothing.
type Change struct {
	Found *FoundChange `json:"found,omitempty"`
	// Refound makes the log that of another, new cluster: all members so far
	// are removed. It comes with the first member of the new one in Put.
	Refound     *FoundChange   `json:"refound,omitempty"`
	Put         []Member       `json:"put,omitempty"`    // add, or replace the data of, these members
	Remove      []MemberID     `json:"remove,omitempty"` // remove for ever
	ClusterSize int            `json:"clusterSize,omitempty"`
	Priority    *PriorityEntry `json:"priority,omitempty"`
	Named       *MemberID      `json:"named,omitempty"`
	Resigned    *MemberID      `json:"resigned,omitempty"`
	// Reason is shown to people and has no effect.
	Reason string `json:"reason,omitempty"`
}

// FoundChange names a cluster where its log begins, or where it goes on from a
// backup of another cluster's.
type FoundChange struct {
	ClusterID   string `json:"clusterId"`
	ClusterName string `json:"clusterName"`
	ClusterSize int    `json:"clusterSize"`
}

// PriorityEntry sets one member's priority.
type PriorityEntry struct {
	ID       MemberID `json:"id"`
	Priority int      `json:"priority"`
}

// Encode returns the change's bytes: JSON, since changes are rare and the bytes
// stay in the log for people to read.
func (c Change) Encode() []byte {
	data, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("membership: encode change: %v", err))
	}
	return data
}

// DecodeChange reads what Encode wrote. No bytes are the empty change.
func DecodeChange(data []byte) (Change, error) {
	var change Change
	if len(data) == 0 {
		return change, nil
	}
	if err := json.Unmarshal(data, &change); err != nil {
		return Change{}, fmt.Errorf("decode membership change: %w", err)
	}
	return change, nil
}

// Clone returns a copy that shares nothing with r.
func (r Roster) Clone() Roster {
	r.Members = slices.Clone(r.Members)
	r.Removed = slices.Clone(r.Removed)
	return r
}

// Find returns the member with this id.
func (r *Roster) Find(id MemberID) (Member, bool) {
	at, found := slices.BinarySearchFunc(r.Members, id, compareMemberID)
	if !found {
		return Member{}, false
	}
	return r.Members[at], true
}

// FindPeer returns the member that advertises this peer address.
func (r *Roster) FindPeer(address string) (Member, bool) {
	for _, member := range r.Members {
		if member.PeerAddr == address {
			return member, true
		}
	}
	return Member{}, false
}

// WasRemoved reports whether id was a member and is none any more.
func (r *Roster) WasRemoved(id MemberID) bool {
	_, found := slices.BinarySearch(r.Removed, id)
	return found
}

// Apply makes the change. It is deterministic and total: a change that no
// longer fits (a member removed in between) changes nothing for that part.
func (r *Roster) Apply(c Change) {
	if c.Found != nil && r.ClusterID == "" {
		r.ClusterID = c.Found.ClusterID
		r.ClusterName = c.Found.ClusterName
		r.ClusterSize = c.Found.ClusterSize
	}
	if c.Refound != nil {
		for _, member := range r.Members {
			if at, found := slices.BinarySearch(r.Removed, member.ID); !found {
				r.Removed = slices.Insert(r.Removed, at, member.ID)
			}
		}
		r.ClusterID, r.ClusterName, r.ClusterSize = c.Refound.ClusterID, c.Refound.ClusterName, c.Refound.ClusterSize
		r.Members, r.Named, r.Resigned = nil, 0, 0
	}
	for _, member := range c.Put {
		if r.WasRemoved(member.ID) {
			continue
		}
		at, found := slices.BinarySearchFunc(r.Members, member.ID, compareMemberID)
		if found {
			r.Members[at] = member
		} else {
			r.Members = slices.Insert(r.Members, at, member)
		}
	}
	for _, id := range c.Remove {
		at, found := slices.BinarySearchFunc(r.Members, id, compareMemberID)
		if found {
			r.Members = slices.Delete(r.Members, at, at+1)
		}
		if at, found := slices.BinarySearch(r.Removed, id); !found {
			r.Removed = slices.Insert(r.Removed, at, id)
		}
		if r.Named == id {
			r.Named = 0
		}
		if r.Resigned == id {
			r.Resigned = 0
		}
	}
	if c.ClusterSize > 0 {
		r.ClusterSize = c.ClusterSize
	}
	if c.Priority != nil {
		at, found := slices.BinarySearchFunc(r.Members, c.Priority.ID, compareMemberID)
		if found {
			r.Members[at].Priority = c.Priority.Priority
		}
	}
	if c.Named != nil {
		r.Named = *c.Named
		if r.Resigned == r.Named {
			r.Resigned = 0
		}
	}
	if c.Resigned != nil {
		r.Resigned = *c.Resigned
		r.Named = 0
	}
}

// Resolve finds the one member a person means by name, id, or client or peer
// address.
func (r *Roster) Resolve(nameOrID string) (Member, *Refusal) {
	var hits []Member
	for _, member := range r.Members {
		switch nameOrID {
		case member.Name, member.ID.String(), member.ClientAddress(), member.PeerAddr, member.InstanceID.String():
			hits = append(hits, member)
		}
	}
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		names := make([]string, 0, len(r.Members))
		for _, member := range r.Members {
			names = append(names, member.Label())
		}
		slices.Sort(names)
		return Member{}, &Refusal{
			Code: CodeUnknownNode, Title: fmt.Sprintf("no node %q in this cluster", nameOrID),
			Detail: fmt.Sprintf("the members are %v", names), Fix: "use one of these names, or the id or address of a member",
		}
	}
	return Member{}, &Refusal{
		Code: CodeAmbiguousNode, Title: fmt.Sprintf("%q names %d members", nameOrID, len(hits)),
		Detail: fmt.Sprintf("%s and %s share the name", hits[0].ID, hits[1].ID), Fix: "use the id instead of the name",
	}
}

func compareMemberID(m Member, id MemberID) int {
	switch {
	case m.ID < id:
		return -1
	case m.ID > id:
		return 1
	}
	return 0
}
