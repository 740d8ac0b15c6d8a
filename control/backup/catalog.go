// Package backup knows which backups there are: what was taken where, what
// was checked and when, what expired, which targets exist, when a schedule ran
// last. All of it is read out of the journal, streams of its own; the
// backups themselves are in their targets, described by manifests.
//
// A Catalog may be used from many goroutines; what it returns is a copy.
package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"

	"baton/control/backup/container"
	"baton/control/backup/target"
	"baton/control/journal"
)

// States of a backup.
const (
	StateRunning  = "running"  // an operation takes it
	StateDone     = "done"     // in its target, never checked, or its check found it damaged (Damaged says so)
	StateFailed   = "failed"   // it never became one
	StateVerified = "verified" // restored on trial and found good
	StateExpired  = "expired"  // removed from its target
)

// Errors of the catalog.
var (
	// ErrUnknown: there is no such backup.
	ErrUnknown = errors.New("there is no such backup")
	// ErrNoTarget: there is no such target.
	ErrNoTarget = errors.New("there is no such backup target")
	// ErrTargetUsed: clusters still use the target.
	ErrTargetUsed = errors.New("the backup target is in use")
	// ErrNoSecrets: without a master key nothing can be sealed.
	ErrNoSecrets = errors.New("this control plane has no master key: credentials and keys of backups could not be kept")
)

// Secrets seals what may stand in the journal; *seal.Box is one.
type Secrets interface {
	Seal(plain []byte, context string) string
	Open(sealed, context string) ([]byte, error)
}

// Backup is one backup.
type Backup struct {
	Begun
	State string
	// Manifest is nil until it was taken.
	Manifest *container.Manifest
	TakenAt  time.Time
	// Why it failed, or was removed.
	Why string
	// Check is the last one, nil when there was none.
	Check *Verified
	// Remains tells that a failed one may have left something in its target.
	Remains bool
}

// Damaged tells that the last check found the backup not restorable.
func (b *Backup) Damaged() bool { return b.Check != nil && !b.Check.OK }

// There tells whether the backup is in its target.
func (b *Backup) There() bool { return b.State == StateDone || b.State == StateVerified }

// Target is a place for backups; its credentials are sealed.
type Target struct{ TargetPut }

// shelf is what is known of one cluster.
type shelf struct {
	backups map[string]*Backup
	drill   *Drilled
	ran     map[string]Ran // by what
}

// Catalog is the projection.
type Catalog struct {
	j    journal.Journal
	wait func(ctx context.Context, stream string, revision int64) error
	box  Secrets
	log  *slog.Logger
	now  func() time.Time

	mu      sync.Mutex
	shelves map[string]*shelf
	targets map[string]Target
}

// Options of a Catalog.
type Options struct {
	Journal journal.Journal
	// Wait returns once the event of a stream was given to Take; Inventory.Wait.
	Wait    func(ctx context.Context, stream string, revision int64) error
	Secrets Secrets // nil: no targets can be made
	Log     *slog.Logger
	Now     func() time.Time
}

// New returns an empty catalog. Every event of the journal must be given to
// Take, in order.
func New(o Options) *Catalog {
	return &Catalog{j: o.Journal, wait: o.Wait, box: o.Secrets, log: o.Log, now: o.Now, shelves: map[string]*shelf{}, targets: map[string]Target{}}
}

