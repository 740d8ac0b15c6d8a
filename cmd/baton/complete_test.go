package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/api"
)

// fakeServer answers as a control plane would, from a table of paths, and
// keeps what was asked.
func fakeServer(t *testing.T, answers map[string]any) (url string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.Method + " " + strings.TrimPrefix(r.URL.RequestURI(), api.Prefix)
		mu.Lock()
		all = append(all, path)
		mu.Unlock()
		for p, v := range answers {
			if path != p && !strings.HasPrefix(path, p+"?") {
				continue
			}
			if raw, ok := v.(string); ok {
				_, _ = w.Write([]byte(raw))
				return
			}
			_ = json.NewEncoder(w).Encode(v)
			return
		}
		w.WriteHeader(404)
		_ = json.NewEncoder(w).Encode(api.Problem{Title: "No such route", Status: 404, Code: api.CodeNotFound, Detail: path})
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(all) }
}

// runClient runs a command line against a server and returns what it prints.
func runClient(t *testing.T, url string, args ...string) (string, error) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append(args, "--server", url, "--token-file", token))
	err := root.Execute()
	return out.String(), err
}

var answers = map[string]any{
	"GET /clusters":       api.ClusterList{Clusters: []api.ClusterSummary{{ID: "cache", Verdict: api.Verdict{Sentence: "Healthy"}}, {ID: "orders"}}},
	"GET /clusters/cache": api.ClusterDetail{Nodes: []api.Node{{Name: "a", Role: "primary"}, {Name: "b", Role: "replica"}}},
	"GET /activity": api.ActivityPage{Next: "17", Rows: []api.AuditRow{{What: "promoted b", Who: "ann", Role: "operator", Source: "ui", Cluster: "cache", Outcome: "done", OperationID: func() *string { s := "op-1"; return &s }()},
		{What: "tried to promote b", Who: "eve", Outcome: "refused"}}},
	"GET /audit/verify":                  api.AuditVerification{Records: 9, Sentence: "The chain of cache breaks at record 3", FirstBad: &api.BadRecord{Cluster: "cache", Index: 3}},
	"GET /audit/export":                  "cluster,index\ncache,1\n",
	"GET /alerts":                        api.AlertList{Alerts: []api.Alert{{ID: "al-1", Severity: "critical", State: "firing", Sentence: "b is down"}, {ID: "al-2", State: "resolved", Sentence: "old"}}},
	"POST /alerts/al-1/acknowledge":      api.Alert{ID: "al-1", Sentence: "b is down"},
	"GET /users":                         api.PersonList{Users: []api.Person{{Name: "ann", Role: "admin"}}},
	"POST /users":                        api.Invitation{User: api.Person{Name: "bob", Role: "viewer"}, SetupLink: "/set-password#token=t&user=bob"},
	"GET /tokens":                        api.TokenList{Tokens: []api.Token{{ID: "tk-1", Name: "ci"}}},
	"POST /tokens":                       api.TokenCreated{Token: api.Token{Name: "ci", Role: "viewer"}, Secret: "bt_shown-once"},
	"GET /clusters/cache/history":        api.History{Metric: "writes", Unit: "per second", Series: []api.Series{{Node: "a", Points: [][2]float64{{0, 10}, {1000, 30}}}}},
	"GET /approvals":                     api.Approvals{Approvals: []api.Waiting{{ID: "wt-1", Node: "b", Cluster: "cache", State: "awaiting-approval", Requester: "ann", MayApprove: true}}},
	"GET /clusters/cache/schedules":      api.Schedules{},
	"POST /operations/op-1/cancel":       api.Operation{ID: "op-1", Outcome: "Rolling back: cancelled by cli"},
	"GET /clusters/cache/incidents/op-1": api.Incident{Title: "promoted b", Entries: []api.IncidentEntry{{Kind: "step", Sentence: "pause writes: done"}}},
}

