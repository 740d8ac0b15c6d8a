package rpc_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/features"
	"baton/gen/eventstore/gossip"
	"baton/gen/eventstore/monitoring"
	"baton/gen/eventstore/operations"
	"baton/gen/eventstore/streams"
	"baton/gen/kurrent/streamerrors"
	v2 "baton/gen/kurrent/streams"
)

func TestWhatIsAppendedIsRead(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	first := uuid.New()
	done := mustWrite(t, s, "orders", eventWith(first, "placed", "1"), event("paid", "2"), event("sent", "3"))
	if done.GetCurrentRevision() != 2 || done.GetPosition().GetCommitPosition() == 0 {
		t.Errorf("append answered %v", done)
	}
	list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("orders") }))
	if data(list) != "1 2 3 " {
		t.Fatalf("read %q", data(list))
	}
	e := list[0].GetEvent().GetEvent()
	if _, err := strconv.ParseInt(e.Metadata["created"], 10, 64); err != nil || e.Metadata["type"] != "placed" || e.Metadata["content-type"] != "application/json" {
		t.Errorf("metadata %v", e.Metadata)
	}
	if e.Id.String() != id(first).String() || string(e.StreamIdentifier.StreamName) != "orders" || e.CommitPosition == 0 || string(e.CustomMetadata) != "{}" {
		t.Errorf("event %v", e)
	}
	backwards := mustRead(t, s, ask(func(o *streams.ReadReq_Options) {
		o.ReadDirection = streams.ReadReq_Options_Backwards
		o.UuidOption.Content = &streams.ReadReq_Options_UUIDOption_String_{String_: &client.Empty{}}
		o.CountOption = &streams.ReadReq_Options_Count{Count: 2}
		o.StreamOption = &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{StreamIdentifier: name("orders"),
			RevisionOption: &streams.ReadReq_Options_StreamOptions_End{End: &client.Empty{}}}}
	}))
	if data(backwards) != "3 2 " {
		t.Errorf("backwards %q", data(backwards))
	}
	if _, err := uuid.Parse(backwards[0].GetEvent().GetEvent().GetId().GetString_()); err != nil {
		t.Errorf("text id: %v", err)
	}
	missing := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("nothing") }))
	if len(missing) != 1 || string(missing[0].GetStreamNotFound().GetStreamIdentifier().GetStreamName()) != "nothing" {
		t.Errorf("missing stream: %v", missing)
	}
}

func TestManyAndLargeEventsSurviveTheBlocks(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{maxEvent: 1 << 20, maxAppend: 8 << 20}).leader()
	sizes := []int{0, 1, 100, 32 << 10, 64 << 10, 65 << 10, 500 << 10, 7, 16 << 10}
	var events []*proposed
	for i := range 40 {
		events = append(events, event("t", strings.Repeat(string(rune('a'+i%26)), sizes[i%len(sizes)])))
	}
	mustWrite(t, s, "large", events...)
	list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("large") }))
	if len(list) != len(events) {
		t.Fatalf("read %d of %d", len(list), len(events))
	}
	for i, r := range list {
		if string(r.GetEvent().GetEvent().GetData()) != string(events[i].Data) || r.GetEvent().GetEvent().GetStreamRevision() != uint64(i) {
			t.Fatalf("event %d differs", i)
		}
	}
}

func TestExpectedRevisionsAndRepeats(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	ctx := testContext(t)
	u := uuid.New()
	expectNone := func(o *streams.AppendReq_Options) { o.ExpectedStreamRevision = noStream }
	for range 2 { // the second is a repeat
		resp, err := s.write(ctx, "a", expectNone, eventWith(u, "t", "1"))
		if err != nil || resp.GetSuccess().GetCurrentRevision() != 0 || resp.GetSuccess() == nil {
			t.Fatal(resp, err)
		}
	}
	resp, err := s.write(ctx, "a", expectNone, event("t", "2"))
	if err != nil {
		t.Fatal(err)
	}
	w := resp.GetWrongExpectedVersion()
	if w.GetCurrentRevision() != 0 || w.GetExpectedNoStream() == nil || w.GetExpectedRevision_20_6_0() != ^uint64(0) || w.GetCurrentRevisionOption_20_6_0() == nil {
		t.Errorf("conflict %v", w)
	}
	resp, err = s.write(ctx, "b", func(o *streams.AppendReq_Options) { o.ExpectedStreamRevision = mustExist }, event("t", "2"))
	if err != nil || resp.GetWrongExpectedVersion().GetCurrentNoStream() == nil || resp.GetWrongExpectedVersion().GetExpectedStreamExists() == nil {
		t.Error(resp, err)
	}
	resp, err = s.write(ctx, "c", func(o *streams.AppendReq_Options) {
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: 5}
	}, event("t", "2"))
	if err != nil || resp.GetWrongExpectedVersion().GetExpectedRevision() != 5 {
		t.Error(resp, err)
	}
}

