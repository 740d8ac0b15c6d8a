package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/peer"
	"baton/eventstore/replica"
)

// PromoteResult tells what a promotion did.
type PromoteResult struct {
	Leader  membership.MemberID   `json:"leader"`
	Term    uint64                `json:"term,string"`
	TookMs  int64                 `json:"tookMs"`
	Changed []membership.MemberID `json:"changed"` // members whose role changed
}

// operation is one operator's command on its way to the leader.
type operation struct {
	Kind     operationKind       `json:"kind"`
	Node     string              `json:"node,omitempty"`
	Lead     bool                `json:"lead,omitempty"`
	Self     membership.MemberID `json:"self,omitempty"`
	Priority int                 `json:"priority,omitempty"`
	Size     int                 `json:"size,omitempty"`
	Member   *membership.Member  `json:"member,omitempty"`
}

type operationKind string

const (
	operatePromote  operationKind = "promote"
	operatePriority operationKind = "priority"
	operateSize     operationKind = "size"
	operateAdd      operationKind = "add"
	operateRemove   operationKind = "remove"
)

// operationReply has one of its fields set; none means done.
type operationReply struct {
	NotLeader bool                `json:"notLeader,omitempty"` // nothing was done
	Refusal   *membership.Refusal `json:"refusal,omitempty"`
	Promoted  *PromoteResult      `json:"promoted,omitempty"`
	Member    *membership.Member  `json:"member,omitempty"`
}

// operateTimeout bounds an operator's command that brings no deadline.
const operateTimeout = 10 * time.Second

// promoteTries is how often leadership is asked to move before giving up.
const promoteTries = 3

// operate runs a command on the leader, wherever that is.
func (n *Node) operate(ctx context.Context, o operation) (operationReply, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, operateTimeout)
		defer cancel()
	}
	r := n.replica.Load()
	if r == nil {
		return operationReply{}, &membership.Refusal{Code: membership.CodeNotFormed, Title: "this node belongs to no cluster yet",
			Detail: n.lonelyView().Waiting, Fix: "start the nodes that are awaited", Retry: true}
	}
	for {
		var reply operationReply
		var err error
		status := r.Status()
		switch {
		case status.IsLeader():
			reply = n.operateHere(ctx, o)
		case status.Lead != 0 && status.Lead != status.ID:
			reply, err = ask[operationReply](ctx, n.toMember(membership.MemberID(status.Lead)), requestOperate, o)
			if errors.Is(err, peer.ErrUnreachable) {
				reply, err = operationReply{NotLeader: true}, nil
			}
		default:
			reply = operationReply{NotLeader: true}
		}
		switch {
		case err != nil:
			return reply, &membership.Refusal{Code: membership.CodeMovingNotConfirmed, Title: "the leader did not confirm in time",
				Detail: err.Error(), Fix: "look at the roles before trying again: it may have been done", Retry: true}
		case reply.Refusal != nil:
			return reply, reply.Refusal
		case !reply.NotLeader:
			return reply, nil
		}
		if refusal := n.leaderlessRefusal(r.Status()); refusal != nil && refusal.Code == membership.CodeNoQuorum {
			return reply, refusal
		}
		if err := n.waitForLeader(ctx, r); err != nil {
			if refusal := n.leaderlessRefusal(r.Status()); refusal != nil {
				return reply, refusal
			}
			return reply, err
		}
	}
}

// leaderlessRefusal says why there is no leader to do anything.
func (n *Node) leaderlessRefusal(status *replica.Status) *membership.Refusal {
	facts := n.facts(status)
	if refusal := facts.NoQuorum(); refusal != nil {
		return refusal
	}
	if status.Lead != 0 {
		return nil
	}
	return &membership.Refusal{Code: membership.CodeNoLeader, Title: "the cluster has no leader now",
		Detail: "an election is under way", Fix: "try again in a moment", Retry: true}
}

