package plan

import (
	"fmt"
	"strings"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// Ids of steps, the same in the plan, the journal and the executor.
const (
	StepStartProbe   = "start-probe"
	StepCheck        = "check-candidate"
	StepPause        = "pause-writes"
	StepWait         = "wait-offset"
	StepCommit       = "commit-generation"
	StepDemote       = "demote-old"
	StepPromote      = "promote"
	StepRepoint      = "repoint"
	StepKick         = "kick-clients"
	StepPersist      = "persist"
	StepVerify       = "verify"
	StepStopProbe    = "stop-probe"
	StepPromoteClone = "promote-clone"
	StepTransfer     = "transfer"
)

// PauseFor is how long the old primary holds writes at most: long enough for
// the budget and the switch, short enough to let go by itself soon when
// everything that could end it is gone.
const PauseFor = 5 * time.Second

const (
	quick   = 5 * time.Second  // an order that one round trip to the engine answers
	patient = 30 * time.Second // a replica attaching, a read-back
)

// redisSteps is promotion.md 4.2: pause, equal offsets read from the candidate
// itself, demote, promote, re-point, verify, persist.
func redisSteps(p *Plan) {
	a, b := p.From, p.Node
	addr := p.Addresses[b]
	host, port := split(addr)
	others := append([]string{a}, p.Siblings...)
	p.Steps = []Step{
		{ID: StepStartProbe, Node: b, Title: "Start the probe: a write every 10 ms to a key of its own",
			Command: "SET baton:probe ...", Undo: "the probe is stopped", Timeout: patient},
		{ID: StepCheck, Node: b, Title: fmt.Sprintf("Check roles, and that %s can log in to %s", a, b),
			Command: "ROLE; AUTH ... at " + addr, Undo: "reads only", Timeout: quick},
		{ID: StepPause, Node: a, Title: "Pause writes and read the last position twice",
			Command: fmt.Sprintf("CLIENT PAUSE %d WRITE; INFO replication", PauseFor.Milliseconds()), Undo: "CLIENT UNPAUSE", Timeout: quick},
		{ID: StepWait, Node: b, Title: "Wait until " + b + " holds exactly that position",
			Command: "INFO replication, each millisecond", Undo: "reads only", Timeout: StallBudget},
		{ID: StepCommit, Node: b, Title: fmt.Sprintf("Commit generation %d: %s is the primary", p.Generation+1, b),
			Command: "journal", PointOfNoReturn: true, Undo: "none: from here the operation goes forward", Timeout: quick},
		{ID: StepDemote, Node: a, Title: a + " becomes a replica and can write no more",
			Command: fmt.Sprintf("REPLICAOF %s %s", host, port), Undo: "none", Timeout: quick},
		{ID: StepPromote, Node: b, Title: b + " becomes the primary; what waited on " + a + " is let go",
			Command: "REPLICAOF NO ONE; ROLE; CLIENT UNPAUSE", Undo: "none", Timeout: quick},
		{ID: StepRepoint, Node: strings.Join(others, ", "), Title: "All others follow " + b,
			Command: fmt.Sprintf("REPLICAOF %s %s", host, port), Undo: "none", Timeout: quick},
		{ID: StepKick, Node: a, Title: "Close old connections on " + a + " so that clients look for the primary",
			Command: "CLIENT KILL TYPE normal", Undo: "none", Timeout: quick},
		{ID: StepPersist, Node: strings.Join(append([]string{b}, others...), ", "), Title: "Write the roles to each node's own file",
			Command: "CONFIG REWRITE", Undo: "none", Timeout: quick},
		{ID: StepVerify, Node: strings.Join(append([]string{b}, others...), ", "), Title: "Verify: one primary among all, every replica attached by partial resync",
			Command: "ROLE; INFO replication", Undo: "none", Timeout: patient},
		{ID: StepStopProbe, Node: b, Title: "Stop the probe and read everything it wrote back",
			Command: "GET baton:probe ...", Undo: "none", Timeout: patient},
	}
}

// eventStoreSteps: the engine moves leadership itself, safely; a clone first
// becomes a voter by one joint change. The point of no return is the transfer.
func eventStoreSteps(p *Plan, candidate *health.Node) {
	b := p.Node
	clone := candidate != nil && (candidate.Role() == engine.RoleClone || candidate.Role() == engine.RoleUnknown && candidate.LastRole == engine.RoleClone)
	steps := []Step{
		{ID: StepStartProbe, Node: b, Title: "Start the probe: an append every 10 ms to a stream of its own",
			Command: "append $baton-probe", Undo: "the probe is stopped", Timeout: patient},
		{ID: StepCheck, Node: b, Title: "Check that " + p.From + " leads and " + b + " follows it",
			Command: "GET /cluster", Undo: "reads only", Timeout: quick},
	}
	if clone {
		steps = append(steps, Step{ID: StepPromoteClone, Node: b, Title: b + " catches up and becomes a voter by one joint change; the size stays",
			Command: `POST /cluster/promote {"node":"` + b + `","as":"follower"}`,
			Undo:    "none needed: a clone that became a follower loses nothing", Timeout: 2 * patient})
	}
	steps = append(steps,
		Step{ID: StepCommit, Node: b, Title: fmt.Sprintf("Commit generation %d: %s is to lead", p.Generation+1, b),
			Command: "journal", PointOfNoReturn: true, Undo: "none: from here the election decides", Timeout: quick},
		Step{ID: StepTransfer, Node: b, Title: "Leadership moves to " + b + " by name",
			Command: `POST /cluster/promote {"node":"` + b + `"}`, Undo: "none", Timeout: 10 * time.Second},
		Step{ID: StepVerify, Node: b, Title: "Verify: every node names " + b + " as leader of the new term",
			Command: "GET /cluster", Undo: "none", Timeout: patient},
		Step{ID: StepStopProbe, Node: b, Title: "Stop the probe and read everything it wrote back",
			Command: "read $baton-probe", Undo: "none", Timeout: patient},
	)
	p.Steps = steps
}

func split(addr string) (host, port string) {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return addr, ""
	}
	return strings.Trim(addr[:i], "[]"), addr[i+1:]
}
