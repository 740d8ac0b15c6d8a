package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"baton/control/lease"
	agentpb "baton/gen/agent"
	"baton/platform/identity"
)

// Peer is where the agent beside a node answers other agents.
type Peer struct {
	Node, Agent string // Agent is its id
	Address     string // host:port; "" when not known
}

// peers is this agent's end towards other agents: a port on which it promises,
// and its connections to those it asks.
type peers struct {
	agentpb.UnimplementedAgentPeerServer
	a *Agent

	mu      sync.Mutex
	address string // where others reach it; "" when it does not listen
	conns   map[string]*grpc.ClientConn
}

const (
	// promiseTime bounds one question: a later answer would come too late to
	// count. The next follows in half a second.
	promiseTime = 2 * time.Second
	// peerPing finds connections that are dead before they are needed.
	peerPing = 10 * time.Second
)

// tlsOfNow is the agent's certificate as it is on disk: it is renewed while
// the agent runs.
func (p *peers) tlsOfNow() (*tls.Config, error) {
	m, err := loadMember(p.a.opt.Dir)
	if err != nil {
		return nil, err
	}
	return m.tls, nil
}

// serve listens until ctx ends, at the port of before where that is free, so
// that others find it while no control node can tell them.
func (p *peers) serve(ctx context.Context) error {
	kept := filepath.Join(p.a.opt.Dir, "peer-port")
	port := "0"
	if b, err := os.ReadFile(kept); err == nil {
		port = strings.TrimSpace(string(b))
	}
	host := p.a.opt.Advertise
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		ln, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil { // what others reach it at is not an address of this machine
		ln, err = net.Listen("tcp", net.JoinHostPort("", port))
	}
	if err != nil {
		return fmt.Errorf("listen for other agents: %w", err)
	}
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	if err := identity.WriteFile(kept, []byte(port+"\n"), 0o600); err != nil {
		ln.Close()
		return err
	}
	p.mu.Lock()
	p.address = net.JoinHostPort(host, port)
	p.mu.Unlock()
	base := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		own, err := p.tlsOfNow()
		if err != nil {
			return nil, err
		}
		c := identity.AgentServer(own)
		c.NextProtos = []string{"h2"}
		return c, nil
	}}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(base)), grpc.MaxRecvMsgSize(1<<16), grpc.MaxConcurrentStreams(64), grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: peerPing / 2, PermitWithoutStream: true}))
	agentpb.RegisterAgentPeerServer(s, p)
	go func() {
		<-ctx.Done()
		s.Stop()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			c.Close()
		}
		p.conns = map[string]*grpc.ClientConn{}
	}()
	go func() { _ = s.Serve(ln) }()
	return nil
}

func (p *peers) at() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// to is the connection to another agent, made when first asked for; begun at
// once, so that it stands when it is needed.
func (p *peers) to(o Peer) (agentpb.AgentPeerClient, error) {
	if o.Address == "" || o.Agent == "" {
		return nil, fmt.Errorf("where the agent beside %s answers others is not known", o.Node)
	}
	key := o.Agent + "@" + o.Address
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.conns[key]
	if c == nil {
		own, err := p.tlsOfNow()
		if err != nil {
			return nil, err
		}
		c, err = grpc.NewClient("passthrough:///"+o.Address, grpc.WithTransportCredentials(credentials.NewTLS(identity.AgentClient(own, o.Agent))), grpc.WithIdleTimeout(0),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: retryMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: time.Second}),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: peerPing, Timeout: promiseTime, PermitWithoutStream: true}))
		if err != nil {
			return nil, err
		}
		c.Connect()
		p.conns[key] = c
	}
	return agentpb.NewAgentPeerClient(c), nil
}

// caller is the id of the agent that asks.
func caller(ctx context.Context) (string, error) {
	if from, ok := peer.FromContext(ctx); ok {
		if t, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			who, err := identity.PeerIdentity(t.State)
			if err == nil && who.Kind == identity.KindAgent {
				return who.ID, nil
			}
		}
	}
	return "", status.Error(codes.PermissionDenied, "only an agent may ask")
}

// Promise implements agentpb.AgentPeerServer.
func (p *peers) Promise(ctx context.Context, m *agentpb.PromiseRequest) (*agentpb.PromiseReply, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	code := p.a.leases.promises.promise(who, m.GetCluster(), m.GetNode(), lease.Ask{Generation: m.GetGeneration(), Holder: m.GetHolder(), TTL: time.Duration(m.GetTtlNs())})
	return &agentpb.PromiseReply{Promised: code == "", Code: code}, nil
}

// Free implements agentpb.AgentPeerServer.
func (p *peers) Free(ctx context.Context, m *agentpb.FreeRequest) (*agentpb.FreeReply, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	p.a.leases.promises.free(who, m.GetCluster(), m.GetHolder(), m.GetGeneration())
	return &agentpb.FreeReply{}, nil
}
