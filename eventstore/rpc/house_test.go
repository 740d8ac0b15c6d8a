package rpc_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"baton/eventstore/admin"
	"baton/eventstore/node"
	"baton/eventstore/projection"
	"baton/eventstore/projections"
	"baton/eventstore/rpc"
	"baton/eventstore/subscriptions"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	"baton/platform/tracing"
	"baton/test/fleet"
)

// house is nodes of this process with their ports, reached by generated clients as any client would.
type house struct {
	t     testing.TB
	nodes []*served
	// access of each node, if they are secure
	access []*rpc.Access
}

type served struct {
	node  *node.Node
	port  *rpc.Port
	conn  *grpc.ClientConn
	addr  string
	dir   string        // of its data
	asked chan struct{} // a client asked for a shutdown
}

type houseOptions struct {
	nodes, size int
	secure      *rpc.AccessOptions // nil: an insecure node; Node is set for each
	tls         *tls.Config
	dial        []grpc.DialOption
	maxEvent    int
	maxAppend   int
	readOnly    map[int]bool
	projections bool // projections of all kinds run
	tracer      func(node string) *tracing.Tracer
	logger      *slog.Logger // of every part; nil: nobody listens
}

// writeTimeout is long: a write may wait for a machine that stands still.
const writeTimeout = time.Minute

// newHouse starts a cluster and waits until every node serves.
func newHouse(t testing.TB, o houseOptions) *house {
	t.Helper()
	h := &house{t: t}
	if o.nodes == 0 {
		o.nodes, o.size = 1, 1
	}
	if o.maxEvent == 0 {
		o.maxEvent, o.maxAppend = 1<<20, 4<<20
	}
	listeners := make([]net.Listener, o.nodes)
	peers := make([]string, o.nodes)
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		port, err := fleet.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		peers[i] = fmt.Sprintf("127.0.0.1:%d", port[0])
	}
	if o.logger == nil {
		o.logger = slog.New(slog.DiscardHandler)
	}
	for i, l := range listeners {
		dir := filepath.Join(t.TempDir(), "data")
		tcp := l.Addr().(*net.TCPAddr)
		var tracer *tracing.Tracer
		if o.tracer != nil {
			tracer = o.tracer(fmt.Sprintf("n%d", i))
		}
		n, err := node.Start(node.Config{
			Dir: dir, Name: fmt.Sprintf("n%d", i), ClusterSize: o.size, ReadOnlyReplica: o.readOnly[i],
			PeerListen: peers[i], PeerSeeds: peers, ClientHost: "127.0.0.1", ClientPort: tcp.Port, SegmentBytes: 4 << 20, Settle: 300 * time.Millisecond, WriteTimeout: writeTimeout, Tracer: tracer, Logger: o.logger,
		})
		if err != nil {
			t.Fatal(err)
		}
		s := &served{node: n, addr: l.Addr().String(), dir: dir, asked: make(chan struct{}, 1)}
		shutdown := func() {
			select {
			case s.asked <- struct{}{}:
			default:
			}
		}
		var access *rpc.Access
		if o.secure != nil {
			own := *o.secure
			own.Node, own.Logger = n, o.logger
			access = rpc.NewAccess(own)
			h.access = append(h.access, access)
		}
		groups := subscriptions.Start(subscriptions.Options{Node: n, Logger: o.logger})
		var programs *projections.Service
		if o.projections {
			own := projections.Options{Node: n, Compile: projection.Compile, Logger: o.logger}
			if access != nil {
				own.Access = access
			}
			programs = projections.Start(own)
		}
		server := rpc.New(rpc.Options{Backend: n, Access: access, Subscriptions: groups, Projections: programs, MaxEventBytes: o.maxEvent, MaxAppendBytes: o.maxAppend, WriteTimeout: writeTimeout, Shutdown: shutdown, Tracer: tracer, Logger: o.logger})
		s.port = rpc.NewPort(rpc.PortOptions{Listener: l, TLS: o.tls, RPC: server,
			HTTP: admin.Handler(admin.Options{Node: n, Services: server, Access: access, Shutdown: shutdown, Version: "test", Logger: o.logger})})
		done := make(chan error, 1)
		go func() { done <- s.port.Serve() }()
		dial := o.dial
		if dial == nil {
			dial = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
		}
		if s.conn, err = grpc.NewClient(s.addr, dial...); err != nil {
			t.Fatal(err)
		}
		h.nodes = append(h.nodes, s)
		t.Cleanup(func() {
			s.conn.Close()
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			s.port.Stop(ctx)
			if err := <-done; err != nil {
				t.Errorf("serve: %v", err)
			}
			groups.Stop()
			programs.Stop()
			n.Stop()
		})
	}
	eventually(t, "every node serves", func() error {
		for _, s := range h.nodes {
			if ready, waiting := s.node.Ready(); !ready {
				return errors.New(waiting)
			}
		}
		for _, a := range h.access {
			if !a.Users().Ready() {
				return errors.New("no users yet")
			}
		}
		return nil
	})
	return h
}

