// Package web serves the dashboard: the built single-page application is
// embedded in the binary and handed out by an [http.Handler].
//
// The folder dist is written by `npm run build` and is not kept in the
// repository, apart from an empty marker file, so that the Go code builds
// without Node. A binary built that way answers dashboard requests with a
// page that says how to build it; the API is not affected.
package web

import (
	"bytes"
	"embed"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed all:dist
var embedded embed.FS

// ContentSecurityPolicy is sent with the dashboard's page. Scripts, fonts,
// connections and images come from the page's own origin and nowhere else;
// inline script is refused. Inline style is allowed because the component
// library writes its theme's variables into a style element.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

const (
	// cacheForever is for files whose name holds a hash of their content.
	cacheForever = "public, max-age=31536000, immutable"
	// cacheNever makes the browser ask again on each load.
	cacheNever = "no-cache"
)

// Handler returns the handler of the embedded dashboard.
func Handler() http.Handler {
	dist, err := fs.Sub(embedded, "dist")
	if err != nil {
		// fs.Sub fails only for an invalid constant path: a programming error.
		panic("web: sub folder of the embedded files: " + err.Error())
	}
	return New(dist)
}

// Built reports whether the binary holds a built dashboard.
func Built() bool {
	_, err := fs.Stat(embedded, "dist/index.html")
	return err == nil
}

// New returns a handler that serves dist, the output folder of the front
// end's build:
//
//   - files below assets/ carry a hash in their name and are cached for good;
//   - every other file is revalidated on each use;
//   - an unknown path is answered with index.html if, and only if, the
//     request is a GET or HEAD of a browser asking for a page (Accept holds
//     text/html) and the path is not below /assets/ or /api/. Everything
//     else is 404, so that a mistyped API path never looks like success.
//
// A file with a sibling of the same name plus ".gz" is sent compressed to
// clients that accept gzip.
func New(dist fs.FS) http.Handler { return &handler{dist: dist} }

type handler struct{ dist fs.FS }

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the dashboard's files are only read: use GET", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	if name == "" {
		name = "index.html"
	}
	if h.isFile(name) && !strings.HasSuffix(name, ".gz") && path.Base(name) != ".gitkeep" {
		h.serve(w, r, name)
		return
	}
	if !wantsPage(r, name) {
		http.NotFound(w, r)
		return
	}
	if !h.isFile("index.html") {
		notBuilt(w)
		return
	}
	h.serve(w, r, "index.html")
}

func (h *handler) isFile(name string) bool {
	info, err := fs.Stat(h.dist, name)
	return err == nil && info.Mode().IsRegular()
}

// wantsPage reports whether an unknown path is a page of the application.
func wantsPage(r *http.Request, name string) bool {
	for _, prefix := range []string{"assets/", "api/"} {
		if strings.HasPrefix(name+"/", prefix) {
			return false
		}
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, name string) {
	header := w.Header()
	stored := name
	if h.isFile(name + ".gz") {
		header.Add("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			stored = name + ".gz"
			header.Set("Content-Encoding", "gzip")
		}
	}
	body, err := h.read(stored)
	if err != nil {
		header.Del("Content-Encoding")
		http.Error(w, "read the dashboard's file: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if kind := mime.TypeByExtension(path.Ext(name)); kind != "" {
		header.Set("Content-Type", kind)
	}
	header.Set("X-Content-Type-Options", "nosniff")
	if strings.HasPrefix(name, "assets/") {
		header.Set("Cache-Control", cacheForever)
	} else {
		header.Set("Cache-Control", cacheNever)
	}
	if name == "index.html" {
		header.Set("Content-Security-Policy", ContentSecurityPolicy)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Frame-Options", "DENY")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
}

func (h *handler) read(name string) ([]byte, error) {
	f, err := h.dist.Open(name)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(f)
	return body, errors.Join(err, f.Close())
}

func acceptsGzip(r *http.Request) bool {
	for _, part := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		coding, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") && strings.ReplaceAll(params, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

func notBuilt(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "This binary was built without the dashboard. Build it with `make web` (needs Node 20), "+
		"then build the binary again. The API under /api/v1 works without it.", http.StatusServiceUnavailable)
}
