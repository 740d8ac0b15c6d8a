package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/stream"
)

func expecting(t *testing.T, name string, number int, expected stream.Expected) *stream.Command {
	t.Helper()
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: name, Expected: expected, Events: []stream.Event{
		{ID: [16]byte{2, byte(number)}, Type: "t", Data: []byte("data")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

// electBehindItsBack makes site id leader while site 1, whose clock stands
// still, goes on believing that it leads.
func (n *net) electBehindItsBack(id uint64) *site {
	n.t.Helper()
	for range patience {
		for _, other := range n.order {
			if other != 1 {
				n.sites[other].core.Tick()
			}
		}
		n.settle()
		for _, other := range n.order {
			if s := n.sites[other]; other != 1 && s.core.Status().Serving {
				return s
			}
		}
	}
	n.t.Fatal("nobody was elected")
	return nil
}

// Goal (P4): the acknowledgement of an older command does not confirm a refusal
// found after leadership had moved.
func TestDeposedLeaderRefusesNothingFromThePast(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	old := n.lead(1)
	var held []*raftpb.Message // acknowledgements on a slow way
	n.cut = func(m *raftpb.Message) bool {
		if m.GetTo() == 1 && m.GetType() == raftpb.MsgAppResp {
			held = append(held, m)
		}
		return m.GetTo() == 1
	}
	first := &Proposal{Command: expecting(t, "s", 1, stream.Any)}
	old.core.Propose(first)
	n.settle()
	n.cut = func(m *raftpb.Message) bool { return m.GetFrom() == 1 || m.GetTo() == 1 }
	leader := n.electBehindItsBack(2)
	second := &Proposal{Command: expecting(t, "s", 2, 0)}
	leader.core.Propose(second)
	n.settle()
	if second.Err != nil || second.Outcome.Kind != stream.Done || len(leader.done) != 1 {
		t.Fatalf("the new leader answered %+v, %v", second.Outcome, second.Err)
	}

	third := &Proposal{Command: expecting(t, "s", 3, 1)} // fits what was acknowledged
	old.core.Propose(third)
	n.settle()
	for _, m := range held {
		old.core.Receive(m)
	}
	n.settle()
	for _, p := range old.done {
		if p == third && p.Err == nil {
			t.Fatalf("a deposed leader answered %+v from a state that is gone", p.Outcome)
		}
	}
	if len(old.done) != 1 || old.done[0] != first || first.Err != nil {
		t.Errorf("the command that a quorum acknowledged was not answered")
	}
	n.cut = nil
	n.until("the command comes back", func() bool { return third.Err != nil })
	if third.Err != ErrNotAppended {
		t.Errorf("the command came back with %v", third.Err)
	}
}

// Goal: a configuration change whose entry lost is not reported as done.
func TestChangeWhoseEntryLostIsNotReportedAsDone(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 4)
	old := n.lead(1)
	n.cut = func(m *raftpb.Message) bool { return m.GetFrom() == 1 || m.GetTo() == 1 }
	change := &Change{Learners: []uint64{4}}
	old.core.ChangeConf(change)
	n.settle()
	if change.index == 0 {
		t.Fatal("the change is not in the leader's log")
	}
	leader := n.electBehindItsBack(2)
	for i := range 3 {
		leader.core.Propose(&Proposal{Command: command(t, "s", i)})
		n.settle()
	}
	n.cut = nil
	n.until("the change is answered", func() bool { return len(old.changes) > 0 })
	if isIn(old.core.Status().Conf.GetLearners(), 4) {
		t.Fatal("the change is in force")
	}
	if len(old.changes) != 1 || old.changes[0].Err != ErrNotAppended {
		t.Errorf("the change that lost was reported: %d, %v", len(old.changes), change.Err)
	}
}

// Goal (P8): a node that is no member, so that nothing is known about its log,
// does not become a voter.
func TestStrangerDoesNotBecomeVoter(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 4)
	leader := n.lead(1)
	change := &Change{Voters: []uint64{4}}
	leader.core.ChangeConf(change)
	n.tick(holdAfterTicks + holdForTicks + 4)
	if change.Err != ErrNotCaughtUp || isIn(leader.core.Status().Conf.GetVoters(), 4) {
		t.Errorf("a stranger was promoted: %v, %v", change.Err, leader.core.Status().Conf)
	}
}

// Goal: a demotion decided before its voter was removed does not bring it back.
func TestRemovedVoterIsNotDemotedIntoTheClusterAgain(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 4)
	leader := n.lead(1)
	leader.core.ChangeConf(&Change{Learners: []uint64{4}})
	n.tick(10)
	leader.core.ChangeConf(&Change{Remove: []uint64{3}})
	n.tick(10)
	stale := &Change{Voters: []uint64{4}, Demote: []uint64{3}}
	leader.core.ChangeConf(stale)
	n.until("the change is answered", func() bool { return len(leader.changes) == 3 })
	if conf := leader.core.Status().Conf; stale.Err != nil || isIn(conf.GetLearners(), 3) || isIn(conf.GetVoters(), 3) || !isIn(conf.GetVoters(), 4) {
		t.Errorf("configuration %v, %v", conf, stale.Err)
	}
	back := &Change{Demote: []uint64{4}}
	leader.core.ChangeConf(back)
	n.until("the demotion is answered", func() bool { return len(leader.changes) == 4 })
	if conf := leader.core.Status().Conf; back.Err != nil || !isIn(conf.GetLearners(), 4) {
		t.Errorf("after a demotion: %v, %v", conf, back.Err)
	}
}
