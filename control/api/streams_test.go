package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/platform/auth"
)

// storeSite is a site with an event store "events" of one node, e, whose agent answers about streams from a table.
func storeSite(t *testing.T) (s *site, asked func() []engine.Action) {
	s = newSite(t)
	var mu sync.Mutex
	var all []engine.Action
	values := func(name string, v any) agent.Result {
		b, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		return agent.Result{Values: map[string]string{name: string(b)}}
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	answer := func(o agent.Order) agent.Result {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, o.Action)
		stream := o.Action.Arg("stream")
		switch o.Action.Name {
		case engine.RecentStreams:
			return values("streams", []engine.StreamInfo{{Name: "order-1", Revision: 9007199254740993, Type: "placed", At: at, Events: 3}})
		case engine.ReadEvents:
			switch stream {
			case "$$order-1":
				return values("page", engine.EventPage{Exists: true, Events: []engine.StreamEvent{{Stream: stream, Data: engine.EventText{Text: `{"$maxCount":5}`, Bytes: 15}}}})
			case "mixed":
				return values("page", engine.EventPage{Exists: true, Events: []engine.StreamEvent{
					{Stream: "order-1", Revision: 4, Type: "placed", At: at, JSON: true, Data: engine.EventText{Text: "{}", Bytes: 2}, Link: &engine.StreamLink{Stream: "mixed", Revision: 1}},
					{Stream: "$users", Revision: 0, Type: "secret", At: at, Link: &engine.StreamLink{Stream: "mixed"}}}})
			}
			return values("page", engine.EventPage{Events: []engine.StreamEvent{}})
		case engine.AppendEvent:
			return agent.Result{Values: map[string]string{"revision": "7"}}
		case engine.DeleteStream:
			if stream == "gone" {
				return agent.Result{Code: engine.CodeRefused, Detail: "there is no such stream"}
			}
		}
		return agent.Result{}
	}
	s.agents.mu.Lock()
	s.agents.answer = answer
	s.agents.more = []agent.InstanceReport{{Cluster: "events", Node: "e", Engine: engine.EventStore, Address: "127.0.0.1:7020",
		Observation: &engine.Observation{Cluster: "events", Node: "e", Engine: engine.EventStore, Up: true, Role: engine.RolePrimary, Term: 1, LinkUp: true}}}
	s.agents.mu.Unlock()
	if err := s.inv.Register(t.Context(), inventory.Spec{ID: "events", Engine: engine.EventStore, Members: []inventory.Member{{Name: "e", Address: "127.0.0.1:7020"}}}); err != nil {
		t.Fatal(err)
	}
	s.eventually("the event store is seen", func() bool {
		snap, ok := s.srv.Monitor.Snapshot("events")
		return ok && snap.Primary() != nil
	})
	s.srv.Tokens = append(s.srv.Tokens, APIToken{Name: "root", Role: RoleAdmin, Hash: auth.HashSecret("root-token"), Source: "cli"})
	return s, func() []engine.Action { mu.Lock(); defer mu.Unlock(); return append([]engine.Action(nil), all...) }
}

