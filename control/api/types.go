package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Int64 crosses to JavaScript as a decimal string, because a JavaScript number
// holds 53 bits and positions use 64.
type Int64 int64

// MarshalJSON writes the number as a quoted decimal.
func (i Int64) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, strconv.FormatInt(int64(i), 10)), nil
}

// UnmarshalJSON reads a quoted decimal; a bare number is accepted too, so that
// scripts may send what they computed.
func (i *Int64) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	if err != nil {
		return err
	}
	*i = Int64(n)
	return nil
}

// Schema documents the string form.
func (Int64) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^-?[0-9]+$`, Description: "64-bit integer as a decimal string"}
}

func int64p(n int64) *Int64 { i := Int64(n); return &i }

// nullable marks properties whose Go type is a pointer to a named schema as
// "that schema or null"; huma itself does so only for scalars.
func nullable(s *huma.Schema, names ...string) *huma.Schema {
	for _, n := range names {
		p, ok := s.Properties[n]
		if !ok {
			panic("api: no property " + n)
		}
		s.Properties[n] = &huma.Schema{OneOf: []*huma.Schema{p, {Type: "null"}}, Description: p.Description}
	}
	return s
}

// VerdictLevel says how far a cluster is from losing data or service.
type VerdictLevel string

// Levels, from best to worst; unknown is not a kind of good.
const (
	LevelHealthy  VerdictLevel = "healthy"
	LevelDegraded VerdictLevel = "degraded"
	LevelAtRisk   VerdictLevel = "at-risk"
	LevelDown     VerdictLevel = "down"
	LevelUnknown  VerdictLevel = "unknown"
)

// Verdict is the one sentence that answers "is it well?".
type Verdict struct {
	Level    VerdictLevel `json:"level" enum:"healthy,degraded,at-risk,down,unknown"`
	Sentence string       `json:"sentence" example:"Healthy: can lose 1 node without losing a write"`
}

// PrimaryRef names the node that takes the writes.
type PrimaryRef struct {
	Node     string `json:"node"`
	Location string `json:"location"`
}

// RoleChange is the last time the primary moved.
type RoleChange struct {
	At          time.Time `json:"at"`
	Sentence    string    `json:"sentence"`
	OperationID *string   `json:"operationId"`
}

// ClusterSummary is a row of the Clusters page.
type ClusterSummary struct {
	ID               string      `json:"id"`
	Name             string      `json:"name"`
	Engine           string      `json:"engine" enum:"eventstore,redis"`
	Version          string      `json:"version"`
	Verdict          Verdict     `json:"verdict"`
	Primary          *PrimaryRef `json:"primary"`
	MembersUp        int         `json:"membersUp"`
	MembersTotal     int         `json:"membersTotal"`
	WorstLagBytes    *Int64      `json:"worstLagBytes" doc:"null when no replica's lag is known"`
	WritesPerSecond  *float64    `json:"writesPerSecond" doc:"null when not observed"`
	WritesHistory    []float64   `json:"writesHistory" doc:"writes per second, one value per second, oldest first, at most 60"`
	LastRoleChange   *RoleChange `json:"lastRoleChange"`
	Generation       Int64       `json:"generation"`
	ObservedAt       *time.Time  `json:"observedAt" doc:"newest observation of any member; null when never seen"`
	RunningOperation *string     `json:"runningOperation"`
}

// TransformSchema documents which references may be null.
func (ClusterSummary) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "primary", "lastRoleChange", "worstLagBytes")
}

// Link is one replication link.
type Link struct {
	From       string   `json:"from"`
	To         string   `json:"to"`
	Kind       string   `json:"kind" enum:"sync,async"`
	LagBytes   *Int64   `json:"lagBytes"`
	LagSeconds *float64 `json:"lagSeconds"`
	Up         bool     `json:"up"`
}

// TransformSchema documents which references may be null.
func (Link) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "lagBytes")
}

// Connection is one connection string to copy.
type Connection struct {
	Label string `json:"label"`
	Value string `json:"value"`
	Help  string `json:"help"`
}

// NodeStatus is how a node is, in one sentence.
type NodeStatus struct {
	Level    string `json:"level" enum:"up,degraded,down,unknown"`
	Sentence string `json:"sentence"`
}

// Promotable answers whether a node may become primary, and why not.
type Promotable struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason"`
}

// Hardware is what the agent found on the host; null fields were not found.
type Hardware struct {
	Cores          int    `json:"cores"`
	MemoryBytes    Int64  `json:"memoryBytes"`
	DiskFreeBytes  Int64  `json:"diskFreeBytes"`
	DiskTotalBytes Int64  `json:"diskTotalBytes"`
	Model          string `json:"model"`
}

