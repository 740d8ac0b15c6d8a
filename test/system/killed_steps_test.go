package system

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"baton/control/failover"
	"baton/control/plan"
)

// Which kills are tried: all of them with killedAll=all, else one for each kind
// of operation and of process, drawn by the seed.
const (
	killedAll  = "BATON_KILL_STEPS"
	killedSeed = "BATON_KILL_SEED"
	killedOnly = "BATON_KILL_ONLY" // a part of the name of those tried; "" is all
)

// kill is one trial: in an operation, at a moment, a process is killed.
type kill struct{ operation, point, victim string }

func (k kill) String() string { return k.victim + " in a " + k.operation + " " + k.point }

// Processes that are killed. The old primary's engine is what begins a failover.
const (
	controlPlane = "control plane"
	oldAgent     = "agent of the old primary"
	newAgent     = "agent of the new primary"
	oldEngine    = "engine of the old primary"
	newEngine    = "engine of the new primary"
)

// failoverPoints are the moments of a failover; steps that share an append share
// its moments.
func failoverPoints() []string {
	out := []string{}
	for _, s := range []string{failover.StepFence, failover.StepRead, plan.StepCommit, plan.StepPromote, failover.StepAhead, plan.StepRepoint, plan.StepPersist, plan.StepVerify} {
		if s != plan.StepPromote && s != plan.StepRepoint { // journalled with the step before
			out = append(out, "after-intent:"+s)
		}
		if s != plan.StepCommit { // only is journalled
			out = append(out, "after-act:"+s)
		}
	}
	return append(out, "after-end")
}

// kills are the trials, in the order they are made.
func kills(t *testing.T) (out []kill, seed uint64) {
	seed = 1
	if v := os.Getenv(killedSeed); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("%s=%s: %v", killedSeed, v, err)
		}
		seed = n
	}
	rng := rand.New(rand.NewPCG(seed, 7))
	for _, o := range []struct {
		operation string
		points    []string
		victims   []string
	}{
		{"promotion", faultPoints(), []string{oldAgent, newAgent, oldEngine, newEngine, controlPlane}},
		{"failover", failoverPoints(), []string{controlPlane, oldAgent, newAgent, newEngine}},
	} {
		for _, v := range o.victims {
			var all []kill
			for _, p := range o.points {
				all = append(all, kill{o.operation, p, v})
			}
			all = slices.DeleteFunc(all, func(k kill) bool { return !strings.Contains(k.String(), os.Getenv(killedOnly)) })
			if len(all) == 0 {
				continue
			}
			if os.Getenv(killedAll) != "all" {
				i := rng.IntN(len(all))
				all = all[i : i+1]
			}
			out = append(out, all...)
		}
	}
	// Mixed, so that no server ends so often in a row that its agent leaves it down.
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	if testing.Short() {
		return out[:3], seed
	}
	return out, seed
}

// Goal: whatever is killed at whatever step of a planned promotion or a
// failover, the operation ends done or taken back, no two servers take writes
// at one time, no write that a replica confirmed is lost, and the cluster is
// whole again without anybody's help.
// Method: kill -9 of real processes at named moments, by the control plane
// itself; each is started again at once. One client confirms each write by a
// replica; one for each server writes there whatever its role.
func TestKilledAtEachStepUnderALease(t *testing.T) {
	t.Parallel()
	trials, seed := kills(t)
	s := startKilled(t)
	w := s.confirmed()
	b := s.probeAll()
	states, seen := map[string]int{}, map[string]bool{}
	reached, two := 0, 0
	for _, k := range trials {
		began := time.Now()
		before := s.generation()
		b.take()
		hit := s.try(k)
		if hit {
			reached++
		}
		p := s.whole()
		ended := s.ended(seen)
		for _, e := range ended {
			states[e.kind+" "+e.outcome]++
			if e.outcome != "done" && e.outcome != "rolled-back" {
				t.Errorf("%s: a %s ended %s: %s", k, e.kind, e.outcome, e.detail)
			}
		}
		moves, switches := s.generation()-before, b.take()
		if switches > moves {
			two++
			t.Errorf("%s: writes went back and forth %d times in %d moves of the primary: two servers took them at one time", k, switches, moves)
		}
		acked, lost := w.readBack(p, k.String())
		t.Logf("%s: reached %v; %v; %d moves, %d changes of who takes writes; primary %s; %d writes confirmed by now, %d lost; %.1f s", k, hit, ended, moves, switches, p.node, acked, lost, time.Since(began).Seconds())
	}
	w.end()
	acked, lost := w.readBack(s.whole(), "at the end")
	b.end()
	fmt.Printf("=> | kill -9 at a step, %d times of %d (seed %d) | ended %v | two servers took writes at one time in %d of them, by %d writes to every server | %d writes confirmed by a replica, %d lost |\n",
		reached, len(trials), seed, states, two, b.looks(), acked, lost)
	if reached < len(trials)*2/3 {
		t.Errorf("only %d of %d moments were reached", reached, len(trials))
	}
}

