// Package clock is the only source of time for code that must be testable
// without waiting: a real clock and one moved by hand.
package clock

import "time"

// Clock tells the time and makes timers. Implementations are safe for
// concurrent use.
type Clock interface {
	Now() time.Time
	// Since returns Now minus t.
	Since(t time.Time) time.Duration
	// NewTimer sends the time once on C after d; at once if d <= 0.
	NewTimer(d time.Duration) Timer
	// NewTicker sends the time on C every d, dropping ticks nobody takes.
	// d must be positive.
	NewTicker(d time.Duration) Ticker
}

// Timer fires once. As with time.Timer, no stale value is received from C
// after Stop or Reset has returned.
type Timer interface {
	C() <-chan time.Time
	// Stop reports whether it kept the timer from firing.
	Stop() bool
	// Reset re-arms the timer and reports whether it was active.
	Reset(d time.Duration) bool
}

// Ticker fires again and again until stopped.
type Ticker interface {
	C() <-chan time.Time
	Stop()
	Reset(d time.Duration)
}

// Real returns the clock of the machine. Its times carry Go's monotonic
// reading, so differences do not jump when the wall clock is set.
func Real() Clock { return realClock{} }

type realClock struct{}

type realTimer struct{ t *time.Timer }

type realTicker struct{ t *time.Ticker }

func (realClock) Now() time.Time                  { return time.Now() }
func (realClock) Since(t time.Time) time.Duration { return time.Since(t) }
func (realClock) NewTimer(d time.Duration) Timer  { return realTimer{time.NewTimer(d)} }
func (realClock) NewTicker(d time.Duration) Ticker {
	return realTicker{time.NewTicker(d)}
}

func (t realTimer) C() <-chan time.Time        { return t.t.C }
func (t realTimer) Stop() bool                 { return t.t.Stop() }
func (t realTimer) Reset(d time.Duration) bool { return t.t.Reset(d) }
func (t realTicker) C() <-chan time.Time       { return t.t.C }
func (t realTicker) Stop()                     { t.t.Stop() }
func (t realTicker) Reset(d time.Duration)     { t.t.Reset(d) }
