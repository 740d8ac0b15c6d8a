package agent

import (
	"context"
	"strconv"
	"time"

	"baton/control/agent/supervise"
	"baton/control/engine"
	agentpb "baton/gen/agent"
)

// leaseMessage takes a message about leases in; false when it is about
// something else.
func (a *Agent) leaseMessage(m *agentpb.ToAgent) bool {
	switch m := m.GetMessage().(type) {
	case *agentpb.ToAgent_LeaseAnswer:
		x := m.LeaseAnswer
		a.leases.answer(LeaseAnswer{Cluster: x.GetCluster(), Node: x.GetNode(), Generation: x.GetGeneration(), Number: x.GetNumber(),
			Granted: x.GetGranted(), Code: x.GetCode(), TTL: time.Duration(x.GetTtlNs())})
	case *agentpb.ToAgent_LeaseTerms:
		x := m.LeaseTerms
		if fence, ok := a.fences.All()[x.GetCluster()]; ok && x.GetGeneration() < fence.Generation {
			return true // an order of a later generation was accepted already
		}
		// On disk before it counts, and not on the link's own goroutine.
		go a.leases.terms(LeaseTerms{Cluster: x.GetCluster(), Generation: x.GetGeneration(), Holder: x.GetHolder(), HolderAddress: x.GetHolderAddress(),
			TTL: time.Duration(x.GetTtlNs()), Promotable: x.GetPromotable(), Mode: x.GetMode(), Roster: x.GetRoster(), HolderAgent: x.GetHolderAgent(), Peers: peersOf(x)})
	default:
		return false
	}
	return true
}

// noted keeps what a look at an instance tells the leases: which process it
// is, and what a restart of it would keep.
func (a *Agent) noted(w *watched, o *engine.Observation) {
	if pid, err := strconv.Atoi(o.Details["processId"]); err == nil && o.Up && w.in.Process == "" {
		if ticks, ok := supervise.StartedAt(pid); ok {
			w.mu.Lock()
			w.pid, w.ticks = pid, ticks
			w.mu.Unlock()
		}
	}
	a.leases.noted(w.in, o)
}

// leaseReturn starts a former primary again with the next grant.
func leaseReturn(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	w := a.find(o.Cluster, o.Node)
	if w == nil || o.Node == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: "this agent has no such instance"}
	}
	run := a.leases.run(w.in.Key())
	if run == nil {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: o.Node + " is not on record here as the holder of a lease"}
	}
	if why := run.empty(); why != "" {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: why, Fix: "promote a replica, or restore a backup"}
	}
	if !run.wanted() {
		return map[string]string{engine.ValueAlreadyDone: "true"}, nil
	}
	return nil, nil
}

func peersOf(m *agentpb.LeaseTerms) (out []Peer) {
	for _, p := range m.GetPeers() {
		out = append(out, Peer{Node: p.GetNode(), Agent: p.GetAgent(), Address: p.GetAddress()})
	}
	return out
}
