package api

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/engine"
)

// SubscriptionList are the persistent subscriptions of an event store.
type SubscriptionList struct {
	Subscriptions []Subscription `json:"subscriptions" doc:"by stream and name"`
}

// Subscription is a persistent subscription: a group of consumers that share the
// events of one stream, or of all.
type Subscription struct {
	Stream       string     `json:"stream" doc:"$all: of all streams"`
	Group        string     `json:"group"`
	State        string     `json:"state" enum:"live,behind,faulted"`
	Replaying    bool       `json:"replaying" doc:"parked events are being sent again"`
	Status       string     `json:"status" doc:"in the event store's own words"`
	Strategy     string     `json:"strategy"`
	Consumers    int        `json:"consumers"`
	LagEvents    *Int64     `json:"lagEvents" doc:"events that are not handled yet; null when nobody counted them"`
	LagBytes     *Int64     `json:"lagBytes" doc:"of all streams: bytes of the log behind its end; else null"`
	InFlight     int        `json:"inFlight" doc:"sent and not answered"`
	Retrying     int        `json:"retrying"`
	Outstanding  int        `json:"outstanding" doc:"read and not handled"`
	Parked       Int64      `json:"parked"`
	OldestParked *time.Time `json:"oldestParked" doc:"when the oldest parked event was parked"`
	PerSecond    int        `json:"perSecond" doc:"on average since the group runs on its node"`
	Total        Int64      `json:"total" doc:"sent since the group runs on its node"`
	Checkpoint   string     `json:"checkpoint" doc:"revision or position; empty: none yet"`
	Known        string     `json:"known" doc:"the newest; empty: there is none"`
}

// TransformSchema documents which references may be null.
func (Subscription) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "lagEvents", "lagBytes")
}

// SubscriptionDetail is one of them with settings and consumers.
type SubscriptionDetail struct {
	Subscription Subscription           `json:"subscription"`
	From         string                 `json:"from" doc:"revision or position, start or end"`
	Settings     SubscriptionSettings   `json:"settings"`
	Consumers    []SubscriptionConsumer `json:"consumers"`
}

// SubscriptionSettings are what people decide about one. Zero is a value: whoever
// sends settings sends all of them.
type SubscriptionSettings struct {
	Strategy          string `json:"strategy" enum:"RoundRobin,DispatchToSingle,Pinned,PinnedByCorrelation"`
	ResolveLinks      bool   `json:"resolveLinks"`
	ExtraStatistics   bool   `json:"extraStatistics"`
	MessageTimeoutMs  int64  `json:"messageTimeoutMs" minimum:"0" maximum:"2147483647" doc:"an event not answered by then is sent again; 0: never"`
	MaxRetries        int    `json:"maxRetries" minimum:"0" maximum:"2147483647" doc:"then it is parked"`
	CheckpointAfterMs int64  `json:"checkpointAfterMs" minimum:"0" maximum:"2147483647"`
	MinCheckpoint     int    `json:"minCheckpoint" minimum:"0" maximum:"2147483647" doc:"events"`
	MaxCheckpoint     int    `json:"maxCheckpoint" minimum:"1" maximum:"2147483647" doc:"events"`
	MaxSubscribers    int    `json:"maxSubscribers" minimum:"0" maximum:"2147483647" doc:"0: any number"`
	LiveBuffer        int    `json:"liveBuffer" minimum:"1" maximum:"100000" doc:"events"`
	HistoryBuffer     int    `json:"historyBuffer" minimum:"1" maximum:"100000" doc:"events, more than the read batch"`
	ReadBatch         int    `json:"readBatch" minimum:"1" maximum:"100000" doc:"events"`
}

// UsualSubscription are the settings that the store's clients begin with.
var UsualSubscription = SubscriptionSettings{Strategy: "RoundRobin", MessageTimeoutMs: 30_000, MaxRetries: 10, CheckpointAfterMs: 2_000, MinCheckpoint: 10, MaxCheckpoint: 1_000,
	LiveBuffer: 500, HistoryBuffer: 500, ReadBatch: 20}

// SubscriptionConsumer is one consumer.
type SubscriptionConsumer struct {
	From      string `json:"from" doc:"its address"`
	User      string `json:"user"`
	Name      string `json:"name"`
	PerSecond int    `json:"perSecond"`
	Total     Int64  `json:"total"`
	InFlight  int    `json:"inFlight"`
	Free      int    `json:"free" doc:"events it would take now"`
}

