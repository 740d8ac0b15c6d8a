package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
	"time"
)

// ErrPowerCut is returned by every operation after the one CutPowerAt chose.
var ErrPowerCut = errors.New("power is cut")

// Mem is a deterministic file system in memory that can lose power. It keeps
// two states: the live one, which readers see, and the durable one, with the
// list of changes that separate them. Crash and PowerCut build a new Mem from
// the durable state; the old one is then of no further use.
//
// Files are sparse: pages of zeros that were never written take no memory.
// All methods are safe for concurrent use. Nothing depends on map order.
type Mem struct {
	mu    sync.Mutex
	root  *memNode
	locks map[string]bool
	// cutIn counts down mutating operations; see CutPowerAt.
	cutIn int
	cut   bool
	ops   int
}

// memNode is a file or a directory.
type memNode struct {
	isDir bool

	// Directory: names now, names after a power cut that drops everything
	// un-synced, and the changes between the two in order.
	live, durable map[string]*memNode
	pendingNames  []nameOp

	// File, likewise.
	data, durableData memData
	pendingData       []dataOp
}

// nameOp is one change of a directory, lost or kept as a whole.
type nameOp struct {
	unlink string // name removed, or empty
	link   string // name set to node, or empty
	node   *memNode
}

// NewMem returns an empty file system. Its root directory always exists.
func NewMem() *Mem { return &Mem{root: newMemDir(), locks: map[string]bool{}} }

func newMemDir() *memNode {
	return &memNode{isDir: true, live: map[string]*memNode{}, durable: map[string]*memNode{}}
}

// CutPowerAt arms a power cut at the n-th mutating operation from now (1 is
// the next): that operation takes effect at most as an un-synced one and
// returns ErrPowerCut, as does everything after it. Mutating operations are
// writes, truncations, syncs, and creating, renaming, removing and syncing
// names. Call Crash or PowerCut to get the file system after the restart.
func (m *Mem) CutPowerAt(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cutIn = n
}

// Ops returns the number of mutating operations so far.
func (m *Mem) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// mutate counts one mutating operation. last reports that power fails during
// it: the caller applies it un-synced and returns ErrPowerCut.
func (m *Mem) mutate() (last bool, err error) {
	if m.cut {
		return false, ErrPowerCut
	}
	m.ops++
	if m.cutIn > 0 {
		m.cutIn--
		if m.cutIn == 0 {
			m.cut = true
			return true, nil
		}
	}
	return false, nil
}

