package rpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"baton/eventstore/replica"
	"baton/gen/kurrent/rpcerrors"
	"baton/gen/kurrent/streamerrors"
)

// Second-generation services tell errors apart by details of the status: an ErrorInfo first and the specific message last, because one client reads
// only the last.

const (
	domainStreams = "streams"
	domainServer  = "server"
	typeURLPrefix = "type.googleapis.com/"
	// retryAfter is how long clients are asked to wait before they repeat what a node could not serve.
	retryAfter = 5 * time.Second
)

// richError is one second-generation error.
type richError struct {
	code    codes.Code
	domain  string
	reason  string
	detail  proto.Message // nil: none
	trailer metadata.MD
}

// rich translates an error. It is the only place of second-generation errors.
func rich(operation string, err error) (richError, bool) {
	var (
		notLeader   *replica.NotLeaderError
		deleted     *streamDeleted
		gone        *tombstoned
		conflict    *revisionConflict
		violations  *violated
		repeated    *repeatedStream
		largeAppend *appendTooLarge
		largeEvent  *eventTooLarge
		bad         *refusal
	)
	retry := &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)}
	switch {
	case errors.As(err, &notLeader) && leaderTrailer(notLeader) != nil:
		id := notLeader.Leader.ID.String()
		return richError{codes.FailedPrecondition, domainServer, "NOT_LEADER_NODE", &rpcerrors.NotLeaderNodeErrorDetails{
			CurrentLeader: &rpcerrors.NotLeaderNodeErrorDetails_NodeInfo{Host: notLeader.Leader.ClientHost, Port: int32(notLeader.Leader.ClientPort), NodeId: &id},
		}, leaderTrailer(notLeader)}, true
	case errors.As(err, &notLeader), unavailable(err):
		return richError{codes.Unavailable, domainServer, "SERVER_NOT_READY", retry, nil}, true
	case errors.As(err, &gone):
		return richError{codes.FailedPrecondition, domainStreams, "STREAM_TOMBSTONED", &streamerrors.StreamTombstonedErrorDetails{Stream: gone.stream}, nil}, true
	case errors.As(err, &deleted):
		return richError{codes.FailedPrecondition, domainStreams, "STREAM_TOMBSTONED", &streamerrors.StreamTombstonedErrorDetails{Stream: deleted.stream}, nil}, true
	case errors.As(err, &conflict):
		return richError{codes.FailedPrecondition, domainStreams, "STREAM_REVISION_CONFLICT", &streamerrors.StreamRevisionConflictErrorDetails{
			Stream: conflict.stream, ExpectedRevision: conflict.expected, ActualRevision: conflict.actual}, nil}, true
	case errors.As(err, &violations):
		return richError{codes.FailedPrecondition, domainStreams, "APPEND_CONSISTENCY_VIOLATION", violationDetails(violations), nil}, true
	case errors.As(err, &repeated):
		return richError{codes.Aborted, domainStreams, "STREAM_ALREADY_IN_APPEND_SESSION",
			&streamerrors.StreamAlreadyInAppendSessionErrorDetails{Stream: repeated.stream}, nil}, true
	case errors.Is(err, errNoRequests):
		return richError{codes.FailedPrecondition, domainStreams, "APPEND_SESSION_NO_REQUESTS", nil, nil}, true
	case errors.As(err, &largeEvent):
		return richError{codes.InvalidArgument, domainStreams, "APPEND_RECORD_SIZE_EXCEEDED", &streamerrors.AppendRecordSizeExceededErrorDetails{
			Stream: largeEvent.stream, RecordId: string(appendUUID(nil, largeEvent.id)), Size: int32(largeEvent.size), MaxSize: int32(largeEvent.limit)}, nil}, true
	case errors.As(err, &largeAppend):
		return richError{codes.Aborted, domainStreams, "APPEND_TRANSACTION_SIZE_EXCEEDED", &streamerrors.AppendTransactionSizeExceededErrorDetails{
			Size: int32(largeAppend.size), MaxSize: int32(largeAppend.limit)}, nil}, true
	case errors.Is(err, errAccessDenied):
		return richError{codes.PermissionDenied, domainServer, "ACCESS_DENIED", &rpcerrors.AccessDeniedErrorDetails{Operation: operation},
			metadata.Pairs(keyException, exceptionAccessDenied)}, true
	case errors.As(err, &bad):
		return richError{codes.InvalidArgument, domainServer, "BAD_REQUEST", &errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: operation, Description: bad.Error()}}}, nil}, true
	case errors.Is(err, replica.ErrTimeout):
		return richError{codes.DeadlineExceeded, domainServer, "OPERATION_TIMEOUT", retry, nil}, true
	}
	return richError{}, false
}

func violationDetails(e *violated) proto.Message {
	details := &streamerrors.AppendConsistencyViolationErrorDetails{}
	for i := range e.violations {
		v := &e.violations[i]
		details.Violations = append(details.Violations, &streamerrors.ConsistencyViolation{
			CheckIndex: int32(v.Index),
			Type: &streamerrors.ConsistencyViolation_StreamState{StreamState: &streamerrors.ConsistencyViolation_StreamStateViolation{
				Stream: v.Stream, ExpectedState: int64(v.Expected), ActualState: v.Actual}},
		})
	}
	return details
}

// failRich is fail for second-generation services.
func (s *Server) failRich(ctx context.Context, operation string, err error) error {
	e, known := rich(operation, err)
	if !known {
		return s.fail(ctx, err)
	}
	details := []proto.Message{&errdetails.ErrorInfo{Reason: e.reason, Domain: e.domain}}
	if e.detail != nil {
		details = append(details, e.detail)
	}
	st := &statuspb.Status{Code: int32(e.code), Message: err.Error()}
	for _, d := range details {
		value, marshalErr := proto.Marshal(d)
		if marshalErr != nil {
			return s.fail(ctx, err)
		}
		st.Details = append(st.Details, &anypb.Any{TypeUrl: typeURLPrefix + string(d.ProtoReflect().Descriptor().FullName()), Value: value})
	}
	if e.trailer != nil {
		_ = grpc.SetTrailer(ctx, e.trailer)
	}
	return status.FromProto(st).Err()
}
