package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"baton/gen/eventstore/streams"
	"baton/platform/trace"
	"baton/platform/tracing"
)

// Names of the spans of clients' calls. They are children of the span the client
// names in the call's metadata, if it does.
const (
	spanAppend      = "streams.Append"
	spanBatchAppend = "streams.BatchAppend" // one append of the call
	spanWrite       = "streams.Write"       // deletes, and appends to several streams
	spanAnswer      = "answer"              // from the outcome to the answer's leaving
)

// traceHeader is where a client puts its place in a trace.
const traceHeader = "traceparent"

// parent is the place in a trace a call comes from; nil when it names none, or
// nothing is traced here.
func (s *Server) parent(ctx context.Context) *trace.Context {
	if s.tracer == nil {
		return nil
	}
	if values := metadata.ValueFromIncomingContext(ctx, traceHeader); len(values) > 0 {
		if c, ok := trace.Parse(values[0]); ok {
			return &c
		}
	}
	return nil
}

// follow begins the span of a call; nil when nobody follows it.
func (s *Server) follow(ctx context.Context, name string) *tracing.Active {
	if s.tracer == nil {
		return nil
	}
	return s.tracer.Begin(s.parent(ctx), name, trace.Server)
}

// sendFollowed sends the answer of a followed call and ends its span.
func (s *Server) sendFollowed(ss grpc.ServerStream, resp *streams.AppendResp, span *tracing.Active) error {
	answer := s.tracer.Begin(span.Context(), spanAnswer, trace.Internal)
	err := ss.SendMsg(resp)
	answer.End(err)
	span.End(err)
	return err
}