// outcome is the result of an operation for which mutate returned last.
func outcome(last bool) error {
	if last {
		return ErrPowerCut
	}
	return nil
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func splitPath(name string) []string {
	clean := path.Clean("/" + name)
	if clean == "/" {
		return nil
	}
	return strings.Split(clean[1:], "/")
}

// find returns the node of a name, or nil.
func (m *Mem) find(name string) *memNode {
	n := m.root
	for _, part := range splitPath(name) {
		if !n.isDir || n.live[part] == nil {
			return nil
		}
		n = n.live[part]
	}
	return n
}

// parent returns the directory holding name and the last part of the name.
func (m *Mem) parent(op, name string) (*memNode, string, error) {
	parts := splitPath(name)
	if len(parts) == 0 {
		return nil, "", pathError(op, name, fs.ErrInvalid)
	}
	dir := m.find("/" + strings.Join(parts[:len(parts)-1], "/"))
	if dir == nil || !dir.isDir {
		return nil, "", pathError(op, name, fs.ErrNotExist)
	}
	return dir, parts[len(parts)-1], nil
}

func (d *memNode) change(op nameOp) {
	op.apply(d.live)
	d.pendingNames = append(d.pendingNames, op)
}

func (op nameOp) apply(names map[string]*memNode) {
	if op.unlink != "" {
		delete(names, op.unlink)
	}
	if op.link != "" {
		names[op.link] = op.node
	}
}

// OpenFile implements FS.
func (m *Mem) OpenFile(name string, flag int, _ os.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut {
		return nil, ErrPowerCut
	}
	dir, base, err := m.parent("open", name)
	if err != nil {
		return nil, err
	}
	n := dir.live[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, fs.ErrNotExist)
	case n != nil && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, pathError("open", name, fs.ErrExist)
	case n != nil && n.isDir:
		return nil, pathError("open", name, errors.New("is a directory"))
	case n == nil:
		last, err := m.mutate()
		if err != nil {
			return nil, err
		}
		n = &memNode{}
		dir.change(nameOp{link: base, node: n})
		if last {
			return nil, ErrPowerCut
		}
	}
	f := &memFile{m: m, n: n, name: name, flag: flag}
	if flag&os.O_TRUNC != 0 && n.data.size > 0 {
		if err := f.truncate(0); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string, _ os.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut {
		return ErrPowerCut
	}
	n := m.root
	for _, part := range splitPath(dir) {
		next := n.live[part]
		if next == nil {
			last, err := m.mutate()
			if err != nil {
				return err
			}
			next = newMemDir()
			n.change(nameOp{link: part, node: next})
			if last {
				return ErrPowerCut
			}
		}
		if !next.isDir {
			return pathError("mkdir", dir, errors.New("not a directory"))
		}
		n = next
	}
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut {
		return nil, ErrPowerCut
	}
	n := m.find(dir)
	if n == nil || !n.isDir {
		return nil, pathError("readdir", dir, fs.ErrNotExist)
	}
	return sortedNames(n.live), nil
}

func sortedNames(nodes map[string]*memNode) []string {
	names := make([]string, 0, len(nodes))
	for name := range nodes {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Remove implements FS.
func (m *Mem) Remove(name string) error { return m.remove(name, false) }

// RemoveAll implements FS. Removing a tree counts as one operation.
func (m *Mem) RemoveAll(name string) error {
	err := m.remove(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (m *Mem) remove(name string, all bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut {
		return ErrPowerCut
	}
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.live[base]
	if n == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if n.isDir && len(n.live) > 0 && !all {
		return pathError("remove", name, errors.New("directory not empty"))
	}
	last, err := m.mutate()
	if err != nil {
		return err
	}
	dir.change(nameOp{unlink: base})
	return outcome(last)
}

// Rename implements FS. Within one directory it is lost or kept as a whole; a
// move between directories may survive in part, as on a real disk.
func (m *Mem) Rename(old, new string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut {
		return ErrPowerCut
	}
	from, oldBase, err := m.parent("rename", old)
	if err != nil {
		return err
	}
	to, newBase, err := m.parent("rename", new)
	if err != nil {
		return err
	}
	n := from.live[oldBase]
	if n == nil {
		return pathError("rename", old, fs.ErrNotExist)
	}
	if there := to.live[newBase]; there != nil && there != n && (there.isDir || n.isDir) {
		return pathError("rename", new, fs.ErrExist)
	}
	last, err := m.mutate()
	if err != nil {
		return err
	}
	switch {
	case from == to && oldBase == newBase:
	case from == to:
		from.change(nameOp{unlink: oldBase, link: newBase, node: n})
	default:
		to.change(nameOp{link: newBase, node: n})
		from.change(nameOp{unlink: oldBase})
	}
	return outcome(last)
}

// Stat implements FS. Times are zero.
func (m *Mem) Stat(name string) (os.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut {
		return nil, ErrPowerCut
	}
	n := m.find(name)
	if n == nil {
		return nil, pathError("stat", name, fs.ErrNotExist)
	}
	return memInfo{name: path.Base(name), size: n.data.size, isDir: n.isDir}, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut {
		return ErrPowerCut
	}
	n := m.find(dir)
	if n == nil || !n.isDir {
		return pathError("syncdir", dir, fs.ErrNotExist)
	}
	last, err := m.mutate()
	if err != nil || last {
		return errors.Join(err, outcome(last))
	}
	for _, op := range n.pendingNames {
		op.apply(n.durable)
	}
	n.pendingNames = nil
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Clean("/" + name)
	if m.locks[key] {
		return nil, fmt.Errorf("lock %s: %w by this process", name, ErrLocked)
	}
	m.locks[key] = true
	return &memLock{m: m, key: key, f: f}, nil
}

type memLock struct {
	m   *Mem
	key string
	f   File
}

func (l *memLock) Close() error {
	if err := l.f.Close(); err != nil {
		return err
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.key)
	return nil
}

type memInfo struct {
	name  string
	size  int64
	isDir bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.isDir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() os.FileMode {
	if i.isDir {
		return os.ModeDir | 0o755
	}
	return 0o644
}
