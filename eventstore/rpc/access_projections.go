package rpc

import (
	"context"

	"baton/eventstore/access"
	"baton/eventstore/reader"
	"baton/eventstore/users"
)

// Known says whether there is a user of a login name now. The error says that it cannot be told yet.
func (a *Access) Known(login string) (bool, error) {
	if !a.secure {
		return true, nil
	}
	p, err := a.users.Principal(login)
	if err == nil && p == nil && !a.users.Ready() {
		err = users.ErrNotReady
	}
	return p != nil, err
}

// VisibleTo says which events a user sees, whatever becomes of the user's rights; nil: every event.
func (a *Access) VisibleTo(login string) reader.Allow {
	return a.Visible(WithCaller(context.Background(), Caller{Name: login}), true)
}

// MayWrite refuses a stream that a user may not write now.
func (a *Access) MayWrite(login, name string) error {
	if !a.secure {
		return nil
	}
	c := a.current(&Caller{Name: login})
	if c == nil {
		return &denied{caller: login, action: access.Write, stream: name}
	}
	return a.checkFor(c, access.Write, name)
}
