package executor

import (
	"fmt"
	"strings"

	"baton/control/engine"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// kind is how the operations of one kind run on one engine.
type kind struct {
	procedure
	// resumes says that every step may be repeated at any later time, so that a
	// restart of the control plane goes on where the operation was. Without it
	// a restart before the point of no return takes everything back: right for
	// whatever holds writes or otherwise depends on moments.
	resumes bool
	// yields says that the operation may be given up, before its point of no
	// return, when the cluster needs a failover; it then is taken back. The
	// guard of roles works on while it runs.
	yields bool
	// outcome is the sentence of an operation that is done; nil: its title.
	outcome func(*run) string
	// prove measures the stall and proves what was lost; nil: neither.
	prove func(*run, operation.State) (*operation.Stall, *operation.Proof)
	// closing are events of the cluster's stream that become durable together
	// with the operation's end, a change of the inventory for instance; nil: none.
	closing func(*run, operation.State) ([]journal.Event, error)
}

// kindKey finds a kind; engine "" stands for all that have no entry of their
// own.
type kindKey struct{ kind, engine string }

// kindTable is all that this version can carry out. It is a function, and each
// Executor keeps what it returns, so that steps may use the Executor.
func kindTable() map[kindKey]kind {
	moved := kind{procedure: redisPromotion, outcome: promoted, prove: proven}
	elected := kind{procedure: eventStorePromotion, outcome: promoted, prove: proven}
	return map[kindKey]kind{
		{operation.Promotion, engine.Redis}:       moved,
		{operation.SwitchBack, engine.Redis}:      moved,
		{operation.Promotion, engine.EventStore}:  elected,
		{operation.SwitchBack, engine.EventStore}: elected,

		{operation.Backup, engine.Redis}:  {procedure: takeBackup, resumes: true, yields: true, outcome: backedUp},
		{operation.RestoreDrill, ""}:      {procedure: tryBackup, resumes: true, yields: true, outcome: tried},
		{operation.Restore, engine.Redis}: {procedure: restoreBackup, resumes: true, outcome: restored, closing: restoreClosing},

		{operation.Backup, engine.EventStore}:  {procedure: takeBackup, resumes: true, yields: true, outcome: backedUp},
		{operation.Restore, engine.EventStore}: {procedure: restoreStore, resumes: true, outcome: storeRestored, closing: restoreClosing},

		{operation.CreateCluster, engine.Redis}:   {procedure: redisCreate, resumes: true, outcome: created, closing: unregister},
		{operation.AdoptCluster, engine.Redis}:    {procedure: redisAdopt, resumes: true, outcome: adopted, closing: unregister},
		{operation.AddNode, engine.Redis}:         {procedure: redisAddNode, resumes: true, yields: true, closing: joined},
		{operation.RemoveNode, engine.Redis}:      {procedure: removeNode, resumes: true, yields: true, outcome: removed, closing: left},
		{operation.DeleteCluster, ""}:             {procedure: deleteCluster, resumes: true, outcome: deleted, closing: gone},
		{operation.Resync, engine.Redis}:          {procedure: redisResync, resumes: true, yields: true, outcome: resynced},
		{operation.Configure, engine.Redis}:       {procedure: configureAll, resumes: true, yields: true, closing: recorded},
		{operation.RollingRestart, engine.Redis}:  {procedure: rollingRestart, yields: true, outcome: restartedAll, prove: proven},
		{operation.Failover, engine.Redis}:        {procedure: redisFailover, outcome: failedOver, prove: lossOf},
		{operation.ForcedPromotion, engine.Redis}: {procedure: redisFailover, outcome: failedOver, prove: lossOf},
	}
}

// kindOf finds how an operation runs; ok is false for one that this version
// does not know.
func (e *Executor) kindOf(name, eng string) (kind, bool) {
	if k, ok := e.kinds[kindKey{name, eng}]; ok {
		return k, true
	}
	k, ok := e.kinds[kindKey{name, ""}]
	return k, ok
}

// yields tells whether a running operation may be given up for a failover and
// leaves roles alone meanwhile.
func (e *Executor) yields(id string) bool {
	o, ok := e.Inventory.Operation(id)
	if !ok || o.Past {
		return false
	}
	k, _ := e.kindOf(o.Kind, o.Plan.Engine)
	return k.yields
}

// deeds say in the audit what an operation of a kind set out to do: CLUSTER,
// NODE and FROM stand for the plan's. Kinds without an entry tell their title.
var deeds = map[string]string{
	operation.Promotion:       "promoted NODE to PRIMARY in place of FROM",
	operation.SwitchBack:      "switched the PRIMARY back from FROM to NODE",
	operation.Failover:        "failed over from FROM to NODE",
	operation.ForcedPromotion: "forced NODE to be PRIMARY in place of FROM",
	operation.CreateCluster:   "created cluster CLUSTER",
	operation.AdoptCluster:    "adopted cluster CLUSTER",
	operation.AddNode:         "added node NODE to CLUSTER",
	operation.RemoveNode:      "removed node NODE from CLUSTER",
	operation.DeleteCluster:   "deleted cluster CLUSTER",
	operation.Resync:          "resynchronized NODE",
	operation.Backup:          "backed up CLUSTER on NODE",
	operation.RollingRestart:  "restarted every server of CLUSTER; NODE is PRIMARY in place of FROM",
}

// What says in a sentence what an operation set out to do.
func What(o *operation.Operation) string {
	deed, ok := deeds[o.Kind]
	if !ok || o.Plan.Node == "" && strings.Contains(deed, "NODE") {
		if o.Plan.Title != "" {
			return o.Plan.Title
		}
		return o.Kind + " of " + o.Plan.Cluster
	}
	return strings.NewReplacer("CLUSTER", o.Plan.Cluster, "NODE", o.Plan.Node, "FROM", o.Plan.From,
		"PRIMARY", primaryWord(o.Plan.Engine)).Replace(deed)
}

// Sentence says what a running operation does, who began it and where it is.
func Sentence(o *operation.Operation) string {
	s := o.Plan.Title
	switch {
	case o.Kind == operation.Promotion || o.Kind == operation.SwitchBack:
		s = fmt.Sprintf("%s of %s to %s", o.Kind, o.Plan.Node, primaryWord(o.Plan.Engine))
	case s == "":
		s = o.Kind + " of " + o.Plan.Cluster
	}
	s += fmt.Sprintf(", begun by %s at %s", o.Requester, o.At.UTC().Format("15:04:05"))
	if i := o.Next(); i >= 0 && !o.State.Final() {
		s += fmt.Sprintf(", is at step %d of %d: %s", i+1, len(o.Steps), o.Steps[i].Title)
	}
	return s
}

// promoted is the sentence of a promotion that is done.
func promoted(r *run) string {
	a := r.op.Plan.From
	s := fmt.Sprintf("%s is the %s, %s follows it", r.op.Candidate, primaryWord(r.op.Plan.Engine), a)
	if why := r.held[a]; why != "" {
		s = fmt.Sprintf("%s is the primary; %s: %s", r.op.Candidate, a, why)
	}
	if v := r.value(plan.StepVerify, "attention"); v != "" {
		s = fmt.Sprintf("%s is the %s. Needs attention: %s", r.op.Candidate, primaryWord(r.op.Plan.Engine), v)
	}
	if r.op.Candidate != r.op.Plan.Node {
		s += fmt.Sprintf("; chosen instead of %s: %s", r.op.Plan.Node, r.op.Why)
	}
	return s
}

// proven is the stall and the proof of a promotion with its probe.
func proven(r *run, state operation.State) (*operation.Stall, *operation.Proof) {
	return r.stall(), r.proof(state)
}
