package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"baton/control/audit"
	"baton/control/operation"
	"baton/control/plan"
)

// Refusals of Cancel.
var (
	// ErrUnknownOperation: there is no such operation.
	ErrUnknownOperation = errors.New("there is no such operation")
	// ErrTooLate: it passed its point of no return, or has ended.
	ErrTooLate = errors.New("it is too late to cancel")
)

// cancelTime bounds the wait for the operation to turn round: a step that
// cannot be broken off ends first.
const cancelTime = 30 * time.Second

// Cancel has an operation take back what it did, as long as it is before its
// point of no return, and returns when it is clear which way it goes: nil once
// taking back is journalled, ErrTooLate when the point was passed first.
func (e *Executor) Cancel(ctx context.Context, id string, who audit.Who) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer stop()
	notices, unwatch := e.Inventory.Watch(64)
	defer unwatch()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	asked := false
	for {
		o, ok := e.Inventory.Operation(id)
		switch {
		case !ok:
			return ErrUnknownOperation
		case o.State == operation.StateRollingBack || o.State == operation.StateRolledBack && !o.Past:
			if !asked {
				return fmt.Errorf("it is being taken back already: %w", ErrTooLate)
			}
			return nil
		case o.State.Final():
			return fmt.Errorf("it has ended: %s: %w", o.Outcome, ErrTooLate)
		case o.Past:
			return fmt.Errorf("it passed the point of no return and only goes forward: %w", ErrTooLate)
		}
		e.mu.Lock()
		end := e.driving[id]
		e.mu.Unlock()
		if end != nil && !asked {
			end(fmt.Errorf("cancelled by %s", who.Name))
			asked = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it has not answered; its state tells what becomes of it: %w", ctx.Err())
		case <-notices:
		case <-tick.C:
		}
	}
}

// Check compares a request with what is so now and returns the plan that would
// run. Errors are the refusals of Promote. Nothing is begun.
func (e *Executor) Check(r Request) (plan.Plan, error) {
	f, err := e.facts(r.Cluster, r.Node)
	if err != nil {
		return plan.Plan{}, err
	}
	if f.Running != "" {
		return plan.Plan{}, e.running(f.Running)
	}
	return decide(&f, r)
}
