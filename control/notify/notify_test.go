package notify

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/control/journal"
	"baton/platform/seal"
)

// desk is a notifier over a journal.
func desk(t *testing.T, box Box, roots []byte) (*Notifier, *journal.Memory) {
	t.Helper()
	j := journal.NewMemory(time.Now)
	n := New(Options{Journal: j, Box: box, Now: time.Now, FirstWait: time.Millisecond, RootCAs: roots})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = j.Follow(ctx, 0, func(r journal.Recorded) error { n.Take(r); return nil }, nil) }()
	return n, j
}

func message() Message {
	return Message{ID: "m-1", At: time.Unix(1000, 0), URL: "http://127.0.0.1:8400", Items: []Item{
		{State: "firing", ID: "al-1", Kind: "lag", Severity: "critical", Cluster: "cache", Node: "b", Sentence: "b of cache is 300 MiB behind", Fix: "look at its host", At: time.Unix(990, 0)},
		{State: "resolved", ID: "al-2", Kind: "link-down", Severity: "warning", Cluster: "cache", Node: "c", Sentence: "The link of c is down", At: time.Unix(995, 0)}}}
}

// receiver is a webhook that answers as told and keeps what came.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	answers []int // the first is used and dropped, 200 when none is left
	target  string
	bodies  []string
	headers []http.Header
}

func newReceiver(t *testing.T, answers ...int) *receiver {
	r := &receiver{answers: answers}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.bodies, r.headers = append(r.bodies, string(b)), append(r.headers, req.Header)
		code := 200
		if len(r.answers) > 0 {
			code, r.answers = r.answers[0], r.answers[1:]
		}
		if code/100 == 3 {
			w.Header().Set("Location", r.target)
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) calls() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.bodies) }

// TestWebhook: the body is the message, signed with the secret; a passing
// failure is tried again with the same id, a refusal is not.
func TestWebhook(t *testing.T) {
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	n, j := desk(t, box, nil)
	r := newReceiver(t, 503, 429)
	if err := n.Put(t.Context(), Settings{Webhooks: []Webhook{{URL: r.URL + "/hook/path-secret", Secret: "canary-secret"}}}); err != nil {
		t.Fatal(err)
	}
	if failed := n.Deliver(t.Context(), message()); len(failed) != 0 || r.calls() != 3 {
		t.Fatalf("%d calls, failed %v", r.calls(), failed)
	}
	var got Message
	if err := json.Unmarshal([]byte(r.bodies[2]), &got); err != nil || len(got.Items) != 2 || got.Items[0].Sentence != message().Items[0].Sentence {
		t.Errorf("%v: %s", err, r.bodies[2])
	}
	h := r.headers[2]
	stamp, _, _ := strings.Cut(strings.TrimPrefix(h.Get(SignatureHeader), "t="), ",")
	var unix int64
	fmt.Sscan(stamp, &unix)
	if want := Sign("canary-secret", time.Unix(unix, 0), []byte(r.bodies[2])); h.Get(SignatureHeader) != want || unix == 0 {
		t.Errorf("signature %q, want %q", h.Get(SignatureHeader), want)
	}
	if h.Get("Idempotency-Key") != "m-1" || r.headers[0].Get("Idempotency-Key") != "m-1" || h.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", h)
	}
	r.answers = []int{400}
	if failed := n.Deliver(t.Context(), message()); len(failed) != 1 || r.calls() != 4 || !strings.Contains(failed[0], "400") {
		t.Errorf("%d calls, failed %v", r.calls(), failed)
	}
	r.answers = []int{500, 500, 500, 500, 500, 500}
	if failed := n.Deliver(t.Context(), message()); len(failed) != 1 || r.calls() != 4+tries {
		t.Errorf("%d calls, failed %v", r.calls(), failed)
	}
	for _, res := range n.Results() {
		if strings.Contains(res.Channel+res.Err, "path-secret") {
			t.Errorf("the path is shown: %+v", res)
		}
	}
	page, err := j.Read(t.Context(), Stream, 0, 10)
	if err != nil || len(page) != 1 || strings.Contains(string(page[0].Data), "canary-secret") {
		t.Errorf("the journal has the secret: %v %s", err, page[0].Data)
	}
}

