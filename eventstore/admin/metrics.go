package admin

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"baton/eventstore/membership"
	"baton/eventstore/rpc"
)

// metrics serves the node's figures as Prometheus text. They are gathered when asked for.
func (h *handler) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(h.Node.Collectors()...)
	registry.MustRegister(h.Services.Collectors()...)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &nodeCollector{h}, newProcessCollector())
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

type nodeCollector struct{ h *handler }

var (
	upDesc         = describe("member_up", "1 for a member seen alive by this node.", "member")
	lagDesc        = describe("member_lag_bytes", "Bytes of log a member is behind the leader.", "member")
	roleDesc       = describe("role", "1 for the role this node has.", "role")
	termDesc       = describe("term", "Consensus term this node knows.")
	logDesc        = describe("log_position_bytes", "End of this node's durable log.")
	commitDesc     = describe("commit_position_bytes", "End of the committed log this node knows.")
	appliedDesc    = describe("applied_position_bytes", "End of the log this node's readers see.")
	votersDesc     = describe("voters", "Voters of the cluster.")
	aliveDesc      = describe("voters_alive", "Voters seen alive by this node.")
	appendsDesc    = describe("appends_total", "Appends by outcome.", "outcome")
	readsDesc      = describe("reads_total", "Finite reads begun.")
	subscribedDesc = describe("subscriptions", "Subscriptions running.")

	// Names that boards and alerts made for upstream's servers ask for.
	checkpointsDesc = prometheus.NewDesc("kurrentdb_checkpoints", "Positions in the log: writer is its durable end, chaser what is committed, index what readers see.", []string{"name", "read"}, nil)
	statusesDesc    = prometheus.NewDesc("kurrentdb_statuses", "Time at which the node was last in its present state, seconds since 1970.", []string{"name", "status"}, nil)
	infoDesc        = prometheus.NewDesc("kurrentdb_info", "1; the versions are in the labels.", []string{"version", "product"}, nil)
	ioTotalDesc     = prometheus.NewDesc("kurrentdb_io_bytes_total", "Bytes of log this node has written.", []string{"activity"}, nil)
	ioDesc          = prometheus.NewDesc("kurrentdb_io_bytes", "Bytes of log this node has written.", []string{"activity"}, nil)
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("baton_"+name, help, labels, nil)
}

func (c *nodeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, lagDesc, roleDesc, termDesc, logDesc, commitDesc, appliedDesc, votersDesc, aliveDesc, appendsDesc, readsDesc, subscribedDesc,
		checkpointsDesc, statusesDesc, ioDesc, ioTotalDesc, infoDesc} {
		out <- d
	}
}

func (c *nodeCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	count := func(d *prometheus.Desc, value uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	view := c.h.Node.View()
	for i := range view.Members {
		m := &view.Members[i]
		up := 0.0
		if m.Alive {
			up = 1
		}
		gauge(upDesc, up, m.ID.String())
		gauge(lagDesc, float64(m.LagBytes), m.ID.String())
	}
	if self := view.Find(view.Self); self != nil {
		for _, role := range []membership.Role{membership.RoleLeader, membership.RoleFollower, membership.RoleClone, membership.RoleReadOnlyReplica} {
			is := 0.0
			if self.Role == role {
				is = 1
			}
			gauge(roleDesc, is, string(role))
		}
		gauge(logDesc, float64(self.LogPosition))
		gauge(commitDesc, float64(self.CommitPosition))
		gauge(appliedDesc, float64(self.AppliedPosition))
		for name, position := range map[string]uint64{"writer": self.LogPosition, "chaser": self.CommitPosition, "index": self.AppliedPosition} {
			gauge(checkpointsDesc, float64(position), name, "non-flushed")
		}
		gauge(statusesDesc, float64(time.Now().Unix()), "Node", string(self.State))
		count(ioDesc, self.LogPosition, "written")
		count(ioTotalDesc, self.LogPosition, "written")
	}
	gauge(infoDesc, 1, rpc.ProtocolVersion, "baton "+c.h.Version)
	gauge(termDesc, float64(view.Term))
	gauge(votersDesc, float64(view.Quorum.Voters))
	gauge(aliveDesc, float64(view.Quorum.Alive))
	counters := c.h.Services.Counters()
	count(appendsDesc, counters.AppendsDone, "done")
	count(appendsDesc, counters.AppendsRefused, "refused")
	count(appendsDesc, counters.AppendsFailed, "failed")
	count(readsDesc, counters.Reads)
	gauge(subscribedDesc, float64(counters.Subscriptions))
}
