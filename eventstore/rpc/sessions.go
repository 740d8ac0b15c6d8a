package rpc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"unicode"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"baton/eventstore/stream"
	v2 "baton/gen/kurrent/streams"
)

// sessionsService appends to several streams at once: all or nothing. It always needs the leader.
type sessionsService struct {
	v2.UnimplementedStreamsServiceServer
	*Server
}

// Property names under which a record's schema is kept among its properties.
const (
	propertySchemaName   = "$schema.name"
	propertySchemaFormat = "$schema.format"
	propertySchemaID     = "$schema.id"
)

var schemaFormats = map[v2.SchemaFormat]string{
	v2.SchemaFormat_SCHEMA_FORMAT_JSON:     "Json",
	v2.SchemaFormat_SCHEMA_FORMAT_PROTOBUF: "Protobuf",
	v2.SchemaFormat_SCHEMA_FORMAT_AVRO:     "Avro",
	v2.SchemaFormat_SCHEMA_FORMAT_BYTES:    "Bytes",
}

// AppendSession takes one request per stream and writes them together when the client half-closes.
func (s sessionsService) AppendSession(ss grpc.ClientStreamingServer[v2.AppendRequest, v2.AppendSessionResponse]) error {
	ctx := ss.Context()
	resp, err := s.appendSession(ctx, ss)
	if err != nil {
		return s.failRich(ctx, "AppendSession", err)
	}
	return ss.SendAndClose(resp)
}

func (s sessionsService) appendSession(ctx context.Context, ss grpc.ClientStreamingServer[v2.AppendRequest, v2.AppendSessionResponse]) (*v2.AppendSessionResponse, error) {
	var writes []stream.Write
	var total int
	seen := map[string]bool{}
	for {
		req, err := ss.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		w, err := s.sessionWrite(ctx, req, seen, &total)
		if err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	if len(writes) == 0 {
		return nil, errNoRequests
	}
	outcome, err := s.appendMany(ctx, writes, nil)
	if err != nil {
		return nil, err
	}
	if outcome.Kind == stream.Conflict {
		return nil, firstConflict(&outcome)
	}
	resp := &v2.AppendSessionResponse{}
	position := int64(outcome.Position)
	resp.Position = &position
	for i := range outcome.Writes {
		w := &outcome.Writes[i]
		resp.Output = append(resp.Output, &v2.AppendResponse{Stream: &w.Stream, StreamRevision: &w.Last, Position: &position})
	}
	return resp, nil
}

// sessionWrite checks one request of a session and turns it into a write. seen holds the streams of the requests before, total their bytes.
func (s sessionsService) sessionWrite(ctx context.Context, req *v2.AppendRequest, seen map[string]bool, total *int) (stream.Write, error) {
	w := stream.Write{Stream: req.GetStream(), Expected: stream.Any}
	if req.ExpectedRevision != nil {
		w.Expected = stream.Expected(req.GetExpectedRevision())
	}
	if w.Expected < stream.NoStream && w.Expected != stream.Any && w.Expected != stream.Exists {
		return w, badRequest("expected revision %d means nothing", w.Expected)
	}
	if err := s.writable(ctx, w.Stream); err != nil {
		return w, err
	}
	folded := strings.ToLower(w.Stream)
	if seen[folded] {
		return w, &repeatedStream{w.Stream}
	}
	seen[folded] = true
	if len(req.GetRecords()) == 0 {
		return w, badRequest("the request for stream %q has no records", clip([]byte(w.Stream)))
	}
	for _, record := range req.GetRecords() {
		e, err := s.record(w.Stream, record, total)
		if err != nil {
			return w, err
		}
		w.Events = append(w.Events, e)
	}
	return w, nil
}

// AppendRecords writes records to any streams in the order given, if all checks hold.
func (s sessionsService) AppendRecords(ctx context.Context, req *v2.AppendRecordsRequest) (*v2.AppendRecordsResponse, error) {
	resp, err := s.appendRecords(ctx, req)
	if err != nil {
		return nil, s.failRich(ctx, "AppendRecords", err)
	}
	return resp, nil
}

func (s sessionsService) appendRecords(ctx context.Context, req *v2.AppendRecordsRequest) (*v2.AppendRecordsResponse, error) {
	if len(req.GetRecords()) == 0 {
		return nil, badRequest("the request has no records")
	}
	checks, err := s.checks(ctx, req.GetChecks())
	if err != nil {
		return nil, err
	}
	var writes []stream.Write
	var total int
	for _, record := range req.GetRecords() {
		name := record.GetStream()
		if n := len(writes); n == 0 || writes[n-1].Stream != name {
			if err := s.writable(ctx, name); err != nil {
				return nil, err
			}
			writes = append(writes, stream.Write{Stream: name, Expected: stream.Any})
		}
		e, err := s.record(name, record, &total)
		if err != nil {
			return nil, err
		}
		last := &writes[len(writes)-1]
		last.Events = append(last.Events, e)
	}
	outcome, err := s.appendMany(ctx, writes, checks)
	if err != nil {
		return nil, err
	}
	if outcome.Kind == stream.Conflict {
		return nil, &violated{outcome.Violations}
	}
	position := int64(outcome.Position)
	resp := &v2.AppendRecordsResponse{Position: &position}
	seen := map[string]bool{}
	for i := range outcome.Writes {
		w := &outcome.Writes[i]
		if !seen[w.Stream] {
			seen[w.Stream] = true
			resp.Revisions = append(resp.Revisions, &v2.StreamRevision{Stream: &w.Stream, Revision: &w.Last})
		}
	}
	return resp, nil
}

func (s sessionsService) checks(ctx context.Context, list []*v2.ConsistencyCheck) ([]stream.Check, error) {
	var checks []stream.Check
	seen := map[string]bool{}
	for i, c := range list {
		state := c.GetStreamState()
		if state == nil {
			return nil, badRequest("check %d has no kind this server knows", i)
		}
		name, expected := state.GetStream(), stream.Expected(state.GetExpectedState())
		if err := stream.CheckName(name); err != nil {
			return nil, badRequest("check %d: %s", i, err.Error())
		}
		if err := s.access.read(ctx, name); err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, badRequest("stream %q is checked twice", clip([]byte(name)))
		}
		seen[name] = true
		if expected < 0 && expected != stream.NoStream && expected != stream.Exists && expected != stream.SoftDeleted && expected != stream.Tombstoned {
			return nil, badRequest("check %d: expected state %d means nothing", i, expected)
		}
		checks = append(checks, stream.Check{Stream: name, Expected: expected})
	}
	return checks, nil
}

