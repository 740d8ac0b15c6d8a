package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"baton/control/engine"
)

const (
	// maxProbes bounds probes running or remembered: what one has reported is
	// kept for a repeated question until others need its place.
	maxProbes = 64
	// probeLife ends a probe whose operation never stopped it.
	probeLife = 15 * time.Minute
	// settleWrites more writes are waited for at a probe's stop, at most settleTime.
	settleWrites = 5
	settleTime   = time.Second
)

// probes are the synthetic writers of this agent, by operation's probe id.
type probes struct {
	mu   sync.Mutex
	byID map[string]*runningProbe
}

type runningProbe struct {
	began  time.Time
	probe  engine.Probe
	stop   context.CancelFunc
	first  chan struct{} // closed after the first acknowledged write
	ended  chan struct{} // closed after Run; err is set before
	err    error
	finish sync.Once
	values map[string]string // set by the first stop
	failed error
}

func newProbes() *probes { return &probes{byID: map[string]*runningProbe{}} }

func (p *probes) get(id string) *runningProbe {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id]
}

// begin starts a probe unless one of that id runs.
func (p *probes) begin(id string, open func() (engine.Probe, error)) (*runningProbe, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.byID[id]; r != nil {
		return r, nil
	}
	for old, r := range p.byID { // forget what has ended long ago
		if time.Since(r.began) > 2*probeLife {
			delete(p.byID, old)
		}
	}
	if len(p.byID) >= maxProbes && !p.forgetOne() {
		return nil, &engine.ActionError{Code: CodeBusy, Detail: fmt.Sprintf("%d probes are running", maxProbes), Fix: "wait until the operations they belong to have ended"}
	}
	probe, err := open()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(context.Background(), probeLife)
	r := &runningProbe{began: time.Now(), probe: probe, stop: stop, first: make(chan struct{}), ended: make(chan struct{})}
	p.byID[id] = r
	go func() {
		defer stop()
		r.err = probe.Run(ctx, func() { close(r.first) })
		close(r.ended)
	}()
	return r, nil
}

// forgetOne forgets the probe that ended first; false when all run. The caller
// holds mu.
func (p *probes) forgetOne() bool {
	oldest := ""
	for id, r := range p.byID {
		select {
		case <-r.ended:
			if oldest == "" || r.began.Before(p.byID[oldest].began) {
				oldest = id
			}
		default:
		}
	}
	delete(p.byID, oldest)
	return oldest != ""
}

// stopAll ends the probes at the agent's own end; their keys expire or are
// removed by Finish as far as it gets.
func (p *probes) stopAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.byID {
		r.stop()
	}
}

func probeStart(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	id := o.Action.Arg("id")
	if id == "" {
		return nil, badArg("probe-start needs an id")
	}
	w := a.find(o.Cluster, o.Node)
	if w == nil {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance of cluster %q", o.Cluster)}
	}
	r, err := a.probes.begin(o.Cluster+"/"+id, func() (engine.Probe, error) { return a.drivers[w.in.Engine].Probe(w.in) })
	if err != nil {
		return nil, err
	}
	select {
	case <-r.first:
		return nil, nil
	case <-r.ended:
		return nil, &engine.ActionError{Code: engine.CodeFailed, Detail: "the probe ended before its first write was acknowledged", Err: r.err}
	case <-ctx.Done():
		r.stop()
		return nil, &engine.ActionError{Code: engine.CodeTimeout, Detail: "no write of the probe was acknowledged in time",
			Fix: "look whether the cluster accepts writes now", Err: ctx.Err()}
	}
}

// settle waits, for a short while, until the cluster has acknowledged a few
// writes from now on: the report then also covers writes after the operation.
func (r *runningProbe) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	tick := time.NewTicker(engine.ProbeInterval)
	defer tick.Stop()
	for want := r.probe.Acked() + settleWrites; r.probe.Acked() < want; {
		select {
		case <-r.ended:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func probeStop(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	r := a.probes.get(o.Cluster + "/" + o.Action.Arg("id"))
	if r == nil {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "this agent runs no such probe; it may have been restarted since"}
	}
	r.settle(ctx)
	r.stop()
	select {
	case <-r.ended:
	case <-ctx.Done():
		return nil, &engine.ActionError{Code: engine.CodeTimeout, Detail: "the probe's last write has no answer yet", Err: ctx.Err()}
	}
	r.finish.Do(func() {
		rep, err := r.probe.Finish(ctx)
		if err != nil && !rep.Complete {
			r.failed = &engine.ActionError{Code: engine.CodeFailed, Detail: "the probe's writes were not all read back", Err: err}
		}
		r.values = rep.Values()
	})
	return r.values, r.failed
}
