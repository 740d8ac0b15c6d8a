package node

import (
	"context"
	"path"
	"slices"
	"sync"
	"time"

	"baton/eventstore/membership"
)

// meeting is what two nodes tell each other while one of them has no cluster.
type meeting struct {
	Member      membership.Member    `json:"member"`
	ClusterID   string               `json:"clusterId,omitempty"`
	ClusterSize int                  `json:"clusterSize"`
	Addresses   []string             `json:"addresses,omitempty"`  // peer addresses heard of
	Unresolved  []string             `json:"unresolved,omitempty"` // seeds not reached
	Chosen      *membership.Founding `json:"chosen,omitempty"`
	JoinOnly    bool                 `json:"joinOnly,omitempty"`
}

// acquaintance is another node as bootstrap knows it.
type acquaintance struct {
	meeting   meeting
	met       bool
	reachable bool
}

// Times of bootstrap.
const (
	bootstrapEvery   = 100 * time.Millisecond
	meetTimeout      = time.Second
	seedTimeout      = time.Second
	joinTimeout      = 5 * time.Second
	complainInterval = time.Minute
	// maxComplaints bounds the reasons that are remembered.
	maxComplaints = 64
)

// bootstrapState is what a node without a cluster has found out. It is shared
// with the answers to other nodes' requests.
type bootstrapState struct {
	mu       sync.Mutex
	known    map[string]*acquaintance // by peer address, without this node
	resolved map[string]string        // seed -> peer address; this node's own for itself
	wake     chan struct{}
	// complained holds when each reason was logged last.
	complained map[string]time.Time
}

func newBootstrapState() *bootstrapState {
	return &bootstrapState{known: make(map[string]*acquaintance), resolved: make(map[string]string), wake: make(chan struct{}, 1),
		complained: make(map[string]time.Time)}
}

func (b *bootstrapState) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// hear notes an address.
func (b *bootstrapState) hear(own string, addresses ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, address := range addresses {
		if address != "" && address != own && b.known[address] == nil {
			b.known[address] = &acquaintance{}
		}
	}
}

// bootstrap founds or joins a cluster, however long it takes.
func (n *Node) bootstrap() {
	b := n.boot
	b.hear(n.peerAddr, n.cfg.PeerSeeds...)
	if n.cfg.ClusterSize == 1 && len(n.cfg.Seeds)+len(n.cfg.PeerSeeds) == 0 && !n.cfg.ReadOnlyReplica && !n.joinsOnly() {
		founding := &membership.Founding{
			ClusterID: randomUUID().String(), ClusterName: n.cfg.ClusterName, ClusterSize: 1,
			Founders: []membership.Member{n.self()}, Acceptors: []membership.MemberID{n.identity.ID}, AcceptorCount: 1,
		}
		n.enter(founding.ClusterID, founding)
		return
	}
	ticker := time.NewTicker(bootstrapEvery)
	defer ticker.Stop()
	var reachable int
	since := time.Now()
	for n.ctx.Err() == nil {
		n.resolveSeeds()
		n.meetAll()
		if chosen := n.chosenFounding(); chosen != nil && n.enter(chosen.ClusterID, chosen) {
			return
		}
		facts := n.foundingFacts()
		if count := countReachable(facts); count != reachable {
			reachable, since = count, time.Now()
		}
		facts.WaitedFor = time.Since(since)
		verdict := membership.DecideFounding(facts)
		n.setWaiting(verdict.Why)
		switch verdict.Step {
		case membership.FoundingJoin:
			if n.askToJoin(verdict.Join) {
				return
			}
		case membership.FoundingPropose:
			if n.propose(verdict.Proposal, facts.Seeds) {
				continue // chosen: entered at the top of the loop
			}
		}
		select {
		case <-n.ctx.Done():
		case <-ticker.C:
		case <-b.wake:
		}
	}
}

