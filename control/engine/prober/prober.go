// Package prober is the synthetic writer behind every driver's probe: one
// write each interval, each repeated until some node acknowledges it, the
// primary rediscovered among all nodes by trying them.
//
// Writes are idempotent (the same sequence number twice is one write), so a
// write may be outstanding at several nodes at once: a paused old primary does
// not keep the prober from the new one. A Writer belongs to one
// goroutine, except Acked.
package prober

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"baton/control/engine"
)

const (
	// patience: a write unanswered for this long is tried at the other nodes too.
	patience = 3 * time.Millisecond
	// retryAfter is the pause before a node that refused is tried again.
	retryAfter = 2 * time.Millisecond
	// writeTimeout bounds one attempt at one node.
	writeTimeout = 3 * time.Second
	// maxWrites bounds a probe's private data: 100 000 writes are more than
	// 16 minutes at the usual interval.
	maxWrites = 100_000
)

// Target is one node. Write returns nil only for an acknowledged write. It may
// be called from any goroutine, one call at a time.
type Target interface {
	Address() string
	Write(ctx context.Context, seq int64) error
}

// ErrUnknown wraps an error of Write after which the write may have happened.
var ErrUnknown = errors.New("outcome unknown")

// Writer writes to whichever target is primary.
type Writer struct {
	targets   []*worker
	preferred int
	interval  time.Duration
	attempts  sync.WaitGroup
	acked     atomic.Int64
	report    engine.ProbeReport
}

type worker struct {
	Target
	busy  bool      // an attempt is outstanding
	retry time.Time // not before
}

type answer struct {
	from int
	seq  int64
	err  error
}

// New returns a writer. interval 0 means engine.ProbeInterval.
func New(targets []Target, interval time.Duration) *Writer {
	if interval <= 0 {
		interval = engine.ProbeInterval
	}
	w := &Writer{interval: interval}
	for _, t := range targets {
		w.targets = append(w.targets, &worker{Target: t})
	}
	return w
}

// Run writes until ctx ends or maxWrites is reached. The error is nil when at
// least one write was acknowledged, else the last refusal.
func (w *Writer) Run(ctx context.Context, started func()) error {
	// Answers of attempts that outlive their turn must never block.
	answers := make(chan answer, 2*len(w.targets))
	var lastErr error
	for seq := int64(1); seq <= maxWrites; seq++ {
		begun := time.Now()
		if err := w.write(ctx, seq, answers); err != nil {
			lastErr = err
			break
		}
		now := time.Now()
		r := &w.report
		if r.Acked == 0 {
			r.FirstAck = now
		} else if gap := now.Sub(r.LastAck); gap > r.LongestGap {
			r.LongestGap, r.GapAt = gap, r.LastAck
		}
		r.LongestWait = max(r.LongestWait, now.Sub(begun))
		r.Acked, r.LastAck = seq, now
		w.acked.Store(seq)
		if seq == 1 && started != nil {
			started()
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.interval - time.Since(begun)):
		}
	}
	w.attempts.Wait()
	if w.report.Acked == 0 {
		return lastErr
	}
	return nil
}

// write returns when some target acknowledged seq, or with the last refusal
// when ctx ends.
func (w *Writer) write(ctx context.Context, seq int64, answers chan answer) error {
	begun := time.Now()
	w.try(ctx, w.preferred, seq, answers)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	lastErr := error(context.Canceled)
	for {
		select {
		case a := <-answers:
			t := w.targets[a.from]
			t.busy = false
			if a.err == nil && a.seq == seq {
				w.preferred = a.from
				return nil
			}
			if a.err == nil {
				continue // a late acknowledgement of an earlier number
			}
			lastErr = a.err
			t.retry = time.Now().Add(retryAfter)
			w.report.Errors++
			if errors.Is(a.err, ErrUnknown) {
				w.report.Unknown++
			}
			if a.from == w.preferred {
				begun = time.Time{} // no more patience
			}
		case <-tick.C:
		case <-ctx.Done():
			return lastErr
		}
		if time.Since(begun) < patience {
			continue
		}
		for i, t := range w.targets {
			if !t.busy && time.Now().After(t.retry) {
				w.try(ctx, i, seq, answers)
			}
		}
	}
}

func (w *Writer) try(ctx context.Context, i int, seq int64, answers chan<- answer) {
	t := w.targets[i]
	if t.busy || ctx.Err() != nil {
		return
	}
	t.busy = true
	w.attempts.Add(1)
	go func() {
		defer w.attempts.Done()
		// The end of the probe does not cut an attempt short: its outcome
		// would become unknown for no reason.
		actx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
		defer cancel()
		answers <- answer{from: i, seq: seq, err: t.Write(actx, seq)}
	}()
}

// Report is what was measured so far; the read-back is the caller's part.
// Call it after Run returned.
func (w *Writer) Report() engine.ProbeReport { return w.report }

// Preferred is the index of the target that acknowledged last.
func (w *Writer) Preferred() int { return w.preferred }

// Acked is the number of writes acknowledged so far, from any goroutine.
func (w *Writer) Acked() int64 { return w.acked.Load() }
