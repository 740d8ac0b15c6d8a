package plan

import (
	"fmt"
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
	f.Engine = engine.EventStore
	if p := Backup(f, "b-1", "nightly", ""); !p.Refused() {
		t.Error("a backup of an engine that has none")
	}
}
