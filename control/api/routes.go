package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Prefix is where the API lives.
const Prefix = "/api/v1"

// Inputs and outputs of the routes, in huma's form: path, query and body in
// one value.
type (
	none         struct{}
	clusterInput struct {
		ID string `path:"id" maxLength:"63"`
	}
	nodeInput struct {
		ID   string `path:"id" maxLength:"63"`
		Node string `path:"node" maxLength:"63"`
	}
	operationInput struct {
		ID string `path:"id" maxLength:"63"`
	}
	auditInput struct {
		ID     string `path:"id" maxLength:"63"`
		Before string `query:"before" maxLength:"64" doc:"the next of the page before"`
		Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	}
	planInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body PlanRequest
	}
	promotionInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body PromotionRequest
	}
	undoInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body UndoRequest
	}
	setupInput struct{ Body SetupRequest }
	loginInput struct{ Body LoginRequest }

	body[T any]   struct{ Body T }
	status[T any] struct {
		Status int
		Body   T
	}
	sessionOutput struct {
		SetCookie http.Cookie `header:"Set-Cookie"`
		Body      Session
	}
	logoutOutput struct {
		SetCookie http.Cookie `header:"Set-Cookie"`
	}
)

// routes registers every typed route. The order is the order of the document.
func (s *Server) routes() {
	add(s, "setup-state", "GET", "/setup-state", "Whether the first user is still to be made", s.getSetupState)
	add(s, "setup", "POST", "/setup", "Make the first user with the one-use link", s.postSetup)
	add(s, "login", "POST", "/login", "Sign in", s.postLogin)
	add(s, "logout", "POST", "/logout", "Sign out", s.postLogout)
	add(s, "session", "GET", "/session", "The signed-in person", s.getSession)
	add(s, "version", "GET", "/version", "What this server is", s.getVersion)
	add(s, "clusters", "GET", "/clusters", "All clusters, worst first", s.getClusters)
	add(s, "cluster", "GET", "/clusters/{id}", "One cluster with its nodes", s.getCluster)
	add(s, "report", "GET", "/clusters/{id}/nodes/{node}/report", "May this node be promoted? Every check", s.getReport)
	add(s, "plan", "POST", "/clusters/{id}/plan", "What promoting a node would do", s.postPlan)
	add(s, "promote", "POST", "/clusters/{id}/promotions", "Promote a node", s.postPromotion)
	add(s, "audit", "GET", "/clusters/{id}/audit", "Who did what, newest first", s.getAudit)
	add(s, "operation", "GET", "/operations/{id}", "One operation with its steps", s.getOperation)
	add(s, "undo", "POST", "/operations/{id}/undo", "Switch a promotion back", s.postUndo)
	s.lifeRoutes()
	s.controlRoutes()
	s.hostRoutes()
	s.activityRoutes()
	s.alertRoutes()
	s.peopleRoutes()
	s.historyRoutes()
	s.scheduleRoutes()
	s.failoverRoutes()
	s.endpointRoutes()
	s.backupRoutes()
	s.streamRoutes()
	s.subscriptionRoutes()
	s.projectionRoutes()
	s.storeUserRoutes()
	s.storeLoginRoutes()
	s.terminalRoutes()
	s.eventsRoute()
}

// add registers one typed route under Prefix.
func add[I, O any](s *Server, id, method, path, summary string, h func(context.Context, *I) (*O, error)) {
	op := huma.Operation{OperationID: id, Method: method, Path: Prefix + path, Summary: summary,
		MaxBodyBytes: MaxBodyBytes, BodyReadTimeout: -1} // the gate has read it, in time
	if id == "promote" || id == "undo" {
		op.DefaultStatus = http.StatusAccepted
	}
	huma.Register(s.huma, op, h)
}

// eventsRoute documents the event stream; its handler is not huma's, because
// it is long-lived and resumable.
func (s *Server) eventsRoute() {
	str := &huma.Schema{Type: huma.TypeString}
	s.huma.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "events", Method: "GET", Path: Prefix + "/events",
		Summary: "State as it changes (server-sent events)",
		Description: "Event names and their data: `control` (ControlState) and `clusters` (ClusterSummary[]), about once a second, " +
			"`cluster` (ClusterDetail of ?cluster=, about twice a second), `operation` (Operation, on each change), " +
			"`audit` (AuditRow). The id of an operation or audit event is a journal position: send it back as " +
			"Last-Event-ID to miss nothing. A comment every 5 s keeps the connection alive.",
		Parameters: []*huma.Param{
			{Name: "cluster", In: "query", Schema: str, Description: "cluster whose detail is wanted"},
			{Name: "operation", In: "query", Schema: str, Description: "send this operation at once, then on each change"},
			{Name: "Last-Event-ID", In: "header", Schema: str},
		},
		Responses: map[string]*huma.Response{"200": {Description: "event stream",
			Content: map[string]*huma.MediaType{"text/event-stream": {Schema: str}}}},
	})
	s.mux.HandleFunc("GET "+Prefix+"/events", s.getEvents)
}
