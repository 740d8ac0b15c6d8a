package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"baton/control/engine"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Trailers by which a node says more of an error than its code does.
const (
	trailerException = "exception"

	exceptionNotLeader   = "not-leader"
	exceptionGroupFailed = "persistent-subscription-failed"
	exceptionAccess      = "access-denied"
)

// said are the trailers of one call.
type said struct{ md metadata.MD }

func (s *said) exception() string {
	if v := s.md.Get(trailerException); len(v) > 0 {
		return v[0]
	}
	return ""
}

// atLeader calls f with one node after the other until one takes the call as
// the leader does. f hands opts to its call, or fills s from the stream.
func (n *node) atLeader(ctx context.Context, what string, changes bool, f func(ctx context.Context, c *grpc.ClientConn, s *said, opts ...grpc.CallOption) error) error {
	n.mu.Lock()
	in := n.in
	in.Peers = n.peers
	n.mu.Unlock()
	targets, err := newTargets(in)
	if err != nil {
		return asActionError(fmt.Errorf("%w: %w", errNotSent, err), "connect", false)
	}
	for _, t := range targets {
		defer t.conn.Close()
	}
	var s said
	for _, t := range targets {
		s = said{}
		if err = f(metadata.NewOutgoingContext(ctx, t.auth), t.conn, &s, grpc.Trailer(&s.md)); err == nil {
			return nil
		}
		if ctx.Err() != nil || s.exception() != exceptionNotLeader && status.Code(err) != codes.Unavailable {
			break
		}
	}
	return n.callError(err, s.exception(), what, changes)
}

// callError translates what a node says to a call. changes tells whether the
// call would have changed something.
func (n *node) callError(err error, exception, what string, changes bool) error {
	var ae *engine.ActionError
	if errors.As(err, &ae) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return asActionError(err, what, changes)
	}
	e := &engine.ActionError{Code: engine.CodeRefused, Detail: what + ": " + st.Message(), Err: err}
	switch st.Code() {
	case codes.Unauthenticated:
		e.Code, e.Detail = engine.CodeAuth, what+": the node refuses the login"
	case codes.PermissionDenied:
		if n.in.Auth.Password == "" {
			e.Code, e.Detail = engine.CodeAuth, what+": the node asks for a login"
			break
		}
		e.Detail, e.Fix = fmt.Sprintf("%s: the account %q may not do this", what, n.in.Auth.User), "have Baton sign in as a member of $admins"
	case codes.Unimplemented:
		e.Code = engine.CodeNotOffered
	case codes.FailedPrecondition, codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.ResourceExhausted:
	case codes.Internal, codes.Unknown, codes.Canceled:
		if exception == "" {
			e.Code = engine.CodeFailed
		}
	default: // no answer, or none in time
		e.Code = engine.CodeUnreachable
		if st.Code() == codes.DeadlineExceeded {
			e.Code, e.Detail = engine.CodeTimeout, what+": no answer in time"
		}
		if changes && st.Code() != codes.Unavailable {
			e.Code, e.Detail = engine.CodeUnknown, what+": no answer, the outcome is unknown"
		}
	}
	return e
}

// drain reads a stream of answers to its end.
func drain[T any](s grpc.ServerStreamingClient[T], err error, into *said, each func(*T)) error {
	for err == nil {
		var m *T
		if m, err = s.Recv(); err == nil {
			each(m)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	if s != nil {
		into.md = s.Trailer()
	}
	return err
}

// needsLogin tells whether an error of call says that a login is asked for, or
// another one.
func needsLogin(err error) bool {
	var r *refusal
	return errors.As(err, &r) && (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden)
}
