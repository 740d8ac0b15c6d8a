package membership

// Refusal is an answer that nothing was done: what is wrong, why, and what the
// operator can do. It is an error so that it travels through ordinary returns.
type Refusal struct {
	Code   string `json:"code"`   // stable, kebab-case, for programs
	Title  string `json:"title"`  // what is refused, in a few words
	Detail string `json:"detail"` // why, with measured values
	Fix    string `json:"fix"`    // what to do about it
	Retry  bool   `json:"retry"`  // whether the same request may pass later
}

// Refusal codes.
const (
	CodeUnknownNode        = "unknown-node"
	CodeAmbiguousNode      = "ambiguous-node"
	CodeAlreadyLeader      = "already-leader"
	CodeAlreadyVoter       = "already-voter"
	CodeReadOnlyReplica    = "read-only-replica"
	CodeNodeDown           = "node-down"
	CodeNodeLagging        = "node-lagging"
	CodeNodeUnhealthy      = "node-unhealthy"
	CodeNotCaughtUp        = "not-caught-up"
	CodeNoQuorum           = "no-quorum"
	CodeNoLeader           = "no-leader"
	CodeChangeRunning      = "change-running"
	CodeBadSize            = "bad-size"
	CodeBadMember          = "bad-member"
	CodeQuorumWouldBeLost  = "quorum-would-be-lost"
	CodeMovingNotConfirmed = "transfer-not-confirmed"
	CodeNoSuccessor        = "no-successor"
	CodeNotFormed          = "not-formed"
)

// Error gives title and detail on one line.
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Title
	}
	return r.Title + ": " + r.Detail
}
