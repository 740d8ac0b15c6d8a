package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"baton/platform/vfs"
)

// Damage to bytes that were durable once (a disk that forgets or lies, a hand in
// the wrong file) is found by Verify and mended by Mend with the frames of another
// node. What is there and whole stays; only damaged frames come from elsewhere.
// Committed frames with the same position are the same entry on all nodes, so what
// comes is checked twice: by its own checksums, and by what its neighbours say of
// it (index, term, size of the frame before).
//
//   - A closed segment is written anew beside the old file, read back and put in
//     its place by renaming, as a rewrite is.
//   - In the segment being written, the damaged bytes alone are written again, in
//     place, durably. A power cut leaves them damaged or mended.
//
// Nothing at or after the committed position is touched: what raft may still
// replace cannot be had from another node.

// Source returns frames as another node has them: whole ones, one after the other,
// the first beginning at pos; at least that one.
type Source func(pos uint64) ([]byte, error)

// Mended tells what a Mend did.
type Mended struct {
	Frames int    // taken from the source
	Bytes  int64  // of those
	First  uint64 // position of the first of them
	Header bool   // the file's header, or its layout, was written anew
}

// ErrForeign: what a Source gave is not what belongs there.
var ErrForeign = errors.New("the frame that was given does not belong here")

// chain is what a frame must say of itself to follow the one before.
type chain struct {
	index, term uint64
	prevSize    uint32
}

func (h segmentHeader) chain() chain {
	return chain{index: h.firstIndex, term: h.prevTerm, prevSize: h.prevSize}
}

func (c chain) before(h frameHeader) bool {
	return h.index == c.index && h.term >= c.term && h.prevSize == c.prevSize
}

func chainAfter(h frameHeader) chain {
	return chain{index: h.index + 1, term: h.term, prevSize: uint32(h.size())}
}

// piece is a part of the log in one file that is verified or mended.
type piece struct {
	seg    *segment
	header segmentHeader
	end    uint64         // frames up to here count
	after  *segmentHeader // of the next segment, nil: end is not the segment's
}

// pieceAt returns the segment with the given base, as far as upTo.
func (l *Log) pieceAt(base, upTo uint64) (piece, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	end := min(l.End(), upTo)
	for i, s := range l.segs {
		if s.base != base {
			continue
		}
		p := piece{seg: s, header: s.header, end: end}
		if i+1 < len(l.segs) && l.segs[i+1].base < l.End() {
			next := l.segs[i+1]
			p.end = min(end, next.base)
			if p.end == next.base {
				p.after = &segmentHeader{}
				*p.after = next.header
			}
		}
		return p, nil
	}
	return piece{}, fmt.Errorf("%w: no segment begins at %d", ErrOutOfRange, base)
}

// Verify reads the segment with the given base from its file, up to position upTo
// and no further than durable frames go, and checks all there is to check: header,
// layout, checksums, and that every frame follows the one before. Damage, and a
// part of the file that the disk does not give, is a *CorruptionError. pace is as
// in Rewrite. Any goroutine, beside appends and reads.
func (l *Log) Verify(base, upTo uint64, pace func(bytes int) error) error {
	if pace == nil {
		pace = func(int) error { return nil }
	}
	for {
		cuts := l.cuts.Load()
		p, err := l.pieceAt(base, upTo)
		if err != nil || p.end <= base {
			return err
		}
		if err = p.verify(pace); err == nil || cuts == l.cuts.Load() {
			return err
		}
	}
}

func (p piece) verify(pace func(int) error) error {
	if err := p.checkHeader(); err != nil {
		return p.unreadable(p.seg.base, err)
	}
	win := window{seg: p.seg, limit: p.end, chunk: scanBytes}
	due := p.header.chain()
	paced := 0
	for pos := p.seg.base; pos < p.end; {
		if _, err := win.frame(pos); err != nil {
			return p.unreadable(pos, err)
		}
		h, _ := win.header(pos) // from the buffer
		if !due.before(h) {
			return p.seg.corrupt(pos, fmt.Sprintf("the frame of entry %d, term %d, does not follow entry %d, term %d", h.index, h.term, due.index-1, due.term))
		}
		due = chainAfter(h)
		pos += h.size()
		if paced += int(h.size()); paced >= scanBytes {
			if err := pace(paced); err != nil {
				return err
			}
			paced = 0
		}
	}
	if p.after != nil && p.after.chain() != due {
		return p.seg.corrupt(p.end, fmt.Sprintf("the next segment follows entry %d, term %d; this one ends with entry %d, term %d",
			p.after.firstIndex-1, p.after.prevTerm, due.index-1, due.term))
	}
	return pace(paced)
}

