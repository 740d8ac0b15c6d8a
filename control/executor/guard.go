package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/mend"
	"baton/control/operation"
	"baton/control/plan"
)

// roleCorrection is the type of the event, in a cluster's own stream, that is
// durable before a node is told another role than it has.
const roleCorrection = "role-correction"

// correctionBegun is that event.
type correctionBegun struct {
	Node       string    `json:"node"`
	Kind       mend.Kind `json:"kind"`
	Addr       string    `json:"addr,omitempty"`
	Generation uint64    `json:"generation,string"`
	Was        string    `json:"was"`
	At         time.Time `json:"at"`
}

const (
	// correctionTime bounds the append before corrections.
	correctionTime = 5 * time.Second
	// keepTime bounds saving what a replica may hold alone.
	keepTime = 2 * time.Minute
	// keepPause is how long a second primary's writes are held at once while what
	// it took is saved; engine.PauseWrites takes no more than a minute. It is
	// renewed every keepAgain.
	keepPause = 30 * time.Second
	keepAgain = 5 * time.Second
)

// guard keeps the roles an operation gave, over restarts of the servers; see
// package mend, which decides. Only engines without consensus need it.
//
// A correction is appended to the cluster's stream at the very revision it was
// decided on before anything is ordered, so that it never crosses an operation
// that began meanwhile. Its orders carry the generation on record: agents that
// have seen a newer one refuse them.
func (e *Executor) guard(ctx context.Context) {
	tick := time.NewTicker(e.Guard)
	defer tick.Stop()
	g := &guarding{e: e, states: map[string]*mend.State{}}
	defer g.wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range e.Inventory.Clusters() {
			if c.Engine == engine.Redis && ctx.Err() == nil {
				g.look(ctx, &c)
			}
		}
	}
}

// guarding is the guard's memory; mu guards states.
type guarding struct {
	e      *Executor
	wg     sync.WaitGroup
	mu     sync.Mutex
	states map[string]*mend.State
}

// look looks at one cluster and begins what is due.
func (g *guarding) look(ctx context.Context, c *inventory.Cluster) {
	if c.ShouldBe == "" || c.Generation == 0 {
		return
	}
	f, ok := g.e.Facts.Facts(c.ID)
	if !ok {
		return
	}
	if g.e.Leases != nil {
		g.e.Leases.Saw(c, &f)
	}
	mf := g.e.mendFacts(c, &f)
	g.mu.Lock()
	s := g.states[c.ID]
	if s == nil {
		s = &mend.State{}
		g.states[c.ID] = s
	}
	due := mend.Decide(&mf, s)
	tries := make([]int, len(due))
	for i, d := range due {
		tries[i] = s.Tries(d.Node, d.Kind)
	}
	g.mu.Unlock()
	if len(due) == 0 {
		return
	}
	err := g.e.recordCorrections(ctx, c, due)
	for i, d := range due {
		if err != nil && d.Kind.Moves() {
			g.ended(c.ID, d, false)
			continue
		}
		g.wg.Go(func() { g.ended(c.ID, d, g.e.correct(ctx, c, d, tries[i])) })
	}
	var conflict *journal.ConflictError
	if err != nil && !errors.As(err, &conflict) && ctx.Err() == nil {
		g.e.Log.Warn("roles are not corrected: the journal does not take it", "cluster", c.ID, "err", err)
	}
}

func (g *guarding) ended(cluster string, d mend.Correction, done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.states[cluster].Ended(d, done, g.e.Now())
}

// mendFacts are the facts of a cluster for package mend.
func (e *Executor) mendFacts(c *inventory.Cluster, f *plan.Facts) mend.Facts {
	out := mend.Facts{Snapshot: f.Snapshot, Primary: c.ShouldBe, Generation: c.Generation, Connected: f.Connected,
		Running: c.Running, Yields: c.Running != "" && e.yields(c.Running), Maintenance: c.Policy.MaintenanceUntil.After(f.Now)}
	if e.Leases != nil {
		out.Leased, out.Elsewhere = e.Leases.Managed(c.ID), e.Leases.Owed(c.ID)
	}
	for i := len(c.Operations) - 1; i >= 0; i-- {
		o, ok := e.Inventory.Operation(c.Operations[i])
		if !ok {
			continue
		}
		if o.EndedAt.After(out.Settled) {
			out.Settled = o.EndedAt
		}
		if operation.Moves(o.Kind) && o.Past && o.Generation == c.Generation {
			out.Written = writtenBy(&o)
			break
		}
	}
	return out
}

