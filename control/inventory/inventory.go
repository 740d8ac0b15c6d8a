// Package inventory is what the journal says exists: clusters with their
// members and generation, operations, audit records, users. It is rebuilt
// from the journal's beginning at each start and follows it afterwards; it
// holds nothing that is not in the journal.
//
// An Inventory may be read from many goroutines. What it returns is as of that
// moment and does not change; lists and maps in it are shared by all readers.
package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"baton/control/audit"
	"baton/control/journal"
	"baton/control/operation"
)

// Types of the events that make the inventory, beside those of operations and
// audit.
const (
	ClusterRegistered = "cluster-registered"
	ClusterRemoved    = "cluster-removed"
	UserChanged       = "user-changed"
)

// UsersStream holds the users.
const UsersStream = "users"

// Stream returns a cluster's stream.
func Stream(cluster string) string { return "cluster-" + cluster }

// Member is a node of a cluster as it was registered.
type Member struct {
	Name    string `json:"name"`
	Address string `json:"address"` // host:port for clients
	// Agent is the name or id of the agent beside it; "" until one reports it.
	Agent    string `json:"agent,omitempty"`
	Priority int    `json:"priority"`
	Never    bool   `json:"never,omitempty"` // may not be promoted even by hand
	// Tags in force, with Priority and Never again. Registering a cluster does
	// not change them (PutTags does), but for a member's first Priority and
	// Never. Tagged tells that somebody set them.
	Tags     Tags   `json:"-"`
	Tagged   bool   `json:"-"`
	Location string `json:"location,omitempty"`
	Provider string `json:"provider,omitempty"`
}

// Spec is a cluster as it is registered; registering it again changes it.
type Spec struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Engine  string   `json:"engine"`
	Members []Member `json:"members"`
	// Primary is the node meant to be primary at registration, for engines
	// without consensus; "" where the engine decides.
	Primary string `json:"primary,omitempty"`
	// Durability says in a sentence what an acknowledged write means.
	Durability string `json:"durability,omitempty"`
	// Insecure is set for clusters without TLS.
	Insecure bool `json:"insecure,omitempty"`
	// Made is set for clusters whose servers Baton created: it may stop them
	// and delete what it made.
	Made *Made `json:"made,omitempty"`
	// Policy in force. A registration with the zero value, and any of a cluster
	// whose policy was put, leaves it as it is.
	Policy Policy `json:"policy,omitzero"`
}

// Made is how the servers of a cluster were created, for the next one.
type Made struct {
	Version     string `json:"version"`     // of the engine
	MemoryBytes int64  `json:"memoryBytes"` // limit of each server, 0 none
	// Login is the user Baton logs in as; its password is the secret SecretLogin.
	// "" for an event store, whose login people give.
	Login string `json:"login"`
}

// SecretLogin names the secret that Baton logs in to a cluster's servers with.
const SecretLogin = "login"

// Change is the last move of the primary by an operation.
type Change struct {
	At        time.Time
	Sentence  string
	Operation string
}

// Cluster is a registered cluster and what operations made of it.
type Cluster struct {
	Spec
	// Revision of the cluster's stream: the expected revision of the next
	// append that must not miss anything.
	Revision   int64
	Generation uint64
	// ShouldBe is the node our record wants as primary; "" where unknown.
	ShouldBe string
	// Running is the operation that holds the cluster, "" when none.
	Running    string
	LastChange *Change
	// Operations are the ids, oldest first.
	Operations []string
	// Stalls are the measured stalls of the last done promotions, oldest first.
	Stalls []time.Duration
	// SettingsRevision is the revision of the last SettingsChanged, 0 for none.
	SettingsRevision int64
	// Users of the database that Baton made, by name.
	Users []EngineUser
	// Parameters of the engine that people set, by name.
	Parameters map[string]string
	// Secrets are sealed, by name.
	Secrets map[string]string

	// As journalled; effective makes of them what is shown.
	policy     *Policy
	tags       map[string]*Tags
	users      map[string]*EngineUser
	parameters map[string]*string
	secrets    map[string]string
	shown      *Cluster // see clone; nil after each event
}

// User is a person who may sign in.
type User struct {
	Name     string    `json:"name"`
	Role     string    `json:"role"`
	Password string    `json:"password"` // hash with its parameters
	At       time.Time `json:"at"`
	Removed  bool      `json:"removed,omitempty"`
	Disabled bool      `json:"disabled,omitempty"` // see package people, which has the rest
}

