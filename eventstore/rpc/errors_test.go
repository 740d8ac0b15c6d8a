package rpc

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"baton/eventstore/membership"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
	"baton/eventstore/users"
)

func TestErrorsTravelAsClientsKnowThem(t *testing.T) {
	leader := &membership.Member{ClientHost: "10.0.0.2", ClientPort: 2113}
	cases := []struct {
		err     error
		code    codes.Code
		trailer metadata.MD
	}{
		{&replica.NotLeaderError{Leader: leader}, codes.NotFound, metadata.Pairs("exception", "not-leader", "leader-endpoint-host", "10.0.0.2", "leader-endpoint-port", "2113")},
		{&replica.NotLeaderError{}, codes.Unavailable, nil},
		{replica.ErrNoLeader, codes.Unavailable, nil},
		{replica.ErrBusy, codes.Unavailable, nil},
		{fmt.Errorf("append: %w", replica.ErrStopped), codes.Unavailable, nil},
		{replica.ErrTimeout, codes.Aborted, nil},
		{&streamDeleted{stream: "a"}, codes.FailedPrecondition, metadata.Pairs("exception", "stream-deleted", "stream-name", "a")},
		{&streamDeleted{stream: "ü"}, codes.FailedPrecondition, metadata.Pairs("exception", "stream-deleted", "stream-name", "%C3%BC")},
		{&wrongVersion{stream: "a", expected: stream.Exists, actual: -1}, codes.FailedPrecondition,
			metadata.Pairs("exception", "wrong-expected-version", "stream-name", "a", "expected-version", "-4", "actual-version", "-1")},
		{&appendTooLarge{size: 10, limit: 5}, codes.InvalidArgument, metadata.Pairs("exception", "maximum-append-size-exceeded", "maximum-append-size", "5")},
		{&eventTooLarge{id: sampleID, size: 10, limit: 5}, codes.InvalidArgument, metadata.Pairs("exception", "maximum-append-event-size-exceeded",
			"maximum-append-event-size", "5", "proposed-append-event-size", "10", "event-id", sampleText)},
		{errMissingProperty, codes.InvalidArgument, metadata.Pairs("exception", "missing-required-metadata-property", "required-metadata-properties", "type,content-type")},
		{errAccessDenied, codes.PermissionDenied, metadata.Pairs("exception", "access-denied")},
		{users.ErrWrong, codes.Unauthenticated, nil},
		{&indexNotFound{name: "$idx-x"}, codes.NotFound, metadata.Pairs("exception", "index-not-found", "index-name", "$idx-x")},
		{reader.ErrInvalidPosition, codes.InvalidArgument, nil},
		{fmt.Errorf("%w: no such regex", reader.ErrInvalidFilter), codes.InvalidArgument, nil},
		{badRequest("no"), codes.InvalidArgument, nil},
		{context.DeadlineExceeded, codes.DeadlineExceeded, nil},
		{context.Canceled, codes.Canceled, nil},
		{errStopping, codes.Unavailable, nil},
		{errors.New("disk"), codes.Internal, nil},
	}
	for _, c := range cases {
		st, trailer := describe(c.err)
		if st.Code() != c.code {
			t.Errorf("%v: code %v, want %v", c.err, st.Code(), c.code)
		}
		if d := cmp.Diff(c.trailer, trailer); d != "" {
			t.Errorf("%v: trailers (-want +got)\n%s", c.err, d)
		}
	}
	if st, _ := describe(replica.ErrTimeout); len(st.Message()) < 19 || st.Message()[:19] != "Operation timed out" {
		t.Errorf("timeout message %q", st.Message())
	}
}

func TestRichErrorsPutTheSpecificDetailLast(t *testing.T) {
	leader := &membership.Member{ID: 7, ClientHost: "h", ClientPort: 1}
	cases := []struct {
		err    error
		code   codes.Code
		reason string
		detail string
	}{
		{&replica.NotLeaderError{Leader: leader}, codes.FailedPrecondition, "NOT_LEADER_NODE", "kurrent.rpc.NotLeaderNodeErrorDetails"},
		{&replica.NotLeaderError{}, codes.Unavailable, "SERVER_NOT_READY", "google.rpc.RetryInfo"},
		{&revisionConflict{"s", 1, 2}, codes.FailedPrecondition, "STREAM_REVISION_CONFLICT", "kurrentdb.protocol.v2.streams.errors.StreamRevisionConflictErrorDetails"},
		{&streamDeleted{"s"}, codes.FailedPrecondition, "STREAM_TOMBSTONED", "kurrentdb.protocol.v2.streams.errors.StreamTombstonedErrorDetails"},
		{&violated{}, codes.FailedPrecondition, "APPEND_CONSISTENCY_VIOLATION", "kurrentdb.protocol.v2.streams.errors.AppendConsistencyViolationErrorDetails"},
		{&repeatedStream{"s"}, codes.Aborted, "STREAM_ALREADY_IN_APPEND_SESSION", "kurrentdb.protocol.v2.streams.errors.StreamAlreadyInAppendSessionErrorDetails"},
		{errNoRequests, codes.FailedPrecondition, "APPEND_SESSION_NO_REQUESTS", ""},
		{&eventTooLarge{}, codes.InvalidArgument, "APPEND_RECORD_SIZE_EXCEEDED", "kurrentdb.protocol.v2.streams.errors.AppendRecordSizeExceededErrorDetails"},
		{&appendTooLarge{}, codes.Aborted, "APPEND_TRANSACTION_SIZE_EXCEEDED", "kurrentdb.protocol.v2.streams.errors.AppendTransactionSizeExceededErrorDetails"},
		{errAccessDenied, codes.PermissionDenied, "ACCESS_DENIED", "kurrent.rpc.AccessDeniedErrorDetails"},
		{badRequest("x"), codes.InvalidArgument, "BAD_REQUEST", "google.rpc.BadRequest"},
		{replica.ErrTimeout, codes.DeadlineExceeded, "OPERATION_TIMEOUT", "google.rpc.RetryInfo"},
	}
	for _, c := range cases {
		e, known := rich("op", c.err)
		if !known || e.code != c.code || e.reason != c.reason {
			t.Errorf("%v: %+v, want %v %s", c.err, e, c.code, c.reason)
			continue
		}
		detail := ""
		if e.detail != nil {
			detail = string(e.detail.ProtoReflect().Descriptor().FullName())
		}
		if detail != c.detail {
			t.Errorf("%v: detail %q, want %q", c.err, detail, c.detail)
		}
	}
	if e, _ := rich("op", &replica.NotLeaderError{Leader: leader}); e.trailer.Get("exception")[0] != "not-leader" {
		t.Error("a not-leader answer lacks the trailers older clients follow")
	}
}
