// Package monitor keeps what the agents report and makes of it what the rest
// of the control plane asks for: the facts of a cluster at this moment, its
// verdict, the last minute of its writes. It orders nothing.
//
// A Monitor may be used from many goroutines. What it keeps is bounded: the
// newest report of each agent, one observation and one minute of numbers per
// node and cluster.
package monitor

import (
	"context"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/health"
	"baton/control/inventory"
	"baton/control/plan"
)

// Cadence is how often verdicts are made anew; agents report as often.
const Cadence = 500 * time.Millisecond

// HistorySeconds is how much of the writes per second is kept.
const HistorySeconds = 60

// Reports is where agents' reports come from; *hub.Hub is one.
type Reports interface {
	// Reports returns the newest report of every agent, by id.
	Reports() map[string]agent.Report
	// Subscribe delivers each report as it comes.
	Subscribe(buffer int) (<-chan agent.Report, func())
	// Connected tells whether the agent has a link now.
	Connected(agentID string) bool
}

// Options of a Monitor.
type Options struct {
	Reports   Reports
	Inventory *inventory.Inventory
	Now       func() time.Time
	// Journal tells whether the journal takes writes, and if not why; nil: it does.
	Journal func() (ok bool, why string)
	// Running describes the operation that holds a cluster; nil: its id does.
	Running func(operation string) string
	// Promises tells whether the record permits a cluster's primary to go on by
	// promises of the agents while no control node leads; nil: never.
	Promises func(c *inventory.Cluster) bool
}

// Monitor is the keeper of reports.
type Monitor struct {
	Options

	mu sync.Mutex
	// clusters holds what was reported by cluster and node: a look at one
	// cluster must not cost more where there are thousands of others.
	clusters map[string]map[string]*seen
	agents   map[string]map[key]bool // what each agent reported last
	history  map[string]*ring
	alone    map[string]alone // by cluster
	beat     chan struct{}    // closed and replaced at each report taken in
}

type key struct{ cluster, node string }

// seen is the last that was reported of a node.
type seen struct {
	agentID  string
	instance agent.InstanceReport
	host     *engine.HostFacts // of the report, shared by all that is in it
	// at is when it was observed and received when its report came, both on
	// our clock.
	at, received time.Time
	lastRole     engine.Role
}

// ring keeps one number per second.
type ring struct {
	values []float64
	second int64
}

// New returns a monitor that knows nothing yet.
func New(o Options) *Monitor {
	return &Monitor{Options: o, clusters: map[string]map[string]*seen{}, agents: map[string]map[key]bool{}, history: map[string]*ring{}, alone: map[string]alone{}, beat: make(chan struct{})}
}

// Run takes reports in until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	reports, cancel := m.Reports.Subscribe(1024)
	defer cancel()
	for _, r := range m.Reports.Reports() {
		m.take(r)
	}
	tick := time.NewTicker(Cadence)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r, ok := <-reports:
			if !ok {
				return nil
			}
			m.take(r)
		case <-tick.C:
			m.record()
		}
	}
}

// take keeps a report.
func (m *Monitor) take(r agent.Report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	received := r.ReceivedAt
	if received.IsZero() {
		received = m.Now()
	}
	m.reports(&r)
	m.promises(&r, received)
	host := r.Host
	for _, in := range r.Instances {
		nodes := m.clusters[in.Cluster]
		if nodes == nil {
			nodes = map[string]*seen{}
			m.clusters[in.Cluster] = nodes
		}
		s := nodes[in.Node]
		if s == nil {
			s = &seen{}
			nodes[in.Node] = s
		}
		s.agentID, s.instance, s.host, s.received = r.Agent, in, &host, received
		if in.Observation != nil {
			// The agent's own clock tells how old the look was when it reported.
			s.at = received.Add(-max(0, r.At.Sub(in.Observation.At)))
			if o := in.Observation; o.Up && o.Role != engine.RoleUnknown && o.Role != "" {
				s.lastRole = o.Role
			}
		}
		if in.ProcessInfo == nil && in.Process != "" {
			for i := range r.Processes {
				if r.Processes[i].Name == in.Process {
					s.instance.ProcessInfo = &r.Processes[i]
				}
			}
		}
	}
	close(m.beat)
	m.beat = make(chan struct{})
}

