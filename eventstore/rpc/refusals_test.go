package rpc_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/monitoring"
	"baton/gen/eventstore/operations"
	"baton/gen/eventstore/persistent"
	projectionspb "baton/gen/eventstore/projections"
	"baton/gen/eventstore/streams"
	userspb "baton/gen/eventstore/users"
	v2 "baton/gen/kurrent/streams"
)

// Goal: what is missing, unknown or contradictory in an append to many streams is refused with the details clients read, and nothing is written.
func TestRecordsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{maxEvent: 1000, maxAppend: 2500}).leader()
	ctx := testContext(t)
	service := v2.NewStreamsServiceClient(s.conn)
	reasonOf := func(err error) (reason, detail string) {
		details := status.Convert(err).Details()
		if len(details) == 0 {
			return "", ""
		}
		if info, ok := details[0].(*errdetails.ErrorInfo); ok {
			reason = info.GetReason()
		}
		if len(details) > 1 {
			if m, ok := details[len(details)-1].(proto.Message); ok {
				detail = string(m.ProtoReflect().Descriptor().Name())
			}
		}
		return reason, detail
	}
	changed := func(change func(*v2.AppendRecord)) *v2.AppendRecord {
		r := record("s", "thing.done")
		change(r)
		return r
	}
	property := func(key string, v *structpb.Value) func(*v2.AppendRecord) {
		return func(r *v2.AppendRecord) { r.Properties = map[string]*structpb.Value{key: v} }
	}
	text, format := func(s string) *string { return &s }, func(f v2.SchemaFormat) *v2.SchemaFormat { return &f }
	const bad = "BAD_REQUEST"
	large := strings.Repeat("x", 1001)
	records := map[string]struct {
		record *v2.AppendRecord
		reason string
	}{
		"nothing":                  {&v2.AppendRecord{}, bad},
		"no stream":                {changed(func(r *v2.AppendRecord) { r.Stream = nil }), bad},
		"all streams":              {changed(func(r *v2.AppendRecord) { r.Stream = text("$all") }), bad},
		"no schema":                {changed(func(r *v2.AppendRecord) { r.Schema = nil }), bad},
		"no schema name":           {changed(func(r *v2.AppendRecord) { r.Schema.Name = nil }), bad},
		"no format":                {changed(func(r *v2.AppendRecord) { r.Schema.Format = nil }), bad},
		"unknown format":           {changed(func(r *v2.AppendRecord) { r.Schema.Format = format(99) }), bad},
		"schema name with a space": {changed(func(r *v2.AppendRecord) { r.Schema.Name = text("a b") }), bad},
		"schema id":                {changed(func(r *v2.AppendRecord) { r.Schema.Id = text("7") }), bad},
		"record id":                {changed(func(r *v2.AppendRecord) { r.RecordId = text("not-an-id") }), bad},
		"nil record id":            {changed(func(r *v2.AppendRecord) { r.RecordId = text(uuid.Nil.String()) }), bad},
		"property without a name":  {changed(property("", structpb.NewStringValue("x"))), bad},
		"property without a value": {changed(property("p", &structpb.Value{})), bad},
		"not a number":             {changed(property("p", structpb.NewNumberValue(math.NaN()))), bad},
		"infinite":                 {changed(property("p", structpb.NewNumberValue(math.Inf(-1)))), bad},
		"infinite within a list":   {changed(property("p", structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewNumberValue(math.Inf(1))}}))), bad},
		"nothing within a list":    {changed(property("p", structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{{}}}))), bad},
		"too large":                {changed(func(r *v2.AppendRecord) { r.Data = []byte(large) }), "APPEND_RECORD_SIZE_EXCEEDED"},
		"too large a property":     {changed(property("p", structpb.NewStringValue(large))), "APPEND_RECORD_SIZE_EXCEEDED"},
	}
	for what, c := range records {
		_, err := service.AppendRecords(ctx, &v2.AppendRecordsRequest{Records: []*v2.AppendRecord{record("t", "fine"), c.record}})
		reason, detail := reasonOf(err)
		if status.Code(err) != codes.InvalidArgument || reason != c.reason || detail == "" {
			t.Errorf("records, %s: %v, reason %q, detail %q", what, err, reason, detail)
		}
		call, err := service.AppendSession(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = call.Send(&v2.AppendRequest{Stream: text("t"), Records: []*v2.AppendRecord{record("", "fine")}})
		_ = call.Send(&v2.AppendRequest{Stream: c.record.Stream, Records: []*v2.AppendRecord{c.record}})
		_, err = call.CloseAndRecv()
		if reason, _ := reasonOf(err); status.Code(err) != codes.InvalidArgument || reason != c.reason {
			t.Errorf("session, %s: %v, reason %q", what, err, reason)
		}
	}
	half := changed(func(r *v2.AppendRecord) { r.Data = []byte(large[:900]) })
	if _, err := service.AppendRecords(ctx, &v2.AppendRecordsRequest{Records: []*v2.AppendRecord{half, half, half}}); status.Code(err) != codes.Aborted {
		t.Errorf("together too large: %v", err)
	} else if reason, detail := reasonOf(err); reason != "APPEND_TRANSACTION_SIZE_EXCEEDED" || detail != "AppendTransactionSizeExceededErrorDetails" {
		t.Errorf("together too large: reason %q, detail %q", reason, detail)
	}
	state := func(stream string, expected int64) *v2.ConsistencyCheck {
		return &v2.ConsistencyCheck{Type: &v2.ConsistencyCheck_StreamState{StreamState: &v2.ConsistencyCheck_StreamStateCheck{Stream: &stream, ExpectedState: &expected}}}
	}
	for what, checks := range map[string][]*v2.ConsistencyCheck{
		"of no kind":          {{}},
		"without a stream":    {state("", 0)},
		"of no such state":    {state("a", -3)},
		"of any state":        {state("a", -2)},
		"of one stream twice": {state("a", 0), state("a", 1)},
	} {
		_, err := service.AppendRecords(ctx, &v2.AppendRecordsRequest{Records: []*v2.AppendRecord{record("t", "fine")}, Checks: checks})
		if reason, _ := reasonOf(err); status.Code(err) != codes.InvalidArgument || reason != bad {
			t.Errorf("check %s: %v, reason %q", what, err, reason)
		}
	}
	if _, err := service.AppendRecords(ctx, &v2.AppendRecordsRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no records: %v", err)
	}
	for what, req := range map[string]*v2.AppendRequest{
		"nothing":                {},
		"no records":             {Stream: text("s")},
		"a revision that is not": {Stream: text("s"), ExpectedRevision: func() *int64 { n := int64(-3); return &n }(), Records: []*v2.AppendRecord{record("", "fine")}},
	} {
		call, err := service.AppendSession(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = call.Send(req)
		_, err = call.CloseAndRecv()
		if reason, _ := reasonOf(err); status.Code(err) != codes.InvalidArgument || reason != bad {
			t.Errorf("session with %s: %v, reason %q", what, err, reason)
		}
	}
	wantNothing(t, s, "s", "t")
}

// wantNothing demands that none of the streams exists.
func wantNothing(t *testing.T, s *served, names ...string) {
	t.Helper()
	for _, n := range names {
		if list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart(n) })); len(list) != 1 || list[0].GetStreamNotFound() == nil {
			t.Errorf("something was written to %s: %v", n, list)
		}
	}
}

