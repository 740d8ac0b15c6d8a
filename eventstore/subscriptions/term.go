package subscriptions

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

// term is the groups of one leadership of this node.
type term struct {
	s      *Service
	number uint64
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // everything a group runs

	// manage is held while the set of groups changes; it guards config and revision.
	manage   sync.Mutex
	config   document
	revision stream.Expected // of the settings' stream

	mu     sync.Mutex
	groups map[Key]*group
	ended  bool
}

// load reads settings and checkpoints as the log has them and starts the groups.
func (s *Service) load(number uint64) (*term, error) {
	t := &term{s: s, number: number, groups: map[Key]*group{}, revision: stream.NoStream, config: document{Version: configVersion}}
	t.ctx, t.cancel = context.WithCancel(s.ctx)
	began := time.Now()
	rev, data, err := t.last(t.ctx, configStream)
	if err == nil && rev >= 0 {
		var d *document
		if d, err = parseDocument(data); err == nil {
			t.config, t.revision = *d, stream.Expected(rev)
		}
	}
	for i := 0; err == nil && i < len(t.config.Entries); i++ {
		err = t.start(t.config.Entries[i])
	}
	if err != nil {
		t.end("the groups cannot be loaded", false)
		return nil, err
	}
	if len(t.groups) > 0 {
		s.logger.Info("persistent subscriptions loaded", "term", number, "groups", len(t.groups), "took", time.Since(began).Round(time.Millisecond))
	}
	return t, nil
}

// end drops all consumers and returns when nothing of the term runs any more. final: this node still leads; groups write a last checkpoint.
func (t *term) end(reason string, final bool) {
	t.mu.Lock()
	t.ended = true
	groups := make([]*group, 0, len(t.groups))
	for _, g := range t.groups {
		groups = append(groups, g)
	}
	t.mu.Unlock()
	for _, g := range groups {
		g.close(reason)
	}
	if final {
		for _, g := range groups {
			g.finish(t.ctx)
		}
	}
	t.cancel()
	t.wg.Wait()
}

// start makes a group run from its stored checkpoint.
func (t *term) start(e entry) error {
	g, err := t.open(e)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return ErrLoading
	}
	t.groups[g.key] = g
	g.run()
	return nil
}

func (t *term) find(k Key) *group {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.groups[k]
}

func (t *term) remove(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.groups, k)
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
	ctx, cancel := context.WithTimeout(ctx, t.s.writeTimeout)
	defer cancel()
	stop := context.AfterFunc(t.ctx, cancel)
	defer stop()
	return t.s.node.Await(ctx, p)
}

// last reads the last event of a stream: revision -1 if there is none that can be read.
func (t *term) last(ctx context.Context, name string) (rev int64, data []byte, err error) {
	rev = -1
	_, err = t.s.node.Reader().Stream(ctx, reader.StreamQuery{Stream: name, FromEnd: true, Backwards: true, Count: 1}, func(e *reader.Event) error {
		rev, data = e.Revision, append([]byte(nil), e.Data()...)
		return nil
	})
	if errors.Is(err, reader.ErrStreamDeleted) {
		return -1, nil, fmt.Errorf("stream %q is deleted for good; persistent subscriptions need it", name)
	}
	return rev, data, err
}

// endOf is the place of the last event of what a group reads; Beginning if there is none.
func (t *term) endOf(ctx context.Context, name string) (subscription.Point, error) {
	end := subscription.Beginning
	if name == stream.AllStream {
		err := t.s.node.Reader().All(ctx, reader.AllQuery{FromEnd: true, Backwards: true, Count: 1}, func(e *reader.Event) error {
			end = subscription.Point(e.Position)
			return nil
		})
		return end, err
	}
	st, err := t.s.node.Reader().Stream(ctx, reader.StreamQuery{Stream: name, FromEnd: true}, func(*reader.Event) error { return nil })
	if err != nil && !errors.Is(err, reader.ErrStreamDeleted) {
		return end, err
	}
	return subscription.Point(st.Last), nil
}

// event makes an event of the server's own.
func event(kind string, json bool, data, metadata []byte) stream.Event {
	e := stream.Event{Type: kind, JSON: json, Data: data, Metadata: metadata}
	_, _ = rand.Read(e.ID[:]) // never fails
	e.ID[6], e.ID[8] = e.ID[6]&0x0f|0x40, e.ID[8]&0x3f|0x80
	return e
}

// metadataWrite replaces a stream's metadata.
func metadataWrite(name, document string) stream.Write {
	return stream.Write{Stream: stream.MetaStream(name), Expected: stream.Any, Events: []stream.Event{event(stream.MetadataType, true, []byte(document), nil)}}
}

// store writes new settings together with more writes, completely or not at all, if nobody else wrote some since. manage is held.
func (t *term) store(ctx context.Context, by string, entries []entry, more ...stream.Write) error {
	d := t.config
	d.Version, d.Updated, d.UpdatedBy, d.Entries = configVersion, time.Now().UTC(), by, entries
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode the settings of persistent subscriptions: %w", err)
	}
	writes := []stream.Write{{Stream: configStream, Expected: t.revision, Events: []stream.Event{event(configType, true, data, nil)}}}
	if t.revision < 0 {
		writes = append(writes, metadataWrite(configStream, configKept))
	}
	cmd, err := stream.NewMultiAppend(stream.Limits{}, append(writes, more...), nil)
	if err != nil {
		return &RequestError{Reason: "the settings of all persistent subscriptions together are too large: " + err.Error()}
	}
	outcome, err := t.append(ctx, cmd)
	switch {
	case err != nil:
		return err
	case outcome.Kind != stream.Done:
		// Somebody else wrote the stream: what is in memory is not what is stored.
		t.s.logger.Warn("the settings of persistent subscriptions were changed by somebody else; loading them anew", "stream", configStream)
		t.reload()
		return ErrLoading
	}
	t.config, t.revision = d, stream.Expected(outcome.Writes[0].Last)
	return nil
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
