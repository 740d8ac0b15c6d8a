package firstfloor

import (
	"fmt"
	"sort"
	"strings"
	"testing"
)

// demandedOfPromises are the situations that must have occurred in a batch of
// runs with promises.
var demandedOfPromises = []string{
	"lease kept by promises", "write acknowledged after the grants had ended", "promise refused: barred", "promotion held up by a promise",
	"failover waited for a promise", "promises given back", "promises allowed again", "failover done", "writes held by the agent", "former primary brought back",
}

// promiseRuns are made where no number is asked for.
const promiseRuns = 250

// TestPromisesLetNoTwoPrimariesAcknowledge runs the rules of mode failsafe
// through seeded faults, among them a control plane that is away for long.
func TestPromisesLetNoTwoPrimariesAcknowledge(t *testing.T) {
	if *seed != 0 {
		w := NewFailsafe(*seed, Sound)
		w.Verbose = true
		err := w.Run()
		t.Logf("%s", strings.Join(w.Trace(), "\n"))
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	runs := min(*seeds, promiseRuns)
	if *seeds > 500 {
		runs = *seeds
	}
	seen, broken, err := batchOf(t, NewFailsafe, 1, runs, Sound)
	if err != nil {
		t.Fatalf("seed %d: %v\nrepeat: go test ./sim/firstfloor -run TestPromises -seed=%d -v", broken, err, broken)
	}
	var lines []string
	for _, what := range demandedOfPromises {
		lines = append(lines, fmt.Sprintf("%6d  %s", seen[what], what))
		if seen[what] == 0 && runs >= promiseRuns {
			t.Errorf("in %d runs it never happened: %s", runs, what)
		}
	}
	sort.Strings(lines)
	fmt.Printf("firstfloor, mode failsafe: %d runs of 105 s each, %d left to a person; seen:\n%s\n", runs, seen["left to a person"], strings.Join(lines, "\n"))
}

// firstForgotten is where the seeds begin that show a forgotten promise, which
// few do.
const firstForgotten = 1600

// TestABrokenRuleOfPromisesIsFound: each rule is needed, and the runs would show it.
func TestABrokenRuleOfPromisesIsFound(t *testing.T) {
	for b, from := range map[Break]int{ForgetsPromises: firstForgotten, AsksTooFew: 1, ReadsTooEarly: 1} {
		_, broken, err := batchOf(t, NewFailsafe, from, 500, b)
		if err == nil {
			t.Errorf("nothing shows that %s", b)
			continue
		}
		t.Logf("%s: seed %d: %v", b, broken, err)
	}
}
