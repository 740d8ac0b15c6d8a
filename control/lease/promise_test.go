package lease

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// alone is a holder in mode failsafe that was granted a term at 0.
func alone(roster ...string) *Holder {
	h := NewHolder("c", "a", 1, ttl)
	h.Failsafe(true, roster)
	h.Tick(0)
	h.Granted(h.Renewal(), ttl, 0)
	return h
}

func TestALeaseIsKeptWhileEveryOtherAgentPromises(t *testing.T) {
	h := alone("b", "d")
	first := run(h, 0, 60*time.Second, func(e Effect, now time.Duration) {
		if e == AskPromises {
			for _, n := range h.Roster() {
				h.Promised(n, h.Round(), now)
			}
		}
	})
	if _, fenced := first[SoftFence]; fenced || h.Stage != Renewed || !h.MayWrite(60*time.Second) {
		t.Fatalf("first %v, stage %s", first, h.Stage)
	}
	if at := first[AskPromises]; at < 3*h.Terms.Renew/2 {
		t.Errorf("promises are asked for at %s, while the control plane may still answer", at)
	}
	if ok, since := h.Alone(); !ok || since < 3*h.Terms.Renew/2 || since > 3*time.Second {
		t.Errorf("alone %v since %s", ok, since)
	}
	if s := h.Sentence(60 * time.Second); !strings.Contains(s, "no control node answers") {
		t.Errorf("sentence %q", s)
	}
	h.Tick(61 * time.Second)
	if e := h.Granted(h.Renewal(), ttl, 61*time.Second); !has(e, FreePromises) {
		t.Errorf("effects of a grant: %v", e)
	}
	if ok, _ := h.Alone(); ok {
		t.Error("kept by promises after a grant")
	}
}

func TestOneSilentAgentEndsIt(t *testing.T) {
	for _, silent := range []string{"b", "d"} {
		h := alone("b", "d")
		first := run(h, 0, 10*time.Second, func(e Effect, now time.Duration) {
			switch e {
			case AskPromises:
				for _, n := range h.Roster() {
					if n != silent {
						h.Promised(n, h.Round(), now)
					}
				}
			case HardFence:
				h.EngineEnded()
			}
		})
		if first[SoftFence] == 0 || first[SoftFence] > 3100*time.Millisecond || first[HardFence] > 4100*time.Millisecond || h.MayWrite(5*time.Second) {
			t.Errorf("without %s: %v", silent, first)
		}
	}
	// Halves of two rounds are no whole one.
	h := alone("b", "d")
	first := run(h, 0, 10*time.Second, func(e Effect, now time.Duration) {
		if e == AskPromises {
			h.Promised(h.Roster()[h.Round()%2], h.Round(), now)
		}
	})
	if first[SoftFence] == 0 {
		t.Error("promises of different rounds are added up")
	}
}

func TestInModeStrictNothingIsAsked(t *testing.T) {
	h := alone("b")
	h.Failsafe(false, nil)
	if first := run(h, 0, 10*time.Second, nil); first[AskPromises] != 0 || first[SoftFence] == 0 {
		t.Errorf("%v", first)
	}
}

func TestWithoutAnotherThatCouldBePromotedItIsKeptByItself(t *testing.T) {
	h := alone()
	if first := run(h, 0, 30*time.Second, nil); first[SoftFence] != 0 || !h.MayWrite(30*time.Second) {
		t.Errorf("%v", first)
	}
}

func TestWhatEndedIsTakenUpByAGrantOnly(t *testing.T) {
	h := alone("b")
	run(h, 0, 10*time.Second, func(e Effect, now time.Duration) {
		if e == SoftFence {
			h.Fenced(now + h.SoftFor(now))
		}
	})
	if e := h.Promised("b", h.Round(), 10*time.Second); len(e) != 0 || h.MayWrite(10*time.Second) {
		t.Errorf("a promise lifted the fence of a lease that had ended: %v", e)
	}
	first := run(h, 10*time.Second, 20*time.Second, nil)
	if first[AskPromises] != 0 {
		t.Error("promises are asked for although the lease has ended")
	}
}

func TestHeldWritesAreLetGoWhenAllPromisedInTime(t *testing.T) {
	h := alone("b")
	h.Tick(2500 * time.Millisecond)
	h.Tick(3 * time.Second) // held now
	h.Fenced(63 * time.Second)
	if e := h.Promised("b", h.Round(), 3100*time.Millisecond); !has(e, LiftFence) {
		t.Errorf("effects %v", e)
	}
}

