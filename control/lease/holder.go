package lease

import (
	"fmt"
	"time"
)

// Effect is something the agent is to do at once.
type Effect string

// Effects of a Holder.
const (
	// SendRenewal: ask for another term; see Holder.Renewal for its number.
	SendRenewal Effect = "send-renewal"
	// SoftFence: hold clients' writes; answer with Fenced or FenceFailed.
	SoftFence Effect = "soft-fence"
	// HardFence: end the engine's process and keep it ended; answer with
	// EngineEnded.
	HardFence Effect = "hard-fence"
	// LiftFence: let clients' writes go on; answer with Lifted.
	LiftFence Effect = "lift-fence"
	// SendRelease: tell the control plane that no writes are taken here.
	SendRelease Effect = "send-release"
	// StartEngine: start the engine as primary; answer with EngineUp.
	StartEngine Effect = "start-engine"
	// AskPromises: ask the agents beside the roster for the promise of a round;
	// see Holder.Round for its number. Answer with Promised.
	AskPromises Effect = "ask-promises"
	// FreePromises: tell them that what they promised is not relied on any more.
	FreePromises Effect = "free-promises"
)

// Stage is where the agent's end of a lease is.
type Stage string

// Stages of a Holder.
const (
	// Enrolling: managed, no grant yet; nothing is fenced, nobody may rely on it.
	Enrolling Stage = "enrolling"
	// Holding: granted.
	Renewed Stage = "held"
	// Risky: a renewal is overdue.
	Risky Stage = "at-risk"
	// Fencing: writes are to be held, or the engine is to be ended.
	Fencing Stage = "fencing"
	// FencedSoft: writes are held, the engine runs.
	FencedSoft Stage = "fenced"
	// Ended: the engine was ended, or ended by itself, and is kept ended.
	Ended Stage = "ended"
	// Returning: the control plane wants the engine back as primary; it is
	// started with the next grant.
	Returning Stage = "returning"
)

const (
	// softLength is how long a hold lasts beyond the lease; it is renewed long before.
	softLength = 60 * time.Second
	// softAgain is how often the hold is renewed while no grant comes.
	softAgain = 10 * time.Second
	// releaseAgain is how often a release is said again: it may have been lost.
	releaseAgain = time.Second
	// outstanding bounds the renewals without an answer that are remembered.
	outstanding = 16
)

// Holder is the agent's end of one lease, for one generation. It decides
// nothing about others: it fences its own engine in time, and never lifts the
// fence without a grant.
type Holder struct {
	Cluster, Node string
	Generation    uint64
	Terms         Terms
	Stage         Stage

	// Good is when the renewal that was granted last was sent, or the round was
	// asked in which the whole roster promised.
	Good time.Duration
	// Since is when the lease began to be kept by promises; see Alone.
	Since time.Duration
	// Enrolled tells that a grant was had at least once in this generation.
	Enrolled bool
	// Held is until when the engine holds writes, 0 when it does not.
	Held time.Duration

	number   uint64
	sent     [outstanding]sending
	lastSent time.Duration
	asked    time.Duration // when the soft fence was last asked for; 0 never
	killing  time.Duration // when the hard fence was last asked for; 0 never
	said     time.Duration // when the release was last said; 0 never
	supers   bool          // refused for good: another holder is on record
	barred   bool          // refused because a failover is on its way

	failsafe  bool
	roster    []string
	granted   time.Duration // when the renewal that was granted last was sent
	alone     bool
	question  uint64 // number of the last round
	lastAsked time.Duration
	rounds    [outstanding]round
}

type sending struct {
	number uint64
	at     time.Duration
}

// NewHolder returns the holder of a generation that has no grant yet.
func NewHolder(cluster, node string, generation uint64, ttl time.Duration) *Holder {
	return &Holder{Cluster: cluster, Node: node, Generation: generation, Terms: TermsOf(ttl), Stage: Enrolling}
}

// Resume returns the holder as an agent before this one left it: good is when
// that one sent its last granted renewal.
func Resume(cluster, node string, generation uint64, ttl, good time.Duration) *Holder {
	h := NewHolder(cluster, node, generation, ttl)
	h.Good, h.granted, h.Enrolled, h.Stage = good, good, true, Renewed
	return h
}

// Renewal is the number of the renewal to be sent now.
func (h *Holder) Renewal() uint64 { return h.number }

