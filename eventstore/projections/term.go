package projections

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/eventstore/projection"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

// term is the projections of one leadership of this node.
type term struct {
	s      *Service
	number uint64
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // everything that runs

	// manage is held while the set of projections or a definition changes; it guards registry.
	manage   sync.Mutex
	registry stream.Expected // of registryStream

	mu    sync.Mutex
	items map[string]*item
	ended bool
}

// load reads which projections there are as the log has it and starts those that are enabled.
func (s *Service) load(number uint64) (*term, error) {
	t := &term{s: s, number: number, items: map[string]*item{}, registry: stream.NoStream}
	t.ctx, t.cancel = context.WithCancel(s.ctx)
	began := time.Now()
	err := t.read()
	if err == nil {
		err = t.makeStandard()
	}
	if err != nil {
		t.end(false)
		return nil, err
	}
	running := 0
	for _, it := range t.list() {
		if it.definition().Enabled {
			running++
			it.start()
		}
	}
	if running > 0 {
		s.logger.Info("projections loaded", "term", number, "projections", len(t.items), "running", running, "took", time.Since(began).Round(time.Millisecond))
	}
	return t, nil
}

// read fills items from the registry and the definitions.
func (t *term) read() error {
	ids := map[string]int64{}
	st, err := t.s.node.Reader().Stream(t.ctx, reader.StreamQuery{Stream: registryStream, FromStart: true, Count: 1 << 62}, func(e *reader.Event) error {
		t.registry = stream.Expected(e.Revision)
		switch e.Type {
		case createdType:
			ids[string(e.Data())] = e.Revision
		case deletedType:
			delete(ids, string(e.Data()))
		}
		return nil
	})
	if err != nil {
		return unreadable(registryStream, err)
	}
	if st.Last >= 0 {
		t.registry = stream.Expected(st.Last)
	}
	for name, id := range ids {
		rev, data, _, err := t.last(t.ctx, definitionStream(name))
		if err != nil {
			return err
		}
		it := newItem(t, name)
		it.id = id
		it.doc, err = parseDocument(data)
		if rev < 0 || err != nil || it.doc.ID != id {
			it.fail(fmt.Sprintf("its definition in %q cannot be read: delete the projection and create it again", definitionStream(name)))
			it.doc = document{HandlerType: script, Mode: Continuous, ID: id}
		}
		it.revision = stream.Expected(rev)
		t.items[name] = it
	}
	return nil
}

