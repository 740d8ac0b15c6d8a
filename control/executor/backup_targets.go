package executor

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/backup"
	"baton/control/backup/target"
)

// TargetHealth is what the last check of a target found.
type TargetHealth struct {
	At time.Time // zero: never checked
	OK bool
	// Why says which hosts checked it, or what is wrong.
	Why string
}

// targetsEvery is how often targets are checked.
const targetsEvery = time.Minute

// targetHealths remembers the last checks.
type targetHealths struct {
	mu   sync.Mutex
	byID map[string]TargetHealth
}

// TargetHealth returns the last check of a target.
func (e *Executor) TargetHealth(name string) TargetHealth {
	e.healths.mu.Lock()
	defer e.healths.mu.Unlock()
	return e.healths.byID[name]
}

// WatchTargets checks every target now and then, from the hosts that would use
// it, until ctx ends.
func (e *Executor) WatchTargets(ctx context.Context) error {
	tick := time.NewTicker(targetsEvery)
	defer tick.Stop()
	for {
		for _, t := range e.Backups.Targets() {
			e.CheckTarget(ctx, t.Name)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// CheckTarget has every host that would use a target write, read and remove a
// small object there.
func (e *Executor) CheckTarget(ctx context.Context, name string) TargetHealth {
	h := TargetHealth{At: e.Now()}
	h.OK, h.Why = e.checkTarget(ctx, name)
	if ctx.Err() != nil {
		return h
	}
	e.healths.mu.Lock()
	defer e.healths.mu.Unlock()
	if e.healths.byID == nil {
		e.healths.byID = map[string]TargetHealth{}
	}
	e.healths.byID[name] = h
	return h
}

func (e *Executor) checkTarget(ctx context.Context, name string) (ok bool, why string) {
	hosts := e.hostsOf(name)
	if len(hosts) == 0 {
		return false, "no agent is connected that could reach it"
	}
	var mu sync.Mutex
	var good, bad []string
	_ = each(hosts, func(host string) error {
		id, cluster, _ := strings.Cut(host, "/")
		send := func(action string, args ...string) (map[string]string, error) {
			return e.orderOnce(ctx, id, "check-target", cluster, action, backupOrderTime, args...)
		}
		g, err := e.grant(send, agent.ActionTargetCheck, cluster, checkID, name, nil, "")
		if err == nil {
			_, err = send(agent.ActionTargetCheck, "id", checkID, "grant", g)
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			bad = append(bad, err.Error())
		} else {
			good = append(good, id)
		}
		return nil
	})
	sort.Strings(bad)
	if len(bad) > 0 {
		return false, strings.Join(bad, "; ")
	}
	return true, fmt.Sprintf("%d of %d hosts wrote and read it", len(good), len(hosts))
}

// checkID stands for a backup in the grant of a check.
const checkID = "b-check"

// hostsOf are the connected agents, each with a cluster beside it ("agent/cluster"), of clusters
// that use the target; when none does, of all clusters.
func (e *Executor) hostsOf(name string) []string {
	var using, all []string
	seen := map[string]bool{}
	for _, c := range e.Inventory.Clusters() {
		for _, m := range c.Members {
			id, ok := e.Agents.Locate(c.ID, m.Name)
			if !ok || seen[id] && c.Policy.BackupTarget != name {
				continue
			}
			if c.Policy.BackupTarget == name && !slices.Contains(using, id+"/"+c.ID) {
				using = append(using, id+"/"+c.ID)
			}
			if !seen[id] {
				seen[id] = true
				all = append(all, id+"/"+c.ID)
			}
		}
	}
	if len(using) > 0 {
		return using
	}
	return all
}

// PutTarget makes or changes a backup target and checks it. The attempt is
// audited by the caller.
func (e *Executor) PutTarget(ctx context.Context, name string, cfg target.Config, who audit.Who) (TargetHealth, error) {
	if e.Backups == nil {
		return TargetHealth{}, ErrNoBackups
	}
	if err := e.Backups.PutTarget(ctx, name, cfg, who.Name); err != nil {
		return TargetHealth{}, err
	}
	return e.CheckTarget(ctx, name), nil
}

// RemoveTarget forgets a target that no cluster's settings name and that holds
// no backup.
func (e *Executor) RemoveTarget(ctx context.Context, name string, who audit.Who) error {
	if e.Backups == nil {
		return ErrNoBackups
	}
	for _, c := range e.Inventory.Clusters() {
		if c.Policy.BackupTarget == name {
			return fmt.Errorf("cluster %s uses it: %w", c.ID, backup.ErrTargetUsed)
		}
	}
	for _, id := range e.Backups.Clusters() {
		for _, b := range e.Backups.Backups(id) {
			if b.Target == name && (b.There() || b.State == backup.StateRunning) {
				return fmt.Errorf("it holds backup %s of cluster %s: %w", b.ID, id, backup.ErrTargetUsed)
			}
		}
	}
	return e.Backups.RemoveTarget(ctx, name, who.Name)
}
