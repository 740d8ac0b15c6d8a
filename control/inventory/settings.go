package inventory

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"baton/control/audit"
	"baton/control/journal"
)

// SettingsChanged is the event type of Settings.
const SettingsChanged = "cluster-settings-changed"

// Refusals of settings, beside *SettingError.
var (
	// ErrNoCluster: there is no such cluster.
	ErrNoCluster = errors.New("there is no such cluster")
	// ErrNoMember: the cluster has no such node.
	ErrNoMember = errors.New("the cluster has no such node")
	// ErrMoved: somebody else changed the settings since they were read.
	ErrMoved = errors.New("the settings were changed meanwhile")
)

// EngineUser is a user of the database, made by Baton.
type EngineUser struct {
	Name   string `json:"name"`
	Access string `json:"access"` // see package engine
	// Hash is the SHA-256 of the password in hexadecimal, as the engine stores
	// it. Passwords are 32 random bytes, which a hash does not give away.
	Hash string    `json:"hash"`
	At   time.Time `json:"at"`
}

// Settings change what is recorded of a cluster beside its members; what is
// nil or missing stays.
type Settings struct {
	Policy *Policy `json:"policy,omitempty"`
	// Tags by node; nil takes them away.
	Tags map[string]*Tags `json:"tags,omitempty"`
	// Users by name; nil takes the user away.
	Users map[string]*EngineUser `json:"users,omitempty"`
	// Secrets by name, sealed; "" takes one away.
	Secrets map[string]string `json:"secrets,omitempty"`
	// Parameters of the engine by name as people set them; nil takes one away.
	Parameters map[string]*string `json:"parameters,omitempty"`
	By         string             `json:"by,omitempty"`
	At         time.Time          `json:"at"`
}

// Event is the settings as a journal event of the cluster's stream, to be
// appended with others.
func (s Settings) Event() (journal.Event, error) {
	data, err := json.Marshal(s)
	return journal.Event{Type: SettingsChanged, Data: data}, err
}

// Event is the registration as a journal event.
func (s Spec) Event() (journal.Event, error) {
	data, err := json.Marshal(s)
	return journal.Event{Type: ClusterRegistered, Data: data}, err
}

// RemovedEvent is the event that takes a cluster out of the inventory.
func RemovedEvent() journal.Event {
	return journal.Event{Type: ClusterRemoved, Data: []byte("{}")}
}

// settings takes an event in. v.mu is held.
func (c *Cluster) settings(s Settings, revision int64) {
	c.SettingsRevision = revision
	if s.Policy != nil {
		c.policy = s.Policy
	}
	merge(&c.tags, s.Tags)
	merge(&c.users, s.Users)
	merge(&c.parameters, s.Parameters)
	for k, sealed := range s.Secrets {
		if c.secrets == nil {
			c.secrets = map[string]string{}
		}
		if c.secrets[k] = sealed; sealed == "" {
			delete(c.secrets, k)
		}
	}
}

func merge[V any](into *map[string]*V, from map[string]*V) {
	for k, v := range from {
		if *into == nil {
			*into = map[string]*V{}
		}
		if (*into)[k] = v; v == nil {
			delete(*into, k)
		}
	}
}

// effective fills in the policy and tags in force. c is a copy.
func (c *Cluster) effective() {
	switch {
	case c.policy != nil:
		c.Policy = *c.policy
	case reflect.ValueOf(c.Policy).IsZero():
		c.Policy = DefaultPolicy()
	}
	for i := range c.Members {
		m := &c.Members[i]
		if t := c.tags[m.Name]; t != nil {
			m.Tags, m.Tagged = *t, true
			m.Priority, m.Never = t.Priority, t.Never
		} else {
			m.Tags = Tags{Priority: m.Priority, Never: m.Never}
		}
	}
	c.Users, c.Parameters, c.Secrets = nil, map[string]string{}, maps.Clone(c.secrets)
	for _, name := range slices.Sorted(maps.Keys(c.users)) {
		c.Users = append(c.Users, *c.users[name])
	}
	for name, v := range c.parameters {
		c.Parameters[name] = *v
	}
}

