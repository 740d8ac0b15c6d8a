package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"baton/control/audit"
	"baton/control/health"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// Submission asks for an operation of any kind but a planned promotion, which
// Promote begins.
type Submission struct {
	// Cluster it is about. It may be unknown when With registers it.
	Cluster string
	Kind    string // a constant of package operation
	Node    string // for the audit of refusals; the plan names its own
	// Build plans from the present facts. It is called again when the cluster
	// changed between decision and append; it decides and changes nothing. An
	// error is given back as it is, a plan with refusals as *RefusedError.
	Build func(f *plan.Facts) (plan.Plan, error)
	// TypedName is compared with WantTyped when that is not "".
	TypedName, WantTyped string
	// Generation is what the person saw; nil: not compared.
	Generation *uint64
	Reason     string
	Overrides  []string
	Who        audit.Who
	// With are appended to the cluster's stream before the request, in the
	// same append: the registration of a new cluster.
	With []journal.Event
}

// ErrClusterExists: a cluster of the name is there already.
var ErrClusterExists = errors.New("a cluster of this name exists already")

// Submit checks a submission against the present facts, takes the cluster's
// lock and begins. It returns the operation's id as soon as the request is
// durable; a client that goes away meanwhile changes nothing. Errors are the
// refusals of Promote, ErrClusterExists, inventory.ErrName, Build's, or of the
// journal, whose outcome may then be unknown: Unfinished operations are picked
// up within moments.
//
// A failover does not wait for an operation that yields: that is taken back
// first.
func (e *Executor) Submit(ctx context.Context, s Submission) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer cancel()
	for range conflicts {
		stream := inventory.Stream(s.Cluster)
		rev := e.Inventory.Revision(stream)
		c, exists := e.Inventory.Cluster(s.Cluster)
		f, known := e.Facts.Facts(s.Cluster)
		switch registers := registers(s.With); {
		case registers && exists:
			return "", ErrClusterExists
		case registers && !inventory.ValidName(s.Cluster):
			return "", fmt.Errorf("cluster %q: %w", s.Cluster, inventory.ErrName)
		case !registers && (!exists || !known):
			return "", ErrUnknownCluster
		case registers:
			f = plan.Facts{Snapshot: health.Snapshot{Now: e.Now(), Cluster: s.Cluster}, JournalOK: true, Connected: map[string]bool{}, Generation: e.Inventory.Generation(s.Cluster)}
		default:
			rev = c.Revision
		}
		if c.Running != "" {
			if operation.Moves(s.Kind) && s.Kind != operation.Restore && s.Kind != operation.RollingRestart && e.giveWay(ctx, c.Running) {
				continue
			}
			return "", e.running(c.Running)
		}
		if s.WantTyped != "" && s.TypedName != s.WantTyped {
			return "", ErrTypedName
		}
		if s.Generation != nil && *s.Generation != f.Generation {
			return "", &StaleError{Why: fmt.Sprintf("the cluster is at generation %d, you saw %d", f.Generation, *s.Generation)}
		}
		p, err := s.Build(&f)
		if err != nil {
			return "", err
		}
		if p.Refused() {
			return "", &RefusedError{p}
		}
		p.Kind, p.Cluster, p.Generation = s.Kind, s.Cluster, f.Generation
		if err := e.canRun(&p); err != nil {
			return "", err
		}
		req := operation.Requested{Operation: newID(), Kind: s.Kind, Requester: s.Who.Name, Role: s.Who.Role, Source: s.Who.Source, IP: s.Who.IP,
			Reason: s.Reason, Overrides: s.Overrides, Plan: p, RolesBefore: Roles(&f), At: e.Now()}
		if operation.Moves(s.Kind) && p.Node != "" {
			req.Rejected = rejected(&f, p.Node)
		}
		if moved, err := e.take(ctx, s.Cluster, rev, req, s.With); err != nil {
			return "", err
		} else if !moved {
			return req.Operation, nil
		}
	}
	return "", fmt.Errorf("the stream of cluster %s keeps moving; try again", s.Cluster)
}

func registers(events []journal.Event) bool {
	for _, ev := range events {
		if ev.Type == inventory.ClusterRegistered {
			return true
		}
	}
	return false
}

// canRun checks what a plan promises: a procedure has each of its steps.
func (e *Executor) canRun(p *plan.Plan) error {
	k, ok := e.kindOf(p.Kind, p.Engine)
	if !ok {
		return fmt.Errorf("this version has no operation %q for engine %q", p.Kind, p.Engine)
	}
	if len(p.Steps) == 0 {
		return fmt.Errorf("the plan of a %s has no steps", p.Kind)
	}
	for _, s := range p.Steps {
		if _, ok := k.find(s.ID); !ok {
			return fmt.Errorf("the procedure of a %s has no step %q", p.Kind, s.ID)
		}
	}
	return nil
}

// take appends a request at the revision it was decided on, which takes the
// cluster's lock, and drives the operation. moved tells that the stream is at
// another revision: decide again.
func (e *Executor) take(ctx context.Context, cluster string, rev int64, req operation.Requested, with []journal.Event) (moved bool, err error) {
	ev, err := encode(req)
	if err != nil {
		return false, err
	}
	e.mu.Lock()
	e.taking[req.Operation] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.taking, req.Operation)
		e.mu.Unlock()
	}()
	stream := inventory.Stream(cluster)
	rev, err = e.Journal.Append(ctx, stream, rev, append(with[:len(with):len(with)], ev)...)
	var conflict *journal.ConflictError
	if errors.As(err, &conflict) {
		if err := e.Inventory.Wait(ctx, stream, conflict.Actual); err != nil {
			return false, err
		}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("journal the request: %w", err)
	}
	if err := e.Inventory.Wait(ctx, stream, rev); err != nil {
		return false, err
	}
	if _, ok := e.Inventory.Operation(req.Operation); !ok {
		return false, fmt.Errorf("broken invariant: operation %s was journalled and is not known", req.Operation)
	}
	e.drive(req.Operation, false)
	return false, nil
}

// giveWayTime bounds how long a failover waits for an operation to be taken
// back; what it left is named in that operation's own outcome.
const giveWayTime = 6 * time.Second

// giveWay takes a running operation back when its kind yields and it is before
// its point of no return; false when it stays.
func (e *Executor) giveWay(ctx context.Context, id string) bool {
	if !e.yields(id) {
		return false
	}
	e.mu.Lock()
	end := e.driving[id]
	e.mu.Unlock()
	if end == nil {
		return false
	}
	end(errYield)
	ctx, cancel := context.WithTimeout(ctx, giveWayTime)
	defer cancel()
	notices, stop := e.Inventory.Watch(16)
	defer stop()
	tick := time.NewTicker(50 * time.Millisecond) // a watcher may miss a notice
	defer tick.Stop()
	for {
		if o, ok := e.Inventory.Operation(id); !ok || o.State.Final() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-notices:
		case <-tick.C:
		}
	}
}
