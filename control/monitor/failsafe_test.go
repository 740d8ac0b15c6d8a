package monitor

import (
	"context"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/health"
	"baton/control/inventory"
)

// TestAPrimaryThatGoesOnByPromisesIsShown: as soon as its agent says so, by our
// clock, until it says otherwise or nothing any more; and from the record alone
// where no control node leads.
func TestAPrimaryThatGoesOnByPromisesIsShown(t *testing.T) {
	m, _, now := setup(t)
	if err := m.Inventory.Register(context.Background(), inventory.Spec{ID: "d", Engine: engine.Redis, Primary: "a", Members: []inventory.Member{{Name: "a"}}}); err != nil {
		t.Fatal(err)
	}
	led, permits := true, true
	m.Journal = func() (bool, string) { return led, "" }
	m.Promises = func(c *inventory.Cluster) bool { return permits && c.ID == "d" }
	failsafe := func() *health.Failsafe { s, _ := m.Snapshot("d"); return s.Failsafe }
	wrong := time.Unix(999999, 0) // the agent's clock
	say := func(alone time.Time) {
		m.take(agent.Report{Agent: "x", At: wrong, ReceivedAt: *now, Leases: []agent.LeaseState{{Cluster: "d", Node: "a", AloneSince: alone}}})
	}
	if f := failsafe(); f != nil {
		t.Errorf("before anything was said: %+v", f)
	}
	say(wrong.Add(-20 * time.Second))
	*now = now.Add(2 * time.Second)
	if f := failsafe(); f == nil || *f != (health.Failsafe{Node: "a", Seen: true, For: 22 * time.Second}) {
		t.Errorf("it says so: %+v", f)
	}
	*now = now.Add(health.StaleAfter)
	if f := failsafe(); f != nil {
		t.Errorf("what was said long ago: %+v", f)
	}
	led = false
	if f := failsafe(); f == nil || *f != (health.Failsafe{Node: "a"}) {
		t.Errorf("no control node leads: %+v", f)
	}
	permits = false
	if f := failsafe(); f != nil {
		t.Errorf("the record does not permit it: %+v", f)
	}
	led = true
	say(wrong)
	m.take(agent.Report{Agent: "y", At: wrong, ReceivedAt: *now})
	if f := failsafe(); f == nil || !f.Seen {
		t.Errorf("another agent's report takes it away: %+v", f)
	}
	say(time.Time{})
	if f := failsafe(); f != nil {
		t.Errorf("kept by the control plane again: %+v", f)
	}
}
