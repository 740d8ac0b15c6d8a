package operation

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"baton/control/plan"
)

// State of an operation.
type State string

// States. Requested until the first step starts; Running until it ends;
// RollingBack while steps are taken back; the others are final.
const (
	StateNone        State = ""
	StateRequested   State = "requested"
	StateRunning     State = "running"
	StateRollingBack State = "rolling-back"
	StateDone        State = "done"
	StateRolledBack  State = "rolled-back"
	StateNeedsHuman  State = "needs-human"
)

// Final tells whether nothing more will happen to the operation.
func (s State) Final() bool {
	return s == StateDone || s == StateRolledBack || s == StateNeedsHuman
}

// StepState of one step.
type StepState string

// Step states. Skipped steps were never begun when the operation ended.
const (
	StepPending StepState = "pending"
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepWasUndo StepState = "undone"
	StepSkipped StepState = "skipped"
)

// StepRecord is a planned step and how it went.
type StepRecord struct {
	plan.Step
	State     StepState `json:"state"`
	StartedAt time.Time `json:"startedAt,omitzero"` // zero: never
	EndedAt   time.Time `json:"endedAt,omitzero"`   // zero: not yet
	Detail    string    `json:"detail,omitempty"`
}

// Operation is the state after some events. The zero value is before any.
type Operation struct {
	Requested
	State State
	// Candidate is the node that is or becomes primary: the plan's node, until
	// a Committed names another.
	Candidate string
	// Generation that orders carry: the cluster's before the point of no
	// return, the committed one after it.
	Generation uint64
	// Past tells that the point of no return was passed: the commit of a
	// generation, or in a plan that commits none the intent of the step that is
	// marked. An operation without either is taken back until it is done.
	Past  bool
	Steps []StepRecord
	// Values collects what agents answered, by "step/value".
	Values map[string]string
	// Why is the reason of rolling back or of the last change of candidate.
	Why        string
	Outcome    string
	Stall      *Stall
	Proof      *Proof
	RolesAfter []Role
	EndedAt    time.Time
}

// transition is one allowed change: an event that may come in the states From,
// on the side of the point of no return given by past (nil: on either side).
type transition struct {
	event string
	from  []State
	past  *bool
	to    State // StateNone keeps the state
}

var (
	before = new(bool)
	after  = func() *bool { b := true; return &b }()
)

// transitions is the whole state machine. A Finished is checked by finishes.
var transitions = []transition{
	{Requested{}.kind(), []State{StateNone}, nil, StateRequested},
	{StepStarted{}.kind(), []State{StateRequested, StateRunning}, nil, StateRunning},
	{StepFinished{}.kind(), []State{StateRunning}, nil, StateNone},
	{Committed{}.kind(), []State{StateRunning}, nil, StateNone},
	{RollingBack{}.kind(), []State{StateRequested, StateRunning}, before, StateRollingBack},
	{StepUndone{}.kind(), []State{StateRollingBack}, before, StateNone},
	{Finished{}.kind(), []State{StateRunning, StateRollingBack}, nil, StateNone},
}

// finishes are the ends allowed from each state.
var finishes = []transition{
	{string(StateDone), []State{StateRunning}, after, StateDone},
	{string(StateRolledBack), []State{StateRollingBack}, before, StateRolledBack},
	// After the point of no return the old primary may be confirmed again,
	// under a generation of its own.
	{string(StateRolledBack), []State{StateRunning}, after, StateRolledBack},
	{string(StateNeedsHuman), []State{StateRunning, StateRollingBack}, nil, StateNeedsHuman},
}

func find(table []transition, event string, s State, past bool) (transition, bool) {
	for _, t := range table {
		if t.event == event && slices.Contains(t.from, s) && (t.past == nil || *t.past == past) {
			return t, true
		}
	}
	return transition{}, false
}

