package subscriptions

import (
	"errors"
	"fmt"

	"baton/eventstore/subscription"
)

// Errors callers branch on. Beside them there are those of node.ConfirmLeader (*replica.NotLeaderError and the like), replica.ErrTimeout (the outcome is
// unknown) and replica.ErrStopped.
var (
	// ErrLoading: the node leads but has not read the groups yet; nothing was done.
	ErrLoading = errors.New("persistent subscriptions are being loaded; try again in a moment")
	// ErrFull: the group has all the consumers it may have.
	ErrFull = subscription.ErrFull
)

// Key names a group.
type Key struct {
	Stream string // stream.AllStream for all streams
	Group  string
}

func (k Key) String() string { return k.Stream + "::" + k.Group }

// NotFoundError: there is no such group. Group is empty when a stream has none at all.
type NotFoundError struct{ Key Key }

func (e *NotFoundError) Error() string {
	if e.Key.Group == "" {
		return fmt.Sprintf("stream %q has no persistent subscriptions", e.Key.Stream)
	}
	return fmt.Sprintf("persistent subscription group %q on stream %q does not exist", e.Key.Group, e.Key.Stream)
}

// ExistsError: the group exists already.
type ExistsError struct{ Key Key }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("persistent subscription group %q on stream %q exists already", e.Key.Group, e.Key.Stream)
}

// FailedError: the request cannot be carried out in the group's present state. Nothing was changed.
type FailedError struct {
	Key    Key
	Reason string
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("persistent subscription group %q on stream %q: %s", e.Key.Group, e.Key.Stream, e.Reason)
}

// DroppedError ends the calls of consumers: the group was changed or deleted, failed, or moved with the leadership.
type DroppedError struct {
	Key    Key
	Reason string
}

func (e *DroppedError) Error() string {
	return fmt.Sprintf("persistent subscription group %q on stream %q dropped its consumers: %s", e.Key.Group, e.Key.Stream, e.Reason)
}

// RequestError: the request makes no sense whatever the state.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return e.Reason }
