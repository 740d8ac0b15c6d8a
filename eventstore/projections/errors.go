package projections

import (
	"errors"
	"fmt"
)

// Errors callers branch on. Beside them there are those of node.ConfirmLeader (*replica.NotLeaderError and the like), replica.ErrTimeout (the outcome is
// unknown) and replica.ErrStopped.
var (
	// ErrLoading: the node leads but has not read the projections yet; nothing was done.
	ErrLoading = errors.New("projections are being loaded; try again in a moment")
)

// NotFoundError: there is no such projection.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("projection %q does not exist", e.Name) }

// ExistsError: a projection of the name exists already.
type ExistsError struct{ Name string }

func (e *ExistsError) Error() string { return fmt.Sprintf("projection %q exists already", e.Name) }

// StateError: the projection, or this server, is not in a state for the request. Nothing was changed.
type StateError struct{ Reason string }

func (e *StateError) Error() string { return e.Reason }

// RequestError: the request makes no sense whatever the state.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return e.Reason }
