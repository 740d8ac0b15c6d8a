package alert

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bench plays seconds of facts through the rules and remembers what happened.
type bench struct {
	t    *testing.T
	now  time.Time
	open map[Key]Alert
	hold *Hold
	done []Alert
}

func newBench(t *testing.T) *bench {
	return &bench{t: t, now: start, open: map[Key]Alert{}, hold: NewHold()}
}

// second judges facts once and returns what happened, as words.
func (b *bench) second(f Facts) []string {
	b.now = b.now.Add(time.Second)
	f.Now = b.now
	for i := range f.Clusters {
		f.Clusters[i].Now = b.now
	}
	var out []string
	for _, e := range Next(b.open, b.hold, Judge(&f, func(k Key) bool { _, ok := b.open[k]; return ok }), b.now) {
		kind, data, err := Encode(e)
		if err != nil {
			b.t.Fatal(err)
		}
		if e, err = Decode(kind, data); err != nil || e == nil {
			b.t.Fatalf("%s does not decode: %v", kind, err)
		}
		if f, ok := e.(Fired); ok {
			b.open[f.Key] = f.Alert
			out = append(out, fmt.Sprintf("fired %s %s", f.Kind, f.Severity))
			continue
		}
		for k, a := range b.open {
			if a.ID != ID(e) {
				continue
			}
			a = Apply(a, e)
			b.open[k] = a
			out = append(out, fmt.Sprintf("%s %s", strings.TrimPrefix(e.kind(), "alert-"), k.Kind))
			if a.State() == "resolved" {
				delete(b.open, k)
				b.done = append(b.done, a)
			}
		}
	}
	return out
}

// during plays so many seconds and returns everything that happened.
func (b *bench) during(seconds int, f Facts) string {
	var out []string
	for range seconds {
		out = append(out, b.second(f)...)
	}
	return strings.Join(out, ", ")
}

// cluster is a Redis cluster of three that is well; change changes it.
func cluster(change func(*Cluster)) Facts {
	c := Cluster{Snapshot: health.Snapshot{Cluster: "c", Engine: engine.Redis}, Promotable: 2}
	for _, n := range []string{"a", "b", "s"} {
		o := &engine.Observation{Up: true, Role: engine.RoleReplica, LinkUp: true}
		if n == "a" {
			o.Role, o.LinkUp = engine.RolePrimary, false
		}
		c.Nodes = append(c.Nodes, health.Node{Name: n, Agent: "agent-" + n, Seen: o, Disk: &engine.DiskFacts{FreeBytes: 50 << 30, TotalBytes: 100 << 30}})
	}
	if change != nil {
		change(&c)
	}
	return Facts{Clusters: []Cluster{c}, Control: Control{JournalOK: true}}
}

// TestHoldDown: what lasts shorter than its hold-down is not told; what lasts
// fires once, and resolves once it has been good for a while.
func TestHoldDown(t *testing.T) {
	b := newBench(t)
	well, link := cluster(nil), cluster(func(c *Cluster) { c.Nodes[1].Seen.LinkUp = false })
	if got := b.during(60, well); got != "" {
		t.Fatalf("all is well and %s", got)
	}
	for range 5 { // a link that blinks
		if got := b.during(8, link) + b.during(3, well); got != "" {
			t.Fatalf("a blink: %s", got)
		}
	}
	if got := b.during(120, link); got != "fired link-down warning" {
		t.Errorf("a lasting break: %s", got)
	}
	if got := b.during(3, well) + b.during(3, link); got != "" {
		t.Errorf("a moment of health: %s", got)
	}
	if got := b.during(30, well); got != "resolved link-down" {
		t.Errorf("health: %s", got)
	}
	if a := b.done[0]; !strings.Contains(a.Sentence, "b of c") || a.ID == "" || a.ResolvedAt.Sub(a.Since) < 100*time.Second {
		t.Errorf("%+v", a)
	}
}

// TestHysteresis: a lag around the limit fires once and resolves only well
// below it; a worse one changes the alert.
func TestHysteresis(t *testing.T) {
	b := newBench(t)
	lag := func(n int64) Facts { return cluster(func(c *Cluster) { c.Nodes[1].Seen.LagBytes = n << 20 }) }
	if got := b.during(20, lag(17)); got != "fired lag warning" {
		t.Fatal(got)
	}
	for range 20 {
		if got := b.during(5, lag(15)) + b.during(5, lag(17)); got != "" {
			t.Fatalf("around the limit: %s", got)
		}
	}
	if got := b.during(60, lag(9)); got != "" {
		t.Errorf("just below the limit: %s", got)
	}
	if got := b.during(3, lag(300)); got != "changed lag" {
		t.Errorf("far above: %s", got)
	}
	if got := b.during(60, lag(7)); got != "resolved lag" {
		t.Errorf("well below: %s", got)
	}
}

