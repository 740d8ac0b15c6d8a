package subscription

// replay is the return of parked events to the consumers. The parked stream is truncated only when all of them were handled: whatever ends the group
// before leaves them parked.
type replay struct {
	running bool
	ended   bool // everything was read
	stop    Point
	left    int // read and not handled
	asked   bool
}

// BeginReplay starts a replay of the parked events below stop. The caller reads them and gives them to ReplayRead, as Room allows, and calls ReplayEnd.
// The error is ErrReplaying.
func (g *Group) BeginReplay(stop Point) error {
	if g.replay.running {
		return ErrReplaying
	}
	g.replay = replay{running: true, stop: stop}
	return nil
}

// Replaying says whether a replay or a truncation runs.
func (g *Group) Replaying() bool { return g.replay.running }

// ReplayRead takes the next parked event.
func (g *Group) ReplayRead(m *Message) {
	m.replayed = true
	g.replay.left++
	g.add(m)
	g.dispatch()
}

// ReplayEnd notes that all parked events were read. ok is false when they could not be: then those that were read are handled, and all stay parked.
func (g *Group) ReplayEnd(ok bool) {
	if !ok {
		g.replay.stop = Beginning
	}
	g.replay.ended = true
	g.replayed()
}

// replayed asks for the truncation when all is handled.
func (g *Group) replayed() {
	r := &g.replay
	if !r.ended || r.left > 0 || r.asked {
		return
	}
	if r.stop <= 0 {
		*r = replay{}
		return
	}
	r.asked = true
	g.out.Truncate, g.out.HasTruncate = r.stop, true
}

// ReplayDone tells that the truncation ended, well or not: parked events may be replayed again.
func (g *Group) ReplayDone() { g.replay = replay{} }
