package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"baton/control/backup/container"
	"baton/control/engine"
	"baton/platform/identity"
)

// Actions that put a backup under a server of this host. "operation" names the
// directories beside the server's own, so that a repeat finds its own work.
const (
	// ActionRestorePrepare{id,grant,job,operation[,of]} on an instance: reads the backup into a
	// new directory beside the server's, loads it there in a scratch server,
	// compares the keys and writes the data in the form the server starts from.
	// The server itself is not touched. of is the cluster the backup is of, when it is another. Values: "keys", "databases", "fetchMs", "loadMs", "dir".
	ActionRestorePrepare = "restore-prepare"
	// ActionRestoreSwap{operation} on an instance whose server is stopped: its data goes to a
	// directory that is kept, the prepared data takes its place. Values: "kept".
	ActionRestoreSwap = "restore-swap"
	// ActionRestoreBack{operation} takes a swap back. Its server must be stopped.
	ActionRestoreBack = "restore-back"
	// ActionRestoreDiscard{operation} removes what was prepared and not used.
	ActionRestoreDiscard = "restore-discard"
	// ActionRestoreStop{operation} stops the server of an instance and keeps it stopped;
	// ActionRestoreStart{operation} starts it unless it runs.
	ActionRestoreStop  = "restore-stop"
	ActionRestoreStart = "restore-start"
)

// swapped marks, in the directory that is kept, that all old data is in it.
const swapped = ".moved"

var operationForm = regexp.MustCompile(`^op-[0-9a-f]{1,40}$`)

// restoring is one server being restored.
type restoring struct {
	in        engine.Instance
	operation string
}

// restoringOf finds the instance of an order and checks that its server is
// one this agent runs.
func restoringOf(a *Agent, o Order) (*restoring, error) {
	w := a.find(o.Cluster, o.Node)
	op := o.Action.Arg("operation")
	switch {
	case w == nil || o.Node == "":
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", o.Node, o.Cluster)}
	case !operationForm.MatchString(op):
		return nil, badArg("%s: %q is no operation", o.Action.Name, op)
	case w.in.Process == "" || w.in.Dir == "":
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "this agent did not start the server of " + o.Node + ", so it cannot stop it and change its data",
			Fix: "restore beside it, into a new cluster"}
	}
	return &restoring{w.in, op}, nil
}

// fresh is where the data is prepared, kept where the old data goes. Both are
// on the server's own volume, so that moving is renaming.
func (r *restoring) fresh() string { return r.in.Dir + ".restore-" + r.operation }
func (r *restoring) kept() string  { return r.in.Dir + ".before-" + r.operation }

// stopped refuses while the server runs: it would write its data again.
func (r *restoring) stopped(a *Agent) error {
	for _, p := range a.super.States() {
		if p.Name == r.in.Process && p.PID != 0 {
			return &engine.ActionError{Code: engine.CodeRefused, Detail: "the server of " + r.in.Node + " runs; it must be stopped before its data is changed"}
		}
	}
	return nil
}

func restorePrepare(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	r, err := restoringOf(a, o)
	if err != nil {
		return nil, err
	}
	g, t, err := granted(a, o)
	if err != nil {
		return nil, err
	}
	form, err := a.drivers[r.in.Engine].Do(ctx, r.in, engine.Action{Name: engine.SaveState})
	if err != nil {
		return nil, err
	}
	if form.Values["appendDir"] != "" && form.Values["appendDir"] != aofDir || !strings.HasSuffix(form.Values["file"], ".rdb") {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("the server of %s gives its data files names of its own (%s, %s)", r.in.Node, form.Values["file"], form.Values["appendDir"]),
			Fix: "restore beside it, into a new cluster"}
	}
	if dir := form.Values["dir"]; filepath.Clean(dir) != filepath.Clean(r.in.Dir) {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("the server of %s keeps its data in %s, not in its directory %s", r.in.Node, dir, r.in.Dir),
			Fix: "restore beside it, into a new cluster"}
	}
	f := &fetching{a: a, cluster: o.Action.Arg("of"), id: o.Action.Arg("id"), grant: g, target: t}
	if f.cluster == "" {
		f.cluster = o.Cluster
	}
	return a.startJob(o, func(ctx context.Context, j *backupJob) (map[string]string, error) {
		return r.prepare(ctx, j, f, form.Values)
	})
}

