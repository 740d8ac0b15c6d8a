package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// backupFacts is a primary p and replicas a, b, each changed by edit.
func backupFacts(edit func(n *health.Node)) *Facts {
	f := &Facts{}
	f.Cluster, f.Engine, f.Now = "c", engine.Redis, time.Unix(1000, 0)
	for _, name := range []string{"a", "b", "p"} {
		n := health.Node{Name: name, Seen: &engine.Observation{Up: true, Role: engine.RoleReplica, LinkUp: true}, Host: &engine.HostFacts{Cores: 4, Load1: 1}}
		if name == "p" {
			n.Seen.Role = engine.RolePrimary
		}
		if edit != nil {
			edit(&n)
		}
		f.Nodes = append(f.Nodes, n)
	}
	return f
}

// Goal: the best replica is chosen, the primary only when it is alone, and a
// node that must not be used never. Method: one change of the facts each.
func TestBackupIsTakenOnTheBestNode(t *testing.T) {
	on := func(names string, f func(n *health.Node)) func(n *health.Node) {
		return func(n *health.Node) {
			for _, r := range names {
				if n.Name == string(r) {
					f(n)
				}
			}
		}
	}
	later := time.Unix(2000, 0)
	loading := true
	for _, c := range []struct {
		name, wanted, want string
		edit               func(n *health.Node)
	}{
		{"by name when all else is equal", "", "a", nil},
		{"the furthest", "", "b", on("a", func(n *health.Node) { n.Seen.LagBytes = 100 })},
		{"the least loaded", "", "b", on("a", func(n *health.Node) { n.Host.Load1 = 8 })},
		{"data before load", "", "a", func(n *health.Node) {
			if n.Name == "a" {
				n.Host.Load1 = 8
			} else {
				n.Seen.LagBytes = 1
			}
		}},
		{"not one tagged nobackup", "", "b", on("a", func(n *health.Node) { n.NoBackup = true })},
		{"not one in maintenance", "", "b", on("a", func(n *health.Node) { n.Maintenance = &later })},
		{"not one that is down", "", "b", on("a", func(n *health.Node) { n.Seen.Up = false })},
		{"not one whose link is down", "", "b", on("a", func(n *health.Node) { n.Seen.LinkUp = false })},
		{"not one that loads", "", "b", on("a", func(n *health.Node) { n.Seen.Facts.Loading = &loading })},
		{"not one 100 MiB behind", "", "b", on("a", func(n *health.Node) { n.Seen.LagBytes = 100 << 20 })},
		{"the primary when it is alone", "", "p", on("ab", func(n *health.Node) { n.Seen.Up = false })},
		{"never a tagged primary", "", "", on("abp", func(n *health.Node) { n.NoBackup = true })},
		{"the one asked for", "b", "b", nil},
		{"the primary when it is asked for", "p", "p", nil},
		{"not the one asked for when it is tagged", "b", "", on("b", func(n *health.Node) { n.NoBackup = true })},
		{"not one that does not exist", "x", "", nil},
	} {
		node, why, refusals := BackupNode(backupFacts(c.edit), c.wanted)
		if node != c.want || (node == "") == (len(refusals) == 0) || node != "" && why == "" {
			t.Errorf("%s: %q because %q, refusals %v; want %q", c.name, node, why, refusals, c.want)
		}
	}
}

func TestBackupPlanHasOnePointOfNoReturn(t *testing.T) {
	p := Backup(backupFacts(nil), "b-1", "nightly", "")
	points := 0
	for _, s := range p.Steps {
		if s.PointOfNoReturn {
			points++
		}
		if s.Title == "" || s.Undo == "" || s.Timeout == 0 {
			t.Errorf("step %+v says too little", s)
		}
	}
	if p.Refused() || points != 1 || p.Commits() || fmt.Sprint(p.Args) != "map[backup:b-1 target:nightly]" {
		t.Errorf("%d points of no return, refusals %v, args %v", points, p.Refusals, p.Args)
	}
	f := backupFacts(nil)
	f.Engine = "another"
	if p := Backup(f, "b-1", "nightly", ""); !p.Refused() {
		t.Error("a backup of an engine that has none")
	}
}

