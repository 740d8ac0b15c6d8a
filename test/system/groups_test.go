package system

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"
	"baton/test/fleet"
)

const (
	groupMoves = 20
	// groupStall is the longest time in which consumers may get nothing although events come, the machine's own stalls left out.
	groupStall = 5 * time.Second
)

// crowd is a number of consumers of one group that acknowledge what they get and look for the leader when they lose it.
type crowd struct {
	f     *fleet.Fleet
	conns []*grpc.ClientConn
	name  string // of the stream, when not all
	group string

	mu      sync.Mutex
	acked   map[uuid.UUID]int // by event: how often its acknowledgement was sent
	total   int
	last    time.Time
	longest fleet.Gap // without an event
	lastErr error
}

func (c *crowd) consume(ctx context.Context, node int) {
	for ctx.Err() == nil {
		err := c.session(ctx, &node)
		c.mu.Lock()
		c.lastErr = err
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// session is one call, at node; a refusal names the node to ask next.
func (c *crowd) session(ctx context.Context, node *int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := persistent.NewPersistentSubscriptionsClient(c.conns[*node]).Read(ctx)
	if err != nil {
		*node = (*node + 1) % len(c.conns)
		return err
	}
	if err := call.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Options_{Options: &persistent.ReadReq_Options{GroupName: c.group, BufferSize: 50, StreamOption: c.source(),
		UuidOption: &persistent.ReadReq_Options_UUIDOption{Content: &persistent.ReadReq_Options_UUIDOption_String_{String_: &client.Empty{}}}}}}); err == nil {
		for {
			var m *persistent.ReadResp
			if m, err = call.Recv(); err != nil {
				break
			}
			e := m.GetEvent().GetEvent()
			if e == nil {
				continue
			}
			id, parsed := uuid.Parse(e.GetId().GetString_())
			if parsed != nil {
				return parsed
			}
			c.note(id)
			if err = call.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Ack_{Ack: &persistent.ReadReq_Ack{Ids: []*client.UUID{e.GetId()}}}}); err != nil {
				break
			}
		}
	}
	*node = c.after(call.Trailer(), *node)
	return err
}

func (c *crowd) source() *persistent.ReadReq_Options_StreamIdentifier {
	return &persistent.ReadReq_Options_StreamIdentifier{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(c.name)}}
}

// after picks the node that a refusal names, else the next one.
func (c *crowd) after(trailer metadata.MD, node int) int {
	if port := trailer.Get("leader-endpoint-port"); len(port) == 1 {
		for i, n := range c.f.Nodes {
			if strconv.Itoa(n.ClientPort) == port[0] {
				return i
			}
		}
	}
	return (node + 1) % len(c.conns)
}

func (c *crowd) note(id uuid.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if !c.last.IsZero() && now.Sub(c.last) > c.longest.Length() {
		c.longest = fleet.Gap{From: c.last, To: now}
	}
	c.last = now
	c.acked[id]++
	c.total++
}

// flow waits until so many events more have come.
func (c *crowd) flow(t *testing.T, more int) {
	t.Helper()
	c.mu.Lock()
	from := c.total
	c.mu.Unlock()
	err := fleet.Await(formWithin, "events to reach the group's consumers", func() (bool, string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.total >= from+more, fmt.Sprintf("%d of %d came, last error %v", c.total-from, more, c.lastErr)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// createGroup makes a group from the start of a stream, at whichever node leads.
func createGroup(t *testing.T, c *crowd) {
	t.Helper()
	req := &persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: c.group,
		StreamOption: &persistent.CreateReq_Options_Stream{Stream: &persistent.CreateReq_StreamOptions{
			StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(c.name)}, RevisionOption: &persistent.CreateReq_StreamOptions_Start{Start: &client.Empty{}}}},
		Settings: &persistent.CreateReq_Settings{MaxRetryCount: 1000, MinCheckpointCount: 10, MaxCheckpointCount: 200, LiveBufferSize: 500, ReadBatchSize: 20, HistoryBufferSize: 500,
			MessageTimeout:   &persistent.CreateReq_Settings_MessageTimeoutMs{MessageTimeoutMs: 10_000},
			CheckpointAfter:  &persistent.CreateReq_Settings_CheckpointAfterMs{CheckpointAfterMs: 200},
			ConsumerStrategy: "RoundRobin"}}}
	node := 0
	err := fleet.Await(formWithin, "the group to be made", func() (bool, string) {
		var trailer metadata.MD
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := persistent.NewPersistentSubscriptionsClient(c.conns[node]).Create(ctx, req, grpc.Trailer(&trailer))
		if err == nil || status.Code(err) == codes.AlreadyExists {
			return true, ""
		}
		node = c.after(trailer, node)
		return false, err.Error()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Goal: a persistent subscription survives leader changes: every acknowledged event reaches a consumer and is acknowledged, none is skipped, nothing stands still.
// Method: writers and consumers under way while leadership moves, by request and by kill -9 of the leader.
func TestPersistentSubscriptionSurvivesLeaderChanges(t *testing.T) {
	f := startFleet(t, fleet.Options{Nodes: 3}, 2, 0)
	l := startLoad(t, f, 1)
	w := l.writer[0]
	c := &crowd{f: f, conns: l.conns, name: w.stream, group: "crowd", acked: map[uuid.UUID]int{}}
	createGroup(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	for i := range 3 {
		wg.Go(func() { c.consume(ctx, i) })
	}
	c.flow(t, 100)
	var gaps []fleet.Gap
	for run := range groupMoves {
		c.mu.Lock()
		c.longest = fleet.Gap{}
		c.mu.Unlock()
		if run%5 == 4 {
			killed := inRole(t, f, "Leader")
			killed.Kill()
			c.flow(t, 20)
			if err := killed.Start(); err != nil {
				t.Fatal(err)
			}
			if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
				t.Fatal(err)
			}
		} else {
			promote(t, f, inRole(t, f, "Follower"), "leader")
			c.flow(t, 20)
		}
		c.mu.Lock()
		gaps = append(gaps, c.longest)
		c.mu.Unlock()
	}
	acked := l.verify(t)
	err := fleet.Await(formWithin, "every event to be handled", func() (bool, string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.missing(w.acked) == 0, fmt.Sprintf("%d of %d events never came", c.missing(w.acked), len(w.acked))
	})
	if err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	line, ok := l.machine.Judge(gaps, groupStall, groupStall)
	fmt.Printf("=> | persistent subscription, 3 consumers, %d leader changes | %s without an event | %d events written, all acknowledged by consumers, %d deliveries |\n",
		groupMoves, line, acked, c.total)
	if !ok {
		t.Errorf("consumers stood still for too long: %s", line)
	}
}

// missing counts the events that no consumer had.
func (c *crowd) missing(ids []uuid.UUID) (n int) {
	for _, id := range ids {
		if c.acked[id] == 0 {
			n++
		}
	}
	return n
}