// TestStreamsAreReadByRole: everybody reads people's streams, only operators the system's; also not through a link.
func TestStreamsAreReadByRole(t *testing.T) {
	s, _ := storeSite(t)
	list := get[StreamList](s, "GET", "/clusters/events/streams", nil, viewer)
	if len(list.Streams) != 1 || list.Streams[0].Name != "order-1" || list.Streams[0].Revision != 9007199254740993 {
		t.Errorf("streams %+v", list)
	}
	s.refused(403, CodeForbidden, "GET", "/clusters/events/streams?system=true", nil, viewer)
	get[StreamList](s, "GET", "/clusters/events/streams?system=true", nil, operator)
	for _, name := range []string{"%24users", "%24%24order-1"} {
		s.refused(403, CodeForbidden, "GET", "/clusters/events/streams/events?stream="+name, nil, viewer)
		get[StreamPage](s, "GET", "/clusters/events/streams/events?stream="+name, nil, operator)
	}
	mixed := get[StreamPage](s, "GET", "/clusters/events/streams/events?stream=mixed&links=true", nil, viewer)
	if len(mixed.Events) != 1 || mixed.Events[0].Link == nil || mixed.Events[0].Link.Revision != 1 || mixed.Events[0].Stream != "order-1" {
		t.Errorf("a viewer sees %+v", mixed.Events)
	}
	if mixed = get[StreamPage](s, "GET", "/clusters/events/streams/events?stream=mixed&links=true", nil, operator); len(mixed.Events) != 2 {
		t.Errorf("an operator sees %+v", mixed.Events)
	}
	page := get[StreamPage](s, "GET", "/clusters/events/streams/events?stream=order-1&order=oldest&from=3&limit=10", nil, viewer)
	if page.Exists || page.Metadata == nil || page.Metadata.Text != `{"$maxCount":5}` {
		t.Errorf("page %+v", page)
	}
	s.refused(422, CodeBadRequest, "GET", "/clusters/events/streams/events?stream=x&limit=101", nil, viewer)
	s.refused(409, CodeBadRequest, "GET", "/clusters/c/streams", nil, viewer)
	s.refused(404, CodeUnknownCluster, "GET", "/clusters/nope/streams", nil, viewer)
}

// TestWritesToStreamsAreConfirmedAndAudited: appending needs an operator and JSON, deleting an admin and the typed name;
// what was done and what was refused is audited, without the event's data.
func TestWritesToStreamsAreConfirmedAndAudited(t *testing.T) {
	s, asked := storeSite(t)
	event := map[string]string{"stream": "order-1", "type": "tried", "data": `{"card":"4111"}`, "reason": "a drill"}
	s.refused(403, CodeForbidden, "POST", "/clusters/events/streams/events", event, viewer)
	if got := get[Appended](s, "POST", "/clusters/events/streams/events", event, operator); got.Revision != 7 {
		t.Errorf("appended at %d", got.Revision)
	}
	s.refused(422, CodeBadRequest, "POST", "/clusters/events/streams/events", map[string]string{"stream": "a", "type": "t", "data": "{"}, operator)
	s.refused(409, CodeRefused, "POST", "/clusters/events/streams/events", map[string]string{"stream": "$settings", "type": "t", "data": "{}"}, operator)
	s.refused(403, CodeForbidden, "POST", "/clusters/events/streams/delete", map[string]string{"stream": "order-1", "typedName": "order-1"}, operator)
	root := func(r *http.Request) { r.Header.Set("Authorization", "Bearer root-token") }
	s.refused(422, CodeTypedName, "POST", "/clusters/events/streams/delete", map[string]string{"stream": "order-1", "typedName": "order-2"}, root)
	s.refused(409, CodeRefused, "POST", "/clusters/events/streams/delete", map[string]string{"stream": "gone", "typedName": "gone"}, root)
	s.refused(409, CodeRefused, "POST", "/clusters/events/streams/delete", map[string]string{"stream": "$settings", "typedName": "$settings"}, root)
	get[Done](s, "POST", "/clusters/events/streams/delete", map[string]string{"stream": "order-1", "typedName": "order-1"}, root)
	deleted := 0
	for _, a := range asked() {
		if a.Name == engine.DeleteStream {
			deleted++
		}
	}
	if deleted != 2 {
		t.Errorf("%d deletions reached the node", deleted)
	}
	s.eventually("it is audited", func() bool {
		records, _ := s.inv.Audit("events", 0, 100)
		done, refused := 0, 0
		for _, r := range records {
			if strings.Contains(r.What+r.Detail, "4111") {
				t.Errorf("an event's data are in the audit: %+v", r)
			}
			switch r.Outcome {
			case audit.Done:
				done++
			case audit.Refused:
				refused++
			}
		}
		return done == 2 && refused == 7
	})
}
