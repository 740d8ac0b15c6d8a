package journal_test

import (
	"testing"
	"time"

	"baton/control/journal"
	"baton/control/journal/journaltest"
)

func TestMemory(t *testing.T) {
	journaltest.Run(t, func(*testing.T) journal.Journal { return journal.NewMemory(time.Now) })
}
