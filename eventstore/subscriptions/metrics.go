package subscriptions

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"baton/eventstore/reader"
	"baton/eventstore/subscription"
)

const (
	// maxShownGroups bounds the groups whose figures are shown: the first by stream
	// and name.
	maxShownGroups = 500
	// collectWithin bounds the reading of what stands in streams for the figures.
	collectWithin = 2 * time.Second
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("kurrentdb_persistent_sub_"+name, help, append([]string{"event_stream_id", "group_name"}, labels...), nil)
}

// The figures of each group have upstream's names and labels.
var (
	groupsDesc      = prometheus.NewDesc("baton_persistent_sub_groups", "Consumer groups that run on this node: those of the cluster on the node that leads, none elsewhere.", nil, nil)
	connectionsDesc = describe("connections", "Consumers connected.")
	parkedDesc      = describe("parked_messages", "Events parked.")
	inFlightDesc    = describe("in_flight_messages", "Events with consumers, neither acknowledged nor refused.")
	oldestDesc      = describe("oldest_parked_message_seconds", "Age of the event parked first; 0 when none is.")
	processedDesc   = describe("items_processed_total", "Deliveries since this node leads.")
	lastDesc        = describe("last_known_event_number", "Last revision of the stream.")
	lastAllDesc     = describe("last_known_event_commit_position", "Last position, of a group on all streams.")
	doneDesc        = describe("checkpointed_event_number", "Revision up to which everything was handled and noted.")
	doneAllDesc     = describe("checkpointed_event_commit_position", "Position up to which everything was handled and noted, of a group on all streams.")
	parkingsDesc    = describe("park_message_requests", "Events parked since this node leads, by why: client-nak or max-retries.", "reason")
	replaysDesc     = describe("parked_message_replays", "Replays of parked events since this node leads.")
	retryingDesc    = prometheus.NewDesc("baton_persistent_sub_retrying_messages", "Events that wait to be sent again.", []string{"event_stream_id", "group_name"}, nil)
)

// collector shows what the groups of this node do.
type collector struct{ s *Service }

// Collector shows the figures of the groups that run here.
func (s *Service) Collector() prometheus.Collector { return collector{s} }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{groupsDesc, connectionsDesc, parkedDesc, inFlightDesc, oldestDesc, processedDesc, lastDesc, lastAllDesc, doneDesc, doneAllDesc,
		parkingsDesc, replaysDesc, retryingDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector. It shows what this node believes; whether it still leads is not asked.
func (c collector) Collect(out chan<- prometheus.Metric) {
	c.s.mu.Lock()
	t := c.s.term
	c.s.mu.Unlock()
	var groups []*group
	if t != nil {
		t.mu.Lock()
		for _, g := range t.groups {
			groups = append(groups, g)
		}
		t.mu.Unlock()
	}
	out <- prometheus.MustNewConstMetric(groupsDesc, prometheus.GaugeValue, float64(len(groups)))
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.key.Stream, b.key.Stream), cmp.Compare(a.key.Group, b.key.Group))
	})
	ctx, cancel := context.WithTimeout(c.s.ctx, collectWithin)
	defer cancel()
	for _, g := range groups[:min(len(groups), maxShownGroups)] {
		if f, err := g.figures(ctx); err == nil { // the others are shown all the same
			f.collect(g.key, out)
		}
	}
}

// figures is a snapshot of one group.
type figures struct {
	stats         subscription.Stats
	end           subscription.Point
	parked        int64
	oldest        time.Duration
	replays       uint64
	nacked, tired uint64 // parked because a consumer asked for it; after too many retries
}

func (g *group) figures(ctx context.Context) (f figures, err error) {
	first, last, err := g.parkedRange(ctx)
	if err != nil {
		return f, err
	}
	if f.parked = max(last-first+1, 0); f.parked > 0 {
		_, err = g.t.s.node.Reader().Stream(ctx, reader.StreamQuery{Stream: g.key.ParkedStream(), From: first, Count: 1}, func(e *reader.Event) error {
			f.oldest = max(time.Since(time.Unix(0, e.Created*100)), 0)
			return nil
		})
		if err != nil {
			return f, err
		}
	}
	if f.end, err = g.t.endOf(ctx, g.key.Stream); err != nil {
		return f, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	f.stats, f.replays, f.nacked, f.tired = g.state.Stats(), g.replays, g.nacked, g.tired
	return f, nil
}

func (f *figures) collect(k Key, out chan<- prometheus.Metric) {
	show := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, append([]string{k.Stream, k.Group}, labels...)...)
	}
	show(connectionsDesc, prometheus.GaugeValue, float64(len(f.stats.Consumers)))
	show(parkedDesc, prometheus.GaugeValue, float64(f.parked))
	show(inFlightDesc, prometheus.GaugeValue, float64(f.stats.InFlight))
	show(retryingDesc, prometheus.GaugeValue, float64(f.stats.Retrying))
	show(oldestDesc, prometheus.GaugeValue, f.oldest.Seconds())
	show(processedDesc, prometheus.CounterValue, float64(f.stats.Total))
	show(parkingsDesc, prometheus.CounterValue, float64(f.nacked), "client-nak")
	show(parkingsDesc, prometheus.CounterValue, float64(f.tired), "max-retries")
	show(replaysDesc, prometheus.CounterValue, float64(f.replays))
	known, done := lastDesc, doneDesc
	if k.IsAll() {
		known, done = lastAllDesc, doneAllDesc
	}
	if f.end != subscription.Beginning {
		show(known, prometheus.GaugeValue, float64(f.end))
	}
	if f.stats.Checkpointed != subscription.Beginning {
		show(done, prometheus.GaugeValue, float64(f.stats.Checkpointed))
	}
}
