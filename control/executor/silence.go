package executor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/failover"
)

// seekTime bounds one host's look at the old primary: a login that gets no
// answer and a plain connection after it.
const seekTime = 8 * time.Second

// silence makes sure, in a cluster without a lease, that the old primary takes
// no writes when a person accepts loss: its agent ends it, or the person said
// that its machine is off and nobody who looks finds it.
func silence(ctx context.Context, r *run) (outcome, error) {
	a := r.op.Plan.From
	err := r.stopOld(ctx)
	if err == nil {
		return outcome{detail: a + " was ended by its agent and is kept stopped", values: map[string]string{"stopped": "true"}}, nil
	}
	if isStale(err) || ctx.Err() != nil {
		return outcome{}, err
	}
	if !r.saidOff() {
		return outcome{}, fmt.Errorf("it cannot be known that %s takes no writes: %w; switch its machine off and say so with --old-primary-is-off %s", a, err, a)
	}
	looked, err := r.unseen(ctx)
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: fmt.Sprintf("%s; %s reached nothing at %s", r.wordOf(), strings.Join(looked, ", "), r.addr(a))}, nil
}

// stopOld has the old primary's agent end it and keep it stopped.
func (r *run) stopOld(ctx context.Context) error {
	a := r.op.Plan.From
	f, _ := r.e.Facts.Facts(r.op.Plan.Cluster)
	n := f.Node(a)
	if n == nil || n.Process == nil || n.Process.Name == "" {
		return fmt.Errorf("%s was not started by an agent of ours", a)
	}
	_, err := r.order(ctx, a, agent.ActionProcessStop, 15*time.Second, "name", n.Process.Name, "graceMs", "1")
	return err
}

// startOld starts an old primary again that this operation ended.
func (r *run) startOld(ctx context.Context) (string, error) {
	a := r.op.Plan.From
	f, _ := r.e.Facts.Facts(r.op.Plan.Cluster)
	n := f.Node(a)
	if n == nil || n.Process == nil {
		return "", fmt.Errorf("%s is kept stopped and its agent does not tell of it any more", a)
	}
	if _, err := r.order(ctx, a, agent.ActionProcessResume, orderTimeout, "name", n.Process.Name, "args", "[]"); err != nil {
		return "", err
	}
	return a + " is started again", nil
}

// saidOff tells that who asked for this operation said that the old primary's
// machine is switched off.
func (r *run) saidOff() bool {
	return r.op.Plan.From != "" && r.op.Plan.Arg(failover.ArgOff) == r.op.Plan.From
}

// wordOf is who said so and when.
func (r *run) wordOf() string {
	return fmt.Sprintf("%s said at %s that %s is switched off", r.op.Requester, r.op.At.UTC().Format(time.RFC3339), r.op.Plan.From)
}

// unseen has every other node's host look for the old primary and returns the
// nodes whose host did not find it. One that finds it, or at least somebody who
// takes connections in its place, contradicts the person; so does nobody who
// could look.
func (r *run) unseen(ctx context.Context) (looked []string, err error) {
	a := r.op.Plan.From
	nodes := append([]string{r.op.Plan.Node}, r.op.Plan.Siblings...)
	errs := each(nodes, func(n string) error {
		_, err := r.order(ctx, n, engine.CheckAuth, seekTime, "addr", r.addr(a))
		return err
	})
	if err := anyStale(errs); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var found []string
	for _, n := range nodes {
		switch err := errs[n]; {
		case err == nil:
			found = append(found, fmt.Sprintf("the host of %s reaches it at %s", n, r.addr(a)))
		case codeOf(err) == engine.CodeAuth, codeOf(err) == engine.CodeTimeout:
			found = append(found, err.Error())
		case codeOf(err) == engine.CodeUnreachable:
			looked = append(looked, n)
		}
	}
	switch {
	case len(found) > 0:
		return nil, fmt.Errorf("%s is not switched off: %s", a, strings.Join(found, "; "))
	case len(looked) == 0:
		return nil, fmt.Errorf("no host could look whether %s is switched off: %s", a, list(nodes, errs))
	}
	slices.Sort(looked)
	return looked, nil
}
