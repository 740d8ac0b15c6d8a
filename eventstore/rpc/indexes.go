package rpc

import (
	"context"
	"strconv"

	"baton/gen/eventstore/client"
)

// Merging is a Backend whose index has files that can be merged.
type Merging interface {
	// MergeIndexes begins a merge and returns at once; false where one runs already.
	MergeIndexes() (started bool)
	MergingIndexes() bool
}

// MergeIndexes begins a merge of this node's index, and answers at once. While one runs, or where there is nothing that could be merged, there is nothing to
// begin, which is a success too.
func (s operationsService) MergeIndexes(ctx context.Context, _ *client.Empty) (*client.Empty, error) {
	if err := s.access.operate(ctx); err != nil {
		return nil, s.fail(ctx, err)
	}
	if b, ok := s.backend.(Merging); ok {
		b.MergeIndexes()
	}
	return &client.Empty{}, nil
}

// mergeStats adds whether a merge runs.
func (s *Server) mergeStats(stats map[string]string) {
	if b, ok := s.backend.(Merging); ok {
		stats["es.index.merging"] = strconv.FormatBool(b.MergingIndexes())
	}
}