// Goal: each wrong append of a batch call is answered by itself, with its correlation, the status and the one detail clients unpack; the call goes on, and
// what was right is written.
func TestWrongAppendsOfABatchAreAnsweredOneByOne(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{maxEvent: 1000, maxAppend: 2500}).leader()
	call, err := s.streams().BatchAppend(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	type options = streams.BatchAppendReq_Options
	to := func(stream string, change func(*options)) *options {
		o := &options{StreamIdentifier: name(stream), ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}}
		if change != nil {
			change(o)
		}
		return o
	}
	message := func(size int, change func(*streams.BatchAppendReq_ProposedMessage)) *streams.BatchAppendReq_ProposedMessage {
		m := &streams.BatchAppendReq_ProposedMessage{Id: id(uuid.New()), Metadata: map[string]string{"type": "t", "content-type": "application/json"}, Data: make([]byte, size)}
		if change != nil {
			change(m)
		}
		return m
	}
	past := func(o *options) {
		o.DeadlineOption = &streams.BatchAppendReq_Options_Deadline_21_10_0{Deadline_21_10_0: timestamppb.New(timestamppb.Now().AsTime().AddDate(-1, 0, 0))}
	}
	lasting := func(seconds int64, nanos int32) func(*options) {
		return func(o *options) {
			o.DeadlineOption = &streams.BatchAppendReq_Options_Deadline{Deadline: &durationpb.Duration{Seconds: seconds, Nanos: nanos}}
		}
	}
	cases := []struct {
		what    string
		options *options
		events  []*streams.BatchAppendReq_ProposedMessage
		code    codes.Code
		detail  string
	}{
		{"no name", to("", nil), nil, codes.InvalidArgument, "BadRequest"},
		{"all streams", to("$all", nil), nil, codes.InvalidArgument, "BadRequest"},
		{"no state", to("s", func(o *options) { o.ExpectedStreamPosition = nil }), nil, codes.InvalidArgument, "BadRequest"},
		{"a position out of range", to("s", func(o *options) {
			o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: 1 << 63}
		}), nil, codes.InvalidArgument, "BadRequest"},
		{"no id", to("s", nil), []*streams.BatchAppendReq_ProposedMessage{message(1, func(m *streams.BatchAppendReq_ProposedMessage) { m.Id = nil })}, codes.InvalidArgument, "BadRequest"},
		{"no type", to("s", nil), []*streams.BatchAppendReq_ProposedMessage{message(1, func(m *streams.BatchAppendReq_ProposedMessage) { delete(m.Metadata, "type") })}, codes.InvalidArgument, "BadRequest"},
		{"an event too large", to("s", nil), []*streams.BatchAppendReq_ProposedMessage{message(1001, nil)}, codes.InvalidArgument, "MaximumAppendEventSizeExceeded"},
		{"together too large", to("s", nil), []*streams.BatchAppendReq_ProposedMessage{message(900, nil), message(900, nil), message(900, nil)}, codes.InvalidArgument, "MaximumAppendSizeExceeded"},
		{"a deadline that has passed", to("s", past), []*streams.BatchAppendReq_ProposedMessage{message(1, nil)}, codes.DeadlineExceeded, "Timeout"},
		{"no time at all", to("s", lasting(0, 0)), []*streams.BatchAppendReq_ProposedMessage{message(1, nil)}, codes.DeadlineExceeded, "Timeout"},
		{"less than no time", to("s", lasting(math.MinInt64, math.MinInt32)), []*streams.BatchAppendReq_ProposedMessage{message(1, nil)}, codes.DeadlineExceeded, "Timeout"},
		{"all the time there is", to("right", lasting(math.MaxInt64, math.MaxInt32)), []*streams.BatchAppendReq_ProposedMessage{message(1, nil)}, codes.OK, ""},
	}
	byID := map[string]int{}
	for i, c := range cases {
		correlation := uuid.New()
		byID[correlation.String()] = i
		if err := call.Send(&streams.BatchAppendReq{CorrelationId: &client.UUID{Value: &client.UUID_String_{String_: correlation.String()}}, Options: c.options, ProposedMessages: c.events, IsFinal: true}); err != nil {
			t.Fatal(err)
		}
	}
	// A chunk that belongs to no append is passed over.
	_ = call.Send(&streams.BatchAppendReq{CorrelationId: id(uuid.New()), ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{message(1, nil)}, IsFinal: true})
	_ = call.CloseSend()
	for {
		r, err := call.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		i, known := byID[r.GetCorrelationId().GetString_()]
		if !known {
			t.Fatalf("an answer to nothing, or a second one: %v", r)
		}
		delete(byID, r.GetCorrelationId().GetString_())
		c := cases[i]
		detail := ""
		if d := r.GetError().GetDetails(); len(d) == 1 {
			detail = d[0].GetTypeUrl()[strings.LastIndexByte(d[0].GetTypeUrl(), '.')+1:]
		}
		if codes.Code(r.GetError().GetCode()) != c.code || detail != c.detail || r.GetStreamIdentifier() == nil || (r.GetSuccess() != nil) != (c.code == codes.OK) {
			t.Errorf("%s: %v", c.what, r)
		}
	}
	for _, i := range slices.Sorted(maps.Values(byID)) {
		t.Errorf("%s: not answered", cases[i].what)
	}
	wantNothing(t, s, "s")
}

