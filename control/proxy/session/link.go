package session

import (
	"bytes"
	"slices"
	"strconv"

	"baton/control/proxy/resp"
)

// link is one connection to a server and what is known of the session there.
type link struct {
	id      uint64
	target  Target
	out     []byte // to be written to the server, in order
	dialed  bool
	up      bool // the session is established there
	version uint64
	// proven: a request that writes was sent since the last hold and carried out.
	// Before that requests that write are sent one by one: one that is refused
	// because the server is not ready must not be overtaken.
	proven   bool
	inflight fifo
	bytes    int // of requests in flight
	writes   int // in flight, without those that block

	replies  resp.Replies
	part     []byte // the beginning of an answer that must be seen whole
	gather   bool
	drop     bool // the answer under way is not for the client
	streamed bool // a part of the answer under way went to the client

	tx      *transaction // open on the server
	txDirty bool         // it was refused a part and cannot be carried out
	subs    subscriptions
	monitor bool

	// again are requests the server said it did not carry out, and those after
	// them; they are sent again once the rest has answered.
	again     []command
	condemned bool // it is the wrong server: no more is sent on it

	drainUntil int64 // when a former target is given up, 0: it is the target
}

// subscriptions of a session: channels, patterns, shard channels.
type subscriptions [3][][]byte

// family of a command about subscriptions, or of its confirmation.
func family(word []byte) int {
	switch {
	case len(word) == 0:
		return 0
	case word[0] == 'p' || word[0] == 'P':
		return 1
	case (word[0] == 's' || word[0] == 'S') && len(word) > 1 && (word[1] == 's' || word[1] == 'S' || word[1]|32 == 'u' && len(word) > 2 && word[2]|32 == 'n'):
		return 2
	}
	return 0
}

func (s *subscriptions) count() int { return len(s[0]) + len(s[1]) + len(s[2]) }

func (s *subscriptions) change(f int, name []byte, add bool) {
	i := slices.IndexFunc(s[f], func(b []byte) bool { return bytes.Equal(b, name) })
	switch {
	case add && i < 0:
		s[f] = append(s[f], bytes.Clone(name))
	case !add && i >= 0:
		s[f] = slices.Delete(slices.Clone(s[f]), i, i+1)
	}
}

// state is what the client has made of its session, as servers confirmed it.
// It is in memory only; the password too.
type state struct {
	version uint64 // counts changes
	proto   int
	authed  bool
	user    []byte // nil: the default user
	pass    []byte
	db      []byte
	// settings are requests such as CLIENT SETNAME as they were sent, by what they set.
	settings []setting
	subs     subscriptions
	monitor  bool
	tracking bool
	// pinned says why the session cannot be taken to another server.
	pinned string
}

type setting struct {
	key string
	raw []byte
}

func (s *state) subscribed() bool { return s.subs.count() > 0 }

func (s *state) set(key string, raw []byte) {
	s.settings = slices.DeleteFunc(s.settings, func(x setting) bool { return x.key == key })
	if raw != nil {
		s.settings = append(s.settings, setting{key, bytes.Clone(raw)})
	}
}

func (m *Machine) link(id uint64) *link {
	switch {
	case m.cur != nil && m.cur.id == id:
		return m.cur
	case m.next != nil && m.next.id == id:
		return m.next
	}
	return nil
}

// Outgoing returns the current links' ids; for each the shell takes Out.
func (m *Machine) Outgoing() [2]uint64 {
	var ids [2]uint64
	if m.cur != nil && len(m.cur.out) > 0 {
		ids[0] = m.cur.id
	}
	if m.next != nil && len(m.next.out) > 0 {
		ids[1] = m.next.id
	}
	return ids
}

// Out takes what is to be written on a link, appended to dst.
func (m *Machine) Out(id uint64, dst []byte) []byte {
	l := m.link(id)
	if l == nil || len(l.out) == 0 {
		return dst
	}
	dst = append(dst, l.out...)
	if cap(l.out) > 1<<20 {
		l.out = nil
	}
	l.out = l.out[:0]
	return dst
}

func (m *Machine) dial(t Target) *link {
	m.lastLink++
	l := &link{id: m.lastLink, target: t}
	m.Wishes = append(m.Wishes, Wish{Link: l.id, Dial: t.Addr})
	return l
}

// drop closes a link that is not needed.
func (m *Machine) drop(l *link) {
	m.Wishes = append(m.Wishes, Wish{Link: l.id})
	if m.cur == l {
		m.cur = nil
	}
	if m.next == l {
		m.next = nil
	}
}

// prepare makes a link to where writes go after the hold.
func (m *Machine) prepare() {
	t := m.route.Next
	if m.next == nil && t.Addr != "" && (m.cur == nil || m.cur.target != t) && m.state.pinned == "" {
		m.next = m.dial(t)
	}
}