// SubscriptionRequest makes or changes one.
type SubscriptionRequest struct {
	Stream   string                `json:"stream" minLength:"1" maxLength:"512" doc:"$all: of all streams"`
	Group    string                `json:"group" minLength:"1" maxLength:"512"`
	From     string                `json:"from,omitempty" maxLength:"64" default:"end" doc:"start, end, a revision, or of all streams a position C:n/P:n; a change leaves it when missing"`
	Settings *SubscriptionSettings `json:"settings,omitempty" doc:"missing: the usual ones, and of a change those it has"`
	Filter   *SubscriptionFilter   `json:"filter,omitempty" doc:"only of all streams; decided once"`
	Reason   string                `json:"reason,omitempty" maxLength:"1000"`
}

// SubscriptionFilter chooses among the events of all streams.
type SubscriptionFilter struct {
	By       string   `json:"by" enum:"stream,type"`
	Prefixes []string `json:"prefixes,omitempty" maxItems:"64"`
	Regex    string   `json:"regex,omitempty" maxLength:"1000"`
}

// ReplayRequest sends parked events again.
type ReplayRequest struct {
	Stream string `json:"stream" minLength:"1" maxLength:"512"`
	Group  string `json:"group" minLength:"1" maxLength:"512"`
	First  *int   `json:"first,omitempty" minimum:"1" maximum:"1000000" doc:"so many of the oldest; missing: all that are parked now"`
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// SubscriptionDeletion deletes one, with its checkpoint and parked events.
type SubscriptionDeletion struct {
	Stream    string `json:"stream" minLength:"1" maxLength:"512"`
	Group     string `json:"group" minLength:"1" maxLength:"512"`
	TypedName string `json:"typedName" maxLength:"512" doc:"the group"`
	Reason    string `json:"reason,omitempty" maxLength:"1000"`
}

type subscriptionInput struct {
	ID     string `path:"id" maxLength:"63"`
	Stream string `query:"stream" required:"true" minLength:"1" maxLength:"512"`
	Group  string `query:"group" required:"true" minLength:"1" maxLength:"512"`
}

func (s *Server) subscriptionRoutes() {
	add(s, "subscriptions", "GET", "/clusters/{id}/subscriptions", "Persistent subscriptions of an event store", s.getSubscriptions)
	add(s, "subscription", "GET", "/clusters/{id}/subscriptions/info", "One persistent subscription with settings and consumers", s.getSubscription)
	add(s, "create-subscription", "POST", "/clusters/{id}/subscriptions", "Make a persistent subscription", s.postSubscription)
	add(s, "update-subscription", "PUT", "/clusters/{id}/subscriptions", "Change a persistent subscription's settings; its consumers connect anew", s.putSubscription)
	add(s, "replay-subscription", "POST", "/clusters/{id}/subscriptions/replay", "Send parked events again", s.postReplay)
	add(s, "delete-subscription", "POST", "/clusters/{id}/subscriptions/delete", "Delete a persistent subscription", s.postSubscriptionDelete)
}

func subscription(g *engine.GroupInfo) Subscription {
	v := Subscription{Stream: g.Stream, Group: g.Group, Status: g.Status, Strategy: g.Settings.Strategy, Consumers: g.Consumers, InFlight: g.InFlight, Retrying: g.Retrying,
		Outstanding: g.Outstanding, Parked: Int64(g.Parked), OldestParked: g.OldestParked, PerSecond: g.PerSecond, Total: Int64(g.Total), Checkpoint: g.Checkpoint, Known: g.Known,
		Replaying: strings.Contains(g.Status, "ReplayingParkedMessages")}
	switch {
	case strings.HasPrefix(g.Status, "Live"):
		v.State = "live"
	case strings.HasPrefix(g.Status, "NotReady"):
		v.State = "faulted"
	default:
		v.State = "behind"
	}
	if g.LagEvents >= 0 {
		v.LagEvents = int64p(g.LagEvents)
	}
	if g.LagBytes >= 0 {
		v.LagBytes = int64p(g.LagBytes)
	}
	return v
}

func (s *Server) getSubscriptions(ctx context.Context, in *clusterInput) (*body[SubscriptionList], error) {
	var list []engine.GroupInfo
	if err := s.readStore(ctx, in.ID, "groups", &list, engine.Action{Name: engine.ListGroups}); err != nil {
		return nil, err
	}
	out := SubscriptionList{Subscriptions: []Subscription{}}
	for i := range list {
		out.Subscriptions = append(out.Subscriptions, subscription(&list[i]))
	}
	return &body[SubscriptionList]{out}, nil
}

// readStore has an event store do an action that reads and decodes one value.
func (s *Server) readStore(ctx context.Context, cluster, value string, into any, a engine.Action) error {
	v, err := s.askStream(ctx, cluster, a.Name, a.Args)
	if err == nil {
		if err = json.Unmarshal([]byte(v[value]), into); err != nil {
			err = fmt.Errorf("decode %s of %s: %w", value, cluster, err)
		}
	}
	if err != nil {
		return s.problem(ctx, cluster, err)
	}
	return nil
}

func (s *Server) group(ctx context.Context, cluster, stream, group string) (g engine.GroupInfo, err error) {
	err = s.readStore(ctx, cluster, "group", &g, engine.Action{Name: engine.ReadGroup, Args: map[string]string{"stream": stream, "group": group}})
	return g, err
}

func (s *Server) getSubscription(ctx context.Context, in *subscriptionInput) (*body[SubscriptionDetail], error) {
	g, err := s.group(ctx, in.ID, in.Stream, in.Group)
	if err != nil {
		return nil, err
	}
	return &body[SubscriptionDetail]{subscriptionDetail(&g)}, nil
}

func subscriptionDetail(g *engine.GroupInfo) SubscriptionDetail {
	out := SubscriptionDetail{Subscription: subscription(g), From: g.From, Settings: SubscriptionSettings(g.Settings), Consumers: []SubscriptionConsumer{}}
	switch g.From {
	case "-1", "C:-1/P:-1":
		out.From = "end"
	case "0", "C:0/P:0":
		out.From = "start"
	}
	for _, c := range g.Connections {
		out.Consumers = append(out.Consumers, SubscriptionConsumer{c.From, c.User, c.Name, c.PerSecond, Int64(c.Total), c.InFlight, c.Free})
	}
	return out
}

// groupName names a subscription in sentences.
func groupName(stream, group string) string {
	if stream == engine.AllStreams {
		return printable(group) + " of all streams"
	}
	return printable(group) + " of stream " + printable(stream)
}

var startForm = regexp.MustCompile(`^(start|end|[0-9]{1,19}|C:[0-9]{1,19}/P:[0-9]{1,19})$`)

func badSubscription(detail, fix string) *Problem {
	return &Problem{Title: "The subscription is not valid", Status: 422, Code: CodeBadRequest, Detail: detail, Fix: fix}
}

// groupSpec checks a request and returns it in the engine's words.
func (r *SubscriptionRequest) groupSpec() (string, error) {
	all := r.Stream == engine.AllStreams
	if r.Settings == nil {
		r.Settings = &UsualSubscription
	}
	spec := engine.GroupSpec{Stream: r.Stream, Group: r.Group, From: r.From, Settings: engine.GroupSettings(*r.Settings)}
	switch {
	case !startForm.MatchString(r.From) || all && r.From != "start" && r.From != "end" && !strings.HasPrefix(r.From, "C:") || !all && strings.HasPrefix(r.From, "C:"):
		return "", badSubscription(fmt.Sprintf("%q is no place to begin at", printable(r.From)), "give start, end, a revision, or of all streams a position such as C:0/P:0")
	case r.Settings.HistoryBuffer <= r.Settings.ReadBatch:
		return "", badSubscription("the history buffer must hold more events than are read at once", "make the history buffer larger than the read batch")
	case r.Settings.MaxCheckpoint < r.Settings.MinCheckpoint:
		return "", badSubscription("the largest number of events between checkpoints is below the smallest", "make it as large at least")
	case r.Filter != nil && !all:
		return "", badSubscription("only subscriptions to all streams are filtered", "leave the filter out, or subscribe to $all")
	}
	if f := r.Filter; f != nil {
		if (f.Regex == "") == (len(f.Prefixes) == 0) {
			return "", badSubscription("a filter is either prefixes or one regular expression", "give one of them")
		}
		spec.Filter = &engine.GroupFilter{ByType: f.By == "type", Prefixes: f.Prefixes, Regex: f.Regex}
	}
	b, err := json.Marshal(spec)
	return string(b), err
}

func (s *Server) postSubscription(ctx context.Context, in *clusterBody[SubscriptionRequest]) (*body[SubscriptionDetail], error) {
	name := groupName(in.Body.Stream, in.Body.Group)
	spec, err := in.Body.groupSpec()
	if err == nil {
		_, err = s.askStream(ctx, in.ID, engine.CreateGroup, map[string]string{"group": spec})
	}
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", "tried to make subscription "+name, err)
	}
	s.changedStore(ctx, in.ID, "subscription", "made subscription "+name+", from "+in.Body.From, in.Body.Reason)
	return s.afterwards(ctx, in.ID, &in.Body)
}

