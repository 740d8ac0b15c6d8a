package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/engine/redis/redistest"
)

// open serves a test cluster of real servers on free ports.
func open(t testing.TB, servers []*redistest.Server, o Options) (*Server, Route) {
	t.Helper()
	s := New(o)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ctx)
	})
	r := Route{Cluster: "test", Generation: 1, Term: 1, Version: 1, Enabled: true, Host: "127.0.0.1",
		ReadWritePort: redistest.FreePort(t), ReadOnlyPort: redistest.FreePort(t), MaxLagBytes: 64 << 20}
	for i, x := range servers {
		m := Member{Node: x.Instance.Node, Address: x.Instance.Address(), Healthy: true}
		if i == 0 {
			r.Primary = m
		} else {
			r.Replicas = append(r.Replicas, m)
		}
	}
	if err := s.Apply(r); err != nil {
		t.Fatal(err)
	}
	return s, r
}

// raw is a client that speaks the protocol by hand.
type raw struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dialRaw(t testing.TB, port int) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &raw{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func (c *raw) send(text string) {
	c.t.Helper()
	if _, err := c.nc.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// line reads one line within a generous time.
func (c *raw) line() string {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Minute))
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read: %q, %v", s, err)
	}
	return strings.TrimRight(s, "\r\n")
}

