package backup

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"baton/eventstore/log"
	"baton/platform/vfs"
)

// view shows the files of a backup as the directory of a log, so that the log
// itself reads them. What the log changes when it is opened (its end mark,
// zeros, a rewritten segment) stays in memory: a backup is never changed by
// being looked at. One goroutine uses it.
type view struct {
	fs    vfs.FS
	root  string // of the backup
	files map[string]*viewed
}

// viewed is a name in a view.
type viewed struct {
	from *File     // nil for a file made in the view
	made *viewFile // of such a file; all handles share it
}

// viewDir is the log's directory inside a view.
const viewDir = "log"

func newView(fsys vfs.FS, root string, files []File) *view {
	v := &view{fs: fsys, root: root, files: make(map[string]*viewed, len(files))}
	for i := range files {
		v.files[files[i].Name] = &viewed{from: &files[i]}
	}
	return v
}

// OpenLog opens the log that a backup holds. It may be written to; that changes
// the log in memory and not the backup. Its frames are checked when they are
// read, the files' hashes are not. Close it after use; one goroutine uses it.
func OpenLog(fsys vfs.FS, dir string, m *Manifest) (*log.Log, error) {
	return log.Open(log.Options{FS: newView(fsys, dir, m.Files), Dir: viewDir, SegmentBytes: m.SegmentBytes, CacheBytes: 1})
}

func notThere(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

// OpenFile opens a segment, or a file made before, or makes one in memory.
func (v *view) OpenFile(name string, flag int, _ os.FileMode) (vfs.File, error) {
	at := v.files[path.Base(name)]
	if at == nil {
		if flag&os.O_CREATE == 0 {
			return nil, notThere("open", name)
		}
		at = &viewed{made: &viewFile{pages: make(map[int64][]byte)}}
		v.files[path.Base(name)] = at
	}
	if at.made == nil {
		base, err := v.fs.OpenFile(path.Join(v.root, at.from.stored()), os.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		return &viewFile{base: base, baseSize: at.from.Bytes, size: at.from.Bytes, pages: make(map[int64][]byte)}, nil
	}
	if flag&os.O_TRUNC != 0 {
		_ = at.made.Truncate(0)
	}
	return at.made, nil
}

// MkdirAll does nothing: the directory is there.
func (v *view) MkdirAll(string, os.FileMode) error { return nil }

// ReadDir lists the files.
func (v *view) ReadDir(string) ([]string, error) { return slices.Sorted(maps.Keys(v.files)), nil }

// Remove takes a file out of the view.
func (v *view) Remove(name string) error {
	if v.files[path.Base(name)] == nil {
		return notThere("remove", name)
	}
	delete(v.files, path.Base(name))
	return nil
}

// RemoveAll is Remove: there is one directory.
func (v *view) RemoveAll(name string) error {
	delete(v.files, path.Base(name))
	return nil
}

// Rename gives a file of the view another name.
func (v *view) Rename(old, name string) error {
	at := v.files[path.Base(old)]
	if at == nil {
		return notThere("rename", old)
	}
	delete(v.files, path.Base(old))
	v.files[path.Base(name)] = at
	return nil
}

// Stat knows the directory and the backup's files.
func (v *view) Stat(name string) (os.FileInfo, error) {
	if at := v.files[path.Base(name)]; at != nil && at.from != nil {
		return v.fs.Stat(path.Join(v.root, at.from.stored()))
	}
	if path.Clean(name) == viewDir {
		return v.fs.Stat(v.root)
	}
	return nil, notThere("stat", name)
}

// SyncDir does nothing.
func (v *view) SyncDir(string) error { return nil }

// Lock always succeeds: each view is its reader's own.
func (v *view) Lock(string) (io.Closer, error) { return unlocked{}, nil }

type unlocked struct{}

// Close does nothing.
func (unlocked) Close() error { return nil }

// viewFile is a file of which changes stay in memory, page by page. One
// goroutine writes, before others read.
type viewFile struct {
	base     vfs.File // nil for a file made in memory
	baseSize int64
	size     int64
	pages    map[int64][]byte // changed pages by number
}

const pageBytes = 4096

// ReadAt reads changed pages from memory, others from the file.
func (f *viewFile) ReadAt(p []byte, at int64) (int, error) {
	n := 0
	for n < len(p) {
		if at >= f.size {
			return n, io.EOF
		}
		page, in := at/pageBytes, at%pageBytes
		part := p[n:min(len(p), n+int(min(pageBytes-in, f.size-at)))]
		if data, ok := f.pages[page]; ok {
			copy(part, data[in:])
		} else {
			if len(f.pages) == 0 { // the common case in one read
				part = p[n:min(len(p), n+int(f.size-at))]
			}
			if err := f.readBase(part, at); err != nil {
				return n, err
			}
		}
		n, at = n+len(part), at+int64(len(part))
	}
	return n, nil
}

// readBase reads the file, which is followed by zeros.
func (f *viewFile) readBase(p []byte, at int64) error {
	have := max(0, min(int64(len(p)), f.baseSize-at))
	clear(p[have:])
	if have == 0 {
		return nil
	}
	_, err := f.base.ReadAt(p[:have], at)
	if err == io.EOF {
		return fmt.Errorf("the file ends before byte %d: %w", f.baseSize, io.ErrUnexpectedEOF)
	}
	return err
}

// WriteAt changes the pages in memory. Zeros beyond the file need none.
func (f *viewFile) WriteAt(p []byte, at int64) (int, error) {
	for n := 0; n < len(p); {
		page, in := (at+int64(n))/pageBytes, (at+int64(n))%pageBytes
		part := p[n:min(len(p), n+int(pageBytes-in))]
		data, ok := f.pages[page]
		if !ok && (page*pageBytes < f.baseSize || !zeros(part)) {
			data = make([]byte, pageBytes)
			if err := f.readBase(data, page*pageBytes); err != nil {
				return n, err
			}
			f.pages[page] = data
		}
		if data != nil {
			copy(data[in:], part)
		}
		n += len(part)
	}
	f.size = max(f.size, at+int64(len(p)))
	return len(p), nil
}

func zeros(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// Truncate sets the length. What is cut off reads as zeros when it grows again.
func (f *viewFile) Truncate(size int64) error {
	if size < f.size {
		f.baseSize = min(f.baseSize, size)
		for page, data := range f.pages {
			if start := page * pageBytes; start >= size {
				delete(f.pages, page)
			} else if start+pageBytes > size {
				clear(data[size-start:])
			}
		}
	}
	f.size = size
	return nil
}

// Size returns the length.
func (f *viewFile) Size() (int64, error) { return f.size, nil }

// Sync does nothing.
func (f *viewFile) Sync() error { return nil }

// Close closes the file.
func (f *viewFile) Close() error {
	if f.base == nil {
		return nil
	}
	return f.base.Close()
}
