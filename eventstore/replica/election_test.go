package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// stand makes a site stand for election with the real consensus core and returns
// the candidacy it ended with.
func (n *net) stand(id uint64, ended func(Election) bool) Election {
	n.t.Helper()
	s := n.sites[id]
	var got *Election
	s.core.Campaign()
	n.until("the candidacy ends", func() bool {
		for i := range s.elections {
			if got == nil && ended(s.elections[i]) {
				got = &s.elections[i]
			}
		}
		return got != nil
	})
	return *got
}

func any1(Election) bool { return true }

func answers(e Election) map[uint64]AnswerKind {
	kinds := map[uint64]AnswerKind{}
	for _, a := range e.Answers {
		kinds[a.From] = a.Kind
	}
	return kinds
}

func TestCandidateThatWinsKnowsWhoVotedForIt(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	n.lead(1)
	e := n.sites[1].elections[0]
	if e.Outcome != ElectionWon || e.PreVote || len(e.Answers) != 2 || e.Answers[0].Kind != Granted || e.Term != n.sites[1].core.Status().Term {
		t.Errorf("%+v", e)
	}
}

// Goal: a voter that hears the leader says so, and says no more than that: nobody is disturbed.
func TestVoterThatHearsTheLeaderSaysSo(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	leader := n.lead(1)
	term := leader.core.Status().Term
	n.tick(2)
	n.cut = func(m *raftpb.Message) bool { // 2 hears no leader
		return m.GetTo() == 2 && (m.GetType() == raftpb.MsgHeartbeat || m.GetType() == raftpb.MsgApp)
	}
	e := n.stand(2, func(e Election) bool { return e.Outcome == ElectionTimedOut })
	if kinds := answers(e); kinds[1] != HearsLeader || kinds[3] != HearsLeader || e.Answers[1].Who != 1 || !e.PreVote {
		t.Errorf("%+v", e)
	}
	if s := leader.core.Status(); !s.Serving || s.Term != term {
		t.Errorf("the leader was disturbed: %+v", s)
	}
}

func TestVoterWithNewerLogSaysWhereItEnds(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	leader := n.lead(1)
	n.cut = func(m *raftpb.Message) bool { return m.GetTo() == 2 || m.GetFrom() == 2 }
	for i := range 5 {
		leader.core.Propose(&Proposal{Command: command(t, "s", i)})
		n.settle()
	}
	want, _ := n.sites[3].storage.Log.LastIndex()
	leader.down = true
	n.cut = nil
	n.sites[3].core.LeaderGone(1, false)
	n.sites[2].core.LeaderGone(1, false)
	seen := len(n.sites[2].elections)
	n.sites[2].core.Campaign()
	n.until("the candidacy ends", func() bool { return len(n.sites[2].elections) > seen })
	e := n.sites[2].elections[seen]
	if kinds := answers(e); kinds[3] != LogBehind || kinds[1] != NoAnswer {
		t.Fatalf("%+v", e)
	}
	for _, a := range e.Answers {
		if a.From == 3 && (a.LastIndex != want || a.LastTerm == 0 || e.LastIndex >= want) {
			t.Errorf("the voter's log ends with %d; it says %+v to %+v", want, a, e)
		}
	}
}

func TestCandidateNobodyAnswersSaysSo(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	n.settle()
	n.sites[2].down, n.sites[3].down = true, true
	e := n.stand(1, any1)
	if kinds := answers(e); e.Outcome != ElectionTimedOut || kinds[2] != NoAnswer || kinds[3] != NoAnswer {
		t.Errorf("%+v", e)
	}
}

// Goal: the reason of a vote already given, which only crossing candidates see.
// Method: both pass the pre-vote before either asks for votes.
func TestVoterThatVotedSaysForWhom(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	n.settle()
	var held []*raftpb.Message
	n.cut = func(m *raftpb.Message) bool {
		if m.GetType() == raftpb.MsgVote {
			held = append(held, m)
			return true
		}
		return false
	}
	n.sites[1].core.Campaign()
	n.sites[2].core.Campaign()
	n.settle()
	if len(held) != 4 {
		t.Fatalf("%d votes are asked for, not 4", len(held))
	}
	n.cut = func(m *raftpb.Message) bool { return m.GetFrom() == 1 } // 1 asks, wins, and is not heard
	for _, m := range held {
		if m.GetFrom() == 1 && m.GetTo() == 3 {
			n.sites[3].core.Receive(m)
		}
	}
	n.settle()
	for _, m := range held {
		if m.GetFrom() == 2 {
			n.sites[m.GetTo()].core.Receive(m)
		}
	}
	n.settle()
	n.until("the candidacy of 2 ends", func() bool { return len(n.sites[2].elections) > 0 })
	e := n.sites[2].elections[0]
	for _, a := range e.Answers {
		if a.From == 3 && (a.Kind != AlreadyVoted || a.Who != 1) {
			t.Errorf("%+v", e)
		}
	}
	if e.PreVote || e.Outcome == ElectionWon {
		t.Errorf("%+v", e)
	}
}

// Goal: refusals of nodes that give no reason, or an unknown one, are refusals.
func TestReasonsOfOtherVersionsAreRead(t *testing.T) {
	t.Parallel()
	for _, b := range [][]byte{nil, {1}, append([]byte{9}, make([]byte, 34)...), append([]byte{1, 1, byte(Granted)}, make([]byte, 32)...), append([]byte{1, 0, 99}, make([]byte, 32)...)} {
		if a, note := decodeAnswer(b); a != (Answer{Kind: Refused}) || note {
			t.Errorf("% x is read as %+v, note %v", b, a, note)
		}
	}
	want := Answer{Kind: LogBehind, LastIndex: 1 << 40, LastTerm: 7, Who: 3, Term: 9}
	for _, note := range []bool{false, true} {
		if a, got := decodeAnswer(want.encode(note)); a != want || got != note {
			t.Errorf("%+v, note %v", a, got)
		}
	}
}

// Goal: a cluster of one voter takes writes again as soon as it runs: there is nobody whose silence could be waited for.
func TestTheOnlyVoterLeadsAtOnce(t *testing.T) {
	t.Parallel()
	for _, all := range []int{1, 3} { // alone, and with clones
		n := newNet(t, 1, 1, all)
		n.tick(hurryTicks)
		n.settle()
		if s := n.sites[1].core.Status(); !s.Serving {
			t.Errorf("%d nodes: after %d ticks %+v", all, hurryTicks, s)
		}
	}
}

// Goal: one of several voters waits as long as ever.
func TestOneOfSeveralVotersWaits(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	n.tick(DefaultElectionTicks / 2)
	for id, s := range n.sites {
		if term := s.core.Status().Term; term > 1 || len(s.elections) > 0 {
			t.Errorf("node %d is in term %d after %d candidacies", id, term, len(s.elections))
		}
	}
}
