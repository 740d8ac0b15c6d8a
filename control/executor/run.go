package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// outcome is what a step found out; nil for nothing worth keeping.
type outcome struct {
	detail string
	values map[string]string
}

// step is one step of a procedure. do acts and may be repeated; undo takes it
// back before the point of no return and is nil where there is nothing to take
// back. joined begins the step in the journal together with the one before,
// so that no append stands between them: where writes wait, each costs.
type step struct {
	id     string
	do     func(context.Context, *run) (outcome, error)
	undo   func(context.Context, *run) (string, error)
	joined bool
}

// procedure is the list of steps, in order.
type procedure []step

func (p procedure) find(id string) (step, bool) {
	for _, s := range p {
		if s.id == id {
			return s, true
		}
	}
	return step{}, false
}

// Errors that end a run without ending the operation.
var (
	// errStopped: this process is shutting down; the next one resumes.
	errStopped = errors.New("the control plane is stopping")
	// errSuperseded: another control plane leads now.
	errSuperseded = errors.New("another control plane is in charge")
	// errYield: a failover needs the cluster; see Executor.giveWay.
	errYield = errors.New("it gave way to a failover")
)

// run drives one operation. Only its own goroutine touches it.
type run struct {
	e    *Executor
	op   operation.Operation
	kind kind
	rev  int64
	log  *slog.Logger

	// work is the context of steps before the point of no return; it ends
	// early when the operation gives way to a failover. hurry is set then:
	// taking back must not hold that up.
	work  context.Context
	hurry bool
	// with are events of the cluster's stream that go with the next append.
	with []journal.Event

	// pending are outcomes not yet appended; they ride with the next intent.
	pending []operation.Event
	// began holds the steps whose intent this run journalled.
	began map[string]bool

	// pausedUntil is when the write pause this run ordered ends; zero when it
	// ordered none. pauseSent is when it was ordered.
	pausedUntil, pauseSent time.Time
	// pausedAt is the old primary's last position under that pause.
	pausedAt reading
	// switched is when this run saw the promotion confirmed.
	switched time.Time
	// demotedTo is the node the old primary was told to follow by this run;
	// released is closed when the clients waiting on it were let go.
	demotedTo string
	released  <-chan struct{}
	// held are nodes whose engine died and whose process its agent keeps
	// stopped; why says so.
	held map[string]string
	// probe is what the probe reported.
	probe map[string]string
	// inDoubt are nodes that may have taken a promotion order without our
	// knowing the outcome.
	inDoubt map[string]bool
	// noOther: nobody but the candidate may take over, and its agent brings its
	// engine back.
	noOther bool
}

// run leads the operation to its end. resumed tells that an earlier process
// began it.
func (r *run) run(ctx context.Context, resumed bool) error {
	if resumed && r.op.Plan.From != "" {
		r.awaitAgents(ctx)
		if s, ok := r.op.Step(plan.StepPromote); ok && s.State == operation.StepRunning {
			r.inDoubt[r.op.Candidate] = true
		}
	}
	if r.op.State == operation.StateRollingBack {
		return r.takeBack(ctx)
	}
	if resumed && !r.op.Past && !r.kind.resumes {
		return r.rollBack(ctx, "the control plane restarted before the point of no return")
	}
	return r.forward(ctx)
}

// reconnectTime is how long a resumed operation waits for the agents, which
// connect anew after the control plane restarted.
const reconnectTime = 5 * time.Second

// awaitAgents waits until both primary and candidate are reported on again. It
// gives up after reconnectTime: orders say by themselves who is missing.
func (r *run) awaitAgents(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reconnectTime)
	defer cancel()
	wait := r.backoff()
	for {
		_, a := r.e.Agents.Locate(r.op.Plan.Cluster, r.op.Plan.From)
		_, b := r.e.Agents.Locate(r.op.Plan.Cluster, r.op.Plan.Node)
		if a && b || !wait(ctx) {
			return
		}
	}
}

