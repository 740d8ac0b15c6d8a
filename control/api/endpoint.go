package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"baton/control/audit"
	"baton/control/engine"
	"baton/control/proxy/feed"
)

// Endpoints keeps the clusters' stable endpoints; *feed.Feed is one.
type Endpoints interface {
	Settings(cluster string) (feed.Settings, bool)
	Put(ctx context.Context, s feed.Settings) error
	State(cluster string) (feed.State, bool)
}

// Endpoint is a cluster's stable address: what was decided and what it does.
type Endpoint struct {
	Enabled       bool     `json:"enabled"`
	Host          string   `json:"host"`
	ReadWritePort int      `json:"readWritePort"`
	ReadOnlyPort  int      `json:"readOnlyPort"`
	MaxLagBytes   int64    `json:"maxLagBytes" doc:"how far behind a replica may be to be read from"`
	ReplicasOnly  bool     `json:"replicasOnly" doc:"reads do not fall back to the primary"`
	On            []string `json:"on" doc:"agents that serve it; none: chosen"`

	ReadWrite    string           `json:"readWrite" doc:"host:port, empty while not served"`
	ReadOnly     string           `json:"readOnly"`
	State        string           `json:"state" enum:"forwarding,holding,closed"`
	Why          string           `json:"why"`
	Clients      int64            `json:"clients"`
	HeldNow      int64            `json:"heldNow" doc:"clients with a request that waits"`
	Generation   Int64            `json:"generation"`
	Target       string           `json:"target" doc:"the node writes go to"`
	LastSwitchMs *float64         `json:"lastSwitchMs" doc:"how long requests waited at the last move"`
	Agents       []string         `json:"agents" doc:"ids of those that serve it now"`
	Counters     EndpointCounters `json:"counters"`
	LastOutside  string           `json:"lastOutside" doc:"the address last refused for its network, empty when none was"`
}

// EndpointCounters grow from the start of a serving process.
type EndpointCounters struct {
	Connections int64 `json:"connections"`
	TurnedAway  int64 `json:"turnedAway" doc:"too many clients"`
	Outside     int64 `json:"outside" doc:"connections refused: not from a network that may connect"`
	Requests    int64 `json:"requests"`
	Waited      int64 `json:"waited" doc:"requests that waited for a primary"`
	SentAgain   int64 `json:"sentAgain" doc:"requests that a second server carried out, the first one not"`
	Unknown     int64 `json:"unknown" doc:"requests answered outcome unknown"`
	Refused     int64 `json:"refused" doc:"requests refused after waiting"`
}

// EndpointRequest changes what was decided about an endpoint.
type EndpointRequest struct {
	Enabled       bool     `json:"enabled"`
	ReadWritePort int      `json:"readWritePort,omitempty" minimum:"0" maximum:"65535"`
	ReadOnlyPort  int      `json:"readOnlyPort,omitempty" minimum:"0" maximum:"65535"`
	Host          string   `json:"host,omitempty" maxLength:"45" doc:"address listened on, 127.0.0.1 by default"`
	MaxLagBytes   int64    `json:"maxLagBytes,omitempty" minimum:"0" maximum:"1099511627776"`
	ReplicasOnly  bool     `json:"replicasOnly,omitempty"`
	On            []string `json:"on,omitempty" maxItems:"64"`
}

type endpointInput struct {
	ID   string `path:"id" maxLength:"63"`
	Body EndpointRequest
}

func (s *Server) endpointRoutes() {
	add(s, "endpoint", "GET", "/clusters/{id}/endpoint", "The cluster's stable address", s.getEndpoint)
	add(s, "endpoint-put", "PUT", "/clusters/{id}/endpoint", "Open, change or close the cluster's stable address", s.putEndpoint)
}

func (s *Server) getEndpoint(_ context.Context, in *clusterInput) (*body[Endpoint], error) {
	if _, ok := s.Inventory.Cluster(in.ID); !ok {
		return nil, notFoundCluster(in.ID)
	}
	if s.Endpoints == nil {
		return nil, missing("endpoints")
	}
	return &body[Endpoint]{s.endpointView(in.ID)}, nil
}

