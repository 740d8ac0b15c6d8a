package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/control/api"
)

// Goal: what is given changes, what is not stays, and secrets come from the environment or files only. Method: the
// command against a control plane that keeps what it was sent.
func TestNotificationsCommand(t *testing.T) {
	now := api.NotificationSettings{Webhooks: []api.WebhookSettings{}}
	var sent map[string]any
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != api.Prefix+"/notifications" {
			w.WriteHeader(http.StatusNotFound)
		}
		if r.Method == http.MethodPut {
			b, _ := io.ReadAll(r.Body)
			sent, now = nil, api.NotificationSettings{}
			if err := json.Unmarshal(b, &sent); err != nil {
				t.Error(err)
			}
			if err := json.Unmarshal(b, &now); err != nil {
				t.Error(err)
			}
			if now.Email != nil {
				now.Email.HasPassword, now.Email.Password = now.Email.Password != nil, nil
			}
			for i := range now.Webhooks {
				now.Webhooks[i].HasSecret, now.Webhooks[i].Secret = now.Webhooks[i].Secret != nil, nil
			}
		}
		_ = json.NewEncoder(w).Encode(now)
	}))
	t.Cleanup(s.Close)
	run := func(args ...string) string {
		t.Helper()
		out, err := runClient(t, s.URL, append([]string{"notifications"}, args...)...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return out
	}
	email := func() map[string]any { e, _ := sent["email"].(map[string]any); return e }
	hook := func(i int) map[string]any { return sent["webhooks"].([]any)[i].(map[string]any) }

	if out := run(); !strings.Contains(out, "Nobody is told") || sent != nil {
		t.Errorf("nothing set: %q, sent %v", out, sent)
	}
	if _, err := runClient(t, s.URL, "notifications", "--mail-to", "a@example.org"); err == nil || !strings.Contains(err.Error(), "--mail-server") {
		t.Errorf("without a server: %v", err)
	}
	t.Setenv(smtpPasswordVariable, "mail secret")
	t.Setenv(webhookSecretVariable, "hook secret")
	out := run("--mail-server", "smtp.example.org", "--mail-from", "b@example.org", "--mail-to", "x@example.org,y@example.org", "--mail-user", "b", "--webhook", "https://one.example.org")
	if e := email(); e["host"] != "smtp.example.org" || e["port"] != 587.0 || e["tls"] != "starttls" || e["password"] != "mail secret" || len(e["to"].([]any)) != 2 || hook(0)["secret"] != "hook secret" {
		t.Errorf("sent %v", sent)
	}
	if !strings.Contains(out, "from b@example.org by smtp.example.org:587 (starttls, as b)") || !strings.Contains(out, "https://one.example.org       with a secret") || strings.Contains(out, "mail secret") || strings.Contains(out, "hook secret") {
		t.Errorf("shown %q", out)
	}
	// A second webhook: the first one's secret, the mail and its password stay.
	run("--webhook", "https://one.example.org", "--webhook", "https://two.example.org")
	if _, ok := email()["password"]; ok || email()["host"] != "smtp.example.org" || email()["hasPassword"] != nil {
		t.Errorf("the mail was touched: %v", sent)
	}
	if hook(0)["secret"] != nil || hook(1)["secret"] != "hook secret" {
		t.Errorf("sent %v", sent["webhooks"])
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if run("--webhook", "https://two.example.org", "--webhook-secret-file", file); len(sent["webhooks"].([]any)) != 1 || hook(0)["secret"] != "from a file" {
		t.Errorf("another secret: %v", sent["webhooks"])
	}
	if run("--no-mail", "--no-webhooks"); email() != nil || len(sent["webhooks"].([]any)) != 0 {
		t.Errorf("everything off: %v", sent)
	}
	if out := run("-o", "json"); !json.Valid([]byte(out)) {
		t.Errorf("-o json: %s", out)
	}
}
