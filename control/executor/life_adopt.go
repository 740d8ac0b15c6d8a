package executor

import (
	"context"
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
	"baton/control/operation"
	"baton/control/plan"
)

// redisAdopt begins to watch servers that somebody else made. Nothing is
// changed on them.
var redisAdopt = procedure{
	{id: plan.StepWatch, do: watchAll, undo: unwatchAll},
	{id: plan.StepVerify, do: verifyAdopted},
}

// RequestAdopt asks for taking over a primary and its replicas.
type RequestAdopt struct {
	Name     string
	Primary  string // host:port
	Agent    string // looks, and watches where no agent is on a node's own host
	User     string
	Password string
	// Agents are the hosts' addresses by agent id, to find the one beside a node.
	Agents map[string][]string
	Reason string
	Who    audit.Who
}

// lookTime bounds looking at one server.
const lookTime = 5 * time.Second

// Look sees what an adoption would take over, and what stands against it.
func (e *Executor) Look(ctx context.Context, q RequestAdopt) ([]plan.Looked, plan.Plan) {
	first := e.look(ctx, q, q.Primary)
	looked := []plan.Looked{first}
	if first.Found != nil && first.Found.Role == engine.RolePrimary {
		for _, addr := range first.Found.Replicas {
			looked = append(looked, e.look(ctx, q, addr))
		}
	}
	for i := range looked {
		looked[i].Agent = beside(q, looked[i].Address)
	}
	return looked, plan.Adopt(q.Name, looked)
}

// beside is the agent on an address' own host, else the one that looks.
func beside(q RequestAdopt, addr string) string {
	for id, hosts := range q.Agents {
		for _, h := range hosts {
			if ip, _, err := net.ParseCIDR(h); err == nil {
				h = ip.String()
			}
			if h == hostOf(addr) && !net.ParseIP(h).IsLoopback() {
				return id
			}
		}
	}
	return q.Agent
}

func (e *Executor) look(ctx context.Context, q RequestAdopt, addr string) plan.Looked {
	l := plan.Looked{Address: addr, Agent: q.Agent}
	if strings.ContainsAny(q.User+q.Password, "\x00\r\n") {
		l.Code, l.Why = engine.CodeAuth, "the user or password holds a line break or NUL, which no server accepts here"
		return l
	}
	// Not an order of the cluster: there is none yet, so it is not fenced.
	res, err := e.Agents.Order(ctx, q.Agent, agent.Order{Operation: "look", Term: e.Term, Timeout: lookTime,
		Action: engine.Action{Name: agent.ActionLook, Args: map[string]string{"engine": engine.Redis, "addr": addr, "user": q.User, "password": q.Password}}})
	switch {
	case errors.Is(err, agent.ErrNotConnected):
		l.Code, l.Why = engine.CodeFailed, "the agent has no link to the control plane"
	case err != nil:
		l.Code, l.Why = engine.CodeFailed, "the agent did not answer in time"
	case !res.OK():
		l.Code, l.Why = res.Code, res.Detail
	default:
		var f engine.Found
		if err := json.Unmarshal([]byte(res.Values["found"]), &f); err != nil {
			l.Code, l.Why = engine.CodeFailed, "the agent's answer does not decode"
			return l
		}
		l.Found = &f
	}
	return l
}

// Adopt begins watching a cluster as it runs.
func (e *Executor) Adopt(ctx context.Context, q RequestAdopt) (string, error) {
	if e.Secrets == nil {
		return "", ErrNoSecrets
	}
	if _, exists := e.Inventory.Cluster(q.Name); exists {
		return "", ErrClusterExists
	}
	_, p := e.Look(ctx, q)
	for _, c := range e.Inventory.Clusters() {
		for _, m := range c.Members {
			for _, addr := range p.Addresses {
				if m.Address == addr {
					p.Refuse("known", "a node belongs to a cluster already", addr+" is "+m.Name+" of "+c.ID, "remove it there first")
				}
			}
		}
	}
	if p.Refused() {
		return "", &RefusedError{p}
	}
	spec := inventory.Spec{ID: q.Name, Name: q.Name, Engine: engine.Redis, Primary: p.Node, Insecure: true, Policy: inventory.DefaultPolicy()}
	for _, n := range p.Adoptees() {
		spec.Members = append(spec.Members, inventory.Member{Name: n.Name, Address: n.Address, Agent: n.Agent, Priority: inventory.DefaultPriority})
	}
	if k, _ := strconv.Atoi(p.Arg("syncReplicas")); k > 0 && k < len(spec.Members) && k <= 8 {
		spec.Policy.Durability, spec.Policy.SyncReplicas = inventory.DurabilitySync, k
	}
	user := q.User
	with, err := events(spec.Event, inventory.Settings{By: q.Who.Name, At: e.Now(), Parameters: map[string]*string{loginUser: &user},
		Secrets: map[string]string{inventory.SecretLogin: e.Secrets.Seal([]byte(q.Password), secretContext(q.Name, inventory.SecretLogin))}}.Event)
	if err != nil {
		return "", err
	}
	return e.Submit(ctx, Submission{Cluster: q.Name, Kind: operation.AdoptCluster, Node: p.Node, Reason: q.Reason, Who: q.Who, With: with,
		Build: func(*plan.Facts) (plan.Plan, error) { return p, nil }})
}

