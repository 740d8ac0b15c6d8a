package index

import (
	"bytes"
	"sync"
)

// Memory is an Index without a disk, for simulation and tests. Its flush is
// immediate; [Memory.Crash] shows what a crash would leave.
type Memory struct {
	mu      sync.RWMutex
	flushed *run
	active  *run
	meta    []byte
	limit   int
}

// NewMemory returns an empty index.
func NewMemory() *Memory {
	return &Memory{flushed: newRun(0), active: newRun(0), limit: defaultFlushRows}
}

// Crash returns an index that holds what the last flush stored.
func (m *Memory) Crash() *Memory {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := NewMemory()
	c.meta, c.limit = m.meta, m.limit
	for name, l := range m.flushed.streams {
		for _, r := range l.rows {
			c.flushed.add([]Row{r.row(name)})
		}
	}
	return c
}

// Add implements Index.
func (m *Memory) Add(rows []Row) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.active.add(rows)
}

func (m *Memory) layers(stream string) layers {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return layers{m.flushed.rows(stream), m.active.rows(stream)}
}

// Last implements Index.
func (m *Memory) Last(stream string) (Row, bool, error) {
	ls := m.layers(stream)
	r, ok := ls.newest()
	return r.row(stream), ok, nil
}

// At implements Index.
func (m *Memory) At(stream string, rev int64) (Row, bool, error) { return at(m, stream, rev) }

// Next implements Index.
func (m *Memory) Next(stream string, rev int64) (Row, bool, error) { return next(m, stream, rev) }

// Prev implements Index.
func (m *Memory) Prev(stream string, rev int64) (Row, bool, error) { return prev(m, stream, rev) }

// Forward implements Index.
func (m *Memory) Forward(dst []Row, stream string, rev int64, max int) ([]Row, error) {
	ls := m.layers(stream)
	return ls.forward(dst, stream, rev, len(dst)+max), nil
}

// Backward implements Index.
func (m *Memory) Backward(dst []Row, stream string, rev int64, max int) ([]Row, error) {
	ls := m.layers(stream)
	return ls.backward(dst, stream, rev, len(dst)+max), nil
}

// ShouldFlush implements Index.
func (m *Memory) ShouldFlush() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.active.count >= m.limit
}

// FlushBehind implements Index.
func (m *Memory) FlushBehind(meta []byte) error { return m.Flush(meta) }

// Flush implements Index.
func (m *Memory) Flush(meta []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, l := range m.active.streams {
		have := m.flushed.streams[name]
		if have == nil {
			m.flushed.streams[name] = l
		} else {
			have.rows = append(have.rows, l.rows...)
		}
	}
	m.flushed.count += m.active.count
	m.active = newRun(0)
	m.meta = bytes.Clone(meta)
	return nil
}

// Prune implements Index.
func (m *Memory) Prune(rows []Row) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := map[string]map[int64]bool{}
	for _, r := range rows {
		if gone[r.Stream] == nil {
			gone[r.Stream] = map[int64]bool{}
		}
		gone[r.Stream][r.First] = true
	}
	removed := 0
	for name, firsts := range gone {
		l := m.flushed.streams[name]
		if l == nil {
			continue
		}
		var kept []memRow // a new list: readers may hold the old one
		for i, r := range l.rows {
			if i+1 < len(l.rows) && firsts[r.first] {
				removed++
				continue
			}
			kept = append(kept, r)
		}
		l.rows = kept
	}
	m.flushed.count -= removed
	return removed, nil
}

// Meta implements Index.
func (m *Memory) Meta() ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.meta, nil
}

// Close implements Index.
func (m *Memory) Close() error { return nil }
