package main

import (
	"fmt"
	"strings"
	"testing"
)

// Goal: the end of a log tells each failed test with what it said, bounded however many failed.
func TestDigestTellsWhatFailed(t *testing.T) {
	g := newGoTally("unit", func(string) {})
	g.add(event{Action: "run", Package: "p", Test: "A"})
	g.add(event{Action: "output", Package: "p", Test: "A", Output: "    a_test.go:7: two primaries\n"})
	for i := range 40 {
		g.add(event{Action: "output", Package: "p", Test: "A", Output: fmt.Sprintf("        log line %d %s\n", i, strings.Repeat("x", 1000))})
	}
	g.add(event{Action: "fail", Package: "p", Test: "A"})
	g.add(event{Action: "build-output", ImportPath: "q", Output: "q/x.go:1:1: undefined: y\n"})
	g.add(event{Action: "fail", Package: "q", FailedBuild: "q"})
	lines := digest([]counts{g.total()})
	text := strings.Join(lines, "\n")
	for _, want := range []string{"FAILED   unit: p A", "two primaries", "log line 39", "FAILED   unit: q", "undefined: y"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if len(lines) > 2*(tailLines+1) {
		t.Errorf("%d lines for two failures", len(lines))
	}
	for _, l := range lines {
		if len(l) > maxLineBytes+20 {
			t.Errorf("a line of %d bytes", len(l))
		}
	}
	many := counts{Ring: "race"}
	for i := range 50 {
		many.Failures = append(many.Failures, failure{Package: "p", Test: fmt.Sprint("T", i), Output: []string{"a", "b", "c", "d"}})
	}
	if lines = digest([]counts{many}); len(lines) > digestLines || !strings.Contains(lines[len(lines)-1]+lines[len(lines)-2], "T49") && !strings.Contains(strings.Join(lines, " "), "T49") {
		t.Errorf("%d lines for fifty failures", len(lines))
	}
	if digest([]counts{{Ring: "sim", Passed: 3}}) != nil {
		t.Error("a digest of no failure")
	}
}
