package fleet

import (
	"strings"
	"testing"
	"time"
)

// Goal: a machine that its host keeps from running judges no times, one that runs does. Method: the kernel's counters as
// they stand, and gaps far beyond their limits.
func TestTimesOfAStolenMachineAreNotJudged(t *testing.T) {
	before := parseCPUTime("cpu  100 0 50 900 10 0 5 20 0 0")
	if want := (cpuTime{stolen: 20, wanted: 175}); before != want {
		t.Fatalf("read %+v, want %+v", before, want)
	}
	at := time.Unix(1000, 0)
	gaps := []Gap{{at, at.Add(time.Second)}}
	for _, c := range []struct {
		line string
		ok   bool
	}{{"cpu  140 0 60 990 10 0 5 25 0 0", false}, {"cpu  140 0 60 900 10 0 5 120 0 0", true}} {
		m := &Machine{began: before, ended: parseCPUTime(c.line)}
		line, ok := m.Judge(gaps, 10*time.Millisecond, 20*time.Millisecond)
		if ok != c.ok || strings.HasPrefix(line, "NOT JUDGED") != c.ok {
			t.Errorf("%.2f of the time was stolen: within the limits is %v: %s", m.Stolen(), ok, line)
		}
	}
	for _, line := range []string{"", "cpu", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8"} {
		if got := parseCPUTime(line); got != (cpuTime{}) {
			t.Errorf("%q is read as %+v", line, got)
		}
	}
}