// writtenBy are the nodes to whose files an operation that moved the primary
// wrote their roles: all of them, unless it says that something is left.
func writtenBy(o *operation.Operation) map[string]bool {
	if _, ok := o.Step(plan.StepPersist); !ok || o.State != operation.StateDone ||
		o.Values[plan.StepPersist+"/failed"] != "" || o.Values[plan.StepVerify+"/attention"] != "" {
		return nil
	}
	out := map[string]bool{o.Candidate: true}
	for _, n := range append([]string{o.Plan.Node}, o.Plan.Siblings...) {
		out[n] = true
	}
	if o.Kind == operation.Promotion || o.Kind == operation.SwitchBack {
		out[o.Plan.From] = true
	}
	return out
}

// recordCorrections makes what is about to be ordered durable, at the revision
// it was decided on.
func (e *Executor) recordCorrections(ctx context.Context, c *inventory.Cluster, due []mend.Correction) error {
	var events []journal.Event
	for _, d := range due {
		if !d.Kind.Moves() {
			continue
		}
		b, err := json.Marshal(correctionBegun{Node: d.Node, Kind: d.Kind, Addr: d.Addr, Generation: c.Generation, Was: d.Was, At: e.Now()})
		if err != nil {
			return err
		}
		events = append(events, journal.Event{Type: roleCorrection, Data: b})
	}
	if len(events) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, correctionTime)
	defer cancel()
	stream := inventory.Stream(c.ID)
	rev, err := e.Journal.Append(ctx, stream, c.Revision, events...)
	if err != nil {
		return err
	}
	return e.Inventory.Wait(ctx, stream, rev)
}

// orders of a correction, in their order; the last writes the role to the file.
func orders(d mend.Correction) []engine.Action {
	var out []engine.Action
	if d.Keep {
		if d.Kind == mend.Demote { // what is saved is then all there will be
			out = append(out, holdWrites())
		}
		out = append(out, engine.Action{Name: agent.ActionKeepData})
	}
	switch d.Kind {
	case mend.Demote:
		out = append(out, engine.Action{Name: engine.Demote, Args: map[string]string{"addr": d.Addr}})
		if d.Keep {
			out = append(out, engine.Action{Name: engine.UnpauseWrites}) // it takes no writes any more; who waited is told so
		}
	case mend.Repoint:
		out = append(out, engine.Action{Name: engine.Repoint, Args: map[string]string{"addr": d.Addr}})
	case mend.Promote:
		out = append(out, engine.Action{Name: engine.Promote})
	}
	return append(out, engine.Action{Name: engine.Persist})
}

func holdWrites() engine.Action {
	return engine.Action{Name: engine.PauseWrites, Args: map[string]string{"ms": strconv.FormatInt(keepPause.Milliseconds(), 10)}}
}

// keepHolding renews the hold on a node's writes, which has just begun, until
// release is called; release tells whether they were held all the time.
func (e *Executor) keepHolding(ctx context.Context, c *inventory.Cluster, node, id string) (release func() error) {
	ctx, cancel := context.WithCancel(ctx)
	until := time.Now().Add(keepPause - keepAgain) // it began a moment ago
	ended := make(chan time.Time, 1)
	go func() {
		tick := time.NewTicker(keepAgain)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				ended <- until
				return
			case <-tick.C:
			}
			asked := time.Now()
			if asked.After(until) {
				continue // it was let go in between: nothing makes up for that
			}
			if res, err := e.guardOrder(ctx, c, node, id, holdWrites(), orderTimeout); err == nil && res.OK() {
				until = asked.Add(keepPause)
			}
		}
	}()
	return func() error {
		now := time.Now()
		cancel()
		if now.After(<-ended) {
			return fmt.Errorf("the writes of %s were not surely held while they were saved", node)
		}
		return nil
	}
}

