// Package machines is what was asked of providers that make machines: the
// accounts, with their tokens sealed, and each machine from the wish to its
// agent's joining, or to its end. It is kept in the journal and carried on by
// whichever control node leads; a machine is made once whatever is repeated.
package machines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/control/journal"
	"baton/control/provider"
)

// Stream holds all events of the package.
const Stream = "machines"

// Types of events.
const (
	typeAccount = "account-put"
	typeNoMore  = "account-removed"
	typeAsked   = "machine-asked"
	typeStep    = "machine-step"
	typeEnded   = "machine-ended"
	typeDelete  = "machine-delete-asked"
)

// States of a machine.
const (
	Making   = "making"
	Ready    = "ready"    // its agent joined
	Failed   = "failed"   // Why says why; what was made is there until it is deleted
	Deleting = "deleting" // asked for
	Deleted  = "deleted"
)

// Steps of making one.
const (
	StepMake = "make" // the provider is asked
	StepBoot = "boot" // until the provider says it runs
	StepJoin = "join" // until its agent has joined
)

// Account is access to a provider. Sealed is its token.
type Account struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"`
	Endpoint string    `json:"endpoint,omitempty"` // "": the provider's own
	Sealed   string    `json:"sealed"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
}

// Wish is a machine that somebody wants.
type Wish struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Name     string    `json:"name"`
	Location string    `json:"location"`
	Size     string    `json:"size"`
	Image    string    `json:"image,omitempty"`
	Program  string    `json:"program"` // URL the machine fetches this program from
	By       string    `json:"by"`
	At       time.Time `json:"at"`
}

// Step is one step of a machine's making, or what came of it.
type Step struct {
	ID         string    `json:"id"` // of the wish
	Step       string    `json:"step"`
	Detail     string    `json:"detail"`
	ProviderID string    `json:"providerId,omitempty"`
	Address    string    `json:"address,omitempty"`
	At         time.Time `json:"at"`
}

type ended struct {
	ID    string    `json:"id"`
	State string    `json:"state"`
	Why   string    `json:"why"`
	Agent string    `json:"agent,omitempty"`
	At    time.Time `json:"at"`
}

type named struct {
	Name string    `json:"name"` // of an account, or the id of a wish
	By   string    `json:"by"`
	At   time.Time `json:"at"`
}

// Machine is a wish and what became of it.
type Machine struct {
	Wish
	State      string
	Why        string
	Steps      []Step
	ProviderID string // "" while none is known
	Address    string
	Agent      string // that joined from it
	EndedAt    time.Time
}

// Errors of the Store.
var (
	ErrNoAccount  = errors.New("there is no such provider account")
	ErrInUse      = errors.New("machines of the account are there")
	ErrNameTaken  = errors.New("a machine or account of this name is there already")
	ErrNoMachine  = errors.New("there is no such machine")
	ErrNotNow     = errors.New("the machine is in the middle of something")
	ErrNoSecrets  = errors.New("this control plane has no master key: a provider's token could not be kept")
	errMoved      = errors.New("the record moved")
	errNotRunning = errors.New("it does not run yet")
)

// Secrets seals tokens; *seal.Box is one.
type Secrets interface {
	Seal(plain []byte, context string) string
	Open(sealed, context string) ([]byte, error)
}

// Options of a Store. All but Secrets are required.
type Options struct {
	Journal journal.Journal
	Secrets Secrets
	Now     func() time.Time
	Log     *slog.Logger
	// Connect reaches a provider. Errors: an unknown kind.
	Connect func(kind, token, endpoint string) (provider.Maker, error)
	// Token makes a one-use join token; Sum is the checksum of this program.
	Token func() (string, error)
	Sum   func() (string, error)
	// Joined finds the agent of a host that joined after a moment.
	Joined func(name string, after time.Time) (agent string, ok bool)
	// Forget revokes an agent; it may be called again.
	Forget func(agent string) error
	// Poll is how often providers and hosts are looked at; 3 s when 0. MakeTime
	// and JoinTime bound the steps; 10 and 20 minutes when 0.
	Poll, MakeTime, JoinTime time.Duration
}

// Store keeps accounts and machines. Give it every event of the journal through
// Take. It may be used from many goroutines.
type Store struct {
	Options
	mu       sync.Mutex
	rev      int64
	moved    chan struct{}
	accounts map[string]Account
	machines map[string]*Machine
	driving  map[string]bool
}

// New returns a store that knows nothing yet.
func New(o Options) *Store {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&o.Poll, 3 * time.Second}, {&o.MakeTime, 10 * time.Minute}, {&o.JoinTime, 20 * time.Minute}} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	return &Store{Options: o, rev: journal.NoStream, moved: make(chan struct{}), accounts: map[string]Account{}, machines: map[string]*Machine{}, driving: map[string]bool{}}
}

// Take takes one event in; events of other streams are not looked at.
func (s *Store) Take(r journal.Recorded) {
	if r.Stream != Stream {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.take(r.Type, r.Data); err != nil {
		s.Log.Error("an event about machines is skipped", "revision", r.Revision, "err", err)
	}
	s.rev = r.Revision
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *Store) take(kind string, data []byte) error {
	var a Account
	var n named
	var w Wish
	var st Step
	var e ended
	into := map[string]any{typeAccount: &a, typeNoMore: &n, typeDelete: &n, typeAsked: &w, typeStep: &st, typeEnded: &e}[kind]
	if into == nil {
		return nil // of a later version
	}
	if err := json.Unmarshal(data, into); err != nil {
		return err
	}
	switch kind {
	case typeAccount:
		s.accounts[a.Name] = a
		return nil
	case typeNoMore:
		delete(s.accounts, n.Name)
		return nil
	case typeAsked:
		s.machines[w.ID] = &Machine{Wish: w, State: Making}
		return nil
	}
	m := s.machines[st.ID+e.ID+n.Name]
	if m == nil {
		return fmt.Errorf("%s of a machine that nobody asked for", kind)
	}
	switch kind {
	case typeStep:
		m.Steps = append(m.Steps, st)
		if st.ProviderID != "" {
			m.ProviderID = st.ProviderID
		}
		if st.Address != "" {
			m.Address = st.Address
		}
	case typeDelete:
		m.State, m.Why = Deleting, ""
	case typeEnded:
		m.State, m.Why, m.EndedAt = e.State, e.Why, e.At
		if e.Agent != "" {
			m.Agent = e.Agent
		}
	}
	return nil
}

// Accounts are those there are, sorted by name. Tokens are sealed in them.
func (s *Store) Accounts() []Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Account, 0, len(s.accounts))
	for _, a := range s.accounts {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Account) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Machines are all that were asked for, the newest first; deleted ones too.
func (s *Store) Machines() []Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Machine, 0, len(s.machines))
	for _, m := range s.machines {
		c := *m
		c.Steps = slices.Clone(m.Steps)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Machine) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Machine finds one by its id.
func (s *Store) Machine(id string) (Machine, bool) {
	for _, m := range s.Machines() {
		if m.ID == id {
			return m, true
		}
	}
	return Machine{}, false
}

// record decides on what is known and appends what decide returns; again when
// the record moved meanwhile. It returns when the event is taken in.
func (s *Store) record(ctx context.Context, kind string, decide func() (any, error)) error {
	for {
		s.mu.Lock()
		rev := s.rev
		v, err := decide()
		s.mu.Unlock()
		if err != nil {
			return err
		}
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		got, err := s.Journal.Append(ctx, Stream, rev, journal.Event{Type: kind, Data: data})
		var conflict *journal.ConflictError
		if errors.As(err, &conflict) {
			if err := s.wait(ctx, conflict.Actual); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		return s.wait(ctx, got)
	}
}

func (s *Store) wait(ctx context.Context, rev int64) error {
	for {
		s.mu.Lock()
		have, moved := s.rev, s.moved
		s.mu.Unlock()
		if have >= rev {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}
