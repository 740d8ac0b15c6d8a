package failover

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"baton/control/engine"
	"baton/control/health"
	"baton/control/lease"
	"baton/control/plan"
)

// Ids of the steps that only failovers have.
const (
	StepFence = "fence-old"      // wait until the old primary surely takes no writes
	StepRead  = "read-positions" // of every replica that answers, and choose
	StepAhead = "keep-ahead"     // save what siblings hold beyond the new primary
)

// Arguments of a failover's plan.
const (
	ArgAcceptLoss = "acceptLoss" // "true" in a forced promotion
	ArgNode       = "node"       // the node a person insists on; "" the furthest
	ArgWhy        = "why"        // why the primary counts as gone
	ArgLoss       = "loss"       // what may be missing, as known when it was planned
)

// Plan writes down what a failover to the decision's node does. hand is set
// for a forced promotion; node is the one a person insists on.
func Plan(f *Facts, d Decision, hand bool, node string) plan.Plan {
	b := d.Node
	p := plan.Plan{Cluster: f.Cluster, Engine: f.Engine, Node: b, From: f.Primary, Generation: f.Generation, Addresses: map[string]string{},
		Budget: plan.StallBudget, PossibleLoss: d.Loss.String(),
		Args: map[string]string{ArgAcceptLoss: strconv.FormatBool(hand), ArgNode: node, ArgWhy: d.Why, ArgLoss: d.Loss.String()}}
	p.Title = fmt.Sprintf("fail over from %s to %s", f.Primary, b)
	if hand {
		p.Title = fmt.Sprintf("force %s to be primary in place of %s", b, f.Primary)
	}
	var others []string
	for i := range f.Nodes {
		n := &f.Nodes[i]
		p.Addresses[n.Name] = n.Address
		if n.Name != b && n.Name != f.Primary {
			p.Siblings = append(p.Siblings, n.Name)
			others = append(others, n.Name)
		}
	}
	all := strings.Join(append([]string{b}, others...), ", ")
	const quick, patient = 5 * time.Second, 30 * time.Second
	p.Steps = []plan.Step{
		{ID: StepFence, Node: f.Primary, Title: fmt.Sprintf("Make sure that %s takes no writes any more: its lease is released or over", f.Primary),
			Command: "renewals are refused; wait for the lease", Undo: "renewals are granted again", Timeout: f.Lease.TTL + patient},
		{ID: StepRead, Node: all, Title: "Read every replica's position and choose the furthest", Command: "INFO replication", Undo: "reads only", Timeout: quick},
		{ID: plan.StepCommit, Node: b, Title: fmt.Sprintf("Commit generation %d: %s is the primary", f.Generation+1, b), Command: "journal",
			PointOfNoReturn: true, Undo: "none: from here the operation goes forward", Timeout: quick},
		{ID: plan.StepPromote, Node: b, Title: b + " becomes the primary", Command: "REPLICAOF NO ONE; ROLE", Undo: "none", Timeout: quick},
		{ID: StepAhead, Node: strings.Join(others, ", "), Title: "Save what another replica holds beyond " + b, Command: "BGSAVE, only where one is ahead", Undo: "none", Timeout: patient},
		{ID: plan.StepRepoint, Node: strings.Join(others, ", "), Title: "All other replicas follow " + b, Command: "REPLICAOF " + p.Addresses[b], Undo: "none", Timeout: quick},
		{ID: plan.StepPersist, Node: all, Title: "Write the roles to each node's own file", Command: "CONFIG REWRITE", Undo: "none", Timeout: quick},
		{ID: plan.StepVerify, Node: all, Title: "Verify: one primary, every replica that answers attached, a write read back", Command: "ROLE; SET; GET", Undo: "none", Timeout: patient},
	}
	return p
}

// Steps are the titles of what a failover would do, for people.
func Steps(p *plan.Plan) []string {
	out := make([]string, len(p.Steps))
	for i, s := range p.Steps {
		out[i] = s.Title
	}
	return out
}

// WhatIf says what would happen if the host of a node died now: the answer of
// Decide for the facts as they would be.
func WhatIf(f *Facts, node string) Decision {
	g := *f
	g.Nodes = append([]health.Node(nil), f.Nodes...)
	g.Connected = map[string]bool{}
	n := g.Node(node)
	if n == nil {
		return Decision{Kind: Nothing, Why: "the cluster has no node " + node}
	}
	for id, yes := range f.Connected {
		g.Connected[id] = yes && id != n.Agent
	}
	dead := engine.Observation{Role: engine.RoleUnknown, LagBytes: -1, LagSeconds: -1, LinkSilenceSeconds: -1, WritesPerSecond: -1}
	if n.Seen != nil {
		dead = *n.Seen
	}
	dead.Up, dead.LinkUp = false, false
	n.Seen, n.ReportAge = &dead, time.Hour
	if node != f.Primary {
		return g.replicaGone(node)
	}
	g.EngineEnded, g.Restartable, g.Lossless = false, false, false
	if g.Lease.State != lease.None {
		g.Lease.State, g.Lease.ExpiresIn = lease.Expired, 0
	}
	g.Samples = append([]Sample(nil), f.Samples...)
	for i := range g.Nodes {
		m := &g.Nodes[i]
		if m.Name == node || m.Seen == nil {
			continue
		}
		g.Connected[m.Agent] = f.Connected[m.Agent] // one agent may serve several nodes on a machine for trying things out
		seen := *m.Seen
		seen.LinkUp = false
		m.Seen = &seen
	}
	return Decide(&g)
}

// replicaGone says what the loss of a replica leaves.
func (f *Facts) replicaGone(node string) Decision {
	left := 0
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Name != node && n.Name != f.Primary && n.Up() && n.Seen.LinkUp {
			left++
		}
	}
	d := Decision{Kind: Nothing, Why: fmt.Sprintf("%s goes on as the primary with %s", f.Primary, plural(left, "replica"))}
	if p := f.Node(f.Primary); p != nil && p.Up() && p.Seen.Facts.SyncNeeded != nil && int64(left) < *p.Seen.Facts.SyncNeeded {
		d.Kind, d.Missing = Blocked, []string{node}
		d.Why = fmt.Sprintf("%s would stop taking writes: it wants %s in step and %d would be left", f.Primary, plural(int(*p.Seen.Facts.SyncNeeded), "replica"), left)
		return d
	}
	if left == 0 {
		d.Why += "; the next loss would lose the data"
	}
	return d
}
