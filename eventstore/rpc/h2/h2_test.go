package h2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// patience is how long anything may take on a machine that is busy.
const patience = 30 * time.Second

// bytesCodec sends byte slices as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// service is what the tests call. Every method can be made to fail by its request.
type service struct {
	entered  chan struct{}   // a handler of Wait runs
	canceled chan error      // why a handler of Wait ended
	release  <-chan struct{} // lets Wait go
}

func (s *service) unary(ctx context.Context, in []byte) ([]byte, error) {
	text := string(in)
	switch {
	case strings.HasPrefix(text, "fail"):
		_ = grpc.SetTrailer(ctx, metadata.Pairs("why", "asked for", "raw-bin", "\x00\xff"))
		st, _ := status.New(codes.FailedPrecondition, "no: 100% ä\n").WithDetails(durationpb.New(time.Second))
		return nil, st.Err()
	case text == "metadata":
		md, _ := metadata.FromIncomingContext(ctx)
		p, _ := peer.FromContext(ctx)
		_ = grpc.SetHeader(ctx, metadata.Pairs("seen", "yes"))
		return fmt.Appendf(nil, "%s|%x|%v", md.Get("custom")[0], md.Get("raw-bin")[0], p.Addr != nil), nil
	case text == "deadline":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return in, nil
}

func (s *service) wait(ss grpc.ServerStream) error {
	s.entered <- struct{}{}
	select {
	case <-ss.Context().Done():
		s.canceled <- ss.Context().Err()
		return ss.Context().Err()
	case <-s.release:
		out := []byte("done")
		return ss.SendMsg(&out)
	}
}

var desc = grpc.ServiceDesc{
	ServiceName: "test.Service",
	Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(srv any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in []byte
		if err := dec(&in); err != nil {
			return nil, err
		}
		out, err := srv.(*service).unary(ctx, in)
		return &out, err
	}}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Collect", ClientStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
			total := 0
			for {
				var in []byte
				err := ss.RecvMsg(&in)
				if errors.Is(err, io.EOF) {
					out := fmt.Append(nil, total)
					return ss.SendMsg(&out)
				}
				if err != nil {
					return err
				}
				total += len(in)
			}
		}},
		{StreamName: "Count", ServerStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
			var in []byte
			if err := ss.RecvMsg(&in); err != nil {
				return err
			}
			for i := range 1000 {
				out := append(fmt.Appendf(nil, "%d ", i), in...)
				if err := ss.SendMsg(&out); err != nil {
					return err
				}
			}
			return nil
		}},
		{StreamName: "Talk", ClientStreams: true, ServerStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
			for {
				var in []byte
				if err := ss.RecvMsg(&in); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if err := ss.SendMsg(&in); err != nil {
					return err
				}
			}
		}},
		{StreamName: "Wait", ServerStreams: true, Handler: func(srv any, ss grpc.ServerStream) error { return srv.(*service).wait(ss) }},
	},
}

// serve starts a server and returns its address.
func serve(t testing.TB, change func(*Options)) (*Server, *service, string) {
	t.Helper()
	o := Options{Codec: bytesCodec{}, MaxMessageBytes: 8 << 20, MaxCalls: 100, StreamWindow: 1 << 16, ConnWindow: 1 << 18, MinPingEvery: time.Nanosecond}
	if change != nil {
		change(&o)
	}
	s := NewServer(o)
	impl := &service{entered: make(chan struct{}, 100), canceled: make(chan error, 100), release: make(chan struct{})}
	s.RegisterService(&desc, impl)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Stop(ctx)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, impl, l.Addr().String()
}

func dial(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{}), grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func echo(ctx context.Context, c *grpc.ClientConn, in string, o ...grpc.CallOption) (string, error) {
	b, out := []byte(in), []byte(nil)
	err := c.Invoke(ctx, "/test.Service/Echo", &b, &out, o...)
	return string(out), err
}

func TestMessagesOfAnySizeArriveWhole(t *testing.T) {
	_, _, addr := serve(t, nil)
	c := dial(t, addr)
	for _, n := range []int{0, 1, 511, 16 << 10, 64<<10 + 1, 3 << 20} { // windows are 64 KiB
		in := strings.Repeat("x", n)
		if out, err := echo(within(t), c, in); err != nil || out != in {
			t.Fatalf("%d bytes: %d came back, %v", n, len(out), err)
		}
	}
	if _, err := echo(within(t), c, strings.Repeat("x", 8<<20+1)); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("a message over the limit: %v", err)
	}
	if out, err := echo(within(t), c, strings.Repeat("x", 1<<20), grpc.UseCompressor("gzip")); err != nil || len(out) != 1<<20 {
		t.Fatalf("packed: %d bytes, %v", len(out), err)
	}
}

