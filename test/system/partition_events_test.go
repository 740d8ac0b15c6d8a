package system

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"baton/test/fleet"
)

// partedEvents is a cluster of the event store in which each node has a
// machine of its own, and clients two.
type partedEvents struct {
	t               *testing.T
	net             *network
	fleet           *fleet.Fleet
	followers       int
	clones          int
	load            *load // from the machine outside
	outside, beside *space
}

func startPartedEvents(t *testing.T, voters, clones int) *partedEvents {
	t.Helper()
	names := []string{"outside", "beside"}
	for i := range voters + clones {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	n := newNetwork(t, names...)
	s := &partedEvents{t: t, net: n, followers: voters - 1, clones: clones, outside: n.at("outside"), beside: n.at("beside")}
	o := fleet.Options{Nodes: voters + clones, ClusterSize: voters,
		Spawn: func(i int, start func() error) error { return n.at(fmt.Sprintf("n%d", i+1)).within(start) },
		HTTP:  &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: s.outside.dial}}}
	for i := range o.Nodes {
		o.Hosts = append(o.Hosts, n.at(fmt.Sprintf("n%d", i+1)).ip)
	}
	s.fleet = startFleet(t, o, s.followers, clones)
	s.load = startLoad(t, s.fleet, 8, dialFrom(s.outside)...)
	return s
}

// dialFrom has a client's connections begin on a machine, tried again soon.
func dialFrom(from *space) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return from.dial(ctx, "tcp", address) }),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second}, MinConnectTimeout: time.Second}),
	}
}

func (s *partedEvents) space(n *fleet.Node) *space { return s.net.at(n.Name) }

