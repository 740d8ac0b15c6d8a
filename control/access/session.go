package access

import (
	"context"
	"encoding/json"
	"time"

	"baton/control/journal"
	"baton/platform/auth"
)

const (
	// maxSessions bounds the sessions that are kept.
	maxSessions = 10_000
	// noteUse: the use of a session is journalled when the last use that is in
	// the journal is this old; another control node may end it so much too early.
	noteUse = 5 * time.Minute
)

const (
	sessionBegan  = "session-began"
	sessionUsed   = "session-used"
	sessionEnded  = "session-ended"
	sessionsEnded = "sessions-ended"
)

type sessionEvent struct {
	Hash string    `json:"hash,omitempty"`
	User string    `json:"user,omitempty"`
	Role string    `json:"role,omitempty"`
	At   time.Time `json:"at"`
}

// session is one sign-in. used is the last use on this node, noted the last in
// the journal.
type session struct {
	user, role         string
	began, used, noted time.Time
}

func (v *session) expires() time.Time {
	end := v.used.Add(auth.SessionIdle)
	if last := v.began.Add(auth.SessionAbsolute); end.After(last) {
		return last
	}
	return end
}

func (v *session) public() auth.Session {
	return auth.Session{User: v.user, Role: v.role, Began: v.began, Used: v.used, Expires: v.expires()}
}

func (s *Store) takeSession(kind string, data []byte) error {
	var e sessionEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	switch kind {
	case sessionBegan:
		v := &session{user: e.User, role: e.Role, began: e.At, used: e.At, noted: e.At}
		if now := s.now(); now.Before(v.expires()) || now.Sub(e.At) < auth.SessionAbsolute {
			s.makeRoom(now)
			s.sessions[e.Hash] = v
		}
	case sessionUsed:
		if v := s.sessions[e.Hash]; v != nil {
			v.noted = e.At
			if e.At.After(v.used) {
				v.used = e.At
			}
		}
	case sessionEnded:
		delete(s.sessions, e.Hash)
	case sessionsEnded:
		for k, v := range s.sessions {
			if v.user == e.User {
				delete(s.sessions, k)
			}
		}
	}
	return nil
}

// makeRoom forgets what ended, and when that is not enough the least used one.
func (s *Store) makeRoom(now time.Time) {
	if len(s.sessions) < maxSessions {
		return
	}
	for k, v := range s.sessions {
		if now.Sub(v.began) > auth.SessionAbsolute || now.Sub(v.used) > auth.SessionIdle+noteUse {
			delete(s.sessions, k)
		}
	}
	if len(s.sessions) < maxSessions {
		return
	}
	oldest := ""
	for k, v := range s.sessions {
		if o := s.sessions[oldest]; o == nil || v.used.Before(o.used) || v.used.Equal(o.used) && k < oldest {
			oldest = k
		}
	}
	delete(s.sessions, oldest)
}

// Begin makes a session with a new id of 256 random bits, valid on every
// control node once it returns.
func (s *Store) Begin(user, role string) (id string, out auth.Session, err error) {
	id = auth.NewSecret()
	now := s.now().UTC()
	v := session{user: user, role: role, began: now, used: now}
	ctx, cancel := context.WithTimeout(context.Background(), appendTime)
	defer cancel()
	err = s.write(ctx, SessionStream, journal.Any, sessionBegan, sessionEvent{Hash: auth.HashSecret(id), User: user, Role: role, At: now})
	return id, v.public(), err
}

// find returns the live session of an id; s.mu is held.
func (s *Store) find(id string) *session {
	if id == "" {
		return nil
	}
	v := s.sessions[auth.HashSecret(id)]
	if v == nil || !s.now().Before(v.expires()) {
		return nil
	}
	return v
}

// Lookup returns the session of an id and prolongs it; ok is false when there
// is none or it has ended.
func (s *Store) Lookup(id string) (auth.Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.find(id)
	if v == nil {
		return auth.Session{}, false
	}
	now := s.now().UTC()
	v.used = now
	if now.Sub(v.noted) >= noteUse {
		v.noted = now // once, whether it succeeds or not: it is tried again after the next interval
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), appendTime)
			defer cancel()
			_ = s.write(ctx, SessionStream, journal.Any, sessionUsed, sessionEvent{Hash: auth.HashSecret(id), At: now})
		}()
	}
	return v.public(), true
}

// Alive tells whether a session has not ended, without prolonging it: a page
// left open must not keep its session alive.
func (s *Store) Alive(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(id) != nil
}

// End ends one session, on every control node.
func (s *Store) End(id string) error {
	s.mu.Lock()
	v := s.sessions[auth.HashSecret(id)]
	delete(s.sessions, auth.HashSecret(id)) // here at once, whatever the journal says
	s.mu.Unlock()
	if v == nil {
		return nil
	}
	return s.end(sessionEnded, sessionEvent{Hash: auth.HashSecret(id), At: s.now().UTC()})
}

// EndAll ends every session of a user: after a change of password or role.
func (s *Store) EndAll(user string) error {
	s.mu.Lock()
	for k, v := range s.sessions {
		if v.user == user {
			delete(s.sessions, k)
		}
	}
	s.mu.Unlock()
	return s.end(sessionsEnded, sessionEvent{User: user, At: s.now().UTC()})
}

func (s *Store) end(kind string, e sessionEvent) error {
	ctx, cancel := context.WithTimeout(context.Background(), appendTime)
	defer cancel()
	return s.write(ctx, SessionStream, journal.Any, kind, e)
}
