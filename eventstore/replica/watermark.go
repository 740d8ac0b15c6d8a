package replica

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Watermark is the log position up to which everything is applied. Readers stop
// there and wait for it to move. Safe for concurrent use.
type Watermark struct {
	position atomic.Uint64
	mu       sync.Mutex
	moved    chan struct{} // closed at the next move; nil while nobody waits
	rejected atomic.Pointer[[]uint64]
}

func newWatermark(position uint64, rejected []uint64) *Watermark {
	w := &Watermark{}
	w.position.Store(position)
	rejected = slices.Clone(rejected)
	w.rejected.Store(&rejected)
	return w
}

// Applied returns the position; frames ending at or before it are visible.
func (w *Watermark) Applied() uint64 { return w.position.Load() }

// Wait returns nil once Applied() > beyond, or the context's error.
func (w *Watermark) Wait(ctx context.Context, beyond uint64) error {
	for {
		if w.Applied() > beyond {
			return nil
		}
		w.mu.Lock()
		if w.Applied() > beyond {
			w.mu.Unlock()
			return nil
		}
		if w.moved == nil {
			w.moved = make(chan struct{})
		}
		moved := w.moved
		w.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Rejected reports whether apply refused the record at pos.
func (w *Watermark) Rejected(pos uint64) bool {
	list := *w.rejected.Load()
	if len(list) == 0 {
		return false
	}
	_, found := slices.BinarySearch(list, pos)
	return found
}

func (w *Watermark) reject(pos uint64) {
	list := append(slices.Clone(*w.rejected.Load()), pos)
	w.rejected.Store(&list)
}

func (w *Watermark) advance(position uint64) {
	w.position.Store(position)
	w.mu.Lock()
	moved := w.moved
	w.moved = nil
	w.mu.Unlock()
	if moved != nil {
		close(moved)
	}
}
