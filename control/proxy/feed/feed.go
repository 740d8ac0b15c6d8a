package feed

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/health"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/proxy"
)

// Agents is the link to the agents; *hub.Hub is one.
type Agents interface {
	// Order sends one order and waits for its answer.
	Order(ctx context.Context, agentID string, o agent.Order) (agent.Result, error)
	// Connected tells whether the agent has a link now.
	Connected(agentID string) bool
}

// Reports are what agents say; *hub.Hub and *monitor.Mirror are some.
type Reports interface {
	// Reports returns the newest report of every agent, by id.
	Reports() map[string]agent.Report
}

// Seen is what is known of clusters; *monitor.Monitor is one.
type Seen interface {
	// Snapshot returns what is known of a cluster; ok is false for an unknown one.
	Snapshot(cluster string) (health.Snapshot, bool)
}

// Options of a Feed; all are required.
type Options struct {
	Journal   journal.Journal
	Inventory *inventory.Inventory
	Agents    Agents
	Reports   Reports
	Log       *slog.Logger
	Now       func() time.Time
}

const (
	// confirmEvery is how often an unchanged route is sent.
	confirmEvery = time.Second
	// lookEvery is how often routes are made anew.
	lookEvery = 200 * time.Millisecond
	// sendTime bounds one order with a route. A route that took longer is not
	// taken, so a confirmation is never older than this when it arrives.
	sendTime = time.Second
)

// Feed keeps settings and sends routes. It may be used from many goroutines.
type Feed struct {
	Options
	// Seen is set before Run.
	Seen Seen

	book  book
	wake  chan struct{}
	mu    sync.Mutex
	term  uint64
	moved map[string]moved
	sent  map[sentKey]*sent
}

// moved is the primary an operation told of before it ended.
type moved struct {
	generation uint64
	node       string
}

type sentKey struct{ agent, cluster string }

type sent struct {
	text    string // of the route without its version
	version uint64
	at      time.Time
	busy    bool
}

// New returns a feed without settings; Take fills it from the journal.
func New(o Options) *Feed {
	return &Feed{Options: o, book: book{settings: map[string]Settings{}, revision: journal.NoStream}, wake: make(chan struct{}, 1),
		moved: map[string]moved{}, sent: map[sentKey]*sent{}}
}

func (f *Feed) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run sends routes in a term until ctx ends.
func (f *Feed) Run(ctx context.Context, term uint64) error {
	f.mu.Lock()
	f.term, f.sent = term, map[sentKey]*sent{}
	f.mu.Unlock()
	var all sync.WaitGroup
	defer all.Wait()
	notices, cancel := f.Inventory.Watch(64)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		f.distribute(ctx, &all)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-f.wake:
		case n, ok := <-notices:
			if !ok {
				return nil
			}
			if n.Cluster == "" || n.Audit {
				continue
			}
		}
	}
}

// distribute sends what is due.
func (f *Feed) distribute(ctx context.Context, all *sync.WaitGroup) {
	f.book.mu.Lock()
	settings := make([]Settings, 0, len(f.book.settings))
	for _, s := range f.book.settings {
		settings = append(settings, s)
	}
	f.book.mu.Unlock()
	if len(settings) == 0 {
		return
	}
	reports := f.Reports.Reports()
	for _, s := range settings {
		c, ok := f.Inventory.Cluster(s.Cluster)
		agents := f.chosen(reports, &s)
		for id, r := range reports {
			if r.Endpoints == nil || !f.Agents.Connected(id) {
				continue
			}
			on := ok && s.Enabled && slices.Contains(agents, id)
			serves := slices.ContainsFunc(r.Endpoints.Serving, func(x proxy.Status) bool { return x.Cluster == s.Cluster })
			switch {
			case on:
				if route, due := f.Route(&s, &c); due {
					f.send(ctx, all, id, route)
				}
			case serves:
				f.send(ctx, all, id, proxy.Route{Cluster: s.Cluster, Generation: c.Generation})
			}
		}
	}
}

// chosen are the agents that serve an endpoint.
func (f *Feed) chosen(reports map[string]agent.Report, s *Settings) []string {
	var named, only, beside []string
	for id, r := range reports {
		if r.Endpoints == nil {
			continue
		}
		if slices.Contains(s.On, id) || slices.Contains(s.On, r.Name) {
			named = append(named, id)
		}
		if r.Endpoints.Only && f.Agents.Connected(id) {
			only = append(only, id)
		}
		if slices.ContainsFunc(r.Instances, func(in agent.InstanceReport) bool { return in.Cluster == s.Cluster }) {
			beside = append(beside, id)
		}
	}
	out := beside
	switch {
	case len(s.On) > 0:
		out = named
	case len(only) > 0:
		out = only
	}
	sort.Strings(out)
	return out
}

// Serving are the connected agents that serve a cluster's endpoint.
func (f *Feed) Serving(cluster string) []string {
	s, ok := f.Settings(cluster)
	if !ok || !s.Enabled {
		return nil
	}
	return slices.DeleteFunc(f.chosen(f.Reports.Reports(), &s), func(id string) bool { return !f.Agents.Connected(id) })
}

// Moved tells that a node is primary of a generation, while the operation that
// made it so still runs.
func (f *Feed) Moved(cluster string, generation uint64, node string) {
	f.mu.Lock()
	f.moved[cluster] = moved{generation, node}
	f.mu.Unlock()
	f.poke()
}

