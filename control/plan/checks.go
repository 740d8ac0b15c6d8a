package plan

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// redisOnly are the checks that only an engine without consensus needs: what
// consensus proves by itself must here be looked at beforehand.
func (e *evaluation) redisOnly() {
	facts := engine.Facts{}
	if e.n.Up() {
		facts = e.n.Seen.Facts
	}
	e.add(Check{ID: "engine.loading", Measured: boolText(facts.Loading), RefuseAt: "true", Verdict: truth(facts.Loading, false),
		Why: e.name + " is still loading its data", ok: "its data is loaded", Fix: "wait until it has loaded"})
	for _, n := range e.pair() {
		ok, why := (*bool)(nil), ""
		if n.Up() {
			ok, why = n.Seen.Facts.PersistOK, n.Seen.Facts.PersistWhy
		}
		c := Check{ID: "config.persist", Subject: n.Name, Measured: boolText(ok), RefuseAt: "false", Verdict: truth(ok, true),
			ok: "its role can be written to its configuration file", Fix: "start it with a configuration file the engine may write"}
		if c.Why = "the role of " + n.Name + " would revert on restart"; why != "" {
			c.Why += ": " + why
		}
		e.add(c)
	}
	if e.primary == nil || e.primary == e.n {
		return
	}
	p := e.primary.Seen.Facts
	e.reach(e.primary, e.n, "auth.reverse")
	for i := range e.f.Nodes {
		s := &e.f.Nodes[i]
		if s.Up() && s != e.n && s != e.primary {
			e.reach(s, e.n, "net.reverse")
		}
	}
	running := p.FailoverRunning
	e.add(Check{ID: "failover.running", Subject: e.primary.Name, Measured: boolText(running), RefuseAt: "true", Verdict: truth(running, false),
		Why: "the engine's own failover is running", ok: "the engine's own failover is not running", Fix: "wait for it, or FAILOVER ABORT"})
	saving := Check{ID: "maint.busy", Subject: e.primary.Name, Measured: boolText(p.DataSaving), WarnAt: "true", RefuseAt: "never", Verdict: soften(truth(p.DataSaving, false)),
		Why: "the primary is saving its data set, or that is not known", ok: "the primary is not saving its data set", Fix: "wait for the save to end", sampled: true}
	e.add(saving)
	if facts.DataSaving != nil {
		saving.Subject, saving.Measured, saving.Verdict = e.name, boolText(facts.DataSaving), soften(truth(facts.DataSaving, false))
		saving.Why, saving.ok = e.name+" is saving its data set and answers slower meanwhile", e.name+" is not saving its data set"
		e.add(saving)
	}
	manager := Check{ID: "manager.foreign", Subject: e.f.Cluster, Measured: "none", RefuseAt: "any", Verdict: Pass, Why: "no other failover manager is seen"}
	for i := range e.f.Nodes {
		if n := &e.f.Nodes[i]; n.Up() && n.Seen.Facts.ForeignManager != nil && *n.Seen.Facts.ForeignManager != "" {
			manager.Measured, manager.Verdict = *n.Seen.Facts.ForeignManager, Refuse
			manager.Why, manager.Fix = "another failover manager acts on "+n.Name, "stop "+*n.Seen.Facts.ForeignManager+" for this cluster"
		}
	}
	e.add(manager)
	if p.OldestTransactionSeconds != nil {
		s := *p.OldestTransactionSeconds
		e.add(Check{ID: "long.tx", Subject: e.primary.Name, Measured: fmt.Sprintf("%.0f", s), Unit: "s", WarnAt: "30", RefuseAt: "600",
			Verdict: limit(s, 30, 600), Overridable: true, sampled: true, Why: "a transaction or script has been open for long", ok: "no transaction or script is open for long", Fix: "end it"})
	}
	attach := int64(0)
	for i := range e.f.Nodes {
		if n := &e.f.Nodes[i]; n != e.n && n.Up() {
			attach++
		}
	}
	free := int64(-1)
	if facts.SendersFree != nil {
		free = *facts.SendersFree
	}
	if free >= 0 {
		e.add(Check{ID: "senders.free", Measured: strconv.FormatInt(free, 10), RefuseAt: fmt.Sprintf("< %d", attach), Verdict: floor(float64(free), float64(attach), float64(attach)),
			Why: "there is no room on " + e.name + " for the replicas that will attach", ok: "there is room for the replicas that will attach", Fix: "raise maxclients on " + e.name})
	}
	if need := p.SyncNeeded; need != nil && *need > 0 {
		c := Check{ID: "sync.quorum", Measured: fmt.Sprintf("%d replicas", attach), WarnAt: strconv.FormatInt(*need, 10), RefuseAt: fmt.Sprintf("< %d", *need),
			Verdict: floor(float64(attach), float64(*need+1), float64(*need)), Overridable: true, Why: "few replicas could attach, and writes are taken only with enough of them", ok: "enough replicas can attach for writes to be taken", Fix: "repair the other replicas first"}
		e.add(c)
	}
	e.memory()
	e.settings()
}

