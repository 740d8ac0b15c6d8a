package failover

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/health"
	"baton/control/lease"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// dead are the facts of a cluster a (primary), b, s whose primary's host died
// six seconds ago.
func dead() *Facts {
	f := &Facts{Primary: "a", Generation: 3, Policy: Policy{Failover: BoundedLoss}, Enrolled: true, Quorum: true,
		Lease: lease.View{State: lease.Expired, Holder: "a", Generation: 3, TTL: 5 * time.Second}, Connected: map[string]bool{"A": false, "B": true, "S": true}, Tags: map[string]Tags{}}
	f.Snapshot = health.Snapshot{Now: noon, Cluster: "c", Engine: engine.Redis}
	for _, name := range []string{"a", "b", "s"} {
		o := &engine.Observation{Up: true, Role: engine.RoleReplica, Position: 1000, History: "h", LinkUp: false, LinkSilenceSeconds: 6}
		n := health.Node{Name: name, Agent: strings.ToUpper(name), Address: name + ":1", Priority: 100, Seen: o, ReportAge: 100 * time.Millisecond, SeenAge: 100 * time.Millisecond}
		if name == "a" {
			o.Role, n.ReportAge, n.SeenAge = engine.RolePrimary, 6*time.Second, 6*time.Second
		}
		f.Nodes = append(f.Nodes, n)
	}
	for i := range 4 {
		f.Samples = append(f.Samples, Sample{At: noon.Add(-8*time.Second + time.Duration(i)*500*time.Millisecond), Position: 1000, History: "h"})
	}
	return f
}

// crashed are the facts when the primary's engine ended beside a live agent.
func crashed() *Facts {
	f := dead()
	f.EngineEnded, f.Lease.State, f.Connected["A"] = true, lease.Released, true
	a := f.Node("a")
	a.ReportAge, a.SeenAge = 0, 0
	a.Seen.Up = false
	for _, n := range []string{"b", "s"} {
		f.Node(n).Seen.LinkSilenceSeconds = 0
	}
	f.Samples = f.Samples[:1]
	f.Samples[0].At = noon.Add(-300 * time.Millisecond)
	return f
}

