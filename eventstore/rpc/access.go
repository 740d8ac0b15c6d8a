package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"baton/eventstore/stream"
)

// Groups of users. A user's groups decide what it may do.
const (
	GroupAdmins = "$admins"
	GroupOps    = "$ops"
)

// User is one account of a secure node.
type User struct {
	Name     string
	Password string
	Group    string
}

// Access authenticates callers and says what they may do. The zero value is that of an insecure node: everybody may do everything and authorization
// headers are ignored. Safe for concurrent use once built.
//
// Stream access follows the built-in defaults: any user may use user streams; system streams, whose names begin with "$", are the administrators'.
type Access struct {
	secure           bool
	users            map[string]account
	anonymousStreams bool
	anonymousStats   bool
	anonymousGossip  bool
}

type account struct {
	name     string
	password [sha256.Size]byte
	group    string
}

// AccessOptions describes a secure node's access.
type AccessOptions struct {
	Users            []User
	AnonymousStreams bool // callers without credentials may use user streams
	AnonymousStats   bool // ... and read statistics and metrics
	AnonymousGossip  bool // ... and read gossip
}

// NewAccess returns the access of a secure node.
func NewAccess(o AccessOptions) *Access {
	a := &Access{secure: true, users: map[string]account{}, anonymousStreams: o.AnonymousStreams, anonymousStats: o.AnonymousStats, anonymousGossip: o.AnonymousGossip}
	for _, u := range o.Users {
		a.users[u.Name] = account{name: u.Name, password: sha256.Sum256([]byte(u.Password)), group: u.Group}
	}
	return a
}

// Caller is who makes a request. The zero value is anonymous.
type Caller struct {
	Name, Group string
}

// Secure says whether callers are told apart at all.
func (a *Access) Secure() bool { return a.secure }

// Authenticate reads an Authorization header; the empty one is anonymous. It returns errUnauthenticated for wrong or unreadable credentials.
func (a *Access) Authenticate(header string) (Caller, error) {
	if !a.secure {
		return Caller{Name: "admin", Group: GroupAdmins}, nil
	}
	if header == "" {
		return Caller{}, nil
	}
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return Caller{}, errUnauthenticated
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		return Caller{}, errUnauthenticated
	}
	name, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return Caller{}, errUnauthenticated
	}
	// An unknown name costs the same comparison as a known one.
	user, known := a.users[name]
	sum := sha256.Sum256([]byte(password))
	match := subtle.ConstantTimeCompare(sum[:], user.password[:]) == 1
	if !known || !match {
		return Caller{}, errUnauthenticated
	}
	return Caller{Name: user.name, Group: user.group}, nil
}

// MayOperate says whether a caller may administrate the node.
func (a *Access) MayOperate(c Caller) bool {
	return !a.secure || c.Group == GroupAdmins || c.Group == GroupOps
}

// MayReadStats says whether a caller may read statistics and metrics.
func (a *Access) MayReadStats(c Caller) bool { return !a.secure || a.anonymousStats || c.Name != "" }

// MayReadGossip says whether a caller may read gossip.
func (a *Access) MayReadGossip(c Caller) bool { return !a.secure || a.anonymousGossip || c.Name != "" }

func (a *Access) mayUse(c Caller, name string) bool {
	switch {
	case !a.secure, c.Group == GroupAdmins:
		return true
	case strings.HasPrefix(stream.OriginalOf(name), "$"):
		return false
	}
	return c.Name != "" || a.anonymousStreams
}

// read and write refuse a stream the call's caller may not use.
func (a *Access) read(ctx context.Context, name string) error {
	if a.secure && !a.mayUse(callerOf(ctx), name) {
		return errAccessDenied
	}
	return nil
}

func (a *Access) write(ctx context.Context, name string) error { return a.read(ctx, name) }

func (a *Access) operate(ctx context.Context) error {
	if a.secure && !a.MayOperate(callerOf(ctx)) {
		return errAccessDenied
	}
	return nil
}

type callerKey struct{}

func callerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// authenticated returns the call's context with its caller in it.
func (s *Server) authenticated(ctx context.Context) (context.Context, error) {
	header := ""
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		if values := md["authorization"]; len(values) > 0 {
			header = values[0]
		}
	}
	caller, err := s.access.Authenticate(header)
	if err != nil {
		return ctx, err
	}
	return context.WithValue(ctx, callerKey{}, caller), nil
}

func (s *Server) unaryAccess(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := s.authenticated(ctx)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return next(ctx, req)
}

func (s *Server) streamAccess(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := s.authenticated(ss.Context())
	if err != nil {
		return s.fail(ctx, err)
	}
	return next(srv, &callerStream{ServerStream: ss, ctx: ctx})
}

// callerStream is a server stream whose context knows the caller.
type callerStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *callerStream) Context() context.Context { return s.ctx }

// requiresLeader says whether the client asked for the leader and nobody else.
func requiresLeader(ctx context.Context) bool {
	values := metadata.ValueFromIncomingContext(ctx, "requires-leader")
	return len(values) > 0 && strings.EqualFold(values[0], "true")
}
