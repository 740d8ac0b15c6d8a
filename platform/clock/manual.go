package clock

import (
	"sync"
	"time"
)

// Manual is a clock that moves only when told to. The zero value is not
// usable; see NewManual.
type Manual struct {
	mu      sync.Mutex
	now     time.Time
	waiters []*manualTimer // armed, in order of creation or re-arming
}

// NewManual returns a clock standing at 2020-01-01 00:00 UTC.
func NewManual() *Manual {
	return &Manual{now: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// manualTimer is both timer (every == 0) and ticker.
type manualTimer struct {
	clock *Manual
	c     chan time.Time // capacity 1
	at    time.Time
	every time.Duration
}

// Now returns the time the clock stands at.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Since returns Now minus t.
func (m *Manual) Since(t time.Time) time.Duration { return m.Now().Sub(t) }

// NewTimer returns a timer that Advance fires.
func (m *Manual) NewTimer(d time.Duration) Timer {
	t := &manualTimer{clock: m, c: make(chan time.Time, 1)}
	t.Reset(d)
	return t
}

// NewTicker returns a ticker that Advance fires.
func (m *Manual) NewTicker(d time.Duration) Ticker {
	if d <= 0 {
		panic("clock: ticker interval must be positive")
	}
	t := &manualTimer{clock: m, c: make(chan time.Time, 1), every: d}
	t.arm(d)
	return manualTicker{t}
}

// Advance moves the clock by d, firing what falls due in order of time; those
// due at the same instant fire in the order they were armed.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.now.Add(d)
	for {
		var next *manualTimer
		for _, t := range m.waiters {
			if !t.at.After(end) && (next == nil || t.at.Before(next.at)) {
				next = t
			}
		}
		if next == nil {
			break
		}
		m.now = next.at
		m.remove(next)
		next.send(m.now)
		if next.every > 0 {
			next.at = next.at.Add(next.every)
			m.waiters = append(m.waiters, next)
		}
	}
	m.now = end
}

// Waiters returns the number of armed timers and tickers, so that a test can
// wait until the code under test is waiting.
func (m *Manual) Waiters() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiters)
}

func (m *Manual) remove(t *manualTimer) bool {
	for i, w := range m.waiters {
		if w == t {
			m.waiters = append(m.waiters[:i], m.waiters[i+1:]...)
			return true
		}
	}
	return false
}

func (t *manualTimer) send(now time.Time) {
	select {
	case t.c <- now:
	default:
	}
}

func (t *manualTimer) drain() {
	select {
	case <-t.c:
	default:
	}
}

func (t *manualTimer) C() <-chan time.Time { return t.c }

func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	t.drain()
	return t.clock.remove(t)
}

func (t *manualTimer) Reset(d time.Duration) bool { return t.arm(d) }

func (t *manualTimer) arm(d time.Duration) bool {
	m := t.clock
	m.mu.Lock()
	defer m.mu.Unlock()
	t.drain()
	active := m.remove(t)
	t.at = m.now.Add(d)
	if d <= 0 {
		t.send(m.now)
		return active
	}
	m.waiters = append(m.waiters, t)
	return active
}

type manualTicker struct{ t *manualTimer }

func (t manualTicker) C() <-chan time.Time { return t.t.c }

func (t manualTicker) Stop() { t.t.Stop() }

func (t manualTicker) Reset(d time.Duration) {
	if d <= 0 {
		panic("clock: ticker interval must be positive")
	}
	t.t.clock.mu.Lock()
	t.t.every = d
	t.t.clock.mu.Unlock()
	t.t.arm(d)
}
