package plan_test

import (
	"strings"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/plan"
)

func ready(n int) []plan.Survey {
	out := make([]plan.Survey, n)
	for i := range out {
		out[i] = plan.Survey{Agent: "h", Connected: true, Host: "10.0.0.1", Port: 6379 + i, Version: "7.0.15", MemoryFree: 8 << 30, DiskFree: 50 << 30}
	}
	return out
}

func wanted() plan.NewCluster {
	return plan.NewCluster{Name: "shop", Engine: engine.Redis, MemoryBytes: 1 << 30, SyncReplicas: 1,
		Nodes: []plan.NewNode{{Name: "a", Agent: "h1", Priority: 100}, {Name: "b", Agent: "h2", Priority: 100}, {Name: "s", Agent: "h3", Priority: 100}}}
}

// codes are the refusals of a plan.
func codes(p plan.Plan) string {
	var out []string
	for _, r := range p.Refusals {
		if r.Title == "" || r.Detail == "" || r.Fix == "" {
			out = append(out, "NOT-PLAIN")
		}
		out = append(out, r.Code)
	}
	return strings.Join(out, " ")
}

// TestCreatePlan: what is well is planned with its steps; each thing that is
// wrong is refused by its own code, with what to do.
func TestCreatePlan(t *testing.T) {
	p := plan.Create(wanted(), ready(3))
	if p.Refused() || len(p.Steps) != 4 || p.Node != "a" || len(p.Nodes()) != 3 || p.Nodes()[1].Address() != "10.0.0.1:6380" || p.Commits() {
		t.Fatalf("%s %+v", codes(p), p)
	}
	for _, s := range p.Steps {
		if s.PointOfNoReturn || s.Undo == "" || s.Title == "" || s.Timeout == 0 {
			t.Errorf("step %+v", s)
		}
	}
	for want, change := range map[string]func(*plan.NewCluster, []plan.Survey){
		"name":       func(n *plan.NewCluster, _ []plan.Survey) { n.Name = "sh op" },
		"name ":      func(n *plan.NewCluster, _ []plan.Survey) { n.Name = strings.Repeat("a", 64) },
		"name  ":     func(n *plan.NewCluster, _ []plan.Survey) { n.Nodes[0].Name = "a'; FLUSHALL" },
		"name.twice": func(n *plan.NewCluster, _ []plan.Survey) { n.Nodes[2].Name = "a" },
		"engine":     func(n *plan.NewCluster, _ []plan.Survey) { n.Engine = "mysql" },
		"nodes":      func(n *plan.NewCluster, _ []plan.Survey) { n.Nodes = nil },
		"sync":       func(n *plan.NewCluster, _ []plan.Survey) { n.SyncReplicas = 3 },
		"memory":     func(n *plan.NewCluster, _ []plan.Survey) { n.MemoryBytes = -1 },
		"priority":   func(n *plan.NewCluster, _ []plan.Survey) { n.Nodes[1].Priority = -1 },
		"host": func(_ *plan.NewCluster, s []plan.Survey) {
			s[1] = plan.Survey{Agent: "x", MemoryFree: -1, DiskFree: -1}
		},
		"host.taken":    func(_ *plan.NewCluster, s []plan.Survey) { s[0].Taken = "port 6379 is in use" },
		"version.mixed": func(_ *plan.NewCluster, s []plan.Survey) { s[2].Version = "7.2.0" },
		"port.twice":    func(_ *plan.NewCluster, s []plan.Survey) { s[2].Port = s[0].Port },
		"memory.host":   func(_ *plan.NewCluster, s []plan.Survey) { s[0].MemoryFree = 1 << 30 },
		"disk.host":     func(_ *plan.NewCluster, s []plan.Survey) { s[0].DiskFree = 1 << 30 },
		"memory.host ": func(n *plan.NewCluster, s []plan.Survey) {
			n.Nodes[1].Agent, s[0].MemoryFree, s[1].MemoryFree = "h1", 2<<30, 2<<30
		}, // two on one host
	} {
		n, s := wanted(), ready(3)
		change(&n, s)
		p := plan.Create(n, s)
		if got := codes(p); got != strings.TrimSpace(want) {
			t.Errorf("%s: refused by %q", want, got)
		}
	}
}

