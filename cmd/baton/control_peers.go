package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"baton/control/access"
	"baton/control/agent/hub"
	"baton/control/leader"
	"baton/control/monitor"
	agentpb "baton/gen/agent"
	"baton/platform/identity"
)

// peerLinks are the connections between control nodes: HTTP over mutual TLS on
// the agents' port. It is the http.RoundTripper to the others and the listener
// for them.
type peerLinks struct {
	transport *http.Transport
	accepted  chan net.Conn
	closed    chan struct{}
	once      sync.Once
}

const (
	peerDialTime = 2 * time.Second
	// maxPeerConns bounds the connections waiting to be served.
	maxPeerConns = 64
)

func newPeerLinks(client *tls.Config) *peerLinks {
	conf := client.Clone()
	conf.NextProtos = []string{hub.PeerProtocol}
	p := &peerLinks{accepted: make(chan net.Conn, maxPeerConns), closed: make(chan struct{})}
	p.transport = &http.Transport{
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			d := tls.Dialer{NetDialer: &net.Dialer{Timeout: peerDialTime}, Config: conf}
			ctx, cancel := context.WithTimeout(ctx, 2*peerDialTime)
			defer cancel()
			conn, err := d.DialContext(ctx, network, address)
			if err != nil {
				return nil, &net.OpError{Op: "dial", Net: network, Err: err}
			}
			return plain{conn}, nil
		},
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}
	return p
}

// plain hides that a connection is TLS: what was agreed on with ALPN is HTTP/1.1
// under a name of our own, which package http does not know.
type plain struct{ net.Conn }

// RoundTrip implements http.RoundTripper.
func (p *peerLinks) RoundTrip(r *http.Request) (*http.Response, error) {
	return p.transport.RoundTrip(r)
}

// take is given each connection of a control node, its certificate verified.
func (p *peerLinks) take(conn net.Conn, _ string) {
	select {
	case p.accepted <- plain{conn}:
	case <-p.closed:
		conn.Close()
	default:
		conn.Close() // a flood; the peer dials again
	}
}

// Accept, Close and Addr make it the listener of its HTTP server.
func (p *peerLinks) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (p *peerLinks) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr has no meaning of its own.
func (p *peerLinks) Addr() net.Addr { return &net.TCPAddr{} }

func (p *peerLinks) serve(run context.Context, h http.Handler, log *slog.Logger) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 60 * time.Second, MaxHeaderBytes: 32 << 10,
		BaseContext: func(net.Listener) context.Context { return run }, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(run, func() { s.Close() })
	defer stop()
	err := s.Serve(p)
	p.transport.CloseIdleConnections()
	if errors.Is(err, http.ErrServerClosed) || run.Err() != nil {
		return nil
	}
	return err
}

const (
	// copyEvery is how often a node that does not lead copies the agents' reports
	// from the one that does.
	copyEvery = 2 * time.Second
	copyTime  = 5 * time.Second
	// maxCopyBytes bounds one copy: 1,000 agents of 60 KiB.
	maxCopyBytes = 64 << 20
)

// copyReports keeps what the leader sees of the agents, so that this node can
// show it when the leader is gone.
func (c *controlPlane) copyReports(run context.Context) error {
	tick := time.NewTicker(copyEvery)
	defer tick.Stop()
	for {
		switch s := c.elector.Status(); {
		case s.Acting:
		case s.Address == "":
			c.mirror.Detach()
		default:
			if err := c.copyFrom(run, s.Address); err != nil && run.Err() == nil {
				c.log.Debug("the agents' reports were not copied", "leader", s.Leader, "err", err)
			}
		}
		select {
		case <-run.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *controlPlane) copyFrom(run context.Context, address string) error {
	ctx, cancel := context.WithTimeout(run, copyTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "https://"+address+"/peer/reports", nil)
	if err != nil {
		return err
	}
	res, err := c.peers.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", res.Status)
	}
	var all []monitor.Copy
	if err := json.NewDecoder(io.LimitReader(res.Body, maxCopyBytes)).Decode(&all); err != nil {
		return err
	}
	if _, acting := c.elector.Acting(); !acting {
		c.mirror.Import(all)
	}
	return nil
}

// leaderAddress is where agents find the node that acts, "" when not known.
func (c *controlPlane) leaderAddress() string {
	name, _ := c.elector.Leader()
	m, _ := c.roster.Member(name)
	return m.Agents
}

// shared is what a joining control node receives.
func (c *controlPlane) shared(name string) (*agentpb.JoinControlReply, error) {
	if _, taken := c.roster.Member(name); taken {
		return nil, fmt.Errorf("there is a control node %s already: choose another --name, or remove the old one first (baton control remove %s)", name, name)
	}
	files, err := readShared(c.data)
	if err != nil {
		return nil, err
	}
	reply := &agentpb.JoinControlReply{Files: files, Addresses: c.roster.Addresses()}
	for _, n := range c.elector.Node.View().Nodes {
		if n.Peer != "" {
			reply.Peers = append(reply.Peers, n.Peer)
		}
	}
	return reply, nil
}

// announce tells the others, in the journal, where this node is.
func (c *controlPlane) announce(run context.Context) {
	m := leader.Member{Name: c.name, Agents: c.AgentAddress, Peer: c.journal.node.PeerAddress(), URL: c.URL, Version: version, At: time.Now().UTC()}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, _ := c.journal.node.Ready(); ok {
			ctx, cancel := context.WithTimeout(run, 5*time.Second)
			err := c.roster.Announce(ctx, c.journal, m)
			cancel()
			if err == nil {
				return
			}
			c.log.Debug("this control node is not announced yet", "err", err)
		}
		select {
		case <-run.Done():
			return
		case <-tick.C:
		}
	}
}

