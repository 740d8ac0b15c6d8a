package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"baton/control/engine"
)

const (
	// backoffMin and backoffMax bound the wait before a restart; it doubles
	// with each run shorter than steadyRun.
	backoffMin = 300 * time.Millisecond
	backoffMax = 30 * time.Second
	// steadyRun: a run at least this long counts as healthy.
	steadyRun = 10 * time.Second
	// maxShortRuns in a row and the process stays down.
	maxShortRuns = 6
	// adoptedPoll is how often an adopted process (not our child) is looked at.
	adoptedPoll = 100 * time.Millisecond
	// maxLogBytes of a log file; beyond it one older copy is kept.
	maxLogBytes = 64 << 20
)

// States of a process.
const (
	StateRunning    = "running"
	StateStopped    = "stopped"    // as wanted
	StateRestarting = "restarting" // ended, will be started again
	StateFailed     = "failed"     // ended and stays down; Exit says why
)

// ErrUnknown: no process of that name.
var ErrUnknown = errors.New("no such process")

// Supervisor keeps the processes of one directory.
type Supervisor struct {
	dir string
	log *slog.Logger
	by  launcher

	backoff time.Duration // first wait before a restart
	gate    Gate          // nil: everything may start
	onEnd   func(name string)

	mu     sync.Mutex
	procs  map[string]*process
	closed bool
}

// process is one supervised process. Its loop goroutine starts it and waits.
type process struct {
	s    *Supervisor
	name string

	mu      sync.Mutex
	rec     record
	run     running
	state   string
	exit    string
	adopted bool
	shorts  int           // short runs in a row
	count   int           // restarts
	ended   chan struct{} // closed when the present run has ended; nil when none
	wake    *time.Timer
}

// Options of a Supervisor. All but Dir may be left out.
type Options struct {
	Dir string
	Log *slog.Logger
	// Gate is asked before a process is started by itself; OnEnd is told, from a
	// goroutine of its own, of each process that ended.
	Gate  Gate
	OnEnd func(name string)
	// Kind of supervision; "" is KindChild.
	Kind    string
	Systemd Systemd
}

// Open is OpenWith for detached children without a gate.
func Open(dir string, log *slog.Logger) (*Supervisor, error) {
	return OpenWith(Options{Dir: dir, Log: log})
}

// OpenWith reads the directory and adopts what still runs, however it was
// started, then starts what should run and does not. Errors: ErrNoSystemd.
func OpenWith(o Options) (*Supervisor, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	dir := o.Dir
	s := &Supervisor{dir: dir, log: o.Log.With("component", "supervisor"), by: children{}, backoff: backoffMin, gate: o.Gate, onEnd: o.OnEnd, procs: map[string]*process{}}
	switch {
	case o.Kind == KindAuto && (os.Getenv(underSystemd) == "" || o.Systemd.Usable() != nil), o.Kind == "", o.Kind == KindChild:
	case o.Kind == KindAuto, o.Kind == KindSystemd:
		u, err := newUnits(o.Systemd, dir)
		if err != nil {
			return nil, err
		}
		s.by = u
	default:
		return nil, fmt.Errorf("supervision %q is not known: give %s, %s or %s", o.Kind, KindAuto, KindChild, KindSystemd)
	}
	for _, d := range []string{s.path(""), s.logDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make directory of supervised processes: %w", err)
		}
	}
	names, err := filepath.Glob(s.path("*.spec.json"))
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	marked := findMarked()
	for _, path := range names {
		p := &process{s: s, name: strings.TrimSuffix(filepath.Base(path), ".spec.json"), state: StateStopped}
		if err := readJSON(path, &p.rec); err != nil {
			return nil, err
		}
		if err := readJSON(s.pidFile(p.name), &p.run); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.log.Warn("record of a running process is damaged; looking for it by its mark", "process", p.name, "err", err)
		}
		s.procs[p.name] = p
		p.mu.Lock()
		p.adopt(marked[s.marker(p.name)])
		if p.ended == nil && !p.rec.Stopped {
			p.startGated()
		}
		unwanted := p.ended != nil && p.rec.Stopped
		p.mu.Unlock()
		if unwanted { // the supervisor before this one died while it was stopping it
			go func() {
				if err := s.Stop(context.Background(), p.name, 0, false); err != nil {
					s.log.Error("stop what should not run", "process", p.name, "err", err)
				}
			}()
		}
	}
	return s, nil
}

// Kind is what carries processes started from now on: KindChild or KindSystemd.
func (s *Supervisor) Kind() string { return s.by.kind() }

func (s *Supervisor) path(name string) string    { return filepath.Join(s.dir, "processes", name) }
func (s *Supervisor) pidFile(name string) string { return s.path(name + ".pid.json") }
func (s *Supervisor) logDir() string             { return filepath.Join(s.dir, "logs") }
func (s *Supervisor) logFile(n string) string    { return filepath.Join(s.logDir(), n+".log") }
func (s *Supervisor) marker(name string) string {
	abs, err := filepath.Abs(s.dir)
	if err != nil {
		abs = s.dir
	}
	return name + "@" + abs
}

