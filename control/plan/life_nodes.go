package plan

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"baton/control/engine"
	"baton/control/health"
)

// ClusterFacts are what the record says of a cluster beside its observation.
type ClusterFacts struct {
	// Made is set where Baton created the servers.
	Made         bool
	MemoryBytes  int64 // limit of each server
	SyncReplicas int   // replicas that must be in step, 0 none
	Protected    bool  // deletion protection
	// Login is known: servers can be logged in to as Baton's own user.
	Login bool
}

// over tells whether a check is overridden.
func over(overrides []string, code string) bool {
	for _, o := range overrides {
		if o == code {
			return true
		}
	}
	return false
}

// base begins a plan on an existing cluster: its addresses, its primary, and
// the refusals that any change of it has.
func base(f *Facts, node, title string) Plan {
	p := Plan{Cluster: f.Cluster, Engine: f.Engine, Node: node, Generation: f.Generation, Addresses: map[string]string{}, Args: map[string]string{}, Title: title,
		PossibleLoss: "nothing"}
	for i := range f.Nodes {
		p.Addresses[f.Nodes[i].Name] = f.Nodes[i].Address
	}
	if primary := f.Primary(); primary != nil {
		p.Args["primary"] = primary.Name
	}
	if f.Engine != engine.Redis {
		p.Refuse("engine", otherEngine, f.Engine, "see the engine's own commands in docs/operating.md")
	}
	return p
}

// wantPrimary refuses where not exactly one primary answers.
func (p *Plan) wantPrimary(f *Facts) *health.Node {
	primary := f.Primary()
	if primary == nil {
		p.Refuse("primary.known", "not exactly one primary is seen", fmt.Sprintf("%d nodes say they are primary", len(f.Primaries())), "repair the primary first")
	}
	return primary
}

// wantMade refuses where Baton did not make the servers.
func (p *Plan) wantMade(c ClusterFacts) {
	if !c.Made {
		p.Refuse("made", notMade, notMadeWhy, notMadeFix)
	}
}

// others are the members beside two, sorted, of those that answer.
func others(f *Facts, not ...string) (up, down []string) {
	for i := range f.Nodes {
		n := &f.Nodes[i]
		skip := false
		for _, x := range not {
			skip = skip || n.Name == x
		}
		switch {
		case skip:
		case n.Up():
			up = append(up, n.Name)
		default:
			down = append(down, n.Name)
		}
	}
	return up, down
}

// inStep tells whether a replica has its link up.
func inStep(n *health.Node) bool {
	return n.Up() && n.Role() == engine.RoleReplica && n.Seen.LinkUp
}

// copying names replicas that are copying everything, or are away: another
// full copy meanwhile would leave too little redundancy and load the primary.
func copying(f *Facts, not string) (out []string) {
	for i := range f.Nodes {
		if n := &f.Nodes[i]; n.Name != not && n.Role() != engine.RolePrimary && !inStep(n) {
			out = append(out, n.Name)
		}
	}
	return out
}

