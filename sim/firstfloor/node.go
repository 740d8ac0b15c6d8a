package firstfloor

import (
	"time"

	"baton/control/lease"
)

// node is one host: an engine, the agent beside it, and the guardian.
type node struct {
	w    *World
	id   int
	rate float64 // of its clock

	// Engine. up: the process lives; frozen: it does not run.
	up, frozen bool
	primary    bool
	gen        uint64 // in which it became primary
	of         int
	data       []int
	history    int
	previous   int // history before, equal up to branch
	branch     int
	confirmed  int
	paused     time.Duration // until, on its clock
	link       bool
	heard      time.Duration // last byte from the primary, real time
	fed        time.Duration // last time a replica took something, real time

	// Agent. What is below is on its disk or in the guardian's file.
	agent, agentFrozen bool
	record             record
	fence              uint64
	owes               bool
	vow                lease.Vow
	waits              bool // an order met a promise
	state              struct {
		good, deadline time.Duration
		gen            uint64
	}

	// In the agent's memory.
	h       *lease.Holder
	reports time.Duration
}

// record is what the agent knows is on record.
type record struct {
	gen    uint64
	holder int
}

func newNode(w *World, id int) *node {
	return &node{w: w, id: id, rate: 1 + (w.rng.Float64()-0.5)*0.018, up: true, agent: true, of: 0, history: 1, previous: -1, record: record{1, 0}, fed: w.now, heard: w.now}
}

// clock is the host's boot clock.
func (n *node) clock() time.Duration { return time.Duration(float64(n.w.now) * n.rate) }

// serves tells whether the engine runs.
func (n *node) serves() bool { return n.up && !n.frozen }

// thinks tells whether the agent runs.
func (n *node) thinks() bool { return n.agent && !n.agentFrozen }

func (n *node) tick() {
	now := n.clock()
	// The guardian outlives agent and engine; only the host's end ends it.
	if n.w.Break != NeverFences && n.state.deadline > 0 && now > n.state.deadline && n.up {
		n.w.log("n%d: the guardian ends the engine", n.id)
		n.w.sometimes("guardian ended an engine")
		n.kill()
	}
	if !n.thinks() {
		return
	}
	n.lead(now)
	if n.w.now-n.reports >= 500*time.Millisecond {
		n.reports = n.w.now
		n.report()
	}
}

// lead is the agent's end of the lease.
func (n *node) lead(now time.Duration) {
	if n.record.holder == n.id && n.h == nil && (n.primary || !n.up) {
		n.h = lease.NewHolder("c", "n", n.record.gen, ttl)
		if n.state.good > 0 {
			n.h = lease.Resume("c", "n", n.record.gen, ttl, n.state.good)
		}
		n.h.Failsafe(n.w.failsafe, n.roster())
	}
	if n.h == nil {
		if !n.up && !n.owes && n.record.holder != n.id { // a replica is started again, in the role on record
			n.up, n.frozen, n.primary, n.of = true, false, false, n.record.holder
			n.w.log("n%d: started as a replica of n%d", n.id, n.of)
		}
		return
	}
	if n.serves() && !n.primary {
		n.h, n.state.good, n.state.deadline = nil, 0, 0
		n.paused = 0
		return
	}
	if n.record.gen > n.h.Generation && n.record.holder == n.id {
		n.h.Renumber(n.record.gen)
	}
	if !n.up && n.h.Stage != lease.Ended && n.h.Stage != lease.Returning {
		n.h.EngineEnded()
	}
	for _, e := range n.h.Tick(now) {
		n.effect(e, now)
	}
	n.save()
}

func (n *node) save() {
	n.state.gen, n.state.deadline, n.state.good = n.h.Generation, n.h.HardDeadline(), 0
	if n.h.Enrolled {
		n.state.good = n.h.Good
	}
}

