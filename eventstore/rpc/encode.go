package rpc

import (
	"encoding/binary"
	"math/bits"
	"strconv"

	"baton/eventstore/reader"
)

// Events read are written by hand: ReadResp{event: ReadEvent{...}} around the stored bytes of the recorded event's fields 6 to 8.

const (
	tagRespEvent     = 1<<3 | 2 // ReadResp.event
	tagEventEvent    = 1<<3 | 2 // ReadEvent.event
	tagEventLink     = 2<<3 | 2 // ReadEvent.link
	tagEventPosition = 3 << 3   // ReadEvent.commit_position

	tagID       = 1<<3 | 2 // RecordedEvent.id
	tagStream   = 2<<3 | 2 // RecordedEvent.stream_identifier
	tagRevision = 3 << 3   // RecordedEvent.stream_revision
	tagPrepare  = 4 << 3   // RecordedEvent.prepare_position
	tagCommit   = 5 << 3   // RecordedEvent.commit_position
	tagMetadata = 6<<3 | 2 // RecordedEvent.metadata

	createdKey    = "\x0a\x07created\x12"
	textUUIDBytes = 36

	// frameHeaderBytes precede each gRPC message: a flag and the length.
	frameHeaderBytes = 5
)

func varintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func lengthSize(n int) int { return 1 + varintSize(uint64(n)) + n }

// recorded holds the sizes and texts of one recorded event about to be written.
type recorded struct {
	event   *reader.Event
	created [20]byte
	digits  int
	id      int // bytes of the UUID message
	name    int // bytes of the stream identifier message
	size    int // bytes of the RecordedEvent message
}

func (r *recorded) measure(e *reader.Event, textIDs bool) {
	r.event = e
	r.digits = len(strconv.AppendInt(r.created[:0], e.Created, 10))
	if textIDs {
		r.id = lengthSize(textUUIDBytes)
	} else {
		high, low := binary.BigEndian.Uint64(e.ID[:8]), binary.BigEndian.Uint64(e.ID[8:])
		r.id = lengthSize(2 + varintSize(high) + varintSize(low))
	}
	r.name = lengthSize(len(e.Stream))
	position := 1 + varintSize(e.Position)
	r.size = lengthSize(r.id) + lengthSize(r.name) + 1 + varintSize(uint64(e.Revision)) + 2*position +
		lengthSize(len(createdKey)+1+r.digits) + len(e.Body)
}

func (r *recorded) append(b []byte, tag byte, textIDs bool) []byte {
	e := r.event
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(r.size))
	b = append(b, tagID)
	b = binary.AppendUvarint(b, uint64(r.id))
	if textIDs {
		b = append(b, 2<<3|2, textUUIDBytes)
		b = appendUUID(b, e.ID)
	} else {
		high, low := binary.BigEndian.Uint64(e.ID[:8]), binary.BigEndian.Uint64(e.ID[8:])
		b = append(b, 1<<3|2, byte(2+varintSize(high)+varintSize(low)), 1<<3)
		b = binary.AppendUvarint(b, high)
		b = append(b, 2<<3)
		b = binary.AppendUvarint(b, low)
	}
	b = append(b, tagStream)
	b = binary.AppendUvarint(b, uint64(r.name))
	b = append(b, 3<<3|2)
	b = binary.AppendUvarint(b, uint64(len(e.Stream)))
	b = append(b, e.Stream...)
	b = append(b, tagRevision)
	b = binary.AppendUvarint(b, uint64(e.Revision))
	b = append(b, tagPrepare)
	b = binary.AppendUvarint(b, e.Position)
	b = append(b, tagCommit)
	b = binary.AppendUvarint(b, e.Position)
	b = append(b, tagMetadata, byte(len(createdKey)+1+r.digits))
	b = append(b, createdKey...)
	b = append(b, byte(r.digits))
	b = append(b, r.created[:r.digits]...)
	return append(b, e.Body...)
}

const hexDigits = "0123456789abcdef"

// appendUUID writes the dashed text form.
func appendUUID(b []byte, id [16]byte) []byte {
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hexDigits[c>>4], hexDigits[c&15])
	}
	return b
}

// eventMessage measures one ReadResp that carries an event, and then writes it.
type eventMessage struct {
	event, link recorded
	hasEvent    bool
	hasLink     bool
	position    uint64
	inner       int // bytes of ReadEvent
	size        int // bytes of ReadResp
	textIDs     bool
}

func (m *eventMessage) measure(e *reader.Event, textIDs bool) {
	m.textIDs = textIDs
	m.hasEvent, m.hasLink = !e.Unresolved, e.Unresolved || e.Link != nil
	m.inner = 0
	if m.hasEvent {
		m.event.measure(e, textIDs)
		m.inner += lengthSize(m.event.size)
	}
	if m.hasLink {
		link := e
		if e.Link != nil {
			link = e.Link
		}
		m.link.measure(link, textIDs)
		m.inner += lengthSize(m.link.size)
	}
	m.position = e.Original().Position
	m.inner += 1 + varintSize(m.position)
	m.size = lengthSize(m.inner)
}

// append writes the message with its gRPC frame header.
func (m *eventMessage) append(b []byte) []byte {
	b = append(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(m.size))
	b = append(b, tagRespEvent)
	b = binary.AppendUvarint(b, uint64(m.inner))
	b = append(b, tagEventPosition)
	b = binary.AppendUvarint(b, m.position)
	if m.hasEvent {
		b = m.event.append(b, tagEventEvent, m.textIDs)
	}
	if m.hasLink {
		b = m.link.append(b, tagEventLink, m.textIDs)
	}
	return b
}