// operateHere runs a command if this node leads.
func (n *Node) operateHere(ctx context.Context, o operation) operationReply {
	ctx, cancel := context.WithTimeout(ctx, operateTimeout)
	defer cancel()
	r := n.replica.Load()
	if r == nil || !r.Status().IsLeader() {
		return operationReply{NotLeader: true}
	}
	var reply operationReply
	var err error
	switch o.Kind {
	case operatePromote:
		reply.Promoted, err = n.promoteHere(ctx, r, o.Node, o.Lead)
	case operatePriority:
		err = n.proposeRoster(ctx, r, membership.Change{
			Priority: &membership.PriorityEntry{ID: o.Self, Priority: o.Priority}, Reason: "set by an operator"})
	case operateSize:
		err = n.proposeRoster(ctx, r, membership.Change{ClusterSize: o.Size, Reason: "set by an operator"})
	case operateAdd:
		if o.Member == nil {
			return operationReply{Refusal: &membership.Refusal{Code: membership.CodeBadMember, Title: "the request names no member", Fix: "give its peer address"}}
		}
		reply.Member, err = n.addHere(ctx, r, *o.Member)
	case operateRemove:
		err = n.removeHere(ctx, r, o.Node)
	default:
		err = &membership.Refusal{Code: "unknown-operation", Title: fmt.Sprintf("unknown operation %q", o.Kind), Fix: "run the same version on all nodes"}
	}
	var refusal *membership.Refusal
	switch {
	case err == nil:
	case errors.As(err, &refusal):
		reply.Refusal = refusal
	case errors.Is(err, replica.ErrNotAppended):
		return operationReply{NotLeader: true}
	default:
		reply.Refusal = refusalOf(err)
	}
	return reply
}

// refusalOf words the failures of the replica.
func refusalOf(err error) *membership.Refusal {
	switch {
	case errors.Is(err, replica.ErrNotCaughtUp):
		return &membership.Refusal{Code: membership.CodeNotCaughtUp, Title: "the clone did not catch up in time",
			Detail: "it does not hold every committed entry", Fix: "wait until its lag is small, or lower the load", Retry: true}
	case errors.Is(err, replica.ErrChangeRunning):
		return &membership.Refusal{Code: membership.CodeChangeRunning, Title: "another change of the voters is running",
			Detail: "one change at a time", Fix: "try again in a moment", Retry: true}
	}
	return &membership.Refusal{Code: membership.CodeMovingNotConfirmed, Title: "the change was not confirmed in time",
		Detail: err.Error(), Fix: "look at the roles before trying again: it may have been done", Retry: true}
}

// Promote makes the named member the leader (lead), or a clone a voter. Any
// node accepts it and passes it to the leader. Errors: *membership.Refusal.
func (n *Node) Promote(ctx context.Context, nameOrID string, lead bool) (PromoteResult, error) {
	reply, err := n.operate(ctx, operation{Kind: operatePromote, Node: nameOrID, Lead: lead})
	if err != nil || reply.Promoted == nil {
		return PromoteResult{}, err
	}
	return *reply.Promoted, nil
}

