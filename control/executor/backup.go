package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/backup"
	"baton/control/backup/container"
	"baton/control/backup/grant"
	"baton/control/engine"
	"baton/control/operation"
	"baton/control/plan"
)

// Refusals about backups. Nothing was changed.
var (
	// ErrNoBackups: this control plane keeps no backups (tests, tools).
	ErrNoBackups = errors.New("this control plane keeps no backups")
	// ErrNoTarget: no target was named and the cluster's policy has none.
	ErrNoTarget = errors.New("no backup target is set for the cluster")
	// ErrNotThere: the backup failed, runs, or was removed.
	ErrNotThere = errors.New("the backup is not in its target")
	// ErrBackupUsed: an operation uses the backup.
	ErrBackupUsed = errors.New("an operation uses the backup")
	// ErrLastVerified: it is the newest verified backup.
	ErrLastVerified = errors.New("it is the newest verified backup of the cluster")
)

// RequestBackup asks for a backup.
type RequestBackup struct {
	Cluster string
	Node    string // "": the best
	Target  string // "": the policy's
	Reason  string
	Who     audit.Who
}

// Backup begins taking a backup and returns the operation's id. Errors: those
// of Submit, ErrNoBackups, ErrNoTarget, backup.ErrNoTarget, backup.ErrNoSecrets.
func (e *Executor) Backup(ctx context.Context, q RequestBackup) (string, error) {
	if e.Backups == nil {
		return "", ErrNoBackups
	}
	c, ok := e.Inventory.Cluster(q.Cluster)
	if !ok {
		return "", ErrUnknownCluster
	}
	if q.Target == "" {
		q.Target = c.Policy.BackupTarget
	}
	if q.Target == "" {
		return "", ErrNoTarget
	}
	if _, err := e.Backups.TargetConfig(q.Target); err != nil {
		return "", err
	}
	id := backup.NewID(e.Now())
	return e.Submit(ctx, Submission{Cluster: q.Cluster, Kind: operation.Backup, Node: q.Node, Reason: q.Reason, Who: q.Who,
		Build: func(f *plan.Facts) (plan.Plan, error) { return plan.Backup(f, id, q.Target, q.Node), nil }})
}

// RequestTry asks to restore a backup on trial.
type RequestTry struct {
	Cluster string
	Backup  string // "": the newest one that is not damaged, as a drill
	Reason  string
	Who     audit.Who
}

// TryBackup begins restoring a backup on trial. Errors: those of Submit,
// backup.ErrUnknown, ErrNotThere.
func (e *Executor) TryBackup(ctx context.Context, q RequestTry) (string, error) {
	if e.Backups == nil {
		return "", ErrNoBackups
	}
	if _, ok := e.Inventory.Cluster(q.Cluster); !ok {
		return "", ErrUnknownCluster
	}
	drill := q.Backup == ""
	if drill {
		for _, b := range e.Backups.Backups(q.Cluster) {
			if b.There() && !b.Damaged() {
				q.Backup = b.ID
				break
			}
		}
		if q.Backup == "" {
			return "", fmt.Errorf("cluster %s has no backup to drill with: %w", q.Cluster, ErrNotThere)
		}
	}
	b, err := e.there(q.Cluster, q.Backup)
	if err != nil {
		return "", err
	}
	return e.Submit(ctx, Submission{Cluster: q.Cluster, Kind: operation.RestoreDrill, Reason: q.Reason, Who: q.Who,
		Build: func(f *plan.Facts) (plan.Plan, error) {
			return plan.TryBackup(f, b.ID, b.Target, agentFor(f, &b), drill), nil
		}})
}

