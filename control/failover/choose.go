package failover

import (
	"fmt"
	"slices"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// Candidate is a replica with the position that was read from it.
type Candidate struct {
	Node     string
	Position uint64
	// History is the line its position belongs to; Previous the one before it,
	// equal to its own up to PreviousEnd.
	History, Previous string
	PreviousEnd       uint64
	Priority          int // 0..1000; 0 never automatically
	Loading           bool
	Primary           bool // it says it is a primary
	// DownFor is how long its link to the primary has been down.
	DownFor time.Duration
}

// Who asks: the control plane by itself, or a person.
const (
	automatic = false
	byHand    = true
)

// candidates are the replicas as they were last reported.
func (f *Facts) candidates() []Candidate {
	var out []Candidate
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Name == f.Primary || !n.Up() || !f.Connected[n.Agent] {
			continue
		}
		out = append(out, candidateOf(n))
	}
	return out
}

func candidateOf(n *health.Node) Candidate {
	o := n.Seen
	c := Candidate{Node: n.Name, Position: o.Position, History: o.History, Previous: o.HistoryPrevious, PreviousEnd: o.HistoryPreviousEnd,
		Priority: n.Priority, Primary: o.Role == engine.RolePrimary, Loading: o.Facts.Loading != nil && *o.Facts.Loading}
	if !o.LinkUp && o.LinkSilenceSeconds > 0 {
		c.DownFor = time.Duration(o.LinkSilenceSeconds * float64(time.Second))
	}
	return c
}

// linkSlack is how much longer than the primary is gone a replica's link may
// have been down: one that lost it long before lacks what came since.
const linkSlack = 10 * time.Second

// ByHand chooses for a person who accepts loss: nofailover and priority 0 do
// not stand in the way, bounds and the synchronous set neither. node "" takes
// the furthest.
func ByHand(f *Facts, read []Candidate, node string) Decision {
	if node == "" {
		return Choose(f, read, byHand)
	}
	for _, c := range read {
		if c.Node == node {
			return Choose(f, []Candidate{c}, byHand)
		}
	}
	return Decision{Kind: Blocked, Missing: []string{node}, Why: node + " could not be read"}
}

// Choose chooses among replicas whose positions were read: the furthest in the
// primary's history, priority only among equals, then the preferred, then the
// first by name. It is asked again with positions read after the old primary
// was surely silent, because until then they may move.
func Choose(f *Facts, read []Candidate, hand bool) Decision {
	d := Decision{Kind: Blocked}
	history := f.history(read)
	outage := f.outage()
	var fit []Candidate
	held := 0 // members of the synchronous set that were read
	inSet := map[string]bool{}
	for _, n := range f.Sync {
		inSet[n] = true
	}
	for _, c := range read {
		t := f.Tags[c.Node]
		same := c.follows(history)
		if inSet[c.Node] && same && !c.Loading {
			held++
			inSet[c.Node] = false // read twice counts once
		}
		why := ""
		switch {
		case c.Primary:
			why = "says that it is a primary itself"
		case c.Loading:
			why = "is loading its data"
		case !same:
			why = "belongs to another history"
		case t.Never || f.never(c.Node):
			why = "is tagged never"
		case t.Unasked:
			why = "is not known to the old primary as one that may be promoted"
		case !hand && t.NoFailover:
			why = "is tagged nofailover"
		case !hand && t.Maintenance:
			why = "is in maintenance"
		case !hand && c.Priority == 0:
			why = "has priority 0"
		case !hand && c.DownFor > outage+linkSlack:
			why = fmt.Sprintf("lost its link %.0f s ago, long before the primary was gone", c.DownFor.Seconds())
		}
		if why != "" {
			d.Rejected = append(d.Rejected, Rejected{c.Node, why})
			continue
		}
		fit = append(fit, c)
	}
	for _, n := range f.others() {
		if !slices.ContainsFunc(read, func(c Candidate) bool { return c.Node == n }) {
			d.Rejected = append(d.Rejected, Rejected{n, "does not answer"})
			d.Missing = append(d.Missing, n)
		}
	}
	slices.SortFunc(d.Rejected, func(a, b Rejected) int { return compare(a.Node, b.Node) })
	if len(fit) == 0 {
		d.Why = "no replica can be promoted" + because(d.Rejected)
		return d
	}
	slices.SortFunc(fit, func(a, b Candidate) int {
		switch {
		case a.Position != b.Position:
			return -compare(a.Position, b.Position)
		case a.Priority != b.Priority:
			return -compare(a.Priority, b.Priority)
		case (a.Node == f.Prefer) != (b.Node == f.Prefer):
			if a.Node == f.Prefer {
				return -1
			}
			return 1
		}
		return compare(a.Node, b.Node)
	})
	best := fit[0]
	for _, c := range fit[1:] {
		d.Rejected = append(d.Rejected, Rejected{c.Node, fmt.Sprintf("holds %d bytes less than %s", best.Position-c.Position, best.Node)})
	}
	// A rejected node that is further along holds what the best one lacks.
	ahead := slices.ContainsFunc(read, func(c Candidate) bool { return c.follows(history) && !c.Primary && c.Position > best.Position })
	loss := f.lossOf(best)
	// Without a position of the primary in its own history nothing is proven.
	proven := len(f.Samples) > 0 && len(f.Sync) > 0 && f.Policy.Acks > 0 && held > len(f.Sync)-f.Policy.Acks && !ahead
	if proven {
		loss.None = true
	}
	if !hand {
		if why := f.refuse(best, loss, held, ahead); why != "" {
			d.Why = why
			for _, n := range f.Sync {
				if !slices.ContainsFunc(read, func(c Candidate) bool { return c.Node == n }) && !slices.Contains(d.Missing, n) {
					d.Missing = append(d.Missing, n)
				}
			}
			return d
		}
	}
	d.Kind, d.Node, d.Loss, d.Missing = Failover, best.Node, loss, nil
	d.Why = fmt.Sprintf("%s is furthest along; %s", best.Node, loss)
	return d
}

