package plan_test

import (
	"slices"
	"testing"

	"baton/control/plan"
)

// TestRollingRestartPlans: the primary's turn comes after another took its
// place, and nothing is begun that would leave writes waiting.
func TestRollingRestartPlans(t *testing.T) {
	made := plan.ClusterFacts{Made: true}
	f := story(t)
	p := plan.RollingRestart(&f, made)
	if p.Refused() {
		t.Fatalf("refused: %s", codes(p))
	}
	var ids []string
	for _, s := range p.Steps {
		ids = append(ids, s.ID)
	}
	if p.From == "" || p.Node == p.From || ids[0] != plan.StepRestartReplicas || ids[len(ids)-1] != plan.StepRestartFormer || !slices.Contains(ids, plan.StepCommit) || !p.Commits() {
		t.Errorf("from %s to %s by %v", p.From, p.Node, ids)
	}
	for want, change := range map[string]func(*plan.Facts, *plan.ClusterFacts){
		"made":        func(_ *plan.Facts, c *plan.ClusterFacts) { c.Made = false },
		"sync.quorum": func(f *plan.Facts, c *plan.ClusterFacts) { c.SyncReplicas = len(f.Nodes) - 1 },
		"sync.busy":   func(f *plan.Facts, _ *plan.ClusterFacts) { f.Node(p.Node).Seen.LinkUp = false },
		"last.promotable": func(f *plan.Facts, _ *plan.ClusterFacts) {
			for i := range f.Nodes {
				f.Nodes[i].Never = true
			}
		},
	} {
		f, c := story(t), made
		change(&f, &c)
		if got := codes(plan.RollingRestart(&f, c)); got != want {
			t.Errorf("%s: refused by %q", want, got)
		}
	}
}