// Apply returns the operation after an event. An event that cannot come now is
// an error and changes nothing.
func Apply(o Operation, e Event) (Operation, error) {
	t, ok := find(transitions, e.kind(), o.State, o.Past)
	if !ok {
		return o, fmt.Errorf("%s cannot come while operation %s is %q", e.kind(), o.Operation, o.State)
	}
	if id := ID(e); o.State != StateNone && id != o.Operation {
		return o, fmt.Errorf("%s is of operation %s, not %s", e.kind(), id, o.Operation)
	}
	o.Steps = slices.Clone(o.Steps)
	switch e := e.(type) {
	case Requested:
		o.Requested, o.Candidate, o.Generation = e, e.Plan.Node, e.Plan.Generation
		o.Steps, o.Values = nil, nil
		for _, s := range e.Plan.Steps {
			o.Steps = append(o.Steps, StepRecord{Step: s, State: StepPending})
		}
	case StepStarted:
		s := o.step(e.Step)
		if s == nil || s.State == StepDone {
			return o, fmt.Errorf("operation %s cannot start step %q", o.Operation, e.Step)
		}
		if s.StartedAt.IsZero() {
			s.StartedAt = e.At
		}
		if s.PointOfNoReturn && !o.Plan.Commits() {
			o.Past = true // where nothing is committed the intent itself is the point
		}
		s.State, s.EndedAt, s.Detail = StepRunning, time.Time{}, ""
	case StepFinished:
		s := o.step(e.Step)
		if s == nil || s.State != StepRunning {
			return o, fmt.Errorf("operation %s cannot finish step %q", o.Operation, e.Step)
		}
		s.State, s.EndedAt, s.Detail = StepDone, e.At, e.Detail
		if e.Failed {
			s.State = StepFailed
		}
		o.Values = maps.Clone(o.Values)
		if o.Values == nil {
			o.Values = map[string]string{}
		}
		for k, v := range e.Values {
			o.Values[e.Step+"/"+k] = v
		}
	case Committed:
		if !Moves(o.Kind) {
			return o, fmt.Errorf("operation %s is a %s, which does not move the primary", o.Operation, o.Kind)
		}
		if e.Generation <= o.Generation {
			return o, fmt.Errorf("operation %s cannot commit generation %d at %d", o.Operation, e.Generation, o.Generation)
		}
		o.Past, o.Candidate, o.Generation, o.Why = true, e.Node, e.Generation, e.Why
	case RollingBack:
		o.Why = e.Why
	case StepUndone:
		s := o.step(e.Step)
		if s == nil || s.State == StepPending {
			return o, fmt.Errorf("operation %s cannot undo step %q", o.Operation, e.Step)
		}
		s.State, s.EndedAt = StepWasUndo, e.At
		if e.Detail != "" {
			s.Detail = e.Detail
		}
	case Finished:
		past := o.Past || o.State == StateRunning && !o.Plan.Commits() && o.Next() < 0
		if t, ok = find(finishes, string(e.State), o.State, past); !ok {
			return o, fmt.Errorf("operation %s cannot end %q from %q (past the point of no return: %v)", o.Operation, e.State, o.State, o.Past)
		}
		o.Outcome, o.Stall, o.Proof, o.RolesAfter, o.EndedAt = e.Outcome, e.Stall, e.Proof, e.RolesAfter, e.At
		for i := range o.Steps {
			switch o.Steps[i].State {
			case StepPending:
				o.Steps[i].State = StepSkipped
			case StepRunning:
				o.Steps[i].State, o.Steps[i].EndedAt = StepFailed, e.At
			}
		}
	}
	if t.to != StateNone {
		o.State = t.to
	}
	return o, nil
}

// Rebuild applies events in order.
func Rebuild(events ...Event) (Operation, error) {
	var o Operation
	for i, e := range events {
		var err error
		if o, err = Apply(o, e); err != nil {
			return o, fmt.Errorf("event %d: %w", i, err)
		}
	}
	return o, nil
}

func (o *Operation) step(id string) *StepRecord {
	for i := range o.Steps {
		if o.Steps[i].ID == id {
			return &o.Steps[i]
		}
	}
	return nil
}

// Step returns the record of a step; ok is false when the plan has none.
func (o *Operation) Step(id string) (StepRecord, bool) {
	if s := o.step(id); s != nil {
		return *s, true
	}
	return StepRecord{}, false
}

// Next is the first step that is not done, -1 when all are.
func (o *Operation) Next() int {
	for i := range o.Steps {
		if o.Steps[i].State != StepDone {
			return i
		}
	}
	return -1
}

// UndoWindow is how long a promotion may be switched back: the same operation
// with the roles exchanged, not a rollback, so nothing written since is lost.
const UndoWindow = 24 * time.Hour

// UndoUntil tells until when the operation may be switched back; ok is false
// when it never may.
func (o *Operation) UndoUntil() (until time.Time, ok bool) {
	if o.Kind != Promotion && o.Kind != SwitchBack || o.State != StateDone || o.Candidate == o.Plan.From || o.Plan.From == "" {
		return time.Time{}, false
	}
	return o.EndedAt.Add(UndoWindow), true
}
