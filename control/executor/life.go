package executor

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// Secrets seals what may stand in the journal; *seal.Box is one.
type Secrets interface {
	Seal(plain []byte, context string) string
	Open(sealed, context string) ([]byte, error)
}

// ErrNoSecrets: without a master key no password can be kept.
var ErrNoSecrets = errors.New("this control plane has no master key: passwords of servers could not be kept")

// Credentials of a database user. They are shown once and kept nowhere.
type Credentials struct {
	User     string
	Password string
}

// firstUser is the user that a new cluster's clients begin with.
const firstUser = "app"

// newPassword is 32 random bytes.
func newPassword() (password, hash string) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	password = hex.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(password))
	return password, hex.EncodeToString(sum[:])
}

func secretContext(cluster, name string) string { return "cluster/" + cluster + "/" + name }

// login is how Baton logs in to a cluster's servers.
func (e *Executor) login(c *inventory.Cluster) (engine.Auth, error) {
	if e.Secrets == nil {
		return engine.Auth{}, ErrNoSecrets
	}
	sealed, ok := c.Secrets[inventory.SecretLogin]
	if !ok {
		return engine.Auth{}, fmt.Errorf("the password of cluster %s is not kept here", c.ID)
	}
	plain, err := e.Secrets.Open(sealed, secretContext(c.ID, inventory.SecretLogin))
	if err != nil {
		return engine.Auth{}, fmt.Errorf("open the password of cluster %s: %w", c.ID, err)
	}
	a := engine.Auth{Password: string(plain)}
	if c.Made != nil && c.Made.Login != "" {
		a.User = c.Made.Login
	} else {
		a.User = c.Parameters[loginUser]
	}
	return a, nil
}

// loginUser is the parameter under which an adopted cluster's user is kept.
const loginUser = "baton.login"

// clusterFacts are what planning needs of the record.
func clusterFacts(c *inventory.Cluster) plan.ClusterFacts {
	f := plan.ClusterFacts{Made: c.Made != nil, SyncReplicas: c.Policy.SyncReplicas, Protected: c.Policy.DeletionProtection, Login: c.Secrets[inventory.SecretLogin] != ""}
	if c.Made != nil {
		f.MemoryBytes = c.Made.MemoryBytes
	}
	return f
}

// surveyTime bounds one survey.
const surveyTime = 5 * time.Second

// surveys asks the hosts whether they could take the nodes, one after the
// other, so that each gets a port of its own also where agents share a machine.
func (e *Executor) surveys(ctx context.Context, cluster, eng, version string, nodes []plan.NewNode) []plan.Survey {
	out := make([]plan.Survey, len(nodes))
	var ports []string
	for _, n := range nodes {
		if n.Port != 0 {
			ports = append(ports, strconv.Itoa(n.Port))
		}
	}
	for i, n := range nodes {
		out[i] = e.survey(ctx, n.Agent, cluster, eng, version, n, strings.Join(ports, ","))
		ports = append(ports, strconv.Itoa(out[i].Port))
	}
	return out
}

func (e *Executor) survey(ctx context.Context, id, cluster, eng, version string, n plan.NewNode, not string) plan.Survey {
	s := plan.Survey{Agent: id, MemoryFree: -1, DiskFree: -1}
	res, err := e.Agents.Order(ctx, id, agent.Order{Operation: "survey", Cluster: cluster, Generation: e.Inventory.Generation(cluster), Term: e.Term, Timeout: surveyTime,
		Action: engine.Action{Name: agent.ActionSurvey, Args: map[string]string{"node": n.Name, "port": strconv.Itoa(n.Port), "engine": eng, "version": version, "not": not}}})
	switch {
	case errors.Is(err, agent.ErrNotConnected):
		return s
	case err != nil:
		s.Err = "its agent did not answer in time"
		return s
	case !res.OK():
		s.Err = res.Detail
		return s
	}
	return surveyOf(s, res.Values)
}

