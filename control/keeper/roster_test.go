package keeper

import (
	"testing"

	"baton/control/engine"
	"baton/control/health"
	"baton/control/inventory"
	"baton/control/lease"
	"baton/control/plan"
)

// Goal: a node whose agent the primary might not ask for a promise is not promoted while there is a lease to go on with,
// and is no worse than others once failover is off: nobody tells the primary's agent of it any more.
func TestUnaskedCountsOnlyWhereThereIsALease(t *testing.T) {
	f := &plan.Facts{Snapshot: health.Snapshot{Nodes: []health.Node{{Name: "c-1", Agent: "a1"}, {Name: "c-3", Agent: "a3"}}}}
	for _, c := range []struct {
		name     string
		failover string
		eligible lease.Eligible
		node     string
		want     bool
	}{
		{"not asked", inventory.FailoverBoundedLoss, lease.Eligible{Nodes: []string{"c-3@a3"}}, "c-1", true},
		{"asked", inventory.FailoverBoundedLoss, lease.Eligible{Nodes: []string{"c-3@a3"}}, "c-3", false},
		{"beside another agent than the one that is asked", inventory.FailoverBoundedLoss, lease.Eligible{Nodes: []string{"c-1@a9"}}, "c-1", true},
		{"not seen", inventory.FailoverNoLoss, lease.Eligible{Nodes: []string{"c-2@a2"}}, "c-2", true},
		{"kept by grants alone", inventory.FailoverNoLoss, lease.Everybody(), "c-1", false},
		{"not asked, and failover is off", inventory.FailoverOff, lease.Eligible{Nodes: []string{"c-3@a3"}}, "c-1", false},
	} {
		cluster := &inventory.Cluster{Spec: inventory.Spec{Engine: engine.Redis, Policy: inventory.Policy{Failover: c.failover}}, ShouldBe: "c-2"}
		if got := unasked(cluster, c.eligible, f, c.node); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
