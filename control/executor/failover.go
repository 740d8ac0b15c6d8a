package executor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/failover"
	"baton/control/inventory"
	"baton/control/lease"
	"baton/control/operation"
	"baton/control/plan"
)

// redisFailover makes the furthest replica primary when the old primary does
// not help. Nothing is asked of the old one; that it takes no writes follows
// from its lease. The candidate is confirmed by positions that are read after
// that, because until then they may move.
var redisFailover = procedure{
	{id: failover.StepFence, do: awaitSilence, undo: grantAgain},
	{id: failover.StepRead, do: readAndChoose},
	{id: plan.StepCommit}, // point of no return: journalled with the next intent
	{id: plan.StepPromote, do: promoteChosen},
	{id: failover.StepAhead, do: keepAhead},
	{id: plan.StepRepoint, do: repointSiblings, joined: true},
	{id: plan.StepPersist, do: persistRoles},
	{id: plan.StepVerify, do: verifyRoles},
}

// Leases is what failovers need of the keeper of leases.
type Leases interface {
	// Managed tells whether a cluster is kept by leases at this moment.
	Managed(cluster string) bool
	// Bar refuses further renewals of a generation; Unbar takes that back.
	Bar(cluster string, generation uint64)
	Unbar(cluster string, generation uint64)
	// Free tells whether the holder of a generation surely takes no writes; if
	// not, how long that may last.
	Free(cluster string, generation uint64) (free bool, within time.Duration)
	// Owed are the former primaries that the keeper brings back itself, because
	// it saves first what only they hold.
	Owed(cluster string) map[string]bool
	// Failover gathers what the choice depends on; ok is false for an unknown
	// cluster.
	Failover(cluster string) (f failover.Facts, ok bool)
	// Saw takes in a cluster as it was looked at, so that the position of a
	// primary without a lease is known should it be lost.
	Saw(c *inventory.Cluster, f *plan.Facts)
	// Kept lists what was saved of a node, durably.
	Kept(ctx context.Context, s Saved) error
}

// failoverPatience is how long a step of a failover is tried after the point of
// no return: a new primary that is lost at once needs another failover.
const failoverPatience = 15 * time.Second

// onlyPatience is how long a failover waits for the one node that may take over
// while its agent is there: longer than an agent waits before it starts an
// engine that ended often. Another failover would wait for the same node.
const onlyPatience = 45 * time.Second

// leasePoll is how often a lease that still runs is looked at.
const leasePoll = 10 * time.Millisecond

// awaitSilence waits until the old primary takes no writes any more: its agent
// said so, or its lease is over on our clock.
func awaitSilence(ctx context.Context, r *run) (outcome, error) {
	l, a, g := r.e.Leases, r.op.Plan.From, r.op.Plan.Generation
	if !r.leased() {
		if r.op.Plan.Arg(failover.ArgAcceptLoss) == "true" {
			return silence(ctx, r)
		}
		return outcome{}, fmt.Errorf("the cluster has no lease, so it cannot be known that %s takes no writes", a)
	}
	l.Bar(r.op.Plan.Cluster, g)
	began := time.Now()
	tick := time.NewTicker(leasePoll)
	defer tick.Stop()
	most := time.NewTimer(lengthOf(r) + 10*time.Second)
	defer most.Stop()
	for {
		if free, _ := l.Free(r.op.Plan.Cluster, g); free {
			return outcome{detail: fmt.Sprintf("%s takes no writes: its lease is released or over, after %.1f s", a, time.Since(began).Seconds()),
				values: map[string]string{"waitedMs": ms(time.Since(began))}}, nil
		}
		select {
		case <-ctx.Done():
			return outcome{}, ctx.Err()
		case <-tick.C:
		case <-most.C:
			return outcome{}, fmt.Errorf("the lease of %s does not end", a)
		}
	}
}

// lengthOf is the time a lease may still run at most.
func lengthOf(r *run) time.Duration {
	_, within := r.e.Leases.Free(r.op.Plan.Cluster, r.op.Plan.Generation)
	return within
}

func grantAgain(ctx context.Context, r *run) (string, error) {
	if r.value(failover.StepFence, "stopped") == "true" {
		return r.startOld(ctx)
	}
	if !r.leased() {
		return "nothing was changed", nil
	}
	r.e.Leases.Unbar(r.op.Plan.Cluster, r.op.Plan.Generation)
	return "renewals are granted again", nil
}

