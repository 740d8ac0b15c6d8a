package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"baton/control/agent"
	agentpb "baton/gen/agent"
	"baton/platform/identity"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// answerAllowance is waited beyond an order's own timeout: the agent keeps the
// deadline, its answer still needs to travel.
const answerAllowance = 250 * time.Millisecond

// link is one connected agent. out is drained by one goroutine; waiting maps
// order ids to those who wait for them.
type link struct {
	id   string
	out  chan *agentpb.ToAgent
	done chan struct{} // closed when the link is gone
	cut  chan struct{} // closed to end the link: the agent was removed

	mu      sync.Mutex
	waiting map[string][]chan agent.Result
}

func (l *link) order(ctx context.Context, o agent.Order) (agent.Result, error) {
	ch := make(chan agent.Result, 1)
	l.mu.Lock()
	if len(l.waiting) >= maxOrdersWaiting {
		l.mu.Unlock()
		return agent.Result{Code: agent.CodeBusy, Detail: fmt.Sprintf("%d orders to the agent wait for an answer", maxOrdersWaiting)}, nil
	}
	l.waiting[o.ID] = append(l.waiting[o.ID], ch)
	l.mu.Unlock()
	defer l.forget(o.ID, ch)

	t := time.NewTimer(o.Timeout + answerAllowance)
	defer t.Stop()
	select {
	case l.out <- &agentpb.ToAgent{Message: &agentpb.ToAgent_Order{Order: toProto(o, time.Now())}}:
	case <-l.done:
		return agent.Result{}, fmt.Errorf("order %s: agent %s: %w", o.Action.Name, l.id, agent.ErrNotConnected)
	case <-ctx.Done():
		return agent.Result{}, fmt.Errorf("order %s: agent %s: not sent: %w", o.Action.Name, l.id, ctx.Err())
	}
	unknown := func(why error) (agent.Result, error) {
		return agent.Result{}, fmt.Errorf("order %s: agent %s: %w: %w", o.Action.Name, l.id, agent.ErrOutcomeUnknown, why)
	}
	select {
	case r := <-ch:
		return r, nil
	case <-l.done:
		select { // an answer may have come just before the link went
		case r := <-ch:
			return r, nil
		default:
		}
		return unknown(errors.New("the link closed"))
	case <-t.C:
		return unknown(context.DeadlineExceeded)
	case <-ctx.Done():
		return unknown(ctx.Err())
	}
}

func (l *link) forget(id string, ch chan agent.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := l.waiting[id][:0]
	for _, c := range l.waiting[id] {
		if c != ch {
			keep = append(keep, c)
		}
	}
	if len(keep) == 0 {
		delete(l.waiting, id)
	} else {
		l.waiting[id] = keep
	}
}

func (l *link) answer(r *agentpb.OrderResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ch := range l.waiting[r.GetId()] {
		select {
		case ch <- fromProto(r):
		default:
		}
	}
}

// Connect serves one agent's standing link.
func (h *Hub) Connect(s agentpb.AgentLink_ConnectServer) error {
	who, addr, err := caller(s.Context())
	if err != nil {
		return err
	}
	first, err := s.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return status.Error(codes.InvalidArgument, "the first message on a link must be Hello")
	}
	if h.opt.Revoked != nil && h.opt.Revoked(who) {
		return status.Error(codes.PermissionDenied, revokedText)
	}
	l := &link{id: who, out: make(chan *agentpb.ToAgent, maxOrdersWaiting), done: make(chan struct{}), cut: make(chan struct{}), waiting: map[string][]chan agent.Result{}}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return status.Error(codes.Unavailable, "the control plane is stopping")
	}
	if !h.leads {
		h.mu.Unlock()
		return s.Send(h.elsewhere())
	}
	deposed, term := h.deposed, h.term
	h.links[who] = l // a newer link of the same agent replaces the older
	h.mu.Unlock()
	h.log.Info("agent connected", "agent", who, "name", hello.GetName(), "addr", addr, "version", hello.GetVersion())
	defer func() {
		close(l.done)
		h.mu.Lock()
		if h.links[who] == l {
			delete(h.links, who)
		}
		h.mu.Unlock()
		h.log.Info("agent disconnected", "agent", who, "name", hello.GetName())
	}()

	fail, again := make(chan error, 2), make(chan struct{}, 1)
	heard := make(chan struct{}, 1)
	go func() { fail <- h.receiveLoop(s, l, heard, again) }()
	if err := s.Send(h.welcome(term)); err != nil {
		return err
	}
	return h.sendLoop(s, l, fail, heard, again, deposed)
}

// sendLoop owns the sending side of the stream and its end.
func (h *Hub) sendLoop(s agentpb.AgentLink_ConnectServer, l *link, fail <-chan error, heard, again, deposed <-chan struct{}) error {
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	quiet := time.NewTimer(deadAfter)
	defer quiet.Stop()
	for {
		select {
		case m := <-l.out:
			if err := s.Send(m); err != nil {
				return err
			}
		case <-tick.C:
			if err := s.Send(h.tick(false)); err != nil {
				return err
			}
		case <-again:
			if err := s.Send(h.tick(true)); err != nil {
				return err
			}
		case <-heard:
			quiet.Reset(deadAfter)
		case <-deposed:
			return s.Send(h.elsewhere())
		case <-l.cut:
			return status.Error(codes.PermissionDenied, revokedText)
		case <-quiet.C:
			return status.Errorf(codes.DeadlineExceeded, "no message from the agent for %s", deadAfter)
		case err := <-fail:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// tick tells an agent the time, and asks for reports.
func (h *Hub) tick(whole bool) *agentpb.ToAgent {
	return &agentpb.ToAgent{Message: &agentpb.ToAgent_Tick{Tick: &agentpb.Tick{SentUnixNs: time.Now().UnixNano(),
		ReportIntervalMs: h.reportInterval().Milliseconds(), WholeReport: whole}}}
}

func (h *Hub) receiveLoop(s agentpb.AgentLink_ConnectServer, l *link, heard, again chan<- struct{}) error {
	var reports agent.ReportReader
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		select {
		case heard <- struct{}{}:
		default:
		}
		switch m := m.GetMessage().(type) {
		case *agentpb.FromAgent_Report:
			r, err := reports.Read(m.Report)
			switch {
			case errors.Is(err, agent.ErrNoBase):
				h.log.Warn("a whole report is asked for", "agent", l.id, "err", err)
				select {
				case again <- struct{}{}:
				default: // it is asked for already
				}
			case err != nil:
				return status.Error(codes.InvalidArgument, fmt.Sprintf("agent %s: %s", l.id, err))
			default:
				h.receive(l, r)
			}
		case *agentpb.FromAgent_Result:
			l.answer(m.Result)
		case *agentpb.FromAgent_LeaseRenewal:
			h.renewal(l, m.LeaseRenewal)
		case *agentpb.FromAgent_LeaseRelease:
			h.release(l, m.LeaseRelease)
		}
	}
}

// caller is the agent id in the verified client certificate.
func caller(ctx context.Context) (id, addr string, err error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", "", status.Error(codes.Unauthenticated, "no peer")
	}
	ti, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", "", status.Error(codes.Unauthenticated, "the link needs TLS")
	}
	subject, err := identity.PeerIdentity(ti.State)
	if err != nil {
		return "", "", status.Error(codes.Unauthenticated, err.Error())
	}
	if subject.Kind != identity.KindAgent {
		return "", "", status.Errorf(codes.PermissionDenied, "a %s certificate may not connect as an agent", subject.Kind)
	}
	return subject.ID, p.Addr.String(), nil
}
