package rpc

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/types/known/emptypb"

	"baton/eventstore/replica"
	"baton/eventstore/stream"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	"baton/platform/tracing"
)

// maxTime stands for "no deadline of one's own".
const maxTime = time.Duration(math.MaxInt64)

// appendCall holds the memory of one Append call between its messages. Calls are recycled.
type appendCall struct {
	chunk  appendChunk
	events []stream.Event
	owners []mem.Buffer // hold the bytes the events alias
	span   *tracing.Active
}

var appendCalls = sync.Pool{New: func() any { return new(appendCall) }}

func (c *appendCall) release() {
	for _, owner := range c.owners {
		owner.Free()
	}
	clear(c.owners)
	clear(c.events)
	c.owners, c.events = c.owners[:0], c.events[:0]
	c.chunk, c.span = appendChunk{}, nil
	if cap(c.events) <= 4096 {
		appendCalls.Put(c)
	}
}

// Append reads options and events, writes them as one command and answers once.
func (s *Server) Append(ss grpc.ClientStreamingServer[streams.AppendReq, streams.AppendResp]) error {
	c := appendCalls.Get().(*appendCall)
	defer c.release()
	ctx := ss.Context()
	c.span = s.follow(ctx, spanAppend)
	outcome, err := s.append(ctx, ss, c)
	var resp *streams.AppendResp
	if err == nil {
		resp, err = appendResponse(outcome)
	}
	if err != nil {
		c.span.End(err)
		return s.fail(ctx, err)
	}
	if c.span != nil {
		return s.sendFollowed(ss, resp, c.span)
	}
	return ss.SendMsg(resp)
}

func (s *Server) append(ctx context.Context, ss grpc.ServerStream, c *appendCall) (stream.Outcome, error) {
	if err := ss.RecvMsg(&c.chunk); err != nil {
		if errors.Is(err, io.EOF) {
			err = badRequest("the request is empty")
		}
		return stream.Outcome{}, err
	}
	if c.chunk.bad != nil {
		return stream.Outcome{}, c.chunk.bad
	}
	if !c.chunk.isOptions {
		if c.chunk.owner != nil {
			c.owners = append(c.owners, c.chunk.owner)
		}
		return stream.Outcome{}, badRequest("the first message must carry the options")
	}
	target := c.chunk.target
	if err := target.check(); err != nil {
		return stream.Outcome{}, err
	}
	if err := s.access.write(ctx, target.stream); err != nil {
		return stream.Outcome{}, err
	}
	total := 0
	for {
		if err := ss.RecvMsg(&c.chunk); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return stream.Outcome{}, err
		}
		if c.chunk.owner != nil {
			c.owners = append(c.owners, c.chunk.owner)
		}
		switch {
		case c.chunk.bad != nil:
			return stream.Outcome{}, c.chunk.bad
		case !c.chunk.isProposal:
			return stream.Outcome{}, badRequest("after the options every message must carry a proposed event")
		}
		if err := s.admit(target.stream, &c.chunk.proposal, &total); err != nil {
			return stream.Outcome{}, err
		}
		c.events = append(c.events, c.chunk.proposal.event)
	}
	cmd, err := stream.NewAppend(s.limits, stream.Write{Stream: target.stream, Expected: target.expected, Events: c.events})
	if err != nil {
		return stream.Outcome{}, builderError(err)
	}
	cmd.Trace = c.span.Context()
	return s.propose(ctx, cmd, requiresLeader(ctx), maxTime)
}

// admit checks one proposed event and adds its size to the total of its append.
func (s *Server) admit(name string, p *proposal, total *int) error {
	if err := p.check(); err != nil {
		return err
	}
	size := eventSize(&p.event)
	if size > s.limits.MaxEventBytes {
		return &eventTooLarge{stream: name, id: p.event.ID, size: size, limit: s.limits.MaxEventBytes}
	}
	if *total += size; *total > s.limits.MaxAppendBytes {
		return &appendTooLarge{size: *total, limit: s.limits.MaxAppendBytes}
	}
	return nil
}

// eventSize is what the limits count: data, metadata and type.
func eventSize(e *stream.Event) int { return len(e.Data) + len(e.Metadata) + len(e.Type) }

// builderError translates an error of a command builder: whatever it is, the request was wrong.
func builderError(err error) error { return badRequest("%s", err.Error()) }

