// Package hub is the control plane's end of the link to the agents: it accepts
// them, keeps their latest reports and carries orders to them.
//
// A Hub may be used from many goroutines. It makes no decision.
package hub

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"baton/control/agent"
	agentpb "baton/gen/agent"
	"baton/platform/identity"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// maxMessageBytes bounds one message from an agent; a report of a hundred
	// instances is about 300 KiB.
	maxMessageBytes = 4 << 20
	// maxOrdersWaiting bounds orders to one agent that have no answer yet.
	maxOrdersWaiting = 256
	// tickInterval is how often an agent is sent the hub's clock.
	tickInterval = time.Second
	// deadAfter: a link without any message from the agent for this long is closed.
	deadAfter = 5 * time.Second
)

// Options of a Hub.
type Options struct {
	CA     *identity.CA // signs agents' certificates; required
	Tokens Tokens       // one-use join tokens; required
	Logger *slog.Logger // nil: slog.Default()
	// Leases answers renewals; nil: none is granted. See SetLeases.
	Leases Leases
	// Hosts are the names and addresses the hub's own certificate is valid for.
	Hosts []string
	// OnJoin records each agent that joined; when it fails the agent has not
	// joined. May be nil.
	OnJoin func(agentID, name, addr string) error
	// Revoked tells whether an agent's certificate is not to be taken any more.
	// May be nil.
	Revoked func(agentID string) bool
	// Standby makes a hub that sends agents to the control node that leads until
	// Lead is called.
	Standby bool
	// Leader is the address of the control node that leads, "" when not known;
	// Addresses are those of all. Each may be nil.
	Leader    func() string
	Addresses func() []string
	// Shared is what a further control node receives when it joins; nil: none
	// may. name is the joiner's.
	Shared func(name string) (*agentpb.JoinControlReply, error)
	// Peer takes over the connection of another control node; nil: they are
	// refused. The peer's certificate is verified.
	Peer func(conn net.Conn, node string)
}

// Tokens are the one-use join tokens.
type Tokens interface {
	// Redeem uses a secret up, at most once; identity.ErrToken when it is not
	// valid.
	Redeem(secret, purpose string) error
}

// Hub holds the links to all agents.
type Hub struct {
	agentpb.UnimplementedAgentLinkServer
	opt    Options
	log    *slog.Logger
	server *grpc.Server
	terms  *terminals

	mu      sync.Mutex
	links   map[string]*link        // by agent id; the newest link of an agent
	reports map[string]agent.Report // by agent id; kept after the link is gone
	// instances is how many the reports tell of.
	instances int
	subs      map[chan agent.Report]struct{}
	closed    bool
	leads     bool
	term      uint64
	deposed   chan struct{} // closed when this node stops leading; nil while it does not lead
}

