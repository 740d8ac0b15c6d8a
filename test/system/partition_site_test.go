package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/agent/guard"
	"baton/test/fleet"
)

// partedSite is three control nodes and three hosts with an agent and a Redis
// server each, every one of them on a machine of its own, and two machines for
// clients.
type partedSite struct {
	t       *testing.T
	net     *network
	binary  string
	dir     string
	control []*partedControl
	hosts   []*partedHost
	// outside is the clients' machine on the side of the many; beside the one
	// that stays with the primary.
	outside, beside *space
	token           string
	user, password  string
	mode            string
	machine         *fleet.Machine
}

type partedControl struct {
	*controlNode
	space *space
	http  *http.Client
}

type partedHost struct {
	s     *partedSite
	node  string
	space *space
	dir   string
	cmd   *exec.Cmd
	port  int
}

// partedWithin bounds each wait of a machine that does much else.
const partedWithin = 3 * time.Minute

// startParted starts the machines. mode is how the primary is to behave when it
// cannot renew its lease.
func startParted(t *testing.T, mode string) *partedSite {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		fmt.Printf("%s: skipped: redis-server is not installed\n", t.Name())
		t.Skip("redis-server is not installed (Debian: apt-get install redis-server); nothing of this test was run")
	}
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	n := newNetwork(t, "c1", "c2", "c3", "h1", "h2", "h3", "outside", "beside")
	s := &partedSite{t: t, net: n, binary: binary, dir: t.TempDir(), mode: mode, outside: n.at("outside"), beside: n.at("beside")}
	if s.machine, err = fleet.WatchMachine(s.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.machine.Stop)
	ports, err := fleet.FreePorts(6)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		s.startControl(i, ports[:3])
	}
	b, err := os.ReadFile(filepath.Join(s.control[2].dir, "cli-token")) // the last one got it by joining
	if err != nil {
		t.Fatal(err)
	}
	s.token = strings.TrimSpace(string(b))
	for i := range 3 {
		h := &partedHost{s: s, node: fmt.Sprintf("f-%d", i+1), space: n.at(fmt.Sprintf("h%d", i+1)), port: ports[3+i]}
		h.dir = filepath.Join(s.dir, h.space.name)
		s.hosts = append(s.hosts, h)
		t.Cleanup(h.end)
		h.start()
	}
	s.found(mode)
	return s
}

func (s *partedSite) startControl(i int, ports []int) {
	s.t.Helper()
	sp := s.net.at(fmt.Sprintf("c%d", i+1))
	c := &partedControl{space: sp, controlNode: &controlNode{t: s.t, name: sp.name, dir: filepath.Join(s.dir, sp.name),
		listen: fmt.Sprintf("127.0.0.1:%d", ports[0]), agents: fmt.Sprintf("%s:%d", sp.ip, ports[1]), peers: fmt.Sprintf("%s:%d", sp.ip, ports[2])}}
	c.http = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: sp.dial}}
	var extra []string
	if i > 0 {
		extra = []string{"--join", s.control[i-1].found(`Add a node .*--join (\S+)`)}
	}
	if err := sp.within(func() error { c.start(s.binary, extra...); return nil }); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		c.kill()
		if s.t.Failed() {
			text := c.output()
			s.t.Logf("%s:\n%s", c.name, text[max(0, len(text)-12000):])
		}
	})
	s.control = append(s.control, c)
}

// start starts the host's agent, which joins.
func (h *partedHost) start() {
	h.s.t.Helper()
	var token struct{ Token string }
	h.s.await("a join token", func() (bool, string) {
		err := h.s.call("POST", "/hosts/join-token", map[string]string{"name": h.space.name}, &token)
		return err == nil, fmt.Sprint(err)
	})
	h.cmd = exec.Command(h.s.binary, "agent", "--data", h.dir, "--name", h.space.name)
	h.cmd.Env = append(os.Environ(), "BATON_JOIN_TOKEN="+token.Token)
	out, err := os.OpenFile(h.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.s.t.Fatal(err)
	}
	defer out.Close()
	h.cmd.Stdout, h.cmd.Stderr = out, out
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.space.within(h.cmd.Start); err != nil {
		h.s.t.Fatal(err)
	}
}

