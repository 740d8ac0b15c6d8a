package executor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/engine"
)

// orderError is an order that was not done.
type orderError struct {
	node, action string
	code         string // of agent.Result, or the two below
	detail, fix  string
}

// Codes of orderError for orders that got no answer.
const (
	codeNotConnected = "not-connected" // nothing was sent
	codeNoAnswer     = "no-answer"     // sent; the outcome is not known
)

func (e *orderError) Error() string {
	s := fmt.Sprintf("%s on %s: %s", e.action, e.node, e.detail)
	if e.fix != "" {
		s += "; " + e.fix
	}
	return s
}

func codeOf(err error) string {
	var o *orderError
	if errors.As(err, &o) {
		return o.code
	}
	return ""
}

func isStale(err error) bool { return codeOf(err) == agent.CodeStale }

// engineGone tells that the agent is there and the engine beside it is not:
// the order did nothing.
func engineGone(err error) bool { return codeOf(err) == engine.CodeUnreachable }

// open tells that the order may or may not have been done.
func open(err error) bool {
	return codeOf(err) == codeNoAnswer || codeOf(err) == engine.CodeUnknown
}

// hurryTime bounds each order while an operation gives way to a failover.
const hurryTime = time.Second

// order asks the agent beside node for one action and waits for the answer.
// args are pairs of name and value.
func (r *run) order(ctx context.Context, node, action string, timeout time.Duration, args ...string) (map[string]string, error) {
	id, ok := r.e.Agents.Locate(r.op.Plan.Cluster, node)
	if !ok {
		return nil, &orderError{node: node, action: action, code: codeNotConnected, detail: "no agent reports on it", fix: "start its agent"}
	}
	return r.send(ctx, id, node, node, action, timeout, args)
}

// orderAgent is order for actions of an agent itself, also of one that no
// instance of the cluster stands beside yet. The order is fenced like any
// other of the cluster.
func (r *run) orderAgent(ctx context.Context, agentID, action string, timeout time.Duration, args ...string) (map[string]string, error) {
	return r.send(ctx, agentID, "", "agent "+agentID, action, timeout, args)
}

// send sends one order; subject names in errors whom it was for.
func (r *run) send(ctx context.Context, id, node, subject, action string, timeout time.Duration, args []string) (map[string]string, error) {
	fail := func(code, detail, fix string) error {
		return &orderError{node: subject, action: action, code: code, detail: detail, fix: fix}
	}
	if r.hurry {
		timeout = min(timeout, hurryTime)
	}
	o := agent.Order{Operation: r.op.Operation, Cluster: r.op.Plan.Cluster, Node: node,
		Generation: r.op.Generation, Term: r.e.Term, Timeout: timeout,
		Action: engine.Action{Name: action, Args: map[string]string{}}}
	for i := 0; i+1 < len(args); i += 2 {
		o.Action.Args[args[i]] = args[i+1]
	}
	res, err := r.e.Agents.Order(ctx, id, o)
	switch {
	case errors.Is(err, agent.ErrNotConnected):
		return nil, fail(codeNotConnected, "its agent has no link to the control plane", "start its agent")
	case err != nil:
		return nil, fail(codeNoAnswer, "the order was sent and its outcome is not known", "")
	case !res.OK():
		return res.Values, fail(res.Code, res.Detail, res.Fix)
	}
	return res.Values, nil
}

// again repeats what may be repeated while the agent has no link or its answer
// stays out, for as long as agents take to come back after either side was
// restarted. Once only, in a hurry.
func (r *run) again(ctx context.Context, f func() error) error {
	began, wait := time.Now(), r.backoff()
	for {
		err := f()
		if err == nil || r.hurry || codeOf(err) != codeNotConnected && !open(err) || time.Since(began) > reconnectTime || !wait(ctx) {
			return err
		}
	}
}

// reading is what read-offset answers.
type reading struct {
	offset, replid, role string
	stable               bool
}

// holds tells whether a replica has everything up to a position. It may be a
// little further: a primary writes keepalives into the stream while clients'
// writes are held.
func (a reading) holds(want reading) bool {
	have, err1 := strconv.ParseUint(a.offset, 10, 64)
	need, err2 := strconv.ParseUint(want.offset, 10, 64)
	return err1 == nil && err2 == nil && a.replid == want.replid && have >= need
}

func (r *run) read(ctx context.Context, node string) (reading, error) {
	v, err := r.order(ctx, node, engine.ReadOffset, readTimeout)
	if err != nil {
		return reading{}, err
	}
	return asReading(v), nil
}

func asReading(v map[string]string) reading {
	return reading{offset: v["offset"], replid: v["replid"], role: v["role"], stable: v["stable"] == "true"}
}

const (
	readTimeout  = 2 * time.Second
	orderTimeout = 3 * time.Second
)

// each runs f for every node at once and returns the errors by node.
func each(nodes []string, f func(node string) error) map[string]error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	errs := map[string]error{}
	for _, n := range nodes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := f(n); err != nil {
				mu.Lock()
				errs[n] = err
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	return errs
}

// list writes errors in the order of nodes.
func list(nodes []string, errs map[string]error) string {
	var out []string
	for _, n := range nodes {
		if errs[n] != nil {
			out = append(out, errs[n].Error())
		}
	}
	return strings.Join(out, "; ")
}

func anyStale(errs map[string]error) error {
	for _, err := range errs {
		if isStale(err) {
			return err
		}
	}
	return nil
}

// insist tries f until it succeeds, says that trying is useless (final), or
// patience ends. Only for steps after the point of no return.
func (r *run) insist(ctx context.Context, f func() (final bool, err error)) error {
	began, wait := time.Now(), r.backoff()
	for {
		final, err := f()
		patience := r.e.Patience
		switch {
		case r.withoutOld() && r.noOther:
			patience = min(patience, onlyPatience)
		case r.withoutOld():
			patience = min(patience, failoverPatience) // another failover may be the answer
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case final || isStale(err) || time.Since(began) > patience:
			return err
		}
		r.log.Warn("a step is tried again", "err", err)
		if !wait(ctx) {
			return ctx.Err()
		}
	}
}
