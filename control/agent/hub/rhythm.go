package hub

import (
	"time"

	"baton/control/agent"
)

// easyInstances is how many servers are reported on twice a second; beyond,
// reports come so much less often that there are no more of them.
const easyInstances = 1000

// reportInterval is how often agents are asked to report now.
func (h *Hub) reportInterval() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return intervalFor(h.instances)
}

func intervalFor(instances int) time.Duration {
	wanted := agent.ReportInterval * time.Duration(instances) / easyInstances
	return min(max(wanted, agent.ReportInterval), agent.MaxReportInterval).Truncate(agent.ReportInterval / 5)
}