// Close leaves all processes running and forgets them.
func (s *Supervisor) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, p := range s.procs {
		p.mu.Lock()
		if p.wake != nil {
			p.wake.Stop()
		}
		p.mu.Unlock()
	}
}

// Start stores the spec and starts the process unless it runs. A running
// process keeps its present arguments until it is restarted; the new spec counts then.
func (s *Supervisor) Start(spec Spec) (pid int, already bool, err error) {
	if err := spec.Check(); err != nil {
		return 0, false, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0, false, errors.New("the supervisor is closed")
	}
	p := s.procs[spec.Name]
	if p == nil {
		p = &process{s: s, name: spec.Name, state: StateStopped}
		s.procs[spec.Name] = p
	}
	s.mu.Unlock()

	p.mu.Lock()
	defer p.mu.Unlock()
	p.rec = record{Spec: spec}
	if err := writeJSON(s.path(spec.Name+".spec.json"), p.rec); err != nil {
		return 0, false, fmt.Errorf("store process %s: %w", spec.Name, err)
	}
	if p.ended != nil {
		return p.run.PID, true, nil
	}
	p.shorts = 0
	if err := p.startGated(); err != nil {
		return 0, false, err
	}
	if p.ended == nil {
		return 0, true, nil // the gate keeps it stopped; the state says why
	}
	return p.run.PID, false, nil
}

// Resume starts a known process that was stopped, this once with further
// arguments behind its own, and keeps it running from then on. A later restart
// has only its own arguments again: a program that must remember what they
// said writes it into its own file.
func (s *Supervisor) Resume(name string, extra []string) (pid int, already bool, err error) {
	s.mu.Lock()
	p, closed := s.procs[name], s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return 0, false, errors.New("the supervisor is closed")
	case p == nil:
		return 0, false, fmt.Errorf("resume %s: %w", name, ErrUnknown)
	}
	for _, a := range extra {
		if strings.ContainsRune(a, 0) {
			return 0, false, fmt.Errorf("an argument of process %s holds a NUL", name)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rec.Stopped = false
	if err := writeJSON(s.path(name+".spec.json"), p.rec); err != nil {
		return 0, false, fmt.Errorf("store process %s: %w", name, err)
	}
	if p.ended != nil {
		return p.run.PID, true, nil
	}
	if p.wake != nil {
		p.wake.Stop()
	}
	p.shorts = 0
	if err := p.start(extra...); err != nil {
		return 0, false, err
	}
	return p.run.PID, false, nil
}

// Stop ends the process and keeps it stopped, also across restarts of the
// supervisor: first by request, after the grace time by force.
// grace 0 means the spec's. With remove the spec is forgotten too.
func (s *Supervisor) Stop(ctx context.Context, name string, grace time.Duration, remove bool) error {
	s.mu.Lock()
	p := s.procs[name]
	s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("stop %s: %w", name, ErrUnknown)
	}
	p.mu.Lock()
	p.rec.Stopped = true
	err := writeJSON(s.path(name+".spec.json"), p.rec)
	if p.wake != nil {
		p.wake.Stop()
	}
	ended, run := p.ended, p.run
	if ended == nil {
		p.state = StateStopped
	}
	if grace <= 0 {
		grace = p.rec.Spec.grace()
	}
	p.mu.Unlock()
	if err != nil {
		return fmt.Errorf("store process %s: %w", name, err)
	}
	if ended != nil {
		if err := endProcess(ctx, run, ended, grace); err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
	}
	if !remove {
		return nil
	}
	s.mu.Lock()
	delete(s.procs, name)
	s.mu.Unlock()
	if err := s.by.forget(name); err != nil {
		return fmt.Errorf("forget process %s: %w", name, err)
	}
	if err := removeFile(s.pidFile(name)); err != nil {
		return err
	}
	return removeFile(s.path(name + ".spec.json"))
}

