package projections

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"baton/eventstore/projection"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
)

// filterWindow is how many events of the log are examined between two notes of the place, where most are not for the projection.
const filterWindow = 1000

// singleStream is the stream that a projection of one stream reads; empty for one that follows the log.
func singleStream(d *projection.Definition) string {
	if !d.All && len(d.Categories) == 0 && len(d.Streams) == 1 {
		return d.Streams[0]
	}
	return ""
}

// follow reads the source from where the run stands until the context ends or the program cannot go on. Several streams and categories are read in the
// order of the log.
func (r *run) follow(ctx context.Context) error {
	var allow reader.Allow
	if a := r.t.s.o.Access; a != nil && r.doc.RunAs != nil {
		allow = a.VisibleTo(r.doc.RunAs.Name)
	}
	rd := r.t.s.node.Reader()
	if r.single != "" {
		q := reader.StreamSubscription{Stream: r.single, From: r.at.rev, FromStart: r.at.rev < 0, ResolveLinks: true, Allow: allow}
		err := rd.SubscribeStream(ctx, q, r)
		switch {
		case errors.Is(err, reader.ErrForbidden):
			return &StateError{"user " + r.doc.RunAs.Name + ", in whose name the projection runs, may not read stream " + r.single}
		case errors.Is(err, reader.ErrStreamDeleted):
			if r.doc.Mode != Continuous {
				return errCompleted
			}
			r.begun()
			<-ctx.Done() // nothing can come any more
			return ctx.Err()
		}
		return err
	}
	filter, err := r.filter()
	if err != nil {
		return err
	}
	links := !r.raw && (r.def.Links || len(r.def.Streams) > 0)
	return rd.SubscribeAll(ctx, reader.AllSubscription{From: r.at.pos, FromStart: r.at.pos == 0, Near: true, Filter: filter, ResolveLinks: links, Allow: allow}, r)
}

// filter leaves out what certainly is not for the projection; nil: nothing.
func (r *run) filter() (*reader.Filter, error) {
	spec := reader.FilterSpec{Window: filterWindow, CheckpointMultiplier: 1}
	switch {
	case r.raw:
		return nil, nil
	case len(r.def.Streams) > 0 || len(r.def.Categories) > 0:
		spec.Prefixes = slices.Clone(r.def.Streams)
		for _, c := range r.def.Categories {
			spec.Prefixes = append(spec.Prefixes, c+"-")
		}
		if r.def.DeletedNotices {
			for _, p := range slices.Clone(spec.Prefixes) {
				spec.Prefixes = append(spec.Prefixes, stream.MetaStream(p))
			}
		}
	case len(r.def.EventTypes) > 0:
		spec.ByType, spec.Prefixes = true, slices.Clone(r.def.EventTypes)
		if r.def.Links {
			spec.Prefixes = append(spec.Prefixes, stream.LinkType)
		}
		if r.def.DeletedNotices {
			spec.Prefixes = append(spec.Prefixes, stream.TombstoneType, stream.MetadataType)
		}
	default:
		return nil, nil
	}
	return reader.NewFilter(spec)
}

// Event takes one event of the source.
func (r *run) Event(e *reader.Event) error {
	o := e.Original()
	at := place{pos: o.Position, rev: o.Revision}
	if at.rev <= r.at.rev && r.single != "" || at.pos <= r.at.pos && r.single == "" {
		return nil // only this goroutine moves it
	}
	r.idle.Store(false)
	ev, ok := r.convert(e, o)
	if !ok {
		r.mu.Lock()
		r.at = at
		r.mu.Unlock()
		return r.passed(at)
	}
	return r.handle(ev, at, behind(o.ID, o.Metadata(), r.raw))
}

// convert judges whether an event is for the projection and makes what its program is fed. The bytes stay the reader's.
func (r *run) convert(e, o *reader.Event) (ev projection.Event, ok bool) {
	own := len(o.Metadata()) > 0 && bytes.Contains(o.Metadata(), r.own)
	if r.raw {
		if own || projection.Housekeeping(o.Stream) {
			return ev, false
		}
		return r.fill(e, o), true
	}
	named := slices.Contains(r.def.Streams, o.Stream)
	switch {
	case own:
		return ev, false // what it wrote itself would come back for ever
	case e.Type == stream.LinkType:
		return ev, false // a link to nothing that can be read
	case e.Link != nil && !r.def.Links && !named:
		return ev, false
	case !named && projection.Housekeeping(o.Stream):
		return ev, false
	}
	ev = r.fill(e, o)
	if r.def.DeletedNotices {
		if name, ended := projection.Deleted(ev); ended {
			ev.Stream, ev.Type, ev.Category = name, projection.DeletedType, category(name)
			return ev, r.reads(name)
		}
	}
	if len(r.def.EventTypes) > 0 && !slices.Contains(r.def.EventTypes, e.Type) {
		return ev, false
	}
	return ev, r.reads(o.Stream)
}

// reads says whether a stream belongs to the source.
func (r *run) reads(name string) bool {
	if r.def.All || slices.Contains(r.def.Streams, name) {
		return true
	}
	c := category(name)
	return c != "" && slices.Contains(r.def.Categories, c)
}

// category is what stands before the first dash of a stream's name; empty without one and for system streams.
func category(name string) string {
	if strings.HasPrefix(name, "$") {
		return ""
	}
	at := strings.IndexByte(name, '-')
	return name[:max(at, 0)]
}

func (r *run) fill(e, o *reader.Event) projection.Event {
	ev := projection.Event{
		Stream: e.Stream, Revision: e.Revision, Type: e.Type, ID: uuid.UUID(e.ID).String(), Position: int64(e.Position), Created: time.Unix(0, e.Created*100),
		JSON: e.JSON, Data: e.Data(), Metadata: e.Metadata(), Category: category(e.Stream),
	}
	if e.Link != nil {
		ev.LinkMetadata = o.Metadata()
	}
	return ev
}

// Checkpoint notes how far the log was examined.
func (r *run) Checkpoint(pos uint64) error {
	r.mu.Lock()
	at := r.at
	at.pos = max(at.pos, pos)
	r.at = at
	r.mu.Unlock()
	return r.passed(at)
}

// Flush comes when everything there is was looked at.
func (r *run) Flush() error {
	r.idle.Store(true)
	return nil
}

// CaughtUp ends projections that only want what there was.
func (r *run) CaughtUp(rev int64, pos uint64) error {
	r.begun()
	r.mu.Lock()
	r.at.rev, r.at.pos = max(r.at.rev, rev), max(r.at.pos, pos)
	r.mu.Unlock()
	if r.doc.Mode != Continuous {
		return errCompleted
	}
	return nil
}
