package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// swarm is what one seed enables, and how strongly. Each seed draws a random subset of faults at random
// intensity: a fault that is always present hides what happens without it.
type swarm struct {
	Nodes       int // processes
	ClusterSize int // voters wanted; the rest become clones
	Clients     int
	Streams     int // shared streams; each client also has one of its own
	BatchMax    int // events per append

	Net netFaults

	// Mean time between faults of a kind; 0 disables it.
	Partition, OneWay, Crash, PowerCut, Torn, Pause time.Duration
	Promote, Priority, Transfer                     time.Duration
	Scavenge, Backup, Damage                        time.Duration

	OutageMax    time.Duration // a crashed node comes back within this
	LongOutage   float64       // probability that it stays away past ReplaceAfter instead
	ReplaceAfter time.Duration // grace before a clone replaces a silent voter
	DiskMax      time.Duration // slowest append
	SegmentBytes int64
	CacheBytes   int64 // of the log

	Think  time.Duration // longest pause of a client between two ops
	Faults time.Duration // length of the phase with faults
}

// drawSwarm draws the configuration of a seed.
func drawSwarm(r *rand.Rand) swarm {
	between := func(lo, hi time.Duration) time.Duration { return lo + time.Duration(r.Int64N(int64(hi-lo))) }
	maybe := func(p float64, lo, hi time.Duration) time.Duration {
		if r.Float64() >= p {
			return 0
		}
		return between(lo, hi)
	}
	rate := func(p, top float64) float64 {
		if r.Float64() >= p {
			return 0
		}
		return r.Float64() * top
	}
	s := swarm{
		Nodes:    3 + r.IntN(5),
		Clients:  2 + r.IntN(4),
		Streams:  1 + r.IntN(3),
		BatchMax: 1 + r.IntN(8),
		Net: netFaults{
			drop:      rate(0.5, 0.05),
			duplicate: rate(0.5, 0.05),
			reorder:   rate(0.5, 0.1),
			base:      between(50*time.Microsecond, time.Millisecond),
			jitter:    between(10*time.Microsecond, 5*time.Millisecond),
			slow:      between(time.Millisecond, 300*time.Millisecond),
		},
		Partition:    maybe(0.5, 2*time.Second, 8*time.Second),
		OneWay:       maybe(0.3, 2*time.Second, 8*time.Second),
		Crash:        maybe(0.5, 2*time.Second, 8*time.Second),
		PowerCut:     maybe(0.5, 2*time.Second, 8*time.Second),
		Torn:         maybe(0.4, 2*time.Second, 8*time.Second),
		Pause:        maybe(0.4, 2*time.Second, 8*time.Second),
		Promote:      maybe(0.6, 1500*time.Millisecond, 6*time.Second),
		Priority:     maybe(0.3, 2*time.Second, 8*time.Second),
		Transfer:     maybe(0.4, 1500*time.Millisecond, 6*time.Second),
		OutageMax:    between(200*time.Millisecond, 3*time.Second),
		LongOutage:   rate(0.5, 0.5),
		ReplaceAfter: between(1500*time.Millisecond, 3*time.Second),
		DiskMax:      between(50*time.Microsecond, 20*time.Millisecond),
		SegmentBytes: int64(8+r.IntN(56)) << 10,
		Think:        between(20*time.Millisecond, 250*time.Millisecond),
		Faults:       between(6*time.Second, 10*time.Second),
	}
	s.Scavenge = maybe(0.6, 200*time.Millisecond, 2*time.Second)
	s.Backup = maybe(0.4, 500*time.Millisecond, 4*time.Second)
	s.ClusterSize = 3
	if s.Nodes >= 5 && r.IntN(2) == 0 {
		s.ClusterSize = 5
	}
	s.CacheBytes = 1 << 20
	if s.Damage = maybe(0.3, time.Second, 4*time.Second); s.Damage > 0 {
		s.CacheBytes = 8 << 10 // readers go to the disk
	}
	return s
}

// String lists what is enabled, for a failure's report.
func (s swarm) String() string {
	var on []string
	add := func(name string, every time.Duration) {
		if every > 0 {
			on = append(on, fmt.Sprintf("%s every %v", name, every.Round(100*time.Millisecond)))
		}
	}
	share := func(name string, p float64) {
		if p > 0 {
			on = append(on, fmt.Sprintf("%s %.1f %%", name, 100*p))
		}
	}
	share("drop", s.Net.drop)
	share("duplicate", s.Net.duplicate)
	share("reorder", s.Net.reorder)
	add("partition", s.Partition)
	add("one-way cut", s.OneWay)
	add("crash", s.Crash)
	add("power cut", s.PowerCut)
	add("torn write", s.Torn)
	add("pause", s.Pause)
	add("promotion", s.Promote)
	add("priority change", s.Priority)
	add("transfer", s.Transfer)
	add("scavenge", s.Scavenge)
	add("backup", s.Backup)
	add("damage", s.Damage)
	share("long outage", s.LongOutage)
	if len(on) == 0 {
		on = []string{"no faults"}
	}
	return fmt.Sprintf("%d nodes, %d voters, %d clients, delay %v+%v; %s", s.Nodes, s.ClusterSize, s.Clients,
		s.Net.base.Round(10*time.Microsecond), s.Net.jitter.Round(10*time.Microsecond), strings.Join(on, ", "))
}
