package replica

import "time"

// Clients that wait for each answer fall into groups when every commit at once
// begins the next entry with what waits: one group's commands are on disk while
// the other's wait, and each entry carries a part of what it could. So when an
// entry commits while others wait, the next one gives the clients just answered
// time to come back: for as many commands as were under way together, and for
// no longer than an entry takes to commit.
const (
	// gatherMin is the number of commands under way together from which gathering pays.
	gatherMin = 8
	// gatherMax bounds the wait.
	gatherMax = 4 * time.Millisecond
)

// gathering is the wait of the next entry for more commands.
type gathering struct {
	wanted int   // commands that end the wait; 0: nothing waits
	trip   int64 // smoothed time from proposal to commit, in ticks of Core.now
}

// committed is told of an entry of this leader's that is handed to apply.
func (c *Core) committed(b *batch) {
	g := &c.gather
	if took := c.now - b.at; took >= 0 {
		g.trip += (took - g.trip) / 8
	}
	waiting := len(c.queue)
	if all := waiting + len(b.items); waiting > 0 && all >= gatherMin && c.queueBytes < pipelineBytes {
		g.wanted = all - all/8
	}
}

// gathers reports whether the next entry still waits for commands.
func (c *Core) gathers() bool {
	if c.gather.wanted > 0 && (len(c.queue) >= c.gather.wanted || c.queueBytes >= pipelineBytes) {
		c.gather.wanted = 0
	}
	return c.gather.wanted > 0
}

// Gathering is for how long the shell should let commands gather before it
// calls Gathered; 0 when nothing waits for that. A tick ends the wait too.
func (c *Core) Gathering() time.Duration {
	if !c.gathers() {
		return 0
	}
	return max(min(time.Duration(c.gather.trip)*100, gatherMax), time.Microsecond)
}

// Gathered ends the wait for more commands.
func (c *Core) Gathered() { c.gather.wanted = 0 }

// Enough is how many more waiting commands, and how many bytes of them, could
// change what Ready does; none do while it is 0, 0: what can be proposed is, and
// more is welcome at any time.
func (c *Core) Enough() (commands, bytes int) {
	switch {
	case c.gathers():
		return c.gather.wanted - len(c.queue), pipelineBytes - c.queueBytes
	case c.serving && len(c.batches) > 0 && c.uncommitted() > 0 && c.queueBytes < pipelineBytes:
		return maxWaitingCommands, pipelineBytes - c.queueBytes
	}
	return 0, 0
}