// leader and follower pick a node by role.
func (h *house) leader() *served {
	h.t.Helper()
	return h.byRole("Leader")
}

func (h *house) byRole(role string) *served {
	h.t.Helper()
	var found *served
	eventually(h.t, "a "+role, func() error {
		for _, s := range h.nodes {
			if string(s.node.Self().Role) == role {
				found = s
				return nil
			}
		}
		return errors.New("none yet")
	})
	return found
}

func (s *served) streams() streams.StreamsClient { return streams.NewStreamsClient(s.conn) }

func (s *served) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + s.addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-pause.C
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func needLeader(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "requires-leader", "true")
}

func name(s string) *client.StreamIdentifier {
	return &client.StreamIdentifier{StreamName: []byte(s)}
}

func id(u uuid.UUID) *client.UUID {
	return &client.UUID{Value: &client.UUID_Structured_{Structured: &client.UUID_Structured{
		MostSignificantBits: int64(binary.BigEndian.Uint64(u[:8])), LeastSignificantBits: int64(binary.BigEndian.Uint64(u[8:]))}}}
}

type proposed = streams.AppendReq_ProposedMessage

func event(kind, data string) *proposed { return eventWith(uuid.New(), kind, data) }

func eventWith(u uuid.UUID, kind, data string) *proposed {
	return &proposed{Id: id(u), Metadata: map[string]string{"type": kind, "content-type": "application/json"}, Data: []byte(data), CustomMetadata: []byte("{}")}
}

var (
	anyRevision = &streams.AppendReq_Options_Any{Any: &client.Empty{}}
	noStream    = &streams.AppendReq_Options_NoStream{NoStream: &client.Empty{}}
	mustExist   = &streams.AppendReq_Options_StreamExists{StreamExists: &client.Empty{}}
)

// write appends events; expected is one of the constants above or nil for any, or set set to change the options.
func (s *served) write(ctx context.Context, stream string, set func(*streams.AppendReq_Options), events ...*proposed) (*streams.AppendResp, error) {
	call, err := s.streams().Append(ctx)
	if err != nil {
		return nil, err
	}
	o := &streams.AppendReq_Options{StreamIdentifier: name(stream), ExpectedStreamRevision: anyRevision}
	if set != nil {
		set(o)
	}
	// An answer may come before everything was sent: the reason is in CloseAndRecv then.
	if call.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}}) == nil {
		for _, e := range events {
			if call.Send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: e}}) != nil {
				break
			}
		}
	}
	return call.CloseAndRecv()
}

func mustWrite(t *testing.T, s *served, stream string, events ...*proposed) *streams.AppendResp_Success {
	t.Helper()
	resp, err := s.write(testContext(t), stream, nil, events...)
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetSuccess() == nil {
		t.Fatalf("append refused: %v", resp)
	}
	return resp.GetSuccess()
}

// ask begins a Read with options that need only be varied.
func ask(set func(*streams.ReadReq_Options)) *streams.ReadReq {
	o := &streams.ReadReq_Options{
		CountOption:  &streams.ReadReq_Options_Count{Count: 1000},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{},
	}
	set(o)
	return &streams.ReadReq{Options: o}
}

func fromStart(stream string) *streams.ReadReq_Options_Stream {
	return &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{StreamIdentifier: name(stream),
		RevisionOption: &streams.ReadReq_Options_StreamOptions_Start{Start: &client.Empty{}}}}
}

func allFromStart() *streams.ReadReq_Options_All {
	return &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &client.Empty{}}}}
}

func (s *served) read(ctx context.Context, req *streams.ReadReq) ([]*streams.ReadResp, error) {
	call, err := s.streams().Read(ctx, req)
	if err != nil {
		return nil, err
	}
	var list []*streams.ReadResp
	for {
		resp, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, resp)
	}
}

func mustRead(t *testing.T, s *served, req *streams.ReadReq) []*streams.ReadResp {
	t.Helper()
	list, err := s.read(testContext(t), req)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func data(list []*streams.ReadResp) string {
	text := ""
	for _, r := range list {
		text += string(r.GetEvent().GetEvent().GetData()) + " "
	}
	return text
}
