package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"baton/control/engine"
	"baton/control/executor"
	"baton/control/failover"
	"baton/control/health"
	"baton/control/keeper"
)

// LeaseView is the lease on a cluster's primary.
type LeaseView struct {
	Holder      string `json:"holder"`
	Generation  Int64  `json:"generation"`
	State       string `json:"state" enum:"held,at-risk,expired,released,none"`
	ExpiresInMs int64  `json:"expiresInMs" doc:"until another node may be named; 0 when it may be"`
	TTLMs       int64  `json:"ttlMs"`
	Mode        string `json:"mode" enum:"strict,failsafe" doc:"how the primary behaves when it cannot renew, in force now"`
	Guarded     bool   `json:"guarded" doc:"a process beside the agent ends the engine when the agent cannot"`
}

// FailoverView is how automatic failover of a cluster stands.
type FailoverView struct {
	Mode           string     `json:"mode" enum:"off,no-loss,bounded-loss"`
	SuspendedUntil *time.Time `json:"suspendedUntil"`
	CoolDownUntil  *time.Time `json:"coolDownUntil" doc:"until then a person must acknowledge before another automatic failover"`
	Blocked        *string    `json:"blocked" doc:"why nobody is promoted although the primary is gone"`
	Decision       string     `json:"decision" enum:"nothing,suspect,waiting,failover,restart,blocked,cool-down,suspended"`
	Sentence       string     `json:"sentence"`
}

// FailoverRequest asks for a failover by hand.
type FailoverRequest struct {
	Node      string `json:"node,omitempty" maxLength:"63" doc:"the node wanted; empty: the one furthest along"`
	TypedName string `json:"typedName" maxLength:"63" doc:"the node's name, or the cluster's where no node is named"`
	// AcceptLoss makes it a forced promotion, which needs an admin.
	AcceptLoss bool `json:"acceptLoss,omitempty"`
	// OldPrimaryIsOff counts where no lease tells that the old primary takes no
	// writes and its agent cannot end it.
	OldPrimaryIsOff string `json:"oldPrimaryIsOff,omitempty" maxLength:"63" doc:"with acceptLoss: the old primary's name, by which who asks says that its machine is switched off and stays so; kept in the audit"`
	Reason          string `json:"reason,omitempty" maxLength:"1000"`
}

// PauseRequest turns automatic failover off for a while.
type PauseRequest struct {
	Minutes int    `json:"minutes" minimum:"0" maximum:"10080" doc:"0 ends the pause"`
	Reason  string `json:"reason,omitempty" maxLength:"1000"`
}

// OperationStarted names the operation that now runs.
type OperationStarted struct {
	OperationID string `json:"operationId"`
}

// LostWrites are what was saved of nodes before they were told to follow
// somebody who may hold less.
type LostWrites struct {
	Bundles []LostWritesBundle `json:"bundles" doc:"newest first"`
}

// LostWritesBundle is everything one node held then: a former primary that came
// back, a second primary, a replica that was ahead.
type LostWritesBundle struct {
	ID         string    `json:"id" doc:"to remove it by"`
	Node       string    `json:"node"`
	Generation Int64     `json:"generation" doc:"in whose name it was saved"`
	At         time.Time `json:"at"`
	Bytes      int64     `json:"bytes"`
	Host       string    `json:"host"`
	Path       string    `json:"path" doc:"on that host"`
	Commands   *int64    `json:"commands" doc:"in the .aof file beside it, of which the first may not be lost; null when not known"`
	Sentence   string    `json:"sentence"`
}

// RemoveLostWritesRequest removes a bundle.
type RemoveLostWritesRequest struct {
	TypedName string `json:"typedName" maxLength:"63" doc:"the name of the node they were saved of"`
	Reason    string `json:"reason,omitempty" maxLength:"1000"`
}

// WhatIf says what would happen if a node died now.
type WhatIf struct {
	Sentence  string   `json:"sentence"`
	Next      string   `json:"next" doc:"the node that would be primary; empty when none"`
	LossBound string   `json:"lossBound"`
	Steps     []string `json:"steps"`
}

type (
	failoverInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body FailoverRequest
	}
	pauseInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body PauseRequest
	}
	failoverAckInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body struct{}
	}
	removeLostWritesInput struct {
		ID     string `path:"id" maxLength:"63"`
		Bundle string `path:"bundle" maxLength:"200"`
		Body   RemoveLostWritesRequest
	}
	whatIfInput struct {
		ID   string `path:"id" maxLength:"63"`
		Node string `query:"node" required:"true" minLength:"1" maxLength:"63"`
	}
)

