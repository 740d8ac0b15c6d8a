// Package failover decides, from facts, what happens when a primary is gone:
// nothing, wait, promote another node, start the same one again, or stop and
// say which node is missing. It is pure. The same functions answer "what if
// node X died now", so that the answer a person reads is what would be done.
//
// A failover is decided only when the old primary surely takes no writes (its
// agent said so, or its lease ran out on the control plane's clock) and the
// policy's bound on loss holds for the node that is furthest along. Positions
// are compared only within one history.
package failover

import (
	"fmt"
	"time"

	"baton/control/engine"
	"baton/control/health"
	"baton/control/lease"
)

// Policies of automatic failover.
const (
	Off         = "off"          // never; the cluster has no lease and is never fenced
	NoLoss      = "no-loss"      // only when every acknowledged write is surely kept
	BoundedLoss = "bounded-loss" // when what may be missing stays within the bounds
)

// Policy is what a cluster's settings say about failover.
type Policy struct {
	Failover     string        // Off, NoLoss or BoundedLoss; "" is Off
	MaxLossBytes int64         // with BoundedLoss; 0 is DefaultMaxLossBytes
	MaxLossAge   time.Duration // with BoundedLoss; 0 is DefaultMaxLossAge
	CoolDown     time.Duration // 0 is DefaultCoolDown
	RestartFirst bool          // try the same engine once before another
	// Acks is how many replicas had a write before it was acknowledged: k of
	// the synchronous set. 0: asynchronous.
	Acks int
}

// Defaults of a Policy.
const (
	DefaultMaxLossBytes = 16 << 20
	DefaultMaxLossAge   = 10 * time.Second
	DefaultCoolDown     = 10 * time.Minute
)

// SampleEvery is how often the primary's position is recorded; writes within
// one interval are not in the last sample and are added to the bound.
const SampleEvery = 500 * time.Millisecond

// SilentAfter is the time without a byte from the primary after which a
// replica's link counts as down. A primary of ours pings every second.
const SilentAfter = 3 * time.Second

// LinkedWithin is the age of an agent's last report up to which it counts as
// reached; agents report every half second.
const LinkedWithin = 3 * time.Second

// RestartWithin is how long a restart of the same engine may take before
// another node is chosen.
const RestartWithin = 10 * time.Second

// Tags are what an operator said about a node.
type Tags struct {
	NoFailover  bool // never automatically
	Never       bool // not even by hand
	NoSync      bool // not in the synchronous set
	Maintenance bool // at this moment
	// Unasked: the primary may go on by promises of others without asking this
	// node's agent, so that it must not be promoted, not even by hand.
	Unasked bool
}

// Sample is a position of the primary as it was reported.
type Sample struct {
	At       time.Time
	Position uint64
	History  string
}

// Facts are everything a decision may depend on.
type Facts struct {
	health.Snapshot
	Primary    string // of the record
	Generation uint64
	Policy     Policy
	Lease      lease.View
	// Enrolled tells that the holder's agent confirmed that it holds the lease
	// of this generation, so that it fences itself when the lease ends.
	Enrolled bool
	// Guarded tells that a process beside the holder's agent ends the engine
	// should the agent not: the end of the lease is then kept twice.
	Guarded bool
	// EngineEnded tells that the primary's own agent said that its engine is
	// gone and kept stopped.
	EngineEnded bool
	// Restartable tells that the engine beside a live agent can be started
	// again with its data, but for what its file was not yet given when it
	// ended; Lossless that nothing it acknowledged is missing there.
	Restartable, Lossless bool
	// RestartTried tells that starting it again was tried for this end.
	RestartTried bool
	// Sync are the members of the synchronous set as recorded when writes were
	// acknowledged, sorted.
	Sync []string
	// Samples are the primary's last positions, oldest first.
	Samples []Sample
	Tags    map[string]Tags
	// Connected holds the agents with a link at this moment.
	Connected map[string]bool
	// Running is the operation that holds the cluster, "" when none does.
	Running string
	// SuspendedUntil is when a person's pause of automatic failover ends.
	SuspendedUntil time.Time
	// LastFailover is when the last automatic failover ended; Acknowledged that
	// a person has seen it.
	LastFailover time.Time
	Acknowledged bool
	// Prefer is the candidate of a promotion that was taken back because the
	// primary died in it; chosen among equals.
	Prefer string
	// Quorum tells that a majority of the control plane sees what this leader
	// sees. One control node is its own majority.
	Quorum bool
	// Proxies that forward to the primary, and how many of them reach it.
	Proxies, ProxiesReach int
}

// Kind of a decision.
type Kind string

