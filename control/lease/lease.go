// Package lease is the arithmetic of the lease on a primary: who may take
// writes until when, seen from both ends. It is pure: moments go in, grants,
// refusals and effects come out.
//
// Two clocks are never compared. The agent beside the primary counts from the
// moment it SENT the renewal that was granted; the control plane counts from
// the moment it ANSWERED, which is later, and adds Eps for the drift of the two
// clocks. So the agent has stopped writes before the control plane may name
// another holder.
//
//	agent          send ............ fence_at .. hard_at .. ttl
//	control plane        answer ........................... ttl + eps: another may be named
//
// Moments are time.Duration since the machine was booted (CLOCK_BOOTTIME): they
// go on while the machine sleeps and do not jump with the wall clock.
//
// Table is the control plane's end, Holder the agent's.
package lease

import (
	"fmt"
	"time"
)

// Bounds and default of a lease's length.
const (
	DefaultTTL = 5 * time.Second
	MinTTL     = 3 * time.Second
	MaxTTL     = 60 * time.Second
)

// HardStop is the longest that ending an engine by force was seen to take, on
// a machine under load; FenceAt must leave at least this much of the ttl.
const HardStop = 500 * time.Millisecond

// Terms are the times of one lease.
type Terms struct {
	TTL     time.Duration // from the sent renewal: writes have ended
	Renew   time.Duration // between two renewals
	FenceAt time.Duration // since the last good renewal: writes are held
	HardAt  time.Duration // since the last good renewal: ended by force unless writes are held
}

// TermsOf gives the times for a length; outside its bounds the nearest bound
// counts, 0 is the default.
func TermsOf(ttl time.Duration) Terms {
	if ttl == 0 {
		ttl = DefaultTTL
	}
	ttl = min(max(ttl, MinTTL), MaxTTL)
	return Terms{TTL: ttl, Renew: min(time.Second, ttl/5), FenceAt: ttl * 3 / 5, HardAt: ttl * 4 / 5}
}

// Check tells what is wrong with terms, nil when a missed renewal still leaves
// time for another and the fence has its time before the end.
func (t Terms) Check() error {
	switch {
	case t.TTL < MinTTL || t.TTL > MaxTTL:
		return fmt.Errorf("a lease lasts from %s to %s, not %s", MinTTL, MaxTTL, t.TTL)
	case t.Renew <= 0 || 2*t.Renew > t.FenceAt:
		return fmt.Errorf("renewing every %s leaves no second try before writes are held at %s", t.Renew, t.FenceAt)
	case t.HardAt <= t.FenceAt || t.HardAt+HardStop > t.TTL:
		return fmt.Errorf("ending the engine at %s does not surely end it before %s", t.HardAt, t.TTL)
	}
	return nil
}

// Eps is the drift allowed between the two clocks over one lease, added on the
// control plane's side only.
func Eps(ttl time.Duration) time.Duration { return ttl/50 + 100*time.Millisecond }

// State of a lease as the control plane sees it.
type State string

// States. None: the cluster has no lease. Held: renewed lately. AtRisk: a
// renewal is overdue. Expired: ttl and eps are over, the holder has stopped.
// Released: the holder's agent said that it takes no writes any more.
const (
	None     State = "none"
	Held     State = "held"
	AtRisk   State = "at-risk"
	Expired  State = "expired"
	Released State = "released"
)

// Reasons of a refusal.
const (
	NotManaged = "not-managed" // the cluster has no lease
	Superseded = "superseded"  // another holder or a higher generation is on record
	Barred     = "barred"      // a failover of this generation is on its way
	IsReleased = "released"    // the agent gave it back; only a reinstatement takes it up again
)

// Answer to a renewal.
type Answer struct {
	Granted bool
	Code    string // reason of a refusal
	TTL     time.Duration
}

// Holding is one generation's lease.
type Holding struct {
	Generation uint64
	Holder     string
	TTL        time.Duration // of the last grant, or of the record before any
	Wanted     time.Duration // ttl of the next grant
	// Answered is when the last grant was answered; before the first one, when
	// the lease was assumed to have been renewed.
	Answered time.Duration
	// Granted tells that this table granted it at least once.
	Granted  bool
	Released bool
	Why      string // of the release
	Barred   bool
}

// free tells whether its holder surely takes no writes.
func (h *Holding) free(now time.Duration) bool {
	return h.Released || now > h.Answered+h.TTL+Eps(h.TTL)
}

func (h *Holding) state(now time.Duration) State {
	switch {
	case h.Released:
		return Released
	case h.free(now):
		return Expired
	case now > h.Answered+2*TermsOf(h.TTL).Renew:
		return AtRisk
	}
	return Held
}

// View is a lease for those who decide and those who look.
type View struct {
	State      State
	Holder     string
	Generation uint64
	TTL        time.Duration
	// ExpiresIn is the time until another may be named, 0 when it may be.
	ExpiresIn time.Duration
	Why       string // of a release
	// Granted tells that a renewal was granted since this control plane leads.
	Granted bool
}

