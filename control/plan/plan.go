// Package plan decides, from facts, what a promotion would do or why it will
// not be done. It is pure, and its plan is specific enough that running it
// leaves no choice: the preview a person confirms is the plan that runs.
//
// Evaluate makes the report of one node: every check with its measured value,
// thresholds, verdict, reason and repair. Promote makes the plan: the report,
// the steps with the one point of no return, the expected stall, or refusals.
//
// An unknown value counts as a refusal: nothing is promoted on a guess.
package plan

import (
	"fmt"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// StallBudget bounds how long writes may wait; beyond it, before the point of
// no return, everything is taken back. The same for both engines.
const StallBudget = 2 * time.Second

// Facts are everything a decision may depend on.
type Facts struct {
	health.Snapshot
	// Generation is the cluster's present generation; a promotion makes it one
	// higher.
	Generation uint64
	// Running is the operation that holds the cluster, "" when none does, with
	// a sentence about it.
	Running, RunningWhat string
	// LastChange is when the primary last moved by an operation; zero: never.
	LastChange time.Time
	// PastStalls are the measured stalls of this cluster's last promotions.
	PastStalls []time.Duration
	// Journal says whether the control plane can write its journal, and if
	// not why.
	JournalOK  bool
	JournalWhy string
	// Connected holds the agents with a link at this moment.
	Connected map[string]bool
}

// Candidate returns the node asked for.
func (f *Facts) Candidate(name string) *health.Node { return f.Node(name) }

// Verdict of a check.
type Verdict string

// Verdicts. Unknown is treated as Refuse.
const (
	Pass    Verdict = "pass"
	Warn    Verdict = "warn"
	Refuse  Verdict = "refuse"
	Unknown Verdict = "unknown"
)

// Check is one line of a report.
type Check struct {
	ID          string  `json:"id"`
	Subject     string  `json:"subject"`
	Measured    string  `json:"measured"`
	Unit        string  `json:"unit,omitempty"`
	WarnAt      string  `json:"warnAt,omitempty"`
	RefuseAt    string  `json:"refuseAt,omitempty"`
	Verdict     Verdict `json:"verdict"`
	Overridable bool    `json:"overridable,omitempty"`
	Why         string  `json:"why,omitempty"`
	Fix         string  `json:"fix,omitempty"`
	// ok is why when the check passes; "it is not known whether ok" when unknown.
	ok string
	// sampled marks a number that moves by itself from second to second.
	sampled bool
}

// Report answers whether a node may be promoted.
type Report struct {
	Node       string    `json:"node"`
	Promotable bool      `json:"promotable"`
	Reason     string    `json:"reason"`
	Hash       string    `json:"hash"`
	Generation uint64    `json:"generation,string"`
	At         time.Time `json:"at"`
	Checks     []Check   `json:"checks"`
}

// Refusals returns the checks that stand in the way, leaving out overridable
// ones named in overrides.
func (r *Report) Refusals(overrides ...string) []Check {
	over := map[string]bool{}
	for _, id := range overrides {
		over[id] = true
	}
	var out []Check
	for _, c := range r.Checks {
		if (c.Verdict == Refuse || c.Verdict == Unknown) && !(c.Overridable && over[c.ID]) {
			out = append(out, c)
		}
	}
	return out
}

// Refusal is a reason not to promote.
type Refusal struct {
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

// Step is one step of a plan. Node and Command say for people what happens
// where; the executor's procedure has a step of the same ID.
type Step struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Command string `json:"command"`
	Node    string `json:"node"`
	// PointOfNoReturn marks the one step after whose intent the operation only
	// goes forward.
	PointOfNoReturn bool `json:"pointOfNoReturn,omitempty"`
	// Undo says how the step is taken back before the point of no return, or
	// why it need not or cannot be.
	Undo string `json:"undo"`
	// Timeout bounds one attempt of the step.
	Timeout time.Duration `json:"timeoutNs"`
}

// Plan is what an operation would do: of a promotion, what promoting Node would.
type Plan struct {
	// Kind is one of package operation's constants; "" in plans of promotions
	// that nobody has asked for yet.
	Kind string `json:"kind,omitempty"`
	// Title says in a sentence without a stop what the operation does, for kinds
	// other than promotions: "add node c3 to cluster cache on host db-7".
	Title string `json:"title,omitempty"`
	// Args are what the steps need to know beside the fields below, by names
	// that the kind's procedure defines. They are journalled: no secret is in
	// them in clear.
	Args map[string]string `json:"args,omitempty"`

	Cluster string `json:"cluster"`
	Engine  string `json:"engine"`
	Node    string `json:"node"`
	// From is the present primary.
	From string `json:"from"`
	// Siblings are the other members that must follow the new primary, sorted.
	Siblings []string `json:"siblings,omitempty"`
	// Addresses are host:port of every member, by name.
	Addresses  map[string]string `json:"addresses"`
	Report     Report            `json:"report"`
	Refusals   []Refusal         `json:"refusals,omitempty"`
	Steps      []Step            `json:"steps"`
	Generation uint64            `json:"generation,string"`
	// Fixed is the part of the expected stall that does not depend on lag,
	// CatchUp the part that does.
	Fixed        time.Duration `json:"fixedNs"`
	CatchUp      time.Duration `json:"catchUpNs"`
	Budget       time.Duration `json:"budgetNs"`
	PossibleLoss string        `json:"possibleLoss"`
}

// Arg returns an argument or "".
func (p *Plan) Arg(name string) string { return p.Args[name] }

// Refuse adds a reason not to run the plan.
func (p *Plan) Refuse(code, title, detail, fix string) {
	p.Refusals = append(p.Refusals, Refusal{Code: code, Title: title, Detail: detail, Fix: fix})
}

// Commits tells whether the plan moves the primary: whether it has the step
// that commits a generation, which then is the point of no return.
func (p *Plan) Commits() bool {
	for i := range p.Steps {
		if p.Steps[i].ID == StepCommit {
			return true
		}
	}
	return false
}

// Refused tells whether the plan will not run.
func (p *Plan) Refused() bool { return len(p.Refusals) > 0 }

// ExpectedStall is the fixed part and the catch-up together.
func (p *Plan) ExpectedStall() time.Duration { return p.Fixed + p.CatchUp }

// Default fixed stalls where a cluster has no history of its own, as measured
// on loopback.
const (
	redisStall      = 8 * time.Millisecond
	eventStoreStall = 30 * time.Millisecond
)

// Promote plans a promotion of node. The steps are there even when it is
// refused, so that a person sees what would happen after repairs.
func Promote(f *Facts, node string, overrides ...string) Plan {
	p := Plan{Cluster: f.Cluster, Engine: f.Engine, Node: node, Generation: f.Generation,
		Budget: StallBudget, Addresses: map[string]string{}}
	p.Report = Evaluate(f, node)
	for _, c := range p.Report.Refusals(overrides...) {
		p.Refusals = append(p.Refusals, Refusal{Code: c.ID, Title: c.Why,
			Detail: fmt.Sprintf("%s of %s is %s, refused at %s", c.ID, c.Subject, c.Measured, c.RefuseAt), Fix: c.Fix})
	}
	primary := f.Primary()
	if primary != nil {
		p.From = primary.Name
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		p.Addresses[n.Name] = n.Address
		if n.Name != node && n.Name != p.From && !n.Down() {
			p.Siblings = append(p.Siblings, n.Name)
		}
	}
	p.Fixed = median(f.PastStalls)
	candidate := f.Node(node)
	p.CatchUp = catchUp(candidate)
	switch f.Engine {
	case engine.Redis:
		if p.Fixed == 0 {
			p.Fixed = redisStall
		}
		p.PossibleLoss = "nothing: writes pause until " + node + " holds every acknowledged one"
		redisSteps(&p)
	case engine.EventStore:
		if p.Fixed == 0 {
			p.Fixed = eventStoreStall
		}
		p.PossibleLoss = "nothing: only a node that holds every acknowledged write can be elected"
		eventStoreSteps(&p, candidate)
	}
	return p
}

// median of the durations, 0 when there is none.
func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := append([]time.Duration(nil), d...)
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s[len(s)/2]
}

// catchUpBytesPerSecond is the apply rate assumed where none is measured:
// what one core applies of small writes with room to spare.
const catchUpBytesPerSecond = 64 << 20

// catchUp is how long writes would wait for the node. A clone catches up
// before, while they go on.
func catchUp(n *health.Node) time.Duration {
	if n == nil || !n.Up() || n.Seen.LagBytes <= 0 || n.Role() == engine.RoleClone {
		return 0
	}
	return time.Duration(float64(n.Seen.LagBytes) / catchUpBytesPerSecond * float64(time.Second))
}
