package clock

import (
	"testing"
	"time"
)

func fired(c <-chan time.Time) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestManualTimerFiresOnAdvance(t *testing.T) {
	m := NewManual()
	start := m.Now()
	timer := m.NewTimer(10 * time.Millisecond)
	m.Advance(9 * time.Millisecond)
	if fired(timer.C()) {
		t.Fatal("fired early")
	}
	m.Advance(time.Millisecond)
	if !fired(timer.C()) || m.Since(start) != 10*time.Millisecond {
		t.Fatal("did not fire in time")
	}
	if timer.Stop() {
		t.Fatal("stopped a timer that had fired")
	}
	if timer.Reset(time.Second) {
		t.Fatal("reset reported a fired timer active")
	}
	if !timer.Stop() || m.Waiters() != 0 {
		t.Fatal("an armed timer did not stop")
	}
	m.Advance(time.Hour)
	if fired(timer.C()) {
		t.Fatal("a stopped timer fired")
	}
	if now := m.NewTimer(0); !fired(now.C()) {
		t.Fatal("a timer of no duration did not fire at once")
	}
}

func TestManualTickerDropsTicksNobodyTakes(t *testing.T) {
	m := NewManual()
	ticker := m.NewTicker(time.Second)
	m.Advance(5 * time.Second)
	if !fired(ticker.C()) || fired(ticker.C()) {
		t.Fatal("want exactly one tick kept")
	}
	ticker.Reset(time.Minute)
	m.Advance(59 * time.Second)
	if fired(ticker.C()) {
		t.Fatal("ticked at the old interval")
	}
	ticker.Stop()
	m.Advance(time.Hour)
	if fired(ticker.C()) {
		t.Fatal("ticked after stop")
	}
}

func TestManualStaleValueIsGoneAfterReset(t *testing.T) {
	m := NewManual()
	timer := m.NewTimer(time.Second)
	m.Advance(time.Second)
	timer.Reset(time.Second)
	if fired(timer.C()) {
		t.Fatal("received the value from before the reset")
	}
}

func TestRealClockMoves(t *testing.T) {
	c := Real()
	start := c.Now()
	timer, ticker := c.NewTimer(time.Microsecond), c.NewTicker(time.Microsecond)
	<-timer.C()
	<-ticker.C()
	ticker.Stop()
	if c.Since(start) <= 0 || timer.Stop() {
		t.Fatal("the real clock stood still")
	}
}
