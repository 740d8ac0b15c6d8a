package agent

import (
	"context"
	"slices"
	"strings"
	"time"

	"baton/control/agent/guard"
	"baton/control/lease"
	agentpb "baton/gen/agent"
)

// What a lease does while no control node answers: it asks the agents beside
// all other nodes that could be promoted for their promises.

// asBefore keeps the roster where the control plane says nothing about it: it
// does not know yet whose agents are beside the nodes.
func (t *LeaseTerms) asBefore(rec *leaseRecord) {
	if t.Mode == "" && rec.Generation == t.Generation && rec.Holder == t.Holder {
		t.Mode, t.Promotable, t.Roster, t.Peers, t.HolderAgent = rec.Mode, rec.Promotable, rec.Roster, rec.Peers, rec.HolderAgent
	}
}

// RosterState is what an agent knows of who promises whom, in a report.
type RosterState struct {
	Cluster    string `json:"cluster"`
	Generation uint64 `json:"generation,string"`
	Holder     string `json:"holder"`
	Roster     uint64 `json:"roster,string"`
	// Peers is how many of the nodes that may be promoted have an agent that can
	// be asked.
	Peers int `json:"peers"`
}

// rosters are the records that promises go by, for the report.
func (l *leases) rosters() (out []RosterState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rec := range l.records {
		if rec.Roster == 0 {
			continue
		}
		s := RosterState{Cluster: rec.Cluster, Generation: rec.Generation, Holder: rec.Holder, Roster: rec.Roster}
		for _, p := range rec.Peers {
			if p.Address != "" {
				s.Peers++
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b RosterState) int { return strings.Compare(a.Cluster, b.Cluster) })
	return out
}

// follow has the lease go by what is on record; r.mu is held.
func (r *leaseRun) follow(t LeaseTerms) {
	r.h.Renumber(t.Generation)
	ok := t.Mode == ModeFailsafe && t.Roster != 0 && t.Generation == r.h.Generation && t.Holder == r.in.Node
	r.h.Failsafe(ok, t.Promotable)
	r.roster, r.peers = t.Roster, t.Peers
	if !ok {
		r.peers = nil
	}
	for _, p := range r.peers {
		_, _ = r.l.peers.to(p) // stands when it is needed
	}
}

// afresh begins the lease of a generation anew; r.mu is held.
func (r *leaseRun) afresh() {
	r.h = lease.NewHolder(r.in.Cluster, r.in.Node, r.h.Generation, r.h.Terms.TTL)
	if t, ok := r.l.record(r.in.Cluster); ok {
		r.follow(t)
	}
}

// ask asks the roster once; r.mu is held.
func (r *leaseRun) ask() {
	h, number := r.h, r.h.Round()
	for _, node := range h.Roster() {
		q := &agentpb.PromiseRequest{Cluster: r.in.Cluster, Generation: h.Generation, Holder: r.in.Node, Node: node, TtlNs: int64(h.Terms.TTL)}
		p, ok := r.peer(node)
		if !ok {
			continue
		}
		go func() {
			api, err := r.l.peers.to(p)
			if err != nil {
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), promiseTime)
			defer cancel()
			m, err := api.Promise(ctx, q)
			if err != nil || !m.GetPromised() {
				r.l.a.log.Info("a promise was not given", "cluster", r.in.Cluster, "by", node, "code", m.GetCode(), "err", err)
				return
			}
			r.promised(h, node, number)
		}()
	}
}

func (r *leaseRun) peer(node string) (Peer, bool) {
	for _, p := range r.peers {
		if p.Node == node {
			return p, true
		}
	}
	return Peer{}, false
}

func (r *leaseRun) promised(h *lease.Holder, node string, number uint64) {
	now := guard.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone || r.h != h {
		return
	}
	was, _ := h.Alone()
	for _, e := range h.Promised(node, number, now) {
		r.effect(context.Background(), e, now)
	}
	r.save()
	if is, _ := h.Alone(); is && !was {
		r.l.a.log.Warn("no control node answers: writes go on because every other agent promises not to let another be promoted",
			"cluster", r.in.Cluster, "node", r.in.Node, "generation", h.Generation)
	}
}

// free gives back what was promised; r.mu is held.
func (r *leaseRun) free() {
	q := &agentpb.FreeRequest{Cluster: r.in.Cluster, Generation: r.h.Generation, Holder: r.in.Node}
	for _, p := range r.peers {
		go func() {
			if api, err := r.l.peers.to(p); err == nil {
				ctx, cancel := context.WithTimeout(context.Background(), promiseTime)
				defer cancel()
				_, _ = api.Free(ctx, q) // it ends by itself
			}
		}()
	}
	r.l.a.log.Info("kept by the control plane again", "cluster", r.in.Cluster, "node", r.in.Node)
}

// aloneSince is since when writes go on by promises; zero: they do not.
func (r *leaseRun) aloneSince(now time.Duration) time.Time {
	if ok, since := r.h.Alone(); ok {
		return time.Now().Add(since - now)
	}
	return time.Time{}
}

// withKnown fills addresses that are missing in with those known before: an
// agent that is not connected now still is where it was.
func withKnown(peers, known []Peer) []Peer {
	for i, p := range peers {
		for _, k := range known {
			if p.Address == "" && k.Node == p.Node && k.Agent == p.Agent {
				peers[i].Address = k.Address
			}
		}
	}
	return peers
}
