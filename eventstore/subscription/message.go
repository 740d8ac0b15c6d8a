package subscription

import "time"

// Point is a place in what a group reads: the revision of an event of a stream, or the position of an event of all streams.
type Point int64

// Beginning is the place before everything.
const Beginning Point = -1

// Message is one event of a group. The caller sets the exported fields and never changes them; the rest is the group's.
type Message struct {
	ID      [16]byte // of the original event: a link's own when links are resolved
	At      Point    // of the original event; of a replayed one its revision in the parked stream
	Key     string   // what pinned strategies go by
	Bytes   int      // of Payload
	Payload any

	state    state
	before   Point // the last place read before this event
	replayed bool  // read from the parked stream
	retries  int
	bucket   int // of pinned strategies
	consumer *Consumer
	sentAt   time.Duration
	due      time.Duration // when it is sent again; 0: never
	later    *Message      // the next event of the same id

	older, newer *Message // in order of reading, of all that is outstanding from the source
	line         *line    // the line it stands in; nil: none
	prev, next   *Message // in that line
}

// Retries is how often the event was sent before; 0 for the first time.
func (m *Message) Retries() int { return m.retries }

// Replayed says whether the event came from the parked stream.
func (m *Message) Replayed() bool { return m.replayed }

// state says where an outstanding message is.
type state uint8

const (
	waiting  state = iota + 1 // in queue or retries, to be sent
	inFlight                  // with a consumer
	parking                   // its parking is being written
	behind                    // a message of the same id is before it
	handled                   // not outstanding any more
)

// line is a queue of messages that can leave it from anywhere.
type line struct {
	first, last *Message
	count       int
}

func (l *line) push(m *Message) {
	m.line, m.prev, m.next = l, l.last, nil
	if l.last != nil {
		l.last.next = m
	} else {
		l.first = m
	}
	l.last = m
	l.count++
}

// leave takes m out of the line it stands in, if any.
func (m *Message) leave() {
	l := m.line
	if l == nil {
		return
	}
	if m.prev != nil {
		m.prev.next = m.next
	} else {
		l.first = m.next
	}
	if m.next != nil {
		m.next.prev = m.prev
	} else {
		l.last = m.prev
	}
	m.line, m.prev, m.next = nil, nil, nil
	l.count--
}

// ledger holds the outstanding messages of the source in order of reading. Each knows the place read before it, so that the first one tells how far
// everything is handled, without a note for those that were.
type ledger struct {
	oldest, newest *Message
}

func (l *ledger) push(m *Message) {
	m.older = l.newest
	if l.newest != nil {
		l.newest.newer = m
	} else {
		l.oldest = m
	}
	l.newest = m
}

func (l *ledger) remove(m *Message) {
	if m.older != nil {
		m.older.newer = m.newer
	} else {
		l.oldest = m.newer
	}
	if m.newer != nil {
		m.newer.older = m.older
	} else {
		l.newest = m.older
	}
	m.older, m.newer = nil, nil
}
