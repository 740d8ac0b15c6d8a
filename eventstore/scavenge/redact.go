package scavenge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"baton/eventstore/log"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
)

// Errors of Redact that callers branch on.
var (
	// ErrNoEvent: the stream has no event with this revision that can be read here.
	ErrNoEvent = errors.New("no such event")
	// ErrSystemStream: what the store itself acts on is not redacted.
	ErrSystemStream = errors.New("events of system streams cannot be redacted")
	// ErrStillWritten: the event stands in the segment being written, and this node
	// is a read-only replica, which cannot end it.
	ErrStillWritten = errors.New("the event stands in the part of the log that is being written")
)

// Redact overwrites the data and the metadata of one event with zeros in this
// node's log; its id, type, length, revision and position stay. It cannot be
// undone, and every node is to be told. Done again it changes nothing. The segment
// being written is ended first if the event stands in it. Errors: ErrNoEvent,
// ErrSystemStream, ErrStillWritten, those of Appender, the disk's, the context's.
func (s *Scavenger) Redact(ctx context.Context, name string, revision int64) (position uint64, err error) {
	if strings.HasPrefix(name, "$") {
		return 0, ErrSystemStream
	}
	_, err = s.cfg.Reader.Stream(ctx, reader.StreamQuery{Stream: name, From: revision, Count: 1}, func(e *reader.Event) error {
		if e.Revision == revision {
			position = e.Position
		}
		return nil
	})
	if err != nil && !errors.Is(err, reader.ErrStreamDeleted) {
		return 0, err
	}
	if position == 0 {
		return 0, fmt.Errorf("%w: revision %d of %q", ErrNoEvent, revision, name)
	}
	segment := segmentOf(s.cfg.Log, position)
	if !segment.Closed {
		if err := s.mark(ctx); err != nil {
			return position, err
		}
		segment = segmentOf(s.cfg.Log, position)
	}
	s.work.Lock()
	defer s.work.Unlock()
	found := false
	_, err = s.cfg.Log.Rewrite(segment.Base, s.cfg.Mark.Applied(), func(f log.Frame) (bool, error) {
		if f.Type != normalEntry || position < f.Pos || position >= f.End() {
			return false, ctx.Err()
		}
		found, err = stream.Redact(f.Data, f.Pos+log.FrameHeaderBytes, position)
		return found, err
	}, nil)
	switch {
	case errors.Is(err, log.ErrNotRewritable):
		return position, fmt.Errorf("%w: position %d", ErrStillWritten, position)
	case err != nil:
		return position, fmt.Errorf("redact revision %d of %q: %w", revision, name, err)
	case !found:
		return position, fmt.Errorf("%w: revision %d of %q was removed meanwhile", ErrNoEvent, revision, name)
	}
	s.cfg.Logger.Warn("an event was redacted on this node", "stream", name, "revision", revision, "position", position)
	return position, nil
}
