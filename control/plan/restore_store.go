package plan

import (
	"fmt"

	"baton/control/engine"
)

// ArgInsecure is "true" where a restored event store serves as its cluster did:
// without TLS and accounts.
const ArgInsecure = "insecure"

// RestoreStore plans a new event-store cluster of one node that goes on from a
// backup of cluster of. Of node the address is taken from the survey.
func RestoreStore(name string, node NewNode, s Survey, of, id, target string, insecure bool) Plan {
	p := Plan{Engine: engine.EventStore, Cluster: name, Addresses: map[string]string{}, Args: map[string]string{},
		Title: fmt.Sprintf("restore backup %s of cluster %s beside, as cluster %s", id, of, name)}
	p.refuseName("cluster", name)
	switch {
	case s.Err != "" || !s.Connected || s.Taken != "":
		p.survey(node, s, "", 0)
	case s.Version == "":
		p.Refuse("version", "the agent there serves no event store", shown(node.Agent), "start it as 'baton agent', or choose another host")
	}
	if p.Refused() {
		return p
	}
	node.Host, node.Port = s.Host, s.Port
	p.SetNodes([]NewNode{node})
	p.Node, p.Addresses[node.Name] = node.Name, node.Address()
	p.Args[ArgBackup], p.Args[ArgTarget], p.Args[ArgOf], p.Args["version"] = id, target, of, s.Version
	how := "with an authority of its own and the accounts of the backup"
	if insecure {
		p.Args[ArgInsecure] = "true"
		how = "without TLS and accounts, as " + of + " was"
	}
	p.PossibleLoss = "nothing: the cluster is new and " + of + " is not touched"
	a := node.Name
	p.Steps = []Step{
		{ID: StepPrepareData, Node: a, Title: "Read the backup, check every part, found a new cluster of it", Command: "baton store restore", Undo: "what was made is removed", Timeout: dataMoves},
		{ID: StepStartNew, Node: a, Title: "Start " + a + " on it, " + how, Command: "baton serve", Undo: "it is stopped and removed", Timeout: dataMoves},
		{ID: StepVerify, Node: a, Title: "See it lead", Command: "GET /cluster", Undo: "reads only", Timeout: patient},
	}
	return p
}
