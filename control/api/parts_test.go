package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/health"
	"baton/control/inventory"
)

// goodPassword is one that is taken.
const goodPassword = "violet hammer 7 river"

// as signs requests with the cookie of an answer.
func (s *site) as(res *http.Response) func(*http.Request) {
	s.t.Helper()
	for _, c := range res.Cookies() {
		if c.Name == "baton" && c.Value != "" {
			return func(r *http.Request) { r.AddCookie(c); r.Header.Set("Origin", s.url) }
		}
	}
	s.t.Fatalf("no cookie in the answer %d", res.StatusCode)
	return nil
}

// root makes the first user and signs in.
func (s *site) root() func(*http.Request) {
	s.t.Helper()
	res, b := s.try("POST", "/setup", SetupRequest{Token: s.srv.NewSetupToken(), Username: "root", Password: goodPassword}, nil)
	if res.StatusCode != 200 {
		s.t.Fatalf("set-up: %d %s", res.StatusCode, b)
	}
	return s.as(res)
}

// invite makes a user, who sets a password with the link and is signed in.
func (s *site) invite(root func(*http.Request), name string, role Role) func(*http.Request) {
	s.t.Helper()
	in := get[Invitation](s, "POST", "/users", NewPerson{Name: name, Role: string(role)}, root)
	token, _, _ := strings.Cut(strings.TrimPrefix(in.SetupLink, "/set-password#token="), "&")
	res, b := s.try("POST", "/set-password", LinkUse{Token: token, Password: goodPassword}, nil)
	if res.StatusCode != 200 {
		s.t.Fatalf("link of %s: %d %s", name, res.StatusCode, b)
	}
	return s.as(res)
}

func bearer(secret string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
}

// TestPeople: an admin makes, changes and deletes users; links work once; a
// change of role or password ends sessions; the last admin stays; no secret is
// in an answer that should not have it, or in the audit.
func TestPeople(t *testing.T) {
	s := newSite(t)
	root := s.root()
	ann := s.invite(root, "ann", RoleOperator)
	s.refused(403, CodeForbidden, "GET", "/users", nil, ann)
	s.refused(409, CodeRefused, "POST", "/users", NewPerson{Name: "ann", Role: "viewer"}, root)
	s.refused(422, CodeBadRequest, "POST", "/users", NewPerson{Name: "Ann", Role: "viewer"}, root)
	s.refused(422, CodeBadRequest, "POST", "/users", NewPerson{Name: "cli", Role: "viewer"}, root)
	s.refused(422, CodeBadRequest, "POST", "/users", NewPerson{Name: "bob", Role: "god"}, root)

	again := get[Invitation](s, "POST", "/users/ann/password", nil, root)
	token, _, _ := strings.Cut(strings.TrimPrefix(again.SetupLink, "/set-password#token="), "&")
	s.refused(403, CodeSetupToken, "POST", "/set-password", LinkUse{Token: "guess", Password: goodPassword}, nil)
	s.refused(422, CodeWeakPassword, "POST", "/set-password", LinkUse{Token: token, Password: "short"}, nil)
	res, _ := s.try("POST", "/set-password", LinkUse{Token: token, Password: goodPassword + "!"}, nil)
	s.refused(403, CodeSetupToken, "POST", "/set-password", LinkUse{Token: token, Password: goodPassword}, nil)
	s.refused(401, CodeNotSignedIn, "GET", "/session", nil, ann) // the password changed
	ann = s.as(res)

	other, _ := s.try("POST", "/login", LoginRequest{"ann", goodPassword + "!"}, nil)
	s.refused(403, CodeWrongLogin, "POST", "/me/password", PasswordChange{Old: "wrong", New: goodPassword + "?"}, ann)
	res, b := s.try("POST", "/me/password", PasswordChange{Old: goodPassword + "!", New: goodPassword + "?"}, ann)
	if res.StatusCode != 200 {
		t.Fatalf("own password: %d %s", res.StatusCode, b)
	}
	s.refused(401, CodeNotSignedIn, "GET", "/session", nil, s.as(other))
	ann = s.as(res)
	get[Session](s, "GET", "/session", nil, ann)

	s.refused(409, CodeLastAdmin, "PUT", "/users/root", PersonChange{Role: ptr("viewer")}, root)
	s.refused(409, CodeLastAdmin, "DELETE", "/users/root", nil, root)
	get[Person](s, "PUT", "/users/ann", PersonChange{Role: ptr("viewer")}, root)
	s.refused(401, CodeNotSignedIn, "GET", "/session", nil, ann)
	get[Person](s, "PUT", "/users/ann", PersonChange{Disabled: ptr(true)}, root)
	s.refused(401, CodeWrongLogin, "POST", "/login", LoginRequest{"ann", goodPassword + "?"}, nil)
	list := get[PersonList](s, "GET", "/users", nil, root).Users
	if len(list) != 2 || list[0].Name != "ann" || !list[0].Disabled || list[0].LastSeen == nil || !list[1].You {
		t.Errorf("users %+v", list)
	}
	if left := get[PersonList](s, "DELETE", "/users/ann", nil, root).Users; len(left) != 1 {
		t.Errorf("%d users", len(left))
	}
	s.refused(404, CodeNotFound, "DELETE", "/users/ann", nil, root)
	// A field that is not known is named in the audit, what came with it is not.
	s.refused(422, CodeBadRequest, "POST", "/me/password", `{"old":"canary-old","new":"canary-new","what":"canary-what"}`, root)
	page := get[ActivityPage](s, "GET", "/activity?limit=500", nil, root)
	text, _ := json.Marshal(page)
	for _, secret := range []string{"violet", token, "canary", "map["} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%q is in the audit", secret)
		}
	}
	if !bytes.Contains(text, []byte("unexpected property")) || !bytes.Contains(text, []byte("made user ann, operator")) {
		t.Errorf("audit %s", text)
	}
}

