package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"baton/test/fleet"
)

// natsCommand makes this program one NATS node instead of the benchmark: a process of its own, so that its CPU can be told apart.
const natsCommand = "nats-node"

// natsStream holds all events; every client stream is a subject of it.
const natsStream = "BENCH"

// serveNATS runs one node until it is told to stop. Arguments: number, directory, then a client port and a route port for each node.
func serveNATS(args []string) error {
	if len(args) < 4 {
		return errors.New("want: number directory clientPort,routePort...")
	}
	me, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var client, route []int
	for _, p := range args[2:] {
		var c, r int
		if _, err := fmt.Sscanf(p, "%d,%d", &c, &r); err != nil {
			return fmt.Errorf("ports %q: %w", p, err)
		}
		client, route = append(client, c), append(route, r)
	}
	var routes []string
	for i, r := range route {
		if i != me {
			routes = append(routes, fmt.Sprintf("nats://%s:%d", fleet.Host, r))
		}
	}
	opts := &server.Options{
		ServerName: natsName(me),
		Host:       fleet.Host, Port: client[me],
		JetStream: true, StoreDir: args[1],
		SyncAlways: true, // synced before the acknowledgement, as ours is
		NoLog:      true,
		Cluster:    server.ClusterOpts{Name: "bench", Host: fleet.Host, Port: route[me]},
		Routes:     server.RoutesFromStr(strings.Join(routes, ",")),
		NoSigs:     true,
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.Start()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	s.Shutdown()
	return nil
}

func natsName(i int) string { return fmt.Sprintf("n%d", i+1) }

type natsTarget struct {
	dir    string
	client []int
	route  []int
	killed int // node that killLeader ended, -1: none

	mu    sync.Mutex
	procs []*exec.Cmd
	conns map[int]*nats.Conn
}

func newNATS(dir string) target {
	return &natsTarget{dir: filepath.Join(dir, "nats"), killed: -1, conns: map[int]*nats.Conn{}}
}

func (t *natsTarget) name() string { return "nats" }

func (t *natsTarget) logs() string { return "" }

func (t *natsTarget) start(settle time.Duration) error {
	ports, err := fleet.FreePorts(6)
	if err != nil {
		return err
	}
	t.client, t.route = ports[:3], ports[3:]
	t.procs = make([]*exec.Cmd, 3)
	for i := range t.procs {
		if err := t.spawn(i); err != nil {
			return err
		}
	}
	err = fleet.Await(settle, "a stream with three replicas", func() (bool, string) {
		if err := t.createStream(); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	if err != nil {
		return err
	}
	return t.settled(settle)
}

func (t *natsTarget) spawn(i int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{natsCommand, strconv.Itoa(i), filepath.Join(t.dir, natsName(i))}
	for j := range t.client {
		args = append(args, fmt.Sprintf("%d,%d", t.client[j], t.route[j]))
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	t.procs[i] = cmd
	return nil
}

func (t *natsTarget) createStream() error {
	js, err := t.js(0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: natsStream, Subjects: []string{"b.>"}, Replicas: 3, Storage: jetstream.FileStorage,
	})
	return err
}

func (t *natsTarget) close() {
	for _, c := range t.conns {
		c.Close()
	}
	for _, p := range t.procs {
		if p != nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	}
}

func (t *natsTarget) pids() []int {
	var pids []int
	for _, p := range t.procs {
		if p != nil {
			pids = append(pids, p.Process.Pid)
		}
	}
	return pids
}

// js returns the JetStream context of a shared connection that knows all servers.
func (t *natsTarget) js(conn int, opts ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.conns[conn]
	if c == nil {
		var urls []string
		for _, p := range t.client {
			urls = append(urls, fmt.Sprintf("nats://%s:%d", fleet.Host, p))
		}
		var err error
		c, err = nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
			nats.ReconnectJitter(0, 0), nats.Timeout(2*time.Second))
		if err != nil {
			return nil, err
		}
		t.conns[conn] = c
	}
	return jetstream.New(c, opts...)
}

// wrongLastSequenceInFlight is the server's code for a refusal that does not name the last sequence.
const wrongLastSequenceInFlight jetstream.ErrorCode = 10164

type natsAppender struct {
	js      jetstream.JetStream
	subject string
	last    uint64 // sequence of the subject's newest message
	known   bool
}

func (t *natsTarget) appender(_ context.Context, conn int, stream string) (appender, error) {
	js, err := t.js(conn)
	if err != nil {
		return nil, err
	}
	return &natsAppender{js: js, subject: "b." + stream}, nil
}

func (a *natsAppender) append(ctx context.Context, payload []byte) error {
	opts := []jetstream.PublishOpt{jetstream.WithRetryAttempts(0)}
	if a.known {
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(a.last))
	}
	ack, err := a.js.Publish(ctx, a.subject, payload, opts...)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || refused.ErrorCode == wrongLastSequenceInFlight) {
		// With one writer a subject this refusal is false; it happens while others are in flight. Asked again
		// without an expectation, so that the measurement goes on.
		ack, err = a.js.Publish(ctx, a.subject, payload, jetstream.WithRetryAttempts(0))
	}
	if err != nil {
		a.known = false // the outcome is unknown: name no sequence next time
		return err
	}
	a.last, a.known = ack.Sequence, true
	return nil
}

