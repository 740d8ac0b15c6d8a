package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures that only add up while they happen.
type metrics struct {
	writes       prometheus.Histogram
	elections    prometheus.Counter
	candidacies  map[string]prometheus.Counter // by outcome
	gossip       prometheus.Observer           // round trips
	gossipFailed prometheus.Observer           // rounds that no answer came to
	gossipTaken  prometheus.Observer           // reports of others processed
	flush        recentMax
	collectors   []prometheus.Collector
}

// secondsBuckets reach from a fast disk to a dead one.
var secondsBuckets = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}

func newMetrics() *metrics {
	m := &metrics{
		writes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "baton_log_write_seconds", Help: "How long a durable write of the log took: one write, one sync, for all entries that waited.",
			Buckets: secondsBuckets,
		}),
		elections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kurrentdb_elections_count", Help: "Changes of leader or term that this node saw since it started.",
		}),
		candidacies: map[string]prometheus.Counter{},
	}
	stood := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "baton_candidacies_total", Help: "Times this node stood for election, by outcome: won, refused, timed-out, superseded.",
	}, []string{"outcome"})
	for _, outcome := range outcomeNames {
		m.candidacies[outcome] = stood.WithLabelValues(outcome)
	}
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "kurrentdb_gossip_latency_seconds", Help: "How long this node's report took to a member and the answer back; failed: no answer came within a round.",
		Buckets: secondsBuckets,
	}, []string{"activity", "status"})
	m.gossip, m.gossipFailed = latency.WithLabelValues("push-to-peer", "successful"), latency.WithLabelValues("push-to-peer", "failed")
	processing := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "kurrentdb_gossip_processing_duration_seconds", Help: "How long this node took to take in a member's report.",
		Buckets: secondsBuckets,
	}, []string{"activity", "status"})
	m.gossipTaken = processing.WithLabelValues("push-from-peer", "successful")
	m.collectors = []prometheus.Collector{m.writes, m.elections, stood, latency, processing}
	return m
}

// wrote runs on the append thread.
func (m *metrics) wrote(took time.Duration) {
	m.writes.Observe(took.Seconds())
	m.flush.observe(took.Seconds(), time.Now())
}

// heard runs on the links' threads.
func (m *metrics) heard(took time.Duration, answered bool) {
	if answered {
		m.gossip.Observe(max(took, 0).Seconds())
	} else {
		m.gossipFailed.Observe(max(took, 0).Seconds())
	}
}

// stood counts a candidacy that ended.
func (m *metrics) stood(outcome string) {
	if c := m.candidacies[outcome]; c != nil {
		c.Inc()
	}
}

// Collectors are the node's own figures for a registry of metrics.
func (n *Node) Collectors() []prometheus.Collector {
	return append([]prometheus.Collector{&diskCollector{n}, scavengeFigures{n}, scrubFigures{n}}, n.metrics.collectors...)
}