func TestDecide(t *testing.T) {
	disk := func(free int64) *engine.DiskFacts { return &engine.DiskFacts{FreeBytes: free, TotalBytes: 100 << 30} }
	yes := true
	for _, tt := range []struct {
		name string
		set  func(f *Facts)
		from func() *Facts
		want string // kind and node
		why  string // contained in the sentence
	}{
		{"healthy", func(f *Facts) { f.Connected["A"] = true; n := f.Node("a"); n.ReportAge, n.SeenAge = 0, 0 }, dead, "nothing", "answers"},
		{"policy off", func(f *Facts) { f.Policy.Failover = Off }, dead, "nothing", "off"},
		{"no primary on record", func(f *Facts) { f.Primary = "" }, dead, "nothing", ""},
		{"host died", func(*Facts) {}, dead, "failover b", "2 of 2 replicas lost their link"},
		{"lease still runs", func(f *Facts) { f.Lease.State, f.Lease.ExpiresIn = lease.AtRisk, 2*time.Second }, dead, "waiting", "2.0 s more"},
		{"engine ended, agent says so", func(*Facts) {}, crashed, "failover b", "says that its engine is gone"},
		{"engine ended, not released yet", func(f *Facts) { f.Lease.State, f.Lease.ExpiresIn = lease.Held, time.Second }, crashed, "waiting", ""},
		{"replicas still stream", func(f *Facts) {
			for _, n := range []string{"b", "s"} {
				o := f.Node(n).Seen
				o.LinkUp, o.LinkSilenceSeconds = true, 0.5
			}
		}, dead, "suspect", "unreachable, not dead"},
		{"replicas still stream from a guarded holder whose lease is over", func(f *Facts) {
			f.Guarded = true
			for _, n := range []string{"b", "s"} {
				o := f.Node(n).Seen
				o.LinkUp, o.LinkSilenceSeconds = true, 0.5
			}
		}, dead, "failover b", "fenced itself"},
		{"links are up and silent", func(f *Facts) {
			for _, n := range []string{"b", "s"} {
				o := f.Node(n).Seen
				o.LinkUp, o.LinkSilenceSeconds = true, 4
			}
		}, dead, "failover b", ""},
		{"no replica can be asked", func(f *Facts) { f.Connected["B"], f.Connected["S"] = false, false }, dead, "suspect", "no replica can be asked"},
		{"control plane without its majority", func(f *Facts) { f.Quorum = false }, dead, "suspect", "no second kind"},
		{"never enrolled", func(f *Facts) { f.Enrolled = false }, dead, "blocked", "never confirmed"},
		{"operation running", func(f *Facts) { f.Running = "op-1" }, dead, "suspended", "op-1"},
		{"paused by a person", func(f *Facts) { f.SuspendedUntil = noon.Add(time.Minute) }, dead, "suspended", "paused until 12:01"},
		{"cool-down", func(f *Facts) { f.LastFailover = noon.Add(-time.Minute) }, dead, "cool-down b", "acknowledge"},
		{"cool-down acknowledged", func(f *Facts) { f.LastFailover, f.Acknowledged = noon.Add(-time.Minute), true }, dead, "failover b", ""},
		{"cool-down over", func(f *Facts) { f.LastFailover = noon.Add(-11 * time.Minute) }, dead, "failover b", ""},
		{"cool-down, process confirmed dead", func(f *Facts) { f.LastFailover = noon.Add(-time.Minute) }, crashed, "failover b", ""},
		{"furthest wins over priority", func(f *Facts) { f.Node("s").Seen.Position = 1001; f.Node("b").Priority = 900 }, dead, "failover s", ""},
		{"priority among equals", func(f *Facts) { f.Node("s").Priority = 900 }, dead, "failover s", ""},
		{"preferred among equals", func(f *Facts) { f.Prefer = "s" }, dead, "failover s", ""},
		{"priority 0", func(f *Facts) { f.Node("b").Priority = 0 }, dead, "failover s", ""},
		{"nofailover", func(f *Facts) { f.Tags["b"] = Tags{NoFailover: true} }, dead, "failover s", ""},
		{"never", func(f *Facts) { f.Tags["b"] = Tags{Never: true} }, dead, "failover s", ""},
		{"never, as registered", func(f *Facts) { f.Node("b").Never = true }, dead, "failover s", ""},
		{"maintenance", func(f *Facts) { f.Tags["b"] = Tags{Maintenance: true} }, dead, "failover s", ""},
		{"loading", func(f *Facts) { f.Node("b").Seen.Facts.Loading = &yes }, dead, "failover s", ""},
		{"another history", func(f *Facts) { f.Node("b").Seen.History, f.Node("b").Seen.Position = "x", 9999 }, dead, "failover s", ""},
		{"link lost long before", func(f *Facts) { f.Node("b").Seen.LinkSilenceSeconds = 60 }, dead, "failover s", ""},
		{"nobody fits", func(f *Facts) { f.Tags["b"], f.Tags["s"] = Tags{Never: true}, Tags{NoFailover: true} }, dead, "blocked", "b is tagged never; s is tagged nofailover"},
		{"nobody fits and the engine can start again", func(f *Facts) { f.Tags["b"], f.Tags["s"], f.Restartable = Tags{Never: true}, Tags{Never: true}, true }, crashed, "restart a", ""},
		{"restart first", func(f *Facts) { f.Policy.RestartFirst, f.Restartable = true, true }, crashed, "restart a", "first"},
		{"restart first, tried", func(f *Facts) { f.Policy.RestartFirst, f.Restartable, f.RestartTried = true, true, true }, crashed, "failover b", ""},
		{"restart first, not with lost data", func(f *Facts) { f.Policy.RestartFirst = true }, crashed, "failover b", ""},
		{"disk full everywhere", func(f *Facts) { f.Node("a").Disk, f.Node("b").Disk, f.Node("s").Disk = disk(1), disk(1), disk(1) }, dead, "blocked", "disk is full"},
		{"disk full on the primary only", func(f *Facts) {
			f.Node("a").Disk, f.Node("b").Disk, f.Node("s").Disk = disk(1), disk(50<<30), disk(50<<30)
		}, dead, "failover b", ""},
		{"too many bytes", func(f *Facts) { f.Policy.MaxLossBytes = 100; f.Samples[3].Position = 2000 }, dead, "blocked", "the policy allows 100"},
		{"too old", func(f *Facts) {
			f.Policy.MaxLossAge = 2 * time.Second
			f.Samples = []Sample{{noon.Add(-20 * time.Second), 1000, "h"}, {noon.Add(-6 * time.Second), 1010, "h"}}
		}, dead, "blocked", "the last 14.5 s"},
		{"position never seen", func(f *Facts) { f.Samples = nil }, dead, "blocked", "cannot be bounded"},
		{"no-loss, asynchronous", func(f *Facts) { f.Policy.Failover = NoLoss }, dead, "blocked", "by the primary alone"},
		{"no-loss, asynchronous, engine can start again", func(f *Facts) { f.Policy.Failover, f.Restartable = NoLoss, true }, crashed, "restart a", ""},
		{"no-loss, confirmed by a replica nobody can read, on a disk that is behind", func(f *Facts) {
			f.Policy.Failover, f.Policy.Acks, f.Sync, f.Restartable = NoLoss, 1, []string{"b", "s"}, true
			f.Connected["S"] = false
		}, crashed, "blocked", "may lack writes that replicas confirmed"},
		{"no-loss, confirmed by a replica nobody can read, on a disk that is not", func(f *Facts) {
			f.Policy.Failover, f.Policy.Acks, f.Sync, f.Restartable, f.Lossless = NoLoss, 1, []string{"b", "s"}, true, true
			f.Connected["S"] = false
		}, crashed, "restart a", "everything it acknowledged"},
		{"no-loss, one of two confirmed, both read", func(f *Facts) { f.Policy.Failover, f.Policy.Acks, f.Sync = NoLoss, 1, []string{"b", "s"} }, dead, "failover b", ""},
		{"no-loss, one of two confirmed, one read", func(f *Facts) {
			f.Policy.Failover, f.Policy.Acks, f.Sync = NoLoss, 1, []string{"b", "s"}
			f.Connected["S"] = false
		}, dead, "blocked", "1 of the 2 replicas in step could be read and 2 are needed"},
		{"no-loss, both confirmed, one read", func(f *Facts) {
			f.Policy.Failover, f.Policy.Acks, f.Sync = NoLoss, 2, []string{"b", "s"}
			f.Connected["S"] = false
		}, dead, "failover b", ""},
		{"no-loss, the one ahead may not be promoted", func(f *Facts) {
			f.Policy.Failover, f.Policy.Acks, f.Sync = NoLoss, 1, []string{"b", "s"}
			f.Node("s").Seen.Position, f.Tags["s"] = 1001, Tags{NoFailover: true}
		}, dead, "blocked", "may not be promoted holds more"},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			f := tt.from()
			tt.set(f)
			d := Decide(f)
			if got := strings.TrimSpace(string(d.Kind) + " " + d.Node); got != tt.want {
				t.Errorf("got %q (%s), want %q", got, d.Why, tt.want)
			}
			if !strings.Contains(d.Why, tt.why) {
				t.Errorf("why %q does not say %q", d.Why, tt.why)
			}
			if d.Kind == Blocked && d.Why == "" {
				t.Error("blocked without a sentence")
			}
		})
	}
}

