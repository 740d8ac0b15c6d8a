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
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"baton/control/backup/container"
	"baton/control/backup/grant"
	"baton/control/backup/rdb"
	"baton/control/backup/target"
	"baton/control/engine"

	"github.com/shirou/gopsutil/v4/mem"
	"golang.org/x/sys/unix"
)

const (
	// savePoll is how often a running save is looked at.
	savePoll = 100 * time.Millisecond
	// saveReserve is the share of the server's memory, in percent, that must be
	// free: pages written during the save are kept twice.
	saveReserve = 30
	// orphanAge is how old a file without a manifest must be to be removed: no
	// upload runs that long.
	orphanAge = 24 * time.Hour
)

func backupTake(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	w := a.find(o.Cluster, o.Node)
	if w == nil || o.Node == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", o.Node, o.Cluster)}
	}
	g, t, err := granted(a, o)
	if err != nil {
		return nil, err
	}
	take := &taking{a: a, in: w.in, id: o.Action.Arg("id"), primary: o.Action.Arg("primary") == "true", grant: g, target: t}
	if w.in.Engine == engine.EventStore {
		return a.startJob(o, take.runStore)
	}
	return a.startJob(o, take.run)
}

// taking is one backup being taken.
type taking struct {
	a       *Agent
	in      engine.Instance
	id      string
	primary bool
	grant   grant.Grant
	target  target.Target
}

// run saves, reads the dump twice (once to know it, once to send it) and
// writes the manifest. Whatever fails leaves nothing in the target.
func (k *taking) run(ctx context.Context, j *backupJob) (map[string]string, error) {
	began := time.Now()
	j.enter("the server writes its dump", 0)
	state, err := k.save(ctx)
	if err != nil {
		return nil, err
	}
	// The open file stays what it is when a later save replaces the name.
	f, err := os.Open(filepath.Join(state["dir"], state["file"]))
	if err != nil {
		return nil, &engine.ActionError{Code: engine.CodeFailed, Detail: "the agent cannot read the dump that the server wrote", Err: err,
			Fix: "run the agent as a user that may read " + state["dir"]}
	}
	defer f.Close()
	h, err := k.know(ctx, j, f)
	if err != nil {
		return nil, err
	}
	if h.EngineVersion == "" {
		h.EngineVersion = state["version"]
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the dump: %w", err)
	}
	return k.keep(ctx, j, h, f, began)
}

// keep encrypts what the header describes and puts it into the target, the
// manifest last. Saving it took from began until now. Values: "manifest".
func (k *taking) keep(ctx context.Context, j *backupJob, h container.Header, plain io.Reader, began time.Time) (map[string]string, error) {
	saved := time.Now()
	e, err := container.NewEncrypter(h, k.grant.Key, plain)
	if err != nil {
		return nil, err
	}
	k.removeOrphans(ctx)
	j.enter("encrypt and store", e.Size())
	m := container.Manifest{Header: e.Header(), Object: container.FileName(k.in.Cluster, k.id), Bytes: e.Size(), Host: k.a.hostName(),
		SaveMs: saved.Sub(began).Milliseconds(), Primary: k.primary}
	if err := k.store(ctx, m.Object, e.Size(), j.count(e)); err != nil {
		return nil, err
	}
	m.SendMs = time.Since(saved).Milliseconds()
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if err := k.store(ctx, container.ManifestName(k.in.Cluster, k.id), int64(len(text)), bytes.NewReader(text)); err != nil {
		return nil, err
	}
	return map[string]string{"manifest": string(text)}, nil
}

