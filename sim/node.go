package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
	"baton/platform/vfs"
)

// Times of a simulated node.
const (
	tickEvery      = 50 * time.Millisecond
	reconcileEvery = 250 * time.Millisecond
	aliveWithin    = 1 * time.Second // silence after which a member counts as dead
	recentIDs      = 2048            // repeats remembered by each sequencer
	applyMax       = 300 * time.Microsecond
)

// node is one simulated process with its machine: the disk outlives the process.
type node struct {
	c    *cluster
	at   endpoint
	self membership.Member

	disk *vfs.Mem
	kept index.Index // of a clean stop; nil: the index begins empty and is replayed

	life   int // counts starts; events of an earlier life find it changed and do nothing
	up     bool
	paused bool
	inbox  []func() // arrived while paused

	storage *replica.Storage
	machine *replica.Machine
	core    *replica.Core
	appends []*replica.AppendJob
	applies []*replica.ApplyJob
	writing bool // an append job is under way
	busy    bool // an apply job is under way

	waiting  map[*replica.Proposal]func(*replica.Proposal)
	change   *replica.Change // handed to core, not finished
	seen     bool            // the change has reached the log
	served   uint64          // last term this node was seen to serve
	led      uint64          // last term it was seen to lead
	lastConf uint64          // index of the newest configuration entry in its log, as of the last step

	reconciler reconciler
	reader     *reader.Reader
	group      *hosted // the persistent subscription, while this node leads
	damage     damage
}

const dataDir = "/data"

// start begins a life on the disk as it is. founding is nil after the first.
func (n *node) start(founding *membership.Founding) {
	n.life++
	n.up, n.paused = true, false
	if err := n.open(founding); err != nil {
		n.up = false
		if errors.Is(err, vfs.ErrPowerCut) { // armed before the start: the machine fails again
			n.c.count("power cut during recovery")
			n.disk = n.disk.Crash(n.c.oldRand())
			life := n.life
			n.c.w.after(n.c.w.between(10*time.Millisecond, time.Second), func() {
				if n.life == life {
					n.start(founding)
				}
			})
			return
		}
		if errors.Is(err, errNobody) {
			n.c.count("damaged node waits for another")
			life := n.life
			n.c.w.after(askPause, func() {
				if n.life == life && !n.up {
					n.start(founding)
				}
			})
			return
		}
		n.c.check.fail("P2", "node %d does not start: %v", n.at+1, err)
		return
	}
	n.c.check.restarts(n.at, n.machine.Applied())
	n.c.w.trace.note(n.c.w.now, "start", uint64(n.at)+1, n.machine.Applied(), n.storage.Log.End())
	life := n.life
	n.c.w.after(n.c.w.between(0, tickEvery), func() { n.tick(life) })
	n.c.w.after(n.c.w.between(0, reconcileEvery), func() { n.reconcile(life) })
	n.c.w.after(n.c.w.between(0, groupEvery), func() { n.groupTick(life) })
	n.step()
}

func (n *node) open(founding *membership.Founding) error {
	var fs vfs.FS = n.disk
	if n.c.lyingDisk {
		fs = lyingDisk{fs}
	}
	l, err := n.openLog(logOptions(n.c, fs, n))
	if err != nil {
		return err
	}
	if n.damage.known {
		n.whole("damage mended before a start")
	}
	state, err := log.OpenState(fs, dataDir)
	if err != nil {
		return err
	}
	commit, err := replica.OpenCommitFile(fs, dataDir)
	if err != nil {
		return err
	}
	n.storage = &replica.Storage{Log: l, State: state, Commit: commit}
	if founding != nil && founding.IsFounder(n.self.ID) {
		if err := replica.Found(n.storage, founding); err != nil {
			return err
		}
	}
	ix := n.kept
	n.kept = nil
	if ix == nil {
		ix = index.NewMemory()
	}
	heads := index.NewHeads(ix, l, 0)
	if n.machine, err = replica.NewMachine(n.storage, ix, heads, nil); err != nil {
		return err
	}
	n.reader = reader.New(l, ix, heads, n.machine.Watermark(), reader.Options{})
	n.core, err = replica.NewCore(replica.CoreConfig{
		ID: uint64(n.self.ID), Storage: n.storage, Machine: n.machine, RecentIDs: recentIDs, SkipCatchUpRule: n.c.skipCatchUp,
		ElectionTicks: electionTicks,
	})
	if err != nil {
		return err
	}
	n.appends, n.applies, n.writing, n.busy, n.inbox = nil, nil, false, false, nil
	n.waiting = map[*replica.Proposal]func(*replica.Proposal){}
	n.change, n.seen, n.served, n.led, n.group = nil, false, 0, 0, nil
	n.lastConf = n.core.Status().LastConf
	n.reconciler = newReconciler()
	return nil
}

// electionTicks is shorter than in production, so that more elections happen in one life.
const electionTicks = 8

// end ends the process; what happens to the disk is the caller's.
func (n *node) end() {
	n.up, n.paused = false, false
	n.life++
	n.inbox = nil
	n.damage.known, n.damage.got = false, nil
}

// deliver runs f in the process, now or when it is resumed. Nothing reaches a dead one.
func (n *node) deliver(f func()) {
	switch {
	case !n.up:
	case n.paused:
		n.inbox = append(n.inbox, f)
	default:
		f()
		n.step()
	}
}

// later plans f in this life.
func (n *node) later(delay time.Duration, f func()) {
	life := n.life
	n.c.w.after(delay, func() {
		if n.life == life {
			n.deliver(f)
		}
	})
}

