package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"baton/control/agent/fence"
	"baton/control/agent/supervise"
	"baton/control/engine"
	agentpb "baton/gen/agent"
)

const (
	// keptResults is how many finished orders are remembered for repeats.
	keptResults = 1024
	// maxRunning bounds orders carried out at one time.
	maxRunning = 128
)

// orders remembers what was asked, so that a repeated order is not done twice.
type orders struct {
	mu      sync.Mutex
	byID    map[string]*execution
	history []string // ids in order of arrival, for forgetting
	running int
}

type execution struct {
	done   chan struct{}
	result Result // set before done is closed
}

func newOrders() *orders { return &orders{byID: map[string]*execution{}} }

// begin returns the order's execution and whether the caller is to do it.
// nil when too many run.
func (o *orders) begin(id string) (e *execution, mine bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.byID[id]; e != nil {
		return e, false
	}
	if o.running >= maxRunning {
		return nil, false
	}
	e = &execution{done: make(chan struct{})}
	o.byID[id] = e
	o.history = append(o.history, id)
	o.running++
	if len(o.history) > keptResults {
		delete(o.byID, o.history[0])
		o.history = o.history[1:]
	}
	return e, true
}

func (o *orders) end(e *execution, r Result) {
	o.mu.Lock()
	o.running--
	o.mu.Unlock()
	e.result = r
	close(e.done)
}

// answer carries the order out, or waits for the one with the same id.
func (a *Agent) answer(po *agentpb.Order, deadline time.Time, send func(Result)) {
	o := orderOf(po)
	e, mine := a.orders.begin(o.ID)
	switch {
	case e == nil:
		now := time.Now()
		send(Result{Code: CodeBusy, Detail: fmt.Sprintf("the agent carries out %d orders already", maxRunning), StartedAt: now, EndedAt: now})
		return
	case mine:
		a.orders.end(e, a.execute(o, deadline))
	}
	<-e.done
	send(e.result)
}

// execute checks the fence and the deadline, then acts.
func (a *Agent) execute(o Order, deadline time.Time) Result {
	start := time.Now()
	values, err := a.act(o, deadline)
	r := Result{Values: values, StartedAt: start, EndedAt: time.Now()}
	if err != nil {
		r.Code, r.Detail = engine.CodeOf(err), err.Error()
		var ae *engine.ActionError
		switch {
		case errors.Is(err, fence.ErrStale):
			r.Code = CodeStale
		case errors.As(err, &ae):
			r.Detail, r.Fix = ae.Detail, ae.Fix
		}
		a.log.Warn("order not done", "operation", o.Operation, "step", o.Step, "cluster", o.Cluster, "node", o.Node,
			"action", o.Action.Name, "code", r.Code, "err", err)
		return r
	}
	a.log.Info("order done", "operation", o.Operation, "step", o.Step, "cluster", o.Cluster, "node", o.Node,
		"action", o.Action.Name, "took", r.EndedAt.Sub(r.StartedAt))
	return r
}

func (a *Agent) act(o Order, deadline time.Time) (map[string]string, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if ctx.Err() != nil {
		return nil, &engine.ActionError{Code: CodeDeadline, Detail: "the order arrived after its deadline; nothing was done"}
	}
	if o.Cluster != "" {
		have, err := a.fences.Accept(o.Cluster, Fence{Generation: o.Generation, Term: o.Term})
		if errors.Is(err, fence.ErrStale) {
			return nil, fmt.Errorf("order of generation %d, term %d; this agent has seen generation %d, term %d: %w",
				o.Generation, o.Term, have.Generation, have.Term, err)
		}
		if err != nil {
			return nil, err
		}
	}
	if handler := agentActions[o.Action.Name]; handler != nil {
		return handler(ctx, a, o)
	}
	if handler := backupActions[o.Action.Name]; handler != nil {
		return handler(ctx, a, o)
	}
	w := a.find(o.Cluster, o.Node)
	if w == nil || o.Node == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", o.Node, o.Cluster)}
	}
	if err := a.leases.permit(ctx, o, w.in); err != nil {
		return nil, err
	}
	recorded := a.leases.promoting(o, w.in)
	ordered := a.roles.ordered(w.in, o.Action)
	r, err := a.drivers[w.in.Engine].Do(ctx, w.in, o.Action)
	if o.Action.Name == engine.Promote && engine.CodeOf(err) == engine.CodeHistory && a.leases.cameBackWhole(w.in) {
		r, err = a.drivers[w.in.Engine].Do(ctx, w.in, engine.Action{Name: engine.Promote})
	}
	ordered(err)
	<-recorded
	if !inStall[o.Action.Name] {
		w.lookNow()
	}
	return r.Values, err
}

