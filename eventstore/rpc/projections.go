package rpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"baton/eventstore/projection"
	"baton/eventstore/projections"
	"baton/gen/eventstore/client"
	projectionspb "baton/gen/eventstore/projections"
)

// projectionsService translates between clients and the projections of package projections. What each method needs of its caller stands in methodNeeds.
type projectionsService struct {
	projectionspb.UnimplementedProjectionsServer
	*Server
}

// projectionMethods is what clients are told of the service.
var projectionMethods = map[string][]string{
	"create": {"track_emitted_streams"}, "update": nil, "delete": nil, "statistics": nil, "disable": nil, "enable": nil, "reset": nil, "state": nil,
	"result": nil, "restartsubsystem": nil,
}

// Projections are the node's projections; nil when it runs none.
func (s *Server) Projections() *projections.Service { return s.projections }

// Create makes a projection and starts it.
func (s projectionsService) Create(ctx context.Context, req *projectionspb.CreateReq) (*projectionspb.CreateResp, error) {
	w, err := parseProjection(req.GetOptions())
	if err == nil {
		_, err = s.projections.Create(ctx, w, callerOf(ctx).Name)
	}
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	return &projectionspb.CreateResp{}, nil
}

func parseProjection(o *projectionspb.CreateReq_Options) (projections.Wanted, error) {
	w := projections.Wanted{Query: o.GetQuery(), EngineVersion: int(o.GetEngineVersion())}
	switch m := o.GetMode().(type) {
	case *projectionspb.CreateReq_Options_OneTime:
		w.Mode = projections.OneTime
	case *projectionspb.CreateReq_Options_Transient_:
		w.Mode, w.Name = projections.Transient, m.Transient.GetName()
	case *projectionspb.CreateReq_Options_Continuous_:
		w.Mode, w.Name = projections.Continuous, m.Continuous.GetName()
		w.Config.EmitEnabled, w.Config.TrackEmittedStreams = m.Continuous.GetEmitEnabled(), m.Continuous.GetTrackEmittedStreams()
	default:
		return w, badRequest("the request does not say how long the projection lives: continuous, one-time or transient")
	}
	return w, nil
}

// Update gives a projection another program.
func (s projectionsService) Update(ctx context.Context, req *projectionspb.UpdateReq) (*projectionspb.UpdateResp, error) {
	o := req.GetOptions()
	var emit *bool
	if e, ok := o.GetEmitOption().(*projectionspb.UpdateReq_Options_EmitEnabled); ok {
		emit = &e.EmitEnabled
	}
	if err := s.projections.Update(ctx, o.GetName(), o.GetQuery(), emit, callerOf(ctx).Name); err != nil {
		return nil, s.refuse(ctx, err)
	}
	return &projectionspb.UpdateResp{}, nil
}

// Delete removes a projection that does not run.
func (s projectionsService) Delete(ctx context.Context, req *projectionspb.DeleteReq) (*projectionspb.DeleteResp, error) {
	o := req.GetOptions()
	d := projections.Deletion{EmittedStreams: o.GetDeleteEmittedStreams(), StateStream: o.GetDeleteStateStream(), CheckpointStream: o.GetDeleteCheckpointStream()}
	if err := s.projections.Delete(ctx, o.GetName(), d, callerOf(ctx).Name); err != nil {
		return nil, s.refuse(ctx, err)
	}
	return &projectionspb.DeleteResp{}, nil
}

// Enable starts a projection.
func (s projectionsService) Enable(ctx context.Context, req *projectionspb.EnableReq) (*projectionspb.EnableResp, error) {
	if err := s.projections.Enable(ctx, req.GetOptions().GetName(), callerOf(ctx).Name); err != nil {
		return nil, s.refuse(ctx, err)
	}
	return &projectionspb.EnableResp{}, nil
}

// Disable stops a projection, with or without a checkpoint.
func (s projectionsService) Disable(ctx context.Context, req *projectionspb.DisableReq) (*projectionspb.DisableResp, error) {
	o := req.GetOptions()
	if err := s.projections.Disable(ctx, o.GetName(), o.GetWriteCheckpoint(), callerOf(ctx).Name); err != nil {
		return nil, s.refuse(ctx, err)
	}
	return &projectionspb.DisableResp{}, nil
}

// Reset has a projection begin at the beginning.
func (s projectionsService) Reset(ctx context.Context, req *projectionspb.ResetReq) (*projectionspb.ResetResp, error) {
	if err := s.projections.Reset(ctx, req.GetOptions().GetName(), callerOf(ctx).Name); err != nil {
		return nil, s.refuse(ctx, err)
	}
	return &projectionspb.ResetResp{}, nil
}