// enter makes this node part of a cluster. It reports whether it could.
func (n *Node) enter(clusterID string, chosen *membership.Founding) bool {
	n.mu.Lock()
	if chosen != nil {
		n.founding.Chosen = chosen
		if err := writeJSON(n.fs, path.Join(n.cfg.Dir, foundingFile), n.founding); err != nil {
			n.mu.Unlock()
			go n.stopWith(err)
			return false
		}
		if !chosen.IsFounder(n.identity.ID) {
			n.mu.Unlock()
			return false // it joins instead
		}
	}
	id := n.identity
	id.ClusterID = clusterID
	if err := id.save(n.fs, n.cfg.Dir); err != nil {
		n.mu.Unlock()
		go n.stopWith(err)
		return false
	}
	n.identity.ClusterID = clusterID // the other fields never change and are read without the lock
	n.mu.Unlock()
	none := ""
	n.waiting.Store(&none)
	n.cfg.Logger.Info("belongs to a cluster", "cluster", clusterID, "member", id.ID, "founder", chosen != nil)
	if err := n.startReplica(); err != nil {
		go n.stopWith(err)
	}
	return true
}

func (n *Node) chosenFounding() *membership.Founding {
	n.mu.Lock()
	chosen := n.founding.Chosen
	n.mu.Unlock()
	if chosen != nil && chosen.IsFounder(n.identity.ID) {
		return chosen
	}
	b := n.boot
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, known := range b.known {
		if c := known.meeting.Chosen; c != nil && c.IsFounder(n.identity.ID) {
			return c
		}
	}
	return nil
}

