package reader

import (
	"context"
	"errors"
	"fmt"

	"baton/eventstore/log"
)

// near returns where a scan for the first event after pos begins, whether or not
// an event stands at pos: it may have been one that is gone, or never one. A
// position at or beyond the watermark is the watermark.
func (r *Reader) near(ctx context.Context, pos uint64) (frame uint64, err error) {
	if pos == 0 || pos == endPosition {
		return r.locate(ctx, pos)
	}
	if applied := r.mark.Applied(); pos >= applied {
		return applied, nil
	}
	f, err := r.log.FrameContaining(pos)
	if errors.Is(err, log.ErrOutOfRange) {
		return r.mark.Applied(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("read position %d: %w", pos, err)
	}
	return f.Pos, nil
}
