package api

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	"baton/control/leader"
)

// Leadership tells which control node acts; *leader.Elector is one.
type Leadership interface {
	// Acting returns the term while this node acts.
	Acting() (term uint64, ok bool)
	// Status is what this node knows of all.
	Status() leader.Status
	// Await returns the status once a leader is known, at the latest when ctx ends.
	Await(ctx context.Context) leader.Status
	// Leader is who acts, and a channel that is closed when that changes.
	Leader() (name string, changed <-chan struct{})
}

// Headers between control nodes and to clients.
const (
	headerClient   = "Baton-Client"   // address of the person, from a control node
	headerSecure   = "Baton-Secure"   // whether they came over TLS, from a control node
	headerPosition = "Baton-Position" // the journal position an answer is at least as new as
	// HeaderStale tells on an answer how many seconds ago this node last knew a
	// leader; without it the answer is live.
	HeaderStale = "Baton-Stale-Seconds"
	// HeaderRefused is on an answer by a node that did nothing and passed nothing
	// on: the code why.
	HeaderRefused = "Baton-Refused"
)

// Waits for a leader.
const (
	// leaderWait is how long a request waits while leadership moves.
	leaderWait = 3 * time.Second
	// followWait is how long an answer that changed something waits until this
	// node has read the change itself.
	followWait = time.Second
)

// atHome are the reads every control node answers from the journal itself.
var atHome = map[string]bool{
	"GET " + Prefix + "/setup-state":         true,
	"GET " + Prefix + "/version":             true,
	"GET " + Prefix + "/openapi.json":        true,
	"GET " + Prefix + "/docs":                true,
	"GET " + Prefix + "/control":             true,
	"GET " + Prefix + "/session":             true,
	"GET " + Prefix + "/operations/{id}":     true,
	"GET " + Prefix + "/clusters/{id}/audit": true,
}

// forwarded is set on requests that another control node passed on.
type forwarded struct {
	client string
	secure bool
}

type forwardedKey struct{}

// passedOn returns what another control node said of the request.
func passedOn(ctx context.Context) (forwarded, bool) {
	f, ok := ctx.Value(forwardedKey{}).(forwarded)
	return f, ok
}

// secureOf tells whether the person reached us over TLS.
func (s *Server) secureOf(ctx context.Context) bool {
	if f, ok := passedOn(ctx); ok {
		return f.secure
	}
	return s.Secure
}

// Acts tells whether this control node acts: it alone orders, and changes.
func (s *Server) Acts() bool {
	if s.Leadership == nil {
		return true
	}
	_, ok := s.Leadership.Acting()
	return ok
}

// elsewhere passes a request on to the control node that leads, when this one
// does not, and reports whether it was answered. Reads that nobody can answer
// better are left to this node.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request, pattern string) bool {
	if s.Acts() {
		return false
	}
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	if _, again := passedOn(r.Context()); again {
		write(w, &Problem{Title: "Leadership is moving", Status: 503, Code: CodeUnavailable, Retry: true, retryAfterSeconds: 1,
			Detail: "this control node was asked as the leader and does not lead now", Fix: "try again in a moment"})
		return true
	}
	if atHome[pattern] && s.knows(r, pattern) {
		return false
	}
	st := s.Leadership.Status()
	if st.Leader == "" && time.Since(st.Contact) < leaderWait {
		ctx, cancel := context.WithTimeout(r.Context(), leaderWait)
		st = s.Leadership.Await(ctx)
		cancel()
	}
	switch {
	case st.Leader == st.Self && st.Self != "":
		return false // this node began to act meanwhile
	case st.Address != "":
		return s.pass(w, r, st, read)
	case read:
		s.markStale(w, st)
		return false
	}
	p := noLeader(st)
	w.Header().Set(HeaderRefused, p.Code)
	write(w, p)
	return true
}

// noLeader refuses a change while no leader is known.
func noLeader(st leader.Status) *Problem {
	p := &Problem{Title: "Nothing can be changed here now", Status: 503, Code: CodeNoMajority, Retry: true, retryAfterSeconds: 2, Detail: st.Sentence,
		Fix: "start the other control nodes or mend the network between them; or use one that sees a majority"}
	if st.Majority {
		p.Title, p.Fix = "Leadership is moving", "try again in a moment"
	}
	return p
}

func (s *Server) markStale(w http.ResponseWriter, st leader.Status) {
	w.Header().Set(HeaderStale, strconv.Itoa(int(time.Since(st.Contact).Seconds())))
}

