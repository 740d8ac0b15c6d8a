package membership

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"
)

func peerFact(id int, reachable bool, change ...func(*FoundingPeer)) FoundingPeer {
	p := FoundingPeer{Member: Member{ID: MemberID(id), PeerAddr: fmt.Sprintf("10.0.0.%d:1112", id)}, Reachable: reachable, ClusterSize: 3}
	for _, f := range change {
		f(&p)
	}
	return p
}

func TestDecideFounding(t *testing.T) {
	t.Parallel()
	inCluster := func(p *FoundingPeer) { p.ClusterID = "c" }
	joinOnly := func(p *FoundingPeer) { p.JoinOnly = true }
	readOnly := func(p *FoundingPeer) { p.ReadOnlyReplica = true }
	other := func(p *FoundingPeer) { p.ClusterSize = 5 }
	cases := []struct {
		name    string
		self    int
		waited  time.Duration
		peers   []FoundingPeer
		unknown []string
		want    FoundingStep
		part    string // of Why, or the founders
	}{
		{"alone of three waits", 1, time.Hour, []FoundingPeer{peerFact(2, false), peerFact(3, false)}, nil, FoundingWait, "1 of 3 known nodes"},
		{"all three: the lowest address proposes", 1, 0, []FoundingPeer{peerFact(2, true), peerFact(3, true)}, nil, FoundingPropose, "1 2 3"},
		{"all three: the others wait", 2, 0, []FoundingPeer{peerFact(1, true), peerFact(3, true)}, nil, FoundingWait, "10.0.0.1:1112"},
		{"the others step in when it does not", 2, time.Minute, []FoundingPeer{peerFact(1, true), peerFact(3, true)}, nil, FoundingPropose, "1 2 3"},
		{"two of three give the third a moment", 1, time.Second, []FoundingPeer{peerFact(2, true), peerFact(3, false)}, nil, FoundingWait, "a moment"},
		{"and go on without it", 1, 3 * time.Second, []FoundingPeer{peerFact(2, true), peerFact(3, false)}, nil, FoundingPropose, "1 2"},
		{"a seed not reached counts as known", 1, time.Hour, []FoundingPeer{peerFact(2, true)}, []string{"a:2113", "b:2113"}, FoundingWait, "2 of 4 known"},
		{"five nodes found three", 1, 0, []FoundingPeer{peerFact(2, true), peerFact(3, true), peerFact(4, true), peerFact(5, true)}, nil, FoundingPropose, "1 2 3"},
		{"half of four waits", 1, time.Hour, []FoundingPeer{peerFact(2, true), peerFact(3, false), peerFact(4, false)}, nil, FoundingWait, "2 of 4"},
		{"an existing cluster is joined", 1, 0, []FoundingPeer{peerFact(2, true), peerFact(3, true, inCluster)}, nil, FoundingJoin, ""},
		{"one that cannot be reached is not", 1, 3 * time.Second, []FoundingPeer{peerFact(2, true), peerFact(3, false, inCluster)}, nil, FoundingPropose, "1 2"},
		{"read-only replicas found nothing", 1, time.Hour, []FoundingPeer{peerFact(2, true, readOnly), peerFact(3, true, readOnly)}, nil, FoundingWait, "1 nodes reached, 2 needed"},
		{"those that only join found nothing", 1, time.Hour, []FoundingPeer{peerFact(2, true, joinOnly), peerFact(3, true, joinOnly)}, nil, FoundingWait, "1 nodes reached, 2 needed"},
		{"and are no founders", 1, time.Hour, []FoundingPeer{peerFact(2, true), peerFact(3, true, joinOnly)}, nil, FoundingPropose, "1 2"},
		{"different sizes are told", 1, time.Hour, []FoundingPeer{peerFact(2, true, other)}, nil, FoundingWait, "set the same"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := DecideFounding(FoundingFacts{
				Self: peerFact(c.self, true).Member, ClusterSize: 3, Peers: c.peers, Unresolved: c.unknown, WaitedFor: c.waited, Settle: 2 * time.Second,
			})
			if v.Step != c.want {
				t.Fatalf("step %s (%s), want %s", v.Step, v.Why, c.want)
			}
			got := v.Why
			if v.Step == FoundingPropose {
				var ids []string
				for _, m := range v.Proposal.Founders {
					ids = append(ids, fmt.Sprint(uint64(m.ID)))
				}
				got = strings.Join(ids, " ")
			}
			if v.Step != FoundingJoin && !strings.Contains(got, c.part) {
				t.Errorf("says %q, want %q in it", got, c.part)
			}
		})
	}
}

// Goal: a node that was told only to join founds nothing, whoever is there, says whom it waits for, and joins the cluster that it finds.
func TestJoinOnlyFoundsNothing(t *testing.T) {
	t.Parallel()
	facts := FoundingFacts{
		Self: peerFact(1, true).Member, ClusterSize: 3, Settle: 2 * time.Second, WaitedFor: time.Hour, JoinOnly: true,
		Peers: []FoundingPeer{peerFact(2, true), peerFact(3, true)},
	}
	if v := DecideFounding(facts); v.Step != FoundingWait || !strings.Contains(v.Why, "none of the 2 others") {
		t.Errorf("all are there and empty: %s (%s)", v.Step, v.Why)
	}
	facts.Peers[1].Reachable = false
	if v := DecideFounding(facts); v.Step != FoundingWait || !strings.Contains(v.Why, "not reached: 10.0.0.3:1112") {
		t.Errorf("one is silent: %s (%s)", v.Step, v.Why)
	}
	facts.Peers[0].ClusterID = "c"
	if v := DecideFounding(facts); v.Step != FoundingJoin {
		t.Errorf("one is in a cluster: %s (%s)", v.Step, v.Why)
	}
}

