package stream

import (
	"fmt"
	"math"
	"unicode/utf8"

	"baton/platform/trace"
)

// Defaults of Limits.
const (
	DefaultMaxEventBytes  = 16 << 20
	DefaultMaxAppendBytes = 256 << 20
)

// Limits bounds what a builder accepts. A zero field means its default.
type Limits struct {
	MaxEventBytes  int // data + custom metadata + type of one event
	MaxAppendBytes int // the same, summed over one command
}

func (l Limits) event() int {
	if l.MaxEventBytes > 0 {
		return l.MaxEventBytes
	}
	return DefaultMaxEventBytes
}

func (l Limits) append() int {
	if l.MaxAppendBytes > 0 {
		return l.MaxAppendBytes
	}
	return DefaultMaxAppendBytes
}

// LimitError says that an event or a whole append is too big.
type LimitError struct {
	Stream  string
	EventID [16]byte // of the event; zero when the whole append is too big
	Whole   bool     // the whole append is too big
	Size    int      // bytes
	Max     int      // bytes
}

func (e *LimitError) Error() string {
	if e.Whole {
		return fmt.Sprintf("the append has %d bytes or more, at most %d are allowed", e.Size, e.Max)
	}
	return fmt.Sprintf("event %x has %d bytes, at most %d are allowed", e.EventID, e.Size, e.Max)
}

// Command is one encoded request. It belongs to one goroutine at a time: the
// sequencer stamps it in place.
type Command struct {
	rec    Record
	names  []string // of the writes
	checks []string // names of the checks
	// docs has, for each write to a metadata stream, what its last event sets.
	docs []*Metadata
	// fresh: stored events were compared and are not those of the command.
	fresh bool

	// Trace is the span the command is carried out in; nil: nobody follows it. It is
	// no part of the encoded form.
	Trace *trace.Context
}

// Bytes is the encoded form, for sending to the leader. Valid until the command
// is sequenced again.
func (c *Command) Bytes() []byte { return c.rec.b }

// Kind says what the command asks for.
func (c *Command) Kind() Kind { return c.rec.Kind() }

// NumEvents is how many events the command carries.
func (c *Command) NumEvents() int { return c.rec.NumEvents() }

// Size is the number of bytes of the encoded form.
func (c *Command) Size() int { return len(c.rec.b) }

// Streams calls f for each stream whose head the sequencer will ask for: call
// HeadSource.Head for them beforehand, off the consensus loop, to warm a cache.
func (c *Command) Streams(f func(stream string)) {
	for _, n := range c.names {
		f(OriginalOf(n))
	}
	for _, n := range c.checks {
		f(OriginalOf(n))
	}
}

// NewAppend builds an append to one stream. Errors are *RequestError and
// *LimitError.
func NewAppend(lim Limits, w Write) (*Command, error) {
	if err := checkWrite(w); err != nil {
		return nil, err
	}
	return encode(KindAppend, lim, []Write{w}, nil)
}

// NewMultiAppend builds an append to several streams, done completely or not at
// all. Events get their positions in the order given; elements of writes that
// name the same stream are one write, whose expectation is that of the first
// element (later ones must be Any or equal). Errors are *RequestError and
// *LimitError.
func NewMultiAppend(lim Limits, writes []Write, checks []Check) (*Command, error) {
	if len(writes) == 0 {
		return nil, &RequestError{"an append to several streams needs at least one write"}
	}
	for _, w := range writes {
		if err := checkWrite(w); err != nil {
			return nil, err
		}
	}
	seen := make(map[string]bool, len(checks))
	for _, c := range checks {
		if err := CheckName(c.Stream); err != nil {
			return nil, err
		}
		if c.Stream == AllStream {
			return nil, &RequestError{"$all has no state to check"}
		}
		if seen[c.Stream] {
			return nil, &RequestError{fmt.Sprintf("stream %q has more than one check", c.Stream)}
		}
		seen[c.Stream] = true
		if c.Expected < 0 && c.Expected != NoStream && c.Expected != Exists &&
			c.Expected != SoftDeleted && c.Expected != Tombstoned {
			return nil, &RequestError{fmt.Sprintf("a check cannot expect %d", c.Expected)}
		}
	}
	return encode(KindMulti, lim, writes, checks)
}

