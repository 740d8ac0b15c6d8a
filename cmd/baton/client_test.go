package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/control/api"
)

// fakeControl answers a promotion of node b as told.
type fakeControl struct {
	refusals []api.Refusal
	problem  *api.Problem
	state    string
	requests []string
	body     api.PromotionRequest
}

func (f *fakeControl) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.requests = append(f.requests, r.Method+" "+strings.TrimPrefix(r.URL.Path, api.Prefix))
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	op := api.Operation{ID: "op-1", State: f.state, Cluster: "c", Node: "b", Outcome: "so it ended", Steps: []api.Step{{ID: "promote", Title: "b becomes primary", State: "done"}}}
	switch {
	case r.Header.Get("Authorization") != "Bearer secret":
		answer(401, api.Problem{Title: "Not signed in", Status: 401, Code: api.CodeNotSignedIn})
	case strings.HasSuffix(r.URL.Path, "/plan"):
		answer(200, api.Plan{Node: "b", Refused: len(f.refusals) > 0, Refusals: f.refusals, Generation: 7, Report: api.Report{Hash: "h1", Reason: "as it is"},
			Steps: []api.PlanStep{{Title: "b becomes primary", PointOfNoReturn: true}}})
	case strings.HasSuffix(r.URL.Path, "/promotions"):
		_ = json.NewDecoder(r.Body).Decode(&f.body)
		if f.problem != nil {
			answer(f.problem.Status, f.problem)
			return
		}
		answer(202, api.PromotionAccepted{OperationID: "op-1"})
	case strings.HasSuffix(r.URL.Path, "/events"):
		w.Header().Set("Content-Type", "text/event-stream")
		b, _ := json.Marshal(op)
		fmt.Fprintf(w, ": hello\n\nevent: clusters\ndata: []\n\nid: 9\nevent: operation\ndata: %s\n\n", b)
	case strings.HasSuffix(r.URL.Path, "/operations/op-1"):
		answer(200, op)
	default:
		answer(404, api.Problem{Title: "No such cluster", Status: 404, Code: api.CodeUnknownCluster, Detail: "there is no cluster", Fix: "look again"})
	}
}

// run executes the command line and returns its output and exit code.
func run(t *testing.T, stdin io.Reader, args ...string) (string, int) {
	t.Helper()
	cmd := rootCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetIn(stdin)
	cmd.SetArgs(args)
	err := cmd.Execute()
	var exit *exitError
	switch {
	case err == nil:
		return out.String(), 0
	case errors.As(err, &exit):
		return out.String() + err.Error(), exit.code
	}
	return out.String() + err.Error(), 1
}

// TestPromoteExitCodes: every end of a promotion has its exit code, what the
// person saw goes to the server, and a confirmed attempt always reaches it.
func TestPromoteExitCodes(t *testing.T) {
	refusal := []api.Refusal{{Code: "lag.bytes", Title: "it is far behind", Fix: "wait"}}
	for _, c := range []struct {
		name  string
		fake  fakeControl
		stdin string
		args  []string
		code  int
		says  string
		posts bool
	}{
		{"done", fakeControl{state: "done"}, "", []string{"--confirm", "b"}, 0, "done: so it ended", true},
		{"typed", fakeControl{state: "done"}, "b\n", nil, 0, "point of no return", true},
		{"not typed", fakeControl{state: "done"}, "", nil, 1, "not confirmed", false},
		{"dry run", fakeControl{}, "", []string{"--dry-run"}, 0, "point of no return", false},
		{"dry run refused", fakeControl{refusals: refusal}, "", []string{"--dry-run"}, 2, "far behind", false},
		{"refused", fakeControl{refusals: refusal, problem: &api.Problem{Title: "Refused by checks", Status: 409, Code: api.CodeRefused, Detail: "it is far behind"}}, "", []string{"--confirm", "b"}, 2, "far behind", true},
		{"rolled back", fakeControl{state: "rolled-back"}, "", []string{"--confirm", "b"}, 3, "rolled back", true},
		{"needs a human", fakeControl{state: "needs-human"}, "", []string{"--confirm", "b"}, 4, "needs a human", true},
		{"another runs", fakeControl{problem: &api.Problem{Title: "Another operation is running", Status: 409, Code: api.CodeRunning}}, "", []string{"--confirm", "b"}, 5, "Another operation", true},
		{"stale", fakeControl{problem: &api.Problem{Title: "The report is out of date", Status: 409, Code: api.CodeStaleReport}}, "", []string{"--confirm", "b"}, 5, "out of date", true},
		{"another runs, seen in the plan", fakeControl{refusals: []api.Refusal{{Code: "operation.running", Title: "another operation"}}}, "", nil, 5, "another operation", false},
		{"json", fakeControl{state: "done"}, "", []string{"--confirm", "b", "-o", "json"}, 0, `"state": "done"`, true},
		{"wrong output", fakeControl{}, "", []string{"-o", "yaml"}, 1, "table or json", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(&c.fake)
			defer srv.Close()
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, code := run(t, strings.NewReader(c.stdin), append([]string{"promote", "c", "b", "--server", srv.URL, "--token-file", file}, c.args...)...)
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("exit %d, want %d; %q in\n%s", code, c.code, c.says, out)
			}
			posted := strings.Contains(fmt.Sprint(c.fake.requests), "/promotions")
			if posted != c.posts {
				t.Errorf("requests %v", c.fake.requests)
			}
			if posted && (c.fake.body.ReportHash != "h1" || c.fake.body.Generation != 7 || c.fake.body.TypedName != "b") {
				t.Errorf("sent %+v", c.fake.body)
			}
		})
	}
}

// TestClientErrors: no server, no token, not a control plane: one line with
// the next step.
func TestClientErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("BATON_TOKEN", "")
	if out, code := run(t, nil, "clusters"); code != 1 || !strings.Contains(out, "BATON_TOKEN") {
		t.Errorf("%d %s", code, out)
	}
	t.Setenv("BATON_TOKEN", "secret")
	if out, code := run(t, nil, "clusters", "--server", "http://127.0.0.1:1"); code != 1 || !strings.Contains(out, "is it running?") {
		t.Errorf("%d %s", code, out)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	if out, code := run(t, nil, "clusters", "--server", plain.URL); code != 1 || !strings.Contains(out, "not as a Baton control plane") {
		t.Errorf("%d %s", code, out)
	}
	f := &fakeControl{}
	srv := httptest.NewServer(f)
	defer srv.Close()
	t.Setenv("BATON_SERVER", srv.URL)
	if out, code := run(t, nil, "nodes", "../../x"); code != 1 || !strings.Contains(out, "look again") || !strings.Contains(fmt.Sprint(f.requests), "/clusters/../../x") {
		t.Errorf("%d %s %v", code, out, f.requests)
	}
}
