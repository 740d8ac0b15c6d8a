package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"baton/control/engine"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"
	"baton/gen/eventstore/streams"

	"google.golang.org/grpc"
)

// maxParkedRead bounds how many groups' parked streams one list looks into.
const maxParkedRead = 100

// atEnd is the start of groups that begin with what is written after them.
const (
	atEnd    = "-1"
	atAllEnd = "C:-1/P:-1"
)

func listGroups(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	var resp *persistent.ListResp
	err := n.atLeader(ctx, "list the subscriptions", false, func(ctx context.Context, c *grpc.ClientConn, _ *said, opts ...grpc.CallOption) (err error) {
		resp, err = persistent.NewPersistentSubscriptionsClient(c).List(ctx, &persistent.ListReq{Options: &persistent.ListReq_Options{
			ListOption: &persistent.ListReq_Options_ListAllSubscriptions{ListAllSubscriptions: &client.Empty{}}}}, opts...)
		return err
	})
	if err != nil {
		return engine.Result{}, err
	}
	list := make([]engine.GroupInfo, 0, len(resp.GetSubscriptions()))
	for _, s := range resp.GetSubscriptions() {
		g := groupOf(s)
		g.Connections = nil
		list = append(list, g)
	}
	n.oldestParked(ctx, list)
	return jsonValue("groups", list)
}

func readGroup(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	id, err := groupArgs(a)
	if err != nil {
		return engine.Result{}, err
	}
	o := &persistent.GetInfoReq_Options{GroupName: a.Arg("group"), StreamOption: &persistent.GetInfoReq_Options_All{All: &client.Empty{}}}
	if id != nil {
		o.StreamOption = &persistent.GetInfoReq_Options_StreamIdentifier{StreamIdentifier: id}
	}
	var resp *persistent.GetInfoResp
	err = n.atLeader(ctx, "read the subscription", false, func(ctx context.Context, c *grpc.ClientConn, _ *said, opts ...grpc.CallOption) (err error) {
		resp, err = persistent.NewPersistentSubscriptionsClient(c).GetInfo(ctx, &persistent.GetInfoReq{Options: o}, opts...)
		return err
	})
	if err != nil {
		return engine.Result{}, err
	}
	list := []engine.GroupInfo{groupOf(resp.GetSubscriptionInfo())}
	n.oldestParked(ctx, list)
	return jsonValue("group", list[0])
}

// groupArgs reads which group is meant; the identifier is nil for all streams.
func groupArgs(a engine.Action) (*client.StreamIdentifier, error) {
	if name := a.Arg("group"); name == "" || len(name) > maxStreamName {
		return nil, bad("%s needs the name of a group, at most %d bytes long", a.Name, maxStreamName)
	}
	if a.Arg("stream") == engine.AllStreams {
		return nil, nil
	}
	return streamArg(a)
}

func groupOf(s *persistent.SubscriptionInfo) engine.GroupInfo {
	g := engine.GroupInfo{
		Stream: s.GetEventSource(), Group: s.GetGroupName(), Status: s.GetStatus(), From: s.GetStartFrom(),
		Checkpoint: s.GetLastCheckpointedEventPosition(), Known: s.GetLastKnownEventPosition(), LagEvents: -1, LagBytes: -1,
		InFlight: int(s.GetTotalInFlightMessages()), Queued: int(s.GetReadBufferCount()), Retrying: int(s.GetRetryBufferCount()), Outstanding: int(s.GetOutstandingMessagesCount()),
		Parked: s.GetParkedMessageCount(), PerSecond: int(s.GetAveragePerSecond()), Total: s.GetTotalItems(), Consumers: len(s.GetConnections()),
		Settings: engine.GroupSettings{Strategy: s.GetNamedConsumerStrategy(), ResolveLinks: s.GetResolveLinkTos(), ExtraStatistics: s.GetExtraStatistics(),
			MessageTimeoutMs: int64(s.GetMessageTimeoutMilliseconds()), MaxRetries: int(s.GetMaxRetryCount()), CheckpointAfterMs: int64(s.GetCheckPointAfterMilliseconds()),
			MinCheckpoint: int(s.GetMinCheckPointCount()), MaxCheckpoint: int(s.GetMaxCheckPointCount()), MaxSubscribers: int(s.GetMaxSubscriberCount()),
			LiveBuffer: int(s.GetLiveBufferSize()), HistoryBuffer: int(s.GetBufferSize()), ReadBatch: int(s.GetReadBatchSize())},
	}
	for _, c := range s.GetConnections() {
		g.Connections = append(g.Connections, engine.GroupConsumer{From: c.GetFrom(), User: c.GetUsername(), Name: c.GetConnectionName(),
			PerSecond: int(c.GetAverageItemsPerSecond()), Total: c.GetTotalItems(), InFlight: int(c.GetInFlightMessages()), Free: int(c.GetAvailableSlots())})
	}
	g.LagEvents, g.LagBytes = lagOf(&g)
	return g
}

