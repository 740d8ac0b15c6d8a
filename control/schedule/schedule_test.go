package schedule

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/audit"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// stage is a book with a runner, a clock and a cluster of its own.
type stage struct {
	*Book
	run *Runner

	mu      sync.Mutex
	now     time.Time
	plan    plan.Plan
	planErr error
	err     error
	begun   []Request
	ops     []operation.Operation
	records []audit.Record
}

func (s *stage) clock() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now }
func (s *stage) sleep(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}
func (s *stage) Plan(string, string, ...string) (plan.Plan, error) { return s.plan, s.planErr }
func (s *stage) Begin(_ context.Context, id string, r Request, _ *plan.Plan) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	s.begun = append(s.begun, r)
	s.ops = append(s.ops, operation.Operation{Requested: operation.Requested{Operation: "op-1", Waited: id}})
	return "op-1", nil
}
func (s *stage) OperationsOf(string) []operation.Operation { return s.ops }

func newStage(t *testing.T, j *journal.Memory) *stage {
	t.Helper()
	s := &stage{now: time.Unix(1_800_000_000, 0)}
	s.Book = New(j, s.clock)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ready := make(chan struct{})
	go func() {
		_ = j.Follow(ctx, 0, func(r journal.Recorded) error { s.Take(r); return nil }, func() { close(ready) })
	}()
	<-ready
	s.run = &Runner{Book: s.Book, Promoter: s, Operations: s, Log: slog.New(slog.DiscardHandler),
		Record: func(_ context.Context, r audit.Record) { s.records = append(s.records, r) }}
	s.plan.Report = report("")
	return s
}

// report has one check, which says how it is.
func report(v plan.Verdict) plan.Report {
	if v == "" {
		v = plan.Pass
	}
	return plan.Report{Checks: []plan.Check{{ID: "siblings", Subject: "c", Verdict: v, Why: "c is away"}}}
}

func (s *stage) ask(t *testing.T, approval bool, in time.Duration) Item {
	t.Helper()
	r := Request{Cluster: "c", Node: "b", Report: report(""), Who: audit.Who{Name: "ann", Role: "operator"}}
	if in > 0 {
		r.At = s.clock().Add(in)
	}
	i, err := s.Add(t.Context(), r, approval)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (s *stage) state(id string) State { i, _ := s.Item(id); return i.State }

// TestSchedule: it starts at its time and not before, once, with the report as
// it is then.
func TestSchedule(t *testing.T) {
	s := newStage(t, journal.NewMemory(time.Now))
	i := s.ask(t, false, time.Hour)
	s.sleep(59 * time.Minute)
	s.run.Step(t.Context())
	if len(s.begun) != 0 || s.state(i.ID) != Scheduled {
		t.Fatalf("too early: %v", s.state(i.ID))
	}
	s.sleep(time.Minute)
	for range 3 {
		s.run.Step(t.Context())
	}
	if got, _ := s.Item(i.ID); len(s.begun) != 1 || got.State != Started || got.Operation != "op-1" {
		t.Errorf("%d begun, %+v", len(s.begun), got)
	}
	for _, bad := range []time.Duration{-time.Minute, 31 * 24 * time.Hour} {
		if _, err := s.Add(t.Context(), Request{Cluster: "c", Node: "b", At: s.clock().Add(bad)}, false); !errors.Is(err, ErrTime) {
			t.Errorf("in %v: %v", bad, err)
		}
	}
}

// TestWorse: what is worse than when it was asked for is refused with the
// reason, and audited.
func TestWorse(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*stage)
		why    string
	}{
		"warning":    {func(s *stage) { s.plan.Report = report(plan.Warn) }, "siblings of c was pass and is warn now"},
		"refused":    {func(s *stage) { s.plan.Refusals = []plan.Refusal{{Title: "it is far behind"}} }, "far behind"},
		"moved":      {func(s *stage) { s.plan.Generation = 7 }, "moved"},
		"gone":       {func(s *stage) { s.planErr = errors.New("there is no such cluster") }, "no such cluster"},
		"refused at": {func(s *stage) { s.err = errors.New("another operation is running") }, "another operation"},
		"late":       {func(s *stage) { s.sleep(10 * time.Minute) }, "had passed"},
	} {
		s := newStage(t, journal.NewMemory(time.Now))
		i := s.ask(t, false, time.Hour)
		s.sleep(time.Hour)
		c.change(s)
		s.run.Step(t.Context())
		got, _ := s.Item(i.ID)
		if got.State != Refused || !strings.Contains(got.Why, c.why) || len(s.begun) != 0 {
			t.Errorf("%s: %s %q", name, got.State, got.Why)
		}
		if len(s.records) != 1 || s.records[0].Outcome != audit.Refused || s.records[0].Detail != got.Why {
			t.Errorf("%s: audit %+v", name, s.records)
		}
	}
}