// Tick returns what is due at a moment. Call it often: at least ten times a
// second.
func (h *Holder) Tick(now time.Duration) []Effect {
	var out []Effect
	if h.Stage == Ended {
		if h.said == 0 || now-h.said >= releaseAgain {
			h.said = now
			out = append(out, SendRelease)
		}
		return out
	}
	every := h.Terms.Renew
	if h.Stage == Risky || h.Stage == FencedSoft || h.Stage == Fencing {
		every /= 2
	}
	if !h.supers && (h.lastSent == 0 || now-h.lastSent >= every) {
		h.number++
		h.sent[h.number%outstanding] = sending{h.number, now}
		h.lastSent = now
		out = append(out, SendRenewal)
	}
	if !h.Enrolled || h.Stage == Returning {
		return out
	}
	if h.asks(now) {
		h.ask(now)
		out = append(out, AskPromises)
		if len(h.roster) == 0 {
			out = append(out, h.counted(&h.rounds[h.question%outstanding], now)...)
		}
	}
	since := now - h.Good
	held := h.Held > now
	switch {
	case since >= h.Terms.HardAt && !held:
		h.Stage = Fencing
		if h.killing == 0 || now-h.killing >= 200*time.Millisecond {
			h.killing = now
			out = append(out, HardFence)
		}
	case since >= h.Terms.FenceAt && !held, held && since >= h.Terms.FenceAt && now-h.asked >= softAgain:
		if !held {
			h.Stage = Fencing
		}
		if h.asked == 0 || now-h.asked >= 100*time.Millisecond {
			h.asked = now
			out = append(out, SoftFence)
		}
	case held && since < h.Terms.FenceAt && h.Stage == FencedSoft:
		if now-h.asked >= 100*time.Millisecond { // granted again, and still held
			h.asked = now
			out = append(out, LiftFence)
		}
	case since >= 2*h.Terms.Renew && h.Stage == Renewed:
		h.Stage = Risky
	}
	return out
}

// SoftFor is how long a hold that begins now shall last.
func (h *Holder) SoftFor(now time.Duration) time.Duration {
	return max(0, h.Good+h.Terms.TTL-now) + softLength
}

// Granted takes the grant of a renewal in.
func (h *Holder) Granted(number uint64, ttl, now time.Duration) []Effect {
	s := h.sent[number%outstanding]
	if s.number != number || h.Stage == Ended {
		return nil
	}
	h.Terms = TermsOf(ttl)
	covers := s.at >= h.Good || !h.Enrolled // what was promised since is not needed any more
	if covers {
		h.Good = s.at
	}
	if now-h.Good >= h.Terms.FenceAt {
		return nil // it came too late to count
	}
	h.Enrolled, h.supers, h.barred = true, false, false
	h.asked, h.killing = 0, 0
	out := h.grantedNow(s.at, covers)
	switch {
	case h.Stage == Returning:
		h.Stage = Renewed
		return append(out, StartEngine)
	case h.Held > now:
		h.Stage = FencedSoft
		return append(out, LiftFence)
	}
	h.Stage = Renewed
	return out
}

// Refused takes a refusal in. Barred: a failover is on its way and waits for
// this very engine to end, so it is ended now. Superseded: no grant will come;
// the fence follows at its time, unless the engine becomes a replica before.
func (h *Holder) Refused(code string, now time.Duration) []Effect {
	switch code {
	case Superseded:
		h.supers = h.Enrolled
	case Barred:
		h.barred = true
		if h.Stage != Ended {
			h.Stage, h.killing = Fencing, now
			return []Effect{HardFence}
		}
	case IsReleased:
		if h.Stage != Ended && h.Stage != Returning {
			// An earlier release is on record: it must be true.
			h.Stage, h.killing = Fencing, now
			return []Effect{HardFence}
		}
	}
	return nil
}

// Fenced says that writes are held until a moment.
func (h *Holder) Fenced(until time.Duration) {
	if h.Stage == Ended {
		return
	}
	h.Held, h.Stage = until, FencedSoft
}

// Lifted says that writes are let go.
func (h *Holder) Lifted() {
	h.Held = 0
	if h.Stage == FencedSoft {
		h.Stage = Renewed
	}
}

// EngineEnded says that the engine's process is gone and will not come back by
// itself.
func (h *Holder) EngineEnded() {
	if h.Stage != Ended {
		h.Stage, h.Held, h.said = Ended, 0, 0
	}
}

// Return says that the control plane wants the engine back as primary. It is
// started when a renewal sent from now on is granted.
func (h *Holder) Return() {
	if h.Stage == Ended {
		h.Stage, h.lastSent, h.supers = Returning, 0, false
		h.sent = [outstanding]sending{}
	}
}

// MayWrite tells whether the engine may take writes at a moment as far as the
// lease goes; before enrolment nobody relies on it.
func (h *Holder) MayWrite(now time.Duration) bool {
	switch h.Stage {
	case Ended, Returning:
		return false
	}
	return !h.Enrolled || now-h.Good < h.Terms.TTL
}

// HardDeadline is the moment at which a guardian beside the agent ends the
// engine unless the agent moved it: the hard fence's time, or while writes are
// held a while before the hold ends. 0 before enrolment: nothing is ended.
func (h *Holder) HardDeadline() time.Duration {
	if !h.Enrolled || h.Stage == Ended || h.Stage == Returning {
		return 0
	}
	return max(h.Good+h.Terms.HardAt, h.Held-softAgain)
}

// Sentence says how the lease stands.
func (h *Holder) Sentence(now time.Duration) string {
	switch h.Stage {
	case Enrolling:
		return "no lease was granted yet"
	case Risky:
		return fmt.Sprintf("lease at risk: not renewed for %.1f s", (now - h.Good).Seconds())
	case Fencing:
		return "lease lost: writes are being stopped"
	case FencedSoft:
		return "lease lost: writes are held until the control plane grants it again"
	case Ended:
		return "its engine is kept stopped until the control plane says what it is to be"
	case Returning:
		return "its engine starts as soon as the lease is granted"
	}
	if h.alone {
		return h.aloneSentence(now)
	}
	return "lease held"
}
