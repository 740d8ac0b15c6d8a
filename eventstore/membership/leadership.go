package membership

import (
	"fmt"
	"time"
)

// preferPriority hands leadership to the voter of highest priority. It waits
// until this leader has led for PriorityHoldOff and the successor has been
// caught up for as long, so that a cluster in trouble does not swing. A leader
// promoted by name stays for StickyFor: what a person did by hand is not undone
// by a standing preference in the next breath. A member that resigned is not
// chosen for ResignHoldOff. Both periods count from this leader's own start, so
// no clock is compared between nodes.
func (f *Facts) preferPriority() Decision {
	self, ok := f.find(f.Self)
	if !ok || !self.Voter {
		return Decision{}
	}
	best := self
	var blocked string
	for _, m := range f.Members {
		if !m.Voter || m.Priority <= best.Priority {
			continue
		}
		if why := f.whyNotSuccessor(m); why != "" {
			blocked = fmt.Sprintf("%s has a higher priority (%d) but %s", m.Label(), m.Priority, why)
			continue
		}
		best = m
	}
	if best.ID == self.ID {
		return Decision{Waiting: blocked}
	}
	if f.Named == f.Self && f.LeaderSince < f.Policy.StickyFor {
		return Decision{Waiting: fmt.Sprintf("%s has a higher priority (%d), but %s was promoted by name and stays for another %s",
			best.Label(), best.Priority, self.Label(), rounded(f.Policy.StickyFor-f.LeaderSince))}
	}
	if f.LeaderSince < f.Policy.PriorityHoldOff {
		return Decision{Waiting: fmt.Sprintf("%s has a higher priority (%d) and takes over in %s",
			best.Label(), best.Priority, rounded(f.Policy.PriorityHoldOff-f.LeaderSince))}
	}
	return Decision{Actions: []Action{{
		Kind: ActionTransfer, To: best.ID,
		Reason: fmt.Sprintf("%s has the highest priority (%d against %d)", best.Label(), best.Priority, self.Priority),
	}}}
}

// whyNotSuccessor returns why priority does not choose the voter, or "".
func (f *Facts) whyNotSuccessor(m MemberFacts) string {
	if m.ID == f.Resigned && f.LeaderSince < f.Policy.ResignHoldOff {
		return fmt.Sprintf("it resigned and is not chosen for another %s", rounded(f.Policy.ResignHoldOff-f.LeaderSince))
	}
	if refusal := f.followerUnfit(m); refusal != nil {
		return refusal.Detail
	}
	if m.CaughtUpFor < f.Policy.PriorityHoldOff {
		return fmt.Sprintf("has been caught up for %s only, %s is asked for", rounded(m.CaughtUpFor), rounded(f.Policy.PriorityHoldOff))
	}
	return ""
}

// Successor returns the voter that takes over when the leader resigns: the fit
// one of highest priority, then with the most data, then of lowest id.
func (f *Facts) Successor() (MemberID, *Refusal) {
	var best *MemberFacts
	why := "it is the only voter"
	for i := range f.Members {
		m := &f.Members[i]
		if !m.Voter || m.ID == f.Self {
			continue
		}
		if refusal := f.followerUnfit(*m); refusal != nil {
			why = m.Label() + " " + refusal.Detail
			continue
		}
		if best == nil || m.Priority > best.Priority || m.Priority == best.Priority && m.Match > best.Match {
			best = m
		}
	}
	if best == nil {
		return 0, &Refusal{
			Code: CodeNoSuccessor, Title: "no follower can take over", Detail: why,
			Fix: "bring a follower back or wait until it has caught up", Retry: true,
		}
	}
	return best.ID, nil
}

