package rpc

import (
	"context"
	"fmt"
	"sync/atomic"

	"baton/eventstore/access"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
)

// streamAccess decides about streams from what this node has applied: the lists in streams' metadata are part of their heads, the defaults of
// `$settings` are kept as long as its head does not change.
type streamAccess struct {
	reader   *reader.Reader
	options  access.Options
	settings atomic.Pointer[settingsAt]
}

// settingsAt are the defaults that the settings stream's head shows.
type settingsAt struct {
	last, meta int64
	settings   access.Settings
}

// Check refuses what the call's caller may not do with a stream, metadata streams included. It returns nil, an error that fail answers as
// PERMISSION_DENIED, or one of the disk. On an insecure node it costs one branch, on a secure one two looks into memory.
func (a *Access) Check(ctx context.Context, action access.Action, name string) error {
	if !a.secure {
		return nil
	}
	return a.checkFor(callerOf(ctx), action, name)
}

func (a *Access) checkFor(c *Caller, action access.Action, name string) error {
	ok, err := a.streams.allowed(c, action, name)
	if err != nil {
		return err
	}
	if !ok {
		return &denied{caller: c.Name, action: action, stream: name}
	}
	return nil
}

// Visible says which events the call's caller may see in $all, and which targets of links there: nil for everything. For anybody but administrators it
// leaves out events of streams that the caller may not read, and those that were deleted or truncated: the list that protected them may be gone with
// them. live is for subscriptions, which outlast changes of the caller's rights: the answer is never nil on a secure node then. Give it to the reader.
func (a *Access) Visible(ctx context.Context, live bool) reader.Allow {
	return a.allow(ctx, true, live)
}

// Readable says which streams the call's caller may read now: nil for every one. It judges the targets of links, and with live whether a subscription
// to one stream may go on.
func (a *Access) Readable(ctx context.Context, live bool) reader.Allow {
	return a.allow(ctx, false, live)
}

func (a *Access) allow(ctx context.Context, all, live bool) reader.Allow {
	if !a.secure {
		return nil
	}
	caller := callerOf(ctx)
	if !live && caller.IsAdmin() {
		return nil
	}
	return func(name string, revision int64) bool {
		now := caller
		if live {
			if now = a.current(caller); now == nil {
				return false
			}
		}
		if now.IsAdmin() {
			return true
		}
		if all && a.streams.hidden(name, revision) {
			return false
		}
		allowed, err := a.streams.allowed(now, access.Read, name)
		return err == nil && allowed
	}
}

func (s *streamAccess) allowed(p *access.Principal, action access.Action, name string) (bool, error) {
	action, name = access.Target(action, name)
	if p.IsAdmin() { // their lists need not be looked up
		return access.Allowed(p, action, name, nil, nil, s.options), nil
	}
	head, err := s.reader.Head(name)
	if err != nil {
		return false, fmt.Errorf("look up who may use stream %q: %w", name, err)
	}
	var own *stream.ACL
	if head.Meta != nil {
		own = head.Meta.ACL
	}
	settings, err := s.defaults()
	if err != nil {
		return false, err
	}
	return access.Allowed(p, action, name, own, settings, s.options), nil
}

// hidden says that an event in $all is one that a read of its stream would not show.
func (s *streamAccess) hidden(name string, revision int64) bool {
	head, err := s.reader.Head(name)
	switch {
	case err != nil || head.Tombstoned:
		return true
	case stream.IsMetaStream(name):
		return revision < head.Last
	}
	return head.Meta != nil && revision < head.Meta.TruncateBefore
}

// defaults returns the lists of the settings stream as this node has applied it.
func (s *streamAccess) defaults() (*access.Settings, error) {
	head, err := s.reader.Head(access.SettingsStream)
	if err != nil {
		return nil, fmt.Errorf("look up the default access lists: %w", err)
	}
	at := s.settings.Load()
	if at != nil && at.last == head.Last && at.meta == head.MetaLast {
		return &at.settings, nil
	}
	at = &settingsAt{last: head.Last, meta: head.MetaLast}
	if head.Last >= 0 && !head.Tombstoned {
		_, err = s.reader.Stream(context.Background(), reader.StreamQuery{Stream: access.SettingsStream, FromEnd: true, Backwards: true, Count: 1}, func(e *reader.Event) error {
			at.last = e.Revision // what was read, should the head have moved on
			if e.Type == access.SettingsType {
				at.settings = *access.ParseSettings(e.Data())
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the default access lists: %w", err)
		}
	}
	s.settings.Store(at)
	return &at.settings, nil
}

// denied: the caller is known, or anonymous, and may not do this with the stream. The text is the same whether the stream exists or not.
type denied struct {
	caller string
	action access.Action
	stream string
}

func (e *denied) Error() string {
	who := "a caller without credentials"
	if e.caller != "" {
		who = "user " + e.caller
	}
	return fmt.Sprintf("access denied: %s may not %s stream %q", who, e.action, e.stream)
}

func (e *denied) Unwrap() error { return errAccessDenied }
