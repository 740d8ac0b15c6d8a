package agent

import (
	"context"
	"encoding/json"
	"errors"
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
	// silence: the control plane sends a tick each second; without any message
	// for this long the link is given up and dialed anew.
	silence = 5 * time.Second
	// renewEvery is how often the certificate's age is looked at.
	renewEvery = 12 * time.Hour
)

// keepLink dials the control plane again and again until ctx ends.
func (a *Agent) keepLink(ctx context.Context) {
	wait := retryMin
	for ctx.Err() == nil {
		began := time.Now()
		err := a.link(ctx)
		if ctx.Err() != nil {
			return
		}
		a.log.Warn("link to the control plane ended", "address", a.me.Address, "err", err)
		if time.Since(began) > 10*time.Second {
			wait = retryMin
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, retryMax)
	}
}

func (a *Agent) link(ctx context.Context) error {
	conn, err := grpc.NewClient(a.me.Address, grpc.WithTransportCredentials(credentials.NewTLS(a.me.tls)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: retryMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryMax}, MinConnectTimeout: 3 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Second, Timeout: 5 * time.Second}))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	api := agentpb.NewAgentLinkClient(conn)
	s, err := api.Connect(ctx)
	if err != nil {
		return err
	}
	out := make(chan *agentpb.FromAgent, 512)
	if err := s.Send(&agentpb.FromAgent{Message: &agentpb.FromAgent_Hello{Hello: &agentpb.Hello{
		Name: a.me.Name, Version: a.opt.Version, Pid: int64(os.Getpid()), BootId: a.local.Read().BootID}}}); err != nil {
		return err
	}
	go func() { cancel(a.sendLoop(ctx, s, out)) }()

	heard := time.AfterFunc(silence, func() { cancel(errors.New("the control plane fell silent")) })
	defer heard.Stop()
	var travel travelTime
	renewal := time.Now() // when it is next looked at
	for {
		m, err := s.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		heard.Reset(silence)
		now := time.Now()
		if a.leaseMessage(m) {
			continue
		}
		switch m := m.GetMessage().(type) {
		case *agentpb.ToAgent_Welcome:
			a.leases.connected(out)
			defer a.leases.connected(nil)
			a.log.Info("connected to the control plane", "address", a.me.Address, "agent", a.me.ID)
		case *agentpb.ToAgent_Tick:
			travel.add(now, m.Tick.GetSentUnixNs())
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

func (a *Agent) sendLoop(ctx context.Context, s agentpb.AgentLink_ConnectClient, out <-chan *agentpb.FromAgent) error {
	tick := time.NewTicker(ReportInterval)
	defer tick.Stop()
	report := func() error {
		b, err := json.Marshal(a.report())
		if err != nil {
			return err
		}
		return s.Send(&agentpb.FromAgent{Message: &agentpb.FromAgent_Report{Report: &agentpb.Report{Json: b}}})
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
