package engine

import (
	"errors"
	"fmt"
)

// Redis actions. "addr" is host:port of another instance of the cluster.
const (
	// PauseWrites{ms}: clients' writes wait, at most ms milliseconds. Repeating
	// it with a later end prolongs the pause. Values: "untilUnixMs"; with
	// read "true" those of ReadOffset too, which saves a round trip.
	PauseWrites = "pause-writes"
	// UnpauseWrites ends the pause.
	UnpauseWrites = "unpause-writes"
	// ReadOffset reads the replication position twice. Values: "offset" (the
	// later), "offset2" (the earlier), "stable" ("true" when nothing but keepalives came
	// between them), "replid", "role".
	ReadOffset = "read-offset"
	// WaitOffset{offset,replid,deadlineMs}: polls this instance's own applied
	// position every millisecond until it equals offset (plus at most a few
	// keepalives) in history replid.
	// Values: "offset", "waitedMs". Fails with CodeTimeout, CodeHistory.
	WaitOffset = "wait-offset"
	// Demote{addr[,ifReplid,ifOffset]}: the instance becomes a replica of addr;
	// a primary that is not at that position any more is left as it is (CodeHistory). Values: "replicaOf",
	// "offset" (its last position as a primary, or as a replica when already done).
	Demote = "demote"
	// Promote{[history,offset]}: the instance becomes primary; the role is read
	// back. One that is not in that history, or not that far in it, is left as it
	// is (CodeHistory): it was started again since it was chosen.
	// Values: "role", "replid", "previousReplid", "offset", "syncFull".
	Promote = "promote"
	// Repoint{addr}: a replica follows addr from now on. Values: "replicaOf".
	Repoint = "repoint"
	// KickClients closes ordinary clients' connections so that they
	// rediscover the primary. Values: "kicked".
	KickClients = "kick-clients"
	// Persist writes the present configuration and role to the engine's own
	// file, so that a restart keeps the role. Values: "file".
	Persist = "persist"
	// VerifyRole{role[,addr,waitMs,syncFull,replicas]}: reads the role back;
	// with addr a replica must follow it with its link up. waitMs polls up to
	// that time; syncFull demands that the count of full synchronizations served
	// is still that (promote's value: all continued from their offsets); replicas
	// demands that number of attached replicas. Values: "role", "link", "syncFull",
	// "syncPartialOk", "offset", "replid", "connectedReplicas".
	VerifyRole = "verify-role"
	// ProbeWrite{seq}: writes and reads back one value in a private key.
	ProbeWrite = "probe-write"
	// ProbeRead{seq}: reads the value of a ProbeWrite on any node, waiting up to waitMs.
	ProbeRead = "probe-read"
	// CheckAuth{addr}: logs in to addr with the very credentials this instance
	// replicates with, from this host, and asks for its role.
	// Values: "rttMs", "user". Fails with CodeAuth, CodeUnreachable, or CodeTimeout
	// where something takes the connection and does not answer.
	CheckAuth = "check-auth"
	// KeepData{out}: saves everything the running instance holds to the file
	// out on its host. Values: "bytes".
	KeepData = "keep-data-of"
	// Salvage{binary,args,out[,from]}: the same for an instance that does not run,
	// whose program and arguments (JSON list) are given; nobody can reach what
	// reads the data meanwhile. from is the position in its append-only file
	// from which commands are written beside out. Values: "bytes", "commands" ("" not
	// known), "none" ("true" when it has no data).
	Salvage = "salvage"
	// Backup starts a background save on this instance. Values: "started".
	Backup = "backup"
)

// Event-store actions. "to" and "node" are node names or member ids.
const (
	// Transfer{to,timeoutMs}: leadership moves to the named voter.
	// Values: "leader", "term", "tookMs".
	Transfer = "transfer"
	// PromoteClone{node,timeoutMs}: the named clone becomes a voter by a joint change.
	PromoteClone = "promote-clone"
	// VerifyLeader{node}: the view of this instance names node as leader.
	// Optional waitMs. Values: "leader", "term".
	VerifyLeader = "verify-leader"
	// Resign: this instance gives leadership to the best other voter.
	Resign = "resign"
)

// Agent-side actions on a cluster, served by the agent with the driver's Probe.
const (
	// ProbeStart{id}: begins the 10 ms synthetic writer. Repeating it with the
	// same id changes nothing. Answers after the first acknowledged write.
	ProbeStart = "probe-start"
	// ProbeStop{id}: ends the writer, reads everything acknowledged back and
	// removes the private key. Values: see ProbeReport.Values.
	ProbeStop = "probe-stop"
)

// Codes of ActionError.
const (
	CodeRefused     = "refused"     // the instance is not in a state that allows it; nothing changed
	CodeTimeout     = "timeout"     // the wanted state did not come in time; nothing changed by the wait itself
	CodeHistory     = "history"     // the positions belong to different histories
	CodeAuth        = "auth"        // login refused
	CodeUnreachable = "unreachable" // no connection; nothing was sent
	CodeUnknown     = "unknown"     // sent, no answer: the outcome must be read back
	CodeBadAction   = "bad-action"  // no such action, or an argument is missing or malformed
	CodeFailed      = "failed"      // the engine answered with an error
)

// ActionError is a refused or failed action.
type ActionError struct {
	Code   string // one of the codes above
	Detail string // one sentence for the operator, no secrets
	Fix    string // what to do, may be empty
	Err    error  // cause, for logs; may be nil
}

func (e *ActionError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Detail, e.Err)
	}
	return e.Detail
}

func (e *ActionError) Unwrap() error { return e.Err }

// CodeOf returns the code of an ActionError in err's chain, CodeFailed for any
// other error and "" for nil.
func CodeOf(err error) string {
	var ae *ActionError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &ae):
		return ae.Code
	}
	return CodeFailed
}
