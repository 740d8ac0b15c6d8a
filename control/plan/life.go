package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"

	"baton/control/engine"
)

// Ids of the steps in the life of a cluster.
const (
	StepCheckHosts = "check-hosts"
	StepMake       = "make-servers"
	StepAttach     = "attach"
	StepWatch      = "watch"
	StepJoin       = "join" // the inventory takes the change in
	StepPeers      = "tell-peers"
	StepNever      = "mark-never"
	StepShutdown   = "shut-down"
	StepReconnect  = "reconnect"
	StepFullCopy   = "full-copy"
	StepCaughtUp   = "caught-up"
	StepApply      = "apply"
	StepRecord     = "record"
)

// Survey is what an agent found out about one wanted server on its host.
type Survey struct {
	Agent     string
	Connected bool
	Host      string // reachable at
	Port      int
	Taken     string // why it cannot be made there, "" nothing
	Version   string // of the program found, "" none
	// Free numbers are in bytes; -1 unknown.
	MemoryFree, DiskFree int64
	Err                  string // why there is no survey
}

// NewNode is one server to be made.
type NewNode struct {
	Name     string `json:"name"`
	Agent    string `json:"agent"`
	Host     string `json:"host,omitempty"`
	Port     int    `json:"port,omitempty"`
	Priority int    `json:"priority"`
}

// Address is host:port.
func (n NewNode) Address() string { return engine.Peer{Host: n.Host, Port: n.Port}.Address() }

// NewCluster is what a person asks for; its first node begins as primary.
type NewCluster struct {
	Name         string
	Engine       string
	Version      string // "": whatever the hosts agree on
	Nodes        []NewNode
	MemoryBytes  int64
	SyncReplicas int
	AllowCIDRs   []string
}

// Bounds of what may be asked for.
const (
	MaxNodes       = 16
	MinMemoryBytes = 16 << 20
	MaxMemoryBytes = 1 << 46
	// memoryRoom is what a server needs beside its limit on data: buffers and
	// what is copied while it saves.
	memoryRoom = 1.2
)

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// refuseName refuses what is no name, telling a look-alike from a mistyped one.
func (p *Plan) refuseName(what, name string) {
	if nameForm.MatchString(name) {
		return
	}
	why := "names begin with a letter and hold lower-case letters, digits and dashes, at most 63"
	for _, r := range name {
		if r > 127 {
			why = fmt.Sprintf("it holds %q, which is not a letter of a to z although it may look like one", r)
			break
		}
	}
	p.Refuse("name", fmt.Sprintf("the %s's name is not allowed", what), fmt.Sprintf("%s: %s", shown(name), why), "choose another name")
}

// shown is a person's text fit for a sentence.
func shown(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return fmt.Sprintf("%q", s)
}

