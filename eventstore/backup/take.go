package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/platform/vfs"
)

// Source is a running node; *node.Node is one.
type Source interface {
	// Snapshot returns the log up to what the node has applied.
	Snapshot() (*log.Snapshot, error)
	View() membership.View
}

// Options say how a backup is taken.
type Options struct {
	// FS is where the backup is kept; nil: the operating system's files.
	FS vfs.FS
	// Link, if not nil, makes a second name for a file that does not change any
	// more, as os.Link does. Where it fails, files are copied.
	Link func(oldname, newname string) error
	// BytesPerSecond bounds how fast the log is read; 0: not bounded.
	BytesPerSecond int64
	// Version of the program, for the manifest.
	Version string
	// Progress, if not nil, is told how far the work is.
	Progress func(Progress)
	// Now is the clock; nil: time.Now.
	Now func() time.Time

	noteEvery int // 0: noteEvery
}

// Progress is how far a backup is.
type Progress struct {
	Position uint64 `json:"position,string"` // what the backup will reach
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"` // of the log, of all files
	// Done counts files that are stored, of which Kept were there before and
	// Linked share their bytes with the node's log.
	Done      int   `json:"filesDone"`
	Kept      int   `json:"filesKept"`
	Linked    int   `json:"filesLinked"`
	DoneBytes int64 `json:"bytesDone"`
	// Checking is set while the new files are read back.
	Checking bool `json:"checking"`
}

// partial is what an interrupted backup leaves for the next.
type partial struct {
	ClusterID string `json:"clusterId"`
	Files     []File `json:"files"`
}

