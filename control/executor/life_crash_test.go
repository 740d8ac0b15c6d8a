package executor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// noSeal seals nothing: these tests have no secrets.
type noSeal struct{}

func (noSeal) Seal(plain []byte, _ string) string    { return string(plain) }
func (noSeal) Open(sealed, _ string) ([]byte, error) { return []byte(sealed), nil }
func madeSpec(w *world) (s inventory.Spec) {
	s = inventory.Spec{ID: "c", Name: "c", Engine: engine.Redis, Primary: "a", Made: &inventory.Made{Version: "7.0.15", Login: engine.LoginUser}}
	for _, n := range []string{"a", "b", "s"} {
		s.Members = append(s.Members, inventory.Member{Name: n, Address: w.nodes[n].addr, Priority: 100})
	}
	return s
}

// lives makes the fake world take the orders of a cluster's life. broken
// refuses to start a server.
func (w *world) lives(broken bool) {
	w.life = func(id string, o agent.Order) (agent.Result, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if f := (agent.Fence{Generation: o.Generation, Term: o.Term}); o.Cluster != "" {
			for _, n := range w.nodes {
				if f.Less(n.fence) {
					return agent.Result{Code: agent.CodeStale}, true
				}
			}
		}
		node := o.Action.Arg("node")
		switch o.Action.Name {
		case agent.ActionSurvey:
			taken := ""
			if w.nodes[node] != nil {
				taken = "it is here already"
			}
			return agent.Result{Values: map[string]string{"host": "127.0.0.1", "port": "7100", "version": "7.0.15", "taken": taken}}, true
		case agent.ActionMakeServer:
			var s engine.NewServer
			if err := json.Unmarshal([]byte(o.Action.Arg("server")), &s); err != nil {
				w.t.Error(err)
			}
			if broken {
				w.things["files/"+s.Node] = true // it had begun
				return refused(engine.CodeFailed, "it ends at once"), true
			}
			if w.nodes[s.Node] == nil {
				w.nodes[s.Node] = &fakeNode{name: s.Node, addr: fmt.Sprintf("%s:%d", s.Host, s.Port), up: true, linked: true, role: engine.RoleReplica, of: s.ReplicaOf}
			}
			return agent.Result{}, true
		case agent.ActionDropServer:
			delete(w.nodes, node)
			delete(w.things, "files/"+node)
			return agent.Result{}, true
		case agent.ActionPeers:
			return agent.Result{}, true
		}
		return agent.Result{}, false
	}
}

// TestLifeKilledAtEveryMoment kills the control plane at every moment of each
// operation of a cluster's life and demands of the next one: done or taken
// back, inventory and servers agree, the audit is closed, writes go on.
func TestLifeKilledAtEveryMoment(t *testing.T) {
	ann := audit.Who{Name: "ann", Role: "admin"}
	for name, c := range map[string]struct {
		broken bool
		begin  func(p *plane) (string, error)
		want   operation.State
		nodes  string // members and servers afterwards
	}{
		"add": {false, func(p *plane) (string, error) {
			return p.exec.AddNode(p.ctx, RequestNode{Cluster: "c", Node: plan.NewNode{Name: "x", Agent: "agent-x", Priority: 100}, Who: ann})
		}, operation.StateDone, "a b s x"},
		"add_fails": {true, func(p *plane) (string, error) {
			return p.exec.AddNode(p.ctx, RequestNode{Cluster: "c", Node: plan.NewNode{Name: "x", Agent: "agent-x", Priority: 100}, Who: ann})
		}, operation.StateRolledBack, "a b s"},
		"remove": {false, func(p *plane) (string, error) {
			return p.exec.RemoveNode(p.ctx, RequestNode{Cluster: "c", Node: plan.NewNode{Name: "s"}, TypedName: "s", Who: ann})
		}, operation.StateDone, "a b"},
		"user": {false, func(p *plane) (string, error) {
			id, _, err := p.exec.PutUser(p.ctx, "c", "bob", engine.AccessRead, false, ann)
			return id, err
		}, operation.StateDone, "a b s"},
		"delete": {false, func(p *plane) (string, error) {
			return p.exec.Delete(p.ctx, RequestNode{Cluster: "c", TypedName: "c", Wipe: true, Who: ann})
		}, operation.StateDone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, states := 1, map[operation.State]int{}
			for ; at < 200; at++ {
				state, reached := lifeKilledAt(t, at, c.broken, c.begin, c.want, c.nodes)
				states[state]++
				if !reached || t.Failed() {
					break
				}
			}
			t.Logf("%d moments: %v", at-1, states)
			if states[c.want] < 5 {
				t.Errorf("only %v", states)
			}
		})
	}
}

func lifeKilledAt(t *testing.T, at int, broken bool, begin func(*plane) (string, error), want operation.State, nodes string) (operation.State, bool) {
	w := newWorld(t, "a", "b", "s")
	w.lives(broken)
	j := journal.NewMemory(time.Now)
	prepare := func(p *plane) { p.exec.Secrets = noSeal{} }
	p := startWith(t, w, j, prepare)
	if err := p.inv.Register(p.ctx, madeSpec(w)); err != nil {
		t.Fatal(err)
	}
	if err := p.inv.PutSettings(p.ctx, "c", inventory.Settings{Secrets: map[string]string{inventory.SecretLogin: "x"}}, audit.Who{}, "kept a password", -1); err != nil {
		t.Fatal(err)
	}
	k := &killer{at: at, kill: p.cancel}
	w.before = func(o agent.Order) error { return k.moment("before order " + o.Action.Name) }
	w.after = func(o agent.Order) error { return k.moment("after order " + o.Action.Name) }
	j.Before = func(_ string, e []journal.Event) error { return k.moment(fmt.Sprint("before append of ", kinds(e))) }
	j.After = func(_ string, e []journal.Event) error { return k.moment(fmt.Sprint("after append of ", kinds(e))) }
	if _, err := begin(p); err == nil {
		p.exec.wgWait(t)
	}
	p.stop()
	w.before, w.after, j.Before, j.After = nil, nil, nil, nil
	p = startWith(t, w, j, prepare)
	p.exec.wgWait(t)
	state, there := operation.StateNone, "a b s"
	for _, o := range p.inv.OperationsSince(0) {
		state = p.end(t, o.Operation).State
		audits(t, p, 2)
		if o.Generation != 0 {
			t.Errorf("moment %d (%s): generation %d", at, k.where, o.Generation)
		}
	}
	if state != operation.StateNone {
		there = nodes
		if state != want {
			t.Errorf("moment %d (%s): ended %s", at, k.where, state)
		}
	}
	var servers, members []string
	w.mu.Lock()
	for n := range w.nodes {
		servers = append(servers, n)
	}
	left := w.things["files/x"]
	w.mu.Unlock()
	c, _ := p.inv.Cluster("c")
	for _, m := range c.Members {
		members = append(members, m.Name)
	}
	slices.Sort(servers)
	slices.Sort(members)
	if got := strings.Join(servers, " "); got != there || strings.Join(members, " ") != there || left {
		t.Errorf("moment %d (%s): ended %q with servers %q and members %q, want %q; files left %v", at, k.where, state, got, members, there, left)
	}
	if there != "" {
		w.mustHold(t)
	}
	if strings.Contains(there, "b") && state == operation.StateDone && strings.Join(members, " ") == "a b s" && len(c.Users) == 1 {
		for _, n := range members {
			if !w.things[n+"/bob"] {
				t.Errorf("moment %d (%s): %s has no user bob", at, k.where, n)
			}
		}
	}
	return state, k.where != ""
}