func (n *node) effect(e lease.Effect, now time.Duration) {
	w := n.w
	gen := n.h.Generation
	switch e {
	case lease.SendRenewal:
		number, holding := n.h.Renewal(), n.h.Enrolled
		w.send(n.id, func() { w.cp.renew(n.id, gen, number, holding) })
	case lease.SendRelease:
		w.send(n.id, func() { w.cp.release(n.id, gen) })
	case lease.AskPromises:
		n.ask()
	case lease.FreePromises:
		n.free()
	case lease.SoftFence:
		if w.Break == NeverFences {
			return
		}
		if n.serves() && w.rng.IntN(4) > 0 {
			n.paused = now + min(n.h.SoftFor(now), time.Minute)
			n.h.Fenced(n.paused)
			w.log("n%d: writes are held", n.id)
			w.sometimes("writes held by the agent")
		}
	case lease.LiftFence:
		n.paused = 0
		n.h.Lifted()
		w.log("n%d: writes are let go", n.id)
		w.sometimes("fence lifted by a new grant")
	case lease.HardFence:
		if w.Break == NeverFences {
			return
		}
		w.log("n%d: the agent ends the engine", n.id)
		w.sometimes("agent ended an engine")
		n.kill()
		n.h.EngineEnded()
	case lease.StartEngine:
		n.up, n.frozen, n.primary = true, false, true
		n.paused, n.fed = 0, w.now
		if n.gen != gen { // promoted by the journal, and never by an order
			n.gen, n.confirmed = gen, len(n.data)
		}
		// A server that loads its own file begins a history that nobody shares.
		w.lines++
		n.history, n.previous, n.branch = -w.lines, -1, 0
		w.log("n%d: started again as primary", n.id)
		w.sometimes("engine started again in place")
	}
}

// kill ends the engine; what it acknowledged stays on its disk.
func (n *node) kill() { n.up, n.frozen, n.paused, n.link = false, false, 0, false }

// answer takes the answer to a renewal in.
func (n *node) answer(gen, number uint64, a lease.Answer) {
	if !n.thinks() || n.h == nil || n.h.Generation != gen {
		return
	}
	var effects []lease.Effect
	if a.Granted {
		effects = n.h.Granted(number, a.TTL, n.clock())
	} else {
		effects = n.h.Refused(a.Code, n.clock())
	}
	for _, e := range effects {
		n.effect(e, n.clock())
	}
	n.save()
}

// terms takes in what is on record.
func (n *node) terms(r record) {
	if !n.thinks() || r.gen < n.record.gen || r.gen < n.fence {
		return
	}
	if n.record.holder == n.id && r.holder != n.id && (n.primary || !n.up) {
		n.owes = true
	}
	if r.holder == n.id {
		n.owes = false
	}
	n.record = r
	if n.record.holder != n.id && n.h != nil && n.serves() && !n.primary {
		n.h = nil
	}
}

// order is one of the control plane; an older generation is refused, and so is
// one that was held up.
func (n *node) order(gen uint64, deadline time.Duration, do func() bool, reply func(ok bool)) {
	if !n.thinks() || gen < n.fence || n.w.now > deadline {
		return
	}
	n.fence = gen
	ok := do()
	if n.waits { // for longer than the order has time
		n.waits = false
		return
	}
	n.w.send(n.id, func() { reply(ok) })
}

func (n *node) promote(gen uint64) bool {
	if !n.serves() || n.barred(gen) {
		return false
	}
	if !n.primary {

		n.previous, n.branch, n.history = n.history, len(n.data), int(gen)*1000+n.id
		n.record, n.owes = record{gen, n.id}, false
		n.primary, n.gen, n.confirmed, n.fed = true, gen, len(n.data), n.w.now
		n.h, n.state.good, n.state.deadline = nil, 0, 0
		n.w.log("n%d: primary of generation %d at %d", n.id, gen, len(n.data))
	}
	return true
}

// follow makes the node a replica; a former primary's own writes are saved
// before they are discarded.
func (n *node) follow(to int) bool {
	if n.primary || !n.up {
		n.w.sometimes("former primary brought back")
	}
	n.up, n.frozen, n.primary, n.of, n.paused, n.owes = true, false, false, to, 0, false
	n.h, n.state.good, n.state.deadline = nil, 0, 0
	n.w.log("n%d: follows n%d", n.id, to)
	return true
}

func (n *node) restartAgent() {
	n.agent, n.agentFrozen, n.h = true, false, nil
	if n.w.Break == ForgetsPromises {
		n.vow = lease.Vow{}
	}
	n.w.log("n%d: agent started", n.id)
}
