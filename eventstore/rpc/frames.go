package rpc

import (
	"encoding/binary"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"baton/eventstore/reader"
	"baton/eventstore/rpc/h2"
)

const (
	// blockBytes is the size of a block of framed messages.
	blockBytes = 64 << 10
	// flushBytes is how full a block gets before it is sent. Two 16 KiB HTTP/2 frames' worth: more gains little and delays the first event.
	flushBytes = 32 << 10
)

// frames collects the messages of one Read call and sends many of them in one write of the transport. Not safe for concurrent use.
type frames struct {
	stream  grpc.ServerStream
	textIDs bool
	block   *[]byte // messages with their frame headers; nil when empty
	metrics *metrics
	events  uint64 // in block
	message eventMessage
}

// blockPool recycles blocks.
type blockPool struct{ pool sync.Pool }

var blocks = &blockPool{pool: sync.Pool{New: func() any { b := make([]byte, 0, blockBytes); return &b }}}

func (p *blockPool) Get(int) *[]byte { return p.pool.Get().(*[]byte) }

func (p *blockPool) Put(b *[]byte) {
	if cap(*b) != blockBytes {
		return // grown for one large event
	}
	*b = (*b)[:0]
	p.pool.Put(b)
}

// event adds one event, and sends what has gathered if that is enough.
func (f *frames) event(e *reader.Event) error {
	f.message.measure(e, f.textIDs)
	need := frameHeaderBytes + f.message.size
	if f.block != nil && len(*f.block)+need > blockBytes {
		if err := f.flush(); err != nil {
			return err
		}
	}
	if f.block == nil {
		f.take(need)
	}
	*f.block = f.message.append(*f.block)
	f.events++
	if len(*f.block) >= flushBytes {
		return f.flush()
	}
	return nil
}

func (f *frames) take(need int) {
	if need > blockBytes {
		b := make([]byte, 0, need)
		f.block = &b
		return
	}
	f.block = blocks.Get(blockBytes)
}

// add adds one message other than an event.
func (f *frames) add(m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return f.addBytes(b)
}

// addBytes adds one message in wire form; b is copied.
func (f *frames) addBytes(b []byte) error {
	if f.block != nil && len(*f.block)+len(b)+frameHeaderBytes > blockBytes {
		if err := f.flush(); err != nil {
			return err
		}
	}
	if f.block == nil {
		f.take(len(b) + frameHeaderBytes)
	}
	*f.block = append(*f.block, 0)
	*f.block = binary.BigEndian.AppendUint32(*f.block, uint32(len(b)))
	*f.block = append(*f.block, b...)
	return nil
}

// flush sends what has gathered. It blocks while the client's windows are full.
func (f *frames) flush() error {
	if f.block == nil {
		return nil
	}
	block := f.block
	f.block = nil
	defer blocks.Put(block)
	if f.metrics != nil {
		f.metrics.eventsRead.Add(f.events)
		f.metrics.bytesRead.Add(uint64(len(*block)))
		f.events = 0
	}
	if bulk := h2.BulkOf(f.stream.Context()); bulk != nil {
		return bulk.SendFramed(*block)
	}
	for b := *block; len(b) > 0; {
		n := int(binary.BigEndian.Uint32(b[1:])) + frameHeaderBytes
		message := append(encoded(nil), b[frameHeaderBytes:n]...)
		if err := f.stream.SendMsg(message); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// drop releases what was not sent.
func (f *frames) drop() {
	if f.block != nil {
		blocks.Put(f.block)
		f.block = nil
	}
}
