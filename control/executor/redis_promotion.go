package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/plan"
)

// redisPromotion makes the candidate primary without losing an acknowledged
// write. Writes wait from pause-writes to promote; the one append in between
// is the point of no return.
var redisPromotion = procedure{
	{id: plan.StepStartProbe, do: startProbe, undo: stopProbeAgain},
	{id: plan.StepCheck, do: checkCandidate},
	{id: plan.StepPause, do: pauseWrites, undo: resumeWrites},
	{id: plan.StepWait, do: waitOffset, joined: true},
	{id: plan.StepCommit}, // point of no return: journalled with the next intent
	{id: plan.StepDemote, do: demoteOld},
	{id: plan.StepPromote, do: promoteCandidate, joined: true},
	{id: plan.StepRepoint, do: repointOthers, joined: true},
	{id: plan.StepKick, do: kickClients, joined: true},
	{id: plan.StepPersist, do: persistRoles},
	{id: plan.StepVerify, do: verifyRoles},
	{id: plan.StepStopProbe, do: stopProbe},
}

// pauseLeft is how much of the pause must remain when the old primary is
// demoted: the order must arrive and act before writes go on.
const pauseLeft = time.Second

func startProbe(ctx context.Context, r *run) (outcome, error) {
	_, err := r.order(ctx, r.op.Plan.Node, engine.ProbeStart, 10*time.Second, "id", r.op.Operation)
	return outcome{}, err
}

// stopProbeAgain takes start-probe back; what the probe measured is kept.
func stopProbeAgain(ctx context.Context, r *run) (string, error) {
	v, err := r.order(ctx, r.op.Plan.Node, engine.ProbeStop, 10*time.Second, "id", r.op.Operation)
	r.probe = v
	return "", err
}

// checkCandidate looks at the engines themselves right before anything moves:
// the report may be seconds old.
func checkCandidate(ctx context.Context, r *run) (outcome, error) {
	a, b := r.op.Plan.From, r.op.Candidate
	var was reading
	checks := map[string]func() error{
		"roles of " + a: func() error {
			_, err := r.order(ctx, a, engine.VerifyRole, readTimeout, "role", string(engine.RolePrimary))
			return err
		},
		"roles of " + b: func() error {
			_, err := r.order(ctx, b, engine.VerifyRole, readTimeout, "role", string(engine.RoleReplica), "addr", r.addr(a))
			return err
		},
		"login": func() error {
			_, err := r.order(ctx, a, engine.CheckAuth, readTimeout, "addr", r.addr(b))
			return err
		},
		"position": func() (err error) {
			was, err = r.read(ctx, b)
			return err
		},
	}
	names := []string{"roles of " + a, "roles of " + b, "login", "position"}
	errs := each(names, func(n string) error { return checks[n]() })
	if err := anyStale(errs); err != nil {
		return outcome{}, err
	}
	if len(errs) > 0 {
		return outcome{}, fmt.Errorf("%s", list(names, errs))
	}
	return outcome{detail: fmt.Sprintf("%s follows %s at position %s", b, a, was.offset)}, nil
}

// pauseWrites holds writes on the old primary and reads its last position. A
// position that still moves means a writer that the pause does not hold.
func pauseWrites(ctx context.Context, r *run) (outcome, error) {
	at, err := r.pause(ctx)
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: "last position " + at.offset, values: map[string]string{"offset": at.offset, "replid": at.replid}}, nil
}

func (r *run) pause(ctx context.Context) (reading, error) {
	r.holdClients(ctx)
	a := r.op.Plan.From
	sent := time.Now()
	if r.pauseSent.IsZero() {
		r.pauseSent = sent
	}
	v, err := r.order(ctx, a, engine.PauseWrites, readTimeout, "ms", strconv.FormatInt(plan.PauseFor.Milliseconds(), 10), "read", "true")
	if err != nil {
		return reading{}, err
	}
	at := asReading(v)
	if at.offset == "" { // the driver does not read along
		if at, err = r.read(ctx, a); err != nil {
			return at, err
		}
	}
	switch {
	case !at.stable:
		return at, fmt.Errorf("the position of %s still moves although writes are paused: something writes that the pause does not hold", a)
	case at.role != string(engine.RolePrimary):
		return at, fmt.Errorf("%s is %s, not primary any more", a, at.role)
	}
	r.pausedUntil, r.pausedAt = sent.Add(plan.PauseFor), at
	return at, nil
}

