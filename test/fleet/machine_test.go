package fleet

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Goal: a gap is judged without what the machine stood still, and a gap of the program's own is not excused.
func TestGapsAreJudgedWithoutTheMachinesStalls(t *testing.T) {
	at := time.Unix(1000, 0)
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	m := &Machine{late: []span{{from: ms(100), to: ms(300)}, {from: ms(5000), to: ms(5010)}}, syncs: []span{{from: ms(290), to: ms(310)}}}
	stalled := Gap{ms(90), ms(400)}
	if got := m.Stalled(stalled); got != 210*time.Millisecond { // what a late wake-up and a sync share counts once
		t.Errorf("stalled %s of a gap of 310 ms, want 210 ms", got)
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
	m.crowd = []int{3 * runtime.NumCPU()}
	if line, ok := m.Judge([]Gap{{ms(1000), ms(1150)}}, 100*time.Millisecond, 200*time.Millisecond); !ok {
		t.Errorf("a machine with four threads for each core is given the same limits: %s", line)
	}
	m.crowd = []int{0, 0, 0} // only the program's own threads want cores
	if line, ok := m.Judge([]Gap{{ms(1000), ms(1150)}}, 100*time.Millisecond, 200*time.Millisecond); ok {
		t.Errorf("the program's own load widens its limits: %s", line)
	}
	m.crowd = nil
	m.work = []time.Duration{2 * workUsual}
	if line, ok := m.Judge([]Gap{{ms(1000), ms(1150)}}, 100*time.Millisecond, 200*time.Millisecond); !ok {
		t.Errorf("a machine half as fast is given the same limits: %s", line)
	}
}

// Goal: what the program does to the machine is no stall of the machine. Method: the same late wake-ups while own
// processes had all of the cores' time, a half, or nothing; and syncs that are as slow all the time.
func TestOwnLoadIsNoExcuse(t *testing.T) {
	at := time.Unix(1000, 0)
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	gap := Gap{ms(0), ms(400)}
	for _, c := range []struct {
		own  float64
		want time.Duration
	}{{1, 0}, {0.5, 150 * time.Millisecond}, {0, 300 * time.Millisecond}} {
		m := &Machine{late: []span{{ms(50), ms(150), c.own}, {ms(150), ms(350), c.own}}}
		if got := m.Stalled(gap); got != c.want {
			t.Errorf("own processes had %.0f %% of the cores: stalled %s of 300 ms of late wake-ups, want %s", 100*c.own, got, c.want)
		}
		if line, ok := m.Judge([]Gap{gap}, 200*time.Millisecond, 200*time.Millisecond); ok != (c.own == 0) {
			t.Errorf("own processes had %.0f %% of the cores: within the limits is %v: %s", 100*c.own, ok, line)
		}
	}
	slow := &Machine{}
	for i := range 8 { // a disk that takes 30 ms for each sync is slow, it does not stand still
		slow.syncs = append(slow.syncs, span{from: ms(50 * i), to: ms(50*i + 30)})
	}
	if got := slow.Stalled(gap); got != 0 {
		t.Errorf("usual syncs count as a stall of %s", got)
	}
	slow.syncs[3].to = slow.syncs[3].from.Add(130 * time.Millisecond)
	if got := slow.Stalled(gap); got != 100*time.Millisecond {
		t.Errorf("a sync that took 100 ms longer than usual counts as a stall of %s", got)
	}
	slow.syncs[5] = span{from: ms(290), to: ms(390)} // an election waits for one, the first append of the new leader for the next
	if got := slow.Stalled(gap); got != 170*time.Millisecond {
		t.Errorf("two syncs that stood still, one after the other, count as a stall of %s", got)
	}
}

// Goal: own processes are this one and all that it started, and their time is measured. Method: a shell with a child of
// its own; arithmetic until the kernel says that this process has used so much.
func TestOwnProcessesAreMeasured(t *testing.T) {
	sh := exec.Command("sh", "-c", "sleep 600 & echo $!; wait")
	out, err := sh.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := sh.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-sh.Process.Pid, syscall.SIGKILL)
		_ = sh.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	grandchild, _ := strconv.Atoi(strings.TrimSpace(line))
	pids := ownProcesses()
	for _, pid := range []int{os.Getpid(), sh.Process.Pid, grandchild} {
		if !slices.Contains(pids, pid) {
			t.Errorf("process %d is missing among %v", pid, pids)
		}
	}
	if slices.Contains(pids, os.Getppid()) {
		t.Error("the parent counts as own")
	}
	u := usage{pids: pids}
	if first := u.since(); first != 0 {
		t.Errorf("used %s before the first look", first)
	}
	const want = 50 * time.Millisecond
	for began := cpuClock(os.Getpid()); cpuClock(os.Getpid())-began < want; {
		work()
	}
	if got := u.since(); got < want {
		t.Errorf("used %s, and at least %s were burnt", got, want)
	}
	if s := share(2*time.Second*time.Duration(runtime.NumCPU()), time.Second); s != 1 {
		t.Errorf("a share of %v", s)
	}
	if n := running([]int{os.Getpid()}); n < 1 {
		t.Errorf("%d threads of this process run", n)
	}
	if cpuClock(-1) != 0 || share(time.Second, 0) != 0 {
		t.Error("a process that is not there has used time")
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
