package peer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"baton/eventstore/membership"
)

// Bounds of dialing.
const (
	dialTimeout   = time.Second
	helloTimeout  = 2 * time.Second
	firstRedial   = 20 * time.Millisecond
	slowestRedial = 500 * time.Millisecond
	refusedRedial = time.Second // after the other node refused the connection
)

// ErrUnreachable: the request was not sent.
var ErrUnreachable = errors.New("node is not reachable")

// ErrLinkLost: the request was sent, the answer will not come.
var ErrLinkLost = errors.New("connection was lost before the answer came")

// RemoteError is what the other node answered instead of a result.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return e.Text }

// link is the connection this node dials to one address.
type link struct {
	network *Network
	address string

	mu      sync.Mutex
	conn    *conn // nil while not connected
	peer    membership.MemberID
	expect  membership.MemberID
	up      chan struct{} // closed while connected, or while the last dial failed; replaced when that changes
	lastErr error         // why the last dial failed; nil before the first and while connected
	pending map[uint64]chan answer
	number  uint64
	cancel  context.CancelFunc
}

type answer struct {
	payload []byte
	err     error
}

func (n *Network) newLink(address string, expect membership.MemberID) *link {
	ctx, cancel := context.WithCancel(n.ctx)
	l := &link{network: n, address: address, expect: expect, up: make(chan struct{}), pending: make(map[uint64]chan answer), cancel: cancel}
	n.threads.Add(1)
	go func() {
		defer n.threads.Done()
		l.run(ctx)
	}()
	return l
}

// run keeps the link connected until ctx ends.
func (l *link) run(ctx context.Context) {
	wait := firstRedial
	for ctx.Err() == nil {
		raw, welcome, err := l.dial(ctx)
		if err != nil {
			l.failed(err)
			var refused *RefusedError
			switch {
			case errors.As(err, &refused):
				wait = refusedRedial
				if l.network.handler.Refused != nil {
					l.network.handler.Refused(refused)
				}
			case errors.Is(err, syscall.ECONNREFUSED):
				l.network.lost(l.memberID(), true)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, slowestRedial)
			continue
		}
		wait = firstRedial
		err = l.serve(ctx, raw, welcome)
		if ctx.Err() == nil {
			l.network.logger.Info("link to a node is lost", "address", l.address, "member", welcome.Self, "err", err)
			l.network.lost(welcome.Self, false)
		}
	}
}

func (l *link) memberID() membership.MemberID {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.expect != 0 {
		return l.expect
	}
	return l.peer
}

func (l *link) dial(ctx context.Context) (net.Conn, Welcome, error) {
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := l.network.dialContext(dialCtx, l.address)
	if err != nil {
		return nil, Welcome{}, err
	}
	welcome, err := l.greet(raw)
	if err != nil {
		_ = raw.Close()
		return nil, Welcome{}, err
	}
	return raw, welcome, nil
}

func (l *link) greet(raw net.Conn) (Welcome, error) {
	hello := l.network.handler.Hello()
	hello.Protocol = protocolVersion
	l.mu.Lock()
	hello.To = l.expect
	l.mu.Unlock()
	payload, err := json.Marshal(hello)
	if err != nil {
		return Welcome{}, fmt.Errorf("encode hello: %w", err)
	}
	if err := raw.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return Welcome{}, err
	}
	if _, err := raw.Write(appendFrame(nil, frameHello, payload)); err != nil {
		return Welcome{}, err
	}
	frames := frameReader{r: raw, limit: maxHelloBytes}
	frameType, payload, err := frames.next()
	if err != nil {
		return Welcome{}, fmt.Errorf("read welcome: %w", err)
	}
	var welcome Welcome
	if frameType != frameWelcome || json.Unmarshal(payload, &welcome) != nil {
		return Welcome{}, fmt.Errorf("%w: no welcome", ErrMalformed)
	}
	if welcome.Refused != "" {
		return Welcome{}, &RefusedError{Address: l.address, Welcome: welcome}
	}
	if err := l.network.identified(raw, welcome.Self, l.address); err != nil {
		return Welcome{}, fmt.Errorf("the node at %s is not member %s: %w", l.address, welcome.Self, err)
	}
	return welcome, raw.SetDeadline(time.Time{})
}

