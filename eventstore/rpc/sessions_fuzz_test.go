package rpc

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"baton/eventstore/projections"
	"baton/eventstore/stream"
	projectionspb "baton/gen/eventstore/projections"
	v2 "baton/gen/kurrent/streams"
)

// Goal: no requests of a session make the builder of its writes panic; what it accepts is within the limits and a command that can be read again, and what
// it refuses is told in words.
func FuzzSessionRequests(f *testing.F) {
	name, other, kind, expected, odd := "orders", "ORDERS", "order.placed", int64(3), int64(-3)
	format, unknown := v2.SchemaFormat_SCHEMA_FORMAT_JSON, v2.SchemaFormat(77)
	record := func(edit func(*v2.AppendRecord)) *v2.AppendRecord {
		r := &v2.AppendRecord{Data: []byte("{}"), Schema: &v2.SchemaInfo{Name: &kind, Format: &format}}
		if edit != nil {
			edit(r)
		}
		return r
	}
	one := encodedOf(f, &v2.AppendRequest{Stream: &name, ExpectedRevision: &expected, Records: []*v2.AppendRecord{record(nil), record(nil)}})
	f.Add(one, encodedOf(f, &v2.AppendRequest{Stream: &other, Records: []*v2.AppendRecord{record(nil)}}))
	f.Add(one, encodedOf(f, &v2.AppendRequest{Stream: &name, ExpectedRevision: &odd}))
	f.Add(one[:len(one)-3], []byte{})
	f.Add([]byte{}, encodedOf(f, &v2.AppendRequest{Stream: &name, Records: []*v2.AppendRecord{
		record(func(r *v2.AppendRecord) { r.Data = make([]byte, 70_000) })}}))
	f.Add(one, encodedOf(f, &v2.AppendRequest{Records: []*v2.AppendRecord{record(func(r *v2.AppendRecord) { r.Schema.Format = &unknown }), {}}}))
	s := sessionsService{Server: &Server{access: &Access{}, limits: stream.Limits{MaxEventBytes: 1 << 16, MaxAppendBytes: 1 << 18}}}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var writes []stream.Write
		total, seen := 0, map[string]bool{}
		for _, b := range [][]byte{first, second} {
			req := &v2.AppendRequest{}
			if proto.Unmarshal(b, req) != nil {
				return
			}
			w, err := s.sessionWrite(context.Background(), req, seen, &total)
			if err != nil {
				if _, known := rich("AppendSession", err); !known || err.Error() == "" {
					t.Fatalf("refused without words for clients: %v", err)
				}
				return
			}
			if w.Stream == "" || len(w.Events) != len(req.GetRecords()) {
				t.Fatalf("accepted: %d of %d records for stream %q", len(w.Events), len(req.GetRecords()), w.Stream)
			}
			writes = append(writes, w)
		}
		if total > s.limits.MaxAppendBytes {
			t.Fatalf("%d bytes are accepted", total)
		}
		cmd, err := stream.NewMultiAppend(s.limits, writes, nil)
		if err != nil {
			return
		}
		if _, err := stream.ParseCommand(cmd.Bytes()); err != nil {
			t.Fatal(err)
		}
	})
}

// Goal: what is made of a request for a projection says how long it lives; anything else is refused as the client's mistake.
func FuzzProjectionRequest(f *testing.F) {
	add := func(o *projectionspb.CreateReq_Options) { f.Add(encodedOf(f, &projectionspb.CreateReq{Options: o})) }
	add(&projectionspb.CreateReq_Options{Query: "fromAll()", EngineVersion: 2,
		Mode: &projectionspb.CreateReq_Options_Continuous_{Continuous: &projectionspb.CreateReq_Options_Continuous{Name: "p", EmitEnabled: true, TrackEmittedStreams: true}}})
	add(&projectionspb.CreateReq_Options{Query: "fromAll()", EngineVersion: -9, Mode: &projectionspb.CreateReq_Options_Transient_{}})
	add(nil)
	f.Add([]byte{10, 200, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		req := &projectionspb.CreateReq{}
		if proto.Unmarshal(b, req) != nil {
			return
		}
		w, err := parseProjection(req.GetOptions())
		var bad *refusal
		switch {
		case err == nil && w.Mode != projections.OneTime && w.Mode != projections.Transient && w.Mode != projections.Continuous:
			t.Fatalf("accepted: %+v", w)
		case err != nil && !errors.As(err, &bad):
			t.Fatalf("refused with %v", err)
		}
	})
}
