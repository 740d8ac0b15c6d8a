package admin

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"baton/eventstore/rpc"
	"baton/eventstore/subscription"
	"baton/eventstore/subscriptions"
)

// groupServer is a gRPC server that has persistent subscriptions; *rpc.Server is one.
type groupServer interface {
	Subscriptions() *subscriptions.Service
}

// subscriptionRoutes adds the routes by which older clients manage persistent subscriptions.
func (h *handler) subscriptionRoutes(mux *http.ServeMux) {
	mux.Handle("GET /subscriptions", h.groups(h.access.SignedIn, h.listGroups))
	mux.Handle("POST /subscriptions/restart", h.groups(h.access.MayOperate, h.restartGroups))
	mux.Handle("GET /subscriptions/{stream}", h.groups(h.access.SignedIn, h.listGroups))
	mux.Handle("GET /subscriptions/{stream}/{group}/info", h.groups(h.access.SignedIn, h.groupInfo))
	mux.Handle("PUT /subscriptions/{stream}/{group}", h.groups(h.access.MayOperate, h.createGroup))
	mux.Handle("POST /subscriptions/{stream}/{group}", h.groups(h.access.MayOperate, h.updateGroup))
	mux.Handle("DELETE /subscriptions/{stream}/{group}", h.groups(h.access.MayOperate, h.deleteGroup))
	mux.Handle("POST /subscriptions/{stream}/{group}/replayParked", h.groups(h.access.MayOperate, h.replayParked))
}

// groupRoute answers one request about groups, or returns why it cannot.
type groupRoute func(w http.ResponseWriter, r *http.Request, s *subscriptions.Service) error

func (h *handler) groups(check func(rpc.Caller) bool, route groupRoute) http.Handler {
	return h.may(check, func(w http.ResponseWriter, r *http.Request) {
		server, ok := h.Services.(groupServer)
		if !ok || server.Subscriptions() == nil {
			h.unknown(w, r)
			return
		}
		if err := route(w, r, server.Subscriptions()); err != nil {
			h.failGroup(w, r, err)
		}
	})
}

func keyOf(r *http.Request) subscriptions.Key {
	return subscriptions.Key{Stream: r.PathValue("stream"), Group: r.PathValue("group")}
}

// failGroup answers an error of package subscriptions.
func (h *handler) failGroup(w http.ResponseWriter, r *http.Request, err error) {
	var (
		missing *subscriptions.NotFoundError
		exists  *subscriptions.ExistsError
		failed  *subscriptions.FailedError
		request *subscriptions.RequestError
		dropped *subscriptions.DroppedError
	)
	p := problemDetails{Detail: err.Error()}
	switch {
	case errors.As(err, &missing):
		p.Title, p.Status, p.Code, p.Fix = "No such persistent subscription", http.StatusNotFound, "no-group", "See GET /subscriptions for those there are."
	case errors.As(err, &exists):
		p.Title, p.Status, p.Code, p.Fix = "The persistent subscription exists", http.StatusConflict, "group-exists", "Change it with POST to the same path, or delete it first."
	case errors.As(err, &request):
		p.Title, p.Status, p.Code, p.Fix = "The request cannot be carried out", http.StatusBadRequest, "bad-request", "Correct the request."
	case errors.As(err, &failed):
		p.Title, p.Status, p.Code, p.Fix = "The persistent subscription refuses this", http.StatusConflict, "group-failed", "Correct the settings, or wait until what runs has ended."
	case errors.Is(err, subscriptions.ErrLoading), errors.As(err, &dropped):
		p.Title, p.Status, p.Code, p.Fix, p.Retry = "Not ready", http.StatusServiceUnavailable, "loading", "Try again in a moment.", true
	default:
		h.fail(w, r, err)
		return
	}
	problem(w, p)
}

// groupSettings is a group's settings in JSON, as older clients read and send them. Times are milliseconds.
type groupSettings struct {
	ResolveLinks    bool   `json:"resolveLinktos"`
	StartFrom       int64  `json:"startFrom"` // -1: the end
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
	PreferRobin     *bool  `json:"preferRoundRobin,omitempty"` // of clients older than the named strategies
}