// try makes one trial; hit tells that the moment came. Where a replica that may
// not follow at that moment holds more than the one that would, a primary whose
// server is gone is started again where it was and no operation runs: then the
// trial is made once more.
func (s *killedSite) try(k kill) (hit bool) {
	s.t.Helper()
	for range 3 {
		hit, stayed := s.attempt(k)
		if !stayed {
			return hit
		}
		s.t.Logf("%s: the server was started again where it was", k)
	}
	return false
}

// attempt makes one trial; stayed tells that the primary's server was ended and
// started again, and that nothing else came of it.
func (s *killedSite) attempt(k kill) (hit, stayed bool) {
	s.t.Helper()
	p := s.whole()
	var what struct{ Next string }
	s.awaitIn("who would follow "+p.node, func() (bool, string) {
		_, err := s.call("GET", "/clusters/cache/what-if?node="+p.node, nil, &what)
		return err == nil && what.Next != "", fmt.Sprintf("%+v %v", what, err)
	})
	next := s.host(what.Next)
	line := k.point
	switch k.victim {
	case oldAgent:
		line += fmt.Sprintf(" %d", p.agent.pid())
	case newAgent:
		line += fmt.Sprintf(" %d", next.agent.pid())
	case oldEngine:
		line += fmt.Sprintf(" %d", p.engine())
	case newEngine:
		line += fmt.Sprintf(" %d", next.engine())
	}
	_ = os.Remove(s.fault + ".hit")
	if err := os.WriteFile(s.fault+".new", []byte(line), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.fault+".new", s.fault); err != nil {
		s.t.Fatal(err)
	}
	was := func() bool { _, err := os.Stat(s.fault + ".hit"); return err == nil }
	before, generation, engine := s.operations(), s.generation(), p.engine()
	if k.operation == "failover" {
		signalTo(engine, syscall.SIGKILL)
	} else {
		s.awaitIn("an accepted promotion of "+next.node, func() (bool, string) {
			err := s.promoteBusy(next.node)
			return err == nil || was(), fmt.Sprint(err)
		})
	}
	// The moment comes, or the operation ended without it: taken back before, or
	// another way was taken.
	s.awaitIn("the moment, or the operation's end", func() (bool, string) {
		if was() || s.operations() > before && s.quiet() {
			return true, ""
		}
		if now := p.engine(); k.operation != "failover" || now == engine || now == 0 {
			return false, "no operation has ended"
		}
		var v killedView
		_, err := s.call("GET", "/clusters/cache", nil, &v)
		stayed = err == nil && v.Verdict.Level == "healthy" && v.Generation == strconv.Itoa(generation) && v.Primary != nil && v.Primary.Node == p.node &&
			v.Lease != nil && v.Lease.State == "held" && s.operations() == before && s.quiet()
		return stayed, fmt.Sprintf("no operation has ended; %+v lease %+v failover %+v %v", v, v.Lease, v.Failover, err)
	})
	_ = os.Remove(s.fault)
	return was(), stayed && !was()
}

