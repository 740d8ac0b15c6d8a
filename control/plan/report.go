package plan

import (
	"fmt"
	"strconv"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// Evaluate makes the report of a node. Every check is made, none stops the
// others.
func Evaluate(f *Facts, node string) Report {
	e := evaluation{f: f, name: node, n: f.Node(node), primary: f.Primary()}
	e.checks()
	r := Report{Node: node, Generation: f.Generation, At: f.Now, Checks: e.out}
	r.Promotable = true
	for _, want := range []Verdict{Refuse, Unknown} {
		for _, c := range r.Checks {
			if c.Verdict == want && r.Promotable {
				r.Promotable, r.Reason = false, "no, because "+c.Why
			}
		}
	}
	if r.Promotable {
		r.Reason = "yes: it holds what the primary holds and every check passed"
		if n := e.warnings(); n > 0 {
			r.Reason = fmt.Sprintf("yes, with %d warnings", n)
			if n == 1 {
				r.Reason = "yes, with 1 warning"
			}
		}
	}
	r.Hash = hashOf(&r)
	return r
}

// evaluation collects the checks of one report. n is nil for a name that is
// not in the cluster; primary is nil when there is not exactly one.
type evaluation struct {
	f       *Facts
	name    string
	n       *health.Node
	primary *health.Node
	out     []Check
}

func (e *evaluation) add(c Check) {
	if c.Subject == "" {
		c.Subject = e.name
	}
	if c.Measured == "" || c.Measured[0] != '-' && (c.Measured[0] < '0' || c.Measured[0] > '9') {
		c.Unit = "" // words have none
	}
	switch {
	case c.Verdict == Pass:
		c.Fix = ""
		if c.ok != "" {
			c.Why = c.ok
		}
	case c.Verdict == Unknown && c.ok != "":
		c.Why = "it is not known whether " + c.ok
	}
	e.out = append(e.out, c)
}

func (e *evaluation) warnings() (n int) {
	for _, c := range e.out {
		if c.Verdict == Warn {
			n++
		}
	}
	return n
}

// limit judges a number against limits; a negative number is unknown.
func limit(v, warn, refuse float64) Verdict {
	switch {
	case v < 0:
		return Unknown
	case v >= refuse:
		return Refuse
	case v >= warn:
		return Warn
	}
	return Pass
}

// floor judges a number that must not be small; a negative number is unknown.
func floor(v, warn, refuse float64) Verdict {
	switch {
	case v < 0:
		return Unknown
	case v < refuse:
		return Refuse
	case v < warn:
		return Warn
	}
	return Pass
}

// truth judges a fact that must hold; nil is unknown.
func truth(p *bool, want bool) Verdict {
	switch {
	case p == nil:
		return Unknown
	case *p == want:
		return Pass
	}
	return Refuse
}

// soften turns a refusal or an unknown into a warning where it would not help
// to refuse.
func soften(v Verdict) Verdict {
	if v == Refuse || v == Unknown {
		return Warn
	}
	return v
}

func (e *evaluation) checks() {
	if e.n == nil {
		e.add(Check{ID: "node.known", Measured: "not in this cluster", RefuseAt: "unknown", Verdict: Refuse,
			Why: "there is no node " + strconv.Quote(e.name) + " in this cluster", Fix: "baton nodes " + e.f.Cluster + " lists them"})
		return
	}
	e.control()
	e.agent()
	if e.f.Engine == engine.EventStore {
		e.quorum() // first: who is missing explains why nobody leads
	}
	e.primaryKnown()
	e.candidateUp()
	e.role()
	if e.f.Engine == engine.EventStore {
		e.opinion()
	}
	e.link()
	e.lag()
	e.history()
	if e.f.Engine == engine.Redis {
		e.redisOnly()
	}
	e.siblings()
	e.version()
	e.host()
	e.tags()
	e.cooldown()
}

// control: the control plane can journal, and nothing else runs.
func (e *evaluation) control() {
	v, measured := Pass, "writable"
	if !e.f.JournalOK {
		v, measured = Refuse, e.f.JournalWhy
	}
	e.add(Check{ID: "cp.quorum", Subject: "control plane", Measured: measured, RefuseAt: "not writable", Verdict: v,
		Why: "the control plane cannot write its journal", ok: "the journal takes writes", Fix: "see the control plane's log"})
	v, measured = Pass, "none"
	if e.f.Running != "" {
		v, measured = Refuse, e.f.RunningWhat
	}
	e.add(Check{ID: "operation.running", Subject: e.f.Cluster, Measured: measured, RefuseAt: "any", Verdict: v,
		Why: "another operation holds the cluster", ok: "nothing else runs on the cluster", Fix: "baton op watch " + e.f.Running})
}

// agent: the agents of candidate and primary report and have a link, and
// their clocks are not far off.
func (e *evaluation) agent() {
	for _, n := range e.pair() {
		age := -1.0
		if n.ReportAge >= 0 && n.Agent != "" {
			age = n.ReportAge.Seconds()
		}
		c := Check{ID: "agent.fresh", Subject: n.Name, Measured: "never heard", Unit: "s", WarnAt: "2", RefuseAt: "5",
			Verdict: limit(age, 2, 5), Why: "the agent beside " + n.Name + " does not report", ok: "the agent beside " + n.Name + " reports", sampled: true,
			Fix: "start the agent on the host of " + n.Name + ": baton agent"}
		switch {
		case age < 0:
			c.Why, c.ok = "no agent beside "+n.Name+" was ever heard", ""
		case age < 5:
			c.Why = "the agent beside " + n.Name + " reports late"
			fallthrough
		default:
			c.Measured = fmt.Sprintf("%.1f", age)
		}
		if n.Agent != "" && !e.f.Connected[n.Agent] {
			c.Verdict, c.Why = Refuse, "the agent beside "+n.Name+" has no link to the control plane"
		}
		e.add(c)
		if n.Host != nil {
			skew := n.Host.ClockSkewMs
			if skew < 0 {
				skew = -skew
			}
			e.add(Check{ID: "clock.skew", Subject: n.Name, Measured: fmt.Sprintf("%.0f", skew), Unit: "ms", WarnAt: "500", RefuseAt: "5000",
				Verdict: limit(skew, 500, 5000), Overridable: true, sampled: true,
				Why: "the clock of " + n.Name + "'s host is off", ok: "the clock of " + n.Name + "'s host agrees with ours", Fix: "run a time service on the host"})
		}
	}
}

// pair is the candidate and, when it is another node, the primary.
func (e *evaluation) pair() []*health.Node {
	if e.primary == nil || e.primary.Name == e.name {
		return []*health.Node{e.n}
	}
	return []*health.Node{e.n, e.primary}
}

func (e *evaluation) primaryKnown() {
	c := Check{ID: "primary.known", Subject: e.f.Cluster, RefuseAt: "not exactly one", Verdict: Pass}
	switch p := e.f.Primaries(); {
	case e.primary != nil && e.newerTerm() != nil:
		n := e.newerTerm()
		c.Measured, c.Verdict = fmt.Sprintf("%s in term %d", e.primary.Name, e.primary.Seen.Term), Unknown
		c.Why, c.Fix = fmt.Sprintf("leadership is moving: %s is in term %d already", n.Name, n.Seen.Term), "wait a moment"
	case e.primary != nil:
		c.Measured = e.primary.Name
	case len(p) == 0 && e.f.Engine == engine.EventStore:
		c.Measured, c.Verdict, c.Why, c.Fix = "none", Refuse, "no node leads at the moment", "wait for the election, or start the missing nodes"
	case len(p) == 0:
		c.Measured, c.Verdict, c.Why = "none", Refuse, "no node is seen as primary: a planned promotion needs the old one's help"
		c.Fix = "repair or start the primary, then promote"
	default:
		c.Measured, c.Verdict, c.Why = fmt.Sprintf("%d nodes", len(p)), Refuse, "more than one node says it is primary"
		c.Fix = "find out which one clients use, stop the other, then promote"
	}
	if c.Why == "" {
		c.Why = "one primary is seen"
	}
	e.add(c)
}

// newerTerm is a node that has heard of a later term than the leader's; nil
// when there is none, and for engines without terms.
func (e *evaluation) newerTerm() *health.Node {
	for i := range e.f.Nodes {
		if n := &e.f.Nodes[i]; n.Up() && n.Seen.Term > e.primary.Seen.Term {
			return n
		}
	}
	return nil
}

func (e *evaluation) candidateUp() {
	c := Check{ID: "engine.up", Unit: "ms", WarnAt: "100", RefuseAt: "1000 or no answer", sampled: true,
		Why: e.name + " does not answer", Fix: "start the engine on " + e.name}
	switch {
	case !e.n.Fresh():
		c.Measured, c.Verdict, c.Why = "not seen lately", Unknown, "nothing fresh is known about "+e.name
	case !e.n.Seen.Up:
		c.Measured, c.Verdict = "no answer", Refuse
		if e.n.Seen.Err != "" {
			c.Why += ": " + e.n.Seen.Err
		}
	case e.n.Seen.Facts.QueryMs == nil:
		c.Measured, c.Verdict = "answers", Pass
	default:
		ms := *e.n.Seen.Facts.QueryMs
		c.Measured, c.Verdict = fmt.Sprintf("%.1f", ms), limit(ms, 100, 1000)
		if c.Verdict != Pass {
			c.Why = e.name + " answers slowly"
		}
	}
	if c.Verdict == Pass {
		c.Why = "answers"
	}
	e.add(c)
}

func (e *evaluation) role() {
	c := Check{ID: "role.replica", Measured: string(e.n.Role()), RefuseAt: "not a replica of the primary", Verdict: Pass, Why: "it copies from the primary"}
	switch e.n.Role() {
	case engine.RolePrimary:
		c.Verdict, c.Why, c.Fix = Refuse, "it is the primary already", "nothing to do"
		if e.f.Engine == engine.EventStore {
			c.Why = "it is the leader already"
		}
	case engine.RoleReadOnly:
		c.Verdict, c.Why, c.Fix = Refuse, "a read-only replica is never promoted", "start the node without --read-only-replica"
	case engine.RoleUnknown:
		c.Verdict, c.Why, c.Fix = Unknown, "its role is not known", "wait until the node is up and joined"
	case engine.RoleReplica:
		if e.f.Engine == engine.Redis && e.primary != nil && e.n.Seen.ReplicaOf != e.primary.Address {
			c.Measured = "replica of " + e.n.Seen.ReplicaOf
			c.Verdict, c.Why = Refuse, "it copies from "+e.n.Seen.ReplicaOf+", not from the primary at "+e.primary.Address
			c.Fix = "point it to the primary"
		}
	}
	e.add(c)
}

// quorum: enough voters answer for a change to commit.
func (e *evaluation) quorum() {
	voters, alive := 0, 0
	missing := ""
	for i := range e.f.Nodes {
		n := &e.f.Nodes[i]
		if !n.Voter() {
			continue
		}
		voters++
		if n.Up() {
			alive++
		} else {
			missing += " " + n.Name
		}
	}
	needed := voters/2 + 1
	c := Check{ID: "sync.quorum", Subject: e.f.Cluster, Measured: fmt.Sprintf("%d of %d voters", alive, voters),
		WarnAt: fmt.Sprintf("%d", needed), RefuseAt: fmt.Sprintf("< %d", needed), Verdict: Pass, Why: "a majority of voters answers"}
	switch {
	case alive < needed || voters == 0:
		c.Verdict, c.Why, c.Fix = Refuse, "the quorum is lost; missing:"+missing, "start the missing nodes"
	case alive == needed && voters > 1:
		c.Verdict, c.Why, c.Fix = Warn, "no voter may be lost meanwhile; missing:"+missing, "start the missing nodes first"
	}
	e.add(c)
}

// opinion is what the event store itself says about promoting the node.
func (e *evaluation) opinion() {
	if !e.n.Up() || e.n.Seen.Why == "" {
		return
	}
	c := Check{ID: "engine.promotable", Measured: "yes", RefuseAt: "no", Verdict: Pass, Why: e.n.Seen.Why}
	if !e.n.Seen.Promotable {
		c.Measured, c.Verdict, c.Fix = "no", Refuse, "see the other checks"
	}
	e.add(c)
}

func (e *evaluation) link() {
	c := Check{ID: "link.streaming", Unit: "s", WarnAt: "2", RefuseAt: "10 or down", sampled: true, Why: "the replication link is up"}
	switch {
	case !e.n.Up():
		c.Measured, c.Verdict, c.Why = "unknown", Unknown, "the replication link of "+e.name+" is not seen"
	case e.n.Role() == engine.RolePrimary:
		return
	case !e.n.Seen.LinkUp:
		c.Measured, c.Verdict, c.Why, c.Fix = "down", Refuse, "its replication link is down", "see the log of "+e.name+"; check the network and the password towards the primary"
	default:
		s := max(e.n.Seen.LinkSilenceSeconds, 0)
		c.Measured, c.Verdict = fmt.Sprintf("%.1f", s), limit(s, 2, 10)
		if c.Verdict != Pass {
			c.Why, c.Fix = "nothing came over its replication link lately", "check the network between "+e.name+" and the primary"
		}
	}
	e.add(c)
}

// lag: bytes, seconds and the time to catch up against the stall budget.
func (e *evaluation) lag() {
	if e.n.Role() == engine.RolePrimary {
		return
	}
	bytes, seconds := int64(-1), -1.0
	if e.n.Up() {
		bytes, seconds = e.n.Seen.LagBytes, e.n.Seen.LagSeconds
	}
	c := Check{ID: "lag.bytes", Measured: strconv.FormatInt(bytes, 10), Unit: "bytes", WarnAt: "1 MiB", RefuseAt: "64 MiB", sampled: true,
		Verdict: limit(float64(bytes), 1<<20, 64<<20), Why: "it is close to the primary", Fix: "wait until it has caught up"}
	if c.Verdict == Unknown {
		c.Measured, c.Why = "unknown", "how far it is behind is not known"
	} else if c.Verdict != Pass {
		c.Why = fmt.Sprintf("it is %d bytes behind the primary", bytes)
	}
	e.add(c)
	if seconds >= 0 {
		c = Check{ID: "lag.seconds", Measured: fmt.Sprintf("%.1f", seconds), Unit: "s", WarnAt: "1", RefuseAt: "10", sampled: true,
			Verdict: limit(seconds, 1, 10), Why: "what it applied is fresh", Fix: "wait until it has caught up"}
		if c.Verdict != Pass {
			c.Why = fmt.Sprintf("what it applied is %.1f s old", seconds)
		}
		e.add(c)
	}
	if e.n.Role() == engine.RoleClone {
		return // it catches up before it votes, while writes go on
	}
	d := catchUp(e.n)
	v := limit(d.Seconds(), 0.5, StallBudget.Seconds())
	if bytes < 0 {
		v = Unknown
	}
	e.add(Check{ID: "lag.catchup", Measured: fmt.Sprintf("%.3f", d.Seconds()), Unit: "s", WarnAt: "0.5", RefuseAt: fmt.Sprintf("%.0f", StallBudget.Seconds()),
		Verdict: v, sampled: true, Why: "writes would wait too long for it to catch up", ok: "it catches up within the budget", Fix: "wait until it has caught up"})
}

// history: positions may be compared only within one line of history.
func (e *evaluation) history() {
	if e.primary == nil || e.n == e.primary || e.n.Role() == engine.RolePrimary {
		return
	}
	c := Check{ID: "history.same", RefuseAt: "another history", Verdict: Pass, Measured: "the same", Why: "both belong to one line of history"}
	switch {
	case !e.n.Up() || e.n.Seen.History == "" || e.primary.Seen.History == "":
		c.Measured, c.Verdict, c.Why = "unknown", Unknown, "whether it shares the primary's history is not known"
	case e.n.Seen.History != e.primary.Seen.History:
		c.Measured, c.Verdict, c.Why = e.n.Seen.History, Refuse, "its data belongs to another history than the primary's"
		c.Fix = "resynchronize " + e.name
	}
	e.add(c)
}

// cooldown tells when roles changed lately; a planned promotion is not refused.
func (e *evaluation) cooldown() {
	c := Check{ID: "cooldown", Subject: e.f.Cluster, Unit: "min", WarnAt: "< 10", RefuseAt: "never", Verdict: Pass, Measured: "never", sampled: true,
		Why: "roles changed less than 10 minutes ago", ok: "roles have been settled for a while"}
	if !e.f.LastChange.IsZero() {
		since := e.f.Now.Sub(e.f.LastChange)
		c.Measured = fmt.Sprintf("%.0f", since.Minutes())
		if since < 10*time.Minute {
			c.Verdict = Warn
		}
	}
	e.add(c)
}
