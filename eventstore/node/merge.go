package node

import (
	"context"
	"time"
)

// mergeable is an index with files that can be merged; *index.Pebble is one.
type mergeable interface {
	Merge(ctx context.Context) error
}

// MergeIndexes begins to merge the files of this node's index and returns at
// once. The index merges by itself as files gather; this is for who does not
// want to wait, after a scavenge for instance. It reports false where a merge
// runs already, or the node stops. A merge ends with the node.
func (n *Node) MergeIndexes() (started bool) {
	ix, ok := n.index.(mergeable)
	if !ok || n.ctx.Err() != nil || !n.merging.CompareAndSwap(false, true) {
		return false
	}
	n.goRun(func() {
		defer n.merging.Store(false)
		began := time.Now()
		switch err := ix.Merge(n.ctx); {
		case err == nil:
			n.cfg.Logger.Info("the index was merged by request", "tookMs", time.Since(began).Milliseconds())
		case n.ctx.Err() == nil:
			n.cfg.Logger.Error("the index could not be merged; it works as before", "error", err)
		}
	})
	return true
}

// MergingIndexes reports whether a merge begun by MergeIndexes runs.
func (n *Node) MergingIndexes() bool { return n.merging.Load() }
