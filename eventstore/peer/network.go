package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/membership"
)

// Handler is what a node does with what arrives. Its functions are called from
// several goroutines and must not block, except Request.
type Handler struct {
	// Hello describes this node to one it dials.
	Hello func() Hello
	// Welcome judges a node that dials this one; see Judge.
	Welcome func(Hello) Welcome
	Raft    func(messages []*raftpb.Message)
	Status  func(from membership.MemberID, payload []byte)
	// Request answers. The payload is the handler's to keep.
	Request func(ctx context.Context, from membership.MemberID, kind uint8, payload []byte) ([]byte, error)
	// Linked says that the link to a member is up.
	Linked func(membership.MemberID)
	// Lost says that the link to a member went down, or (refused) that nothing
	// listens at its address.
	Lost func(id membership.MemberID, refused bool)
	// Heard says how long a status took to a member and the answer back, or (not
	// answered) that the link was lost before it came. nil: nobody asks.
	Heard func(took time.Duration, answered bool)
	// Refused says that a node does not want the connection.
	Refused func(*RefusedError)
}

// Options configure a Network.
type Options struct {
	Listener  net.Listener // nil: this side only dials
	ServerTLS *tls.Config  // nil: plain TCP
	ClientTLS *tls.Config
	// ClientTLSNow is asked for each dial instead of ClientTLS, if set.
	ClientTLSNow func() *tls.Config
	// Identify refuses, on a link under TLS, a node whose certificate is not that of
	// the member it says it is, reached at an address. nil: every certificate that TLS
	// let through may be any member's.
	Identify func(certificate *x509.Certificate, id membership.MemberID, address string) error
	Handler  Handler
	// Silence ends a connection on which nothing arrives for so long; 5 s when
	// zero. Broadcast several times as often keeps it open.
	Silence time.Duration
	Logger  *slog.Logger
}

// Network holds all links of one node. Safe for concurrent use.
type Network struct {
	listener net.Listener
	client   func() *tls.Config // nil: plain TCP
	identify func(certificate *x509.Certificate, id membership.MemberID, address string) error
	handler  Handler
	silence  time.Duration
	logger   *slog.Logger

	ctx     context.Context
	cancel  context.CancelFunc
	threads sync.WaitGroup

	mu      sync.Mutex
	links   map[string]*link              // by address
	inbound map[*conn]membership.MemberID // 0 until the hello
	closed  bool

	routes atomic.Pointer[map[uint64]*link] // by member id; never changed once stored
}

// New starts to accept connections.
func New(opts Options) *Network {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Silence == 0 {
		opts.Silence = silence
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &Network{
		listener: opts.Listener, client: opts.ClientTLSNow, identify: opts.Identify, handler: opts.Handler, silence: opts.Silence, logger: opts.Logger,
		ctx: ctx, cancel: cancel, links: make(map[string]*link), inbound: make(map[*conn]membership.MemberID),
	}
	if n.client == nil && opts.ClientTLS != nil {
		n.client = func() *tls.Config { return opts.ClientTLS }
	}
	if opts.ServerTLS != nil && opts.Listener != nil {
		n.listener = tls.NewListener(opts.Listener, opts.ServerTLS)
	}
	n.routes.Store(&map[uint64]*link{})
	if n.listener == nil {
		return n
	}
	n.threads.Add(1)
	go func() {
		defer n.threads.Done()
		n.accept()
	}()
	return n
}

// Close ends all links and returns when their goroutines have.
func (n *Network) Close() {
	n.cancel()
	if n.listener != nil {
		_ = n.listener.Close()
	}
	n.mu.Lock()
	n.closed = true
	for c := range n.inbound {
		_ = c.Close()
	}
	n.mu.Unlock()
	n.threads.Wait()
}

// Target is a member to be linked to.
type Target struct {
	ID      membership.MemberID
	Address string
}

// SetTargets keeps links to exactly these members, and to addresses asked by
// Request since.
func (n *Network) SetTargets(targets []Target) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	routes := make(map[uint64]*link, len(targets))
	keep := make(map[string]bool, len(targets))
	for _, target := range targets {
		keep[target.Address] = true
		l := n.links[target.Address]
		if l == nil || l.memberID() != target.ID {
			if l != nil {
				l.cancel()
			}
			l = n.newLink(target.Address, target.ID)
			n.links[target.Address] = l
		}
		routes[uint64(target.ID)] = l
	}
	for address, l := range n.links {
		if !keep[address] {
			l.cancel()
			delete(n.links, address)
		}
	}
	n.routes.Store(&routes)
}

// Disconnect ends the connections members opened to this node. They dial again
// and learn from the welcome why they are not wanted.
func (n *Network) Disconnect(unwanted func(membership.MemberID) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, from := range n.inbound {
		if from != 0 && unwanted(from) {
			_ = c.Close()
		}
	}
}

// Send hands raft messages to the links. It never blocks; messages to a member
// that is not linked are dropped.
func (n *Network) Send(messages []*raftpb.Message) {
	routes := *n.routes.Load()
	for len(messages) > 0 {
		to, count := messages[0].GetTo(), 1
		for count < len(messages) && messages[count].GetTo() == to {
			count++
		}
		if l := routes[to]; l != nil {
			if c := l.current(); c != nil {
				c.sendRaft(messages[:count])
			}
		}
		messages = messages[count:]
	}
}

// Broadcast sends this node's status to every linked member.
func (n *Network) Broadcast(payload []byte) {
	for _, l := range *n.routes.Load() {
		if c := l.current(); c != nil {
			c.sendStatus(payload)
		}
	}
}

// Request asks a member. Errors: ErrUnreachable (not sent), ErrLinkLost or the
// context's (unknown), *RemoteError.
func (n *Network) Request(ctx context.Context, to membership.MemberID, kind uint8, payload []byte) ([]byte, error) {
	l := (*n.routes.Load())[uint64(to)]
	if l == nil {
		return nil, ErrUnreachable
	}
	return l.request(ctx, kind, payload)
}

// RequestAddress asks whoever answers at the address, as Request does. The link
// stays until the next SetTargets.
func (n *Network) RequestAddress(ctx context.Context, address string, kind uint8, payload []byte) ([]byte, error) {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil, ErrUnreachable
	}
	l := n.links[address]
	if l == nil {
		l = n.newLink(address, 0)
		n.links[address] = l
	}
	n.mu.Unlock()
	return l.request(ctx, kind, payload)
}

// Up reports whether the member is linked now.
func (n *Network) Up(id membership.MemberID) bool {
	l := (*n.routes.Load())[uint64(id)]
	return l != nil && l.current() != nil
}

func (n *Network) lost(id membership.MemberID, refused bool) {
	if id != 0 && n.handler.Lost != nil {
		n.handler.Lost(id, refused)
	}
}

func (n *Network) dialContext(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{}
	if n.client == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	secure := tls.Dialer{NetDialer: &dialer, Config: n.client()}
	return secure.DialContext(ctx, "tcp", address)
}

// identified says why the other side of a connection is not the member it says it is.
func (n *Network) identified(raw net.Conn, id membership.MemberID, address string) error {
	secure, ok := raw.(*tls.Conn)
	if !ok || n.identify == nil {
		return nil
	}
	shown := secure.ConnectionState().PeerCertificates
	if len(shown) == 0 {
		return errors.New("it shows no certificate")
	}
	return n.identify(shown[0], id, address)
}
