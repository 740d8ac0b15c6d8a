package system

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"baton/test/fleet"
)

// Limits of the gaps on a machine of 2 cores that runs nodes and writers, at default settings.
const (
	failoverMedian  = 1 * time.Second
	failoverLongest = 2 * time.Second
	moveMedian      = 50 * time.Millisecond
	moveLongest     = 250 * time.Millisecond
)

// Goal: when the leader dies, writes resume within the limits and no acknowledged write is lost.
// Method: kill -9 of the leader under 50 writers, ten times; each time the killed node comes back.
func TestLeaderIsKilledUnderLoad(t *testing.T) {
	f := startFleet(t, fleet.Options{Nodes: 3}, 2, 0)
	l := startLoad(t, f, 50)
	var gaps []time.Duration
	for run := range 10 {
		var killed *fleet.Node
		gap, _ := l.around(t, func() {
			killed = inRole(t, f, "Leader")
			killed.Kill()
		})
		gaps = append(gaps, gap)
		fmt.Printf("=> kill -9 of the leader, run %2d: %s without an acknowledgement\n", run+1, ms(gap))
		if err := killed.Start(); err != nil {
			t.Fatal(err)
		}
		if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
			t.Fatal(err)
		}
	}
	acked := l.verify(t)
	median, longest := spread(gaps)
	fmt.Printf("=> | kill -9 of the leader, 50 writers, %d times | median %s | max %s | %d acknowledged, all read back from 3 nodes |\n", len(gaps), ms(median), ms(longest), acked)
	if median > failoverMedian || longest > failoverLongest {
		t.Errorf("median %s, longest %s; at most %v and %v are allowed", ms(median), ms(longest), failoverMedian, failoverLongest)
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
	if err := fleet.Await(15*time.Second, "ten seconds of standstill", func() (bool, string) {
		return time.Since(began) >= 10*time.Second, ""
	}); err != nil {
		t.Fatal(err)
	}
	stopped.Signal(syscall.SIGCONT)
	if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
		t.Fatal(err)
	}
	acked := l.verify(t)
	fmt.Printf("=> | SIGSTOP of the leader for 10 s, 50 writers | %s until writes went on | %d acknowledged, all read back from 3 nodes |\n", ms(gap), acked)
	if gap > 5*time.Second {
		t.Errorf("writes stood still for %v", gap)
	}
}

// awaitOtherLeader asks the nodes other than not, which may not answer at all.
func awaitOtherLeader(f *fleet.Fleet, not *fleet.Node) (*fleet.Node, error) {
	var found *fleet.Node
	err := fleet.Await(20*time.Second, "another leader than "+not.Name, func() (bool, string) {
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
	var gaps []time.Duration
	failed, wrong := 0, 0
	for range times {
		leader := inRole(t, f, "Leader")
		target := inRole(t, f, "Follower")
		gap, failures := l.around(t, func() {
			if err := leader.Promote(target.Name, "leader"); err != nil {
				t.Fatal(err)
			}
		})
		gaps = append(gaps, gap)
		failed += failures
		if now, err := f.AwaitLeader(10*time.Second, nil); err != nil || now != target {
			wrong++
			t.Errorf("promoted %s, but %v leads (%v)", target.Name, now, err)
		}
		if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
			t.Fatal(err)
		}
	}
	acked := l.verify(t)
	median, longest := spread(gaps)
	fmt.Printf("=> | promotion of a follower, 64 writers, %d times | median %s | max %s | %d failed calls | %d wrong roles | %d acknowledged, all read back from 3 nodes |\n",
		times, ms(median), ms(longest), failed, wrong, acked)
	if median > moveMedian || longest > moveLongest {
		t.Errorf("median %s, longest %s; at most %v and %v are allowed", ms(median), ms(longest), moveMedian, moveLongest)
	}
	if failed > 0 {
		t.Errorf("%d calls failed, last: %v", failed, l.lastErr)
	}
}

// Goal: a clone promoted by name becomes a voter and leads; the number of voters stays.
func TestCloneIsPromotedByNameUnderLoad(t *testing.T) {
	f := startFleet(t, fleet.Options{Nodes: 5, ClusterSize: 3}, 2, 2)
	l := startLoad(t, f, 20)
	clone := inRole(t, f, "Clone")
	leader := inRole(t, f, "Leader")
	gap, _ := l.around(t, func() {
		err := fleet.Await(20*time.Second, clone.Name+" to be promoted", func() (bool, string) {
			if err := leader.Promote(clone.Name, "leader"); err != nil { // it may not have caught up yet
				return false, err.Error()
			}
			return true, ""
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	now, err := f.AwaitLeader(10*time.Second, leader)
	if err != nil || now != clone {
		t.Fatalf("promoted %s, but %v leads (%v)", clone.Name, now, err)
	}
	if err := f.AwaitRoles(formWithin, 2, 2); err != nil {
		t.Fatal(err)
	}
	acked := l.verify(t)
	fmt.Printf("=> | promotion of a clone to leader, 20 writers | %s | %d acknowledged, all read back from 5 nodes |\n", ms(gap), acked)
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
	if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	v, err := clone.View()
	if err != nil {
		t.Fatal(err)
	}
	if m := v.ByName(clone.Name); m == nil || m.Role != "Follower" {
		t.Fatalf("%s did not become a follower: %+v", clone.Name, m)
	}
	if v.Quorum.Voters != 3 {
		t.Fatalf("%d voters, want 3", v.Quorum.Voters)
	}
	if took < 2*time.Second { // silence counts from the last message, a little before the death
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
	err = fleet.Await(20*time.Second, "a refusal that names "+fmt.Sprint(missing), func() (bool, string) {
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
	if v, err := clone.View(); err != nil || v.Count("Clone") != 2 {
		t.Fatalf("%d clones, want 2 (%v)", v.Count("Clone"), err)
	}
}