// AddNode plans a further replica.
func AddNode(f *Facts, c ClusterFacts, n NewNode, s Survey) Plan {
	p := base(f, n.Name, fmt.Sprintf("add node %s to cluster %s", n.Name, f.Cluster))
	p.refuseName("node", n.Name)
	p.wantMade(c)
	primary := p.wantPrimary(f)
	if f.Node(n.Name) != nil {
		p.Refuse("name.twice", "the cluster has a node of this name", shown(n.Name), "choose another name")
	}
	if n.Priority < 0 || n.Priority > 1000 {
		p.Refuse("priority", "the priority is out of range", fmt.Sprint(n.Priority), "give 0 to 1000")
	}
	if len(f.Nodes) >= MaxNodes {
		p.Refuse("nodes", "the cluster has as many nodes as it may", fmt.Sprint(len(f.Nodes)), fmt.Sprintf("at most %d", MaxNodes))
	}
	if busy := copying(f, ""); primary != nil && len(busy) > 0 {
		p.Refuse("sync.busy", "other nodes are not in step", strings.Join(busy, ", "), "wait until they are: one full copy at a time")
	}
	p.survey(n, s, "", c.MemoryBytes)
	n.Host, n.Port = s.Host, s.Port
	for name, addr := range p.Addresses {
		if addr == n.Address() {
			p.Refuse("host.taken", "the address is another node's", addr+" is "+name, "choose another port")
		}
	}
	if primary != nil && primary.Seen != nil {
		if s.Version != "" && older(s.Version, primary.Seen.EngineVersion) {
			p.Refuse("version.order", "the host has an older version than the primary", s.Version+" on "+shown(n.Agent)+", "+primary.Seen.EngineVersion+" on "+primary.Name, "install the same or a newer version there")
		}
		if used := primary.Seen.Facts.MemoryUsedBytes; used != nil {
			p.Args["usedMemory"] = strconv.FormatInt(*used, 10)
			if s.MemoryFree >= 0 && float64(*used)*memoryRoom > float64(s.MemoryFree) {
				p.Refuse("memory.host", "the host has too little memory for the data", fmt.Sprintf("%d bytes are free, %.0f are needed", s.MemoryFree, float64(*used)*memoryRoom), "choose another host")
			}
			if s.DiskFree >= 0 && s.DiskFree < 2**used {
				p.Refuse("disk.host", "the host has too little disk space for the data", fmt.Sprintf("%d bytes are free, %d are needed", s.DiskFree, 2**used), "free space, or choose another host")
			}
		}
	}
	p.refuseTwice()
	if p.Refused() {
		return p
	}
	p.SetNodes([]NewNode{n})
	p.Addresses[n.Name] = n.Address()
	p.Args["version"], p.Args["memoryBytes"], p.Args["syncReplicas"] = s.Version, strconv.FormatInt(c.MemoryBytes, 10), strconv.Itoa(c.SyncReplicas)
	p.Steps = []Step{
		{ID: StepCheckHosts, Node: n.Name, Title: "Check again that port, name, memory and program are there", Command: "survey", Undo: "reads only", Timeout: quick},
		{ID: StepMake, Node: n.Name, Title: "Write the server's files and start it as a replica of " + primary.Name, Command: "redis-server redis.conf", Undo: "the server is stopped and what was made is removed", Timeout: patient},
		{ID: StepAttach, Node: n.Name, Title: "Wait until it has copied everything and holds the primary's position", Command: "INFO replication", Undo: "reads only", Timeout: patient},
		{ID: StepJoin, Node: n.Name, Title: n.Name + " becomes a member, promotable from here on", Command: "journal", PointOfNoReturn: true, Undo: "none", Timeout: quick},
		{ID: StepPeers, Node: strings.Join(memberNames(f), ", "), Title: "Tell the agents of the other nodes", Command: "put-peers", Undo: "none", Timeout: quick},
	}
	return p
}

// refuseTwice keeps the first refusal of each code.
func (p *Plan) refuseTwice() {
	seen, keep := map[string]bool{}, p.Refusals[:0]
	for _, r := range p.Refusals {
		if !seen[r.Code+r.Title] {
			keep = append(keep, r)
		}
		seen[r.Code+r.Title] = true
	}
	p.Refusals = keep
}

func memberNames(f *Facts) (out []string) {
	for i := range f.Nodes {
		out = append(out, f.Nodes[i].Name)
	}
	return out
}

// older compares versions by their numbers; what cannot be read is not older.
// Valkey follows Redis 7.2 and takes no part in its numbering.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	if strings.HasPrefix(a, "valkey-") != strings.HasPrefix(b, "valkey-") {
		return !strings.HasPrefix(a, "valkey-") // a newer Redis cannot read Valkey's data
	}
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

func numbers(v string) (out []int) {
	v = strings.TrimPrefix(v, "valkey-")
	for part := range strings.SplitSeq(v, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return out
		}
		out = append(out, n)
	}
	return out
}