// lagOf is how far a group is behind: in events, where somebody counts them,
// and of all streams in bytes of the log.
func lagOf(g *engine.GroupInfo) (events, bytes int64) {
	events, bytes = -1, -1
	live := strings.HasPrefix(g.Status, "Live")
	if live { // everything was read: what is not handled is in its hands
		events = int64(g.Outstanding)
	}
	if g.Stream == engine.AllStreams {
		known, ok := position(g.Known)
		done, began := position(g.Checkpoint)
		if !began {
			done, began = position(g.From)
		}
		if ok && began {
			bytes = max(known-done, 0)
		}
		if live && events == 0 {
			bytes = 0
		}
		return events, bytes
	}
	known, err := strconv.ParseInt(g.Known, 10, 64)
	switch {
	case live || err != nil && g.Known != "":
		return events, bytes
	case err != nil: // the stream holds nothing
		return 0, bytes
	}
	done, err := strconv.ParseInt(g.Checkpoint, 10, 64)
	if err != nil {
		from, err := strconv.ParseInt(g.From, 10, 64)
		if err != nil || from < 0 {
			return events, bytes // it began at the end, wherever that was
		}
		done = from - 1
	}
	return max(known-done, 0), bytes
}

// position reads "C:n/P:n".
func position(text string) (int64, bool) {
	commit, _, ok := strings.Cut(strings.TrimPrefix(text, "C:"), "/P:")
	at, err := strconv.ParseInt(commit, 10, 64)
	return at, ok && err == nil && at >= 0
}

// oldestParked fills in when the first of each group's parked events was
// parked. What may not be read stays unknown.
func (n *node) oldestParked(ctx context.Context, list []engine.GroupInfo) {
	var t *probeTarget
	for i := range list[:min(len(list), maxParkedRead)] {
		if list[i].Parked == 0 {
			continue
		}
		if t == nil {
			var err error
			if t, err = n.reader(); err != nil {
				return
			}
			defer t.conn.Close()
		}
		if first, ok := t.firstParked(ctx, &list[i]); ok {
			at := createdAt(first)
			list[i].OldestParked = &at
		}
	}
}

func parkedStream(g *engine.GroupInfo) string {
	return "$persistentsubscription-" + g.Stream + "::" + g.Group + "-parked"
}

// firstParked is the link to the event parked first.
func (t *probeTarget) firstParked(ctx context.Context, g *engine.GroupInfo) (first *streams.ReadResp_ReadEvent_RecordedEvent, ok bool) {
	_, err := t.each(ctx, &streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: 1}, StreamOption: &streams.ReadReq_Options_Stream{
		Stream: &streams.ReadReq_Options_StreamOptions{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(parkedStream(g))},
			RevisionOption: &streams.ReadReq_Options_StreamOptions_Start{Start: &client.Empty{}}}}},
		func(r *streams.ReadResp_ReadEvent) { first = r.GetEvent() })
	return first, err == nil && first != nil
}

func groupSpec(a engine.Action) (s engine.GroupSpec, err error) {
	if err := json.Unmarshal([]byte(a.Arg("group")), &s); err != nil {
		return s, bad("%s: the group does not decode", a.Name)
	}
	_, err = groupArgs(engine.Action{Name: a.Name, Args: map[string]string{"stream": s.Stream, "group": s.Group}})
	if err == nil && s.Stream == engine.AllStreams && s.Filter != nil && len(s.Filter.Prefixes) == 0 && s.Filter.Regex == "" {
		err = bad("%s: the filter lets nothing through", a.Name)
	}
	return s, err
}

