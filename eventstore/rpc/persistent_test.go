package rpc_test

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"
	"baton/gen/eventstore/streams"
)

// Goal: a group delivers what a stream has and gets, remembers what was handled, and goes on from there for the next consumer and after a restart.
func TestGroupOfAStream(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	mustWrite(t, s, "orders", numbered(0, 5)...)
	mustCreate(t, s, groupOf("orders", "billing", func(o *persistent.CreateReq_Settings) {
		o.MinCheckpointCount, o.MaxCheckpointCount = 1, 1
		o.ExtraStatistics = true
	}))
	c := consume(t, s, "orders", "billing", 3)
	first := c.next(3)
	if texts(first) != "0 1 2" || first[0].GetRetryCount() != 0 || first[0].GetCount() == nil || first[1].GetEvent().GetStreamRevision() != 1 ||
		first[0].GetEvent().GetMetadata()["type"] != "counted" || first[0].GetCommitPosition() == 0 {
		t.Fatalf("got %v", first)
	}
	awaitInfo(t, s, "orders", "billing", "everything is read", func(i *persistent.SubscriptionInfo) bool { return i.GetStatus() == "Live" })
	i := infoOf(t, s, "orders", "billing")
	if i.GetTotalInFlightMessages() != 3 || i.GetConnections()[0].GetAvailableSlots() != 0 || i.GetLastKnownEventPosition() != "4" || i.GetStartFrom() != "0" ||
		i.GetStatus() != "Live" || i.GetLastCheckpointedEventPosition() != "" || i.GetNamedConsumerStrategy() != "RoundRobin" {
		t.Fatalf("info %v", i)
	}
	c.ack(first[0], first[1])
	if more := c.next(2); texts(more) != "3 4" {
		t.Fatalf("got %v", more)
	}
	mustWrite(t, s, "orders", numbered(5, 6)...)
	awaitInfo(t, s, "orders", "billing", "a checkpoint", func(i *persistent.SubscriptionInfo) bool {
		return i.GetLastCheckpointedEventPosition() == "1"
	})
	if i := infoOf(t, s, "orders", "billing"); len(i.GetConnections()[0].GetObservedMeasurements()) != 14 {
		t.Fatalf("measurements %v", i.GetConnections())
	}
	c.stop()
	awaitInfo(t, s, "orders", "billing", "the consumer is gone", func(i *persistent.SubscriptionInfo) bool { return len(i.GetConnections()) == 0 })
	// What the consumer that went away held comes first, and says that it was sent before.
	d := consume(t, s, "orders", "billing", 10)
	again := d.next(4)
	if texts(again) != "2 3 4 5" || again[0].GetRetryCount() != 1 || again[3].GetRetryCount() != 0 {
		t.Fatalf("got %v", again)
	}
	d.ack(again[0])
	awaitInfo(t, s, "orders", "billing", "a second checkpoint", func(i *persistent.SubscriptionInfo) bool {
		return i.GetLastCheckpointedEventPosition() == "2"
	})
	// Loaded anew it begins behind its checkpoint.
	if _, err := s.groups().RestartSubsystem(testContext(t), &client.Empty{}); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, d, codes.Canceled, "persistent-subscription-dropped")
	e := consume(t, s, "orders", "billing", 10)
	if last := e.next(3); texts(last) != "3 4 5" || last[0].GetRetryCount() != 0 {
		t.Fatalf("got %v", last)
	}
	if list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) {
		o.StreamOption = fromStart("$persistentsubscription-orders::billing-checkpoint")
	})); len(list) == 0 || string(list[len(list)-1].GetEvent().GetEvent().GetData()) != `"2"` {
		t.Fatalf("the checkpoint stream holds %v", data(list))
	}
}

