package scrub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"sync"
	"time"

	"baton/eventstore/log"
	"baton/platform/clock"
)

// Defaults of Config.
const (
	DefaultEvery          = 24 * time.Hour
	DefaultBytesPerSecond = 32 << 20
)

// Bounds of a scrubber's patience.
const (
	// firstRound is how long after the start the first round begins, if Every is
	// not shorter: a node that was started again may have good reason to be read.
	firstRound   = 10 * time.Minute
	firstRetry   = 100 * time.Millisecond
	slowestRetry = 30 * time.Second
	// fetchTimeout bounds one question to other nodes.
	fetchTimeout = 5 * time.Second
	// suspectAgain is how soon a segment that turned out to be sound is read again
	// because a reader doubts it: a reader may be wrong as often as it likes.
	suspectAgain = time.Minute
	// maxSuspects bounds the segments that wait to be read for a reader's doubt.
	maxSuspects = 64
)

// Fetch returns frames as another node has them (see log.Source) and that node's name.
type Fetch func(ctx context.Context, pos uint64) (frames []byte, from string, err error)

// Config says what a Scrubber works on.
type Config struct {
	Log *log.Log
	// Committed returns the position before which no entry can be replaced any more.
	Committed func() uint64
	Fetch     Fetch
	// Every is the time from the beginning of one round to the next; zero: rounds
	// begin by request only.
	Every time.Duration
	// BytesPerSecond bounds what a round reads; DefaultBytesPerSecond when zero.
	BytesPerSecond int64
	// Failed is called when a write to the segment being written failed: the process
	// must exit (log.ErrFailed).
	Failed func(error)
	// Changed is called when damage was found or mended; nil: nobody is told.
	Changed func()
	Clock   clock.Clock // the machine's when nil
	Logger  *slog.Logger
}

// Damage is one damaged segment.
type Damage struct {
	File     string    `json:"file"` // its name in the log's directory
	Base     uint64    `json:"base,string"`
	Position uint64    `json:"position,string"` // of the first damaged frame
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	Tries    int       `json:"tries"`             // to mend it
	Trouble  string    `json:"trouble,omitempty"` // why the last try came to nothing
}

// Mended is one segment that was damaged and is whole again.
type Mended struct {
	File   string    `json:"file"`
	At     time.Time `json:"at"`
	Frames int       `json:"frames"` // taken from other nodes
	Bytes  int64     `json:"bytes"`
	From   []string  `json:"from"` // nodes that gave them
	TookMs int64     `json:"tookMs"`
}

// Status tells how the node's log is.
type Status struct {
	Running  bool      `json:"running"` // a round is under way
	Began    time.Time `json:"began,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`  // of the last complete round
	Segments int       `json:"segments"`        // read in this round, or the last
	Total    int       `json:"total"`           // of that round
	Bytes    int64     `json:"bytes"`           // of log read in it and found whole
	Next     time.Time `json:"next,omitzero"`   // when the next begins by itself
	Rounds   int       `json:"rounds"`          // complete since the start
	Damaged  []Damage  `json:"damaged"`         // not mended so far, by position
	Mended   []Mended  `json:"mended"`          // the last few, newest first
	Frames   int       `json:"framesMended"`    // since the start
	Found    int       `json:"segmentsDamaged"` // since the start
}

// keepMended is how many Mended a Status holds.
const keepMended = 20

// Scrubber verifies and mends. Make it with New, then run Run.
type Scrubber struct {
	cfg Config

	mu       sync.Mutex
	status   Status
	suspects []uint64             // bases, to be verified soon
	sound    map[uint64]time.Time // suspects that turned out to be sound, and when
	damage   map[uint64]*trouble
	asked    bool // a round is asked for
	wake     chan struct{}
}

type trouble struct {
	Damage
	retry time.Time
	wait  time.Duration
}