// TestAPITokens: a token does what its role and its owner may, is shown once,
// and ends.
func TestAPITokens(t *testing.T) {
	s := newSite(t)
	root := s.root()
	ann := s.invite(root, "ann", RoleOperator)
	s.refused(403, CodeForbidden, "POST", "/tokens", NewToken{Name: "ci", Role: "admin"}, ann)
	made := get[TokenCreated](s, "POST", "/tokens", NewToken{Name: "ci", Role: "operator", Days: 7}, ann)
	ci := bearer(made.Secret)
	if got := get[Session](s, "GET", "/session", nil, ci); got.Username != "ann" || got.Role != "operator" {
		t.Errorf("%+v", got)
	}
	s.refused(403, CodeForbidden, "POST", "/tokens", NewToken{Name: "more", Role: "viewer"}, ci)
	s.refused(403, CodeForbidden, "POST", "/me/password", PasswordChange{Old: goodPassword, New: goodPassword + "!"}, ci)
	if got := get[TokenList](s, "GET", "/tokens", nil, ann).Tokens; len(got) != 1 || got[0].LastSeen == nil {
		t.Errorf("%+v", got)
	}
	bob := s.invite(root, "bob", RoleViewer)
	if got := get[TokenList](s, "GET", "/tokens", nil, bob).Tokens; len(got) != 0 {
		t.Errorf("bob sees %+v", got)
	}
	s.refused(404, CodeNotFound, "DELETE", "/tokens/"+made.Token.ID, nil, bob)
	get[Person](s, "PUT", "/users/ann", PersonChange{Role: ptr("viewer")}, root)
	s.refused(403, CodeForbidden, "POST", "/clusters/c/promotions", PromotionRequest{Node: "b"}, ci)
	get[TokenList](s, "DELETE", "/tokens/"+made.Token.ID, nil, root)
	s.refused(401, CodeNotSignedIn, "GET", "/session", nil, ci)
	for _, row := range get[ActivityPage](s, "GET", "/activity?limit=500", nil, root).Rows {
		if b, _ := json.Marshal(row); bytes.Contains(b, []byte(made.Secret)) {
			t.Errorf("the token is in the audit: %s", b)
		}
	}
}