// Goal: each way of refusing an event does what it says; parked events can be replayed and truncated.
func TestRefusedEvents(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	ctx := testContext(t)
	mustWrite(t, s, "jobs", numbered(0, 6)...)
	mustCreate(t, s, groupOf("jobs", "workers", func(o *persistent.CreateReq_Settings) { o.MaxRetryCount = 1 }))
	c := consume(t, s, "jobs", "workers", 10)
	got := c.next(6)
	c.nack(persistent.ReadReq_Nack_Retry, got[0])
	if again := c.next(1); texts(again) != "0" || again[0].GetRetryCount() != 1 {
		t.Fatalf("retried %v", again)
	}
	c.nack(persistent.ReadReq_Nack_Unknown, got[0]) // the second time is one too many
	c.nack(persistent.ReadReq_Nack_Park, got[1], got[2])
	c.nack(persistent.ReadReq_Nack_Skip, got[3])
	c.nack(persistent.ReadReq_Nack_Stop, got[4])
	c.ack(got[5])
	awaitInfo(t, s, "jobs", "workers", "three parked", func(i *persistent.SubscriptionInfo) bool {
		return i.GetParkedMessageCount() == 3 && i.GetOutstandingMessagesCount() == 0
	})
	list := mustRead(t, s, ask(func(o *streams.ReadReq_Options) {
		o.StreamOption = fromStart("$persistentsubscription-jobs::workers-parked")
	}))
	if data(list) != "0@jobs 1@jobs 2@jobs " || list[0].GetEvent().GetEvent().GetMetadata()["type"] != "$>" ||
		!strings.Contains(string(list[1].GetEvent().GetEvent().GetCustomMetadata()), `"Reason":"a test"`) {
		t.Fatalf("parked %v", list)
	}
	replay := func(stop int64) error {
		o := &persistent.ReplayParkedReq_Options{GroupName: "workers", StreamOption: &persistent.ReplayParkedReq_Options_StreamIdentifier{StreamIdentifier: name("jobs")},
			StopAtOption: &persistent.ReplayParkedReq_Options_NoLimit{NoLimit: &client.Empty{}}}
		if stop >= 0 {
			o.StopAtOption = &persistent.ReplayParkedReq_Options_StopAt{StopAt: stop}
		}
		_, err := s.groups().ReplayParked(ctx, &persistent.ReplayParkedReq{Options: o})
		return err
	}
	if err := replay(1); err != nil {
		t.Fatal(err)
	}
	back := c.next(1)
	if texts(back) != "0" || back[0].GetLink().GetStreamRevision() != 0 {
		t.Fatalf("replayed %v", back)
	}
	if err := replay(-1); status.Code(err) != codes.Internal {
		t.Fatalf("a second replay while one runs: %v", err)
	}
	if i := infoOf(t, s, "jobs", "workers"); !strings.Contains(i.GetStatus(), "ReplayingParkedMessages") || i.GetParkedMessageCount() != 3 {
		t.Fatalf("while a replay runs: %v", i)
	}
	c.ack(back...)
	awaitInfo(t, s, "jobs", "workers", "the replayed one is forgotten", func(i *persistent.SubscriptionInfo) bool {
		return i.GetParkedMessageCount() == 2 && i.GetStatus() == "Live"
	})
	truncate := &persistent.TruncateParkedReq{Options: &persistent.TruncateParkedReq_Options{GroupName: "workers",
		StreamOption: &persistent.TruncateParkedReq_Options_StreamIdentifier{StreamIdentifier: name("jobs")},
		StopAtOption: &persistent.TruncateParkedReq_Options_StopAt{StopAt: 2}}}
	if _, err := s.groups().TruncateParked(ctx, truncate); err != nil {
		t.Fatal(err)
	}
	if i := infoOf(t, s, "jobs", "workers"); i.GetParkedMessageCount() != 1 {
		t.Fatalf("after truncation: %v", i)
	}
	// Park and replay at once, as the published suites do: what was asked to be parked before is replayed.
	if err := replay(-1); err != nil {
		t.Fatal(err)
	}
	if back = c.next(1); texts(back) != "2" {
		t.Fatalf("replayed %v", back)
	}
	c.nack(persistent.ReadReq_Nack_Park, back...)
	awaitInfo(t, s, "jobs", "workers", "parked again", func(i *persistent.SubscriptionInfo) bool {
		return i.GetParkedMessageCount() == 1 && i.GetStatus() == "Live"
	})
	if err := replay(-1); err != nil {
		t.Fatal(err)
	}
	if back = c.next(1); texts(back) != "2" || back[0].GetLink().GetStreamRevision() != 3 {
		t.Fatalf("replayed %v", back)
	}
}

