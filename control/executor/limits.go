package executor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/inventory"
	"baton/control/plan"
)

// Codes of the refusals of a list of networks; each may be overridden by it.
const (
	LockOutCaller  = "networks.caller"
	LockOutClients = "networks.clients"
)

const (
	// limitsEvery is how often what hosts report is compared with the policies.
	limitsEvery = 2 * time.Second
	// limitsTime bounds one order about limits, and reading who is connected.
	limitsTime = 15 * time.Second
	clientsFor = 3 * time.Second
	// maxShutOut bounds how many clients a refusal names.
	maxShutOut = 8
)

// limitsWanted are the limits of one cluster by agent, of those agents that
// have servers of it. With no networks in the policy there are none.
func limitsWanted(c *inventory.Cluster, reports map[string]agent.Report) map[string]agent.Limits {
	out := map[string]agent.Limits{}
	if len(c.Policy.AllowCIDRs) == 0 {
		return out
	}
	always := map[string]bool{}
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil {
			always[a.Unmap().WithZone("").String()] = true
		}
	}
	for _, m := range c.Members {
		add(hostOf(m.Address))
	}
	ports := map[string][]int{}
	for id, r := range reports {
		serves := false
		for _, in := range r.Instances {
			if in.Cluster != c.ID {
				continue
			}
			serves = true
			add(hostOf(in.Address))
			if _, port, err := net.SplitHostPort(in.Address); err == nil {
				if n, err := strconv.Atoi(port); err == nil {
					ports[id] = append(ports[id], n)
				}
			}
		}
		if r.Endpoints != nil {
			for _, e := range r.Endpoints.Serving {
				serves = serves || e.Cluster == c.ID
			}
		}
		if serves { // it observes, copies or forwards
			for _, a := range r.Host.Addresses {
				add(a)
			}
		}
	}
	for id, list := range ports {
		slices.Sort(list)
		l := agent.Limits{Cluster: c.ID, Ports: slices.Compact(list), Allow: slices.Sorted(slices.Values(c.Policy.AllowCIDRs)), Always: slices.Sorted(maps.Keys(always))}
		b, _ := json.Marshal(l) // strings and numbers
		sum := sha256.Sum256(b)
		l.Version = hex.EncodeToString(sum[:8])
		out[id] = l
	}
	return out
}

// limitsDue are the orders that bring hosts to what is wanted: what an agent
// reports differently, and limits of clusters that have none any more. What was
// taken back for a reason stays so until the networks change; what was not
// possible is tried again when retry is set.
func limitsDue(clusters []inventory.Cluster, reports map[string]agent.Report, retry bool) map[string][]agent.Limits {
	due := map[string][]agent.Limits{}
	wanted := map[string]map[string]agent.Limits{}
	for i := range clusters {
		if by := limitsWanted(&clusters[i], reports); len(by) > 0 {
			wanted[clusters[i].ID] = by
		}
	}
	for id, r := range reports {
		have := map[string]agent.LimitState{}
		for _, s := range r.Limits {
			have[s.Cluster] = s
			if _, ok := wanted[s.Cluster][id]; !ok {
				due[id] = append(due[id], agent.Limits{Cluster: s.Cluster})
			}
		}
		for cluster, by := range wanted {
			l, ok := by[id]
			s, known := have[cluster]
			if ok && (!known || s.Version != l.Version || s.State == agent.LimitsNot && retry) {
				due[id] = append(due[id], l)
			}
		}
		slices.SortFunc(due[id], func(a, b agent.Limits) int { return strings.Compare(a.Cluster, b.Cluster) })
	}
	return due
}

