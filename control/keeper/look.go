package keeper

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/failover"
	"baton/control/inventory"
	"baton/control/lease"
	"baton/control/operation"
	"baton/control/plan"
)

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "auto-" + hex.EncodeToString(b[:])
}

// look looks at one cluster: it tells the agents what is on record, keeps the
// primary's position, decides, and acts on the decision.
func (k *Keeper) look(ctx context.Context, c *inventory.Cluster) {
	if !managed(c) {
		k.mu.Lock()
		w := k.clusters[c.ID]
		told := w != nil && !w.told.IsZero()
		k.mu.Unlock()
		if !told && (len(c.Operations) == 0 || len(k.owed(c)) == 0) {
			return
		}
	}
	f, ok := k.Facts(c.ID)
	if !ok {
		return
	}
	k.tell(c, &f)
	k.unbar(ctx, c)
	k.bringBack(ctx, c, &f)
	if !managed(c) {
		return
	}
	k.sample(c, &f)
	k.assume(c)
	ff := k.facts(c, &f)
	d := failover.Decide(&ff)
	k.lapse(c, &ff)
	k.mu.Lock()
	w := k.clusters[c.ID]
	w.now = d
	busy := w.submitting
	news := d.Kind != w.said.Kind || d.Node != w.said.Node
	if news {
		w.said = d
	}
	k.mu.Unlock()
	if news && d.Kind != failover.Nothing {
		k.Log.Warn("failover", "cluster", c.ID, "decision", d.Kind, "node", d.Node, "why", d.Why)
	}
	switch d.Kind {
	case failover.Failover:
		if !busy {
			k.begin(c, &ff, d)
		}
	case failover.Restart:
		k.restart(ctx, c, d)
	case failover.Blocked, failover.CoolDown:
		if news {
			go k.audit(c, c.ShouldBe, "did not fail over", audit.Refused, d.Why)
		}
	}
}

// tell tells the agents what is on record, once a second and when it changed.
func (k *Keeper) tell(c *inventory.Cluster, f *plan.Facts) {
	now := k.Now()
	k.mu.Lock()
	w := k.record(c)
	change := w.toldWhat != c.Generation+1
	if !managed(c) && w.told.IsZero() || !change && now.Sub(w.told) < termsEvery {
		k.mu.Unlock()
		return
	}
	t := agent.LeaseTerms{Cluster: c.ID, Generation: c.Generation, Holder: c.ShouldBe}
	if managed(c) {
		t.TTL = lease.TermsOf(ttlOf(c)).TTL
		w.told, w.toldWhat = now, c.Generation+1
	} else {
		w.told, w.toldWhat = time.Time{}, 0 // told once that it has no lease any more
	}
	k.mu.Unlock()
	if managed(c) {
		k.roster(c, f, &t)
	}
	agents := map[string]bool{}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Name == c.ShouldBe {
			t.HolderAddress = n.Address
		}
		if n.Agent != "" {
			agents[n.Agent] = true
		}
	}
	for id := range agents {
		_ = k.Hub.Terms(id, t) // said again within a second
	}
}

// Saw implements executor.Leases: clusters with a lease are looked at more often
// by the keeper itself.
func (k *Keeper) Saw(c *inventory.Cluster, f *plan.Facts) {
	if c.Engine == engine.Redis && !managed(c) {
		k.sample(c, f)
	}
}

// sample keeps the primary's position.
func (k *Keeper) sample(c *inventory.Cluster, f *plan.Facts) {
	n := f.Node(c.ShouldBe)
	if c.ShouldBe == "" {
		n = f.Primary()
	}
	if n == nil || !n.Up() || n.Role() != engine.RolePrimary {
		return
	}
	at := f.Now.Add(-n.SeenAge)
	aof, _ := strconv.ParseInt(n.Seen.Details["aofSize"], 10, 64)
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.record(c)
	if l := len(w.samples); l > 0 && at.Sub(w.samples[l-1].At) < failover.SampleEvery/2 {
		return
	}
	w.samples = append(w.samples, sample{failover.Sample{At: at, Position: n.Seen.Position, History: n.Seen.History}, aof})
	w.samples = slices.Clone(w.samples[max(0, len(w.samples)-samplesKept):])
}

