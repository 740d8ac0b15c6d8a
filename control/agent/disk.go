package agent

import (
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"sync"
	"time"

	"baton/control/engine"
	"baton/control/provider"

	"golang.org/x/sys/unix"
)

const (
	// diskInterval is how often volumes are measured.
	diskInterval = 5 * time.Second
	// syncSamples is how many 4 KiB sync times a percentile is taken from:
	// the last eight minutes.
	syncSamples = 100
	// growthWindow is the time growth is measured over.
	growthWindow = time.Hour
)

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// disks measures the volumes under the instances' directories.
type disks struct {
	mu    sync.Mutex
	byDir map[string]*diskState
}

type diskState struct {
	facts engine.DiskFacts
	sync  []float64 // milliseconds, newest last
	free  []freeAt  // oldest first, within growthWindow
}

type freeAt struct {
	at   time.Time
	free int64
}

func newDisks() *disks { return &disks{byDir: map[string]*diskState{}} }

func (d *disks) facts(dir string) *engine.DiskFacts {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.byDir[dir]
	if s == nil {
		return nil
	}
	f := s.facts
	return &f
}

// measure looks at each directory; each volume is synced to once.
func (d *disks) measure(dirs []string) {
	synced := map[uint64]*float64{} // by device
	for _, dir := range dirs {
		f, err := provider.Disk(dir)
		if err != nil {
			continue
		}
		now := time.Now()
		// Beside the data directory, not in it: it belongs to the engine.
		beside := filepath.Dir(dir)
		var ms *float64
		var st unix.Stat_t
		if unix.Stat(beside, &st) == nil {
			var seen bool
			if ms, seen = synced[st.Dev]; !seen {
				ms = syncOnce(beside)
				synced[st.Dev] = ms
			}
		}
		d.mu.Lock()
		s := d.byDir[dir]
		if s == nil {
			s = &diskState{}
			d.byDir[dir] = s
		}
		if ms != nil {
			s.sync = append(s.sync, *ms)
			s.sync = s.sync[max(0, len(s.sync)-syncSamples):]
		}
		f.FsyncP99Ms = percentile(s.sync, 0.99)
		s.free = append(s.free, freeAt{now, f.FreeBytes})
		for len(s.free) > 1 && now.Sub(s.free[0].at) > growthWindow {
			s.free = s.free[1:]
		}
		growth := s.free[0].free - f.FreeBytes
		f.GrowthBytes = &growth
		s.facts = f
		d.mu.Unlock()
	}
}

// syncOnce writes 4 KiB and syncs, in milliseconds; nil when it may not.
func syncOnce(dir string) *float64 {
	f, err := os.CreateTemp(dir, ".baton-sync-*")
	if err != nil {
		return nil
	}
	defer os.Remove(f.Name())
	defer f.Close()
	start := time.Now()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return nil
	}
	if err := f.Sync(); err != nil {
		return nil
	}
	ms := float64(time.Since(start)) / 1e6
	return &ms
}

func percentile(samples []float64, p float64) *float64 {
	if len(samples) == 0 {
		return nil
	}
	s := append([]float64{}, samples...)
	sort.Float64s(s)
	v := s[min(int(p*float64(len(s))), len(s)-1)]
	return &v
}
