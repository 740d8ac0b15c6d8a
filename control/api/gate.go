package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"baton/control/audit"
	"baton/platform/auth"
)

// principal is who makes a request.
type principal struct {
	audit.Who
	role    Role
	session string // id, "" for a token
	token   string // id of a person's API token, "" for the command line's own
	request string
	// recorded is set once the attempt is in the audit.
	recorded *bool
}

type principalKey struct{}

func who(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey{}).(principal)
	return p
}

// ServeHTTP lets a request in or refuses it, in this order: headers, size and
// form of the body, origin, identity, role. Everything passes here.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, pattern := s.mux.Handler(r)
	if _, known := permissions[pattern]; known && pattern != "/" && s.elsewhere(w, r, pattern) {
		return
	}
	secureHeaders(w.Header(), s.secureOf(r.Context()))
	if !strings.HasPrefix(r.URL.Path, "/api/") {
		s.mux.ServeHTTP(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	needed, known := permissions[pattern]
	if !known || pattern == "/" {
		s.noRoute(w, r)
		return
	}
	p := principal{Who: audit.Who{IP: address(r), Source: "api"}, request: auth.NewSecret()[:12], recorded: new(bool)}
	h.Set("X-Request-Id", p.request)
	if problem := s.identify(r, &p); problem != nil {
		write(w, problem)
		return
	}
	ctx := context.WithValue(r.Context(), principalKey{}, p)
	r = r.WithContext(ctx)
	answer := &recorder{ResponseWriter: w, status: http.StatusOK}
	if problem := s.admit(w, r, pattern, needed, &p); problem != nil {
		write(answer, problem)
	} else {
		s.mux.ServeHTTP(answer, r)
	}
	s.recordRefusal(ctx, r, pattern, answer)
}

// admit checks everything but identity.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, pattern string, needed Role, p *principal) *Problem {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if problem := sameOrigin(r, p.session != "", s.secureOf(r.Context())); problem != nil {
			return problem
		}
		if problem := readBody(w, r); problem != nil {
			return problem
		}
	}
	if needed == public {
		return nil
	}
	if p.Name == "" {
		return &Problem{Title: "Not signed in", Status: 401, Code: CodeNotSignedIn, Detail: "there is no session, or it has ended", Fix: "sign in"}
	}
	if !p.role.may(needed) {
		return &Problem{Title: "Not allowed", Status: 403, Code: CodeForbidden,
			Detail: fmt.Sprintf("this needs the role %s; you are %s", needed, p.role), Fix: "ask somebody with that role"}
	}
	return nil
}

// identify finds out who asks: a bearer token or a session cookie.
func (s *Server) identify(r *http.Request, p *principal) *Problem {
	if h := r.Header.Get("Authorization"); h != "" {
		token, ok := strings.CutPrefix(h, "Bearer ")
		wait := s.origins.Wait("token " + p.IP)
		if ok && wait == 0 {
			for _, t := range s.Tokens {
				if auth.MatchSecret(token, t.Hash) {
					p.Who.Name, p.Who.Role, p.role, p.Source = t.Name, string(t.Role), t.Role, t.Source
					return nil
				}
			}
			if s.byToken(token, p) {
				return nil
			}
			s.origins.Fail("token " + p.IP)
		}
		return &Problem{Title: "Not signed in", Status: 401, Code: CodeNotSignedIn, Detail: "the API token is not valid", Fix: "set BATON_TOKEN to a valid token"}
	}
	c, err := r.Cookie(cookieName(s.secureOf(r.Context())))
	if err != nil {
		return nil
	}
	if session, ok := s.sessions.Lookup(c.Value); ok {
		p.Who.Name, p.Who.Role, p.role, p.session, p.Source = session.User, session.Role, Role(session.Role), c.Value, "ui"
	}
	return nil
}

// sameOrigin refuses requests that another site made this browser send. A
// browser always names the origin of an unsafe request; a program with a token
// need not.
func sameOrigin(r *http.Request, cookie, secure bool) *Problem {
	refuse := &Problem{Title: "Refused: cross-site request", Status: 403, Code: CodeCrossSite,
		Detail: "the request was made by a page of another origin", Fix: "use the dashboard's own page"}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
	default:
		return refuse
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		if cookie && r.Header.Get("Sec-Fetch-Site") == "" {
			return refuse
		}
		return nil
	}
	u, err := url.Parse(origin)
	scheme := "http"
	if secure {
		scheme = "https"
	}
	if err != nil || u.Host != r.Host || u.Scheme != scheme {
		return refuse
	}
	return nil
}

