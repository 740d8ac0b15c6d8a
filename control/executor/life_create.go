package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// redisCreate makes the servers of a new cluster and lets them find each
// other. What is made before all of them hold together is taken away again.
var redisCreate = procedure{
	{id: plan.StepCheckHosts, do: checkHosts},
	{id: plan.StepMake, do: makeServers, undo: dropMade},
	{id: plan.StepAttach, do: attachAll},
	{id: plan.StepVerify, do: verifyData},
}

// redisAddNode makes one more replica. It copies everything while writes go
// on and becomes a member when it holds the primary's position.
var redisAddNode = procedure{
	{id: plan.StepCheckHosts, do: checkHosts},
	{id: plan.StepMake, do: makeServers, undo: dropMade},
	{id: plan.StepAttach, do: attachAll},
	{id: plan.StepJoin, do: joinMember}, // point of no return
	{id: plan.StepPeers, do: tellPeers},
}

const (
	// makeTime bounds writing a server's files and starting it.
	makeTime = 20 * time.Second
	// appearTime is how long a new server may take to be reported and to answer.
	appearTime = 60 * time.Second
	// stuckTime: a copy that makes no progress for so long has failed.
	stuckTime = 5 * time.Minute
	// copyPoll is how often a copy is looked at.
	copyPoll = 250 * time.Millisecond
	// outputBufferLeast is what a primary keeps for a replica that copies:
	// less, and a copy under load begins again and again.
	outputBufferLeast = 256 << 20
)

// primaryOf is the node that replicas copy from during this operation.
func (r *run) primaryOf() string {
	if r.op.Kind == operation.RollingRestart && r.op.Past {
		return r.op.Candidate
	}
	if p := r.op.Plan.Arg("primary"); p != "" {
		return p
	}
	return r.op.Plan.Node
}

func checkHosts(ctx context.Context, r *run) (outcome, error) {
	nodes := r.op.Plan.Nodes()
	var bad []string
	for _, n := range nodes {
		var v map[string]string
		err := r.again(ctx, func() (err error) {
			v, err = r.orderAgent(ctx, n.Agent, agent.ActionSurvey, surveyTime, "node", n.Name, "port", strconv.Itoa(n.Port), "engine", r.op.Plan.Engine, "version", r.op.Plan.Arg("version"))
			return err
		})
		switch {
		case isStale(err) || ctx.Err() != nil:
			return outcome{}, err
		case err != nil:
			bad = append(bad, err.Error())
		case v["taken"] != "":
			bad = append(bad, n.Name+": "+v["taken"])
		case v["version"] == "":
			bad = append(bad, n.Name+": the program is not on its host any more")
		}
	}
	if len(bad) > 0 {
		return outcome{}, fmt.Errorf("%s", strings.Join(bad, "; "))
	}
	return outcome{detail: fmt.Sprintf("room for %d servers of version %s", len(nodes), r.op.Plan.Arg("version"))}, nil
}

// members are all nodes of the cluster with those that this operation makes.
func (r *run) peers() []engine.Peer {
	var out []engine.Peer
	c, _ := r.e.Inventory.Cluster(r.op.Plan.Cluster)
	seen := map[string]bool{}
	add := func(name, addr string) {
		host, port := hostOf(addr), addr[strings.LastIndexByte(addr, ':')+1:]
		n, err := strconv.Atoi(port)
		if err == nil && !seen[name] {
			seen[name] = true
			out = append(out, engine.Peer{Node: name, Host: host, Port: n})
		}
	}
	for _, m := range c.Members {
		add(m.Name, m.Address)
	}
	for _, n := range r.op.Plan.Nodes() {
		add(n.Name, n.Address())
	}
	return out
}

// makeServers starts the first node of a new cluster as primary and all others
// as its replicas.
func makeServers(ctx context.Context, r *run) (outcome, error) {
	c, ok := r.e.Inventory.Cluster(r.op.Plan.Cluster)
	if !ok {
		return outcome{}, ErrUnknownCluster
	}
	login, err := r.e.login(&c)
	if err != nil {
		return outcome{}, err
	}
	memory, _ := strconv.ParseInt(r.op.Plan.Arg("memoryBytes"), 10, 64)
	replicas, _ := strconv.Atoi(r.op.Plan.Arg("syncReplicas"))
	primary := r.primaryOf()
	if err := r.roomForCopy(ctx, primary); err != nil {
		return outcome{}, err
	}
	var out outcome
	for _, n := range r.op.Plan.Nodes() {
		s := engine.NewServer{Cluster: c.ID, Node: n.Name, Engine: c.Engine, Version: r.op.Plan.Arg("version"), Host: n.Host, Port: n.Port,
			MemoryBytes: memory, SyncReplicas: replicas, Login: login, Parameters: c.Parameters, Peers: r.peers(), Operation: r.op.Operation}
		for _, u := range c.Users {
			s.Users = append(s.Users, engine.NewUser{Name: u.Name, Access: u.Access, Hash: u.Hash})
		}
		if n.Name != primary {
			s.ReplicaOf = r.addr(primary)
		}
		b, err := json.Marshal(s)
		if err != nil {
			return outcome{}, err
		}
		err = r.again(ctx, func() error {
			_, err := r.orderAgent(ctx, n.Agent, agent.ActionMakeServer, makeTime, "server", string(b))
			return err
		})
		if err != nil {
			return outcome{}, err
		}
		out.detail = strings.TrimPrefix(out.detail+", "+n.Name+" at "+n.Address(), ", ")
	}
	return out, nil
}