// Node is a row of the Nodes tab.
type Node struct {
	Name          string     `json:"name"`
	Role          string     `json:"role" enum:"leader,follower,clone,read-only replica,primary,replica,unknown"`
	ShouldBe      *string    `json:"shouldBe" doc:"the role our record wants, when it differs from role"`
	Status        NodeStatus `json:"status"`
	Promotable    Promotable `json:"promotable"`
	LagBytes      *Int64     `json:"lagBytes"`
	LagSeconds    *float64   `json:"lagSeconds"`
	Priority      int        `json:"priority"`
	Hardware      *Hardware  `json:"hardware"`
	Provider      string     `json:"provider"`
	Location      string     `json:"location"`
	Address       string     `json:"address"`
	EngineVersion string     `json:"engineVersion"`
	Position      *Int64     `json:"position"`
	Term          *Int64     `json:"term"`
	LastUpdate    *time.Time `json:"lastUpdate"`
	ObservedBy    string     `json:"observedBy"`
	Agent         string     `json:"agent"`
	PID           *int       `json:"pid"`
	Tags          NodeTags   `json:"tags"`
}

// TransformSchema documents which references may be null.
func (Node) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "hardware", "lagBytes", "position", "term")
}

// AuditRow is one attempt on a cluster, as a sentence.
type AuditRow struct {
	ID          string    `json:"id"`
	At          time.Time `json:"at"`
	Who         string    `json:"who"`
	Role        string    `json:"role"`
	Source      string    `json:"source" enum:"ui,cli,api,auto"`
	IP          string    `json:"ip"`
	What        string    `json:"what"`
	Cluster     string    `json:"cluster"`
	Node        string    `json:"node"`
	Outcome     string    `json:"outcome" enum:"done,refused,cancelled,rolled-back,running,failed"`
	StallMs     *float64  `json:"stallMs"`
	OperationID *string   `json:"operationId"`
	Detail      string    `json:"detail"`
	Kind        string    `json:"kind" doc:"what it was about: a kind of operation, sign-in, people, alert, schedule, attempt ..."`
	Hash        string    `json:"hash" doc:"hash of this record, which covers the one before it; empty while running"`
}

// Capability tells whether an act is possible with a cluster at all.
type Capability struct {
	Action string `json:"action" enum:"add-node,remove-node,resync,parameters,restart-parameters,users,backup,restore-in-place"`
	OK     bool   `json:"ok"`
	Why    string `json:"why" doc:"a sentence when it is not"`
}

// ClusterDetail is everything the cluster page shows.
type ClusterDetail struct {
	ClusterSummary
	Nodes       []Node       `json:"nodes"`
	Links       []Link       `json:"links"`
	Connections []Connection `json:"connections"`
	Activity    []AuditRow   `json:"activity" doc:"newest first, at most 10"`
	Durability  string       `json:"durability"`
	// Capabilities are acts that may be impossible for this cluster for good.
	Capabilities []Capability `json:"capabilities"`
	// Lease and Failover are null where this control node keeps none.
	Lease    *LeaseView    `json:"lease"`
	Failover *FailoverView `json:"failover"`
	// Failsafe is null unless the primary goes on without the control plane.
	Failsafe *FailsafeView `json:"failsafe"`
}

// TransformSchema documents which references may be null. It replaces the
// method promoted from ClusterSummary, whose properties are the same here.
func (ClusterDetail) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(ClusterSummary{}.TransformSchema(r, s), "lease", "failover", "failsafe")
}

// Check is one line of a pre-flight report.
type Check struct {
	ID          string `json:"id" example:"lag.bytes"`
	Subject     string `json:"subject" doc:"the node or thing measured"`
	Measured    string `json:"measured" doc:"the value, for people"`
	Unit        string `json:"unit"`
	WarnAt      string `json:"warnAt"`
	RefuseAt    string `json:"refuseAt"`
	Verdict     string `json:"verdict" enum:"pass,warn,refuse,unknown"`
	Overridable bool   `json:"overridable"`
	Why         string `json:"why"`
	Fix         string `json:"fix"`
}

// Report answers "may this node be promoted?" with every check.
type Report struct {
	Node       string    `json:"node"`
	Promotable bool      `json:"promotable"`
	Reason     string    `json:"reason"`
	Hash       string    `json:"hash" doc:"covers the candidate, the generation and each check's verdict"`
	Generation Int64     `json:"generation"`
	At         time.Time `json:"at"`
	Checks     []Check   `json:"checks"`
}

// Refusal is why something will not be done, and what would help.
type Refusal struct {
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Fix    string `json:"fix"`
}

