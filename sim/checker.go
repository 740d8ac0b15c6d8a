package sim

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/stream"
)

// checker watches a whole cluster from outside and stops the seed at the first broken promise:
//
//	P2  the committed prefix is the same on all nodes and never shrinks; a leader that serves holds all of it; every
//	    acknowledged event is stored on every node at the end, at its revision
//	P3  one leader in each term
//	P4  revisions respect real time; an append is refused only when its expectation is truly unmet
//	P5  no event id is stored twice in a stream
//	P8  a clone becomes a voter only when it holds every entry committed at the moment of the proposal
//	P11 when the faults have stopped, writes go on and all nodes come to the same state
//
// It sees what nodes do and never tells them anything. It keeps a model of its own: the streams as the committed
// records make them.
type checker struct {
	w         *world
	leaders   map[uint64]endpoint // by term; looked up only
	served    map[uint64]bool     // terms whose leader was checked for completeness
	committed []entryMark         // by index; [0] unused
	applied   map[endpoint]uint64 // of the present life of each node

	streams map[string][][16]byte // ids by revision
	seen    map[string]bool       // stream + id
	acks    map[string]int64      // highest acknowledged revision
	kept    map[string]int64      // $maxCount of the streams that have one
	failed  *Violation
}

// entryMark identifies an entry.
type entryMark struct {
	term      uint64
	sum       uint64 // of the data as it was committed
	bare      uint64 // of the data without its events
	scavenged bool   // some of its events are gone: sum is not known
}

func newChecker(w *world) *checker {
	return &checker{
		w: w, leaders: map[uint64]endpoint{}, served: map[uint64]bool{}, applied: map[endpoint]uint64{}, committed: make([]entryMark, 1),
		streams: map[string][][16]byte{}, seen: map[string]bool{}, acks: map[string]int64{}, kept: map[string]int64{},
	}
}

func (c *checker) fail(promise, format string, args ...any) {
	if c.failed == nil {
		v := violation(promise, format, args...)
		v.What = fmt.Sprintf("at %.3f s: %s", c.w.now.Seconds(), v.What)
		c.failed = v
	}
}

// logView is what the checker may ask of a node's durable log.
type logView interface {
	LastIndex() (uint64, error)
	Term(index uint64) (uint64, error)
}

// leads notes that node leads term.
func (c *checker) leads(node endpoint, term uint64) {
	if other, ok := c.leaders[term]; ok && other != node {
		c.fail("P3", "nodes %d and %d both lead term %d", other+1, node+1, term)
	}
	c.leaders[term] = node
}

// serves notes that the leader of term begins to serve, and checks that it holds everything ever committed.
func (c *checker) serves(node endpoint, term uint64, log logView) {
	last := uint64(len(c.committed) - 1)
	if c.served[term] || last == 0 {
		return
	}
	c.served[term] = true
	// By raft's log matching, holding the last committed entry means holding all before it. An entry of a later term may
	// have been committed meanwhile: then this leader is deposed without knowing it, and nothing is asked of it.
	if c.committed[last].term > term {
		return
	}
	have, err := log.Term(last)
	if err != nil || have != c.committed[last].term {
		c.fail("P2", "node %d serves term %d without the committed entry %d of term %d (has term %d, %v)", node+1, term, last, c.committed[last].term, have, err)
	}
}

// apply notes that node applied an entry.
func (c *checker) apply(node endpoint, e *raftpb.Entry, data uint64) {
	index := e.GetIndex()
	if last := c.applied[node]; index != last+1 {
		c.fail("P2", "node %d applied entry %d after %d", node+1, index, last)
		return
	}
	c.applied[node] = index
	mark, err := markOf(e, data)
	if err != nil {
		c.fail("P9", "node %d, entry %d: %v", node+1, index, err)
		return
	}
	switch {
	case index == uint64(len(c.committed)):
		c.committed = append(c.committed, mark)
		c.model(e, data)
	case index > uint64(len(c.committed)):
		c.fail("P2", "node %d applied entry %d before entry %d was applied anywhere", node+1, index, len(c.committed))
	case !c.committed[index].same(mark):
		c.fail("P2", "entry %d is of term %d on node %d and of term %d elsewhere, or differs in content", index, e.GetTerm(), node+1, c.committed[index].term)
	}
}

