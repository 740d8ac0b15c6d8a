package alert

import (
	"fmt"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// Facts are everything the rules look at.
type Facts struct {
	Now      time.Time
	Clusters []Cluster
	Control  Control
}

// Control is how the control plane itself is.
type Control struct {
	JournalOK  bool
	JournalWhy string
	// Nodes of the control plane, and how many of them are alive; 0: there is
	// one and it is this.
	Nodes, Alive int
}

// Cluster is one cluster at one moment.
type Cluster struct {
	health.Snapshot
	// Running tells that an operation holds the cluster: roles and links move
	// because somebody wants it.
	Running bool
	// Maintenance are nodes somebody works on; nothing is said of them.
	Maintenance map[string]bool
	// Promotable is how many nodes other than the primary a planned promotion
	// would accept, -1 when that was not looked at; NotPromotable is why the
	// first of the others is not.
	Promotable    int
	NotPromotable string
	// NeedsHuman is the last operation when it ended so, with its outcome.
	NeedsHuman, NeedsHumanWhy string
	// Lease is the primary's lease, nil where there is none or it is unknown.
	Lease *Lease
	// Backup is nil where no policy demands any.
	Backup *Backup
	// FullIn is, by node, how long the data volume lasts at the present growth;
	// a node is missing while that is not known, negative is never.
	FullIn map[string]time.Duration
}

// Lease of a primary.
type Lease struct {
	Holder    string
	AtRisk    bool
	ExpiresIn time.Duration
}

// Backup is what is known of a cluster's backups.
type Backup struct {
	Verified time.Time // of the newest verified one; zero: there is none
	Since    time.Time // since when the policy demands them
}

// Limits. A firing alert resolves only below the second of a pair.
const (
	lagBytes, lagBytesClear     = 16 << 20, 8 << 20
	lagBytesCritical            = 256 << 20
	lagSeconds, lagSecondsClear = 10.0, 5.0
	silence, silenceClear       = 10 * time.Second, 5 * time.Second
	fullIn, fullInClear         = 7 * 24 * time.Hour, 10 * 24 * time.Hour
	fullInCritical              = 24 * time.Hour
	freeShare, freeShareClear   = 0.10, 0.12
	freeShareCritical           = 0.05
	backupAge                   = 26 * time.Hour
	backupAgeCritical           = 72 * time.Hour
)

// Judge applies every rule. firing tells whether an alert of a key is open:
// it then takes the lower limit to end it.
func Judge(f *Facts, firing func(Key) bool) []Finding {
	j := &judge{now: f.Now, firing: firing}
	j.control(&f.Control)
	for i := range f.Clusters {
		j.cluster(&f.Clusters[i])
	}
	return j.out
}

type judge struct {
	now    time.Time
	firing func(Key) bool
	out    []Finding
}

// say adds a finding; bad is nil when it is not known.
func (j *judge) say(k Key, bad *bool, s Severity, sentence, fix string) {
	f := Finding{Key: k, Severity: s, Sentence: sentence, Fix: fix}
	switch {
	case bad == nil:
		f.Truth = Unknown
	case *bad:
		f.Truth = Bad
	default:
		f.Truth = Good
	}
	j.out = append(j.out, f)
}

// pair is the limit that raises an alert, or the one that ends it while it is
// open.
func pair[T any](j *judge, k Key, raise, clear T) T {
	if j.firing(k) {
		return clear
	}
	return raise
}

func is(b bool) *bool { return &b }

func (j *judge) control(c *Control) {
	k := Key{Kind: ControlDegraded}
	switch {
	case !c.JournalOK:
		j.say(k, is(true), Critical, "The control plane cannot write its journal: "+c.JournalWhy+"; nothing can be promoted", "see the control plane's log; start its missing nodes")
	case c.Nodes > 0 && c.Alive < c.Nodes:
		j.say(k, is(true), Warning, fmt.Sprintf("%d of %d nodes of the control plane answer", c.Alive, c.Nodes), "start the missing control nodes")
	default:
		j.say(k, is(false), Warning, "The control plane is whole", "")
	}
	if c.Nodes > 1 {
		j.even("", c.Nodes, "nodes of the control plane")
	}
}

func (j *judge) even(cluster string, n int, what string) {
	j.say(Key{Kind: EvenNodes, Cluster: cluster}, is(n > 1 && n%2 == 0), Warning,
		fmt.Sprintf("%d %s: an even number survives no more losses than one fewer would", n, what), "add one or remove one")
}

func (j *judge) cluster(c *Cluster) {
	known := false
	for i := range c.Nodes {
		known = known || c.Nodes[i].Fresh()
	}
	level := health.Judge(&c.Snapshot)
	key := func(k Kind, node string) Key { return Key{k, c.Cluster, node} }
	var down *bool
	if known && !c.Running {
		down = is(len(c.Primaries()) == 0)
	}
	j.say(key(NoPrimary, ""), down, Critical, level.Sentence, "start the missing nodes, or fail over: baton explain "+c.Cluster+" NODE says who could take over")

	voters := 0
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if c.Engine == engine.EventStore && n.Voter() {
			voters++
		}
		if !c.Maintenance[n.Name] {
			j.node(c, n, level.Level)
		}
	}
	if c.Engine == engine.EventStore && known {
		j.even(c.Cluster, voters, "voters")
	} else if c.Engine == engine.EventStore {
		j.say(key(EvenNodes, ""), nil, Warning, "", "")
	}
	if len(c.Nodes) > 1 {
		var bad *bool
		if known && c.Promotable >= 0 && !c.Running {
			bad = is(c.Promotable == 0)
		}
		j.say(key(NoPromotable, ""), bad, Warning, "No node could take over in a planned promotion: "+c.NotPromotable, "baton nodes "+c.Cluster+" says why of each")
	}
	j.say(key(NeedsHuman, ""), is(c.NeedsHuman != ""), Critical, fmt.Sprintf("Operation %s needs a human: %s", c.NeedsHuman, c.NeedsHumanWhy), "baton op watch "+c.NeedsHuman)
	j.lease(c)
	j.backup(c)
}

