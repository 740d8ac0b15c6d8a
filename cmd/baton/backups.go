package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"baton/control/api"
	"baton/control/audit"
	"baton/control/backup"
	"baton/control/backup/target"
	"baton/control/demo"
	"baton/control/executor"
)

// openBackups makes the catalog of backups, before the inventory follows the
// journal.
func (c *controlPlane) openBackups() {
	o := backup.Options{Journal: leaderJournal{c.journal}, Wait: c.Inventory.Wait, Log: c.log.With("component", "backups"), Now: time.Now}
	if c.secrets != nil {
		o.Secrets = c.secrets
	}
	c.backups = backup.New(o)
	c.Inventory.Observe(c.backups.Take)
}

// wireBackups gives the catalog to what acts and to the API.
func (c *controlPlane) wireBackups(o *api.Options) {
	c.exec.Backups, o.Backups = c.backups, c.backups
}

// schedules begin operations in this name.
var schedules = audit.Who{Name: "schedule", Role: "system", Source: "auto"}

// leadBackups acts, on the control node in charge.
func (c *controlPlane) leadBackups(act func(what string, f func(context.Context) error)) {
	act("check backup targets", c.exec.WatchTargets)
	act("begin backups that are due", func(ctx context.Context) error {
		return c.backups.RunSchedules(ctx, c.Inventory, backup.Acts{
			Backup: func(ctx context.Context, cluster, reason string) (string, error) {
				return c.exec.Backup(ctx, executor.RequestBackup{Cluster: cluster, Reason: reason, Who: schedules})
			},
			Drill: func(ctx context.Context, cluster, reason string) (string, error) {
				return c.exec.TryBackup(ctx, executor.RequestTry{Cluster: cluster, Reason: reason, Who: schedules})
			}}, c.log.With("component", "backups"))
	})
}

// demoTarget is the demonstration's place for backups.
const demoTarget = "demo"

// demoBackups gives the demonstration's Redis cluster a directory for backups
// and a schedule, once; the first is taken when the schedule is due, or by hand.
func (c *controlPlane) demoBackups(ctx context.Context, data string) error {
	k, ok := c.Inventory.Cluster(demo.RedisID)
	if !ok || k.Policy.BackupTarget != "" {
		return nil
	}
	dir := filepath.Join(data, "demo", "backups")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the demo's backups: %w", err)
	}
	who := audit.Who{Name: "demo", Role: "system", Source: "auto"}
	if err := c.backups.PutTarget(ctx, demoTarget, target.Config{Kind: target.KindDirectory, Path: dir}, who.Name); err != nil {
		return fmt.Errorf("set the target of the demo's backups: %w", err)
	}
	for _, what := range []string{backup.WhatBackup, backup.WhatDrill} { // counted from now on
		if err := c.backups.Record(ctx, k.ID, backup.Ran{What: what, At: time.Now()}); err != nil {
			return err
		}
	}
	k.Policy.BackupTarget, k.Policy.BackupSchedule, k.Policy.BackupKeep, k.Policy.DrillSchedule = demoTarget, "@every 30m", 5, "@every 6h"
	if err := c.Inventory.PutPolicy(ctx, k.ID, k.Policy, who); err != nil {
		return fmt.Errorf("set the schedule of the demo's backups: %w", err)
	}
	return nil
}
