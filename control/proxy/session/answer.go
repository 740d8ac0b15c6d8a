package session

import (
	"bytes"
	"strings"

	"baton/control/proxy/resp"
)

// receive takes bytes of a server in: one answer, or a part of one, at a time.
func (m *Machine) receive(now int64, l *link, b []byte) {
	for len(b) > 0 && m.link(l.id) == l && !m.Closing {
		if !l.replies.Partial() {
			m.begin(l, b[0])
		}
		n, done, err := l.replies.Next(b)
		if err != nil || len(l.part)+n > maxGathered && l.gather {
			m.lose(now, l)
			return
		}
		chunk := b[:n]
		b = b[n:]
		if l.gather {
			if !done || len(l.part) > 0 {
				l.part = append(l.part, chunk...)
				chunk = l.part
			}
			if done {
				m.answer(now, l, chunk)
				l.part = l.part[:0]
				if cap(l.part) > 1<<20 {
					l.part = nil
				}
			}
			continue
		}
		if !l.drop {
			m.ToClient = append(m.ToClient, chunk...)
			l.streamed = !done
		}
		if done {
			c := l.inflight.pop()
			m.popped(l, &c)
			switch {
			case c.role != ofClient:
				m.setupEnded(l, &c)
			case len(l.again) > 0 && c.class != Write:
				m.put(l, c)
			default:
				m.confirmed(l, &c, true)
			}
			m.settle(now, l)
		}
	}
}

// begin decides how the answer that begins with kind is treated.
func (m *Machine) begin(l *link, kind byte) {
	l.gather, l.drop = true, false
	if l.inflight.empty() {
		return
	}
	c := l.inflight.front()
	switch kind {
	case '$', '%', '~', '=', '!', '|':
	case '*':
		if l.subs.count() > 0 || c.kind == kSubscribe || c.kind == kUnsubscribe {
			return
		}
	default:
		return
	}
	if c.role == ofTable || c.instead != nil {
		return
	}
	l.gather = false
	if len(l.again) > 0 {
		if c.class == Write {
			m.abandon(l)
		} else {
			l.drop = true
		}
	}
	l.drop = l.drop || c.quiet || l != m.cur
}

// answer takes a whole answer in.
func (m *Machine) answer(now int64, l *link, a []byte) {
	if m.outOfBand(l, a) {
		m.settle(now, l)
		return
	}
	if l.inflight.empty() {
		m.lose(now, l) // an error outside any request: the server is about to close
		return
	}
	c := l.inflight.front()
	failed := a[0] == '-' || a[0] == '!'
	if (c.kind == kSubscribe || c.kind == kUnsubscribe) && !failed {
		m.confirm(l, a)
		m.settle(now, l)
		return
	}
	if c.role != ofClient {
		m.own(now, l, a, failed)
		return
	}
	if failed && m.notDone(now, l, c, a) || l.txDirty && c.tx != nil && c.tx == l.tx || l.txDirty && c.kind == kExec {
		x := l.inflight.pop()
		m.popped(l, &x)
		if x.refused = nil; failed {
			x.refused = bytes.Clone(a)
		}
		if x.tx != nil {
			l.txDirty = true
		}
		m.put(l, x)
		m.settle(now, l)
		return
	}
	if len(l.again) > 0 && c.local == nil {
		if c.class != Write || failed {
			x := l.inflight.pop()
			m.popped(l, &x)
			m.put(l, x)
			m.settle(now, l)
			return
		}
		m.abandon(l)
	}
	x := l.inflight.pop()
	m.popped(l, &x)
	if x.instead != nil && (!failed || x.always) {
		a = x.instead
	}
	if !x.quiet {
		m.ToClient = append(m.ToClient, a...)
	}
	m.confirmed(l, &x, !failed)
	m.settle(now, l)
}

// popped keeps count of what is in flight.
func (m *Machine) popped(l *link, c *command) {
	l.bytes -= c.size
	if c.class == Write && c.kind != kBlocking && c.role == ofClient && c.local == nil {
		l.writes--
	}
	l.streamed = false
}

// put keeps a request for another try.
func (m *Machine) put(l *link, c command) {
	m.Stats.Again++
	l.again = append(l.again, c)
}

// abandon answers what was to be tried again with an error: a later request
// that writes was carried out, and the order would be another one.
func (m *Machine) abandon(l *link) {
	for _, c := range l.again {
		a := c.refused
		if a == nil {
			a = errorReply(waitedText, "")
		}
		if !c.quiet {
			m.ToClient = append(m.ToClient, a...)
		}
	}
	l.again = nil
}

