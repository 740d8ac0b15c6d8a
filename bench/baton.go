package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	"baton/test/fleet"
)

type batonTarget struct {
	dir, binary string
	fleet       *fleet.Fleet
	killed      *fleet.Node

	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn // "conn number@address"
	leader string                      // address, "" when it must be looked up
}

func newBaton(dir, binary string) target {
	return &batonTarget{dir: filepath.Join(dir, "baton"), binary: binary, conns: map[string]*grpc.ClientConn{}}
}

func (t *batonTarget) name() string { return "baton" }

func (t *batonTarget) logs() string { return t.fleet.Logs(10) }

func (t *batonTarget) start(settle time.Duration) error {
	f, err := fleet.New(fleet.Options{Dir: t.dir, Nodes: 3, Binary: t.binary})
	if err != nil {
		return err
	}
	t.fleet = f
	if err := f.Start(); err != nil {
		return err
	}
	return t.settled(settle)
}

func (t *batonTarget) close() {
	for _, c := range t.conns {
		c.Close()
	}
	if t.fleet != nil {
		t.fleet.Close()
	}
}

func (t *batonTarget) pids() []int {
	var pids []int
	for _, n := range t.fleet.Nodes {
		if pid := n.PID(); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// conn returns the numbered connection to the leader.
func (t *batonTarget) conn(number int) (*grpc.ClientConn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leader == "" {
		l, err := t.fleet.Leader()
		if err != nil {
			return nil, err
		}
		t.leader = l.Address()
	}
	key := fmt.Sprintf("%d@%s", number, t.leader)
	if c := t.conns[key]; c != nil {
		return c, nil
	}
	c, err := grpc.NewClient("passthrough:///"+t.leader, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	t.conns[key] = c
	return c, nil
}

// lost forgets the leader, so that the next call looks it up again.
func (t *batonTarget) lost() {
	t.mu.Lock()
	t.leader = ""
	t.mu.Unlock()
}

type batonAppender struct {
	t      *batonTarget
	number int
	stream []byte
	last   uint64
	known  bool
	began  bool
}

func (t *batonTarget) appender(_ context.Context, conn int, stream string) (appender, error) {
	return &batonAppender{t: t, number: conn, stream: []byte(stream)}, nil
}

// ids makes event ids that no two events share: what retries are recognized by.
var ids atomic.Int64

func eventID() *client.UUID {
	return &client.UUID{Value: &client.UUID_Structured_{Structured: &client.UUID_Structured{
		MostSignificantBits: time.Now().UnixNano(), LeastSignificantBits: ids.Add(1),
	}}}
}

var eventMetadata = map[string]string{"type": "bench", "content-type": "application/octet-stream"}

func (a *batonAppender) append(ctx context.Context, payload []byte) error {
	err := a.attempt(ctx, payload)
	if err != nil {
		a.known = false // the outcome is unknown: name no revision next time
		a.began = true
		a.t.lost()
	}
	return err
}

func (a *batonAppender) attempt(ctx context.Context, payload []byte) error {
	c, err := a.t.conn(a.number)
	if err != nil {
		return err
	}
	call, err := streams.NewStreamsClient(c).Append(ctx, grpc.ForceCodecV2(fastCodec{}))
	if err != nil {
		return err
	}
	o := &streams.AppendReq_Options{StreamIdentifier: &client.StreamIdentifier{StreamName: a.stream}}
	switch {
	case a.known:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: a.last}
	case a.began:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Any{Any: &client.Empty{}}
	default:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_NoStream{NoStream: &client.Empty{}}
	}
	if err := call.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}}); err != nil && err != io.EOF {
		return err
	}
	m := &streams.AppendReq_ProposedMessage{Id: eventID(), Metadata: eventMetadata, Data: payload}
	if err := call.Send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: m}}); err != nil && err != io.EOF {
		return err
	}
	resp, err := call.CloseAndRecv()
	if err != nil {
		return err
	}
	ok := resp.GetSuccess()
	if ok == nil {
		return fmt.Errorf("append to %s: %v", a.stream, resp)
	}
	a.last, a.known = ok.GetCurrentRevision(), true
	return nil
}

