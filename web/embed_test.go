package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"baton/web"
)

const page = "<!doctype html><title>Baton</title>"

func get(t *testing.T, h http.Handler, method, target string, header map[string]string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// Goal: hashed assets stay in the cache, the page never does, and only a
// browser that asks for a page gets the page for an unknown path.
func TestServesBuiltFiles(t *testing.T) {
	t.Parallel()
	h := web.New(fstest.MapFS{
		"index.html":          {Data: []byte(page)},
		"favicon.svg":         {Data: []byte("<svg/>")},
		"assets/app-1a2b.js":  {Data: []byte("plain")},
		"assets/big-3c.js":    {Data: []byte("plain")},
		"assets/big-3c.js.gz": {Data: []byte("zipped")},
		".gitkeep":            {},
	})
	html := map[string]string{"Accept": "text/html,*/*;q=0.8"}
	gz := map[string]string{"Accept-Encoding": "br, gzip"}
	noGz := map[string]string{"Accept-Encoding": "gzip; q=0"}
	for _, c := range []struct {
		name, method, path string
		header             map[string]string
		status             int
		cache, body        string
	}{
		{"root", "GET", "/", nil, 200, "no-cache", page},
		{"asset", "GET", "/assets/app-1a2b.js", nil, 200, "public, max-age=31536000, immutable", "plain"},
		{"asset compressed", "GET", "/assets/big-3c.js", gz, 200, "public, max-age=31536000, immutable", "zipped"},
		{"asset gzip refused", "GET", "/assets/big-3c.js", noGz, 200, "public, max-age=31536000, immutable", "plain"},
		{"icon", "GET", "/favicon.svg", nil, 200, "no-cache", "<svg/>"},
		{"page of the application", "GET", "/clusters/demo/nodes", html, 200, "no-cache", page},
		{"unknown path, not a browser", "GET", "/clusters/demo", map[string]string{"Accept": "*/*"}, 404, "", ""},
		{"missing asset, browser", "GET", "/assets/old-9z.js", html, 404, "", ""},
		{"mistyped API path, browser", "GET", "/api/v1/clutsers", html, 404, "", ""},
		{"the marker file", "GET", "/.gitkeep", nil, 404, "", ""},
		{"stored gzip by name", "GET", "/assets/big-3c.js.gz", nil, 404, "", ""},
		{"climbing out", "GET", "/../../etc/passwd", nil, 404, "", ""},
		{"a write", "POST", "/", html, 405, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			res := get(t, h, c.method, c.path, c.header)
			body := new(strings.Builder)
			_ = res.Write(body)
			if res.StatusCode != c.status {
				t.Fatalf("status = %d, want %d", res.StatusCode, c.status)
			}
			if c.status != 200 {
				return
			}
			if got := res.Header.Get("Cache-Control"); got != c.cache {
				t.Errorf("Cache-Control = %q, want %q", got, c.cache)
			}
			if !strings.HasSuffix(body.String(), c.body) {
				t.Errorf("body = %q, want it to end in %q", body, c.body)
			}
		})
	}
}

// Goal: the page forbids inline script and foreign origins.
func TestPagePolicy(t *testing.T) {
	t.Parallel()
	h := web.New(fstest.MapFS{"index.html": {Data: []byte(page)}})
	csp := get(t, h, "GET", "/", nil).Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "script-src 'self';") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy = %q", csp)
	}
	if strings.Contains(csp, "http:") || strings.Contains(csp, "https:") {
		t.Errorf("policy names a foreign origin: %q", csp)
	}
}

// Goal: a binary built without Node says so instead of answering 404.
func TestNotBuilt(t *testing.T) {
	t.Parallel()
	res := get(t, web.New(fstest.MapFS{".gitkeep": {}}), "GET", "/", map[string]string{"Accept": "text/html"})
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("status = %d, want 503", res.StatusCode)
	}
}