// promoteBusy asks for a promotion once, also where the machine is busy: it
// does much else here.
func (s *killedSite) promoteBusy(node string) error {
	over := []string{"cpu.load", "disk.fsync", "disk.free", "mem.free"}
	var p struct {
		Report     struct{ Hash, Reason string }
		Generation string
	}
	if _, err := s.call("POST", "/clusters/cache/plan", map[string]any{"node": node, "overrides": over}, &p); err != nil {
		return err
	}
	_, err := s.call("POST", "/clusters/cache/promotions", map[string]any{"node": node, "typedName": node, "reportHash": p.Report.Hash,
		"generation": p.Generation, "reason": "test", "overrides": over}, &json.RawMessage{})
	if err != nil {
		err = fmt.Errorf("%w (%s)", err, p.Report.Reason)
	}
	return err
}

// operations is how many have ended, as the audit has it; -1 while it does not
// answer.
func (s *killedSite) operations() (n int) {
	var page struct {
		Rows []struct{ Kind, Outcome string }
	}
	if _, err := s.call("GET", "/clusters/cache/audit?limit=500", nil, &page); err != nil {
		return -1
	}
	for _, r := range page.Rows {
		if (r.Kind == "promotion" || r.Kind == "failover") && r.Outcome != "running" {
			n++
		}
	}
	return n
}

// generation is the cluster's, as the API says; the last one known while it
// does not answer.
func (s *killedSite) generation() int {
	var v killedView
	s.awaitIn("the cluster's generation", func() (bool, string) {
		_, err := s.call("GET", "/clusters/cache", nil, &v)
		return err == nil, fmt.Sprint(err)
	})
	n, _ := strconv.Atoi(v.Generation)
	return n
}

// quiet tells that no operation runs.
func (s *killedSite) quiet() bool {
	var v killedView
	_, err := s.call("GET", "/clusters/cache", nil, &v)
	return err == nil && (v.RunningOperation == nil || *v.RunningOperation == "")
}

// endedOperation is how one ended, as the audit has it.
type endedOperation struct{ kind, outcome, detail string }

func (e endedOperation) String() string { return e.kind + " " + e.outcome }

// ended are the operations that moved the primary or tried to and that were not
// seen before, in the audit, whose chain must hold.
func (s *killedSite) ended(seen map[string]bool) (out []endedOperation) {
	s.t.Helper()
	var page struct {
		Rows []struct {
			Outcome, Detail, Kind string
			OperationID           *string
		}
		Chain struct{ OK bool }
	}
	s.awaitIn("every operation's end in the audit", func() (bool, string) {
		if _, err := s.call("GET", "/clusters/cache/audit", nil, &page); err != nil {
			return false, err.Error()
		}
		for _, r := range page.Rows {
			if r.Outcome == "running" {
				return false, r.Detail
			}
		}
		return true, ""
	})
	if !page.Chain.OK {
		s.t.Error("the chain of the audit does not hold")
	}
	for _, r := range page.Rows {
		if r.OperationID == nil || seen[*r.OperationID] || r.Kind != "promotion" && r.Kind != "failover" {
			continue
		}
		seen[*r.OperationID] = true
		out = append(out, endedOperation{r.Kind, r.Outcome, r.Detail})
	}
	slices.Reverse(out)
	return out
}

// confirmedWriter writes one number after the other to whichever server says it
// is primary; what a replica confirmed counts.
type confirmedWriter struct {
	s    *killedSite
	stop chan struct{}
	done chan struct{}

	mu    sync.Mutex
	acked []int
	read  int // of acked, read back
	lost  int
}

