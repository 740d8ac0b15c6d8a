package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// removeNode takes a replica out of a cluster. REPLICAOF NO ONE is not used:
// it would make a second primary for a moment.
var removeNode = procedure{
	{id: plan.StepNever, do: markNever, undo: unmarkNever},
	{id: plan.StepShutdown, do: shutDownNode}, // point of no return
	{id: plan.StepPeers, do: tellPeers},
}

// deleteCluster shuts every server down.
var deleteCluster = procedure{
	{id: plan.StepShutdown, do: shutDownAll}, // point of no return
}

// redisResync brings one replica in step: from its offset, else by a copy.
var redisResync = procedure{
	{id: plan.StepReconnect, do: reconnect},
	{id: plan.StepFullCopy, do: fullCopy},
	{id: plan.StepCaughtUp, do: inStepAgain},
}

const (
	// shutdownTime bounds ending a server, which writes its data then.
	shutdownTime = 45 * time.Second
	// partialTime is how long a replica may take to go on from its offset.
	partialTime = 15 * time.Second
)

func markNever(_ context.Context, r *run) (outcome, error) {
	c, _ := r.e.Inventory.Cluster(r.op.Plan.Cluster)
	m, ok := c.Member(r.op.Plan.Node)
	if !ok {
		return outcome{detail: "it is not registered"}, nil
	}
	m.Tags.Never = true
	return outcome{detail: r.op.Plan.Node + " is not promoted any more"}, r.tag(&m.Tags)
}

// tag lets a change of the node's tags go with the next append.
func (r *run) tag(t *inventory.Tags) error {
	ev, err := inventory.Settings{Tags: map[string]*inventory.Tags{r.op.Plan.Node: t}, By: r.op.Requester, At: r.e.Now()}.Event()
	if err == nil {
		r.with = append(r.with, ev)
	}
	return err
}

func unmarkNever(_ context.Context, r *run) (string, error) {
	var was *inventory.Tags
	if text := r.op.Plan.Arg("tags"); text != "" {
		if err := json.Unmarshal([]byte(text), &was); err != nil {
			return "", err
		}
	}
	return "its tags are as before", r.tag(was)
}

// drop ends one server at its agent. A host that is gone does not keep its
// node: what is left on it is told.
func (r *run) drop(ctx context.Context, agentID, node string) (kept, missed string, err error) {
	if agentID == "" {
		return "", node + " has no agent", nil
	}
	var v map[string]string
	err = r.again(ctx, func() (err error) {
		v, err = r.orderAgent(ctx, agentID, agent.ActionDropServer, shutdownTime, "node", node, "wipe", r.op.Plan.Arg("wipe"))
		return err
	})
	switch {
	case isStale(err) || ctx.Err() != nil:
		return "", "", err
	case err != nil:
		return "", err.Error(), nil
	}
	return v["kept"], "", nil
}

func shutDownNode(ctx context.Context, r *run) (outcome, error) {
	kept, missed, err := r.drop(ctx, r.op.Plan.Arg("agent"), r.op.Plan.Node)
	out := outcome{detail: r.op.Plan.Node + " is shut down"}
	switch {
	case kept != "":
		out.detail += "; its data is in " + kept
	case missed != "":
		out.detail = "its server may still run: " + missed
		out.values = map[string]string{"attention": out.detail}
	}
	return out, err
}

func removed(r *run) string {
	s := fmt.Sprintf("%s is no member of cluster %s any more", r.op.Plan.Node, r.op.Plan.Cluster)
	if a := r.value(plan.StepShutdown, "attention"); a != "" {
		s += ". Needs attention: " + a
	}
	return s
}

// left takes the node out of the inventory, from the point of no return on in
// any case.
func left(r *run, _ operation.State) ([]journal.Event, error) {
	c, ok := r.e.Inventory.Cluster(r.op.Plan.Cluster)
	if !ok || !r.op.Past {
		return r.with, nil
	}
	spec := c.Registration()
	spec.Members = nil
	for _, m := range c.Registration().Members {
		if m.Name != r.op.Plan.Node {
			spec.Members = append(spec.Members, m)
		}
	}
	return events(spec.Event, inventory.Settings{Tags: map[string]*inventory.Tags{r.op.Plan.Node: nil}, By: r.op.Requester, At: r.e.Now()}.Event)
}