func (t *natsTarget) pipeline(ctx context.Context, stream string, window int, payload []byte, acked func()) error {
	// A number no appender uses: a connection of its own. Windows are counted here, as for every target.
	js, err := t.js(1000+int(stream[len(stream)-1]), jetstream.WithPublishAsyncMaxPending(window))
	if err != nil {
		return err
	}
	flight := make(chan jetstream.PubAckFuture, window)
	result := make(chan error, 1)
	go func() {
		for f := range flight {
			select {
			case <-f.Ok():
				if ctx.Err() == nil {
					acked()
				}
			case err := <-f.Err():
				result <- err
				for range flight {
				}
				return
			}
		}
		result <- nil
	}()
	for ctx.Err() == nil {
		f, err := js.PublishAsync("b."+stream, payload, jetstream.WithStallWait(5*time.Second))
		if err != nil {
			close(flight)
			<-result
			return err
		}
		flight <- f
	}
	close(flight)
	return <-result
}

func (t *natsTarget) fill(ctx context.Context, n int, payload []byte) error {
	js, err := t.js(2000, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		return err
	}
	for range n {
		if _, err := js.PublishAsync("b.fill", payload, jetstream.WithStallWait(10*time.Second)); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *natsTarget) read(ctx context.Context, n int) (int, error) {
	js, err := t.js(3000)
	if err != nil {
		return 0, err
	}
	c, err := js.OrderedConsumer(ctx, natsStream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return 0, err
	}
	it, err := c.Messages(jetstream.PullMaxMessages(10_000))
	if err != nil {
		return 0, err
	}
	defer it.Stop()
	for i := range n {
		if _, err := it.Next(); err != nil {
			return i, err
		}
	}
	return n, nil
}

func (t *natsTarget) info() (*jetstream.StreamInfo, error) {
	js, err := t.js(4000)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := js.Stream(ctx, natsStream)
	if err != nil {
		return nil, err
	}
	return s.Info(ctx)
}

func (t *natsTarget) settled(settle time.Duration) error {
	return fleet.Await(settle, "a leader with two current replicas", func() (bool, string) {
		info, err := t.info()
		if err != nil {
			return false, err.Error()
		}
		if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != 2 {
			return false, fmt.Sprintf("%+v", info.Cluster)
		}
		for _, r := range info.Cluster.Replicas {
			if !r.Current || r.Offline || r.Lag > 1000 {
				return false, fmt.Sprintf("%+v", r)
			}
		}
		return true, ""
	})
}

func (t *natsTarget) killLeader() error {
	info, err := t.info()
	if err != nil {
		return err
	}
	for i, p := range t.procs {
		if natsName(i) == info.Cluster.Leader {
			if err := p.Process.Kill(); err != nil {
				return err
			}
			_ = p.Wait() // killed: its state says so
			t.procs[i], t.killed = nil, i
			return nil
		}
	}
	return fmt.Errorf("no process is the leader %q", info.Cluster.Leader)
}

func (t *natsTarget) recover(settle time.Duration) error {
	if err := t.spawn(t.killed); err != nil {
		return err
	}
	return t.settled(settle)
}

func (t *natsTarget) moveLeader(ctx context.Context) error {
	before, err := t.info()
	if err != nil {
		return err
	}
	t.mu.Lock()
	c := t.conns[4000]
	t.mu.Unlock()
	msg, err := c.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+natsStream, nil)
	if err != nil {
		return err
	}
	var answer struct {
		Success bool
		Error   *struct{ Description string }
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return err
	}
	if !answer.Success {
		return fmt.Errorf("step down: %s", msg.Data)
	}
	return fleet.Await(10*time.Second, "another leader", func() (bool, string) {
		info, err := t.info()
		if err != nil {
			return false, err.Error()
		}
		return info.Cluster.Leader != "" && info.Cluster.Leader != before.Cluster.Leader, info.Cluster.Leader
	})
}
