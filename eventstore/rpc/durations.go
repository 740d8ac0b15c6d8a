package rpc

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// durationBuckets reach from a read of memory to the write timeout, seconds.
var durationBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// durations are histograms of how long calls take on this node, under the name
// that boards for upstream's servers ask for.
type durations struct {
	vec          *prometheus.HistogramVec
	append, read duration
}

// duration has the histograms of one activity.
type duration struct{ done, failed prometheus.Observer }

func newDurations() durations {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "kurrentdb_grpc_method_duration_seconds", Buckets: durationBuckets,
		Help: "How long calls of clients took on this node: one append, one finite read.",
	}, []string{"activity", "status"})
	of := func(activity string) duration {
		return duration{vec.WithLabelValues(activity, "successful"), vec.WithLabelValues(activity, "failed")}
	}
	return durations{vec: vec, append: of("stream-append"), read: of("stream-read")}
}

func (d duration) observe(took time.Duration, err error) {
	o := d.done
	if err != nil {
		o = d.failed
	}
	o.Observe(took.Seconds())
}

// Collectors are the server's own figures for a registry of metrics.
func (s *Server) Collectors() []prometheus.Collector {
	list := []prometheus.Collector{s.metrics.durations.vec, callCollector{s}}
	if s.subscriptions != nil {
		list = append(list, s.subscriptions.Collector())
	}
	if s.projections != nil {
		list = append(list, projectionsCollector{s.projections})
	}
	return list
}
