package executor

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/backup"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// restoreBackup gives a node the data of a backup: in place, with the present
// data kept, or as the first node of a new cluster. A plan has the steps of
// one of the two. Every step may be repeated.
var restoreBackup = procedure{
	{id: plan.StepCheckHosts, do: checkHosts},
	{id: plan.StepMake, do: makeServers, undo: dropMade},
	{id: plan.StepAttach, do: attachAll},
	{id: plan.StepSafety, do: takeSafety},
	{id: plan.StepPrepareData, do: prepareData, undo: dropPrepared},
	{id: plan.StepPause, do: holdForRestore, undo: releaseAfterRestore},
	{id: plan.StepDetach, do: detachReplicas, undo: reattachReplicas},
	{id: plan.StepStopOld, do: stopForRestore, undo: startAgain},
	{id: plan.StepSwapData, do: swapData, undo: swapBack},
	{id: plan.StepCommit}, // point of no return in place: journalled with the next intent
	{id: plan.StepStartNew, do: startRestored},
	{id: plan.StepCountKeys, do: countRestored},
	{id: plan.StepAttachOne, do: attachOneByOne},
	{id: plan.StepVerify, do: verifyData},
}

// RequestRestore asks for a backup to be restored.
type RequestRestore struct {
	Cluster string // the backup is of
	Backup  string
	// Name and Agent are of the new cluster and its node's host, for beside.
	Name, Agent string
	// TypedName is the cluster's, for in place.
	TypedName  string
	Generation *uint64
	Reason     string
	Who        audit.Who
}

// RestoreInPlace begins replacing a cluster's data by a backup's. Errors:
// those of Submit, backup.ErrUnknown, ErrNotThere.
func (e *Executor) RestoreInPlace(ctx context.Context, q RequestRestore) (string, error) {
	if e.Backups == nil {
		return "", ErrNoBackups
	}
	if _, ok := e.Inventory.Cluster(q.Cluster); !ok {
		return "", ErrUnknownCluster
	}
	b, err := e.there(q.Cluster, q.Backup)
	if err != nil {
		return "", err
	}
	safety := backup.NewID(e.Now())
	return e.Submit(ctx, Submission{Cluster: q.Cluster, Kind: operation.Restore, Reason: q.Reason, Who: q.Who, Generation: q.Generation,
		TypedName: q.TypedName, WantTyped: q.Cluster, Build: func(f *plan.Facts) (plan.Plan, error) {
			p := plan.RestoreInPlace(f, b.ID, b.Target, safety)
			if n := f.Node(p.Node); n != nil {
				p = e.reachable(p, &b, n.Agent)
			}
			return p, nil
		}})
}

// reachable refuses a host that cannot see a backup in a directory of another.
func (e *Executor) reachable(p plan.Plan, b *backup.Backup, agentID string) plan.Plan {
	t, err := e.Backups.Target(b.Target)
	if err == nil && t.Kind == "directory" && agentID != b.Agent {
		// Hosts may share the directory: the agent looks before anything moves.
		p.Args["look"] = "true"
	}
	return p
}

