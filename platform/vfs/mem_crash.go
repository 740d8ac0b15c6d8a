package vfs

import (
	"io/fs"
	"math/rand"
)

// PowerCut returns the file system as a machine finds it after losing power
// with everything un-synced lost. Locks are released.
func (m *Mem) PowerCut() *Mem { return m.restart(nil) }

// Crash is PowerCut in which a subset of the un-synced changes survives, drawn
// from rng: each name change wholly or not, each write by its sectors. The
// same rng state and history give the same result.
func (m *Mem) Crash(rng *rand.Rand) *Mem { return m.restart(rng) }

// Clone returns an independent copy as a clean stop and start would find it:
// nothing un-synced is lost (a process was killed, the machine stayed up).
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	copies := map[*memNode]*memNode{}
	var walk func(n *memNode) *memNode
	walk = func(n *memNode) *memNode {
		if n == nil || copies[n] != nil {
			return copies[n]
		}
		out := &memNode{isDir: n.isDir}
		copies[n] = out
		if !n.isDir {
			out.durableData = n.durableData.clone()
			out.data = n.data.clone()
			out.pendingData = append(out.pendingData, n.pendingData...)
			return out
		}
		out.live, out.durable = map[string]*memNode{}, map[string]*memNode{}
		for _, name := range sortedNames(n.durable) {
			out.durable[name] = walk(n.durable[name])
		}
		for _, name := range sortedNames(n.live) {
			out.live[name] = walk(n.live[name])
		}
		for _, op := range n.pendingNames {
			op.node = walk(op.node)
			out.pendingNames = append(out.pendingNames, op)
		}
		return out
	}
	c.root = walk(m.root)
	return c
}

// FlipBit inverts one bit of a file behind everybody's back, as a failing disk
// does. bit counts from the first bit of the file.
func (m *Mem) FlipBit(name string, bit int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(name)
	if n == nil || n.isDir {
		return pathError("flip", name, fs.ErrNotExist)
	}
	off := bit / 8
	if off >= n.data.size {
		return pathError("flip", name, fs.ErrInvalid)
	}
	var b [1]byte
	n.data.read(b[:], off)
	b[0] ^= 1 << (bit % 8)
	n.data.write(b[:], off, &n.durableData)
	if off < n.durableData.size {
		n.durableData.write(b[:], off, nil)
	}
	return nil
}

func (m *Mem) restart(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	// A file has one content however many names survive for it.
	copies := map[*memNode]*memNode{}
	var walk func(n *memNode) *memNode
	walk = func(n *memNode) *memNode {
		if copies[n] != nil {
			return copies[n]
		}
		if !n.isDir {
			out := &memNode{data: n.crashData(rng)}
			out.durableData = memData{size: out.data.size}
			out.durableData.pages = append(out.durableData.pages, out.data.pages...)
			copies[n] = out
			return out
		}
		out := newMemDir()
		copies[n] = out
		names := make(map[string]*memNode, len(n.durable))
		for name, child := range n.durable {
			names[name] = child
		}
		keep := chooser(rng)
		for _, op := range n.pendingNames {
			if keep() {
				op.apply(names)
			}
		}
		for _, name := range sortedNames(names) {
			child := walk(names[name])
			out.live[name], out.durable[name] = child, child
		}
		return out
	}
	c.root = walk(m.root)
	return c
}

// chooser returns a coin for one file or directory. A third of them keep
// everything, a third nothing, and a third decide change by change: mixtures
// at every scale are likelier to find a weakness than independent coins.
func chooser(rng *rand.Rand) func() bool {
	if rng == nil {
		return func() bool { return false }
	}
	switch rng.Intn(3) {
	case 0:
		return func() bool { return true }
	case 1:
		return func() bool { return false }
	default:
		return func() bool { return rng.Intn(2) == 0 }
	}
}

// crashData returns the content after a crash, sharing no page with n.
func (n *memNode) crashData(rng *rand.Rand) memData {
	d := n.durableData.clone()
	keep := chooser(rng)
	for _, op := range n.pendingData {
		switch {
		case op.truncate:
			if keep() {
				d.resize(op.off, nil)
			}
		case op.synced:
			op.applyRange(&d, op.off, op.end())
		default:
			for lo := op.off; lo < op.end(); {
				hi := min((lo/SectorBytes+1)*SectorBytes, op.end())
				if keep() {
					op.applyRange(&d, lo, hi)
				}
				lo = hi
			}
		}
	}
	return d
}

func (op dataOp) end() int64 {
	if op.data == nil {
		return op.off + op.zeros
	}
	return op.off + int64(len(op.data))
}

// applyRange writes the part of op that lies in [lo, hi).
func (op dataOp) applyRange(d *memData, lo, hi int64) {
	if op.data != nil {
		d.write(op.data[lo-op.off:hi-op.off], lo, nil)
		return
	}
	for lo < hi {
		n := min(hi-lo, memPageBytes)
		d.write(zeroPage[:n], lo, nil)
		lo += n
	}
}

func (d *memData) clone() memData {
	c := memData{size: d.size, pages: make([]*memPage, len(d.pages))}
	for i, p := range d.pages {
		if p != nil {
			q := *p
			c.pages[i] = &q
		}
	}
	return c
}