// end ends what runs on the host: the agent, its guardian, its server.
func (h *partedHost) end() {
	if h.cmd == nil || h.cmd.Process == nil {
		return
	}
	signalTo(h.cmd.Process.Pid, syscall.SIGKILL)
	_ = h.cmd.Wait()
	if b, err := os.ReadFile(filepath.Join(guard.Dir(h.dir), "guardian.lock")); err == nil {
		var pid int
		_, _ = fmt.Sscan(string(b), &pid)
		signalTo(pid, syscall.SIGKILL)
	}
	files, _ := filepath.Glob(filepath.Join(h.dir, "processes", "*.pid.json"))
	for _, f := range files {
		var run struct {
			PID int `json:"pid"`
		}
		if b, err := os.ReadFile(f); err == nil && json.Unmarshal(b, &run) == nil {
			signalTo(run.PID, syscall.SIGKILL)
		}
	}
	if h.s.t.Failed() {
		b, _ := os.ReadFile(h.dir + ".log")
		h.s.t.Logf("log of the agent of %s:\n%s", h.node, b[max(0, len(b)-6000):])
	}
}

func (s *partedSite) await(what string, ok func() (bool, string)) {
	s.t.Helper()
	if err := fleet.Await(partedWithin, what, ok); err != nil {
		s.t.Fatal(err)
	}
}

// call asks the control nodes one after the other, beginning with one that
// sees a majority, until one answers.
func (s *partedSite) call(method, path string, in, out any) error {
	var last error
	for _, c := range s.control {
		var v controlView
		if err := c.call(s.token, "GET", "/control", nil, &v); err != nil || !v.Majority {
			last = fmt.Errorf("%s sees no majority: %v", c.name, err)
			continue
		}
		err := c.call(s.token, method, path, in, out)
		if err == nil {
			return nil
		}
		last = err
	}
	return last
}

func (c *partedControl) call(token, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, _ := json.Marshal(in)
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://"+c.listen+"/api/v1"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s on %s: %d %s", method, path, c.name, res.StatusCode, b)
	}
	return json.Unmarshal(b, out)
}

// found makes the cluster as a person would.
func (s *partedSite) found(mode string) {
	s.t.Helper()
	var nodes []map[string]any
	for _, h := range s.hosts {
		nodes = append(nodes, map[string]any{"name": h.node, "agent": h.space.name, "port": h.port})
	}
	s.await("three hosts with Redis", func() (bool, string) {
		var e struct {
			Engines []struct{ Versions []struct{ Hosts []string } }
		}
		err := s.call("GET", "/engines", nil, &e)
		return err == nil && len(e.Engines) > 0 && len(e.Engines[0].Versions) > 0 && len(e.Engines[0].Versions[0].Hosts) == len(s.hosts), fmt.Sprintf("%+v %v", e, err)
	})
	var made struct {
		OperationID string
		Credentials struct{ User, Password string }
	}
	s.await("an accepted creation", func() (bool, string) {
		err := s.call("POST", "/clusters", map[string]any{"name": "cache", "engine": "redis", "nodes": nodes, "durability": "sync", "syncReplicas": 1, "failover": "off"}, &made)
		return err == nil, fmt.Sprint(err)
	})
	s.user, s.password = made.Credentials.User, made.Credentials.Password
	s.await("the cluster's creation", func() (bool, string) {
		var o operationView
		err := s.call("GET", "/operations/"+made.OperationID, nil, &o)
		return err == nil && o.State == "done", fmt.Sprintf("%+v %v", o, err)
	})
	s.await("the cluster's settings", func() (bool, string) {
		err := s.call("PUT", "/clusters/cache/settings", map[string]any{"failover": "no-loss", "coolDownSeconds": 0, "mode": mode}, &struct{}{})
		return err == nil, fmt.Sprint(err)
	})
}

