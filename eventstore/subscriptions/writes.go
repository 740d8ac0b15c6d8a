package subscriptions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

const (
	checkpointType = "$SubscriptionCheckpoint"
	// parkTries is how often the parking of events is tried before they are sent again instead.
	parkTries = 5
	// parkPause is the pause between two tries.
	parkPause = 200 * time.Millisecond
	// maxParkBatch bounds the events parked by one append.
	maxParkBatch = 100
)

// writeCheckpoint appends the checkpoint at the revision this group knows. There is one at a time.
func (g *group) writeCheckpoint(ctx context.Context, at subscription.Point) error {
	name := g.key.checkpointStream()
	if !g.bounded {
		// The stream holds what is of no use but for its last event. Setting this first also revives a stream that was deleted with an earlier group.
		cmd, err := stream.NewAppend(stream.Limits{}, metadataWrite(name, configKept))
		if err != nil {
			return err
		}
		if _, err := g.t.append(ctx, cmd); err != nil {
			return err
		}
		g.bounded = true
	}
	data, err := json.Marshal(placeText(g.key, at))
	if err != nil {
		return err
	}
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: name, Expected: g.revision, Events: []stream.Event{event(checkpointType, true, data, nil)}})
	if err != nil {
		return err
	}
	outcome, err := g.t.append(ctx, cmd)
	switch {
	case errors.Is(err, replica.ErrTimeout):
		// It may or may not have been written; the next one must know.
		return errors.Join(err, g.learnRevision(ctx))
	case err != nil:
		return err
	case outcome.Kind == stream.Conflict:
		if err := g.learnRevision(ctx); err != nil {
			return err
		}
		return fmt.Errorf("somebody else wrote %q", name)
	case outcome.Kind != stream.Done:
		return fmt.Errorf("append to %q: %s %s", name, outcome.Kind, outcome.Reason)
	}
	g.revision = stream.Expected(outcome.Writes[0].Last)
	return nil
}

// learnRevision looks where the checkpoint stream stands.
func (g *group) learnRevision(ctx context.Context) error {
	st, err := g.t.s.node.Reader().Stream(ctx, reader.StreamQuery{Stream: g.key.checkpointStream(), FromEnd: true}, func(*reader.Event) error { return nil })
	if err != nil {
		return err
	}
	g.revision = stream.NoStream
	if st.Last >= 0 {
		g.revision = stream.Expected(st.Last)
	}
	return nil
}

// parkedNote is the metadata of a link to a parked event.
type parkedNote struct {
	Added                   time.Time
	Reason                  string
	SubscriptionEventNumber int64
}

// maxReasonBytes bounds what is kept of a consumer's reason.
const maxReasonBytes = 4 << 10

// writeParks writes what is to be parked, many by one append, until nothing is left.
func (g *group) writeParks() {
	for {
		g.mu.Lock()
		n := min(len(g.parks), maxParkBatch)
		if n == 0 || g.closed {
			g.writing = false
			g.mu.Unlock()
			return
		}
		batch := append([]subscription.Parking(nil), g.parks[:n]...)
		g.parks = append(g.parks[:0], g.parks[n:]...)
		g.mu.Unlock()
		err := g.park(batch)
		if err != nil && g.ctx.Err() == nil {
			g.t.s.logger.Warn("events could not be parked; they are sent again", "group", g.key.String(), "events", n, "error", err)
		}
		g.mu.Lock()
		g.parkEnd += uint64(n)
		g.parked.Broadcast()
		g.mu.Unlock()
		g.do(func(s *subscription.Group) {
			for _, p := range batch {
				s.Parked(p.Message, err == nil)
			}
		})
	}
}

// park appends links to events. The same event ids are used in every try, so that one whose outcome is unknown is not written twice.
func (g *group) park(batch []subscription.Parking) error {
	now := time.Now().UTC()
	w := stream.Write{Stream: g.key.ParkedStream(), Expected: stream.Any}
	for _, p := range batch {
		e := p.Message.Payload.(*reader.Event)
		target := e.Original()
		if p.Message.Replayed() && e.Link != nil {
			target = e // a link to the parked event, not to the link that parked it
		}
		reason := p.Reason
		if len(reason) > maxReasonBytes {
			reason = reason[:maxReasonBytes]
		}
		note, err := json.Marshal(parkedNote{now, reason, int64(p.Message.At)})
		if err != nil {
			return err
		}
		link := strconv.FormatInt(target.Revision, 10) + "@" + target.Stream
		w.Events = append(w.Events, event(stream.LinkType, false, []byte(link), note))
	}
	var last error
	for try := range parkTries {
		if try > 0 {
			pause := time.NewTimer(parkPause)
			select {
			case <-pause.C:
			case <-g.ctx.Done():
				pause.Stop()
				return g.ctx.Err()
			}
		}
		cmd, err := stream.NewAppend(stream.Limits{}, w)
		if err != nil {
			return err
		}
		outcome, err := g.t.append(g.ctx, cmd)
		switch {
		case err == nil && outcome.Kind == stream.Done:
			return nil
		case err == nil:
			last = fmt.Errorf("append to %q: %s %s", w.Stream, outcome.Kind, outcome.Reason)
		case g.ctx.Err() != nil:
			return err
		default:
			last = err
		}
	}
	return last
}

// parkedRange is what stands in the parked stream: first > last if nothing does.
func (g *group) parkedRange(ctx context.Context) (first, last int64, err error) {
	st, err := g.t.s.node.Reader().Stream(ctx, reader.StreamQuery{Stream: g.key.ParkedStream(), FromEnd: true}, func(*reader.Event) error { return nil })
	if errors.Is(err, reader.ErrStreamDeleted) {
		err = nil
	}
	return st.First, st.Last, err
}

// truncate hides the parked events below before.
func (g *group) truncate(ctx context.Context, before int64) error {
	cmd, err := stream.NewAppend(stream.Limits{}, metadataWrite(g.key.ParkedStream(), `{"$tb":`+strconv.FormatInt(before, 10)+`}`))
	if err != nil {
		return err
	}
	outcome, err := g.t.append(ctx, cmd)
	if err == nil && outcome.Kind != stream.Done {
		err = fmt.Errorf("truncate %q: %s %s", g.key.ParkedStream(), outcome.Kind, outcome.Reason)
	}
	return err
}