// Notice says what changed. Position is the journal's.
type Notice struct {
	Position  uint64
	Cluster   string // "" for users
	Operation string // set when an operation changed
	Audit     bool   // set when an audit record was added
}

// Inventory is the projection. Make it with New and let Run follow.
type Inventory struct {
	j     journal.Journal
	log   *slog.Logger
	audit *audit.Log // of changes of settings

	mu       sync.Mutex
	ready    chan struct{}
	moved    chan struct{} // closed and replaced after each event
	position uint64
	clusters map[string]*Cluster
	ops      map[string]*operation.Operation
	opSeen   map[string]uint64 // position of an operation's last event
	audits   map[string][]auditEntry
	users    map[string]User
	revs     map[string]int64 // by stream
	// generations are the last ones of removed clusters.
	generations map[string]uint64
	watchers    map[int]chan Notice
	nextW       int

	observers []func(journal.Recorded) // set before Run
}

type auditEntry struct {
	record   audit.Record
	position uint64
}

// New returns an empty inventory of the journal.
func New(j journal.Journal, log *slog.Logger) *Inventory {
	return &Inventory{j: j, log: log, audit: audit.NewLog(j), ready: make(chan struct{}), moved: make(chan struct{}),
		clusters: map[string]*Cluster{}, ops: map[string]*operation.Operation{}, opSeen: map[string]uint64{},
		audits: map[string][]auditEntry{}, users: map[string]User{}, revs: map[string]int64{}, generations: map[string]uint64{}, watchers: map[int]chan Notice{}}
}

// Run follows the journal until ctx ends.
func (v *Inventory) Run(ctx context.Context) error {
	return v.j.Follow(ctx, 0, v.apply, func() { close(v.ready) })
}

// Ready is closed when everything that was in the journal at the start of Run
// has been read.
func (v *Inventory) Ready() <-chan struct{} { return v.ready }

// apply takes one event in. An event that does not decode is logged and
// skipped: one bad record must not keep the control plane from starting.
func (v *Inventory) apply(r journal.Recorded) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := Notice{Position: r.Position}
	if err := v.take(r, &n); err != nil {
		v.log.Error("journal event is skipped", "stream", r.Stream, "revision", r.Revision, "type", r.Type, "err", err)
	}
	for _, f := range v.observers {
		f(r)
	}
	v.revs[r.Stream] = r.Revision
	v.position = r.Position
	if c := v.clusters[n.Cluster]; c != nil {
		if r.Stream == Stream(n.Cluster) {
			c.Revision = r.Revision
		}
		c.shown = nil
	}
	close(v.moved)
	v.moved = make(chan struct{})
	for _, w := range v.watchers {
		select {
		case w <- n:
		default: // a watcher that does not keep up reads the state instead
		}
	}
	return nil
}

func (v *Inventory) take(r journal.Recorded, n *Notice) error {
	switch r.Type {
	case ClusterRegistered:
		var s Spec
		if err := json.Unmarshal(r.Data, &s); err != nil {
			return err
		}
		n.Cluster = s.ID
		c := v.clusters[s.ID]
		if c == nil {
			// A cluster made again under an old name counts its generations on:
			// agents know the highest they have seen.
			c = &Cluster{ShouldBe: s.Primary, Generation: v.generations[s.ID]}
			v.clusters[s.ID] = c
		}
		if c.Spec.ID != "" && reflect.ValueOf(s.Policy).IsZero() {
			s.Policy = c.Spec.Policy
		}
		c.Spec = s
		return nil
	case SettingsChanged:
		var s Settings
		if err := json.Unmarshal(r.Data, &s); err != nil {
			return err
		}
		n.Cluster = strings.TrimPrefix(r.Stream, Stream(""))
		if c := v.clusters[n.Cluster]; c != nil {
			c.settings(s, r.Revision)
		}
		return nil
	case ClusterRemoved:
		n.Cluster = strings.TrimPrefix(r.Stream, Stream(""))
		if c := v.clusters[n.Cluster]; c != nil {
			v.generations[n.Cluster] = c.Generation
		}
		delete(v.clusters, n.Cluster)
		return nil
	case UserChanged:
		var u User
		if err := json.Unmarshal(r.Data, &u); err != nil {
			return err
		}
		v.users[u.Name] = u
		if u.Removed {
			delete(v.users, u.Name)
		}
		return nil
	case audit.EventType:
		var a audit.Record
		if err := json.Unmarshal(r.Data, &a); err != nil {
			return err
		}
		n.Cluster, n.Audit = a.Cluster, true
		v.audits[a.Cluster] = append(v.audits[a.Cluster], auditEntry{a, r.Position})
		return nil
	}
	e, err := operation.Decode(r.Type, r.Data)
	if err != nil || e == nil {
		// The stream's revision moves all the same: the next request is decided on it.
		if id, ok := strings.CutPrefix(r.Stream, Stream("")); ok {
			n.Cluster = id
		}
		return err
	}
	return v.operation(e, r, n)
}

