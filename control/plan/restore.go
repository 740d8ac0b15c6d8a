package plan

import (
	"fmt"
	"sort"
	"strings"

	"baton/control/engine"
)

// RestoreInPlace plans giving a cluster the data of a backup: the present data
// is backed up and kept, the new data prepared and counted before anything
// stops, and replicas serve old reads until their turn. safety is the id of the
// backup taken before.
func RestoreInPlace(f *Facts, id, target, safety string) Plan {
	p := backupBase(f, fmt.Sprintf("restore backup %s into cluster %s in place", id, f.Cluster))
	switch f.Engine {
	case engine.Redis:
	case engine.EventStore:
		p.Refuse("backup.engine", "an event store is not restored in place", storeInPlace, fmt.Sprintf("restore beside, and let clients go there: baton restore %s %s --beside NAME", f.Cluster, id))
		return p
	default:
		p.Refuse("backup.engine", "backups of this engine are not restored", f.Engine, "use the engine's own tools")
		return p
	}
	primary := p.wantPrimary(f)
	if primary == nil {
		return p
	}
	if primary.Process == nil {
		p.Refuse("made", "Baton does not run the server of "+primary.Name, "it cannot stop it and change its data", "restore beside, into a new cluster")
	}
	p.Node = primary.Name
	var replicas []string
	for i := range f.Nodes {
		n := &f.Nodes[i]
		switch {
		case n.Name == primary.Name:
		case n.Up():
			replicas = append(replicas, n.Name)
		default:
			p.Refuse("replica.down", "a replica does not answer", n.Name+" would keep the old data and could not be told", "repair or remove it first")
		}
	}
	sort.Strings(replicas)
	p.Siblings = replicas
	node, why, refusals := BackupNode(f, "")
	p.Refusals = append(p.Refusals, refusals...)
	p.Args[ArgBackup], p.Args[ArgTarget], p.Args[ArgSafety], p.Args["safetyNode"] = id, target, safety, node
	p.PossibleLoss = "everything written since the backup leaves the cluster; it is kept beside the data directory and in a backup of its own"
	a, others := p.Node, strings.Join(replicas, ", ")
	p.Steps = []Step{
		{ID: StepSafety, Node: node, Title: "Take a safety backup of the present data on " + node + ": " + why, Command: "BGSAVE; put " + target, Undo: "it stays: it is a backup like any other", Timeout: dataMoves},
		{ID: StepPrepareData, Node: a, Title: "Read the backup into a new directory beside the data of " + a + ", load it in a scratch server, count its keys", Command: "redis-server (no network)",
			Undo: "the new directory is removed", Timeout: dataMoves},
		{ID: StepPause, Node: a, Title: "Hold writes", Command: fmt.Sprintf("CLIENT PAUSE %d WRITE", RestorePause.Milliseconds()), Undo: "CLIENT UNPAUSE", Timeout: quick},
	}
	if len(replicas) > 0 {
		p.Steps = append(p.Steps, Step{ID: StepDetach, Node: others, Title: "Replicas stop following and serve what they have until their turn", Command: "REPLICAOF " + Nowhere, Undo: "they follow " + a + " again", Timeout: quick})
	}
	p.Steps = append(p.Steps,
		Step{ID: StepStopOld, Node: a, Title: "Stop " + a, Command: "SIGTERM", Undo: a + " is started again", Timeout: patient},
		Step{ID: StepSwapData, Node: a, Title: "Move the old data aside and the prepared data in", Command: "rename", Undo: "the old data is moved back", Timeout: quick},
		Step{ID: StepCommit, Node: a, Title: fmt.Sprintf("Commit generation %d: the restored data is a new history", f.Generation+1), Command: "journal", PointOfNoReturn: true,
			Undo: "none: from here the operation goes forward", Timeout: quick},
		Step{ID: StepStartNew, Node: a, Title: "Start " + a + " on the restored data", Command: "redis-server", Undo: "none", Timeout: dataMoves},
		Step{ID: StepCountKeys, Node: a, Title: "Count the keys it serves", Command: "INFO keyspace", Undo: "none", Timeout: quick})
	if len(replicas) > 0 {
		p.Steps = append(p.Steps, Step{ID: StepAttachOne, Node: others, Title: "Replicas copy the restored data, one after the other", Command: "REPLICAOF " + p.Addresses[a], Undo: "none", Timeout: dataMoves})
	}
	p.Steps = append(p.Steps, Step{ID: StepVerify, Node: a, Title: "Write a value to " + a + " and read it back", Command: "SET, GET", Undo: "none", Timeout: patient})
	return p
}

// RestoreBeside adds to the plan of a new cluster that its first node begins
// with the data of a backup of another.
func RestoreBeside(p Plan, of, id, target string) Plan {
	p.Title = fmt.Sprintf("restore backup %s of cluster %s beside, as cluster %s", id, of, p.Cluster)
	p.Args[ArgBackup], p.Args[ArgTarget], p.Args[ArgOf] = id, target, of
	p.PossibleLoss = "nothing: the cluster is new and " + of + " is not touched"
	a := p.Node
	var steps []Step
	for _, s := range p.Steps {
		if s.ID == StepVerify {
			steps = append(steps,
				Step{ID: StepPrepareData, Node: a, Title: "Read the backup, load it in a scratch server, count its keys", Command: "redis-server (no network)", Undo: "the new directory is removed", Timeout: dataMoves},
				Step{ID: StepStopOld, Node: a, Title: "Stop " + a + ", which is empty", Command: "SIGTERM", Undo: a + " is started again", Timeout: patient},
				Step{ID: StepSwapData, Node: a, Title: "Move the prepared data in", Command: "rename", Undo: "it is moved out again", Timeout: quick},
				Step{ID: StepStartNew, Node: a, Title: "Start " + a + " on the restored data", Command: "redis-server", Undo: "it is removed with the cluster", Timeout: dataMoves},
				Step{ID: StepCountKeys, Node: a, Title: "Count the keys it serves", Command: "INFO keyspace", Undo: "reads only", Timeout: quick})
		}
		steps = append(steps, s)
	}
	p.Steps = steps
	return p
}
