package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/peer"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
	"baton/platform/trace"
)

// forwarded is the answer to a forwarded command.
type forwarded struct {
	Result  forwardResult   `json:"result"`
	Outcome *stream.Outcome `json:"outcome,omitempty"`
	Text    string          `json:"text,omitempty"`
}

type forwardResult string

const (
	forwardDone        forwardResult = "done"
	forwardNotAppended forwardResult = "not-appended" // safe to send again
	forwardUnknown     forwardResult = "unknown"
	forwardBusy        forwardResult = "busy"
	forwardFailed      forwardResult = "failed"
)

// Append runs one command. A follower or clone forwards it to the leader unless
// requireLeader; a read-only replica never forwards. While leadership moves, and
// as long as the command is known not to have been appended, it is kept and sent
// again within the write timeout. Errors: *NotLeaderError, ErrNoLeader, ErrBusy,
// ErrStopped (nothing was appended), ErrTimeout (unknown).
func (n *Node) Append(ctx context.Context, cmd *stream.Command, requireLeader bool) (stream.Outcome, error) {
	r := n.replica.Load()
	if r == nil {
		return stream.Outcome{}, ErrNoLeader
	}
	status := r.Status()
	if status.State != raftLeader && (requireLeader || n.cfg.ReadOnlyReplica) {
		return stream.Outcome{}, r.LeaderError()
	}
	began := time.Now()
	if status.IsLeader() {
		outcome, err := n.appendHere(ctx, r, cmd)
		if !errors.Is(err, replica.ErrNotAppended) {
			return outcome, err
		}
	}
	ctx, cancel := context.WithDeadline(ctx, began.Add(n.cfg.WriteTimeout))
	defer cancel()
	for {
		outcome, err := n.appendOnce(ctx, r, cmd)
		if !errors.Is(err, replica.ErrNotAppended) {
			return outcome, err
		}
		if err := n.waitForLeader(ctx, r); err != nil {
			return stream.Outcome{}, err
		}
	}
}

// writeTimers are stopped timers for appendHere.
var writeTimers = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}}

// appendHere tries on this node, which leads. ErrNotAppended says: try again.
func (n *Node) appendHere(ctx context.Context, r *replica.Replica, cmd *stream.Command) (stream.Outcome, error) {
	p, err := r.Start(cmd)
	if err != nil {
		return stream.Outcome{}, err
	}
	timer := writeTimers.Get().(*time.Timer)
	timer.Reset(n.cfg.WriteTimeout)
	outcome, err := r.AwaitUntil(ctx, timer.C, p)
	timer.Stop() // since Go 1.23 nothing is delivered after this
	writeTimers.Put(timer)
	return outcome, unknownIfStopped(err)
}

// Start is the first half of Append on a node that leads: commands are judged
// in the order of Start. Errors: ErrNotAppended (this node does not lead now; use
// Append), ErrBusy.
func (n *Node) Start(cmd *stream.Command) (*replica.Proposal, error) {
	r := n.replica.Load()
	if r == nil || !r.Status().IsLeader() {
		return nil, replica.ErrNotAppended
	}
	return r.Start(cmd)
}

// Await is the second half: it waits for the outcome within the context. Errors:
// ErrNotAppended (it may be given to Append), ErrTimeout (unknown).
func (n *Node) Await(ctx context.Context, p *replica.Proposal) (stream.Outcome, error) {
	outcome, err := n.replica.Load().Await(ctx, p)
	return outcome, unknownIfStopped(err)
}

// unknownIfStopped says of a command handed to a replica that stopped what is
// known: nothing. Others may have it.
func unknownIfStopped(err error) error {
	if errors.Is(err, ErrStopped) {
		return ErrTimeout
	}
	return err
}

// appendOnce tries here or at the leader. ErrNotAppended says: try again.
func (n *Node) appendOnce(ctx context.Context, r *replica.Replica, cmd *stream.Command) (stream.Outcome, error) {
	status := r.Status()
	switch status.Lead {
	case 0:
		return stream.Outcome{}, replica.ErrNotAppended
	case status.ID:
		if !status.IsLeader() {
			return stream.Outcome{}, replica.ErrNotAppended
		}
		outcome, err := r.Propose(ctx, cmd)
		return outcome, unknownIfStopped(err)
	}
	return n.forward(ctx, membership.MemberID(status.Lead), cmd)
}

// waitForLeader waits until there is somebody to send to: not the same leader in
// the same state as before, unless it is this node and ready.
func (n *Node) waitForLeader(ctx context.Context, r *replica.Replica) error {
	err := n.waitFor(ctx, func() bool {
		status := r.Status()
		if status.Lead == status.ID {
			return status.IsLeader()
		}
		if status.Lead == 0 {
			return false
		}
		id := membership.MemberID(status.Lead)
		if !n.network.Up(id) {
			return false
		}
		// A leader that does not serve yet lets commands wait. Only its own word,
		// as new as ours, that it does not lead keeps us from asking.
		leader, ok := n.peers.get(id)
		return !ok || leader.Term < status.Term || leader.State == membership.StateLeader || leader.State == membership.StatePreLeader
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrStopped):
		return ErrStopped
	}
	return ErrNoLeader
}