func TestBadRequestsAreRefusedInWords(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{maxEvent: 1000, maxAppend: 2500}).leader()
	ctx := testContext(t)
	cases := map[string]struct {
		stream string
		events []*proposed
		want   string // exception trailer
	}{
		"empty name":         {"", []*proposed{event("t", "1")}, ""},
		"all":                {"$all", []*proposed{event("t", "1")}, ""},
		"no metadata":        {"s", []*proposed{{Id: id(uuid.New())}}, "missing-required-metadata-property"},
		"no id":              {"s", []*proposed{{Metadata: map[string]string{"type": "t", "content-type": "application/json"}}}, ""},
		"event too large":    {"s", []*proposed{event("t", strings.Repeat("x", 1001))}, "maximum-append-event-size-exceeded"},
		"together too large": {"s", []*proposed{event("t", strings.Repeat("x", 900)), event("t", strings.Repeat("x", 900)), event("t", strings.Repeat("x", 900))}, "maximum-append-size-exceeded"},
	}
	for label, c := range cases {
		call, err := s.streams().Append(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = call.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: &streams.AppendReq_Options{StreamIdentifier: name(c.stream), ExpectedStreamRevision: anyRevision}}})
		for _, e := range c.events {
			_ = call.Send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: e}})
		}
		_, err = call.CloseAndRecv()
		if status.Code(err) != codes.InvalidArgument || strings.Join(call.Trailer().Get("exception"), "") != c.want {
			t.Errorf("%s: %v %v", label, err, call.Trailer())
		}
	}
	list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("s") }))
	if len(list) != 1 || list[0].GetStreamNotFound() == nil {
		t.Errorf("a refused append left something: %v", list)
	}
	for label, set := range map[string]func(*streams.ReadReq_Options){
		"no uuid option":     func(o *streams.ReadReq_Options) { o.UuidOption = nil },
		"no count":           func(o *streams.ReadReq_Options) { o.CountOption = nil },
		"no stream":          func(o *streams.ReadReq_Options) { o.StreamOption = nil },
		"filter on a stream": func(o *streams.ReadReq_Options) { o.FilterOption = &streams.ReadReq_Options_Filter{} },
		"backwards subscription": func(o *streams.ReadReq_Options) {
			o.ReadDirection = 1
			o.CountOption = &streams.ReadReq_Options_Subscription{}
		},
		"position between events": func(o *streams.ReadReq_Options) {
			o.StreamOption = &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Position{
				Position: &streams.ReadReq_Options_Position{CommitPosition: 1 << 40, PreparePosition: 1 << 40}}}}
		},
	} {
		_, err := s.read(ctx, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("s"); set(o) }))
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", label, err)
		}
	}
}

