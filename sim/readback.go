package sim

import (
	"bytes"
	"context"

	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
	"baton/platform/vfs"
)

// readBack reads every stream from one node, as a client would, and compares it with the committed streams; and checks
// that every acknowledged op is in it.
func (c *cluster) readBack(n *node) {
	read := map[string][][16]byte{}
	for _, o := range c.history.ops {
		got, ok := read[o.stream]
		if !ok {
			_, err := n.reader.Stream(context.Background(), reader.StreamQuery{Stream: o.stream, FromStart: true, Count: 1 << 40}, func(e *reader.Event) error {
				for int64(len(got)) < c.check.firstReadable(o.stream) {
					got = append(got, [16]byte{}) // beyond $maxCount
				}
				if e.Revision != int64(len(got)) {
					c.check.fail("P2", "node %d, %s: revision %d where %d is due", n.at+1, o.stream, e.Revision, len(got))
				}
				got = append(got, e.ID)
				return nil
			})
			if err != nil {
				c.check.fail("P9", "node %d cannot read %s: %v", n.at+1, o.stream, err)
				return
			}
			read[o.stream] = got
			if want := c.check.streams[o.stream]; len(want) != len(got) {
				c.check.fail("P2", "node %d has %d events of %s, committed were %d", n.at+1, len(got), o.stream, len(want))
				return
			}
		}
		if o.state != opAcked {
			continue
		}
		for i, id := range o.ids {
			rev := o.first + int64(i)
			if rev < c.check.firstReadable(o.stream) {
				continue
			}
			if rev >= int64(len(got)) || got[rev] != id {
				c.check.fail("P2", "acknowledged event %x is not at revision %d of %s on node %d", id, rev, o.stream, n.at+1)
				return
			}
		}
	}
}

func sameSegment(a, b log.SegmentInfo) bool {
	return a.Base == b.Base && a.End == b.End && a.FirstIndex == b.FirstIndex && a.LastIndex == b.LastIndex && a.Closed == b.Closed
}

func (c *cluster) sameFile(a, b *node, pathA, pathB string) bool {
	x, errX := vfs.ReadFile(a.disk, pathA)
	y, errY := vfs.ReadFile(b.disk, pathB)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// setPriority proposes a change of the roster, as the node does.
func (n *node) setPriority(id membership.MemberID, priority int) {
	change := membership.Change{Priority: &membership.PriorityEntry{ID: id, Priority: priority}}
	cmd, err := stream.NewAdmin(replica.RosterRecord, change.Encode())
	if err != nil {
		panic(err)
	}
	n.submit(cmd, func(*replica.Proposal) {})
}