// TestAuditorsAndExport: only auditors and admins verify and export; filters
// and cursor work; the CSV is inert, the JSON is the stored records, and the
// export itself is audited.
func TestAuditorsAndExport(t *testing.T) {
	s := newSite(t)
	root := s.root()
	eve := s.invite(root, "eve", RoleAuditor)
	s.refused(403, CodeForbidden, "GET", "/audit/verify", nil, operator)
	s.refused(403, CodeForbidden, "GET", "/audit/export", nil, operator)
	s.refused(403, CodeForbidden, "POST", "/clusters/c/promotions", PromotionRequest{Node: "b"}, eve)
	bad := s.seen("b")
	bad.ReportHash, bad.Reason = "0", "=cmd()"
	for range 3 {
		s.refused(409, CodeStaleReport, "POST", "/clusters/c/promotions", bad, operator)
	}
	s.refused(404, CodeUnknownCluster, "POST", "/clusters/=evil/promotions", bad, operator)
	v := get[AuditVerification](s, "GET", "/audit/verify", nil, eve)
	if !v.OK || v.Chains != 2 || v.Records < 7 || v.FirstBad != nil {
		t.Errorf("%+v", v)
	}
	var seen []string
	for next := ""; ; {
		page := get[ActivityPage](s, "GET", "/activity?limit=2&cluster=c&outcome=refused&before="+next, nil, viewer)
		for _, r := range page.Rows {
			seen = append(seen, r.ID)
			if r.Cluster != "c" || r.Outcome != "refused" {
				t.Errorf("%+v", r)
			}
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d refusals on c", len(seen))
	}
	if rows := get[ActivityPage](s, "GET", "/activity?who=root&kind=people", nil, viewer).Rows; len(rows) != 1 {
		t.Errorf("%+v", rows)
	}
	s.refused(400, CodeBadRequest, "GET", "/activity?before=x", nil, viewer)

	res, b := s.try("GET", "/audit/export?format=csv", nil, eve)
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil || res.Header.Get("Content-Type") != "text/csv; charset=utf-8" || !strings.Contains(res.Header.Get("Content-Disposition"), ".csv") || len(rows) < v.Records+1 {
		t.Fatalf("%d rows of %d, %v, %v", len(rows), v.Records, err, res.Header)
	}
	for _, row := range rows {
		for _, cell := range row {
			if strings.IndexAny(cell, "=+-@") == 0 {
				t.Errorf("formula %q", cell)
			}
		}
	}
	res, b = s.try("GET", "/audit/export?format=json&cluster=c", nil, eve)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 4 || res.StatusCode != 200 || !json.Valid([]byte(lines[0])) || !strings.Contains(lines[0], `"hash":"`) {
		t.Errorf("%d lines: %s", len(lines), lines[0])
	}
	s.refused(404, CodeUnknownCluster, "GET", "/audit/export?cluster=nope", nil, eve)
	s.refused(400, CodeBadRequest, "GET", "/audit/export?format=xml", nil, eve)
	s.refused(400, CodeBadRequest, "GET", "/audit/export?from=yesterday", nil, eve)
	if rows := get[ActivityPage](s, "GET", "/activity?who=eve&kind=audit", nil, viewer).Rows; len(rows) != 2 {
		t.Errorf("%d exports are audited", len(rows))
	}
}

// run plays the keeper until ctx of the test ends.
func (s *site) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			_ = s.parts.alerts.Step(ctx)
			<-tick.C
		}
	})
	all.Go(func() { _ = s.srv.RunWaiting(ctx, nil) })
	s.t.Cleanup(func() { cancel(); all.Wait() })
}

