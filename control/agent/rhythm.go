package agent

import (
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"
)

// rhythm is how often an agent reports. The control plane asks for it by how
// many servers it watches; whatever tells of a role, a link, a server's end or a
// lease is reported at the next look whatever the rhythm, and everything is by
// agents that hold one.
type rhythm struct {
	every atomic.Int64 // asked for, ns; 0: at each look
	whole atomic.Bool  // the next is to be whole, and comes at the next look
	last  time.Time    // of the last report
	told  uint64       // what it said of roles and links
}

// ask takes the control plane's wish. It is bounded: the agent is taken for
// silent otherwise.
func (r *rhythm) ask(every time.Duration) {
	r.every.Store(int64(min(max(every, 0), MaxReportInterval)))
}

// due tells whether a report is to be sent now; it is taken as sent.
func (r *rhythm) due(report *Report, now time.Time) bool {
	if len(report.Leases) > 0 {
		return true // the bound on lost writes counts on positions half a second old
	}
	standing := report.standing()
	// Half a look's slack: ticks come a little early or late.
	if standing == r.told && !r.whole.Load() && now.Sub(r.last) < time.Duration(r.every.Load())-ReportInterval/2 {
		return false
	}
	r.told, r.last = standing, now
	return true
}

// standing sums up what must not wait for the next report.
func (r *Report) standing() uint64 {
	h := fnv.New64a()
	for i := range r.Instances {
		in := &r.Instances[i]
		fmt.Fprintf(h, "|%s/%s", in.Cluster, in.Node)
		if p := in.ProcessInfo; p != nil {
			fmt.Fprintf(h, " %s %d", p.State, p.PID)
		}
		if o := in.Observation; o != nil {
			fmt.Fprintf(h, " %t %s %s %t", o.Up, o.Role, o.ReplicaOf, o.LinkUp)
		}
	}
	return h.Sum64()
}
