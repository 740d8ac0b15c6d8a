package plan_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"baton/control/health/facttest"
	"baton/control/plan"
)

func facts(s *facttest.Story) plan.Facts {
	f := plan.Facts{Snapshot: s.Snapshot, JournalOK: true, Connected: s.Connected}
	f.Generation, _ = strconv.ParseUint(s.Options["generation"], 10, 64)
	if s.Options["running"] != "" {
		f.Running, f.RunningWhat = s.Options["running"], "promotion of d"
	}
	if s.Options["journal"] == "down" {
		f.JournalOK, f.JournalWhy = false, "no quorum"
	}
	if m, err := strconv.Atoi(s.Options["changed"]); err == nil {
		f.LastChange = facttest.Now.Add(-time.Duration(m) * time.Minute)
	}
	for _, p := range strings.Split(s.Options["stalls"], ",") {
		if ms, err := strconv.Atoi(p); err == nil {
			f.PastStalls = append(f.PastStalls, time.Duration(ms)*time.Millisecond)
		}
	}
	return f
}

// TestPlans: facts in; the report's answer, every check that does not pass,
// the refusals and the steps out. "promote NODE [override...]" prints the plan,
// "explain NODE" the report alone.
func TestPlans(t *testing.T) {
	for _, file := range []string{"testdata/redis.txt", "testdata/eventstore.txt"} {
		facttest.Run(t, file, func(s *facttest.Story) string {
			f := facts(s)
			var b strings.Builder
			for _, ask := range s.Rest {
				p := plan.Promote(&f, ask[1], ask[2:]...)
				fmt.Fprintf(&b, "%s: %s\n", ask[1], p.Report.Reason)
				for _, c := range p.Report.Checks {
					if c.Verdict != plan.Pass {
						fmt.Fprintf(&b, "  %s %s of %s: %s %s (warn %s, refuse %s): %s -> %s\n", c.Verdict, c.ID, c.Subject, c.Measured, c.Unit, c.WarnAt, c.RefuseAt, c.Why, c.Fix)
					}
				}
				if ask[0] != "promote" {
					continue
				}
				for _, r := range p.Refusals {
					fmt.Fprintf(&b, "  refused by %s\n", r.Code)
				}
				fmt.Fprintf(&b, "  from %s generation %d stall %v + %v\n", p.From, p.Generation, p.Fixed, p.CatchUp)
				for _, st := range p.Steps {
					mark := ""
					if st.PointOfNoReturn {
						mark = " [point of no return]"
					}
					fmt.Fprintf(&b, "  %s on %s: %s%s\n", st.ID, st.Node, st.Command, mark)
				}
			}
			return b.String()
		})
	}
}

// TestHash: the hash stands while nothing that was decided changes, however
// numbers move, and changes with each verdict, the candidate and the
// generation.
func TestHash(t *testing.T) {
	hash := func(change func(*plan.Facts)) string {
		f := story(t)
		if change != nil {
			change(&f)
		}
		return plan.Evaluate(&f, "b").Hash
	}
	was := hash(nil)
	for name, change := range map[string]func(*plan.Facts){
		"half a minute later":     func(f *plan.Facts) { f.Now = f.Now.Add(30 * time.Second) },
		"a little lag":            func(f *plan.Facts) { f.Node("b").Seen.LagBytes = 4000 },
		"lag that warns":          func(f *plan.Facts) { f.Node("b").Seen.LagBytes = 2 << 20 },
		"load that warns":         func(f *plan.Facts) { f.Node("b").Host.Load1 = 5 },
		"an older report":         func(f *plan.Facts) { f.Node("b").ReportAge = 3 * time.Second },
		"another position":        func(f *plan.Facts) { f.Node("b").Seen.Position = 99 },
		"another node's priority": func(f *plan.Facts) { f.Node("d").Priority = 7 },
	} {
		if hash(change) != was {
			t.Errorf("%s changes the hash", name)
		}
	}
	for name, change := range map[string]func(*plan.Facts){
		"lag that refuses":    func(f *plan.Facts) { f.Node("b").Seen.LagBytes = 65 << 20 },
		"a node that is down": func(f *plan.Facts) { f.Node("b").Seen.Up = false },
		"a sibling down":      func(f *plan.Facts) { f.Node("d").Seen.Up = false },
		"a generation":        func(f *plan.Facts) { f.Generation++ },
		"the primary moved": func(f *plan.Facts) {
			f.Node("a").Seen.Role, f.Node("d").Seen.Role = f.Node("d").Seen.Role, f.Node("a").Seen.Role
		},
		"a tag":     func(f *plan.Facts) { f.Node("b").Never = true },
		"operation": func(f *plan.Facts) { f.Running = "op-1" },
	} {
		if hash(change) == was {
			t.Errorf("%s does not change the hash", name)
		}
	}
	f := story(t)
	if plan.Evaluate(&f, "d").Hash == was {
		t.Error("another candidate has the same hash")
	}
}

// story returns the facts of a Redis cluster that is well.
func story(t *testing.T) (f plan.Facts) {
	facttest.Run(t, "testdata/well.txt", func(s *facttest.Story) string {
		f = facts(s)
		return "well"
	})
	return f
}

// TestOverrides: only overridable checks give way, and only when named.
func TestOverrides(t *testing.T) {
	f := story(t)
	f.Node("b").Host.Load1 = 50 // a machine of its own, far too busy
	f.Node("b").Host.Name = "other"
	for _, c := range []struct {
		over    []string
		refused bool
	}{{nil, true}, {[]string{"mem.free"}, true}, {[]string{"cpu.load"}, false}} {
		if p := plan.Promote(&f, "b", c.over...); p.Refused() != c.refused {
			t.Errorf("overrides %v: refused %v %v", c.over, p.Refused(), p.Refusals)
		}
	}
	f.Node("b").Seen.LagBytes = 1 << 30
	if p := plan.Promote(&f, "b", "cpu.load", "lag.bytes", "lag.catchup"); !p.Refused() {
		t.Error("lag can be overridden")
	}
}
