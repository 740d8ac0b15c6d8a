package proxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"baton/control/proxy/session"
)

const (
	// readBuffer is the memory a connection reads into; it grows to maxBuffer
	// when it is filled.
	readBuffer, maxBuffer = 8 << 10, 128 << 10
	// dialTime bounds one attempt to connect to a server.
	dialTime = 2 * time.Second
	// maxAnswers bounds the bytes of answers that wait for a slow client.
	maxAnswers = 1 << 20
	// stuckAfter is how long a client may not take its answers and still be
	// waited for at a hold.
	stuckAfter = 50 * time.Millisecond
)

// conn is one client: the shell of its session.
type conn struct {
	e        *endpoint
	readOnly bool
	reads    string // server of a read-only client; under e.mu
	waits    atomic.Bool

	mu     sync.Mutex
	moved  *sync.Cond // something changed
	m      *session.Machine
	client wire
	links  map[uint64]*wire
	timer  *time.Timer
	wake   int64
	ended  bool
	empty  chan struct{} // closed when drained; nil: nobody waits
	stats  session.Stats // what was counted already
	held   int64
	stuck  time.Time // since when a write to the client is under way
}

// wire is a network connection with what is to be written to it. One goroutine
// at a time writes, without the lock; the others leave it their bytes.
type wire struct {
	nc      net.Conn // nil while it is dialed
	cancel  context.CancelFunc
	out     []byte
	spare   []byte
	writing bool
}

func newConn(e *endpoint, nc net.Conn, readOnly bool) *conn {
	c := &conn{e: e, readOnly: readOnly, client: wire{nc: nc}, links: map[uint64]*wire{}}
	c.moved = sync.NewCond(&c.mu)
	return c
}

func (c *conn) serve() { go c.readClient() }

// readClient reads what the client sends until it or the session ends.
func (c *conn) readClient() {
	defer c.e.s.threads.Done()
	defer c.close()
	nc := c.client.nc
	_ = nc.SetReadDeadline(time.Now().Add(c.e.s.opt.FirstRequest))
	bounded, first := true, true
	buf := make([]byte, readBuffer)
	for {
		n, err := nc.Read(buf)
		if n > 0 {
			partial, ok := c.fromClient(buf[:n])
			if !ok {
				return
			}
			if first = first && partial; !first || partial != bounded {
				switch {
				case partial && !first:
					_ = nc.SetReadDeadline(time.Now().Add(c.e.s.opt.WholeRequest))
				case !partial && bounded:
					_ = nc.SetReadDeadline(time.Time{})
				}
				bounded = partial
			}
			if n == len(buf) && n < maxBuffer {
				buf = make([]byte, 2*n)
			}
		}
		if err != nil {
			return
		}
	}
}

// fromClient hands bytes to the session and waits while it is full. ok is
// false when the session has ended.
func (c *conn) fromClient(b []byte) (partial, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false, false
	}
	if c.m.Ended() {
		return false, true // read and thrown away, so that its end is seen
	}
	c.m.FromClient(c.e.s.now(), b)
	c.follow()
	if c.m.Partial() && c.held > 1<<20 && c.e.bytes.Load() > int64(c.e.s.opt.TotalBytes) {
		c.client.out = append(c.client.out, "-BATON too many bytes of unfinished requests are waiting at the endpoint\r\n"...)
		c.flush()
		return false, false
	}
	for !c.ended && !c.m.Ended() && (c.m.Full() || c.m.Waiting() && c.e.bytes.Load() > int64(c.e.s.opt.TotalBytes)) {
		c.moved.Wait()
	}
	return c.m.Partial(), !c.ended
}

