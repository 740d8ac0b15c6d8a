package scavenge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/platform/clock"
	"baton/platform/vfs"
)

// bytesPerSecond bounds what a scavenge reads and writes at a throttle of 100
// percent, so that appends and reads have the larger part of any disk.
const bytesPerSecond = 128 << 20

// ErrNotFound: no scavenge with this id is running.
var ErrNotFound = errors.New("no such scavenge is running")

// Config says what a Scavenger works on. All fields but Name, Clock and Logger
// are needed.
type Config struct {
	Log    *log.Log
	Index  index.Index
	Heads  Heads
	Mark   Mark
	Reader *reader.Reader
	Append Appender
	FS     vfs.FS
	Dir    string // of the node's data; holds stateFile
	Name   string // of the node, for the history
	Clock  clock.Clock
	Logger *slog.Logger
	// Go runs f in a goroutine that the owner waits for before the log is closed.
	Go func(f func())
}

// Scavenger runs one scavenge at a time in the background. Safe for concurrent
// use.
type Scavenger struct {
	cfg Config
	ctx context.Context // ends with the node

	mu     sync.Mutex
	status Status // of the running or last scavenge
	stop   context.CancelFunc
	gone   chan struct{} // closed when the running one has ended; nil: none ran

	work sync.Mutex // held while one segment is looked at or rewritten
}

// New returns a Scavenger that knows how the last scavenge stands. Everything
// ends with ctx.
func New(ctx context.Context, cfg Config) (*Scavenger, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	status, err := loadStatus(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, err
	}
	return &Scavenger{cfg: cfg, ctx: ctx, status: status}, nil
}

// Start begins a scavenge and returns its id; or, with started false, the id of
// the one that is running. One that was stopped before its end goes on where it
// was: with its point, under a new id. The error is an *OptionError,
// replica.ErrStopped when the node stops, or the disk's.
func (s *Scavenger) Start(o Options) (id string, started bool, err error) {
	if err := o.check(); err != nil {
		return "", false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ctx.Err(); err != nil {
		return "", false, replica.ErrStopped
	}
	if s.status.Running() {
		return s.status.ID, false, nil
	}
	next := Status{ID: newID(), Result: InProgress, Options: o, Begun: s.cfg.Clock.Now().UTC()}
	if s.status.Result == Stopped && s.status.Point != nil && o.StartFrom == s.status.Options.StartFrom {
		point := *s.status.Point
		point.Threshold = o.Threshold
		next.Point, next.Next = &point, s.status.Next
	}
	if err := saveStatus(s.cfg.FS, s.cfg.Dir, next); err != nil {
		return "", false, err
	}
	s.status = next
	s.begin()
	return next.ID, true, nil
}

// Resume goes on with a scavenge that was running when the process ended.
func (s *Scavenger) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Running() && s.gone == nil {
		s.begin()
	}
}

// begin runs what status says. The caller holds the lock.
func (s *Scavenger) begin() {
	ctx, stop := context.WithCancel(s.ctx)
	gone := make(chan struct{})
	s.stop, s.gone = stop, gone
	s.cfg.Go(func() {
		defer close(gone)
		defer stop()
		s.run(ctx)
	})
}

// Stop ends the scavenge with the id, "current" or "" for any, and returns its
// id once it has ended; what it did so far stays. The error is ErrNotFound, or
// that of ctx.
func (s *Scavenger) Stop(ctx context.Context, id string) (string, error) {
	s.mu.Lock()
	if !s.status.Running() || s.gone == nil || id != "" && id != "current" && id != s.status.ID {
		s.mu.Unlock()
		return "", ErrNotFound
	}
	id, gone := s.status.ID, s.gone
	s.stop()
	s.mu.Unlock()
	select {
	case <-gone:
		return id, nil
	case <-ctx.Done():
		return id, ctx.Err()
	}
}

// Status tells how the running scavenge stands, or the last one. ok is false if
// there was none.
func (s *Scavenger) Status() (status Status, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status = s.status
	if status.Point != nil {
		point := *status.Point
		status.Point = &point
	}
	return status, status.ID != ""
}

