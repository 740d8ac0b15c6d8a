package api

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/backup"
	"baton/control/engine"
	"baton/control/journal"
	"baton/control/provider"
	"baton/control/provider/machines"
	"baton/platform/auth"
	"baton/platform/seal"
)

// heard is everything that was written to it.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(b)
}

func (h *heard) bytes() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return bytes.Clone(h.text.Bytes())
}

// formsOf is a secret in the forms in which it might be written down: as it is, in URLs, in hexadecimal digits, and in base64 wherever it begins.
func formsOf(secret string) (forms []string) {
	forms = append(forms, secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret)))
	for before := range 3 {
		text := base64.RawStdEncoding.EncodeToString([]byte("abc"[:before] + secret))
		// The characters at either end hold bits of what stands beside the secret.
		forms = append(forms, text[[]int{0, 2, 3}[before]:len(text)-1])
	}
	return forms
}

// Goal: no secret that is given to the control plane, or made by it, is to be found in the journal with its audit, in the log at its most talkative, or in an
// answer to anything but the request that makes it: whether it was right or wrong, and also when the request around it makes no sense.
// Method: secrets that stand out are sent to every route that takes one, whole and in broken requests; then everything is searched for them.
func TestSecretsStayOutOfSight(t *testing.T) {
	const (
		person, other, mail, hook, store  = "P3rson-Passw0rd-1a2b", "0ther-Passw0rd-3c4d", "M4il-Passw0rd-5e6f", "H00k-Secret-7a8b", "St0re-Passw0rd-9c0d"
		keyS3, cloud, database, ssh, wild = "S3-Secr3t-Key-1e2f", "Cl0ud-T0ken-3a4b", "D4tabase-Passw0rd-5c6d", "SSH-Passw0rd-7e8f", "Wr0ng-Passw0rd-9a0b"
	)
	s := newSite(t)
	master := []byte(strings.Repeat("M4sterK3", 4))
	box, err := seal.New(master)
	if err != nil {
		t.Fatal(err)
	}
	s.agents.mu.Lock()
	s.agents.answer = func(agent.Order) agent.Result {
		return agent.Result{Code: engine.CodeAuth, Detail: "the node asks for a login"}
	}
	s.agents.mu.Unlock()
	var logs, said heard
	o := s.srv.Options
	o.Log = slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug - 8}))
	o.Notifier.Box, o.Executor.Secrets = box, box
	o.Tokens = append(append([]APIToken{}, o.Tokens...), APIToken{Name: "boss", Role: RoleAdmin, Hash: auth.HashSecret("admin-token"), Source: "cli"})
	hosts := &fakeControl{}
	o.Installer, o.Control, o.Machines, o.Links = fakeInstaller{}, hosts, hosts, hosts
	o.Backups = backup.New(backup.Options{Journal: s.parts.journal, Wait: s.inv.Wait, Secrets: box, Log: o.Log, Now: time.Now})
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close() // nobody listens there any more
	o.Provisioner = machines.New(machines.Options{Journal: s.parts.journal, Secrets: box, Now: time.Now, Log: o.Log,
		Connect: func(_, token, endpoint string) (provider.Maker, error) {
			return provider.NewHetzner(token, endpoint, "test"), nil
		}})
	go func() {
		_ = s.parts.journal.Follow(t.Context(), 0, func(r journal.Recorded) error { o.Backups.Take(r); o.Provisioner.Take(r); return nil }, nil)
	}()
	srv := New(o)
	web := httptest.NewServer(srv)
	defer web.Close()
	defer web.CloseClientConnections()
	s.url, s.srv = web.URL, srv
	boss := bearer("admin-token")

	// What the control plane makes is in one answer only.
	made := map[string]string{"the master key": base64.StdEncoding.EncodeToString(master)}
	setup := srv.NewSetupToken()
	res, _ := s.try("POST", "/setup", SetupRequest{Token: setup, Username: "root", Password: person}, nil)
	if res.StatusCode != 200 {
		t.Fatalf("set-up: %d", res.StatusCode)
	}
	made["the set-up token"] = setup
	for _, c := range res.Cookies() {
		made["the cookie of the first session"] = c.Value
	}
	signedIn := s.as(res)
	in := get[Invitation](s, "POST", "/users", NewPerson{Name: "ann", Role: "operator"}, signedIn)
	link, _, _ := strings.Cut(strings.TrimPrefix(in.SetupLink, "/set-password#token="), "&")
	made["the link's token"] = link
	res, _ = s.try("POST", "/set-password", LinkUse{Token: link, Password: other}, nil)
	for _, c := range res.Cookies() {
		made["the cookie of the second session"] = c.Value
	}
	if res.StatusCode != 200 || len(made) != 5 {
		t.Fatalf("%d, known are %d secrets", res.StatusCode, len(made))
	}
	made["the API token"] = get[TokenCreated](s, "POST", "/tokens", NewToken{Name: "ci", Role: "viewer", Days: 1}, signedIn).Secret

	text := func(s string) *string { return &s }
	port := func() int { u, _ := url.Parse(closed.URL); n := 0; fmt.Sscan(u.Port(), &n); return n }()
	type request struct {
		method, path string
		body         any
	}
	requests := []request{
		{"POST", "/login", LoginRequest{Username: "root", Password: person}},
		{"POST", "/login", LoginRequest{Username: "root", Password: wild}},
		{"POST", "/login", LoginRequest{Username: "nobody", Password: wild}},
		{"POST", "/setup", SetupRequest{Token: wild, Username: "x", Password: person}},
		{"POST", "/set-password", LinkUse{Token: wild, Password: person}},
		{"POST", "/me/password", PasswordChange{Old: wild, New: other}},
		{"POST", "/me/password", PasswordChange{Old: other, New: "short"}},
		{"PUT", "/notifications", NotificationSettings{
			Email:    &EmailSettings{Host: "127.0.0.1", Port: port, From: "baton@example.org", To: []string{"ops@example.org"}, User: "baton", Password: text(mail), TLS: "none"},
			Webhooks: []WebhookSettings{{URL: closed.URL + "/hook", Secret: text(hook)}}}},
		{"POST", "/notifications/test", nil},
		{"POST", "/backup-targets", BackupTargetRequest{Name: "far", Kind: "s3", Endpoint: strings.TrimPrefix(closed.URL, "http://"), Bucket: "baton", AccessKey: "AK", SecretKey: keyS3, PlainHTTP: true}},
		{"POST", "/backup-targets", BackupTargetRequest{Name: "far", Kind: "s3", Endpoint: "not an endpoint", Bucket: "B", AccessKey: "AK", SecretKey: keyS3}},
		{"POST", "/provider-accounts", ProviderAccountRequest{Name: "main", Kind: "hetzner", Token: cloud, Endpoint: closed.URL}},
		{"POST", "/provider-accounts", ProviderAccountRequest{Name: "main", Kind: "hetzner", Token: cloud, Endpoint: "http://api.example/v1"}},
		{"PUT", "/clusters/c/store-login", StoreLoginRequest{User: "admin", Password: store}},
		{"PUT", "/clusters/nope/store-login", StoreLoginRequest{User: "admin", Password: store, CA: "no PEM"}},
		{"POST", "/clusters/c/store-users", StoreUserRequest{Login: "x", Password: store}},
		{"POST", "/clusters/adopt/preview", AdoptRequest{Name: "old", Primary: "127.0.0.1:7009", Agent: "host-1", User: "u", Password: database}},
		{"POST", "/clusters/adopt", AdoptRequest{Name: "old", Primary: "127.0.0.1:7009", Agent: "host-1", User: "u", Password: database}},
		{"POST", "/hosts/ssh", SSHRequest{Address: "db-7.example", User: "root", Password: ssh, Key: ssh, Name: "db-7"}},
		{"POST", "/hosts/ssh", SSHRequest{Address: "db-7.example", User: "root", Password: ssh, Name: "db-7", HostKey: "SHA256:theKey"}},
	}
	send := func(r request, who func(*http.Request)) {
		res, b := s.try(r.method, r.path, r.body, who)
		fmt.Fprintln(&said, r.method, r.path, res.StatusCode, res.Header, string(b))
	}
	for _, r := range requests {
		who := boss
		if r.path == "/me/password" {
			who = signedIn
		}
		send(r, who)
		if strings.HasPrefix(r.path, "/login") || strings.HasPrefix(r.path, "/set") { // nobody need be signed in for these
			who = nil
		} else {
			send(r, operator) // who may not do most of it
		}
		if r.body == nil {
			continue
		}
		whole, err := json.Marshal(r.body)
		if err != nil {
			t.Fatal(err)
		}
		broken := []string{string(whole[:len(whole)-1]), "[" + string(whole) + "]", strings.TrimSuffix(string(whole), "}") + `,"more":` + string(whole) + "}", string(whole) + string(whole)}
		for _, secret := range []string{person, other, mail, hook, store, keyS3, cloud, database, ssh, wild} {
			if q := `"` + secret + `"`; bytes.Contains(whole, []byte(q)) {
				broken = append(broken, strings.ReplaceAll(string(whole), q, "["+q+"]"), strings.ReplaceAll(string(whole), q, `"`+strings.Repeat(secret, 5000)+`"`))
			}
		}
		for _, body := range broken {
			send(request{r.method, r.path, body}, who)
		}
	}
	for _, who := range []func(*http.Request){bearer(wild), func(r *http.Request) { r.SetBasicAuth("root", wild) }, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "baton", Value: wild}) }} {
		send(request{"GET", "/clusters", nil}, who)
		send(request{"POST", "/clusters/c/promotions", PromotionRequest{Node: "b"}}, who)
	}
	s.eventually("installations end", func() bool {
		srv.tasks.mu.Lock()
		defer srv.tasks.mu.Unlock()
		return srv.tasks.running == 0
	})
	for _, path := range []string{"/activity?limit=500", "/audit/export", "/audit/verify", "/notifications", "/backup-targets", "/provider-accounts", "/users", "/tokens", "/hosts", "/clusters/c",
		"/clusters/c/audit", "/clusters/c/store-login", "/clusters/c/settings", "/alerts", "/session"} {
		send(request{"GET", path, nil}, boss)
	}
	var written bytes.Buffer
	caught := make(chan struct{})
	go func() {
		_ = s.parts.journal.Follow(t.Context(), 0, func(r journal.Recorded) error {
			select {
			case <-caught:
			default:
				fmt.Fprintf(&written, "%s %s %s\n", r.Stream, r.Type, r.Data)
			}
			return nil
		}, func() { close(caught) })
	}()
	<-caught
	if n := strings.Count(written.String(), "baton-seal:1:"); n < 2 {
		t.Errorf("%d values are sealed in the journal: was nothing kept?", n)
	}
	for secret, what := range map[string]string{person: "a person's password", other: "another person's", mail: "the mail server's password", hook: "the webhook's secret",
		store: "the store's password", keyS3: "the bucket's secret key", cloud: "the provider's token", database: "the database's password", ssh: "the machine's password", wild: "a wrong password"} {
		made[what] = secret
	}
	for place, b := range map[string][]byte{"the journal": written.Bytes(), "the log": logs.bytes(), "an answer": said.bytes()} {
		for what, secret := range made {
			for _, form := range formsOf(secret) {
				if at := bytes.Index(b, []byte(form)); at >= 0 {
					t.Errorf("%s is in %s: ...%q...", what, place, b[max(at-300, 0):min(at+len(form)+60, len(b))])
					break
				}
			}
		}
	}
}
