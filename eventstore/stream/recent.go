package stream

import (
	"hash/maphash"

	"github.com/cespare/xxhash/v2"
)

// recent remembers the ids of the last events written, in flight ones included,
// so that a repeated request is recognized. It holds a bounded number of ids in
// a ring: the newest push out the oldest. Each id can be found by (stream, id),
// and each remembered write by (stream, revision).
//
// The events of one write take consecutive places in the ring. Places get a
// sequence number that only grows; its remainder is the place.
type recent struct {
	ring    []slot
	buckets []uint32 // hash -> newest slot of the chain, as place+1; 0 = none
	mask    uint64   // len(ring)-1, also len(buckets)-1
	seed    maphash.Seed
	head    uint64 // sequence of the next place
	tail    uint64 // sequence of the oldest place in use
	last    map[string]*recentWrite
	// slab is room for the next writes. They are forgotten in about the order they
	// came, so that a slab is given back as a whole.
	slab []recentWrite
}

// slabWrites is how many remembered writes are allocated together.
const slabWrites = 128

type slot struct {
	id     [16]byte
	w      *recentWrite // nil: forgotten
	next   uint32       // chain, as place+1; 0 = end
	offset uint32       // of the event in its record
}

// recentWrite is one write of one record. Writes of one stream are chained in
// order of revision.
type recentWrite struct {
	stream     string
	hash       uint64 // of the stream
	first      int64  // revision of the first event
	seq        uint64 // place of the first event
	count      uint32
	live       uint32 // ids still in the ring
	pos        uint64 // log position of the record, once applied
	inflight   uint64 // id of the command, 0 once applied
	prev, next *recentWrite
}

func newRecent(ids int) *recent {
	n := 16
	for n < ids {
		n *= 2
	}
	return &recent{
		ring: make([]slot, n), buckets: make([]uint32, n), mask: uint64(n - 1), seed: maphash.MakeSeed(),
		last: make(map[string]*recentWrite),
	}
}

// bucket is where the chain of an id begins. Ids that count up, in whatever
// byte, spread as well as random ones do, and nobody can choose ids that meet:
// every process hashes them in its own way.
func (r *recent) bucket(streamHash uint64, id *[16]byte) *uint32 {
	return &r.buckets[(maphash.Bytes(r.seed, id[:])^streamHash)&r.mask]
}

// begin makes room for a write; its ids follow by put. It returns nil for a
// write bigger than the whole window, which is then not remembered.
func (r *recent) begin(stream string, first int64, count uint32, pos, inflight uint64) *recentWrite {
	if uint64(count) > uint64(len(r.ring)) {
		return nil
	}
	for r.head+uint64(count)-r.tail > uint64(len(r.ring)) {
		r.forgetSlot(r.tail)
		r.tail++
	}
	if len(r.slab) == 0 {
		r.slab = make([]recentWrite, slabWrites)
	}
	w := &r.slab[0]
	r.slab = r.slab[1:]
	*w = recentWrite{
		stream: stream, hash: hashOf(stream), first: first,
		seq: r.head, count: count, live: count, pos: pos, inflight: inflight, prev: r.last[stream],
	}
	if w.prev != nil {
		w.prev.next = w
	}
	r.last[stream] = w
	r.head += uint64(count)
	return w
}

func (r *recent) put(w *recentWrite, ordinal uint32, id [16]byte, offset uint32) {
	place := (w.seq + uint64(ordinal)) & r.mask
	b := r.bucket(w.hash, &id)
	r.ring[place] = slot{id: id, w: w, next: *b, offset: offset}
	*b = uint32(place) + 1
}

