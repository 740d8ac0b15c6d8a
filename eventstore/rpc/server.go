package rpc

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // answers are compressed for clients that compress
	"google.golang.org/grpc/reflection"

	"baton/eventstore/projections"
	"baton/eventstore/rpc/h2"
	"baton/eventstore/stream"
	"baton/eventstore/subscriptions"
	"baton/gen/eventstore/features"
	"baton/gen/eventstore/gossip"
	"baton/gen/eventstore/monitoring"
	"baton/gen/eventstore/operations"
	"baton/gen/eventstore/persistent"
	projectionspb "baton/gen/eventstore/projections"
	"baton/gen/eventstore/streams"
	userspb "baton/gen/eventstore/users"
	v2 "baton/gen/kurrent/streams"
	"baton/platform/tracing"
)

const (
	// minPingEvery is how often a client may ping, with or without calls. Clients ping every 10 s by default.
	minPingEvery = 2 * time.Second
	// Flow-control windows towards the server: enough for large appends in flight, little enough to bound memory for each connection.
	streamWindowBytes     = 1 << 20
	connectionWindowBytes = 8 << 20
	// maxConcurrentCalls bounds the calls of one connection.
	maxConcurrentCalls = 16 << 10
	// messageSlackBytes is what a message may have beyond the largest event.
	messageSlackBytes = 16 << 20
	// defaultWriteTimeout stands in for one that is not given.
	defaultWriteTimeout = 2 * time.Second
	// handshakeTimeout bounds how long a connection may take to say what it is.
	handshakeTimeout = 10 * time.Second
)

// Options configures a [Server].
type Options struct {
	Backend Backend
	Access  *Access // nil: an insecure node
	// Limits of one append and one event, bytes.
	MaxAppendBytes, MaxEventBytes int
	// WriteTimeout is the node's own bound on a write; shorter wishes of clients are honored.
	WriteTimeout time.Duration
	// KeepAliveInterval between pings to silent clients (0: none), and how long an answer may take.
	KeepAliveInterval, KeepAliveTimeout time.Duration
	// Subscriptions runs the persistent subscriptions; nil: there are none. The owner stops it.
	Subscriptions *subscriptions.Service
	// Projections runs the projections; nil: there are none. The owner stops it.
	Projections *projections.Service
	// Shutdown begins an orderly stop of the node and returns at once; nil: clients cannot ask for it.
	Shutdown func()
	// Tracer records spans of writes; nil: none.
	Tracer *tracing.Tracer
	Logger *slog.Logger
}

// Server serves the gRPC services of one node.
type Server struct {
	streams.UnimplementedStreamsServer

	backend       Backend
	access        *Access
	limits        stream.Limits
	writeTimeout  time.Duration
	shutdown      func()
	logger        *slog.Logger
	leading       leading
	subscriptions *subscriptions.Service
	projections   *projections.Service
	metrics       metrics
	tracer        *tracing.Tracer
	started       time.Time
	h2            *h2.Server
	grpc          *grpc.Server // for calls that come to Go's own HTTP/2 server

	lifetime context.Context // ends when the server begins to stop
	end      context.CancelFunc
	stopping <-chan struct{}
}

// metrics counts calls.
type metrics struct {
	done, refused, failed atomic.Uint64 // appends by outcome
	reads                 atomic.Uint64
	eventsWritten         atomic.Uint64 // in appends acknowledged here
	eventsRead, bytesRead atomic.Uint64 // by reads and catch-up subscriptions
	subscriptions         atomic.Int64  // running now
	durations             durations
}

// appended counts an append and takes down how long it took.
func (m *metrics) appended(o *stream.Outcome, err error, events int, took time.Duration) {
	m.durations.append.observe(took, err)
	switch {
	case err != nil:
		m.failed.Add(1)
	case o.Kind == stream.Done:
		m.done.Add(1)
		m.eventsWritten.Add(uint64(events))
	default:
		m.refused.Add(1)
	}
}

