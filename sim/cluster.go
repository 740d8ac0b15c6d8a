package sim

import (
	"fmt"
	oldrand "math/rand"
	"runtime/debug"
	"slices"
	"time"

	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/replica"
	"baton/platform/vfs"
)

// cluster is one seed's whole world: nodes, clients, faults, checkers.
type cluster struct {
	w       *world
	swarm   swarm
	net     *network
	nodes   []*node
	clients []*client
	check   *checker
	history history
	crowd   *crowd // consumers of a persistent subscription

	backups *vfs.Mem // the disk that backups go to

	skipCatchUp bool // the rule of P8 is off: the checker must notice
	lyingDisk   bool // disks answer syncs without performing them: the checker must notice
	calm        bool // faults have stopped
	draining    bool // clients begin nothing new
	scavenged   bool // some node's log was: files of nodes differ from then on
	sometimes   map[string]int
	afterChange map[*replica.Change]*node // leadership follows when the change is in force
	data        [][]byte
}

// Result is what one seed shows.
type Result struct {
	Seed      uint64
	Violation *Violation
	Hash      uint64 // of the whole trace
	Events    uint64 // happenings in the trace
	Acked     int
	Unknown   int
	Conflicts int
	Sometimes map[string]int // how often what happened
	Swarm     string
}

// Options of a run.
type Options struct {
	SkipCatchUpRule bool
	LyingDisk       bool
	Words           func(line string) // receives the story, line by line; nil: none
}

// Run lives one seed. The caller has seeded the process's crypto source.
func Run(seed uint64, o Options) Result {
	w := newWorld(seed)
	w.trace.words = o.Words
	c := &cluster{
		w: w, swarm: drawSwarm(w.rng), check: newChecker(w), skipCatchUp: o.SkipCatchUpRule, lyingDisk: o.LyingDisk,
		sometimes: map[string]int{}, afterChange: map[*replica.Change]*node{}, backups: vfs.NewMem(),
	}
	c.net = newNetwork(w, c.swarm.Net)
	c.crowd = &crowd{c: c, handled: map[int64]bool{}, got: map[int64]int{}}
	c.guarded()
	r := Result{
		Seed: seed, Violation: c.check.failed, Hash: w.trace.sum, Events: w.trace.count, Sometimes: c.sometimes, Swarm: c.swarm.String(),
	}
	for _, o := range c.history.ops {
		switch o.state {
		case opAcked:
			r.Acked++
		case opConflict:
			r.Conflicts++
		case opUnknown:
			r.Unknown++
		}
	}
	return r
}

// guarded lives the seed; a panic, which ends a real process, is a violation like any other.
func (c *cluster) guarded() {
	defer func() {
		if p := recover(); p != nil {
			c.check.fail("P10", "a node panics: %v\n%s", p, debug.Stack())
		}
	}()
	c.build()
	c.live()
}

func (c *cluster) build() {
	for i := range 16 {
		c.data = append(c.data, make([]byte, 1<<(i%9)))
	}
	founding := &membership.Founding{ClusterID: "simulated", ClusterName: "simulated", ClusterSize: c.swarm.ClusterSize}
	for i := range c.swarm.Nodes {
		n := &node{c: c, at: endpoint(i), disk: vfs.NewMem(), self: membership.Member{
			ID: membership.MemberID(100 + i), Name: fmt.Sprintf("n%d", i+1), PeerAddr: fmt.Sprintf("n%d:1", i+1),
			ClientHost: fmt.Sprintf("n%d", i+1), ClientPort: 2,
		}}
		c.nodes = append(c.nodes, n)
		if i < c.swarm.ClusterSize {
			founding.Founders = append(founding.Founders, n.self)
			founding.Acceptors = append(founding.Acceptors, n.self.ID)
		}
	}
	for _, n := range c.nodes {
		n.start(founding)
	}
	for i := range c.swarm.Clients {
		k := &client{c: c, at: endpoint(len(c.nodes) + i), number: i, head: -1, guess: map[string]int64{}, node: i % len(c.nodes)}
		c.clients = append(c.clients, k)
		c.w.after(c.w.between(0, time.Second), k.next)
	}
}

// live runs the three phases.
func (c *cluster) live() {
	stop := c.check.stopped
	c.w.run(time.Second, stop)
	if stop() {
		return
	}
	c.startFaults()
	c.w.run(time.Second+c.swarm.Faults, stop)
	if stop() {
		return
	}
	c.stopFaults()
	deadline := c.w.now + calmBudget
	// Writes must go on: every client gets an acknowledgement that it asked for after the faults.
	since, asked := c.w.now, map[int]bool{}
	looked := 0
	c.w.run(deadline, func() bool {
		for ; looked < len(c.history.ops); looked++ {
			if c.history.ops[looked].state == opUnknown && c.clients[c.history.ops[looked].client].op == c.history.ops[looked] {
				break
			}
			if o := c.history.ops[looked]; o.call >= since && o.state != opUnknown {
				asked[o.client] = true
			}
		}
		return stop() || len(asked) == len(c.clients)
	})
	if stop() {
		return
	}
	if len(asked) < len(c.clients) {
		c.check.fail("P11", "only %d of %d clients were served within %v after the last fault; %s", len(asked), len(c.clients), calmBudget, c.picture())
		return
	}
	c.draining = true
	c.w.run(deadline, func() bool { return stop() || c.rested() })
	if stop() {
		return
	}
	if !c.rested() {
		c.check.fail("P11", "the cluster did not come to rest within %v after the last fault; %s", calmBudget, c.picture())
		return
	}
	c.final()
}