// Goal: groups of all streams: filters, positions, and none of their own events.
func TestGroupOfAllStreams(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	ctx := testContext(t)
	mustWrite(t, s, "a-1", numbered(0, 2)...)
	mustWrite(t, s, "b-1", numbered(10, 12)...)
	byStream := &persistent.CreateReq_AllOptions_FilterOptions{Filter: &persistent.CreateReq_AllOptions_FilterOptions_StreamIdentifier{
		StreamIdentifier: &persistent.CreateReq_AllOptions_FilterOptions_Expression{Prefix: []string{"a-", "c-"}}}}
	req := groupOfAll("letters", byStream)
	req.Options.Settings.MinCheckpointCount, req.Options.Settings.MaxCheckpointCount = 1, 1
	mustCreate(t, s, req)
	c := consume(t, s, "$all", "letters", 10)
	first := c.next(2)
	mustWrite(t, s, "c-1", numbered(20, 21)...)
	second := c.next(1)
	if texts(first)+" "+texts(second) != "0 1 20" {
		t.Fatalf("got %v %v", first, second)
	}
	c.ack(append(first, second...)...)
	last := strconv.FormatUint(second[0].GetEvent().GetCommitPosition(), 10)
	awaitInfo(t, s, "$all", "letters", "the checkpoint reaches what was handled and what was passed", func(i *persistent.SubscriptionInfo) bool {
		at := i.GetLastCheckpointedEventPosition()
		return strings.HasPrefix(at, "C:") && len(at) >= len("C:/P:")+2*len(last) && i.GetStatus() == "Live"
	})
	// From a position: inclusive; beyond the end: refused.
	position := func(at uint64) error {
		r := groupOfAll("at-"+strconv.FormatUint(at, 10), nil)
		r.Options.StreamOption.(*persistent.CreateReq_Options_All).All.AllOption = &persistent.CreateReq_AllOptions_Position{
			Position: &persistent.CreateReq_Position{CommitPosition: at, PreparePosition: at}}
		_, err := s.groups().Create(ctx, r)
		return err
	}
	at := second[0].GetEvent().GetCommitPosition()
	if err := position(at); err != nil {
		t.Fatal(err)
	}
	if got := consume(t, s, "$all", "at-"+strconv.FormatUint(at, 10), 10).next(1); texts(got) != "20" {
		t.Fatalf("from a position: %v", got)
	}
	if err := position(1 << 50); status.Code(err) != codes.Internal {
		t.Fatalf("from beyond the end: %v", err)
	}
	// A group that sees everything does not see what groups of all streams write, or it would never end.
	mustCreate(t, s, groupOfAll("everything", nil))
	all := consume(t, s, "$all", "everything", 1000)
	mustWrite(t, s, "the-end", event("t", "end"))
	for {
		e := all.next(1)
		if strings.HasPrefix(string(e[0].GetEvent().GetStreamIdentifier().GetStreamName()), "$persistentsubscription-$all") {
			t.Fatalf("a group's own event: %v", e)
		}
		if texts(e) == "end" {
			break
		}
	}
	i := infoOf(t, s, "$all", "letters")
	if i.GetStartFrom() != "C:0/P:0" || i.GetEventSource() != "$all" || !strings.HasPrefix(i.GetLastKnownEventPosition(), "C:") {
		t.Fatalf("info %v", i)
	}
}

// Goal: links are resolved, and acknowledged by the link's own id.
func TestGroupResolvesLinks(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	mustWrite(t, s, "source", numbered(0, 2)...)
	link := func(to string) *proposed {
		return &proposed{Id: id(uuid.New()), Metadata: map[string]string{"type": "$>", "content-type": "application/octet-stream"}, Data: []byte(to)}
	}
	mustWrite(t, s, "links", link("1@source"), link("7@source"), link("0@source"))
	mustCreate(t, s, groupOf("links", "g", func(o *persistent.CreateReq_Settings) {
		o.ResolveLinks, o.MinCheckpointCount, o.MaxCheckpointCount = true, 1, 1
	}))
	c := consume(t, s, "links", "g", 10)
	got := c.next(3)
	if texts(got) != "1  0" || got[1].GetEvent() != nil || got[1].GetLink() == nil || got[2].GetLink().GetStreamRevision() != 2 {
		t.Fatalf("got %v", got)
	}
	c.nack(persistent.ReadReq_Nack_Park, got[0])
	c.ack(got[1], got[2])
	awaitInfo(t, s, "links", "g", "all handled", func(i *persistent.SubscriptionInfo) bool { return i.GetLastCheckpointedEventPosition() == "2" })
	if _, err := s.groups().ReplayParked(testContext(t), &persistent.ReplayParkedReq{Options: &persistent.ReplayParkedReq_Options{GroupName: "g",
		StreamOption: &persistent.ReplayParkedReq_Options_StreamIdentifier{StreamIdentifier: name("links")}}}); err != nil {
		t.Fatal(err)
	}
	if back := c.next(1); texts(back) != "1" || string(back[0].GetEvent().GetStreamIdentifier().GetStreamName()) != "source" {
		t.Fatalf("a parked link comes back as %v", back)
	}
}

