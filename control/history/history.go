// Package history keeps numbers that are sampled often, for charts: lag,
// writes per second, memory and free disk space of each node, and whether each
// cluster took writes. It is local to one control node, bounded, and may be
// lost without harm; nothing is decided on it but the disk forecast.
//
// A series is one file of a fixed size under the directory, a ring for each of
// three resolutions: 10 s for 2 hours, 1 min for 2 days, 15 min for 90 days.
// Every interval is a record of its own with a checksum, so a crash costs at
// most the interval being written. Nothing is synced: after a power cut some
// minutes may be missing.
//
// A Store may be used from many goroutines.
package history

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"regexp"
	"sync"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// Metrics that are kept.
const (
	Lag      = "lag"      // bytes behind the primary
	Writes   = "writes"   // per second, of the primary
	Memory   = "memory"   // bytes the engine uses
	DiskFree = "diskFree" // bytes free on the data volume
)

// Units by metric.
var Units = map[string]string{Lag: "bytes", Writes: "per second", Memory: "bytes", DiskFree: "bytes"}

// Bounds.
const (
	// SampleEvery is the rhythm of Record.
	SampleEvery = time.Second
	// MaxPoints of one answer; a finer step is made coarser.
	MaxPoints = 1000
	// Kept is how far back anything is kept.
	Kept = 90 * 24 * time.Hour
)

// clusterSeries is the name of a cluster's own series; no node has it.
const clusterSeries = "_cluster"

// Sample is one look. NaN is not known.
type Sample struct {
	Lag, Writes, Memory, DiskFree float64
	// Known tells that the look found out whether it is up.
	Known, Up bool
}

// Point is a value at a time: of the interval that begins then.
type Point struct {
	At    time.Time
	Value float64
}

// Store is the directory of series.
type Store struct {
	root *os.Root
	log  *slog.Logger

	mu     sync.Mutex
	open   map[string]*bucket // by cluster/node
	warned bool
}

// bucket is the interval being gathered.
type bucket struct {
	second              int64
	lag, writes, memory mean
	lagMax, free        float64
	samples, up         int
}

// Open opens the directory, making it when it is missing.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the history's directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the history: %w", err)
	}
	return &Store{root: root, log: log, open: map[string]*bucket{}}, nil
}

// Close writes what is gathered and closes the directory.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, b := range s.open {
		s.put(key, b)
	}
	s.open = map[string]*bucket{}
	return s.root.Close()
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func seriesKey(cluster, node string) (string, bool) {
	return cluster + "/" + node, nameForm.MatchString(cluster) && (node == clusterSeries || nameForm.MatchString(node))
}

// Add takes a sample of a node.
func (s *Store) Add(cluster, node string, at time.Time, x Sample) {
	key, ok := seriesKey(cluster, node)
	if !ok {
		return
	}
	second := at.Unix()
	second -= second % tiers[0].step
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.open[key]
	if b == nil || b.second != second {
		if b != nil {
			s.put(key, b)
		}
		b = &bucket{second: second, lagMax: math.NaN(), free: math.NaN()}
		s.open[key] = b
	}
	b.lag.add(x.Lag)
	b.writes.add(x.Writes)
	b.memory.add(x.Memory)
	if !math.IsNaN(x.Lag) && !(b.lagMax >= x.Lag) {
		b.lagMax = x.Lag
	}
	if !math.IsNaN(x.DiskFree) {
		b.free = x.DiskFree
	}
	if x.Known {
		b.samples++
		if x.Up {
			b.up++
		}
	}
}

// put writes an interval. What goes wrong is said once: charts are not worth
// more. The caller holds mu.
func (s *Store) put(key string, b *bucket) {
	r := record{b.second, b.lag.value(), b.lagMax, b.writes.value(), b.memory.value(), b.free, b.samples, b.up}
	err := func() error {
		cluster, _, _ := cut(key)
		f, err := open(s.root, key+".ring", true)
		if errors.Is(err, fs.ErrNotExist) {
			if err = s.root.MkdirAll(cluster, 0o700); err == nil {
				f, err = open(s.root, key+".ring", true)
			}
		}
		if err != nil {
			return err
		}
		return errors.Join(write(f, r), f.Close())
	}()
	if err != nil && !s.warned {
		s.log.Warn("history cannot be written; charts will have gaps", "series", key, "err", err)
	}
	s.warned = err != nil
}

func cut(key string) (cluster, node string, ok bool) {
	for i := range key {
		if key[i] == '/' {
			return key[:i], key[i+1:], true
		}
	}
	return key, "", false
}

