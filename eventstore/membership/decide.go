package membership

import (
	"fmt"
	"slices"
	"strings"
)

// Decide says what the leader should do now. The rules, in order:
//
//  1. Nothing while a configuration change or a transfer is under way, and
//     nothing without a quorum: with the quorum lost a promotion could make a
//     majority out of nodes that miss acknowledged writes.
//     A leader whose log is damaged hands over before anything else.
//  2. More voters than ClusterSize: the surplus becomes clones, dead ones first,
//     then the lowest priority; never the leader.
//  3. A voter silent for ReplaceAfter is replaced by the best clone in one joint
//     change, so that the number of voters stays. So is one that was restarted
//     as a read-only replica; without a clone it merely stops voting.
//  4. Fewer voters than ClusterSize: the best clones become voters. An odd number
//     of voters is not made even while ClusterSize allows a better step later,
//     because four voters tolerate no more failures than three; a single voter
//     does take a second one, since two copies are safer than one.
//  5. Leadership goes to the healthy caught-up voter of highest priority.
//
// A clone is fit when it is alive, healthy, not a read-only replica, and has
// lagged less than CatchUpBytes for CatchUpFor. The best is the one of highest
// priority, then with the most data, then of lowest id. Every promotion carries
// the commit index of the decision as the position its clone must hold (P8).
func Decide(f Facts) Decision {
	if f.ChangeInLog {
		return Decision{Waiting: "a change of the voters is being committed"}
	}
	if f.Transferring {
		return Decision{Waiting: "leadership is moving"}
	}
	if !f.hasQuorum() {
		return Decision{Waiting: "no quorum: nothing is promoted until " + listNames(f.missingVoters()) + " returns"}
	}
	leave := f.leaveDamaged()
	if len(leave.Actions) > 0 {
		return leave
	}
	voters := f.voters()
	if len(voters) > f.ClusterSize {
		return f.shrink(voters)
	}
	if decision := f.replaceDead(voters); decision.decided() {
		return decision
	}
	if decision := f.retireReadOnly(voters); decision.decided() {
		return decision
	}
	decision := f.grow(voters)
	if len(decision.Actions) > 0 {
		return decision
	}
	if transfer := f.preferPriority(); transfer.decided() {
		if len(transfer.Actions) > 0 {
			return transfer
		}
		if decision.Waiting == "" {
			return transfer
		}
	}
	if decision.Waiting == "" {
		return leave
	}
	return decision
}

func (d Decision) decided() bool { return len(d.Actions) > 0 || d.Waiting != "" }

func (f *Facts) shrink(voters []MemberFacts) Decision {
	surplus := len(voters) - f.ClusterSize
	demote := f.demotable(voters)
	if len(demote) > surplus {
		demote = demote[:surplus]
	}
	if len(demote) == 0 {
		return Decision{Waiting: fmt.Sprintf("%d voters too many, but the leader cannot be demoted", surplus)}
	}
	ids := memberIDs(demote)
	if !f.staysLive(nil, ids) {
		return Decision{Waiting: "too few of the remaining voters are alive to shrink safely"}
	}
	return Decision{Actions: []Action{{
		Kind: ActionVoters, Demote: ids, NeedMatch: f.Commit,
		Reason: fmt.Sprintf("cluster size is %d: %s becomes a clone", f.ClusterSize, listNames(demote)),
	}}}
}

// demotable returns the voters except the leader, those to demote first in front.
func (f *Facts) demotable(voters []MemberFacts) []MemberFacts {
	var list []MemberFacts
	for _, m := range voters {
		if m.ID != f.Self {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b MemberFacts) int {
		switch {
		case a.Alive != b.Alive:
			return boolFirst(!a.Alive)
		case a.Priority != b.Priority:
			return a.Priority - b.Priority
		case a.Match != b.Match:
			return compareUint(a.Match, b.Match)
		}
		return -compareUint(uint64(a.ID), uint64(b.ID))
	})
	return list
}

func (f *Facts) replaceDead(voters []MemberFacts) Decision {
	var dead *MemberFacts
	for i := range voters {
		m := &voters[i]
		if m.ID == f.Self || m.Alive || m.SilentFor < f.Policy.ReplaceAfter {
			continue
		}
		if dead == nil || m.SilentFor > dead.SilentFor {
			dead = m
		}
	}
	if dead == nil {
		return Decision{}
	}
	fit, why := f.fitClones()
	if len(fit) == 0 {
		return Decision{Waiting: fmt.Sprintf("%s has been silent for %s and no clone can replace it: %s", dead.Label(), rounded(dead.SilentFor), why)}
	}
	best := fit[0]
	return Decision{Actions: []Action{{
		Kind: ActionVoters, Promote: []MemberID{best.ID}, Demote: []MemberID{dead.ID}, NeedMatch: f.Commit,
		Reason: fmt.Sprintf("%s has been silent for %s: clone %s takes its place", dead.Label(), rounded(dead.SilentFor), best.Label()),
	}}}
}

