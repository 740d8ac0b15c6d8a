package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"baton/eventstore/membership"
)

// States of a run.
const (
	StateNone     = "none" // no backup was asked for since the node started
	StateRunning  = "running"
	StateDone     = "done"
	StateFailed   = "failed"
	StateCanceled = "canceled"
)

// Request asks a running node for a backup.
type Request struct {
	// Directory is absolute, on the node's host.
	Directory string `json:"directory"`
	// Copy copies every file, also where it could be linked.
	Copy           bool  `json:"copy,omitempty"`
	BytesPerSecond int64 `json:"bytesPerSecond,omitempty"`
}

// Status is the last run of a node.
type Status struct {
	State     string    `json:"state"`
	Directory string    `json:"directory,omitempty"`
	StartedAt time.Time `json:"startedAt,omitzero"`
	EndedAt   time.Time `json:"endedAt,omitzero"`
	Progress
	// Index and TakenAt are those of the manifest, once the state is done.
	Index   uint64    `json:"index,string,omitempty"`
	TakenAt time.Time `json:"takenAt,omitzero"`
	// Refusal or Error say why it failed.
	Refusal *membership.Refusal `json:"refusal,omitempty"`
	Error   string              `json:"error,omitempty"`
}

// Runner takes backups of one node, one at a time. Safe for concurrent use.
type Runner struct {
	source  Source
	data    []string // directories of the node
	version string
	logger  *slog.Logger

	mu     sync.Mutex
	status Status
	cancel context.CancelFunc
	done   chan struct{} // of the last run; nil before the first
	closed bool
}

// NewRunner returns a runner for the node with these directories (an empty name is
// none), into which no backup is taken. Close it before the node stops.
func NewRunner(source Source, directories []string, version string, logger *slog.Logger) *Runner {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Runner{source: source, data: directories, version: version, logger: logger, status: Status{State: StateNone}}
}

// Start begins a backup and returns its status. Errors: *membership.Refusal.
func (r *Runner) Start(q Request) (Status, error) {
	if refusal := r.judge(q); refusal != nil {
		return Status{}, refusal
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.status.State == StateRunning {
		return r.status, &membership.Refusal{Code: CodeBusy, Title: "This node takes a backup already", Detail: "It writes to " + r.status.Directory + ".",
			Fix: "Wait until it is done, or cancel it.", Retry: true}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.cancel, r.done = cancel, done
	r.status = Status{State: StateRunning, Directory: q.Directory, StartedAt: time.Now().UTC()}
	o := Options{BytesPerSecond: q.BytesPerSecond, Version: r.version, Progress: r.note}
	if !q.Copy {
		o.Link = os.Link
	}
	go func() {
		defer close(done)
		defer cancel()
		m, err := Take(ctx, r.source, q.Directory, o)
		r.end(m, err)
	}()
	return r.status, nil
}

func (r *Runner) judge(q Request) *membership.Refusal {
	refuse := func(detail, fix string) *membership.Refusal {
		return &membership.Refusal{Code: CodeDirectory, Title: "No backup can be taken there", Detail: detail, Fix: fix}
	}
	switch {
	case !filepath.IsAbs(q.Directory) || strings.ContainsRune(q.Directory, 0):
		return refuse(fmt.Sprintf("%.200q is no absolute path.", q.Directory), "Name a directory on the node's host that begins with a slash.")
	case q.BytesPerSecond < 0:
		return refuse("The bound on bytes in a second is below 0.", "Leave it out for none.")
	}
	dir := resolved(q.Directory)
	for _, data := range r.data {
		if data == "" {
			continue
		}
		data = resolved(data)
		if within(dir, data) || within(data, dir) {
			return refuse(dir+" is, contains or lies in the node's data directory "+data+".", "Choose a directory apart from it, best on another disk.")
		}
	}
	return nil
}

// resolved is the path with the symbolic links of what exists of it followed.
func resolved(dir string) string {
	dir, rest := filepath.Clean(dir), ""
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	for {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return filepath.Join(dir, rest)
		}
		dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest)
	}
}

// within reports whether dir is parent or below it.
func within(dir, parent string) bool {
	rel, err := filepath.Rel(parent, dir)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (r *Runner) note(p Progress) {
	r.mu.Lock()
	r.status.Progress = p
	r.mu.Unlock()
}

func (r *Runner) end(m *Manifest, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.status
	s.EndedAt = time.Now().UTC()
	var refusal *membership.Refusal
	switch {
	case err == nil:
		s.State, s.Index, s.TakenAt = StateDone, m.Index, m.TakenAt
		r.logger.Info("a backup was taken", "directory", s.Directory, "position", m.Position, "files", len(m.Files), "kept", s.Kept, "linked", s.Linked,
			"tookMs", s.EndedAt.Sub(s.StartedAt).Milliseconds())
		return
	case errors.Is(err, context.Canceled):
		s.State = StateCanceled
	case errors.As(err, &refusal):
		s.State, s.Refusal = StateFailed, refusal
	default:
		s.State, s.Error = StateFailed, err.Error()
	}
	r.logger.Warn("a backup was not completed; the directory holds the one before, if any", "directory", s.Directory, "error", err)
}

// Status returns the last run.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Cancel ends a running backup and waits until it has.
func (r *Runner) Cancel() Status {
	r.mu.Lock()
	cancel, done := r.cancel, r.done
	r.mu.Unlock()
	if done != nil {
		cancel()
		<-done
	}
	return r.Status()
}

// Close ends a running backup and begins no other.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.Cancel()
}
