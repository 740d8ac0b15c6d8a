package main

import (
	"log/slog"
	"strings"

	"baton/eventstore/node"
	"baton/eventstore/projection"
	"baton/eventstore/projections"
	"baton/eventstore/rpc"
	"baton/platform/config"
)

// startProjections runs the projections that --run-projections asks for; nil when it asks for none.
func startProjections(s *config.Settings, n *node.Node, access *rpc.Access, logger *slog.Logger) *projections.Service {
	o := projections.Options{Node: n, Run: projections.All, StartStandard: s.Bool("start-standard-projections"), Compile: projection.Compile, Logger: logger}
	switch strings.ToLower(s.String("run-projections")) {
	case "all":
	case "system":
		o.Run = projections.System
	default:
		return nil
	}
	if access != nil {
		o.Access = access
	}
	return projections.Start(o)
}