// prepare makes the new data and leaves nothing when it fails.
func (r *restoring) prepare(ctx context.Context, j *backupJob, f *fetching, form map[string]string) (values map[string]string, err error) {
	dir := r.fresh()
	if err := os.RemoveAll(dir); err != nil { // of an attempt that was cut short
		return nil, fmt.Errorf("make the new directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the new directory: %w", err)
	}
	defer func() {
		if err != nil {
			if rerr := os.RemoveAll(dir); rerr != nil {
				err = errors.Join(err, rerr)
			}
		}
	}()
	server, _, err := f.a.engineBinaries(r.in.Cluster)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	h, err := f.fetch(ctx, j, dir)
	if err != nil {
		return nil, err
	}
	fetched := time.Now()
	j.enter("load it and count its keys", 0)
	keys, err := r.load(ctx, j, server, dir, &h, form)
	if err != nil {
		return nil, err
	}
	text, err := encodeKeys(keys)
	if err != nil {
		return nil, err
	}
	return map[string]string{"keys": strconv.FormatInt(total(keys), 10), "databases": text, "dir": dir,
		"fetchMs": strconv.FormatInt(fetched.Sub(began).Milliseconds(), 10), "loadMs": strconv.FormatInt(time.Since(fetched).Milliseconds(), 10)}, nil
}

