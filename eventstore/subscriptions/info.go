package subscriptions

import (
	"context"
	"slices"
	"strings"
	"time"

	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

// Info is what clients are told about a group. Places are texts as clients read them: a revision, or C:<commit>/P:<prepare>; empty when there is none.
type Info struct {
	Key          Key
	Status       string // flags joined by ", "
	Settings     subscription.Settings
	StartFrom    string
	Checkpointed string
	LastKnown    string
	Stats        subscription.Stats
	Parked       int64 // events in the parked stream
	Rates        Rates
	Consumers    []ConsumerReport
}

// ConsumerReport is what clients are told about a consumer.
type ConsumerReport struct {
	ConsumerInfo
	InFlight int
	Rates    Rates
	Times    []subscription.Measurement
}

// Rates are counts of deliveries.
type Rates struct {
	Total     int64
	PerSecond int   // on average since the beginning
	Since     int64 // since the measurement before
}

// measured remembers the last measurement. Guarded by the group's lock.
type measured struct {
	total int64
	at    time.Time
}

// measureEvery is the least time between two measurements.
const measureEvery = time.Second

func (m *measured) rates(total int64, began time.Time) Rates {
	r := Rates{Total: total, Since: total - m.total}
	if seconds := time.Since(began).Seconds(); seconds >= 1 {
		r.PerSecond = int(float64(total) / seconds)
	} else {
		r.PerSecond = int(total)
	}
	if time.Since(m.at) >= measureEvery {
		m.total, m.at = total, time.Now()
	}
	return r
}

// Info describes a group. Errors: *NotFoundError and those of requests to a leader.
func (s *Service) Info(ctx context.Context, k Key) (Info, error) {
	t, err := s.leading(ctx)
	if err != nil {
		return Info{}, err
	}
	g := t.find(k)
	if g == nil {
		return Info{}, &NotFoundError{k}
	}
	return g.info(ctx)
}

// List describes the groups of a stream, or all when it is empty, sorted by stream and name. Errors: *NotFoundError when the stream has none, and those
// of requests to a leader.
func (s *Service) List(ctx context.Context, name string) ([]Info, error) {
	t, err := s.leading(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	var groups []*group
	for _, g := range t.groups {
		if name == "" || g.key.Stream == name {
			groups = append(groups, g)
		}
	}
	t.mu.Unlock()
	if len(groups) == 0 && name != "" {
		return nil, &NotFoundError{Key{Stream: name}}
	}
	slices.SortFunc(groups, func(a, b *group) int {
		if c := strings.Compare(a.key.Stream, b.key.Stream); c != 0 {
			return c
		}
		return strings.Compare(a.key.Group, b.key.Group)
	})
	list := make([]Info, 0, len(groups))
	for _, g := range groups {
		info, err := g.info(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

func (g *group) info(ctx context.Context) (Info, error) {
	first, last, err := g.parkedRange(ctx)
	if err != nil {
		return Info{}, err
	}
	end, err := g.t.endOf(ctx, g.key.Stream)
	if err != nil {
		return Info{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	st := g.state.Stats()
	info := Info{
		Key: g.key, Settings: g.entry.settings(), StartFrom: g.entry.startText(), Checkpointed: placeText(g.key, st.Checkpointed),
		LastKnown: placeText(g.key, end), Stats: st, Parked: max(last-first+1, 0), Rates: g.measured.rates(st.Total, g.began),
	}
	var flags []string
	switch {
	case g.fault != "":
		flags = append(flags, "NotReady")
	case st.Read >= end:
		flags = append(flags, "Live")
	default:
		flags = append(flags, "Behind")
		if g.state.Room() > 0 {
			flags = append(flags, "OutstandingPageRequest")
		}
	}
	if g.state.Replaying() {
		flags = append(flags, "ReplayingParkedMessages")
	}
	info.Status = strings.Join(flags, ", ")
	for i := range st.Consumers {
		cs := &st.Consumers[i]
		c := cs.Host.(*Consumer)
		who := c.info
		who.Slots = cs.Slots
		info.Consumers = append(info.Consumers, ConsumerReport{ConsumerInfo: who, InFlight: cs.InFlight, Rates: c.rates(cs.Total, c.began), Times: cs.Times})
	}
	return info, nil
}

// IsAll says whether a key is of all streams.
func (k Key) IsAll() bool { return k.Stream == stream.AllStream }
