// Package people keeps who may sign in and which programs may call: users with
// their role, one-use links with which they set their passwords, and API
// tokens. It is a projection of two streams of the journal; a change is
// decided on what the stream holds and appended at that revision, so that two
// control nodes cannot remove each other's last administrator.
//
// Secrets are in the journal only as hashes. A Book may be used from many
// goroutines.
package people

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"baton/control/inventory"
	"baton/control/journal"
	"baton/platform/auth"
)

// TokensStream holds the API tokens; users are in inventory.UsersStream.
const TokensStream = "tokens"

// TokenChanged is the type of its events.
const TokenChanged = "token-changed"

// Lifetimes and bounds.
const (
	LinkLife      = 24 * time.Hour
	MaxTokenLife  = 366 * 24 * time.Hour
	maxUsers      = 1000
	maxTokens     = 1000
	maxTokenName  = 63
	tokenPrefix   = "bt_" // lets secret scanners know one
	changeRetries = 5
)

// Refusals. Nothing was changed.
var (
	// ErrUnknown: there is no such user or token.
	ErrUnknown = errors.New("there is no such user or token")
	// ErrExists: the name is taken.
	ErrExists = errors.New("the name is taken")
	// ErrLastAdmin: nobody could manage people any more.
	ErrLastAdmin = errors.New("it is the last administrator who can sign in")
	// ErrLink: the link was used, replaced, or is too old.
	ErrLink = errors.New("the link was used, was replaced by a newer one, or is older than a day")
	// ErrExpiry: a token must end, within a year.
	ErrExpiry = errors.New("a token ends in the future, within 366 days")
	// ErrFull: there are as many as are kept.
	ErrFull = errors.New("there are too many; delete some first")
)

// User is a person. It is what the events of the users' stream hold.
type User struct {
	Name     string    `json:"name"`
	Role     string    `json:"role"`
	Password string    `json:"password"` // hash with its parameters; "" until the link was used
	At       time.Time `json:"at"`       // of the last change
	Removed  bool      `json:"removed,omitempty"`
	Disabled bool      `json:"disabled,omitempty"`
	Created  time.Time `json:"created,omitzero"`
	By       string    `json:"by,omitempty"` // who made the last change
	// Link is the hash of the one-use secret that sets the password, "" when
	// there is none, good until LinkUntil.
	Link      string    `json:"link,omitempty"`
	LinkUntil time.Time `json:"linkUntil,omitzero"`
}

// able tells whether the user can sign in.
func (u *User) able() bool { return !u.Disabled && u.Password != "" }

// Token lets a program in. It may do at most what its owner may at that
// moment, and ends with its owner.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Owner   string    `json:"owner"` // a user; "" for tokens made by the command line's own
	Role    string    `json:"role"`
	Hash    string    `json:"hash"` // auth.HashSecret of it
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Revoked bool      `json:"revoked,omitempty"`
	By      string    `json:"by,omitempty"`
}

// Book is the projection.
type Book struct {
	j   journal.Journal
	now func() time.Time

	mu     sync.Mutex
	moved  chan struct{} // closed and replaced after each event taken in
	users  map[string]User
	tokens map[string]Token // by id
	byHash map[string]string
	revs   map[string]int64
}

// New returns an empty book; give it each event of the journal with Take.
func New(j journal.Journal, now func() time.Time) *Book {
	return &Book{j: j, now: now, moved: make(chan struct{}), users: map[string]User{}, tokens: map[string]Token{}, byHash: map[string]string{},
		revs: map[string]int64{inventory.UsersStream: journal.NoStream, TokensStream: journal.NoStream}}
}