// load loads the dump in dir, compares, and writes the data as the server will
// look for it: a server that keeps an append-only log ignores a dump, so the
// scratch server writes such a log.
func (r *restoring) load(ctx context.Context, j *backupJob, server, dir string, h *container.Header, form map[string]string) (map[string]int64, error) {
	var lines []string
	for setting, value := range map[string]string{"appendfilename": form["appendFile"], "appenddirname": form["appendDir"]} {
		if value != "" {
			if !plainName.MatchString(value) {
				return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("the server's setting %s is %q, which is no plain name", setting, value)}
			}
			lines = append(lines, setting+" "+value)
		}
	}
	if !plainName.MatchString(form["file"]) {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("the server's dump is named %q, which is no plain name", form["file"])}
	}
	s, err := startScratch(server, dir, dumpName, databases(h), lines...)
	if err != nil {
		return nil, err
	}
	defer func() {
		s.end()
		for _, name := range []string{scratchConf, scratchLog, scratchSocket} {
			_ = os.Remove(filepath.Join(dir, name)) // they are no data; the swap moves data only
		}
	}()
	keys, err := loadedKeys(ctx, s, h)
	if err != nil {
		return nil, err
	}
	if form["appendOnly"] != "yes" {
		return keys, os.Rename(filepath.Join(dir, dumpName), filepath.Join(dir, form["file"]))
	}
	j.enter("write the append-only log", 0)
	// As a primary: a replica would not let its log begin before it is in step.
	if _, err := s.do("REPLICAOF", "NO", "ONE"); err != nil {
		return nil, fmt.Errorf("prepare the scratch server: %w", err)
	}
	if _, err := s.do("CONFIG", "SET", "appendonly", "yes"); err != nil {
		return nil, fmt.Errorf("let the scratch server write its log: %w", err)
	}
	if err := s.logWritten(ctx); err != nil {
		return nil, err
	}
	return keys, os.Remove(filepath.Join(dir, dumpName))
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$`)

// logWritten waits until the log that was turned on holds everything.
func (s *scratch) logWritten(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := s.do("INFO", "persistence")
		if err != nil {
			return fmt.Errorf("write the append-only log: %w", err)
		}
		has := func(line string) bool { return strings.Contains(text, "\n"+line+"\r") }
		if has("aof_enabled:1") && has("aof_rewrite_in_progress:0") && has("aof_rewrite_scheduled:0") {
			if !has("aof_last_bgrewrite_status:ok") {
				return &engine.ActionError{Code: engine.CodeFailed, Detail: "the scratch server could not write its append-only log: " + s.lastLine(), Fix: "make room on that disk"}
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return &engine.ActionError{Code: engine.CodeFailed, Detail: "the scratch server ended: " + s.lastLine()}
		case <-ctx.Done():
			return targetError(ctx.Err())
		}
	}
}

// aofDir is where servers keep their append-only log from version 7 on.
const aofDir = "appendonlydir"

// isData tells the files that hold a server's data.
func isData(name string) bool {
	return strings.HasSuffix(name, ".rdb") || strings.HasSuffix(name, ".aof") || name == aofDir
}

// restoreSwap moves the old data out and the new data in. It may be repeated
// from any point: what was moved is where it belongs.
func restoreSwap(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	r, err := restoringOf(a, o)
	if err != nil {
		return nil, err
	}
	if err := r.stopped(a); err != nil {
		return nil, err
	}
	values := map[string]string{"kept": r.kept()}
	if _, err := os.Stat(r.fresh()); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(r.kept(), swapped)); err != nil {
			return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "no data was prepared for this operation"}
		}
		values[engine.ValueAlreadyDone] = "true"
		return values, nil
	}
	if err := os.Mkdir(r.kept(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the directory that keeps the old data: %w", err)
	}
	mark := filepath.Join(r.kept(), swapped)
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		if err := moveData(r.in.Dir, r.kept()); err != nil {
			return nil, err
		}
		if err := identity.WriteFile(mark, []byte(r.operation+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	if err := moveData(r.fresh(), r.in.Dir); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(r.fresh()); err != nil {
		return nil, fmt.Errorf("remove the emptied directory: %w", err)
	}
	return values, nil
}

// restoreBack moves the new data out again and the old data in.
func restoreBack(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	r, err := restoringOf(a, o)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(r.kept()); errors.Is(err, fs.ErrNotExist) {
		return map[string]string{engine.ValueAlreadyDone: "true"}, nil
	}
	if err := r.stopped(a); err != nil {
		return nil, err
	}
	mark := filepath.Join(r.kept(), swapped)
	if _, err := os.Stat(mark); err == nil { // all old data is out: what is in is new
		if err := os.MkdirAll(r.fresh(), 0o700); err != nil {
			return nil, err
		}
		if err := moveData(r.in.Dir, r.fresh()); err != nil {
			return nil, err
		}
		if err := os.Remove(mark); err != nil {
			return nil, err
		}
	}
	if err := moveData(r.kept(), r.in.Dir); err != nil {
		return nil, err
	}
	return nil, os.Remove(r.kept())
}

// moveData renames every piece of data from one directory into another and
// makes both durable.
func moveData(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("move data: %w", err)
	}
	for _, e := range entries {
		if !isData(e.Name()) {
			continue
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return fmt.Errorf("move data: %w", err)
		}
	}
	for _, dir := range []string{to, from} {
		d, err := os.Open(dir)
		if err != nil {
			return fmt.Errorf("move data: %w", err)
		}
		err = d.Sync()
		d.Close()
		if err != nil {
			return fmt.Errorf("move data: %w", err)
		}
	}
	return nil
}

func restoreStop(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	r, err := restoringOf(a, o)
	if err != nil {
		return nil, err
	}
	return nil, a.super.Stop(ctx, r.in.Process, 0, false)
}

func restoreStart(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	r, err := restoringOf(a, o)
	if err != nil {
		return nil, err
	}
	if a.leases.returning(r.in.Process) {
		return nil, nil // started with the next grant
	}
	_, _, err = a.super.Resume(r.in.Process, nil)
	return nil, err
}

func restoreDiscard(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	r, err := restoringOf(a, o)
	if err != nil {
		return nil, err
	}
	a.jobs.stop(o.Action.Arg("id"))
	return nil, os.RemoveAll(r.fresh())
}
