package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

const (
	// keptLast is the metadata of streams of which only the last event matters; one more bridges a reader that looks right now.
	keptLast = `{"$maxCount":2}`
	// readableByAll is the metadata of the streams of system projections: their links show nothing but names; what they name is judged by itself.
	readableByAll = `{"$acl":{"$r":"$all","$mr":"$all"}}`
	// maxChecked bounds what is remembered of targets after a reset.
	maxChecked = 100_000
	// busyPause is the pause before a batch is offered again to a node that is overloaded.
	busyPause = 50 * time.Millisecond
	// bytesPerSecond is how fast large states are written over and over.
	bytesPerSecond = 64 << 20
)

// write writes batches until the reader has ended and what is to be kept is kept.
func (r *run) write() error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		r.mu.Lock()
		b, wait := r.take(now)
		ended := b == nil && r.over && (r.end == stopAtOnce || !r.unwritten())
		r.mu.Unlock()
		switch {
		case ended:
			return nil
		case b != nil:
			if err := r.flush(b); err != nil {
				return err
			}
			continue
		}
		if wait < 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-r.t.ctx.Done():
			r.mu.Lock()
			r.end = stopAtOnce
			over := r.over
			r.room.Broadcast()
			r.mu.Unlock()
			if over {
				return nil
			}
			<-r.wake // the reader ends with the term, too
		}
	}
}

// unwritten says that there is something to remember. mu is held.
func (r *run) unwritten() bool {
	if r.doc.Mode == Transient {
		return false
	}
	return r.pending.handled > 0 || r.at != r.last || r.complete && r.writing == nil && !r.pending.done
}

// take returns the batch if it is to be written now, else how long it can wait; negative: until something happens. mu is held.
func (r *run) take(now time.Time) (*batch, time.Duration) {
	b := r.pending
	after := time.Duration(r.cfg.CheckpointAfterMs) * time.Millisecond
	switch {
	case r.doc.Mode == Transient || r.end == stopAtOnce:
		return nil, -1
	case r.over:
		if !r.unwritten() {
			return nil, -1
		}
	case b.urgent(), b.handled >= r.cfg.CheckpointHandledThreshold, b.full(&r.cfg), r.far(), b.handled > 0 && now.Sub(b.began) >= after:
		if now.Before(r.notYet) {
			return nil, r.notYet.Sub(now)
		}
	case b.handled > 0:
		return nil, after - now.Sub(b.began)
	default:
		return nil, -1
	}
	b.at, b.done = r.at, r.complete
	for name := range b.dirty {
		part := r.parts.by[name]
		b.states = append(b.states, stateWrite{name: name, state: part.state, part: part, created: !part.known, store: true})
		part.known = true
	}
	for name := range b.results {
		part := r.parts.by[name]
		b.states = append(b.states, stateWrite{name: name, result: part.result, part: part, tell: true})
	}
	b.root, b.shared = r.parts.by[""].state, r.shared
	r.writing, r.pending, r.since = b, &batch{done: b.done}, 0
	r.room.Broadcast()
	return b, 0
}

