package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// Goal: a message that makes no sense, whoever sent it, changes nothing and does
// not end the process.
func TestMalformedMessagesAreIgnored(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	leader := n.lead(1)
	follower := n.sites[2]
	last, _ := follower.storage.Log.LastIndex()
	lastTerm, _ := follower.storage.Log.Term(last)
	term := leader.core.Status().Term
	to, from := uint64(2), uint64(1)
	message := func(typ raftpb.MessageType, term uint64, entries ...*raftpb.Entry) *raftpb.Message {
		return &raftpb.Message{Type: &typ, To: &to, From: &from, Term: &term, Index: &last, LogTerm: &lastTerm, Entries: entries}
	}
	entry := func(index, term uint64) *raftpb.Entry { return &raftpb.Entry{Index: &index, Term: &term} }
	for name, m := range map[string]*raftpb.Message{
		"gap":            message(raftpb.MsgApp, term, entry(last+2, term)),
		"gap inside":     message(raftpb.MsgApp, term, entry(last+1, term), entry(last+3, term)),
		"no index":       message(raftpb.MsgApp, term, &raftpb.Entry{}),
		"later term":     message(raftpb.MsgApp, term, entry(last+1, term+1)),
		"no term":        message(raftpb.MsgApp, 0),
		"no term, beat":  message(raftpb.MsgHeartbeat, 0),
		"unknown type":   message(raftpb.MessageType(99), term),
		"answer, type":   message(raftpb.MsgReadIndexResp, term),
		"forget, entry":  message(raftpb.MsgForgetLeader, term, entry(last+1, 0)),
		"vote, entries":  message(raftpb.MsgVote, term, entry(0, 0)),
		"storage answer": message(raftpb.MsgStorageAppendResp, term),
	} {
		follower.core.Receive(m)
		n.settle()
		if end, _ := follower.storage.Log.LastIndex(); end != last {
			t.Fatalf("%s: the log ends with %d, not %d", name, end, last)
		}
	}
	beat := &raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), To: &from, From: &to, Term: &term, Context: []byte{1}}
	leader.core.Receive(beat)
	leader.core.Propose(&Proposal{Command: command(t, "s", 1)})
	n.tick(3 * DefaultElectionTicks)
	if s := follower.core.Status(); len(leader.done) != 1 || s.Lead != 1 || s.Term != term {
		t.Errorf("the cluster was disturbed: %+v", s)
	}
}