// readBody reads the body whole, bounded, and checks its type and depth.
// A body must come in time; the deadline is taken away again, because one that
// passes while a handler works cancels the handler.
func readBody(w http.ResponseWriter, r *http.Request) *Problem {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // not every connection can
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBodyBytes+1))
	if err != nil {
		return &Problem{Title: "The request could not be read", Status: 400, Code: CodeBadRequest, Detail: err.Error()}
	}
	if len(body) > MaxBodyBytes {
		return &Problem{Title: "The request is too large", Status: 413, Code: CodeTooLarge, Detail: fmt.Sprintf("at most %d bytes are read", MaxBodyBytes)}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if len(body) == 0 {
		return nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &Problem{Title: "The request must be JSON", Status: 415, Code: CodeMediaType, Detail: "Content-Type is not application/json", Fix: "send Content-Type: application/json"}
	}
	if depth(body) > MaxDepth {
		return &Problem{Title: "The request is nested too deep", Status: 400, Code: CodeBadRequest, Detail: fmt.Sprintf("at most %d levels are read", MaxDepth)}
	}
	return nil
}

// depth is the deepest nesting of brackets outside strings.
func depth(b []byte) (deepest int) {
	level, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// recordRefusal puts a refused attempt to change something into the audit when
// its handler did not: bad JSON, a missing role, a forged origin.
func (s *Server) recordRefusal(ctx context.Context, r *http.Request, pattern string, a *recorder) {
	p := who(ctx)
	if r.Method == http.MethodGet || r.Method == http.MethodHead || unaudited[pattern] || a.status < 400 || *p.recorded || p.Name == "" {
		return
	}
	s.record(ctx, audit.Record{Cluster: s.clusterOf(r, pattern), What: "tried " + strings.ToLower(r.Method) + " " + printable(r.URL.Path),
		Outcome: audit.Refused, Detail: a.headline()})
}

// clusterOf is the cluster an attempt belongs to, the system's when it names
// none that exists.
func (s *Server) clusterOf(r *http.Request, _ string) string {
	rest := strings.TrimPrefix(r.URL.Path, Prefix+"/")
	kind, rest, _ := strings.Cut(rest, "/")
	id, _, _ := strings.Cut(rest, "/")
	switch kind {
	case "clusters":
		if _, ok := s.Inventory.Cluster(id); ok {
			return id
		}
	case "operations":
		if o, ok := s.Inventory.Operation(id); ok {
			return o.Plan.Cluster
		}
	}
	return audit.System
}

// record writes an audit record in the name of whoever makes the request.
func (s *Server) record(ctx context.Context, r audit.Record) {
	p := who(ctx)
	*p.recorded = true
	r.ID, r.At, r.Who, r.Request = newAttemptID(), s.Now(), p.Who, p.request
	// The attempt is recorded even when its client has gone.
	if _, err := s.Audit.Append(context.WithoutCancel(ctx), r); err != nil {
		s.Log.Error("attempt could not be audited", "what", r.What, "who", r.Name, "err", err)
	}
}

func newAttemptID() string { return "at-" + auth.NewSecret()[:12] }

func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	p := &Problem{Title: "No such route", Status: 404, Code: CodeNotFound, Detail: r.Method + " " + printable(r.URL.Path), Fix: "see " + Prefix + "/docs"}
	for _, m := range []string{"GET", "POST"} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := s.mux.Handler(probe); m != r.Method && pattern != "" && pattern != "/" {
			p.Status, p.Code, p.Title = 405, CodeMethod, "This route takes "+m
			w.Header().Set("Allow", m)
		}
	}
	write(w, p)
}

func secureHeaders(h http.Header, secure bool) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// write answers with a problem outside huma.
func write(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", problemContentType)
	if p.retryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfterSeconds))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client went away
}

// recorder keeps an answer's status and, of problems, the beginning.
type recorder struct {
	http.ResponseWriter
	status int
	head   []byte
}

// WriteHeader keeps the status.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Write keeps the beginning of a problem.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status >= 400 && len(r.head) < 4096 {
		r.head = append(r.head, b[:min(len(b), 4096)]...)
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets a response controller reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) headline() string {
	var p Problem
	if json.Unmarshal(r.head, &p) == nil && p.Title != "" {
		return p.Title + ": " + p.Detail
	}
	return fmt.Sprintf("answered %d", r.status)
}

func address(r *http.Request) string {
	if f, ok := passedOn(r.Context()); ok {
		return f.client
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// printable is a path fit for a sentence: bounded, without control characters.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 32 || r == 127 {
			return -1
		}
		return r
	}, s)
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return s
}
