package eventstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"baton/control/engine"
	"baton/control/engine/prober"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// probe appends one event per number to one private stream. The event's id is made
// of the number, so a repeat is the same event.
type probe struct {
	stream  string
	salt    [8]byte
	targets []*probeTarget
	writer  *prober.Writer
}

type probeTarget struct {
	p    *probe
	addr string
	conn *grpc.ClientConn
	api  streams.StreamsClient
	auth metadata.MD
}

// Probe opens a synthetic writer over the instance and its peers.
func (d *Driver) Probe(in engine.Instance) (engine.Probe, error) {
	n, err := d.node(in)
	if err != nil {
		return nil, err
	}
	if n.err != nil {
		return nil, &engine.ActionError{Code: engine.CodeFailed, Detail: "the node's certificate authority cannot be used", Err: n.err}
	}
	p := &probe{}
	rand.Read(p.salt[:])
	p.stream = "baton-probe-" + hex.EncodeToString(p.salt[:])
	targets, err := newTargets(in)
	if err != nil {
		return nil, err
	}
	p.targets = targets
	var ts []prober.Target
	for _, t := range targets {
		t.p = p
		ts = append(ts, t)
	}
	p.writer = prober.New(ts, 0)
	return p, nil
}

// newTargets connects to the instance and its peers, the instance first.
func newTargets(in engine.Instance) ([]*probeTarget, error) {
	creds := insecure.NewCredentials()
	if in.Auth.CAFile != "" {
		tc, err := tlsConfig(in.Auth.CAFile)
		if err != nil {
			return nil, err
		}
		creds = credentials.NewTLS(tc)
	}
	addrs := []string{in.Address()}
	for _, peer := range in.Peers {
		if peer.Address() != in.Address() {
			addrs = append(addrs, peer.Address())
		}
	}
	// Only the leader may acknowledge: a forwarding node would hide the move.
	md := metadata.Pairs("requires-leader", "true")
	if in.Auth.Password != "" {
		req := http.Request{Header: http.Header{}}
		req.SetBasicAuth(in.Auth.User, in.Auth.Password)
		md.Set("authorization", req.Header.Get("Authorization"))
	}
	var out []*probeTarget
	for _, a := range addrs {
		conn, err := grpc.NewClient("passthrough:///"+a, grpc.WithTransportCredentials(creds),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}, MinConnectTimeout: dialTimeout}))
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", a, err)
		}
		conn.Connect()
		out = append(out, &probeTarget{addr: a, conn: conn, api: streams.NewStreamsClient(conn), auth: md})
	}
	return out, nil
}

func (t *probeTarget) Address() string { return t.addr }

func (t *probeTarget) streamID() *client.StreamIdentifier {
	return &client.StreamIdentifier{StreamName: []byte(t.p.stream)}
}

func (t *probeTarget) Write(ctx context.Context, seq int64) error {
	err := t.append(ctx, t.p.stream, &streams.AppendReq_ProposedMessage{Id: t.p.id(seq), Data: []byte(strconv.FormatInt(seq, 10)),
		Metadata: map[string]string{"type": "probe", "content-type": "application/octet-stream"}})
	if err == nil || errors.Is(err, errRefused) {
		return err
	}
	switch status.Code(err) {
	case codes.NotFound, codes.FailedPrecondition, codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument:
		return err
	}
	return fmt.Errorf("%w: %w", prober.ErrUnknown, err)
}

// id is the event id of a number.
func (p *probe) id(seq int64) *client.UUID {
	return &client.UUID{Value: &client.UUID_Structured_{Structured: &client.UUID_Structured{
		MostSignificantBits: int64(binary.BigEndian.Uint64(p.salt[:])), LeastSignificantBits: seq}}}
}

// Run writes until ctx ends.
func (p *probe) Run(ctx context.Context, started func()) error { return p.writer.Run(ctx, started) }

// Acked is the number of writes acknowledged so far.
func (p *probe) Acked() int64 { return p.writer.Acked() }

// Finish reads the stream back from the leader, deletes it and closes the
// connections.
func (p *probe) Finish(ctx context.Context) (engine.ProbeReport, error) {
	r := p.writer.Report()
	defer func() {
		for _, t := range p.targets {
			t.conn.Close()
		}
	}()
	order := append([]*probeTarget{p.targets[p.writer.Preferred()]}, p.targets...)
	var lastErr error
	for ctx.Err() == nil {
		for _, t := range order {
			found, err := t.readBack(ctx)
			if err != nil {
				lastErr = err
				continue
			}
			r.ReadFrom, r.Complete = t.addr, true
			for seq := int64(1); seq <= r.Acked; seq++ {
				if found[seq] {
					r.ReadBack++
				}
			}
			r.Lost = r.Acked - r.ReadBack
			if _, err := t.api.Delete(metadata.NewOutgoingContext(ctx, t.auth), &streams.DeleteReq{Options: &streams.DeleteReq_Options{
				StreamIdentifier: t.streamID(), ExpectedStreamRevision: &streams.DeleteReq_Options_Any{Any: &client.Empty{}}}}); err != nil {
				return r, fmt.Errorf("delete the probe's stream on %s: %w", t.addr, err)
			}
			return r, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return r, fmt.Errorf("read the probe's writes back: no member answers as leader: %w", errors.Join(ctx.Err(), lastErr))
}

// readBack reads all numbers from a node that confirms that it leads.
func (t *probeTarget) readBack(ctx context.Context) (map[int64]bool, error) {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, t.auth))
	defer cancel()
	s, err := t.api.Read(ctx, &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{StreamIdentifier: t.streamID(),
			RevisionOption: &streams.ReadReq_Options_StreamOptions_Start{Start: &client.Empty{}}}},
		CountOption:  &streams.ReadReq_Options_Count{Count: 1 << 30},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &client.Empty{}}},
	}})
	if err != nil {
		return nil, err
	}
	found := map[int64]bool{}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if e := m.GetEvent().GetEvent(); e != nil {
			if seq, err := strconv.ParseInt(string(e.GetData()), 10, 64); err == nil {
				found[seq] = true
			}
		}
	}
}
