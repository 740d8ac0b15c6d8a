package node

import (
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shirou/gopsutil/v4/disk"
)

// diskCollector shows the file system of the data directory, and what was slowest
// on it lately. It asks when it is asked.
type diskCollector struct{ n *Node }

var (
	diskDesc     = prometheus.NewDesc("kurrentdb_sys_disk_bytes", "Bytes of the file system that holds the data directory.", []string{"kind", "disk"}, nil)
	flushMaxDesc = prometheus.NewDesc("kurrentdb_writer_flush_duration_max_seconds", "The slowest durable write of the log in the last seconds.", []string{"range"}, nil)
)

// Describe implements prometheus.Collector.
func (c *diskCollector) Describe(out chan<- *prometheus.Desc) {
	out <- diskDesc
	out <- flushMaxDesc
}

// Collect implements prometheus.Collector.
func (c *diskCollector) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(flushMaxDesc, prometheus.GaugeValue, c.n.metrics.flush.max(time.Now()), recentRange)
	dir, err := filepath.Abs(c.n.cfg.Dir)
	if err != nil {
		return
	}
	if usage, err := disk.Usage(dir); err == nil { // a directory in memory has no file system of its own
		out <- prometheus.MustNewConstMetric(diskDesc, prometheus.GaugeValue, float64(usage.Used), "used", usage.Path)
		out <- prometheus.MustNewConstMetric(diskDesc, prometheus.GaugeValue, float64(usage.Total), "total", usage.Path)
	}
}

// A recent maximum is that of the present slot and the four before it.
const (
	recentSlot  = 4 * time.Second
	recentSlots = 5
	recentRange = "16-20 seconds"
)

// recentMax keeps the largest of the values observed lately. Safe for concurrent use.
type recentMax struct {
	mu    sync.Mutex
	slots [recentSlots]float64
	at    int64 // number of the present slot
}

func (r *recentMax) observe(v float64, now time.Time) {
	r.mu.Lock()
	slot := r.turn(now)
	*slot = max(*slot, v)
	r.mu.Unlock()
}

// turn empties the slots whose time has come again and returns the present one; mu
// is held. A clock that goes back counts into the present slot.
func (r *recentMax) turn(now time.Time) *float64 {
	at := now.UnixNano() / int64(recentSlot)
	for i := max(r.at+1, at-recentSlots+1); i <= at; i++ {
		r.slots[i%recentSlots] = 0
	}
	r.at = max(r.at, at)
	return &r.slots[r.at%recentSlots]
}

func (r *recentMax) max(now time.Time) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	largest := 0.0
	for _, v := range r.slots {
		largest = max(largest, v)
	}
	return largest
}
