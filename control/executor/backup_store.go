package executor

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"baton/control/agent"
	"baton/control/backup"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// restoreStore begins a new event-store cluster of one node with the log of a
// backup. Every step may be repeated; what is made is taken away again when
// the node does not come to lead.
var restoreStore = procedure{
	{id: plan.StepPrepareData, do: foundStore, undo: dropMade},
	{id: plan.StepStartNew, do: serveStore},
	{id: plan.StepVerify, do: storeLeads},
}

// serveTime bounds starting a restored node; a secure one makes its authority
// first.
const serveTime = 20 * time.Second

// restoreStoreBeside is RestoreBeside for an event store. Its accounts are
// those of the backup: there are no new credentials.
func (e *Executor) restoreStoreBeside(ctx context.Context, q RequestRestore, b *backup.Backup) (string, error) {
	if !inventory.ValidName(q.Name) {
		return "", fmt.Errorf("cluster %q: %w", q.Name, inventory.ErrName)
	}
	node := plan.NewNode{Name: q.Name + "-1", Agent: q.Agent, Priority: 100}
	s := e.surveys(ctx, q.Name, engine.EventStore, "", []plan.NewNode{node})[0]
	p := plan.RestoreStore(q.Name, node, s, q.Cluster, b.ID, b.Target, b.Manifest.Insecure)
	if p.Refused() {
		return "", &RefusedError{p}
	}
	spec := inventory.Spec{ID: q.Name, Name: q.Name, Engine: engine.EventStore, Insecure: b.Manifest.Insecure, Made: &inventory.Made{Version: p.Arg("version")},
		Durability: "A write is acknowledged when a majority of the voters has it on disk."}
	for _, n := range p.Nodes() {
		spec.Members = append(spec.Members, inventory.Member{Name: n.Name, Address: n.Address(), Agent: n.Agent, Priority: n.Priority})
	}
	build := []func() (journal.Event, error){spec.Event}
	if settings, ok := e.inheritedLogin(q, b); ok {
		build = append(build, settings.Event)
	}
	with, err := events(build...)
	if err != nil {
		return "", err
	}
	return e.Submit(ctx, Submission{Cluster: q.Name, Kind: operation.Restore, Node: p.Node, Reason: q.Reason, Who: q.Who, With: with,
		Build: func(*plan.Facts) (plan.Plan, error) { return p, nil }})
}

// inheritedLogin is Baton's login at the cluster of the backup, which the
// restored one knows too. Without it a person gives one.
func (e *Executor) inheritedLogin(q RequestRestore, b *backup.Backup) (inventory.Settings, bool) {
	c, ok := e.Inventory.Cluster(q.Cluster)
	if !ok || b.Manifest.Insecure {
		return inventory.Settings{}, false
	}
	a, err := e.login(&c)
	if err != nil {
		return inventory.Settings{}, false
	}
	return inventory.Settings{By: q.Who.Name, At: e.Now(), Parameters: map[string]*string{loginUser: &a.User},
		Secrets: map[string]string{inventory.SecretLogin: e.Secrets.Seal([]byte(a.Password), secretContext(q.Name, inventory.SecretLogin))}}, true
}

func foundStore(ctx context.Context, r *run) (outcome, error) {
	p := &r.op.Plan
	b, err := r.source()
	if err != nil {
		return outcome{}, err
	}
	key, err := r.e.Backups.Key(b.Manifest)
	if err != nil {
		return outcome{}, err
	}
	n := p.Nodes()[0]
	send, job := r.senderAt(ctx, n.Agent), r.jobName(agent.ActionStoreFound)
	v, err := r.job(ctx, job, send, func() error {
		g, err := r.e.grant(send, agent.ActionStoreFound, p.Cluster, b.ID, b.Target, key, "")
		if err != nil {
			return err
		}
		_, err = send(agent.ActionStoreFound, "id", b.ID, "grant", g, "job", job, "operation", r.op.Operation, "node", n.Name, "of", b.Cluster)
		return err
	})
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: fmt.Sprintf("%s events in %s streams; read in %s ms, founded in %s ms", v["events"], v["streams"], v["fetchMs"], v["loadMs"]),
		values: map[string]string{"events": v["events"], "streams": v["streams"], "position": v["position"]}}, nil
}

func serveStore(ctx context.Context, r *run) (outcome, error) {
	p := &r.op.Plan
	c, ok := r.e.Inventory.Cluster(p.Cluster)
	if !ok {
		return outcome{}, ErrUnknownCluster
	}
	var login engine.Auth
	if c.Secrets[inventory.SecretLogin] != "" {
		var err error
		if login, err = r.e.login(&c); err != nil {
			return outcome{}, err
		}
	}
	n := p.Nodes()[0]
	err := r.settle(ctx, appearTime, func() error {
		_, err := r.orderAgent(ctx, n.Agent, agent.ActionStoreServe, serveTime, "operation", r.op.Operation, "node", n.Name, "port", strconv.Itoa(n.Port),
			"insecure", p.Arg(plan.ArgInsecure), "user", login.User, "password", login.Password)
		return err
	})
	return outcome{detail: n.Name + " at " + n.Address()}, err
}

// storeLeads waits until the node leads. A node that only lets in who signs in
// says that much, which is all that can be seen without a login.
func storeLeads(ctx context.Context, r *run) (outcome, error) {
	node := r.op.Plan.Node
	var v map[string]string
	err := r.settle(ctx, appearTime, func() (err error) {
		v, err = r.order(ctx, node, engine.VerifyLeader, orderTimeout, "node", node)
		if codeOf(err) == engine.CodeAuth {
			v, err = nil, nil
		}
		return err
	})
	if err != nil {
		return outcome{}, err
	}
	if v == nil {
		return outcome{detail: node + " answers and asks for a login"}, nil
	}
	return outcome{detail: node + " leads term " + v["term"]}, nil
}

// storeRestored is the sentence of a restore that is done.
func storeRestored(r *run) string {
	p := &r.op.Plan
	b, _ := r.source()
	of := ""
	if b.Manifest != nil {
		of = " of " + b.Manifest.Created.Format("2006-01-02 15:04:05") + " UTC"
	}
	s := fmt.Sprintf("Cluster %s goes on from backup %s%s: %s events in %s streams. %s leads it, alone", p.Cluster, p.Arg(plan.ArgBackup), of,
		r.value(plan.StepPrepareData, "events"), r.value(plan.StepPrepareData, "streams"), p.Node)
	c, _ := r.e.Inventory.Cluster(p.Cluster)
	if p.Arg(plan.ArgInsecure) == "true" {
		return s
	}
	s += "; its accounts are those of the backup, and clients need its authority, data/ca/ca.crt on its host"
	if c.Secrets[inventory.SecretLogin] == "" {
		s += ". Baton needs a login: baton store-login " + p.Cluster
	}
	return s
}
