package session

import (
	"baton/control/proxy/resp"
)

// Target is a server a session may talk to. Two targets are the same when all
// fields are equal: a new generation makes a new target of the same address.
type Target struct {
	Addr       string
	Generation uint64
}

// Route is where a session's requests may go now.
type Route struct {
	Target Target // none: nothing can be sent, requests wait
	// Next is where writes probably go after the hold: links are made there early.
	Next Target
	Hold bool // requests that write wait
	// Fenced says that nothing confirmed the route for too long: requests that
	// write wait, and are refused after the wait.
	Fenced bool
	Why    string // why there is no target or it is fenced, for error replies
}

// Options of a Machine. Times are nanoseconds on the shell's clock.
type Options struct {
	ReadOnly bool // writes are refused here
	Limits   resp.Limits
	// Wait is how long a request may wait for a server before it is refused.
	Wait int64
	// MaxQueued bounds the bytes of requests that were read and not answered;
	// beyond it no more is read.
	MaxQueued int
}

const (
	// arenaChunk is how much memory is taken at a time for small requests.
	arenaChunk = 16 << 10
	// maxTransaction bounds what is kept of an open MULTI, in case the session moves.
	maxTransaction = 1 << 20
	// maxGathered bounds an answer that must be seen whole: a published message,
	// the list of commands.
	maxGathered = 64 << 20
	// maxKept bounds one request that is kept after it was sent, so that it can
	// be sent again if the server says it did not carry it out.
	maxKept = 4 << 20
	// drainFor is how long a link to a former target may still answer.
	drainFor = int64(2e9)
	// againMin and againMax bound the wait before a server is tried again.
	againMin, againMax = int64(1e6), int64(100e6)
)

// Wish is something the shell is to do with connections.
type Wish struct {
	Link uint64 // the shell's connection is known by it
	Dial string // address to connect to; "" to close the connection
}

// Stats count what happened in a session.
type Stats struct {
	Requests uint64 // read from the client
	Waited   uint64 // that waited for a server or the end of a hold
	Again    uint64 // sent to a second server
	Unknown  uint64 // answered "outcome unknown"
	Refused  uint64 // refused after waiting
	Moves    uint64 // of the session to another server
}

// Machine is one session. Make it with New; call its methods from one
// goroutine at a time, then take ToClient, Outgoing and Wishes.
type Machine struct {
	opt    Options
	route  Route
	shared *Table // nil: built in

	// ToClient is to be written to the client, in order; the shell takes it.
	ToClient []byte
	// Wishes are to be carried out in order; the shell takes them.
	Wishes []Wish
	// Closing: after ToClient was written the client is let go.
	Closing bool
	// Wake is when Tick is to be called, 0: not needed.
	Wake int64
	// Learned is a table of commands that a server gave; the shell takes it.
	Learned *Table
	// TableFailed says that the server did not give one.
	TableFailed bool
	Stats       Stats

	in       []byte // bytes of the client that are no complete request yet
	requests resp.Requests
	request  resp.Request
	arena    []byte
	ended    bool // QUIT was read, or what cannot be read: nothing more is taken
	skip     bool // CLIENT REPLY SKIP
	replyOff bool
	tx       *transaction // open as the client sees it

	queue  fifo // read and not sent
	queued int  // bytes in queue

	state     state
	cur, next *link
	lastLink  uint64
	fails     int   // in a row, of dialing or of requests not carried out
	again     int64 // nothing is sent before
	watch     uint64
	wroteOn   uint64
	holds     uint64 // that ended
	wantTable bool
}

// New returns the machine of a new session. table may be nil.
func New(o Options, r Route, table *Table) *Machine {
	m := &Machine{opt: o, route: r, shared: table}
	m.requests.Limits = o.Limits
	m.state.proto = 2
	return m
}

func (m *Machine) table() *Table {
	if m.shared == nil {
		return BuiltIn
	}
	return m.shared
}

// SetTable gives a table that a server gave.
func (m *Machine) SetTable(t *Table) { m.shared = t }

// AskTable makes the session ask its server what the commands do, once the
// server has answered something, which shows that it answers this client.
func (m *Machine) AskTable() { m.wantTable = true }

// Full tells that no more is to be read from the client now.
func (m *Machine) Full() bool { return m.ended || m.held() > m.opt.MaxQueued }

