package keeper

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"baton/control/agent"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/lease"
	"baton/control/plan"
)

// eventRoster records which nodes may be promoted; see lease.Eligible.
const eventRoster = "lease-roster"

type rosterEvent struct {
	Generation uint64         `json:"generation,string"`
	Eligible   lease.Eligible `json:"eligible"`
	At         time.Time      `json:"at"`
}

// roster is what the holder of a lease was told of last: whether it may be
// kept by promises, and by whose.
type roster struct {
	id       uint64 // 0: it was told nothing since this control node leads
	failsafe bool
	nodes    []string // sorted
	members  []string // "node@agent", sorted: what may be promoted is that node beside that agent
	peers    []agent.Peer
	holder   string // id of the agent beside the holder
}

// barring is the end of promises for a generation, so that another may be named.
type barring struct {
	generation uint64
	silentAt   time.Duration // on the boot clock: the holder has stopped; 0 not known yet
	wanted     bool
}

const (
	// barAgain is how often promises are barred again until somebody answered.
	barAgain = 300 * time.Millisecond
	// barTime bounds one order to bar promises.
	barTime = 2 * time.Second
	// threeNodes: so many control nodes are not lost together, so that mode auto
	// needs no promises.
	threeNodes = 3
)

// mode is how a primary of the cluster is to behave when it cannot renew.
func (k *Keeper) mode(c *inventory.Cluster) string {
	switch {
	case k.Reports == nil || c.Policy.Mode == inventory.ModeStrict:
		return inventory.ModeStrict
	case c.Policy.Mode == inventory.ModeFailsafe:
		return inventory.ModeFailsafe
	case k.ControlNodes != nil && k.ControlNodes() < threeNodes:
		return inventory.ModeFailsafe
	}
	return inventory.ModeStrict
}

// want is the roster that is right now; ok is false while it cannot be known
// whose agents are beside the nodes.
func (k *Keeper) want(c *inventory.Cluster, f *plan.Facts) (r roster, ok bool) {
	r.failsafe = k.mode(c) == inventory.ModeFailsafe
	if !r.failsafe {
		return r, true
	}
	reports := k.Reports()
	for _, m := range c.Members {
		n := f.Node(m.Name)
		if n == nil || n.Agent == "" {
			return r, false
		}
		if m.Name == c.ShouldBe {
			r.holder = n.Agent
			continue
		}
		if m.Tags.Never {
			continue
		}
		r.nodes, r.members = append(r.nodes, m.Name), append(r.members, m.Name+"@"+n.Agent)
		r.peers = append(r.peers, agent.Peer{Node: m.Name, Agent: n.Agent, Address: reports[n.Agent].PeerAddress})
	}
	slices.Sort(r.nodes)
	slices.Sort(r.members)
	slices.SortFunc(r.peers, func(a, b agent.Peer) int {
		if a.Node < b.Node {
			return -1
		}
		return 1
	})
	return r, r.holder != ""
}

// roster lays what is right over the terms. A change counts from the next time
// on: what may be promoted is recorded before the holder is told.
func (k *Keeper) roster(c *inventory.Cluster, f *plan.Facts, t *agent.LeaseTerms) {
	want, ok := k.want(c, f)
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.record(c)
	if ok && !w.recording && (w.roster.id == 0 || w.roster.failsafe != want.failsafe || !slices.Equal(w.roster.members, want.members)) {
		k.rosters++
		want.id = k.term<<20 | k.rosters&(1<<20-1)
		have := k.Memory.of(c.ID).eligible()
		next := have.Told(want.failsafe, want.members)
		if next.Equal(have) {
			w.roster = want
		} else {
			k.recordRoster(c, w, next, func() { w.roster = want })
		}
	}
	if w.roster.id == 0 {
		return // what the agents know stands
	}
	t.Mode, t.Roster, t.HolderAgent = inventory.ModeStrict, w.roster.id, w.roster.holder
	if w.roster.failsafe {
		t.Mode, t.Promotable, t.Peers = inventory.ModeFailsafe, w.roster.nodes, w.roster.peers
		if ok && slices.Equal(want.members, w.roster.members) {
			t.Peers, t.HolderAgent = want.peers, want.holder // where they are now
		}
	}
}

