package node

import "baton/eventstore/replica"

// Errors of Append and ConfirmLeader, the same values as in package replica.
var (
	ErrNoLeader = replica.ErrNoLeader
	ErrTimeout  = replica.ErrTimeout
	ErrStopped  = replica.ErrStopped
	ErrBusy     = replica.ErrBusy
)

// NotLeaderError says that another node leads. Nothing was appended.
type NotLeaderError = replica.NotLeaderError
