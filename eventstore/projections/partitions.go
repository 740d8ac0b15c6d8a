package projections

import (
	"context"

	"baton/eventstore/projection"
)

const (
	// maxPartitions and maxPartitionBytes bound the states a run keeps in memory, beside those not written yet.
	maxPartitions     = 20_000
	maxPartitionBytes = 64 << 20
)

// partition is one state. Its fields are guarded by the run's lock.
type partition struct {
	state  []byte // JSON; nil: none yet
	result []byte // JSON, as of the last event; nil: none
	judged bool   // result is that of state
	known  bool   // the state stream exists
	dirty  int    // batches, pending or being written, that hold it
}

// partitions are the states in memory.
type partitions struct {
	by    map[string]*partition
	bytes int
}

func (p *partitions) put(name string, s *partition) {
	p.by[name] = s
	p.bytes += len(s.state)
}

// trim forgets states that are stored, until there is room.
func (p *partitions) trim() {
	if len(p.by) <= maxPartitions && p.bytes <= maxPartitionBytes {
		return
	}
	for name, s := range p.by {
		if s.dirty > 0 || name == "" {
			continue
		}
		p.bytes -= len(s.state)
		delete(p.by, name)
		if len(p.by) <= maxPartitions*9/10 && p.bytes <= maxPartitionBytes*9/10 {
			return
		}
	}
}

// load reads a partition's state from its stream.
func (t *term) partitionState(ctx context.Context, name string, doc *document, part string) (state []byte, known bool, err error) {
	if doc.Mode == Transient {
		return nil, false, nil
	}
	head, err := t.s.node.Reader().Head(stateStream(name, part))
	if err != nil || head.Last < 0 {
		return nil, false, err
	}
	rev, data, metadata, err := t.last(ctx, stateStream(name, part))
	if err != nil || rev < 0 {
		return nil, true, err
	}
	if g, ok := parseTag(metadata); !ok || !g.signedBy(doc) {
		return nil, true, nil
	}
	return orNil(data), true, nil
}

// partition is the state an event belongs to, from memory or from its stream. Only the reader's goroutine asks.
func (r *run) partition(ctx context.Context, name string) (*partition, error) {
	r.mu.Lock()
	s := r.parts.by[name]
	r.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s = &partition{}
	if name != "" {
		var err error
		if s.state, s.known, err = r.t.partitionState(ctx, r.name, &r.doc, name); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.doc.Mode == Transient && (len(r.parts.by) >= maxPartitions || r.parts.bytes > maxPartitionBytes) {
		return nil, &StateError{"a transient projection keeps its states in memory, and they are more than fit: make it continuous or one-time"}
	}
	if r.doc.Mode != Transient {
		r.parts.trim()
	}
	r.parts.put(name, s)
	return s, nil
}

// resultOf is what clients get as a projection's result: what its transformations make of the state, or the state itself where there are none.
func resultOf(p projection.Projection, state, shared []byte) ([]byte, error) {
	result, err := p.Result(state, shared)
	if err == nil && result == nil && !p.Definition().Results {
		result = state
	}
	return result, err
}
