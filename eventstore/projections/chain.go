package projections

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"baton/eventstore/projection"
)

// Projections can feed each other: what one writes another reads, and the first reads what comes of that. That may be meant, and end. It may also go on
// for ever, and then it fills the log as fast as the log can be written. So what a projection writes because of something a projection wrote says what
// stands behind it, its chain: the event that all of it goes back to, and how often each projection took part. A projection that is fed what came of what
// it wrote itself more often than the bounds here is stopped with the reason. An event that somebody else writes begins a new chain.
//
// What a chain holds of: emitted events and links, results, states, checkpoints and notes, so that there is no way around it; links of the system's
// projections hand on the chain of what they link to. The first link of a chain is not written down: the signature and the cause in the metadata say it.

// loops bounds how long projections may feed each other.
type loops struct{ rounds, returned int }

// maxRounds is how often a projection may be fed what came of its own events one after the other: a loop with one event at a time ends after so many.
const maxRounds = 100

// maxReturned is how many events that came of its own a projection may be fed for one event at the beginning: a loop that writes ever more ends here. It
// is counted in memory, anew after each start.
const maxReturned = 100_000

// maxNamed is how many of the others the reason names.
const maxNamed = 5

// maxRoots bounds the beginnings for which returned events are counted.
const maxRoots = 1024

// chain says what stands behind something a projection wrote.
type chain struct {
	// Of is the event's own id: metadata that somebody copied to another event says nothing of that one.
	Of string `json:"of"`
	// Root is the id of the event that everything goes back to.
	Root string `json:"root"`
	// By is how often each projection took part, by its signature.
	By map[string]int `json:"by"`
}

// written is what the metadata of something a projection wrote says of where it comes from.
type written struct {
	Sign  string          `json:"$v"`
	Cause string          `json:"$causedBy"`
	Chain json.RawMessage `json:"$chain"` // the last of several: their members are not to mix
}

var (
	signMark  = []byte(`"$v":"`)
	chainMark = []byte(`"$chain":{`)
)

// behind is the chain that ends with an event; nil for one that no projection wrote. short leaves chains out that are not written down.
func behind(id [16]byte, metadata []byte, short bool) *chain {
	mark := signMark
	if short {
		mark = chainMark
	}
	if !bytes.Contains(metadata, mark) {
		return nil
	}
	var w written
	if json.Unmarshal(metadata, &w) != nil || w.Sign == "" {
		return nil
	}
	own := uuid.UUID(id).String()
	var c chain
	if len(w.Chain) > 0 && json.Unmarshal(w.Chain, &c) == nil && c.Of == own && len(c.By) > 0 {
		return &c
	}
	if short {
		return nil
	}
	root := w.Cause
	if root == "" {
		root = own
	}
	return &chain{Root: root, By: map[string]int{w.Sign: 1}}
}

// length is how many projections took part, each time counted.
func (c *chain) length() (n int) {
	if c != nil {
		for _, times := range c.By {
			n += times
		}
	}
	return n
}

// next is the chain of what a projection writes because of something with this chain; nil where it is not written down.
func (c *chain) next(sign string) *chain {
	if c == nil {
		return nil
	}
	by := make(map[string]int, len(c.By)+1)
	for s, n := range c.By {
		by[s] = n
	}
	by[sign]++
	return &chain{Root: c.Root, By: by}
}

// marked is metadata, a JSON object that is not empty, with the chain of the event with the id at its end: of two members of one name the last counts, and
// the program may have copied another event's metadata.
func (c *chain) marked(metadata []byte, id [16]byte) []byte {
	if c == nil {
		return metadata
	}
	of := *c
	of.Of = uuid.UUID(id).String()
	text, err := json.Marshal(of)
	if err != nil {
		panic("projections: encode a chain: " + err.Error()) // texts and numbers
	}
	open := bytes.TrimSuffix(bytes.TrimRight(metadata, " \t\r\n"), []byte("}"))
	out := make([]byte, 0, len(open)+len(text)+12)
	out = append(append(append(out, open...), `,"$chain":`...), text...)
	return append(out, '}')
}

// judge refuses an event whose chain shows that the projection goes on feeding itself.
func (r *run) judge(c *chain, ev *projection.Event) error {
	times := 0
	if c != nil {
		times = c.By[r.sign]
	}
	if times == 0 || r.raw {
		return nil
	}
	if _, known := r.returned[c.Root]; !known && len(r.returned) >= maxRoots {
		clear(r.returned)
	}
	r.returned[c.Root]++
	bounds := r.t.s.o.loops
	if times < bounds.rounds && r.returned[c.Root] <= bounds.returned {
		return nil
	}
	how := fmt.Sprintf("it was fed what came of its own events %d times one after the other", times)
	if times < bounds.rounds {
		how = fmt.Sprintf("it was fed %d events that came of its own", r.returned[c.Root])
	}
	return &StateError{fmt.Sprintf("the projection feeds itself%s, without an end in sight: %s, and all of it goes back to event %s. It was stopped at event %d@%s. Change one of them so that the circle ends, then update this one, with the same program if it is not at fault",
		r.through(c), how, c.Root, ev.Revision, ev.Stream)}
}

// through names the other projections of a chain, those that still are there.
func (r *run) through(c *chain) string {
	var names []string
	for _, it := range r.t.list() {
		own := strconv.FormatInt(it.definition().ID, 10) + ":"
		for sign := range c.By {
			if it.name != r.name && strings.HasPrefix(sign, own) {
				names = append(names, strconv.Quote(it.name))
				break
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	if more := len(names) - maxNamed; more > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("%d more", more))
	}
	return " through " + strings.Join(names, ", ")
}
