package api

import "time"

// SetupState says whether the first user is still to be made.
type SetupState struct {
	NeedsSetup bool `json:"needsSetup"`
}

// SetupRequest makes the first user. The token comes from the one-use link.
type SetupRequest struct {
	Token    string `json:"token" minLength:"1" maxLength:"256"`
	Username string `json:"username" minLength:"1" maxLength:"63"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
}

// LoginRequest signs a person in.
type LoginRequest struct {
	Username string `json:"username" minLength:"1" maxLength:"63"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
}

// PlanRequest asks what promoting a node would do.
type PlanRequest struct {
	Node string `json:"node" minLength:"1" maxLength:"63"`
	// Overrides are ids of overridable checks that shall not stand in the way.
	Overrides []string `json:"overrides,omitempty" maxItems:"16"`
}

// PromotionRequest promotes a node. Everything the person saw goes with it:
// the typed name, the report's hash, the generation.
type PromotionRequest struct {
	Node       string `json:"node" minLength:"1" maxLength:"63"`
	TypedName  string `json:"typedName" maxLength:"63"`
	ReportHash string `json:"reportHash" maxLength:"128"`
	Generation Int64  `json:"generation"`
	Reason     string `json:"reason,omitempty" maxLength:"1000"`
	DryRun     bool   `json:"dryRun,omitempty"`
	// At has it wait for a time; it is checked again then.
	At *time.Time `json:"at,omitempty" doc:"start then instead of now"`
	// Overrides are ids of overridable checks that shall not stand in the way;
	// they are audited.
	Overrides []string `json:"overrides,omitempty" maxItems:"16"`
}

// UndoRequest switches a done promotion back.
type UndoRequest struct {
	TypedName  string `json:"typedName" maxLength:"63"`
	ReportHash string `json:"reportHash" maxLength:"128"`
	Generation Int64  `json:"generation"`
	Reason     string `json:"reason,omitempty" maxLength:"1000"`
}

// PromotionAccepted answers a promotion: the operation that now runs, or for
// a dry run the plan that would.
type PromotionAccepted struct {
	OperationID string `json:"operationId" doc:"empty for a dry run"`
	DryRun      bool   `json:"dryRun"`
	Plan        *Plan  `json:"plan,omitempty" doc:"only for a dry run"`
	State       string `json:"state,omitempty" doc:"requested, scheduled or awaiting-approval"`
	ScheduleID  string `json:"scheduleId,omitempty" doc:"set when it waits for its time"`
	ApprovalID  string `json:"approvalId,omitempty" doc:"set when it waits for a second person"`
}

// ClusterList is the answer of GET /clusters, sorted by severity, then name.
type ClusterList struct {
	Clusters []ClusterSummary `json:"clusters"`
}

// AuditPage is a page of the audit trail, newest first.
type AuditPage struct {
	Rows  []AuditRow `json:"rows"`
	Next  string     `json:"next" doc:"pass as before= to read on; empty at the end"`
	Chain AuditChain `json:"chain"`
}

// AuditChain is the result of checking the hash chain.
type AuditChain struct {
	OK       bool   `json:"ok"`
	Records  int    `json:"records"`
	Sentence string `json:"sentence"`
}

// Version is what this server is.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
}