func watchAll(ctx context.Context, r *run) (outcome, error) {
	c, ok := r.e.Inventory.Cluster(r.op.Plan.Cluster)
	if !ok {
		return outcome{}, ErrUnknownCluster
	}
	auth, err := r.e.login(&c)
	if err != nil {
		return outcome{}, err
	}
	peers := r.peers()
	nodes := r.op.Plan.Adoptees()
	for _, n := range nodes {
		port, err := strconv.Atoi(n.Address[strings.LastIndexByte(n.Address, ':')+1:])
		if err != nil {
			return outcome{}, fmt.Errorf("address %q: %w", n.Address, err)
		}
		b, err := json.Marshal(engine.Instance{Cluster: c.ID, Node: n.Name, Engine: c.Engine, Host: hostOf(n.Address), Port: port, Auth: auth, Peers: peers})
		if err != nil {
			return outcome{}, err
		}
		if err := r.again(ctx, func() error {
			_, err := r.orderAgent(ctx, n.Agent, agent.ActionInstancePut, orderTimeout, "instance", string(b))
			return err
		}); err != nil {
			return outcome{}, err
		}
	}
	return outcome{detail: fmt.Sprintf("%d nodes are watched", len(nodes))}, nil
}

func unwatchAll(ctx context.Context, r *run) (string, error) {
	var missed []string
	for _, n := range r.op.Plan.Adoptees() {
		err := r.again(ctx, func() error {
			_, err := r.orderAgent(ctx, n.Agent, agent.ActionInstanceRemove, orderTimeout, "node", n.Name)
			return err
		})
		if isStale(err) || ctx.Err() != nil {
			return "", err
		}
		if err != nil {
			missed = append(missed, err.Error())
		}
	}
	if len(missed) > 0 {
		return "", fmt.Errorf("%s", strings.Join(missed, "; "))
	}
	return "they are not watched any more", nil
}

// verifyAdopted sees the roles through the agents that watch from now on.
func verifyAdopted(ctx context.Context, r *run) (outcome, error) {
	primary := r.op.Plan.Node
	for _, n := range r.op.Plan.Adoptees() {
		args := []string{"role", string(engine.RoleReplica), "addr", r.addr(primary)}
		if n.Name == primary {
			args = []string{"role", string(engine.RolePrimary)}
		}
		if err := r.settle(ctx, appearTime, func() error {
			_, err := r.order(ctx, n.Name, engine.VerifyRole, orderTimeout, args...)
			return err
		}); err != nil {
			return outcome{}, err
		}
	}
	var notes []string
	for _, n := range r.op.Plan.Adoptees() {
		if n.Name == primary {
			continue
		}
		if _, err := r.order(ctx, primary, engine.CheckAuth, orderTimeout, "addr", r.addr(n.Name)); err != nil {
			if isStale(err) || ctx.Err() != nil {
				return outcome{}, err
			}
			notes = append(notes, err.Error())
		}
	}
	if len(notes) > 0 {
		return outcome{detail: "roles are as found; " + primary + " could not follow yet: " + strings.Join(notes, "; "), values: map[string]string{"attention": strings.Join(notes, "; ")}}, nil
	}
	return outcome{detail: "roles are as found, and each could follow the others"}, nil
}

func adopted(r *run) string {
	s := fmt.Sprintf("Cluster %s is watched: %s is the primary of %d nodes", r.op.Plan.Cluster, r.op.Plan.Node, len(r.op.Plan.Adoptees()))
	if a := r.value(plan.StepVerify, "attention"); a != "" {
		s += ". Needs attention before a promotion: " + a
	}
	return s
}
