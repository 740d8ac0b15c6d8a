package users

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"strings"

	"baton/eventstore/access"
	"baton/platform/auth"
)

// freeTries is how many wrong passwords for one account from one address cost no
// waiting. Repeats of the same wrong one count once.
const freeTries = 10

// maxHeaderBytes bounds an Authorization header.
const maxHeaderBytes = 8 << 10

// Authenticate reads an Authorization header that is not empty; from gives the
// address it came from and is asked only when the password must be checked. Errors: ErrWrong, also for a header it cannot read; ErrTooMany;
// ErrNotReady, ErrBusy and those of the disk: nothing is known, try again.
func (s *Store) Authenticate(ctx context.Context, header string, from func() string) (*access.Principal, error) {
	if len(header) > maxHeaderBytes {
		return nil, ErrWrong
	}
	key := s.headers.key(header)
	for {
		if c, ok := s.headers.find(key); ok && s.holds(c.account) {
			return c.verdict()
		}
		wait := s.headers.begin(key)
		if wait == nil {
			break
		}
		select { // somebody checks the very same header
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer s.headers.end(key)
	if c, ok := s.headers.find(key); ok && s.holds(c.account) {
		return c.verdict()
	}
	login, password, ok := ParseBasic(header)
	if !ok {
		return nil, ErrWrong
	}
	c, err := s.check(ctx, login, password, from())
	if err != nil {
		return nil, err
	}
	s.headers.put(key, c)
	return c.verdict()
}

func (c checked) verdict() (*access.Principal, error) {
	if !c.right || c.account.principal == nil {
		return nil, ErrWrong
	}
	return c.account.principal, nil
}

// check compares a password with an account. That nobody has the name takes as
// long and looks the same as a wrong password.
func (s *Store) check(ctx context.Context, login, password, address string) (checked, error) {
	account, err := s.account(login)
	if err != nil {
		return checked{}, err
	}
	if account.gone && !s.Ready() {
		return checked{}, ErrNotReady
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	source := login + "\x00" + address
	if s.limiter.Wait(source) > 0 {
		return checked{}, ErrTooMany
	}
	stored := account.record.Hash
	if account.gone {
		if stored, err = s.nobody(); err != nil {
			stored = "" // auth knows one of its own
		}
	}
	right, err := auth.VerifyPassword(ctx, password, stored)
	right = right && !account.gone
	switch {
	case errors.Is(err, auth.ErrBusy):
		return checked{}, ErrBusy
	case errors.Is(err, auth.ErrMalformedHash):
		s.logger.Error("the stored password of a user cannot be read; reset it", "user", login)
		right = false
	case err != nil:
		return checked{}, err
	}
	if right && account.principal != nil {
		s.limiter.Forget(source)
	} else {
		s.limiter.Fail(source)
	}
	return checked{account, right}, nil
}

// ParseBasic reads the header of Basic credentials. ok is false if it is not one,
// or names somebody who cannot exist.
func ParseBasic(header string) (login, password string, ok bool) {
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		return "", "", false
	}
	login, password, ok = strings.Cut(string(decoded), ":")
	if !ok || CheckLogin(login) != nil || len(password) > maxPasswordBytes {
		return "", "", false
	}
	return login, password, true
}