func resumeWrites(ctx context.Context, r *run) (string, error) {
	_, err := r.order(ctx, r.op.Plan.From, engine.UnpauseWrites, orderTimeout)
	r.releaseClients(ctx, r.op.Plan.From)
	if err != nil && !isStale(err) {
		return fmt.Sprintf("%v; the pause ends by itself %s after it began", err, plan.PauseFor), nil
	}
	return "", err
}

// letGo ends the pause while the journal does not answer. The equality of
// positions is established anew afterwards.
func (r *run) letGo(ctx context.Context) {
	r.pausedUntil = time.Time{}
	if _, err := r.order(ctx, r.op.Plan.From, engine.UnpauseWrites, readTimeout); err != nil {
		r.log.Warn("writes could not be let go; the pause ends by itself", "err", err)
	}
}

// waitOffset asks the candidate's own agent, every millisecond: waiting for
// the acknowledgement at the primary would take up to a second.
func waitOffset(ctx context.Context, r *run) (outcome, error) {
	waited, err := r.equal(ctx, reading{offset: r.value(plan.StepPause, "offset"), replid: r.value(plan.StepPause, "replid")},
		r.op.Plan.Budget-time.Since(r.pauseSent))
	if err != nil {
		return outcome{}, err
	}
	return outcome{detail: "equal after " + waited + " ms"}, nil
}

func (r *run) equal(ctx context.Context, at reading, within time.Duration) (waitedMs string, err error) {
	within = max(within, 10*time.Millisecond)
	v, err := r.order(ctx, r.op.Candidate, engine.WaitOffset, within+readTimeout,
		"offset", at.offset, "replid", at.replid, "deadlineMs", strconv.FormatInt(within.Milliseconds(), 10))
	return v["waitedMs"], err
}

// demoteOld takes the writes from the old primary for good. Nothing is
// promoted before this is confirmed.
func demoteOld(ctx context.Context, r *run) (outcome, error) {
	a := r.op.Plan.From
	var out outcome
	r.warnEndpoints(ctx)
	err := r.insist(ctx, func() (bool, error) {
		if err := r.fenced(ctx, &out); err != nil {
			return false, err
		}
		if r.op.Candidate == a {
			return true, nil
		}
		args := []string{"addr", r.addr(r.op.Candidate)}
		if r.pausedAt.offset != "" {
			args = append(args, "ifReplid", r.pausedAt.replid, "ifOffset", r.pausedAt.offset)
		}
		_, err := r.order(ctx, a, engine.Demote, r.fenceTime(), args...)
		switch {
		case err == nil:
			r.demotedTo = r.op.Candidate
		case codeOf(err) == engine.CodeHistory:
			r.pausedUntil = time.Time{} // it was restarted, and the pause went with it
		}
		if (engineGone(err) || codeOf(err) == codeNotConnected || codeOf(err) == codeNoAnswer) && r.overByLease() {
			// It holds nothing more than the candidate: it took its last write before
			// the pause, which its own fence outlasted.
			r.held[a] = "it was not reached; it returns as a replica by itself"
			out.detail = a + " was not reached; its lease is over"
			return true, nil
		}
		if engineGone(err) && r.diedPaused(ctx) {
			// It must not come back by itself as a primary.
			if held := r.holdDown(ctx, a); held == nil {
				out.detail = a + " died meanwhile and is kept stopped"
				return true, nil
			}
		}
		return false, err
	})
	return out, err
}

// diedPaused tells whether the dead old primary surely took no write after the
// position the candidate was compared with: it died while this run's pause
// held, or an earlier run stopped it for that reason. Either way the candidate
// must hold that position.
func (r *run) diedPaused(ctx context.Context) bool {
	if time.Until(r.pausedUntil) <= 0 {
		f, _ := r.e.Facts.Facts(r.op.Plan.Cluster)
		if n := f.Node(r.op.Plan.From); n == nil || n.Process == nil || n.Process.State != "stopped" {
			return false
		}
	}
	want := r.lastPosition()
	at, err := r.read(ctx, r.op.Candidate)
	return err == nil && (at.holds(want) || at.role == string(engine.RolePrimary))
}