// Goal: of an event store a clone is read before a follower and a follower before the leader, however far they are, unless
// they are tagged or not in step; the words are the engine's own.
func TestBackupOfAnEventStoreSparesTheLeader(t *testing.T) {
	for _, c := range []struct {
		name, want, why string
		edit            func(n *health.Node)
	}{
		{"a clone", "b", "the only clone", func(n *health.Node) { n.Seen.LagBytes = map[string]int64{"a": 0, "b": 500}[n.Name] }},
		{"a follower while the clone is tagged", "a", "the only follower", func(n *health.Node) { n.NoBackup = n.Name == "b" }},
		{"a follower while the clone is not in step", "a", "the only follower", func(n *health.Node) { n.Seen.LinkUp = n.Name != "b" }},
		{"the leader when it is alone", "p", "no follower can be backed up, so it is taken on the leader", func(n *health.Node) { n.Seen.Up = n.Name == "p" }},
		{"nobody", "", "", func(n *health.Node) { n.Seen.Up = false }},
	} {
		f := backupFacts(func(n *health.Node) {
			if n.Name == "b" {
				n.Seen.Role = engine.RoleClone
			}
			c.edit(n)
		})
		f.Engine = engine.EventStore
		node, why, refusals := BackupNode(f, "")
		if node != c.want || !strings.Contains(why, c.why) || (node == "") != (len(refusals) > 0) {
			t.Errorf("%s: %q because %q, refusals %v; want %q", c.name, node, why, refusals, c.want)
		}
		if p := Backup(f, "b-1", "nightly", ""); p.Refused() != (c.want == "") || p.Args["primary"] != map[bool]string{true: "true"}[c.want == "p"] {
			t.Errorf("%s: refusals %v, args %v", c.name, p.Refusals, p.Args)
		}
	}
}

// Goal: an event store is restored beside, with what it is told; in place it is refused with the reason and the way.
func TestEventStoreIsRestoredBesideOnly(t *testing.T) {
	f := backupFacts(nil)
	f.Engine = engine.EventStore
	p := RestoreInPlace(f, "b-1", "nightly", "b-2")
	if len(p.Refusals) != 1 || !strings.Contains(p.Refusals[0].Detail, "positions") || !strings.Contains(p.Refusals[0].Fix, "baton restore c b-1 --beside NAME") {
		t.Errorf("in place: %+v", p.Refusals)
	}
	can := map[string]Capability{}
	for _, k := range Capabilities(engine.EventStore, ClusterFacts{}) {
		can[k.Action] = k
	}
	if !can[CanBackup].OK || can[CanRestoreInPlace].OK || !strings.Contains(can[CanRestoreInPlace].Why, "positions") {
		t.Errorf("capabilities %+v", can)
	}
	node := NewNode{Name: "new-1", Agent: "agent-1", Priority: 100}
	good := Survey{Agent: "agent-1", Connected: true, Host: "10.0.0.1", Port: 6380, Version: "1", MemoryFree: -1, DiskFree: -1}
	p = RestoreStore("new", node, good, "c", "b-1", "nightly", true)
	if p.Refused() || p.Node != "new-1" || p.Addresses["new-1"] != "10.0.0.1:6380" || p.Arg(ArgOf) != "c" || p.Arg(ArgInsecure) != "true" || p.Nodes()[0].Port != 6380 || p.Commits() {
		t.Errorf("plan %+v", p)
	}
	for name, edit := range map[string]func(name *string, s *Survey){
		"an agent that is away":      func(_ *string, s *Survey) { s.Connected = false },
		"an agent without a program": func(_ *string, s *Survey) { s.Version = "" },
		"a name that is taken there": func(_ *string, s *Survey) { s.Taken = "a server new--new-1 is here already" },
		"no name":                    func(name *string, _ *Survey) { *name = "N!" },
	} {
		cluster, s := "new", good
		edit(&cluster, &s)
		if p := RestoreStore(cluster, node, s, "c", "b-1", "nightly", false); !p.Refused() || p.Refusals[0].Fix == "" {
			t.Errorf("%s: %+v", name, p.Refusals)
		}
	}
}
