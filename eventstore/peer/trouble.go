package peer

import (
	"errors"
	"time"

	"baton/eventstore/membership"
)

// errNoLink: nothing is known of how to reach the member.
var errNoLink = errors.New("its address is not known")

// errNotLinked: the link went down just now, or was never up.
var errNotLinked = errors.New("the link is down")

// LinkError says why a member cannot be reached now: the error of the last attempt.
// nil while the link is up.
func (n *Network) LinkError(id membership.MemberID) error {
	l := (*n.routes.Load())[uint64(id)]
	if l == nil {
		return errNoLink
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.conn != nil:
		return nil
	case l.lastErr != nil:
		return l.lastErr
	}
	return errNotLinked
}

// heard ends the wait for the answer to a status.
func (n *Network) heard(c *conn, answered bool) {
	if at := c.reported.Swap(0); at != 0 && n.handler.Heard != nil {
		n.handler.Heard(time.Duration(time.Now().UnixNano()-at), answered)
	}
}