// sides are the leader, and so many of the followers and clones.
func (s *partedEvents) some(leader bool, followers, clones int) (out []*fleet.Node) {
	s.t.Helper()
	var v *fleet.View
	l, err := s.fleet.AwaitLeader(formWithin, nil)
	if err == nil {
		v, err = l.View()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range v.Members {
		n := s.fleet.ByName(m.Name)
		switch {
		case n == nil:
		case m.Role == "Leader" && leader:
			out = append([]*fleet.Node{n}, out...)
		case m.Role == "Follower" && followers > 0:
			followers--
			out = append(out, n)
		case m.Role == "Clone" && clones > 0:
			clones--
			out = append(out, n)
		}
	}
	return out
}

func (s *partedEvents) spaces(nodes []*fleet.Node) (out []*space) {
	for _, n := range nodes {
		out = append(out, s.space(n))
	}
	return out
}

// partedAppender appends to one node from the machine beside, as a client that
// knows no other.
type partedAppender struct {
	l     *load
	mu    sync.Mutex
	sent  []time.Time // of acknowledged appends
	tries int         // begun
	stop  context.CancelFunc
	done  chan struct{}
}

func (s *partedEvents) appendTo(n *fleet.Node) *partedAppender {
	s.t.Helper()
	c, err := grpc.NewClient("passthrough:///"+n.Address(), append(dialFrom(s.beside), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &partedAppender{l: &load{conns: []*grpc.ClientConn{c}}, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer c.Close()
		a.run(ctx)
	}()
	s.t.Cleanup(a.end)
	s.await("appends to "+n.Name, func() (bool, string) { return a.count() > 0, "" })
	return a
}

func (a *partedAppender) end() {
	a.stop()
	<-a.done
}

// partedTry bounds one append of a client beside: most are made in vain.
const partedTry = 700 * time.Millisecond

// run appends, each event to a stream of its own so that no answer but a
// commit can come.
func (a *partedAppender) run(ctx context.Context) {
	for ctx.Err() == nil {
		w := &writer{stream: "beside-" + uuid.NewString()}
		sent := time.Now()
		a.mu.Lock()
		a.tries++
		a.mu.Unlock()
		soon, cancel := context.WithTimeout(ctx, partedTry)
		_, err := a.l.append(soon, 0, w, uuid.New())
		cancel()
		a.mu.Lock()
		if err == nil {
			a.sent = append(a.sent, sent)
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (a *partedAppender) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.sent)
}

// between counts the acknowledged appends that were sent between two moments.
func (a *partedAppender) between(from, to time.Time) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.sent {
		if at.After(from) && at.Before(to) {
			n++
		}
	}
	return n
}

func (s *partedEvents) await(what string, ok func() (bool, string)) {
	s.t.Helper()
	if err := fleet.Await(formWithin, what, ok); err != nil {
		s.t.Fatal(err)
	}
}

// partedEventCase is one partition of a cluster of the event store.
type partedEventCase struct {
	name  string
	short bool
	// moves: another leads afterwards, as those see it that it serves.
	moves bool
	// few are on the side that must acknowledge nothing; the first of them is
	// what the client beside appends to.
	few func(s *partedEvents) []*fleet.Node
	cut func(s *partedEvents, few []*space)
}

func cutOff(s *partedEvents, few []*space) {
	few = append(few, s.beside)
	s.net.cut(few, s.net.rest(few...))
}

var partedEventCases = []partedEventCase{
	{name: "leader and a clone cut off", short: true, moves: true, few: func(s *partedEvents) []*fleet.Node { return s.some(true, 0, 1) }, cut: cutOff},
	{name: "one way: nothing of the leader arrives", short: true, moves: true, few: func(s *partedEvents) []*fleet.Node { return s.some(true, 0, 0) },
		cut: func(s *partedEvents, few []*space) { s.net.oneWay(few, s.net.rest(few[0], s.beside)) }},
	{name: "one way: nothing arrives at the leader", moves: true, few: func(s *partedEvents) []*fleet.Node { return s.some(true, 0, 0) },
		cut: func(s *partedEvents, few []*space) { s.net.oneWay(s.net.rest(few[0], s.beside), few) }},
	{name: "a follower and a clone cut off", few: func(s *partedEvents) []*fleet.Node { return s.some(false, 1, 1) }, cut: cutOff},
	{name: "both clones cut off", few: func(s *partedEvents) []*fleet.Node { return s.some(false, 0, 2) }, cut: cutOff},
}

// TestPartitionsOfTheEventStore: five nodes, three voters and two clones, each
// on a machine of its own. While a partition lasts the side without a majority
// acknowledges no append that was sent after it began, the other goes on; when
// it ends all are one cluster again, and every acknowledged event is on every
// node.
func TestPartitionsOfTheEventStore(t *testing.T) {
	t.Parallel() // on a network of its own
	s := startPartedEvents(t, 3, 2)
	tried, refused := 0, 0
	for _, c := range partedEventCases {
		if c.short || allPartitions() {
			refused += s.try(&c)
			tried++
		}
	}
	acked := s.load.verify(t)
	fmt.Printf("=> | partitions of a cluster of five nodes in network namespaces | %d of %d tried (all: %s=all) | 0 of %d appends to the few acknowledged | %d acknowledged, all read back from 5 nodes |\n",
		tried, len(partedEventCases), partitionsVariable, refused, acked)
}

// try makes one partition and ends it; it returns how many appends the side of
// the few was asked for meanwhile.
func (s *partedEvents) try(c *partedEventCase) (asked int) {
	s.t.Helper()
	few := c.few(s)
	leader := s.some(true, 0, 0)[0]
	a := s.appendTo(few[0])
	defer a.end()
	gap, _ := s.load.around(s.t, func() {
		c.cut(s, s.spaces(few))
		began, tries := time.Now(), a.asked()
		if c.moves {
			s.otherLeader(few)
		}
		s.load.flow(s.t)
		s.await("the few to be asked: "+c.name, func() (bool, string) { return a.asked() > tries+1, "" })
		until := time.Now()
		asked = a.asked() - tries
		s.net.heal()
		if n := a.between(began, until); n > 0 {
			s.t.Errorf("%s: %s acknowledged %d appends that were sent while it was cut off from a majority", c.name, few[0].Name, n)
		}
	})
	healed := time.Now()
	if err := s.fleet.AwaitRoles(formWithin, s.followers, s.clones); err != nil {
		s.t.Fatalf("%s: %v", c.name, err)
	}
	now, err := s.fleet.AwaitLeader(formWithin, nil)
	if err != nil {
		s.t.Fatalf("%s: %v", c.name, err)
	}
	if !c.moves && now != leader {
		s.t.Logf("%s: %s leads, it was %s; a machine that stands still may bring that", c.name, now.Name, leader.Name)
	}
	fmt.Printf("=> | partition: %s | led by %s, then %s | longest gap outside %s | whole again %.1f s after its end |\n",
		c.name, leader.Name, now.Name, ms(gap.Length()), time.Since(healed).Seconds())
	return asked
}

// otherLeader waits until one that is not of the few leads, as the others see it.
func (s *partedEvents) otherLeader(few []*fleet.Node) {
	s.t.Helper()
	s.await("a leader that is not cut off", func() (bool, string) {
		for _, n := range s.fleet.Nodes {
			if slices.Contains(few, n) {
				continue
			}
			v, err := n.View()
			if err != nil {
				return false, err.Error()
			}
			for _, m := range v.Members {
				if m.ID == v.Leader && m.Role == "Leader" && !slices.Contains(few, s.fleet.ByName(m.Name)) {
					return true, m.Name
				}
			}
		}
		return false, "none"
	})
}

// asked is how many appends were begun.
func (a *partedAppender) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tries
}
