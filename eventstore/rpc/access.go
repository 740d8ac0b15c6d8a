package rpc

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"baton/eventstore/access"
	"baton/eventstore/users"
	"baton/platform/auth"
)

// Access authenticates callers and says what they may do. The zero value is that of an insecure node: everybody may do everything and authorization
// headers are ignored. Safe for concurrent use once built.
//
// What a method needs stands in one table (access_methods.go); without an entry it needs an administrator. A handler that touches streams asks Check
// before, and gives Visible or Readable to the reader.
type Access struct {
	secure          bool
	users           *users.Store
	first           users.First
	streams         streamAccess
	certificate     func(chain []*x509.Certificate) (login string, err error)
	anonymousStats  bool
	anonymousGossip bool
}

// AccessOptions describes a secure node's access.
type AccessOptions struct {
	Node  users.Backend
	First users.First // passwords of the first accounts of a new cluster
	// Certificate says whose certificate a client showed, leaf first, after checking it; "" for one that names no user. nil: none does.
	Certificate func(chain []*x509.Certificate) (login string, err error)

	AnonymousStreams bool // callers without credentials may use streams that everyone may use
	AnonymousStats   bool // ... and read statistics and metrics
	AnonymousGossip  bool // ... and read gossip

	PasswordCost auth.Cost // of new passwords' hashes; zero: auth.DefaultCost
	Logger       *slog.Logger
}

// NewAccess returns the access of a secure node.
func NewAccess(o AccessOptions) *Access {
	return &Access{
		secure: true, users: users.NewStore(o.Node, users.Options{Cost: o.PasswordCost, Logger: o.Logger}), first: o.First, certificate: o.Certificate,
		streams:        streamAccess{reader: o.Node.Reader(), options: access.Options{AnonymousStreams: o.AnonymousStreams}},
		anonymousStats: o.AnonymousStats, anonymousGossip: o.AnonymousGossip,
	}
}

// Caller is who makes a request. The zero value is anonymous.
type Caller = access.Principal

// insecureCaller is everybody on an insecure node.
var insecureCaller = Caller{Name: users.FirstAdmin, Groups: []string{access.Admins}}

// Secure says whether callers are told apart at all.
func (a *Access) Secure() bool { return a.secure }

// Users are the accounts; nil on an insecure node.
func (a *Access) Users() *users.Store { return a.users }

// begin makes the first accounts of a new cluster.
func (a *Access) begin(ctx context.Context) {
	if a.secure {
		a.users.MakeFirst(ctx, a.first)
	}
}

// authenticate finds out who calls: by the Authorization header; without one by the certificate the connection was opened with; else nobody knows.
// Errors are those of users.Store.Authenticate.
func (a *Access) authenticate(ctx context.Context, header string, from func() string, certificates []*x509.Certificate) (Caller, error) {
	switch {
	case !a.secure:
		return insecureCaller, nil
	case header != "":
		p, err := a.users.Authenticate(ctx, header, from)
		if err != nil {
			return Caller{}, err
		}
		return *p, nil
	case a.certificate != nil && len(certificates) > 0:
		return a.byCertificate(certificates)
	}
	return Caller{}, nil
}

func (a *Access) byCertificate(chain []*x509.Certificate) (Caller, error) {
	login, err := a.certificate(chain)
	if err != nil {
		return Caller{}, fmt.Errorf("%w: %w", users.ErrWrong, err)
	}
	if login == "" { // a node's, say: it proves no user
		return Caller{}, nil
	}
	p, err := a.users.Principal(login)
	switch {
	case err != nil:
		return Caller{}, err
	case p == nil && !a.users.Ready():
		return Caller{}, users.ErrNotReady
	case p == nil:
		return Caller{}, users.ErrWrong
	}
	return *p, nil
}

// Identify finds out who makes an HTTP request.
func (a *Access) Identify(r *http.Request) (Caller, error) {
	var certificates []*x509.Certificate
	if r.TLS != nil {
		certificates = r.TLS.PeerCertificates
	}
	return a.authenticate(r.Context(), r.Header.Get("Authorization"), func() string { return r.RemoteAddr }, certificates)
}

// current is the caller as it is known now; nil when it may not call any more.
func (a *Access) current(c *Caller) *Caller {
	if c.Anonymous() {
		return c
	}
	p, err := a.users.Principal(c.Name)
	if err != nil {
		return nil
	}
	return p
}

// MayOperate says whether a caller may administrate the node.
func (a *Access) MayOperate(c Caller) bool { return !a.secure || c.MayOperate() }

// MayAdministrate says whether a caller may administrate users.
func (a *Access) MayAdministrate(c Caller) bool { return !a.secure || c.IsAdmin() }

// SignedIn says whether somebody is known to call.
func (a *Access) SignedIn(c Caller) bool { return !a.secure || !c.Anonymous() }

// MayReadStats says whether a caller may read statistics and metrics.
func (a *Access) MayReadStats(c Caller) bool { return a.anonymousStats || a.SignedIn(c) }

// MayReadGossip says whether a caller may read gossip.
func (a *Access) MayReadGossip(c Caller) bool { return a.anonymousGossip || a.SignedIn(c) }

// read, write and remove refuse a stream the call's caller may not use.
func (a *Access) read(ctx context.Context, name string) error { return a.Check(ctx, access.Read, name) }

func (a *Access) write(ctx context.Context, name string) error {
	return a.Check(ctx, access.Write, name)
}

func (a *Access) remove(ctx context.Context, name string) error {
	return a.Check(ctx, access.Delete, name)
}

func (a *Access) operate(ctx context.Context) error {
	if a.secure && !callerOf(ctx).MayOperate() {
		return errAccessDenied
	}
	return nil
}

type callerKey struct{}

// WithCaller returns a context for requests of a caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, &c)
}

var anonymous Caller

// callerOf is who makes the call; anonymous when nobody was authenticated. Nothing in it may be changed.
func callerOf(ctx context.Context) *Caller {
	if c, ok := ctx.Value(callerKey{}).(*Caller); ok {
		return c
	}
	return &anonymous
}

// CallerOf is who makes a request, as WithCaller and the server's own calls have it; the zero value is anonymous.
func CallerOf(ctx context.Context) Caller { return *callerOf(ctx) }

// authenticated returns the call's context with its caller in it, once the caller has what the method needs.
func (s *Server) authenticated(ctx context.Context, method string) (context.Context, error) {
	header := ""
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) > 0 {
		header = values[0]
	}
	from, _ := peer.FromContext(ctx)
	caller, err := s.access.authenticate(ctx, header, addressOf(from), certificatesOf(from))
	if err != nil {
		return ctx, err
	}
	if !needOf(method).met(s.access, &caller) {
		return ctx, errAccessDenied
	}
	return WithCaller(ctx, caller), nil
}

func addressOf(p *peer.Peer) func() string {
	return func() string {
		if p == nil || p.Addr == nil {
			return ""
		}
		return p.Addr.String()
	}
}

func certificatesOf(p *peer.Peer) []*x509.Certificate {
	if p == nil {
		return nil
	}
	if t, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		return t.State.PeerCertificates
	}
	return nil
}

func (s *Server) unaryAccess(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := s.authenticated(ctx, info.FullMethod)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return next(ctx, req)
}

func (s *Server) streamAccess(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := s.authenticated(ss.Context(), info.FullMethod)
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