// settle gives the answers made here whose turn it is and, once everything
// was answered, sends again what was not carried out.
func (m *Machine) settle(now int64, l *link) {
	for !l.inflight.empty() && l.inflight.front().local != nil && l == m.cur {
		c := l.inflight.pop()
		if len(l.again) > 0 {
			l.again = append(l.again, c)
			continue
		}
		m.answerHere(&c)
	}
	if !l.inflight.empty() || l != m.cur {
		return
	}
	if len(l.again) > 0 {
		m.requeue(l.again)
		l.again = nil
		m.fails++
		m.again = now + backoff(m.fails)
		if l.condemned {
			m.leave(l)
		}
		return
	}
	if l.target != m.route.Target {
		m.ready(now)
	}
}

// notDone tells whether an error says that the request was not carried out and
// another server, or this one a moment later, would. It remembers what follows
// for the link.
func (m *Machine) notDone(now int64, l *link, c *command, a []byte) bool {
	if !c.stored && c.raw == nil || now-c.since >= m.opt.Wait {
		return false
	}
	code, _, _ := bytes.Cut(a[1:], []byte(" "))
	wrong, notYet := false, false
	switch string(bytes.TrimRight(code, "\r\n")) {
	case "READONLY":
		wrong = !m.opt.ReadOnly
	case "UNBLOCKED":
		wrong = bytes.Contains(a, []byte("instance state changed"))
	case "MASTERDOWN":
		wrong = true
	case "EXECABORT":
		wrong = !m.opt.ReadOnly && bytes.Contains(a, []byte("because of: READONLY"))
		notYet = m.unsure(l) && bytes.Contains(a, []byte("because of: NOREPLICAS"))
	case "NOREPLICAS":
		notYet = m.unsure(l)
	case "LOADING":
		notYet = true
	}
	if wrong {
		l.condemned = true
		if c.kind == kBlocking {
			m.shorten(now, c)
		}
	}
	return wrong || notYet
}

// unsure tells whether a primary on l that lacks replicas may do so because of
// a move: one that is going on, one that l was left behind by (its server may
// be primary again by the time the request arrives), or one that just ended.
func (m *Machine) unsure(l *link) bool {
	return !l.proven || m.route.Hold || l.target != m.route.Target
}

// outOfBand takes in what is no answer to a request and tells whether it was.
func (m *Machine) outOfBand(l *link, a []byte) bool {
	forward := func() bool {
		if l == m.cur {
			m.ToClient = append(m.ToClient, a...)
		}
		return true
	}
	switch {
	case a[0] == '>':
		words := resp.Strings(a, 1)
		if len(words) == 1 && bytes.HasSuffix(words[0], []byte("subscribe")) {
			if !l.inflight.empty() {
				if k := l.inflight.front().kind; k == kSubscribe || k == kUnsubscribe {
					m.confirm(l, a)
					return true
				}
			}
		}
		return forward()
	case a[0] == '*' && l.subs.count() > 0:
		words := resp.Strings(a, 1)
		if len(words) == 1 && bytes.HasSuffix(words[0], []byte("message")) {
			return forward()
		}
	case a[0] == '+' && l.monitor && len(a) > 3 && a[1] >= '0' && a[1] <= '9' && bytes.Contains(a, []byte(" [")):
		return forward()
	}
	return false
}

// confirm takes in one confirmation of a request about subscriptions.
func (m *Machine) confirm(l *link, a []byte) {
	c := l.inflight.front()
	words := resp.Strings(a, 2)
	if len(words) == 0 {
		return
	}
	f, add := family(words[0]), c.kind == kSubscribe
	if c.need == 0 {
		switch {
		case c.role == ofSetup: // set by setUp
		case len(c.args) > 1:
			c.need = len(c.args) - 1
		default:
			c.need = max(1, len(l.subs[f]))
		}
	}
	if len(words) == 2 {
		l.subs.change(f, words[1], add)
		if c.role == ofClient {
			m.state.subs.change(f, words[1], add)
			m.state.version++
			l.version = m.state.version
		}
	}
	if !c.quiet && l == m.cur {
		m.ToClient = append(m.ToClient, a...)
	}
	if c.got++; c.got >= c.need {
		x := l.inflight.pop()
		m.popped(l, &x)
		m.setupEnded(l, &x)
	}
}