// bringBack starts what was kept stopped again, as a replica from its first
// moment on.
func (r *run) bringBack(ctx context.Context) {
	f, _ := r.e.Facts.Facts(r.op.Plan.Cluster)
	for node := range r.held {
		n := f.Node(node)
		if n == nil || n.Process == nil {
			continue
		}
		host, port, err := net.SplitHostPort(r.addr(r.op.Candidate))
		if err != nil {
			continue
		}
		args, _ := json.Marshal([]string{"--replicaof", host, port})
		if _, err = r.order(ctx, node, agent.ActionProcessResume, orderTimeout, "name", n.Process.Name, "args", string(args)); err == nil {
			_, err = r.order(ctx, node, engine.VerifyRole, attachTime+readTimeout, "role", string(engine.RoleReplica),
				"addr", r.addr(r.op.Candidate), "waitMs", strconv.FormatInt(attachTime.Milliseconds(), 10))
		}
		if err == nil {
			_, err = r.order(ctx, node, engine.Persist, orderTimeout)
		}
		if err != nil {
			r.log.Warn("a stopped node could not be brought back", "node", node, "err", err)
			continue
		}
		delete(r.held, node)
	}
}

// fenceTime bounds a demotion so that it cannot take effect after the pause.
func (r *run) fenceTime() time.Duration {
	if left := time.Until(r.pausedUntil); left > 0 {
		return min(left, orderTimeout)
	}
	return orderTimeout
}

// fenced makes sure that writes are held and the candidate holds all of them.
// In the ordinary run the pause has seconds left and this does nothing. After
// a restart, or when the journal took long, the pause may have ended and the
// old primary may have taken writes since: then both are established again.
// When the candidate cannot keep up any more the old primary, which was never
// demoted, is confirmed instead.
func (r *run) fenced(ctx context.Context, out *outcome) error {
	a, b := r.op.Plan.From, r.op.Candidate
	if a == b || time.Until(r.pausedUntil) > pauseLeft {
		return nil
	}
	if r.inDoubt[b] {
		at, err := r.read(ctx, b)
		if err != nil {
			return err
		}
		if at.role == string(engine.RolePrimary) {
			return nil // it was promoted before the restart
		}
	}
	at, err := r.read(ctx, a)
	if err != nil {
		return err
	}
	if at.role != string(engine.RolePrimary) {
		return nil // demoted already
	}
	if at, err = r.pause(ctx); err != nil {
		return err
	}
	if _, err = r.equal(ctx, at, r.op.Plan.Budget); err == nil {
		out.values = map[string]string{"offset": at.offset, "replid": at.replid}
		return nil
	}
	if isStale(err) || ctx.Err() != nil {
		return err
	}
	return r.redirect(ctx, a, fmt.Sprintf("%s could not catch up again: %v", b, err))
}

// holdDown makes the agent beside a dead engine keep it stopped.
func (r *run) holdDown(ctx context.Context, node string) error {
	f, _ := r.e.Facts.Facts(r.op.Plan.Cluster)
	n := f.Node(node)
	if n == nil || n.Process == nil || n.Process.Name == "" {
		return fmt.Errorf("the process of %s is not supervised by an agent", node)
	}
	_, err := r.order(ctx, node, agent.ActionProcessStop, orderTimeout, "name", n.Process.Name, "graceMs", "0")
	if err == nil {
		r.held[node] = "its engine died during the operation and is kept stopped; start it again as a replica"
	}
	return err
}

// lastPosition is the position every candidate must hold.
func (r *run) lastPosition() reading {
	if at := (reading{offset: r.value(plan.StepDemote, "offset"), replid: r.value(plan.StepDemote, "replid")}); at.offset != "" {
		return at
	}
	return reading{offset: r.value(plan.StepPause, "offset"), replid: r.value(plan.StepPause, "replid")}
}