func (c *raw) want(lines ...string) {
	c.t.Helper()
	for _, w := range lines {
		if got := c.line(); got != w {
			c.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func (c *raw) login() {
	c.t.Helper()
	c.send(fmt.Sprintf("*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(redistest.Password), redistest.Password))
	c.want("+OK")
}

// move makes servers[to] primary the way an operation does.
func move(t testing.TB, s *Server, servers []*redistest.Server, from, to int, generation uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, b := servers[from].Client(), servers[to].Client()
	drained, err := s.Hold(ctx, "test", fmt.Sprint("op", generation), generation-1, servers[to].Instance.Address())
	if err != nil || !drained {
		t.Fatalf("hold: %v, %v", drained, err)
	}
	if err := a.Do(ctx, "CLIENT", "PAUSE", 5000, "WRITE").Err(); err != nil {
		t.Fatal(err)
	}
	want := servers[from].Number("replication", "master_repl_offset")
	redistest.Eventually(t, time.Minute, "the candidate caught up", func() bool {
		return want > 0 && servers[to].Number("replication", "slave_repl_offset") >= want
	})
	host, port, _ := net.SplitHostPort(servers[to].Instance.Address())
	if err := a.Do(ctx, "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.Do(ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Release("test", generation, 1, servers[to].Instance.Node, servers[to].Instance.Address()); err != nil {
		t.Fatal(err)
	}
	for i, x := range servers {
		if i != from && i != to {
			if err := x.Client().Do(ctx, "REPLICAOF", host, port).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.Do(ctx, "CLIENT", "UNPAUSE").Err(); err != nil {
		t.Fatal(err)
	}
}

// Goal: a session keeps all it is made of over a move: login, database, name,
// protocol, subscriptions, an open MULTI; a WATCH of before fails its EXEC.
func TestSessionIsCarriedOver(t *testing.T) {
	servers := redistest.Cluster(t, 3)
	s, r := open(t, servers, Options{Wait: time.Minute})
	c := dialRaw(t, r.ReadWritePort)
	c.login()
	c.send("SELECT 3\r\nCLIENT SETNAME me\r\nSET k 1\r\n")
	c.want("+OK", "+OK", "+OK")
	sub := dialRaw(t, r.ReadWritePort)
	sub.login()
	sub.send("SUBSCRIBE ch\r\n")
	sub.want("*3", "$9", "subscribe", "$2", "ch", ":1")
	watch := dialRaw(t, r.ReadWritePort)
	watch.login()
	watch.send("WATCH k\r\nMULTI\r\nSET k 2\r\n")
	watch.want("+OK", "+OK", "+QUEUED")
	block := dialRaw(t, r.ReadWritePort)
	block.login()
	block.send("BLPOP list 30\r\n")
	multi := dialRaw(t, r.ReadWritePort)
	multi.login()
	multi.send("SELECT 3\r\nMULTI\r\nINCR k\r\n")
	multi.want("+OK", "+OK", "+QUEUED")
	redistest.Eventually(t, time.Minute, "BLPOP waits", func() bool { return servers[0].Number("clients", "blocked_clients") == 1 })

	move(t, s, servers, 0, 1, 2)

	c.send("GET k\r\nCLIENT GETNAME\r\n")
	c.want("$1", "1", "$2", "me")
	watch.send("EXEC\r\n")
	watch.want("*-1")
	multi.send("EXEC\r\n")
	multi.want("*1", ":2")
	c.send("PUBLISH ch hello\r\n")
	c.want(":1")
	sub.want("*3", "$7", "message", "$2", "ch", "$5", "hello")
	c.send("SELECT 0\r\nRPUSH list x\r\n")
	c.want("+OK", ":1")
	block.want("*2", "$4", "list", "$1", "x")
	if st := s.Status()[0]; st.State != Forwarding || st.Generation != 2 || st.Target != "r2" || st.LastSwitchMs < 0 || st.Counters.Unknown != 0 {
		t.Fatalf("status %+v", st)
	}
}

func TestReadOnlyEndpoint(t *testing.T) {
	servers := redistest.Cluster(t, 3)
	s, r := open(t, servers, Options{})
	w := dialRaw(t, r.ReadWritePort)
	w.login()
	w.send("SET k v\r\nWAIT 2 30000\r\n")
	w.want("+OK", ":2")
	c := dialRaw(t, r.ReadOnlyPort)
	c.login()
	c.send("GET k\r\nSET k x\r\nGET k\r\n")
	c.want("$1", "v")
	if got := c.line(); !strings.HasPrefix(got, "-READONLY BATON") {
		t.Fatalf("a write on the read-only port: %q", got)
	}
	c.want("$1", "v")
	c.send("MULTI\r\nSET k x\r\nEXEC\r\n")
	c.want("+OK")
	if got := c.line(); !strings.HasPrefix(got, "-READONLY BATON") {
		t.Fatalf("a write inside MULTI: %q", got)
	}
	if got := c.line(); !strings.HasPrefix(got, "-EXECABORT") {
		t.Fatalf("EXEC after a refused write: %q", got)
	}
	c.send("INFO replication\r\n")
	if got := c.line(); !strings.HasPrefix(got, "$") {
		t.Fatal(got)
	}
	if c.line(); c.line() != "role:slave" {
		t.Fatal("the read-only port does not lead to a replica")
	}
	// Without fit replicas it leads to the primary.
	for i := range r.Replicas {
		r.Replicas[i].Healthy = false
	}
	r.Version++
	if err := s.Apply(r); err != nil {
		t.Fatal(err)
	}
	c2 := dialRaw(t, r.ReadOnlyPort)
	c2.login()
	c2.send("ROLE\r\n")
	c2.line()
	c2.line()
	if got := c2.line(); got != "master" {
		t.Fatalf("fell back to a %s", got)
	}
}

// Goal: what cannot be known is said. Method: the primary is stopped with a
// write and a read in flight, then killed.
func TestLostPrimaryIsToldHonestly(t *testing.T) {
	servers := redistest.Cluster(t, 3)
	s, r := open(t, servers, Options{Wait: time.Minute})
	c := dialRaw(t, r.ReadWritePort)
	c.login()
	c.send("SET a 1\r\nGET a\r\n")
	c.want("+OK", "$1", "1")
	redistest.Eventually(t, time.Minute, "replicated", func() bool {
		return servers[1].Info("replication")["slave_repl_offset"] == servers[0].Info("replication")["master_repl_offset"]
	})
	servers[0].Signal(stopSignal)
	c.send("SET a 2\r\nGET a\r\nINCR b\r\n")
	redistest.Eventually(t, time.Minute, "sent", func() bool { return s.Status()[0].Counters.Requests >= 6 })
	servers[0].Kill()
	if err := servers[1].Client().Do(context.Background(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(servers[1].Instance.Address())
	if err := servers[2].Client().Do(context.Background(), "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	r.Generation, r.Primary = 2, r.Replicas[0]
	if err := s.Apply(r); err != nil {
		t.Fatal(err)
	}
	if got := c.line(); !strings.HasPrefix(got, "-BATON outcome unknown") {
		t.Fatalf("a write without an answer: %q", got)
	}
	c.want("$1", "1")
	if got := c.line(); !strings.HasPrefix(got, "-BATON outcome unknown") {
		t.Fatalf("a write without an answer: %q", got)
	}
	c.send("INCR b\r\n")
	c.want(":1")
	r.Generation = 1
	if err := s.Apply(r); err == nil {
		t.Fatal("a route of a lower generation was taken")
	}
}

// Goal: without confirmation for the lease's time nothing that writes is
// forwarded; reads are.
func TestFence(t *testing.T) {
	servers := redistest.Cluster(t, 2)
	s, r := open(t, servers, Options{Wait: 3 * time.Second})
	r.TTLMs, r.Version = 1000, 2
	if err := s.Apply(r); err != nil {
		t.Fatal(err)
	}
	c := dialRaw(t, r.ReadWritePort)
	c.login()
	redistest.Eventually(t, time.Minute, "fenced", func() bool { return s.Status()[0].State == Closed })
	c.send("GET k\r\nSET k 1\r\n")
	c.want("$-1")
	if got := c.line(); !strings.HasPrefix(got, "-BATON the request was not carried out: no control plane has confirmed") {
		t.Fatalf("fenced write: %q", got)
	}
	r.TTLMs = 0
	if err := s.Apply(r); err != nil {
		t.Fatal(err)
	}
	c.send("SET k 1\r\n")
	c.want("+OK")
}

func TestBoundsAreKept(t *testing.T) {
	servers := redistest.Cluster(t, 1)
	_, quick := open(t, servers, Options{FirstRequest: 50 * time.Millisecond})
	slow := dialRaw(t, quick.ReadWritePort)
	slow.send("*2\r\n$4\r\nAU")
	_ = slow.nc.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := slow.r.ReadByte(); err != io.EOF {
		t.Fatalf("a client that sends no request: %v", err)
	}
	_, r := open(t, servers, Options{MaxClients: 2})
	a, b := dialRaw(t, r.ReadWritePort), dialRaw(t, r.ReadOnlyPort)
	a.login()
	b.login()
	c := dialRaw(t, r.ReadWritePort)
	c.want("-ERR max number of clients reached")
	a.send("*1\r\n$999999999\r\n")
	if got := a.line(); !strings.Contains(got, "too large") {
		t.Fatal(got)
	}
	b.send("SHUTDOWN\r\nREPLICAOF NO ONE\r\nQUIT\r\n")
	for range 2 {
		if got := b.line(); !strings.Contains(got, "roles belong to the control plane") {
			t.Fatal(got)
		}
	}
	b.want("+OK")
}

// Goal: the official client of most programs works through it.
func TestGoRedis(t *testing.T) {
	servers := redistest.Cluster(t, 2)
	s, r := open(t, servers, Options{})
	for _, proto := range []int{2, 3} {
		c := goredis.NewClient(&goredis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", r.ReadWritePort), Password: redistest.Password, Protocol: proto,
			DB: 2, ClientName: "it", MaxRetries: -1, DialTimeout: time.Minute, ReadTimeout: time.Minute, WriteTimeout: time.Minute})
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Set(ctx, "k", strings.Repeat("x", 3<<20), 0).Err(); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Get(ctx, "k").Result(); err != nil || len(v) != 3<<20 {
			t.Fatalf("%d bytes, %v", len(v), err)
		}
		if _, err := c.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			p.Incr(ctx, "n")
			p.HSet(ctx, "h", "f", "v")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Eval(ctx, "return redis.call('incr', KEYS[1])", []string{"n"}).Int(); err != nil || v < 2 {
			t.Fatal(v, err)
		}
		if v, err := c.HGetAll(ctx, "h").Result(); err != nil || v["f"] != "v" {
			t.Fatal(v, err)
		}
	}
	if s.endpoints["test"].table.Load() == nil {
		t.Fatal("the server's commands were not learned")
	}
}
