package subscription

import (
	"errors"
	"fmt"
	"time"
)

// Strategy says which consumer gets an event.
type Strategy string

const (
	// RoundRobin gives each consumer with a free slot its turn.
	RoundRobin Strategy = "RoundRobin"
	// DispatchToSingle gives everything to the first consumer until its slots are full, then to the next.
	DispatchToSingle Strategy = "DispatchToSingle"
	// Pinned keeps the events of one source stream with one consumer.
	Pinned Strategy = "Pinned"
	// PinnedByCorrelation keeps the events of one correlation id with one consumer.
	PinnedByCorrelation Strategy = "PinnedByCorrelation"
)

// pins says whether a strategy binds keys to consumers.
func (s Strategy) pins() bool { return s == Pinned || s == PinnedByCorrelation }

// Settings of a group.
type Settings struct {
	ResolveLinks    bool
	ExtraStatistics bool          // keep the times consumers take
	MessageTimeout  time.Duration // an event not acknowledged for so long is sent again; 0: never
	MaxRetryCount   int           // an event sent again so often is parked the next time
	CheckpointAfter time.Duration // least time between two checkpoints
	// A checkpoint is due when so many events were handled and CheckpointAfter has passed; and at once when so many were handled.
	MinCheckpointCount, MaxCheckpointCount int
	MaxSubscribers                         int // 0: any number
	LiveBuffer                             int // told to clients; reading here has one path, see ADR 60
	HistoryBuffer                          int // events read ahead at most
	ReadBatch                              int
	Strategy                               Strategy
}

// Bounds of settings and consumers.
const (
	// maxBuffer bounds the events a group reads ahead.
	maxBuffer = 100_000
	// MaxSlots bounds what one consumer may hold unacknowledged.
	MaxSlots = 10_000
	// DefaultSlots are those of a consumer that names none; the published clients ask for as many.
	DefaultSlots = 10
	// maxBytes bounds the memory of a group's outstanding events: beyond it nothing more is read.
	maxBytes = 64 << 20
	// messageBytes is about what a message takes beside its payload.
	messageBytes = 400
)

// Check returns what is wrong with the settings, as a sentence for the client; nil if nothing is.
func (s *Settings) Check() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"max retry count", s.MaxRetryCount}, {"min checkpoint count", s.MinCheckpointCount}, {"max checkpoint count", s.MaxCheckpointCount},
		{"max subscriber count", s.MaxSubscribers}, {"live buffer size", s.LiveBuffer},
	} {
		if f.value < 0 {
			return fmt.Errorf("the %s must not be negative; it is %d", f.name, f.value)
		}
	}
	switch {
	case s.MessageTimeout < 0 || s.CheckpointAfter < 0:
		return errors.New("times must not be negative")
	case s.ReadBatch < 1:
		return fmt.Errorf("the read batch size must be at least 1; it is %d", s.ReadBatch)
	case s.HistoryBuffer <= s.ReadBatch:
		return fmt.Errorf("the history buffer size (%d) must be larger than the read batch size (%d)", s.HistoryBuffer, s.ReadBatch)
	case s.HistoryBuffer > maxBuffer || s.LiveBuffer > maxBuffer:
		return fmt.Errorf("a buffer holds %d events at most", maxBuffer)
	}
	switch s.Strategy {
	case RoundRobin, DispatchToSingle, Pinned, PinnedByCorrelation:
		return nil
	}
	return fmt.Errorf("consumer strategy %q does not exist; there are %s, %s, %s and %s", clip(string(s.Strategy)), RoundRobin, DispatchToSingle, Pinned, PinnedByCorrelation)
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
