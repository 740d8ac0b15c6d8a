package api

import (
	"log/slog"
	"testing"
	"time"

	"baton/control/alert/watch"
	"baton/control/audit"
	"baton/control/history"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/monitor"
	"baton/control/notify"
	"baton/control/people"
	"baton/control/schedule"
)

// fakeParts are what a site has beside the executor; nothing of it runs unless
// a test runs it.
type fakeParts struct {
	journal  *journal.Memory
	trail    *audit.Trail
	people   *people.Book
	alerts   *watch.Keeper
	notifier *notify.Notifier
	history  *history.Store
	waiting  *schedule.Book
}

// newParts has the parts observe an inventory that does not run yet.
func newParts(t testing.TB, j *journal.Memory, inv *inventory.Inventory, log *slog.Logger) *fakeParts {
	t.Helper()
	store, err := history.Open(t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	p := &fakeParts{journal: j, trail: audit.NewTrail(), people: people.New(j, time.Now), history: store, waiting: schedule.New(j, time.Now),
		notifier: notify.New(notify.Options{Journal: j, Now: time.Now, FirstWait: time.Millisecond})}
	p.alerts = watch.New(watch.Options{Journal: j, Inventory: inv, Teller: p.notifier, Log: log, Now: time.Now, Group: time.Millisecond})
	for _, take := range []func(journal.Recorded){p.trail.Take, p.people.Take, p.waiting.Take, p.notifier.Take, p.alerts.Take} {
		inv.Observe(take)
	}
	return p
}

// into gives the parts to a server.
func (p *fakeParts) into(o *Options, mon *monitor.Monitor) {
	p.alerts.Facts = mon
	o.Journal, o.Trail, o.People, o.Alerts, o.Notifier, o.History, o.Waiting = p.journal, p.trail, p.people, p.alerts, p.notifier, p.history, p.waiting
}
