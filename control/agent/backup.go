package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"baton/control/backup/container"
	"baton/control/backup/grant"
	"baton/control/backup/target"
	"baton/control/engine"
)

// Actions on backups. Each but the first two and ActionBackupWait carries "id" (the backup) and
// "grant", sealed to a key of ActionBackupKey for the purpose "ACTION CLUSTER/ID". The
// long ones begin a job and answer at once; ActionBackupWait follows it. A job
// goes on when the link ends and dies with the agent.
const (
	// ActionBackupKey makes a key pair in memory. Values: "public".
	ActionBackupKey = "backup-key"
	// ActionBackupWait{job,waitMs}: waits until the job ended, at most waitMs.
	// Values: "state" running or done, "phase" (a few words), "moved" and "total"
	// (bytes, total 0 when not known yet), and when done the job's values. A job that failed
	// answers its own code. CodeUnknownJob: the agent has no such job.
	ActionBackupWait = "backup-wait"
	// ActionBackupTake{id,grant,job} on an instance: saves, encrypts, stores; the
	// manifest last. Values of the job: "manifest" (JSON of container.Manifest).
	ActionBackupTake = "backup-take"
	// ActionBackupVerify{id,grant,job,node[,engine]}: reads the backup, checks every chunk and the
	// hash, runs the engine's own checker, loads it into a scratch server and compares
	// the keys of each database. Of an event store every file is compared with its hash and
	// every entry applied. engine "" is Redis. Values: "keys" (of an event store: its events), "databases", "fetchMs", "loadMs", "how", "version".
	ActionBackupVerify = "backup-verify"
	// ActionBackupDiscard{id,grant}: ends the jobs of the backup and removes
	// its objects and whatever was left of them. The manifest goes first.
	ActionBackupDiscard = "backup-discard"
	// ActionBackupRead{id,grant}: the manifest as it stands in the target, seen
	// from this host. Values: "manifest". CodeRefused when there is none.
	ActionBackupRead = "backup-read"
	// ActionTargetCheck{id,grant}: writes, reads and removes a small object.
	ActionTargetCheck = "target-check"
)

// CodeUnknownJob: the agent has no job of the name; it was restarted since, or
// the job was never begun.
const CodeUnknownJob = "unknown-job"

// GrantPurpose is what a grant for an action on a backup is bound to.
func GrantPurpose(action, cluster, id string) string { return action + " " + cluster + "/" + id }

const (
	// maxJobs that run at one time on one host: each loads disk and memory.
	maxJobs = 2
	// keptJobs are remembered after their end.
	keptJobs = 64
	// jobTime bounds one job.
	jobTime = 6 * time.Hour
	// cleanTime bounds removing what an ended job left in the target.
	cleanTime = 30 * time.Second
	// maxWait bounds one answer of ActionBackupWait.
	maxWait = 20 * time.Second
)

// backupJobs are the jobs of an agent. The zero value is ready.
type backupJobs struct {
	keys grant.Keyring

	mu    sync.Mutex
	byID  map[string]*backupJob
	order []string
	wg    sync.WaitGroup
}

// backupJob is one piece of long work.
type backupJob struct {
	backup string
	cancel context.CancelFunc
	done   chan struct{}
	// moved and total count bytes of the present phase.
	moved, total atomic.Int64
	phase        atomic.Pointer[string]
	// Set before done is closed.
	values map[string]string
	err    error
}

func (j *backupJob) enter(phase string, total int64) {
	j.phase.Store(&phase)
	j.total.Store(total)
	j.moved.Store(0)
}

// count reports what is read through it as moved.
func (j *backupJob) count(r io.Reader) io.Reader { return &movedReader{r, j} }

type movedReader struct {
	r io.Reader
	j *backupJob
}

// Read counts.
func (m *movedReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.j.moved.Add(int64(n))
	return n, err
}

