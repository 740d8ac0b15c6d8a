package h2

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

const (
	ioBytes = 64 << 10
	// frameBytes is the largest frame either side sends: HTTP/2's default.
	frameBytes = 16 << 10
	// gatherBytes of a request are enough to begin with it.
	gatherBytes = 32 << 10
	// gatherTime is how long a request may gather before its handler waits for the rest.
	gatherTime = time.Second
	// outBytes waiting for the socket hold up those who have more to send.
	outBytes = 256 << 10
	// maxControlBytes of answers to pings and settings may wait for a client that does not read.
	maxControlBytes = 64 << 10
	// maxStrikes pings that come too soon are borne.
	maxStrikes = 2
	// maxCredit bounds the pings that frames sent before excuse.
	maxCredit = 1024
	// startTime bounds how long a client may take to say hello.
	startTime = 10 * time.Second
	// drainTime is how long a connection that is to end may take to send what is left.
	drainTime = 5 * time.Second

	frameHeaderBytes   = 9
	messageHeaderBytes = 5
	initialWindow      = 65535
)

// conn is one connection.
type conn struct {
	s      *Server
	nc     net.Conn
	ctx    context.Context // of all its calls
	cancel context.CancelFunc
	read   atomic.Int64 // frames read, for the keepalive
	sent   atomic.Int64 // frames of answers that no ping has followed yet

	// Of the reading goroutine.
	framer   *http2.Framer
	hpack    *hpack.Decoder
	request  request
	block    []byte // header block being gathered
	blockID  uint32
	blockEnd bool // END_STREAM of the block's HEADERS
	lastID   uint32
	window   int64 // what the client may still send
	lastPing time.Time
	strikes  int

	mu       sync.Mutex
	changed  sync.Cond // windows, out, or an end
	waiting  int       // on changed
	calls    map[uint32]*call
	active   uint32 // calls whose handlers have not returned, and those that still gather
	out      []byte // frames for the socket
	spare    []byte
	control  int // bytes of out that the client made us send
	sendRoom int64
	initial  int64 // window the client gives new calls
	maxFrame int
	resize   bool // tell in the next header block that the table is not used
	leaving  bool // no new calls
	closed   bool

	wake chan struct{} // the writer has something to do
	done chan struct{} // closed with the connection
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, nc: nc, calls: map[uint32]*call{}, sendRoom: initialWindow, initial: initialWindow, maxFrame: frameBytes,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.changed.L = &c.mu
	p := &peer.Peer{Addr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr()}
	if t, ok := nc.(*tls.Conn); ok {
		p.AuthInfo = credentials.TLSInfo{State: t.ConnectionState(), CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	}
	c.ctx, c.cancel = context.WithCancel(peer.NewContext(context.Background(), p))
	return c
}

// serve reads until the connection ends, and returns when its handlers have.
func (c *conn) serve() {
	var helpers sync.WaitGroup
	helpers.Add(2)
	go func() { defer helpers.Done(); c.write() }()
	go func() { defer helpers.Done(); c.watch() }()
	err := c.readFrames()
	var wrong http2.ConnectionError
	var flow connError
	switch {
	case errors.As(err, &flow):
		c.goAway(flow.code, flow.why)
	case errors.As(err, &wrong):
		c.goAway(http2.ErrCode(wrong), "")
	case errors.Is(err, http2.ErrFrameTooLarge):
		c.goAway(http2.ErrCodeFrameSize, "")
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		c.s.o.Logger.Debug("connection ended", "from", c.nc.RemoteAddr(), "error", err)
	}
	c.close()
	helpers.Wait()
	c.mu.Lock()
	for c.active > 0 {
		c.waiting++
		c.changed.Wait()
		c.waiting--
	}
	c.mu.Unlock()
}

// connError ends the connection with a code.
type connError struct {
	code http2.ErrCode
	why  string
}

func (e connError) Error() string { return fmt.Sprintf("%v: %s", e.code, e.why) }

func protocol(why string) error { return connError{http2.ErrCodeProtocol, why} }

func (c *conn) readFrames() error {
	_ = c.nc.SetReadDeadline(time.Now().Add(startTime))
	in := bufio.NewReaderSize(c.nc, ioBytes)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(in, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return errors.New("no HTTP/2 preface")
	}
	c.framer = http2.NewFramer(nil, in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(frameBytes)
	c.hpack = hpack.NewDecoder(tableBytes, c.emit)
	c.hpack.SetMaxStringLength(maxHeaderBytes)
	c.window = int64(c.s.o.ConnWindow)
	c.put(func() {
		c.frame(http2.FrameSettings, 0, 0, 3*6)
		c.setting(http2.SettingMaxConcurrentStreams, c.s.o.MaxCalls)
		c.setting(http2.SettingInitialWindowSize, uint32(c.s.o.StreamWindow))
		c.setting(http2.SettingMaxHeaderListSize, maxHeaderBytes)
		if more := c.s.o.ConnWindow - initialWindow; more > 0 {
			c.windowUpdate(0, uint32(more))
		}
	})
	for first := true; ; first = false {
		f, err := c.framer.ReadFrame()
		if err != nil {
			var bad http2.StreamError
			if errors.As(err, &bad) {
				c.resetID(bad.StreamID, bad.Code)
				continue
			}
			return err
		}
		if first {
			if s, ok := f.(*http2.SettingsFrame); !ok || s.IsAck() {
				return protocol("the first frame is not SETTINGS")
			}
			_ = c.nc.SetReadDeadline(time.Time{})
		}
		c.read.Add(1)
		if err := c.take(f); err != nil {
			return err
		}
	}
}

func (c *conn) take(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.data(f)
	case *http2.HeadersFrame:
		c.block = append(c.block[:0], f.HeaderBlockFragment()...)
		c.blockID, c.blockEnd = f.StreamID, f.StreamEnded()
		if f.HeadersEnded() {
			return c.headers()
		}
	case *http2.ContinuationFrame:
		if len(c.block)+len(f.HeaderBlockFragment()) > maxHeaderBytes {
			return connError{http2.ErrCodeEnhanceYourCalm, "headers too large"}
		}
		c.block = append(c.block, f.HeaderBlockFragment()...)
		if f.HeadersEnded() {
			return c.headers()
		}
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.WindowUpdateFrame:
		return c.opened(f)
	case *http2.RSTStreamFrame:
		if f.StreamID > c.lastID {
			return protocol("RST_STREAM of a call that was not begun")
		}
		c.forget(f.StreamID)
	case *http2.PushPromiseFrame:
		return protocol("a client must not push")
	}
	return nil // PRIORITY, GOAWAY and what we do not know need nothing
}

func (c *conn) emit(f hpack.HeaderField) { c.request.field(f) }

// headers begins a call.
func (c *conn) headers() error {
	id := c.blockID
	c.request = request{}
	if _, err := c.hpack.Write(c.block); err != nil {
		return connError{http2.ErrCodeCompression, err.Error()}
	}
	if err := c.hpack.Close(); err != nil {
		return connError{http2.ErrCodeCompression, err.Error()}
	}
	r := &c.request
	if id <= c.lastID || id%2 == 0 {
		c.mu.Lock()
		k := c.calls[id]
		c.mu.Unlock()
		if k == nil || !c.blockEnd {
			return protocol("HEADERS of a call that is over or cannot be")
		}
		k.receive(nil, true) // trailers: nothing in them is of use
		return nil
	}
	c.lastID = id
	m := c.s.methods[r.path]
	c.mu.Lock()
	if c.leaving || c.closed || c.active >= c.s.o.MaxCalls {
		c.rst(id, http2.ErrCodeRefusedStream)
		c.mu.Unlock()
		c.poke()
		return nil
	}
	k := newCall(c, id, m, r)
	c.active++
	c.calls[id] = k
	c.mu.Unlock()
	if problem := r.problem(); problem != 0 || r.size > maxHeaderBytes {
		k.refuse(problem)
		return nil
	}
	if c.blockEnd {
		k.receive(nil, true)
	} else if m == nil || m.early {
		k.dispatch()
	}
	return nil
}

// problem is the HTTP status for a request that is not a gRPC call; 0 for one that is.
func (r *request) problem() int {
	switch {
	case r.method != "POST":
		return 405
	case len(r.contentType) < 16 || r.contentType[:16] != "application/grpc":
		return 415
	case r.bad != "":
		return 400
	}
	return 0
}

func (c *conn) data(f *http2.DataFrame) error {
	n := int64(f.Length)
	if c.window -= n; c.window < 0 {
		return connError{http2.ErrCodeFlowControl, "more data than the connection's window"}
	}
	if used := int64(c.s.o.ConnWindow) - c.window; used >= int64(c.s.o.ConnWindow)/4 {
		c.window += used
		c.put(func() { c.windowUpdate(0, uint32(used)) })
	}
	c.mu.Lock()
	k := c.calls[f.StreamID]
	c.mu.Unlock()
	if k == nil {
		if f.StreamID > c.lastID {
			return protocol("DATA of a call that was not begun")
		}
		return nil // of a call that has been answered or reset
	}
	if !k.paid(n) {
		c.resetID(f.StreamID, http2.ErrCodeFlowControl)
		return nil
	}
	k.receive(f.Data(), f.StreamEnded())
	return nil
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			delta := int64(s.Val) - c.initial
			c.initial = int64(s.Val)
			for _, k := range c.calls {
				k.room += delta
			}
			c.change()
		case http2.SettingMaxFrameSize:
			c.maxFrame = min(int(s.Val), ioBytes)
		case http2.SettingHeaderTableSize:
			c.resize = c.resize || s.Val < tableBytes
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.frame(http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	return c.controlled(frameHeaderBytes)
}

// controlled counts bytes that the client made us send; mu is held.
func (c *conn) controlled(n int) error {
	if c.control += n; c.control > maxControlBytes {
		return connError{http2.ErrCodeEnhanceYourCalm, "answers are not read"}
	}
	c.poke()
	return nil
}

func (c *conn) ping(f *http2.PingFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	c.frame(http2.FramePing, http2.FlagPingAck, 0, 8)
	c.out = append(c.out, f.Data[:]...)
	err := c.controlled(frameHeaderBytes + 8)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	now := time.Now()
	switch {
	case c.sent.Load() > 0: // clients measure the line with a ping for what they receive
		c.sent.Store(min(c.sent.Add(-1), maxCredit))
		c.strikes = 0
	case now.Sub(c.lastPing) < c.s.o.MinPingEvery:
		if c.strikes++; c.strikes > maxStrikes {
			return connError{http2.ErrCodeEnhanceYourCalm, "too_many_pings"}
		}
	}
	c.lastPing = now
	return nil
}

// opened takes a WINDOW_UPDATE.
func (c *conn) opened(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if c.sendRoom += int64(f.Increment); c.sendRoom > 1<<31-1 {
			return connError{http2.ErrCodeFlowControl, "window too large"}
		}
		c.change()
		return nil
	}
	k := c.calls[f.StreamID]
	if k == nil {
		if f.StreamID > c.lastID {
			return protocol("WINDOW_UPDATE of a call that was not begun")
		}
		return nil
	}
	if k.room += int64(f.Increment); k.room > 1<<31-1 {
		delete(c.calls, k.id)
		c.rst(k.id, http2.ErrCodeFlowControl)
		c.poke()
		go k.reset()
		return nil
	}
	c.change()
	return nil
}

// forget ends a call that the client gave up.
func (c *conn) forget(id uint32) {
	c.mu.Lock()
	k := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if k != nil {
		k.reset()
	}
}

// resetID ends a call that went wrong.
func (c *conn) resetID(id uint32, code http2.ErrCode) {
	c.put(func() { c.rst(id, code) })
	c.forget(id)
}

// ended gives the call's place back once its handler has returned.
func (c *conn) ended(k *call) {
	c.mu.Lock()
	if c.calls[k.id] == k {
		delete(c.calls, k.id)
	}
	c.active--
	last := c.active == 0 && (c.leaving || c.closed)
	if last {
		c.change()
	}
	c.mu.Unlock()
	if last {
		c.poke()
	}
}

// change wakes those who wait for windows, the socket or an end; mu is held.
func (c *conn) change() {
	if c.waiting > 0 {
		c.changed.Broadcast()
	}
}

// put adds frames to what the writer sends.
func (c *conn) put(add func()) {
	c.mu.Lock()
	add()
	c.mu.Unlock()
	c.poke()
}

func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// frame, setting, windowUpdate and rst add to out; mu is held.
func (c *conn) frame(kind http2.FrameType, flags http2.Flags, id uint32, length int) {
	c.out = append(c.out, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	c.out = binary.BigEndian.AppendUint32(c.out, id)
}

func (c *conn) setting(id http2.SettingID, value uint32) {
	c.out = binary.BigEndian.AppendUint16(c.out, uint16(id))
	c.out = binary.BigEndian.AppendUint32(c.out, value)
}

func (c *conn) windowUpdate(id, more uint32) {
	c.frame(http2.FrameWindowUpdate, 0, id, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, more)
}

func (c *conn) rst(id uint32, code http2.ErrCode) {
	c.frame(http2.FrameRSTStream, 0, id, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

// goAway says that no further calls are taken.
func (c *conn) goAway(code http2.ErrCode, why string) {
	c.put(func() {
		c.leaving = true
		c.frame(http2.FrameGoAway, 0, 0, 8+len(why))
		c.out = binary.BigEndian.AppendUint32(c.out, c.lastSeen())
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
		c.out = append(c.out, why...)
	})
}

// lastSeen is the highest call that is or may yet be carried out. Calls that are
// already on their way when the client reads it are refused one by one.
func (c *conn) lastSeen() uint32 { return 1<<31 - 1 }

// drain takes no further calls and ends the connection when those it has are done.
func (c *conn) drain() {
	c.goAway(http2.ErrCodeNo, "")
	c.mu.Lock()
	c.change()
	c.mu.Unlock()
}

// write sends what gathers until the connection ends.
func (c *conn) write() {
	for {
		select {
		case <-c.wake:
		case <-c.done:
			c.last()
			return
		}
		runtime.Gosched() // others may be about to answer too: one write for all
		for {
			c.mu.Lock()
			out, idle := c.out, c.leaving && c.active == 0
			c.out, c.control = c.spare[:0], 0
			c.mu.Unlock()
			if len(out) == 0 {
				if c.spare = out; idle {
					c.close()
				}
				break
			}
			_, err := c.nc.Write(out)
			if cap(out) > 4*outBytes {
				out = nil
			}
			c.mu.Lock()
			c.spare = out
			c.change()
			c.mu.Unlock()
			if err != nil {
				c.close()
				return
			}
		}
	}
}

// last sends what is left when the connection ends: the reason for it above all.
func (c *conn) last() {
	c.mu.Lock()
	out := c.out
	c.out = nil
	c.mu.Unlock()
	if len(out) > 0 {
		_ = c.nc.SetWriteDeadline(time.Now().Add(drainTime))
		_, _ = c.nc.Write(out)
	}
	c.nc.Close()
}

// close ends the connection and cancels its calls.
func (c *conn) close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	calls := make([]*call, 0, len(c.calls))
	for _, k := range c.calls {
		calls = append(calls, k)
	}
	clear(c.calls)
	c.change()
	c.mu.Unlock()
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // the reader returns
	_ = c.nc.SetWriteDeadline(time.Now().Add(drainTime))
	c.cancel()
	close(c.done)
	for _, k := range calls {
		k.reset()
	}
}

// watch asks silent clients for a sign of life, and lets requests that stay
// incomplete reach their handlers, which know how long to wait.
func (c *conn) watch() {
	tick := time.NewTicker(gatherTime)
	defer tick.Stop()
	seen, since, asked := c.read.Load(), time.Now(), time.Time{}
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		now := time.Now()
		c.mu.Lock()
		var late []*call
		for _, k := range c.calls {
			if now.Sub(k.arrived) > gatherTime {
				late = append(late, k)
			}
		}
		c.mu.Unlock()
		for _, k := range late {
			k.dispatch()
		}
		if n := c.read.Load(); n != seen {
			seen, since, asked = n, now, time.Time{}
			continue
		}
		switch {
		case c.s.o.PingEvery <= 0:
		case !asked.IsZero() && now.Sub(asked) >= c.s.o.PingTimeout:
			c.s.o.Logger.Debug("connection gave no sign of life", "from", c.nc.RemoteAddr())
			c.close()
		case asked.IsZero() && now.Sub(since) >= c.s.o.PingEvery:
			asked = now
			c.put(func() {
				c.frame(http2.FramePing, 0, 0, 8)
				c.out = append(c.out, make([]byte, 8)...)
			})
		}
	}
}
