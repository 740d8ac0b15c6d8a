package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/access"
	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/monitor"
	"baton/platform/auth"
)

// fakeAgents are the agents of a Redis cluster a (primary), b, s whose servers
// do at once what they are told.
type fakeAgents struct {
	mu      sync.Mutex
	primary string
	down    map[string]bool
	hold    chan struct{} // when not nil, orders to pause writes wait for it
	orders  int
	// more are instances of other clusters, and answer does what is ordered of
	// them; set both before the site is asked anything.
	more   []agent.InstanceReport
	answer func(agent.Order) agent.Result
}

var addresses = map[string]string{"a": "127.0.0.1:7001", "b": "127.0.0.1:7002", "s": "127.0.0.1:7003"}

func (f *fakeAgents) Connected(string) bool { return true }
func (f *fakeAgents) Locate(cluster, node string) (string, bool) {
	return "agent-1", addresses[node] != "" || cluster != "c"
}
func (f *fakeAgents) Subscribe(int) (<-chan agent.Report, func()) {
	ch := make(chan agent.Report)
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				close(ch)
				return
			case <-tick.C:
			}
			select {
			case ch <- f.Reports()["agent-1"]:
			case <-stop:
				close(ch)
				return
			}
		}
	}()
	return ch, func() { close(stop) }
}

func (f *fakeAgents) Reports() map[string]agent.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	r := agent.Report{Agent: "agent-1", Name: "host-1", At: now, ReceivedAt: now,
		Host: engine.HostFacts{Name: "host-1", OS: "linux", Cores: 4, MemoryBytes: 8 << 30, MemoryFree: 4 << 30, Location: "rack 1", Provider: "local"}}
	yes, no, zero, ms := true, false, int64(0), 0.3
	for _, n := range []string{"a", "b", "s"} {
		o := &engine.Observation{At: now, Cluster: "c", Node: n, Engine: engine.Redis, Up: !f.down[n], Role: engine.RoleReplica, ReplicaOf: addresses[f.primary],
			EngineVersion: "7.0.15", Position: 100, LinkUp: !f.down[f.primary], History: "h", WritesPerSecond: 12, Priority: 100,
			Facts: engine.Facts{QueryMs: &ms, Loading: &no, PersistOK: &yes, FailoverRunning: &no, DataSaving: &no, SyncNeeded: &zero, Reach: map[string]engine.Reach{}}}
		for _, a := range addresses {
			o.Facts.Reach[a] = engine.Reach{OK: true, RTTMs: 0.2}
		}
		if n == f.primary {
			o.Role, o.ReplicaOf = engine.RolePrimary, ""
		}
		r.Instances = append(r.Instances, agent.InstanceReport{Cluster: "c", Node: n, Engine: engine.Redis, Address: addresses[n], Observation: o})
	}
	for _, in := range f.more {
		o := *in.Observation
		o.At, in.Observation = now, &o
		r.Instances = append(r.Instances, in)
	}
	return map[string]agent.Report{"agent-1": r}
}