// NewDelete builds a soft delete. Errors are *RequestError.
func NewDelete(stream string, expected Expected) (*Command, error) {
	if err := checkDeletable(stream, expected); err != nil {
		return nil, err
	}
	w := Write{Stream: MetaStream(stream), Expected: Any, Events: []Event{{
		Type: MetadataType, JSON: true, Data: []byte(softDeleteDocument),
	}}}
	return encode(KindDelete, Limits{}, []Write{w}, []Check{{Stream: stream, Expected: expected}})
}

// NewTombstone builds a hard delete. Errors are *RequestError.
func NewTombstone(stream string, expected Expected) (*Command, error) {
	if err := checkDeletable(stream, expected); err != nil {
		return nil, err
	}
	w := Write{Stream: stream, Expected: expected, Events: []Event{{Type: TombstoneType}}}
	return encode(KindTombstone, Limits{}, []Write{w}, nil)
}

// NewAdmin builds a record that carries bytes for the layer above in log order.
func NewAdmin(kind uint8, payload []byte) (*Command, error) {
	if len(payload) > maxRecordBytes-headerSize {
		return nil, &RequestError{"the administrative payload is too big"}
	}
	b := make([]byte, headerSize, headerSize+len(payload))
	putU16(b, offAdminKind, uint16(kind))
	b = append(b, payload...)
	putU32(b, offHeadSize, headerSize)
	return seal(b, KindAdmin)
}

// segmentKind is the kind of an administrative record that carries nothing and
// begins a segment of the log. Kind 1 is the replica's.
const segmentKind = 2

// NewSegmentMark builds the command whose entry begins a new segment of the log:
// what stands before it is then in closed segments, on every node alike.
func NewSegmentMark() *Command {
	c, err := NewAdmin(segmentKind, nil)
	if err != nil {
		panic(err) // it is of one size
	}
	return c
}

// BeginsSegment reports whether the command is one of NewSegmentMark. It must be
// the first of its entry to take effect.
func (c *Command) BeginsSegment() bool { return BeginsSegment(c.rec.b) }

// BeginsSegment reports whether data, that of an entry, begins with a segment
// mark. Only its first bytes are looked at.
func BeginsSegment(data []byte) bool {
	return len(data) >= headerSize && data[offKind] == uint8(KindAdmin) && data[offFormat] == recordFormat && u16(data, offAdminKind) == segmentKind
}

func checkWrite(w Write) error {
	if err := checkWritable(w.Stream); err != nil {
		return err
	}
	if err := checkExpected(w.Expected); err != nil {
		return err
	}
	for i := range w.Events {
		e := &w.Events[i]
		if e.Type == "" {
			return &RequestError{"an event has no type"}
		}
		if !utf8.ValidString(e.Type) {
			return &RequestError{"an event type is not valid UTF-8"}
		}
	}
	return nil
}

func checkExpected(e Expected) error {
	if e < 0 && e != NoStream && e != Any && e != Exists {
		return &RequestError{fmt.Sprintf("%d is not an expected revision", e)}
	}
	return nil
}

func checkDeletable(stream string, e Expected) error {
	if err := checkWritable(stream); err != nil {
		return err
	}
	if IsMetaStream(stream) {
		return &RequestError{"a metadata stream cannot be deleted; delete the stream it describes"}
	}
	return checkExpected(e)
}

// table collects the distinct streams of a command in order of appearance.
type table struct {
	writes []Write // Events unused
	counts []uint32
	of     []int // for each element of the request: its place in writes
}

// firstOnly is the table of a command that writes to one stream; never changed.
var firstOnly = []int{0}

func newTable(writes []Write) (table, error) {
	var t table
	if len(writes) == 1 {
		// The usual case allocates nothing.
		return table{writes: writes, counts: []uint32{uint32(len(writes[0].Events))}, of: firstOnly}, nil
	}
	at := make(map[string]int, len(writes))
	for _, w := range writes {
		i, ok := at[w.Stream]
		if !ok {
			i = len(t.writes)
			at[w.Stream] = i
			t.writes = append(t.writes, w)
			t.counts = append(t.counts, 0)
		} else if w.Expected != Any && w.Expected != t.writes[i].Expected {
			return t, &RequestError{fmt.Sprintf("stream %q has two different expected revisions", w.Stream)}
		}
		t.counts[i] += uint32(len(w.Events))
		t.of = append(t.of, i)
	}
	if len(t.writes) > maxWrites {
		return t, &RequestError{"a command can write to 65535 streams at most"}
	}
	return t, nil
}