// model applies an entry to the checker's own streams, by the rule and nothing else: a record counts if each of its
// writes begins at the next revision of its stream.
func (c *checker) model(e *raftpb.Entry, data uint64) {
	if e.GetType() != raftpb.EntryNormal {
		return
	}
	records := stream.NewRecords(e.GetData(), data)
	for records.Next() {
		r := records.Record()
		if r.Kind() != stream.KindAppend {
			continue
		}
		w := r.Write(0)
		name := string(w.Stream)
		if w.First != int64(len(c.streams[name])) {
			continue
		}
		events := r.Events()
		for events.Next() {
			id := events.Event().ID()
			key := name + string(id[:])
			if c.seen[key] {
				c.fail("P5", "event %x is stored twice in %s", id, name)
			}
			c.seen[key] = true
			c.streams[name] = append(c.streams[name], id)
		}
		c.keeps(r, name)
	}
	if err := records.Err(); err != nil {
		c.fail("P9", "entry %d holds a malformed record: %v", e.GetIndex(), err)
	}
}

// restarts notes that node begins again with everything up to applied in its index.
func (c *checker) restarts(node endpoint, applied uint64) {
	if applied >= uint64(len(c.committed)) && applied > 0 {
		c.fail("P2", "node %d restarts with entry %d applied, but only %d were ever committed", node+1, applied, len(c.committed)-1)
	}
	c.applied[node] = applied
}

// acked checks an acknowledgement at the moment the client has it: the events stand in the committed streams.
func (c *checker) acked(o *op, outcome stream.Outcome) {
	stored := c.streams[o.stream]
	for i, id := range o.ids {
		rev := o.first + int64(i)
		if rev < 0 || rev >= int64(len(stored)) || stored[rev] != id {
			c.fail("P2", "client %d was told that event %d of its append to %s is stored at revision %d; it is not", o.client, i, o.stream, rev)
			return
		}
	}
	c.acks[o.stream] = max(c.acks[o.stream], o.first+int64(len(o.ids))-1)
	if want := o.first + int64(len(o.ids)) - 1; outcome.Writes[0].Last != want {
		c.fail("P4", "append of %d events at %d to %s: last revision %d", len(o.ids), o.first, o.stream, outcome.Writes[0].Last)
	}
}

// conflict checks a refusal: the expectation is unmet by the head that is named, that head was real, and it was not
// older than what was acknowledged before the call.
func (c *checker) conflict(o *op, alone bool) {
	switch head := int64(len(c.streams[o.stream])) - 1; {
	case alone:
		c.fail("P4", "client %d alone writes %s and is refused: expected %d, told %d, head %d", o.client, o.stream, o.expected, o.actual, head)
	case o.expected == o.actual || o.expected == int64(stream.Any):
		c.fail("P4", "false conflict: client %d expected %d on %s and is told that the head is %d", o.client, o.expected, o.stream, o.actual)
	case o.actual > head:
		c.fail("P4", "client %d is told that %s is at %d; the committed head is %d", o.client, o.stream, o.actual, head)
	case o.actual < o.floor:
		c.fail("P4", "client %d is told that %s is at %d; revision %d was acknowledged before its call", o.client, o.stream, o.actual, o.floor)
	}
}

// promotes checks P8 when a leader puts into its log that clone becomes a voter: the clone's durable log must hold the
// entry that the leader has committed at this moment.
func (c *checker) promotes(leader, clone endpoint, commit, commitTerm uint64, log logView) {
	if commit == 0 {
		return
	}
	have, err := log.Term(commit)
	if err == nil && have == commitTerm {
		return
	}
	last, _ := log.LastIndex()
	c.fail("P8", "node %d makes clone %d a voter although it misses acknowledged writes: entry %d is committed, the clone's log ends at %d", leader+1, clone+1, commit, last)
}

// stopped says whether a promise is broken, for the world's loop.
func (c *checker) stopped() bool { return c.failed != nil }

// calmBudget is the simulated time after the faults within which everything must have come to rest.
const calmBudget = 30 * time.Second
