package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"

	"baton/eventstore/membership"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// station is one end of the network under test.
type station struct {
	network *Network
	id      membership.MemberID
	address string

	mu       sync.Mutex
	messages []*raftpb.Message
	statuses []string
	lost     []bool
	refused  []*RefusedError
}

func newStation(t *testing.T, id membership.MemberID, address, clusterID string) *station {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &station{id: id, address: listener.Addr().String()}
	s.network = New(Options{Listener: listener, Handler: Handler{
		Hello:   func() Hello { return Hello{ClusterID: clusterID, From: id, FromAddr: s.address} },
		Welcome: func(h Hello) Welcome { return Judge(h, id, clusterID, false) },
		Raft: func(messages []*raftpb.Message) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.messages = append(s.messages, messages...)
		},
		Status: func(_ membership.MemberID, payload []byte) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.statuses = append(s.statuses, string(payload))
		},
		Request: func(_ context.Context, from membership.MemberID, kind uint8, payload []byte) ([]byte, error) {
			if kind == 9 {
				return nil, errors.New("no such thing")
			}
			return fmt.Appendf(nil, "%s/%d/%s", from, kind, payload), nil
		},
		Lost: func(_ membership.MemberID, refused bool) {
			s.mu.Lock()
			s.lost = append(s.lost, refused)
			s.mu.Unlock()
		},
		Refused: func(err *RefusedError) { s.mu.Lock(); s.refused = append(s.refused, err); s.mu.Unlock() },
	}})
	t.Cleanup(s.network.Close)
	return s
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	deadline := time.Now().Add(time.Minute)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
		<-poll.C
	}
}

func (s *station) count(f func() int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

func join(t *testing.T, a, b *station) {
	t.Helper()
	a.network.SetTargets([]Target{{ID: b.id, Address: b.address}})
	eventually(t, "link comes up", func() bool { return a.network.Up(b.id) })
}

func message(from, to uint64, index uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: &from, To: &to, Index: &index,
		Entries: []*raftpb.Entry{{Index: &index, Data: bytes.Repeat([]byte{7}, 3000)}}}
}

func TestMessagesStatusAndRequestsArrive(t *testing.T) {
	a, b := newStation(t, 1, "127.0.0.1:0", "c"), newStation(t, 2, "127.0.0.1:0", "c")
	join(t, a, b)
	var batch []*raftpb.Message
	for i := range uint64(100) {
		batch = append(batch, message(1, 2, i))
	}
	a.network.Send(batch)
	a.network.Broadcast([]byte("fine"))
	eventually(t, "messages arrive", func() bool { return b.count(func() int { return len(b.messages) }) == 100 })
	for i, m := range b.messages {
		if m.GetIndex() != uint64(i) || len(m.GetEntries()[0].GetData()) != 3000 {
			t.Fatalf("message %d is %v", i, m)
		}
	}
	eventually(t, "status arrives", func() bool { return b.count(func() int { return len(b.statuses) }) == 1 })
	answer, err := a.network.Request(context.Background(), 2, 3, []byte("hello"))
	if err != nil || string(answer) != "0000000000000001/3/hello" {
		t.Errorf("answer %q, %v", answer, err)
	}
	var remote *RemoteError
	if _, err := a.network.Request(context.Background(), 2, 9, nil); !errors.As(err, &remote) || remote.Text != "no such thing" {
		t.Errorf("a failing request: %v", err)
	}
	if _, err := a.network.Request(context.Background(), 7, 3, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("an unknown member: %v", err)
	}
}

func TestLinkComesBackAfterARestart(t *testing.T) {
	a, b := newStation(t, 1, "127.0.0.1:0", "c"), newStation(t, 2, "127.0.0.1:0", "c")
	join(t, a, b)
	b.network.Close()
	eventually(t, "the dead process is noticed", func() bool {
		return a.count(func() int {
			for _, refused := range a.lost {
				if refused {
					return 1
				}
			}
			return 0
		}) == 1
	})
	_ = newStation(t, 2, b.address, "c")
	eventually(t, "the link comes back", func() bool { return a.network.Up(2) })
	if answer, err := a.network.Request(context.Background(), 2, 3, []byte("x")); err != nil || len(answer) == 0 {
		t.Errorf("after the restart: %q, %v", answer, err)
	}
}

