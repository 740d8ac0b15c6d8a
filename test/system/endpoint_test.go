package system

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"baton/test/fleet"
)

// endpointMoves is how many promotions a run makes; PROMOTIONS asks for others.
const endpointMoves = 20

// endpointWait is more than a client may ever wait here.
const endpointWait = 2 * time.Minute

// endpointClients are clients of the endpoint that tolerate no error at all:
// the first one of any of them is kept.
type endpointClients struct {
	address, password string
	stop              chan struct{}
	done              sync.WaitGroup
	mu                sync.Mutex
	errs              []string
	acked             map[string]int64 // the last number each client had acknowledged
	gaps              []time.Duration
	slowest           time.Duration // since the last promotion
}

func (e *endpointClients) fail(who string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.errs = append(e.errs, fmt.Sprintf("%s: %v", who, err))
}

func (e *endpointClients) ack(who string, n int64, took time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.acked[who] = n
	e.slowest = max(e.slowest, took)
}

func (e *endpointClients) stopped() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// run runs a client until it errs or all stop; each turn is one acknowledged
// step.
func (e *endpointClients) run(who string, turn func(n int64) error) {
	e.done.Add(1)
	go func() {
		defer e.done.Done()
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for n := int64(1); !e.stopped(); n++ {
			began := time.Now()
			if err := turn(n); err != nil {
				e.fail(who, fmt.Errorf("turn %d: %w", n, err))
				return
			}
			e.ack(who, n, time.Since(began))
			<-pace.C
		}
	}()
}

func (e *endpointClients) client(t *testing.T, protocol int) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: e.address, Password: e.password, Protocol: protocol, MaxRetries: -1, PoolSize: 4, DB: protocol - 2,
		DialTimeout: endpointWait, ReadTimeout: endpointWait, WriteTimeout: endpointWait, ClientName: "endpoint-test"})
	t.Cleanup(func() { c.Close() })
	return c
}

// Goal: over planned promotions a client of the endpoint sees a pause and not
// one error, nothing acknowledged is lost, nothing is done twice. Method: real
// processes; go-redis without retries in both protocols, transactions, a
// pipelining client by hand that checks each byte, and a queue with a blocking
// consumer.
func TestPromotionsThroughTheEndpoint(t *testing.T) {
	s := startUp(t)
	moves := endpointMoves
	if n, err := strconv.Atoi(os.Getenv("PROMOTIONS")); err == nil && n > 0 {
		moves = n
	}
	var layout struct {
		RedisPassword  string `json:"redisPassword"`
		RedisReadWrite int    `json:"redisReadWrite"`
	}
	b, err := os.ReadFile(filepath.Join(s.data, "demo", "layout.json"))
	if err == nil {
		err = json.Unmarshal(b, &layout)
	}
	if err != nil {
		t.Fatal(err)
	}
	e := &endpointClients{address: fmt.Sprintf("127.0.0.1:%d", layout.RedisReadWrite), password: layout.RedisPassword, stop: make(chan struct{}), acked: map[string]int64{}}
	var point struct{ State string }
	if err := fleet.Await(rolesWithin, "an open endpoint", func() (bool, string) {
		_, err := s.call("GET", "/clusters/cache/endpoint", nil, &point)
		return err == nil && point.State == "forwarding", fmt.Sprint(point, err)
	}); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, protocol := range []int{2, 3} {
		c, name := e.client(t, protocol), fmt.Sprintf("resp%d", protocol)
		e.run(name, func(n int64) error {
			if err := c.Set(ctx, fmt.Sprintf("%s:%d", name, n), n, 0).Err(); err != nil {
				return err
			}
			if got, err := c.Get(ctx, fmt.Sprintf("%s:%d", name, n)).Int64(); err != nil || got != n {
				return fmt.Errorf("read %d after its write: %d, %w", n, got, err)
			}
			return nil
		})
	}
	tx := e.client(t, 2)
	e.run("transactions", func(n int64) error {
		cmds, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Incr(ctx, "tx:a")
			p.Incr(ctx, "tx:b")
			return nil
		})
		if err != nil {
			return err
		}
		for _, c := range cmds {
			if got := c.(*redis.IntCmd).Val(); got != n {
				return fmt.Errorf("counted to %d in turn %d", got, n)
			}
		}
		return nil
	})
	e.run("pipelines", e.pipeline(t))
	e.queue(t)

	nodes := []string{s.redis[0].Name, s.redis[1].Name, s.redis[2].Name}
	rolledBack := 0
	for i := range moves {
		primary := s.healthy()
		next := nodes[(slices.Index(nodes, primary)+1)%len(nodes)]
		e.mu.Lock()
		e.slowest = 0
		e.mu.Unlock()
		o := s.end(s.promote(next), endsWithin)
		if o.State == "rolled-back" {
			rolledBack++
			t.Logf("promotion %d: %s", i+1, o.Outcome)
		}
		e.mu.Lock()
		e.gaps = append(e.gaps, e.slowest)
		failed := len(e.errs) > 0
		e.mu.Unlock()
		if failed {
			t.Errorf("promotion %d to %s ended %s: %s", i+1, next, o.State, o.Outcome)
			break
		}
	}
	close(e.stop)
	e.done.Wait()
	for _, err := range e.errs {
		t.Error(err)
	}
	s.checkRoles("")
	for i := range s.redis {
		n := &s.redis[i]
		if err := fleet.Await(rolesWithin, "everything acknowledged on "+n.Name, func() (bool, string) { return e.readBack(n, layout.RedisPassword) }); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(e.gaps)
	if len(e.gaps) > 0 {
		t.Logf("%d promotions (%d rolled back), client errors %d; longest wait of a client at each: median %s, longest %s; acknowledged %v",
			len(e.gaps), rolledBack, len(e.errs), e.gaps[len(e.gaps)/2].Round(100*time.Microsecond), e.gaps[len(e.gaps)-1].Round(100*time.Microsecond), e.acked)
	}
}