func (s sessionsService) writable(ctx context.Context, name string) error {
	t := target{stream: name, hasName: true, hasState: true}
	if err := t.check(); err != nil {
		return err
	}
	return s.access.write(ctx, name)
}

func (s sessionsService) appendMany(ctx context.Context, writes []stream.Write, checks []stream.Check) (stream.Outcome, error) {
	cmd, err := stream.NewMultiAppend(s.limits, writes, checks)
	if err != nil {
		return stream.Outcome{}, builderError(err)
	}
	outcome, err := s.propose(ctx, cmd, true, maxTime)
	if err != nil {
		return stream.Outcome{}, err
	}
	return outcome, outcomeError(&outcome)
}

// record checks one record and turns it into an event.
func (s sessionsService) record(name string, r *v2.AppendRecord, total *int) (stream.Event, error) {
	e := stream.Event{Type: r.GetSchema().GetName(), Data: r.GetData()}
	if r.RecordId == nil || r.GetRecordId() == "" {
		id, err := uuid.NewRandom()
		if err != nil {
			return e, err
		}
		e.ID = id
	} else {
		id, err := parseUUID([]byte(r.GetRecordId()))
		if err != nil {
			return e, err
		}
		if id == ([16]byte{}) {
			return e, badRequest("a record's id must not be the nil UUID")
		}
		e.ID = id
	}
	if err := checkSchemaName(e.Type); err != nil {
		return e, err
	}
	format, ok := schemaFormats[r.GetSchema().GetFormat()]
	if !ok {
		return e, badRequest("the schema format of record %s is not one of JSON, Protobuf, Avro, Bytes", appendUUID(nil, e.ID))
	}
	e.JSON = r.GetSchema().GetFormat() == v2.SchemaFormat_SCHEMA_FORMAT_JSON
	if id := r.GetSchema().GetId(); id != "" {
		if _, err := parseUUID([]byte(id)); err != nil {
			return e, badRequest("schema id %q is not a UUID", clip([]byte(id)))
		}
	}
	var err error
	if e.Metadata, err = properties(r, format); err != nil {
		return e, err
	}
	size := eventSize(&e)
	if size > s.limits.MaxEventBytes {
		return e, &eventTooLarge{stream: name, id: e.ID, size: size, limit: s.limits.MaxEventBytes}
	}
	if *total += size; *total > s.limits.MaxAppendBytes {
		return e, &appendTooLarge{size: *total, limit: s.limits.MaxAppendBytes}
	}
	return e, nil
}

