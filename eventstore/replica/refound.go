package replica

import (
	"context"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"baton/eventstore/membership"
)

// Refound makes a log that was restored from a backup the log of a new cluster
// with one voter, the founder. Everything in the log must be applied by the
// machine; the new entries are appended, committed and applied.
//
// Why this is safe: the cluster has a new id, so no node of the old one links
// up with it, and its log is in one place only, so that whatever it is extended
// by is agreed on by all its voters. The entries belong to a term above every
// term of the log and of the state file; others that join the cluster get them
// as part of the log, like any change of its members. A majority of the old
// voters can never decide anything here: the configuration before the change
// has no member that exists in the new cluster.
func Refound(ctx context.Context, s *Storage, m *Machine, founder membership.Member, found membership.FoundChange) error {
	last, err := s.Log.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	if last == 0 || m.applied != last {
		return fmt.Errorf("found a cluster on a restored log: entry %d of %d is applied", m.applied, last)
	}
	logTerm, err := s.Log.Term(last)
	if err != nil {
		return fmt.Errorf("read the log's last term: %w", err)
	}
	stateTerm, _, _, err := s.State.Load()
	if err != nil {
		return fmt.Errorf("load term and vote: %w", err)
	}
	term := max(logTerm, stateTerm) + 1
	entries, err := refoundingEntries(m.conf, last+1, term, founder, found)
	if err != nil {
		return err
	}
	if err := s.State.Save(term, 0); err != nil {
		return fmt.Errorf("save term and vote: %w", err)
	}
	if err := s.Log.Append(entries); err != nil {
		return fmt.Errorf("write the founding: %w", err)
	}
	last += uint64(len(entries))
	if err := s.Commit.Raise(last); err != nil {
		return err
	}
	if err := Replay(ctx, s, m, last, nil); err != nil {
		return err
	}
	if voters := m.conf.GetVoters(); len(voters) != 1 || voters[0] != uint64(founder.ID) || len(m.conf.GetLearners())+len(m.conf.GetVotersOutgoing()) > 0 {
		panic(fmt.Sprintf("replica: the founder is %s, the configuration became %v", founder.ID, m.conf))
	}
	return nil
}

// refoundingEntries leave a joint configuration if there is one, enter the
// joint one of all former voters and the founder, and leave it.
func refoundingEntries(conf *raftpb.ConfState, index, term uint64, founder membership.Member, found membership.FoundChange) ([]*raftpb.Entry, error) {
	leave := &raftpb.ConfChangeV2{}
	enter := &raftpb.ConfChangeV2{
		Transition: raftpb.ConfChangeTransitionJointExplicit.Enum(),
		Context: membership.Change{
			Refound: &found, Put: []membership.Member{founder}, Reason: "restored from a backup",
		}.Encode(),
	}
	add := func(typ raftpb.ConfChangeType, id uint64) {
		enter.Changes = append(enter.Changes, &raftpb.ConfChangeSingle{Type: typ.Enum(), NodeId: &id})
	}
	add(raftpb.ConfChangeAddNode, uint64(founder.ID))
	var changes []*raftpb.ConfChangeV2
	if len(conf.GetVotersOutgoing()) > 0 {
		changes = append(changes, leave)
	}
	for _, ids := range [][]uint64{conf.GetVoters(), conf.GetLearners(), conf.GetLearnersNext()} {
		for _, id := range ids {
			add(raftpb.ConfChangeRemoveNode, id)
		}
	}
	changes = append(changes, enter, leave)
	entries := make([]*raftpb.Entry, len(changes))
	for i, change := range changes {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(change)
		if err != nil {
			return nil, fmt.Errorf("encode the founding: %w", err)
		}
		at, of := index+uint64(i), term
		entries[i] = &raftpb.Entry{Type: raftpb.EntryConfChangeV2.Enum(), Index: &at, Term: &of, Data: data}
	}
	return entries, nil
}