// roomForCopy lets the primary of an existing cluster keep enough for a
// replica that copies while writes go on.
func (r *run) roomForCopy(ctx context.Context, primary string) error {
	used, err := strconv.ParseInt(r.op.Plan.Arg("usedMemory"), 10, 64)
	if err != nil {
		return nil // a new cluster
	}
	limit := max(outputBufferLeast, used/10)
	b, _ := json.Marshal(map[string]string{"client-output-buffer-limit": fmt.Sprintf("replica %d %d 60", limit, limit/4)})
	return r.again(ctx, func() error {
		_, err := r.order(ctx, primary, engine.Configure, orderTimeout, "values", string(b))
		return err
	})
}

func dropMade(ctx context.Context, r *run) (string, error) {
	var kept []string
	for _, n := range r.op.Plan.Nodes() {
		err := r.again(ctx, func() error {
			_, err := r.orderAgent(ctx, n.Agent, agent.ActionDropServer, makeTime, "node", n.Name, "operation", r.op.Operation, "wipe", "true")
			return err
		})
		if isStale(err) || ctx.Err() != nil {
			return "", err
		}
		if err != nil {
			kept = append(kept, err.Error())
		}
	}
	if len(kept) > 0 {
		return "", fmt.Errorf("%s", strings.Join(kept, "; "))
	}
	return "what was made is removed", nil
}

// settle repeats f until it succeeds or limit passes.
func (r *run) settle(ctx context.Context, limit time.Duration, f func() error) error {
	began, wait := time.Now(), r.backoff()
	for {
		err := f()
		if err == nil || isStale(err) || time.Since(began) > limit || !wait(ctx) {
			return err
		}
	}
}

// attachAll waits until every new server follows the primary and holds its
// position.
func attachAll(ctx context.Context, r *run) (outcome, error) {
	primary := r.primaryOf()
	var details []string
	if err := r.settle(ctx, appearTime, func() error {
		_, err := r.order(ctx, primary, engine.VerifyRole, readTimeout, "role", string(engine.RolePrimary))
		return err
	}); err != nil {
		return outcome{}, err
	}
	for _, n := range r.op.Plan.Nodes() {
		if n.Name == primary {
			continue
		}
		detail, err := r.caughtUp(ctx, n.Name)
		if err != nil {
			return outcome{}, err
		}
		details = append(details, detail)
	}
	if len(details) == 0 {
		return outcome{detail: primary + " answers as primary"}, nil
	}
	return outcome{detail: strings.Join(details, "; ")}, nil
}

// caughtUp waits until a replica has its link up and holds a position that the
// primary had when it was asked. A copy may take hours; what ends the wait is
// a copy without progress.
func (r *run) caughtUp(ctx context.Context, node string) (string, error) {
	began, moved, last := time.Now(), time.Now(), ""
	tick := time.NewTicker(copyPoll)
	defer tick.Stop()
	var why error
	for {
		v, err := r.order(ctx, node, engine.ReadSync, readTimeout)
		switch {
		case isStale(err):
			return "", err
		case err != nil:
			why = err
		case v["role"] != string(engine.RoleReplica):
			return "", fmt.Errorf("%s is %s, not a replica", node, v["role"])
		case v["link"] != "up":
			why = fmt.Errorf("the link of %s to the primary is not up", node)
		default:
			if why = r.reaches(ctx, node); why == nil {
				return fmt.Sprintf("%s holds the primary's position after %.1f s", node, time.Since(began).Seconds()), nil
			}
			if isStale(why) {
				return "", why
			}
		}
		if progress := v["leftBytes"] + v["offset"] + v["syncing"] + v["usedMemory"]; err == nil && progress != last {
			last, moved = progress, time.Now()
		}
		limit := stuckTime
		if v["syncing"] != "true" {
			limit = appearTime
		}
		if time.Since(moved) > limit {
			return "", fmt.Errorf("%s made no progress for %s: %w", node, limit, why)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
		}
	}
}