// RestoreBeside begins a new cluster of one node with a backup's data; the
// cluster of the backup need not exist any more. The credentials are only in
// the answer; those of an event store are in the backup, and none are answered. Errors: those of Create, backup.ErrUnknown, ErrNotThere.
func (e *Executor) RestoreBeside(ctx context.Context, q RequestRestore) (string, Credentials, error) {
	var c Credentials
	if e.Backups == nil {
		return "", c, ErrNoBackups
	}
	if e.Secrets == nil {
		return "", c, ErrNoSecrets
	}
	b, err := e.there(q.Cluster, q.Backup)
	if err != nil {
		return "", c, err
	}
	if q.Agent == "" {
		q.Agent = b.Agent
	}
	if _, exists := e.Inventory.Cluster(q.Name); exists {
		return "", c, ErrClusterExists
	}
	if b.Manifest.Engine == engine.EventStore {
		id, err := e.restoreStoreBeside(ctx, q, &b)
		return id, c, err
	}
	want := plan.NewCluster{Name: q.Name, Engine: b.Manifest.Engine, Version: "", Nodes: []plan.NewNode{{Name: q.Name + "-1", Agent: q.Agent, Priority: 100}}}
	if !inventory.ValidName(q.Name) {
		return "", c, fmt.Errorf("cluster %q: %w", q.Name, inventory.ErrName)
	}
	p := plan.Create(want, e.surveys(ctx, q.Name, want.Engine, "", want.Nodes))
	if p.Refused() {
		return "", c, &RefusedError{p}
	}
	p = plan.RestoreBeside(p, q.Cluster, b.ID, b.Target)
	spec := inventory.Spec{ID: q.Name, Name: q.Name, Engine: want.Engine, Primary: p.Node, Insecure: true,
		Made: &inventory.Made{Version: p.Arg("version"), Login: engine.LoginUser}}
	for _, n := range p.Nodes() {
		spec.Members = append(spec.Members, inventory.Member{Name: n.Name, Address: n.Address(), Agent: n.Agent, Priority: n.Priority})
	}
	login, _ := newPassword()
	c.User = firstUser
	var hash string
	c.Password, hash = newPassword()
	with, err := events(spec.Event, inventory.Settings{By: q.Who.Name, At: e.Now(),
		Secrets: map[string]string{inventory.SecretLogin: e.Secrets.Seal([]byte(login), secretContext(q.Name, inventory.SecretLogin))},
		Users:   map[string]*inventory.EngineUser{firstUser: {Name: firstUser, Access: engine.AccessReadWrite, Hash: hash, At: e.Now()}}}.Event)
	if err != nil {
		return "", Credentials{}, err
	}
	id, err := e.Submit(ctx, Submission{Cluster: q.Name, Kind: operation.Restore, Node: p.Node, Reason: q.Reason, Who: q.Who, With: with,
		Build: func(*plan.Facts) (plan.Plan, error) { return p, nil }})
	if err != nil {
		return "", Credentials{}, err
	}
	return id, c, nil
}

// beside tells a restore into a new cluster from one in place.
func (r *run) beside() bool { return r.op.Plan.Arg(plan.ArgOf) != "" }

// source is the backup that is restored.
func (r *run) source() (backup.Backup, error) {
	of := r.op.Plan.Arg(plan.ArgOf)
	if of == "" {
		of = r.op.Plan.Cluster
	}
	return r.e.there(of, r.op.Plan.Arg(plan.ArgBackup))
}

// takeSafety backs the present data up. It is a backup like any other and
// stays when the rest is taken back.
func takeSafety(ctx context.Context, r *run) (outcome, error) {
	p := &r.op.Plan
	id, node := p.Arg(plan.ArgSafety), p.Arg("safetyNode")
	at, ok := r.e.Agents.Locate(p.Cluster, node)
	if !ok {
		return outcome{}, &orderError{node: node, action: agent.ActionBackupTake, code: codeNotConnected, detail: "no agent reports on it", fix: "start its agent"}
	}
	if err := r.e.Backups.Record(ctx, p.Cluster, backup.Begun{ID: id, Cluster: p.Cluster, Node: node, Agent: at, Target: p.Arg(plan.ArgTarget), Operation: r.op.Operation,
		Reason: "before the restore of " + p.Arg(plan.ArgBackup), At: r.op.At}); err != nil {
		return outcome{}, err
	}
	v, err := r.take(ctx, node, id, p.Arg(plan.ArgTarget), strconv.FormatBool(node == p.Node))
	if err != nil {
		return outcome{}, err
	}
	m, err := manifestOf(v, p.Cluster, id)
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: fmt.Sprintf("backup %s: %d keys", id, m.TotalKeys())}, r.e.Backups.Record(ctx, p.Cluster, backup.Taken{ID: id, Manifest: m, At: r.e.Now()})
}

func prepareData(ctx context.Context, r *run) (outcome, error) {
	p := &r.op.Plan
	b, err := r.source()
	if err != nil {
		return outcome{}, err
	}
	key, err := r.e.Backups.Key(b.Manifest)
	if err != nil {
		return outcome{}, err
	}
	send, job := r.senderTo(ctx, p.Node), r.jobName(agent.ActionRestorePrepare)
	v, err := r.job(ctx, job, send, func() error {
		g, err := r.e.grant(send, agent.ActionRestorePrepare, p.Cluster, b.ID, b.Target, key, "")
		if err != nil {
			return err
		}
		_, err = send(agent.ActionRestorePrepare, "id", b.ID, "grant", g, "job", job, "operation", r.op.Operation, "of", b.Cluster)
		return err
	})
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: fmt.Sprintf("%s keys; read in %s ms, loaded in %s ms", v["keys"], v["fetchMs"], v["loadMs"]),
		values: map[string]string{"keys": v["keys"], "databases": v["databases"], "fetchMs": v["fetchMs"], "loadMs": v["loadMs"]}}, nil
}

