package rpc

import (
	"encoding/binary"
	"reflect"
	"sync"
	"unsafe"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"baton/eventstore/reader"
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
	message eventMessage
}

// blockPool recycles blocks. It is a [mem.BufferPool], so that the transport returns a block once it has written it.
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
	if bulk.usable {
		buf := mem.NewBuffer(block, blocks)
		err := f.stream.SendMsg(bulk.prepared(mem.BufferSlice{buf}))
		buf.Free()
		return err
	}
	defer blocks.Put(block)
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

// bulkSender makes a [grpc.PreparedMsg] of bytes that already carry their frame headers. gRPC writes a prepared message as it is: header, then payload;
// with an empty header the payload may hold any number of framed messages. The fields are unexported, so their layout is checked once at start;
// if it ever changes, messages are sent one by one.
type bulkSender struct {
	usable  bool
	payload uintptr
}

var bulk = newBulkSender()

func newBulkSender() bulkSender {
	t := reflect.TypeFor[grpc.PreparedMsg]()
	f, ok := t.FieldByName("payload")
	slice := reflect.TypeFor[mem.BufferSlice]()
	data, hasData := t.FieldByName("encodedData")
	header, hasHeader := t.FieldByName("hdr")
	format, hasFormat := t.FieldByName("pf")
	usable := ok && hasData && hasHeader && hasFormat && t.NumField() == 4 && f.Type == slice && data.Type == slice &&
		header.Type == reflect.TypeFor[[]byte]() && format.Type.Kind() == reflect.Uint8
	return bulkSender{usable: usable, payload: f.Offset}
}

func (s bulkSender) prepared(payload mem.BufferSlice) *grpc.PreparedMsg {
	m := new(grpc.PreparedMsg)
	*(*mem.BufferSlice)(unsafe.Add(unsafe.Pointer(m), s.payload)) = payload
	return m
}
