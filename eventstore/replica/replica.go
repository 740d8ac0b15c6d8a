package replica

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/membership"
	"baton/eventstore/stream"
	"baton/platform/clock"
	"baton/platform/trace"
)

// DefaultTickEvery is the length of a raft tick.
const DefaultTickEvery = 50 * time.Millisecond

// Starvation: a tick that comes later than starvedAfter intervals shows that
// this process did not get to run. Its own silence says nothing about the
// leader, so that tick and the next graceTicks are not counted against it: the
// messages that waited in the sockets are read first.
const (
	starvedAfter = 3
	graceTicks   = 2
)

// Options configure a Replica.
type Options struct {
	Core      CoreConfig
	TickEvery time.Duration // DefaultTickEvery when zero
	Clock     clock.Clock   // the machine's when nil
	// Send hands messages to the links. It must not block and may drop.
	Send func([]*raftpb.Message)
	// IDs answers checks of repeated commands from stored events.
	IDs stream.IDSource
	// Changed is called on the loop when leader, term, serving, configuration or
	// roster may have changed. It must not block or call back.
	Changed func(Status)
	// Wrote is told by the append thread how long a durable write took; nil tells
	// nobody.
	Wrote func(time.Duration)
	// Trace is told each step of a traced append on the thread that did it; nil:
	// nothing is traced here. Stood is told on the loop each candidacy of this node
	// that ended; nil tells nobody. They must not block or call back.
	Trace  func(trace.Span)
	Stood  func(Election)
	Logger *slog.Logger
}

// Status is a snapshot of a Replica. It is never changed once published.
type Status struct {
	CoreStatus
	Roster *membership.Roster
	// Starved counts ticks that came late because the process did not run.
	Starved uint64
}

// IsLeader reports whether this node leads and may serve.
func (s *Status) IsLeader() bool { return s.State == raft.StateLeader && s.Serving }

// Replica runs a Core in production. All methods are safe for concurrent use.
type Replica struct {
	opts    Options
	core    *Core
	machine *Machine
	logger  *slog.Logger
	clock   clock.Clock

	in      *inbox
	appends *jobs[*AppendJob]
	applies *jobs[*ApplyJob]

	status       atomic.Pointer[Status]
	waitingCount atomic.Int64
	waitingBytes atomic.Int64
	starved      uint64

	stop    chan struct{}
	stopped sync.Once
	threads sync.WaitGroup
	done    chan struct{}
	failure atomic.Pointer[error]
}

