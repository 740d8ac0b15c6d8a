package api

import (
	"fmt"
	"net/url"
	"sort"
	"strings"
	"time"

	"baton/control/audit"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/health"
	"baton/control/inventory"
	"baton/control/monitor"
	"baton/control/operation"
	"baton/control/plan"
)

func roleWord(eng string, r engine.Role) string { return executor.RoleWord(eng, r) }

func ptr[T any](v T) *T { return &v }

// summary is a row of the Clusters page.
func (s *Server) summary(c *inventory.Cluster, snap *health.Snapshot) ClusterSummary {
	v := health.Judge(snap)
	out := ClusterSummary{ID: c.ID, Name: c.Name, Engine: c.Engine, Verdict: Verdict{VerdictLevel(v.Level), v.Sentence},
		MembersTotal: len(snap.Nodes), WritesHistory: s.Monitor.History(c.ID), Generation: Int64(c.Generation)}
	if p := snap.Primary(); p != nil {
		out.Primary = &PrimaryRef{Node: p.Name, Location: p.Location}
		out.Version = p.Seen.EngineVersion
	}
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		if n.Up() {
			out.MembersUp++
			if out.Version == "" {
				out.Version = n.Seen.EngineVersion
			}
			if lag := n.Seen.LagBytes; n.Role() != engine.RolePrimary && lag >= 0 && (out.WorstLagBytes == nil || Int64(lag) > *out.WorstLagBytes) {
				out.WorstLagBytes = int64p(lag)
			}
		}
		if n.Seen != nil {
			if at := snap.Now.Add(-n.SeenAge); out.ObservedAt == nil || at.After(*out.ObservedAt) {
				out.ObservedAt = &at
			}
		}
	}
	if w, ok := monitor.Writes(snap); ok {
		out.WritesPerSecond = &w
	}
	if c.LastChange != nil {
		out.LastRoleChange = &RoleChange{At: c.LastChange.At, Sentence: c.LastChange.Sentence, OperationID: &c.LastChange.Operation}
	}
	if c.Running != "" {
		out.RunningOperation = &c.Running
	}
	return out
}

// summaries are all clusters, worst first.
func (s *Server) summaries() []ClusterSummary {
	out := []ClusterSummary{}
	for _, c := range s.Inventory.Clusters() {
		snap := s.Monitor.Look(&c)
		out = append(out, s.summary(&c, &snap))
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := health.Level(out[i].Verdict.Level).Severity(), health.Level(out[j].Verdict.Level).Severity()
		if a != b {
			return a < b
		}
		return out[i].Name < out[j].Name
	})
	return out
}

// detail is the cluster page; ok is false for an unknown cluster.
func (s *Server) detail(id string) (ClusterDetail, bool) {
	c, ok := s.Inventory.Cluster(id)
	if !ok {
		return ClusterDetail{}, false
	}
	f, ok := s.Monitor.Facts(id)
	if !ok {
		return ClusterDetail{}, false
	}
	d := ClusterDetail{ClusterSummary: s.summary(&c, &f.Snapshot), Nodes: []Node{}, Links: []Link{}, Capabilities: []Capability{}}
	for _, k := range plan.Capabilities(c.Engine, plan.ClusterFacts{Made: c.Made != nil}) {
		d.Capabilities = append(d.Capabilities, Capability(k))
	}
	primary := f.Primary()
	for i := range f.Nodes {
		n := &f.Nodes[i]
		d.Nodes = append(d.Nodes, s.node(&c, &f, n))
		if primary == nil || n == primary || n.LastRole == "" {
			continue
		}
		l := Link{From: primary.Name, To: n.Name, Kind: "async", Up: n.Up() && n.Seen.LinkUp}
		if c.Engine == engine.EventStore && n.Voter() {
			l.Kind = "sync"
		}
		if n.Up() {
			l.LagBytes, l.LagSeconds = lag(n)
		}
		d.Links = append(d.Links, l)
	}
	d.Connections = append(s.endpointConnections(c.ID), connections(&c, &f.Snapshot)...)
	d.Activity, _ = s.auditRows(id, 0, 10)
	d.Lease, d.Failover = s.failoverViews(id)
	d.Failsafe = failsafeView(&f.Snapshot)
	d.Durability = c.Durability
	if d.Durability == "" {
		d.Durability = durability(&c, primary)
	}
	return d, true
}

func lag(n *health.Node) (*Int64, *float64) {
	var b *Int64
	var sec *float64
	if n.Seen.LagBytes >= 0 {
		b = int64p(n.Seen.LagBytes)
	}
	if n.Seen.LagSeconds >= 0 {
		sec = ptr(n.Seen.LagSeconds)
	}
	return b, sec
}

