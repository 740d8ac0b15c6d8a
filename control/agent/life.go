package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"baton/control/engine"
)

// Actions of an agent in the life of a cluster. Their orders have an empty
// Node.
const (
	// ActionSurvey{node,port,engine,version[,not]}: whether a server could be made
	// here. Port 0 asks for a free one that is not in not, a list with commas. Values: "host", "port", "taken" (a
	// sentence, "" when all is free), "memoryFree", "memoryTotal", "diskFree",
	// "version" and "path" of the program, "" when it is not here.
	ActionSurvey = "survey"
	// ActionMakeServer{server}: JSON of engine.NewServer; writes its files,
	// starts it under supervision and watches it. Values: "dir", "pid", "alreadyDone".
	ActionMakeServer = "make-server"
	// ActionDropServer{node,operation,wipe}: ends the server and forgets it.
	// With wipe "true" its directory is removed too. With operation only what
	// that operation made. Values: "kept", the directory that stays.
	ActionDropServer = "drop-server"
	// ActionEmpty{node}: ends a replica, removes its data and starts it again,
	// so that it copies everything. A primary is refused.
	ActionEmpty = "empty-server"
	// ActionPeers{peers}: JSON of []engine.Peer; the members that every instance
	// of the cluster here knows from now on.
	ActionPeers = "put-peers"
	// ActionArguments{node,args}: JSON list; what the server's program is
	// started with the next time.
	ActionArguments = "put-arguments"
	// ActionLook{engine,addr,user,password}: what replicates at an address that
	// is no instance of ours yet. Values: "found", JSON of engine.Found.
	ActionLook = "look"
)

// programsEvery is how often the host is searched for servers' programs.
const programsEvery = time.Minute

// versionTime bounds asking a program for its version.
const versionTime = 5 * time.Second

// findPrograms looks for the engines' programs in directories, in this order;
// the first of a version counts.
func findPrograms(drivers map[string]engine.Driver, dirs []string) []engine.Program {
	var out []engine.Program
	seen := map[string]bool{}
	for name, d := range drivers {
		m, ok := d.(engine.Maker)
		if !ok {
			continue
		}
		for _, dir := range dirs {
			for _, program := range m.Programs() {
				path := filepath.Join(dir, program)
				if st, err := os.Stat(path); err != nil || st.IsDir() || st.Mode()&0o111 == 0 {
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), versionTime)
				cmd := exec.CommandContext(ctx, path, "--version")
				cmd.Env = []string{"PATH=/usr/bin:/bin"}
				text, err := cmd.Output()
				cancel()
				if err != nil {
					continue
				}
				if v, ok := m.VersionOf(string(text)); ok && !seen[name+v] {
					seen[name+v] = true
					out = append(out, engine.Program{Engine: name, Version: v, Path: path})
				}
			}
		}
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Engine+out[i].Version < out[j].Engine+out[j].Version
	})
	return out
}

// DefaultEngineDirs are searched when no directory was named.
var DefaultEngineDirs = []string{"/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"}

