package journal

import (
	"context"
	"sync"
	"time"
)

// Memory is a Journal in this process's memory.
type Memory struct {
	// Before, when set, is called before each append takes effect and After
	// once it did. An error from either is returned to the writer: from Before
	// nothing was written, from After the outcome looks unknown. Tests crash
	// and delay the control plane with them.
	Before, After func(stream string, events []Event) error

	now     func() time.Time
	mu      sync.Mutex
	all     []Recorded
	streams map[string][]int // indexes into all
	grown   chan struct{}    // closed and replaced on each append
}

// NewMemory returns an empty journal that stamps events with now.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, streams: map[string][]int{}, grown: make(chan struct{})}
}

// Append implements Journal.
func (m *Memory) Append(ctx context.Context, stream string, expected int64, events ...Event) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if m.Before != nil {
		if err := m.Before(stream, events); err != nil {
			return 0, err
		}
	}
	last, err := m.append(stream, expected, events)
	if err == nil && m.After != nil {
		err = m.After(stream, events)
	}
	return last, err
}

func (m *Memory) append(stream string, expected int64, events []Event) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := int64(len(m.streams[stream])) - 1
	if expected != Any && expected != last {
		return 0, &ConflictError{Stream: stream, Expected: expected, Actual: last}
	}
	for _, e := range events {
		last++
		m.streams[stream] = append(m.streams[stream], len(m.all))
		e.Data = append([]byte(nil), e.Data...)
		m.all = append(m.all, Recorded{Stream: stream, Revision: last, Position: uint64(len(m.all)) + 1, At: m.now(), Event: e})
	}
	close(m.grown)
	m.grown = make(chan struct{})
	return last, nil
}

// Read implements Journal.
func (m *Memory) Read(_ context.Context, stream string, from int64, max int) ([]Recorded, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Recorded
	idx := m.streams[stream]
	for i := from; i >= 0 && i < int64(len(idx)) && len(out) < max; i++ {
		out = append(out, m.all[idx[i]])
	}
	return out, nil
}

// Follow implements Journal.
func (m *Memory) Follow(ctx context.Context, after uint64, on func(Recorded) error, caughtUp func()) error {
	m.mu.Lock()
	atCall := uint64(len(m.all))
	m.mu.Unlock()
	for {
		if caughtUp != nil && after >= atCall {
			caughtUp()
			caughtUp = nil
		}
		m.mu.Lock()
		batch := m.all[min(after, uint64(len(m.all))):]
		grown := m.grown
		m.mu.Unlock()
		for _, r := range batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := on(r); err != nil {
				return err
			}
			after = r.Position
			if caughtUp != nil && after >= atCall {
				caughtUp()
				caughtUp = nil
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}
