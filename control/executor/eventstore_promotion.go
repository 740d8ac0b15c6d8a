package executor

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"baton/control/engine"
	"baton/control/plan"
)

// eventStorePromotion moves leadership to the candidate by name. The engine
// itself guarantees that only a node with every acknowledged write can lead;
// the steps here choose, watch and prove. A clone becomes a voter first.
var eventStorePromotion = procedure{
	{id: plan.StepStartProbe, do: startProbe, undo: stopProbeAgain},
	{id: plan.StepCheck, do: checkLeader},
	{id: plan.StepPromoteClone, do: promoteClone},
	{id: plan.StepCommit}, // point of no return: journalled with the next intent
	{id: plan.StepTransfer, do: transferLeadership},
	{id: plan.StepVerify, do: verifyLeader},
	{id: plan.StepStopProbe, do: stopProbe},
}

// transfers bounds how often a lost election is repeated before the leader
// that won instead is accepted.
const transfers = 3

func checkLeader(ctx context.Context, r *run) (outcome, error) {
	a, b := r.op.Plan.From, r.op.Candidate
	v, err := r.order(ctx, b, engine.VerifyLeader, orderTimeout, "node", a)
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: fmt.Sprintf("%s sees %s lead term %s", b, a, v["term"]), values: map[string]string{"term": v["term"]}}, nil
}

// promoteClone asks the leader: the clone catches up and takes a voter's place
// in one joint change. Nothing can be lost by it, so nothing is taken back.
func promoteClone(ctx context.Context, r *run) (outcome, error) {
	v, err := r.order(ctx, r.op.Plan.From, engine.PromoteClone, time.Minute, "node", r.op.Candidate, "timeoutMs", "50000")
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: r.op.Candidate + " votes now", values: v}, nil
}

// transferLeadership asks for the transfer. An open outcome is read back. When
// the candidate does not win, whoever leads is legal: after the last try the
// old leader is confirmed under a generation of its own.
func transferLeadership(ctx context.Context, r *run) (outcome, error) {
	a, b := r.op.Plan.From, r.op.Candidate
	var v map[string]string
	tries := 0
	err := r.insist(ctx, func() (bool, error) {
		if r.op.Candidate != b {
			return true, nil
		}
		r.pauseSent = time.Now()
		var err error
		// Either node's interface takes the request; the candidate's answers
		// also while the old leader goes.
		via := b
		if tries%2 == 1 {
			via = a
		}
		v, err = r.order(ctx, via, engine.Transfer, 8*time.Second, "to", b, "timeoutMs", "4000")
		if err == nil || isStale(err) || ctx.Err() != nil {
			return true, err
		}
		if _, rerr := r.order(ctx, via, engine.VerifyLeader, orderTimeout, "node", b, "waitMs", "1000"); rerr == nil {
			v = map[string]string{"leader": b}
			return true, nil
		}
		tries++
		if tries < transfers {
			return false, err
		}
		if _, rerr := r.order(ctx, a, engine.VerifyLeader, orderTimeout, "node", a, "waitMs", "1000"); rerr == nil {
			return true, r.redirect(ctx, a, fmt.Sprintf("%s did not become leader: %v", b, err))
		}
		return false, err
	})
	if err != nil {
		return outcome{}, err
	}
	r.switched = time.Now()
	out := outcome{detail: r.op.Candidate + " leads", values: map[string]string{"term": v["term"]}}
	if took, perr := strconv.ParseFloat(v["tookMs"], 64); perr == nil {
		out.values["agentMs"] = strconv.FormatFloat(took, 'f', 3, 64)
	} else {
		out.values["agentMs"] = ms(r.switched.Sub(r.pauseSent))
	}
	return out, nil
}

// verifyLeader asks every node whom it follows. The candidate's own word
// decides; the others have a moment and are named when they differ.
func verifyLeader(ctx context.Context, r *run) (outcome, error) {
	b := r.op.Candidate
	err := r.insist(ctx, func() (bool, error) {
		_, err := r.order(ctx, b, engine.VerifyLeader, orderTimeout+readTimeout, "node", b, "waitMs", "3000")
		return isStale(err), err
	})
	if err != nil {
		return outcome{}, err
	}
	nodes := r.others()
	errs := each(nodes, func(n string) error {
		_, err := r.order(ctx, n, engine.VerifyLeader, orderTimeout+readTimeout, "node", b, "waitMs", "3000")
		return err
	})
	if err := anyStale(errs); err != nil {
		return outcome{}, err
	}
	out := outcome{detail: fmt.Sprintf("%d of %d nodes name %s as leader", len(nodes)-len(errs)+1, len(nodes)+1, b)}
	if len(errs) > 0 {
		out.values = map[string]string{"attention": list(nodes, errs)}
		out.detail += "; not verified: " + list(nodes, errs)
	}
	return out, ctx.Err()
}
