// Package operation is the life of one operation on a cluster, rebuilt from
// its events alone: which steps ran, on which side of the point of no return
// it is, which generation it committed, how it ended. It is pure.
//
// The executor appends an event before it acts (intent) and one after
// (outcome); whoever reads the events afterwards knows exactly as much as the
// executor knew, and continues or takes back.
//
//	requested -> running -> done
//	                    \-> rolling-back -> rolled-back     (before the point of no return)
//	                    \-> rolled-back                     (after it, when the old primary was re-confirmed under a new generation)
//	                    \-> needs-human
//
// A kind that moves the primary (Moves) has its point of no return where it
// commits a generation. Others may mark one step as theirs: until its intent
// is journalled everything is taken back on failure, afterwards it goes
// forward. Without a marked step everything may be taken back to the end.
package operation

import (
	"encoding/json"
	"fmt"
	"time"

	"baton/control/plan"
)

// Kinds of operations.
const (
	Promotion       = "promotion"
	SwitchBack      = "switch-back"
	Failover        = "failover"         // the old primary does not help
	ForcedPromotion = "forced-promotion" // a person accepts that writes may be lost
	CreateCluster   = "create-cluster"
	AdoptCluster    = "adopt-cluster"
	AddNode         = "add-node"
	RemoveNode      = "remove-node"
	DeleteCluster   = "delete-cluster"
	Configure       = "configure" // parameters, users, what follows from settings
	Resync          = "resync"
	Maintenance     = "maintenance"
	Backup          = "backup"
	Restore         = "restore"
	RestoreDrill    = "restore-drill"
	RollingRestart  = "rolling-restart" // every server, one after the other, the primary last
)

// Kinds are all of them, in the order above.
var Kinds = []string{Promotion, SwitchBack, Failover, ForcedPromotion, CreateCluster, AdoptCluster, AddNode, RemoveNode,
	DeleteCluster, Configure, Resync, Maintenance, Backup, Restore, RestoreDrill, RollingRestart}

// Moves tells whether operations of a kind may commit a generation. All others
// leave the primary where it is.
func Moves(kind string) bool {
	switch kind {
	case Promotion, SwitchBack, Failover, ForcedPromotion, Restore, RollingRestart:
		return true
	}
	return false
}

// Role is a node's role at one moment.
type Role struct {
	Node string `json:"node"`
	Role string `json:"role"`
}

// Stall is the measured write stall in milliseconds; nil was not measured.
type Stall struct {
	ProbeMs *float64 `json:"probeMs"`
	AgentMs *float64 `json:"agentMs"`
}

// Longest is the larger of the two measurements, nil when there is none.
func (s *Stall) Longest() *float64 {
	switch {
	case s == nil:
		return nil
	case s.ProbeMs == nil:
		return s.AgentMs
	case s.AgentMs == nil || *s.ProbeMs >= *s.AgentMs:
		return s.ProbeMs
	}
	return s.AgentMs
}

// Proof says what was lost and how that is known; nil numbers were not
// measured.
type Proof struct {
	Acked       *int64 `json:"acked"`
	ReadBack    *int64 `json:"readBack"`
	Lost        *int64 `json:"lost"`
	Sentence    string `json:"sentence"`
	PositionOld string `json:"positionOld"`
	PositionNew string `json:"positionNew"`
}

// Event is one thing that happened to an operation.
type Event interface{ kind() string }

