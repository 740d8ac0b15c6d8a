package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"baton/control/engine"
	agentpb "baton/gen/agent"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const (
	// retryMin and retryMax bound the wait before the link is dialed again.
	retryMin = 100 * time.Millisecond
	retryMax = 2 * time.Second
	// renewEvery is how often the certificate's age is looked at.
	renewEvery = 12 * time.Hour
)

// elsewhere is why a link ended to a control node that does not lead.
type elsewhere struct{ leader string }

func (e *elsewhere) Error() string {
	if e.leader == "" {
		return "this control node does not lead and knows none that does"
	}
	return "the control node at " + e.leader + " leads"
}

// keepLink holds a link to the control node that leads until ctx ends: it asks
// one after the other, and whoever does not lead says who does.
func (a *Agent) keepLink(ctx context.Context) {
	r := newRoute(a.me.Address, a.me.Addresses)
	for ctx.Err() == nil {
		began := time.Now()
		err := a.link(ctx, r)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steadyLink {
			r.lasted()
		}
		var e *elsewhere
		leader := ""
		if errors.As(err, &e) {
			leader = e.leader
			a.log.Info("link to the control plane moves", "address", r.address(), "why", err)
		} else {
			a.log.Warn("link to the control plane ended", "address", r.address(), "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(r.next(leader)):
		}
	}
}

// learned stores the addresses of the control nodes for the next start.
func (a *Agent) learned(r *route, all []string) {
	if !r.learn(all) && a.me.Address == r.address() {
		return
	}
	a.me.Address, a.me.Addresses = r.address(), r.addresses
	if err := storeMember(a.opt.Dir, a.me); err != nil {
		a.log.Warn("the control nodes' addresses are not stored", "err", err)
	}
}

func (a *Agent) link(ctx context.Context, r *route) error {
	conn, err := grpc.NewClient(r.address(), grpc.WithTransportCredentials(credentials.NewTLS(a.me.tls)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: retryMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryMax}, MinConnectTimeout: 3 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Second, Timeout: 5 * time.Second}))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := r.silence()
	heard := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer heard.Stop()
	api := agentpb.NewAgentLinkClient(conn)
	s, err := api.Connect(ctx)
	if err != nil {
		return because(ctx, err)
	}
	out := make(chan *agentpb.FromAgent, 512)
	if err := s.Send(&agentpb.FromAgent{Message: &agentpb.FromAgent_Hello{Hello: &agentpb.Hello{
		Name: a.me.Name, Version: a.opt.Version, Pid: int64(os.Getpid()), BootId: a.local.Read().BootID}}}); err != nil {
		return because(ctx, err)
	}
	var travel travelTime
	var rhythm rhythm
	renewal := time.Now() // when it is next looked at
	for {
		m, err := s.Recv()
		if err != nil {
			return because(ctx, err)
		}
		heard.Reset(silence)
		now := time.Now()
		if a.leaseMessage(m) {
			continue
		}
		switch m := m.GetMessage().(type) {
		case *agentpb.ToAgent_Welcome:
			if m.Welcome.GetTerm() < a.term {
				return fmt.Errorf("the control node at %s leads term %d; this agent has served term %d", r.address(), m.Welcome.GetTerm(), a.term)
			}
			a.term = m.Welcome.GetTerm()
			a.learned(r, m.Welcome.GetAddresses())
			a.leases.connected(out)
			defer a.leases.connected(nil)
			a.terminals.connected(ctx, agentpb.NewTerminalLinkClient(conn))
			defer a.terminals.connected(ctx, nil)
			a.log.Info("connected to the control plane", "address", r.address(), "agent", a.me.ID, "term", a.term)
			reports := NewReportWriter(m.Welcome)
			go func() {
				// Of a stream that the other end closed, Recv tells why.
				if err := a.sendLoop(ctx, s, out, &rhythm, reports); !errors.Is(err, io.EOF) {
					cancel(err)
				}
			}()
		case *agentpb.ToAgent_Elsewhere:
			a.learned(r, m.Elsewhere.GetAddresses())
			return &elsewhere{m.Elsewhere.GetLeader()}
		case *agentpb.ToAgent_Tick:
			travel.add(now, m.Tick.GetSentUnixNs())
			rhythm.ask(time.Duration(m.Tick.GetReportIntervalMs()) * time.Millisecond)
			if m.Tick.GetWholeReport() {
				rhythm.whole.Store(true)
			}
			if now.After(renewal) {
				renewal = now.Add(renewEvery)
				if err := a.renew(ctx, api); err != nil {
					a.log.Warn("the agent's certificate is not renewed", "until", a.me.until, "err", err)
				}
			}
		case *agentpb.ToAgent_Order:
			late := travel.add(now, m.Order.GetSentUnixNs())
			deadline := now.Add(time.Duration(m.Order.GetTimeoutNs()) - late)
			// An order goes on when the link ends: its outcome is kept for the repeat.
			go a.answer(m.Order, deadline, func(r Result) {
				select {
				case out <- resultMessage(m.Order.GetId(), r):
				case <-ctx.Done():
				}
			})
		}
	}
}

var errSilent = errors.New("the control plane fell silent")

// because is why the link ended: what ended ctx, or else err.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (a *Agent) sendLoop(ctx context.Context, s agentpb.AgentLink_ConnectClient, out <-chan *agentpb.FromAgent, rhythm *rhythm, reports *ReportWriter) error {
	tick := time.NewTicker(ReportInterval)
	defer tick.Stop()
	report := func() error {
		r := a.report()
		if !rhythm.due(&r, time.Now()) {
			return nil
		}
		m, err := reports.Write(&r, rhythm.whole.Swap(false))
		if err != nil {
			return err
		}
		return s.Send(&agentpb.FromAgent{Message: &agentpb.FromAgent_Report{Report: m}})
	}
	if err := report(); err != nil {
		return err
	}
	for {
		// Answers go before reports.
		select {
		case m := <-out:
			if err := s.Send(m); err != nil {
				return err
			}
			continue
		default:
		}
		select {
		case m := <-out:
			if err := s.Send(m); err != nil {
				return err
			}
		case <-tick.C:
			if err := report(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// travelTime estimates how much longer than the quickest message one took:
// the difference of the two clocks is the same for all, so it cancels.
type travelTime struct {
	known bool
	least time.Duration
}

func (t *travelTime) add(now time.Time, sentUnixNs int64) (late time.Duration) {
	d := time.Duration(now.UnixNano() - sentUnixNs)
	if !t.known || d < t.least {
		t.known, t.least = true, d
	}
	return d - t.least
}

func resultMessage(id string, r Result) *agentpb.FromAgent {
	return &agentpb.FromAgent{Message: &agentpb.FromAgent_Result{Result: &agentpb.OrderResult{
		Id: id, Code: r.Code, Detail: r.Detail, Fix: r.Fix, Values: r.Values,
		StartedUnixNs: r.StartedAt.UnixNano(), EndedUnixNs: r.EndedAt.UnixNano()}}}
}

func orderOf(o *agentpb.Order) Order {
	return Order{ID: o.GetId(), Operation: o.GetOperation(), Step: o.GetStep(), Cluster: o.GetCluster(), Node: o.GetNode(),
		Generation: o.GetGeneration(), Term: o.GetTerm(), Timeout: time.Duration(o.GetTimeoutNs()),
		Action: engine.Action{Name: o.GetAction(), Args: o.GetArgs()}}
}
