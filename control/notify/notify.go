// Package notify brings messages to people: by e-mail and by webhook. It knows
// nothing of alerts; whoever calls decides what is said and remembers that it
// was.
//
// Settings are in the journal, their secrets sealed. Deliveries are bounded in
// time, size, tries and number at once. A webhook is called at the address
// given and nowhere else: a redirect is followed only to public addresses,
// unless that is allowed.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/control/journal"
)

// Stream holds the settings, whole, at each change.
const Stream = "notifications"

// SettingsChanged is the type of its events.
const SettingsChanged = "notifications-changed"

// Bounds.
const (
	maxWebhooks   = 16
	maxRecipients = 32
	maxItems      = 50 // of one message; the rest is counted
	// attemptTime bounds one try of one channel, tries how often, firstWait
	// the wait after the first, which doubles.
	attemptTime = 15 * time.Second
	tries       = 4
	firstWait   = 2 * time.Second
	// maxAtOnce deliveries run at the same time; more wait, at most maxWaiting.
	maxAtOnce  = 4
	maxWaiting = 64
	// keepResults of the last deliveries are shown.
	keepResults = 50
)

// Errors of Put.
var (
	// ErrNoSeal: a secret was given and there is nothing to seal it with.
	ErrNoSeal = errors.New("no master key is set, and a secret must not be stored in clear")
	// ErrBusy: more deliveries wait than are kept.
	ErrBusy = errors.New("too many messages are waiting to be sent")
)

// InvalidError says which setting is wrong.
type InvalidError struct{ Why string }

func (e *InvalidError) Error() string { return e.Why }

// TLS of e-mail.
const (
	TLSStart    = "starttls" // demanded; the usual port is 587
	TLSImplicit = "implicit" // from the first byte; 465
	TLSNone     = "none"     // only towards this machine
)

// Email is where and how mail is sent.
type Email struct {
	Host string   `json:"host"`
	Port int      `json:"port"`
	From string   `json:"from"`
	To   []string `json:"to"`
	User string   `json:"user,omitempty"`
	TLS  string   `json:"tls"`
	// Password is in clear only in this process; it is stored sealed.
	Password string `json:"-"`
	Sealed   string `json:"password,omitempty"`
}

// Webhook is an address that is posted to.
type Webhook struct {
	URL string `json:"url"`
	// Secret signs each message; in clear only in this process.
	Secret string `json:"-"`
	Sealed string `json:"secret,omitempty"`
}

// Settings are all channels.
type Settings struct {
	Email    *Email    `json:"email,omitempty"`
	Webhooks []Webhook `json:"webhooks,omitempty"`
	// AllowPrivate lets redirects lead to private addresses.
	AllowPrivate bool      `json:"allowPrivate,omitempty"`
	By           string    `json:"by,omitempty"`
	At           time.Time `json:"at,omitzero"`
}

// Item is one thing that is told.
type Item struct {
	State    string    `json:"state"` // firing, resolved, ended, test
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	Severity string    `json:"severity"` // warning, critical, info
	Cluster  string    `json:"cluster"`
	Node     string    `json:"node,omitempty"`
	Sentence string    `json:"sentence"`
	Fix      string    `json:"fix,omitempty"`
	At       time.Time `json:"at"`
}

// Message is what is sent at once: several items that came together.
type Message struct {
	ID    string    `json:"id"` // the same for every try
	At    time.Time `json:"at"`
	URL   string    `json:"url,omitempty"` // of the dashboard
	Items []Item    `json:"items"`
	More  int       `json:"more,omitempty"` // items left out
}

// Result is how one delivery went.
type Result struct {
	At      time.Time
	Channel string // "e-mail to ops@example.org", "webhook https://example.org"
	Subject string
	Tries   int
	Err     string // "" when it was delivered
}

// Box seals secrets; *seal.Box is one.
type Box interface {
	Seal(plain []byte, context string) string
	Open(sealed, context string) ([]byte, error)
}

// Options of a Notifier.
type Options struct {
	Journal journal.Journal
	Box     Box // nil: settings with secrets are refused
	Now     func() time.Time
	// FirstWait between tries; firstWait when 0.
	FirstWait time.Duration
	// RootCAs are PEM certificates to trust for mail and webhooks beside the
	// system's; for tests and private authorities.
	RootCAs []byte
}

