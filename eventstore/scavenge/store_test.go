package scavenge

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/platform/vfs"
)

// node is one node's log, index and heads without consensus: what is appended is
// committed and applied.
type node struct {
	t       testing.TB
	disk    *vfs.Mem
	log     *log.Log
	index   index.Index
	heads   *index.Heads
	seq     *stream.Sequencer
	app     stream.Applier
	names   stream.Interner
	r       *reader.Reader
	entries uint64
	now     int64 // ticks
	applied uint64
	refused map[uint64]bool
	// verdicts holds what apply said about each record, for every later apply.
	verdicts map[uint64]stream.OutcomeKind
}

const segmentBytes = 6 << 10

// open opens the log on the disk, and applies it from where ix was flushed; a nil
// ix begins empty. Few heads are cached, so that most are read from the index.
func (n *node) open(ix index.Index) error {
	l, err := log.Open(log.Options{FS: n.disk, Dir: "/log", SegmentBytes: segmentBytes, CacheBytes: 4 << 10})
	if err != nil {
		return err
	}
	if ix == nil {
		ix = index.NewMemory()
	}
	n.log, n.index, n.heads, n.entries, n.applied, n.refused = l, ix, index.NewHeads(ix, l, 4), 0, 0, map[uint64]bool{}
	n.seq = stream.NewSequencer(n.heads, stream.SequencerOptions{RecentIDs: 64})
	n.r = reader.New(l, ix, n.heads, n, reader.Options{Now: func() time.Time { return time.Unix(n.now/1e7, n.now%1e7*100) }, AheadWait: time.Millisecond})
	meta, err := ix.Meta()
	if err != nil {
		return err
	}
	if len(meta) > 0 {
		n.applied, n.entries = binary.LittleEndian.Uint64(meta), binary.LittleEndian.Uint64(meta[8:])
		for pos, kind := range n.verdicts {
			if pos < n.applied && kind != stream.Done {
				n.refused[pos] = true
			}
		}
	}
	for s := l.Scan(n.applied); ; {
		f, err := s.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		n.apply(f)
	}
}

// flush stores the index with how far it is.
func (n *node) flush() {
	meta := binary.LittleEndian.AppendUint64(nil, n.applied)
	if err := n.index.Flush(binary.LittleEndian.AppendUint64(meta, n.entries)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) apply(f log.Frame) {
	n.t.Helper()
	it := stream.NewRecords(f.Data, f.Pos+log.FrameHeaderBytes)
	for it.Next() {
		r := it.Record()
		if r.Kind() == stream.KindAdmin {
			n.verdicts[r.Pos()] = stream.Done
			continue
		}
		out, changes, err := n.app.Apply(r, n.heads)
		if err != nil {
			n.t.Fatal(err)
		}
		if was, ok := n.verdicts[r.Pos()]; ok && was != out.Kind {
			n.t.Fatalf("the record at %d was judged %v, and is judged %v when it is applied again", r.Pos(), was, out.Kind)
		}
		n.verdicts[r.Pos()] = out.Kind
		if out.Kind != stream.Done {
			n.refused[r.Pos()] = true
			continue
		}
		n.index.Add(index.AppendRows(nil, r, &n.names))
		n.heads.Update(changes)
	}
	if err := it.Err(); err != nil {
		n.t.Fatal(err)
	}
	n.entries, n.applied = f.Index, f.End()
}

// append makes an entry of data and applies it.
func (n *node) append(data []byte) {
	n.t.Helper()
	index, term, typ := n.entries+1, uint64(1), raftpb.EntryNormal
	if err := n.log.Append([]*raftpb.Entry{{Index: &index, Term: &term, Type: &typ, Data: data}}); err != nil {
		n.t.Fatal(err)
	}
	f, err := n.log.NextFrame(n.applied)
	if err != nil {
		n.t.Fatal(err)
	}
	n.apply(f)
}

// Applied, Wait and Rejected are the watermark.
func (n *node) Applied() uint64 { return n.applied }

func (n *node) Wait(ctx context.Context, beyond uint64) error {
	if n.applied > beyond {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (n *node) Rejected(pos uint64) bool { return n.refused[pos] }

func (n *node) store() *Store { return &Store{Log: n.log, Index: n.index, Heads: n.heads, Mark: n} }

// event is one event of the model.
type event struct {
	stream   string
	revision int64
	position uint64
	created  int64
	id       [16]byte
	gone     bool
	meta     *stream.Metadata // what it sets, of a metadata stream
}

// world is a node and what must be on it: every event ever accepted, in order.
type world struct {
	*node
	rng   *rand.Rand
	all   []*event
	of    map[string][]*event
	stale [][]byte // records accepted earlier, to be refused now
	done  map[string]int
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 7)), of: map[string][]*event{}, done: map[string]int{},
		node: &node{t: t, disk: vfs.NewMem(), now: 1_000_000 * 1e7, verdicts: map[uint64]stream.OutcomeKind{}}}
	if err := w.open(nil); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) name() string { return fmt.Sprintf("s%d", w.rng.IntN(9)) }

