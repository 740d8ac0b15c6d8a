package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/health"
)

// streamTime bounds one look at streams, and one write to one.
const streamTime = 15 * time.Second

// StreamList are the streams that the newest events of a cluster are of.
type StreamList struct {
	Streams []StreamRow `json:"streams" doc:"the last changed first"`
	Looked  int         `json:"looked" doc:"how many of the newest events were looked at, at most"`
}

// StreamRow is one stream.
type StreamRow struct {
	Name     string    `json:"name"`
	Revision Int64     `json:"revision" doc:"of its last event"`
	Type     string    `json:"type" doc:"of its last event"`
	At       time.Time `json:"at" doc:"of its last event"`
	Events   int       `json:"events" doc:"among the newest"`
}

// StreamPage is a part of a stream.
type StreamPage struct {
	Stream   string        `json:"stream"`
	Exists   bool          `json:"exists"`
	Events   []StreamEvent `json:"events" doc:"in the order asked for"`
	Metadata *EventText    `json:"metadata" doc:"the stream's own metadata; null when it has none"`
}

// TransformSchema documents which references may be null.
func (StreamPage) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "metadata")
}

// StreamEvent is one event, resolved where it was read as a link.
type StreamEvent struct {
	Stream   string     `json:"stream"`
	Revision Int64      `json:"revision"`
	ID       string     `json:"id"`
	Type     string     `json:"type"`
	At       time.Time  `json:"at"`
	JSON     bool       `json:"json" doc:"as its writer declared it"`
	Data     EventText  `json:"data"`
	Metadata EventText  `json:"metadata"`
	Link     *EventLink `json:"link" doc:"the link that was resolved"`
}

// TransformSchema documents which references may be null.
func (StreamEvent) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "link")
}

// EventText is what an event holds, for people.
type EventText struct {
	Text   string `json:"text" doc:"at most 16 KiB of it"`
	Base64 bool   `json:"base64" doc:"text is base64: it is no text"`
	Bytes  int    `json:"bytes" doc:"how many there are"`
}

// EventLink is where a link stands.
type EventLink struct {
	Stream   string `json:"stream"`
	Revision Int64  `json:"revision"`
}

