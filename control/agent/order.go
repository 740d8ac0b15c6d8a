package agent

import (
	"errors"
	"time"

	"baton/control/agent/fence"
	"baton/control/agent/supervise"
	"baton/control/engine"
)

// Order is one thing the control plane asks of an agent. It carries the
// cluster's generation and the control plane's term: an agent that has seen a
// higher pair for the cluster answers CodeStale, also after its own restart.
type Order struct {
	// ID is unique per order. An agent that receives an ID again answers with
	// the result it has, or attaches to the running one.
	ID        string
	Operation string // operation id, for logs and audit
	Step      string // step id
	Cluster   string
	Node      string // instance name; empty for actions on the agent itself
	// Generation and Term are compared as a pair, Generation first. An order
	// with Cluster "" is not fenced.
	Generation uint64
	Term       uint64
	// Timeout counts from the moment the order is sent, and an order that was
	// held up longer on its way is refused with CodeDeadline. Required, > 0.
	Timeout time.Duration
	Action  engine.Action
}

// Result is the agent's answer to an order that reached it.
type Result struct {
	// Code is "" when done; else one of the codes below or of engine.ActionError.
	Code   string
	Detail string            // one sentence, set when Code is not ""
	Fix    string            // what to do, may be empty
	Values map[string]string // see the action's constant
	// StartedAt and EndedAt are on the agent's clock.
	StartedAt time.Time
	EndedAt   time.Time
}

// OK tells whether the order was done.
func (r Result) OK() bool { return r.Code == "" }

// Codes of Result beside those of engine.ActionError.
const (
	CodeStale           = "STALE"            // a higher (generation, term) was seen for the cluster; nothing done
	CodeDeadline        = "deadline"         // the order arrived too late; nothing done
	CodeUnknownInstance = "unknown-instance" // this agent has no such instance; nothing done
	CodeBusy            = "busy"             // too many orders wait at the agent; nothing done
)

// Errors of sending an order (see hub.Hub.Order).
var (
	// ErrNotConnected: the agent has no link now; nothing was sent.
	ErrNotConnected = errors.New("agent is not connected")
	// ErrOutcomeUnknown: the order was sent and no answer came. Send the same
	// order (same ID) again, or read the state back.
	ErrOutcomeUnknown = errors.New("order was sent but its outcome is unknown")
)

// Agent-side actions beside those of package engine. Orders with these have an
// empty Node, and an empty Cluster where the action is not about one cluster.
const (
	// ActionFence persists the order's (generation, term) and does nothing else.
	ActionFence = "fence"
	// ActionInstancePut{instance}: JSON of engine.Instance; the agent observes
	// it from now on, also after a restart.
	ActionInstancePut = "instance-put"
	// ActionInstanceRemove{node}: the agent forgets the instance; its process goes on.
	ActionInstanceRemove = "instance-remove"
	// ActionProcessStart{spec}: JSON of supervise.Spec; starts it unless it runs, keeps it
	// running. Values: "pid", "alreadyDone".
	ActionProcessStart = "process-start"
	// ActionProcessStop{name,graceMs[,remove]}: ends the process and keeps it
	// stopped; with remove "true" the spec is forgotten too.
	ActionProcessStop = "process-stop"
	// ActionProcessResume{name,args}: starts a process the agent knows and keeps
	// stopped, this once with further arguments (JSON list); unless it runs.
	// Values: "pid", "alreadyDone".
	ActionProcessResume = "process-resume"
	// ActionPing answers at once. Values: "time" (agent's clock, RFC 3339 with nanoseconds).
	ActionPing = "ping"
)

// ReportInterval is how often an agent reports.
const ReportInterval = 500 * time.Millisecond

// MaxReportInterval is the rarest an agent reports, whatever it is asked for: what
// was reported must not be taken for stale before the next report.
const MaxReportInterval = 2 * time.Second

// Report is everything an agent knows about its host at one moment.
type Report struct {
	Agent   string `json:"agent"` // agent id
	Name    string `json:"name"`  // host name shown to people
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// At is the agent's clock; ReceivedAt the control plane's.
	At         time.Time `json:"at"`
	ReceivedAt time.Time `json:"receivedAt"`
	// Sequence counts the reports of one agent process from 1.
	Sequence  uint64                `json:"sequence,string"`
	Host      engine.HostFacts      `json:"host"`
	Instances []InstanceReport      `json:"instances"` // sorted by cluster, node
	Processes []engine.ProcessState `json:"processes"` // sorted by name
	// Programs of engines found on the host, sorted by engine and version.
	Programs []engine.Program `json:"programs,omitempty"`
	// Endpoints is nil for an agent that can serve none.
	Endpoints *EndpointsReport `json:"endpoints,omitempty"`
	// Fences are the highest pairs seen, by cluster.
	Fences map[string]Fence `json:"fences,omitempty"`
	// Leases are this host's ends of leases, sorted by cluster and node.
	Leases []LeaseState `json:"leases,omitempty"`
	// PeerAddress is host:port at which other agents ask it for promises; Promises
	// are those it gave, sorted by cluster.
	PeerAddress string         `json:"peerAddress,omitempty"`
	Promises    []PromiseState `json:"promises,omitempty"`
	Rosters     []RosterState  `json:"rosters,omitempty"`
	// Disk is the volume of the agent's own directory.
	Disk *engine.DiskFacts `json:"disk,omitempty"`
	// Limits are what became of limits on who may connect, sorted by cluster.
	Limits []LimitState `json:"limits,omitempty"`
	// Supervision is how databases are kept running on this host.
	Supervision string `json:"supervision,omitempty"`
}

// Kinds of supervision.
const (
	SupervisionChild   = supervise.KindChild
	SupervisionSystemd = supervise.KindSystemd
)

// InstanceReport is one instance in a report. No secrets are in it.
type InstanceReport struct {
	Cluster     string               `json:"cluster"`
	Node        string               `json:"node"`
	Engine      string               `json:"engine"`
	Address     string               `json:"address"`
	Process     string               `json:"process,omitempty"`
	Disk        *engine.DiskFacts    `json:"disk,omitempty"`
	Observation *engine.Observation  `json:"observation,omitempty"` // nil before the first look
	ProcessInfo *engine.ProcessState `json:"processInfo,omitempty"`
}

// Fence is the highest (generation, term) an agent accepted for a cluster.
type Fence = fence.Pair