// Ended tells that nothing the client sends from now on is taken.
func (m *Machine) Ended() bool { return m.ended }

// Held is the bytes the session keeps: requests that wait, are in flight or
// are not complete.
func (m *Machine) Held() int { return m.held() + len(m.in) }

// Waiting tells that a request waits for a server or the end of a hold.
func (m *Machine) Waiting() bool { return !m.queue.empty() }

func (m *Machine) held() int {
	n := m.queued
	if m.cur != nil {
		n += m.cur.bytes
	}
	return n
}

// Partial tells that a request has begun and not ended.
func (m *Machine) Partial() bool { return m.requests.Partial() && len(m.in) > 0 }

// Drained tells that no request that writes waits for its answer. Requests
// that block at the server do not count: it answers them when it is demoted.
func (m *Machine) Drained() bool { return m.cur == nil || m.cur.writes == 0 }

// FromClient takes bytes of the client in.
func (m *Machine) FromClient(now int64, b []byte) {
	m.in = append(m.in, b...)
	m.advance(now)
}

// FromServer takes bytes in that came on a link.
func (m *Machine) FromServer(now int64, id uint64, b []byte) {
	l := m.link(id)
	if l == nil {
		return
	}
	m.receive(now, l, b)
	m.advance(now)
}

// Dialed says that a wish to connect came true.
func (m *Machine) Dialed(now int64, id uint64) {
	if l := m.link(id); l != nil {
		m.setUp(now, l)
		m.advance(now)
	}
}

// Lost says that a connection ended or could not be made.
func (m *Machine) Lost(now int64, id uint64) {
	if l := m.link(id); l != nil {
		m.lose(now, l)
		m.advance(now)
	}
}

// SetRoute tells where requests may go from now on.
func (m *Machine) SetRoute(now int64, r Route) {
	if r.Target != m.route.Target {
		m.again, m.fails = 0, 0
	}
	if m.route.Hold && !r.Hold {
		m.holds++
		if m.cur != nil {
			m.cur.proven = false // a move that was taken back disturbs the replicas too
		}
	}
	m.route = r
	if m.next != nil && m.next.target != r.Target && m.next.target != r.Next {
		m.drop(m.next)
	}
	if l := m.cur; l != nil && l.target != r.Target {
		if l.drainUntil == 0 {
			l.drainUntil = now + drainFor
		}
		switch {
		case !l.inflight.empty() && l.up:
		case m.standing() || !m.queue.empty() || m.next != nil:
			m.ready(now)
		default:
			m.leave(l) // the next request makes a new link
		}
	}
	if r.Hold && m.standing() {
		m.prepare()
	}
	m.advance(now)
}

// Tick lets time pass.
func (m *Machine) Tick(now int64) {
	if l := m.cur; l != nil && l.drainUntil != 0 && now >= l.drainUntil && !l.inflight.empty() {
		m.lose(now, l)
	}
	m.expire(now)
	m.advance(now)
}

// advance does all that can be done now.
func (m *Machine) advance(now int64) {
	if m.cur == nil && m.standing() && !m.Closing {
		m.ready(now)
	}
	for {
		m.pump(now)
		if !m.parse(now) {
			break
		}
	}
	m.plan(now)
}

// parse takes complete requests in as long as there is room and tells whether
// it took any.
func (m *Machine) parse(now int64) (took bool) {
	at := 0
	for !m.Full() && !m.Closing && at < len(m.in) {
		ok, err := m.requests.Next(m.in[at:], &m.request)
		if err != nil {
			m.queue.push(command{local: []byte("-ERR " + err.Error() + "\r\n"), closes: true, since: now})
			m.ended, took, at = true, true, len(m.in)
			break
		}
		if !ok {
			break
		}
		if raw := m.in[at : at+m.request.Size]; len(m.request.Args) > 0 {
			m.accept(now, raw, &m.request)
			took = true
		}
		at += m.request.Size
	}
	if at > 0 {
		n := copy(m.in, m.in[at:])
		m.in = m.in[:n]
		if n == 0 && cap(m.in) > 1<<20 {
			m.in = nil
		}
	}
	return took
}

