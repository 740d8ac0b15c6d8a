// Package executor carries operations out: it takes the cluster's lock by
// appending the request at the revision it decided on, journals each step
// before and after acting, orders the agents, and leads every operation to
// done or back, also after it was killed at any point.
//
// One procedure is one file (redis_promotion.go, eventstore_promotion.go),
// which opens with the list of its steps. The plan decided what happens; the
// procedures leave nothing to choose but what to do when a step fails.
// Operations are of many kinds; kinds.go holds the table of them all.
//
// # Before and after the point of no return
//
// Before it every failure takes back what was done, and so does a restart of
// the control plane where a procedure depends on moments: the write pause of a
// promotion may have ended meanwhile. Where every step may be repeated a
// restart goes on instead (kind.resumes). After the point everything goes
// forward; a restart continues, and a promotion re-establishes the pause and
// the equality of positions first when the old primary still takes writes.
//
// One goroutine drives one operation; an Executor may be used from many.
package executor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/backup"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// Agents carries orders to the agents; *hub.Hub is one.
type Agents interface {
	// Order sends one order and waits for its answer. An agent's refusal is a
	// Result with a Code. Errors: agent.ErrNotConnected (nothing was sent),
	// agent.ErrOutcomeUnknown.
	Order(ctx context.Context, agentID string, o agent.Order) (agent.Result, error)
	// Locate finds the agent beside a node.
	Locate(cluster, node string) (agentID string, ok bool)
}

// Facts gathers what decisions depend on.
type Facts interface {
	// Facts returns the facts of a cluster; ok is false for an unknown one.
	Facts(cluster string) (f plan.Facts, ok bool)
	// Fresh waits until every node that is reported on was reported after a
	// moment, at most until ctx ends, and returns what is then known.
	Fresh(ctx context.Context, cluster string, after time.Time) plan.Facts
}

// Options of an Executor. All but Patience and Backoff are required.
type Options struct {
	Journal   journal.Journal
	Inventory *inventory.Inventory
	Agents    Agents
	Facts     Facts
	Audit     *audit.Log
	// Leases is the keeper of leases; nil: no cluster has one.
	Leases Leases
	// Endpoints knows who serves the clusters' endpoints; nil: nobody does.
	Endpoints Endpoints
	// Backups is the catalog of backups; nil: none are kept.
	Backups *backup.Catalog
	// Term is this control plane's consensus term: higher after each restart
	// or change of leader.
	Term uint64
	Log  *slog.Logger
	Now  func() time.Time
	// Reports are what agents say, by id; nil: who may connect to servers
	// directly is not limited.
	Reports func() map[string]agent.Report
	// Secrets seals passwords in the journal; nil: no cluster can be made or
	// adopted.
	Secrets Secrets
	// Patience is how long a step after the point of no return is tried before
	// a human is asked; DefaultPatience when 0.
	Patience time.Duration
	// Backoff is the first wait between two tries; DefaultBackoff when 0.
	Backoff time.Duration
	// Sweep is how often operations are looked for that nobody drives;
	// DefaultSweep when 0.
	Sweep time.Duration
	// Guard is how often a second primary is looked for; DefaultGuard when 0.
	Guard time.Duration
	// Fault, when set, is called at named moments (see FaultIntent): tests end
	// the process there.
	Fault func(points []string)
}

// Defaults of Options.
const (
	DefaultPatience = 2 * time.Minute
	DefaultBackoff  = 20 * time.Millisecond
	DefaultSweep    = 5 * time.Second
	DefaultGuard    = time.Second
)

// Executor runs operations.
type Executor struct {
	Options
	mu      sync.Mutex
	ctx     context.Context
	wg      sync.WaitGroup
	kinds   map[kindKey]kind
	healths targetHealths                      // of backup targets
	told    told                               // logins of event stores
	driving map[string]context.CancelCauseFunc // operations with a goroutine; ends its work before the point of no return
	taking  map[string]bool                    // operations whose request is on its way into the journal
	left    map[string]bool                    // operations another control plane is in charge of
	audited map[string]bool                    // operations whose audit this process has closed or is closing
}