// Goal: nodes that are cut off, and whose number grows by others that know them,
// found nothing of their own. Method: two of three named nodes found a cluster;
// the third, with two more that name the same three, asks what to do.
func TestSeedQuorumKeepsACutOffPartFromFounding(t *testing.T) {
	t.Parallel()
	named := []string{"10.0.0.1:1112", "10.0.0.2:1112", "10.0.0.3:1112"}
	together := FoundingFacts{
		Self: peerFact(1, true).Member, ClusterSize: 3, Settle: 2 * time.Second, WaitedFor: time.Minute,
		Peers: []FoundingPeer{peerFact(2, true), peerFact(3, false)},
		Seeds: SeedQuorum{Addresses: named, Count: 3},
	}
	if v := DecideFounding(together); v.Step != FoundingPropose {
		t.Fatalf("two of three named nodes: %s (%s), want propose", v.Step, v.Why)
	}
	for self := 3; self <= 5; self++ {
		cutOff := FoundingFacts{
			Self: peerFact(self, true).Member, ClusterSize: 3, Settle: 2 * time.Second, WaitedFor: time.Minute,
			Peers: []FoundingPeer{peerFact(1, false), peerFact(2, false)},
			Seeds: SeedQuorum{Addresses: named, Count: 3},
		}
		for other := 3; other <= 5; other++ {
			if other != self {
				cutOff.Peers = append(cutOff.Peers, peerFact(other, true))
			}
		}
		if self > 3 {
			cutOff.Seeds = SeedQuorum{Addresses: append([]string{cutOff.Self.PeerAddr}, named...), Count: 4}
		}
		v := DecideFounding(cutOff)
		if v.Step != FoundingWait || !strings.Contains(v.Why, "was told of") {
			t.Errorf("node %d, cut off with two others: %s (%s), want wait for the named ones", self, v.Step, v.Why)
		}
	}
}

// Goal: whatever the order of messages and whoever stops half way, at most one
// founding is chosen. Method: random interleavings of proposers over acceptors
// that lose messages.
func TestAtMostOneFoundingIsChosen(t *testing.T) {
	t.Parallel()
	chosenRuns := 0
	for seed := range int64(3000) {
		rng := rand.New(rand.NewSource(seed))
		n := 3 + rng.Intn(3)
		acceptors := make([]Acceptor, n)
		chosen := map[string]bool{}
		for round := range 6 {
			proposer := rng.Intn(n)
			ballot := Ballot{Round: uint64(round/2 + 1), Proposer: MemberID(proposer + 1)}
			own := &Founding{ClusterID: fmt.Sprintf("%d-%d", proposer, round)}
			var promises []Acceptor
			for i := range acceptors {
				if rng.Intn(3) == 0 {
					continue
				}
				if next, ok := acceptors[i].Prepare(ballot); ok {
					acceptors[i] = next
					promises = append(promises, next)
				}
			}
			if len(promises) < Majority(n) {
				continue
			}
			value := ValueToPropose(own, promises)
			accepted := 0
			for i := range acceptors {
				if rng.Intn(3) == 0 {
					continue
				}
				if next, ok := acceptors[i].Accept(ballot, value); ok {
					acceptors[i] = next
					accepted++
				}
			}
			if accepted >= Majority(n) {
				chosen[value.ClusterID] = true
			}
		}
		if len(chosen) > 1 {
			t.Fatalf("seed %d: %d foundings were chosen: %v", seed, len(chosen), chosen)
		}
		chosenRuns += len(chosen)
	}
	if chosenRuns < 1000 {
		t.Errorf("only %d of 3000 runs chose a founding: the test shows little", chosenRuns)
	}
}

func TestRosterApplyIsTotalAndRemembersRemoved(t *testing.T) {
	t.Parallel()
	var r Roster
	r.Apply(Change{Found: &FoundChange{ClusterID: "c", ClusterSize: 3}, Put: []Member{{ID: 2, Name: "b"}, {ID: 1, Name: "a"}}})
	if len(r.Members) != 2 || r.Members[0].ID != 1 {
		t.Fatalf("members %+v", r.Members)
	}
	r.Apply(Change{Remove: []MemberID{1}})
	r.Apply(Change{Put: []Member{{ID: 1, Name: "a"}}})
	if _, ok := r.Find(1); ok || !r.WasRemoved(1) {
		t.Error("a removed member came back")
	}
	named, resigned := MemberID(2), MemberID(2)
	r.Apply(Change{Named: &named})
	r.Apply(Change{Resigned: &resigned})
	if r.Named != 0 || r.Resigned != 2 {
		t.Errorf("named %v, resigned %v", r.Named, r.Resigned)
	}
	change, err := DecodeChange(Change{ClusterSize: 5, Priority: &PriorityEntry{ID: 2, Priority: 7}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	copied := r.Clone()
	copied.Apply(change)
	if copied.ClusterSize != 5 || copied.Members[0].Priority != 7 || r.Members[0].Priority != 0 {
		t.Errorf("copy %+v, original %+v", copied, r)
	}
}

func TestIDsRoundTrip(t *testing.T) {
	t.Parallel()
	id, err := ParseMemberID(MemberID(0x1234).String())
	if err != nil || id != 0x1234 {
		t.Errorf("%v %v", id, err)
	}
	instance := InstanceID{1, 2, 3, 15: 255}
	var back InstanceID
	if err := back.UnmarshalText([]byte(instance.String())); err != nil || back != instance {
		t.Errorf("%v %v", back, err)
	}
	if StateResigningLeader.Number() != 15 || StateClone.Number() != 5 {
		t.Error("state numbers moved")
	}
}