// pump sends what may be sent.
func (m *Machine) pump(now int64) {
	for !m.queue.empty() && !m.Closing {
		c := m.queue.front()
		if c.local != nil {
			c := m.take()
			if m.cur != nil && !m.cur.inflight.empty() {
				m.cur.inflight.push(c)
			} else {
				m.answerHere(&c)
			}
			continue
		}
		if c.tx != nil && c.tx.failed {
			m.failInside(c)
			continue
		}
		if c.kind == kWait && m.wroteOn != 0 && (m.cur == nil || m.wroteOn != m.cur.id) {
			// How many replicas have what was written on another link is not
			// known: none is what is certain.
			c.local = []byte(":0\r\n")
			if c.name == "WAITAOF" {
				c.local = []byte("*2\r\n:0\r\n:0\r\n")
			}
			continue
		}
		if c.class == Write && (m.route.Hold || m.route.Fenced) {
			if m.route.Hold {
				m.prepare()
			}
			return
		}
		l := m.ready(now)
		if l == nil || now < m.again || len(l.again) > 0 || l.bytes > m.opt.MaxQueued {
			return
		}
		if !l.proven && !l.inflight.empty() && (c.class == Write || l.writes > 0) {
			return
		}
		c2 := m.take()
		m.transmit(now, l, c2)
	}
}

// take pops the front of the queue.
func (m *Machine) take() command {
	c := m.queue.pop()
	m.queued -= c.size
	return c
}

// plan sets when Tick is needed.
func (m *Machine) plan(now int64) {
	m.Wake = 0
	at := func(t int64) {
		if t > 0 && (m.Wake == 0 || t < m.Wake) {
			m.Wake = t
		}
	}
	if !m.queue.empty() {
		at(m.queue.front().since + m.opt.Wait)
		if m.again > now {
			at(m.again)
		}
	} else if m.standing() && m.cur == nil && m.again > now {
		at(m.again)
	}
	if m.cur != nil && m.cur.drainUntil != 0 && !m.cur.inflight.empty() {
		at(m.cur.drainUntil)
	}
}

// standing tells that the session needs a link also without a request.
func (m *Machine) standing() bool { return m.state.subscribed() || m.state.monitor }

// expire refuses what has waited too long. None of it was carried out.
func (m *Machine) expire(now int64) {
	for i := m.queue.head; i < len(m.queue.items); i++ {
		c := &m.queue.items[i]
		if c.local != nil {
			continue
		}
		if now-c.since < m.opt.Wait {
			break
		}
		m.Stats.Refused++
		if c.local = c.refused; c.local == nil {
			c.local = errorReply(waitedText, m.why())
		}
		if c.tx != nil {
			c.tx.failed = true
		}
	}
}

func (m *Machine) why() string {
	switch {
	case m.route.Hold:
		return "the primary is being moved"
	case m.route.Why != "":
		return m.route.Why
	case m.route.Target.Addr == "":
		return "there is no server to send it to"
	}
	return "the server at " + m.route.Target.Addr + " does not take it"
}

// failInside answers the rest of a MULTI of which a part was refused here.
func (m *Machine) failInside(c *command) {
	switch c.kind {
	case kExec:
		c.local = []byte("-EXECABORT Transaction discarded because of previous errors.\r\n")
	case kDiscard:
		c.local = []byte("+OK\r\n")
	default:
		c.local = errorReply("a part of this MULTI was refused; this was not carried out", m.why())
	}
}

// answerHere gives a local answer to the client.
func (m *Machine) answerHere(c *command) {
	if !c.quiet {
		m.ToClient = append(m.ToClient, c.local...)
	}
	if c.closes {
		m.Closing = true
	}
}

// Texts of error replies. Each begins with BATON, so that a client can tell
// the endpoint's errors from the server's.
const (
	waitedText  = "the request was not carried out"
	unknownText = "outcome unknown: the connection to the server was lost before it answered; the request may or may not have been carried out"
	loginText   = "the session could not be taken to another server; connect again"
)

func errorReply(text, why string) []byte {
	s := "-BATON " + text
	if why != "" {
		s += ": " + why
	}
	b := []byte(s)
	for i, c := range b {
		if c == '\r' || c == '\n' {
			b[i] = ' '
		}
	}
	return append(b, '\r', '\n')
}

// Idle tells that nothing of the client waits for an answer.
func (m *Machine) Idle() bool {
	return m.queue.empty() && (m.cur == nil || m.cur.inflight.empty()) && len(m.ToClient) == 0
}
