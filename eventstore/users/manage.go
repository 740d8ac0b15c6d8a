package users

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"baton/eventstore/access"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/platform/auth"
)

// Who may call what is decided by the callers of these methods.

const (
	// maxAttempts bounds how often a change is tried that meets another one.
	maxAttempts = 8
	// behindFor is how long a change waits for this node to apply what it met.
	behindFor = 500 * time.Millisecond
)

// limits of what this package writes itself.
var limits = stream.Limits{MaxEventBytes: 1 << 20, MaxAppendBytes: 2 << 20}

// Create makes an account. Errors: ErrExists, *InvalidError, those of Append.
func (s *Store) Create(ctx context.Context, login, fullName string, groups []string, password string) error {
	for _, err := range []error{CheckLogin(login), checkProfile(fullName, groups), checkPassword(password)} {
		if err != nil {
			return err
		}
	}
	if a, err := s.account(login); err != nil {
		return err
	} else if !a.gone {
		return ErrExists
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return err
	}
	outcome, err := s.write(ctx,
		stream.Write{Stream: accountPrefix + login, Expected: stream.NoStream, Events: []stream.Event{
			s.event(typeCreated, record{LoginName: login, FullName: fullName, Groups: noNil(groups), Hash: hash})}},
		stream.Write{Stream: listStream, Expected: stream.Any, Events: []stream.Event{listed(login)}})
	switch {
	case err != nil:
		return err
	case outcome.Kind != stream.Done:
		return ErrExists
	}
	return nil
}

// Update changes full name and groups. Errors: ErrNotFound, ErrTryAgain, ErrLastAdmin, *InvalidError, those of Append.
func (s *Store) Update(ctx context.Context, login, fullName string, groups []string) error {
	if err := checkProfile(fullName, groups); err != nil {
		return err
	}
	return s.change(ctx, login, false, func(r *record) error {
		if !slices.Contains(groups, access.Admins) {
			if err := s.anotherAdmin(ctx, r); err != nil {
				return err
			}
		}
		r.FullName, r.Groups = fullName, noNil(groups)
		return nil
	})
}

// SetDisabled disables or enables an account. Errors: those of Update.
func (s *Store) SetDisabled(ctx context.Context, login string, disabled bool) error {
	return s.change(ctx, login, false, func(r *record) error {
		if disabled {
			if err := s.anotherAdmin(ctx, r); err != nil {
				return err
			}
		}
		r.Disabled = disabled
		return nil
	})
}

// ResetPassword sets a password whatever it was. Errors: those of Update.
func (s *Store) ResetPassword(ctx context.Context, login, password string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.change(ctx, login, true, func(r *record) error {
		r.Hash = hash
		return nil
	})
}