// New makes a Scrubber that does nothing until Run.
func New(cfg Config) *Scrubber {
	if cfg.BytesPerSecond <= 0 {
		cfg.BytesPerSecond = DefaultBytesPerSecond
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Real()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Failed == nil {
		cfg.Failed = func(error) {}
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	return &Scrubber{cfg: cfg, sound: map[uint64]time.Time{}, damage: map[uint64]*trouble{}, wake: make(chan struct{}, 1)}
}

// Suspect asks for the segment of damage that a reader met to be read at once. It
// does not block: it may be called wherever a log is read.
func (s *Scrubber) Suspect(damage *log.CorruptionError) {
	base, err := s.cfg.Log.SegmentOf(damage.Pos)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.damage[base] != nil || slices.Contains(s.suspects, base) || len(s.suspects) >= maxSuspects {
		return
	}
	if at, ok := s.sound[base]; ok && s.cfg.Clock.Now().Sub(at) < suspectAgain {
		return
	}
	s.suspects = append(s.suspects, base)
	s.poke()
}

// Start asks for a round now. It reports false if one is under way.
func (s *Scrubber) Start() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Running || s.asked {
		return false
	}
	s.asked = true
	s.poke()
	return true
}

// Retry makes what is damaged be mended now, and not when its time has come:
// another node may have come back.
func (s *Scrubber) Retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.damage {
		t.retry, t.wait = time.Time{}, firstRetry
	}
	if len(s.damage) > 0 {
		s.poke()
	}
}

func (s *Scrubber) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Status returns a snapshot.
func (s *Scrubber) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.status
	out.Running = out.Running || s.asked
	out.Mended = append([]Mended{}, out.Mended...)
	out.Damaged = []Damage{}
	for _, t := range s.damage {
		out.Damaged = append(out.Damaged, t.Damage)
	}
	slices.SortFunc(out.Damaged, func(a, b Damage) int { return cmp.Compare(a.Base, b.Base) })
	return out
}

// Damaged says in a sentence what is damaged now, "" if nothing is known to be.
func (s *Scrubber) Damaged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.damage) == 0 {
		return ""
	}
	first := ""
	for _, t := range s.damage {
		if first == "" || t.File < first {
			first = t.File
		}
	}
	if n := len(s.damage); n > 1 {
		return fmt.Sprintf("%d files of its log are damaged, %s the first", n, first)
	}
	return "file " + first + " of its log is damaged"
}

// Run works until ctx ends.
func (s *Scrubber) Run(ctx context.Context) {
	if s.cfg.Every > 0 {
		s.setNext(s.cfg.Clock.Now().Add(min(firstRound, s.cfg.Every)))
	}
	timer := s.cfg.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		s.urgent(ctx)
		if s.due() {
			s.round(ctx)
			continue
		}
		timer.Reset(s.idle())
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C():
		}
	}
}

func (s *Scrubber) setNext(at time.Time) {
	s.mu.Lock()
	s.status.Next = at
	s.mu.Unlock()
}

// due says whether a round is to begin, and notes that it does.
func (s *Scrubber) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Now()
	byTime := s.cfg.Every > 0 && !s.status.Next.After(now)
	if !s.asked && !byTime {
		return false
	}
	s.asked = false
	s.status.Running, s.status.Began = true, now
	s.status.Segments, s.status.Total, s.status.Bytes = 0, 0, 0
	if s.cfg.Every > 0 {
		s.status.Next = now.Add(s.cfg.Every)
	}
	return true
}

// idle is how long nothing is to be done.
func (s *Scrubber) idle() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Now()
	wait := time.Hour
	if s.cfg.Every > 0 {
		wait = min(wait, s.status.Next.Sub(now))
	}
	for _, t := range s.damage {
		wait = min(wait, t.retry.Sub(now))
	}
	return max(wait, 0)
}