// awaitLeader waits until somebody acts. A node of several gives up after a
// while: it then serves what it has and says so.
func (c *controlPlane) awaitLeader(limit context.Context) error {
	ctx := limit
	if len(c.settings.Peers) > 0 || len(c.roster.Members()) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(limit, findLeaderTime)
		defer cancel()
	}
	stopped := make(chan error, 1)
	go func() {
		select {
		case err := <-c.failed:
			stopped <- err
		case <-ctx.Done():
		}
	}()
	if s := c.elector.Await(ctx); s.Leader == "" {
		if limit.Err() != nil || ctx == limit {
			return fmt.Errorf("no control node leads: %s", s.Sentence)
		}
		c.log.Warn("no control node leads yet", "state", s.Sentence)
	}
	select {
	case err := <-stopped:
		return err
	default:
		return nil
	}
}

// grow makes voters of the control nodes as soon as there are three, or five:
// one or two stay with a single vote, because two would both be needed.
func (c *controlPlane) grow(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		v := c.journal.node.View()
		alive := 0
		for _, m := range v.Members {
			if m.Alive || m.ID == v.Self {
				alive++
			}
		}
		if want := voters(alive); want > v.ClusterSize {
			if err := c.journal.node.SetClusterSize(ctx, want); err != nil && ctx.Err() == nil {
				c.log.Warn("the number of voting control nodes was not raised", "to", want, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// maxVoters: more than five control nodes only make appends slower.
const maxVoters = 5

// voters is how many of so many control nodes vote.
func voters(nodes int) int {
	return min(max(nodes-1+nodes%2, 1), maxVoters)
}

// RemoveNode implements api.ControlPlane.
func (c *controlPlane) RemoveNode(ctx context.Context, name string) error {
	v := c.journal.node.View()
	if want := voters(len(v.Members) - 1); want < v.ClusterSize {
		if err := c.journal.node.SetClusterSize(ctx, want); err != nil {
			return fmt.Errorf("lower the number of votes: %w", err)
		}
	}
	if err := c.journal.node.RemoveMember(ctx, name); err != nil {
		return err
	}
	return c.roster.Forget(ctx, c.journal, name)
}

// JoinToken makes a one-use token for an agent.
func (c *controlPlane) JoinToken() (string, error) {
	token, _, err := c.AgentToken()
	return token, err
}

// AgentToken implements api.ControlPlane.
func (c *controlPlane) AgentToken() (string, time.Time, error) {
	return c.token(access.PurposeAgent)
}

// ControlToken implements api.ControlPlane.
func (c *controlPlane) ControlToken() (string, time.Time, error) {
	return c.token(access.PurposeControl)
}

func (c *controlPlane) token(purpose string) (string, time.Time, error) {
	secret, expires, err := c.access.Issue(purpose)
	if err != nil {
		return "", expires, err
	}
	t := identity.JoinToken{Address: c.AgentAddress, CAFingerprint: c.CA.Fingerprint(), Secret: secret}
	for _, a := range c.roster.Addresses() {
		if a != t.Address {
			t.Others = append(t.Others, a)
		}
	}
	return t.String(), expires, nil
}

// sayControl tells where to go. several says that it is one of several nodes,
// or shall be.
func (c *controlPlane) sayControl(out io.Writer, several bool) {
	s := c.elector.Status()
	fmt.Fprintf(out, "Dashboard   %s\n", c.URL)
	if several {
		fmt.Fprintf(out, "This node   %s, %s\n", c.name, s.Sentence)
	}
	if c.SetupLink != "" {
		fmt.Fprintf(out, "First user  %s   (works once)\n", c.SetupLink)
	}
	for _, t := range []struct {
		make          func() (string, time.Time, error)
		label, before string
		shown         bool
	}{{c.AgentToken, "Add a host  ", "baton agent --join ", true}, {c.ControlToken, "Add a node  ", "baton control --name NAME --join ", several}} {
		if !t.shown {
			continue
		}
		token, _, err := t.make()
		if err != nil {
			fmt.Fprintf(out, "%snot now: %v\n", t.label, err)
			continue
		}
		fmt.Fprintf(out, "%s%s%s   (works once, 15 minutes)\n", t.label, t.before, token)
	}
	fmt.Fprintf(out, "Commands    BATON_SERVER=%s BATON_TOKEN=$(cat %s) baton clusters\n", c.URL, c.TokenFile)
}
