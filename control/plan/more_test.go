package plan_test

import (
	"strings"
	"testing"

	"baton/control/plan"
)

// verdictOf is the verdict of a check about a subject, "" when it is not made.
func verdictOf(r *plan.Report, id, subject string) plan.Verdict {
	for _, c := range r.Checks {
		if c.ID == id && c.Subject == subject {
			return c.Verdict
		}
	}
	return ""
}

func ptr[T any](v T) *T { return &v }

// TestRoomUsersSaving: the candidate's machine must have room for what the
// primary holds, its users must be the primary's, and a save is told.
func TestRoomUsersSaving(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*plan.Facts)
		id      string
		verdict plan.Verdict
	}{
		{"room", func(f *plan.Facts) {}, "mem.room", plan.Pass},
		{"little room", func(f *plan.Facts) { f.Node("b").Host.MemoryFree = 100 << 20 }, "mem.room", plan.Warn},
		{"no room", func(f *plan.Facts) { f.Node("b").Host.MemoryFree = 0 }, "mem.room", plan.Refuse},
		{"a limit of its own", func(f *plan.Facts) { f.Node("b").Seen.Facts.MemoryLimitBytes = ptr(int64(1 << 30)) }, "mem.room", ""},
		{"same users", func(f *plan.Facts) {}, "acl.match", plan.Pass},
		{"other users", func(f *plan.Facts) { f.Node("b").Seen.Facts.Settings = map[string]string{"users": "y"} }, "acl.match", plan.Warn},
		{"unknown users", func(f *plan.Facts) { f.Node("b").Seen.Facts.Settings = nil }, "acl.match", ""},
		{"saving", func(f *plan.Facts) { f.Node("b").Seen.Facts.DataSaving = ptr(true) }, "maint.busy", plan.Warn},
	} {
		f := story(t)
		for _, n := range []string{"a", "b"} {
			f.Node(n).Seen.Facts.Settings = map[string]string{"users": "x"}
			f.Node(n).Seen.Facts.MemoryUsedBytes = ptr(int64(800 << 20))
			f.Node(n).Seen.Facts.MemoryLimitBytes = ptr(int64(0))
		}
		f.Node("b").Seen.Facts.MemoryUsedBytes = ptr(int64(790 << 20))
		f.Node("b").Agent = "elsewhere"
		f.Connected["elsewhere"] = true
		f.Node("b").Host.MemoryFree = 4 << 30
		c.change(&f)
		r := plan.Evaluate(&f, "b")
		if got := verdictOf(&r, c.id, "b"); got != c.verdict {
			t.Errorf("%s: %s is %q, want %q", c.name, c.id, got, c.verdict)
		}
	}
}

// TestWorse: only a verdict that became worse counts, and load that warns does
// not.
func TestWorse(t *testing.T) {
	was := story(t)
	earlier := plan.Evaluate(&was, "b")
	for _, c := range []struct {
		name   string
		change func(*plan.Facts)
		want   string
	}{
		{"nothing", func(*plan.Facts) {}, ""},
		{"load that warns", func(f *plan.Facts) { f.Node("b").Host.Load1 = 5 }, ""},
		{"load that refuses", func(f *plan.Facts) { f.Node("b").Agent = "x"; f.Connected["x"] = true; f.Node("b").Host.Load1 = 50 }, "cpu.load"},
		{"a sibling down", func(f *plan.Facts) { f.Node("d").Seen.Up = false }, "siblings"},
		{"far behind", func(f *plan.Facts) { f.Node("b").Seen.LagBytes = 1 << 30 }, "lag.bytes"},
	} {
		f := story(t)
		c.change(&f)
		now := plan.Evaluate(&f, "b")
		if got := now.Worse(&earlier); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
		if got := earlier.Worse(&now); got != "" {
			t.Errorf("%s: better counts as worse: %q", c.name, got)
		}
	}
}
