package proxy

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"baton/control/proxy/session"
)

// endpoint is one cluster's two ports.
type endpoint struct {
	s       *Server
	cluster string

	mu        sync.Mutex
	route     Route
	confirmed time.Time
	holding   *hold
	fenced    bool
	closed    bool
	ports     [2]*port // read-write, read-only
	conns     map[*conn]struct{}
	reading   map[string]int // read-only clients by server
	broken    string         // why a port is not served
	lastHold  time.Duration  // -1: none
	networks  networks       // clients may come from
	// lastOutside was refused last, outsideLogged is when one was logged.
	lastOutside   string
	outsideLogged time.Time

	table        atomic.Pointer[session.Table]
	tableAsked   atomic.Bool
	bytes        atomic.Int64
	waiting      atomic.Int64
	clients      atomic.Int64
	countersLock sync.Mutex
	counters     Counters
}

type port struct {
	address string
	ln      net.Listener
}

func newEndpoint(s *Server, r Route) *endpoint {
	return &endpoint{s: s, cluster: r.Cluster, route: r, conns: map[*conn]struct{}{}, reading: map[string]int{}, lastHold: -1}
}

func (e *endpoint) apply(r Route) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.holding != nil && r.Generation == e.route.Generation {
		r.Primary = e.route.Primary // the operation that holds says where to go
	}
	moved := r.Primary != e.route.Primary || r.Generation != e.route.Generation
	if e.holding != nil && r.Generation > e.route.Generation {
		e.endHold()
	}
	if moved && r.Primary.Node != e.route.Primary.Node {
		e.tableAsked.Store(false) // another server may be of another version
	}
	e.route, e.confirmed, e.fenced = r, time.Now(), false
	allowed, err := parseNetworks(r.Allow)
	if err != nil {
		return err // Check has seen it
	}
	if !slices.Equal(allowed, e.networks) {
		e.networks = allowed
		e.shutOut()
	}
	err = e.listen()
	e.tell()
	return err
}

// listen opens and closes ports as the route says; e.mu is held.
func (e *endpoint) listen() error {
	var errs []error
	want := [2]string{joinPort(e.route.Host, e.route.ReadWritePort), joinPort(e.route.Host, e.route.ReadOnlyPort)}
	for i, address := range want {
		if p := e.ports[i]; p != nil && p.address != address {
			p.ln.Close()
			e.ports[i] = nil
		}
		if e.ports[i] != nil || address == "" || e.closed {
			continue
		}
		ln, err := net.Listen("tcp", address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.ports[i] = &port{address: address, ln: ln}
		e.s.threads.Add(1)
		go e.accept(ln, i == 1)
	}
	e.broken = ""
	if err := errors.Join(errs...); err != nil {
		e.broken = err.Error()
		return err
	}
	return nil
}

func (e *endpoint) accept(ln net.Listener, readOnly bool) {
	defer e.s.threads.Done()
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files: it passes
			e.s.opt.Log.Warn("a client could not be accepted", "cluster", e.cluster, "err", err)
			select {
			case <-e.s.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		e.count(func(c *Counters) { c.Connections++ })
		if !e.admit(nc) {
			continue
		}
		c := newConn(e, nc, readOnly)
		if !e.enter(c) {
			e.count(func(c *Counters) { c.Turned++ })
			turnAway(nc, "ERR max number of clients reached")
			continue
		}
		c.serve()
	}
}

// enter lets a client in unless there are too many.
func (e *endpoint) enter(c *conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.conns) >= e.s.opt.MaxClients || !e.networks.allow(remote(c.client.nc)) {
		return false
	}
	e.conns[c] = struct{}{}
	e.clients.Add(1)
	e.s.threads.Add(1)
	c.m = session.New(session.Options{ReadOnly: c.readOnly, Limits: e.s.opt.Limits, Wait: int64(e.s.opt.Wait),
		MaxQueued: e.s.opt.ClientBytes}, e.view(c), e.table.Load())
	return true
}

func (e *endpoint) leave(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.conns[c]; !ok {
		return
	}
	delete(e.conns, c)
	e.clients.Add(-1)
	if c.reads != "" {
		e.reading[c.reads]--
	}
}

// view is the route of one client; e.mu is held.
func (e *endpoint) view(c *conn) session.Route {
	if c.readOnly {
		return e.readView(c)
	}
	v := session.Route{Target: session.Target{Addr: e.route.Primary.Address, Generation: e.route.Generation}, Why: e.route.Why}
	if v.Target.Addr == "" {
		v.Target = session.Target{}
	}
	if e.holding != nil {
		v.Hold, v.Next = true, e.holding.next
	}
	if e.fenced {
		v.Fenced, v.Why = true, "no control plane has confirmed for "+e.ttl().String()+" that "+e.route.Primary.Node+" is the primary"
	}
	return v
}

// lagSlack is how much further behind than the nearest replica another may be
// to share its clients.
const lagSlack = 1 << 20