// Goal: "the end" is the end at the time of the request, also after a restart without a checkpoint.
func TestGroupFromTheEnd(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	mustWrite(t, s, "news", numbered(0, 3)...)
	req := groupOf("news", "late", nil)
	req.Options.StreamOption.(*persistent.CreateReq_Options_Stream).Stream.RevisionOption = &persistent.CreateReq_StreamOptions_End{End: &client.Empty{}}
	mustCreate(t, s, req)
	mustWrite(t, s, "news", numbered(3, 5)...)
	if _, err := s.groups().RestartSubsystem(testContext(t), &client.Empty{}); err != nil {
		t.Fatal(err)
	}
	c := consume(t, s, "news", "late", 10)
	if got := c.next(2); texts(got) != "3 4" {
		t.Fatalf("got %v", got)
	}
	if i := infoOf(t, s, "news", "late"); i.GetStartFrom() != "-1" {
		t.Fatalf("info %v", i)
	}
	// The old form of the request, and a start in the middle.
	old := &persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: "old", StreamIdentifier: name("news"),
		Settings: groupSettings(func(o *persistent.CreateReq_Settings) {
			o.Revision, o.ConsumerStrategy, o.NamedConsumerStrategy = 2, "", persistent.CreateReq_Pinned
			o.MessageTimeout = &persistent.CreateReq_Settings_MessageTimeoutTicks{MessageTimeoutTicks: 50_000_000}
		})}}
	mustCreate(t, s, old)
	if got := consume(t, s, "news", "old", 10).next(3); texts(got) != "2 3 4" {
		t.Fatalf("got %v", got)
	}
	if i := infoOf(t, s, "news", "old"); i.GetNamedConsumerStrategy() != "Pinned" || i.GetMessageTimeoutMilliseconds() != 5000 || i.GetStartFrom() != "2" {
		t.Fatalf("info %v", i)
	}
}

