package subscriptions

import (
	"bytes"
	"encoding/json"
	"strings"

	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

// message makes what the state holds of an event: a copy, for the reader's memory is lent.
func (g *group) message(e *reader.Event, at subscription.Point) *subscription.Message {
	m := &subscription.Message{ID: e.Original().ID, At: at}
	switch subscription.Strategy(g.entry.Strategy) {
	case subscription.PinnedByCorrelation:
		if m.Key = correlation(e); m.Key == "" {
			m.Key = source(e)
		}
	case subscription.Pinned:
		m.Key = source(e)
	}
	kept := keep(e)
	m.Bytes = size(kept)
	m.Payload = kept
	return m
}

// keep copies what is sent of an event. The data and metadata views are left behind: they would hold the memory they point into.
func keep(e *reader.Event) *reader.Event {
	k := &reader.Event{
		ID: e.ID, Stream: e.Stream, Revision: e.Revision, Position: e.Position, Created: e.Created, Type: e.Type, JSON: e.JSON,
		Body: bytes.Clone(e.Body), Unresolved: e.Unresolved,
	}
	if e.Link != nil {
		k.Link = keep(e.Link)
	}
	return k
}

func size(e *reader.Event) int {
	n := len(e.Body) + len(e.Stream) + len(e.Type)
	if e.Link != nil {
		n += size(e.Link)
	}
	return n
}

// source is the stream an event came from: a link's target also when it is not resolved.
func source(e *reader.Event) string {
	if e.Type == stream.LinkType {
		if _, name, ok := strings.Cut(string(e.Data()), "@"); ok {
			return name
		}
	}
	return e.Stream
}

// correlation is the event's correlation id; empty if it has none.
func correlation(e *reader.Event) string {
	if len(e.Metadata()) == 0 || e.Metadata()[0] != '{' {
		return ""
	}
	var m struct {
		ID string `json:"$correlationId"`
	}
	if json.Unmarshal(e.Metadata(), &m) != nil {
		return ""
	}
	return m.ID
}
