package membership

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A cluster is founded once, by agreement on one Founding among all nodes that
// know of each other. The agreement is single-decree Paxos: a founding is chosen
// when a majority of its Acceptors has accepted it under one ballot, a node
// answers for its promises from disk, and a proposer that finds an accepted
// founding proposes that one again. Two halves of the nodes can therefore never
// both found a cluster, in whatever order they start and whoever dies half way.
// The acceptors are all nodes known when the proposal was made. Two proposers may
// know of different nodes, so a majority of those alone need not overlap: each
// proposer also needs a majority of the nodes its own operator named, itself and
// its seeds. Nodes whose seed lists share a majority can so found one cluster
// only, however the network is cut; nodes that are not told of each other are
// different clusters.

// Founding is the birth certificate of a cluster.
type Founding struct {
	ClusterID   string     `json:"clusterId"`
	ClusterName string     `json:"clusterName"`
	ClusterSize int        `json:"clusterSize"`
	Founders    []Member   `json:"founders"`  // the first voters, sorted by ID
	Acceptors   []MemberID `json:"acceptors"` // who had a say, sorted
	// AcceptorCount is the number of known nodes, those never reached included.
	AcceptorCount int `json:"acceptorCount"`
}

// IsFounder reports whether id is one of the first voters.
func (f *Founding) IsFounder(id MemberID) bool {
	return slices.ContainsFunc(f.Founders, func(m Member) bool { return m.ID == id })
}

// Ballot orders proposals. The zero ballot is below every other.
type Ballot struct {
	Round    uint64   `json:"round"`
	Proposer MemberID `json:"proposer"`
}

// Less orders by round, then by proposer.
func (b Ballot) Less(other Ballot) bool {
	if b.Round != other.Round {
		return b.Round < other.Round
	}
	return b.Proposer < other.Proposer
}

// Acceptor is one node's durable part in the agreement. It must be on disk
// before an answer leaves the node.
type Acceptor struct {
	Promised Ballot    `json:"promised"`
	Accepted Ballot    `json:"accepted"` // zero while nothing is accepted
	Value    *Founding `json:"value,omitempty"`
}

// Prepare promises to accept nothing below ballot. It answers false, and
// changes nothing, when a higher promise was given.
func (a Acceptor) Prepare(ballot Ballot) (Acceptor, bool) {
	if ballot.Less(a.Promised) {
		return a, false
	}
	a.Promised = ballot
	return a, true
}

// Accept accepts value under ballot unless a higher promise was given.
func (a Acceptor) Accept(ballot Ballot, value *Founding) (Acceptor, bool) {
	if ballot.Less(a.Promised) {
		return a, false
	}
	a.Promised, a.Accepted, a.Value = ballot, ballot, value
	return a, true
}

// ValueToPropose returns what a proposer must propose given the promises it
// got: the value accepted under the highest ballot, else its own.
func ValueToPropose(own *Founding, promises []Acceptor) *Founding {
	var highest Ballot
	value := own
	for _, promise := range promises {
		if promise.Value != nil && highest.Less(promise.Accepted) {
			highest, value = promise.Accepted, promise.Value
		}
	}
	return value
}

// FoundingFacts is what a node without a cluster knows.
type FoundingFacts struct {
	Self        Member
	ClusterName string
	ClusterSize int
	Peers       []FoundingPeer // every other node heard of, at most once each
	Unresolved  []string       // seeds nobody has reached yet
	Seeds       SeedQuorum     // this node and its own seeds
	WaitedFor   time.Duration  // since the set of reachable nodes last changed
	Settle      time.Duration
	JoinOnly    bool // this node was told to found nothing
}

// SeedQuorum is what a node was told of the others: itself and its seeds.
type SeedQuorum struct {
	Addresses []string // peer addresses of those whose address is known, this node's own among them
	Count     int      // all of them, those never reached included; 0 asks for nothing
}

// Met reports whether the nodes that agreed, by peer address, are a majority of them.
func (q SeedQuorum) Met(agreed []string) bool {
	if q.Count == 0 {
		return true
	}
	count := 0
	for _, address := range q.Addresses {
		if slices.Contains(agreed, address) {
			count++
		}
	}
	return count >= Majority(q.Count)
}

// FoundingPeer is another node as seen from one without a cluster.
type FoundingPeer struct {
	Member
	Reachable   bool
	ClusterID   string // not empty when it belongs to a cluster
	ClusterSize int    // as configured there
	JoinOnly    bool   // it was told to found nothing
}

// FoundingStep says what a node without a cluster does next.
type FoundingStep string