// Goal: groups are updated, deleted and listed; every refusal has its code and trailers.
func TestGroupsAreManaged(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	ctx := testContext(t)
	refused := func(what string, err error, trailer metadata.MD, code codes.Code, exception, stream, group string) {
		t.Helper()
		get := func(key string) string { return strings.Join(trailer.Get(key), "|") }
		if status.Code(err) != code || get("exception") != exception || get("stream-name") != stream || get("group-name") != group {
			t.Errorf("%s: %v %v", what, err, trailer)
		}
	}
	const missing, failed = "persistent-subscription-does-not-exist", "persistent-subscription-failed"
	g := s.groups()
	var tr metadata.MD
	all, err := g.List(ctx, &persistent.ListReq{Options: &persistent.ListReq_Options{ListOption: &persistent.ListReq_Options_ListAllSubscriptions{}}})
	if err != nil || len(all.GetSubscriptions()) != 0 {
		t.Fatalf("list without groups: %v %v", all, err)
	}
	ofStream := func(name *client.StreamIdentifier) *persistent.ListReq {
		return &persistent.ListReq{Options: &persistent.ListReq_Options{ListOption: &persistent.ListReq_Options_ListForStream{
			ListForStream: &persistent.ListReq_StreamOption{StreamOption: &persistent.ListReq_StreamOption_Stream{Stream: name}}}}}
	}
	_, err = g.List(ctx, ofStream(name("s")), grpc.Trailer(&tr))
	refused("list of a stream without groups", err, tr, codes.NotFound, missing, "s", "")
	mustCreate(t, s, groupOf("s", "g", func(o *persistent.CreateReq_Settings) {
		o.MaxSubscriberCount = 1
		o.ConsumerStrategy = "PinnedByCorrelation"
	}))
	mustCreate(t, s, groupOf("s", "f", nil))
	_, err = g.Create(ctx, groupOf("s", "g", nil), grpc.Trailer(&tr))
	refused("create twice", err, tr, codes.AlreadyExists, "persistent-subscription-exists", "s", "g")
	if list, err := g.List(ctx, ofStream(name("s"))); err != nil || len(list.GetSubscriptions()) != 2 || list.GetSubscriptions()[0].GetGroupName() != "f" {
		t.Errorf("list: %v %v", list, err)
	}
	for what, set := range map[string]func(*persistent.CreateReq_Settings){
		"history not larger than a batch": func(o *persistent.CreateReq_Settings) { o.HistoryBufferSize = 20 },
		"unknown strategy":                func(o *persistent.CreateReq_Settings) { o.ConsumerStrategy = "Loudest" },
		"negative count":                  func(o *persistent.CreateReq_Settings) { o.MaxRetryCount = -3 },
	} {
		_, err = g.Create(ctx, groupOf("s", "bad", set), grpc.Trailer(&tr))
		refused(what, err, tr, codes.Internal, failed, "s", "bad")
		if len(tr.Get("reason")) != 1 {
			t.Errorf("%s: no reason in %v", what, tr)
		}
	}
	for what, req := range map[string]*persistent.CreateReq{
		"nothing":     {},
		"no settings": {Options: &persistent.CreateReq_Options{GroupName: "g", StreamIdentifier: name("s")}},
		"no group":    groupOf("s", "", nil),
		"no stream":   groupOf("", "x", nil),
		"no start":    {Options: &persistent.CreateReq_Options{GroupName: "x", Settings: groupSettings(nil), StreamOption: &persistent.CreateReq_Options_All{}}},
		"bad filter": groupOfAll("x", &persistent.CreateReq_AllOptions_FilterOptions{Filter: &persistent.CreateReq_AllOptions_FilterOptions_EventType{
			EventType: &persistent.CreateReq_AllOptions_FilterOptions_Expression{Regex: "("}}}),
		"empty filter": groupOfAll("x", &persistent.CreateReq_AllOptions_FilterOptions{}),
	} {
		if _, err := g.Create(ctx, req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A consumer too many; a group that is not there; a call that makes no sense.
	c := consume(t, s, "s", "g", 5)
	full, err := tryConsume(t, s, "s", "g", 5)
	refused("too many consumers", err, full.call.Trailer(), codes.FailedPrecondition, "maximum-subscribers-reached", "s", "g")
	none, err := tryConsume(t, s, "s", "nobody", 5)
	refused("consume what is not there", err, none.call.Trailer(), codes.NotFound, missing, "s", "nobody")
	if _, err := tryConsume(t, s, "s", "g", -1); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a negative buffer: %v", err)
	}
	// An update drops consumers and keeps what is not named.
	update := &persistent.UpdateReq{Options: &persistent.UpdateReq_Options{GroupName: "g",
		StreamOption: &persistent.UpdateReq_Options_Stream{Stream: &persistent.UpdateReq_StreamOptions{StreamIdentifier: name("s"), RevisionOption: &persistent.UpdateReq_StreamOptions_Start{}}},
		Settings:     &persistent.UpdateReq_Settings{MaxRetryCount: 7, ReadBatchSize: 10, HistoryBufferSize: 100, LiveBufferSize: 100}}}
	if _, err := g.Update(ctx, update); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, c, codes.Canceled, "persistent-subscription-dropped")
	if i := infoOf(t, s, "s", "g"); i.GetMaxRetryCount() != 7 || i.GetNamedConsumerStrategy() != "PinnedByCorrelation" || i.GetMessageTimeoutMilliseconds() != 0 {
		t.Errorf("updated: %v", i)
	}
	update.Options.GroupName = "nobody"
	_, err = g.Update(ctx, update, grpc.Trailer(&tr))
	refused("update what is not there", err, tr, codes.NotFound, missing, "s", "nobody")
	// Deleted with all it has; made again it begins at its start.
	mustWrite(t, s, "s", numbered(0, 3)...)
	c = consume(t, s, "s", "g", 5)
	got := c.next(3)
	c.ack(got[0])
	c.nack(persistent.ReadReq_Nack_Park, got[1])
	awaitInfo(t, s, "s", "g", "one parked", func(i *persistent.SubscriptionInfo) bool { return i.GetParkedMessageCount() == 1 })
	remove := &persistent.DeleteReq{Options: &persistent.DeleteReq_Options{GroupName: "g", StreamOption: &persistent.DeleteReq_Options_StreamIdentifier{StreamIdentifier: name("s")}}}
	if _, err := g.Delete(ctx, remove); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, c, codes.Canceled, "persistent-subscription-dropped")
	_, err = g.Delete(ctx, remove, grpc.Trailer(&tr))
	refused("delete twice", err, tr, codes.NotFound, missing, "s", "g")
	mustCreate(t, s, groupOf("s", "g", nil))
	if got := consume(t, s, "s", "g", 5).next(3); texts(got) != "0 1 2" {
		t.Errorf("made again: %v", got)
	}
	if i := infoOf(t, s, "s", "g"); i.GetParkedMessageCount() != 0 || i.GetLastCheckpointedEventPosition() != "" {
		t.Errorf("made again: %v", i)
	}
}