// readView chooses a server to read from and stays with it while it is fit;
// e.mu is held.
func (e *endpoint) readView(c *conn) session.Route {
	best, least := "", int64(-1)
	fit := func(m *Member) bool { return m.Healthy && m.Address != "" && m.LagBytes <= e.route.MaxLagBytes }
	for i := range e.route.Replicas {
		if m := &e.route.Replicas[i]; fit(m) && (least < 0 || m.LagBytes < least) {
			least = m.LagBytes
		}
	}
	for i := range e.route.Replicas {
		m := &e.route.Replicas[i]
		switch {
		case !fit(m):
		case m.Address == c.reads:
			return session.Route{Target: session.Target{Addr: c.reads}}
		case m.LagBytes <= least+lagSlack && (best == "" || e.reading[m.Address] < e.reading[best]):
			best = m.Address
		}
	}
	if best == "" && !e.route.ReplicasOnly {
		best = e.route.Primary.Address
	}
	if best != c.reads {
		if c.reads != "" {
			e.reading[c.reads]--
		}
		if c.reads = best; best != "" {
			e.reading[best]++
		}
	}
	return session.Route{Target: session.Target{Addr: best}, Why: "no replica is near enough to the primary"}
}

// tell gives every client its route; e.mu is held. Those that wait come first.
func (e *endpoint) tell() {
	for _, first := range []bool{true, false} {
		for c := range e.conns {
			if c.waits.Load() == first {
				v := e.view(c)
				c.setRoute(v)
			}
		}
	}
}

func (e *endpoint) ttl() time.Duration { return time.Duration(e.route.TTLMs) * time.Millisecond }

// watch sees fences and holds run out.
func (e *endpoint) watch() {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.holding != nil && now.After(e.holding.until) {
		e.s.opt.Log.Warn("a hold ran out that nobody ended", "cluster", e.cluster, "operation", e.holding.operation)
		e.holding = nil
		e.tell()
	}
	if fenced := e.route.TTLMs > 0 && now.Sub(e.confirmed) > e.ttl(); fenced != e.fenced {
		e.fenced = fenced
		e.s.opt.Log.Warn("writes are not forwarded: nothing confirms the primary", "cluster", e.cluster, "after", e.ttl())
		e.tell()
	}
}

func (e *endpoint) hold(ctx context.Context, operation string, generation uint64, next string) (drained bool) {
	e.mu.Lock()
	now := time.Now()
	if e.holding == nil || e.holding.operation != operation {
		e.count(func(c *Counters) { c.Holds++ })
		e.holding = &hold{operation: operation, since: now}
	}
	e.holding.until = now.Add(e.s.opt.HoldFor)
	e.holding.next = session.Target{Addr: next, Generation: generation + 1}
	e.tell()
	var busy []<-chan struct{}
	for c := range e.conns {
		if ch := c.drained(); ch != nil {
			busy = append(busy, ch)
		}
	}
	e.mu.Unlock()
	for _, ch := range busy {
		select {
		case <-ch:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// endHold is called with e.mu held when a hold ended as it should.
func (e *endpoint) endHold() {
	e.lastHold, e.holding = time.Since(e.holding.since), nil
}

func (e *endpoint) release(generation uint64, node, address string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if generation < e.route.Generation {
		return
	}
	if e.holding != nil && generation > e.route.Generation {
		e.endHold()
	}
	e.holding, e.fenced, e.confirmed = nil, false, time.Now()
	if e.route.Primary.Address != address {
		e.tableAsked.Store(false)
	}
	e.route.Generation = generation
	e.route.Primary = Member{Node: node, Address: address, Healthy: true}
	e.tell()
}

func (e *endpoint) count(f func(*Counters)) {
	e.countersLock.Lock()
	f(&e.counters)
	e.countersLock.Unlock()
}

func (e *endpoint) status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := Status{Cluster: e.cluster, State: Forwarding, Generation: e.route.Generation, Target: e.route.Primary.Node, Clients: e.clients.Load(),
		HeldNow: e.waiting.Load(), LastSwitchMs: -1, Why: e.broken, LastOutside: e.lastOutside}
	for i, to := range []*string{&st.ReadWrite, &st.ReadOnly} {
		if e.ports[i] != nil {
			*to = e.ports[i].address
		}
	}
	if e.lastHold >= 0 {
		st.LastSwitchMs = float64(e.lastHold.Microseconds()) / 1000
	}
	switch {
	case e.holding != nil:
		st.State = Holding
	case e.fenced:
		st.State, st.Why = Closed, "nothing has confirmed the primary for "+e.ttl().String()
	case e.route.Primary.Address == "":
		st.State, st.Why = Closed, e.route.Why
	}
	e.countersLock.Lock()
	st.Counters = e.counters
	e.countersLock.Unlock()
	return st
}

// quiesce takes no more clients and waits until nobody waits for an answer.
func (e *endpoint) quiesce(ctx context.Context) {
	e.mu.Lock()
	e.shut()
	e.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		e.mu.Lock()
		busy := false
		for c := range e.conns {
			busy = busy || !c.idle()
		}
		e.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// shut closes the ports; e.mu is held.
func (e *endpoint) shut() {
	e.closed = true
	for i, p := range e.ports {
		if p != nil {
			p.ln.Close()
			e.ports[i] = nil
		}
	}
}

func (e *endpoint) close() {
	e.mu.Lock()
	e.shut()
	list := make([]*conn, 0, len(e.conns))
	for c := range e.conns {
		list = append(list, c)
	}
	e.mu.Unlock()
	for _, c := range list {
		c.close()
	}
}
