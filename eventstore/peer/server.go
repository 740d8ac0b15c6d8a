package peer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"baton/eventstore/membership"
)

// Bounds of what other nodes may open here.
const (
	maxInbound         = 256      // connections
	maxRequestsPerConn = 16 << 10 // requests being answered
)

func (n *Network) accept() {
	for {
		raw, err := n.listener.Accept()
		if err != nil {
			if n.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			n.logger.Warn("accepting a peer failed", "err", err)
			select {
			case <-n.ctx.Done():
				return
			case <-time.After(firstRedial): // out of file handles, most likely
			}
			continue
		}
		c := newConn(raw)
		n.mu.Lock()
		full := n.closed || len(n.inbound) >= maxInbound
		if !full {
			n.inbound[c] = 0
			n.threads.Add(1)
		}
		n.mu.Unlock()
		if full {
			_ = raw.Close()
			continue
		}
		go func() {
			defer n.threads.Done()
			err := n.serve(c)
			_ = c.Close()
			n.mu.Lock()
			delete(n.inbound, c)
			n.mu.Unlock()
			if err != nil && n.ctx.Err() == nil && !errors.Is(err, io.EOF) {
				n.logger.Info("connection of a peer ended", "address", raw.RemoteAddr().String(), "err", err)
			}
		}()
	}
}

func (n *Network) serve(c *conn) error {
	from, err := n.welcome(c)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.inbound[c] = from
	n.mu.Unlock()
	go func() {
		_ = c.writeLoop()
		_ = c.Close()
	}()
	slots := make(chan struct{}, maxRequestsPerConn)
	frames := frameReader{r: c, limit: maxFrameBytes}
	for {
		if err := c.SetReadDeadline(time.Now().Add(n.silence)); err != nil {
			return err
		}
		frameType, payload, err := frames.next()
		if err != nil {
			return err
		}
		switch frameType {
		case frameRaft:
			messages, err := parseRaft(payload)
			if err != nil {
				return err
			}
			for _, m := range messages {
				if m.GetFrom() != uint64(from) {
					return fmt.Errorf("%w: member %s sent a message of member %016x", ErrMalformed, from, m.GetFrom())
				}
			}
			n.handler.Raft(messages)
		case frameStatus:
			n.handler.Status(from, append([]byte(nil), payload...))
			_ = c.sendFrame(heard) // when the queue is full there are answers enough
		case frameRequest:
			if len(payload) < 9 {
				return fmt.Errorf("%w: request of %d bytes", ErrMalformed, len(payload))
			}
			select {
			case slots <- struct{}{}:
			case <-n.ctx.Done():
				return nil
			}
			number, kind := binary.LittleEndian.Uint64(payload), payload[8]
			own := append([]byte(nil), payload[9:]...)
			go func() {
				defer func() { <-slots }()
				n.answer(c, from, number, kind, own)
			}()
		default:
			return fmt.Errorf("%w: type %d is not for this side", ErrMalformed, frameType)
		}
	}
}

// heard answers a status: request 0, which nobody made, so that the dialer knows
// that the way back is open.
var heard = appendFrame(nil, frameAnswer, make([]byte, 9))

func (n *Network) answer(c *conn, from membership.MemberID, number uint64, kind uint8, payload []byte) {
	result, err := n.handler.Request(n.ctx, from, kind, payload)
	failed := byte(0)
	if err != nil {
		failed, result = 1, []byte(err.Error())
	}
	frame, start := beginFrame(make([]byte, 0, frameHeaderBytes+9+len(result)), frameAnswer)
	frame = binary.LittleEndian.AppendUint64(frame, number)
	frame = append(append(frame, failed), result...)
	_ = c.sendFrame(endFrame(frame, start)) // a lost connection is told to the other side by itself
}

// welcome greets whoever dialed and returns who it is.
func (n *Network) welcome(c *conn) (membership.MemberID, error) {
	if err := c.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return 0, err
	}
	frames := frameReader{r: c, limit: maxHelloBytes}
	frameType, payload, err := frames.next()
	if err != nil {
		return 0, fmt.Errorf("read hello: %w", err)
	}
	var hello Hello
	if frameType != frameHello {
		return 0, fmt.Errorf("%w: type %d before hello", ErrMalformed, frameType)
	}
	if err := json.Unmarshal(payload, &hello); err != nil {
		return 0, fmt.Errorf("%w: hello: %w", ErrMalformed, err)
	}
	var welcome Welcome
	if err := n.identified(c.Conn, hello.From, hello.FromAddr); err != nil {
		welcome = Welcome{Protocol: protocolVersion, Refused: err.Error()}
	} else {
		welcome = n.handler.Welcome(hello)
	}
	reply, err := json.Marshal(welcome)
	if err != nil {
		return 0, fmt.Errorf("encode welcome: %w", err)
	}
	if _, err := c.Write(appendFrame(nil, frameWelcome, reply)); err != nil {
		return 0, err
	}
	if welcome.Refused != "" {
		return 0, fmt.Errorf("refused node %s at %s: %s", hello.From, hello.FromAddr, welcome.Refused)
	}
	return hello.From, c.SetDeadline(time.Time{})
}
