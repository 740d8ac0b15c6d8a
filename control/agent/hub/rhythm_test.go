package hub

import (
	"testing"
	"time"

	"baton/control/agent"
)

func TestRhythmFollowsTheNumberOfServers(t *testing.T) {
	for instances, want := range map[int]time.Duration{
		0: agent.ReportInterval, 5: agent.ReportInterval, 1000: agent.ReportInterval, 2000: 2 * agent.ReportInterval, 5000: agent.MaxReportInterval, 1 << 20: agent.MaxReportInterval,
	} {
		if got := intervalFor(instances); got != want {
			t.Errorf("%d servers: %s, want %s", instances, got, want)
		}
	}
}