func TestDeleteAndTombstone(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	ctx := testContext(t)
	mustWrite(t, s, "soft", event("t", "1"))
	mustWrite(t, s, "hard", event("t", "1"))
	anyState := &streams.DeleteReq_Options_Any{Any: &client.Empty{}}
	var trailer metadata.MD
	_, err := s.streams().Delete(ctx, &streams.DeleteReq{Options: &streams.DeleteReq_Options{StreamIdentifier: name("soft"),
		ExpectedStreamRevision: &streams.DeleteReq_Options_Revision{Revision: 9}}}, grpc.Trailer(&trailer))
	if status.Code(err) != codes.FailedPrecondition || fmt.Sprint(trailer["exception"], trailer["expected-version"], trailer["actual-version"], trailer["stream-name"]) != "[wrong-expected-version] [9] [0] [soft]" {
		t.Errorf("wrong revision: %v %v", err, trailer)
	}
	resp, err := s.streams().Delete(ctx, &streams.DeleteReq{Options: &streams.DeleteReq_Options{StreamIdentifier: name("soft"), ExpectedStreamRevision: anyState}})
	if err != nil || resp.GetPosition().GetCommitPosition() == 0 {
		t.Fatal(resp, err)
	}
	list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("soft") }))
	if len(list) != 1 || list[0].GetStreamNotFound() == nil {
		t.Errorf("soft-deleted stream reads %v", list)
	}
	if done := mustWrite(t, s, "soft", event("t", "2")); done.GetCurrentRevision() != 1 {
		t.Errorf("revived at %v", done)
	}
	if _, err := s.streams().Tombstone(ctx, &streams.TombstoneReq{Options: &streams.TombstoneReq_Options{StreamIdentifier: name("hard"),
		ExpectedStreamRevision: &streams.TombstoneReq_Options_Any{Any: &client.Empty{}}}}); err != nil {
		t.Fatal(err)
	}
	call, err := s.streams().Read(ctx, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("hard") }))
	if err != nil {
		t.Fatal(err)
	}
	_, err = call.Recv()
	if status.Code(err) != codes.FailedPrecondition || fmt.Sprint(call.Trailer()["exception"], call.Trailer()["stream-name"]) != "[stream-deleted] [hard]" {
		t.Errorf("read of a tombstoned stream: %v %v", err, call.Trailer())
	}
	if _, err := s.write(ctx, "hard", nil, event("t", "2")); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("append to a tombstoned stream: %v", err)
	}
}

func TestAllIsReadBothWaysAndFiltered(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	for i := range 5 {
		mustWrite(t, s, fmt.Sprintf("s-%d", i%2), event(fmt.Sprintf("type-%d", i), strconv.Itoa(i)))
	}
	user := &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{
		Filter: &streams.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: &streams.ReadReq_Options_FilterOptions_Expression{Prefix: []string{"s-"}}},
		Window: &streams.ReadReq_Options_FilterOptions_Max{Max: 32}, CheckpointIntervalMultiplier: 1}}
	forwards := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = allFromStart(); o.FilterOption = user }))
	if data(forwards) != "0 1 2 3 4 " {
		t.Fatalf("forwards %q", data(forwards))
	}
	last := uint64(0)
	for _, r := range forwards {
		if p := r.GetEvent().GetCommitPosition(); p <= last {
			t.Errorf("position %d after %d", p, last)
		} else {
			last = p
		}
	}
	backwards := mustRead(t, s, ask(func(o *streams.ReadReq_Options) {
		o.ReadDirection = streams.ReadReq_Options_Backwards
		o.FilterOption = &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{
			Filter: &streams.ReadReq_Options_FilterOptions_EventType{EventType: &streams.ReadReq_Options_FilterOptions_Expression{Regex: "^type-[024]$"}},
			Window: &streams.ReadReq_Options_FilterOptions_Count{Count: &client.Empty{}}, CheckpointIntervalMultiplier: 1}}
		o.StreamOption = &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_End{End: &client.Empty{}}}}
	}))
	if data(backwards) != "4 2 0 " {
		t.Errorf("backwards %q", data(backwards))
	}
}

