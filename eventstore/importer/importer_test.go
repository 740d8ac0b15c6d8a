package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"baton/eventstore/admin"
	"baton/eventstore/node"
	"baton/eventstore/reader"
	"baton/eventstore/rpc"
	"baton/eventstore/stream"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
)

// server is a node of this process that clients reach.
type server struct {
	t    *testing.T
	node *node.Node
	addr string
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(node.Config{Dir: t.TempDir(), PeerListen: "127.0.0.1:0", ClientHost: "127.0.0.1",
		ClientPort: l.Addr().(*net.TCPAddr).Port, SegmentBytes: 4 << 20, WriteTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	calls := rpc.New(rpc.Options{Backend: n, MaxEventBytes: 1 << 20, MaxAppendBytes: 4 << 20, WriteTimeout: 30 * time.Second})
	port := rpc.NewPort(rpc.PortOptions{Listener: l, RPC: calls, HTTP: admin.Handler(admin.Options{Node: n, Services: calls, Version: "test"})})
	served := make(chan error, 1)
	go func() { served <- port.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		port.Stop(ctx)
		<-served
		n.Stop()
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return &server{t: t, node: n, addr: l.Addr().String()}
}

func (s *server) connection() string { return "esdb://" + s.addr + "?tls=false" }

func (s *server) write(name string, expected stream.Expected, events ...stream.Event) {
	s.t.Helper()
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: name, Expected: expected, Events: events})
	s.run(cmd, err)
}

func (s *server) run(cmd *stream.Command, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	outcome, err := s.node.Append(ctx, cmd, true)
	if err != nil || outcome.Kind != stream.Done {
		s.t.Fatalf("append: %+v, %v", outcome, err)
	}
}

// events reads a stream as text: revision, type, data.
func (s *server) events(name string) string {
	s.t.Helper()
	var b strings.Builder
	_, err := s.node.Reader().Stream(s.t.Context(), reader.StreamQuery{Stream: name, FromStart: true, Count: 1000, ResolveLinks: false}, func(e *reader.Event) error {
		fmt.Fprintf(&b, "%d:%s:%s ", e.Revision, e.Type, e.Data())
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

func one(kind, data string) stream.Event {
	return stream.Event{ID: uuid.New(), Type: kind, JSON: true, Data: []byte(data), Metadata: []byte(`{ "by": "test" }`)}
}

// furnish writes what the protocol knows: ordinary streams, metadata, links,
// truncation, a soft delete with and without revival, a tombstone.
func (s *server) furnish() {
	for i := range 300 {
		s.write(fmt.Sprintf("order-%d", i%7), stream.Any, one("placed", fmt.Sprintf(`{"n":%d}`, i)))
	}
	var many []stream.Event
	for i := range 1200 {
		many = append(many, stream.Event{ID: uuid.New(), Type: "measured", Data: fmt.Append(nil, i), Metadata: []byte{0xff, byte(i)}})
	}
	s.write("long", stream.NoStream, many...)
	s.write("$$order-1", stream.Any, one("$metadata", `{"$maxCount":3,"owner":"me"}`))
	s.write("links", stream.NoStream, stream.Event{ID: uuid.New(), Type: "$>", Data: []byte("2@order-2")})
	s.write("gone", stream.NoStream, one("a", "{}"), one("b", "{}"))
	s.run(stream.NewDelete("gone", stream.Any))
	s.write("revived", stream.NoStream, one("a", "{}"), one("b", "{}"))
	s.run(stream.NewDelete("revived", stream.Any))
	s.write("revived", stream.Any, one("c", "{}"))
	s.write("dead", stream.NoStream, one("a", "{}"))
	s.run(stream.NewTombstone("dead", stream.Any))
	s.write("$ce-order", stream.Any, one("x", "{}"))
}

func mustVerify(t *testing.T, o Options) {
	t.Helper()
	source, target, err := Verify(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if source.Events == 0 || source.Events != target.Events || source.Sum() != target.Sum() {
		t.Errorf("the source has %d events, %s; the target %d, %s", source.Events, source.Sum(), target.Events, target.Sum())
	}
}

func TestImportCopiesEverythingClientsSee(t *testing.T) {
	t.Parallel()
	from, to := newServer(t), newServer(t)
	from.furnish()
	o := Options{Source: from.connection(), Target: to.connection()}
	told := 0
	o.Progress = func(Progress) { told++ }
	p, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if p.Events < 1500 || p.Passed == 0 || p.Filled != 0 || p.NoCreated != 1200 || p.Position != p.End || p.Resumed || told == 0 {
		t.Errorf("progress %+v, told %d times", p, told)
	}
	for _, name := range []string{"order-0", "order-1", "order-2", "links", "gone", "revived", "dead", "$$order-1", "long"} {
		if got, want := to.events(name), from.events(name); got != want {
			t.Errorf("%s: %.200s\nwant %.200s", name, got, want)
		}
	}
	if got := to.events("$ce-order"); got != "" {
		t.Errorf("a system stream was copied: %s", got)
	}
	mustVerify(t, o)

	// The time at the source is kept, and the rest of the metadata as it was.
	_, err = to.node.Reader().Stream(t.Context(), reader.StreamQuery{Stream: "order-0", FromStart: true, Count: 1}, func(e *reader.Event) error {
		if m := string(e.Metadata()); !strings.HasPrefix(m, `{"$originalCreated":"2`) || !strings.HasSuffix(m, `,"by": "test" }`) {
			t.Errorf("metadata %s", m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	// What is written later comes with the next run; what is there, not again.
	before := to.events("order-3")
	from.write("order-3", stream.Any, one("placed", "{}"))
	if p, err = Run(t.Context(), o); err != nil || !p.Resumed || p.Events != 1 {
		t.Fatalf("the second run: %+v, %v", p, err)
	}
	if got := to.events("order-3"); got == before || got != from.events("order-3") {
		t.Errorf("order-3 after the second run: %s", got)
	}
	// From the start again: everything is recognized.
	o.Restart = true
	if _, err = Run(t.Context(), o); err != nil {
		t.Fatalf("again from the start: %v", err)
	}
	mustVerify(t, o)

	to.write("order-5", stream.Any, one("more", "{}"))
	source, target, err := Verify(t.Context(), o)
	if err != nil || source.Sum() == target.Sum() {
		t.Errorf("an event too many was not noticed: %v", err)
	}
}

func TestImportGoesOnAfterAnInterruption(t *testing.T) {
	t.Parallel()
	from, to := newServer(t), newServer(t)
	from.furnish()
	for _, cut := range []uint64{1, 20, 700, 1400} {
		// A part of the source is imported without a checkpoint, as by a run that was killed.
		o := Options{Source: from.connection(), Target: to.connection(), Name: "cut"}
		i, closeAll, err := open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		err = read(t.Context(), i.source, allFrom(0, false), func(r record) error {
			if i.progress.Events+i.progress.Passed >= cut {
				return errEnd
			}
			return i.take(t.Context(), r)
		})
		if !errors.Is(err, errEnd) {
			t.Fatal(err)
		}
		if err := i.flushAll(); err != nil {
			t.Fatal(err)
		}
		closeAll()
	}
	o := Options{Source: from.connection(), Target: to.connection()}
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, o)
}

func TestImportRefusesATargetWithOtherEvents(t *testing.T) {
	t.Parallel()
	from, to := newServer(t), newServer(t)
	from.furnish()
	to.write("order-2", stream.NoStream, one("mine", "{}"))
	_, err := Run(t.Context(), Options{Source: from.connection(), Target: to.connection()})
	var conflict *ConflictError
	if !errors.As(err, &conflict) || conflict.Stream != "order-2" || conflict.Revision != 0 {
		t.Fatalf("the import ended with %v", err)
	}
	if got := to.events("order-2"); got != "0:mine:{}" {
		t.Errorf("the target's own events became %s", got)
	}
}

// scavenged is a source that no longer has some revisions.
type scavenged struct {
	streams.UnimplementedStreamsServer
	real streams.StreamsClient
}

func (s scavenged) Read(req *streams.ReadReq, ss streams.Streams_ReadServer) error {
	call, err := s.real.Read(ss.Context(), req)
	if err != nil {
		return err
	}
	for {
		answer, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e := answer.GetEvent().GetEvent()
		if e != nil && string(e.GetStreamIdentifier().GetStreamName()) == "old" && e.GetStreamRevision() < 5 {
			continue
		}
		if err := ss.Send(answer); err != nil {
			return err
		}
	}
}

func TestImportKeepsRevisionsWhereTheSourceHasGaps(t *testing.T) {
	t.Parallel()
	real, to := newServer(t), newServer(t)
	real.write("$$old", stream.Any, one("$metadata", `{"$tb":2,"owner":"me"}`))
	var events []stream.Event
	for i := range 8 {
		events = append(events, one("e", fmt.Sprint(i)))
	}
	real.write("old", stream.NoStream, events...)
	real.write("$$old", stream.Any, one("$metadata", `{"owner":"you"}`))
	conn, err := grpc.NewClient(real.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := grpc.NewServer()
	streams.RegisterStreamsServer(proxy, scavenged{real: streams.NewStreamsClient(conn)})
	go func() { _ = proxy.Serve(l) }()
	defer proxy.Stop()

	o := Options{Source: "esdb://" + l.Addr().String() + "?tls=false", Target: to.connection(), MaxGap: 4}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--max-gap 5") {
		t.Fatalf("a gap larger than allowed: %v", err)
	}
	o.MaxGap = 5
	p, err := Run(t.Context(), o)
	if err != nil || p.Filled != 5 {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := to.events("old"); got != "5:e:5 6:e:6 7:e:7" {
		t.Errorf("the stream is %s", got)
	}
	if got := to.events("$$old"); !strings.Contains(got, `"owner":"you"`) || !strings.Contains(got, `"$tb":5`) {
		t.Errorf("its metadata is %s", got)
	}
	mustVerify(t, o)
	o.Restart = true
	if p, err = Run(t.Context(), o); err != nil || p.Filled != 0 {
		t.Errorf("again: %+v, %v", p, err)
	}
	mustVerify(t, o)
}

func TestImportFollowsALiveSource(t *testing.T) {
	t.Parallel()
	from, to := newServer(t), newServer(t)
	from.write("a", stream.Any, one("first", "{}"))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, Options{Source: from.connection(), Target: to.connection(), Follow: true})
		done <- err
	}()
	arrives := func(name, want string) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for began := time.Now(); to.events(name) != want; <-tick.C {
			if time.Since(began) > time.Minute {
				t.Fatalf("%s is %q, want %q", name, to.events(name), want)
			}
		}
	}
	arrives("a", "0:first:{}")
	from.write("a", stream.Any, one("second", "{}"))
	arrives("a", "0:first:{} 1:second:{}")
	stop()
	if err := <-done; err != nil {
		t.Errorf("ended by its user: %v", err)
	}
}

func TestConnectionStrings(t *testing.T) {
	good := map[string]Connection{
		"esdb://localhost?tls=false":                                    {Hosts: []string{"localhost:2113"}, Verify: true},
		"kurrentdb+discover://u:p%40@a:1,b:2/?tlsVerifyCert=false&x=y":  {Hosts: []string{"a:1", "b:2"}, User: "u", Password: "p@", TLS: true},
		"esdb://[::1]:2113,[::2]?tlsCaFile=/ca.pem&gossipTimeout=5":     {Hosts: []string{"[::1]:2113", "[::2]:2113"}, TLS: true, Verify: true, CAFile: "/ca.pem"},
		"KURRENT://admin:changeit@db.example.org:2113?keepAliveTimeout": {Hosts: []string{"db.example.org:2113"}, User: "admin", Password: "changeit", TLS: true, Verify: true},
	}
	for text, want := range good {
		got, err := ParseConnection(text)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "localhost:2113", "http://localhost", "esdb://", "esdb://a,,b", "esdb://secretuser@a", "esdb://a b", "esdb://a?%zz"} {
		if got, err := ParseConnection(text); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows a credential: %v", text, err)
		}
	}
}

func TestIDsAndMetadataSurvive(t *testing.T) {
	id := uuid.New()
	if got, err := idOf(wireID(id)); err != nil || got != id {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := idOf(&client.UUID{Value: &client.UUID_String_{String_: id.String()}}); err != nil || got != id {
		t.Errorf("as text: %v, %v", got, err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	for in, want := range map[string]string{"": "{}", "{}": "{}", `{"a":1}`: `{"a":1}`, ` { "a":1 } `: `{"a":1 }`} {
		out, kept := withCreated([]byte(in), at)
		if !kept || !strings.Contains(string(out), "2026-01-02T03:04:05.0000006Z") {
			t.Errorf("%q became %q, kept %t", in, out, kept)
		}
		if got := string(withoutCreated(out)); got != want {
			t.Errorf("%q came back as %q", in, got)
		}
		if again, _ := withCreated(out, at.Add(time.Hour)); string(again) != string(out) {
			t.Errorf("a second import changed %q to %q", out, again)
		}
	}
	for _, in := range []string{"[1]", "7", `{"a":`, "\xff"} {
		if out, kept := withCreated([]byte(in), at); kept || string(out) != in {
			t.Errorf("%q became %q", in, out)
		}
	}
	for document, first := range map[string]int64{"": 4, `{"$tb":2}`: 4, `{"$tb":9,"x":[1]}`: 4} {
		got, noted := withoutGap(withGap([]byte(document), first))
		if noted != first || string(got) != string(encoded(fieldsOf([]byte(document)))) {
			t.Errorf("%q came back as %q with %d", document, got, noted)
		}
	}
}
