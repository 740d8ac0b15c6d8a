package session

import (
	"bytes"
	"strings"

	"baton/control/proxy/resp"
)

// role is whose request an entry is.
type role uint8

const (
	ofClient role = iota
	ofSetup       // re-establishes the session on a new link; an error ends the link
	ofReplay      // a part of a MULTI that was begun elsewhere
	ofTable       // asks what the commands do
)

// command is one request from when it was read to when it is answered.
type command struct {
	raw   []byte // as it is sent; nil for a large one that is gone once sent
	size  int    // of raw when it was read
	name  string // upper case, set for kinds other than plain
	class Class
	kind  kind
	role  role
	quiet bool // its answer is not for the client
	args  [][]byte
	// local is the answer where it is made here; such an entry is not sent.
	local []byte
	// instead replaces the server's answer when it is not an error, for errors
	// too with always.
	instead []byte
	always  bool
	closes  bool // the client is let go after the answer
	tx      *transaction
	txAt    int    // requests of tx before this one
	watch   uint64 // the link its WATCH was sent on, of EXEC
	since   int64  // when it was read
	sent    int64
	holds   uint64 // that had ended when it was sent
	refused []byte // the last answer that said it was not carried out
	need    int    // confirmations of a (un)subscribe; 0 before the first
	got     int
	stored  bool // raw is kept after sending
}

// transaction is what a client put between MULTI and EXEC.
type transaction struct {
	raw    [][]byte
	bytes  int
	class  Class
	pins   bool // a request in it changes the session
	large  bool // beyond maxTransaction: it cannot be carried over
	failed bool // a part of it was answered with an error here
}

// fifo holds commands in order.
type fifo struct {
	items []command
	head  int
}

func (q *fifo) len() int { return len(q.items) - q.head }

func (q *fifo) empty() bool { return q.head == len(q.items) }

func (q *fifo) front() *command { return &q.items[q.head] }

func (q *fifo) push(c command) { q.items = append(q.items, c) }

func (q *fifo) pop() command {
	c := q.items[q.head]
	q.items[q.head] = command{}
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head > 64 && q.head*2 > len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return c
}

// unshift puts commands before all others, in their order.
func (q *fifo) unshift(list []command) {
	if len(list) == 0 {
		return
	}
	all := make([]command, 0, len(list)+q.len())
	q.items, q.head = append(append(all, list...), q.items[q.head:]...), 0
}

// keep copies bytes that must outlive the input buffer.
func (m *Machine) keep(b []byte) []byte {
	if len(b) > arenaChunk/4 {
		return bytes.Clone(b)
	}
	if m.queue.empty() && m.tx == nil && (m.cur == nil || m.cur.inflight.empty() && len(m.cur.again) == 0) {
		m.arena = m.arena[:0] // nothing refers to it
	}
	if len(m.arena)+len(b) > cap(m.arena) {
		m.arena = make([]byte, 0, arenaChunk)
	}
	at := len(m.arena)
	m.arena = append(m.arena, b...)
	return m.arena[at:len(m.arena):len(m.arena)]
}

func cloneArgs(args [][]byte) [][]byte {
	out := make([][]byte, len(args))
	for i, a := range args {
		out[i] = bytes.Clone(a)
	}
	return out
}

// accept takes one complete request in.
func (m *Machine) accept(now int64, raw []byte, r *resp.Request) {
	m.Stats.Requests++
	in := m.table().find(r.Args[0])
	c := command{class: in.classOf(r.Args), kind: in.kind, since: now, size: len(raw)}
	if r.Inline {
		c.raw = resp.Append(nil, r.Args...)
	} else {
		c.raw = m.keep(raw)
	}
	if c.kind != plain {
		c.name, c.args = strings.ToUpper(string(r.Args[0])), cloneArgs(r.Args)
	}
	if i, _ := timeoutOf(c.name, c.args); c.kind == kBlocking && i < 0 {
		c.kind = plain // XREAD without BLOCK
	}
	if m.replyOff || m.skip {
		c.quiet = true
	}
	m.skip = false
	m.classify(&c, r)
	m.queue.push(c)
	m.queued += c.size
}

// classify settles what is special about a request: what is answered here,
// what belongs to a MULTI.
func (m *Machine) classify(c *command, r *resp.Request) {
	inside := m.tx != nil
	switch c.kind {
	case kRefused:
		m.refuse(c, "ERR BATON "+c.name+" is not taken through the endpoint: roles belong to the control plane")
		return
	case kQuit:
		c.local, c.closes, c.quiet = []byte("+OK\r\n"), true, false
		m.ended = true
		return
	case kReset:
		m.tx = nil
		m.replyOff, c.quiet = false, false
		return
	case kMulti:
		if !inside {
			m.tx = &transaction{}
			c.tx = m.tx
			return
		}
	case kExec:
		c.tx, m.tx = m.tx, nil
		if c.tx != nil {
			c.class = c.tx.class
		}
		return
	case kDiscard:
		c.tx, m.tx = m.tx, nil
		return
	case kClient:
		if len(r.Args) > 2 && is(r.Args[1], "REPLY") {
			m.clientReply(c, r)
			return
		}
	}
	if m.opt.ReadOnly && c.class == Write {
		m.refuse(c, "READONLY BATON this is the read-only endpoint; write through the read-write endpoint")
		return
	}
	if inside {
		m.inside(c)
	}
}

// inside makes a request part of the open MULTI.
func (m *Machine) inside(c *command) {
	t := m.tx
	switch c.kind {
	case kSubscribe, kUnsubscribe, kMonitor, kHello:
		m.refuse(c, "ERR BATON "+c.name+" is not taken inside MULTI through the endpoint")
		return
	case kAuth, kSelect, kClient:
		t.pins = true
	case kWatch, kMulti:
		// The server refuses it and the MULTI stays open.
		c.kind, c.tx, c.txAt = plain, t, len(t.raw)
		return
	}
	c.tx, c.txAt = t, len(t.raw)
	t.class = max(t.class, c.class)
	if t.bytes += len(c.raw); t.bytes > maxTransaction {
		t.large = true
	} else {
		t.raw = append(t.raw, c.raw)
	}
}

// refuse answers a request here. Inside a MULTI the server must know of it, so
// that EXEC fails: it is sent something that it refuses.
func (m *Machine) refuse(c *command, text string) {
	answer := []byte("-" + text + "\r\n")
	if m.tx == nil {
		c.local = answer
		return
	}
	c.raw, c.class, c.kind = refusedInside, Session, plain
	c.instead, c.always = answer, true
	c.tx, c.txAt = m.tx, len(m.tx.raw)
	m.tx.raw = append(m.tx.raw, c.raw)
}

var refusedInside = resp.AppendStrings(nil, "BATON.REFUSED")

// clientReply keeps CLIENT REPLY here: the server always answers, so that it
// is known what was carried out, and the answers are dropped.
func (m *Machine) clientReply(c *command, r *resp.Request) {
	switch {
	case m.tx != nil:
		m.refuse(c, "ERR BATON CLIENT REPLY is not taken inside MULTI through the endpoint")
	case is(r.Args[2], "ON"):
		m.replyOff = false
		c.local, c.quiet = []byte("+OK\r\n"), false
	case is(r.Args[2], "OFF"):
		m.replyOff = true
		c.local, c.quiet = []byte{}, true
	case is(r.Args[2], "SKIP"):
		m.skip = !m.replyOff
		c.local, c.quiet = []byte{}, true
	}
}

func is(b []byte, word string) bool { return strings.EqualFold(string(b), word) }
