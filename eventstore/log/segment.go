package log

import (
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"baton/platform/vfs"
)

const (
	segmentSuffix = ".seg"
	// prepareName is a file of zeros on its way to become a segment.
	prepareName = "next-segment.tmp"
	// prepareBytes is how much of it is synced at a time.
	prepareBytes = 4 << 20
)

// segment is an open segment file. Its fields do not change after it is
// published in Log.segs, but for the header of the very first, empty one,
// which is set under Log.mu.
type segment struct {
	path   string
	base   uint64
	header segmentHeader
	file   vfs.File
	// sparse is nil unless the file is one that a rewrite made; see sparse.go.
	sparse *sparse
	// headed is false while the file has no valid header: the next write brings
	// it. Owned by the append thread.
	headed bool
	// anchors is nil for closed segments until somebody looks something up.
	anchors atomic.Pointer[anchorTable]
}

func segmentName(base uint64) string { return fmt.Sprintf("%020d%s", base, segmentSuffix) }

func parseSegmentName(name string) (base uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	base, err := strconv.ParseUint(digits, 10, 64)
	return base, err == nil
}

// offset returns where position pos stands in the file.
func (s *segment) offset(pos uint64) int64 { return segmentHeaderBytes + int64(pos-s.base) }

func (s *segment) corrupt(pos uint64, reason string) *CorruptionError {
	return &CorruptionError{File: s.path, Offset: s.offset(pos), Pos: pos, Reason: reason}
}

// openSegment opens the file of a segment. Closed ones are opened for durable
// writing too: a conflict can make any of them the last again.
func openSegment(fs vfs.FS, dir string, base uint64) (*segment, error) {
	return openSegmentFile(fs, path.Join(dir, segmentName(base)), base)
}

func openSegmentFile(fs vfs.FS, name string, base uint64) (*segment, error) {
	s := &segment{path: name, base: base}
	f, err := fs.OpenFile(s.path, os.O_RDWR|vfs.O_DSYNC, 0)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	s.file = f
	return s, nil
}

// readHeader sets header, headed and sparse from the file.
func (s *segment) readHeader() error {
	var b [segmentHeaderBytes]byte
	if _, err := s.file.ReadAt(b[:], 0); err == io.EOF {
		return nil
	} else if err != nil {
		return fmt.Errorf("read header of %s: %w", s.path, err)
	}
	if h, ok := parseSegmentHeader(b[:]); ok && h.base == s.base {
		s.header, s.headed = h, true
	} else if h, sp, ok := parseSparseHeader(b[:]); ok && h.base == s.base {
		s.header, s.headed, s.sparse = h, true, &sp
	}
	return nil
}

// seal writes a trailer saying that the log ends at end and that every frame
// before it is durable, which the caller has made sure of.
func (s *segment) seal(end uint64) error {
	if !s.headed {
		return nil // no frames: the file is zeros from its beginning
	}
	if _, err := s.file.WriteAt(appendTrailer(nil, end, end), s.offset(end)); err != nil {
		return fmt.Errorf("write the end mark of %s: %w", s.path, err)
	}
	return nil
}

var zeros [1 << 20]byte

// writeZeros writes zeros over [from, to) of a file. It does not sync.
func writeZeros(f vfs.File, from, to int64) error {
	for from < to {
		n := min(to-from, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// filledBytes is the length of a segment file ready for use.
func filledBytes(segmentBytes int64) int64 { return segmentHeaderBytes + segmentBytes + trailerBytes }

// preparer makes files of zeros that become segments by renaming.
type preparer struct {
	fs         vfs.FS
	dir        string
	fileBytes  int64
	background bool
	running    chan error // capacity 1; nil unless a file is being or was made
}

func (p *preparer) init(fs vfs.FS, dir string, segmentBytes int64, background bool) {
	p.fs, p.dir, p.fileBytes, p.background = fs, dir, filledBytes(segmentBytes), background
}

// start begins to make the next file if that is to be done ahead.
func (p *preparer) start() {
	if !p.background || p.running != nil {
		return
	}
	p.running = make(chan error, 1)
	go func(done chan<- error) { done <- p.make() }(p.running)
}

// wait waits for a file under way and reports whether one is ready.
func (p *preparer) wait() bool {
	if p.running == nil {
		return false
	}
	err := <-p.running
	p.running = nil
	return err == nil
}

// take makes a ready file the segment with the given base, durably. A file
// that could not be made ahead is tried again here.
func (p *preparer) take(base uint64) (*segment, error) {
	if !p.wait() {
		if err := p.make(); err != nil {
			return nil, fmt.Errorf("prepare a segment: %w", err)
		}
	}
	if err := p.fs.Rename(path.Join(p.dir, prepareName), path.Join(p.dir, segmentName(base))); err != nil {
		return nil, fmt.Errorf("name a segment: %w", err)
	}
	if err := p.fs.SyncDir(p.dir); err != nil {
		return nil, fmt.Errorf("name a segment: %w", err)
	}
	s, err := openSegment(p.fs, p.dir, base)
	if err != nil {
		return nil, err
	}
	s.anchors.Store(&anchorTable{})
	return s, nil
}

func (p *preparer) make() (err error) {
	f, err := p.fs.OpenFile(path.Join(p.dir, prepareName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	// In pieces, so that the appends beside it never wait for long.
	for at := int64(0); err == nil && at < p.fileBytes; at += prepareBytes {
		if err = writeZeros(f, at, min(at+prepareBytes, p.fileBytes)); err == nil {
			err = f.Sync()
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
