package hub

import (
	"context"
	"errors"

	"baton/control/agent"
	agentpb "baton/gen/agent"
	"baton/platform/identity"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// PurposeControl is what the join token of a further control node must be for.
const PurposeControl = "control"

// revokedText answers an agent that was removed.
const revokedText = "this host was removed from the control plane; to add it again remove the agent's directory and join with a new token"

// Lead makes agents welcome: this control node acts, in this term.
func (h *Hub) Lead(term uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leads {
		return
	}
	h.leads, h.term, h.deposed = true, term, make(chan struct{})
}

// Standby ends all links: agents are told who leads now. What they reported is
// forgotten here; orders that wait for an answer get agent.ErrOutcomeUnknown.
func (h *Hub) Standby() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.leads {
		return
	}
	h.leads = false
	close(h.deposed)
	h.links, h.reports, h.instances = map[string]*link{}, map[string]agent.Report{}, 0
}

// Cut ends the link of an agent that was removed and forgets what it reported.
func (h *Hub) Cut(agentID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.links[agentID]; l != nil {
		delete(h.links, agentID)
		close(l.cut)
	}
	h.instances -= len(h.reports[agentID].Instances)
	delete(h.reports, agentID)
}

func (h *Hub) addresses() []string {
	if h.opt.Addresses == nil {
		return nil
	}
	return h.opt.Addresses()
}

func (h *Hub) welcome(term uint64) *agentpb.ToAgent {
	return &agentpb.ToAgent{Message: &agentpb.ToAgent_Welcome{Welcome: &agentpb.Welcome{
		ReportIntervalMs: agent.ReportInterval.Milliseconds(), Term: term, Addresses: h.addresses(), ReportsInCbor: true, ReportDeltas: true}}}
}

func (h *Hub) elsewhere() *agentpb.ToAgent {
	e := &agentpb.Elsewhere{Addresses: h.addresses()}
	if h.opt.Leader != nil {
		e.Leader = h.opt.Leader()
	}
	return &agentpb.ToAgent{Message: &agentpb.ToAgent_Elsewhere{Elsewhere: e}}
}

// controlJoin lets further control nodes in.
type controlJoin struct {
	agentpb.UnimplementedControlLinkServer
	h *Hub
}

// JoinControl exchanges a one-use token for what all control nodes share.
func (c *controlJoin) JoinControl(_ context.Context, req *agentpb.JoinControlRequest) (*agentpb.JoinControlReply, error) {
	h := c.h
	if !namePattern.MatchString(req.GetName()) {
		return nil, status.Errorf(codes.InvalidArgument, "control node name %q is not of the form %s", req.GetName(), namePattern)
	}
	if h.opt.Shared == nil {
		return nil, status.Error(codes.Unimplemented, "this control plane takes no further nodes")
	}
	if err := h.opt.Tokens.Redeem(req.GetSecret(), PurposeControl); err != nil {
		if errors.Is(err, identity.ErrToken) {
			return nil, status.Error(codes.PermissionDenied, err.Error())
		}
		return nil, status.Error(codes.Unavailable, "the control plane cannot record the use of the token now; try again, with a new token if this one is then refused")
	}
	reply, err := h.opt.Shared(req.GetName())
	if err != nil {
		h.log.Error("a control node could not join", "name", req.GetName(), "err", err)
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	h.log.Info("a control node joined", "name", req.GetName())
	return reply, nil
}
