package keeper

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/control/journal"
)

// Types of the events of this package, all in a cluster's own stream.
const (
	eventEnrolled      = "lease-enrolled"
	eventLapsed        = "lease-lapsed"
	eventPaused        = "failover-paused"
	eventAcknowledged  = "failover-acknowledged"
	eventRejoined      = "primary-rejoined"
	eventKept          = "lost-writes-kept"
	eventBundleRemoved = "lost-writes-removed"
)

// stream is a cluster's stream of leases and failovers.
func stream(cluster string) string { return "failover-" + cluster }

// enrolled says that a holder's agent confirmed that it holds the lease.
type enrolled struct {
	Generation uint64    `json:"generation,string"`
	Node       string    `json:"node"`
	At         time.Time `json:"at"`
}

// lapsed says that a lease ended without having been released.
type lapsed struct {
	Generation uint64    `json:"generation,string"`
	Node       string    `json:"node"`
	At         time.Time `json:"at"`
}

// paused says that automatic failover is off until a moment.
type paused struct {
	Until  time.Time `json:"until"`
	Who    string    `json:"who"`
	Reason string    `json:"reason,omitempty"`
}

type acknowledged struct {
	At  time.Time `json:"at"`
	Who string    `json:"who"`
}

// Bundle is what was saved of a node before it was told to follow somebody who
// may hold less: of a former primary that came back, of a second primary, of a
// replica that was ahead.
type Bundle struct {
	Node       string    `json:"node"`
	Generation uint64    `json:"generation,string"` // in whose name it was saved
	At         time.Time `json:"at"`
	Operation  string    `json:"operation"` // names it among the cluster's
	Host       string    `json:"host"`
	Path       string    `json:"path"` // on Host; "" when nothing had to be saved
	Bytes      int64     `json:"bytes"`
	Commands   int64     `json:"commands"` // -1 when not known
	Sentence   string    `json:"sentence"`
}

// Memory is what the journal tells about leases and failovers beside the
// operations. It may be read from many goroutines. Have it observe the journal
// from its beginning: inventory.Inventory.Observe(m.Take).
type Memory struct {
	mu        sync.Mutex
	byCluster map[string]*remembered
}

type remembered struct {
	enrolled     enrolled
	lapsed       lapsed
	paused       paused
	acknowledged acknowledged
	rejoined     map[string]bool // operation
	bundles      []Bundle
	roster       rosterEvent // the last
	revision     int64       // of the last event; journal.NoStream before the first
}

// NewMemory returns a memory of nothing.
func NewMemory() *Memory { return &Memory{byCluster: map[string]*remembered{}} }

// Take takes one event in.
func (m *Memory) Take(r journal.Recorded) {
	cluster, ok := strings.CutPrefix(r.Stream, stream(""))
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.byCluster[cluster]
	if c == nil {
		c = &remembered{rejoined: map[string]bool{}}
		m.byCluster[cluster] = c
	}
	c.revision = r.Revision
	// One that does not decode says nothing; the others count.
	switch r.Type {
	case eventEnrolled:
		_ = json.Unmarshal(r.Data, &c.enrolled)
	case eventRoster:
		var e rosterEvent
		if json.Unmarshal(r.Data, &e) == nil {
			c.roster = e
		}
	case eventLapsed:
		_ = json.Unmarshal(r.Data, &c.lapsed)
	case eventPaused:
		_ = json.Unmarshal(r.Data, &c.paused)
	case eventAcknowledged:
		_ = json.Unmarshal(r.Data, &c.acknowledged)
	case eventRejoined:
		var b Bundle
		if json.Unmarshal(r.Data, &b) == nil {
			c.rejoined[b.Operation] = true
			c.kept(b)
		}
	case eventKept:
		var b Bundle
		if json.Unmarshal(r.Data, &b) == nil {
			c.kept(b)
		}
	case eventBundleRemoved:
		var gone bundleRemoved
		if json.Unmarshal(r.Data, &gone) == nil {
			c.bundles = slices.DeleteFunc(slices.Clone(c.bundles), func(b Bundle) bool { return b.Operation == gone.Operation })
		}
	}
}

// kept takes a bundle in. A file that is listed already, because what had it
// saved was tried again, stays listed under its first name.
func (c *remembered) kept(b Bundle) {
	if b.Path == "" || slices.ContainsFunc(c.bundles, func(was Bundle) bool { return was.Node == b.Node && was.Path == b.Path }) {
		return
	}
	c.bundles = append(c.bundles, b)
}

// of returns what is known of a cluster; its slices and maps are copies.
func (m *Memory) of(cluster string) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.byCluster[cluster]
	if c == nil {
		return remembered{rejoined: map[string]bool{}, revision: journal.NoStream}
	}
	d := *c
	d.bundles = slices.Clone(c.bundles)
	d.rejoined = make(map[string]bool, len(c.rejoined))
	for k, v := range c.rejoined {
		d.rejoined[k] = v
	}
	return d
}

// Bundles are the saved writes of a cluster, oldest first.
func (m *Memory) Bundles(cluster string) []Bundle { return m.of(cluster).bundles }
