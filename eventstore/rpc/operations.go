package rpc

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/eventstore/scavenge"
	"baton/gen/eventstore/operations"
)

// Scavenging is a Backend whose log can be scavenged.
type Scavenging interface {
	Scavenger() *scavenge.Scavenger
}

const (
	keyScavengeID             = "scavenge-id"
	exceptionScavengeNotFound = "scavenge-not-found"
)

// scavengeNotFound: a scavenge that is to be stopped is not running.
type scavengeNotFound struct{ id string }

func (e *scavengeNotFound) Error() string {
	return "scavenge " + strconv.Quote(e.id) + " is not running on this node"
}

// describeScavenge translates errors of scavenges; nil if err is none.
func describeScavenge(err error) (*status.Status, metadata.MD) {
	var missing *scavengeNotFound
	var option *scavenge.OptionError
	switch {
	case errors.As(err, &missing):
		return status.New(codes.NotFound, missing.Error()), metadata.Pairs(keyException, exceptionScavengeNotFound, keyScavengeID, trailerText(missing.id))
	case errors.As(err, &option):
		return status.New(codes.InvalidArgument, option.Error()), nil
	}
	return nil, nil
}

func (s *Server) scavenger() *scavenge.Scavenger {
	if b, ok := s.backend.(Scavenging); ok {
		return b.Scavenger()
	}
	return nil
}

var errCannotScavenge = badRequest("this node has no log that can be scavenged")

// StartScavenge begins a scavenge of this node's log, or names the one that is running.
func (s operationsService) StartScavenge(ctx context.Context, req *operations.StartScavengeReq) (*operations.ScavengeResp, error) {
	if err := s.access.operate(ctx); err != nil {
		return nil, s.fail(ctx, err)
	}
	scavenger := s.scavenger()
	if scavenger == nil {
		return nil, s.fail(ctx, errCannotScavenge)
	}
	o := req.GetOptions()
	id, started, err := scavenger.Start(scavenge.Options{StartFrom: int(o.GetStartFromChunk()), Threads: int(o.GetThreadCount())})
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	answer := &operations.ScavengeResp{ScavengeId: id, ScavengeResult: operations.ScavengeResp_InProgress}
	if started {
		answer.ScavengeResult = operations.ScavengeResp_Started
	}
	return answer, nil
}

// StopScavenge ends a scavenge and answers when it has ended.
func (s operationsService) StopScavenge(ctx context.Context, req *operations.StopScavengeReq) (*operations.ScavengeResp, error) {
	if err := s.access.operate(ctx); err != nil {
		return nil, s.fail(ctx, err)
	}
	scavenger := s.scavenger()
	if scavenger == nil {
		return nil, s.fail(ctx, errCannotScavenge)
	}
	id := req.GetOptions().GetScavengeId()
	stopped, err := scavenger.Stop(ctx, id)
	if errors.Is(err, scavenge.ErrNotFound) {
		err = &scavengeNotFound{id}
	}
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return &operations.ScavengeResp{ScavengeId: stopped, ScavengeResult: operations.ScavengeResp_Stopped}, nil
}

// scavengeStats adds how the running or last scavenge stands.
func (s *Server) scavengeStats(stats map[string]string) {
	scavenger := s.scavenger()
	if scavenger == nil {
		return
	}
	now, ok := scavenger.Status()
	if !ok {
		return
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	stats["es.scavenge.id"] = now.ID
	stats["es.scavenge.result"] = string(now.Result)
	stats["es.scavenge.segments"] = n(int64(now.Segments))
	stats["es.scavenge.totalSegments"] = n(int64(now.Total))
	stats["es.scavenge.removedEvents"] = n(now.Events)
	stats["es.scavenge.savedBytes"] = n(now.Saved)
}
