package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"baton/eventstore/index"
	"baton/eventstore/membership"
	"baton/eventstore/replica"
	"baton/platform/vfs"
)

// VerifyOptions say how a backup is proven.
type VerifyOptions struct {
	FS vfs.FS // where the backup is; nil: the operating system's files
	// Scratch is a directory of the operating system for an index that is built
	// and removed; empty: a new one among the temporary files.
	Scratch string
	// Progress, if not nil, is told what is done with how much of the log.
	Progress func(what string, done, of int64)
}

// Report is what a verification found.
type Report struct {
	Manifest *Manifest `json:"-"`
	Position uint64    `json:"position,string"`
	Index    uint64    `json:"index,string"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	Events   uint64    `json:"events"`  // that readers see, system events included
	Streams  uint64    `json:"streams"` // with at least one event, metadata and system streams included
	TookMs   int64     `json:"tookMs"`
}

// Verify proves a backup: every file is read and compared with its hash, the
// log reads every frame, and every entry is applied to an empty index as a
// starting node would. Damage is a *membership.Refusal with CodeDamaged or
// CodeDifferent. Nothing in the backup is changed.
func Verify(ctx context.Context, dir string, o VerifyOptions) (*Report, error) {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	began := time.Now()
	m, err := ReadManifest(o.FS, dir)
	if err != nil {
		return nil, err
	}
	done := int64(0)
	for i := range m.Files {
		f := &m.Files[i]
		if err := proveFile(ctx, o.FS, dir, f, io.Discard); err != nil {
			return nil, err
		}
		done += f.Bytes
		o.tell("compare files with their hashes", done, m.Bytes())
	}
	scratch, err := os.MkdirTemp(o.Scratch, "baton-verify-")
	if err != nil {
		return nil, fmt.Errorf("make a scratch directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	rows, err := index.OpenPebble(index.PebbleOptions{Dir: filepath.Join(scratch, "index")})
	if err != nil {
		return nil, fmt.Errorf("make a scratch index: %w", err)
	}
	defer rows.Close()
	l, err := OpenLog(o.FS, dir, m)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer l.Close()
	commit, err := replica.OpenCommitFile(vfs.OS(), scratch)
	if err != nil {
		return nil, err
	}
	r, _, err := replay(ctx, dir, m, &replica.Storage{Log: l, Commit: commit}, rows, o.tell)
	if err != nil {
		return nil, err
	}
	r.TookMs = time.Since(began).Milliseconds()
	return r, nil
}

func (o *VerifyOptions) tell(what string, done, of int64) {
	if o.Progress != nil {
		o.Progress(what, done, of)
	}
}

// unreadable says that the log refuses the files of a backup, which have their
// hashes.
func unreadable(dir string, err error) error {
	return &membership.Refusal{Code: CodeDifferent, Title: "The backup cannot be read as a log", Detail: dir + ": " + err.Error(),
		Fix: "Use another backup, and report this one: its files are as they were written."}
}

// replay applies a log that holds a backup and nothing else to an empty index,
// and compares what comes out with the manifest.
func replay(ctx context.Context, dir string, m *Manifest, s *replica.Storage, rows index.Index, tell func(string, int64, int64)) (*Report, *replica.Machine, error) {
	last, err := s.Log.LastIndex()
	if err != nil {
		return nil, nil, fmt.Errorf("read the log's end: %w", err)
	}
	if s.Log.End() != m.Position || last != m.Index {
		return nil, nil, unreadable(dir, fmt.Errorf("it ends at position %d with entry %d; the manifest says %d with entry %d", s.Log.End(), last, m.Position, m.Index))
	}
	term, err := s.Log.Term(last)
	if err != nil {
		return nil, nil, fmt.Errorf("read the last term: %w", err)
	}
	counted := &counter{Index: rows}
	machine, err := replica.NewMachine(s, counted, index.NewHeads(counted, s.Log, 0), nil)
	if err != nil {
		return nil, nil, err
	}
	err = replica.Replay(ctx, s, machine, last, func(position uint64) { tell("apply every entry", int64(position), int64(m.Position)) })
	if err == nil {
		err = counted.failed
	}
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if err != nil {
		return nil, nil, unreadable(dir, err)
	}
	if id := machine.Roster().ClusterID; id != m.ClusterID || term != m.Term {
		return nil, nil, unreadable(dir, fmt.Errorf("it is the log of cluster %s and ends in term %d; the manifest says %s and %d", id, term, m.ClusterID, m.Term))
	}
	return &Report{Manifest: m, Position: m.Position, Index: last, Files: len(m.Files), Bytes: m.Bytes(), Events: counted.events, Streams: counted.streams}, machine, nil
}

// counter is an index that counts what is added.
type counter struct {
	index.Index
	events, streams uint64
	failed          error
}

// Add counts, and adds to the index.
func (c *counter) Add(rows []index.Row) {
	for i := range rows {
		c.events += uint64(rows[i].Count)
		if rows[i].First == 0 {
			c.streams++
			continue
		}
		// The first event left of a stream whose beginning was scavenged.
		_, found, err := c.Last(rows[i].Stream)
		if err != nil && c.failed == nil {
			c.failed = err
		}
		if !found {
			c.streams++
		}
	}
	c.Index.Add(rows)
}

// proveFile reads a stored file, compares size and hash, and copies it to w.
// Damage is a *membership.Refusal; w may have got bytes nevertheless.
func proveFile(ctx context.Context, fsys vfs.FS, dir string, f *File, w io.Writer) error {
	name := path.Join(dir, f.stored())
	in, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if os.IsNotExist(err) {
		return damaged(name, "it is missing")
	}
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	defer in.Close()
	size, err := in.Size()
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	if size != f.Bytes {
		return damaged(name, fmt.Sprintf("it has %d bytes, %d were stored", size, f.Bytes))
	}
	hash := sha256.New()
	from, buf := io.NewSectionReader(in, 0, size), make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.Read(buf)
		hash.Write(buf[:n])
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != f.SHA256 {
		return damaged(name, "its content does not have the hash that was stored")
	}
	return nil
}