// Route is where an endpoint is to forward now. due is false while an
// operation is moving the primary and nothing is to be sent.
func (f *Feed) Route(s *Settings, c *inventory.Cluster) (r proxy.Route, due bool) {
	snap, _ := f.Seen.Snapshot(s.Cluster)
	r = proxy.Route{Cluster: s.Cluster, Generation: c.Generation, Enabled: true, Host: s.Host, ReadWritePort: s.ReadWritePort,
		ReadOnlyPort: s.ReadOnlyPort, MaxLagBytes: s.MaxLagBytes, ReplicasOnly: s.ReplicasOnly, Allow: c.Policy.AllowCIDRs}
	if c.Policy.Failover != "" && c.Policy.Failover != inventory.FailoverOff {
		// A route may be sendTime old when it arrives.
		r.TTLMs = max(int64(c.Policy.LeaseTTLMs)-sendTime.Milliseconds(), 2*confirmEvery.Milliseconds())
	}
	name := c.ShouldBe
	if p := snap.Primary(); p != nil && (name == "" || r.TTLMs == 0 && movedByHand(&snap, name)) {
		name = p.Name
	}
	if c.Running != "" {
		o, ok := f.Inventory.Operation(c.Running)
		if ok && operation.Moves(o.Kind) {
			f.mu.Lock()
			m := f.moved[s.Cluster]
			f.mu.Unlock()
			switch {
			case o.Past && m.generation == c.Generation:
				name = m.node
			case o.Past && !isPrimary(&snap, c.ShouldBe):
				return r, false
			case !o.Past && (o.Kind == operation.Failover || o.Kind == operation.ForcedPromotion):
				return r, false // the one that was primary is not confirmed any more
			}
		}
	}
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		if n.Name == name {
			r.Primary = proxy.Member{Node: n.Name, Address: n.Address}
			continue
		}
		m := proxy.Member{Node: n.Name, Address: n.Address}
		if n.Role() == engine.RoleReplica && n.Seen.LinkUp && n.Seen.LagBytes >= 0 && !n.InMaintenance(f.Now()) {
			m.Healthy, m.LagBytes = true, n.Seen.LagBytes
		}
		r.Replicas = append(r.Replicas, m)
	}
	if r.Primary.Address == "" {
		r.Why = "nobody is known to be the primary of " + s.Cluster
	}
	return r, true
}

func isPrimary(s *health.Snapshot, node string) bool {
	n := s.Node(node)
	return n != nil && n.Role() == engine.RolePrimary
}

// movedByHand tells that the node our record names is there and is a replica.
func movedByHand(s *health.Snapshot, node string) bool {
	n := s.Node(node)
	return n != nil && n.Role() == engine.RoleReplica
}

// send sends a route unless it was sent lately or is on its way.
func (f *Feed) send(ctx context.Context, all *sync.WaitGroup, id string, r proxy.Route) {
	b, err := json.Marshal(coarse(r))
	if err != nil {
		f.Log.Error("a route does not encode", "cluster", r.Cluster, "err", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	k := sentKey{id, r.Cluster}
	s := f.sent[k]
	if s == nil {
		s = &sent{}
		f.sent[k] = s
	}
	now := f.Now()
	if s.busy || s.text == string(b) && now.Sub(s.at) < confirmEvery {
		return
	}
	s.version++
	s.busy, s.text, s.at = true, string(b), now
	r.Term, r.Version = f.term, s.version
	all.Go(func() {
		err := f.order(ctx, id, r)
		f.mu.Lock()
		defer f.mu.Unlock()
		s.busy = false
		if err != nil && ctx.Err() == nil {
			s.text = "" // again at the next look
			if s.version%50 == 1 {
				f.Log.Warn("an endpoint does not take its route", "agent", id, "cluster", r.Cluster, "err", err)
			}
		}
	})
}

// coarse is a route without what changes all the time and matters little.
func coarse(r proxy.Route) proxy.Route {
	r.Replicas = slices.Clone(r.Replicas)
	for i := range r.Replicas {
		m := &r.Replicas[i]
		m.Healthy = m.Healthy && m.LagBytes <= r.MaxLagBytes
		m.LagBytes = 0
	}
	return r
}

func (f *Feed) order(ctx context.Context, id string, r proxy.Route) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	res, err := f.Agents.Order(ctx, id, agent.Order{Operation: "endpoint", Cluster: r.Cluster, Generation: r.Generation, Term: r.Term, Timeout: sendTime,
		Action: engine.Action{Name: agent.ActionProxyRoute, Args: map[string]string{"route": string(b)}}})
	switch {
	case err != nil:
		return err
	case !res.OK():
		return errors.New(res.Detail)
	}
	return nil
}

// State is what an endpoint does, over all agents that serve it.
type State struct {
	proxy.Status
	Agents []string // ids, sorted
}

// State returns what the agents report of a cluster's endpoint; ok is false
// when nobody serves it.
func (f *Feed) State(cluster string) (st State, ok bool) {
	reports := f.Reports.Reports()
	ids := make([]string, 0, len(reports))
	for id := range reports {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	worse := map[proxy.State]int{proxy.Forwarding: 0, proxy.Holding: 1, proxy.Closed: 2}
	for _, id := range ids {
		r := reports[id]
		if r.Endpoints == nil || f.Now().Sub(r.ReceivedAt) > health.StaleAfter {
			continue
		}
		for _, x := range r.Endpoints.Serving {
			if x.Cluster != cluster {
				continue
			}
			if ok {
				x.Clients += st.Clients
				x.Counters.Outside += st.Counters.Outside
				if x.LastOutside == "" {
					x.LastOutside = st.LastOutside
				}
				x.HeldNow += st.HeldNow
				x.LastSwitchMs = max(x.LastSwitchMs, st.LastSwitchMs)
				if worse[st.State] > worse[x.State] {
					x.State, x.Why = st.State, st.Why
				}
			}
			st.Status, ok = x, true
			st.Agents = append(st.Agents, id)
		}
	}
	return st, ok
}
