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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	j, err := openJournal(ctx, dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	journaltest.Run(t, func(*testing.T) journal.Journal { return j })
	if _, err := openJournal(ctx, dir, quiet); err == nil {
		t.Error("a second journal opens the same directory")
	}
	one, err := term(ctx, j, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	j.node.Stop()
	if j, err = openJournal(ctx, dir, quiet); err != nil {
		t.Fatal(err)
	}
	defer j.node.Stop()
	if two, err := term(ctx, j, time.Now()); err != nil || two != one+1 {
		t.Errorf("term %d after %d: %v", two, one, err)
	}
	if got, err := j.Read(ctx, "readback", 0, 10); err != nil || len(got) != 3 || got[2].Type != "c" {
		t.Errorf("after a restart: %v, %v", got, err)
	}
}