// refuse says why the policy forbids the candidate, "" when it does not.
func (f *Facts) refuse(best Candidate, loss Loss, held int, ahead bool) string {
	p := f.Policy
	if p.Failover == NoLoss {
		switch {
		case loss.None:
			return ""
		case p.Acks == 0 || len(f.Sync) == 0:
			return "writes were acknowledged by the primary alone, so it cannot be proven that " + best.Node + " holds all of them, and the policy is to lose none"
		case len(f.Samples) == 0:
			return "the old primary's history was never seen, so it cannot be known which replica belongs to it"
		case ahead:
			return "a node that may not be promoted holds more than " + best.Node + ", and the policy is to lose none"
		}
		return fmt.Sprintf("%d of the %s in step could be read and %d are needed to prove that nothing is lost", held, plural(len(f.Sync), "replica"), len(f.Sync)-p.Acks+1)
	}
	if loss.None {
		return ""
	}
	bytes, age := p.MaxLossBytes, p.MaxLossAge
	if bytes == 0 {
		bytes = DefaultMaxLossBytes
	}
	if age == 0 {
		age = DefaultMaxLossAge
	}
	switch {
	case !loss.Known:
		return "the old primary's last position is not known in the history of " + best.Node + ", so the loss cannot be bounded"
	case loss.Bytes > bytes:
		return fmt.Sprintf("%s may lack %d bytes and the policy allows %d", best.Node, loss.Bytes, bytes)
	case loss.Age > age:
		return fmt.Sprintf("%s may lack the writes of the last %.1f s and the policy allows %.0f s", best.Node, loss.Age.Seconds(), age.Seconds())
	}
	return ""
}

// follows tells whether the candidate's position may be compared with those of
// a history.
func (c Candidate) follows(history string) bool {
	return history == "" || c.History == history
}

// history is the primary's last known line; where none was ever seen, the one
// the most replicas agree on.
func (f *Facts) history(read []Candidate) string {
	if n := len(f.Samples); n > 0 && f.Samples[n-1].History != "" {
		return f.Samples[n-1].History
	}
	count, best := map[string]int{}, ""
	for _, c := range read {
		if c.History == "" || c.Primary {
			continue
		}
		count[c.History]++
		if count[c.History] > count[best] || count[c.History] == count[best] && c.History < best {
			best = c.History
		}
	}
	return best
}

// outage is how long the primary has been gone: since its last sample.
func (f *Facts) outage() time.Duration {
	if n := len(f.Samples); n > 0 {
		return max(0, f.Now.Sub(f.Samples[n-1].At))
	}
	return 0
}

// lossOf bounds what a candidate may lack: the last recorded position and what
// was written within one more interval.
func (f *Facts) lossOf(c Candidate) Loss {
	var in []Sample
	for _, s := range f.Samples {
		if s.History == c.History {
			in = append(in, s)
		}
	}
	if len(in) == 0 {
		return Loss{}
	}
	last := in[len(in)-1]
	l := Loss{Known: true}
	// The busiest interval seen stands for the one that was not recorded.
	var unseen uint64
	for i := 1; i < len(in); i++ {
		span := in[i].At.Sub(in[i-1].At)
		if in[i].Position > in[i-1].Position && span > 0 {
			grown := in[i].Position - in[i-1].Position
			unseen = max(unseen, uint64(float64(grown)*min(1, float64(SampleEvery)/float64(span))))
		}
	}
	if c.Position >= last.Position+unseen {
		return l // it is past everything the primary was seen to have
	}
	l.Bytes = int64(last.Position + unseen - c.Position)
	l.Age = SampleEvery
	for i := len(in) - 1; i >= 0; i-- {
		if in[i].Position <= c.Position {
			l.Age += last.At.Sub(in[i].At)
			return l
		}
	}
	l.Age += last.At.Sub(in[0].At)
	return l
}

func (f *Facts) never(node string) bool {
	n := f.Node(node)
	return n != nil && n.Never
}

func because(r []Rejected) string {
	s := ""
	for i, x := range r {
		if i == 0 {
			s = ": "
		} else {
			s += "; "
		}
		s += x.Node + " " + x.Why
	}
	return s
}

func compare[T ~string | ~uint64 | ~int](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Asked is the decision when a person asks for a failover: pause and cool-down
// do not count. With accept the bound on loss does not either, and the primary
// need not be gone: it is ended first.
func Asked(f *Facts, node string, accept bool) Decision {
	if accept {
		d := ByHand(f, f.candidates(), node)
		if node == f.Primary {
			d = Decision{Kind: Blocked, Why: node + " is the primary"}
		}
		return d
	}
	g := *f
	g.SuspendedUntil, g.Acknowledged, g.Policy.RestartFirst, g.Restartable, g.Lossless = time.Time{}, true, false, false, false
	if node != "" {
		g.Prefer = node
	}
	d := Decide(&g)
	if d.Kind == Waiting { // the operation itself waits for the lease
		d = Choose(&g, g.candidates(), automatic)
	}
	if d.Kind == Failover && node != "" && d.Node != node {
		return Decision{Kind: Blocked, Why: fmt.Sprintf("%s is not furthest along, %s is; choosing another loses writes", node, d.Node)}
	}
	return d
}
