package rpc

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc"

	"baton/eventstore/access"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
)

// readRequest is a checked ReadReq.
type readRequest struct {
	all          bool
	stream       string
	from         uint64 // revision or position, when neither start nor end
	start, end   bool
	backwards    bool
	subscription bool
	count        uint64
	resolveLinks bool
	textIDs      bool
	filter       *reader.Filter
}

// secondaryIndexPrefix begins the names by which newer clients read secondary indexes.
const secondaryIndexPrefix = "$idx-"

func parseRead(req *streams.ReadReq) (*readRequest, error) {
	o := req.GetOptions()
	if o == nil {
		return nil, badRequest("the request has no options")
	}
	r := &readRequest{backwards: o.ReadDirection == streams.ReadReq_Options_Backwards, resolveLinks: o.ResolveLinks}
	if o.UuidOption == nil {
		return nil, badRequest("the request does not say in which form ids are wanted")
	}
	_, r.textIDs = o.UuidOption.Content.(*streams.ReadReq_Options_UUIDOption_String_)
	switch c := o.CountOption.(type) {
	case *streams.ReadReq_Options_Count:
		r.count = c.Count
	case *streams.ReadReq_Options_Subscription:
		r.subscription = true
		if r.backwards {
			return nil, badRequest("a subscription can only go forwards")
		}
	default:
		return nil, badRequest("the request asks neither for a number of events nor for a subscription")
	}
	switch from := o.StreamOption.(type) {
	case *streams.ReadReq_Options_Stream:
		if err := r.fromStream(from.Stream); err != nil {
			return nil, err
		}
	case *streams.ReadReq_Options_All:
		if err := r.fromAll(from.All); err != nil {
			return nil, err
		}
	default:
		return nil, badRequest("the request names neither a stream nor all")
	}
	if f, ok := o.FilterOption.(*streams.ReadReq_Options_Filter); ok {
		if !r.all {
			return nil, badRequest("only a read of all streams can be filtered")
		}
		var err error
		if r.filter, err = parseFilter(f.Filter, r.subscription); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *readRequest) fromStream(o *streams.ReadReq_Options_StreamOptions) error {
	r.stream = string(o.GetStreamIdentifier().GetStreamName())
	if err := stream.CheckName(r.stream); err != nil {
		return badRequest("%s", err.Error())
	}
	switch from := o.GetRevisionOption().(type) {
	case *streams.ReadReq_Options_StreamOptions_Revision:
		switch {
		case from.Revision == math.MaxUint64:
			r.end = true
		case from.Revision > math.MaxInt64:
			return badRequest("revision %d is out of range", from.Revision)
		default:
			r.from = from.Revision
		}
	case *streams.ReadReq_Options_StreamOptions_Start:
		r.start = true
	case *streams.ReadReq_Options_StreamOptions_End:
		r.end = true
	default:
		return badRequest("the request does not say where in the stream to begin")
	}
	return nil
}

func (r *readRequest) fromAll(o *streams.ReadReq_Options_AllOptions) error {
	r.all = true
	switch from := o.GetAllOption().(type) {
	case *streams.ReadReq_Options_AllOptions_Position:
		commit, prepare := from.Position.GetCommitPosition(), from.Position.GetPreparePosition()
		switch {
		case commit == math.MaxUint64 && prepare == math.MaxUint64:
			r.end = true
		case commit == 0 && prepare == 0:
			r.start = true
		case prepare > commit:
			return badRequest("the commit position %d is below the prepare position %d", commit, prepare)
		default:
			r.from = commit
		}
	case *streams.ReadReq_Options_AllOptions_Start:
		r.start = true
	case *streams.ReadReq_Options_AllOptions_End:
		r.end = true
	default:
		return badRequest("the request does not say where to begin")
	}
	return nil
}

func parseFilter(o *streams.ReadReq_Options_FilterOptions, subscription bool) (*reader.Filter, error) {
	spec := reader.FilterSpec{CheckpointMultiplier: o.GetCheckpointIntervalMultiplier()}
	var e *streams.ReadReq_Options_FilterOptions_Expression
	switch f := o.GetFilter().(type) {
	case *streams.ReadReq_Options_FilterOptions_StreamIdentifier:
		e = f.StreamIdentifier
	case *streams.ReadReq_Options_FilterOptions_EventType:
		e, spec.ByType = f.EventType, true
	default:
		return nil, badRequest("the filter names neither streams nor event types")
	}
	spec.Regex, spec.Prefixes = e.GetRegex(), e.GetPrefix()
	switch w := o.GetWindow().(type) {
	case *streams.ReadReq_Options_FilterOptions_Max:
		if w.Max == 0 {
			return nil, badRequest("a filter's window must be at least one event")
		}
		spec.Window = w.Max
	case *streams.ReadReq_Options_FilterOptions_Count:
	default:
		return nil, badRequest("the filter gives no window")
	}
	if subscription && spec.CheckpointMultiplier == 0 {
		return nil, badRequest("a filter's checkpoint interval must be at least one window")
	}
	if !spec.ByType && len(spec.Prefixes) == 1 && strings.HasPrefix(spec.Prefixes[0], secondaryIndexPrefix) {
		return nil, &indexNotFound{name: spec.Prefixes[0]}
	}
	return reader.NewFilter(spec)
}

// Read answers finite reads and subscriptions, of a stream or of all streams.
func (s *Server) Read(req *streams.ReadReq, ss grpc.ServerStreamingServer[streams.ReadResp]) error {
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	stop := context.AfterFunc(s.lifetime, func() { cancel(errStopping) })
	defer stop()
	err := s.read(ctx, req, ss)
	if err != nil && ss.Context().Err() == nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return s.fail(ss.Context(), err)
}

func (s *Server) read(ctx context.Context, req *streams.ReadReq, ss grpc.ServerStream) error {
	r, err := parseRead(req)
	if err != nil {
		return err
	}
	name := r.stream
	if r.all {
		name = stream.AllStream
	}
	if err := s.access.read(ctx, name); err != nil {
		return err
	}
	// A leader asks the quorum first, so that a deposed one does not answer with the past; whoever asked for the leader gets it or learns where it is.
	if requiresLeader(ctx) || !r.subscription && s.leading.now() {
		if err := s.backend.ConfirmLeader(ctx); err != nil {
			return err
		}
	}
	f := &frames{stream: ss, textIDs: r.textIDs, metrics: &s.metrics}
	defer f.drop()
	if r.subscription {
		err = s.subscribe(ctx, r, f)
	} else {
		err = s.readPage(ctx, r, f)
	}
	switch {
	case errors.Is(err, reader.ErrStreamDeleted):
		err = &streamDeleted{stream: r.stream}
	case errors.Is(err, reader.ErrForbidden):
		err = &denied{caller: callerOf(ctx).Name, action: access.Read, stream: r.stream}
	}
	if flushed := f.flush(); flushed != nil {
		return flushed
	}
	return err
}

func (s *Server) readPage(ctx context.Context, r *readRequest, f *frames) (err error) {
	s.metrics.reads.Add(1)
	defer func(began time.Time) { s.metrics.durations.read.observe(time.Since(began), err) }(time.Now())
	if r.all {
		return s.backend.Reader().All(ctx, reader.AllQuery{
			From: r.from, FromStart: r.start, FromEnd: r.end, Backwards: r.backwards,
			Count: r.count, Filter: r.filter, ResolveLinks: r.resolveLinks, Allow: s.access.Visible(ctx, false),
		}, f.event)
	}
	status, err := s.backend.Reader().Stream(ctx, reader.StreamQuery{
		Stream: r.stream, From: int64(r.from), FromStart: r.start, FromEnd: r.end, Backwards: r.backwards,
		Count: r.count, ResolveLinks: r.resolveLinks, Allow: s.access.Readable(ctx, false),
	}, f.event)
	if err != nil {
		return err
	}
	if status.NotFound {
		return f.add(&streams.ReadResp{Content: &streams.ReadResp_StreamNotFound_{StreamNotFound: &streams.ReadResp_StreamNotFound{
			StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(r.stream)}}}})
	}
	return nil
}