func createGroup(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	s, err := groupSpec(a)
	if err != nil {
		return engine.Result{}, err
	}
	set := &s.Settings
	o := &persistent.CreateReq_Options{GroupName: s.Group, Settings: &persistent.CreateReq_Settings{
		ResolveLinks: set.ResolveLinks, ExtraStatistics: set.ExtraStatistics, MaxRetryCount: count32(set.MaxRetries),
		MinCheckpointCount: count32(set.MinCheckpoint), MaxCheckpointCount: count32(set.MaxCheckpoint), MaxSubscriberCount: count32(set.MaxSubscribers),
		LiveBufferSize: count32(set.LiveBuffer), HistoryBufferSize: count32(set.HistoryBuffer), ReadBatchSize: count32(set.ReadBatch), ConsumerStrategy: set.Strategy,
		MessageTimeout:  &persistent.CreateReq_Settings_MessageTimeoutMs{MessageTimeoutMs: count32(int(set.MessageTimeoutMs))},
		CheckpointAfter: &persistent.CreateReq_Settings_CheckpointAfterMs{CheckpointAfterMs: count32(int(set.CheckpointAfterMs))}}}
	if s.Stream == engine.AllStreams {
		all, err := allOption(&s)
		if err != nil {
			return engine.Result{}, err
		}
		o.StreamOption = &persistent.CreateReq_Options_All{All: all}
	} else {
		one := &persistent.CreateReq_StreamOptions{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(s.Stream)}}
		switch s.From {
		case "start":
			one.RevisionOption = &persistent.CreateReq_StreamOptions_Start{Start: &client.Empty{}}
		case "end":
			one.RevisionOption = &persistent.CreateReq_StreamOptions_End{End: &client.Empty{}}
		default:
			at, err := strconv.ParseUint(s.From, 10, 63)
			if err != nil {
				return engine.Result{}, bad("%q is not a revision, start or end", s.From)
			}
			one.RevisionOption = &persistent.CreateReq_StreamOptions_Revision{Revision: at}
		}
		o.StreamOption = &persistent.CreateReq_Options_Stream{Stream: one}
	}
	return engine.Result{}, n.atLeader(ctx, "create the subscription", true, func(ctx context.Context, c *grpc.ClientConn, _ *said, opts ...grpc.CallOption) error {
		_, err := persistent.NewPersistentSubscriptionsClient(c).Create(ctx, &persistent.CreateReq{Options: o}, opts...)
		return err
	})
}

func count32(v int) int32 { return int32(max(min(v, math.MaxInt32), math.MinInt32)) }

func allOption(s *engine.GroupSpec) (*persistent.CreateReq_AllOptions, error) {
	all := &persistent.CreateReq_AllOptions{FilterOption: &persistent.CreateReq_AllOptions_NoFilter{NoFilter: &client.Empty{}}}
	switch s.From {
	case "start":
		all.AllOption = &persistent.CreateReq_AllOptions_Start{Start: &client.Empty{}}
	case "end":
		all.AllOption = &persistent.CreateReq_AllOptions_End{End: &client.Empty{}}
	default:
		at, ok := position(s.From)
		if !ok {
			return nil, bad("%q is not a position like C:0/P:0, start or end", s.From)
		}
		all.AllOption = &persistent.CreateReq_AllOptions_Position{Position: &persistent.CreateReq_Position{CommitPosition: uint64(at), PreparePosition: uint64(at)}}
	}
	if f := s.Filter; f != nil {
		by := &persistent.CreateReq_AllOptions_FilterOptions_Expression{Regex: f.Regex, Prefix: f.Prefixes}
		filter := &persistent.CreateReq_AllOptions_FilterOptions{CheckpointIntervalMultiplier: 1,
			Filter: &persistent.CreateReq_AllOptions_FilterOptions_StreamIdentifier{StreamIdentifier: by},
			Window: &persistent.CreateReq_AllOptions_FilterOptions_Count{Count: &client.Empty{}}}
		if f.ByType {
			filter.Filter = &persistent.CreateReq_AllOptions_FilterOptions_EventType{EventType: by}
		}
		all.FilterOption = &persistent.CreateReq_AllOptions_Filter{Filter: filter}
	}
	return all, nil
}

// groupBody is what POST /subscriptions takes. The gRPC call cannot name every
// strategy, this one can.
type groupBody struct {
	ResolveLinks    bool   `json:"resolveLinktos"`
	StartFrom       int64  `json:"startFrom"`
	StartPosition   string `json:"startPosition,omitempty"`
	MessageTimeout  int64  `json:"messageTimeoutMilliseconds"`
	ExtraStatistics bool   `json:"extraStatistics"`
	MaxRetryCount   int    `json:"maxRetryCount"`
	LiveBuffer      int    `json:"liveBufferSize"`
	HistoryBuffer   int    `json:"bufferSize"`
	ReadBatch       int    `json:"readBatchSize"`
	CheckpointAfter int64  `json:"checkPointAfterMilliseconds"`
	MinCheckpoint   int    `json:"minCheckPointCount"`
	MaxCheckpoint   int    `json:"maxCheckPointCount"`
	MaxSubscribers  int    `json:"maxSubscriberCount"`
	Strategy        string `json:"namedConsumerStrategy"`
}