// reach: from's host can log in to to with the very credentials it replicates
// with. Reading the configuration would not tell.
func (e *evaluation) reach(from, to *health.Node, id string) {
	c := Check{ID: id, Subject: from.Name + " -> " + to.Name, Unit: "ms", WarnAt: "20", RefuseAt: "login fails", sampled: true,
		Why: from.Name + " can log in to " + to.Name + " as a replica"}
	r, ok := from.Seen.Facts.Reach[to.Address]
	switch {
	case !ok:
		c.Measured, c.Verdict, c.Why = "not tried", Unknown, "whether "+from.Name+" can log in to "+to.Name+" has not been tried"
		c.Fix = "wait a few seconds for the agent on " + from.Name
	case !r.OK:
		c.Measured, c.Verdict, c.Why = "failed", Refuse, from.Name+" could not follow "+to.Name+": "+r.Err
		c.Fix = "set the same masteruser, masterauth and ACL on all nodes"
	default:
		c.Measured, c.Verdict = fmt.Sprintf("%.1f", r.RTTMs), limit(r.RTTMs, 20, 1e9)
	}
	e.add(c)
}

// memory compares the candidate's room with what the primary uses.
func (e *evaluation) memory() {
	used, room := e.primary.Seen.Facts.MemoryUsedBytes, e.n.Seen
	if used == nil || room == nil || room.Facts.MemoryLimitBytes == nil || *room.Facts.MemoryLimitBytes == 0 || *used == 0 {
		return // without a limit of its own the host's memory decides, below
	}
	ratio := float64(*room.Facts.MemoryLimitBytes) / float64(*used)
	e.add(Check{ID: "mem.limit", Measured: fmt.Sprintf("%.1f", ratio), Unit: "x primary's use", WarnAt: "1.2", RefuseAt: "1.0", Verdict: floor(ratio, 1.2, 1.0),
		Overridable: true, sampled: true, Why: "its own memory limit is close to what the primary uses", ok: "its own memory limit covers what the primary uses", Fix: "raise maxmemory on " + e.name})
}

// settings that should agree between members.
func (e *evaluation) settings() {
	if !e.n.Up() {
		return
	}
	var differ []string
	for k, v := range e.primary.Seen.Facts.Settings {
		if k == "replica-priority" {
			continue // follows each node's own tags
		}
		if k == usersDigest {
			continue // judged by itself, below
		}
		if mine, ok := e.n.Seen.Facts.Settings[k]; ok && mine != v {
			differ = append(differ, k)
		}
	}
	sort.Strings(differ)
	c := Check{ID: "config.match", Measured: "agree", WarnAt: "differs", RefuseAt: "never", Verdict: Pass, Overridable: true, Why: "settings agree with the primary's"}
	if len(differ) > 0 {
		c.Measured, c.Verdict = strings.Join(differ, ", "), Warn
		c.Why, c.Fix = "settings differ from the primary's: "+c.Measured, "make them the same on all nodes"
	}
	e.add(c)
	e.users()
}

// usersDigest is the setting that stands for all users with their rights.
const usersDigest = "users"

