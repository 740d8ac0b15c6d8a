package executor

import (
	"context"
	"time"

	"baton/control/agent"
	"baton/control/engine"
)

// AskError is a node's refusal of what it was asked, or its failure.
type AskError struct {
	Node        string
	Code        string // of package engine or agent
	Detail, Fix string
}

func (e *AskError) Error() string { return e.Node + ": " + e.Detail }

// Ask has one action done on one node outside of any operation and returns its
// values: for what a person looks at, and for writes to data that move no role.
// Errors: ErrUnknownCluster, agent.ErrNotConnected, agent.ErrOutcomeUnknown,
// *AskError.
func (e *Executor) Ask(ctx context.Context, cluster, node string, limit time.Duration, a engine.Action) (map[string]string, error) {
	c, err := e.known(cluster)
	if err != nil {
		return nil, err
	}
	id, ok := e.Agents.Locate(cluster, node)
	if !ok {
		return nil, agent.ErrNotConnected
	}
	res, err := e.Agents.Order(ctx, id, agent.Order{Operation: "ask", Cluster: cluster, Node: node, Generation: c.Generation, Term: e.Term, Timeout: limit, Action: a})
	if err != nil {
		return nil, err
	}
	if !res.OK() {
		return nil, &AskError{Node: node, Code: res.Code, Detail: res.Detail, Fix: res.Fix}
	}
	return res.Values, nil
}
