package monitor

import (
	"time"

	"baton/control/agent"
	"baton/control/health"
	"baton/control/inventory"
)

// alone is a primary that goes on by promises, as its agent reported it.
type alone struct {
	agentID, node string
	// since is when it began and received when the report came, on our clock.
	since, received time.Time
}

// promises keeps which primaries an agent says to go on by promises. The caller
// holds mu.
func (m *Monitor) promises(r *agent.Report, received time.Time) {
	for cluster, a := range m.alone {
		if a.agentID == r.Agent {
			delete(m.alone, cluster)
		}
	}
	for _, l := range r.Leases {
		if !l.AloneSince.IsZero() {
			m.alone[l.Cluster] = alone{r.Agent, l.Node, received.Add(-max(0, r.At.Sub(l.AloneSince))), received}
		}
	}
}

// failsafe is what is known of a primary that goes on without the control plane,
// nil where it does not. The caller holds mu.
func (m *Monitor) failsafe(c *inventory.Cluster, now time.Time) *health.Failsafe {
	if a, ok := m.alone[c.ID]; ok && now.Sub(a.received) <= health.StaleAfter {
		return &health.Failsafe{Node: a.node, Seen: true, For: now.Sub(a.since)}
	}
	if m.Promises == nil || m.Journal == nil || c.ShouldBe == "" || !m.Promises(c) {
		return nil
	}
	if led, _ := m.Journal(); led {
		return nil
	}
	return &health.Failsafe{Node: c.ShouldBe}
}
