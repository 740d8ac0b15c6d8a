package rpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"baton/eventstore/membership"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/features"
	"baton/gen/eventstore/gossip"
	"baton/gen/eventstore/monitoring"
	"baton/gen/eventstore/operations"
)

// ProtocolVersion is the version clients are told: they decide by it which requests the server understands.
const ProtocolVersion = "26.1.0"

// TicksPerSecond and TicksOf: clients count time in 100 ns ticks since the Unix epoch.
const TicksPerSecond = 10_000_000

// TicksOf converts a time.
func TicksOf(t time.Time) int64 { return t.UnixNano() / (1e9 / TicksPerSecond) }

// GossipState is the state a client is told for a member. A clone goes by the name of a read-only replica: clients never choose a "Clone", and both serve
// reads alike.
func GossipState(m *membership.NodeView) membership.State {
	if m.State == membership.StateClone {
		return membership.StateReadOnlyReplica
	}
	return m.State
}

type gossipService struct {
	gossip.UnimplementedGossipServer
	*Server
}

// Read lists the members with the addresses clients can reach.
func (s gossipService) Read(ctx context.Context, _ *client.Empty) (*gossip.ClusterInfo, error) {
	if !s.access.MayReadGossip(*callerOf(ctx)) {
		return nil, s.fail(ctx, errAccessDenied)
	}
	view := s.backend.View()
	now := time.Now()
	info := &gossip.ClusterInfo{}
	for i := range view.Members {
		m := &view.Members[i]
		seen := now
		if m.LastSeenMs > 0 {
			seen = now.Add(-time.Duration(m.LastSeenMs) * time.Millisecond)
		}
		info.Members = append(info.Members, &gossip.MemberInfo{
			InstanceId:   structuredUUID(m.InstanceID),
			TimeStamp:    TicksOf(seen),
			State:        gossip.MemberInfo_VNodeState(GossipState(m).Number()),
			IsAlive:      m.Alive,
			HttpEndPoint: &gossip.EndPoint{Address: m.ClientHost, Port: uint32(m.ClientPort)},
		})
	}
	return info, nil
}

func structuredUUID(id [16]byte) *client.UUID {
	return &client.UUID{Value: &client.UUID_Structured_{Structured: &client.UUID_Structured{
		MostSignificantBits:  int64(binary.BigEndian.Uint64(id[:8])),
		LeastSignificantBits: int64(binary.BigEndian.Uint64(id[8:])),
	}}}
}

type featuresService struct {
	features.UnimplementedServerFeaturesServer
	*Server
}

// supported is what this server can do, all names in lower case. A method that answers UNIMPLEMENTED is not in it.
var supported = []struct {
	service string
	methods map[string][]string
}{
	{"event_store.client.streams.streams", map[string][]string{
		"read": {"position", "events"}, "append": nil, "delete": nil, "tombstone": nil, "batchappend": {"deadline_duration"}}},
	{"event_store.client.persistent_subscriptions.persistentsubscriptions", persistentMethods},
	{"event_store.client.gossip.gossip", map[string][]string{"read": nil}},
	{"event_store.client.operations.operations", map[string][]string{"startscavenge": nil, "stopscavenge": nil, "shutdown": nil, "mergeindexes": nil, "resignnode": nil, "setnodepriority": nil, "restartpersistentsubscriptions": nil}},
	{"event_store.client.users.users", map[string][]string{
		"create": nil, "update": nil, "delete": nil, "enable": nil, "disable": nil, "details": nil, "changepassword": nil, "resetpassword": nil}},
	{"event_store.client.monitoring.monitoring", map[string][]string{"stats": nil}},
	{"event_store.client.server_features.serverfeatures", map[string][]string{"getsupportedmethods": nil}},
	{"kurrentdb.protocol.v2.streams.streamsservice", map[string][]string{"appendsession": nil, "appendrecords": nil}},
}

// GetSupportedMethods is asked by every client when it connects.
func (s featuresService) GetSupportedMethods(context.Context, *client.Empty) (*features.SupportedMethods, error) {
	answer := &features.SupportedMethods{EventStoreServerVersion: ProtocolVersion}
	add := func(service string, methods map[string][]string) {
		for method, list := range methods {
			answer.Methods = append(answer.Methods, &features.SupportedMethod{ServiceName: service, MethodName: method, Features: list})
		}
	}
	for _, of := range supported {
		add(of.service, of.methods)
	}
	if s.projections != nil {
		add("event_store.client.projections.projections", projectionMethods)
	}
	return answer, nil
}

