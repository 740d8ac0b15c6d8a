package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"baton/eventstore/index"
	"baton/eventstore/membership"
	"baton/eventstore/stream"
	"baton/platform/vfs"
)

// Goal: wherever in a cluster's life a backup ends, also inside a joint
// configuration, its log becomes that of a new cluster with one voter, which
// leads, takes writes, and is joined by an empty node that comes to hold
// everything.
func TestEveryPrefixOfALogCanBeFoundedAnew(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 5)
	leader := n.lead(1)
	change := func(ch *Change) {
		t.Helper()
		before := len(leader.changes)
		leader.core.ChangeConf(ch)
		n.until("the change is in force", func() bool { return len(leader.changes) > before })
		if ch.Err != nil {
			t.Fatal(ch.Err)
		}
	}
	put := func(number int) {
		t.Helper()
		p := &Proposal{Command: command(t, "orders", number)}
		leader.core.Propose(p)
		n.until("the write is done", func() bool { return p.Outcome.Kind == stream.Done })
	}
	put(1)
	for _, id := range []membership.MemberID{4, 5} {
		change(&Change{Learners: []uint64{uint64(id)}, Context: membership.Change{Put: []membership.Member{{ID: id}}}.Encode()})
	}
	put(2)
	n.until("the clones have everything", func() bool {
		return n.sites[4].core.applied == leader.core.applied && n.sites[5].core.applied == leader.core.applied
	})
	change(&Change{Voters: []uint64{4, 5}, Demote: []uint64{2, 3}}) // joint: in and out
	put(3)
	change(&Change{Remove: []uint64{3}, Context: membership.Change{Remove: []membership.MemberID{3}}.Encode()})
	put(4)
	n.until("all is applied", func() bool { last, _ := leader.storage.Log.LastIndex(); return leader.core.applied == last })

	last, err := leader.storage.Log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	joint := 0
	for upTo := uint64(3); upTo <= last; upTo++ {
		entries, err := leader.storage.Log.Entries(1, upTo+1, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		s := &site{id: 77, fs: vfs.NewMem()}
		m := &net{t: t, sites: map[uint64]*site{77: s}, order: []uint64{77}}
		m.open(s)
		if err := s.storage.Log.Append(entries); err != nil {
			t.Fatal(err)
		}
		memory := index.NewMemory()
		machine, err := NewMachine(s.storage, memory, index.NewHeads(memory, s.storage.Log, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := Replay(t.Context(), s.storage, machine, upTo, nil); err != nil {
			t.Fatalf("entry %d: %v", upTo, err)
		}
		if upTo == last && !proto.Equal(machine.ConfState(), leader.machine.ConfState()) {
			t.Fatalf("replayed to %v, in the cluster it is %v", machine.ConfState(), leader.machine.ConfState())
		}
		if len(machine.ConfState().GetVotersOutgoing()) > 0 {
			joint++
		}
		members := machine.Roster().Clone().Members
		found := membership.FoundChange{ClusterID: "another", ClusterName: "n", ClusterSize: 3}
		if err := Refound(t.Context(), s.storage, machine, membership.Member{ID: 77}, found); err != nil {
			t.Fatalf("entry %d: %v", upTo, err)
		}
		roster := machine.Roster()
		if roster.ClusterID != "another" || roster.ClusterSize != 3 || len(roster.Members) != 1 || roster.Members[0].ID != 77 {
			t.Fatalf("entry %d: roster %+v", upTo, roster)
		}
		for _, gone := range members {
			if !roster.WasRemoved(gone.ID) {
				t.Fatalf("entry %d: %s may come back: %+v", upTo, gone.ID, roster)
			}
		}
		m.boot(s) // applies everything once more, as a node without an index does
		fresh := &site{id: 78, fs: vfs.NewMem()}
		m.sites[78], m.order = fresh, append(m.order, 78)
		m.open(fresh)
		m.boot(fresh)
		if m.until("it is applied", func() bool { return s.core.Status().Serving }); !proto.Equal(s.machine.ConfState(), &raftpb.ConfState{Voters: []uint64{77}, AutoLeave: new(bool)}) {
			t.Fatalf("entry %d: configuration %v", upTo, s.machine.ConfState())
		}
		if term, _ := s.storage.Log.Term(upTo + 1); term <= entries[len(entries)-1].GetTerm() {
			t.Fatalf("entry %d: founded in term %d", upTo, term)
		}
		for _, ch := range []*Change{
			{Learners: []uint64{78}, Context: membership.Change{Put: []membership.Member{{ID: 78}}}.Encode()},
			{Voters: []uint64{78}},
		} {
			before := len(s.changes)
			s.core.ChangeConf(ch)
			m.until("the other joins", func() bool { return len(s.changes) > before })
			if ch.Err != nil {
				t.Fatalf("entry %d: %v", upTo, ch.Err)
			}
		}
		p := &Proposal{Command: command(t, "orders", 100)}
		s.core.Propose(p)
		m.until("a write is done on both", func() bool {
			return p.Outcome.Kind == stream.Done && fresh.core.applied == s.core.applied
		})
		if a, b := s.storage.Log.End(), fresh.storage.Log.End(); a != b {
			t.Fatalf("entry %d: logs end at %d and %d", upTo, a, b)
		}
	}
	if joint == 0 {
		t.Error("no prefix ended in a joint configuration")
	}
}

// Goal: a log of which not all is applied is not founded anew.
func TestRefoundWantsEverythingApplied(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 1, 1)
	s := n.sites[1]
	memory := index.NewMemory()
	machine, err := NewMachine(s.storage, memory, index.NewHeads(memory, s.storage.Log, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	before := s.storage.Log.End()
	if err := Refound(t.Context(), s.storage, machine, membership.Member{ID: 9}, membership.FoundChange{ClusterID: "x", ClusterSize: 1}); err == nil || s.storage.Log.End() != before {
		t.Errorf("%v; the log ends at %d after %d", err, s.storage.Log.End(), before)
	}
}
