package executor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/health"
	"baton/control/inventory"
	"baton/control/plan"
)

// guard keeps the roles an operation gave, over restarts of the servers: the
// role a server has in its own file may be an older one.
//
//   - A server that was restarted gets its role written to its file again, as
//     long as it is the right one.
//   - A deposed primary that comes back as a primary beside the present one is
//     demoted: clients that reach it would write into the void.
//   - The primary that comes back as a replica while nobody else is primary is
//     promoted again, if every member answers and none holds more keys.
//
// The last two must be seen twice, carry the present generation, and are
// audited. The guard acts only on engines without consensus and only where an
// operation of ours named the primary; where somebody moved it by hand nothing
// is done.
func (e *Executor) guard(ctx context.Context) {
	tick := time.NewTicker(e.Guard)
	defer tick.Stop()
	seen := map[string]bool{}
	persisted := map[string]string{} // run id of each server whose file is right
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		again := map[string]bool{}
		for _, c := range e.Inventory.Clusters() {
			if c.Engine != engine.Redis || c.Running != "" && !e.yields(c.Running) || c.Generation == 0 || c.ShouldBe == "" {
				continue
			}
			f, ok := e.Facts.Facts(c.ID)
			if !ok {
				continue
			}
			for _, node := range second(&f, c.ShouldBe) {
				if e.Leases != nil && e.Leases.Managed(c.ID) {
					continue // the keeper of leases saves what it holds before it demotes it
				}
				key := c.ID + "/" + node
				if again[key] = true; seen[key] {
					e.demoteSecond(ctx, &c, &f, node)
				}
			}
			if lostRole(&f, c.ShouldBe) {
				key := c.ID + "/" + c.ShouldBe
				if again[key] = true; seen[key] {
					e.promoteAgain(ctx, &c)
				}
			}
			e.persistRestarted(ctx, &c, &f, persisted)
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

// lostRole tells whether the rightful primary is there as a replica, nobody is
// primary, every member answers and none of them holds more keys than it.
func lostRole(f *plan.Facts, rightful string) bool {
	n := f.Node(rightful)
	if n == nil || n.Role() != engine.RoleReplica || len(f.Primaries()) > 0 {
		return false
	}
	for i := range f.Nodes {
		if m := &f.Nodes[i]; !m.Up() || keys(m) > keys(n) {
			return false
		}
	}
	return true
}

// keys is how many keys a server holds in its first database, from
// "keys=3,expires=0".
func keys(n *health.Node) int {
	head, _, _ := strings.Cut(n.Seen.Details["keys"], ",")
	count, _ := strconv.Atoi(strings.TrimPrefix(head, "keys="))
	return count
}

func (e *Executor) demoteSecond(ctx context.Context, c *inventory.Cluster, f *plan.Facts, node string) {
	e.correct(ctx, c, node, fmt.Sprintf("demoted %s, which came back as a primary beside %s", node, c.ShouldBe),
		fmt.Sprintf("%s is the primary of generation %d; what %s took since it came back is not kept", c.ShouldBe, c.Generation, node),
		engine.Action{Name: engine.Demote, Args: map[string]string{"addr": f.Node(c.ShouldBe).Address}}, engine.Action{Name: engine.Persist})
}

func (e *Executor) promoteAgain(ctx context.Context, c *inventory.Cluster) {
	e.correct(ctx, c, c.ShouldBe, fmt.Sprintf("promoted %s again, which came back as a replica", c.ShouldBe),
		fmt.Sprintf("it is the primary of generation %d, nobody else was, and no member holds more keys", c.Generation),
		engine.Action{Name: engine.Promote}, engine.Action{Name: engine.Persist})
}

// correct orders actions on one node and records the attempt.
func (e *Executor) correct(ctx context.Context, c *inventory.Cluster, node, what, why string, actions ...engine.Action) {
	record := audit.Record{ID: newID(), At: e.Now(), Cluster: c.ID, Node: node, Who: audit.Who{Name: "baton", Source: "auto"},
		What: what, Outcome: audit.Done, Detail: why}
	for _, action := range actions {
		res, err := e.guardOrder(ctx, c, node, record.ID, action)
		if err == nil && res.OK() {
			continue
		}
		detail := res.Detail
		if err != nil {
			detail = err.Error()
		}
		if res.Code == agent.CodeStale || ctx.Err() != nil {
			return // an operation moves the primary at this moment, or we end
		}
		record.Outcome, record.Detail = audit.Failed, fmt.Sprintf("%s on %s: %s", action.Name, node, detail)
		break
	}
	e.Log.Warn("a role was corrected", "cluster", c.ID, "what", what, "outcome", record.Outcome, "detail", record.Detail)
	if _, err := e.Audit.Append(ctx, record); err != nil {
		e.Log.Error("attempt could not be audited", "what", what, "err", err)
	}
}

func (e *Executor) guardOrder(ctx context.Context, c *inventory.Cluster, node, id string, action engine.Action) (agent.Result, error) {
	agentID, ok := e.Agents.Locate(c.ID, node)
	if !ok {
		return agent.Result{}, agent.ErrNotConnected
	}
	return e.Agents.Order(ctx, agentID, agent.Order{Operation: id, Step: "guard", Cluster: c.ID, Node: node,
		Generation: c.Generation, Term: e.Term, Timeout: orderTimeout, Action: action})
}

// persistRestarted writes the role of servers that were started since it was
// written last, when it is the right one. persisted is the guard's own.
func (e *Executor) persistRestarted(ctx context.Context, c *inventory.Cluster, f *plan.Facts, persisted map[string]string) {
	for i := range f.Nodes {
		n := &f.Nodes[i]
		right := n.Role() == engine.RoleReplica
		if n.Name == c.ShouldBe {
			right = n.Role() == engine.RolePrimary
		}
		if !right {
			continue
		}
		key, id := c.ID+"/"+n.Name, n.Seen.Details["runId"]
		if id == "" || persisted[key] == id {
			continue
		}
		if res, err := e.guardOrder(ctx, c, n.Name, "guard", engine.Action{Name: engine.Persist}); err == nil && res.OK() {
			persisted[key] = id
		}
	}
}