// readAndChoose confirms the candidate by positions read now.
func readAndChoose(ctx context.Context, r *run) (outcome, error) {
	f, read, failures := r.positions(ctx)
	d := r.decide(f, read)
	if d.Kind != failover.Failover {
		return outcome{}, fmt.Errorf("nobody can be promoted: %s%s", d.Why, failures)
	}
	v := map[string]string{"node": d.Node, "loss": d.Loss.String(), "lossBytes": strconv.FormatInt(d.Loss.Bytes, 10), "none": strconv.FormatBool(d.Loss.None)}
	var last uint64
	for _, s := range f.Samples {
		last = max(last, s.Position)
	}
	v["lastSampled"] = strconv.FormatUint(last, 10)
	for _, c := range read {
		v["at/"+c.Node], v["history/"+c.Node] = strconv.FormatUint(c.Position, 10), c.History
	}
	return outcome{detail: fmt.Sprintf("%s holds %s; %s", d.Node, v["at/"+d.Node], d.Loss), values: v}, nil
}

// positions reads every replica that answers.
func (r *run) positions(ctx context.Context) (*failover.Facts, []failover.Candidate, string) {
	f := r.failoverFacts()
	var nodes []string
	for i := range f.Nodes {
		if n := f.Nodes[i].Name; n != r.op.Plan.From {
			nodes = append(nodes, n)
		}
	}
	at := make([]*reading, len(nodes))
	index := map[string]int{}
	for i, n := range nodes {
		index[n] = i
	}
	errs := each(nodes, func(n string) error {
		x, err := r.read(ctx, n)
		if err == nil {
			at[index[n]] = &x
		}
		return err
	})
	var read []failover.Candidate
	for i, n := range nodes {
		if at[i] == nil {
			continue
		}
		offset, err := strconv.ParseUint(at[i].offset, 10, 64)
		if err != nil {
			continue
		}
		c := failover.Candidate{Node: n, Position: offset, History: at[i].replid, Priority: 100, Primary: at[i].role == string(engine.RolePrimary)}
		if m := f.Node(n); m != nil {
			c.Priority = m.Priority
			if m.Seen != nil {
				c.Loading = m.Up() && m.Seen.Facts.Loading != nil && *m.Seen.Facts.Loading
			}
		}
		read = append(read, c)
	}
	text := ""
	if len(errs) > 0 {
		text = "; " + list(nodes, errs)
	}
	return &f, read, text
}

func (r *run) failoverFacts() failover.Facts {
	if r.e.Leases != nil {
		if f, ok := r.e.Leases.Failover(r.op.Plan.Cluster); ok {
			if f.Primary == "" {
				f.Primary = r.op.Plan.From // of a cluster whose primary no operation named
			}
			return f
		}
	}
	pf, _ := r.e.Facts.Facts(r.op.Plan.Cluster)
	return failover.Facts{Snapshot: pf.Snapshot, Primary: r.op.Plan.From, Generation: pf.Generation, Connected: pf.Connected, Quorum: true}
}

func (r *run) decide(f *failover.Facts, read []failover.Candidate) failover.Decision {
	if r.op.Plan.Arg(failover.ArgAcceptLoss) == "true" {
		return failover.ByHand(f, read, r.op.Plan.Arg(failover.ArgNode))
	}
	return failover.Choose(f, read, false)
}

// committed is the node that the point of no return names: the one that was
// confirmed, where a step confirmed one, else the candidate.
func (r *run) committed() (node, why string) {
	if n := r.value(failover.StepRead, "node"); n != "" && n != r.op.Candidate {
		return n, fmt.Sprintf("%s was furthest along when the old primary was silent", n)
	}
	return r.op.Candidate, ""
}

// promoteChosen makes the candidate primary, or when it surely did not take the
// order or is gone, the next in line, each under a generation of its own.
func promoteChosen(ctx context.Context, r *run) (outcome, error) {
	var v map[string]string
	tried := map[string]bool{}
	err := r.insist(ctx, func() (final bool, err error) {
		b := r.op.Candidate
		v, err = r.order(ctx, b, engine.Promote, orderTimeout, r.chosenFor(b, reading{offset: r.value(failover.StepRead, "at/"+b), replid: r.value(failover.StepRead, "history/"+b)})...)
		switch {
		case err == nil:
			delete(r.inDoubt, b)
			return true, nil
		case isStale(err) || ctx.Err() != nil:
			return true, err
		case open(err):
			r.inDoubt[b] = true
			return false, err
		case codeOf(err) == codeNotConnected && r.inDoubt[b]:
			return false, err // it may be primary: wait for its agent
		}
		tried[b] = true
		f, read, _ := r.positions(ctx)
		var rest []failover.Candidate
		for _, c := range read {
			if !tried[c.Node] {
				rest = append(rest, c)
			}
		}
		d := r.decide(f, rest)
		r.noOther = d.Kind != failover.Failover && codeOf(err) != codeNotConnected
		if d.Kind != failover.Failover {
			clear(tried)
			return false, err
		}
		if rerr := r.redirect(ctx, d.Node, fmt.Sprintf("%s could not be promoted: %v", b, err)); rerr != nil {
			return true, rerr
		}
		return false, err
	})
	if err != nil {
		return outcome{}, err
	}
	r.switched = time.Now()
	r.releaseClients(ctx, r.op.Candidate)
	return outcome{detail: r.op.Candidate + " is primary", values: map[string]string{"offset": v["offset"], "syncFull": v["syncFull"]}}, nil
}