// assume keeps the lease of a holder that an operation named by order from
// looking expired before its agent could renew it.
func (k *Keeper) assume(c *inventory.Cluster) {
	if c.Running == "" {
		return
	}
	o, ok := k.Inventory.Operation(c.Running)
	if ok && operation.Moves(o.Kind) && o.Past && o.Generation == c.Generation {
		k.mu.Lock()
		k.table.Assume(c.ID, k.Boot()+orderSlack)
		k.mu.Unlock()
	}
}

// Failover implements executor.Leases.
func (k *Keeper) Failover(cluster string) (failover.Facts, bool) {
	c, ok := k.Inventory.Cluster(cluster)
	if !ok {
		return failover.Facts{}, false
	}
	f, ok := k.Facts(cluster)
	if !ok {
		return failover.Facts{}, false
	}
	return k.facts(&c, &f), true
}

func (k *Keeper) facts(c *inventory.Cluster, f *plan.Facts) failover.Facts {
	m := k.Memory.of(c.ID)
	p, may := c.Policy, m.eligible()
	out := failover.Facts{Snapshot: f.Snapshot, Primary: c.ShouldBe, Generation: c.Generation, Connected: f.Connected, Running: c.Running, Quorum: f.JournalOK,
		Policy: failover.Policy{Failover: p.Failover, MaxLossBytes: p.MaxLossBytes, MaxLossAge: time.Duration(p.MaxLossAgeSeconds) * time.Second,
			CoolDown: max(time.Duration(p.CoolDownSeconds)*time.Second, 1), RestartFirst: p.RestartFirst},
		Enrolled: m.enrolled.Generation == c.Generation && m.enrolled.Node == c.ShouldBe && c.ShouldBe != "",
		Tags:     map[string]failover.Tags{}, SuspendedUntil: m.paused.Until}
	if p.MaintenanceUntil.After(out.SuspendedUntil) {
		out.SuspendedUntil = p.MaintenanceUntil
	}
	for _, member := range c.Members {
		t := member.Tags
		out.Tags[member.Name] = failover.Tags{NoFailover: t.NoFailover, Never: t.Never, NoSync: t.NoSync,
			Maintenance: t.Maintenance != nil && f.Now.Before(*t.Maintenance), Unasked: unasked(c, may, f, member.Name)}
		if p.Durability == inventory.DurabilitySync && member.Name != c.ShouldBe && !t.NoSync {
			out.Sync = append(out.Sync, member.Name)
			out.Policy.Acks = p.SyncReplicas
		}
	}
	slices.Sort(out.Sync)
	if o, ok := k.last(c, operation.Failover); ok && o.State == operation.StateDone {
		out.LastFailover = o.EndedAt
		out.Acknowledged = m.acknowledged.At.After(o.EndedAt)
	}
	if o, ok := k.last(c, ""); ok && o.Kind == operation.Promotion && o.State == operation.StateRolledBack && f.Now.Sub(o.EndedAt) < preferTime {
		out.Prefer = o.Plan.Node
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.record(c)
	out.Lease = k.under(k.table.View(c.ID, k.Boot()), c.ID)
	out.Guarded = w.guarded
	for _, s := range w.samples {
		out.Samples = append(out.Samples, s.Sample)
	}
	if w.ended != nil && w.ended.generation == c.Generation {
		out.EngineEnded, out.Restartable, out.Lossless = true, w.ended.restartable, w.ended.lossless
		out.RestartTried = !w.restartAt.IsZero()
	}
	return out
}

// preferTime is how long the candidate of a promotion that was taken back stays
// the preferred one.
const preferTime = 30 * time.Second

// last is the newest operation of a kind, "" of any.
func (k *Keeper) last(c *inventory.Cluster, kind string) (operation.Operation, bool) {
	for i := len(c.Operations) - 1; i >= 0; i-- {
		if o, ok := k.Inventory.Operation(c.Operations[i]); ok && (kind == "" || o.Kind == kind) {
			return o, true
		}
	}
	return operation.Operation{}, false
}

// lapse records the end of a lease that was not released, once.
func (k *Keeper) lapse(c *inventory.Cluster, f *failover.Facts) {
	if f.Lease.State != lease.Expired || !f.Enrolled {
		if f.Lease.State == lease.Held {
			k.mu.Lock()
			if w := k.clusters[c.ID]; w.wasGranted {
				w.expired = false
			}
			k.mu.Unlock()
		}
		return
	}
	k.mu.Lock()
	w := k.clusters[c.ID]
	again := w.expired
	w.expired = true
	k.mu.Unlock()
	if again {
		return
	}
	go func() {
		if err := k.append(c.ID, eventLapsed, lapsed{Generation: c.Generation, Node: c.ShouldBe, At: k.Now()}); err != nil {
			k.Log.Warn("the end of a lease is not recorded", "cluster", c.ID, "err", err)
		}
		k.audit(c, c.ShouldBe, fmt.Sprintf("the lease of %s ended", c.ShouldBe), audit.Failed, "it was not renewed; "+c.ShouldBe+" takes no writes until it is granted again")
	}()
}

// begin submits a failover. The plan is made again from the facts at that
// moment, so that what was decided on an old look is not carried out.
func (k *Keeper) begin(c *inventory.Cluster, f *failover.Facts, d failover.Decision) {
	k.mu.Lock()
	k.clusters[c.ID].submitting = true
	k.mu.Unlock()
	go func() {
		defer func() {
			k.mu.Lock()
			if w := k.clusters[c.ID]; w != nil {
				w.submitting = false
			}
			k.mu.Unlock()
			k.poke()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), appendTime)
		defer cancel()
		generation := c.Generation
		id, err := k.Operations.Submit(ctx, executor.Submission{Cluster: c.ID, Kind: operation.Failover, Node: d.Node, Generation: &generation,
			Reason: d.Why, Who: audit.Who{Name: "baton", Source: "auto"},
			Build: func(*plan.Facts) (plan.Plan, error) {
				now, ok := k.Failover(c.ID)
				if !ok {
					return plan.Plan{}, errNoLonger
				}
				again := failover.Decide(&now)
				if again.Kind != failover.Failover {
					return plan.Plan{}, fmt.Errorf("%w: %s", errNoLonger, again.Why)
				}
				return failover.Plan(&now, again, false, ""), nil
			}})
		if err != nil {
			k.Log.Warn("a failover did not begin", "cluster", c.ID, "err", err)
			return
		}
		k.Log.Warn("a failover begins", "cluster", c.ID, "operation", id, "to", d.Node, "why", d.Why)
		// The decision stands until the operation shows in the inventory, which Submit waits for.
	}()
}