func TestCallsOfEveryShapeAtOnce(t *testing.T) {
	_, _, addr := serve(t, func(o *Options) { o.MaxCalls = 20 })
	c := dial(t, addr)
	ctx := within(t)
	var all sync.WaitGroup
	for i := range 60 { // more than may run at a time: the client waits
		all.Go(func() {
			var err error
			switch i % 4 {
			case 0:
				_, err = echo(ctx, c, "hello")
			case 1:
				err = collect(ctx, c)
			case 2:
				err = count(ctx, c)
			case 3:
				err = talk(ctx, c)
			}
			if err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

func collect(ctx context.Context, c *grpc.ClientConn) error {
	ss, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/test.Service/Collect")
	if err != nil {
		return err
	}
	b := make([]byte, 10_000)
	for range 50 {
		if err := ss.SendMsg(&b); err != nil {
			return err
		}
	}
	if err := ss.CloseSend(); err != nil {
		return err
	}
	if err := ss.RecvMsg(&b); err != nil || string(b) != "500000" {
		return fmt.Errorf("counted %s: %w", b, err)
	}
	return nil
}

func count(ctx context.Context, c *grpc.ClientConn) error {
	ss, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/test.Service/Count")
	if err != nil {
		return err
	}
	pad := []byte(strings.Repeat("y", 300))
	if err := errors.Join(ss.SendMsg(&pad), ss.CloseSend()); err != nil {
		return err
	}
	for i := 0; ; i++ {
		var b []byte
		err := ss.RecvMsg(&b)
		if errors.Is(err, io.EOF) && i == 1000 {
			return nil
		}
		if want := fmt.Sprintf("%d %s", i, pad); err != nil || string(b) != want {
			return fmt.Errorf("message %d is %.20s: %w", i, b, err)
		}
	}
}

func talk(ctx context.Context, c *grpc.ClientConn) error {
	ss, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Service/Talk")
	if err != nil {
		return err
	}
	for i := range 50 {
		b := fmt.Append(nil, i)
		if err := ss.SendMsg(&b); err != nil {
			return err
		}
		var back []byte
		if err := ss.RecvMsg(&back); err != nil || string(back) != fmt.Sprint(i) {
			return fmt.Errorf("said %d, heard %s: %w", i, back, err)
		}
	}
	if err := ss.CloseSend(); err != nil {
		return err
	}
	var b []byte
	if err := ss.RecvMsg(&b); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the end: %w", err)
	}
	return nil
}

func TestStatusAndMetadata(t *testing.T) {
	_, _, addr := serve(t, nil)
	c := dial(t, addr)
	var trailer, header metadata.MD
	_, err := echo(within(t), c, "fail", grpc.Trailer(&trailer))
	st := status.Convert(err)
	if st.Code() != codes.FailedPrecondition || st.Message() != "no: 100% ä\n" || len(st.Details()) != 1 ||
		trailer.Get("why")[0] != "asked for" || trailer.Get("raw-bin")[0] != "\x00\xff" {
		t.Fatalf("%v, details %v, trailer %v", st, st.Details(), trailer)
	}
	ctx := metadata.AppendToOutgoingContext(within(t), "custom", "one", "raw-bin", "\x01\xfe")
	out, err := echo(ctx, c, "metadata", grpc.Header(&header))
	if err != nil || out != "one|01fe|true" || len(header.Get("seen")) != 1 {
		t.Fatalf("%q, %v, header %v", out, err, header)
	}
	for path, want := range map[string]string{"/test.Service/No": "unknown method No for service test.Service", "/no/No": "unknown service no"} {
		b := []byte("x")
		if err := c.Invoke(within(t), path, &b, &b); status.Code(err) != codes.Unimplemented || status.Convert(err).Message() != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDeadlineAndCancelReachTheHandler(t *testing.T) {
	_, impl, addr := serve(t, nil)
	c := dial(t, addr)
	ctx, cancel := context.WithTimeout(within(t), 20*time.Millisecond)
	defer cancel()
	if _, err := echo(ctx, c, "deadline"); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("deadline: %v", err)
	}
	ctx, cancel = context.WithCancel(within(t))
	waitCall(t, ctx, c, impl)
	cancel()
	if err := <-impl.canceled; !errors.Is(err, context.Canceled) {
		t.Fatalf("canceled: %v", err)
	}
	waitCall(t, within(t), c, impl)
	c.Close()
	if err := <-impl.canceled; !errors.Is(err, context.Canceled) {
		t.Fatalf("closed: %v", err)
	}
}

// waitCall begins a call that waits, and returns once its handler runs.
func waitCall(t *testing.T, ctx context.Context, c *grpc.ClientConn, impl *service) grpc.ClientStream {
	t.Helper()
	ss, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/test.Service/Wait")
	if err == nil {
		err = ss.CloseSend()
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-impl.entered:
	case <-ctx.Done():
		t.Fatal("the handler does not run")
	}
	return ss
}

func TestStopLetsRunningCallsEnd(t *testing.T) {
	s, impl, addr := serve(t, nil)
	release := make(chan struct{})
	impl.release = release
	c := dial(t, addr)
	ss := waitCall(t, within(t), c, impl)
	stopped := make(chan struct{})
	go func() {
		s.Stop(within(t))
		close(stopped)
	}()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for s.takes() {
		<-poll.C
	}
	close(release)
	var b []byte
	if err := ss.RecvMsg(&b); err != nil || string(b) != "done" {
		t.Fatalf("%s, %v", b, err)
	}
	if err := ss.RecvMsg(&b); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	<-stopped
	if _, err := echo(within(t), c, "x"); status.Code(err) != codes.Unavailable {
		t.Fatalf("after the end: %v", err)
	}
}

// takes reports whether a connection takes calls.
func (s *Server) takes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.mu.Lock()
		leaving := c.leaving
		c.mu.Unlock()
		if leaving {
			return false
		}
	}
	return true
}

func TestInterceptorsSeeEveryCall(t *testing.T) {
	var seen sync.Map
	_, _, addr := serve(t, func(o *Options) {
		o.Stream = func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			seen.Store(info.FullMethod, BulkOf(ss.Context()) != nil)
			return next(srv, ss)
		}
	})
	if err := talk(within(t), dial(t, addr)); err != nil {
		t.Fatal(err)
	}
	if bulk, ok := seen.Load("/test.Service/Talk"); !ok || bulk != true {
		t.Fatalf("seen %v, bulk %v", ok, bulk)
	}
}

var _ encoding.CodecV2 = bytesCodec{}
