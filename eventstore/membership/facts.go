package membership

import "time"

// Facts is everything Decide looks at, seen by the leader at one moment.
type Facts struct {
	Self         MemberID
	ClusterSize  int
	LeaderSince  time.Duration // how long Self has led
	Commit       uint64        // the leader's commit index now
	ChangeInLog  bool          // a configuration change is not applied yet, or the configuration is joint
	Transferring bool          // a transfer of leadership runs

	Named    MemberID // promoted by name last, from the roster
	Resigned MemberID // gave leadership up last, from the roster

	Members []MemberFacts // sorted by ID; the leader is among them

	Policy Policy
}

// MemberFacts is what the leader knows about one member now.
type MemberFacts struct {
	Member
	Voter       bool
	Alive       bool          // heard from within AliveWithin
	SilentFor   time.Duration // since last heard from
	Healthy     bool          // its own report says it may serve; false also when unknown
	Damage      string        // what of its log is damaged, in words; "" when nothing is known to be
	Match       uint64        // highest log index known to be durable on it
	LagBytes    uint64        // leader's log end minus its durable end
	CaughtUpFor time.Duration // how long the lag has stayed under CatchUpBytes; 0 when it is not
}

// Policy holds the limits Decide works with.
type Policy struct {
	ReplaceAfter    time.Duration // a voter silent for so long is replaced
	PriorityHoldOff time.Duration // leader and successor both stable for so long before priority moves leadership
	StickyFor       time.Duration // a promotion by name is left alone for so long after the leader took over
	ResignHoldOff   time.Duration // a resigned leader is not chosen by priority for so long
	CatchUpBytes    uint64        // lag below which a clone may be promoted
	CatchUpFor      time.Duration // for how long
	TransferBytes   uint64        // lag below which a follower may take leadership
}

// DefaultPolicy returns the limits used when nothing is configured.
func DefaultPolicy() Policy {
	return Policy{
		ReplaceAfter:    30 * time.Second,
		PriorityHoldOff: 5 * time.Second,
		StickyFor:       10 * time.Minute,
		ResignHoldOff:   30 * time.Second,
		CatchUpBytes:    4 << 20,
		CatchUpFor:      2 * time.Second,
		TransferBytes:   4 << 20,
	}
}

// ActionKind says what an Action does.
type ActionKind string

// Kinds of action. A decision holds at most one.
const (
	ActionVoters   ActionKind = "change-voters" // Promote and Demote in one configuration change
	ActionTransfer ActionKind = "transfer"      // hand leadership to To
)

// Action is one thing the leader is to do, with the reason shown to people.
type Action struct {
	Kind    ActionKind
	Promote []MemberID // clones that become voters; each must match NeedMatch first
	Demote  []MemberID // voters that become clones
	To      MemberID
	// NeedMatch is the leader's commit index when the decision was made. A clone
	// in Promote must hold every entry up to it before the change is proposed,
	// and the proposer looks again at the commit index of that very moment.
	NeedMatch uint64
	Reason    string
}

// Decision is what Decide answers: what to do now, and what it is waiting for.
type Decision struct {
	Actions []Action
	// Waiting names what is wanted but cannot be done yet; "" when all is well.
	Waiting string
}

func (f *Facts) find(id MemberID) (MemberFacts, bool) {
	for _, m := range f.Members {
		if m.ID == id {
			return m, true
		}
	}
	return MemberFacts{}, false
}

func (f *Facts) voters() []MemberFacts {
	var voters []MemberFacts
	for _, m := range f.Members {
		if m.Voter {
			voters = append(voters, m)
		}
	}
	return voters
}

// hasQuorum reports whether a majority of the voters is alive, the leader included.
func (f *Facts) hasQuorum() bool {
	voters := f.voters()
	alive := 0
	for _, m := range voters {
		if m.Alive {
			alive++
		}
	}
	return alive >= Majority(len(voters))
}

// Majority returns the least number of n voters that decides.
func Majority(n int) int { return n/2 + 1 }
