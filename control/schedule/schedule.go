// Package schedule keeps promotions that wait: for their time, or for a second
// person. Each is a record in the journal from its beginning to its end, so it
// survives restarts and exists once, whichever control node runs it.
//
// What waited is looked at anew when its turn comes. A scheduled promotion is
// refused, with the reason, when the cluster moved on or any verdict became
// worse; an approved one must still have the very report that was approved.
//
// A Book may be used from many goroutines.
package schedule

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"baton/control/audit"
	"baton/control/journal"
	"baton/control/plan"
)

// Stream holds the events of everything that waits.
const Stream = "waiting"

// Types of its events.
const (
	WaitBegan   = "wait-began"
	WaitStarted = "wait-started" // the promotion is about to be requested
	WaitEnded   = "wait-ended"
)

// Bounds.
const (
	// ApprovalLife is how long a request waits for a second person.
	ApprovalLife = 15 * time.Minute
	// MaxAhead is how far ahead a promotion may be scheduled.
	MaxAhead = 30 * 24 * time.Hour
	// MaxLate is how late a scheduled promotion may still start: people were
	// told a time.
	MaxLate = 5 * time.Minute
	// Every is how often it is looked whose turn has come.
	Every       = time.Second
	maxWaiting  = 200
	keepEnded   = 200
	changeTries = 5
)

// Refusals. Nothing was changed.
var (
	// ErrUnknown: nothing of this id waits.
	ErrUnknown = errors.New("nothing of this id waits; it may have ended")
	// ErrTime: the time is in the past or too far ahead.
	ErrTime = errors.New("a promotion is scheduled for a time to come, within 30 days")
	// ErrSelf: nobody approves what they asked for.
	ErrSelf = errors.New("a request is approved by somebody else than who made it")
	// ErrFull: more wait than are kept.
	ErrFull = errors.New("too many promotions wait")
	// ErrStarted: it is too late to cancel.
	ErrStarted = errors.New("it has started; cancel the operation instead")
)

// State of something that waits.
type State string

// States. The last three are final.
const (
	AwaitingApproval State = "awaiting-approval"
	Scheduled        State = "scheduled"
	Starting         State = "starting"
	Started          State = "started"
	Refused          State = "refused"
	Cancelled        State = "cancelled"
)

// Request is the promotion that waits: what somebody saw and asked for.
type Request struct {
	Cluster    string      `json:"cluster"`
	Node       string      `json:"node"`
	Generation uint64      `json:"generation,string"`
	Report     plan.Report `json:"report"` // as it was then
	Reason     string      `json:"reason,omitempty"`
	Overrides  []string    `json:"overrides,omitempty"`
	UndoOf     string      `json:"undoOf,omitempty"`
	Who        audit.Who   `json:"who"`
	// At is when it shall start; zero: as soon as it may.
	At time.Time `json:"at,omitzero"`
	// Approver is who approved it, "" when nobody had to.
	Approver string `json:"approver,omitempty"`
}

// Item is one promotion that waits or has waited.
type Item struct {
	ID string `json:"id"`
	Request
	State   State     `json:"state"`
	Asked   time.Time `json:"asked"`
	Expires time.Time `json:"expires,omitzero"` // of an approval
	// Ended, why and the operation it became; zero and "" before.
	Ended     time.Time `json:"ended,omitzero"`
	Why       string    `json:"why,omitempty"`
	Operation string    `json:"operation,omitempty"`
}

func (s State) final() bool { return s == Started || s == Refused || s == Cancelled }

// Book is the projection.
type Book struct {
	j   journal.Journal
	now func() time.Time

	mu    sync.Mutex
	moved chan struct{}
	rev   int64
	items map[string]Item
}

// New returns an empty book; give it each event of the journal with Take.
func New(j journal.Journal, now func() time.Time) *Book {
	return &Book{j: j, now: now, moved: make(chan struct{}), rev: journal.NoStream, items: map[string]Item{}}
}

