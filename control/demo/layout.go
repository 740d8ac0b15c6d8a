// Package demo sets up two demonstration clusters on this machine: an event
// store of five nodes (three voters, two clones) and, where redis-server is
// installed, Redis with one primary and two replicas.
//
// They go the way of any cluster. The event store's processes and instances are
// given to the agent as orders and the cluster is registered in the inventory.
// The Redis cluster is made by the operation that makes every cluster, so that
// everything can be done with it that can be done with one of one's own; see
// redis.go. Which ports and which password were chosen is kept in a file, so
// that a second start finds what is there. What is made listens on loopback
// only.
package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"baton/control/agent/supervise"
	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/inventory"
	"baton/platform/identity"
)

// Ids of the demonstration clusters; their nodes are ID-1, ID-2, ...
const (
	EventStoreID = "demo"
	RedisID      = "cache"
)

const (
	host       = "127.0.0.1"
	layoutFile = "layout.json"
	// voters of the event store; its other nodes become clones.
	voters          = 3
	eventStoreNodes = 5
	redisNodes      = 3
	// Ports that are tried first; a taken one is replaced by a free one.
	firstClientPort = 2113
	firstPeerPort   = 1112
	firstRedisPort  = 6380
	// firstEndpointPort is for reads and writes, the next one for reads.
	firstEndpointPort = 6390
)

// priorities of the event store's nodes: the first leads when nobody chose.
var priorities = [eventStoreNodes]int{20, 10, 10, 5, 1}

// Layout is what was chosen at the first start.
type Layout struct {
	EventStore []StoreNode `json:"eventStore"`
	// Redis are the servers the cluster begins with.
	Redis []RedisNode `json:"redis,omitempty"`
	// RedisMade tells that an operation makes them and that RedisUser is the
	// clients' user. Without it the layout is of a time when they were only
	// watched: processes of the demo's own with one password for everybody.
	RedisMade     bool   `json:"redisMade,omitempty"`
	RedisUser     string `json:"redisUser,omitempty"`
	RedisPassword string `json:"redisPassword,omitempty"`
	// RedisOperation is the operation that made them.
	RedisOperation string `json:"redisOperation,omitempty"`
	// RedisFailover is the policy to put back at the next start, "" for none.
	RedisFailover string `json:"redisFailover,omitempty"`
	// RedisReadWrite and RedisReadOnly are the ports of the Redis cluster's
	// endpoint.
	RedisReadWrite int `json:"redisReadWrite,omitempty"`
	RedisReadOnly  int `json:"redisReadOnly,omitempty"`
}

// StoreNode is one event-store node.
type StoreNode struct {
	Name     string `json:"name"`
	Port     int    `json:"port"`     // clients
	PeerPort int    `json:"peerPort"` // other nodes
	Priority int    `json:"priority"`
}

// RedisNode is one Redis server.
type RedisNode struct {
	Name string `json:"name"`
	Port int    `json:"port"`
}

// load reads the layout in dir, or chooses one and writes it. Redis is added
// when it was not there at the first start and is now.
func load(dir string, withRedis bool) (*Layout, error) {
	path := filepath.Join(dir, layoutFile)
	l := &Layout{}
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, l); err != nil {
			return nil, fmt.Errorf("read the demo's layout in %s: %w", path, err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("read the demo's layout: %w", err)
	}
	taken := l.ports()
	changed := false
	if len(l.EventStore) == 0 {
		changed = true
		for i := range eventStoreNodes {
			n := StoreNode{Name: fmt.Sprintf("%s-%d", EventStoreID, i+1), Priority: priorities[i]}
			if n.Port, err = choose(firstClientPort+i, taken); err != nil {
				return nil, err
			}
			if n.PeerPort, err = choose(firstPeerPort+i, taken); err != nil {
				return nil, err
			}
			l.EventStore = append(l.EventStore, n)
		}
	}
	if len(l.Redis) == 0 && withRedis {
		changed, l.RedisMade = true, true
		for i := range redisNodes {
			n := RedisNode{Name: fmt.Sprintf("%s-%d", RedisID, i+1)}
			if n.Port, err = choose(firstRedisPort+i, taken); err != nil {
				return nil, err
			}
			l.Redis = append(l.Redis, n)
		}
	}
	if len(l.Redis) > 0 && l.RedisReadWrite == 0 {
		changed = true
		if l.RedisReadWrite, err = choose(firstEndpointPort, taken); err != nil {
			return nil, err
		}
		if l.RedisReadOnly, err = choose(firstEndpointPort+1, taken); err != nil {
			return nil, err
		}
	}
	if !changed {
		return l, nil
	}
	return l, l.save(dir)
}

// save writes the layout in dir; it holds a password.
func (l *Layout) save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(filepath.Join(dir, layoutFile), b, 0o600)
}

