package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"baton/control/audit"
	"baton/control/executor"
	"baton/control/failover"
	"baton/control/inventory"
	"baton/control/lease"
	"baton/control/operation"
	"baton/control/plan"
)

// Refusals of what people ask for.
var (
	// ErrAnswers: the primary answers, so that a promotion is the right thing.
	ErrAnswers = errors.New("the primary answers")
	// ErrPause: a pause has a length from one minute to a week.
	ErrPause = errors.New("a pause lasts from 1 minute to 7 days; 0 ends it")
	// ErrNothingToAcknowledge: there was no automatic failover.
	ErrNothingToAcknowledge = errors.New("there is no automatic failover to acknowledge")
	// ErrOffAlone: that the old primary is off is said of forced promotions only.
	ErrOffAlone = errors.New("that the old primary is off counts only where the loss is accepted too")
)

// OldNameError is a name typed for the old primary that is not its name.
type OldNameError struct{ Typed, Primary string }

func (e *OldNameError) Error() string {
	if e.Primary == "" {
		return "it is not known which node the primary was"
	}
	return fmt.Sprintf("the old primary is %s, not %q", e.Primary, e.Typed)
}

// Status is how lease and automatic failover of a cluster stand.
type Status struct {
	Lease lease.View
	// Mode is how the primary behaves when it cannot renew, in force.
	Mode string
	// Failover is the policy: off, no-loss or bounded-loss.
	Failover       string
	Guarded        bool
	SuspendedUntil time.Time // zero: not
	CoolDownUntil  time.Time // zero: not
	// Decision is what was decided when the cluster was last looked at.
	Decision failover.Decision
}

// Status returns how a cluster stands; ok is false for an unknown one.
func (k *Keeper) Status(cluster string) (s Status, ok bool) {
	c, ok := k.Inventory.Cluster(cluster)
	if !ok {
		return s, false
	}
	s = Status{Lease: lease.View{State: lease.None}, Mode: inventory.ModeStrict, Failover: c.Policy.Failover}
	if !managed(&c) {
		return s, true
	}
	f, ok := k.Failover(cluster)
	if !ok {
		return s, true
	}
	s.Lease, s.Guarded = f.Lease, f.Guarded
	k.mu.Lock()
	if w := k.record(&c); w.roster.failsafe && k.Memory.of(cluster).eligible().Equal(lease.Acknowledged(true, w.roster.members)) && k.allKnow(&c, &w.roster) {
		s.Mode = inventory.ModeFailsafe
	}
	k.mu.Unlock()
	if f.SuspendedUntil.After(f.Now) {
		s.SuspendedUntil = f.SuspendedUntil
	}
	if until := f.LastFailover.Add(f.Policy.CoolDown); !f.LastFailover.IsZero() && !f.Acknowledged && until.After(f.Now) {
		s.CoolDownUntil = until
	}
	s.Decision = failover.Decide(&f)
	return s, true
}

// Pause turns automatic failover of a cluster off for a while; 0 ends that.
func (k *Keeper) Pause(cluster string, length time.Duration, reason string, who audit.Who) (until time.Time, err error) {
	if _, ok := k.Inventory.Cluster(cluster); !ok {
		return until, executor.ErrUnknownCluster
	}
	if length < 0 || length > 7*24*time.Hour || length > 0 && length < time.Minute {
		return until, ErrPause
	}
	until = k.Now().Add(length)
	if err := k.append(cluster, eventPaused, paused{Until: until, Who: who.Name, Reason: reason}); err != nil {
		return until, fmt.Errorf("record the pause: %w", err)
	}
	what := "ended the pause of automatic failover"
	if length > 0 {
		what = "paused automatic failover until " + until.UTC().Format(time.RFC3339)
	}
	k.auditBy(who, cluster, "", what, audit.Done, reason)
	k.poke()
	return until, nil
}