// Take reads one event of the journal; others pass. One that does not decode
// is skipped, as in the inventory.
func (b *Book) Take(e journal.Recorded) {
	if e.Stream != inventory.UsersStream && e.Stream != TokensStream {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e.Type {
	case inventory.UserChanged:
		var u User
		if json.Unmarshal(e.Data, &u) == nil && u.Name != "" {
			if u.Created.IsZero() {
				u.Created = u.At
				if old, ok := b.users[u.Name]; ok {
					u.Created = old.Created
				}
			}
			b.users[u.Name] = u
			if u.Removed {
				delete(b.users, u.Name)
			}
		}
	case TokenChanged:
		var t Token
		if json.Unmarshal(e.Data, &t) == nil && t.ID != "" {
			b.tokens[t.ID], b.byHash[t.Hash] = t, t.ID
			if t.Revoked {
				delete(b.tokens, t.ID)
				delete(b.byHash, t.Hash)
			}
		}
	}
	b.revs[e.Stream] = e.Revision
	close(b.moved)
	b.moved = make(chan struct{})
}

// wait returns once the stream has been taken in up to a revision.
func (b *Book) wait(ctx context.Context, stream string, revision int64) error {
	for {
		b.mu.Lock()
		have, moved := b.revs[stream], b.moved
		b.mu.Unlock()
		if have >= revision {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// change decides on what the stream holds now and appends what is decided at
// that very revision; when somebody was faster it decides again.
func (b *Book) change(ctx context.Context, stream, kind string, decide func() (any, error)) error {
	for range changeRetries {
		b.mu.Lock()
		value, err := decide()
		rev := b.revs[stream]
		b.mu.Unlock()
		if err != nil {
			return err
		}
		data, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode %s: %w", kind, err)
		}
		at, err := b.j.Append(ctx, stream, rev, journal.Event{Type: kind, Data: data})
		var conflict *journal.ConflictError
		if errors.As(err, &conflict) {
			if err := b.wait(ctx, stream, conflict.Actual); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("record %s: %w", kind, err)
		}
		return b.wait(ctx, stream, at)
	}
	return fmt.Errorf("the stream %s keeps moving; try again", stream)
}

// user changes one user; edit works on a copy.
func (b *Book) user(ctx context.Context, name, by string, edit func(*User) error) error {
	return b.change(ctx, inventory.UsersStream, inventory.UserChanged, func() (any, error) {
		u, ok := b.users[name]
		if !ok {
			return nil, ErrUnknown
		}
		was := u
		if err := edit(&u); err != nil {
			return nil, err
		}
		if stillAdmin := !u.Removed && u.able() && u.Role == admin; was.Role == admin && was.able() && !stillAdmin && b.admins() == 1 {
			return nil, ErrLastAdmin
		}
		u.At, u.By = b.now(), by
		return u, nil
	})
}

// admin is the role that manages people.
const admin = "admin"

// admins counts the administrators who can sign in. The caller holds mu.
func (b *Book) admins() (n int) {
	for _, u := range b.users {
		if u.Role == admin && u.able() {
			n++
		}
	}
	return n
}

// Create makes a user without a password and returns the secret of the one-use
// link that sets it.
func (b *Book) Create(ctx context.Context, name, role, by string) (secret string, err error) {
	if !inventory.ValidName(name) {
		return "", inventory.ErrName
	}
	secret = auth.NewSecret()
	return secret, b.change(ctx, inventory.UsersStream, inventory.UserChanged, func() (any, error) {
		if _, ok := b.users[name]; ok {
			return nil, ErrExists
		}
		if len(b.users) >= maxUsers {
			return nil, ErrFull
		}
		now := b.now()
		return User{Name: name, Role: role, At: now, Created: now, By: by, Link: auth.HashSecret(secret), LinkUntil: now.Add(LinkLife)}, nil
	})
}

// NewLink makes a new one-use link for a user, who keeps the present password
// until it is used. An older link ends.
func (b *Book) NewLink(ctx context.Context, name, by string) (secret string, err error) {
	secret = auth.NewSecret()
	return secret, b.user(ctx, name, by, func(u *User) error {
		u.Link, u.LinkUntil = auth.HashSecret(secret), b.now().Add(LinkLife)
		return nil
	})
}

// ByLink returns the user whose unused link this is.
func (b *Book) ByLink(secret string) (User, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range b.users {
		if auth.MatchSecret(secret, u.Link) && b.now().Before(u.LinkUntil) && !u.Disabled {
			return u, nil
		}
	}
	return User{}, ErrLink
}

// UseLink sets the password of the link's user; the link ends. Of two uses at
// once one is refused.
func (b *Book) UseLink(ctx context.Context, name, secret, hash string) error {
	return b.user(ctx, name, name, func(u *User) error {
		if !auth.MatchSecret(secret, u.Link) || !b.now().Before(u.LinkUntil) || u.Disabled {
			return ErrLink
		}
		u.Password, u.Link, u.LinkUntil = hash, "", time.Time{}
		return nil
	})
}

// SetPassword sets a user's password and ends any link.
func (b *Book) SetPassword(ctx context.Context, name, by, hash string) error {
	return b.user(ctx, name, by, func(u *User) error {
		u.Password, u.Link, u.LinkUntil = hash, "", time.Time{}
		return nil
	})
}

// Change changes a user's role, unless "", and whether the user is disabled,
// unless nil.
func (b *Book) Change(ctx context.Context, name, by, role string, disabled *bool) error {
	return b.user(ctx, name, by, func(u *User) error {
		if role != "" {
			u.Role = role
		}
		if disabled != nil {
			u.Disabled = *disabled
			if u.Disabled {
				u.Link, u.LinkUntil = "", time.Time{}
			}
		}
		return nil
	})
}

// Remove deletes a user. The audit keeps what the user did.
func (b *Book) Remove(ctx context.Context, name, by string) error {
	return b.user(ctx, name, by, func(u *User) error {
		u.Removed, u.Password, u.Link = true, "", ""
		return nil
	})
}

// Users returns all users, sorted by name.
func (b *Book) Users() []User {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]User, 0, len(b.users))
	for _, u := range b.users {
		out = append(out, u)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// User returns a user.
func (b *Book) User(name string) (User, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, ok := b.users[name]
	return u, ok
}

// CreateToken makes a token and returns its secret, which nobody can read
// again. owner is the user it belongs to, "" for none.
func (b *Book) CreateToken(ctx context.Context, name, owner, role, by string, expires time.Time) (t Token, secret string, err error) {
	now := b.now()
	if !expires.After(now) || expires.After(now.Add(MaxTokenLife)) {
		return t, "", ErrExpiry
	}
	if name == "" || len(name) > maxTokenName {
		return t, "", fmt.Errorf("a token has a name of at most %d characters", maxTokenName)
	}
	secret = tokenPrefix + auth.NewSecret()
	t = Token{ID: "tk-" + auth.NewSecret()[:12], Name: name, Owner: owner, Role: role, Hash: auth.HashSecret(secret), Created: now, Expires: expires, By: by}
	return t, secret, b.change(ctx, TokensStream, TokenChanged, func() (any, error) {
		if len(b.tokens) >= maxTokens {
			return nil, ErrFull
		}
		return t, nil
	})
}

// RevokeToken ends a token.
func (b *Book) RevokeToken(ctx context.Context, id, by string) error {
	return b.change(ctx, TokensStream, TokenChanged, func() (any, error) {
		t, ok := b.tokens[id]
		if !ok {
			return nil, ErrUnknown
		}
		t.Revoked, t.By = true, by
		return t, nil
	})
}

// Token returns a token by its id.
func (b *Book) Token(id string) (Token, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.tokens[id]
	return t, ok
}

// Tokens returns all tokens that are not revoked, also those that have
// expired, sorted by owner and name.
func (b *Book) Tokens() []Token {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Token, 0, len(b.tokens))
	for _, t := range b.tokens {
		out = append(out, t)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.Owner != b.Owner {
			return a.Owner < b.Owner
		}
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		return a.ID < b.ID
	})
	return out
}

// Present finds the token of a secret that is good now, with its owner's
// present role, "" when it has none. A token whose owner is gone or disabled is
// good no more.
func (b *Book) Present(secret string) (t Token, ownerRole string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok = b.tokens[b.byHash[auth.HashSecret(secret)]]
	if !ok || !b.now().Before(t.Expires) {
		return Token{}, "", false
	}
	if t.Owner == "" {
		return t, "", true
	}
	u, known := b.users[t.Owner]
	if !known || u.Disabled || t.Created.Before(u.Created) { // the last: somebody of the same name before
		return Token{}, "", false
	}
	return t, u.Role, true
}
