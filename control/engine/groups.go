package engine

import "time"

// Event-store actions on persistent subscriptions, for people who manage them.
// "stream" is a stream's name, or "$all".
const (
	// ListGroups: all groups. Values: "groups", JSON of []GroupInfo without
	// consumers, by stream and name.
	ListGroups = "list-groups"
	// ReadGroup{stream,group}. Values: "group", JSON of GroupInfo.
	ReadGroup = "read-group"
	// CreateGroup{group}: JSON of GroupSpec.
	CreateGroup = "create-group"
	// UpdateGroup{group}: JSON of GroupSpec; its filter is not looked at, the
	// group keeps the one it has. Consumers are dropped and come back by themselves.
	UpdateGroup = "update-group"
	// ReplayGroup{stream,group,first}: sends the first parked events again, ""
	// all that are parked now. Values: "events", how many that are at most.
	ReplayGroup = "replay-group"
	// DeleteGroup{stream,group}: with its checkpoint and its parked events.
	DeleteGroup = "delete-group"
)

// AllStreams is the name under which groups of all streams go.
const AllStreams = "$all"

// GroupSettings are a group's settings. Times are milliseconds.
type GroupSettings struct {
	Strategy          string `json:"strategy"` // RoundRobin, DispatchToSingle, Pinned, PinnedByCorrelation
	ResolveLinks      bool   `json:"resolveLinks"`
	ExtraStatistics   bool   `json:"extraStatistics"`
	MessageTimeoutMs  int64  `json:"messageTimeoutMs"` // 0: never
	MaxRetries        int    `json:"maxRetries"`       // one more and the event is parked
	CheckpointAfterMs int64  `json:"checkpointAfterMs"`
	MinCheckpoint     int    `json:"minCheckpoint"`  // events
	MaxCheckpoint     int    `json:"maxCheckpoint"`  // events
	MaxSubscribers    int    `json:"maxSubscribers"` // 0: any number
	LiveBuffer        int    `json:"liveBuffer"`     // events
	HistoryBuffer     int    `json:"historyBuffer"`  // events, more than ReadBatch
	ReadBatch         int    `json:"readBatch"`      // events
}

// GroupSpec makes or changes a group.
type GroupSpec struct {
	Stream string `json:"stream"`
	Group  string `json:"group"`
	// From is a revision, of all streams a position "C:n/P:n", or one of "start"
	// and "end".
	From     string        `json:"from"`
	Settings GroupSettings `json:"settings"`
	// Filter of a group of all streams; nil: every event.
	Filter *GroupFilter `json:"filter,omitempty"`
}

// GroupFilter chooses among the events of all streams: by a prefix of the
// stream's name or of the event's type, or by a regular expression.
type GroupFilter struct {
	ByType   bool     `json:"byType"`
	Prefixes []string `json:"prefixes,omitempty"`
	Regex    string   `json:"regex,omitempty"`
}

// GroupInfo is a group as the leader tells it.
type GroupInfo struct {
	Stream string `json:"stream"`
	Group  string `json:"group"`
	Status string `json:"status"` // words of the store: Live, Behind, ReplayingParkedMessages, NotReady
	// From, Checkpoint and Known are revisions, or positions "C:n/P:n" of all
	// streams; From may be "-1" or "C:-1/P:-1", the end; the others "" for none.
	From       string `json:"from"`
	Checkpoint string `json:"checkpoint"`
	Known      string `json:"known"`
	// LagEvents is how many events are not handled yet, -1 when nobody counted;
	// LagBytes how far the checkpoint is behind the end of all streams, -1 for
	// groups of one stream.
	LagEvents   int64 `json:"lagEvents"`
	LagBytes    int64 `json:"lagBytes"`
	InFlight    int   `json:"inFlight"` // sent, not answered
	Queued      int   `json:"queued"`   // read, not sent
	Retrying    int   `json:"retrying"`
	Outstanding int   `json:"outstanding"` // all three
	Parked      int64 `json:"parked"`
	// OldestParked is when the event parked first of those was parked; nil:
	// nothing is parked, or Baton may not read it.
	OldestParked *time.Time      `json:"oldestParked,omitempty"`
	PerSecond    int             `json:"perSecond"` // on average since the group began here
	Total        int64           `json:"total"`
	Consumers    int             `json:"consumers"`
	Settings     GroupSettings   `json:"settings"`
	Connections  []GroupConsumer `json:"connections,omitempty"`
}

// GroupConsumer is a consumer of a group.
type GroupConsumer struct {
	From      string `json:"from"` // address
	User      string `json:"user"`
	Name      string `json:"name"`
	PerSecond int    `json:"perSecond"`
	Total     int64  `json:"total"`
	InFlight  int    `json:"inFlight"`
	Free      int    `json:"free"` // events it would take now
}
