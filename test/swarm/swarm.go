package swarm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	agentpb "baton/gen/agent"
	"baton/platform/identity"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// ReportInterval is how often each agent looks, and reports unless it is asked to
// do so less often: as in production.
const ReportInterval = 500 * time.Millisecond

const (
	// joinsAtOnce bounds the agents that join at the same time.
	joinsAtOnce = 8
	joinTime    = time.Minute
	// redialAfter is waited before a lost link is made again.
	redialAfter = 200 * time.Millisecond
)

// Options of a Swarm.
type Options struct {
	// Token makes a one-use join token, as `baton agent --join` takes it.
	Token func(ctx context.Context) (string, error)
	// Agents, Clusters and Nodes of each cluster: the nodes are spread over the
	// agents so that no agent has two of one cluster, where there are enough.
	Agents, Clusters, Nodes int
}

// Swarm is a number of running agents.
type Swarm struct {
	agents []*host
	cancel context.CancelFunc
	wg     sync.WaitGroup

	linked  atomic.Int64
	reports atomic.Int64
	bytes   atomic.Int64
	orders  atomic.Int64
	lost    atomic.Int64

	mu  sync.Mutex
	err error // why a link ended last
}

// Stats are counts since the start; Linked is of this moment.
type Stats struct {
	Linked  int // agents with a link
	Reports int64
	Bytes   int64 // of reports
	Orders  int64 // answered
	Lost    int64 // links that ended
	Err     error // why one ended last, nil when none did
}

// Start joins all agents and lets them report until Close. It returns when all
// have joined; see Stats for their links.
func Start(ctx context.Context, o Options) (*Swarm, error) {
	if o.Agents < 1 || o.Clusters < 1 || o.Nodes < 1 {
		return nil, fmt.Errorf("a swarm of %d agents, %d clusters, %d nodes each", o.Agents, o.Clusters, o.Nodes)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Swarm{cancel: cancel}
	for i := range o.Agents {
		s.agents = append(s.agents, newHost(i))
	}
	for c := range o.Clusters {
		for n := range o.Nodes {
			// Moved on by one each round, so that primaries are spread too.
			s.agents[(c*o.Nodes+n+c*o.Nodes/o.Agents)%o.Agents].add(c, n, o.Nodes)
		}
	}
	if err := s.join(ctx, o); err != nil {
		cancel()
		return nil, err
	}
	for i, h := range s.agents {
		s.wg.Go(func() { s.keep(run, h, ReportInterval*time.Duration(i)/time.Duration(o.Agents)) })
	}
	return s, nil
}

// Close ends all agents.
func (s *Swarm) Close() {
	s.cancel()
	s.wg.Wait()
}

// Stats tells what the swarm did so far.
func (s *Swarm) Stats() Stats {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	return Stats{Linked: int(s.linked.Load()), Reports: s.reports.Load(), Bytes: s.bytes.Load(), Orders: s.orders.Load(), Lost: s.lost.Load(), Err: err}
}

func (s *Swarm) join(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan *host)
	var all sync.WaitGroup
	for range min(joinsAtOnce, len(s.agents)) {
		all.Go(func() {
			for h := range work {
				if err := h.join(ctx, o.Token); err != nil {
					cancel(fmt.Errorf("join %s: %w", h.report.Name, err))
				}
			}
		})
	}
	for _, h := range s.agents {
		if ctx.Err() != nil {
			break
		}
		work <- h
	}
	close(work)
	all.Wait()
	return context.Cause(ctx)
}

// join exchanges a token for a certificate.
func (h *host) join(ctx context.Context, token func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	text, err := token(ctx)
	if err != nil {
		return fmt.Errorf("make a join token: %w", err)
	}
	t, err := identity.ParseToken(text)
	if err != nil {
		return err
	}
	key, keyPEM, err := identity.NewKey()
	if err != nil {
		return err
	}
	csr, err := identity.NewRequest(key)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(t.Address, grpc.WithTransportCredentials(credentials.NewTLS(identity.PinnedConfig(t.CAFingerprint))))
	if err != nil {
		return err
	}
	defer conn.Close()
	reply, err := agentpb.NewAgentLinkClient(conn).Join(ctx, &agentpb.JoinRequest{Secret: t.Secret, CsrDer: csr, Name: h.report.Name})
	if err != nil {
		return err
	}
	conf, err := identity.ClientConfig(reply.GetCertificatePem(), keyPEM, reply.GetCaPem())
	if err != nil {
		return err
	}
	h.report.Agent, h.address, h.creds = reply.GetAgentId(), t.Address, credentials.NewTLS(conf)
	return nil
}

