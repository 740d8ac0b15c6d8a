package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/node"
)

// candidacyOf answers the routes of one node; its view is set later.
func candidacyOf(t *testing.T, name string, view *membership.View, list ...node.Election) (url string, member membership.NodeView) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cluster", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(view) })
	mux.HandleFunc("GET /cluster/elections", func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "ops" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(membership.Refusal{Code: "unauthenticated", Title: "Not signed in", Fix: "Send the name and password of a user."})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"node": name, "elections": list})
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	host, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return s.URL, membership.NodeView{Name: name, ClientHost: host, ClientPort: n}
}

// Goal: why elections were lost is told for one node and for all, also when some do not answer.
// Method: the command against two nodes' routes and a port where nobody listens.
func TestStoreElections(t *testing.T) {
	t.Setenv(nodePasswordVariable, "secret")
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	lost := node.Election{At: at, Began: at.Add(-time.Minute), Term: 7, Stage: "pre-vote", Outcome: "refused", Reason: "too many", Voters: 3, Needed: 2, Granted: 1, Times: 4,
		Answers: []node.ElectionAnswer{{Name: "n2", Answer: "hears-leader", Detail: "it leads"}, {Name: "n3", Answer: "no-answer", Detail: "no answer: connection refused"}}}
	won := node.Election{At: at.Add(time.Second), Began: at.Add(time.Second), Term: 6, Stage: "vote", Outcome: "won", Voters: 3, Needed: 2, Granted: 3, Times: 1, Answers: []node.ElectionAnswer{}}
	view := &membership.View{}
	url, first := candidacyOf(t, "n1", view, lost)
	_, second := candidacyOf(t, "n2", view, won)
	view.Members = []membership.NodeView{first, second, {Name: "n3", ClientHost: "127.0.0.1", ClientPort: 1}}

	run := func(args ...string) (string, error) {
		root := rootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append([]string{"store", "elections", "--node", url, "--user", "ops"}, args...))
		err := root.Execute()
		return out.String(), err
	}
	out, err := run()
	if err != nil || !strings.Contains(out, "n1, term 7, pre-vote: refused, 4 times since ") || !strings.Contains(out, "; 1 of 3 votes, 2 needed\n    n2  hears-leader  it leads\n    n3  no-answer     no answer: connection refused\n") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = run("--all")
	if err != nil || strings.Index(out, "n2, term 6, vote: won;") > strings.Index(out, "n1, term 7") || !strings.HasPrefix(out, "n3 did not answer: ") {
		t.Errorf("of all: %v\n%s", err, out)
	}
	out, err = run("--all", "--failed", "-o", "json")
	var answer electionsAnswer
	if err != nil || json.Unmarshal([]byte(out), &answer) != nil || len(answer.Nodes) != 3 || len(answer.Nodes[0].Elections) != 1 || len(answer.Nodes[1].Elections) != 0 || answer.Nodes[2].Error == "" ||
		len(answer.Nodes[0].Elections[0].Answers) != 2 {
		t.Errorf("as JSON: %v\n%s", err, out)
	}
	if out, err := run("--user", "nobody"); err == nil || !strings.Contains(err.Error(), "Not signed in") {
		t.Errorf("without the right to ask: %v\n%s", err, out)
	}
	_, quiet := candidacyOf(t, "n1", view)
	if out, err := run("--node", "http://"+net.JoinHostPort(quiet.ClientHost, strconv.Itoa(quiet.ClientPort))); err != nil || out != "There was no such candidacy since the start.\n" {
		t.Errorf("where nobody stood: %v\n%s", err, out)
	}
}