// State is the state of a projection, or of one of its partitions.
func (s projectionsService) State(ctx context.Context, req *projectionspb.StateReq) (*projectionspb.StateResp, error) {
	o := req.GetOptions()
	state, err := s.projections.State(ctx, o.GetName(), o.GetPartition())
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	value, err := jsonValue(state)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return &projectionspb.StateResp{State: value}, nil
}

// Result is the result of a projection, or of one of its partitions.
func (s projectionsService) Result(ctx context.Context, req *projectionspb.ResultReq) (*projectionspb.ResultResp, error) {
	o := req.GetOptions()
	result, err := s.projections.Result(ctx, o.GetName(), o.GetPartition())
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	value, err := jsonValue(result)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return &projectionspb.ResultResp{Result: value}, nil
}

// jsonValue is JSON as a message; none is null.
func jsonValue(text []byte) (*structpb.Value, error) {
	if len(text) == 0 {
		return structpb.NewNullValue(), nil
	}
	v := &structpb.Value{}
	return v, protojson.Unmarshal(text, v)
}

// Statistics describes projections: one by name, or those of some mode.
func (s projectionsService) Statistics(req *projectionspb.StatisticsReq, ss grpc.ServerStreamingServer[projectionspb.StatisticsResp]) error {
	ctx := ss.Context()
	only := func(m projections.Mode) projections.Which {
		return func(mode projections.Mode) bool { return mode == m }
	}
	var list []projections.Report
	var err error
	switch o := req.GetOptions().GetMode().(type) {
	case *projectionspb.StatisticsReq_Options_Name:
		list = make([]projections.Report, 1)
		list[0], err = s.projections.Statistics(ctx, o.Name)
	case *projectionspb.StatisticsReq_Options_All:
		list, err = s.projections.List(ctx, nil)
	case *projectionspb.StatisticsReq_Options_Transient:
		list, err = s.projections.List(ctx, only(projections.Transient))
	case *projectionspb.StatisticsReq_Options_Continuous:
		list, err = s.projections.List(ctx, only(projections.Continuous))
	case *projectionspb.StatisticsReq_Options_OneTime:
		list, err = s.projections.List(ctx, only(projections.OneTime))
	default:
		err = badRequest("the request names neither a projection nor which ones are meant")
	}
	if err != nil {
		return s.refuse(ctx, err)
	}
	for i := range list {
		if err := ss.Send(&projectionspb.StatisticsResp{Details: projectionDetails(&list[i])}); err != nil {
			return err
		}
	}
	return nil
}

func projectionDetails(r *projections.Report) *projectionspb.StatisticsResp_Details {
	return &projectionspb.StatisticsResp_Details{
		CoreProcessingTime: r.Spent.Milliseconds(), Version: r.Version, Epoch: r.Epoch, EffectiveName: r.Name, Name: r.Name, Mode: string(r.Mode),
		Status: string(r.Status), StateReason: r.Reason, Position: r.Position, LastCheckpoint: r.Checkpoint, Progress: float32(r.Progress),
		PartitionsCached: int32(r.Partitions), EventsProcessedAfterRestart: r.Handled, BufferedEvents: r.Buffered,
		WritesInProgress: int32(min(r.Writing, 1)), WritePendingEventsBeforeCheckpoint: int32(r.PendingWrites), WritePendingEventsAfterCheckpoint: int32(r.Writing),
	}
}

// RestartSubsystem ends all projections with a checkpoint and loads them anew.
func (s projectionsService) RestartSubsystem(ctx context.Context, _ *client.Empty) (*client.Empty, error) {
	if err := s.projections.Restart(ctx); err != nil {
		return nil, s.refuse(ctx, err)
	}
	return &client.Empty{}, nil
}

// refuse turns an error about a projection into what a handler returns. Clients tell these apart by their codes alone.
func (s projectionsService) refuse(ctx context.Context, err error) error {
	var (
		missing *projections.NotFoundError
		exists  *projections.ExistsError
		state   *projections.StateError
		request *projections.RequestError
		fault   *projection.Fault
	)
	switch {
	case errors.As(err, &missing):
		return status.Error(codes.NotFound, err.Error())
	case errors.As(err, &exists):
		return status.Error(codes.AlreadyExists, err.Error())
	case errors.As(err, &state), errors.As(err, &fault):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.As(err, &request):
		return s.fail(ctx, badRequest("%s", request.Reason))
	case errors.Is(err, projections.ErrLoading):
		return status.Error(codes.Unavailable, err.Error())
	}
	return s.fail(ctx, err)
}
