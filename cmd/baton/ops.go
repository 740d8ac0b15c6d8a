package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"baton/control/alert"
	"baton/control/alert/watch"
	"baton/control/api"
	"baton/control/audit"
	"baton/control/history"
	"baton/control/lease"
	"baton/control/monitor"
	"baton/control/notify"
	"baton/control/people"
	"baton/control/schedule"
	"baton/platform/seal"
)

// opsParts are what tells, remembers and waits. Every control node projects
// them; the one in charge acts.
type opsParts struct {
	trail    *audit.Trail
	people   *people.Book
	notifier *notify.Notifier
	history  *history.Store
	waiting  *schedule.Book
	alerts   *watch.Keeper

	mu       sync.Mutex
	demanded map[string]time.Time // clusters whose policy was seen to want backups, since when
}

// headsEvery is how often it is noted how far the audit has come.
const headsEvery = time.Hour

// openOps makes the parts, before the inventory follows the journal.
func (c *controlPlane) openOps(data string, box *seal.Box) (err error) {
	j, log := leaderJournal{c.journal}, c.log
	o := &c.ops
	if o.history, err = history.Open(filepath.Join(data, "history"), log.With("component", "history")); err != nil {
		return err
	}
	o.trail, o.people, o.waiting = audit.NewTrail(), people.New(j, time.Now), schedule.New(j, time.Now)
	settings := notify.Options{Journal: j, Now: time.Now}
	if box != nil {
		settings.Box = box
	}
	o.notifier = notify.New(settings)
	o.alerts = watch.New(watch.Options{Journal: j, Inventory: c.Inventory, Teller: o.notifier, Log: log.With("component", "alerts"), Now: time.Now,
		Control: c.controlHealth, Maintenance: c.inMaintenance, Lease: c.leaseHealth, Backup: c.backupHealth, Free: o.free, URL: func() string { return c.URL }})
	c.Inventory.Observe(o.trail.Take)
	c.Inventory.Observe(o.people.Take)
	c.Inventory.Observe(o.waiting.Take)
	c.Inventory.Observe(o.notifier.Take)
	c.Inventory.Observe(o.alerts.Take)
	return nil
}

// wireOps gives the parts to the API and samples what is seen.
func (c *controlPlane) wireOps(run context.Context, o *api.Options, mon *monitor.Monitor) {
	p := &c.ops
	p.alerts.Facts = mon
	o.Journal, o.Trail, o.People, o.Alerts, o.Notifier, o.History, o.Waiting = c.journal, p.trail, p.people, p.alerts, p.notifier, p.history, p.waiting
	o.URL = func() string { return c.URL }
	c.thread(run, "keep a history", func(ctx context.Context) error {
		err := p.history.Run(ctx, c.clusterIDs, mon)
		return errors.Join(err, p.history.Close())
	})
}

// leadOps acts, on the control node in charge.
func (c *controlPlane) leadOps(act func(what string, f func(context.Context) error)) {
	act("keep alerts", c.ops.alerts.Run)
	act("start what waits", func(ctx context.Context) error { return c.API.RunWaiting(ctx, nil) })
	act("note how far the audit has come", func(ctx context.Context) error {
		tick := time.NewTicker(headsEvery)
		defer tick.Stop()
		for {
			if err := c.ops.trail.NoteHeads(ctx, leaderJournal{c.journal}, time.Now()); err != nil && ctx.Err() == nil {
				c.log.Warn("it is not noted how far the audit has come; the next hour tries again", "err", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func (c *controlPlane) clusterIDs() []string {
	return slices.Collect(maps.Keys(c.Inventory.Engines()))
}

// controlHealth is how the control plane is, for alerts.
func (c *controlPlane) controlHealth() alert.Control {
	s := c.elector.Status()
	out := alert.Control{JournalOK: s.Majority, JournalWhy: s.Sentence}
	for _, n := range s.Nodes {
		out.Nodes++
		if n.Up {
			out.Alive++
		}
	}
	return out
}

// leaseHealth is the lease of a cluster's primary, nil where there is none.
func (c *controlPlane) leaseHealth(cluster string) *alert.Lease {
	if c.keeper == nil {
		return nil
	}
	s, ok := c.keeper.Status(cluster)
	if !ok || s.Lease.State == lease.None || s.Lease.Holder == "" {
		return nil
	}
	return &alert.Lease{Holder: s.Lease.Holder, AtRisk: s.Lease.State == lease.AtRisk, ExpiresIn: s.Lease.ExpiresIn}
}

// backupHealth is what is known of a cluster's backups, nil where its policy
// wants none.
func (c *controlPlane) backupHealth(cluster string) *alert.Backup {
	k, ok := c.Inventory.Cluster(cluster)
	o := &c.ops
	o.mu.Lock()
	defer o.mu.Unlock()
	if !ok || k.Policy.BackupSchedule == "" || c.backups == nil {
		delete(o.demanded, cluster)
		return nil
	}
	if o.demanded == nil {
		o.demanded = map[string]time.Time{}
	}
	if o.demanded[cluster].IsZero() {
		o.demanded[cluster] = time.Now()
	}
	at, _ := c.backups.NewestVerified(cluster)
	return &alert.Backup{Verified: at, Since: o.demanded[cluster]}
}

// inMaintenance tells whether somebody works on a node.
func (c *controlPlane) inMaintenance(cluster, node string) bool {
	k, _ := c.Inventory.Cluster(cluster)
	now := time.Now()
	if now.Before(k.Policy.MaintenanceUntil) {
		return true
	}
	for _, m := range k.Members {
		if m.Name == node {
			return m.Tags.Maintenance != nil && now.Before(*m.Tags.Maintenance)
		}
	}
	return false
}

// freeSpan is how far back the growth of a volume is looked at.
const freeSpan = 24 * time.Hour

// free is how much space a node's volume had lately.
func (o *opsParts) free(cluster, node string) []alert.Point {
	now := time.Now()
	points, _ := o.history.Read(cluster, node, history.DiskFree, now.Add(-freeSpan), now, time.Minute)
	out := make([]alert.Point, len(points))
	for i, p := range points {
		out[i] = alert.Point{At: p.At, FreeBytes: p.Value}
	}
	return out
}

// openBox opens the master key that secrets in the journal are sealed with.
func openBox(data string) (*seal.Box, error) {
	box, err := seal.Open(filepath.Join(data, masterKeyName))
	if err != nil {
		return nil, fmt.Errorf("open the master key: %w", err)
	}
	return box, nil
}