// Registration is the spec to register again with changed members: without
// what is kept beside it.
func (c *Cluster) Registration() Spec {
	s := c.Spec
	s.Policy = Policy{}
	s.Members = slices.Clone(c.Members)
	for i := range s.Members {
		s.Members[i].Tags, s.Members[i].Tagged = Tags{}, false
	}
	return s
}

// Generation of a cluster, also of one that was removed: agents know it still.
func (v *Inventory) Generation(id string) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.clusters[id]; c != nil {
		return c.Generation
	}
	return v.generations[id]
}

// Removed tells whether a cluster was there and was removed: nobody wants it
// registered by itself again.
func (v *Inventory) Removed(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, was := v.generations[id]
	return was && v.clusters[id] == nil
}

// Member returns the named member.
func (c *Cluster) Member(name string) (Member, bool) {
	for _, m := range c.Members {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// PutPolicy records a policy, whole, and audits the change. Errors:
// ErrNoCluster, *SettingError, the journal's.
func (v *Inventory) PutPolicy(ctx context.Context, cluster string, p Policy, who audit.Who) error {
	return v.PutPolicyAt(ctx, cluster, p, who, -1)
}

// PutPolicyAt is PutPolicy with the SettingsRevision the person saw; it is
// refused with ErrMoved at another. -1: at any.
func (v *Inventory) PutPolicyAt(ctx context.Context, cluster string, p Policy, who audit.Who, seen int64) error {
	c, ok := v.Cluster(cluster)
	if !ok {
		return ErrNoCluster
	}
	if err := p.Check(max(len(c.Members)-1, 0)); err != nil {
		return err
	}
	if reflect.DeepEqual(p, c.Policy) {
		return nil
	}
	return v.PutSettings(ctx, cluster, Settings{Policy: &p}, who, "changed settings of "+cluster+": "+difference(c.Policy, p), seen)
}

// PutTags records a member's tags, whole, and audits the change. Errors:
// ErrNoCluster, ErrNoMember, *SettingError, the journal's.
func (v *Inventory) PutTags(ctx context.Context, cluster, node string, t Tags, who audit.Who) error {
	c, ok := v.Cluster(cluster)
	if !ok {
		return ErrNoCluster
	}
	m, ok := c.Member(node)
	if !ok {
		return ErrNoMember
	}
	if err := t.Check(time.Now()); err != nil {
		return err
	}
	if reflect.DeepEqual(t, m.Tags) {
		return nil
	}
	return v.PutSettings(ctx, cluster, Settings{Tags: map[string]*Tags{node: &t}}, who,
		fmt.Sprintf("tagged %s: %s (before: %s)", node, t, m.Tags), -1)
}

// PutSettings records settings and audits what, a sentence in the past tense.
// seen as in PutPolicyAt. It checks nothing of the values.
func (v *Inventory) PutSettings(ctx context.Context, cluster string, s Settings, who audit.Who, what string, seen int64) error {
	s.By = who.Name
	if s.At.IsZero() {
		s.At = time.Now()
	}
	stream := Stream(cluster)
	for {
		c, ok := v.Cluster(cluster)
		switch {
		case !ok:
			return ErrNoCluster
		case seen >= 0 && seen != c.SettingsRevision:
			return ErrMoved
		}
		err := v.write(ctx, stream, c.Revision, SettingsChanged, s)
		var conflict *journal.ConflictError
		if errors.As(err, &conflict) { // an operation goes on meanwhile
			if err := v.Wait(ctx, stream, conflict.Actual); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	node := ""
	for n := range s.Tags {
		node = n
	}
	_, err := v.audit.Append(ctx, audit.Record{ID: "at-" + hex.EncodeToString(id[:]), At: s.At, Who: who, Cluster: cluster, Node: node, What: what, Outcome: audit.Done})
	return err
}

// difference names the fields that changed, before and after.
func difference(a, b Policy) string {
	var out []string
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if p, q := x.Field(i).Interface(), y.Field(i).Interface(); !reflect.DeepEqual(p, q) {
			name, _, _ := strings.Cut(x.Type().Field(i).Tag.Get("json"), ",")
			out = append(out, fmt.Sprintf("%s %v -> %v", name, p, q))
		}
	}
	return strings.Join(out, "; ")
}
