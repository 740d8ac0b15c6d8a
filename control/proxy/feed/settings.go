package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"baton/control/journal"
)

const (
	// Stream holds the settings of all endpoints.
	Stream = "endpoints"
	// EndpointChanged is the event type of Settings.
	EndpointChanged = "endpoint-changed"
	// DefaultMaxLagBytes is how far behind a replica may be to be read from
	// when nobody chose.
	DefaultMaxLagBytes = 16 << 20
)

// Settings are what was decided about one cluster's endpoint.
type Settings struct {
	Cluster       string `json:"cluster"`
	Enabled       bool   `json:"enabled"`
	Host          string `json:"host"` // address listened on
	ReadWritePort int    `json:"readWritePort"`
	ReadOnlyPort  int    `json:"readOnlyPort"`
	// On names the agents that serve it, by id or host name; none: the agents of
	// `baton proxy` when there are any, else those beside the cluster's nodes.
	On           []string  `json:"on,omitempty"`
	MaxLagBytes  int64     `json:"maxLagBytes"`
	ReplicasOnly bool      `json:"replicasOnly,omitempty"`
	By           string    `json:"by,omitempty"`
	At           time.Time `json:"at"`
}

// SettingError refuses a setting.
type SettingError struct{ Field, Why, Fix string }

func (e *SettingError) Error() string { return e.Field + ": " + e.Why + "; " + e.Fix }

func (s *Settings) check() error {
	if !s.Enabled {
		return nil
	}
	for field, p := range map[string]int{"readWritePort": s.ReadWritePort, "readOnlyPort": s.ReadOnlyPort} {
		if p < 0 || p > 65535 {
			return &SettingError{field, fmt.Sprintf("%d is no port", p), "give 1 to 65535, or 0 for none"}
		}
	}
	switch {
	case s.ReadWritePort == 0 && s.ReadOnlyPort == 0:
		return &SettingError{"readWritePort", "an endpoint without a port serves nobody", "give a port that is free on every host that serves it"}
	case s.ReadWritePort == s.ReadOnlyPort:
		return &SettingError{"readOnlyPort", "both ports are the same", "give two ports"}
	case net.ParseIP(s.Host) == nil:
		return &SettingError{"host", fmt.Sprintf("%q is not an IP address", s.Host), "give an address of the hosts that serve it, 0.0.0.0 for all"}
	case s.MaxLagBytes < 0:
		return &SettingError{"maxLagBytes", "it is negative", "give a number of bytes"}
	}
	return nil
}

// book is the projection of the stream.
type book struct {
	mu       sync.Mutex
	settings map[string]Settings
	revision int64
}

// Take takes one event of the journal in; events of other streams are passed
// over. See inventory.Observe.
func (f *Feed) Take(r journal.Recorded) {
	if r.Stream != Stream {
		return
	}
	b := &f.book
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revision = r.Revision
	if r.Type != EndpointChanged {
		return
	}
	var s Settings
	if err := json.Unmarshal(r.Data, &s); err != nil {
		f.Log.Error("an endpoint's settings do not decode", "revision", r.Revision, "err", err)
		return
	}
	b.settings[s.Cluster] = s
}

// Settings returns what was decided about a cluster's endpoint; ok is false
// when nobody decided.
func (f *Feed) Settings(cluster string) (s Settings, ok bool) {
	f.book.mu.Lock()
	defer f.book.mu.Unlock()
	s, ok = f.book.settings[cluster]
	return s, ok
}

// tries bounds how often settings are checked again because others changed.
const tries = 4

// Put records settings and returns when they are in force here. Errors:
// *SettingError, also when a port is another endpoint's; of the journal.
func (f *Feed) Put(ctx context.Context, s Settings) error {
	if s.MaxLagBytes == 0 {
		s.MaxLagBytes = DefaultMaxLagBytes
	}
	if err := s.check(); err != nil {
		return err
	}
	for range tries {
		f.book.mu.Lock()
		revision := f.book.revision
		err := f.book.collides(s)
		f.book.mu.Unlock()
		if err != nil {
			return err
		}
		data, err := json.Marshal(s)
		if err != nil {
			return err
		}
		got, err := f.Journal.Append(ctx, Stream, revision, journal.Event{Type: EndpointChanged, Data: data})
		var conflict *journal.ConflictError
		if errors.As(err, &conflict) {
			if err := f.Inventory.Wait(ctx, Stream, conflict.Actual); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("journal the endpoint: %w", err)
		}
		f.poke()
		return f.Inventory.Wait(ctx, Stream, got)
	}
	return errors.New("the settings of endpoints keep changing; try again")
}

func (b *book) collides(s Settings) error {
	if !s.Enabled {
		return nil
	}
	for _, o := range b.settings {
		if o.Cluster == s.Cluster || !o.Enabled {
			continue
		}
		taken := []int{o.ReadWritePort, o.ReadOnlyPort}
		for field, p := range map[string]int{"readWritePort": s.ReadWritePort, "readOnlyPort": s.ReadOnlyPort} {
			if p != 0 && slices.Contains(taken, p) {
				return &SettingError{field, fmt.Sprintf("port %d is the endpoint's of cluster %s", p, o.Cluster), "give another port"}
			}
		}
	}
	return nil
}