func (n *Node) forward(ctx context.Context, leader membership.MemberID, cmd *stream.Command) (stream.Outcome, error) {
	if cmd.Trace != nil {
		return n.forwardTraced(ctx, leader, cmd)
	}
	payload, err := n.network.Request(ctx, leader, requestAppend, cmd.Bytes())
	return n.forwardAnswer(ctx, payload, err)
}

// forwardAnswer reads the leader's answer to a forwarded command, or the error of
// asking.
func (n *Node) forwardAnswer(ctx context.Context, payload []byte, err error) (stream.Outcome, error) {
	var remote *peer.RemoteError
	switch {
	case errors.Is(err, peer.ErrUnreachable):
		return stream.Outcome{}, replica.ErrNotAppended
	case errors.As(err, &remote):
		return stream.Outcome{}, fmt.Errorf("the leader refused the command: %w", err)
	case err != nil:
		return stream.Outcome{}, ErrTimeout
	}
	var answer forwarded
	if err := json.Unmarshal(payload, &answer); err != nil {
		return stream.Outcome{}, ErrTimeout
	}
	switch answer.Result {
	case forwardDone:
		if answer.Outcome == nil {
			return stream.Outcome{}, ErrTimeout // nothing is known
		}
		n.showOwnWrite(ctx, *answer.Outcome)
		return *answer.Outcome, nil
	case forwardNotAppended:
		return stream.Outcome{}, replica.ErrNotAppended
	case forwardBusy:
		return stream.Outcome{}, ErrBusy
	case forwardUnknown:
		return stream.Outcome{}, ErrTimeout
	}
	return stream.Outcome{}, fmt.Errorf("the leader refused the command: %s", answer.Text)
}

// ownWriteWait bounds how long an acknowledgement of a forwarded write is held
// back for this node to apply it.
const ownWriteWait = 500 * time.Millisecond

// showOwnWrite waits until what the leader just acknowledged is visible here, so
// that a client reads its own writes from the node that took them. The commit is
// already under way to this node; one that is far behind, or cut off just now,
// does not hold the answer back: the write is durable either way.
func (n *Node) showOwnWrite(ctx context.Context, outcome stream.Outcome) {
	if outcome.Kind != stream.Done || !outcome.HasPosition {
		return
	}
	mark := n.machine.Watermark()
	switch applied := mark.Applied(); {
	case applied > outcome.Position, outcome.Position > applied+catchingUpBytes:
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ownWriteWait)
	defer cancel()
	_ = mark.Wait(ctx, outcome.Position) // not shown in time: still acknowledged
}

// answerAppend runs a command another node forwarded. It is not passed on: the
// sender finds out who leads.
func (n *Node) answerAppend(ctx context.Context, payload []byte, follow *trace.Context) ([]byte, error) {
	cmd, err := stream.ParseCommand(payload)
	if err != nil {
		return nil, err
	}
	cmd.Trace = follow
	ctx, cancel := context.WithTimeout(ctx, n.cfg.WriteTimeout)
	defer cancel()
	r := n.replica.Load()
	if r == nil {
		return json.Marshal(forwarded{Result: forwardNotAppended})
	}
	outcome, err := r.Propose(ctx, cmd)
	switch {
	case err == nil:
		return json.Marshal(forwarded{Result: forwardDone, Outcome: &outcome})
	case errors.Is(err, replica.ErrNotAppended):
		return json.Marshal(forwarded{Result: forwardNotAppended})
	case errors.Is(err, ErrBusy):
		return json.Marshal(forwarded{Result: forwardBusy})
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrStopped):
		return json.Marshal(forwarded{Result: forwardUnknown})
	}
	return json.Marshal(forwarded{Result: forwardFailed, Text: err.Error()})
}

// ConfirmLeader returns nil once a quorum confirmed that this node leads and
// everything committed before the call is applied here, else *NotLeaderError.
func (n *Node) ConfirmLeader(ctx context.Context) error {
	r := n.replica.Load()
	if r == nil {
		return ErrNoLeader
	}
	err := r.ReadIndex(ctx)
	if errors.Is(err, replica.ErrNotAppended) {
		return r.LeaderError()
	}
	return err
}

// proposeRoster replicates a change of the roster that moves no votes.
func (n *Node) proposeRoster(ctx context.Context, r *replica.Replica, change membership.Change) error {
	cmd, err := stream.NewAdmin(replica.RosterRecord, change.Encode())
	if err != nil {
		return fmt.Errorf("encode membership change: %w", err)
	}
	_, err = r.Propose(ctx, cmd)
	return err
}