// propose carries a command out. timeout is the client's own wish; the node's write timeout bounds it.
func (s *Server) propose(ctx context.Context, cmd *stream.Command, leaderOnly bool, timeout time.Duration) (stream.Outcome, error) {
	if timeout < s.writeTimeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, replica.ErrTimeout)
		defer cancel()
	}
	began, events := time.Now(), cmd.NumEvents() // the command is the node's from here on
	var span *tracing.Active
	if s.tracer != nil && cmd.Trace == nil {
		span = s.follow(ctx, spanWrite)
		cmd.Trace = span.Context()
	}
	outcome, err := s.backend.Append(ctx, cmd, leaderOnly)
	span.End(err)
	if err != nil && errors.Is(context.Cause(ctx), replica.ErrTimeout) {
		err = replica.ErrTimeout
	}
	s.metrics.appended(&outcome, err, events, time.Since(began))
	return outcome, err
}

// appendResponse turns the outcome of one write into Append's answer.
func appendResponse(o stream.Outcome) (*streams.AppendResp, error) {
	if err := outcomeError(&o); err != nil {
		return nil, err
	}
	w := &o.Writes[0]
	if o.Kind == stream.Conflict {
		return &streams.AppendResp{Result: &streams.AppendResp_WrongExpectedVersion_{WrongExpectedVersion: appendConflict(w)}}, nil
	}
	success := &streams.AppendResp_Success{}
	if w.Last >= 0 {
		success.CurrentRevisionOption = &streams.AppendResp_Success_CurrentRevision{CurrentRevision: uint64(w.Last)}
	} else {
		success.CurrentRevisionOption = &streams.AppendResp_Success_NoStream{NoStream: &client.Empty{}}
	}
	if o.HasPosition {
		success.PositionOption = &streams.AppendResp_Success_Position{Position: &streams.AppendResp_Position{CommitPosition: o.Position, PreparePosition: o.Position}}
	} else {
		success.PositionOption = &streams.AppendResp_Success_NoPosition{NoPosition: &client.Empty{}}
	}
	return &streams.AppendResp{Result: &streams.AppendResp_Success_{Success: success}}, nil
}

// outcomeError is the error of an outcome that is neither done nor a conflict.
func outcomeError(o *stream.Outcome) error {
	switch o.Kind {
	case stream.StreamDeleted:
		name := ""
		if len(o.Writes) > 0 {
			name = o.Writes[0].Stream
		}
		return &streamDeleted{stream: name}
	case stream.BadRequest:
		return badRequest("%s", o.Reason)
	}
	return nil
}

// appendConflict fills both generations of the conflict message.
func appendConflict(w *stream.WriteOutcome) *streams.AppendResp_WrongExpectedVersion {
	type message = streams.AppendResp_WrongExpectedVersion
	m := &message{}
	if w.Actual >= 0 {
		m.CurrentRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_CurrentRevision_20_6_0{CurrentRevision_20_6_0: uint64(w.Actual)}
		m.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentRevision{CurrentRevision: uint64(w.Actual)}
	} else {
		m.CurrentRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_NoStream_20_6_0{NoStream_20_6_0: &client.Empty{}}
		m.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentNoStream{CurrentNoStream: &client.Empty{}}
	}
	switch w.Expected {
	case stream.Any:
		m.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_Any_20_6_0{Any_20_6_0: &client.Empty{}}
		m.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedAny{ExpectedAny: &client.Empty{}}
	case stream.Exists:
		m.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_StreamExists_20_6_0{StreamExists_20_6_0: &client.Empty{}}
		m.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: &client.Empty{}}
	case stream.NoStream:
		// The older generation has no word for "no stream": all bits set stands for it.
		m.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: math.MaxUint64}
		m.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: &client.Empty{}}
	default:
		m.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: uint64(w.Expected)}
		m.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision{ExpectedRevision: uint64(w.Expected)}
	}
	return m
}

// sharedConflict is the same fact in the form batch appends carry.
func sharedConflict(w *stream.WriteOutcome) *client.WrongExpectedVersion {
	m := &client.WrongExpectedVersion{}
	if w.Actual >= 0 {
		m.CurrentStreamRevisionOption = &client.WrongExpectedVersion_CurrentStreamRevision{CurrentStreamRevision: uint64(w.Actual)}
	} else {
		m.CurrentStreamRevisionOption = &client.WrongExpectedVersion_CurrentNoStream{CurrentNoStream: &emptypb.Empty{}}
	}
	switch w.Expected {
	case stream.Any:
		m.ExpectedStreamPositionOption = &client.WrongExpectedVersion_ExpectedAny{ExpectedAny: &emptypb.Empty{}}
	case stream.Exists:
		m.ExpectedStreamPositionOption = &client.WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: &emptypb.Empty{}}
	case stream.NoStream:
		m.ExpectedStreamPositionOption = &client.WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: &emptypb.Empty{}}
	default:
		m.ExpectedStreamPositionOption = &client.WrongExpectedVersion_ExpectedStreamPosition{ExpectedStreamPosition: uint64(w.Expected)}
	}
	return m
}