func (f *fakeAgents) Order(ctx context.Context, _ string, o agent.Order) (agent.Result, error) {
	f.mu.Lock()
	f.orders++
	hold, answer := f.hold, f.answer
	f.mu.Unlock()
	if answer != nil && o.Cluster != "c" {
		return answer(o), nil
	}
	if hold != nil && o.Action.Name == engine.PauseWrites {
		select {
		case <-hold:
		case <-ctx.Done():
			return agent.Result{}, agent.ErrNotConnected
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, addr := range addresses {
		if o.Action.Name == engine.CheckAuth && o.Action.Arg("addr") == addr && f.down[n] {
			return agent.Result{Code: engine.CodeUnreachable, Detail: addr + " does not answer from this host"}, nil
		}
	}
	v := map[string]string{"offset": "100", "replid": "h", "stable": "true", "waitedMs": "0", "syncFull": "0", "kicked": "2",
		"acked": "50", "readBack": "50", "lost": "0", "complete": "true", "longestGapMs": "11.5"}
	v["role"] = string(engine.RoleReplica)
	switch {
	case o.Action.Name == engine.Promote:
		f.primary = o.Node
		v["role"] = string(engine.RolePrimary)
	case o.Node == f.primary:
		v["role"] = string(engine.RolePrimary)
	}
	return agent.Result{Values: v}, nil
}

// site is a served control plane with two people and two tokens.
type site struct {
	t      testing.TB
	url    string
	srv    *Server
	agents *fakeAgents
	inv    *inventory.Inventory
	parts  *fakeParts
}

func newSite(t testing.TB) *site {
	t.Helper()
	f := &fakeAgents{primary: "a", down: map[string]bool{}}
	j := journal.NewMemory(time.Now)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	inv := inventory.New(j, quiet)
	parts := newParts(t, j, inv, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = inv.Run(ctx) }()
	<-inv.Ready()
	for _, s := range []inventory.Spec{{ID: "c", Name: "Cache", Engine: engine.Redis, Primary: "a", Members: []inventory.Member{
		{Name: "a", Address: addresses["a"], Priority: 100}, {Name: "b", Address: addresses["b"], Priority: 100}, {Name: "s", Address: addresses["s"], Priority: 100}}},
		{ID: "other", Engine: engine.Redis, Members: []inventory.Member{{Name: "z", Address: "127.0.0.1:7009"}}}} {
		if err := inv.Register(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	mon := monitor.New(monitor.Options{Reports: f, Inventory: inv, Now: time.Now})
	go func() { _ = mon.Run(ctx) }()
	log := audit.NewLog(j)
	exec := executor.New(executor.Options{Journal: j, Inventory: inv, Agents: f, Facts: mon, Audit: log, Term: 1, Log: quiet, Now: time.Now, Backoff: time.Millisecond})
	exec.Start(ctx)
	people := access.New(j, time.Now)
	go func() { _ = j.Follow(ctx, 0, people.Take, nil) }()
	o := Options{Sessions: people, Setup: people, Inventory: inv, Monitor: mon, Executor: exec, Audit: log, Log: quiet, Version: "test", Tokens: []APIToken{
		{Name: "cli", Role: RoleOperator, Hash: auth.HashSecret("operator-token"), Source: "cli"},
		{Name: "watcher", Role: RoleViewer, Hash: auth.HashSecret("viewer-token"), Source: "api"}}}
	parts.into(&o, mon)
	srv := New(o)
	h := httptest.NewServer(srv)
	t.Cleanup(func() { cancel(); h.CloseClientConnections(); h.Close(); exec.Wait() })
	s := &site{t: t, url: h.URL, srv: srv, agents: f, inv: inv, parts: parts}
	s.eventually("the cluster is seen", func() bool { snap, ok := mon.Snapshot("c"); return ok && snap.Primary() != nil })
	return s
}

func (s *site) eventually(what string, cond func() bool) {
	s.t.Helper()
	tick, limit := time.NewTicker(time.Millisecond), time.NewTimer(time.Minute)
	defer tick.Stop()
	defer limit.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit.C:
			s.t.Fatalf("never: %s", what)
		}
	}
}

// try sends a request; edit changes it before it goes.
func (s *site) try(method, path string, in any, edit func(*http.Request)) (*http.Response, []byte) {
	s.t.Helper()
	var body io.Reader
	switch v := in.(type) {
	case nil:
	case string:
		body = strings.NewReader(v)
	default:
		b, err := json.Marshal(in)
		if err != nil {
			s.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, s.url+Prefix+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if edit != nil {
		edit(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, b
}

func operator(r *http.Request) { r.Header.Set("Authorization", "Bearer operator-token") }
func viewer(r *http.Request)   { r.Header.Set("Authorization", "Bearer viewer-token") }

// get decodes a successful answer.
func get[T any](s *site, method, path string, in any, edit func(*http.Request)) T {
	s.t.Helper()
	var out T
	res, b := s.try(method, path, in, edit)
	if res.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, b)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		s.t.Fatalf("%s %s: %v in %s", method, path, err, b)
	}
	return out
}

// refused demands a problem with a code and status.
func (s *site) refused(status int, code, method, path string, in any, edit func(*http.Request)) Problem {
	s.t.Helper()
	res, b := s.try(method, path, in, edit)
	var p Problem
	if err := json.Unmarshal(b, &p); err != nil || res.Header.Get("Content-Type") != problemContentType {
		s.t.Errorf("%s %s: not a problem: %d %s %s", method, path, res.StatusCode, res.Header.Get("Content-Type"), b)
		return p
	}
	if res.StatusCode != status || p.Code != code || p.Status != status || p.Title == "" {
		s.t.Errorf("%s %s: %d %s (%s: %s), want %d %s", method, path, res.StatusCode, p.Code, p.Title, p.Detail, status, code)
	}
	return p
}

// event is one server-sent event.
type event struct{ id, name, data string }

// events reads a stream until want is satisfied.
func (s *site) events(path string, edit func(*http.Request), want func(event) bool) []event {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", s.url+Prefix+path, nil)
	edit(req)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		s.t.Fatalf("content type %s", ct)
	}
	var all []event
	var e event
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		k, v, _ := strings.Cut(lines.Text(), ": ")
		switch k {
		case "id":
			e.id = v
		case "event":
			e.name = v
		case "data":
			e.data = v
		case "":
			if e.name != "" {
				all = append(all, e)
				if want(e) {
					return all
				}
			}
			e = event{}
		}
	}
	s.t.Fatalf("stream ended after %d events: %v", len(all), lines.Err())
	return nil
}