// knows tells whether this node can tell by itself who asks. What began on
// another node a moment ago may not be read here yet; that one is asked then.
func (s *Server) knows(r *http.Request, pattern string) bool {
	if permissions[pattern] == public || pattern == "GET "+Prefix+"/control" {
		return true
	}
	if r.Header.Get("Authorization") != "" {
		return false
	}
	c, err := r.Cookie(cookieName(s.Secure))
	return err == nil && s.sessions.Alive(c.Value)
}

// pass passes a request on and streams the answer back. It reports false when
// the leader cannot be reached and this node shall answer a read itself.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, st leader.Status, read bool) bool {
	answered := true
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() { // an answer of a leader that was deposed, or is stuck, is not waited for
		for ctx.Err() == nil {
			now, changed := s.Leadership.Leader()
			if now != st.Leader {
				cancel()
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	person := r
	r = r.WithContext(ctx)
	proxy := httputil.ReverseProxy{
		Transport: s.Peers,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "https", Host: st.Address})
			p.Out.Host = p.In.Host // the origin of a request is compared with it
			p.Out.Header.Set(headerClient, address(p.In))
			p.Out.Header.Set(headerSecure, strconv.FormatBool(s.Secure))
		},
		FlushInterval: -1, // event streams
		ModifyResponse: func(res *http.Response) error {
			if position, err := strconv.ParseUint(res.Header.Get(headerPosition), 10, 64); err == nil && !read {
				ctx, cancel := context.WithTimeout(r.Context(), followWait)
				defer cancel()
				_ = s.Inventory.Reached(ctx, position) // later at worst: the next read shows it
			}
			res.Header.Del(headerPosition)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.Log.Warn("a request could not be passed on", "leader", st.Leader, "address", st.Address, "err", err)
			switch {
			case person.Context().Err() != nil: // the person went away
			case read && !strings.HasSuffix(r.URL.Path, "/events"):
				answered = false
				s.markStale(w, st)
			default:
				write(w, lostLeader(st, err))
			}
		},
	}
	if !read {
		r.Body = http.MaxBytesReader(w, r.Body, MaxBodyBytes+1)
	}
	proxy.ServeHTTP(w, r)
	return answered
}

// lostLeader says what is known of a request whose leader went away.
func lostLeader(st leader.Status, err error) *Problem {
	p := &Problem{Title: "The leader did not answer", Status: 503, Code: CodeUnavailable, Retry: true, retryAfterSeconds: 1,
		Detail: st.Leader + " leads and cannot be reached; nothing was done", Fix: "try again in a moment: another node takes over"}
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		p.Detail = st.Leader + " went away while it handled the request; whether it was done is not known"
		p.Fix, p.Retry = "look whether it was done before trying again", false
	}
	return p
}

// ForPeers serves what other control nodes ask: requests they pass on, and the
// agents' reports. Only their verified connections may reach it.
func (s *Server) ForPeers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /peer/reports", func(w http.ResponseWriter, _ *http.Request) {
		if s.Mirror == nil || !s.Acts() {
			http.Error(w, "this control node does not lead", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Mirror.Export()) // the peer went away
	})
	mux.HandleFunc("GET /peer/recordings/{id}", s.peerRecording)
	mux.HandleFunc(Prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		f := forwarded{client: r.Header.Get(headerClient), secure: r.Header.Get(headerSecure) == "true"}
		r.Header.Del(headerClient)
		r.Header.Del(headerSecure)
		s.ServeHTTP(&positioned{ResponseWriter: w, s: s}, r.WithContext(context.WithValue(r.Context(), forwardedKey{}, f)))
	})
	return mux
}

// positioned puts the journal's position on an answer as its header is written.
type positioned struct {
	http.ResponseWriter
	s    *Server
	done bool
}

// WriteHeader adds the position.
func (p *positioned) WriteHeader(status int) {
	if !p.done {
		p.done = true
		p.Header().Set(headerPosition, strconv.FormatUint(p.s.Inventory.Position(), 10))
	}
	p.ResponseWriter.WriteHeader(status)
}

// Write adds the position.
func (p *positioned) Write(b []byte) (int, error) {
	if !p.done {
		p.WriteHeader(http.StatusOK)
	}
	return p.ResponseWriter.Write(b)
}

// Unwrap lets a response controller reach the connection.
func (p *positioned) Unwrap() http.ResponseWriter { return p.ResponseWriter }
