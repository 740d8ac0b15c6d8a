package replica

import (
	"context"
	"fmt"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// replayBytes is how much of the log is applied as one job.
const replayBytes = 4 << 20

// Replay applies the log's entries up to index without raft: for a log that
// nobody writes, of which everything is known to be committed. It reads and
// checks every frame. progress, if not nil, is told the position reached after
// each job.
func Replay(ctx context.Context, s *Storage, m *Machine, index uint64, progress func(position uint64)) error {
	conf, err := newConfigurator(m.conf)
	if err != nil {
		return fmt.Errorf("replay the log: %w", err)
	}
	for m.applied < index {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := s.Log.Entries(m.applied+1, index+1, replayBytes)
		if err != nil {
			return fmt.Errorf("replay the log: read from entry %d on: %w", m.applied+1, err)
		}
		job := &ApplyJob{entries: entries}
		for _, entry := range entries {
			if !isConf(entry) {
				continue
			}
			state, err := conf.apply(entry)
			if err != nil {
				return fmt.Errorf("replay the log: %w", err)
			}
			job.confs = append(job.confs, confAt{index: entry.GetIndex(), conf: state})
		}
		if err := m.apply(job); err != nil {
			return fmt.Errorf("replay the log: %w", err)
		}
		if progress != nil {
			progress(m.position)
		}
	}
	return nil
}

// configurator follows raft's configuration through the entries that change it.
type configurator struct{ tracker tracker.ProgressTracker }

func newConfigurator(at *raftpb.ConfState) (*configurator, error) {
	c := &configurator{tracker: tracker.MakeProgressTracker(maxInflightMessages, 0)}
	config, progress, err := confchange.Restore(confchange.Changer{Tracker: c.tracker}, at)
	if err != nil {
		return nil, fmt.Errorf("take the configuration %v: %w", at, err)
	}
	c.tracker.Config, c.tracker.Progress = config, progress
	return c, nil
}

// apply returns the configuration after an entry.
func (c *configurator) apply(entry *raftpb.Entry) (*raftpb.ConfState, error) {
	change, err := decodeConf(entry)
	if err != nil {
		return nil, err
	}
	changer := confchange.Changer{Tracker: c.tracker, LastIndex: entry.GetIndex()}
	if change.LeaveJoint() {
		c.tracker.Config, c.tracker.Progress, err = changer.LeaveJoint()
	} else if autoLeave, joint := change.EnterJoint(); joint {
		c.tracker.Config, c.tracker.Progress, err = changer.EnterJoint(autoLeave, change.Changes...)
	} else {
		c.tracker.Config, c.tracker.Progress, err = changer.Simple(change.Changes...)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration change of entry %d: %w", entry.GetIndex(), err)
	}
	return c.tracker.ConfState(), nil
}