// lookForPrograms keeps what the host has up to date until ctx ends.
func (a *Agent) lookForPrograms(ctx context.Context) {
	dirs := a.opt.EngineDirs
	if len(dirs) == 0 {
		dirs = DefaultEngineDirs
	}
	tick := time.NewTicker(programsEvery)
	defer tick.Stop()
	for {
		found := findPrograms(a.drivers, dirs)
		a.mu.Lock()
		a.programs = found
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// program finds a version; version "" any. An event store is served by our own.
func (a *Agent) program(eng, version string) (engine.Program, bool) {
	if eng == engine.EventStore && a.opt.Baton != "" && (version == "" || version == a.opt.Version) {
		return engine.Program{Engine: eng, Version: a.opt.Version, Path: a.opt.Baton}, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := len(a.programs) - 1; i >= 0; i-- { // the newest of any
		if p := a.programs[i]; p.Engine == eng && (version == "" || p.Version == version) {
			return p, true
		}
	}
	return engine.Program{}, false
}

// hostTowards is the address of this machine that its way to another begins
// with. No packet is sent: the kernel only chooses the route.
func hostTowards(address string) string {
	c, err := net.Dial("udp", address)
	if err != nil {
		return "127.0.0.1"
	}
	defer c.Close()
	if ip := c.LocalAddr().(*net.UDPAddr).IP; ip != nil {
		return ip.String()
	}
	return "127.0.0.1"
}

// ServerName is the name of the process, and of the directory, of a server that
// an agent made.
func ServerName(cluster, node string) string { return serverName(cluster, node) }

func serverName(cluster, node string) string {
	name := cluster + "--" + node
	if len(name) > 63 {
		name = name[:63]
	}
	return strings.TrimRight(name, "-")
}

func (a *Agent) serverDir(cluster, node string) string {
	return filepath.Join(a.opt.Dir, "servers", serverName(cluster, node))
}

// taken says in a sentence why a server of this name and port cannot be made
// here, "" when it can.
func (a *Agent) taken(cluster, node, host string, port int) string {
	name := serverName(cluster, node)
	for _, p := range a.super.States() {
		if p.Name == name {
			return fmt.Sprintf("a server %s is here already", name)
		}
	}
	a.mu.Lock()
	_, watched := a.instances[cluster+"/"+node]
	a.mu.Unlock()
	if watched {
		return fmt.Sprintf("node %s of cluster %s is watched here already", node, cluster)
	}
	if entries, err := os.ReadDir(a.serverDir(cluster, node)); err == nil && len(entries) > 0 {
		return fmt.Sprintf("the directory %s holds the data of an earlier server; move it away first", a.serverDir(cluster, node))
	}
	if port != 0 && !portFree(host, port) {
		return fmt.Sprintf("port %d is in use on %s", port, host)
	}
	return ""
}

func portFree(host string, port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

// defaultPort is where the search for a free port begins; portsTried bounds it.
const (
	defaultPort = 6379
	portsTried  = 500
)

func (a *Agent) firstPort() int {
	if a.opt.FirstPort > 0 {
		return a.opt.FirstPort
	}
	return defaultPort
}

// offer is a port that was named for a node that is to be made.
type offer struct {
	node  string // cluster/node
	until time.Time
}

// offerTime is how long a port is kept for the node it was named for.
const offerTime = 20 * time.Second

// freePort finds a port that no watched instance and no program here uses, and
// that was not named for another node a moment ago: two clusters may be made at
// the same time.
func (a *Agent) freePort(node, host, not string) int {
	used := map[int]bool{}
	for text := range strings.SplitSeq(not, ",") {
		if p, err := strconv.Atoi(text); err == nil {
			used[p] = true
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.instances {
		used[w.in.Port] = true
	}
	now := time.Now()
	for p, o := range a.offered {
		switch {
		case now.After(o.until):
			delete(a.offered, p)
		case o.node != node:
			used[p] = true
		}
	}
	for p := a.firstPort(); p < a.firstPort()+portsTried; p++ {
		if !used[p] && portFree(host, p) {
			if a.offered == nil {
				a.offered = map[int]offer{}
			}
			a.offered[p] = offer{node, now.Add(offerTime)}
			return p
		}
	}
	return 0
}

func survey(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	port, err := strconv.Atoi(o.Action.Arg("port"))
	node := o.Action.Arg("node")
	if err != nil || port < 0 || port > 65535 || !namePattern.MatchString(node) || !namePattern.MatchString(o.Cluster) {
		return nil, badArg("survey needs a node's name and a port")
	}
	host := a.opt.Advertise
	out := map[string]string{"host": host, "taken": a.taken(o.Cluster, node, host, port)}
	if port == 0 {
		if port = a.freePort(o.Cluster+"/"+node, host, o.Action.Arg("not")); port == 0 {
			out["taken"] = fmt.Sprintf("no port from %d to %d is free on %s", a.firstPort(), a.firstPort()+portsTried-1, host)
		}
	}
	out["port"] = strconv.Itoa(port)
	h := a.local.Read()
	out["memoryFree"], out["memoryTotal"] = strconv.FormatInt(h.MemoryFree, 10), strconv.FormatInt(h.MemoryBytes, 10)
	if d, err := diskFree(a.opt.Dir); err == nil {
		out["diskFree"] = strconv.FormatInt(d, 10)
	}
	if p, ok := a.program(o.Action.Arg("engine"), o.Action.Arg("version")); ok {
		out["version"], out["path"] = p.Version, p.Path
	}
	return out, nil
}

func putPeers(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	var peers []engine.Peer
	if err := json.Unmarshal([]byte(o.Action.Arg("peers")), &peers); err != nil {
		return nil, badArg("put-peers: the peers do not decode")
	}
	a.mu.Lock()
	var change []engine.Instance
	for _, w := range a.instances {
		if w.in.Cluster == o.Cluster {
			in := w.in
			in.Peers = peers
			change = append(change, in)
		}
	}
	a.mu.Unlock()
	for _, in := range change {
		if err := a.putInstance(in); err != nil {
			return nil, err
		}
	}
	return map[string]string{"changed": strconv.Itoa(len(change))}, nil
}

func lookAt(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	host, text, err := net.SplitHostPort(o.Action.Arg("addr"))
	port, perr := strconv.Atoi(text)
	if err != nil || perr != nil || host == "" || port < 1 || port > 65535 {
		return nil, badArg("look needs addr as host:port, not %q", o.Action.Arg("addr"))
	}
	d := a.drivers[o.Action.Arg("engine")]
	if d == nil {
		return nil, badArg("this agent has no driver for engine %q", o.Action.Arg("engine"))
	}
	in := engine.Instance{Cluster: "look", Node: "look", Engine: d.Engine(), Host: host, Port: port,
		Auth: engine.Auth{User: o.Action.Arg("user"), Password: o.Action.Arg("password")}}
	defer d.Forget(in)
	r, err := d.Do(ctx, in, engine.Action{Name: engine.Discover})
	return r.Values, err
}