// serve runs one connection until it fails.
func (l *link) serve(ctx context.Context, raw net.Conn, welcome Welcome) error {
	c := newConn(raw)
	l.mu.Lock()
	l.conn, l.peer, l.lastErr = c, welcome.Self, nil
	l.change()
	l.mu.Unlock()
	if l.network.handler.Linked != nil {
		l.network.handler.Linked(welcome.Self)
	}
	stopWatch := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stopWatch()
	written := make(chan error, 1)
	go func() {
		err := c.writeLoop()
		_ = c.Close()
		written <- err
	}()
	err := l.readAnswers(c)
	_ = c.Close()
	l.network.heard(c, false)
	if writeErr := <-written; writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	l.mu.Lock()
	l.conn = nil
	l.up = make(chan struct{})
	pending := l.pending
	l.pending = make(map[uint64]chan answer)
	l.mu.Unlock()
	for _, waiting := range pending {
		waiting <- answer{err: ErrLinkLost}
	}
	return err
}

// change tells the waiting that the link is up, or that a dial failed.
func (l *link) change() {
	select {
	case <-l.up:
	default:
		close(l.up)
	}
}

func (l *link) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastErr = err
	l.change()
}

func (l *link) readAnswers(c *conn) error {
	frames := frameReader{r: c, limit: maxFrameBytes}
	for {
		// A peer cut off answers nothing. Left to itself TCP would wait for it ever
		// longer, and go on as long after it came back.
		if err := c.SetReadDeadline(time.Now().Add(l.network.silence)); err != nil {
			return err
		}
		frameType, payload, err := frames.next()
		if err != nil {
			return err
		}
		if frameType != frameAnswer || len(payload) < 9 {
			return fmt.Errorf("%w: type %d where an answer was due", ErrMalformed, frameType)
		}
		number := binary.LittleEndian.Uint64(payload)
		if number == 0 {
			l.network.heard(c, true)
			continue
		}
		l.mu.Lock()
		waiting := l.pending[number]
		delete(l.pending, number)
		l.mu.Unlock()
		if waiting == nil {
			continue // its caller gave up
		}
		if payload[8] != 0 {
			waiting <- answer{err: &RemoteError{Text: string(payload[9:])}}
			continue
		}
		waiting <- answer{payload: append([]byte(nil), payload[9:]...)}
	}
}

// request sends a request and waits for the answer. It waits for the link to
// come up, but not beyond a failed dial.
func (l *link) request(ctx context.Context, kind uint8, payload []byte) ([]byte, error) {
	for {
		l.mu.Lock()
		c, up, lastErr := l.conn, l.up, l.lastErr
		if c == nil {
			l.mu.Unlock()
			if lastErr != nil {
				return nil, fmt.Errorf("%w: %w", ErrUnreachable, lastErr)
			}
			select {
			case <-up:
				continue
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
			}
		}
		l.number++
		number := l.number
		waiting := make(chan answer, 1)
		l.pending[number] = waiting
		l.mu.Unlock()

		frame, start := beginFrame(make([]byte, 0, frameHeaderBytes+9+len(payload)), frameRequest)
		frame = binary.LittleEndian.AppendUint64(frame, number)
		frame = append(append(frame, kind), payload...)
		if err := c.sendFrame(endFrame(frame, start)); err != nil {
			l.forget(number)
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		select {
		case a := <-waiting:
			return a.payload, a.err
		case <-ctx.Done():
			l.forget(number)
			return nil, ctx.Err()
		}
	}
}

func (l *link) forget(number uint64) {
	l.mu.Lock()
	delete(l.pending, number)
	l.mu.Unlock()
}

func (l *link) current() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}
