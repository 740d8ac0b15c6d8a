package firstfloor

import (
	"slices"
	"time"
)

type fault struct {
	at time.Duration
	do func()
}

// draw makes the faults of a run: each seed enables some kinds, at its own
// intensity.
func (w *World) draw() []fault {
	var out []fault
	add := func(at time.Duration, f func()) { out = append(out, fault{at, f}) }
	within := func(least, most time.Duration) time.Duration {
		return least + time.Duration(w.rng.Int64N(int64(most-least)))
	}
	enabled := func() bool { return w.rng.IntN(2) == 0 }
	if enabled() {
		w.slow = within(time.Millisecond, 400*time.Millisecond)
	}
	if enabled() {
		w.drop = w.rng.Float64() * 0.2
	}
	kinds := []func(at time.Duration){
		func(at time.Duration) { // the control plane restarts
			add(at, func() {
				w.log("control plane ends")
				if w.cp.op != nil && !w.cp.op.State.Final() {
					w.sometimes("control plane ended during an operation")
				}
				w.cp.up = false
			})
			add(at+within(200*time.Millisecond, 9*time.Second), func() { w.cp.start() })
		},
		func(at time.Duration) { // an engine crashes
			n := w.some()
			add(at, func() { w.log("n%d: engine crashes", n().id); n().kill() })
		},
		func(at time.Duration) { // agent and engine freeze
			var n *node
			add(at, func() {
				n = w.some()()
				w.log("n%d: agent and engine freeze", n.id)
				n.frozen, n.agentFrozen = n.up, true
			})
			add(at+within(500*time.Millisecond, 12*time.Second), func() { w.log("n%d: thaws", n.id); n.frozen, n.agentFrozen = false, false })
		},
		func(at time.Duration) { // the agent alone freezes, or is starved
			var n *node
			add(at, func() { n = w.some()(); w.log("n%d: agent freezes", n.id); n.agentFrozen = true })
			add(at+within(500*time.Millisecond, 9*time.Second), func() { w.log("n%d: agent thaws", n.id); n.agentFrozen = false })
		},
		func(at time.Duration) { // the agent is killed and comes back
			var n *node
			add(at, func() { n = w.some()(); w.log("n%d: agent is killed", n.id); n.agent, n.h = false, nil })
			add(at+within(100*time.Millisecond, 8*time.Second), func() { n.restartAgent() })
		},
		func(at time.Duration) { // everything on a host dies
			var n *node
			add(at, func() {
				n = w.some()()
				w.log("n%d: host dies", n.id)
				n.kill()
				n.agent, n.h = false, nil
				n.state.good, n.state.deadline = 0, 0 // another boot of the machine
			})
			add(at+within(time.Second, 20*time.Second), func() { n.restartAgent() })
		},
		func(at time.Duration) { // a host and the control plane cannot reach each other
			var n *node
			add(at, func() { n = w.some()(); w.log("n%d: cut off from the control plane", n.id); w.cut[n.id] = true })
			add(at+within(time.Second, 15*time.Second), func() { w.log("n%d: reaches the control plane", n.id); w.cut[n.id] = false })
		},
		func(at time.Duration) { // a host is cut off from everybody
			var n *node
			set := func(v bool) {
				w.cut[n.id] = v
				for i := range nodes {
					w.apart[n.id][i], w.apart[i][n.id] = v, v
				}
			}
			add(at, func() { n = w.some()(); w.log("n%d: cut off", n.id); set(true) })
			add(at+within(time.Second, 15*time.Second), func() { w.log("n%d: reached again", n.id); set(false) })
		},
	}
	for i := range kinds {
		if !enabled() {
			continue
		}
		for range 1 + w.rng.IntN(3) {
			kinds[i](within(3*time.Second, troubled-2*time.Second))
		}
	}
	if w.failsafe {
		w.moreFaults(add, within)
	}
	slices.SortStableFunc(out, func(a, b fault) int { return int(a.at - b.at) })
	return out
}

// some chooses a node when the fault comes: the primary more often than not.
func (w *World) some() func() *node {
	dice, other := w.rng.IntN(10), w.rng.IntN(nodes)
	var chosen *node
	return func() *node {
		if chosen == nil {
			chosen = w.nodes[other]
			if dice < 6 {
				chosen = w.nodes[w.cp.holder]
			}
		}
		return chosen
	}
}

// mend ends every fault, so that progress may be demanded.
func (w *World) mend() {
	w.log("faults end")
	w.slow, w.drop = 5*time.Millisecond, 0
	w.cut, w.apart = [nodes]bool{}, [nodes][nodes]bool{}
	for _, n := range w.nodes {
		n.frozen, n.agentFrozen = false, false
		if !n.agent {
			n.restartAgent()
		}
	}
	if !w.cp.up {
		w.cp.start()
	}
}