// keepAhead saves what a sibling holds beyond the new primary, before following
// it throws that away.
func keepAhead(ctx context.Context, r *run) (outcome, error) {
	best, err := strconv.ParseUint(r.value(plan.StepPromote, "offset"), 10, 64)
	if err != nil {
		return outcome{detail: "not needed"}, nil
	}
	var ahead []string
	for _, n := range r.siblings() {
		if at, err := strconv.ParseUint(r.value(failover.StepRead, "at/"+n), 10, 64); err == nil && at > best {
			ahead = append(ahead, n)
		}
	}
	if len(ahead) == 0 {
		return outcome{detail: "nobody is ahead of " + r.op.Candidate}, nil
	}
	var kept []string
	errs := each(ahead, func(n string) error {
		v, err := r.order(ctx, n, agent.ActionKeepData, 30*time.Second)
		if err == nil {
			r.e.kept(ctx, Saved{Cluster: r.op.Plan.Cluster, Node: n, Generation: r.op.Generation, Operation: r.op.Operation + "-" + n,
				Why: fmt.Sprintf("everything %s held when %s, which holds less, became the primary", n, r.op.Candidate)}, v)
		}
		return err
	})
	for _, n := range ahead {
		if errs[n] == nil {
			kept = append(kept, n)
		}
	}
	if err := anyStale(errs); err != nil {
		return outcome{}, err
	}
	out := outcome{detail: "saved on " + strings.Join(kept, ", ")}
	if len(errs) > 0 { // writes wait for the new primary more than for this
		out.detail = strings.TrimPrefix(fmt.Sprintf("saved on %s; not saved: %s", strings.Join(kept, ", "), list(ahead, errs)), "saved on ; ")
	}
	return out, nil
}

// siblings are the members that are neither the old nor the new primary.
func (r *run) siblings() []string {
	var out []string
	for _, n := range append([]string{r.op.Plan.Node}, r.op.Plan.Siblings...) {
		if n != r.op.Candidate && n != r.op.Plan.From {
			out = append(out, n)
		}
	}
	return out
}

// repointSiblings makes the other replicas follow the new primary. The old one
// is brought back by the keeper of leases when it returns.
func repointSiblings(ctx context.Context, r *run) (outcome, error) {
	nodes := r.siblings()
	errs := each(nodes, func(n string) error { return r.follow(ctx, n) })
	if err := anyStale(errs); err != nil {
		return outcome{}, err
	}
	return outcome{detail: list(nodes, errs)}, nil
}

// withoutOld tells that the operation asks nothing of the old primary.
func (r *run) withoutOld() bool {
	return r.op.Kind == operation.Failover || r.op.Kind == operation.ForcedPromotion
}

// failedOver is the sentence of a failover that is done.
func failedOver(r *run) string {
	s := fmt.Sprintf("%s took over from %s: %s", r.op.Candidate, r.op.Plan.From, r.value(failover.StepRead, "loss"))
	if r.saidOff() {
		s += "; " + r.wordOf()
	}
	if v := r.value(plan.StepVerify, "attention"); v != "" {
		s += ". Needs attention: " + v
	}
	return s
}

// lossOf proves what can be proven of a failover: the positions and the bound.
func lossOf(r *run, state operation.State) (*operation.Stall, *operation.Proof) {
	if state != operation.StateDone {
		return nil, &operation.Proof{Sentence: "nothing was moved"}
	}
	return nil, &operation.Proof{Sentence: fmt.Sprintf("last recorded position of %s %s, %s had %s: %s", r.op.Plan.From, r.value(failover.StepRead, "lastSampled"),
		r.op.Candidate, r.value(plan.StepPromote, "offset"), r.value(failover.StepRead, "loss")),
		PositionOld: r.value(failover.StepRead, "lastSampled"), PositionNew: r.value(plan.StepPromote, "offset")}
}

// lostAgain tells that the node this operation made primary surely takes no
// writes any more: its agent said that its engine is gone and stays stopped, or
// its own lease is over.
func (r *run) lostAgain() bool {
	if !r.op.Past || !r.leased() {
		return false
	}
	f, ok := r.e.Leases.Failover(r.op.Plan.Cluster)
	return ok && f.Lease.Generation == r.op.Generation && (f.Lease.State == lease.Released || f.Lease.State == lease.Expired)
}

// leased tells whether agents keep the cluster's servers by leases.
func (r *run) leased() bool { l := r.e.Leases; return l != nil && l.Managed(r.op.Plan.Cluster) }

// overByLease tells that an old primary that cannot be reached surely takes no
// writes any more, because its lease is over.
func (r *run) overByLease() bool {
	if !r.op.Past || !r.leased() {
		return false
	}
	free, _ := r.e.Leases.Free(r.op.Plan.Cluster, r.op.Plan.Generation)
	return free
}