// begin starts a job unless one of the id is known.
func (b *backupJobs) begin(ctx context.Context, id, backup string, f func(context.Context, *backupJob) (map[string]string, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byID == nil {
		b.byID = map[string]*backupJob{}
	}
	if b.byID[id] != nil {
		return nil
	}
	running := 0
	for _, j := range b.byID {
		if !ended(j) {
			running++
		}
	}
	if running >= maxJobs {
		return &engine.ActionError{Code: CodeBusy, Detail: fmt.Sprintf("%d backups, checks or restores run on this host already", running), Fix: "wait until one has ended"}
	}
	for len(b.order) >= keptJobs && ended(b.byID[b.order[0]]) {
		delete(b.byID, b.order[0])
		b.order = b.order[1:]
	}
	ctx, cancel := context.WithTimeout(ctx, jobTime)
	j := &backupJob{backup: backup, cancel: cancel, done: make(chan struct{})}
	j.enter("begin", 0)
	b.byID[id] = j
	b.order = append(b.order, id)
	b.wg.Go(func() {
		defer cancel()
		defer close(j.done)
		j.values, j.err = f(ctx, j)
	})
	return nil
}

func ended(j *backupJob) bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// stop ends the jobs of a backup ("": all) and waits for their end.
func (b *backupJobs) stop(backup string) {
	b.mu.Lock()
	var list []*backupJob
	for _, j := range b.byID {
		if backup == "" || j.backup == backup {
			j.cancel()
			list = append(list, j)
		}
	}
	b.mu.Unlock()
	for _, j := range list {
		<-j.done
	}
}

func backupKey(_ context.Context, a *Agent, _ Order) (map[string]string, error) {
	public, err := a.jobs.keys.New(time.Now())
	if err != nil {
		return nil, &engine.ActionError{Code: CodeBusy, Detail: err.Error()}
	}
	return map[string]string{"public": public}, nil
}

func backupWait(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	ms, err := strconv.Atoi(o.Action.Arg("waitMs"))
	if err != nil || ms < 0 {
		return nil, badArg("backup-wait: waitMs %q is not a number of milliseconds", o.Action.Arg("waitMs"))
	}
	a.jobs.mu.Lock()
	j := a.jobs.byID[o.Action.Arg("job")]
	a.jobs.mu.Unlock()
	if j == nil {
		return nil, &engine.ActionError{Code: CodeUnknownJob, Detail: "the agent knows nothing of this work; it was restarted since"}
	}
	t := time.NewTimer(min(time.Duration(ms)*time.Millisecond, maxWait))
	defer t.Stop()
	select {
	case <-j.done:
		if j.err != nil {
			return nil, j.err
		}
		out := map[string]string{"state": "done"}
		for k, v := range j.values {
			out[k] = v
		}
		return out, nil
	case <-t.C:
	case <-ctx.Done():
	}
	return map[string]string{"state": "running", "phase": *j.phase.Load(),
		"moved": strconv.FormatInt(j.moved.Load(), 10), "total": strconv.FormatInt(j.total.Load(), 10)}, nil
}

// granted opens an order's grant and the target it names.
func granted(a *Agent, o Order) (grant.Grant, target.Target, error) {
	id := o.Action.Arg("id")
	if !container.ValidID(id) || !namePattern.MatchString(o.Cluster) {
		return grant.Grant{}, nil, badArg("%s: %q of cluster %q names no backup", o.Action.Name, id, o.Cluster)
	}
	g, err := a.jobs.keys.Open(o.Action.Arg("grant"), GrantPurpose(o.Action.Name, o.Cluster, id), time.Now())
	if err != nil {
		return g, nil, &engine.ActionError{Code: engine.CodeRefused, Detail: err.Error()}
	}
	t, err := target.Open(g.Target)
	if err != nil {
		return g, nil, &engine.ActionError{Code: engine.CodeRefused, Detail: err.Error()}
	}
	return g, t, nil
}

// startJob begins the work of an order under the agent's own life.
func (a *Agent) startJob(o Order, f func(context.Context, *backupJob) (map[string]string, error)) (map[string]string, error) {
	a.mu.Lock()
	ctx := a.ctx
	a.mu.Unlock()
	if ctx == nil || ctx.Err() != nil {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "the agent is ending"}
	}
	job := o.Action.Arg("job")
	if job == "" {
		return nil, badArg("%s needs a job", o.Action.Name)
	}
	return nil, a.jobs.begin(ctx, job, o.Action.Arg("id"), f)
}