func shutDownAll(ctx context.Context, r *run) (outcome, error) {
	agents := map[string]string{}
	if err := json.Unmarshal([]byte(r.op.Plan.Arg("agents")), &agents); err != nil {
		return outcome{}, err
	}
	var nodes, notes, missing []string
	for n := range agents {
		nodes = append(nodes, n)
	}
	sort.Strings(nodes)
	for _, n := range nodes {
		kept, missed, err := r.drop(ctx, agents[n], n)
		switch {
		case err != nil:
			return outcome{}, err
		case missed != "":
			missing = append(missing, n+": "+missed)
		case kept != "":
			notes = append(notes, kept)
		}
	}
	out := outcome{detail: strings.Join(nodes, ", ") + " shut down"}
	if len(notes) > 0 {
		out.detail += "; data kept in " + strings.Join(notes, ", ")
	}
	if len(missing) > 0 {
		out.detail += "; may still run: " + strings.Join(missing, "; ")
		out.values = map[string]string{"attention": strings.Join(missing, "; ")}
	}
	return out, nil
}

func deleted(r *run) string {
	s := "Cluster " + r.op.Plan.Cluster + " is deleted"
	if a := r.value(plan.StepShutdown, "attention"); a != "" {
		s += ". Needs attention: servers may still run: " + a
	}
	return s
}

func gone(r *run, _ operation.State) ([]journal.Event, error) {
	if !r.op.Past {
		return nil, nil
	}
	return []journal.Event{inventory.RemovedEvent()}, nil
}

// reconnect drops the replica's link: it attaches again and asks to go on from
// its offset. Whether that was granted the primary counts.
func reconnect(ctx context.Context, r *run) (outcome, error) {
	node, primary := r.op.Plan.Node, r.primaryOf()
	was, err := r.order(ctx, primary, engine.ReadSync, readTimeout)
	if err != nil {
		return outcome{}, err
	}
	values := map[string]string{"syncFull": was["syncFull"], "inStep": "false"}
	if err := r.again(ctx, func() error {
		_, err := r.order(ctx, node, engine.Reconnect, orderTimeout, "addr", r.addr(primary))
		return err
	}); err != nil && !engineGone(err) {
		return outcome{}, err
	}
	err = r.settle(ctx, partialTime, func() error {
		v, err := r.order(ctx, node, engine.ReadSync, readTimeout)
		switch {
		case err != nil:
			return err
		case v["syncing"] == "true":
			values["copies"] = "true"
			return nil
		case v["link"] != "up" || v["replid"] != was["replid"]:
			return fmt.Errorf("its link is not up")
		}
		values["inStep"] = "true"
		return nil
	})
	switch {
	case isStale(err) || ctx.Err() != nil:
		return outcome{}, err
	case values["inStep"] == "true":
		return outcome{detail: node + " is attached again", values: values}, nil
	case values["copies"] == "true":
		return outcome{detail: node + " copies everything already", values: values}, nil
	}
	return outcome{detail: fmt.Sprintf("not by itself: %v", err), values: values}, nil
}

func fullCopy(ctx context.Context, r *run) (outcome, error) {
	if r.value(plan.StepReconnect, "inStep") == "true" || r.value(plan.StepReconnect, "copies") == "true" {
		return outcome{detail: "not needed"}, nil
	}
	if r.op.Plan.Arg("made") != "true" {
		return outcome{}, fmt.Errorf("%s does not attach by itself, and Baton did not make its server: stop it, remove its data and start it again by hand", r.op.Plan.Node)
	}
	err := r.again(ctx, func() error {
		_, err := r.orderAgent(ctx, r.op.Plan.Arg("agent"), agent.ActionEmpty, shutdownTime, "node", r.op.Plan.Node)
		return err
	})
	return outcome{detail: r.op.Plan.Node + " was started without data"}, err
}

func inStepAgain(ctx context.Context, r *run) (outcome, error) {
	detail, err := r.caughtUp(ctx, r.op.Plan.Node)
	if err != nil {
		return outcome{}, err
	}
	out := outcome{detail: detail, values: map[string]string{}}
	if now, err := r.order(ctx, r.primaryOf(), engine.ReadSync, readTimeout); err == nil {
		out.values["fullSyncs"] = difference(now["syncFull"], r.value(plan.StepReconnect, "syncFull"))
	}
	return out, nil
}

func resynced(r *run) string {
	how := "by a full copy"
	if r.value(plan.StepCaughtUp, "fullSyncs") == "0" {
		how = "from its offset"
	}
	return fmt.Sprintf("%s is in step again, %s", r.op.Plan.Node, how)
}