// reports keeps which nodes an agent reports, and forgets those it does not
// report any more: it was told to. The caller holds mu.
func (m *Monitor) reports(r *agent.Report) {
	before := m.agents[r.Agent]
	same := len(before) == len(r.Instances)
	for i := 0; same && i < len(r.Instances); i++ {
		same = before[key{r.Instances[i].Cluster, r.Instances[i].Node}]
	}
	if same {
		return
	}
	now := make(map[key]bool, len(r.Instances))
	for _, in := range r.Instances {
		now[key{in.Cluster, in.Node}] = true
	}
	for k := range before {
		if v := m.clusters[k.cluster][k.node]; !now[k] && v != nil && v.agentID == r.Agent {
			m.drop(k)
		}
	}
	m.agents[r.Agent] = now
}

// drop forgets a node. The caller holds mu.
func (m *Monitor) drop(k key) {
	delete(m.clusters[k.cluster], k.node)
	if len(m.clusters[k.cluster]) == 0 {
		delete(m.clusters, k.cluster)
	}
}

// record adds this second's writes to the histories.
func (m *Monitor) record() {
	now := m.Now()
	var roles []health.Node // of the cluster looked at: only what tells who is primary
	for id, kind := range m.Inventory.Engines() {
		m.mu.Lock()
		roles = roles[:0]
		for _, v := range m.clusters[id] {
			if o := v.instance.Observation; o != nil {
				roles = append(roles, health.Node{Seen: o, SeenAge: now.Sub(v.at)})
			}
		}
		rate, known := Writes(&health.Snapshot{Engine: kind, Nodes: roles})
		if !known {
			rate = 0
		}
		h := m.history[id]
		if h == nil {
			h = &ring{}
			m.history[id] = h
		}
		h.put(now.Unix(), math.Round(rate*10)/10)
		m.mu.Unlock()
	}
}

// put sets the number of a second.
func (h *ring) put(second int64, v float64) {
	switch n := len(h.values); {
	case h.second == second && n > 0:
		h.values[n-1] = v
		return
	case n == HistorySeconds:
		copy(h.values, h.values[1:])
		h.values[n-1] = v
	default:
		h.values = append(h.values, v)
	}
	h.second = second
}

// Writes is the primary's writes per second; ok is false when not observed.
func Writes(s *health.Snapshot) (perSecond float64, ok bool) {
	p := s.Primary()
	if p == nil || p.Seen.WritesPerSecond < 0 {
		return 0, false
	}
	return p.Seen.WritesPerSecond, true
}

// History returns a cluster's writes per second, oldest first.
func (m *Monitor) History(cluster string) []float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.history[cluster]
	if h == nil {
		return []float64{}
	}
	return append([]float64{}, h.values...)
}

// Snapshot returns what is known of a cluster; ok is false for an unknown one.
func (m *Monitor) Snapshot(cluster string) (health.Snapshot, bool) {
	c, ok := m.Inventory.Cluster(cluster)
	if !ok {
		return health.Snapshot{}, false
	}
	return m.snapshot(&c), true
}

// Look is Snapshot of a cluster that the caller has from the inventory already.
func (m *Monitor) Look(c *inventory.Cluster) health.Snapshot { return m.snapshot(c) }

