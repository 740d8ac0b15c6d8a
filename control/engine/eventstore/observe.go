package eventstore

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"strconv"
	"time"

	"baton/control/engine"
)

const (
	// rateInterval: the count of appends is read this often.
	rateInterval = time.Second
	// reachInterval: connections to the other members are proven this often.
	reachInterval = 5 * time.Second
	reachTimeout  = time.Second
)

// Observe looks at the instance once.
func (d *Driver) Observe(ctx context.Context, in engine.Instance) (engine.Observation, error) {
	n, err := d.node(in)
	if err != nil {
		return engine.Observation{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	o := engine.Observation{
		Cluster: in.Cluster, Node: in.Node, Engine: engine.EventStore, Address: in.Address(),
		Role: engine.RoleUnknown, LagBytes: -1, LagSeconds: -1, LinkSilenceSeconds: -1, WritesPerSecond: -1,
	}
	n.observe(ctx, &o)
	o.At = time.Now()
	return o, nil
}

func (n *node) observe(ctx context.Context, o *engine.Observation) {
	start := time.Now()
	var v view
	if err := n.call(ctx, "GET", n.base, "/cluster", nil, &v); err != nil {
		o.Err = downText(err)
		if needsLogin(err) {
			o.State = engine.StateNoLogin
		}
		return
	}
	ms := float64(time.Since(start)) / 1e6
	o.Facts.QueryMs = &ms
	o.Up = true
	o.Facts.Reach = n.reachable()
	o.History, o.Term = v.ClusterID, v.Term
	self := v.self()
	if self == nil {
		o.State, o.Err = "Discovering", "the node belongs to no cluster yet"
		if v.Waiting != "" {
			o.Err += ": " + v.Waiting
		}
		return
	}
	o.State, o.EngineVersion, o.Priority = self.State, self.Version, self.NodePriority
	o.Promotable, o.Why = self.Promotable, self.Why
	o.Position = self.LogPosition
	n.facts(&v, self, o)
	leader := v.leader()
	switch {
	case leader != nil && leader.ID == self.ID:
		o.Role, o.LinkUp, o.LagBytes, o.LagSeconds, o.LinkSilenceSeconds = engine.RolePrimary, true, 0, 0, 0
		o.WritesPerSecond = n.writeRate(ctx)
	case leader == nil:
		o.Err = "the node knows no leader"
		if v.role(self) == engine.RoleClone || v.role(self) == engine.RoleReadOnly {
			o.Role = v.role(self)
		}
	default:
		if o.Role = v.role(self); o.Role == engine.RolePrimary {
			o.Role = engine.RoleUnknown // it leads no more and follows nobody yet
		}
		n.follower(ctx, &v, self, leader, o)
	}
}

func (n *node) follower(ctx context.Context, v *view, self, leader *member, o *engine.Observation) {
	o.ReplicaOf, o.LinkUp = leader.ClientAddress, self.copying() && leader.Alive
	if leader.LastSeenMs >= 0 {
		o.LinkSilenceSeconds = float64(leader.LastSeenMs) / 1000
	}
	// The leader's own word is fresher than what was gossiped here.
	var lv view
	scheme := "http://"
	if n.in.Auth.CAFile != "" {
		scheme = "https://"
	}
	at := leader.LogPosition
	if err := n.call(ctx, "GET", scheme+leader.ClientAddress, "/cluster", nil, &lv); err == nil && lv.ClusterID == v.ClusterID {
		if m := lv.self(); m != nil && lv.Leader == m.ID && m.LogPosition >= at {
			at = m.LogPosition
		}
	}
	now := time.Now()
	o.PrimaryPosition = at
	o.LagBytes = max(int64(at)-int64(self.LogPosition), 0)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.track.Add(now, at)
	if age := n.track.Age(now, self.LogPosition); age >= 0 {
		o.LagSeconds = age.Seconds()
	}
}

func (n *node) facts(v *view, self *member, o *engine.Observation) {
	f := &o.Facts
	yes, needed := true, int64(v.Quorum.Needed)
	loading := self.State == "Initializing" || self.State == "Discovering"
	moving := v.Pending != nil
	f.PersistOK = &yes // roles are in the replicated log
	f.SyncNeeded, f.Loading, f.FailoverRunning = &needed, &loading, &moving
	foreign := ""
	f.ForeignManager = &foreign
	attached := int64(0)
	for i := range v.Members {
		m := &v.Members[i]
		if m.ID == self.ID {
			continue
		}
		if m.Alive && m.copying() && v.Leader == self.ID {
			attached++
		}
		o.Links = append(o.Links, engine.Link{Node: m.Name, Address: m.ClientAddress, Role: v.role(m), State: m.State,
			Up: m.Alive, Position: m.LogPosition, LagBytes: int64(m.LagBytes)})
	}
	f.ReplicasAttached = &attached
	f.Settings = map[string]string{"clusterSize": strconv.Itoa(v.ClusterSize)}
	o.Details = map[string]string{
		"memberId": self.ID, "whyRole": self.WhyRole,
		"commitPosition": strconv.FormatUint(self.CommitPosition, 10), "appliedPosition": strconv.FormatUint(self.AppliedPosition, 10),
		"quorumNeeded": strconv.Itoa(v.Quorum.Needed), "quorumVoters": strconv.Itoa(v.Quorum.Voters), "quorumAlive": strconv.Itoa(v.Quorum.Alive),
		"clusterSize": strconv.Itoa(v.ClusterSize),
	}
	if v.Pending != nil {
		o.Details["pending"] = v.Pending.Action + ": " + v.Pending.Reason
	}
	if v.Conflict != nil {
		o.Details["conflict"] = "two nodes claim to lead"
	}
}

// writeRate is the leader's appends per second, from its own count.
func (n *node) writeRate(ctx context.Context) float64 {
	n.mu.Lock()
	if time.Since(n.writesAt) < rateInterval {
		defer n.mu.Unlock()
		return n.rate
	}
	n.mu.Unlock()
	var stats struct {
		ES struct {
			Appends struct {
				Done json.RawMessage `json:"done"` // a number or its text
			} `json:"appends"`
		} `json:"es"`
	}
	rate := -1.0
	if err := n.call(ctx, "GET", n.base, "/stats", nil, &stats); err == nil {
		text := string(stats.ES.Appends.Done)
		if s, err := strconv.Unquote(text); err == nil {
			text = s
		}
		if done, err := strconv.ParseInt(text, 10, 64); err == nil {
			n.mu.Lock()
			rate = n.writes.Rate(time.Now(), done)
			n.mu.Unlock()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rate, n.writesAt = rate, time.Now()
	return rate
}

// reachable proves in the background that this host reaches the other members.
func (n *node) reachable() map[string]engine.Reach {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.reachRunning && len(n.peers) > 0 && time.Since(n.reachAt) > reachInterval {
		n.reachRunning = true
		peers := n.peers
		go func() {
			found := map[string]engine.Reach{}
			for _, p := range peers {
				if p.Address() != n.in.Address() {
					ctx, cancel := context.WithTimeout(context.Background(), reachTimeout)
					found[p.Address()] = n.ask(ctx, p.Address())
					cancel()
				}
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.reach, n.reachAt, n.reachRunning = found, time.Now(), false
		}()
	}
	return maps.Clone(n.reach)
}

func (n *node) ask(ctx context.Context, addr string) engine.Reach {
	r := engine.Reach{At: time.Now()}
	scheme := "http://"
	if n.in.Auth.CAFile != "" {
		scheme = "https://"
	}
	var v view
	if err := n.call(ctx, "GET", scheme+addr, "/cluster", nil, &v); err != nil {
		r.Code, r.Err = engine.CodeUnreachable, addr+": "+downText(err)
		var ref *refusal
		if errors.As(err, &ref) && (ref.Status == 401 || ref.Status == 403) {
			r.Code = engine.CodeAuth
		}
		return r
	}
	r.OK, r.RTTMs = true, float64(time.Since(r.At))/1e6
	return r
}

func downText(err error) string {
	var r *refusal
	var ne net.Error
	var bad *tls.CertificateVerificationError
	switch {
	case errors.As(err, &r):
		return r.Error()
	case errors.As(err, &bad):
		return "the node's certificate is not trusted: " + bad.Err.Error()
	case errors.Is(err, errNotSent):
		return "no connection to the node"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return "the node does not answer in time"
	}
	return "the connection to the node broke"
}
