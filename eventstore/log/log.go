package log

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"sort"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/vfs"
)

const (
	// DefaultSegmentBytes is the most bytes of frames a segment holds, unless
	// one frame alone is larger.
	DefaultSegmentBytes = 64 << 20
	// DefaultCacheBytes bounds the recent entries kept in memory. It covers
	// what followers and live subscriptions ask for at several 10k events/s.
	DefaultCacheBytes = 16 << 20
)

// Errors callers branch on.
var (
	// ErrFailed is wrapped by every Append after the first failed write or
	// sync. The process must exit: what is on disk is unknown until it is read
	// back by a new start.
	ErrFailed = errors.New("log has failed")
	// ErrClosed is returned by Append after Close.
	ErrClosed = errors.New("log is closed")
	// ErrOutOfRange is returned for positions beyond the end of the log, and
	// for byte ranges that reach beyond it or across a segment's end.
	ErrOutOfRange = errors.New("position is outside the log")
	// ErrNotAFrame is returned for a position inside a frame where the start
	// or the end of one was asked for.
	ErrNotAFrame = errors.New("no frame begins or ends at this position")
)

// CorruptionError reports damage to bytes that had been acknowledged. Nothing
// was changed because of it.
type CorruptionError struct {
	File   string // path of the damaged file
	Offset int64  // byte in the file
	Pos    uint64 // position in the log, where the file is a segment
	Reason string
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d (position %d): %s", e.File, e.Offset, e.Pos, e.Reason)
}

// Options configure Open.
type Options struct {
	// FS is the file system; nil: the operating system's.
	FS vfs.FS
	// Dir holds the segments. It is created if missing.
	Dir string
	// SegmentBytes is the most bytes of frames a segment holds; 0:
	// DefaultSegmentBytes. It must be the same on all nodes of a cluster.
	SegmentBytes int64
	// CacheBytes bounds the data of recent entries in memory; 0:
	// DefaultCacheBytes. The newest entry always stays.
	CacheBytes int64
	// LostWritesDir receives entries removed by a conflict; empty:
	// Dir/lost-writes. It is created when first needed.
	LostWritesDir string
	// Logger receives what recovery did; nil: nothing is logged.
	Logger *slog.Logger
	// Suspect is told of damage that a reader met. What reads at a position of
	// its own making may mistake sound bytes for damage: Verify tells. It is
	// called by the reader and must not block; nil: nobody is told.
	Suspect func(*CorruptionError)
	// Background lets a goroutine prepare the next segment while the present
	// one is being filled. Without it the log starts no goroutine.
	Background bool
}

// Frame is one entry as it stands in the log.
type Frame struct {
	Pos   uint64 // position of the frame's first byte
	Index uint64
	Term  uint64
	Type  raftpb.EntryType
	Data  []byte // nil if empty; stands at Pos+FrameHeaderBytes; read only
	Size  uint64 // bytes of header and data: the next frame begins at Pos+Size
}

// End returns the position after the frame.
func (f Frame) End() uint64 { return f.Pos + f.Size }

// SegmentInfo describes a segment file.
type SegmentInfo struct {
	Base, End             uint64 // it holds the positions [Base, End)
	FirstIndex, LastIndex uint64 // both 0 if it is empty
	Closed                bool   // complete: the file is the header and End-Base bytes, unless it is Sparse
	Sparse                bool   // rewritten: the file holds less, at the same positions
	FileBytes             int64  // of header and frames in the file
	Path                  string
}

// Log is an open log.
type Log struct {
	opts   Options
	fs     vfs.FS
	dir    string
	logger *slog.Logger
	lock   io.Closer

	// Owned by the append thread.
	buf     []byte // frames on their way to the disk
	added   []anchor
	prep    preparer
	closed  bool
	failure error

	// end is the end of the last durable frame; changed under mu.
	end atomic.Uint64
	// cuts counts removals of a suffix. A reader that meets a damaged frame
	// and sees it changed has read bytes that are no longer in the log.
	cuts atomic.Uint64

	mu        sync.RWMutex
	segs      []*segment // by base; never empty; the last is being written
	tail      tailCache
	lastIndex uint64 // 0: the log is empty
	lastTerm  uint64
	lastSize  uint32 // of the last frame

	rewriting sync.Mutex // held by a Rewrite

	anchorsMu sync.Mutex
	anchored  []*segment // closed segments with loaded anchors, oldest first
}

