package reader

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/stream"
	"baton/platform/vfs"
)

// node is one node's log, index and heads without consensus: what is appended
// is committed, and visible once published.
type node struct {
	t     testing.TB
	log   *log.Log
	index *index.Memory
	heads *index.Heads
	seq   *stream.Sequencer
	app   stream.Applier
	names stream.Interner
	r     *Reader
	next  uint64 // raft index
	now   int64  // ticks, stamped on records

	mu       sync.Mutex
	moved    chan struct{}
	mark     uint64
	rejected map[uint64]bool
}

func newNode(t testing.TB, opts log.Options) *node {
	t.Helper()
	if opts.FS == nil {
		opts.FS = vfs.NewMem()
	}
	opts.Dir = "log"
	l, err := log.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	n := &node{t: t, log: l, index: index.NewMemory(), next: 1, moved: make(chan struct{}), rejected: map[uint64]bool{}, now: 1_000_000_0}
	n.heads = index.NewHeads(n.index, l, 0)
	n.seq = stream.NewSequencer(n.heads, stream.SequencerOptions{})
	n.r = New(l, n.index, n.heads, n, Options{
		Now:       func() time.Time { return time.Unix(n.now/1e7, 0) },
		AheadWait: time.Millisecond,
	})
	return n
}

func (n *node) Applied() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mark
}

func (n *node) Wait(ctx context.Context, beyond uint64) error {
	for {
		n.mu.Lock()
		mark, moved := n.mark, n.moved
		n.mu.Unlock()
		if mark > beyond {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

func (n *node) Rejected(pos uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rejected[pos]
}

// entry appends one entry of the given commands and applies it.
func (n *node) entry(cmds ...*stream.Command) []stream.Outcome {
	n.t.Helper()
	var data []byte
	var ids []uint64
	for _, c := range cmds {
		v, err := n.seq.Sequence(c, n.now)
		if err != nil {
			n.t.Fatal(err)
		}
		if v.Kind != stream.Admit {
			n.t.Fatalf("not admitted: %+v", v)
		}
		data = append(data, v.Record...)
		ids = append(ids, v.ID)
	}
	return n.raw(raftpb.EntryNormal, data, ids, true)
}

// raw appends an entry of any data, applies its records, and publishes it.
func (n *node) raw(typ raftpb.EntryType, data []byte, ids []uint64, publish bool) []stream.Outcome {
	n.t.Helper()
	index64, term := n.next, uint64(1)
	e := &raftpb.Entry{Index: &index64, Term: &term, Type: &typ, Data: data}
	n.next++
	pos := n.log.End()
	if err := n.log.Append([]*raftpb.Entry{e}); err != nil {
		n.t.Fatal(err)
	}
	if p, err := n.log.PositionOf(index64); err != nil || p < pos {
		n.t.Fatal(p, err)
	} else {
		pos = p
	}
	var outs []stream.Outcome
	if typ == raftpb.EntryNormal {
		it := stream.NewRecords(data, pos+log.FrameHeaderBytes)
		for i := 0; it.Next(); i++ {
			rec := it.Record()
			out, changes, err := n.app.Apply(rec, n.heads)
			if err != nil {
				n.t.Fatal(err)
			}
			out = out.Clone()
			if out.Kind == stream.Done {
				n.index.Add(index.AppendRows(nil, rec, &n.names))
				n.heads.Update(changes)
			} else {
				n.mu.Lock()
				n.rejected[rec.Pos()] = true
				n.mu.Unlock()
			}
			id := uint64(0)
			if i < len(ids) {
				id = ids[i]
			}
			n.seq.Applied(id, rec, out)
			outs = append(outs, out)
		}
		if it.Err() != nil {
			n.t.Fatal(it.Err())
		}
	}
	if publish {
		n.publish()
	}
	return outs
}

func (n *node) publish() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mark = n.log.End()
	close(n.moved)
	n.moved = make(chan struct{})
}

var ids uint64

func newID() (id [16]byte) {
	ids++
	binary.BigEndian.PutUint64(id[8:], ids)
	return id
}

func (n *node) command(c *stream.Command, err error) *stream.Command {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// events makes an append of one event for each data text; type "t".
func (n *node) events(name string, datas ...string) *stream.Command {
	n.t.Helper()
	return n.typed(name, "t", datas...)
}

func (n *node) typed(name, typ string, datas ...string) *stream.Command {
	n.t.Helper()
	w := stream.Write{Stream: name, Expected: stream.Any}
	for _, d := range datas {
		w.Events = append(w.Events, stream.Event{ID: newID(), Type: typ, Data: []byte(d), Metadata: []byte("m" + d)})
	}
	return n.command(stream.NewAppend(stream.Limits{}, w))
}

func (n *node) meta(name, doc string) *stream.Command {
	n.t.Helper()
	return n.command(stream.NewAppend(stream.Limits{}, stream.Write{Stream: "$$" + name, Expected: stream.Any,
		Events: []stream.Event{{ID: newID(), Type: stream.MetadataType, JSON: true, Data: []byte(doc)}}}))
}

// text is an event as tests compare it: "stream/revision data".
func text(e *Event) string {
	s := fmt.Sprintf("%s/%d %s", e.Stream, e.Revision, e.Data())
	if e.Unresolved {
		s += " unresolved"
	}
	if e.Link != nil {
		s += " via " + text(e.Link)
	}
	return s
}

func (n *node) stream(q StreamQuery) ([]string, StreamStatus, error) {
	var out []string
	st, err := n.r.Stream(context.Background(), q, func(e *Event) error {
		out = append(out, text(e))
		return nil
	})
	return out, st, err
}

func (n *node) all(q AllQuery) (texts []string, positions []uint64, err error) {
	err = n.r.All(context.Background(), q, func(e *Event) error {
		texts = append(texts, text(e))
		positions = append(positions, e.Original().Position)
		return nil
	})
	return texts, positions, err
}
