package reader

import (
	"bytes"
	"math"
	"strconv"
	"sync"

	"baton/eventstore/index"
	"baton/eventstore/stream"
)

// Event is one event as stored. Body, Data and Metadata alias memory of the
// reader and are valid, like the Event itself, until the yield or handler call
// returns. The strings may be kept.
type Event struct {
	ID       [16]byte
	Stream   string
	Revision int64
	Position uint64 // commit and prepare position, > 0
	Created  int64  // 100 ns ticks since the Unix epoch
	Type     string
	JSON     bool
	// Body is the wire form of fields 6 (type, content-type), 7 and 8 of
	// RecordedEvent; the "created" entry of field 6 is not in it.
	Body []byte
	// Link is the link event through which this event was found, nil without.
	Link *Event
	// Unresolved: this event is a link whose target cannot be read; only the
	// link is to be sent. Set only when links are resolved.
	Unresolved bool

	data, meta []byte
}

// Data is the event's data.
func (e *Event) Data() []byte { return e.data }

// Metadata is the event's custom metadata.
func (e *Event) Metadata() []byte { return e.meta }

// Original is the event that stands in the stream that is read: the link, if
// there is one. Its revision and position order the read.
func (e *Event) Original() *Event {
	if e.Link != nil {
		return e.Link
	}
	return e
}

// scratch is the memory of one read: what an Event handed out aliases. Reads
// borrow it from a pool; subscriptions give it back while they wait.
type scratch struct {
	names, types stream.Interner
	event        Event
	views        []stream.EventView
	rows         []index.Row
	buf          []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func borrow() *scratch { return scratches.Get().(*scratch) }

// keepBytes bounds the buffer that a returned scratch keeps.
const keepBytes = 1 << 20

func (s *scratch) release() {
	if s == nil {
		return
	}
	s.event = Event{}
	clear(s.views[:cap(s.views)])
	clear(s.rows[:cap(s.rows)])
	if cap(s.buf) > keepBytes {
		s.buf = nil
	}
	scratches.Put(s)
}

// fill turns a stored event into an Event without allocating for each.
func (s *scratch) fill(r stream.Record, v stream.EventView) *Event {
	s.event = Event{
		ID: v.ID(), Stream: s.names.String(r.Write(v.Write()).Stream),
		Revision: r.Revision(v), Position: r.Position(v), Created: r.Created(),
		Type: s.types.String(v.Type()), JSON: v.JSON(), Body: v.Body(),
		data: v.Data(), meta: v.Metadata(),
	}
	return &s.event
}

// linkTarget reads a link's data, "<revision>@<stream>".
func linkTarget(data []byte) (name string, rev int64, ok bool) {
	at := bytes.IndexByte(data, '@')
	if at <= 0 || at == len(data)-1 {
		return "", 0, false
	}
	rev, err := strconv.ParseInt(string(data[:at]), 10, 64)
	if err != nil || rev < 0 || rev == math.MaxInt64 || data[0] == '+' {
		return "", 0, false
	}
	return string(data[at+1:]), rev, true
}