// checkHeader compares the header in the file with the one that was read at the
// start, and checks the layout of a sparse file.
func (p piece) checkHeader() error {
	now := segment{path: p.seg.path, base: p.seg.base, file: p.seg.file}
	if err := now.readHeader(); err != nil {
		return err
	}
	if !now.headed || now.header != p.header || (now.sparse == nil) != (p.seg.sparse == nil) {
		return &CorruptionError{File: p.seg.path, Pos: p.seg.base, Reason: "the segment's header is not valid"}
	}
	if p.seg.sparse == nil {
		return nil
	}
	return p.seg.checkSparse(p.seg.base + p.seg.sparse.bytes)
}

// unreadable makes damage of bytes that the disk does not give.
func (p piece) unreadable(pos uint64, err error) error {
	if _, known := errors.AsType[*CorruptionError](err); known || errors.Is(err, os.ErrClosed) || errors.Is(err, vfs.ErrPowerCut) {
		return err
	}
	return p.seg.corrupt(pos, fmt.Sprintf("it cannot be read: %v", err))
}

// Mend replaces damaged frames of the segment with the given base, before position
// committed, by those of a source. Without damage it changes nothing.
// ErrNotRewritable for a closed segment of which some is not committed yet,
// ErrRewriting while a segment is being rewritten. If the source fails, nothing is
// replaced in a closed segment, and nothing from that frame on in the one being
// written; if a write to that one fails, the error wraps ErrFailed and the process
// must exit. Any goroutine, beside appends and reads.
func (l *Log) Mend(base, committed uint64, source Source, pace func(bytes int) error) (Mended, error) {
	if !l.rewriting.TryLock() {
		return Mended{}, ErrRewriting
	}
	defer l.rewriting.Unlock()
	if pace == nil {
		pace = func(int) error { return nil }
	}
	p, err := l.pieceAt(base, committed)
	if err != nil || p.end <= base {
		return Mended{}, err
	}
	if p.after == nil && !l.isActive(p.seg) || p.after != nil && committed <= p.end {
		return Mended{}, fmt.Errorf("%w: position %d", ErrNotRewritable, base)
	}
	if p.after == nil {
		return p.mendInPlace(source, pace)
	}
	tmp := path.Join(l.dir, rewriteName)
	mended, err := p.mendInto(l.fs, tmp, source, pace)
	if err != nil || mended == (Mended{}) {
		if rerr := l.fs.Remove(tmp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		if err != nil {
			err = fmt.Errorf("mend %s: %w", p.seg.path, err)
		}
		return Mended{}, err
	}
	if _, err := l.putInPlace(tmp, p.seg, p.end); err != nil {
		return Mended{}, fmt.Errorf("put the mended %s in place: %w", p.seg.path, err)
	}
	return mended, nil
}

func (l *Log) isActive(s *segment) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.active() == s
}

// patcher goes over the frames of a piece and takes damaged ones from the source.
type patcher struct {
	own    window
	due    chain
	source Source
	given  []byte // of the source, from position at on
	at     uint64
	mended Mended
}

func (p piece) patcher(source Source) *patcher {
	return &patcher{own: window{seg: p.seg, limit: p.end, chunk: scanBytes}, due: p.header.chain(), source: source}
}

// next returns the bytes of the frame at pos, valid until the next call, and
// whether they are the source's.
func (w *patcher) next(pos uint64) (b []byte, foreign bool, err error) {
	f, err := w.own.frame(pos)
	if err == nil {
		h, _ := w.own.header(pos)
		if w.due.before(h) {
			w.due = chainAfter(h)
			b, err = w.own.bytes(pos, int(f.Size))
			return b, false, err
		}
	}
	if errors.Is(err, os.ErrClosed) || errors.Is(err, vfs.ErrPowerCut) {
		return nil, false, err
	}
	if w.own.buf = w.own.buf[:0]; pos < w.at || pos >= w.at+uint64(len(w.given)) {
		if w.given, err = w.source(pos); err != nil {
			return nil, false, fmt.Errorf("get the frame at %d from another node: %w", pos, err)
		}
		w.at = pos
	}
	given := w.given[pos-w.at:]
	if f, err = DecodeFrame(given, pos); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	h, _ := parseHeader(given, pos)
	if !w.due.before(h) || f.End() > w.own.limit {
		return nil, false, fmt.Errorf("%w: entry %d, term %d, of %d bytes at %d, where entry %d is due", ErrForeign, h.index, h.term, h.size(), pos, w.due.index)
	}
	w.due = chainAfter(h)
	if w.mended.Frames == 0 {
		w.mended.First = pos
	}
	w.mended.Frames++
	w.mended.Bytes += int64(f.Size)
	return given[:f.Size], true, nil
}

