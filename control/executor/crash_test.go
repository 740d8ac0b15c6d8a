package executor

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/journal"
	"baton/control/operation"
)

var errKilled = errors.New("killed")

// killer ends a control plane at the n-th moment: moments are counted over
// before and after each journal append and before and after each order.
type killer struct {
	mu    sync.Mutex
	at, n int
	where string
	kill  func()
}

// spared reports that the moment has not come yet.
func (k *killer) spared() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.n < k.at
}

func (k *killer) moment(what string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.n++
	if k.n < k.at {
		return nil
	}
	if k.n == k.at {
		k.where = what
		k.kill()
	}
	return errKilled // a dead process does nothing more
}

// TestKilledAtEveryMoment kills the control plane before and after every
// journal append and every order, starts another over the same journal and
// cluster, and demands: the operation ends done or rolled back, exactly one
// primary, every other node follows it, nothing acknowledged is missing,
// writes go on, the audit is closed. Once the next process comes at once, once
// after the pause has ended by itself and clients have written on, once with
// replicas that lag, and once it is killed a second time in its first steps.
func TestKilledAtEveryMoment(t *testing.T) {
	for _, eng := range []string{engine.Redis, engine.EventStore} {
		for _, v := range []struct {
			name  string
			late  bool
			lag   int
			again int // kill the second process at this moment, 0 never
		}{{"restarted_at_once", false, 0, 0}, {"restarted_after_the_pause", true, 0, 0}, {"with_lag", true, 30, 0}, {"killed_twice", false, 0, 3}, {"killed_twice_late", true, 0, 7}} {
			if testing.Short() && (v.again > 0 || v.late && v.lag == 0) {
				continue
			}
			t.Run(eng+"/"+v.name, func(t *testing.T) {
				t.Parallel()
				states := map[operation.State]int{}
				at := 1
				for early := 0; at < 400; at++ {
					state, reached := killedAt(t, eng, at, v.late, v.lag, v.again)
					if !reached && state != operation.StateDone && early < 200 {
						early, at = early+1, at-1 // rolled back before the moment, for a stalled machine: once more
						continue
					}
					states[state]++
					if !reached || t.Failed() {
						break
					}
				}
				if at < 20 {
					t.Errorf("only %d moments", at)
				}
				t.Logf("%d moments: %v", at-1, states)
				if states[operation.StateDone] < 5 || states[operation.StateRolledBack] < 5 {
					t.Errorf("one side of the point of no return was not reached: %v", states)
				}
			})
		}
	}
}

// killedAt runs one promotion killed at a moment; reached is false when the
// operation ended before it.
func killedAt(t *testing.T, eng string, at int, late bool, lag, again int) (operation.State, bool) {
	w := newWorld(t, "a", "b", "s")
	w.mu.Lock()
	w.eng, w.term, w.lag = eng, 1, lag
	w.mu.Unlock()
	j := journal.NewMemory(time.Now)
	p := start(t, w, j)
	arm := func(p *plane, n int) *killer {
		k := &killer{at: n, kill: p.cancel}
		w.before = func(o agent.Order) error { return k.moment("before order " + o.Action.Name + " " + o.Node) }
		w.after = func(o agent.Order) error { return k.moment("after order " + o.Action.Name + " " + o.Node) }
		j.Before = func(_ string, e []journal.Event) error { return k.moment(fmt.Sprint("before append of ", kinds(e))) }
		j.After = func(_ string, e []journal.Event) error { return k.moment(fmt.Sprint("after append of ", kinds(e))) }
		return k
	}
	disarm := func() { w.before, w.after, j.Before, j.After = nil, nil, nil, nil }
	r := p.request("b")
	k := arm(p, at)
	id, err := p.exec.Promote(p.ctx, r)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for tries := 0; err != nil && k.spared() && tries < 3000; tries++ { // refused: a stalled machine's reports are late
		if c, _ := p.inv.Cluster("c"); len(c.Operations) > 0 {
			break
		}
		<-poll.C
		id, err = p.exec.Promote(p.ctx, p.request("b"))
	}
	if err == nil {
		p.exec.wgWait(t)
	}
	p.stop()
	disarm()
	if again > 0 {
		p2 := startWith(t, w, j, func(p *plane) { arm(p, again) })
		p2.exec.wgWait(t)
		p2.stop()
		disarm()
	}
	if late {
		w.pausesEnd()
		w.mu.Lock()
		n := len(w.acked)
		w.mu.Unlock()
		w.until("300", func() bool { return len(w.acked) > n+5 }) // there may be no primary now
	}
	p = start(t, w, j)
	p.exec.wgWait(t)
	if id == "" { // the request died: find what it left
		if c, _ := p.inv.Cluster("c"); len(c.Operations) > 0 {
			id = c.Operations[0]
		}
	}
	state := operation.StateNone
	if id != "" {
		o := p.end(t, id)
		state = o.State
		if state != operation.StateDone && state != operation.StateRolledBack {
			t.Errorf("moment %d (%s): ended %s: %s", at, k.where, state, o.Outcome)
		}
		want := "a"
		if state == operation.StateDone {
			want = o.Candidate
		}
		w.mu.Lock()
		if pr := w.primary(); pr == nil || pr.name != want {
			t.Errorf("moment %d (%s): ended %s and the primary is %v", at, k.where, state, pr)
		}
		w.mu.Unlock()
		audits(t, p, 1)
	}
	if k.where == "" && state != operation.StateDone {
		t.Logf("moment %d not reached: %s %s; %v", at, state, p.end(t, id).Outcome, err)
	}
	if err := w.check(); err != nil {
		t.Errorf("moment %d (%s): ended %s: %v", at, k.where, state, err)
	}
	w.mustHold(t)
	if t.Failed() {
		t.Logf("moment %d (%s)\norders %v", at, k.where, w.seen)
	}
	return state, k.where != ""
}

func kinds(events []journal.Event) (out []string) {
	for _, e := range events {
		out = append(out, e.Type)
	}
	return out
}

// TestARequestOnItsWayIsNotTakenBack: the process stands still between the
// moment a request is durable and the moment it is driven, for longer than two
// sweeps. The sweep leaves it alone, and nothing that was read before the pause
// drives an operation that ended meanwhile.
func TestARequestOnItsWayIsNotTakenBack(t *testing.T) {
	w := newWorld(t, "a", "b", "s")
	j := journal.NewMemory(time.Now)
	p := start(t, w, j)
	j.After = func(_ string, e []journal.Event) error {
		if e[len(e)-1].Type != "operation-requested" {
			return nil
		}
		still := time.NewTimer(8 * p.exec.Sweep)
		defer still.Stop()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-still.C:
				return nil
			case <-tick.C:
				if c, _ := p.inv.Cluster("c"); len(c.Operations) > 0 && c.Running == "" {
					return nil
				}
			}
		}
	}
	o := p.promote(t, "b")
	if o.State != operation.StateDone {
		t.Errorf("ended %s: %s", o.State, o.Outcome)
	}
	w.mu.Lock()
	if pr := w.primary(); pr == nil || pr.name != "b" {
		t.Errorf("the primary is %v", pr)
	}
	w.mu.Unlock()
	w.mustHold(t)
}
