package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"baton/control/engine"
)

// Looked is what an agent saw, or why it saw nothing, at one address.
type Looked struct {
	Address string
	Agent   string // beside it, or the one that looked
	Found   *engine.Found
	Code    string // of the refusal, when Found is nil
	Why     string
}

// Adoptee is one node to be watched from now on.
type Adoptee struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Agent   string `json:"agent"`
}

// Adopt plans taking over a primary and its replicas as they run. looked is
// the given address first, then each of its replicas. The servers' files and
// users stay their owner's.
func Adopt(name string, looked []Looked) Plan {
	p := Plan{Cluster: name, Engine: engine.Redis, Addresses: map[string]string{}, Args: map[string]string{}, Title: "adopt cluster " + name}
	p.refuseName("cluster", name)
	if len(looked) == 0 {
		p.Refuse("primary", "no address was given", "", "give host:port of the primary")
		return p
	}
	var nodes []Adoptee
	for i, l := range looked {
		if l.Found == nil {
			p.refuseLook(l)
			continue
		}
		f := l.Found
		switch {
		case f.Foreign != "":
			p.Refuse("manager.foreign", "a Sentinel manages it", l.Address+": "+f.Foreign, "take the cluster out of Sentinel first (SENTINEL REMOVE on each): two managers would move the primary against each other")
		case f.Mode == "cluster":
			p.Refuse("mode.cluster", "it runs in cluster mode", l.Address, "Baton manages plain replication; cluster mode moves its primaries itself")
		case i == 0 && f.Role != engine.RolePrimary:
			p.Refuse("primary", "it is not a primary", fmt.Sprintf("%s copies from %s", l.Address, f.ReplicaOf), "give the address of its primary: "+f.ReplicaOf)
		case i > 0 && f.Role == engine.RolePrimary:
			p.Refuse("primary.second", "a node that the primary lists as its replica is a primary too", l.Address, "find out which one clients use, make the other follow it")
		case i > 0 && len(f.Replicas) > 0:
			p.Refuse("chain", "a replica has replicas of its own", fmt.Sprintf("%s copy from %s", strings.Join(f.Replicas, ", "), l.Address), "point them to the primary: REPLICAOF")
		case i > 0 && !f.LinkUp:
			p.Refuse("link", "a replica is not in step", l.Address, "repair it first")
		case i > 0 && looked[0].Found != nil && f.History != looked[0].Found.History:
			p.Refuse("history", "a replica belongs to another history", l.Address, "wait until it has copied from the primary")
		}
		n := Adoptee{Name: fmt.Sprintf("%s-%d", name, i+1), Address: l.Address, Agent: l.Agent}
		nodes = append(nodes, n)
		p.Addresses[n.Name] = n.Address
	}
	if p.Refused() {
		return p
	}
	b, _ := json.Marshal(nodes)
	p.Args["adoptees"], p.Args["syncReplicas"] = string(b), fmt.Sprint(looked[0].Found.SyncReplicas)
	p.Node, p.PossibleLoss = nodes[0].Name, "nothing: nothing is changed on the servers"
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	list := strings.Join(names, ", ")
	p.Steps = []Step{
		{ID: StepWatch, Node: list, Title: "The agents beside the nodes watch them", Command: "instance-put", Undo: "they forget them again", Timeout: quick},
		{ID: StepVerify, Node: list, Title: "Verify the roles, and that each node could follow each other", Command: "ROLE; AUTH", Undo: "reads only", Timeout: patient},
	}
	return p
}

func (p *Plan) refuseLook(l Looked) {
	switch l.Code {
	case engine.CodeAuth:
		p.Refuse("auth", "the login is refused", l.Address+": "+l.Why, "give a user and password with full access")
	case engine.CodeUnreachable:
		p.Refuse("unreachable", "it does not answer", l.Address+": "+l.Why, "is the server running, and reachable from the agent's host?")
	default:
		p.Refuse("look", "it could not be looked at", l.Address+": "+l.Why, "see the agent's log")
	}
}

// Adoptees are the nodes that Adopt kept in the plan.
func (p *Plan) Adoptees() []Adoptee {
	var out []Adoptee
	_ = json.Unmarshal([]byte(p.Args["adoptees"]), &out) // of Adopt
	return out
}
