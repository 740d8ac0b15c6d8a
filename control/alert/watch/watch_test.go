package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/health"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/notify"
	"baton/control/operation"
	"baton/control/plan"
)

// stage is a keeper over a cluster whose facts and clock a test sets.
type stage struct {
	*Keeper
	t   *testing.T
	j   *journal.Memory
	inv *inventory.Inventory

	mu    sync.Mutex
	now   time.Time
	down  map[string]bool
	sent  []notify.Message
	fail  bool
	quiet bool // no channel is configured
}

func (s *stage) Facts(cluster string) (plan.Facts, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := plan.Facts{Snapshot: health.Snapshot{Now: s.now, Cluster: cluster, Engine: engine.Redis}, JournalOK: true}
	for _, n := range []string{"a", "b", "c"} {
		o := &engine.Observation{Up: !s.down[n], Role: engine.RoleReplica, LinkUp: true, Err: "connection refused"}
		if n == "a" {
			o.Role = engine.RolePrimary
		}
		f.Nodes = append(f.Nodes, health.Node{Name: n, Agent: "agent-" + n, Seen: o})
	}
	return f, true
}

func (s *stage) Channels() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet {
		return 0
	}
	return 1
}

func (s *stage) Deliver(_ context.Context, m notify.Message) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, m)
	if s.fail {
		return []string{"e-mail: no answer"}
	}
	return nil
}

func (s *stage) messages() []notify.Message { s.mu.Lock(); defer s.mu.Unlock(); return s.sent }
func (s *stage) set(node string, down bool) { s.mu.Lock(); defer s.mu.Unlock(); s.down[node] = down }
func (s *stage) clock() time.Time           { s.mu.Lock(); defer s.mu.Unlock(); return s.now }