// flush appends a batch, all of it or nothing, if this run's checkpoint still is the last.
func (r *run) flush(b *batch) error {
	if a := r.t.s.o.Access; a != nil && r.doc.RunAs != nil {
		if err := r.owner(a); err != nil {
			return err
		}
	}
	cmd, err := r.command(b)
	if err != nil {
		return err
	}
	var outcome stream.Outcome
	for {
		outcome, err = r.t.append(r.t.ctx, cmd)
		if !errors.Is(err, replica.ErrBusy) {
			break
		}
		pause := time.NewTimer(busyPause)
		select {
		case <-pause.C:
		case <-r.t.ctx.Done():
			pause.Stop()
			return replica.ErrNotAppended
		}
	}
	switch {
	case doubtful(err):
		return fmt.Errorf("whether a batch was written is not known: %w", err)
	case err != nil:
		return err
	case outcome.Kind == stream.BadRequest:
		return &StateError{"what the projection writes is refused: " + outcome.Reason}
	case outcome.Kind != stream.Done:
		return fmt.Errorf("a batch was refused, for somebody else wrote or deleted one of its streams: %s", outcome.Kind)
	}
	for _, w := range outcome.Writes {
		if w.Stream == checkpointStream(r.name) {
			r.revision = stream.Expected(w.Last)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing, r.last = nil, b.at
	r.writes++
	for _, s := range b.states {
		s.part.dirty--
	}
	if size := len(b.root) + len(b.shared); size > 1<<16 {
		r.notYet = time.Now().Add(time.Duration(size) * time.Second / bytesPerSecond)
	}
	return nil
}

// command builds the one append of a batch: what the projection emitted in its order, results, states, and last the checkpoint.
func (r *run) command(b *batch) (*stream.Command, error) {
	var writes []stream.Write
	add := func(name string, e stream.Event) {
		writes = append(writes, stream.Write{Stream: name, Expected: stream.Any, Events: []stream.Event{e}})
	}
	targets := map[string]bool{} // whether the stream can be written
	for i := range b.emitted {
		e := &b.emitted[i]
		usable, seen := targets[e.Stream]
		if !seen {
			var err error
			if usable, err = r.target(e.Stream, &writes); err != nil {
				return nil, err
			}
			targets[e.Stream] = usable
		}
		if usable {
			ev := event(e.Type, e.JSON, e.Data, e.Metadata)
			if e.id != ([16]byte{}) {
				ev.ID = e.id
			}
			add(e.Stream, ev)
		}
	}
	g := tag{Sign: r.sign, Done: b.done}
	if r.single != "" {
		g.Streams = map[string]int64{r.single: b.at.rev}
	} else {
		g.Commit, g.Prepare = &b.at.pos, &b.at.pos
	}
	metadata, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("encode the place of projection %q: %w", r.name, err)
	}
	// What is noted, or told as a result, says what stands behind it as well.
	next := b.chain.next(r.sign)
	tagged := func(kind string, json bool, data []byte) stream.Event {
		e := event(kind, json, data, nil)
		e.Metadata = next.marked(metadata, e.ID)
		return e
	}
	for _, s := range b.states {
		if s.store {
			name := stateStream(r.name, s.name)
			if s.created {
				add(partitionsStream(r.name), tagged(partitionType, false, []byte(s.name)))
				writes = append(writes, metadataWrite(name, []byte(keptLast)))
			}
			add(name, tagged(partitionStateType, true, orNull(s.state)))
		}
		if s.tell {
			kind := resultType
			if s.result == nil {
				kind = resultRemovedType
			}
			usable, err := r.resultTarget(s.name, &writes)
			if err != nil {
				return nil, err
			}
			if usable {
				add(r.resultStream(s.name), tagged(kind, true, orNull(s.result)))
			}
		}
	}
	own := checkpointStream(r.name)
	if r.revision == stream.NoStream {
		writes = append(writes, metadataWrite(own, []byte(keptLast)))
	}
	root := orNull(b.root)
	if r.def.BiState {
		if root, err = json.Marshal([2]json.RawMessage{root, orNull(b.shared)}); err != nil {
			return nil, fmt.Errorf("encode the states of projection %q: %w", r.name, err)
		}
	}
	writes = append(writes, stream.Write{Stream: own, Expected: r.revision, Events: []stream.Event{tagged(checkpointType, true, root)}})
	for i := range writes {
		if e := &writes[i].Events[0]; e.Type == trackedType && writes[i].Stream == emittedStream(r.name) {
			e.Metadata = next.marked(metadata, e.ID)
		}
	}
	cmd, err := stream.NewMultiAppend(stream.Limits{}, writes, nil)
	if err != nil {
		return nil, &StateError{"what the projection writes is refused: " + err.Error()}
	}
	return cmd, nil
}

// target prepares a stream that is emitted to, by more writes where it needs some. usable is false for one deleted for good.
func (r *run) target(name string, writes *[]stream.Write) (usable bool, err error) {
	if a := r.t.s.o.Access; a != nil && r.doc.RunAs != nil {
		if err := a.MayWrite(r.doc.RunAs.Name, name); err != nil {
			return false, &StateError{fmt.Sprintf("the projection emits to stream %q: %v", clip(name), err)}
		}
	}
	head, err := r.t.s.node.Reader().Head(name)
	if err != nil {
		return false, err
	}
	if head.Tombstoned {
		if !r.dropped {
			r.dropped = true
			r.t.s.logger.Warn("a projection emits to a stream that is deleted for good; such events are left out", "projection", r.name, "stream", clip(name))
		}
		return false, nil
	}
	if r.tracked != nil {
		if _, known := r.tracked[name]; !known {
			r.tracked[name] = struct{}{} // if the batch fails, so does the run
			*writes = append(*writes, stream.Write{Stream: emittedStream(r.name), Expected: stream.Any, Events: []stream.Event{event(trackedType, false, []byte(name), nil)}})
		}
	}
	if r.doc.Epoch > 0 && head.Last >= 0 && !head.SoftDeleted() {
		document, err := r.earlier(name, head)
		if err != nil {
			return false, err
		}
		if document != nil {
			*writes = append(*writes, metadataWrite(name, document))
			return true, nil
		}
	}
	if r.raw && head.MetaLast < 0 && strings.HasPrefix(name, "$") {
		*writes = append(*writes, metadataWrite(name, []byte(readableByAll)))
	}
	return true, nil
}

// earlier returns the metadata that hides what an earlier epoch of the projection wrote to a stream; nil if there is nothing of it at the end.
func (r *run) earlier(name string, head stream.Head) ([]byte, error) {
	if _, seen := r.checked[name]; seen {
		return nil, nil
	}
	_, _, metadata, err := r.t.last(r.t.ctx, name)
	if err != nil {
		return nil, err
	}
	if len(r.checked) >= maxChecked {
		clear(r.checked)
	}
	r.checked[name] = struct{}{}
	g, ok := parseTag(metadata)
	if !ok {
		return nil, nil
	}
	if id, epoch, ok := g.of(); !ok || id != r.doc.ID || epoch >= r.doc.Epoch {
		return nil, nil
	}
	document := map[string]json.RawMessage{}
	if head.Meta != nil {
		_ = json.Unmarshal(head.Meta.Raw, &document) // it was valid when it came into force
	}
	document["$tb"] = fmt.Appendf(nil, "%d", head.Last+1)
	return json.Marshal(document)
}

// resultStream is where the result of a partition goes.
func (r *run) resultStream(partition string) string {
	switch {
	case partition == "" && r.def.ResultStream != "":
		return r.def.ResultStream
	case partition != "" && r.def.PartitionResultPattern != "":
		return strings.ReplaceAll(r.def.PartitionResultPattern, "{0}", partition)
	}
	return resultStream(r.name, partition)
}

// resultTarget prepares the stream of a result. One that the program chose is judged like any other it writes to.
func (r *run) resultTarget(partition string, writes *[]stream.Write) (usable bool, err error) {
	name := r.resultStream(partition)
	if name == resultStream(r.name, partition) {
		head, err := r.t.s.node.Reader().Head(name)
		return !head.Tombstoned, err
	}
	if err := writable(name); err != nil {
		return false, &StateError{fmt.Sprintf("the projection's results go to stream %q: %v", clip(name), err)}
	}
	return r.target(name, writes)
}

// trackedStreams are the streams a projection is noted to have emitted to.
func (t *term) trackedStreams(ctx context.Context, name string) (map[string]struct{}, error) {
	set := map[string]struct{}{}
	_, err := t.s.node.Reader().Stream(ctx, reader.StreamQuery{Stream: emittedStream(name), FromStart: true, Count: 1 << 62}, func(e *reader.Event) error {
		if e.Type == trackedType {
			set[string(e.Data())] = struct{}{}
		}
		return nil
	})
	return set, unreadable(emittedStream(name), err)
}