// New returns an executor; Start makes it resume what is unfinished.
func New(o Options) *Executor {
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.Backoff == 0 {
		o.Backoff = DefaultBackoff
	}
	if o.Sweep == 0 {
		o.Sweep = DefaultSweep
	}
	if o.Guard == 0 {
		o.Guard = DefaultGuard
	}
	return &Executor{Options: o, kinds: kindTable(), driving: map[string]context.CancelCauseFunc{}, taking: map[string]bool{}, left: map[string]bool{}, audited: map[string]bool{}}
}

// Start resumes every unfinished operation and closes the audit of finished
// ones. The inventory must be ready. Operations run until ctx ends.
func (e *Executor) Start(ctx context.Context) {
	e.mu.Lock()
	e.ctx = ctx
	e.mu.Unlock()
	ended := e.Inventory.Unaudited() // before anything can end anew
	for _, o := range e.Inventory.Unfinished() {
		e.Log.Info("operation is resumed", "operation", o.Operation, "cluster", o.Plan.Cluster, "past", o.Past)
		e.drive(o.Operation, true)
	}
	e.wg.Go(func() { e.keepLimits(ctx) })
	e.wg.Add(3)
	go func() {
		defer e.wg.Done()
		e.upkeep(ctx)
	}()
	go func() {
		defer e.wg.Done()
		e.closeAudits(ctx, ended)
		e.sweep(ctx)
	}()
	go func() {
		defer e.wg.Done()
		e.guard(ctx)
	}()
}

// sweep picks up what fell between two chairs: a request whose append was
// durable although the journal's answer was lost, an audit record the journal
// did not take. What is seen twice in a row is not just on its way.
func (e *Executor) sweep(ctx context.Context) {
	tick := time.NewTicker(e.Sweep)
	defer tick.Stop()
	seen := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		again := map[string]bool{}
		for _, o := range e.Inventory.Unfinished() {
			if again[o.Operation] = true; seen[o.Operation] && !e.busy(o.Operation) {
				e.Log.Warn("operation that nobody drives is picked up", "operation", o.Operation)
				e.drive(o.Operation, true)
			}
		}
		var open []operation.Operation
		for _, o := range e.Inventory.Unaudited() {
			if again[o.Operation] = true; seen[o.Operation] && !e.busy(o.Operation) {
				open = append(open, o)
			}
		}
		e.closeAudits(ctx, open)
		seen = again
	}
}

// busy tells whether an operation is driven, or by somebody else, or about to be.
func (e *Executor) busy(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.driving[id] != nil || e.left[id] || e.taking[id]
}

// Wait returns when no operation is being driven any more: after ctx of Start
// ended, or when all are final.
func (e *Executor) Wait() { e.wg.Wait() }

// Request asks for a promotion.
type Request struct {
	Cluster    string
	Node       string
	TypedName  string
	ReportHash string
	Generation uint64
	Reason     string
	Overrides  []string
	Who        audit.Who
	// UndoOf is the operation that is switched back.
	UndoOf string
	// Approver and Waited: see operation.Requested.
	Approver, Waited string
}

// Refusals of a Request. Nothing was changed.
var (
	// ErrUnknownCluster: there is no such cluster.
	ErrUnknownCluster = errors.New("there is no such cluster")
	// ErrTypedName: the typed name is not the node's.
	ErrTypedName = errors.New("the typed name is not the node's name")
	// ErrReason: checks are overridden and nobody says why.
	ErrReason = errors.New("checks are overridden without a reason")
	// ErrUndo: the operation cannot be switched back.
	ErrUndo = errors.New("the operation cannot be switched back")
)

// UnknownNodeError says that the cluster has no such node.
type UnknownNodeError struct {
	Cluster, Node string
	// Other is another cluster that has a node of the name, "" when none.
	Other string
}

func (e *UnknownNodeError) Error() string {
	s := fmt.Sprintf("cluster %s has no node %q", e.Cluster, e.Node)
	if e.Other != "" {
		s += "; it is a node of cluster " + e.Other
	}
	return s
}

