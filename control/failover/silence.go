package failover

import (
	"fmt"

	"baton/control/engine"
	"baton/control/health"
	"baton/control/plan"
)

// ArgOff, an argument of a forced promotion's plan, names the old primary where
// the person who asked said that its machine is switched off.
const ArgOff = "oldPrimaryIsOff"

// Codes of refusals where no lease tells that the old primary takes no writes.
const (
	CodeNoLease      = "failover.no-lease"        // it can only be forced
	CodeNotOnRecord  = "failover.no-primary"      // nobody knows which node it was
	CodeNotSilent    = "failover.silence-unknown" // its agent cannot end it, and nobody said that it is off
	CodeStillAnswers = "failover.still-answers"   // it is said to be off and is not
)

// WithoutLease lays over the plan of a forced promotion how it becomes certain,
// in a cluster without leases, that the old primary takes no writes. Its agent
// ends it where it can be reached. Where it cannot, nothing proves it: off
// tells that a person said that its machine is switched off. That is taken for
// true unless what is seen contradicts it.
func WithoutLease(p *plan.Plan, f *Facts, off bool) {
	a, n := f.Primary, f.Node(f.Primary)
	if n == nil {
		p.Refuse(CodeNotOnRecord, "It is not known which node the primary was", "no primary is on record, and none was seen since this control node leads",
			"bring the old primary's agent back; it says what it is")
		return
	}
	if off {
		p.Args[ArgOff] = a
	}
	if len(p.Steps) == 0 {
		return
	}
	s := &p.Steps[0]
	switch {
	case f.Connected[n.Agent] && n.Agent != "" && n.Process != nil && n.Process.Name != "":
		s.Title, s.Command, s.Undo = a+" is ended by its agent and kept stopped", "process-stop", "it is started again"
		return
	case !off:
		p.Refuse(CodeNotSilent, "Nobody knows whether "+a+" takes writes",
			fmt.Sprintf("the cluster has no lease, and the agent beside %s cannot be reached to end it: two primaries would lose writes of either", a),
			fmt.Sprintf("bring the agent beside %s back; or switch its machine off, see that it stays off, and say so with the name: --old-primary-is-off %s", a, a))
		return
	}
	s.Title = fmt.Sprintf("%s is switched off, as was said: no other host reaches it", a)
	s.Command, s.Undo = "a connection to "+n.Address+" from every other host", "nothing was changed"
	if why := f.contradicts(n); why != "" {
		p.Refuse(CodeStillAnswers, a+" is not switched off", why, fmt.Sprintf("switch the machine of %s off; if that was a moment ago, try again in a few seconds", a))
	}
}

// contradicts says what speaks against an old primary being switched off; "" is
// nothing.
func (f *Facts) contradicts(old *health.Node) string {
	if old.Agent != "" && f.Connected[old.Agent] && old.Up() {
		return fmt.Sprintf("its agent says that %s answers", old.Name)
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n != old && n.Up() && f.Connected[n.Agent] && n.Role() == engine.RoleReplica && n.Seen.ReplicaOf == old.Address && !Lost(n) {
			return fmt.Sprintf("%s still receives from it", n.Name)
		}
	}
	return ""
}

// LastPrimary is the only node that was primary when it was last seen up; ""
// where that is not known, or more than one was.
func (f *Facts) LastPrimary() string {
	found := ""
	for i := range f.Nodes {
		if f.Nodes[i].LastRole != engine.RolePrimary {
			continue
		}
		if found != "" {
			return ""
		}
		found = f.Nodes[i].Name
	}
	return found
}