func surveyOf(s plan.Survey, v map[string]string) plan.Survey {
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	s.Connected, s.Host, s.Port = true, v["host"], int(number(v["port"]))
	s.Taken, s.Version = v["taken"], v["version"]
	s.MemoryFree, s.DiskFree = number(v["memoryFree"]), number(v["diskFree"])
	return s
}

// RequestCreate asks for a new cluster.
type RequestCreate struct {
	plan.NewCluster
	Policy inventory.Policy
	Tags   map[string]inventory.Tags // by node, of those that have any
	Reason string
	Who    audit.Who
}

// Create begins a new cluster. The credentials of its first user are only in
// the answer. Errors: those of Submit, ErrNoSecrets, *inventory.SettingError.
func (e *Executor) Create(ctx context.Context, q RequestCreate) (string, Credentials, error) {
	if e.Secrets == nil {
		return "", Credentials{}, ErrNoSecrets
	}
	q.SyncReplicas, q.AllowCIDRs = q.Policy.SyncReplicas, q.Policy.AllowCIDRs
	// What is wrong by itself is told before any host is asked.
	ready := make([]plan.Survey, len(q.Nodes))
	for i := range ready {
		ready[i] = plan.Survey{Connected: true, Host: "host", Port: i + 1, Version: "any", MemoryFree: -1, DiskFree: -1}
	}
	if p := plan.Create(q.NewCluster, ready); p.Refused() {
		return "", Credentials{}, &RefusedError{p}
	}
	if err := q.Policy.Check(len(q.Nodes) - 1); err != nil {
		return "", Credentials{}, err
	}
	if _, exists := e.Inventory.Cluster(q.Name); exists {
		return "", Credentials{}, ErrClusterExists
	}
	surveys := e.surveys(ctx, q.Name, q.Engine, q.Version, q.Nodes)
	p := plan.Create(q.NewCluster, surveys)
	if p.Refused() {
		return "", Credentials{}, &RefusedError{p}
	}
	spec := inventory.Spec{ID: q.Name, Name: q.Name, Engine: q.Engine, Primary: p.Node, Insecure: true, Policy: q.Policy,
		Made: &inventory.Made{Version: p.Arg("version"), MemoryBytes: q.MemoryBytes, Login: engine.LoginUser}}
	for _, n := range p.Nodes() {
		spec.Members = append(spec.Members, inventory.Member{Name: n.Name, Address: n.Address(), Agent: n.Agent, Priority: n.Priority})
	}
	login, _ := newPassword()
	c := Credentials{User: firstUser}
	var hash string
	c.Password, hash = newPassword()
	settings := inventory.Settings{By: q.Who.Name, At: e.Now(), Tags: map[string]*inventory.Tags{},
		Secrets: map[string]string{inventory.SecretLogin: e.Secrets.Seal([]byte(login), secretContext(q.Name, inventory.SecretLogin))},
		Users:   map[string]*inventory.EngineUser{firstUser: {Name: firstUser, Access: engine.AccessReadWrite, Hash: hash, At: e.Now()}}}
	for node, t := range q.Tags {
		if err := t.Check(e.Now()); err != nil {
			return "", Credentials{}, err
		}
		settings.Tags[node] = &t
	}
	with, err := events(spec.Event, settings.Event)
	if err != nil {
		return "", Credentials{}, err
	}
	id, err := e.Submit(ctx, Submission{Cluster: q.Name, Kind: operation.CreateCluster, Node: p.Node, Reason: q.Reason, Who: q.Who, With: with,
		Build: func(*plan.Facts) (plan.Plan, error) { return p, nil }})
	if err != nil {
		return "", Credentials{}, err
	}
	return id, c, nil
}

func events(make ...func() (journal.Event, error)) ([]journal.Event, error) {
	var out []journal.Event
	for _, f := range make {
		ev, err := f()
		if err != nil {
			return nil, err
		}
		out = append(out, ev)
	}
	return out, nil
}

// RequestNode is about one node of a cluster.
type RequestNode struct {
	Cluster    string
	Node       plan.NewNode // only Name but for AddNode
	TypedName  string
	Generation *uint64
	Wipe       bool
	Reason     string
	Overrides  []string
	Who        audit.Who
}