// TestCompletion: the names in a command's use line are proposed, from the
// control plane; without one nothing is proposed and nothing is said.
func TestCompletion(t *testing.T) {
	url, _ := fakeServer(t, answers)
	for _, c := range []struct{ line, want string }{
		{"nodes ", "cache\tHealthy"},
		{"promote cache ", "b\treplica"},
		{"op watch ", "op-1\tdone: promoted b"},
		{"op cancel ", "op-1"},
		{"undo ", "op-1"},
		{"incident cache ", "op-1"},
		{"alerts acknowledge ", "al-1\tb is down"},
		{"users delete ", "ann\tadmin"},
		{"tokens end ", "tk-1\tci"},
		{"approve ", "wt-1\tpromotion of b by ann"},
		{"history ", "orders"},
	} {
		t.Setenv("BATON_SERVER", url)
		t.Setenv("BATON_TOKEN", "secret")
		root := rootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&bytes.Buffer{})
		root.SetArgs(append([]string{"__complete"}, append(strings.Fields(c.line), "")...))
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), "al-2") {
			t.Errorf("%q: %v %q, want %q", c.line, err, out.String(), c.want)
		}
	}
	t.Setenv("BATON_SERVER", "http://127.0.0.1:1")
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&bytes.Buffer{})
	root.SetArgs([]string{"__complete", "nodes", ""})
	if err := root.Execute(); err != nil || strings.TrimSpace(out.String()) != ":4" {
		t.Errorf("without a control plane: %v %q", err, out.String())
	}
}

// TestOperatorsCommands: each command asks what it should and shows what
// counts; -o json is what the control plane answered.
func TestOperatorsCommands(t *testing.T) {
	url, asked := fakeServer(t, answers)
	for _, c := range []struct {
		args []string
		want string
		ask  string
	}{
		{[]string{"activity", "--who", "ann", "--outcome", "done"}, "baton activity --before 17", "GET /activity?limit=50&outcome=done&who=ann"},
		{[]string{"audit"}, "tried to promote b", "GET /activity?limit=50"},
		{[]string{"audit", "--export", "csv"}, "cluster,index\ncache,1\n", "GET /audit/export?format=csv"},
		{[]string{"alerts"}, "b is down", "GET /alerts"},
		{[]string{"alerts", "acknowledge", "al-1"}, "Acknowledged: b is down", "POST /alerts/al-1/acknowledge"},
		{[]string{"users"}, "ann", "GET /users"},
		{[]string{"users", "add", "bob"}, "/set-password#token=t&user=bob", "POST /users"},
		{[]string{"tokens", "add", "ci"}, "BATON_TOKEN=bt_shown-once", "POST /tokens"},
		{[]string{"history", "cache"}, "20", ""},
		{[]string{"approve"}, "awaiting-approval", "GET /approvals"},
		{[]string{"schedules", "cache"}, "Nothing waits.", "GET /clusters/cache/schedules"},
		{[]string{"op", "cancel", "op-1"}, "cancelled by cli", "POST /operations/op-1/cancel"},
		{[]string{"incident", "cache", "op-1"}, "pause writes: done", "GET /clusters/cache/incidents/op-1"},
	} {
		out, err := runClient(t, url, c.args...)
		all := asked()
		if err != nil || !strings.Contains(out, c.want) || c.ask != "" && all[len(all)-1] != c.ask {
			t.Errorf("%v: %v\n%s\nasked %v", c.args, err, out, all[len(all)-1])
		}
		if c.args[0] == "audit" && len(c.args) > 1 {
			continue // an export is no JSON answer
		}
		if out, err := runClient(t, url, append(c.args, "-o", "json")...); err != nil || !json.Valid([]byte(out)) {
			t.Errorf("%v -o json: %v\n%s", c.args, err, out)
		}
	}
	if out, err := runClient(t, url, "audit", "--verify"); err == nil || !strings.Contains(out, "breaks at record 3") {
		t.Errorf("a broken chain: %v %s", err, out)
	}
	if out, err := runClient(t, url, "alerts", "-o", "json"); err != nil || strings.Contains(out, "al-2") {
		t.Errorf("resolved alerts: %v %s", err, out)
	}
	if _, err := runClient(t, url, "promote", "cache", "b", "--at", "tomorrow"); err == nil || !strings.Contains(err.Error(), "2026-01-31T02:00:00Z") {
		t.Errorf("a time that is none: %v", err)
	}
}

// TestProgress: a step that takes long is mentioned now and then, without
// noise where a line cannot be written over.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	began := time.Now().Add(-time.Minute)
	p := &progress{out: &out}
	p.show(&api.Operation{Steps: []api.Step{{Title: "copy the data", Node: "b", State: "running", StartedAt: &began, Detail: "40 %"}, {Title: "verify", State: "pending"}}})
	now := time.Now()
	for i := range 60 {
		p.tick(now.Add(time.Duration(i) * time.Second))
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], "1 of 2  copy the data on b: 40 %, 60 s") {
		t.Errorf("%q", lines)
	}
	out.Reset()
	p.terminal = true
	p.tick(now)
	p.say("  1 done     copy the data")
	if got := out.String(); !strings.HasPrefix(got, "  ... ") || !strings.HasSuffix(got, "\r  1 done     copy the data\n") {
		t.Errorf("%q", got)
	}
}
