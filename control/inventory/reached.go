package inventory

import "context"

// Reached returns once everything up to a journal position has been taken in.
func (v *Inventory) Reached(ctx context.Context, position uint64) error {
	for {
		v.mu.Lock()
		have, moved := v.position, v.moved
		v.mu.Unlock()
		if have >= position {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}