// TestAlertsAndNotifications: what fires is listed and acknowledged; settings
// never give a secret back and keep it; the test message goes out.
func TestAlertsAndNotifications(t *testing.T) {
	var mu sync.Mutex
	var bodies []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, string(b))
	}))
	defer hook.Close()
	s := newSite(t)
	root := s.root()
	s.refused(403, CodeForbidden, "GET", "/notifications", nil, operator)
	s.refused(409, CodeRefused, "POST", "/notifications/test", nil, root)
	s.refused(422, CodeBadRequest, "PUT", "/notifications", NotificationSettings{Webhooks: []WebhookSettings{{URL: "ftp://x"}}}, root)
	s.refused(409, CodeUnavailable, "PUT", "/notifications", NotificationSettings{Webhooks: []WebhookSettings{{URL: hook.URL, Secret: ptr("canary")}}}, root)
	got := get[NotificationSettings](s, "PUT", "/notifications", NotificationSettings{Webhooks: []WebhookSettings{{URL: hook.URL}}}, root)
	if len(got.Webhooks) != 1 || got.Webhooks[0].Secret != nil || got.Email != nil {
		t.Errorf("%+v", got)
	}
	if r := get[TestResult](s, "POST", "/notifications/test", nil, root).Deliveries; len(r) != 1 || !r[0].OK || len(bodies) != 1 || !strings.Contains(bodies[0], "asked for by root") {
		t.Errorf("%+v %q", r, bodies)
	}
	s.run()
	s.agents.mu.Lock()
	s.agents.down["b"] = true
	s.agents.mu.Unlock()
	var fired Alert
	s.eventually("the dead node is told", func() bool {
		for _, a := range get[AlertList](s, "GET", "/alerts", nil, viewer).Alerts {
			if a.Kind == "node-down" && a.Node == "b" && a.Cluster == "c" && a.State == "firing" {
				fired = a
			}
		}
		mu.Lock()
		defer mu.Unlock()
		return fired.ID != "" && strings.Contains(strings.Join(bodies, ""), fired.ID)
	})
	s.refused(403, CodeForbidden, "POST", "/alerts/"+fired.ID+"/acknowledge", AcknowledgeRequest{}, viewer)
	s.refused(404, CodeNotFound, "POST", "/alerts/al-0/acknowledge", AcknowledgeRequest{}, operator)
	if a := get[Alert](s, "POST", "/alerts/"+fired.ID+"/acknowledge", AcknowledgeRequest{Minutes: 60, Note: "on it"}, operator); a.State != "acknowledged" || *a.AcknowledgedBy != "cli" || a.AcknowledgedUntil == nil {
		t.Errorf("%+v", a)
	}
	if rows := get[ActivityPage](s, "GET", "/activity?kind=alert", nil, viewer).Rows; len(rows) != 1 || rows[0].Detail != "on it" {
		t.Errorf("%+v", rows)
	}
}

// approvalPolicy turns approval on for the cluster.
func (s *site) approvalPolicy() {
	s.t.Helper()
	c, _ := s.inv.Cluster("c")
	p := c.Policy
	p.Approval = true
	data, err := inventory.Settings{Policy: &p, At: time.Now()}.Event()
	if err != nil {
		s.t.Fatal(err)
	}
	rev, err := s.parts.journal.Append(s.t.Context(), inventory.Stream("c"), -2, data)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.inv.Wait(s.t.Context(), inventory.Stream("c"), rev); err != nil {
		s.t.Fatal(err)
	}
}