// pastStalls is how many measured stalls are kept for the estimate.
const pastStalls = 5

func (v *Inventory) operation(e operation.Event, r journal.Recorded, n *Notice) error {
	id := operation.ID(e)
	n.Cluster, n.Operation = strings.TrimPrefix(r.Stream, Stream("")), id
	o := v.ops[id]
	if o == nil {
		o = &operation.Operation{}
	}
	next, err := operation.Apply(*o, e)
	if err != nil {
		return err
	}
	v.ops[id], v.opSeen[id] = &next, r.Position
	c := v.clusters[n.Cluster]
	if c == nil {
		return nil
	}
	switch e := e.(type) {
	case operation.Requested:
		c.Running = id
		c.Operations = append(c.Operations, id)
	case operation.Committed:
		c.Generation, c.ShouldBe = e.Generation, e.Node
	case operation.Finished:
		c.Running = ""
		if e.State == operation.StateDone && next.Generation > next.Plan.Generation {
			c.LastChange = &Change{At: e.At, Operation: id,
				Sentence: fmt.Sprintf("%s took over from %s (%s by %s)", next.Candidate, next.Plan.From, next.Kind, next.Requester)}
			if next.Kind == operation.Restore {
				c.LastChange.Sentence = fmt.Sprintf("%s was given the data of a backup (by %s)", next.Candidate, next.Requester)
			}
			planned := next.Kind == operation.Promotion || next.Kind == operation.SwitchBack || next.Kind == operation.RollingRestart
			if ms := e.Stall.Longest(); planned && ms != nil {
				c.Stalls = append(c.Stalls, time.Duration(*ms*float64(time.Millisecond)))
				c.Stalls = c.Stalls[max(0, len(c.Stalls)-pastStalls):]
			}
		}
	}
	return nil
}

// Wait returns once the stream's event of the revision has been taken in.
func (v *Inventory) Wait(ctx context.Context, stream string, revision int64) error {
	for {
		v.mu.Lock()
		have, ok := v.revs[stream]
		moved := v.moved
		v.mu.Unlock()
		if revision < 0 || ok && have >= revision {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// Watch delivers a notice per journal event. A watcher that does not keep up
// misses notices, never holds up others. cancel closes the channel.
func (v *Inventory) Watch(buffer int) (notices <-chan Notice, cancel func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	id := v.nextW
	v.nextW++
	ch := make(chan Notice, buffer)
	v.watchers[id] = ch
	return ch, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if _, ok := v.watchers[id]; ok {
			delete(v.watchers, id)
			close(ch)
		}
	}
}

// Revision of a stream's last event as far as it was read, journal.NoStream for
// none. A removed cluster's stream goes on where it ended.
func (v *Inventory) Revision(stream string) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r, ok := v.revs[stream]; ok {
		return r
	}
	return journal.NoStream
}

// Position is the journal position up to which the inventory has read.
func (v *Inventory) Position() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.position
}

// clone is the cluster as it is given away. It is made once after each event:
// those who look at all clusters many times a second share its lists and maps.
func (c *Cluster) clone() Cluster {
	if c.shown == nil {
		d := *c
		d.Members = slices.Clip(slices.Clone(c.Members))
		d.Operations = slices.Clip(slices.Clone(c.Operations))
		d.Stalls = slices.Clip(slices.Clone(c.Stalls))
		d.effective()
		d.Users = slices.Clip(d.Users)
		c.shown = &d
	}
	return *c.shown
}

