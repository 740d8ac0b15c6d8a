package vfs

import (
	"fmt"
	"io"
	"os"
)

// OpKind names an operation on a file or directory.
type OpKind string

// The operations a Fault hook sees.
const (
	OpOpen     OpKind = "open"
	OpRead     OpKind = "read"
	OpWrite    OpKind = "write"
	OpSync     OpKind = "sync"
	OpTruncate OpKind = "truncate"
	OpClose    OpKind = "close"
	OpMkdir    OpKind = "mkdir"
	OpReadDir  OpKind = "readdir"
	OpRemove   OpKind = "remove"
	OpRename   OpKind = "rename"
	OpStat     OpKind = "stat"
	OpSyncDir  OpKind = "syncdir"
	OpLock     OpKind = "lock"
)

// Op is one operation about to be performed.
type Op struct {
	Kind   OpKind
	Name   string
	Offset int64 // OpRead, OpWrite; the size for OpTruncate
	Len    int   // OpRead, OpWrite
	Flag   int   // OpOpen: as opened; OpWrite: flags of the handle
}

// ShortWrite, returned by a Fault hook for OpWrite, lets the first N bytes
// through and then fails with Err (io.ErrShortWrite if nil).
type ShortWrite struct {
	N   int
	Err error
}

func (s ShortWrite) Error() string { return fmt.Sprintf("short write of %d bytes: %v", s.N, s.Err) }

// Unwrap returns Err.
func (s ShortWrite) Unwrap() error { return s.Err }

// NewFault wraps inner. hook runs before each operation, on the goroutine that
// asks for it; an error is returned instead of performing the operation. The
// hook may delay. It must be safe for concurrent use if the file system is
// used so.
func NewFault(inner FS, hook func(Op) error) FS { return faultFS{inner, hook} }

type faultFS struct {
	inner FS
	hook  func(Op) error
}

type faultFile struct {
	File
	fs   faultFS
	name string
	flag int
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.hook(Op{Kind: OpRead, Name: f.name, Offset: off, Len: len(p)}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.fs.hook(Op{Kind: OpWrite, Name: f.name, Offset: off, Len: len(p), Flag: f.flag})
	if short, ok := err.(ShortWrite); ok {
		if short.Err == nil {
			short.Err = io.ErrShortWrite
		}
		n, werr := f.File.WriteAt(p[:min(short.N, len(p))], off)
		if werr != nil {
			return n, werr
		}
		return n, short
	}
	if err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultFile) Sync() error {
	if err := f.fs.hook(Op{Kind: OpSync, Name: f.name}); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fs.hook(Op{Kind: OpTruncate, Name: f.name, Offset: size}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Close() error {
	err := f.fs.hook(Op{Kind: OpClose, Name: f.name})
	if cerr := f.File.Close(); err == nil {
		err = cerr
	}
	return err
}

func (s faultFS) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	if err := s.hook(Op{Kind: OpOpen, Name: name, Flag: flag}); err != nil {
		return nil, err
	}
	f, err := s.inner.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: f, fs: s, name: name, flag: flag}, nil
}

func (s faultFS) MkdirAll(dir string, perm os.FileMode) error {
	if err := s.hook(Op{Kind: OpMkdir, Name: dir}); err != nil {
		return err
	}
	return s.inner.MkdirAll(dir, perm)
}

func (s faultFS) ReadDir(dir string) ([]string, error) {
	if err := s.hook(Op{Kind: OpReadDir, Name: dir}); err != nil {
		return nil, err
	}
	return s.inner.ReadDir(dir)
}

func (s faultFS) Remove(name string) error {
	if err := s.hook(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	return s.inner.Remove(name)
}

func (s faultFS) RemoveAll(name string) error {
	if err := s.hook(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	return s.inner.RemoveAll(name)
}

func (s faultFS) Rename(old, new string) error {
	if err := s.hook(Op{Kind: OpRename, Name: old}); err != nil {
		return err
	}
	return s.inner.Rename(old, new)
}

func (s faultFS) Stat(name string) (os.FileInfo, error) {
	if err := s.hook(Op{Kind: OpStat, Name: name}); err != nil {
		return nil, err
	}
	return s.inner.Stat(name)
}

func (s faultFS) SyncDir(dir string) error {
	if err := s.hook(Op{Kind: OpSyncDir, Name: dir}); err != nil {
		return err
	}
	return s.inner.SyncDir(dir)
}

func (s faultFS) Lock(name string) (io.Closer, error) {
	if err := s.hook(Op{Kind: OpLock, Name: name}); err != nil {
		return nil, err
	}
	return s.inner.Lock(name)
}