func endProcess(ctx context.Context, run running, ended <-chan struct{}, grace time.Duration) error {
	// The handle pins the process: a pid that was reused is not hit.
	h, err := os.FindProcess(run.PID)
	if err != nil {
		return err
	}
	defer h.Release()
	if !run.alive() {
		<-ended
		return nil
	}
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, 5 * time.Second}} {
		if step.sig == syscall.SIGKILL && run.alive() {
			// What it started goes with it: it leads a group of its own.
			_ = syscall.Kill(-run.PID, syscall.SIGKILL)
		}
		if err := h.Signal(step.sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		t := time.NewTimer(step.wait)
		select {
		case <-ended:
			t.Stop()
			return nil
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	return fmt.Errorf("pid %d did not end after SIGKILL", run.PID)
}

// States lists the processes, sorted by name.
func (s *Supervisor) States() []engine.ProcessState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]engine.ProcessState, 0, len(s.procs))
	for _, p := range s.procs {
		p.mu.Lock()
		st := engine.ProcessState{Name: p.name, State: p.state, Adopted: p.adopted, Restarts: p.count, Exit: p.exit, LogFile: s.logFile(p.name)}
		if p.ended != nil {
			st.PID, st.StartedAt = p.run.PID, p.run.StartedAt
		}
		p.mu.Unlock()
		out = append(out, st)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// adopt takes over the recorded process, or the marked one, when it lives.
// p.mu is held.
func (p *process) adopt(marked int) {
	if !p.run.alive() {
		if marked == 0 {
			marked = p.s.by.running(p.name)
		}
		if marked == 0 {
			return
		}
		ticks, ok := startTicks(marked)
		if !ok {
			return
		}
		p.run = running{PID: marked, Ticks: ticks, BootID: bootID(), StartedAt: time.Now()}
		if err := writeJSON(p.s.pidFile(p.name), p.run); err != nil {
			p.s.log.Warn("record of an adopted process is not stored", "process", p.name, "err", err)
		}
	}
	p.adopted, p.state = true, StateRunning
	p.ended = make(chan struct{})
	p.s.log.Info("adopted", "process", p.name, "pid", p.run.PID)
	go p.watch(p.run, p.ended)
}

// unknownEnd is how a run ended that somebody else was told the end of.
const unknownEnd = "ended (its exit status is not known to this agent)"

// watch waits for the end of a process that is not our child.
func (p *process) watch(run running, ended chan struct{}) {
	endOf(run)
	how := p.s.by.ended(p.name)
	if how == "" {
		how = unknownEnd
	}
	p.finished(run, ended, how)
}

// start starts the process, with further arguments behind its own. p.mu is held.
func (p *process) start(extra ...string) error {
	spec := p.rec.Spec
	fail := func(err error) error {
		p.state, p.exit = StateFailed, err.Error()
		return fmt.Errorf("start process %s: %w", p.name, err)
	}
	if err := spec.prepare(); err != nil {
		return fail(err)
	}
	rotate(p.s.logFile(p.name))
	pid, wait, err := p.s.by.launch(launch{name: p.name, path: spec.Path, dir: spec.Dir, log: p.s.logFile(p.name), grace: spec.grace(),
		args: append(spec.Args[:len(spec.Args):len(spec.Args)], extra...), env: append(spec.Env[:len(spec.Env):len(spec.Env)], markerName+"="+p.s.marker(p.name))})
	if err != nil {
		return fail(err)
	}
	ticks, _ := startTicks(pid)
	p.run = running{PID: pid, Ticks: ticks, BootID: bootID(), StartedAt: time.Now()}
	p.ended, p.state, p.adopted = make(chan struct{}), StateRunning, false
	if err := writeJSON(p.s.pidFile(p.name), p.run); err != nil {
		// It runs, and its mark will find it.
		p.s.log.Warn("record of a running process is not stored", "process", p.name, "err", err)
	}
	p.s.log.Info("started", "process", p.name, "pid", p.run.PID)
	run, ended := p.run, p.ended
	if wait == nil {
		go p.watch(run, ended)
		return nil
	}
	go func() { p.finished(run, ended, wait()) }()
	return nil
}

// finished records the end of a run and plans the next.
func (p *process) finished(run running, ended chan struct{}, how string) {
	p.s.mu.Lock()
	closed := p.s.closed
	p.s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(ended)
	p.ended, p.exit = nil, how
	p.s.log.Info("ended", "process", p.name, "pid", run.PID, "exit", how)
	if p.s.onEnd != nil && !closed {
		go p.s.onEnd(p.name)
	}
	switch {
	case closed:
		return
	case p.rec.Stopped || p.rec.Spec.Restart == RestartNever:
		p.state = StateStopped
		return
	}
	if time.Since(run.StartedAt) >= steadyRun {
		p.shorts = 0
	}
	p.shorts++
	if p.shorts > maxShortRuns {
		p.state = StateFailed
		p.exit = fmt.Sprintf("%s; it ended %d times in a row within %s and stays down, see %s", how, p.shorts, steadyRun, p.s.logFile(p.name))
		p.s.log.Error("stays down", "process", p.name, "exit", p.exit)
		return
	}
	p.state = StateRestarting
	wait := min(p.s.backoff<<(p.shorts-1), backoffMax)
	p.wake = time.AfterFunc(wait, func() {
		p.s.mu.Lock()
		closed := p.s.closed
		p.s.mu.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		if closed || p.rec.Stopped || p.ended != nil {
			return
		}
		p.count++
		if err := p.startGated(); err != nil {
			p.s.log.Error("restart", "process", p.name, "err", err)
		}
	})
}

// rotate keeps one older copy of a log that grew too large. The process, if it
// runs, appends to the emptied file.
func rotate(path string) {
	st, err := os.Stat(path)
	if err != nil || st.Size() < maxLogBytes {
		return
	}
	in, err := os.Open(path)
	if err != nil {
		return
	}
	defer in.Close()
	out, err := os.OpenFile(path+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err == nil {
		_ = os.Truncate(path, 0)
	}
}

// RotateLogs bounds the logs of running processes; call it now and then.
func (s *Supervisor) RotateLogs() {
	s.mu.Lock()
	names := make([]string, 0, len(s.procs))
	for n := range s.procs {
		names = append(names, n)
	}
	s.mu.Unlock()
	for _, n := range names {
		rotate(s.logFile(n))
	}
}