// promoteCandidate makes the candidate primary. When the candidate is gone and
// surely did not take the order, the next replica that holds everything takes
// its place, else the old primary, each under a generation of its own. A
// candidate whose answer was lost may have acknowledged writes that nobody else
// has: it is waited for, and its agent starts it again with them. Under a lease
// its agent would keep it stopped, and the next replica takes over as it does in
// a failover.
func promoteCandidate(ctx context.Context, r *run) (outcome, error) {
	var v map[string]string
	tried := map[string]bool{}
	r.releaseOld(ctx)
	err := r.insist(ctx, func() (final bool, err error) {
		b := r.op.Candidate
		v, err = r.order(ctx, b, engine.Promote, orderTimeout, r.chosenFor(b, r.pausedPosition())...)
		switch {
		case err == nil:
			delete(r.inDoubt, b)
			return true, nil
		case isStale(err) || ctx.Err() != nil:
			return true, err
		case open(err):
			r.inDoubt[b] = true
			return false, err
		case r.inDoubt[b] && (codeOf(err) == codeNotConnected || !r.leased()):
			// It may have become primary and taken writes before it was gone.
			return false, err
		}
		tried[b] = true
		next := r.successor(ctx, tried)
		if next == "" {
			clear(tried)
			return false, err
		}
		if rerr := r.redirect(ctx, next, fmt.Sprintf("%s could not be promoted: %v", b, err)); rerr != nil {
			return true, rerr
		}
		return false, err
	})
	if err != nil {
		return outcome{}, err
	}
	r.switched = time.Now()
	r.releaseClients(ctx, r.op.Candidate)
	out := outcome{detail: r.op.Candidate + " is primary", values: map[string]string{"offset": v["offset"], "syncFull": v["syncFull"]}}
	if !r.pauseSent.IsZero() {
		out.values["agentMs"] = ms(r.switched.Sub(r.pauseSent))
	}
	return out, nil
}

// pausedPosition is where the old primary stood when its writes were held, which
// every candidate holds.
func (r *run) pausedPosition() reading {
	if r.pausedAt.offset != "" {
		return r.pausedAt
	}
	return reading{offset: r.value(plan.StepPause, "offset"), replid: r.value(plan.StepPause, "replid")}
}

// chosenFor are the arguments that keep a candidate from becoming primary which
// was started again since it was chosen, and may have come back with less. One
// that may have taken the order before, and writes with it, is not asked again;
// neither is the old primary, whose data are the measure.
func (r *run) chosenFor(node string, at reading) []string {
	if at.replid == "" || at.offset == "" || r.inDoubt[node] || node == r.op.Plan.From {
		return nil
	}
	return []string{"history", at.replid, "offset", at.offset}
}

// releaseOld lets the clients of the demoted primary go while the candidate is
// promoted: it takes no writes any more, so what waited is answered with an
// error and looks for the new primary. The pause would end by itself too. Then
// its role is written to its file at once, so that it does not come back as a
// primary; persist-roles tells when that failed.
func (r *run) releaseOld(ctx context.Context) {
	done := make(chan struct{})
	r.released = done
	if r.op.Candidate == r.op.Plan.From || r.held[r.op.Plan.From] != "" {
		close(done)
		return
	}
	o := *r // the order needs what is so now; the run goes on meanwhile
	r.e.wg.Add(1)
	go func() {
		defer r.e.wg.Done()
		if _, err := o.order(ctx, o.op.Plan.From, engine.UnpauseWrites, orderTimeout); err != nil {
			o.log.Warn("the pause could not be ended; it ends by itself", "err", err)
		}
		close(done)
		_, _ = o.order(ctx, o.op.Plan.From, engine.Persist, orderTimeout) // done again, and told, by persist-roles
	}()
}

// successor finds a reachable replica that holds the last position, siblings
// first, the old primary last; "" when none answers.
func (r *run) successor(ctx context.Context, tried map[string]bool) string {
	want := r.lastPosition()
	nodes := append(append([]string{}, r.op.Plan.Siblings...), r.op.Plan.From)
	found := map[string]bool{}
	for _, n := range nodes {
		if tried[n] || r.held[n] != "" {
			continue
		}
		at, err := r.read(ctx, n)
		switch {
		case err != nil:
		case n == r.op.Plan.From: // it holds everything: it was the one that wrote it
			found[n] = true
		case at.holds(want):
			found[n] = true
		}
	}
	for _, n := range nodes {
		if found[n] {
			return n
		}
	}
	return ""
}

