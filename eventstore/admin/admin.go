// Package admin serves a node's HTTP surface beside gRPC: health, gossip, information, statistics and metrics for programs, and the operators' routes
// for roles and members. It decides nothing: answers and refusals are the node's, written as JSON; refusals follow RFC 9457.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"baton/eventstore/backup"
	"baton/eventstore/membership"
	"baton/eventstore/node"
	"baton/eventstore/rpc"
	"baton/eventstore/users"
)

// Node is what the routes need of a node; *node.Node is one.
type Node interface {
	View() membership.View
	Self() membership.NodeView
	Ready() (bool, string)
	Promote(ctx context.Context, nameOrID string, lead bool) (node.PromoteResult, error)
	Resign(ctx context.Context) error
	SetPriority(ctx context.Context, priority int) error
	SetClusterSize(ctx context.Context, size int) error
	AddMember(ctx context.Context, member membership.Member) (membership.Member, error)
	RemoveMember(ctx context.Context, nameOrID string) error
	HelloHandler() http.Handler
	Collectors() []prometheus.Collector
	Elections() []node.Election
}

// Services is what the routes need of the gRPC server; *rpc.Server is one.
type Services interface {
	Stats() map[string]string
	Counters() rpc.Counters
	Collectors() []prometheus.Collector
}

const (
	// maxBodyBytes bounds a request's body: the largest is a member's description.
	maxBodyBytes = 64 << 10
	// bodyTimeout is how long a body may take to arrive.
	bodyTimeout = 10 * time.Second
	// operationTimeout bounds an operation that names no time of its own.
	operationTimeout = 10 * time.Second
	// maxPromoteTimeout bounds the time a promotion may be given.
	maxPromoteTimeout = 5 * time.Minute
)

// Options configures the handler.
type Options struct {
	Node     Node
	Services Services
	Access   *rpc.Access // nil: an insecure node
	Shutdown func()      // begins an orderly stop and returns at once
	Version  string      // the product's own version
	// Backups takes this node's backups; nil: it takes none.
	Backups *backup.Runner
	// Options are the effective options for GET /info/options; secrets must be masked already.
	Options []Option
	Logger  *slog.Logger
}

// Option is one effective option as GET /info/options shows it.
type Option struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"configurationSource"`
}

type handler struct {
	Options
	access  *rpc.Access
	wasLive atomic.Bool // the node has been ready once
}

// Handler returns the routes. Errors of the routes are application/problem+json.
func Handler(o Options) http.Handler {
	h := &handler{Options: o, access: o.Access}
	if h.access == nil {
		h.access = &rpc.Access{}
	}
	if h.Logger == nil {
		h.Logger = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/live", h.live)
	mux.HandleFunc("GET /health/ready", h.ready)
	mux.HandleFunc("GET /ping", h.ping)
	mux.HandleFunc("GET /info", h.info)
	mux.Handle("GET /gossip", h.may(h.access.MayReadGossip, h.gossip))
	mux.Handle("GET /info/options", h.may(h.access.MayOperate, h.infoOptions))
	mux.Handle("GET /stats", h.may(h.access.MayReadStats, h.stats))
	mux.Handle("GET /stats/{path...}", h.may(h.access.MayReadStats, h.stats))
	mux.Handle("GET /stats/replication", h.may(h.access.MayReadStats, h.replication))
	mux.Handle("GET /metrics", h.may(h.access.MayReadStats, h.metrics().ServeHTTP))
	mux.Handle("GET /cluster", h.may(h.access.MayReadStats, h.cluster))
	mux.Handle("GET /cluster/elections", h.may(h.access.MayReadStats, h.elections))
	mux.Handle("POST /cluster/promote", h.may(h.access.MayOperate, h.promote))
	mux.Handle("POST /cluster/size", h.may(h.access.MayOperate, h.size))
	mux.Handle("POST /cluster/members", h.may(h.access.MayOperate, h.addMember))
	mux.Handle("DELETE /cluster/members/{id}", h.may(h.access.MayOperate, h.removeMember))
	mux.Handle("POST /admin/node/resign", h.may(h.access.MayOperate, h.resign))
	mux.Handle("POST /admin/node/priority/{n}", h.may(h.access.MayOperate, h.priority))
	mux.Handle("POST /admin/shutdown", h.may(h.access.MayOperate, h.shutdown))
	mux.Handle("GET /admin/login", h.may(h.access.SignedIn, h.login))
	h.userRoutes(mux)
	h.subscriptionRoutes(mux)
	h.backupRoutes(mux)
	h.scavengeRoutes(mux)
	h.scrubRoutes(mux)
	h.indexRoutes(mux)
	h.projectionRoutes(mux)
	mux.Handle(node.HelloPath, o.Node.HelloHandler())
	mux.HandleFunc("/", h.unknown)
	return http.NewCrossOriginProtection().Handler(mux)
}

// may lets callers through that pass the check; others get 401, with or without credentials of their own.
func (h *handler) may(check func(rpc.Caller) bool, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := h.access.Identify(r)
		if errors.Is(err, users.ErrNotReady) || errors.Is(err, users.ErrBusy) {
			h.failUser(w, r, err)
			return
		}
		if err != nil || caller.Name == "" && !check(caller) {
			w.Header().Set("WWW-Authenticate", `Basic realm="baton"`)
			problem(w, problemDetails{Title: "Not signed in", Status: http.StatusUnauthorized, Code: "unauthenticated",
				Detail: "The request carries no credentials this node accepts.", Fix: "Send the name and password of a user as Basic credentials."})
			return
		}
		if !check(caller) {
			h.notAllowed(w, caller)
			return
		}
		next(w, r.WithContext(rpc.WithCaller(r.Context(), caller)))
	})
}

func (h *handler) unknown(w http.ResponseWriter, r *http.Request) {
	problem(w, problemDetails{Title: "No such route", Status: http.StatusNotFound, Code: "no-route",
		Detail: r.Method + " " + clip(r.URL.Path) + " is not served here.", Fix: "See GET /cluster, /info, /gossip, /stats, /metrics, /health/live."})
}

func clip(text string) string {
	if len(text) > 200 {
		return text[:200] + "…"
	}
	return text
}
