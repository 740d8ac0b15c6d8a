package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"baton/control/access"
	"baton/control/audit"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/platform/auth"
)

// cookieName: the prefix makes browsers insist on TLS, path / and no domain;
// they would not store it over plain HTTP.
func cookieName(secure bool) string {
	if secure {
		return "__Host-baton"
	}
	return "baton"
}

func (s *Server) cookie(ctx context.Context, id string, age time.Duration) http.Cookie {
	secure := s.secureOf(ctx)
	c := http.Cookie{Name: cookieName(secure), Value: id, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode, MaxAge: int(age.Seconds())}
	if id == "" {
		c.MaxAge = -1
	}
	return c
}

func (s *Server) begin(ctx context.Context, user string, role string) (*sessionOutput, error) {
	id, session, err := s.sessions.Begin(user, role)
	if err != nil {
		return nil, s.internal(ctx, "begin a session", err)
	}
	return &sessionOutput{SetCookie: s.cookie(ctx, id, auth.SessionAbsolute),
		Body: Session{Username: user, Role: role, ExpiresAt: session.Expires}}, nil
}

func (s *Server) getSetupState(context.Context, *none) (*body[SetupState], error) {
	return &body[SetupState]{SetupState{NeedsSetup: s.Inventory.Users() == 0}}, nil
}

// postSetup makes the first user. The token goes with the first success.
func (s *Server) postSetup(ctx context.Context, in *setupInput) (*sessionOutput, error) {
	p := who(ctx)
	if problem := s.limited("address "+p.IP, s.origins); problem != nil {
		return nil, problem
	}
	done := &Problem{Title: "Set-up is done", Status: 409, Code: CodeSetupDone, Detail: "there is a user already", Fix: "sign in"}
	if s.Inventory.Users() > 0 {
		return nil, done
	}
	if !s.Setup.Valid(in.Body.Token, access.PurposeSetup) {
		s.origins.Fail("address " + p.IP)
		return nil, &Problem{Title: "The set-up link is not valid", Status: 403, Code: CodeSetupToken,
			Detail: "it was used, or the control plane has printed a newer one since", Fix: "use the link printed at the last start"}
	}
	if !inventory.ValidName(in.Body.Username) {
		return nil, &Problem{Title: "The user name is not valid", Status: 422, Code: CodeBadRequest, Detail: inventory.ErrName.Error()}
	}
	if why := auth.CheckPassword(in.Body.Password, in.Body.Username); why != "" {
		return nil, &Problem{Title: "The password is too weak", Status: 422, Code: CodeWeakPassword, Detail: why, Fix: "use a few words that do not belong together"}
	}
	hash, err := auth.HashPassword(ctx, in.Body.Password)
	if err != nil {
		return nil, busy(err)
	}
	err = s.Inventory.PutUser(ctx, inventory.User{Name: in.Body.Username, Role: string(RoleAdmin), Password: hash, At: s.Now()}, true)
	var conflict *journal.ConflictError
	if errors.As(err, &conflict) {
		return nil, done
	}
	if err != nil {
		return nil, s.internal(ctx, "record the first user", err)
	}
	if err := s.Setup.Redeem(in.Body.Token, access.PurposeSetup); err != nil {
		s.Log.Warn("the set-up link is not marked as used; there is a user now, so it opens nothing", "err", err)
	}
	s.asUser(ctx, in.Body.Username, RoleAdmin, audit.Record{What: "was made the first user", Outcome: audit.Done})
	return s.begin(ctx, in.Body.Username, string(RoleAdmin))
}

// asUser records an attempt in the name of a user who is not signed in yet.
func (s *Server) asUser(ctx context.Context, name string, role Role, r audit.Record) {
	p := who(ctx)
	p.Who.Name, p.Who.Role, p.Source = printable(name), string(role), "ui"
	s.record(context.WithValue(ctx, principalKey{}, p), r)
}

func (s *Server) limited(key string, l *auth.Limiter) *Problem {
	wait := l.Wait(key)
	if wait == 0 {
		return nil
	}
	seconds := int(math.Ceil(wait.Seconds()))
	return &Problem{Title: "Too many wrong tries", Status: 429, Code: CodeTooMany, Retry: true, retryAfterSeconds: seconds,
		Detail: fmt.Sprintf("try again in %d s", seconds), Fix: "wait, then try again"}
}

// postLogin answers the same, and as slowly, for an unknown user as for a
// wrong password.
func (s *Server) postLogin(ctx context.Context, in *loginInput) (*sessionOutput, error) {
	p := who(ctx)
	account, origin := "account "+in.Body.Username, "address "+p.IP
	for _, l := range []struct {
		key string
		l   *auth.Limiter
	}{{account, s.accounts}, {origin, s.origins}} {
		if problem := s.limited(l.key, l.l); problem != nil {
			return nil, problem
		}
	}
	u, _ := s.Inventory.User(in.Body.Username) // the zero user has no hash
	if u.Disabled {
		u.Password = "" // as slow as any other, and never right
	}
	ok, err := auth.VerifyPassword(ctx, in.Body.Password, u.Password)
	if err != nil {
		return nil, busy(err)
	}
	if !ok {
		s.accounts.Fail(account)
		s.origins.Fail(origin)
		s.asUser(ctx, in.Body.Username, "", audit.Record{What: "tried to sign in", Outcome: audit.Refused, Detail: "wrong name or password"})
		return nil, &Problem{Title: "Not signed in", Status: 401, Code: CodeWrongLogin, Detail: "the name or the password is wrong", Fix: "try again"}
	}
	s.accounts.Forget(account)
	s.asUser(ctx, u.Name, Role(u.Role), audit.Record{What: "signed in", Outcome: audit.Done})
	return s.begin(ctx, u.Name, u.Role)
}

func (s *Server) postLogout(ctx context.Context, _ *none) (*logoutOutput, error) {
	if p := who(ctx); p.session != "" {
		if err := s.sessions.End(p.session); err != nil {
			return nil, s.internal(ctx, "end the session", err)
		}
	}
	return &logoutOutput{SetCookie: s.cookie(ctx, "", 0)}, nil
}

func (s *Server) getSession(ctx context.Context, _ *none) (*body[Session], error) {
	p := who(ctx)
	out := Session{Username: p.Name, Role: string(p.role), ExpiresAt: s.Now().Add(auth.SessionIdle)}
	if session, ok := s.sessions.Lookup(p.session); ok {
		out.ExpiresAt = session.Expires
	}
	return &body[Session]{out}, nil
}

func busy(err error) error {
	if errors.Is(err, auth.ErrBusy) {
		return &Problem{Title: "Busy", Status: 503, Code: CodeUnavailable, Detail: err.Error(), Fix: "try again in a moment", Retry: true}
	}
	return &Problem{Title: "Not signed in", Status: 500, Code: CodeInternal, Detail: "the password could not be checked"}
}

// internal is an error that is ours: the chain goes to the log, its id to the
// person.
func (s *Server) internal(ctx context.Context, doing string, err error) *Problem {
	id := who(ctx).request
	s.Log.Error("request failed", "request", id, "doing", doing, "err", err)
	return &Problem{Title: "Something went wrong", Status: 500, Code: CodeInternal, Retry: true,
		Detail: "could not " + doing + "; request " + id, Fix: "see the control plane's log"}
}
