package membership

import "fmt"

// PromotePlan is how a promotion by name is done: first Voters when the target
// does not vote yet, then a transfer when leadership was asked for.
type PromotePlan struct {
	Target   MemberID
	Voters   *Action // nil when the target votes already
	Transfer bool
}

// PlanPromote plans making the target the leader (lead) or a voter. The size
// of the voter set stays: a dead voter goes, else the follower of lowest
// priority. Asked by a person, a clone need not have been caught up for long,
// only now; the change itself still waits until it holds every committed entry.
func PlanPromote(f Facts, target MemberID, lead bool) (PromotePlan, *Refusal) {
	m, ok := f.find(target)
	if !ok {
		return PromotePlan{}, &Refusal{Code: CodeUnknownNode, Title: "no such member",
			Detail: target.String() + " is not in this cluster", Fix: "look at the list of members"}
	}
	plan := PromotePlan{Target: target, Transfer: lead}
	if refusal := f.NoQuorum(); refusal != nil {
		return plan, refusal
	}
	if m.Voter {
		switch {
		case !lead:
			return plan, &Refusal{Code: CodeAlreadyVoter, Title: m.Label() + " is a voter already",
				Detail: "there is nothing to promote it to but leader", Fix: "ask for leader"}
		case target == f.Self:
			return plan, &Refusal{Code: CodeAlreadyLeader, Title: m.Label() + " is the leader already",
				Detail: "it leads this term", Fix: "nothing to do"}
		}
		return plan, f.followerUnfit(m)
	}
	relaxed := f
	relaxed.Policy.CatchUpFor = 0
	if refusal := relaxed.cloneUnfit(m); refusal != nil {
		return plan, refusal
	}
	if f.ChangeInLog {
		return plan, &Refusal{Code: CodeChangeRunning, Title: "another change of the voters is running",
			Detail: "one change at a time", Fix: "try again in a moment", Retry: true}
	}
	action := Action{Kind: ActionVoters, Promote: []MemberID{target}, NeedMatch: f.Commit,
		Reason: fmt.Sprintf("%s is promoted by name", m.Label())}
	voters := f.voters()
	if len(voters) >= f.ClusterSize {
		out := f.demotable(voters)
		if len(out) > 0 {
			action.Demote = []MemberID{out[0].ID}
			action.Reason += fmt.Sprintf(": %s becomes a clone", out[0].Label())
		}
	}
	if !f.staysLive(action.Promote, action.Demote) {
		return plan, &Refusal{Code: CodeQuorumWouldBeLost, Title: "the change would lose the quorum",
			Detail: "too few of the voters after it are alive: " + listNames(f.missingVoters()) + " is missing",
			Fix:    "bring the missing nodes back first", Retry: true}
	}
	plan.Voters = &action
	return plan, nil
}

// NoQuorum returns the refusal that names the missing voters, or nil while a
// majority is alive.
func (f *Facts) NoQuorum() *Refusal {
	if f.hasQuorum() {
		return nil
	}
	voters := f.voters()
	missing := f.missingVoters()
	return NoQuorumRefusal(len(voters)-len(missing), len(voters), listNames(missing))
}

// NoQuorumRefusal words the refusal of everything that needs a majority.
func NoQuorumRefusal(alive, voters int, missing string) *Refusal {
	return &Refusal{
		Code:   CodeNoQuorum,
		Title:  "the cluster has no quorum",
		Detail: fmt.Sprintf("%d of %d voters are alive, %d are needed; missing: %s", alive, voters, Majority(voters), missing),
		Fix:    "start the missing nodes; nothing is promoted without a majority, because a promoted node could miss acknowledged writes",
		Retry:  true,
	}
}

// Promotable says whether the member could be promoted to leader now and why,
// or why not.
func Promotable(f Facts, id MemberID) (bool, string) {
	m, ok := f.find(id)
	if !ok {
		return false, "it is not a member of this cluster"
	}
	if id == f.Self {
		return false, "it is the leader already"
	}
	if refusal := f.NoQuorum(); refusal != nil {
		return false, refusal.Title + ": " + refusal.Detail
	}
	if m.Voter {
		if refusal := f.followerUnfit(m); refusal != nil {
			return false, "it " + refusal.Detail
		}
		return true, fmt.Sprintf("it votes and is %d bytes behind", m.LagBytes)
	}
	relaxed := f
	relaxed.Policy.CatchUpFor = 0
	if refusal := relaxed.cloneUnfit(m); refusal != nil {
		return false, "it " + refusal.Detail
	}
	return true, fmt.Sprintf("it is a clone %d bytes behind and becomes a voter first", m.LagBytes)
}

// PlanRemove says whether the member may leave the cluster.
func PlanRemove(f Facts, id MemberID) *Refusal {
	m, ok := f.find(id)
	if !ok {
		return &Refusal{Code: CodeUnknownNode, Title: "no such member",
			Detail: id.String() + " is not in this cluster", Fix: "look at the list of members"}
	}
	if refusal := f.NoQuorum(); refusal != nil {
		return refusal
	}
	if f.ChangeInLog {
		return &Refusal{Code: CodeChangeRunning, Title: "another change of the voters is running",
			Detail: "one change at a time", Fix: "try again in a moment", Retry: true}
	}
	if !m.Voter {
		return nil
	}
	if len(f.voters()) == 1 {
		return &Refusal{Code: CodeQuorumWouldBeLost, Title: m.Label() + " is the only voter",
			Detail: "without it nothing can be committed", Fix: "promote another node first"}
	}
	if !f.staysLive(nil, []MemberID{id}) {
		return &Refusal{Code: CodeQuorumWouldBeLost, Title: "removing " + m.Label() + " would lose the quorum",
			Detail: "too few of the other voters are alive: " + listNames(f.missingVoters()) + " is missing",
			Fix:    "bring the missing nodes back first", Retry: true}
	}
	return nil
}

// CheckSize refuses cluster sizes that make no sense.
func CheckSize(size int) *Refusal {
	if size >= 1 && size <= 9 && size%2 == 1 {
		return nil
	}
	return &Refusal{Code: CodeBadSize, Title: fmt.Sprintf("a cluster size of %d makes no sense", size),
		Detail: "an even number of voters tolerates no more failures than the odd number below it",
		Fix:    "use 1, 3, 5, 7 or 9"}
}