// forgetSlot takes one id out; the write goes with its last id.
func (r *recent) forgetSlot(seq uint64) {
	place := uint32(seq & r.mask)
	s := &r.ring[place]
	w := s.w
	if w == nil {
		return
	}
	at := r.bucket(w.hash, &s.id)
	for *at != place+1 {
		at = &r.ring[*at-1].next
	}
	*at = s.next
	s.w = nil
	if w.live--; w.live > 0 {
		return
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else if w.prev != nil {
		r.last[w.stream] = w.prev
	} else {
		delete(r.last, w.stream)
	}
	if w.prev != nil {
		w.prev.next = w.next
	}
	w.prev, w.next = nil, nil
}

// forget takes a whole write out.
func (r *recent) forget(w *recentWrite) {
	for i := range uint64(w.count) {
		if seq := w.seq + i; seq >= r.tail && r.ring[seq&r.mask].w == w {
			r.forgetSlot(seq)
		}
	}
}

// ref is one remembered event.
type ref struct {
	w       *recentWrite
	ordinal uint32
	offset  uint32
}

func (f ref) revision() int64 { return f.w.first + int64(f.ordinal) }

// find returns the newest remembered event of the stream with the id.
func (r *recent) find(stream string, streamHash uint64, id [16]byte) (ref, bool) {
	for at := *r.bucket(streamHash, &id); at != 0; {
		s := &r.ring[at-1]
		if s.id == id && s.w.stream == stream {
			return ref{s.w, uint32((uint64(at-1) - s.w.seq) & r.mask), s.offset}, true
		}
		at = s.next
	}
	return ref{}, false
}

// maxHops bounds the walk from the newest write of a stream to an older one; a
// request that repeats something older is compared with the log.
const maxHops = 256

// locate returns the remembered write of the stream that holds revision rev.
func (r *recent) locate(stream string, rev int64) *recentWrite {
	w := r.last[stream]
	for hops := 0; w != nil && w.first > rev; hops++ {
		if hops == maxHops {
			return nil
		}
		w = w.prev
	}
	if w == nil || rev >= w.first+int64(w.count) {
		return nil
	}
	return w
}

// hashOf is the hash that find wants.
func hashOf(stream string) uint64 { return xxhash.Sum64String(stream) }

// at returns event number ordinal of w if it is still remembered.
func (r *recent) at(w *recentWrite, ordinal uint32) (*slot, bool) {
	s := &r.ring[(w.seq+uint64(ordinal))&r.mask]
	return s, s.w == w
}

// match is the result of comparing a command's events with what is there.
type match uint8

const (
	matchNone    match = iota // the first event differs
	matchPart                 // the first events are there, a later one is not
	matchAll                  // all are there
	matchUnknown              // cannot be told from memory
)

// byIDs looks for all events of write i of the command by their ids.
func (r *recent) byIDs(c *Command, i int) (m match, first, last ref) {
	stream := c.names[i]
	if r.last[stream] == nil {
		return matchNone, ref{}, ref{}
	}
	hash := hashOf(stream)
	it := c.rec.Events()
	for it.Next() {
		e := it.Event()
		if e.Write() != i {
			continue
		}
		f, ok := r.find(stream, hash, e.ID())
		if !ok {
			if m == matchNone {
				return matchNone, first, last
			}
			return matchPart, first, last
		}
		if m == matchNone {
			m, first = matchAll, f
		}
		last = f
	}
	return m, first, last
}

// byRevision compares the events of write i of the command with those that
// stand in the stream from revision from on; end is the stream's last revision.
func (r *recent) byRevision(c *Command, i int, from, end int64) (m match, first, last ref) {
	w := r.locate(c.names[i], from)
	if w == nil {
		return matchUnknown, ref{}, ref{}
	}
	rev := from
	it := c.rec.Events()
	for it.Next() {
		e := it.Event()
		if e.Write() != i {
			continue
		}
		if rev > end {
			return matchPart, first, last
		}
		if rev >= w.first+int64(w.count) {
			if w = w.next; w == nil || w.first != rev {
				return matchUnknown, ref{}, ref{}
			}
		}
		ordinal := uint32(rev - w.first)
		s, ok := r.at(w, ordinal)
		if !ok {
			return matchUnknown, ref{}, ref{}
		}
		if s.id != e.ID() {
			if rev == from {
				return matchNone, first, last
			}
			return matchPart, first, last
		}
		last = ref{w, ordinal, s.offset}
		if rev == from {
			first = last
		}
		rev++
	}
	return matchAll, first, last
}