func (w *world) newEvent(typ string, json bool, data []byte) stream.Event {
	e := stream.Event{Type: typ, JSON: json, Data: data}
	for i := range e.ID {
		e.ID[i] = byte(w.rng.Uint32())
	}
	return e
}

func (w *world) data() []byte {
	b := make([]byte, w.rng.IntN(400))
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return b
}

// command sequences commands into one entry and takes the accepted ones into the
// model.
func (w *world) command(cmds ...*stream.Command) {
	w.t.Helper()
	var data []byte
	var ids []uint64
	for _, c := range cmds {
		v, err := w.seq.Sequence(c, w.now)
		if err != nil {
			w.t.Fatal(err)
		}
		if v.Kind == stream.Admit {
			data = append(data, v.Record...)
			ids = append(ids, v.ID)
			w.stale = append(w.stale, append([]byte(nil), v.Record...))
		}
	}
	if len(data) == 0 {
		return
	}
	from := w.log.End()
	w.append(data)
	w.learn(from, ids)
}

// learn takes what was appended from a position on into the model, and tells the
// sequencer.
func (w *world) learn(from uint64, ids []uint64) {
	s := w.log.Scan(from)
	for {
		f, err := s.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		it := stream.NewRecords(f.Data, f.Pos+log.FrameHeaderBytes)
		for it.Next() {
			r := it.Record()
			id := uint64(0)
			if len(ids) > 0 {
				id, ids = ids[0], ids[1:]
			}
			w.seq.Applied(id, r, stream.Outcome{Kind: w.verdicts[r.Pos()]})
			if w.verdicts[r.Pos()] != stream.Done {
				w.done["record refused"]++
				continue
			}
			evs := r.Events()
			for evs.Next() {
				v := evs.Event()
				e := &event{stream: string(r.Write(v.Write()).Stream), revision: r.Revision(v), position: r.Position(v), created: r.Created(), id: v.ID()}
				if stream.IsMetaStream(e.stream) {
					e.meta = stream.ParseMetadata(v.Type(), v.JSON(), v.Data())
				}
				w.all = append(w.all, e)
				w.of[e.stream] = append(w.of[e.stream], e)
			}
		}
	}
}

// head is the head of a stream by the model.
func (w *world) head(name string) stream.Head {
	if stream.IsMetaStream(name) {
		return w.head(stream.OriginalOf(name)).OfMetaStream()
	}
	h := stream.NoHead
	if evs := w.of[name]; len(evs) > 0 {
		h.Last = evs[len(evs)-1].revision
		h.Tombstoned = h.Last == stream.TombstoneRevision
	}
	if evs := w.of[stream.MetaStream(name)]; len(evs) > 0 {
		h.MetaLast = evs[len(evs)-1].revision
		if !h.Tombstoned {
			h.Meta = evs[len(evs)-1].meta
		}
	}
	return h
}
