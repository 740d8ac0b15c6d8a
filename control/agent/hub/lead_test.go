package hub_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"baton/control/access"
	"baton/control/agent"
	"baton/control/agent/hub"
	"baton/control/engine/redis/redistest"
	"baton/control/journal"
	"baton/platform/identity"
)

// hubs are those of several control nodes over one authority and journal.
type hubs struct {
	ca     *identity.CA
	tokens *access.Store
	mu     sync.Mutex
	leader string
	all    []string // addresses
	list   []*hub.Hub
	peers  chan string
}

func newHubs(t *testing.T, n int) *hubs {
	t.Helper()
	ca, err := identity.OpenCA(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	j := journal.NewMemory(time.Now)
	s := &hubs{ca: ca, tokens: access.New(j, time.Now), peers: make(chan string, 4)}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() { _ = j.Follow(ctx, 0, s.tokens.Take, nil) }()
	for range n {
		h, err := hub.New(hub.Options{CA: ca, Tokens: s.tokens, Standby: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Revoked: s.tokens.Revoked,
			OnJoin: func(id, name, addr string) error {
				return s.tokens.JoinHost(access.Host{Agent: id, Name: name, Addr: addr})
			},
			Leader: func() string { s.mu.Lock(); defer s.mu.Unlock(); return s.leader },
			Addresses: func() []string {
				s.mu.Lock()
				defer s.mu.Unlock()
				return append([]string{}, s.all...)
			},
			Peer: func(c net.Conn, node string) { s.peers <- node; c.Close() }}) // who reads the end may ask who it was
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go h.Serve(ln)
		t.Cleanup(h.Close)
		s.mu.Lock()
		s.all, s.list = append(s.all, ln.Addr().String()), append(s.list, h)
		s.mu.Unlock()
	}
	return s
}

// lead moves leadership to hub i, or to nobody with -1.
func (s *hubs) lead(i int, term uint64) {
	s.mu.Lock()
	s.leader = ""
	if i >= 0 {
		s.leader = s.all[i]
	}
	s.mu.Unlock()
	for k, h := range s.list {
		if k != i {
			h.Standby()
		}
	}
	if i >= 0 {
		s.list[i].Lead(term)
	}
}

// TestAgentsFollowTheLeader: an agent that joined through a node that does not
// lead links to the one that does, moves when leadership moves, gives up
// nothing while there is none, and ends for good when its host is removed.
func TestAgentsFollowTheLeader(t *testing.T) {
	s := newHubs(t, 3)
	s.lead(0, 5)
	secret, _, err := s.tokens.Issue(hub.PurposeAgent)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "agent")
	token := identity.JoinToken{Address: s.all[1], CAFingerprint: s.ca.Fingerprint(), Secret: secret}.String()
	if err := agent.Join(context.Background(), dir, token, "host-1"); err != nil {
		t.Fatal(err)
	}
	a, err := agent.Open(agent.Options{Dir: dir, Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _ = a.Run(ctx); close(ended) }()
	t.Cleanup(func() { stop(); <-ended; a.Close() })
	linked := func(i int) {
		t.Helper()
		redistest.Eventually(t, time.Minute, "the agent reports to the leader, and to nobody else", func() bool {
			for k, h := range s.list {
				if h.Connected(a.ID()) != (k == i) || k == i && h.Reports()[a.ID()].Agent == "" {
					return false
				}
			}
			return true
		})
	}
	linked(0)
	s.lead(2, 6)
	linked(2)
	if len(s.list[0].Reports()) != 0 {
		t.Error("a node that led still holds reports as if it did")
	}
	s.lead(-1, 0)
	redistest.Eventually(t, time.Minute, "no link without a leader", func() bool { return !s.list[2].Connected(a.ID()) })
	s.list[0].Close() // the address it knows first is gone for good
	s.lead(1, 7)
	linked(1)
	if err := s.tokens.RemoveHost(a.ID()); err != nil {
		t.Fatal(err)
	}
	s.list[1].Cut(a.ID())
	redistest.Eventually(t, time.Minute, "a removed host has no link", func() bool { return !s.list[1].Connected(a.ID()) })
	s.lead(2, 8)
	for range 20 { // it asks again; nobody lets it in
		r := time.NewTimer(20 * time.Millisecond)
		<-r.C
		for _, h := range s.list {
			if h.Connected(a.ID()) {
				t.Fatal("a removed host is linked again")
			}
		}
	}
}

// TestOnlyControlNodesSpeakAsControlNodes: a connection under the control
// nodes' protocol needs a control certificate; an agent's, of the same
// authority, is refused, and so is none.
func TestOnlyControlNodesSpeakAsControlNodes(t *testing.T) {
	s := newHubs(t, 1)
	_, good, err := s.ca.PeerConfigs("c2")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := s.ca.IssueNode(identity.Identity{Kind: identity.KindAgent, ID: "a1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	none := good.Clone()
	none.Certificates = nil
	asAgent := good.Clone()
	asAgent.Certificates = []tls.Certificate{pair}
	for _, c := range []struct {
		name string
		conf *tls.Config
		in   bool
	}{{"no certificate", none, false}, {"an agent's", asAgent, false}, {"a control node's", good, true}} {
		conf := c.conf.Clone()
		conf.NextProtos = []string{hub.PeerProtocol}
		conn, err := tls.Dial("tcp", s.all[0], conf)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: something is said", c.name)
		}
		conn.Close()
		select {
		case who := <-s.peers:
			if !c.in || who != "c2" {
				t.Errorf("%s: let in as %s", c.name, who)
			}
		default:
			if c.in {
				t.Errorf("%s: refused", c.name)
			}
		}
	}
}