var errNoLonger = errors.New("a failover is not needed any more")

// restart has the same engine started again, once for each time it ended.
func (k *Keeper) restart(ctx context.Context, c *inventory.Cluster, d failover.Decision) {
	k.mu.Lock()
	w := k.clusters[c.ID]
	if k.Now().Sub(w.restartAt) < failover.RestartWithin {
		k.mu.Unlock()
		return
	}
	w.restartAt = k.Now()
	k.table.Reinstate(c.ID, c.Generation, k.Boot())
	term := k.term
	k.mu.Unlock()
	go func() {
		outcome, detail := audit.Done, d.Why
		if err := k.order(ctx, c, term, d.Node, agent.ActionLeaseReturn, 5*time.Second, nil, nil); err != nil {
			outcome, detail = audit.Failed, err.Error()
			k.mu.Lock()
			k.table.Release(c.ID, c.Generation, d.Node, err.Error()) // it was not started
			k.mu.Unlock()
		}
		k.audit(c, d.Node, "started "+d.Node+" again as primary", outcome, detail)
	}()
}

func (k *Keeper) order(ctx context.Context, c *inventory.Cluster, term uint64, node, action string, timeout time.Duration, args map[string]string, values *map[string]string) error {
	id, ok := k.Hub.Locate(c.ID, node)
	if !ok {
		return agent.ErrNotConnected
	}
	res, err := k.Hub.Order(ctx, id, agent.Order{Operation: "keeper", Step: action, Cluster: c.ID, Node: node, Generation: c.Generation, Term: term,
		Timeout: timeout, Action: engine.Action{Name: action, Args: args}})
	switch {
	case err != nil:
		return err
	case !res.OK():
		return fmt.Errorf("%s on %s: %s", action, node, res.Detail)
	}
	if values != nil {
		*values = res.Values
	}
	return nil
}

const (
	// rejoinTime bounds bringing one node back: loading its data to save them
	// may take minutes.
	rejoinTime = 10 * time.Minute
	// rejoinAgain is waited before a node that could not be brought back is
	// tried again.
	rejoinAgain = 3 * time.Second
)

