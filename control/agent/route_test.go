package agent

import (
	"slices"
	"testing"
	"time"
)

// TestTheLeaderIsFoundQuickly: whoever does not lead says who does, and the
// agent goes straight there; where nobody knows it asks all in turn, soon at
// first and more slowly when all are away. It never runs in circles.
func TestTheLeaderIsFoundQuickly(t *testing.T) {
	r := newRoute("b:1", []string{"a:1", "b:1", "c:1"})
	if r.address() != "b:1" || len(r.addresses) != 3 || r.silence() != silenceOfMany {
		t.Fatalf("%+v", r)
	}
	if wait := r.next("c:1"); wait != 0 || r.address() != "c:1" {
		t.Errorf("told of the leader: %s, waits %v", r.address(), wait)
	}
	r.lasted()
	// The leader died; each of the others still names it, then nobody.
	var total time.Duration
	for range 4 {
		total += r.next("c:1")
	}
	if total == 0 {
		t.Error("runs in circles between nodes that name a dead leader")
	}
	seen := map[string]bool{}
	total = 0
	for range 3 {
		total += r.next("")
		seen[r.address()] = true
	}
	if len(seen) != 3 || total > time.Second {
		t.Errorf("asked %v within %v", seen, total)
	}
	for range 50 {
		if wait := r.next(""); wait > roundMax {
			t.Fatalf("waits %v", wait)
		}
	}
	r.lasted()
	if wait := r.next(""); wait > quickRetry {
		t.Errorf("waits %v after a good link", wait)
	}
}

// TestAddressesAreLearned: the list a control node tells replaces the old one,
// the address in use is kept, an empty list is not believed.
func TestAddressesAreLearned(t *testing.T) {
	r := newRoute("a:1", nil)
	if r.silence() != silenceOfOne || r.learn(nil) || r.learn([]string{""}) {
		t.Errorf("%+v", r)
	}
	if !r.learn([]string{"a:1", "b:1", "b:1"}) || r.address() != "a:1" || len(r.addresses) != 2 {
		t.Errorf("%+v", r)
	}
	if r.learn([]string{"b:1", "a:1"}) {
		t.Error("another order is news")
	}
	if !r.learn([]string{"b:1", "c:1"}) || r.address() != "a:1" || !slices.Contains(r.addresses, "c:1") {
		t.Errorf("the address in use is lost: %+v", r)
	}
	if r.next("d:1"); r.address() != "d:1" {
		t.Errorf("a leader nobody listed: %+v", r)
	}
	one := newRoute("a:1", nil)
	var waits []time.Duration
	for range 8 {
		waits = append(waits, one.next(""))
	}
	if waits[0] != retryMin || waits[7] != retryMax || !slices.IsSorted(waits) {
		t.Errorf("%v", waits)
	}
}
