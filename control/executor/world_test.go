package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/health"
	"baton/control/plan"
)

// fakeNode is one server of asynchronous replication: data are the ids of the
// writes it holds, in order; its position is their number.
type fakeNode struct {
	name, addr  string
	up          bool // the engine answers
	linked      bool // the agent has a link
	frozen      bool // takes no replication
	leaks       bool // a writer that the pause does not hold
	dies        bool // right after it takes its next promotion, and a write
	role        engine.Role
	of          string
	data        []int64
	replid      string
	pausedUntil time.Time
	kept        []int64 // what was saved before another role
	fullSyncs   int     // served
	persisted   engine.Role
	held        bool
	fence       agent.Fence
}

// world is a cluster of fake servers with one writer that never stops, and
// the agents beside them.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	nodes map[string]*fakeNode
	acked []int64 // ids acknowledged to the writer
	next  int64
	ids   int
	// lag is how many rounds of writes pass between two of replication.
	lag, rounds int
	// before and after each order; an error from before keeps it from
	// reaching the agent, one from after loses the answer.
	before, after func(o agent.Order) error
	onOrder       func(w *world, o agent.Order) // with the lock held, before the effect
	seen          []string
	probeFrom     int
	probing       bool
	stop          chan struct{}
	wg            sync.WaitGroup
	eng           string
	term          uint64
	things        map[string]bool // made by makeThing, by agent and name
	// life serves agents' own orders in the life of a cluster; handled is false
	// for others.
	life func(id string, o agent.Order) (r agent.Result, handled bool)
}

// Actions of an agent in the fake world, for operations of any kind. They make
// and drop a thing of a name, and may be repeated.
const (
	makeThing = "make-thing"
	dropThing = "drop-thing"
)

func newWorld(t *testing.T, names ...string) *world {
	w := &world{t: t, nodes: map[string]*fakeNode{}, stop: make(chan struct{}), eng: engine.Redis, things: map[string]bool{}}
	for i, n := range names {
		f := &fakeNode{name: n, addr: fmt.Sprintf("127.0.0.1:%d", 7000+i), up: true, linked: true, role: engine.RoleReplica,
			of: "127.0.0.1:7000", replid: "r0", persisted: engine.RoleReplica}
		if i == 0 {
			f.role, f.of, f.persisted = engine.RolePrimary, "", engine.RolePrimary
		}
		w.nodes[n] = f
	}
	w.wg.Add(1)
	go w.live()
	w.soon(func() bool { return len(w.acked) > 20 })
	t.Cleanup(func() { close(w.stop); w.wg.Wait() })
	return w
}

// pausesEnd is the moment at which pauses have ended by themselves.
func (w *world) pausesEnd() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		n.pausedUntil = time.Time{}
	}
}

// live writes and replicates, ten thousand rounds a second.
func (w *world) live() {
	defer w.wg.Done()
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		w.write()
		if w.rounds++; w.rounds > w.lag {
			w.rounds = 0
			w.replicate()
		}
		w.mu.Unlock()
	}
}

// write is a client that asks every node for its role and writes to whichever
// says it is primary: with two of them it would write to both.
func (w *world) write() {
	for _, n := range w.nodes {
		if n.up && n.role == engine.RolePrimary && (n.leaks || time.Now().After(n.pausedUntil)) {
			w.next++
			n.data = append(n.data, w.next)
			w.acked = append(w.acked, w.next)
		}
	}
}

func (w *world) replicate() {
	for _, n := range w.nodes {
		if !n.up || n.frozen || n.role == engine.RolePrimary {
			continue
		}
		m := w.at(n.of)
		if m == nil || m == n || !w.serves(m) {
			continue
		}
		if len(n.data) > len(m.data) || len(n.data) > 0 && m.data[len(n.data)-1] != n.data[len(n.data)-1] {
			n.data = slices.Clone(m.data) // another history: everything anew
			m.fullSyncs++
		}
		n.data = append(n.data, m.data[len(n.data):]...)
		n.replid = m.replid
	}
}

// serves tells whether replicas can follow m: a replica without a link to a
// primary refuses them.
func (w *world) serves(m *fakeNode) bool {
	for range w.nodes {
		if m == nil || !m.up {
			return false
		}
		if m.role == engine.RolePrimary {
			return true
		}
		m = w.at(m.of)
	}
	return false
}

