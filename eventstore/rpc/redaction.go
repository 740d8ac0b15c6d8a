package rpc

import (
	"context"
	"errors"
	"io"
	"math"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/eventstore/log"
	"baton/eventstore/reader"
	"baton/gen/eventstore/redaction"
)

// Segmented is a Backend that names the files of its log; *node.Node is one.
type Segmented interface {
	Segments() []log.SegmentInfo
}

const (
	exceptionSwitchChunk = "redaction-switch-chunk-failed"

	reasonSwitchChunk = "the files of this log are not exchanged by hand: their checksums and every other node's copy would differ. " +
		"POST /admin/redact {\"stream\", \"revision\"} on each node overwrites one event in place"
)

// errSwitchChunk: files of the log are not exchanged.
var errSwitchChunk = errors.New(reasonSwitchChunk)

// describeRedaction translates errors of redaction; nil if err is none.
func describeRedaction(err error) (*status.Status, metadata.MD) {
	if !errors.Is(err, errSwitchChunk) {
		return nil, nil
	}
	return status.New(codes.FailedPrecondition, "the chunks were not switched: "+reasonSwitchChunk), metadata.Pairs(keyException, exceptionSwitchChunk, keyReason, reasonSwitchChunk)
}

// redactionNames are the names clients may know the service by: the older, which is its proto's, and that of servers since 26.2.
var redactionNames = []string{redaction.Redaction_ServiceDesc.ServiceName, "kurrent.client.redaction.Redaction"}

// registerRedaction registers the service under each of its names.
func registerRedaction(r grpc.ServiceRegistrar, s *Server) {
	for _, name := range redactionNames {
		desc := redaction.Redaction_ServiceDesc
		desc.ServiceName = name
		r.RegisterService(&desc, redactionService{Server: s})
	}
}

// redactionService tells where events stand. It changes nothing.
type redactionService struct {
	redaction.UnimplementedRedactionServer
	*Server
}

// GetEventPositions answers for each event its place in this node's log; no place for one that cannot be read here.
func (s redactionService) GetEventPositions(stream grpc.BidiStreamingServer[redaction.GetEventPositionReq, redaction.GetEventPositionResp]) error {
	ctx := stream.Context()
	if err := s.access.operate(ctx); err != nil {
		return s.fail(ctx, err)
	}
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := s.eventPositions(ctx, req)
		if err != nil {
			return s.fail(ctx, err)
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (s redactionService) eventPositions(ctx context.Context, req *redaction.GetEventPositionReq) (*redaction.GetEventPositionResp, error) {
	name, revision := string(req.GetStreamIdentifier().GetStreamName()), req.GetStreamRevision()
	if name == "" {
		return nil, badRequest("the request names no stream")
	}
	answer := &redaction.GetEventPositionResp{}
	if revision > math.MaxInt64 {
		return answer, nil
	}
	_, err := s.backend.Reader().Stream(ctx, reader.StreamQuery{Stream: name, From: int64(revision), Count: 1}, func(e *reader.Event) error {
		if e.Revision == int64(revision) {
			answer.EventPositions = append(answer.EventPositions, &redaction.EventPosition{LogPosition: e.Position, ChunkInfo: s.chunkOf(e.Position)})
		}
		return nil
	})
	if err != nil && !errors.Is(err, reader.ErrStreamDeleted) {
		return nil, err
	}
	return answer, nil
}

// chunkOf names the segment file that holds a position. The offset counts bytes of the log from the file's first, whatever a scavenge left out between them.
func (s redactionService) chunkOf(position uint64) *redaction.ChunkInfo {
	b, ok := s.backend.(Segmented)
	if !ok {
		return nil
	}
	for _, segment := range b.Segments() {
		if segment.Base <= position && position < segment.End {
			return &redaction.ChunkInfo{FileName: filepath.Base(segment.Path), IsComplete: segment.Closed, EventOffset: uint32(position - segment.Base)}
		}
	}
	return nil
}

// SwitchChunks refuses: no file that was made elsewhere takes a segment's place.
func (s redactionService) SwitchChunks(stream grpc.BidiStreamingServer[redaction.SwitchChunkReq, redaction.SwitchChunkResp]) error {
	ctx := stream.Context()
	if err := s.access.operate(ctx); err != nil {
		return s.fail(ctx, err)
	}
	if _, err := stream.Recv(); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	return s.fail(ctx, errSwitchChunk)
}