func TestBlockedNamesWhoIsMissing(t *testing.T) {
	f := dead()
	f.Policy.Failover, f.Policy.Acks, f.Sync = NoLoss, 1, []string{"b", "s"}
	f.Connected["S"] = false
	if d := Decide(f); !slices.Equal(d.Missing, []string{"s"}) {
		t.Errorf("missing %v", d.Missing)
	}
}

func TestLossAddsWhatWasWrittenWithinOneSample(t *testing.T) {
	f := dead()
	f.Samples = []Sample{{noon.Add(-7 * time.Second), 500, "h"}, {noon.Add(-6500 * time.Millisecond), 800, "h"}, {noon.Add(-6 * time.Second), 1200, "h"}}
	l := f.lossOf(Candidate{Node: "b", Position: 1000, History: "h"})
	if !l.Known || l.Bytes != 200+400 || l.Age != time.Second {
		t.Errorf("loss %+v", l)
	}
	if l := f.lossOf(Candidate{Position: 1700, History: "h"}); l.Bytes != 0 {
		t.Errorf("loss of one that is past everything seen: %+v", l)
	}
	if l := f.lossOf(Candidate{Position: 1700, History: "x"}); l.Known {
		t.Errorf("loss across histories is known: %+v", l)
	}
}

func TestByHandTakesWhatTheAutomaticRulesForbid(t *testing.T) {
	f := dead()
	f.Policy.Failover = NoLoss
	f.Tags["b"] = Tags{NoFailover: true}
	if d := ByHand(f, f.candidates(), "b"); d.Kind != Failover || d.Node != "b" {
		t.Errorf("%+v", d)
	}
	f.Tags["b"] = Tags{Never: true}
	if d := ByHand(f, f.candidates(), "b"); d.Kind != Blocked {
		t.Errorf("never is promoted by hand: %+v", d)
	}
	if d := ByHand(f, f.candidates(), ""); d.Kind != Failover || d.Node != "s" {
		t.Errorf("%+v", d)
	}
}

