package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/control/backup/container"
	"baton/control/backup/grant"
	"baton/control/backup/target"
	"baton/control/engine"

	"github.com/shirou/gopsutil/v4/mem"
	"golang.org/x/sys/unix"
)

const (
	dumpName = "dump.rdb"
	// loadReserve: a server that loads needs this share, in percent, of what
	// the saved one used.
	loadReserve = 120
	// checkOutput bounds what is kept of the checker's words.
	checkOutput = 4 << 10
)

func backupVerify(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	g, t, err := granted(a, o)
	if err != nil {
		return nil, err
	}
	f := &fetching{a: a, cluster: o.Cluster, id: o.Action.Arg("id"), grant: g, target: t}
	if o.Action.Arg("engine") == engine.EventStore {
		return a.startJob(o, f.verifyStore)
	}
	return a.startJob(o, f.verify)
}

// fetching is one backup being read.
type fetching struct {
	a           *Agent
	cluster, id string
	grant       grant.Grant
	target      target.Target
}

// verify proves that a backup can be restored by restoring it, apart from
// everything else.
func (f *fetching) verify(ctx context.Context, j *backupJob) (map[string]string, error) {
	server, checker, err := f.a.engineBinaries(f.cluster)
	if err != nil {
		return nil, err
	}
	dir, err := f.a.scratchDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	h, err := f.fetch(ctx, j, dir)
	if err != nil {
		return nil, err
	}
	fetched := time.Now()
	how := "every chunk and the hash fit"
	if checker != "" {
		j.enter("run the engine's own checker", 0)
		if err := checkDump(ctx, checker, filepath.Join(dir, dumpName)); err != nil {
			return nil, err
		}
		how += "; " + filepath.Base(checker) + " found nothing"
	}
	j.enter("load into a scratch server", 0)
	loading := time.Now()
	s, err := startScratch(server, dir, dumpName, databases(&h))
	if err != nil {
		return nil, err
	}
	defer s.end()
	keys, err := loadedKeys(ctx, s, &h)
	if err != nil {
		return nil, err
	}
	how += fmt.Sprintf("; a scratch %s loaded it: %s", filepath.Base(server), keysText(keys))
	if h.Counted {
		how += ", as many as were saved"
	}
	text, err := encodeKeys(keys)
	if err != nil {
		return nil, err
	}
	return map[string]string{"keys": strconv.FormatInt(total(keys), 10), "databases": text, "how": how, "version": h.EngineVersion,
		"fetchMs": strconv.FormatInt(fetched.Sub(began).Milliseconds(), 10), "loadMs": strconv.FormatInt(time.Since(loading).Milliseconds(), 10)}, nil
}

// loadedKeys waits until a scratch server loaded everything and compares the
// keys of each database with those that were saved.
func loadedKeys(ctx context.Context, s *scratch, h *container.Header) (map[string]int64, error) {
	if err := s.loaded(ctx); err != nil {
		return nil, err
	}
	keys, err := s.keys()
	if err != nil {
		return nil, err
	}
	if h.Counted && !maps.Equal(keys, h.Keys) {
		return nil, &engine.ActionError{Code: engine.CodeFailed, Detail: fmt.Sprintf("the scratch server loaded %s; saved were %s", keysText(keys), keysText(h.Keys)),
			Fix: "do not rely on this backup; take a new one"}
	}
	return keys, nil
}

// open opens the backup, which must hold data of this kind. The caller closes
// what it is read from.
func (f *fetching) open(ctx context.Context, kind string) (*container.Decrypter, io.Closer, error) {
	r, err := f.target.Get(ctx, container.FileName(f.cluster, f.id))
	if err != nil {
		return nil, nil, targetError(err)
	}
	d, err := container.Open(&endingReader{ctx, r})
	if err == nil {
		switch h := d.Header(); {
		case h.Cluster != f.cluster || h.ID != f.id:
			err = fmt.Errorf("the file is of %s/%s", h.Cluster, h.ID)
		case h.Kind != kind:
			err = fmt.Errorf("it holds data of kind %q, not %q", h.Kind, kind)
		default:
			err = d.SetKey(f.grant.Key)
		}
	}
	if err != nil {
		r.Close()
		return nil, nil, f.damaged(err)
	}
	return d, r, nil
}