// afterwards is a subscription as it is after it was written; what cannot be
// read then is said as it was asked for.
func (s *Server) afterwards(ctx context.Context, cluster string, r *SubscriptionRequest) (*body[SubscriptionDetail], error) {
	g, err := s.group(ctx, cluster, r.Stream, r.Group)
	if err != nil {
		g = engine.GroupInfo{Stream: r.Stream, Group: r.Group, Status: "Behind", From: r.From, Settings: engine.GroupSettings(*r.Settings), LagEvents: -1, LagBytes: -1}
	}
	return &body[SubscriptionDetail]{subscriptionDetail(&g)}, nil
}

func (s *Server) putSubscription(ctx context.Context, in *clusterBody[SubscriptionRequest]) (*body[SubscriptionDetail], error) {
	name := groupName(in.Body.Stream, in.Body.Group)
	what := "tried to change subscription " + name
	before, err := s.group(ctx, in.ID, in.Body.Stream, in.Body.Group)
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	detail := subscriptionDetail(&before)
	if in.Body.From, in.Body.Filter = detail.From, nil; in.Body.Settings == nil { // both are decided once
		in.Body.Settings = &detail.Settings
	}
	spec, err := in.Body.groupSpec()
	if err == nil {
		_, err = s.askStream(ctx, in.ID, engine.UpdateGroup, map[string]string{"group": spec})
	}
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	s.changedStore(ctx, in.ID, "subscription", "changed subscription "+name+": "+settingsDifference(before.Settings, engine.GroupSettings(*in.Body.Settings)), in.Body.Reason)
	return s.afterwards(ctx, in.ID, &in.Body)
}