// TestApproval: somebody else lets it go on, within its time; it waits for its
// time after that, or ends when it is rejected or nobody answers.
func TestApproval(t *testing.T) {
	s := newStage(t, journal.NewMemory(time.Now))
	i := s.ask(t, true, 0)
	if _, err := s.Approve(t.Context(), i.ID, "ann"); !errors.Is(err, ErrSelf) {
		t.Errorf("by the requester: %v", err)
	}
	s.run.Step(t.Context())
	if len(s.begun) != 0 {
		t.Fatal("it starts without approval")
	}
	got, err := s.Approve(t.Context(), i.ID, "bob")
	if err != nil || got.State != Starting {
		t.Fatalf("%+v %v", got, err)
	}
	if _, err := s.Approve(t.Context(), i.ID, "carl"); !errors.Is(err, ErrUnknown) {
		t.Errorf("twice: %v", err)
	}
	if _, err := s.Cancel(t.Context(), i.ID, "x", false); !errors.Is(err, ErrStarted) {
		t.Errorf("cancelled after the start: %v", err)
	}
	if got = s.run.Go(t.Context(), got); got.State != Started || len(s.begun) != 1 || s.begun[0].Approver != "bob" {
		t.Errorf("%+v, begun %+v", got, s.begun)
	}

	later := s.ask(t, true, time.Hour)
	if got, err := s.Approve(t.Context(), later.ID, "bob"); err != nil || got.State != Scheduled {
		t.Errorf("for later: %+v %v", got, err)
	}
	if got, err := s.Cancel(t.Context(), later.ID, "cancelled by ann", false); err != nil || got.State != Cancelled {
		t.Errorf("cancelled: %+v %v", got, err)
	}
	s.sleep(2 * time.Hour)
	s.run.Step(t.Context())

	lost := s.ask(t, true, 0)
	s.sleep(ApprovalLife)
	if _, err := s.Approve(t.Context(), lost.ID, "bob"); !errors.Is(err, ErrUnknown) {
		t.Errorf("too late: %v", err)
	}
	s.run.Step(t.Context())
	if got, _ := s.Item(lost.ID); got.State != Refused || !strings.Contains(got.Why, "15 minutes") {
		t.Errorf("%+v", got)
	}
	if len(s.begun) != 1 {
		t.Errorf("%d begun", len(s.begun))
	}
}

// TestRestart: a control plane that ends between the claim and the start goes
// on, and one that ends between the start and its record begins nothing twice.
func TestRestart(t *testing.T) {
	j := journal.NewMemory(time.Now)
	s := newStage(t, j)
	first, second := s.ask(t, false, time.Minute), s.ask(t, false, time.Minute)
	for _, i := range []Item{first, second} {
		s.sleep(30 * time.Second)
		if s.clock().Before(i.At) {
			s.sleep(i.At.Sub(s.clock()))
		}
		if _, err := s.Start(t.Context(), i.ID); err != nil {
			t.Fatal(err)
		}
	}
	next := newStage(t, j)
	next.now = s.clock().Add(2 * time.Second)
	next.ops = []operation.Operation{{Requested: operation.Requested{Operation: "op-9", Waited: first.ID}}}
	next.run.Step(t.Context())
	a, _ := next.Item(first.ID)
	b, _ := next.Item(second.ID)
	if a.State != Started || a.Operation != "op-9" || b.State != Started || len(next.begun) != 1 {
		t.Errorf("%s %s, %s %s, %d begun", a.State, a.Operation, b.State, b.Operation, len(next.begun))
	}
}