// New builds the Core and starts the threads.
func New(opts Options) (*Replica, error) {
	if opts.TickEvery == 0 {
		opts.TickEvery = DefaultTickEvery
	}
	if opts.Clock == nil {
		opts.Clock = clock.Real()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Core.Logger == nil {
		opts.Core.Logger = opts.Logger
	}
	core, err := NewCore(opts.Core)
	if err != nil {
		return nil, err
	}
	r := &Replica{
		opts: opts, core: core, machine: opts.Core.Machine, logger: opts.Logger, clock: opts.Clock,
		in: newInbox(), appends: newJobs[*AppendJob](), applies: newJobs[*ApplyJob](),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	r.publish(true)
	r.threads.Add(2)
	go r.appendThread()
	go r.applyThread()
	go r.loop()
	return r, nil
}

// Machine returns the applied state.
func (r *Replica) Machine() *Machine { return r.machine }

// Status returns the latest snapshot.
func (r *Replica) Status() *Status { return r.status.Load() }

// Stop ends the threads, fails what waits with ErrStopped and stores a
// checkpoint of the index. Log, state and index stay open; the owner closes them.
func (r *Replica) Stop() error {
	r.stopped.Do(func() { close(r.stop) })
	<-r.done
	if err := r.Failure(); err != nil {
		return err
	}
	return r.machine.Checkpoint()
}

// Done is closed when the replica has stopped, by itself or by Stop.
func (r *Replica) Done() <-chan struct{} { return r.done }

// Failure returns why the replica stopped by itself, or nil.
func (r *Replica) Failure() error {
	if err := r.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func (r *Replica) fail(err error) {
	if r.failure.CompareAndSwap(nil, &err) {
		r.logger.Error("the node stops: its disk or its data cannot be trusted", "err", err)
	}
	r.stopped.Do(func() { close(r.stop) })
}

// Receive hands over messages from peers.
func (r *Replica) Receive(messages ...*raftpb.Message) {
	r.in.put(func(w *work) {
		if over := len(w.messages) + len(messages) - maxWaitingMessages; over > 0 {
			w.messages = w.messages[min(over, len(w.messages)):]
		}
		w.messages = append(w.messages, messages...)
	})
}

// Call runs f on the loop, soon. It may not run once the replica has stopped.
func (r *Replica) Call(f func(*Core)) { r.in.put(func(w *work) { w.calls = append(w.calls, f) }) }

// Propose runs a command on the leader. Errors: ErrNotAppended, ErrBusy (both:
// nothing was appended), ErrTimeout (unknown), ErrStopped (unknown).
func (r *Replica) Propose(ctx context.Context, cmd *stream.Command) (stream.Outcome, error) {
	p, err := r.Start(cmd)
	if err != nil {
		return stream.Outcome{}, err
	}
	return r.Await(ctx, p)
}

// Start is the first half of Propose: it hands the command over and returns.
// Commands are judged in the order of Start. The error is ErrBusy.
func (r *Replica) Start(cmd *stream.Command) (*Proposal, error) {
	size := int64(len(cmd.Bytes()))
	if r.waitingCount.Load() >= maxWaitingCommands || r.waitingBytes.Load()+size > maxWaitingBytes {
		return nil, ErrBusy
	}
	r.waitingCount.Add(1)
	r.waitingBytes.Add(size)
	p := &Proposal{Command: cmd, Done: make(chan struct{}), Started: r.startedAt(cmd)}
	r.in.propose(p)
	return p, nil
}

// Await is the second half of Propose: it waits for the outcome. Errors are
// those of Propose but ErrBusy.
func (r *Replica) Await(ctx context.Context, p *Proposal) (stream.Outcome, error) {
	return r.AwaitUntil(ctx, nil, p)
}

// AwaitUntil is Await that also gives up, with ErrTimeout, when expired delivers.
// A timer of the caller's costs less than a context made for each command.
func (r *Replica) AwaitUntil(ctx context.Context, expired <-chan time.Time, p *Proposal) (stream.Outcome, error) {
	stopped := false
	select {
	case <-p.Done:
		return p.Outcome, p.Err
	case <-ctx.Done():
	case <-expired:
	case <-r.done:
		stopped = true
	}
	select {
	case <-p.Done:
		return p.Outcome, p.Err
	default:
	}
	if stopped && ctx.Err() == nil {
		return stream.Outcome{}, ErrStopped
	}
	return stream.Outcome{}, ErrTimeout
}

// ReadIndex returns nil once a quorum confirmed that this node led after the
// call began, and everything committed before it is applied here. Errors:
// ErrNotAppended (does not lead), ErrTimeout, ErrStopped.
func (r *Replica) ReadIndex(ctx context.Context) error {
	read := &Read{Done: make(chan struct{})}
	r.in.put(func(w *work) { w.reads = append(w.reads, read) })
	select {
	case <-read.Done:
		return read.Err
	case <-ctx.Done():
		return ErrTimeout
	case <-r.done:
		return ErrStopped
	}
}

// ChangeConf runs a configuration change on the leader and waits until it is in
// force. Errors: ErrNotAppended, ErrChangeRunning, ErrNotCaughtUp, ErrTimeout, ErrStopped.
func (r *Replica) ChangeConf(ctx context.Context, change *Change) error {
	change.Done = make(chan struct{})
	r.Call(func(c *Core) { c.ChangeConf(change) })
	select {
	case <-change.Done:
		return change.Err
	case <-ctx.Done():
		return ErrTimeout
	case <-r.done:
		return ErrStopped
	}
}

// Transfer asks the leader to hand over to the member.
func (r *Replica) Transfer(to membership.MemberID) {
	r.Call(func(c *Core) { c.Transfer(uint64(to)) })
}

func (r *Replica) loop() {
	defer close(r.done)
	defer r.endDamaged()
	ticker := r.clock.NewTicker(r.opts.TickEvery)
	defer ticker.Stop()
	lastTick := r.clock.Now()
	grace, wasLate := 0, false
	gathered := r.clock.NewTimer(time.Hour)
	defer gathered.Stop()
	gathers := false
	var spare work
	for {
		if d := r.core.Gathering(); d > 0 && !gathers {
			gathers = true
			gathered.Reset(d)
		} else if d == 0 {
			gathers = false
		}
		r.in.settle(r.core.Enough())
		select {
		case <-r.stop:
			r.shutDown()
			return
		case <-r.in.notify:
			spare = r.step(spare, false)
		case <-gathered.C():
			if gathers {
				gathers = false
				r.core.Gathered()
				spare = r.step(spare, false)
			}
		case <-ticker.C():
			now := r.clock.Now()
			late := now.Sub(lastTick) > starvedAfter*r.opts.TickEvery
			lastTick = now
			if late {
				r.starved++
			}
			if late && !wasLate { // a process that is always late must still elect
				grace = graceTicks
			}
			wasLate = late
			count := grace == 0 || r.core.state == raft.StateLeader
			if grace > 0 {
				grace--
			}
			spare = r.step(spare, count)
		}
	}
}

// endDamaged stops a replica that raft gave up because entries it must apply are
// damaged. Any other panic goes on.
func (r *Replica) endDamaged() {
	p := recover()
	if p == nil {
		return
	}
	damage := r.core.Damage()
	if damage == nil {
		panic(p)
	}
	r.fail(fmt.Errorf("entries to be applied cannot be read: %w", damage))
	r.shutDown()
}

// step takes everything that arrived, then performs all effects.
func (r *Replica) step(spare work, tick bool) work {
	w := r.in.take(spare)
	c := r.core
	c.SetNow(r.clock.Now().UnixNano() / 100)
	for _, job := range w.appendDone {
		if sends := c.AppendDone(job); len(sends) > 0 {
			panic("replica: the append thread left messages to send")
		}
	}
	for _, job := range w.applyDone {
		c.ApplyDone(job)
	}
	for _, m := range w.messages {
		c.Receive(m)
	}
	for _, f := range w.calls {
		f(c)
	}
	for _, k := range w.checks {
		c.Resolved(k)
	}
	for _, p := range w.proposals {
		c.Propose(p)
	}
	for _, read := range w.reads {
		c.ReadIndex(read)
	}
	if tick {
		c.Tick()
	}
	for c.HasReady() {
		r.perform(c.Ready())
	}
	r.publish(tick)
	return w.recycle()
}

func (r *Replica) perform(e Effects) {
	if len(e.Sends) > 0 {
		r.opts.Send(e.Sends)
	}
	r.appends.put(e.Appends)
	r.applies.put(e.Applies)
	r.finish(e)
	if r.opts.Trace != nil {
		for _, s := range e.Spans {
			r.opts.Trace(s)
		}
	}
	if r.opts.Stood != nil {
		for _, election := range e.Elections {
			r.opts.Stood(election)
		}
	}
	for _, k := range e.Checks {
		r.threads.Add(1) // it reads index and log, which are closed after the stop
		go func() {
			defer r.threads.Done()
			k.Run(r.opts.IDs)
			r.in.put(func(w *work) { w.checks = append(w.checks, k) })
		}()
	}
}

func (r *Replica) finish(e Effects) {
	for _, p := range e.Finished {
		r.waitingCount.Add(-1)
		r.waitingBytes.Add(-int64(len(p.Command.Bytes())))
		close(p.Done)
	}
	for _, read := range e.Reads {
		close(read.Done)
	}
	for _, change := range e.Changes {
		close(change.Done)
	}
}

// appendThread makes append jobs durable, as many as wait by one write, and
// releases their responses: those to peers straight from here.
func (r *Replica) appendThread() {
	defer r.threads.Done()
	for {
		list := r.appends.take()
		if list == nil {
			return
		}
		for len(list) > 0 {
			job := list[0]
			list = list[1:]
			for len(list) > 0 && job.join(list[0]) {
				list = list[1:]
			}
			began := r.clock.Now()
			if err := job.Run(r.opts.Core.Storage); err != nil {
				r.fail(err)
				return
			}
			if r.opts.Wrote != nil || len(job.traces) > 0 {
				r.wrote(job, began)
			}
			r.appended(job)
		}
	}
}

func (r *Replica) wrote(job *AppendJob, began time.Time) {
	ended := r.clock.Now()
	if r.opts.Wrote != nil {
		r.opts.Wrote(ended.Sub(began))
	}
	r.recordJob(SpanWrite, job.traces, began, ended, job.entries)
}

func (r *Replica) appended(job *AppendJob) {
	var sends, own []*raftpb.Message
	for _, m := range job.responses {
		if m.GetTo() == r.opts.Core.ID {
			own = append(own, m)
		} else {
			sends = append(sends, m)
		}
	}
	if len(sends) > 0 {
		r.opts.Send(sends)
	}
	if len(own) > 0 {
		job.responses = own
		r.in.put(func(w *work) { w.appendDone = append(w.appendDone, job) })
	}
}

func (r *Replica) applyThread() {
	defer r.threads.Done()
	for {
		list := r.applies.take()
		if list == nil {
			return
		}
		for _, job := range list {
			var began time.Time
			if len(job.traces) > 0 {
				began = r.clock.Now()
			}
			if err := job.Run(r.machine); err != nil {
				r.fail(err)
				return
			}
			if len(job.traces) > 0 {
				r.recordJob(SpanApply, job.traces, began, r.clock.Now(), job.entries)
			}
			r.in.put(func(w *work) { w.applyDone = append(w.applyDone, job) })
		}
	}
}

// shutDown lets the threads finish what they were given and fails the rest.
func (r *Replica) shutDown() {
	r.appends.close()
	r.applies.close()
	r.threads.Wait()
	w := r.in.take(work{})
	for _, job := range w.appendDone {
		r.core.AppendDone(job)
	}
	for _, job := range w.applyDone {
		r.core.ApplyDone(job)
	}
	r.finish(r.core.out)
	r.core.out = Effects{}
	for _, p := range w.proposals {
		r.core.finish(p, stream.Outcome{}, ErrNotAppended)
	}
	for _, k := range w.checks {
		r.core.finish(k.proposal, stream.Outcome{}, ErrNotAppended)
	}
	for _, read := range w.reads {
		r.core.finishRead(read, ErrStopped)
	}
	r.finish(r.core.Stop())
	r.publish(true)
}

// publish makes a new snapshot when something others wait for has changed, and
// with every tick; commit and progress are as old as that.
func (r *Replica) publish(tick bool) {
	old, c := r.status.Load(), r.core
	roster := r.machine.Roster()
	changed := old == nil || old.Lead != c.lead || old.Term != c.term || old.State != c.state || old.Serving != c.serving ||
		old.Roster != roster || old.Conf != c.conf || old.Transferring != c.Transferring() || old.LastConf != c.confIndex ||
		old.ChangeRunning != c.changeRunning()
	if !changed && !tick {
		return
	}
	s := &Status{CoreStatus: c.Status(), Roster: roster, Starved: r.starved}
	r.status.Store(s)
	if changed && r.opts.Changed != nil {
		r.opts.Changed(*s)
	}
}

// LeaderError words ErrNotAppended for a caller: who leads instead.
func (r *Replica) LeaderError() error {
	s := r.Status()
	if s.Lead == 0 || s.Lead == s.ID {
		return &NotLeaderError{}
	}
	if member, ok := s.Roster.Find(membership.MemberID(s.Lead)); ok {
		return &NotLeaderError{Leader: &member}
	}
	return &NotLeaderError{}
}
