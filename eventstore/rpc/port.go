package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// One port carries gRPC and HTTP/1.1. On a plain connection the first bytes tell which: HTTP/2 begins with a preface no HTTP/1.1 request can begin with.
// Under TLS the offered protocols tell: a client that offers only h2 is a gRPC client; one that offers both h2 and http/1.1 may send either on one
// connection and gets Go's own HTTP/2 server, which passes gRPC calls on.

const (
	// prefaceStart is enough of the HTTP/2 preface "PRI * HTTP/2.0" to know it.
	prefaceStart = "PRI "
	// maxOpenConnections bounds the connections of the port.
	maxOpenConnections = 20_000

	httpReadHeaderTimeout = 10 * time.Second
	httpIdleTimeout       = 2 * time.Minute
	httpMaxHeaderBytes    = 32 << 10
)

// Port listens for clients.
type Port struct {
	listener net.Listener
	tls      *tls.Config // nil: plain text
	rpc      *Server
	http     *http.Server
	logger   *slog.Logger

	grpcConns, httpConns *connQueue
	open                 chan struct{} // one for each connection being sorted or open
}

// PortOptions configures a [Port].
type PortOptions struct {
	Listener net.Listener
	// TLS holds the certificates; nil means plain text. Its NextProtos are set by the port.
	TLS    *tls.Config
	RPC    *Server
	HTTP   http.Handler
	Logger *slog.Logger
}

// NewPort prepares a port. The caller has bound the listener, so that a port in use is its to report.
func NewPort(o PortOptions) *Port {
	p := &Port{
		listener: o.Listener, rpc: o.RPC, logger: o.Logger,
		grpcConns: newConnQueue(o.Listener.Addr()), httpConns: newConnQueue(o.Listener.Addr()),
		open: make(chan struct{}, maxOpenConnections),
	}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	p.http = &http.Server{
		ReadHeaderTimeout: httpReadHeaderTimeout, IdleTimeout: httpIdleTimeout, MaxHeaderBytes: httpMaxHeaderBytes,
		ErrorLog: log.New(&lineLogger{p.logger}, "", 0),
		Handler:  o.HTTP,
	}
	if o.TLS != nil {
		p.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				o.RPC.ServeHTTP(w, r)
				return
			}
			o.HTTP.ServeHTTP(w, r)
		})
		p.tls = o.TLS.Clone()
		p.tls.NextProtos = []string{http2.NextProtoTLS, "http/1.1"}
		grpcOnly := p.tls.Clone()
		grpcOnly.NextProtos = []string{http2.NextProtoTLS}
		p.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			for _, proto := range hello.SupportedProtos {
				if proto != http2.NextProtoTLS {
					return nil, nil
				}
			}
			if c, ok := hello.Conn.(*clientConn); ok && len(hello.SupportedProtos) > 0 {
				c.grpcOnly = true
			}
			return grpcOnly, nil
		}
	}
	return p
}

// Addr is the address listened on.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Serve answers until Stop. It returns nil after Stop.
func (p *Port) Serve() error {
	var servers sync.WaitGroup
	servers.Add(2)
	go func() {
		defer servers.Done()
		if err := p.rpc.Serve(p.grpcConns); err != nil {
			p.logger.Error("the gRPC server ended", "error", err)
		}
	}()
	go func() {
		defer servers.Done()
		if err := p.http.Serve(p.httpConns); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			p.logger.Error("the HTTP server ended", "error", err)
		}
	}()
	err := p.accept()
	p.grpcConns.Close()
	p.httpConns.Close()
	servers.Wait()
	return err
}

func (p *Port) accept() error {
	var wait time.Duration
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			// Out of file descriptors, most likely: back off and go on serving those that are connected.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			p.logger.Warn("a connection could not be accepted", "error", err, "retryIn", wait)
			pause := time.NewTimer(wait)
			select {
			case <-pause.C:
			case <-p.rpc.stopping:
			}
			continue
		}
		wait = 0
		select {
		case p.open <- struct{}{}:
		default:
			p.logger.Warn("connection refused: too many are open", "limit", maxOpenConnections)
			conn.Close()
			continue
		}
		go p.sort(&clientConn{Conn: conn, release: sync.OnceFunc(func() { <-p.open })})
	}
}

// sort finds out what a connection speaks and hands it to the server for it. A connection that says nothing in time, or nonsense, is closed.
func (p *Port) sort(conn *clientConn) {
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if p.tls == nil {
		if _, err := io.ReadFull(conn.Conn, conn.head[:]); err != nil {
			conn.Close()
			return
		}
		conn.unread = conn.head[:]
		_ = conn.SetDeadline(time.Time{})
		if string(conn.head[:]) == prefaceStart {
			p.grpcConns.add(conn)
		} else {
			p.httpConns.add(conn)
		}
		return
	}
	secured := tls.Server(conn, p.tls)
	if err := secured.Handshake(); err != nil {
		p.logger.Debug("TLS handshake refused", "from", conn.RemoteAddr(), "error", err)
		conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	if conn.grpcOnly {
		p.grpcConns.add(secured)
	} else {
		p.httpConns.add(secured)
	}
}

// Stop refuses new connections, lets running calls finish within the context, then closes everything.
func (p *Port) Stop(ctx context.Context) {
	p.rpc.end()
	p.listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.http.Shutdown(ctx); err != nil {
			p.http.Close()
		}
	}()
	p.rpc.Stop(ctx)
	<-done
}

// clientConn is a connection whose first bytes have been looked at.
type clientConn struct {
	net.Conn
	head     [len(prefaceStart)]byte
	unread   []byte // of head
	grpcOnly bool   // the TLS client offered h2 and nothing else
	release  func()
}

func (c *clientConn) Read(b []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(b, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *clientConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// connQueue is a listener whose connections are handed to it.
type connQueue struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newConnQueue(addr net.Addr) *connQueue {
	q := &connQueue{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	q.close = sync.OnceFunc(func() { close(q.closed) })
	return q
}

func (q *connQueue) add(conn net.Conn) {
	select {
	case q.conns <- conn:
	case <-q.closed:
		conn.Close()
	}
}

func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *connQueue) Close() error {
	q.close()
	return nil
}

func (q *connQueue) Addr() net.Addr { return q.addr }

// lineLogger passes net/http's own complaints, which are about clients, on at debug level.
type lineLogger struct{ logger *slog.Logger }

func (l *lineLogger) Write(b []byte) (int, error) {
	l.logger.Debug("http", "message", strings.TrimSpace(string(b)))
	return len(b), nil
}
