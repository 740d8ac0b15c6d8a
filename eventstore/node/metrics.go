package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures that only add up while they happen.
type metrics struct {
	writes    prometheus.Histogram
	elections prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		writes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "baton_log_write_seconds", Help: "How long a durable write of the log took: one write, one sync, for all entries that waited.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}),
		elections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kurrentdb_elections_count", Help: "Changes of leader or term that this node saw since it started.",
		}),
	}
}

// wrote runs on the append thread.
func (m *metrics) wrote(took time.Duration) { m.writes.Observe(took.Seconds()) }

// Collectors are the node's own figures for a registry of metrics.
func (n *Node) Collectors() []prometheus.Collector {
	return []prometheus.Collector{n.metrics.writes, n.metrics.elections}
}