// retireReadOnly takes the vote of a voter that is a read-only replica now; a
// leader hands over first.
func (f *Facts) retireReadOnly(voters []MemberFacts) Decision {
	for _, m := range voters {
		if !m.ReadOnlyReplica {
			continue
		}
		if m.ID == f.Self {
			successor, refusal := f.Successor()
			if refusal != nil {
				return Decision{Waiting: fmt.Sprintf("%s is a read-only replica and leads: %s", m.Label(), refusal.Detail)}
			}
			return Decision{Actions: []Action{{Kind: ActionTransfer, To: successor,
				Reason: m.Label() + " is a read-only replica, which never leads"}}}
		}
		action := Action{Kind: ActionVoters, Demote: []MemberID{m.ID}, NeedMatch: f.Commit,
			Reason: m.Label() + " is a read-only replica, which never votes"}
		if fit, _ := f.fitClones(); len(fit) > 0 {
			action.Promote = []MemberID{fit[0].ID}
			action.Reason += fmt.Sprintf(": clone %s takes its place", fit[0].Label())
		}
		if !f.staysLive(action.Promote, action.Demote) {
			return Decision{Waiting: m.Label() + " is a read-only replica and votes: too few of the other voters are alive"}
		}
		return Decision{Actions: []Action{action}}
	}
	return Decision{}
}

func (f *Facts) grow(voters []MemberFacts) Decision {
	missing := f.ClusterSize - len(voters)
	if missing <= 0 {
		return Decision{}
	}
	fit, why := f.fitClones()
	if len(fit) == 0 {
		return Decision{Waiting: fmt.Sprintf("%d of %d voters: no clone can become one: %s", len(voters), f.ClusterSize, why)}
	}
	take := min(missing, len(fit))
	if (len(voters)+take)%2 == 0 && len(voters)+take < f.ClusterSize {
		take-- // stay odd; a later decision takes the rest in a pair
	}
	if take == 0 && len(voters) == 1 && !f.moreClonesComing(len(fit)) {
		take = 1
	}
	if take == 0 {
		return Decision{Waiting: fmt.Sprintf("%d of %d voters: waiting for a second clone, so that the number of voters stays odd", len(voters), f.ClusterSize)}
	}
	chosen := fit[:take]
	if !f.staysLive(memberIDs(chosen), nil) {
		return Decision{Waiting: "too few voters are alive to add another"}
	}
	return Decision{Actions: []Action{{
		Kind: ActionVoters, Promote: memberIDs(chosen), NeedMatch: f.Commit,
		Reason: fmt.Sprintf("%d of %d voters: %s becomes a follower", len(voters), f.ClusterSize, listNames(chosen)),
	}}}
}

// moreClonesComing reports whether a living clone beyond the fit ones is still
// catching up.
func (f *Facts) moreClonesComing(fit int) bool {
	alive := 0
	for _, m := range f.Members {
		if !m.Voter && !m.ReadOnlyReplica && m.Alive {
			alive++
		}
	}
	return alive > fit
}

// staysLive reports whether a majority of the voters after the change is alive.
func (f *Facts) staysLive(promote, demote []MemberID) bool {
	total, alive := 0, 0
	for _, m := range f.Members {
		votes := m.Voter && !slices.Contains(demote, m.ID) || slices.Contains(promote, m.ID)
		if !votes {
			continue
		}
		total++
		if m.Alive {
			alive++
		}
	}
	return alive >= Majority(total)
}

// fitClones returns the clones that may become voters, best first, and why the
// others may not.
func (f *Facts) fitClones() (fit []MemberFacts, why string) {
	var reasons []string
	for _, m := range f.Members {
		if m.Voter || m.ReadOnlyReplica {
			continue
		}
		if refusal := f.cloneUnfit(m); refusal != nil {
			reasons = append(reasons, m.Label()+" "+refusal.Detail)
			continue
		}
		fit = append(fit, m)
	}
	slices.SortFunc(fit, func(a, b MemberFacts) int {
		switch {
		case a.Priority != b.Priority:
			return b.Priority - a.Priority
		case a.Match != b.Match:
			return compareUint(b.Match, a.Match)
		}
		return compareUint(uint64(a.ID), uint64(b.ID))
	})
	if len(reasons) == 0 {
		return fit, "there is no clone"
	}
	return fit, strings.Join(reasons, "; ")
}

func (f *Facts) missingVoters() []MemberFacts {
	var missing []MemberFacts
	for _, m := range f.Members {
		if m.Voter && !m.Alive {
			missing = append(missing, m)
		}
	}
	return missing
}

func memberIDs(members []MemberFacts) []MemberID {
	ids := make([]MemberID, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	return ids
}

func listNames(members []MemberFacts) string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Label()
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func compareUint(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func boolFirst(first bool) int {
	if first {
		return -1
	}
	return 1
}
