package executor

import "baton/control/operation"

// Moments of an operation at which Options.Fault is called, each followed by
// ":" and the step's id. A test ends the process there, to see that the next
// one leads the operation to its end from that very point.
const (
	// FaultIntent: the intent of the step was journalled, nothing was ordered.
	FaultIntent = "after-intent"
	// FaultAct: the step acted, its outcome is not journalled.
	FaultAct = "after-act"
	// FaultOutcome: the outcome of the step was journalled.
	FaultOutcome = "after-outcome"
	// FaultEnd, without a step: the end of the operation was journalled, its
	// audit was not.
	FaultEnd = "after-end"
)

// reached tells Options.Fault about one moment, which may carry several names:
// steps share appends.
func (r *run) reached(points ...string) {
	if r.e.Fault != nil && len(points) > 0 {
		r.e.Fault(points)
	}
}

// journalled names the moment after an append.
func (r *run) journalled(events []operation.Event) {
	var points []string
	for _, ev := range events {
		switch ev := ev.(type) {
		case operation.StepStarted:
			points = append(points, FaultIntent+":"+ev.Step)
		case operation.StepFinished:
			points = append(points, FaultOutcome+":"+ev.Step)
		case operation.Finished:
			points = append(points, FaultEnd)
		}
	}
	r.reached(points...)
}