// TestNodePlans: adding, removing and resynchronizing refuse what would leave
// a cluster worse, and only that.
func TestNodePlans(t *testing.T) {
	made := plan.ClusterFacts{Made: true, MemoryBytes: 1 << 30}
	newNode := plan.NewNode{Name: "n", Agent: "h9", Priority: 100}
	type world struct {
		f plan.Facts
		c plan.ClusterFacts
		s plan.Survey
	}
	add := func(w *world) plan.Plan { return plan.AddNode(&w.f, w.c, newNode, w.s) }
	remove := func(w *world) plan.Plan { return plan.RemoveNode(&w.f, w.c, "b", true) }
	resync := func(w *world) plan.Plan { return plan.Resync(&w.f, w.c, "b") }
	used := int64(7 << 30)
	for _, c := range []struct {
		name, want string
		plan       func(*world) plan.Plan
		change     func(*world)
	}{
		{"add", "", add, nil},
		{"add to servers of others", "made", add, func(w *world) { w.c.Made = false }},
		{"add while another copies", "sync.busy", add, func(w *world) { w.f.Node("d").Seen.LinkUp = false }},
		{"add an older version", "version.order", add, func(w *world) { w.s.Version = "6.2.1" }},
		{"add a newer version", "", add, func(w *world) { w.s.Version = "7.2.4" }},
		{"add Valkey to Redis", "", add, func(w *world) { w.s.Version = "valkey-8.0.1" }},
		{"add Redis to Valkey", "version.order", add, func(w *world) { w.f.Node("a").Seen.EngineVersion = "valkey-8.0.1" }},
		{"add with too little memory", "memory.host", add, func(w *world) { w.f.Node("a").Seen.Facts.MemoryUsedBytes = &used }},
		{"add without a primary", "primary.known", add, func(w *world) { w.f.Node("a").Seen.Up = false }},
		{"add a name twice", "name.twice", func(w *world) plan.Plan { return plan.AddNode(&w.f, w.c, plan.NewNode{Name: "b", Agent: "h9"}, w.s) }, nil},
		{"remove", "", remove, nil},
		{"remove the primary", "primary", func(w *world) plan.Plan { return plan.RemoveNode(&w.f, w.c, "a", false) }, nil},
		{"remove a stranger", "node.known", func(w *world) plan.Plan { return plan.RemoveNode(&w.f, w.c, "z", false) }, nil},
		{"remove below the quorum", "sync.quorum", remove, func(w *world) { w.c.SyncReplicas = 2 }},
		{"remove the last promotable", "last.promotable", remove, func(w *world) { w.f.Node("d").Never = true }},
		{"remove the last promotable with a reason", "", func(w *world) plan.Plan { return plan.RemoveNode(&w.f, w.c, "b", false, "last.promotable") }, func(w *world) { w.f.Node("d").Never = true }},
		{"remove a node that is down", "", remove, func(w *world) { w.f.Node("b").Seen.Up = false }},
		{"resync", "", resync, nil},
		{"resync the primary", "primary", func(w *world) plan.Plan { return plan.Resync(&w.f, w.c, "a") }, nil},
		{"resync while another is away", "sync.busy", resync, func(w *world) { w.f.Node("d").Seen.LinkUp = false }},
		{"resync a stopped node", "engine.up", resync, func(w *world) { w.f.Node("b").Seen.Up = false }},
		{"delete", "", func(w *world) plan.Plan { return plan.Delete(&w.f, w.c, true) }, nil},
		{"delete what is protected", "protected", func(w *world) plan.Plan { return plan.Delete(&w.f, w.c, true) }, func(w *world) { w.c.Protected = true }},
		{"configure", "", func(w *world) plan.Plan { return plan.Configure(&w.f, "set x", "CONFIG SET", nil) }, nil},
		{"configure with a node down", "engine.up", func(w *world) plan.Plan { return plan.Configure(&w.f, "set x", "CONFIG SET", nil) }, func(w *world) { w.f.Node("d").Seen.Up = false }},
	} {
		w := &world{story(t), made, ready(1)[0]}
		if c.change != nil {
			c.change(w)
		}
		p := c.plan(w)
		if got := codes(p); got != c.want {
			t.Errorf("%s: refused by %q, want %q", c.name, got, c.want)
		}
		if !p.Refused() && (len(p.Steps) == 0 || p.Commits()) {
			t.Errorf("%s: steps %+v", c.name, p.Steps)
		}
	}
}

