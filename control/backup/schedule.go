package backup

import (
	"context"
	"log/slog"
	"time"

	"baton/control/inventory"

	"github.com/robfig/cron/v3"
)

// What a schedule begins.
const (
	WhatBackup = "backup"
	WhatDrill  = "drill"
	whatAfter  = "after "
)

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// ParseSchedule reads "@every 24h", "@daily" or five cron fields (minute, hour, day,
// month, weekday; UTC unless it begins with CRON_TZ=).
func ParseSchedule(text string) (cron.Schedule, error) { return parser.Parse(text) }

// Due tells whether a schedule asks for a run now. last is when it was due the
// last time it ran, zero for never; since is from when the schedule counts. A
// schedule that was missed, however often, is due once. It is pure.
func Due(text string, last, since, now time.Time) (due time.Time, ok bool) {
	s, err := parser.Parse(text)
	if err != nil {
		return time.Time{}, false
	}
	if last.IsZero() {
		if last = since; last.IsZero() {
			return now, true
		}
	}
	due = s.Next(last.UTC())
	return due, !due.IsZero() && !due.After(now)
}

// NextRun is when a cluster's schedule is due next; ok is false without one.
func (c *Catalog) NextRun(k *inventory.Cluster, what string) (at time.Time, ok bool) {
	text := k.Policy.BackupSchedule
	if what == WhatDrill {
		text = k.Policy.DrillSchedule
	}
	s, err := parser.Parse(text)
	if text == "" || err != nil {
		return time.Time{}, false
	}
	r, ran := c.LastRan(k.ID, what)
	if !ran {
		return c.now(), true
	}
	return s.Next(r.At.UTC()), true
}

// Acts begin what is due; each returns the operation's id.
type Acts struct {
	Backup func(ctx context.Context, cluster, reason string) (string, error)
	Drill  func(ctx context.Context, cluster, reason string) (string, error)
}

const (
	// schedulesEvery is how often it is looked whose turn has come.
	schedulesEvery = time.Second
	// tryAgain is the wait after a run that was refused: another operation has
	// the cluster, or a host is away.
	tryAgain = 30 * time.Second
	// afterSettle is waited after a move of the primary before its backup:
	// people who move one thing often move another right away, and a backup
	// would be in their way. afterWithin is how old a move may be to have its
	// backup still.
	afterSettle = 2 * time.Minute
	afterWithin = time.Hour
)

// RunSchedules begins backups and drills that are due, and a backup after each
// move of a primary, until ctx ends. What was missed while no control plane
// ran is begun once. Only the control node in charge runs it.
func (c *Catalog) RunSchedules(ctx context.Context, inv *inventory.Inventory, acts Acts, log *slog.Logger) error {
	tick := time.NewTicker(schedulesEvery)
	defer tick.Stop()
	refused := map[string]time.Time{}
	for {
		for _, k := range inv.Clusters() {
			c.runDue(ctx, &k, acts, refused, log)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Catalog) runDue(ctx context.Context, k *inventory.Cluster, acts Acts, refused map[string]time.Time, log *slog.Logger) {
	now := c.now()
	if k.Policy.BackupTarget == "" || k.Running != "" || now.Before(k.Policy.MaintenanceUntil) {
		return
	}
	type run struct {
		what, reason string
		due          time.Time
		begin        func(ctx context.Context, cluster, reason string) (string, error)
	}
	var runs []run
	if ch := k.LastChange; ch != nil && now.Sub(ch.At) >= afterSettle && now.Sub(ch.At) < afterWithin {
		if _, ran := c.LastRan(k.ID, whatAfter+ch.Operation); !ran {
			runs = append(runs, run{whatAfter + ch.Operation, "after " + ch.Sentence, ch.At, acts.Backup})
		}
	}
	for _, s := range []struct {
		what, text, reason string
		begin              func(ctx context.Context, cluster, reason string) (string, error)
	}{{WhatBackup, k.Policy.BackupSchedule, "schedule", acts.Backup}, {WhatDrill, k.Policy.DrillSchedule, "schedule", acts.Drill}} {
		if s.text == "" {
			continue
		}
		last, _ := c.LastRan(k.ID, s.what)
		if due, ok := Due(s.text, last.At, time.Time{}, now); ok {
			if s.what == WhatDrill {
				if _, any := c.Newest(k.ID); !any {
					continue // there is nothing to drill with yet
				}
			}
			runs = append(runs, run{s.what, s.reason, due, s.begin})
		}
	}
	for _, r := range runs {
		key := k.ID + "/" + r.what
		if now.Before(refused[key]) {
			continue
		}
		id, err := r.begin(ctx, k.ID, r.reason)
		if err != nil {
			if ctx.Err() == nil {
				log.Warn("what is due could not be begun and is tried again", "cluster", k.ID, "what", r.what, "err", err)
			}
			refused[key] = now.Add(tryAgain)
			continue
		}
		delete(refused, key)
		if err := c.Record(ctx, k.ID, Ran{What: r.what, Due: r.due, Operation: id, At: now}); err != nil && ctx.Err() == nil {
			log.Error("it is not recorded that a schedule ran", "cluster", k.ID, "what", r.what, "err", err)
		}
		return // one at a time: the operation has the cluster
	}
}
