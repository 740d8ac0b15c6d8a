// Package users keeps the accounts of a secure event store: who exists, in which
// groups, with which password. Accounts are events in the log, so that every node
// knows what it has applied and nothing else has to be kept in step:
//
//	$user-LOGIN                    $UserCreated, then $UserUpdated; the last one counts
//	$users                         $User, the login name as data, for each account made
//	$users-password-notifications  $PasswordChanged, the login name, for each new password
//
// A [Store] reads them and writes them. It keeps what it has read as long as the
// heads of the streams do not change, so that it follows every change that this
// node applies without being told. A node that is cut off goes on with what it
// knew.
//
// Passwords are kept as argon2id hashes. Checking one takes a tenth of a second and
// 64 MiB, so credentials that were checked are remembered by a keyed hash of the
// header they came in, until the account changes.
//
// All methods of Store may be called from any goroutine.
package users

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"baton/eventstore/access"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/platform/auth"
)

// Names of streams and types of events.
const (
	accountPrefix       = "$user-"
	listStream          = "$users"
	notificationsStream = "$users-password-notifications"

	typeCreated  = "$UserCreated"
	typeUpdated  = "$UserUpdated"
	typeListed   = "$User"
	typePassword = "$PasswordChanged"
)

// Bounds of what an account holds.
const (
	maxLoginBytes    = 256
	maxTextBytes     = 1024 // full name, one group
	maxGroups        = 256
	maxPasswordBytes = 1024
)

// Errors.
var (
	// ErrWrong: the credentials are not those of an enabled account.
	ErrWrong = errors.New("wrong user name or password")
	// ErrTooMany: too many wrong passwords for this account came from there lately.
	ErrTooMany = errors.New("too many wrong passwords for this user; wait a minute")
	// ErrNotReady: no account is known on this node yet; try again.
	ErrNotReady = errors.New("this node has not learned of any user yet")
	// ErrBusy: too many passwords are being checked; try again.
	ErrBusy = errors.New("too many passwords are being checked at this moment")

	// ErrNotFound: there is no such account.
	ErrNotFound = errors.New("there is no such user")
	// ErrExists: there is an account of that name.
	ErrExists = errors.New("there is a user of that name")
	// ErrTryAgain: the account changed while it was being changed.
	ErrTryAgain = errors.New("the user is being changed by somebody else; try again")
	// ErrLastAdmin: nobody could administrate users any more.
	ErrLastAdmin = errors.New("this is the last enabled member of $admins; make another one first")
)

// InvalidError says what is wrong with a request.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return e.Reason }

func invalid(format string, args ...any) error { return &InvalidError{fmt.Sprintf(format, args...)} }

// Details are what may be told of an account.
type Details struct {
	Login    string
	FullName string
	Groups   []string
	Disabled bool
	Updated  int64 // of the last change, 100 ns ticks since the Unix epoch
}

// record is the body of an account's events, the whole account each time.
type record struct {
	LoginName string   `json:"loginName"`
	FullName  string   `json:"fullName"`
	Groups    []string `json:"groups"`
	Disabled  bool     `json:"disabled"`
	// Hash is the password's: argon2id in PHC form, with salt and cost in it.
	Hash string `json:"hash"`
}

// Backend is what the store needs of a node.
type Backend interface {
	Append(ctx context.Context, cmd *stream.Command, requireLeader bool) (stream.Outcome, error)
	// ConfirmLeader returns nil when this node leads and has applied everything committed before the call.
	ConfirmLeader(ctx context.Context) error
	Reader() *reader.Reader
}

// Store is the accounts as one node knows them.
type Store struct {
	backend Backend
	reader  *reader.Reader
	logger  *slog.Logger
	cost    auth.Cost
	ready   atomic.Bool            // an account was seen
	nobody  func() (string, error) // a hash that no password has, at the same cost

	mu       sync.RWMutex
	accounts map[string]*account // by login; those looked up lately
	headers  *headers
	limiter  *auth.Limiter
}

// maxAccounts bounds the accounts kept in memory.
const maxAccounts = 10_000

// Options of a store. Zero fields mean defaults.
type Options struct {
	Cost   auth.Cost // of new passwords' hashes; auth.DefaultCost
	Logger *slog.Logger
}

// NewStore returns a store over a node's log.
func NewStore(b Backend, o Options) *Store {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Cost == (auth.Cost{}) {
		o.Cost = auth.DefaultCost
	}
	s := &Store{backend: b, reader: b.Reader(), logger: o.Logger, cost: o.Cost, accounts: map[string]*account{}, headers: newHeaders(), limiter: auth.NewLimiter(time.Now, freeTries)}
	s.nobody = sync.OnceValues(func() (string, error) { return s.hash(context.Background(), uuid.NewString()) })
	return s
}

