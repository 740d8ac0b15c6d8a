package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"baton/control/journal"
)

// Trail is every record of every cluster in the order of the journal, for
// reading over all of them. Give it each event of the journal with Take. It
// keeps no report and no steps: those stay in the journal. Safe for many
// goroutines.
type Trail struct {
	mu      sync.RWMutex
	entries []Entry
	chains  map[string]*Chain
	noted   map[string]Head // as of the last heads record
	heads   tail
	seen    map[string]time.Time // by person: the last record
}

// Entry is a record with its places: in the journal, and in its chain from 1.
type Entry struct {
	Record
	Position uint64
	Index    int
}

// NewTrail returns a trail that has read nothing.
func NewTrail() *Trail {
	return &Trail{chains: map[string]*Chain{}, noted: map[string]Head{}, heads: tail{revision: journal.NoStream}, seen: map[string]time.Time{}}
}

// Take reads one event of the journal; events that are not of the audit pass.
func (t *Trail) Take(e journal.Recorded) {
	switch e.Type {
	case EventType:
		t.takeRecord(e)
	case HeadsType:
		var h Heads
		if json.Unmarshal(e.Data, &h) != nil {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		maps.Copy(t.noted, h.Chains)
		t.heads = tail{e.Revision, h.Hash}
	}
}

func (t *Trail) takeRecord(e journal.Recorded) {
	cluster := strings.TrimPrefix(e.Stream, Stream(""))
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.chains[cluster]
	if c == nil {
		c = &Chain{Cluster: cluster}
		t.chains[cluster] = c
	}
	c.Add(e.Data)
	var r Record
	if json.Unmarshal(e.Data, &r) != nil {
		return // the chain says so
	}
	if ch := r.Change; ch != nil {
		r.Change = &Change{Operation: ch.Operation, Kind: ch.Kind, From: ch.From, To: ch.To, Reason: ch.Reason, Stall: ch.Stall,
			GenerationBefore: ch.GenerationBefore, GenerationAfter: ch.GenerationAfter}
	}
	t.entries = append(t.entries, Entry{r, e.Position, c.Records})
	if r.Source != "auto" && r.Outcome != Refused && r.At.After(t.seen[r.Name]) {
		t.seen[r.Name] = r.At
	}
}

// Filter of records; an empty field lets everything pass.
type Filter struct {
	Cluster, Who, Outcome, Kind string
	From, To                    time.Time // From inclusive, To exclusive
}

func (f *Filter) match(e *Entry) bool {
	return (f.Cluster == "" || e.Cluster == f.Cluster) && (f.Who == "" || e.Name == f.Who) && (f.Outcome == "" || e.Outcome == f.Outcome) &&
		(f.Kind == "" || KindOf(&e.Record) == f.Kind) && (f.From.IsZero() || !e.At.Before(f.From)) && (f.To.IsZero() || e.At.Before(f.To))
}

// Match tells whether a record passes the filter.
func (f *Filter) Match(r *Record) bool { return f.match(&Entry{Record: *r}) }

// KindOf is what an attempt was about: the kind of its operation, or what the
// writer of the record said, "attempt" for records from before kinds.
func KindOf(r *Record) string {
	switch {
	case r.Change != nil:
		return r.Change.Kind
	case r.Kind != "":
		return r.Kind
	case strings.Contains(r.What, "sign in") || strings.Contains(r.What, "signed in"):
		return "sign-in"
	}
	return "attempt"
}

// Activity returns at most limit records that pass the filter, newest first,
// that stand before a journal position (0: from the newest). next continues, 0
// at the end.
func (t *Trail) Activity(f Filter, before uint64, limit int) (out []Entry, next uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i := len(t.entries)
	if before > 0 {
		i = sort.Search(len(t.entries), func(i int) bool { return t.entries[i].Position >= before })
	}
	for i--; i >= 0; i-- {
		e := &t.entries[i]
		if !f.match(e) {
			continue
		}
		if len(out) == limit {
			return out, out[len(out)-1].Position
		}
		out = append(out, *e)
	}
	return out, 0
}

// Between returns a cluster's records of a span of time, oldest first, at most
// limit of them.
func (t *Trail) Between(cluster string, from, to time.Time, limit int) []Entry {
	f := Filter{Cluster: cluster, From: from, To: to}
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []Entry
	for i := range t.entries {
		if f.match(&t.entries[i]) && len(out) < limit {
			out = append(out, t.entries[i])
		}
	}
	return out
}

// Clusters returns every cluster with records, sorted; System is one of them.
func (t *Trail) Clusters() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return sortedKeys(t.chains)
}

// LastSeen is when somebody last did something that is recorded; zero: never.
func (t *Trail) LastSeen(name string) time.Time {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.seen[name]
}

// NoteHeads records how far the chains have come, when any has grown since the
// last time.
func (t *Trail) NoteHeads(ctx context.Context, j journal.Journal, now time.Time) error {
	t.mu.RLock()
	h := Heads{At: now, Chains: map[string]Head{}, Prev: t.heads.hash}
	for name, c := range t.chains {
		if head := (Head{c.Records, c.Hash}); t.noted[name] != head {
			h.Chains[name] = head
		}
	}
	expected := t.heads.revision
	t.mu.RUnlock()
	if len(h.Chains) == 0 {
		return nil
	}
	h.Hash = h.hash()
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode audit heads: %w", err)
	}
	if _, err := j.Append(ctx, HeadsStream, expected, journal.Event{Type: HeadsType, Data: data}); err != nil {
		return fmt.Errorf("note how far the audit has come: %w", err)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Chain returns a cluster's chain as far as it was read.
func (t *Trail) Chain(cluster string) Chain {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if c := t.chains[cluster]; c != nil {
		return *c
	}
	return Chain{Cluster: cluster}
}