// TestUnknown: what nobody sees neither fires nor resolves anything but the
// silence itself; a control plane that has just started resolves nothing.
func TestUnknown(t *testing.T) {
	b := newBench(t)
	b.during(30, cluster(func(c *Cluster) { c.Nodes[1].Seen.Up = false }))
	if len(b.open) != 1 {
		t.Fatalf("%v", b.open)
	}
	nobody := cluster(func(c *Cluster) {
		for i := range c.Nodes {
			c.Nodes[i].Seen, c.Nodes[i].ReportAge = nil, -1
		}
	})
	if got := b.during(300, nobody); got != "" {
		t.Errorf("nobody has reported yet: %s", got)
	}
	silent := cluster(func(c *Cluster) {
		for i := range c.Nodes {
			c.Nodes[i].SeenAge, c.Nodes[i].ReportAge = time.Minute, time.Minute
		}
	})
	if got := b.during(60, silent); got != "fired agent-silent warning, fired agent-silent warning, fired agent-silent warning" {
		t.Errorf("silence: %s", got)
	}
	if got := b.during(60, Facts{Control: Control{JournalOK: true}}); strings.Count(got, "resolved") != 4 {
		t.Errorf("the cluster was removed: %s", got)
	}
}

// TestRules: each kind fires for what it is about, with its severity.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		name   string
		facts  Facts
		want   string
		inText string
	}{
		{"primary dead", cluster(func(c *Cluster) { c.Nodes[0].Seen.Up = false }), "fired no-primary critical, fired node-down critical", ""},
		{"during an operation", cluster(func(c *Cluster) { c.Nodes[0].Seen.Role = engine.RoleReplica; c.Running = true }), "", ""},
		{"lag in seconds", cluster(func(c *Cluster) { c.Nodes[1].Seen.LagBytes, c.Nodes[1].Seen.LagSeconds = 10, 30 }), "fired lag warning", "30 s"},
		{"lag unknown", cluster(func(c *Cluster) { c.Nodes[1].Seen.LagBytes, c.Nodes[1].Seen.LagSeconds = -1, -1 }), "", ""},
		{"maintenance", cluster(func(c *Cluster) { c.Nodes[1].Seen.LinkUp = false; c.Maintenance = map[string]bool{"b": true} }), "", ""},
		{"disk nearly full", cluster(func(c *Cluster) { c.Nodes[1].Disk.FreeBytes = 4 << 30 }), "fired disk-forecast critical", "4 %"},
		{"disk full next week", cluster(func(c *Cluster) { c.FullIn = map[string]time.Duration{"a": 100 * time.Hour} }), "fired disk-forecast warning", "full in 4 days, on Thu 5 Mar"},
		{"disk full tonight", cluster(func(c *Cluster) { c.FullIn = map[string]time.Duration{"a": 10 * time.Hour} }), "fired disk-forecast critical", "full in 10 h"},
		{"disk never full", cluster(func(c *Cluster) { c.FullIn = map[string]time.Duration{"a": -1} }), "", ""},
		{"nobody promotable", cluster(func(c *Cluster) { c.Promotable, c.NotPromotable = 0, "b no, because it is far behind" }), "fired no-promotable-node warning", "far behind"},
		{"not looked at", cluster(func(c *Cluster) { c.Promotable = -1 }), "", ""},
		{"lease", cluster(func(c *Cluster) { c.Lease = &Lease{Holder: "a", AtRisk: true, ExpiresIn: 2 * time.Second} }), "fired lease-at-risk critical", "in 2 s"},
		{"old backup", cluster(func(c *Cluster) { c.Backup = &Backup{Verified: start.Add(-30 * time.Hour)} }), "fired backup-age warning", "30 h old"},
		{"no backup ever", cluster(func(c *Cluster) { c.Backup = &Backup{Since: start.Add(-100 * time.Hour)} }), "fired backup-age critical", "no backup was verified"},
		{"fresh backup", cluster(func(c *Cluster) { c.Backup = &Backup{Verified: start.Add(-time.Hour)} }), "", ""},
		{"needs a human", cluster(func(c *Cluster) { c.NeedsHuman, c.NeedsHumanWhy = "op-1", "roles are mixed" }), "fired operation-needs-human critical", "op-1"},
		{"journal", Facts{Control: Control{JournalWhy: "no quorum"}}, "fired control-plane-degraded critical", "no quorum"},
		{"one control node away", Facts{Control: Control{JournalOK: true, Nodes: 3, Alive: 2}}, "fired control-plane-degraded warning", "2 of 3"},
		{"two control nodes", Facts{Control: Control{JournalOK: true, Nodes: 2, Alive: 2}}, "fired even-nodes warning", "2 nodes"},
		{"four voters", cluster(func(c *Cluster) {
			c.Engine = engine.EventStore
			c.Nodes = append(c.Nodes, health.Node{Name: "t", Seen: &engine.Observation{Up: true, Role: engine.RoleReplica, LinkUp: true}})
		}), "fired even-nodes warning", "4 voters"},
	} {
		b := newBench(t)
		if got := b.during(200, c.facts); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		for _, a := range b.open {
			if !strings.Contains(a.Sentence, c.inText) || a.Sentence == "" || a.Fix == "" {
				t.Errorf("%s: %q (%s)", c.name, a.Sentence, a.Fix)
			}
		}
	}
}

