package executor

import (
	"context"
	"fmt"
	"strings"

	"baton/control/agent"
	"baton/control/backup"
	"baton/control/backup/container"
	"baton/control/engine"
	"baton/control/plan"
)

// takeBackup takes a backup on one node. It never touches roles: a failover
// may have the cluster at any moment before the backup is recorded.
var takeBackup = procedure{
	{id: plan.StepBeginBackup, do: beginBackup, undo: failBackup},
	{id: plan.StepTakeBackup, do: takeIt, undo: discardIt},
	{id: plan.StepRecordBackup, do: recordBackup}, // point of no return: it is a backup
	{id: plan.StepExpire, do: expireBackups},
}

func beginBackup(ctx context.Context, r *run) (outcome, error) {
	p := &r.op.Plan
	id, ok := r.e.Agents.Locate(p.Cluster, p.Node)
	if !ok {
		return outcome{}, &orderError{node: p.Node, action: agent.ActionBackupTake, code: codeNotConnected, detail: "no agent reports on it", fix: "start its agent"}
	}
	err := r.e.Backups.Record(ctx, p.Cluster, backup.Begun{ID: p.Arg(plan.ArgBackup), Cluster: p.Cluster, Node: p.Node, Agent: id,
		Target: p.Arg(plan.ArgTarget), Operation: r.op.Operation, Reason: r.op.Reason, At: r.op.At})
	return outcome{detail: "backup " + p.Arg(plan.ArgBackup)}, err
}

func failBackup(ctx context.Context, r *run) (string, error) {
	return "", r.e.Backups.Record(ctx, r.op.Plan.Cluster, backup.Failed{ID: r.op.Plan.Arg(plan.ArgBackup), Why: r.op.Why, At: r.e.Now()})
}

func takeIt(ctx context.Context, r *run) (outcome, error) {
	p := &r.op.Plan
	v, err := r.take(ctx, p.Node, p.Arg(plan.ArgBackup), p.Arg(plan.ArgTarget), p.Arg("primary"))
	if err != nil {
		return outcome{}, err
	}
	m, err := manifestOf(v, p.Cluster, p.Arg(plan.ArgBackup))
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: fmt.Sprintf("%s, %d KiB; saved in %d ms, stored in %d ms", heldBy(&m), m.Bytes>>10, m.SaveMs, m.SendMs), values: map[string]string{"manifest": v["manifest"]}}, nil
}

// heldBy says what a backup holds.
func heldBy(m *container.Manifest) string {
	switch {
	case m.Kind == container.KindStore:
		return "the log up to position " + m.Offset
	case m.Counted:
		return fmt.Sprintf("%d keys", m.TotalKeys())
	}
	return "its keys were not counted: it holds a kind of value this version does not know"
}

// take has a backup taken beside a node and returns what the agent answered.
func (r *run) take(ctx context.Context, node, id, targetName, primary string) (map[string]string, error) {
	send, job := r.senderTo(ctx, node), r.jobName(agent.ActionBackupTake)
	return r.job(ctx, job, send, func() error {
		key, sealed, err := r.e.Backups.NewKey(r.op.Plan.Cluster, id)
		if err != nil {
			return err
		}
		g, err := r.e.grant(send, agent.ActionBackupTake, r.op.Plan.Cluster, id, targetName, key, sealed)
		if err != nil {
			return err
		}
		_, err = send(agent.ActionBackupTake, "id", id, "grant", g, "job", job, "primary", primary)
		return err
	})
}

// discardIt ends the work and removes what was stored. The next backup tries
// again when the agent is away.
func discardIt(ctx context.Context, r *run) (string, error) {
	p := &r.op.Plan
	send := r.senderTo(ctx, p.Node)
	err := r.again(ctx, func() error {
		g, err := r.e.grant(send, agent.ActionBackupDiscard, p.Cluster, p.Arg(plan.ArgBackup), p.Arg(plan.ArgTarget), nil, "")
		if err != nil {
			return err
		}
		_, err = send(agent.ActionBackupDiscard, "id", p.Arg(plan.ArgBackup), "grant", g)
		return err
	})
	return "nothing of it is left in the target", err
}

func recordBackup(ctx context.Context, r *run) (outcome, error) {
	p := &r.op.Plan
	m, err := manifestOf(map[string]string{"manifest": r.value(plan.StepTakeBackup, "manifest")}, p.Cluster, p.Arg(plan.ArgBackup))
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: "as of " + m.Created.Format("2006-01-02 15:04:05") + " UTC"},
		r.e.Backups.Record(ctx, p.Cluster, backup.Taken{ID: m.ID, Manifest: m, At: r.e.Now()})
}

