package replica

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// Bounds of what may wait for the loop.
const (
	// maxWaitingCommands and maxWaitingBytes bound commands; beyond, ErrBusy.
	maxWaitingCommands = 32 << 10
	maxWaitingBytes    = 256 << 20
	// maxWaitingMessages bounds messages from peers; beyond, the oldest are
	// dropped: raft repeats what matters.
	maxWaitingMessages = 4096
)

// work is everything that arrived for the loop since it last looked.
type work struct {
	messages   []*raftpb.Message
	appendDone []*AppendJob
	applyDone  []*ApplyJob
	proposals  []*Proposal
	reads      []*Read
	checks     []*Check
	calls      []func(*Core)
}

// inbox gathers work for the loop. Putting never blocks, so that no two threads
// can wait for each other.
type inbox struct {
	mu     sync.Mutex
	work   work
	notify chan struct{}
	// With patience above zero the loop has nothing to do with that many more
	// proposals, or bytes of them: it is not woken for each.
	patience, patienceBytes int
}

func newInbox() *inbox { return &inbox{notify: make(chan struct{}, 1)} }

func (b *inbox) put(add func(w *work)) {
	b.mu.Lock()
	add(&b.work)
	b.mu.Unlock()
	b.wake()
}

func (b *inbox) wake() {
	select {
	case b.notify <- struct{}{}:
	default:
	}
}

// propose puts a proposal in.
func (b *inbox) propose(p *Proposal) {
	b.mu.Lock()
	b.work.proposals = append(b.work.proposals, p)
	b.patience--
	b.patienceBytes -= len(p.Command.Bytes())
	wake := b.patience <= 0 || b.patienceBytes <= 0
	b.mu.Unlock()
	if wake {
		b.wake()
	}
}

// settle says how many proposals, and bytes of them, the loop has no use for
// before something else wakes it.
func (b *inbox) settle(commands, bytes int) {
	b.mu.Lock()
	for _, p := range b.work.proposals {
		commands--
		bytes -= len(p.Command.Bytes())
	}
	b.patience, b.patienceBytes = commands, bytes
	wake := len(b.work.proposals) > 0 && (commands <= 0 || bytes <= 0)
	b.mu.Unlock()
	if wake {
		b.wake()
	}
}

// take returns what has gathered and leaves spare's memory to gather more.
func (b *inbox) take(spare work) work {
	b.mu.Lock()
	taken := b.work
	b.work = spare
	b.mu.Unlock()
	return taken
}

// recycle empties w but keeps its memory.
func (w work) recycle() work {
	clear(w.messages)
	clear(w.appendDone)
	clear(w.applyDone)
	clear(w.proposals)
	clear(w.reads)
	clear(w.checks)
	clear(w.calls)
	return work{
		messages: w.messages[:0], appendDone: w.appendDone[:0], applyDone: w.applyDone[:0],
		proposals: w.proposals[:0], reads: w.reads[:0], checks: w.checks[:0], calls: w.calls[:0],
	}
}

// jobs is a queue of jobs for one thread. Raft bounds how many are under way.
type jobs[T any] struct {
	mu     sync.Mutex
	list   []T
	closed bool
	ready  chan struct{}
}

func newJobs[T any]() *jobs[T] { return &jobs[T]{ready: make(chan struct{}, 1)} }

func (q *jobs[T]) put(items []T) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	q.list = append(q.list, items...)
	q.mu.Unlock()
	q.wake()
}

func (q *jobs[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake()
}

func (q *jobs[T]) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take waits for jobs and returns all that wait, nil once closed and empty.
func (q *jobs[T]) take() []T {
	for {
		q.mu.Lock()
		list, closed := q.list, q.closed
		q.list = nil
		q.mu.Unlock()
		if len(list) > 0 {
			return list
		}
		if closed {
			return nil
		}
		<-q.ready
	}
}
