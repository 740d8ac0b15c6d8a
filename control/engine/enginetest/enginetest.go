// Package enginetest is the suite every engine driver passes, against real
// servers. A driver's own test starts a cluster, describes how a planned switch
// of its engine goes in terms of actions, and calls Run.
package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/engine"
)

// Step is one action on one instance, as it was done during a switch.
type Step struct {
	Instance engine.Instance
	Action   engine.Action
}

// Cluster is a running cluster under test.
type Cluster struct {
	// Instances, of which Instances[0] is primary when the cluster is handed over;
	// at least three. All know each other as peers.
	Instances []engine.Instance
	// Switch moves the primary role from one instance to another by actions, in
	// the engine's planned order, and returns the steps that changed something and whose
	// goal still holds afterwards, for repetition.
	Switch func(ctx context.Context, d engine.Driver, from, to engine.Instance) ([]Step, error)
	// Write does one acknowledged write as a client would, through any member.
	Write func(ctx context.Context) error
	// Stop ends the instance's process at once; Start starts it again.
	Stop, Start func(engine.Instance)
}

// Harness makes what the suite needs.
type Harness struct {
	Driver func() engine.Driver
	// Start starts a cluster that ends with the test.
	Start func(t *testing.T) *Cluster
	// Secrets must not appear in anything observed.
	Secrets []string
}

// settle bounds how long roles, links and positions may take to agree.
const settle = time.Minute

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Run("observe_tells_roles_positions_and_history", h.observe)
	t.Run("a_stopped_instance_is_down_not_an_error_and_comes_back", h.down)
	t.Run("bad_calls_are_refused_and_change_nothing", h.bad)
	t.Run("a_planned_switch_loses_nothing_and_repeats_harmlessly", h.planned)
	t.Run("switches_there_and_back_under_observation", h.backAndForth)
	t.Run("a_probe_that_cannot_write_says_so", h.deadProbe)
}

// within bounds a call by limit, or half a minute if that is longer: a busy
// machine is slow, not wrong.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	limit = max(limit, 30*time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// Eventually polls until ok returns "" and fails with its last text otherwise.
func Eventually(t *testing.T, what string, ok func() string) {
	t.Helper()
	deadline, tick := time.Now().Add(settle), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for wrong := ok(); wrong != ""; wrong = ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s: %s", settle, what, wrong)
		}
		<-tick.C
	}
}

func observe(t *testing.T, d engine.Driver, in engine.Instance) engine.Observation {
	t.Helper()
	o, err := d.Observe(within(t, 5*time.Second), in)
	if err != nil {
		t.Fatalf("observe %s: %v", in.Key(), err)
	}
	return o
}

// primaries lists the instances that say they are primary.
func primaries(t *testing.T, d engine.Driver, c *Cluster) []string {
	t.Helper()
	var out []string
	for _, in := range c.Instances {
		if observe(t, d, in).Role == engine.RolePrimary {
			out = append(out, in.Node)
		}
	}
	return out
}

func (h Harness) start(t *testing.T) (engine.Driver, *Cluster) {
	d := h.Driver()
	t.Cleanup(func() { d.Close() })
	return d, h.Start(t)
}

func (h Harness) observe(t *testing.T) {
	d, c := h.start(t)
	for range 20 {
		if err := c.Write(within(t, 5*time.Second)); err != nil {
			t.Fatalf("write: %v", err)
		}
	}
	first := observe(t, d, c.Instances[0])
	if !first.Up || first.Role != engine.RolePrimary || first.Err != "" {
		t.Fatalf("the primary is observed as %+v", first)
	}
	if first.EngineVersion == "" || first.History == "" || first.Position == 0 || first.Facts.QueryMs == nil {
		t.Fatalf("the primary's observation lacks version, history, position or query time: %+v", first)
	}
	for _, in := range c.Instances[1:] {
		Eventually(t, in.Node+" is level with the primary", func() string {
			o := observe(t, d, in)
			switch {
			case !o.Up || o.Err != "":
				return "not up: " + o.Err
			case o.Role == engine.RolePrimary || o.Role == engine.RoleUnknown:
				return "role " + string(o.Role)
			case o.History != first.History:
				return "another history " + o.History
			case o.ReplicaOf != c.Instances[0].Address():
				return "follows " + o.ReplicaOf
			case !o.LinkUp:
				return "link down"
			case o.LagBytes != 0 || o.LagSeconds != 0:
				b, _ := json.Marshal(o)
				return "lag: " + string(b)
			case o.Position < first.Position:
				return "position before the primary's earlier one"
			}
			return ""
		})
	}
	Eventually(t, "every member proved that it reaches the others", func() string {
		for _, in := range c.Instances {
			o := observe(t, d, in)
			for _, p := range in.Peers {
				if p.Node == in.Node {
					continue
				}
				if r := o.Facts.Reach[p.Address()]; !r.OK {
					return in.Node + " to " + p.Node + ": " + r.Err
				}
			}
		}
		return ""
	})
	Eventually(t, "the primary's write rate is measured", func() string {
		_ = c.Write(within(t, 5*time.Second))
		if o := observe(t, d, c.Instances[0]); o.WritesPerSecond <= 0 {
			return "rate not above 0"
		}
		return ""
	})
	for _, in := range c.Instances {
		b, err := json.Marshal(observe(t, d, in))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range h.Secrets {
			if strings.Contains(string(b), s) {
				t.Errorf("a secret stands in the observation of %s", in.Node)
			}
		}
	}
}

