package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// SignatureHeader carries "t=UNIX,v1=HEX": HMAC-SHA256 with the webhook's
// secret over the decimal time, a dot, and the body. A receiver recomputes it
// and refuses times far from its own.
const SignatureHeader = "Baton-Signature"

// Bounds of a webhook call.
const (
	maxRedirects   = 3
	maxAnswerBytes = 64 << 10
	dialTime       = 5 * time.Second
)

// Sign returns the value of SignatureHeader for a body sent at a time.
func Sign(secret string, at time.Time, body []byte) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return "t=" + stamp + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// errPrivate: a redirect led to an address that is not public.
var errPrivate = errors.New("the redirect leads to a private address, which is not allowed")

// post calls a webhook.
func (n *Notifier) post(ctx context.Context, w *Webhook, allowPrivate bool, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return permanentError{fmt.Errorf("encode the message: %w", err)}
	}
	at, target := n.Now(), w.URL
	for hop := 0; ; hop++ {
		guarded := hop > 0 && !allowPrivate
		next, err := n.call(ctx, target, w.Secret, at, body, m.ID, guarded)
		if err != nil || next == "" {
			return err
		}
		if hop == maxRedirects {
			return permanentError{errors.New("it redirects too often")}
		}
		from, _ := url.Parse(target)
		to, err := from.Parse(next)
		if err != nil || to.Scheme != "https" && to.Scheme != "http" || to.Host == "" || to.User != nil {
			return permanentError{errors.New("it redirects to something that is not an http address")}
		}
		if from.Scheme == "https" && to.Scheme != "https" {
			return permanentError{errors.New("it redirects from https to http")}
		}
		target = to.String()
	}
}

// call posts once. next is where a redirect leads, "" when it was taken.
func (n *Notifier) call(ctx context.Context, target, secret string, at time.Time, body []byte, id string, guarded bool) (next string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return "", permanentError{errors.New("the address is not valid")}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Baton")
	req.Header.Set("Idempotency-Key", id)
	if secret != "" {
		req.Header.Set(SignatureHeader, Sign(secret, at, body))
	}
	res, err := n.client(guarded).Do(req)
	if err != nil {
		var u *url.Error // names the whole address, whose path may be a secret
		if errors.As(err, &u) {
			err = u.Err
		}
		if errors.Is(err, errPrivate) {
			return "", permanentError{errPrivate}
		}
		return "", err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswerBytes)) // so that the connection ends cleanly
	switch c := res.StatusCode; {
	case c < 300:
		return "", nil
	case c == 307 || c == 308:
		return res.Header.Get("Location"), nil
	case c < 400:
		return "", permanentError{fmt.Errorf("it answered %d, a redirect that drops what is posted", c)}
	case c == 408 || c == 425 || c == 429 || c >= 500:
		return "", fmt.Errorf("it answered %d", c)
	default:
		return "", permanentError{fmt.Errorf("it answered %d", c)}
	}
}

// client makes one call; nothing is kept between calls.
func (n *Notifier) client(guarded bool) *http.Client {
	d := &net.Dialer{Timeout: dialTime}
	if guarded {
		// At the moment of the connection, when the name is an address: a
		// name that resolves differently the second time changes nothing.
		d.Control = func(_, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil || !public(a.Addr()) {
				return errPrivate
			}
			return nil
		}
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true, TLSHandshakeTimeout: dialTime,
			ResponseHeaderTimeout: attemptTime, MaxResponseHeaderBytes: maxAnswerBytes, TLSClientConfig: n.tls()},
	}
}

func (n *Notifier) tls() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if n.RootCAs != nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM(n.RootCAs)
		c.RootCAs = pool
	}
	return c
}

// sharedNet is what providers put between them and their customers (RFC 6598).
var sharedNet = netip.MustParsePrefix("100.64.0.0/10")

// public tells whether an address is one of the open internet.
func public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !sharedNet.Contains(a)
}

// loopback tells whether a host is this machine.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
