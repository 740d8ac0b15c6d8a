package rpc

import "github.com/prometheus/client_golang/prometheus"

// callCollector shows the calls of clients and what went to and fro in them, under
// the names that boards for upstream's servers ask for.
type callCollector struct{ s *Server }

var (
	currentCallsDesc = prometheus.NewDesc("kurrentdb_current_incoming_grpc_calls", "Calls running now.", nil, nil)
	callsDesc        = prometheus.NewDesc("kurrentdb_incoming_grpc_calls_total", "Calls by what became of them; failed counts those of the other kinds too.", []string{"kind"}, nil)
	eventsDesc       = prometheus.NewDesc("kurrentdb_io_events_total", "Events that clients of this node wrote and read.", []string{"activity"}, nil)
	bytesReadDesc    = prometheus.NewDesc("baton_read_bytes_total", "Bytes of answers to reads and catch-up subscriptions.", nil, nil)
)

// Describe implements prometheus.Collector.
func (callCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{currentCallsDesc, callsDesc, eventsDesc, bytesReadDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c callCollector) Collect(out chan<- prometheus.Metric) {
	counts := c.s.h2.Counts()
	out <- prometheus.MustNewConstMetric(currentCallsDesc, prometheus.GaugeValue, float64(counts.Current))
	for kind, n := range map[string]uint64{
		"total": counts.Total, "failed": counts.Failed, "unimplemented": counts.Unimplemented, "deadline-exceeded": counts.DeadlineExceeded,
	} {
		out <- prometheus.MustNewConstMetric(callsDesc, prometheus.CounterValue, float64(n), kind)
	}
	out <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(c.s.metrics.eventsWritten.Load()), "written")
	out <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(c.s.metrics.eventsRead.Load()), "read")
	out <- prometheus.MustNewConstMetric(bytesReadDesc, prometheus.CounterValue, float64(c.s.metrics.bytesRead.Load()))
}