// users: clients log in to the new primary with what the old one knew.
func (e *evaluation) users() {
	theirs, ok1 := e.primary.Seen.Facts.Settings[usersDigest]
	mine, ok2 := e.n.Seen.Facts.Settings[usersDigest]
	if !ok1 || !ok2 {
		return // a server before users, or one that does not tell
	}
	c := Check{ID: "acl.match", Measured: "the same", WarnAt: "differ", RefuseAt: "never", Verdict: Pass, Overridable: true, Why: "its users and their rights are the primary's"}
	if mine != theirs {
		c.Measured, c.Verdict = "differ", Warn
		c.Why, c.Fix = "its users, passwords or rights are not the primary's: clients could be shut out", "make ACL LIST the same on all nodes"
	}
	e.add(c)
}

// siblings: the other replicas, which should be able to follow.
func (e *evaluation) siblings() {
	total, bad := 0, []string{}
	for i := range e.f.Nodes {
		n := &e.f.Nodes[i]
		if n == e.n || n == e.primary {
			continue
		}
		total++
		if !n.Up() || !n.Seen.LinkUp {
			bad = append(bad, n.Name)
		}
	}
	if total == 0 {
		return
	}
	c := Check{ID: "siblings", Subject: e.f.Cluster, Measured: fmt.Sprintf("%d of %d in step", total-len(bad), total),
		WarnAt: "1 missing", RefuseAt: "never", Verdict: Pass, Overridable: true, Why: "the other nodes can follow"}
	if len(bad) > 0 {
		c.Verdict, c.Why, c.Fix = Warn, "not in step: "+strings.Join(bad, ", "), "repair them first"
	}
	e.add(c)
}

// version: an older candidate cannot be followed by newer replicas.
func (e *evaluation) version() {
	if !e.n.Up() || e.n.Seen.EngineVersion == "" {
		return
	}
	c := Check{ID: "version.order", Measured: e.n.Seen.EngineVersion, WarnAt: "differs", RefuseAt: "older major", Verdict: Pass, Why: "all members run the same version"}
	for i := range e.f.Nodes {
		n := &e.f.Nodes[i]
		if n == e.n || !n.Up() || n.Seen.EngineVersion == "" || n.Seen.EngineVersion == e.n.Seen.EngineVersion {
			continue
		}
		if major(e.n.Seen.EngineVersion) < major(n.Seen.EngineVersion) {
			c.Verdict, c.Why = Refuse, fmt.Sprintf("%s runs %s and could not follow %s", n.Name, n.Seen.EngineVersion, e.n.Seen.EngineVersion)
			c.Fix = "upgrade " + e.name + " first"
			break
		}
		c.Verdict, c.Why = Warn, fmt.Sprintf("%s runs %s", n.Name, n.Seen.EngineVersion)
	}
	e.add(c)
}

func major(v string) int {
	head, _, _ := strings.Cut(strings.TrimPrefix(v, "v"), ".")
	n, _ := strconv.Atoi(head)
	return n
}

