package main

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

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