func (m *Monitor) snapshot(c *inventory.Cluster) health.Snapshot {
	now := m.Now()
	s := health.Snapshot{Now: now, Cluster: c.ID, Engine: c.Engine}
	m.mu.Lock()
	defer m.mu.Unlock()
	nodes := m.clusters[c.ID]
	s.Nodes = make([]health.Node, 0, max(len(c.Members), len(nodes)))
	known := make(map[string]bool, len(c.Members))
	for _, member := range c.Members {
		known[member.Name] = true
		s.Nodes = append(s.Nodes, node(now, nodes[member.Name], member))
	}
	// Members that joined the engine's cluster and that an agent reports.
	for name, v := range nodes {
		if !known[name] {
			s.Nodes = append(s.Nodes, node(now, v, inventory.Member{Name: name, Address: v.instance.Address, Priority: 100}))
		}
	}
	slices.SortFunc(s.Nodes, func(a, b health.Node) int { return strings.Compare(a.Name, b.Name) })
	s.Failsafe = m.failsafe(c, now)
	return s
}

// node joins what is registered and what is reported, nil where nothing is.
// The caller holds mu.
func node(now time.Time, v *seen, member inventory.Member) health.Node {
	n := health.Node{Name: member.Name, Agent: member.Agent, Address: member.Address, Priority: member.Priority, Never: member.Never,
		NoFailover: member.Tags.NoFailover, NoSync: member.Tags.NoSync, NoBackup: member.Tags.NoBackup, Maintenance: member.Tags.Maintenance,
		Location: member.Location, Provider: member.Provider, ReportAge: -1}
	if v == nil {
		return n
	}
	n.Agent, n.LastRole = v.agentID, v.lastRole
	n.ReportAge = now.Sub(v.received)
	n.Host, n.Disk, n.Process = v.host, v.instance.Disk, v.instance.ProcessInfo
	if v.instance.Address != "" {
		n.Address = v.instance.Address
	}
	if n.Location == "" {
		n.Location = v.host.Location
	}
	if n.Provider == "" {
		n.Provider = v.host.Provider
	}
	if o := v.instance.Observation; o != nil {
		n.Seen, n.SeenAge = o, now.Sub(v.at)
		// Redis' own number means the opposite, and is derived from ours.
		if o.Priority != 0 && !member.Tagged && o.Engine != engine.Redis {
			n.Priority = o.Priority
		}
	}
	return n
}

// Facts returns the facts decisions depend on; ok is false for an unknown
// cluster.
func (m *Monitor) Facts(cluster string) (plan.Facts, bool) {
	c, ok := m.Inventory.Cluster(cluster)
	if !ok {
		return plan.Facts{}, false
	}
	snap := m.snapshot(&c)
	f := plan.Facts{Snapshot: snap, Generation: c.Generation, Running: c.Running, RunningWhat: c.Running,
		PastStalls: c.Stalls, JournalOK: true, Connected: map[string]bool{}}
	if c.LastChange != nil {
		f.LastChange = c.LastChange.At
	}
	if c.Running != "" && m.Running != nil {
		f.RunningWhat = m.Running(c.Running)
	}
	if m.Journal != nil {
		f.JournalOK, f.JournalWhy = m.Journal()
	}
	for i := range snap.Nodes {
		if a := snap.Nodes[i].Agent; a != "" {
			f.Connected[a] = m.Reports.Connected(a)
		}
	}
	return f, true
}

// Fresh waits until every node whose agent has a link was observed after a
// moment, at most until ctx ends, and returns the facts then.
func (m *Monitor) Fresh(ctx context.Context, cluster string, after time.Time) plan.Facts {
	for {
		m.mu.Lock()
		beat, late := m.beat, false
		for _, v := range m.clusters[cluster] {
			if !v.at.After(after) && m.Reports.Connected(v.agentID) {
				late = true
			}
		}
		m.mu.Unlock()
		if !late {
			break
		}
		select {
		case <-ctx.Done():
			late = false
		case <-beat:
			continue
		}
		break
	}
	f, _ := m.Facts(cluster)
	return f
}

// Agents returns the newest report of every agent, sorted by host name.
func (m *Monitor) Agents() []agent.Report {
	reports := m.Reports.Reports()
	out := make([]agent.Report, 0, len(reports))
	for _, r := range reports {
		out = append(out, r)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Name != out[j].Name {
			return out[i].Name < out[j].Name
		}
		return out[i].Agent < out[j].Agent
	})
	return out
}
