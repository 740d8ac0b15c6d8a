package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"baton/control/backup/container"
	"baton/control/engine"

	"golang.org/x/sys/unix"
)

// storeSpare stays free on the disk that a node backs itself up to: the agent
// keeps its own state there.
const storeSpare = 64 << 20

// storeTaken is what a node's manifest says, as far as it is needed here; see
// docs/formats.md, backups of a node.
type storeTaken struct {
	Version     string    `json:"version"`
	TakenAt     time.Time `json:"takenAt"`
	ClusterID   string    `json:"clusterId"`
	ClusterSize int       `json:"clusterSize"`
	Position    string    `json:"position"`
}

// runStore has the node back its log up into a scratch directory, and keeps
// that as one file. Segments that do not change any more are linked where the
// directory is on the node's file system.
func (k *taking) runStore(ctx context.Context, j *backupJob) (map[string]string, error) {
	began := time.Now()
	scratch, err := k.a.scratchDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	dir := filepath.Join(scratch, "store")
	j.enter("the node backs its log up", 0)
	if err := k.storeSaves(ctx, j, dir); err != nil {
		return nil, err
	}
	h, err := k.knowStore(ctx, j, dir)
	if err != nil {
		return nil, err
	}
	packed, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(packStore(ctx, w, dir)) // nil closes with io.EOF
	}()
	defer func() { // before the directory is removed
		packed.Close()
		<-done
	}()
	return k.keep(ctx, j, h, packed, began)
}

// storeSaves begins the node's own backup and waits for its end. When it must
// not go on, the node is told.
func (k *taking) storeSaves(ctx context.Context, j *backupJob, dir string) (err error) {
	do := func(ctx context.Context, action string) (map[string]string, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		r, err := k.a.drivers[k.in.Engine].Do(ctx, k.in, engine.Action{Name: action, Args: map[string]string{"directory": dir}})
		return r.Values, err
	}
	if _, err := do(ctx, engine.StoreBackup); err != nil && engine.CodeOf(err) != engine.CodeUnknown {
		return err // an answer that stayed out is read back below
	}
	defer func() {
		if err == nil {
			return
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
		defer cancel()
		if _, eerr := do(end, engine.StoreBackupEnd); eerr != nil {
			k.a.log.Warn("the node could not be told to end its backup", "node", k.in.Key(), "err", eerr)
		}
	}()
	tick := time.NewTicker(savePoll)
	defer tick.Stop()
	checked := false
	for {
		v, err := do(ctx, engine.StoreBackupState)
		if err != nil {
			if ctx.Err() != nil {
				return targetError(ctx.Err())
			}
			return err
		}
		if v["directory"] != dir {
			return &engine.ActionError{Code: engine.CodeFailed, Detail: "the node was restarted, or takes another backup", Fix: "take the backup again"}
		}
		total, _ := strconv.ParseInt(v["bytes"], 10, 64)
		moved, _ := strconv.ParseInt(v["bytesDone"], 10, 64)
		j.total.Store(total)
		j.moved.Store(moved)
		switch v["state"] {
		case "done":
			return nil
		case "running":
		default:
			ae := &engine.ActionError{Code: engine.CodeFailed, Detail: fmt.Sprintf("the node's own backup ended %q: %s", v["state"], v["why"]), Fix: v["fix"]}
			if strings.Contains(v["why"], "permission denied") {
				ae.Fix = "run the node and its agent as one user: the node writes below the agent's directory"
			}
			return ae
		}
		if total > 0 && !checked {
			checked = true
			if err := k.storeRoom(filepath.Dir(dir), total); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return targetError(ctx.Err())
		}
	}
}

// storeRoom refuses a copy for which the disk would not suffice. On the node's
// own file system nearly everything is linked.
func (k *taking) storeRoom(dir string, bytes int64) error {
	var here, data unix.Stat_t
	if k.in.Dir != "" && unix.Stat(dir, &here) == nil && unix.Stat(k.in.Dir, &data) == nil && here.Dev == data.Dev {
		return nil
	}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return nil
	}
	if free := int64(st.Bavail) * st.Bsize; free < bytes+storeSpare {
		return &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("%s has %d MiB free; the log takes %d MiB", dir, free>>20, bytes>>20),
			Fix: "make room on that disk, or put the agent's directory on the node's"}
	}
	return nil
}