// New returns a hub that serves no listener yet.
func New(o Options) (*Hub, error) {
	if o.CA == nil || o.Tokens == nil {
		return nil, errors.New("hub needs a certificate authority and join tokens")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	h := &Hub{opt: o, log: o.Logger.With("component", "hub"),
		links: map[string]*link{}, reports: map[string]agent.Report{}, subs: map[chan agent.Report]struct{}{}}
	if !o.Standby {
		h.Lead(0)
	}
	tlsConf, err := o.CA.ServerConfig(o.Hosts)
	if err != nil {
		return nil, fmt.Errorf("make the hub's certificate: %w", err)
	}
	h.server = grpc.NewServer(
		grpc.Creds(newSorter(tlsConf, o.Peer)),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxConcurrentStreams(16),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	agentpb.RegisterAgentLinkServer(h.server, h)
	agentpb.RegisterControlLinkServer(h.server, &controlJoin{h: h})
	h.terms = &terminals{h: h, waiting: map[string]*waitingTerminal{}}
	agentpb.RegisterTerminalLinkServer(h.server, h.terms)
	return h, nil
}

// Serve accepts agents on ln until Close; it then returns nil.
func (h *Hub) Serve(ln net.Listener) error { return h.server.Serve(ln) }

// Close ends all links. Waiting orders answer ErrOutcomeUnknown.
func (h *Hub) Close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	for ch := range h.subs {
		delete(h.subs, ch)
		close(ch)
	}
	h.mu.Unlock()
	h.server.Stop()
}

// Order sends o to the agent and waits for its answer, o.Timeout plus a short
// allowance, or ctx. An agent's refusal is a Result with a Code, not an error.
// Errors: agent.ErrNotConnected (nothing sent), agent.ErrOutcomeUnknown.
// Passing the same ID again never does the work twice. An empty ID is filled in.
func (h *Hub) Order(ctx context.Context, agentID string, o agent.Order) (agent.Result, error) {
	if o.Timeout <= 0 {
		return agent.Result{}, fmt.Errorf("order %s to agent %s has no timeout", o.Action.Name, agentID)
	}
	if o.ID == "" {
		o.ID = newID()
	}
	h.mu.Lock()
	l := h.links[agentID]
	h.mu.Unlock()
	if l == nil {
		return agent.Result{}, fmt.Errorf("order %s: agent %s: %w", o.Action.Name, agentID, agent.ErrNotConnected)
	}
	return l.order(ctx, o)
}

// Connected tells whether the agent has a link now.
func (h *Hub) Connected(agentID string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[agentID] != nil
}

// Reports returns the latest report of every agent ever heard of since the hub
// started, by agent id. The map is the caller's; reports are shared and not
// to be changed.
func (h *Hub) Reports() map[string]agent.Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string]agent.Report, len(h.reports))
	for id, r := range h.reports {
		out[id] = r
	}
	return out
}

// Subscribe delivers each report as it comes. A subscriber that does not keep
// up misses reports, never holds up others. cancel closes the channel.
func (h *Hub) Subscribe(buffer int) (reports <-chan agent.Report, cancel func()) {
	ch := make(chan agent.Report, max(buffer, 1))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(ch)
		return ch, func() {}
	}
	h.subs[ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[ch]; ok {
			delete(h.subs, ch)
			close(ch)
		}
	}
}

// Locate finds the agent that reports the instance. ok is false when none does.
func (h *Hub) Locate(cluster, node string) (agentID string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var best time.Time
	for id, r := range h.reports {
		for _, in := range r.Instances {
			if in.Cluster == cluster && in.Node == node && (!ok || r.ReceivedAt.After(best)) {
				agentID, ok, best = id, true, r.ReceivedAt
			}
		}
	}
	return agentID, ok
}

// receive takes in what came on a link.
func (h *Hub) receive(l *link, r agent.Report) {
	r.Agent = l.id
	r.ReceivedAt = time.Now()
	r.Host.ClockSkewMs = float64(r.Host.Clock.Sub(r.ReceivedAt)) / 1e6
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.links[l.id] != l {
		return // of a link that is ending
	}
	h.instances += len(r.Instances) - len(h.reports[l.id].Instances)
	h.reports[l.id] = r
	for ch := range h.subs {
		select {
		case ch <- r:
		default:
		}
	}
}

func newID() string {
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func toProto(o agent.Order, now time.Time) *agentpb.Order {
	return &agentpb.Order{
		Id: o.ID, Operation: o.Operation, Step: o.Step, Cluster: o.Cluster, Node: o.Node,
		Generation: o.Generation, Term: o.Term, SentUnixNs: now.UnixNano(), TimeoutNs: int64(o.Timeout),
		Action: o.Action.Name, Args: o.Action.Args,
	}
}

func fromProto(r *agentpb.OrderResult) agent.Result {
	return agent.Result{Code: r.GetCode(), Detail: r.GetDetail(), Fix: r.GetFix(), Values: r.GetValues(),
		StartedAt: time.Unix(0, r.GetStartedUnixNs()), EndedAt: time.Unix(0, r.GetEndedUnixNs())}
}
