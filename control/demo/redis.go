package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/operation"
	"baton/control/plan"
)

const (
	// programTime bounds how long the agent may take to find redis-server: it
	// looks for programs when it starts.
	programTime = 20 * time.Second
	// createAgain is waited before a refused creation is tried again.
	createAgain = 100 * time.Millisecond
	// leaveTime bounds turning failover off, with the agent's giving its lease up.
	leaveTime = 10 * time.Second
	// look is how often what is awaited is looked at.
	look = 50 * time.Millisecond
)

// who the demonstration is in the audit.
var who = audit.Who{Name: "demo", Role: "system", Source: "auto"}

// makeRedis has the cluster made at the first start, and its servers started at
// later ones. It returns when the operation has begun; there tells whether the
// cluster exists then.
func (d *Demo) makeRedis(ctx context.Context) (there bool, err error) {
	c, exists := d.opt.Clusters.Cluster(RedisID)
	made, known := d.opt.Clusters.Operation(d.layout.RedisOperation)
	switch {
	case exists:
		if err := d.resume(ctx, &c); err != nil {
			return false, err
		}
	case known && made.State == operation.StateDone:
		d.Lines = append(d.Lines, fmt.Sprintf("Redis %q: it was deleted; it is made again when %s is gone", RedisID, filepath.Join(d.opt.Dir, layoutFile)))
		return false, nil
	default:
		err := d.create(ctx)
		var refused *executor.RefusedError
		if errors.As(err, &refused) {
			d.Lines = append(d.Lines, fmt.Sprintf("Redis %q: it could not be made: %v", RedisID, err))
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	for _, n := range d.layout.Redis {
		if d.layout.RedisPassword != "" {
			d.clients = append(d.clients, engine.Instance{Cluster: RedisID, Node: n.Name, Engine: engine.Redis, Host: host, Port: n.Port,
				Auth: engine.Auth{User: d.layout.RedisUser, Password: d.layout.RedisPassword}})
		}
	}
	d.Lines = append(d.Lines, fmt.Sprintf("Redis %q: 1 primary and %d replicas with automatic failover, user %s, password in %s", RedisID, len(d.layout.Redis)-1,
		d.layout.RedisUser, filepath.Join(d.opt.Dir, layoutFile)))
	return true, nil
}

// create begins to make the cluster as a person would: replicas copy a moment
// later, and a lost primary is replaced by itself within a bound on what may be
// lost.
func (d *Demo) create(ctx context.Context) error {
	p := inventory.DefaultPolicy()
	p.Failover = inventory.FailoverBoundedLoss
	q := executor.RequestCreate{NewCluster: plan.NewCluster{Name: RedisID, Engine: engine.Redis}, Policy: p, Reason: "the demonstration's cluster", Who: who}
	for _, n := range d.layout.Redis {
		q.Nodes = append(q.Nodes, plan.NewNode{Name: n.Name, Agent: d.opt.Agent, Port: n.Port, Priority: inventory.DefaultPriority})
	}
	limit := time.Now().Add(programTime)
	for {
		id, c, err := d.opt.Create(ctx, q)
		if err == nil {
			d.layout.RedisOperation, d.layout.RedisUser, d.layout.RedisPassword = id, c.User, c.Password
			return d.layout.save(d.opt.Dir)
		}
		var refused *executor.RefusedError
		if !errors.As(err, &refused) || time.Now().After(limit) {
			return err
		}
		if err := wait(ctx, createAgain); err != nil {
			return err
		}
	}
}

// servers are the processes of the made cluster's nodes on this machine, also
// of those that were added since.
func (d *Demo) servers() (names []string) {
	c, ok := d.made()
	for _, m := range c.Members {
		if ok && m.Agent == d.opt.Agent {
			names = append(names, agent.ServerName(RedisID, m.Name))
		}
	}
	return names
}

// made is the record of the cluster when an operation made it.
func (d *Demo) made() (inventory.Cluster, bool) {
	c, ok := d.opt.Clusters.Cluster(RedisID)
	return c, ok && d.layout.RedisMade && c.Made != nil
}

// resume starts the servers that do not run, in the roles on record.
func (d *Demo) resume(ctx context.Context, c *inventory.Cluster) error {
	primary, ok := c.Member(c.ShouldBe)
	if !ok {
		return fmt.Errorf("%q is on record as primary and is no member", c.ShouldBe)
	}
	at, port, err := net.SplitHostPort(primary.Address)
	if err != nil {
		return fmt.Errorf("the address of %s: %w", primary.Name, err)
	}
	// A primary that is kept by a lease is started by who keeps it: what only
	// it holds must not be lost by starting it in the wrong role.
	if c.Policy.Failover == inventory.FailoverOff {
		for _, m := range c.Members {
			role := []string{"--replicaof", at, port}
			if m.Name == primary.Name {
				role = []string{"--replicaof", "no", "one"}
			}
			if m.Agent != d.opt.Agent {
				continue
			}
			args, err := json.Marshal(role)
			if err != nil {
				return err
			}
			a := engine.Action{Name: agent.ActionProcessResume, Args: map[string]string{"name": agent.ServerName(RedisID, m.Name), "args": string(args)}}
			if err := d.act(ctx, a); err != nil {
				d.opt.Log.Warn("a server of the demo is not started", "node", m.Name, "err", err)
			}
		}
	}
	if d.layout.RedisFailover == "" {
		return nil
	}
	arming, stop := context.WithCancel(ctx)
	d.stopArming = stop
	d.arming.Go(func() {
		if err := d.arm(arming, primary.Name); err != nil && arming.Err() == nil {
			d.opt.Log.Error("automatic failover of the demo's Redis cluster is not put back", "err", err)
		}
	})
	return nil
}

// arm puts the policy of failover back that Leave took away, once the primary
// answers.
func (d *Demo) arm(ctx context.Context, primary string) error {
	for d.opt.Primary(RedisID) != primary {
		if err := wait(ctx, look); err != nil {
			return err
		}
	}
	if err := d.setFailover(ctx, d.layout.RedisFailover); err != nil {
		return err
	}
	d.layout.RedisFailover = ""
	return d.layout.save(d.opt.Dir)
}

// setFailover changes the one policy.
func (d *Demo) setFailover(ctx context.Context, failover string) error {
	for {
		c, ok := d.made()
		if !ok {
			return nil
		}
		c.Policy.Failover = failover
		err := d.opt.Clusters.PutPolicyAt(ctx, RedisID, c.Policy, who, c.SettingsRevision)
		if !errors.Is(err, inventory.ErrMoved) {
			return err
		}
	}
}

// Leave prepares the Redis cluster for a time without control plane: a primary
// whose lease nobody renews stops, so automatic failover is turned off until
// the next Start.
func (d *Demo) Leave(ctx context.Context) error {
	d.stopArming()
	d.arming.Wait()
	c, ok := d.made()
	if !ok || c.Policy.Failover == inventory.FailoverOff {
		return nil
	}
	d.layout.RedisFailover = c.Policy.Failover
	if err := d.layout.save(d.opt.Dir); err != nil {
		return err
	}
	limit, done := context.WithTimeout(ctx, leaveTime)
	defer done()
	if err := d.setFailover(limit, inventory.FailoverOff); err != nil {
		return fmt.Errorf("turn automatic failover of cluster %s off: %w", RedisID, err)
	}
	for d.opt.Leased(RedisID) {
		if err := wait(limit, look); err != nil {
			d.opt.Log.Warn("the agent still keeps a lease of the demo's Redis cluster", "err", err)
			return nil
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
