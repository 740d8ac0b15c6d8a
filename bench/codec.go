package main

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// fastCodec sends and receives with the generated, reflection-free methods, as a client made for load does: the peer's
// client speaks a plain text protocol, and both share the cores with the servers.
type fastCodec struct{}

// fastMessage is what the generated hot messages can do.
type fastMessage interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
	UnmarshalVT([]byte) error
}

func (fastCodec) Name() string { return "proto" }

func (fastCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(fastMessage)
	if !ok {
		return nil, fmt.Errorf("send %T", v)
	}
	size := m.SizeVT()
	if mem.IsBelowBufferPoolingThreshold(size) {
		b := make([]byte, size)
		_, err := m.MarshalToSizedBufferVT(b)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	pool := mem.DefaultBufferPool()
	b := pool.Get(size)
	if _, err := m.MarshalToSizedBufferVT((*b)[:size]); err != nil {
		pool.Put(b)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
}

func (fastCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(fastMessage)
	if !ok {
		return fmt.Errorf("receive into %T", v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return m.UnmarshalVT(b.ReadOnlyData())
}

// counted is a read answer of which only the kind matters: the peer's client does not decode its payload either.
type counted struct{ isEvent bool }

// countCodec receives into counted and sends ordinary messages.
type countCodec struct{}

func (countCodec) Name() string { return "proto" }

func (countCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := proto.Marshal(v.(proto.Message))
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (countCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*counted)
	if !ok {
		return fmt.Errorf("receive into %T", v)
	}
	m.isEvent = data.Len() > 0 && data[0].Len() > 0 && data[0].ReadOnlyData()[0] == tagEvent
	return nil
}
