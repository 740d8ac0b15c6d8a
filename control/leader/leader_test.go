package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/journal"
)

// election is the journal's leadership over some nodes, moved by the test.
type election struct {
	mu      sync.Mutex
	names   []string
	leader  string
	number  uint64
	alive   map[string]bool
	changed chan struct{}
}

func (e *election) elect(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leader = name
	e.number++
	close(e.changed)
	e.changed = make(chan struct{})
}

// seat is one node's end of it.
type seat struct {
	*election
	name string
	cut  bool // sees no majority
}

func (s *seat) Leading() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.number, s.leader == s.name && !s.cut
}

func (s *seat) Confirm(context.Context) error {
	if _, ok := s.Leading(); !ok {
		return errors.New("it does not lead")
	}
	return nil
}

func (s *seat) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *seat) View() View {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := View{Leader: s.leader, Election: s.number, Needed: len(s.names)/2 + 1}
	if s.cut {
		v.Leader = ""
	}
	for _, n := range s.names {
		up := n == s.name || s.alive[n] && !s.cut
		if up {
			v.Alive++
		}
		v.Nodes = append(v.Nodes, NodeView{Name: n, Peer: n + ":1", Self: n == s.name, Alive: up, Voter: true})
	}
	return v
}

// site is one control node.
type site struct {
	seat *seat
	e    *Elector
	acts map[uint64]bool // terms it acts in now
}

type world struct {
	t        *testing.T
	j        *journal.Memory
	election *election
	sites    map[string]*site
	mu       sync.Mutex
	terms    []uint64 // in the order they began
	together int      // sites that act now
	most     int
}

func newWorld(t *testing.T, names ...string) *world {
	w := &world{t: t, j: journal.NewMemory(time.Now), sites: map[string]*site{},
		election: &election{names: names, alive: map[string]bool{}, changed: make(chan struct{})}}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); all.Wait() })
	for _, n := range names {
		w.election.mu.Lock()
		w.election.alive[n] = true
		w.election.mu.Unlock()
		s := &site{seat: &seat{election: w.election, name: n}, acts: map[uint64]bool{}}
		roster := NewRoster()
		all.Go(func() { _ = w.j.Follow(ctx, 0, roster.Take, nil) })
		s.e = New(Options{Node: s.seat, Roster: roster, Journal: w.j, Name: n, Now: time.Now, Log: slog.New(slog.DiscardHandler),
			CaughtUp: func(context.Context, int64) error { return nil },
			Act: func(ctx context.Context, term uint64) func() {
				w.mu.Lock()
				w.terms = append(w.terms, term)
				w.together++
				w.most = max(w.most, w.together)
				w.mu.Unlock()
				return func() {
					if ctx.Err() == nil {
						t.Error("waited for before it was told to stop")
					}
					w.mu.Lock()
					w.together--
					w.mu.Unlock()
				}
			}})
		all.Go(func() { _ = s.e.Run(ctx) })
		w.sites[n] = s
		if err := roster.Announce(ctx, w.j, Member{Name: n, Agents: n + ":2", URL: "http://" + n}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	tick, limit := time.NewTicker(time.Millisecond), time.NewTimer(time.Minute)
	defer tick.Stop()
	defer limit.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit.C:
			w.t.Fatal("never: " + what)
		}
	}
}

// TestTermsOnlyGrow: leadership moves about, also back to a node and by a new
// election of the same one; each leader has a term of its own, larger than all
// before, and every node knows who acts and where it is.
func TestTermsOnlyGrow(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	for i, next := range []string{"a", "b", "a", "a", "c"} {
		w.election.elect(next)
		w.eventually(fmt.Sprintf("all know that %s acts (%d)", next, i), func() bool {
			w.mu.Lock()
			began := len(w.terms)
			w.mu.Unlock()
			for _, s := range w.sites {
				if st := s.e.Status(); st.Leader != next || st.Address != next+":2" || st.Acting != (s.seat.name == next) || began != i+1 {
					return false
				}
			}
			return true
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 1; i < len(w.terms); i++ {
		if w.terms[i] <= w.terms[i-1] {
			t.Errorf("terms %v", w.terms)
		}
	}
	st := w.sites["a"].e.Status()
	if st.Term != w.terms[len(w.terms)-1] || len(st.Nodes) != 3 || st.Nodes[2].Role != RoleLeader || st.Nodes[0].Role != RoleFollower ||
		!strings.Contains(st.Sentence, "c leads; 3 of 3") || !strings.Contains(st.Sentence, "One more may fail") {
		t.Errorf("%+v", st)
	}
}

// TestANodeWithoutAMajoritySaysSo: it stops acting and knows no leader; its
// sentence says that what it shows is old.
func TestANodeWithoutAMajoritySaysSo(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.election.elect("a")
	w.eventually("a acts", func() bool { _, ok := w.sites["a"].e.Acting(); return ok })
	w.election.mu.Lock()
	w.sites["a"].seat.cut = true
	w.election.mu.Unlock()
	w.election.elect("b")
	w.eventually("b acts and a does not", func() bool {
		_, a := w.sites["a"].e.Acting()
		_, b := w.sites["b"].e.Acting()
		return !a && b
	})
	st := w.sites["a"].e.Status()
	if st.Leader != "" || st.Majority || st.Alive != 1 || st.Needed != 2 || !strings.Contains(st.Sentence, "cannot see a majority; showing data from") {
		t.Errorf("%+v", st)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if s := w.sites["a"].e.Await(ctx); s.Leader != "" {
		t.Errorf("awaited %+v", s)
	}
	for _, n := range st.Nodes {
		if n.Role != RoleUnknown {
			t.Errorf("%+v", n)
		}
	}
}

// TestAClaimIsBehindEverything: a claim is journalled behind what other nodes
// wrote meanwhile, never in its place.
func TestAClaimIsBehindEverything(t *testing.T) {
	w := newWorld(t, "a")
	before := int64(0)
	w.j.Before = func(stream string, events []journal.Event) error {
		if events[0].Type == claimedType && before == 0 {
			before = 1
			w.j.Before = nil
			if _, err := w.j.Append(context.Background(), Stream, journal.Any, journal.Event{Type: "control-started", Data: []byte(`{}`)}); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	w.election.elect("a")
	w.eventually("a acts", func() bool { term, ok := w.sites["a"].e.Acting(); return ok && term == 3 })
	if m := w.sites["a"].e.Roster.Members(); len(m) != 1 || m[0].Agents != "a:2" {
		t.Errorf("%+v", m)
	}
}
