// Package leader settles which of several control nodes acts: the one whose
// embedded journal node leads the journal, is confirmed by a majority, and has
// committed a claim. Its term, the place of the claim in the journal, is larger
// than that of every claim before; it goes with each order, so that agents
// refuse what an earlier leader sent.
//
// A node that stops leading stops acting at once: the context it acted under
// ends, its appends are refused by the journal's leadership or by revision, and
// its orders by the agents.
//
// An Elector may be used from many goroutines.
package leader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"baton/control/journal"
)

const (
	// claimTime bounds one attempt to claim leadership.
	claimTime = 5 * time.Second
	// claimRetry is waited between two attempts.
	claimRetry = 50 * time.Millisecond
)

// Node is the embedded journal node.
type Node interface {
	// Leading tells whether this node leads the journal and has applied what was
	// committed before, and in which election.
	Leading() (election uint64, ok bool)
	// Confirm returns nil once a majority confirmed that this node leads and
	// everything committed before the call is applied here.
	Confirm(ctx context.Context) error
	// Changed is closed at the next change of who leads or of what is known of
	// the other nodes.
	Changed() <-chan struct{}
	// View is what this node knows of the journal's nodes.
	View() View
}

// View is one node's picture of the journal's nodes.
type View struct {
	// Leader is the name of the node that leads, "" when this node knows none.
	Leader   string
	Election uint64
	// Needed is the number of voters a majority takes, Alive how many this node
	// hears from, itself included.
	Needed, Alive int
	Nodes         []NodeView // sorted by name
}

// NodeView is one node of the journal.
type NodeView struct {
	Name     string
	Peer     string
	Self     bool
	Alive    bool
	Voter    bool
	LagBytes uint64
}

// Options of an Elector. All are required.
type Options struct {
	Node   Node
	Roster *Roster
	// Journal appends as this node while it leads, or not at all.
	Journal journal.Journal
	Name    string
	// CaughtUp waits until what is read from the journal contains the revision
	// of Stream.
	CaughtUp func(ctx context.Context, revision int64) error
	// Act begins to act until ctx ends. The function it returns waits until
	// everything that acted has ended.
	Act func(ctx context.Context, term uint64) (wait func())
	Now func() time.Time
	Log *slog.Logger
}

// Elector follows the journal's elections.
type Elector struct {
	Options
	mu      sync.Mutex
	term    uint64        // while acting, else 0
	leader  string        // who acts, "" when not known
	contact time.Time     // when a leader of the journal was last known
	moved   chan struct{} // closed and replaced when term or leader changes
}

// New returns an elector; Run makes it take part.
func New(o Options) *Elector {
	return &Elector{Options: o, contact: o.Now(), moved: make(chan struct{})}
}

// Run claims leadership whenever the journal's node leads, until ctx ends.
func (e *Elector) Run(ctx context.Context) error {
	go e.watch(ctx)
	for ctx.Err() == nil {
		changed := e.Node.Changed()
		election, ok := e.Node.Leading()
		if !ok {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		term, err := e.claim(ctx, election)
		if err != nil {
			if ctx.Err() == nil {
				e.Log.Info("leadership is not claimed yet", "err", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(claimRetry):
			}
			continue
		}
		e.act(ctx, election, term)
	}
	return nil
}

// claim appends this node's claim behind everything this node has read.
func (e *Elector) claim(ctx context.Context, election uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	if err := e.Node.Confirm(ctx); err != nil {
		return 0, fmt.Errorf("confirm leadership: %w", err)
	}
	data, err := json.Marshal(Claim{Name: e.Name, Election: election, At: e.Now().UTC()})
	if err != nil {
		return 0, err
	}
	for {
		known, _ := e.Roster.state()
		revision, err := e.Journal.Append(ctx, Stream, known, journal.Event{Type: claimedType, Data: data})
		var conflict *journal.ConflictError
		if errors.As(err, &conflict) && conflict.Actual > known {
			if err := e.Roster.Wait(ctx, conflict.Actual); err != nil {
				return 0, fmt.Errorf("read the claims: %w", err)
			}
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("journal the claim: %w", err)
		}
		if err := e.Roster.Wait(ctx, revision); err != nil {
			return 0, fmt.Errorf("read the claim: %w", err)
		}
		if err := e.CaughtUp(ctx, revision); err != nil {
			return 0, fmt.Errorf("read the journal up to the claim: %w", err)
		}
		return uint64(revision) + 1, nil
	}
}

// act acts until this node no longer leads in the same election.
func (e *Elector) act(ctx context.Context, election, term uint64) {
	if now, ok := e.Node.Leading(); !ok || now != election {
		return
	}
	e.Log.Info("this control node acts", "name", e.Name, "term", term)
	lead, stop := context.WithCancel(ctx)
	wait := e.Act(lead, term)
	e.set(term)
	for {
		changed := e.Node.Changed()
		if now, ok := e.Node.Leading(); !ok || now != election || e.Roster.Claim().Term > term || ctx.Err() != nil {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	e.set(0)
	stop()
	wait()
	e.Log.Info("this control node no longer acts", "name", e.Name, "term", term)
}

func (e *Elector) set(term uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.term != term {
		e.term = term
		e.wake()
	}
	e.look()
}

// wake tells who waits that something changed; e.mu is held.
func (e *Elector) wake() {
	close(e.moved)
	e.moved = make(chan struct{})
}

// look finds out who acts; e.mu is held.
func (e *Elector) look() {
	view, claim, now := e.Node.View(), e.Roster.Claim(), ""
	switch {
	case e.term > 0:
		now = e.Name
	case view.Leader != "" && view.Leader != e.Name && claim.Name == view.Leader && claim.Election == view.Election:
		now = view.Leader
	}
	if view.Leader != "" {
		e.contact = e.Now()
	}
	if now != e.leader {
		e.leader = now
		e.wake()
	}
}

// Leader is who acts, "" when not known, and a channel that is closed when that
// changes.
func (e *Elector) Leader() (name string, changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader, e.moved
}

// watch keeps who acts, and the moment a leader was last known.
func (e *Elector) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		changed := e.Node.Changed()
		_, roster := e.Roster.state()
		e.mu.Lock()
		e.look()
		e.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-roster:
		case <-tick.C:
		}
	}
}

// Confirm returns nil once a majority confirmed that this node leads now. It
// is what an answer that must not come from a deposed leader waits for.
func (e *Elector) Confirm(ctx context.Context) error { return e.Node.Confirm(ctx) }