// defaultSettings are those of a request that leaves them out.
func defaultSettings() groupSettings {
	return groupSettings{MessageTimeout: 30_000, MaxRetryCount: 10, LiveBuffer: 500, HistoryBuffer: 500, ReadBatch: 20, CheckpointAfter: 2_000,
		MinCheckpoint: 10, MaxCheckpoint: 1_000, Strategy: string(subscription.RoundRobin)}
}

func (g *groupSettings) config() (subscriptions.Config, error) {
	if g.PreferRobin != nil && !*g.PreferRobin {
		g.Strategy = string(subscription.DispatchToSingle)
	}
	c := subscriptions.Config{Settings: subscription.Settings{
		ResolveLinks: g.ResolveLinks, ExtraStatistics: g.ExtraStatistics, MessageTimeout: millis(g.MessageTimeout), MaxRetryCount: g.MaxRetryCount,
		CheckpointAfter: millis(g.CheckpointAfter), MinCheckpointCount: g.MinCheckpoint, MaxCheckpointCount: g.MaxCheckpoint, MaxSubscribers: g.MaxSubscribers,
		LiveBuffer: g.LiveBuffer, HistoryBuffer: g.HistoryBuffer, ReadBatch: g.ReadBatch, Strategy: subscription.Strategy(g.Strategy),
	}}
	switch {
	case g.StartPosition == "C:-1/P:-1" || g.StartPosition == "" && g.StartFrom == -1:
		c.From.End = true
	case g.StartPosition != "":
		at, err := subscriptions.ParsePosition(g.StartPosition)
		if err != nil {
			return c, &subscriptions.RequestError{Reason: err.Error()}
		}
		c.From.At = at
	case g.StartFrom < 0:
		return c, &subscriptions.RequestError{Reason: "startFrom must be a revision, or -1 for the end"}
	default:
		c.From.At = uint64(g.StartFrom)
	}
	return c, nil
}