func TestSubscriptionConfirmsCatchesUpAndGoesOn(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	mustWrite(t, s, "s", event("t", "0"), event("t", "1"))
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	call, err := s.streams().Read(ctx, ask(func(o *streams.ReadReq_Options) {
		o.StreamOption = fromStart("s")
		o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	next := func() *streams.ReadResp {
		t.Helper()
		r, err := call.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if _, err := uuid.Parse(next().GetConfirmation().GetSubscriptionId()); err != nil {
		t.Errorf("confirmation: %v", err)
	}
	for i := range 2 {
		if got := string(next().GetEvent().GetEvent().GetData()); got != strconv.Itoa(i) {
			t.Errorf("event %q, want %d", got, i)
		}
	}
	if c := next().GetCaughtUp(); c.GetStreamRevision() != 1 || c.GetTimestamp() == nil {
		t.Errorf("caught up: %v", c)
	}
	for i := range 3 {
		mustWrite(t, s, "s", event("t", fmt.Sprint("live", i)))
		if got := string(next().GetEvent().GetEvent().GetData()); got != fmt.Sprint("live", i) {
			t.Errorf("live event %q", got)
		}
	}
	if _, err := s.streams().Tombstone(ctx, &streams.TombstoneReq{Options: &streams.TombstoneReq_Options{StreamIdentifier: name("s"),
		ExpectedStreamRevision: &streams.TombstoneReq_Options_Any{Any: &client.Empty{}}}}); err != nil {
		t.Fatal(err)
	}
	if e := next().GetEvent().GetEvent(); e.GetMetadata()["type"] != "$streamDeleted" {
		t.Errorf("the tombstone was not delivered: %v", e)
	}
	if _, err := call.Recv(); status.Code(err) != codes.FailedPrecondition || fmt.Sprint(call.Trailer()["exception"]) != "[stream-deleted]" {
		t.Errorf("end of a tombstoned stream: %v %v", err, call.Trailer())
	}
}

func TestBatchAppendAnswersEachAndKeepsTheOrder(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{nodes: 3, size: 3})
	for _, role := range []string{"Leader", "Follower"} {
		t.Run(role, func(t *testing.T) {
			call, err := h.byRole(role).streams().BatchAppend(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			const count = 300
			go func() {
				for i := range count {
					o := &streams.BatchAppendReq_Options{StreamIdentifier: name("batch-" + role),
						ExpectedStreamPosition: &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: uint64(i - 1)}}
					if i == 0 {
						o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}}
					}
					u := uuid.New()
					_ = call.Send(&streams.BatchAppendReq{CorrelationId: &client.UUID{Value: &client.UUID_String_{String_: u.String()}}, Options: o, IsFinal: true,
						ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{Id: id(u), Metadata: map[string]string{"type": "t", "content-type": "application/json"}, Data: []byte("x")}}})
				}
				// One that conflicts and one that is malformed must not disturb the others.
				_ = call.Send(&streams.BatchAppendReq{CorrelationId: id(uuid.Nil), IsFinal: true, Options: &streams.BatchAppendReq_Options{
					StreamIdentifier: name("other-" + role), ExpectedStreamPosition: &streams.BatchAppendReq_Options_StreamExists{StreamExists: &emptypb.Empty{}}},
					ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{Id: id(uuid.New()), Metadata: map[string]string{"type": "t", "content-type": "x"}}}})
				_ = call.Send(&streams.BatchAppendReq{CorrelationId: id(uuid.Max), IsFinal: true, Options: &streams.BatchAppendReq_Options{
					StreamIdentifier: name("other"), ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}},
					ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{Id: id(uuid.New())}}})
				_ = call.CloseSend()
			}()
			good, refused := 0, map[int32]int{}
			for {
				r, err := call.Recv()
				if err != nil {
					if err.Error() != "EOF" {
						t.Error(err)
					}
					break
				}
				if r.GetCorrelationId() == nil || r.GetStreamIdentifier() == nil {
					t.Errorf("answer lacks its correlation or stream: %v", r)
				}
				if r.GetSuccess() != nil {
					good++
				} else {
					refused[r.GetError().GetCode()]++
					if len(r.GetError().GetDetails()) != 1 {
						t.Errorf("details of %v", r.GetError())
					}
				}
			}
			if good != count || refused[int32(codes.AlreadyExists)] != 1 || refused[int32(codes.InvalidArgument)] != 1 || len(refused) != 2 {
				t.Errorf("%d of %d appended, refusals by code %v", good, count, refused)
			}
		})
	}
}

