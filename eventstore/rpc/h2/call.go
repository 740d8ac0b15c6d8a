package h2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// call is one call. It is the grpc.ServerStream its handler gets.
type call struct {
	c       *conn
	id      uint32
	m       *method // nil: there is no such method
	path    string
	md      metadata.MD
	timeout time.Duration
	arrived time.Time
	unpack  string // encoding of received messages
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	more    chan struct{} // something was received, or the call is over
	buf     []byte        // received and not read
	eof     bool          // the client has sent everything
	over    bool          // reset, or the connection is gone
	begun   bool          // the handler was started, or never will be
	hungry  bool          // the handler waits for the rest of a message
	allowed int64         // bytes the client may still send

	// Guarded by c.mu.
	room    int64 // bytes the client takes
	headers bool  // sent
	ended   bool  // status sent

	// Of the handler's goroutine.
	header, trailer metadata.MD
}

func newCall(c *conn, id uint32, m *method, r *request) *call {
	return &call{c: c, id: id, m: m, path: r.path, md: r.md, timeout: r.timeout, unpack: r.encoding, arrived: time.Now(),
		more: make(chan struct{}, 1), allowed: int64(c.s.o.StreamWindow), room: c.initial}
}

// paid takes received bytes from the call's window.
func (k *call) paid(n int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.allowed -= n
	return k.allowed >= 0
}

// receive adds what came, on the reading goroutine. b is not kept.
func (k *call) receive(b []byte, end bool) {
	k.mu.Lock()
	if k.eof {
		k.mu.Unlock()
		if len(b) > 0 || !end {
			k.c.resetID(k.id, http2.ErrCodeStreamClosed)
		}
		return
	}
	k.buf = append(k.buf, b...)
	k.eof = end
	grant := k.grant()
	start := !k.begun && (end || len(k.buf) >= gatherBytes)
	k.mu.Unlock()
	k.allow(grant)
	if start {
		k.dispatch()
		return
	}
	k.wake()
}

func (k *call) wake() {
	select {
	case k.more <- struct{}{}:
	default:
	}
}

// grant is by how much the client's window is to grow: it has StreamWindow bytes
// beyond what was read, or beyond what came while the handler waits for more. mu is held.
func (k *call) grant() int64 {
	full := int64(k.c.s.o.StreamWindow)
	if k.eof {
		return 0
	}
	target := full
	if !k.hungry {
		target -= int64(len(k.buf))
	}
	if more := target - k.allowed; more >= full/4 {
		k.allowed += more
		return more
	}
	return 0
}

func (k *call) allow(more int64) {
	if more > 0 {
		k.c.put(func() { k.c.windowUpdate(k.id, uint32(more)) })
	}
}

// dispatch starts the handler, once.
func (k *call) dispatch() {
	k.mu.Lock()
	if k.begun {
		k.mu.Unlock()
		return
	}
	k.begun = true
	ctx := k.c.ctx
	if k.md != nil {
		ctx = metadata.NewIncomingContext(ctx, k.md)
	}
	ctx = grpc.NewContextWithServerTransportStream(ctx, transport{k})
	if k.timeout > 0 {
		k.ctx, k.cancel = context.WithDeadline(ctx, k.arrived.Add(k.timeout))
	} else {
		k.ctx, k.cancel = context.WithCancel(ctx)
	}
	k.mu.Unlock()
	k.c.s.start(k)
}

// reset ends the call because the client or the connection went away.
func (k *call) reset() {
	k.mu.Lock()
	begun := k.begun
	k.begun, k.over = true, true
	cancel := k.cancel
	k.mu.Unlock()
	k.c.mu.Lock()
	k.ended = true
	k.c.change()
	k.c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	k.wake()
	if !begun {
		k.c.ended(k)
	}
}

// refuse answers what is not a gRPC call, or one with headers that cannot be.
func (k *call) refuse(httpStatus int) {
	k.mu.Lock()
	begun := k.begun
	k.begun = true
	k.mu.Unlock()
	if begun { // the connection is gone
		return
	}
	var b []byte
	if httpStatus != 0 {
		b = appendField(nil, ":status", strconv.Itoa(httpStatus))
	} else {
		b = append(append(b, statusOK...), contentTypeGRPC...)
		b = appendStatus(b, status.New(codes.ResourceExhausted, fmt.Sprintf("the headers are larger than %d bytes", maxHeaderBytes)))
	}
	c := k.c
	c.put(func() {
		k.ended = true
		c.headerBlock(k.id, b, true)
		c.rst(k.id, http2.ErrCodeNo)
	})
	c.ended(k)
}