func updateGroup(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	s, err := groupSpec(a)
	if err != nil {
		return engine.Result{}, err
	}
	set := &s.Settings
	b := groupBody{ResolveLinks: set.ResolveLinks, MessageTimeout: set.MessageTimeoutMs, ExtraStatistics: set.ExtraStatistics, MaxRetryCount: set.MaxRetries,
		LiveBuffer: set.LiveBuffer, HistoryBuffer: set.HistoryBuffer, ReadBatch: set.ReadBatch, CheckpointAfter: set.CheckpointAfterMs,
		MinCheckpoint: set.MinCheckpoint, MaxCheckpoint: set.MaxCheckpoint, MaxSubscribers: set.MaxSubscribers, Strategy: set.Strategy}
	switch {
	case s.From == "start" && s.Stream == engine.AllStreams:
		b.StartPosition = "C:0/P:0"
	case s.From == "start":
	case s.From == "end" || s.From == atEnd || s.From == atAllEnd:
		b.StartFrom = -1
	case s.Stream == engine.AllStreams:
		b.StartPosition = s.From
	default:
		if b.StartFrom, err = strconv.ParseInt(s.From, 10, 64); err != nil || b.StartFrom < 0 {
			return engine.Result{}, bad("%q is not a revision, start or end", s.From)
		}
	}
	err = n.call(ctx, http.MethodPost, n.base, "/subscriptions/"+url.PathEscape(s.Stream)+"/"+url.PathEscape(s.Group), b, nil)
	var r *refusal
	if errors.As(err, &r) && r.Status == http.StatusTemporaryRedirect {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeRefused, Detail: "change the subscription: another node leads by now; nothing was changed", Fix: "try again"}
	}
	return engine.Result{}, asActionError(err, "change the subscription", true)
}

func replayGroup(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	id, err := groupArgs(a)
	if err != nil {
		return engine.Result{}, err
	}
	o := &persistent.ReplayParkedReq_Options{GroupName: a.Arg("group"), StreamOption: &persistent.ReplayParkedReq_Options_All{All: &client.Empty{}},
		StopAtOption: &persistent.ReplayParkedReq_Options_NoLimit{NoLimit: &client.Empty{}}}
	if id != nil {
		o.StreamOption = &persistent.ReplayParkedReq_Options_StreamIdentifier{StreamIdentifier: id}
	}
	found, err := readGroup(ctx, n, a)
	if err != nil {
		return engine.Result{}, err
	}
	var g engine.GroupInfo
	if err := json.Unmarshal([]byte(found.Values["group"]), &g); err != nil {
		return engine.Result{}, err
	}
	events := g.Parked
	if text := a.Arg("first"); text != "" {
		first, err := strconv.ParseInt(text, 10, 32)
		if err != nil || first < 1 {
			return engine.Result{}, bad("%q is not a number of parked events from 1", text)
		}
		t, err := n.reader()
		if err != nil {
			return engine.Result{}, err
		}
		defer t.conn.Close()
		oldest, ok := t.firstParked(ctx, &g)
		if g.Parked > 0 && !ok {
			return engine.Result{}, &engine.ActionError{Code: engine.CodeRefused, Detail: "the parked events cannot be read, so the first of them are not known", Fix: "replay all of them, or have Baton sign in as a member of $admins"}
		}
		events = min(events, first)
		if ok {
			o.StopAtOption = &persistent.ReplayParkedReq_Options_StopAt{StopAt: int64(oldest.GetStreamRevision()) + first}
		}
	}
	err = n.atLeader(ctx, "replay parked events", true, func(ctx context.Context, c *grpc.ClientConn, _ *said, opts ...grpc.CallOption) error {
		_, err := persistent.NewPersistentSubscriptionsClient(c).ReplayParked(ctx, &persistent.ReplayParkedReq{Options: o}, opts...)
		return err
	})
	return engine.Result{Values: map[string]string{"events": strconv.FormatInt(events, 10)}}, err
}

func deleteGroup(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	id, err := groupArgs(a)
	if err != nil {
		return engine.Result{}, err
	}
	o := &persistent.DeleteReq_Options{GroupName: a.Arg("group"), StreamOption: &persistent.DeleteReq_Options_All{All: &client.Empty{}}}
	if id != nil {
		o.StreamOption = &persistent.DeleteReq_Options_StreamIdentifier{StreamIdentifier: id}
	}
	return engine.Result{}, n.atLeader(ctx, "delete the subscription", true, func(ctx context.Context, c *grpc.ClientConn, _ *said, opts ...grpc.CallOption) error {
		_, err := persistent.NewPersistentSubscriptionsClient(c).Delete(ctx, &persistent.DeleteReq{Options: o}, opts...)
		return err
	})
}

// ticks are 100 ns since the Unix epoch.
func ticks(n int64) time.Time { return time.Unix(0, 0).Add(time.Duration(n) * 100).UTC() }