// TestApproval: where the policy asks for it a promotion waits for somebody
// else; then it runs, and its audit names both.
func TestApproval(t *testing.T) {
	s := newSite(t)
	root := s.root()
	s.approvalPolicy()
	s.invite(root, "ann", RoleApprover)
	get[Person](s, "PUT", "/users/ann", PersonChange{Disabled: ptr(true)}, root)
	s.refused(409, CodeRefused, "POST", "/clusters/c/promotions", s.seen("b"), root) // nobody else could approve
	get[Person](s, "PUT", "/users/ann", PersonChange{Disabled: ptr(false)}, root)
	res, _ := s.try("POST", "/login", LoginRequest{"ann", goodPassword}, nil)
	ann := s.as(res)
	bob := s.invite(root, "bob", RoleOperator)

	asked := get[PromotionAccepted](s, "POST", "/clusters/c/promotions", s.seen("b"), ann)
	if asked.State != "awaiting-approval" || asked.ApprovalID == "" || asked.OperationID != "" || s.agents.orders != 0 {
		t.Fatalf("%+v", asked)
	}
	path := "/approvals/" + asked.ApprovalID
	s.refused(403, CodeForbidden, "POST", path+"/approve", ApprovalAnswer{}, ann)
	s.refused(403, CodeForbidden, "POST", path+"/approve", ApprovalAnswer{}, bob)
	if got := get[Approvals](s, "GET", "/approvals", nil, ann).Approvals; len(got) != 1 || got[0].MayApprove || got[0].Report == nil {
		t.Errorf("%+v", got)
	}
	done := get[Waiting](s, "POST", path+"/approve", ApprovalAnswer{Note: "fine"}, root)
	if done.State != "started" || done.OperationID == nil || done.Approver != "root" {
		t.Fatalf("%+v", done)
	}
	s.eventually("it is done", func() bool {
		return get[Operation](s, "GET", "/operations/"+*done.OperationID, nil, viewer).State == "done"
	})
	s.eventually("it is audited", func() bool {
		rows := get[ActivityPage](s, "GET", "/activity?kind=promotion&outcome=done", nil, viewer).Rows
		return len(rows) == 1 && rows[0].Who == "ann"
	})
	in := get[Incident](s, "GET", "/clusters/c/incidents/"+*done.OperationID, nil, viewer)
	text, _ := json.Marshal(in)
	if !bytes.Contains(text, []byte("approved by root")) || len(in.Entries) < 10 {
		t.Errorf("%s", text)
	}
	s.refused(404, CodeUnknownOp, "GET", "/clusters/other/incidents/"+*done.OperationID, nil, viewer)

	second := get[PromotionAccepted](s, "POST", "/clusters/c/promotions", s.seen("a"), ann)
	get[Waiting](s, "POST", "/approvals/"+second.ApprovalID+"/reject", ApprovalAnswer{Note: "not today"}, root)
	s.refused(404, CodeNotFound, "POST", "/approvals/"+second.ApprovalID+"/approve", ApprovalAnswer{}, root)
	third := get[PromotionAccepted](s, "POST", "/clusters/c/promotions", s.seen("a"), ann)
	s.agents.mu.Lock()
	s.agents.down["s"] = true
	s.agents.mu.Unlock()
	s.eventually("the sibling is seen down", func() bool {
		snap, _ := s.srv.Monitor.Snapshot("c")
		return snap.Node("s").Down()
	})
	if p := s.refused(409, CodeStaleReport, "POST", "/approvals/"+third.ApprovalID+"/approve", ApprovalAnswer{}, root); !strings.Contains(p.Detail, "worse") {
		t.Errorf("%+v", p)
	}
}

// TestScheduleOverAPI: it waits, starts by itself at its time, and can be
// cancelled before.
func TestScheduleOverAPI(t *testing.T) {
	s := newSite(t)
	s.run()
	ask := s.seen("b")
	past := time.Now().Add(-time.Minute)
	ask.At = &past
	s.refused(422, CodeBadRequest, "POST", "/clusters/c/promotions", ask, operator)
	later := time.Now().Add(time.Hour)
	ask.At = &later
	waits := get[PromotionAccepted](s, "POST", "/clusters/c/promotions", ask, operator)
	if waits.State != "scheduled" || waits.ScheduleID == "" {
		t.Fatalf("%+v", waits)
	}
	s.refused(404, CodeNotFound, "DELETE", "/clusters/other/schedules/"+waits.ScheduleID, nil, operator)
	if got := get[Waiting](s, "DELETE", "/clusters/c/schedules/"+waits.ScheduleID, nil, operator); got.State != "cancelled" {
		t.Errorf("%+v", got)
	}
	if rows := get[ActivityPage](s, "GET", "/activity?outcome=cancelled", nil, viewer).Rows; len(rows) != 1 {
		t.Errorf("%+v", rows)
	}
	soon := time.Now().Add(3 * time.Second)
	ask.At = &soon
	waits = get[PromotionAccepted](s, "POST", "/clusters/c/promotions", ask, operator)
	s.eventually("it is done", func() bool {
		for _, w := range get[Schedules](s, "GET", "/clusters/c/schedules", nil, viewer).Schedules {
			if w.ID == waits.ScheduleID && w.OperationID != nil {
				return get[Operation](s, "GET", "/operations/"+*w.OperationID, nil, viewer).State == "done"
			}
		}
		return false
	})
}

