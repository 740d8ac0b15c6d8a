package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/node"
	"baton/eventstore/replica"
	"baton/platform/vfs"
)

// RestoreOptions say what becomes of a backup.
type RestoreOptions struct {
	FS vfs.FS // where the backup is; nil: the operating system's files
	// ClusterName and ClusterSize are those of the new cluster; zero: as in the
	// backup. The size is how many voters it wants, the founder among them.
	ClusterName string
	ClusterSize int
	Progress    func(what string, done, of int64) // may be nil
}

// Restored is what came of it.
type Restored struct {
	Report
	ClusterID string              `json:"clusterId"` // of the new cluster
	Member    membership.MemberID `json:"member"`    // who the data directory is in it
}

// Restore makes the empty or missing directory data, of the operating system's
// files, the data directory of the founder of a new cluster that goes on from
// the backup. Every byte is proven on the way and every entry applied, as by
// Verify, and the index is left for the node. Until everything is done the
// directory holds a mark with which no node starts; Restore begins again where
// it finds that. Refusals are *membership.Refusal.
func Restore(ctx context.Context, dir, data string, o RestoreOptions) (*Restored, error) {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	began := time.Now()
	m, err := ReadManifest(o.FS, dir)
	if err != nil {
		return nil, err
	}
	if o.ClusterSize == 0 {
		o.ClusterSize = m.ClusterSize
	}
	if o.ClusterName == "" {
		o.ClusterName = m.ClusterName
	}
	if refusal := membership.CheckSize(o.ClusterSize); refusal != nil {
		return nil, refusal
	}
	r := &restoring{RestoreOptions: o, m: m, dir: dir, data: data, to: vfs.OS()}
	if err := r.begin(); err != nil {
		return nil, err
	}
	if err := r.copyLog(ctx); err != nil {
		return nil, err
	}
	done, err := r.found(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.to.Remove(path.Join(data, node.RestoringFile)); err != nil {
		return nil, fmt.Errorf("finish the restore: %w", err)
	}
	if err := r.to.SyncDir(data); err != nil {
		return nil, fmt.Errorf("finish the restore: %w", err)
	}
	done.TookMs = time.Since(began).Milliseconds()
	return done, nil
}

// restoring is one restore on its way.
type restoring struct {
	RestoreOptions
	m         *Manifest
	dir, data string
	to        vfs.FS
}

// begin marks the directory, and empties it of an earlier attempt.
func (r *restoring) begin() error {
	if err := vfs.MkdirAllSync(r.to, r.data, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	names, err := r.to.ReadDir(r.data)
	if err != nil {
		return fmt.Errorf("look into the data directory: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == node.RestoringFile+".tmp" || name == "lost+found" })
	if len(names) > 0 && !slices.Contains(names, node.RestoringFile) {
		return &membership.Refusal{Code: CodeNotEmpty, Title: "The data directory is not empty", Detail: fmt.Sprintf("%s holds %.80q.", r.data, names[0]),
			Fix: "Name an empty directory. To use this one, stop its node and move what it holds away first."}
	}
	mark := fmt.Sprintf("A restore of %s began here and is not complete. Run it again, or remove this directory.\n", r.dir)
	if err := vfs.WriteFileAtomic(r.to, path.Join(r.data, node.RestoringFile), []byte(mark), 0o600); err != nil {
		return fmt.Errorf("mark the data directory: %w", err)
	}
	for _, name := range names {
		if name != node.RestoringFile {
			if err := r.to.RemoveAll(path.Join(r.data, name)); err != nil {
				return fmt.Errorf("remove what an interrupted restore left: %w", err)
			}
		}
	}
	return r.to.SyncDir(r.data)
}

func (r *restoring) tell(what string, done, of int64) {
	if r.Progress != nil {
		r.Progress(what, done, of)
	}
}

func (r *restoring) logDir() string { return path.Join(r.data, node.LogDir) }

// copyLog copies the segments and proves them.
func (r *restoring) copyLog(ctx context.Context) error {
	if err := vfs.MkdirAllSync(r.to, r.logDir(), 0o750); err != nil {
		return fmt.Errorf("make the log's directory: %w", err)
	}
	done := int64(0)
	for i := range r.m.Files {
		f := &r.m.Files[i]
		if err := r.copyFile(ctx, f); err != nil {
			return err
		}
		done += f.Bytes
		r.tell("copy and compare with the hashes", done, r.m.Bytes())
	}
	if err := r.to.SyncDir(r.logDir()); err != nil {
		return fmt.Errorf("sync the log's directory: %w", err)
	}
	return nil
}

func (r *restoring) copyFile(ctx context.Context, f *File) (err error) {
	out, err := r.to.OpenFile(path.Join(r.logDir(), f.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return fmt.Errorf("restore segment %s: %w", f.Name, err)
	}
	err = proveFile(ctx, r.FS, r.dir, f, io.NewOffsetWriter(out, 0))
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if refusal, ok := errors.AsType[*membership.Refusal](err); ok {
		return refusal
	}
	if err != nil {
		return fmt.Errorf("restore segment %s: %w", f.Name, err)
	}
	return nil
}

// found applies the log and founds the new cluster on it.
func (r *restoring) found(ctx context.Context) (_ *Restored, err error) {
	l, err := log.Open(log.Options{FS: r.to, Dir: r.logDir(), SegmentBytes: r.m.SegmentBytes, CacheBytes: 1, LostWritesDir: path.Join(r.data, "lost-writes")})
	if err != nil {
		return nil, unreadable(r.dir, err)
	}
	s := &replica.Storage{Log: l}
	closers := []io.Closer{l}
	defer func() {
		for _, c := range slices.Backward(closers) {
			err = errors.Join(err, c.Close())
		}
	}()
	if s.State, err = log.OpenState(r.to, r.data); err != nil {
		return nil, fmt.Errorf("make term and vote: %w", err)
	}
	closers = append(closers, s.State)
	if s.Commit, err = replica.OpenCommitFile(r.to, r.data); err != nil {
		return nil, err
	}
	rows, err := index.OpenPebble(index.PebbleOptions{Dir: filepath.Join(r.data, node.IndexDir)})
	if err != nil {
		return nil, fmt.Errorf("make the index: %w", err)
	}
	closers = append(closers, rows)
	report, machine, err := replay(ctx, r.dir, r.m, s, rows, r.tell)
	if err != nil {
		return nil, err
	}
	founder, clusterID := node.NewFounder()
	err = replica.Refound(ctx, s, machine, founder, membership.FoundChange{ClusterID: clusterID, ClusterName: r.ClusterName, ClusterSize: r.ClusterSize})
	if err != nil {
		return nil, err
	}
	if err := machine.Checkpoint(); err != nil {
		return nil, err
	}
	if err := node.WriteIdentity(r.to, r.data, founder, clusterID); err != nil {
		return nil, err
	}
	return &Restored{Report: *report, ClusterID: clusterID, Member: founder.ID}, nil
}