// known returns the cluster or ErrUnknownCluster.
func (e *Executor) known(id string) (inventory.Cluster, error) {
	c, ok := e.Inventory.Cluster(id)
	if !ok {
		return c, ErrUnknownCluster
	}
	return c, nil
}

// AddNode begins adding a replica.
func (e *Executor) AddNode(ctx context.Context, q RequestNode) (string, error) {
	c, err := e.known(q.Cluster)
	if err != nil {
		return "", err
	}
	if c.Running != "" {
		return "", e.running(c.Running)
	}
	s := plan.Survey{Err: "it was not asked", MemoryFree: -1, DiskFree: -1}
	if inventory.ValidName(q.Node.Name) {
		var ports []string
		for _, m := range c.Members {
			ports = append(ports, m.Address[strings.LastIndexByte(m.Address, ':')+1:])
		}
		s = e.survey(ctx, q.Node.Agent, q.Cluster, c.Engine, "", q.Node, strings.Join(ports, ","))
	}
	return e.Submit(ctx, Submission{Cluster: q.Cluster, Kind: operation.AddNode, Node: q.Node.Name, Reason: q.Reason, Overrides: q.Overrides, Generation: q.Generation, Who: q.Who,
		Build: func(f *plan.Facts) (plan.Plan, error) {
			return plan.AddNode(f, clusterFacts(&c), q.Node, s), nil
		}})
}

// RemoveNode begins taking a replica out.
func (e *Executor) RemoveNode(ctx context.Context, q RequestNode) (string, error) {
	return e.Submit(ctx, Submission{Cluster: q.Cluster, Kind: operation.RemoveNode, Node: q.Node.Name, Reason: q.Reason, Overrides: q.Overrides, Generation: q.Generation, Who: q.Who,
		TypedName: q.TypedName, WantTyped: q.Node.Name,
		Build: func(f *plan.Facts) (plan.Plan, error) {
			c, err := e.known(q.Cluster)
			if err != nil {
				return plan.Plan{}, err
			}
			p := plan.RemoveNode(f, clusterFacts(&c), q.Node.Name, q.Wipe, q.Overrides...)
			if m, ok := c.Member(q.Node.Name); ok && m.Tagged && !p.Refused() {
				b, err := json.Marshal(m.Tags)
				if err != nil {
					return p, err
				}
				p.Args["tags"] = string(b)
			}
			return p, nil
		}})
}

// Delete begins the end of a cluster.
func (e *Executor) Delete(ctx context.Context, q RequestNode) (string, error) {
	return e.Submit(ctx, Submission{Cluster: q.Cluster, Kind: operation.DeleteCluster, Reason: q.Reason, Generation: q.Generation, Who: q.Who,
		TypedName: q.TypedName, WantTyped: q.Cluster,
		Build: func(f *plan.Facts) (plan.Plan, error) {
			c, err := e.known(q.Cluster)
			return plan.Delete(f, clusterFacts(&c), q.Wipe), err
		}})
}

// Resync begins bringing a replica in step again.
func (e *Executor) Resync(ctx context.Context, q RequestNode) (string, error) {
	return e.Submit(ctx, Submission{Cluster: q.Cluster, Kind: operation.Resync, Node: q.Node.Name, Reason: q.Reason, Overrides: q.Overrides, Who: q.Who,
		Build: func(f *plan.Facts) (plan.Plan, error) {
			c, err := e.known(q.Cluster)
			return plan.Resync(f, clusterFacts(&c), q.Node.Name, q.Overrides...), err
		}})
}

// Await waits until an operation is over, at most until ctx ends, and returns
// how it then is.
func (e *Executor) Await(ctx context.Context, id string) operation.Operation {
	notices, stop := e.Inventory.Watch(16)
	defer stop()
	tick := time.NewTicker(100 * time.Millisecond) // a watcher may miss a notice
	defer tick.Stop()
	for {
		o, _ := e.Inventory.Operation(id)
		if o.State.Final() {
			return o
		}
		select {
		case <-ctx.Done():
			return o
		case <-notices:
		case <-tick.C:
		}
	}
}

// hostOf is the host of host:port.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