// knowStore reads what the node stored once: its size and hash.
func (k *taking) knowStore(ctx context.Context, j *backupJob, dir string) (container.Header, error) {
	m, err := readStoreManifest(filepath.Join(dir, storeManifest))
	if err != nil {
		return container.Header{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "the manifest that the node wrote cannot be read", Err: err,
			Fix: "run the agent as a user that may read what the node writes"}
	}
	j.enter("read what the node stored", j.total.Load())
	w := &hashing{sum: sha256.New(), j: j}
	if err := packStore(ctx, w, dir); err != nil {
		if ctx.Err() != nil {
			return container.Header{}, targetError(ctx.Err())
		}
		return container.Header{}, &engine.ActionError{Code: engine.CodeFailed, Detail: err.Error(), Err: err, Fix: "run the agent as a user that may read what the node writes"}
	}
	return container.Header{ID: k.id, Cluster: k.in.Cluster, Node: k.in.Node, Engine: k.in.Engine, EngineVersion: m.Version, Kind: container.KindStore,
		Created: m.TakenAt.UTC(), History: m.ClusterID, Offset: m.Position, Voters: m.ClusterSize, Insecure: k.in.Auth.CAFile == "",
		PlainBytes: w.n, PlainSHA256: hex.EncodeToString(w.sum.Sum(nil)), SealedKey: k.grant.SealedKey}, nil
}

// hashing counts and hashes what is written to it.
type hashing struct {
	sum interface {
		io.Writer
		Sum([]byte) []byte
	}
	n int64
	j *backupJob
}

// Write hashes.
func (h *hashing) Write(p []byte) (int, error) {
	h.n += int64(len(p))
	h.j.moved.Add(int64(len(p)))
	return h.sum.Write(p)
}

func readStoreManifest(name string) (m storeTaken, err error) {
	f, err := os.Open(name)
	if err != nil {
		return m, err
	}
	defer f.Close()
	var e struct{ Content storeTaken }
	if err := json.NewDecoder(io.LimitReader(f, maxStoreManifest)).Decode(&e); err != nil {
		return m, err
	}
	if e.Content.ClusterID == "" || e.Content.Position == "" || e.Content.TakenAt.IsZero() {
		return m, errors.New("it lacks the cluster, the position or the time")
	}
	return e.Content, nil
}

// fetchStore reads the backup of a node into the new directory dir and proves
// each byte of it.
func (f *fetching) fetchStore(ctx context.Context, j *backupJob, dir string) (container.Header, error) {
	var none container.Header
	d, in, err := f.open(ctx, container.KindStore)
	if err != nil {
		return none, err
	}
	defer in.Close()
	h := d.Header()
	if err := loadRoom(filepath.Dir(dir), &h); err != nil {
		return none, err
	}
	j.enter("read and decrypt", h.PlainBytes)
	from := &readErrors{r: j.count(d)}
	err = unpackStore(from, dir)
	if err == nil {
		_, err = io.Copy(io.Discard, from) // to the end, where the hash is compared
	}
	var disk *unpackError
	switch {
	case ctx.Err() != nil:
		return none, targetError(ctx.Err())
	case errors.As(err, &disk):
		return none, refuse("%v", disk)
	case from.err != nil:
		return none, f.damaged(from.err)
	case err != nil:
		return none, f.damaged(err)
	}
	return h, nil
}

// readErrors keeps an error of reading that is not the end, to tell it from
// what is made of the bytes.
type readErrors struct {
	r   io.Reader
	err error
}

// Read reads.
func (r *readErrors) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// storeReport is what baton says of a backup it proved or restored.
type storeReport struct {
	Position  string `json:"position"`
	Events    int64  `json:"events"`
	Streams   int64  `json:"streams"`
	ClusterID string `json:"clusterId"`
}

