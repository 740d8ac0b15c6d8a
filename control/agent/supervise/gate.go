package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Gate is asked before a process is started by itself: after it ended, when
// the supervisor starts, and by Start. It returns arguments to add behind the
// process's own, or false and the reason to keep it stopped. Resume does not
// ask: whoever orders that knows. A Gate must not call the supervisor.
type Gate func(name string) (extra []string, ok bool, why string)

// startGated starts the process unless the gate keeps it stopped. p.mu is held.
func (p *process) startGated() error {
	if p.s.gate == nil {
		return p.start()
	}
	extra, ok, why := p.s.gate(p.name)
	if !ok {
		p.state, p.exit = StateStopped, why
		p.s.log.Warn("kept stopped", "process", p.name, "why", why)
		return nil
	}
	return p.start(extra...)
}

// Kill ends a process at once, by force, with what it started, and returns when
// it is gone. Whether it is started again is the gate's and its policy's
// matter. A process that does not run is no error.
func (s *Supervisor) Kill(ctx context.Context, name string) error {
	s.mu.Lock()
	p := s.procs[name]
	s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("kill %s: %w", name, ErrUnknown)
	}
	p.mu.Lock()
	ended, run := p.ended, p.run
	p.mu.Unlock()
	if ended == nil {
		return nil
	}
	h, err := os.FindProcess(run.PID)
	if err != nil {
		return err
	}
	defer h.Release()
	if run.alive() {
		_ = syscall.Kill(-run.PID, syscall.SIGKILL)
		if err := h.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("kill %s: %w", name, err)
		}
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill %s: %w", name, ctx.Err())
	}
}

// Running is the process id and start time in clock ticks since boot, which
// together name one run; ok is false while it does not run.
func (s *Supervisor) Running(name string) (pid int, ticks uint64, ok bool) {
	s.mu.Lock()
	p := s.procs[name]
	s.mu.Unlock()
	if p == nil {
		return 0, 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run.PID, p.run.Ticks, p.ended != nil
}

// SpecOf returns what the supervisor knows of a process.
func (s *Supervisor) SpecOf(name string) (Spec, bool) {
	s.mu.Lock()
	p := s.procs[name]
	s.mu.Unlock()
	if p == nil {
		return Spec{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rec.Spec, true
}

// Alive tells whether a run of a process still lives.
func Alive(pid int, ticks uint64) bool {
	t, ok := startTicks(pid)
	return ok && t == ticks
}

// StartedAt is when a process of this machine began, in clock ticks since
// boot; with its pid it names one run.
func StartedAt(pid int) (ticks uint64, ok bool) { return startTicks(pid) }
