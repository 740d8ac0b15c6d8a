package fleet

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// Goal: a gap is judged without what the machine stood still, and a gap of the program's own is not excused.
func TestGapsAreJudgedWithoutTheMachinesStalls(t *testing.T) {
	at := time.Unix(1000, 0)
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	m := &Machine{late: []span{{ms(100), ms(300)}, {ms(5000), ms(5010)}}, syncs: []span{{ms(290), ms(310)}}}
	stalled := Gap{ms(90), ms(400)}
	if got := m.Stalled(stalled); got != 220*time.Millisecond {
		t.Errorf("stalled %s of a gap of 310 ms, want 220 ms", got)
	}
	if line, ok := m.Judge([]Gap{stalled}, 100*time.Millisecond, 100*time.Millisecond); !ok {
		t.Errorf("a stall of the machine is held against the program: %s", line)
	}
	if line, ok := m.Judge([]Gap{{ms(1000), ms(1150)}}, 100*time.Millisecond, 200*time.Millisecond); ok || !strings.Contains(line, "150.0 ms") {
		t.Errorf("a median beyond its limit passes: %s", line)
	}
	if line, ok := m.Judge([]Gap{{ms(1000), ms(1010)}, {ms(1100), ms(1110)}, {ms(2000), ms(2250)}}, 100*time.Millisecond, 200*time.Millisecond); ok {
		t.Errorf("a longest gap beyond its limit passes: %s", line)
	}
	m.crowd = []int{4 * runtime.NumCPU()}
	if line, ok := m.Judge([]Gap{{ms(1000), ms(1150)}}, 100*time.Millisecond, 200*time.Millisecond); !ok {
		t.Errorf("a machine with four threads for each core is given the same limits: %s", line)
	}
	m.crowd = nil
	m.work = []time.Duration{2 * workUsual}
	if line, ok := m.Judge([]Gap{{ms(1000), ms(1150)}}, 100*time.Millisecond, 200*time.Millisecond); !ok {
		t.Errorf("a machine half as fast is given the same limits: %s", line)
	}
}

// Goal: the watch sees syncs and ends.
func TestMachineIsWatched(t *testing.T) {
	m, err := WatchMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := Await(30*time.Second, "two syncs", func() (bool, string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.syncs) >= 2, ""
	}); err != nil {
		t.Error(err)
	}
	m.Stop()
	m.Stop()
	t.Log(m)
}

// Goal: ports are distinct, also between calls, and can be listened on.
func TestFreePortsAreNotGivenTwice(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		ports, err := FreePorts(5)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ports {
			if seen[p] {
				t.Errorf("port %d is given twice", p)
			}
			seen[p] = true
		}
	}
}