// TestRedirects: a redirect that keeps what is posted is followed, but not to
// a private address unless that is allowed, and not without end.
func TestRedirects(t *testing.T) {
	n, _ := desk(t, nil, nil)
	end := newReceiver(t)
	first := newReceiver(t, 307, 308, 302, 307)
	first.target = end.URL
	put := func(allow bool) {
		if err := n.Put(t.Context(), Settings{AllowPrivate: allow, Webhooks: []Webhook{{URL: first.URL}}}); err != nil {
			t.Fatal(err)
		}
	}
	put(false)
	if failed := n.Deliver(t.Context(), message()); len(failed) != 1 || !strings.Contains(failed[0], "private") || end.calls() != 0 || first.calls() != 1 {
		t.Errorf("to a private address: %v, %d and %d calls", failed, first.calls(), end.calls())
	}
	put(true)
	if failed := n.Deliver(t.Context(), message()); len(failed) != 0 || end.calls() != 1 || end.bodies[0] == "" {
		t.Errorf("allowed: %v, %d calls", failed, end.calls())
	}
	if failed := n.Deliver(t.Context(), message()); len(failed) != 1 || end.calls() != 1 {
		t.Errorf("one that drops the body: %v", failed)
	}
	loop := newReceiver(t, 307, 307, 307, 307, 307, 307)
	loop.target = loop.URL
	first = loop
	put(true)
	if failed := n.Deliver(t.Context(), message()); len(failed) != 1 || !strings.Contains(failed[0], "too often") || loop.calls() != maxRedirects+1 {
		t.Errorf("a loop: %v, %d calls", failed, loop.calls())
	}
	for address, want := range map[string]bool{"127.0.0.1": false, "10.1.2.3": false, "192.168.0.1": false, "172.20.0.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"0.0.0.0": false, "::1": false, "fe80::1": false, "fd00::1": false, "::ffff:10.0.0.1": false, "224.0.0.1": false, "93.184.216.34": true, "2606:2800:220:1::1": true} {
		if got := public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s public: %v", address, got)
		}
	}
}

