// Package mend decides, from facts, how the members of a cluster are brought
// back under the primary on record after an operation gave the roles: whatever
// was down or out of reach then comes back with the role its own file holds,
// which may be an older one. It is pure.
//
//   - A replica that follows another server than the primary is pointed to it.
//     What it may hold beyond the primary is saved first.
//   - A deposed primary that comes back as a primary beside the present one is
//     demoted: clients that reach it would write into the void. What it took is
//     saved first.
//   - The primary that comes back as a replica while nobody else is primary is
//     promoted again, if every member answers and none holds more keys.
//   - A server whose role is right and whose file may hold another gets it
//     written there.
//
// Nothing is decided while an operation holds the cluster, in maintenance, or
// where no operation of ours named the primary; nor where the primary on record
// is not one and somebody else is: a person moved it by hand. At most one node
// is ever promoted, and only where no node at all says that it is primary.
package mend

import (
	"strconv"
	"strings"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// Kind of a correction.
type Kind string

// Kinds, in the order in which they are carried out when several are due.
const (
	Demote  Kind = "demote"  // to a replica of Addr
	Promote Kind = "promote" // again: it is the primary on record
	Repoint Kind = "repoint" // to Addr, the primary's
	Persist Kind = "persist" // write its present role to its own file
)

// Moves tells whether a correction changes what a server does, so that it is
// recorded before it is ordered. Each of these ends with the role written to
// the server's file.
func (k Kind) Moves() bool { return k != Persist }

// Correction is one thing to be done on one node.
type Correction struct {
	Kind Kind
	Node string
	Addr string // host:port of the primary; "" with Promote and Persist
	// Keep tells that the node may hold what the primary lacks: it is to be
	// saved before it is pointed elsewhere.
	Keep bool
	// Was is what it did instead, in words.
	Was string
}

// Facts are everything the decision depends on.
type Facts struct {
	health.Snapshot
	Primary    string // of the record
	Generation uint64 // in which it was named; 0: by no operation of ours
	// Connected holds the agents with a link at this moment.
	Connected map[string]bool
	// Running is the operation that holds the cluster, "" when none does. Yields
	// tells that it leaves roles alone.
	Running string
	Yields  bool
	// Maintenance tells that people asked that nothing happens by itself.
	Maintenance bool
	// Elsewhere are the nodes that somebody else brings back, saving first what
	// only they hold; with Leased all nodes that say they are primary are.
	Elsewhere map[string]bool
	Leased    bool
	// Settled is when the last operation ended: what was seen before then does
	// not tell how things are now.
	Settled time.Time
	// Written are the nodes to whose files the operation that gave this
	// generation wrote their roles.
	Written map[string]bool
}

const (
	// firstWait is waited before a correction is tried a second time; the wait
	// doubles with each try up to longestWait.
	firstWait   = 2 * time.Second
	longestWait = 30 * time.Second
	// quietAfter is how long a node must have been right before its next
	// correction counts as the first again: somebody who keeps undoing them is
	// answered once a minute, not at every look.
	quietAfter = 2 * time.Minute
)

// State is what is remembered of one cluster between looks. The zero value
// knows nothing. It is not safe for use from several goroutines.
type State struct {
	nodes map[string]*memory
}

// memory is what is remembered of one node.
type memory struct {
	// life is the server's run and the generation: a new one begins anew.
	life string
	// suspect is the correction that one look called for, at that observation.
	suspect Kind
	at      time.Time
	busy    bool
	tries   map[Kind]tried
	// written is the life and the role that stand in the server's file.
	written, run string
}

type tried struct {
	count int
	last  time.Time
	next  time.Time
}

func (s *State) of(node string) *memory {
	if s.nodes == nil {
		s.nodes = map[string]*memory{}
	}
	m := s.nodes[node]
	if m == nil {
		m = &memory{tries: map[Kind]tried{}}
		s.nodes[node] = m
	}
	return m
}

// Decide says what is to be done now, at most one thing for each node. A node
// is left out from then on until Ended was called for it.
func Decide(f *Facts, s *State) []Correction {
	p := f.Node(f.Primary)
	if f.Generation == 0 || p == nil || f.Maintenance || f.Running != "" && !f.Yields {
		for _, m := range s.nodes {
			m.suspect = ""
		}
		return nil
	}
	var out []Correction
	for i := range f.Nodes {
		n := &f.Nodes[i]
		m := s.of(n.Name)
		if !f.tells(n) {
			continue
		}
		if life := n.Seen.Details["runId"] + "/" + strconv.FormatUint(f.Generation, 10); life != m.life {
			m.life, m.tries = life, map[Kind]tried{}
		}
		c := f.wrong(p, n)
		if c.Kind == "" {
			m.suspect = ""
			m.calm(f.Now)
			if c = f.file(p, n, m); c.Kind == "" {
				continue
			}
		}
		if m.busy || f.Now.Before(m.tries[c.Kind].next) {
			continue
		}
		at := f.Now.Add(-n.SeenAge)
		if c.Kind == Demote || c.Kind == Promote {
			// These must be seen twice: between two reports a server may have
			// changed its mind.
			if m.suspect != c.Kind || !at.After(m.at) {
				if m.suspect != c.Kind {
					m.suspect, m.at = c.Kind, at
				}
				continue
			}
		}
		m.busy = true
		out = append(out, c)
	}
	return out
}

// Ended takes in how a correction went. done tells that everything of it was
// carried out.
func (s *State) Ended(c Correction, done bool, now time.Time) {
	m := s.of(c.Node)
	m.busy, m.suspect = false, ""
	t := m.tries[c.Kind]
	wait := longestWait
	if t.count < 4 {
		wait = firstWait << t.count
	}
	m.tries[c.Kind] = tried{t.count + 1, now, now.Add(wait)}
	if done && c.Kind == Persist {
		m.tries[Persist] = tried{}
		m.written = m.life
	}
	if c.Kind.Moves() {
		m.written = "" // its role is another now
		if done {
			delete(m.tries, Persist)
		}
	}
}

// Tries is how often a kind of correction of a node was tried in a row.
func (s *State) Tries(node string, k Kind) int { return s.of(node).tries[k].count }

// calm forgets tries of a node that has been right for long.
func (m *memory) calm(now time.Time) {
	for k, t := range m.tries {
		if k.Moves() && now.Sub(t.last) > quietAfter {
			delete(m.tries, k)
		}
	}
}

// tells tells whether what is known of a node is how it is now.
func (f *Facts) tells(n *health.Node) bool {
	return n.Up() && n.Agent != "" && f.Connected[n.Agent] && f.Now.Add(-n.SeenAge).After(f.Settled) && !n.InMaintenance(f.Now)
}

// wrong is the correction a node needs; its Kind is "" where it does what it
// should, or where nothing can be said.
func (f *Facts) wrong(p, n *health.Node) Correction {
	if n == p {
		if f.lost(p) {
			return Correction{Kind: Promote, Node: n.Name, Was: "a replica of " + shown(n.Seen.ReplicaOf)}
		}
		return Correction{}
	}
	if f.Elsewhere[n.Name] || !f.tells(p) || p.Role() != engine.RolePrimary {
		return Correction{}
	}
	switch {
	case n.Role() == engine.RolePrimary && !f.Leased:
		return Correction{Kind: Demote, Node: n.Name, Addr: p.Address, Keep: !contained(p, n), Was: "a primary"}
	case n.Role() == engine.RoleReplica && f.Running == "" && n.Seen.ReplicaOf != "" && n.Seen.ReplicaOf != p.Address:
		return Correction{Kind: Repoint, Node: n.Name, Addr: p.Address, Keep: ahead(p, n), Was: "a replica of " + n.Seen.ReplicaOf}
	}
	return Correction{}
}

// lost tells whether the primary on record is there as a replica, nobody is
// primary, every member answers and none of them holds more keys than it.
func (f *Facts) lost(p *health.Node) bool {
	if p.Role() != engine.RoleReplica || len(f.Primaries()) > 0 {
		return false
	}
	for i := range f.Nodes {
		if m := &f.Nodes[i]; !m.Up() || keys(m) > keys(p) {
			return false
		}
	}
	return true
}

// ahead tells whether a replica stands beyond the point where the primary's
// history left its own: it was not reached when the primary was chosen, and may
// hold what that one lacks.
func ahead(p, n *health.Node) bool {
	return n.Seen.History != "" && n.Seen.History != p.Seen.History &&
		n.Seen.History == p.Seen.HistoryPrevious && n.Seen.Position > p.Seen.HistoryPreviousEnd
}

// contained tells whether everything that a deposed primary holds is known to be
// in the present primary's history.
func contained(p, n *health.Node) bool {
	return n.Seen.History != "" && n.Seen.History == p.Seen.HistoryPrevious && n.Seen.Position <= p.Seen.HistoryPreviousEnd
}

// file is the correction of a node whose role is right and may not stand in its
// file.
func (f *Facts) file(p, n *health.Node, m *memory) Correction {
	run := n.Seen.Details["runId"]
	right := n.Role() == engine.RolePrimary
	if n != p {
		right = n.Role() == engine.RoleReplica && (n.Seen.ReplicaOf == "" || n.Seen.ReplicaOf == p.Address)
	}
	if run == "" || !right {
		return Correction{}
	}
	if f.Written[n.Name] && m.run == run && m.written != "" {
		m.written = m.life // the operation wrote it, in the same run of the server
	}
	m.run = run
	if m.written == m.life {
		return Correction{}
	}
	return Correction{Kind: Persist, Node: n.Name}
}

// keys is how many keys a server holds in its first database, from
// "keys=3,expires=0".
func keys(n *health.Node) int {
	head, _, _ := strings.Cut(n.Seen.Details["keys"], ",")
	count, _ := strconv.Atoi(strings.TrimPrefix(head, "keys="))
	return count
}

func shown(addr string) string {
	if addr == "" {
		return "another server"
	}
	return addr
}
