package api

import (
	"context"
	"net/http"
)

func notWired() error {
	return &Problem{Title: "Not ready", Status: 503, Code: CodeUnavailable, Detail: "the control plane is starting", Retry: true}
}

func (s *Server) getSetupState(context.Context, *none) (*body[SetupState], error) {
	return nil, notWired()
}
func (s *Server) postSetup(context.Context, *setupInput) (*sessionOutput, error) {
	return nil, notWired()
}
func (s *Server) postLogin(context.Context, *loginInput) (*sessionOutput, error) {
	return nil, notWired()
}
func (s *Server) postLogout(context.Context, *none) (*logoutOutput, error)  { return nil, notWired() }
func (s *Server) getSession(context.Context, *none) (*body[Session], error) { return nil, notWired() }
func (s *Server) getVersion(context.Context, *none) (*body[Version], error) { return nil, notWired() }
func (s *Server) getClusters(context.Context, *none) (*body[ClusterList], error) {
	return nil, notWired()
}
func (s *Server) getCluster(context.Context, *clusterInput) (*body[ClusterDetail], error) {
	return nil, notWired()
}
func (s *Server) getReport(context.Context, *nodeInput) (*body[Report], error) {
	return nil, notWired()
}
func (s *Server) postPlan(context.Context, *planInput) (*body[Plan], error) { return nil, notWired() }
func (s *Server) postPromotion(context.Context, *promotionInput) (*status[PromotionAccepted], error) {
	return nil, notWired()
}
func (s *Server) getAudit(context.Context, *auditInput) (*body[AuditPage], error) {
	return nil, notWired()
}
func (s *Server) getOperation(context.Context, *operationInput) (*body[Operation], error) {
	return nil, notWired()
}
func (s *Server) postUndo(context.Context, *undoInput) (*body[PromotionAccepted], error) {
	return nil, notWired()
}
func (s *Server) getHosts(context.Context, *none) (*body[HostList], error) { return nil, notWired() }
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request)         { w.WriteHeader(503) }
