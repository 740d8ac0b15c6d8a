package subscription

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// Stats is a snapshot of a group.
type Stats struct {
	Read         Point // last place read
	Checkpointed Point // Beginning: none yet
	Queued       int   // read and never sent
	Retrying     int   // to be sent again
	InFlight     int
	Parking      int
	Outstanding  int // all of them
	Bytes        int // of memory, about
	Total        int64
	Consumers    []ConsumerStats // in order of connecting
}

// ConsumerStats is a snapshot of a consumer.
type ConsumerStats struct {
	Host     any
	Slots    int
	InFlight int
	Total    int64
	Times    []Measurement // with ExtraStatistics only
}

// Measurement is one figure about the times a consumer takes.
type Measurement struct {
	Key   string
	Value int64 // milliseconds
}

// Stats returns a snapshot.
func (g *Group) Stats() Stats {
	s := Stats{
		Read: g.read, Checkpointed: g.checkpointed, Queued: g.queue.count + g.behind, Retrying: g.retries.count, InFlight: g.flight.count,
		Parking: g.parking, Bytes: g.bytes, Total: g.total,
	}
	s.Outstanding = s.Queued + s.Retrying + s.InFlight + s.Parking
	for _, c := range g.consumers {
		s.Consumers = append(s.Consumers, ConsumerStats{Host: c.Host, Slots: c.Slots, InFlight: c.inFlight, Total: c.total, Times: c.times.measure()})
	}
	return s
}

// measure sums the times up.
func (t *times) measure() []Measurement {
	if !t.keep {
		return nil
	}
	sorted := slices.Clone(t.list)
	slices.Sort(sorted)
	var sum time.Duration
	for _, d := range sorted {
		sum += d
	}
	at := func(share float64) int64 {
		if len(sorted) == 0 {
			return 0
		}
		i := int(math.Ceil(share*float64(len(sorted)))) - 1
		return sorted[min(max(i, 0), len(sorted)-1)].Milliseconds()
	}
	mean := int64(0)
	if len(sorted) > 0 {
		mean = (sum / time.Duration(len(sorted))).Milliseconds()
	}
	out := []Measurement{{"Mean", mean}, {"Median", at(0.5)}, {"Fastest", at(0)}}
	for i := 1; i <= 5; i++ {
		out = append(out, Measurement{"Quintile " + strconv.Itoa(i), at(float64(i) / 5)})
	}
	for _, p := range []float64{0.9, 0.95, 0.99, 0.995, 0.999} {
		out = append(out, Measurement{strconv.FormatFloat(p*100, 'f', -1, 64) + "%", at(p)})
	}
	return append(out, Measurement{"Highest", at(1)})
}