func millis(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// groupInfo is a group in JSON.
type groupInfo struct {
	Stream           string            `json:"eventStreamId"`
	Group            string            `json:"groupName"`
	Status           string            `json:"status"`
	PerSecond        int               `json:"averageItemsPerSecond"`
	Total            int64             `json:"totalItemsProcessed"`
	Since            int64             `json:"countSinceLastMeasurement"`
	LastProcessed    int64             `json:"lastProcessedEventNumber"` // -1: none, or of all streams
	LastKnown        int64             `json:"lastKnownEventNumber"`
	Checkpointed     string            `json:"lastCheckpointedEventPosition,omitempty"`
	LastKnownPlace   string            `json:"lastKnownEventPosition,omitempty"`
	ReadBuffer       int               `json:"readBufferCount"`
	LiveBuffer       int               `json:"liveBufferCount"`
	RetryBuffer      int               `json:"retryBufferCount"`
	InFlight         int               `json:"totalInFlightMessages"`
	Outstanding      int               `json:"outstandingMessagesCount"`
	Parked           int64             `json:"parkedMessageCount"`
	ConnectionCount  int               `json:"connectionCount"`
	Config           *groupSettings    `json:"config"`
	Connections      []groupConnection `json:"connections"`
	ParkedMessageURI string            `json:"parkedMessageUri"`
}

type groupConnection struct {
	From       string             `json:"from"`
	User       string             `json:"username"`
	Name       string             `json:"connectionName"`
	PerSecond  int                `json:"averageItemsPerSecond"`
	Total      int64              `json:"totalItemsProcessed"`
	Since      int64              `json:"countSinceLastMeasurement"`
	Slots      int                `json:"availableSlots"`
	InFlight   int                `json:"inFlightMessages"`
	Statistics []groupMeasurement `json:"extraStatistics"`
}

type groupMeasurement struct {
	Key   string `json:"key"`
	Value int64  `json:"value"`
}

func infoJSON(i *subscriptions.Info) groupInfo {
	s := &i.Settings
	config := &groupSettings{
		ResolveLinks: s.ResolveLinks, MessageTimeout: s.MessageTimeout.Milliseconds(), ExtraStatistics: s.ExtraStatistics, MaxRetryCount: s.MaxRetryCount,
		LiveBuffer: s.LiveBuffer, HistoryBuffer: s.HistoryBuffer, ReadBatch: s.ReadBatch, CheckpointAfter: s.CheckpointAfter.Milliseconds(),
		MinCheckpoint: s.MinCheckpointCount, MaxCheckpoint: s.MaxCheckpointCount, MaxSubscribers: s.MaxSubscribers, Strategy: string(s.Strategy),
	}
	g := groupInfo{
		Stream: i.Key.Stream, Group: i.Key.Group, Status: i.Status, PerSecond: i.Rates.PerSecond, Total: i.Rates.Total, Since: i.Rates.Since,
		LastProcessed: -1, LastKnown: -1, ReadBuffer: i.Stats.Queued, RetryBuffer: i.Stats.Retrying, InFlight: i.Stats.InFlight, Outstanding: i.Stats.Outstanding,
		Parked: i.Parked, ConnectionCount: len(i.Consumers), Config: config, Connections: []groupConnection{},
		ParkedMessageURI: "/streams/" + i.Key.ParkedStream(),
	}
	if i.Key.IsAll() {
		config.StartPosition, g.Checkpointed, g.LastKnownPlace = i.StartFrom, i.Checkpointed, i.LastKnown
	} else {
		config.StartFrom, _ = strconv.ParseInt(i.StartFrom, 10, 64)
		g.LastProcessed, g.LastKnown = revision(i.Checkpointed), revision(i.LastKnown)
	}
	for _, c := range i.Consumers {
		connection := groupConnection{From: c.From, User: c.User, Name: c.Connection, PerSecond: c.Rates.PerSecond, Total: c.Rates.Total, Since: c.Rates.Since,
			Slots: max(c.Slots-c.InFlight, 0), InFlight: c.InFlight, Statistics: []groupMeasurement{}}
		for _, t := range c.Times {
			connection.Statistics = append(connection.Statistics, groupMeasurement{t.Key, t.Value})
		}
		g.Connections = append(g.Connections, connection)
	}
	return g
}

func revision(text string) int64 {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	return -1
}

func (h *handler) listGroups(w http.ResponseWriter, r *http.Request, s *subscriptions.Service) error {
	list, err := s.List(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	out := make([]groupInfo, 0, len(list))
	for i := range list {
		out = append(out, infoJSON(&list[i]))
	}
	answer(w, out)
	return nil
}

func (h *handler) groupInfo(w http.ResponseWriter, r *http.Request, s *subscriptions.Service) error {
	info, err := s.Info(r.Context(), keyOf(r))
	if err != nil {
		return err
	}
	answer(w, infoJSON(&info))
	return nil
}

func (h *handler) createGroup(w http.ResponseWriter, r *http.Request, s *subscriptions.Service) error {
	settings := defaultSettings()
	if !decode(w, r, &settings) {
		return nil
	}
	c, err := settings.config()
	if err == nil {
		err = s.Create(r.Context(), keyOf(r), c, rpc.CallerOf(r.Context()).Name)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/subscriptions/"+r.PathValue("stream")+"/"+r.PathValue("group"))
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (h *handler) updateGroup(w http.ResponseWriter, r *http.Request, s *subscriptions.Service) error {
	settings := defaultSettings()
	if !decode(w, r, &settings) {
		return nil
	}
	c, err := settings.config()
	if err == nil {
		err = s.Update(r.Context(), keyOf(r), c, rpc.CallerOf(r.Context()).Name)
	}
	if err != nil {
		return err
	}
	answer(w, map[string]string{"correlationId": "", "reason": "", "result": "Success", "msgTypeId": ""})
	return nil
}

func (h *handler) deleteGroup(w http.ResponseWriter, r *http.Request, s *subscriptions.Service) error {
	if err := s.Delete(r.Context(), keyOf(r), rpc.CallerOf(r.Context()).Name); err != nil {
		return err
	}
	answer(w, map[string]string{"result": "Success"})
	return nil
}

func (h *handler) replayParked(w http.ResponseWriter, r *http.Request, s *subscriptions.Service) error {
	stop := subscriptions.NoLimit
	if text := strings.TrimSpace(r.URL.Query().Get("stopAt")); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return &subscriptions.RequestError{Reason: "stopAt must be a revision of the parked stream"}
		}
		stop = n
	}
	if err := s.Replay(r.Context(), keyOf(r), stop); err != nil {
		return err
	}
	answer(w, map[string]string{"result": "Success"})
	return nil
}

func (h *handler) restartGroups(w http.ResponseWriter, r *http.Request, s *subscriptions.Service) error {
	if err := s.Restart(r.Context()); err != nil {
		return err
	}
	answer(w, map[string]string{"result": "Success"})
	return nil
}
