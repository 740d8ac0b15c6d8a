package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"baton/control/access"
	"baton/control/alert/watch"
	"baton/control/audit"
	"baton/control/backup"
	"baton/control/executor"
	"baton/control/history"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/keeper"
	"baton/control/monitor"
	"baton/control/notify"
	"baton/control/people"
	"baton/control/provider/machines"
	"baton/control/schedule"
	"baton/control/terminal"
	"baton/platform/auth"
)

// MaxBodyBytes bounds a request's body; the largest legal one is a promotion
// with its reason. MaxDepth bounds the nesting of its JSON.
const (
	MaxBodyBytes = 1 << 20
	// bodyTime bounds how long a request's body may take to come.
	bodyTime = 30 * time.Second
	MaxDepth = 32
)

// APIToken lets a program in. The token itself is shown once and kept only by
// its user.
type APIToken struct {
	Name string // who acts, in the audit
	Role Role
	Hash string // auth.HashSecret of the token
	// Source says in the audit what acts: "cli" or "api".
	Source string
}

// Options of a Server.
type Options struct {
	Inventory *inventory.Inventory
	Monitor   *monitor.Monitor
	Executor  *executor.Executor
	// Backups is the catalog of backups; nil: none are kept.
	Backups *backup.Catalog
	// Keeper keeps leases; nil: nothing fails over by itself here.
	Keeper *keeper.Keeper
	Audit  *audit.Log
	// Sessions and Setup are required to let people in.
	Sessions Sessions
	Setup    Setup
	// Leadership tells which control node acts; nil: this one does. Peers reaches
	// the others, by their address. Mirror is what they are told of the agents.
	Leadership Leadership
	Peers      http.RoundTripper
	Mirror     *monitor.Mirror
	// Control makes join tokens and removes control nodes.
	Control ControlPlane
	// Machines are the hosts that joined, Links their agents' links.
	Machines Hosts
	Links    Links
	// Installer reaches machines over SSH; nil: not available.
	Installer Installer
	// Provisioner makes machines at providers; nil: not available. Program is the
	// file of this very program, which they fetch; "": it is not served.
	Provisioner *machines.Store
	Program     string
	// Dashboard serves everything outside the API; nil: a page that says so.
	Dashboard http.Handler
	// Secure is set when the listener speaks TLS. Without it, on plain HTTP
	// over loopback, the cookie has neither the __Host- prefix nor Secure.
	Secure  bool
	Tokens  []APIToken
	Version string
	Commit  string
	Log     *slog.Logger
	Now     func() time.Time

	// Parts that may be missing; their routes then say so. Journal is read for
	// the audit's export and verification.
	Journal  journal.Journal
	Trail    *audit.Trail
	People   *people.Book
	Alerts   *watch.Keeper
	Notifier *notify.Notifier
	History  *history.Store
	Waiting  *schedule.Book
	// Endpoints keeps the clusters' stable endpoints.
	Endpoints Endpoints
	// Terminals opens people's terminals on nodes.
	Terminals *terminal.Manager
	// URL of the dashboard without a slash at its end, for links; nil: "".
	URL func() string
}

// Server is the API and the dashboard's files.
type Server struct {
	Options
	mux      *http.ServeMux
	huma     huma.API
	sessions Sessions
	accounts *auth.Limiter // wrong passwords by account
	origins  *auth.Limiter // and by address

	mu      sync.Mutex
	streams int // open event streams
	tasks   hostTasks
	fetches atomic.Int64 // of the program
	shown   board

	terminalPing time.Duration // how often a terminal's person is asked for a sign of life; 0: the usual

	waiter   *schedule.Runner
	tokenUse sync.Map // token id to time.Time of the last use
}

// Wrong tries that go free, by account and by address. An address may stand
// for many people.
const (
	freeByAccount = 3
	freeByAddress = 20
)

// New returns a server. It serves no listener by itself.
func New(o Options) *Server {
	installErrors()
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Options: o, mux: http.NewServeMux(), sessions: o.Sessions,
		accounts: auth.NewLimiter(o.Now, freeByAccount), origins: auth.NewLimiter(o.Now, freeByAddress)}
	cfg := huma.DefaultConfig("Baton control API", "1")
	cfg.Info.Description = "Roles and promotion for replicated data. 64-bit integers are decimal strings; errors are problem documents."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", "" // served by ourselves, without third-party pages
	cfg.CreateHooks = nil                                       // no $schema property in answers
	s.huma = humago.New(s.mux, cfg)
	s.waiter = s.newWaiter()
	s.routes()
	s.documentRoutes()
	if s.Dashboard == nil {
		s.Dashboard = http.HandlerFunc(noDashboard)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.Dashboard.ServeHTTP(w, r) })
	return s
}

func noDashboard(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "This binary has no dashboard. The API is under "+Prefix+", described at "+Prefix+"/docs.", http.StatusNotFound)
}

// Document returns the OpenAPI 3.1 document, indented, with a stable order.
func Document() ([]byte, error) {
	return document(New(Options{}).huma.OpenAPI())
}

func document(doc *huma.OpenAPI) ([]byte, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var v any // decoded and encoded again: maps in key order
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	return json.MarshalIndent(v, "", "  ")
}

// NewSetupToken makes a new one-use token for the first user and forgets the
// one before; "" when there is a user already.
func (s *Server) NewSetupToken() string {
	if s.Inventory.Users() > 0 {
		return ""
	}
	t, _, err := s.Setup.Issue(access.PurposeSetup)
	if err != nil {
		s.Log.Error("the set-up link could not be made", "err", err)
		return ""
	}
	return t
}

// SetDashboard gives the handler of everything outside the API. Call it before
// serving.
func (s *Server) SetDashboard(h http.Handler) { s.Dashboard = h }