// others are all members but the candidate and those kept stopped.
func (r *run) others() []string {
	var out []string
	for _, n := range append([]string{r.op.Plan.From, r.op.Plan.Node}, r.op.Plan.Siblings...) {
		if n == r.op.Plan.From && r.withoutOld() {
			continue
		}
		if n != r.op.Candidate && r.held[n] == "" {
			out = append(out, n)
		}
	}
	return out
}

// follow points one node to the candidate.
func (r *run) follow(ctx context.Context, n string) error {
	action := engine.Repoint
	if n == r.op.Plan.From || n == r.op.Plan.Node {
		action = engine.Demote // it may think it is primary
	}
	_, err := r.order(ctx, n, action, orderTimeout, "addr", r.addr(r.op.Candidate))
	return err
}

// repointOthers makes everybody follow the new primary and ends the pause
// where the old primary stays one. A replica that cannot be reached does not
// stop the operation: verify tries it again and names it.
func repointOthers(ctx context.Context, r *run) (outcome, error) {
	nodes := r.others()
	errs := each(nodes, func(n string) error {
		if n == r.op.Plan.From && r.demotedTo == r.op.Candidate {
			return nil // it was told so a moment ago
		}
		return r.follow(ctx, n)
	})
	if r.released != nil {
		<-r.released
	}
	if err := anyStale(errs); err != nil {
		return outcome{}, err
	}
	if a := r.op.Plan.From; r.op.Candidate == a {
		if _, err := r.order(ctx, a, engine.UnpauseWrites, orderTimeout); err != nil {
			if isStale(err) {
				return outcome{}, err
			}
			r.log.Warn("the pause could not be ended; it ends by itself", "err", err)
		}
	}
	return outcome{detail: list(nodes, errs)}, nil
}

// kickClients makes connected clients look for the primary again. What waited
// on the old one was answered READONLY: an error, never a lost write.
func kickClients(ctx context.Context, r *run) (outcome, error) {
	a := r.op.Plan.From
	if r.op.Candidate == a || r.held[a] != "" {
		return outcome{detail: "not needed"}, nil
	}
	v, err := r.order(ctx, a, engine.KickClients, orderTimeout)
	if err != nil {
		if isStale(err) || ctx.Err() != nil {
			return outcome{}, err
		}
		return outcome{detail: "clients keep their connections: " + err.Error()}, nil
	}
	return outcome{detail: v["kicked"] + " connections closed"}, nil
}

// persistRoles writes the roles to the engines' own files. A failure is told,
// because the role would revert on a restart; it cannot be taken back.
func persistRoles(ctx context.Context, r *run) (outcome, error) {
	nodes := append([]string{r.op.Candidate}, r.others()...)
	errs := each(nodes, func(n string) error {
		_, err := r.order(ctx, n, engine.Persist, orderTimeout)
		return err
	})
	if err := anyStale(errs); err != nil {
		return outcome{}, err
	}
	out := outcome{detail: "written on " + strings.Join(nodes, ", ")}
	if len(errs) > 0 { // verify-roles tries again
		out.detail = "not yet: " + list(nodes, errs)
		out.values = map[string]string{"failed": out.detail}
	}
	return out, ctx.Err()
}

// attachTime is how long a replica may take to attach to the new primary.
const attachTime = 15 * time.Second

