package engine

// Event-store actions on projections. A store that was started without them
// refuses each with CodeNotOffered.
const (
	// ListProjections. Values: "projections", JSON of []ProjectionInfo by name.
	ListProjections = "list-projections"
	// ReadProjection{name}. Values: "projection", JSON of ProjectionDetail.
	ReadProjection = "read-projection"
	// ReadProjectionState{name,partition}. Values: "state" and "result", JSON of
	// EventText.
	ReadProjectionState = "read-projection-state"
	// CreateProjection{projection}: JSON of ProjectionSpec.
	CreateProjection = "create-projection"
	// UpdateProjection{projection}: JSON of ProjectionSpec; mode and tracking
	// stay as they are.
	UpdateProjection = "update-projection"
	// CommandProjection{name,command}: one of the Projection commands below.
	CommandProjection = "command-projection"
	// DeleteProjection{name,emitted,state,checkpoint}: "true" deletes those
	// streams too.
	DeleteProjection = "delete-projection"
)

// CodeNotOffered: the server does not have what was asked for, as it was started.
const CodeNotOffered = "not-offered"

// Commands of CommandProjection.
const (
	ProjectionEnable  = "enable"
	ProjectionDisable = "disable" // a checkpoint is written
	ProjectionAbort   = "abort"   // disabled without a checkpoint
	ProjectionReset   = "reset"   // begins anew
)

// Modes of projections.
const (
	ProjectionContinuous = "continuous"
	ProjectionOneTime    = "one-time"
	ProjectionTransient  = "transient"
)

// ProjectionInfo is a projection as the leader tells it. Words and texts are
// the store's own.
type ProjectionInfo struct {
	Name             string  `json:"name"`
	Status           string  `json:"status"` // "Running", "Stopped", "Faulted", with more words in parentheses or behind a slash
	Reason           string  `json:"reason"` // of a fault
	Mode             string  `json:"mode"`
	Progress         float64 `json:"progress"` // percent, -1 not known
	Position         string  `json:"position"`
	Checkpoint       string  `json:"checkpoint"` // the last one's position
	CheckpointStatus string  `json:"checkpointStatus"`
	// Processed counts since the projection last started; PerSecond is what two
	// looks at it gave, -1 not known.
	Processed  int64   `json:"processed"`
	PerSecond  float64 `json:"perSecond"`
	Buffered   int64   `json:"buffered"`
	Partitions int     `json:"partitions"` // in memory
	Writes     int     `json:"writes"`     // in progress
	Reads      int     `json:"reads"`      // in progress
	Version    int64   `json:"version"`
	Epoch      int64   `json:"epoch"`
}

// ProjectionDetail is one projection with what it does.
type ProjectionDetail struct {
	Info ProjectionInfo `json:"info"`
	// Query is the source; Known is false where Baton could not read it.
	Query string `json:"query"`
	Known bool   `json:"known"`
	// Emit and Track are nil where Baton could not read them.
	Emit  *bool `json:"emit,omitempty"`
	Track *bool `json:"track,omitempty"`
	// Partitions are names of some partitions there are, at most MaxPartitions.
	Partitions []string `json:"partitions,omitempty"`
}

// MaxPartitions bounds the partitions that are named.
const MaxPartitions = 200

// ProjectionSpec makes or changes a projection.
type ProjectionSpec struct {
	Name  string `json:"name"`
	Mode  string `json:"mode,omitempty"`
	Query string `json:"query"`
	Emit  bool   `json:"emit"`
	// Track notes which streams were emitted to, so that they can be deleted.
	Track bool `json:"track,omitempty"`
}