// Goal: a client that begins appends and never ends them is told to stop before it holds more than a bounded amount of the server's memory.
func TestOpenAppendsOfABatchAreBounded(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{maxEvent: 1000, maxAppend: 2000}).leader()
	call, err := s.streams().BatchAppend(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	event := &streams.BatchAppendReq_ProposedMessage{Id: id(uuid.New()), Metadata: map[string]string{"type": "t", "content-type": "application/json"}, Data: make([]byte, 900)}
	for range 500 { // 450 kB, where all that are open may hold 128 kB
		if call.Send(&streams.BatchAppendReq{CorrelationId: id(uuid.New()), ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{event},
			Options: &streams.BatchAppendReq_Options{StreamIdentifier: name("s"), ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}}}) != nil {
			break
		}
	}
	_ = call.CloseSend()
	if r, err := call.Recv(); status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), "open appends") {
		t.Errorf("answered %v, %v", r, err)
	}
	// An append of any number of empty chunks is an append.
	if call, err = s.streams().BatchAppend(testContext(t)); err != nil {
		t.Fatal(err)
	}
	one := &streams.BatchAppendReq{CorrelationId: id(uuid.New()), Options: &streams.BatchAppendReq_Options{StreamIdentifier: name("s"), ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}}}
	for i := range 1000 {
		if err := call.Send(one); err != nil {
			t.Fatal(err)
		}
		one.Options = nil
		one.ProposedMessages = nil
		if i == 500 {
			one.ProposedMessages = []*streams.BatchAppendReq_ProposedMessage{event}
		}
	}
	one.IsFinal = true
	if err := call.Send(one); err != nil {
		t.Fatal(err)
	}
	if r, err := call.Recv(); err != nil || r.GetSuccess() == nil {
		t.Errorf("answered %v, %v", r, err)
	}
	if list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("s") })); len(list) != 1 || list[0].GetEvent() == nil {
		t.Errorf("written: %v", list)
	}
}

