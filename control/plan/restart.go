package plan

import (
	"fmt"
	"strings"

	"baton/control/engine"
	"baton/control/health"
)

// Steps of a rolling restart beside those of a promotion.
const (
	StepRestartReplicas = "restart-replicas"
	StepRestartFormer   = "restart-former"
)

// RollingRestart plans restarting every server of a cluster, so that they take
// in what only a start brings: the replicas one after the other, then a planned
// promotion, then the former primary. The code "sync.quorum" may be overridden,
// and what a promotion lets be overridden.
func RollingRestart(f *Facts, c ClusterFacts, overrides ...string) Plan {
	title := "restart the servers of cluster " + f.Cluster + " one after the other"
	p := base(f, "", title)
	p.wantMade(c)
	primary := p.wantPrimary(f)
	if busy := copying(f, ""); len(busy) > 0 {
		p.Refuse("sync.busy", "nodes are not in step", strings.Join(busy, ", "), "repair them first: each restart leaves one node less")
	}
	left := -1 // replicas in step while one of them restarts
	for i := range f.Nodes {
		if n := &f.Nodes[i]; inStep(n) && !n.NoSync {
			left++
		}
	}
	if left < c.SyncReplicas && len(f.Nodes) > 1 && !over(overrides, "sync.quorum") {
		p.Refuse("sync.quorum", "writes would wait while a replica restarts", fmt.Sprintf("%d replicas must be in step, %d would be", c.SyncReplicas, max(left, 0)),
			"add a node first, or override sync.quorum with a reason")
	}
	p.refuseTwice()
	if p.Refused() {
		return p
	}
	best := bestCandidate(f, primary.Name, overrides...)
	if best == "" {
		p.Refuse("last.promotable", "no replica may be promoted meanwhile", "the primary cannot restart without another node taking its place",
			"add a node (baton add-node "+f.Cluster+" NODE), or see baton explain "+f.Cluster+" NODE")
		return p
	}
	out := Promote(f, best, overrides...)
	out.Title, out.Args = title, p.Args
	replicas := append(append([]string{}, out.Siblings...), best)
	steps := []Step{{ID: StepRestartReplicas, Node: strings.Join(replicas, ", "), Title: "Restart the replicas one after the other; each is in step again before the next",
		Command: "SHUTDOWN; redis-server redis.conf --replicaof ...", Undo: "a replica that was stopped is started again", Timeout: 2 * patient}}
	steps = append(steps, out.Steps...)
	out.Steps = append(steps, Step{ID: StepRestartFormer, Node: out.From, Title: "Restart " + out.From + ", a replica by now, and wait until it is in step",
		Command: "SHUTDOWN; redis-server redis.conf --replicaof ...", Undo: "none", Timeout: 2 * patient})
	return out
}

// bestCandidate is the replica to promote when a person names none: the one
// with the fewest checks against it, then with the highest priority, then the
// least behind, then the first by name; "" when there is none.
func bestCandidate(f *Facts, primary string, overrides ...string) string {
	var best *health.Node
	fewest := 0
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Name == primary || n.Role() != engine.RoleReplica || n.Never {
			continue
		}
		r := Evaluate(f, n.Name)
		against := len(r.Refusals(overrides...))
		switch {
		case best == nil || against < fewest,
			against == fewest && n.Priority > best.Priority,
			against == fewest && n.Priority == best.Priority && n.Seen.LagBytes < best.Seen.LagBytes:
			best, fewest = n, against
		}
	}
	if best == nil {
		return ""
	}
	return best.Name
}
