package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/raft/v3"

	"baton/eventstore/membership"
	"baton/eventstore/replica"
)

const raftLeader = raft.StateLeader

// View is this node's picture of the cluster.
func (n *Node) View() membership.View {
	r := n.replica.Load()
	if r == nil {
		return n.lonelyView()
	}
	status := r.Status()
	facts := n.facts(status)
	view := membership.View{
		ClusterID: status.Roster.ClusterID, ClusterName: status.Roster.ClusterName, ClusterSize: status.Roster.ClusterSize,
		Term: status.Term, Leader: membership.MemberID(status.Lead), Self: n.identity.ID,
	}
	if view.ClusterID == "" {
		view.ClusterID = n.clusterID()
	}
	for _, m := range facts.Members {
		view.Members = append(view.Members, n.memberView(status, facts, m))
		if m.Voter {
			view.Quorum.Voters++
			if m.Alive {
				view.Quorum.Alive++
			}
		}
	}
	view.Quorum.Needed = membership.Majority(view.Quorum.Voters)
	if len(view.Members) == 0 {
		view.Members = n.lonelyView().Members
		view.Waiting = "joined the cluster; waiting for its log"
	}
	explainLeadership(&view, facts)
	slices.SortFunc(view.Members, func(a, b membership.NodeView) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.ID.String(), b.ID.String())
	})
	n.steward.mu.Lock()
	view.LastRoleChange, view.Pending = n.steward.roleChange, n.steward.pending
	if n.steward.conflict != nil {
		conflict := *n.steward.conflict
		view.Conflict = &conflict
	}
	n.steward.mu.Unlock()
	return view
}

// lonelyView is the picture of a node without a cluster.
func (n *Node) lonelyView() membership.View {
	self := n.self()
	view := membership.View{
		ClusterID: n.clusterID(), ClusterName: n.cfg.ClusterName, ClusterSize: n.cfg.ClusterSize, Self: self.ID,
		Members: []membership.NodeView{{
			ID: self.ID, InstanceID: self.InstanceID, Name: self.Name, Role: membership.RoleClone, State: membership.StateInitializing,
			Alive: true, NodePriority: self.Priority, ClientAddress: self.ClientAddress(), ClientHost: self.ClientHost, ClientPort: self.ClientPort,
			PeerAddress: self.PeerAddr, IsReadOnly: self.ReadOnlyReplica, Version: n.cfg.Version,
			Why: "it belongs to no cluster yet", WhyRole: "it belongs to no cluster yet",
		}},
	}
	if self.ReadOnlyReplica {
		view.Members[0].Role = membership.RoleReadOnlyReplica
	}
	if why := n.waiting.Load(); why != nil {
		view.Waiting = *why
	}
	return view
}

func (n *Node) memberView(status *replica.Status, facts membership.Facts, m membership.MemberFacts) membership.NodeView {
	view := membership.NodeView{
		ID: m.ID, InstanceID: m.InstanceID, Name: m.Name, Alive: m.Alive, NodePriority: m.Priority,
		ClientAddress: m.ClientAddress(), ClientHost: m.ClientHost, ClientPort: m.ClientPort, PeerAddress: m.PeerAddr,
		LagBytes: m.LagBytes, IsReadOnly: m.ReadOnlyReplica, LastSeenMs: -1, State: membership.StateUnknown, Damage: m.Damage,
	}
	switch {
	case m.ReadOnlyReplica:
		view.Role = membership.RoleReadOnlyReplica
	case !m.Voter:
		view.Role = membership.RoleClone
	case uint64(m.ID) == status.Lead:
		view.Role = membership.RoleLeader
	default:
		view.Role = membership.RoleFollower
	}
	if m.ID == n.identity.ID {
		own := n.ownReport(status)
		view.Term, view.State, view.LogPosition, view.CommitPosition, view.AppliedPosition = own.Term, own.State, own.LogEnd, own.Commit, own.Applied
		view.Version, view.LastSeenMs = own.Version, 0
	} else if seen, ok := n.peers.get(m.ID); ok {
		view.Term, view.State, view.LogPosition, view.CommitPosition, view.AppliedPosition = seen.Term, seen.State, seen.LogEnd, seen.Commit, seen.Applied
		view.Version, view.LastSeenMs = seen.Version, time.Since(seen.at).Milliseconds()
	}
	if facts.Self == 0 {
		view.Why = "there is no leader now"
		if refusal := facts.NoQuorum(); refusal != nil {
			view.Why = refusal.Title + ": " + refusal.Detail
		}
		return view
	}
	view.Promotable, view.Why = membership.Promotable(facts, m.ID)
	return view
}