// Steps.
const (
	FoundingWait    FoundingStep = "wait"
	FoundingJoin    FoundingStep = "join"
	FoundingPropose FoundingStep = "propose"
)

// FoundingVerdict is the answer of DecideFounding.
type FoundingVerdict struct {
	Step FoundingStep
	// Join lists peer addresses of nodes in a cluster, to ask in this order.
	Join []string
	// Proposal lacks its ClusterID; the proposer draws one.
	Proposal *Founding
	// Why says, for people, what is awaited or done.
	Why string
}

// proposePatience is how many settle times a node lets the node of lowest
// address found the cluster before it proposes itself.
const proposePatience = 3

// DecideFounding says whether to join, wait or propose.
func DecideFounding(f FoundingFacts) FoundingVerdict {
	founders := []Member{f.Self}
	var join []string
	known, reachable := 1+len(f.Unresolved), 1
	var silent []string
	for _, peer := range f.Peers {
		if peer.Reachable && peer.ClusterID != "" {
			join = append(join, peer.PeerAddr)
			continue
		}
		if peer.ReadOnlyReplica || peer.JoinOnly {
			continue
		}
		known++
		if !peer.Reachable {
			silent = append(silent, peer.PeerAddr)
			continue
		}
		reachable++
		founders = append(founders, peer.Member)
		if peer.ClusterSize != f.ClusterSize {
			return waiting("cluster size is %d here and %d at %s: set the same on every node", f.ClusterSize, peer.ClusterSize, peer.PeerAddr)
		}
	}
	if len(join) > 0 {
		slices.Sort(join)
		return FoundingVerdict{Step: FoundingJoin, Join: join, Why: "a cluster exists: asking to join it"}
	}
	if f.Self.ReadOnlyReplica {
		return waiting("a read-only replica founds no cluster: waiting for one to join")
	}
	silent = append(silent, f.Unresolved...)
	slices.Sort(silent)
	missing := strings.Join(silent, ", ")
	if f.JoinOnly {
		if missing == "" {
			return waiting("this node was told only to join (join-only), and none of the %d others it knows is in a cluster: start a node that is", len(f.Peers))
		}
		return waiting("this node was told only to join (join-only): waiting for a node that is in a cluster; not reached: %s", missing)
	}
	if reachable < Majority(known) {
		return waiting("%d of %d known nodes reached, %d needed to found a cluster; waiting for %s", reachable, known, Majority(known), missing)
	}
	reached := make([]string, len(founders))
	for i, member := range founders {
		reached[i] = member.PeerAddr
	}
	if !f.Seeds.Met(reached) {
		return waiting("fewer than %d of the %d nodes this one was told of, itself and its seeds, are reached; waiting for %s", Majority(f.Seeds.Count), f.Seeds.Count, missing)
	}
	if reachable < Majority(f.ClusterSize) {
		return waiting("%d nodes reached, %d needed for a cluster of %d; waiting for more", reachable, Majority(f.ClusterSize), f.ClusterSize)
	}
	if reachable < min(f.ClusterSize, known) && f.WaitedFor < f.Settle {
		return waiting("%d of %d nodes reached, giving the others a moment: %s", reachable, min(f.ClusterSize, known), missing)
	}
	slices.SortFunc(founders, func(a, b Member) int {
		if c := strings.Compare(a.PeerAddr, b.PeerAddr); c != 0 {
			return c
		}
		return compareUint(uint64(a.ID), uint64(b.ID))
	})
	if founders[0].ID != f.Self.ID && f.WaitedFor < proposePatience*f.Settle {
		return waiting("the node at %s founds the cluster", founders[0].PeerAddr)
	}
	acceptors := make([]MemberID, len(founders))
	for i, member := range founders {
		acceptors[i] = member.ID
	}
	slices.Sort(acceptors)
	size := min(f.ClusterSize, len(founders))
	if size%2 == 0 && size-1 >= Majority(f.ClusterSize) {
		size--
	}
	first := slices.Clone(founders[:size])
	slices.SortFunc(first, func(a, b Member) int { return compareUint(uint64(a.ID), uint64(b.ID)) })
	return FoundingVerdict{
		Step: FoundingPropose,
		Proposal: &Founding{
			ClusterName: f.ClusterName, ClusterSize: f.ClusterSize, Founders: first,
			Acceptors: acceptors, AcceptorCount: known,
		},
		Why: fmt.Sprintf("founding a cluster of %d with %d nodes", f.ClusterSize, len(first)),
	}
}

func waiting(format string, args ...any) FoundingVerdict {
	return FoundingVerdict{Step: FoundingWait, Why: fmt.Sprintf(format, args...)}
}
