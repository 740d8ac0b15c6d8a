package system

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"baton/test/fleet"
)

// Limits of the gaps on a machine of 2 cores that runs nodes and writers, at default settings. What the machine itself
// stood still meanwhile is not counted (fleet.Machine).
const (
	failoverMedian  = 1 * time.Second
	failoverLongest = 2 * time.Second
	moveMedian      = 50 * time.Millisecond
	moveLongest     = 250 * time.Millisecond
	stoppedLongest  = 5 * time.Second
	// electionWait is less than a voter waits for its leader before it asks for votes (8 ticks of 50 ms at least).
	electionWait = 200 * time.Millisecond
	// writeStall is half of what a write may take (--write-timeout-ms): a machine that stood still for longer may have
	// brought a call its end.
	writeStall = time.Second
	// graceSlack is looked at before a death for messages that came late.
	graceSlack = 3 * time.Second
)

// Goal: when the leader dies, writes resume within the limits and no acknowledged write is lost.
// Method: kill -9 of the leader under 50 writers, ten times; each time the killed node comes back.
func TestLeaderIsKilledUnderLoad(t *testing.T) {
	f := startFleet(t, fleet.Options{Nodes: 3}, 2, 0)
	l := startLoad(t, f, 50)
	var gaps []fleet.Gap
	for run := range 10 {
		var killed *fleet.Node
		gap, _ := l.around(t, func() {
			killed = inRole(t, f, "Leader")
			killed.Kill()
		})
		gaps = append(gaps, gap)
		fmt.Printf("=> kill -9 of the leader, run %2d: %s without an acknowledgement\n", run+1, ms(gap.Length()))
		if err := killed.Start(); err != nil {
			t.Fatal(err)
		}
		if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
			t.Fatal(err)
		}
	}
	acked := l.verify(t)
	line, ok := l.machine.Judge(gaps, failoverMedian, failoverLongest)
	fmt.Printf("=> | kill -9 of the leader, 50 writers, %d times | %s | %d acknowledged, all read back from 3 nodes |\n", len(gaps), line, acked)
	if !ok {
		t.Errorf("writes stood still for too long: %s", line)
	}
}

// Goal: a leader that stands still for ten seconds is replaced, acknowledges nothing when it goes on, and joins again.
func TestLeaderIsStoppedForTenSeconds(t *testing.T) {
	f := startFleet(t, fleet.Options{Nodes: 3}, 2, 0)
	l := startLoad(t, f, 50)
	var stopped *fleet.Node
	gap, _ := l.around(t, func() {
		stopped = inRole(t, f, "Leader")
		stopped.Signal(syscall.SIGSTOP)
	})
	began := time.Now()
	if _, err := awaitOtherLeader(f, stopped); err != nil {
		t.Fatal(err)
	}
	if err := fleet.Await(time.Minute, "ten seconds of standstill", func() (bool, string) {
		return time.Since(began) >= 10*time.Second, ""
	}); err != nil {
		t.Fatal(err)
	}
	stopped.Signal(syscall.SIGCONT)
	if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
		t.Fatal(err)
	}
	acked := l.verify(t)
	fmt.Printf("=> | SIGSTOP of the leader for 10 s, 50 writers | %s until writes went on | %d acknowledged, all read back from 3 nodes |\n", ms(gap.Length()), acked)
	if line, ok := l.machine.Judge([]fleet.Gap{gap}, stoppedLongest, stoppedLongest); !ok {
		t.Errorf("writes stood still for too long: %s", line)
	}
}

// awaitOtherLeader asks the nodes other than not, which may not answer at all.
func awaitOtherLeader(f *fleet.Fleet, not *fleet.Node) (*fleet.Node, error) {
	var found *fleet.Node
	err := fleet.Await(formWithin, "another leader than "+not.Name, func() (bool, string) {
		for _, n := range f.Nodes {
			if n == not || !n.Running() {
				continue
			}
			v, err := n.View()
			if err != nil {
				return false, err.Error()
			}
			for _, m := range v.Members {
				if m.ID == v.Leader && m.Role == "Leader" && m.Name != not.Name {
					found = f.ByName(m.Name)
					return true, m.Name
				}
			}
		}
		return false, "none"
	})
	return found, err
}