// keepLimits tells hosts who may connect, until ctx ends. What is in force on a
// host stays so while nobody leads.
func (e *Executor) keepLimits(ctx context.Context) {
	if e.Reports == nil {
		return
	}
	tick := time.NewTicker(limitsEvery)
	defer tick.Stop()
	for round := 0; ; round++ {
		for id, list := range limitsDue(e.Inventory.Clusters(), e.Reports(), round%30 == 29) {
			for _, l := range list {
				e.sendLimits(ctx, id, l)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (e *Executor) sendLimits(ctx context.Context, id string, l agent.Limits) {
	b, _ := json.Marshal(l)
	v, err := e.orderOnce(ctx, id, "limits", l.Cluster, agent.ActionLimits, limitsTime, "limits", string(b))
	switch {
	case codeOf(err) == codeNotConnected || ctx.Err() != nil:
	case err != nil:
		e.Log.Warn("a host does not take who may connect to its servers", "agent", id, "cluster", l.Cluster, "err", err)
	case v["state"] == agent.LimitsNot:
		e.Log.Warn("direct connections to servers are not limited on a host", "agent", id, "cluster", l.Cluster, "why", v["why"])
	default:
		e.Log.Info("a host limits who may connect to its servers", "agent", id, "cluster", l.Cluster, "networks", strings.Join(l.Allow, ", "), "state", v["state"])
	}
}

// lockedOut refuses networks that would shut out who asks for them, or clients
// that are connected now. The cluster's own servers, agents, endpoints and
// control nodes are let in in any case.
func (e *Executor) lockedOut(ctx context.Context, c *inventory.Cluster, networks []string, who audit.Who, overrides []string) plan.Plan {
	p := plan.Plan{Cluster: c.ID}
	if len(networks) == 0 || slices.Equal(networks, c.Policy.AllowCIDRs) {
		return p
	}
	if from, err := netip.ParseAddr(who.IP); err == nil && !slices.Contains(overrides, LockOutCaller) && !allowed(networks, from) && (!from.IsLoopback() || onLoopback(c)) {
		p.Refuse(LockOutCaller, "you would shut yourself out", "you are connected from "+from.String()+", which is in none of the networks",
			"add your network, or override "+LockOutCaller)
	}
	if slices.Contains(overrides, LockOutClients) {
		return p
	}
	if out := e.clientsOutside(ctx, c, networks); len(out) > 0 {
		more := ""
		if len(out) > maxShutOut {
			more = " and " + strconv.Itoa(len(out)-maxShutOut) + " more"
			out = out[:maxShutOut]
		}
		p.Refuse(LockOutClients, "clients that are connected now would be shut out", strings.Join(out, ", ")+more, "add their networks, or override "+LockOutClients)
	}
	return p
}

// allowed tells whether an address is in one of the networks.
func allowed(networks []string, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(text string) bool {
		n, err := netip.ParsePrefix(text)
		return err == nil && n.Contains(a.Unmap().WithZone(""))
	})
}

// onLoopback tells whether a caller of this machine may be a client of the
// cluster: from 127.0.0.1 only servers of this machine are reached.
func onLoopback(c *inventory.Cluster) bool {
	return slices.ContainsFunc(c.Members, func(m inventory.Member) bool {
		a, err := netip.ParseAddr(hostOf(m.Address))
		return err == nil && a.IsLoopback()
	})
}

// clientsOutside asks every host who is connected to the cluster now; hosts that
// do not answer are left out. Our own connections are no clients.
func (e *Executor) clientsOutside(ctx context.Context, c *inventory.Cluster, networks []string) []string {
	if e.Reports == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clientsFor)
	defer cancel()
	reports := e.Reports()
	own := map[netip.Addr]bool{}
	mine := *c
	mine.Policy.AllowCIDRs = networks
	var ids []string
	for id, l := range limitsWanted(&mine, reports) {
		ids = append(ids, id)
		for _, text := range l.Always {
			own[netip.MustParseAddr(text)] = true
		}
	}
	for id, r := range reports { // endpoints without a server beside them
		if r.Endpoints != nil && !slices.Contains(ids, id) {
			for _, s := range r.Endpoints.Serving {
				if s.Cluster == c.ID {
					ids = append(ids, id)
				}
			}
		}
	}
	found := make(chan []netip.Addr, len(ids))
	for _, id := range ids {
		e.wg.Go(func() {
			var list []netip.Addr
			v, err := e.orderOnce(ctx, id, "limits", c.ID, agent.ActionClients, clientsFor)
			if err == nil {
				_ = json.Unmarshal([]byte(v["addresses"]), &list)
			}
			found <- list
		})
	}
	outside := map[netip.Addr]bool{}
	for range ids {
		for _, a := range <-found {
			if !own[a] && !a.IsLoopback() && !allowed(networks, a) {
				outside[a] = true
			}
		}
	}
	list := slices.SortedFunc(maps.Keys(outside), netip.Addr.Compare)
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}