// meetAll asks every known address who it is and whom it knows.
func (n *Node) meetAll() {
	b := n.boot
	b.mu.Lock()
	addresses := make([]string, 0, len(b.known))
	for address := range b.known {
		addresses = append(addresses, address)
	}
	b.mu.Unlock()
	own := n.ownMeeting()
	ctx, cancel := context.WithTimeout(n.ctx, meetTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, address := range addresses {
		all.Go(func() {
			met, err := ask[meeting](ctx, n.toAddress(address), requestMeet, own)
			b.mu.Lock()
			defer b.mu.Unlock()
			known := b.known[address]
			if known == nil {
				return
			}
			if err != nil {
				known.reachable = false
				return
			}
			known.meeting, known.met, known.reachable = met, true, true
		})
	}
	all.Wait()
	b.mu.Lock()
	var heard []string
	for _, known := range b.known {
		heard = append(heard, known.meeting.Addresses...)
	}
	b.mu.Unlock()
	b.hear(n.peerAddr, heard...)
}

// ownMeeting is what this node tells of itself.
func (n *Node) ownMeeting() meeting {
	m := meeting{Member: n.self(), ClusterSize: n.cfg.ClusterSize, JoinOnly: n.joinsOnly()}
	n.mu.Lock()
	m.ClusterID = n.identity.ClusterID
	m.Chosen = n.founding.Chosen
	n.mu.Unlock()
	if m.ClusterID != "" {
		for _, member := range n.machine.Roster().Members {
			m.Addresses = append(m.Addresses, member.PeerAddr)
		}
		return m
	}
	b := n.boot
	b.mu.Lock()
	defer b.mu.Unlock()
	for address := range b.known {
		m.Addresses = append(m.Addresses, address)
	}
	for _, seed := range n.cfg.Seeds {
		if b.resolved[seed] == "" {
			m.Unresolved = append(m.Unresolved, seed)
		}
	}
	return m
}

// meet answers requestMeet.
func (n *Node) meet(other meeting) (meeting, error) {
	n.boot.hear(n.peerAddr, other.Member.PeerAddr)
	if other.ClusterID != "" {
		n.boot.poke()
	}
	return n.ownMeeting(), nil
}

func (n *Node) foundingFacts() membership.FoundingFacts {
	joinOnly := n.joinsOnly()
	b := n.boot
	b.mu.Lock()
	defer b.mu.Unlock()
	facts := membership.FoundingFacts{
		Self: n.self(), ClusterName: n.cfg.ClusterName, ClusterSize: n.cfg.ClusterSize, Settle: n.cfg.Settle,
		JoinOnly: joinOnly,
	}
	seen := map[membership.MemberID]bool{n.identity.ID: true}
	resolved := make(map[string]bool)
	for _, address := range sortedKeys(b.known) {
		known := b.known[address]
		if !known.met {
			facts.Peers = append(facts.Peers, membership.FoundingPeer{Member: membership.Member{PeerAddr: address}})
			continue
		}
		m := known.meeting
		if seen[m.Member.ID] {
			continue
		}
		seen[m.Member.ID] = true
		resolved[m.Member.ClientAddress()] = true
		facts.Peers = append(facts.Peers, membership.FoundingPeer{
			Member: m.Member, Reachable: known.reachable, ClusterID: m.ClusterID, ClusterSize: m.ClusterSize, JoinOnly: m.JoinOnly,
		})
	}
	resolved[n.self().ClientAddress()] = true
	unresolved := make(map[string]bool)
	note := func(seed string) {
		if b.resolved[seed] == "" && !resolved[seed] {
			unresolved[seed] = true
		}
	}
	for _, seed := range n.cfg.Seeds {
		note(seed)
	}
	for _, known := range b.known {
		if known.reachable {
			for _, seed := range known.meeting.Unresolved {
				note(seed)
			}
		}
	}
	facts.Unresolved = sortedKeys(unresolved)
	facts.Seeds = n.seedQuorum()
	return facts
}

// seedQuorum counts this node and its own seeds, each once. Call with boot's lock held.
func (n *Node) seedQuorum() membership.SeedQuorum {
	quorum := membership.SeedQuorum{Addresses: []string{n.peerAddr}, Count: 1}
	note := func(address string) {
		if !slices.Contains(quorum.Addresses, address) {
			quorum.Addresses = append(quorum.Addresses, address)
			quorum.Count++
		}
	}
	for _, seed := range n.cfg.PeerSeeds {
		note(seed)
	}
	for _, seed := range n.cfg.Seeds {
		if address := n.boot.resolved[seed]; address != "" {
			note(address)
		} else if seed != n.self().ClientAddress() {
			quorum.Count++
		}
	}
	return quorum
}

func countReachable(f membership.FoundingFacts) int {
	count := 1
	for _, p := range f.Peers {
		if p.Reachable {
			count++
		}
	}
	return count
}

// joinReply answers requestJoin.
type joinReply struct {
	ClusterID string `json:"clusterId,omitempty"`
	Admitted  bool   `json:"admitted"`
	AskAt     string `json:"askAt,omitempty"` // peer address of the leader
	Why       string `json:"why,omitempty"`
}

// askToJoin asks the cluster's nodes, and the leader they name, to be admitted.
func (n *Node) askToJoin(addresses []string) bool {
	ctx, cancel := context.WithTimeout(n.ctx, joinTimeout)
	defer cancel()
	queue := addresses
	asked := make(map[string]bool)
	for len(queue) > 0 {
		address := queue[0]
		queue = queue[1:]
		if asked[address] {
			continue
		}
		asked[address] = true
		reply, err := ask[joinReply](ctx, n.toAddress(address), requestJoin, n.self())
		switch {
		case err != nil:
			n.setWaiting("asking " + address + " to join: " + err.Error())
		case reply.Admitted:
			return n.enter(reply.ClusterID, nil)
		case reply.AskAt != "":
			queue = append([]string{reply.AskAt}, queue...)
		default:
			n.setWaiting("asked " + address + " to join: " + reply.Why)
		}
	}
	return false
}

// setWaiting notes why this node is in no cluster, for its view and its log.
func (n *Node) setWaiting(why string) {
	n.waiting.Store(&why)
	if n.boot.complain(why, time.Now()) {
		n.cfg.Logger.Info("no cluster yet", "why", why)
	}
}

// complain tells whether a reason is worth a line in the log: when it is new,
// and then once in a while. Reasons take turns while a node asks one after the
// other, so that the last one alone does not tell.
func (b *bootstrapState) complain(why string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last, ok := b.complained[why]; ok && now.Sub(last) < complainInterval {
		return false
	}
	if len(b.complained) >= maxComplaints {
		clear(b.complained)
	}
	b.complained[why] = now
	return true
}
