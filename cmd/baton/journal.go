package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"baton/control/journal"
	"baton/eventstore/node"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
)

// nodeJournal is the control plane's journal on an embedded event-store node:
// what the control plane remembers is kept by the very engine it manages.
type nodeJournal struct{ node *node.Node }

// journalSegmentBytes keeps the journal's files small: an operation is about
// 30 KiB.
const journalSegmentBytes = 8 << 20

// openJournal starts the embedded node and returns when it takes writes.
func openJournal(ctx context.Context, dir string, logger *slog.Logger) (*nodeJournal, error) {
	n, err := node.Start(node.Config{Dir: dir, IndexDir: filepath.Join(dir, "index"), Name: "journal", ClusterName: "control",
		ClusterSize: 1, PeerListen: "127.0.0.1:0", SegmentBytes: journalSegmentBytes, CacheBytes: 16 << 20, WriteTimeout: 5 * time.Second, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if n.ConfirmLeader(ctx) == nil {
			return &nodeJournal{n}, nil
		}
		select {
		case <-ctx.Done():
			n.Stop()
			return nil, fmt.Errorf("open the journal: %w", ctx.Err())
		case err := <-n.Done():
			return nil, fmt.Errorf("open the journal: %w", err)
		case <-tick.C:
		}
	}
}

// Append implements journal.Journal.
func (j *nodeJournal) Append(ctx context.Context, name string, expected int64, events ...journal.Event) (int64, error) {
	w := stream.Write{Stream: name, Expected: stream.Expected(expected)}
	for _, e := range events {
		w.Events = append(w.Events, stream.Event{ID: uuid.New(), Type: e.Type, JSON: true, Data: e.Data})
	}
	cmd, err := stream.NewAppend(stream.Limits{}, w)
	if err != nil {
		return 0, fmt.Errorf("encode events for %s: %w", name, err)
	}
	out, err := j.node.Append(ctx, cmd, false)
	switch {
	case err != nil:
		return 0, err
	case len(out.Writes) != 1:
		return 0, fmt.Errorf("append to %s: %s %s", name, out.Kind, out.Reason)
	case out.Kind == stream.Conflict:
		actual := out.Writes[0].Actual
		if actual < 0 {
			actual = journal.NoStream
		}
		return 0, &journal.ConflictError{Stream: name, Expected: expected, Actual: actual}
	case out.Kind != stream.Done:
		return 0, fmt.Errorf("append to %s: %s %s", name, out.Kind, out.Reason)
	}
	return out.Writes[0].Last, nil
}

func recorded(e *reader.Event) journal.Recorded {
	return journal.Recorded{Stream: e.Stream, Revision: e.Revision, Position: e.Position,
		At:    time.Unix(0, e.Created*100).UTC(),
		Event: journal.Event{Type: e.Type, Data: append([]byte(nil), e.Data()...)}}
}

// Read implements journal.Journal.
func (j *nodeJournal) Read(ctx context.Context, name string, from int64, max int) ([]journal.Recorded, error) {
	var out []journal.Recorded
	_, err := j.node.Reader().Stream(ctx, reader.StreamQuery{Stream: name, From: from, Count: uint64(max)}, func(e *reader.Event) error {
		out = append(out, recorded(e))
		return nil
	})
	return out, err
}

// Follow implements journal.Journal.
func (j *nodeJournal) Follow(ctx context.Context, after uint64, on func(journal.Recorded) error, caughtUp func()) error {
	return j.node.Reader().SubscribeAll(ctx, reader.AllSubscription{From: after, FromStart: after == 0}, &follower{on, caughtUp})
}

// follower hands events on; streams beginning with $ are the engine's own.
type follower struct {
	on       func(journal.Recorded) error
	caughtUp func()
}

func (f *follower) Event(e *reader.Event) error {
	if strings.HasPrefix(e.Stream, "$") {
		return nil
	}
	return f.on(recorded(e))
}

func (f *follower) Checkpoint(uint64) error { return nil }

func (f *follower) CaughtUp(int64, uint64) error {
	if f.caughtUp != nil {
		f.caughtUp()
		f.caughtUp = nil
	}
	return nil
}

// term counts the starts of the control plane over this journal: the newer
// one's orders win over what an older one left behind.
func term(ctx context.Context, j journal.Journal, now time.Time) (uint64, error) {
	for {
		rev, err := j.Append(ctx, "control", journal.Any, journal.Event{Type: "control-started", Data: []byte(fmt.Sprintf(`{"at":%q}`, now.UTC().Format(time.RFC3339Nano)))})
		var conflict *journal.ConflictError
		if errors.As(err, &conflict) {
			continue
		}
		return uint64(rev) + 1, err
	}
}
