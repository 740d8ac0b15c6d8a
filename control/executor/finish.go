package executor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"baton/control/audit"
	"baton/control/engine"
	"baton/control/operation"
	"baton/control/plan"
)

// freshTime bounds the wait for reports that show the roles afterwards.
const freshTime = 3 * time.Second

// finish ends an operation whose steps are all done or all taken back.
func (r *run) finish(ctx context.Context) error {
	a := r.op.Plan.From
	switch {
	case r.op.State == operation.StateRollingBack && operation.Moves(r.op.Kind) && a != "":
		return r.end(ctx, operation.StateRolledBack, fmt.Sprintf("Rolled back: %s. %s is still the %s", r.op.Why, a, primaryWord(r.op.Plan.Engine)))
	case r.op.State == operation.StateRollingBack:
		return r.end(ctx, operation.StateRolledBack, "Rolled back: "+r.op.Why+r.remains())
	case r.op.Generation > r.op.Plan.Generation && r.op.Candidate == a:
		return r.end(ctx, operation.StateRolledBack, fmt.Sprintf("Returned to %s in generation %d: %s", a, r.op.Generation, r.op.Why))
	}
	if r.kind.outcome != nil {
		return r.end(ctx, operation.StateDone, r.kind.outcome(r))
	}
	what := What(&r.op)
	return r.end(ctx, operation.StateDone, strings.ToUpper(what[:1])+what[1:])
}

// couldNot begins the detail of a step that could not be taken back.
const couldNot = "could not be taken back: "

// remains names what a roll-back left behind.
func (r *run) remains() string {
	var out []string
	for _, s := range r.op.Steps {
		if strings.HasPrefix(s.Detail, couldNot) {
			out = append(out, s.Title+" "+s.Detail)
		}
	}
	for _, ev := range r.pending {
		if u, ok := ev.(operation.StepUndone); ok && strings.HasPrefix(u.Detail, couldNot) {
			s, _ := r.op.Step(u.Step)
			out = append(out, s.Title+" "+u.Detail)
		}
	}
	if len(out) == 0 {
		return ". What had been begun was taken back"
	}
	return ". Needs attention: " + strings.Join(out, "; ")
}

func primaryWord(eng string) string { return RoleWord(eng, engine.RolePrimary) }

// end journals the end of the operation, which gives the cluster's lock back,
// and closes its audit.
func (r *run) end(ctx context.Context, state operation.State, sentence string) error {
	wait, cancel := context.WithTimeout(ctx, freshTime)
	f := r.e.Facts.Fresh(wait, r.op.Plan.Cluster, r.e.Now())
	cancel()
	if ctx.Err() != nil {
		return errStopped
	}
	fin := operation.Finished{Operation: r.op.Operation, State: state, Outcome: sentence, RolesAfter: Roles(&f), At: r.e.Now()}
	if r.kind.prove != nil {
		fin.Stall, fin.Proof = r.kind.prove(r, state)
	}
	if r.kind.closing != nil {
		var err error
		if r.with, err = r.kind.closing(r, state); err != nil {
			return fmt.Errorf("close the operation: %w", err)
		}
	}
	if err := r.commit(ctx, fin); err != nil {
		return err
	}
	r.log.Info("operation ended", "state", state, "outcome", sentence)
	return r.e.closeAudit(ctx, &r.op)
}

// probed is what the probe reported under a key, also from before a restart.
func (r *run) probed(key string) string {
	if r.probe != nil {
		return r.probe[key]
	}
	return r.value(plan.StepStopProbe, key)
}

func (r *run) stall() *operation.Stall {
	number := func(s string) *float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil
		}
		return &v
	}
	s := &operation.Stall{ProbeMs: number(r.probed("longestGapMs"))}
	step := plan.StepPromote
	if r.op.Plan.Engine == engine.EventStore {
		step = plan.StepTransfer
	}
	s.AgentMs = number(r.value(step, "agentMs"))
	if s.AgentMs == nil {
		from, ok1 := r.op.Step(plan.StepPause)
		to, ok2 := r.op.Step(step)
		if ok1 && ok2 && to.State == operation.StepDone && !from.StartedAt.IsZero() {
			v := float64(to.EndedAt.Sub(from.StartedAt)) / float64(time.Millisecond)
			s.AgentMs = &v
		}
	}
	if s.ProbeMs == nil && s.AgentMs == nil {
		return nil
	}
	return s
}