func (w *world) at(addr string) *fakeNode {
	for _, n := range w.nodes {
		if n.addr == addr {
			return n
		}
	}
	return nil
}

// Locate implements Agents: the agent of a node bears its name.
func (w *world) Locate(_, node string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.nodes[node]
	return "agent-" + node, ok
}

// Order implements Agents.
func (w *world) Order(ctx context.Context, id string, o agent.Order) (agent.Result, error) {
	if err := ctx.Err(); err != nil {
		return agent.Result{}, fmt.Errorf("%w: %w", agent.ErrNotConnected, err)
	}
	if w.before != nil {
		if err := w.before(o); err != nil {
			return agent.Result{}, fmt.Errorf("%w: %w", agent.ErrOutcomeUnknown, err)
		}
	}
	if w.life != nil && o.Node == "" {
		if res, handled := w.life(id, o); handled {
			if w.after != nil {
				if err := w.after(o); err != nil {
					return agent.Result{}, fmt.Errorf("%w: %w", agent.ErrOutcomeUnknown, err)
				}
			}
			return res, nil
		}
	}
	w.mu.Lock()
	n := w.nodes[o.Node]
	if o.Node == "" { // for the agent itself
		n = w.nodes[strings.TrimPrefix(id, "agent-")]
	}
	w.seen = append(w.seen, o.Action.Name+" "+o.Node)
	if w.onOrder != nil {
		w.onOrder(w, o)
	}
	if !n.linked {
		w.mu.Unlock()
		return agent.Result{}, agent.ErrNotConnected
	}
	f := agent.Fence{Generation: o.Generation, Term: o.Term}
	if f.Less(n.fence) {
		w.mu.Unlock()
		return agent.Result{Code: agent.CodeStale, Detail: "a newer generation was seen"}, nil
	}
	n.fence = f
	w.mu.Unlock()
	res := w.act(n, o)
	if w.after != nil {
		if err := w.after(o); err != nil {
			return agent.Result{}, fmt.Errorf("%w: %w", agent.ErrOutcomeUnknown, err)
		}
	}
	return res, nil
}