// Promises tells whether the record permits the primary of a cluster to go on by
// promises of the agents while no control node leads. Every control node knows.
func (m *Memory) Promises(c *inventory.Cluster) bool {
	return managed(c) && !m.of(c.ID).eligible().All
}

// allKnow tells whether the holder can ask every agent of the roster, and each of
// them has on record whom it would promise.
func (k *Keeper) allKnow(c *inventory.Cluster, r *roster) bool {
	reports := k.Reports()
	knows := func(agentID string) *agent.RosterState {
		list := reports[agentID].Rosters
		i := slices.IndexFunc(list, func(s agent.RosterState) bool { return s.Cluster == c.ID })
		if i < 0 || list[i].Generation != c.Generation || list[i].Holder != c.ShouldBe || list[i].Roster != r.id {
			return nil
		}
		return &list[i]
	}
	if holder := knows(r.holder); holder == nil || holder.Peers < len(r.nodes) {
		return false
	}
	return !slices.ContainsFunc(r.peers, func(p agent.Peer) bool { return knows(p.Agent) == nil })
}

// acknowledged takes in that the holder asks the roster it was told of last:
// all of it may be promoted. k.mu is held.
func (k *Keeper) acknowledged(c *inventory.Cluster, w *watched, r agent.LeaseRenewal) {
	if r.Roster == 0 || r.Roster != w.roster.id || w.recording {
		return
	}
	have, next := k.Memory.of(c.ID).eligible(), lease.Acknowledged(w.roster.failsafe, w.roster.members)
	if !next.Equal(have) {
		k.recordRoster(c, w, next, nil)
	}
}

// recordRoster records who may be promoted, one change after the other, and
// then does what follows; k.mu is held, and while then runs.
func (k *Keeper) recordRoster(c *inventory.Cluster, w *watched, e lease.Eligible, then func()) {
	w.recording = true
	cluster, generation, holder, seen := c.ID, c.Generation, c.ShouldBe, k.Memory.of(c.ID).revision
	go func() {
		// Only on top of what was seen: an append whose outcome was not known must
		// not undo a later one.
		err := k.appendAt(cluster, seen, eventRoster, rosterEvent{Generation: generation, Eligible: e, At: k.Now()})
		k.mu.Lock()
		defer k.mu.Unlock()
		w.recording = false
		switch {
		case errors.As(err, new(*journal.ConflictError)): // something else came first: looked at again
		case err != nil:
			k.Log.Warn("it is not recorded who may be promoted", "cluster", cluster, "err", err)
		case then != nil && w.generation == generation && w.holder == holder && k.clusters[cluster] == w:
			then()
		}
	}()
}

// unasked tells whether the primary may go on by promises without those of the
// agent beside a member. A cluster whose failover is off has no lease to go on
// with, and nobody who would still be told of that agent.
func unasked(c *inventory.Cluster, e lease.Eligible, f *plan.Facts, node string) bool {
	n := f.Node(node)
	return managed(c) && !e.All && (n == nil || !e.Has(node+"@"+n.Agent))
}

// promised is how long promises of the generation run that agents say they
// gave: its holder hears no control node and goes on.
func (k *Keeper) promised(cluster string, generation uint64) (left time.Duration) {
	if k.Reports == nil {
		return 0
	}
	for id, r := range k.Reports() {
		if !k.Hub.Connected(id) {
			continue
		}
		for _, p := range r.Promises {
			if p.Cluster == cluster && p.Generation == generation {
				left = max(left, time.Duration(p.LeftMs)*time.Millisecond)
			}
		}
	}
	return left
}

// under lays the promises over a lease: a holder that goes on by them is none
// to fail over from. That it has stopped is found out by bar, not here.
func (k *Keeper) under(v lease.View, cluster string) lease.View {
	if v.State != lease.Expired {
		return v
	}
	if left := k.promised(cluster, v.Generation); left > 0 {
		v.State, v.ExpiresIn = lease.AtRisk, max(v.ExpiresIn, left)
	}
	return v
}