// Notifier delivers messages. It may be used from many goroutines.
type Notifier struct {
	Options
	slots   chan struct{}
	waiting chan struct{}

	mu       sync.Mutex
	settings Settings // with secrets opened
	problem  string   // why a secret could not be opened
	rev      int64
	moved    chan struct{}
	results  []Result // oldest first
}

// New returns a notifier without channels; give it each event of the journal
// with Take.
func New(o Options) *Notifier {
	if o.FirstWait == 0 {
		o.FirstWait = firstWait
	}
	return &Notifier{Options: o, rev: journal.NoStream, moved: make(chan struct{}), slots: make(chan struct{}, maxAtOnce), waiting: make(chan struct{}, maxAtOnce+maxWaiting)}
}

const (
	sealMail    = "notifications/e-mail password"
	sealWebhook = "notifications/webhook secret"
)

// Take reads one event of the journal; others pass.
func (n *Notifier) Take(r journal.Recorded) {
	if r.Stream != Stream {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rev = r.Revision
	close(n.moved)
	n.moved = make(chan struct{})
	var s Settings
	if r.Type != SettingsChanged || json.Unmarshal(r.Data, &s) != nil {
		return
	}
	n.problem = ""
	open := func(sealed, context string) string {
		if sealed == "" {
			return ""
		}
		if n.Box == nil {
			n.problem = "the stored secrets cannot be opened: no master key is set"
			return ""
		}
		plain, err := n.Box.Open(sealed, context)
		if err != nil {
			n.problem = "the stored secrets cannot be opened with this master key; enter them again"
		}
		return string(plain)
	}
	if s.Email != nil {
		s.Email.Password = open(s.Email.Sealed, sealMail)
	}
	for i := range s.Webhooks {
		s.Webhooks[i].Secret = open(s.Webhooks[i].Sealed, sealWebhook)
	}
	n.settings = s
}

// Settings returns the channels, with their secrets, and what is wrong with
// them in a sentence, "" when nothing is.
func (n *Notifier) Settings() (Settings, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.settings
	if s.Email != nil {
		e := *s.Email
		e.To = slices.Clone(e.To)
		s.Email = &e
	}
	s.Webhooks = slices.Clone(s.Webhooks)
	return s, n.problem
}

// Channels is how many channels there are.
func (n *Notifier) Channels() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := len(n.settings.Webhooks)
	if n.settings.Email != nil {
		c++
	}
	return c
}

// Results are the last deliveries, newest first.
func (n *Notifier) Results() []Result {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := slices.Clone(n.results)
	slices.Reverse(out)
	return out
}

