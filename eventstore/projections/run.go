package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"baton/eventstore/projection"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

// run is one projection from a checkpoint to an end or a doubt.
type run struct {
	it    *item
	t     *term
	name  string
	doc   document
	cfg   Config
	sign  string // of what it writes
	own   []byte // what the metadata of everything it wrote contains
	begin time.Time

	p      projection.Projection // of the reader
	def    projection.Definition
	raw    bool   // a system projection: it is fed the log as it is
	single string // the one stream it reads; empty: it follows the log

	idle atomic.Bool // everything there is was looked at

	mu       sync.Mutex
	room     *sync.Cond    // there may be room in the batch, or the run ends
	wake     chan struct{} // holds a value when the writer should look
	end      ending
	over     bool // the reader has ended
	failed   bool // the writer has, for a reason
	started  bool // the program is compiled and reads
	complete bool // everything was read
	at       place
	parts    partitions
	shared   []byte
	pending  *batch
	writing  *batch
	last     place     // of the last checkpoint
	since    int       // events looked at since
	notYet   time.Time // no write before that: the last one was large
	handled  int64
	spent    time.Duration // in the program
	writes   int64
	returned map[string]int // events handled that came of its own, by what they go back to; of the reader

	// Of the writer.
	revision stream.Expected
	tracked  map[string]struct{} // streams noted as emitted to
	checked  map[string]struct{} // streams known to hold nothing of an earlier epoch
	dropped  bool                // an event for a stream deleted for good was left out; said once
}

func newRun(it *item) *run {
	doc := it.definition()
	r := &run{
		it: it, t: it.t, name: it.name, doc: doc, cfg: doc.Config.withDefaults(), sign: doc.sign(), own: []byte(`"$v":"` + strconv.FormatInt(doc.ID, 10) + `:`),
		wake: make(chan struct{}, 1), at: beginning, last: beginning, parts: partitions{by: map[string]*partition{}}, pending: &batch{}, begin: time.Now(), revision: stream.NoStream,
		returned: map[string]int{},
	}
	r.room = sync.NewCond(&r.mu)
	return r
}

// halt says how the run is to end. Its context is canceled after this.
func (r *run) halt(how ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = max(r.end, how)
	r.room.Broadcast()
}

// wrote says whether the run got anywhere.
func (r *run) wrote() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes > 0
}

// once runs from the last checkpoint. Errors: errCompleted, *projection.Fault and *StateError (it must not begin again by itself), others are doubts.
func (r *run) once(ctx context.Context) error {
	if a := r.t.s.o.Access; a != nil && r.doc.RunAs != nil {
		if err := r.owner(a); err != nil {
			return err
		}
	}
	done, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer r.p.Close()
	if done {
		r.begun()
		return errCompleted
	}
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(reading, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.room.Broadcast()
	})
	defer stop()
	written := make(chan error, 1)
	go func() {
		err := r.write()
		if err != nil {
			r.mu.Lock()
			r.failed = true
			r.mu.Unlock()
			cancel(err)
		}
		written <- err
	}()
	err = r.follow(reading)
	r.mu.Lock()
	r.over, r.complete = true, errors.Is(err, errCompleted)
	if ctx.Err() != nil && r.end == running {
		r.end = stopAtOnce // the term is over
	}
	r.mu.Unlock()
	r.look()
	if werr := <-written; werr != nil {
		return werr
	}
	return err
}

// owner refuses to run in the name of somebody who is not known any more: nothing could be read, and everything would be passed over.
func (r *run) owner(a Access) error {
	known, err := a.Known(r.doc.RunAs.Name)
	switch {
	case err != nil:
		return err
	case !known:
		return &StateError{fmt.Sprintf("user %q, in whose name the projection runs, does not exist any more: update the projection to run it in your name", r.doc.RunAs.Name)}
	}
	return nil
}

