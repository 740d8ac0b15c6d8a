package log

import (
	"sort"

	"go.etcd.io/raft/v3/raftpb"
)

// tailCache keeps the newest entries, consecutive up to the end of the log.
// Guarded by Log.mu.
type tailCache struct {
	limit int64
	bytes int64
	// live is held[head:], oldest first.
	held []cachedEntry
	head int
}

type cachedEntry struct {
	e   *raftpb.Entry // immutable
	pos uint64        // of its frame
}

// entryOverheadBytes is roughly what an entry takes beside its data.
const entryOverheadBytes = 160

func cachedBytes(e *raftpb.Entry) int64 { return int64(len(e.Data)) + entryOverheadBytes }

func (c *tailCache) live() []cachedEntry { return c.held[c.head:] }

// add appends the entry after the newest and drops old ones over the limit.
func (c *tailCache) add(e *raftpb.Entry, pos uint64) {
	c.held = append(c.held, cachedEntry{e, pos})
	c.bytes += cachedBytes(e)
	for c.bytes > c.limit && len(c.held)-c.head > 1 {
		c.bytes -= cachedBytes(c.held[c.head].e)
		c.held[c.head] = cachedEntry{}
		c.head++
	}
	if c.head > 64 && c.head > len(c.held)/2 {
		n := copy(c.held, c.held[c.head:])
		clear(c.held[n:])
		c.held, c.head = c.held[:n], 0
	}
}

// removeFrom drops the entries with index and above.
func (c *tailCache) removeFrom(index uint64) {
	for n := len(c.held); n > c.head && c.held[n-1].e.GetIndex() >= index; n-- {
		c.bytes -= cachedBytes(c.held[n-1].e)
		c.held[n-1] = cachedEntry{}
		c.held = c.held[:n-1]
	}
}

// removeBefore drops the entries whose frames begin before pos, but the newest.
func (c *tailCache) removeBefore(pos uint64) {
	for len(c.held)-c.head > 1 && c.held[c.head].pos < pos {
		c.bytes -= cachedBytes(c.held[c.head].e)
		c.held[c.head] = cachedEntry{}
		c.head++
	}
}

// firstIndex returns the oldest index held; ok is false if there is none.
func (c *tailCache) firstIndex() (index uint64, ok bool) {
	if live := c.live(); len(live) > 0 {
		return live[0].e.GetIndex(), true
	}
	return 0, false
}

// get returns the entry with an index.
func (c *tailCache) get(index uint64) (cachedEntry, bool) {
	first, ok := c.firstIndex()
	live := c.live()
	if !ok || index < first || index-first >= uint64(len(live)) {
		return cachedEntry{}, false
	}
	return live[index-first], true
}

// from returns the entries from the frame that contains pos on.
func (c *tailCache) from(pos uint64) []cachedEntry {
	live := c.live()
	if len(live) == 0 || pos < live[0].pos {
		return nil
	}
	i := sort.Search(len(live), func(i int) bool { return live[i].pos > pos }) - 1
	if pos >= live[i].pos+live[i].size() {
		return nil
	}
	return live[i:]
}

func (c cachedEntry) size() uint64 { return FrameHeaderBytes + uint64(len(c.e.Data)) }

func (c cachedEntry) frame() Frame {
	data := c.e.Data
	if len(data) == 0 {
		data = nil
	}
	return Frame{
		Pos: c.pos, Index: c.e.GetIndex(), Term: c.e.GetTerm(), Type: c.e.GetType(),
		Data: data[:len(data):len(data)], Size: c.size(),
	}
}
