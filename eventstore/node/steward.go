package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/replica"
)

// Times of the leader's duties.
const (
	stewardEvery  = 100 * time.Millisecond
	actionTimeout = 5 * time.Second
	// unreachableFor is the silence of a member whose address belongs to another
	// node now: for ever.
	unreachableFor = 24 * 365 * time.Hour
)

// steward looks after the membership while this node leads: it gathers facts,
// lets membership decide and carries one action out at a time.
type steward struct {
	node *Node

	mu          sync.Mutex
	term        uint64    // the term leaderSince belongs to
	leaderSince time.Time // zero while this node does not lead
	lastLead    uint64
	roleChange  *membership.RoleChange
	pending     *membership.Pending
	caughtUp    map[membership.MemberID]time.Time // since when a member's lag is small
	started     time.Time
	conflict    *membership.Conflict
}

func newSteward(n *Node) *steward {
	return &steward{node: n, caughtUp: make(map[membership.MemberID]time.Time), started: time.Now()}
}

// statusChanged runs on the replica's loop.
func (s *steward) statusChanged(status *replica.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if status.IsLeader() {
		if s.leaderSince.IsZero() || s.term != status.Term {
			s.leaderSince, s.term = time.Now(), status.Term
			clear(s.caughtUp)
		}
	} else {
		s.leaderSince = time.Time{}
		s.pending = nil
	}
	if status.Lead == 0 || status.Lead == s.lastLead && s.roleChange != nil && s.roleChange.Term == status.Term {
		return
	}
	reason := "elected"
	switch {
	case s.lastLead == 0 && s.roleChange == nil:
		reason = "first leader seen since this node started"
	case status.Roster.Named == membership.MemberID(status.Lead):
		reason = "promoted by name"
	case status.Roster.Resigned == membership.MemberID(s.lastLead) && s.lastLead != 0:
		reason = "the leader resigned"
	}
	s.lastLead = status.Lead
	s.node.metrics.elections.Inc()
	s.roleChange = &membership.RoleChange{
		At: stamp(time.Now()), Term: status.Term, Leader: membership.MemberID(status.Lead), Reason: reason,
	}
	name := membership.MemberID(status.Lead).String()
	if member, ok := status.Roster.Find(membership.MemberID(status.Lead)); ok {
		name = member.Label()
	}
	s.node.cfg.Logger.Info("leader changed", "leader", name, "term", status.Term, "reason", reason)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *steward) run() {
	ticker := time.NewTicker(stewardEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.node.ctx.Done():
			return
		case <-ticker.C:
		}
		r := s.node.replica.Load()
		if r == nil {
			continue
		}
		status := r.Status()
		s.watchClaims(status)
		if !status.IsLeader() {
			continue
		}
		s.duty(r, status)
	}
}

func (s *steward) duty(r *replica.Replica, status *replica.Status) {
	facts := s.node.facts(status)
	s.trackCaughtUp(facts)
	if s.forgetReplaced(r, status) {
		return
	}
	decision := membership.Decide(facts)
	s.setPending(decision)
	for _, action := range decision.Actions {
		s.node.cfg.Logger.Info("membership", "action", action.Kind, "reason", action.Reason)
		ctx, cancel := context.WithTimeout(s.node.ctx, actionTimeout)
		if err := s.node.perform(ctx, r, action); err != nil {
			s.node.cfg.Logger.Warn("membership action came to nothing", "reason", action.Reason, "err", err)
		}
		cancel()
	}
}

// transferPatience is how long a transfer may take before it counts as failed.
// Raft gives up after an election timeout by itself.
const transferPatience = time.Second

// perform carries an action out.
func (n *Node) perform(ctx context.Context, r *replica.Replica, action membership.Action) error {
	if action.Kind == membership.ActionTransfer {
		return n.transfer(ctx, r, action.To)
	}
	return r.ChangeConf(ctx, &replica.Change{
		Voters: rawIDs(action.Promote), Demote: rawIDs(action.Demote), NeedMatch: action.NeedMatch,
		Context: membership.Change{Reason: action.Reason}.Encode(),
	})
}

// transfer hands leadership over and returns when this node no longer leads and
// knows who does, or when it came to nothing.
func (n *Node) transfer(ctx context.Context, r *replica.Replica, to membership.MemberID) error {
	ctx, cancel := context.WithTimeout(ctx, transferPatience)
	defer cancel()
	term := r.Status().Term
	r.Transfer(to)
	return n.waitFor(ctx, func() bool {
		s := r.Status()
		return s.Term != term && s.Lead != 0
	})
}