// mendInPlace writes damaged frames of the segment being written again.
func (p piece) mendInPlace(source Source, pace func(int) error) (Mended, error) {
	w := p.patcher(source)
	headless := p.checkHeader() != nil
	paced := 0
	for pos := p.seg.base; pos < p.end; {
		b, foreign, err := w.next(pos)
		if err != nil {
			return w.mended, fmt.Errorf("mend %s: %w", p.seg.path, err)
		}
		if foreign {
			if _, err := p.seg.file.WriteAt(b, p.seg.offset(pos)); err != nil {
				return w.mended, fmt.Errorf("%w: write the frame at %d of %s again: %w", ErrFailed, pos, p.seg.path, err)
			}
		}
		pos += uint64(len(b))
		if paced += len(b); paced >= scanBytes {
			if err := pace(paced); err != nil {
				return w.mended, err
			}
			paced = 0
		}
	}
	if headless {
		w.mended.Header = true
		if _, err := p.seg.file.WriteAt(appendSegmentHeader(nil, p.header), 0); err != nil {
			return w.mended, fmt.Errorf("%w: write the header of %s again: %w", ErrFailed, p.seg.path, err)
		}
	}
	return w.mended, pace(paced)
}

// mendInto writes the piece, all of a segment, to a new file and reads it back.
// Nothing is left to do if the result is zero.
func (p piece) mendInto(fsys vfs.FS, tmp string, source Source, pace func(int) error) (mended Mended, err error) {
	f, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return Mended{}, err
	}
	out := p.writer(f)
	w := p.patcher(source)
	w.mended.Header = p.checkHeader() != nil
	for pos := p.seg.base; pos < p.end && err == nil; {
		var b []byte
		if b, _, err = w.next(pos); err == nil {
			err = out.add(b)
			pos += uint64(len(b))
		}
		if err == nil && len(b) > 0 {
			err = pace(len(b))
		}
	}
	if err == nil && p.after != nil && p.after.chain() != w.due {
		err = fmt.Errorf("%w: entry %d, term %d, is not the last before the next segment", ErrForeign, w.due.index-1, w.due.term)
	}
	if err == nil && w.mended != (Mended{}) {
		err = out.finish()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil || w.mended == (Mended{}) {
		return Mended{}, err
	}
	s, err := openSegmentFile(fsys, tmp, p.seg.base)
	if err != nil {
		return Mended{}, err
	}
	if err = s.readHeader(); err == nil {
		err = piece{seg: s, header: p.header, end: p.end, after: p.after}.verify(pace)
	}
	return w.mended, errors.Join(err, s.file.Close())
}

// MendStopped mends, in a log that is not open, the segment for which Open gave a
// *CorruptionError. Open has the last word: it judges what is there afterwards. If
// the segment's header is lost too, the one before must be whole. In the segment
// that was being written only what stands before bytes that are known to have been
// durable is mended; a source that has not got it (ErrOutOfRange) ends that.
func MendStopped(opts Options, damage *CorruptionError, source Source) (Mended, error) {
	if opts.FS == nil {
		opts.FS = vfs.OS()
	}
	base, ok := parseSegmentName(path.Base(damage.File))
	if !ok {
		return Mended{}, fmt.Errorf("%s is no segment of the log: another node cannot give it", damage.File)
	}
	lock, err := opts.FS.Lock(path.Join(opts.Dir, "LOCK"))
	if err != nil {
		return Mended{}, err
	}
	mended, err := mendStopped(opts, base, source)
	if err != nil {
		err = fmt.Errorf("mend %s: %w", damage.File, err)
	}
	return mended, errors.Join(err, lock.Close())
}

func mendStopped(opts Options, base uint64, source Source) (Mended, error) {
	l := &Log{opts: opts, fs: opts.FS, dir: opts.Dir}
	bases, err := l.listSegments()
	if err != nil {
		return Mended{}, err
	}
	i := slices.Index(bases, base)
	if i < 0 {
		return Mended{}, errors.New("the file is missing")
	}
	s, err := openSegment(l.fs, l.dir, base)
	if err != nil {
		return Mended{}, err
	}
	defer s.file.Close()
	p := piece{seg: s}
	if p.header, err = l.headerOf(s, bases[:i]); err != nil {
		return Mended{}, err
	}
	noPace := func(int) error { return nil }
	if i+1 == len(bases) {
		if p.end, err = p.durable(); err != nil {
			return Mended{}, err
		}
		mended, err := p.mendInPlace(source, noPace)
		if errors.Is(err, ErrOutOfRange) && mended.Frames > 0 {
			err = nil
		}
		return mended, err
	}
	p.end = bases[i+1]
	if next, err := openSegment(l.fs, l.dir, p.end); err == nil {
		if err := next.readHeader(); err == nil && next.headed {
			p.after = &next.header
		}
		_ = next.file.Close()
	}
	tmp := path.Join(l.dir, rewriteName) // what is left of it is removed by Open
	mended, err := p.mendInto(l.fs, tmp, source, noPace)
	if err != nil || mended == (Mended{}) {
		return Mended{}, err
	}
	if err := l.fs.Rename(tmp, s.path); err != nil {
		return Mended{}, err
	}
	return mended, l.fs.SyncDir(l.dir)
}