// RunningError says that another operation holds the cluster.
type RunningError struct {
	Operation string
	What      string // a sentence: what it does, who began it, which step
}

func (e *RunningError) Error() string { return e.What }

// StaleError says that what the person saw is no longer so.
type StaleError struct {
	Why   string
	Fresh plan.Report
}

func (e *StaleError) Error() string { return e.Why }

// RefusedError says that the plan has refusals.
type RefusedError struct{ Plan plan.Plan }

func (e *RefusedError) Error() string {
	return "refused by checks: " + e.Plan.Refusals[0].Title
}

// Plan returns the plan of a promotion, the very one Promote would run.
func (e *Executor) Plan(cluster, node string, overrides ...string) (plan.Plan, error) {
	f, err := e.facts(cluster, node)
	if err != nil {
		return plan.Plan{}, err
	}
	return plan.Promote(&f, node, overrides...), nil
}

func (e *Executor) facts(cluster, node string) (plan.Facts, error) {
	f, ok := e.Facts.Facts(cluster)
	if !ok {
		return f, ErrUnknownCluster
	}
	if f.Node(node) != nil {
		return f, nil
	}
	unknown := &UnknownNodeError{Cluster: cluster, Node: node}
	for _, c := range e.Inventory.Clusters() {
		for _, m := range c.Members {
			if m.Name == node && c.ID != cluster {
				unknown.Other = c.ID
			}
		}
	}
	return f, unknown
}

// requestTime bounds how long a request may take to be recorded.
const requestTime = 10 * time.Second

// conflicts bounds how often a request is decided again because the cluster's
// stream moved between the decision and the append.
const conflicts = 4

// Promote checks the request against the present facts, takes the cluster's
// lock and begins. It returns the operation's id as soon as the request is
// durable; a client that goes away meanwhile changes nothing. Errors are the
// refusals above, or of the journal, whose outcome may then be unknown: if the
// request was recorded after all it is taken back within moments.
func (e *Executor) Promote(ctx context.Context, r Request) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer cancel()
	for range conflicts {
		c, ok := e.Inventory.Cluster(r.Cluster)
		if !ok {
			return "", ErrUnknownCluster
		}
		f, err := e.facts(r.Cluster, r.Node)
		if err != nil {
			return "", err
		}
		if c.Running != "" {
			return "", e.running(c.Running)
		}
		p, err := decide(&f, r)
		if err != nil {
			return "", err
		}
		req := operation.Requested{Operation: newID(), Kind: operation.Promotion, UndoOf: r.UndoOf,
			Requester: r.Who.Name, Role: r.Who.Role, Source: r.Who.Source, IP: r.Who.IP, Reason: r.Reason,
			Overrides: r.Overrides, Approver: r.Approver, Waited: r.Waited, Plan: p, RolesBefore: Roles(&f), Rejected: rejected(&f, r.Node), At: e.Now()}
		if r.UndoOf != "" {
			req.Kind = operation.SwitchBack
		}
		req.Plan.Kind = req.Kind
		if moved, err := e.take(ctx, r.Cluster, c.Revision, req, nil); err != nil {
			return "", err
		} else if !moved {
			return req.Operation, nil
		}
	}
	return "", fmt.Errorf("the stream of cluster %s keeps moving; try again", r.Cluster)
}

// decide compares what the person saw and typed with what is so now.
func decide(f *plan.Facts, r Request) (plan.Plan, error) {
	if r.TypedName != r.Node {
		return plan.Plan{}, ErrTypedName
	}
	p := plan.Promote(f, r.Node, r.Overrides...)
	switch {
	case len(r.Overrides) > 0 && strings.TrimSpace(r.Reason) == "":
		return p, ErrReason
	case r.Generation != f.Generation:
		return p, &StaleError{fmt.Sprintf("the cluster is at generation %d, you saw %d", f.Generation, r.Generation), p.Report}
	case r.ReportHash != p.Report.Hash:
		return p, &StaleError{"a verdict of the report changed since you saw it", p.Report}
	case p.Refused():
		return p, &RefusedError{p}
	}
	return p, nil
}

