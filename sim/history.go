package sim

import (
	"fmt"
	"sort"
	"time"
)

// An op is one append as its client saw it. A client repeats an append whose outcome it does not know, with the same
// event ids, so one op may reach the cluster several times.
type op struct {
	client   int
	stream   string
	expected int64 // stream.Expected
	ids      [][16]byte
	call     time.Duration
	ret      time.Duration // of the outcome; 0 while it is unknown
	state    opState
	first    int64 // first revision, when acknowledged
	actual   int64 // head reported with a conflict
	floor    int64 // highest revision of the stream acknowledged to anybody before the call; -1: none
	tries    int
}

type opState int

const (
	opUnknown opState = iota // called; may or may not have been stored
	opAcked
	opConflict
	opDeleted
)

// history is all ops of a seed in the order of their calls.
type history struct{ ops []*op }

// order checks that revisions respect real time: of two acknowledged appends to one stream, one that began after the
// other had ended has the larger revisions, and no two share one. It takes time n log n.
func (h *history) order() error {
	byStream := map[string][]*op{}
	for _, o := range h.ops {
		if o.state == opAcked {
			byStream[o.stream] = append(byStream[o.stream], o)
		}
	}
	names := make([]string, 0, len(byStream))
	for n := range byStream {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, name := range names {
		ops := byStream[name]
		sort.SliceStable(ops, func(i, j int) bool { return ops[i].first < ops[j].first })
		// Walking up the revisions, no op may have ended before the latest call among the ones below it.
		var latest *op
		for i, o := range ops {
			if i > 0 {
				if p := ops[i-1]; p.first+int64(len(p.ids)) > o.first {
					return violation("P4", "two acknowledged appends to %s share revision %d (clients %d and %d)", name, o.first, p.client, o.client)
				}
			}
			if latest != nil && o.ret < latest.call {
				return violation("P4", "append of client %d to %s got revision %d and ended at %v, yet client %d's append that began later, at %v, got the smaller revision %d",
					o.client, name, o.first, o.ret, latest.client, latest.call, latest.first)
			}
			if latest == nil || o.call > latest.call {
				latest = o
			}
		}
	}
	return nil
}

// A Violation is a broken promise of docs/guarantees.md.
type Violation struct {
	Promise string // P1 ... P11, or a name
	What    string // the invariant and the evidence in one sentence
}

func (v *Violation) Error() string { return v.Promise + ": " + v.What }

func violation(promise, format string, args ...any) *Violation {
	return &Violation{Promise: promise, What: fmt.Sprintf(format, args...)}
}
