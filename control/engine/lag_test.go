package engine

import (
	"testing"
	"time"
)

func TestTrackTellsForHowLongThePrimaryHasBeenAhead(t *testing.T) {
	base := time.Unix(1000, 0)
	at := func(s int) time.Time { return base.Add(time.Duration(s) * time.Second) }
	var tr Track
	if got := tr.Age(at(0), 5); got != -1 {
		t.Fatalf("without samples: got %v, want -1", got)
	}
	tr.Add(at(0), 100)
	tr.Add(at(1), 200)
	tr.Add(at(2), 300)
	for _, c := range []struct {
		own  uint64
		want time.Duration
	}{{300, 0}, {400, 0}, {250, 3 * time.Second}, {150, 4 * time.Second}, {50, 4 * time.Second}} {
		if got := tr.Age(at(4), c.own); got != c.want {
			t.Errorf("own %d: got %v, want %v", c.own, got, c.want)
		}
	}
	tr.Add(at(5), 10) // another history
	if got := tr.Age(at(6), 5); got != time.Second {
		t.Errorf("after a new history: got %v, want 1s", got)
	}
	for i := 0; i < 3*trackSamples; i++ { // the ring turns over
		tr.Add(at(6+i), uint64(1000+i))
	}
	if got := tr.Age(at(6+3*trackSamples), uint64(1000+3*trackSamples-3)); got != 3*time.Second {
		t.Errorf("after turning over: got %v, want 3s", got)
	}
}

func TestCounterRate(t *testing.T) {
	var c Counter
	base := time.Unix(50, 0)
	if got := c.Rate(base, 10); got != -1 {
		t.Fatalf("first: got %v", got)
	}
	if got := c.Rate(base.Add(2*time.Second), 30); got != 10 {
		t.Fatalf("rate: got %v, want 10", got)
	}
	if got := c.Rate(base.Add(3*time.Second), 3); got != -1 {
		t.Fatalf("after a restart of the count: got %v, want -1", got)
	}
}
