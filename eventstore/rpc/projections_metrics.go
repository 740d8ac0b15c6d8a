package rpc

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"baton/eventstore/projections"
)

// Names that boards made for upstream's servers ask for.
var (
	projectionHandledDesc  = prometheus.NewDesc("kurrentdb_projection_events_processed_after_restart_total", "Events a projection handled since it was started on this node.", []string{"projection"}, nil)
	projectionProgressDesc = prometheus.NewDesc("kurrentdb_projection_progress", "How much of its source a projection has read, 0 to 1.", []string{"projection"}, nil)
	projectionRunningDesc  = prometheus.NewDesc("kurrentdb_projection_running", "1 for a projection that runs.", []string{"projection"}, nil)
	projectionStatusDesc   = prometheus.NewDesc("kurrentdb_projection_status", "1 for the status a projection has.", []string{"projection", "status"}, nil)
	projectionStateDesc    = prometheus.NewDesc("kurrentdb_projection_state_size", "Bytes of a projection's states in memory.", []string{"projection"}, nil)
	projectionLagDesc      = prometheus.NewDesc("baton_projection_lag_bytes", "Bytes of log between a projection that follows it and its end.", []string{"projection"}, nil)
)

// metricsWithin bounds the look at the end of the log.
const metricsWithin = time.Second

// projectionsCollector gives the figures of the projections this node runs: those of the leader only.
type projectionsCollector struct{ s *projections.Service }

func (c projectionsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{projectionHandledDesc, projectionProgressDesc, projectionRunningDesc, projectionStatusDesc, projectionStateDesc, projectionLagDesc} {
		out <- d
	}
}

func (c projectionsCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), metricsWithin)
	defer cancel()
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	for _, r := range c.s.Here(ctx) {
		gauge := func(d *prometheus.Desc, value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{r.Name}, labels...)...)
		}
		out <- prometheus.MustNewConstMetric(projectionHandledDesc, prometheus.CounterValue, float64(r.Handled), r.Name)
		gauge(projectionProgressDesc, r.Progress/100)
		gauge(projectionRunningDesc, yes(r.Status == projections.Running))
		for name, is := range map[string]bool{"Running": r.Status == projections.Running, "Faulted": r.Status == projections.Faulted,
			"Stopped": r.Status == projections.Stopped || r.Status == projections.Aborted} {
			gauge(projectionStatusDesc, yes(is), name)
		}
		gauge(projectionStateDesc, float64(r.StateBytes))
		gauge(projectionLagDesc, float64(r.LagBytes))
	}
}