// stopped tells whether the holder of a generation, whose lease is over, cannot
// go on by promises either; if not, how long that may take. The first question
// begins to bar them. k.mu is held.
func (k *Keeper) stopped(c *inventory.Cluster, generation uint64) (yes bool, within time.Duration) {
	e := k.Memory.of(c.ID).eligible()
	if v := k.table.View(c.ID, k.Boot()); e.All || v.Generation == generation && v.State == lease.Released {
		return true, 0
	}
	w := k.clusters[c.ID]
	k.bar(c, w, generation, e)
	ttl := lease.TermsOf(ttlOf(c)).TTL
	switch at := w.bar.silentAt; {
	case at == 0:
		return false, ttl + lease.Eps(ttl) + barTime
	case k.Boot() < at:
		return false, at - k.Boot()
	}
	return true, 0
}

// bar has the agents beside the eligible promise nothing any more for a
// generation, until one of them answered: the holder needs all of them. k.mu is
// held.
func (k *Keeper) bar(c *inventory.Cluster, w *watched, generation uint64, e lease.Eligible) {
	if w.bar.generation == generation && w.bar.wanted {
		return
	}
	b := &barring{generation: generation, wanted: true}
	w.bar = b
	cluster, term := *c, k.term
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for ctx.Err() == nil {
			answers := make(chan struct{}, len(cluster.Members))
			for _, m := range cluster.Members {
				if id, ok := k.Hub.Locate(cluster.ID, m.Name); !ok || !e.Has(m.Name+"@"+id) {
					answers <- struct{}{}
					continue
				}
				go func() {
					k.barAt(ctx, &cluster, term, m.Name, b)
					answers <- struct{}{}
				}()
			}
			for range cluster.Members {
				<-answers
			}
			k.mu.Lock()
			over := b.silentAt != 0 || !b.wanted || !k.leading || k.term != term
			if over && b.silentAt == 0 {
				b.wanted = false
			}
			k.mu.Unlock()
			if over {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(barAgain):
			}
		}
		k.mu.Lock()
		b.wanted = b.silentAt != 0 // asked again by the next question
		k.mu.Unlock()
	}()
}

func (k *Keeper) barAt(ctx context.Context, c *inventory.Cluster, term uint64, node string, b *barring) {
	var v map[string]string
	at := *c
	at.Generation = b.generation
	if err := k.order(ctx, &at, term, node, agent.ActionBarPromises, barTime, nil, &v); err != nil {
		return
	}
	ms, err := strconv.ParseInt(v["leftMs"], 10, 64)
	if err != nil {
		return
	}
	left := time.Duration(ms) * time.Millisecond
	// What is left is counted from the answer, which came later than it was read.
	until := k.Boot() + left + lease.Eps(left)
	k.mu.Lock()
	defer k.mu.Unlock()
	if b.silentAt == 0 || until < b.silentAt {
		b.silentAt = until
	}
}

// unbar lets promises be given again: no operation is about to name another.
// Agents that were not reached are told when they report that they bar them.
func (k *Keeper) unbar(ctx context.Context, c *inventory.Cluster) {
	if c.Running != "" || k.Reports == nil || k.Memory.of(c.ID).eligible().All {
		return
	}
	k.mu.Lock()
	w := k.record(c)
	due := k.Now().Sub(w.unbarred) > time.Second
	if w.bar.wanted && w.bar.generation == c.Generation {
		w.bar = &barring{}
	}
	term := k.term
	k.mu.Unlock()
	if !due {
		return
	}
	for id, r := range k.Reports() {
		if !k.Hub.Connected(id) {
			continue
		}
		for _, p := range r.Promises {
			if p.Cluster != c.ID || p.Barred != c.Generation+1 {
				continue
			}
			for _, m := range c.Members {
				if at, ok := k.Hub.Locate(c.ID, m.Name); ok && at == id {
					k.mu.Lock()
					w.unbarred = k.Now()
					k.mu.Unlock()
					go func() { _ = k.order(ctx, c, term, m.Name, agent.ActionAllowPromises, barTime, nil, nil) }()
					break
				}
			}
		}
	}
}

// eligible is who may be promoted as it was recorded last.
func (r remembered) eligible() lease.Eligible {
	if r.roster.At.IsZero() {
		return lease.Everybody()
	}
	return r.roster.Eligible
}
