package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"baton/control/journal"
	"baton/control/journal/journaltest"
)

// TestNodeJournal: the durable journal passes the journal's suite, refuses a
// second process, and keeps everything over a restart.
func TestNodeJournal(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	open := func(dir string) (*nodeJournal, error) {
		j, err := openJournal(journalOptions{dir: dir, name: "c1", listen: "127.0.0.1:0", log: quiet})
		if err == nil {
			err = j.ready(ctx)
		}
		return j, err
	}
	j, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	journaltest.Run(t, func(*testing.T) journal.Journal { return j })
	leads, err := open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer leads.node.Stop()
	journaltest.Run(t, func(*testing.T) journal.Journal { return leaderJournal{leads} })
	if _, err := open(dir); err == nil {
		t.Error("a second journal opens the same directory")
	}
	j.node.Stop()
	if _, err := (leaderJournal{j}).Append(ctx, "readback", journal.Any, journal.Event{Type: "x"}); err == nil {
		t.Error("a journal that stopped takes an append")
	}
	if j, err = open(dir); err != nil {
		t.Fatal(err)
	}
	defer j.node.Stop()
	if got, err := j.Read(ctx, "readback", 0, 10); err != nil || len(got) != 3 || got[2].Type != "c" {
		t.Errorf("after a restart: %v, %v", got, err)
	}
}
