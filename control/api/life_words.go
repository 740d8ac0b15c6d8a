package api

import (
	"fmt"

	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/plan"
)

// consequences say in sentences what a policy means.
func consequences(c *inventory.Cluster) []string {
	p := c.Policy
	if c.Engine != engine.Redis {
		return []string{"A write is acknowledged when a majority of the voters has it on disk; the engine elects its leader by itself."}
	}
	var out []string
	if p.Durability == inventory.DurabilitySync {
		out = append(out, fmt.Sprintf("Writes are taken only while %d replicas are in step and were heard within 3 s. A primary cut off from them stops within 4 s; what it acknowledged in that time may be lost with it.", p.SyncReplicas))
	} else {
		out = append(out, "The primary acknowledges a write alone and copies it a moment later. A planned promotion loses nothing; a sudden loss of the primary may lose the last moments.")
	}
	switch p.Failover {
	case inventory.FailoverOff:
		out = append(out, "Nothing is promoted by itself: when the primary is lost, writes stop until a person acts.")
	case inventory.FailoverNoLoss:
		out = append(out, "When the primary is lost, another node is promoted by itself only if it surely holds every acknowledged write.")
	case inventory.FailoverBoundedLoss:
		out = append(out, fmt.Sprintf("When the primary is lost, another node is promoted by itself if at most %d bytes and %d s of writes may be missing.", p.MaxLossBytes, p.MaxLossAgeSeconds))
	}
	if p.Failover != inventory.FailoverOff {
		out = append(out, fmt.Sprintf("A lost host is noticed for sure after %.1f s, when its lease has ended.", float64(p.LeaseTTLMs)/1000))
	}
	if p.Approval {
		out = append(out, "A second person approves each planned promotion.")
	}
	if p.DeletionProtection {
		out = append(out, "The cluster cannot be deleted until its protection is taken away.")
	}
	return out
}

// losses say what the loss of the primary, and of each other node, would mean
// now.
func losses(c *inventory.Cluster, f *plan.Facts) (primary string, nodes []NodeOutcome) {
	nodes = []NodeOutcome{}
	p := f.Primary()
	step, best, bestPriority := 0, "", -1
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if p == nil || n.Name == p.Name || !n.Up() || !n.Seen.LinkUp {
			continue
		}
		step++
		if !n.Never && !n.NoFailover && n.Priority > 0 && !n.InMaintenance(f.Now) && n.Priority > bestPriority {
			best, bestPriority = n.Name, n.Priority
		}
	}
	switch {
	case p == nil:
		primary = "No primary is seen at the moment."
	case best == "":
		primary = "Writes stop, and no node may be promoted by itself."
	case c.Engine != engine.Redis:
		primary = "The others elect a leader within moments."
	case c.Policy.Failover == inventory.FailoverOff:
		primary = fmt.Sprintf("Writes stop until a person promotes a node; %s is in step now.", best)
	default:
		primary = fmt.Sprintf("%s takes over if it then holds enough (%s), after %.1f s at the latest.", best, c.Policy.Failover, float64(c.Policy.LeaseTTLMs)/1000+0.2)
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		o := NodeOutcome{Node: n.Name}
		left := step
		if n.Up() && n.Seen.LinkUp && p != nil && n.Name != p.Name {
			left--
		}
		switch {
		case p != nil && n.Name == p.Name:
			o.Sentence = primary
		case c.Engine == engine.Redis && left < c.Policy.SyncReplicas:
			o.Sentence = fmt.Sprintf("Writes stop: %d replicas must be in step and %d would be.", c.Policy.SyncReplicas, left)
		case left == 0:
			o.Sentence = "Writes go on, and no other node could take over from the primary."
		default:
			o.Sentence = fmt.Sprintf("Writes go on; replicas in step: %d.", left)
		}
		nodes = append(nodes, o)
	}
	return primary, nodes
}
