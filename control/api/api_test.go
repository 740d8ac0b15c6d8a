package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// TestEveryRouteHasARole: what the document describes and what is served is
// exactly the table of permissions; a route that is not in it is refused.
func TestEveryRouteHasARole(t *testing.T) {
	s := New(Options{})
	served := map[string]bool{"GET " + Prefix + "/openapi.json": true, "GET " + Prefix + "/docs": true, "GET " + Prefix + "/program": true, "/": true}
	for path, item := range s.huma.OpenAPI().Paths {
		for method, op := range map[string]any{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "DELETE": item.Delete, "PATCH": item.Patch} {
			if o := op.(*huma.Operation); o != nil && o.BodyReadTimeout > 0 {
				t.Errorf("%s %s: a handler that takes longer than %s would be cancelled", method, path, o.BodyReadTimeout)
			}
			if b, _ := json.Marshal(op); string(b) != "null" {
				served[method+" "+path] = true
			}
		}
	}
	for r := range served {
		if _, ok := permissions[r]; !ok {
			t.Errorf("route %q has no role: add it to permissions", r)
		}
	}
	for r := range permissions {
		if !served[r] {
			t.Errorf("%q has a role and is not served", r)
		}
	}
	s.mux.HandleFunc("GET "+Prefix+"/forgotten", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("secret")) })
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", Prefix+"/forgotten", nil))
	if w.Code != 404 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("a route without a role answers %d %s", w.Code, w.Body)
	}
}

// TestRoles: nobody, a viewer and an operator get what the table says.
func TestRoles(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/clusters", "/clusters/c", "/clusters/c/audit", "/hosts", "/session", "/operations/x", "/clusters/c/nodes/b/report", "/events"} {
		s.refused(401, CodeNotSignedIn, "GET", path, nil, nil)
	}
	s.refused(401, CodeNotSignedIn, "GET", "/clusters", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer wrong") })
	s.refused(401, CodeNotSignedIn, "GET", "/clusters", nil, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "baton", Value: "guess"}) })
	if got := get[ClusterList](s, "GET", "/clusters", nil, viewer); len(got.Clusters) != 2 {
		t.Errorf("%d clusters", len(got.Clusters))
	}
	get[Plan](s, "POST", "/clusters/c/plan", PlanRequest{Node: "b"}, viewer)
	s.refused(403, CodeForbidden, "POST", "/clusters/c/promotions", PromotionRequest{Node: "b"}, viewer)
	s.refused(403, CodeForbidden, "POST", "/operations/x/undo", UndoRequest{}, viewer)
	rows := get[AuditPage](s, "GET", "/clusters/c/audit", nil, viewer).Rows
	if len(rows) != 1 || rows[0].Who != "watcher" || rows[0].Outcome != "refused" || rows[0].Hash == "" {
		t.Errorf("the viewer's attempt is not audited: %+v", rows)
	}
	if s.agents.orders != 0 {
		t.Errorf("%d orders", s.agents.orders)
	}
}

