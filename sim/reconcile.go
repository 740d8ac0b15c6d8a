package sim

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"

	"baton/eventstore/membership"
	"baton/eventstore/replica"
)

// reconciler is what a node remembers between two looks at the cluster. It gathers the facts; membership decides.
type reconciler struct {
	heard    map[endpoint]time.Duration            // last message of each peer, in this life
	caughtUp map[membership.MemberID]time.Duration // since when a member's lag has been small; looked up only
	since    time.Duration                         // when this node began to lead
	term     uint64
}

func newReconciler() reconciler {
	return reconciler{heard: map[endpoint]time.Duration{}, caughtUp: map[membership.MemberID]time.Duration{}}
}

// policy of simulated clusters: the real rules with shorter times and smaller sizes.
func (c *cluster) policy() membership.Policy {
	return membership.Policy{
		ReplaceAfter:    c.swarm.ReplaceAfter,
		PriorityHoldOff: time.Second,
		StickyFor:       3 * time.Second,
		ResignHoldOff:   2 * time.Second,
		CatchUpBytes:    32 << 10,
		CatchUpFor:      500 * time.Millisecond,
		TransferBytes:   32 << 10,
	}
}

// reconcile is the leader's regular look at the cluster.
func (n *node) reconcile(life int) {
	if n.life != life {
		return
	}
	n.c.w.after(reconcileEvery, func() { n.reconcile(life) })
	if n.paused {
		return
	}
	n.lead()
	n.step()
}

func (n *node) lead() {
	s := n.core.Status()
	if s.State != raft.StateLeader || !s.Serving {
		n.reconciler.term = 0
		return
	}
	if n.reconciler.term != s.Term {
		n.reconciler.term, n.reconciler.since = s.Term, n.c.w.now
		clear(n.reconciler.caughtUp)
	}
	facts := n.facts(s)
	if !s.ChangeRunning && n.admit(s) {
		return
	}
	for _, a := range membership.Decide(facts).Actions {
		n.act(a)
	}
}

// facts is what the leader knows now.
func (n *node) facts(s replica.CoreStatus) membership.Facts {
	roster := n.machine.Roster()
	f := membership.Facts{
		Self: n.self.ID, ClusterSize: roster.ClusterSize, LeaderSince: n.c.w.now - n.reconciler.since, Commit: s.Commit,
		ChangeInLog: s.ChangeRunning, Transferring: s.Transferring != 0, Named: roster.Named, Resigned: roster.Resigned,
		Policy: n.c.policy(),
	}
	for _, m := range roster.Members {
		mf := membership.MemberFacts{Member: m, Healthy: true}
		if peer := n.c.byID(m.ID); peer != nil && peer.damage.known {
			mf.Healthy, mf.Damage = false, "a file of its log is damaged"
		}
		mf.Voter = slices.Contains(s.Conf.GetVoters(), uint64(m.ID))
		if m.ID == n.self.ID {
			mf.Alive, mf.CaughtUpFor = true, f.LeaderSince
			mf.Match, _ = n.storage.Log.LastIndex()
			f.Members = append(f.Members, mf)
			continue
		}
		heard := n.reconciler.since // a new leader gives everybody the time of one silence
		if peer := n.c.byID(m.ID); peer != nil {
			heard = max(heard, n.reconciler.heard[peer.at])
		}
		mf.SilentFor = n.c.w.now - heard
		mf.Alive = mf.SilentFor < aliveWithin
		for _, p := range s.Progress {
			if p.ID == uint64(m.ID) {
				mf.Match = p.Match
			}
		}
		mf.LagBytes = n.lag(mf.Match)
		if !mf.Alive || mf.LagBytes >= f.Policy.CatchUpBytes {
			delete(n.reconciler.caughtUp, m.ID)
		} else if since, ok := n.reconciler.caughtUp[m.ID]; ok {
			mf.CaughtUpFor = n.c.w.now - since
		} else {
			n.reconciler.caughtUp[m.ID] = n.c.w.now
		}
		f.Members = append(f.Members, mf)
	}
	return f
}

// lag is the distance from the end of entry match to the end of the log, in bytes.
func (n *node) lag(match uint64) uint64 {
	last, _ := n.storage.Log.LastIndex()
	if match >= last {
		return 0
	}
	pos, err := n.storage.Log.PositionOf(match + 1)
	if err != nil {
		return n.storage.Log.End()
	}
	return n.storage.Log.End() - pos
}

// admit adds the next node that is no member yet, as a clone, and reports whether it did.
func (n *node) admit(s replica.CoreStatus) bool {
	roster := n.machine.Roster()
	for _, other := range n.c.nodes {
		if _, ok := roster.Find(other.self.ID); ok || !other.up {
			continue
		}
		n.changeConf(&replica.Change{
			Learners: []uint64{uint64(other.self.ID)},
			Context:  membership.Change{Put: []membership.Member{other.self}, Reason: "joins"}.Encode(),
		})
		return true
	}
	return false
}

func (n *node) act(a membership.Action) {
	switch a.Kind {
	case membership.ActionTransfer:
		if n.damage.known {
			n.c.count("damaged leader hands over")
		}
		n.c.w.trace.note(n.c.w.now, "priority transfer", uint64(n.at)+1, uint64(a.To))
		n.c.count("priority transfer")
		n.core.Transfer(uint64(a.To))
	case membership.ActionVoters:
		n.changeVoters(a)
	}
}

func (n *node) changeVoters(a membership.Action) {
	ch := &replica.Change{NeedMatch: a.NeedMatch, Context: membership.Change{Reason: a.Reason}.Encode()}
	for _, id := range a.Promote {
		ch.Voters = append(ch.Voters, uint64(id))
	}
	for _, id := range a.Demote {
		ch.Demote = append(ch.Demote, uint64(id))
	}
	if len(a.Promote) > 0 && len(a.Demote) > 0 {
		n.c.count("joint change begun")
	}
	n.changeConf(ch)
}

func (n *node) changeConf(ch *replica.Change) {
	if n.change != nil {
		return
	}
	n.change, n.seen = ch, false
	n.core.ChangeConf(ch)
}

// promote is an operator's request by name, on the leader.
func (n *node) promote(target *node, lead bool) {
	s := n.core.Status()
	if s.State != raft.StateLeader || !s.Serving {
		return
	}
	plan, refusal := membership.PlanPromote(n.facts(s), target.self.ID, lead)
	if refusal != nil {
		n.c.count("promotion refused")
		return
	}
	n.c.w.trace.note(n.c.w.now, "promotion by name", uint64(n.at)+1, uint64(target.at)+1)
	if plan.Voters != nil {
		n.c.count("clone promotion by name")
		n.changeVoters(*plan.Voters)
		if n.change != nil && lead {
			n.c.afterChange[n.change] = target
		}
		return
	}
	n.c.count("promotion by name")
	n.core.Transfer(uint64(target.self.ID))
}