// TestAdoptPlan: what somebody else manages, or what is not plain replication,
// is not adopted.
func TestAdoptPlan(t *testing.T) {
	look := func() []plan.Looked {
		found := func(role engine.Role, of string, replicas ...string) *engine.Found {
			return &engine.Found{Role: role, ReplicaOf: of, Replicas: replicas, LinkUp: true, History: "h", Mode: "standalone", Version: "7.0.15"}
		}
		return []plan.Looked{{Address: "p:1", Agent: "h", Found: found(engine.RolePrimary, "", "r:1")}, {Address: "r:1", Agent: "h", Found: found(engine.RoleReplica, "p:1")}}
	}
	if p := plan.Adopt("old", look()); p.Refused() || len(p.Adoptees()) != 2 || p.Node != "old-1" || len(p.Steps) != 2 {
		t.Errorf("%s %+v", codes(p), p)
	}
	for want, change := range map[string]func([]plan.Looked){
		"manager.foreign": func(l []plan.Looked) { l[0].Found.Foreign = "1 Sentinel connection listens" },
		"mode.cluster":    func(l []plan.Looked) { l[1].Found.Mode = "cluster" },
		"primary":         func(l []plan.Looked) { l[0].Found.Role, l[0].Found.ReplicaOf = engine.RoleReplica, "x:1" },
		"primary.second":  func(l []plan.Looked) { l[1].Found.Role = engine.RolePrimary },
		"chain":           func(l []plan.Looked) { l[1].Found.Replicas = []string{"q:1"} },
		"link":            func(l []plan.Looked) { l[1].Found.LinkUp = false },
		"history":         func(l []plan.Looked) { l[1].Found.History = "other" },
		"auth":            func(l []plan.Looked) { l[1] = plan.Looked{Address: "r:1", Code: engine.CodeAuth, Why: "login refused"} },
		"unreachable": func(l []plan.Looked) {
			l[0] = plan.Looked{Address: "p:1", Code: engine.CodeUnreachable, Why: "no connection"}
		},
	} {
		l := look()
		change(l)
		if got := codes(plan.Adopt("old", l)); got != want {
			t.Errorf("%s: refused by %q", want, got)
		}
	}
	if got := codes(plan.Adopt("оld", look())); got != "name" { // Cyrillic
		t.Errorf("homoglyph: refused by %q", got)
	}
}

// TestTagsRefuse: tags and maintenance stand in a promotion's way as far as
// they say, and give way only to whom they may.
func TestTagsRefuse(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*plan.Facts)
		over   []string
		refuse bool
	}{
		{"never", func(f *plan.Facts) { f.Node("b").Never = true }, []string{"tags"}, true},
		{"nofailover", func(f *plan.Facts) { f.Node("b").NoFailover = true }, nil, true},
		{"nofailover with a reason", func(f *plan.Facts) { f.Node("b").NoFailover = true }, []string{"tags"}, false},
		{"maintenance", func(f *plan.Facts) { at := f.Now.Add(time.Minute); f.Node("b").Maintenance = &at }, nil, true},
		{"maintenance overridden", func(f *plan.Facts) { at := f.Now.Add(time.Minute); f.Node("b").Maintenance = &at }, []string{"maintenance"}, false},
		{"maintenance that ended", func(f *plan.Facts) { at := f.Now.Add(-time.Minute); f.Node("b").Maintenance = &at }, nil, false},
		{"priority 0", func(f *plan.Facts) { f.Node("b").Priority = 0 }, nil, false},
	} {
		f := story(t)
		c.change(&f)
		if p := plan.Promote(&f, "b", c.over...); p.Refused() != c.refuse {
			t.Errorf("%s: refused %v: %s", c.name, p.Refused(), codes(p))
		}
	}
}
