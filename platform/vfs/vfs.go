// Package vfs is the only way Baton touches files: a small file system
// interface with an implementation on the operating system (OS), a
// deterministic one in memory that can lose power (Mem), and a wrapper that
// injects errors (Fault).
//
// The three pass one conformance suite. Code that must survive a power cut is
// tested on Mem, where everything that was not synced can be lost or torn.
//
// Durability rules the callers rely on, and Mem enforces:
//   - data is durable after File.Sync, or at the return of WriteAt on a file
//     opened with O_DSYNC;
//   - a created, renamed or removed name is durable after SyncDir on the
//     directory that holds it, and not before;
//   - an un-synced write may survive in part: any subset of its 512-byte
//     sectors, each sector wholly old or wholly new.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// O_DSYNC, given to OpenFile, makes each WriteAt return only after its data,
// and the metadata needed to read it back, is durable.
const O_DSYNC = unix.O_DSYNC //nolint:revive // named as the flag of the operating system

// SectorBytes is the unit that storage writes atomically. A sector hit by a
// power cut holds its old or its new content, never a mixture.
const SectorBytes = 512

// ErrLocked is wrapped by the error of FS.Lock when another holder has it.
var ErrLocked = errors.New("already locked")

// File is an open file. Methods are safe for concurrent use; overlapping
// concurrent writes have no defined order.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes all data written to the file durable. After an error the
	// state of the data is unknown and the caller must not go on.
	Sync() error
	// Size returns the length in bytes.
	Size() (int64, error)
	// Truncate sets the length; a longer one is filled with zeros.
	Truncate(size int64) error
}

// FS is a file system. Names are slash-separated paths. Errors for missing or
// existing names satisfy errors.Is with fs.ErrNotExist and fs.ErrExist.
type FS interface {
	// OpenFile opens a regular file. Flags as in os.OpenFile, plus O_DSYNC;
	// O_APPEND is not supported.
	OpenFile(name string, flag int, perm os.FileMode) (File, error)
	MkdirAll(dir string, perm os.FileMode) error
	// ReadDir returns the names in dir, sorted.
	ReadDir(dir string) ([]string, error)
	Remove(name string) error
	RemoveAll(name string) error
	// Rename replaces new atomically if it exists.
	Rename(old, new string) error
	Stat(name string) (os.FileInfo, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on a file, creating it if needed, until
	// the Closer is closed or the process ends. It does not wait: the error
	// wraps ErrLocked and names the holder if known.
	Lock(name string) (io.Closer, error)
}

// ReadFile returns the whole content of a file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return data[:n], nil
}

// WriteFileAtomic replaces the content of a file so that a crash leaves either
// the old or the new content, and makes it durable. It uses the name with
// ".tmp" appended on the way; one writer at a time per name.
func WriteFileAtomic(fsys FS, name string, data []byte, perm os.FileMode) error {
	tmp := name + ".tmp"
	f, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// MkdirAllSync creates dir with its parents and makes each new name durable.
func MkdirAllSync(fsys FS, dir string, perm os.FileMode) error {
	var missing []string // deepest first
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		info, err := fsys.Stat(d)
		if err == nil {
			if !info.IsDir() {
				return fmt.Errorf("create directory %s: %s is a file", dir, d)
			}
			break
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		missing = append(missing, d)
		if d == filepath.Dir(d) {
			break
		}
	}
	if err := fsys.MkdirAll(dir, perm); err != nil {
		return err
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := fsys.SyncDir(filepath.Dir(missing[i])); err != nil {
			return err
		}
	}
	return nil
}
