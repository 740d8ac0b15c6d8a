package fleet

import (
	"os"
	"strconv"
	"strings"
)

// stolenMost is the part of the wanted processor time from which on times are not judged: on a machine that shares two
// cores with nobody it is below a hundredth.
const stolenMost = 0.2

// cpuTime is what the kernel counted since it started, in ticks.
type cpuTime struct {
	stolen uint64 // wanted by a virtual core and not given by its host
	wanted uint64 // all but idle time
}

func readCPUTime() cpuTime {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuTime{}
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return parseCPUTime(line)
}

// parseCPUTime reads the line of all cores: user, nice, system, idle, iowait, irq, softirq, steal. Guests' time is in
// user and nice.
func parseCPUTime(line string) (t cpuTime) {
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return cpuTime{}
	}
	for i, f := range fields[1:9] {
		n, err := strconv.ParseUint(f, 10, 64)
		switch {
		case err != nil:
			return cpuTime{}
		case i == 3 || i == 4:
			continue
		case i == 7:
			t.stolen = n
		}
		t.wanted += n
	}
	return t
}

// Stolen is the part of the processor time this machine wanted, from the beginning of the watch until its end or now,
// that its host did not give; 0 where the kernel does not tell.
func (m *Machine) Stolen() float64 {
	m.mu.Lock()
	from, to := m.began, m.ended
	m.mu.Unlock()
	if to == (cpuTime{}) {
		to = readCPUTime()
	}
	if from == (cpuTime{}) || to.wanted <= from.wanted || to.stolen < from.stolen {
		return 0
	}
	return float64(to.stolen-from.stolen) / float64(to.wanted-from.wanted)
}