// followerUnfit says why a voter may not take leadership now, or nil.
func (f *Facts) followerUnfit(m MemberFacts) *Refusal {
	switch {
	case m.ReadOnlyReplica:
		return &Refusal{Code: CodeReadOnlyReplica, Title: m.Label() + " is a read-only replica",
			Detail: "is a read-only replica, which never leads", Fix: "choose another, or restart the node without the read-only replica option"}
	case !m.Alive:
		return &Refusal{Code: CodeNodeDown, Title: m.Label() + " is down",
			Detail: fmt.Sprintf("has not been heard from for %s", rounded(m.SilentFor)),
			Fix:    "start the node, or choose another", Retry: true}
	case m.Damage != "":
		return damaged(m)
	case !m.Healthy:
		return &Refusal{Code: CodeNodeUnhealthy, Title: m.Label() + " is not healthy",
			Detail: "reports that it cannot serve", Fix: "read its log and mend it, or choose another", Retry: true}
	case m.LagBytes >= f.Policy.TransferBytes:
		return &Refusal{Code: CodeNodeLagging, Title: m.Label() + " is too far behind",
			Detail: fmt.Sprintf("is %d bytes behind; less than %d is asked for", m.LagBytes, f.Policy.TransferBytes),
			Fix:    "wait until it has caught up", Retry: true}
	}
	return nil
}

// cloneUnfit says why a clone may not become a voter now, or nil.
func (f *Facts) cloneUnfit(m MemberFacts) *Refusal {
	if m.ReadOnlyReplica {
		return &Refusal{Code: CodeReadOnlyReplica, Title: m.Label() + " is a read-only replica",
			Detail: "is a read-only replica, which never votes",
			Fix:    "promote a follower or a clone, or restart the node without the read-only replica option under a new data directory"}
	}
	switch {
	case !m.Alive:
		return &Refusal{Code: CodeNodeDown, Title: m.Label() + " is down",
			Detail: fmt.Sprintf("has not been heard from for %s", rounded(m.SilentFor)),
			Fix:    "start the node, or choose another", Retry: true}
	case m.Damage != "":
		return damaged(m)
	case !m.Healthy:
		return &Refusal{Code: CodeNodeUnhealthy, Title: m.Label() + " is not healthy",
			Detail: "reports that it cannot serve", Fix: "read its log and mend it, or choose another", Retry: true}
	case m.LagBytes >= f.Policy.CatchUpBytes:
		return &Refusal{Code: CodeNotCaughtUp, Title: m.Label() + " has not caught up",
			Detail: fmt.Sprintf("misses %d bytes; less than %d is asked for", m.LagBytes, f.Policy.CatchUpBytes),
			Fix:    "wait until it has caught up", Retry: true}
	case m.CaughtUpFor < f.Policy.CatchUpFor:
		return &Refusal{Code: CodeNotCaughtUp, Title: m.Label() + " has only just caught up",
			Detail: fmt.Sprintf("has been caught up for %s; %s is asked for", rounded(m.CaughtUpFor), rounded(f.Policy.CatchUpFor)),
			Fix:    "wait a moment", Retry: true}
	}
	return nil
}

// damaged says that a member whose log is damaged is not promoted.
func damaged(m MemberFacts) *Refusal {
	return &Refusal{Code: CodeNodeUnhealthy, Title: "the log of " + m.Label() + " is damaged",
		Detail: "is not whole: " + m.Damage, Fix: "it is mended from the other nodes by itself; wait, or look at its disk", Retry: true}
}

// leaveDamaged hands leadership over while the leader's log is damaged: a follower
// that needs what is damaged gets it from a leader that is whole.
func (f *Facts) leaveDamaged() Decision {
	self, ok := f.find(f.Self)
	if !ok || self.Damage == "" {
		return Decision{}
	}
	successor, refusal := f.Successor()
	if refusal != nil {
		return Decision{Waiting: fmt.Sprintf("%s leads although %s; %s: %s", self.Label(), self.Damage, refusal.Title, refusal.Detail)}
	}
	to, _ := f.find(successor)
	return Decision{Actions: []Action{{Kind: ActionTransfer, To: successor,
		Reason: fmt.Sprintf("%s hands over to %s: %s", self.Label(), to.Label(), self.Damage)}}}
}

func rounded(d time.Duration) time.Duration {
	if d >= 10*time.Second {
		return d.Round(time.Second)
	}
	return d.Round(100 * time.Millisecond)
}
