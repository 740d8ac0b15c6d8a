package api

import (
	"slices"
	"strings"

	"baton/control/agent"
	"baton/control/inventory"
)

// HostLimit is whether a host limits direct connections to its servers of a
// cluster.
type HostLimit struct {
	Agent string `json:"agent"`
	Host  string `json:"host"`
	State string `json:"state" enum:"in force,trial,taken back,not possible,not yet" doc:"trial: taken back by itself should the agent lose its link within 30 s"`
	Why   string `json:"why"`
}

// hostLimits are the states on the hosts of a cluster whose policy names
// networks, sorted by host.
func (s *Server) hostLimits(c *inventory.Cluster) []HostLimit {
	out := []HostLimit{}
	if len(c.Policy.AllowCIDRs) == 0 || s.Monitor == nil {
		return out
	}
	for _, r := range s.Monitor.Agents() {
		if !slices.ContainsFunc(r.Instances, func(in agent.InstanceReport) bool { return in.Cluster == c.ID }) {
			continue
		}
		l := HostLimit{Agent: r.Agent, Host: r.Name, State: "not yet"}
		for _, st := range r.Limits {
			if st.Cluster == c.ID {
				l.State, l.Why = st.State, st.Why
			}
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b HostLimit) int { return strings.Compare(a.Host+a.Agent, b.Host+b.Agent) })
	return out
}
