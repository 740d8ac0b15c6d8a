package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/replica"
	"baton/eventstore/scavenge"
	"baton/eventstore/stream"
)

// bounds are the streams that get a $maxCount, and the number that is kept. The
// stream that the group reads is not among them: it must see every event. Of the
// group's checkpoints only the last is of use, as in a real node.
func (c *cluster) bounds() map[string]int64 {
	all := map[string]int64{groupCheckpoint: 2}
	for i := 1; i < c.swarm.Streams; i++ {
		all[fmt.Sprintf("shared-%d", i)] = 20
	}
	for i := range c.swarm.Clients {
		if i%2 == 0 {
			all[fmt.Sprintf("own-%d", i)] = 10
		}
	}
	return all
}

// bound asks the leader to write the metadata of a random one of the bounded
// streams; whether it is written, the checker's model tells.
func (c *cluster) bound() {
	l := c.leader()
	if l == nil || c.swarm.Scavenge == 0 {
		return
	}
	names := []string{groupCheckpoint}
	for i := range c.swarm.Clients {
		names = append(names, fmt.Sprintf("own-%d", i))
	}
	for i := range c.swarm.Streams {
		names = append(names, fmt.Sprintf("shared-%d", i))
	}
	name := names[c.w.rng.IntN(len(names))]
	keep, ok := c.bounds()[name]
	if !ok {
		return
	}
	e := stream.Event{Type: stream.MetadataType, JSON: true, Data: fmt.Appendf(nil, `{"$maxCount":%d}`, keep)}
	binary.LittleEndian.PutUint64(e.ID[:], c.w.rng.Uint64())
	binary.LittleEndian.PutUint64(e.ID[8:], c.w.rng.Uint64())
	l.deliver(func() {
		cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: stream.MetaStream(name), Expected: stream.Any, Events: []stream.Event{e}})
		if err != nil {
			panic(err)
		}
		c.count("metadata written")
		l.submit(cmd, func(*replica.Proposal) {})
	})
}

// endSegment asks the leader to end the segment being written, as a scavenge does
// that finds something to remove in it.
func (c *cluster) endSegment() {
	l := c.leader()
	if l == nil {
		return
	}
	l.deliver(func() {
		l.submit(stream.NewSegmentMark(), func(p *replica.Proposal) {
			if p.Err == nil {
				c.count("segment ended for a scavenge")
			}
		})
	})
}

// scavenge takes out of a node's log what may go, at once.
func (c *cluster) scavenge(n *node) {
	n.deliver(func() {
		if n.damage.hurt {
			return // it would end with what is damaged
		}
		p := scavenge.Point{Position: n.machine.Watermark().Applied(), Time: c.created(n.at)}
		store := scavenge.Store{Log: n.storage.Log, Index: n.machine.Index(), Heads: n.machine.Heads(), Mark: n.machine.Watermark()}
		for _, info := range store.Eligible(p, 0) {
			did, err := store.Segment(info, p)
			if err != nil {
				n.broken(err)
				return
			}
			if did.Events > 0 {
				c.w.trace.note(c.w.now, "scavenged", uint64(n.at)+1, info.Base, uint64(did.Events))
				c.count("segment scavenged")
				c.scavenged = true
			}
		}
	})
}

// markOf identifies an entry as one node has it.
func markOf(e *raftpb.Entry, data uint64) (entryMark, error) {
	sum := func(b []byte) uint64 {
		h := fnv.New64a()
		h.Write(b)
		return h.Sum64() ^ uint64(e.GetType())
	}
	mark := entryMark{term: e.GetTerm(), bare: sum(e.GetData())}
	if e.GetType() != raftpb.EntryNormal {
		return mark, nil
	}
	records := stream.NewRecords(e.GetData(), data)
	for records.Next() {
		all := records.Record().AllEvents()
		for all.Next() {
			if all.Event().Removed() {
				mark.scavenged = true
			}
		}
	}
	if !mark.scavenged {
		mark.sum = mark.bare
	}
	bare := bytes.Clone(e.GetData())
	_, err := stream.Remove(bare, data, func(stream.Record, stream.EventView) bool { return true })
	mark.bare = sum(bare)
	return mark, err
}

// same says whether two nodes have the same entry: what is left of it without its
// events is equal, and so are the events where neither has been scavenged.
func (m entryMark) same(o entryMark) bool {
	return m.term == o.term && m.bare == o.bare && (m.scavenged || o.scavenged || m.sum == o.sum)
}

// keeps learns from a committed record how many events of a stream are readable.
func (c *checker) keeps(r stream.Record, name string) {
	if !stream.IsMetaStream(name) {
		return
	}
	events := r.Events()
	for events.Next() {
		v := events.Event()
		if meta := stream.ParseMetadata(v.Type(), v.JSON(), v.Data()); meta != nil {
			c.kept[stream.OriginalOf(name)] = meta.MaxCount
		}
	}
}

// firstReadable is the revision at which a read of the stream begins.
func (c *checker) firstReadable(name string) int64 {
	last := int64(len(c.streams[name])) - 1
	if keep := c.kept[name]; keep > 0 {
		return max(0, last-keep+1)
	}
	return 0
}
