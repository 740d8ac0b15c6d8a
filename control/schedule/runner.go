package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"baton/control/audit"
	"baton/control/operation"
	"baton/control/plan"
)

// Promoter plans and begins promotions.
type Promoter interface {
	// Plan returns the plan as it is now.
	Plan(cluster, node string, overrides ...string) (plan.Plan, error)
	// Begin requests the promotion that waited as id, with the report as it is
	// now, and returns the operation.
	Begin(ctx context.Context, id string, r Request, p *plan.Plan) (operation string, err error)
}

// Operations finds what a request became before a restart.
type Operations interface {
	// OperationsOf returns a cluster's operations.
	OperationsOf(cluster string) []operation.Operation
}

// Runner starts what waited when its turn comes. Only the control node in
// charge runs one.
type Runner struct {
	Book       *Book
	Promoter   Promoter
	Operations Operations
	// Record audits how it ended when it became no operation.
	Record func(ctx context.Context, r audit.Record)
	// InCharge tells whether this control node decides; nil: it does.
	InCharge func() bool
	Log      *slog.Logger
}

// Run looks every second until ctx ends.
func (r *Runner) Run(ctx context.Context) error {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if r.InCharge == nil || r.InCharge() {
			r.Step(ctx)
		}
	}
}

// Step does what is due.
func (r *Runner) Step(ctx context.Context) {
	now := r.Book.now()
	for _, i := range r.Book.Items("") {
		switch {
		case i.State == AwaitingApproval && !now.Before(i.Expires):
			r.end(ctx, &i, Refused, fmt.Sprintf("nobody approved it within %.0f minutes", ApprovalLife.Minutes()))
		case i.State == Scheduled && !now.Before(i.At):
			claimed, err := r.Book.Start(ctx, i.ID)
			if err != nil {
				continue // cancelled at the last moment, or the journal does not take it: next time
			}
			r.Go(ctx, claimed)
		case i.State == Starting && now.Sub(i.Asked) > Every:
			r.resume(ctx, &i)
		}
	}
}

// resume finishes what an earlier process claimed: its operation may exist.
func (r *Runner) resume(ctx context.Context, i *Item) {
	for _, o := range r.Operations.OperationsOf(i.Cluster) {
		if o.Waited == i.ID {
			if _, err := r.Book.End(ctx, i.ID, Started, o.Operation, ""); err != nil && ctx.Err() == nil {
				r.Log.Warn("what waited could not be closed", "id", i.ID, "err", err)
			}
			return
		}
	}
	r.Go(ctx, *i)
}

// Go starts a claimed item, or refuses it with the reason, and returns it as it
// ended.
func (r *Runner) Go(ctx context.Context, i Item) Item {
	now := r.Book.now()
	if due := i.At; !due.IsZero() && now.Sub(due) > MaxLate {
		return r.end(ctx, &i, Refused, fmt.Sprintf("its time, %s, had passed by %.0f minutes before it could start", due.UTC().Format("2006-01-02 15:04 UTC"), now.Sub(due).Minutes()))
	}
	p, err := r.Promoter.Plan(i.Cluster, i.Node, i.Overrides...)
	switch {
	case err != nil:
		return r.end(ctx, &i, Refused, err.Error())
	case p.Generation != i.Generation:
		return r.end(ctx, &i, Refused, fmt.Sprintf("the primary moved since it was asked for: generation %d then, %d now", i.Generation, p.Generation))
	case p.Refused():
		return r.end(ctx, &i, Refused, "refused by checks: "+p.Refusals[0].Title)
	}
	if why := p.Report.Worse(&i.Report); why != "" {
		return r.end(ctx, &i, Refused, "it is worse than when it was asked for: "+why)
	}
	i.Request.Report = p.Report
	op, err := r.Promoter.Begin(ctx, i.ID, i.Request, &p)
	if err != nil {
		return r.end(ctx, &i, Refused, err.Error())
	}
	ended, err := r.Book.End(ctx, i.ID, Started, op, "")
	if err != nil && ctx.Err() == nil {
		r.Log.Warn("what waited could not be closed", "id", i.ID, "operation", op, "err", err)
		i.State, i.Operation = Started, op
		return i
	}
	return ended
}

// end closes an item that became no operation, and audits it.
func (r *Runner) end(ctx context.Context, i *Item, s State, why string) Item {
	ended, err := r.Book.End(ctx, i.ID, s, "", why)
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Warn("what waited could not be closed", "id", i.ID, "err", err)
		}
		return *i
	}
	what := "did not start the promotion of " + i.Node
	if !i.At.IsZero() {
		what += " that was scheduled for " + i.At.UTC().Format("2006-01-02 15:04 UTC")
	} else {
		what += " that awaited approval"
	}
	r.Record(ctx, audit.Record{Who: audit.Who{Name: i.Who.Name, Role: i.Who.Role, Source: "auto"}, Cluster: i.Cluster, Node: i.Node, What: what,
		Outcome: audit.Refused, Detail: why, Kind: "schedule"})
	return ended
}
