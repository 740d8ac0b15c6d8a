package vfs

import (
	"io"
	"io/fs"
	"os"
)

const memPageBytes = 4096

type memPage [memPageBytes]byte

var zeroPage memPage

// memData is the content of a file. A nil page reads as zeros. Bytes at and
// after size are zero.
type memData struct {
	size  int64
	pages []*memPage
}

// dataOp is one change of a file's content since its last sync.
type dataOp struct {
	off      int64
	data     []byte // nil: zeros of length zeros
	zeros    int64
	truncate bool // set the length to off
	synced   bool // written through O_DSYNC: survives every crash
}

type memFile struct {
	m      *Mem
	n      *memNode
	name   string
	flag   int
	closed bool
}

// check returns the error of an operation on a handle that cannot do it.
func (f *memFile) check(op string, write bool) error {
	switch {
	case f.m.cut:
		return ErrPowerCut
	case f.closed:
		return pathError(op, f.name, fs.ErrClosed)
	case write && f.flag&(os.O_WRONLY|os.O_RDWR) == 0,
		!write && op == "read" && f.flag&os.O_WRONLY != 0:
		return pathError(op, f.name, fs.ErrPermission)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	n := f.n.data.read(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("write", f.name, fs.ErrInvalid)
	}
	last, err := f.m.mutate()
	if err != nil {
		return 0, err
	}
	n := f.n
	synced := f.flag&O_DSYNC != 0 && !last
	if synced && len(n.pendingData) == 0 {
		n.writeDurable(p, off)
		return len(p), nil
	}
	n.data.write(p, off, &n.durableData)
	op := dataOp{off: off, synced: synced}
	if allZero(p) {
		op.zeros = int64(len(p))
	} else {
		op.data = append([]byte(nil), p...)
	}
	n.pendingData = append(n.pendingData, op)
	if last {
		return 0, ErrPowerCut
	}
	return len(p), nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("sync", false); err != nil {
		return err
	}
	last, err := f.m.mutate()
	if err != nil {
		return err
	}
	if last {
		return ErrPowerCut
	}
	n := f.n
	if len(n.pendingData) > 0 {
		n.durableData.size = n.data.size
		n.durableData.pages = append(n.durableData.pages[:0], n.data.pages...)
		n.pendingData = nil
	}
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("stat", false); err != nil {
		return 0, err
	}
	return f.n.data.size, nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return pathError("truncate", f.name, fs.ErrInvalid)
	}
	return f.truncate(size)
}

func (f *memFile) truncate(size int64) error {
	last, err := f.m.mutate()
	if err != nil {
		return err
	}
	f.n.data.resize(size, &f.n.durableData)
	f.n.pendingData = append(f.n.pendingData, dataOp{off: size, truncate: true})
	return outcome(last)
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

// writeDurable writes to both states at once. Both hold the same content,
// because nothing is pending; afterwards they share the pages written.
func (n *memNode) writeDurable(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	n.data.write(p, off, nil)
	d := &n.durableData
	d.size = n.data.size
	last := int((off + int64(len(p)) - 1) / memPageBytes)
	for i := int(off / memPageBytes); i <= last && i < len(n.data.pages); i++ {
		for i >= len(d.pages) {
			d.pages = append(d.pages, nil)
		}
		d.pages[i] = n.data.pages[i]
	}
}

func (d *memData) read(p []byte, off int64) int {
	if off >= d.size {
		return 0
	}
	p = p[:min(int64(len(p)), d.size-off)]
	for done := 0; done < len(p); {
		at := off + int64(done)
		page, in := int(at/memPageBytes), int(at%memPageBytes)
		src := &zeroPage
		if page < len(d.pages) && d.pages[page] != nil {
			src = d.pages[page]
		}
		done += copy(p[done:], src[in:])
	}
	return len(p)
}

// write copies p to off. Pages that shared (the durable state, or nil) also
// holds are copied first.
func (d *memData) write(p []byte, off int64, shared *memData) {
	d.size = max(d.size, off+int64(len(p)))
	for done := 0; done < len(p); {
		at := off + int64(done)
		page, in := int(at/memPageBytes), int(at%memPageBytes)
		n := min(len(p)-done, memPageBytes-in)
		chunk := p[done : done+n]
		done += n
		if (page >= len(d.pages) || d.pages[page] == nil) && allZero(chunk) {
			continue
		}
		copy(d.own(page, shared)[in:], chunk)
	}
}

// own returns a page that may be written without changing shared.
func (d *memData) own(page int, shared *memData) *memPage {
	for page >= len(d.pages) {
		d.pages = append(d.pages, nil)
	}
	p := d.pages[page]
	switch {
	case p == nil:
		p = new(memPage)
	case shared != nil && page < len(shared.pages) && shared.pages[page] == p:
		c := *p
		p = &c
	}
	d.pages[page] = p
	return p
}

func (d *memData) resize(size int64, shared *memData) {
	if size < d.size {
		keep := int((size + memPageBytes - 1) / memPageBytes)
		if keep < len(d.pages) {
			d.pages = append([]*memPage(nil), d.pages[:keep]...)
		}
		if in := size % memPageBytes; in != 0 && keep <= len(d.pages) && d.pages[keep-1] != nil {
			clear(d.own(keep-1, shared)[in:])
		}
	}
	d.size = size
}

func allZero(p []byte) bool {
	for len(p) >= memPageBytes {
		if memPage(p) != zeroPage {
			return false
		}
		p = p[memPageBytes:]
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