func TestWhatIfIsTheVeryDecision(t *testing.T) {
	f := dead()
	f.Connected["A"] = true
	for i := range f.Nodes {
		f.Nodes[i].ReportAge, f.Nodes[i].SeenAge = 0, 0
		f.Nodes[i].Seen.LinkUp, f.Nodes[i].Seen.LinkSilenceSeconds = true, 0
	}
	f.Lease.State = lease.Held
	if d := Decide(f); d.Kind != Nothing {
		t.Fatalf("%+v", d)
	}
	if d := WhatIf(f, "a"); d.Kind != Failover || d.Node != "b" {
		t.Errorf("the primary dies: %+v", d)
	}
	if d := WhatIf(f, "b"); d.Kind != Nothing || !strings.Contains(d.Why, "with 1 replica") {
		t.Errorf("a replica dies: %+v", d)
	}
	one := int64(2)
	f.Node("a").Seen.Facts.SyncNeeded = &one
	if d := WhatIf(f, "b"); d.Kind != Blocked {
		t.Errorf("a replica that is needed dies: %+v", d)
	}
	if f.Node("a").Seen.Up != true || f.Connected["A"] != true || f.Lease.State != lease.Held {
		t.Error("asking changed the facts")
	}
}

// draw makes facts of any kind.
func draw(t *rapid.T) *Facts {
	f := dead()
	f.Policy = Policy{Failover: rapid.SampledFrom([]string{NoLoss, BoundedLoss}).Draw(t, "policy"), RestartFirst: rapid.Bool().Draw(t, "restartFirst")}
	f.Nodes, f.Samples = f.Nodes[:1], nil
	n := rapid.IntRange(1, 5).Draw(t, "replicas")
	for i := range n {
		name := fmt.Sprintf("r%d", i)
		o := &engine.Observation{Up: rapid.IntRange(0, 4).Draw(t, "up") > 0, Role: engine.RoleReplica, Position: rapid.Uint64Range(0, 50).Draw(t, "position"),
			History: rapid.SampledFrom([]string{"h", "h", "h", "x"}).Draw(t, "history"), LinkUp: rapid.IntRange(0, 3).Draw(t, "link") == 0, LinkSilenceSeconds: 6}
		f.Nodes = append(f.Nodes, health.Node{Name: name, Agent: name, Priority: rapid.SampledFrom([]int{0, 1, 100, 1000}).Draw(t, "priority"), Seen: o})
		f.Connected[name] = rapid.IntRange(0, 4).Draw(t, "linked") > 0
		f.Tags[name] = Tags{Never: rapid.IntRange(0, 6).Draw(t, "never") == 0, NoFailover: rapid.IntRange(0, 6).Draw(t, "nofailover") == 0}
		if rapid.Bool().Draw(t, "sync") {
			f.Sync = append(f.Sync, name)
		}
	}
	if len(f.Sync) > 0 {
		f.Policy.Acks = rapid.IntRange(0, len(f.Sync)).Draw(t, "acks")
	}
	for range rapid.IntRange(0, 3).Draw(t, "samples") {
		f.Samples = append(f.Samples, Sample{At: noon.Add(-6 * time.Second), Position: rapid.Uint64Range(0, 60).Draw(t, "sample"), History: "h"})
	}
	if rapid.Bool().Draw(t, "crashed") {
		f.EngineEnded, f.Lease.State, f.Restartable = true, lease.Released, rapid.Bool().Draw(t, "restartable")
	} else {
		f.Lease.State = rapid.SampledFrom([]lease.State{lease.Held, lease.AtRisk, lease.Expired}).Draw(t, "lease")
	}
	f.Enrolled = rapid.Bool().Draw(t, "enrolled")
	return f
}