// forward does the remaining steps.
func (r *run) forward(ctx context.Context) error {
	proc := r.kind.procedure
	for {
		i := r.next()
		if i < 0 {
			return r.finish(ctx)
		}
		if !r.op.Past && r.work.Err() != nil && ctx.Err() == nil {
			return r.giveWay(ctx)
		}
		id := r.op.Steps[i].ID
		if id == plan.StepCommit {
			// Journalled together with what was before and what comes next:
			// either the generation is committed and the next step's intent is
			// known, or neither.
			node, why := r.committed()
			r.pending = append(r.pending,
				operation.StepStarted{Operation: r.op.Operation, Step: id, Generation: r.op.Generation, Term: r.e.Term, At: r.e.Now()},
				operation.Committed{Operation: r.op.Operation, Node: node, Generation: r.op.Generation + 1, Why: why, At: r.e.Now()},
				operation.StepFinished{Operation: r.op.Operation, Step: id, At: r.e.Now(), Detail: fmt.Sprintf("generation %d", r.op.Generation+1)})
			i++
			id = r.op.Steps[i].ID
		}
		s, ok := proc.find(id)
		if !ok {
			return fmt.Errorf("the plan has a step %q this version does not know", id)
		}
		if err := r.begin(ctx, proc, i); err != nil {
			return err
		}
		work := ctx
		if !r.op.Past {
			work = r.work
		}
		out, err := s.do(work, r)
		r.reached(FaultAct + ":" + id)
		switch {
		case err == nil:
			r.finished(id, out, "")
		case ctx.Err() != nil:
			return errStopped
		case isStale(err):
			return fmt.Errorf("%w: %w", errSuperseded, err)
		case work.Err() != nil:
			r.finished(id, out, err.Error())
			return r.giveWay(ctx)
		case !r.op.Past:
			r.finished(id, out, err.Error())
			return r.rollBack(ctx, fmt.Sprintf("%s: %v", r.op.Steps[i].Title, err))
		default:
			r.finished(id, out, err.Error())
			return r.giveUp(ctx, fmt.Sprintf("%s: %v", r.op.Steps[i].Title, err))
		}
	}
}

// next is the first step not done, counting outcomes that are still pending.
func (r *run) next() int {
	for i := range r.op.Steps {
		if r.op.Steps[i].State == operation.StepDone {
			continue
		}
		done := false
		for _, ev := range r.pending {
			if f, ok := ev.(operation.StepFinished); ok && f.Step == r.op.Steps[i].ID && !f.Failed {
				done = true
			}
		}
		if !done {
			return i
		}
	}
	return -1
}

// begin journals the intent of step i, and of those joined to it, together
// with what is pending.
func (r *run) begin(ctx context.Context, proc procedure, i int) error {
	if r.began[r.op.Steps[i].ID] {
		return nil
	}
	var intents []operation.Event
	for k := i; k < len(r.op.Steps); k++ {
		s, _ := proc.find(r.op.Steps[k].ID)
		if k > i && !s.joined {
			break
		}
		if r.op.Steps[k].State == operation.StepDone {
			continue
		}
		intents = append(intents, operation.StepStarted{Operation: r.op.Operation, Step: s.id, Generation: r.op.Generation, Term: r.e.Term, At: r.e.Now()})
	}
	if err := r.commit(ctx, intents...); err != nil {
		return err
	}
	for _, ev := range intents {
		r.began[ev.(operation.StepStarted).Step] = true
	}
	return nil
}

// finished keeps an outcome for the next append.
func (r *run) finished(id string, out outcome, failure string) {
	f := operation.StepFinished{Operation: r.op.Operation, Step: id, At: r.e.Now(), Detail: out.detail, Values: out.values}
	if failure != "" {
		f.Failed, f.Detail = true, failure
	}
	r.pending = append(r.pending, f)
}

// value is what a step answered, also when its outcome is still pending.
func (r *run) value(step, key string) string {
	for i := len(r.pending) - 1; i >= 0; i-- {
		if f, ok := r.pending[i].(operation.StepFinished); ok && f.Step == step {
			return f.Values[key]
		}
	}
	return r.op.Values[step+"/"+key]
}

// commit appends what is pending and the given events at the revision this run
// knows, and applies them. It returns when they are durable. When the journal
// leaves the outcome open it finds out by reading, for as long as it takes:
// nothing may be ordered on a guess. Meanwhile writes are let go.
func (r *run) commit(ctx context.Context, events ...operation.Event) error {
	events = append(r.pending[:len(r.pending):len(r.pending)], events...)
	if len(events) == 0 && len(r.with) == 0 {
		return nil
	}
	next := r.op
	batch := make([]journal.Event, len(events))
	for i, ev := range events {
		var err error
		if next, err = operation.Apply(next, ev); err != nil {
			return fmt.Errorf("broken invariant: %w", err)
		}
		if batch[i], err = encode(ev); err != nil {
			return err
		}
	}
	batch = append(batch, r.with...)
	stream := inventory.Stream(r.op.Plan.Cluster)
	for wait := r.backoff(); ; {
		rev, err := r.e.Journal.Append(ctx, stream, r.rev, batch...)
		if err == nil {
			r.rev, r.op, r.pending, r.with = rev, next, nil, nil
			r.journalled(events)
			return nil
		}
		if ctx.Err() != nil {
			return errStopped
		}
		found, rerr := r.reconcile(ctx, stream, batch)
		switch {
		case errors.Is(rerr, errSuperseded):
			return rerr
		case found:
			r.op, r.pending, r.with = next, nil, nil
			r.journalled(events)
			return nil
		}
		r.log.Warn("the journal does not take an event yet", "err", err)
		if !r.op.Past && !r.pausedUntil.IsZero() && time.Since(r.pauseSent) > r.op.Plan.Budget {
			r.letGo(ctx)
		}
		if !wait(ctx) {
			return errStopped
		}
	}
}

