package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"baton/control/api"
)

// Goal: nobody's key or password is sent on before the machine's host key was confirmed; then the steps are shown.
// Method: the command against a control plane that asks for the confirmation.
func TestHostsSSHCommand(t *testing.T) {
	const shown = "SHA256:theKey"
	var mu sync.Mutex
	var sent []api.SSHRequest
	state := "done"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(api.HostTask{ID: "install-1", Address: "10.0.0.7", State: state, Error: "no sudo", Steps: []api.HostStep{{Step: "connect", Detail: "as root"}}})
			return
		}
		var q api.SSHRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		sent = append(sent, q)
		if q.HostKey != shown {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(api.Problem{Title: "Confirm the machine's host key", Code: api.CodeHostKey, HostKey: shown, Detail: "10.0.0.7 shows the ed25519 key " + shown})
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(api.HostTaskAccepted{TaskID: "install-1"})
	}))
	t.Cleanup(s.Close)
	run := func(typed string, args ...string) (string, error) {
		sent = nil
		root := rootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetIn(strings.NewReader(typed))
		root.SetArgs(append([]string{"hosts", "ssh", "10.0.0.7", "--server", s.URL, "--location", "rack-a"}, args...))
		err := root.Execute()
		return out.String(), err
	}
	t.Setenv("BATON_TOKEN", "secret")
	if _, err := run(""); err == nil || !strings.Contains(err.Error(), sshPasswordVariable) || len(sent) != 0 {
		t.Errorf("without a way in: %v, %v", err, sent)
	}
	t.Setenv(sshPasswordVariable, "pass word")
	if out, err := run("no\n"); err == nil || len(sent) != 1 || !strings.Contains(out, shown) || strings.Contains(out, "pass word") {
		t.Errorf("not confirmed: %v, %v\n%s", err, sent, out)
	}
	out, err := run("yes\n")
	if err != nil || len(sent) != 2 || sent[1].HostKey != shown || sent[1].Password != "pass word" || sent[1].User != "root" || sent[1].Port != 22 || sent[1].Location != "rack-a" || !strings.Contains(out, "connect: as root") || !strings.Contains(out, "Installed.") {
		t.Errorf("confirmed: %v, %v\n%s", err, sent, out)
	}
	if _, err := run("", "--host-key", "SHA256:another"); err == nil || len(sent) != 1 {
		t.Errorf("another key: %v, %v", err, sent)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("-----BEGIN\nx\n-----END\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run("", "--host-key", shown, "--key-file", key, "-o", "json"); err != nil || len(sent) != 1 || sent[0].Password != "" || sent[0].Key != "-----BEGIN\nx\n-----END\n" || !json.Valid([]byte(out)) {
		t.Errorf("by key: %v, %v\n%s", err, sent, out)
	}
	mu.Lock()
	state = "failed"
	mu.Unlock()
	if _, err := run("", "--host-key", shown); err == nil || !strings.Contains(err.Error(), "no sudo") {
		t.Errorf("failed: %v", err)
	}
}
