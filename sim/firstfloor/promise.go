package firstfloor

import (
	"time"

	"baton/control/failover"
	"baton/control/lease"
)

// Rules of promises that can be broken.
const (
	ForgetsPromises Break = "an agent forgets its promises when it starts again"
	AsksTooFew      Break = "a primary goes on when one of the others does not promise"
	ReadsTooEarly   Break = "positions are read while the old primary may go on by promises"
)

// NewFailsafe prepares a run in which the primary may go on by promises of the
// others while no control node answers. Faults that such a run needs are drawn
// beside the usual ones.
func NewFailsafe(seed uint64, b Break) *World {
	w := New(seed, b)
	w.failsafe, w.blind = true, w.rng.IntN(2) == 0
	for _, n := range w.nodes {
		if n.h != nil {
			n.h.Failsafe(true, n.roster())
		}
	}
	return w
}

// moreFaults are those of runs with promises.
func (w *World) moreFaults(add func(at time.Duration, f func()), within func(least, most time.Duration) time.Duration) {
	for range 1 + w.rng.IntN(3) {
		at := within(3*time.Second, troubled-2*time.Second)
		switch w.rng.IntN(3) {
		case 0: // the control plane is away for long
			add(at, func() { w.log("control plane ends for long"); w.cp.up = false })
			add(at+within(6*time.Second, 25*time.Second), func() {
				if !w.cp.up {
					w.cp.start()
				}
			})
		case 1: // the primary is cut off from the control plane for long
			var n *node
			add(at, func() {
				n = w.nodes[w.cp.holder]
				w.log("n%d: cut off from the control plane for long", n.id)
				w.cut[n.id] = true
			})
			add(at+within(6*time.Second, 25*time.Second), func() { w.cut[n.id] = false })
		case 2: // and from one of the others, a while later
			var n, o *node
			set := func(v bool) { w.cut[n.id], w.apart[n.id][o.id], w.apart[o.id][n.id] = v, v, v }
			first := within(3*time.Second, 8*time.Second)
			add(at, func() {
				n = w.nodes[w.cp.holder]
				o = w.nodes[(n.id+1+int(at)%(nodes-1))%nodes]
				w.log("n%d: cut off from the control plane, then from n%d", n.id, o.id)
				w.cut[n.id] = true
			})
			add(at+first, func() { set(true) })
			// The one that promised starts again; it may be the next primary.
			add(at+first+within(20*time.Millisecond, time.Second), func() { o.agent, o.h = false, nil })
			add(at+first+within(time.Second, 2*time.Second), func() { o.restartAgent() })
			add(at+first+within(4*time.Second, 12*time.Second), func() { set(false) })
		}
	}
}

// roster are the others, all of which may be promoted.
func (n *node) roster() (out []string) {
	for i := range nodes {
		if i != n.id && !(n.w.Break == AsksTooFew && i == (n.id+1)%nodes) {
			out = append(out, nodeName(i))
		}
	}
	return out
}

// between delivers f from one host to another, later or never.
func (w *World) between(from, to int, f func()) {
	if w.apart[from][to] || w.apart[to][from] || w.rng.Float64() < w.drop {
		return
	}
	d := time.Millisecond + time.Duration(w.rng.Int64N(int64(w.slow)))
	w.wire = append(w.wire, message{w.now + d, func() {
		if !w.apart[from][to] && !w.apart[to][from] {
			f()
		}
	}})
}

// ask asks the agents beside the roster for their promises.
func (n *node) ask() {
	number, ask, h := n.h.Round(), lease.Ask{Generation: n.h.Generation, Holder: nodeName(n.id), TTL: ttl}, n.h
	for _, name := range n.h.Roster() {
		o := n.w.nodes[nodeOf(name)]
		n.w.between(n.id, o.id, func() {
			if !o.promise(ask) {
				return
			}
			n.w.between(o.id, n.id, func() {
				if n.h != h || !n.thinks() {
					return // another process, or another lease
				}
				was, _ := h.Alone()
				for _, e := range h.Promised(name, number, n.clock()) {
					n.effect(e, n.clock())
				}
				if now, _ := h.Alone(); now && !was {
					n.w.log("n%d: goes on by promises", n.id)
					n.w.sometimes("lease kept by promises")
				}
				n.save()
			})
		})
	}
}