// said is a correction in the words of the audit, and why it was made.
func said(c *inventory.Cluster, d mend.Correction) (what, why string) {
	switch d.Kind {
	case mend.Demote:
		return fmt.Sprintf("demoted %s, which came back as a primary beside %s", d.Node, c.ShouldBe),
			fmt.Sprintf("%s is the primary of generation %d; clients that wrote to %s since it came back must be pointed to the primary", c.ShouldBe, c.Generation, d.Node)
	case mend.Promote:
		return fmt.Sprintf("promoted %s again, which came back as a replica", d.Node),
			fmt.Sprintf("it is the primary of generation %d, nobody else was, and no member holds more keys", c.Generation)
	}
	return fmt.Sprintf("pointed %s to %s", d.Node, c.ShouldBe),
		fmt.Sprintf("%s is the primary of generation %d; %s was %s", c.ShouldBe, c.Generation, d.Node, d.Was)
}

// correct carries one correction out and records the attempt: the first of a
// row, and the one that succeeds. done tells that every order was carried out.
func (e *Executor) correct(ctx context.Context, c *inventory.Cluster, d mend.Correction, tries int) (done bool) {
	id := newID()
	why := ""
	for _, action := range orders(d) {
		within := orderTimeout
		if action.Name == agent.ActionKeepData {
			within = keepTime
		}
		release := func() error { return nil }
		if action.Name == agent.ActionKeepData && d.Kind == mend.Demote {
			release = e.keepHolding(ctx, c, d.Node, id)
		}
		res, err := e.guardOrder(ctx, c, d.Node, id, action, within)
		if held := release(); err == nil && res.OK() && held != nil {
			err = held
		}
		if err == nil && res.OK() {
			if action.Name == agent.ActionKeepData && res.Values["bundle"] != "" {
				why = "; what it held is saved in " + res.Values["bundle"]
				e.kept(ctx, Saved{Cluster: c.ID, Node: d.Node, Generation: c.Generation, Operation: id, Why: heldAs(c, d)}, res.Values)
			}
			continue
		}
		if ctx.Err() != nil || err == nil && res.Code == agent.CodeStale {
			return false // an operation moves the primary at this moment, or we end
		}
		detail := res.Detail
		if err != nil {
			detail = err.Error()
		}
		e.corrected(ctx, c, d, id, tries, fmt.Sprintf("%s on %s: %s", action.Name, d.Node, detail), "")
		return false
	}
	e.corrected(ctx, c, d, id, tries, "", why)
	return true
}

// corrected tells and audits the end of a correction.
func (e *Executor) corrected(ctx context.Context, c *inventory.Cluster, d mend.Correction, id string, tries int, failure, kept string) {
	what, why := said(c, d)
	r := audit.Record{ID: id, At: e.Now(), Cluster: c.ID, Node: d.Node, Who: audit.Who{Name: "baton", Source: "auto"}, What: what, Outcome: audit.Done, Detail: why + kept}
	if failure != "" {
		r.Outcome, r.Detail = audit.Failed, failure+"; it is tried again"
	}
	if !d.Kind.Moves() {
		if failure != "" {
			e.Log.Warn("a role is not in its server's file yet and would revert on a restart", "cluster", c.ID, "node", d.Node, "tries", tries+1, "err", failure)
		}
		return
	}
	e.Log.Warn("a role was corrected", "cluster", c.ID, "what", what, "outcome", r.Outcome, "detail", r.Detail, "tries", tries+1)
	if failure != "" && tries > 0 {
		return // told the first time
	}
	if _, err := e.Audit.Append(ctx, r); err != nil && ctx.Err() == nil {
		e.Log.Error("attempt could not be audited", "what", what, "err", err)
	}
}

func (e *Executor) guardOrder(ctx context.Context, c *inventory.Cluster, node, id string, action engine.Action, within time.Duration) (agent.Result, error) {
	agentID, ok := e.Agents.Locate(c.ID, node)
	if !ok {
		return agent.Result{}, agent.ErrNotConnected
	}
	return e.Agents.Order(ctx, agentID, agent.Order{Operation: id, Step: "guard", Cluster: c.ID, Node: node,
		Generation: c.Generation, Term: e.Term, Timeout: within, Action: action})
}
