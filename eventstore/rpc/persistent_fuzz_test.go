package rpc

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"baton/eventstore/reader"
	"baton/eventstore/subscriptions"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"
)

// Goal: no bytes that a client may send make the parsers of persistent subscriptions panic, and what they accept can be used.
func FuzzPersistentRequests(f *testing.F) {
	add := func(kind byte, m proto.Message) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, b)
	}
	id := &client.StreamIdentifier{StreamName: []byte("orders")}
	create := &persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: "g", StreamIdentifier: id,
		Settings: &persistent.CreateReq_Settings{HistoryBufferSize: 500, ReadBatchSize: 20, Revision: 1<<64 - 1, ConsumerStrategy: "Pinned"}}}
	add(0, create)
	add(0, &persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: "g", Settings: create.Options.Settings,
		StreamOption: &persistent.CreateReq_Options_All{All: &persistent.CreateReq_AllOptions{
			AllOption: &persistent.CreateReq_AllOptions_Position{Position: &persistent.CreateReq_Position{CommitPosition: 7, PreparePosition: 7}},
			FilterOption: &persistent.CreateReq_AllOptions_Filter{Filter: &persistent.CreateReq_AllOptions_FilterOptions{
				Filter: &persistent.CreateReq_AllOptions_FilterOptions_EventType{EventType: &persistent.CreateReq_AllOptions_FilterOptions_Expression{Regex: "^a"}}}}}}}})
	add(1, &persistent.UpdateReq{Options: &persistent.UpdateReq_Options{GroupName: "g", StreamIdentifier: id, Settings: &persistent.UpdateReq_Settings{
		MessageTimeout: &persistent.UpdateReq_Settings_MessageTimeoutTicks{MessageTimeoutTicks: 1 << 62}}}})
	add(2, &persistent.ReadReq{Content: &persistent.ReadReq_Options_{Options: &persistent.ReadReq_Options{GroupName: "g", BufferSize: 10,
		StreamOption: &persistent.ReadReq_Options_StreamIdentifier{StreamIdentifier: id}}}})
	add(2, &persistent.ReadReq{Content: &persistent.ReadReq_Nack_{Nack: &persistent.ReadReq_Nack{Action: 9, Ids: []*client.UUID{
		{Value: &client.UUID_String_{String_: "00000000-0000-0000-0000-000000000001"}}, {Value: &client.UUID_Structured_{Structured: &client.UUID_Structured{MostSignificantBits: -1}}}}}}})
	add(3, &persistent.ListReq{Options: &persistent.ListReq_Options{ListOption: &persistent.ListReq_Options_ListForStream{
		ListForStream: &persistent.ListReq_StreamOption{StreamOption: &persistent.ListReq_StreamOption_Stream{Stream: id}}}}})
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		var k subscriptions.Key
		var err error
		switch kind % 4 {
		case 0:
			req := &persistent.CreateReq{}
			if proto.Unmarshal(b, req) != nil {
				return
			}
			var c subscriptions.Config
			if k, c, err = parseCreate(req); err == nil {
				_ = c.Settings.Check()
			}
		case 1:
			req := &persistent.UpdateReq{}
			if proto.Unmarshal(b, req) != nil {
				return
			}
			k, _, err = parseUpdate(req)
		case 2:
			req := &persistent.ReadReq{}
			if proto.Unmarshal(b, req) != nil {
				return
			}
			_, _ = eventIDs(nil, req.GetAck().GetIds())
			_, _ = eventIDs(nil, req.GetNack().GetIds())
			var w wishes
			if w, err = parseConsume(req); err == nil && w.slots < 0 {
				t.Fatalf("%d slots", w.slots)
			}
			k = w.key
		case 3:
			req := &persistent.ListReq{}
			if proto.Unmarshal(b, req) != nil {
				return
			}
			_, _ = parseList(req)
			return
		}
		if err == nil && (k.Stream == "" || k.Group == "") {
			t.Fatalf("accepted without a name: %+v", k)
		}
	})
}

// Goal: what consumers are sent by hand is what the generated code reads: the event, its link, the position and the retries.
func FuzzDeliveries(f *testing.F) {
	f.Add("stream", int64(3), uint64(1<<40), 0, true, true, false)
	f.Add("", int64(1<<62), uint64(1), 300, false, false, true)
	f.Fuzz(func(t *testing.T, name string, revision int64, position uint64, retries int, textIDs, linked, unresolved bool) {
		if revision < 0 || retries < 0 || retries > 1<<30 || len(name) > 1000 {
			return
		}
		e := &reader.Event{ID: [16]byte{1, 2, 3, 255}, Stream: name, Revision: revision, Position: position, Created: 17, Unresolved: unresolved && !linked}
		if linked {
			e.Link = &reader.Event{ID: [16]byte{9}, Stream: "links", Revision: 4, Position: 5, Created: 18}
		}
		fr := &frames{textIDs: textIDs}
		if err := fr.delivery(e, retries); err != nil {
			t.Fatal(err)
		}
		defer fr.drop()
		b := *fr.block
		var m persistent.ReadResp
		if err := proto.Unmarshal(b[frameHeaderBytes:], &m); err != nil {
			t.Fatal(err)
		}
		got := m.GetEvent()
		if got.GetRetryCount() != int32(retries) || got.GetCount() == nil {
			t.Fatalf("retries %d are read as %v", retries, got.GetCount())
		}
		if want := e.Original().Position; got.GetCommitPosition() != want {
			t.Fatalf("position %d is read as %d", want, got.GetCommitPosition())
		}
		if (got.GetEvent() == nil) != e.Unresolved || (got.GetLink() == nil) != (e.Link == nil && !e.Unresolved) {
			t.Fatalf("event %v, link %v", got.GetEvent(), got.GetLink())
		}
		recorded := got.GetEvent()
		if recorded == nil {
			recorded = got.GetLink()
		}
		if string(recorded.GetStreamIdentifier().GetStreamName()) != name || recorded.GetStreamRevision() != uint64(revision) {
			t.Fatalf("read %v", recorded)
		}
	})
}
