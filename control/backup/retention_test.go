package backup

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var day0 = time.Date(2026, 11, 1, 3, 0, 0, 0, time.UTC)

// list makes backups, the oldest first: "v" verified, "x" damaged, "." neither.
func list(marks string) []Kept {
	var out []Kept
	for i, m := range marks {
		out = append(out, Kept{ID: fmt.Sprintf("b-%d", i), At: day0.AddDate(0, 0, i), Verified: m == 'v', Bad: m == 'x'})
	}
	return out
}

func TestRetentionKeepsWhatItMust(t *testing.T) {
	now := day0.AddDate(0, 0, 10)
	for _, c := range []struct {
		name, marks string
		keep, days  int
		use         string
		want        string
	}{
		{"the newest three", "......", 3, 0, "", "[b-0 b-1 b-2]"},
		{"the newest verified one stays", "v.....", 3, 0, "", "[b-1 b-2]"},
		{"only the newest verified one", "vv....", 2, 0, "", "[b-0 b-2 b-3]"},
		{"one in use stays", "......", 3, 0, "b-1", "[b-0 b-2]"},
		{"damaged ones do not count", "...xx.", 2, 0, "", "[b-0 b-1]"},
		{"damaged alone go only when good ones came", "xxx", 1, 0, "", "[]"},
		{"young ones stay", "......", 1, 8, "", "[b-0 b-1]"},
		{"the default", ".........", 0, 0, "", "[b-0 b-1]"},
		{"nothing", "", 3, 0, "", "[]"},
	} {
		got := fmt.Sprint(Expired(list(c.marks), c.keep, c.days, now, func(id string) bool { return id == c.use }))
		if got != c.want {
			t.Errorf("%s: %s expire, want %s", c.name, got, c.want)
		}
	}
}

// Goal: whatever the list, the newest good and the newest verified backup and
// those in use stay, and at least keep good ones are left when there are.
func TestRetentionNeverTakesTheLastResort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		marks := rapid.StringOfN(rapid.SampledFrom([]rune("v.x")), 0, 30, -1).Draw(t, "marks")
		keep, days := rapid.IntRange(0, 10).Draw(t, "keep"), rapid.IntRange(0, 10).Draw(t, "days")
		use := fmt.Sprintf("b-%d", rapid.IntRange(0, 30).Draw(t, "use"))
		all := list(marks)
		gone := map[string]bool{}
		for _, id := range Expired(all, keep, days, day0.AddDate(0, 0, rapid.IntRange(0, 60).Draw(t, "now")), func(id string) bool { return id == use }) {
			gone[id] = true
		}
		newestGood, newestVerified, good, left := "", "", 0, 0
		for _, k := range all {
			if k.Bad {
				continue
			}
			good++
			newestGood = k.ID
			if k.Verified {
				newestVerified = k.ID
			}
			if !gone[k.ID] {
				left++
			}
		}
		if keep == 0 {
			keep = DefaultKeep
		}
		if gone[newestGood] || gone[newestVerified] || gone[use] || left < min(good, keep) {
			t.Fatalf("%q: %v gone, newest good %s, newest verified %s, in use %s", marks, gone, newestGood, newestVerified, use)
		}
	})
}