func (s *killedSite) confirmed() *confirmedWriter {
	w := &confirmedWriter{s: s, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *confirmedWriter) run() {
	defer close(w.done)
	ctx := context.Background()
	pace := time.NewTicker(3 * time.Millisecond)
	defer pace.Stop()
	for n, at := 0, 0; ; n++ {
		for ; ; at++ { // the next server when one does not confirm
			select {
			case <-w.stop:
				return
			case <-pace.C:
			}
			conn := w.s.hosts[at%len(w.s.hosts)].c.Conn()
			err := conn.Set(ctx, "w:"+strconv.Itoa(n), n, 0).Err()
			confirmed := int64(0)
			if err == nil {
				confirmed, err = conn.Wait(ctx, 1, 500*time.Millisecond).Result()
			}
			conn.Close()
			if err == nil && confirmed >= 1 {
				break
			}
		}
		w.mu.Lock()
		w.acked = append(w.acked, n)
		w.mu.Unlock()
	}
}

// end returns when the writer has ended.
func (w *confirmedWriter) end() {
	close(w.stop)
	<-w.done
}

// readBack finds on the primary every number that was confirmed since it was
// last asked. It returns how many were confirmed and lost until now.
func (w *confirmedWriter) readBack(p *killedHost, when string) (acked, lost int) {
	w.mu.Lock()
	fresh := w.acked[w.read:]
	w.mu.Unlock()
	var missing []int
	for part := range slices.Chunk(fresh, 500) {
		keys := make([]string, len(part))
		for i, n := range part {
			keys[i] = "w:" + strconv.Itoa(n)
		}
		got, err := p.c.MGet(context.Background(), keys...).Result()
		if err != nil {
			w.s.t.Fatal(err)
		}
		for i, v := range got {
			if v != strconv.Itoa(part[i]) {
				missing = append(missing, part[i])
			}
		}
	}
	if len(missing) > 0 {
		w.s.t.Errorf("%s: %d of %d writes confirmed by a replica are not on %s, from %d to %d", when, len(missing), len(fresh), p.node, missing[0], missing[len(missing)-1])
	}
	w.read += len(fresh)
	w.lost += len(missing)
	return w.read, w.lost
}

// writeProbes are clients that write to each server all the time, whatever its
// role, and remember what was acknowledged.
type writeProbes struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	mu   sync.Mutex
	acks []probedWrite
	all  int
	// node takes writes; since is when its first acknowledgement was there.
	node  string
	since time.Time
}

type probedWrite struct {
	node     string
	from, to time.Time
}

func (s *killedSite) probeAll() *writeProbes {
	ctx, cancel := context.WithCancel(context.Background())
	b := &writeProbes{stop: cancel}
	for _, h := range s.hosts {
		b.wg.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				from := time.Now()
				err := h.c.Set(ctx, "probe:"+h.node, n, 0).Err()
				b.mu.Lock()
				b.all++
				if err == nil {
					b.acks = append(b.acks, probedWrite{h.node, from, time.Now()})
				}
				b.mu.Unlock()
			}
		})
	}
	return b
}

// take counts how often another server than before took a write that was sent
// after the former's successor had acknowledged one. A move is one such change;
// two servers that take writes at one time go back and forth.
func (b *writeProbes) take() (switches int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sort.Slice(b.acks, func(i, j int) bool { return b.acks[i].from.Before(b.acks[j].from) })
	for _, a := range b.acks {
		if a.node == b.node || a.from.Before(b.since) {
			continue
		}
		if b.node != "" {
			switches++
		}
		b.node, b.since = a.node, a.to
	}
	b.acks = nil
	return switches
}

func (b *writeProbes) looks() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

func (b *writeProbes) end() { b.stop(); b.wg.Wait() }

// TestSwitchesAreCounted: back and forth is told from one move, and an answer
// that was on its way from a change.
func TestSwitchesAreCounted(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	for _, tt := range []struct {
		acks string // node from to, ...
		want int
	}{
		{"a 0 1, a 5 6, b 20 21, b 25 26", 1},
		{"a 0 1, a 19 30, b 20 21, b 25 26", 1},
		{"a 0 1, b 20 25, a 24 26, b 30 31", 1},
		{"a 0 1, b 20 21, a 22 23, b 24 25", 3},
	} {
		b := &writeProbes{}
		for _, part := range strings.Split(tt.acks, ", ") {
			f := strings.Fields(part)
			from, _ := strconv.Atoi(f[1])
			to, _ := strconv.Atoi(f[2])
			b.acks = append(b.acks, probedWrite{f[0], at(from), at(to)})
		}
		if got := b.take(); got != tt.want {
			t.Errorf("%s: %d changes, want %d", tt.acks, got, tt.want)
		}
	}
}