// reaches reads the primary's position and waits until the node holds it, or
// more: writes go on.
func (r *run) reaches(ctx context.Context, node string) error {
	want, err := r.read(ctx, r.primaryOf())
	if err != nil {
		return err
	}
	return r.settle(ctx, 2*time.Second, func() error {
		at, err := r.read(ctx, node)
		if err == nil && !at.holds(want) {
			err = fmt.Errorf("%s is at %s, the primary was at %s", node, at.offset, want.offset)
		}
		return err
	})
}

// verifyData writes a value to the primary and reads it on every other node.
func verifyData(ctx context.Context, r *run) (outcome, error) {
	primary, seq := r.primaryOf(), strconv.FormatInt(r.op.At.UnixNano(), 10)
	if err := r.settle(ctx, appearTime, func() error {
		_, err := r.order(ctx, primary, engine.ProbeWrite, orderTimeout, "seq", seq)
		return err
	}); err != nil {
		return outcome{}, err
	}
	for _, n := range r.op.Plan.Nodes() {
		if n.Name == primary {
			continue
		}
		if err := r.settle(ctx, appearTime, func() error {
			_, err := r.order(ctx, n.Name, engine.ProbeRead, orderTimeout+readTimeout, "seq", seq, "waitMs", "3000")
			return err
		}); err != nil {
			return outcome{}, err
		}
	}
	return outcome{detail: "a value written on " + primary + " is on every node"}, nil
}

func created(r *run) string {
	nodes := r.op.Plan.Nodes()
	if len(nodes) == 1 {
		return fmt.Sprintf("%s is the primary of cluster %s, which has no replica yet", nodes[0].Name, r.op.Plan.Cluster)
	}
	var names []string
	for _, n := range nodes[1:] {
		names = append(names, n.Name)
	}
	return fmt.Sprintf("%s is the primary of cluster %s, %s follow", nodes[0].Name, r.op.Plan.Cluster, strings.Join(names, ", "))
}

// unregister takes a cluster out of the inventory that could not be made.
func unregister(r *run, state operation.State) ([]journal.Event, error) {
	if state == operation.StateRolledBack {
		return []journal.Event{inventory.RemovedEvent()}, nil
	}
	return nil, nil
}

// joinMember looks once more before the node becomes a member.
func joinMember(ctx context.Context, r *run) (outcome, error) {
	if _, err := r.caughtUp(ctx, r.op.Plan.Node); err != nil {
		return outcome{}, err
	}
	return outcome{detail: r.op.Plan.Node + " is a member"}, nil
}

// joined registers the new member; from the point of no return on in any case.
func joined(r *run, _ operation.State) ([]journal.Event, error) {
	c, ok := r.e.Inventory.Cluster(r.op.Plan.Cluster)
	if !ok || !r.op.Past {
		return nil, nil
	}
	spec := c.Registration()
	for _, n := range r.op.Plan.Nodes() {
		if _, there := c.Member(n.Name); !there {
			spec.Members = append(spec.Members, inventory.Member{Name: n.Name, Address: n.Address(), Agent: n.Agent, Priority: n.Priority})
		}
	}
	return events(spec.Event)
}

// tellPeers gives every agent beside the cluster its present members. An agent
// that is away learns it is told so in the detail.
func tellPeers(ctx context.Context, r *run) (outcome, error) {
	gone := ""
	if r.op.Kind == operation.RemoveNode {
		gone = r.op.Plan.Node
	}
	var peers []engine.Peer
	for _, p := range r.peers() {
		if p.Node != gone {
			peers = append(peers, p)
		}
	}
	b, err := json.Marshal(peers)
	if err != nil {
		return outcome{}, err
	}
	f, _ := r.e.Facts.Facts(r.op.Plan.Cluster)
	agents := map[string]bool{}
	for _, n := range r.op.Plan.Nodes() {
		agents[n.Agent] = true
	}
	for i := range f.Nodes {
		if n := &f.Nodes[i]; n.Agent != "" && n.Name != gone {
			agents[n.Agent] = true
		}
	}
	var missed []string
	for id := range agents {
		err := r.again(ctx, func() error {
			_, err := r.orderAgent(ctx, id, agent.ActionPeers, orderTimeout, "peers", string(b))
			return err
		})
		if isStale(err) || ctx.Err() != nil {
			return outcome{}, err
		}
		if err != nil {
			missed = append(missed, err.Error())
		}
	}
	if len(missed) > 0 {
		return outcome{detail: "not told: " + strings.Join(missed, "; ")}, nil
	}
	return outcome{detail: fmt.Sprintf("%d agents know %d members", len(agents), len(peers))}, nil
}