// AppendRequest appends one event.
type AppendRequest struct {
	Stream string `json:"stream" minLength:"1" maxLength:"512"`
	Type   string `json:"type" minLength:"1" maxLength:"256"`
	Data   string `json:"data" maxLength:"65536" doc:"JSON"`
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// Appended tells where an event is.
type Appended struct {
	Revision Int64 `json:"revision"`
}

// StreamDeletion deletes a stream; it may be written to again.
type StreamDeletion struct {
	Stream    string `json:"stream" minLength:"1" maxLength:"512"`
	TypedName string `json:"typedName" maxLength:"512"`
	Reason    string `json:"reason,omitempty" maxLength:"1000"`
}

type (
	streamsInput struct {
		ID     string `path:"id" maxLength:"63"`
		System bool   `query:"system" doc:"also streams whose names begin with $; needs an operator"`
	}
	streamInput struct {
		ID     string `path:"id" maxLength:"63"`
		Stream string `query:"stream" required:"true" minLength:"1" maxLength:"512"`
		From   string `query:"from" pattern:"^[0-9]{0,19}$" doc:"revision; missing: the newest, or forwards the first"`
		Order  string `query:"order" enum:"newest,oldest" default:"newest"`
		Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"25"`
		Links  bool   `query:"links" doc:"resolve links"`
	}
)

func (s *Server) streamRoutes() {
	add(s, "streams", "GET", "/clusters/{id}/streams", "Streams of an event store that changed last", s.getStreams)
	add(s, "stream-events", "GET", "/clusters/{id}/streams/events", "Events of one stream", s.getStreamEvents)
	add(s, "append-event", "POST", "/clusters/{id}/streams/events", "Append one event, to try something", s.postStreamEvent)
	add(s, "delete-stream", "POST", "/clusters/{id}/streams/delete", "Delete a stream; it may be written to again", s.postStreamDelete)
}

// streamNode is the node of an event store that is asked: its leader, else any
// that answers.
func (s *Server) streamNode(cluster string) (string, error) {
	c, ok := s.Inventory.Cluster(cluster)
	if !ok {
		return "", notFoundCluster(cluster)
	}
	if c.Engine != engine.EventStore {
		return "", &Problem{Title: "This cluster has no streams", Status: 409, Code: CodeBadRequest, Detail: "its engine is " + c.Engine, Fix: "look at an event store"}
	}
	snap, _ := s.Monitor.Snapshot(cluster)
	if p := snap.Primary(); p != nil {
		return p.Name, nil
	}
	for i := range snap.Nodes {
		if n := &snap.Nodes[i]; n.Up() && n.Role() != engine.RoleUnknown {
			return n.Name, nil
		}
	}
	if asking := askingForLogin(&snap); len(asking) > 0 {
		return "", s.noLogin(cluster, asking[0])
	}
	return "", &Problem{Title: "No node answers", Status: 503, Code: CodeUnavailable, Detail: health.Judge(&snap).Sentence, Fix: "repair the cluster first", Retry: true}
}

// mayReadStream refuses system streams to people who only look: they hold users,
// access lists and settings.
func (s *Server) mayReadStream(ctx context.Context, name string) error {
	if !strings.HasPrefix(name, "$") || Role(who(ctx).Role).may(RoleOperator) {
		return nil
	}
	return &Problem{Title: "Your role does not allow this", Status: 403, Code: CodeForbidden, Detail: "streams whose names begin with $ are the system's", Fix: "ask an operator"}
}

// askStream has a node do an action on streams.
func (s *Server) askStream(ctx context.Context, cluster, action string, args map[string]string) (map[string]string, error) {
	node, err := s.streamNode(cluster)
	if err != nil {
		return nil, err
	}
	v, err := s.Executor.Ask(ctx, cluster, node, streamTime, engine.Action{Name: action, Args: args})
	var ask *executor.AskError
	if errors.As(err, &ask) && ask.Code == engine.CodeAuth { // its agent may have missed the login
		if s.Executor.SendStoreLogin(ctx, cluster, node) == nil {
			v, err = s.Executor.Ask(ctx, cluster, node, streamTime, engine.Action{Name: action, Args: args})
		}
	}
	switch {
	case errors.As(err, &ask) && ask.Code == engine.CodeAuth:
		return nil, s.noLogin(cluster, node)
	case errors.As(err, &ask) && ask.Code == engine.CodeNotOffered:
		return nil, &Problem{Title: "The event store does not offer this", Status: 409, Code: CodeNotOffered, Detail: ask.Detail, Fix: ask.Fix}
	case errors.As(err, &ask) && ask.Code == engine.CodeUnknown:
		return nil, &Problem{Title: "Whether it was done is not known", Status: 504, Code: CodeUnavailable, Detail: ask.Error(), Fix: "look before you try again"}
	case errors.As(err, &ask) && (ask.Code == engine.CodeRefused || ask.Code == engine.CodeBadAction):
		return nil, &Problem{Title: "The event store refuses it", Status: 409, Code: CodeRefused, Detail: ask.Detail, Fix: ask.Fix}
	case errors.As(err, &ask):
		return nil, &Problem{Title: "The event store did not answer as it should", Status: 502, Code: CodeUnavailable, Detail: ask.Error(), Fix: "look at the node's log", Retry: true}
	case errors.Is(err, agent.ErrNotConnected):
		return nil, &Problem{Title: "The node's agent does not answer", Status: 503, Code: CodeUnavailable, Detail: "the agent beside " + node + " has no link", Fix: "start the agent on its host", Retry: true}
	case errors.Is(err, agent.ErrOutcomeUnknown):
		return nil, &Problem{Title: "Whether it was done is not known", Status: 504, Code: CodeUnavailable, Detail: "the agent beside " + node + " did not answer in time", Fix: "look at the stream before you try again"}
	}
	return v, err
}

func (s *Server) getStreams(ctx context.Context, in *streamsInput) (*body[StreamList], error) {
	if in.System {
		if err := s.mayReadStream(ctx, "$"); err != nil {
			return nil, err
		}
	}
	v, err := s.askStream(ctx, in.ID, engine.RecentStreams, map[string]string{"system": strconv.FormatBool(in.System)})
	if err != nil {
		return nil, s.problem(ctx, in.ID, err)
	}
	var list []engine.StreamInfo
	if err := json.Unmarshal([]byte(v["streams"]), &list); err != nil {
		return nil, s.problem(ctx, in.ID, fmt.Errorf("decode the streams of %s: %w", in.ID, err))
	}
	out := StreamList{Streams: []StreamRow{}, Looked: engine.RecentEvents}
	for _, x := range list {
		out.Streams = append(out.Streams, StreamRow{x.Name, Int64(x.Revision), x.Type, x.At, x.Events})
	}
	return &body[StreamList]{out}, nil
}

func (s *Server) page(ctx context.Context, cluster, stream, from string, backwards, links bool, limit int) (engine.EventPage, error) {
	var p engine.EventPage
	v, err := s.askStream(ctx, cluster, engine.ReadEvents, map[string]string{"stream": stream, "from": from,
		"backwards": strconv.FormatBool(backwards), "links": strconv.FormatBool(links), "count": strconv.Itoa(limit)})
	if err == nil {
		err = json.Unmarshal([]byte(v["page"]), &p)
	}
	return p, err
}

func (s *Server) getStreamEvents(ctx context.Context, in *streamInput) (*body[StreamPage], error) {
	if err := s.mayReadStream(ctx, in.Stream); err != nil {
		return nil, err
	}
	p, err := s.page(ctx, in.ID, in.Stream, in.From, in.Order != "oldest", in.Links, in.Limit)
	if err != nil {
		return nil, s.problem(ctx, in.ID, err)
	}
	out := StreamPage{Stream: in.Stream, Exists: p.Exists, Events: []StreamEvent{}}
	for _, e := range p.Events {
		if s.mayReadStream(ctx, e.Stream) != nil {
			continue // a link must not show what may not be read
		}
		v := StreamEvent{Stream: e.Stream, Revision: Int64(e.Revision), ID: e.ID, Type: e.Type, At: e.At, JSON: e.JSON, Data: EventText(e.Data), Metadata: EventText(e.Metadata)}
		if e.Link != nil {
			v.Link = &EventLink{e.Link.Stream, Int64(e.Link.Revision)}
		}
		out.Events = append(out.Events, v)
	}
	if !strings.HasPrefix(in.Stream, "$$") {
		about, err := s.page(ctx, in.ID, "$$"+in.Stream, "", true, false, 1)
		if err != nil {
			return nil, s.problem(ctx, in.ID, err)
		}
		if len(about.Events) == 1 {
			text := EventText(about.Events[0].Data)
			out.Metadata = &text
		}
	}
	return &body[StreamPage]{out}, nil
}

func (s *Server) postStreamEvent(ctx context.Context, in *clusterBody[AppendRequest]) (*body[Appended], error) {
	what := "tried to append to stream " + printable(in.Body.Stream)
	if strings.HasPrefix(in.Body.Stream, "$") {
		return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "The stream is the system's", Status: 409, Code: CodeRefused, Detail: "streams whose names begin with $ are written by the event store",
			Fix: "append to a stream of your own"})
	}
	if !json.Valid([]byte(in.Body.Data)) {
		return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "The data is not JSON", Status: 422, Code: CodeBadRequest, Detail: "it does not decode", Fix: `write a value such as {"total": 3}`})
	}
	v, err := s.askStream(ctx, in.ID, engine.AppendEvent, map[string]string{"stream": in.Body.Stream, "type": in.Body.Type, "data": in.Body.Data})
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	revision, err := strconv.ParseInt(v["revision"], 10, 64)
	if err != nil {
		return nil, s.problem(ctx, in.ID, fmt.Errorf("decode the revision %q: %w", v["revision"], err))
	}
	s.record(ctx, audit.Record{Cluster: in.ID, Kind: "stream", What: fmt.Sprintf("appended an event of type %s to stream %s, revision %d", printable(in.Body.Type), printable(in.Body.Stream), revision),
		Outcome: audit.Done, Detail: in.Body.Reason})
	return &body[Appended]{Appended{Int64(revision)}}, nil
}

func (s *Server) postStreamDelete(ctx context.Context, in *clusterBody[StreamDeletion]) (*body[Done], error) {
	what := "tried to delete stream " + printable(in.Body.Stream)
	switch {
	case in.Body.TypedName != in.Body.Stream:
		return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "The typed name does not match", Status: 422, Code: CodeTypedName, Detail: "what was typed is not the stream's name", Fix: "type the name exactly"})
	case strings.HasPrefix(in.Body.Stream, "$"):
		return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "The stream is the system's", Status: 409, Code: CodeRefused, Detail: "streams whose names begin with $ stay", Fix: "delete a stream of your own"})
	}
	if _, err := s.askStream(ctx, in.ID, engine.DeleteStream, map[string]string{"stream": in.Body.Stream}); err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	s.record(ctx, audit.Record{Cluster: in.ID, Kind: "stream", What: "deleted stream " + printable(in.Body.Stream), Outcome: audit.Done, Detail: in.Body.Reason})
	return &body[Done]{Done{"Stream " + in.Body.Stream + " is deleted; its events are gone for readers, and it may be written to again"}}, nil
}