// checkSchemaName allows letters, digits and _ . $ : - in any script.
func checkSchemaName(name string) error {
	if name == "" {
		return badRequest("a record's schema has no name")
	}
	for _, c := range name {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) && !strings.ContainsRune("_.$:-", c) {
			return badRequest("schema name %q holds a character other than letters, digits and _.$:-", clip([]byte(name)))
		}
	}
	return nil
}

// properties writes a record's properties as the JSON document that first-generation readers see, with the schema's name and format in it.
func properties(r *v2.AppendRecord, format string) ([]byte, error) {
	document := make(map[string]any, len(r.GetProperties())+3)
	for key, value := range r.GetProperties() {
		if key == "" {
			return nil, badRequest("a record has a property without a name")
		}
		if fault := notJSON(value); fault != "" {
			return nil, badRequest("property %q %s", clip([]byte(key)), fault)
		}
		document[key] = value.AsInterface()
	}
	document[propertySchemaName] = r.GetSchema().GetName()
	document[propertySchemaFormat] = format
	if id := r.GetSchema().GetId(); id != "" {
		document[propertySchemaID] = id
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return nil, badRequest("a record's properties cannot be written as JSON: %s", err.Error())
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// notJSON says why a property cannot be written as JSON, "" if it can: AsInterface would turn such numbers into text, and nothing into null.
func notJSON(v *structpb.Value) (fault string) {
	switch k := v.GetKind().(type) {
	case nil:
		return "has no value, or holds something without one"
	case *structpb.Value_NumberValue:
		if math.IsNaN(k.NumberValue) || math.IsInf(k.NumberValue, 0) {
			return "is or holds a number that is not finite"
		}
	case *structpb.Value_ListValue:
		for _, item := range k.ListValue.GetValues() {
			fault = cmp.Or(fault, notJSON(item))
		}
	case *structpb.Value_StructValue:
		for _, field := range k.StructValue.GetFields() {
			fault = cmp.Or(fault, notJSON(field))
		}
	}
	return fault
}

// repeatedStream: a session may name each stream once.
type repeatedStream struct{ stream string }

func (e *repeatedStream) Error() string {
	return "stream " + e.stream + " is named twice in one session"
}

// revisionConflict: the first stream of a session that was not as expected.
type revisionConflict struct {
	stream           string
	expected, actual int64
}

func (e *revisionConflict) Error() string {
	return "stream " + e.stream + " is not at the expected revision"
}

// tombstoned: the first failing stream of a session was deleted for good.
type tombstoned struct{ stream string }

func (e *tombstoned) Error() string { return "stream " + e.stream + " is deleted for good" }

// violated: checks of an append that did not hold.
type violated struct{ violations []stream.Violation }

func (e *violated) Error() string { return "a consistency check did not hold" }

var errNoRequests = errors.New("the session has no requests")

// firstConflict is the error of a session: its first failing stream.
func firstConflict(o *stream.Outcome) error {
	if len(o.Violations) > 0 {
		v := &o.Violations[0]
		if v.Actual == stream.ActualTombstoned {
			return &tombstoned{v.Stream}
		}
		return &revisionConflict{v.Stream, int64(v.Expected), max(v.Actual, stream.ActualNoStream)}
	}
	for i := range o.Writes {
		if w := &o.Writes[i]; w.Expected != stream.Any && int64(w.Expected) != w.Actual {
			return &revisionConflict{w.Stream, int64(w.Expected), w.Actual}
		}
	}
	return &revisionConflict{}
}