// TestNoLossNeverChoosesANodeWithoutAConfirmedWrite: whichever Acks members of
// the synchronous set hold the last confirmed write, the one that is chosen
// holds it too.
func TestNoLossNeverChoosesANodeWithoutAConfirmedWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := draw(t)
		f.Policy.Failover = NoLoss
		d := Decide(f)
		if d.Kind != Failover {
			return
		}
		if f.Policy.Acks == 0 {
			t.Fatalf("chosen without any confirmation: %+v", d)
		}
		// The furthest position that Acks members of the set can have confirmed:
		// members that cannot be read may hold anything.
		known := map[string]uint64{}
		unknown := 0
		for _, name := range f.Sync {
			n := f.Node(name)
			if n.Seen.Up && f.Connected[name] && n.Seen.History == "h" {
				known[name] = n.Seen.Position
			} else {
				unknown++
			}
		}
		var positions []uint64
		for _, p := range known {
			positions = append(positions, p)
		}
		slices.Sort(positions)
		slices.Reverse(positions)
		need := f.Policy.Acks - unknown // confirmed by at least these of the known
		if need <= 0 {
			t.Fatalf("%d members could not be read and could alone have confirmed a write: %+v", unknown, d)
		}
		if worst := positions[need-1]; f.Node(d.Node).Seen.Position < worst {
			t.Fatalf("%s at %d lacks a write confirmed at %d", d.Node, f.Node(d.Node).Seen.Position, worst)
		}
	})
}

func TestNeverWhileAnOperationRunsOrTheLeaseDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := draw(t)
		d := Decide(f)
		if d.Kind == Failover {
			n := f.Node(d.Node)
			if f.Lease.State != lease.Expired && f.Lease.State != lease.Released {
				t.Fatalf("failover while the lease is %s", f.Lease.State)
			}
			if f.Lease.State == lease.Expired && !f.Enrolled {
				t.Fatal("failover although the holder never confirmed its lease")
			}
			if !n.Seen.Up || n.Seen.History != "h" && len(f.Samples) > 0 || n.Priority == 0 || f.Tags[d.Node].Never || f.Tags[d.Node].NoFailover {
				t.Fatalf("chosen: %+v", n)
			}
		}
		f.Running = "op"
		if d := Decide(f); d.Kind == Failover || d.Kind == Restart {
			t.Fatalf("%s while an operation runs", d.Kind)
		}
	})
}