// newStage makes a stage over a journal; another over the same is a restart.
func newStage(t *testing.T, j *journal.Memory) *stage {
	t.Helper()
	s := &stage{t: t, j: j, now: time.Now().Truncate(time.Second), down: map[string]bool{}}
	log := slog.New(slog.DiscardHandler)
	s.inv = inventory.New(j, log)
	s.Keeper = New(Options{Journal: j, Inventory: s.inv, Facts: s, Teller: s, Log: log, Now: s.clock, Group: 2 * time.Second})
	s.inv.Observe(s.Take)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = s.inv.Run(ctx) }()
	<-s.inv.Ready()
	if err := s.inv.Register(ctx, inventory.Spec{ID: "cache", Engine: engine.Redis, Primary: "a", Members: []inventory.Member{{Name: "a"}, {Name: "b"}, {Name: "c"}}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// play lets so many seconds pass. Messages under way are waited for.
func (s *stage) play(seconds int) {
	s.t.Helper()
	for range seconds {
		s.mu.Lock()
		s.now = s.now.Add(time.Second)
		s.mu.Unlock()
		if err := s.Step(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		s.wg.Wait()
	}
}

func (s *stage) states() string {
	var out []string
	for _, v := range s.Alerts() {
		out = append(out, fmt.Sprintf("%s %s %s", v.State(), v.Kind, v.Node))
	}
	return strings.Join(out, ", ")
}

// TestOnce: an alert is told once, with what fires with it in one message, its
// end is told once, and a restart at any moment tells nothing again.
func TestOnce(t *testing.T) {
	j := journal.NewMemory(time.Now)
	s := newStage(t, j)
	s.play(40) // nobody is promotable: the fake has no details
	if got := s.states(); got != "firing no-promotable-node " {
		t.Fatalf("%s", got)
	}
	s.set("b", true)
	s.play(1)
	s.set("c", true) // a second later: it comes in the same message
	s.play(20)
	if len(s.messages()) != 2 || len(s.messages()[1].Items) != 2 {
		t.Fatalf("messages %+v", s.messages())
	}
	if got := s.states(); got != "firing node-down c, firing node-down b, firing no-promotable-node " {
		t.Errorf("%s", got)
	}
	again := newStage(t, j)
	again.mu.Lock()
	again.now = s.clock()
	again.mu.Unlock()
	again.set("b", true)
	again.set("c", true)
	again.play(60)
	if n := len(again.messages()); n != 0 || again.states() != s.states() {
		t.Errorf("after a restart: %d messages %+v; %s", n, again.messages(), again.states())
	}
	again.set("b", false)
	again.set("c", false)
	again.play(20)
	m := again.messages()
	if len(m) != 1 || len(m[0].Items) != 2 || m[0].Items[0].State != "resolved" {
		t.Fatalf("the end: %+v", m)
	}
	third := newStage(t, j)
	third.mu.Lock()
	third.now = again.clock()
	third.mu.Unlock()
	third.play(60)
	if n := len(third.messages()); n != 0 {
		t.Errorf("the end is told again: %+v", third.messages())
	}
}

// TestUndelivered: what no channel took is on record and not sent for ever;
// without any channel nothing is lost: the first one is told what fires.
func TestUndelivered(t *testing.T) {
	s := newStage(t, journal.NewMemory(time.Now))
	s.fail = true
	s.play(60)
	if n := len(s.messages()); n != 1 {
		t.Errorf("%d messages", n)
	}
	q := newStage(t, journal.NewMemory(time.Now))
	q.quiet = true
	q.play(60)
	if n := len(q.messages()); n != 0 {
		t.Errorf("%d messages to nobody", n)
	}
	q.mu.Lock()
	q.quiet = false
	q.mu.Unlock()
	q.play(10)
	if n := len(q.messages()); n != 1 {
		t.Errorf("%d messages once there is a channel", n)
	}
}

// TestAcknowledge: an acknowledged alert says by whom; it is not told until its
// time is over; what is not open cannot be acknowledged.
func TestAcknowledge(t *testing.T) {
	s := newStage(t, journal.NewMemory(time.Now))
	s.quiet = true
	s.play(40)
	id := s.Alerts()[0].ID
	if _, err := s.Acknowledge(t.Context(), "al-0", "ann", "", time.Time{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown alert: %v", err)
	}
	a, err := s.Acknowledge(t.Context(), id, "ann", "known", s.clock().Add(time.Minute))
	if err != nil || a.State() != "acknowledged" || a.AcknowledgedBy != "ann" {
		t.Fatalf("%+v %v", a, err)
	}
	s.mu.Lock()
	s.quiet = false
	s.mu.Unlock()
	s.play(50)
	if n := len(s.messages()); n != 0 {
		t.Errorf("%d messages of an acknowledged alert", n)
	}
	s.play(20)
	if n := len(s.messages()); n != 1 || s.states() != "firing no-promotable-node " {
		t.Errorf("its time is over: %d messages, %s", n, s.states())
	}
}

// TestOperations: the end of an operation that moved the primary is told, once.
func TestOperations(t *testing.T) {
	j := journal.NewMemory(time.Now)
	s := newStage(t, j)
	s.mu.Lock()
	at := s.now
	s.mu.Unlock()
	ms := 4.5
	var batch []journal.Event
	for _, e := range []operation.Event{
		operation.Requested{Operation: "op-1", Kind: operation.Promotion, Requester: "ann", At: at, Plan: plan.Plan{Cluster: "cache", Engine: engine.Redis, Node: "b", From: "a",
			Steps: []plan.Step{{ID: plan.StepCommit, PointOfNoReturn: true}}}},
		operation.StepStarted{Operation: "op-1", Step: plan.StepCommit, At: at},
		operation.Committed{Operation: "op-1", Node: "b", Generation: 1, At: at},
		operation.StepFinished{Operation: "op-1", Step: plan.StepCommit, At: at},
		operation.Finished{Operation: "op-1", State: operation.StateDone, Outcome: "b is the primary", Stall: &operation.Stall{ProbeMs: &ms}, At: at},
	} {
		kind, data, err := operation.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, journal.Event{Type: kind, Data: data})
	}
	rev, err := j.Append(t.Context(), inventory.Stream("cache"), journal.Any, batch...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.inv.Wait(t.Context(), inventory.Stream("cache"), rev); err != nil {
		t.Fatal(err)
	}
	s.play(10)
	m := s.messages()
	if len(m) != 1 || len(m[0].Items) != 1 || !strings.Contains(m[0].Items[0].Sentence, "writes waited 4.5 ms") {
		t.Fatalf("%+v", m)
	}
	again := newStage(t, j)
	again.play(20)
	if n := len(again.messages()); n != 0 {
		t.Errorf("told again after a restart: %+v", again.messages())
	}
}

// TestObservations: what is seen of nodes is recorded as it changes, and a node
// that goes to and fro does not fill the journal.
func TestObservations(t *testing.T) {
	s := newStage(t, journal.NewMemory(time.Now))
	from := s.clock()
	s.play(5)
	s.set("b", true)
	s.play(5)
	got := s.Observations("cache", from, s.clock().Add(time.Second))
	if len(got) != 4 || got[3].Node != "b" || !strings.Contains(got[3].Sentence(), "was replica, up") || !strings.Contains(got[3].Sentence(), "connection refused") {
		t.Fatalf("%+v", got)
	}
	for i := range 100 {
		s.set("b", i%2 == 0)
		s.play(1)
	}
	if n := len(s.Observations("cache", from, s.clock().Add(time.Second))); n > observeBurst+4 {
		t.Errorf("%d records of a node that goes to and fro", n)
	}
}

// TestInChargeAgain: a message that was under way when this node ceased to be in
// charge does not keep it silent when it is again.
func TestInChargeAgain(t *testing.T) {
	s := newStage(t, journal.NewMemory(time.Now))
	s.Every = time.Hour // only Step looks
	s.play(20)
	s.sending = true // as a run leaves it whose context ended in the middle
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s.play(60)
	if n := len(s.messages()); n != 1 {
		t.Errorf("%d messages", n)
	}
}
