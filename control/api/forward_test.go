package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/leader"
)

// fakeLead is what a control node knows of who leads.
type fakeLead struct {
	mu      sync.Mutex
	st      leader.Status
	acting  bool
	changed chan struct{}
}

func (f *fakeLead) set(st leader.Status, acting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.st, f.acting = st, acting
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeLead) Acting() (uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.st.Term, f.acting
}

func (f *fakeLead) Status() leader.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.st
}

func (f *fakeLead) Await(context.Context) leader.Status { return f.Status() }

func (f *fakeLead) Leader() (string, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.st.Leader, f.changed
}

// wire is the connection to the leader; what is there answers as it would.
type wire struct {
	mu    sync.Mutex
	to    http.Handler // nil: nobody listens
	serve *httptest.Server
}

// newWire serves handlers until the test ends.
func newWire(t *testing.T, to http.Handler) *wire {
	t.Helper()
	w := &wire{to: to}
	w.serve = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.handler().ServeHTTP(rw, r) }))
	t.Cleanup(func() { w.serve.CloseClientConnections(); w.serve.Close() })
	return w
}

func (w *wire) handler() http.Handler {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to
}

func (w *wire) set(to http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.handler() == nil {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(w.serve.URL, "http://")
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
}

// follower is a site whose requests go to a control node that does not lead;
// the one that does is the returned site.
func follower(t *testing.T) (f *site, lead *site, who *fakeLead, w *wire) {
	t.Helper()
	lead = newSite(t)
	who = &fakeLead{changed: make(chan struct{})}
	w = newWire(t, lead.srv.ForPeers())
	o := lead.srv.Options
	o.Leadership, o.Peers = who, w
	f = &site{t: t, srv: New(o), agents: lead.agents, inv: lead.inv}
	h := httptest.NewServer(f.srv)
	t.Cleanup(func() { h.CloseClientConnections(); h.Close() })
	f.url = h.URL
	who.set(leader.Status{Self: "b", Leader: "a", Address: "a:1", Majority: true, Contact: time.Now()}, false)
	return f, lead, who, w
}

// TestAnyControlNodeServes: a node that does not lead passes changes, live
// reads and event streams on, keeps who asked and from where, and believes
// nobody else who says so.
func TestAnyControlNodeServes(t *testing.T) {
	f, lead, _, _ := follower(t)
	forge := func(r *http.Request) {
		operator(r)
		r.Header.Set(headerClient, "6.6.6.6")
		r.Header.Set(headerSecure, "true")
	}
	var req PromotionRequest
	f.eventually("the promotion begins", func() bool { // refused while a stalled machine's reports are late
		p := get[Plan](f, "POST", "/clusters/c/plan", PlanRequest{Node: "b"}, forge)
		req = PromotionRequest{Node: "b", TypedName: "b", ReportHash: p.Report.Hash, Generation: p.Generation}
		res, b := f.try("POST", "/clusters/c/promotions", req, forge)
		if res.Header.Get(headerPosition) != "" || res.Header.Get(HeaderStale) != "" || len(res.Header.Values("X-Frame-Options")) != 1 {
			t.Fatalf("%d %s %v", res.StatusCode, b, res.Header)
		}
		return res.StatusCode == 202
	})
	var last event
	all := func(r *http.Request) { viewer(r); r.Header.Set("Last-Event-ID", "1") } // it may be over already
	f.events("/events?cluster=c", all, func(e event) bool {
		last = e
		return e.name == "operation" && strings.Contains(e.data, `"state":"done"`)
	})
	if last.id == "" {
		t.Error("an event without its position")
	}
	f.eventually("the audit names the person's address", func() bool {
		page := get[AuditPage](f, "GET", "/clusters/c/audit", nil, viewer)
		return slices.ContainsFunc(page.Rows, func(r AuditRow) bool { return r.IP == "127.0.0.1" && r.Who == "cli" && r.Outcome == "done" })
	})
	for _, s := range []*site{f, lead} {
		s.refused(403, CodeForbidden, "POST", "/clusters/c/promotions", req, func(r *http.Request) { viewer(r); r.Header.Set(headerClient, "6.6.6.6") })
	}
	lead.eventually("the refusals name the real address too", func() bool {
		n := 0
		for _, row := range get[AuditPage](lead, "GET", "/clusters/c/audit", nil, viewer).Rows {
			if row.IP != "127.0.0.1" {
				t.Fatalf("a forged address is believed: %+v", row)
			}
			n++
		}
		return n >= 3
	})
	// A person signs in through one node; the cookie holds on the other.
	token := lead.srv.NewSetupToken()
	res, b := f.try("POST", "/setup", SetupRequest{Token: token, Username: "ann", Password: "violet hammer 7 river"}, func(r *http.Request) { r.Header.Set("Origin", f.url) })
	if res.StatusCode != 200 || len(res.Cookies()) != 1 {
		t.Fatalf("set-up: %d %s", res.StatusCode, b)
	}
	for _, s := range []*site{f, lead} {
		if got := get[Session](s, "GET", "/session", nil, func(r *http.Request) { r.AddCookie(res.Cookies()[0]) }); got.Username != "ann" {
			t.Errorf("%+v", got)
		}
	}
	f.refused(403, CodeCrossSite, "POST", "/clusters/c/promotions", req, func(r *http.Request) {
		r.AddCookie(res.Cookies()[0])
		r.Header.Set("Origin", "http://evil.example")
	})
}

// TestWithoutALeader: reads are answered with how old they are, changes are
// refused with the reason; a leader that died is told apart from one that may
// have acted.
func TestWithoutALeader(t *testing.T) {
	f, _, who, w := follower(t)
	long := time.Now().Add(-12 * time.Second)
	alone := leader.Status{Self: "b", Contact: long, Needed: 2, Alive: 1, Sentence: "This node cannot see a majority; showing data from 12 s ago."}
	who.set(alone, false)
	res, b := f.try("GET", "/clusters", nil, viewer)
	if res.StatusCode != 200 || res.Header.Get(HeaderStale) == "" || !strings.Contains(string(b), `"Cache"`) {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, b)
	}
	if c := get[ControlState](f, "GET", "/control", nil, viewer); c.Majority || c.StaleSeconds < 12 || c.Sentence != alone.Sentence {
		t.Errorf("%+v", c)
	}
	p := f.refused(503, CodeNoMajority, "POST", "/clusters/c/promotions", PromotionRequest{Node: "b"}, operator)
	if p.Detail != alone.Sentence || !p.Retry {
		t.Errorf("%+v", p)
	}
	who.set(leader.Status{Self: "b", Leader: "a", Address: "a:1", Majority: true, Contact: time.Now()}, false)
	w.set(nil)
	if p := f.refused(503, CodeUnavailable, "POST", "/clusters/c/promotions", PromotionRequest{Node: "b"}, operator); !p.Retry || !strings.Contains(p.Detail, "nothing was done") {
		t.Errorf("%+v", p)
	}
	if res, _ := f.try("GET", "/clusters", nil, viewer); res.StatusCode != 200 || res.Header.Get(HeaderStale) == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	// The leader takes the request and dies: nobody may say that nothing was done.
	hang := make(chan struct{})
	w.set(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then a lost connection is noticed
		close(hang)
		<-r.Context().Done()
	}))
	go func() {
		<-hang
		who.set(alone, false)
	}()
	if p := f.refused(503, CodeUnavailable, "POST", "/clusters/c/promotions", PromotionRequest{Node: "b"}, operator); p.Retry || !strings.Contains(p.Detail, "not known") {
		t.Errorf("%+v", p)
	}
	// Asked as the leader it passes nothing on again.
	other := New(f.srv.Options)
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", Prefix+"/clusters", nil)
	viewer(r)
	other.ForPeers().ServeHTTP(rec, r)
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), "Leadership is moving") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
