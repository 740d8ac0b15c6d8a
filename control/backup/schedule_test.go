package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"baton/control/inventory"
	"baton/control/journal"
)

// Goal: what was missed, however often, is due once; a bad schedule never.
func TestMissedRunsAreDueOnce(t *testing.T) {
	for _, c := range []struct {
		text      string
		last, now time.Duration // after day0, which is 03:00 UTC
		want      bool
	}{
		{"@every 24h", 0, 23 * time.Hour, false},
		{"@every 24h", 0, 24 * time.Hour, true},
		{"@every 24h", 0, 24 * 30 * time.Hour, true},
		{"0 3 * * *", 0, 23 * time.Hour, false},
		{"0 3 * * *", 0, 24 * time.Hour, true},
		{"0 3 * * *", 24 * time.Hour, 24*time.Hour + time.Minute, false},
		{"no schedule", 0, 24 * 30 * time.Hour, false},
		{"@every 24h", -1, 0, true}, // never ran
	} {
		last := day0.Add(c.last)
		if c.last < 0 {
			last = time.Time{}
		}
		if _, ok := Due(c.text, last, time.Time{}, day0.Add(c.now)); ok != c.want {
			t.Errorf("%s, last %s, now %s: due %v", c.text, c.last, c.now, ok)
		}
	}
}

// Goal: schedules begin what is due, once, also by a catalog made anew from
// the journal; after a move of the primary a backup follows when it settled; a
// refused run is tried again. Method: a clock of the test's own.
func TestSchedulesSurviveRestarts(t *testing.T) {
	now := day0
	j := journal.NewMemory(func() time.Time { return now })
	open := func() *Catalog {
		c := New(Options{Journal: j, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
		c.wait = func(ctx context.Context, stream string, rev int64) error {
			page, err := j.Read(ctx, stream, rev, 1)
			if err == nil && len(page) == 1 {
				c.Take(page[0])
			}
			return err
		}
		page, err := j.Read(t.Context(), Stream("c"), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			c.Take(r)
		}
		return c
	}
	var began []string
	var refuse error
	act := func(what string) func(context.Context, string, string) (string, error) {
		return func(_ context.Context, cluster, reason string) (string, error) {
			if refuse != nil {
				return "", refuse
			}
			began = append(began, what+" "+reason)
			return fmt.Sprintf("op-%d", len(began)), nil
		}
	}
	k := inventory.Cluster{Spec: inventory.Spec{ID: "c"}}
	k.Policy = inventory.Policy{BackupTarget: "main", BackupSchedule: "@every 24h", DrillSchedule: "@every 24h"}
	refused := map[string]time.Time{}
	look := func(c *Catalog, want string) {
		t.Helper()
		began = nil
		for range 3 {
			c.runDue(t.Context(), &k, Acts{Backup: act("backup"), Drill: act("drill")}, refused, slog.New(slog.DiscardHandler))
		}
		if fmt.Sprint(began) != want {
			t.Errorf("at %s: began %v, want %s", now.Sub(day0), began, want)
		}
	}
	c := open()
	look(c, "[backup schedule]") // and no drill: there is nothing to drill with
	now = now.Add(23 * time.Hour)
	look(open(), "[]")
	now = now.Add(10 * 24 * time.Hour) // nobody ran for ten days
	look(open(), "[backup schedule]")
	k.LastChange = &inventory.Change{At: now, Operation: "op-x", Sentence: "b took over from a"}
	c = open()
	look(c, "[]")
	now = now.Add(afterSettle)
	look(c, "[backup after b took over from a]")
	look(open(), "[]")
	now, refuse = now.Add(24*time.Hour), errors.New("another operation has the cluster")
	look(c, "[]")
	refuse = nil
	look(c, "[]") // not at once again
	now = now.Add(tryAgain)
	k.Running = "op-y"
	look(c, "[]")
	k.Running = ""
	look(c, "[backup schedule]")
	k.Policy.BackupTarget = ""
	now = now.Add(48 * time.Hour)
	look(c, "[]")
}