// Kinds. Nothing: the primary serves, or there is nothing to decide on.
// Suspect: something is wrong and it is not a failure (yet). Waiting: it is
// gone, and the lease still runs. Failover: promote Node. Restart: start the
// same engine again. Blocked: it is gone and nobody may be promoted; Missing
// names who would help. CoolDown: a failover happened a short time ago.
// Suspended: a person or an operation holds automatic failover.
const (
	Nothing   Kind = "nothing"
	Suspect   Kind = "suspect"
	Waiting   Kind = "waiting"
	Failover  Kind = "failover"
	Restart   Kind = "restart"
	Blocked   Kind = "blocked"
	CoolDown  Kind = "cool-down"
	Suspended Kind = "suspended"
)

// Loss is what may be missing on a candidate.
type Loss struct {
	// Known is false when no position of the old primary in the candidate's
	// history was ever recorded.
	Known bool
	// None tells that nothing is missing that Acks replicas had confirmed before
	// the client was told: proven by reading enough of the synchronous set.
	None  bool
	Bytes int64         // at most, with the error of one sample interval added
	Age   time.Duration // at most: how old the oldest missing write was
}

func (l Loss) String() string {
	switch {
	case l.None && l.Bytes > 0:
		return fmt.Sprintf("every write that was confirmed by replicas is kept; of others at most %d bytes of the last %.1f s may be missing", l.Bytes, l.Age.Seconds())
	case l.None:
		return "every write that was confirmed by replicas is kept"
	case !l.Known:
		return "what may be missing is not known"
	case l.Bytes == 0:
		return "nothing is known to be missing"
	}
	return fmt.Sprintf("at most %d bytes of the last %.1f s may be missing", l.Bytes, l.Age.Seconds())
}

// Rejected is a node that was not chosen and why.
type Rejected struct{ Node, Why string }

// Decision is the answer.
type Decision struct {
	Kind Kind
	Node string // with Failover and Restart
	// Why is one sentence for people.
	Why      string
	Loss     Loss // with Failover
	Rejected []Rejected
	Missing  []string // with Blocked: whose return would help
	// Within is how long a Waiting may last.
	Within time.Duration
}

// Decide says what is to happen now.
func Decide(f *Facts) Decision {
	if f.Policy.Failover == "" || f.Policy.Failover == Off {
		return Decision{Kind: Nothing, Why: "automatic failover is off for this cluster"}
	}
	if f.Primary == "" {
		return Decision{Kind: Nothing, Why: "no primary is on record yet"}
	}
	gone, d := failed(f)
	if !gone {
		return d
	}
	why := d.Why
	switch {
	case f.Running != "":
		return Decision{Kind: Suspended, Why: fmt.Sprintf("%s; operation %s holds the cluster and deals with it", why, f.Running)}
	case f.Now.Before(f.SuspendedUntil):
		return Decision{Kind: Suspended, Why: fmt.Sprintf("%s; automatic failover is paused until %s", why, f.SuspendedUntil.UTC().Format("15:04:05"))}
	}
	if f.Policy.RestartFirst && f.restartable() == "" && f.EngineEnded && !f.RestartTried {
		return Decision{Kind: Restart, Node: f.Primary, Why: why + "; the policy is to start it again first"}
	}
	if f.Lease.State != lease.Released && f.Lease.State != lease.Expired {
		return Decision{Kind: Waiting, Within: f.Lease.ExpiresIn, Why: fmt.Sprintf("%s; its lease runs for %.1f s more", why, f.Lease.ExpiresIn.Seconds())}
	}
	if f.Lease.State == lease.Expired && !f.Enrolled {
		return blockedOr(f, Decision{Kind: Blocked, Missing: []string{f.Primary},
			Why: fmt.Sprintf("%s; its agent never confirmed that it holds the lease, so it cannot be known that %s takes no writes", why, f.Primary)})
	}
	c := Choose(f, f.candidates(), automatic)
	c.Why = why + "; " + c.Why
	if c.Kind != Failover {
		return blockedOr(f, c)
	}
	if full(f, c.Node) {
		return blockedOr(f, Decision{Kind: Blocked, Why: fmt.Sprintf("%s; its disk is full, and %s has no more room: free space first", why, c.Node)})
	}
	if until := f.LastFailover.Add(f.Policy.coolDown()); !f.LastFailover.IsZero() && !f.Acknowledged && f.Now.Before(until) && !f.EngineEnded {
		return Decision{Kind: CoolDown, Node: c.Node, Rejected: c.Rejected, Loss: c.Loss,
			Why: fmt.Sprintf("%s; the last failover was %s ago: a person must acknowledge it first, or it is left until %s", why, f.Now.Sub(f.LastFailover).Round(time.Second), until.UTC().Format("15:04:05"))}
	}
	return c
}

