package executor

import (
	"context"
	"fmt"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/plan"
)

// guard watches over what an operation left: a deposed primary that died
// before its role was written to its own file comes back as a primary beside
// the present one. Clients that reach it would write into the void, so it is
// demoted as soon as it has been seen so twice, with the present generation,
// and the audit says so.
//
// It acts only on engines without consensus, only where an operation of ours
// named the primary, and only while that node is one: where somebody moved the
// primary by hand nothing is done.
func (e *Executor) guard(ctx context.Context) {
	tick := time.NewTicker(e.Guard)
	defer tick.Stop()
	seen := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		again := map[string]bool{}
		for _, c := range e.Inventory.Clusters() {
			if c.Engine != engine.Redis || c.Running != "" || c.Generation == 0 || c.ShouldBe == "" {
				continue
			}
			f, ok := e.Facts.Facts(c.ID)
			if !ok {
				continue
			}
			for _, node := range second(&f, c.ShouldBe) {
				key := c.ID + "/" + node
				if again[key] = true; seen[key] {
					e.demoteSecond(ctx, &c, &f, node)
				}
			}
		}
		seen = again
	}
}

// second are the nodes that say they are primary beside the rightful one;
// none when the rightful one is not.
func second(f *plan.Facts, rightful string) []string {
	n := f.Node(rightful)
	if n == nil || n.Role() != engine.RolePrimary {
		return nil
	}
	var out []string
	for _, p := range f.Primaries() {
		if p.Name != rightful {
			out = append(out, p.Name)
		}
	}
	return out
}

func (e *Executor) demoteSecond(ctx context.Context, c *inventory.Cluster, f *plan.Facts, node string) {
	id, ok := e.Agents.Locate(c.ID, node)
	if !ok {
		return
	}
	record := audit.Record{ID: newID(), At: e.Now(), Cluster: c.ID, Node: node, Who: audit.Who{Name: "baton", Source: "auto"},
		What: fmt.Sprintf("demoted %s, which came back as a primary beside %s", node, c.ShouldBe), Outcome: audit.Done,
		Detail: fmt.Sprintf("%s is the primary of generation %d; what %s took since it came back is not kept", c.ShouldBe, c.Generation, node)}
	for _, action := range []engine.Action{
		{Name: engine.Demote, Args: map[string]string{"addr": f.Node(c.ShouldBe).Address}},
		{Name: engine.Persist},
	} {
		res, err := e.Agents.Order(ctx, id, agent.Order{Operation: record.ID, Step: "guard", Cluster: c.ID, Node: node,
			Generation: c.Generation, Term: e.Term, Timeout: orderTimeout, Action: action})
		if err == nil && res.OK() {
			continue
		}
		why := res.Detail
		if err != nil {
			why = err.Error()
		}
		if res.Code == agent.CodeStale || ctx.Err() != nil {
			return // an operation moves the primary at this moment, or we end
		}
		record.Outcome, record.Detail = audit.Failed, fmt.Sprintf("%s on %s: %s", action.Name, node, why)
		break
	}
	e.Log.Warn("a second primary was seen", "cluster", c.ID, "node", node, "outcome", record.Outcome, "detail", record.Detail)
	if _, err := e.Audit.Append(ctx, record); err != nil {
		e.Log.Error("attempt could not be audited", "what", record.What, "err", err)
	}
}