// forgetReplaced removes a member whose address belongs to another node now,
// once it no longer votes.
func (s *steward) forgetReplaced(r *replica.Replica, status *replica.Status) bool {
	for _, member := range status.Roster.Members {
		if member.PeerAddr != "" || isVoter(status.Conf, member.ID) || status.ChangeRunning {
			continue
		}
		ctx, cancel := context.WithTimeout(s.node.ctx, actionTimeout)
		err := r.ChangeConf(ctx, &replica.Change{
			Remove:  []uint64{uint64(member.ID)},
			Context: membership.Change{Remove: []membership.MemberID{member.ID}, Reason: "its address belongs to another node now"}.Encode(),
		})
		cancel()
		if err != nil {
			s.node.cfg.Logger.Warn("removing a replaced member came to nothing", "member", member.ID, "err", err)
		}
		return true
	}
	return false
}

func (s *steward) setPending(d membership.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	action, reason := "", d.Waiting
	if len(d.Actions) > 0 {
		action, reason = string(d.Actions[0].Kind), d.Actions[0].Reason
	} else if reason != "" {
		action = "wait"
	}
	switch {
	case action == "":
		s.pending = nil
	case s.pending == nil || s.pending.Action != action:
		s.pending = &membership.Pending{Action: action, Reason: reason, Since: stamp(time.Now())}
	default:
		s.pending = &membership.Pending{Action: action, Reason: reason, Since: s.pending.Since}
	}
}

func (s *steward) trackCaughtUp(facts membership.Facts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range facts.Members {
		if !m.Alive || m.LagBytes >= facts.Policy.CatchUpBytes {
			delete(s.caughtUp, m.ID)
		} else if _, ok := s.caughtUp[m.ID]; !ok {
			s.caughtUp[m.ID] = time.Now()
		}
	}
}

