package lease

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ttl = DefaultTTL

func TestTermsLeaveTimeToFence(t *testing.T) {
	for d := time.Duration(0); d <= 2*MaxTTL; d += 100 * time.Millisecond {
		if err := TermsOf(d).Check(); err != nil {
			t.Fatalf("%s: %v", d, err)
		}
	}
	if err := (Terms{TTL: ttl, Renew: 2 * time.Second, FenceAt: 3 * time.Second, HardAt: 4 * time.Second}).Check(); err == nil {
		t.Error("terms without a second try are accepted")
	}
	if got := TermsOf(ttl); got.Renew != time.Second || got.FenceAt != 3*time.Second || got.HardAt != 4*time.Second {
		t.Errorf("terms of the default are %+v", got)
	}
}

func TestALeaseIsFreeOnlyAfterItsTimeOrItsRelease(t *testing.T) {
	lt := NewTable()
	lt.Expect("c", 1, "a", ttl, 10*time.Second)
	at := 11 * time.Second
	if a := lt.Renew("c", 1, "a", at); !a.Granted || a.TTL != ttl {
		t.Fatalf("renewal: %+v", a)
	}
	for _, wrong := range []Answer{lt.Renew("c", 1, "b", at), lt.Renew("c", 2, "a", at), lt.Renew("d", 1, "a", at)} {
		if wrong.Granted || wrong.Code == "" {
			t.Errorf("a renewal that is not the holder's is granted: %+v", wrong)
		}
	}
	end := at + ttl + Eps(ttl)
	if free, within := lt.Free("c", 1, end); free || within != 0 {
		// at the very moment nothing is left and it is not over yet
		t.Logf("free %v, within %s", free, within)
	}
	if free, _ := lt.Free("c", 1, end-time.Millisecond); free {
		t.Error("free before ttl and eps are over")
	}
	if free, _ := lt.Free("c", 1, end+time.Millisecond); !free {
		t.Error("not free after ttl and eps")
	}
	if !lt.Release("c", 1, "a", "engine ended") {
		t.Error("the release is not taken")
	}
	if free, _ := lt.Free("c", 1, at); !free {
		t.Error("not free after its release")
	}
	if a := lt.Renew("c", 1, "a", at); a.Granted || a.Code != IsReleased {
		t.Errorf("a released lease is renewed: %+v", a)
	}
	lt.Reinstate("c", 1, at)
	if a := lt.Renew("c", 1, "a", at); !a.Granted {
		t.Errorf("a reinstated lease is not renewed: %+v", a)
	}
	lt.Bar("c", 1)
	if a := lt.Renew("c", 1, "a", at); a.Granted || a.Code != Barred {
		t.Errorf("a barred lease is renewed: %+v", a)
	}
	lt.Unbar("c", 1)
	if a := lt.Renew("c", 1, "a", at); !a.Granted {
		t.Errorf("an unbarred lease is not renewed: %+v", a)
	}
}

func TestANewControlPlaneWaitsForWhatTheOldOneGranted(t *testing.T) {
	lt := NewTable()
	lt.Expect("c", 7, "a", ttl, 100*time.Second) // as after a restart
	if free, within := lt.Free("c", 7, 104*time.Second); free || within < time.Second {
		t.Errorf("free %v, within %s", free, within)
	}
	if v := lt.View("c", 102*time.Second+1); v.State != AtRisk || v.Granted {
		t.Errorf("view %+v", v)
	}
	if v := lt.View("c", 106*time.Second); v.State != Expired || v.ExpiresIn != 0 {
		t.Errorf("view %+v", v)
	}
}

func TestTheLeaseBeforeIsKeptUntilItIsOver(t *testing.T) {
	lt := NewTable()
	lt.Expect("c", 1, "a", ttl, 0)
	lt.Renew("c", 1, "a", time.Second)
	lt.Expect("c", 2, "b", ttl, 2*time.Second)
	if a := lt.Renew("c", 1, "a", 2*time.Second); a.Code != Superseded {
		t.Errorf("%+v", a)
	}
	if free, _ := lt.Free("c", 1, 3*time.Second); free {
		t.Error("generation 1 counts as over")
	}
	if free, _ := lt.Free("c", 1, time.Second+ttl+Eps(ttl)+1); !free {
		t.Error("generation 1 does not end")
	}
	lt.Release("c", 1, "a", "demoted")
	if free, _ := lt.Free("c", 1, 3*time.Second); !free {
		t.Error("the release of the generation before is not taken")
	}
}

