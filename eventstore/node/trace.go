package node

import (
	"context"
	"errors"

	"baton/eventstore/membership"
	"baton/eventstore/stream"
	"baton/platform/trace"
)

// Names of the spans of a node.
const (
	spanForward = "forward"    // at the node a client asked: the request to the leader
	spanLead    = "lead"       // at the leader: the answering of that request
	spanVisible = "show write" // at the node a client asked: the wait for its own apply
)

// recorder takes the spans of the replica; nil when none are recorded here.
func (n *Node) recorder() func(trace.Span) {
	if n.cfg.Tracer == nil {
		return nil
	}
	return func(s trace.Span) {
		s.Attributes = append(s.Attributes, trace.Attribute{Key: "baton.node", Text: n.cfg.Name})
		n.cfg.Tracer.Record(s)
	}
}

// forwardTraced is forward for a command that is followed. A leader of a version
// that does not know of traces is sent the command alone.
func (n *Node) forwardTraced(ctx context.Context, leader membership.MemberID, cmd *stream.Command) (outcome stream.Outcome, err error) {
	span := n.cfg.Tracer.Begin(cmd.Trace, spanForward, trace.Client)
	span.Note(trace.Attribute{Key: "baton.node", Text: n.cfg.Name}, trace.Attribute{Key: "baton.member", Text: leader.String()})
	kind, payload := requestAppend, cmd.Bytes()
	if report, ok := n.peers.get(leader); ok && report.Traces && span.Context() != nil {
		kind = requestTraced
		payload = append(span.Context().Append(make([]byte, 0, trace.Bytes+len(payload))), payload...)
	}
	answer, err := n.network.Request(ctx, leader, kind, payload)
	span.End(err)
	visible := n.cfg.Tracer.Begin(cmd.Trace, spanVisible, trace.Internal)
	visible.Note(trace.Attribute{Key: "baton.node", Text: n.cfg.Name})
	defer func() { visible.End(err) }()
	return n.forwardAnswer(ctx, answer, err)
}

// answerTraced runs a command another node forwarded with its place in a trace.
func (n *Node) answerTraced(ctx context.Context, payload []byte) (answer []byte, err error) {
	parent, command, ok := trace.Decode(payload)
	if !ok {
		return nil, errors.New("malformed request: no place in a trace")
	}
	span := n.cfg.Tracer.Begin(&parent, spanLead, trace.Server)
	span.Note(trace.Attribute{Key: "baton.node", Text: n.cfg.Name})
	defer func() { span.End(err) }()
	follow := span.Context()
	if follow == nil && parent.Sampled {
		follow = &parent // the followers may record what this node does not
	}
	return n.answerAppend(ctx, command, follow)
}