func (j *judge) lease(c *Cluster) {
	if c.Lease == nil {
		return
	}
	j.say(Key{LeaseAtRisk, c.Cluster, c.Lease.Holder}, is(c.Lease.AtRisk), Critical,
		fmt.Sprintf("%s cannot renew its lease: it stops taking writes in %.0f s", c.Lease.Holder, max(0, c.Lease.ExpiresIn.Seconds())),
		"look at the network between its host and the control plane")
}

func (j *judge) backup(c *Cluster) {
	b := c.Backup
	if b == nil {
		return
	}
	since, what := b.Verified, "the newest verified backup is %s old"
	if since.IsZero() {
		since, what = b.Since, "no backup was verified since backups were asked for, %s ago"
	}
	age, s := j.now.Sub(since), Warning
	if age > backupAgeCritical {
		s = Critical
	}
	j.say(Key{Kind: BackupAge, Cluster: c.Cluster}, is(age > backupAge), s, fmt.Sprintf("Of %s "+what, c.Cluster, span(age)), "baton backup "+c.Cluster)
}

func (j *judge) node(c *Cluster, n *health.Node, level health.Level) {
	key := func(k Kind) Key { return Key{k, c.Cluster, n.Name} }
	severity := Warning
	if level == health.Down || level == health.AtRisk {
		severity = Critical
	}
	// An agent that was never heard has nothing to say yet.
	k := key(AgentSilent)
	if n.ReportAge >= 0 {
		j.say(k, is(n.ReportAge > pair(j, k, silence, silenceClear)), Warning,
			fmt.Sprintf("The agent beside %s of %s has been silent for %s", n.Name, c.Cluster, span(n.ReportAge)), "start it: baton agent; look at its host")
	} else {
		j.say(k, nil, Warning, "", "")
	}
	var down *bool
	if n.Fresh() {
		down = is(!n.Seen.Up)
	}
	j.say(key(NodeDown), down, severity, fmt.Sprintf("%s of %s: %s", n.Name, c.Cluster, lower(health.StatusOf(n).Sentence)), "see its log; start it")
	j.disk(c, n)
	if !n.Up() || n.Role() == engine.RolePrimary || n.Role() == engine.RoleUnknown {
		var ok *bool // a primary has neither link nor lag; of others it is unknown
		if n.Up() && n.Role() == engine.RolePrimary {
			ok = is(false)
		}
		j.say(key(LinkDown), ok, Warning, n.Name+" is the primary", "")
		j.say(key(Lag), ok, Warning, n.Name+" is the primary", "")
		return
	}
	var link *bool
	if !c.Running {
		link = is(!n.Seen.LinkUp)
	}
	j.say(key(LinkDown), link, severity, fmt.Sprintf("The replication link of %s of %s is down", n.Name, c.Cluster), "see its log; check network and password towards the primary")
	j.lag(c, n)
}

func (j *judge) lag(c *Cluster, n *health.Node) {
	k := Key{Lag, c.Cluster, n.Name}
	b, sec := n.Seen.LagBytes, n.Seen.LagSeconds
	if b < 0 && sec < 0 {
		j.say(k, nil, Warning, "", "")
		return
	}
	s := Warning
	if b >= lagBytesCritical {
		s = Critical
	}
	bad := b >= pair(j, k, int64(lagBytes), lagBytesClear) || sec >= pair(j, k, lagSeconds, lagSecondsClear)
	what := fmt.Sprintf("%s of %s is %s behind", n.Name, c.Cluster, size(b))
	if sec > 0 {
		what += fmt.Sprintf(", %.0f s", sec)
	}
	j.say(k, is(bad), s, what, "look at the load of its host and the network to the primary")
}

func (j *judge) disk(c *Cluster, n *health.Node) {
	k := Key{DiskForecast, c.Cluster, n.Name}
	if n.Disk == nil || n.Disk.TotalBytes <= 0 || !n.Fresh() {
		j.say(k, nil, Warning, "", "")
		return
	}
	share := float64(n.Disk.FreeBytes) / float64(n.Disk.TotalBytes)
	left, forecast := c.FullIn[n.Name]
	forecast = forecast && left >= 0
	s := Warning
	if share < freeShareCritical || forecast && left < fullInCritical {
		s = Critical
	}
	what := fmt.Sprintf("The volume of %s of %s has %s free (%.0f %%)", n.Name, c.Cluster, size(n.Disk.FreeBytes), 100*share)
	if forecast {
		what += fmt.Sprintf("; at the present growth it is full in %s, on %s", span(left), j.now.Add(left).UTC().Format("Mon 2 Jan 15:04 UTC"))
	}
	bad := share < pair(j, k, freeShare, freeShareClear) || forecast && left < pair(j, k, fullIn, fullInClear)
	j.say(k, is(bad), s, what, "free or add disk space")
}

// span writes a duration as people say it.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

func size(n int64) string {
	switch {
	case n < 0:
		return "an unknown number of bytes"
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// lower makes the beginning of a sentence fit its middle.
func lower(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && (s[1] < 'A' || s[1] > 'Z') {
		return string(s[0]+'a'-'A') + s[1:]
	}
	return s
}
