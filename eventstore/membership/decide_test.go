package membership

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// fact builds one member in a few letters: role l(eader) v(oter) c(lone) r(ead-only).
func fact(id int, role byte, change ...func(*MemberFacts)) MemberFacts {
	m := MemberFacts{
		Member: Member{ID: MemberID(id), Name: fmt.Sprintf("n%d", id), ReadOnlyReplica: role == 'r'},
		Voter:  role == 'l' || role == 'v', Alive: true, Healthy: true, Match: 100, CaughtUpFor: time.Minute,
	}
	for _, f := range change {
		f(&m)
	}
	return m
}

func dead(d time.Duration) func(*MemberFacts) {
	return func(m *MemberFacts) { m.Alive, m.SilentFor, m.CaughtUpFor = false, d, 0 }
}
func priority(p int) func(*MemberFacts)     { return func(m *MemberFacts) { m.Priority = p } }
func match(index uint64) func(*MemberFacts) { return func(m *MemberFacts) { m.Match = index } }
func lag(bytes uint64) func(*MemberFacts) {
	return func(m *MemberFacts) { m.LagBytes, m.CaughtUpFor = bytes, 0 }
}
func caughtUp(d time.Duration) func(*MemberFacts) { return func(m *MemberFacts) { m.CaughtUpFor = d } }
func readOnly(m *MemberFacts)                     { m.ReadOnlyReplica = true }
func unhealthy(m *MemberFacts)                    { m.Healthy = false }

func factsOf(size int, members ...MemberFacts) Facts {
	return Facts{Self: 1, ClusterSize: size, LeaderSince: time.Hour, Commit: 100, Members: members, Policy: DefaultPolicy()}
}

func text(d Decision) string {
	if len(d.Actions) == 0 {
		if d.Waiting == "" {
			return "nothing"
		}
		return "wait: " + d.Waiting
	}
	a := d.Actions[0]
	switch a.Kind {
	case ActionTransfer:
		return fmt.Sprintf("transfer to %d", a.To)
	default:
		return strings.TrimSpace(fmt.Sprintf("promote %v demote %v", short(a.Promote), short(a.Demote)))
	}
}

func short(ids []MemberID) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = fmt.Sprint(uint64(id))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

