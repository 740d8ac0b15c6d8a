// Package firstfloor simulates failovers of the first floor in one process: the
// real rules (packages lease, failover and operation) between fake agents,
// engines, clocks and a fake network, with faults drawn from a seed. Nothing
// in it reads the real clock or starts a goroutine: the same seed gives the
// same run.
//
// Checked at every step: once the primary of a generation has acknowledged a
// write, no primary of an older one acknowledges any. At the end: every write
// that a replica had confirmed is on the primary, operations have ended, and
// writes flow.
package firstfloor

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"baton/control/lease"
)

const (
	nodes = 3
	// step is the granularity of the run.
	step = 20 * time.Millisecond
	// length of the part with faults, and of the calm one after it.
	troubled = 60 * time.Second
	calm     = 45 * time.Second
	ttl      = lease.DefaultTTL
)

// Break names a rule that is broken on purpose, to see that it is needed.
type Break string

// Rules that can be broken.
const (
	Sound            Break = ""
	NeverFences      Break = "agents never fence and nobody guards"
	IgnoresTheLease  Break = "the control plane does not wait for the lease"
	NeverMends       Break = "nobody re-points replicas that follow another server"
	ForgetsOnRestart Break = "a new control plane does not wait for what the old one granted"
)

// World is one run.
type World struct {
	Seed  uint64
	Break Break
	rng   *rand.Rand
	now   time.Duration // real time; every clock drifts from it
	hash  uint64
	trace []string // kept when Verbose
	// Verbose keeps the trace.
	Verbose bool

	nodes   [nodes]*node
	cp      *control
	wire    []message
	cut     [nodes]bool        // link between node and control plane
	apart   [nodes][nodes]bool // replication
	slow    time.Duration      // most delay of a message
	drop    float64
	faults  bool
	writes  int
	lines   int    // histories begun by servers that loaded their own files
	genAck  uint64 // highest generation that acknowledged
	confirm []write
	seen    map[string]int
	acks    int // replicas that confirm a write
	err     error
	unsafe  bool // err is about what was acknowledged, not about progress

	failsafe bool // the primary may go on by promises
	blind    bool // the control plane does not look at what was promised
}

// write is one that a replica confirmed.
type write struct {
	id  int
	gen uint64
	at  time.Duration
}

type message struct {
	at time.Duration
	to func()
}

// New prepares a run.
func New(seed uint64, b Break) *World {
	w := &World{Seed: seed, Break: b, rng: rand.New(rand.NewPCG(seed, 0x5eed)), seen: map[string]int{}, slow: 5 * time.Millisecond, now: time.Second}
	for i := range w.nodes {
		w.nodes[i] = newNode(w, i)
	}
	w.nodes[0].primary, w.nodes[0].gen = true, 1
	w.acks = 1 + w.rng.IntN(nodes-1)
	w.cp = newControl(w)
	return w
}

// Run runs to the end; an error names the broken invariant.
func (w *World) Run() error {
	w.faults = true
	plan := w.draw()
	for w.now < troubled+calm && w.err == nil {
		for len(plan) > 0 && plan[0].at <= w.now {
			plan[0].do()
			plan = plan[1:]
		}
		if w.faults && w.now >= troubled {
			w.faults = false
			w.mend()
		}
		w.deliver()
		w.cp.tick()
		for _, n := range w.nodes {
			n.tick()
		}
		w.replicate()
		w.write()
		w.now += step
	}
	if w.err == nil {
		w.finish()
	}
	return w.err
}

// Hash covers everything that happened.
func (w *World) Hash() uint64 { return w.hash }

// Seen counts the situations that occurred.
func (w *World) Seen() map[string]int { return w.seen }

// Trace is what happened, when Verbose.
func (w *World) Trace() []string { return w.trace }

func (w *World) log(format string, args ...any) {
	line := fmt.Sprintf("%8.2f ", w.now.Seconds()) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	fmt.Fprintf(h, "%d%s", w.hash, line)
	w.hash = h.Sum64()
	if w.Verbose {
		w.trace = append(w.trace, line)
	}
}

func (w *World) sometimes(what string) { w.seen[what]++ }

func (w *World) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %.2f s: %s", w.now.Seconds(), fmt.Sprintf(format, args...))
		w.log("BROKEN %v", w.err)
	}
}

// send delivers f at the other end of the link of a node, later or never.
func (w *World) send(n int, f func()) {
	if w.cut[n] || w.rng.Float64() < w.drop {
		return
	}
	d := time.Millisecond + time.Duration(w.rng.Int64N(int64(w.slow)))
	w.wire = append(w.wire, message{w.now + d, func() {
		if !w.cut[n] {
			f()
		}
	}})
}

