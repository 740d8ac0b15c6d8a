package engine

import "time"

// Event-store actions on streams, for people who look at one: bounded, and not
// a way for programs.
const (
	// RecentStreams{system}: the streams that the newest events are of, from the
	// last RecentEvents of them. system "true": also those whose names begin
	// with $. Values: "streams", JSON of []StreamInfo, the last changed first.
	RecentStreams = "recent-streams"
	// ReadEvents{stream,from,backwards,count,links}: from is a revision, "" the
	// newest or, forwards, the first. links "true" resolves links. Values:
	// "page", JSON of EventPage.
	ReadEvents = "read-events"
	// AppendEvent{stream,type,data}: appends one JSON event at whatever revision
	// the stream has. Values: "revision".
	AppendEvent = "append-event"
	// DeleteStream{stream}: the stream is deleted; it may be written to again.
	DeleteStream = "delete-stream"
)

// Bounds of what is read of streams at once.
const (
	RecentEvents = 2000
	MaxEvents    = 100
	// MaxShownBytes of an event's data, and of its metadata, are given.
	MaxShownBytes = 16 << 10
)

// StreamInfo is a stream as the newest events show it.
type StreamInfo struct {
	Name     string    `json:"name"`
	Revision int64     `json:"revision"` // of its last event
	Type     string    `json:"type"`     // of its last event
	At       time.Time `json:"at"`       // of its last event
	Events   int       `json:"events"`   // among those that were looked at
}

// EventPage is a part of a stream.
type EventPage struct {
	Exists bool          `json:"exists"`
	Events []StreamEvent `json:"events"`
}

// StreamEvent is one event. Where a link was resolved, it is the event that the
// link names, and Link the link itself; a link that leads nowhere is shown
// itself.
type StreamEvent struct {
	Stream   string      `json:"stream"`
	Revision int64       `json:"revision"`
	ID       string      `json:"id"`
	Type     string      `json:"type"`
	At       time.Time   `json:"at"`
	JSON     bool        `json:"json"` // as its writer declared it
	Data     EventText   `json:"data"`
	Metadata EventText   `json:"metadata"`
	Link     *StreamLink `json:"link,omitempty"`
}

// StreamLink is where an event was read when it is of another stream.
type StreamLink struct {
	Stream   string `json:"stream"`
	Revision int64  `json:"revision"`
}

// EventText is bytes of an event for people.
type EventText struct {
	Text   string `json:"text"`             // at most MaxShownBytes of them
	Base64 bool   `json:"base64,omitempty"` // Text is base64: they are no text
	Bytes  int    `json:"bytes"`            // how many there are
}
