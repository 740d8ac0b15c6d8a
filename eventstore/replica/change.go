package replica

import (
	"errors"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// Errors of configuration changes.
var (
	// ErrChangeRunning: another change is not finished.
	ErrChangeRunning = errors.New("another configuration change is running")
	// ErrNotCaughtUp: a clone did not come to hold every committed entry in time.
	ErrNotCaughtUp = errors.New("clone did not catch up in time")
)

// Bounds of waiting for a clone, in ticks.
const (
	// holdAfterTicks is when new commands are held back so that the clone can
	// reach the commit index, which otherwise moves on under it.
	holdAfterTicks = 10
	// holdForTicks is how long they are held at most.
	holdForTicks = 6
)

// Change is one change of raft's configuration with the roster change that
// belongs to it. Core lists it in Effects.Changes when it is in force or failed.
type Change struct {
	Voters   []uint64 // become voters
	Learners []uint64 // become or stay learners; a voter among them is demoted
	Demote   []uint64 // voters that become learners; one that was removed since the decision stays away
	Remove   []uint64
	Context  []byte // encoded membership.Change, applied with the entry
	// NeedMatch is the commit index at the decision; every new voter that was a
	// learner must hold it, and in addition everything committed when the change
	// is proposed.
	NeedMatch uint64

	Err  error
	Done chan struct{} // belongs to the shell

	started  uint64 // tick
	holding  bool
	proposed bool
	index    uint64 // of its entry; 0 before
	term     uint64
}

func (ch *Change) inLog() bool { return ch.index != 0 }

func (ch *Change) noteEntry(entry *raftpb.Entry) {
	if ch.proposed && ch.index == 0 {
		ch.index, ch.term = entry.GetIndex(), entry.GetTerm()
	}
}

// ChangeConf takes a change. Only one runs at a time.
func (c *Core) ChangeConf(ch *Change) {
	switch {
	case c.state != raft.StateLeader || !c.serving:
		ch.Err = ErrNotAppended
	case c.changeRunning():
		ch.Err = ErrChangeRunning
	default:
		ch.started = c.ticks
		c.change = ch
		return
	}
	c.out.Changes = append(c.out.Changes, ch)
}

func (c *Core) changeRunning() bool {
	return c.change != nil || c.confIndex > c.applied || len(c.conf.GetVotersOutgoing()) > 0
}

func (c *Core) canChange() bool {
	if c.change == nil || c.change.proposed || !c.serving || c.Transferring() != 0 {
		return false
	}
	waited := c.ticks - c.change.started
	return c.caughtUp(c.change) || waited > holdAfterTicks && !c.change.holding || waited > holdAfterTicks+holdForTicks
}

// caughtUp reports whether every node that becomes a voter is a member and holds
// all entries committed now. One removed since the decision is no member.
func (c *Core) caughtUp(ch *Change) bool {
	if c.catchUpOff {
		return true
	}
	need := max(ch.NeedMatch, c.rn.BasicStatus().GetCommit())
	fit := make(map[uint64]bool, len(ch.Voters))
	c.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		fit[id] = typ != raft.ProgressTypeLearner || pr.Match >= need
	})
	return !slices.ContainsFunc(ch.Voters, func(id uint64) bool { return !fit[id] })
}

// members are those of ids that are members now.
func (c *Core) members(ids []uint64) []uint64 {
	known := make(map[uint64]bool, len(ids))
	c.rn.WithProgress(func(id uint64, _ raft.ProgressType, _ tracker.Progress) { known[id] = true })
	return slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { return !known[id] })
}

func (c *Core) tryChange() {
	ch := c.change
	if !c.canChange() {
		return
	}
	if !c.caughtUp(ch) {
		if waited := c.ticks - ch.started; waited > holdAfterTicks+holdForTicks {
			c.finishChange(ErrNotCaughtUp)
		} else {
			ch.holding = true
		}
		return
	}
	conf := &raftpb.ConfChangeV2{Transition: raftpb.ConfChangeTransitionAuto.Enum(), Context: ch.Context}
	add := func(typ raftpb.ConfChangeType, ids []uint64) {
		for _, id := range ids {
			conf.Changes = append(conf.Changes, &raftpb.ConfChangeSingle{Type: typ.Enum(), NodeId: &id})
		}
	}
	add(raftpb.ConfChangeAddNode, ch.Voters)
	add(raftpb.ConfChangeAddLearnerNode, ch.Learners)
	add(raftpb.ConfChangeAddLearnerNode, c.members(ch.Demote))
	add(raftpb.ConfChangeRemoveNode, ch.Remove)
	ch.proposed, ch.holding = true, false
	if err := c.rn.ProposeConfChange(conf); err != nil {
		c.finishChange(ErrChangeRunning)
		return
	}
}

// changeApplied finishes the change once it is in force: applied, and any joint
// configuration left.
func (c *Core) changeApplied() {
	ch := c.change
	if ch == nil || !ch.proposed || ch.index == 0 || ch.index > c.applied || len(c.conf.GetVotersOutgoing()) > 0 {
		return
	}
	c.finishChange(nil)
}

func (c *Core) finishChange(err error) {
	c.change.Err = err
	c.out.Changes = append(c.out.Changes, c.change)
	c.change = nil
}
