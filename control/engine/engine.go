// Package engine holds the vocabulary every database engine is described and
// driven with: what an instance is, what can be observed about it, which
// actions it accepts, and the Driver that does both.
//
// The package is pure (types and small functions of their values), so that
// health, plan and operation may use it. Drivers live in sub-packages and run
// inside the agent, on the same host as the engine. Every driver passes the
// suite in enginetest against real servers.
package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Names of the engines this version drives; they are stored in the inventory
// and shown to people, so they never change their spelling.
const (
	EventStore = "eventstore"
	Redis      = "redis"
)

// Role is what an instance says it is at this moment.
type Role string

const (
	// RolePrimary accepts writes: a Redis master, an event-store leader.
	RolePrimary Role = "primary"
	// RoleReplica copies a primary and may become one: a Redis replica, an
	// event-store follower.
	RoleReplica Role = "replica"
	// RoleClone copies asynchronously and counts for no quorum; it may be
	// promoted.
	RoleClone Role = "clone"
	// RoleReadOnly copies asynchronously and is never promoted.
	RoleReadOnly Role = "read-only replica"
	// RoleUnknown is said while the instance does not answer or is between
	// roles (an election, a first synchronization).
	RoleUnknown Role = "unknown"
)

// Auth is what the agent logs in to an instance with. The zero value means no
// authentication. Its String hides the password.
type Auth struct {
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	// CAFile, when set, turns TLS on and names the PEM file to verify with.
	CAFile string `json:"caFile,omitempty"`
}

// String tells whether a login is set, never what it is.
func (a Auth) String() string {
	if a.Password == "" {
		return "no password"
	}
	return fmt.Sprintf("user %q with a password", a.User)
}

// GoString keeps %#v from printing the password.
func (a Auth) GoString() string { return a.String() }

// Peer is another member of an instance's cluster, as the agent reaches it.
type Peer struct {
	Node string `json:"node"`
	Host string `json:"host"`
	Port int    `json:"port"`
}

// Address is host:port.
func (p Peer) Address() string { return hostPort(p.Host, p.Port) }

// Instance is one database process as its agent knows it.
type Instance struct {
	// Cluster is the cluster's id, Node the node's name inside it; both match
	// ^[a-z][a-z0-9-]{0,62}$ and together identify the instance.
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	// Engine is one of the constants above.
	Engine string `json:"engine"`
	// Host and Port are the client address other members and clients use.
	Host string `json:"host"`
	Port int    `json:"port"`
	// Dir is the data directory on the agent's host; used for disk facts.
	Dir  string `json:"dir,omitempty"`
	Auth Auth   `json:"auth"`
	// Process names the supervised process behind it, empty when the agent
	// watches an instance that something else started.
	Process string `json:"process,omitempty"`
	// Peers are the other members; the driver proves that it can reach and
	// log in to each of them, and the probe rediscovers the primary among them.
	Peers []Peer `json:"peers,omitempty"`
	// Params are engine-specific settings; see the driver's package comment.
	Params map[string]string `json:"params,omitempty"`
}

// Key is "cluster/node".
func (i Instance) Key() string { return i.Cluster + "/" + i.Node }

// Address is host:port.
func (i Instance) Address() string { return hostPort(i.Host, i.Port) }

func hostPort(host string, port int) string {
	if strings.Contains(host, ":") { // IPv6
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// Action is one idempotent thing a driver is asked to do. Args are listed with
// the action's constant.
type Action struct {
	Name string            `json:"name"`
	Args map[string]string `json:"args,omitempty"`
}

// Arg returns the argument or "".
func (a Action) Arg(name string) string { return a.Args[name] }

// Result is what an action found or did. Values are listed with the action's
// constant; "alreadyDone" = "true" tells that nothing had to be changed.
type Result struct {
	Values map[string]string `json:"values,omitempty"`
}

// ValueAlreadyDone is the key an action sets to "true" when its goal held
// before it did anything.
const ValueAlreadyDone = "alreadyDone"

// Driver observes and commands instances of one engine. It keeps connections
// open between calls, so the first call to an instance is slow (milliseconds)
// and later ones are not. All methods may be called from several goroutines.
type Driver interface {
	// Engine returns the engine's name.
	Engine() string
	// Observe looks at the instance once. An instance that does not answer is
	// not an error: the observation then has Up false and Err set. The error is
	// kept for a wrong call (another engine's instance).
	Observe(ctx context.Context, in Instance) (Observation, error)
	// Do performs the action. Doing it twice is the same as doing it once.
	// Errors are *ActionError, or ctx's error when the outcome is unknown.
	Do(ctx context.Context, in Instance, a Action) (Result, error)
	// Done tells whether the action's goal holds already, changing nothing.
	// Actions that only read report false: repeating them is harmless.
	Done(ctx context.Context, in Instance, a Action) (bool, error)
	// Probe opens a synthetic writer for the cluster of the instance.
	// It writes nothing before its Run.
	Probe(in Instance) (Probe, error)
	// Forget drops the connections kept for an instance.
	Forget(in Instance)
	// Close drops all connections.
	Close() error
}