// records returns the intervals of a series between two times, from the finest
// tier that reaches back far enough and is no finer than it must be.
func (s *Store) records(cluster, node string, from, to time.Time, step time.Duration) (out []record, tierStep int64) {
	key, ok := seriesKey(cluster, node)
	if !ok {
		return nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	chosen := -1
	for i, t := range tiers {
		if to.Unix()-from.Unix() <= t.step*t.slots && (chosen < 0 || t.step <= seconds(step)) {
			chosen = i
		}
	}
	if chosen < 0 {
		chosen = len(tiers) - 1
	}
	f, err := open(s.root, key+".ring", false)
	if err != nil {
		return nil, tiers[chosen].step
	}
	defer f.Close()
	return read(f, chosen, from.Unix(), to.Unix()), tiers[chosen].step
}

// Read returns a metric of a node from one time to another, a point for each
// step that is known, oldest first. The step is made coarser where nothing as
// fine is kept, or where there would be more than MaxPoints; it returns the
// one used. The value of a step is the mean, of lag the largest.
func (s *Store) Read(cluster, node, metric string, from, to time.Time, step time.Duration) ([]Point, time.Duration) {
	if least := to.Sub(from) / MaxPoints; step < least {
		step = least
	}
	records, finest := s.records(cluster, node, from, to, step)
	if finest == 0 {
		return nil, step
	}
	width := max(finest, (seconds(step)+finest-1)/finest*finest)
	var out []Point
	for i := 0; i < len(records); {
		begin := records[i].second - records[i].second%width
		j := i
		for j < len(records) && records[j].second < begin+width {
			j++
		}
		m := merge(begin, records[i:j])
		i = j
		v := m.writes
		switch metric {
		case Lag:
			v = m.lagMax
		case Memory:
			v = m.memory
		case DiskFree:
			v = m.free
		}
		if !math.IsNaN(v) {
			out = append(out, Point{time.Unix(begin, 0).UTC(), v})
		}
	}
	return out, time.Duration(width) * time.Second
}

// Availability is how much of the time between two moments is known, and for
// how much of that the cluster had one primary that answered.
func (s *Store) Availability(cluster string, from, to time.Time) (available, known time.Duration) {
	records, step := s.records(cluster, clusterSeries, from, to, to.Sub(from)/MaxPoints)
	for _, r := range records {
		if r.samples > 0 {
			part := time.Duration(min(int64(r.samples), step)) * time.Second
			known += part
			available += time.Duration(float64(part) * float64(r.up) / float64(r.samples))
		}
	}
	return available, known
}

// Snapshots gives what is known of a cluster; *monitor.Monitor does.
type Snapshots interface {
	Snapshot(cluster string) (health.Snapshot, bool)
}

// shares is how many parts of SampleEvery the clusters are spread over: what
// thousands of series write at the end of an interval is not written at once.
const shares = 10

// Run samples every cluster until ctx ends.
func (s *Store) Run(ctx context.Context, clusters func() []string, from Snapshots) error {
	tick := time.NewTicker(SampleEvery / shares)
	defer tick.Stop()
	for part := uint32(0); ; part = (part + 1) % shares {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for _, c := range clusters() {
			if crc32.Checksum([]byte(c), castagnoli)%shares != part {
				continue
			}
			if snap, ok := from.Snapshot(c); ok {
				s.Record(&snap)
			}
		}
	}
}

// Record takes a look at a cluster in.
func (s *Store) Record(snap *health.Snapshot) {
	nan := math.NaN()
	known := false
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		x := Sample{Lag: nan, Writes: nan, Memory: nan, DiskFree: nan, Known: n.Fresh(), Up: n.Up()}
		known = known || x.Known
		if n.Up() {
			o := n.Seen
			if n.Role() != engine.RolePrimary && o.LagBytes >= 0 {
				x.Lag = float64(o.LagBytes)
			}
			if n.Role() == engine.RolePrimary && o.WritesPerSecond >= 0 {
				x.Writes = o.WritesPerSecond
			}
			if m := o.Facts.MemoryUsedBytes; m != nil {
				x.Memory = float64(*m)
			}
		}
		if n.Fresh() && n.Disk != nil {
			x.DiskFree = float64(n.Disk.FreeBytes)
		}
		s.Add(snap.Cluster, n.Name, snap.Now, x)
	}
	s.Add(snap.Cluster, clusterSeries, snap.Now, Sample{nan, nan, nan, nan, known, snap.Primary() != nil})
}