func (n *node) resume() {
	if !n.up || !n.paused {
		return
	}
	n.paused = false
	inbox := n.inbox
	n.inbox = nil
	for _, f := range inbox {
		n.deliver(f)
	}
}

func (n *node) tick(life int) {
	if n.life != life {
		return
	}
	n.c.w.after(tickEvery, func() { n.tick(life) })
	if n.paused { // a stopped process has no ticks, and gets none later for those it missed
		return
	}
	n.core.SetNow(n.c.created(n.at))
	n.core.Tick()
	n.step()
}

// receive takes a message of a peer.
func (n *node) receive(from endpoint, raw []byte) {
	var m raftpb.Message
	if err := proto.Unmarshal(raw, &m); err != nil {
		panic(err) // we marshaled it
	}
	n.reconciler.heard[from] = n.c.w.now
	n.core.Receive(&m)
}

// submit takes a command of a client.
func (n *node) submit(cmd *stream.Command, answer func(*replica.Proposal)) {
	n.core.SetNow(n.c.created(n.at))
	p := &replica.Proposal{Command: cmd}
	n.waiting[p] = answer
	n.core.Propose(p)
}

// step performs everything the core wants done.
func (n *node) step() {
	defer n.stopDamaged()
	for n.up && n.core.HasReady() {
		out := n.core.Ready()
		n.watch()
		for _, m := range out.Sends {
			n.send(m)
		}
		n.appends = append(n.appends, out.Appends...)
		n.applies = append(n.applies, out.Applies...)
		n.nextAppend()
		n.nextApply()
		for _, p := range out.Finished {
			if answer := n.waiting[p]; answer != nil {
				delete(n.waiting, p)
				answer(p)
			}
		}
		for _, ch := range out.Changes {
			if ch == n.change {
				n.c.changeDone(n, ch)
				n.change = nil
			}
		}
		for _, k := range out.Checks {
			n.later(n.c.w.between(0, time.Millisecond), func() {
				k.Run(n.reader)
				n.core.Resolved(k)
			})
		}
	}
}

// watch tells the checker what changed in the core with the last Ready.
func (n *node) watch() {
	s := n.core.Status()
	confBefore := n.lastConf
	n.lastConf = s.LastConf
	if s.State != raft.StateLeader {
		return
	}
	if n.led != s.Term {
		n.led = s.Term
		n.c.w.trace.note(n.c.w.now, "leads", uint64(n.at)+1, s.Term)
		n.c.count("leader change")
		n.c.check.leads(n.at, s.Term)
	}
	if s.LastConf > confBefore && n.change != nil && !n.seen {
		n.seen = true
		for _, id := range n.change.Voters {
			clone := n.c.byID(membership.MemberID(id))
			if clone == nil || !clone.up || !slices.Contains(s.Conf.GetLearners(), id) {
				continue
			}
			term := s.Term // of an entry that this leader has committed before it is on its own disk
			if last, _ := n.storage.Log.LastIndex(); last >= s.Commit {
				var err error
				if term, err = n.storage.Log.Term(s.Commit); err != nil {
					n.c.check.fail("P9", "leader %d cannot read entry %d: %v", n.at+1, s.Commit, err)
					return
				}
			}
			n.c.check.promotes(n.at, clone.at, s.Commit, term, clone.storage.Log)
			n.c.count("clone promoted")
			if n.c.troubled() {
				n.c.count("clone promoted under faults")
			}
		}
	}
}

func (n *node) send(m *raftpb.Message) {
	to := n.c.byID(membership.MemberID(m.GetTo()))
	if to == nil {
		return
	}
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("marshal raft message: %v", err))
	}
	from := n.at
	n.c.net.send(n.at, to.at, func() { to.deliver(func() { to.receive(from, raw) }) })
}

// nextAppend begins the next append job. The bytes become durable at one moment of the delay and the responses leave at
// its end, so that a crash between the two is possible.
func (n *node) nextAppend() {
	if n.writing || len(n.appends) == 0 {
		return
	}
	n.writing = true
	job := n.appends[0]
	n.appends = n.appends[1:]
	before := n.c.w.between(0, n.c.swarm.DiskMax)
	n.later(before, func() {
		last, _ := n.storage.Log.LastIndex()
		if err := job.Run(n.storage); err != nil {
			n.broken(err)
			return
		}
		if now, _ := n.storage.Log.LastIndex(); now < last {
			n.c.count("log conflict truncated")
		}
		n.later(n.c.w.between(0, n.c.swarm.DiskMax/4), func() {
			for _, m := range n.core.AppendDone(job) {
				n.send(m)
			}
			n.writing = false
			n.nextAppend()
		})
	})
}

func (n *node) nextApply() {
	if n.busy || len(n.applies) == 0 {
		return
	}
	n.busy = true
	job := n.applies[0]
	n.applies = n.applies[1:]
	n.later(n.c.w.between(0, applyMax), func() {
		from := n.machine.Applied()
		if err := job.Run(n.machine); err != nil {
			n.broken(err)
			return
		}
		n.c.appliedOn(n, from, n.machine.Applied())
		n.core.ApplyDone(job)
		n.busy = false
		if s := n.core.Status(); s.Serving && n.served != s.Term {
			n.served = s.Term
			n.c.check.serves(n.at, s.Term, n.storage.Log)
		}
		n.nextApply()
	})
}

// broken handles an error of the disk: the process exits, as the real one does. In the simulation only a power cut
// makes disks fail.
func (n *node) broken(err error) {
	if !errors.Is(err, vfs.ErrPowerCut) {
		n.c.check.fail("P10", "node %d: the disk is sound, yet: %v", n.at+1, err)
	}
	n.c.count("power cut inside a write")
	n.c.powerFails(n, true)
}
