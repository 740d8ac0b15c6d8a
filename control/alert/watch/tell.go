package watch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"baton/control/alert"
	"baton/control/notify"
	"baton/control/operation"
)

// tell sends one message with everything that is to be told, once the first of
// it has waited for the rest. It does not wait for the channels.
func (k *Keeper) tell(ctx context.Context, now time.Time) error {
	select {
	case t := <-k.sent:
		k.sending, k.unsaid = false, &t
	default:
	}
	if k.unsaid != nil {
		written, err := k.record(ctx, *k.unsaid)
		if err != nil || !written {
			return err // it stays to be recorded
		}
		k.unsaid = nil
	}
	if k.sending {
		return nil
	}
	if k.Teller == nil || k.Teller.Channels() == 0 {
		k.due = time.Time{}
		return nil
	}
	fired, resolved, ops := k.untold(now)
	if len(fired)+len(resolved)+len(ops) == 0 {
		k.due = time.Time{}
		return nil
	}
	if k.due.IsZero() {
		k.due = now.Add(k.Group)
	}
	if now.Before(k.due) {
		return nil
	}
	k.due, k.sending = time.Time{}, true
	m := k.message(now, fired, resolved, ops)
	t := alert.Told{Fired: map[string]alert.Severity{}, At: now}
	for _, a := range fired {
		t.Fired[a.ID] = a.Severity
	}
	for _, a := range resolved {
		t.Resolved = append(t.Resolved, a.ID)
	}
	for _, o := range ops {
		t.Operations = append(t.Operations, o.Operation)
	}
	k.wg.Add(1)
	go func() {
		defer k.wg.Done()
		// What no channel took after its retries is not told again: the
		// failure is on record, and the alert is on the page.
		t.Failed = k.Teller.Deliver(ctx, m)
		if ctx.Err() != nil {
			return // the next process tells it
		}
		if len(t.Failed) > 0 {
			k.Log.Warn("people could not be told on every channel", "failed", strings.Join(t.Failed, "; "))
		}
		k.sent <- t
	}()
	return nil
}

// untold is what people do not know yet.
func (k *Keeper) untold(now time.Time) (fired, resolved []alert.Alert, ops []operation.Operation) {
	k.mu.Lock()
	all := make([]alert.Alert, 0, len(k.open)+len(k.resolved))
	for _, v := range k.open {
		all = append(all, v)
	}
	all = append(all, k.resolved...)
	var ids []string
	for _, e := range k.ended {
		if !k.told[e.operation] && now.Sub(e.at) < tellOperations {
			ids = append(ids, e.operation)
		}
	}
	k.mu.Unlock()
	fired, resolved = alert.Tell(all)
	for _, id := range ids {
		if o, ok := k.Inventory.Operation(id); ok && o.State.Final() && worthTelling(&o) {
			ops = append(ops, o)
		}
	}
	return fired, resolved, ops
}

// worthTelling: operations that moved a primary, or that somebody must look
// after.
func worthTelling(o *operation.Operation) bool {
	return o.Generation > o.Plan.Generation || o.State == operation.StateNeedsHuman
}

func (k *Keeper) message(now time.Time, fired, resolved []alert.Alert, ops []operation.Operation) notify.Message {
	m := notify.Message{At: now}
	if k.URL != nil {
		m.URL = k.URL()
	}
	for _, a := range fired {
		m.Items = append(m.Items, notify.Item{State: "firing", ID: a.ID, Kind: string(a.Kind), Severity: string(a.Severity), Cluster: a.Cluster, Node: a.Node, Sentence: a.Sentence, Fix: a.Fix, At: a.Since})
	}
	for i := range ops {
		o := &ops[i]
		sev := "info"
		if o.State == operation.StateNeedsHuman {
			sev = string(alert.Critical)
		}
		m.Items = append(m.Items, notify.Item{State: "ended", ID: o.Operation, Kind: o.Kind, Severity: sev, Cluster: o.Plan.Cluster, Node: o.Candidate,
			Sentence: told(o), At: o.EndedAt})
	}
	for _, a := range resolved {
		m.Items = append(m.Items, notify.Item{State: "resolved", ID: a.ID, Kind: string(a.Kind), Severity: string(a.Severity), Cluster: a.Cluster, Node: a.Node, Sentence: a.Sentence, At: a.ResolvedAt})
	}
	m.ID = fmt.Sprintf("%s-%d", m.Items[0].ID, now.Unix())
	return m
}

// told is an operation's end with what people ask first: how long writes
// waited, whether anything was lost.
func told(o *operation.Operation) string {
	s := fmt.Sprintf("%s by %s: %s", o.Kind, o.Requester, o.Outcome)
	if ms := o.Stall.Longest(); ms != nil {
		s += fmt.Sprintf("; writes waited %.1f ms", *ms)
	}
	if o.Proof != nil && o.Proof.Sentence != "" {
		s += "; " + o.Proof.Sentence
	}
	return s
}