func (s *Server) failoverRoutes() {
	add(s, "failover", "POST", "/clusters/{id}/failover", "Fail over by hand; with acceptLoss a forced promotion", s.postFailover)
	add(s, "failover-pause", "POST", "/clusters/{id}/failover/pause", "Turn automatic failover off for a while", s.postFailoverPause)
	add(s, "failover-acknowledge", "POST", "/clusters/{id}/failover/acknowledge", "Acknowledge the last automatic failover, which ends the cool-down", s.postFailoverAcknowledge)
	add(s, "lost-writes", "GET", "/clusters/{id}/lost-writes", "What was saved of nodes that held writes alone", s.getLostWrites)
	add(s, "lost-writes-remove", "POST", "/clusters/{id}/lost-writes/{bundle}/remove", "Remove for good what was saved of a node", s.postRemoveLostWrites)
	add(s, "what-if", "GET", "/clusters/{id}/what-if", "What would happen if a node died now", s.getWhatIf)
}

// failoverViews are the lease and the failover of a cluster.
func (s *Server) failoverViews(id string) (*LeaseView, *FailoverView) {
	if s.Keeper == nil {
		return nil, nil
	}
	st, ok := s.Keeper.Status(id)
	if !ok {
		return nil, nil
	}
	v := st.Lease
	l := &LeaseView{Holder: v.Holder, Generation: Int64(v.Generation), State: string(v.State), ExpiresInMs: v.ExpiresIn.Milliseconds(), TTLMs: v.TTL.Milliseconds(),
		Mode: st.Mode, Guarded: st.Guarded}
	f := &FailoverView{Mode: st.Failover, Decision: string(st.Decision.Kind), Sentence: st.Decision.Why}
	if f.Decision == "" {
		f.Decision, f.Sentence = string(failover.Nothing), "automatic failover is off for this cluster"
	}
	if !st.SuspendedUntil.IsZero() {
		f.SuspendedUntil = &st.SuspendedUntil
	}
	if !st.CoolDownUntil.IsZero() {
		f.CoolDownUntil = &st.CoolDownUntil
	}
	if st.Decision.Kind == failover.Blocked {
		f.Blocked = &st.Decision.Why
	}
	return l, f
}

// noKeeper answers where leases are not kept.
func noKeeper() error {
	return &Problem{Title: "Failover is not available here", Status: http.StatusServiceUnavailable, Code: "not-available",
		Detail: "this control node keeps no leases", Fix: "ask the control node that leads"}
}

func (s *Server) postFailover(ctx context.Context, in *failoverInput) (*status[OperationStarted], error) {
	if s.Keeper == nil {
		return nil, noKeeper()
	}
	w := who(ctx)
	what := "tried to fail over"
	if in.Body.Node != "" {
		what += " to " + printable(in.Body.Node)
	}
	if in.Body.AcceptLoss {
		what = "tried to force a promotion of " + printable(in.Body.Node)
		if !Role(w.Role).may(RoleAdmin) {
			return nil, s.refuse(ctx, in.ID, in.Body.Node, what, &Problem{Title: "Your role does not allow this", Status: http.StatusForbidden, Code: "forbidden",
				Detail: "a promotion that may lose writes needs an admin", Fix: "ask an admin, or fail over without accepting loss"})
		}
	}
	if in.Body.OldPrimaryIsOff != "" {
		what += ", saying that " + printable(in.Body.OldPrimaryIsOff) + " is switched off"
	}
	id, err := s.Keeper.Begin(ctx, keeper.Request{Cluster: in.ID, Node: in.Body.Node, TypedName: in.Body.TypedName, AcceptLoss: in.Body.AcceptLoss,
		OldPrimaryIsOff: in.Body.OldPrimaryIsOff, Reason: in.Body.Reason, Who: w.Who})
	var name *keeper.OldNameError
	switch {
	case errors.Is(err, keeper.ErrAnswers):
		err = &Problem{Title: "The primary answers", Status: http.StatusConflict, Code: "primary-answers", Detail: err.Error(),
			Fix: "promote the node instead, which loses nothing"}
	case errors.Is(err, keeper.ErrOffAlone):
		err = &Problem{Title: "The loss is not accepted", Status: http.StatusUnprocessableEntity, Code: CodeBadRequest, Detail: err.Error(),
			Fix: "accept the loss as well, or leave out that the old primary is off"}
	case errors.As(err, &name):
		err = &Problem{Title: "That is not the old primary", Status: http.StatusUnprocessableEntity, Code: CodeTypedName, Detail: err.Error(),
			Fix: "type the name of the machine that you switched off"}
	}
	if err != nil {
		return nil, s.refuse(ctx, in.ID, in.Body.Node, what, err)
	}
	*w.recorded = true
	return &status[OperationStarted]{http.StatusAccepted, OperationStarted{OperationID: id}}, nil
}