// explainLeadership says of every member why it does or does not lead.
func explainLeadership(view *membership.View, facts membership.Facts) {
	best := -1 << 31
	for i := range view.Members {
		m := &view.Members[i]
		if m.Alive && (m.Role == membership.RoleFollower || m.Role == membership.RoleLeader) {
			best = max(best, m.NodePriority)
		}
	}
	leaderName := view.Leader.String()
	if leader := view.Find(view.Leader); leader != nil {
		leaderName = leader.Name
	}
	for i := range view.Members {
		m := &view.Members[i]
		switch {
		case m.ID == view.Leader && facts.Named == m.ID:
			m.WhyRole = fmt.Sprintf("it leads term %d: it was promoted by name", view.Term)
		case m.ID == view.Leader:
			m.WhyRole = fmt.Sprintf("it leads term %d: a majority elected it", view.Term)
		case m.Role == membership.RoleClone:
			m.WhyRole = "it is a clone: it copies without voting and must become a follower first"
		case m.Role == membership.RoleReadOnlyReplica:
			m.WhyRole = "it is a read-only replica and never leads"
		case !m.Alive:
			m.WhyRole = "it has not been heard from"
		case view.Leader == 0:
			m.WhyRole = "no leader is elected now"
		case facts.Resigned == m.ID:
			m.WhyRole = fmt.Sprintf("it resigned; %s leads", leaderName)
		case facts.Named == view.Leader:
			m.WhyRole = fmt.Sprintf("%s was promoted by name", leaderName)
		default:
			m.WhyRole = fmt.Sprintf("%s was elected and no higher priority calls for a change", leaderName)
		}
		if leader := view.Find(view.Leader); leader != nil && m.Role == membership.RoleFollower && m.Alive &&
			m.NodePriority == best && m.NodePriority > leader.NodePriority {
			m.WantsLeader = true
			m.WhyRole = fmt.Sprintf("it has a higher priority than %s and takes over when it may", leaderName)
		}
	}
}

// Self is this node's own entry in View.
func (n *Node) Self() membership.NodeView {
	view := n.View()
	if self := view.Find(n.identity.ID); self != nil {
		return *self
	}
	return n.lonelyView().Members[0]
}

// Ready reports whether the node serves: it belongs to a cluster, knows a leader
// and has applied what it found. The text says what is awaited.
func (n *Node) Ready() (bool, string) {
	r := n.replica.Load()
	if r == nil {
		if why := n.waiting.Load(); why != nil && *why != "" {
			return false, *why
		}
		return false, "looking for the cluster"
	}
	status := r.Status()
	switch state := n.state(status); state {
	case membership.StateLeader, membership.StateFollower, membership.StateClone, membership.StateReadOnlyReplica:
		return true, ""
	case membership.StateCatchingUp:
		return false, "catching up with the leader"
	case membership.StatePreLeader:
		return false, "elected, applying what was committed before"
	case membership.StateResigningLeader:
		return false, "handing leadership over"
	}
	return false, "no leader is known"
}

// WaitReady waits until the node serves. The error of a context that ends before
// says what was awaited; ErrStopped when the node stops.
func (n *Node) WaitReady(ctx context.Context) error {
	err := n.waitFor(ctx, func() bool {
		ready, _ := n.Ready()
		return ready
	})
	if err != nil && !errors.Is(err, ErrStopped) {
		_, why := n.Ready()
		return fmt.Errorf("the node does not serve yet: %s: %w", why, err)
	}
	return err
}