func refused(code, format string, args ...any) agent.Result {
	return agent.Result{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// until polls a condition under the lock, as a driver polls its engine, for a tenth of the time.
func (w *world) until(ms string, cond func() bool) bool {
	return w.within(time.Duration(atoi(ms))*time.Millisecond/10, cond)
}

// soon waits for what comes by itself; on a machine that stands still that may take long.
func (w *world) soon(cond func() bool) bool { return w.within(time.Minute, cond) }

func (w *world) within(limit time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		w.mu.Lock()
		ok := cond()
		w.mu.Unlock()
		if ok || time.Now().After(deadline) {
			return ok
		}
		<-tick.C
	}
}

func (w *world) act(n *fakeNode, o agent.Order) agent.Result {
	a := o.Action
	if a.Name == agent.ActionProcessStop {
		w.mu.Lock()
		defer w.mu.Unlock()
		n.up, n.held = false, true
		return agent.Result{}
	}
	if a.Name == agent.ActionProcessResume {
		w.mu.Lock()
		defer w.mu.Unlock()
		var args []string
		if a.Arg("args") == "[]" { // in the role its file holds
			n.up, n.held = true, false
			return agent.Result{}
		}
		if err := json.Unmarshal([]byte(a.Arg("args")), &args); err != nil || len(args) != 3 || args[0] != "--replicaof" {
			return refused(engine.CodeBadAction, "args %s", a.Arg("args"))
		}
		n.up, n.held, n.role, n.of = true, false, engine.RoleReplica, args[1]+":"+args[2]
		return agent.Result{}
	}
	if a.Name == makeThing || a.Name == dropThing {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.things[n.name+"/"+a.Arg("thing")] = a.Name == makeThing
		return agent.Result{}
	}
	w.mu.Lock()
	up := n.up
	w.mu.Unlock()
	if !up && a.Name != engine.ProbeStop {
		return refused(engine.CodeUnreachable, "%s does not answer", n.name)
	}
	switch a.Name {
	case engine.WaitOffset:
		want, _ := strconv.Atoi(a.Arg("offset"))
		if !w.until(strconv.Itoa(10*atoi(a.Arg("deadlineMs"))), func() bool { return n.replid == a.Arg("replid") && len(n.data) == want }) {
			return refused(engine.CodeTimeout, "%s did not reach %d", n.name, want)
		}
		return agent.Result{Values: map[string]string{"waitedMs": "0"}}
	case engine.VerifyRole:
		ok := w.until(a.Arg("waitMs"), func() bool {
			return n.up && string(n.role) == a.Arg("role") && (a.Arg("addr") == "" || n.of == a.Arg("addr"))
		})
		w.mu.Lock()
		defer w.mu.Unlock()
		if !ok {
			return refused(engine.CodeRefused, "%s is %s of %q", n.name, n.role, n.of)
		}
		return agent.Result{Values: map[string]string{"role": string(n.role), "syncFull": strconv.Itoa(n.fullSyncs)}}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch a.Name {
	case engine.PauseWrites:
		end := time.Now().Add(time.Duration(atoi(a.Arg("ms"))) * time.Millisecond)
		if end.After(n.pausedUntil) {
			n.pausedUntil = end
		}
	case agent.ActionKeepData:
		n.kept = slices.Clone(n.data)
		return agent.Result{Values: map[string]string{"bundle": "/lost-writes-" + n.name}}
	case engine.UnpauseWrites:
		n.pausedUntil = time.Time{}
	case engine.ReadOffset:
		return agent.Result{Values: map[string]string{"offset": strconv.Itoa(len(n.data)), "replid": n.replid, "role": string(n.role),
			"stable": strconv.FormatBool(!n.leaks)}}
	case engine.Demote, engine.Repoint:
		if id := a.Arg("ifReplid"); id != "" && n.role == engine.RolePrimary && (id != n.replid || atoi(a.Arg("ifOffset")) != len(n.data)) {
			return refused(engine.CodeHistory, "%s is elsewhere", n.name)
		}
		n.role, n.of = engine.RoleReplica, a.Arg("addr")
	case engine.Promote:
		if h := a.Arg("history"); h != "" && (n.role == engine.RoleReplica && n.replid != h || len(n.data) < atoi(a.Arg("offset"))) {
			return refused(engine.CodeHistory, "%s is in history %s at %d", n.name, n.replid, len(n.data))
		}
		if n.role != engine.RolePrimary {
			w.ids++
			n.role, n.of, n.replid = engine.RolePrimary, "", fmt.Sprintf("r%d", w.ids)
		}
		if n.dies {
			w.write()
			n.dies, n.up = false, false
			return refused(engine.CodeUnknown, "%s did not answer", n.name)
		}
		return agent.Result{Values: map[string]string{"offset": strconv.Itoa(len(n.data)), "syncFull": strconv.Itoa(n.fullSyncs)}}
	case engine.Persist:
		n.persisted = n.role
	case engine.KickClients:
		return agent.Result{Values: map[string]string{"kicked": "1"}}
	case engine.ProbeStart:
		w.probeFrom, w.probing = max(0, len(w.acked)-1), true // the first acknowledged write is its own
	case engine.ProbeStop:
		w.probing = false
		return agent.Result{Values: w.probeReport()}
	case engine.VerifyLeader:
		if p := w.primary(); p == nil || p.name != a.Arg("node") {
			return refused(engine.CodeRefused, "%v leads", p)
		}
		return agent.Result{Values: map[string]string{"leader": a.Arg("node"), "term": strconv.FormatUint(w.term, 10)}}
	case engine.PromoteClone:
		w.nodes[a.Arg("node")].role = engine.RoleReplica
	case engine.Transfer:
		to := w.nodes[a.Arg("to")]
		if !to.up || to.frozen || to.role == engine.RoleClone {
			return refused(engine.CodeTimeout, "%s did not win", to.name)
		}
		for _, m := range w.nodes {
			if m.role == engine.RolePrimary {
				to.data = slices.Clone(m.data) // an election needs a complete log
				m.role, m.of = engine.RoleReplica, to.addr
			}
		}
		for _, m := range w.nodes {
			m.of = to.addr
		}
		to.role, to.of = engine.RolePrimary, ""
		w.term++
		return agent.Result{Values: map[string]string{"leader": to.name, "term": strconv.FormatUint(w.term, 10), "tookMs": "3.5"}}
	case engine.CheckAuth:
		if m := w.at(a.Arg("addr")); m != nil && !m.up {
			return refused(engine.CodeUnreachable, "%s does not answer from this host", m.addr)
		}
	case engine.ProbeWrite, engine.ProbeRead, engine.Configure:
	case engine.SetUser, engine.DropUser:
		w.things[n.name+"/"+a.Arg("name")] = a.Name == engine.SetUser
	case engine.ReadSync:
		return agent.Result{Values: map[string]string{"role": string(n.role), "link": "up", "replid": n.replid, "offset": strconv.Itoa(len(n.data)), "syncFull": strconv.Itoa(n.fullSyncs)}}
	default:
		return refused(engine.CodeBadAction, "no action %q", a.Name)
	}
	return agent.Result{}
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }

func (w *world) primary() *fakeNode {
	for _, n := range w.nodes {
		if n.up && n.role == engine.RolePrimary {
			return n
		}
	}
	return nil
}

func (w *world) probeReport() map[string]string {
	have := map[int64]bool{}
	if p := w.primary(); p != nil {
		for _, id := range p.data {
			have[id] = true
		}
	}
	acked, found := 0, 0
	for _, id := range w.acked[min(w.probeFrom, len(w.acked)):] {
		acked++
		if have[id] {
			found++
		}
	}
	return map[string]string{"acked": strconv.Itoa(acked), "readBack": strconv.Itoa(found), "lost": strconv.Itoa(acked - found),
		"longestGapMs": "4.2", "complete": "true"}
}

// Facts implements Facts with everything well.
func (w *world) facts(running string, generation uint64) plan.Facts {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := plan.Facts{Generation: generation, JournalOK: true, Connected: map[string]bool{}, Running: running}
	f.Snapshot = health.Snapshot{Now: time.Now(), Cluster: "c", Engine: w.eng}
	yes, no, ms, zero := true, false, 0.5, int64(0)
	for _, n := range w.nodes {
		reach := map[string]engine.Reach{}
		for _, m := range w.nodes {
			reach[m.addr] = engine.Reach{OK: true, RTTMs: 0.2}
		}
		f.Connected["agent-"+n.name] = n.linked
		f.Nodes = append(f.Nodes, health.Node{Name: n.name, Agent: "agent-" + n.name, Address: n.addr, Priority: 100, LastRole: n.role,
			Process: &engine.ProcessState{Name: "p-" + n.name, State: map[bool]string{true: "stopped", false: "running"}[n.held]},
			Seen: &engine.Observation{Up: n.up, Role: n.role, ReplicaOf: n.of, History: "h", LinkUp: true, EngineVersion: "7.0.15", Term: w.term,
				Details: map[string]string{"keys": fmt.Sprintf("keys=%d,expires=0", len(n.data))},
				Facts:   engine.Facts{QueryMs: &ms, Loading: &no, PersistOK: &yes, FailoverRunning: &no, DataSaving: &no, SyncNeeded: &zero, Reach: reach}}})
	}
	slices.SortFunc(f.Nodes, func(a, b health.Node) int { return cmpString(a.Name, b.Name) })
	return f
}

func cmpString(a, b string) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

// check asserts what must hold when an operation is over: one primary, every
// other node that is up follows it, nothing acknowledged is missing, writes go
// on.
func (w *world) check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var p *fakeNode
	for _, n := range w.nodes {
		if n.up && n.role == engine.RolePrimary {
			if p != nil {
				return fmt.Errorf("two primaries: %s and %s", p.name, n.name)
			}
			p = n
		}
	}
	if p == nil {
		return fmt.Errorf("no primary")
	}
	have := map[int64]bool{}
	for _, id := range p.data {
		have[id] = true
	}
	for _, id := range w.acked {
		if !have[id] {
			return fmt.Errorf("write %d was acknowledged and is not on %s", id, p.name)
		}
	}
	for _, n := range w.nodes {
		if n.up && n != p && n.of != p.addr {
			return fmt.Errorf("%s follows %q, not %s", n.name, n.of, p.name)
		}
	}
	return nil
}
