package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"sync"
	"time"
)

// Lifetimes of a session.
const (
	SessionIdle     = 30 * time.Minute
	SessionAbsolute = 12 * time.Hour
	maxSessions     = 10_000
)

// Session is one sign-in.
type Session struct {
	User    string
	Role    string
	Began   time.Time
	Used    time.Time
	Expires time.Time // the earlier of idle and absolute end
}

// Sessions are the sign-ins of this process; a restart ends them all. Ids are
// kept only as hashes. Safe for many goroutines.
type Sessions struct {
	now func() time.Time
	mu  sync.Mutex
	all map[[32]byte]*Session
}

// NewSessions returns an empty store.
func NewSessions(now func() time.Time) *Sessions {
	return &Sessions{now: now, all: map[[32]byte]*Session{}}
}

// Begin makes a session with a new id of 256 random bits.
func (s *Sessions) Begin(user, role string) (id string, session Session) {
	id = NewSecret()
	now := s.now()
	n := &Session{User: user, Role: role, Began: now, Used: now, Expires: now.Add(SessionIdle)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= maxSessions {
		s.sweep(now)
	}
	if len(s.all) >= maxSessions { // all in use: the least used one goes
		var oldest [32]byte
		var at time.Time
		for k, v := range s.all {
			if at.IsZero() || v.Used.Before(at) {
				oldest, at = k, v.Used
			}
		}
		delete(s.all, oldest)
	}
	s.all[sha256.Sum256([]byte(id))] = n
	return id, *n
}

func (s *Sessions) sweep(now time.Time) {
	for k, v := range s.all {
		if !now.Before(v.Expires) {
			delete(s.all, k)
		}
	}
}

// Lookup returns the session of an id and prolongs it; ok is false when there
// is none or it has ended.
func (s *Sessions) Lookup(id string) (Session, bool) {
	if id == "" {
		return Session{}, false
	}
	key := sha256.Sum256([]byte(id))
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.all[key]
	if v == nil {
		return Session{}, false
	}
	if !now.Before(v.Expires) {
		delete(s.all, key)
		return Session{}, false
	}
	v.Used = now
	v.Expires = now.Add(SessionIdle)
	if end := v.Began.Add(SessionAbsolute); v.Expires.After(end) {
		v.Expires = end
	}
	return *v, true
}

// Alive tells whether a session has not ended, without prolonging it: a page
// left open must not keep its session alive.
func (s *Sessions) Alive(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.all[sha256.Sum256([]byte(id))]
	return v != nil && s.now().Before(v.Expires)
}

// End ends one session.
func (s *Sessions) End(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(id)))
}

// EndAll ends every session of a user: after a change of password or role.
func (s *Sessions) EndAll(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.all {
		if v.User == user {
			delete(s.all, k)
		}
	}
}

// NewSecret returns 256 random bits for a URL or a cookie.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// HashSecret is what is stored of a secret with 256 bits of its own.
func HashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// MatchSecret compares a secret with its stored hash in constant time. An
// empty hash matches nothing.
func MatchSecret(secret, hash string) bool {
	return hash != "" && subtle.ConstantTimeCompare([]byte(HashSecret(secret)), []byte(hash)) == 1
}
