package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"baton/eventstore/stream"
)

// Hand-written decoders of the append requests. They accept what the generated code accepts (fuzz tests compare the two) and alias the received bytes.

var errWire = errors.New("malformed protobuf message")

// field is one field of a message: its number, and its value by wire type.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	value uint64 // varint, fixed
	data  []byte // length-delimited
}

// next cuts one field off b. Groups and reserved wire types are skipped over or refused as the wire format demands.
func next(b []byte) (f field, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, nil, errWire
	}
	b = b[n:]
	f.num, f.typ = num, typ
	switch typ {
	case protowire.VarintType:
		f.value, n = protowire.ConsumeVarint(b)
	case protowire.BytesType:
		f.data, n = protowire.ConsumeBytes(b)
	default:
		n = protowire.ConsumeFieldValue(num, typ, b)
	}
	if n < 0 {
		return f, nil, errWire
	}
	return f, b[n:], nil
}

// proposal is one proposed event with what is known about the completeness of its metadata.
type proposal struct {
	event          stream.Event
	hasID          bool
	hasType        bool
	hasContentType bool
}

// check says what the proposal lacks; nil if nothing.
func (p *proposal) check() error {
	if !p.hasType || !p.hasContentType {
		return errMissingProperty
	}
	if !p.hasID {
		return badRequest("a proposed event has no id")
	}
	return nil
}

// decodeProposal reads a ProposedMessage of Append or BatchAppend; both have the same fields. The event aliases b.
func decodeProposal(b []byte, p *proposal) error {
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		if f.typ != protowire.BytesType {
			continue
		}
		switch f.num {
		case 1:
			p.hasID = true
			if err := decodeUUID(f.data, &p.event.ID); err != nil {
				return err
			}
		case 2:
			if err := p.metadataEntry(f.data); err != nil {
				return err
			}
		case 3:
			p.event.Metadata = f.data
		case 4:
			p.event.Data = f.data
		}
	}
	return nil
}

func (p *proposal) metadataEntry(b []byte) error {
	var key, value []byte
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		if f.typ != protowire.BytesType {
			continue
		}
		switch f.num {
		case 1:
			key = f.data
		case 2:
			value = f.data
		}
	}
	if !utf8.Valid(key) || !utf8.Valid(value) {
		return errWire
	}
	switch string(key) {
	case "type":
		p.hasType = true
		p.event.Type = aliasString(value)
	case "content-type":
		p.hasContentType = true
		p.event.JSON = string(value) == contentTypeJSON
	}
	return nil
}

const contentTypeJSON = "application/json"

// aliasString makes a string of received bytes without copying them. The builders of package stream copy an event's type into the command, so that
// nothing refers to the bytes once they are released.
func aliasString(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// decodeUUID reads a UUID in either form. An empty message leaves the zero id.
func decodeUUID(b []byte, id *[16]byte) error {
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		if f.typ != protowire.BytesType {
			continue
		}
		switch f.num {
		case 1:
			*id = [16]byte{}
			for s := f.data; len(s) > 0; {
				half, rest, err := next(s)
				if err != nil {
					return err
				}
				s = rest
				if half.typ == protowire.VarintType && (half.num == 1 || half.num == 2) {
					binary.BigEndian.PutUint64(id[(half.num-1)*8:], half.value)
				}
			}
		case 2:
			parsed, err := parseUUID(f.data)
			if err != nil {
				return err
			}
			*id = parsed
		}
	}
	return nil
}

// parseUUID reads the dashed text form, or 32 hexadecimal digits.
func parseUUID(text []byte) (id [16]byte, err error) {
	n := 0
	for i := 0; i < len(text); i++ {
		if text[i] == '-' {
			continue
		}
		if i+1 >= len(text) || n == 16 {
			return id, badRequest("%q is not a UUID", clip(text))
		}
		high, low := unhex(text[i]), unhex(text[i+1])
		if high > 15 || low > 15 {
			return id, badRequest("%q is not a UUID", clip(text))
		}
		id[n] = high<<4 | low
		n++
		i++
	}
	if n != 16 {
		return id, badRequest("%q is not a UUID", clip(text))
	}
	return id, nil
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

// clip bounds text from a client before it is repeated in a message.
func clip(text []byte) string {
	if len(text) > 64 {
		return string(text[:64]) + "…"
	}
	return string(text)
}

// target is the stream of a request and what it is expected to be.
type target struct {
	stream   string
	expected stream.Expected
	hasName  bool
	hasState bool
}

// check refuses targets that cannot be written.
func (t *target) check() error {
	switch {
	case !t.hasName || t.stream == "":
		return badRequest("the request names no stream")
	case !utf8.ValidString(t.stream):
		return badRequest("the stream's name is not UTF-8")
	case t.stream == "$$" || t.stream == stream.AllStream:
		return badRequest("%q cannot be written", t.stream)
	case !t.hasState:
		return badRequest("the request gives no expected revision")
	}
	return nil
}

// field reads one of the fields that the options of Append, BatchAppend, Delete and Tombstone share: 1 stream, 2 revision, 3 no stream, 4 any, 5 exists.
func (t *target) field(f field) error {
	switch {
	case f.num == 1 && f.typ == protowire.BytesType:
		name, err := decodeStreamName(f.data)
		if err != nil {
			return err
		}
		t.stream, t.hasName = name, true
	case f.num == 2 && f.typ == protowire.VarintType:
		if f.value > math.MaxInt64 {
			return badRequest("expected revision %d is out of range", f.value)
		}
		t.expected, t.hasState = stream.Expected(f.value), true
	case f.num == 3 && f.typ == protowire.BytesType:
		t.expected, t.hasState = stream.NoStream, true
	case f.num == 4 && f.typ == protowire.BytesType:
		t.expected, t.hasState = stream.Any, true
	case f.num == 5 && f.typ == protowire.BytesType:
		t.expected, t.hasState = stream.Exists, true
	}
	return nil
}

func decodeStreamName(b []byte) (string, error) {
	name := ""
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return "", err
		}
		b = rest
		if f.num == 3 && f.typ == protowire.BytesType {
			name = string(f.data)
		}
	}
	return name, nil
}

