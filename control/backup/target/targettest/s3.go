package targettest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"baton/control/backup/target"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// S3 is an S3-compatible store for tests: gofakes3, which keeps objects in
// memory and speaks the protocol with multipart uploads, behind a check of the request
// signatures (version 4), which gofakes3 itself leaves out. It ends with the
// test.
type S3 struct {
	Config target.Config
	// Refuse, while true, answers every request with 503.
	Refuse atomic.Bool
	// OnRequest, when set before the first request, is told of each.
	OnRequest func(*http.Request)
}

const (
	accessKey = "BATONTESTKEY"
	secretKey = "s3cr/et+Key==of the test"
	region    = "us-east-1"
	bucket    = "backups"
)

// NewS3 starts a store with one empty bucket, with TLS under an authority of its own or without.
func NewS3(t testing.TB, overTLS bool) *S3 {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	store := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	s := &S3{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.OnRequest != nil {
			s.OnRequest(r)
		}
		switch {
		case s.Refuse.Load():
			http.Error(w, "", http.StatusServiceUnavailable)
		case !signed(r):
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>`))
		default:
			store.ServeHTTP(w, r)
		}
	})
	s.Config = target.Config{Kind: target.KindS3, Bucket: bucket, Region: region, Prefix: "site-1/baton", AccessKey: accessKey, SecretKey: secretKey}
	var srv *httptest.Server
	if overTLS {
		srv = httptest.NewTLSServer(h)
		s.Config.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	} else {
		srv = httptest.NewServer(h)
		s.Config.PlainHTTP = true
	}
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Endpoint = u.Host
	return s
}

// signed checks the request's signature as a store does.
func signed(r *http.Request) bool {
	auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return false
	}
	parts := map[string]string{}
	for p := range strings.SplitSeq(auth, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		parts[k] = v
	}
	scope := strings.SplitN(parts["Credential"], "/", 2)
	if len(scope) != 2 || scope[0] != accessKey {
		return false
	}
	canonical := []string{r.Method, r.URL.EscapedPath(), strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20")}
	names := strings.Split(parts["SignedHeaders"], ";")
	sort.Strings(names)
	for _, n := range names {
		value := strings.Join(r.Header.Values(n), ",")
		switch n {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		canonical = append(canonical, n+":"+strings.TrimSpace(value))
	}
	canonical = append(canonical, "", parts["SignedHeaders"], r.Header.Get("X-Amz-Content-Sha256"))
	sum := sha256.Sum256([]byte(strings.Join(canonical, "\n")))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope[1], hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + secretKey)
	for p := range strings.SplitSeq(scope[1], "/") {
		key = mac(key, p)
	}
	return hmac.Equal([]byte(hex.EncodeToString(mac(key, text))), []byte(parts["Signature"]))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