func TestWrongClusterAndWrongMemberAreRefused(t *testing.T) {
	a, b := newStation(t, 1, "127.0.0.1:0", "c"), newStation(t, 2, "127.0.0.1:0", "other")
	a.network.SetTargets([]Target{{ID: 2, Address: b.address}})
	eventually(t, "another cluster refuses", func() bool { return a.count(func() int { return len(a.refused) }) > 0 })
	d := newStation(t, 4, "127.0.0.1:0", "c")
	d.network.SetTargets([]Target{{ID: 3, Address: a.address}})
	eventually(t, "another member refuses", func() bool { return d.count(func() int { return len(d.refused) }) > 0 })
	if a.network.Up(2) || d.network.Up(3) {
		t.Error("a refused link is up")
	}
}

// Goal: whatever comes in, the connection ends and nothing else happens.
func TestMalformedFramesEndTheConnectionOnly(t *testing.T) {
	a := newStation(t, 1, "127.0.0.1:0", "c")
	hello := appendFrame(nil, frameHello, []byte(`{"protocol":1,"clusterId":"c","from":"0000000000000002"}`))
	corrupt := appendFrame(nil, frameStatus, []byte("status"))
	corrupt[len(corrupt)-1] ^= 1
	cases := map[string][]byte{
		"noise":                    []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n and more than a header"),
		"huge hello":               {255, 255, 255, 255, frameHello, 0, 0, 0, 0, 0, 0, 0},
		"no hello":                 appendFrame(nil, frameStatus, []byte("x")),
		"bad JSON":                 appendFrame(nil, frameHello, []byte("{")),
		"corrupt status":           append(bytes.Clone(hello), corrupt...),
		"short request":            appendFrame(bytes.Clone(hello), frameRequest, []byte("short")),
		"answer from the dialer":   appendFrame(bytes.Clone(hello), frameAnswer, make([]byte, 9)),
		"raft of no message":       appendFrame(bytes.Clone(hello), frameRaft, []byte{9, 0, 0, 0, 1}),
		"raft in another's name":   mustRaft(bytes.Clone(hello), message(3, 1, 1)),
		"frame beyond the maximum": append(bytes.Clone(hello), 255, 255, 255, 255, frameStatus, 0, 0, 0, 0, 0, 0, 0),
	}
	for name, input := range cases {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", a.address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := conn.Write(input); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			buffer := make([]byte, 4096)
			for {
				if _, err := conn.Read(buffer); err != nil {
					var timeout net.Error
					if errors.As(err, &timeout) && timeout.Timeout() {
						t.Error("the connection stays open")
					}
					return
				}
			}
		})
	}
	if len(a.messages)+len(a.statuses) > 0 {
		t.Errorf("something got through: %v %v", a.messages, a.statuses)
	}
}

func mustRaft(dst []byte, m *raftpb.Message) []byte {
	out, err := appendRaft(dst, []*raftpb.Message{m})
	if err != nil {
		panic(err)
	}
	return out
}

func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(nil, frameStatus, []byte("status")))
	f.Add(mustRaft(nil, message(1, 2, 3)))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		frames := frameReader{r: bytes.NewReader(data), limit: 1 << 20}
		for {
			frameType, payload, err := frames.next()
			if err != nil {
				return
			}
			again := appendFrame(nil, frameType, payload)
			if len(again) != frameHeaderBytes+len(payload) {
				t.Fatal("a frame changed its size")
			}
			if frameType == frameRaft {
				_, _ = parseRaft(payload)
			}
		}
	})
}