// verifyRoles is what makes an operation done: one primary among all, every
// replica that answers attached to it, a value written there read back here.
func verifyRoles(ctx context.Context, r *run) (outcome, error) {
	b, promotedAgain, lost := r.op.Candidate, false, false
	err := r.insist(ctx, func() (bool, error) {
		_, err := r.order(ctx, b, engine.VerifyRole, orderTimeout, "role", string(engine.RolePrimary), "waitMs", "1000")
		if err != nil && !isStale(err) {
			if lost = r.lostAgain(); lost {
				return true, err
			}
			// It was restarted before its role was in its file.
			if _, again := r.order(ctx, b, engine.Promote, orderTimeout); again != nil {
				return false, err
			}
			promotedAgain = true
		}
		return isStale(err), err
	})
	if lost {
		// It was promoted, and took writes or could have. What follows is another
		// failover's, which this operation must not hold up.
		why := fmt.Sprintf("%s ended again before its role was verified; who follows it is decided anew", b)
		return outcome{detail: why, values: map[string]string{"attention": why}}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	r.bringBack(ctx)
	nodes := r.others()
	errs := each(nodes, func(n string) error { return r.attached(ctx, n) })
	if err := anyStale(errs); err != nil {
		return outcome{}, err
	}
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	if promotedAgain || r.value(plan.StepPersist, "failed") != "" {
		again, err := persistRoles(ctx, r)
		if err != nil {
			return outcome{}, err
		}
		if why := again.values["failed"]; why != "" {
			errs[b] = fmt.Errorf("a role would revert on a restart: %s", why)
		}
	}
	seq := strconv.FormatUint(r.op.Generation, 10)
	if _, err := r.order(ctx, b, engine.ProbeWrite, orderTimeout, "seq", seq); err != nil {
		errs[b] = errors.Join(errs[b], err)
	} else {
		for n, err := range each(nodes, func(n string) error {
			if errs[n] != nil {
				return nil
			}
			_, err := r.order(ctx, n, engine.ProbeRead, orderTimeout+readTimeout, "seq", seq, "waitMs", "3000")
			return err
		}) {
			errs[n] = err
		}
	}
	out := outcome{detail: "one primary; attached: " + strings.Join(without(nodes, errs), ", "), values: map[string]string{}}
	if was := r.value(plan.StepPromote, "syncFull"); was != "" {
		v, err := r.order(ctx, b, engine.VerifyRole, orderTimeout, "role", string(engine.RolePrimary))
		if err == nil && v["syncFull"] != "" {
			out.values["fullSyncs"] = difference(v["syncFull"], was)
			if out.values["fullSyncs"] == "0" {
				out.detail += "; by partial resync"
			}
		}
	}
	if len(errs) > 0 {
		out.detail += "; not verified: " + list(append([]string{b}, nodes...), errs)
		out.values["attention"] = list(append([]string{b}, nodes...), errs)
	}
	return out, nil
}

// attached waits until a node follows the candidate, pointing it there again
// once when it does not.
func (r *run) attached(ctx context.Context, n string) error {
	verify := func(wait time.Duration) error {
		_, err := r.order(ctx, n, engine.VerifyRole, wait+readTimeout, "role", string(engine.RoleReplica),
			"addr", r.addr(r.op.Candidate), "waitMs", strconv.FormatInt(wait.Milliseconds(), 10))
		return err
	}
	err := verify(attachTime / 5)
	if err == nil || isStale(err) || codeOf(err) == codeNotConnected || engineGone(err) {
		return err
	}
	if err := r.follow(ctx, n); err != nil {
		return err
	}
	return verify(attachTime)
}

// stopProbe ends the probe and keeps what it measured and read back. Without
// it there is no proof, which the result says; the roles are right all the same.
func stopProbe(ctx context.Context, r *run) (outcome, error) {
	v, err := r.readBack(ctx)
	if err != nil {
		if isStale(err) || ctx.Err() != nil {
			return outcome{}, err
		}
		return outcome{detail: "the probe's report is missing: " + err.Error()}, nil
	}
	r.probe = v
	return outcome{detail: fmt.Sprintf("%s acknowledged, %s read back", v["acked"], v["readBack"]), values: v}, nil
}

const readBackTime = 30 * time.Second

// readBack ends the probe. It is not waited for where the new primary is lost
// meanwhile: nothing can be read back then, and a failover waits.
func (r *run) readBack(ctx context.Context) (map[string]string, error) {
	waited, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(readBackLook)
		defer tick.Stop()
		for {
			if r.lostAgain() {
				cancel()
			}
			select {
			case <-waited.Done():
				return
			case <-tick.C:
			}
		}
	})
	v, err := r.order(waited, r.op.Plan.Node, engine.ProbeStop, readBackTime, "id", r.op.Operation)
	cancel()
	watch.Wait()
	return v, err
}

// readBackLook is how often it is looked whether the new primary is lost.
const readBackLook = 200 * time.Millisecond

func (r *run) addr(node string) string { return r.op.Plan.Addresses[node] }

func without(nodes []string, errs map[string]error) []string {
	var out []string
	for _, n := range nodes {
		if errs[n] == nil {
			out = append(out, n)
		}
	}
	return out
}

func difference(a, b string) string {
	x, err1 := strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(b, 10, 64)
	if err1 != nil || err2 != nil {
		return ""
	}
	return strconv.FormatInt(x-y, 10)
}

func ms(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64)
}