// run is the life of the handler.
func (k *call) run() {
	var err error
	counts := &k.c.s.counts
	counts.total.Add(1)
	counts.current.Add(1)
	switch m := k.m; {
	case m == nil:
		err = status.Error(codes.Unimplemented, k.c.s.unknown(k.path))
	case m.unary != nil:
		var answer any
		if answer, err = m.unary(m.impl, k.ctx, k.RecvMsg, k.c.s.o.Unary); err == nil {
			err = k.SendMsg(answer)
		}
	case k.c.s.o.Stream != nil:
		err = k.c.s.o.Stream(m.impl, k, m.info, m.stream)
	default:
		err = m.stream(m.impl, k)
	}
	counts.current.Add(-1)
	if err != nil {
		counts.failed(err)
	}
	k.finish(err)
	k.cancel()
	k.c.ended(k)
}

// finish sends the status.
func (k *call) finish(err error) {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	k.mu.Lock()
	open := !k.eof
	k.mu.Unlock()
	c := k.c
	c.mu.Lock()
	if k.ended {
		c.mu.Unlock()
		return
	}
	k.ended = true
	b := make([]byte, 0, 128)
	if !k.headers {
		k.headers = true
		b = k.appendHeaders(b)
	}
	b = appendMD(appendStatus(b, st), k.trailer)
	c.headerBlock(k.id, b, true)
	if open {
		c.rst(k.id, http2.ErrCodeNo) // the rest of the request is of no use
	}
	delete(c.calls, k.id)
	c.sent.Add(1)
	c.mu.Unlock()
	c.poke()
}

func (k *call) appendHeaders(b []byte) []byte {
	b = append(append(b, statusOK...), contentTypeGRPC...)
	if k.unpack != "" && encoding.GetCompressor(k.unpack) != nil {
		b = appendField(b, "grpc-encoding", k.unpack)
	}
	return appendMD(b, k.header)
}

// headerBlock adds HEADERS, and CONTINUATION where one frame does not do; c.mu is held.
func (c *conn) headerBlock(id uint32, b []byte, end bool) {
	if c.resize {
		c.resize = false
		b = append([]byte{0x20}, b...)
	}
	kind, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		n := min(len(b), c.maxFrame)
		if n == len(b) {
			flags |= http2.FlagHeadersEndHeaders
		}
		c.frame(kind, flags, id, n)
		c.out = append(c.out, b[:n]...)
		if b = b[n:]; len(b) == 0 {
			return
		}
		kind, flags = http2.FrameContinuation, 0
	}
}

// SendFramed sends messages that carry their frame headers already.
func (k *call) SendFramed(b []byte) error { return k.send(b, true) }

// SendMsg sends one message.
func (k *call) SendMsg(v any) error {
	data, err := k.c.s.o.Codec.Marshal(v)
	if err != nil {
		return status.Errorf(codes.Internal, "the answer cannot be encoded: %v", err)
	}
	defer data.Free()
	packed := byte(0)
	if k.unpack != "" {
		if packer := encoding.GetCompressor(k.unpack); packer != nil {
			if data, err = pack(packer, data); err != nil {
				return status.Errorf(codes.Internal, "the answer cannot be packed: %v", err)
			}
			packed = 1
		}
	}
	small := [512]byte{packed}
	b := small[:messageHeaderBytes]
	binary.BigEndian.PutUint32(b[1:], uint32(data.Len()))
	for _, part := range data {
		b = append(b, part.ReadOnlyData()...)
	}
	return k.send(b, !k.m.single)
}

func pack(packer encoding.Compressor, data mem.BufferSlice) (mem.BufferSlice, error) {
	var b bytes.Buffer
	w, err := packer.Compress(&b)
	if err != nil {
		return nil, err
	}
	for _, part := range data {
		if _, err := w.Write(part.ReadOnlyData()); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b.Bytes())}, nil
}

// send adds DATA frames, waiting for windows and socket. now false leaves them
// for the status that follows at once.
func (k *call) send(b []byte, now bool) error {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !k.headers && !k.ended {
		k.headers = true
		c.headerBlock(k.id, k.appendHeaders(make([]byte, 0, 64)), false)
	}
	for len(b) > 0 {
		n := int(min(int64(len(b)), int64(c.maxFrame), c.sendRoom, k.room))
		switch {
		case k.ended || c.closed:
			return k.gone()
		case n <= 0 || len(c.out) > outBytes:
			c.poke()
			if err := k.await(); err != nil {
				return err
			}
			continue
		}
		c.sent.Add(1)
		c.frame(http2.FrameData, 0, k.id, n)
		c.out = append(c.out, b[:n]...)
		c.sendRoom -= int64(n)
		k.room -= int64(n)
		b = b[n:]
	}
	if now {
		c.poke()
	}
	return nil
}

