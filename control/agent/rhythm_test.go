package agent

import (
	"testing"
	"time"

	"baton/control/engine"
)

func TestReportsComeAsOftenAsAskedAndAtOnceWhenRolesChange(t *testing.T) {
	var r rhythm
	o := &engine.Observation{Up: true, Role: engine.RoleReplica, ReplicaOf: "a:1", LinkUp: true}
	report := &Report{Instances: []InstanceReport{{Cluster: "c", Node: "n", Observation: o, ProcessInfo: &engine.ProcessState{State: "running", PID: 7}}}}
	now := time.Unix(1000, 0)
	sent := func(looks int) (n int) {
		for range looks {
			now = now.Add(ReportInterval)
			o.Position++ // numbers alone do not hurry
			if r.due(report, now) {
				n++
			}
		}
		return n
	}
	if n := sent(10); n != 10 {
		t.Errorf("%d of 10 looks reported before anything was asked", n)
	}
	r.ask(4 * ReportInterval)
	if n := sent(40); n != 10 {
		t.Errorf("%d reports of 40 looks at a quarter of the rhythm", n)
	}
	r.ask(time.Hour)
	if n := sent(40); n != 40*int(ReportInterval)/int(MaxReportInterval) {
		t.Errorf("%d reports of 40 looks at a rhythm that is bounded", n)
	}
	for what, change := range map[string]func(){
		"down":          func() { o.Up = false },
		"another role":  func() { o.Role = engine.RolePrimary },
		"another link":  func() { o.ReplicaOf = "b:1" },
		"link down":     func() { o.LinkUp = false },
		"another run":   func() { report.Instances[0].ProcessInfo.PID++ },
		"one more":      func() { report.Instances = append(report.Instances, InstanceReport{Cluster: "d"}) },
		"not looked at": func() { report.Instances[0].Observation = nil },
	} {
		now = now.Add(10 * MaxReportInterval)
		r.due(report, now)
		now = now.Add(ReportInterval)
		if r.due(report, now) {
			t.Fatalf("before %q: a report without reason", what)
		}
		change()
		now = now.Add(ReportInterval)
		if !r.due(report, now) {
			t.Errorf("%q waits for the next report", what)
		}
		report.Instances[0].Observation = o
	}
	r.whole.Store(true)
	if n := sent(3); n != 3 {
		t.Errorf("a whole report was asked for, and %d of 3 looks reported before it was made", n)
	}
	r.whole.Store(false)
	report.Leases = []LeaseState{{Cluster: "c"}}
	if n := sent(5); n != 5 {
		t.Errorf("a holder of a lease reported at %d of 5 looks", n)
	}
	report.Leases = nil
	r.ask(0)
	if n := sent(5); n != 5 {
		t.Errorf("asked for every look again: %d of 5", n)
	}
}