func (h Harness) down(t *testing.T) {
	d, c := h.start(t)
	last := c.Instances[len(c.Instances)-1]
	observe(t, d, last)
	c.Stop(last)
	begun := time.Now()
	o := observe(t, d, last)
	if o.Up || o.Err == "" || o.Role != engine.RoleUnknown {
		t.Fatalf("a stopped instance is observed as %+v", o)
	}
	if took := time.Since(begun); took > 15*time.Second { // its own bound is far below
		t.Errorf("looking at a stopped instance took %s", took)
	}
	if _, err := d.Do(within(t, 5*time.Second), last, engine.Action{Name: verifyAction(last), Args: verifyArgs(last, c.Instances[0])}); err == nil {
		t.Error("an action on a stopped instance was said to be done")
	} else if code := engine.CodeOf(err); code != engine.CodeUnreachable && code != engine.CodeUnknown {
		t.Errorf("an action on a stopped instance: code %s (%v)", code, err)
	}
	c.Start(last)
	Eventually(t, last.Node+" is back", func() string {
		if o := observe(t, d, last); !o.Up || !o.LinkUp {
			return "up or link missing: " + o.Err
		}
		return ""
	})
}

func verifyAction(in engine.Instance) string {
	if in.Engine == engine.EventStore {
		return engine.VerifyLeader
	}
	return engine.VerifyRole
}

func verifyArgs(in, primary engine.Instance) map[string]string {
	if in.Engine == engine.EventStore {
		return map[string]string{"node": primary.Node}
	}
	return map[string]string{"role": string(engine.RoleReplica), "addr": primary.Address()}
}

