package rpc

import (
	"context"
	"errors"

	"baton/eventstore/stream"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
)

// Delete soft-deletes a stream: it reads as not found until it is written again.
func (s *Server) Delete(ctx context.Context, req *streams.DeleteReq) (*streams.DeleteResp, error) {
	o := req.GetOptions()
	var t target
	t.name(o.GetStreamIdentifier())
	switch e := o.GetExpectedStreamRevision().(type) {
	case *streams.DeleteReq_Options_Revision:
		t.revision(e.Revision)
	case *streams.DeleteReq_Options_NoStream:
		t.state(stream.NoStream)
	case *streams.DeleteReq_Options_Any:
		t.state(stream.Any)
	case *streams.DeleteReq_Options_StreamExists:
		t.state(stream.Exists)
	}
	outcome, err := s.remove(ctx, &t, stream.NewDelete)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	if !outcome.HasPosition {
		return &streams.DeleteResp{PositionOption: &streams.DeleteResp_NoPosition{NoPosition: &client.Empty{}}}, nil
	}
	return &streams.DeleteResp{PositionOption: &streams.DeleteResp_Position_{Position: &streams.DeleteResp_Position{
		CommitPosition: outcome.Position, PreparePosition: outcome.Position}}}, nil
}

// Tombstone deletes a stream for good.
func (s *Server) Tombstone(ctx context.Context, req *streams.TombstoneReq) (*streams.TombstoneResp, error) {
	o := req.GetOptions()
	var t target
	t.name(o.GetStreamIdentifier())
	switch e := o.GetExpectedStreamRevision().(type) {
	case *streams.TombstoneReq_Options_Revision:
		t.revision(e.Revision)
	case *streams.TombstoneReq_Options_NoStream:
		t.state(stream.NoStream)
	case *streams.TombstoneReq_Options_Any:
		t.state(stream.Any)
	case *streams.TombstoneReq_Options_StreamExists:
		t.state(stream.Exists)
	}
	outcome, err := s.remove(ctx, &t, stream.NewTombstone)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	if !outcome.HasPosition {
		return &streams.TombstoneResp{PositionOption: &streams.TombstoneResp_NoPosition{NoPosition: &client.Empty{}}}, nil
	}
	return &streams.TombstoneResp{PositionOption: &streams.TombstoneResp_Position_{Position: &streams.TombstoneResp_Position{
		CommitPosition: outcome.Position, PreparePosition: outcome.Position}}}, nil
}

func (t *target) name(id *client.StreamIdentifier) {
	t.stream, t.hasName = string(id.GetStreamName()), id != nil
}

func (t *target) state(e stream.Expected) { t.expected, t.hasState = e, true }

// revision takes an expected revision; one out of range leaves the target without a state, which check refuses.
func (t *target) revision(r uint64) {
	if r < 1<<63 {
		t.state(stream.Expected(r))
	}
}

func (s *Server) remove(ctx context.Context, t *target, build func(string, stream.Expected) (*stream.Command, error)) (stream.Outcome, error) {
	if err := t.check(); err != nil {
		return stream.Outcome{}, err
	}
	if err := s.access.remove(ctx, t.stream); err != nil {
		return stream.Outcome{}, err
	}
	cmd, err := build(t.stream, t.expected)
	if err != nil {
		return stream.Outcome{}, builderError(err)
	}
	outcome, err := s.propose(ctx, cmd, requiresLeader(ctx), maxTime)
	if err != nil {
		return stream.Outcome{}, err
	}
	if outcome.Kind == stream.Conflict {
		if len(outcome.Writes) == 0 {
			return stream.Outcome{}, errors.New("a delete was refused without saying what was found")
		}
		w := &outcome.Writes[0]
		return stream.Outcome{}, &wrongVersion{stream: t.stream, expected: t.expected, actual: w.Actual}
	}
	return outcome, outcomeError(&outcome)
}
