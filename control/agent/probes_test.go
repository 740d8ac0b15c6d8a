package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"baton/control/engine"
)

// endlessProbe writes nothing and ends when it is told to.
type endlessProbe struct{}

func (endlessProbe) Run(ctx context.Context, first func()) error {
	first()
	<-ctx.Done()
	return nil
}
func (endlessProbe) Acked() int64 { return 0 }
func (endlessProbe) Finish(context.Context) (engine.ProbeReport, error) {
	return engine.ProbeReport{}, nil
}

// TestEndedProbesMakeRoom: any number of operations may follow each other on
// one agent. The probes of ended ones make room, the oldest first; only as
// many that run at the same time are too many.
func TestEndedProbesMakeRoom(t *testing.T) {
	p := newProbes()
	t.Cleanup(p.stopAll)
	begin := func(id string) (*runningProbe, error) {
		return p.begin(id, func() (engine.Probe, error) { return endlessProbe{}, nil })
	}
	for i := range 3 * maxProbes {
		r, err := begin(fmt.Sprint("op", i))
		if err != nil {
			t.Fatalf("operation %d after %d that have ended: %v", i+1, i, err)
		}
		r.stop()
		<-r.ended
	}
	if p.get(fmt.Sprint("op", 3*maxProbes-1)) == nil || p.get(fmt.Sprint("op", 2*maxProbes)) == nil || p.get("op0") != nil {
		t.Error("the newest are not the ones that are remembered")
	}
	if len(p.byID) > maxProbes {
		t.Errorf("%d probes are remembered", len(p.byID))
	}
	for i := range maxProbes {
		if _, err := begin(fmt.Sprint("running", i)); err != nil {
			t.Fatalf("probe %d that runs: %v", i+1, err)
		}
	}
	var refused *engine.ActionError
	if _, err := begin("one more"); !errors.As(err, &refused) || refused.Code != CodeBusy {
		t.Errorf("one too many: %v", err)
	}
	if _, err := begin("running0"); err != nil {
		t.Errorf("the same one again: %v", err)
	}
}
