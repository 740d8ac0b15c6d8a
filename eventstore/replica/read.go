package replica

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Read asks whether this node leads and how far it must have applied to answer
// as of now. Core lists it in Effects.Reads when both are settled.
type Read struct {
	// Err: nil, or ErrNotAppended when this node does not lead.
	Err error
	// Done belongs to the shell; Core does not touch it.
	Done chan struct{}

	answer *answer // set when the read confirms an answer to a command
}

// round is one confirmation asked of a quorum, for all reads that waited.
type round struct {
	number    uint64
	reads     []*Read
	confirmed bool
	index     uint64
}

// ReadIndex takes a read. All reads waiting at the next Ready share one round.
func (c *Core) ReadIndex(r *Read) {
	if c.state != raft.StateLeader {
		c.finishRead(r, ErrNotAppended)
		return
	}
	c.reads = append(c.reads, r)
}

func (c *Core) canRead() bool { return len(c.reads) > 0 && c.serving }

func (c *Core) startRead() {
	if !c.canRead() {
		return
	}
	c.roundCount++
	var context [8]byte
	binary.BigEndian.PutUint64(context[:], c.roundCount)
	c.rounds = append(c.rounds, round{number: c.roundCount, reads: c.reads})
	c.reads = nil
	c.rn.ReadIndex(context[:])
}

func (c *Core) readConfirmed(state raft.ReadState) {
	if len(state.RequestCtx) != 8 {
		return
	}
	number := binary.BigEndian.Uint64(state.RequestCtx)
	for i := range c.rounds {
		if c.rounds[i].number == number {
			c.rounds[i].confirmed, c.rounds[i].index = true, state.Index
		}
	}
	c.readsApplied()
}

// readsApplied finishes the confirmed rounds whose index has been applied.
func (c *Core) readsApplied() {
	kept := c.rounds[:0]
	for _, r := range c.rounds {
		if !r.confirmed || r.index > c.applied {
			kept = append(kept, r)
			continue
		}
		for _, read := range r.reads {
			c.finishRead(read, nil)
		}
	}
	c.rounds = kept
}

func (c *Core) failReads() {
	for _, r := range c.rounds {
		for _, read := range r.reads {
			c.finishRead(read, ErrNotAppended)
		}
	}
	c.rounds = nil
	for _, read := range c.reads {
		c.finishRead(read, ErrNotAppended)
	}
	c.reads = nil
}

func (c *Core) finishRead(r *Read, err error) {
	if r.answer != nil {
		c.finish(r.answer.proposal, r.answer.outcome, err)
		return
	}
	r.Err = err
	c.out.Reads = append(c.out.Reads, r)
}

// confStateCopy returns a copy, so that nobody changes raft's own.
func confStateCopy(cs *raftpb.ConfState) *raftpb.ConfState {
	autoLeave := cs.GetAutoLeave()
	return &raftpb.ConfState{
		Voters:         append([]uint64(nil), cs.GetVoters()...),
		Learners:       append([]uint64(nil), cs.GetLearners()...),
		VotersOutgoing: append([]uint64(nil), cs.GetVotersOutgoing()...),
		LearnersNext:   append([]uint64(nil), cs.GetLearnersNext()...),
		AutoLeave:      &autoLeave,
	}
}