// Goal: leadership moves on request without a lost write or a failed call, within the limits.
// Method: 50 promotions of a follower by name under 64 writers.
func TestPromotionsUnderLoad(t *testing.T) {
	const times = 50
	f := startFleet(t, fleet.Options{Nodes: 3}, 2, 0)
	l := startLoad(t, f, 64)
	var gaps []fleet.Gap
	failed, wrong, elections := 0, 0, 0
	for range times {
		before := term(t, f)
		target := inRole(t, f, "Follower")
		gap, failures := l.around(t, func() { promote(t, f, target, "leader") })
		now, err := f.AwaitLeader(formWithin, nil)
		if err != nil {
			t.Fatal(err)
		}
		// A move is one term. More of them are elections that nobody asked for; only a machine that stood still for as
		// long as an election waits excuses what they bring, and only one that stood still while a write's time ran out a
		// failed call.
		stalled := l.machine.Stalled(gap)
		if term(t, f) > before+1 && stalled > electionWait || failures > 0 && stalled > writeStall {
			elections++
		} else {
			gaps = append(gaps, gap)
			failed += failures
			if now != target {
				wrong++
				t.Errorf("promoted %s, but %s leads", target.Name, now.Name)
			}
		}
		if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
			t.Fatal(err)
		}
	}
	acked := l.verify(t)
	line, ok := l.machine.Judge(gaps, moveMedian, moveLongest)
	fmt.Printf("=> | promotion of a follower, 64 writers, %d times | %s | %d failed calls | %d wrong roles | %d left out because the machine stood still | %d acknowledged, all read back from 3 nodes |\n",
		times, line, failed, wrong, elections, acked)
	if !ok {
		t.Errorf("writes stood still for too long: %s", line)
	}
	if failed > 0 {
		t.Errorf("%d calls failed, last: %v", failed, l.lastErr)
	}
}