// host: room and strength of the machine the candidate runs on. Where the
// primary runs on the same machine, moving changes nothing, and a refusal
// would help nobody: it only warns.
func (e *evaluation) host() {
	same := e.primary != nil && e.primary != e.n && e.primary.Agent != "" && e.primary.Agent == e.n.Agent
	judge := func(c Check) {
		if same && c.Verdict != Pass {
			c.Verdict = soften(c.Verdict)
			c.Why += " (the primary is on the same machine)"
		}
		c.Overridable, c.sampled = true, true
		e.add(c)
	}
	if d := e.n.Disk; d != nil && d.TotalBytes > 0 {
		pct := 100 * float64(d.FreeBytes) / float64(d.TotalBytes)
		v := floor(pct, 20, 10)
		if d.GrowthBytes != nil && *d.GrowthBytes > 0 && d.FreeBytes < 2**d.GrowthBytes {
			v = Refuse
		}
		judge(Check{ID: "disk.free", Measured: fmt.Sprintf("%.0f", pct), Unit: "%", WarnAt: "20", RefuseAt: "10", Verdict: v,
			Why: "little space is free on its data volume", ok: "enough space is free on its data volume", Fix: "free or add disk space"})
		if d.FsyncP99Ms != nil {
			judge(Check{ID: "disk.fsync", Measured: fmt.Sprintf("%.1f", *d.FsyncP99Ms), Unit: "ms", WarnAt: "20", RefuseAt: "200",
				Verdict: limit(*d.FsyncP99Ms, 20, 200), Why: "small writes take long to reach its disk", ok: "small writes reach its disk fast", Fix: "find what else uses the disk"})
		}
	}
	h := e.n.Host
	if h == nil {
		return
	}
	if h.Cores > 0 {
		load := h.Load1 / float64(h.Cores)
		judge(Check{ID: "cpu.load", Measured: fmt.Sprintf("%.2f", load), Unit: "per core", WarnAt: "0.8", RefuseAt: "2.0",
			Verdict: limit(load, 0.8, 2), Why: "its machine is busy", ok: "its machine has processor time to spare", Fix: "find what else runs there"})
	}
	if h.MemoryBytes > 0 {
		pct := 100 * float64(h.MemoryFree) / float64(h.MemoryBytes)
		judge(Check{ID: "mem.free", Measured: fmt.Sprintf("%.0f", pct), Unit: "%", WarnAt: "15", RefuseAt: "5",
			Verdict: floor(pct, 15, 5), Why: "little memory is available on its machine", ok: "enough memory is available on its machine", Fix: "free or add memory"})
	}
	if p := e.primary; p != nil && p != e.n && p.Up() && e.n.Up() && h.MemoryBytes > 0 {
		// Without a limit of its own the machine is the limit: what it has free
		// and what the engine holds already must take what the primary holds.
		used, own, limited := p.Seen.Facts.MemoryUsedBytes, e.n.Seen.Facts.MemoryUsedBytes, e.n.Seen.Facts.MemoryLimitBytes
		if used != nil && *used > 0 && own != nil && (limited == nil || *limited == 0) {
			ratio := float64(h.MemoryFree+*own) / float64(*used)
			judge(Check{ID: "mem.room", Measured: fmt.Sprintf("%.1f", ratio), Unit: "x primary's use", WarnAt: "1.2", RefuseAt: "1.0", Verdict: floor(ratio, 1.2, 1),
				Why: "its machine has hardly room for what the primary holds", ok: "its machine has room for what the primary holds", Fix: "free or add memory"})
		}
	}
	if p := e.primary; p != nil && p.Host != nil && p != e.n && p.Host.Cores > 0 && p.Host.MemoryBytes > 0 {
		ratio := min(float64(h.Cores)/float64(p.Host.Cores), float64(h.MemoryBytes)/float64(p.Host.MemoryBytes))
		judge(Check{ID: "hw.class", Measured: fmt.Sprintf("%.2f", ratio), Unit: "x primary", WarnAt: "< 1.0", RefuseAt: "< 0.5",
			Verdict: floor(ratio, 1, 0.5), Why: "its machine is smaller than the primary's", ok: "its machine is no smaller than the primary's", Fix: "choose a node on a machine of the same size"})
	}
}

// tags are what people said about the node. Who overrides one says why.
func (e *evaluation) tags() {
	c := Check{ID: "tags", Measured: fmt.Sprintf("priority %d", e.n.Priority), WarnAt: "priority 0", RefuseAt: "never", Verdict: Pass, Why: "no tag stands in the way"}
	switch {
	case e.n.Never:
		c.Measured, c.Verdict, c.Why, c.Fix = "never", Refuse, "it is marked never to be promoted", "take the tag away"
	case e.n.NoFailover:
		c.Measured, c.RefuseAt, c.Verdict, c.Overridable = "nofailover", "nofailover", Refuse, true
		c.Why, c.Fix = "it is marked to be promoted only with a reason", "override the check and say why, or take the tag away"
	case e.n.Priority == 0 && e.f.Engine == engine.Redis:
		c.Verdict, c.Why = Warn, "priority 0: never promoted automatically"
	}
	e.add(c)
	if e.n.Maintenance == nil {
		return
	}
	c = Check{ID: "maintenance", Measured: "until " + e.n.Maintenance.UTC().Format(time.RFC3339), RefuseAt: "in maintenance", Verdict: Pass,
		Overridable: true, Why: "its maintenance has ended"}
	if e.n.InMaintenance(e.f.Now) {
		c.Verdict, c.Why, c.Fix = Refuse, "it is in maintenance "+c.Measured, "end the maintenance, or override the check and say why"
	}
	e.add(c)
}

func boolText(b *bool) string {
	if b == nil {
		return "unknown"
	}
	return strconv.FormatBool(*b)
}