// RemoveNode plans taking a replica out of the cluster. wipe removes its data
// too. The code "last.promotable" may be overridden.
func RemoveNode(f *Facts, c ClusterFacts, node string, wipe bool, overrides ...string) Plan {
	p := base(f, node, fmt.Sprintf("remove node %s from cluster %s", node, f.Cluster))
	n := f.Node(node)
	if n == nil {
		p.Refuse("node.known", "the cluster has no such node", shown(node), "baton nodes "+f.Cluster+" lists them")
		return p
	}
	primary := p.wantPrimary(f)
	switch {
	case n.Role() == engine.RolePrimary:
		p.Refuse("primary", node+" is the primary", "removing it would take the writes away", insteadOf(f, node))
	case len(f.Nodes) < 2:
		p.Refuse("last", "it is the last node", shown(node), "delete the cluster instead")
	}
	left, promotable := 0, 0
	for i := range f.Nodes {
		m := &f.Nodes[i]
		if m.Name == node || m.Role() == engine.RolePrimary {
			continue
		}
		if inStep(m) && !m.NoSync {
			left++
		}
		// Not its whole report: load and the like pass.
		if inStep(m) && !m.Never && (primary == nil || m.Seen.History == primary.Seen.History) {
			promotable++
		}
	}
	if left < c.SyncReplicas {
		p.Refuse("sync.quorum", "writes would not be taken any more", fmt.Sprintf("%d replicas must be in step, %d would be left", c.SyncReplicas, left), "add another node first, or lower the durability")
	}
	if promotable == 0 && !over(overrides, "last.promotable") {
		p.Refuse("last.promotable", "no other node could be promoted", "a loss of the primary would then take the cluster down", "add or repair another node first, or override last.promotable with a reason")
	}
	p.refuseTwice()
	if p.Refused() {
		return p
	}
	up, _ := others(f, node)
	p.Args["wipe"], p.Args["agent"] = strconv.FormatBool(wipe), n.Agent
	shutdown := Step{ID: StepShutdown, Node: node, Title: "Shut the server down; its data stays on the host", Command: "SHUTDOWN", PointOfNoReturn: true, Undo: "none", Timeout: patient}
	switch {
	case !c.Made:
		shutdown.Title, shutdown.Command = "Its agent forgets it; the server itself goes on", "instance-remove"
	case wipe:
		shutdown.Title = "Shut the server down and remove its data"
	}
	p.Steps = []Step{
		{ID: StepNever, Node: node, Title: "Mark it never to be promoted", Command: "journal", Undo: "its tags are put back", Timeout: quick},
		shutdown,
		{ID: StepPeers, Node: strings.Join(up, ", "), Title: "Tell the agents of the other nodes", Command: "put-peers", Undo: "none", Timeout: quick},
	}
	return p
}

// insteadOf says how the primary is made an ordinary node, with the very
// commands; then it can be removed.
func insteadOf(f *Facts, node string) string {
	best := ""
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Name == node || !Evaluate(f, n.Name).Promotable {
			continue
		}
		if b := f.Node(best); b == nil || n.Priority > b.Priority {
			best = n.Name
		}
	}
	if best == "" {
		return "no other node can be promoted now (baton nodes " + f.Cluster + " says why); once one can, promote it and remove " + node + " then"
	}
	return fmt.Sprintf("baton promote %s %s, then baton remove-node %s %s", f.Cluster, best, f.Cluster, node)
}

