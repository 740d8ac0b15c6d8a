package firstfloor

import (
	"fmt"
	"time"

	"baton/control/engine"
	"baton/control/failover"
	"baton/control/health"
	"baton/control/lease"
	"baton/control/mend"
	"baton/control/operation"
	"baton/control/plan"
)

// control is the control plane: one that leads, and its journal.
type control struct {
	w    *World
	up   bool
	rate float64

	// The journal.
	gen      uint64
	holder   int
	enrolled uint64 // generation whose holder confirmed its lease
	op       *operation.Operation
	ops      int
	rejoin   [nodes]bool // a failover left it; to be brought back

	// Memory; gone with a restart.
	table   *lease.Table
	reports [nodes]*report
	samples []failover.Sample
	ended   uint64 // generation whose engine ended, as its agent said
	restart time.Duration
	looked  time.Duration
	told    time.Duration
	why     string
	run     *running
	back    [nodes]time.Duration
	mended  *mend.State
	mending [nodes]*correction
}

// correction is one of package mend that was ordered.
type correction struct {
	mend.Correction
	until time.Duration // an answer is not waited for any longer
}

type report struct {
	at       time.Duration // received
	up       bool
	primary  bool
	position int
	history  int
	link     bool
	of       int
	previous int
	branch   int
	held     bool // its agent keeps the engine stopped until it is told
	silence  time.Duration
	vow      time.Duration // for how long it has promised, and
	vowed    uint64        // not to be promoted after which generation
	barred   uint64        // generation it gives no promise for
}

// running is an operation's driver; gone with a restart.
type running struct {
	waiting  time.Duration // until when an answer is waited for
	read     []failover.Candidate
	answered int
	ok, bad  bool
	tried    [nodes]bool
	inDoubt  bool
	since    time.Duration
	barring  time.Duration // when promises are barred again
	silent   time.Duration // when what was promised is over; 0: not known
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i) }

func nodeAddr(i int) string { return nodeName(i) + ":1" }

func nodeOf(s string) int { return int(s[1] - '0') }

func newControl(w *World) *control {
	c := &control{w: w, rate: 1 + (w.rng.Float64()-0.5)*0.018, gen: 1, holder: 0}
	c.start()
	return c
}

func (c *control) clock() time.Duration { return time.Duration(float64(c.w.now) * c.rate) }

func (c *control) start() {
	c.up, c.table, c.reports, c.samples, c.ended, c.restart, c.run = true, lease.NewTable(), [nodes]*report{}, nil, 0, 0, nil
	c.back, c.told = [nodes]time.Duration{}, 0
	c.mended, c.mending = &mend.State{}, [nodes]*correction{}
	now := c.clock()
	if c.w.Break == ForgetsOnRestart && now > time.Minute/20 {
		now -= 10 * time.Second // as if what was granted were long over
	}
	c.table.Expect("c", c.gen, nodeName(c.holder), ttl, now)
	if c.op != nil && !c.op.State.Final() {
		c.w.sometimes("operation met a restart")
		if c.op.Past {
			c.w.sometimes("operation resumed past the point of no return")
			c.run = &running{inDoubt: true, since: c.w.now}
		} else {
			c.rollBack("the control plane restarted before the point of no return")
		}
	}
	c.w.log("control plane leads")
}

func (c *control) expect() {
	c.table.Expect("c", c.gen, nodeName(c.holder), ttl, c.clock())
}

func (c *control) renew(from int, gen, number uint64, holding bool) {
	if !c.up {
		return
	}
	c.expect()
	a := c.table.Renew("c", gen, nodeName(from), c.clock())
	if a.Granted {
		c.ended = 0
		if holding && gen == c.gen {
			c.enrolled = gen
		}
	}
	n := c.w.nodes[from]
	c.w.send(from, func() { n.answer(gen, number, a) })
}

