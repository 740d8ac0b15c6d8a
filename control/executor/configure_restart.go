package executor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/inventory"
	"baton/control/operation"
	"baton/control/plan"
)

// rollingRestart restarts every server of a cluster with the primary moved
// away before its turn. In between stands a planned promotion, step by step.
var rollingRestart = slices.Concat(
	procedure{{id: plan.StepRestartReplicas, do: restartReplicas, undo: replicasUp}},
	redisPromotion, // point of no return: its commit
	procedure{{id: plan.StepRestartFormer, do: restartFormer}},
)

// RequestRestart asks for a rolling restart.
type RequestRestart struct {
	Cluster, TypedName string
	Generation         *uint64
	Reason             string
	Overrides          []string
	Who                audit.Who
}

// RollingRestart begins a rolling restart. Errors: those of Submit.
func (e *Executor) RollingRestart(ctx context.Context, q RequestRestart) (string, error) {
	return e.Submit(ctx, Submission{Cluster: q.Cluster, Kind: operation.RollingRestart, Reason: q.Reason, Overrides: q.Overrides, Generation: q.Generation, Who: q.Who,
		TypedName: q.TypedName, WantTyped: q.Cluster,
		Build: func(f *plan.Facts) (plan.Plan, error) {
			c, err := e.known(q.Cluster)
			if err != nil {
				return plan.Plan{}, err
			}
			return e.planRestart(f, &c, q.Overrides), nil
		}})
}

// PlanRestart is the plan that RollingRestart would run now.
func (e *Executor) PlanRestart(cluster string, overrides ...string) (plan.Plan, error) {
	c, err := e.known(cluster)
	if err != nil {
		return plan.Plan{}, err
	}
	f, ok := e.Facts.Facts(cluster)
	if !ok {
		return plan.Plan{}, ErrUnknownCluster
	}
	return e.planRestart(&f, &c, overrides), nil
}

func (e *Executor) planRestart(f *plan.Facts, c *inventory.Cluster, overrides []string) plan.Plan {
	p := plan.RollingRestart(f, clusterFacts(c), overrides...)
	if c.Policy.Approval {
		p.Refuse("approval", "a second person approves each promotion of this cluster", "a rolling restart holds one", "turn approval off for the time: baton settings "+c.ID+" --approval=false")
	}
	return p
}

// restartReplicas goes on only while everything before is in step again.
func restartReplicas(ctx context.Context, r *run) (outcome, error) {
	var details []string
	for _, n := range append(slices.Clone(r.op.Plan.Siblings), r.op.Plan.Node) {
		detail, err := r.restart(ctx, n)
		if err != nil {
			return outcome{detail: strings.Join(details, "; ")}, err
		}
		details = append(details, detail)
	}
	return outcome{detail: strings.Join(details, "; ")}, nil
}

// replicasUp starts what may have been stopped in the middle of its restart.
func replicasUp(ctx context.Context, r *run) (string, error) {
	f, _ := r.e.Facts.Facts(r.op.Plan.Cluster)
	var started, failed []string
	for _, name := range append(slices.Clone(r.op.Plan.Siblings), r.op.Plan.Node) {
		n := f.Node(name)
		if n == nil || n.Up() {
			continue
		}
		if err := r.startAgain(ctx, name); err != nil {
			failed = append(failed, err.Error())
			continue
		}
		started = append(started, name)
	}
	switch {
	case len(failed) > 0:
		return "", fmt.Errorf("%s", strings.Join(failed, "; "))
	case len(started) > 0:
		return strings.Join(started, ", ") + " started again", nil
	}
	return "every replica runs", nil
}

// restart ends one replica and starts it again behind the present primary.
func (r *run) restart(ctx context.Context, node string) (string, error) {
	if err := r.startAgain(ctx, node); err != nil {
		return "", err
	}
	detail, err := r.caughtUp(ctx, node)
	if err != nil {
		return "", fmt.Errorf("%s was restarted and is not in step: %w; see its log on its host", node, err)
	}
	return detail, nil
}

func (r *run) startAgain(ctx context.Context, node string) error {
	id, ok := r.e.Agents.Locate(r.op.Plan.Cluster, node)
	if !ok {
		return &orderError{node: node, action: agent.ActionRestart, code: codeNotConnected, detail: "no agent reports on it", fix: "start its agent"}
	}
	return r.again(ctx, func() error {
		_, err := r.orderAgent(ctx, id, agent.ActionRestart, shutdownTime, "node", node, "addr", r.addr(r.primaryOf()))
		return err
	})
}

// restartFormer restarts the primary of before. It is past the point of no
// return: what fails is tried for a while and then told.
func restartFormer(ctx context.Context, r *run) (outcome, error) {
	if r.op.Candidate == r.op.Plan.From {
		return outcome{detail: "not done: " + r.op.Plan.From + " is still the primary"}, nil
	}
	var detail string
	err := r.insist(ctx, func() (final bool, err error) {
		detail, err = r.restart(ctx, r.op.Plan.From)
		return false, err
	})
	return outcome{detail: detail}, err
}

func restartedAll(r *run) string {
	s := fmt.Sprintf("Every server of %s was restarted; %s is the primary in place of %s", r.op.Plan.Cluster, r.op.Candidate, r.op.Plan.From)
	if v := r.value(plan.StepVerify, "attention"); v != "" {
		s += ". Needs attention: " + v
	}
	return s
}
