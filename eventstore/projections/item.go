package projections

import (
	"context"
	"errors"
	"sync"
	"time"

	"baton/eventstore/projection"
	"baton/eventstore/stream"
)

// Status is what a projection does. Clients know these words; two joined by a slash are what is wanted and what is.
type Status string

// The statuses.
const (
	Starting  Status = "Starting" // entered when it is enabled or begins anew after a doubt, left when it reads
	Running   Status = "Running"
	Stopping  Status = "Stopping" // entered when it is disabled, left when its last batch is written
	Stopped   Status = "Stopped"
	Aborted   Status = "Aborted/Stopped" // stopped without a checkpoint
	Completed Status = "Completed"       // it has read what there was
	Faulted   Status = "Faulted"         // its program, or what it wants to write, is refused; the reason says why
)

// ending is how a run is to end.
type ending int

const (
	running            ending = iota
	stopWithCheckpoint        // what was handled is written
	stopAtOnce                // what is not written yet is forgotten
)

// errCompleted ends a run that has read what there was.
var errCompleted = errors.New("everything was read")

const (
	// Pauses before a projection begins anew after a doubt.
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// item is one projection of a term.
type item struct {
	t    *term
	name string
	id   int64

	mu       sync.Mutex
	doc      document
	revision stream.Expected // of the definition stream
	status   Status
	reason   string        // of a fault
	changed  chan struct{} // closed and replaced when status changes
	cancel   context.CancelFunc
	end      ending
	done     chan struct{} // closed when it runs no more; nil before the first start
	run      *run          // the present or last one
}

func newItem(t *term, name string) *item {
	return &item{t: t, name: name, status: Stopped, changed: make(chan struct{})}
}

func (it *item) definition() document {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.doc
}

func (it *item) define(doc document, revision stream.Expected) {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.doc, it.revision = doc, revision
}

// become sets the status. reason is only of faults.
func (it *item) become(s Status, reason string) {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.set(s, reason)
}

// set is become under the lock.
func (it *item) set(s Status, reason string) {
	it.status, it.reason = s, reason
	close(it.changed)
	it.changed = make(chan struct{})
}

func (it *item) fail(reason string) { it.become(Faulted, reason) }

// state is the status as clients are told it.
func (it *item) state() (Status, string, *run) {
	it.mu.Lock()
	defer it.mu.Unlock()
	s := it.status
	if s == Stopped && it.doc.Aborted {
		s = Aborted
	}
	return s, it.reason, it.run
}

// start lets the projection run. It does nothing when it runs.
func (it *item) start() {
	it.t.mu.Lock()
	defer it.t.mu.Unlock()
	if it.t.ended {
		return
	}
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.cancel != nil {
		return
	}
	if it.t.s.o.Run != All && !it.doc.system() {
		it.set(Stopped, "this server runs the system's projections only")
		return
	}
	ctx, cancel := context.WithCancel(it.t.ctx)
	it.cancel, it.end, it.done = cancel, running, make(chan struct{})
	it.set(Starting, "")
	it.t.wg.Add(1)
	go it.live(ctx)
}

// halt asks a running projection to end; wait waits until it has.
func (it *item) halt(how ending) {
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.cancel == nil {
		return
	}
	it.end = max(it.end, how)
	if it.status == Running || it.status == Starting {
		it.set(Stopping, "")
	}
	if it.run != nil {
		it.run.halt(it.end)
	}
	it.cancel()
}

func (it *item) wait(ctx context.Context) {
	it.mu.Lock()
	done := it.done
	it.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// settled waits until the projection reads, or has ended, or the context has.
func (it *item) settled(ctx context.Context) {
	for {
		it.mu.Lock()
		status, changed := it.status, it.changed
		it.mu.Unlock()
		if status != Starting && status != Stopping {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// live runs the projection, again and again after doubts, until it is to end.
func (it *item) live(ctx context.Context) {
	defer it.t.wg.Done()
	status, reason := it.runs(ctx)
	it.mu.Lock()
	defer it.mu.Unlock()
	it.cancel()
	it.cancel = nil
	it.set(status, reason)
	close(it.done)
}

func (it *item) runs(ctx context.Context) (Status, string) {
	pause := firstPause
	for {
		r := newRun(it)
		it.mu.Lock()
		it.run = r
		r.halt(it.end)
		it.mu.Unlock()
		err := r.once(ctx)
		var fault *projection.Fault
		var refused *StateError
		switch {
		case errors.Is(err, errCompleted):
			return Completed, ""
		case errors.As(err, &fault):
			it.t.s.logger.Warn("a projection is stopped: its program failed", "projection", it.name, "error", err)
			return Faulted, err.Error()
		case errors.As(err, &refused):
			it.t.s.logger.Warn("a projection is stopped", "projection", it.name, "error", err)
			return Faulted, err.Error()
		case ctx.Err() != nil:
			return Stopped, ""
		}
		if r.wrote() {
			pause = firstPause
		}
		if err != nil && it.t.live() {
			it.t.s.logger.Warn("a projection begins anew from its checkpoint", "projection", it.name, "error", err)
		}
		it.become(Starting, "")
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Stopped, ""
		}
		pause = min(2*pause, lastPause)
	}
}
