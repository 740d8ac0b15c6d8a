package engine

import "time"

// trackSamples bounds a Track: at the agent's two looks a second it covers a minute.
const trackSamples = 128

// Track turns positions seen over time into lag in seconds and into rates. It
// belongs to one instance and one goroutine (or lock) of its driver. The zero
// value is ready.
type Track struct {
	at  [trackSamples]time.Time
	pos [trackSamples]uint64
	n   int // samples stored, newest at (n-1)%trackSamples
}

// Add records that the primary was at pos at the time at. A position lower
// than the last (another history) begins anew.
func (t *Track) Add(at time.Time, pos uint64) {
	if t.n > 0 {
		last := (t.n - 1) % trackSamples
		if pos < t.pos[last] {
			t.n = 0
		} else if !at.After(t.at[last]) {
			return
		}
	}
	i := t.n % trackSamples
	t.at[i], t.pos[i] = at, pos
	t.n++
}

// Age is for how long the primary has been ahead of own at the time now: 0 when
// it is not, -1 when the samples do not reach back far enough and there are none.
// Where they do not reach back to own the oldest sample's age is given: at least that.
func (t *Track) Age(now time.Time, own uint64) time.Duration {
	if t.n == 0 {
		return -1
	}
	if last := (t.n - 1) % trackSamples; own >= t.pos[last] {
		return 0
	}
	for k := 1; k <= min(t.n, trackSamples); k++ {
		i := (t.n - k) % trackSamples
		if t.pos[i] <= own {
			// The first write own lacks came after this sample.
			return now.Sub(t.at[i])
		}
		if k == min(t.n, trackSamples) {
			return now.Sub(t.at[i])
		}
	}
	return -1
}

// Counter turns a growing count into a rate. The zero value is ready.
type Counter struct {
	at    time.Time
	count int64
}

// Rate is the growth per second since the last call; -1 on the first call,
// after a restart of the count, or when no time has passed.
func (c *Counter) Rate(now time.Time, count int64) float64 {
	prev := *c
	c.at, c.count = now, count
	seconds := now.Sub(prev.at).Seconds()
	if prev.at.IsZero() || count < prev.count || seconds <= 0 {
		return -1
	}
	return float64(count-prev.count) / seconds
}