func (c *control) release(from int, gen uint64) {
	if !c.up {
		return
	}
	c.expect()
	c.table.Release("c", gen, nodeName(from), "its engine ended")
	if gen == c.gen && from == c.holder {
		c.ended = gen
	}
}

func (n *node) report() {
	r := &report{up: n.serves(), primary: n.primary, position: len(n.data), history: n.history, link: n.link, of: n.of, previous: n.previous, branch: n.branch, held: !n.up && (n.owes || n.record.holder == n.id), silence: n.w.now - n.heard, vow: max(0, n.vow.Until-n.clock()), vowed: n.vow.Generation, barred: n.vow.Barred}
	n.w.send(n.id, func() {
		if n.w.cp.up {
			r.at = n.w.now
			n.w.cp.take(n.id, r)
		}
	})
}

func (c *control) take(i int, r *report) {
	c.reports[i] = r
	if i == c.holder && r.up && r.primary {
		c.samples = append(c.samples, failover.Sample{At: moment(c.w.now), Position: uint64(r.position), History: fmt.Sprint(r.history)})
		c.samples = c.samples[max(0, len(c.samples)-60):]
	}
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func moment(d time.Duration) time.Time { return epoch.Add(d) }

// facts are what the real monitor and keeper would make of the reports.
func (c *control) facts() failover.Facts {
	c.expect()
	f := failover.Facts{Primary: nodeName(c.holder), Generation: c.gen, Enrolled: c.enrolled == c.gen, Quorum: true, Guarded: true,
		Policy:    failover.Policy{Failover: failover.NoLoss, Acks: c.w.acks, CoolDown: 1},
		Lease:     c.promised(c.table.View("c", c.clock())),
		Connected: map[string]bool{}, Tags: map[string]failover.Tags{}, Samples: c.samples, EngineEnded: c.ended == c.gen && c.ended != 0, Restartable: true, Lossless: true}
	f.RestartTried = c.restart != 0
	f.Snapshot = health.Snapshot{Now: moment(c.w.now), Cluster: "c", Engine: engine.Redis}
	if c.op != nil && !c.op.State.Final() {
		f.Running = c.op.Operation
	}
	if c.w.Break == IgnoresTheLease {
		f.Lease.State, f.Lease.ExpiresIn = lease.Expired, 0
	}
	for i, r := range c.reports {
		n := health.Node{Name: nodeName(i), Agent: nodeName(i), Address: nodeAddr(i), Priority: 100, ReportAge: -1}
		if i != c.holder {
			f.Sync = append(f.Sync, n.Name)
		}
		if r != nil {
			role := engine.RoleReplica
			if r.primary {
				role = engine.RolePrimary
			}
			n.ReportAge, n.SeenAge = c.w.now-r.at, c.w.now-r.at
			n.Seen = &engine.Observation{Up: r.up, Role: role, Position: uint64(r.position), History: fmt.Sprint(r.history), LinkUp: r.link, LinkSilenceSeconds: r.silence.Seconds(),
				HistoryPrevious: fmt.Sprint(r.previous), HistoryPreviousEnd: uint64(r.branch),
				Details: map[string]string{"keys": fmt.Sprintf("keys=%d,expires=0", r.position)}}
			if !r.primary {
				n.Seen.ReplicaOf = nodeAddr(r.of)
			}
			f.Connected[n.Agent] = n.ReportAge < 5*time.Second
		}
		f.Nodes = append(f.Nodes, n)
	}
	return f
}

func (c *control) tick() {
	if !c.up {
		return
	}
	c.expect()
	if c.op != nil && !c.op.State.Final() {
		c.drive()
	}
	if c.w.now-c.told >= time.Second {
		c.told = c.w.now
		r := record{c.gen, c.holder}
		for _, n := range c.w.nodes {
			c.w.send(n.id, func() { n.terms(r) })
		}
	}
	if c.w.now-c.looked < 200*time.Millisecond {
		return
	}
	c.looked = c.w.now
	f := c.facts()
	d := failover.Decide(&f)
	if line := string(d.Kind) + " " + d.Why; d.Kind != failover.Nothing && d.Kind != failover.Waiting && d.Kind != failover.Suspended {
		c.why = line
	}
	switch d.Kind {
	case failover.Failover:
		c.begin(&f, d)
	case failover.Blocked:
		c.w.sometimes("blocked by durability")
	case failover.Restart:
		if c.w.now-c.restart > failover.RestartWithin {
			c.restart = c.w.now
			c.table.Reinstate("c", c.gen, c.clock())
			n, gen := c.w.nodes[c.holder], c.gen
			c.w.send(n.id, func() {
				n.order(gen, c.w.now+5*time.Second, func() bool {
					if n.h != nil {
						n.h.Return()
					}
					return true
				}, func(bool) {})
			})
		}
	}
	c.bringBack()
	c.unbar()
	c.mend(&f)
}

// bringBack makes former primaries replicas again.
func (c *control) bringBack() {
	h := c.reports[c.holder]
	if c.op != nil && !c.op.State.Final() || h == nil || !h.up || !h.primary || c.w.now-h.at > time.Second {
		return
	}
	for i, r := range c.reports {
		if i == c.holder || r == nil || c.w.now-r.at > time.Second || c.w.now-c.back[i] < 3*time.Second {
			continue
		}
		if !c.rejoin[i] && !(r.up && r.primary) && !r.held {
			continue
		}
		c.back[i] = c.w.now
		n, gen, to := c.w.nodes[i], c.gen, c.holder
		c.w.send(i, func() {
			n.order(gen, c.w.now+time.Minute, func() bool { return n.follow(to) }, func(ok bool) {
				if ok && c.up && c.gen == gen {
					c.rejoin[i] = false
				}
			})
		})
	}
}

// mend carries out what package mend decides, as the executor's guard does.
func (c *control) mend(f *failover.Facts) {
	for i, d := range c.mending {
		if d != nil && c.w.now > d.until {
			c.mending[i] = nil
			c.mended.Ended(d.Correction, false, moment(c.w.now))
		}
	}
	if c.w.Break == NeverMends {
		return
	}
	mf := mend.Facts{Snapshot: f.Snapshot, Primary: f.Primary, Generation: c.gen, Connected: f.Connected, Leased: true, Elsewhere: map[string]bool{}}
	if c.op != nil {
		mf.Settled = c.op.EndedAt
		if !c.op.State.Final() {
			mf.Running = c.op.Operation
		}
	}
	for i, owes := range c.rejoin {
		mf.Elsewhere[nodeName(i)] = owes
	}
	for _, d := range mend.Decide(&mf, c.mended) {
		n, gen, to := c.w.nodes[nodeOf(d.Node)], c.gen, c.holder
		x := &correction{d, c.w.now + 3*time.Second}
		c.mending[n.id] = x
		do := func() bool { return n.serves() && !n.primary && n.follow(to) }
		switch d.Kind {
		case mend.Repoint:
			c.w.sometimes("replica of a former primary re-pointed")
			if d.Keep {
				c.w.sometimes("replica saved before it was re-pointed")
			}
		case mend.Promote:
			c.w.sometimes("primary that came back as a replica promoted again")
			do = func() bool { return n.promote(gen) }
		default: // the keeper does that where leases are kept
			c.w.fail("%s of %s under a lease", d.Kind, d.Node)
			return
		}
		c.w.send(n.id, func() {
			n.order(gen, x.until, do, func(ok bool) {
				if c.mending[n.id] == x {
					c.mending[n.id] = nil
					c.mended.Ended(d, ok, moment(c.w.now))
				}
			})
		})
	}
}

// journal appends an event of the operation; one that may not come is a bug.
func (c *control) journal(e operation.Event) {
	next, err := operation.Apply(*c.op, e)
	if err != nil {
		c.w.fail("the operation's state machine: %v", err)
		return
	}
	c.op = &next
}

func (c *control) begin(f *failover.Facts, d failover.Decision) {
	c.ops++
	p := failover.Plan(f, d, false, "")
	p.Kind = operation.Failover
	c.op = &operation.Operation{}
	c.journal(operation.Requested{Operation: fmt.Sprintf("op-%d", c.ops), Kind: operation.Failover, Plan: p, At: moment(c.w.now)})
	c.run = &running{since: c.w.now}
	c.w.log("%s: fail over from %s to %s: %s", c.op.Operation, p.From, p.Node, d.Why)
}

func (c *control) rollBack(why string) {
	c.journal(operation.RollingBack{Operation: c.op.Operation, Why: why})
	c.journal(operation.Finished{Operation: c.op.Operation, State: operation.StateRolledBack, Outcome: why, At: moment(c.w.now)})
	c.table.Unbar("c", c.op.Plan.Generation)
	c.run = nil
	c.w.log("%s: rolled back: %s", c.op.Operation, why)
	c.w.sometimes("operation rolled back")
}

// drive does the next thing of the operation.
func (c *control) drive() {
	r := c.run
	i := c.op.Next()
	if r == nil || i < 0 {
		return
	}
	id := c.op.Steps[i].ID
	if s := c.op.Steps[i]; s.State != operation.StepRunning && id != plan.StepCommit {
		c.journal(operation.StepStarted{Operation: c.op.Operation, Step: id, Generation: c.op.Generation})
	}
	done := func(v map[string]string) {
		c.journal(operation.StepFinished{Operation: c.op.Operation, Step: id, Values: v})
		c.run = &running{since: c.w.now, inDoubt: false}
	}
	switch id {
	case failover.StepFence:
		c.table.Bar("c", c.op.Plan.Generation)
		free, _ := c.table.Free("c", c.op.Plan.Generation, c.clock())
		if stopped := c.bar(); free && stopped || c.w.Break == IgnoresTheLease {
			done(nil)
		} else if c.w.now-r.since > 20*time.Second {
			c.rollBack("the lease does not end")
		}
	case failover.StepRead:
		if r.waiting == 0 {
			c.read()
			return
		}
		if c.w.now < r.waiting && r.answered < nodes-1 {
			return
		}
		f := c.facts()
		d := failover.Choose(&f, r.read, false)
		if d.Kind != failover.Failover {
			c.rollBack("nobody can be promoted: " + d.Why)
			return
		}
		done(map[string]string{"node": d.Node})
	case plan.StepCommit:
		c.journal(operation.StepStarted{Operation: c.op.Operation, Step: id, Generation: c.op.Generation})
		c.commit(c.op.Values[failover.StepRead+"/node"])
		c.journal(operation.StepFinished{Operation: c.op.Operation, Step: id})
		c.run = &running{since: c.w.now}
	case plan.StepPromote:
		c.promote(done)
	case plan.StepRepoint:
		c.repoint(done)
	case plan.StepVerify:
		h := c.reports[c.holder]
		if h != nil && h.up && h.primary && c.w.now-h.at < time.Second {
			done(nil)
			c.journal(operation.Finished{Operation: c.op.Operation, State: operation.StateDone, Outcome: "done", At: moment(c.w.now)})
			c.rejoin[nodeOf(c.op.Plan.From)] = true
			c.rejoin[c.holder] = false
			c.run = nil
			c.w.log("%s: done", c.op.Operation)
			c.w.sometimes("failover done")
		} else if c.w.now-r.since > 15*time.Second {
			c.giveUp("the new primary is gone")
		}
	default:
		done(nil)
	}
}

// giveUp ends the operation; what comes next is decided anew.
func (c *control) giveUp(why string) {
	c.journal(operation.Finished{Operation: c.op.Operation, State: operation.StateNeedsHuman, Outcome: why, At: moment(c.w.now)})
	c.rejoin[nodeOf(c.op.Plan.From)] = c.holder != nodeOf(c.op.Plan.From)
	c.run = nil
	c.w.log("%s: given up: %s", c.op.Operation, why)
	c.w.sometimes("new primary lost before it was verified")
}

func (c *control) commit(node string) {
	c.journal(operation.Committed{Operation: c.op.Operation, Node: node, Generation: c.op.Generation + 1})
	c.gen, c.holder = c.op.Generation, nodeOf(c.op.Candidate)
	c.ended, c.restart = 0, 0
	c.expect()
	c.w.log("%s: generation %d is n%d", c.op.Operation, c.gen, c.holder)
}

// read asks every replica for its position.
func (c *control) read() {
	r := c.run
	r.waiting, r.read, r.answered = c.w.now+700*time.Millisecond, nil, 0
	gen := c.op.Generation
	for i, n := range c.w.nodes {
		if nodeName(i) == c.op.Plan.From {
			continue
		}
		var at failover.Candidate
		c.w.send(i, func() {
			n.order(gen, c.w.now+700*time.Millisecond, func() bool {
				at = failover.Candidate{Node: nodeName(i), Position: uint64(len(n.data)), History: fmt.Sprint(n.history), Priority: 100, Primary: n.primary}
				return n.serves()
			}, func(ok bool) {
				if c.run != r {
					return
				}
				r.answered++
				if ok {
					r.read = append(r.read, at)
				}
			})
		})
	}
}

// promote orders the candidate, again until it answers; one that surely did
// not take the order is replaced.
func (c *control) promote(done func(map[string]string)) {
	r := c.run
	switch {
	case r.ok:
		done(nil)
		return
	case c.w.now-r.since > 15*time.Second:
		c.giveUp("nobody could be promoted")
		return
	case r.bad:
		r.tried[c.holder] = true
		c.redirect()
		return
	case c.w.now < r.waiting:
		return
	}
	r.waiting = c.w.now + time.Second
	n, gen, op := c.w.nodes[c.holder], c.gen, c.op.Operation
	c.w.send(n.id, func() {
		n.order(gen, c.w.now+time.Second, func() bool { return n.promote(gen) }, func(ok bool) {
			if c.run == r && c.op.Operation == op && c.gen == gen {
				r.ok, r.bad = ok, !ok
			}
		})
	})
}

// redirect makes the next in line the candidate, under a generation of its own.
func (c *control) redirect() {
	r := c.run
	if r.waiting == 0 || r.read == nil && r.answered == 0 {
		c.read()
		return
	}
	if c.w.now < r.waiting && r.answered < nodes-1 {
		return
	}
	var rest []failover.Candidate
	for _, x := range r.read {
		if !r.tried[nodeOf(x.Node)] {
			rest = append(rest, x)
		}
	}
	f := c.facts()
	f.Primary = c.op.Plan.From
	f.Sync = nil
	for i := range nodes {
		if nodeName(i) != c.op.Plan.From {
			f.Sync = append(f.Sync, nodeName(i))
		}
	}
	d := failover.Choose(&f, rest, false)
	if d.Kind != failover.Failover {
		*r = running{since: r.since} // all over again
		return
	}
	c.w.sometimes("candidate replaced after the point of no return")
	c.commit(d.Node)
	c.run = &running{since: r.since, tried: r.tried}
}

func (c *control) repoint(done func(map[string]string)) {
	r := c.run
	if r.waiting == 0 {
		r.waiting = c.w.now + 500*time.Millisecond
		gen, to := c.gen, c.holder
		for i, n := range c.w.nodes {
			if i != to && nodeName(i) != c.op.Plan.From {
				c.w.send(i, func() {
					n.order(gen, c.w.now+time.Second, func() bool { return n.serves() && !n.primary && n.follow(to) }, func(bool) { r.answered++ })
				})
			}
		}
	}
	if c.w.now >= r.waiting || r.answered >= nodes-2 {
		done(nil)
	}
}
