package projections

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"baton/eventstore/reader"
	"baton/eventstore/stream"
)

// Wanted describes a projection to be created.
type Wanted struct {
	Name  string // may be empty for a one-time one: it gets a name of its own
	Mode  Mode
	Query string // its program
	// EngineVersion is what the client asks for; there is one engine, which serves all versions.
	EngineVersion int
	Config        Config
	Disabled      bool // it is not started
}

const (
	// maxQuery bounds a program, bytes.
	maxQuery = 1 << 20
	// maxEngine is the highest engine version clients know.
	maxEngine = 2
	// deleteBatch is how many streams one append deletes.
	deleteBatch = 500
)

// Create makes a projection, starts it and waits a moment for it to read. by is who asks; it reads and writes in that name. It returns the projection's
// name. Errors: *RequestError, *ExistsError, *StateError, *projection.Fault for a program that cannot be one, and those of requests to a leader;
// replica.ErrTimeout: unknown.
func (s *Service) Create(ctx context.Context, w Wanted, by string) (string, error) {
	if w.Name == "" && w.Mode == OneTime {
		w.Name = uuid.NewString()
	}
	if err := w.check(); err != nil {
		return "", err
	}
	if s.o.Run != All {
		return "", &StateError{"this server runs the system's projections only: start it with --run-projections=All for custom ones"}
	}
	doc := document{HandlerType: script, Query: w.Query, Mode: w.Mode, Enabled: !w.Disabled, EngineVersion: w.EngineVersion, Config: w.Config, RunAs: owner(by)}
	if err := s.judge(w.Name, &doc); err != nil {
		return "", err
	}
	t, err := s.leading(ctx)
	if err != nil {
		return "", err
	}
	t.manage.Lock()
	defer t.manage.Unlock()
	if t.find(w.Name) != nil {
		return "", &ExistsError{w.Name}
	}
	var it *item
	if w.Mode == Transient {
		it = newItem(t, w.Name)
		it.doc = doc
		it.doc.ID = -1
		t.mu.Lock()
		t.items[w.Name] = it
		t.mu.Unlock()
	} else if it, err = t.create(ctx, w.Name, doc, by); err != nil {
		return "", err
	}
	s.logger.Info("projection created", "projection", w.Name, "mode", w.Mode, "by", by)
	if doc.Enabled {
		it.start()
		it.settled(ctx)
	}
	return w.Name, nil
}

func (w *Wanted) check() error {
	if err := checkName(w.Name); err != nil {
		return err
	}
	switch {
	case !slices.Contains([]Mode{Continuous, OneTime, Transient}, w.Mode):
		return &RequestError{"the request does not say how long the projection lives: continuous, one-time or transient"}
	case strings.TrimSpace(w.Query) == "":
		return &RequestError{"the request holds no program"}
	case len(w.Query) > maxQuery:
		return &RequestError{"the program is larger than 1 MiB"}
	case w.EngineVersion < 0 || w.EngineVersion > maxEngine:
		return &RequestError{"there is no such engine version: 0, 1 or 2"}
	case w.Mode == Transient && w.Config.EmitEnabled:
		return &RequestError{"a transient projection cannot write events"}
	}
	return w.Config.check()
}

// owner is in whose name a projection of a user runs.
func owner(by string) *runAs { return &runAs{Name: by} }

// judge refuses a program that cannot be compiled.
func (s *Service) judge(name string, doc *document) error {
	p, err := s.compile(name, doc)
	if err != nil {
		return err
	}
	p.Close()
	return nil
}

// changed finds a projection and gives it to f while nobody else changes one.
func (s *Service) change(ctx context.Context, name string, f func(t *term, it *item) error) error {
	t, err := s.leading(ctx)
	if err != nil {
		return err
	}
	t.manage.Lock()
	defer t.manage.Unlock()
	it := t.find(name)
	if it == nil {
		return &NotFoundError{name}
	}
	return f(t, it)
}