func (w *World) deliver() {
	var later []message
	due := w.wire
	w.wire = nil
	for _, m := range due {
		if m.at > w.now {
			later = append(later, m)
		} else {
			m.to()
		}
	}
	w.wire = append(later, w.wire...)
}

// replicate lets every replica copy a little from whom it follows.
func (w *World) replicate() {
	for i, r := range w.nodes {
		if !r.serves() || r.primary {
			continue
		}
		r.link = false
		p := w.nodes[r.of]
		if r.of == i || !p.up || w.apart[i][r.of] || w.apart[r.of][i] {
			continue
		}
		if p.frozen || !p.primary {
			r.link = p.frozen // the connection stands and is silent
			continue
		}
		r.link, r.heard, p.fed = true, w.now, w.now
		if r.history != p.history {
			if r.history == p.previous && len(r.data) <= p.branch {
				r.history = p.history
			} else {
				r.data, r.history = append([]int(nil), p.data...), p.history
				w.sometimes("full resynchronization")
			}
			r.previous, r.branch = p.previous, p.branch
		}
		if more := len(p.data) - len(r.data); more > 0 {
			take := min(more, w.rng.IntN(4))
			r.data = append(r.data, p.data[len(r.data):len(r.data)+take]...)
		}
	}
}

// write is clients that write to every server that says it is primary, and
// wait for replicas to confirm.
func (w *World) write() {
	for i, n := range w.nodes {
		if !n.serves() || !n.primary || n.clock() < n.paused || w.now-n.fed > 4*time.Second {
			continue
		}
		w.writes++
		n.data = append(n.data, w.writes)
		if n.gen < w.genAck {
			w.unsafe = true
			w.fail("n%d acknowledged a write in generation %d after generation %d had acknowledged one", i, n.gen, w.genAck)
		}
		if n.h != nil && n.h.Stage == lease.Renewed {
			if alone, since := n.h.Alone(); alone && n.clock()-since > ttl {
				w.sometimes("write acknowledged after the grants had ended")
			}
		}
		if n.gen > w.genAck {
			w.genAck = n.gen
			w.log("n%d acknowledges its first write of generation %d", i, n.gen)
		}
		// Confirmed is what as many replicas as are asked for hold by now.
		var held []int
		for k, r := range w.nodes {
			if k != i && r.serves() && !r.primary && r.link && r.of == i && r.history == n.history {
				held = append(held, len(r.data))
			}
		}
		most := 0
		if len(held) >= w.acks {
			slices.Sort(held)
			most = held[len(held)-w.acks]
		}
		for n.confirmed < most && n.confirmed < len(n.data) {
			w.confirm = append(w.confirm, write{n.data[n.confirmed], n.gen, w.now})
			n.confirmed++
		}
	}
}

// finish checks what must hold when everything has been well for a while.
func (w *World) finish() {
	var p *node
	for i, n := range w.nodes {
		if n.serves() && n.primary {
			if p != nil {
				w.fail("n%d and n%d are both primary at the end", p.id, i)
			}
			p = n
		}
	}
	if p == nil {
		w.fail("there is no primary at the end: %s", w.cp.why)
		return
	}
	if w.cp.op != nil && !w.cp.op.State.Final() {
		w.fail("operation %s has not ended: %s", w.cp.op.Operation, w.cp.op.State)
	}
	if p.id != w.cp.holder || p.gen != w.cp.gen {
		w.fail("n%d is primary of generation %d, on record is n%d of %d", p.id, p.gen, w.cp.holder, w.cp.gen)
	}
	have := make(map[int]bool, len(p.data))
	for _, id := range p.data {
		have[id] = true
	}
	for _, c := range w.confirm {
		if !have[c.id] {
			w.unsafe = w.err == nil
			w.fail("write %d, confirmed by a replica in generation %d at %.2f s, is not on n%d", c.id, c.gen, c.at.Seconds(), p.id)
			return
		}
	}
	if n := len(w.confirm); n == 0 || w.confirm[n-1].at < w.now-5*time.Second {
		w.fail("no write was confirmed in the last seconds")
	}
	for i, n := range w.nodes {
		if n != p && (!n.serves() || n.primary || n.of != p.id || !n.link) {
			w.fail("n%d does not follow n%d at the end (up %v, agent %v, primary %v, of n%d, link %v)", i, p.id, n.up, n.agent, n.primary, n.of, n.link)
		}
	}
	w.log("end: %d writes, %d confirmed, generation %d on n%d", w.writes, len(w.confirm), p.gen, p.id)
}
