package mend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const addrA, addrB, addrC = "10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"

// well is a cluster in which c took over from a: a and b follow it.
func well() *Facts {
	f := &Facts{Primary: "c", Generation: 3, Connected: map[string]bool{"A": true, "B": true, "C": true}, Elsewhere: map[string]bool{}, Settled: noon.Add(-time.Minute)}
	f.Snapshot = health.Snapshot{Now: noon, Cluster: "x", Engine: engine.Redis}
	for _, n := range []struct{ name, agent, addr string }{{"a", "A", addrA}, {"b", "B", addrB}, {"c", "C", addrC}} {
		o := &engine.Observation{Up: true, Role: engine.RoleReplica, ReplicaOf: addrC, LinkUp: true, History: "h2", Position: 100,
			HistoryPrevious: "h1", HistoryPreviousEnd: 80, Details: map[string]string{"runId": "run-" + n.name, "keys": "keys=5,expires=0"}}
		f.Nodes = append(f.Nodes, health.Node{Name: n.name, Agent: n.agent, Address: n.addr, Seen: o})
	}
	c := f.Node("c")
	c.Seen.Role, c.Seen.ReplicaOf = engine.RolePrimary, ""
	return f
}

// looks decides as often as is asked, half a second apart, and returns what was
// due last.
func looks(f *Facts, s *State, n int) (out []Correction) {
	for range n {
		f.Now = f.Now.Add(500 * time.Millisecond)
		out = Decide(f, s)
	}
	return out
}

