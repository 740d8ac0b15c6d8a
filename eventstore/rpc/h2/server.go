package h2

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
)

// Options configure a Server. Codec, MaxMessageBytes, MaxCalls and the windows are required.
type Options struct {
	Codec encoding.CodecV2
	// Decode, if set, is tried before Codec: it reads the bytes of one message, which are v's from then on, or says that it does not know v.
	Decode func(b []byte, v any) (known bool, err error)
	// Unary and Stream are put around every handler; nil: nothing is.
	Unary  grpc.UnaryServerInterceptor
	Stream grpc.StreamServerInterceptor
	// MaxMessageBytes bounds a received message, after it is unpacked.
	MaxMessageBytes int
	// MaxCalls bounds the calls of one connection.
	MaxCalls uint32
	// StreamWindow and ConnWindow are the flow-control windows clients get, bytes, 64 KiB to 2 GiB.
	StreamWindow, ConnWindow int32
	// PingEvery is after how much silence a client is asked for a sign of life (0:
	// never), PingTimeout how long that may take.
	PingEvery, PingTimeout time.Duration
	// MinPingEvery is how often a client may ping; one that goes on is sent away.
	MinPingEvery time.Duration
	Logger       *slog.Logger // nil: nothing is logged
}

// Server serves registered services. Register before Serve.
type Server struct {
	o        Options
	methods  map[string]*method // by "/service/method"
	services map[string]grpc.ServiceInfo

	counts counts

	work chan *call // to goroutines that wait for one
	idle atomic.Int32
	gone chan struct{} // closed when they need not wait any more
	end  func()

	mu       sync.Mutex
	conns    map[*conn]struct{}
	closed   bool
	listener net.Listener
	running  sync.WaitGroup // connections
}

// method is how one method is called.
type method struct {
	path   string
	impl   any
	unary  grpc.MethodHandler // nil for streams
	stream grpc.StreamHandler
	info   *grpc.StreamServerInfo
	// early starts the handler with the headers: both sides talk at a time.
	early bool
	// single marks an answer of one message: it leaves together with its status.
	single bool
}

// maxIdle bounds the goroutines that are kept for the next call.
const maxIdle = 512

// NewServer returns a server without services.
func NewServer(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, methods: map[string]*method{}, services: map[string]grpc.ServiceInfo{},
		work: make(chan *call), gone: make(chan struct{}), conns: map[*conn]struct{}{}}
	s.end = sync.OnceFunc(func() { close(s.gone) })
	return s
}

// RegisterService adds a service; it is grpc.ServiceRegistrar's.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if impl != nil && desc.HandlerType != nil {
		if want := reflect.TypeOf(desc.HandlerType).Elem(); !reflect.TypeOf(impl).Implements(want) {
			panic("h2: " + reflect.TypeOf(impl).String() + " does not implement " + want.String())
		}
	}
	info := grpc.ServiceInfo{Metadata: desc.Metadata}
	for _, m := range desc.Methods {
		path := "/" + desc.ServiceName + "/" + m.MethodName
		s.methods[path] = &method{path: path, impl: impl, unary: m.Handler, single: true}
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
	}
	for _, m := range desc.Streams {
		path := "/" + desc.ServiceName + "/" + m.StreamName
		s.methods[path] = &method{path: path, impl: impl, stream: m.Handler, single: !m.ServerStreams, early: m.ServerStreams && m.ClientStreams,
			info: &grpc.StreamServerInfo{FullMethod: path, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams}}
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.StreamName, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams})
	}
	s.services[desc.ServiceName] = info
}

// GetServiceInfo describes what is registered, for reflection.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo { return s.services }

// unknown words the answer to a path that is not registered.
func (s *Server) unknown(path string) string {
	service, name, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok {
		return "malformed method name: \"" + path + "\""
	}
	if _, known := s.services[service]; known {
		return "unknown method " + name + " for service " + service
	}
	return "unknown service " + service
}

// Serve answers on the connections of l until Stop; it then returns nil.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return l.Close()
	}
	s.listener = l
	s.mu.Unlock()
	for {
		nc, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			closed := s.closed
			s.mu.Unlock()
			if closed || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		c := newConn(s, nc)
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			nc.Close()
			continue
		}
		s.conns[c] = struct{}{}
		s.running.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.running.Done()
			c.serve()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
	}
}

// Stop refuses new calls, lets running ones end within ctx, and then ends them.
// It returns when no handler runs any more.
func (s *Server) Stop(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	if s.listener != nil {
		s.listener.Close()
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.drain()
	}
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		for _, c := range conns {
			c.close()
		}
		<-done
	}
	s.end()
}

// start runs the call's handler on a goroutine that waits for one, or on a new one.
func (s *Server) start(k *call) {
	select {
	case s.work <- k:
	default:
		go s.worker(k)
	}
}

func (s *Server) worker(k *call) {
	for {
		k.run()
		if s.idle.Add(1) > maxIdle {
			s.idle.Add(-1)
			return
		}
		select {
		case k = <-s.work:
			s.idle.Add(-1)
		case <-s.gone:
			return
		}
	}
}