func TestLeaderRules(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{nodes: 4, size: 3, readOnly: map[int]bool{3: true}})
	leader, follower, replica := h.leader(), h.byRole("Follower"), h.nodes[3]
	ctx := testContext(t)
	if _, err := follower.write(ctx, "forwarded", nil, event("t", "1")); err != nil {
		t.Errorf("a follower did not forward: %v", err)
	}
	host, port, _ := strings.Cut(leader.addr, ":")
	refused := func(label string, err error, trailer metadata.MD) {
		t.Helper()
		if status.Code(err) != codes.NotFound || fmt.Sprint(trailer["exception"], trailer["leader-endpoint-host"], trailer["leader-endpoint-port"]) !=
			fmt.Sprintf("[not-leader] [%s] [%s]", host, port) {
			t.Errorf("%s: %v %v", label, err, trailer)
		}
	}
	for label, c := range map[string]struct {
		s   *served
		ctx context.Context
	}{"follower, leader required": {follower, needLeader(ctx)}, "read-only replica": {replica, ctx}} {
		call, err := c.s.streams().Append(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = call.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: &streams.AppendReq_Options{StreamIdentifier: name("x"), ExpectedStreamRevision: anyRevision}}})
		_, err = call.CloseAndRecv()
		refused("append on "+label, err, call.Trailer())
	}
	for label, s := range map[string]*served{"follower": follower, "read-only replica": replica} {
		call, err := s.streams().Read(needLeader(ctx), ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("forwarded") }))
		if err != nil {
			t.Fatal(err)
		}
		_, err = call.Recv()
		refused("read on "+label, err, call.Trailer())
		eventually(t, label+" reads what was acknowledged", func() error {
			if list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("forwarded") })); data(list) != "1 " {
				return fmt.Errorf("read %v", list)
			}
			return nil
		})
	}
	var trailer metadata.MD
	_, err := v2.NewStreamsServiceClient(follower.conn).AppendRecords(ctx, &v2.AppendRecordsRequest{Records: []*v2.AppendRecord{record("r", "t")}}, grpc.Trailer(&trailer))
	if status.Code(err) != codes.FailedPrecondition || fmt.Sprint(trailer["exception"], trailer["leader-endpoint-port"]) != fmt.Sprintf("[not-leader] [%s]", port) || len(status.Convert(err).Details()) != 2 {
		t.Errorf("records on a follower: %v %v", err, trailer)
	}
	// The leader's own reads are confirmed, and see what was just written.
	if list, err := leader.read(needLeader(ctx), ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("forwarded") })); err != nil || data(list) != "1 " {
		t.Errorf("read on the leader: %v %v", list, err)
	}
}

func record(stream, schema string) *v2.AppendRecord {
	format := v2.SchemaFormat_SCHEMA_FORMAT_JSON
	return &v2.AppendRecord{Stream: &stream, Schema: &v2.SchemaInfo{Format: &format, Name: &schema}, Data: []byte(`{"a":1}`)}
}

func TestAppendsToSeveralStreamsAreAllOrNothing(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	ctx := testContext(t)
	service := v2.NewStreamsServiceClient(s.conn)
	session := func(expected map[string]int64, names ...string) (*v2.AppendSessionResponse, error) {
		call, err := service.AppendSession(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			r := &v2.AppendRequest{Stream: &n, Records: []*v2.AppendRecord{record("", "thing.done")}}
			if e, ok := expected[n]; ok {
				r.ExpectedRevision = &e
			}
			_ = call.Send(r)
		}
		return call.CloseAndRecv()
	}
	resp, err := session(map[string]int64{"one": -1}, "one", "two")
	if err != nil || len(resp.Output) != 2 || resp.Output[0].GetStream() != "one" || resp.Output[0].GetStreamRevision() != 0 || resp.GetPosition() <= 0 {
		t.Fatal(resp, err)
	}
	_, err = session(map[string]int64{"two": 7}, "one", "two")
	details := status.Convert(err).Details()
	if status.Code(err) != codes.FailedPrecondition || len(details) != 2 {
		t.Fatal(err, details)
	}
	if c, ok := details[1].(*streamerrors.StreamRevisionConflictErrorDetails); !ok || c.Stream != "two" || c.ExpectedRevision != 7 || c.ActualRevision != 0 {
		t.Errorf("conflict detail %v", details[1])
	}
	if _, err := session(nil, "one", "ONE"); status.Code(err) != codes.Aborted {
		t.Errorf("stream named twice: %v", err)
	}
	if _, err := session(nil); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("empty session: %v", err)
	}
	records, err := service.AppendRecords(ctx, &v2.AppendRecordsRequest{Records: []*v2.AppendRecord{record("x", "a"), record("y", "b"), record("x", "c")}})
	if err != nil || len(records.Revisions) != 2 {
		t.Fatal(records, err)
	}
	if x := records.Revisions[0]; x.GetStream() != "x" || x.GetRevision() != 1 {
		t.Errorf("revisions %v", records.Revisions)
	}
	zero := int64(0)
	x, y := "x", "none"
	_, err = service.AppendRecords(ctx, &v2.AppendRecordsRequest{Records: []*v2.AppendRecord{record("z", "a")}, Checks: []*v2.ConsistencyCheck{
		{Type: &v2.ConsistencyCheck_StreamState{StreamState: &v2.ConsistencyCheck_StreamStateCheck{Stream: &x, ExpectedState: &zero}}},
		{Type: &v2.ConsistencyCheck_StreamState{StreamState: &v2.ConsistencyCheck_StreamStateCheck{Stream: &y, ExpectedState: &zero}}},
	}})
	details = status.Convert(err).Details()
	if len(details) != 2 {
		t.Fatal(err)
	}
	if v, ok := details[1].(*streamerrors.AppendConsistencyViolationErrorDetails); !ok || len(v.Violations) != 2 || v.Violations[0].GetStreamState().GetActualState() != 1 || v.Violations[1].GetStreamState().GetActualState() != -1 {
		t.Errorf("violations %v", details[1])
	}
	list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("x") }))
	if len(list) != 2 || list[0].GetEvent().GetEvent().GetMetadata()["type"] != "a" ||
		string(list[0].GetEvent().GetEvent().GetCustomMetadata()) != `{"$schema.format":"Json","$schema.name":"a"}` {
		t.Errorf("records read back: %v", list)
	}
	if list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("z") })); list[0].GetStreamNotFound() == nil {
		t.Error("a refused append left something")
	}
}