func (s *Server) postFailoverPause(ctx context.Context, in *pauseInput) (*body[FailoverView], error) {
	if s.Keeper == nil {
		return nil, noKeeper()
	}
	w := who(ctx)
	_, err := s.Keeper.Pause(in.ID, time.Duration(in.Body.Minutes)*time.Minute, in.Body.Reason, w.Who)
	if errors.Is(err, keeper.ErrPause) {
		err = &Problem{Title: "The length is not valid", Status: http.StatusBadRequest, Code: CodeBadRequest, Detail: err.Error(), Fix: "give 1 to 10080 minutes"}
	}
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", "tried to pause automatic failover", err)
	}
	_, f := s.failoverViews(in.ID)
	return &body[FailoverView]{*f}, nil
}

func (s *Server) postFailoverAcknowledge(ctx context.Context, in *failoverAckInput) (*body[FailoverView], error) {
	if s.Keeper == nil {
		return nil, noKeeper()
	}
	err := s.Keeper.Acknowledge(in.ID, who(ctx).Who)
	if errors.Is(err, keeper.ErrNothingToAcknowledge) {
		err = &Problem{Title: "There is nothing to acknowledge", Status: http.StatusConflict, Code: "nothing-to-acknowledge", Detail: err.Error()}
	}
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", "tried to acknowledge a failover", err)
	}
	_, f := s.failoverViews(in.ID)
	return &body[FailoverView]{*f}, nil
}

func (s *Server) getLostWrites(_ context.Context, in *clusterInput) (*body[LostWrites], error) {
	if _, ok := s.Inventory.Cluster(in.ID); !ok {
		return nil, notFoundCluster(in.ID)
	}
	out := LostWrites{Bundles: []LostWritesBundle{}}
	if s.Keeper == nil {
		return &body[LostWrites]{out}, nil
	}
	all := s.Keeper.Bundles(in.ID)
	for i := len(all) - 1; i >= 0; i-- {
		b := all[i]
		v := LostWritesBundle{ID: b.Operation, Node: b.Node, Generation: Int64(b.Generation), At: b.At, Bytes: b.Bytes, Host: b.Host, Path: b.Path, Sentence: b.Sentence}
		if b.Commands >= 0 {
			v.Commands = &b.Commands
		}
		out.Bundles = append(out.Bundles, v)
	}
	return &body[LostWrites]{out}, nil
}

func (s *Server) postRemoveLostWrites(ctx context.Context, in *removeLostWritesInput) (*body[LostWrites], error) {
	if s.Keeper == nil {
		return nil, noKeeper()
	}
	w := who(ctx)
	b, err := s.Keeper.RemoveBundle(ctx, in.ID, in.Bundle, in.Body.TypedName, in.Body.Reason, w.Who)
	switch {
	case err == nil:
		*w.recorded = true
		return s.getLostWrites(ctx, &clusterInput{ID: in.ID})
	case errors.Is(err, keeper.ErrNoBundle):
		err = &Problem{Title: "There are no such lost writes", Status: http.StatusNotFound, Code: CodeNotFound, Detail: err.Error(), Fix: "baton lost-writes " + in.ID + " lists them"}
	case errors.Is(err, keeper.ErrBundleHost):
		err = &Problem{Title: "The host cannot be asked", Status: http.StatusConflict, Code: CodeRefused, Detail: err.Error(), Fix: "remove the file on its host yourself"}
	case errors.Is(err, executor.ErrTypedName), errors.Is(err, executor.ErrUnknownCluster):
	default:
		err = &Problem{Title: "The lost writes are not removed", Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Detail: err.Error(),
			Fix: "start the agent beside " + b.Node + " and try again; trying again does no harm", Retry: true}
	}
	return nil, s.refuse(ctx, in.ID, b.Node, "tried to remove the lost writes "+printable(in.Bundle), err)
}

func (s *Server) getWhatIf(ctx context.Context, in *whatIfInput) (*body[WhatIf], error) {
	if s.Keeper == nil {
		return nil, noKeeper()
	}
	if c, ok := s.Inventory.Cluster(in.ID); ok && c.Engine == engine.EventStore {
		if snap, ok := s.Monitor.Snapshot(in.ID); ok && snap.Node(in.Node) != nil {
			o := health.IfLost(&snap, in.Node)
			return &body[WhatIf]{WhatIf{Sentence: o.Sentence, Next: o.Next, LossBound: o.Loss, Steps: []string{}}}, nil
		}
	}
	a, err := s.Keeper.WhatIf(in.ID, in.Node)
	if err != nil {
		if errors.Is(err, executor.ErrUnknownCluster) {
			return nil, notFoundCluster(in.ID)
		}
		return nil, s.problem(ctx, in.ID, err)
	}
	out := WhatIf{Sentence: a.Sentence, Steps: a.Steps}
	if out.Steps == nil {
		out.Steps = []string{}
	}
	if a.Decision.Kind == failover.Failover || a.Decision.Kind == failover.Restart {
		out.Next = a.Decision.Node
	}
	out.LossBound = a.Loss
	return &body[WhatIf]{out}, nil
}
