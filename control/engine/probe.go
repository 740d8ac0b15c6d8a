package engine

import (
	"context"
	"strconv"
	"time"
)

// ProbeInterval is the time between two writes of a probe: fine enough to see
// a stall of a few milliseconds, light enough to run on any cluster.
const ProbeInterval = 10 * time.Millisecond

// Probe is a synthetic writer for one cluster. It keeps connections to all
// nodes open, finds the primary again by itself, and writes consecutive
// sequence numbers to one private key or stream, each until it is acknowledged.
type Probe interface {
	// Run writes until ctx ends. It calls started once, after the first
	// acknowledgement. It returns an error only when no write was ever
	// acknowledged.
	Run(ctx context.Context, started func()) error
	// Acked is the number of writes acknowledged so far; it may be called while
	// Run runs.
	Acked() int64
	// Finish reads all acknowledged numbers back from the present primary,
	// removes the private key, closes connections and reports. Call it after
	// Run has returned, once.
	Finish(ctx context.Context) (ProbeReport, error)
}

// ProbeReport is what a probe measured and proved.
type ProbeReport struct {
	Acked       int64         `json:"acked"`         // writes acknowledged
	ReadBack    int64         `json:"readBack"`      // of those, found at the end
	Lost        int64         `json:"lost"`          // acked - found
	Unknown     int64         `json:"unknown"`       // sent, neither acknowledged nor refused, repeated under the same number
	Errors      int64         `json:"errors"`        // refusals and failed connections met on the way
	LongestGap  time.Duration `json:"longestGapNs"`  // between two consecutive acknowledgements
	LongestWait time.Duration `json:"longestWaitNs"` // of one write, from its first sending to its acknowledgement
	GapAt       time.Time     `json:"gapAt"`         // when the longest gap began
	FirstAck    time.Time     `json:"firstAck"`
	LastAck     time.Time     `json:"lastAck"`
	ReadFrom    string        `json:"readFrom"` // address read back from
	Complete    bool          `json:"complete"` // the read-back reached every number
}

// Values is the report as an action's values: acked, readBack, lost, unknown,
// errors, longestGapMs and longestWaitMs (decimal), gapAtUnixMs, readFrom, complete.
func (r ProbeReport) Values() map[string]string {
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return map[string]string{
		"acked": n(r.Acked), "readBack": n(r.ReadBack), "lost": n(r.Lost),
		"unknown": n(r.Unknown), "errors": n(r.Errors),
		"longestWaitMs": strconv.FormatFloat(float64(r.LongestWait)/1e6, 'f', 3, 64),
		"longestGapMs":  strconv.FormatFloat(float64(r.LongestGap)/1e6, 'f', 3, 64),
		"gapAtUnixMs":   n(r.GapAt.UnixMilli()),
		"readFrom":      r.ReadFrom,
		"complete":      strconv.FormatBool(r.Complete),
	}
}
