package peer

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Bounds of one connection.
const (
	// maxQueuedMessages bounds raft messages that wait to be written.
	maxQueuedMessages = 1024
	// maxQueuedFrames bounds requests, or answers, that wait to be written.
	maxQueuedFrames = 16 << 10
	// silence ends a connection on which nothing arrives; status is sent five
	// times a second.
	silence = 5 * time.Second
	// writeTimeout ends a connection whose other side does not read.
	writeTimeout = 5 * time.Second
)

var (
	errQueueFull = errors.New("too much is waiting to be sent")
	errClosed    = errors.New("connection is closed")
)

// conn writes frames in batches: everything that waits goes out in one write.
type conn struct {
	net.Conn
	mu       sync.Mutex
	messages []*raftpb.Message
	frames   [][]byte // complete frames
	status   []byte   // payload; nil when none waits
	closed   bool
	ready    chan struct{}
	reported atomic.Int64 // when a status was written whose answer has not come, in ns since the Unix epoch; 0: none
}

func newConn(raw net.Conn) *conn { return &conn{Conn: raw, ready: make(chan struct{}, 1)} }

func (c *conn) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// sendRaft queues messages, dropping the oldest beyond the bound.
func (c *conn) sendRaft(messages []*raftpb.Message) {
	c.mu.Lock()
	c.messages = append(c.messages, messages...)
	if over := len(c.messages) - maxQueuedMessages; over > 0 {
		c.messages = append(c.messages[:0], c.messages[over:]...)
	}
	c.mu.Unlock()
	c.wake()
}

func (c *conn) sendStatus(payload []byte) {
	c.mu.Lock()
	c.status = payload
	c.mu.Unlock()
	c.wake()
}

func (c *conn) sendFrame(frame []byte) error {
	c.mu.Lock()
	defer c.wake()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	if len(c.frames) >= maxQueuedFrames {
		return errQueueFull
	}
	c.frames = append(c.frames, frame)
	return nil
}

// Close ends the connection and lets writeLoop return.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wake()
	return c.Conn.Close()
}

// writeLoop writes until the connection is closed or fails.
func (c *conn) writeLoop() error {
	var buffer []byte
	for range c.ready {
		c.mu.Lock()
		messages, frames, status, closed := c.messages, c.frames, c.status, c.closed
		c.messages, c.frames, c.status = nil, nil, nil
		c.mu.Unlock()
		if closed {
			return nil
		}
		buffer = buffer[:0]
		var err error
		if buffer, err = appendRaft(buffer, messages); err != nil {
			return err
		}
		if status != nil {
			buffer = appendFrame(buffer, frameStatus, status)
			c.reported.CompareAndSwap(0, time.Now().UnixNano())
		}
		for _, frame := range frames {
			buffer = append(buffer, frame...)
		}
		if len(buffer) == 0 {
			continue
		}
		if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := c.Write(buffer); err != nil {
			return err
		}
		if cap(buffer) > keepBytes {
			buffer = nil
		}
	}
	return nil
}

// raftFrameBytes closes a frame of raft messages once it is so large.
const raftFrameBytes = 8 << 20

func appendRaft(dst []byte, messages []*raftpb.Message) ([]byte, error) {
	options := proto.MarshalOptions{}
	for len(messages) > 0 {
		var start int
		dst, start = beginFrame(dst, frameRaft)
		for len(messages) > 0 && len(dst)-start < raftFrameBytes {
			at := len(dst)
			dst = append(dst, 0, 0, 0, 0)
			var err error
			if dst, err = options.MarshalAppend(dst, messages[0]); err != nil {
				return dst, err
			}
			binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
			messages = messages[1:]
		}
		dst = endFrame(dst, start)
	}
	return dst, nil
}

// parseRaft reads the messages of one frame. They share no memory with it.
func parseRaft(payload []byte) ([]*raftpb.Message, error) {
	var messages []*raftpb.Message
	for len(payload) > 0 {
		if len(payload) < 4 {
			return nil, ErrMalformed
		}
		length := binary.LittleEndian.Uint32(payload)
		payload = payload[4:]
		if uint64(length) > uint64(len(payload)) {
			return nil, ErrMalformed
		}
		m := new(raftpb.Message)
		if err := proto.Unmarshal(payload[:length], m); err != nil {
			return nil, errors.Join(ErrMalformed, err)
		}
		messages = append(messages, m)
		payload = payload[length:]
	}
	return messages, nil
}