// Take takes one event of the journal in; others than its own it passes over.
func (c *Catalog) Take(r journal.Recorded) {
	cluster, mine := strings.CutPrefix(r.Stream, streamPrefix)
	if r.Stream != TargetsStream && !mine {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.take(cluster, r); err != nil {
		c.log.Error("journal event is skipped", "stream", r.Stream, "revision", r.Revision, "type", r.Type, "err", err)
	}
}

func (c *Catalog) take(cluster string, r journal.Recorded) error {
	switch r.Type {
	case typeTargetPut:
		return decode(r.Data, func(e TargetPut) { c.targets[e.Name] = Target{e} })
	case typeTargetRemoved:
		return decode(r.Data, func(e TargetRemoved) { delete(c.targets, e.Name) })
	}
	s := c.shelves[cluster]
	if s == nil {
		s = &shelf{backups: map[string]*Backup{}, ran: map[string]Ran{}}
		c.shelves[cluster] = s
	}
	change := func(id string, f func(*Backup)) {
		if b := s.backups[id]; b != nil {
			f(b)
		}
	}
	switch r.Type {
	case typeBegun:
		return decode(r.Data, func(e Begun) {
			if s.backups[e.ID] == nil {
				s.backups[e.ID] = &Backup{Begun: e, State: StateRunning}
			}
		})
	case typeTaken:
		return decode(r.Data, func(e Taken) {
			change(e.ID, func(b *Backup) {
				if b.State == StateRunning {
					b.State, b.Manifest, b.TakenAt = StateDone, &e.Manifest, e.At
				}
			})
		})
	case typeFailed:
		return decode(r.Data, func(e Failed) {
			change(e.ID, func(b *Backup) {
				if b.State == StateRunning {
					b.State, b.Why, b.Remains = StateFailed, e.Why, true
				}
			})
		})
	case typeCleaned:
		return decode(r.Data, func(e Cleaned) { change(e.ID, func(b *Backup) { b.Remains = false }) })
	case typeVerified:
		return decode(r.Data, func(e Verified) {
			change(e.ID, func(b *Backup) {
				if !b.There() {
					return
				}
				b.Check, b.State = &e, StateDone
				if e.OK {
					b.State = StateVerified
				}
			})
		})
	case typeRemoved:
		return decode(r.Data, func(e Removed) {
			change(e.ID, func(b *Backup) {
				b.State, b.Why = StateExpired, "deleted by "+e.By
				if e.Expired {
					b.Why = "newer ones took its place"
				}
			})
		})
	case typeDrilled:
		return decode(r.Data, func(e Drilled) { s.drill = &e })
	case typeRan:
		return decode(r.Data, func(e Ran) { s.ran[e.What] = e })
	}
	return nil
}

// write appends an event and returns when the catalog has taken it in.
func (c *Catalog) write(ctx context.Context, stream, kind string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	rev, err := c.j.Append(ctx, stream, journal.Any, journal.Event{Type: kind, Data: data})
	if err != nil {
		return fmt.Errorf("record %s: %w", kind, err)
	}
	return c.wait(ctx, stream, rev)
}

// NewID names a backup after the moment it was asked for.
func NewID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:])
	return "b-" + now.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(b[:])
}

// Record appends what happened to a backup: a Begun, Taken, Failed, Cleaned, Verified,
// Removed, Drilled or Ran. Repeating one changes nothing.
func (c *Catalog) Record(ctx context.Context, cluster string, event any) error {
	kind := ""
	switch event.(type) {
	case Begun:
		kind = typeBegun
	case Taken:
		kind = typeTaken
	case Failed:
		kind = typeFailed
	case Cleaned:
		kind = typeCleaned
	case Verified:
		kind = typeVerified
	case Removed:
		kind = typeRemoved
	case Drilled:
		kind = typeDrilled
	case Ran:
		kind = typeRan
	default:
		return fmt.Errorf("%T is no event of a backup", event)
	}
	return c.write(ctx, Stream(cluster), kind, event)
}

// Backups are a cluster's backups, newest first.
func (c *Catalog) Backups(cluster string) []Backup {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shelves[cluster]
	if s == nil {
		return nil
	}
	out := make([]Backup, 0, len(s.backups))
	for _, b := range s.backups {
		out = append(out, *b)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].At.Equal(out[j].At) {
			return out[i].ID > out[j].ID
		}
		return out[i].At.After(out[j].At)
	})
	return out
}

// Backup returns one backup. ErrUnknown.
func (c *Catalog) Backup(cluster, id string) (Backup, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.shelves[cluster]; s != nil && s.backups[id] != nil {
		return *s.backups[id], nil
	}
	return Backup{}, fmt.Errorf("%q of cluster %q: %w", id, cluster, ErrUnknown)
}

// Clusters are the ids of all clusters that ever had a backup, sorted; also of
// clusters that are gone.
func (c *Catalog) Clusters() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for id, s := range c.shelves {
		if len(s.backups) > 0 {
			out = append(out, id)
		}
	}
	sort.Strings(out)
	return out
}

