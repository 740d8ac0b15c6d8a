package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"baton/control/access"
	"baton/control/agent"
	"baton/control/agent/hub"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/engine/redis/redistest"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/monitor"
	"baton/control/terminal"
	"baton/platform/auth"
	"baton/platform/identity"
	"baton/platform/seal"
)

// terminalSite is a served control plane with a real agent and, where asked,
// real Redis servers r1 (primary), r2, ... of cluster c.
type terminalSite struct {
	*site
	hub     *hub.Hub
	agent   string // id
	servers []*redistest.Server
	manager *terminal.Manager
	journal *journal.Memory
	people  *access.Store
	dir     string // of the recordings
	later   atomic.Int64
}

// terminalTime bounds every wait of these tests.
const terminalTime = time.Minute

func newTerminalSite(t *testing.T, redisNodes int, change ...func(*Server)) *terminalSite {
	t.Helper()
	w := &terminalSite{dir: filepath.Join(t.TempDir(), "terminals")}
	if redisNodes > 0 {
		w.servers = redistest.Cluster(t, redisNodes)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	j := journal.NewMemory(time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	w.journal, w.people = j, access.New(j, time.Now)
	go func() { _ = j.Follow(ctx, 0, w.people.Take, nil) }()
	ca, err := identity.OpenCA(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	w.hub, err = hub.New(hub.Options{CA: ca, Tokens: w.people, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go w.hub.Serve(ln)

	inv := inventory.New(j, quiet)
	log := audit.NewLog(j)
	now := func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }
	var srv *Server
	box, err := seal.New([]byte(strings.Repeat("k", seal.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	w.manager, err = terminal.New(terminal.Options{Journal: j, Secrets: box, Agents: w.hub, Dir: w.dir, Name: "n1", Now: now, Log: quiet, Look: 20 * time.Millisecond,
		Role:  func(c, n string) terminal.NodeRole { return srv.NodeRole(c, n) },
		Audit: func(ctx context.Context, r audit.Record) error { _, err := log.Append(ctx, r); return err }})
	if err != nil {
		t.Fatal(err)
	}
	inv.Observe(w.manager.Take)
	go func() { _ = inv.Run(ctx) }()
	<-inv.Ready()
	spec := inventory.Spec{ID: "c", Name: "c", Engine: engine.Redis, Primary: "r1"}
	for _, s := range w.servers {
		spec.Members = append(spec.Members, inventory.Member{Name: s.Instance.Node, Address: s.Instance.Address(), Priority: 100})
	}
	if redisNodes == 0 {
		spec.Members = []inventory.Member{{Name: "r1", Address: "127.0.0.1:1", Priority: 100}}
	}
	if err := inv.Register(ctx, spec); err != nil {
		t.Fatal(err)
	}
	mon := monitor.New(monitor.Options{Reports: w.hub, Inventory: inv, Now: time.Now})
	go func() { _ = mon.Run(ctx) }()
	exec := executor.New(executor.Options{Journal: j, Inventory: inv, Agents: w.hub, Facts: mon, Audit: log, Term: 1, Log: quiet, Now: time.Now})
	srv = New(Options{Sessions: w.people, Setup: w.people, Inventory: inv, Monitor: mon, Executor: exec, Audit: log, Log: quiet, Terminals: w.manager, Tokens: []APIToken{
		{Name: "ann", Role: RoleAdmin, Hash: auth.HashSecret("admin-token"), Source: "cli"}, {Name: "eve", Role: RoleAuditor, Hash: auth.HashSecret("auditor-token"), Source: "api"},
		{Name: "cli", Role: RoleOperator, Hash: auth.HashSecret("operator-token"), Source: "cli"}, {Name: "watcher", Role: RoleViewer, Hash: auth.HashSecret("viewer-token"), Source: "api"}}})
	for _, f := range change {
		f(srv)
	}
	h := httptest.NewServer(srv)
	w.site = &site{t: t, url: h.URL, srv: srv, inv: inv}

	dir := filepath.Join(t.TempDir(), "agent")
	secret, _, err := w.people.Issue(hub.PurposeAgent)
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Join(ctx, dir, identity.JoinToken{Address: ln.Addr().String(), CAFingerprint: ca.Fingerprint(), Secret: secret}.String(), "host-1"); err != nil {
		t.Fatal(err)
	}
	a, err := agent.Open(agent.Options{Dir: dir, Drivers: []engine.Driver{redis.New()}, Version: "test", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		a.Close()
		h.CloseClientConnections()
		h.Close()
		w.hub.Close()
	})
	w.agent = a.ID()
	w.eventually("the agent is connected", func() bool { return w.hub.Connected(w.agent) })
	instances := []engine.Instance{{Cluster: "c", Node: "r1", Engine: engine.Redis, Host: "127.0.0.1", Port: 1, Dir: t.TempDir()}}
	if redisNodes > 0 {
		instances = nil
		for _, s := range w.servers {
			s.Instance.Cluster = "c"
			instances = append(instances, s.Instance)
		}
	}
	for _, in := range instances {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		w.order(engine.Action{Name: agent.ActionInstancePut, Args: map[string]string{"instance": string(b)}})
	}
	w.eventually("the nodes are reported", func() bool {
		_, ok := w.hub.Locate("c", "r1")
		return ok && (redisNodes == 0 || srv.NodeRole("c", "r1").Role == engine.RolePrimary && srv.NodeRole("c", spec.Members[redisNodes-1].Name).Role != engine.RoleUnknown)
	})
	return w
}

// order carries an order out.
func (w *terminalSite) order(a engine.Action) {
	w.t.Helper()
	r, err := w.hub.Order(context.Background(), w.agent, agent.Order{Timeout: terminalTime, Action: a})
	if err != nil || !r.OK() {
		w.t.Fatalf("%s: %+v %v", a.Name, r, err)
	}
}

func as(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// ticket asks for one.
func (w *terminalSite) ticket(token string, r TicketRequest) string {
	w.t.Helper()
	return get[Ticket](w.site, "POST", "/terminal/tickets", r, as(token)).Ticket
}

// dial opens a terminal's WebSocket; a refusal is returned as its status.
func (w *terminalSite) dial(ticket string, header http.Header) (*websocket.Conn, int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), terminalTime)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, w.url+Prefix+"/terminal?ticket="+url.QueryEscape(ticket), &websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{terminalProtocol}})
	if err != nil {
		if res == nil {
			w.t.Fatal(err)
		}
		return nil, res.StatusCode
	}
	conn.SetReadLimit(1 << 20)
	w.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, res.StatusCode
}

// screen is a person at a terminal.
type screen struct {
	w    *terminalSite
	conn *websocket.Conn

	mu      sync.Mutex
	out     bytes.Buffer
	looked  int // how much of out was looked at
	notices []terminal.Notice
	gone    bool
	mute    bool // does not confirm what it shows
}

func (w *terminalSite) open(token string, r TicketRequest, mute bool) *screen {
	w.t.Helper()
	conn, code := w.dial(w.ticket(token, r), http.Header{"Authorization": {"Bearer " + token}})
	if conn == nil {
		w.t.Fatalf("the terminal was refused: %d", code)
	}
	s := &screen{w: w, conn: conn, mute: mute}
	go s.read()
	return s
}

func (s *screen) read() {
	for {
		kind, p, err := s.conn.Read(context.Background())
		s.mu.Lock()
		if err != nil {
			s.gone = true
			s.mu.Unlock()
			return
		}
		var n terminal.Notice
		if kind == websocket.MessageBinary {
			s.out.Write(p)
		} else if json.Unmarshal(p, &n) == nil {
			s.notices = append(s.notices, n)
		}
		s.mu.Unlock()
		if kind == websocket.MessageBinary && !s.mute {
			s.tell(map[string]any{"type": "shown", "bytes": len(p)})
		}
	}
}

func (s *screen) tell(v any) {
	b, _ := json.Marshal(v)
	_ = s.conn.Write(context.Background(), websocket.MessageText, b) // it may have ended
}

func (s *screen) typed(text string) {
	_ = s.conn.Write(context.Background(), websocket.MessageBinary, []byte(text)) // it may have ended
}

// sees waits until text was shown behind all that was waited for before.
func (s *screen) sees(text string) {
	s.w.t.Helper()
	found := false
	deadline := time.Now().Add(terminalTime)
	for !found && time.Now().Before(deadline) {
		s.mu.Lock()
		if i := strings.Index(s.out.String()[s.looked:], text); i >= 0 {
			s.looked += i + len(text)
			found = true
		}
		s.mu.Unlock()
		if !found {
			<-time.After(5 * time.Millisecond)
		}
	}
	if !found {
		s.w.t.Fatalf("never shown: %q in\n%q", text, s.all()[s.looked:])
	}
}

func (s *screen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// ends waits for the end and returns why.
func (s *screen) ends() (why string) {
	s.w.t.Helper()
	s.w.eventually("the terminal ends", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.gone
	})
	for _, n := range s.notices {
		if n.Type == terminal.NoticeEnd {
			why = n.Text
		}
	}
	return why
}

// audited returns what the audit says of cluster c's terminals, oldest first.
func (w *terminalSite) audited() (out []string) {
	w.t.Helper()
	page, err := w.journal.Read(context.Background(), audit.Stream("c"), 0, 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range page {
		var r audit.Record
		if err := json.Unmarshal(e.Data, &r); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, r.Outcome+" "+r.Name+" "+r.What+": "+r.Detail)
	}
	return out
}

func (w *terminalSite) demandAudit(lines ...string) {
	w.t.Helper()
	all := strings.Join(w.audited(), "\n")
	for _, l := range lines {
		if !strings.Contains(all, l) {
			w.t.Errorf("not in the audit: %q in\n%s", l, all)
		}
	}
}

func journalEvent(kind, data string) journal.Event {
	return journal.Event{Type: kind, Data: []byte(data)}
}