type operationsService struct {
	operations.UnimplementedOperationsServer
	*Server
}

// Shutdown begins an orderly stop of this node and answers at once.
func (s operationsService) Shutdown(ctx context.Context, _ *client.Empty) (*client.Empty, error) {
	if err := s.access.operate(ctx); err != nil {
		return nil, s.fail(ctx, err)
	}
	if s.shutdown == nil {
		return nil, s.fail(ctx, badRequest("this node cannot be stopped by a client"))
	}
	s.shutdown()
	return &client.Empty{}, nil
}

// ResignNode makes the leader hand over; the change itself comes later. Any other node ignores it.
func (s operationsService) ResignNode(ctx context.Context, _ *client.Empty) (*client.Empty, error) {
	if err := s.access.operate(ctx); err != nil {
		return nil, s.fail(ctx, err)
	}
	if s.backend.Self().Role == membership.RoleLeader {
		if err := s.backend.Resign(ctx); err != nil {
			return nil, s.fail(ctx, err)
		}
	}
	return &client.Empty{}, nil
}

// SetNodePriority changes this node's priority.
func (s operationsService) SetNodePriority(ctx context.Context, req *operations.SetNodePriorityReq) (*client.Empty, error) {
	if err := s.access.operate(ctx); err != nil {
		return nil, s.fail(ctx, err)
	}
	if err := s.backend.SetPriority(ctx, int(req.GetPriority())); err != nil {
		return nil, s.fail(ctx, err)
	}
	return &client.Empty{}, nil
}

type monitoringService struct {
	monitoring.UnimplementedMonitoringServer
	*Server
}

const (
	defaultStatsEvery = 10 * time.Second
	minStatsEvery     = 100 * time.Millisecond
)

// Stats sends the figures now and then every period until the call ends.
func (s monitoringService) Stats(req *monitoring.StatsReq, ss grpc.ServerStreamingServer[monitoring.StatsResp]) error {
	ctx := ss.Context()
	if !s.access.MayReadStats(*callerOf(ctx)) {
		return s.fail(ctx, errAccessDenied)
	}
	every := defaultStatsEvery
	if ms := req.GetRefreshTimePeriodInMs(); ms > 0 {
		every = max(time.Duration(min(ms, 3_600_000))*time.Millisecond, minStatsEvery)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := ss.Send(&monitoring.StatsResp{Stats: s.Server.Stats()}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-s.lifetime.Done():
			return s.fail(ctx, errStopping)
		case <-ctx.Done():
			return nil
		}
	}
}

// Stats returns the node's figures by dotted name.
func (s *Server) Stats() map[string]string {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	self := s.backend.Self()
	u := func(v uint64) string { return strconv.FormatUint(v, 10) }
	stats := map[string]string{
		"proc.startTime":     s.started.UTC().Format(time.RFC3339),
		"proc.upSeconds":     fmt.Sprintf("%.0f", time.Since(s.started).Seconds()),
		"proc.goroutines":    strconv.Itoa(runtime.NumGoroutine()),
		"proc.heapBytes":     u(memory.HeapAlloc),
		"proc.memoryBytes":   u(memory.Sys),
		"proc.gc.count":      strconv.FormatUint(uint64(memory.NumGC), 10),
		"es.role":            strings.ToLower(string(self.Role)),
		"es.state":           string(self.State),
		"es.term":            u(self.Term),
		"es.logPosition":     u(self.LogPosition),
		"es.commitPosition":  u(self.CommitPosition),
		"es.appliedPosition": u(self.AppliedPosition),
		"es.lagBytes":        u(self.LagBytes),
		"es.appends.done":    u(s.metrics.done.Load()),
		"es.appends.refused": u(s.metrics.refused.Load()),
		"es.appends.failed":  u(s.metrics.failed.Load()),
		"es.reads":           u(s.metrics.reads.Load()),
		"es.subscriptions":   strconv.FormatInt(s.metrics.subscriptions.Load(), 10),
	}
	s.scavengeStats(stats)
	s.mergeStats(stats)
	return stats
}