// fetch reads the backup into dir and proves each byte of it.
func (f *fetching) fetch(ctx context.Context, j *backupJob, dir string) (container.Header, error) {
	var none container.Header
	d, in, err := f.open(ctx, container.KindRDB)
	if err != nil {
		return none, err
	}
	defer in.Close()
	h := d.Header()
	if err := loadRoom(dir, &h); err != nil {
		return none, err
	}
	j.enter("read and decrypt", h.PlainBytes)
	out, err := os.OpenFile(filepath.Join(dir, dumpName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return none, fmt.Errorf("write the dump: %w", err)
	}
	w := &writeErrors{w: out}
	_, err = io.CopyBuffer(w, j.count(d), make([]byte, container.ChunkBytes))
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	switch {
	case err == nil:
		return h, nil
	case ctx.Err() != nil:
		return none, targetError(ctx.Err())
	case w.err != nil:
		return none, fmt.Errorf("write the dump: %w", w.err)
	}
	return none, f.damaged(err)
}

type writeErrors struct {
	w   io.Writer
	err error
}

// Write keeps the error, to tell it from one of reading.
func (w *writeErrors) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

// damaged says that a backup cannot be used, naming it and the place.
func (f *fetching) damaged(err error) error {
	ae := &engine.ActionError{Code: engine.CodeFailed, Detail: fmt.Sprintf("backup %s cannot be used: %v", f.id, err), Err: err,
		Fix: "restore another backup; take a new one"}
	var d *container.DamagedError
	known := errors.As(err, &d)
	for _, e := range []error{container.ErrNotContainer, container.ErrHeader, container.ErrTruncated, container.ErrTrailing, container.ErrContent, errStoreFiles} {
		known = known || errors.Is(err, e)
	}
	if !known {
		ae.Detail, ae.Fix = fmt.Sprintf("backup %s could not be read: %v", f.id, err), "look at the target; then try again"
	}
	return ae
}

// loadRoom refuses a load for which memory or disk may not suffice.
func loadRoom(dir string, h *container.Header) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil {
		if free := int64(st.Bavail) * st.Bsize; free < h.PlainBytes+h.PlainBytes/10 {
			return &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("%s has %d MiB free; the dump takes %d MiB", dir, free>>20, h.PlainBytes>>20), Fix: "make room on that disk"}
		}
	}
	if m, err := mem.VirtualMemory(); err == nil {
		if need := h.UsedMemory / 100 * loadReserve; int64(m.Available) < need {
			return &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("the host has %d MiB of memory free; loading may take %d MiB", m.Available>>20, need>>20),
				Fix: "use another host with more memory"}
		}
	}
	return nil
}

// checkDump runs the engine's checker over a dump.
func checkDump(ctx context.Context, checker, dump string) error {
	cmd := exec.CommandContext(ctx, checker, dump)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		return targetError(ctx.Err())
	}
	if err == nil {
		return nil
	}
	text := out.Bytes()
	text = text[max(0, len(text)-checkOutput):]
	last := strings.TrimSpace(string(text))
	last = last[strings.LastIndexByte(last, '\n')+1:]
	return &engine.ActionError{Code: engine.CodeFailed, Detail: fmt.Sprintf("%s refuses the dump: %.200s", filepath.Base(checker), last), Err: err,
		Fix: "do not rely on this backup; take a new one"}
}

func databases(h *container.Header) int {
	most := 0
	for db := range h.Keys {
		n, _ := strconv.Atoi(db)
		most = max(most, n+1)
	}
	return most
}

func encodeKeys(keys map[string]int64) (string, error) {
	b, err := json.Marshal(keys)
	return string(b), err
}

func total(keys map[string]int64) int64 {
	var n int64
	for _, k := range keys {
		n += k
	}
	return n
}

// keysText says how many keys there are, by database when there are several.
func keysText(keys map[string]int64) string {
	if len(keys) <= 1 {
		return fmt.Sprintf("%d keys", total(keys))
	}
	var parts []string
	for _, db := range slices.SortedFunc(maps.Keys(keys), func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	}) {
		parts = append(parts, fmt.Sprintf("%d in database %s", keys[db], db))
	}
	return fmt.Sprintf("%d keys (%s)", total(keys), strings.Join(parts, ", "))
}