// Counters is a snapshot of what a server has done.
type Counters struct {
	AppendsDone, AppendsRefused, AppendsFailed, Reads uint64
	Subscriptions                                     int64
}

// Counters returns the counts so far.
func (s *Server) Counters() Counters {
	return Counters{s.metrics.done.Load(), s.metrics.refused.Load(), s.metrics.failed.Load(), s.metrics.reads.Load(), s.metrics.subscriptions.Load()}
}

// New builds a server; Serve makes it answer.
func New(o Options) *Server {
	s := &Server{
		backend: o.Backend, access: o.Access, shutdown: o.Shutdown, logger: o.Logger, started: time.Now(), writeTimeout: o.WriteTimeout,
		limits: stream.Limits{MaxEventBytes: o.MaxEventBytes, MaxAppendBytes: o.MaxAppendBytes},
	}
	s.metrics.durations = newDurations()
	if s.access == nil {
		s.access = &Access{}
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.writeTimeout <= 0 {
		s.writeTimeout = defaultWriteTimeout
	}
	s.leading.backend, s.subscriptions, s.tracer = o.Backend, o.Subscriptions, o.Tracer
	s.projections = o.Projections
	s.lifetime, s.end = context.WithCancel(context.Background())
	s.stopping = s.lifetime.Done()
	s.h2, s.grpc = h2.NewServer(s.options(o)), grpc.NewServer(s.slowOptions(o)...)
	for _, r := range []reflection.GRPCServer{s.h2, s.grpc} {
		streams.RegisterStreamsServer(r, s)
		v2.RegisterStreamsServiceServer(r, sessionsService{Server: s})
		gossip.RegisterGossipServer(r, gossipService{Server: s})
		features.RegisterServerFeaturesServer(r, featuresService{Server: s})
		operations.RegisterOperationsServer(r, operationsService{Server: s})
		monitoring.RegisterMonitoringServer(r, monitoringService{Server: s})
		if s.subscriptions != nil {
			persistent.RegisterPersistentSubscriptionsServer(r, groupsService{Server: s})
		}
		if s.projections != nil {
			projectionspb.RegisterProjectionsServer(r, projectionsService{Server: s})
		}
		userspb.RegisterUsersServer(r, usersService{Server: s})
		registerRedaction(r, s)
		reflection.Register(r)
	}
	return s
}

func (s *Server) options(o Options) h2.Options {
	options := h2.Options{
		Codec: codec{}, Decode: decodeOwn, MaxMessageBytes: o.MaxEventBytes + messageSlackBytes, MaxCalls: maxConcurrentCalls,
		StreamWindow: streamWindowBytes, ConnWindow: connectionWindowBytes,
		PingEvery: o.KeepAliveInterval, PingTimeout: o.KeepAliveTimeout, MinPingEvery: minPingEvery, Logger: s.logger,
	}
	if s.access.Secure() {
		options.Unary, options.Stream = s.unaryAccess, s.streamAccess
	}
	return options
}

// slowOptions are those for calls that come to Go's own HTTP/2 server.
func (s *Server) slowOptions(o Options) []grpc.ServerOption {
	options := []grpc.ServerOption{grpc.ForceServerCodecV2(codec{}), grpc.MaxRecvMsgSize(o.MaxEventBytes + messageSlackBytes)}
	if s.access.Secure() {
		options = append(options, grpc.UnaryInterceptor(s.unaryAccess), grpc.StreamInterceptor(s.streamAccess))
	}
	return options
}

// Serve answers on connections that speak HTTP/2 until Stop. It returns nil after Stop.
func (s *Server) Serve(l net.Listener) error {
	go s.access.begin(s.lifetime)
	return s.h2.Serve(l)
}

// ServeHTTP answers a gRPC call that came to Go's own HTTP/2 server: slower than Serve, for connections that may also carry other requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.grpc.ServeHTTP(w, r) }

// Stop ends subscriptions, lets running calls finish within the context, and then ends everything.
func (s *Server) Stop(ctx context.Context) {
	s.end()
	s.h2.Stop(ctx)
	s.grpc.Stop()
}
