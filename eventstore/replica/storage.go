package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path"
	"sync"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/log"
	"baton/platform/vfs"
)

// Storage is what one replica keeps on disk beside the index.
type Storage struct {
	Log    *log.Log
	State  *log.State
	Commit *CommitFile
}

// hardState returns what raft restarts from. The commit index is the highest
// that is known for certain: what was applied, or what the commit file holds.
func (s *Storage) hardState(applied uint64) (*raftpb.HardState, error) {
	term, vote, _, err := s.State.Load()
	if err != nil {
		return nil, fmt.Errorf("load term and vote: %w", err)
	}
	last, err := s.Log.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("read the log's end: %w", err)
	}
	if applied > last {
		return nil, fmt.Errorf("the index has applied entry %d, but the log ends at %d: entries are missing", applied, last)
	}
	commit := s.Commit.Get()
	if commit == 0 && applied > 0 {
		return nil, errors.New("the commit file is missing, and with it the newest configuration: restore it, or wipe the data directory and let the node join again")
	}
	if commit > last {
		return nil, fmt.Errorf("entry %d is committed, but the log ends at %d: entries are missing", commit, last)
	}
	commit = max(commit, applied)
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}, nil
}

// raftStorage shows the log to raft. There are no snapshots: the log is the
// data and is kept from its first entry.
type raftStorage struct {
	log       *log.Log
	hardState *raftpb.HardState
	confState *raftpb.ConfState
	damage    *error // the last that was met
}

func (s raftStorage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return s.hardState, confStateCopy(s.confState), nil
}

func (s raftStorage) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	entries, err := s.log.Entries(lo, hi, maxSize)
	return entries, s.withhold(err)
}

func (s raftStorage) Term(i uint64) (uint64, error) {
	term, err := s.log.Term(i)
	return term, s.withhold(err)
}

func (s raftStorage) LastIndex() (uint64, error)  { return s.log.LastIndex() }
func (s raftStorage) FirstIndex() (uint64, error) { return s.log.FirstIndex() }

// withhold makes of damage what raft knows: entries that are not there any more. A
// leader then sends nothing to who needs them, and tries again; they are mended
// meanwhile (eventstore/scrub). Raft ends the process for any other error, as it
// does where this node itself needs such an entry to apply it: see Replica.loop.
func (s raftStorage) withhold(err error) error {
	if _, ok := errors.AsType[*log.CorruptionError](err); ok {
		*s.damage = err
		return raft.ErrCompacted
	}
	return err
}

func (s raftStorage) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// CommitFile keeps a commit index durable where safety needs it: see the
// package comment on configuration changes. The file holds, little endian, the
// index (8 bytes) and the CRC-32C of those (4 bytes). Safe for concurrent use.
type CommitFile struct {
	fs   vfs.FS
	name string
	mu   sync.Mutex
	last uint64
}

const commitFileName = "commit"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// OpenCommitFile reads the file in dir; a missing one holds 0.
func OpenCommitFile(fsys vfs.FS, dir string) (*CommitFile, error) {
	f := &CommitFile{fs: fsys, name: path.Join(dir, commitFileName)}
	data, err := vfs.ReadFile(fsys, f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read commit file: %w", err)
	}
	if len(data) != 12 || crc32.Checksum(data[:8], castagnoli) != binary.LittleEndian.Uint32(data[8:]) {
		return nil, fmt.Errorf("commit file %s is damaged; restore the data directory or wipe it and let the node join again", f.name)
	}
	f.last = binary.LittleEndian.Uint64(data)
	return f, nil
}

// Get returns the durable index.
func (f *CommitFile) Get() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Raise makes index durable unless a higher one is.
func (f *CommitFile) Raise(index uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if index <= f.last {
		return nil
	}
	var data [12]byte
	binary.LittleEndian.PutUint64(data[:8], index)
	binary.LittleEndian.PutUint32(data[8:], crc32.Checksum(data[:8], castagnoli))
	if err := vfs.WriteFileAtomic(f.fs, f.name, data[:], 0o600); err != nil {
		return fmt.Errorf("write commit file: %w", err)
	}
	f.last = index
	return nil
}

// raftLogger passes raft's own log on. Its chatter is our debug level.
type raftLogger struct{ l *slog.Logger }

func (r raftLogger) Debug(v ...any)                 { r.l.Debug("raft", "text", fmt.Sprint(v...)) }
func (r raftLogger) Debugf(format string, v ...any) { r.debugf(format, v...) }
func (r raftLogger) Info(v ...any)                  { r.l.Debug("raft", "text", fmt.Sprint(v...)) }
func (r raftLogger) Infof(format string, v ...any)  { r.debugf(format, v...) }
func (r raftLogger) Warning(v ...any)               { r.l.Info("raft", "text", fmt.Sprint(v...)) }
func (r raftLogger) Warningf(format string, v ...any) {
	r.l.Info("raft", "text", fmt.Sprintf(format, v...))
}
func (r raftLogger) Error(v ...any) { r.l.Warn("raft", "text", fmt.Sprint(v...)) }
func (r raftLogger) Errorf(format string, v ...any) {
	r.l.Warn("raft", "text", fmt.Sprintf(format, v...))
}
func (r raftLogger) Fatal(v ...any)                 { panic(fmt.Sprint(v...)) }
func (r raftLogger) Fatalf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }
func (r raftLogger) Panic(v ...any)                 { panic(fmt.Sprint(v...)) }
func (r raftLogger) Panicf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }

func (r raftLogger) debugf(format string, v ...any) {
	if r.l.Enabled(context.Background(), slog.LevelDebug) {
		r.l.Debug("raft", "text", fmt.Sprintf(format, v...))
	}
}