// Create plans a new cluster. surveys are in the order of the nodes.
func Create(n NewCluster, surveys []Survey) Plan {
	p := Plan{Engine: n.Engine, Cluster: n.Name, Addresses: map[string]string{}, Args: map[string]string{}, Title: "create cluster " + n.Name}
	p.refuseName("cluster", n.Name)
	switch {
	case n.Engine != engine.Redis:
		p.Refuse("engine", "clusters of this engine are not made by Baton", shown(n.Engine), "choose redis")
	case len(n.Nodes) == 0 || len(n.Nodes) > MaxNodes:
		p.Refuse("nodes", "the number of nodes is out of range", fmt.Sprintf("%d nodes", len(n.Nodes)), fmt.Sprintf("give 1 to %d", MaxNodes))
	case n.SyncReplicas > len(n.Nodes)-1:
		p.Refuse("sync", "more replicas would have to be in step than there are", fmt.Sprintf("%d of %d", n.SyncReplicas, len(n.Nodes)-1), "add nodes, or choose durability async")
	}
	if n.MemoryBytes != 0 && (n.MemoryBytes < MinMemoryBytes || n.MemoryBytes > MaxMemoryBytes) {
		p.Refuse("memory", "the memory limit is out of range", fmt.Sprintf("%d bytes", n.MemoryBytes), fmt.Sprintf("give 0 for no limit, or %d (16 MiB) and more", MinMemoryBytes))
	}
	if p.Refused() {
		return p
	}
	seen, versions := map[string]bool{}, map[string]bool{}
	var nodes []NewNode
	wanted := map[string]int64{}
	for i, node := range n.Nodes {
		p.refuseName("node", node.Name)
		if seen[node.Name] {
			p.Refuse("name.twice", "two nodes have the same name", shown(node.Name), "give each node a name of its own")
		}
		seen[node.Name] = true
		if node.Priority < 0 || node.Priority > 1000 {
			p.Refuse("priority", "the priority is out of range", fmt.Sprintf("%s: %d", node.Name, node.Priority), "give 0 to 1000")
		}
		wanted[node.Agent] += n.MemoryBytes
		p.survey(node, surveys[i], n.Version, wanted[node.Agent])
		node.Host, node.Port = surveys[i].Host, surveys[i].Port
		if seen[node.Address()] {
			p.Refuse("port.twice", "two nodes have the same address", node.Address(), "give them different ports")
		}
		seen[node.Address()] = true
		if v := surveys[i].Version; v != "" {
			versions[v] = true
		}
		p.Addresses[node.Name] = node.Address()
		nodes = append(nodes, node)
	}
	if len(versions) > 1 {
		list := slices.Sorted(maps.Keys(versions))
		p.Refuse("version.mixed", "the hosts have different versions", strings.Join(list, ", "), "name a version that all of them have")
	}
	if p.Refused() {
		return p
	}
	p.SetNodes(nodes)
	p.Args["version"], p.Node = surveys[0].Version, nodes[0].Name
	p.Args["memoryBytes"], p.Args["syncReplicas"] = fmt.Sprint(n.MemoryBytes), fmt.Sprint(n.SyncReplicas)
	p.PossibleLoss = "nothing: the cluster is new"
	names := names(nodes)
	p.Steps = []Step{
		{ID: StepCheckHosts, Node: names, Title: "Check again that ports, names, memory and programs are there", Command: "survey", Undo: "reads only", Timeout: quick},
		{ID: StepMake, Node: names, Title: "Write each server's files and start it", Command: "redis-server redis.conf", Undo: "the servers are stopped and what was made is removed", Timeout: patient},
		{ID: StepAttach, Node: names, Title: "Verify that the others follow " + nodes[0].Name + " and hold its position", Command: "ROLE; INFO replication", Undo: "reads only", Timeout: patient},
		{ID: StepVerify, Node: names, Title: "Write a value and read it back on every node", Command: "SET, GET", Undo: "the key ends by itself", Timeout: quick},
	}
	return p
}

// survey refuses what a host cannot take. need is the memory that all new
// servers there ask for so far.
func (p *Plan) survey(n NewNode, s Survey, version string, need int64) {
	switch {
	case s.Err != "" || !s.Connected:
		why := s.Err
		if why == "" {
			why = "its agent has no link to the control plane"
		}
		p.Refuse("host", "the host of "+n.Name+" does not answer", shown(n.Agent)+": "+why, "start its agent, or choose another host")
		return
	case s.Taken != "":
		p.Refuse("host.taken", "the server "+n.Name+" cannot be made on its host", s.Taken, "choose another host, name or port")
	case s.Version == "" && version == "":
		p.Refuse("version", "the engine is not installed on the host of "+n.Name, "no server program was found", "install it there (Debian: apt-get install redis-server), or give the agent --engine-dir")
	case s.Version == "":
		p.Refuse("version", "the host of "+n.Name+" does not have this version", shown(version), "install it there, or choose a version it has")
	}
	if s.MemoryFree >= 0 && float64(need)*memoryRoom > float64(s.MemoryFree) {
		p.Refuse("memory.host", "the host of "+n.Name+" has too little memory", fmt.Sprintf("%d bytes are free, %.0f are needed", s.MemoryFree, float64(need)*memoryRoom), "choose another host or a lower limit")
	}
	if s.DiskFree >= 0 && s.DiskFree < 2*need {
		p.Refuse("disk.host", "the host of "+n.Name+" has too little disk space", fmt.Sprintf("%d bytes are free, %d are needed", s.DiskFree, 2*need), "free space, or choose another host")
	}
}

// SetNodes keeps the servers to be made in the plan.
func (p *Plan) SetNodes(nodes []NewNode) {
	b, _ := json.Marshal(nodes) // strings and numbers
	p.Args["nodes"] = string(b)
}

// Nodes are the servers to be made, as SetNodes kept them.
func (p *Plan) Nodes() []NewNode {
	var out []NewNode
	_ = json.Unmarshal([]byte(p.Args["nodes"]), &out) // of SetNodes
	return out
}

func names(nodes []NewNode) string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Name
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}
