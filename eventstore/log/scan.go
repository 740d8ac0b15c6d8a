package log

import "io"

// scanBytes is how much a Scanner reads at a time.
const scanBytes = 1 << 20

// Scanner reads frames one after the other. It belongs to one goroutine; it
// needs no closing.
type Scanner struct {
	l    *Log
	pos  uint64
	cuts uint64
	// uncached makes the scanner read the disk even where entries are cached.
	uncached bool
	win      window
	// batch holds frames taken from the tail cache, from batch[0] on.
	batch []Frame
	space [64]Frame
}

// Scan returns a scanner whose first frame is the one that begins at from.
func (l *Log) Scan(from uint64) *Scanner {
	return &Scanner{l: l, pos: from, cuts: l.cuts.Load(), win: window{chunk: scanBytes}}
}

// Pos returns the position of the frame that Next returns next.
func (s *Scanner) Pos() uint64 { return s.pos }

// Next returns the next frame, with its checksums verified if it comes from
// disk. At the end of the log it returns io.EOF, and may be called again after
// more was appended. Data is valid until the next call. After another error
// the scanner stays where it is: ErrNotAFrame if from was inside a frame,
// ErrOutOfRange if the log was cut before it.
func (s *Scanner) Next() (Frame, error) {
	f, err := s.next()
	for err != nil && s.cuts != s.l.cuts.Load() {
		f, err = s.next() // as in retry, without its closure
	}
	if err != nil && err != io.EOF {
		return Frame{}, s.l.doubt(s.l.explain(s.pos, err))
	}
	return f, err
}

func (s *Scanner) next() (Frame, error) {
	if cuts := s.l.cuts.Load(); cuts != s.cuts {
		s.cuts = cuts
		s.batch, s.win.seg, s.win.buf = nil, nil, nil
	}
	if len(s.batch) > 0 {
		return s.step(s.batch[0]), nil
	}
	if !s.uncached && s.fillFromCache() {
		return s.step(s.batch[0]), nil
	}
	if s.win.seg == nil || s.pos >= s.win.limit {
		if s.pos == s.l.End() {
			// Somebody may wait here for long: hold no memory meanwhile.
			s.win.seg, s.win.buf = nil, nil
			clear(s.space[:])
			return Frame{}, io.EOF
		}
		seg, limit, err := s.l.segmentAt(s.pos)
		if err != nil {
			return Frame{}, err
		}
		if seg != s.win.seg {
			s.win.seg, s.win.buf = seg, s.win.buf[:0]
		}
		s.win.limit = limit
	}
	f, err := s.win.frame(s.pos)
	if err != nil {
		s.win.seg, s.win.buf = nil, nil
		return Frame{}, err
	}
	s.pos += f.Size
	return f, nil
}

func (s *Scanner) step(f Frame) Frame {
	s.batch = s.batch[1:]
	s.pos += f.Size
	return f
}

// fillFromCache takes what the tail cache has from pos on.
func (s *Scanner) fillFromCache() bool {
	l := s.l
	l.mu.RLock()
	defer l.mu.RUnlock()
	live := l.tail.from(s.pos)
	if len(live) == 0 || live[0].pos != s.pos {
		return false
	}
	s.batch = s.space[:0]
	for bytes := 0; len(live) > 0 && len(s.batch) < len(s.space) && bytes < scanBytes; live = live[1:] {
		s.batch = append(s.batch, live[0].frame())
		bytes += len(live[0].e.Data)
	}
	return true
}