// PlanStep is one step of a plan, as it will run.
type PlanStep struct {
	ID              string `json:"id"`
	Title           string `json:"title"`
	Command         string `json:"command" doc:"what is sent to the engine, for people"`
	Node            string `json:"node"`
	PointOfNoReturn bool   `json:"pointOfNoReturn"`
	Undo            string `json:"undo" doc:"how the step is taken back, or why it cannot be"`
}

// Plan is what a promotion would do.
type Plan struct {
	Node            string     `json:"node"`
	Report          Report     `json:"report"`
	Refused         bool       `json:"refused"`
	Refusals        []Refusal  `json:"refusals"`
	Steps           []PlanStep `json:"steps"`
	ExpectedStallMs float64    `json:"expectedStallMs"`
	CatchUpMs       float64    `json:"catchUpMs"`
	StallBudgetMs   float64    `json:"stallBudgetMs"`
	PossibleLoss    string     `json:"possibleLoss"`
	Generation      Int64      `json:"generation"`
	CLI             string     `json:"cli" doc:"the same promotion as a command to copy"`
}

// Step is one step of an operation and how it went.
type Step struct {
	ID              string     `json:"id"`
	Title           string     `json:"title"`
	Node            string     `json:"node"`
	Command         string     `json:"command"`
	State           string     `json:"state" enum:"pending,running,done,failed,undone,skipped"`
	PointOfNoReturn bool       `json:"pointOfNoReturn"`
	StartedAt       *time.Time `json:"startedAt"`
	EndedAt         *time.Time `json:"endedAt"`
	Detail          string     `json:"detail"`
}

// Stall is the write stall, measured by two independent observers.
type Stall struct {
	ProbeMs      *float64 `json:"probeMs" doc:"longest time between two acknowledged probe writes"`
	AgentMs      *float64 `json:"agentMs" doc:"from the order that paused writes to the confirmed promotion"`
	LongestGapMs *float64 `json:"longestGapMs" doc:"the larger of what the observers measured"`
}

// Proof says what was lost, and how that is known.
type Proof struct {
	Acked       *Int64 `json:"acked" doc:"probe writes acknowledged during the operation"`
	ReadBack    *Int64 `json:"readBack" doc:"of those, found again afterwards"`
	Lost        *Int64 `json:"lost" doc:"null when it could not be measured"`
	Sentence    string `json:"sentence"`
	PositionOld string `json:"positionOld" doc:"last position of the old primary after the fence"`
	PositionNew string `json:"positionNew" doc:"position of the new primary when it was promoted"`
}

// TransformSchema documents which references may be null.
func (Proof) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "acked", "readBack", "lost")
}

// Undo says whether the roles can be switched back.
type Undo struct {
	Available bool      `json:"available"`
	Until     time.Time `json:"until"`
	Node      string    `json:"node" doc:"the node that would become primary again"`
	Why       string    `json:"why"`
}

// RoleOf is a node's role at one moment.
type RoleOf struct {
	Node string `json:"node"`
	Role string `json:"role"`
}

// Operation is one promotion or switch back, as its journal tells it.
type Operation struct {
	ID                  string     `json:"id"`
	Kind                string     `json:"kind" enum:"promotion,switch-back,failover,forced-promotion,create-cluster,adopt-cluster,add-node,remove-node,delete-cluster,configure,resync,maintenance,backup,restore,restore-drill,rolling-restart"`
	Title               string     `json:"title" doc:"what it does, for kinds other than promotions"`
	Cluster             string     `json:"cluster"`
	Node                string     `json:"node"`
	From                string     `json:"from"`
	State               string     `json:"state" enum:"requested,running,done,rolled-back,refused,needs-human"`
	PastPointOfNoReturn bool       `json:"pastPointOfNoReturn"`
	Steps               []Step     `json:"steps"`
	Requester           string     `json:"requester"`
	Source              string     `json:"source" enum:"ui,cli,api"`
	Reason              string     `json:"reason"`
	StartedAt           time.Time  `json:"startedAt"`
	EndedAt             *time.Time `json:"endedAt"`
	Stall               *Stall     `json:"stall"`
	Proof               *Proof     `json:"proof"`
	Outcome             string     `json:"outcome"`
	Undo                *Undo      `json:"undo"`
	RolesBefore         []RoleOf   `json:"rolesBefore"`
	RolesAfter          []RoleOf   `json:"rolesAfter"`
	ReportHash          string     `json:"reportHash"`
	Generation          Int64      `json:"generation"`
}

// TransformSchema documents which references may be null.
func (Operation) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "stall", "proof", "undo")
}

// Session is the signed-in person.
type Session struct {
	Username  string    `json:"username"`
	Role      string    `json:"role" enum:"viewer,auditor,operator,approver,admin"`
	ExpiresAt time.Time `json:"expiresAt"`
}