// open compiles the program and reads the checkpoint. done: it has read everything there was before already.
func (r *run) open(ctx context.Context) (done bool, err error) {
	p, err := r.t.s.compile(r.name, &r.doc)
	if err != nil {
		return false, err
	}
	def := p.Definition()
	single := singleStream(&def)
	c, err := r.t.checkpoint(ctx, r.name, &r.doc, single, def.BiState)
	if err == nil && r.doc.TrackEmittedStreams {
		r.tracked, err = r.t.trackedStreams(ctx, r.name)
	}
	if err != nil {
		p.Close()
		return false, err
	}
	root := &partition{state: c.state, known: true}
	if !def.Partitioned() && c.state != nil {
		if root.result, err = resultOf(p, c.state, c.shared); err != nil {
			p.Close()
			return false, err
		}
		root.judged = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p, r.def, r.raw, r.single = p, def, r.doc.system(), single
	r.at, r.last, r.revision, r.shared = c.at, c.at, c.revision, c.shared
	r.parts.put("", root)
	r.checked = map[string]struct{}{}
	return c.done, nil
}

// begun makes known that the projection reads.
func (r *run) begun() {
	r.mu.Lock()
	first := !r.started && r.end == running
	r.started = true
	r.mu.Unlock()
	if first {
		r.it.reads(r)
	}
}

// reads turns Starting into Running.
func (it *item) reads(r *run) {
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.run == r && it.status == Starting {
		it.set(Running, "")
	}
}

// look has the writer look whether there is something to do.
func (r *run) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// passed notes that an event was not for the projection.
func (r *run) passed(at place) error {
	r.begun()
	r.mu.Lock()
	r.since++
	due := r.far()
	r.mu.Unlock()
	if due {
		r.look()
	}
	return nil
}

// far says that the place should be remembered although nothing was handled. mu is held.
func (r *run) far() bool {
	if r.single != "" {
		return r.since >= r.cfg.CheckpointHandledThreshold
	}
	return r.at.pos-r.last.pos >= uint64(r.cfg.CheckpointUnhandledBytesThreshold)
}

// handle lets the program see an event and gathers what comes of it. cause is what stands behind the event.
func (r *run) handle(ev projection.Event, at place, cause *chain) error {
	r.begun()
	ctx := r.t.ctx
	began := time.Now()
	name, ok, err := r.p.Partition(ev)
	if err != nil {
		return err
	}
	if !ok {
		r.mu.Lock()
		r.at = at
		r.mu.Unlock()
		return r.passed(at)
	}
	part, err := r.partition(ctx, name)
	if err != nil {
		return err
	}
	out, err := r.p.Handle(name, part.state, r.shared, ev)
	if err != nil {
		return err
	}
	if len(out.Emitted) > 0 && !r.doc.EmitEnabled {
		return &StateError{fmt.Sprintf("the projection emits events (at event %d@%s) but is not enabled to: enable emit by an update", ev.Revision, ev.Stream)}
	}
	if out.Handled {
		if err := r.judge(cause, &ev); err != nil {
			return err
		}
	}
	signed, err := r.signed(out.Emitted, &ev, at, cause)
	if err != nil {
		return err
	}
	r.mu.Lock()
	for r.pending.full(&r.cfg) && r.end == running && !r.failed && r.t.ctx.Err() == nil {
		r.look()
		r.room.Wait()
	}
	if r.end == stopAtOnce || r.failed || r.t.ctx.Err() != nil {
		r.mu.Unlock()
		return context.Canceled
	}
	r.at = at
	r.since++
	r.spent += time.Since(began)
	if out.Handled || len(signed) > 0 {
		r.gather(name, part, &out, signed, began, cause)
	}
	due := r.pending.urgent() || r.pending.handled >= r.cfg.CheckpointHandledThreshold || r.pending.handled == 1 || r.far()
	r.mu.Unlock()
	if due {
		r.look()
	}
	return nil
}

// gather adds what came of an event to the batch. mu is held.
func (r *run) gather(name string, part *partition, out *projection.Outcome, signed []emission, now time.Time, cause *chain) {
	b := r.pending
	if b.handled == 0 {
		b.began = now
	}
	b.handled++
	r.handled++
	if cause.length() > b.chain.length() {
		b.chain = cause
	}
	changed := string(out.State) != string(part.state)
	if changed {
		r.parts.bytes += len(out.State) - len(part.state)
		part.state = out.State
	}
	retold := !part.judged || string(out.Result) != string(part.result)
	part.result, part.judged = out.Result, true
	if out.Result == nil && !r.def.Results {
		part.result = out.State
	}
	if r.def.BiState {
		r.shared = out.Shared
	}
	if r.doc.Mode == Transient {
		return // nothing of it is written
	}
	b.emitted = append(b.emitted, signed...)
	for i := range signed {
		b.bytes += len(signed[i].Data) + len(signed[i].Metadata) + len(signed[i].Stream)
	}
	if changed && name != "" && touch(&b.dirty, name) {
		part.dirty++
		b.bytes += len(out.State)
	}
	if retold && r.def.Results && r.doc.EmitEnabled && touch(&b.results, name) {
		part.dirty++
		b.bytes += len(out.Result)
	}
}

// signed gives emitted events the metadata that says what they came from. Targets that no projection may write are refused.
func (r *run) signed(list []projection.Emitted, ev *projection.Event, at place, cause *chain) ([]emission, error) {
	if len(list) == 0 {
		return nil, nil
	}
	head := `{"$v":"` + r.sign + `",`
	if r.single != "" {
		name, _ := json.Marshal(r.single)
		head += `"$s":{` + string(name) + `:` + strconv.FormatInt(at.rev, 10) + `},`
	} else {
		pos := strconv.FormatUint(at.pos, 10)
		head += `"$c":` + pos + `,"$p":` + pos + `,`
	}
	head += `"$causedBy":"` + ev.ID + `"`
	next := cause.next(r.sign)
	out := make([]emission, 0, len(list))
	for _, e := range list {
		if err := writable(e.Stream); err != nil {
			if r.raw {
				continue // an event's own type or correlation id makes no stream's name: it stays without a link
			}
			return nil, &StateError{fmt.Sprintf("the projection emits to stream %q at event %d@%s: %v", clip(e.Stream), ev.Revision, ev.Stream, err)}
		}
		own := e.Metadata
		e.Metadata = append(make([]byte, 0, len(head)+len(own)+1), head...)
		if inner := objectBody(own); len(inner) > 0 {
			e.Metadata = append(append(e.Metadata, ','), inner...)
		} else {
			e.Metadata = append(e.Metadata, '}')
		}
		written := emission{Emitted: e}
		if next != nil {
			written.id = newID()
			written.Metadata = next.marked(e.Metadata, written.id)
		}
		out = append(out, written)
	}
	return out, nil
}

// objectBody is a JSON object without its opening brace; empty when it has no members or is none.
func objectBody(b []byte) []byte {
	if !json.Valid(b) {
		return nil
	}
	for i := range b {
		switch b[i] {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			for j := i + 1; j < len(b); j++ {
				switch b[j] {
				case ' ', '\t', '\r', '\n':
					continue
				case '}':
					return nil
				}
				return b[j:]
			}
		}
		break
	}
	return nil
}

func writable(name string) error {
	if projection.Housekeeping(name) {
		return errors.New("the server keeps its own notes there")
	}
	if name == stream.AllStream {
		return errors.New("all streams cannot be written")
	}
	return stream.CheckName(name)
}

func clip(text string) string {
	if len(text) > 64 {
		return text[:64] + "…"
	}
	return text
}

// doubtful says whether an error leaves open what was written, or that somebody else wrote.
func doubtful(err error) bool {
	return errors.Is(err, replica.ErrTimeout) || errors.Is(err, replica.ErrNotAppended) || errors.Is(err, replica.ErrStopped)
}
