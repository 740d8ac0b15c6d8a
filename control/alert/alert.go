// Package alert decides what somebody must be told about: rules turn facts
// into findings, and findings held against the clock become alerts that fire,
// are acknowledged and resolve. It is pure.
//
// A finding must be bad for a while before it fires (hold-down) and good for a
// while before it resolves; numbers that go to and fro around a limit resolve
// only well below it (hysteresis). What is not known neither fires nor
// resolves anything: a restarted control plane that has heard of nobody yet
// keeps the alerts it had.
//
//	(bad for its hold-down) -> firing -> resolved          (good for its hold-down, or no longer watched)
//	                            |  ^
//	                            v  |  (acknowledgement ended)
//	                        acknowledged -> resolved
package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"time"
)

// Kind of an alert.
type Kind string

// Kinds.
const (
	Lag             Kind = "lag"
	LinkDown        Kind = "link-down"
	LeaseAtRisk     Kind = "lease-at-risk"
	NodeDown        Kind = "node-down"
	NoPrimary       Kind = "no-primary"
	DiskForecast    Kind = "disk-forecast"
	BackupAge       Kind = "backup-age"
	EvenNodes       Kind = "even-nodes"
	NoPromotable    Kind = "no-promotable-node"
	AgentSilent     Kind = "agent-silent"
	ControlDegraded Kind = "control-plane-degraded"
	NeedsHuman      Kind = "operation-needs-human"
)

// Severity of an alert.
type Severity string

// Severities. Critical: writes stop, or would with the next loss.
const (
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Key names what an alert is about; there is at most one open alert of a key.
type Key struct {
	Kind    Kind   `json:"kind"`
	Cluster string `json:"cluster"` // "" for the control plane
	Node    string `json:"node,omitempty"`
}

// Truth of a finding.
type Truth int

// Truths.
const (
	Unknown Truth = iota
	Good
	Bad
)

// Finding is what one rule found of one thing at one moment.
type Finding struct {
	Key
	Truth    Truth
	Severity Severity
	Sentence string // what is so, with its value
	Fix      string // what to do
}

// Alert is an open alert.
type Alert struct {
	ID string `json:"id"`
	Key
	Severity Severity  `json:"severity"`
	Sentence string    `json:"sentence"`
	Fix      string    `json:"fix"`
	Since    time.Time `json:"since"`
	// Acknowledged by somebody, until a moment or, when that is zero, until it
	// resolves. Empty: not acknowledged.
	AcknowledgedBy    string    `json:"acknowledgedBy,omitempty"`
	AcknowledgedAt    time.Time `json:"acknowledgedAt,omitzero"`
	AcknowledgedUntil time.Time `json:"acknowledgedUntil,omitzero"`
	Note              string    `json:"note,omitempty"`
	// ResolvedAt is zero while it is open.
	ResolvedAt time.Time `json:"resolvedAt,omitzero"`
	// Told is the severity people were last notified of, "" when they were not;
	// ToldEnd that they were notified of its end.
	Told    Severity `json:"told,omitempty"`
	ToldEnd bool     `json:"toldEnd,omitempty"`
}

// State is firing, acknowledged or resolved.
func (a *Alert) State() string {
	switch {
	case !a.ResolvedAt.IsZero():
		return "resolved"
	case a.AcknowledgedBy != "":
		return "acknowledged"
	}
	return "firing"
}

// id of an alert: the same for whoever computes it.
func id(k Key, since time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%d", k.Kind, k.Cluster, k.Node, since.UnixNano()))
	return "al-" + hex.EncodeToString(sum[:8])
}

// hold is how long a finding must last: bad before it fires, good before it
// resolves.
type hold struct{ bad, good time.Duration }

// holds by kind. What stops writes is told within seconds; what comes and goes
// with every restart of a replica is given the time such a restart takes.
var holds = map[Kind]hold{
	Lag:             {15 * time.Second, 15 * time.Second},
	LinkDown:        {10 * time.Second, 5 * time.Second},
	LeaseAtRisk:     {time.Second, 5 * time.Second},
	NodeDown:        {5 * time.Second, 5 * time.Second},
	NoPrimary:       {3 * time.Second, 5 * time.Second},
	DiskForecast:    {time.Minute, 5 * time.Minute},
	BackupAge:       {time.Minute, 10 * time.Second},
	EvenNodes:       {2 * time.Minute, 10 * time.Second},
	NoPromotable:    {30 * time.Second, 10 * time.Second},
	AgentSilent:     {5 * time.Second, 5 * time.Second},
	ControlDegraded: {5 * time.Second, 10 * time.Second},
	NeedsHuman:      {0, 0},
}

// Hold is the memory of findings that have not lasted yet. It is not kept over
// a restart: they then take their time again.
type Hold struct {
	bad, good map[Key]time.Time
}

// NewHold returns an empty memory.
func NewHold() *Hold { return &Hold{bad: map[Key]time.Time{}, good: map[Key]time.Time{}} }

// Next decides what happened: the events to record, given the open alerts and
// what the rules found now. hold is changed. The events come sorted, so that
// the same input gives the same output.
func Next(open map[Key]Alert, h *Hold, found []Finding, now time.Time) []Event {
	var out []Event
	seen := map[Key]bool{}
	for _, f := range found {
		seen[f.Key] = true
		a, is := open[f.Key]
		switch f.Truth {
		case Bad:
			delete(h.good, f.Key)
			if is {
				delete(h.bad, f.Key)
				if f.Severity == Critical && a.Severity != Critical {
					out = append(out, Changed{ID: a.ID, Severity: f.Severity, Sentence: f.Sentence, Fix: f.Fix, At: now})
				}
				continue
			}
			if _, ok := h.bad[f.Key]; !ok {
				h.bad[f.Key] = now
			}
			if now.Sub(h.bad[f.Key]) >= holds[f.Kind].bad {
				delete(h.bad, f.Key)
				out = append(out, Fired{Alert{ID: id(f.Key, now), Key: f.Key, Severity: f.Severity, Sentence: f.Sentence, Fix: f.Fix, Since: now}})
			}
		case Good:
			delete(h.bad, f.Key)
			if is {
				out = h.resolve(out, a, "", now)
			}
		}
	}
	for k, a := range open {
		if !seen[k] {
			out = h.resolve(out, a, "it is no longer watched: it was removed or is in maintenance", now)
		}
		if !a.AcknowledgedUntil.IsZero() && !now.Before(a.AcknowledgedUntil) && a.AcknowledgedBy != "" {
			out = append(out, AcknowledgementEnded{ID: a.ID, At: now})
		}
	}
	for k := range h.bad {
		if !seen[k] {
			delete(h.bad, k)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return order(out[i]) < order(out[j]) })
	return out
}

// resolve ends an open alert once it has been good for its time.
func (h *Hold) resolve(out []Event, a Alert, sentence string, now time.Time) []Event {
	if _, ok := h.good[a.Key]; !ok {
		h.good[a.Key] = now
	}
	if now.Sub(h.good[a.Key]) < holds[a.Kind].good {
		return out
	}
	delete(h.good, a.Key)
	return append(out, Resolved{ID: a.ID, Sentence: sentence, At: now})
}

// order sorts events: ids, fired ones by what they are about.
func order(e Event) string {
	if f, ok := e.(Fired); ok {
		return fmt.Sprintf("fired %s %s %s", f.Cluster, f.Kind, f.Node)
	}
	return e.kind() + " " + ID(e)
}
