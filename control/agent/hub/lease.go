package hub

import (
	"fmt"
	"time"

	"baton/control/agent"
	agentpb "baton/gen/agent"
)

// Leases is who grants leases. It answers from memory, within a millisecond,
// except where leadership must be proven first.
type Leases interface {
	// Renew answers a renewal by the agent.
	Renew(agentID string, r agent.LeaseRenewal) agent.LeaseAnswer
	// Release takes in that a node takes no writes any more.
	Release(agentID string, r agent.LeaseRelease)
}

// SetLeases gives who grants leases. Until then none is granted.
func (h *Hub) SetLeases(l Leases) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opt.Leases = l
}

func (h *Hub) leases() Leases {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opt.Leases
}

// renewal is answered beside the queue of reports, so that a slow one does not
// hold it up.
func (h *Hub) renewal(l *link, m *agentpb.LeaseRenewal) {
	k := h.leases()
	if k == nil {
		return
	}
	go func() {
		a := k.Renew(l.id, agent.LeaseRenewal{Cluster: m.GetCluster(), Node: m.GetNode(), Generation: m.GetGeneration(), Number: m.GetNumber(),
			Holding: m.GetHolding(), Guarded: m.GetGuarded(), Roster: m.GetRoster()})
		l.tell(&agentpb.ToAgent{Message: &agentpb.ToAgent_LeaseAnswer{LeaseAnswer: &agentpb.LeaseAnswer{Cluster: a.Cluster, Node: a.Node,
			Generation: a.Generation, Number: a.Number, Granted: a.Granted, Code: a.Code, TtlNs: int64(a.TTL)}}})
	}()
}

func (h *Hub) release(l *link, m *agentpb.LeaseRelease) {
	if k := h.leases(); k != nil {
		go k.Release(l.id, agent.LeaseRelease{Cluster: m.GetCluster(), Node: m.GetNode(), Generation: m.GetGeneration(), Why: m.GetWhy(), Restartable: m.GetRestartable(), Lossless: m.GetLossless()})
	}
}

// tell sends without waiting for long: an answer that is late is worth nothing.
func (l *link) tell(m *agentpb.ToAgent) bool {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case l.out <- m:
		return true
	case <-l.done:
	case <-t.C:
	}
	return false
}

// Terms tells an agent what is on record of a cluster that is kept by leases.
// Nothing is confirmed: it is said again each second.
func (h *Hub) Terms(agentID string, t agent.LeaseTerms) error {
	h.mu.Lock()
	l := h.links[agentID]
	h.mu.Unlock()
	if l == nil {
		return fmt.Errorf("lease of cluster %s: agent %s: %w", t.Cluster, agentID, agent.ErrNotConnected)
	}
	select {
	case l.out <- &agentpb.ToAgent{Message: &agentpb.ToAgent_LeaseTerms{LeaseTerms: &agentpb.LeaseTerms{Cluster: t.Cluster, Generation: t.Generation,
		Holder: t.Holder, HolderAddress: t.HolderAddress, TtlNs: int64(t.TTL), Promotable: t.Promotable, Mode: t.Mode,
		Roster: t.Roster, HolderAgent: t.HolderAgent, Peers: peersTo(t.Peers)}}}:
	default: // its queue is full; the next second's is as good
	}
	return nil
}

func peersTo(list []agent.Peer) (out []*agentpb.LeasePeer) {
	for _, p := range list {
		out = append(out, &agentpb.LeasePeer{Node: p.Node, Agent: p.Agent, Address: p.Address})
	}
	return out
}