func (s *Server) node(c *inventory.Cluster, f *plan.Facts, n *health.Node) Node {
	st := health.StatusOf(n)
	out := Node{Name: n.Name, Role: roleWord(c.Engine, n.Role()), Status: NodeStatus{st.Level, st.Sentence}, Priority: n.Priority,
		Provider: n.Provider, Location: n.Location, Address: n.Address, Agent: n.Agent, Tags: nodeTags(c, n.Name, f.Now)}
	r := plan.Evaluate(f, n.Name)
	out.Promotable = Promotable{r.Promotable, r.Reason}
	if want := shouldBe(c, n); want != "" && want != out.Role {
		out.ShouldBe = &want
	}
	if n.Up() {
		out.LagBytes, out.LagSeconds = lag(n)
		out.Position = int64p(int64(n.Seen.Position))
		if n.Seen.Term > 0 {
			out.Term = int64p(int64(n.Seen.Term))
		}
	}
	if n.Seen != nil {
		out.EngineVersion = n.Seen.EngineVersion
		out.LastUpdate = ptr(f.Now.Add(-n.SeenAge))
	}
	if h := n.Host; h != nil {
		out.ObservedBy = "agent on " + h.Name
		out.Hardware = &Hardware{Cores: h.Cores, MemoryBytes: Int64(h.MemoryBytes), Model: h.Model}
		if n.Disk != nil {
			out.Hardware.DiskFreeBytes, out.Hardware.DiskTotalBytes = Int64(n.Disk.FreeBytes), Int64(n.Disk.TotalBytes)
		}
	}
	if n.Process != nil && n.Process.PID > 0 {
		out.PID = &n.Process.PID
	}
	return out
}

// shouldBe is the role our record wants; "" where the engine decides itself.
func shouldBe(c *inventory.Cluster, n *health.Node) string {
	if c.Engine != engine.Redis || c.ShouldBe == "" || c.Running != "" {
		return ""
	}
	if n.Name == c.ShouldBe {
		return string(engine.RolePrimary)
	}
	return string(engine.RoleReplica)
}

func durability(c *inventory.Cluster, primary *health.Node) string {
	if c.Engine == engine.EventStore {
		return "A write is acknowledged when a majority of the voters has it on disk."
	}
	if primary != nil && primary.Seen.Facts.SyncNeeded != nil && *primary.Seen.Facts.SyncNeeded > 0 {
		return fmt.Sprintf("A write is acknowledged by the primary alone, while at least %d replicas are in step; an unplanned loss of the primary may lose the last moments.", *primary.Seen.Facts.SyncNeeded)
	}
	return "A write is acknowledged by the primary alone and copied a moment later; a planned promotion loses nothing, an unplanned loss of the primary may lose the last moments."
}

func connections(c *inventory.Cluster, snap *health.Snapshot) []Connection {
	var all, replicas []string
	write := ""
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		if n.Address == "" {
			continue
		}
		all = append(all, n.Address)
		if p := snap.Primary(); p == n {
			write = n.Address
		} else if n.Up() {
			replicas = append(replicas, n.Address)
		}
	}
	out := []Connection{}
	switch c.Engine {
	case engine.EventStore:
		q := url.Values{}
		if c.Insecure {
			q.Set("tls", "false")
		}
		link := func(extra string) string {
			query := strings.TrimPrefix(strings.Trim(q.Encode()+"&"+extra, "&"), "&")
			if query != "" {
				query = "?" + query
			}
			return "esdb://" + strings.Join(all, ",") + query
		}
		out = append(out,
			Connection{"Read and write", link(""), "Clients find the leader among these nodes and follow it."},
			Connection{"Read from followers", link("nodePreference=follower"), "For reading and subscribing without load on the leader."})
	case engine.Redis:
		if write != "" {
			out = append(out, Connection{"Read and write (now)", "redis://" + write, "The primary at this moment. Clients that keep only this address must be told after a promotion."})
		}
		out = append(out, Connection{"All nodes", "redis://" + strings.Join(all, ","), "For clients that ask each node for its role."})
		if len(replicas) > 0 {
			out = append(out, Connection{"Read only", "redis://" + strings.Join(replicas, ","), "The replicas; what they answer may be a moment old."})
		}
	}
	return out
}

// auditRows are a cluster's attempts, newest first: what runs now on top, then
// the records before the index.
func (s *Server) auditRows(cluster string, before, limit int) (rows []AuditRow, next int) {
	rows = []AuditRow{}
	if c, ok := s.Inventory.Cluster(cluster); ok && before == 0 && c.Running != "" {
		if o, ok := s.Inventory.Operation(c.Running); ok {
			rows = append(rows, runningRow(&o))
		}
	}
	records, next := s.Inventory.Audit(cluster, before, limit)
	for i := range records {
		rows = append(rows, auditRow(&records[i]))
	}
	return rows, next
}

func auditRow(r *audit.Record) AuditRow {
	row := AuditRow{ID: r.ID, At: r.At, Who: r.Name, Role: r.Role, Source: r.Source, IP: r.IP, What: r.What, Cluster: r.Cluster, Node: r.Node,
		Outcome: r.Outcome, Detail: r.Detail, Kind: audit.KindOf(r), Hash: r.Hash}
	if r.Change != nil {
		row.OperationID = &r.Change.Operation
		row.StallMs = r.Change.Stall.Longest()
		if row.Detail == "" && r.Change.Reason != "" {
			row.Detail = r.Change.Reason
		}
	}
	return row
}