// agentFor is where a backup is tried: the host that took it, which has a
// directory target; else any host of the cluster with a link.
func agentFor(f *plan.Facts, b *backup.Backup) string {
	if f.Connected[b.Agent] {
		return b.Agent
	}
	var ids []string
	for id, ok := range f.Connected {
		if ok {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	if len(ids) > 0 {
		return ids[0]
	}
	return b.Agent
}

// there returns a backup that is in its target.
func (e *Executor) there(cluster, id string) (backup.Backup, error) {
	b, err := e.Backups.Backup(cluster, id)
	if err == nil && !b.There() {
		err = fmt.Errorf("backup %s is %s: %w", id, b.State, ErrNotThere)
	}
	return b, err
}

// inUse tells whether a running operation uses a backup.
func (e *Executor) inUse(cluster, id, except string) bool {
	for _, o := range e.Inventory.Unfinished() {
		of := o.Plan.Arg(plan.ArgOf)
		if of == "" {
			of = o.Plan.Cluster
		}
		if o.Operation != except && of == cluster && (o.Plan.Arg(plan.ArgBackup) == id || o.Plan.Arg(plan.ArgSafety) == id) {
			return true
		}
	}
	return false
}

// DeleteBackup removes a backup from its target. The newest verified one and
// those in use stay: ErrLastVerified, ErrBackupUsed.
func (e *Executor) DeleteBackup(ctx context.Context, cluster, id string, who audit.Who) error {
	if e.Backups == nil {
		return ErrNoBackups
	}
	b, err := e.there(cluster, id)
	if err != nil {
		return err
	}
	if e.inUse(cluster, id, "") {
		return fmt.Errorf("backup %s: %w", id, ErrBackupUsed)
	}
	for _, o := range e.Backups.Backups(cluster) {
		if o.State == backup.StateVerified {
			if o.ID == id {
				return fmt.Errorf("backup %s: %w", id, ErrLastVerified)
			}
			break
		}
	}
	if err := e.discard(ctx, "delete-"+id, &b); err != nil {
		return err
	}
	return e.Backups.Record(ctx, cluster, backup.Removed{ID: id, By: who.Name, At: e.Now()})
}

// backupOrderTime bounds one short order about a backup.
const backupOrderTime = 20 * time.Second

// discard removes a backup's objects by the agent that took it, or another of
// the cluster's.
func (e *Executor) discard(ctx context.Context, operation string, b *backup.Backup) error {
	ids := []string{b.Agent}
	if c, ok := e.Inventory.Cluster(b.Cluster); ok {
		for _, m := range c.Members {
			if id, ok := e.Agents.Locate(b.Cluster, m.Name); ok && id != b.Agent {
				ids = append(ids, id)
			}
		}
	}
	var err error
	for i, id := range ids {
		if t, terr := e.Backups.Target(b.Target); i > 0 && (terr != nil || t.Kind == "directory") {
			break // another host's directory is another directory
		}
		send := func(action string, args ...string) (map[string]string, error) {
			return e.orderOnce(ctx, id, operation, b.Cluster, action, backupOrderTime, args...)
		}
		var g string
		if g, err = e.grant(send, agent.ActionBackupDiscard, b.Cluster, b.ID, b.Target, nil, ""); err == nil {
			_, err = send(agent.ActionBackupDiscard, "id", b.ID, "grant", g)
		}
		if codeOf(err) != codeNotConnected {
			return err
		}
	}
	return err
}

// sender sends one order to one agent and waits for its answer.
type sender func(action string, args ...string) (map[string]string, error)

// grant asks an agent for a key and seals to it what it needs for one action.
// of is the cluster of the order, which the grant is bound to.
func (e *Executor) grant(send sender, action, of, id, targetName string, key []byte, sealedKey string) (string, error) {
	cfg, err := e.Backups.TargetConfig(targetName)
	if err != nil {
		return "", err
	}
	v, err := send(agent.ActionBackupKey)
	if err != nil {
		return "", err
	}
	return grant.Seal(v["public"], agent.GrantPurpose(action, of, id), grant.Grant{Target: cfg, Key: key, SealedKey: sealedKey})
}

const (
	// jobWait is how long one look at a job waits for its end.
	jobWait = 2 * time.Second
	// jobPatience is how long an agent may be away while it works.
	jobPatience = 45 * time.Second
)

// job has an agent do long work under a name, and waits for its end. The work
// goes on while the control plane is away; a job that the agent lost after this
// run began it has failed.
func (r *run) job(ctx context.Context, name string, send sender, begin func() error) (map[string]string, error) {
	begun := false
	var away time.Time
	wait := r.backoff()
	for {
		v, err := send(agent.ActionBackupWait, "job", name, "waitMs", strconv.FormatInt(jobWait.Milliseconds(), 10))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			away = time.Time{}
			if v["state"] == "done" {
				return v, nil
			}
			continue
		}
		switch {
		case codeOf(err) == agent.CodeUnknownJob && !begun:
			if err = begin(); err == nil {
				begun, away = true, time.Time{}
				continue
			}
			// An answer that stayed out leaves open whether it began: the next
			// look tells.
			if codeOf(err) != codeNotConnected && !open(err) {
				return nil, err
			}
		case codeOf(err) != codeNotConnected && !open(err):
			return nil, err
		}
		if away.IsZero() {
			away = time.Now()
		}
		if time.Since(away) > jobPatience || r.hurry || !wait(ctx) {
			return nil, err
		}
	}
}

// senderTo sends to the agent beside a node.
func (r *run) senderTo(ctx context.Context, node string) sender {
	return func(action string, args ...string) (map[string]string, error) {
		return r.order(ctx, node, action, backupOrderTime, args...)
	}
}

// senderAt sends to an agent.
func (r *run) senderAt(ctx context.Context, id string) sender {
	return func(action string, args ...string) (map[string]string, error) {
		return r.orderAgent(ctx, id, action, backupOrderTime, args...)
	}
}

func (r *run) jobName(what string) string { return r.op.Operation + "/" + what }

func manifestOf(v map[string]string, cluster, id string) (container.Manifest, error) {
	return container.DecodeManifest([]byte(v["manifest"]), cluster, id)
}

// keysOf reads the keys of each database.
func keysOf(v map[string]string) map[string]int64 {
	var out map[string]int64
	_ = json.Unmarshal([]byte(v["databases"]), &out) // of our own agent; nil compares as different
	return out
}

func atoi64(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// orderOnce sends one order to an agent outside of any operation's run.
func (e *Executor) orderOnce(ctx context.Context, id, operation, cluster, action string, timeout time.Duration, args ...string) (map[string]string, error) {
	o := agent.Order{Operation: operation, Cluster: cluster, Generation: e.Inventory.Generation(cluster), Term: e.Term, Timeout: timeout,
		Action: engine.Action{Name: action, Args: map[string]string{}}}
	for i := 0; i+1 < len(args); i += 2 {
		o.Action.Args[args[i]] = args[i+1]
	}
	res, err := e.Agents.Order(ctx, id, o)
	fail := func(code, detail, fix string) error {
		return &orderError{node: "agent " + id, action: action, code: code, detail: detail, fix: fix}
	}
	switch {
	case errors.Is(err, agent.ErrNotConnected):
		return nil, fail(codeNotConnected, "it has no link to the control plane", "start it")
	case err != nil:
		return nil, fail(codeNoAnswer, "the order was sent and its outcome is not known", "")
	case !res.OK():
		return res.Values, fail(res.Code, res.Detail, res.Fix)
	}
	return res.Values, nil
}