// appendChunk is one received AppendReq. Exactly one of isOptions and isProposal is set after a good decode.
type appendChunk struct {
	isOptions, isProposal bool
	target                target
	proposal              proposal
	owner                 mem.Buffer // holds the bytes the proposal aliases; nil for options
	bad                   error      // a refusal: the encoding is right, the content is not
}

func (c *appendChunk) decodeWire(b []byte, owner mem.Buffer) error {
	*c = appendChunk{}
	err := c.decode(b)
	if err != nil && !errors.Is(err, errWire) {
		c.bad, err = err, nil
	}
	if err == nil && c.bad == nil && c.isProposal {
		c.owner = owner
		return nil
	}
	if owner != nil {
		owner.Free()
	}
	return err
}

func (c *appendChunk) decode(b []byte) error {
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		if f.typ != protowire.BytesType {
			continue
		}
		switch f.num {
		case 1:
			c.isOptions, c.isProposal = true, false
			c.target = target{}
			for o := f.data; len(o) > 0; {
				of, rest, err := next(o)
				if err != nil {
					return err
				}
				o = rest
				if err := c.target.field(of); err != nil {
					return err
				}
			}
		case 2:
			c.isOptions, c.isProposal = false, true
			c.proposal = proposal{}
			if err := decodeProposal(f.data, &c.proposal); err != nil {
				return err
			}
		}
	}
	return nil
}

// batchChunk is one received BatchAppendReq.
type batchChunk struct {
	correlation    [16]byte
	correlationRaw []byte // as received, to be echoed
	hasOptions     bool
	target         target
	deadline       time.Time     // absolute, zero if none
	timeout        time.Duration // relative, 0 if none
	proposals      []proposal
	final          bool
	owner          mem.Buffer
	bad            error // a refusal that concerns this append only
}

func (c *batchChunk) decodeWire(b []byte, owner mem.Buffer) error {
	proposals := c.proposals[:0]
	clear(c.proposals)
	*c = batchChunk{proposals: proposals, owner: owner}
	if err := c.decode(b); err != nil {
		c.release()
		return err
	}
	return nil
}

// release lets go of the received bytes.
func (c *batchChunk) release() {
	if c.owner != nil {
		c.owner.Free()
		c.owner = nil
	}
}

func (c *batchChunk) decode(b []byte) error {
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		switch {
		case f.num == 1 && f.typ == protowire.BytesType:
			c.correlationRaw = f.data
			if err := c.refuse(decodeUUID(f.data, &c.correlation)); err != nil {
				return err
			}
		case f.num == 2 && f.typ == protowire.BytesType:
			c.hasOptions = true
			if err := c.refuse(c.options(f.data)); err != nil {
				return err
			}
		case f.num == 3 && f.typ == protowire.BytesType:
			var p proposal
			if err := c.refuse(decodeProposal(f.data, &p)); err != nil {
				return err
			}
			c.proposals = append(c.proposals, p)
		case f.num == 4 && f.typ == protowire.VarintType:
			c.final = protowire.DecodeBool(f.value)
		}
	}
	return nil
}

// refuse keeps an error in the content for the one append it concerns, and passes on an error in the encoding, which ends the call.
func (c *batchChunk) refuse(err error) error {
	if err == nil || errors.Is(err, errWire) {
		return err
	}
	if c.bad == nil {
		c.bad = err
	}
	return nil
}

func (c *batchChunk) options(b []byte) error {
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		switch {
		case f.num == 6 && f.typ == protowire.BytesType:
			seconds, nanos, err := decodeSecondsNanos(f.data)
			if err != nil {
				return err
			}
			c.deadline = time.Unix(seconds, nanos)
		case f.num == 7 && f.typ == protowire.BytesType:
			seconds, nanos, err := decodeSecondsNanos(f.data)
			if err != nil {
				return err
			}
			seconds, nanos = min(max(seconds, math.MinInt32), math.MaxInt32), min(max(nanos, -1e9), 1e9)
			c.timeout = max(time.Duration(seconds)*time.Second+time.Duration(nanos), 1)
		default:
			if err := c.target.field(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// decodeSecondsNanos reads a Timestamp or a Duration.
func decodeSecondsNanos(b []byte) (seconds, nanos int64, err error) {
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return 0, 0, err
		}
		b = rest
		if f.typ != protowire.VarintType {
			continue
		}
		switch f.num {
		case 1:
			seconds = int64(f.value)
		case 2:
			nanos = int64(int32(f.value))
		}
	}
	return seconds, nanos, nil
}

// refusal is an error in a request's content: the client is told, nothing was done.
type refusal struct{ text string }

func (e *refusal) Error() string { return e.text }

func badRequest(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

var errMissingProperty = errors.New("a proposed event lacks its type or its content type")