// Take backs the log of a running node up into a directory, or brings the
// backup there up to date. It returns the manifest once that is durable.
// Appends on the node go on meanwhile. Refusals are *membership.Refusal; after
// any error the directory holds the backup that it held before.
func Take(ctx context.Context, source Source, dir string, o Options) (*Manifest, error) {
	t := &taking{Options: o, dir: dir, noted: -1, known: make(map[string]File), proven: make(map[string]bool)}
	if t.FS == nil {
		t.FS = vfs.OS()
	}
	if t.Now == nil {
		t.Now = time.Now
	}
	if t.noteEvery == 0 {
		t.noteEvery = noteEvery
	}
	if err := vfs.MkdirAllSync(t.FS, path.Join(dir, segmentsName), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the backup: %w", err)
	}
	lock, err := t.FS.Lock(path.Join(dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, &membership.Refusal{Code: CodeBusy, Title: "A backup is being taken into this directory", Detail: err.Error(), Fix: "Wait until it is done.", Retry: true}
	}
	if err != nil {
		return nil, fmt.Errorf("lock the directory of the backup: %w", err)
	}
	defer lock.Close()
	m, err := t.run(ctx, source)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// taking is one backup on its way.
type taking struct {
	Options
	dir string
	// known are the files in the directory by name in the log, those of the
	// interrupted attempt before those of the backup there; proven are the stored
	// names of the latter, whose frames have been checked.
	known    map[string]File
	proven   map[string]bool
	progress Progress
	partial  partial
	began    time.Time
	read     int64 // bytes, for the bound
	noted    int   // files that partial.json tells of, -1 before it is written
}

// noteEvery is after how many files partial.json is written again. What was
// stored since is stored once more by the next attempt.
const noteEvery = 16

func (t *taking) run(ctx context.Context, source Source) (*Manifest, error) {
	before, err := readManifest(t.FS, t.dir)
	if err != nil {
		return nil, err
	}
	if err := t.learn(before); err != nil {
		return nil, err
	}
	t.began = t.Now()
	snapshot, err := source.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	m := t.describe(source.View(), snapshot)
	if m.ClusterID == "" {
		return nil, &membership.Refusal{Code: membership.CodeNotFormed, Title: "This node belongs to no cluster yet", Detail: "It holds nothing to back up.", Fix: "Wait until it serves.", Retry: true}
	}
	if before != nil {
		if refusal := follows(before, m, t.dir); refusal != nil {
			return nil, refusal
		}
	}
	if err := t.store(ctx, m, snapshot); err != nil {
		return nil, err
	}
	if err := t.check(ctx, m); err != nil {
		return nil, err
	}
	m.CompletedAt = t.Now().UTC()
	data, err := seal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	if _, err := DecodeManifest(data); err != nil {
		panic(fmt.Sprintf("backup: a manifest that will not be read: %v", err))
	}
	if err := vfs.WriteFileAtomic(t.FS, path.Join(t.dir, manifestName), data, 0o600); err != nil {
		return nil, fmt.Errorf("write the manifest: %w", err)
	}
	return m, t.tidy(m)
}

// learn reads what the directory holds.
func (t *taking) learn(before *Manifest) error {
	if before != nil {
		for _, f := range before.Files {
			t.known[f.Name], t.proven[f.stored()] = f, true
		}
	}
	data, err := vfs.ReadFile(t.FS, path.Join(t.dir, partialName))
	switch {
	case err == nil:
		var p partial
		if unseal(data, &p) == nil && (before == nil || before.ClusterID == p.ClusterID) {
			for _, f := range p.Files {
				if f.check() == nil {
					t.known[f.Name] = f
				}
			}
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read what an interrupted backup left: %w", err)
	case before != nil:
		return nil
	}
	names, err := t.FS.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("look into the directory of the backup: %w", err)
	}
	for _, name := range names {
		if name != segmentsName && name != lockName && !strings.HasSuffix(name, ".tmp") {
			return &membership.Refusal{Code: CodeDirectory, Title: "The directory holds something else",
				Detail: fmt.Sprintf("%s contains %.80q and no backup.", t.dir, name), Fix: "Choose an empty directory, or one that holds a backup of this cluster."}
		}
	}
	return nil
}

func (t *taking) describe(view membership.View, s *log.Snapshot) *Manifest {
	m := &Manifest{
		Format: Format, Version: t.Version, TakenAt: t.began.UTC(), ClusterID: view.ClusterID, ClusterName: view.ClusterName, ClusterSize: view.ClusterSize,
		Position: s.Position, Index: s.Index, Term: s.Term, SegmentBytes: s.SegmentBytes,
		Node: Origin{ID: view.Self},
	}
	for i := range view.Members {
		m.Members = append(m.Members, view.Members[i].Name)
		if view.Members[i].ID == view.Self {
			m.Node.Name, m.Node.Role = view.Members[i].Name, view.Members[i].Role
		}
	}
	return m
}

// follows refuses to put a backup in the place of one that it does not contain.
func follows(before, next *Manifest, dir string) *membership.Refusal {
	switch {
	case before.ClusterID != next.ClusterID:
		return &membership.Refusal{Code: CodeOtherCluster, Title: "The directory holds a backup of another cluster",
			Detail: fmt.Sprintf("%s is of cluster %s (%s); this node belongs to %s.", dir, before.ClusterID, before.ClusterName, next.ClusterID), Fix: "Choose another directory."}
	case before.Position > next.Position:
		return &membership.Refusal{Code: CodeOlder, Title: "The directory holds a later backup", Retry: true,
			Detail: fmt.Sprintf("%s reaches position %d; this node has applied %d.", dir, before.Position, next.Position),
			Fix:    "Wait until this node has caught up, or take the backup on another one."}
	case before.SegmentBytes != next.SegmentBytes:
		return &membership.Refusal{Code: CodeDirectory, Title: "The directory holds segments of another size",
			Detail: fmt.Sprintf("%d there, %d here.", before.SegmentBytes, next.SegmentBytes), Fix: "Choose another directory."}
	}
	return nil
}

// store puts every file of the snapshot into the directory, durably.
func (t *taking) store(ctx context.Context, m *Manifest, s *log.Snapshot) error {
	t.partial = partial{ClusterID: m.ClusterID}
	t.progress = Progress{Position: m.Position, Files: len(s.Files), Bytes: int64(m.Position)}
	t.tell()
	if err := t.FS.SyncDir(t.dir); err != nil {
		return fmt.Errorf("sync the directory of the backup: %w", err)
	}
	for i := range s.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := t.storeFile(ctx, s, i)
		if err != nil {
			return fmt.Errorf("back up segment %s: %w", s.Files[i].Name, err)
		}
		m.Files = append(m.Files, f)
		t.partial.Files = append(t.partial.Files, f)
		t.progress.Done++
		t.progress.DoneBytes = int64(f.End)
		t.tell()
	}
	if err := t.FS.SyncDir(path.Join(t.dir, segmentsName)); err != nil {
		return fmt.Errorf("sync the files of the backup: %w", err)
	}
	return nil
}

func (t *taking) tell() {
	if t.Progress != nil {
		t.Progress(t.progress)
	}
}

func (t *taking) storeFile(ctx context.Context, s *log.Snapshot, i int) (File, error) {
	from := &s.Files[i]
	source, size, changed, done, err := s.Open(i)
	if err != nil {
		return File{}, err
	}
	defer done()
	f := File{Name: from.Name, Base: from.Base, End: from.End, FirstIndex: from.FirstIndex, Bytes: size, Whole: from.Whole}
	if from.Whole && !changed.IsZero() {
		f.Changed = changed.UnixNano()
	}
	if have, ok := t.known[f.Name]; ok && f.Changed != 0 && have.same(&f) && t.holds(&have) {
		t.progress.Kept++
		return have, nil
	}
	if err := t.note(); err != nil {
		return File{}, err
	}
	if from.Fixed && t.Link != nil {
		linked, err := t.link(ctx, from.Path, &f)
		if err != nil {
			return File{}, err
		}
		if linked {
			t.progress.Linked++
			return f, nil
		}
		t.Link = nil // the next would fail alike
	}
	return f, t.copyFile(ctx, source, &f)
}

// same reports whether two descriptions are of one content, for all that is
// known without reading it.
func (f *File) same(o *File) bool {
	return f.Base == o.Base && f.End == o.End && f.Bytes == o.Bytes && f.Whole && o.Whole && f.Changed == o.Changed
}

// holds reports whether a stored file is there in its size.
func (t *taking) holds(f *File) bool {
	info, err := t.FS.Stat(path.Join(t.dir, f.stored()))
	return err == nil && info.Size() == f.Bytes
}

// note keeps what is stored so far for an attempt after this one, now and then.
// The names of the files it tells of must be durable before it.
func (t *taking) note() error {
	if t.noted >= 0 && len(t.partial.Files)-t.noted < t.noteEvery {
		return nil
	}
	t.noted = len(t.partial.Files)
	data, err := seal(&t.partial)
	if err != nil {
		return fmt.Errorf("encode what is there: %w", err)
	}
	if err := t.FS.SyncDir(path.Join(t.dir, segmentsName)); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(t.FS, path.Join(t.dir, partialName), data, 0o600)
}

// link gives the file of a segment a name in the backup. false: it cannot.
func (t *taking) link(ctx context.Context, source string, f *File) (bool, error) {
	tmp := path.Join(t.dir, copyName)
	if err := t.FS.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if t.Link(source, tmp) != nil {
		return false, nil
	}
	file, err := t.FS.OpenFile(tmp, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer file.Close()
	// The name may have led to a later file than the one that was looked at.
	if f.Bytes, err = log.SegmentFileBytes(file, f.Base, f.End); err != nil {
		return false, err
	}
	if size, err := file.Size(); err != nil || size != f.Bytes {
		return false, err
	}
	hash := sha256.New()
	if err := t.pour(ctx, io.NewSectionReader(file, 0, f.Bytes), hash); err != nil {
		return false, err
	}
	f.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return true, t.FS.Rename(tmp, path.Join(t.dir, f.stored()))
}

// copyFile copies the first f.Bytes bytes of a segment's file.
func (t *taking) copyFile(ctx context.Context, source io.ReaderAt, f *File) (err error) {
	tmp := path.Join(t.dir, copyName)
	out, err := t.FS.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if out != nil {
			err = errors.Join(err, out.Close())
		}
	}()
	hash := sha256.New()
	if err := t.pour(ctx, io.NewSectionReader(source, 0, f.Bytes), io.MultiWriter(hash, io.NewOffsetWriter(out, 0))); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	err = out.Close()
	out = nil
	if err != nil {
		return err
	}
	f.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return t.FS.Rename(tmp, path.Join(t.dir, f.stored()))
}

// pour copies everything, in pieces, within the bound on the rate.
func (t *taking) pour(ctx context.Context, from io.Reader, to io.Writer) error {
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return werr
			}
			t.progress.DoneBytes += int64(n)
			t.tell()
			if terr := t.throttle(ctx, n); terr != nil {
				return terr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// throttle waits until n more bytes are within the bound.
func (t *taking) throttle(ctx context.Context, n int) error {
	t.read += int64(n)
	if t.BytesPerSecond <= 0 {
		return nil
	}
	due := time.Duration(float64(t.read) / float64(t.BytesPerSecond) * float64(time.Second))
	wait := due - t.Now().Sub(t.began)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check reads back every file that no earlier backup has proven: the log
// itself reads them, and each frame's checksum.
func (t *taking) check(ctx context.Context, m *Manifest) error {
	from := m.Position
	for i := range m.Files {
		if !t.proven[m.Files[i].stored()] {
			from = m.Files[i].Base
			break
		}
	}
	t.progress.Checking = true
	t.tell()
	err := t.scan(ctx, m, from)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// What was copied is not to be taken for good by the next attempt.
	if rerr := t.FS.Remove(path.Join(t.dir, partialName)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	if corrupt, ok := errors.AsType[*log.CorruptionError](err); ok {
		return &membership.Refusal{Code: CodeDamaged, Title: "What was read from this node's log is damaged",
			Detail: fmt.Sprintf("Position %d: %s. No backup was made.", corrupt.Pos, corrupt.Reason),
			Fix:    "Take the backup on another node. Look at this node's disk; if the log is damaged there, wipe the data directory and let the node join again."}
	}
	return err
}

func (t *taking) scan(ctx context.Context, m *Manifest, from uint64) error {
	l, err := OpenLog(t.FS, t.dir, m)
	if err != nil {
		return fmt.Errorf("read the backup back: %w", err)
	}
	defer l.Close()
	if l.End() != m.Position {
		return fmt.Errorf("read the backup back: it ends at %d, not at %d", l.End(), m.Position)
	}
	scanner := l.Scan(from)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		frame, err := scanner.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read the backup back: %w", err)
		}
		if frame.End() == m.Position && (frame.Index != m.Index || frame.Term != m.Term) {
			return fmt.Errorf("read the backup back: it ends with entry %d of term %d, not %d of term %d", frame.Index, frame.Term, m.Index, m.Term)
		}
	}
	return nil
}

// tidy removes what the backup does not need. It is complete already: what
// cannot be removed is removed by the next.
func (t *taking) tidy(m *Manifest) error {
	keep := make(map[string]bool, len(m.Files))
	for i := range m.Files {
		keep[path.Base(m.Files[i].stored())] = true
	}
	dir := path.Join(t.dir, segmentsName)
	names, err := t.FS.ReadDir(dir)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	for _, name := range names {
		if storedPattern.MatchString(name) && !keep[name] {
			_ = t.FS.Remove(path.Join(dir, name))
		}
	}
	_ = t.FS.Remove(path.Join(t.dir, partialName))
	_ = t.FS.Remove(path.Join(t.dir, copyName))
	_ = t.FS.SyncDir(t.dir)
	return nil
}
