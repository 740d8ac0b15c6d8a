package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
)

// hashOf covers the candidate, the generation and the verdict of every check,
// and nothing that moves by itself: neither times nor measured numbers. A
// report of half a minute ago is therefore accepted as long as every verdict
// stands, and refused as soon as one changed.
//
// Of numbers that are sampled every second (load, lag, age, latency), passing
// and warning count as the same: neither would have stopped the person, and a
// busy machine crosses the line to and fro. Refusing or unknown always counts.
func hashOf(r *Report) string {
	lines := make([]string, 0, len(r.Checks))
	for _, c := range r.Checks {
		v := c.Verdict
		if c.sampled && v == Warn {
			v = Pass
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", c.ID, c.Subject, v))
	}
	sort.Strings(lines)
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%d\n", r.Node, r.Generation)
	for _, l := range lines {
		fmt.Fprintln(h, l)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