// verifyStore proves a backup of an event store: every file has its hash, and
// every entry is applied to an empty index as a starting node would.
func (f *fetching) verifyStore(ctx context.Context, j *backupJob) (map[string]string, error) {
	if err := f.a.hasBaton(); err != nil {
		return nil, err
	}
	scratch, err := f.a.scratchDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	began, dir := time.Now(), filepath.Join(scratch, "store")
	h, err := f.fetchStore(ctx, j, dir)
	if err != nil {
		return nil, err
	}
	fetched := time.Now()
	j.enter("apply every entry", 0)
	r, err := f.a.baton(ctx, "store", "verify", dir, "--scratch", scratch, "-o", "json")
	if err != nil {
		return nil, err
	}
	if err := f.holds(r, &h); err != nil {
		return nil, err
	}
	return map[string]string{"keys": strconv.FormatInt(r.Events, 10), "version": h.EngineVersion,
		"how":     fmt.Sprintf("every chunk and every file has its hash; every entry was applied: %d events in %d streams up to position %s", r.Events, r.Streams, r.Position),
		"fetchMs": strconv.FormatInt(fetched.Sub(began).Milliseconds(), 10), "loadMs": strconv.FormatInt(time.Since(fetched).Milliseconds(), 10)}, nil
}

// holds compares what was found with what was taken.
func (f *fetching) holds(r storeReport, h *container.Header) error {
	if r.Position == h.Offset {
		return nil
	}
	return &engine.ActionError{Code: engine.CodeFailed, Detail: fmt.Sprintf("backup %s ends at position %s; it was taken up to %s", f.id, r.Position, h.Offset),
		Fix: "do not rely on this backup; take a new one"}
}

func (a *Agent) hasBaton() error {
	if a.opt.Baton == "" {
		return &engine.ActionError{Code: engine.CodeRefused, Detail: "this agent does not know the program baton, which reads backups of event stores", Fix: "start the agent as 'baton agent'"}
	}
	return nil
}

const (
	// batonAnswer bounds what is read of its answer, batonWords of its words.
	batonAnswer, batonWords = 64 << 10, 8 << 10
	// batonRefused is its exit code when it refuses what it found.
	batonRefused = 2
)

// baton runs our own program on files of this host, behind everything else
// there, and ends it with the agent. What it refuses is engine.CodeFailed, for
// it judged the backup; any other failure is engine.CodeRefused.
func (a *Agent) baton(ctx context.Context, args ...string) (r storeReport, err error) {
	cmd := exec.CommandContext(ctx, a.opt.Baton, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	answer, words := &ending{most: batonAnswer}, &ending{most: batonWords}
	cmd.Stdout, cmd.Stderr = answer, words
	// The kernel sends the signal when the thread ends that started the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err = cmd.Start(); err == nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, cmd.Process.Pid, scratchNice)
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		return r, targetError(ctx.Err())
	}
	if err == nil {
		if err = json.Unmarshal(answer.data, &r); err == nil {
			return r, nil
		}
	}
	ae := &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("%s %s failed: %v", filepath.Base(a.opt.Baton), strings.Join(args[:2], " "), err), Err: err, Fix: "look at the agent's log"}
	said := string(words.data)
	if i := strings.LastIndex(said, "baton: "); i >= 0 {
		detail, fix, _ := strings.Cut(strings.TrimSpace(said[i+len("baton: "):]), "\n")
		ae.Detail = detail
		if fix != "" {
			ae.Fix = strings.TrimSpace(fix)
		}
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == batonRefused {
		ae.Code = engine.CodeFailed
	}
	a.log.Warn("the command did not do it", "args", args, "err", err, "said", said)
	return r, ae
}

// ending keeps the end of what is written.
type ending struct {
	data []byte
	most int
}

// Write keeps the end.
func (e *ending) Write(p []byte) (int, error) {
	e.data = append(e.data, p...)
	if len(e.data) > e.most {
		e.data = bytes.Clone(e.data[len(e.data)-e.most:])
	}
	return len(p), nil
}