// blockedOr starts the same engine again where the policy allows what that may
// lose, instead of doing nothing at all.
func blockedOr(f *Facts, d Decision) Decision {
	if !f.EngineEnded {
		return d
	}
	why := f.restartable()
	switch {
	case why != "":
		d.Why += "; " + why
		return d
	case f.Lossless:
		why = "with everything it acknowledged"
	default:
		why = "with what is on its disk"
	}
	return Decision{Kind: Restart, Node: f.Primary, Rejected: d.Rejected, Why: d.Why + "; its agent lives, so the same engine is started again " + why}
}

// restartable says why the same engine is not to be started again, "" when it
// is. Replicas then throw away what they hold beyond its disk: writes that they
// confirmed, where clients wait for that.
func (f *Facts) restartable() string {
	switch {
	case !f.Restartable:
		return f.Primary + " cannot be started again with its data"
	case f.Policy.Failover == NoLoss && f.Policy.Acks > 0 && !f.Lossless:
		return f.Primary + " is not started again either: its disk may lack writes that replicas confirmed, because its file is not synced for each write (appendfsync), and the policy is to lose none"
	}
	return ""
}

func (p Policy) coolDown() time.Duration {
	if p.CoolDown == 0 {
		return DefaultCoolDown
	}
	return p.CoolDown
}

// failed tells whether the primary is gone, with the sentence that says so; if
// not, the decision that stands.
func failed(f *Facts) (bool, Decision) {
	n := f.Node(f.Primary)
	if f.EngineEnded && f.Lease.State == lease.Released {
		return true, Decision{Why: fmt.Sprintf("the agent beside %s says that its engine is gone and stays stopped", f.Primary)}
	}
	if n == nil {
		return false, Decision{Kind: Suspect, Why: f.Primary + " is on record as primary and is no member"}
	}
	linked := f.Connected[n.Agent] && n.Agent != "" && n.ReportAge >= 0 && n.ReportAge <= LinkedWithin
	if n.Up() && linked {
		return false, Decision{Kind: Nothing, Why: f.Primary + " answers"}
	}
	down, streaming, asked := links(f)
	cp := f.Quorum
	replicas := asked > 0 && down*2 > asked
	proxies := f.Proxies > 0 && f.ProxiesReach*2 < f.Proxies
	votes := 0
	for _, yes := range []bool{cp, replicas, proxies} {
		if yes {
			votes++
		}
	}
	what := f.Primary + " cannot be reached by the control plane"
	if linked {
		what = fmt.Sprintf("the agent beside %s says that it does not answer", f.Primary)
	}
	if f.Lease.State == lease.Expired && f.Enrolled && f.Guarded && !linked && cp && asked > 0 {
		return true, Decision{Why: fmt.Sprintf("%s, its lease is over, and it was guarded: it has fenced itself", what)}
	}
	if streaming > 0 && !replicas {
		return false, Decision{Kind: Suspect, Why: fmt.Sprintf("%s, and still serves %s: unreachable, not dead", what, plural(streaming, "replica"))}
	}
	if votes < 2 {
		if asked == 0 {
			return false, Decision{Kind: Suspect, Missing: f.others(), Why: what + ", and no replica can be asked whether it sees it"}
		}
		return false, Decision{Kind: Suspect, Why: what + ", and no second kind of observer agrees"}
	}
	return true, Decision{Why: fmt.Sprintf("%s, and %d of %s lost their link to it", what, down, plural(asked, "replica"))}
}

// links asks the replicas' agents: how many lost the primary, how many still
// stream from it, how many could be asked.
func links(f *Facts) (down, streaming, asked int) {
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Name == f.Primary || !n.Up() || n.Role() != engine.RoleReplica || !f.Connected[n.Agent] {
			continue
		}
		asked++
		if Lost(n) {
			down++
		} else {
			streaming++
		}
	}
	return down, streaming, asked
}

// Lost tells whether a replica's link is down or has been silent for so long
// that it will be.
func Lost(n *health.Node) bool {
	o := n.Seen
	return !o.LinkUp || o.LinkSilenceSeconds+n.SeenAge.Seconds() >= SilentAfter.Seconds()
}

func (f *Facts) others() []string {
	var out []string
	for i := range f.Nodes {
		if f.Nodes[i].Name != f.Primary {
			out = append(out, f.Nodes[i].Name)
		}
	}
	return out
}

// minRoom is the free space below which a disk counts as full.
const minRoom = 64 << 20

// full tells whether the primary's disk is full and the candidate's is too, so
// that moving would only move the trouble.
func full(f *Facts, node string) bool {
	a, b := f.Node(f.Primary), f.Node(node)
	return a != nil && b != nil && a.Disk != nil && b.Disk != nil && a.Disk.TotalBytes > 0 && b.Disk.TotalBytes > 0 &&
		a.Disk.FreeBytes < minRoom && b.Disk.FreeBytes < minRoom
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
