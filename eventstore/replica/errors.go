package replica

import (
	"errors"

	"baton/eventstore/membership"
)

// Errors callers branch on.
var (
	// ErrNoLeader: no leader is known; nothing was appended.
	ErrNoLeader = errors.New("no leader is known")
	// ErrTimeout: the outcome is unknown; the command may still be applied.
	ErrTimeout = errors.New("timed out; the outcome is unknown")
	// ErrStopped: the replica has stopped. Commands handed over before may be applied.
	ErrStopped = errors.New("replica has stopped")
	// ErrBusy: too much is waiting; nothing was appended.
	ErrBusy = errors.New("too many commands are waiting")
	// ErrNotAppended: leadership moved before the command reached the log, or
	// the log entry that held it lost against another; it has not been and will
	// never be applied, so that sending it again, here or elsewhere, is safe.
	ErrNotAppended = errors.New("command was not appended")
)

// NotLeaderError says that this node does not lead. Nothing was appended.
type NotLeaderError struct {
	Leader *membership.Member // nil when unknown
}

func (e *NotLeaderError) Error() string {
	if e.Leader == nil {
		return "this node is not the leader, and none is known"
	}
	return "this node is not the leader; " + e.Leader.Label() + " at " + e.Leader.ClientAddress() + " is"
}

// Is makes a NotLeaderError without a leader match ErrNoLeader.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNoLeader && e.Leader == nil }