// promise answers a question; what is promised is on disk before.
func (n *node) promise(a lease.Ask) bool {
	if !n.thinks() {
		return false
	}
	next, refused := n.vow.Promise(a, lease.Known{Accepted: n.fence, Generation: n.record.gen, Holder: nodeName(n.record.holder)}, n.clock())
	if refused != "" {
		n.w.sometimes("promise refused: " + refused)
		return false
	}
	n.vow = next
	return true
}

// free gives back what was promised.
func (n *node) free() {
	gen := n.h.Generation
	n.w.sometimes("promises given back")
	for i, o := range n.w.nodes {
		if i != n.id {
			n.w.between(n.id, i, func() {
				if o.thinks() {
					o.vow = o.vow.Freed(gen, nodeName(n.id))
				}
			})
		}
	}
}

// barred tells whether a promise keeps the node from being promoted: the order
// waits for its end, and is not answered before.
func (n *node) barred(gen uint64) bool {
	if n.vow.Bars(gen, n.clock()) == 0 {
		return false
	}
	n.w.sometimes("promotion held up by a promise")
	n.waits = true
	return true
}

// promised lays over a lease what replicas say they promised: the control
// plane need not wait for it to be safe, but a primary that goes on so is none
// to fail over from. A blind one does not look.
func (c *control) promised(v lease.View) lease.View {
	if c.w.blind || v.State != lease.Expired {
		return v
	}
	for i, r := range c.reports {
		if i != c.holder && r != nil && c.w.now-r.at < failover.LinkedWithin && r.vow > 0 && r.vowed == c.gen {
			v.State, v.ExpiresIn = lease.AtRisk, max(v.ExpiresIn, r.vow)
			c.w.sometimes("failover waited for a promise")
		}
	}
	return v
}

// bar has promises of the operation's generation barred by whoever answers, and
// tells whether the old primary has stopped: what one of them promised is over.
func (c *control) bar() bool {
	if !c.w.failsafe || c.w.Break == ReadsTooEarly {
		return true
	}
	r, gen := c.run, c.op.Plan.Generation
	if c.w.now >= r.barring {
		r.barring = c.w.now + 300*time.Millisecond
		for i, n := range c.w.nodes {
			if nodeName(i) == c.op.Plan.From {
				continue
			}
			var left time.Duration
			c.w.send(i, func() {
				n.order(gen, c.w.now+time.Second, func() bool {
					n.vow = n.vow.Bar(gen)
					left = n.vow.Left(n.clock())
					return true
				}, func(bool) {
					// What is left is counted from the answer, which is later.
					if at := c.w.now + left + lease.Eps(left); c.run == r && (r.silent == 0 || at < r.silent) {
						r.silent = at
					}
				})
			})
		}
	}
	return r.silent > 0 && c.w.now >= r.silent
}

// unbar lets those who report that they bar promises of the present generation
// give them again, while no operation wants it otherwise.
func (c *control) unbar() {
	if c.op != nil && !c.op.State.Final() || !c.w.failsafe {
		return
	}
	for i, r := range c.reports {
		if r == nil || r.barred != c.gen+1 || c.w.now-r.at > time.Second {
			continue
		}
		n, gen := c.w.nodes[i], c.gen
		c.w.sometimes("promises allowed again")
		c.w.send(i, func() {
			n.order(gen, c.w.now+time.Second, func() bool { n.vow = n.vow.Unbar(gen); return true }, func(bool) {})
		})
	}
}
