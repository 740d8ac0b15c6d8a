package rpc

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"baton/eventstore/stream"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	v2 "baton/gen/kurrent/streams"
)

func encodedOf(f *testing.F, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// Goal: no bytes that a client may send make the parser of reads panic, and what it accepts names one place to begin.
func FuzzReadRequest(f *testing.F) {
	id := &client.StreamIdentifier{StreamName: []byte("orders")}
	base := func(set func(*streams.ReadReq_Options)) []byte {
		o := &streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: 1 << 63}, UuidOption: &streams.ReadReq_Options_UUIDOption{}}
		set(o)
		return encodedOf(f, &streams.ReadReq{Options: o})
	}
	f.Add(base(func(o *streams.ReadReq_Options) {
		o.StreamOption = &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{StreamIdentifier: id,
			RevisionOption: &streams.ReadReq_Options_StreamOptions_Revision{Revision: 1<<64 - 1}}}
	}))
	f.Add(base(func(o *streams.ReadReq_Options) {
		o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
		o.StreamOption = &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Position{
			Position: &streams.ReadReq_Options_Position{CommitPosition: 7, PreparePosition: 7}}}}
		o.FilterOption = &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{CheckpointIntervalMultiplier: 1,
			Window: &streams.ReadReq_Options_FilterOptions_Max{Max: 32},
			Filter: &streams.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: &streams.ReadReq_Options_FilterOptions_Expression{Regex: "^(a+)+$"}}}}
	}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		req := &streams.ReadReq{}
		if proto.Unmarshal(b, req) != nil {
			return
		}
		r, err := parseRead(req)
		if err != nil {
			return
		}
		if !r.all && r.stream == "" || r.start && r.end || r.subscription && r.backwards || r.filter != nil && !r.all {
			t.Fatalf("accepted: %+v", r)
		}
	})
}

// Goal: no bytes make the builders of deletes panic; what they accept is a command that can be read again.
func FuzzDeleteRequest(f *testing.F) {
	id := &client.StreamIdentifier{StreamName: []byte("orders")}
	f.Add(encodedOf(f, &streams.DeleteReq{Options: &streams.DeleteReq_Options{StreamIdentifier: id, ExpectedStreamRevision: &streams.DeleteReq_Options_Revision{Revision: 1 << 63}}}))
	f.Add(encodedOf(f, &streams.DeleteReq{Options: &streams.DeleteReq_Options{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte("$$m")}}}))
	s := &Server{access: &Access{}}
	f.Fuzz(func(t *testing.T, b []byte) {
		req := &streams.DeleteReq{}
		if proto.Unmarshal(b, req) != nil {
			return
		}
		var g target
		g.name(req.GetOptions().GetStreamIdentifier())
		if r, ok := req.GetOptions().GetExpectedStreamRevision().(*streams.DeleteReq_Options_Revision); ok {
			g.revision(r.Revision)
		} else {
			g.state(stream.Any)
		}
		if g.check() != nil || s.access.write(context.Background(), g.stream) != nil {
			return
		}
		for _, build := range []func(string, stream.Expected) (*stream.Command, error){stream.NewDelete, stream.NewTombstone} {
			cmd, err := build(g.stream, g.expected)
			if err != nil {
				continue
			}
			if _, err := stream.ParseCommand(cmd.Bytes()); err != nil {
				t.Fatalf("%q: %v", g.stream, err)
			}
		}
	})
}

// Goal: no bytes make the builder of appends to many streams panic; what it accepts is a command that can be read again.
func FuzzRecordsRequest(f *testing.F) {
	name, kind, record, expected := "orders", "placed", "00000000-0000-0000-0000-000000000001", int64(-2)
	format := v2.SchemaFormat_SCHEMA_FORMAT_JSON
	f.Add(encodedOf(f, &v2.AppendRecordsRequest{Records: []*v2.AppendRecord{{Stream: &name, RecordId: &record, Data: []byte("{}"), Schema: &v2.SchemaInfo{Name: &kind, Format: &format}}},
		Checks: []*v2.ConsistencyCheck{{Type: &v2.ConsistencyCheck_StreamState{StreamState: &v2.ConsistencyCheck_StreamStateCheck{Stream: &name, ExpectedState: &expected}}}}}))
	f.Add([]byte{})
	s := sessionsService{Server: &Server{access: &Access{}, limits: stream.Limits{MaxEventBytes: 1 << 16, MaxAppendBytes: 1 << 18}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		req := &v2.AppendRecordsRequest{}
		if proto.Unmarshal(b, req) != nil {
			return
		}
		checks, err := s.checks(context.Background(), req.GetChecks())
		if err != nil {
			return
		}
		var writes []stream.Write
		total := 0
		for _, r := range req.GetRecords() {
			if s.writable(context.Background(), r.GetStream()) != nil {
				return
			}
			e, err := s.record(r.GetStream(), r, &total)
			if err != nil {
				return
			}
			writes = append(writes, stream.Write{Stream: r.GetStream(), Expected: stream.Any, Events: []stream.Event{e}})
		}
		cmd, err := stream.NewMultiAppend(s.limits, writes, checks)
		if err != nil {
			return
		}
		if _, err := stream.ParseCommand(cmd.Bytes()); err != nil {
			t.Fatal(err)
		}
	})
}