// Take reads one event of the journal; others pass.
func (b *Book) Take(e journal.Recorded) {
	if e.Stream != Stream {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var i Item
	if json.Unmarshal(e.Data, &i) == nil && i.ID != "" {
		b.items[i.ID] = i
		b.forget()
	}
	b.rev = e.Revision
	close(b.moved)
	b.moved = make(chan struct{})
}

// forget drops the oldest ended items beyond what is kept. The caller holds mu.
func (b *Book) forget() {
	for len(b.items) > maxWaiting+keepEnded {
		oldest := ""
		for id, i := range b.items {
			if i.State.final() && (oldest == "" || i.Ended.Before(b.items[oldest].Ended)) {
				oldest = id
			}
		}
		if oldest == "" {
			return
		}
		delete(b.items, oldest)
	}
}

// put appends an item as it shall be, decided on what the stream holds.
func (b *Book) put(ctx context.Context, kind string, decide func() (Item, error)) (Item, error) {
	for range changeTries {
		b.mu.Lock()
		i, err := decide()
		rev := b.rev
		b.mu.Unlock()
		if err != nil {
			return i, err
		}
		data, err := json.Marshal(i)
		if err != nil {
			return i, fmt.Errorf("encode %s: %w", kind, err)
		}
		at, err := b.j.Append(ctx, Stream, rev, journal.Event{Type: kind, Data: data})
		var conflict *journal.ConflictError
		if errors.As(err, &conflict) {
			if err := b.wait(ctx, conflict.Actual); err != nil {
				return i, err
			}
			continue
		}
		if err != nil {
			return i, fmt.Errorf("record %s: %w", kind, err)
		}
		return i, b.wait(ctx, at)
	}
	return Item{}, errors.New("what waits keeps changing; try again")
}

func (b *Book) wait(ctx context.Context, revision int64) error {
	for {
		b.mu.Lock()
		have, moved := b.rev, b.moved
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

// Add has a promotion wait: for approval when asked, else for its time.
func (b *Book) Add(ctx context.Context, r Request, approval bool) (Item, error) {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return b.put(ctx, WaitBegan, func() (Item, error) {
		now := b.now()
		i := Item{ID: "wt-" + hex.EncodeToString(id[:]), Request: r, State: Scheduled, Asked: now}
		if !r.At.IsZero() && (!r.At.After(now) || r.At.After(now.Add(MaxAhead))) || r.At.IsZero() && !approval {
			return i, ErrTime
		}
		if approval {
			i.State, i.Expires = AwaitingApproval, now.Add(ApprovalLife)
		}
		waiting := 0
		for _, other := range b.items {
			if !other.State.final() {
				waiting++
			}
		}
		if waiting >= maxWaiting {
			return i, ErrFull
		}
		return i, nil
	})
}

// edit changes an item that waits.
func (b *Book) edit(ctx context.Context, kind, id string, f func(*Item) error) (Item, error) {
	return b.put(ctx, kind, func() (Item, error) {
		i, ok := b.items[id]
		if !ok || i.State.final() {
			return i, ErrUnknown
		}
		err := f(&i)
		return i, err
	})
}

// Approve lets a request go on: to its time, or at once. The caller has checked
// that by may approve.
func (b *Book) Approve(ctx context.Context, id, by string) (Item, error) {
	return b.edit(ctx, WaitStarted, id, func(i *Item) error {
		switch {
		case i.State != AwaitingApproval || !b.now().Before(i.Expires):
			return ErrUnknown
		case i.Who.Name == by:
			return ErrSelf
		}
		i.Approver, i.State, i.Expires = by, Starting, time.Time{}
		if !i.At.IsZero() && i.At.After(b.now()) {
			i.State = Scheduled
		}
		return nil
	})
}

// Start claims a scheduled item whose turn has come.
func (b *Book) Start(ctx context.Context, id string) (Item, error) {
	return b.edit(ctx, WaitStarted, id, func(i *Item) error {
		if i.State != Scheduled {
			return ErrStarted
		}
		i.State = Starting
		return nil
	})
}

// Cancel ends an item that has not started; refused says that somebody
// rejected it.
func (b *Book) Cancel(ctx context.Context, id, why string, refused bool) (Item, error) {
	return b.edit(ctx, WaitEnded, id, func(i *Item) error {
		if i.State == Starting {
			return ErrStarted
		}
		i.State = Cancelled
		if refused {
			i.State = Refused
		}
		i.Ended, i.Why = b.now(), why
		return nil
	})
}

// End says what became of a started item.
func (b *Book) End(ctx context.Context, id string, state State, operation, why string) (Item, error) {
	return b.edit(ctx, WaitEnded, id, func(i *Item) error {
		i.State, i.Operation, i.Why, i.Ended = state, operation, why, b.now()
		return nil
	})
}

// Item returns what waits or has waited lately.
func (b *Book) Item(id string) (Item, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := b.items[id]
	return i, ok
}

// Items returns everything, by cluster ("" for all), oldest first.
func (b *Book) Items(cluster string) []Item {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Item
	for _, i := range b.items {
		if cluster == "" || i.Cluster == cluster {
			out = append(out, i)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if !out[i].Asked.Equal(out[j].Asked) {
			return out[i].Asked.Before(out[j].Asked)
		}
		return out[i].ID < out[j].ID
	})
	return out
}
