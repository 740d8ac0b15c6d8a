package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"baton/gen/eventstore/streams"
)

// Numbers in the wire form of requests that differ from one to the next. All of them take nine bytes there.
const (
	numberBase     = 1 << 62
	numberSize     = 9
	correlationNum = numberBase | 0x1234567
	eventNum       = numberBase | 0x7654321
)

// windowRequest writes BatchAppend requests of one event each: those of a call differ in two numbers only, so one is
// encoded and the others are copies of it, as the peer's client copies the payload behind a line of text.
type windowRequest struct {
	encoded            []byte
	correlation, event int // offsets
}

func newWindowRequest(stream string, payload []byte) (*windowRequest, error) {
	m := batchRequest(correlationNum, stream, 1, payload)
	id := m.ProposedMessages[0].Id.GetStructured()
	id.LeastSignificantBits = eventNum
	r := &windowRequest{encoded: make([]byte, m.SizeVT())}
	if _, err := m.MarshalToSizedBufferVT(r.encoded); err != nil {
		return nil, err
	}
	for _, n := range []struct {
		value uint64
		at    *int
	}{{correlationNum, &r.correlation}, {eventNum, &r.event}} {
		number := binary.AppendUvarint(nil, n.value)
		if *n.at = bytes.Index(r.encoded, number); len(number) != numberSize || bytes.Count(r.encoded, number) != 1 {
			return nil, fmt.Errorf("the number %d is not found once in a request", n.value)
		}
	}
	return r, nil
}

// next returns the request of a correlation; its event has an id of its own.
func (r *windowRequest) next(correlation int64) encoded {
	b := bytes.Clone(r.encoded)
	binary.PutUvarint(b[r.correlation:], numberBase|uint64(correlation))
	binary.PutUvarint(b[r.event:], numberBase|uint64(ids.Add(1)))
	return b
}

// encoded is a request in wire form.
type encoded []byte

// windowAnswer is a BatchAppend answer of which only the outcome matters.
type windowAnswer struct{ refused *streams.BatchAppendResp }

// windowCodec sends encoded requests and receives windowAnswers.
type windowCodec struct{}

func (windowCodec) Name() string { return "proto" }

func (windowCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(encoded)
	if !ok {
		return nil, fmt.Errorf("send %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (windowCodec) Unmarshal(data mem.BufferSlice, v any) error {
	a, ok := v.(*windowAnswer)
	if !ok {
		return fmt.Errorf("receive into %T", v)
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	a.refused = nil
	for b := whole.ReadOnlyData(); len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		switch field {
		case 3: // success
			return nil
		case 2: // error
			a.refused = new(streams.BatchAppendResp)
			return a.refused.UnmarshalVT(whole.ReadOnlyData())
		}
		m := protowire.ConsumeFieldValue(field, kind, b[n:])
		if m < 0 {
			return protowire.ParseError(m)
		}
		b = b[n+m:]
	}
	return fmt.Errorf("an answer says neither success nor error")
}
