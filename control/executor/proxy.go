package executor

import (
	"context"
	"time"

	"baton/control/agent"
)

// Endpoints knows who serves a cluster's endpoint; *feed.Feed is one.
type Endpoints interface {
	// Serving are the agents that forward clients' requests to the cluster.
	Serving(cluster string) (agents []string)
	// Moved tells that a node is the primary of a generation by now.
	Moved(cluster string, generation uint64, node string)
}

const (
	// holdTime bounds how long an operation waits for endpoints to hold: one
	// that does not confirm does not stop it, because the engine holds writes
	// too, and what it refuses the endpoint sends again.
	holdTime = 500 * time.Millisecond
	// releaseTries is how often a release is repeated; then the next route does it.
	releaseTries = 3
)

func (r *run) serving() []string {
	if r.e.Endpoints == nil {
		return nil
	}
	return r.e.Endpoints.Serving(r.op.Plan.Cluster)
}

// holdClients has the endpoints keep requests that write, and waits until those
// under way are answered.
func (r *run) holdClients(ctx context.Context) {
	agents := r.serving()
	if len(agents) == 0 {
		return
	}
	for id, err := range each(agents, func(id string) error {
		v, err := r.orderAgent(ctx, id, agent.ActionProxyHold, holdTime, "next", r.addr(r.op.Candidate))
		if err == nil && v["drained"] == "false" {
			r.log.Warn("requests are still under way through an endpoint; the engine holds them", "agent", id)
		}
		return err
	}) {
		r.log.Warn("an endpoint does not confirm that it holds requests; the operation goes on", "agent", id, "err", err)
	}
}

// warnEndpoints tells the endpoints' agents the new generation while the roles
// move, so that the release need not wait for their disks.
func (r *run) warnEndpoints(ctx context.Context) {
	agents := r.serving()
	if len(agents) == 0 {
		return
	}
	o := *r // the orders need what is so now; the run goes on meanwhile
	r.e.wg.Go(func() {
		each(agents, func(id string) error {
			_, err := o.orderAgent(ctx, id, agent.ActionFence, orderTimeout)
			return err
		})
	})
}

// releaseClients lets the endpoints go on with node as the primary of the
// operation's generation, without waiting for them.
func (r *run) releaseClients(ctx context.Context, node string) {
	if r.e.Endpoints == nil {
		return
	}
	r.e.Endpoints.Moved(r.op.Plan.Cluster, r.op.Generation, node)
	agents := r.serving()
	o := *r
	for _, id := range agents {
		r.e.wg.Go(func() {
			wait := o.backoff()
			for range releaseTries {
				_, err := o.orderAgent(ctx, id, agent.ActionProxyRelease, orderTimeout, "node", node, "address", o.addr(node))
				if err == nil || isStale(err) {
					return
				}
				o.log.Warn("an endpoint was not released; the next route does it", "agent", id, "err", err)
				if !wait(ctx) {
					return
				}
			}
		})
	}
}
