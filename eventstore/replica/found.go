package replica

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"baton/eventstore/membership"
)

// Found writes the first entries of a founder's log: one configuration change
// for each founder, in order of id, of term 1 and committed by the founding
// itself. Every founder writes the same bytes. It may be repeated after a crash.
func Found(s *Storage, founding *membership.Founding) error {
	entries := FoundingEntries(founding)
	last, err := s.Log.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	if last < uint64(len(entries)) {
		if err := s.State.Save(1, 0); err != nil {
			return fmt.Errorf("save term and vote: %w", err)
		}
		if err := s.Log.Append(entries[last:]); err != nil {
			return fmt.Errorf("write the founding: %w", err)
		}
	}
	return s.Commit.Raise(uint64(len(entries)))
}

// FoundingEntries returns the entries that open the log of a cluster.
func FoundingEntries(founding *membership.Founding) []*raftpb.Entry {
	entries := make([]*raftpb.Entry, len(founding.Founders))
	for i, member := range founding.Founders {
		change := membership.Change{Put: []membership.Member{member}, Reason: "founder"}
		if i == 0 {
			change.Found = &membership.FoundChange{
				ClusterID: founding.ClusterID, ClusterName: founding.ClusterName, ClusterSize: founding.ClusterSize,
			}
		}
		id, index, term := uint64(member.ID), uint64(i+1), uint64(1)
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(&raftpb.ConfChange{
			Type: raftpb.ConfChangeAddNode.Enum(), NodeId: &id, Context: change.Encode(),
		})
		if err != nil {
			panic(fmt.Sprintf("replica: encode founding: %v", err))
		}
		entries[i] = &raftpb.Entry{Type: raftpb.EntryConfChange.Enum(), Index: &index, Term: &term, Data: data}
	}
	return entries
}