// bringBack makes former primaries replicas of the present one, one at a time,
// as soon as their agents are there. Replicas that follow another server are
// pointed to the present primary by the executor's guard.
func (k *Keeper) bringBack(ctx context.Context, c *inventory.Cluster, f *plan.Facts) {
	holder := f.Node(c.ShouldBe)
	if c.Running != "" || holder == nil || !holder.Up() || holder.Role() != engine.RolePrimary || c.Engine != engine.Redis || c.Generation == 0 {
		return
	}
	owed := k.owed(c)
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Name == c.ShouldBe || n.Agent == "" || !f.Connected[n.Agent] {
			continue
		}
		op, isOwed := owed[n.Name]
		stray := managed(c) && n.Up() && n.Role() == engine.RolePrimary
		held := managed(c) && n.Process != nil && n.Process.State == "stopped" && strings.HasPrefix(n.Process.Exit, agent.HeldBack)
		if !isOwed && !stray && !held {
			continue
		}
		k.mu.Lock()
		w := k.record(c)
		last := w.rejoining[n.Name]
		if k.Now().Sub(last) < rejoinAgain {
			k.mu.Unlock()
			continue
		}
		w.rejoining[n.Name] = k.Now().Add(rejoinTime) // until it answered
		args := map[string]string{"addr": holder.Address, "bundle": "true"}
		if prev := holder.Seen.HistoryPrevious; prev != "" {
			args["branch"], args["branchHistory"] = strconv.FormatUint(holder.Seen.HistoryPreviousEnd, 10), prev
			for _, s := range w.samples {
				if s.History == prev && s.Position <= holder.Seen.HistoryPreviousEnd && s.aof > 0 {
					args["from"] = strconv.FormatInt(s.aof, 10)
				}
			}
		}
		term, host, name := k.term, hostOf(n), n.Name
		k.mu.Unlock()
		go func() {
			var v map[string]string
			err := k.order(ctx, c, term, name, agent.ActionRejoin, rejoinTime, args, &v)
			if err == nil {
				err = k.rejoined(c, name, host, op, v)
			}
			if err != nil && ctx.Err() == nil {
				k.Log.Warn("a former primary is not back yet", "cluster", c.ID, "node", name, "err", err)
			}
			k.mu.Lock()
			if w := k.clusters[c.ID]; w != nil {
				w.rejoining[name] = k.Now()
			}
			k.mu.Unlock()
		}()
		return
	}
}

// owed are the former primaries that a failover left and that are not back, by
// name, with the operation.
func (k *Keeper) owed(c *inventory.Cluster) map[string]string {
	out := map[string]string{}
	m := k.Memory.of(c.ID)
	for _, id := range c.Operations[max(0, len(c.Operations)-16):] {
		o, ok := k.Inventory.Operation(id)
		if !ok || !o.Past || !o.State.Final() {
			continue
		}
		switch o.Kind {
		case operation.Failover, operation.ForcedPromotion:
			if !m.rejoined[id] && o.Plan.From != o.Candidate {
				out[o.Plan.From] = id
			}
		}
		delete(out, o.Candidate)
	}
	return out
}

func (k *Keeper) rejoined(c *inventory.Cluster, node, host, op string, v map[string]string) error {
	if op == "" {
		op = "generation-" + strconv.FormatUint(c.Generation, 10) + "-" + node
	}
	b := Bundle{Node: node, Generation: c.Generation, At: k.Now(), Operation: op, Host: host, Path: v["bundle"], Commands: -1, Sentence: v["sentence"]}
	b.Bytes, _ = strconv.ParseInt(v["bytes"], 10, 64)
	if n, err := strconv.ParseInt(v["commands"], 10, 64); err == nil {
		b.Commands = n
	}
	if err := k.append(c.ID, eventRejoined, b); err != nil {
		return err
	}
	detail := "it held nothing that the primary lacks"
	if b.Path != "" {
		detail = b.Sentence
	} else if b.Sentence != "" {
		detail = b.Sentence
	}
	k.audit(c, node, fmt.Sprintf("brought %s back as a replica of %s", node, c.ShouldBe), audit.Done, strings.TrimSpace(detail))
	return nil
}
