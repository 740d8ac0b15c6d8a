package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	"baton/test/fleet"
)

// load is a number of writers, each appending to a stream of its own with the exact revision it expects, repeating an
// append with the same id until it is acknowledged. It knows every acknowledged event and the longest time in which
// no writer at all had an answer.
type load struct {
	f      *fleet.Fleet
	cancel context.CancelFunc
	wg     sync.WaitGroup
	conns  []*grpc.ClientConn // one for each node
	writer []*writer

	machine  *fleet.Machine
	mu       sync.Mutex
	lastAck  time.Time
	longest  fleet.Gap // since mark
	acks     int       // since mark
	failures int       // calls that ended with an error, since mark
	lastErr  error
	broken   error // an answer that must never be
}

type writer struct {
	stream string
	acked  []uuid.UUID // by revision
}

// tryFor bounds one call; a patient client would wait as long.
const tryFor = 3 * time.Second

func startLoad(t *testing.T, f *fleet.Fleet, writers int, more ...grpc.DialOption) *load {
	t.Helper()
	machine, err := fleet.WatchMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(machine.Stop)
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{f: f, cancel: cancel, lastAck: time.Now(), machine: machine}
	for _, n := range f.Nodes {
		c, err := grpc.NewClient("passthrough:///"+n.Address(), append(more, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		if err != nil {
			t.Fatal(err)
		}
		l.conns = append(l.conns, c)
	}
	for i := range writers {
		w := &writer{stream: fmt.Sprintf("load-%d-%s", i, uuid.NewString()[:8])}
		l.writer = append(l.writer, w)
		l.wg.Go(func() { l.write(ctx, w, i%len(l.conns)) })
	}
	t.Cleanup(l.stop)
	return l
}

// stop ends the writers; it may be called twice.
func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
	for _, c := range l.conns {
		c.Close()
	}
}

func (l *load) write(ctx context.Context, w *writer, node int) {
	for ctx.Err() == nil {
		id := uuid.New()
		for ctx.Err() == nil {
			revision, err := l.append(ctx, node, w, id)
			if err == nil {
				l.ack(w, id, revision)
				break
			}
			if ctx.Err() != nil {
				return
			}
			l.fail(err)
			node = (node + 1) % len(l.conns)
			select {
			case <-ctx.Done():
			case <-time.After(10*time.Millisecond + rand.N(20*time.Millisecond)):
			}
		}
	}
}

// append makes one call and returns the event's revision.
func (l *load) append(ctx context.Context, node int, w *writer, id uuid.UUID) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	call, err := streams.NewStreamsClient(l.conns[node]).Append(ctx)
	if err != nil {
		return 0, err
	}
	o := &streams.AppendReq_Options{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(w.stream)}}
	if next := len(w.acked); next > 0 {
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: uint64(next - 1)}
	} else {
		o.ExpectedStreamRevision = &streams.AppendReq_Options_NoStream{NoStream: &client.Empty{}}
	}
	if err := call.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}}); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	m := &streams.AppendReq_ProposedMessage{
		Id:       &client.UUID{Value: &client.UUID_String_{String_: id.String()}},
		Metadata: map[string]string{"type": "load", "content-type": "application/octet-stream"}, Data: payload,
	}
	if err := call.Send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: m}}); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	resp, err := call.CloseAndRecv()
	if err != nil {
		return 0, err
	}
	if resp.GetSuccess() == nil {
		err := fmt.Errorf("the only writer of %s, at revision %d, is refused: %v", w.stream, len(w.acked)-1, resp)
		l.mu.Lock()
		l.broken = err
		l.mu.Unlock()
		return 0, err
	}
	return resp.GetSuccess().GetCurrentRevision(), nil
}

var payload = make([]byte, 256)

func (l *load) ack(w *writer, id uuid.UUID, revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if revision != uint64(len(w.acked)) {
		l.broken = fmt.Errorf("%s: acknowledged at revision %d, %d is due", w.stream, revision, len(w.acked))
	}
	w.acked = append(w.acked, id)
	now := time.Now()
	if now.Sub(l.lastAck) > l.longest.Length() {
		l.longest = fleet.Gap{From: l.lastAck, To: now}
	}
	l.lastAck = now
	l.acks++
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	l.lastErr = err
}

// around runs act while writes flow and returns the longest time without any acknowledgement from just before it until
// writes flow again, and how many calls failed.
func (l *load) around(t *testing.T, act func()) (gap fleet.Gap, failures int) {
	t.Helper()
	l.flow(t)
	l.mu.Lock()
	l.longest, l.failures = fleet.Gap{}, 0
	l.mu.Unlock()
	act()
	l.flow(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.longest, l.failures
}

// flow waits until twice as many appends as there are writers were acknowledged from now on.
func (l *load) flow(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	l.acks = 0
	l.mu.Unlock()
	err := fleet.Await(2*time.Minute, "writes to flow", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.acks >= 2*len(l.writer), fmt.Sprintf("%d acknowledged, last error %v", l.acks, l.lastErr)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// verify stops the load and reads every acknowledged event back from every node. It returns how many there were.
func (l *load) verify(t *testing.T) int {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	if l.broken != nil {
		t.Error(l.broken)
	}
	if _, err := l.f.AwaitSamePosition(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	total, lost := 0, 0
	for i, n := range l.f.Nodes {
		if !n.Running() {
			continue
		}
		total = 0
		for _, w := range l.writer {
			got, err := readStream(l.conns[i], w.stream)
			if err != nil {
				t.Fatalf("%s: read %s: %v", n.Name, w.stream, err)
			}
			for r, id := range w.acked {
				total++
				if r >= len(got) || got[r] != id {
					lost++
				}
			}
			// One append more may have been stored than was acknowledged: the one under way at the end.
			if len(got) > len(w.acked)+1 {
				t.Errorf("%s holds %d events of %s, %d were written: something is stored twice", n.Name, len(got), w.stream, len(w.acked))
			}
		}
		if lost > 0 {
			t.Errorf("%s lacks %d acknowledged events", n.Name, lost)
		}
	}
	return total
}

// readStream returns the ids of a stream by revision. Like a client it asks again while the node is not to be reached:
// its connection may be of before the node's last start.
func readStream(c *grpc.ClientConn, stream string) (ids []uuid.UUID, err error) {
	last := fleet.Await(time.Minute, "a read of "+stream, func() (bool, string) {
		ids, err = readOnce(c, stream)
		code := status.Code(err)
		return code != codes.Unavailable && code != codes.DeadlineExceeded, fmt.Sprint(err)
	})
	if last != nil {
		return nil, last
	}
	return ids, err
}

func readOnce(c *grpc.ClientConn, stream string) ([]uuid.UUID, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	call, err := streams.NewStreamsClient(c).Read(ctx, &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(stream)},
			RevisionOption:   &streams.ReadReq_Options_StreamOptions_Start{Start: &client.Empty{}},
		}},
		CountOption:  &streams.ReadReq_Options_Count{Count: 1 << 40},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{String_: &client.Empty{}}},
	}})
	if err != nil {
		return nil, err
	}
	var ids []uuid.UUID
	for {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		if e := m.GetEvent().GetEvent(); e != nil {
			id, err := uuid.Parse(e.GetId().GetString_())
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
