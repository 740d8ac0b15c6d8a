package subscription

import "time"

// checkpointPause is how long a checkpoint that could not be written is left alone.
const checkpointPause = time.Second

// reached is the place up to which everything is handled. The first outstanding event knows what was read before it; without one it is all that was read.
func (g *Group) reached() Point {
	if first := g.order.oldest; first != nil {
		return first.before
	}
	return g.read
}

// checkpointNew says whether a checkpoint would say something new, and none is being written.
func (g *Group) checkpointNew() bool { return !g.writing && g.reached() > g.checkpointed }

// checkpointDue is when the next checkpoint is to be written if nothing else happens.
func (g *Group) checkpointDue() (at time.Duration, waits bool) {
	switch {
	case !g.checkpointNew():
		return 0, false
	case g.handled >= max(g.settings.MaxCheckpointCount, 1):
		return g.pausedUntil, true
	case g.handled >= max(g.settings.MinCheckpointCount, 1):
		return max(g.wroteAt+g.settings.CheckpointAfter, g.pausedUntil), true
	}
	return 0, false
}

// checkpoint writes one if it is time.
func (g *Group) checkpoint() {
	at, waits := g.checkpointDue()
	if !waits || g.now < at {
		return
	}
	g.writing, g.writingAt, g.writingCount = true, g.reached(), g.handled
	g.out.Checkpoint, g.out.HasCheckpoint = g.writingAt, true
}

// CheckpointDone tells that the checkpoint was written, or not: then a later one will be.
func (g *Group) CheckpointDone(ok bool) {
	g.writing = false
	g.wroteAt = g.now
	if ok {
		g.checkpointed = max(g.checkpointed, g.writingAt)
		g.handled -= g.writingCount
	} else {
		g.pausedUntil = g.now + checkpointPause
	}
	g.checkpoint()
}

// Final is the checkpoint to write when the group has ended on this node and nothing is being written any more; ok is false if there is nothing new to say.
func (g *Group) Final() (at Point, ok bool) {
	at = g.reached()
	return at, at > g.checkpointed
}