// paused changes a definition while the projection does not run, and lets it run again if it is to.
func paused(ctx context.Context, t *term, it *item, by string, set func(*document) error) error {
	doc := it.definition()
	if err := set(&doc); err != nil {
		return err
	}
	it.halt(stopWithCheckpoint)
	it.wait(t.ctx)
	err := t.store(ctx, it, doc, by)
	now := it.definition()
	if err == nil && !now.Enabled {
		it.become(Stopped, "")
	}
	if now.Enabled && t.live() {
		it.start()
		it.settled(ctx)
	}
	return err
}

// Update gives a projection another program, and the right to emit if emit says so. It goes on from where it stands, with the state it has, in the name of
// who asks. Errors: *NotFoundError, *RequestError, *StateError, *projection.Fault and those of requests to a leader; replica.ErrTimeout: unknown.
func (s *Service) Update(ctx context.Context, name, query string, emit *bool, by string) error {
	return s.change(ctx, name, func(t *term, it *item) error {
		doc := it.definition()
		doc.Query = query
		if !doc.system() {
			if err := (&Wanted{Name: name, Mode: doc.Mode, Query: query}).check(); err != nil {
				return err
			}
		}
		if err := s.judge(name, &doc); err != nil {
			return err
		}
		s.logger.Info("projection updated", "projection", name, "by", by)
		return paused(ctx, t, it, by, func(d *document) error {
			d.Query = query
			d.Version++
			if !d.system() {
				d.RunAs = owner(by)
				if emit != nil {
					d.EmitEnabled = *emit
				}
			}
			return nil
		})
	})
}

// Configure replaces a projection's settings. Errors: as of Update.
func (s *Service) Configure(ctx context.Context, name string, c Config, by string) error {
	if err := c.check(); err != nil {
		return err
	}
	return s.change(ctx, name, func(t *term, it *item) error {
		return paused(ctx, t, it, by, func(d *document) error {
			if d.system() && !c.EmitEnabled {
				return &StateError{"a system projection does nothing but emit; disable it instead"}
			}
			d.Config = c
			return nil
		})
	})
}

// Enable starts a projection; one that runs goes on. Errors: *NotFoundError, *StateError and those of requests to a leader; replica.ErrTimeout: unknown.
func (s *Service) Enable(ctx context.Context, name, by string) error {
	return s.change(ctx, name, func(t *term, it *item) error {
		doc := it.definition()
		if s.o.Run != All && !doc.system() {
			return &StateError{"this server runs the system's projections only: start it with --run-projections=All for custom ones"}
		}
		if status, _, _ := it.state(); doc.Enabled && (status == Running || status == Starting) {
			return nil
		}
		doc.Enabled, doc.Aborted = true, false
		if err := t.store(ctx, it, doc, by); err != nil {
			return err
		}
		it.wait(t.ctx) // one that is just ending
		it.start()
		it.settled(ctx)
		return nil
	})
}

// Disable stops a projection. With checkpoint what was handled is kept; without, the projection stops as it is, and what was not written is done again
// when it is enabled. Errors: as of Enable.
func (s *Service) Disable(ctx context.Context, name string, checkpoint bool, by string) error {
	return s.change(ctx, name, func(t *term, it *item) error {
		how := stopAtOnce
		if checkpoint {
			how = stopWithCheckpoint
		}
		it.halt(how)
		it.wait(t.ctx)
		doc := it.definition()
		doc.Enabled, doc.Aborted = false, !checkpoint
		if err := t.store(ctx, it, doc, by); err != nil {
			return err
		}
		it.become(Stopped, "")
		return nil
	})
}

// Reset has a projection forget its place and its states: when it runs, it begins at the beginning. What it wrote before is hidden stream by stream when
// it writes there again; streams noted as emitted to are hidden at once. Errors: as of Enable.
func (s *Service) Reset(ctx context.Context, name, by string) error {
	return s.change(ctx, name, func(t *term, it *item) error {
		it.halt(stopAtOnce)
		it.wait(t.ctx)
		if it.definition().TrackEmittedStreams {
			if err := t.deleteEmitted(ctx, name); err != nil {
				return err
			}
		}
		s.logger.Info("projection reset", "projection", name, "by", by)
		return paused(ctx, t, it, by, func(d *document) error {
			d.Epoch++
			d.Aborted = false
			return nil
		})
	})
}