// proof claims that nothing was lost only on what was seen: the equality of
// positions after the fence, or the consensus, and the probe's writes read
// back.
func (r *run) proof(state operation.State) *operation.Proof {
	number := func(s string) *int64 {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil
		}
		return &v
	}
	p := &operation.Proof{Acked: number(r.probed("acked")), ReadBack: number(r.probed("readBack")), Lost: number(r.probed("lost"))}
	if r.probed("complete") == "false" {
		p.Lost = nil
	}
	at := r.lastPosition()
	p.PositionOld, p.PositionNew = at.offset, r.value(plan.StepPromote, "offset")
	var parts []string
	switch {
	case state == operation.StateRolledBack && !r.op.Past:
		parts = append(parts, "nothing was moved")
	case r.op.Plan.Engine == engine.EventStore && state == operation.StateDone:
		parts = append(parts, "the new leader was elected by a majority that holds every acknowledged write")
	case p.PositionOld != "" && state == operation.StateDone:
		parts = append(parts, fmt.Sprintf("after writes were fenced %s held the old primary's last position %s", r.op.Candidate, p.PositionOld))
	}
	switch {
	case p.Acked == nil || p.ReadBack == nil || p.Lost == nil:
		parts = append(parts, "the probe's writes could not be read back, so loss was not measured")
	case *p.Lost == 0:
		parts = append(parts, fmt.Sprintf("0 lost: all %d probe writes acknowledged meanwhile were read back", *p.Acked))
	default:
		parts = append(parts, fmt.Sprintf("%d of %d acknowledged probe writes are missing", *p.Lost, *p.Acked))
	}
	p.Sentence = strings.Join(parts, "; ")
	return p
}

// closeAudit writes the audit record of an ended operation.
func (e *Executor) closeAudit(ctx context.Context, o *operation.Operation) error {
	rec := audit.Record{ID: o.Operation, At: o.EndedAt,
		Who:     audit.Who{Name: o.Requester, Role: o.Role, Source: o.Source, IP: o.IP},
		Cluster: o.Plan.Cluster, Node: o.Plan.Node, Detail: o.Outcome,
		Change: &audit.Change{Operation: o.Operation, Kind: o.Kind, GenerationBefore: o.Plan.Generation, GenerationAfter: o.Generation,
			From: o.Plan.From, To: movedTo(o), Reason: o.Reason, Overrides: o.Overrides, Approver: o.Approver, Report: o.Plan.Report, Rejected: o.Rejected,
			Steps: o.Steps, Stall: o.Stall, Proof: o.Proof, RolesBefore: o.RolesBefore, RolesAfter: o.RolesAfter}}
	if until, ok := o.UndoUntil(); ok {
		rec.Change.UndoUntil = &until
	}
	rec.What = What(o)
	rec.Outcome = Outcome(o.State)
	// The inventory may not have read a record yet that was written a moment
	// ago: what this process closed it does not close again.
	e.mu.Lock()
	again := e.audited[o.Operation]
	e.audited[o.Operation] = true
	e.mu.Unlock()
	if again {
		return nil
	}
	if _, err := e.Audit.Append(ctx, rec); err != nil {
		e.mu.Lock()
		delete(e.audited, o.Operation)
		e.mu.Unlock()
		return fmt.Errorf("close the audit: %w", err)
	}
	return nil
}

// movedTo is the node that an operation made or would have made primary, ""
// where it is not about that.
func movedTo(o *operation.Operation) string {
	if !operation.Moves(o.Kind) {
		return ""
	}
	return o.Candidate
}

// Outcome is an operation's state in the words of the audit.
func Outcome(s operation.State) string {
	switch s {
	case operation.StateDone:
		return audit.Done
	case operation.StateRolledBack:
		return audit.RolledBack
	case operation.StateNeedsHuman:
		return audit.Failed
	}
	return "running"
}

// closeAudits writes the records that a crash between an operation's end and
// its audit left out.
func (e *Executor) closeAudits(ctx context.Context, ended []operation.Operation) {
	for _, o := range ended {
		if err := e.closeAudit(ctx, &o); err != nil && ctx.Err() == nil {
			e.Log.Error("audit of an ended operation is missing", "operation", o.Operation, "err", err)
		}
	}
}
