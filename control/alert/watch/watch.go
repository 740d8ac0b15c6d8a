// Package watch keeps the alerts: it gathers the facts, has package alert
// decide, journals what happened and sees to it that people are told once. It
// also journals what was observed of nodes as it changes, so that an incident
// can be told afterwards.
//
// Only the control node in charge decides and tells; every node projects the
// stream and can show the alerts. What people were told is in the stream, so a
// restart tells nothing twice. Between sending and recording it a crash may
// repeat one message; none is left out.
//
// A Keeper may be used from many goroutines.
package watch

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"baton/control/alert"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/notify"
	"baton/control/operation"
	"baton/control/plan"
)

// Rhythm and bounds.
const (
	DefaultEvery = time.Second
	// promotableEvery is how often a cluster's nodes are judged for promotion:
	// a full report each.
	promotableEvery = 10 * time.Second
	// forecastEvery is how often it is looked at how long disks last, in the
	// history: they last for days.
	forecastEvery = time.Minute
	// DefaultGroup is how long a message waits for what happens with it.
	DefaultGroup = 5 * time.Second
	// keepResolved alerts are remembered after their end.
	keepResolved = 200
	// tellOperations that ended within this time are told after a restart.
	tellOperations = time.Hour
)

// ErrUnknown is returned for an alert that is not open.
var ErrUnknown = errors.New("there is no open alert of this id")

// Facts gathers what is known of a cluster; *monitor.Monitor does.
type Facts interface {
	Facts(cluster string) (f plan.Facts, ok bool)
}

// Teller delivers messages; *notify.Notifier does.
type Teller interface {
	// Channels is how many channels are configured.
	Channels() int
	// Deliver sends to every channel, with its retries, and returns what
	// failed, by channel.
	Deliver(ctx context.Context, m notify.Message) (failed []string)
}

// Options of a Keeper. Those that may be nil say so.
type Options struct {
	Journal   journal.Journal
	Inventory *inventory.Inventory
	Facts     Facts
	Teller    Teller // nil: nobody is told
	Log       *slog.Logger
	Now       func() time.Time
	// InCharge tells whether this control node decides; nil: it does.
	InCharge func() bool
	// Control is how the control plane is; nil: whole.
	Control func() alert.Control
	// Lease of a cluster's primary; nil: leases are not looked at.
	Lease func(cluster string) *alert.Lease
	// Backup of a cluster, nil where none is demanded; nil: not looked at.
	Backup func(cluster string) *alert.Backup
	// Maintenance tells whether somebody works on a node; nil: never.
	Maintenance func(cluster, node string) bool
	// Free is how much space a node's volume had over the last hours; nil: unknown.
	Free func(cluster, node string) []alert.Point
	// URL of the dashboard for messages, "" for none.
	URL   func() string
	Every time.Duration
	Group time.Duration
}

// Keeper keeps the alerts.
type Keeper struct {
	Options

	mu       sync.Mutex
	open     map[alert.Key]alert.Alert
	live     map[string]alert.Finding // by alert id: as it is now
	lastSeen map[string]time.Time
	resolved []alert.Alert // oldest first
	rev      int64
	moved    chan struct{}
	told     map[string]bool // operations
	ended    []ended         // operations that ended lately, in order
	seen     *observations

	hold *alert.Hold // only Run's goroutine, as the rest
	look map[string]promotable
	full map[string]time.Duration
	due  time.Time // when what is waiting is told; zero: nothing waits
	// sending is set while a message is under way; its result comes over sent
	// and stands in unsaid until it is recorded.
	sending bool
	sent    chan alert.Told
	unsaid  *alert.Told
	wg      sync.WaitGroup
}

type ended struct {
	operation string
	at        time.Time
}

type promotable struct {
	at       time.Time
	forecast time.Time // when how long the disks last was looked at
	n        int
	why      string
}

// New returns a keeper that has read nothing; give it each event of the
// journal with Take.
func New(o Options) *Keeper {
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	if o.Group == 0 {
		o.Group = DefaultGroup
	}
	return &Keeper{Options: o, open: map[alert.Key]alert.Alert{}, live: map[string]alert.Finding{}, lastSeen: map[string]time.Time{}, rev: journal.NoStream,
		moved: make(chan struct{}), told: map[string]bool{}, seen: newObservations(), hold: alert.NewHold(), look: map[string]promotable{}, full: map[string]time.Duration{}, sent: make(chan alert.Told, 1)}
}

