package monitor

import (
	"sync"
	"time"

	"baton/control/agent"
)

// Mirror adds to the reports that reach this control node those that reach the
// one that leads, so that every node can show what was last seen. It tells
// nothing to who gives orders: those look at the links themselves.
//
// It may be used from many goroutines.
type Mirror struct {
	own Reports
	now func() time.Time

	mu     sync.Mutex
	copied map[string]agent.Report // by agent id, ReceivedAt on this node's clock
	linked map[string]bool         // agents the leader has a link to
	subs   map[chan agent.Report]struct{}
}

// Copy is one report on its way to another control node.
type Copy struct {
	Report agent.Report `json:"report"`
	// AgeMs is how long ago it reached the node that leads.
	AgeMs  int64 `json:"ageMs"`
	Linked bool  `json:"linked"`
}

// NewMirror returns a mirror that has nothing copied yet.
func NewMirror(own Reports, now func() time.Time) *Mirror {
	return &Mirror{own: own, now: now, copied: map[string]agent.Report{}, linked: map[string]bool{}, subs: map[chan agent.Report]struct{}{}}
}

// Export is everything this node has itself, for others.
func (m *Mirror) Export() []Copy {
	now := m.now()
	out := []Copy{}
	for id, r := range m.own.Reports() {
		out = append(out, Copy{Report: r, AgeMs: now.Sub(r.ReceivedAt).Milliseconds(), Linked: m.own.Connected(id)})
	}
	return out
}

// Import takes what the node that leads has. It replaces what was copied before.
func (m *Mirror) Import(all []Copy) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.linked = map[string]bool{}
	for _, c := range all {
		r := c.Report
		r.ReceivedAt = now.Add(-time.Duration(max(0, c.AgeMs)) * time.Millisecond)
		m.linked[r.Agent] = c.Linked
		if old, ok := m.copied[r.Agent]; ok && old.PID == r.PID && old.Sequence >= r.Sequence {
			continue
		}
		m.copied[r.Agent] = r
		for ch := range m.subs {
			select {
			case ch <- r:
			default: // a subscriber that does not keep up reads Reports instead
			}
		}
	}
}

// Detach forgets which agents the leader has links to: this node leads, or
// nobody is known to.
func (m *Mirror) Detach() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.linked = map[string]bool{}
}

// Forget drops an agent that was removed.
func (m *Mirror) Forget(agentID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.copied, agentID)
	delete(m.linked, agentID)
}

// Reports implements Reports: of each agent the newest.
func (m *Mirror) Reports() map[string]agent.Report {
	out := m.own.Reports()
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, r := range m.copied {
		if have, ok := out[id]; !ok || r.ReceivedAt.After(have.ReceivedAt) {
			out[id] = r
		}
	}
	return out
}

// Connected implements Reports.
func (m *Mirror) Connected(agentID string) bool {
	if m.own.Connected(agentID) {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.linked[agentID]
}

// Subscribe implements Reports.
func (m *Mirror) Subscribe(buffer int) (<-chan agent.Report, func()) {
	own, cancel := m.own.Subscribe(buffer)
	ch := make(chan agent.Report, max(buffer, 1))
	m.mu.Lock()
	m.subs[ch] = struct{}{}
	m.mu.Unlock()
	go func() {
		for r := range own {
			select {
			case ch <- r:
			default:
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.subs, ch)
		close(ch)
	}()
	return ch, cancel // own is closed by it, and ch then
}