// Events of an operation, in the order they may come.
type (
	// Requested begins an operation. Appending it at the cluster's revision is
	// what takes the cluster's lock.
	Requested struct {
		Operation   string    `json:"operation"`
		Kind        string    `json:"kind"`
		UndoOf      string    `json:"undoOf,omitempty"`
		Requester   string    `json:"requester"`
		Role        string    `json:"role"`
		Source      string    `json:"source"`
		IP          string    `json:"ip"`
		Reason      string    `json:"reason,omitempty"`
		Overrides   []string  `json:"overrides,omitempty"`
		Plan        plan.Plan `json:"plan"`
		RolesBefore []Role    `json:"rolesBefore"`
		At          time.Time `json:"at"`
		// Approver let it go on where that takes two; Waited is the record it
		// waited as, for that or for its time.
		Approver string `json:"approver,omitempty"`
		Waited   string `json:"waited,omitempty"`
		// Rejected are the other nodes with the first reason against each.
		Rejected []Role `json:"rejected,omitempty"`
	}
	// StepStarted is the intent of a step.
	StepStarted struct {
		Operation  string    `json:"operation"`
		Step       string    `json:"step"`
		Generation uint64    `json:"generation,string"`
		Term       uint64    `json:"term,string"`
		At         time.Time `json:"at"`
	}
	// StepFinished is the outcome of a step. Values are what the agents
	// answered and later steps need.
	StepFinished struct {
		Operation string            `json:"operation"`
		Step      string            `json:"step"`
		Failed    bool              `json:"failed,omitempty"`
		Detail    string            `json:"detail,omitempty"`
		Values    map[string]string `json:"values,omitempty"`
		At        time.Time         `json:"at"`
	}
	// Committed is the point of no return, and after it each change of the
	// candidate: Node is the primary of Generation.
	Committed struct {
		Operation  string    `json:"operation"`
		Node       string    `json:"node"`
		Generation uint64    `json:"generation,string"`
		Why        string    `json:"why,omitempty"`
		At         time.Time `json:"at"`
	}
	// RollingBack says that the steps so far are being taken back.
	RollingBack struct {
		Operation string    `json:"operation"`
		Why       string    `json:"why"`
		At        time.Time `json:"at"`
	}
	// StepUndone says that a step was taken back.
	StepUndone struct {
		Operation string    `json:"operation"`
		Step      string    `json:"step"`
		Detail    string    `json:"detail,omitempty"`
		At        time.Time `json:"at"`
	}
	// Finished ends an operation and gives the cluster's lock back.
	Finished struct {
		Operation  string    `json:"operation"`
		State      State     `json:"state"`
		Outcome    string    `json:"outcome"`
		Stall      *Stall    `json:"stall,omitempty"`
		Proof      *Proof    `json:"proof,omitempty"`
		RolesAfter []Role    `json:"rolesAfter,omitempty"`
		At         time.Time `json:"at"`
	}
)

func (Requested) kind() string    { return "operation-requested" }
func (StepStarted) kind() string  { return "step-started" }
func (StepFinished) kind() string { return "step-finished" }
func (Committed) kind() string    { return "generation-committed" }
func (RollingBack) kind() string  { return "rolling-back" }
func (StepUndone) kind() string   { return "step-undone" }
func (Finished) kind() string     { return "operation-finished" }

// Encode returns an event's type and JSON for the journal.
func Encode(e Event) (kind string, data []byte, err error) {
	data, err = json.Marshal(e)
	return e.kind(), data, err
}

// Decode is the inverse of Encode. An event that is not of an operation
// yields nil without an error.
func Decode(kind string, data []byte) (Event, error) {
	switch kind {
	case Requested{}.kind():
		return decode[Requested](data)
	case StepStarted{}.kind():
		return decode[StepStarted](data)
	case StepFinished{}.kind():
		return decode[StepFinished](data)
	case Committed{}.kind():
		return decode[Committed](data)
	case RollingBack{}.kind():
		return decode[RollingBack](data)
	case StepUndone{}.kind():
		return decode[StepUndone](data)
	case Finished{}.kind():
		return decode[Finished](data)
	}
	return nil, nil
}

func decode[E Event](data []byte) (Event, error) {
	var e E
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("decode %s: %w", e.kind(), err)
	}
	return e, nil
}

// ID returns the operation an event belongs to.
func ID(e Event) string {
	switch e := e.(type) {
	case Requested:
		return e.Operation
	case StepStarted:
		return e.Operation
	case StepFinished:
		return e.Operation
	case Committed:
		return e.Operation
	case RollingBack:
		return e.Operation
	case StepUndone:
		return e.Operation
	case Finished:
		return e.Operation
	}
	return ""
}