func TestAGrantThatDoesNotCoverWhatWasPromisedFreesNothing(t *testing.T) {
	h := alone("b")
	h.Tick(2 * time.Second)
	early := h.Renewal()
	h.Tick(2600 * time.Millisecond)
	h.Promised("b", h.Round(), 2700*time.Millisecond)
	good := h.Good
	if e := h.Granted(early, ttl, 2800*time.Millisecond); has(e, FreePromises) || h.Good != good {
		t.Errorf("effects %v, good %s", e, h.Good)
	}
	h.Tick(3200 * time.Millisecond)
	last := h.Renewal()
	round := h.Round()
	if e := h.Granted(last, ttl, 3300*time.Millisecond); !has(e, FreePromises) {
		t.Errorf("effects %v", e)
	}
	good = h.Good
	if h.Promised("b", round, 3400*time.Millisecond); h.Good != good {
		t.Error("a promise that was given back carries the lease on")
	}
}

func TestWhoIsRefusedByTheControlPlaneDoesNotAskOthers(t *testing.T) {
	for _, code := range []string{Barred, Superseded, IsReleased} {
		h := alone("b")
		h.Refused(code, time.Second)
		if code != Superseded {
			h.EngineEnded()
		}
		if first := run(h, time.Second, 4*time.Second, nil); first[AskPromises] != 0 {
			t.Errorf("%s: promises are asked for", code)
		}
	}
}

func TestAPromiseHoldsUntilTheHolderHasStopped(t *testing.T) {
	known := Known{Accepted: 7, Generation: 7, Holder: "a"}
	v, why := Vow{}.Promise(Ask{7, "a", ttl}, known, 100*time.Second)
	if why != "" || v.Until < 100*time.Second+ttl+Eps(ttl) || v.Until > 102*time.Second+ttl {
		t.Fatalf("%+v %q", v, why)
	}
	if d := v.Bars(8, 101*time.Second); d != v.Until-101*time.Second {
		t.Errorf("a later generation waits %s", d)
	}
	if v.Bars(7, 101*time.Second) != 0 || v.Bars(8, v.Until) != 0 {
		t.Error("it bars what it does not promise")
	}
	for why, c := range map[string]struct {
		a Ask
		k Known
	}{
		"accepted":      {Ask{7, "a", ttl}, Known{8, 7, "a"}},
		"recorded":      {Ask{7, "a", ttl}, Known{7, 8, "b"}},
		"another":       {Ask{7, "b", ttl}, known},
		"not heard of":  {Ask{8, "a", ttl}, known},
		"nobody at all": {Ask{7, "", ttl}, Known{7, 7, ""}},
	} {
		if next, refused := v.Promise(c.a, c.k, 101*time.Second); refused == "" || next != v {
			t.Errorf("%s: promised %+v", why, next)
		}
	}
	if _, refused := (Vow{}).Promise(Ask{0, "a", ttl}, Known{0, 0, "a"}, 0); refused != "" {
		t.Errorf("before any operation of ours: refused %q", refused)
	}
	b := v.Bar(7)
	if _, refused := b.Promise(Ask{7, "a", ttl}, known, 101*time.Second); refused != Barred || b.Left(101*time.Second) == 0 {
		t.Errorf("barred: refused %q, %s left", refused, b.Left(101*time.Second))
	}
	if next, refused := b.Unbar(7).Promise(Ask{7, "a", ttl}, known, 101*time.Second); refused != "" || next.Bars(8, 101*time.Second) == 0 {
		t.Errorf("barred no more: %+v refused %q", next, refused)
	}
	if f := v.Freed(7, "b"); f != v {
		t.Error("another's word frees it")
	}
	if v.Freed(7, "a").Bars(8, 101*time.Second) != 0 {
		t.Error("it is not freed")
	}
}