// promoteHere follows the plan: voters first, then the transfer. The promotion
// is written down before leadership moves, so that the new leader knows it was
// wanted by a person and does not hand back to a higher priority at once.
func (n *Node) promoteHere(ctx context.Context, r *replica.Replica, nameOrID string, lead bool) (*PromoteResult, error) {
	began := time.Now()
	status := r.Status()
	target, refusal := status.Roster.Resolve(nameOrID)
	if refusal != nil {
		return nil, refusal
	}
	n.freshen()
	plan, refusal := membership.PlanPromote(n.facts(r.Status()), target.ID, lead)
	if refusal != nil {
		return nil, refusal
	}
	result := &PromoteResult{Leader: membership.MemberID(status.ID), Term: status.Term}
	if plan.Voters != nil {
		n.cfg.Logger.Info("membership", "action", plan.Voters.Kind, "reason", plan.Voters.Reason)
		if err := n.perform(ctx, r, *plan.Voters); err != nil {
			return nil, err
		}
		result.Changed = append(slices.Clone(plan.Voters.Promote), plan.Voters.Demote...)
	}
	if !plan.Transfer {
		result.TookMs = time.Since(began).Milliseconds()
		return result, nil
	}
	if err := n.proposeRoster(ctx, r, membership.Change{Named: &target.ID, Reason: "promoted by name"}); err != nil {
		return nil, err
	}
	if err := n.waitApplied(ctx, target.ID, r.Status().LastConf); err != nil {
		return nil, refusalOf(err)
	}
	leader, term, err := n.moveTo(ctx, r, target)
	if err != nil {
		return nil, err
	}
	result.Leader, result.Term = leader, term
	result.Changed = appendNew(result.Changed, membership.MemberID(status.ID), leader)
	result.TookMs = time.Since(began).Milliseconds()
	return result, nil
}

// freshen lets members report, so that a promotion does not look at numbers a
// fifth of a second old; links carry a report both ways within a round trip.
func (n *Node) freshen() { n.pokeGossip() }

// waitApplied waits until the member reports to have applied the entry. Raft
// lets nobody campaign who has a configuration change to apply.
func (n *Node) waitApplied(ctx context.Context, id membership.MemberID, index uint64) error {
	return n.waitFor(ctx, func() bool {
		seen, ok := n.peers.get(id)
		return ok && seen.AppliedIndex >= index
	})
}

// moveTo transfers leadership and returns who leads then. Another winner is
// legal: it holds everything committed; the caller is told.
func (n *Node) moveTo(ctx context.Context, r *replica.Replica, target membership.Member) (membership.MemberID, uint64, error) {
	for range promoteTries {
		if err := n.transfer(ctx, r, target.ID); err != nil && ctx.Err() != nil {
			break
		}
		status := r.Status()
		if membership.MemberID(status.Lead) == target.ID {
			return target.ID, status.Term, nil
		}
		if !status.IsLeader() && status.Lead != 0 {
			return 0, 0, &membership.Refusal{Code: membership.CodeMovingNotConfirmed,
				Title:  "another node was elected",
				Detail: fmt.Sprintf("%s leads term %d", membership.MemberID(status.Lead), status.Term),
				Fix:    "promote again", Retry: true}
		}
	}
	return 0, 0, &membership.Refusal{Code: membership.CodeMovingNotConfirmed,
		Title:  target.Label() + " did not take over in time",
		Detail: fmt.Sprintf("%d transfers came to nothing; the old leader goes on", promoteTries),
		Fix:    "look at the node's load and links, then try again", Retry: true}
}

// Resign makes the leader hand over to the best follower; priority does not
// choose it again for a while. On a node that does not lead it is refused.
func (n *Node) Resign(ctx context.Context) error {
	r := n.replica.Load()
	if r == nil || !r.Status().IsLeader() {
		return &membership.Refusal{Code: "not-leader", Title: "this node is not the leader", Detail: "only a leader can resign", Fix: "ask the leader"}
	}
	facts := n.facts(r.Status())
	successor, refusal := facts.Successor()
	if refusal != nil {
		return refusal
	}
	ctx, cancel := context.WithTimeout(ctx, operateTimeout)
	defer cancel()
	self := n.identity.ID
	if err := n.proposeRoster(ctx, r, membership.Change{Resigned: &self, Reason: "resigned"}); err != nil {
		return refusalOf(err)
	}
	member, _ := r.Status().Roster.Find(successor)
	_, _, err := n.moveTo(ctx, r, member)
	return err
}

// SetPriority sets this node's own priority, replicated, until it restarts with
// another one in its configuration.
func (n *Node) SetPriority(ctx context.Context, priority int) error {
	_, err := n.operate(ctx, operation{Kind: operatePriority, Self: n.identity.ID, Priority: priority})
	return err
}

