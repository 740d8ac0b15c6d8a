// Package log holds the raft log, which is the event log: entries as
// checksummed frames in segment files.
package log

import (
	"errors"
	"fmt"
	"log/slog"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/vfs"
)

// FrameHeaderBytes is the fixed size of a frame's header; the entry's data of
// a frame at position p starts at p+FrameHeaderBytes.
const FrameHeaderBytes = 40

// DefaultSegmentBytes is the most bytes of frames a segment holds, unless one
// frame alone is larger.
const DefaultSegmentBytes = 64 << 20

// Errors callers branch on.
var (
	ErrFailed     = errors.New("log has failed")
	ErrClosed     = errors.New("log is closed")
	ErrOutOfRange = errors.New("position is outside the log")
	ErrNotAFrame  = errors.New("no frame starts at this position")
)

// CorruptionError reports damage to data that had been acknowledged.
type CorruptionError struct {
	File   string // path of the damaged file
	Pos    uint64 // logical position
	Offset int64  // byte in the file
	Reason string
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d (position %d): %s", e.File, e.Offset, e.Pos, e.Reason)
}

// Options configure Open.
type Options struct {
	FS            vfs.FS
	Dir           string
	SegmentBytes  int64  // 0: DefaultSegmentBytes
	CacheBytes    int64  // 0: DefaultCacheBytes; memory for recent entries
	LostWritesDir string // empty: Dir/lost-writes
	Logger        *slog.Logger
	Background    bool // prepare the next segment on a goroutine
}

// Frame is one entry in the log.
type Frame struct {
	Pos   uint64 // position of the frame's first byte
	Index uint64
	Term  uint64
	Type  raftpb.EntryType
	Data  []byte // of the entry; at Pos+FrameHeaderBytes
	Size  uint64 // header and data
}

// SegmentInfo describes a segment file.
type SegmentInfo struct {
	Base, End             uint64 // positions [Base, End)
	FirstIndex, LastIndex uint64 // 0, 0 if empty
	Closed                bool   // never written again (short of a conflict)
	Path                  string
}
