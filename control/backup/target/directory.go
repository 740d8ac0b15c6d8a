package target

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// directory keeps objects as files, 0600 in directories of 0700. A file is
// written under a name that begins with a dot, synced, and renamed: what bears
// its own name is whole. All access goes through an os.Root, so no link
// inside leads out of it.
type directory struct{ path string }

// spareBytes stay free on the file system: a full disk stops the database
// that may share it.
const spareBytes = 64 << 20

func newDirectory(p string) (*directory, error) {
	if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" || strings.ContainsRune(p, 0) {
		return nil, fmt.Errorf("directory %q: %w; give an absolute path without dots", p, ErrConfig)
	}
	return &directory{p}, nil
}

// root opens the directory, and makes it when its parent is there: a parent
// that is missing is more likely a mount that is missing.
func (d *directory) root(create bool) (*os.Root, error) {
	r, err := os.OpenRoot(d.path)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(d.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the directory of the target: %w", err)
		}
		r, err = os.OpenRoot(d.path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the directory of the target: %w", err)
	}
	return r, nil
}

func partial(name string) string {
	return path.Join(path.Dir(name), ".partial-"+path.Base(name)+"-")
}

// Put implements Target.
func (d *directory) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	if err := checkName(name); err != nil {
		return err
	}
	root, err := d.root(true)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := d.room(size); err != nil {
		return err
	}
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a directory in the target: %w", err)
		}
	}
	var random [6]byte
	_, _ = rand.Read(random[:])
	tmp := partial(name) + hex.EncodeToString(random[:])
	f, err := root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write to the target: %w", err)
	}
	defer func() { _ = root.Remove(tmp) }() // nothing to remove after the rename
	n, err := io.Copy(f, &contextReader{ctx, r})
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came, %d were announced", n, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		return fmt.Errorf("write %s to the target: %w", name, err)
	}
	return syncDirs(root, path.Dir(name))
}

func (d *directory) room(size int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.path, &st); err != nil {
		return fmt.Errorf("look for room in the target: %w", err)
	}
	if free := int64(st.Bavail) * st.Bsize; size > 0 && free < size+spareBytes {
		return fmt.Errorf("%s has %d MiB free, the object takes %d: %w", d.path, free>>20, size>>20, ErrFull)
	}
	return nil
}

// syncDirs makes a new name durable, with the directories that lead to it.
func syncDirs(root *os.Root, dir string) error {
	for {
		f, err := root.Open(dir)
		if err == nil {
			err = f.Sync()
			f.Close()
		}
		if err != nil {
			return fmt.Errorf("sync a directory of the target: %w", err)
		}
		if dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
}

// Get implements Target.
func (d *directory) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	root, err := d.root(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s from the target: %w", name, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{&contextReader{ctx, f}, f}, nil
}

// List implements Target.
func (d *directory) List(ctx context.Context, prefix string) ([]Object, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	root, err := d.root(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var out []Object
	err = fs.WalkDir(root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile
			}
			return err
		case e.IsDir() && p != "." && !strings.HasPrefix(p+"/", prefix) && !strings.HasPrefix(prefix, p+"/"):
			return fs.SkipDir
		case !e.Type().IsRegular() || checkName(p) != nil || !strings.HasPrefix(p, prefix) || p == healthName:
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil // removed meanwhile
		}
		out = append(out, Object{Name: p, Bytes: info.Size(), Changed: info.ModTime()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the target: %w", err)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// Delete implements Target.
func (d *directory) Delete(_ context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	root, err := d.root(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s from the target: %w", name, err)
	}
	return nil
}

// Abandon implements Target.
func (d *directory) Abandon(ctx context.Context, name string) error {
	if err := d.Delete(ctx, name); err != nil {
		return err
	}
	root, err := d.root(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), path.Dir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for what an interrupted backup left: %w", err)
	}
	for _, e := range entries {
		p := path.Join(path.Dir(name), e.Name())
		if strings.HasPrefix(p, partial(name)) {
			if err := root.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove what an interrupted backup left: %w", err)
			}
		}
	}
	return nil
}

// Health implements Target.
func (d *directory) Health(ctx context.Context) error { return checkHealth(ctx, d) }

// checkHealth writes, reads and removes a small object.
func checkHealth(ctx context.Context, t Target) error {
	want := make([]byte, 32)
	_, _ = rand.Read(want)
	if err := t.Put(ctx, healthName, int64(len(want)), bytes.NewReader(want)); err != nil {
		return err
	}
	r, err := t.Get(ctx, healthName)
	if err != nil {
		return err
	}
	_, err = io.ReadAll(io.LimitReader(r, 64)) // a check at the same time may have written another value
	r.Close()
	if err != nil {
		return fmt.Errorf("read from the target: %w", err)
	}
	return t.Delete(ctx, healthName)
}

// contextReader ends a copy when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read reads unless the context ended.
func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
