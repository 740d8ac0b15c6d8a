package node

import (
	"encoding/json"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/membership"
	"baton/eventstore/peer"
	"baton/eventstore/replica"
)

type replicaCore = replica.Core

// Times of gossip.
const (
	gossipEvery = 200 * time.Millisecond
	// aliveWithin is how long after its last report a member counts as alive.
	aliveWithin = 1500 * time.Millisecond
)

// report is what a member says of itself.
type report struct {
	Term         uint64              `json:"term"`
	Leader       membership.MemberID `json:"leader,omitempty"`
	State        membership.State    `json:"state"`
	LogEnd       uint64              `json:"logEnd"`
	Commit       uint64              `json:"commit"`
	Applied      uint64              `json:"applied"`
	AppliedIndex uint64              `json:"appliedIndex"`
	Healthy      bool                `json:"healthy"`
	Version      string              `json:"version,omitempty"`
	Traces       bool                `json:"traces,omitempty"` // it understands requestTraced
	Damage       string              `json:"damage,omitempty"` // what of its log is damaged
}

// peerTable keeps the latest report of every member.
type peerTable struct {
	mu      sync.Mutex
	reports map[membership.MemberID]seenReport
}

type seenReport struct {
	report
	at   time.Time
	down bool // nothing listens at its address
}

func newPeerTable() *peerTable {
	return &peerTable{reports: make(map[membership.MemberID]seenReport)}
}

func (t *peerTable) put(id membership.MemberID, r report) {
	t.mu.Lock()
	t.reports[id] = seenReport{report: r, at: time.Now()}
	t.mu.Unlock()
}

func (t *peerTable) down(id membership.MemberID) {
	t.mu.Lock()
	if seen, ok := t.reports[id]; ok {
		seen.down = true
		t.reports[id] = seen
	}
	t.mu.Unlock()
}

func (t *peerTable) get(id membership.MemberID) (seenReport, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen, ok := t.reports[id]
	return seen, ok
}

// silentFor returns how long ago the member was heard from, and whether it is
// taken for alive. A member never heard from is as silent as this node is old.
func (s seenReport) alive() bool {
	return !s.at.IsZero() && !s.down && time.Since(s.at) < aliveWithin
}

func (n *Node) takeReport(from membership.MemberID, payload []byte) {
	began := time.Now()
	var r report
	if err := json.Unmarshal(payload, &r); err != nil {
		n.cfg.Logger.Warn("a member sent a malformed report", "member", from, "err", err)
		return
	}
	n.peers.put(from, r)
	n.notify()
	n.metrics.gossipTaken.Observe(time.Since(began).Seconds())
}

// gossip sends this node's report regularly and whenever it changes.
func (n *Node) gossip() {
	ticker := time.NewTicker(gossipEvery)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		case <-n.gossipNow:
			if n.replica.Load() != nil {
				n.linkMembers()
			}
		}
		if r := n.replica.Load(); r != nil {
			payload, err := json.Marshal(n.ownReport(r.Status()))
			if err == nil {
				n.network.Broadcast(payload)
			}
		}
	}
}

func (n *Node) ownReport(s *replica.Status) report {
	end := n.storage.Log.End()
	applied := n.machine.Watermark().Applied()
	damage := n.scrubber.Damaged()
	return report{
		Term: s.Term, Leader: membership.MemberID(s.Lead), State: n.state(s), LogEnd: end,
		Commit: max(applied, n.positionAfter(s.Commit)), Applied: applied, AppliedIndex: s.Applied,
		Healthy: damage == "", Damage: damage, Version: n.cfg.Version, Traces: true,
	}
}

// positionAfter returns the log position where the entry ends.
func (n *Node) positionAfter(index uint64) uint64 {
	if index == 0 {
		return 0
	}
	if position, err := n.storage.Log.PositionOf(index + 1); err == nil {
		return position
	}
	return n.storage.Log.End()
}

// linkMembers keeps links to all other members, and to nodes of the cluster
// that introduced themselves before this node's roster has them: a node that
// just joined must answer its leader before it has applied anything.
func (n *Node) linkMembers() {
	roster := n.machine.Roster()
	var targets []peer.Target
	for _, member := range roster.Members {
		if member.ID != n.identity.ID && member.PeerAddr != "" {
			targets = append(targets, peer.Target{ID: member.ID, Address: member.PeerAddr})
		}
	}
	n.mu.Lock()
	for id, by := range n.introduced {
		if _, known := roster.Find(id); known || roster.WasRemoved(id) || by.clusterID != n.identity.ClusterID {
			delete(n.introduced, id)
			continue
		}
		if _, taken := roster.FindPeer(by.address); !taken {
			targets = append(targets, peer.Target{ID: id, Address: by.address})
		}
	}
	n.mu.Unlock()
	n.network.SetTargets(targets)
	if len(roster.Removed) > 0 {
		n.network.Disconnect(roster.WasRemoved)
	}
}

// maxIntroduced bounds the nodes linked to before the roster has them.
const maxIntroduced = 32

// welcome judges a node that dials this one.
func (n *Node) welcome(h peer.Hello) peer.Welcome {
	roster := n.machine.Roster()
	own := n.clusterID()
	w := peer.Judge(h, n.identity.ID, own, roster.WasRemoved(h.From))
	if w.Refused != "" || h.ClusterID == "" || h.FromAddr == "" {
		return w
	}
	if _, known := roster.Find(h.From); known {
		return w
	}
	n.mu.Lock()
	now := introduction{address: h.FromAddr, clusterID: h.ClusterID}
	old, had := n.introduced[h.From]
	if had || len(n.introduced) < maxIntroduced {
		n.introduced[h.From] = now
	}
	n.mu.Unlock()
	if old != now {
		n.pokeGossip()
	}
	return w
}

// introduction is a node of a cluster that dialed this one. This node may learn
// only later that the cluster is its own.
type introduction struct {
	address   string
	clusterID string
}

func (n *Node) pokeGossip() {
	select {
	case n.gossipNow <- struct{}{}:
	default:
	}
}

// catchingUpBytes is the lag from which a node says it is catching up.
const catchingUpBytes = 4 << 20

// state names what this node is, as clients know it.
func (n *Node) state(s *replica.Status) membership.State {
	self := n.identity.ID
	switch {
	case s.State == raft.StateLeader && !s.Serving:
		return membership.StatePreLeader
	case s.State == raft.StateLeader && s.Transferring != 0:
		return membership.StateResigningLeader
	case s.State == raft.StateLeader:
		return membership.StateLeader
	}
	member, known := s.Roster.Find(self)
	readOnly := n.cfg.ReadOnlyReplica || known && member.ReadOnlyReplica
	if s.Lead == 0 {
		if readOnly {
			return membership.StateReadOnlyLeaderless
		}
		return membership.StateUnknown
	}
	if readOnly && !known {
		return membership.StatePreReadOnlyReplica // it has not yet read who is in the cluster
	}
	if readOnly {
		return membership.StateReadOnlyReplica
	}
	leader, _ := n.peers.get(membership.MemberID(s.Lead))
	behind := leader.LogEnd > n.machine.Watermark().Applied()+catchingUpBytes
	switch {
	case !known || behind:
		return membership.StateCatchingUp
	case isVoter(s.Conf, self):
		return membership.StateFollower
	}
	return membership.StateClone
}

func isVoter(conf *raftpb.ConfState, id membership.MemberID) bool {
	for _, set := range [][]uint64{conf.GetVoters(), conf.GetVotersOutgoing()} {
		for _, voter := range set {
			if voter == uint64(id) {
				return true
			}
		}
	}
	return false
}
