package proxy

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"baton/control/proxy/session"
)

// Route says where one cluster's endpoint forwards to. It is made by the
// control plane and repeated while nothing changes: each one confirms.
type Route struct {
	Cluster string `json:"cluster"`
	// Generation, Term and Version order routes, in this order.
	Generation uint64 `json:"generation,string"`
	Term       uint64 `json:"term,string"`
	Version    uint64 `json:"version,string"`
	// Enabled: false closes the endpoint and forgets it.
	Enabled bool `json:"enabled"`
	// Host is the address listened on; a port of 0 is not served.
	Host          string `json:"host"`
	ReadWritePort int    `json:"readWritePort"`
	ReadOnlyPort  int    `json:"readOnlyPort"`

	Primary  Member   `json:"primary"`  // Address "" when there is none to forward to
	Replicas []Member `json:"replicas"` // sorted by node
	// Why says why there is no primary, in a few words.
	Why string `json:"why,omitempty"`
	// TTLMs is how long writes are forwarded without a further route; 0 for as
	// long as no other comes (clusters without automatic failover).
	TTLMs int64 `json:"ttlMs"`
	// MaxLagBytes is how far behind a replica may be to be read from.
	MaxLagBytes int64 `json:"maxLagBytes"`
	// ReplicasOnly: the read-only port does not fall back to the primary.
	ReplicasOnly bool `json:"replicasOnly"`
	// Allow are the networks clients may come from, as "10.1.0.0/16"; empty: any.
	Allow []string `json:"allow,omitempty"`
}

// Member is a server of the cluster.
type Member struct {
	Node     string `json:"node"`
	Address  string `json:"address"` // host:port
	LagBytes int64  `json:"lagBytes"`
	Healthy  bool   `json:"healthy"` // fit to be read from
}

// Check tells whether a route can be served.
func (r *Route) Check() error {
	if r.Cluster == "" {
		return errors.New("a route names no cluster")
	}
	if !r.Enabled {
		return nil
	}
	for _, p := range []int{r.ReadWritePort, r.ReadOnlyPort} {
		if p < 0 || p > 65535 {
			return fmt.Errorf("port %d is not one", p)
		}
	}
	if net.ParseIP(r.Host) == nil {
		return fmt.Errorf("%q is not an address to listen on", r.Host)
	}
	_, err := parseNetworks(r.Allow)
	return err
}

// ErrStale: the order is of a lower generation or term than one seen before.
var ErrStale = errors.New("a newer route is known")

// ErrUnknownCluster: no endpoint of the cluster is served here.
var ErrUnknownCluster = errors.New("no endpoint of this cluster is served here")

// newer tells whether r may replace old.
func (r *Route) newer(old *Route) bool {
	switch {
	case r.Generation != old.Generation:
		return r.Generation > old.Generation
	case r.Term != old.Term:
		return r.Term > old.Term
	}
	return r.Version >= old.Version
}

// hold is a running hold of writes.
type hold struct {
	operation string
	next      session.Target
	since     time.Time
	until     time.Time
}

// State is what an endpoint does with requests that write.
type State string

// States: an endpoint is closed while there is no primary or its route is not
// confirmed any more.
const (
	Forwarding State = "forwarding"
	Holding    State = "holding"
	Closed     State = "closed"
)

// Status is what an endpoint does at this moment.
type Status struct {
	Cluster    string `json:"cluster"`
	ReadWrite  string `json:"readWrite"` // host:port, "" when not served
	ReadOnly   string `json:"readOnly"`
	State      State  `json:"state"`
	Why        string `json:"why,omitempty"` // of Closed, or why a port is not served
	Generation uint64 `json:"generation,string"`
	Target     string `json:"target"` // node
	Clients    int64  `json:"clients"`
	HeldNow    int64  `json:"heldNow"` // clients with a request that waits
	// LastSwitchMs is how long the last hold that ended in a move lasted, -1
	// when there was none.
	LastSwitchMs float64 `json:"lastSwitchMs"`
	// LastOutside is the address last refused, "" when none was.
	LastOutside string   `json:"lastOutside,omitempty"`
	Counters    Counters `json:"counters"`
}

// Counters grow from the start of the endpoint.
type Counters struct {
	Connections uint64 `json:"connections"`
	Turned      uint64 `json:"turned"`  // connections turned away: too many
	Outside     uint64 `json:"outside"` // connections refused or ended: not from a network that may connect
	Requests    uint64 `json:"requests"`
	Waited      uint64 `json:"waited"`
	Again       uint64 `json:"again"`
	Unknown     uint64 `json:"unknown"`
	Refused     uint64 `json:"refused"`
	Moves       uint64 `json:"moves"`
	Holds       uint64 `json:"holds"`
}

func joinPort(host string, port int) string {
	if port == 0 {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
