package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"baton/control/engine"
	"baton/control/proxy"
)

// Actions on the endpoints an agent serves. Each carries the cluster and its
// generation and is fenced like any order about the cluster.
const (
	// ActionProxyRoute{route}: JSON of proxy.Route; the endpoint forwards there.
	// The same again confirms it.
	ActionProxyRoute = "proxy-route"
	// ActionProxyHold{next}: requests that write wait from now on. next is
	// host:port where they probably go later. Answers when all that were sent
	// before are answered, or at the deadline. Values: "served", "drained",
	// "tookMs".
	ActionProxyHold = "proxy-hold"
	// ActionProxyRelease{node,address}: ends the hold and forwards to the primary
	// of the order's generation. Values: "served".
	ActionProxyRelease = "proxy-release"
)

// answerEarly is kept of an order's time for its answer to travel.
const answerEarly = 20 * time.Millisecond

func (a *Agent) proxy() (*proxy.Server, error) {
	if a.opt.Proxy == nil {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "this agent serves no endpoints"}
	}
	return a.opt.Proxy, nil
}

func proxyRoute(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	p, err := a.proxy()
	if err != nil {
		return nil, err
	}
	var r proxy.Route
	if err := json.Unmarshal([]byte(o.Action.Arg("route")), &r); err != nil {
		return nil, badArg("proxy-route: the route does not decode")
	}
	if r.Cluster != o.Cluster || r.Generation != o.Generation || r.Term != o.Term {
		return nil, badArg("proxy-route: the route is of another cluster, generation or term than the order")
	}
	return nil, asProxyError(p.Apply(r))
}

func proxyHold(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	p, err := a.proxy()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if limit, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, limit.Add(-answerEarly))
		defer cancel()
	}
	drained, err := p.Hold(ctx, o.Cluster, o.Operation, o.Generation, o.Action.Arg("next"))
	if errors.Is(err, proxy.ErrUnknownCluster) {
		return map[string]string{"served": "false"}, nil
	}
	if err != nil {
		return nil, asProxyError(err)
	}
	return map[string]string{"served": "true", "drained": strconv.FormatBool(drained),
		"tookMs": fmt.Sprintf("%.3f", float64(time.Since(began))/float64(time.Millisecond))}, nil
}

func proxyRelease(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	p, err := a.proxy()
	if err != nil {
		return nil, err
	}
	err = p.Release(o.Cluster, o.Generation, o.Term, o.Action.Arg("node"), o.Action.Arg("address"))
	if errors.Is(err, proxy.ErrUnknownCluster) {
		return map[string]string{"served": "false"}, nil
	}
	return map[string]string{"served": "true"}, asProxyError(err)
}

func asProxyError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, proxy.ErrStale):
		return &engine.ActionError{Code: CodeStale, Detail: err.Error()}
	}
	return &engine.ActionError{Code: engine.CodeFailed, Detail: err.Error()}
}

// endpoints is what the agent's report says of the endpoints it serves.
func (a *Agent) endpoints() *EndpointsReport {
	if a.opt.Proxy == nil {
		return nil
	}
	return &EndpointsReport{Only: len(a.drivers) == 0, Serving: a.opt.Proxy.Status()}
}

// EndpointsReport is in the report of an agent that can serve endpoints.
type EndpointsReport struct {
	// Only is set for an agent that does nothing else (baton proxy).
	Only    bool           `json:"only,omitempty"`
	Serving []proxy.Status `json:"serving"` // sorted by cluster
}