func backupDiscard(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	_, t, err := granted(a, o)
	if err != nil {
		return nil, err
	}
	id := o.Action.Arg("id")
	a.jobs.stop(id)
	return nil, discard(ctx, t, o.Cluster, id)
}

// discard removes a backup. Without its manifest it is none, whatever follows.
func discard(ctx context.Context, t target.Target, cluster, id string) error {
	if err := t.Abandon(ctx, container.ManifestName(cluster, id)); err != nil {
		return targetError(err)
	}
	return targetError(t.Abandon(ctx, container.FileName(cluster, id)))
}

// targetError gives a target's error its code.
func targetError(err error) error {
	if err == nil {
		return nil
	}
	ae := &engine.ActionError{Code: engine.CodeFailed, Detail: err.Error()}
	switch {
	case errors.Is(err, target.ErrNotFound):
		ae.Code, ae.Detail = engine.CodeRefused, "the backup is not in the target as this host sees it: "+err.Error()
		ae.Fix = "a directory target is a directory of the host that took the backup, unless it is a mount that hosts share"
	case errors.Is(err, target.ErrFull):
		ae.Code, ae.Fix = engine.CodeRefused, "make room, or keep fewer backups"
	case errors.Is(err, context.Canceled):
		ae.Detail = "it was ended"
	}
	return ae
}

func backupRead(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	_, t, err := granted(a, o)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(ctx, t, o.Cluster, o.Action.Arg("id"))
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return map[string]string{"manifest": string(b)}, nil
}

func readManifest(ctx context.Context, t target.Target, cluster, id string) (container.Manifest, error) {
	r, err := t.Get(ctx, container.ManifestName(cluster, id))
	if err != nil {
		return container.Manifest{}, targetError(err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, container.MaxManifestBytes))
	if err != nil {
		return container.Manifest{}, targetError(err)
	}
	m, err := container.DecodeManifest(b, cluster, id)
	if err != nil {
		return m, &engine.ActionError{Code: engine.CodeFailed, Detail: err.Error(), Fix: "somebody changed the target by hand; take a new backup"}
	}
	return m, nil
}

func targetCheck(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	_, t, err := granted(a, o)
	if err != nil {
		return nil, err
	}
	return nil, targetError(t.Health(ctx))
}

// scratchRoot is where scratch servers and half-read backups live.
func (a *Agent) scratchRoot() string { return filepath.Join(a.opt.Dir, "scratch") }

// sweepScratch removes what jobs of an agent before this one left. Their
// servers ended with it.
func (a *Agent) sweepScratch() {
	if err := os.RemoveAll(a.scratchRoot()); err != nil {
		a.log.Warn("what an earlier check left is not removed", "err", err)
	}
}

// scratchDir makes an empty directory for one job.
func (a *Agent) scratchDir() (string, error) {
	if err := os.MkdirAll(a.scratchRoot(), 0o700); err != nil {
		return "", fmt.Errorf("make the scratch directory: %w", err)
	}
	dir, err := os.MkdirTemp(a.scratchRoot(), "job-")
	if err != nil {
		return "", fmt.Errorf("make the scratch directory: %w", err)
	}
	return dir, nil
}

// backupActions are the orders about backups.
var backupActions = map[string]agentAction{
	ActionBackupKey:      backupKey,
	ActionBackupWait:     backupWait,
	ActionBackupTake:     backupTake,
	ActionBackupVerify:   backupVerify,
	ActionBackupDiscard:  backupDiscard,
	ActionBackupRead:     backupRead,
	ActionTargetCheck:    targetCheck,
	ActionRestorePrepare: restorePrepare,
	ActionRestoreSwap:    restoreSwap,
	ActionRestoreBack:    restoreBack,
	ActionRestoreDiscard: restoreDiscard,
	ActionRestoreStop:    restoreStop,
	ActionRestoreStart:   restoreStart,
	ActionStoreFound:     storeFound,
	ActionStoreServe:     storeServe,
}
