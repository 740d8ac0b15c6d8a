package sim

import (
	"fmt"
	"hash/fnv"
	"time"
)

// trace is a running hash over everything that happened, and, when wanted, the story in words. Two runs of one
// seed must end with the same hash.
type trace struct {
	sum   uint64
	count uint64
	words func(line string) // nil: hash only
}

func newTrace() trace { return trace{sum: 14695981039346656037} }

// note adds one happening. args are numbers so that a run of many seeds formats nothing.
func (t *trace) note(now time.Duration, what string, args ...uint64) {
	t.count++
	h := fnv.New64a()
	h.Write([]byte(what))
	t.sum = mix(t.sum, uint64(now))
	t.sum = mix(t.sum, h.Sum64())
	for _, a := range args {
		t.sum = mix(t.sum, a)
	}
	if t.words != nil {
		t.words(fmt.Sprintf("%9.3f s  %-24s %v", now.Seconds(), what, args))
	}
}

func mix(sum, v uint64) uint64 {
	sum ^= v
	sum *= 1099511628211
	return sum ^ sum>>29
}