// Acknowledge ends the cool-down after an automatic failover.
func (k *Keeper) Acknowledge(cluster string, who audit.Who) error {
	c, ok := k.Inventory.Cluster(cluster)
	if !ok {
		return executor.ErrUnknownCluster
	}
	if _, ok := k.last(&c, operation.Failover); !ok {
		return ErrNothingToAcknowledge
	}
	if err := k.append(cluster, eventAcknowledged, acknowledged{At: k.Now(), Who: who.Name}); err != nil {
		return fmt.Errorf("record the acknowledgement: %w", err)
	}
	k.auditBy(who, cluster, "", "acknowledged the last automatic failover", audit.Done, "")
	k.poke()
	return nil
}

// Answer says what would happen if a node died now.
type Answer struct {
	Sentence string
	Decision failover.Decision
	Steps    []string
	// Loss is what may be missing on the node that would follow, by itself or by
	// hand; "" where there is none.
	Loss string
}

// WhatIf answers what would happen if the host of a node died now, by the very
// function that would decide it.
func (k *Keeper) WhatIf(cluster, node string) (Answer, error) {
	c, ok := k.Inventory.Cluster(cluster)
	if !ok {
		return Answer{}, executor.ErrUnknownCluster
	}
	f, ok := k.Failover(cluster)
	if !ok {
		return Answer{}, executor.ErrUnknownCluster
	}
	if f.Node(node) == nil {
		return Answer{}, &executor.UnknownNodeError{Cluster: cluster, Node: node}
	}
	if f.Primary == "" {
		if p := f.Snapshot.Primary(); p != nil {
			f.Primary = p.Name
		}
	}
	if c.Policy.Failover == "" || c.Policy.Failover == inventory.FailoverOff {
		return k.whatIfOff(&f, node), nil
	}
	d := failover.WhatIf(&f, node)
	a := Answer{Decision: d, Sentence: sentence(&f, node, d)}
	if d.Kind == failover.Failover {
		p := failover.Plan(&f, d, false, "")
		a.Steps, a.Loss = failover.Steps(&p), d.Loss.String()
	}
	return a, nil
}

// whatIfOff answers for a cluster whose failover is off: nothing happens by
// itself; who could be promoted by hand is said.
func (k *Keeper) whatIfOff(f *failover.Facts, node string) Answer {
	if node != f.Primary {
		f.Policy.Failover = failover.BoundedLoss
		d := failover.WhatIf(f, node)
		return Answer{Decision: d, Sentence: d.Why}
	}
	d := failover.Decision{Kind: failover.Blocked, Why: "automatic failover is off"}
	f.Policy.Failover = failover.BoundedLoss
	f.Lease.State, f.Enrolled, f.Quorum = lease.Expired, true, true
	would := failover.WhatIf(f, node)
	a := Answer{Decision: d, Sentence: "Writes would stop: automatic failover is off for this cluster. A person would have to promote a replica"}
	if would.Kind == failover.Failover {
		a.Loss = would.Loss.String()
		a.Sentence += fmt.Sprintf(", best %s (%s)", would.Node, would.Loss)
	}
	return a
}

func sentence(f *failover.Facts, node string, d failover.Decision) string {
	switch d.Kind {
	case failover.Failover:
		ttl := f.Lease.TTL
		if ttl == 0 {
			ttl = lease.DefaultTTL
		}
		return fmt.Sprintf("%s would take over within about %.0f s, at once if only the engine died: %s", d.Node, (ttl + lease.Eps(ttl) + time.Second).Seconds(), d.Loss)
	case failover.Nothing:
		return d.Why
	case failover.Restart:
		return "The same engine would be started again: " + d.Why
	}
	if node == f.Primary {
		return "Writes would stop: " + d.Why
	}
	return d.Why
}

// Request asks for a failover by hand.
type Request struct {
	Cluster   string
	Node      string // "" the furthest
	TypedName string
	// AcceptLoss makes it a forced promotion: the bound on loss does not count,
	// and a primary that still answers is ended.
	AcceptLoss bool
	// OldPrimaryIsOff is the old primary's name as somebody typed it who says that
	// its machine is switched off; "" where nobody does. It counts where no lease
	// and no agent make sure that it takes no writes.
	OldPrimaryIsOff string
	Reason          string
	Who             audit.Who
}