// Wait returns when no scavenge is running, or the context's error.
func (s *Scavenger) Wait(ctx context.Context) error {
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	if gone == nil {
		return nil
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// update changes the status and, with save, what is on disk.
func (s *Scavenger) update(save bool, change func(*Status)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
	if !save {
		return nil
	}
	return saveStatus(s.cfg.FS, s.cfg.Dir, s.status)
}

// run carries out what status says, to its end, a stop or an error.
func (s *Scavenger) run(ctx context.Context) {
	began := s.cfg.Clock.Now()
	status, _ := s.Status()
	s.cfg.Logger.Info("scavenge begins", "id", status.ID, "from", status.Next)
	s.noteStarted(ctx, status)
	err := s.pass(ctx)
	status, _ = s.Status()
	if err != nil && s.ctx.Err() != nil {
		return // the node stops: the file says InProgress, and Resume goes on
	}
	switch {
	case err == nil:
		status.Result = Success
	case ctx.Err() != nil:
		status.Result = Stopped
	default:
		status.Result, status.Error = Errored, err.Error()
		s.cfg.Logger.Error("scavenge failed", "id", status.ID, "error", err)
	}
	took := s.cfg.Clock.Since(began)
	s.noteCompleted(status, took)
	err = s.update(true, func(now *Status) {
		now.Result, now.Error, now.Ended = status.Result, status.Error, s.cfg.Clock.Now().UTC()
	})
	if err != nil {
		s.cfg.Logger.Error("the end of a scavenge could not be written down", "id", status.ID, "error", err)
	}
	s.cfg.Logger.Info("scavenge ended", "id", status.ID, "result", string(status.Result), "segments", status.Segments,
		"rewritten", status.Rewritten, "removedEvents", status.Events, "savedBytes", status.Saved, "took", took.Round(time.Millisecond))
}

// pass makes the point if there is none yet, after the segment being written was
// ended if that is worth it, and walks over the segments.
func (s *Scavenger) pass(ctx context.Context) error {
	status, _ := s.Status()
	pace := pacer{ctx: ctx, clock: s.cfg.Clock, rate: bytesPerSecond / 100 * int64(status.Options.ThrottlePercent)}
	store := Store{Log: s.cfg.Log, Index: s.cfg.Index, Heads: s.cfg.Heads, Mark: s.cfg.Mark, Pace: pace.spend}
	if status.Point == nil {
		if err := s.endSegment(ctx, &store, status.Options.Threshold); err != nil {
			return err
		}
		point, err := s.makePoint(ctx, status.Options.Threshold)
		if err != nil {
			return fmt.Errorf("make a scavenge point: %w", err)
		}
		next := uint64(0)
		if all := s.cfg.Log.Segments(); status.Options.StartFrom > 0 {
			next = all[min(status.Options.StartFrom, len(all)-1)].Base
		}
		if err := s.update(true, func(now *Status) { now.Point, now.Next = &point, next }); err != nil {
			return err
		}
		status.Point, status.Next = &point, next
	}
	todo := store.Eligible(*status.Point, status.Next)
	if err := s.update(false, func(now *Status) { now.Total = now.Segments + len(todo) }); err != nil {
		return err
	}
	for _, info := range todo {
		began := s.cfg.Clock.Now()
		s.work.Lock()
		removed, err := store.Segment(info, *status.Point)
		s.work.Unlock()
		if err != nil {
			return err
		}
		rewritten := removed.Events > 0
		err = s.update(true, func(now *Status) {
			now.Next = info.End
			now.Segments++
			now.Events += int64(removed.Events)
			now.Rows += int64(removed.Rows)
			now.Saved += removed.Before - removed.After
			if rewritten {
				now.Rewritten++
			}
		})
		if err != nil {
			return err
		}
		if rewritten {
			s.noteSegment(ctx, status.ID, info, removed, s.cfg.Clock.Since(began))
		}
	}
	return ctx.Err()
}

// pacer holds a rate.
type pacer struct {
	ctx   context.Context
	clock clock.Clock
	rate  int64     // bytes in a second
	due   time.Time // when what was spent is paid for
}

// shortestWait is the least that is worth a timer.
const shortestWait = 10 * time.Millisecond

// spend waits until so many more bytes are within the rate. The error is that of
// the context.
func (p *pacer) spend(bytes int) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	now := p.clock.Now()
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(time.Duration(int64(bytes) * int64(time.Second) / p.rate))
	wait := p.due.Sub(now)
	if wait < shortestWait {
		return nil
	}
	timer := p.clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// newID returns a random id in the usual form of a UUID.
func newID() string {
	id := newEventID()
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func newEventID() (id [16]byte) {
	rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}