// keep holds a link until ctx ends.
func (s *Swarm) keep(ctx context.Context, h *host, after time.Duration) {
	for wait := after; ; wait = redialAfter {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := s.link(ctx, h); err != nil && ctx.Err() == nil {
			s.lost.Add(1)
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
	}
}

var errElsewhere = errors.New("the control node does not lead")

// link is one standing link: welcome, then reports and answers.
func (s *Swarm) link(ctx context.Context, h *host) error {
	conn, err := grpc.NewClient(h.address, grpc.WithTransportCredentials(h.creds))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := agentpb.NewAgentLinkClient(conn).Connect(ctx)
	if err != nil {
		return err
	}
	if err := l.Send(&agentpb.FromAgent{Message: &agentpb.FromAgent_Hello{Hello: &agentpb.Hello{Name: h.report.Name, Version: h.report.Version, Pid: int64(os.Getpid())}}}); err != nil {
		return err
	}
	answers := make(chan *agentpb.FromAgent, 64)
	ended := make(chan error, 1)
	welcome := make(chan struct{})
	var wish wishes
	go func() {
		for {
			m, err := l.Recv()
			if err != nil {
				ended <- err
				return
			}
			switch m := m.GetMessage().(type) {
			case *agentpb.ToAgent_Welcome:
				wish.whole.Store(true) // nothing is known on this link
				wish.always = !m.Welcome.GetReportDeltas()
				close(welcome)
			case *agentpb.ToAgent_Tick:
				wish.every.Store(m.Tick.GetReportIntervalMs() * int64(time.Millisecond))
				if m.Tick.GetWholeReport() {
					wish.whole.Store(true)
				}
			case *agentpb.ToAgent_Elsewhere:
				ended <- errElsewhere
				return
			case *agentpb.ToAgent_Order:
				select {
				case answers <- done(m.Order):
				case <-ctx.Done():
				}
			}
		}
	}()
	select {
	case <-welcome:
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
	s.linked.Add(1)
	defer s.linked.Add(-1)
	return s.talk(ctx, h, l, answers, ended, &wish)
}

// wishes are what the control plane asks for on one link.
type wishes struct {
	every  atomic.Int64 // how often reports are to come, ns
	whole  atomic.Bool  // the next is to be whole
	always bool         // all are; set before the first
}

func (s *Swarm) talk(ctx context.Context, h *host, l agentpb.AgentLink_ConnectClient, answers <-chan *agentpb.FromAgent, ended <-chan error, wish *wishes) error {
	tick := time.NewTicker(ReportInterval)
	defer tick.Stop()
	for {
		m, size, err := h.next(wish.whole.Swap(false) || wish.always)
		if err != nil {
			return err
		}
		if err := l.Send(&agentpb.FromAgent{Message: &agentpb.FromAgent_Report{Report: m}}); err != nil {
			return err
		}
		sent := time.Now()
		s.reports.Add(1)
		s.bytes.Add(int64(size))
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-ended:
				return err
			case a := <-answers:
				if err := l.Send(a); err != nil {
					return err
				}
				s.orders.Add(1)
			case <-tick.C:
				waiting = time.Since(sent) < time.Duration(wish.every.Load())-ReportInterval/2
			}
		}
	}
}

// done answers an order without doing anything.
func done(o *agentpb.Order) *agentpb.FromAgent {
	now := time.Now().UnixNano()
	return &agentpb.FromAgent{Message: &agentpb.FromAgent_Result{Result: &agentpb.OrderResult{Id: o.GetId(), Values: map[string]string{"alreadyDone": "true"},
		StartedUnixNs: now, EndedUnixNs: now}}}
}
