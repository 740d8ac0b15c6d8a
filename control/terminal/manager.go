package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/agent/hub"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/journal"
	"baton/control/terminal/cast"
	"baton/platform/auth"
)

// Bounds of a Manager.
const (
	// TicketLife is how long a ticket waits for its terminal.
	TicketLife = 30 * time.Second
	// MaxLive and MaxOfPerson bound the terminals open at one time.
	MaxLive     = 64
	MaxOfPerson = 8

	maxTickets  = 1000
	journalTime = 10 * time.Second
	// keptBytes bounds all recordings together; the oldest go first.
	keptBytes = 1 << 30
)

// Refusals.
var (
	// ErrTicket: it was used, has expired, or is somebody else's.
	ErrTicket = errors.New("the ticket was used, is too old, or is somebody else's")
	// ErrMany: too many terminals are open.
	ErrMany = errors.New("too many terminals are open")
	// ErrUnknown: there is no such session that goes on.
	ErrUnknown = errors.New("no such terminal is open")
	// ErrLeft: the person closed the terminal.
	ErrLeft = errors.New("the person left")
	// ErrNoRecording: it is not, or no longer, kept here.
	ErrNoRecording = errors.New("the recording is not kept here")
)

// Agents reach the nodes' hosts; *hub.Hub is one.
type Agents interface {
	Locate(cluster, node string) (agentID string, ok bool)
	OpenTerminal(ctx context.Context, agentID string, r agent.TerminalRequest) (*hub.Terminal, error)
}

// NodeRole is a node's role as it is seen now.
type NodeRole struct {
	Role engine.Role
	Word string // in the engine's words
}

// Options of a Manager.
type Options struct {
	Journal journal.Journal
	Agents  Agents
	// Role is a node's role now.
	Role func(cluster, node string) NodeRole
	// Audit writes a record; an error means that it is not written.
	Audit func(ctx context.Context, r audit.Record) error
	Dir   string // of the recordings, made 0700
	Name  string // of this control node
	// Secrets seals recordings, which may show data; nil: they are kept as they
	// are. Those of before stay readable either way.
	Secrets Secrets
	Now     func() time.Time
	Log     *slog.Logger
	// Look is how often a terminal's node and person are looked at; 0: 500 ms.
	Look time.Duration
}

// Manager opens terminals and knows all. Make it with New and give it each
// event of the journal with Take.
type Manager struct {
	opt Options

	mu       sync.Mutex
	tickets  map[string]ticket // by hash
	live     map[string]*carried
	sessions map[string]Session
	order    []string // ids, oldest first
	settings Settings
}

type ticket struct {
	Request
	expires time.Time
}

// Request is a terminal somebody may open.
type Request struct {
	Cluster, Node, Engine string
	Kind                  string
	Write                 bool // may change data from the beginning; the node's name was typed where that is needed
	Reason                string
	Columns, Rows         int
	Who                   audit.Who
}

// New returns a manager.
func New(o Options) (*Manager, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of recordings: %w", err)
	}
	if o.Look == 0 {
		o.Look = 500 * time.Millisecond
	}
	return &Manager{opt: o, tickets: map[string]ticket{}, live: map[string]*carried{}, sessions: map[string]Session{}, settings: DefaultSettings()}, nil
}

// Issue makes a ticket. Who may have what is the caller's to know.
func (m *Manager) Issue(r Request) (secret string, expires time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.room(r.Who.Name); err != nil {
		return "", time.Time{}, err
	}
	now := m.opt.Now()
	for hash, t := range m.tickets {
		if !now.Before(t.expires) {
			delete(m.tickets, hash)
		}
	}
	if len(m.tickets) >= maxTickets {
		return "", time.Time{}, ErrMany
	}
	secret, expires = auth.NewSecret(), now.Add(TicketLife)
	m.tickets[auth.HashSecret(secret)] = ticket{r, expires}
	return secret, expires, nil
}

// room tells whether one more may be opened. m.mu is held.
func (m *Manager) room(who string) error {
	own := 0
	for _, l := range m.live {
		if l.session.Who == who {
			own++
		}
	}
	if own >= MaxOfPerson || len(m.live) >= MaxLive {
		return ErrMany
	}
	return nil
}

// Redeem uses a ticket up. It must have been issued to the same person.
func (m *Manager) Redeem(secret string, who audit.Who) (Request, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hash := auth.HashSecret(secret)
	t, ok := m.tickets[hash]
	delete(m.tickets, hash)
	if !ok || !m.opt.Now().Before(t.expires) || t.Who.Name != who.Name {
		return Request{}, ErrTicket
	}
	return t.Request, m.room(who.Name)
}

// EndSession ends an open terminal in somebody's name.
func (m *Manager) EndSession(id, by, reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.live[id]
	if l == nil {
		return ErrUnknown
	}
	why := "ended by " + by
	if reason != "" {
		why += ": " + reason
	}
	l.stop(why)
	return nil
}

var idForm = regexp.MustCompile(`^tm-[A-Za-z0-9_-]{8,32}$`)

func (m *Manager) file(id string) string { return filepath.Join(m.opt.Dir, id+".cast") }

// Secrets seals what is bound to a context; *seal.Box is one.
type Secrets interface {
	Seal(plain []byte, context string) string
	Open(sealed, context string) ([]byte, error)
}

// place is what a line of a recording is bound to.
func place(id string, n int) string { return fmt.Sprintf("terminal/%s/%d", id, n) }

func (m *Manager) seal(id string) cast.Seal {
	if m.opt.Secrets == nil {
		return nil
	}
	return func(line []byte, n int) string { return m.opt.Secrets.Seal(line, place(id, n)) }
}

// Recording opens what a session showed, in clear, as far as it is written.
// Errors: ErrNoRecording; a recording sealed with another key.
func (m *Manager) Recording(id string) (io.ReadCloser, error) {
	if !idForm.MatchString(id) {
		return nil, ErrNoRecording
	}
	f, err := os.Open(m.file(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoRecording
	}
	if err != nil {
		return nil, err
	}
	var open cast.Unseal
	if m.opt.Secrets != nil {
		open = func(sealed string, n int) ([]byte, error) { return m.opt.Secrets.Open(sealed, place(id, n)) }
	}
	return cast.Open(f, open)
}

// prune removes recordings that are too old or too many.
func (m *Manager) prune() {
	entries, err := os.ReadDir(m.opt.Dir)
	if err != nil {
		m.opt.Log.Warn("recordings of terminals are not listed", "err", err)
		return
	}
	type kept struct {
		path string
		at   time.Time
		size int64
	}
	var all []kept
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		id, ok := strings.CutSuffix(e.Name(), ".cast")
		if err != nil || !ok {
			continue
		}
		m.mu.Lock()
		live := m.live[id] != nil
		m.mu.Unlock()
		if !live {
			all = append(all, kept{filepath.Join(m.opt.Dir, e.Name()), info.ModTime(), info.Size()})
			total += info.Size()
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].at.Before(all[j].at) })
	oldest := m.opt.Now().AddDate(0, 0, -m.Settings().KeepDays)
	for _, k := range all {
		if total <= keptBytes && k.at.After(oldest) {
			break
		}
		if err := os.Remove(k.path); err != nil {
			m.opt.Log.Warn("a recording of a terminal is not removed", "file", k.path, "err", err)
		}
		total -= k.size
	}
}