// ready returns the link to the target when requests can be sent on it, else
// nil, having begun what is missing.
func (m *Machine) ready(now int64) *link {
	t := m.route.Target
	if l := m.cur; l != nil {
		switch {
		case l.target == t && !l.condemned:
			if !l.up {
				return nil
			}
			return l
		case !l.inflight.empty() && l.up:
			return nil // it still answers
		}
		if !m.leave(l) {
			return nil
		}
	}
	if t.Addr == "" || now < m.again {
		return nil
	}
	if l := m.next; l != nil && l.target == t {
		m.next = nil
		if l.version == m.state.version || !l.dialed {
			m.cur = l
		} else {
			m.drop(l)
		}
	}
	if m.cur == nil {
		m.cur = m.dial(t)
	}
	if m.cur.up {
		m.arrived()
		return m.cur
	}
	return nil
}

// leave gives up a link that has answered everything. false: the session cannot
// go elsewhere.
func (m *Machine) leave(l *link) bool {
	moved := l.up
	m.drop(l)
	if m.state.pinned != "" && moved {
		m.fatal(loginText + ": " + m.state.pinned)
		return false
	}
	if moved {
		m.Stats.Moves++
	}
	return true
}

// arrived is called once when a link becomes the one in use.
func (m *Machine) arrived() {
	if m.state.tracking && m.state.proto == 3 && m.cur.id > 1 {
		// What the client keeps may have changed while nobody told it.
		m.ToClient = append(m.ToClient, ">2\r\n$10\r\ninvalidate\r\n_\r\n"...)
	}
}

// setUp re-establishes the session on a new connection.
func (m *Machine) setUp(now int64, l *link) {
	l.dialed = true
	s := &m.state
	l.version = s.version
	put := func(n int, args ...[]byte) {
		raw := resp.Append(nil, args...)
		l.out = append(l.out, raw...)
		l.inflight.push(command{role: ofSetup, quiet: true, class: Session, need: n, sent: now})
	}
	login := func(word string) [][]byte {
		user := s.user
		if user == nil {
			user = []byte("default")
		}
		return [][]byte{[]byte(word), user, s.pass}
	}
	switch {
	case s.proto == 3 && s.authed:
		put(0, append([][]byte{[]byte("HELLO"), []byte("3")}, login("AUTH")...)...)
	case s.proto == 3:
		put(0, []byte("HELLO"), []byte("3"))
	case s.authed && s.user == nil:
		put(0, []byte("AUTH"), s.pass)
	case s.authed:
		put(0, login("AUTH")...)
	}
	for _, set := range s.settings {
		l.out = append(l.out, set.raw...)
		l.inflight.push(command{role: ofSetup, quiet: true, class: Session, sent: now})
	}
	if s.db != nil {
		put(0, []byte("SELECT"), s.db)
	}
	for f, word := range []string{"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"} {
		if len(s.subs[f]) > 0 {
			put(len(s.subs[f]), append([][]byte{[]byte(word)}, s.subs[f]...)...)
			l.inflight.items[len(l.inflight.items)-1].kind = kSubscribe
		}
	}
	if s.monitor {
		put(0, []byte("MONITOR"))
		l.inflight.items[len(l.inflight.items)-1].kind = kMonitor
	}
	if l.inflight.empty() {
		m.established(l)
	}
}

func (m *Machine) established(l *link) {
	l.up = true
	m.fails = 0
	if m.cur == l {
		m.arrived()
	}
}

// transmit sends a request on a link, what must go before it first.
func (m *Machine) transmit(now int64, l *link, c command) {
	if l.tx != nil && l.tx != c.tx || l.txDirty {
		l.out = append(l.out, discard...)
		l.inflight.push(command{role: ofReplay, quiet: true, class: Session, sent: now})
		l.tx, l.txDirty = nil, false
	}
	switch {
	case c.kind == kMulti && c.tx != nil:
		l.tx = c.tx
	case c.tx != nil && l.tx != c.tx && !m.replay(now, l, &c):
		m.answerLate(l, &c, errorReply("this MULTI is too large to be taken to another server", ""))
		return
	}
	raw := c.raw
	switch c.kind {
	case kExec, kDiscard:
		l.tx = nil
		if c.watch == 0 {
			c.watch = m.watch
		}
		m.watch = 0
		if c.kind == kExec && c.watch != 0 && c.watch != l.id && c.tx != nil {
			raw, c.instead = discard, []byte("*-1\r\n")
			if m.state.proto == 3 {
				c.instead = []byte("_\r\n")
			}
		} else if c.kind == kExec {
			c.instead = nil
		}
	case kWatch:
		if m.watch == 0 {
			m.watch = l.id
		}
	case kUnwatch:
		m.watch = 0
	case kReset:
		m.watch, l.tx = 0, nil
	}
	if now > c.since+againMin {
		m.Stats.Waited++
	}
	c.sent, c.holds = now, m.holds
	if c.class == Write {
		m.wroteOn = l.id
		if c.kind != kBlocking {
			l.writes++
		}
	}
	l.bytes += c.size
	l.out = append(l.out, raw...)
	c.stored = len(c.raw) <= maxKept
	if !c.stored {
		c.raw = nil
	}
	l.inflight.push(c)
}

