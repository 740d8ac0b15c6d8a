package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"baton/control/alert"
	"baton/control/health"
	"baton/control/journal"
)

// ObservationsStream holds what was seen of nodes as it changed.
const ObservationsStream = "observations"

// ObservedType is the type of its events.
const ObservedType = "node-observed"

// Observation is a change that was seen on a node.
type Observation struct {
	At      time.Time `json:"at"`
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`
	From    string    `json:"from"` // "" at the first sight
	To      string    `json:"to"`   // "primary, up"
	By      string    `json:"by"`   // the agent
	Why     string    `json:"why,omitempty"`
}

// Sentence says what was seen.
func (o *Observation) Sentence() string {
	s := fmt.Sprintf("%s is %s", o.Node, o.To)
	if o.From != "" {
		s += " (was " + o.From + ")"
	}
	if o.Why != "" {
		s += ": " + o.Why
	}
	return s
}

// Bounds: a node that goes to and fro must not fill the journal.
const (
	keepObservations = 300 // of a cluster, in memory
	observeBurst     = 20  // of a node within observeWindow
	observeWindow    = 10 * time.Minute
)

// observations are the last of each cluster. Keeper.mu guards them.
type observations struct {
	byCluster map[string][]Observation
	last      map[string]string // by cluster/node: as recorded
	recent    map[string][]time.Time
}

func newObservations() *observations {
	return &observations{byCluster: map[string][]Observation{}, last: map[string]string{}, recent: map[string][]time.Time{}}
}

func (o *observations) take(r journal.Recorded) {
	var x Observation
	if r.Type != ObservedType || json.Unmarshal(r.Data, &x) != nil {
		return
	}
	list := append(o.byCluster[x.Cluster], x)
	o.byCluster[x.Cluster] = list[max(0, len(list)-keepObservations):]
	o.last[x.Cluster+"/"+x.Node] = x.To
}

// allowed tells whether a node may have one more record now.
func (o *observations) allowed(key string, now time.Time) bool {
	times := o.recent[key]
	for len(times) > 0 && now.Sub(times[0]) > observeWindow {
		times = times[1:]
	}
	o.recent[key] = times
	if len(times) >= observeBurst {
		return false
	}
	o.recent[key] = append(times, now)
	return true
}

// seenAs is how a node looks in a few words, "" when nobody knows.
func seenAs(n *health.Node) string {
	if !n.Fresh() {
		if n.ReportAge > health.StaleAfter {
			return "unseen"
		}
		return ""
	}
	return string(n.Role()) + ", " + health.StatusOf(n).Level
}

// observe records what changed since the last record.
func (k *Keeper) observe(ctx context.Context, f *alert.Facts) error {
	var batch []journal.Event
	k.mu.Lock()
	for i := range f.Clusters {
		c := &f.Clusters[i]
		for m := range c.Nodes {
			n := &c.Nodes[m]
			key, is := c.Cluster+"/"+n.Name, seenAs(n)
			if is == "" || k.seen.last[key] == is || !k.seen.allowed(key, f.Now) {
				continue
			}
			o := Observation{At: f.Now, Cluster: c.Cluster, Node: n.Name, From: k.seen.last[key], To: is, By: n.Agent}
			if n.Fresh() && !n.Seen.Up {
				o.Why = n.Seen.Err
			}
			data, err := json.Marshal(o)
			if err != nil {
				k.mu.Unlock()
				return fmt.Errorf("encode an observation: %w", err)
			}
			k.seen.last[key] = is
			batch = append(batch, journal.Event{Type: ObservedType, Data: data})
		}
	}
	k.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	rev, err := k.Journal.Append(ctx, ObservationsStream, journal.Any, batch...)
	if err != nil {
		return fmt.Errorf("record observations: %w", err)
	}
	return k.Inventory.Wait(ctx, ObservationsStream, rev)
}

// Observations returns what was seen of a cluster's nodes in a span of time,
// oldest first, as far as it is remembered.
func (k *Keeper) Observations(cluster string, from, to time.Time) (out []Observation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, o := range k.seen.byCluster[cluster] {
		if !o.At.Before(from) && o.At.Before(to) {
			out = append(out, o)
		}
	}
	return out
}
