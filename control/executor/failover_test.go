package executor

import (
	"fmt"
	"testing"

	"baton/control/engine"
	"baton/control/failover"
	"baton/control/operation"
	"baton/control/plan"
)

// TestAFailoverPlanIsItsProcedure: what a person reads is what runs.
func TestAFailoverPlanIsItsProcedure(t *testing.T) {
	f := failover.Facts{Primary: "a"}
	f.Engine = engine.Redis
	p := failover.Plan(&f, failover.Decision{Kind: failover.Failover, Node: "b"}, false, "")
	for _, kind := range []string{operation.Failover, operation.ForcedPromotion} {
		var planned, run []string
		returns := 0
		for _, s := range p.Steps {
			planned = append(planned, s.ID)
			if s.PointOfNoReturn {
				returns++
			}
			if s.Undo == "" || s.Title == "" || s.Timeout <= 0 {
				t.Errorf("step %+v says too little", s)
			}
		}
		for _, s := range kindTable()[kindKey{kind, engine.Redis}].procedure {
			run = append(run, s.id)
		}
		if returns != 1 || !p.Commits() || fmt.Sprint(planned) != fmt.Sprint(run) {
			t.Errorf("%s: planned %v, run %v, %d points of no return", kind, planned, run, returns)
		}
	}
	if _, ok := p.Addresses["b"]; ok || p.Steps[2].ID != plan.StepCommit {
		t.Errorf("plan %+v", p)
	}
}