// pipeline sends a batch at once and compares the answer byte by byte.
func (e *endpointClients) pipeline(t *testing.T) func(int64) error {
	nc, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	r := bufio.NewReader(nc)
	exchange := func(send, want string) error {
		_ = nc.SetDeadline(time.Now().Add(endpointWait))
		if _, err := nc.Write([]byte(send)); err != nil {
			return err
		}
		got := make([]byte, 0, len(want))
		for len(got) < len(want) {
			c, err := r.ReadByte()
			if err != nil {
				return fmt.Errorf("after %q: %w", got, err)
			}
			if got = append(got, c); c != want[len(got)-1] {
				rest, _ := r.ReadString('\n')
				return fmt.Errorf("got %q, want %q", string(got)+rest, want)
			}
		}
		return nil
	}
	if err := exchange(fmt.Sprintf("AUTH %s\r\nSELECT 5\r\n", e.password), "+OK\r\n+OK\r\n"); err != nil {
		t.Fatal(err)
	}
	return func(n int64) error {
		var send, want strings.Builder
		for k := range int64(8) {
			v := strconv.FormatInt(n*8+k, 10)
			fmt.Fprintf(&send, "SET pipe:%d %s\r\nGET pipe:%d\r\nINCR count\r\n", k, v, k)
			fmt.Fprintf(&want, "+OK\r\n$%d\r\n%s\r\n:%d\r\n", len(v), v, (n-1)*8+k+1)
		}
		return exchange(send.String(), want.String())
	}
}

// queue pushes numbers and pops them with a blocking consumer: each comes once
// and in order.
func (e *endpointClients) queue(t *testing.T) {
	ctx := context.Background()
	push, pop := e.client(t, 2), e.client(t, 2)
	e.run("producer", func(n int64) error { return push.RPush(ctx, "queue", n).Err() })
	e.done.Add(1)
	go func() {
		defer e.done.Done()
		for n := int64(1); ; n++ {
			v, err := pop.BLPop(ctx, time.Second, "queue").Result()
			if err == redis.Nil {
				n--
				if e.stopped() {
					return
				}
				continue
			}
			if err != nil || len(v) != 2 || v[1] != strconv.FormatInt(n, 10) {
				e.fail("consumer", fmt.Errorf("%v instead of %d, %w", v, n, err))
				return
			}
			e.mu.Lock()
			e.acked["consumer"] = n
			e.mu.Unlock()
		}
	}()
}

// readBack tells whether a node holds everything that was acknowledged.
func (e *endpointClients) readBack(n *redisNode, password string) (bool, string) {
	ctx, cancel := context.WithTimeout(context.Background(), endpointWait)
	defer cancel()
	for db, name := range []string{"resp2", "resp3"} {
		c := redis.NewClient(&redis.Options{Addr: n.c.Options().Addr, Password: password, Protocol: 2, DB: db, DisableIdentity: true})
		defer c.Close()
		for from := int64(1); from <= e.acked[name]; from += 500 {
			var keys []string
			for i := from; i < from+500 && i <= e.acked[name]; i++ {
				keys = append(keys, fmt.Sprintf("%s:%d", name, i))
			}
			vals, err := c.MGet(ctx, keys...).Result()
			if err != nil {
				return false, err.Error()
			}
			for i, v := range vals {
				if v != strconv.FormatInt(from+int64(i), 10) {
					return false, fmt.Sprintf("%s is %v", keys[i], v)
				}
			}
		}
		if name == "resp2" {
			if got, err := c.Get(ctx, "tx:b").Int64(); err != nil || got < e.acked["transactions"] {
				return false, fmt.Sprintf("transactions: %d of %d, %v", got, e.acked["transactions"], err)
			}
		}
	}
	if e.acked["consumer"] != e.acked["producer"] {
		return false, fmt.Sprintf("%d pushed, %d popped", e.acked["producer"], e.acked["consumer"])
	}
	return true, ""
}