// Goal: requests about groups, projections, accounts, scavenges and figures with something missing, unknown or contradictory end with the status and
// trailers of the protocol.
func TestRequestsOfManagersAreRefused(t *testing.T) {
	t.Parallel()
	o := secureOptions()
	o.projections = true
	s := newHouse(t, o).leader()
	ctx := as(testContext(t), "admin", "root")
	g, p, u, ops := s.groups(), s.projections(), s.users(), operations.NewOperationsClient(s.conn)
	mustCreateAs := func(req *persistent.CreateReq) {
		t.Helper()
		if _, err := g.Create(ctx, req); err != nil {
			t.Fatal(err)
		}
	}
	mustCreateAs(groupOf("s", "g", nil))
	ofGroup := func(stream, group string) *persistent.GetInfoReq {
		return &persistent.GetInfoReq{Options: &persistent.GetInfoReq_Options{GroupName: group, StreamOption: &persistent.GetInfoReq_Options_StreamIdentifier{StreamIdentifier: name(stream)}}}
	}
	least := func(o *persistent.CreateReq_Settings) {
		o.MessageTimeout = &persistent.CreateReq_Settings_MessageTimeoutTicks{MessageTimeoutTicks: math.MinInt64}
	}
	const (
		missing, failed = "persistent-subscription-does-not-exist", "persistent-subscription-failed"
		unknownUser     = "user-not-found"
	)
	type call func(context.Context, ...grpc.CallOption) error
	for _, c := range []struct {
		what      string
		try       call
		code      codes.Code
		exception string
		names     string // of the stream, the group, the login or the scavenge in the trailers
	}{
		{"info of nothing", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.GetInfo(ctx, &persistent.GetInfoReq{}, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"info of no group", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.GetInfo(ctx, ofGroup("s", ""), o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"info of none that is", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.GetInfo(ctx, ofGroup("s", "no"), o...)
			return err
		}, codes.NotFound, missing, "s no"},
		{"list of nothing", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.List(ctx, &persistent.ListReq{}, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"update of nothing", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.Update(ctx, &persistent.UpdateReq{}, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"delete of nothing", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.Delete(ctx, &persistent.DeleteReq{}, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"replay of nothing", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.ReplayParked(ctx, &persistent.ReplayParkedReq{}, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"replay of none that is", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.ReplayParked(ctx, &persistent.ReplayParkedReq{Options: &persistent.ReplayParkedReq_Options{GroupName: "no",
				StreamOption: &persistent.ReplayParkedReq_Options_All{All: &client.Empty{}}}}, o...)
			return err
		}, codes.NotFound, missing, "$all no"},
		{"a time that is less than none", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.Create(ctx, groupOf("s", "x", least), o...)
			return err
		}, codes.Internal, failed, "s x"},
		{"a group from a revision out of range", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.Create(ctx, &persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: "x", Settings: groupSettings(nil),
				StreamOption: &persistent.CreateReq_Options_Stream{Stream: &persistent.CreateReq_StreamOptions{StreamIdentifier: name("s"),
					RevisionOption: &persistent.CreateReq_StreamOptions_Revision{Revision: 1 << 63}}}}}, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"a group with a contradictory position", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := g.Create(ctx, &persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: "x", Settings: groupSettings(nil),
				StreamOption: &persistent.CreateReq_Options_All{All: &persistent.CreateReq_AllOptions{AllOption: &persistent.CreateReq_AllOptions_Position{
					Position: &persistent.CreateReq_Position{CommitPosition: 1, PreparePosition: 2}}}}}}, o...)
			return err
		}, codes.InvalidArgument, "", ""},

		{"an engine that does not exist", func(ctx context.Context, o ...grpc.CallOption) error {
			req := continuous("p", "fromAll()", false)
			req.Options.EngineVersion = 9
			_, err := p.Create(ctx, req, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"no program", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := p.Create(ctx, continuous("p", " ", false), o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"too large a program", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := p.Create(ctx, continuous("p", "fromAll()"+strings.Repeat(" ", 1<<20), false), o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"state of nothing", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := p.State(ctx, &projectionspb.StateReq{}, o...)
			return err
		}, codes.NotFound, "", ""},
		{"update of no projection", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := p.Update(ctx, &projectionspb.UpdateReq{}, o...)
			return err
		}, codes.NotFound, "", ""},

		{"an account of no name", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := u.Create(ctx, &userspb.CreateReq{}, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"update of no account", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := u.Update(ctx, &userspb.UpdateReq{Options: &userspb.UpdateReq_Options{LoginName: "no"}}, o...)
			return err
		}, codes.NotFound, unknownUser, "no"},
		{"disable of no account", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := u.Disable(ctx, &userspb.DisableReq{Options: &userspb.DisableReq_Options{LoginName: "no"}}, o...)
			return err
		}, codes.NotFound, unknownUser, "no"},
		{"a new password for no account", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := u.ResetPassword(ctx, &userspb.ResetPasswordReq{Options: &userspb.ResetPasswordReq_Options{LoginName: "no", NewPassword: "x"}}, o...)
			return err
		}, codes.NotFound, unknownUser, "no"},
		{"an empty password", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := u.ResetPassword(ctx, &userspb.ResetPasswordReq{Options: &userspb.ResetPasswordReq_Options{LoginName: "ops"}}, o...)
			return err
		}, codes.InvalidArgument, "", ""},

		{"a scavenge from before the beginning", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := ops.StartScavenge(ctx, &operations.StartScavengeReq{Options: &operations.StartScavengeReq_Options{ThreadCount: 1, StartFromChunk: -1}}, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"a scavenge of no threads", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := ops.StartScavenge(ctx, &operations.StartScavengeReq{}, o...)
			return err
		}, codes.InvalidArgument, "", ""},
		{"the end of no scavenge", func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := ops.StopScavenge(ctx, &operations.StopScavengeReq{Options: &operations.StopScavengeReq_Options{ScavengeId: "no"}}, o...)
			return err
		}, codes.NotFound, "scavenge-not-found", "no"},
	} {
		var trailer metadata.MD
		err := c.try(ctx, grpc.Trailer(&trailer))
		var names []string
		for _, key := range []string{"stream-name", "group-name", "login-name", "scavenge-id"} {
			names = append(names, trailer.Get(key)...)
		}
		if status.Code(err) != c.code || strings.Join(trailer.Get("exception"), " ") != c.exception || strings.Join(names, " ") != c.names {
			t.Errorf("%s: %v %v", c.what, err, trailer)
		}
	}
	// A period that cannot be is taken for one that can.
	for _, period := range []uint64{0, 1, math.MaxUint64} {
		figures, err := monitoring.NewMonitoringClient(s.conn).Stats(ctx, &monitoring.StatsReq{RefreshTimePeriodInMs: period})
		if err == nil {
			_, err = figures.Recv()
		}
		if err != nil {
			t.Errorf("figures every %d ms: %v", period, err)
		}
	}
	// A consumer's refusal of a kind nobody knows counts as "the server decides": the event comes again.
	mustWriteAs(t, s, ctx, "s", event("t", "1"))
	consumer, err := g.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first := &persistent.ReadReq_Options{GroupName: "g", BufferSize: 5, StreamOption: &persistent.ReadReq_Options_StreamIdentifier{StreamIdentifier: name("s")},
		UuidOption: &persistent.ReadReq_Options_UUIDOption{Content: &persistent.ReadReq_Options_UUIDOption_String_{String_: &client.Empty{}}}}
	if err := consumer.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Options_{Options: first}}); err != nil {
		t.Fatal(err)
	}
	for round, answered := 0, false; round < 2; {
		r, err := consumer.Recv()
		if err != nil {
			t.Fatal(err)
		}
		e := r.GetEvent().GetEvent()
		if e == nil {
			continue
		}
		if round++; answered {
			break
		}
		answered = true
		if err := consumer.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Nack_{Nack: &persistent.ReadReq_Nack{Action: 99, Ids: []*client.UUID{e.GetId()}}}}); err != nil {
			t.Fatal(err)
		}
	}
}