func encode(kind Kind, lim Limits, writes []Write, checks []Check) (*Command, error) {
	t, err := newTable(writes)
	if err != nil {
		return nil, err
	}
	if len(checks) > maxWrites {
		return nil, &RequestError{"a command can have 65535 checks at most"}
	}
	head, total, content, events := headerSize+len(t.writes)*writeSize+len(checks)*checkSize, 0, 0, 0
	for _, w := range t.writes {
		head += len(w.Stream)
	}
	for _, c := range checks {
		head += len(c.Stream)
	}
	for _, w := range writes {
		for i := range w.Events {
			e := &w.Events[i]
			size := len(e.Data) + len(e.Metadata) + len(e.Type)
			if size > lim.event() {
				return nil, &LimitError{Stream: w.Stream, EventID: e.ID, Size: size, Max: lim.event()}
			}
			content += size
			if content > lim.append() {
				return nil, &LimitError{Stream: w.Stream, Whole: true, Size: content, Max: lim.append()}
			}
			total += eventHeaderSize + bodyLen(len(e.Type), len(e.Metadata), len(e.Data), e.JSON)
		}
		events += len(w.Events)
	}
	if head+total > maxRecordBytes || events > math.MaxInt32 {
		return nil, &LimitError{Whole: true, Size: head + total, Max: maxRecordBytes}
	}

	enc := encoder{b: make([]byte, headerSize+len(t.writes)*writeSize+len(checks)*checkSize, head+total)}
	enc.tables(len(t.writes), len(checks))
	for i, w := range t.writes {
		enc.write(i, w.Stream, w.Expected, t.counts[i], 0)
	}
	for i, c := range checks {
		enc.check(i, c)
	}
	enc.endHead()
	ordinals := make([]uint32, len(t.writes))
	for j, w := range writes {
		at := t.of[j]
		for i := range w.Events {
			enc.event(&w.Events[i], at, ordinals[at])
			ordinals[at]++
		}
	}
	c, err := seal(enc.b, kind)
	if err != nil {
		return nil, err
	}
	c.names = make([]string, len(t.writes))
	for i, w := range t.writes {
		c.names[i] = w.Stream
	}
	for _, k := range checks {
		c.checks = append(c.checks, k.Stream)
	}
	return c, c.readDocs()
}

// encoder fills a record: tables, names, end of head, events.
type encoder struct{ b []byte }

func (e *encoder) tables(writes, checks int) {
	putU16(e.b, offNumWrites, uint16(writes))
	putU16(e.b, offNumChecks, uint16(checks))
}

func (e *encoder) write(i int, name string, expected Expected, count uint32, flags uint16) {
	w := e.b[headerSize+i*writeSize:]
	putI64(w, offWriteExpected, int64(expected))
	putU32(w, offWriteCount, count)
	putU32(w, offWriteName, uint32(len(e.b)))
	putU16(w, offWriteNameLen, uint16(len(name)))
	putU16(w, offWriteFlags, flags)
	e.b = append(e.b, name...)
}

func (e *encoder) check(i int, c Check) {
	k := e.b[headerSize+int(u16(e.b, offNumWrites))*writeSize+i*checkSize:]
	putI64(k, offCheckExpected, int64(c.Expected))
	putU32(k, offCheckName, uint32(len(e.b)))
	putU16(k, offCheckNameLen, uint16(len(c.Stream)))
	e.b = append(e.b, c.Stream...)
}

func (e *encoder) endHead() { putU32(e.b, offHeadSize, uint32(len(e.b))) }

func (e *encoder) event(ev *Event, write int, ordinal uint32) {
	var h [eventHeaderSize]byte
	putU32(h[:], offEventSize, uint32(eventHeaderSize+bodyLen(len(ev.Type), len(ev.Metadata), len(ev.Data), ev.JSON)))
	putU32(h[:], offEventOrdinal, ordinal)
	putU32(h[:], offEventData, uint32(len(ev.Data)))
	putU32(h[:], offEventMeta, uint32(len(ev.Metadata)))
	putU32(h[:], offEventType, uint32(len(ev.Type)))
	putU16(h[:], offEventWrite, uint16(write))
	h[offEventTypeOff] = uint8(typeOffset(len(ev.Type)))
	if ev.JSON {
		h[offEventFlags] = eventFlagJSON
	}
	copy(h[offEventID:], ev.ID[:])
	putU32(e.b, offLastEvent, uint32(len(e.b)))
	e.b = appendBody(append(e.b, h[:]...), ev.Type, ev.JSON, ev.Metadata, ev.Data)
	putU32(e.b, offNumEvents, u32(e.b, offNumEvents)+1)
}