// headerOf returns the header of a segment from its file or, if it is damaged
// there, from the last frame of the segment before.
func (l *Log) headerOf(s *segment, before []uint64) (segmentHeader, error) {
	if err := s.readHeader(); err != nil || s.headed {
		return s.header, err
	}
	if len(before) == 0 {
		return segmentHeader{firstIndex: 1}, nil
	}
	prev, err := openSegment(l.fs, l.dir, before[len(before)-1])
	if err != nil {
		return segmentHeader{}, err
	}
	defer prev.file.Close()
	if err := prev.readHeader(); err != nil {
		return segmentHeader{}, err
	}
	if !prev.headed {
		return segmentHeader{}, prev.corrupt(prev.base, "the segment's header is not valid")
	}
	win, due := window{seg: prev, limit: s.base, chunk: scanBytes}, prev.header.chain()
	for pos := prev.base; pos < s.base; {
		h, err := win.header(pos)
		if err != nil {
			return segmentHeader{}, err
		}
		due = chainAfter(h)
		pos += h.size()
	}
	return segmentHeader{base: s.base, firstIndex: due.index, prevTerm: due.term, prevSize: due.prevSize}, nil
}

// durable returns the position before which everything in the file of the last
// segment was durable or stands before something valid: the end of the last frame
// header, or the place of the last trailer, that is found in it.
func (p piece) durable() (uint64, error) {
	size, err := p.seg.file.Size()
	if err != nil {
		return 0, err
	}
	rest := make([]byte, max(size-segmentHeaderBytes, 0))
	if _, err := p.seg.file.ReadAt(rest, segmentHeaderBytes); err != nil && err != io.EOF {
		return 0, err
	}
	end := p.seg.base
	for at := 0; at < len(rest); at++ {
		pos, b := p.seg.base+uint64(at), rest[at:]
		if len(b) >= FrameHeaderBytes && b[FrameHeaderBytes-1] == frameMarker {
			if h, ok := parseHeader(b, pos); ok && h.size() <= uint64(len(b)) {
				end = max(end, pos+h.size())
			}
		}
		if len(b) >= trailerBytes && b[0] == trailerMagic[0] {
			if _, ok := parseTrailer(b, pos); ok {
				end = max(end, pos)
			}
		}
	}
	return end, nil
}

// frameWriter writes a segment file frame by frame.
type frameWriter interface {
	add(frames []byte) error
	finish() error
}

// writer writes the form that the piece's file has.
func (p piece) writer(f vfs.File) frameWriter {
	if p.seg.sparse != nil {
		return newSparseWriter(f, p.header, p.end-p.seg.base)
	}
	return &plainWriter{file: f, out: appendSegmentHeader(nil, p.header)}
}

// plainWriter writes an ordinary, closed segment file.
type plainWriter struct {
	file vfs.File
	out  []byte
	at   int64
}

func (w *plainWriter) add(frames []byte) error {
	w.out = append(w.out, frames...)
	if len(w.out) < writeBytes {
		return nil
	}
	return w.finish()
}

func (w *plainWriter) finish() error {
	if _, err := w.file.WriteAt(w.out, w.at); err != nil {
		return err
	}
	w.at += int64(len(w.out))
	w.out = w.out[:0]
	return w.file.Sync()
}

// Frames returns whole frames as they stand in the log, verified: the one that
// begins at pos, and more of the same segment that end at upTo or before, as far
// as they fit into limit bytes. It is what a Source of another node gives.
// ErrOutOfRange if the frame at pos does not end before upTo, ErrNotAFrame inside
// one.
func (l *Log) Frames(pos, upTo uint64, limit int) ([]byte, error) {
	frames, err := retry(l, func() ([]byte, error) {
		s, end, err := l.segmentAt(pos)
		if err != nil {
			return nil, err
		}
		end = min(end, upTo)
		w := window{seg: s, limit: end, chunk: limit + FrameHeaderBytes}
		var out []byte
		for pos < end {
			f, err := w.frame(pos)
			if err != nil && len(out) > 0 {
				return out, nil
			}
			if err != nil {
				return nil, l.explain(pos, err)
			}
			if len(out) > 0 && len(out)+int(f.Size) > limit {
				break
			}
			b, err := w.bytes(pos, int(f.Size))
			if err != nil {
				return nil, err
			}
			out = append(out, b...)
			pos = f.End()
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("%w: no frame at %d ends before %d", ErrOutOfRange, pos, upTo)
		}
		return out, nil
	})
	return frames, l.doubt(err)
}
