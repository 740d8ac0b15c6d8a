package agent

import "time"

// Modes of LeaseTerms: what a primary does when no control node answers.
const (
	ModeStrict   = "strict"   // it stops taking writes
	ModeFailsafe = "failsafe" // it goes on while the agents beside Promotable promise
)

// LeaseTerms tell an agent that a cluster on its host is kept by leases, and
// what is on record.
type LeaseTerms struct {
	Cluster       string
	Generation    uint64
	Holder        string // node that is primary of the generation
	HolderAddress string // host:port
	TTL           time.Duration
	// Promotable are the nodes whose agents must promise in mode "failsafe",
	// sorted; Roster is that list's number, which renewals bear. Peers are their
	// agents.
	Promotable []string
	Mode       string // strict or failsafe
	Roster     uint64
	Peers      []Peer
	// HolderAgent is the id of the agent beside the holder: nobody else is
	// promised anything.
	HolderAgent string
}

// LeaseRenewal asks for another term. Number is this renewal's; Holding tells
// that a grant of the generation was had before, Guarded that a process beside
// the agent ends the engine when the agent cannot.
type LeaseRenewal struct {
	Cluster, Node    string
	Generation       uint64
	Number           uint64
	Holding, Guarded bool
	Roster           uint64 // number of the roster in use; 0: none
}

// LeaseAnswer is the grant or its refusal with a code of package lease.
type LeaseAnswer struct {
	Cluster, Node string
	Generation    uint64
	Number        uint64
	Granted       bool
	Code          string
	TTL           time.Duration
}

// LeaseRelease says that the node takes no writes any more in the generation
// until the control plane says what it is to be.
type LeaseRelease struct {
	Cluster, Node string
	Generation    uint64
	Why           string
	// Restartable tells that the engine can be started again with its data, but
	// for what its file was not yet given when it ended; Lossless that nothing it
	// acknowledged is missing there.
	Restartable, Lossless bool
}

// Agent-side actions about leases and what follows from them.
const (
	// ActionLeaseReturn{}: the engine of the order's node, which the agent keeps
	// stopped, is started again as primary with the next grant of the order's
	// generation. Refused when the node's data are gone.
	ActionLeaseReturn = "lease-return"
	// ActionRejoin{addr,bundle}: makes the node a replica of addr for good: a
	// stopped engine is started as one, a deposed primary is demoted. With bundle
	// "true" what only it may hold is saved first, so that nothing is thrown
	// away unseen. Optional branch and branchHistory: the position up to which
	// the new primary agrees; a deposed primary that is not beyond it has
	// nothing to save. Values: "bundle" (path, "" none), "bytes", "commands"
	// (number, "" not known), "sentence", "position".
	ActionRejoin = "rejoin"
	// ActionKeepData{reason}: saves a copy of the node's data beside it before a
	// full resynchronization would throw it away. Values as of ActionRejoin.
	ActionKeepData = "keep-data"
	// ActionDropKept{generation[,file]}: removes what either of the two saved of
	// the order's node in that generation: the file of that name and those beside
	// it, or all. Values: "bytes" that were freed.
	ActionDropKept = "drop-kept"
)