// TestAcknowledge: an acknowledged alert is not told, until its time is over
// or it becomes worse; what was told is not told again.
func TestAcknowledge(t *testing.T) {
	a := Alert{ID: "al-1", Key: Key{Kind: Lag}, Severity: Warning, Since: start}
	tell := func(a Alert) (int, int) { f, r := Tell([]Alert{a}); return len(f), len(r) }
	if f, r := tell(a); f != 1 || r != 0 {
		t.Error("a new alert is not told")
	}
	told := Apply(a, Told{Fired: map[string]Severity{"al-1": Warning}})
	if f, _ := tell(told); f != 0 {
		t.Error("told twice")
	}
	acked := Apply(told, Acknowledged{ID: "al-1", By: "ann", Until: start.Add(time.Minute), At: start})
	if acked.State() != "acknowledged" {
		t.Error(acked.State())
	}
	open := map[Key]Alert{a.Key: acked}
	bad := []Finding{{Key: a.Key, Truth: Bad, Severity: Warning}}
	if got := Next(open, NewHold(), bad, start.Add(59*time.Second)); len(got) != 0 {
		t.Errorf("too early: %v", got)
	}
	got := Next(open, NewHold(), bad, start.Add(time.Minute))
	if len(got) != 1 {
		t.Fatalf("its time is over: %v", got)
	}
	again := Apply(acked, got[0])
	if f, _ := tell(again); f != 1 || again.State() != "firing" {
		t.Error("an alert whose acknowledgement ended is not told")
	}
	worse := Apply(acked, Changed{ID: "al-1", Severity: Critical})
	if f, _ := tell(worse); f != 1 {
		t.Error("a worse alert is not told")
	}
	ended := Apply(told, Resolved{ID: "al-1", At: start})
	if f, r := tell(ended); f != 0 || r != 1 {
		t.Error("the end is not told")
	}
	if f, r := tell(Apply(ended, Told{Resolved: []string{"al-1"}})); f != 0 || r != 0 {
		t.Error("the end is told twice")
	}
	if f, r := tell(Apply(a, Resolved{ID: "al-1", At: start})); f != 0 || r != 0 {
		t.Error("the end of what nobody knew is told")
	}
}

// TestForecast: a straight line is found in noisy points; too little, and what
// does not shrink, says so.
func TestForecast(t *testing.T) {
	points := func(n int, step time.Duration, free func(i int) float64) []Point {
		var out []Point
		for i := range n {
			out = append(out, Point{start.Add(time.Duration(i-n) * step), free(i)})
		}
		return out
	}
	const gib = 1 << 30
	// 100 GiB, 1 GiB an hour less, noise of a tenth of it.
	left, ok := Forecast(points(60*6, time.Minute, func(i int) float64 {
		return 100*gib - float64(i)/60*gib + float64(i%7-3)/30*gib
	}), start)
	if !ok || left < 90*time.Hour || left > 98*time.Hour {
		t.Errorf("shrinking: %v %v", left, ok)
	}
	if left, ok := Forecast(points(120, time.Minute, func(int) float64 { return gib }), start); !ok || left >= 0 {
		t.Errorf("steady: %v %v", left, ok)
	}
	if _, ok := Forecast(points(19, time.Minute, func(i int) float64 { return float64(-i) }), start); ok {
		t.Error("too few points")
	}
	if left, ok := Forecast(points(31, time.Minute, func(i int) float64 { return 1000*gib - float64(i)*gib/60 }), start); !ok || left >= 0 {
		t.Errorf("half an hour says something about next month: %v %v", left, ok)
	}
	if left, ok := Forecast(points(120, time.Minute, func(i int) float64 { return float64(100-i) * gib }), start); !ok || left != 0 {
		t.Errorf("used up: %v %v", left, ok)
	}
}
