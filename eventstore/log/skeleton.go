package log

import (
	"errors"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/vfs"
)

var errSkeleton = errors.ErrUnsupported

type Log struct{}

func Open(o Options) (*Log, error)                                     { return nil, errSkeleton }
func (l *Log) Close() error                                            { return errSkeleton }
func (l *Log) Append(ents []*raftpb.Entry) error                       { return errSkeleton }
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) { return nil, errSkeleton }
func (l *Log) Term(i uint64) (uint64, error)                           { return 0, errSkeleton }
func (l *Log) FirstIndex() (uint64, error)                             { return 1, nil }
func (l *Log) LastIndex() (uint64, error)                              { return 0, errSkeleton }
func (l *Log) PositionOf(index uint64) (uint64, error)                 { return 0, errSkeleton }
func (l *Log) End() uint64                                             { return 0 }
func (l *Log) ReadAt(p []byte, pos uint64) error                       { return errSkeleton }
func (l *Log) FrameContaining(pos uint64) (Frame, error)               { return Frame{}, errSkeleton }
func (l *Log) NextFrame(pos uint64) (Frame, error)                     { return Frame{}, errSkeleton }
func (l *Log) PrevFrame(pos uint64) (Frame, error)                     { return Frame{}, errSkeleton }
func (l *Log) Scan(from uint64) *Scanner                               { return &Scanner{} }
func (l *Log) Segments() []SegmentInfo                                 { return nil }

type Scanner struct{}

func (s *Scanner) Next() (Frame, error) { return Frame{}, errSkeleton }

type State struct{}

func OpenState(fs vfs.FS, dir string) (*State, error)             { return nil, errSkeleton }
func (s *State) Load() (term, vote, commitHint uint64, err error) { return 0, 0, 0, errSkeleton }
func (s *State) Save(term, vote uint64) error                     { return errSkeleton }
func (s *State) SetCommitHint(commit uint64)                      {}
func (s *State) Close() error                                     { return nil }
