package leader

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"sync"
	"time"

	"baton/control/journal"
)

// Stream holds the claims of leadership and what control nodes tell of
// themselves. The revision of a claim, plus one, is its term.
const Stream = "control"

// Types of the events in Stream. Events of other types are older claims, which
// count for the term and say nothing else.
const (
	claimedType = "control-claimed"
	nodeType    = "control-node"
	removedType = "control-node-removed"
)

// Claim is one control node's beginning to act.
type Claim struct {
	Name string `json:"name"`
	// Election is the journal's own consensus term, which tells a claim of the
	// present leader from one of its earlier leaderships.
	Election uint64    `json:"election,string"`
	At       time.Time `json:"at"`
	// Term is the revision of the event plus one; it is not stored.
	Term uint64 `json:"-"`
}

// Member is one control node as it described itself at its last start.
type Member struct {
	Name string `json:"name"`
	// Agents is host:port agents and other control nodes dial.
	Agents string `json:"agents"`
	// Peer is host:port of the node's journal.
	Peer string `json:"peer"`
	// URL is where people find its page.
	URL     string    `json:"url"`
	Version string    `json:"version"`
	At      time.Time `json:"at"`
}

// Roster is what Stream says. Give it every event of the journal through Take.
// It may be used from many goroutines.
type Roster struct {
	mu       sync.Mutex
	revision int64
	claim    Claim
	members  map[string]Member
	moved    chan struct{}
}

// NewRoster returns an empty roster.
func NewRoster() *Roster {
	return &Roster{revision: journal.NoStream, members: map[string]Member{}, moved: make(chan struct{})}
}

// Take takes one event in; events of other streams are not looked at.
func (r *Roster) Take(ev journal.Recorded) error {
	if ev.Stream != Stream {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision = ev.Revision
	close(r.moved)
	r.moved = make(chan struct{})
	var err error
	switch ev.Type {
	case claimedType:
		var c Claim
		if err = json.Unmarshal(ev.Data, &c); err == nil {
			c.Term = uint64(ev.Revision) + 1
			r.claim = c
		}
	case nodeType:
		var m Member
		if err = json.Unmarshal(ev.Data, &m); err == nil && m.Name != "" {
			r.members[m.Name] = m
		}
	case removedType:
		var m Member
		if err = json.Unmarshal(ev.Data, &m); err == nil {
			delete(r.members, m.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("read %s at revision %d: %w", ev.Type, ev.Revision, err)
	}
	return nil
}

// Claim is the newest claim; its Term is 0 when there is none yet.
func (r *Roster) Claim() Claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.claim
}

// Member returns what a node told of itself.
func (r *Roster) Member(name string) (Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.members[name]
	return m, ok
}

// Members are all control nodes, sorted by name.
func (r *Roster) Members() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Member, 0, len(r.members))
	for _, m := range r.members {
		out = append(out, m)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Addresses are where agents and control nodes are dialed, sorted by name of
// the node.
func (r *Roster) Addresses() []string {
	var out []string
	for _, m := range r.Members() {
		if m.Agents != "" {
			out = append(out, m.Agents)
		}
	}
	return out
}

// Wait returns once the event of the revision has been taken in.
func (r *Roster) Wait(ctx context.Context, revision int64) error {
	for {
		r.mu.Lock()
		have, moved := r.revision, r.moved
		r.mu.Unlock()
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

// Announce records what a node tells of itself, unless that is known already.
func (r *Roster) Announce(ctx context.Context, j journal.Journal, m Member) error {
	if old, ok := r.Member(m.Name); ok {
		old.At = m.At
		if old == m {
			return nil
		}
	}
	return r.write(ctx, j, nodeType, m)
}

// Forget records that a control node is gone for good.
func (r *Roster) Forget(ctx context.Context, j journal.Journal, name string) error {
	return r.write(ctx, j, removedType, Member{Name: name})
}

func (r *Roster) write(ctx context.Context, j journal.Journal, kind string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	rev, err := j.Append(ctx, Stream, journal.Any, journal.Event{Type: kind, Data: data})
	if err != nil {
		return fmt.Errorf("record %s: %w", kind, err)
	}
	return r.Wait(ctx, rev)
}

func (r *Roster) state() (revision int64, moved <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revision, r.moved
}
