package replica

import (
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/trace"
)

const traceText = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// Goal: an append's place in its trace reaches the followers' writes, and everybody's acknowledgement is recorded.
func TestTracedAppendIsFollowedToEveryMember(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	leader := n.lead(1)
	place, _ := trace.Parse(traceText)
	leader.core.SetNow(1_000)
	for i := range 3 {
		cmd := command(t, "s", i)
		if i == 1 {
			cmd.Trace = &place
		}
		leader.core.Propose(&Proposal{Command: cmd, Started: 90_000})
	}
	leader.core.SetNow(2_000)
	n.settle()
	replicated := map[[8]byte]bool{}
	judged := 0
	for _, s := range leader.spans {
		switch s.Name {
		case SpanJudge:
			judged++
			if s.Parent != place || s.Start != 90_000 || s.End != 200_000 {
				t.Errorf("%+v", s)
			}
		case SpanReplicate:
			replicated[s.ID] = s.Parent == place
		default:
			t.Errorf("unexpected %+v", s)
		}
	}
	if judged != 1 || !replicated[place.Child(2).Span] || !replicated[place.Child(3).Span] || len(replicated) != 2 {
		t.Errorf("%d judgements, replicated %v", judged, replicated)
	}
	if len(leader.core.followed) != 0 {
		t.Errorf("still followed: %+v", leader.core.followed)
	}
	for id, want := range map[uint64]trace.Context{1: place, 2: place.Child(2), 3: place.Child(3)} {
		if got := n.sites[id].traced; len(got) != 1 || got[0] != want {
			t.Errorf("site %d wrote %v, want %v", id, got, want)
		}
	}
}

// Goal: a member that is away does not keep traces for ever, and many traces at a time are bounded.
func TestTracesAreLetGo(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	leader := n.lead(1)
	n.sites[3].down = true
	place, _ := trace.Parse(traceText)
	for i := range maxTraces + 10 {
		cmd := command(t, "s", i)
		cmd.Trace = &place
		leader.core.Propose(&Proposal{Command: cmd})
	}
	n.settle()
	if f := leader.core.followed; len(f) != 1 || len(f[0].traces) != maxTraces || fmt.Sprint(f[0].waiting) != "[3]" {
		t.Fatalf("%+v", f)
	}
	for i := range maxFollowed + 10 {
		cmd := command(t, "other", i)
		cmd.Trace = &place
		leader.core.Propose(&Proposal{Command: cmd})
		n.settle()
	}
	if len(leader.core.followed) > maxFollowed {
		t.Errorf("%d entries are followed", len(leader.core.followed))
	}
	n.tick(followTicks + 2)
	if len(leader.core.followed) != 0 {
		t.Errorf("%d entries are followed for ever", len(leader.core.followed))
	}
}

// Goal: whatever stands in a message's context, its entries are taken.
func TestMalformedTracesCostNothing(t *testing.T) {
	t.Parallel()
	for i, context := range [][]byte{{tracesVersion}, {99, 1, 2}, append([]byte{tracesVersion}, make([]byte, 500)...),
		append([]byte{tracesVersion, 2, 0, 0, 0, 0, 0, 0, 0, 255}, make([]byte, 500)...)} {
		n := newNet(t, 1, 3, 3)
		leader := n.lead(1)
		n.cut = func(m *raftpb.Message) bool {
			if m.GetType() == raftpb.MsgApp {
				m.Context = context
			}
			return false
		}
		leader.core.Propose(&Proposal{Command: command(t, "s", i)})
		n.settle()
		n.tick(3)
		if len(leader.done) != 1 || n.sites[3].machine.Applied() != leader.machine.Applied() {
			t.Errorf("context % x stops the cluster", context[:min(len(context), 12)])
		}
	}
}