// Clusters returns all clusters, sorted by id. Their lists and maps are shared
// and not to be changed.
func (v *Inventory) Clusters() []Cluster {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]Cluster, 0, len(v.clusters))
	for _, id := range slices.Sorted(maps.Keys(v.clusters)) {
		out = append(out, v.clusters[id].clone())
	}
	return out
}

// Engines returns the engine of each cluster, by the cluster's id.
func (v *Inventory) Engines() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make(map[string]string, len(v.clusters))
	for id, c := range v.clusters {
		out[id] = c.Engine
	}
	return out
}

// Cluster returns one cluster. Its lists and maps are shared and not to be changed.
func (v *Inventory) Cluster(id string) (Cluster, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, ok := v.clusters[id]
	if !ok {
		return Cluster{}, false
	}
	return c.clone(), true
}

// Operation returns one operation. Its slices are shared and not to be changed.
func (v *Inventory) Operation(id string) (operation.Operation, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, ok := v.ops[id]
	if !ok {
		return operation.Operation{}, false
	}
	return *o, true
}

// Latest returns one operation and the revision of its cluster's stream as of
// the same moment: an append at that revision succeeds only while nothing
// followed.
func (v *Inventory) Latest(id string) (o operation.Operation, revision int64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p, ok := v.ops[id]
	if !ok {
		return operation.Operation{}, journal.NoStream, false
	}
	return *p, v.revs[Stream(p.Plan.Cluster)], true
}

// Unfinished returns the operations that have begun and not ended, by cluster.
func (v *Inventory) Unfinished() []operation.Operation {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []operation.Operation
	for _, o := range v.ops {
		if !o.State.Final() {
			out = append(out, *o)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Operation < out[j].Operation })
	return out
}

// Audit returns at most limit records of a cluster, newest first, that stand
// before the index before (0: from the newest). The index of a record is its
// place in the chain, from 1. next continues, 0 at the end.
func (v *Inventory) Audit(cluster string, before, limit int) (records []audit.Record, next int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := v.audits[cluster]
	if before <= 0 || before > len(all)+1 {
		before = len(all) + 1
	}
	for i := before - 1; i >= 1 && len(records) < limit; i-- {
		records = append(records, all[i-1].record)
		next = i
	}
	if next <= 1 {
		next = 0
	}
	return records, next
}

// AuditSince returns a cluster's records after a journal position, oldest
// first.
func (v *Inventory) AuditSince(cluster string, position uint64) []audit.Record {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := v.audits[cluster]
	i := sort.Search(len(all), func(i int) bool { return all[i].position > position })
	var out []audit.Record
	for ; i < len(all); i++ {
		out = append(out, all[i].record)
	}
	return out
}

// VerifyAudit checks a cluster's chain: the number of records and the index
// of the first bad one, -1 when all fit.
func (v *Inventory) VerifyAudit(cluster string) (records, bad int) {
	v.mu.Lock()
	entries := v.audits[cluster]
	v.mu.Unlock()
	list := make([]audit.Record, len(entries))
	for i, e := range entries {
		list[i] = e.record
	}
	return len(list), audit.Verify(list)
}

// OperationsSince returns the operations that changed after a position.
func (v *Inventory) OperationsSince(position uint64) []operation.Operation {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []operation.Operation
	for id, p := range v.opSeen {
		if p > position {
			out = append(out, *v.ops[id])
		}
	}
	sort.Slice(out, func(i, j int) bool { return v.opSeen[out[i].Operation] < v.opSeen[out[j].Operation] })
	return out
}

// Users returns the number of users.
func (v *Inventory) Users() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.users)
}

// User returns a user.
func (v *Inventory) User(name string) (User, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	u, ok := v.users[name]
	return u, ok
}

// Unaudited returns the ended operations without an audit record, oldest
// first.
func (v *Inventory) Unaudited() []operation.Operation {
	v.mu.Lock()
	defer v.mu.Unlock()
	closed := map[string]bool{}
	for _, entries := range v.audits {
		for _, e := range entries {
			if e.record.Change != nil {
				closed[e.record.Change.Operation] = true
			}
		}
	}
	var out []operation.Operation
	for id, o := range v.ops {
		if o.State.Final() && !closed[id] {
			out = append(out, *o)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].EndedAt.Before(out[j].EndedAt) })
	return out
}
