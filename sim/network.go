package sim

import "time"

// endpoint numbers nodes from 0; clients follow the nodes.
type endpoint int

// network carries messages between endpoints. A message is a closure that the receiver's side runs; what it captures
// was copied by the sender, so no memory is shared between nodes.
type network struct {
	w      *world
	faults netFaults
	cut    map[[2]endpoint]bool // one way, from -> to; looked up, never ranged over
	lastAt map[[2]endpoint]time.Duration
	sent   uint64
	lost   uint64
}

// netFaults are probabilities per message and the delays of the seed's network.
type netFaults struct {
	drop, duplicate, reorder float64
	base, jitter, slow       time.Duration // usual delay, its spread, and the delay of a reordered or slow message
}

func newNetwork(w *world, f netFaults) *network {
	return &network{w: w, faults: f, cut: map[[2]endpoint]bool{}, lastAt: map[[2]endpoint]time.Duration{}}
}

// send plans deliver at the receiver, or loses it. Messages of one link keep their order unless the reorder fault
// strikes: peers speak over one connection.
func (n *network) send(from, to endpoint, deliver func()) {
	n.sent++
	link := [2]endpoint{from, to}
	if n.cut[link] || n.w.chance(n.faults.drop) {
		n.lost++
		return
	}
	n.plan(link, deliver)
	if n.w.chance(n.faults.duplicate) {
		n.plan(link, deliver)
	}
}

func (n *network) plan(link [2]endpoint, deliver func()) {
	delay := n.faults.base + n.w.between(0, n.faults.jitter)
	at := n.w.now + delay
	if n.w.chance(n.faults.reorder) {
		at += n.w.between(0, n.faults.slow) // and no order kept
	} else {
		at = max(at, n.lastAt[link])
		n.lastAt[link] = at
	}
	n.w.after(at-n.w.now, func() {
		if n.cut[link] {
			n.lost++
			return
		}
		deliver()
	})
}

// heal joins all cut links.
func (n *network) heal() { clear(n.cut) }

// calm ends all random faults.
func (n *network) calm() {
	n.faults.drop, n.faults.duplicate, n.faults.reorder = 0, 0, 0
	n.heal()
}