// roles leaves out what is only about files.
func roles(in []Correction) string {
	var out []string
	for _, c := range in {
		if !c.Kind.Moves() {
			continue
		}
		s := fmt.Sprintf("%s %s", c.Kind, c.Node)
		if c.Addr != "" {
			s += " to " + c.Addr
		}
		if c.Keep {
			s += ", saved first"
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// TestRolesThatAreWrong: facts in, corrections out.
func TestRolesThatAreWrong(t *testing.T) {
	astray := func(f *Facts) { f.Node("b").Seen.ReplicaOf = addrA }
	second := func(f *Facts) { f.Node("a").Seen.Role, f.Node("a").Seen.ReplicaOf = engine.RolePrimary, "" }
	lost := func(f *Facts) { f.Node("c").Seen.Role, f.Node("c").Seen.ReplicaOf = engine.RoleReplica, addrA }
	for _, tt := range []struct {
		name string
		set  func(*Facts)
		want string
	}{
		{"all is well", func(*Facts) {}, ""},
		{"a chain", astray, "repoint b to " + addrC},
		{"a replica of a stranger", func(f *Facts) { f.Node("b").Seen.ReplicaOf = "10.9.9.9:1" }, "repoint b to " + addrC},
		{"two astray", func(f *Facts) { astray(f); f.Node("a").Seen.ReplicaOf = addrB }, "repoint a to " + addrC + "; repoint b to " + addrC},
		{"a chain, holding what the primary lacks", func(f *Facts) {
			astray(f)
			f.Node("b").Seen.History, f.Node("b").Seen.Position = "h1", 81
		}, "repoint b to " + addrC + ", saved first"},
		{"a chain, holding no more", func(f *Facts) {
			astray(f)
			f.Node("b").Seen.History, f.Node("b").Seen.Position = "h1", 80
		}, "repoint b to " + addrC},
		{"a second primary", second, "demote a to " + addrC + ", saved first"},
		{"a second primary, and a replica of it", func(f *Facts) { second(f); astray(f) }, "demote a to " + addrC + ", saved first; repoint b to " + addrC},
		{"a second primary that took nothing since", func(f *Facts) {
			second(f)
			f.Node("a").Seen.History, f.Node("a").Seen.Position = "h1", 80
		}, "demote a to " + addrC},
		{"a second primary, under a lease", func(f *Facts) { second(f); f.Leased = true }, ""},
		{"a chain, under a lease", func(f *Facts) { astray(f); f.Leased = true }, "repoint b to " + addrC},
		{"somebody else brings it back", func(f *Facts) { second(f); f.Elsewhere["a"] = true }, ""},
		{"the primary came back as a replica", lost, "promote c"},
		{"the same, with less than another", func(f *Facts) { lost(f); f.Node("b").Seen.Details["keys"] = "keys=6,expires=0" }, ""},
		{"the same, and one does not answer", func(f *Facts) { lost(f); f.Node("b").Seen.Up = false }, ""},
		{"moved by hand", func(f *Facts) { lost(f); second(f) }, ""},
		{"moved by hand, and a chain", func(f *Facts) { lost(f); second(f); astray(f) }, ""},
		{"the primary is down", func(f *Facts) { f.Node("c").Seen.Up = false; astray(f); second(f) }, ""},
		{"the primary was not seen lately", func(f *Facts) { f.Node("c").SeenAge = 6 * time.Second; astray(f) }, ""},
		{"the primary's agent has no link", func(f *Facts) { f.Connected["C"] = false; astray(f); second(f) }, ""},
		{"its own agent has no link", func(f *Facts) { f.Connected["B"] = false; astray(f) }, ""},
		{"it is between roles", func(f *Facts) { f.Node("b").Seen.Role = engine.RoleUnknown; f.Node("b").Seen.ReplicaOf = addrA }, ""},
		{"an operation runs", func(f *Facts) { f.Running = "op"; astray(f); second(f) }, ""},
		{"an operation runs that leaves roles alone", func(f *Facts) { f.Running, f.Yields = "op", true; astray(f); second(f) }, "demote a to " + addrC + ", saved first"},
		{"maintenance of the cluster", func(f *Facts) { f.Maintenance = true; astray(f); second(f) }, ""},
		{"maintenance of the node", func(f *Facts) {
			later := noon.Add(time.Hour)
			f.Node("b").Maintenance = &later
			astray(f)
			second(f)
		}, "demote a to " + addrC + ", saved first"},
		{"no operation named the primary", func(f *Facts) { f.Generation = 0; astray(f); second(f) }, ""},
		{"the primary is no member any more", func(f *Facts) { f.Primary = "z"; astray(f) }, ""},
		{"only seen while the operation ran", func(f *Facts) { f.Settled = noon.Add(time.Hour); astray(f); second(f) }, ""},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			f := well()
			tt.set(f)
			var s State
			first := roles(looks(f, &s, 1))
			if strings.Contains(first, "demote") || strings.Contains(first, "promote") {
				t.Errorf("at one look: %s", first)
			}
			again := roles(looks(f, &s, 1))
			got := []string{}
			for _, part := range append(strings.Split(first, "; "), strings.Split(again, "; ")...) {
				if part != "" {
					got = append(got, part)
				}
			}
			slices.SortFunc(got, func(a, b string) int { return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) })
			if strings.Join(got, "; ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestNobodyIsPromotedBesideAPrimary: whatever is seen, the only promotion is
// of the primary on record where no node says that it is one.
func TestNobodyIsPromotedBesideAPrimary(t *testing.T) {
	choices := []func(*engine.Observation){
		func(o *engine.Observation) { o.Role, o.ReplicaOf = engine.RolePrimary, "" },
		func(o *engine.Observation) { o.Role, o.ReplicaOf = engine.RoleReplica, addrA },
		func(o *engine.Observation) { o.Role, o.ReplicaOf = engine.RoleReplica, addrB },
		func(o *engine.Observation) { o.Role, o.ReplicaOf = engine.RoleReplica, addrC },
		func(o *engine.Observation) { o.Up = false },
		func(o *engine.Observation) { o.Role = engine.RoleUnknown },
	}
	n := len(choices)
	for i := range n * n * n {
		f := well()
		for k, name := range []string{"a", "b", "c"} {
			choices[[]int{i % n, i / n % n, i / n / n}[k]](f.Node(name).Seen)
		}
		var s State
		for range 3 {
			for _, c := range looks(f, &s, 1) {
				if c.Kind == Promote && (c.Node != "c" || len(f.Primaries()) > 0) {
					t.Fatalf("%+v with primaries %+v", c, f.Primaries())
				}
				if (c.Kind == Demote || c.Kind == Repoint) && (c.Node == "c" || c.Addr != addrC || f.Node("c").Role() != engine.RolePrimary) {
					t.Fatalf("%+v and c is %s", c, f.Node("c").Role())
				}
			}
		}
	}
}

// TestTriesAreSpaced: what does not help is tried again after two seconds, then
// four, at last twice a minute; a new run of the server begins anew.
func TestTriesAreSpaced(t *testing.T) {
	f := well()
	f.Node("b").Seen.ReplicaOf = addrA
	var s State
	var at []int
	for i := range 600 { // half a second each
		for _, c := range looks(f, &s, 1) {
			if c.Kind == Repoint {
				at = append(at, i/2)
			}
			s.Ended(c, c.Kind == Persist, f.Now)
		}
	}
	if want := []int{0, 2, 6, 14, 30, 60, 90, 120, 150, 180, 210, 240, 270}; !slices.Equal(at, want) {
		t.Errorf("tried at %v s, want %v", at, want)
	}
	f.Node("b").Seen.Details = map[string]string{"runId": "another"}
	if got := roles(looks(f, &s, 1)); got != "repoint b to "+addrC {
		t.Errorf("started anew: %q", got)
	}
}

// TestNothingIsOrderedTwiceAtOnce: a node that something was ordered of is left
// alone until that has ended.
func TestNothingIsOrderedTwiceAtOnce(t *testing.T) {
	f := well()
	f.Node("b").Seen.ReplicaOf = addrA
	var s State
	first := looks(f, &s, 1)
	if roles(first) == "" || roles(looks(f, &s, 20)) != "" {
		t.Error("ordered again while it runs")
	}
}

// files are the nodes whose file is to be written, and marks that as done.
func files(f *Facts, s *State) (out []string) {
	for _, c := range looks(f, s, 1) {
		if c.Kind == Persist {
			out = append(out, c.Node)
		}
		s.Ended(c, true, f.Now)
	}
	return out
}

// TestFilesAreWritten: every right role is written to its server's file once
// for each run and generation, not where it is wrong, and not again where the
// operation did it.
func TestFilesAreWritten(t *testing.T) {
	f := well()
	var s State
	if got := files(f, &s); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("at first %v", got)
	}
	if got := files(f, &s); got != nil {
		t.Errorf("again %v", got)
	}
	f.Node("a").Seen.Details["runId"] = "another"
	if got := files(f, &s); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after a restart %v", got)
	}
	f.Generation++
	f.Written = map[string]bool{"a": true, "c": true}
	if got := files(f, &s); !slices.Equal(got, []string{"b"}) {
		t.Errorf("after an operation that did not reach b %v", got)
	}
	f.Node("b").Seen.ReplicaOf = addrA
	if got := files(f, &s); got != nil {
		t.Errorf("a wrong role is written: %v", got)
	}
	f.Node("b").Seen.ReplicaOf = addrC // it was corrected meanwhile
	if got := files(f, &s); !slices.Equal(got, []string{"b"}) {
		t.Errorf("after its role was corrected %v", got)
	}
	f.Generation++
	f.Written = map[string]bool{"a": true, "b": true, "c": true}
	f.Node("c").Seen.Details["runId"] = "crashed and back"
	if got := files(f, &s); !slices.Equal(got, []string{"c"}) {
		t.Errorf("restarted since the operation wrote it: %v", got)
	}
}