// TestCancel: before the point of no return an operation turns round; after it
// the answer is an honest "too late".
func TestCancel(t *testing.T) {
	s := newSite(t)
	hold := make(chan struct{})
	s.agents.mu.Lock()
	s.agents.hold = hold
	s.agents.mu.Unlock()
	id := get[PromotionAccepted](s, "POST", "/clusters/c/promotions", s.seen("b"), operator).OperationID
	s.eventually("it runs", func() bool { return get[Operation](s, "GET", "/operations/"+id, nil, viewer).State == "running" })
	s.refused(403, CodeForbidden, "POST", "/operations/"+id+"/cancel", CancelRequest{}, viewer)
	s.refused(404, CodeUnknownOp, "POST", "/operations/op-0/cancel", CancelRequest{}, operator)
	get[Operation](s, "POST", "/operations/"+id+"/cancel", CancelRequest{Reason: "changed my mind"}, operator)
	close(hold)
	s.eventually("it is rolled back", func() bool { return get[Operation](s, "GET", "/operations/"+id, nil, viewer).State == "rolled-back" })
	if o := get[Operation](s, "GET", "/operations/"+id, nil, viewer); !strings.Contains(o.Outcome, "cancelled by cli") {
		t.Errorf("%q", o.Outcome)
	}
	if p := s.refused(409, CodeTooLate, "POST", "/operations/"+id+"/cancel", CancelRequest{}, operator); p.Fix == "" {
		t.Errorf("%+v", p)
	}
	if c := get[ClusterDetail](s, "GET", "/clusters/c", nil, viewer); c.Primary == nil || c.Primary.Node != "a" {
		t.Errorf("primary %+v", c.Primary)
	}
	s.eventually("it is audited", func() bool {
		kinds := map[string]int{}
		for _, r := range get[ActivityPage](s, "GET", "/activity?cluster=c", nil, viewer).Rows {
			kinds[r.Outcome]++
		}
		return kinds["cancelled"] == 1 && kinds["rolled-back"] == 1 && kinds["refused"] == 2
	})
}

// TestHistoryOverAPI: metrics come by node with their step, stalls from the
// operations, availability of what is known.
func TestHistoryOverAPI(t *testing.T) {
	s := newSite(t)
	snap, _ := s.srv.Monitor.Snapshot("c")
	now := time.Now()
	for i := range 600 {
		moment := snap
		moment.Now = now.Add(time.Duration(i-600) * time.Second)
		if i >= 300 && i < 330 {
			moment.Nodes = append([]health.Node{}, snap.Nodes...)
			o := *moment.Nodes[0].Seen
			o.Up = false
			moment.Nodes[0].Seen = &o
		}
		s.parts.history.Record(&moment)
	}
	h := get[History](s, "GET", "/clusters/c/history?metric=writes&step=60", nil, viewer)
	if h.StepSeconds != 60 || h.Unit != "per second" || len(h.Series) != 1 || h.Series[0].Node != "a" || len(h.Series[0].Points) < 9 || h.Series[0].Points[0][1] != 12 {
		t.Errorf("%+v", h)
	}
	if a := get[Availability](s, "GET", "/clusters/c/availability", nil, viewer); a.Percent == nil || *a.Percent < 90 || *a.Percent > 99 || a.KnownSeconds < 500 {
		t.Errorf("%+v", a)
	}
	id := get[PromotionAccepted](s, "POST", "/clusters/c/promotions", s.seen("b"), operator).OperationID
	s.eventually("it is done", func() bool { return get[Operation](s, "GET", "/operations/"+id, nil, viewer).State == "done" })
	if st := get[History](s, "GET", "/clusters/c/history?metric=stall", nil, viewer); st.Stalls == nil || st.Stalls.Count != 1 || st.Stalls.MaxMs != 11.5 || st.Series[0].Node != "b" {
		t.Errorf("%+v", st)
	}
	s.refused(404, CodeUnknownCluster, "GET", "/clusters/nope/history", nil, viewer)
	s.refused(422, CodeBadRequest, "GET", "/clusters/c/history?metric=secrets", nil, viewer)
	s.refused(400, CodeBadRequest, "GET", fmt.Sprintf("/clusters/c/history?from=%s", now.Add(time.Hour).UTC().Format(time.RFC3339)), nil, viewer)
}