// account is an account as a head of its stream shows it. Immutable.
type account struct {
	stream     string
	last, meta int64 // of the head
	gone       bool  // there is no such account
	record     record
	updated    int64
	principal  *access.Principal // nil: may not sign in
}

func (a *account) details() Details {
	return Details{Login: a.record.LoginName, FullName: a.record.FullName, Groups: a.record.Groups, Disabled: a.record.Disabled, Updated: a.updated}
}

// holds says whether the account is what this node knows now.
func (s *Store) holds(a *account) bool {
	head, err := s.reader.Head(a.stream)
	return err == nil && head.Last == a.last && head.MetaLast == a.meta
}

// account looks a login up. One that does not exist is gone.
func (s *Store) account(login string) (*account, error) {
	s.mu.RLock()
	a := s.accounts[login]
	s.mu.RUnlock()
	if a != nil && s.holds(a) {
		return a, nil
	}
	a, err := s.load(login)
	if err != nil {
		return nil, err
	}
	if !a.gone {
		s.ready.Store(true)
		s.mu.Lock()
		if len(s.accounts) >= maxAccounts {
			clear(s.accounts) // they are read again as they are needed
		}
		s.accounts[login] = a
		s.mu.Unlock()
	}
	return a, nil
}

func (s *Store) load(login string) (*account, error) {
	a := &account{stream: accountPrefix + login, gone: true}
	head, err := s.reader.Head(a.stream)
	if err != nil {
		return nil, fmt.Errorf("look up user %q: %w", login, err)
	}
	a.last, a.meta = head.Last, head.MetaLast
	if head.Last < 0 || head.Tombstoned || head.SoftDeleted() {
		return a, nil
	}
	_, err = s.reader.Stream(context.Background(), reader.StreamQuery{Stream: a.stream, FromEnd: true, Backwards: true, Count: 1}, func(e *reader.Event) error {
		a.last = e.Revision // what was read, should the head have moved on
		var ok bool
		if a.record, ok = decodeRecord(login, e.Type, e.Data()); !ok {
			s.logger.Error("the account of a user cannot be read; it counts as missing until it is written anew", "stream", a.stream, "revision", e.Revision)
			return nil
		}
		a.gone, a.updated = false, e.Created
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read user %q: %w", login, err)
	}
	if !a.gone && !a.record.Disabled {
		a.principal = &access.Principal{Name: login, Groups: a.record.Groups}
	}
	return a, nil
}

// decodeRecord reads an account's event; ok is false for one that is of no such account.
func decodeRecord(login, kind string, data []byte) (r record, ok bool) {
	if err := json.Unmarshal(data, &r); err != nil || r.LoginName != login || kind != typeCreated && kind != typeUpdated {
		return record{}, false
	}
	return r, true
}

// Principal is an enabled account as this node knows it now; nil if there is none.
func (s *Store) Principal(login string) (*access.Principal, error) {
	if CheckLogin(login) != nil {
		return nil, nil
	}
	a, err := s.account(login)
	if err != nil {
		return nil, err
	}
	return a.principal, nil
}

// Ready says whether this node knows any account.
func (s *Store) Ready() bool {
	if !s.ready.Load() {
		if head, err := s.reader.Head(accountPrefix + FirstAdmin); err != nil || head == stream.NoHead {
			return false
		}
		s.ready.Store(true)
	}
	return true
}

// CheckLogin returns an *InvalidError if nobody can have the login name.
func CheckLogin(login string) error {
	switch {
	case login == "":
		return invalid("the login name is empty")
	case len(login) > maxLoginBytes:
		return invalid("the login name is longer than %d bytes", maxLoginBytes)
	case !utf8.ValidString(login) || strings.ContainsFunc(login, unprintable):
		return invalid("the login name holds something that cannot be shown")
	case strings.HasPrefix(login, "$"):
		return invalid("login names that begin with $ are reserved: a name counts as a role")
	case strings.ContainsAny(login, ":/") || strings.TrimSpace(login) != login:
		return invalid("the login name holds a colon, a slash, or a space at an end")
	}
	return nil
}

func unprintable(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }

func checkPassword(password string) error {
	switch {
	case password == "":
		return invalid("the password is empty")
	case len(password) > maxPasswordBytes:
		return invalid("the password is longer than %d bytes", maxPasswordBytes)
	}
	return nil
}

func checkProfile(fullName string, groups []string) error {
	if len(fullName) > maxTextBytes || !utf8.ValidString(fullName) {
		return invalid("the full name is longer than %d bytes or not text", maxTextBytes)
	}
	if len(groups) > maxGroups {
		return invalid("a user may be in %d groups at most", maxGroups)
	}
	for i, g := range groups {
		if g == "" || len(g) > maxTextBytes || !utf8.ValidString(g) || slices.Contains(groups[:i], g) {
			return invalid("group %q is empty, named twice, too long or not text", g)
		}
	}
	return nil
}
