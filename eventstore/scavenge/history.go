package scavenge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"baton/eventstore/log"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

// Streams of scavenges. The history is kept for historySeconds.
const (
	// PointsStream holds the points, each an event of type pointType.
	PointsStream = "$scavengePoints"
	// HistoryStream holds links to the first and last event of each scavenge.
	HistoryStream = "$scavenges"
	pointType     = "$scavengePoint"
	startedType   = "$scavengeStarted"
	segmentType   = "$scavengeChunksCompleted"
	completedType = "$scavengeCompleted"

	historySeconds = 30 * 24 * 60 * 60
	// noteTimeout bounds how long a line of the history may wait for a quorum.
	noteTimeout = 5 * time.Second
	// pointTimeout bounds how long a point may.
	pointTimeout = 30 * time.Second
)

// Appender carries a command out, wherever the leader is; see node.Node.Append.
type Appender func(ctx context.Context, cmd *stream.Command, requireLeader bool) (stream.Outcome, error)

// makePoint appends a scavenge point and reads it back. A read-only replica,
// which appends nothing, uses the newest one that another node made.
func (s *Scavenger) makePoint(ctx context.Context, threshold int) (Point, error) {
	ctx, cancel := context.WithTimeout(ctx, pointTimeout)
	defer cancel()
	data, err := json.Marshal(map[string]int{"threshold": threshold})
	if err != nil {
		return Point{}, err
	}
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: PointsStream, Expected: stream.Any, Events: []stream.Event{
		{ID: newEventID(), Type: pointType, JSON: true, Data: data},
	}})
	if err != nil {
		return Point{}, err
	}
	q := reader.StreamQuery{Stream: PointsStream, FromEnd: true, Backwards: true, Count: 1}
	outcome, err := s.cfg.Append(ctx, cmd, false)
	var elsewhere *replica.NotLeaderError
	switch {
	case errors.As(err, &elsewhere):
		// The newest point will do.
	case err != nil:
		return Point{}, err
	case outcome.Kind != stream.Done:
		return Point{}, fmt.Errorf("the append of the point was refused: %v", outcome.Kind)
	default:
		if err := s.cfg.Mark.Wait(ctx, outcome.Position); err != nil {
			return Point{}, fmt.Errorf("this node did not see the point at position %d in time: %w", outcome.Position, err)
		}
		q.FromEnd, q.From = false, outcome.Writes[0].First
	}
	p := Point{Threshold: threshold}
	_, err = s.cfg.Reader.Stream(ctx, q, func(e *reader.Event) error {
		p.Position, p.Number, p.Time = e.Position, e.Revision, e.Created
		return nil
	})
	if err == nil && p.Position == 0 {
		err = errors.New("there is none, and a read-only replica cannot make one; scavenge another node first")
	}
	return p, err
}

func historyStream(id string) string { return HistoryStream + "-" + id }

// noteStarted opens the history of a scavenge; it sets how long it is kept.
func (s *Scavenger) noteStarted(ctx context.Context, status Status) {
	kept := fmt.Appendf(nil, `{"$maxAge":%d}`, historySeconds)
	name := historyStream(status.ID)
	writes := []stream.Write{
		{Stream: stream.MetaStream(name), Expected: stream.NoStream, Events: []stream.Event{{ID: newEventID(), Type: stream.MetadataType, JSON: true, Data: kept}}},
		{Stream: name, Expected: stream.NoStream, Events: []stream.Event{s.line(startedType, map[string]any{
			"scavengeId": status.ID, "nodeEndpoint": s.cfg.Name, "startFromChunk": status.Options.StartFrom,
			"threads": status.Options.Threads, "resumed": status.Point != nil,
		})}},
		s.link(name, 0),
	}
	if head, err := s.cfg.Heads.Peek(HistoryStream); err == nil && head.MetaLast < 0 {
		writes = append(writes, stream.Write{Stream: stream.MetaStream(HistoryStream), Expected: stream.Any,
			Events: []stream.Event{{ID: newEventID(), Type: stream.MetadataType, JSON: true, Data: kept}}})
	}
	s.note(ctx, writes)
}

func (s *Scavenger) noteSegment(ctx context.Context, id string, info log.SegmentInfo, r Removed, took time.Duration) {
	s.note(ctx, []stream.Write{{Stream: historyStream(id), Expected: stream.Any, Events: []stream.Event{s.line(segmentType, map[string]any{
		"scavengeId": id, "nodeEndpoint": s.cfg.Name, "chunkStartPosition": info.Base, "chunkEndPosition": info.End,
		"wasScavenged": true, "removedEvents": r.Events, "removedIndexRows": r.Rows, "spaceSaved": r.Before - r.After, "timeTaken": took.String(),
	})}}})
}

// noteCompleted closes the history. The run may have been stopped: it has its
// own time.
func (s *Scavenger) noteCompleted(status Status, took time.Duration) {
	name := historyStream(status.ID)
	s.note(s.ctx, []stream.Write{{Stream: name, Expected: stream.Any, Events: []stream.Event{s.line(completedType, map[string]any{
		"scavengeId": status.ID, "nodeEndpoint": s.cfg.Name, "result": status.Result, "error": status.Error,
		"chunks": status.Segments, "rewritten": status.Rewritten, "removedEvents": status.Events, "spaceSaved": status.Saved, "timeTaken": took.String(),
	})}}, s.link(name, -1)})
}

func (s *Scavenger) line(typ string, data map[string]any) stream.Event {
	b, err := json.Marshal(data)
	if err != nil {
		panic("scavenge: encode history: " + err.Error()) // texts and numbers
	}
	return stream.Event{ID: newEventID(), Type: typ, JSON: true, Data: b}
}

// link is a write to the history of all scavenges that links to an event of one;
// -1 stands for the next event of it.
func (s *Scavenger) link(name string, revision int64) stream.Write {
	if revision < 0 {
		if head, err := s.cfg.Heads.Peek(name); err == nil {
			revision = head.Last + 1
		}
	}
	return stream.Write{Stream: HistoryStream, Expected: stream.Any, Events: []stream.Event{
		{ID: newEventID(), Type: stream.LinkType, Data: fmt.Appendf(nil, "%d@%s", revision, name)},
	}}
}

// note appends to the history. A scavenge does not depend on it: without a
// quorum, or on a read-only replica, the lines are in the log file only.
func (s *Scavenger) note(ctx context.Context, writes []stream.Write) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	cmd, err := stream.NewMultiAppend(stream.Limits{}, writes, nil)
	if err == nil {
		_, err = s.cfg.Append(ctx, cmd, false)
	}
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Info("a line of the history of scavenges was not written", "error", err)
	}
}
