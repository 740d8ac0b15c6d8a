package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"baton/control/agent/supervise"
)

// dismissPoll is how often Dismiss looks whether the guardian has gone.
const dismissPoll = 10 * time.Millisecond

// dismissal is the file that asks a guardian to leave when it has nothing to
// guard. Start takes it away.
func dismissal(agentDir string) string { return filepath.Join(Dir(agentDir), "guardian.dismissed") }

func dismissed(agentDir string) bool {
	_, err := os.Stat(dismissal(agentDir))
	return err == nil
}

// Dismiss asks the guardian of a directory to end now instead of after its time
// without work, and waits until it has. It is for who has just ended the agent
// and, on purpose, the servers beside it: a guardian that still has an engine to
// guard stays, whoever asks, and Dismiss returns false at once. ctx bounds the
// wait; its error says that the guardian was asked and has not gone yet.
func Dismiss(ctx context.Context, agentDir string) (gone bool, err error) {
	if _, err := os.Stat(Dir(agentDir)); errors.Is(err, fs.ErrNotExist) {
		return true, nil // there never was a lease
	}
	if guards(agentDir) {
		return false, nil
	}
	if err := os.WriteFile(dismissal(agentDir), nil, 0o600); err != nil {
		return false, fmt.Errorf("dismiss the guardian of leases: %w", err)
	}
	var pid int
	var ticks uint64
	if b, err := os.ReadFile(lockFile(agentDir)); err == nil {
		_, _ = fmt.Sscan(string(b), &pid, &ticks) // an older one's file has no ticks: that one leaves unseen
	}
	tick := time.NewTicker(dismissPoll)
	defer tick.Stop()
	for pid > 0 && supervise.Alive(pid, ticks) {
		if guards(agentDir) { // an engine was started meanwhile
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("the guardian of leases was dismissed and has not gone yet: %w", ctx.Err())
		case <-tick.C:
		}
	}
	return true, nil
}

// guards tells whether any engine of the directory has a deadline, without
// ending those that have passed theirs.
func guards(agentDir string) bool {
	return look(agentDir, 0, slog.New(slog.DiscardHandler))
}