// inStall are the actions while clients' writes wait: looking at the instance
// meanwhile would prolong the wait. The actions after them look.
var inStall = map[string]bool{
	engine.PauseWrites: true, engine.ReadOffset: true, engine.WaitOffset: true, engine.Demote: true,
	engine.Promote: true, engine.UnpauseWrites: true, engine.Repoint: true, engine.KickClients: true,
}

type agentAction func(ctx context.Context, a *Agent, o Order) (map[string]string, error)

// agentActions are the orders the agent itself serves.
var agentActions = map[string]agentAction{
	ActionFence: func(context.Context, *Agent, Order) (map[string]string, error) { return nil, nil },
	ActionPing: func(context.Context, *Agent, Order) (map[string]string, error) {
		return map[string]string{"time": time.Now().Format(time.RFC3339Nano)}, nil
	},
	ActionInstancePut:    instancePut,
	ActionInstanceRemove: instanceRemove,
	ActionProcessStart:   processStart,
	ActionProcessStop:    processStop,
	ActionProcessResume:  processResume,
	ActionLeaseReturn:    leaseReturn,
	ActionBarPromises:    barPromises,
	ActionAllowPromises:  allowPromises,
	ActionRejoin:         rejoin,
	ActionKeepData:       keepData,
	ActionDropKept:       dropKept,
	engine.ProbeStart:    probeStart,
	engine.ProbeStop:     probeStop,
	ActionProxyRoute:     proxyRoute,
	ActionProxyHold:      proxyHold,
	ActionProxyRelease:   proxyRelease,

	ActionSurvey:     survey,
	ActionMakeServer: makeServer,
	ActionDropServer: dropServer,
	ActionEmpty:      emptyServer,
	ActionRestart:    restartServer,
	ActionPeers:      putPeers,
	ActionArguments:  putArguments,
	ActionLook:       lookAt,
	ActionTerminal:   openTerminal,
	ActionLimits:     putLimits,
	ActionClients:    clientsOf,
	ActionStoreLogin: storeLogin,
}

func badArg(format string, args ...any) error {
	return &engine.ActionError{Code: engine.CodeBadAction, Detail: fmt.Sprintf(format, args...)}
}

func instancePut(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	var in engine.Instance
	if err := json.Unmarshal([]byte(o.Action.Arg("instance")), &in); err != nil {
		return nil, badArg("instance-put: the instance does not decode")
	}
	if o.Cluster != "" && in.Cluster != o.Cluster {
		return nil, badArg("instance-put: the instance is of cluster %q, the order of %q", in.Cluster, o.Cluster)
	}
	return nil, a.putInstance(in)
}

func instanceRemove(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	return nil, a.removeInstance(o.Cluster, o.Action.Arg("node"))
}

func processStart(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	var spec supervise.Spec
	if err := json.Unmarshal([]byte(o.Action.Arg("spec")), &spec); err != nil {
		return nil, badArg("process-start: the spec does not decode")
	}
	if a.leases.returning(spec.Name) {
		return map[string]string{"pid": "0", engine.ValueAlreadyDone: "false"}, nil // started with the next grant
	}
	pid, already, err := a.super.Start(spec)
	if err != nil {
		return nil, err
	}
	return map[string]string{"pid": strconv.Itoa(pid), engine.ValueAlreadyDone: strconv.FormatBool(already)}, nil
}

func processResume(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	var extra []string
	if err := json.Unmarshal([]byte(o.Action.Arg("args")), &extra); err != nil {
		return nil, badArg("process-resume: args are not a list")
	}
	pid, already, err := a.super.Resume(o.Action.Arg("name"), extra)
	if errors.Is(err, supervise.ErrUnknown) {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("this agent has no process %q", o.Action.Arg("name"))}
	}
	if err != nil {
		return nil, err
	}
	return map[string]string{"pid": strconv.Itoa(pid), engine.ValueAlreadyDone: strconv.FormatBool(already)}, nil
}

func processStop(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	ms := int64(0)
	if text := o.Action.Arg("graceMs"); text != "" {
		var err error
		if ms, err = strconv.ParseInt(text, 10, 64); err != nil || ms < 0 {
			return nil, badArg("process-stop: graceMs %q is not a number of milliseconds", text)
		}
	}
	err := a.super.Stop(ctx, o.Action.Arg("name"), time.Duration(ms)*time.Millisecond, o.Action.Arg("remove") == "true")
	if errors.Is(err, supervise.ErrUnknown) {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("this agent has no process %q", o.Action.Arg("name"))}
	}
	return nil, err
}