type partedView struct {
	Verdict    struct{ Level, Sentence string }
	Generation string
	Primary    *struct{ Node string }
	Lease      *struct {
		Holder, State, Mode string
		Guarded             bool
	}
	Failover *struct{ Decision, Sentence string }
}

func (s *partedSite) view() (v partedView, err error) {
	err = s.call("GET", "/clusters/cache", nil, &v)
	return v, err
}

// ready waits until the cluster is whole, its lease is held, and the death of
// its primary would be dealt with, and returns the primary.
func (s *partedSite) ready() (*partedHost, string) {
	s.t.Helper()
	var p *partedHost
	var v partedView
	s.await("a whole cluster that would fail over", func() (bool, string) {
		var err error
		v, err = s.view()
		if err != nil || v.Verdict.Level != "healthy" || v.Primary == nil || v.Lease == nil || v.Lease.State != "held" || !v.Lease.Guarded || v.Lease.Holder != v.Primary.Node || v.Lease.Mode != s.mode {
			return false, fmt.Sprintf("%+v %+v %v", v, v.Lease, err)
		}
		var what struct{ Sentence, Next string }
		if err := s.call("GET", "/clusters/cache/what-if?node="+url.QueryEscape(v.Primary.Node), nil, &what); err != nil || what.Next == "" {
			return false, fmt.Sprintf("%+v %v", what, err)
		}
		p = s.host(v.Primary.Node)
		return p != nil, "the primary is " + v.Primary.Node
	})
	return p, v.Generation
}

func (s *partedSite) host(node string) *partedHost {
	for _, h := range s.hosts {
		if h.node == node {
			return h
		}
	}
	return nil
}

// leader is the control node that leads as the majority sees it.
func (s *partedSite) leader() *partedControl {
	s.t.Helper()
	var l *partedControl
	s.await("a control node that leads", func() (bool, string) {
		var v controlView
		if err := s.call("GET", "/control", nil, &v); err != nil {
			return false, err.Error()
		}
		for _, c := range s.control {
			if c.name == v.Leader {
				l = c
			}
		}
		return l != nil, v.Leader
	})
	return l
}

// together waits until every control node sees the other two and one leader.
func (s *partedSite) together() {
	s.t.Helper()
	s.await("three control nodes that agree", func() (bool, string) {
		leader := ""
		for _, c := range s.control {
			var v controlView
			err := c.call(s.token, "GET", "/control", nil, &v)
			if err != nil || v.Leader == "" || v.Quorum.Alive != len(s.control) || leader != "" && leader != v.Leader {
				return false, fmt.Sprintf("%s: %+v %v", c.name, v, err)
			}
			leader = v.Leader
		}
		return true, ""
	})
}

func (s *partedSite) controlSpaces() (out []*space) {
	for _, c := range s.control {
		out = append(out, c.space)
	}
	return out
}

// client is a client of the host's server from a machine.
func (h *partedHost) client(from *space) *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: fmt.Sprintf("%s:%d", h.space.ip, h.port), Username: h.s.user, Password: h.s.password, Protocol: 2, DisableIdentity: true,
		MaxRetries: -1, ReadTimeout: time.Second, WriteTimeout: time.Second, PoolSize: 4,
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			defer cancel()
			return from.dial(ctx, network, address)
		}})
}

// partedWriter writes one number after the other from one machine to whichever
// server it reaches that says it is primary. Every acknowledgement is kept.
type partedWriter struct {
	s       *partedSite
	name    string
	clients map[*partedHost]*goredis.Client
	mu      sync.Mutex
	acks    []partedAck
	stop    chan struct{}
	done    chan struct{}
}

// partedAck is one acknowledged write: the server took it after sent and
// before acked. confirmed: a replica had it, too, before the client went on.
type partedAck struct {
	n           int
	host        *partedHost
	sent, acked time.Time
	confirmed   bool
}

