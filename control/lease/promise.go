package lease

import (
	"fmt"
	"time"
)

// A primary that cannot reach any control node may go on in mode failsafe while
// the agent beside every other node that could be promoted has promised not to
// let that happen. What makes it safe is on the side of those who promise:
//
//	primary's agent   ask .................... writes end at ask + ttl
//	other's agent         promise ............................ + ttl + eps: may be promoted
//
// A promise is on disk before it is given. An agent that has accepted an order
// of a later generation promises nothing any more, and one that has promised
// makes nobody primary in a later generation before the promise is over. Both
// are looked at under one lock, so that one of them always sees the other.
//
// That alone keeps two from writing. It does not keep what the old primary
// acknowledges while another is being chosen, so the control plane first bars
// promises: an agent that was told so gives none for the generation any more,
// and says how long its last one runs. Since the primary needs all of its
// roster, one such answer of a member is enough to know when it has stopped;
// only then are positions read.

// Reasons for which a promise is not given.
const (
	// IsLater: a later generation was accepted or is on record.
	IsLater = "later-generation"
	// IsUnknown: that the one who asks holds the lease is not on record here.
	IsUnknown = "unknown-holder"
)

// Ask is what the agent of a primary asks of the agent beside another node.
type Ask struct {
	Generation uint64
	Holder     string // the primary's node
	TTL        time.Duration
}

// Vow is what one agent has promised for one cluster. The zero value is none.
type Vow struct {
	Generation uint64        // that is not to be superseded
	Holder     string        // to whose agent it was given
	Until      time.Duration // on the clock of the one who promised
	Barred     uint64        // below this generation none is given any more
}

// Known is what the one who is asked knows: the highest generation of an order
// it accepted, and the record.
type Known struct {
	Accepted   uint64
	Generation uint64
	Holder     string
}

// Promise judges a question at a moment: the vow as it is to be on disk before
// the answer, or why there is none. It is a little longer than was asked, so
// that not every question costs a write.
func (v Vow) Promise(a Ask, k Known, now time.Duration) (next Vow, refused string) {
	switch {
	case k.Accepted > a.Generation || k.Generation > a.Generation:
		return v, IsLater
	case a.Generation < v.Barred:
		return v, Barred
	case k.Generation != a.Generation || k.Holder != a.Holder || a.Holder == "":
		return v, IsUnknown
	}
	ttl := TermsOf(a.TTL).TTL
	least := now + ttl + Eps(ttl)
	if v.Generation == a.Generation && v.Holder == a.Holder && v.Until >= least {
		return v, "" // the last one is long enough
	}
	return Vow{Generation: a.Generation, Holder: a.Holder, Until: least + ttl/5, Barred: v.Barred}, ""
}

// Bars tells for how long at most nobody may become primary in a generation by
// an order here; 0: it may.
func (v Vow) Bars(generation uint64, now time.Duration) time.Duration {
	if generation <= v.Generation {
		return 0
	}
	return v.Left(now)
}

// Bar is the vow when no promise is to be given any more for a generation.
func (v Vow) Bar(generation uint64) Vow {
	v.Barred = max(v.Barred, generation+1)
	return v
}

// Unbar is the vow when the one who barred a generation leaves its holder be.
func (v Vow) Unbar(generation uint64) Vow {
	if v.Barred <= generation+1 {
		v.Barred = 0
	}
	return v
}

// Left is how long what was promised runs at most.
func (v Vow) Left(now time.Duration) time.Duration { return max(0, v.Until-now) }

// Freed is the vow after the holder of a generation said that it does not rely
// on it any more.
func (v Vow) Freed(generation uint64, holder string) Vow {
	if v.Generation == generation && v.Holder == holder {
		v.Until = 0
	}
	return v
}

// Failsafe lets the holder go on by promises of the roster, the other nodes
// that may be promoted, while no control node answers. It is what is on record
// for its generation: with ok false only grants count.
func (h *Holder) Failsafe(ok bool, roster []string) {
	h.failsafe = ok
	if !ok || !sameNodes(h.roster, roster) {
		h.rounds = [outstanding]round{} // what others said counts for the roster it was asked of
	}
	h.roster = append([]string(nil), roster...)
}

func sameNodes(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Renumber carries the lease over to a later generation of the same holder.
func (h *Holder) Renumber(generation uint64) {
	if generation > h.Generation {
		h.Generation, h.rounds = generation, [outstanding]round{}
	}
}

// round is one question to all of the roster.
type round struct {
	number uint64
	at     time.Duration
	got    map[string]bool
}

// asks tells whether the roster is to be asked now.
func (h *Holder) asks(now time.Duration) bool {
	switch {
	case !h.failsafe || !h.Enrolled || h.supers || now-h.Good >= h.Terms.TTL:
		return false // what has ended is taken up again by a grant only
	case h.barred, h.Stage == Ended, h.Stage == Returning, h.Stage == Enrolling:
		return false
	}
	return now-h.granted >= 3*h.Terms.Renew/2 && (h.lastAsked == 0 || now-h.lastAsked >= h.Terms.Renew/2)
}

func (h *Holder) ask(now time.Duration) {
	h.question++
	h.lastAsked = now
	h.rounds[h.question%outstanding] = round{number: h.question, at: now, got: map[string]bool{}}
}

// Round is the number of the question to be asked now.
func (h *Holder) Round() uint64 { return h.question }

// Roster are the nodes to be asked.
func (h *Holder) Roster() []string { return h.roster }

// Promised takes in that the agent beside a node promised in a round. With the
// last of the roster the lease goes on from when the round was asked.
func (h *Holder) Promised(node string, number uint64, now time.Duration) []Effect {
	r := h.rounds[number%outstanding]
	if r.number != number || number == 0 || !h.failsafe || h.supers || h.barred || h.Stage == Ended || h.Stage == Returning {
		return nil
	}
	r.got[node] = true
	return h.counted(&r, now)
}

// counted carries the lease on when the whole roster promised in a round.
func (h *Holder) counted(r *round, now time.Duration) []Effect {
	for _, n := range h.roster {
		if !r.got[n] {
			return nil
		}
	}
	if now-h.Good >= h.Terms.TTL || now-r.at >= h.Terms.FenceAt || r.at <= h.Good {
		return nil // it ended before, or this came too late
	}
	if !h.alone {
		h.alone, h.Since = true, now
	}
	h.Good = r.at
	h.asked, h.killing = 0, 0
	if h.Held > now {
		h.Stage = FencedSoft
		return []Effect{LiftFence}
	}
	h.Stage = Renewed
	return nil
}

// Alone tells whether the lease is kept by promises, and since when.
func (h *Holder) Alone() (bool, time.Duration) { return h.alone, h.Since }

// grantedNow takes a grant in. When it covers all that promises carried the
// lease to, they are given back, and no round that is under way counts any more.
func (h *Holder) grantedNow(at time.Duration, covers bool) []Effect {
	h.granted = max(h.granted, at)
	if !h.alone || !covers {
		return nil
	}
	h.alone, h.Since, h.lastAsked = false, 0, 0
	h.rounds = [outstanding]round{}
	return []Effect{FreePromises}
}

func (h *Holder) aloneSentence(now time.Duration) string {
	return fmt.Sprintf("no control node answers for %.0f s; writes go on because every other node's agent promises each time not to let another be promoted", (now - h.granted).Seconds())
}
