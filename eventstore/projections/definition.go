package projections

import (
	"encoding/json"
	"fmt"
	"time"

	"baton/eventstore/projection"
)

// Mode says how long a projection lives.
type Mode string

// The modes.
const (
	// Continuous: it follows what comes, and is kept.
	Continuous Mode = "Continuous"
	// OneTime: it ends when it has read what there was; it and its outcome are kept.
	OneTime Mode = "OneTime"
	// Transient: it ends when it has read what there was, and is forgotten when the leadership moves.
	Transient Mode = "Transient"
)

// script is the handler type of custom projections.
const script = "JS"

// Config are the settings of a projection beside its program. Zero fields of the thresholds stand for defaults.
type Config struct {
	EmitEnabled         bool `json:"emitEnabled"`
	TrackEmittedStreams bool `json:"trackEmittedStreams"`
	// CheckpointAfterMs is how long what was handled may wait to be remembered when nothing is to be written, milliseconds.
	CheckpointAfterMs int `json:"checkpointAfterMs"`
	// CheckpointHandledThreshold is how many handled events are remembered at the latest.
	CheckpointHandledThreshold int `json:"checkpointHandledThreshold"`
	// CheckpointUnhandledBytesThreshold is after how many bytes of log without anything for the projection its place is remembered.
	CheckpointUnhandledBytesThreshold int `json:"checkpointUnhandledBytesThreshold"`
	// MaxWriteBatchLength is how many events one append holds.
	MaxWriteBatchLength int `json:"maxWriteBatchLength"`
	// ProjectionExecutionTimeout is how long the program may take over one event, milliseconds.
	ProjectionExecutionTimeout int `json:"projectionExecutionTimeout"`
}

// Defaults and bounds of Config.
const (
	defaultCheckpointAfterMs        = 1_000
	defaultCheckpointHandled        = 4_000
	defaultCheckpointUnhandledBytes = 10_000_000
	defaultWriteBatch               = 500
	maxCheckpointAfterMs            = 60_000
	maxThreshold                    = 1 << 30
	maxWriteBatch                   = 5_000
	maxExecutionMs                  = 60_000
)

func (c Config) withDefaults() Config {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&c.CheckpointAfterMs, defaultCheckpointAfterMs}, {&c.CheckpointHandledThreshold, defaultCheckpointHandled},
		{&c.CheckpointUnhandledBytesThreshold, defaultCheckpointUnhandledBytes}, {&c.MaxWriteBatchLength, defaultWriteBatch},
		{&c.ProjectionExecutionTimeout, int(projection.DefaultHandleTime / time.Millisecond)},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return c
}

func (c Config) check() error {
	for _, f := range []struct {
		name           string
		value, highest int
	}{
		{"checkpointAfterMs", c.CheckpointAfterMs, maxCheckpointAfterMs}, {"checkpointHandledThreshold", c.CheckpointHandledThreshold, maxThreshold},
		{"checkpointUnhandledBytesThreshold", c.CheckpointUnhandledBytesThreshold, maxThreshold}, {"maxWriteBatchLength", c.MaxWriteBatchLength, maxWriteBatch},
		{"projectionExecutionTimeout", c.ProjectionExecutionTimeout, maxExecutionMs},
	} {
		if f.value < 0 || f.value > f.highest {
			return &RequestError{fmt.Sprintf("%s must be between 0 (the default) and %d", f.name, f.highest)}
		}
	}
	return nil
}

// runAs is in whose name a projection reads and writes.
type runAs struct {
	Name string `json:"name"`
}

// document is the data of a $ProjectionUpdated event: all there is to know of a projection but its progress. Each replaces the one before.
type document struct {
	HandlerType   string `json:"handlerType"`
	Query         string `json:"query"`
	Mode          Mode   `json:"mode"`
	Enabled       bool   `json:"enabled"`
	Aborted       bool   `json:"aborted,omitempty"` // not enabled: it was stopped without a checkpoint
	EngineVersion int    `json:"engineVersion,omitempty"`
	Config
	// ID is the revision of the event in $projections-$all that created it, Epoch counts resets, Version updates: together they sign what it writes.
	ID      int64  `json:"id"`
	Epoch   int64  `json:"epoch"`
	Version int64  `json:"version"`
	RunAs   *runAs `json:"runAs,omitempty"` // nil: the system
	// Updated and UpdatedBy are of the last change.
	Updated   time.Time `json:"updated"`
	UpdatedBy string    `json:"updatedBy"`
}

func parseDocument(data []byte) (document, error) {
	var d document
	err := json.Unmarshal(data, &d)
	return d, err
}

// sign names a projection, how often it was reset, and how often changed, as its events' metadata have it.
func (d *document) sign() string { return fmt.Sprintf("%d:%d:%d", d.ID, d.Epoch, d.Version) }

// system says whether it is one of the server's own.
func (d *document) system() bool { return projection.IsSystem(d.HandlerType) }

// compile makes the program.
func (s *Service) compile(name string, d *document) (projection.Projection, error) {
	if d.system() {
		return projection.System(name, d.HandlerType, d.Query)
	}
	limits := s.o.Limits
	limits.HandleTime = time.Duration(d.Config.withDefaults().ProjectionExecutionTimeout) * time.Millisecond
	return s.o.Compile(name, d.Query, limits)
}