// rested says that all clients are done and all nodes have applied the same log.
func (c *cluster) rested() bool {
	for _, k := range c.clients {
		if !k.done {
			return false
		}
	}
	for _, n := range c.nodes {
		if !n.up || n.writing || n.busy || n.damage.hurt || n.machine.Applied() != uint64(len(c.check.committed)-1) || n.storage.Log.End() != c.nodes[0].storage.Log.End() {
			return false
		}
	}
	return c.crowd.rested()
}

// picture says where everybody stands, for a failure.
func (c *cluster) picture() string {
	s := ""
	for _, n := range c.nodes {
		if !n.up {
			s += fmt.Sprintf(" n%d down;", n.at+1)
			continue
		}
		st := n.core.Status()
		s += fmt.Sprintf(" n%d %v term %d lead %d commit %d applied %d end %d queued %d transfer %d change %v conf %v;", n.at+1, st.State, st.Term, st.Lead,
			st.Commit, st.Applied, n.storage.Log.End(), st.Queued, st.Transferring, st.ChangeRunning, st.Conf)
	}
	busy := 0
	for _, k := range c.clients {
		if !k.done {
			busy++
		}
	}
	return fmt.Sprintf("%d committed, %d clients busy;%s", len(c.check.committed)-1, busy, s)
}

func (c *cluster) count(what string) { c.sometimes[what]++ }

func (c *cluster) byID(id membership.MemberID) *node {
	if i := int(id) - 100; i >= 0 && i < len(c.nodes) {
		return c.nodes[i]
	}
	return nil
}

// created is the wall clock of a node in 100 ns ticks; clocks of nodes differ by up to a minute.
func (c *cluster) created(at endpoint) int64 {
	return 17_000_000_000_000_000 + int64(at)*200_000_000 + int64(c.w.now/100)
}

func (c *cluster) payload(i int) []byte { return c.data[i%len(c.data)] }

// oldRand gives a source for interfaces that want math/rand, drawn from the world's.
func (c *cluster) oldRand() *oldrand.Rand { return oldrand.New(oldrand.NewSource(c.w.rng.Int64())) }

// appliedOn tells the checker what a node has just applied.
func (c *cluster) appliedOn(n *node, from, to uint64) {
	if from == to {
		return
	}
	entries, err := n.storage.Log.Entries(from+1, to+1, 1<<40)
	if err != nil {
		c.check.fail("P9", "node %d cannot read entries %d to %d that it applied: %v", n.at+1, from+1, to, err)
		return
	}
	pos, err := n.storage.Log.PositionOf(from + 1)
	if err != nil {
		c.check.fail("P9", "node %d: position of entry %d: %v", n.at+1, from+1, err)
		return
	}
	for _, e := range entries {
		pos += log.FrameHeaderBytes
		c.check.apply(n.at, e, pos)
		pos += uint64(len(e.GetData()))
	}
	if end := n.machine.Watermark().Applied(); end != pos {
		c.check.fail("P2", "node %d shows position %d after entry %d, which ends at %d", n.at+1, end, to, pos)
	}
	c.w.trace.note(c.w.now, "applied", uint64(n.at)+1, to, n.storage.Log.End())
}

// changeDone follows up on a configuration change.
func (c *cluster) changeDone(n *node, ch *replica.Change) {
	target := c.afterChange[ch]
	delete(c.afterChange, ch)
	if ch.Err != nil {
		c.count("change failed: " + ch.Err.Error())
		return
	}
	c.w.trace.note(c.w.now, "voters changed", uint64(n.at)+1, uint64(len(ch.Voters)), uint64(len(ch.Demote)))
	if len(ch.Voters) > 0 && len(ch.Demote) > 0 {
		c.count("voter replaced")
	}
	if target != nil {
		n.core.Transfer(uint64(target.self.ID))
	}
}

// leader returns a node that serves, the one of the highest term, or nil.
func (c *cluster) leader() *node {
	var best *node
	for _, n := range c.nodes {
		if n.up && !n.paused && n.core.Status().Serving && (best == nil || n.core.Status().Term > best.core.Status().Term) {
			best = n
		}
	}
	return best
}

// troubled says whether a node is away or a link is cut.
func (c *cluster) troubled() bool {
	return len(c.net.cut) > 0 || slices.ContainsFunc(c.nodes, func(n *node) bool { return !n.up || n.paused })
}