func (t *batonTarget) pipeline(ctx context.Context, stream string, window int, payload []byte, acked func()) error {
	c, err := t.conn(1000 + int(stream[len(stream)-1]))
	if err != nil {
		return err
	}
	call, err := c.NewStream(ctx, &streams.Streams_ServiceDesc.Streams[2], streams.Streams_BatchAppend_FullMethodName, grpc.ForceCodecV2(windowCodec{}))
	if err != nil {
		return err
	}
	request, err := newWindowRequest(stream, payload)
	if err != nil {
		return err
	}
	free := make(chan struct{}, window/windowStep)
	sent := make(chan error, 1)
	go func() {
		sent <- func() error {
			var id int64
			for {
				select {
				case free <- struct{}{}:
				case <-ctx.Done():
					return nil
				}
				for range windowStep {
					id++
					if err := call.SendMsg(request.next(id)); err != nil {
						return nil // Recv tells why
					}
				}
			}
		}()
	}()
	var answer windowAnswer
	for n := 1; ; n++ {
		err := call.RecvMsg(&answer)
		// The server may see the deadline a moment before this side does.
		if ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded {
			<-ctx.Done()
			return <-sent
		}
		if err != nil {
			return err
		}
		if answer.refused != nil {
			return fmt.Errorf("batch append: %v", answer.refused.GetError())
		}
		acked()
		if n%windowStep == 0 {
			<-free
		}
	}
}

// windowStep is how many answers open the window by as many events: a client that sent one event for each answer would
// write a packet for each, and both sides would be busy with packets.
const windowStep = 64

// batchRequest is one logical append of n events under a correlation id of its own.
func batchRequest(id int64, stream string, n int, payload []byte) *streams.BatchAppendReq {
	r := &streams.BatchAppendReq{
		CorrelationId: &client.UUID{Value: &client.UUID_Structured_{Structured: &client.UUID_Structured{LeastSignificantBits: id}}},
		Options: &streams.BatchAppendReq_Options{
			StreamIdentifier:       &client.StreamIdentifier{StreamName: []byte(stream)},
			ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}},
		},
		IsFinal: true,
	}
	for range n {
		r.ProposedMessages = append(r.ProposedMessages, &streams.BatchAppendReq_ProposedMessage{
			Id: eventID(), Metadata: eventMetadata, Data: payload,
		})
	}
	return r
}

func (t *batonTarget) fill(ctx context.Context, n int, payload []byte) error {
	c, err := t.conn(2000)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := streams.NewStreamsClient(c).BatchAppend(ctx, grpc.ForceCodecV2(fastCodec{}))
	if err != nil {
		return err
	}
	const batch, inFlight = 100, 16
	want := (n + batch - 1) / batch
	free := make(chan struct{}, inFlight)
	go func() {
		for i := range want {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return
			}
			if call.Send(batchRequest(int64(i), "fill", min(batch, n-i*batch), payload)) != nil {
				return // Recv tells why
			}
		}
	}()
	for range want {
		resp, err := call.Recv()
		if err != nil {
			return err
		}
		if resp.GetError() != nil {
			return fmt.Errorf("batch append: %v", resp.GetError())
		}
		<-free
	}
	return nil
}

// read counts the events of "fill" in $all: the same work as the peer's, without the cluster's own records.
func (t *batonTarget) read(ctx context.Context, n int) (int, error) {
	c, err := t.conn(3000)
	if err != nil {
		return 0, err
	}
	call, err := streams.NewStreamsClient(c).Read(ctx, &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
			AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &client.Empty{}}}},
		CountOption:   &streams.ReadReq_Options_Count{Count: 1 << 60},
		FilterOption:  &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}},
		UuidOption:    &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &client.Empty{}}},
		ControlOption: &streams.ReadReq_Options_ControlOption{Compatibility: 1},
	}}, grpc.ForceCodecV2(countCodec{}))
	if err != nil {
		return 0, err
	}
	got := 0
	var m counted
	for {
		err := call.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if m.isEvent {
			got++
		}
	}
}

func (t *batonTarget) settled(settle time.Duration) error {
	t.lost()
	return t.fleet.AwaitRoles(settle, 2, 0)
}

func (t *batonTarget) killLeader() error {
	l, err := t.fleet.Leader()
	if err != nil {
		return err
	}
	t.killed = l
	l.Kill()
	t.lost()
	return nil
}

func (t *batonTarget) recover(settle time.Duration) error {
	if err := t.killed.Start(); err != nil {
		return err
	}
	return t.settled(settle)
}

func (t *batonTarget) moveLeader(context.Context) error {
	l, err := t.fleet.Leader()
	if err != nil {
		return err
	}
	for _, n := range t.fleet.Nodes {
		if n != l {
			return l.Promote(n.Name, "leader")
		}
	}
	return errors.New("no other node")
}

// tagEvent begins a read answer that carries an event: field 1, length-delimited.
var tagEvent = binary.AppendUvarint(nil, 1<<3|2)[0]