// settingsDifference names the settings that changed, before and after.
func settingsDifference(a, b engine.GroupSettings) string {
	var out []string
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if was, is := x.Field(i).Interface(), y.Field(i).Interface(); was != is {
			out = append(out, fmt.Sprintf("%s %v -> %v", x.Type().Field(i).Tag.Get("json"), was, is))
		}
	}
	if len(out) == 0 {
		return "nothing; its consumers connected anew"
	}
	return strings.Join(out, "; ")
}

func (s *Server) postReplay(ctx context.Context, in *clusterBody[ReplayRequest]) (*body[Done], error) {
	name, args := groupName(in.Body.Stream, in.Body.Group), map[string]string{"stream": in.Body.Stream, "group": in.Body.Group}
	if in.Body.First != nil {
		args["first"] = strconv.Itoa(*in.Body.First)
	}
	v, err := s.askStream(ctx, in.ID, engine.ReplayGroup, args)
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", "tried to replay parked events of subscription "+name, err)
	}
	events := v["events"]
	if events == "0" {
		s.changedStore(ctx, in.ID, "subscription", "replayed parked events of subscription "+name+": there were none", in.Body.Reason)
		return &body[Done]{Done{"Nothing is parked"}}, nil
	}
	s.changedStore(ctx, in.ID, "subscription", "replayed "+counted(events, "parked event")+" of subscription "+name, in.Body.Reason)
	return &body[Done]{Done{counted(events, "parked event") + " go to the consumers again, oldest first"}}, nil
}

// counted is a number with its noun.
func counted(n, noun string) string {
	if n == "1" {
		return "1 " + noun
	}
	return n + " " + noun + "s"
}

func (s *Server) postSubscriptionDelete(ctx context.Context, in *clusterBody[SubscriptionDeletion]) (*body[Done], error) {
	name := groupName(in.Body.Stream, in.Body.Group)
	what := "tried to delete subscription " + name
	if in.Body.TypedName != in.Body.Group {
		return nil, s.refuse(ctx, in.ID, "", what, wrongName("the group's name"))
	}
	if _, err := s.askStream(ctx, in.ID, engine.DeleteGroup, map[string]string{"stream": in.Body.Stream, "group": in.Body.Group}); err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	s.changedStore(ctx, in.ID, "subscription", "deleted subscription "+name, in.Body.Reason)
	return &body[Done]{Done{"Subscription " + name + " is deleted, with its checkpoint and its parked events"}}, nil
}

func wrongName(of string) *Problem {
	return &Problem{Title: "The typed name does not match", Status: 422, Code: CodeTypedName, Detail: "what was typed is not " + of, Fix: "type the name exactly"}
}
