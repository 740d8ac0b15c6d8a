package stream

import (
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every error about bytes that are not a
// well-formed record.
var ErrMalformed = errors.New("malformed record")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Kind says what a record asks for.
type Kind uint8

const (
	// KindAppend writes to one stream.
	KindAppend Kind = iota + 1
	// KindMulti writes to several streams, or has checks, all or nothing.
	KindMulti
	// KindDelete soft-deletes: its write goes to the metadata stream, its one
	// check names the deleted stream.
	KindDelete
	// KindTombstone writes the last event a stream ever gets.
	KindTombstone
	// KindAdmin carries bytes for the layer above; streams are not touched.
	KindAdmin
)

// Record is one record. It aliases the memory it was read from and is valid as
// long as that is. The zero Record is not valid.
type Record struct {
	b   []byte
	pos uint64
}

// ParseRecord returns the record that b begins with; pos is its log position.
// It checks the structure and both checksums.
func ParseRecord(b []byte, pos uint64) (Record, error) {
	r, err := frameRecord(b, pos)
	if err != nil {
		return Record{}, err
	}
	return r, r.Verify()
}

// Verify compares both checksums.
func (r Record) Verify() error {
	head := u32(r.b, offHeadSize)
	if got, want := checksum(r.b[offBodyCRC:head]), u32(r.b, offHeadCRC); got != want {
		return malformed("head checksum %08x at %d, stored %08x", got, r.pos, want)
	}
	if got, want := checksum(r.b[head:]), u32(r.b, offBodyCRC); got != want {
		return malformed("body checksum %08x at %d, stored %08x", got, r.pos, want)
	}
	return nil
}

// frameRecord checks every length in the head, so that accessors stay within
// the record; events are checked as they are walked.
func frameRecord(b []byte, pos uint64) (Record, error) {
	if len(b) < headerSize {
		return Record{}, malformed("%d bytes at %d, a header has %d", len(b), pos, headerSize)
	}
	size, head := u32(b, offSize), u32(b, offHeadSize)
	if size > maxRecordBytes || int(size) > len(b) || size < headerSize {
		return Record{}, malformed("size %d at %d, %d bytes there", size, pos, len(b))
	}
	if b[offFormat] != recordFormat {
		return Record{}, malformed("format %d at %d, known is %d", b[offFormat], pos, recordFormat)
	}
	r := Record{b: b[:size:size], pos: pos}
	nw, nc := r.NumWrites(), r.NumChecks()
	tables := uint32(headerSize + nw*writeSize + nc*checkSize)
	if head > size || head < tables {
		return Record{}, malformed("head of %d bytes at %d with %d writes, %d checks, size %d", head, pos, nw, nc, size)
	}
	inHead := func(off uint32, n uint16) bool {
		return off >= tables && off <= head && uint32(n) <= head-off
	}
	for i := range nw {
		w := r.writeEntry(i)
		if !inHead(u32(w, offWriteName), u16(w, offWriteNameLen)) {
			return Record{}, malformed("name of write %d at %d", i, pos)
		}
	}
	for i := range nc {
		c := r.checkEntry(i)
		if !inHead(u32(c, offCheckName), u16(c, offCheckNameLen)) {
			return Record{}, malformed("name of check %d at %d", i, pos)
		}
	}
	if last := u32(b, offLastEvent); last >= size || last != 0 && last < head {
		return Record{}, malformed("last event at offset %d of the record at %d", last, pos)
	}
	k := r.Kind()
	if k < KindAppend || k > KindAdmin {
		return Record{}, malformed("kind %d at %d", k, pos)
	}
	if k == KindAdmin {
		if nw != 0 || nc != 0 || r.NumEvents() != 0 {
			return Record{}, malformed("administrative record with writes at %d", pos)
		}
	} else if nw == 0 {
		return Record{}, malformed("no writes at %d", pos)
	}
	if k == KindDelete && nc != 1 {
		return Record{}, malformed("delete with %d checks at %d", nc, pos)
	}
	return r, nil
}

// Kind says what the record asks for.
func (r Record) Kind() Kind { return Kind(r.b[offKind]) }

// Pos is the log position of the record.
func (r Record) Pos() uint64 { return r.pos }

// Size is the number of bytes of the record.
func (r Record) Size() int { return len(r.b) }

// Bytes is the record as it stands in the log.
func (r Record) Bytes() []byte { return r.b }

// Created is the leader's time when it took the command, in 100 ns ticks since
// the Unix epoch.
func (r Record) Created() int64 { return i64(r.b, offCreated) }

// NumWrites is the number of writes, those added by the leader included.
func (r Record) NumWrites() int { return int(u16(r.b, offNumWrites)) }

// NumChecks is the number of checks.
func (r Record) NumChecks() int { return int(u16(r.b, offNumChecks)) }

// NumEvents is the number of events.
func (r Record) NumEvents() int { return int(u32(r.b, offNumEvents)) }

// Admin returns the kind and payload of an administrative record.
func (r Record) Admin() (kind uint8, payload []byte) {
	return uint8(u16(r.b, offAdminKind)), r.b[u32(r.b, offHeadSize):]
}

// LastPosition is the log position of the last event that a client asked for;
// ok is false if there is none.
func (r Record) LastPosition() (pos uint64, ok bool) {
	off := u32(r.b, offLastEvent)
	return r.pos + uint64(off), off != 0
}

func (r Record) writeEntry(i int) []byte {
	off := headerSize + i*writeSize
	return r.b[off : off+writeSize]
}

func (r Record) checkEntry(i int) []byte {
	off := headerSize + r.NumWrites()*writeSize + i*checkSize
	return r.b[off : off+checkSize]
}

// WriteView is one write of a record.
type WriteView struct {
	Stream   []byte // aliases the record
	Expected Expected
	// First is the revision of the first event, TombstoneRevision for a
	// tombstone. Meaningful once stamped.
	First int64
	Count uint32 // events
	// System marks a write that the leader added.
	System bool
}

// Write returns write i, 0 <= i < NumWrites.
func (r Record) Write(i int) WriteView {
	w := r.writeEntry(i)
	name := u32(w, offWriteName)
	first := i64(w, offWriteNext)
	if r.Kind() == KindTombstone {
		first = TombstoneRevision
	}
	return WriteView{
		Stream:   r.b[name : name+uint32(u16(w, offWriteNameLen))],
		Expected: Expected(i64(w, offWriteExpected)),
		First:    first,
		Count:    u32(w, offWriteCount),
		System:   u16(w, offWriteFlags)&flagSystemWrite != 0,
	}
}

// CheckView is one check of a record.
type CheckView struct {
	Stream   []byte // aliases the record
	Expected Expected
}

// Check returns check i, 0 <= i < NumChecks.
func (r Record) Check(i int) CheckView {
	c := r.checkEntry(i)
	name := u32(c, offCheckName)
	return CheckView{
		Stream:   r.b[name : name+uint32(u16(c, offCheckNameLen))],
		Expected: Expected(i64(c, offCheckExpected)),
	}
}

// Records walks the records of one log entry.
//
//	it := stream.NewRecords(frame.Data, base)
//	for it.Next() { use(it.Record()) }
//	return it.Err()
type Records struct {
	data []byte
	off  int
	base uint64
	rec  Record
	err  error
}

// NewRecords begins a walk over data; base is the log position of data[0].
// Checksums of records are not compared: the log has verified the frame.
func NewRecords(data []byte, base uint64) Records { return Records{data: data, base: base} }

// Next moves to the next record and reports whether there is one.
func (it *Records) Next() bool {
	if it.err != nil || it.off >= len(it.data) {
		return false
	}
	it.rec, it.err = frameRecord(it.data[it.off:], it.base+uint64(it.off))
	if it.err != nil {
		return false
	}
	it.off += it.rec.Size()
	return true
}

// Record is the current record.
func (it *Records) Record() Record { return it.rec }

// Err is the reason why Next stopped early, nil at the end of the data.
func (it *Records) Err() error { return it.err }

// EventView is one event of a record. Slices alias the record.
type EventView struct {
	b      []byte
	offset uint32
}

// ID is the event id chosen by the client.
func (e EventView) ID() (id [16]byte) {
	copy(id[:], e.b[offEventID:])
	return id
}

// Write is the event's place in the table of writes.
func (e EventView) Write() int { return int(u16(e.b, offEventWrite)) }

// Ordinal is the event's place among the events of its write, from 0.
func (e EventView) Ordinal() uint32 { return u32(e.b, offEventOrdinal) }

// Offset is the event's distance from the record's start; record position plus
// offset is the event's position.
func (e EventView) Offset() uint32 { return e.offset }

// JSON reports the content type.
func (e EventView) JSON() bool { return e.b[offEventFlags]&eventFlagJSON != 0 }

// Removed reports whether a scavenge took the event out. Only [Record.AllEvents]
// gives such events; id, type, data and metadata of one are empty.
func (e EventView) Removed() bool { return e.b[offEventFlags]&eventFlagRemoved != 0 }

// Redacted reports whether data and metadata were overwritten with zeros.
func (e EventView) Redacted() bool { return e.b[offEventFlags]&eventFlagRedacted != 0 }

// Type is the event type.
func (e EventView) Type() []byte {
	off := eventHeaderSize + int(e.b[offEventTypeOff])
	return e.b[off : off+int(u32(e.b, offEventType))]
}

// Body is the wire form of RecordedEvent fields 6, 7 and 8.
func (e EventView) Body() []byte { return e.b[eventHeaderSize:] }

// Data is the event's data.
func (e EventView) Data() []byte { return e.b[len(e.b)-int(u32(e.b, offEventData)):] }

// Metadata is the event's custom metadata.
func (e EventView) Metadata() []byte {
	end := len(e.b) - bytesFieldLen(int(u32(e.b, offEventData)))
	return e.b[end-int(u32(e.b, offEventMeta)) : end]
}

// Events walks the events of a record in order.
type Events struct {
	rec Record
	off int
	all bool // also those that were removed
	cur EventView
	err error
}

// AllEvents begins a walk over the record's events, those included that a
// scavenge took out: their place, revision and position are still known.
func (r Record) AllEvents() Events {
	it := r.Events()
	it.all = true
	return it
}

// Events begins a walk over the record's events but those that a scavenge took
// out.
func (r Record) Events() Events {
	if r.Kind() == KindAdmin {
		return Events{rec: r, off: len(r.b)}
	}
	return Events{rec: r, off: int(u32(r.b, offHeadSize))}
}

// Next moves to the next event and reports whether there is one.
func (it *Events) Next() bool {
	for it.next() {
		if it.all || !it.cur.Removed() {
			return true
		}
	}
	return false
}

func (it *Events) next() bool {
	if it.off >= len(it.rec.b) || it.err != nil {
		return false
	}
	b := it.rec.b[it.off:]
	if len(b) < eventHeaderSize {
		return it.fail("header")
	}
	size := u32(b, offEventSize)
	if size < eventHeaderSize || uint64(size) > uint64(len(b)) {
		return it.fail("size")
	}
	b = b[:size:size]
	body := uint64(size - eventHeaderSize)
	typ := uint64(b[offEventTypeOff]) + uint64(u32(b, offEventType))
	data, meta := uint64(bytesFieldLen(int(u32(b, offEventData)))), uint64(bytesFieldLen(int(u32(b, offEventMeta))))
	if typ+meta+data > body || int(u16(b, offEventWrite)) >= it.rec.NumWrites() {
		return it.fail("fields")
	}
	it.cur = EventView{b: b, offset: uint32(it.off)}
	it.off += int(size)
	return true
}

func (it *Events) fail(what string) bool {
	it.err = malformed("event %s at %d", what, it.rec.pos+uint64(it.off))
	return false
}

// Event is the current event.
func (it *Events) Event() EventView { return it.cur }

// Err is the reason why Next stopped early, nil at the end of the record.
func (it *Events) Err() error { return it.err }

// Revision is the revision of event e of this record.
func (r Record) Revision(e EventView) int64 {
	if r.Kind() == KindTombstone {
		return TombstoneRevision
	}
	return i64(r.writeEntry(e.Write()), offWriteNext) + int64(e.Ordinal())
}

// Position is the log position of event e of this record.
func (r Record) Position(e EventView) uint64 { return r.pos + uint64(e.offset) }