func dropPrepared(ctx context.Context, r *run) (string, error) {
	if r.beside() {
		return "it is removed with the server", nil
	}
	return "", r.again(ctx, func() error {
		_, err := r.order(ctx, r.op.Plan.Node, agent.ActionRestoreDiscard, backupOrderTime, "operation", r.op.Operation, "id", r.op.Plan.Arg(plan.ArgBackup))
		return err
	})
}

func holdForRestore(ctx context.Context, r *run) (outcome, error) {
	_, err := r.order(ctx, r.op.Plan.Node, engine.PauseWrites, orderTimeout, "ms", strconv.FormatInt(plan.RestorePause.Milliseconds(), 10))
	return outcome{}, err
}

func releaseAfterRestore(ctx context.Context, r *run) (string, error) {
	return "", r.again(ctx, func() error {
		_, err := r.order(ctx, r.op.Plan.Node, engine.UnpauseWrites, orderTimeout)
		return err
	})
}

// detachReplicas has each replica follow nobody, so that it keeps and serves
// what it has while the primary changes.
func detachReplicas(ctx context.Context, r *run) (outcome, error) {
	host, port, _ := strings.Cut(plan.Nowhere, " ")
	nodes := r.op.Plan.Siblings
	errs := each(nodes, func(n string) error {
		_, err := r.order(ctx, n, engine.Repoint, orderTimeout, "addr", host+":"+port)
		return err
	})
	if len(errs) > 0 {
		if err := anyStale(errs); err != nil {
			return outcome{}, err
		}
		return outcome{}, fmt.Errorf("%s", list(nodes, errs))
	}
	return outcome{detail: fmt.Sprintf("%d replicas serve what they have", len(nodes))}, nil
}

func reattachReplicas(ctx context.Context, r *run) (string, error) {
	nodes := r.op.Plan.Siblings
	errs := each(nodes, func(n string) error {
		return r.again(ctx, func() error {
			_, err := r.order(ctx, n, engine.Repoint, orderTimeout, "addr", r.addr(r.op.Plan.Node))
			return err
		})
	})
	if len(errs) > 0 {
		return "", fmt.Errorf("%s", list(nodes, errs))
	}
	return "replicas follow " + r.op.Plan.Node + " again", nil
}

// stopTime bounds the end of a server that writes its data first.
const stopTime = 45 * time.Second

func stopForRestore(ctx context.Context, r *run) (outcome, error) {
	return outcome{}, r.again(ctx, func() error {
		_, err := r.order(ctx, r.op.Plan.Node, agent.ActionRestoreStop, stopTime, "operation", r.op.Operation)
		return err
	})
}

func startAgain(ctx context.Context, r *run) (string, error) {
	if r.beside() {
		return "it is removed with the cluster", nil
	}
	if err := r.start(ctx); err != nil {
		return "", err
	}
	// What holds back the rest is the primary answering again.
	return r.op.Plan.Node + " runs on its old data", r.settle(ctx, appearTime, func() error {
		_, err := r.order(ctx, r.op.Plan.Node, engine.VerifyRole, readTimeout, "role", string(engine.RolePrimary))
		return err
	})
}

func (r *run) start(ctx context.Context) error {
	return r.again(ctx, func() error {
		_, err := r.order(ctx, r.op.Plan.Node, agent.ActionRestoreStart, orderTimeout, "operation", r.op.Operation)
		return err
	})
}

func swapData(ctx context.Context, r *run) (outcome, error) {
	var v map[string]string
	err := r.again(ctx, func() (err error) {
		v, err = r.order(ctx, r.op.Plan.Node, agent.ActionRestoreSwap, backupOrderTime, "operation", r.op.Operation)
		return err
	})
	return outcome{detail: "the data before is kept in " + v["kept"], values: map[string]string{"kept": v["kept"]}}, err
}

func swapBack(ctx context.Context, r *run) (string, error) {
	if r.beside() {
		return "it is removed with the cluster", nil
	}
	return "the old data is in place", r.again(ctx, func() error {
		_, err := r.order(ctx, r.op.Plan.Node, agent.ActionRestoreBack, backupOrderTime, "operation", r.op.Operation)
		return err
	})
}