// ChangePassword sets a password for somebody at an address who knows the present one. Errors: ErrWrong, ErrTooMany, ErrBusy, those of Update.
func (s *Store) ChangePassword(ctx context.Context, login, current, password, address string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	a, err := s.existing(login)
	if err != nil {
		return err
	}
	if c, err := s.check(ctx, login, current, address); err != nil {
		return err
	} else if !c.right {
		return ErrWrong
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.change(ctx, login, true, func(r *record) error {
		if r.Hash != a.record.Hash {
			return ErrTryAgain // the present password is not the one that was checked
		}
		r.Hash = hash
		return nil
	})
}

// Delete removes an account. Its history stays in the log. Errors: those of Update.
func (s *Store) Delete(ctx context.Context, login string) error {
	for range maxAttempts {
		a, err := s.existing(login)
		if err != nil {
			return err
		}
		if err := s.anotherAdmin(ctx, &a.record); err != nil {
			return err
		}
		cmd, err := stream.NewDelete(a.stream, stream.Expected(a.last))
		if err != nil {
			return err
		}
		outcome, err := s.backend.Append(ctx, cmd, false)
		if err != nil {
			return err
		}
		switch outcome.Kind {
		case stream.Done:
			return s.tell(ctx, login)
		case stream.StreamDeleted:
			return ErrNotFound
		}
		if err := s.behind(ctx, a); err != nil {
			return err
		}
	}
	return ErrTryAgain
}

// Details are those of one account. Errors: ErrNotFound, those of the disk.
func (s *Store) Details(login string) (Details, error) {
	a, err := s.existing(login)
	if err != nil {
		return Details{}, err
	}
	return a.details(), nil
}

// List calls f for each account, in the order they were first made. An error of f ends it.
func (s *Store) List(ctx context.Context, f func(Details) error) error {
	var logins []string
	seen := map[string]bool{}
	_, err := s.reader.Stream(ctx, reader.StreamQuery{Stream: listStream, FromStart: true, Count: 1 << 62}, func(e *reader.Event) error {
		if login := string(e.Data()); e.Type == typeListed && !seen[login] {
			seen[login] = true
			logins = append(logins, login)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, login := range logins {
		a, err := s.existing(login)
		if errors.Is(err, ErrNotFound) {
			continue // deleted
		}
		if err != nil {
			return err
		}
		if err := f(a.details()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) existing(login string) (*account, error) {
	if CheckLogin(login) != nil {
		return nil, ErrNotFound
	}
	a, err := s.account(login)
	if err != nil {
		return nil, err
	}
	if a.gone {
		return nil, ErrNotFound
	}
	return a, nil
}

// change writes an account anew. newPassword says that others are to be told.
func (s *Store) change(ctx context.Context, login string, newPassword bool, edit func(*record) error) error {
	for range maxAttempts {
		a, err := s.existing(login)
		if err != nil {
			return err
		}
		r := a.record
		if err := edit(&r); err != nil {
			return err
		}
		writes := []stream.Write{{Stream: a.stream, Expected: stream.Expected(a.last), Events: []stream.Event{s.event(typeUpdated, r)}}}
		if newPassword {
			writes = append(writes, s.notification(login))
		}
		outcome, err := s.write(ctx, writes...)
		if err != nil {
			return err
		}
		switch outcome.Kind {
		case stream.Done:
			return nil
		case stream.StreamDeleted:
			return ErrNotFound
		}
		if err := s.behind(ctx, a); err != nil {
			return err
		}
	}
	return ErrTryAgain
}

// behind waits until this node has applied the change that another one met, for a moment.
func (s *Store) behind(ctx context.Context, a *account) error {
	changed, stop := s.reader.Watch(a.stream)
	defer stop()
	if !s.holds(a) {
		return nil
	}
	timer := time.NewTimer(behindFor)
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return ErrTryAgain
	case <-ctx.Done():
		return ctx.Err()
	}
}

// anotherAdmin refuses to take the rights of the last one who can sign in and administrate users.
func (s *Store) anotherAdmin(ctx context.Context, r *record) error {
	if r.Disabled || !slices.Contains(r.Groups, access.Admins) {
		return nil
	}
	other := errors.New("found")
	err := s.List(ctx, func(d Details) error {
		if d.Login != r.LoginName && !d.Disabled && slices.Contains(d.Groups, access.Admins) {
			return other
		}
		return nil
	})
	switch {
	case errors.Is(err, other):
		return nil
	case err != nil:
		return err
	}
	return ErrLastAdmin
}

// tell writes that a password is not valid any more, for whoever listens.
func (s *Store) tell(ctx context.Context, login string) error {
	w := s.notification(login)
	cmd, err := stream.NewAppend(limits, w)
	if err != nil {
		return err
	}
	_, err = s.backend.Append(ctx, cmd, false)
	return err
}

func (s *Store) notification(login string) stream.Write {
	return stream.Write{Stream: notificationsStream, Expected: stream.Any, Events: []stream.Event{
		s.event(typePassword, struct {
			LoginName string `json:"loginName"`
		}{login})}}
}

func (s *Store) write(ctx context.Context, writes ...stream.Write) (stream.Outcome, error) {
	cmd, err := stream.NewMultiAppend(limits, writes, nil)
	if err != nil {
		return stream.Outcome{}, err
	}
	return s.backend.Append(ctx, cmd, false)
}

func (s *Store) event(kind string, body any) stream.Event {
	data, err := json.Marshal(body)
	if err != nil {
		panic("users: encode " + kind + ": " + err.Error()) // plain structs
	}
	return stream.Event{ID: uuid.New(), Type: kind, JSON: true, Data: data}
}

func listed(login string) stream.Event {
	return stream.Event{ID: uuid.New(), Type: typeListed, Data: []byte(login)}
}

func (s *Store) hash(ctx context.Context, password string) (string, error) {
	hash, err := auth.HashPasswordAt(ctx, password, s.cost)
	if errors.Is(err, auth.ErrBusy) {
		return "", ErrBusy
	}
	return hash, err
}

func noNil(groups []string) []string {
	if groups == nil {
		return []string{}
	}
	return slices.Clone(groups)
}
