package rpc

import (
	"context"
	"sync/atomic"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

// Backend is what the services need of a node; *node.Node is one.
type Backend interface {
	// Append carries a command out, forwarding it to the leader unless requireLeader. Errors: *replica.NotLeaderError, replica.ErrNoLeader,
	// replica.ErrBusy (nothing was appended), replica.ErrTimeout (unknown), replica.ErrStopped.
	Append(ctx context.Context, cmd *stream.Command, requireLeader bool) (stream.Outcome, error)
	// ConfirmLeader returns nil once a quorum confirmed that this node leads and everything committed before the call is applied here.
	ConfirmLeader(ctx context.Context) error
	// Reader reads what this node has applied.
	Reader() *reader.Reader
	// View is this node's picture of the cluster; Self its own entry in it.
	View() membership.View
	Self() membership.NodeView
	Resign(ctx context.Context) error
	SetPriority(ctx context.Context, priority int) error
}

// Starter is a Backend that, while it leads, takes commands in the order they are given and answers each later. Batch appends use it to keep many
// commands for one stream in flight in order.
type Starter interface {
	// Start hands a command over; its outcome is in the proposal once Done is closed. Errors: replica.ErrNotAppended (the node does not lead now: use Append), replica.ErrBusy.
	Start(cmd *stream.Command) (*replica.Proposal, error)
}

// leadingFor is how long an answer to "do I lead?" is believed. Believing it wrongly is harmless: a node that thinks it leads asks the quorum before it
// answers, and one that does not yet know that it leads answers as the follower it was.
const leadingFor = 20 * time.Millisecond

// leading is a cheap, slightly late answer to whether this node leads.
type leading struct {
	backend Backend
	at      atomic.Int64 // nanoseconds, of the last look
	yes     atomic.Bool
}

func (l *leading) now() bool {
	now := time.Now().UnixNano()
	at := l.at.Load()
	if now-at > int64(leadingFor) && l.at.CompareAndSwap(at, now) {
		l.yes.Store(l.backend.Self().Role == membership.RoleLeader)
	}
	return l.yes.Load()
}