// UndoTarget returns the node that switching an operation back would make
// primary, or ErrUndo with the reason.
func (e *Executor) UndoTarget(id string) (cluster, node string, err error) {
	o, ok := e.Inventory.Operation(id)
	if !ok {
		return "", "", fmt.Errorf("there is no operation %q: %w", id, ErrUndo)
	}
	cluster = o.Plan.Cluster
	until, ok := o.UndoUntil()
	switch {
	case !ok:
		return cluster, "", fmt.Errorf("it ended %q: %w", o.State, ErrUndo)
	case e.Now().After(until):
		return cluster, "", fmt.Errorf("the time for it ended at %s: %w", until.Format(time.RFC3339), ErrUndo)
	}
	c, _ := e.Inventory.Cluster(cluster)
	if c.Generation != o.Generation {
		return cluster, "", fmt.Errorf("the primary moved again since, in generation %d: %w", c.Generation, ErrUndo)
	}
	return cluster, o.Plan.From, nil
}

// running describes the operation in the way.
func (e *Executor) running(id string) error {
	o, _ := e.Inventory.Operation(id)
	return &RunningError{Operation: id, What: Sentence(&o)}
}

// Roles are the present roles of all nodes, in the engine's own words.
func Roles(f *plan.Facts) []operation.Role {
	out := make([]operation.Role, len(f.Nodes))
	for i := range f.Nodes {
		out[i] = operation.Role{Node: f.Nodes[i].Name, Role: RoleWord(f.Engine, f.Nodes[i].Role())}
	}
	return out
}

// RoleWord is a role as people say it for the engine.
func RoleWord(eng string, r engine.Role) string {
	if eng == engine.EventStore {
		switch r {
		case engine.RolePrimary:
			return "leader"
		case engine.RoleReplica:
			return "follower"
		}
	}
	return string(r)
}

// rejected are the nodes that were not chosen, each with why it could not be,
// or that it could.
func rejected(f *plan.Facts, chosen string) []operation.Role {
	var out []operation.Role
	for i := range f.Nodes {
		if n := &f.Nodes[i]; n.Name != chosen {
			out = append(out, operation.Role{Node: n.Name, Role: plan.Evaluate(f, n.Name).Reason})
		}
	}
	return out
}

// drive begins a goroutine for the operation, unless one drives it already.
func (e *Executor) drive(id string, resumed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.driving[id] != nil || e.ctx == nil || e.ctx.Err() != nil {
		return
	}
	// What a caller read before may be over by now: only this state is known not
	// to be driven by anybody here.
	o, rev, ok := e.Inventory.Latest(id)
	if !ok || o.State.Final() {
		return
	}
	k, ok := e.kindOf(o.Kind, o.Plan.Engine)
	if !ok {
		e.Log.Error("this version cannot carry an operation out; a newer one must", "operation", o.Operation, "kind", o.Kind, "engine", o.Plan.Engine)
		e.left[o.Operation] = true
		return
	}
	work, end := context.WithCancelCause(e.ctx)
	e.driving[o.Operation] = end
	r := &run{e: e, op: o, kind: k, work: work, rev: rev, began: map[string]bool{}, held: map[string]string{},
		inDoubt: map[string]bool{}, log: e.Log.With("operation", o.Operation, "kind", o.Kind, "cluster", o.Plan.Cluster)}
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		defer end(nil)
		err := r.run(e.ctx, resumed)
		if err != nil {
			r.log.Warn("operation is left", "err", err)
		} else {
			_ = e.Inventory.Wait(e.ctx, inventory.Stream(o.Plan.Cluster), r.rev) // nobody may see it unfinished and not driven
		}
		e.mu.Lock()
		delete(e.driving, o.Operation)
		if errors.Is(err, errSuperseded) {
			e.left[o.Operation] = true
		}
		e.mu.Unlock()
	}()
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "op-" + hex.EncodeToString(b[:])
}

func encode(ev operation.Event) (journal.Event, error) {
	kind, data, err := operation.Encode(ev)
	return journal.Event{Type: kind, Data: data}, err
}
