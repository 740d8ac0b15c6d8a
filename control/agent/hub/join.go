package hub

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	agentpb "baton/gen/agent"
	"baton/platform/identity"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// PurposeAgent is what a join token must be for.
const PurposeAgent = "agent"

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Join exchanges a one-use token and a certificate request for a certificate.
func (h *Hub) Join(ctx context.Context, req *agentpb.JoinRequest) (*agentpb.JoinReply, error) {
	if n := req.GetName(); n != "" && !namePattern.MatchString(n) {
		return nil, status.Errorf(codes.InvalidArgument, "agent name %q is not of the form %s", n, namePattern)
	}
	// The request is checked before the token is used up.
	if err := identity.CheckRequest(req.GetCsrDer()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := h.opt.Tokens.Redeem(req.GetSecret(), PurposeAgent); err != nil {
		if errors.Is(err, identity.ErrToken) {
			return nil, status.Error(codes.PermissionDenied, err.Error())
		}
		h.log.Error("a join token could not be used up", "err", err)
		return nil, status.Error(codes.Unavailable, "the control plane cannot record the use of the token now; try again, with a new token if this one is then refused")
	}
	id := newID()
	reply, err := h.issue(id, req.GetCsrDer())
	if err != nil {
		return nil, err
	}
	addr := ""
	if p, ok := peer.FromContext(ctx); ok {
		addr = p.Addr.String()
	}
	h.log.Info("agent joined", "agent", id, "name", req.GetName(), "addr", addr)
	if h.opt.OnJoin != nil {
		if err := h.opt.OnJoin(id, req.GetName(), addr); err != nil {
			h.log.Error("an agent's joining is not recorded", "agent", id, "err", err)
			return nil, status.Error(codes.Unavailable, "the joining could not be recorded; make a new token and try again")
		}
	}
	return reply, nil
}

// Renew gives the caller a new certificate for its own identity.
func (h *Hub) Renew(ctx context.Context, req *agentpb.RenewRequest) (*agentpb.JoinReply, error) {
	id, _, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if h.opt.Revoked != nil && h.opt.Revoked(id) {
		return nil, status.Error(codes.PermissionDenied, revokedText)
	}
	return h.issue(id, req.GetCsrDer())
}

func (h *Hub) issue(id string, csr []byte) (*agentpb.JoinReply, error) {
	cert, err := h.opt.CA.Sign(csr, identity.Identity{Kind: identity.KindAgent, ID: id})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("certificate request: %v", err))
	}
	return &agentpb.JoinReply{AgentId: id, CertificatePem: cert, CaPem: h.opt.CA.CertificatePEM(), Addresses: h.addresses()}, nil
}