// reconcile reads what came after the known revision. found tells that the
// batch is there. Events of other kinds move the revision; events of this
// operation that are not ours mean that somebody else drives it.
func (r *run) reconcile(ctx context.Context, stream string, batch []journal.Event) (found bool, err error) {
	page, err := r.e.Journal.Read(ctx, stream, r.rev+1, 64)
	if err != nil {
		return false, err
	}
	for len(page) > 0 {
		if len(page) >= len(batch) && same(page[:len(batch)], batch) {
			r.rev = page[len(batch)-1].Revision
			return true, nil
		}
		if ev, err := operation.Decode(page[0].Type, page[0].Data); err != nil || ev != nil {
			return false, fmt.Errorf("%w: revision %d of %s is a %s", errSuperseded, page[0].Revision, stream, page[0].Type)
		}
		r.rev = page[0].Revision
		page = page[1:]
	}
	return false, nil
}

func same(got []journal.Recorded, want []journal.Event) bool {
	for i := range want {
		if got[i].Type != want[i].Type || !bytes.Equal(got[i].Data, want[i].Data) {
			return false
		}
	}
	return true
}

// redirect makes another node the candidate under a generation of its own.
func (r *run) redirect(ctx context.Context, node, why string) error {
	r.log.Warn("the candidate changes", "from", r.op.Candidate, "to", node, "why", why)
	return r.commit(ctx, operation.Committed{Operation: r.op.Operation, Node: node, Generation: r.op.Generation + 1, Why: why, At: r.e.Now()})
}

// giveWay takes everything back because a failover needs the cluster, or
// because a person cancelled it.
func (r *run) giveWay(ctx context.Context) error {
	why := context.Cause(r.work)
	r.hurry = errors.Is(why, errYield)
	return r.rollBack(ctx, why.Error())
}

// rollBack takes everything back. Only before the point of no return.
func (r *run) rollBack(ctx context.Context, why string) error {
	if err := r.commit(ctx, operation.RollingBack{Operation: r.op.Operation, Why: why, At: r.e.Now()}); err != nil {
		return err
	}
	return r.takeBack(ctx)
}

// takeBack undoes the steps that were begun, last first. An undo that cannot
// be done does not hold the others up: its text says what remains, and a pause
// ends by itself.
func (r *run) takeBack(ctx context.Context) error {
	proc := r.kind.procedure
	for i := len(r.op.Steps) - 1; i >= 0; i-- {
		rec := r.op.Steps[i]
		s, ok := proc.find(rec.ID)
		if !ok || s.undo == nil || rec.State == operation.StepPending || rec.State == operation.StepWasUndo {
			continue
		}
		detail, err := s.undo(ctx, r)
		if ctx.Err() != nil {
			return errStopped
		}
		if isStale(err) {
			return fmt.Errorf("%w: %w", errSuperseded, err)
		}
		if err != nil {
			detail = couldNot + err.Error()
		}
		r.pending = append(r.pending, operation.StepUndone{Operation: r.op.Operation, Step: rec.ID, Detail: detail, At: r.e.Now()})
	}
	return r.finish(ctx)
}

// giveUp ends an operation that cannot go forward by itself.
func (r *run) giveUp(ctx context.Context, why string) error {
	return r.end(ctx, operation.StateNeedsHuman, "Needs a human: "+why)
}

// backoff returns a function that waits, longer each time, and reports false
// when ctx ended.
func (r *run) backoff() func(context.Context) bool {
	d := r.e.Backoff
	return func(ctx context.Context) bool {
		t := time.NewTimer(d)
		defer t.Stop()
		d = min(2*d, time.Second)
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		}
	}
}
