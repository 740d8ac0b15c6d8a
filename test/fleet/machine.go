package fleet

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Machine watches what the machine itself is able to do while a test measures times on it: a wake-up is due each
// millisecond; every 50 ms a small file is synced, a fixed piece of arithmetic is done, and the threads that want a core
// are counted. A gap in the service is judged without what the machine stood still meanwhile, and its limit grows with
// the machine's slowness and with the crowd of others before its cores: a busy machine is no fault of the program.
//
// What the program under test does to the machine is no excuse. Its processor time, and that of the test with its load,
// is measured beside: of a late wake-up only the part counts as a stall in which others had the cores or nobody had, and
// their threads are no crowd.
//
// A virtual machine whose host takes a good part of the processor time it wants measures its host: such times are told
// and not judged. See Stolen.
//
// A Machine may be asked from any goroutine.
type Machine struct {
	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	late  []span // wake-ups that came more than lateFrom after they were due; they do not overlap
	syncs []span
	work  []time.Duration
	crowd []int // threads of others that had or wanted a core
	pids  []int // own processes, looked up now and then

	began, ended cpuTime // ended is zero until Stop
}

// span is a time from its beginning to its end.
type span struct {
	from, to time.Time
	own      float64 // part of all cores' time that own processes used meanwhile, 0 to 1
}

// Gap is a time without service.
type Gap struct{ From, To time.Time }

// Length is how long the gap was.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

const (
	wakeEvery = time.Millisecond
	// lateFrom: a wake-up this much late counts as a stall.
	lateFrom  = 2 * time.Millisecond
	syncEvery = 50 * time.Millisecond
	// syncStall: a sync this long is no slow disk but one that stands still.
	syncStall = 100 * time.Millisecond
	// usageEvery is how often own processes' time is read, at the least; ownEvery
	// how often it is looked up which there are.
	usageEvery = 10 * time.Millisecond
	ownEvery   = 500 * time.Millisecond
	// workSteps of a dependent multiplication take workUsual on an idle machine of the kind the limits were set on.
	workSteps = 200_000
	workUsual = 400 * time.Microsecond
	// maxSpans bounds what is kept of each kind: an hour of syncs, far more late wake-ups than a test sees.
	maxSpans = 200_000
)

// WatchMachine begins to watch; dir is where the small file is synced. End it with Stop.
func WatchMachine(dir string) (*Machine, error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return nil, err
	}
	m := &Machine{stop: make(chan struct{}), began: readCPUTime()}
	m.done.Add(2)
	go m.wake()
	go m.sync(f)
	return m, nil
}

// Stop ends the watch; what was seen stays.
func (m *Machine) Stop() {
	m.mu.Lock()
	select {
	case <-m.stop:
	default:
		m.ended = readCPUTime()
		close(m.stop)
	}
	m.mu.Unlock()
	m.done.Wait()
}

func (m *Machine) wake() {
	defer m.done.Done()
	tick := time.NewTicker(wakeEvery)
	defer tick.Stop()
	last := time.Now()
	var own usage
	read := last // when own was read
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
		now := time.Now()
		late := now.Sub(last) > wakeEvery+lateFrom
		if late || now.Sub(read) >= usageEvery {
			used := own.since()
			m.mu.Lock()
			if late && len(m.late) < maxSpans {
				m.late = append(m.late, span{last.Add(wakeEvery), now, share(used, now.Sub(read))})
			}
			own.pids = m.pids
			m.mu.Unlock()
			read = now
		}
		last = now
	}
}

// share is the part of all cores' time that was used within a while.
func share(used, within time.Duration) float64 {
	if within <= 0 {
		return 0
	}
	return min(1, float64(used)/float64(within)/float64(runtime.NumCPU()))
}

func (m *Machine) sync(f *os.File) {
	defer m.done.Done()
	defer os.Remove(f.Name())
	defer f.Close()
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	block := make([]byte, 4096)
	var pids []int
	var looked time.Time
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
		from := time.Now()
		_, err := f.WriteAt(block, 0)
		if err == nil {
			err = f.Sync()
		}
		to := time.Now()
		spent := work()
		if time.Since(looked) >= ownEvery {
			pids, looked = ownProcesses(), time.Now()
		}
		crowd := max(0, runnable()-running(pids))
		m.mu.Lock()
		m.pids = pids
		if err == nil && len(m.syncs) < maxSpans {
			m.syncs = append(m.syncs, span{from: from, to: to})
			m.work = append(m.work, spent)
			m.crowd = append(m.crowd, crowd)
		}
		m.mu.Unlock()
	}
}

// work does the fixed piece of arithmetic and returns how long it took.
func work() time.Duration {
	from := time.Now()
	x := uint64(from.UnixNano())
	for range workSteps {
		x = x*6364136223846793005 + 1442695040888963407
	}
	took := time.Since(from)
	if x == 0 { // keeps the compiler from leaving the loop out
		took++
	}
	return took
}

