package sim

import (
	"slices"
	"time"

	"baton/eventstore/index"
)

// startFaults plans the first of each fault that the swarm enables; each plans its next.
func (c *cluster) startFaults() {
	s := c.swarm
	c.every(s.Partition, c.partition)
	c.every(s.OneWay, c.oneWay)
	c.every(s.Crash, func() { c.on(c.kill) })
	c.every(s.PowerCut, func() { c.on(func(n *node) { c.powerFails(n, false) }) })
	c.every(s.Torn, func() { c.on(c.armTorn) })
	c.every(s.Pause, func() { c.on(c.pause) })
	c.every(s.Promote, c.promote)
	c.every(s.Transfer, c.transfer)
	c.every(s.Priority, c.changePriority)
	c.every(s.Scavenge, func() { c.on(c.scavenge) })
	c.every(s.Scavenge, c.bound)
	c.every(s.Scavenge, c.endSegment)
	c.every(s.Backup, func() { c.on(c.backUp) })
	c.every(s.Damage, func() { c.on(c.flip) })
}

// every repeats f at random moments, mean apart on average, while faults last.
func (c *cluster) every(mean time.Duration, f func()) {
	if mean == 0 {
		return
	}
	c.w.after(c.w.between(mean/2, mean*3/2), func() {
		if c.calm {
			return
		}
		f()
		c.every(mean, f)
	})
}

// on runs f for a random node that is up.
func (c *cluster) on(f func(*node)) {
	n := c.nodes[c.w.rng.IntN(len(c.nodes))]
	if n.up {
		f(n)
	}
}

// stopFaults heals, resumes and restarts everything.
func (c *cluster) stopFaults() {
	c.calm = true
	c.net.calm()
	c.w.trace.note(c.w.now, "calm")
	for _, n := range c.nodes {
		n.disk.CutPowerAt(0)
		n.resume()
		if !n.up {
			n.start(nil)
		}
	}
	c.healAll()
}

// partition cuts the endpoints into two groups for a while.
func (c *cluster) partition() {
	all := len(c.nodes) + len(c.clients)
	side := make([]bool, all)
	for i := range side {
		side[i] = c.w.rng.IntN(2) == 0
	}
	c.w.trace.note(c.w.now, "partition")
	c.count("partition")
	if l := c.leader(); l != nil {
		c.count("leader cut off")
	}
	c.cutWhile(func(a, b int) bool { return side[a] != side[b] })
}

// oneWay silences all messages from one node, or all to it.
func (c *cluster) oneWay() {
	victim, from := c.w.rng.IntN(len(c.nodes)), c.w.rng.IntN(2) == 0
	c.w.trace.note(c.w.now, "one-way cut", uint64(victim)+1)
	c.count("one-way cut")
	c.cutWhile(func(a, b int) bool { return from && a == victim || !from && b == victim })
}

func (c *cluster) cutWhile(which func(from, to int) bool) {
	all := len(c.nodes) + len(c.clients)
	for a := range all {
		for b := range all {
			if a != b && which(a, b) {
				c.net.cut[[2]endpoint{endpoint(a), endpoint(b)}] = true
			}
		}
	}
	c.w.after(c.w.between(200*time.Millisecond, 3*time.Second), c.net.heal)
}

// kill ends a process as kill -9 does: what it wrote stays, synced or not. Now and then it is a clean stop instead,
// which keeps the index's checkpoint.
func (c *cluster) kill(n *node) {
	if c.w.rng.IntN(4) == 0 && !n.paused {
		c.stopCleanly(n)
		return
	}
	c.w.trace.note(c.w.now, "kill -9", uint64(n.at)+1)
	c.noteLeaderLoss(n, "kill -9 of the leader")
	disk := n.disk.Clone()
	n.end()
	n.disk = disk
	c.comeBack(n)
}

func (c *cluster) stopCleanly(n *node) {
	c.w.trace.note(c.w.now, "clean stop", uint64(n.at)+1)
	c.count("clean stop")
	if err := n.machine.Checkpoint(); err != nil {
		n.broken(err) // a power cut may fall into the stop
		return
	}
	var kept index.Index = n.machine.Index()
	if err := n.storage.Log.Close(); err != nil {
		n.broken(err)
		return
	}
	if err := n.storage.State.Close(); err != nil {
		n.broken(err)
		return
	}
	n.end()
	n.kept = kept
	c.comeBack(n)
}