// LastDrill is the last restore on trial, nil when there was none.
func (c *Catalog) LastDrill(cluster string) *Drilled {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.shelves[cluster]; s != nil && s.drill != nil {
		d := *s.drill
		return &d
	}
	return nil
}

// LastRan is when a schedule of a cluster last began something; ok is false
// for never.
func (c *Catalog) LastRan(cluster, what string) (r Ran, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.shelves[cluster]; s != nil {
		r, ok = s.ran[what]
	}
	return r, ok
}

// NewestVerified is when the data of the newest verified backup is of; ok is
// false when there is none. Alerts are made of its age.
func (c *Catalog) NewestVerified(cluster string) (at time.Time, ok bool) {
	for _, b := range c.Backups(cluster) {
		if b.State == StateVerified {
			return b.Manifest.Created, true
		}
	}
	return time.Time{}, false
}

// Newest is when the data of the newest backup is of, checked or not, unless
// its check found it damaged.
func (c *Catalog) Newest(cluster string) (at time.Time, ok bool) {
	for _, b := range c.Backups(cluster) {
		if b.There() && !b.Damaged() {
			return b.Manifest.Created, true
		}
	}
	return time.Time{}, false
}

// ---- targets

// targetContext is what a target's description is sealed for.
func targetContext(name string) string { return "backup-target:" + name }

// PutTarget makes or changes a target. Errors: target.ErrConfig, ErrNoSecrets.
func (c *Catalog) PutTarget(ctx context.Context, name string, cfg target.Config, by string) error {
	if c.box == nil {
		return ErrNoSecrets
	}
	if _, err := target.Open(cfg); err != nil {
		return err
	}
	plain, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("encode target %s: %w", name, err)
	}
	return c.write(ctx, TargetsStream, typeTargetPut, TargetPut{Name: name, Kind: cfg.Kind, Location: cfg.Location(),
		Sealed: c.box.Seal(plain, targetContext(name)), By: by, At: c.now()})
}

// RemoveTarget forgets a target. What is in it stays there. ErrNoTarget.
func (c *Catalog) RemoveTarget(ctx context.Context, name, by string) error {
	c.mu.Lock()
	_, ok := c.targets[name]
	c.mu.Unlock()
	if !ok {
		return fmt.Errorf("%q: %w", name, ErrNoTarget)
	}
	return c.write(ctx, TargetsStream, typeTargetRemoved, TargetRemoved{Name: name, By: by, At: c.now()})
}

// Targets are all targets, sorted by name.
func (c *Catalog) Targets() []Target {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Target, 0, len(c.targets))
	for _, t := range c.targets {
		out = append(out, t)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Target returns one target. ErrNoTarget.
func (c *Catalog) Target(name string) (Target, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.targets[name]
	if !ok {
		return t, fmt.Errorf("%q: %w", name, ErrNoTarget)
	}
	return t, nil
}

// TargetConfig opens a target's description. ErrNoTarget, ErrNoSecrets, errors
// of the box.
func (c *Catalog) TargetConfig(name string) (target.Config, error) {
	var cfg target.Config
	t, err := c.Target(name)
	if err != nil {
		return cfg, err
	}
	if c.box == nil {
		return cfg, ErrNoSecrets
	}
	plain, err := c.box.Open(t.Sealed, targetContext(name))
	if err != nil {
		return cfg, fmt.Errorf("open the credentials of target %s: %w", name, err)
	}
	if err := json.Unmarshal(plain, &cfg); err != nil {
		return cfg, fmt.Errorf("open the credentials of target %s: %w", name, err)
	}
	return cfg, nil
}

// NewKey makes a backup's own key and seals it for its header.
func (c *Catalog) NewKey(cluster, id string) (key []byte, sealed string, err error) {
	if c.box == nil {
		return nil, "", ErrNoSecrets
	}
	key = container.NewKey()
	return key, c.box.Seal(key, container.KeyContext(cluster, id)), nil
}

// Key opens a backup's own key.
func (c *Catalog) Key(m *container.Manifest) ([]byte, error) {
	if c.box == nil {
		return nil, ErrNoSecrets
	}
	key, err := c.box.Open(m.SealedKey, container.KeyContext(m.Cluster, m.ID))
	if err != nil {
		return nil, fmt.Errorf("open the key of backup %s: %w", m.ID, err)
	}
	return key, nil
}
