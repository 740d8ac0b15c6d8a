package rpc

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// codec is the protobuf codec with short cuts: wireDecoder values read received bytes in place, vtMessage values use their generated code, everything
// else goes through the general one.
type codec struct{}

// wireDecoder is a message decoded by hand. decode may keep slices of b: they stay valid until the owner is freed, which is the decoder's to do. With a nil
// owner they are its own.
type wireDecoder interface {
	decodeWire(b []byte, owner mem.Buffer) error
}

type vtMarshaler interface {
	SizeVT() int
	MarshalToSizedBufferVT(b []byte) (int, error)
}

type vtUnmarshaler interface {
	UnmarshalVT(b []byte) error
}

// encoded is a message that is already in wire form.
type encoded []byte

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case encoded:
		return mem.BufferSlice{mem.SliceBuffer(m)}, nil
	case vtMarshaler:
		pool := mem.DefaultBufferPool()
		size := m.SizeVT()
		buf := pool.Get(size)
		if _, err := m.MarshalToSizedBufferVT((*buf)[:size]); err != nil {
			pool.Put(buf)
			return nil, err
		}
		return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
	case proto.Message:
		b, err := proto.Marshal(m)
		if err != nil {
			return nil, err
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return nil, fmt.Errorf("marshal %T: not a protobuf message", v)
}

// decodeOwn decodes a wireDecoder from bytes that are its own from then on.
func decodeOwn(b []byte, v any) (known bool, err error) {
	if m, ok := v.(wireDecoder); ok {
		return true, m.decodeWire(b, nil)
	}
	return false, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	var buf mem.Buffer
	switch len(data) {
	case 0:
		buf = mem.SliceBuffer(nil)
	case 1:
		buf = data[0]
		buf.Ref()
	default:
		buf = data.MaterializeToBuffer(mem.DefaultBufferPool())
	}
	if m, ok := v.(wireDecoder); ok {
		return m.decodeWire(buf.ReadOnlyData(), buf)
	}
	defer buf.Free()
	switch m := v.(type) {
	case vtUnmarshaler:
		return m.UnmarshalVT(buf.ReadOnlyData())
	case proto.Message:
		return proto.Unmarshal(buf.ReadOnlyData(), m)
	}
	return fmt.Errorf("unmarshal %T: not a protobuf message", v)
}