// Begin begins a failover that a person asked for and returns its operation.
// Errors beside those of executor.Submit: ErrAnswers, ErrOffAlone,
// *OldNameError.
func (k *Keeper) Begin(ctx context.Context, r Request) (string, error) {
	c, ok := k.Inventory.Cluster(r.Cluster)
	if !ok {
		return "", executor.ErrUnknownCluster
	}
	if r.OldPrimaryIsOff != "" && !r.AcceptLoss {
		return "", ErrOffAlone
	}
	want := r.Cluster
	if r.Node != "" {
		want = r.Node
	}
	s := executor.Submission{Cluster: r.Cluster, Kind: operation.Failover, Node: r.Node, TypedName: r.TypedName, WantTyped: want, Reason: r.Reason, Who: r.Who,
		Generation: &c.Generation}
	if r.AcceptLoss {
		s.Kind = operation.ForcedPromotion
	}
	s.Build = func(*plan.Facts) (plan.Plan, error) { return k.byHand(&r) }
	id, err := k.Operations.Submit(ctx, s)
	if err == nil && r.OldPrimaryIsOff != "" {
		detail := "for operation " + id
		if r.Reason != "" {
			detail += ": " + r.Reason
		}
		k.auditBy(r.Who, r.Cluster, r.OldPrimaryIsOff, fmt.Sprintf("said that %s is switched off", r.OldPrimaryIsOff), audit.Done, detail)
	}
	return id, err
}

// byHand plans what a person asked for from the present facts.
func (k *Keeper) byHand(r *Request) (plan.Plan, error) {
	f, ok := k.Failover(r.Cluster)
	if !ok {
		return plan.Plan{}, executor.ErrUnknownCluster
	}
	if r.Node != "" && f.Node(r.Node) == nil {
		return plan.Plan{}, &executor.UnknownNodeError{Cluster: r.Cluster, Node: r.Node}
	}
	if f.Primary == "" {
		f.Primary = f.LastPrimary()
	}
	if r.OldPrimaryIsOff != "" && r.OldPrimaryIsOff != f.Primary {
		return plan.Plan{}, &OldNameError{r.OldPrimaryIsOff, f.Primary}
	}
	leased := k.Managed(r.Cluster)
	old := f.Node(f.Primary)
	if !r.AcceptLoss && !leased && old != nil && !(old.Up() && f.Connected[old.Agent]) {
		p := plan.Plan{}
		p.Refuse(failover.CodeNoLease, "Nothing proves that "+f.Primary+" takes no writes", "the cluster has no lease that would have ended, so a failover can only be forced",
			"as an admin, accept that writes may be lost; what only the old primary has is saved when it comes back")
		return p, nil
	}
	d := failover.Asked(&f, r.Node, r.AcceptLoss)
	if d.Kind == failover.Nothing && !r.AcceptLoss {
		return plan.Plan{}, fmt.Errorf("%s: %w", d.Why, ErrAnswers)
	}
	p := failover.Plan(&f, d, r.AcceptLoss, r.Node)
	if d.Kind != failover.Failover {
		p.Refuse("failover."+string(d.Kind), d.Why, why(d), "wait for the nodes that are missing, or accept the loss as an admin")
	}
	switch {
	case r.AcceptLoss && !leased:
		failover.WithoutLease(&p, &f, r.OldPrimaryIsOff != "")
	case r.OldPrimaryIsOff != "": // its lease is waited for all the same
		p.Args[failover.ArgOff] = f.Primary
	}
	return p, nil
}

func why(d failover.Decision) string {
	if len(d.Missing) == 0 {
		return d.Why
	}
	return fmt.Sprintf("%s; missing: %v", d.Why, d.Missing)
}
