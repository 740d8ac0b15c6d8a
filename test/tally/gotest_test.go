package main

import "testing"

// Goal: leaves are counted, parents are not, and a failure without a failed leaf is not lost.
func TestLeavesAreCounted(t *testing.T) {
	g := newGoTally("x", func(string) {})
	for _, e := range []event{
		{Action: "run", Package: "p", Test: "A"},
		{Action: "run", Package: "p", Test: "A/one"},
		{Action: "run", Package: "p", Test: "A/two"},
		{Action: "pass", Package: "p", Test: "A/one"},
		{Action: "fail", Package: "p", Test: "A/two"},
		{Action: "fail", Package: "p", Test: "A"},
		{Action: "run", Package: "p", Test: "B"},
		{Action: "output", Package: "p", Test: "B", Output: "    b_test.go:3: no redis here\n"},
		{Action: "skip", Package: "p", Test: "B"},
		{Action: "fail", Package: "p"},
		{Action: "fail", Package: "does-not-build"},
		{Action: "pass", Package: "q"},
	} {
		g.add(e)
	}
	c := g.total()
	if c.Passed != 1 || c.Failed != 2 || c.Skipped != 1 {
		t.Fatalf("got %+v, want 1 passed, 2 failed (A/two, does-not-build), 1 skipped", c)
	}
	if want := "B: b_test.go:3: no redis here"; c.Reasons[0] != want {
		t.Fatalf("reason %q, want %q", c.Reasons[0], want)
	}
}