// Goal: other nodes than the leader send clients to it, for every request; a group goes where leadership goes, and its consumers are told.
// Method: everything is tried until leadership stood still meanwhile, with another group each time.
func TestGroupsAreTheLeaders(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{nodes: 3, size: 3})
	ctx := testContext(t)
	notLeader := func(what string, err error, tr metadata.MD) error {
		if status.Code(err) != codes.NotFound || strings.Join(tr.Get("exception"), "") != "not-leader" || len(tr.Get("leader-endpoint-port")) != 1 {
			return fmt.Errorf("%s: %v %v", what, err, tr)
		}
		return nil
	}
	var d *consumer
	var leader *served
	group := ""
	eventually(t, "a group of the leader", func() error {
		leader = h.leader()
		follower := h.byRole("Follower")
		group = "g-" + uuid.NewString()
		var tr metadata.MD
		_, err := follower.groups().Create(ctx, groupOf("s", group, nil), grpc.Trailer(&tr))
		if err := notLeader("create", err, tr); err != nil {
			return err
		}
		_, err = follower.groups().List(ctx, &persistent.ListReq{Options: &persistent.ListReq_Options{ListOption: &persistent.ListReq_Options_ListAllSubscriptions{}}}, grpc.Trailer(&tr))
		if err := notLeader("list", err, tr); err != nil {
			return err
		}
		if _, err := leader.groups().Create(ctx, groupOf("s", group, nil)); err != nil {
			return err
		}
		c, err := tryConsume(t, follower, "s", group, 5)
		if err := notLeader("consume", err, c.trailer()); err != nil {
			return err
		}
		if d, err = tryConsume(t, leader, "s", group, 5); err != nil {
			return err
		}
		return leader.node.Resign(ctx)
	})
	wantEnd(t, d, codes.Canceled, "persistent-subscription-dropped")
	eventually(t, "the group runs on the node that leads now", func() error {
		e, err := tryConsume(t, h.leader(), "s", group, 5)
		if err != nil {
			return err
		}
		e.stop()
		return nil
	})
}

// Goal: stray messages end the call with a reason and harm nobody.
func TestBadMessagesOfConsumers(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	mustCreate(t, s, groupOf("s", "g", nil))
	for what, m := range map[string]*persistent.ReadReq{
		"options twice": {Content: &persistent.ReadReq_Options_{Options: &persistent.ReadReq_Options{}}},
		"nothing":       {},
		"no id":         {Content: &persistent.ReadReq_Ack_{Ack: &persistent.ReadReq_Ack{Ids: []*client.UUID{{}}}}},
		"not an id":     {Content: &persistent.ReadReq_Nack_{Nack: &persistent.ReadReq_Nack{Ids: []*client.UUID{{Value: &client.UUID_String_{String_: "zz"}}}}}},
	} {
		c := consume(t, s, "s", "g", 5)
		if err := c.call.Send(m); err != nil {
			t.Fatal(err)
		}
		if _, err := c.call.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
	c := consume(t, s, "s", "g", 5)
	if err := c.call.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.call.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("a client that closes its side: %v", err)
	}
	eventually(t, "they are gone", func() error {
		if i := infoOf(t, s, "s", "g"); len(i.GetConnections()) != 0 {
			return fmt.Errorf("%v", i.GetConnections())
		}
		return nil
	})
}