// Deletion says what goes with a projection.
type Deletion struct {
	EmittedStreams   bool // those noted; only a projection that tracks them has any
	StateStream      bool // states of partitions, results
	CheckpointStream bool
}

// Delete removes a projection that does not run. Errors: *NotFoundError, *StateError and those of requests to a leader; replica.ErrTimeout: unknown.
func (s *Service) Delete(ctx context.Context, name string, d Deletion, by string) error {
	return s.change(ctx, name, func(t *term, it *item) error {
		doc := it.definition()
		switch status, _, _ := it.state(); {
		case doc.system():
			return &StateError{"a system projection cannot be deleted; disable it"}
		case status == Running || status == Starting || status == Stopping:
			return &StateError{"the projection runs: disable it before it is deleted"}
		}
		if doc.Mode == Transient {
			t.remove(name)
			return nil
		}
		if d.EmittedStreams {
			if err := t.deleteEmitted(ctx, name); err != nil {
				return err
			}
		}
		var more []string
		if d.StateStream {
			parts, err := t.partitionsOf(ctx, name)
			if err != nil {
				return err
			}
			var streams []string
			for _, part := range parts {
				streams = append(streams, stateStream(name, part), resultStream(name, part))
			}
			if err := t.deleteStreams(ctx, streams); err != nil {
				return err
			}
			more = append(more, resultStream(name, ""), partitionsStream(name))
		}
		if d.CheckpointStream {
			more = append(more, checkpointStream(name))
		}
		if d.EmittedStreams {
			more = append(more, emittedStream(name))
		}
		more, err := t.present(more)
		if err != nil {
			return err
		}
		writes := []stream.Write{
			{Stream: registryStream, Expected: t.registry, Events: []stream.Event{event(deletedType, false, []byte(name), nil)}},
			metadataWrite(definitionStream(name), []byte(softDeleted)),
		}
		for _, m := range more {
			writes = append(writes, metadataWrite(m, []byte(softDeleted)))
		}
		outcome, err := t.write(ctx, writes)
		if err != nil {
			return err
		}
		t.registry = stream.Expected(outcome.Writes[0].Last)
		t.remove(name)
		s.logger.Info("projection deleted", "projection", name, "by", by)
		return nil
	})
}

// softDeleted is the metadata of a deleted stream.
const softDeleted = `{"$tb":9223372036854775807}`

// deleteEmitted deletes the streams a projection is noted to have emitted to.
func (t *term) deleteEmitted(ctx context.Context, name string) error {
	set, err := t.trackedStreams(ctx, name)
	if err != nil {
		return err
	}
	var list []string
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return t.deleteStreams(ctx, list)
}

// deleteStreams hides streams, many by one append; those that are not there, or gone for good, are left.
func (t *term) deleteStreams(ctx context.Context, names []string) error {
	names, err := t.present(names)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(names, deleteBatch) {
		var writes []stream.Write
		for _, name := range chunk {
			writes = append(writes, metadataWrite(name, []byte(softDeleted)))
		}
		if _, err := t.write(ctx, writes); err != nil {
			return err
		}
	}
	return nil
}

// present keeps the names of streams that can be read.
func (t *term) present(names []string) ([]string, error) {
	var there []string
	for _, name := range names {
		head, err := t.s.node.Reader().Head(name)
		if err != nil {
			return nil, err
		}
		if head.Last >= 0 && !head.Tombstoned && !head.SoftDeleted() {
			there = append(there, name)
		}
	}
	return there, nil
}

// partitionsOf are the partitions a projection has states of.
func (t *term) partitionsOf(ctx context.Context, name string) (list []string, err error) {
	_, err = t.s.node.Reader().Stream(ctx, reader.StreamQuery{Stream: partitionsStream(name), FromStart: true, Count: 1 << 62}, func(e *reader.Event) error {
		list = append(list, string(e.Data()))
		return nil
	})
	return list, unreadable(partitionsStream(name), err)
}