// powerFails ends a process and its machine: un-synced writes are lost, wholly or in part.
func (c *cluster) powerFails(n *node, torn bool) {
	c.w.trace.note(c.w.now, "power cut", uint64(n.at)+1)
	c.count("power cut")
	c.noteLeaderLoss(n, "power cut of the leader")
	n.end()
	if torn || c.w.rng.IntN(2) == 0 {
		n.disk = n.disk.Crash(c.oldRand())
	} else {
		n.disk = n.disk.PowerCut()
	}
	c.comeBack(n)
}

// armTorn lets the power fail inside one of the next writes of a node.
func (c *cluster) armTorn(n *node) {
	n.disk.CutPowerAt(1 + c.w.rng.IntN(6))
}

func (c *cluster) noteLeaderLoss(n *node, what string) {
	if n.core.Status().Serving {
		c.count(what)
		if len(n.waiting) > 0 {
			c.count("leader lost during a write")
		}
	}
}

// comeBack starts the node again after an outage.
func (c *cluster) comeBack(n *node) {
	away := c.w.between(20*time.Millisecond, c.swarm.OutageMax)
	if c.calm {
		away = 10 * time.Millisecond
	} else if c.w.chance(c.swarm.LongOutage) {
		away = c.swarm.ReplaceAfter + c.w.between(time.Second, 3*time.Second)
		c.count("long outage")
	}
	life := n.life
	c.w.after(away, func() {
		if n.life == life && !n.up {
			n.start(nil)
		}
	})
}

func (c *cluster) pause(n *node) {
	if n.paused {
		return
	}
	c.w.trace.note(c.w.now, "pause", uint64(n.at)+1)
	c.count("pause")
	n.paused = true
	life := n.life
	c.w.after(c.w.between(50*time.Millisecond, 4*time.Second), func() {
		if n.life == life {
			n.resume()
		}
	})
}

// promote asks the leader to promote a random node by name.
func (c *cluster) promote() {
	target := c.nodes[c.w.rng.IntN(len(c.nodes))]
	lead := c.w.rng.IntN(3) > 0
	if l := c.leader(); l != nil {
		l.deliver(func() { l.promote(target, lead) })
	}
}

// transfer asks the leader to hand over, whether that is wise or not.
func (c *cluster) transfer() {
	target := c.nodes[c.w.rng.IntN(len(c.nodes))]
	if l := c.leader(); l != nil && l != target {
		c.w.trace.note(c.w.now, "transfer", uint64(l.at)+1, uint64(target.at)+1)
		c.count("transfer")
		l.deliver(func() { l.core.Transfer(uint64(target.self.ID)) })
	}
}

// changePriority gives a random member another priority, through the log.
func (c *cluster) changePriority() {
	l := c.leader()
	if l == nil {
		return
	}
	roster := l.machine.Roster()
	if len(roster.Members) == 0 {
		return
	}
	m := roster.Members[c.w.rng.IntN(len(roster.Members))]
	priority := c.w.rng.IntN(5)
	c.count("priority change")
	l.deliver(func() { l.setPriority(m.ID, priority) })
}

// final checks what only the end shows: order in real time, and every acknowledged event read back from every node.
func (c *cluster) final() {
	if err := c.history.order(); err != nil {
		c.check.failed = err.(*Violation)
		return
	}
	for _, n := range c.nodes {
		if c.readBack(n); c.check.stopped() {
			return
		}
	}
	c.crowd.final()
	c.sameSegments()
}

// sameSegments compares the closed segment files of all nodes byte by byte.
func (c *cluster) sameSegments() {
	first := c.nodes[0].storage.Log.Segments()
	for _, n := range c.nodes[1:] {
		other := n.storage.Log.Segments()
		if !slices.EqualFunc(first, other, sameSegment) {
			c.check.fail("P2", "segments of nodes 1 and %d differ: %v, %v", n.at+1, first, other)
			return
		}
		for i := range first {
			if !first[i].Closed || c.scavenged {
				continue
			}
			c.count("closed segments compared")
			if !c.sameFile(c.nodes[0], n, first[i].Path, other[i].Path) {
				c.check.fail("P2", "segment %s of nodes 1 and %d is not byte-identical", first[i].Path, n.at+1)
				return
			}
		}
	}
}