// own takes in the answer to a request of the endpoint's own.
func (m *Machine) own(now int64, l *link, a []byte, failed bool) {
	c := l.inflight.pop()
	switch c.role {
	case ofTable:
		if m.Learned = Learn(a); m.Learned == nil {
			m.TableFailed = true
		}
	case ofReplay:
		again := command{raw: a, since: now}
		if failed && c.tx != nil && m.notDone(now, l, &again, a) {
			l.txDirty = true
		}
	case ofSetup:
		if failed {
			m.setupFailed(now, l, a)
			return
		}
		if c.kind == kMonitor {
			l.monitor = true
		}
		m.setupEnded(l, &c)
	}
	m.settle(now, l)
}

func (m *Machine) setupEnded(l *link, c *command) {
	if c.role == ofSetup && l.inflight.empty() {
		m.established(l)
	}
}

// setupFailed: a server that is loading is tried again, one that does not take
// the login ends the session.
func (m *Machine) setupFailed(now int64, l *link, a []byte) {
	text := string(bytes.TrimRight(a[1:], "\r\n"))
	if l != m.cur {
		m.drop(l)
		return
	}
	if code, _, _ := strings.Cut(text, " "); code == "LOADING" || code == "MASTERDOWN" || strings.Contains(text, "max number of clients") {
		m.lose(now, l)
		return
	}
	m.drop(l)
	m.fatal(loginText + ": " + text)
}

// confirmed takes in what an answered request means for the session.
func (m *Machine) confirmed(l *link, c *command, ok bool) {
	if !ok || c.role != ofClient {
		return
	}
	if c.class == Write {
		m.fails = 0
		l.proven = l.proven || c.holds == m.holds // else it may have been carried out before the hold
	}
	if m.wantTable && l == m.cur && l.tx == nil && m.tx == nil && !m.state.subscribed() && !l.monitor {
		m.wantTable = false
		l.out = append(l.out, "*1\r\n$7\r\nCOMMAND\r\n"...)
		l.inflight.push(command{role: ofTable, quiet: true, class: Session})
	}
	if c.kind == plain || c.tx != nil && c.kind != kExec || c.instead != nil {
		return
	}
	m.change(l, c)
	l.version = m.state.version
}

// change applies a request about the session itself.
func (m *Machine) change(l *link, c *command) {
	s := &m.state
	switch c.kind {
	case kAuth:
		switch len(c.args) {
		case 2:
			s.authed, s.user, s.pass = true, nil, c.args[1]
		case 3:
			s.authed, s.user, s.pass = true, c.args[1], c.args[2]
		}
	case kHello:
		m.hello(c.args)
	case kSelect:
		if len(c.args) == 2 {
			s.db = selected(c.args[1])
		}
	case kClient:
		m.clientSetting(c)
	case kReset:
		*s = state{version: s.version, proto: 2}
		l.subs, l.monitor = subscriptions{}, false
	case kMonitor:
		s.monitor, l.monitor = true, true
	case kExec:
		if c.tx != nil && c.tx.pins {
			s.pinned = "it was changed inside MULTI"
		}
		return
	default:
		return
	}
	s.version++
}

func (m *Machine) hello(args [][]byte) {
	s := &m.state
	if len(args) > 1 {
		s.proto = 2
		if string(args[1]) == "3" {
			s.proto = 3
		}
	}
	for i := 2; i < len(args); i++ {
		switch {
		case is(args[i], "AUTH") && i+2 < len(args):
			s.authed, s.user, s.pass = true, args[i+1], args[i+2]
			i += 2
		case is(args[i], "SETNAME") && i+1 < len(args):
			s.set("SETNAME", resp.Append(nil, []byte("CLIENT"), []byte("SETNAME"), args[i+1]))
			i++
		}
	}
}

// clientSetting keeps what CLIENT set, to set it again elsewhere.
func (m *Machine) clientSetting(c *command) {
	if len(c.args) < 2 {
		return
	}
	s, word := &m.state, strings.ToUpper(string(c.args[1]))
	raw := resp.Append(nil, c.args...)
	switch word {
	case "SETNAME", "NO-EVICT", "NO-TOUCH":
		s.set(word, raw)
	case "SETINFO":
		if len(c.args) > 2 {
			s.set(word+" "+strings.ToUpper(string(c.args[2])), raw)
		}
	case "TRACKING":
		s.tracking = len(c.args) > 2 && is(c.args[2], "ON")
		if !s.tracking {
			raw = nil
		}
		s.set(word, raw)
		s.pinned = ""
		for _, a := range c.args[2:] {
			if s.tracking && is(a, "REDIRECT") {
				s.pinned = "its invalidation messages go to another connection"
			}
		}
	}
}