func has(effects []Effect, want Effect) bool {
	for _, e := range effects {
		if e == want {
			return true
		}
	}
	return false
}

// run ticks a holder to a moment and returns when each effect was first asked for.
func run(h *Holder, from, to time.Duration, on func(e Effect, now time.Duration)) map[Effect]time.Duration {
	first := map[Effect]time.Duration{}
	for now := from; now <= to; now += 20 * time.Millisecond {
		for _, e := range h.Tick(now) {
			if _, ok := first[e]; !ok {
				first[e] = now
			}
			if on != nil {
				on(e, now)
			}
		}
	}
	return first
}

func TestTheLadderOfALostLease(t *testing.T) {
	h := NewHolder("c", "a", 1, ttl)
	if e := h.Tick(0); !has(e, SendRenewal) {
		t.Fatalf("effects %v", e)
	}
	first := run(h, 0, 20*time.Second, nil)
	if len(first) != 1 {
		t.Errorf("a lease that was never granted is fenced: %v", first)
	}
	h = NewHolder("c", "a", 1, ttl)
	h.Tick(0)
	h.Granted(h.Renewal(), ttl, 0)
	first = run(h, 0, 10*time.Second, func(e Effect, now time.Duration) {
		if e == HardFence {
			h.EngineEnded()
		}
	})
	if first[SoftFence] < 3*time.Second || first[SoftFence] > 3100*time.Millisecond {
		t.Errorf("writes are held at %s", first[SoftFence])
	}
	if first[HardFence] < 4*time.Second || first[HardFence] > 4100*time.Millisecond {
		t.Errorf("the engine is ended at %s", first[HardFence])
	}
	if first[SendRelease] < first[HardFence] {
		t.Errorf("released at %s, ended at %s", first[SendRelease], first[HardFence])
	}
	if h.MayWrite(4 * time.Second) {
		t.Error("an ended engine may write")
	}
}

func TestAHeldEngineIsNotEndedAndLetGoOnlyByAGrant(t *testing.T) {
	h := NewHolder("c", "a", 1, ttl)
	h.Tick(0)
	h.Granted(h.Renewal(), ttl, 0)
	lifted := false
	first := run(h, 0, 100*time.Second, func(e Effect, now time.Duration) {
		switch e {
		case SoftFence:
			h.Fenced(now + h.SoftFor(now))
		case LiftFence:
			lifted = true
		}
	})
	if _, ok := first[HardFence]; ok || lifted || h.Stage != FencedSoft {
		t.Fatalf("first %v, lifted %v, stage %s", first, lifted, h.Stage)
	}
	if h.Held < 100*time.Second {
		t.Errorf("the hold ends at %s although nothing was granted", h.Held)
	}
	e := h.Granted(h.Renewal(), ttl, 100*time.Second)
	if !has(e, LiftFence) {
		t.Errorf("effects of a grant: %v", e)
	}
	h.Lifted()
	if h.Stage != Renewed || !h.MayWrite(100*time.Second) {
		t.Errorf("stage %s", h.Stage)
	}
}

func TestAFrozenAgentEndsTheEngineWhenItThaws(t *testing.T) {
	h := NewHolder("c", "a", 1, ttl)
	h.Tick(0)
	h.Granted(h.Renewal(), ttl, 0)
	if e := h.Tick(30 * time.Second); !has(e, HardFence) || has(e, SoftFence) {
		t.Errorf("effects %v", e)
	}
	// The grant of what was asked before the freeze counts for nothing.
	if e := h.Granted(1, ttl, 30*time.Second); len(e) != 0 || h.Stage == Renewed {
		t.Errorf("an old grant has effects %v, stage %s", e, h.Stage)
	}
}