// TestSettings: what is wrong is refused, secrets need a master key, and a
// wrong key says so instead of sending without.
func TestSettings(t *testing.T) {
	n, _ := desk(t, nil, nil)
	good := func() *Email {
		return &Email{Host: "mail.example.org", Port: 587, From: "baton@example.org", To: []string{"ops@example.org"}, User: "u"}
	}
	for name, change := range map[string]func(*Settings){
		"host":          func(s *Settings) { s.Email.Host = "http://x/" },
		"port":          func(s *Settings) { s.Email.Port = 0 },
		"nobody":        func(s *Settings) { s.Email.To = nil },
		"address":       func(s *Settings) { s.Email.To = []string{"nobody"} },
		"header":        func(s *Settings) { s.Email.To = []string{"a@b.c\r\nBcc: x@y.z"} },
		"sender":        func(s *Settings) { s.Email.From = "\"x\r\n\" <a@b.c>" },
		"tls":           func(s *Settings) { s.Email.TLS = "maybe" },
		"clear text":    func(s *Settings) { s.Email.TLS = TLSNone },
		"scheme":        func(s *Settings) { s.Webhooks = []Webhook{{URL: "file:///etc/passwd"}} },
		"credentials":   func(s *Settings) { s.Webhooks = []Webhook{{URL: "https://u:p@example.org"}} },
		"no host":       func(s *Settings) { s.Webhooks = []Webhook{{URL: "https:///x"}} },
		"many webhooks": func(s *Settings) { s.Webhooks = make([]Webhook, maxWebhooks+1) },
	} {
		s := Settings{Email: good()}
		change(&s)
		var invalid *InvalidError
		if err := n.Put(t.Context(), s); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	secret := good()
	secret.Password = "pw"
	if err := n.Put(t.Context(), Settings{Email: secret}); !errors.Is(err, ErrNoSeal) {
		t.Errorf("without a master key: %v", err)
	}
	if n.Channels() != 0 {
		t.Error("a refused setting is in force")
	}
	one, _ := seal.New(make([]byte, seal.KeySize))
	withKey, j := desk(t, one, nil)
	if err := withKey.Put(t.Context(), Settings{Email: secret}); err != nil {
		t.Fatal(err)
	}
	if s, problem := withKey.Settings(); s.Email.Password != "pw" || problem != "" {
		t.Errorf("%+v %q", s.Email, problem)
	}
	page, _ := j.Read(t.Context(), Stream, 0, 10)
	other := make([]byte, seal.KeySize)
	other[0] = 1
	wrong, _ := seal.New(other)
	late := New(Options{Journal: j, Box: wrong, Now: time.Now})
	late.Take(page[0])
	if s, problem := late.Settings(); s.Email.Password != "" || problem == "" {
		t.Errorf("another key: %+v %q", s.Email, problem)
	}
}

// TestText: one line about a message, nothing in it that could be a header.
func TestText(t *testing.T) {
	m := message()
	if got := subject(&m); got != "[Baton] 1 firing (1 critical), 1 resolved" {
		t.Error(got)
	}
	m.Items = m.Items[:1]
	m.Items[0].Sentence += "\r\nBcc: evil@example.org"
	if got := subject(&m); got != "[Baton] CRITICAL: b of cache is 300 MiB behind  Bcc: evil@example.org" {
		t.Errorf("%q", got)
	}
	if got := text(&m); !strings.Contains(got, "What to do: look at its host") || !strings.Contains(got, "http://127.0.0.1:8400/alerts") || strings.Contains(got, "\nBcc") {
		t.Error(got)
	}
	many := Message{Items: make([]Item, maxItems+7)}
	r := newReceiver(t)
	n, _ := desk(t, nil, nil)
	if err := n.Put(t.Context(), Settings{Webhooks: []Webhook{{URL: r.URL}}}); err != nil {
		t.Fatal(err)
	}
	if failed := n.Deliver(t.Context(), many); len(failed) != 0 {
		t.Fatal(failed)
	}
	var got Message
	if err := json.Unmarshal([]byte(r.bodies[0]), &got); err != nil || len(got.Items) != maxItems || got.More != 7 {
		t.Errorf("%d items, %d more", len(got.Items), got.More)
	}
}

// smtpServer is a mail server of the test: STARTTLS, AUTH PLAIN, one message a
// connection. Refuse is what it answers to RCPT instead of 250, once.
type smtpServer struct {
	ln     net.Listener
	cert   tls.Certificate
	roots  []byte
	plain  bool
	direct atomic.Bool // TLS from the first byte
	mu     sync.Mutex
	refuse string
	logins []string
	mails  []string
	inTLS  []bool
}

func newSMTP(t *testing.T, plain bool) *smtpServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := &smtpServer{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, plain: plain, roots: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	if s.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := s.ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); s.talk(c) })
		}
	})
	t.Cleanup(func() { s.ln.Close(); wg.Wait() })
	return s
}

func (s *smtpServer) port() int { return s.ln.Addr().(*net.TCPAddr).Port }

func (s *smtpServer) talk(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if s.direct.Load() {
		c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{s.cert}})
	}
	in, secure := bufio.NewReader(c), s.direct.Load()
	say := func(line string) { _, _ = io.WriteString(c, line+"\r\n") }
	say("220 test ready")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.TrimSpace(strings.SplitN(line, " ", 2)[0])); verb {
		case "EHLO", "HELO":
			say("250-test")
			if !secure && !s.plain {
				say("250-STARTTLS")
			}
			say("250 AUTH PLAIN")
		case "STARTTLS":
			say("220 go on")
			t := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{s.cert}})
			if t.Handshake() != nil {
				return
			}
			c, in, secure = t, bufio.NewReader(t), true
		case "AUTH":
			raw, _ := base64.StdEncoding.DecodeString(strings.Fields(line)[2])
			s.mu.Lock()
			s.logins = append(s.logins, string(raw))
			s.mu.Unlock()
			if string(raw) != "\x00user\x00canary password" {
				say("535 5.7.8 wrong")
				continue
			}
			say("235 welcome")
		case "RCPT":
			s.mu.Lock()
			refuse := s.refuse
			s.refuse = ""
			s.mu.Unlock()
			if refuse != "" {
				say(refuse)
				continue
			}
			say("250 ok")
		case "DATA":
			say("354 go on")
			var b strings.Builder
			for {
				l, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				b.WriteString(l)
			}
			s.mu.Lock()
			s.mails, s.inTLS = append(s.mails, b.String()), append(s.inTLS, secure)
			s.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// TestMail: a message goes out over TLS with a login; a passing refusal is
