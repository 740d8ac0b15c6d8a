package api

import (
	"context"

	"baton/control/executor"
)

// RestartRequest restarts every server of a cluster, one after the other.
type RestartRequest struct {
	TypedName  string   `json:"typedName" maxLength:"256" doc:"the cluster's name, typed by a person"`
	Generation Int64    `json:"generation,omitempty" doc:"what was seen; 0 is not compared"`
	Reason     string   `json:"reason,omitempty" maxLength:"1000"`
	Overrides  []string `json:"overrides,omitempty" maxItems:"16"`
}

func (s *Server) restartRoutes() {
	accepted(s, "rolling-restart", "/clusters/{id}/restart", "Restart every server, the replicas first, the primary after another took its place", s.postRestart)
}

func (s *Server) postRestart(ctx context.Context, in *clusterBody[RestartRequest]) (*status[OperationStarted], error) {
	q := executor.RequestRestart{Cluster: in.ID, TypedName: in.Body.TypedName, Reason: in.Body.Reason, Overrides: in.Body.Overrides, Who: who(ctx).Who}
	if g := uint64(in.Body.Generation); g != 0 {
		q.Generation = &g
	}
	id, err := s.Executor.RollingRestart(ctx, q)
	return s.started(ctx, in.ID, "", "tried to restart the servers one after the other", id, err)
}