func TestAnEndedEngineReturnsOnlyWithAGrant(t *testing.T) {
	h := NewHolder("c", "a", 1, ttl)
	h.Tick(0)
	h.Granted(h.Renewal(), ttl, 0)
	h.EngineEnded()
	if e := h.Tick(time.Second); !has(e, SendRelease) || has(e, SendRenewal) {
		t.Errorf("effects %v", e)
	}
	if e := h.Granted(1, ttl, time.Second); len(e) != 0 {
		t.Errorf("an ended engine is started by an old grant: %v", e)
	}
	h.Return()
	if e := h.Tick(2 * time.Second); !has(e, SendRenewal) {
		t.Errorf("effects %v", e)
	}
	if h.MayWrite(2 * time.Second) {
		t.Error("may write before the grant")
	}
	if e := h.Granted(h.Renewal(), ttl, 2*time.Second); !has(e, StartEngine) {
		t.Errorf("effects %v", e)
	}
}

func TestABarredHolderEndsItsEngineAtOnce(t *testing.T) {
	h := NewHolder("c", "a", 1, ttl)
	h.Tick(0)
	h.Granted(h.Renewal(), ttl, 0)
	if e := h.Refused(Barred, time.Second); !has(e, HardFence) {
		t.Errorf("effects %v", e)
	}
}

func TestTheGuardianActsAfterTheAgentHadItsTurn(t *testing.T) {
	h := NewHolder("c", "a", 1, ttl)
	if h.HardDeadline() != 0 {
		t.Error("a lease never granted has a deadline")
	}
	h.Tick(0)
	h.Granted(h.Renewal(), ttl, 0)
	if d := h.HardDeadline(); d != 4*time.Second {
		t.Errorf("deadline %s", d)
	}
	h.Fenced(63 * time.Second)
	if d := h.HardDeadline(); d <= 4*time.Second || d >= 63*time.Second {
		t.Errorf("deadline while held %s", d)
	}
}

// TestTheHolderStopsBeforeAnotherMayBeNamed: whatever is delayed or lost, and
// with clocks that drift apart within eps, no write is allowed by the agent at
// a moment at which the control plane counts the lease as free.
func TestTheHolderStopsBeforeAnotherMayBeNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drift := rapid.Float64Range(-0.009, 0.009).Draw(t, "drift") // of each clock; together within 2 %
		length := time.Duration(rapid.IntRange(3000, 60000).Draw(t, "ttlMs")) * time.Millisecond
		clock := func(real time.Duration, rate float64) time.Duration { return time.Duration(float64(real) * (1 + rate)) }
		lt := NewTable()
		h := NewHolder("c", "a", 1, length)
		lt.Expect("c", 1, "a", length, 0)
		type message struct {
			at     time.Duration // arrives
			number uint64
			answer *Answer
		}
		var wire []message
		for real := time.Duration(0); real < 4*length; real += 50 * time.Millisecond {
			mine, theirs := clock(real, drift), clock(real, -drift)
			for _, e := range h.Tick(mine) {
				switch e {
				case SendRenewal:
					if rapid.IntRange(0, 9).Draw(t, "lost") > 3 {
						wire = append(wire, message{at: real + time.Duration(rapid.IntRange(0, 4000).Draw(t, "delayMs"))*time.Millisecond, number: h.Renewal()})
					}
				case SoftFence:
					if rapid.Bool().Draw(t, "held") {
						h.Fenced(mine + h.SoftFor(mine))
					}
				case LiftFence:
					h.Lifted()
				}
			}
			var rest []message
			for _, m := range wire {
				switch {
				case m.at > real:
					rest = append(rest, m)
				case m.answer != nil && m.answer.Granted:
					for _, e := range h.Granted(m.number, m.answer.TTL, mine) {
						if e == LiftFence {
							h.Lifted()
						}
					}
				case m.answer == nil:
					a := lt.Renew("c", 1, "a", theirs)
					rest = append(rest, message{at: real + time.Duration(rapid.IntRange(0, 4000).Draw(t, "backMs"))*time.Millisecond, number: m.number, answer: &a})
				}
			}
			wire = rest
			if free, _ := lt.Free("c", 1, theirs); free && h.Enrolled && h.MayWrite(mine) {
				t.Fatalf("at %s another may be named and the holder may write (last good %s)", real, h.Good)
			}
		}
	})
}