// readServer reads what a server sends until the link ends.
func (c *conn) readServer(id uint64, nc net.Conn) {
	defer c.e.s.threads.Done()
	buf := make([]byte, readBuffer)
	for {
		n, err := nc.Read(buf)
		c.mu.Lock()
		if n > 0 && !c.ended {
			c.m.FromServer(c.e.s.now(), id, buf[:n])
			c.follow()
		}
		for !c.ended && len(c.client.out) > maxAnswers {
			c.moved.Wait()
		}
		if err != nil && !c.ended {
			c.m.Lost(c.e.s.now(), id)
			c.follow()
		}
		ended := c.ended || c.links[id] == nil
		c.mu.Unlock()
		if err != nil || ended {
			nc.Close()
			return
		}
		if n == len(buf) && n < maxBuffer {
			buf = make([]byte, 2*n)
		}
	}
}

func (c *conn) setRoute(r session.Route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.m.SetRoute(c.e.s.now(), r)
	// A client that is slow must not hold up those after it.
	c.settle()
	if c.pending() {
		c.e.s.threads.Add(1)
		go func() {
			defer c.e.s.threads.Done()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.flush()
		}()
	}
}

// follow carries out what the session wishes; c.mu is held, and let go while
// bytes are written.
func (c *conn) follow() {
	c.settle()
	c.flush()
}

// settle takes the session's wishes and bytes over; c.mu is held.
func (c *conn) settle() {
	m := c.m
	for _, w := range m.Wishes {
		if w.Dial != "" {
			c.dial(w.Link, w.Dial)
		} else if l := c.links[w.Link]; l != nil {
			delete(c.links, w.Link)
			l.cancel()
			if l.nc != nil {
				l.nc.Close()
			}
		}
	}
	m.Wishes = m.Wishes[:0]
	for _, id := range m.Outgoing() {
		if l := c.links[id]; l != nil {
			l.out = m.Out(id, l.out)
		}
	}
	if len(m.ToClient) > 0 {
		if len(c.client.out) == 0 {
			c.client.out, m.ToClient = m.ToClient, c.client.out
		} else {
			c.client.out = append(c.client.out, m.ToClient...)
		}
		m.ToClient = m.ToClient[:0]
	}
	c.table()
	c.account()
	if m.Wake != c.wake {
		c.wake = m.Wake
		c.alarm()
	}
	if c.empty != nil && m.Drained() {
		close(c.empty)
		c.empty = nil
	}
	c.moved.Broadcast()
}

// table asks one client's server what its commands do, and takes the answer.
func (c *conn) table() {
	e, m := c.e, c.m
	if m.Learned != nil {
		e.table.Store(m.Learned)
		m.SetTable(m.Learned)
		m.Learned = nil
	}
	if m.TableFailed {
		m.TableFailed = false
		e.s.opt.Log.Info("a server does not tell what its commands do; what is not known to be a read counts as a write", "cluster", e.cluster)
	}
	if !c.readOnly && !e.tableAsked.Load() && !e.tableAsked.Swap(true) {
		m.AskTable()
	}
	if t := e.table.Load(); t != nil {
		m.SetTable(t)
	}
}

// account brings the endpoint's counts up to date.
func (c *conn) account() {
	e, m := c.e, c.m
	held := int64(m.Held())
	if held != c.held {
		e.bytes.Add(held - c.held)
		c.held = held
	}
	if w := m.Waiting(); w != c.waits.Load() {
		c.waits.Store(w)
		if w {
			e.waiting.Add(1)
		} else {
			e.waiting.Add(-1)
		}
	}
	if m.Stats == c.stats {
		return
	}
	d, was := m.Stats, c.stats
	c.stats = m.Stats
	e.count(func(n *Counters) {
		n.Requests += d.Requests - was.Requests
		n.Waited += d.Waited - was.Waited
		n.Again += d.Again - was.Again
		n.Unknown += d.Unknown - was.Unknown
		n.Refused += d.Refused - was.Refused
		n.Moves += d.Moves - was.Moves
	})
}