func runningRow(o *operation.Operation) AuditRow {
	return AuditRow{ID: o.Operation, At: o.At, Who: o.Requester, Role: o.Role, Source: o.Source, IP: o.IP, What: executor.What(o), Cluster: o.Plan.Cluster,
		Node: o.Plan.Node, Outcome: "running", OperationID: ptr(o.Operation), Detail: executor.Sentence(o), Kind: o.Kind}
}

func reportView(r *plan.Report) Report {
	out := Report{Node: r.Node, Promotable: r.Promotable, Reason: r.Reason, Hash: r.Hash, Generation: Int64(r.Generation), At: r.At, Checks: []Check{}}
	for _, c := range r.Checks {
		out.Checks = append(out.Checks, Check{ID: c.ID, Subject: c.Subject, Measured: c.Measured, Unit: c.Unit, WarnAt: c.WarnAt, RefuseAt: c.RefuseAt,
			Verdict: string(c.Verdict), Overridable: c.Overridable, Why: c.Why, Fix: c.Fix})
	}
	return out
}

func refusals(in []plan.Refusal) []Refusal {
	out := []Refusal{}
	for _, r := range in {
		out = append(out, Refusal(r))
	}
	return out
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func planView(p *plan.Plan) Plan {
	out := Plan{Node: p.Node, Report: reportView(&p.Report), Refused: p.Refused(), Refusals: refusals(p.Refusals), Steps: []PlanStep{},
		ExpectedStallMs: millis(p.ExpectedStall()), CatchUpMs: millis(p.CatchUp), StallBudgetMs: millis(p.Budget), PossibleLoss: p.PossibleLoss,
		Generation: Int64(p.Generation), CLI: fmt.Sprintf("baton promote %s %s --confirm %s", p.Cluster, p.Node, p.Node)}
	for _, st := range p.Steps {
		out.Steps = append(out.Steps, PlanStep{ID: st.ID, Title: st.Title, Command: st.Command, Node: st.Node, PointOfNoReturn: st.PointOfNoReturn, Undo: st.Undo})
	}
	return out
}

func roles(in []operation.Role) []RoleOf {
	out := []RoleOf{}
	for _, r := range in {
		out = append(out, RoleOf(r))
	}
	return out
}

func (s *Server) operationView(o *operation.Operation) Operation {
	out := Operation{ID: o.Operation, Kind: o.Kind, Title: o.Plan.Title, Cluster: o.Plan.Cluster, Node: o.Plan.Node, From: o.Plan.From, State: string(o.State),
		PastPointOfNoReturn: o.Past, Requester: o.Requester, Source: o.Source, Reason: o.Reason, StartedAt: o.At, Outcome: o.Outcome,
		RolesBefore: roles(o.RolesBefore), RolesAfter: roles(o.RolesAfter), ReportHash: o.Plan.Report.Hash, Generation: Int64(o.Generation), Steps: []Step{}}
	if o.State == operation.StateRollingBack {
		out.State = string(operation.StateRunning)
		out.Outcome = "Rolling back: " + o.Why
	}
	for _, st := range o.Steps {
		v := Step{ID: st.ID, Title: st.Title, Node: st.Node, Command: st.Command, State: string(st.State), PointOfNoReturn: st.PointOfNoReturn, Detail: st.Detail}
		if !st.StartedAt.IsZero() {
			v.StartedAt = ptr(st.StartedAt)
		}
		if !st.EndedAt.IsZero() {
			v.EndedAt = ptr(st.EndedAt)
		}
		out.Steps = append(out.Steps, v)
	}
	if !o.EndedAt.IsZero() {
		out.EndedAt = ptr(o.EndedAt)
	}
	if o.Stall != nil {
		out.Stall = &Stall{ProbeMs: o.Stall.ProbeMs, AgentMs: o.Stall.AgentMs, LongestGapMs: o.Stall.Longest()}
	}
	if p := o.Proof; p != nil {
		wide := func(n *int64) *Int64 {
			if n == nil {
				return nil
			}
			return int64p(*n)
		}
		out.Proof = &Proof{Acked: wide(p.Acked), ReadBack: wide(p.ReadBack), Lost: wide(p.Lost), Sentence: p.Sentence, PositionOld: p.PositionOld, PositionNew: p.PositionNew}
	}
	if until, ok := o.UndoUntil(); ok {
		_, node, err := s.Executor.UndoTarget(o.Operation)
		u := &Undo{Available: err == nil, Until: until, Node: node, Why: "the same operation with the roles exchanged; what was written since is kept"}
		if err != nil {
			u.Node, u.Why = o.Plan.From, err.Error()
		}
		out.Undo = u
	}
	return out
}