// tried again, a wrong password is not, and no TLS means no mail.
func TestMail(t *testing.T) {
	box, _ := seal.New(make([]byte, seal.KeySize))
	s := newSMTP(t, false)
	n, _ := desk(t, box, s.roots)
	e := Email{Host: "127.0.0.1", Port: s.port(), From: "Baton <baton@example.org>", To: []string{"ops@example.org", "night@example.org"}, User: "user", Password: "canary password"}
	put := func(e Email) {
		t.Helper()
		if err := n.Put(t.Context(), Settings{Email: &e}); err != nil {
			t.Fatal(err)
		}
	}
	put(e)
	s.refuse = "451 4.3.0 try later"
	if failed := n.Deliver(t.Context(), message()); len(failed) != 0 {
		t.Fatal(failed)
	}
	if len(s.mails) != 1 || !s.inTLS[0] {
		t.Fatalf("%d mails, in TLS %v", len(s.mails), s.inTLS)
	}
	for _, want := range []string{"Subject: [Baton] 1 firing (1 critical), 1 resolved", "From: \"Baton\" <baton@example.org>", "ops@example.org", "night@example.org", "b of cache is 300 MiB behind", "Message-ID: <m-1@baton>"} {
		if !strings.Contains(s.mails[0], want) {
			t.Errorf("no %q in\n%s", want, s.mails[0])
		}
	}
	wrong := e
	wrong.Password = "wrong"
	put(wrong)
	before := len(s.logins)
	if failed := n.Deliver(t.Context(), message()); len(failed) != 1 || strings.Contains(failed[0], "wrong\x00") {
		t.Errorf("a wrong password: %v", failed)
	} else if len(s.logins) != before+1 {
		t.Errorf("a wrong password is tried %d times", len(s.logins)-before)
	}
	other, _ := desk(t, box, nil) // does not trust the server
	if err := other.Put(t.Context(), Settings{Email: &e}); err != nil {
		t.Fatal(err)
	}
	if r := other.Test(t.Context(), message()); r[0].Err == "" || r[0].Tries != 1 {
		t.Errorf("an untrusted server: %+v", r)
	}
	direct := newSMTP(t, true)
	direct.direct.Store(true)
	own, _ := desk(t, box, direct.roots)
	implicit := e
	implicit.Port, implicit.TLS = direct.port(), TLSImplicit
	if err := own.Put(t.Context(), Settings{Email: &implicit}); err != nil {
		t.Fatal(err)
	}
	if r := own.Test(t.Context(), message()); r[0].Err != "" || len(direct.mails) != 1 || !direct.inTLS[0] {
		t.Errorf("TLS from the first byte: %+v", r)
	}
	bare := newSMTP(t, true)
	e.Port = bare.port()
	put(e)
	if r := n.Test(t.Context(), message()); r[0].Err == "" || len(bare.mails) != 0 || len(bare.logins) != 0 {
		t.Errorf("a server without TLS: %+v, %d mails, logins %v", r, len(bare.mails), bare.logins)
	}
	e.TLS, e.User, e.Password = TLSNone, "", ""
	put(e)
	if r := n.Test(t.Context(), message()); r[0].Err != "" || len(bare.mails) != 1 {
		t.Errorf("this machine without TLS: %+v", r)
	}
}
