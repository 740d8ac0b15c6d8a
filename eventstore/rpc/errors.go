package rpc

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/eventstore/membership"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

// Trailer keys and values by which clients of the first-generation services tell errors apart.
const (
	keyException       = "exception"
	keyLeaderHost      = "leader-endpoint-host"
	keyLeaderPort      = "leader-endpoint-port"
	keyStreamName      = "stream-name"
	keyExpectedVersion = "expected-version"
	keyActualVersion   = "actual-version"
	keyMaxAppendSize   = "maximum-append-size"
	keyMaxEventSize    = "maximum-append-event-size"
	keyProposedSize    = "proposed-append-event-size"
	keyEventID         = "event-id"
	keyRequired        = "required-metadata-properties"
	keyIndexName       = "index-name"
	keyPushback        = "grpc-retry-pushback-ms"

	exceptionNotLeader       = "not-leader"
	exceptionStreamDeleted   = "stream-deleted"
	exceptionWrongVersion    = "wrong-expected-version"
	exceptionAccessDenied    = "access-denied"
	exceptionMaxAppendSize   = "maximum-append-size-exceeded"
	exceptionMaxEventSize    = "maximum-append-event-size-exceeded"
	exceptionMissingProperty = "missing-required-metadata-property"
	exceptionIndexNotFound   = "index-not-found"
)

// appendTooLarge: the events of one append exceed the limit together.
type appendTooLarge struct{ size, limit int }

func (e *appendTooLarge) Error() string {
	return "the append of " + strconv.Itoa(e.size) + " bytes exceeds the limit of " + strconv.Itoa(e.limit)
}

// eventTooLarge: one event exceeds the limit.
type eventTooLarge struct {
	stream      string
	id          [16]byte
	size, limit int
}

func (e *eventTooLarge) Error() string {
	return "event " + string(appendUUID(nil, e.id)) + " of " + strconv.Itoa(e.size) + " bytes exceeds the limit of " + strconv.Itoa(e.limit)
}

// streamDeleted: the stream is tombstoned.
type streamDeleted struct{ stream string }

func (e *streamDeleted) Error() string { return "stream " + strconv.Quote(e.stream) + " is deleted" }

// wrongVersion: a delete found the stream in another state.
type wrongVersion struct {
	stream   string
	expected stream.Expected
	actual   int64
}

func (e *wrongVersion) Error() string {
	return "stream " + strconv.Quote(e.stream) + " is at revision " + strconv.FormatInt(e.actual, 10) + ", not as expected (" + strconv.FormatInt(int64(e.expected), 10) + ")"
}

// indexNotFound: a read named a secondary index; there are none.
type indexNotFound struct{ name string }

func (e *indexNotFound) Error() string { return "index " + strconv.Quote(e.name) + " does not exist" }

// errAccessDenied: the caller is known, or anonymous, and may not do this.
var errAccessDenied = errors.New("access denied")

// errStopping: the server stops while the call runs.
var errStopping = errors.New("the server is shutting down")