// seal completes header and checksums.
func seal(b []byte, kind Kind) (*Command, error) {
	putU32(b, offSize, uint32(len(b)))
	b[offFormat] = recordFormat
	b[offKind] = uint8(kind)
	sealBody(b)
	sealHead(b)
	rec, err := frameRecord(b, 0)
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	return &Command{rec: rec}, nil
}

// ParseCommand reads a command that another node encoded. It checks everything
// a builder would have checked except the size limits, so that nothing a peer
// sends can damage the log. b is kept and must not be used any more.
func ParseCommand(b []byte) (*Command, error) {
	rec, err := ParseRecord(b, 0)
	if err != nil {
		return nil, err
	}
	if rec.Size() != len(b) {
		return nil, malformed("%d bytes after the command", len(b)-rec.Size())
	}
	c := &Command{rec: rec}
	k := rec.Kind()
	if k == KindAdmin {
		return c, nil
	}
	counts := make([]uint32, rec.NumWrites())
	seen := make(map[string]bool, rec.NumWrites())
	for i := range counts {
		w := rec.Write(i)
		name := string(w.Stream)
		if err := checkWritable(name); err != nil {
			return nil, malformed("write %d: %v", i, err)
		}
		if err := checkExpected(w.Expected); err != nil {
			return nil, malformed("write %d: %v", i, err)
		}
		if w.System || seen[name] {
			return nil, malformed("write %d is not a client's", i)
		}
		seen[name] = true
		c.names = append(c.names, name)
	}
	for i := range rec.NumChecks() {
		name := string(rec.Check(i).Stream)
		if err := CheckName(name); err != nil {
			return nil, malformed("check %d: %v", i, err)
		}
		c.checks = append(c.checks, name)
	}
	n, last := 0, uint32(0)
	it := rec.Events()
	for it.Next() {
		e := it.Event()
		last = e.Offset()
		if e.Ordinal() != counts[e.Write()] {
			return nil, malformed("event %d has ordinal %d", n, e.Ordinal())
		}
		if !validBody(e.Body(), len(e.Type()), int(u32(e.b, offEventMeta)), len(e.Data()), e.JSON()) ||
			int(e.b[offEventTypeOff]) != typeOffset(len(e.Type())) || !utf8.Valid(e.Type()) {
			return nil, malformed("body of event %d", n)
		}
		counts[e.Write()]++
		n++
	}
	if it.Err() != nil {
		return nil, it.Err()
	}
	if n != rec.NumEvents() {
		return nil, malformed("%d events, %d announced", n, rec.NumEvents())
	}
	if last != u32(b, offLastEvent) {
		return nil, malformed("last event at %d, announced at %d", last, u32(b, offLastEvent))
	}
	for i, count := range counts {
		if count != rec.Write(i).Count {
			return nil, malformed("write %d has %d events, %d announced", i, count, rec.Write(i).Count)
		}
	}
	if err := c.checkShape(); err != nil {
		return nil, err
	}
	return c, c.readDocs()
}

// checkShape holds a parsed command to what the builder of its kind makes.
func (c *Command) checkShape() error {
	ok := true
	switch c.rec.Kind() {
	case KindAppend:
		ok = len(c.names) == 1 && len(c.checks) == 0
	case KindTombstone:
		ok = len(c.names) == 1 && len(c.checks) == 0 && c.rec.NumEvents() == 1 && !IsMetaStream(c.names[0])
	case KindDelete:
		ok = len(c.names) == 1 && len(c.checks) == 1 && c.rec.NumEvents() == 1 &&
			!IsMetaStream(c.checks[0]) && c.names[0] == MetaStream(c.checks[0])
	}
	if !ok {
		return malformed("a command of kind %d has another shape", c.rec.Kind())
	}
	return nil
}

// readDocs parses the metadata documents that the command writes, while still
// off the consensus loop.
func (c *Command) readDocs() error {
	meta := false
	for _, n := range c.names {
		meta = meta || IsMetaStream(n)
	}
	if !meta {
		return nil
	}
	c.docs = make([]*Metadata, len(c.names))
	it := c.rec.Events()
	for it.Next() {
		e := it.Event()
		w := e.Write()
		if IsMetaStream(c.names[w]) && e.Ordinal()+1 == c.rec.Write(w).Count {
			c.docs[w] = ParseMetadata(e.Type(), e.JSON(), e.Data())
		}
	}
	return it.Err()
}
