package terminal

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"baton/control/journal"
)

// Stream holds sessions' beginnings and ends, and the settings.
const Stream = "terminals"

// Types of its events.
const (
	Began           = "terminal-began"
	Ended           = "terminal-ended"
	SettingsChanged = "terminal-settings-changed"
)

// keptSessions bounds what is remembered; the audit has all.
const keptSessions = 2000

// Session is one terminal from beginning to end. Began holds it without its
// end, Ended with it.
type Session struct {
	ID      string    `json:"id"`
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`
	Kind    string    `json:"kind"` // agent.TerminalEngine, TerminalAdmin, TerminalOS
	Write   bool      `json:"write,omitempty"`
	Who     string    `json:"who"`
	Role    string    `json:"role"` // of the person
	Source  string    `json:"source"`
	IP      string    `json:"ip"`
	Reason  string    `json:"reason,omitempty"`
	Host    string    `json:"host,omitempty"`
	User    string    `json:"user,omitempty"`
	Control string    `json:"control"` // control node that carried it and has its recording
	Begin   time.Time `json:"begin"`

	End      time.Time `json:"end,omitzero"`
	Why      string    `json:"why,omitempty"`
	Commands int       `json:"commands,omitempty"` // typed; of an OS shell, lines
	Changes  int       `json:"changes,omitempty"`  // carried out that may have changed something
	Refused  int       `json:"refused,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"` // of the recording
}

// Live tells whether it goes on.
func (s *Session) Live() bool { return s.End.IsZero() }

// Settings hold for all terminals of the installation.
type Settings struct {
	IdleMinutes int       `json:"idleMinutes"` // 1..480 without a key pressed
	NoOS        bool      `json:"noOs,omitempty"`
	KeepDays    int       `json:"keepDays"` // 1..3650; recordings
	By          string    `json:"by,omitempty"`
	At          time.Time `json:"at,omitzero"`
}

// DefaultSettings hold until somebody decides otherwise.
func DefaultSettings() Settings { return Settings{IdleMinutes: 15, KeepDays: 90} }

// Check refuses settings out of range.
func (s Settings) Check() error {
	switch {
	case s.IdleMinutes < 1 || s.IdleMinutes > 480:
		return fmt.Errorf("idleMinutes %d: give 1 to 480", s.IdleMinutes)
	case s.KeepDays < 1 || s.KeepDays > 3650:
		return fmt.Errorf("keepDays %d: give 1 to 3650", s.KeepDays)
	}
	return nil
}

// Take reads one event of the journal; others pass. One that does not decode
// is skipped.
func (m *Manager) Take(e journal.Recorded) {
	if e.Stream != Stream {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e.Type {
	case Began, Ended:
		var s Session
		if json.Unmarshal(e.Data, &s) != nil || s.ID == "" {
			return
		}
		if _, known := m.sessions[s.ID]; !known {
			m.order = append(m.order, s.ID)
			if len(m.order) > keptSessions {
				delete(m.sessions, m.order[0])
				m.order = m.order[1:]
			}
		}
		m.sessions[s.ID] = s
	case SettingsChanged:
		s := DefaultSettings()
		if json.Unmarshal(e.Data, &s) == nil && s.Check() == nil {
			m.settings = s
		}
	}
}

func (m *Manager) write(ctx context.Context, kind string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTime)
	defer cancel()
	if _, err := m.opt.Journal.Append(ctx, Stream, journal.Any, journal.Event{Type: kind, Data: data}); err != nil {
		return fmt.Errorf("record %s: %w", kind, err)
	}
	return nil
}

// Sessions returns those of a cluster, of all with "", newest first, at most max.
func (m *Manager) Sessions(cluster string, max int) []Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []Session{}
	for i := len(m.order) - 1; i >= 0 && len(out) < max; i-- {
		s := m.sessions[m.order[i]]
		if cluster == "" || s.Cluster == cluster {
			if l := m.live[s.ID]; l != nil {
				s.Commands, s.Changes, s.Refused, s.Write = l.counts()
			}
			out = append(out, s)
		}
	}
	return out
}

// Session returns one.
func (m *Manager) Session(id string) (Session, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sessions[id]
	return s, ok
}

// Settings are those that hold now.
func (m *Manager) Settings() Settings {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settings
}

// PutSettings changes them; terminals that are open follow.
func (m *Manager) PutSettings(ctx context.Context, s Settings, by string) error {
	if err := s.Check(); err != nil {
		return err
	}
	s.By, s.At = by, m.opt.Now()
	if err := m.write(ctx, SettingsChanged, s); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settings = s // the journal tells the same in a moment
	return nil
}

// Sweep closes the sessions no control node carries any more. Call it on the
// control node that acts, when it begins to.
func (m *Manager) Sweep(ctx context.Context) error {
	for _, s := range m.Sessions("", keptSessions) {
		m.mu.Lock()
		live := m.live[s.ID] != nil
		m.mu.Unlock()
		if !s.Live() || live {
			continue
		}
		s.End, s.Why = m.opt.Now(), "the control node that carried it stopped or lost the lead"
		if err := m.write(ctx, Ended, s); err != nil {
			return err
		}
		m.auditEnd(ctx, &s)
	}
	return nil
}