func (s *Server) endpointView(cluster string) Endpoint {
	set, ok := s.Endpoints.Settings(cluster)
	out := Endpoint{Enabled: set.Enabled, Host: set.Host, ReadWritePort: set.ReadWritePort, ReadOnlyPort: set.ReadOnlyPort, MaxLagBytes: set.MaxLagBytes,
		ReplicasOnly: set.ReplicasOnly, On: set.On, State: "closed", Why: "nobody serves it: no agent that could is connected", Agents: []string{}}
	if out.On == nil {
		out.On = []string{}
	}
	if !ok || !set.Enabled {
		out.Why = "it is not enabled"
	}
	st, serving := s.Endpoints.State(cluster)
	if !serving {
		return out
	}
	out.ReadWrite, out.ReadOnly, out.State, out.Why = st.ReadWrite, st.ReadOnly, string(st.State), st.Why
	out.Clients, out.HeldNow, out.Generation, out.Target, out.Agents = st.Clients, st.HeldNow, Int64(st.Generation), st.Target, st.Agents
	if st.LastSwitchMs >= 0 {
		out.LastSwitchMs = ptr(st.LastSwitchMs)
	}
	n := st.Counters
	out.LastOutside = st.LastOutside
	out.Counters = EndpointCounters{Connections: int64(n.Connections), TurnedAway: int64(n.Turned), Outside: int64(n.Outside), Requests: int64(n.Requests), Waited: int64(n.Waited),
		SentAgain: int64(n.Again), Unknown: int64(n.Unknown), Refused: int64(n.Refused)}
	return out
}

func (s *Server) putEndpoint(ctx context.Context, in *endpointInput) (*body[Endpoint], error) {
	c, ok := s.Inventory.Cluster(in.ID)
	if !ok {
		return nil, notFoundCluster(in.ID)
	}
	if s.Endpoints == nil {
		return nil, missing("endpoints")
	}
	what := "tried to change the endpoint of " + c.ID
	refuse := func(p *Problem) error {
		s.record(ctx, audit.Record{Cluster: c.ID, What: what, Outcome: audit.Refused, Detail: p.Detail, Kind: "endpoint"})
		return p
	}
	if c.Engine != engine.Redis {
		return nil, refuse(&Problem{Title: "No endpoint for this engine", Status: 422, Code: CodeBadRequest,
			Detail: fmt.Sprintf("clients of %s find the leader themselves", c.Engine), Fix: "give clients the addresses of all nodes"})
	}
	r := in.Body
	if r.Host == "" {
		r.Host = "127.0.0.1"
	}
	err := s.Endpoints.Put(ctx, feed.Settings{Cluster: c.ID, Enabled: r.Enabled, Host: r.Host, ReadWritePort: r.ReadWritePort, ReadOnlyPort: r.ReadOnlyPort,
		MaxLagBytes: r.MaxLagBytes, ReplicasOnly: r.ReplicasOnly, On: r.On, By: who(ctx).Name, At: s.Now()})
	var invalid *feed.SettingError
	switch {
	case errors.As(err, &invalid):
		return nil, refuse(&Problem{Title: "The endpoint is not valid", Status: 422, Code: CodeBadRequest, Detail: invalid.Field + ": " + invalid.Why, Fix: invalid.Fix})
	case err != nil:
		return nil, s.internal(ctx, "record the endpoint", err)
	}
	what, detail := "closed the endpoint of "+c.ID, ""
	if r.Enabled {
		what = "opened the endpoint of " + c.ID
		detail = fmt.Sprintf("on %s, read-write port %d, read-only port %d", r.Host, r.ReadWritePort, r.ReadOnlyPort)
	}
	s.record(ctx, audit.Record{Cluster: c.ID, What: what, Outcome: audit.Done, Detail: detail, Kind: "endpoint"})
	return &body[Endpoint]{s.endpointView(c.ID)}, nil
}

// endpointConnections are the strings of an enabled endpoint, before all
// others: with them a promotion needs nothing of a client.
func (s *Server) endpointConnections(cluster string) []Connection {
	if s.Endpoints == nil {
		return nil
	}
	set, ok := s.Endpoints.Settings(cluster)
	if !ok || !set.Enabled {
		return nil
	}
	host := set.Host
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "HOST" // any of the hosts that serve it
	}
	var out []Connection
	if set.ReadWritePort != 0 {
		out = append(out, Connection{"Read-write (follows the primary)", "redis://" + net.JoinHostPort(host, strconv.Itoa(set.ReadWritePort)),
			"The endpoint. A promotion is a short pause for its clients and no error."})
	}
	if set.ReadOnlyPort != 0 {
		out = append(out, Connection{"Read-only (follows healthy replicas)", "redis://" + net.JoinHostPort(host, strconv.Itoa(set.ReadOnlyPort)),
			"The endpoint's port for reads. What a replica answers may be a moment old; writes are refused."})
	}
	return out
}