// SetClusterSize sets the number of voters wanted: 1, 3, 5, 7 or 9.
func (n *Node) SetClusterSize(ctx context.Context, size int) error {
	if refusal := membership.CheckSize(size); refusal != nil {
		return refusal
	}
	_, err := n.operate(ctx, operation{Kind: operateSize, Size: size})
	return err
}

// AddMember admits a node that runs at member.PeerAddr and has no cluster yet.
// It joins as a clone (or read-only replica). Only PeerAddr is needed.
func (n *Node) AddMember(ctx context.Context, member membership.Member) (membership.Member, error) {
	if _, _, err := net.SplitHostPort(member.PeerAddr); err != nil {
		return membership.Member{}, &membership.Refusal{Code: membership.CodeBadMember, Title: fmt.Sprintf("%q is no peer address", member.PeerAddr),
			Detail: err.Error(), Fix: "give host:port, the address other nodes dial"}
	}
	reply, err := n.operate(ctx, operation{Kind: operateAdd, Member: &member})
	if err != nil || reply.Member == nil {
		return membership.Member{}, err
	}
	return *reply.Member, nil
}

// addHere tells the node at the address of this cluster; it then asks to join
// by itself, with its own data.
func (n *Node) addHere(ctx context.Context, r *replica.Replica, member membership.Member) (*membership.Member, error) {
	met, err := ask[meeting](ctx, n.toAddress(member.PeerAddr), requestMeet, n.ownMeeting())
	if err != nil {
		return nil, &membership.Refusal{Code: membership.CodeNodeDown, Title: "no node answers at " + member.PeerAddr,
			Detail: err.Error(), Fix: "start it there first", Retry: true}
	}
	if met.ClusterID != "" && met.ClusterID != r.Status().Roster.ClusterID {
		return nil, &membership.Refusal{Code: membership.CodeBadMember, Title: "the node at " + member.PeerAddr + " belongs to another cluster",
			Detail: "its cluster is " + met.ClusterID, Fix: "wipe its data directory if that cluster is gone"}
	}
	var found membership.Member
	err = n.waitFor(ctx, func() bool {
		var ok bool
		found, ok = r.Status().Roster.Find(met.Member.ID)
		return ok
	})
	if err != nil {
		return nil, &membership.Refusal{Code: membership.CodeMovingNotConfirmed, Title: "the node did not join in time",
			Detail: err.Error(), Fix: "read its log", Retry: true}
	}
	return &found, nil
}

// RemoveMember removes a member for good. A leader hands over first.
func (n *Node) RemoveMember(ctx context.Context, nameOrID string) error {
	_, err := n.operate(ctx, operation{Kind: operateRemove, Node: nameOrID})
	return err
}

func (n *Node) removeHere(ctx context.Context, r *replica.Replica, nameOrID string) error {
	status := r.Status()
	target, refusal := status.Roster.Resolve(nameOrID)
	if refusal != nil {
		return refusal
	}
	facts := n.facts(status)
	if refusal := membership.PlanRemove(facts, target.ID); refusal != nil {
		return refusal
	}
	if uint64(target.ID) == status.ID {
		successor, refusal := facts.Successor()
		if refusal != nil {
			return refusal
		}
		member, _ := status.Roster.Find(successor)
		if _, _, err := n.moveTo(ctx, r, member); err != nil {
			return err
		}
		return replica.ErrNotAppended // the new leader removes this node
	}
	n.cfg.Logger.Info("removing a member", "member", target.ID, "name", target.Name)
	return r.ChangeConf(ctx, &replica.Change{
		Remove:  []uint64{uint64(target.ID)},
		Context: membership.Change{Remove: []membership.MemberID{target.ID}, Reason: "removed by an operator"}.Encode(),
	})
}

func appendNew(ids []membership.MemberID, more ...membership.MemberID) []membership.MemberID {
	for _, id := range more {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b membership.MemberID) int { return strings.Compare(a.String(), b.String()) })
	return ids
}