// TestNobodyIsPromotedWhileAHolderKeptByPromisesMayWrite: with lost and late
// messages, agents that stand still, drifting clocks, and a control plane that
// comes, goes, forgets what it granted only after its time, and promotes
// whomever it reaches: at no moment may the old holder write and another agent
// have let its node be promoted.
func TestNobodyIsPromotedWhileAHolderKeptByPromisesMayWrite(t *testing.T) {
	kept := 0
	rapid.Check(t, func(t *rapid.T) {
		drift := rapid.Float64Range(-0.009, 0.009).Draw(t, "drift")
		drifts := []float64{drift, -drift, rapid.Float64Range(-0.009, 0.009).Draw(t, "drift of d")}
		lossy := rapid.IntRange(0, 9).Draw(t, "lossOfTen")
		late := rapid.IntRange(1, 3000).Draw(t, "latestMs")
		clock := func(real time.Duration, i int) time.Duration { return time.Duration(float64(real) * (1 + drifts[i])) }
		roster := []string{"b", "d"}
		lt := NewTable()
		lt.Expect("c", 1, "a", ttl, 0)
		h := NewHolder("c", "a", 1, ttl)
		h.Failsafe(true, roster)
		vows := make([]Vow, 2)
		accepted := []uint64{1, 1}
		promoted, decided := false, false
		type message struct {
			at time.Duration
			do func(real time.Duration)
		}
		var wire []message
		send := func(real time.Duration, what string, do func(real time.Duration)) {
			if rapid.IntRange(0, 9).Draw(t, what) < lossy {
				return
			}
			wire = append(wire, message{real + time.Duration(rapid.IntRange(0, late).Draw(t, "delayMs"))*time.Millisecond, do})
		}
		effect := func(effects []Effect, real time.Duration) {
			for _, e := range effects {
				mine := clock(real, 0)
				switch e {
				case SendRenewal:
					number := h.Renewal()
					if up := (real/(4*time.Second))%2 == 0; up {
						send(real, "renewal", func(real time.Duration) {
							a := lt.Renew("c", 1, "a", clock(real, 1))
							send(real, "answer", func(real time.Duration) {
								if a.Granted {
									for _, e := range h.Granted(number, a.TTL, clock(real, 0)) {
										if e == LiftFence {
											h.Lifted()
										}
										if e == FreePromises {
											for i := range vows {
												send(real, "free", func(time.Duration) { vows[i] = vows[i].Freed(1, "a") })
											}
										}
									}
								}
							})
						})
					}
				case AskPromises:
					number := h.Round()
					for i, n := range roster {
						send(real, "ask", func(real time.Duration) {
							next, why := vows[i].Promise(Ask{1, "a", ttl}, Known{accepted[i], 1, "a"}, clock(real, i+1))
							if why != "" {
								return
							}
							vows[i] = next
							send(real, "promise", func(real time.Duration) {
								for _, e := range h.Promised(n, number, clock(real, 0)) {
									if e == LiftFence {
										h.Lifted()
									}
								}
							})
						})
					}
				case SoftFence:
					if rapid.Bool().Draw(t, "held") {
						h.Fenced(mine + h.SoftFor(mine))
					}
				case LiftFence:
					h.Lifted()
				}
			}
		}
		for real := time.Duration(0); real < 30*time.Second; real += 100 * time.Millisecond {
			effect(h.Tick(clock(real, 0)), real)
			due := wire
			wire = nil
			for _, m := range due {
				if m.at > real {
					wire = append(wire, m)
				} else {
					m.do(real)
				}
			}
			if free, _ := lt.Free("c", 1, clock(real, 1)); free && !decided {
				decided = true // it grants generation 1 no more
				lt.Expect("c", 2, "b", ttl, clock(real, 1))
			}
			if decided { // it tells whoever it reaches
				i := rapid.IntRange(0, 1).Draw(t, "candidate")
				send(real, "order", func(real time.Duration) {
					accepted[i] = 2
					if vows[i].Bars(2, clock(real, i+1)) == 0 {
						promoted = true
					}
				})
			}
			if ok, _ := h.Alone(); ok && !promoted {
				kept++
			}
			if promoted && h.Enrolled && h.MayWrite(clock(real, 0)) {
				t.Fatalf("at %s another was promoted and the holder may write (good %s)", real, h.Good)
			}
		}
	})
	if kept == 0 {
		t.Error("no run was kept by promises: nothing was tried")
	}
}

// TestWhoMayBePromotedIsInEveryRosterTheHolderMayAsk: whatever rosters the
// holder is told of, hears of late, out of turn or never, and acknowledges.
func TestWhoMayBePromotedIsInEveryRosterTheHolderMayAsk(t *testing.T) {
	type roster struct {
		id       int
		failsafe bool
		nodes    []string
	}
	rapid.Check(t, func(t *rapid.T) {
		e := Everybody()
		told := roster{}
		using := roster{} // of the holder; strict at first
		var wire []roster
		var acks []roster
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0: // recorded, then told
				nodes := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"b", "d", "e", "f"}), 0, 4, rapid.ID[string]).Draw(t, "roster")
				r := roster{told.id + 1, rapid.IntRange(0, 4).Draw(t, "failsafe") > 0, nodes}
				e = e.Told(r.failsafe, r.nodes)
				told = r
				wire = append(wire, r)
			case 1: // heard; a later one is not undone by an earlier
				if len(wire) > 0 {
					i := rapid.IntRange(0, len(wire)-1).Draw(t, "which")
					if wire[i].id > using.id {
						using = wire[i]
					}
				}
			case 2:
				acks = append(acks, using)
			case 3: // acknowledged, perhaps long after
				if len(acks) > 0 {
					i := rapid.IntRange(0, len(acks)-1).Draw(t, "ack")
					if acks[i].id == told.id {
						e = Acknowledged(told.failsafe, told.nodes)
					}
				}
			}
			if !using.failsafe {
				continue
			}
			for _, n := range []string{"b", "d", "e", "f"} {
				if e.Has(n) && !slices.Contains(using.nodes, n) {
					t.Fatalf("%s may be promoted; the holder asks %v (told %v)", n, using, told)
				}
			}
		}
	})
}