func TestSmallServices(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{nodes: 3, size: 3})
	s, ctx := h.leader(), testContext(t)
	answer, err := features.NewServerFeaturesClient(s.conn).GetSupportedMethods(ctx, &client.Empty{})
	if err != nil || answer.EventStoreServerVersion != "26.1.0" {
		t.Fatal(answer, err)
	}
	announced := map[string]bool{}
	for _, m := range answer.Methods {
		announced[m.ServiceName+"/"+m.MethodName] = true
		if m.ServiceName != strings.ToLower(m.ServiceName) || m.MethodName != strings.ToLower(m.MethodName) {
			t.Errorf("%v is not lower case", m)
		}
	}
	for _, want := range []string{"event_store.client.streams.streams/batchappend", "kurrentdb.protocol.v2.streams.streamsservice/appendsession", "event_store.client.gossip.gossip/read"} {
		if !announced[want] {
			t.Errorf("%s is not announced", want)
		}
	}
	info, err := gossip.NewGossipClient(s.conn).Read(ctx, &client.Empty{})
	if err != nil || len(info.Members) != 3 {
		t.Fatal(info, err)
	}
	leaders := 0
	for _, m := range info.Members {
		if m.State == gossip.MemberInfo_Leader && m.IsAlive && fmt.Sprintf("%s:%d", m.HttpEndPoint.Address, m.HttpEndPoint.Port) == s.addr {
			leaders++
		}
	}
	if leaders != 1 {
		t.Errorf("gossip %v", info)
	}
	ops := operations.NewOperationsClient(s.conn)
	testScavengeCalls(t, ctx, s)
	testRedactionCalls(t, ctx, s)
	stats, err := monitoring.NewMonitoringClient(s.conn).Stats(ctx, &monitoring.StatsReq{RefreshTimePeriodInMs: 100})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r, err := stats.Recv(); err != nil || r.Stats["es.role"] != "leader" {
			t.Errorf("stats %v %v", r, err)
		}
	}
	if _, err := ops.SetNodePriority(ctx, &operations.SetNodePriorityReq{Priority: 3}); err != nil {
		t.Error(err)
	}
	eventually(t, "the priority is seen", func() error {
		if p := s.node.Self().NodePriority; p != 3 {
			return fmt.Errorf("priority %d", p)
		}
		return nil
	})
	if _, err := ops.ResignNode(ctx, &client.Empty{}); err != nil {
		t.Error(err)
	}
	eventually(t, "another node leads", func() error {
		if h.leader() == s {
			return fmt.Errorf("%s still leads", s.addr)
		}
		return nil
	})
	if _, err := ops.Shutdown(ctx, &client.Empty{}); err != nil {
		t.Error(err)
	}
	select {
	case <-s.asked:
	case <-time.After(time.Minute):
		t.Error("the shutdown was not asked for")
	}
}
