package index

import (
	"context"
	"fmt"
)

// Merge merges the files of the index level by level until only the lowest has
// any, and drops what [Pebble.Prune] removed. Pebble merges by itself as files
// gather; this does at once what may wait then, for instance after a scavenge.
// It reads and writes the stored part of the index, not the rows in memory;
// rows can be added, stored and read meanwhile. It returns early, with what it
// did so far kept, when ctx ends. The owner waits for it before [Pebble.Close].
func (p *Pebble) Merge(ctx context.Context) error {
	// Every key begins with metaKey's or keyRow's first byte.
	if err := p.db.Compact(ctx, []byte{0}, []byte{0xff}, false); err != nil {
		return fmt.Errorf("merge the index: %w", err)
	}
	return nil
}