func (s *partedSite) writer(name string, from *space) *partedWriter {
	w := &partedWriter{s: s, name: name, clients: map[*partedHost]*goredis.Client{}, stop: make(chan struct{}), done: make(chan struct{})}
	for _, h := range s.hosts {
		w.clients[h] = h.client(from)
	}
	go w.run()
	s.t.Cleanup(w.end)
	s.await("the writer "+name+" writes", func() (bool, string) { return w.count() > 5, "" })
	return w
}

// end ends the writer; it may be called twice.
func (w *partedWriter) end() {
	w.mu.Lock()
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.mu.Unlock()
	<-w.done
	for _, c := range w.clients {
		c.Close()
	}
}

func (w *partedWriter) run() {
	defer close(w.done)
	ctx := context.Background()
	pace := time.NewTicker(4 * time.Millisecond)
	defer pace.Stop()
	next := 0
	var conn *goredis.Conn
	var host *partedHost
	drop := func() {
		if conn != nil {
			conn.Close()
		}
		conn = nil
	}
	defer drop()
	for n := 0; ; {
		select {
		case <-w.stop:
			return
		case <-pace.C:
		}
		if conn == nil {
			// The next one: a server that holds writes still says that it is primary.
			host = w.s.hosts[next%len(w.s.hosts)]
			next++
			conn = w.clients[host].Conn()
			if role, err := conn.Do(ctx, "ROLE").Slice(); err != nil || len(role) == 0 || role[0] != "master" {
				drop()
				continue
			}
		}
		a := partedAck{n: n, host: host, sent: time.Now()}
		if err := conn.Set(ctx, w.key(n), n, 0).Err(); err != nil {
			drop()
			continue
		}
		a.acked = time.Now()
		k, err := conn.Wait(ctx, 1, 500*time.Millisecond).Result()
		a.confirmed = err == nil && k >= 1
		w.mu.Lock()
		w.acks = append(w.acks, a)
		w.mu.Unlock()
		if !a.confirmed {
			drop()
			continue // the same number again
		}
		n++
	}
}

func (w *partedWriter) key(n int) string { return fmt.Sprintf("%s:%d", w.name, n) }

func (w *partedWriter) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

// since are the acknowledgements of writes that were sent after a moment.
func (w *partedWriter) since(from time.Time) (out []partedAck) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.acks) - 1; i >= 0 && w.acks[i].acked.After(from); i-- {
		if w.acks[i].sent.After(from) {
			out = append(out, w.acks[i])
		}
	}
	return out
}

// gap is the longest time between two confirmed writes, the second of them
// after a moment.
func (w *partedWriter) gap(from time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var last time.Time
	for _, a := range w.acks {
		if !a.confirmed {
			continue
		}
		if !last.IsZero() && a.acked.After(from) {
			longest = max(longest, a.acked.Sub(last))
		}
		last = a.acked
	}
	return longest
}

// lost ends the writer and counts what was confirmed and what of it the host
// does not hold.
func (w *partedWriter) lost(p *partedHost) (confirmed, lost int) {
	w.end()
	c := p.client(w.s.outside)
	defer c.Close()
	var part []partedAck
	check := func() {
		keys := make([]string, len(part))
		for i, a := range part {
			keys[i] = w.key(a.n)
		}
		var got []any
		w.s.await("the writes of "+w.name+" to be read back", func() (bool, string) {
			var err error
			got, err = c.MGet(context.Background(), keys...).Result()
			return err == nil, fmt.Sprint(err)
		})
		for i, v := range got {
			if v != fmt.Sprint(part[i].n) {
				lost++
				w.s.t.Errorf("%s: write %d, confirmed by %s at %s, reads back %v on %s", w.name, part[i].n, part[i].host.node, part[i].acked.Format("05.000"), v, p.node)
			}
		}
		part = part[:0]
	}
	for _, a := range w.acks {
		if !a.confirmed {
			continue
		}
		confirmed++
		if part = append(part, a); len(part) == 500 {
			check()
		}
	}
	if len(part) > 0 {
		check()
	}
	return confirmed, lost
}