// makeStandard creates the system projections that do not exist yet, and enables those nobody has touched if the node is told to.
func (t *term) makeStandard() error {
	t.manage.Lock()
	defer t.manage.Unlock()
	for _, std := range projection.Standards() {
		it := t.items[std.Name]
		if it == nil {
			doc := document{HandlerType: std.HandlerType, Query: std.Query, Mode: Continuous, Enabled: t.s.o.StartStandard, Config: Config{EmitEnabled: true}}
			if _, err := t.create(t.ctx, std.Name, doc, ""); err != nil {
				return err
			}
			continue
		}
		if doc := it.definition(); t.s.o.StartStandard && !doc.Enabled && doc.UpdatedBy == "" && doc.HandlerType != script {
			doc.Enabled = true
			if err := t.store(t.ctx, it, doc, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// create writes a new projection, completely or not at all, if nobody else created or deleted one since. It does not start it. manage is held.
func (t *term) create(ctx context.Context, name string, doc document, by string) (*item, error) {
	doc.ID = max(int64(t.registry), -1) + 1
	var writes []stream.Write
	if t.registry < 0 {
		doc.ID++
		writes = append(writes, stream.Write{Stream: registryStream, Expected: t.registry, Events: []stream.Event{event(initializedType, false, nil, nil)}})
	}
	doc.Updated, doc.UpdatedBy = time.Now().UTC(), by
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode the definition of projection %q: %w", name, err)
	}
	writes = append(writes,
		stream.Write{Stream: registryStream, Expected: t.registry, Events: []stream.Event{event(createdType, false, []byte(name), nil)}},
		stream.Write{Stream: definitionStream(name), Expected: stream.Any, Events: []stream.Event{event(updatedType, true, data, nil)}})
	outcome, err := t.write(ctx, writes)
	if err != nil {
		return nil, err
	}
	it := newItem(t, name)
	it.id, it.doc = doc.ID, doc
	for _, w := range outcome.Writes {
		switch w.Stream {
		case registryStream:
			t.registry = stream.Expected(w.Last)
		case definitionStream(name):
			it.revision = stream.Expected(w.Last)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.items[name] = it
	return it, nil
}

// store replaces a definition. manage is held.
func (t *term) store(ctx context.Context, it *item, doc document, by string) error {
	doc.Updated, doc.UpdatedBy = time.Now().UTC(), by
	if doc.Mode == Transient {
		it.define(doc, -1)
		return nil
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode the definition of projection %q: %w", it.name, err)
	}
	name := definitionStream(it.name)
	outcome, err := t.write(ctx, []stream.Write{{Stream: name, Expected: it.revision, Events: []stream.Event{event(updatedType, true, data, nil)}}})
	if err != nil {
		return err
	}
	it.define(doc, stream.Expected(outcome.Writes[0].Last))
	return nil
}

// write appends what changes definitions. If somebody else changed them since, or whether they are changed is unknown, everything is loaded anew, soon.
// Errors: ErrLoading, *RequestError, those of append.
func (t *term) write(ctx context.Context, writes []stream.Write) (stream.Outcome, error) {
	cmd, err := stream.NewMultiAppend(stream.Limits{}, writes, nil)
	if err != nil {
		return stream.Outcome{}, &RequestError{err.Error()}
	}
	outcome, err := t.append(ctx, cmd)
	switch {
	case errors.Is(err, replica.ErrTimeout) && t.live():
		t.reload()
		return outcome, err
	case err != nil:
		return outcome, err
	case outcome.Kind != stream.Done:
		t.s.logger.Warn("the definitions of projections were changed by somebody else; loading them anew", "outcome", outcome.Kind.String(), "reason", outcome.Reason)
		t.reload()
		return outcome, ErrLoading
	}
	return outcome, nil
}

// end stops all projections and returns when nothing of the term runs any more. final: this node still leads; they write a last checkpoint.
func (t *term) end(final bool) {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	if final {
		items := t.list()
		for _, it := range items {
			it.halt(stopWithCheckpoint)
		}
		for _, it := range items {
			it.wait(t.ctx)
		}
	}
	t.cancel()
	t.wg.Wait()
}

// list is the projections there are, in no order.
func (t *term) list() []*item {
	t.mu.Lock()
	defer t.mu.Unlock()
	items := make([]*item, 0, len(t.items))
	for _, it := range t.items {
		items = append(items, it)
	}
	return items
}

func (t *term) find(name string) *item {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.items[name]
}

func (t *term) remove(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.items, name)
}

// live says whether the term still is this node's present one.
func (t *term) live() bool {
	number, leads := t.s.node.Leading()
	return leads && number == t.number && t.ctx.Err() == nil
}

// append writes through this node's own log, in this term only. Errors: replica.ErrNotAppended, replica.ErrBusy (both: nothing was appended),
// replica.ErrTimeout (unknown).
func (t *term) append(ctx context.Context, cmd *stream.Command) (stream.Outcome, error) {
	if !t.live() {
		return stream.Outcome{}, replica.ErrNotAppended
	}
	p, err := t.s.node.Start(cmd)
	if err != nil {
		return stream.Outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.s.o.WriteTimeout)
	defer cancel()
	stop := context.AfterFunc(t.ctx, cancel)
	defer stop()
	return t.s.node.Await(ctx, p)
}

// last reads the last event of a stream: revision -1 if there is none that can be read.
func (t *term) last(ctx context.Context, name string) (rev int64, data, metadata []byte, err error) {
	rev = -1
	_, err = t.s.node.Reader().Stream(ctx, reader.StreamQuery{Stream: name, FromEnd: true, Backwards: true, Count: 1}, func(e *reader.Event) error {
		rev, data, metadata = e.Revision, append([]byte(nil), e.Data()...), append([]byte(nil), e.Metadata()...)
		return nil
	})
	return rev, data, metadata, unreadable(name, err)
}

func unreadable(name string, err error) error {
	if errors.Is(err, reader.ErrStreamDeleted) {
		return fmt.Errorf("stream %q is deleted for good; projections need it", name)
	}
	return err
}

// end of the log: the position of its last event, 0 if there is none.
func (t *term) endOfLog(ctx context.Context) (pos uint64, err error) {
	err = t.s.node.Reader().All(ctx, reader.AllQuery{FromEnd: true, Backwards: true, Count: 1}, func(e *reader.Event) error {
		pos = e.Position
		return nil
	})
	return pos, err
}

// event makes an event of the server's own.
func event(kind string, json bool, data, metadata []byte) stream.Event {
	return stream.Event{ID: newID(), Type: kind, JSON: json, Data: data, Metadata: metadata}
}

// newID is a random UUID.
func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// metadataWrite replaces a stream's metadata.
func metadataWrite(name string, document []byte) stream.Write {
	return stream.Write{Stream: stream.MetaStream(name), Expected: stream.Any, Events: []stream.Event{event(stream.MetadataType, true, document, nil)}}
}

// reload has the service load everything anew, soon.
func (t *term) reload() {
	go func() {
		select {
		case t.s.restarts <- make(chan struct{}):
		case <-t.ctx.Done():
		}
	}()
}