func (l *Layout) ports() map[int]bool {
	taken := map[int]bool{}
	for _, n := range l.EventStore {
		taken[n.Port], taken[n.PeerPort] = true, true
	}
	for _, n := range l.Redis {
		taken[n.Port] = true
	}
	taken[l.RedisReadWrite], taken[l.RedisReadOnly] = true, true
	return taken
}

// choose returns the wanted port when it is free, else another free one.
func choose(want int, taken map[int]bool) (int, error) {
	for _, p := range []int{want, 0, 0, 0, 0, 0, 0, 0, 0} {
		if p != 0 && taken[p] {
			continue
		}
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		if err != nil {
			continue
		}
		p = ln.Addr().(*net.TCPAddr).Port
		ln.Close()
		if !taken[p] {
			taken[p] = true
			return p, nil
		}
	}
	return 0, fmt.Errorf("find a free port on %s (%d is taken)", host, want)
}

// RedisServer finds redis-server; "" when it is not installed.
func RedisServer() string {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return ""
	}
	if path, err = filepath.Abs(path); err != nil {
		return ""
	}
	return path
}

// part is one cluster: how its processes are started, what the agent is told
// of its instances, what the inventory is told of it.
type part struct {
	processes []supervise.Spec
	instances []engine.Instance
	spec      inventory.Spec
}

// eventStore describes the event store. binary is baton itself.
func (l *Layout) eventStore(dir, binary string) part {
	p := part{spec: inventory.Spec{ID: EventStoreID, Name: EventStoreID, Engine: engine.EventStore, Insecure: true,
		Durability: "A write is acknowledged when a majority of the voters has it on disk."}}
	var peers []engine.Peer
	for _, n := range l.EventStore {
		peers = append(peers, engine.Peer{Node: n.Name, Host: host, Port: n.Port})
	}
	for i, n := range l.EventStore {
		var seeds string
		for j, o := range peers {
			if i == j {
				continue
			}
			if seeds != "" {
				seeds += ","
			}
			seeds += o.Address()
		}
		data := filepath.Join(dir, n.Name)
		p.processes = append(p.processes, supervise.Spec{Name: n.Name, Path: binary, Dir: data, Env: []string{"PATH=/usr/bin:/bin"},
			Args: []string{"serve", "--insecure", "--run-projections", "All", "--db", data, "--node-name", n.Name,
				"--cluster-size", strconv.Itoa(voters), "--node-priority", strconv.Itoa(n.Priority),
				"--node-ip", host, "--node-port", strconv.Itoa(n.Port),
				"--replication-ip", host, "--replication-port", strconv.Itoa(n.PeerPort), "--gossip-seed", seeds}})
		p.instances = append(p.instances, engine.Instance{Cluster: EventStoreID, Node: n.Name, Engine: engine.EventStore,
			Host: host, Port: n.Port, Dir: data, Process: n.Name, Peers: peers})
		p.spec.Members = append(p.spec.Members, inventory.Member{Name: n.Name, Address: peers[i].Address(), Priority: n.Priority})
	}
	return p
}

// watchedRedis describes a Redis cluster of a layout without RedisMade. The
// first server begins as primary; its file, and the others', are rewritten by
// the servers when roles change.
func (l *Layout) watchedRedis(dir, binary string) (part, error) {
	p := part{spec: inventory.Spec{ID: RedisID, Name: RedisID, Engine: engine.Redis, Insecure: true, Primary: l.Redis[0].Name,
		Durability: "A write is acknowledged by the primary while at least one replica is attached; replicas copy asynchronously."}}
	var peers []engine.Peer
	for _, n := range l.Redis {
		peers = append(peers, engine.Peer{Node: n.Name, Host: host, Port: n.Port})
	}
	for i, n := range l.Redis {
		data := filepath.Join(dir, n.Name)
		c := redis.Config{Host: host, Port: n.Port, Dir: data, Password: l.RedisPassword, MinReplicas: 1}
		if i > 0 {
			c.ReplicaOf = &peers[0]
		}
		file, err := c.File()
		if err != nil {
			return p, err
		}
		p.processes = append(p.processes, supervise.Spec{Name: n.Name, Path: binary, Dir: data, Env: []string{"PATH=/usr/bin:/bin"},
			Args: []string{"redis.conf"}, Files: []supervise.File{{Name: "redis.conf", Data: file}}})
		p.instances = append(p.instances, engine.Instance{Cluster: RedisID, Node: n.Name, Engine: engine.Redis,
			Host: host, Port: n.Port, Dir: data, Process: n.Name, Peers: peers, Auth: engine.Auth{Password: l.RedisPassword}})
		p.spec.Members = append(p.spec.Members, inventory.Member{Name: n.Name, Address: peers[i].Address(), Priority: 100})
	}
	return p, nil
}