// expireBackups removes what has had its time, and what failed backups may
// have left. What cannot be removed now stays for the next time.
func expireBackups(ctx context.Context, r *run) (outcome, error) {
	cluster := r.op.Plan.Cluster
	c, _ := r.e.Inventory.Cluster(cluster)
	var list []backup.Kept
	byID := map[string]*backup.Backup{}
	var attention []string
	for _, b := range r.e.Backups.Backups(cluster) {
		byID[b.ID] = &b
		switch {
		case b.There():
			list = append(list, backup.Kept{ID: b.ID, At: b.At, Verified: b.State == backup.StateVerified, Bad: b.Damaged()})
		case b.State == backup.StateRunning && b.Operation != r.op.Operation && !r.e.inUse(cluster, b.ID, r.op.Operation):
			// Its operation ended without a word about it.
			if err := r.e.Backups.Record(ctx, cluster, backup.Failed{ID: b.ID, Why: "its operation ended", At: r.e.Now()}); err != nil {
				return outcome{}, err
			}
		case b.State == backup.StateFailed && b.Remains:
			if err := r.e.discard(ctx, r.op.Operation, &b); err == nil {
				if err := r.e.Backups.Record(ctx, cluster, backup.Cleaned{ID: b.ID, At: r.e.Now()}); err != nil {
					return outcome{}, err
				}
			}
		}
	}
	gone := 0
	for _, id := range backup.Expired(list, c.Policy.BackupKeep, 0, r.e.Now(), func(id string) bool {
		return r.e.inUse(cluster, id, r.op.Operation) || id == r.op.Plan.Arg(plan.ArgBackup)
	}) {
		if err := r.e.discard(ctx, r.op.Operation, byID[id]); err != nil {
			if isStale(err) || ctx.Err() != nil {
				return outcome{}, err
			}
			attention = append(attention, fmt.Sprintf("%s stays: %v", id, err))
			continue
		}
		if err := r.e.Backups.Record(ctx, cluster, backup.Removed{ID: id, Expired: true, At: r.e.Now()}); err != nil {
			return outcome{}, err
		}
		gone++
	}
	out := outcome{detail: fmt.Sprintf("%d removed, %d kept", gone, len(list)-gone)}
	if len(attention) > 0 {
		out.detail += "; " + strings.Join(attention, "; ")
		out.values = map[string]string{"attention": strings.Join(attention, "; ")}
	}
	return out, nil
}

// backedUp is the sentence of a backup that is done.
func backedUp(r *run) string {
	s := fmt.Sprintf("Backup %s was taken on %s", r.op.Plan.Arg(plan.ArgBackup), r.op.Plan.Node)
	if m, err := manifestOf(map[string]string{"manifest": r.value(plan.StepTakeBackup, "manifest")}, r.op.Plan.Cluster, r.op.Plan.Arg(plan.ArgBackup)); err == nil {
		if m.Kind == container.KindStore {
			s += fmt.Sprintf(": %s, %d KiB", heldBy(&m), m.Bytes>>10)
		} else {
			s += fmt.Sprintf(": %d keys, %d KiB", m.TotalKeys(), m.Bytes>>10)
		}
		if m.Primary {
			s += "; it is the " + primaryWord(m.Engine)
		}
	}
	if v := r.value(plan.StepExpire, "attention"); v != "" {
		s += ". Needs attention: " + v
	}
	return s
}

// ---- trials

// tryBackup restores a backup apart from everything else. A backup that cannot
// be restored is the finding, not a failure of the operation.
var tryBackup = procedure{
	{id: plan.StepTryBackup, do: tryIt, undo: func(context.Context, *run) (string, error) {
		return "the agent removes a scratch server with its work", nil
	}},
	{id: plan.StepRecordTry, do: recordTry},
}

func tryIt(ctx context.Context, r *run) (outcome, error) {
	p := &r.op.Plan
	b, err := r.e.there(p.Cluster, p.Arg(plan.ArgBackup))
	if err != nil {
		return outcome{}, err
	}
	key, err := r.e.Backups.Key(b.Manifest)
	if err != nil {
		return outcome{}, err
	}
	send, job := r.senderAt(ctx, p.Arg(plan.ArgAgent)), r.jobName(agent.ActionBackupVerify)
	v, err := r.job(ctx, job, send, func() error {
		g, err := r.e.grant(send, agent.ActionBackupVerify, p.Cluster, b.ID, p.Arg(plan.ArgTarget), key, "")
		if err != nil {
			return err
		}
		_, err = send(agent.ActionBackupVerify, "id", b.ID, "grant", g, "job", job, "engine", b.Manifest.Engine)
		return err
	})
	if err != nil {
		if codeOf(err) != engine.CodeFailed {
			return outcome{}, err // nothing was found out about the backup
		}
		return outcome{detail: err.Error(), values: map[string]string{"bad": err.Error()}}, nil
	}
	return outcome{detail: v["how"], values: map[string]string{"how": v["how"], "keys": v["keys"], "fetchMs": v["fetchMs"], "loadMs": v["loadMs"]}}, nil
}

func recordTry(ctx context.Context, r *run) (outcome, error) {
	p := &r.op.Plan
	get := func(key string) string { return r.value(plan.StepTryBackup, key) }
	number := func(key string) int64 { return atoi64(get(key)) }
	ev := backup.Verified{ID: p.Arg(plan.ArgBackup), OK: get("bad") == "", How: get("how") + get("bad"), Keys: number("keys"),
		RestoreMs: number("fetchMs") + number("loadMs"), Operation: r.op.Operation, At: r.e.Now()}
	if err := r.e.Backups.Record(ctx, p.Cluster, ev); err != nil {
		return outcome{}, err
	}
	if p.Arg(plan.ArgDrill) != "true" {
		return outcome{}, nil
	}
	return outcome{}, r.e.Backups.Record(ctx, p.Cluster, backup.Drilled{Backup: ev.ID, OK: ev.OK, Ms: ev.RestoreMs, Sentence: tried(r), Operation: r.op.Operation, At: ev.At})
}

// tried is the sentence of a trial that is over.
func tried(r *run) string {
	id := r.op.Plan.Arg(plan.ArgBackup)
	if bad := r.value(plan.StepTryBackup, "bad"); bad != "" {
		return fmt.Sprintf("Backup %s CANNOT be restored: %s", id, bad)
	}
	ms := atoi64(r.value(plan.StepTryBackup, "fetchMs")) + atoi64(r.value(plan.StepTryBackup, "loadMs"))
	return fmt.Sprintf("Backup %s can be restored: %s. Reading and loading took %d ms", id, r.value(plan.StepTryBackup, "how"), ms)
}
