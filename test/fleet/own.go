package fleet

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// ownProcesses are this process and everything it started, directly or not, as they stand now: the program under test
// and its load.
func ownProcesses() []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []int{os.Getpid()}
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f := statFields(filepath.Join("/proc", e.Name(), "stat")); len(f) > 1 {
			if parent, err := strconv.Atoi(string(f[1])); err == nil {
				children[parent] = append(children[parent], pid)
			}
		}
	}
	out := []int{os.Getpid()}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}

// statFields are the fields of a stat file after the command, which may hold spaces: the state is the first.
func statFields(path string) [][]byte {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
}

// cpuClock is the processor time a process has used with all its threads; 0 for one that is gone.
func cpuClock(pid int) time.Duration {
	// The kernel's number of the processor-time clock of a process: see clock_getcpuclockid(3).
	const schedClock = 2
	var t syscall.Timespec
	if pid <= 0 {
		return 0
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(^pid<<3|schedClock), uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0
	}
	return time.Duration(t.Nano())
}

// usage tells how much processor time own processes used from one call to the next.
type usage struct {
	pids []int
	last map[int]time.Duration
}

// since is the processor time used since the last call by the processes that were there then.
func (u *usage) since() (sum time.Duration) {
	now := make(map[int]time.Duration, len(u.pids))
	for _, pid := range u.pids {
		now[pid] = cpuClock(pid)
		if was, ok := u.last[pid]; ok && now[pid] > was {
			sum += now[pid] - was
		}
	}
	u.last = now
	return sum
}

// running counts the threads of processes that have or want a core now.
func running(pids []int) (n int) {
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/task", pid)
		tasks, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, t := range tasks {
			if f := statFields(filepath.Join(dir, t.Name(), "stat")); len(f) > 0 && string(f[0]) == "R" {
				n++
			}
		}
	}
	return n
}
