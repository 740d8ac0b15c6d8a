// Package node assembles one event-store node: log, index, replica, links to
// the other nodes and the duties of its role.
package node

import (
	"context"
	"net/http"

	"baton/eventstore/membership"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
)

// HelloPath is where a node answers other nodes' seeds on its client port.
const HelloPath = "/peer/hello"

// Node is a running node. All methods may be called from any goroutine.
type Node struct{}

// PromoteResult tells what a promotion did.
type PromoteResult struct {
	Leader  membership.MemberID   `json:"leader"`
	Term    uint64                `json:"term,string"`
	TookMs  int64                 `json:"tookMs"`
	Changed []membership.MemberID `json:"changed"` // members whose role changed
}

// Start opens the data directory, begins to listen for peers and returns. The
// node founds or joins its cluster in the background; see View and Ready.
func Start(cfg Config) (*Node, error) { return nil, ErrStopped }

// Stop ends everything and returns when it has.
func (n *Node) Stop() {}

// Done delivers the reason once when the node stopped by itself: a failed disk,
// its removal from the cluster. It is closed when the node has stopped.
func (n *Node) Done() <-chan error { return nil }

// Append runs one command. A follower or clone forwards it to the leader unless
// requireLeader; a read-only replica never forwards. Errors: *NotLeaderError,
// ErrNoLeader, ErrBusy (nothing was appended), ErrTimeout (unknown), ErrStopped.
func (n *Node) Append(ctx context.Context, cmd *stream.Command, requireLeader bool) (stream.Outcome, error) {
	return stream.Outcome{}, ErrStopped
}

// Reader reads what this node has applied.
func (n *Node) Reader() *reader.Reader { return nil }

// ConfirmLeader returns nil once a quorum confirmed that this node leads and
// everything committed before the call is applied here, else *NotLeaderError.
func (n *Node) ConfirmLeader(ctx context.Context) error { return ErrStopped }

// View is this node's picture of the cluster.
func (n *Node) View() membership.View { return membership.View{} }

// Self is this node's own entry in View.
func (n *Node) Self() membership.NodeView { return membership.NodeView{} }

// Ready reports whether the node serves: it belongs to a cluster, knows a leader
// and has applied what it found. The text says what is awaited.
func (n *Node) Ready() (bool, string) { return false, "" }

// Promote makes the named member the leader (lead), or a clone a voter. Any
// node accepts it and passes it to the leader. Errors: *membership.Refusal.
func (n *Node) Promote(ctx context.Context, nameOrID string, lead bool) (PromoteResult, error) {
	return PromoteResult{}, ErrStopped
}

// Resign makes the leader hand over to the best follower; not chosen next. On a
// node that does not lead it is refused.
func (n *Node) Resign(ctx context.Context) error { return ErrStopped }

// SetPriority sets this node's own priority, replicated.
func (n *Node) SetPriority(ctx context.Context, priority int) error { return ErrStopped }

// SetClusterSize sets the number of voters wanted: 1, 3, 5, 7 or 9.
func (n *Node) SetClusterSize(ctx context.Context, size int) error { return ErrStopped }

// AddMember admits a node that runs at member.PeerAddr and has no cluster yet.
// It joins as a clone (or read-only replica). Only PeerAddr is needed.
func (n *Node) AddMember(ctx context.Context, member membership.Member) (membership.Member, error) {
	return membership.Member{}, ErrStopped
}

// RemoveMember removes a member for good. A leader hands over first.
func (n *Node) RemoveMember(ctx context.Context, nameOrID string) error { return ErrStopped }

// HelloHandler answers GET HelloPath on the client port with this node's peer
// address and cluster; nodes that have it as a seed ask there.
func (n *Node) HelloHandler() http.Handler { return http.NotFoundHandler() }