// startRestored starts the server and waits until it answers as a primary.
func startRestored(ctx context.Context, r *run) (outcome, error) {
	began := time.Now()
	err := r.insist(ctx, func() (bool, error) {
		if err := r.start(ctx); err != nil {
			return false, err
		}
		_, err := r.order(ctx, r.op.Plan.Node, engine.VerifyRole, orderTimeout, "role", string(engine.RolePrimary), "waitMs", "1000")
		return false, err
	})
	return outcome{detail: fmt.Sprintf("it answers as primary after %.1f s", time.Since(began).Seconds())}, err
}

// countRestored compares what the server serves with what was prepared. Keys
// whose time is over are gone by then, and clients may have written: only a
// server without the data is an error.
func countRestored(ctx context.Context, r *run) (outcome, error) {
	var v map[string]string
	err := r.insist(ctx, func() (bool, error) {
		var err error
		if v, err = r.order(ctx, r.op.Plan.Node, engine.SaveState, orderTimeout); err == nil && v["loading"] == "true" {
			err = fmt.Errorf("%s still loads its data", r.op.Plan.Node)
		}
		return false, err
	})
	if err != nil {
		return outcome{}, err
	}
	prepared := map[string]string{"databases": r.value(plan.StepPrepareData, "databases")}
	want, have := keysOf(prepared), keysOf(v)
	sum := func(m map[string]int64) (n int64) {
		for _, k := range m {
			n += k
		}
		return n
	}
	if sum(want) > 0 && sum(have) == 0 {
		return outcome{}, fmt.Errorf("%s serves no keys; %d were prepared", r.op.Plan.Node, sum(want))
	}
	if maps.Equal(want, have) {
		return outcome{detail: fmt.Sprintf("%d keys, as many as in the backup", sum(have))}, nil
	}
	return outcome{detail: fmt.Sprintf("%d keys; the backup has %d: the difference had reached its end of life, or was written since", sum(have), sum(want))}, nil
}

// attachOneByOne lets one replica after the other copy the restored data. One
// that cannot is named; the cluster serves without it.
func attachOneByOne(ctx context.Context, r *run) (outcome, error) {
	var attention []string
	for _, n := range r.op.Plan.Siblings {
		err := r.again(ctx, func() error {
			_, err := r.order(ctx, n, engine.Repoint, orderTimeout, "addr", r.addr(r.op.Plan.Node))
			return err
		})
		if err == nil {
			_, err = r.caughtUp(ctx, n)
		}
		if err == nil {
			_, err = r.order(ctx, n, engine.Persist, orderTimeout)
		}
		if isStale(err) || ctx.Err() != nil {
			return outcome{}, err
		}
		if err != nil {
			attention = append(attention, err.Error())
		}
	}
	out := outcome{detail: fmt.Sprintf("%d of %d replicas hold the restored data", len(r.op.Plan.Siblings)-len(attention), len(r.op.Plan.Siblings))}
	if len(attention) > 0 {
		out.values = map[string]string{"attention": strings.Join(attention, "; ")}
	}
	return out, nil
}

// restored is the sentence of a restore that is done.
func restored(r *run) string {
	p := &r.op.Plan
	b, _ := r.source()
	of := ""
	if b.Manifest != nil {
		of = " of " + b.Manifest.Created.Format("2006-01-02 15:04:05") + " UTC"
	}
	step, _ := r.op.Step(plan.StepCountKeys)
	for _, ev := range r.pending {
		if f, ok := ev.(operation.StepFinished); ok && f.Step == plan.StepCountKeys {
			step.Detail = f.Detail
		}
	}
	s := fmt.Sprintf("Cluster %s holds backup %s%s: %s", p.Cluster, p.Arg(plan.ArgBackup), of, step.Detail)
	if r.beside() {
		return s + fmt.Sprintf(". %s is its primary; add replicas with baton add-node", p.Node)
	}
	s += fmt.Sprintf(". The data before is in backup %s and in %s on the host of %s", p.Arg(plan.ArgSafety), r.value(plan.StepSwapData, "kept"), p.Node)
	if v := r.value(plan.StepAttachOne, "attention"); v != "" {
		s += ". Needs attention: " + v
	}
	return s
}

// restoreClosing takes a new cluster that could not be restored out again.
func restoreClosing(r *run, state operation.State) ([]journal.Event, error) {
	if r.beside() {
		return unregister(r, state)
	}
	return nil, nil
}
