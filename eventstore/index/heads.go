package index

import (
	"fmt"
	"sync"
	"sync/atomic"

	"baton/eventstore/stream"
)

// defaultHeads is how many heads are kept by default: about 200 bytes each.
const defaultHeads = 100_000

// LogReader is the part of the log that Heads reads metadata with.
type LogReader interface {
	ReadAt(p []byte, pos uint64) error
}

// Heads is a bounded cache of stream heads over an Index and the log. It serves
// three users at once: the apply thread (which alone calls Update), the
// consensus loop and readers. It implements stream.HeadSource.
//
// Eviction is by second chance: a head used since the hand last passed stays.
//
// A head being loaded from the index while Update changes the stream must not
// enter the cache after it. Therefore loads are registered; Update marks them,
// and a marked load is not kept.
type Heads struct {
	ix  Index
	log LogReader
	max int

	mu      sync.RWMutex
	heads   map[string]*cachedHead
	ring    []*cachedHead // all of heads, in the order of the hand
	hand    int
	loading map[string]*headLoad
	watch   map[string]map[*watcher]struct{}
}

type cachedHead struct {
	stream string
	head   stream.Head
	used   atomic.Bool
}

type headLoad struct {
	users int
	stale bool
}

type watcher struct{ ch chan struct{} }

// NewHeads returns an empty cache of at most max heads, 0 = the default.
func NewHeads(ix Index, log LogReader, max int) *Heads {
	if max <= 0 {
		max = defaultHeads
	}
	return &Heads{
		ix: ix, log: log, max: max, heads: make(map[string]*cachedHead),
		loading: make(map[string]*headLoad), watch: make(map[string]map[*watcher]struct{}),
	}
}

// Head returns the head of a stream; for a metadata stream that part of the
// described stream's head which is its own. Errors are those of the index and
// the log.
func (h *Heads) Head(name string) (stream.Head, error) {
	if stream.IsMetaStream(name) {
		base := stream.OriginalOf(name)
		if stream.IsMetaStream(base) {
			return stream.NoHead, nil // metadata streams have no metadata
		}
		head, err := h.Head(base)
		return head.OfMetaStream(), err
	}
	h.mu.RLock()
	if c := h.heads[name]; c != nil {
		head := c.head
		h.mu.RUnlock()
		if !c.used.Load() {
			c.used.Store(true)
		}
		return head, nil
	}
	h.mu.RUnlock()
	return h.fetch(name)
}

// Peek is Head without a trace: a head that is not in the cache does not enter
// it. For walks over many streams, which would push out those in use.
func (h *Heads) Peek(name string) (stream.Head, error) {
	if stream.IsMetaStream(name) {
		base := stream.OriginalOf(name)
		if stream.IsMetaStream(base) {
			return stream.NoHead, nil
		}
		head, err := h.Peek(base)
		return head.OfMetaStream(), err
	}
	h.mu.RLock()
	c := h.heads[name]
	if c != nil {
		defer h.mu.RUnlock()
		return c.head, nil
	}
	h.mu.RUnlock()
	return h.load(name)
}

func (h *Heads) fetch(name string) (stream.Head, error) {
	h.mu.Lock()
	if c := h.heads[name]; c != nil {
		head := c.head
		h.mu.Unlock()
		return head, nil
	}
	l := h.loading[name]
	if l == nil {
		l = &headLoad{}
		h.loading[name] = l
	}
	l.users++
	h.mu.Unlock()

	head, err := h.load(name)

	h.mu.Lock()
	defer h.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(h.loading, name)
	}
	if err == nil && !l.stale && h.heads[name] == nil {
		h.insert(name, head)
	}
	return head, err
}

// load computes a head from the index and the log.
func (h *Heads) load(name string) (stream.Head, error) {
	head := stream.NoHead
	row, ok, err := h.ix.Last(name)
	if err != nil {
		return head, fmt.Errorf("head of %q: %w", name, err)
	}
	if ok {
		head.Last = row.Last()
		head.Tombstoned = row.First == stream.TombstoneRevision
	}
	metaName := stream.MetaStream(name)
	row, ok, err = h.ix.Last(metaName)
	if err != nil {
		return head, fmt.Errorf("head of %q: %w", metaName, err)
	}
	if !ok {
		return head, nil
	}
	head.MetaLast = row.Last()
	if head.Tombstoned {
		return head, nil
	}
	head.Meta, err = h.readMeta(metaName, row)
	if err != nil {
		return head, fmt.Errorf("metadata of %q at position %d: %w", name, row.Pos, err)
	}
	return head, nil
}

func (h *Heads) readMeta(metaName string, row Row) (*stream.Metadata, error) {
	b := make([]byte, row.Len)
	if err := h.log.ReadAt(b, row.Pos); err != nil {
		return nil, err
	}
	r, err := stream.ParseRecord(b, row.Pos)
	if err != nil {
		return nil, err
	}
	// The last event in the record that goes to the metadata stream.
	var meta *stream.Metadata
	it := r.Events()
	for it.Next() {
		e := it.Event()
		if string(r.Write(e.Write()).Stream) == metaName && r.Revision(e) == row.Last() {
			meta = stream.ParseMetadata(e.Type(), e.JSON(), e.Data())
		}
	}
	return meta, it.Err()
}

// insert adds a head that is not there; the caller holds the lock.
func (h *Heads) insert(name string, head stream.Head) {
	c := &cachedHead{stream: name, head: head}
	h.heads[name] = c
	if len(h.ring) < h.max {
		h.ring = append(h.ring, c)
		return
	}
	for {
		old := h.ring[h.hand]
		if !old.used.CompareAndSwap(true, false) {
			delete(h.heads, old.stream)
			h.ring[h.hand] = c
			h.hand = (h.hand + 1) % len(h.ring)
			return
		}
		h.hand = (h.hand + 1) % len(h.ring)
	}
}

// Update takes the changes of an applied record. Call it from the apply thread,
// after Index.Add of the record's rows and before the next record.
func (h *Heads) Update(changes []stream.HeadChange) {
	if len(changes) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range changes {
		if c := h.heads[ch.Stream]; c != nil {
			c.head = ch.Head
			c.used.Store(true)
		} else {
			h.insert(ch.Stream, ch.Head)
		}
		if len(h.loading) > 0 {
			if l := h.loading[ch.Stream]; l != nil {
				l.stale = true
			}
		}
		if len(h.watch) > 0 {
			for w := range h.watch[ch.Stream] {
				w.wake()
			}
		}
	}
}

// Watch returns a channel that holds a value after each change of the stream
// (or of its metadata) since the last receive. stop ends it.
func (h *Heads) Watch(name string) (changed <-chan struct{}, stop func()) {
	name = stream.OriginalOf(name)
	w := &watcher{make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watch[name] == nil {
		h.watch[name] = make(map[*watcher]struct{})
	}
	h.watch[name][w] = struct{}{}
	return w.ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watch[name], w)
		if len(h.watch[name]) == 0 {
			delete(h.watch, name)
		}
	}
}

func (w *watcher) wake() {
	select {
	case w.ch <- struct{}{}:
	default:
	}
}