// TestSetupAndSessions: the link works once, weak passwords are refused, the
// session is a strict cookie, sign-out ends it, guessing is slowed down.
func TestSetupAndSessions(t *testing.T) {
	s := newSite(t)
	if !get[SetupState](s, "GET", "/setup-state", nil, nil).NeedsSetup {
		t.Error("set-up is not needed")
	}
	old := s.srv.NewSetupToken()
	token := s.srv.NewSetupToken()
	req := SetupRequest{Token: old, Username: "ann", Password: "violet hammer 7 river"}
	s.refused(403, CodeSetupToken, "POST", "/setup", req, nil)
	req.Token = token
	weak := req
	weak.Password = "password1234"
	s.refused(422, CodeWeakPassword, "POST", "/setup", weak, nil)
	odd := req
	odd.Username = "Ann;rm"
	s.refused(422, CodeBadRequest, "POST", "/setup", odd, nil)
	res, b := s.try("POST", "/setup", req, nil)
	if res.StatusCode != 200 {
		t.Fatalf("set-up: %d %s", res.StatusCode, b)
	}
	s.refused(409, CodeSetupDone, "POST", "/setup", req, nil)
	if s.srv.NewSetupToken() != "" || get[SetupState](s, "GET", "/setup-state", nil, nil).NeedsSetup {
		t.Error("set-up is open still")
	}
	var cookie *http.Cookie
	for _, c := range res.Cookies() {
		cookie = c
	}
	if cookie == nil || cookie.Name != "baton" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Domain != "" {
		t.Fatalf("cookie %+v", cookie)
	}
	signedIn := func(r *http.Request) { r.AddCookie(cookie); r.Header.Set("Origin", s.url) }
	if got := get[Session](s, "GET", "/session", nil, signedIn); got.Username != "ann" || got.Role != "admin" || time.Until(got.ExpiresAt) < time.Minute {
		t.Errorf("session %+v", got)
	}
	secure := New(Options{Secure: true})
	if c := secure.cookie(t.Context(), "x", time.Hour); c.Name != "__Host-baton" || !c.Secure {
		t.Errorf("cookie over TLS %+v", c)
	}
	// Another site's page can do nothing with the cookie.
	for _, forged := range []func(*http.Request){
		func(r *http.Request) { r.AddCookie(cookie); r.Header.Set("Origin", "http://evil.example") },
		func(r *http.Request) { r.AddCookie(cookie); r.Header.Set("Origin", "null") },
		func(r *http.Request) { r.AddCookie(cookie); r.Header.Set("Sec-Fetch-Site", "cross-site") },
		func(r *http.Request) { r.AddCookie(cookie) },
		func(r *http.Request) {
			r.AddCookie(cookie)
			r.Header.Set("Origin", strings.Replace(s.url, "http:", "https:", 1))
		},
	} {
		s.refused(403, CodeCrossSite, "POST", "/clusters/c/promotions", PromotionRequest{Node: "b"}, forged)
	}
	s.refused(415, CodeMediaType, "POST", "/clusters/c/promotions", `{"node":"b"}`, func(r *http.Request) { signedIn(r); r.Header.Set("Content-Type", "text/plain") })
	if res, b := s.try("POST", "/logout", nil, signedIn); res.StatusCode >= 300 {
		t.Errorf("sign-out: %d %s", res.StatusCode, b)
	}
	s.refused(401, CodeNotSignedIn, "GET", "/session", nil, signedIn)

	if got := get[Session](s, "POST", "/login", LoginRequest{"ann", req.Password}, nil); got.Username != "ann" {
		t.Errorf("login %+v", got)
	}
	a := s.refused(401, CodeWrongLogin, "POST", "/login", LoginRequest{"ann", "wrong"}, nil)
	u := s.refused(401, CodeWrongLogin, "POST", "/login", LoginRequest{"nobody", "wrong"}, nil)
	if a.Detail != u.Detail || a.Title != u.Title {
		t.Errorf("an unknown user is told apart: %q %q", a.Detail, u.Detail)
	}
	for range freeByAccount - 1 {
		s.refused(401, CodeWrongLogin, "POST", "/login", LoginRequest{"ann", "wrong"}, nil)
	}
	res, _ = s.try("POST", "/login", LoginRequest{"ann", req.Password}, nil)
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("after wrong tries: %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	rows := get[AuditPage](s, "GET", "/clusters/system/audit", nil, viewer).Rows
	if len(rows) < 4 {
		t.Errorf("sign-ins are not audited: %+v", rows)
	}
	for _, r := range rows {
		if b, _ := json.Marshal(r); strings.Contains(string(b), "violet") || strings.Contains(string(b), token) {
			t.Errorf("a secret in the audit: %s", b)
		}
	}
}

// TestBadInput: each malformed request is a clear problem, nothing is ordered,
// and attempts on a cluster are in its audit.
func TestBadInput(t *testing.T) {
	s := newSite(t)
	path := "/clusters/c/promotions"
	s.refused(422, CodeBadRequest, "POST", path, `{"node":"b","typedName":"b","reportHash":"x","generation":"0","force":true}`, operator)
	s.refused(400, CodeBadRequest, "POST", path, `{"node":`, operator)
	s.refused(422, CodeBadRequest, "POST", path, `{"node":"b","typedName":"b","reportHash":"x","generation":"many"}`, operator)
	s.refused(422, CodeBadRequest, "POST", path, `{"node":["b"],"typedName":"b","reportHash":"x","generation":"0"}`, operator)
	s.refused(422, CodeBadRequest, "POST", path, `[]`, operator)
	s.refused(400, CodeBadRequest, "POST", path, strings.Repeat("[", 100)+strings.Repeat("]", 100), operator)
	s.refused(413, CodeTooLarge, "POST", path, `{"node":"`+strings.Repeat("b", MaxBodyBytes)+`"}`, operator)
	s.refused(404, CodeNotFound, "GET", "/nothing", nil, operator)
	s.refused(405, CodeMethod, "POST", "/version", `{}`, operator)
	s.refused(404, CodeUnknownCluster, "GET", "/clusters/nope", nil, operator)
	s.refused(404, CodeUnknownCluster, "GET", "/clusters/nope/audit", nil, operator)
	s.refused(404, CodeUnknownCluster, "GET", "/events?cluster=nope", nil, operator)
	s.refused(404, CodeUnknownNode, "GET", "/clusters/c/nodes/q/report", nil, operator)
	s.refused(404, CodeUnknownOp, "GET", "/operations/op-0", nil, operator)
	s.refused(404, CodeUnknownOp, "POST", "/operations/op-0/undo", UndoRequest{TypedName: "a"}, operator)
	s.refused(422, CodeBadRequest, "GET", "/clusters/c/audit?limit=100000", nil, operator)
	s.refused(400, CodeBadRequest, "GET", "/clusters/c/audit?before=x", nil, operator)
	if s.agents.orders != 0 {
		t.Errorf("%d orders", s.agents.orders)
	}
	rows := get[AuditPage](s, "GET", "/clusters/c/audit", nil, operator).Rows
	if len(rows) != 7 {
		t.Errorf("%d of 7 malformed attempts are audited", len(rows))
	}
}

// seen is what a person who looked at the plan sends back.
func (s *site) seen(node string) PromotionRequest {
	p := get[Plan](s, "POST", "/clusters/c/plan", PlanRequest{Node: node}, operator)
	return PromotionRequest{Node: node, TypedName: node, ReportHash: p.Report.Hash, Generation: p.Generation}
}

// TestPromotion: report, plan, refusals of each kind, two at once, execution,
// result, events, audit, undo.
func TestPromotion(t *testing.T) {
	s := newSite(t)
	good := s.seen("b")
	with := func(f func(*PromotionRequest)) PromotionRequest { r := good; f(&r); return r }
	path := "/clusters/c/promotions"
	s.refused(422, CodeTypedName, "POST", path, with(func(r *PromotionRequest) { r.TypedName = "s" }), operator)
	if p := s.refused(409, CodeStaleReport, "POST", path, with(func(r *PromotionRequest) { r.ReportHash = "0" }), operator); p.Report == nil || p.Report.Hash != good.ReportHash {
		t.Errorf("no fresh report: %+v", p)
	}
	s.refused(409, CodeStaleReport, "POST", path, with(func(r *PromotionRequest) { r.Generation = 9 }), operator)
	if p := s.refused(409, CodeRefused, "POST", path, s.seen("a"), operator); len(p.Refusals) == 0 || p.Refusals[0].Fix == "" {
		t.Errorf("no reasons: %+v", p)
	}
	s.refused(404, CodeUnknownNode, "POST", path, with(func(r *PromotionRequest) { r.Node, r.TypedName = "q", "q" }), operator)
	s.refused(404, CodeNotOfCluster, "POST", path, with(func(r *PromotionRequest) { r.Node, r.TypedName = "z", "z" }), operator)
	s.refused(404, CodeUnknownCluster, "POST", "/clusters/nope/promotions", good, operator)
	var rows []AuditRow
	s.eventually("6 refusals are audited", func() bool {
		rows = get[AuditPage](s, "GET", "/clusters/c/audit", nil, operator).Rows
		return len(rows) == 6
	})
	if sys := get[AuditPage](s, "GET", "/clusters/system/audit", nil, operator).Rows; len(sys) != 1 || !strings.Contains(sys[0].What, "nope") {
		t.Errorf("the unknown cluster is not audited: %+v", sys)
	}
	if s.agents.orders != 0 {
		t.Fatalf("%d orders after refusals", s.agents.orders)
	}
	res, b := s.try("POST", path, with(func(r *PromotionRequest) { r.DryRun = true }), operator)
	var dry PromotionAccepted
	if err := json.Unmarshal(b, &dry); err != nil || res.StatusCode != 200 || dry.Plan == nil || len(dry.Plan.Steps) < 10 || s.agents.orders != 0 {
		t.Errorf("dry run: %d %s", res.StatusCode, b)
	}

	hold := make(chan struct{})
	s.agents.mu.Lock()
	s.agents.hold = hold
	s.agents.mu.Unlock()
	res, b = s.try("POST", path, with(func(r *PromotionRequest) { r.Reason = "maintenance" }), operator)
	var accepted PromotionAccepted
	if err := json.Unmarshal(b, &accepted); err != nil || res.StatusCode != 202 || accepted.OperationID == "" {
		t.Fatalf("promotion: %d %s", res.StatusCode, b)
	}
	if p := s.refused(409, CodeRunning, "POST", path, s.seen("s"), operator); p.OperationID != accepted.OperationID || !strings.Contains(p.Detail, "cli") {
		t.Errorf("the running operation is not named: %+v", p)
	}
	if c := get[ClusterDetail](s, "GET", "/clusters/c", nil, viewer); c.RunningOperation == nil || *c.RunningOperation != accepted.OperationID || c.Activity[0].Outcome != "running" {
		t.Errorf("the page does not show what runs: %+v", c.Activity[0])
	}
	// A fast run may pass through a state between two looks: it is held in this one.
	s.eventually("the operation runs", func() bool {
		return get[Operation](s, "GET", "/operations/"+accepted.OperationID, nil, viewer).State == "running"
	})
	states := map[string]bool{}
	release := sync.OnceFunc(func() { close(hold) })
	all := s.events("/events?cluster=c&operation="+accepted.OperationID, viewer, func(e event) bool {
		if e.name == "operation" {
			var o Operation
			if err := json.Unmarshal([]byte(e.data), &o); err != nil || e.id == "" {
				t.Errorf("event %+v: %v", e, err)
			}
			states[o.State] = true
			release() // the stream is open: let the operation go on
		}
		return e.name == "audit"
	})
	if !states["running"] || !states["done"] {
		t.Errorf("states seen: %v", states)
	}
	kinds := map[string]int{}
	for _, e := range all {
		kinds[e.name]++
	}
	if kinds["clusters"] == 0 || kinds["cluster"] == 0 {
		t.Errorf("events: %v", kinds)
	}
	o := get[Operation](s, "GET", "/operations/"+accepted.OperationID, nil, viewer)
	if o.State != "done" || !o.PastPointOfNoReturn || o.Stall == nil || *o.Stall.ProbeMs != 11.5 || o.Proof == nil || *o.Proof.Lost != 0 ||
		o.Undo == nil || !o.Undo.Available || o.Undo.Node != "a" || o.Reason != "maintenance" || o.Source != "cli" || len(o.RolesAfter) != 3 {
		t.Errorf("operation %+v", o)
	}
	for _, st := range o.Steps {
		if st.State != "done" || st.StartedAt == nil || st.EndedAt == nil {
			t.Errorf("step %+v", st)
		}
	}
	// A reader that comes back with the last id it has misses nothing.
	again := s.events("/events?cluster=c", func(r *http.Request) { viewer(r); r.Header.Set("Last-Event-ID", "1") }, func(e event) bool { return e.name == "audit" && strings.Contains(e.data, accepted.OperationID) })
	if again[0].name != "operation" {
		t.Errorf("resumed with %+v", again[0])
	}
	page := get[AuditPage](s, "GET", "/clusters/c/audit?limit=2", nil, viewer)
	if len(page.Rows) != 2 || page.Rows[0].Outcome != "done" || page.Rows[0].StallMs == nil || !page.Chain.OK || page.Next == "" {
		t.Errorf("audit %+v", page)
	}
	if rest := get[AuditPage](s, "GET", "/clusters/c/audit?before="+page.Next, nil, viewer); rest.Rows[0].ID == page.Rows[1].ID || len(rest.Rows) != page.Chain.Records-2 {
		t.Errorf("second page: %d rows of %d", len(rest.Rows), page.Chain.Records)
	}

	s.agents.mu.Lock()
	s.agents.hold = nil
	s.agents.mu.Unlock()
	back := s.seen("a")
	undo := get[PromotionAccepted](s, "POST", "/operations/"+o.ID+"/undo", UndoRequest{TypedName: "a", ReportHash: back.ReportHash, Generation: back.Generation}, operator)
	s.eventually("switched back", func() bool {
		return get[Operation](s, "GET", "/operations/"+undo.OperationID, nil, viewer).State == "done"
	})
	if o := get[Operation](s, "GET", "/operations/"+undo.OperationID, nil, viewer); o.Kind != "switch-back" || o.Node != "a" {
		t.Errorf("undo %+v", o)
	}
	s.refused(409, CodeUndoGone, "POST", "/operations/"+o.ID+"/undo", UndoRequest{TypedName: "a"}, operator)
}

// TestHeaders: no page of ours may be framed, sniffed or run inline script.
func TestHeaders(t *testing.T) {
	s := newSite(t)
	res, _ := s.try("GET", "/version", nil, nil)
	for h, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if got := res.Header.Get(h); got != want {
			t.Errorf("%s: %q", h, got)
		}
	}
	res, b := s.try("GET", "/docs", nil, nil)
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "script") {
		t.Errorf("CSP %q", csp)
	}
	if strings.Contains(string(b), "<script") || !strings.Contains(string(b), Prefix+"/clusters/{id}/promotions") {
		t.Error("the page has script or lacks routes")
	}
	if res, b := s.try("GET", "/openapi.json", nil, nil); res.StatusCode != 200 || !json.Valid(b) {
		t.Errorf("document: %d", res.StatusCode)
	}
	w := httptest.NewRecorder()
	New(Options{Secure: true}).ServeHTTP(w, httptest.NewRequest("GET", Prefix+"/version", nil))
	if w.Header().Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS over TLS")
	}
}
