package sim

import (
	"errors"
	"fmt"
	"path"
	"time"

	"baton/eventstore/log"
	"baton/platform/vfs"
)

// damage is what a node knows of its log's bytes, and how it gets back what it lost. The disks of one node at a time are
// damaged, in frames it has applied: they are committed, so some other node holds them.
type damage struct {
	hurt  bool              // the truth: known to the cluster, not to the node
	known bool              // the node has found it
	got   map[uint64][]byte // frames of other nodes, by position
}

// Times of a scrub.
const (
	scrubMax   = 3 * time.Second // from damage to the round that finds it, unless a reader meets it before
	askPause   = 150 * time.Millisecond
	framesMost = 4 << 10
)

// flip damages one bit of a node's log, between the beginning of a segment's file and what the node has applied.
func (c *cluster) flip(n *node) {
	for _, other := range c.nodes {
		if other.damage.hurt {
			return
		}
	}
	applied := n.machine.Watermark().Applied()
	segments := n.storage.Log.Segments()
	s := segments[c.w.rng.IntN(len(segments))]
	if s.Sparse || applied <= s.Base {
		return
	}
	bytes := int64(min(applied, s.End)-s.Base) + s.FileBytes - int64(s.End-s.Base)
	if err := n.disk.FlipBit(s.Path, c.w.rng.Int64N(8*bytes)); err != nil {
		panic(err)
	}
	n.damage.hurt = true
	c.w.trace.note(c.w.now, "bit flipped", uint64(n.at)+1, s.Base)
	c.count("bit flipped")
	if n.core.Status().Serving {
		c.count("bit flipped on the leader")
	}
	n.later(c.w.between(0, scrubMax), n.scrub)
}

// suspect is told by readers of the log.
func (n *node) suspect(*log.CorruptionError) {
	if n.damage.hurt && !n.damage.known {
		n.c.count("damage met by a reader")
		n.later(0, n.scrub)
	}
}

// scrub looks for damage in the whole log and mends what it finds.
func (n *node) scrub() {
	applied := n.machine.Watermark().Applied()
	for _, s := range n.storage.Log.Segments() {
		err := n.storage.Log.Verify(s.Base, applied, nil)
		if err == nil {
			continue
		}
		if _, ok := errors.AsType[*log.CorruptionError](err); !ok {
			n.broken(err)
			return
		}
		if !n.damage.hurt {
			n.c.check.fail("P9", "node %d finds damage where there is none: %v", n.at+1, err)
			return
		}
		if !n.damage.known {
			n.damage.known = true
			n.c.w.trace.note(n.c.w.now, "damage found", uint64(n.at)+1, s.Base)
			n.c.count("damage found")
		}
		if !n.mend(s.Base, applied) {
			return
		}
	}
	if n.damage.known {
		n.whole("damage mended")
	}
}

func (n *node) whole(how string) {
	n.c.w.trace.note(n.c.w.now, how, uint64(n.at)+1)
	n.c.count(how)
	n.damage = damage{}
}

// errAsked: the frame is not here yet; another node was asked.
var errAsked = errors.New("another node was asked")

// mend tries to mend a segment with what other nodes gave so far.
func (n *node) mend(base, applied uint64) (done bool) {
	var due uint64
	_, err := n.storage.Log.Mend(base, applied, func(pos uint64) ([]byte, error) {
		if frames, ok := n.damage.got[pos]; ok {
			return frames, nil
		}
		due = pos
		return nil, errAsked
	}, nil)
	switch {
	case err == nil:
		return true
	case errors.Is(err, errAsked):
		n.ask(due)
		n.later(askPause, n.scrub) // also when no answer comes
	case errors.Is(err, log.ErrNotRewritable):
		n.later(askPause, n.scrub)
	case errors.Is(err, vfs.ErrPowerCut):
		n.broken(err)
	default:
		n.c.check.fail("P9", "node %d cannot mend segment %d: %v", n.at+1, base, err)
	}
	return false
}

// ask asks a random other node for the frames at pos.
func (n *node) ask(pos uint64) {
	c := n.c
	other := c.nodes[c.w.rng.IntN(len(c.nodes))]
	if other == n {
		return
	}
	life := n.life
	c.net.send(n.at, other.at, func() {
		other.deliver(func() {
			frames, err := other.storage.Log.Frames(pos, other.machine.Watermark().Applied(), framesMost)
			if err != nil {
				return
			}
			c.net.send(other.at, n.at, func() {
				if n.life != life {
					return
				}
				n.deliver(func() {
					if n.damage.known {
						if n.damage.got == nil {
							n.damage.got = map[uint64][]byte{}
						}
						n.damage.got[pos] = frames
						n.scrub()
					}
				})
			})
		})
	})
}

// openLog opens the log of a node that starts. What does not open, and what would be applied again and is damaged, is
// mended with the frames of nodes that are up; without one the node waits.
func (n *node) openLog(o log.Options) (*log.Log, error) {
	for {
		l, err := log.Open(o)
		if err == nil && n.damage.hurt {
			err = verifyAll(l)
		}
		found, ok := errors.AsType[*log.CorruptionError](err)
		if !ok || !n.damage.hurt {
			return l, err
		}
		if l != nil {
			if err := l.Close(); err != nil {
				return nil, err
			}
		}
		n.damage.known = true
		n.c.count("damage found at a start")
		if _, err := log.MendStopped(o, found, n.fromAnybody); err != nil {
			return nil, err
		}
	}
}

func verifyAll(l *log.Log) error {
	for _, s := range l.Segments() {
		if err := l.Verify(s.Base, l.End(), nil); err != nil {
			return err
		}
	}
	return nil
}

// errNobody: no node that is up can give what is missing.
var errNobody = errors.New("no node has the frames")

func (n *node) fromAnybody(pos uint64) ([]byte, error) {
	for _, other := range n.c.nodes {
		if other == n || !other.up || other.paused || n.c.net.cut[[2]endpoint{n.at, other.at}] || n.c.net.cut[[2]endpoint{other.at, n.at}] {
			continue
		}
		if frames, err := other.storage.Log.Frames(pos, other.machine.Watermark().Applied(), framesMost); err == nil {
			return frames, nil
		}
	}
	return nil, fmt.Errorf("%w at %d", errNobody, pos)
}

// stopDamaged ends a node that needs damaged entries to go on, as the real one ends itself. It is mended when it starts.
func (n *node) stopDamaged() {
	p := recover()
	if p == nil {
		return
	}
	if !n.up || !n.damage.hurt || n.core.Damage() == nil {
		panic(p)
	}
	n.c.w.trace.note(n.c.w.now, "stops for damage", uint64(n.at)+1)
	n.c.count("node stops for damage")
	disk := n.disk.Clone()
	n.end()
	n.disk = disk
	n.c.comeBack(n)
}

// healAll lets nodes that are damaged look at once, when the faults have stopped.
func (c *cluster) healAll() {
	for _, n := range c.nodes {
		if n.up && n.damage.hurt {
			n.later(0, n.scrub)
		}
	}
}

func logOptions(c *cluster, fs vfs.FS, n *node) log.Options {
	return log.Options{FS: fs, Dir: path.Join(dataDir, "log"), SegmentBytes: c.swarm.SegmentBytes, CacheBytes: c.swarm.CacheBytes, Suspect: n.suspect}
}