// Goal: fields that this server does not know are passed over, methods and services it does not know are named as such, and a message that is none ends its
// call only.
func TestUnknownFieldsMethodsAndMessages(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{projections: true}).leader()
	ctx := testContext(t)
	var unknown []byte
	unknown = protowire.AppendString(protowire.AppendTag(unknown, 19_000, protowire.BytesType), "of a later version")
	unknown = protowire.AppendVarint(protowire.AppendTag(unknown, 4_000, protowire.VarintType), 7)
	unknown = protowire.AppendFixed64(protowire.AppendTag(unknown, 4_001, protowire.Fixed64Type), 7)
	methods := map[string]*anyMethod{}
	for _, m := range allMethods(t) {
		methods[m.name[strings.LastIndexByte(m.name, '.')+1:]] = &m
	}
	o := &streams.AppendReq_Options{StreamIdentifier: name("s"), ExpectedStreamRevision: anyRevision}
	o.ProtoReflect().SetUnknown(unknown)
	e := event("t", "1")
	e.ProtoReflect().SetUnknown(unknown)
	encode := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return append(b, unknown...)
	}
	if _, err := s.call(ctx, methods["Streams/Append"], encode(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}}),
		encode(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: e}})); err != nil {
		t.Errorf("append with fields of a later version: %v", err)
	}
	batch := &streams.BatchAppendReq{CorrelationId: id(uuid.New()), IsFinal: true,
		Options:          &streams.BatchAppendReq_Options{StreamIdentifier: name("s"), ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}},
		ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{Id: id(uuid.New()), Metadata: map[string]string{"type": "t", "content-type": "application/json"}, Data: []byte("2")}}}
	batch.Options.ProtoReflect().SetUnknown(unknown)
	batch.ProposedMessages[0].ProtoReflect().SetUnknown(unknown)
	if _, err := s.call(ctx, methods["Streams/BatchAppend"], encode(batch)); err != nil {
		t.Errorf("batch append with fields of a later version: %v", err)
	}
	read := ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("s") })
	if _, err := s.call(ctx, methods["Streams/Read"], encode(read)); err != nil {
		t.Errorf("read with fields of a later version: %v", err)
	}
	if got := data(mustRead(t, s, read)); got != "1 2 " {
		t.Errorf("written: %q", got)
	}
	for _, path := range []string{"/event_store.client.streams.Streams/NoSuchMethod", "/no.such.Service/Method", "/nonsense"} {
		if _, err := s.call(ctx, &anyMethod{name: path}, nil); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", path, err)
		}
	}
	for label, m := range methods {
		_, err := s.call(ctx, m, []byte{0xff, 0xff, 0xff, 0xff})
		if code := status.Code(err); code != codes.Internal && code != codes.InvalidArgument {
			t.Errorf("%s with a message that is none: %v", label, err)
		}
	}
	if got := data(mustRead(t, s, read)); got != "1 2 " {
		t.Errorf("afterwards: %q", got)
	}
}