// Open locks the directory and recovers the log in it. A torn tail, which a
// crash leaves and nobody was told was written, is cut off; damage to anything
// else is a *CorruptionError and changes nothing. If another process has the
// log open the error wraps vfs.ErrLocked.
func Open(opts Options) (*Log, error) {
	if opts.FS == nil {
		opts.FS = vfs.OS()
	}
	if opts.SegmentBytes <= 0 {
		opts.SegmentBytes = DefaultSegmentBytes
	}
	if opts.CacheBytes <= 0 {
		opts.CacheBytes = DefaultCacheBytes
	}
	if opts.LostWritesDir == "" {
		opts.LostWritesDir = path.Join(opts.Dir, "lost-writes")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{opts: opts, fs: opts.FS, dir: opts.Dir, logger: opts.Logger}
	l.tail.limit = opts.CacheBytes
	if err := vfs.MkdirAllSync(l.fs, l.dir, 0o750); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	lock, err := l.fs.Lock(path.Join(l.dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l.lock = lock
	l.prep.init(l.fs, l.dir, opts.SegmentBytes, opts.Background)
	if err := l.recover(); err != nil {
		l.closeFiles()
		return nil, fmt.Errorf("open log %s: %w", l.dir, err)
	}
	return l, nil
}

// Close writes down that the log ends here on purpose and releases the
// directory. Reads after Close fail. It returns the first error, after which
// everything is released nevertheless.
func (l *Log) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	l.prep.wait()
	var err error
	if l.failure == nil {
		err = l.active().seal(l.End())
	}
	if cerr := l.closeFiles(); err == nil {
		err = cerr
	}
	return err
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, s := range l.segs {
		errs = append(errs, s.file.Close())
	}
	errs = append(errs, l.lock.Close())
	return errors.Join(errs...)
}

// fail makes err the reason for which the log accepts nothing more.
func (l *Log) fail(err error) error {
	l.failure = err
	l.logger.Error("the log has failed and accepts no more entries", "dir", l.dir, "error", err)
	return l.failed()
}

func (l *Log) failed() error { return fmt.Errorf("%w: %w", ErrFailed, l.failure) }

// active returns the segment being written.
func (l *Log) active() *segment { return l.segs[len(l.segs)-1] }

// End returns the position after the last durable frame.
func (l *Log) End() uint64 { return l.end.Load() }

// FirstIndex returns 1: nothing is compacted away. The error is always nil;
// the signature is raft.Storage's.
func (l *Log) FirstIndex() (uint64, error) { return 1, nil }

// LastIndex returns the index of the last durable entry, 0 if there is none.
// The error is always nil.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.lastIndex, nil
}

// Segments lists the segment files by base.
func (l *Log) Segments() []SegmentInfo {
	l.mu.RLock()
	defer l.mu.RUnlock()
	end := l.End()
	var infos []SegmentInfo
	for i, s := range l.segs {
		info := SegmentInfo{Base: s.base, End: end, FirstIndex: s.header.firstIndex, LastIndex: l.lastIndex, Path: s.path}
		// Segments begun by an Append still under way do not count.
		if i+1 < len(l.segs) && l.segs[i+1].base < end {
			info.End = l.segs[i+1].base
			info.LastIndex = l.segs[i+1].header.firstIndex - 1
			info.Closed = true
		}
		if info.Base == info.End {
			if i > 0 {
				break
			}
			info.FirstIndex, info.LastIndex = 0, 0
		}
		if info.End > info.Base {
			info.FileBytes = segmentHeaderBytes + int64(info.End-info.Base)
		}
		if s.sparse != nil {
			info.Sparse, info.FileBytes = true, s.sparse.fileBytes
		}
		infos = append(infos, info)
		if info.End == end {
			break
		}
	}
	return infos
}

// doubt tells Options.Suspect of damage, and returns err.
func (l *Log) doubt(err error) error {
	if l.opts.Suspect == nil || err == nil {
		return err
	}
	if damage, ok := errors.AsType[*CorruptionError](err); ok {
		l.opts.Suspect(damage)
	}
	return err
}

// Doubt is for who read bytes at pos with ReadAt and found them damaged: it tells
// Options.Suspect.
func (l *Log) Doubt(pos uint64, reason string) {
	if s, _, err := l.segmentAt(pos); err == nil {
		_ = l.doubt(s.corrupt(pos, reason))
	}
}

// SegmentOf returns the base of the segment that holds a position before End.
func (l *Log) SegmentOf(pos uint64) (base uint64, err error) {
	s, _, err := l.segmentAt(pos)
	if err != nil {
		return 0, err
	}
	return s.base, nil
}

// segmentAt returns the segment holding pos and the position up to which it
// may be read.
func (l *Log) segmentAt(pos uint64) (s *segment, limit uint64, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	limit = l.End()
	if pos >= limit {
		return nil, 0, fmt.Errorf("%w: %d, the log ends at %d", ErrOutOfRange, pos, limit)
	}
	i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].base > pos }) - 1
	if i+1 < len(l.segs) {
		limit = min(limit, l.segs[i+1].base)
	}
	return l.segs[i], limit, nil
}