// Delete plans the end of a cluster.
func Delete(f *Facts, c ClusterFacts, wipe bool) Plan {
	p := Plan{Cluster: f.Cluster, Engine: f.Engine, Generation: f.Generation, Addresses: map[string]string{}, Args: map[string]string{}, Title: "delete cluster " + f.Cluster}
	if c.Protected {
		p.Refuse("protected", "the cluster is protected from deletion", shown(f.Cluster), "take the protection away in its settings first: baton settings "+f.Cluster+" --protect=false")
	}
	if p.Refused() {
		return p
	}
	agents := map[string]string{}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		p.Addresses[n.Name], agents[n.Name] = n.Address, n.Agent
	}
	b, _ := json.Marshal(agents)
	p.Args["agents"], p.Args["wipe"] = string(b), strconv.FormatBool(wipe)
	step := Step{ID: StepShutdown, Node: strings.Join(memberNames(f), ", "), Title: "Shut all servers down; their data stays on the hosts", Command: "SHUTDOWN", PointOfNoReturn: true,
		Undo: "none: from here the cluster goes", Timeout: patient}
	p.PossibleLoss = "nothing is removed from the disks; no client can reach it any more"
	switch {
	case !c.Made:
		step.Title, step.Command = "The agents forget its nodes; the servers themselves go on", "instance-remove"
		p.PossibleLoss = "nothing: the servers go on without Baton"
	case wipe:
		step.Title = "Shut all servers down and remove their data"
		p.PossibleLoss = "everything in it, except what backups hold"
	}
	p.Steps = []Step{step}
	return p
}

// Resync plans bringing one replica in step again.
func Resync(f *Facts, c ClusterFacts, node string, overrides ...string) Plan {
	p := base(f, node, fmt.Sprintf("resynchronize %s from the primary of %s", node, f.Cluster))
	n := f.Node(node)
	if n == nil {
		p.Refuse("node.known", "the cluster has no such node", shown(node), "baton nodes "+f.Cluster+" lists them")
		return p
	}
	primary := p.wantPrimary(f)
	if n.Role() == engine.RolePrimary {
		p.Refuse("primary", node+" is the primary", "only a replica copies from it", "nothing to do")
	}
	if !n.Up() && (n.Process == nil || n.Process.State != "running") {
		p.Refuse("engine.up", node+" does not answer", "its server does not run", "start it first")
	}
	if busy := copying(f, node); len(busy) > 0 && !over(overrides, "sync.busy") {
		p.Refuse("sync.busy", "another replica is not in step either", strings.Join(busy, ", "), "one at a time: wait for it, or override sync.busy with a reason")
	}
	p.refuseTwice()
	if p.Refused() {
		return p
	}
	p.Args["made"], p.Args["agent"] = strconv.FormatBool(c.Made), n.Agent
	p.Steps = []Step{
		{ID: StepReconnect, Node: node, Title: "Attach to " + primary.Name + " again, from its offset if that is possible", Command: "CLIENT KILL TYPE master; REPLICAOF", Undo: "reads only", Timeout: patient},
		{ID: StepFullCopy, Node: node, Title: "Copy everything, only if it could not go on from its offset", Command: "restart without data", Undo: "none needed: the primary has everything", Timeout: patient},
		{ID: StepCaughtUp, Node: node, Title: "Wait until it holds the primary's position", Command: "INFO replication", Undo: "reads only", Timeout: patient},
	}
	return p
}

// Configure plans a change on every node: of settings, of a user, or of what
// servers are started with. Args are the executor's; what is the sentence.
func Configure(f *Facts, title, command string, args map[string]string) Plan {
	p := base(f, "", title)
	p.wantPrimary(f)
	if _, down := others(f); len(down) > 0 {
		p.Refuse("engine.up", "not every node answers", strings.Join(down, ", "), "start or remove them first: all nodes must have the same")
	}
	for k, v := range args {
		p.Args[k] = v
	}
	members := memberNames(f)
	sort.Strings(members)
	b, _ := json.Marshal(members)
	p.Args["members"] = string(b)
	p.Steps = []Step{
		{ID: StepApply, Node: strings.Join(members, ", "), Title: "Apply it on every node and write it to their files", Command: command, Undo: "what was before is applied again", Timeout: patient},
		{ID: StepVerify, Node: strings.Join(members, ", "), Title: "Verify that one primary takes writes and all others follow it", Command: "ROLE; INFO replication", Undo: "reads only", Timeout: patient},
	}
	return p
}