// watchClaims notices when two nodes say they lead. Within a term that cannot
// be; the one of the lower term has been deposed and does not know it yet.
func (s *steward) watchClaims(status *replica.Status) {
	var claims []membership.LeaderClaim
	if status.IsLeader() {
		claims = append(claims, membership.LeaderClaim{ID: membership.MemberID(status.ID), Term: status.Term})
	}
	for _, member := range status.Roster.Members {
		seen, ok := s.node.peers.get(member.ID)
		if ok && seen.alive() && member.ID != s.node.identity.ID &&
			(seen.State == membership.StateLeader || seen.State == membership.StateResigningLeader) {
			claims = append(claims, membership.LeaderClaim{ID: member.ID, Term: seen.Term})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(claims) < 2 {
		s.conflict = nil
		return
	}
	if s.conflict == nil {
		s.conflict = &membership.Conflict{Leaders: claims, Since: stamp(time.Now())}
		for _, claim := range claims {
			s.node.cfg.Logger.Warn("two nodes say they lead; the higher term is right", "leader", claim.ID, "term", claim.Term)
		}
	}
	s.conflict.Leaders = claims
}

// policy returns the limits of decisions.
func (n *Node) policy() membership.Policy {
	policy := membership.DefaultPolicy()
	policy.ReplaceAfter = n.cfg.ReplaceAfter
	policy.PriorityHoldOff = n.cfg.PriorityHoldOff
	policy.StickyFor = n.cfg.StickyFor
	policy.ResignHoldOff = n.cfg.ResignHoldOff
	if n.cfg.CatchUpFor != 0 {
		policy.CatchUpFor = n.cfg.CatchUpFor
	}
	return policy
}

// facts gathers what is known now. On a node that does not lead, Self is the
// leader and the members' reports stand for what only the leader measures.
func (n *Node) facts(status *replica.Status) membership.Facts {
	n.steward.mu.Lock()
	since := n.steward.leaderSince
	caughtUp := make(map[membership.MemberID]time.Time, len(n.steward.caughtUp))
	for id, at := range n.steward.caughtUp {
		caughtUp[id] = at
	}
	started := n.steward.started
	n.steward.mu.Unlock()

	leads := status.IsLeader()
	facts := membership.Facts{
		Self: membership.MemberID(status.Lead), ClusterSize: status.Roster.ClusterSize, Commit: status.Commit,
		ChangeInLog: status.ChangeRunning, Transferring: status.Transferring != 0,
		Named: status.Roster.Named, Resigned: status.Roster.Resigned, Policy: n.policy(),
	}
	end := n.storage.Log.End()
	if leads && !since.IsZero() {
		facts.LeaderSince = time.Since(since)
	}
	if !leads {
		leader, _ := n.peers.get(facts.Self)
		end = leader.LogEnd
	}
	match := make(map[uint64]uint64, len(status.Progress))
	for _, p := range status.Progress {
		match[p.ID] = p.Match
	}
	for _, member := range status.Roster.Members {
		m := membership.MemberFacts{Member: member, Voter: isVoter(status.Conf, member.ID)}
		seen, _ := n.peers.get(member.ID)
		position := seen.LogEnd
		switch {
		case member.ID == n.identity.ID:
			m.Alive, m.Damage = true, n.scrubber.Damaged()
			m.Healthy = m.Damage == ""
			position = n.storage.Log.End()
		case member.PeerAddr == "":
			m.SilentFor = unreachableFor
		default:
			last := seen.at
			if last.IsZero() {
				last = started
				if leads && since.After(last) {
					last = since
				}
			}
			m.SilentFor = time.Since(last)
			m.Alive, m.Healthy, m.Damage = seen.alive(), seen.Healthy, seen.Damage
		}
		if leads {
			m.Match = match[uint64(member.ID)]
			position = max(position, n.positionAfter(m.Match))
		}
		if end > position {
			m.LagBytes = end - position
		}
		if at, ok := caughtUp[member.ID]; ok {
			m.CaughtUpFor = time.Since(at)
		}
		facts.Members = append(facts.Members, m)
	}
	return facts
}

func rawIDs(ids []membership.MemberID) []uint64 {
	raw := make([]uint64, len(ids))
	for i, id := range ids {
		raw[i] = uint64(id)
	}
	return raw
}

// join admits a node, or takes the new data of a member. It runs on any member.
func (n *Node) join(ctx context.Context, member membership.Member) joinReply {
	r := n.replica.Load()
	if r == nil {
		return joinReply{Why: "it belongs to no cluster itself"}
	}
	status := r.Status()
	if !status.IsLeader() {
		if leader, ok := status.Roster.Find(membership.MemberID(status.Lead)); ok && status.Lead != status.ID {
			return joinReply{AskAt: leader.PeerAddr}
		}
		return joinReply{Why: "the cluster has no leader now"}
	}
	if err := n.admit(ctx, r, status, member); err != nil {
		return joinReply{Why: err.Error()}
	}
	return joinReply{Admitted: true, ClusterID: status.Roster.ClusterID}
}

func (n *Node) admit(ctx context.Context, r *replica.Replica, status *replica.Status, member membership.Member) error {
	roster := status.Roster
	if roster.WasRemoved(member.ID) {
		return errors.New("it was removed from the cluster; wipe its data directory to join again under a new id")
	}
	ctx, cancel := context.WithTimeout(ctx, actionTimeout)
	defer cancel()
	change := membership.Change{Put: []membership.Member{member}, Reason: "joined"}
	for _, other := range roster.Members {
		if other.ID == member.ID || other.PeerAddr != member.PeerAddr {
			continue
		}
		if seen, ok := n.peers.get(other.ID); other.ID == n.identity.ID || ok && seen.alive() {
			return fmt.Errorf("its peer address %s is that of %s, which is alive: give every node an address of its own", member.PeerAddr, other.Label())
		}
		other.PeerAddr = "" // its directory was wiped or replaced: it never comes back
		other.Name += " (replaced)"
		change.Put = append(change.Put, other)
	}
	if old, ok := roster.Find(member.ID); ok {
		if old == member && len(change.Put) == 1 {
			return nil
		}
		change.Reason = "new data of a member"
		return n.proposeRoster(ctx, r, change)
	}
	n.cfg.Logger.Info("admitting a node", "member", member.ID, "name", member.Name, "address", member.PeerAddr)
	return r.ChangeConf(ctx, &replica.Change{Learners: []uint64{uint64(member.ID)}, Context: change.Encode()})
}

// announce keeps the roster's data of this node true: addresses, name, priority
// may have changed with its configuration.
func (n *Node) announce() {
	ticker := time.NewTicker(gossipEvery)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		}
		r := n.replica.Load()
		status := r.Status()
		mine, ok := status.Roster.Find(n.identity.ID)
		if !ok || status.Lead == 0 {
			continue // not applied so far, or nobody to tell
		}
		if mine == n.self() {
			return
		}
		ctx, cancel := context.WithTimeout(n.ctx, actionTimeout)
		if status.IsLeader() {
			_ = n.admit(ctx, r, status, n.self())
		} else {
			_, _ = ask[joinReply](ctx, n.toMember(membership.MemberID(status.Lead)), requestJoin, n.self())
		}
		cancel()
	}
}