// describe translates an error of this package's parts into a status and trailers. It is the only place of first-generation errors.
func describe(err error) (*status.Status, metadata.MD) {
	var (
		notLeader   *replica.NotLeaderError
		deleted     *streamDeleted
		version     *wrongVersion
		largeAppend *appendTooLarge
		largeEvent  *eventTooLarge
		noIndex     *indexNotFound
		refused     *membership.Refusal
		bad         *refusal
	)
	switch {
	case errors.As(err, &notLeader):
		if trailer := leaderTrailer(notLeader); trailer != nil {
			return status.New(codes.NotFound, notLeader.Error()), trailer
		}
		// NOT_FOUND without an address would be read as "stream not found".
		return status.New(codes.Unavailable, notLeader.Error()), nil
	case errors.As(err, &deleted):
		return status.New(codes.FailedPrecondition, deleted.Error()), metadata.Pairs(keyException, exceptionStreamDeleted, keyStreamName, trailerText(deleted.stream))
	case errors.As(err, &version):
		return status.New(codes.FailedPrecondition, version.Error()), metadata.Pairs(keyException, exceptionWrongVersion, keyStreamName, trailerText(version.stream),
			keyExpectedVersion, strconv.FormatInt(int64(version.expected), 10), keyActualVersion, strconv.FormatInt(version.actual, 10))
	case errors.As(err, &largeAppend):
		return status.New(codes.InvalidArgument, largeAppend.Error()), metadata.Pairs(keyException, exceptionMaxAppendSize, keyMaxAppendSize, strconv.Itoa(largeAppend.limit))
	case errors.As(err, &largeEvent):
		return status.New(codes.InvalidArgument, largeEvent.Error()), metadata.Pairs(keyException, exceptionMaxEventSize,
			keyMaxEventSize, strconv.Itoa(largeEvent.limit), keyProposedSize, strconv.Itoa(largeEvent.size), keyEventID, string(appendUUID(nil, largeEvent.id)))
	case errors.Is(err, errMissingProperty):
		return status.New(codes.InvalidArgument, err.Error()), metadata.Pairs(keyException, exceptionMissingProperty, keyRequired, "type,content-type")
	case errors.As(err, &noIndex):
		return status.New(codes.NotFound, noIndex.Error()), metadata.Pairs(keyException, exceptionIndexNotFound, keyIndexName, trailerText(noIndex.name))
	case errors.Is(err, errAccessDenied):
		return status.New(codes.PermissionDenied, err.Error()), metadata.Pairs(keyException, exceptionAccessDenied)
	case errors.As(err, &bad):
		return status.New(codes.InvalidArgument, bad.Error()), nil
	case errors.Is(err, reader.ErrInvalidPosition), errors.Is(err, reader.ErrInvalidFilter):
		return status.New(codes.InvalidArgument, err.Error()), nil
	case errors.Is(err, replica.ErrTimeout):
		return status.New(codes.Aborted, "Operation timed out: the write was not decided in time; it may or may not have happened"), nil
	case unavailable(err):
		return status.New(codes.Unavailable, err.Error()), nil
	case errors.As(err, &refused):
		code := codes.FailedPrecondition
		if refused.Retry {
			code = codes.Unavailable
		}
		return status.New(code, refused.Error()), nil
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "the deadline passed"), nil
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "the call was canceled"), nil
	}
	if st, trailer := describeUsers(err); st != nil {
		return st, trailer
	}
	if st, trailer := describeScavenge(err); st != nil {
		return st, trailer
	}
	if st, trailer := describeRedaction(err); st != nil {
		return st, trailer
	}
	if st, ok := status.FromError(err); ok {
		return st, nil
	}
	return status.New(codes.Internal, err.Error()), nil
}

// unavailable says that the node cannot serve now; nothing was done.
func unavailable(err error) bool {
	return errors.Is(err, replica.ErrNoLeader) || errors.Is(err, replica.ErrBusy) || errors.Is(err, replica.ErrStopped) ||
		errors.Is(err, replica.ErrNotAppended) || errors.Is(err, errStopping)
}

// leaderTrailer tells a client where the leader is; nil when that is not known.
func leaderTrailer(err *replica.NotLeaderError) metadata.MD {
	if err.Leader == nil || err.Leader.ClientHost == "" {
		return nil
	}
	return metadata.Pairs(keyException, exceptionNotLeader, keyLeaderHost, err.Leader.ClientHost, keyLeaderPort, strconv.Itoa(err.Leader.ClientPort))
}

// fail turns an error into what a handler returns, with its trailers set on the call.
func (s *Server) fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	st, trailer := describe(err)
	if trailer != nil {
		// The call is known to be a server's, so this cannot fail but after its end.
		_ = grpc.SetTrailer(ctx, trailer)
	}
	if st.Code() == codes.Internal {
		s.logger.Error("a call ended with an internal error", "error", err)
	}
	return st.Err()
}

// trailerText keeps a name within what a header may carry. Names in other scripts are percent-encoded as gRPC does with status messages.
func trailerText(name string) string {
	plain := true
	for i := 0; i < len(name); i++ {
		if name[i] < ' ' || name[i] > '~' {
			plain = false
			break
		}
	}
	if plain {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if c := name[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(strings.ToUpper(hexDigits)[c>>4])
			b.WriteByte(strings.ToUpper(hexDigits)[c&15])
		}
	}
	return b.String()
}