func TestDecide(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		facts Facts
		want  string // the whole decision, or with "wait: " a part of the reason
	}{
		{"a complete cluster rests", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v')), "nothing"},
		{"clones beyond the size stay clones", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'c'), fact(5, 'c')), "nothing"},
		{"a missing third voter is filled", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c')), "promote [3] demote []"},
		{"one voter takes two clones at once", factsOf(3, fact(1, 'l'), fact(2, 'c'), fact(3, 'c')), "promote [2 3] demote []"},
		{"one voter waits for the second clone that is catching up", factsOf(3, fact(1, 'l'), fact(2, 'c'), fact(3, 'c', lag(1<<30))), "wait: waiting for a second clone"},
		{"one voter takes a single clone when there is no other", factsOf(3, fact(1, 'l'), fact(2, 'c')), "promote [2] demote []"},
		{"three of five wait for a pair", factsOf(5, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'c')), "wait: waiting for a second clone"},
		{"three of five take a pair", factsOf(5, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'c'), fact(5, 'c')), "promote [4 5] demote []"},
		{"four of five take one", factsOf(5, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'v'), fact(5, 'c')), "promote [5] demote []"},
		{"two of five take one to be odd", factsOf(5, fact(1, 'l'), fact(2, 'v'), fact(3, 'c')), "promote [3] demote []"},
		{"two of five with two clones take one to be odd", factsOf(5, fact(1, 'l'), fact(2, 'v'), fact(3, 'c'), fact(4, 'c')), "promote [3] demote []"},
		{"two of five with three clones take all", factsOf(5, fact(1, 'l'), fact(2, 'v'), fact(3, 'c'), fact(4, 'c'), fact(5, 'c')), "promote [3 4 5] demote []"},
		{"the clone of highest priority first", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c'), fact(4, 'c', priority(5))), "promote [4] demote []"},
		{"then the one with the most data", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c', match(50)), fact(4, 'c')), "promote [4] demote []"},
		{"then the lowest id", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c'), fact(4, 'c')), "promote [3] demote []"},
		{"priority does not make a lagging clone fit", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c'), fact(4, 'c', priority(5), lag(5<<20))), "promote [3] demote []"},
		{"a read-only replica never votes", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'r')), "wait: there is no clone"},
		{"a lagging clone waits", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c', lag(5<<20))), "wait: misses 5242880 bytes"},
		{"a clone must have been caught up for a while", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c', caughtUp(time.Second))), "wait: caught up for 1s"},
		{"a dead clone is not promoted", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c', dead(time.Second))), "wait: not been heard from"},
		{"an unhealthy clone is not promoted", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c', unhealthy)), "wait: cannot serve"},

		{"a voter silent beyond the grace is replaced in one change", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', dead(31*time.Second)), fact(4, 'c')), "promote [4] demote [3]"},
		{"not before the grace is over", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', dead(29*time.Second)), fact(4, 'c')), "nothing"},
		{"the one silent longest first", factsOf(5, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'v', dead(40*time.Second)), fact(5, 'v', dead(50*time.Second)), fact(6, 'c')), "promote [6] demote [5]"},
		{"a dead voter without a clone stays", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', dead(time.Hour))), "wait: no clone can replace it"},
		{"a dead voter goes before the cluster grows", factsOf(5, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', dead(time.Hour)), fact(4, 'c'), fact(5, 'c')), "promote [4] demote [3]"},
		{"a dead voter is not replaced by a read-only replica", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', dead(time.Hour)), fact(4, 'r')), "wait: there is no clone"},

		{"a voter restarted as a read-only replica stops voting", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', readOnly)), "promote [] demote [3]"},
		{"and a clone takes its place", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', readOnly), fact(4, 'c')), "promote [4] demote [3]"},
		{"not if the quorum would be lost", factsOf(3, fact(1, 'l'), fact(2, 'v', dead(time.Second)), fact(3, 'v', readOnly)), "wait: too few of the other voters"},
		{"a leader restarted so hands over", factsOf(3, fact(1, 'l', readOnly), fact(2, 'v'), fact(3, 'v')), "transfer to 2"},
		{"to one that may lead", factsOf(3, fact(1, 'l', readOnly), fact(2, 'v', readOnly), fact(3, 'v')), "transfer to 3"},
		{"a read-only replica is not preferred", factsOf(3, fact(1, 'l'), fact(2, 'v', dead(time.Second)), fact(3, 'v', readOnly, priority(9))), "wait: is a read-only replica and votes"},

		{"without a quorum nothing happens", factsOf(3, fact(1, 'l'), fact(2, 'v', dead(time.Hour)), fact(3, 'v', dead(time.Hour)), fact(4, 'c'), fact(5, 'c')), "wait: no quorum: nothing is promoted until n2, n3 returns"},
		{"clones do not make a quorum", factsOf(5, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', dead(time.Hour)), fact(4, 'v', dead(time.Hour)), fact(5, 'v', dead(time.Hour)), fact(6, 'c'), fact(7, 'c')), "wait: no quorum"},

		{"five voters shrink to three in one change", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'v'), fact(5, 'v')), "promote [] demote [5 4]"},
		{"the lowest priority goes first", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', priority(-1)), fact(4, 'v')), "promote [] demote [3]"},
		{"the dead go before the low", factsOf(3, fact(1, 'l'), fact(2, 'v', dead(time.Second), priority(9)), fact(3, 'v'), fact(4, 'v')), "promote [] demote [2]"},
		{"the leader is never demoted", factsOf(1, fact(1, 'l', priority(-9)), fact(2, 'v'), fact(3, 'v')), "promote [] demote [3 2]"},
		{"shrinking must leave a living majority", factsOf(1, fact(1, 'l'), fact(2, 'v')), "promote [] demote [2]"},

		{"a higher priority takes over", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', priority(1))), "transfer to 3"},
		{"the highest of several", factsOf(3, fact(1, 'l'), fact(2, 'v', priority(2)), fact(3, 'v', priority(1))), "transfer to 2"},
		{"not while it lags", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', priority(1), lag(5<<20))), "wait: 5242880 bytes behind"},
		{"not when only just caught up", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', priority(1), caughtUp(time.Second))), "wait: caught up for 1s only"},
		{"not when dead", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', priority(1), dead(time.Second))), "wait: not been heard from"},
		{"not when unhealthy", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', priority(1), unhealthy)), "wait: cannot serve"},
		{"the second highest when the highest is down", factsOf(3, fact(1, 'l'), fact(2, 'v', priority(1)), fact(3, 'v', priority(2), dead(time.Second))), "transfer to 2"},
		{"a clone's priority moves nothing", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'c', priority(9))), "nothing"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := text(Decide(c.facts))
			if got != c.want && !(strings.HasPrefix(c.want, "wait: ") && strings.HasPrefix(got, "wait: ") && strings.Contains(got, c.want[6:])) {
				t.Errorf("decided %q, want %q", got, c.want)
			}
		})
	}
}

func TestDecideWaitsWhileSomethingRuns(t *testing.T) {
	t.Parallel()
	f := factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c'))
	f.ChangeInLog = true
	if d := Decide(f); len(d.Actions) > 0 || d.Waiting == "" {
		t.Errorf("with a change in the log: %+v", d)
	}
	f.ChangeInLog, f.Transferring = false, true
	if d := Decide(f); len(d.Actions) > 0 || d.Waiting == "" {
		t.Errorf("during a transfer: %+v", d)
	}
}

func TestPriorityRespectsHoldOffNameAndResignation(t *testing.T) {
	t.Parallel()
	base := func() Facts { return factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', priority(1))) }
	cases := []struct {
		name   string
		change func(*Facts)
		want   string
	}{
		{"a new leader is left alone", func(f *Facts) { f.LeaderSince = 4 * time.Second }, "wait: takes over in 1s"},
		{"a leader promoted by name stays", func(f *Facts) { f.Named, f.LeaderSince = 1, 9*time.Minute }, "wait: promoted by name"},
		{"but not for ever", func(f *Facts) { f.Named, f.LeaderSince = 1, 11*time.Minute }, "transfer to 3"},
		{"a name from before another election protects nobody", func(f *Facts) { f.Named, f.LeaderSince = 2, time.Minute }, "transfer to 3"},
		{"a resigned leader is not chosen", func(f *Facts) { f.Resigned, f.LeaderSince = 3, 20*time.Second }, "wait: resigned"},
		{"until its hold-off is over", func(f *Facts) { f.Resigned, f.LeaderSince = 3, 31*time.Second }, "transfer to 3"},
	}
	for _, c := range cases {
		f := base()
		c.change(&f)
		got := text(Decide(f))
		if got != c.want && !(strings.HasPrefix(c.want, "wait: ") && strings.Contains(got, c.want[6:])) {
			t.Errorf("%s: decided %q, want %q", c.name, got, c.want)
		}
	}
}

// Goal: a leader whose log is damaged hands over to one that is whole and fit, at
// once; without one it leads on and says so; nobody damaged is promoted.
func TestADamagedLeaderHandsOver(t *testing.T) {
	t.Parallel()
	damaged := func(m *MemberFacts) { m.Healthy, m.Damage = false, "file 7 of its log is damaged" }
	cases := []struct {
		name    string
		members []MemberFacts
		want    string
	}{
		{"to the fit one", []MemberFacts{fact(1, 'l', damaged), fact(2, 'v', dead(time.Second)), fact(3, 'v')}, "transfer to 3"},
		{"to the one of highest priority", []MemberFacts{fact(1, 'l', damaged, priority(9)), fact(2, 'v', priority(2)), fact(3, 'v', priority(1))}, "transfer to 2"},
		{"not to one that is damaged too", []MemberFacts{fact(1, 'l', damaged), fact(2, 'v', damaged), fact(3, 'v', damaged)}, "wait: leads although file 7 of its log is damaged; no follower can take over"},
		{"nor by priority", []MemberFacts{fact(1, 'l'), fact(2, 'v', damaged, priority(5)), fact(3, 'v')}, "wait: is not whole"},
		{"a clone that is damaged does not become a voter", []MemberFacts{fact(1, 'l'), fact(2, 'v'), fact(3, 'c', damaged)}, "wait: is not whole"},
	}
	for _, c := range cases {
		got := text(Decide(factsOf(3, c.members...)))
		if got != c.want && !(strings.HasPrefix(c.want, "wait: ") && strings.Contains(got, c.want[6:])) {
			t.Errorf("%s: decided %q, want %q", c.name, got, c.want)
		}
	}
	f := factsOf(3, fact(1, 'l'), fact(2, 'v', damaged), fact(3, 'v'))
	if _, refusal := PlanPromote(f, 2, true); refusal == nil || refusal.Code != CodeNodeUnhealthy || !strings.Contains(refusal.Title, "damaged") {
		t.Errorf("a promotion of a damaged follower: %+v", refusal)
	}
}

func TestEveryPromotionCarriesTheCommitOfTheDecision(t *testing.T) {
	t.Parallel()
	f := factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'c'))
	f.Commit = 4711
	if d := Decide(f); len(d.Actions) != 1 || d.Actions[0].NeedMatch != 4711 {
		t.Errorf("decided %+v", d)
	}
	plan, refusal := PlanPromote(f, 3, true)
	if refusal != nil || plan.Voters.NeedMatch != 4711 {
		t.Errorf("planned %+v, %v", plan, refusal)
	}
}

func TestPlanPromote(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		facts Facts
		id    MemberID
		lead  bool
		code  string // of the refusal
		want  string // of the change of voters
	}{
		{"a follower needs a transfer only", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v')), 2, true, "", ""},
		{"a follower to voter is refused", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v')), 2, false, CodeAlreadyVoter, ""},
		{"the leader is the leader", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v')), 1, true, CodeAlreadyLeader, ""},
		{"an unknown member", factsOf(3, fact(1, 'l')), 9, true, CodeUnknownNode, ""},
		{"a dead follower", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', dead(time.Second))), 3, true, CodeNodeDown, ""},
		{"a lagging follower", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', lag(9<<20))), 3, true, CodeNodeLagging, ""},
		{"a clone takes the place of the lowest priority", factsOf(3, fact(1, 'l'), fact(2, 'v', priority(1)), fact(3, 'v'), fact(4, 'c')), 4, true, "", "promote [4] demote [3]"},
		{"or of the dead one", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', dead(time.Second), priority(9)), fact(4, 'c')), 4, true, "", "promote [4] demote [3]"},
		{"or fills a gap", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(4, 'c')), 4, false, "", "promote [4] demote []"},
		{"one only just caught up is good enough by hand", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'c', caughtUp(0))), 4, true, "", "promote [4] demote [3]"},
		{"a lagging clone is not", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'c', lag(9<<20))), 4, true, CodeNotCaughtUp, ""},
		{"a read-only replica is never", factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v'), fact(4, 'r')), 4, true, CodeReadOnlyReplica, ""},
		{"a cluster of one adds before it moves", factsOf(1, fact(1, 'l'), fact(2, 'c')), 2, true, "", "promote [2] demote []"},
		{"without a quorum nothing", factsOf(3, fact(1, 'l'), fact(2, 'v', dead(time.Hour)), fact(3, 'v', dead(time.Hour)), fact(4, 'c')), 4, true, CodeNoQuorum, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			plan, refusal := PlanPromote(c.facts, c.id, c.lead)
			code := ""
			if refusal != nil {
				code = refusal.Code
				if refusal.Title == "" || refusal.Detail == "" || refusal.Fix == "" {
					t.Errorf("refusal lacks words: %+v", refusal)
				}
			}
			if code != c.code {
				t.Fatalf("refused with %q, want %q", code, c.code)
			}
			got := ""
			if refusal == nil && plan.Voters != nil {
				got = text(Decision{Actions: []Action{*plan.Voters}})
			}
			if got != c.want {
				t.Errorf("planned %q, want %q", got, c.want)
			}
		})
	}
}

func TestNoQuorumRefusalNamesTheMissing(t *testing.T) {
	t.Parallel()
	f := factsOf(3, fact(1, 'l'), fact(2, 'v', dead(time.Hour)), fact(3, 'v', dead(time.Hour)))
	refusal := f.NoQuorum()
	if refusal == nil || !strings.Contains(refusal.Detail, "n2, n3") || !strings.Contains(refusal.Detail, "1 of 3") {
		t.Errorf("refusal %+v", refusal)
	}
}

func TestPlanRemove(t *testing.T) {
	t.Parallel()
	alone := factsOf(1, fact(1, 'l'), fact(2, 'c'))
	if r := PlanRemove(alone, 1); r == nil || r.Code != CodeQuorumWouldBeLost {
		t.Errorf("removing the only voter: %v", r)
	}
	if r := PlanRemove(alone, 2); r != nil {
		t.Errorf("removing a clone: %v", r)
	}
	weak := factsOf(3, fact(1, 'l'), fact(2, 'v'), fact(3, 'v', dead(time.Hour)))
	if r := PlanRemove(weak, 2); r == nil || r.Code != CodeQuorumWouldBeLost {
		t.Errorf("removing the second of two living: %v", r)
	}
	if r := PlanRemove(weak, 3); r != nil {
		t.Errorf("removing the dead one: %v", r)
	}
}