// Table holds the leases of all clusters. The zero value is not usable: make
// it with NewTable. It is a value of one owner; callers lock.
type Table struct {
	byCluster map[string]*entry
}

type entry struct {
	now    Holding
	former []Holding // earlier generations that are not free yet, oldest first
}

// NewTable returns a table without leases.
func NewTable() *Table { return &Table{byCluster: map[string]*entry{}} }

// Expect says what is on record: the holder of a generation. A lease the table
// did not know is assumed to have been renewed at this moment, because a
// control plane before this one may have; the one before it is kept until it
// is surely over.
func (t *Table) Expect(cluster string, generation uint64, holder string, ttl, now time.Duration) {
	ttl = TermsOf(ttl).TTL
	e := t.byCluster[cluster]
	if e == nil {
		e = &entry{now: Holding{Generation: generation, Holder: holder, TTL: ttl, Wanted: ttl, Answered: now}}
		t.byCluster[cluster] = e
		return
	}
	e.now.Wanted = ttl
	if generation < e.now.Generation || generation == e.now.Generation && holder == e.now.Holder {
		return
	}
	keep := e.former[:0]
	for _, f := range append(e.former, e.now) {
		if !f.free(now) || f.Released {
			keep = append(keep, f)
		}
	}
	e.former = keep[max(0, len(keep)-4):]
	e.now = Holding{Generation: generation, Holder: holder, TTL: ttl, Wanted: ttl, Answered: now}
}

// Assume takes it that the present lease was renewed just now: used while an
// operation names a holder by order instead of by a grant.
func (t *Table) Assume(cluster string, now time.Duration) {
	if e := t.byCluster[cluster]; e != nil && !e.now.Released {
		e.now.Answered = max(e.now.Answered, now)
	}
}

// Forget removes a cluster that has no lease any more.
func (t *Table) Forget(cluster string) { delete(t.byCluster, cluster) }

// Renew answers a renewal of node for a generation.
func (t *Table) Renew(cluster string, generation uint64, node string, now time.Duration) Answer {
	e := t.byCluster[cluster]
	switch {
	case e == nil:
		return Answer{Code: NotManaged}
	case e.now.Generation != generation || e.now.Holder != node:
		return Answer{Code: Superseded}
	case e.now.Barred:
		return Answer{Code: Barred}
	case e.now.Released:
		return Answer{Code: IsReleased}
	}
	e.now.TTL, e.now.Answered, e.now.Granted = max(e.now.Wanted, MinTTL), now, true
	return Answer{Granted: true, TTL: e.now.TTL}
}

// Release records that the agent of node said it takes no writes any more in
// the generation. It reports whether that is the present lease.
func (t *Table) Release(cluster string, generation uint64, node, why string) bool {
	e := t.byCluster[cluster]
	if e == nil {
		return false
	}
	for i := range e.former {
		if e.former[i].Generation == generation && e.former[i].Holder == node {
			e.former[i].Released, e.former[i].Why = true, why
		}
	}
	if e.now.Generation != generation || e.now.Holder != node {
		return false
	}
	fresh := !e.now.Released
	e.now.Released, e.now.Why = true, why
	return fresh
}

// Bar refuses every further renewal of a generation, so that its end is final.
func (t *Table) Bar(cluster string, generation uint64) {
	if e := t.byCluster[cluster]; e != nil && e.now.Generation == generation {
		e.now.Barred = true
	}
}

// Unbar lets a generation be renewed again: the failover was taken back.
func (t *Table) Unbar(cluster string, generation uint64) {
	if e := t.byCluster[cluster]; e != nil && e.now.Generation == generation {
		e.now.Barred = false
	}
}

// Reinstate lets a released lease be renewed again, by the same holder in the
// same generation, because its engine is to be started again where it was.
func (t *Table) Reinstate(cluster string, generation uint64, now time.Duration) {
	if e := t.byCluster[cluster]; e != nil && e.now.Generation == generation && !e.now.Barred {
		e.now.Released, e.now.Why, e.now.Answered = false, "", now
	}
}

// Free tells whether the holder of a generation, and of every one before it,
// surely takes no writes; if not, how long that may last at most.
func (t *Table) Free(cluster string, generation uint64, now time.Duration) (free bool, within time.Duration) {
	e := t.byCluster[cluster]
	if e == nil {
		return false, 0
	}
	for _, h := range append(append([]Holding{}, e.former...), e.now) {
		if h.Generation <= generation && !h.free(now) {
			within = max(within, h.Answered+h.TTL+Eps(h.TTL)-now)
		}
	}
	return within == 0, within
}

// View returns the present lease of a cluster.
func (t *Table) View(cluster string, now time.Duration) View {
	e := t.byCluster[cluster]
	if e == nil {
		return View{State: None}
	}
	h := &e.now
	v := View{State: h.state(now), Holder: h.Holder, Generation: h.Generation, TTL: h.TTL, Why: h.Why, Granted: h.Granted}
	if !h.free(now) {
		v.ExpiresIn = h.Answered + h.TTL + Eps(h.TTL) - now
	}
	return v
}