// Take reads one event of the journal; others pass.
func (k *Keeper) Take(r journal.Recorded) {
	if e, err := operation.Decode(r.Type, r.Data); err == nil && e != nil {
		if f, ok := e.(operation.Finished); ok {
			k.mu.Lock()
			k.ended = append(k.ended, ended{f.Operation, f.At})
			k.ended = k.ended[max(0, len(k.ended)-keepResolved):]
			k.mu.Unlock()
		}
		return
	}
	if r.Stream == ObservationsStream {
		k.mu.Lock()
		k.seen.take(r)
		k.mu.Unlock()
		return
	}
	if r.Stream != alert.Stream {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rev = r.Revision
	close(k.moved)
	k.moved = make(chan struct{})
	e, err := alert.Decode(r.Type, r.Data)
	if err != nil || e == nil {
		k.Log.Error("alert event is skipped", "revision", r.Revision, "err", err)
		return
	}
	switch e := e.(type) {
	case alert.Fired:
		k.open[e.Key] = e.Alert
	case alert.Told:
		for key, a := range k.open {
			k.open[key] = alert.Apply(a, e)
		}
		for i := range k.resolved {
			k.resolved[i] = alert.Apply(k.resolved[i], e)
		}
		for _, op := range e.Operations {
			k.told[op] = true
		}
	default:
		for key, a := range k.open {
			if a.ID != alert.ID(e) {
				continue
			}
			a = alert.Apply(a, e)
			k.open[key] = a
			if a.State() == "resolved" {
				delete(k.open, key)
				delete(k.live, a.ID)
				delete(k.lastSeen, a.ID)
				k.resolved = append(k.resolved, a)
				k.resolved = k.resolved[max(0, len(k.resolved)-keepResolved):]
			}
		}
	}
}

// Run decides and tells until ctx ends, and may be called again after it
// returned: when this control node is in charge once more. The inventory must
// be ready.
func (k *Keeper) Run(ctx context.Context) error {
	// What was under way when the last run ended is told by whoever was in
	// charge meanwhile; the journal says so.
	k.hold, k.due, k.sending, k.unsaid = alert.NewHold(), time.Time{}, false, nil
	select {
	case <-k.sent:
	default:
	}
	tick := time.NewTicker(k.Every)
	defer tick.Stop()
	defer k.wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if k.InCharge != nil && !k.InCharge() {
			k.hold, k.due = alert.NewHold(), time.Time{}
			continue
		}
		if err := k.Step(ctx); err != nil && ctx.Err() == nil {
			k.Log.Warn("alerts could not be kept", "err", err)
		}
	}
}

// Step looks once, records what happened and tells what is due. Only one
// goroutine may call it.
func (k *Keeper) Step(ctx context.Context) error {
	now := k.Now()
	facts := k.facts(now)
	k.mu.Lock()
	open := maps.Clone(k.open)
	k.mu.Unlock()
	found := alert.Judge(facts, func(key alert.Key) bool { _, ok := open[key]; return ok })
	k.keepLive(open, found, now)
	if _, err := k.record(ctx, alert.Next(open, k.hold, found, now)...); err != nil {
		return err
	}
	if err := k.observe(ctx, facts); err != nil {
		return err
	}
	return k.tell(ctx, now)
}

// keepLive remembers how open alerts are at this moment: their numbers move,
// and only what fired and what ended is in the journal.
func (k *Keeper) keepLive(open map[alert.Key]alert.Alert, found []alert.Finding, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range found {
		if a, ok := open[f.Key]; ok && f.Truth == alert.Bad {
			k.live[a.ID], k.lastSeen[a.ID] = f, now
		}
	}
}

// record appends events and waits until they are taken in. When somebody
// else's event came first nothing is written, and the next look decides anew.
func (k *Keeper) record(ctx context.Context, events ...alert.Event) (written bool, err error) {
	if len(events) == 0 {
		return true, nil
	}
	batch := make([]journal.Event, len(events))
	for i, e := range events {
		kind, data, err := alert.Encode(e)
		if err != nil {
			return false, fmt.Errorf("encode an alert: %w", err)
		}
		batch[i] = journal.Event{Type: kind, Data: data}
	}
	k.mu.Lock()
	expected := k.rev
	k.mu.Unlock()
	rev, err := k.Journal.Append(ctx, alert.Stream, expected, batch...)
	var conflict *journal.ConflictError
	if errors.As(err, &conflict) {
		return false, k.wait(ctx, conflict.Actual)
	}
	if err != nil {
		return false, fmt.Errorf("record alerts: %w", err)
	}
	return true, k.wait(ctx, rev)
}