// store puts an object; on failure the whole backup is removed, also when it
// was cancelled.
func (k *taking) store(ctx context.Context, name string, size int64, r io.Reader) error {
	err := k.target.Put(ctx, name, size, r)
	if err == nil {
		return nil
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	if cerr := discard(clean, k.target, k.in.Cluster, k.id); cerr != nil {
		err = errors.Join(err, cerr)
	}
	return targetError(err)
}

// save makes the server write a dump that begins after this call, and returns
// its state then.
func (k *taking) save(ctx context.Context) (map[string]string, error) {
	d := k.a.drivers[k.in.Engine]
	do := func(action string) (map[string]string, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		r, err := d.Do(ctx, k.in, engine.Action{Name: action})
		return r.Values, err
	}
	tick := time.NewTicker(savePoll)
	defer tick.Stop()
	// A save that runs already began too early; and the time of the last one
	// is told in seconds, so ours must end in another.
	before, err := do(engine.SaveState)
	for err == nil && (before["saving"] == "true" || thisSecond(before["lastSaveUnix"])) {
		select {
		case <-tick.C:
			before, err = do(engine.SaveState)
		case <-ctx.Done():
			return nil, targetError(ctx.Err())
		}
	}
	if err != nil {
		return nil, err
	}
	if err := room(before); err != nil {
		return nil, err
	}
	if _, err := do(engine.Backup); err != nil {
		return nil, err
	}
	for {
		state, err := do(engine.SaveState)
		if err != nil {
			return nil, err
		}
		switch {
		case state["saving"] == "true":
		case state["status"] != "ok":
			return nil, &engine.ActionError{Code: engine.CodeFailed, Detail: fmt.Sprintf("the server's own save ended %q", state["status"]),
				Fix: "its log says why: a full disk, too little memory, or a directory it may not write"}
		case state["lastSaveUnix"] != before["lastSaveUnix"]:
			return state, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, targetError(ctx.Err())
		}
	}
}

// thisSecond tells whether a time in seconds is the present one: a save now
// could end in it too. The server is on this host, so the clock is one.
func thisSecond(unixSeconds string) bool {
	s, err := strconv.ParseInt(unixSeconds, 10, 64)
	return err == nil && time.Now().Unix() <= s
}

// room refuses a save for which memory or disk may not suffice.
func room(state map[string]string) error {
	used, err := strconv.ParseInt(state["usedMemoryBytes"], 10, 64)
	if err != nil {
		return &engine.ActionError{Code: engine.CodeFailed, Detail: "the server does not tell how much memory it uses"}
	}
	if m, err := mem.VirtualMemory(); err == nil {
		if need := used / 100 * saveReserve; int64(m.Available) < need {
			return &engine.ActionError{Code: engine.CodeRefused,
				Detail: fmt.Sprintf("the host has %d MiB of memory free; a save may need %d MiB, %d %% of what the server uses", m.Available>>20, need>>20, saveReserve),
				Fix:    "back up on another node, or when fewer writes come"}
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(state["dir"], &st); err == nil {
		if free := int64(st.Bavail) * st.Bsize; free < used {
			return &engine.ActionError{Code: engine.CodeRefused,
				Detail: fmt.Sprintf("%s has %d MiB free; a dump may take %d MiB", state["dir"], free>>20, used>>20), Fix: "make room on that disk"}
		}
	}
	return nil
}

// know reads the dump once: its size, hash, position and keys.
func (k *taking) know(ctx context.Context, j *backupJob, f *os.File) (container.Header, error) {
	st, err := f.Stat()
	if err != nil {
		return container.Header{}, fmt.Errorf("read the dump: %w", err)
	}
	j.enter("read the dump and count its keys", st.Size())
	hash := sha256.New()
	in := io.TeeReader(&endingReader{ctx, j.count(f)}, hash)
	sum, err := rdb.Scan(in)
	counted := err == nil
	if errors.Is(err, rdb.ErrUnknown) {
		_, err = io.Copy(io.Discard, in) // the hash is of everything
	}
	if err != nil {
		return container.Header{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "the dump that the server wrote is not good: " + err.Error(), Err: err,
			Fix: "look at the disk under its directory; try another node"}
	}
	h := container.Header{ID: k.id, Cluster: k.in.Cluster, Node: k.in.Node, Engine: k.in.Engine, EngineVersion: sum.Aux["redis-ver"], Kind: container.KindRDB,
		Created: st.ModTime().UTC(), History: sum.Aux["repl-id"], Offset: sum.Aux["repl-offset"], Counted: counted,
		PlainBytes: st.Size(), PlainSHA256: hex.EncodeToString(hash.Sum(nil)), SealedKey: k.grant.SealedKey}
	if h.EngineVersion == "" {
		h.EngineVersion = sum.Aux["valkey-ver"]
	}
	if s, err := strconv.ParseInt(sum.Aux["ctime"], 10, 64); err == nil && s > 0 {
		h.Created = time.Unix(s, 0).UTC() // when the dump's view was taken
	}
	h.UsedMemory, _ = strconv.ParseInt(sum.Aux["used-mem"], 10, 64)
	if counted {
		h.Keys = map[string]int64{}
		for db, n := range sum.Keys {
			h.Keys[strconv.Itoa(db)] = n
		}
	}
	return h, nil
}

// removeOrphans removes files without a manifest that an upload left behind
// long ago. It is a second net; what fails here is tried with the next backup.
func (k *taking) removeOrphans(ctx context.Context) {
	list, err := k.target.List(ctx, k.in.Cluster+"/")
	if err != nil {
		k.a.log.Warn("the target could not be looked through", "err", err)
		return
	}
	for _, id := range orphans(list, k.in.Cluster, time.Now()) {
		if id == k.id {
			continue
		}
		k.a.log.Info("a file that never became a backup is removed", "cluster", k.in.Cluster, "backup", id)
		if err := discard(ctx, k.target, k.in.Cluster, id); err != nil {
			k.a.log.Warn("it is not removed", "backup", id, "err", err)
		}
	}
}

// orphans are the ids of files without a manifest that are older than
// orphanAge.
func orphans(list []target.Object, cluster string, now time.Time) []string {
	have := map[string]bool{}
	for _, o := range list {
		have[o.Name] = true
	}
	var out []string
	for _, o := range list {
		id, ok := strings.CutPrefix(strings.TrimSuffix(o.Name, ".baton"), cluster+"/")
		if ok && o.Name == container.FileName(cluster, id) && container.ValidID(id) && !have[container.ManifestName(cluster, id)] && now.Sub(o.Changed) > orphanAge {
			out = append(out, id)
		}
	}
	return out
}

// hostName is what people call this host.
func (a *Agent) hostName() string { return a.opt.Named.Name }

// endingReader ends a long read with its context.
type endingReader struct {
	ctx context.Context
	r   io.Reader
}

// Read reads unless the context ended.
func (e *endingReader) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}