// Put replaces the settings and returns when they are in force. Errors are
// *InvalidError, ErrNoSeal, or of the journal.
func (n *Notifier) Put(ctx context.Context, s Settings) error {
	if err := check(&s); err != nil {
		return err
	}
	seal := func(plain, context string) (string, error) {
		if plain == "" {
			return "", nil
		}
		if n.Box == nil {
			return "", ErrNoSeal
		}
		return n.Box.Seal([]byte(plain), context), nil
	}
	var err error
	if s.Email != nil {
		if s.Email.Sealed, err = seal(s.Email.Password, sealMail); err != nil {
			return err
		}
	}
	for i := range s.Webhooks {
		if s.Webhooks[i].Sealed, err = seal(s.Webhooks[i].Secret, sealWebhook); err != nil {
			return err
		}
	}
	s.At = n.Now()
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode notification settings: %w", err)
	}
	rev, err := n.Journal.Append(ctx, Stream, journal.Any, journal.Event{Type: SettingsChanged, Data: data})
	if err != nil {
		return fmt.Errorf("record notification settings: %w", err)
	}
	for {
		n.mu.Lock()
		have, moved := n.rev, n.moved
		n.mu.Unlock()
		if have >= rev {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

func check(s *Settings) error {
	bad := func(format string, args ...any) error { return &InvalidError{fmt.Sprintf(format, args...)} }
	if e := s.Email; e != nil {
		if e.Host == "" || strings.ContainsAny(e.Host, "/ \t\r\n@") {
			return bad("the mail server %q is not a host name", e.Host)
		}
		if e.Port < 1 || e.Port > 65535 {
			return bad("the mail server's port is not between 1 and 65535")
		}
		if len(e.To) == 0 || len(e.To) > maxRecipients {
			return bad("mail goes to 1 to %d addresses", maxRecipients)
		}
		for _, a := range append([]string{e.From}, e.To...) {
			if _, err := mail.ParseAddress(a); err != nil || strings.ContainsAny(a, "\r\n") {
				return bad("%q is not a mail address", a)
			}
		}
		if e.TLS == "" {
			e.TLS = TLSStart
		}
		if !slices.Contains([]string{TLSStart, TLSImplicit, TLSNone}, e.TLS) {
			return bad("tls is %s, %s or %s", TLSStart, TLSImplicit, TLSNone)
		}
		if e.TLS == TLSNone && !loopback(e.Host) {
			return bad("mail without TLS is sent only to a server on this machine")
		}
	}
	if len(s.Webhooks) > maxWebhooks {
		return bad("at most %d webhooks are kept", maxWebhooks)
	}
	for _, w := range s.Webhooks {
		u, err := url.Parse(w.URL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(w.URL) > 2000 {
			return bad("a webhook is an http or https address without a name or password in it")
		}
	}
	return nil
}

// Test sends a message to every channel now, once each, and returns how it
// went.
func (n *Notifier) Test(ctx context.Context, m Message) []Result {
	return n.send(ctx, m, 1)
}

// Deliver sends a message to every channel, trying again where it helps, and
// returns one line for each channel that did not take it.
func (n *Notifier) Deliver(ctx context.Context, m Message) (failed []string) {
	for _, r := range n.send(ctx, m, tries) {
		if r.Err != "" {
			failed = append(failed, r.Channel+": "+r.Err)
		}
	}
	return failed
}

// channel is one way to somebody.
type channel struct {
	name string
	send func(context.Context, Message) error
}

func (n *Notifier) channels() []channel {
	s, _ := n.Settings()
	var out []channel
	if e := s.Email; e != nil {
		out = append(out, channel{"e-mail to " + strings.Join(e.To, ", "), func(ctx context.Context, m Message) error { return n.mail(ctx, e, m) }})
	}
	for _, w := range s.Webhooks {
		host := w.URL
		if u, err := url.Parse(w.URL); err == nil {
			host = u.Scheme + "://" + u.Host // the path may be a secret of its own
		}
		out = append(out, channel{"webhook " + host, func(ctx context.Context, m Message) error { return n.post(ctx, &w, s.AllowPrivate, m) }})
	}
	return out
}

// permanentError is a refusal that no repetition changes.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

func (n *Notifier) send(ctx context.Context, m Message, tries int) []Result {
	if len(m.Items) > maxItems {
		m.More += len(m.Items) - maxItems
		m.Items = m.Items[:maxItems]
	}
	all := n.channels()
	out := make([]Result, len(all))
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			out[i] = n.one(ctx, c, m, tries)
		}()
	}
	wg.Wait()
	n.mu.Lock()
	n.results = append(n.results, out...)
	n.results = n.results[max(0, len(n.results)-keepResults):]
	n.mu.Unlock()
	return out
}

// one delivers to one channel.
func (n *Notifier) one(ctx context.Context, c channel, m Message, tries int) Result {
	r := Result{Channel: c.name, Subject: subject(&m)}
	defer func() { r.At = n.Now() }()
	select {
	case n.waiting <- struct{}{}:
		defer func() { <-n.waiting }()
	default:
		r.Err = ErrBusy.Error()
		return r
	}
	wait := n.FirstWait
	for {
		err := n.try(ctx, c, m)
		r.Tries++
		if err == nil {
			r.Err = ""
			return r
		}
		r.Err = err.Error()
		var permanent permanentError
		if errors.As(err, &permanent) || r.Tries >= tries || ctx.Err() != nil {
			return r
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return r
		case <-t.C:
		}
		wait *= 2
	}
}

func (n *Notifier) try(ctx context.Context, c channel, m Message) error {
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return c.send(ctx, m)
}