// alarm has the session woken when it wants to be.
func (c *conn) alarm() {
	if c.wake == 0 {
		if c.timer != nil {
			c.timer.Stop()
		}
		return
	}
	d := time.Duration(c.wake - c.e.s.now())
	if c.timer == nil {
		c.timer = time.AfterFunc(max(d, 0), c.tick)
		return
	}
	c.timer.Reset(max(d, 0))
}

func (c *conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.wake = 0
	c.m.Tick(c.e.s.now())
	c.follow()
}

// dial connects to a server; c.mu is held.
func (c *conn) dial(id uint64, address string) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	c.links[id] = &wire{cancel: cancel}
	c.e.s.threads.Add(1)
	go func() {
		defer cancel()
		var d net.Dialer
		nc, err := d.DialContext(ctx, "tcp", address)
		c.mu.Lock()
		l := c.links[id]
		switch {
		case c.ended || l == nil:
			if nc != nil {
				nc.Close()
			}
			nc = nil
		case err != nil:
			c.m.Lost(c.e.s.now(), id)
			delete(c.links, id)
			c.follow()
		default:
			l.nc = nc
			c.m.Dialed(c.e.s.now(), id)
			c.follow()
		}
		c.mu.Unlock()
		if nc == nil || err != nil {
			c.e.s.threads.Done()
			return
		}
		c.readServer(id, nc)
	}()
}

// pending tells whether there are bytes to write that nobody writes; c.mu is held.
func (c *conn) pending() bool {
	if c.client.ready() || c.m.Closing && !c.client.writing {
		return true
	}
	for _, l := range c.links {
		if l.ready() {
			return true
		}
	}
	return false
}

func (w *wire) ready() bool { return w.nc != nil && !w.writing && len(w.out) > 0 }

// flush writes all there is to write; c.mu is held and let go meanwhile.
func (c *conn) flush() {
	for !c.ended {
		var w *wire
		for _, l := range c.links {
			if l.ready() {
				w = l
			}
		}
		if w == nil && c.client.ready() {
			w = &c.client
		}
		if w == nil {
			if c.m.Closing && !c.client.writing {
				c.end()
			}
			return
		}
		c.write(w)
	}
}

// write writes what one connection has to; c.mu is held and let go meanwhile.
// A failed write to a server shows at its reader, which reads what came first.
func (c *conn) write(w *wire) {
	b := w.out
	w.out, w.writing = w.spare[:0], true
	toClient := w == &c.client
	if toClient {
		c.stuck = time.Now()
	}
	c.mu.Unlock()
	_, err := w.nc.Write(b)
	c.mu.Lock()
	w.writing = false
	if w.spare = b[:0]; cap(b) > 1<<20 {
		w.spare = nil
	}
	if toClient {
		c.stuck = time.Time{}
		if err != nil {
			c.end()
		}
	} else if err != nil {
		w.out = w.out[:0]
	}
	c.moved.Broadcast()
}

// drained returns a channel that is closed when the client has no request that
// writes in flight; nil when it has none. A client that does not take its
// answers is not waited for.
func (c *conn) drained() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.readOnly || c.m.Drained() || !c.stuck.IsZero() && time.Since(c.stuck) > stuckAfter {
		return nil
	}
	if c.empty == nil {
		c.empty = make(chan struct{})
	}
	return c.empty
}

func (c *conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended || c.m.Idle()
}

// end ends the session; c.mu is held.
func (c *conn) end() {
	if c.ended {
		return
	}
	c.ended = true
	c.client.nc.Close()
	for _, l := range c.links {
		l.cancel()
		if l.nc != nil {
			l.nc.Close()
		}
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
	c.e.bytes.Add(-c.held)
	c.held = 0
	if c.waits.Swap(false) {
		c.e.waiting.Add(-1)
	}
	c.moved.Broadcast()
}

func (c *conn) close() {
	c.mu.Lock()
	c.end()
	c.mu.Unlock()
	c.e.leave(c)
}