func (k *Keeper) wait(ctx context.Context, revision int64) error {
	for {
		k.mu.Lock()
		have, moved := k.rev, k.moved
		k.mu.Unlock()
		if have >= revision {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// facts gathers what the rules look at.
func (k *Keeper) facts(now time.Time) *alert.Facts {
	f := &alert.Facts{Now: now, Control: alert.Control{JournalOK: true}}
	if k.Control != nil {
		f.Control = k.Control()
	}
	known := map[string]bool{}
	for _, c := range k.Inventory.Clusters() {
		pf, ok := k.Facts.Facts(c.ID)
		if !ok {
			continue
		}
		known[c.ID] = true
		out := alert.Cluster{Snapshot: pf.Snapshot, Running: c.Running != "", Maintenance: map[string]bool{}, FullIn: map[string]time.Duration{}}
		for i := range pf.Nodes {
			n := pf.Nodes[i].Name
			out.Maintenance[n] = k.Maintenance != nil && k.Maintenance(c.ID, n)
		}
		k.slow(&out, &pf, now)
		if n := len(c.Operations); n > 0 {
			if o, ok := k.Inventory.Operation(c.Operations[n-1]); ok && o.State == operation.StateNeedsHuman {
				out.NeedsHuman, out.NeedsHumanWhy = o.Operation, o.Outcome
			}
		}
		if k.Lease != nil {
			out.Lease = k.Lease(c.ID)
		}
		if k.Backup != nil {
			out.Backup = k.Backup(c.ID)
		}
		f.Clusters = append(f.Clusters, out)
	}
	maps.DeleteFunc(k.look, func(c string, _ promotable) bool { return !known[c] })
	return f
}

// slow adds what costs too much to find out every second.
func (k *Keeper) slow(c *alert.Cluster, f *plan.Facts, now time.Time) {
	p, ok := k.look[c.Cluster]
	if !ok || now.Sub(p.at) >= promotableEvery {
		last := p.forecast
		p = promotable{at: now, forecast: last}
		if !ok {
			p.at = now.Add(-spread(c.Cluster, promotableEvery))
		}
		foresee := k.Free != nil && now.Sub(last) >= forecastEvery
		if foresee {
			if p.forecast = now; !ok {
				p.forecast = now.Add(-spread(c.Cluster, forecastEvery))
			}
		}
		primary := f.Primary()
		for i := range f.Nodes {
			n := &f.Nodes[i]
			if n == primary {
				continue
			}
			switch r := plan.Evaluate(f, n.Name); {
			case r.Promotable:
				p.n++
			case p.why == "":
				p.why = n.Name + " " + r.Reason
			}
			if foresee {
				k.forecast(c.Cluster, n.Name, now)
			}
		}
		if primary != nil && foresee {
			k.forecast(c.Cluster, primary.Name, now)
		}
		if f.Running != "" {
			p.n = -1
		}
		k.look[c.Cluster] = p
	}
	c.Promotable, c.NotPromotable = p.n, p.why
	for i := range f.Nodes {
		if left, ok := k.full[c.Cluster+"/"+f.Nodes[i].Name]; ok {
			c.FullIn[f.Nodes[i].Name] = left
		}
	}
}

// spread puts what is due for many clusters at different moments of the time it
// comes round in.
func spread(cluster string, every time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(cluster)) // never fails
	return every * time.Duration(h.Sum32()%64) / 64
}

func (k *Keeper) forecast(cluster, node string, now time.Time) {
	key := cluster + "/" + node
	if left, ok := alert.Forecast(k.Free(cluster, node), now); ok {
		k.full[key] = left
	} else {
		delete(k.full, key)
	}
}

// View is an alert as it is now.
type View struct {
	alert.Alert
	LastSeen time.Time
}

// Alerts returns the open alerts, worst and newest first, and after them the
// resolved ones of the last time, newest first.
func (k *Keeper) Alerts() []View {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []View
	for _, a := range k.open {
		v := View{a, a.Since}
		if f, ok := k.live[a.ID]; ok {
			v.Sentence, v.LastSeen = f.Sentence, k.lastSeen[a.ID]
		}
		out = append(out, v)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		if x, y := rank(a), rank(b); x != y {
			return x < y
		}
		if !a.Since.Equal(b.Since) {
			return a.Since.After(b.Since)
		}
		if x, y := a.Cluster+"/"+a.Node, b.Cluster+"/"+b.Node; x != y {
			return x < y
		}
		return a.ID < b.ID
	})
	for _, a := range slices.Backward(k.resolved) {
		out = append(out, View{a, a.ResolvedAt})
	}
	return out
}

func rank(v *View) (n int) {
	if v.State() == "acknowledged" {
		n += 2
	}
	if v.Severity != alert.Critical {
		n++
	}
	return n
}

// Alert returns an open alert.
func (k *Keeper) Alert(id string) (alert.Alert, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.open {
		if a.ID == id {
			return a, true
		}
	}
	return alert.Alert{}, false
}

// Acknowledge says that somebody has seen an alert: it is not told again until
// a moment, or with a zero time until it resolves or becomes worse.
func (k *Keeper) Acknowledge(ctx context.Context, id, by, note string, until time.Time) (alert.Alert, error) {
	for {
		a, ok := k.Alert(id)
		if !ok {
			return a, ErrUnknown
		}
		e := alert.Acknowledged{ID: id, By: by, Note: note, Until: until, At: k.Now()}
		written, err := k.record(ctx, e)
		if err != nil {
			return a, err
		}
		if written {
			return alert.Apply(a, e), nil
		}
	}
}

// History returns what happened to a cluster's alerts in a span of time, as far
// as it is remembered.
func (k *Keeper) History(cluster string, from, to time.Time) (out []alert.Alert) {
	k.mu.Lock()
	defer k.mu.Unlock()
	in := func(a alert.Alert) {
		if a.Cluster == cluster && a.Since.Before(to) && (a.ResolvedAt.IsZero() || !a.ResolvedAt.Before(from)) {
			out = append(out, a)
		}
	}
	for _, a := range k.resolved {
		in(a)
	}
	for _, a := range k.open {
		in(a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Since.Before(out[j].Since) })
	return out
}