var discard = resp.AppendStrings(nil, "DISCARD")

// replay brings an open MULTI to where it was on another link.
func (m *Machine) replay(now int64, l *link, c *command) bool {
	if c.tx.large {
		c.tx.failed = true
		return false
	}
	l.out = append(l.out, "*1\r\n$5\r\nMULTI\r\n"...)
	l.inflight.push(command{role: ofReplay, quiet: true, class: Session, sent: now, tx: c.tx})
	n := len(c.tx.raw)
	if c.kind != kExec && c.kind != kDiscard {
		n = c.txAt
	}
	for _, raw := range c.tx.raw[:n] {
		l.out = append(l.out, raw...)
		l.inflight.push(command{role: ofReplay, quiet: true, class: Session, sent: now, tx: c.tx})
	}
	l.tx = c.tx
	return true
}

// answerLate answers a request that was taken from the queue here, in its turn.
func (m *Machine) answerLate(l *link, c *command, answer []byte) {
	if c.kind == kExec || c.kind == kDiscard {
		l.tx = nil
	}
	late := command{local: answer, quiet: c.quiet}
	if l.inflight.empty() {
		m.answerHere(&late)
		return
	}
	l.inflight.push(late)
}

// lose deals with a connection that ended. Of each request in flight: what was
// partly answered ends the session, what only reads is asked again, of what
// may have written the outcome is unknown and the client is told so.
func (m *Machine) lose(now int64, l *link) {
	current := m.cur == l
	m.drop(l)
	if m.Closing || !current {
		return
	}
	m.fails++
	m.again = now + backoff(m.fails)
	if l.streamed {
		m.cut()
		return
	}
	list := l.again
	for !l.inflight.empty() {
		if c := l.inflight.pop(); c.role == ofClient {
			list = append(list, m.orphan(now, c))
		}
	}
	m.requeue(list)
	if l.up {
		m.left(l)
	}
}

// left is called when the session lost its server while it was established.
func (m *Machine) left(l *link) {
	moved := m.route.Target != l.target || m.route.Hold
	switch {
	case m.state.pinned != "":
		m.fatal(loginText + ": " + m.state.pinned)
	case !moved && (m.state.subscribed() || m.state.monitor):
		// Messages were missed: only a closed connection says so.
		m.cut()
	default:
		m.Stats.Moves++
	}
}

// orphan decides about a request whose answer will not come.
func (m *Machine) orphan(now int64, c command) command {
	switch {
	case c.local != nil:
		return c
	case c.kind == kBlocking && c.class == Read && c.stored:
		m.shorten(now, &c)
	case c.kind == kSubscribe && c.got > 0 && len(c.args) > c.got+1:
		// The confirmed part is re-established with the session.
		c.args = append([][]byte{c.args[0]}, c.args[c.got+1:]...)
		c.raw, c.need, c.got = resp.Append(nil, c.args...), 0, 0
	case c.class == Read, c.class == Session, c.tx != nil && c.kind != kExec:
	default:
		m.Stats.Unknown++
		c.local = errorReply(unknownText, "")
		return c
	}
	if !c.stored {
		c.local = errorReply("the connection to the server was lost before it answered", "")
		return c
	}
	m.Stats.Again++
	return c
}

// requeue puts requests back, before those that wait.
func (m *Machine) requeue(list []command) {
	for i := range list {
		m.queued += list[i].size
	}
	m.queue.unshift(list)
}

// cut ends the session after what was already answered: the next answer cannot
// be given.
func (m *Machine) cut() {
	m.Closing, m.ended = true, true
}

// fatal answers one error and ends the session.
func (m *Machine) fatal(text string) {
	if m.cur == nil || !m.cur.streamed {
		m.ToClient = append(m.ToClient, errorReply(text, "")...)
	}
	m.cut()
}

func backoff(fails int) int64 {
	d := againMin
	for range min(fails-1, 10) {
		d *= 2
	}
	return min(d, againMax)
}

// selected is the database in a SELECT's argument; nil for the first.
func selected(arg []byte) []byte {
	if n, err := strconv.Atoi(string(arg)); err == nil && n == 0 {
		return nil
	}
	return bytes.Clone(arg)
}
