package sim

import (
	"context"
	"errors"
	"io"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/backup"
	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/replica"
	"baton/platform/vfs"
)

// backupDir is where backups go, on a disk of their own.
const backupDir = "/backup"

// backUp takes a backup of a node, sometimes with a power cut on the disk it
// goes to, and proves what is on that disk then.
func (c *cluster) backUp(n *node) {
	n.deliver(func() {
		if n.machine.Applied() == 0 || n.damage.hurt {
			return
		}
		if c.w.rng.IntN(4) == 0 {
			c.backups.CutPowerAt(1 + c.w.rng.IntN(60))
		}
		source, taken := &backupSource{n: n}, uint64(0)
		m, err := backup.Take(context.Background(), source, backupDir, backup.Options{FS: c.backups, Now: func() time.Time { return time.Unix(0, int64(c.w.now)) }})
		if source.err != nil {
			n.broken(source.err)
			return
		}
		var refusal *membership.Refusal
		switch {
		case errors.Is(err, vfs.ErrPowerCut):
			c.count("backup interrupted")
		case errors.As(err, &refusal) && refusal.Code == backup.CodeOlder:
			c.count("backup of a node behind refused")
		case err != nil:
			c.check.fail("P13", "a backup of node %d: %v", n.at+1, err)
			return
		default:
			c.count("backup taken")
			taken = m.Position
			c.w.trace.note(c.w.now, "backup", uint64(n.at)+1, m.Position, m.Index)
		}
		c.backups = c.backups.Crash(c.oldRand())
		c.proveBackup(taken)
	})
}

// backupSource is a simulated node as a backup sees it.
type backupSource struct {
	n   *node
	err error
}

func (s *backupSource) Snapshot() (*log.Snapshot, error) {
	snapshot, err := s.n.storage.Log.Snapshot(s.n.machine.Watermark().Applied())
	s.err = err
	return snapshot, err
}

func (s *backupSource) View() membership.View {
	roster := s.n.machine.Roster()
	return membership.View{ClusterID: roster.ClusterID, ClusterName: roster.ClusterName, ClusterSize: max(roster.ClusterSize, 1), Self: s.n.self.ID}
}

// proveBackup compares the backup with what was committed, entry for entry, and
// founds a new cluster on it now and then. taken is what the disk was said to
// hold, 0 for what it held before or nothing.
func (c *cluster) proveBackup(taken uint64) {
	m, err := backup.ReadManifest(c.backups, backupDir)
	var refusal *membership.Refusal
	if errors.As(err, &refusal) && refusal.Code != backup.CodeDamaged && taken == 0 {
		return // none was completed so far
	}
	if err == nil && taken != 0 && m.Position != taken {
		c.check.fail("P13", "a backup to position %d was taken; after a power cut there is one to %d", taken, m.Position)
	}
	if err == nil {
		err = c.compareBackup(m)
	}
	if err != nil {
		c.check.fail("P13", "the backup: %v", err)
	}
}

func (c *cluster) compareBackup(m *backup.Manifest) error {
	l, err := backup.OpenLog(c.backups, backupDir, m)
	if err != nil {
		return err
	}
	defer l.Close()
	scanner, last := l.Scan(0), uint64(0)
	for {
		f, err := scanner.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		last = f.Index
		mark, err := markOf(&raftpb.Entry{Index: &f.Index, Term: &f.Term, Type: f.Type.Enum(), Data: f.Data}, f.Pos+log.FrameHeaderBytes)
		if err != nil {
			return err
		}
		if f.Index >= uint64(len(c.check.committed)) || !c.check.committed[f.Index].same(mark) {
			c.check.fail("P13", "entry %d of the backup is not the one that was committed", f.Index)
			return nil
		}
	}
	if last != m.Index || l.End() != m.Position {
		c.check.fail("P13", "the backup ends with entry %d at %d, its manifest says %d at %d", last, l.End(), m.Index, m.Position)
	}
	if c.w.rng.IntN(4) == 0 {
		return c.foundAnew(l, m.Index)
	}
	return nil
}

// foundAnew makes a new cluster of the log, in memory.
func (c *cluster) foundAnew(l *log.Log, last uint64) error {
	disk := vfs.NewMem()
	state, err := log.OpenState(disk, dataDir)
	if err != nil {
		return err
	}
	commit, err := replica.OpenCommitFile(disk, dataDir)
	if err != nil {
		return err
	}
	ix := index.NewMemory()
	s := &replica.Storage{Log: l, State: state, Commit: commit}
	machine, err := replica.NewMachine(s, ix, index.NewHeads(ix, l, 0), nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := replica.Replay(ctx, s, machine, last, nil); err != nil {
		return err
	}
	if len(machine.ConfState().GetVotersOutgoing()) > 0 {
		c.count("backup inside a joint change")
	}
	if err := replica.Refound(ctx, s, machine, membership.Member{ID: 1 << 40}, membership.FoundChange{ClusterID: "restored", ClusterSize: 1}); err != nil {
		return err
	}
	c.count("backup founded anew")
	return nil
}