// round verifies every segment, with what is urgent in between.
func (s *Scrubber) round(ctx context.Context) {
	segments := s.cfg.Log.Segments()
	s.mu.Lock()
	s.status.Total = len(segments)
	s.mu.Unlock()
	for _, info := range segments {
		if ctx.Err() != nil {
			return
		}
		s.verify(ctx, info.Base, s.paced(ctx))
		s.mu.Lock()
		s.status.Segments++
		s.mu.Unlock()
		s.urgent(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Running, s.status.Ended = false, s.cfg.Clock.Now()
	s.status.Rounds++
	s.cfg.Logger.Info("the log was read through", "segments", s.status.Segments, "bytes", s.status.Bytes, "damaged", len(s.damage),
		"tookMs", s.status.Ended.Sub(s.status.Began).Milliseconds())
}

// paced waits as long as what was read is worth, and counts it.
func (s *Scrubber) paced(ctx context.Context) func(int) error {
	return func(bytes int) error {
		s.mu.Lock()
		s.status.Bytes += int64(bytes)
		s.mu.Unlock()
		timer := s.cfg.Clock.NewTimer(time.Duration(bytes) * time.Second / time.Duration(s.cfg.BytesPerSecond))
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C():
			return nil
		}
	}
}

// urgent verifies suspects and mends what is damaged and due.
func (s *Scrubber) urgent(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		var suspect, broken *uint64
		if len(s.suspects) > 0 {
			suspect = &s.suspects[0]
			s.suspects = s.suspects[1:]
		}
		now := s.cfg.Clock.Now()
		for base, t := range s.damage {
			if !t.retry.After(now) && (broken == nil || base < *broken) {
				broken = &base
			}
		}
		s.mu.Unlock()
		switch {
		case suspect != nil:
			s.verify(ctx, *suspect, func(int) error { return ctx.Err() })
		case broken != nil:
			s.mend(ctx, *broken)
		default:
			return
		}
	}
}

// verify reads a segment and notes damage.
func (s *Scrubber) verify(ctx context.Context, base uint64, pace func(int) error) {
	err := s.cfg.Log.Verify(base, s.cfg.Committed(), pace)
	if ctx.Err() != nil {
		return
	}
	damage, ok := errors.AsType[*log.CorruptionError](err)
	s.mu.Lock()
	known := s.damage[base]
	now := s.cfg.Clock.Now()
	switch {
	case !ok && err != nil:
		s.cfg.Logger.Warn("a segment of the log could not be read through", "base", base, "err", err)
	case !ok:
		s.sound[base] = now
	case known == nil:
		s.status.Found++
		s.damage[base] = &trouble{wait: firstRetry, Damage: Damage{
			File: path.Base(damage.File), Base: base, Position: damage.Pos, Reason: damage.Reason, Since: now,
		}}
		s.cfg.Logger.Error("the log is damaged; the frames of other nodes are asked for", "file", damage.File, "position", damage.Pos, "reason", damage.Reason)
	}
	s.mu.Unlock()
	if ok && known == nil {
		s.cfg.Changed()
	}
}

// mend tries to mend a damaged segment.
func (s *Scrubber) mend(ctx context.Context, base uint64) {
	var from []string
	began := s.cfg.Clock.Now()
	mended, err := s.cfg.Log.Mend(base, s.cfg.Committed(), func(pos uint64) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		frames, node, err := s.cfg.Fetch(ctx, pos)
		if err == nil && !slices.Contains(from, node) {
			from = append(from, node)
		}
		return frames, err
	}, func(int) error { return ctx.Err() })
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, log.ErrFailed) {
		s.cfg.Failed(err)
	}
	s.mu.Lock()
	t := s.damage[base]
	now := s.cfg.Clock.Now()
	if err != nil {
		t.Tries++
		t.Trouble, t.retry = err.Error(), now.Add(t.wait)
		t.wait = min(2*t.wait, slowestRetry)
		if t.Tries == 1 {
			s.cfg.Logger.Warn("the damage cannot be mended now; it is tried again", "file", t.File, "err", err)
		}
		s.mu.Unlock()
		return
	}
	delete(s.damage, base)
	done := Mended{File: t.File, At: now, Frames: mended.Frames, Bytes: mended.Bytes, From: from, TookMs: now.Sub(began).Milliseconds()}
	s.status.Mended = append([]Mended{done}, s.status.Mended[:min(len(s.status.Mended), keepMended-1)]...)
	s.status.Frames += mended.Frames
	s.cfg.Logger.Warn("a damaged file of the log is whole again", "file", t.File, "position", t.Position, "frames", mended.Frames, "bytes", mended.Bytes,
		"from", from, "tookMs", done.TookMs)
	s.mu.Unlock()
	s.cfg.Changed()
}