func (h Harness) bad(t *testing.T) {
	d, c := h.start(t)
	ctx := within(t, 10*time.Second)
	before := observe(t, d, c.Instances[0])

	if _, err := d.Do(ctx, c.Instances[0], engine.Action{Name: "no-such-action"}); engine.CodeOf(err) != engine.CodeBadAction {
		t.Errorf("unknown action: %v", err)
	}
	other := c.Instances[0]
	other.Engine = "other"
	if _, err := d.Observe(ctx, other); err == nil {
		t.Error("another engine's instance was observed")
	}
	if _, err := d.Do(ctx, other, engine.Action{Name: engine.Promote}); engine.CodeOf(err) != engine.CodeBadAction {
		t.Errorf("another engine's instance: %v", err)
	}
	for _, name := range []string{engine.PauseWrites, engine.WaitOffset, engine.Demote, engine.Repoint, engine.VerifyRole,
		engine.CheckAuth, engine.Transfer, engine.PromoteClone, engine.VerifyLeader} {
		for _, args := range []map[string]string{nil, {"addr": "x y:1", "ms": "-1", "offset": "q", "role": "king", "to": "no such node", "node": "no such node"}} {
			if _, err := d.Do(ctx, c.Instances[0], engine.Action{Name: name, Args: args}); err == nil {
				t.Errorf("%s with arguments %v was said to be done", name, args)
			}
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := d.Do(canceled, c.Instances[1], engine.Action{Name: verifyAction(c.Instances[1]), Args: verifyArgs(c.Instances[1], c.Instances[0])}); err == nil {
		t.Error("an action with no time left was said to be done")
	}
	after := observe(t, d, c.Instances[0])
	if after.Role != before.Role || after.History != before.History || after.Term != before.Term {
		t.Errorf("bad calls changed the primary: before %+v, after %+v", before, after)
	}
}

func (h Harness) planned(t *testing.T) {
	d, c := h.start(t)
	from, to := c.Instances[0], c.Instances[1]
	for _, in := range c.Instances { // opens the connections, as the agent's looks do
		observe(t, d, in)
	}
	p, err := d.Probe(from)
	if err != nil {
		t.Fatal(err)
	}
	pctx, stop := context.WithCancel(within(t, time.Minute))
	defer stop()
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- p.Run(pctx, func() { close(started) }) }()
	select {
	case <-started:
	case err := <-ended:
		t.Fatalf("the probe ended before its first write: %v", err)
	case <-time.After(settle):
		t.Fatal("the probe did not write")
	}

	Eventually(t, "the probe writes", func() string {
		if p.Acked() < 5 {
			return "too few writes"
		}
		return ""
	})
	steps, err := c.Switch(within(t, 30*time.Second), d, from, to)
	if err != nil {
		t.Fatalf("switch: %v", err)
	}
	Eventually(t, "there is exactly one primary, the candidate", func() string {
		if got := primaries(t, d, c); len(got) != 1 || got[0] != to.Node {
			return "primaries " + strings.Join(got, ",")
		}
		return ""
	})
	Eventually(t, "all others follow it, level", func() string {
		for _, in := range c.Instances {
			if in.Node == to.Node {
				continue
			}
			if o := observe(t, d, in); o.ReplicaOf != to.Address() || !o.LinkUp {
				return in.Node + " follows " + o.ReplicaOf
			}
		}
		return ""
	})
	// Repetition changes nothing.
	before := observe(t, d, to)
	for _, s := range steps {
		if done, err := d.Done(within(t, 5*time.Second), s.Instance, s.Action); err != nil || !done {
			t.Errorf("%s on %s: not known as done (%v)", s.Action.Name, s.Instance.Node, err)
		}
		if _, err := d.Do(within(t, 5*time.Second), s.Instance, s.Action); err != nil {
			t.Errorf("%s on %s, repeated: %v", s.Action.Name, s.Instance.Node, err)
		}
	}
	after := observe(t, d, to)
	if after.Role != engine.RolePrimary || after.History != before.History || after.Term != before.Term {
		t.Errorf("repeating the steps changed the primary: before %+v, after %+v", before, after)
	}
	atSwitch := p.Acked()
	Eventually(t, "the probe wrote on to the new primary", func() string {
		if n := p.Acked() - atSwitch; n < 10 {
			return "too few writes since"
		}
		return ""
	})
	stop()
	if err := <-ended; err != nil {
		t.Fatalf("probe: %v", err)
	}
	r, err := p.Finish(within(t, 10*time.Second))
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	t.Logf("probe: %d acknowledged, %d read back from %s, longest gap %s, longest wait %s, %d errors, %d unknown",
		r.Acked, r.ReadBack, r.ReadFrom, r.LongestGap, r.LongestWait, r.Errors, r.Unknown)
	if r.Acked < 5 || r.Lost != 0 || !r.Complete || r.ReadBack != r.Acked {
		t.Errorf("probe lost writes or proved nothing: %+v", r)
	}
	if r.ReadFrom != to.Address() {
		t.Errorf("read back from %s, not from the new primary %s", r.ReadFrom, to.Address())
	}
	if r.LongestGap <= 0 { // how long it is says as much about the machine: test/system judges it
		t.Errorf("longest gap %s", r.LongestGap)
	}
}

func (h Harness) backAndForth(t *testing.T) {
	d, c := h.start(t)
	ctx, stop := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	for _, in := range c.Instances {
		watch.Add(1)
		go func() {
			defer watch.Done()
			looks := time.NewTicker(20 * time.Millisecond) // the agent's, much faster
			defer looks.Stop()
			for ctx.Err() == nil {
				if _, err := d.Observe(ctx, in); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("observe %s during switches: %v", in.Node, err)
				}
				<-looks.C
			}
		}()
	}
	a, b := c.Instances[0], c.Instances[1]
	for i := range 4 {
		if _, err := c.Switch(within(t, 30*time.Second), d, a, b); err != nil {
			t.Fatalf("switch %d: %v", i, err)
		}
		a, b = b, a
		Eventually(t, "the cluster is settled", func() string {
			if got := primaries(t, d, c); len(got) != 1 || got[0] != a.Node {
				return "primaries " + strings.Join(got, ",")
			}
			for _, in := range c.Instances {
				if o := observe(t, d, in); in.Node != a.Node && (o.ReplicaOf != a.Address() || !o.LinkUp || o.LagBytes != 0) {
					return in.Node + " is not level with " + a.Node
				}
			}
			return ""
		})
	}
	stop()
	watch.Wait()
	if err := c.Write(within(t, 5*time.Second)); err != nil {
		t.Errorf("a client's write after the switches: %v", err)
	}
}

func (h Harness) deadProbe(t *testing.T) {
	d, c := h.start(t)
	p, err := d.Probe(c.Instances[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range c.Instances {
		c.Stop(in)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := p.Run(ctx, func() { t.Error("a write to a dead cluster was acknowledged") }); err == nil {
		t.Error("a probe that never wrote reported no error")
	}
	short, done := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer done()
	if r, err := p.Finish(short); err == nil {
		t.Errorf("a probe of a dead cluster finished with %+v and no error", r)
	}
}