// await waits for a change of the connection, or the end of the call; c.mu is held.
func (k *call) await() error {
	if err := k.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	c := k.c
	stop := context.AfterFunc(k.ctx, func() {
		c.mu.Lock()
		c.changed.Broadcast()
		c.mu.Unlock()
	})
	c.waiting++
	c.changed.Wait()
	c.waiting--
	stop()
	return nil
}

// gone is the error of a call whose client does not listen any more.
func (k *call) gone() error {
	if err := k.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Canceled, "the client ended the call")
}

// RecvMsg takes the next message; io.EOF after the last.
func (k *call) RecvMsg(v any) error {
	for {
		k.mu.Lock()
		b, packed, err := k.next()
		k.hungry = b == nil && err == nil
		grant := k.grant()
		k.mu.Unlock()
		k.allow(grant)
		switch {
		case err != nil:
			return err
		case b != nil:
			return k.decode(b, packed, v)
		}
		select {
		case <-k.more:
		case <-k.ctx.Done():
			return status.FromContextError(k.ctx.Err()).Err()
		}
	}
}

// next cuts the next message off what was received; nil when it is not all there. mu is held.
func (k *call) next() (b []byte, packed bool, err error) {
	if len(k.buf) >= messageHeaderBytes {
		size := int64(binary.BigEndian.Uint32(k.buf[1:]))
		if limit := int64(k.c.s.o.MaxMessageBytes); size > limit {
			return nil, false, status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", size, limit)
		}
		if k.buf[0] > 1 {
			return nil, false, status.Error(codes.Internal, "a message begins with an unknown flag")
		}
		if end := messageHeaderBytes + size; int64(len(k.buf)) >= end {
			b, packed = k.buf[messageHeaderBytes:end:end], k.buf[0] == 1
			if k.buf = k.buf[end:]; len(k.buf) == 0 {
				k.buf = nil // what was cut off is the message's
			}
			return b, packed, nil
		}
	}
	switch {
	case k.over:
		return nil, false, status.Error(codes.Canceled, "the client ended the call")
	case k.eof && len(k.buf) > 0:
		return nil, false, status.Error(codes.Internal, "the request ends inside a message")
	case k.eof:
		return nil, false, io.EOF
	}
	return nil, false, nil
}

func (k *call) decode(b []byte, packed bool, v any) error {
	if packed {
		var err error
		if b, err = k.unpacked(b); err != nil {
			return err
		}
	}
	known, err := false, error(nil)
	if decode := k.c.s.o.Decode; decode != nil {
		known, err = decode(b, v)
	}
	if !known {
		err = k.c.s.o.Codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, v)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

func (k *call) unpacked(b []byte) ([]byte, error) {
	if k.unpack == "" {
		return nil, status.Error(codes.Internal, "a message is compressed although the call names no encoding")
	}
	packer := encoding.GetCompressor(k.unpack)
	if packer == nil {
		return nil, status.Errorf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", k.unpack)
	}
	r, err := packer.Decompress(bytes.NewReader(b))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the message: %v", err)
	}
	limit := int64(k.c.s.o.MaxMessageBytes)
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the message: %v", err)
	}
	if int64(len(out)) > limit {
		return nil, status.Errorf(codes.ResourceExhausted, "grpc: message after decompression larger than max (%d)", limit)
	}
	return out, nil
}

// Context, SetHeader, SendHeader and SetTrailer are grpc.ServerStream's.
func (k *call) Context() context.Context { return k.ctx }

var errHeadersSent = errors.New("the headers have been sent")

func (k *call) SetHeader(md metadata.MD) error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.headers {
		return errHeadersSent
	}
	k.header = metadata.Join(k.header, md)
	return nil
}

func (k *call) SendHeader(md metadata.MD) error {
	if err := k.SetHeader(md); err != nil {
		return err
	}
	c := k.c
	c.put(func() {
		if !k.headers && !k.ended {
			k.headers = true
			c.headerBlock(k.id, k.appendHeaders(make([]byte, 0, 64)), false)
		}
	})
	return nil
}

func (k *call) SetTrailer(md metadata.MD) { k.trailer = metadata.Join(k.trailer, md) }

// transport is the call as grpc.SetTrailer and the like find it in the context.
type transport struct{ *call }

func (t transport) Method() string { return t.path }

func (t transport) SetTrailer(md metadata.MD) error {
	t.call.SetTrailer(md)
	return nil
}

// Bulk is a call that takes many framed messages in one go.
type Bulk interface{ SendFramed(b []byte) error }

// BulkOf returns the call of a handler's context; nil for calls that came another way.
func BulkOf(ctx context.Context) Bulk {
	if t, ok := grpc.ServerTransportStreamFromContext(ctx).(transport); ok {
		return t.call
	}
	return nil
}