// Stalled is how long the machine stood still during the gap: the late wake-ups, as far as it was not own processes that
// had the cores, and what syncs took beyond them and beyond a usual one: each that stood still itself, else the longest.
// What the program does in a gap may wait for several syncs one after the other. It is at most the gap itself.
func (m *Machine) Stalled(g Gap) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	var total time.Duration
	for _, s := range m.late {
		total += time.Duration(float64(overlap(s, g)) * (1 - s.own))
	}
	usual := m.usualSync()
	beside := func(y span) time.Duration {
		d := overlap(y, g)
		for _, s := range m.late {
			d -= overlap(s, Gap{later(y.from, g.From), sooner(y.to, g.To)})
		}
		return max(0, d-usual)
	}
	var longest span
	stood := false
	for _, s := range m.syncs {
		switch {
		case overlap(s, g) == 0:
		case s.to.Sub(s.from) >= syncStall:
			total, stood = total+beside(s), true
		case overlap(s, g) > overlap(longest, g):
			longest = s
		}
	}
	if !stood {
		total += beside(longest)
	}
	return min(total, g.Length())
}

// usualSync is the median of all syncs. The caller holds mu.
func (m *Machine) usualSync() time.Duration {
	if len(m.syncs) < 2 {
		return 0
	}
	all := make([]time.Duration, len(m.syncs))
	for i, s := range m.syncs {
		all[i] = s.to.Sub(s.from)
	}
	return middle(all)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func sooner(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func overlap(s span, g Gap) time.Duration {
	return max(0, sooner(s.to, g.To).Sub(later(s.from, g.From)))
}

// Slowness is how many times longer than usual the fixed piece of arithmetic took at the median, at least 1.
func (m *Machine) Slowness() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.work) == 0 {
		return 1
	}
	return max(1, float64(middle(m.work))/float64(workUsual))
}

// runnable reads how many threads have or want a core now, the caller among them.
func runnable() int {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 4 {
		return 0
	}
	now, _, _ := strings.Cut(fields[3], "/")
	n, _ := strconv.Atoi(now)
	return n
}

// Crowding is 1 and how many threads of others wanted each core on average.
func (m *Machine) Crowding() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.crowd) == 0 {
		return 1
	}
	sum := 0
	for _, n := range m.crowd {
		sum += n
	}
	return 1 + float64(sum)/float64(len(m.crowd))/float64(runtime.NumCPU())
}

// String tells what the machine was able to do, on one line.
func (m *Machine) String() string {
	slow, crowd := m.Slowness(), m.Crowding()
	m.mu.Lock()
	defer m.mu.Unlock()
	var late time.Duration
	for _, s := range m.late {
		late = max(late, s.to.Sub(s.from))
	}
	syncs := make([]time.Duration, len(m.syncs))
	for i, s := range m.syncs {
		syncs[i] = s.to.Sub(s.from)
	}
	sort.Slice(syncs, func(i, j int) bool { return syncs[i] < syncs[j] })
	at := func(q float64) time.Duration {
		if len(syncs) == 0 {
			return 0
		}
		return syncs[min(len(syncs)-1, int(q*float64(len(syncs))))]
	}
	return fmt.Sprintf("longest late wake-up %s, %d of more than %s; sync p50 %s, p99 %s, max %s; arithmetic %.1f times the usual; %.1f threads of others for each core",
		short(late), len(m.late), short(lateFrom), short(at(0.5)), short(at(0.99)), short(at(1)), slow, crowd-1)
}

// Judge compares gaps with limits of their median and their longest on an idle machine. Both are judged without what
// the machine stood still in each gap, and grow with its slowness. It returns a line that tells both as they were
// measured and as they were judged, and whether they are within the limits, or cannot be judged.
func (m *Machine) Judge(gaps []Gap, median, longest time.Duration) (line string, ok bool) {
	if len(gaps) == 0 {
		return "nothing was measured", false
	}
	var raw, own []time.Duration
	for _, g := range gaps {
		raw = append(raw, g.Length())
		own = append(own, g.Length()-m.Stalled(g))
	}
	more := m.Slowness() * m.Crowding()
	allowedMedian, allowedLongest := time.Duration(more*float64(median)), time.Duration(more*float64(longest))
	ok = middle(own) <= allowedMedian && most(own) <= allowedLongest
	told := ""
	if stolen := m.Stolen(); stolen > stolenMost {
		ok, told = true, fmt.Sprintf("NOT JUDGED, the host of this machine took %.0f %% of the processor time it wanted: ", 100*stolen)
	}
	return told + fmt.Sprintf("median %s, max %s; without the machine's own stalls median %s, max %s; limits %s and %s (machine: %s)",
		short(middle(raw)), short(most(raw)), short(middle(own)), short(most(own)), short(allowedMedian), short(allowedLongest), m), ok
}

func middle(all []time.Duration) time.Duration {
	s := append([]time.Duration(nil), all...)
	sort.Slice(s, func(i, j int) bool { return s[i] < s[j] })
	return s[len(s)/2]
}

func most(all []time.Duration) (d time.Duration) {
	for _, x := range all {
		d = max(d, x)
	}
	return d
}

func short(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