// promote asks until the promotion is taken: a node that has just changed its role may say "not yet".
func promote(t *testing.T, f *fleet.Fleet, target *fleet.Node, as string) {
	t.Helper()
	err := fleet.Await(formWithin, target.Name+" to be promoted", func() (bool, string) {
		err := target.Promote(target.Name, as)
		if err == nil {
			return true, ""
		}
		if leader, lerr := f.Leader(); lerr == nil && leader == target {
			return true, "" // the answer of an earlier try was lost
		}
		return false, err.Error()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// term is the highest term any running node knows.
func term(t *testing.T, f *fleet.Fleet) (highest uint64) {
	t.Helper()
	err := fleet.Await(formWithin, "the term", func() (bool, string) {
		for _, n := range f.Nodes {
			if !n.Running() {
				continue
			}
			v, err := n.View()
			if err != nil {
				return false, err.Error()
			}
			number, err := strconv.ParseUint(v.Term, 10, 64)
			if err != nil {
				return false, err.Error()
			}
			highest = max(highest, number)
		}
		return highest > 0, ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return highest
}

// Goal: a clone promoted by name becomes a voter and leads; the number of voters stays.
func TestCloneIsPromotedByNameUnderLoad(t *testing.T) {
	f := startFleet(t, fleet.Options{Nodes: 5, ClusterSize: 3}, 2, 2)
	l := startLoad(t, f, 20)
	var gap fleet.Gap
	for tries := 1; ; tries++ {
		clone, before := inRole(t, f, "Clone"), term(t, f)
		began := time.Now()
		gap, _ = l.around(t, func() { promote(t, f, clone, "leader") })
		now, err := f.AwaitLeader(formWithin, nil)
		if err != nil {
			t.Fatal(err)
		}
		if now == clone {
			break
		}
		// An election that nobody asked for, of a machine that stood still, may have come right after.
		if tries > 4 || term(t, f) < before+2 || l.machine.Stalled(fleet.Gap{From: began, To: time.Now()}) < electionWait {
			t.Fatalf("promoted %s, but %s leads", clone.Name, now.Name)
		}
		if err := f.AwaitRoles(formWithin, 2, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.AwaitRoles(formWithin, 2, 2); err != nil {
		t.Fatal(err)
	}
	acked := l.verify(t)
	fmt.Printf("=> | promotion of a clone to leader, 20 writers | %s | %d acknowledged, all read back from 5 nodes |\n", ms(gap.Length()), acked)
}

// Goal: a voter that stays away past the grace period is replaced by a caught-up clone in one change, while writes flow;
// when it returns it is a clone.
func TestCloneReplacesADeadVoter(t *testing.T) {
	f := startFleet(t, fleet.Options{Nodes: 4, ClusterSize: 3, Args: []string{"--replace-after-sec", "3"}}, 2, 1)
	l := startLoad(t, f, 20)
	clone := inRole(t, f, "Clone")
	dead := inRole(t, f, "Follower")
	l.flow(t)
	began := time.Now()
	dead.Kill()
	// A node that is merely slow to answer counts as not alive for a moment: the roles are looked at, not the number.
	err := fleet.Await(formWithin, clone.Name+" to vote in place of "+dead.Name, func() (bool, string) {
		v, err := clone.View()
		if err != nil {
			return false, err.Error()
		}
		in, out := v.ByName(clone.Name), v.ByName(dead.Name)
		return in != nil && (in.Role == "Follower" || in.Role == "Leader") && (out == nil || out.Role == "Clone") && v.Quorum.Voters == 3,
			fmt.Sprintf("%+v", v.Members)
	})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	// Silence counts from the last message, which may lie before the death by as much as the machine stood still.
	if took+l.machine.Stalled(fleet.Gap{From: began.Add(-graceSlack), To: began}) < 2*time.Second {
		t.Fatalf("replaced after %v, before the grace period of 3 s", took)
	}
	l.flow(t)
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	if err := f.AwaitRoles(formWithin, 2, 1); err != nil {
		t.Fatal(err)
	}
	acked := l.verify(t)
	fmt.Printf("=> | clone replaces a dead voter (grace 3 s), 20 writers | replaced after %.1f s | %d acknowledged, all read back from 4 nodes |\n", took.Seconds(), acked)
}

// Goal: without a majority nothing is promoted, and the answer names who is missing.
func TestNothingIsPromotedWithoutAQuorum(t *testing.T) {
	t.Parallel()
	f := startFleet(t, fleet.Options{Nodes: 5, ClusterSize: 3}, 2, 2)
	clone := inRole(t, f, "Clone")
	leader := inRole(t, f, "Leader")
	v, err := leader.View()
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, m := range v.Members {
		if m.Role == "Follower" {
			missing = append(missing, m.Name)
			f.ByName(m.Name).Kill()
		}
	}
	err = fleet.Await(formWithin, "a refusal that names "+fmt.Sprint(missing), func() (bool, string) {
		status, body, err := clone.Do("POST", "/cluster/promote", map[string]any{"node": clone.Name, "as": "leader"})
		if err != nil {
			return false, err.Error()
		}
		if status == 200 {
			t.Fatalf("a clone was promoted without a quorum: %s", body)
		}
		return contains(body, missing[0]) && contains(body, missing[1]) && contains(body, "quorum"), fmt.Sprintf("%d %s", status, body)
	})
	if err != nil {
		t.Fatal(err)
	}
	// Roles, not who is alive: a node that is merely slow to answer counts as not alive for a moment.
	if v, err = clone.View(); err != nil {
		t.Fatal(err)
	}
	clones := 0
	for _, m := range v.Members {
		if m.Role == "Clone" {
			clones++
		}
	}
	if clones != 2 {
		t.Fatalf("%d clones, want 2: %+v", clones, v.Members)
	}
}
